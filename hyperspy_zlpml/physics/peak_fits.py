# SPDX-License-Identifier: GPL-3.0-or-later
"""Least squares of peaks in blocks of spectra.

Every spectrum has its own energies, response, start values and damping; what is computed together is
computed for each as if it were alone.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from scipy.fft import irfft, next_fast_len, rfft

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.physics.peak_shapes import SHAPES
from hyperspy_zlpml.physics.peak_windows import Window

#: Steps of a fit at most; damping at first, and where a fit is given up.
_MOST_STEPS, _FIRST_DAMPING, _LARGEST_DAMPING = 100, 1e-3, 1e8
#: Factors of the damping: after a step that made nothing better, and the least after a good one.
_REJECTED, _LEAST_CHANGE = 4.0, 0.1
#: Damping that is none.
_LEAST_DAMPING = 1e-7
#: Change of chi2, in units of reduced chi2 above 1, below which a fit has converged.
_SETTLED = 1e-3
#: Longest step of a logarithm.
_LONGEST = 0.5
#: Least curvature by which steps are damped.
_SMALLEST = 1e-30
#: Numbers of a peak: logarithms of amplitude, position and width.
N_NUMBERS = 3


class Model:
    """Sum of peaks, blurred by the response of each spectrum, over a polynomial.

    Parameters
    ----------
    peaks : sequence of Plasmon or Exciton
        Energies in eV.
    order : int
        Of the polynomial; -1 for none.
    channel : float
        Step of the axis, eV: amplitudes of peaks of unit area are counts.
    weight : callable, optional
        Of the energy: what plasmons are multiplied by, the angular logarithm.
    """

    def __init__(self, peaks, order, channel, weight=None):
        self.peaks = peaks
        self.order = order
        self.channel = channel
        self.weight = weight

    @property
    def n_parameters(self):
        """Number of parameters of a spectrum, three of each peak; the polynomial follows from them."""
        return N_NUMBERS * len(self.peaks)

    def peak(self, k, window, position, width):
        """Compute one peak and its derivatives, blurred, in counts per channel.

        Parameters
        ----------
        k : int
            Which one.
        window : Window
        position, width : ndarray of shape (n,) or (n, n_positions)

        Returns
        -------
        ndarray of shape (n, 3, n_bins), or (n, n_positions, 3, n_bins)
            Value, derivatives by ln position and ln width, for unit amplitude.
        """
        n_margin = window.response.shape[-1] // 2
        n_bins = window.energy.shape[-1]
        offsets = window.step * np.arange(-n_margin, n_bins + n_margin)
        energy = window.energy[:, :1] + offsets
        response = window.response
        if position.ndim == 2:
            energy, response = energy[:, None], response[:, None]
        peak = self.peaks[k]
        parts = np.stack(SHAPES[peak.shape](energy, position[..., None], width[..., None]), -2)
        parts *= self._factor(peak, energy)[..., None, :]
        return _blur(parts, response[..., None, :])

    def _factor(self, peak, energy):
        if peak.shape != "drude":
            return np.full(energy.shape, self.channel)
        if self.weight is None:
            return np.ones(energy.shape)
        return np.where(energy > 0, self.weight(np.maximum(energy, self.channel)), 0.0)

    def background(self, window):
        """Compute the Chebyshev polynomials of which the background is a sum.

        Parameters
        ----------
        window : Window

        Returns
        -------
        ndarray of shape (n, order + 1, n_bins)
        """
        return np.moveaxis(chebvander(window.along(), self.order + 1)[..., :-1], -1, 1)

    def evaluate(self, window, parameters):
        """Compute the peaks and their derivatives by all parameters.

        Parameters
        ----------
        window : Window
        parameters : ndarray of shape (n, n_parameters)

        Returns
        -------
        value : ndarray of shape (n, n_bins)
        jacobian : ndarray of shape (n, n_parameters, n_bins)
        """
        rows = []
        for k in range(len(self.peaks)):
            amplitude, position, width = np.exp(parameters[:, N_NUMBERS * k :][:, :N_NUMBERS]).T
            rows.append(amplitude[:, None, None] * self.peak(k, window, position, width))
        # The derivative by the logarithm of the amplitude is the peak itself.
        return sum(row[:, 0] for row in rows), np.concatenate(rows, 1)


def _blur(rows, response):
    """Convolve rows with responses; what is left lies wholly on the rows."""
    n, n_response = rows.shape[-1], response.shape[-1]
    length = next_fast_len(n, real=True)
    blurred = irfft(rfft(rows, length) * rfft(response, length), length)
    return blurred[..., n_response - 1 : n]


class Fitted(NamedTuple):
    """Least squares of a block: parameters, their covariance, what is left.

    Attributes
    ----------
    parameters : ndarray of shape (n, n_parameters)
    covariance : ndarray of shape (n, n_parameters, n_parameters)
        Of noise and zero-loss peak; the model is taken to be true.
    chi2 : ndarray of shape (n,)
        Reduced by channels less numbers that the data fit: one that a prior holds counts as far as the data tell it.
    converged : ndarray of bool of shape (n,)
    """

    parameters: np.ndarray
    covariance: np.ndarray
    chi2: np.ndarray
    converged: np.ndarray


class Prior(NamedTuple):
    """Normal distribution of each parameter before the fit.

    Attributes
    ----------
    mean : ndarray of shape (n, n_parameters)
    precision : ndarray of shape (n_parameters,)
        Inverse variance; 0 where nothing is known.
    """

    mean: np.ndarray
    precision: np.ndarray


@dataclass(frozen=True)
class _Problem(PerSpectrum):
    """Least squares of some spectra: windows, whitened data, and what was known before."""

    shared = ("model", "precision")

    model: Model
    window: Window
    data: np.ndarray
    mean: np.ndarray
    precision: np.ndarray

    def at(self, parameters, damping):
        """Evaluate cost, gradient and normal equations."""
        with np.errstate(over="ignore", invalid="ignore"):
            value, jacobian = self.model.evaluate(self.window, parameters)
            rows = self.window.whiten(np.concatenate([value[:, None], jacobian], 1))
        residual, jacobian = self.data - rows[:, 0], rows[:, 1:]
        off = self.mean - parameters
        return _State(
            parameters=parameters.copy(),
            cost=(residual**2).sum(-1) + (self.precision * off**2).sum(-1),
            normal=jacobian @ jacobian.swapaxes(-1, -2) + np.diag(self.precision),
            gradient=(jacobian @ residual[..., None])[..., 0] + self.precision * off,
            damping=damping,
        )


@dataclass(frozen=True)
class _State(PerSpectrum):
    """Fits of some spectra under way."""

    parameters: np.ndarray
    cost: np.ndarray
    normal: np.ndarray
    gradient: np.ndarray
    damping: np.ndarray


def least_squares(model, window, start, prior):
    """Fit a model to every spectrum by the method of Levenberg and Marquardt.

    Derivatives are analytic, and the damping is that of each spectrum: none knows of the others. The
    polynomial enters linearly and is fitted along (variable projection), so that it costs no steps.

    Parameters
    ----------
    model : Model
    window : Window
    start : ndarray of shape (n, n_parameters)
    prior : Prior

    Returns
    -------
    Fitted
    """
    window = window.beside(model.background(window))
    data = window.whiten(window.values[:, None])[:, 0]
    problem = _Problem(model, window, data=data, mean=prior.mean, precision=prior.precision)
    state = problem.at(start, damping=np.full(len(start), _FIRST_DAMPING))
    converged = np.zeros(len(start), bool)
    for _ in range(_MOST_STEPS):
        rows = np.flatnonzero(~converged)
        if not rows.size:
            break
        moved, converged[rows] = _step(problem.select(rows), state.select(rows))
        for name in _State._of_spectra():
            getattr(state, name)[rows] = getattr(moved, name)
    return _fitted(problem, state, converged)


def _step(problem, state):
    """Try a step for every fit; say which have converged."""
    scale = np.maximum(np.diagonal(state.normal, axis1=1, axis2=2), _SMALLEST)
    damped = state.normal + (state.damping[:, None] * scale)[..., None] * np.eye(scale.shape[-1])
    step = np.linalg.solve(damped, state.gradient[..., None])[..., 0]
    step = np.clip(step, -_LONGEST, _LONGEST)
    tried = problem.at(state.parameters + step, damping=state.damping)
    better = tried.cost < state.cost
    promised = (step * (2 * state.gradient - (state.normal @ step[..., None])[..., 0])).sum(-1)
    kept_promise = (state.cost - tried.cost) / np.maximum(promised, _SMALLEST)
    tried = replace(tried, damping=state.damping * _damped(kept_promise))
    settled = _SETTLED * np.maximum(state.cost / np.maximum(problem.window.n_used, 1), 1)
    decrease = (step * (state.normal @ step[..., None])[..., 0]).sum(-1)
    is_small = (decrease < settled) & (np.abs(state.cost - tried.cost) < settled)
    kept = replace(state, damping=_REJECTED * state.damping)
    moved = {
        name: np.where(_like(better, old), getattr(tried, name), old)
        for name, old in ((name, getattr(kept, name)) for name in _State._of_spectra())
    }
    moved["damping"] = np.maximum(moved["damping"], _LEAST_DAMPING)
    return _State(**moved), is_small | (moved["damping"] > _LARGEST_DAMPING)


def _damped(kept_promise):
    """Change the damping by how much of the decrease of the cost that was promised has come about.

    Less where all of it has, more where a step went too far (H. B. Nielsen, IMM-REP-1999-05, Technical
    University of Denmark (1999)).
    """
    kept_promise = np.clip(np.nan_to_num(kept_promise), 0.0, 1.0)
    return np.maximum(1 - (2 * kept_promise - 1) ** 3, _LEAST_CHANGE)


def _like(rows, values):
    return rows.reshape((-1,) + (1,) * (values.ndim - 1))


def _fitted(problem, state, converged):
    """Find the covariance of the parameters, and how well they fit."""
    window = problem.window
    is_finite = np.isfinite(state.cost) & np.isfinite(state.normal).all((1, 2))
    normal = np.where(_like(is_finite, state.normal), state.normal, np.eye(state.normal.shape[-1]))
    covariance = np.linalg.pinv(normal, hermitian=True)
    # Of a number that was known before the data fit as much as they tell: trace of N^-1 (N - P).
    known = np.clip(problem.precision * np.diagonal(covariance, axis1=1, axis2=2), 0, 1)
    n_fitted = window.free.shape[1] + (1 - known).sum(-1)
    return Fitted(
        parameters=state.parameters,
        covariance=covariance,
        chi2=state.cost / np.maximum(window.n_used - n_fitted, 1),
        converged=converged & is_finite,
    )
