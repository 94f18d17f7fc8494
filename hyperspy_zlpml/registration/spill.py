# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses that the tails of the response carry into region I, where only the peak should be."""

from itertools import pairwise

import numpy as np
from scipy.integrate import trapezoid

from hyperspy_zlpml.image.samples import VACUUM

#: Closer to a loss than this many FWHM the measured losses already hold their own broadening.
_SPILL_FROM = 1.0
#: Standard deviation of the spill from beyond the axis, over what is expected, before the gain side
#: is looked at.
_PRIOR = 0.5
#: The gain side farther than this many FWHM from the peak tells it.
_TOLD_FROM = 1.5
#: Fewer spectra do not tell it.
_FEWEST = 30
#: Blocks of neighbouring spectra, each of which is left out in turn.
_BLOCKS = 6
#: The power with which the gain side ends is that over this factor of the energy.
_OCTAVE = 2.0**0.5
#: An axis begins at least so many FWHM before its peak.
_LEAST_BEFORE = 0.1


def spilled_losses(peaks, regions):
    """Estimate the losses that the tails of the response carry into region I.

    Every electron that lost energy is recorded with the same response as the ZLP, whose tails
    reach below the onset and to the gain side. The mean losses of each cluster beyond ``E_I``,
    spread by the tails of the reference, give these counts in region I, which are not ZLP
    although nothing in their shape shows it. Where the tails would have to be known beyond the
    axis, they are taken to go on like the loss side times a factor, by which the gain sides of
    thick spectra differ from those of thin ones.

    Parameters
    ----------
    peaks : RegisteredPeaks
    regions : Regions

    Returns
    -------
    dict of int to ndarray of shape (grid.n,)
        Spilled counts over the ZLP, by label; the vacuum has none.
    """
    shape = _whole_response(peaks)
    names = [int(name) for name in peaks.labels[peaks.labels != VACUUM]]
    near, far = {}, {}
    for name in names:
        near[name], far[name] = _spill_of(peaks, regions, name, shape)
    factor = _far_factor(peaks, near, far)
    return {name: near[name] + factor * far[name] for name in names}


def _spill_of(peaks, regions, name, shape):
    """Spread the losses of a cluster by the tails on the axis, and by those beyond it."""
    grid = peaks.grid
    rows = peaks.label == name
    fwhm = np.median(peaks.matched.fwhm[rows])
    u = peaks.u[rows].mean(0)
    height = np.exp(peaks.matched.log_height[rows]).sum()
    channels = peaks.spectra.n_channels * peaks.spectra.complete[rows].any(0)
    zlp = np.exp(grid.interpolate(peaks.log_reference, u))
    losses = peaks.spectra.sums[rows].sum(0) / np.maximum(channels, 1) / height - zlp
    # Spread is what lies beyond E_I, over what lies below it.
    lost = (u > regions.E_I[name] / fwhm) & (channels > 0)
    near = grid.u < regions.E_I[name] / fwhm
    distance = grid.u[near, None] - u[lost]
    kernel = np.exp(grid.interpolate(shape, distance)) / trapezoid(np.exp(shape), grid.u)
    kernel = np.where(np.abs(distance) > _SPILL_FROM, kernel, 0.0) * np.gradient(u)[lost]
    on_axis = distance > _first_seen(peaks)
    spill = np.zeros((2, grid.n))
    for table, part in zip(spill, (on_axis, ~on_axis), strict=True):
        spread = np.where(part, kernel, 0.0) @ losses[lost]
        table[near] = np.clip(spread, 0, None) / np.exp(peaks.log_reference[near])
    return tuple(spill)


def _far_factor(peaks, near, far):
    """Fit the factor on the spill from beyond the axis to the gain sides, about 1 at first."""
    ratio, variance, inside = peaks.ratios_with_spill
    told = inside & (peaks.u < -_TOLD_FROM)
    weight = np.where(told, 1 / variance, 0.0)
    blocks = np.arange(len(peaks.label)) * _BLOCKS // len(peaks.label)
    sums = np.zeros((3, _BLOCKS, len(peaks.labels), weight.shape[1]))
    for i, name in enumerate(peaks.labels):
        none, rows = np.zeros(peaks.grid.n), np.flatnonzero(peaks.label == name)
        u, w = peaks.u[rows], weight[rows]
        rest = ratio[rows] - 1 - peaks.grid.interpolate(near.get(name, none), u)
        spill = peaks.grid.interpolate(far.get(name, none), u)
        ends = np.searchsorted(blocks[rows], np.arange(_BLOCKS + 1))
        for number, values in enumerate((w, w * rest, w * spill)):
            for b, (first, last) in enumerate(pairwise(ends)):
                sums[number, b, i] = values[first:last].sum(0)
    total = sums.sum(1)
    found, information = _fitted_factor(total)
    if not information or len(peaks.label) < _FEWEST:
        return 1.0
    without = np.array([_fitted_factor(total - one)[0] for one in np.moveaxis(sums, 1, 0)])
    error = np.sqrt((_BLOCKS - 1) * without.var() + 1 / information)
    share = _PRIOR**2 / (_PRIOR**2 + error**2)
    return max(1 + share * (found - 1), 0.0)


def _fitted_factor(sums):
    """Fit the factor to weighted sums by cluster and group; what clusters share tells nothing."""
    weight, rest, spill = sums
    known = np.maximum(weight, 1e-300)
    total = np.maximum(weight.sum(0), 1e-300)
    spill = spill / known
    contrast = np.where(weight > 0, spill - (weight * spill).sum(0) / total, 0.0)
    information = (weight * contrast**2).sum()
    return (contrast * rest).sum() / max(information, 1e-300), information


def _first_seen(peaks):
    """Find the reduced energy, before the peak, at which the axis begins for some spectra."""
    first = peaks.u.mean(0)[peaks.spectra.complete.any(0)].min()
    return min(first, -_LEAST_BEFORE)


def _whole_response(peaks):
    """Continue the log-shape of the response beyond the axis: the gain side like the loss side.

    Axes begin a few FWHM before the peak; a power law from there on misses how the far tail bends.
    What the sides differ by fades: far out, both are electrons scattered behind the specimen. Where
    no vacuum shows the far loss side either, both go on with the power that the gain side ends with.
    """
    grid = peaks.grid
    first = _first_seen(peaks)
    beyond = np.maximum(grid.u / first, 1.0)
    mirrored = grid.interpolate(peaks.log_reference, -grid.u)
    inner, here, there = grid.interpolate(
        peaks.log_reference, np.array([first / _OCTAVE, first, -first])
    )
    if peaks.has_vacuum:
        continued = mirrored + (here - there) / beyond
    else:
        continued = here + (here - inner) / np.log(_OCTAVE) * np.log(beyond)
    return np.where(grid.u < first, continued, peaks.log_reference)
