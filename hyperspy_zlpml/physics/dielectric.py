# SPDX-License-Identifier: GPL-3.0-or-later
"""Dielectric functions of a block of spectra, from the losses to the zeros of eps, with errors.

Single scattering (:mod:`.deconvolution`) is brought to energies from the peak, divided by what the
aperture lets through, normalised, freed of losses of the faces and of retardation
(:mod:`.surface`), and transformed (:mod:`.kramers_kronig`). Every direction in which the ZLP may be
wrong goes the same way; noise of the counts is added in closed form.
"""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
from scipy.signal import fftconvolve

from hyperspy_zlpml.physics.crossings import find_crossings
from hyperspy_zlpml.physics.deconvolution import from_peak, single_scattering
from hyperspy_zlpml.physics.hidden_losses import with_hidden_losses
from hyperspy_zlpml.physics.kinematics import Beam
from hyperspy_zlpml.physics.kramers_kronig import (
    LARGEST_PLASMON,
    Continuation,
    Inverse,
    LossGrid,
    changes_of_epsilon,
    invert,
    noise_of_epsilon,
    smoothed,
    weights_of_total,
)
from hyperspy_zlpml.physics.loss_probability import volume_factor
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.physics.retardation import cherenkov_threshold
from hyperspy_zlpml.physics.surface import Excess, without_excess

#: Energies of the main losses that are as good for the tail as the one taken, in units of it.
_PLASMONS = (0.9, 1.1)
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
#: Thickness below which losses of two faces that do not feel each other are not to be taken off, nm.
_THINNEST = 10.0
#: Parts of Im[-1/eps] that are tried to see whether smaller losses of the volume would do as well.
_SMALLER = (0.03, 0.1, 0.3)
#: Patterns of noise that are put through the iterations, and the seed of their signs.
_PATTERNS = 8
_SEED = 0
#: FWHM over which what the iterations make of noise is averaged; an odd number.
_PATTERN_WINDOW = 5
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
        """Columns that :func:`dielectric_block` gives."""
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
class _Material:
    """Spectra as they are to be analysed, each with what is given of it.

    Attributes
    ----------
    given, intensity : ndarray of shape (n_spectra, ...)
        Refractive index or thickness (nm); counts of the ZLP.
    excess : ndarray of shape (n_spectra, size), optional
        Losses to take off, where these are known; else they are found.
    """

    analysis: Analysis
    continuation: Continuation
    given: np.ndarray
    intensity: np.ndarray
    excess: np.ndarray | None = None

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
        """Compute the losses of the chosen spectra that are none of the loss function."""
        energy, thickness = self.analysis.grid.energy, self.thickness(inverse)[rows]
        excess = self.analysis.excess.per_thickness(energy, inverse.epsilon[rows], thickness)
        return inverse.scale[rows][:, None] * excess

    def solve(self, losses):
        """Find the inverse dielectric function of measured losses, what to take off, where it was found."""
        excess = self.analysis.excess
        if not excess:
            return self.invert(losses), None, np.ones(losses.shape[:-1], bool)
        free, settled = without_excess(losses, self.invert, self.excess_of, excess.first_part)
        return self.invert(free), losses - free, settled

    def is_ambiguous(self, losses, inverse):
        """Tell where less loss of the volume would explain the measured losses as well.

        Where eps1 is -1 faces take ``1 / Im[-1/eps]``: those of a sharp plasmon of the faces may be
        taken for losses of the volume, and the iteration finds the larger of two solutions.
        """
        energy, trusted = self.analysis.grid.energy, ~self.continuation.is_below
        found = np.zeros(losses.shape[:-1], bool)
        for part in _SMALLER:
            smaller = replace(inverse, loss=part * inverse.loss)
            excess = self.analysis.excess.per_thickness(
                energy, smaller.epsilon, self.thickness(inverse)
            )
            total = inverse.scale[:, None] * (smaller.loss + excess)
            above = smoothed(total - losses, self.analysis.grid.window)
            found |= (trusted & (inverse.real < 0) & (above > 0)).any(-1)
        return found

    def varied(self, losses, **changes):
        """Find what the inverse and the thickness are with other losses, or another assumption.

        What a film adds takes so long that it stays as it was found.
        """
        other = replace(self, **changes)
        if self.analysis.excess.is_film:
            taken_off = self.excess if losses.ndim == 2 else self.excess[:, None]
            inverse = other.invert(losses - taken_off)
        else:
            inverse, _, _ = other.solve(losses)
        return _Answer(inverse, other.thickness(inverse))

    def thickness(self, inverse):
        """Compute the thickness, nm, from what losses were divided by."""
        return inverse.scale / self.per_thickness


