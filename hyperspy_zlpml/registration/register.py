# SPDX-License-Identifier: GPL-3.0-or-later
"""Registration: every training spectrum brought to one reduced energy axis.

The mean shape of the vacuum (or of the brightest cluster) and the peak parameters of the spectra
improve each other in a few rounds; after that a spectrum is its ratio to the reference.
"""

from dataclasses import replace

import numpy as np
from scipy.integrate import trapezoid

from hyperspy_zlpml.image.samples import VACUUM, log_intensities
from hyperspy_zlpml.registration.registered_peaks import RegisteredPeaks, mean_ratio
from hyperspy_zlpml.zlp.grid import Grid
from hyperspy_zlpml.zlp.groups import group_curvature, group_spectra, join_spectra, make_groups
from hyperspy_zlpml.zlp.matching import match
from hyperspy_zlpml.zlp.reference import fit_reference
from hyperspy_zlpml.zlp.regions import (
    EXTRAPOLATED_RISE,
    NO_LIMIT,
    SMALLEST_RISE_WITHOUT_VACUUM,
    flattening,
    onset,
)
from hyperspy_zlpml.zlp.tables import ShapeTable
from hyperspy_zlpml.zlp.tails import extrapolate_by_gain_side, hold_beyond, tail_mode

#: The core, in FWHM, in which a peak is registered before its regions are known.
_CORE = 1.0
_REFERENCE_ROUNDS = 3


def registered(samples, noise, given_limit=None):
    """Register the training spectra to the mean shape of the vacuum, or the brightest cluster.

    The reference and the peak parameters improve each other in a few rounds.

    Parameters
    ----------
    samples : sequence of Sample
    noise : NoiseModel
    given_limit : float, optional
        ``E_I`` of the thinnest spectra, eV, where the user gives it; used without vacuum.

    Returns
    -------
    RegisteredPeaks
    """
    label, centre, fwhm, per_fwhm, groups = _joined(samples)
    n_energy = max(sample.energy.size for sample in samples)
    spectra = _grouped(samples, groups, np.ones(groups.size))
    reach = n_energy / per_fwhm * 1.1
    grid = Grid.covering(-reach, reach)
    first = label == label.min()

    one = np.ones(len(label))
    core = (-_CORE * one, _CORE * one)
    height = np.concatenate([_heights(sample) for sample in samples])
    for _ in range(_REFERENCE_ROUNDS):
        u = (spectra.energy - centre[:, None]) / fwhm[:, None]
        scale = height[:, None] * spectra.n_channels * spectra.curvature
        log_reference, reference_modes = _reference_of(
            spectra, u, scale, first, NO_LIMIT, noise, grid
        )
        curvature = group_curvature(grid, log_reference, groups, per_fwhm)
        spectra = replace(spectra, curvature=curvature)
        table = ShapeTable.of_reference(grid, log_reference)
        matched = match(spectra, centre, fwhm, 0 * one, core, table, noise, None)
        centre, fwhm, height = matched.centre, matched.fwhm, np.exp(matched.log_height)
    peaks = RegisteredPeaks(
        spectra,
        label,
        log_intensities(samples),
        matched,
        grid,
        log_reference,
        noise,
        core,
        reference_modes=reference_modes,
    )
    return peaks if peaks.has_vacuum else _limited_reference(peaks, first, given_limit)


def registered_to(table, samples, noise, log_intensity):
    """Register spectra to a shape that is known already.

    Parameters
    ----------
    table : ShapeTable
        Of an ensemble; the shape of the thinnest spectra is the reference.
    samples : sequence of Sample
    noise : NoiseModel
    log_intensity : ndarray of shape (n_spectra,)
        ln N0 as the ensemble counts it.

    Returns
    -------
    RegisteredPeaks
    """
    label, centre, fwhm, per_fwhm, groups = _joined(samples)
    log_reference = table.log_shape[-1]
    curvature = group_curvature(table.grid, log_reference, groups, per_fwhm)
    spectra = _grouped(samples, groups, curvature)
    core = (np.full(len(label), -_CORE), np.full(len(label), _CORE))
    reference = ShapeTable.of_reference(table.grid, log_reference)
    matched = match(spectra, centre, fwhm, np.zeros(len(label)), core, reference, noise, None)
    return RegisteredPeaks(
        spectra, label, log_intensity, matched, table.grid, log_reference, noise, core,
        reference_modes=table.modes[:, -1],
    )  # fmt: skip


