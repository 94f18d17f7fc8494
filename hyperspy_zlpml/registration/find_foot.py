# SPDX-License-Identifier: GPL-3.0-or-later
"""Foot of the losses: what lies below ``E_I``, too little to be noticed.

``E_I`` is where losses are seen to rise. Where they begin gently (at a gap that is small, or none) some
tenths of a per cent of the peak lie below it. Taken for peak, they raise the whole tail of thick spectra.

All clusters hold these losses in proportion to their thickness. Behind ``E_I`` they are seen, below it they are what
neither a variation of the peak (which the gain side shows too), nor height, shift and width, nor an
error of the reference follows. All that is fitted at once, to the mean spectra of the clusters, with errors.

Whether they begin gently is told far behind ``E_I``: how fast they rise over the peak. How they go on below it
is told near to it, and by their own power: over the peak they follow none, for the peak bends from its top to its tail.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.image.samples import VACUUM
from hyperspy_zlpml.registration.foot import Foot, powers_of_distance
from hyperspy_zlpml.registration.registered_peaks import mean_ratio
from hyperspy_zlpml.registration.variation import fitted_shapes
from hyperspy_zlpml.statistics import inverted, solved

#: Spectra are looked at up to this factor of ``E_I``, on both sides of the peak: enough groups to show a
#: power, and where further edges do not count yet.
_REACH = 2.5
#: Largest logarithm of losses over the peak.
_LARGEST_LOG = 3.0
#: Their own power is that of losses up to this factor of ``E_I``: with those farther out, which bend, it was off by
#: twice its error.
_NEAR = 1.7
#: A parabola follows the logarithm of losses to this.
_FOLLOWED_TO = 0.03
#: Mean ratios are not believed to be better than this.
_RATIO_FLOOR = 4e-4
#: Height, shift and width of mean spectra are known to this before.
_FITTED_SPREAD = 0.1
#: Constant (from what is seen), power and bend of losses over the peak are known to this before.
_SPREAD_OVER_PEAK = np.array([5.0, 4.0, 4.0])
#: Power of losses over the peak that is expected: that of oscillators with damping.
_POWER_OVER_PEAK = 4.0
#: The same of losses: constant, power and bend; near to ``E_I`` they hardly bend.
_SPREAD = np.array([5.0, 2.0, 0.5])
#: Power of losses that is expected: oscillators with damping have 1, and a response blurs the steps of others.
_POWER = 1.5
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
    foot = find_foot(peaks, regions, lambda: image.modes)
    if foot is None:
        return image
    limits = np.array([_limit_of(peaks, regions, name) for name in foot.thickness])
    u = peaks.grid.u
    # Behind its own limit no spectrum is looked at; those between two clusters find the foot of both.
    losses = foot.at(u) / np.exp(peaks.log_reference)
    losses = np.where(u < limits[np.isfinite(limits)].max(), losses, 0.0)
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
    modes : callable
        Called without arguments: variations of the shape from spectrum to spectrum, (n_modes, n_groups). They cost more than
        all the rest, and are wanted where losses begin gently without them, too.

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
    none = np.zeros((0, peaks.u.shape[1]))
    for varied in (lambda: none, modes):
        points = _Points.of(peaks, regions, varied(), thickness=thickness, reach=_REACH * limit)
        over_peak = _over_peak(points, limit, thickest=len(names) - 1)
        if over_peak is None or not over_peak[1] < _STEEP:
            return None
    near = points.near(_NEAR * limit)
    log_peak = peaks.grid.interpolate(peaks.log_reference, np.r_[limit, near.u])
    expected = np.array([over_peak[0] + log_peak[0], _POWER, 0.0])
    parabola, covariance = _fitted_parabola(
        near, limit, expected, spread=_SPREAD, log_peak=log_peak[1:]
    )
    share = min((_STEEP - over_peak[1]) / (_STEEP - _GENTLE), 1.0)
    foot = Foot(limit, parabola, covariance, thickness=thickness, share=float(share))
    return foot if foot.falls and covariance[0, 0] < _KNOWN_TO**2 else None


def _over_peak(points, limit, thickest):
    """Fit losses over the peak, as they rise behind ``E_I``; parabola, or None where too few are seen."""
    behind = (points.u > limit) & (points.cluster == thickest)
    seen = behind & (points.ratio > _CERTAIN * points.error) & (points.thickness > 0)
    if seen.sum() < _FEWEST_GROUPS:
        return None
    start = np.log(points.ratio[seen] / points.thickness[seen])[0]
    expected = np.array([start, _POWER_OVER_PEAK, 0.0])
    return _fitted_parabola(points, limit, expected, _SPREAD_OVER_PEAK)[0]


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

    def near(self, reach):
        """Choose the points up to a distance from the peak."""
        chosen = np.abs(self.u) < reach
        return _Points(*(one[chosen] for one in self[:-1]), self.information)


def _both_sides(peaks, chosen):
    """Average the ratio of some spectra to the reference on both sides of the peak."""
    sides = []
    for side in (-1, 1):
        u, ratio, error = mean_ratio(peaks, chosen, side=side)
        sides.append((side * u, ratio, error))
    return tuple(np.concatenate(one) for one in zip(*sides, strict=True))


def _fitted_parabola(points, limit, expected, spread, log_peak=0.0):
    """Fit losses and peaks together; parabola of the logarithm of losses and its covariance.

    Losses are those over ``exp(log_peak)``, what the ratios are over.
    """
    powers, parabola = powers_of_distance(points.u, limit), expected
    n_linear = points.design.shape[1]
    information = np.r_[points.information, spread**-2]
    linear = np.zeros(n_linear)
    for _ in range(_STEPS):
        losses = np.exp(np.minimum(parabola @ powers - log_peak, _LARGEST_LOG))
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
