# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses of spectra made ready for the Kramers-Kronig relation, and what is known of the specimen.

Single scattering (:mod:`.deconvolution`) is brought to energies from the peak and divided by what the
aperture lets through. With a refractive index or a thickness it makes a dielectric function, freed of
losses of the faces and of retardation (:mod:`.surface`) where that is asked for.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.signal import fftconvolve

from hyperspy_zlpml.physics.deconvolution import from_peak, rebinned, single_scattering
from hyperspy_zlpml.physics.film_tables import FilmTables
from hyperspy_zlpml.physics.hidden_losses import hidden_losses
from hyperspy_zlpml.physics.kinematics import Beam
from hyperspy_zlpml.physics.kramers_kronig import (
    Continuation,
    Inverse,
    LossGrid,
    invert,
    smoothed,
    weights_of_total,
)
from hyperspy_zlpml.physics.loss_probability import volume_factor
from hyperspy_zlpml.physics.surface import Excess, without_excess

#: Largest energy of the main losses over that of the end of the axis, whatever comes of it.
_LAST_PLASMON = 0.9
#: FWHM over which losses are averaged to find the largest; an odd number.
_MAIN_WINDOW = 5
#: Losses are nothing unless they exceed their error so many times; those of what was taken for
#: vacuum, so many.
_SIGNIFICANT = 3.0
_SIGNIFICANT_IN_VACUUM = 5.0
#: FWHM from the peak from which losses are trusted at the nearest where retardation is taken off:
#: losses of Cherenkov's kind do not vanish towards zero, where the response blurs them with none.
_NEAREST_RETARDED = 3.0
#: Standard deviations by which retardation and faces may add more than the losses that there are.
_WITHIN = 2.0
#: Tables of films reach this many times beyond the thicknesses that are seen.
_WIDER = 1.5
#: Spectra among the columns that a block gives, each of the size of the grid.
SPECTRA = ("eps1", "eps2", "eps1_std", "eps2_std", "eps1_systematic", "eps2_systematic")
#: Numbers among the columns, each with its error, what is systematic of it, or its probability.
NUMBERS = (
    "thickness",
    "thickness_std",
    "thickness_systematic",
    "index",
    "index_std",
    "index_systematic",
    "rising",
    "rising_std",
    "rising_systematic",
    "rising_probability",
    "falling",
    "falling_std",
    "falling_systematic",
    "falling_probability",
    "trusted_from",
    "main_losses",
    "reason",
)


@dataclass(frozen=True)
class Analysis:
    """Settings of the search for dielectric functions.

    Parameters
    ----------
    grid : LossGrid
        Of energies from the peak; its step is ``rebin`` channels.
    rebin : int
        Channels that are summed.
    beam : Beam
    by_index : bool
        Whether the refractive index is known, not the thickness.
    surface, relativistic : bool
        Losses that are taken off: of the two faces; by retardation. Both: all that a film adds.
    """

    grid: LossGrid
    rebin: int
    beam: Beam
    by_index: bool
    surface: bool = False
    relativistic: bool = False

    @property
    def width(self):
        """Columns that :func:`.dielectric_block` gives."""
        return len(SPECTRA) * self.grid.size + len(NUMBERS)

    @property
    def excess(self):
        """Losses that are taken off."""
        return Excess(self.beam, self.surface, self.relativistic)

    def columns(self, name):
        """Tell in which columns something is found.

        Parameters
        ----------
        name : str
            Among :data:`SPECTRA` and :data:`NUMBERS`.

        Returns
        -------
        slice or int
        """
        if name in SPECTRA:
            first = SPECTRA.index(name) * self.grid.size
            return slice(first, first + self.grid.size)
        return len(SPECTRA) * self.grid.size + NUMBERS.index(name)


