# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of its features is the zero-loss peak of a spectrum, before it is measured.

The zero-loss peak is the first peak of a spectrum: no electron gains much energy. It need not be the
highest, plasmons of thick specimens are higher; and what is narrower than any peak is a cosmic ray or
a bad channel. Each spectrum is looked at alone.
"""

import math
from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.compute.compiled import compiled, part

#: Channels whose scatter is looked at for the noise.
_CHANNELS_LOOKED_AT = 256
#: The noise is told by differences of so many channels.
_FEWEST_CHANNELS = 4

#: Standard deviation of normal noise over the median of its size.
_SIGMA = 1.4826022185056018
#: Third differences of normal noise scatter by this many times its variance.
_OF_THIRD_DIFFERENCES = 20.0
#: Neighbouring channels that a peak is highest in together.
_TOGETHER = 3
#: A peak must stand out of the noise of these by this many standard deviations.
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
#: Channels to either side of a spike that may be spikes too.
_REACH = 2 * _SPIKE_CHANNELS
#: Spikes higher than the peak that a spectrum may hold.
_MOST_SPIKES = 12
#: Fewest channels before a peak whose median is its baseline.
_FEWEST_BEFORE = 8
#: Smallest positive number: noise of exactly zero is none.
_TINY = 2.2250738585072014e-308


class FoundPeaks(NamedTuple):
    """Peaks as they were found, not measured yet; arrays of shape (n_spectra,).

    Attributes
    ----------
    channel : ndarray of int
        Highest channel of the peak.
    height : ndarray
        Mean of its three highest neighbouring channels above ``level``, counts.
    level : ndarray
        Rough baseline before the peak, counts.
    stands_out : ndarray of bool
        Whether it stands out of the noise.
    """

    channel: np.ndarray
    height: np.ndarray
    level: np.ndarray
    stands_out: np.ndarray


def find_peaks(spectra):
    """Find the first peak of every spectrum.

    Parameters
    ----------
    spectra : ndarray of float of shape (n_spectra, n_energy)
        Finite counts. Spikes higher than the peak are taken off, in place.

    Returns
    -------
    FoundPeaks

    Raises
    ------
    ValueError
        If there are fewer than four channels.

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
    n_spectra, n_energy = spectra.shape
    if n_energy < _FEWEST_CHANNELS:
        raise ValueError(
            f"counts: expected at least {_FEWEST_CHANNELS} channels to find a peak, got {n_energy}."
        )
    found = FoundPeaks(
        channel=np.empty(n_spectra, np.int64),
        height=np.empty(n_spectra),
        level=np.empty(n_spectra),
        stands_out=np.empty(n_spectra, bool),
    )
    step = max(n_energy // _CHANNELS_LOOKED_AT, 1)
    _find_first_peaks(spectra, step, np.empty((2, n_energy)), found)
    return found


# --- one spectrum after the other, compiled -------------------------------------------------------


@part
def _part_about_middle(values, low, high):
    """Let smaller values come before larger ones: one past the last small one, one before the large."""
    pivot = values[(low + high) // 2]
    while low <= high:
        while values[low] < pivot:
            low += 1
        while values[high] > pivot:
            high -= 1
        if low <= high:
            values[low], values[high] = values[high], values[low]
            low, high = low + 1, high - 1
    return low, high


@part
def _median(values, n):
    """Find the median of the first ``n`` values, which change places."""
    low, high, middle = 0, n - 1, n // 2
    while low < high:
        larger, smaller = _part_about_middle(values, low, high)
        low = larger if middle > smaller else low
        high = smaller if middle < larger else high
    if n % 2:
        return values[middle]
    below = -math.inf
    for k in range(middle):
        below = max(below, values[k])
    return (below + values[middle]) / 2


@part
def _typical(spectrum, step, room):
    """Find the median of some channels."""
    n = 0
    for k in range(0, spectrum.size, step):
        room[n] = spectrum[k]
        n += 1
    return _median(room, n)


@part
def _copy(values, into):
    for k in range(values.size):
        into[k] = values[k]


@part
def _highest_of_three(spectrum, middle):
    """Find the highest of three channels."""
    highest = middle - 1
    for k in range(middle, middle + 2):
        if spectrum[k] > spectrum[highest]:
            highest = k
    return highest


@part
def _highest(spectrum):
    """Find the highest channel of the highest feature, and the mean of its three neighbours."""
    middle, most = 1, -math.inf
    for k in range(1, spectrum.size - 1):
        total = spectrum[k - 1] + spectrum[k] + spectrum[k + 1]
        if total > most:
            middle, most = k, total
    return _highest_of_three(spectrum, middle), most / _TOGETHER


@part
def _lowest_of(spectrum, first, base):
    """Find the lowest of neighbouring channels, one more than a spike has, above a base."""
    lowest = math.inf
    for k in range(first, first + _SPIKE_CHANNELS + 1):
        lowest = min(lowest, spectrum[k] - base if 0 <= k < spectrum.size else 0.0)
    return lowest


@part
def _stands_alone(spectrum, channel, base):
    """Tell whether a channel stands out of its neighbours as no peak does."""
    beside = 0.0
    for first in range(channel - _SPIKE_CHANNELS, channel + 1):
        beside = max(beside, _lowest_of(spectrum, first, base))
    return spectrum[channel] - base > _SPIKE * beside


@part
def _most_typical(spectrum, step):
    """Find a bound of the median of some channels: half of them are no less, and hold all there is."""
    n, total = 0, 0.0
    for k in range(0, spectrum.size, step):
        total += max(spectrum[k], 0.0)
        n += 1
    return 2 * total / n


@part
def _bridge_spike(spectrum, channel, step, room):
    """Write straight lines over the channels about one that are a spike; tell whether they were."""
    # Above a lower base a channel stands out less, as long as it does so at all: few need the median.
    most = _most_typical(spectrum, step)
    if most < spectrum[channel] and not _stands_alone(spectrum, channel, most):
        return False
    base = _typical(spectrum, step, room)
    if not _stands_alone(spectrum, channel, base):
        return False
    low, high = max(channel - _REACH, 0), min(channel + _REACH + 1, spectrum.size)
    least = base + (spectrum[channel] - base) / _SPIKE
    first, last = channel, channel
    for k in range(low, high):
        room[k] = spectrum[k]
        if spectrum[k] > least:
            first, last = min(first, k), max(last, k)
    for k in range(first, last + 1):
        if room[k] > least:
            spectrum[k] = _between_good(spectrum, k, (first, last), least=least, room=room)
    return True


@part
def _between_good(spectrum, channel, bad, least, room):
    """Look up the straight line between the good channels beside a bad one, which may be two away."""
    before, after = channel - 1, channel + 1
    while before >= bad[0] and room[before] > least:
        before -= 1
    while after <= bad[1] and room[after] > least:
        after += 1
    if before < 0:
        return spectrum[after]
    if after >= spectrum.size:
        return spectrum[before]
    share = (channel - before) / (after - before)
    return spectrum[before] + share * (spectrum[after] - spectrum[before])


@part
def _noise_of_three(spectrum, step, room):
    """Estimate the noise of the mean of three channels from third differences of some channels."""
    n = 0
    for k in range(0, spectrum.size - 3, step):
        rise = spectrum[k + 3] - spectrum[k]
        room[n] = abs(rise - 3.0 * (spectrum[k + 2] - spectrum[k + 1]))
        n += 1
    return _SIGMA * _median(room, n) / math.sqrt(_OF_THIRD_DIFFERENCES * _TOGETHER)


@part
def _counts_of_an_electron(spectrum, step, noise, room):
    """Estimate roughly, rather too high, what one electron counts."""
    n, least = 0, math.inf
    for k in range(0, spectrum.size, step):
        room[n] = abs(spectrum[k])
        n += 1
    if noise > 0:
        return noise**2 / max(_median(room, n), noise)
    for k in range(spectrum.size):
        least = min(least, spectrum[k]) if spectrum[k] > 0 else least
    return least if least < math.inf else 0.0


@part
def _level_before(spectrum, channel, room):
    """Take the median of the first half of the channels before a peak: a rough baseline."""
    n_before = channel // 2
    if n_before < _FEWEST_BEFORE:
        return 0.0
    for k in range(n_before):
        room[k] = spectrum[k]
    return _median(room, n_before)


@part
def _highest_before(spectrum, channel, level, least, electron):
    """Find the highest feature before a peak with a valley between them; no channel where none is."""
    middle, most, valley = -1, -math.inf, math.inf
    for k in range(channel - 1, 0, -1):
        here = (spectrum[k - 1] + spectrum[k] + spectrum[k + 1]) / _TOGETHER
        valley = min(valley, here)
        depth = here - valley
        deep = depth > least and depth > _VALLEY * here - (1 - _VALLEY) * level
        if deep and here >= most and depth > _DEEP * math.sqrt(electron * abs(here) / _TOGETHER):
            middle, most = k, here
    return middle, most


@part
def _first_peak(spectrum, step, channel, height, room):
    """Go from the highest peak of a spectrum to its first: channel, height, level, noise."""
    noise = _noise_of_three(spectrum, step, room)
    least = max(_FRACTION * height, _SIGNIFICANCE * noise)
    electron, n_left = 0.0, _MOST_PEAKS
    while True:
        level = _level_before(spectrum, channel, room)
        middle, candidate = _highest_before(
            spectrum, channel, level, least=least, electron=electron
        )
        if middle < 0 or n_left == 0:
            return channel, height - level, level, noise
        if electron == 0.0:  # few spectra need it
            electron = max(_counts_of_an_electron(spectrum, step, noise, room), _TINY)
            continue
        place = _highest_of_three(spectrum, middle)
        if not _bridge_spike(spectrum, place, step, room):
            channel, height = place, candidate
        n_left -= 1


@compiled
def _find_first_peaks(spectra, step, room, found):
    """Find the first peak of every spectrum, see :func:`find_peaks`.

    Parameters
    ----------
    spectra : ndarray of float of shape (n_spectra, n_energy)
        Spikes higher than the peak are taken off.
    step : int
        Of the channels that are looked at for the noise.
    room : ndarray of float of shape (2, n_energy)
        Written to.
    found : FoundPeaks
        Written to.
    """
    as_measured, some = room[0], room[1]
    for i in range(spectra.shape[0]):
        spectrum = spectra[i]
        _copy(spectrum, as_measured)
        highest, top = _highest(spectrum)
        first, height, n_spikes = highest, top, 0
        while n_spikes < _MOST_SPIKES and _bridge_spike(spectrum, first, step, some):
            first, height = _highest(spectrum)
            n_spikes += 1
        while True:
            peak = _first_peak(spectrum, step, channel=first, height=height, room=some)
            stands_out = peak[1] > _SIGNIFICANCE * max(peak[3], _TINY)
            if n_spikes == 0 or (stands_out and abs(peak[0] - highest) > _REACH):
                break
            # A spike that is all there is, but for its own flanks, was a peak of a single channel.
            _copy(as_measured, spectrum)
            first, height, n_spikes = highest, top, 0
        found.channel[i], found.height[i], found.level[i], _ = peak
        found.stands_out[i] = stands_out
