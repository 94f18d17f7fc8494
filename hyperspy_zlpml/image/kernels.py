# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled functions of the first look: one spectrum after the other, without copies of an image."""

import math
from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.compute.compiled import compiled, laid_out, part

#: Neighbours of a coarse peak hold at least this fraction of its height.
_NARROWEST = 2e-3
#: The parabola goes through channels within this fraction of the width of a peak ...
_TOP = 0.3
#: ... and has its vertex within so many channels of the highest.
_FURTHEST = 1.5
#: Channels are near the top that are above the second of these parts of its mean, and less so down to the first.
_NEAR_TOP = (0.7, 0.9)
#: A top is flat where they are more than the second of these parts of the width, and less so down to the first: they are 0.69 of
#: that of a Gaussian, 0.78 where its exponent is 4.
_FLAT = (0.71, 0.79)
#: Tops of so few channels do not show it.
_SHOWS_TOP = 6.0
#: The line at half height goes through channels within this fraction of the width ...
_FLANK = 0.15
#: ... and two at least.
_LEAST_REACH = 1.01
#: Crossings are found in so many steps.
_CROSSING_STEPS = 3
#: Keeps fits to single channels from being singular: part of what is known, ...
_RIDGE = 1e-12
#: ... and where nothing is.
_NOTHING = 1e-300


@part
def _is_apart(here, left, right, noise):
    """Tell whether counts lie clearly above, or below, two others; those that are no numbers stand out of nothing."""
    squared, gain, least, variance = noise
    low, high = min(left, right), max(left, right)
    above = max(here - high, 0.0)
    below = max(low - here, 0.0)
    # Of squares, for roots of all channels take longer than all else.
    is_above = above * above > squared * (gain * max(high, least) + variance)
    is_below = below * below > squared * (gain * max(low, least) + variance)
    return (left == left) & (right == right) & (is_above | is_below)


@compiled
def mark_apart(counts, sigmas, gain, least, variance, marked):
    """Mark channels whose counts lie clearly above, or below, those two steps beside.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        At least four channels. At the edges the only channel beside stands for both.
    sigmas : float
        By how many standard deviations of the noise of the channel beside.
    gain, least, variance : float
        The variance of counts is ``gain * max(counts, least) + variance``.
    marked : ndarray of bool of shape (n_spectra, n_energy)
        Written to.
    """
    noise, last = (sigmas**2, gain, least, variance), counts.shape[1] - 1
    for i in range(counts.shape[0]):
        here, found = counts[i], marked[i]
        # Loops from zero on fill the vector registers.
        left, middle, right, inner = here[:-4], here[2:-2], here[4:], found[2:-2]
        for k in range(inner.size):
            inner[k] = _is_apart(middle[k], left[k], right[k], noise)
        for k in (0, 1, last - 1, last):
            beside = here[k + 2 if k < 2 else k - 2]
            found[k] = _is_apart(here[k], beside, beside, noise)


