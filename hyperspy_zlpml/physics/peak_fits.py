# SPDX-License-Identifier: GPL-3.0-or-later
"""Fits of peaks to blocks of spectra: windows, least squares with correlated errors, significance.

What is fitted is a window of each spectrum, in energies from its own zero-loss peak. Its covariance is
``diag(noise) + sum_i d_i d_i^T``, with the directions ``d_i`` in which the zero-loss peak may be off.
A window is whitened once; all that follows is ordinary least squares.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import log_ndtr, ndtri_exp

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.physics.peak_shapes import SHAPES

#: Bins in the width of the narrowest peak, as it is blurred.
_BINS_PER_WIDTH = 20
#: FWHM that the axis of the response reaches to.
_RESPONSE_REACH = 8.0
#: Least half window in FWHM of the zero-loss peak.
_LEAST_REACH = 2.0
#: Steps of a fit at most; damping at first, and where a fit is given up.
_MOST_STEPS, _FIRST_DAMPING, _LARGEST_DAMPING = 40, 1e-3, 1e8
#: Change of chi2 below which a fit has converged.
_SETTLED = 1e-4
#: Longest step of a logarithm.
_LONGEST = 0.5
#: Least curvature by which steps are damped.
_SMALLEST = 1e-30
#: Numbers of a peak: logarithms of amplitude, position and width.
N_NUMBERS = 3


@dataclass(frozen=True)
class Window(PerSpectrum):
    """Piece of every spectrum that is fitted, in bins.

    Attributes
    ----------
    step : float
        Of the bins, eV.
    energy : ndarray of shape (n, n_bins)
        From the zero-loss peak, eV.
    values : ndarray of shape (n, n_bins)
        Counts per channel, free of the zero-loss peak.
    weight : ndarray of shape (n, n_bins)
        Inverse standard deviation of the noise; 0 for bins that are not used.
    directions : ndarray of shape (n, n_directions, n_bins)
        Deviations of the zero-loss peak, times the weight.
    mixing : ndarray of shape (n, n_directions, n_directions)
        Made of the directions, see :meth:`whiten`.
    response : ndarray of shape (n, n_response)
        Zero-loss peak of each spectrum in bins, odd, centred, of sum 1.
    """

    step: float
    energy: np.ndarray
    values: np.ndarray
    weight: np.ndarray
    directions: np.ndarray
    mixing: np.ndarray
    response: np.ndarray

    shared = ("step",)

    @property
    def n_used(self):
        """Bins that are used, of each spectrum."""
        return (self.weight > 0).sum(-1)

    def whiten(self, rows):
        """Multiply by the inverse square root of the covariance of the window.

        With ``W`` the directions over the standard deviation of the noise, the whitened covariance is
        ``1 + W W^T``; its inverse root is ``1 - W M W^T``, where ``M`` is of the size of the number
        of directions.

        Parameters
        ----------
        rows : ndarray of shape (n, n_rows, n_bins)

        Returns
        -------
        ndarray of shape (n, n_rows, n_bins)
        """
        rows = rows * self.weight[:, None]
        inner = rows @ self.directions.mT @ self.mixing
        return rows - inner @ self.directions

    def within(self, low, high):
        """Use only bins between two energies.

        Parameters
        ----------
        low, high : float or ndarray of shape (n,)
            eV from the zero-loss peak.

        Returns
        -------
        Window
        """
        low, high = np.broadcast_arrays(low, high, np.empty(len(self.energy)))[:2]
        inside = (self.energy >= low[:, None]) & (self.energy <= high[:, None])
        directions = self.directions * inside[:, None]
        return replace(
            self,
            weight=self.weight * inside,
            directions=directions,
            mixing=mixing_of(directions),
        )


def mixing_of(directions):
    """Compute the matrix by which directions enter the inverse root of a covariance.

    Parameters
    ----------
    directions : ndarray of shape (n, n_directions, n_bins)
        ``W^T``, in units of the noise.

    Returns
    -------
    ndarray of shape (n, n_directions, n_directions)
        ``M`` such that ``(1 - W M W^T)^2 = (1 + W W^T)^-1``.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.peak_fits import mixing_of
    >>> w = np.array([[[1.0, 2.0, 2.0]]])
    >>> root = np.eye(3) - w[0].T @ mixing_of(w)[0] @ w[0]
    >>> np.allclose(root @ root, np.linalg.inv(np.eye(3) + w[0].T @ w[0]))
    True
    """
    squared, vectors = np.linalg.eigh(directions @ directions.mT)
    squared = np.maximum(squared, 0)
    # (1 - 1/sqrt(1 + s)) / s without the cancellation at small s.
    root = np.sqrt(1 + squared)
    return (vectors / (root * (1 + root))[:, None]) @ vectors.mT


def take_window(losses, low, high, width, values=None):
    """Take the piece of every spectrum between two energies from its peak, in bins.

    Parameters
    ----------
    losses : Losses
    low, high : float
        eV from the zero-loss peak.
    width : float
        Of the narrowest feature, eV: there are 20 bins in it, as blurred by the response.
    values : ndarray of shape (n, n_energy), optional
        Instead of the subtracted counts.

    Returns
    -------
    Window
        Bins off the axis, and those below the limit of losses, have no weight.
    """
    values = losses.subtracted if values is None else values
    n_together = channels_together(losses, width)
    n_bins = max(int((high - low) / (losses.step * n_together)), 1)
    first = np.ceil((low + losses.centre - losses.energy[0]) / losses.step - 1e-6).astype(int)
    channel = first[:, None] + np.arange(n_bins * n_together)
    on_axis = (channel >= 0) & (channel < losses.energy.size)
    channel = np.clip(channel, 0, losses.energy.size - 1)
    energy = losses.energy[channel] - losses.centre[:, None]
    usable = on_axis & (energy >= losses.loss_limit[:, None])

    def binned(rows):
        return rows.reshape(rows.shape[:-1] + (n_bins, n_together)).mean(-1)

    variance = binned(np.take_along_axis(losses.variance, channel, -1)) / n_together
    used = binned(usable) == 1
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(used & (variance > 0), 1 / np.sqrt(variance), 0.0)
    directions = binned(np.take_along_axis(losses.directions, channel[:, None], -1))
    directions = directions * weight[:, None]
    bins = losses.step * n_together
    start = losses.energy[0] + losses.step * (first + 0.5 * (n_together - 1)) - losses.centre
    return Window(
        step=bins,
        energy=start[:, None] + bins * np.arange(n_bins),
        values=binned(np.take_along_axis(values, channel, -1)),
        weight=weight,
        directions=directions,
        mixing=mixing_of(directions),
        response=losses.response @ _hats(losses.distance, bins),
    )


def channels_together(losses, width):
    """Count the channels that make one bin for a feature of some width.

    Parameters
    ----------
    losses : Losses
    width : float
        eV, without the blur of the response.

    Returns
    -------
    int
    """
    blurred = np.hypot(width, losses.distance[-1] / _RESPONSE_REACH)
    return max(int(blurred / (_BINS_PER_WIDTH * losses.step)), 1)


def _hats(distance, step):
    """Weights that share channels among the two nearest bins, so that the mean stays."""
    n_half = int(np.ceil(distance[-1] / step))
    nodes = step * np.arange(-n_half, n_half + 1)
    return np.maximum(1 - np.abs(distance[:, None] - nodes) / step, 0)


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
        """Number of parameters of a spectrum: three of each peak, and the polynomial."""
        return N_NUMBERS * len(self.peaks) + self.order + 1

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
        """Compute the powers of the energy of which the background is a sum.

        Parameters
        ----------
        window : Window

        Returns
        -------
        ndarray of shape (n, order + 1, n_bins)
        """
        low, high = window.energy[:, :1], window.energy[:, -1:]
        x = (2 * window.energy - low - high) / (high - low + window.step)
        return np.stack([x**power for power in range(self.order + 1)] or [x], 1)[:, : self.order + 1]

    def evaluate(self, window, parameters):
        """Compute the model and its derivatives by all parameters.

        Parameters
        ----------
        window : Window
        parameters : ndarray of shape (n, n_parameters)

        Returns
        -------
        value : ndarray of shape (n, n_bins)
        jacobian : ndarray of shape (n, n_parameters, n_bins)
        """
        n_peaks = N_NUMBERS * len(self.peaks)
        rows = []
        for k in range(len(self.peaks)):
            amplitude, position, width = np.exp(parameters[:, N_NUMBERS * k :][:, :N_NUMBERS]).T
            rows.append(amplitude[:, None, None] * self.peak(k, window, position, width))
        powers = self.background(window)
        jacobian = np.concatenate([*rows, powers], 1)
        value = sum(row[:, 0] for row in rows)
        linear = parameters[:, None, n_peaks:] @ powers
        return value + linear[:, 0], jacobian


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


@dataclass(frozen=True)
class _State(PerSpectrum):
    """Fits of some spectra under way."""

    parameters: np.ndarray
    cost: np.ndarray
    normal: np.ndarray
    gradient: np.ndarray
    damping: np.ndarray


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


def least_squares(model, window, start, prior):
    """Fit a model to every spectrum by the method of Levenberg and Marquardt.

    Derivatives are analytic, and the damping is that of each spectrum: none knows of the others.

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
    data = window.whiten(window.values[:, None])[:, 0]
    state = _evaluated(model, window, data, start, prior)
    state = replace(state, damping=np.full(len(start), _FIRST_DAMPING))
    converged = np.zeros(len(start), bool)
    for _ in range(_MOST_STEPS):
        rows = np.flatnonzero(~converged)
        if not rows.size:
            break
        some = Prior(prior.mean[rows], prior.precision)
        moved, converged[rows] = _step(
            model, window.select(rows), data[rows], state.select(rows), some
        )
        for name in _State._of_spectra():
            getattr(state, name)[rows] = getattr(moved, name)
    return _fitted(window, state, prior, converged)