def _joined(samples):
    """Labels, centres and widths of all spectra, channels per FWHM, groups of channels."""
    label = np.concatenate([sample.label for sample in samples])
    centre = np.concatenate([sample.parameters.centre for sample in samples])
    fwhm = np.concatenate([sample.parameters.fwhm for sample in samples])
    per_fwhm = np.median(fwhm) / (samples[0].energy[1] - samples[0].energy[0])
    n_energy = max(sample.energy.size for sample in samples)
    return label, centre, fwhm, per_fwhm, make_groups(per_fwhm, n_energy, n_energy)


def _grouped(samples, groups, curvature):
    return join_spectra(
        [
            group_spectra(s.counts, s.energy, s.parameters.channel, groups, curvature)
            for s in samples
        ]
    )


def _heights(sample):
    highest = np.take_along_axis(sample.counts, sample.parameters.channel[:, None], -1)[:, 0]
    return np.maximum(highest, 1e-9)


def log_beam(samples, grid, log_reference):
    """ln N0 of the beam that no specimen has weakened.

    Of the vacuum in view; without, from the total counts, which a specimen hardly changes.

    Parameters
    ----------
    samples : sequence of Sample
        The image's first.
    grid : Grid
    log_reference : ndarray of shape (grid.n,)

    Returns
    -------
    float
    """
    image = samples[0]
    vacuum = image.label == VACUUM
    if vacuum.any():
        return float(np.median(np.log(image.parameters.intensity[vacuum])))
    total = np.median(np.log(np.maximum(image.parameters.total, 1e-300)))
    shape = np.exp(log_reference)
    within = np.abs(grid.u) < 1
    part = trapezoid(shape[within], grid.u[within]) / trapezoid(shape, grid.u)
    return float(total + np.log(part))


def _reference_of(spectra, u, scale, chosen, limit, noise, grid):
    use = spectra.complete & chosen[:, None] & (u < limit)
    # An empty group has the variance of a single electron.
    variance = noise.variance(np.maximum(spectra.sums, noise.gain), spectra.n_channels)
    scale = np.where(use, scale, 0.0)[chosen]
    return fit_reference(u[chosen], spectra.sums[chosen], scale, variance[chosen], grid)


def _limited_reference(peaks, first, given):
    """Without vacuum: a reference from the pure part of the brightest cluster alone.

    Pure is what lies below the energies where thicker clusters leave the brightest one, where
    the brightest leaves the power law on which its flank ends, and where it has flattened.
    Beyond the least of them the reference follows the gain side.
    """
    limits = [
        onset(*mean_ratio(peaks, peaks.label == name), SMALLEST_RISE_WITHOUT_VACUUM)
        for name in peaks.labels[1:]
    ]
    flank = replace(peaks, log_reference=_refit(peaks, first, _FLANK)[0])
    limits.append(onset(*mean_ratio(flank, first), EXTRAPOLATED_RISE))
    limits.append(flattening(peaks.grid.u, peaks.log_reference))
    limit = min(limits) if given is None else given / np.median(peaks.matched.fwhm)
    if not np.isfinite(limit):
        return peaks
    pure, modes = _refit(peaks, first, limit)
    pure = extrapolate_by_gain_side(pure, peaks.grid, limit)
    modes = np.concatenate(
        [hold_beyond(modes, peaks.grid, limit), tail_mode(peaks.grid, limit)[None]]
    )
    return replace(
        peaks,
        log_reference=pure,
        reference_modes=modes,
        extrapolated_from=limit,
        tail_is_known=False,
    )


#: Flank, in FWHM, that tells how the tail would go on without inelastic signal.
_FLANK = 1.8


def _refit(peaks, first, limit):
    return _reference_of(peaks.spectra, peaks.u, peaks.scale, first, limit, peaks.noise, peaks.grid)
