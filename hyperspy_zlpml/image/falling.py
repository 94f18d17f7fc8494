# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra that only fall behind the peak, as vacuum does; those of a specimen rise, or have a hump.

Looked at are counts per channel in windows from 2 FWHM on, two for each doubling of the distance,
averaged over spectra so that no single odd one decides. Spikes are bridged before
(:func:`hyperspy_zlpml.image.channels.find_spikes`).
"""

from itertools import combinations

import numpy as np

#: Deviations up to this many standard errors are noise.
_SIGMAS = 4.0
#: Windows behind the peak are compared from this many FWHM on.
_WINDOWS_FROM = 2.0
#: Ratio of the ends of a window.
_WINDOW_RATIO = np.sqrt(2.0)
#: Windows at most.
_MOST_WINDOWS = 24
#: Slopes of ln(counts) against ln(E) that differ by less are those of one tail.
_SAME_SLOPE = 0.25
#: A slope is told from windows whose counts are this many standard errors from zero.
_SEEN = 5.0
#: Spectra this many standard deviations from the median are odd ...
_ODD = 5.0
#: ... where they are at most this fraction of all.
_MOST_ODD = 0.1


def never_rises(counts, energy, centre, fwhm, noise):
    """Tell whether the mean of some spectra only falls behind the peak, within its noise.

    It must not rise from one window to the next. Nor may it have a hump: on double-logarithmic
    axes a tail gets steeper, then flatter for good where its far end takes over; one that flattens,
    gets steeper than it was before and flattens once more has losses on top of it.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Free of pedestal and spikes.
    energy : ndarray of shape (n_energy,)
        eV.
    centre, fwhm : ndarray of shape (n_spectra,)
        Position and width of the peaks, eV.
    noise : NoiseModel

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.noise import NoiseModel
    >>> from hyperspy_zlpml.image.falling import never_rises
    >>> energy = 0.05 * np.arange(-100, 600)
    >>> tail = 1e5 / (1 + (energy[None] / 0.25) ** 2)
    >>> of_peaks = {"centre": np.zeros(1), "fwhm": np.full(1, 0.5), "noise": NoiseModel(1.0, 1.0)}
    >>> never_rises(tail, energy, **of_peaks)
    True
    >>> never_rises(tail + 500 * np.exp(-(((energy - 20) / 5) ** 2)), energy, **of_peaks)
    False

    Neither does one that is hidden under a steep tail escape:

    >>> never_rises(tail + 300 * np.exp(-(((energy - 4) / 0.8) ** 2)), energy, **of_peaks)
    False
    """
    u = (energy - np.median(centre)) / np.median(fwhm)
    return sums_never_rise(counts, np.ones(energy.size, int), u, noise)


def sums_never_rise(sums, n_channels, u, noise):
    """Tell whether the mean of spectra in groups of channels only falls behind the peak; see :func:`never_rises`.

    Parameters
    ----------
    sums : ndarray of shape (n_spectra, n_groups)
        Counts, free of pedestal and spikes.
    n_channels : ndarray of int of shape (n_groups,)
        Channels in each group.
    u : ndarray of shape (n_groups,)
        Distance of the groups from the peak, FWHM.
    noise : NoiseModel

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.falling import sums_never_rise
    >>> from hyperspy_zlpml.image.noise import NoiseModel
    >>> u, n_channels, noise = np.geomspace(2, 50, 60), np.repeat([2, 5], 30), NoiseModel(1.0, 1.0)
    >>> tail = 1e5 * n_channels / (1 + u**2)
    >>> plasmon = 500 * n_channels * np.exp(-(((u - 40) / 10) ** 2))
    >>> [sums_never_rise(one[None], n_channels, u, noise) for one in (tail, tail + plasmon)]
    [True, False]
    """
    distance, density, error = _profile(sums, n_channels, u, noise)
    rise = np.diff(density) > _SIGMAS * np.hypot(error[1:], error[:-1])
    return not rise.any() and not _has_hump(distance, density, error)


def _profile(sums, n_channels, u, noise):
    """Average counts per channel in windows; reduced energies, means, standard errors."""
    edges = _WINDOWS_FROM * _WINDOW_RATIO ** np.arange(_MOST_WINDOWS)
    rows = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        window = (u >= low) & (u < high)
        n_here = n_channels[window].sum()
        if n_here < 2:
            continue
        totals = sums[:, window].sum(-1)
        mean = _mean_without_odd(totals, np.sqrt(noise.variance(totals, n_here)))
        alone = noise.variance(mean, n_here) / len(sums)
        error = np.sqrt(alone + noise.of_dark_levels(n_here))
        rows.append((np.exp(np.log(u[window]).mean()), mean / n_here, error / n_here))
    return np.array(rows).reshape(-1, 3).T


def _mean_without_odd(values, sigma):
    """Average without the few values that lie far from the median of all."""
    if len(values) < 3:
        return values.mean()
    distance = np.abs(values - np.median(values))
    spread = np.maximum(1.5 * np.median(distance), np.median(sigma))
    odd = distance > _ODD * spread
    few = odd.sum() <= max(1, _MOST_ODD * len(values))
    return values[~odd].mean() if few else values.mean()


def _has_hump(distance, density, error):
    """Find a tail that falls, falls less, falls more than before and less again, beyond its errors."""
    seen = np.logical_and.accumulate(density > _SEEN * error)
    distance, density, error = distance[seen], density[seen], error[seen]
    if density.size < 2:
        return False
    step = np.diff(np.log(distance))
    slope = np.diff(np.log(density)) / step
    relative = error / density
    sigma = np.hypot(relative[1:], relative[:-1]) / step

    def flatter(one, other):
        least = np.maximum(_SAME_SLOPE, _SIGMAS * np.hypot(sigma[one], sigma[other]))
        return slope[one] - slope[other] > least

    in_order = np.array(list(combinations(range(slope.size), 4)), int).reshape(-1, 4)
    before, flat, steep, after = in_order.T
    hump = flatter(flat, before) & flatter(before, steep) & flatter(after, steep)
    return bool(hump.any())
