# SPDX-License-Identifier: GPL-3.0-or-later
"""Points: residuals of all spectra against their matched shapes, channel by channel."""

from dataclasses import dataclass, replace

import numpy as np

from hyperspy_zlpml.compute.blocks import side_by_side, slices_of
from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.registration.cells import LEAST_WEIGHT, cells_of
from hyperspy_zlpml.registration.levels import FURTHEST
from hyperspy_zlpml.statistics import MAD_TO_SIGMA, Range
from hyperspy_zlpml.zlp.expansion import Expansion
from hyperspy_zlpml.zlp.grid import to_grid
from hyperspy_zlpml.zlp.matching import inside_window

#: Residuals beyond this many robust standard deviations are spikes.
_SPIKE = 6.0
#: Spectra whose residuals exceed the typical ones by this factor are left out.
_OTHER_SPECTRUM = 3.0
#: Points that robust standard deviations are found from, at most.
_POINTS_LOOKED_AT = 200_000


@dataclass(frozen=True)
class Points(PerSpectrum):
    """Residuals of single channels of all spectra where they are pure; arrays of one dimension.

    Attributes
    ----------
    u : ndarray
        Reduced energies, FWHM.
    spectrum, channel : ndarray of int
    residual : ndarray
        Counts over the matched shape, less one.
    weight : ndarray
        One over the variance of the residual by noise.
    unsure : ndarray
        How far that variance may be off, for the error of the gain: its standard error over it.
    noise : NoiseModel
    """

    shared = ("noise",)

    u: np.ndarray
    spectrum: np.ndarray
    channel: np.ndarray
    residual: np.ndarray
    weight: np.ndarray
    unsure: np.ndarray
    noise: NoiseModel

    def by_channels(self, n_channels):
        """Compare the noise of sums of channels with what it were if channels were independent."""
        alone = self.noise.seen_by_sums(1)
        return self.noise.seen_by_sums(np.maximum(n_channels, 1)) / alone

    def without(self, values):
        """Take values off the residuals."""
        return replace(self, residual=self.residual - values)


def collect_points(table, peaks, samples, matched, groups):
    """Collect the residuals of all spectra, channel by channel, where they are pure.

    Parameters
    ----------
    table : ShapeTable
        Shapes that the spectra were matched with.
    peaks : RegisteredPeaks
        All spectra, and where they are pure.
    samples : sequence of Sample
        The same spectra, channel by channel.
    matched : Match
        Their matches.
    groups : ChannelGroups
        Those in which they were matched.

    Returns
    -------
    Points
        Without spikes, and without spectra of another kind.
    """
    peaks = replace(peaks, matched=matched)
    found, first = [], 0
    for sample in samples:
        points = _points_of(sample, peaks, table, groups=groups, first=first)
        if sample.energy.size != samples[0].energy.size:
            points = replace(points, channel=np.full_like(points.channel, samples[0].energy.size))
        found.append(points)
        first += len(sample.label)
    return _without_spikes(Points.join(found))


def _points_of(sample, peaks, table, groups, first):
    """Collect the residuals of one sample, whose first spectrum has the number ``first``."""
    cubic, before = Expansion.cubic(groups), -groups.edges[0]
    # Spectra that are pure equally far lie together: a block then ends where its spectra do.
    order = np.argsort(peaks.window.high[first : first + len(sample.label)], kind="stable")

    def of_block(block):
        """Collect the residuals of a block of spectra."""
        rows = order[block]
        of_all = rows + first
        own = peaks.select(of_all)
        log_seen = _log_seen(table, own)
        by_channel = cubic(log_seen, out=np.empty((len(log_seen), cubic.n_channels)))
        points = _points_of_block(sample.select(rows), own, by_channel, before=before)
        return replace(points, spectrum=of_all[points.spectrum])

    return Points.join(side_by_side(of_block, slices_of(len(order))))


def _points_of_block(sample, peaks, log_seen, before):
    """Collect the residuals of some spectra, numbered from 0.

    ``log_seen`` are their matched shapes about their peaks, from ``before`` channels before them.
    """
    matched, window = peaks.matched, peaks.window
    window = Range(np.maximum(window.low, -FURTHEST), np.minimum(window.high, FURTHEST))
    seen = _channels_within(sample.energy, matched, window)
    u = (sample.energy[seen] - matched.centre[:, None]) / matched.fwhm[:, None]
    inside = inside_window(u, window)
    spectrum, channel = np.nonzero(inside)
    channel += seen.start
    expected = log_seen[spectrum, before - sample.parameters.channel[spectrum] + channel]
    expected = np.exp(np.clip(expected, -80, 80))
    weight = expected**2 / np.maximum(peaks.noise.of_sum(expected), 1e-300)
    points = Points(
        u=u[inside],
        spectrum=spectrum,
        channel=channel,
        residual=sample.counts[spectrum, channel] / expected - 1,
        weight=weight,
        unsure=peaks.noise.error_of_channel(expected),
        noise=peaks.noise,
    )
    return points.select(np.isfinite(weight) & (weight > LEAST_WEIGHT))


def _channels_within(energy, matched, window):
    """Find the channels that lie within the window of some spectrum; one without a peak has none."""
    low, high = (
        np.clip(matched.centre + end * matched.fwhm, energy[0], energy[-1]) for end in window
    )
    first, last = np.searchsorted(energy, (np.fmin.reduce(low), np.fmax.reduce(high)))
    return slice(max(int(first) - 1, 0), int(last) + 1)


def _log_seen(table, peaks):
    """Compute the logarithm of the matched shapes in groups of channels, counts per channel."""
    shapes = (table.log_shape + np.log1p(table.spill))[None]
    at = table.at(peaks.log_intensity)
    values = table.evaluate(peaks.u, at, np.concatenate([shapes, table.modes]))
    varied = np.einsum("pj,jpg->pg", peaks.matched.coefficients, values[1:])
    return values[0] + peaks.matched.log_height[:, None] + varied


def _without_spikes(points):
    """Leave out spikes, and spectra that are of another kind.

    What all spectra share is learnt to a fraction of their noise, against the matched shape: spikes
    of 6 standard deviations, which nothing before could tell from noise or losses, would count.
    """
    pull = points.residual * np.sqrt(points.weight)
    some = slice(None, None, max(pull.size // _POINTS_LOOKED_AT, 1))
    cell, centres = cells_of(to_grid(points.u))
    scale = np.ones(centres.size)
    looked_at, of_point = pull[some], cell[some]
    order = np.argsort(of_point, kind="stable")
    ends = np.cumsum(np.bincount(of_point, minlength=centres.size))
    for name, of_cell in enumerate(np.split(looked_at[order], ends[:-1])):
        if not of_cell.size:
            continue
        median = np.median(of_cell)
        scale[name] = max(MAD_TO_SIGMA * np.median(np.abs(of_cell - median)) + abs(median), 1.0)
    relative = np.abs(pull) / scale[cell]
    kept = relative < _SPIKE
    n = np.bincount(points.spectrum)
    squared = np.bincount(points.spectrum, np.minimum(relative, _SPIKE) ** 2) / np.maximum(n, 1)
    typical = np.median(squared[n > 0])
    kept &= (squared < _OTHER_SPECTRUM**2 * typical)[points.spectrum]
    return points.select(kept)
