# SPDX-License-Identifier: GPL-3.0-or-later
"""Points: residuals of all spectra against their matched shapes, channel by channel."""

from dataclasses import dataclass, replace

import numpy as np

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.registration.cells import LEAST_WEIGHT, cells_of
from hyperspy_zlpml.registration.levels import FURTHEST
from hyperspy_zlpml.statistics import MAD_TO_SIGMA
from hyperspy_zlpml.zlp.expansion import Expansion
from hyperspy_zlpml.zlp.grid import to_grid
from hyperspy_zlpml.zlp.matching import inside_window

#: Residuals beyond this many robust standard deviations are spikes.
_SPIKE = 6.0
#: Spectra whose residuals exceed the typical ones by this factor are left out.
_OTHER_SPECTRUM = 3.0
#: Points that robust standard deviations are found from, at most.
_POINTS_LOOKED_AT = 200_000
#: Spectra worked on at once.
_SPECTRA_AT_ONCE = 256


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
    noise : NoiseModel
    """

    shared = ("noise",)

    u: np.ndarray
    spectrum: np.ndarray
    channel: np.ndarray
    residual: np.ndarray
    weight: np.ndarray
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
    u = (peaks.spectra.energy - matched.centre[:, None]) / matched.fwhm[:, None]
    at = table.at(peaks.log_intensity)
    values = table.evaluate(
        u, at, np.concatenate([(table.log_shape + np.log1p(table.spill))[None], table.modes])
    )
    log_seen = values[0] + matched.log_height[:, None]
    log_seen += np.einsum("pj,jpg->pg", matched.coefficients, values[1:])
    cubic = Expansion.cubic(groups)
    found, first = [], 0
    for sample in samples:
        rows = slice(first, first + len(sample.label))
        of_sample = replace(peaks.select(rows), matched=matched.select(rows))
        points = _points_of(
            sample,
            log_seen=log_seen[rows],
            peaks=of_sample,
            cubic=cubic,
            first=first,
            before=-groups.edges[0],
        )
        if sample.energy.size != samples[0].energy.size:
            points = replace(points, channel=np.full_like(points.channel, samples[0].energy.size))
        found.append(points)
        first += len(sample.label)
    return _without_spikes(Points.join(found))


def _points_of(sample, log_seen, peaks, cubic, first, before):
    """Collect the residuals of one sample, whose first spectrum has the number ``first``.

    ``before`` is the number of channels that the groups hold before the peak.
    """
    found = []
    for start in range(0, len(sample.label), _SPECTRA_AT_ONCE):
        rows = slice(start, start + _SPECTRA_AT_ONCE)
        some, matched = sample.select(rows), peaks.matched.select(rows)
        window = peaks.select(rows).window
        expected = cubic(log_seen[rows], out=np.empty((len(some.label), cubic.n_channels)))
        u = (sample.energy - matched.centre[:, None]) / matched.fwhm[:, None]
        columns = before - some.parameters.channel[:, None] + np.arange(sample.energy.size)
        expected = np.exp(np.clip(np.take_along_axis(expected, columns, -1), -80, 80))
        weight = expected**2 / np.maximum(peaks.noise.of_sum(expected), 1e-300)
        inside = inside_window(u, window) & (np.abs(u) < FURTHEST)
        inside &= np.isfinite(weight) & (weight > LEAST_WEIGHT)
        spectrum, channel = np.nonzero(inside)
        found.append(
            Points(
                u=u[inside],
                spectrum=spectrum + start + first,
                channel=channel,
                residual=some.counts[inside] / expected[inside] - 1,
                weight=weight[inside],
                noise=peaks.noise,
            )
        )
    return Points.join(found)


def _without_spikes(points):
    """Leave out spikes, and spectra that are of another kind.

    What all spectra share is learnt to a fraction of their noise, against the matched shape: spikes
    of 6 standard deviations, which nothing before could tell from noise or losses, would count.
    """
    pull = points.residual * np.sqrt(points.weight)
    some = slice(None, None, max(pull.size // _POINTS_LOOKED_AT, 1))
    cell, centres = cells_of(to_grid(points.u))
    scale = np.ones(centres.size)
    for name in np.unique(cell[some]):
        of_cell = pull[some][cell[some] == name]
        median = np.median(of_cell)
        scale[name] = max(MAD_TO_SIGMA * np.median(np.abs(of_cell - median)) + abs(median), 1.0)
    relative = np.abs(pull) / scale[cell]
    kept = relative < _SPIKE
    n = np.bincount(points.spectrum)
    squared = np.bincount(points.spectrum, np.minimum(relative, _SPIKE) ** 2) / np.maximum(n, 1)
    typical = np.median(squared[n > 0])
    kept &= (squared < _OTHER_SPECTRUM**2 * typical)[points.spectrum]
    return points.select(kept)
