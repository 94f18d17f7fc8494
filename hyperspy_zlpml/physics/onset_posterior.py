# SPDX-License-Identifier: GPL-3.0-or-later
"""What fits of onsets say of the gap: weights of shapes, onsets and windows, and their quantiles.

The posterior is the mean over shapes and windows of ``exp(-chi2 / 2)``, with less weight for windows that no shape
fits.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from hyperspy_zlpml.physics.onset import Shapes
from hyperspy_zlpml.physics.onset_fit import Fits

#: Points in the posterior between two onsets of the fit.
_BETWEEN = 8
#: Numbers of onsets up to which splines are kept, 1 MB each at most: of more they are made anew as fast.
_MOST_KEPT = 128
#: Numbers that the fit of one spectrum uses up: onset and height. Exponent and width are little bound by it: with
#: these two the reduced chi2 of simulated spectra is that of noise, 0.92 to 1.02.
_FITTED_ALONE = 2
#: The same of a pool, of neighbours or a cluster: many spectra bind exponent and width, too.
_FITTED_POOLED = 4
#: Logarithm of a density over its maximum below which it is nothing.
_NOTHING = 60.0
#: Quantiles that are given: 68 % and the median.
QUANTILES = (0.16, 0.5, 0.84)


def log_sum(logarithms, axis=0, keepdims=False):
    """Compute the logarithm of a sum from those of its terms: all exponentials at once, not one by one.

    Parameters
    ----------
    logarithms : ndarray
        Finite.
    axis : int
    keepdims : bool

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.onset_posterior import log_sum
    >>> float(log_sum(np.log([1.0, 2.0, 5.0])) - np.log(8.0))
    0.0
    """
    largest = logarithms.max(axis, keepdims=True)
    total = np.log(np.exp(logarithms - largest).sum(axis, keepdims=True)) + largest
    return total if keepdims else np.squeeze(total, axis)


class Fitted(NamedTuple):
    """Fits of one spectrum, and what they say of its onset.

    Attributes
    ----------
    fits : Fits
    onset : ndarray of shape (n_onsets,)
        eV from the peak.
    shapes : Shapes
    log_likelihood : ndarray of shape (n_windows, n_shapes, n_onsets)
        Of every window by itself.
    log_window : ndarray of shape (n_windows,)
        Logarithm of the weight of each window.
    """

    fits: Fits
    onset: np.ndarray
    shapes: Shapes
    log_likelihood: np.ndarray
    log_window: np.ndarray

    @property
    def log_density(self):
        """Logarithm of the posterior of onsets in every window, (n_windows, n_onsets)."""
        density = log_sum(self.log_likelihood, axis=1)
        return density - log_sum(density, axis=1, keepdims=True) + self.log_window[:, None]


def n_fitted(pooled):
    """Count the numbers that a fit uses up.

    Parameters
    ----------
    pooled : bool
        Of the sum of many spectra.

    Returns
    -------
    int

    Examples
    --------
    >>> from hyperspy_zlpml.physics.onset_posterior import n_fitted
    >>> n_fitted(pooled=False), n_fitted(pooled=True)
    (2, 4)
    """
    return _FITTED_POOLED if pooled else _FITTED_ALONE


def weighted(fits, pooled=False):
    """Weigh shapes and onsets within a window by chi2, and windows by how well any of them fits.

    Parameters
    ----------
    fits : Fits
    pooled : bool
        Of the sum of many spectra.

    Returns
    -------
    log_likelihood : ndarray of shape (n_windows, n_shapes, n_onsets)
        0 for the best of each window. Where no shape fits, errors are larger by the square root of the
        reduced chi2.
    log_window : ndarray of shape (n_windows,)
        Logarithm of the weight of each window: by the misfit of all that is in it, beyond what is chance; of
        pools by that of what it adds to those that are shorter.
    """
    best = fits.chi2.min((1, 2))
    freedom = np.maximum(fits.n_bins - n_fitted(pooled), 1)
    temper = np.maximum(best / freedom, 1)[:, None, None]
    log_likelihood = -0.5 * (fits.chi2 - best[:, None, None]) / temper
    if pooled:
        # What is below the onset does not hide that of a pool: every window weighs by what it adds.
        more = np.diff(fits.n_bins)
        added = np.maximum(np.diff(best) - more - np.sqrt(2 * more), 0)
        misfit = np.concatenate([[0.0], np.cumsum(added)])
    else:
        misfit = np.maximum(best - freedom - np.sqrt(2 * freedom), 0)
    log_window = -0.5 * misfit
    return log_likelihood, log_window - log_sum(log_window)


def quantiles(onset, log_density, probabilities):
    """Find quantiles of a posterior that is given by its logarithm on a grid.

    Parameters
    ----------
    onset : ndarray of shape (n_onsets,)
        Uniform grid.
    log_density : ndarray of shape (n_onsets,)
        Logarithm of a density that need not have unit area.
    probabilities : sequence of float

    Returns
    -------
    ndarray of shape (n_probabilities,)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.onset_posterior import QUANTILES, quantiles
    >>> onset = np.linspace(0.0, 4.0, 41)
    >>> quantiles(onset, -0.5 * ((onset - 2) / 0.5) ** 2, QUANTILES).round(2)
    array([1.5, 2. , 2.5])
    """
    log_fine = _between(np.maximum(log_density, log_density.max() - _NOTHING))
    density = np.exp(log_fine - log_fine.max())
    below = np.cumsum(density) - 0.5 * (density[0] + density)
    fine = np.linspace(onset[0], onset[-1], log_fine.size)
    return np.interp(probabilities, below / below[-1], fine)


def _between(values):
    """Interpolate values at points one apart by a cubic spline."""
    if values.size <= _MOST_KEPT:
        return _spline_through(values.size) @ values
    return _spline(values)


@lru_cache(maxsize=_MOST_KEPT)
def _spline_through(n):
    """Make the matrix that interpolates n values, (n_fine, n)."""
    return _spline(np.eye(n))


def _spline(values):
    """Interpolate values, or rows, at points one apart."""
    n = len(values)
    fine = np.arange(_BETWEEN * (n - 1) + 1) / _BETWEEN
    return CubicSpline(np.arange(n), values)(fine)


def within_and_between(found):
    """Compute the error of the onset that one window gives, and the spread over windows, by their weights.

    Parameters
    ----------
    found : Fitted

    Returns
    -------
    std, systematic : float
        eV.
    """
    log_density = found.log_density
    ends = np.array([quantiles(found.onset, one, QUANTILES) for one in log_density])
    weights, medians = np.exp(found.log_window), ends[:, 1]
    mean = weights @ medians
    within = weights @ ((ends[:, 2] - ends[:, 0]) / 2) ** 2
    return np.sqrt(within), np.sqrt(weights @ (medians - mean) ** 2)


def mean_exponent(found):
    """Compute mean and standard deviation of the exponents that are tried.

    Parameters
    ----------
    found : Fitted

    Returns
    -------
    mean, std : float
    """
    evidence = log_sum(found.log_likelihood, axis=2) + found.log_window[:, None]
    evidence = log_sum(evidence, axis=0)
    weights = np.exp(evidence - log_sum(evidence))
    exponent = found.shapes.table[:, 1]
    mean = weights @ exponent
    return mean, np.sqrt(weights @ (exponent - mean) ** 2)
