# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for the first peak in plain NumPy, which the compiled one is held to."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from hyperspy_zlpml.image.find_peaks import FoundPeaks

#: Standard deviation of normal noise over the median of its size.
_SIGMA = 1 / ndtri(0.75)
#: A peak must stand out of the channel noise by this many standard deviations.
_SIGNIFICANCE = 10.0
#: The first peak has at least this fraction of the height of the highest, ...
_FRACTION = 0.1
#: ... and the counts between them fall to this fraction of its height.
_VALLEY = 0.5
#: A valley is as deep as this many standard deviations of the counts beside it.
_DEEP = 5.0
#: A spectrum has at most so many peaks and spikes before its highest.
_MOST_PEAKS = 12
#: A feature this many times as high as the second channel beside it is no peak: where a peak has
#: a FWHM of 1.4 channels or more, its own neighbours are higher.
_SPIKE = 20.0
#: Neighbouring channels of a spike, at most.
_SPIKE_CHANNELS = 2
#: Spikes higher than the peak that a spectrum may hold.
_MOST_SPIKES = 12
#: Channels whose scatter is looked at for the noise.
_CHANNELS_LOOKED_AT = 256
#: Fewest channels before a peak whose median is its baseline.
_FEWEST_BEFORE = 8


def find_peaks(spectra):
    """Find the first peak of every spectrum.

    Parameters
    ----------
    spectra : ndarray of shape (n_spectra, n_energy)
        Finite counts. Spikes higher than the peak are taken off, in place.

    Returns
    -------
    FoundPeaks

    Examples
    --------
    A plasmon higher than the zero-loss peak, and a spike higher than both:

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.find_peaks import find_peaks
    >>> energy = np.arange(-10, 40, 0.1)
    >>> counts = 1e4 * np.exp(-(energy**2)) + 2e4 * np.exp(-(((energy - 15) / 3) ** 2))
    >>> counts[300] = 1e6
    >>> found = find_peaks(counts[None])
    >>> bool(abs(energy[found.channel[0]]) < 0.1), bool(counts[300] == 1e6)
    (True, False)
    """
    highest = _highest(spectra)
    spiked = np.flatnonzero(_are_spikes(spectra, highest.channel)[0])
    as_measured = spectra[spiked]
    found = _first_of(spectra, highest)
    if spiked.size:
        channel = highest.channel[spiked]
        _take_off_spikes(spectra, spiked, channel)
        bridged = spectra[spiked]
        found = _replaced(found, spiked, _first_of(bridged, _highest(bridged)))
        spectra[spiked] = bridged
        # A spike that is all there is, but for its own flanks, was a peak of a single channel.
        beside = np.abs(found.channel[spiked] - channel) <= 2 * _SPIKE_CHANNELS
        rows = spiked[beside | ~found.stands_out[spiked]]
        spectra[rows] = as_measured[np.isin(spiked, rows)]
        bridged = spectra[rows]
        highest = _Highest(*(value[rows] for value in highest))
        found = _replaced(found, rows, _first_of(bridged, highest))
        spectra[rows] = bridged
    return found


def _replaced(found, rows, others):
    """Replace some peaks by others."""
    values = [value.copy() for value in found]
    for value, other in zip(values, others, strict=True):
        value[rows] = other
    return FoundPeaks(*values)


def _first_of(spectra, highest):
    """Find the first peak of every spectrum without spikes, from the highest."""
    noise = _channel_noise(spectra) / np.sqrt(3)
    channel, height = _first_before(spectra, highest, noise=noise)
    level = _level_before(spectra, channel)
    height = height - level
    return FoundPeaks(
        channel=channel,
        height=height,
        level=level,
        stands_out=height > _SIGNIFICANCE * np.maximum(noise, np.finfo(float).tiny),
    )


class _Highest(NamedTuple):
    """Highest channel of every spectrum, and the mean of the three neighbours highest together."""

    channel: np.ndarray
    height: np.ndarray


def _highest(spectra):
    """Find the highest features of spectra."""
    middle, height = _highest_middle(_triples(spectra))
    return _Highest(_highest_of_three(spectra, middle), height / 3)


def _highest_middle(triple):
    """Find the middle of the three neighbouring channels that are highest together, and their sum."""
    start = triple.argmax(-1)
    return start + 1, triple[np.arange(len(triple)), start]


def _triples(spectra):
    """Sum every three neighbouring channels."""
    triple = spectra[:, :-2] + spectra[:, 1:-1]
    triple += spectra[:, 2:]
    return triple


def _highest_of_three(spectra, middle):
    """Find the highest of three channels of every spectrum."""
    around = middle[:, None] + np.arange(-1, 2)
    return middle - 1 + np.take_along_axis(spectra, around, -1).argmax(-1)


