# SPDX-License-Identifier: GPL-3.0-or-later
r"""Both sides of the zero-loss peak, brought to the same energies so that detailed balance holds.

A specimen at temperature :math:`T` gives energy :math:`E` to electrons less often than it takes it
from them, by a factor that knows nothing of the specimen but its temperature:
:math:`S(-E) = e^{-E/kT} S(E)` (principle of detailed balance; applied to phonons in the electron
microscope by J. C. Idrobo et al., Phys. Rev. Lett. 120, 095901 (2018), and M. J. Lagos and
P. E. Batson, Nano Lett. 18, 4556 (2018)).

A measured spectrum :math:`M = R * S` does not obey it: the response :math:`R` carries more of the
strong side towards the weak one than back. Where losses are level, a Gaussian of standard deviation
:math:`\sigma` makes :math:`\ln M(E)/M(-E)` too small by :math:`\sigma^2/2(kT)^2`. Here nothing is
expanded: the spectrum filtered by its own response,

.. math:: N(E) = \int R(x)\, e^{-x/kT} M(E + x)\, dx,

obeys :math:`N(-E) = e^{-E/kT} N(E)` exactly, whatever the response and the spectrum are. A shift of
the zero that the response shares drops out too. The filter is narrow, so both sides are compared
at energies some half FWHM apart.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.interpolate import CubicSpline

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.physics.losses import runs_of

#: Responses are given to this many FWHM from the peak.
_GIVEN_TO = 8.0
#: The filter reaches this many FWHM from its middle: farther out it finds little but noise.
_FILTER_REACH = 3.0
#: Bins per FWHM, at least.
_BINS_PER_FWHM = 4.0
#: Energies that are compared lie this many FWHM apart: nearer ones tell the same.
_APART = 0.6
#: Energies that are compared at most.
_MOST_ENERGIES = 32
#: Nothing is compared nearer to the peak than this many FWHM, or to the limits of pure ZLP.
_NEAREST = 2.0
_FROM_LIMIT = 0.5
#: The filter is made for no 1/kT of more than this over the FWHM: it would reach out of its window.
_STEEPEST_FILTER = 3.0
#: Channels beyond the filter over which a spline through the response forgets where it ends, by a fourth each.
_SPLINED = 28
#: Added to variances, in units of the largest, so that matrices of counts without noise are regular.
_JITTER = 1e-10
#: Part of a bin by which the last energy may lie beyond the window: rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Window(PerSpectrum):
    """Energies at which both sides of spectra are compared.

    Attributes
    ----------
    step : float
        Dispersion of the axis, eV.
    n_together : int
        Channels of a bin, an odd number.
    numbers : ndarray of int of shape (n_energies,)
        Energies from the peak that are compared, in bins.
    reach : int
        Bins on each side that a filter takes in.
    low, high : ndarray of shape (n_spectra,)
        What is used of each spectrum, eV from the peak.
    """

    shared = ("step", "n_together", "numbers", "reach")

    step: float
    n_together: int
    numbers: np.ndarray
    reach: int
    low: np.ndarray
    high: np.ndarray

    @property
    def energy(self):
        """Energies from the peak that are compared, eV."""
        return self.numbers * self.n_together * self.step

    @property
    def bins(self):
        """Numbers of the bins that are needed, from the peak."""
        most = int(self.numbers[-1]) + self.reach
        return np.arange(-most, most + 1)

    @property
    def sides(self):
        """Bins that filters of losses and of gains take in, as slices of all of them."""
        low, high = int(self.numbers[0]) - self.reach, int(self.numbers[-1]) + self.reach
        return slice(high + low, None), slice(0, high - low + 1)

    def up_to(self, n):
        """Leave out energies beyond the first of them.

        Parameters
        ----------
        n : int

        Returns
        -------
        Window
        """
        return replace(self, numbers=self.numbers[:n])

    @property
    def n_shared(self):
        """Number of bins about the peak that filters of both sides take in."""
        return max(2 * (self.reach - int(self.numbers[0])) + 1, 0)


def common_limit(losses):
    """Find the distance from the peak beyond which neither side was taken for pure ZLP.

    Parameters
    ----------
    losses : Losses

    Returns
    -------
    ndarray of shape (n_spectra,)
        eV.
    """
    return np.maximum(np.abs(losses.gain_limit), losses.loss_limit)


def window_of(losses, left=None, right=None):
    """Choose the energies at which both sides are compared; the same for all spectra of an image.

    Parameters
    ----------
    losses : Losses
    left, right : float, optional
        eV from the peak; see :func:`.temperatures`.

    Returns
    -------
    Window
    """
    resolution = losses.distance[-1] / _GIVEN_TO
    step, n_energy = losses.step, losses.energy.size
    n = int(resolution / (_BINS_PER_FWHM * step))
    n_together = max(n - 1 + n % 2, 1)
    width = n_together * step
    first = _NEAREST * resolution if left is None else left
    last = min(np.inf if right is None else right, n_energy * step / 2)
    apart = max(round(_APART * resolution / width), 1)
    if right is not None:
        apart *= max(int(np.ceil((last - first) / (_MOST_ENERGIES * apart * width))), 1)
    numbers = np.arange(int(np.ceil(first / width)), int(last / width) + 1, apart)
    nearest = common_limit(losses) + _FROM_LIMIT * resolution
    return Window(
        step=step,
        n_together=n_together,
        numbers=numbers[:_MOST_ENERGIES] if numbers.size else np.array([1]),
        reach=max(round(_FILTER_REACH * resolution / width), 1),
        low=np.maximum(first, nearest),
        high=np.full(nearest.shape, np.inf if right is None else right),
    )


@dataclass(frozen=True)
class BothSides(PerSpectrum):
    """Loss and gain side of spectra in bins that are counted from their own peaks.

    Attributes
    ----------
    signal, variance : ndarray of shape (n_spectra, n_bins)
        Counts free of ZLP, and their variance; the channel of the peak is in the middle.
    directions : ndarray of shape (n_spectra, n_directions, n_bins)
        Deviations of one standard deviation that bins share.
    zlp : ndarray of shape (n_spectra, n_bins)
        Counts of the ZLP that were taken off.
    used : ndarray of bool of shape (n_spectra, n_energies)
        Energies beyond the limits of pure ZLP on both sides, of which all bins are on the axis.
    distance : ndarray of shape (n_spectra, n_filter)
        Energies from a peak of the middles of bins, counted from the bin it is in, eV.
    response : ndarray of shape (n_spectra, n_filter)
        Peak there.
    """

    signal: np.ndarray
    variance: np.ndarray
    directions: np.ndarray
    zlp: np.ndarray
    used: np.ndarray
    distance: np.ndarray
    response: np.ndarray

    def up_to(self, n, window):
        """Leave out energies beyond the first of them, and bins that no other needs.

        Parameters
        ----------
        n : int
        window : Window
            With all energies.

        Returns
        -------
        BothSides
        """
        left_out = (window.bins.size - window.up_to(n).bins.size) // 2
        kept = slice(left_out, window.bins.size - left_out)
        bins = {
            name: getattr(self, name)[..., kept]
            for name in ("signal", "variance", "directions", "zlp")
        }
        return replace(self, used=self.used[:, :n], **bins)


def n_needed(losses, window):
    """Count the energies up to the last that both sides of each spectrum hold, at least one.

    Parameters
    ----------
    losses : Losses
    window : Window

    Returns
    -------
    ndarray of int of shape (n_spectra,)
    """
    _, inside = _channels_of(losses, window)
    used = _used(inside, window)
    return np.where(used.any(-1), used.shape[-1] - used[:, ::-1].argmax(-1), 1)


def both_sides(losses, window):
    """Bring spectra to bins that are counted from their own peaks.

    Parameters
    ----------
    losses : Losses
    window : Window

    Returns
    -------
    BothSides
    """
    first, inside = _channels_of(losses, window)
    together = np.ones(window.n_together)

    def binned(values):
        """Sum channels into bins."""
        taken = runs_of(values, first, inside.shape[-1])
        if not inside.all():
            taken = np.where(inside if values.ndim == 2 else inside[:, None], taken, 0.0)
        # As a product it takes a tenth of what a sum over an axis that short does.
        return taken.reshape(*taken.shape[:-1], -1, together.size) @ together

    distance, response = _binned_response(losses, window)
    return BothSides(
        signal=binned(losses.subtracted),
        variance=binned(losses.variance),
        directions=binned(losses.directions),
        zlp=binned(losses.zlp),
        used=_used(inside, window),
        distance=distance,
        response=response,
    )


def _nearest(losses):
    """Find the channel nearest to each peak, and how far beyond it this is, in channels."""
    place = (losses.centre - losses.energy[0]) / losses.step
    nearest = np.rint(place).astype(int)
    return nearest, place - nearest


def _channels_of(losses, window):
    """Find the first channel of all bins, and tell which of their channels the axis of a spectrum has."""
    n_channels = window.bins.size * window.n_together
    first = _nearest(losses)[0] - n_channels // 2
    index = first[:, None] + np.arange(n_channels)
    inside = (index >= 0) & (index < losses.energy.size)
    return first, inside & np.isfinite(runs_of(losses.variance, first, n_channels))


def _used(inside, window):
    """Choose the energies of each spectrum whose bins are on the axis, and that the window allows."""
    inside = inside.reshape(len(inside), -1, window.n_together).all(-1)
    n, energy, reach = window.numbers.size, window.energy, window.reach
    at = window.bins.size // 2 + np.concatenate([window.numbers, -window.numbers])
    missing = np.zeros((len(inside), window.bins.size + 1), int)
    np.cumsum(~inside, axis=-1, out=missing[:, 1:])
    complete = missing[:, at + reach + 1] == missing[:, at - reach]
    used = complete[:, :n] & complete[:, n:] & (energy >= window.low[:, None])
    return used & (energy <= window.high[:, None] + _ROUNDING)


def _binned_response(losses, window):
    """Evaluate the peak of each spectrum in bins around a channel that is not quite its middle."""
    _, fraction = _nearest(losses)
    n = window.reach * window.n_together + window.n_together // 2
    channel = np.arange(-n, n + 1)
    distance = losses.step * (channel - fraction[:, None])
    # Pieces of the spline between channels: all distances of a spectrum lie at one place in theirs.
    n_splined = min(n + _SPLINED, losses.distance.size // 2)
    near = slice(losses.distance.size // 2 - n_splined, losses.distance.size // 2 + n_splined + 1)
    pieces = CubicSpline(losses.distance[near], losses.response[:, near], axis=-1).c
    before = (fraction > 0).astype(int)
    piece = n_splined + channel - before[:, None]
    place = losses.step * (before - fraction)[:, None]
    response = np.polyval(pieces[:, piece, np.arange(len(fraction))[:, None]], place)
    shape = (len(fraction), -1, window.n_together)
    return distance.reshape(shape).mean(-1), response.reshape(shape).sum(-1)


@dataclass(frozen=True)
class Filtered(PerSpectrum):
    """Losses and gains at the same energies, after the filter that restores detailed balance.

    Attributes
    ----------
    energy : ndarray of shape (n_energies,)
        eV, positive.
    loss, gain : ndarray of shape (n_spectra, n_energies)
        0 where ``used`` is not.
    tail : ndarray of shape (n_spectra, n_energies)
        ZLP that was taken off beneath the gains, filtered alike.
    of_loss, of_gain, of_both : ndarray of shape (n_spectra, n_energies, n_energies)
        Covariance of the losses, of the gains, and of gains (rows) and losses (columns).
    used : ndarray of bool of shape (n_spectra, n_energies)
        See :class:`BothSides`.
    """

    shared = ("energy",)

    energy: np.ndarray
    loss: np.ndarray
    gain: np.ndarray
    tail: np.ndarray
    of_loss: np.ndarray
    of_gain: np.ndarray
    of_both: np.ndarray
    used: np.ndarray


def filter_sides(sides, window, inverse):
    """Filter both sides so that detailed balance holds for what is measured.

    Parameters
    ----------
    sides : BothSides
    window : Window
    inverse : ndarray of shape (n_spectra,)
        1/kT that the filter is made for, 1/eV.

    Returns
    -------
    Filtered
    """
    kernel = _kernel(sides, window, inverse)
    loss, gain = (_Side.of(sides, window, kernel, bins) for bins in window.sides)
    used, n_shared = sides.used, window.n_shared
    of_both = gain.directions @ np.swapaxes(loss.directions, 1, 2)
    if n_shared:  # Filters of both sides meet at the peak.
        noisy = (
            gain.filters[..., -n_shared:]
            * sides.variance[:, None, window.sides[1]][..., -n_shared:]
        )
        of_both += noisy @ np.swapaxes(loss.filters[..., :n_shared], 1, 2)
    # Gains were filtered from the farthest on.
    of_gain, of_both = gain.covariance[:, ::-1, ::-1], of_both[:, ::-1]
    tail = gain.filters @ sides.zlp[:, window.sides[1], None]
    return Filtered(
        energy=window.energy,
        loss=np.where(used, loss.signal, 0.0),
        gain=np.where(used, gain.signal[:, ::-1], 0.0),
        tail=np.where(used, tail[:, ::-1, 0], 0.0),
        of_loss=_of_used(loss.covariance, used),
        of_gain=_of_used(of_gain, used),
        of_both=np.where(used[:, :, None] & used[:, None], of_both, 0.0),
        used=used,
    )


def _kernel(sides, window, inverse):
    """Make the filter of each spectrum, of sum 1."""
    fwhm = window.reach * window.n_together * window.step / _FILTER_REACH
    inverse = np.clip(inverse, 0, _STEEPEST_FILTER / fwhm)
    kernel = sides.response * np.exp(-sides.distance * inverse[:, None])
    return kernel / kernel.sum(-1, keepdims=True)


def _filters(kernel, after):
    """Write a filter at every energy as a row of a matrix, each so many bins after the first."""
    n_filter = kernel.shape[-1]
    filters = np.zeros((len(kernel), after.size, after.max() + n_filter))
    rows = np.arange(after.size)[:, None]
    filters[:, rows, after[:, None] + np.arange(n_filter)] = kernel[:, None]
    return filters


class _Side(NamedTuple):
    """Filtered signal of one side from low to high energies, and its errors."""

    filters: np.ndarray
    signal: np.ndarray
    directions: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, sides, window, kernel, bins):
        """Apply filters to the bins of one side."""
        after = window.numbers - window.numbers[0]
        filters = _filters(kernel, after)
        directions = filters @ np.swapaxes(sides.directions[..., bins], 1, 2)
        of_noise = _of_noise(kernel, sides.variance[:, bins], after)
        return cls(
            filters=filters,
            signal=(filters @ sides.signal[:, bins, None])[..., 0],
            directions=directions,
            covariance=of_noise + directions @ np.swapaxes(directions, 1, 2),
        )


def _of_noise(kernel, variance, after):
    """Compute the covariance of what is filtered from what the filters at two energies share."""
    n, n_filter = after.size, kernel.shape[-1]
    apart = int(after[1]) if n > 1 else n_filter
    within = sliding_window_view(variance, n_filter, axis=-1)[:, after]
    n_near = min(n, -(-n_filter // apart))
    covariance = np.zeros((len(kernel), n * n))
    for i in range(n_near):
        shared = kernel[:, i * apart :] * kernel[:, : n_filter - i * apart]
        found = (within[:, : n - i, i * apart :] @ shared[..., None])[..., 0]
        covariance[:, i : n * (n - i) : n + 1] = covariance[:, i * n :: n + 1] = found
    return covariance.reshape(-1, n, n)


def _of_used(covariance, used):
    """Take the covariance of what is used, regular; what is not has unit variance."""
    covariance = np.where(used[:, :, None] & used[:, None], covariance, 0.0)
    diagonal = np.einsum("nii->ni", covariance)
    diagonal += _JITTER * diagonal.max(-1, keepdims=True) + np.finfo(float).tiny
    diagonal[~used] = 1.0
    return covariance


class Misfit(NamedTuple):
    """Misfit of detailed balance, and its derivatives by 1/kT, exact; each of shape (n_spectra,).

    Attributes
    ----------
    chi2 : ndarray
    slope : ndarray
        eV.
    curvature : ndarray
        eV^2.
    """

    chi2: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray


def misfit(filtered, inverse):
    r"""Compute chi2 of detailed balance at a temperature.

    Losses are free at every energy: this is their profile likelihood, as for a straight line whose
    both coordinates have errors. With :math:`d = G - rL`, :math:`r = e^{-E/kT}`, and its covariance
    :math:`C`, it is :math:`d^T C^{-1} d`.

    Parameters
    ----------
    filtered : Filtered
    inverse : ndarray of shape (n_spectra,)
        1/kT, 1/eV.

    Returns
    -------
    Misfit
    """
    energy = filtered.energy
    ratio = np.exp(-inverse[:, None] * energy)
    expected = ratio * filtered.loss
    lost = ratio[:, :, None] * filtered.of_loss * ratio[:, None]
    crossed = ratio[:, :, None] * np.swapaxes(filtered.of_both, 1, 2)
    covariance = filtered.of_gain + lost - crossed - np.swapaxes(crossed, 1, 2)
    difference = filtered.gain - expected
    solved = _solve(covariance, difference)
    # By 1/kT the covariance changes by -(E A + A^T E), A = lost - crossed, E diagonal.
    changing, weighted = lost - crossed, energy * solved
    once = _times(changing, solved)
    change = energy * (expected + once) + _times(np.swapaxes(changing, 1, 2), weighted)
    slope = 2 * (weighted * (expected + once)).sum(-1)
    second = (energy * weighted * (expected + once)).sum(-1)
    second += (weighted * _times(lost, weighted)).sum(-1)
    return Misfit(
        chi2=(difference * solved).sum(-1),
        slope=slope,
        curvature=2 * (change * _solve(covariance, change)).sum(-1) - 2 * second,
    )


def _solve(matrices, vectors):
    return np.linalg.solve(matrices, vectors[..., None])[..., 0]


def _times(matrices, vectors):
    return (matrices @ vectors[..., None])[..., 0]