@dataclass(frozen=True)
class Material:
    """Spectra as they are to be analysed, each with what is given of it.

    Attributes
    ----------
    given, intensity : ndarray of shape (n_spectra, ...)
        Refractive index or thickness (nm); counts of the ZLP.
    excess : ndarray of shape (n_spectra, size), optional
        Losses to take off, where these are known; else they are found.
    films : FilmTables, optional
        What films add, where it is known of some materials.
    kind : ndarray of int of shape (n_spectra,), optional
        Of which of them each spectrum is.
    """

    analysis: Analysis
    continuation: Continuation
    given: np.ndarray
    intensity: np.ndarray
    excess: np.ndarray | None = None
    films: FilmTables | None = None
    kind: np.ndarray | None = None

    @property
    def is_slow(self):
        """Whether what a film adds is computed for each spectrum, which takes a thousand times the time."""
        return self.analysis.excess.is_film and self.films is None

    @property
    def per_thickness(self):
        """Losses over ``Im[-1/eps]`` for 1 nm."""
        return self.intensity * volume_factor(self.analysis.beam)

    def invert(self, losses):
        """Compute the inverse dielectric function of losses without any excess."""
        if self.analysis.by_index:
            return invert(losses, self.continuation, index=self.given)
        return invert(losses, self.continuation, scale=self.given * self.per_thickness)

    def excess_of(self, inverse, rows):
        """Compute the losses of the chosen spectra that are none of the loss function, where these are trusted.

        They are recorded at the resolution, as all losses are. Without it any single node whose epsilon
        happens to be that of a plasmon of the faces would be all plasmon.
        """
        thickness = self.thickness(inverse)[rows]
        if self.films is not None:
            excess = self.films.per_thickness(_beside(self.kind, rows)[rows], thickness)
        else:
            excess = self.analysis.excess.per_thickness(
                self.analysis.grid.energy, inverse.epsilon[rows], thickness
            )
        below = np.expand_dims(self.continuation.is_below, tuple(range(1, rows.ndim)))
        below = np.broadcast_to(below, (*rows.shape, below.shape[-1]))[rows]
        excess = smoothed(excess, self.analysis.grid.window)
        return np.where(below, 0.0, inverse.scale[rows][:, None] * excess)

    def solve(self, losses, error=None):
        """Find the inverse dielectric function of measured losses, what to take off, where it was found.

        Parameters
        ----------
        losses : ndarray of shape (n_spectra, ..., size)
        error : ndarray of the same shape, optional
            Of the losses at the resolution: within it they may be less than what retardation or faces add.

        Returns
        -------
        inverse : Inverse
        excess : ndarray of shape (n_spectra, ..., size), or None
        settled : ndarray of bool of shape (n_spectra, ...)
        """
        excess = self.analysis.excess
        if not excess:
            return self.invert(losses), None, np.ones(losses.shape[:-1], bool)
        part = excess.first_part if self.films is None else 1.0
        noise = None if error is None else self._within(error)
        free, settled = without_excess(
            losses,
            self.invert,
            self.excess_of,
            first_part=part,
            noise=noise,
            window=1 if error is None else self.analysis.grid.window,
        )
        if self.films is not None:
            settled &= _beside(self.films.settled[self.kind], settled)
        return self.invert(free), losses - free, settled

    def _within(self, error):
        """Tell by how much more may be added than the losses that there are, (n_spectra, size)."""
        # Beyond the main losses next to nothing is: what is found there is made of noise.
        grid = self.analysis.grid
        beyond = grid.energy > self.continuation.plasmon[:, None] * grid.energy[-1]
        return np.where(beyond, np.inf, _WITHIN * error)

    def varied(self, losses, **changes):
        """Find what the inverse and the thickness are with other losses, or another assumption.

        What a film adds takes so long that it stays as it was found.
        """
        other = replace(self, **changes)
        if self.is_slow:
            taken_off = self.excess if losses.ndim == 2 else self.excess[:, None]
            inverse = other.invert(losses - taken_off)
        else:
            inverse, _, _ = other.solve(losses)
        return Answer(inverse, other.thickness(inverse))

    def thickness(self, inverse):
        """Compute the thickness, nm, from what losses were divided by."""
        return inverse.scale / self.per_thickness


class Answer(NamedTuple):
    """Inverse dielectric functions and thicknesses."""

    inverse: Inverse
    thickness: np.ndarray


def _beside(values, others):
    """Lay numbers of spectra out as others, of shape (n_spectra, ...), are."""
    return np.broadcast_to(values.reshape(values.shape + (1,) * (others.ndim - 1)), others.shape)


# Of the data, of what is given of them, and of how they are analysed.
def prepared(losses, given, analysis, films=None, kind=None):
    """Make losses ready for the relation.

    Parameters
    ----------
    losses : Losses
        Of n spectra.
    given : ndarray of shape (n,)
        Refractive index, infinite for a metal, or thickness, nm.
    analysis : Analysis
    films : FilmTables, optional
    kind : ndarray of int of shape (n,), optional

    Returns
    -------
    measured : Measured
    material : Material
    has_limit : ndarray of bool of shape (n,)
        Where it is known from which energy on losses are measured.
    """
    coarse = rebinned(losses, analysis.rebin)
    found = single_scattering(coarse).given_back(hidden_losses(coarse, analysis.beam))
    measured = Measured.of(found, losses, analysis)
    first = _first_trusted(losses, analysis)
    has_limit = first < analysis.grid.size / 2
    first = np.where(has_limit, np.maximum(first, 0), 0).astype(int)
    continuation = Continuation(
        analysis.grid, first, main_losses(measured.losses, first, analysis.grid)
    )
    material = Material(analysis, continuation, given, found.intensity, films=films, kind=kind)
    return measured, material, has_limit


