# SPDX-License-Identifier: GPL-3.0-or-later
"""Reasons why a map has no number at a pixel, or one that is to be read with care."""

from enum import IntEnum

import numpy as np

#: What each reason means.
_TEXTS = {
    "NONE": "a number that holds",
    "LEFT_OUT": "the spectrum was left out of the removal",
    "NO_LIMIT": "no energy is known above which losses are told from the zero-loss peak",
    "AXIS_TOO_SHORT": "the energy axis ends too early: the number is a lower limit, or is missing",
    "TOO_THICK": "the specimen is too thick for the method",
    "NOT_SIGNIFICANT": "nothing stands clearly above noise and the error of the zero-loss peak",
    "BELOW_RESOLUTION": "the feature lies too close to the peak for its width",
    "AT_LOWER_END": "the answer lies at the lower end of what was tried",
    "MISFIT": "the model does not fit the data",
    "RETARDED": "the specimen is fast enough for Cherenkov losses: retardation changes the spectrum",
    "NO_CROSSING": "the function does not cross zero",
    "NOT_CONVERGED": "the iteration did not settle, or has more than one answer",
    "NO_PEAK": "there is no zero-loss peak to compare with",
    "OTHER_PEAK": "the zero-loss peak is not that of the vacuum: it misses the spectrum below E_I",
    "TAIL_GUESSED": "no vacuum shows the tail of the zero-loss peak, and channels are too coarse to tell it",
    "NOT_GIVEN": "what the method needs beside the data is not known of this pixel",
    "AT_UPPER_END": "the answer lies at the upper end of what was tried",
    "OTHER_WIDTH": "the feature is much narrower or wider than the one that was asked for",
}


class Reason(IntEnum):
    """Reason why a pixel has no number, or one to be read with care; 0 where all is well.

    A map has one reason a pixel. Where there are several, that stands which comes first in
    :data:`BY_WEIGHT`: what takes a number away before what asks for care, and retardation, which no
    fit can see, first among these.

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
    AT_LOWER_END = 7
    MISFIT = 8
    RETARDED = 9
    NO_CROSSING = 10
    NOT_CONVERGED = 11
    NO_PEAK = 12
    NOT_GIVEN = 13
    OTHER_PEAK = 14
    TAIL_GUESSED = 15
    AT_UPPER_END = 16
    OTHER_WIDTH = 17

    @property
    def text(self):
        """Meaning of the reason, in words."""
        return _TEXTS[self.name]


#: Reasons by their weight, the most serious first: the first of them stands for a pixel.
BY_WEIGHT = (
    Reason.LEFT_OUT,
    Reason.NO_PEAK,
    Reason.NOT_GIVEN,
    Reason.NO_LIMIT,
    Reason.TOO_THICK,
    Reason.NOT_SIGNIFICANT,
    Reason.AXIS_TOO_SHORT,
    Reason.NOT_CONVERGED,
    Reason.RETARDED,
    Reason.OTHER_PEAK,
    Reason.BELOW_RESOLUTION,
    Reason.AT_LOWER_END,
    Reason.AT_UPPER_END,
    Reason.OTHER_WIDTH,
    Reason.MISFIT,
    Reason.TAIL_GUESSED,
    Reason.NO_CROSSING,
    Reason.NONE,
)


def most_serious(*reasons):
    """Take the most serious of several reasons of each pixel.

    Parameters
    ----------
    *reasons : ndarray
        Of :class:`Reason`, of shapes that broadcast; NaN where a spectrum was left out.

    Returns
    -------
    ndarray of float

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.reasons import Reason, most_serious
    >>> most_serious(np.array([0.0, 8.0, 5.0]), Reason.RETARDED)
    array([9., 9., 5.])
    """
    ranks = np.argsort(np.array(BY_WEIGHT))
    places = [ranks[np.nan_to_num(one, nan=Reason.LEFT_OUT).astype(int)] for one in reasons]
    first = np.minimum.reduce(np.broadcast_arrays(*places))
    left_out = np.any(np.broadcast_arrays(*map(np.isnan, map(np.asarray, reasons))), axis=0)
    return np.where(left_out, np.nan, np.array(BY_WEIGHT, float)[first])


def legend(texts=None):
    """List what the numbers of a map of reasons mean.

    Parameters
    ----------
    texts : dict of Reason to str, optional
        What some of them mean for the quantity that is mapped; default their :attr:`Reason.text`.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> from hyperspy_zlpml.physics.reasons import legend
    >>> legend()["5"]
    'NOT_SIGNIFICANT: nothing stands clearly above noise and the error of the zero-loss peak'
    """
    texts = {reason: reason.text for reason in Reason} | (texts or {})
    return {str(int(reason)): f"{reason.name}: {text}" for reason, text in texts.items()}
