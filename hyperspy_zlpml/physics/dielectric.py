# SPDX-License-Identifier: GPL-3.0-or-later
"""Dielectric functions of a block of spectra, from the losses to the zeros of eps, with errors.

Losses are made ready and normalised (:mod:`.material`) and transformed (:mod:`.kramers_kronig`). Every
direction in which the ZLP may be wrong goes the same way; noise of the counts is added in closed form.
"""

from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.physics.crossings import find_crossings
from hyperspy_zlpml.physics.kramers_kronig import (
    LARGEST_PLASMON,
    Inverse,
    changes_of_epsilon,
    noise_of_epsilon,
    smoothed,
    weights_of_total,
)
from hyperspy_zlpml.physics.material import Answer, is_significant, prepared, without_part
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.physics.retardation import cherenkov_threshold

#: Energies of the main losses that are as good for the tail as the one taken, in units of it.
_PLASMONS = (0.9, 1.1)
#: By what part of itself the first energy that is trusted might be higher, and the part of what that changes which
#: is an error: what a straight line is wrong by grows with its third power where losses rise towards a resonance.
_LATER = 1 / 3
_OF_LATER = 0.5
#: Thickness below which losses of two faces that do not feel each other are not to be taken off, nm.
_THINNEST = 10.0
#: Thickness below which there is no room for the light of an infinite specimen, nm.
_ROOM_FOR_LIGHT = 200.0
#: Patterns of noise that are put through the iterations, and the seed of their signs.
_PATTERNS = 8
_SEED = 0
#: FWHM over which what the iterations make of noise is averaged; an odd number.
_PATTERN_WINDOW = 5


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


# Of the data, of what is given of them, and of how they are analysed.
def dielectric_block(losses, given, given_error, kind=None, *, analysis, films=None):  # noqa: PLR0913
    """Compute the dielectric functions of a block of spectra, and what follows from them.

    Parameters
    ----------
    losses : Losses
        Of n spectra.
    given, given_error : ndarray of shape (n,)
        Refractive index, infinite for a metal, or thickness, nm; and one standard deviation of it.
    kind : ndarray of shape (n,), optional
        Of which of the materials of ``films`` each is.
    analysis : Analysis
    films : FilmTables, optional
        What films add, where it is known; else it is computed for each spectrum.

    Returns
    -------
    ndarray of shape (n, analysis.width)
        Columns as :meth:`.Analysis.columns` tells; NaN where a spectrum has no answer.
    """
    kind = None if kind is None else kind.astype(int)
    with np.errstate(all="ignore"):  # of spectra without an answer
        measured, material, has_limit = prepared(losses, given, analysis, films=films, kind=kind)
        columns, reason = _solved(measured, material, given_error)
    reason[~has_limit] = Reason.NO_LIMIT
    return _laid_out(columns, reason, analysis)


def _solved(measured, material, given_error):
    """Compute all columns, and the reason of each spectrum."""
    analysis, continuation = material.analysis, material.continuation
    has_losses = np.isfinite(measured.losses).all(-1)
    significant = is_significant(measured, material)
    # No time is spent on spectra without an answer.
    known = np.where(significant[:, None], measured.losses, np.nan)
    measured = measured._replace(losses=known)
    inverse, excess, settled = material.solve(measured.losses, measured.error(analysis.grid))
    material = replace(material, excess=excess)
    found = Answer(inverse, material.thickness(inverse))
    effects = _Effects(
        *_of_zlp(found, measured, material), _systematic(found, measured, material, given_error)
    )
    gain = _gain_of_noise(found, measured, material)
    columns = {
        "trusted_from": analysis.grid.energy[continuation.first],
        "main_losses": analysis.grid.energy[-1] * continuation.plasmon,
        **_spectra(found, effects, measured.variance, gain=gain, material=material),
        **_numbers(found, effects, measured.variance, gain=gain, material=material),
        **_crossings(found, effects, measured.variance, gain=gain, material=material),
    }
    reason = _reasons(found, significant, settled, has_losses, material=material, columns=columns)
    return columns, reason


class _Effects(NamedTuple):
    """Effects of all errors but of the noise of the counts.

    Attributes
    ----------
    of_zlp : _Errors
        Of the ZLP, the last with the noise that makes it.
    of_level : _Errors
        Of that noise alone, to be counted once.
    systematic : _Errors
    """

    of_zlp: _Errors
    of_level: _Errors
    systematic: _Errors


def _of_zlp(found, measured, material):
    """Compute what the errors of the ZLP do, and what the noise does alone that makes the last of them."""
    deviations = np.concatenate([measured.directions, measured.level[:, None]], axis=1)
    own = material.intensity[:, None]
    varied = material.varied(
        measured.losses[:, None] + deviations,
        given=np.broadcast_to(material.given[:, None], deviations.shape[:2]),
        intensity=np.concatenate([measured.intensities, own], axis=1),
    )
    both = _Errors.between(found, varied)
    return tuple(_Errors(*(one[:, part] for one in both)) for part in np.s_[:-1, -1:])


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
    if not excess or material.is_slow:
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
    fixed = _Errors.between(found, Answer(held, material.thickness(held)))
    through = _Errors.between(found, material.varied(losses))
    window = _PATTERN_WINDOW * grid.window
    of_epsilon = [smoothed((np.abs(one.epsilon) ** 2).sum(1), window) for one in (through, fixed)]
    name = "thickness" if material.analysis.by_index else "missing"
    of_total = [np.square(getattr(one, name)).sum(1) for one in (through, fixed)]
    return _Gain(*(one / other for one, other in (of_epsilon, of_total)))