class _Answer(NamedTuple):
    """Inverse dielectric functions and thicknesses."""

    inverse: Inverse
    thickness: np.ndarray


class _Errors(NamedTuple):
    """Effects of several errors, each by one standard deviation.

    Attributes
    ----------
    epsilon : ndarray of complex of shape (n_spectra, n_errors, size)
    thickness, missing : ndarray of shape (n_spectra, n_errors)
        Of the thickness; of ``1 - 1/n^2``.
    """

    epsilon: np.ndarray
    thickness: np.ndarray
    missing: np.ndarray

    @classmethod
    def between(cls, found, varied):
        """Take the differences of varied answers, (n_spectra, n_errors), from that found."""
        inverse, other = found.inverse, varied.inverse
        return cls(
            changes_of_epsilon(inverse, other),
            varied.thickness - found.thickness[:, None],
            other.missing - inverse.missing[:, None],
        )

    @classmethod
    def half(cls, low, high):
        """Take half the differences of two kinds of errors."""
        return cls(*((two - one) / 2 for one, two in zip(low, high, strict=True)))

    @classmethod
    def join(cls, several):
        """Put errors of several kinds side by side."""
        return cls(*(np.concatenate(one, axis=1) for one in zip(*several, strict=True)))


def dielectric_block(losses, given, given_error, analysis):
    """Compute the dielectric functions of a block of spectra, and what follows from them.

    Parameters
    ----------
    losses : Losses
        Of n spectra.
    given, given_error : ndarray of shape (n,)
        Refractive index, infinite for a metal, or thickness, nm; and one standard deviation of it.
    analysis : Analysis

    Returns
    -------
    ndarray of shape (n, analysis.width)
        Columns as :meth:`Analysis.columns` tells; NaN where a spectrum has no answer.
    """
    with np.errstate(all="ignore"):  # of spectra without an answer
        losses = with_hidden_losses(losses, analysis.beam)
        found = single_scattering(losses, analysis.rebin)
        scattering = from_peak(found, first=1, size=analysis.grid.size)
        measured = _Measured.of(scattering, losses, analysis)
        first = _first_trusted(losses, analysis)
        has_limit = first < analysis.grid.size / 2
        first = np.where(has_limit, np.maximum(first, 0), 0).astype(int)
        plasmon = _main_losses(measured.losses, first, analysis.grid)
        continuation = Continuation(analysis.grid, first, plasmon)
        material = _Material(analysis, continuation, given, scattering.intensity)
        columns, reason = _solved(measured, material, given_error)
    reason[~has_limit] = Reason.NO_LIMIT
    return _laid_out(columns, reason, analysis)


def _first_trusted(losses, analysis):
    """Find the first node that is trusted, as a floating-point number."""
    nearest = _NEAREST_RETARDED * losses.fwhm if analysis.relativistic else 0.0
    return np.ceil(np.maximum(losses.loss_limit, nearest) / analysis.grid.step) - 1


def _main_losses(losses, first, grid):
    """Find the energy of the largest losses, over that of the end of the axis."""
    trusted = np.where(np.arange(grid.size) < first[:, None], 0.0, losses)
    largest = smoothed(trusted, _MAIN_WINDOW * grid.window).argmax(-1)
    # Not at the very end, where the tail would not be finite.
    return np.minimum((largest + 1) / grid.size, _LAST_PLASMON)


