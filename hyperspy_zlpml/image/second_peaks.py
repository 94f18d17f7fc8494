# SPDX-License-Identifier: GPL-3.0-or-later
"""Second peaks as narrow as the first: losses, or the first once more where the beam jumped."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from hyperspy_zlpml.compute.blocks import join_blocks
from hyperspy_zlpml.image.noise import looked_at

#: A second peak stands out by this many standard deviations of the noise.
_SIGNIFICANT = 12.0
#: A second peak as narrow as the first has at least this fraction of its height.
_SECOND = 0.25
#: Sums of the same numbers in another order are equal to this.
_MAY_BE = 1 - 1e-6
#: It is narrower than this many FWHM ...
_NARROW = 2.5
#: ... and further away than this many.
_AWAY = 1.5
#: No more than this fraction of spectra, or one, have it at the same distance: those do not share a loss.
_SHARED_BY = 0.02
#: Spectra have it, too, where it has this fraction of that relative height.
_ALIKE = 0.2
#: A second peak is the first one once more where what it holds within these parts of a FWHM ...
_BREADTH_OF = (0.75, 0.25)
#: ... has the same ratio to this: that of a peak 1.1 times as wide is higher by 0.05.
_SAME_BREADTH = 0.04
#: Peaks of fewer channels do not tell it.
_FEWEST_CHANNELS = 4
#: More of at least so many spectra than this fraction that have a second peak at one distance share a loss.
_FEWEST_TO_SHARE = 4
_MOST_SHARE = 0.5
#: Spectra that are named.
_LISTED = 8


@dataclass(frozen=True)
class SecondPeaks:
    """Second peaks as narrow as the first of some spectra.

    Attributes
    ----------
    found : ndarray of bool of shape (n_spectra,)
        Spectra that have one.
    channel : ndarray of int of shape (n_found,)
        Their highest one.
    height : ndarray of shape (n_found,)
        As fractions of that of the first peak.
    """

    found: np.ndarray
    channel: np.ndarray
    height: np.ndarray


def find_second_peaks(counts, energy, parameters, noise):
    """Find spectra with a second peak about as narrow as the first, and not much lower.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Free of pedestal and spikes.
    energy : ndarray of shape (n_energy,)
        eV.
    parameters : PeakParameters
        All usable.
    noise : NoiseModel

    Returns
    -------
    SecondPeaks

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.noise import NoiseModel
    >>> from hyperspy_zlpml.image.second_peaks import find_second_peaks
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> energy = 0.05 * np.arange(-100, 200)
    >>> counts = 1e5 * np.exp(-4 * np.log(2) * (np.tile(energy, (2, 1)) / 0.5) ** 2)
    >>> counts[1] += np.roll(counts[1], 60)
    >>> parameters = peak_parameters(counts, energy)
    >>> second = find_second_peaks(counts, energy, parameters, NoiseModel(1.0, 0.0))
    >>> second.found, second.channel, second.height.round(3)
    (array([False,  True]), array([160]), array([1.]))
    """
    width, n_channels = _width_in_channels(energy, parameters)
    may_be = join_blocks(
        partial(_may_be_two, width=width, n_channels=n_channels), counts, parameters.channel
    )
    if not may_be.any():
        return SecondPeaks(may_be, np.empty(0, int), np.empty(0))

    def highest(counts, channel):
        """Find the highest channel beside the peaks of some spectra, and heights there."""
        means, height, narrow = _beside_means(counts, channel, width, n_channels)
        place = narrow.argmax(-1)[:, None]
        second, there = (np.take_along_axis(values, place, -1)[:, 0] for values in (narrow, means))
        return height, place[:, 0], second, there - second

    height, place, second, base = join_blocks(highest, counts[may_be], parameters.channel[may_be])
    # If there were no second peak the noise would be that of what is below it.
    expected = n_channels * np.maximum(base, noise.gain)
    seen = n_channels * second > _SIGNIFICANT * np.sqrt(noise.variance(expected, n_channels))
    is_one = seen & (height > 0) & (second > _SECOND * height)
    found = may_be.copy()
    found[may_be] = is_one
    return SecondPeaks(found, place[is_one], second[is_one] / height[is_one])


def are_two(counts, energy, parameters, noise):
    """Find spectra with a second peak as narrow as the first, where no others have a loss.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Free of pedestal and spikes.
    energy : ndarray of shape (n_energy,)
        eV.
    parameters : PeakParameters
        All usable.
    noise : NoiseModel

    Returns
    -------
    ndarray of bool of shape (n_spectra,)
    """
    second = find_second_peaks(counts, energy, parameters, noise)
    two = second.found
    if not two.any():
        return two
    two, (width, n_channels) = two.copy(), _width_in_channels(energy, parameters)
    _, height, narrow = _beside_means(counts, parameters.channel, width, n_channels)
    for row, at, relative in zip(np.flatnonzero(two), second.channel, second.height, strict=True):
        at = parameters.channel + at - parameters.channel[row]
        on_axis = (at >= 1) & (at < energy.size - 1)
        around = np.clip(at[:, None] + np.arange(-1, 2), 0, energy.size - 1)
        others = np.take_along_axis(narrow, around, -1).max(-1)
        alike = on_axis & (others > _ALIKE * relative * height)
        two[row] = alike.sum() <= max(1, _SHARED_BY * len(counts))
    return two


def _width_in_channels(energy, parameters):
    """Find the typical width of peaks, in channels, and how many of them are averaged."""
    width = np.median(parameters.fwhm) / (energy[1] - energy[0])
    # Means over a peak: where electrons are few a single channel shows nothing.
    return width, max(int(width), 1)


def _beside_means(counts, channel, width, n_channels):
    """Compute means of some spectra, their heights, and what they hold beside their peaks."""
    means = uniform_filter1d(counts, n_channels, axis=-1, mode="nearest")
    height = np.take_along_axis(means, channel[:, None], -1)[:, 0]
    return means, height, _narrow_beside(means, channel, width)


def _may_be_two(counts, channel, width, n_channels):
    """Tell in which spectra some channel beside the peak is so high that there may be a second one.

    No filter makes more of what it holds; few spectra are left that need one.
    """
    place = channel[:, None] + np.arange(n_channels) - n_channels // 2
    height = np.take_along_axis(counts, np.clip(place, 0, counts.shape[1] - 1), -1).mean(-1)
    beside = np.array(counts)
    lowest = beside.min(-1)
    # Means of channels further away hold none of these.
    reach = max(int(_AWAY * width) - n_channels // 2, 0)
    near = channel[:, None] + np.arange(1 - reach, reach)
    np.put_along_axis(beside, np.clip(near, 0, counts.shape[1] - 1), -np.inf, axis=-1)
    return beside.max(-1) - lowest > _MAY_BE * _SECOND * height


def _narrow_beside(counts, channel, width):
    """Find by how much counts stand above what is wider than a peak; 0 near the peak itself and the ends."""
    size = int(np.ceil(_NARROW * width))
    # What a filter of the least values leaves standing is narrower than it.
    base = minimum_filter1d(counts, size, axis=-1, mode="nearest")
    apart = size // 2
    base = np.pad(base, [(0, 0), (apart, apart)], mode="edge")
    narrow = counts - np.maximum(base[:, : base.shape[1] - 2 * apart], base[:, 2 * apart :])
    near = np.abs(np.arange(counts.shape[1]) - channel[:, None]) <= _AWAY * width
    narrow[near] = 0.0
    # What rises towards an end of the axis may be the flank of anything.
    ends = apart // 2
    narrow[:, :ends] = narrow[:, narrow.shape[1] - ends :] = 0.0
    return narrow


def second_peak_messages(image):
    """Say that spectra hold their peak twice.

    Losses are wider than the peak by their own width, and most spectra have them. A beam that jumped while a
    spectrum was taken leaves two peaks of one width.

    Parameters
    ----------
    image : Image

    Returns
    -------
    tuple of str
        Empty where none do.
    """
    counts, index = _looked_at_of(image)
    peaks = image.parameters.select(index)
    second = find_second_peaks(counts, image.energy, peaks, image.detector.noise)
    if not second.found.any():
        return ()
    step = image.energy[1] - image.energy[0]
    width = np.median(peaks.fwhm) / step
    rows, first = np.flatnonzero(second.found), peaks.channel[second.found]
    wider = _breadth(counts, rows, second.channel, width) / _breadth(counts, rows, first, width)
    copies = np.abs(wider - 1) < _SAME_BREADTH
    distances = second.channel - first
    if not copies.any() or width < _FEWEST_CHANNELS or _share_a_loss(distances, len(counts)):
        return ()
    numbers = np.sort(index[rows[copies]])
    listed = ", ".join(map(str, numbers[:_LISTED])) + (", ..." if numbers.size > _LISTED else "")
    distance = np.median(distances[copies]) * step
    height = np.median(second.height[copies])
    told = (
        f"{numbers.size} of {len(counts)} spectra looked at hold their peak twice (number {listed} in "
        f"reading order): a second one of its width, {height:.2g} times as high, lies {distance:.3g} eV from it "
        "(medians) and was taken for a loss. If the beam jumped while they were taken, their ZLP is too low "
        "and others suffer, which is not in the error bars: leave them out by navigation_mask."
    )
    return (told,)


def _share_a_loss(distances, n_spectra):
    """Tell whether second peaks, so many channels from the first, are where most spectra have one."""
    alike = np.abs(distances - np.median(distances)) <= 1
    return n_spectra >= _FEWEST_TO_SHARE and alike.sum() > _MOST_SHARE * n_spectra


def _looked_at_of(image):
    """Take some spectra of an image and those set aside; counts and numbers."""
    some = looked_at(len(image.sample_counts))
    aside = image.set_aside[image.spiked]
    return tuple(
        np.concatenate([learnt[some], others[aside]])
        for learnt, others in (
            (image.sample_counts, image.spiked_counts),
            (image.sample_index, image.spiked),
        )
    )


def _breadth(counts, rows, channel, width):
    """Compute by how much more a peak holds within three quarters of its FWHM than within a quarter."""
    wide, narrow = (
        np.take_along_axis(
            counts[rows],
            np.clip(channel[:, None] + np.arange(-n, n + 1), 0, counts.shape[1] - 1),
            axis=-1,
        ).sum(-1)
        for n in (int(np.ceil(share * width)) for share in _BREADTH_OF)
    )
    return wide / narrow
