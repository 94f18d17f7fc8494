# SPDX-License-Identifier: GPL-3.0-or-later
"""Laws: how a number changes with the settings of the microscope, with its uncertainty.

A law is a straight line in the scaled settings plus a smooth deviation from it (a Gaussian
process), seen with the scatter of one acquisition to the next [1]_. Size, smoothness and scatter
are not chosen: all combinations on a grid are averaged, weighted by how likely they make the
values measured. Between the settings measured a law is as certain as they agree; beyond
them slope and deviation run away from each other, and the uncertainty grows.

References
----------
.. [1] C. E. Rasmussen, C. K. I. Williams, *Gaussian Processes for Machine Learning*, MIT Press
   (2006), sections 2.2, 2.7 and 5.4.1.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

#: Standard deviations of the smooth deviation that are tried, of a logarithm.
_DEVIATIONS = (0.01, 0.03, 0.1, 0.3, 1.0)
#: Its lengths along each condition that are tried, in units of half the range of the settings.
_LENGTHS = (0.7, 2.0, 6.0)
#: Scatters from one acquisition to the next that are tried, of a logarithm.
_SCATTERS = (3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1)
#: With more conditions than this the deviation has one length for all.
_MOST_OWN_LENGTHS = 2
#: Standard deviation of the mean beforehand, of a logarithm: hardly anything is known.
_MEAN_SIGMA = 10.0
#: Standard deviation of the slopes beforehand, per half range of the settings.
_SLOPE_SIGMA = 3.0


class _Fit(NamedTuple):
    """One combination, fitted to the values: its numbers, factorised covariance, solved values."""

    deviation: float
    length: np.ndarray
    scatter: float
    factor: tuple[np.ndarray, bool]
    solved: np.ndarray


@dataclass(frozen=True)
class Law:
    """Law of a number measured at several settings.

    Attributes
    ----------
    settings : ndarray of shape (n_settings, n_conditions)
        Scaled so that those measured lie between -1 and 1.
    values : ndarray of shape (n_settings,)
        Logarithms.
    errors : ndarray of shape (n_settings,)
        Standard errors of the values, without the scatter between acquisitions.

    Examples
    --------
    Values on a straight line: it goes on, the less certain the further away.

    >>> import numpy as np
    >>> from hyperspy_zlpml.ensemble.laws import Law
    >>> settings = np.linspace(-1, 1, 5)[:, None]
    >>> law = Law(settings, values=2 + 0.5 * settings[:, 0], errors=np.full(5, 1e-3))
    >>> mean, sigma = law([[0.3], [2.0], [4.0]])
    >>> mean.round(2), bool((np.diff(sigma) > 0).all())
    (array([2.15, 3.  , 4.  ]), True)
    """

    settings: np.ndarray
    values: np.ndarray
    errors: np.ndarray

    def __call__(self, settings):
        """Predict mean and standard deviation of one acquisition at other settings.

        Parameters
        ----------
        settings : array_like of shape (n, n_conditions)
            Scaled like those measured.

        Returns
        -------
        mean, sigma : ndarray of shape (n,)
        """
        settings = np.asarray(settings, float)
        means, variances = [], []
        for fit in self._fits:
            cross = _covariance(settings, self.settings, fit.deviation, fit.length)
            itself = _variance_alone(settings, fit.deviation)
            means.append(cross @ fit.solved)
            explained = np.einsum("ij,ji->i", cross, cho_solve(fit.factor, cross.T))
            variances.append(np.clip(itself - explained, 0, None) + fit.scatter**2)
        mean = self._weights @ means
        spread = self._weights @ (np.array(means) - mean) ** 2
        return self._offset + mean, np.sqrt(self._weights @ variances + spread)

    @property
    def _offset(self):
        """Mean of the values, which the fits do not have to find."""
        return self.values.mean()

    @cached_property
    def _fits(self):
        """Fits of every combination."""
        fits = []
        n = self.settings.shape[1]
        own = product(_LENGTHS, repeat=n) if n <= _MOST_OWN_LENGTHS else zip(_LENGTHS, strict=True)
        lengths = [np.array(each) for each in own]
        for deviation, length, scatter in product(_DEVIATIONS, lengths, _SCATTERS):
            covariance = _covariance(self.settings, self.settings, deviation, length)
            covariance[np.diag_indices(len(covariance))] += scatter**2 + self.errors**2
            factor = cho_factor(covariance, lower=True)
            solved = cho_solve(factor, self.values - self._offset)
            fits.append(_Fit(deviation, length, scatter, factor=factor, solved=solved))
        return fits

    @cached_property
    def _weights(self):
        """Weights of the combinations, by the likelihood of the values."""
        values = self.values - self._offset
        log_likelihood = np.array(
            [
                -0.5 * values @ fit.solved - np.log(np.diag(fit.factor[0])).sum()
                for fit in self._fits
            ]
        )
        weights = np.exp(log_likelihood - log_likelihood.max())
        return weights / weights.sum()


def _covariance(a, b, deviation, length):
    """Compute the covariance of a law at two sets of settings: mean, slopes, smooth deviation."""
    distance = (((a[:, None] - b) / length) ** 2).sum(-1)
    smooth = deviation**2 * np.exp(-0.5 * distance)
    return _MEAN_SIGMA**2 + _SLOPE_SIGMA**2 * (a @ b.T) + smooth


def _variance_alone(settings, deviation):
    """Compute the variance of a law at some settings before anything is measured."""
    return _MEAN_SIGMA**2 + _SLOPE_SIGMA**2 * (settings**2).sum(-1) + deviation**2
