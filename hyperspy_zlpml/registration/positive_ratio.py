# SPDX-License-Identifier: GPL-3.0-or-later
"""Ratio of a tail to what was expected of it: positive, drawn to one, from measurements with errors.

What is expected is known to a factor, not to a sum: a tail may be thirty times what the gain side says,
and is never below zero. So the logarithm of the ratio has a normal prior, and the measurements, which noise
may take below zero, a normal likelihood. The logarithm walks at random outward from where the ratio is known to
be one: what it has become at one energy it keeps beyond, but for the further steps. The mode of the posterior
follows by Gauss-Newton steps (Laplace's method; Rasmussen & Williams, *Gaussian Processes for Machine Learning*,
chapter 3).

Peaks whose sides differ more than expected part within an octave of where the tail begins: how far is told by the
evidence, and is nothing unless that is clear.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

#: Standard deviations that sides of a peak may part by within an octave, beside what is expected: the logarithm
#: over an e-fold of the energy.
_PARTINGS = (0.0, 0.5, 1.0, 2.0, 4.0)
#: Sides part within this logarithm of the energy.
_OCTAVE = np.log(2)
#: Natural logarithm of the evidence by which a parting is better than none.
_CLEAR = 5.0
#: Deviations that few blocks of spectra share are believed between energies of about this logarithm of a factor.
_SHARED_OVER = 1.0
#: Gauss-Newton steps, by which the logarithm changes by at most this in each, until it changes by less than that.
_STEPS = 60
_LONGEST_STEP = 0.5
_SETTLED = 1e-3
#: Smallest ratio.
_SMALLEST = 0.05
#: Smallest variances, against rounding.
_LEAST_VARIANCE = 1e-12
#: What is left of the prior is described by so many directions.
_N_DIRECTIONS = 6


@dataclass(frozen=True)
class PositiveRatio:
    """Ratio at increasing energies, and its errors.

    Attributes
    ----------
    log_ratio : ndarray of shape (n,)
    response : ndarray of shape (n, n)
        Change of ``log_ratio`` (first axis) by a relative change of each measurement.
    directions : ndarray of shape (n_directions, n)
        Independent errors of ``log_ratio``, of one standard deviation each: what measurements leave of the prior, and
        their errors of single energies. Errors that they share are not among them, see :meth:`follow`.
    """

    log_ratio: np.ndarray
    response: np.ndarray
    directions: np.ndarray

    @property
    def ratio(self):
        """Ratio itself, (n,)."""
        return np.exp(self.log_ratio)

    def follow(self, deviations):
        """Compute how errors of the measurements move the logarithm of the ratio.

        Parameters
        ----------
        deviations : ndarray of shape (n_deviations, n)

        Returns
        -------
        ndarray of shape (n_deviations, n)
        """
        return (deviations / self.ratio) @ self.response.T


def positive_ratio(u, start, found, deviations, variance, prior):
    """Find the ratio that measurements and its prior agree on.

    Parameters
    ----------
    u : ndarray of shape (n,)
        Reduced energies, rising.
    start : float
        Reduced energy before these, up to which the ratio is one.
    found : ndarray of shape (n,)
        Measured ratios.
    deviations : ndarray of shape (n_deviations, n)
        Errors of these that neighbouring energies share, of one standard deviation each.
    variance : ndarray of shape (n,)
        That of the errors of each energy by itself; infinite where nothing was measured.
    prior : ndarray of shape (n,)
        Standard deviation of the logarithm of the ratio before.

    Returns
    -------
    PositiveRatio

    Examples
    --------
    A tail that is ten times as high as expected, known to a tenth of itself, and unknown farther out:

    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.positive_ratio import positive_ratio
    >>> u = np.geomspace(1.1, 16.0, 60)
    >>> known = u < 5
    >>> found = np.where(known, 10.0, -3.0)
    >>> variance = np.where(known, 1.0, 1e4)
    >>> prior, none_shared = 0.25 * np.log(u), np.zeros((1, 60))
    >>> tail = positive_ratio(
    ...     u, start=1.0, found=found, deviations=none_shared, variance=variance, prior=prior
    ... )
    >>> tail.ratio[[30, 59]].round()
    array([10., 10.])
    """
    time = np.maximum.accumulate(prior**2)
    parted = np.minimum(np.log(u / start), _OCTAVE)
    distance = np.abs(np.subtract.outer(np.log(u), np.log(u)))
    shared = deviations.T @ deviations * np.exp(-distance / _SHARED_OVER)
    own = variance + _LEAST_VARIANCE
    kernels = [_walk(time) + spread**2 * _walk(parted) for spread in _PARTINGS]
    fits = [_Fit(found, shared, own, kernel) for kernel in kernels]
    best = max(fits, key=lambda fit: fit.evidence)
    return (best if best.evidence > fits[0].evidence + _CLEAR else fits[0]).posterior()


def _walk(time):
    """Compute the covariance of a random walk at some times."""
    return np.minimum.outer(time, time) + _LEAST_VARIANCE * np.eye(time.size)


class _Fit:
    """Mode of the posterior of the logarithm for one prior."""

    def __init__(self, found, shared, own, kernel):
        self.known = np.isfinite(own)
        self.found, self.own = found[self.known], own[self.known]
        self.noise = shared[np.ix_(self.known, self.known)] + np.diag(self.own)
        self.kernel = kernel
        self.log_ratio = np.zeros(found.size)
        for _ in range(_STEPS):
            step = np.clip(self._solved() - self.log_ratio, -_LONGEST_STEP, _LONGEST_STEP)
            self.log_ratio = np.maximum(self.log_ratio + step, np.log(_SMALLEST))
            if np.abs(step).max() < _SETTLED:
                break

    def _linearised(self):
        """Compute the logarithm that was measured, seen from the present one, and the covariance of its errors."""
        ratio = np.exp(self.log_ratio[self.known])
        measured = self.log_ratio[self.known] + self.found / ratio - 1
        return measured, self.noise / np.outer(ratio, ratio)

    def _total(self, noise):
        """Compute the Cholesky factor of the covariance of what is measured."""
        return cho_factor(self.kernel[np.ix_(self.known, self.known)] + noise, lower=True)

    def _solved(self):
        """Solve for the logarithm at all energies."""
        measured, noise = self._linearised()
        return self.kernel[:, self.known] @ cho_solve(self._total(noise), measured)

    @property
    def evidence(self):
        """Logarithm of the probability of the measurements, but for a constant."""
        measured, noise = self._linearised()
        total, alone = self._total(noise), cho_factor(noise, lower=True)
        off = self.found / np.exp(self.log_ratio[self.known]) - 1
        weight = cho_solve(total, measured)
        walked = weight @ self.kernel[np.ix_(self.known, self.known)] @ weight
        size = np.log(np.diag(total[0]) / np.diag(alone[0])).sum()
        return -0.5 * (off @ cho_solve(alone, off) + walked) - size

    def posterior(self):
        """Describe it by what measurements move, and by what they leave unknown."""
        _, noise = self._linearised()
        response = np.zeros_like(self.kernel)
        response[:, self.known] = cho_solve(self._total(noise), self.kernel[self.known]).T
        rest = np.eye(len(response)) - response
        own = response[:, self.known] * np.sqrt(self.own) / np.exp(self.log_ratio[self.known])
        left = rest @ self.kernel @ rest.T + own @ own.T
        return PositiveRatio(self.log_ratio, response, _directions(left))


def _directions(covariance):
    """Describe a covariance by few directions that have all of its variances."""
    sigma = np.sqrt(np.maximum(np.diag(covariance), _LEAST_VARIANCE))
    # Of the correlation: small errors near the peak count as large ones far out.
    values, vectors = np.linalg.eigh(covariance / np.outer(sigma, sigma))
    directions = (vectors * np.sqrt(np.maximum(values, 0.0))).T[-_N_DIRECTIONS:]
    return sigma * directions / np.sqrt((directions**2).sum(0))