def _evaluated(model, window, data, parameters, prior):
    """Evaluate cost, gradient and normal equations of fits."""
    with np.errstate(over="ignore", invalid="ignore"):
        value, jacobian = model.evaluate(window, parameters)
        both = window.whiten(np.concatenate([value[:, None], jacobian], 1))
    residual, jacobian = data - both[:, 0], both[:, 1:]
    off = prior.mean - parameters
    gradient = (jacobian @ residual[..., None])[..., 0] + prior.precision * off
    normal = jacobian @ jacobian.mT + np.diag(prior.precision)
    cost = (residual**2).sum(-1) + (prior.precision * off**2).sum(-1)
    return _State(parameters.copy(), cost, normal, gradient, np.empty(len(cost)))


def _step(model, window, data, state, prior):
    """Try a step for every fit; say which have converged."""
    scale = np.maximum(np.diagonal(state.normal, axis1=1, axis2=2), _SMALLEST)
    damped = state.normal + (state.damping[:, None] * scale)[..., None] * np.eye(scale.shape[-1])
    step = np.linalg.solve(damped, state.gradient[..., None])[..., 0]
    logarithms = np.arange(step.shape[-1]) < N_NUMBERS * len(model.peaks)
    step = np.where(logarithms, np.clip(step, -_LONGEST, _LONGEST), step)
    tried = _evaluated(model, window, data, state.parameters + step, prior)
    better = tried.cost < state.cost
    gain = np.abs(state.cost - tried.cost)
    small = np.einsum("ni,nij,nj->n", step, state.normal, step) < _SETTLED
    moved = {
        name: np.where(_like(better, getattr(tried, name)), getattr(tried, name), old)
        for name, old in ((name, getattr(state, name)) for name in _State._of_spectra())
    }
    moved["damping"] = np.where(better, 0.1 * state.damping, 10 * state.damping)
    stuck = moved["damping"] > _LARGEST_DAMPING
    return _State(**moved), (small & (gain < _SETTLED)) | stuck