class _Measured(NamedTuple):
    """Losses at the nodes of the grid, divided by what the aperture lets through.

    Attributes
    ----------
    losses, variance : ndarray of shape (n_spectra, size)
    blurred : ndarray of shape (n_spectra, size)
        Losses at the resolution once more.
    directions : ndarray of shape (n_spectra, n_directions, size)
    intensities : ndarray of shape (n_spectra, n_directions)
        Counts of the ZLP, changed as the directions say.
    is_vacuum : ndarray of bool of shape (n_spectra,)
    """

    losses: np.ndarray
    variance: np.ndarray
    blurred: np.ndarray
    directions: np.ndarray
    intensities: np.ndarray
    is_vacuum: np.ndarray

    @classmethod
    def of(cls, scattering, losses, analysis):
        """Take them from single-scattering distributions at the nodes."""
        grid = analysis.grid
        divisor = grid.step * analysis.beam.angular_logarithm(grid.energy)
        return cls(
            losses=scattering.counts / divisor,
            variance=scattering.variance / divisor**2,
            blurred=_blurred(scattering.counts, losses, grid) / divisor,
            directions=scattering.directions / divisor,
            intensities=scattering.intensity[:, None] + scattering.intensity_directions,
            is_vacuum=losses.is_vacuum,
        )


def _blurred(counts, losses, grid):
    """Convolve counts at the nodes with the peak of their spectra."""
    n_half = min(int(losses.distance[-1] / grid.step), grid.size - 1)
    distance = grid.step * np.arange(-n_half, n_half + 1)
    response = np.array([np.interp(distance, losses.distance, one) for one in losses.response])
    response /= response.sum(-1, keepdims=True)
    # Losses go on beyond the end as they are there, and are none below zero.
    longer = np.pad(counts, ((0, 0), (n_half, n_half)), constant_values=0.0)
    longer[:, grid.size + n_half :] = counts[:, -1:]
    return fftconvolve(longer, response, mode="same", axes=-1)[:, n_half : grid.size + n_half]


def _solved(measured, material, given_error):
    """Compute all columns, and the reason of each spectrum."""
    analysis, continuation = material.analysis, material.continuation
    has_losses = np.isfinite(measured.losses).all(-1)
    significant = _is_significant(measured, material)
    # No time is spent on spectra without an answer.
    known = np.where(significant[:, None], measured.losses, np.nan)
    measured = measured._replace(losses=known)
    inverse, excess, settled = material.solve(measured.losses)
    if analysis.surface:
        settled &= ~material.is_ambiguous(measured.losses, inverse)
    material = replace(material, excess=excess)
    found = _Answer(inverse, material.thickness(inverse))
    of_zlp = _of_zlp(found, measured, material)
    systematic = _systematic(found, measured, material, given_error)
    gain = _gain_of_noise(found, measured, material)
    noise = noise_of_epsilon(inverse, measured.variance, continuation, not analysis.by_index)
    noise = [gain.epsilon * one for one in noise]
    of_total = weights_of_total(inverse, continuation)
    total_variance = gain.total * (of_total**2 * measured.variance).sum(-1)
    columns = {
        "trusted_from": analysis.grid.energy[continuation.first],
        **_spectra(found, of_zlp, systematic, noise),
        **_numbers(found, of_zlp, systematic, total_variance, by_index=analysis.by_index),
        **_crossings(
            found,
            of_zlp,
            systematic,
            variance=measured.variance,
            gain=gain.epsilon,
            material=material,
        ),
    }
    reason = _reasons(found, significant, settled, has_losses, material=material, columns=columns)
    return columns, reason


def _is_significant(measured, material):
    """Tell where the measured losses, before anything is taken off, stand out of their errors."""
    continuation = material.continuation
    plain = material.invert(measured.losses)
    total = plain.missing * plain.scale
    of_zlp = continuation.at_zero(continuation.complete(measured.directions)) / total[:, None]
    of_noise = weights_of_total(plain, continuation) ** 2 * measured.variance
    significance = 1 / np.sqrt(of_noise.sum(-1) + np.square(of_zlp).sum(-1))
    least = np.where(measured.is_vacuum, _SIGNIFICANT_IN_VACUUM, _SIGNIFICANT)
    return (significance > least) & (total > 0)