def _are_spikes(spectra, channel):
    """Tell whether channels stand out of their neighbours as no peak does, and which around do.

    Returns
    -------
    spiked : ndarray of bool of shape (n_spectra,)
    high : ndarray of bool of shape (n_spectra, n)
        Channels around, the one asked for in the middle, that are as high as a part of it.
    """
    reach = 2 * _SPIKE_CHANNELS
    position = channel[:, None] + np.arange(-reach, reach + 1)
    outside = (position < 0) | (position >= spectra.shape[1])
    near = np.take_along_axis(spectra, np.clip(position, 0, spectra.shape[1] - 1), -1)
    above = np.where(
        outside, 0.0, near - np.median(spectra[:, :: _stride(spectra)], axis=-1)[:, None]
    )
    top = above[:, reach]
    # Of all runs of one channel more than a spike has: the least of each, and the highest of those.
    length = _SPIKE_CHANNELS + 1
    runs = [above[:, reach - length + 1 + i : reach + 1 + i].min(-1) for i in range(length)]
    spiked = top > _SPIKE * np.maximum(np.max(runs, axis=0), 0)
    return spiked, (above > top[:, None] / _SPIKE) & ~outside


def _take_off_spikes(spectra, rows, channel):
    """Replace the spikes above the peak of some spectra by the channels beside them, in place."""
    for _ in range(_MOST_SPIKES):
        rows = rows[_bridge_spikes(spectra, rows, channel)]
        if not rows.size:
            break
        channel = _highest(spectra[rows]).channel


def _bridge_spikes(spectra, rows, channel):
    """Write a straight line over the channels of some spectra that are spikes; tell which were."""
    spiked, high = _are_spikes(spectra[rows], channel)
    for row, middle, above in zip(rows[spiked], channel[spiked], high[spiked], strict=True):
        _bridge(spectra[row], middle + np.flatnonzero(above) - above.size // 2)
    return spiked


def _bridge(spectrum, bad):
    """Write a straight line over bad channels of a spectrum, in place."""
    good = np.setdiff1d(np.arange(max(bad.min() - 2, 0), min(bad.max() + 3, spectrum.size)), bad)
    spectrum[bad] = np.interp(bad, good, spectrum[good])


def _first_before(spectra, highest, noise):
    """Go from the highest peak of every spectrum to its first."""
    channel, height = highest.channel.copy(), highest.height.copy()
    least = _FRACTION * height
    electron = _counts_of_an_electron(spectra, noise)
    rows = np.arange(len(spectra))
    for _ in range(_MOST_PEAKS):
        # Three channels about each of those before the peak.
        before = _triples(spectra[rows, : channel[rows].max(initial=3)]) / 3
        valley = _least_up_to(before, channel[rows])
        depth = before - valley
        deep = depth > _VALLEY * before - (1 - _VALLEY) * _baseline(spectra, rows, channel)
        deep &= depth > _DEEP * np.sqrt(electron[rows, None] * np.abs(before) / 3)
        deep &= depth > np.maximum(least, _SIGNIFICANCE * noise)[rows, None]
        found = deep.any(-1)
        rows, before, deep = rows[found], before[found], deep[found]
        if not rows.size:
            break
        middle, candidate = _highest_middle(np.where(deep, before, -np.inf))
        place = _highest_of_three(spectra[rows], middle)
        spiked = _bridge_spikes(spectra, rows, place)
        channel[rows[~spiked]], height[rows[~spiked]] = place[~spiked], candidate[~spiked]
    return channel, height


def _baseline(spectra, rows, channel):
    """Look up a rough baseline before the peaks of some spectra, of shape (n_rows, 1)."""
    return _level_before(spectra[rows], channel[rows])[:, None]


def _counts_of_an_electron(spectra, noise):
    """Estimate roughly, rather too high, what one electron counts in every spectrum."""
    size = np.abs(spectra[:, :: _stride(spectra)])
    typical = np.median(size, axis=-1)
    empty = noise == 0
    gain = noise**2 / np.maximum(np.maximum(typical, noise), np.finfo(float).tiny)
    rows = np.flatnonzero(empty)
    for row in rows:
        counted = spectra[row][spectra[row] > 0]
        gain[row] = counted.min() if counted.size else 0.0
    return gain


def _least_up_to(values, channel):
    """Find the least of the values from each channel to the peak of its spectrum."""
    inside = np.arange(values.shape[1]) + 1 < channel[:, None]
    backwards = np.where(inside, values, np.inf)[:, ::-1]
    least = np.minimum.accumulate(backwards, axis=-1)[:, ::-1]
    return np.where(inside, least, np.inf)


def _level_before(spectra, channel):
    """Take the median of the first half of the channels before the peak: a rough baseline."""
    n_before = channel // 2
    level = np.zeros(len(spectra))
    enough = np.flatnonzero(n_before >= _FEWEST_BEFORE)
    if not enough.size:
        return level
    n_before = n_before[enough]
    values = spectra[enough, : n_before.max()]
    values[np.arange(values.shape[1]) >= n_before[:, None]] = np.inf
    values.sort(axis=-1)
    middle = np.stack([(n_before - 1) // 2, n_before // 2], -1)
    level[enough] = np.take_along_axis(values, middle, -1).mean(-1)
    return level


def _channel_noise(spectra):
    """Estimate the standard deviation of one channel from third differences of some channels."""
    step = _stride(spectra)
    a, b, c, d = (spectra[:, i : spectra.shape[-1] - 3 + i : step] for i in range(4))
    difference = (d - a) - 3 * (c - b)
    return _SIGMA / np.sqrt(20) * np.median(np.abs(difference), axis=-1)


def _stride(spectra):
    """Tell how many channels lie between those that are looked at for the noise."""
    return max(spectra.shape[-1] // _CHANNELS_LOOKED_AT, 1)