def _like(rows, values):
    return rows.reshape((-1,) + (1,) * (values.ndim - 1))


def _fitted(window, state, prior, converged):
    n_free = window.n_used - state.gradient.shape[-1] + (prior.precision > 0).sum()
    return Fitted(
        parameters=state.parameters,
        covariance=np.linalg.pinv(state.normal, hermitian=True),
        chi2=state.cost / np.maximum(n_free, 1),
        converged=converged & np.isfinite(state.cost),
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
    are expected. The largest of them in units of its error, ``z``, is held against what noise makes
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
    shapes = model.peak(k, window, position, nothing + model.peaks[k].width + 0 * positions)[:, :, 0]
    free = np.concatenate([_others(model, k, window), model.background(window)], 1)
    rows = window.whiten(np.concatenate([window.values[:, None], shapes, free], 1))
    data, shapes = _beside(rows[:, : 1 + len(positions)], rows[:, 1 + len(positions) :])
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


def _beside(rows, free):
    """Take from the first row, and from the others, what free shapes can explain."""
    if free.shape[1]:
        basis, _ = np.linalg.qr(free.mT)
        rows = rows - (rows @ basis) @ basis.mT
    return rows[:, 0], rows[:, 1:]


def _of_best(z, n_crossings):
    """Significance of the largest of scores along a path, in standard deviations of one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_many = np.log(n_crossings) - 0.5 * np.maximum(z, 0) ** 2
        log_p = np.logaddexp(log_ndtr(-z), log_many)
        return -ndtri_exp(np.minimum(log_p, -1e-3))