def _of_zlp(found, measured, material):
    """Compute what the errors of the ZLP do."""
    shape = measured.intensities.shape
    varied = material.varied(
        measured.losses[:, None] + measured.directions,
        given=np.broadcast_to(material.given[:, None], shape),
        intensity=measured.intensities,
    )
    return _Errors.between(found, varied)


class _Gain(NamedTuple):
    """Factors by which iterations change the variance that noise makes.

    Attributes
    ----------
    epsilon : ndarray of shape (n_spectra, size), or 1
    total : ndarray of shape (n_spectra,), or 1
        Of thickness, or of the refractive index.
    """

    epsilon: np.ndarray | float = 1.0
    total: np.ndarray | float = 1.0


def _gain_of_noise(found, measured, material):
    """Compute what the iterations of faces or of retardation make of noise.

    Some patterns of noise, the same for all spectra, are inverted with what was taken off held fixed,
    which is what the closed form knows, and put through the iterations.
    """
    excess, grid = material.analysis.excess, material.analysis.grid
    if not excess or excess.is_film:
        return _Gain()
    signs = np.random.default_rng(_SEED).choice([-1.0, 1.0], (_PATTERNS, grid.size))
    losses = measured.losses[:, None] + signs * np.sqrt(measured.variance)[:, None]
    shape = losses.shape[:2]
    material = replace(
        material,
        given=np.broadcast_to(material.given[:, None], shape),
        intensity=np.broadcast_to(material.intensity[:, None], shape),
    )
    held = material.invert(losses - material.excess[:, None])
    fixed = _Errors.between(found, _Answer(held, material.thickness(held)))
    through = _Errors.between(found, material.varied(losses))
    window = _PATTERN_WINDOW * grid.window
    of_epsilon = [smoothed((np.abs(one.epsilon) ** 2).sum(1), window) for one in (through, fixed)]
    name = "thickness" if material.analysis.by_index else "missing"
    of_total = [np.square(getattr(one, name)).sum(1) for one in (through, fixed)]
    return _Gain(*(one / other for one, other in (of_epsilon, of_total)))


def _systematic(found, measured, material, given_error):
    """Compute what errors do that all pixels have: of what is given, of the tail, of the resolution.

    Data at the resolution once more differ from the data about as these do from the truth. Losses by
    retardation in the volume do not vanish towards zero, as is assumed below the first energy that
    is trusted: another choice, one FWHM further, tells how much that matters.
    """
    analysis, continuation = material.analysis, material.continuation

    def effect(losses=measured.losses, **changes):
        answer = material.varied(losses, **changes)
        inverse = Inverse(*(getattr(answer.inverse, f.name)[:, None] for f in fields(Inverse)))
        return _Errors.between(found, _Answer(inverse, answer.thickness[:, None]))

    tails = [
        effect(continuation=replace(continuation, plasmon=continuation.plasmon * factor))
        for factor in _PLASMONS
    ]
    of_given = effect(given=material.given + given_error)
    effects = [of_given, _Errors.half(*tails), effect(measured.blurred)]
    if analysis.relativistic and not analysis.surface:
        later = continuation.first + analysis.grid.window
        effects.append(effect(continuation=replace(continuation, first=later)))
    return _Errors.join(effects)


def _spectra(found, of_zlp, systematic, noise):
    """Collect the dielectric functions with their errors."""
    epsilon = found.inverse.epsilon
    columns = {"eps1": epsilon.real, "eps2": epsilon.imag}
    for name, part, variance in zip(columns.copy(), (np.real, np.imag), noise, strict=True):
        squared = np.square(part(of_zlp.epsilon)).sum(1)
        columns[f"{name}_std"] = np.sqrt(squared + variance)
        columns[f"{name}_systematic"] = _root_sum(part(systematic.epsilon))
    return columns


