# SPDX-License-Identifier: GPL-3.0-or-later
"""Dielectric function of a loss function, by the Kramers-Kronig relation on a finite axis.

``Re[1/eps(E)] = 1 - (2/pi) P int L(E') E' / (E'^2 - E^2) dE'`` with ``L = Im[-1/eps]`` (R. F. Egerton,
*Electron Energy-Loss Spectroscopy in the Electron Microscope*, 3rd ed., section 4.2). Between the
nodes of the grid L is a straight line, for which the integral is known in closed form: it is a
convolution with :func:`hat_weights`, done by a Fourier transform that is padded so far that nothing
comes back from the other end. No periodic images are to be corrected, as in the transforms of the
spectrum itself (Johnson, J. Phys. A 8, 490 (1975)). Beyond the axis losses are taken to be those of
electrons that are damped a little, ``L = C E / (E^2 - W^2)^2`` with W the energy of the largest
losses: a sum of powers of E, each of which has one vector for each grid as its integral.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import uniform_filter1d
from scipy.sparse import csr_array

from hyperspy_zlpml.compute.records import PerSpectrum

#: Largest energy of the main losses over that of the end of the axis.
LARGEST_PLASMON = 0.7
#: Powers of E in the tail: ``E^-3``, ``E^-5``...
_TAIL_EXPONENTS = tuple(range(3, 27, 2))
#: Tails are summed to this many times the end of the axis, the rest in closed form.
_TAIL_REACH = 32
#: Fraction of the axis from whose losses the height of the tail is taken.
_TAIL_FRACTION = 0.1


@dataclass(frozen=True)
class LossGrid:
    """Energies from the peak, uniform from one step on, at which dielectric functions are given.

    Parameters
    ----------
    step : float
        eV.
    size : int
    window : int
        Nodes of one FWHM of the zero-loss peak, an odd number.

    Examples
    --------
    >>> from hyperspy_zlpml.physics.kramers_kronig import LossGrid
    >>> LossGrid(step=0.1, size=470, window=5).energy[[0, -1]].round(6)
    array([ 0.1, 47. ])
    """

    step: float
    size: int
    window: int = 1

    @property
    def energy(self):
        """Energies, eV, (size,)."""
        return self.step * np.arange(1, self.size + 1)

    @property
    def n_tail(self):
        """Nodes at the end from which the height of the tail is taken."""
        return max(int(_TAIL_FRACTION * self.size), 1)


def hat_weights(offset):
    """Compute the principal value of ``int h(x - j) / x dx``, h the hat from -1 to 1.

    Parameters
    ----------
    offset : ndarray of int
        j.

    Returns
    -------
    ndarray
        Odd in j, 1/j far from 0.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.kramers_kronig import hat_weights
    >>> hat_weights(np.array([-1, 0, 1, 100])).round(5)
    array([-1.38629,  0.     ,  1.38629,  0.01   ])
    """
    j = np.abs(np.asarray(offset, float))
    near, far = np.maximum(j, 1.0), np.maximum(j, 2.0)
    inner = np.where(j > 1, (far - 1) * np.log1p(1 / (far - 1)), 0.0)
    return np.sign(offset) * ((near + 1) * np.log1p(1 / near) - inner)


@lru_cache(maxsize=8)
def _spectrum_of_weights(size):
    """Transform the weights between all nodes of a grid; with the padded length."""
    padded = next_fast_len(3 * size + 2, real=True)
    offset = np.arange(padded)
    offset[offset > 2 * size] -= padded
    return padded, rfft(hat_weights(offset) / np.pi)


def transform(losses):
    """Compute ``(2/pi) P int L(E') E' / (E'^2 - E^2) dE'`` at the nodes, L zero beyond them.

    Parameters
    ----------
    losses : ndarray of shape (..., size)
        L at the energies of a :class:`LossGrid`, a straight line between them and from zero at E = 0.

    Returns
    -------
    ndarray of shape (..., size)

    Examples
    --------
    A narrow line of losses at the third node lowers Re[1/eps] below it and raises it above:

    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.kramers_kronig import transform
    >>> transform(np.eye(5)[2]).round(2)
    array([ 0.25,  0.51,  0.05, -0.4 , -0.13])
    """
    size = losses.shape[-1]
    padded, weights = _spectrum_of_weights(size)
    odd = np.zeros((*losses.shape[:-1], padded))
    odd[..., 1 : size + 1] = losses
    odd[..., -size:] = -losses[..., ::-1]
    return -irfft(rfft(odd) * weights, n=padded)[..., 1 : size + 1]


def at_zero(losses):
    """Compute ``(2/pi) int L(E) / E dE`` over the nodes: what is missing of 1 in Re[1/eps(0)].

    Parameters
    ----------
    losses : ndarray of shape (..., size)

    Returns
    -------
    ndarray of shape (...)
    """
    weights = hat_weights(np.arange(1, losses.shape[-1] + 1))
    return (losses * weights).sum(-1) * 2 / np.pi


@lru_cache(maxsize=16)
def tail_of(size, exponent):
    """Compute the transform of losses ``(E / E_end)^-r`` beyond the end of a grid.

    Parameters
    ----------
    size : int
        Of the grid.
    exponent : float
        r.

    Returns
    -------
    at_nodes : ndarray of shape (size,)
    at_zero : float

    Examples
    --------
    At zero it is the integral of ``(2 / pi) E^(-r-1)``:

    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.kramers_kronig import tail_of
    >>> round(float(tail_of(200, 3.0)[1] * 3 * np.pi / 2), 1)
    1.0
    """
    beyond = np.zeros(_TAIL_REACH * size)
    beyond[size:] = (np.arange(size + 1, beyond.size + 1) / size) ** -exponent
    rest = 2 / (np.pi * exponent) * _TAIL_REACH**-exponent
    return transform(beyond)[:size] + rest, float(at_zero(beyond) + rest)


@dataclass(frozen=True)
class Continuation(PerSpectrum):
    """Losses where there are no data: a linear function of those where there are.

    Below the first energy that is trusted losses are proportional to E, with the mean slope of one
    FWHM above it. Beyond the axis they are ``C E / (E^2 - W^2)^2``, C by the last tenth of it: as free
    electrons lose energy above their plasmon.

    Attributes
    ----------
    grid : LossGrid
    first : ndarray of int of shape (n_spectra,)
        First node that is trusted.
    plasmon : ndarray of shape (n_spectra,)
        W over the end of the axis; 0 for ``E^-3``.
    """

    shared = ("grid",)

    grid: LossGrid
    first: np.ndarray
    plasmon: np.ndarray

    @cached_property
    def is_below(self):
        """Nodes below the first trusted one, (n_spectra, size)."""
        return np.arange(self.grid.size) < self.first[:, None]

    @cached_property
    def ramp(self):
        """Energies below the first trusted one, 0 above it, (n_spectra, size)."""
        return np.where(self.is_below, self.grid.energy, 0.0)

    @cached_property
    def slope_weights(self):
        """Weights of the nodes in the slope of the ramp, (n_spectra, size)."""
        from_first = np.arange(self.grid.size) - self.first[:, None]
        is_used = (from_first >= 0) & (from_first < self.grid.window)
        return is_used / (self.grid.energy * self.grid.window)

    @cached_property
    def tail_weights(self):
        """Weights of the nodes in the height of the tail at the end, (n_spectra, size)."""
        n_nodes = self.grid.n_tail
        relative = np.arange(1, self.grid.size + 1)[-n_nodes:] / self.grid.size
        squared = np.square(self.plasmon)[:, None]
        weights = np.zeros((len(squared), self.grid.size))
        weights[:, -n_nodes:] = (relative**2 - squared) ** 2 / relative / (1 - squared) ** 2
        return weights / n_nodes

    @cached_property
    def tail(self):
        """Transform of a tail of height 1 at the nodes and at zero, (n_spectra, size), (n_spectra,)."""
        powers = np.arange(len(_TAIL_EXPONENTS))
        parts = (powers + 1) * np.square(self.plasmon)[:, None] ** powers
        parts /= parts.sum(-1, keepdims=True)
        several = [tail_of(self.grid.size, exponent) for exponent in _TAIL_EXPONENTS]
        at_nodes, of_zero = (np.array(one) for one in zip(*several, strict=True))
        # Sums of each spectrum alone: products of matrices depend on what comes together.
        return (parts[..., None] * at_nodes).sum(1), (parts * of_zero).sum(1)

    def complete(self, losses):
        """Put what is assumed in the place of what is not trusted.

        Parameters
        ----------
        losses : ndarray of shape (n_spectra, ..., size)

        Returns
        -------
        ndarray of the same shape
        """
        slope = _weighted(losses, self.slope_weights)
        below, ramp = (_beside(one, losses) for one in (self.is_below, self.ramp))
        return np.where(below, slope[..., None] * ramp, losses)

    def transform(self, losses):
        """Compute the transform of completed losses, and of their tail.

        Parameters
        ----------
        losses : ndarray of shape (n_spectra, ..., size)

        Returns
        -------
        ndarray of the same shape
        """
        height = _weighted(losses, self.tail_weights)
        return transform(losses) + height[..., None] * _beside(self.tail[0], losses)

    def at_zero(self, losses):
        """Compute the transform of completed losses, and of their tail, at E = 0.

        Parameters
        ----------
        losses : ndarray of shape (n_spectra, ..., size)

        Returns
        -------
        ndarray of shape (n_spectra, ...)
        """
        height = _weighted(losses, self.tail_weights)
        return at_zero(losses) + height * _beside(self.tail[1], height)


def _beside(values, others):
    """Give values of spectra as many axes as others have between the first and those of values."""
    return np.expand_dims(values, tuple(range(1, 1 + others.ndim - values.ndim)))


def _weighted(losses, weights):
    """Sum losses (n_spectra, ..., size) with weights (n_spectra, size)."""
    return (losses * _beside(weights, losses)).sum(-1)


@dataclass(frozen=True)
class Inverse(PerSpectrum):
    """Inverse of dielectric functions, ``1/eps = real - i loss``.

    Attributes
    ----------
    real, loss : ndarray of shape (n_spectra, ..., size)
        Re[1/eps] and Im[-1/eps].
    scale : ndarray of shape (n_spectra, ...)
        What the losses were divided by.
    missing : ndarray of shape (n_spectra, ...)
        ``(2/pi) int Im[-1/eps] / E dE``, by the sum rule ``1 - 1/n^2``.
    """

    real: np.ndarray
    loss: np.ndarray
    scale: np.ndarray
    missing: np.ndarray

    @property
    def total(self):
        """``(2/pi) int / E dE`` of the losses as they were given, (n_spectra, ...)."""
        return self.missing * self.scale

    @property
    def epsilon(self):
        """Dielectric functions, complex, (n_spectra, ..., size)."""
        return 1 / (self.real - 1j * self.loss)


def invert(losses, continuation, index=np.nan, scale=np.nan):
    """Compute inverse dielectric functions of losses that are proportional to Im[-1/eps].

    Parameters
    ----------
    losses : ndarray of shape (n_spectra, ..., size)
    continuation : Continuation
    index : ndarray of shape (n_spectra, ...)
        Refractive index n at E = 0, infinite for a metal. From it the factor between losses and
        Im[-1/eps] is found by ``1 - 1/n^2 = (2/pi) int Im[-1/eps] / E dE`` (Egerton, section 4.2).
    scale : ndarray of shape (n_spectra, ...)
        That factor, where the index is not given (NaN).

    Returns
    -------
    Inverse

    Examples
    --------
    A metal of free electrons, whose eps is zero at 15 eV:

    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.kramers_kronig import Continuation, LossGrid, invert
    >>> grid = LossGrid(step=0.1, size=600)
    >>> eps = 1 - 15.0**2 / (grid.energy * (grid.energy + 2j))
    >>> known = Continuation(grid, np.zeros(1, int), np.array([15 / 60]))
    >>> found = invert(7.0 * (-1 / eps).imag[None], known, index=np.array([np.inf]))
    >>> round(float(found.scale[0]), 2), bool(np.abs(found.epsilon[0] / eps - 1).max() < 5e-3)
    (7.0, True)
    """
    completed = continuation.complete(losses)
    total = continuation.at_zero(completed)
    scale = np.where(np.isnan(index), scale, total / (1 - np.power(index, -2.0)))
    divided = completed / scale[..., None]
    return Inverse(1 - continuation.transform(divided), divided, scale, total / scale)


def changes_of_epsilon(inverse, changed):
    """Compute the change of eps with its inverse, to first order: ``d eps = -eps^2 d(1/eps)``.

    Errors are large where eps is large: there 1/eps, which is measured, is small.

    Parameters
    ----------
    inverse : Inverse
        Of n_spectra.
    changed : Inverse
        Of the same spectra after a change, or of shape (n_spectra, n_changes, size).

    Returns
    -------
    ndarray of complex of the shape of ``changed``
    """
    between = (slice(None), *[None] * (changed.real.ndim - 2))
    change = changed.real - inverse.real[between] - 1j * (changed.loss - inverse.loss[between])
    return -(inverse.epsilon[between] ** 2) * change


class Squares(NamedTuple):
    """Squares of what one node of losses does to others: ``variance = squares @ variance``.

    Attributes
    ----------
    real : ndarray of shape (size, size)
        Of Re[1/eps].
    loss, both : csr_array of shape (size, size)
        Of Im[-1/eps], and products of the two: nodes of one running mean alone.
    """

    real: np.ndarray
    loss: csr_array
    both: csr_array


@lru_cache(maxsize=4)
def squares_of(size, window):
    """Compute the squares for a grid, after a running mean over some nodes.

    Parameters
    ----------
    size : int
    window : int
        Nodes of the running mean; 1 for none.

    Returns
    -------
    Squares
    """
    unit = np.eye(size)
    loss = smoothed(unit, window).T
    real = smoothed(transform(unit), window).T
    return Squares(real**2, csr_array(loss**2), csr_array(real * loss))


def smoothed(values, window):
    """Average over neighbouring nodes.

    Parameters
    ----------
    values : ndarray of shape (..., size)
    window : int
        Nodes, an odd number.

    Returns
    -------
    ndarray of the same shape
    """
    return uniform_filter1d(values, window, axis=-1, mode="nearest") if window > 1 else values


def noise_of_epsilon(inverse, variance, continuation, fixed_scale, window=1):
    """Compute the variances of eps that independent noise of the losses makes, to first order.

    Exact but for the first order: what one node does to the transform, to the slope of the ramp, to
    the height of the tail and to the scale are added before they are squared.

    Parameters
    ----------
    inverse : Inverse
    variance : ndarray of shape (n_spectra, size)
        Of the losses, as they were given to :func:`invert`.
    continuation : Continuation
    fixed_scale : bool
        Whether the scale does not depend on the losses.
    window : int
        Nodes of a running mean over eps.

    Returns
    -------
    real, imaginary : ndarray of shape (n_spectra, size)
        Variances of eps1 and eps2.
    """
    variance = np.where(continuation.is_below, 0.0, variance)
    squares = squares_of(continuation.grid.size, window)
    # Each spectrum alone: products of matrices depend on what comes together.
    of_real = (squares.real @ variance[..., None])[..., 0]
    of_loss, of_both = ((one @ variance.T).T for one in (squares.loss, squares.both))
    shared = _Shared.of(inverse, variance, continuation, fixed_scale=fixed_scale, window=window)
    of_real += shared.variance(shared.real, shared.real, shared.transformed, shared.transformed)
    of_loss += shared.variance(shared.loss, shared.loss, shared.weighted, shared.weighted)
    of_both += shared.variance(shared.real, shared.loss, shared.transformed, shared.weighted)
    squared = inverse.epsilon**2 / inverse.scale[:, None]
    a, b = squared.real, squared.imag
    # d(Re, L) = (-real, loss) / scale; eps1 = -(a dRe + b dL), eps2 = -(b dRe - a dL).
    one = a**2 * of_real - 2 * a * b * of_both + b**2 * of_loss
    two = b**2 * of_real + 2 * a * b * of_both + a**2 * of_loss
    return np.maximum(one, 0.0), np.maximum(two, 0.0)


class _Shared(NamedTuple):
    """Effects of losses on all nodes at once: by the ramp, the tail and the scale, first axis.

    Attributes
    ----------
    real, loss : ndarray of shape (3, n_spectra, size)
        Effect on (1 - Re[1/eps]) and Im[-1/eps], times the scale.
    weighted, transformed : ndarray of shape (3, n_spectra, size)
        Variance times the weights of the nodes, and its transform.
    gram : ndarray of shape (3, 3, n_spectra)
        Covariance of the three.
    """

    real: np.ndarray
    loss: np.ndarray
    weighted: np.ndarray
    transformed: np.ndarray
    gram: np.ndarray

    @classmethod
    def of(cls, inverse, variance, continuation, *, fixed_scale, window):
        """Compute them for inverse dielectric functions and the variance of their losses."""
        ramp, shape = continuation.ramp, variance.shape
        scale = inverse.scale[:, None]
        real = np.stack([transform(ramp), continuation.tail[0], scale * (inverse.real - 1)])
        loss = np.stack([ramp, np.zeros(shape), -scale * inverse.loss])
        weights = _weights(inverse, continuation, fixed_scale)
        weighted = weights * variance
        gram = np.einsum("inm,jnm->ijn", weights, weighted)
        return cls(
            real=smoothed(real, window),
            loss=smoothed(loss, window),
            weighted=smoothed(weighted, window),
            transformed=smoothed(transform(weighted), window),
            gram=gram,
        )

    def variance(self, one, other, of_one, of_other):
        """Add up what the shared effects add to the variance of one and other."""
        mixed = (one * of_other + other * of_one).sum(0)
        return mixed + np.einsum("ink,ijn,jnk->nk", one, self.gram, other)


def _weights(inverse, continuation, fixed_scale):
    """Compute weights of the nodes in the slope, the height of the tail and ln(scale)."""
    slope, tail = continuation.slope_weights, continuation.tail_weights
    of_scale = np.zeros_like(tail) if fixed_scale else weights_of_total(inverse.total, continuation)
    return np.stack([slope, tail, of_scale])


def weights_of_total(total, continuation):
    """Compute the change of ``ln int L / E dE`` with the losses at every node.

    That is the change of ln(scale) where the refractive index is given.

    Parameters
    ----------
    total : ndarray of shape (n_spectra,)
        ``(2/pi) int L / E dE`` of the losses.
    continuation : Continuation

    Returns
    -------
    ndarray of shape (n_spectra, size)
        0 at nodes that are not trusted.
    """
    size = continuation.grid.size
    direct = 2 / np.pi * hat_weights(np.arange(1, size + 1))
    of_slope = at_zero(continuation.ramp)[:, None] * continuation.slope_weights
    of_tail = continuation.tail[1][:, None] * continuation.tail_weights
    return np.where(continuation.is_below, 0.0, direct + of_slope + of_tail) / total[:, None]