def _systematic(found, measured, material, given_error):
    """Compute what errors do that all pixels have: of what is given, of the tail, of the resolution.

    What was given back below ``E_I`` is that of a straight line, which losses need not be. Losses sharpened to
    second order differ from the data about as the truth does. Below the first energy that is trusted they are
    a straight line again: another choice of it, a third higher, tells by how much that is wrong. Losses by
    retardation in the volume do not vanish towards zero: all of the change is an error then.
    """
    analysis, continuation = material.analysis, material.continuation

    def effect(losses=measured.losses, **changes):
        answer = material.varied(losses, **changes)
        inverse = Inverse(*(getattr(answer.inverse, f.name)[:, None] for f in fields(Inverse)))
        return _Errors.between(found, Answer(inverse, answer.thickness[:, None]))

    tails = [
        effect(continuation=replace(continuation, plasmon=continuation.plasmon * factor))
        for factor in _PLASMONS
    ]
    of_given = effect(given=material.given + given_error)
    of_line = effect(measured.shifted, intensity=measured.shifted_intensity)
    first = continuation.first + np.ceil(_LATER * (continuation.first + 1)).astype(int)
    later = effect(continuation=replace(continuation, first=first))
    does_not_vanish = analysis.relativistic and not analysis.surface
    of_ramp = _Errors(*((1.0 if does_not_vanish else _OF_LATER) * one for one in later))
    effects = [of_given, _Errors.half(*tails), effect(measured.sharpened), of_line, of_ramp]
    return _Errors.join(effects)


def _spectra(found, effects, variance, *, gain, material):
    """Collect the dielectric functions with their errors."""
    epsilon, by_index = found.inverse.epsilon, material.analysis.by_index
    noise = noise_of_epsilon(found.inverse, variance, material.continuation, not by_index)
    columns = {"eps1": epsilon.real, "eps2": epsilon.imag}
    for name, part, of_noise in zip(columns.copy(), (np.real, np.imag), noise, strict=True):
        of_zlp, of_level, systematic = (part(one.epsilon) for one in effects)
        rest = without_part(gain.epsilon * of_noise, of_level[:, 0])
        columns[f"{name}_std"] = np.sqrt(np.square(of_zlp).sum(1) + rest)
        columns[f"{name}_systematic"] = _root_sum(systematic)
    return columns


def _root_sum(errors):
    return np.sqrt(np.square(errors).sum(1))


def _numbers(found, effects, variance, *, gain, material):
    """Collect thickness and refractive index with their errors."""
    of_zlp, of_level, systematic = effects
    missing, thickness = found.inverse.missing, found.thickness
    by_index = material.analysis.by_index
    weights = weights_of_total(found.inverse.total, material.continuation)
    relative = gain.total * (weights**2 * variance).sum(-1)
    # Of a metal that is given; a sum above 1 that was measured is that of no index.
    index = np.where(missing < 1, 1 / np.sqrt(1 - missing), np.inf if by_index else np.nan)
    # Only one of the two depends on the integral of the losses; the other is given.
    of_thickness = without_part(relative * thickness**2 * by_index, of_level.thickness[:, 0])
    of_thickness += np.square(of_zlp.thickness).sum(1)
    of_missing = without_part(relative * missing**2, of_level.missing[:, 0])
    of_missing += np.square(of_zlp.missing).sum(1)
    steepness = np.where(np.isinf(index), 0.0, index**3 / 2)
    return {
        "thickness": thickness,
        "thickness_std": np.sqrt(of_thickness),
        "thickness_systematic": _root_sum(systematic.thickness),
        "index": index,
        "index_std": steepness * np.sqrt(of_missing) * (not by_index),
        "index_systematic": steepness * _root_sum(systematic.missing),
    }


def _crossings(found, effects, variance, *, gain, material):
    """Collect the zeros of eps1 with their errors."""
    analysis, continuation = material.analysis, material.continuation
    energy, window = analysis.grid.energy, analysis.grid.window
    eps1 = smoothed(found.inverse.epsilon.real, window)
    noise, _ = noise_of_epsilon(
        found.inverse, variance, continuation, not analysis.by_index, window=window
    )
    of_zlp, of_level, systematic = (smoothed(one.epsilon.real, window) for one in effects)
    noise = without_part(gain.epsilon * noise, of_level[:, 0])
    std = np.sqrt(noise + np.square(of_zlp).sum(1))
    shift = _root_sum(systematic)
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
    reason[np.isnan(columns["index"])] = Reason.AT_UPPER_END
    of_volume = analysis.relativistic & (found.thickness > _ROOM_FOR_LIGHT)
    reason[is_fast & ~of_volume & (not analysis.excess.is_film)] = Reason.RETARDED
    faces_alone = analysis.surface and not analysis.relativistic
    thin = faces_alone & (found.thickness < _THINNEST)
    # The sum of a metal counts low losses most, and those of a film are the larger part of them.
    metal_film = analysis.excess.is_film & analysis.by_index & np.isinf(material.given)
    reason[~settled | thin | metal_film] = Reason.NOT_CONVERGED
    reason[material.continuation.plasmon > LARGEST_PLASMON] = Reason.AXIS_TOO_SHORT
    reason[~significant] = Reason.NOT_SIGNIFICANT
    reason[~has_losses] = Reason.TOO_THICK
    reason[np.isnan(material.given)] = Reason.NOT_GIVEN
    return reason


#: Reasons that leave numbers in place.
_WITH_CARE = (Reason.NONE, Reason.RETARDED, Reason.AT_UPPER_END)


def _laid_out(columns, reason, analysis):
    """Write columns side by side, without those of spectra that have no answer."""
    out = np.full((reason.size, analysis.width), np.nan)
    for name, values in columns.items():
        out[:, analysis.columns(name)] = values
    out[~np.isin(reason, _WITH_CARE)] = np.nan
    out[:, analysis.columns("reason")] = reason
    return out
