# SPDX-License-Identifier: GPL-3.0-or-later
"""Reasons why a map has no number at a pixel, or one that is to be read with care."""

from enum import IntEnum

#: What each reason means.
_TEXTS = {
    "NONE": "a number that holds",
    "LEFT_OUT": "the spectrum was left out of the removal",
    "NO_LIMIT": "no energy is known above which losses are told from the zero-loss peak",
    "AXIS_TOO_SHORT": "the energy axis ends too early: the number is a lower limit, or is missing",
    "TOO_THICK": "the specimen is too thick for the method",
    "NOT_SIGNIFICANT": "nothing stands clearly above noise and the error of the zero-loss peak",
    "BELOW_RESOLUTION": "the feature lies too close to the peak for its width",
    "AT_EDGE": "the answer lies at an end of what was tried",
    "MISFIT": "the model does not fit the data",
    "RETARDED": "the specimen is fast enough for Cherenkov losses: retardation changes the spectrum",
    "NO_CROSSING": "the function does not cross zero",
    "NOT_CONVERGED": "the iteration did not settle",
    "NO_PEAK": "there is no zero-loss peak to compare with",
}


class Reason(IntEnum):
    """Reason why a pixel has no number, or one to be read with care; 0 where all is well.

    Examples
    --------
    >>> from hyperspy_zlpml.physics.reasons import Reason
    >>> Reason.NO_CROSSING.value, Reason.NO_CROSSING.text
    (10, 'the function does not cross zero')
    """

    NONE = 0
    LEFT_OUT = 1
    NO_LIMIT = 2
    AXIS_TOO_SHORT = 3
    TOO_THICK = 4
    NOT_SIGNIFICANT = 5
    BELOW_RESOLUTION = 6
    AT_EDGE = 7
    MISFIT = 8
    RETARDED = 9
    NO_CROSSING = 10
    NOT_CONVERGED = 11
    NO_PEAK = 12

    @property
    def text(self):
        """Meaning of the reason, in words."""
        return _TEXTS[self.name]


def legend():
    """List what the numbers of a map of reasons mean.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> from hyperspy_zlpml.physics.reasons import legend
    >>> legend()["5"]
    'NOT_SIGNIFICANT: nothing stands clearly above noise and the error of the zero-loss peak'
    """
    return {str(int(reason)): f"{reason.name}: {reason.text}" for reason in Reason}
