# SPDX-License-Identifier: GPL-3.0-or-later
"""What single spectra say of the shapes of their onsets, whatever is wrong in all of them alike.

chi2 of a spectrum is a quadratic function of the few numbers that spectra have in common: departures of the onset
from any shape, and errors of the ZLP that an ensemble makes in all spectra. Its coefficients are all that is
needed of a spectrum to fit these numbers to many.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from hyperspy_zlpml.physics.bins import binned
from hyperspy_zlpml.physics.onset import GROWTHS, Shapes, onset_grid, templates
from hyperspy_zlpml.physics.onset_fit import bumps, relevant
from hyperspy_zlpml.physics.scattered_down import scattered_down

#: Exponents of direct and of indirect transitions, and one between that is neither.
DIRECT, BETWEEN, INDIRECT = 0.5, 1.0, 1.5
#: Widths of the rise, eV: of coarser steps the width between would be told by the exponent.
_WIDTHS = (0.2, 0.3, 0.45, 0.7, 1.0, 1.5, 2.2, 3.3)
#: Shapes that are held against each other; without those of excitons, which would pass for either.
SHAPES = Shapes((DIRECT, BETWEEN, INDIRECT), _WIDTHS, GROWTHS[:2])
#: Distance of onsets, FWHM.
_FINENESS = 0.125
#: Most onsets of one spectrum, about.
_MOST_ONSETS = 24
#: Departures from a shape in the length of the shortest window, and in all.
_PER_SHORTEST, _MOST_DEPARTURES = 3.0, 8
#: Ways in which the ZLPs of all spectra may be wrong that are fitted, the clearest of many.
_MOST_COMMON = 4
#: Chi2 of an onset that is not tried.
NEVER = 1e30


class Places(NamedTuple):
    """Where the onset of a spectrum is looked for, each of shape (n_spectra,), eV from the peak.

    Attributes
    ----------
    first, last : ndarray
        Energies between which it is fitted.
    low, high : ndarray
        Lowest and highest onset.
    """

    first: np.ndarray
    last: np.ndarray
    low: np.ndarray
    high: np.ndarray


#: Fields of products whose first axis runs over shapes.
_OF_SHAPES = ("chi2", "gradient", "curvature")


@dataclass(frozen=True)
class OnsetProducts:
    """Products that tell every shape and onset in every spectrum, whatever is wrong in all alike.

    chi2 is ``chi2 - 2 gradient . x + x . curvature . x`` where the common numbers are x: relative departures from
    the shape, then errors of the ZLP in standard deviations.

    Attributes
    ----------
    energy : ndarray of shape (n_spectra, n_onsets)
        Onsets, eV from the peak.
    chi2 : ndarray of shape (n_shapes, n_spectra, n_onsets)
        Where nothing is wrong in common; height and own error of the ZLP as fits best.
    gradient : ndarray of shape (n_shapes, n_spectra, n_onsets, n_common)
    curvature : ndarray of shape (n_shapes, n_spectra, n_onsets, n_common, n_common)
    freedom : ndarray of shape (n_spectra,)
        Degrees of freedom: bins without height and onset.
    n_departures : int
        Common numbers that are departures.
    """

    energy: np.ndarray
    chi2: np.ndarray
    gradient: np.ndarray
    curvature: np.ndarray
    freedom: np.ndarray
    n_departures: int

    @property
    def widths(self):
        """Least and largest width of the distribution of gaps: the distance of onsets, and their range, eV."""
        least = np.median(self.energy[:, 1] - self.energy[:, 0])
        return least, np.ptp(self.energy) + least

    def select(self, index):
        """Take some spectra.

        Parameters
        ----------
        index : any index of NumPy

        Returns
        -------
        OnsetProducts
        """
        of_shapes = {name: getattr(self, name)[:, index] for name in _OF_SHAPES}
        return replace(self, energy=self.energy[index], freedom=self.freedom[index], **of_shapes)

    def over(self, factor):
        """Divide all chi2 by a factor.

        Parameters
        ----------
        factor : float

        Returns
        -------
        OnsetProducts
        """
        return replace(self, **{name: getattr(self, name) / factor for name in _OF_SHAPES})


def onset_products(losses, common, places, shortest):
    """Collect what spectra say of the shapes of their onsets.

    Parameters
    ----------
    losses : Losses
    common : ndarray of shape (n_spectra, n_common, n_energy)
        Ways in which the ZLPs of all spectra may be wrong alike, each of the same meaning in all of them, counts.
    places : Places
    shortest : float
        Length of the shortest window above an onset, eV: departures of a third of it are told apart.

    Returns
    -------
    OnsetProducts
    """
    spectra = [_spectrum_of(losses, row, common[row], places) for row in range(len(common))]
    clearest = _clearest([one.common for one in spectra])
    above = max(float((places.last - places.low).max()), shortest)
    distance = max(shortest / _PER_SHORTEST, above / (_MOST_DEPARTURES - 1))
    found = [_products_of(one, clearest, distance, above) for one in spectra]
    n_onsets = max(len(one.energy) for one in found)
    energy, *of_shapes = zip(*(_padded(one, n_onsets) for one in found), strict=True)
    chi2, gradient, curvature = (
        np.ascontiguousarray(np.moveaxis(np.array(one, kind), 2, 0))
        for one, kind in zip(of_shapes, (float, np.float32, np.float32), strict=True)
    )
    return OnsetProducts(
        energy=np.array(energy),
        chi2=chi2,
        gradient=gradient,
        curvature=curvature,
        freedom=np.array([max(one.data.size - 2, 1) for one in spectra]),
        n_departures=gradient.shape[-1] - len(clearest) - 1,
    )


class _Spectrum(NamedTuple):
    """One spectrum in units of its noise: data, own and common errors, templates, onsets."""

    data: np.ndarray
    own: np.ndarray
    common: np.ndarray
    tail: np.ndarray
    model: np.ndarray
    energy: np.ndarray
    onset: np.ndarray


def _spectrum_of(losses, row, common, places):
    """Put a spectrum into bins, and compute its templates."""
    first, last, low, high = (float(one[row]) for one in places)
    every = binned(losses, row, first)
    with_common = replace(losses.select([row]), directions=common[None])
    bins = every.between(-np.inf, last)
    end = bins.energy[-1] + 0.5 * bins.step * bins.n_channels
    response = losses.response[row]
    brought, tail = scattered_down(bins, every.between(end, np.inf), response)
    fineness = max(_FINENESS * losses.fwhm[row], (high - low) / _MOST_ONSETS)
    if fineness > bins.step:
        fineness = bins.step * np.ceil(fineness / bins.step)
    grid = onset_grid(bins, low, high, fineness)
    found = templates(bins, grid, SHAPES, response, end=end)
    model = found.level + found.growth[:, None, :, None] * found.rising
    noise = np.sqrt(bins.variance)
    return _Spectrum(
        data=(bins.signal - brought) / noise,
        own=relevant(bins.directions / noise),
        common=binned(with_common, 0, first).between(-np.inf, last).directions / noise,
        tail=tail / noise,
        model=np.moveaxis(model.reshape(SHAPES.size, -1, noise.size), 1, 0) / noise,
        energy=bins.energy,
        onset=grid.energy,
    )


def _clearest(common):
    """Find the combinations of common errors that change spectra most, (n_kept, n_common)."""
    total = sum(one @ one.T for one in common)
    values, vectors = np.linalg.eigh(total)
    return vectors[:, values > 0].T[::-1][:_MOST_COMMON]


class _Products(NamedTuple):
    """Products of one spectrum, onsets first, as in :class:`OnsetProducts`."""

    energy: np.ndarray
    chi2: np.ndarray
    gradient: np.ndarray
    curvature: np.ndarray


def _products_of(spectrum, clearest, distance, above):
    """Compute products of one spectrum with the inverse of its own covariance."""
    data, model = spectrum.data, spectrum.model
    root = np.linalg.cholesky(np.eye(len(spectrum.own)) + spectrum.own @ spectrum.own.T)
    own = solve_triangular(root, spectrum.own, lower=True)
    weighted = data - (own @ data) @ own
    along = model @ own.T
    size = (model**2).sum(-1) - (along**2).sum(-1)
    overlap = model @ weighted
    height = np.clip(overlap, 0, None) / np.maximum(size, np.finfo(float).tiny)
    common = np.concatenate([spectrum.tail[None], clearest @ spectrum.common])
    errors = _Errors(own, common, _bumps(spectrum, distance, above))
    gradient, curvature, on_model = errors.products(model, height, weighted)
    # The height of the onset is as it fits best.
    on_model = on_model * (height > 0)[..., None]
    relative = on_model / np.maximum(size, np.finfo(float).tiny)[..., None]
    gradient = gradient - relative * overlap[..., None]
    curvature = curvature - relative[..., None] * on_model[..., None, :]
    chi2 = data @ weighted - height * overlap
    return _Products(spectrum.onset, chi2, gradient, curvature)


def _bumps(spectrum, distance, above):
    """Compute departures from a shape, relative to it, (n_onsets, n_departures, n_bins)."""
    places = distance * np.arange(int(np.ceil(above / distance)) + 1)
    off = spectrum.energy - spectrum.onset[:, None, None] - places[:, None]
    return bumps(off, distance)


class _Errors(NamedTuple):
    """Own errors (factorised), common ones, and departures of a spectrum, in units of its noise."""

    own: np.ndarray
    common: np.ndarray
    bumps: np.ndarray

    def products(self, model, height, weighted):
        """Compute products of departures and common errors with data, each other and the model."""
        scaled = height[..., None] * model
        own_bumps = self._times(self.own)
        beside = _dots(scaled, own_bumps)  # (o, h, k, q)
        weighted_common = self.common - (self.common @ self.own.T) @ self.own
        with_bumps = _dots(scaled**2, self._times_bumps()) - beside @ np.swapaxes(beside, -1, -2)
        with_common = _dots(scaled, self._times(weighted_common))
        on_common = np.broadcast_to(
            self.common @ weighted_common.T, height.shape + 2 * (len(self.common),)
        )
        upper = np.concatenate([with_bumps, with_common], axis=-1)
        lower = np.concatenate([np.swapaxes(with_common, -1, -2), on_common], axis=-1)
        bumps_model = _dots(scaled * model, self.bumps[:, :, None])[..., 0]
        bumps_model -= (beside @ (model @ self.own.T)[..., None])[..., 0]
        bumps_data = _dots(scaled, self._times(weighted[None]))[..., 0]
        common_data = np.broadcast_to(self.common @ weighted, height.shape + (len(self.common),))
        return (
            np.concatenate([bumps_data, common_data], axis=-1),
            np.concatenate([upper, lower], axis=-2),
            np.concatenate([bumps_model, model @ weighted_common.T], axis=-1),
        )

    def _times(self, rows):
        """Multiply departures by rows, (n_onsets, n_departures, n_rows, n_bins)."""
        return self.bumps[:, :, None] * rows

    def _times_bumps(self):
        return self.bumps[:, :, None] * self.bumps[:, None]


def _dots(values, others):
    """Sum products over bins, (n_onsets, n_shapes, ...)."""
    flat = others.reshape(len(others), -1, others.shape[-1])
    found = values @ np.swapaxes(flat, 1, 2)
    return found.reshape(found.shape[:2] + others.shape[1:-1])


def _padded(products, n_onsets):
    """Complete one spectrum to a number of onsets by some that are never chosen."""
    missing = n_onsets - len(products.energy)
    fill = _Products(products.energy[-1], NEVER, 0.0, 0.0)

    def complete(values, fill):
        """Fill up the onsets that are missing."""
        width = [(0, missing)] + [(0, 0)] * (values.ndim - 1)
        return np.pad(values, width, constant_values=fill)

    return _Products(*(complete(*one) for one in zip(products, fill, strict=True)))
