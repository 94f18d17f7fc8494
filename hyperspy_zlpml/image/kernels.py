# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled functions of the first look: one spectrum after the other, without copies of an image."""

import numpy as np

from hyperspy_zlpml.compute.compiled import compiled, laid_out, part


@part
def _is_apart(here, left, right, squared, gain, least, variance):
    """Tell whether counts lie clearly above, or below, two others; those that are no numbers stand out of nothing."""
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
    squared, last = sigmas**2, counts.shape[1] - 1
    for i in range(counts.shape[0]):
        here, found = counts[i], marked[i]
        # Loops from zero on fill the vector registers.
        left, middle, right, inner = here[:-4], here[2:-2], here[4:], found[2:-2]
        for k in range(inner.size):
            inner[k] = _is_apart(middle[k], left[k], right[k], squared, gain, least, variance)
        for k in (0, 1, last - 1, last):
            beside = here[k + 2 if k < 2 else k - 2]
            found[k] = _is_apart(here[k], beside, beside, squared, gain, least, variance)


def running_median(values, size, mode):
    """Compute the median of each value and those about it.

    Parameters
    ----------
    values : ndarray of float of shape (n, n_values)
        Finite.
    size : int
        Values that each median is of; odd.
    mode : str
        How values go on beyond the ends, see :func:`numpy.pad`.

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
