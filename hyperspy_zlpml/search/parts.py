# SPDX-License-Identifier: GPL-3.0-or-later
"""Three sets of the spectra of an image: none is in two of them.

Networks are trained on the first, settings are selected by the second, and what was selected is
judged by the third.
"""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.image.quality import NoZeroLossPeakError

#: Parts of the spectra that are trained on, and that settings are selected by.
_TRAINED, _SELECTED_BY = 0.5, 0.25
#: Most spectra of the first set, and of each of the others: an evaluation takes a second.
_MOST_TRAINED, _MOST_HELD_OUT = 512, 192
#: Fewest usable spectra that can be shared out.
FEWEST_SPECTRA = 24


@dataclass(frozen=True)
class Parts:
    """Rows of three sets of spectra, in flattened navigation order.

    Attributes
    ----------
    training, selection, judgement : ndarray of int
        Increasing.
    """

    training: np.ndarray
    selection: np.ndarray
    judgement: np.ndarray


def share_out(rows, vacuum, rng):
    """Share spectra out at random: half of those of vacuum, and of the others, are trained on.

    Parameters
    ----------
    rows : ndarray of int of shape (n,)
        Usable spectra.
    vacuum : ndarray of bool of shape (n,)
        Which of them see vacuum.
    rng : numpy.random.Generator

    Returns
    -------
    Parts

    Raises
    ------
    NoZeroLossPeakError
        If there are too few.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.search.parts import share_out
    >>> parts = share_out(np.arange(40), np.arange(40) < 8, np.random.default_rng(0))
    >>> parts.training.size, parts.selection.size, parts.judgement.size
    (20, 10, 10)
    >>> (parts.judgement < 8).sum()  # of vacuum
    np.int64(2)
    """
    if rows.size < FEWEST_SPECTRA:
        raise NoZeroLossPeakError(
            f"a search needs at least {FEWEST_SPECTRA} spectra with a usable peak, to train on some "
            f"and to judge by others; here are {rows.size}."
        )
    sets = [[], [], []]
    for kind in (rows[vacuum], rows[~vacuum]):
        kind = rng.permutation(kind)
        ends = np.round(np.array([_TRAINED, _TRAINED + _SELECTED_BY]) * kind.size).astype(int)
        for chosen, part in zip(sets, np.split(kind, ends), strict=True):
            chosen.append(part)
    most = (_MOST_TRAINED, _MOST_HELD_OUT, _MOST_HELD_OUT)
    return Parts(*(_some(kinds, n) for kinds, n in zip(sets, most, strict=True)))


def _some(kinds, most):
    """Take at most so many spectra, of both kinds alike where there are more."""
    half = most // 2
    room = [max(half, most - other.size) for other in kinds[::-1]]
    return np.sort(np.concatenate([kind[:n] for kind, n in zip(kinds, room, strict=True)]))