def film_table(losses, given, analysis):
    """Find what films of one material add at any thickness, from the mean of some of its spectra.

    The dielectric function is that of the mean, with all that a film of the mean thickness adds taken
    off step by step.

    Parameters
    ----------
    losses : Losses
        Of n spectra.
    given : ndarray of shape (n,)
        Refractive index, or thickness, nm.
    analysis : Analysis

    Returns
    -------
    FilmTables
        Of one material; not settled where the iteration is not, or no spectrum has losses.
    """
    with np.errstate(all="ignore"):  # of spectra without an answer
        measured, material, has_limit = prepared(losses, given, analysis)
        is_known = has_limit & np.isfinite(measured.losses).all(-1)
        is_known &= is_significant(measured, material)
        if not is_known.any():
            return FilmTables.unknown(analysis.grid.size)
        thickness = material.thickness(material.invert(measured.losses))[is_known]
        mean, of_mean = _mean_of(measured.losses[is_known], material, is_known)
        inverse, _, settled = of_mean.solve(mean, _error_of_mean(measured, is_known, analysis.grid))
        epsilon = np.where(settled[:, None], inverse.epsilon, np.nan)[0]
        ends = thickness.min() / _WIDER, thickness.max() * _WIDER
    return FilmTables.of(analysis.grid.energy, epsilon, ends, analysis.beam)


def _error_of_mean(measured, rows, grid):
    """Compute the error of the mean of some spectra, whose noise is their own, and whose ZLPs err together."""
    n_spectra = rows.sum()
    variance = measured.variance[rows].mean(0, keepdims=True) / n_spectra
    level = measured.level[rows].mean(0, keepdims=True) / np.sqrt(n_spectra)
    directions = measured.directions[rows].mean(0, keepdims=True)
    directions[:, -1] /= np.sqrt(n_spectra)  # made by noise
    return measured._replace(variance=variance, level=level, directions=directions).error(grid)


def _mean_of(losses, material, rows):
    """Take the mean of the losses of some spectra, and the material that it is of."""
    intensity, given = material.intensity[rows], material.given[rows]
    weights = None if material.analysis.by_index else intensity
    first = material.continuation.first[rows].max(keepdims=True)
    mean = losses.mean(0, keepdims=True)
    grid = material.analysis.grid
    return mean, replace(
        material,
        continuation=Continuation(grid, first, main_losses(mean, first, grid)),
        given=np.average(given, weights=weights, keepdims=True),
        intensity=intensity.mean(keepdims=True),
    )


def _first_trusted(losses, analysis):
    """Find the first node that is trusted, as a floating-point number."""
    nearest = _NEAREST_RETARDED * losses.fwhm if analysis.relativistic else 0.0
    return np.ceil(np.maximum(losses.loss_limit, nearest) / analysis.grid.step) - 1


def main_losses(losses, first, grid):
    """Find the energy of the largest losses, over that of the end of the axis.

    Parameters
    ----------
    losses : ndarray of shape (n_spectra, size)
        At the nodes of a grid.
    first : ndarray of int of shape (n_spectra,)
        First node that is trusted.
    grid : LossGrid

    Returns
    -------
    ndarray of shape (n_spectra,)
    """
    trusted = np.where(np.arange(grid.size) < first[:, None], 0.0, losses)
    largest = smoothed(trusted, _MAIN_WINDOW * grid.window).argmax(-1)
    # Not at the very end, where the tail would not be finite.
    return np.minimum((largest + 1) / grid.size, _LAST_PLASMON)


