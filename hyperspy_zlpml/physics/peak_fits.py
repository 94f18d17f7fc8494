# SPDX-License-Identifier: GPL-3.0-or-later
"""Least squares of peaks in blocks of spectra, and how clearly a peak is there.

Every spectrum has its own energies, response, start values and damping; what is computed together is
computed for each as if it were alone.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import log_ndtr, ndtri_exp

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.physics.peak_shapes import SHAPES
from hyperspy_zlpml.physics.peak_windows import Window

#: Steps of a fit at most; damping at first, and where a fit is given up.
_MOST_STEPS, _FIRST_DAMPING, _LARGEST_DAMPING = 100, 1e-3, 1e8
#: Damping that is none.
_LEAST_DAMPING = 1e-7
#: Change of chi2, in units of reduced chi2 above 1, below which a fit has converged.
_SETTLED = 1e-3
#: Longest step of a logarithm.
_LONGEST = 0.5
#: Least curvature by which steps are damped.
_SMALLEST = 1e-30
#: Powers of the energy by which a tail without a peak may fall.
_FALLS = (0.0, 8.0)
#: Lowest energy of a tail, in units of that of the peak.
_LEAST_OF_TAIL = 0.1
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
        Reduced.
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
    tried = problem.at(state.parameters + step, damping=0.1 * state.damping)
    better = tried.cost < state.cost
    settled = _SETTLED * np.maximum(state.cost / np.maximum(problem.window.n_used, 1), 1)
    decrease = (step * (state.normal @ step[..., None])[..., 0]).sum(-1)
    is_small = (decrease < settled) & (np.abs(state.cost - tried.cost) < settled)
    kept = replace(state, damping=10 * state.damping)
    moved = {
        name: np.where(_like(better, old), getattr(tried, name), old)
        for name, old in ((name, getattr(kept, name)) for name in _State._of_spectra())
    }
    moved["damping"] = np.maximum(moved["damping"], _LEAST_DAMPING)
    return _State(**moved), is_small | (moved["damping"] > _LARGEST_DAMPING)


def _like(rows, values):
    return rows.reshape((-1,) + (1,) * (values.ndim - 1))


def _fitted(problem, state, converged):
    """Find the covariance of the parameters, and how well they fit."""
    window = problem.window
    is_finite = np.isfinite(state.cost) & np.isfinite(state.normal).all((1, 2))
    normal = np.where(_like(is_finite, state.normal), state.normal, np.eye(state.normal.shape[-1]))
    n_fitted = window.free.shape[1] + (problem.precision == 0).sum()
    return Fitted(
        parameters=state.parameters,
        covariance=np.linalg.pinv(normal, hermitian=True),
        chi2=state.cost / np.maximum(window.n_used - n_fitted, 1),
        converged=converged & is_finite,
    )


class Scan(NamedTuple):
    """Clearest place of a peak in every spectrum.

    Attributes
    ----------
    position : ndarray of shape (n,)
        eV.
    amplitude : ndarray of shape (n,)
    sigma : ndarray of shape (n,)
        Standard deviation of the amplitude.
    significance : ndarray of shape (n,)
        Standard deviations by which something is there, with the choice among all places allowed for.
    """

    position: np.ndarray
    amplitude: np.ndarray
    sigma: np.ndarray
    significance: np.ndarray


def scan(model, k, window, positions):
    """Look for a peak of the expected width at several places.

    The amplitude at each place is a linear fit beside the background and the other peaks where they
    are expected; plasmons, which have no background, beside a smooth tail that falls as a power law. The largest of them in units of its error, ``z``, is held against what noise makes
    somewhere in the range: ``P = Phi(-z) + N exp(-z^2 / 2)``, with ``2 pi N`` the length of the path
    that the normalised shape describes (Davies, Biometrika 74, 33 (1987)).

    Parameters
    ----------
    model : Model
    k : int
        Which peak.
    window : Window
    positions : ndarray of shape (n_positions,)
        eV from the zero-loss peak.

    Returns
    -------
    Scan
    """
    nothing = np.zeros((len(window.energy), 1))
    position = nothing + positions
    shapes = model.peak(k, window, position, nothing + model.peaks[k].width + 0 * positions)[
        :, :, 0
    ]
    free = np.concatenate([_others(model, k, window), _beneath(model, k, window)], 1)
    window = window.beside(free)
    rows = window.whiten(np.concatenate([window.values[:, None], shapes], 1))
    data, shapes = rows[:, 0], rows[:, 1:]
    norm = np.sqrt((shapes**2).sum(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = shapes / norm[..., None]
        score = (unit @ data[..., None])[..., 0]
        best = np.nan_to_num(score, nan=-np.inf).argmax(-1)
        z, norm = (np.take_along_axis(one, best[:, None], -1)[:, 0] for one in (score, norm))
        path = np.sqrt((np.diff(unit, axis=1) ** 2).sum(-1)).sum(-1)
        n_free = np.maximum(window.n_used - free.shape[1] - 1, 1)
        chi2 = np.maximum(((data**2).sum(-1) - z**2) / n_free, 1.0)
        amplitude, sigma = z / norm, np.sqrt(chi2) / norm
    z = z / np.sqrt(chi2)
    return Scan(positions[best], amplitude, sigma, _of_best(z, path / (2 * np.pi)))


def _others(model, k, window):
    """Shapes of the other peaks where they are expected."""
    ones = np.ones(len(window.energy))
    others = [
        model.peak(j, window, peak.energy * ones, peak.width * ones)[:, 0]
        for j, peak in enumerate(model.peaks)
        if j != k
    ]
    return np.stack(others, 1) if others else np.empty((len(ones), 0, window.energy.shape[-1]))


def _beneath(model, k, window):
    """Shapes of what lies below a peak: the background, or a tail that falls where there is none."""
    if model.order >= 0:
        return model.background(window)
    energy = np.maximum(window.energy / model.peaks[k].energy, _LEAST_OF_TAIL)
    tail = energy ** -_fall(window, energy)[:, None]
    # The power is known about: what another one makes of the tail is the second shape.
    return np.stack([tail, tail * np.log(energy)], 1)


def _fall(window, energy):
    """Power by which losses fall over the window, from its outer thirds."""
    along, used = window.along(), window.weight > 0
    thirds = [used & (along < -1 / 3), used & (along > 1 / 3)]
    (e_low, low), (e_high, high) = (
        [np.where(part, one, 0.0).sum(-1) / np.maximum(part.sum(-1), 1) for one in both]
        for part, both in ((part, (energy, window.values)) for part in thirds)
    )
    known = (low > 0) & (high > 0) & (e_high > e_low)
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = np.log(low / high) / np.log(e_high / e_low)
    return np.clip(np.where(known, fall, 0.0), *_FALLS)


def _of_best(z, n_crossings):
    """Significance of the largest of scores along a path, in standard deviations of one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_many = np.log(n_crossings) - 0.5 * np.maximum(z, 0) ** 2
        log_p = np.logaddexp(log_ndtr(-z), log_many)
        return -ndtri_exp(np.minimum(log_p, -1e-3))
