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
        while position.ndim < energy.ndim - 0 and False:
            pass
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