def running_median(values, size, mode):
    """Compute the median of each value and those about it.

    Parameters
    ----------
    values : ndarray of float of shape (n, n_values)
        Finite.
    size : int
        Values that each median is of; odd.
    mode : str
        How values go on beyond the ends, see ``numpy.pad``.

    Returns
    -------
    ndarray of shape (n, n_values)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.kernels import running_median
    >>> running_median(np.array([[1.0, 9.0, 2.0, 3.0]]), size=3, mode="edge")
    array([[1., 2., 3., 3.]])
    """
    padded = np.pad(values, ((0, 0), (size // 2, size // 2)), mode=mode)
    medians = np.empty(np.shape(values))
    _find_medians(laid_out(padded, float), np.empty(size), medians)
    return medians


@part
def _replace(window, old, new):
    """Put a number into sorted ones in the place of another."""
    place = 0
    # What is no number is found nowhere.
    while place + 1 < window.size and window[place] != old:
        place += 1
    while place + 1 < window.size and window[place + 1] < new:
        window[place] = window[place + 1]
        place += 1
    while place > 0 and window[place - 1] > new:
        window[place] = window[place - 1]
        place -= 1
    window[place] = new


@compiled
def _find_medians(padded, window, medians):
    """Find running medians.

    Parameters
    ----------
    padded : ndarray of float of shape (n, n_values + window.size - 1)
    window : ndarray of float of shape (size,)
        Room for sorted values.
    medians : ndarray of float of shape (n, n_values)
        Written to.
    """
    size = window.size
    for i in range(medians.shape[0]):
        values = padded[i]
        window[:] = values[0]
        for k in range(1, size):
            _replace(window, values[0], values[k])
        for k in range(medians.shape[1]):
            medians[i, k] = window[size // 2]
            if k + size < values.size:
                _replace(window, values[k], values[k + size])


# --- peaks ----------------------------------------------------------------------------------------


@part
def _mean_of(spectrum, channel, reach):
    """Average a channel and those beside it; beyond the axis stands its last one."""
    if reach == 0:
        return spectrum[channel]
    before, after = max(channel - 1, 0), min(channel + 1, spectrum.size - 1)
    return (spectrum[before] + spectrum[channel] + spectrum[after]) / 3


@compiled
def find_crossings(spectra, rows, channel, half, reach, left, right):
    """Find the channels where spectra first fall below a level on both sides of the peak.

    Parameters
    ----------
    spectra : ndarray of float of shape (n_all, n_energy)
    rows : ndarray of int of shape (n_spectra,)
        Places of the spectra.
    channel : ndarray of int of shape (n_all,)
        Highest channels of the peaks.
    half : ndarray of float of shape (n_all,)
        Levels.
    reach : int
        1 for spectra smoothed over three channels, 0 for these as they are.
    left, right : ndarray of int of shape (n_spectra,)
        Written to; -1 and n_energy stand for a crossing that is not on the axis.
    """
    n_energy = spectra.shape[1]
    for i in range(rows.size):
        row = rows[i]
        low, high = channel[row] - 1, channel[row] + 1
        while low >= 0 and not _mean_of(spectra[row], low, reach) < half[row]:
            low -= 1
        while high < n_energy and not _mean_of(spectra[row], high, reach) < half[row]:
            high += 1
        left[i], right[i] = low, high


class Rough(NamedTuple):
    """Hold peaks as they were found, before they are refined; arrays of shape (n_spectra,).

    Attributes
    ----------
    channel : ndarray of int
        Highest channels.
    level : ndarray
        Baselines, counts.
    width : ndarray
        Channels at half height.
    middle : ndarray
        Middle between these, channels from the highest.
    usable, coarse : ndarray of bool
        Which have a peak; of these those with too few channels for crossings.
    """

    channel: np.ndarray
    level: np.ndarray
    width: np.ndarray
    middle: np.ndarray
    usable: np.ndarray
    coarse: np.ndarray


class Refined(NamedTuple):
    """Hold places of peaks in channels from the highest, written to; arrays of shape (n_spectra,).

    Attributes
    ----------
    vertex : ndarray
        Of the parabola through the logarithm of the channels around the maximum.
    left, right : ndarray
        Half-height crossings.
    """

    vertex: np.ndarray
    left: np.ndarray
    right: np.ndarray


@part
def _reach(spectrum, channel, place, reach):
    """Find the first and the last channel on the axis about a place, counted from the highest channel."""
    first = max(int(math.ceil(place - reach)), -channel)
    return first, min(int(math.floor(place + reach)), spectrum.size - 1 - channel)


@part
def _height(spectrum, channel, level):
    """Compute the height of a channel in parts of the highest; none that is below zero."""
    highest, least = level[1:]
    here = spectrum[channel] - level[0]
    return max(here / highest, least) if highest > 0 else max(here, least)


@part
def _parabola(spectrum, channel, level, reach):
    """Fit a parabola to the logarithm of the channels about the highest: its coefficients, lowest first."""
    n, x1, x2, x3, x4, y0, y1, y2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    first, last = _reach(spectrum, channel, 0.0, reach)
    for x in range(first, last + 1):
        # ln(counts) has the variance 1 / counts: weight by the counts themselves.
        weight = _height(spectrum, channel + x, level)
        if weight > 0:
            y = weight * math.log(weight)
            n, x1, x2 = n + weight, x1 + weight * x, x2 + weight * x**2
            x3, x4 = x3 + weight * x**3, x4 + weight * x**4
            y0, y1, y2 = y0 + y, y1 + y * x, y2 + y * x**2
    ridge = _RIDGE * (n + x2 + x4) + _NOTHING
    n, x2_, x4 = n + ridge, x2 + ridge, x4 + ridge
    # Eliminated from the first row on.
    share1, share2 = x1 / n, x2 / n
    a, b, c = x2_ - share1 * x1, x3 - share1 * x2, x4 - share2 * x2
    right1, right2 = y1 - share1 * y0, y2 - share2 * y0
    curvature = (right2 - b / a * right1) / (c - b / a * b)
    slope = (right1 - b * curvature) / a
    return (y0 - x1 * slope - x2 * curvature) / n, slope, curvature


@part
def _line(spectrum, channel, level, place, reach):
    """Fit a straight line to the logarithm of the channels about a place: its value at zero, and its slope."""
    n, x1, x2, y0, y1 = 0.0, 0.0, 0.0, 0.0, 0.0
    first, last = _reach(spectrum, channel, place, reach)
    for x in range(first, last + 1):
        height = _height(spectrum, channel + x, level)
        if height > 0:
            weight = height * max(1.0 - abs(x - place) / reach, 0.0)
            y = weight * math.log(height)
            n, x1, x2 = n + weight, x1 + weight * x, x2 + weight * x**2
            y0, y1 = y0 + y, y1 + y * x
    ridge = _RIDGE * (n + x2) + _NOTHING
    n, x2 = n + ridge, x2 + ridge
    determinant = max(n * x2 - x1**2, _NOTHING)
    return (x2 * y0 - x1 * y1) / determinant, (n * y1 - x1 * y0) / determinant


@part
def _crossing(spectrum, channel, level, sought, first):
    """Find where lines through the channels about it cross the logarithm of half the height, near a first guess.

    Sought are this logarithm, with the width of the peak, and how far from the guess it may lie.
    A slope of the wrong sign is no flank: it stays where it is.
    """
    half, width, furthest = sought
    place, reach = first, max(_LEAST_REACH, _FLANK * width)
    side = 1.0 if first > 0 else -1.0
    for _ in range(_CROSSING_STEPS):
        value, slope = _line(spectrum, channel, level, place=place, reach=reach)
        if side * slope < 0:
            place = min(max((half - value) / slope, first - furthest), first + furthest)
    return place


@part
def _between(value, ends):
    """Tell how far a value is on its way from one end to the other, from 0 to 1."""
    low, high = ends
    return min(max((value - low) / (high - low), 0.0), 1.0)


@part
def _flat_top(spectrum, channel, level, middle, width):
    """Average the top of a peak, in parts of the highest channel, and tell how flat it is, from 0 to 1.

    The highest channel of a flat top lies anywhere on it.
    """
    if width < _SHOWS_TOP:
        return 1.0, 0.0
    first, last = _reach(spectrum, channel, middle, _TOP * width)
    total = 0.0
    for x in range(first, last + 1):
        total += _height(spectrum, channel + x, level)
    mean = max(total / max(last - first + 1, 1), _NOTHING)
    first, last = _reach(spectrum, channel, middle, width)
    n_near = 0.0
    for x in range(first, last + 1):
        n_near += _between(_height(spectrum, channel + x, level) / mean, _NEAR_TOP)
    return mean, _between(n_near / width, _FLAT)


@compiled
def refine_peaks(spectra, rough, refined):
    """Find vertex and half-height crossings of peaks.

    Parameters
    ----------
    spectra : ndarray of float of shape (n_spectra, n_energy)
    rough : Rough
    refined : Refined
        Written to; zero where there is no usable peak.
    """
    for i in range(spectra.shape[0]):
        refined.vertex[i], refined.left[i], refined.right[i] = 0.0, 0.0, 0.0
        if not rough.usable[i]:
            continue
        spectrum, channel, width = spectra[i], rough.channel[i], rough.width[i]
        # A peak of one channel has no neighbours to take the logarithm of: give it narrow ones.
        least = _NARROWEST if rough.coarse[i] else 0.0
        level = (rough.level[i], spectrum[channel] - rough.level[i], least)
        reach = max(1.0, _TOP * width)
        constant, slope, curvature = _parabola(spectrum, channel, level, reach=reach)
        peaked = curvature < 0
        vertex = min(max(-slope / (2.0 * curvature), -_FURTHEST), _FURTHEST) if peaked else 0.0
        refined.vertex[i] = vertex
        if rough.coarse[i]:
            # Too few channels for crossings: the width of the Gaussian through the three highest.
            width = math.sqrt(4.0 * math.log(2.0) / -curvature) if peaked else width
            refined.left[i], refined.right[i] = vertex - width / 2, vertex + width / 2
            continue
        half = constant + 0.5 * slope * vertex - math.log(2.0)
        top, flat = _flat_top(spectrum, channel, level, middle=rough.middle[i], width=width)
        half += flat * (math.log(top / 2.0) - half)
        about = vertex + flat * (rough.middle[i] - vertex)
        # At first the width is taken to lie half to either side: steep flanks do.
        sought = (half, width, width / 2 + flat * (_FURTHEST - width / 2))
        refined.left[i] = _crossing(spectrum, channel, level, sought, first=about - width / 2)
        refined.right[i] = _crossing(spectrum, channel, level, sought, first=about + width / 2)
        # A flat top is centred between its flanks.
        between = (refined.left[i] + refined.right[i]) / 2
        refined.vertex[i] = vertex + flat * (between - vertex)


@part
def _sum_of(values):
    total = 0.0
    for k in range(values.size):
        total += values[k]
    return total


@part
def _sum_from(spectrum, low):
    """Sum from a position, in channels from the edge of the axis, to the end; fractions included."""
    if not low > 0.0:
        return _sum_of(spectrum)
    if low >= spectrum.size:
        return 0.0
    first = int(low)
    return (first + 1 - low) * spectrum[first] + _sum_of(spectrum[first + 1 :])


@part
def _sum_between(spectrum, low, high):
    """Sum between two positions in channels from the edge of the axis, fractions included."""
    low, high = max(low, 0.0), min(high, spectrum.size + 0.0)
    if not low < high:
        return 0.0
    first, last = int(low), int(high)
    if first == last:
        return (high - low) * spectrum[first]
    total = (first + 1 - low) * spectrum[first] + _sum_of(spectrum[first + 1 : last])
    return total + ((high - last) * spectrum[last] if last < spectrum.size else 0.0)


@compiled
def sum_peaks(spectra, limits, sums):
    """Sum spectra between two positions, as a whole, and from a third position on.

    Parameters
    ----------
    spectra : ndarray of float of shape (n_spectra, n_energy)
    limits : ndarray of float of shape (3, n_spectra)
        The positions, in channels from the edge of the axis; NaN where a spectrum has no peak.
    sums : ndarray of float of shape (3, n_spectra)
        Written to.
    """
    for i in range(spectra.shape[0]):
        sums[0, i] = _sum_between(spectra[i], limits[0, i], limits[1, i])
        sums[1, i] = _sum_of(spectra[i])
        sums[2, i] = _sum_from(spectra[i], limits[2, i])
