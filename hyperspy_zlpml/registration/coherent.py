# SPDX-License-Identifier: GPL-3.0-or-later
"""Coherent residual of training spectra, and what they scatter by beyond it and their noise.

Outside of the core nearly all of the error of smooth shapes is one curve, the same in every
spectrum. It drowns in the noise of each, and stands out in the mean of a thousand. The residuals
of all spectra against their matched shapes are therefore averaged at three levels, in cells of the
reduced energy that grow finer: each mean is drawn towards zero by ``V / (V + s**2)``, where ``s`` is
its standard error and ``V`` the variance of the means around it beyond theirs, and what remains
unknown, ``V s**2 / (V + s**2)``, is the variance that goes into the band. The same, by channel of
the detector, is its fixed pattern.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.image.detector import NoiseModel
from hyperspy_zlpml.statistics import MAD_TO_SIGMA
from hyperspy_zlpml.zlp.expansion import Expansion
from hyperspy_zlpml.zlp.grid import to_grid
from hyperspy_zlpml.zlp.groups import group_samples
from hyperspy_zlpml.zlp.kernels import N_PEAK
from hyperspy_zlpml.zlp.matching import MatchStart, inside_window, match
from hyperspy_zlpml.zlp.residual import CoherentResidual

#: Width in x of the cells of the first level.
_COARSE_CELL = 0.06
#: Widths in x of the cells of the next levels.
_FINE_CELLS = (0.03, 0.015)
#: Nodes that are taken together at the last levels.
_NODES_TOGETHER = (4, 2, 1)
#: Nodes of the curve for each channel.
_NODES_PER_CHANNEL = 4.0
#: Channels over which the curve runs out at its ends.
_RUNS_OUT_OVER = 4
#: The curve ends at this many FWHM at the latest.
_FURTHEST = 40.0
#: The variance of means is that of neighbours within about this distance in x (standard deviation).
_NEIGHBOURS = 0.25
#: Distance in x over which the curve fades beyond what is known.
_FADES_OVER = 0.3
#: Residuals beyond this many robust standard deviations are spikes.
_SPIKE = 6.0
#: Width in x of the cells within which the scatter is one number.
_SCATTER_CELL = 0.25
#: Scatter is told from noise by this many standard errors.
_SIGNIFICANT = 3.0
#: Scatter larger than found by this many standard errors is excluded.
_NOT_EXCLUDED = 2.0
#: The variance of the noise of a channel is known to this fraction.
_NOISE_UNSURE = 0.02
#: Channels differ in sensitivity if their variance exceeds its error by this factor.
_PATTERN_SIGNIFICANT = 5.0
#: Means are corrected for by the variance that is certain by this many standard errors.
_CAUTION = 1.0
#: Standard deviation of the sensitivities of the channels of a detector, at most ...
_LARGEST_PATTERN = 0.03
#: ... and correlation of those of neighbours: more is no pattern, but a peak of another shape.
_ALIKE = 0.5
#: Rounds in which curve and pattern, or shapes and curve, improve each other.
_ROUNDS = 2
#: Points that robust standard deviations are found from, at most.
_POINTS_LOOKED_AT = 200_000
#: Fewer spectra show nothing that they share.
_FEWEST_SPECTRA = 5
#: Deviations of the means are at most this: more is no fine structure.
_LARGEST = 0.5
#: Spectra worked on at once.
_SPECTRA_AT_ONCE = 256
#: Channels that know the shape to less than this (one over the squared relative error) are left out.
_LEAST_WEIGHT = 1e-9
#: Spectra whose residuals exceed the typical ones by this factor are left out.
_OTHER_SPECTRUM = 3.0


@dataclass(frozen=True)
class LearntResidual:
    """Coherent residual, and what single spectra show beside it; on the grid of the shapes.

    Attributes
    ----------
    residual : CoherentResidual
    widening : ndarray of shape (grid.n,)
        Change of the logarithm of the shape where a peak is wider than the mean, per ln(FWHM).
    group_error : ndarray of shape (grid.n,)
        Standard error of the residual that neighbouring groups of channels share.
    channel_error : ndarray of shape (grid.n,)
        Standard error of the residual, and scatter of single spectra about it, that neighbouring
        channels do not share.
    scatter : ndarray of shape (grid.n,)
        Relative scatter of single spectra that neighbouring groups of channels share.
    most : ndarray of shape (grid.n,)
        Largest such scatter that the spectra allow; infinite where none is seen.
    mode_scale : ndarray of shape (n_modes,)
        Standard deviation of the modes in the spectra, in units of that over the replicas.
    """

    residual: CoherentResidual
    widening: np.ndarray
    group_error: np.ndarray
    channel_error: np.ndarray
    scatter: np.ndarray
    most: np.ndarray
    mode_scale: np.ndarray

    def seen_share(self, rest):
        """Tell which share of an assumed scatter the spectra allow.

        Parameters
        ----------
        rest : ndarray of shape (grid.n,)

        Returns
        -------
        ndarray of shape (grid.n,)
            Between 0 and 1.
        """
        return np.minimum(1.0, self.most / np.maximum(rest, 1e-12))

    def put_into(self, table):
        """Put what was learnt into a table of shapes.

        Parameters
        ----------
        table : ShapeTable

        Returns
        -------
        ShapeTable
        """
        names = ("residual", "widening", "group_error", "channel_error", "scatter")
        return replace(table, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class _Points(PerSpectrum):
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


@dataclass(frozen=True)
class _Means:
    """Means of residuals in cells, drawn towards zero.

    Attributes
    ----------
    value, error : ndarray of shape (n_cells,)
        Best guess of the true mean, and its standard error.
    significance : float
        Of their variance beyond their errors, all cells together.
    """

    value: np.ndarray
    error: np.ndarray
    significance: float


def learn_residual(table, peaks, samples, groups, log_fwhm, *, rounds=2, known=False):
    """Learn what matched spectra share beyond their shapes, and what they scatter by.

    Parameters
    ----------
    table : ShapeTable
        Shapes and modes of the trained ensemble, with what is known of the residual.
    peaks : RegisteredPeaks
        Spectra that it was trained on, and where they are pure.
    samples : sequence of Sample
        The same spectra, channel by channel.
    groups : ChannelGroups
        Those in which they are registered.
    log_fwhm : Normal
        Mean and standard deviation of ln(FWHM / eV).
    rounds : int
        Rounds in which matches and residual improve each other.
    known : bool
        Whether the residual in the table comes from other spectra. It is then corrected as far as
        these differ from it by more than its errors; otherwise it is learnt anew.

    Returns
    -------
    LearntResidual
    """
    peaks = regrouped(peaks, samples, groups)
    per_fwhm = np.exp(log_fwhm.mean) / (samples[0].energy[1] - samples[0].energy[0])
    nodes = _nodes(peaks, per_fwhm)
    table = replace(table, log_fwhm=log_fwhm.mean)
    prior = _Prior.of(table, nodes) if known else _Prior.none(nodes.size)
    for _ in range(rounds):
        in_groups = table.in_groups(per_fwhm)
        matched = _matched(in_groups, peaks, samples, groups=groups, log_fwhm=log_fwhm)
        points = _points(table, peaks, samples, matched=matched, groups=groups)
        learnt = _learn(
            points,
            nodes=nodes,
            n_channels=samples[0].energy.size,
            log_width=np.log(matched.fwhm) - log_fwhm.mean,
            grid=table.grid,
            prior=prior,
        )
        table = learnt.put_into(table)
    few = len(matched.fwhm) < _FEWEST_SPECTRA
    return replace(learnt, mode_scale=np.ones(table.n_modes) if few else _mode_scale(matched))


@dataclass(frozen=True)
class _Prior:
    """Residual known from other spectra, at the nodes of the curve.

    Attributes
    ----------
    curve, widening : ndarray of shape (n_nodes,)
    group_variance, channel_variance : ndarray of shape (n_nodes,)
        Squared standard errors.
    """

    curve: np.ndarray
    widening: np.ndarray
    group_variance: np.ndarray
    channel_variance: np.ndarray

    @classmethod
    def none(cls, n_nodes):
        """Know nothing."""
        return cls(*(np.zeros(n_nodes) for _ in range(4)))

    @classmethod
    def of(cls, table, nodes):
        """Look up what a table holds."""
        on_grid = (table.widening, table.group_error**2, table.channel_error**2)
        values = (np.interp(nodes, table.grid.u, one) for one in on_grid)
        return cls(table.residual.at(nodes), *values)


def regrouped(peaks, samples, groups):
    """Give registered spectra other counts, but for the groups that hold spikes.

    Parameters
    ----------
    peaks : RegisteredPeaks
    samples : sequence of Sample
        The same spectra.
    groups : ChannelGroups
        Those in which they are registered.

    Returns
    -------
    RegisteredPeaks
    """
    spectra = group_samples(samples, groups, peaks.spectra.curvature)
    complete = spectra.complete & peaks.spectra.complete
    return replace(peaks, spectra=replace(spectra, complete=complete))


def flattened(samples, peaks, residual):
    """Divide the counts of registered samples by what they share beyond a smooth shape.

    Parameters
    ----------
    samples : sequence of Sample
    peaks : RegisteredPeaks
        The same spectra.
    residual : CoherentResidual

    Returns
    -------
    list of Sample
    """
    flat, first = [], 0
    for sample in samples:
        rows = slice(first, first + len(sample.label))
        centre, fwhm = peaks.matched.centre[rows], peaks.matched.fwhm[rows]
        u = (sample.energy - centre[:, None]) / fwhm[:, None]
        factor = 1 + residual.at(u)
        if residual.pattern.size == sample.energy.size:
            factor *= 1 + residual.pattern
        flat.append(replace(sample, counts=sample.counts / factor))
        first = rows.stop
    return flat


def _nodes(peaks, per_fwhm):
    """Lay the nodes of the curve, as far as some spectrum is pure."""
    low, high = peaks.u_range
    low, high = max(low, -_FURTHEST), min(high, _FURTHEST)
    step = 1 / (_NODES_PER_CHANNEL * per_fwhm)
    # No channel lies at an end, where rounding would decide whether it is on the curve.
    return step * np.arange(np.floor(low / step) - 2, np.ceil(high / step) + 3)


def _matched(table, peaks, samples, groups, log_fwhm):
    """Match the spectra, free of the pattern of the detector, where they are pure."""
    start = MatchStart(peaks.matched.centre, peaks.matched.fwhm, peaks.log_intensity, peaks.window)
    pattern = table.residual.pattern
    if pattern.any():
        samples = [
            replace(one, counts=one.counts / (1 + pattern))
            if one.energy.size == pattern.size
            else one
            for one in samples
        ]
        peaks = regrouped(peaks, samples, groups)
    return match(peaks.spectra, start, table, peaks.noise, width_prior=log_fwhm)


def _points(table, peaks, samples, matched, groups):
    """Collect the residuals of all spectra, channel by channel, where they are pure."""
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
    return _without_spikes(_Points.join(found))


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
        inside = inside_window(u, window) & (np.abs(u) < _FURTHEST)
        inside &= np.isfinite(weight) & (weight > _LEAST_WEIGHT)
        spectrum, channel = np.nonzero(inside)
        found.append(
            _Points(
                u=u[inside],
                spectrum=spectrum + start + first,
                channel=channel,
                residual=some.counts[inside] / expected[inside] - 1,
                weight=weight[inside],
                noise=peaks.noise,
            )
        )
    return _Points.join(found)


def _without_spikes(points):
    """Leave out spikes, and spectra that are of another kind."""
    pull = points.residual * np.sqrt(points.weight)
    some = slice(None, None, max(pull.size // _POINTS_LOOKED_AT, 1))
    cell, n_cells = _cells(to_grid(points.u), _SCATTER_CELL)
    scale = np.ones(n_cells)
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


def _cells(x, width):
    """Sort positions into cells of a width; index of each from zero, and number of cells."""
    cell = np.floor(x / width).astype(int)
    cell -= cell.min(initial=0)
    return cell, int(cell.max(initial=0)) + 1


def _learn(points, nodes, n_channels, log_width, grid, prior):
    """Learn curve, widening, pattern and scatter from points."""
    if np.unique(points.spectrum).size < _FEWEST_SPECTRA:
        return _of_few(points, nodes, grid, prior)
    known = np.interp(points.u, nodes, prior.curve)
    known += log_width[points.spectrum] * np.interp(points.u, nodes, prior.widening)
    points = points.without(known)
    # Spectra of another axis see other channels: they are counted in a channel of their own.
    pattern = pattern_error = np.zeros(n_channels + 1)
    for _ in range(_ROUNDS):
        found = _curve(points.without(pattern[points.channel]), nodes, log_width, prior)
        curve, widening, group_error, channel_error = found
        flat = points.without(
            np.interp(points.u, nodes, curve)
            + log_width[points.spectrum] * np.interp(points.u, nodes, widening)
        )
        pattern, pattern_error = _pattern(flat, n_channels + 1)
        if not pattern.any():
            break
    curve = _ending_at_zero(np.clip(prior.curve + curve, -_LARGEST, _LARGEST))
    flat = flat.without(pattern[flat.channel])
    shared, own, most = _scatter(flat, grid)
    misplaced = np.interp(grid.u, nodes, _misplaced(flat, nodes, curve))
    channel_error = np.interp(grid.u, nodes, channel_error)
    some = pattern.any()
    return LearntResidual(
        residual=CoherentResidual(
            start=float(nodes[0]),
            step=float(nodes[1] - nodes[0]),
            curve=curve,
            pattern=pattern[:-1] if some else np.zeros(1),
            pattern_error=pattern_error[:-1] if some else np.zeros(1),
        ),
        widening=np.interp(grid.u, nodes, prior.widening + widening),
        group_error=np.interp(grid.u, nodes, group_error),
        channel_error=np.hypot(channel_error, np.maximum(own, misplaced)),
        scatter=shared,
        most=most,
        mode_scale=np.ones(1),
    )


def _ending_at_zero(curve):
    """Let a curve run out at its ends: no channel may depend on which side of a step it lies."""
    rise = np.minimum(np.arange(curve.size) / (_NODES_PER_CHANNEL * _RUNS_OUT_OVER), 1.0)
    return curve * rise * rise[::-1]


def _of_few(points, nodes, grid, prior):
    """Keep what is known: in few spectra structure is told from noise by what is known of noise."""
    known = np.interp(points.u, nodes, prior.curve)
    none = np.zeros(grid.n)
    shared, own, _ = _scatter(points.without(known), grid) if points.u.size else (none, none, none)
    channel_error = np.interp(grid.u, nodes, np.sqrt(prior.channel_variance))
    return LearntResidual(
        residual=CoherentResidual(float(nodes[0]), float(nodes[1] - nodes[0]), prior.curve),
        widening=np.interp(grid.u, nodes, prior.widening),
        group_error=np.interp(grid.u, nodes, np.sqrt(prior.group_variance)),
        channel_error=np.hypot(channel_error, own),
        scatter=shared,
        most=np.full(grid.n, np.inf),
        mode_scale=np.ones(1),
    )


def _curve(points, nodes, log_width, prior):
    """Learn the curve from coarse to fine cells.

    Returns
    -------
    curve, widening, group_error, channel_error : ndarray of shape (n_nodes,)
        Errors of the first level, and of the others.
    """
    x, x_nodes = to_grid(points.u), to_grid(nodes)
    centres, cell = _centres(x_nodes, x, _COARSE_CELL)
    known = np.interp(centres, x_nodes, prior.group_variance)
    means = _shrunk(*_means_over_spectra(points, cell, centres.size), centres, known)
    points = points.without(np.interp(x, centres, means.value))
    slope = _shrunk(*_means_over_spectra(points, cell, centres.size, by=log_width), centres)
    widening = np.zeros(nodes.size)
    if slope.significance > _PATTERN_SIGNIFICANT:
        widening = np.interp(x_nodes, centres, slope.value)
        points = points.without(log_width[points.spectrum] * np.interp(x, centres, slope.value))
    curve, error = (np.interp(x_nodes, centres, values) for values in (means.value, means.error))
    finer, fine_error = _fine_curve(points, nodes, prior)
    return curve + finer, widening, error, fine_error


def _fine_curve(points, nodes, prior):
    """Learn what is left by the first level from the means of all spectra at the nodes."""
    step, x_nodes = nodes[1] - nodes[0], to_grid(nodes)
    node = np.clip(np.round((points.u - nodes[0]) / step).astype(int), 0, nodes.size - 1)
    weight = np.bincount(node, points.weight, minlength=nodes.size)
    score = np.bincount(node, points.weight * points.residual, minlength=nodes.size)
    # Where spectra scatter beyond their noise the means do so too.
    larger = max(float((points.weight * points.residual**2).mean()), 1.0)
    curve, variance = np.zeros(nodes.size), np.zeros(nodes.size)
    levels = [_centres(x_nodes, x_nodes, width) for width in _FINE_CELLS]
    for together in _NODES_TOGETHER:
        centres = to_grid(nodes[0] + step * together * np.arange(nodes.size // together + 2))
        levels.append((centres, np.round(np.arange(nodes.size) / together).astype(int)))
    for centres, cell in levels:
        total = np.bincount(cell, weight, minlength=centres.size)
        known = np.maximum(total, _LEAST_WEIGHT)
        mean = np.bincount(cell, score, minlength=centres.size) / known
        n_channels = np.bincount(cell, minlength=centres.size) / _NODES_PER_CHANNEL
        error = np.where(total > 0, larger * points.by_channels(n_channels) / known, np.inf)
        before = np.interp(centres, x_nodes, prior.channel_variance) / len(levels)
        means = _shrunk(mean, error, centres, before)
        add = np.interp(x_nodes, centres, means.value)
        score = score - weight * add
        curve += add
        variance += np.interp(x_nodes, centres, means.error) ** 2
    return curve, np.sqrt(variance)


def _centres(x_nodes, x, width):
    """Lay cells of a width in x over the nodes; their centres, and the cell of each place."""
    low = int(np.floor(x_nodes[0] / width)) - 1
    n = int(np.floor(x_nodes[-1] / width)) - low + 2
    cell = np.clip(np.floor(x / width).astype(int) - low, 0, n - 1)
    return (low + np.arange(n) + 0.5) * width, cell


def _means_over_spectra(points, cell, n, by=None):
    """Average residuals in cells, with the errors that spectra differing as a whole make.

    ``by`` holds a regressor of each spectrum, of which the slope is found instead of the mean.

    Returns
    -------
    mean, variance : ndarray of shape (n,)
    """
    n_spectra = int(points.spectrum.max(initial=0)) + 1
    place = points.spectrum * n + cell
    size = n_spectra * n
    weight = np.bincount(place, points.weight, minlength=size).reshape(n_spectra, n)
    score = np.bincount(place, points.weight * points.residual, minlength=size)
    score = score.reshape(n_spectra, n)
    factor = np.ones((n_spectra, 1)) if by is None else by[:n_spectra, None]
    information = (factor**2 * weight).sum(0)
    known = np.maximum(information, _LEAST_WEIGHT)
    mean = (factor * score).sum(0) / known
    left = score - weight * factor * mean
    count = np.maximum((weight > 0).sum(0), 1)
    few = count / np.maximum(count - 1, 1)
    variance = np.maximum((factor**2 * left**2).sum(0) * few / known / known, 1 / known)
    return mean, np.where(information > 0, variance, np.inf)


def _shrunk(mean, variance, x, prior=0.0):
    """Draw means at places in x towards zero by ``V / (V + s**2)``.

    ``V / s**2`` of neighbours is averaged: the structure of measured peaks grows outward with their
    errors, and the best known means must not speak for all. ``V`` is at least ``prior``.
    """
    known = np.isfinite(variance)
    noise = np.where(known, variance, 1.0)
    excess = np.where(known, mean**2 / noise - 1, 0.0)
    true, certain, significance = _excess_variance(excess, known, x)
    if np.any(prior):
        # What was known before was known to that: more only where these spectra say so.
        true = certain = np.maximum(certain, prior / noise)
    share = np.where(known, certain / (certain + 1), 0.0)
    error = np.sqrt(noise * ((1 - share) ** 2 * true + share**2 * known))
    # Beyond the last known cell the deviation fades: a step there were no better.
    places = x[known] if known.any() else np.zeros(1)
    distance = np.abs(x - np.clip(x, places.min(), places.max()))
    value = _held(share * mean, known) * np.exp(-distance / _FADES_OVER)
    return _Means(value, _held(error, known), float(significance))


def _excess_variance(excess, known, x):
    """Estimate the variance of true means over that of their noise, from that of neighbours.

    Returns
    -------
    true, certain : ndarray of the shape of ``x``
        Most likely, and as far as it is certain.
    significance : float
        Of all together.
    """
    n = max(known.sum(), 1)
    ratio, unsure = excess.sum() / n, np.sqrt(2 / n)
    count = np.maximum(_neighbouring(known.astype(float), x), 1.0)
    here, unsure_here = _neighbouring(excess, x) / count, np.sqrt(2 / count)
    # Neighbours that differ from the rest speak for themselves.
    differ = np.abs(here - ratio) > _SIGNIFICANT * unsure_here
    found = np.where(differ, here, ratio)
    error = np.where(differ, unsure_here, unsure)
    return np.clip(found, 0, None), np.clip(found - _CAUTION * error, 0, None), ratio / unsure


def _held(values, known):
    """Continue values from known cells into the others."""
    if not known.any():
        return np.zeros(values.size)
    places = np.flatnonzero(known)
    return np.interp(np.arange(values.size), places, values[places])


def _neighbouring(values, x):
    """Sum values over neighbours in x, weighed by their distance."""
    step = 0.02
    low = x[0]
    place = np.round((x - low) / step).astype(int)
    binned = np.bincount(place, values)
    smooth = gaussian_filter1d(binned, _NEIGHBOURS / step, mode="constant", truncate=3)
    # Of unit height: it counts the neighbours.
    return smooth[place] * (_NEIGHBOURS / step) * np.sqrt(2 * np.pi)


def _pattern(points, n_channels):
    """Learn the sensitivity of the channels; zeros where they do not differ."""
    weight = np.bincount(points.channel, points.weight, minlength=n_channels)
    mean = np.bincount(points.channel, points.weight * points.residual, minlength=n_channels)
    known = np.maximum(weight, _LEAST_WEIGHT)
    mean = mean / known
    squared = points.weight * (points.residual - mean[points.channel]) ** 2
    variance = max(squared.mean(), 1.0) / known
    own = (weight > 0) & (np.arange(n_channels) < n_channels - 1)
    # A sensitivity is a relative one: the best known channels tell how far it varies.
    precision = np.where(own, variance**-2.0, 0.0)
    total = max(precision.sum(), 1e-300)
    true, unsure = (precision * (mean**2 - variance)).sum() / total, np.sqrt(2 / total)
    # Sensitivities of neighbours have little to do with each other, and differ by some per cent.
    pairs = np.sqrt(precision[1:] * precision[:-1])
    alike = (pairs * mean[1:] * mean[:-1]).sum() / max(pairs.sum(), 1e-300) > _ALIKE * true
    if true < _PATTERN_SIGNIFICANT * unsure or true > _LARGEST_PATTERN**2 or alike:
        return np.zeros(n_channels), np.zeros(n_channels)
    share = np.where(own, true / (true + variance), 0.0)
    pattern = np.clip(share * mean, -_LARGEST, _LARGEST)
    return pattern, np.sqrt(true * np.where(own, 1 - share, 1.0))


def _mode_scale(matched):
    """Compare how far spectra follow the modes with how far the replicas do.

    Replicas differ by what networks make of the same data too, which no spectrum shows.

    Returns
    -------
    ndarray of shape (n_modes,)
        1 where the spectra do not tell.
    """
    left = np.clip(np.einsum("pii->pi", matched.covariance)[:, N_PEAK:], 1e-9, 1 - 1e-9)
    information = 1 / left - 1
    # Without the prior the coefficient would be larger, and of variance 1 / information.
    alone = matched.coefficients / (1 - left)
    total = np.maximum((information**2).sum(0), 1e-300)
    variance = (information**2 * alone**2 - information).sum(0) / total
    unsure = _NOT_EXCLUDED * np.sqrt(2 / total)
    return np.sqrt(np.clip(1.0, variance - unsure, np.maximum(variance, 0) + unsure))


def _misplaced(points, nodes, curve):
    """Find the error of a fine structure whose place in single spectra is uncertain.

    The scale of the reduced energy of a spectrum is known as well as its width is. How far it is
    off shows in residuals that follow the slope of the structure.

    Returns
    -------
    ndarray of shape (n_nodes,)
    """
    slope = np.gradient(curve, nodes) * nodes
    moved = np.interp(points.u, nodes, slope)
    information = np.bincount(points.spectrum, points.weight * moved**2)
    score = np.bincount(points.spectrum, points.weight * moved * points.residual)
    total = max((information**2).sum(), 1e-300)
    variance = ((score**2).sum() - information.sum()) / total
    variance -= _CAUTION * np.sqrt(2 / total)
    x = to_grid(nodes)
    neighbours = np.maximum(_neighbouring(np.ones(nodes.size), x), 1e-300)
    typical = _neighbouring(slope**2, x) / neighbours
    return np.sqrt(max(variance, 0.0) * typical)


def _scatter(points, grid):
    """Measure what single spectra scatter by beyond their noise.

    Returns
    -------
    shared, own : ndarray of shape (grid.n,)
        Relative standard deviation that all channels within some tenths of x share, and that each
        channel has for itself.
    most : ndarray of shape (grid.n,)
        Largest shared one that is not excluded; infinite where no spectrum is seen.
    """
    cell, n_cells = _cells(to_grid(points.u), _SCATTER_CELL)
    squared = points.weight**2
    known = np.maximum(np.bincount(cell, squared, minlength=n_cells), _LEAST_WEIGHT)
    excess = squared * points.residual**2 - points.weight
    each = np.bincount(cell, excess, minlength=n_cells) / known
    each_error = np.sqrt(2 / known)
    place = points.spectrum * n_cells + cell
    weight = np.bincount(place, points.weight)
    score = np.bincount(place, points.weight * points.residual)
    name = np.arange(weight.size) % n_cells
    noise_of_score = weight * points.by_channels(np.bincount(place))
    total = np.bincount(name, weight**2, minlength=n_cells)
    common = np.bincount(name, score**2 - noise_of_score, minlength=n_cells)
    common /= np.maximum(total, 1e-300)
    common_error = np.sqrt(2 / np.maximum(total, 1e-300))
    of_noise = np.bincount(cell, points.weight, minlength=n_cells) / known
    unsure = _CAUTION * np.hypot(each_error, common_error) + _NOISE_UNSURE * of_noise
    own = np.clip(each - common - unsure, 0, None)
    upper = np.clip(common, 0, None) + _NOT_EXCLUDED * common_error
    common = np.where(common > _SIGNIFICANT * common_error, common, 0.0)
    centres = np.floor(to_grid(points.u).min() / _SCATTER_CELL) + np.arange(n_cells) + 0.5
    centres = centres * _SCATTER_CELL
    shared, own, most = (
        np.interp(grid.x, centres, np.minimum(np.sqrt(value), 1.0))
        for value in (common, own, upper)
    )
    unseen = (grid.x < centres[0]) | (grid.x > centres[-1])
    return shared, own, np.where(unseen, np.inf, most)
