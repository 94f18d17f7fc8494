# SPDX-License-Identifier: GPL-3.0-or-later
"""Padding: channels of one value at the ends of an axis, which were never recorded.

It ends with a step, as no tail of a peak does.
"""

import numpy as np

#: Fewer channels than this cannot hold a peak and its tails.
FEWEST_CHANNELS = 64
#: Channels behind a padding hold this many electrons.
_PADDED = 5.0
#: Fewer of the spectra are padded by themselves, not their axis.
_PADDED_SPECTRA = 0.3
#: Channels behind it, none of which is empty.
_STEP = 8
#: Fewer channels of one value at an edge are no padding.
_SHORTEST_PADDING = 3
#: At most this fraction of an axis is padding.
_MOST_PADDING = 0.5
#: Padding ends this many FWHM before a peak.
_BEFORE_PEAK = 1.5


def find_recorded(counts, channel, width):
    """Find the channels between the paddings of most spectra.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        As measured.
    channel : ndarray of int of shape (n_spectra,)
        Highest channel of each peak.
    width : float
        FWHM of the peaks, channels.

    Returns
    -------
    first, stop : int
        All channels where more than half were padding.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.padding import find_recorded
    >>> counts = 1e5 / (1 + ((np.arange(400) - 100) / 5) ** 2)
    >>> counts[-20:] = 0
    >>> find_recorded(counts[None], np.array([100]), width=10.0)
    (0, 380)
    """
    n_energy = counts.shape[1]
    core = int(np.ceil(_BEFORE_PEAK * width))
    before = _padding(counts, channel - core)
    behind = _padding(counts[:, ::-1], n_energy - 1 - channel - core)
    if before + behind > _MOST_PADDING * n_energy:
        return 0, n_energy
    return before, n_energy - behind


def padded_unlike_others(counts, channel, width):
    """Find spectra whose axis is filled up where that of most others was recorded.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        As measured, recorded channels.
    channel : ndarray of int of shape (n_spectra,)
        Highest channel of each peak.
    width : float
        FWHM of the peaks, channels.

    Returns
    -------
    ndarray of bool of shape (n_spectra,)
    """
    core = int(np.ceil(_BEFORE_PEAK * width))
    ends = ((counts, channel - core), (counts[:, ::-1], counts.shape[1] - 1 - channel - core))
    filled = np.zeros(len(counts), bool)
    for side, up_to in ends:
        same = side == side[:, :1]
        length = np.where(same.all(-1), 0, (~same).argmax(-1))
        long = (length >= _SHORTEST_PADDING) & (length + _STEP <= up_to)
        for row in np.flatnonzero(long):
            filled[row] |= _steps(side[row], length[row])
    return filled if filled.mean() < _PADDED_SPECTRA else np.zeros_like(filled)


def _padding(counts, up_to):
    """Count the channels of padding at the beginning of spectra, before those next to the peak."""
    # Padding that all have shows in their sum where that of each would be lost in its noise.
    together = np.concatenate([counts, counts.sum(0, keepdims=True)])
    same = together == together[:, :1]
    length = np.where(same.all(-1), 0, (~same).argmax(-1))
    long = (length >= _SHORTEST_PADDING) & (length + _STEP <= np.append(up_to, up_to.min()))
    lengths = [
        int(length[row]) for row in np.flatnonzero(long) if _steps(together[row], length[row])
    ]
    # A few spectra whose read-out ended early say nothing of the axis of the others.
    if len(lengths) < max(_PADDED_SPECTRA * len(counts), 1) and not (long[-1] and lengths):
        return 0
    return max(lengths, default=0)


def _steps(spectrum, n):
    """Tell whether the counts begin with a step behind the first channels, as no tail does."""
    behind = np.abs(spectrum[n : n + _STEP] - spectrum[0])
    if behind.size < _STEP or not behind.all():
        return False
    level = np.median(behind)
    difference = np.abs(np.diff(behind))
    # Counts of few electrons differ by one of them at least, others by their noise.
    least = np.min(difference[difference > 0], initial=level)
    return level > _PADDED * max(least, np.median(difference) ** 2 / level)
