# SPDX-License-Identifier: GPL-3.0-or-later
"""Laws: how a number changes with the settings of the microscope, with its uncertainty.

A law is a straight line in the scaled settings plus a smooth deviation from it (a Gaussian
process), seen with the scatter of one acquisition to the next [1]_. How large, how smooth and how
scattered is not chosen: all combinations on a grid are averaged, weighted by how likely they make
what was measured. Between the settings measured a law is as certain as they agree; beyond
them slope and deviation run away from each other, and the uncertainty grows.

References
----------
.. [1] C. E. Rasmussen, C. K. I. Williams, *Gaussian Processes for Machine Learning*, MIT Press
   (2006), sections 2.2, 2.7 and 5.4.1.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from scipy.linalg import cho_factor, cho_solve

#: Standard deviations of the smooth deviation, its lengths along each condition in units of half the
#: range of the settings, and scatters from one acquisition to the next: everything is in logarithms.
_DEVIATIONS = (0.01, 0.03, 0.1, 0.3, 1.0)
_LENGTHS = (0.7, 2.0, 6.0)
_SCATTERS = (3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1)
#: With more conditions than this the deviation has one length for all.
_MOST_OWN_LENGTHS = 2
#: What is known of mean and slopes beforehand: nothing to speak of.
_MEAN_SIGMA, _SLOPE_SIGMA = 10.0, 3.0


@dataclass(frozen=True)
class Law:
    """A number measured at several settings.

    Attributes
    ----------
    settings : ndarray of shape (n_settings, n_conditions)
        Scaled so that those measured lie between -1 and 1.
    values : ndarray of shape (n_settings,)
    errors : ndarray of shape (n_settings,)
        Standard errors of the values, without the scatter between acquisitions.
    """

    settings: np.ndarray
    values: np.ndarray
    errors: np.ndarray

    def __call__(self, settings):
        """Mean and standard deviation of one acquisition at other settings.

        Parameters
        ----------
        settings : ndarray of shape (n, n_conditions)

        Returns
        -------
        mean, sigma : ndarray of shape (n,)
        """
        settings = np.asarray(settings, float)
        means, variances = [], []
        for (deviation, length, scatter), factor, solved in self._fits:
            cross = _covariance(settings, self.settings, deviation, length)
            itself = _variance_alone(settings, deviation)
            means.append(cross @ solved)
            explained = np.einsum("ij,ji->i", cross, cho_solve(factor, cross.T))
            variances.append(np.clip(itself - explained, 0, None) + scatter**2)
        mean = self._weights @ means
        spread = self._weights @ (np.array(means) - mean) ** 2
        return self._offset + mean, np.sqrt(self._weights @ variances + spread)

    @property
    def _offset(self):
        return self.values.mean()

    @cached_property
    def _fits(self):
        """Every combination: its numbers, factorised covariance and solved values."""
        fits = []
        n = self.settings.shape[1]
        own = product(_LENGTHS, repeat=n) if n <= _MOST_OWN_LENGTHS else zip(_LENGTHS, strict=True)
        lengths = [np.array(each) for each in own]
        for numbers in product(_DEVIATIONS, lengths, _SCATTERS):
            deviation, length, scatter = numbers
            covariance = _covariance(self.settings, self.settings, deviation, length)
            covariance[np.diag_indices(len(covariance))] += scatter**2 + self.errors**2
            factor = cho_factor(covariance, lower=True)
            fits.append((numbers, factor, cho_solve(factor, self.values - self._offset)))
        return fits

    @cached_property
    def _weights(self):
        """Of the combinations, by the likelihood of the values."""
        values = self.values - self._offset
        log_likelihood = np.array(
            [-0.5 * values @ s - np.log(np.diag(f[0])).sum() for _, f, s in self._fits]
        )
        weights = np.exp(log_likelihood - log_likelihood.max())
        return weights / weights.sum()


def _covariance(a, b, deviation, length):
    """Of the law at two sets of settings: mean, slopes, smooth deviation."""
    distance = (((a[:, None] - b) / length) ** 2).sum(-1)
    smooth = deviation**2 * np.exp(-0.5 * distance)
    return _MEAN_SIGMA**2 + _SLOPE_SIGMA**2 * (a @ b.T) + smooth


def _variance_alone(settings, deviation):
    return _MEAN_SIGMA**2 + _SLOPE_SIGMA**2 * (settings**2).sum(-1) + deviation**2
