# SPDX-License-Identifier: GPL-3.0-or-later
"""Padding: channels of one value at the ends of an axis, or of a stretch of one spectrum, which were never recorded.

It ends with a step, as no tail of a peak does.
"""

import numpy as np

#: Fewer channels than this cannot hold a peak and its tails.
FEWEST_CHANNELS = 64
#: Channels behind a padding hold this many electrons.
_PADDED = 5.0
#: Fewer of the spectra are padded by themselves, not their axis.
_PADDED_SPECTRA = 0.3
#: More of the spectra with a stretch of one value within are the detector's.
_FILLED_SPECTRA = 0.5
#: Over so many channels counts fall towards a stretch as they would go on to.
_FALL = 3
#: Channels behind it, none of which is empty.
_STEP = 8
#: Fewer channels of one value at an edge are no padding.
_SHORTEST_PADDING = 3
#: Fewer of one value within a spectrum are equal by chance.
_SHORTEST_STRETCH = 5
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
    """Find spectra that are filled up, at an end or within, where most others were recorded.

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
        begun = np.flatnonzero((side[:, 1:_SHORTEST_PADDING] == side[:, :1]).all(-1))
        length = _length_of_padding(side[begun])
        long = (length >= _SHORTEST_PADDING) & (length + _STEP <= up_to[begun])
        for row, n in zip(begun[long], length[long], strict=True):
            filled[row] |= _steps(side[row], n)
    filled = filled if filled.mean() < _PADDED_SPECTRA else np.zeros_like(filled)
    within = np.zeros(len(counts), bool)
    within[find_stretches(counts, width)[0]] = True
    return filled | within if within.mean() <= _FILLED_SPECTRA else filled


def find_stretches(counts, width):
    """Find stretches of one value that a spectrum steps out of at both ends, and that are no saturated top.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        As measured.
    width : float
        FWHM of the peaks, channels.

    Returns
    -------
    rows, starts, stops : ndarray of int of shape (n_stretches,)
        Spectrum, first channel and the one behind the last of each.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.padding import find_stretches
    >>> counts = np.random.default_rng(0).poisson(100.0, (3, 200))
    >>> counts[1, 90:110] = 0
    >>> find_stretches(counts, width=10.0)
    (array([1]), array([90]), array([110]))
    """
    equal = counts[:, 1:] == counts[:, :-1]
    some = np.flatnonzero(_has_runs(equal, _SHORTEST_STRETCH - 1))
    equal = np.pad(equal[some], [(0, 0), (1, 1)])
    rows, starts = np.nonzero(equal[:, 1:] & ~equal[:, :-1])
    _, last = np.nonzero(equal[:, :-1] & ~equal[:, 1:])
    stops = last + 1
    kept = stops - starts >= _SHORTEST_STRETCH
    kept &= (starts >= _STEP) & (stops + _STEP <= counts.shape[1])
    rows, starts, stops = rows[kept], starts[kept], stops[kept]
    highest = counts[some].max(-1, initial=0)[rows]
    rows = some[rows]
    kept = counts[rows, starts] < highest
    rows, starts, stops = rows[kept], starts[kept], stops[kept]
    # Rare electrons lie among zeros: few stretches have none beside them.
    value, beside = counts[rows, starts][:, None], np.arange(_STEP)
    apart = (counts[rows[:, None], stops[:, None] + beside] != value).all(-1)
    apart &= (counts[rows[:, None], starts[:, None] - 1 - beside] != value).all(-1)
    kept = np.zeros_like(rows, bool)
    for number in np.flatnonzero(apart):
        spectrum, start, stop = counts[rows[number]], starts[number], stops[number]
        ends = spectrum[start:], spectrum[:stop][::-1]
        kept[number] = all(_breaks_off(end, stop - start, width) for end in ends)
    return rows[kept], starts[kept], stops[kept]


def _has_runs(flags, n):
    """Tell which rows hold so many neighbouring flags: few spectra do, and all others need no closer look."""
    length = max(flags.shape[1] - n + 1, 0)
    run = flags[:, :length].copy()
    for first in range(1, n):
        run &= flags[:, first : first + length]
    return run.any(-1)


def _breaks_off(spectrum, n, width):
    """Tell whether the counts begin with a step behind the first channels where a flank would go on."""
    if not _steps(spectrum, n):
        return False
    behind = np.abs(spectrum[n : n + _STEP] - spectrum[0])
    # What the next channel would hold: from one to the next a Gaussian falls by more and more.
    falls_by = min(behind[0] / behind[_FALL], 1.0) ** (1 / _FALL)
    expected = behind[0] * falls_by * np.exp(-(_FALL + 1) / 2 * 8 * np.log(2) / width**2)
    difference = np.abs(np.diff(spectrum))
    electron = np.min(difference[difference > 0])
    # A slope is no noise.
    noise = np.median(np.abs(np.diff(behind, 2))) ** 2 / np.median(behind)
    return expected > _PADDED * max(electron, noise)


def _padding(counts, up_to):
    """Count the channels of padding at the beginning of spectra, before those next to the peak."""
    # Padding that all have shows in their sum where that of each would be lost in its noise.
    together = np.concatenate([counts, counts.sum(0, keepdims=True)])
    length = _length_of_padding(together)
    long = (length >= _SHORTEST_PADDING) & (length + _STEP <= np.append(up_to, up_to.min()))
    lengths = [
        int(length[row]) for row in np.flatnonzero(long) if _steps(together[row], length[row])
    ]
    # A few spectra whose read-out ended early say nothing of the axis of the others.
    if len(lengths) < max(_PADDED_SPECTRA * len(counts), 1) and not (long[-1] and lengths):
        return 0
    return max(lengths, default=0)


def _length_of_padding(counts):
    """Count the channels that spectra begin with and that are all equal; none where all channels are."""
    same = counts == counts[:, :1]
    return np.where(same.all(-1), 0, (~same).argmax(-1))


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
