# SPDX-License-Identifier: GPL-3.0-or-later
"""Foot of the losses: what lies below ``E_I``, too little to be noticed.

``E_I`` is where losses are seen to rise. Where they begin gently (at a gap that is small, or none) some
tenths of a per cent of the peak lie below it. Taken for peak, they raise the whole tail of thick spectra.

All clusters hold these losses in proportion to their thickness. Behind ``E_I`` they are seen, below it they are what
neither a variation of the peak (which the gain side shows too), nor height, shift and width, nor an
error of the reference follows. All that is fitted at once, to the mean spectra of the clusters, with errors.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.image.samples import VACUUM
from hyperspy_zlpml.registration.foot import (
    LARGEST_LOG,
    LEAST_POWER,
    Foot,
    power_inward,
    powers_of_distance,
)
from hyperspy_zlpml.registration.registered_peaks import mean_ratio
from hyperspy_zlpml.registration.variation import fitted_shapes
from hyperspy_zlpml.statistics import inverted, solved

#: Spectra are looked at up to this factor of ``E_I``, on both sides of the peak: enough groups to show a
#: power, and where further edges do not count yet.
_REACH = 2.5
#: A parabola follows the logarithm of losses to this.
_FOLLOWED_TO = 0.03
#: Mean ratios are not believed to be better than this.
_RATIO_FLOOR = 4e-4
#: Height, shift and width of mean spectra are known to this before.
_FITTED_SPREAD = 0.1
#: Constant (from what is seen), power and bend of losses are known to this before.
_LOSSES_SPREAD = np.array([5.0, 4.0, 4.0])
#: Power of losses over the peak that is expected: that of oscillators with damping.
_POWER = 4.0
#: Losses over the peak that rise with this power, or a gentler one, have all of their foot; ...
_GENTLE = 6.0
#: ... with this one or a steeper they have none: little of it lies below the limits that replicas draw, and what does
#: depends on how widths differ.
_STEEP = 8.0
#: Fewer groups of the thickest spectra behind ``E_I`` show no power, ...
_FEWEST_GROUPS = 6
#: ... in which losses exceed so many standard errors.
_CERTAIN = 2.0
#: Losses at ``E_I`` whose logarithm has a larger error are not known there: there is no foot to take off.
_KNOWN_TO = 0.3
#: Gauss-Newton steps; the logarithm is followed by at most one in each.
_STEPS = 12


def with_foot(image):
    """Take the foot of losses that begin gently off region I of registered spectra.

    ``E_I`` stays: found again beside a foot it would move out, and the foot become what losses are there.

    Parameters
    ----------
    image : RegisteredImage

    Returns
    -------
    RegisteredImage
        With the foot in its spill tables, matched within its regions; as it was where there is none.
    """
    peaks, regions = image.peaks, image.regions
    # Modes cost more than all the rest: they are wanted where there is a foot without them.
    none = np.zeros((0, peaks.u.shape[1]))
    if find_foot(peaks, regions, none) is None:
        return image
    foot = find_foot(peaks, regions, image.modes)
    if foot is None:
        return image
    limits = np.array([_limit_of(peaks, regions, name) for name in foot.thickness])
    u = peaks.grid.u
    # Behind its own limit no spectrum is looked at; those between two clusters find the foot of both.
    losses = np.where(u < limits[np.isfinite(limits)].max(), foot.at(u), 0.0)
    tables = {
        name: np.maximum(table, foot.thickness[name] * losses)
        for name, table in peaks.spill_tables.items()
    }
    return replace(image, peaks=replace(peaks, spill_tables=tables).within(regions), foot=foot)


def find_foot(peaks, regions, modes):
    """Find the foot of losses that begin gently.

    Parameters
    ----------
    peaks : RegisteredPeaks
        With vacuum, and their spill tables.
    regions : Regions
    modes : ndarray of shape (n_modes, n_groups)
        Variations of the shape from spectrum to spectrum.

    Returns
    -------
    Foot or None
        None where no losses are seen to begin, or they begin steeply.
    """
    names = [int(name) for name in peaks.labels if name != VACUUM]
    limit = _limit_of(peaks, regions, names[-1]) if names else np.inf
    if not peaks.has_vacuum or not np.isfinite(limit):
        return None
    beam = np.median(peaks.log_intensity[peaks.label == VACUUM])
    thickness = {
        name: max(beam - float(np.median(peaks.log_intensity[peaks.label == name])), 0.0)
        for name in names
    }
    points = _Points.of(peaks, regions, modes, thickness=thickness, reach=_REACH * limit)
    behind = (points.u > limit) & (points.cluster == len(names) - 1)
    seen = behind & (points.ratio > _CERTAIN * points.error) & (points.thickness > 0)
    if seen.sum() < _FEWEST_GROUPS:
        return None
    start = np.log(points.ratio[seen] / points.thickness[seen])[0]
    parabola, covariance = _fitted_parabola(points, limit, np.array([start, _POWER, 0.0]))
    share = np.clip((_STEEP - parabola[1]) / (_STEEP - _GENTLE), 0.0, 1.0)
    falls = min(parabola[1], power_inward(parabola)) > LEAST_POWER
    is_known = covariance[0, 0] < _KNOWN_TO**2
    if not (share > 0 and falls and is_known):
        return None
    return Foot(limit, parabola, covariance, thickness=thickness, share=float(share))


def _limit_of(peaks, regions, name):
    """Look up ``E_I`` of a cluster in reduced energy."""
    return regions.E_I[name] / np.median(peaks.matched.fwhm[peaks.label == name])


class _Points(NamedTuple):
    """Mean spectra of the clusters over the reference, less one; points on the first axis.

    ``design`` holds what the peak may differ by, and ``information`` what is known of that before.
    """

    u: np.ndarray
    ratio: np.ndarray
    error: np.ndarray
    cluster: np.ndarray
    thickness: np.ndarray
    spill: np.ndarray
    design: np.ndarray
    information: np.ndarray

    @classmethod
    def of(cls, peaks, regions, modes, thickness, reach):
        """Average the spectra of every cluster, as far as ``reach`` on both sides."""
        bare = replace(peaks.without_spill(), reference_modes=None)
        errors = np.zeros((0, peaks.grid.n))
        if peaks.reference_modes is not None:
            errors = peaks.reference_modes
        n_own = len(modes) + len(fitted_shapes(peaks, np.zeros(1)))
        parts = []
        for number, (name, thick) in enumerate(thickness.items()):
            chosen = peaks.label == name
            u, ratio, error = _both_sides(bare, chosen)
            low = regions.gain_limit[name] / np.median(peaks.matched.fwhm[chosen])
            near = (u > max(low, -reach)) & (u < reach)
            u, ratio, error = u[near], ratio[near] - 1, error[near]
            groups = peaks.u[chosen].mean(0)
            own = np.stack(
                [*(np.interp(u, groups, mode) for mode in modes), *fitted_shapes(peaks, u)]
            )
            shared = peaks.grid.interpolate_rows(errors.T, u)
            design = np.zeros((u.size, len(thickness) * n_own))
            design[:, number * n_own : (number + 1) * n_own] = own.T
            below = u < _limit_of(peaks, regions, name)
            spill = np.where(below, peaks.grid.interpolate(peaks.spill_tables[name], u), 0.0)
            same = np.ones(u.size)
            parts.append(
                (u, ratio, error, number * same, thick * same, spill, np.hstack([design, shared]))
            )
        of_own = np.r_[np.ones(len(modes)), np.full(n_own - len(modes), _FITTED_SPREAD**-2)]
        information = np.r_[np.tile(of_own, len(thickness)), np.ones(len(errors))]
        return cls(*(np.concatenate(one) for one in zip(*parts, strict=True)), information)


def _both_sides(peaks, chosen):
    """Average the ratio of some spectra to the reference on both sides of the peak."""
    sides = []
    for side in (-1, 1):
        u, ratio, error = mean_ratio(peaks, chosen, side=side)
        sides.append((side * u, ratio, error))
    return tuple(np.concatenate(one) for one in zip(*sides, strict=True))


def _fitted_parabola(points, limit, parabola):
    """Fit losses and peaks together; parabola and its covariance."""
    powers, expected = powers_of_distance(points.u, limit), parabola
    n_linear = points.design.shape[1]
    information = np.r_[points.information, _LOSSES_SPREAD**-2]
    linear = np.zeros(n_linear)
    for _ in range(_STEPS):
        losses = np.exp(np.minimum(parabola @ powers, LARGEST_LOG))
        losses = np.where(points.u > 0, points.thickness * losses, 0.0)
        variance = points.error**2 + (_FOLLOWED_TO * losses) ** 2 + _RATIO_FLOOR**2
        residual = points.ratio - np.maximum(losses, points.spill) - points.design @ linear
        # Where more is spilled than goes on from behind, the foot does not count.
        follow = np.where(losses >= points.spill, losses, 0.0) * powers
        design = np.hstack([points.design, follow.T])
        normal = (design.T / variance) @ design + np.diag(information)
        off = np.r_[linear, parabola - expected]
        step = solved(normal, (design.T / variance) @ residual - information * off)
        linear = linear + step[:n_linear]
        parabola = parabola + np.clip(step[n_linear:], -1.0, 1.0)
    return parabola, inverted(normal)[n_linear:, n_linear:]