class Measured(NamedTuple):
    """Losses at the nodes of the grid, divided by what the aperture lets through.

    Attributes
    ----------
    losses, variance : ndarray of shape (n_spectra, size)
    sharpened : ndarray of shape (n_spectra, size)
        Losses that differ from the measured ones about as these do from those without response.
    directions : ndarray of shape (n_spectra, n_directions, size)
        The last goes with a part of the noise, which is in it.
    level : ndarray of shape (n_spectra, size)
        That part of the noise: it is in the variance, too, and to be counted once.
    intensities : ndarray of shape (n_spectra, n_directions)
        Counts of the ZLP, changed as the directions say.
    shifted : ndarray of shape (n_spectra, size)
        Losses, changed by what the assumption may do by which losses below ``E_I`` were given back.
    shifted_intensity : ndarray of shape (n_spectra,)
        Counts of the ZLP, changed by it.
    is_vacuum : ndarray of bool of shape (n_spectra,)
    """

    losses: np.ndarray
    variance: np.ndarray
    sharpened: np.ndarray
    directions: np.ndarray
    level: np.ndarray
    intensities: np.ndarray
    shifted: np.ndarray
    shifted_intensity: np.ndarray
    is_vacuum: np.ndarray

    def error(self, grid):
        """Compute the error of the losses averaged over the resolution: of the noise, and of the ZLP."""
        # Of few counts the variance is noise itself.
        noise = smoothed(self.variance, _MAIN_WINDOW * grid.window) / grid.window
        noise = without_part(noise, smoothed(self.level, grid.window))
        return np.sqrt(noise + np.square(self.directions).sum(1))

    @classmethod
    def of(cls, scattering, losses, analysis):
        """Take them from single-scattering distributions."""
        grid = analysis.grid
        at_nodes = from_peak(scattering, first=1, size=grid.size)
        divisor = grid.step * analysis.beam.angular_logarithm(grid.energy)
        directions = at_nodes.directions
        directions[:, -1] += at_nodes.of_level
        return cls(
            losses=at_nodes.counts / divisor,
            variance=at_nodes.variance / divisor**2,
            sharpened=_sharpened(at_nodes.counts, losses, grid) / divisor,
            directions=directions / divisor,
            level=at_nodes.of_level / divisor,
            intensities=scattering.intensity[:, None] + scattering.intensity_directions,
            shifted=(at_nodes.counts + at_nodes.counts_shift) / divisor,
            shifted_intensity=scattering.intensity + scattering.intensity_shift,
            is_vacuum=losses.is_vacuum,
        )


def without_part(variance, deviation):
    """Take off the variance of noise what a part of it makes that is counted elsewhere.

    Parameters
    ----------
    variance : ndarray
    deviation : ndarray of the same shape
        What that part makes, by one standard deviation.

    Returns
    -------
    ndarray of the same shape
    """
    return np.maximum(variance - deviation**2, 0.0)


def _sharpened(counts, losses, grid):
    """Estimate counts without the response, from those blurred by it up to three times more.

    With b the blur, what was measured is ``d = b t``, and ``t = d - (b - 1) t``. To second order ``(b - 1) t`` is
    ``(b - 1) d - (b - 1)^2 d`` (P. H. van Cittert, Z. Phys. 69, 298 (1931)); the second is small, and blurred
    once more here, which keeps it from adding noise. The response is all of the zero-loss peak on the axis:
    its far tails move a plasmon, which is broad, a quarter as far as its core does.
    """
    n_half = grid.size - 1
    distance = grid.step * np.arange(-n_half, n_half + 1)
    rows = zip(losses.from_peak, losses.zlp, strict=True)
    response = np.array([np.interp(distance, *row, right=0.0) for row in rows])
    # Before the axis begins tails are taken to be as high as they are beyond the peak.
    response = np.where(distance < losses.from_peak[:, :1], response[:, ::-1], response)
    response /= response.sum(-1, keepdims=True)

    def blurred(values):
        """Blur by the response once."""
        # Losses go on beyond the end as they are there, and are none below zero.
        longer = np.pad(values, ((0, 0), (n_half, n_half)), constant_values=0.0)
        longer[:, grid.size + n_half :] = values[:, -1:]
        full = fftconvolve(longer, response, mode="same", axes=-1)
        return full[:, n_half : grid.size + n_half]

    twice = blurred(blurred(counts))
    return 2 * (counts - twice) + blurred(twice)


def is_significant(measured, material):
    """Tell where the measured losses, before anything is taken off, stand out of their errors.

    Parameters
    ----------
    measured : Measured
    material : Material

    Returns
    -------
    ndarray of bool of shape (n_spectra,)
    """
    continuation = material.continuation
    total = continuation.at_zero(continuation.complete(measured.losses))
    of_zlp = continuation.at_zero(continuation.complete(measured.directions)) / total[:, None]
    weights = weights_of_total(total, continuation)
    of_noise = without_part(
        (weights**2 * measured.variance).sum(-1), (weights * measured.level).sum(-1)
    )
    significance = 1 / np.sqrt(of_noise + np.square(of_zlp).sum(-1))
    least = np.where(measured.is_vacuum, _SIGNIFICANT_IN_VACUUM, _SIGNIFICANT)
    return (significance > least) & (total > 0)