def _root_sum(errors):
    return np.sqrt(np.square(errors).sum(1))


def _numbers(found, of_zlp, systematic, total_variance, by_index):
    """Collect thickness and refractive index with their errors."""
    missing, thickness = found.inverse.missing, found.thickness
    # Of a metal that is given; a sum above 1 that was measured is that of no index.
    index = np.where(missing < 1, 1 / np.sqrt(1 - missing), np.inf if by_index else np.nan)
    # Only one of the two depends on the integral of the losses.
    thickness_noise = total_variance * thickness**2 * by_index
    missing_noise = total_variance * missing**2 * (not by_index)
    steepness = np.where(np.isinf(index), 0.0, index**3 / 2)
    return {
        "thickness": thickness,
        "thickness_std": np.sqrt(np.square(of_zlp.thickness).sum(1) + thickness_noise),
        "thickness_systematic": _root_sum(systematic.thickness),
        "index": index,
        "index_std": steepness * np.sqrt(np.square(of_zlp.missing).sum(1) + missing_noise),
        "index_systematic": steepness * _root_sum(systematic.missing),
    }


# What there is of errors, by their kinds.
def _crossings(found, of_zlp, systematic, *, variance, gain, material):  # noqa: PLR0913
    """Collect the zeros of eps1 with their errors."""
    analysis, continuation = material.analysis, material.continuation
    energy, window = analysis.grid.energy, analysis.grid.window
    eps1 = smoothed(found.inverse.epsilon.real, window)
    noise, _ = noise_of_epsilon(
        found.inverse, variance, continuation, not analysis.by_index, window=window
    )
    squared = np.square(smoothed(of_zlp.epsilon.real, window)).sum(1)
    shift = _root_sum(smoothed(systematic.epsilon.real, window))
    std = np.sqrt(gain * noise + squared)
    zeros = find_crossings(energy, eps1, std, continuation.first, window=window)
    columns = {}
    for name, zero in zip(("rising", "falling"), zeros, strict=True):
        columns[name] = zero.position
        columns[f"{name}_std"] = zero.std
        columns[f"{name}_systematic"] = _at(zero.position, energy, shift) / np.abs(zero.slope)
        columns[f"{name}_probability"] = zero.probability
    return columns


def _at(position, energy, values):
    """Interpolate each row at its own energy."""
    return np.array([np.interp(x, energy, row) for x, row in zip(position, values, strict=True)])


def _reasons(found, significant, settled, has_losses, *, material, columns):
    """Tell why a spectrum has no answer, or one to be read with care; what is worse comes last."""
    analysis = material.analysis
    threshold = cherenkov_threshold(analysis.beam)
    above = analysis.grid.energy >= columns["trusted_from"][:, None]
    reason = np.zeros(len(above))
    is_fast = (np.where(above, columns["eps1"], 0.0) > threshold).any(-1)
    reason[np.isnan(columns["index"])] = Reason.AT_EDGE
    reason[is_fast & (not analysis.relativistic)] = Reason.RETARDED
    faces_alone = analysis.surface and not analysis.relativistic
    thin = faces_alone & (found.thickness < _THINNEST)
    reason[~settled | thin] = Reason.NOT_CONVERGED
    reason[material.continuation.plasmon > LARGEST_PLASMON] = Reason.AXIS_TOO_SHORT
    reason[~significant] = Reason.NOT_SIGNIFICANT
    reason[~has_losses] = Reason.TOO_THICK
    reason[np.isnan(material.given)] = Reason.NOT_GIVEN
    return reason


#: Reasons that leave numbers in place.
_WITH_CARE = (Reason.NONE, Reason.RETARDED, Reason.AT_EDGE)


def _laid_out(columns, reason, analysis):
    """Write columns side by side, without those of spectra that have no answer."""
    out = np.full((reason.size, analysis.width), np.nan)
    for name, values in columns.items():
        out[:, analysis.columns(name)] = values
    out[~np.isin(reason, _WITH_CARE)] = np.nan
    out[:, analysis.columns("reason")] = reason
    return out
