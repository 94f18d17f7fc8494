# SPDX-License-Identifier: GPL-3.0-or-later
"""Coherent residual of training spectra: learnt from them, and taken off their counts.

Outside of the core nearly all of the error of smooth shapes is one curve, the same in every
spectrum. It drowns in the noise of each, and stands out in the mean of a thousand. The residuals of
all spectra against their matched shapes (:mod:`~hyperspy_zlpml.registration.points`) are averaged at
several levels (:mod:`~hyperspy_zlpml.registration.levels`); the same, by channel of the detector, is
its fixed pattern (:mod:`~hyperspy_zlpml.registration.pattern`). What single spectra differ by beside
is their scatter (:mod:`~hyperspy_zlpml.registration.scatter`).
"""

from dataclasses import dataclass, replace

import numpy as np

from hyperspy_zlpml.compute.blocks import join_blocks
from hyperspy_zlpml.registration.cells import LARGEST
from hyperspy_zlpml.registration.levels import Prior, ending_at_zero, lay_nodes, learn_curve
from hyperspy_zlpml.registration.pattern import error_of_dark_levels, learn_pattern
from hyperspy_zlpml.registration.points import collect_points
from hyperspy_zlpml.registration.scatter import error_of_place, measure_scatter, scale_of_modes
from hyperspy_zlpml.zlp.groups import group_samples
from hyperspy_zlpml.zlp.matching import MatchStart, match
from hyperspy_zlpml.zlp.residual import CoherentResidual

#: Rounds in which curve and pattern improve each other.
_ROUNDS = 2
#: Fewer spectra show nothing that they share.
_FEWEST_SPECTRA = 5


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
    expected : ndarray of shape (grid.n,)
        Such scatter as noise leaves it on average; infinite where no spectrum is seen.
    mode_scale : ndarray of shape (n_modes,)
        Standard deviation of the modes in the spectra, in units of that over the replicas.
    """

    residual: CoherentResidual
    widening: np.ndarray
    group_error: np.ndarray
    channel_error: np.ndarray
    scatter: np.ndarray
    expected: np.ndarray
    mode_scale: np.ndarray

    def seen_share(self, rest):
        """Tell which share of an assumed scatter the spectra let expect.

        Parameters
        ----------
        rest : ndarray of shape (grid.n,)

        Returns
        -------
        ndarray of shape (grid.n,)
            Between 0 and 1.
        """
        return np.minimum(1.0, self.expected / np.maximum(rest, 1e-12))

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


def learn_residual(table, peaks, samples, groups, log_fwhm, *, known=False):
    """Learn what matched spectra share beyond their shapes, and what they scatter by.

    Parameters
    ----------
    table : ShapeTable
        Shapes and modes of the trained ensemble, with what is known of the residual.
    peaks : RegisteredPeaks
        Spectra that it was trained on, not divided by what they share, and where they are pure.
    samples : sequence of Sample
        The same spectra, channel by channel.
    groups : ChannelGroups
        Those in which they are registered.
    log_fwhm : Normal
        Mean and standard deviation of ln(FWHM / eV).
    known : bool
        Whether the residual in the table comes from other spectra. It is then corrected as far as
        these differ from it by more than its errors; otherwise it is learnt anew.

    Returns
    -------
    LearntResidual
    """
    per_fwhm = np.exp(log_fwhm.mean) / (samples[0].energy[1] - samples[0].energy[0])
    nodes = lay_nodes(peaks.u_range, per_fwhm)
    table = replace(table, log_fwhm=log_fwhm.mean)

    def of_tail(values, u):
        """Look up what is known of the tail, whatever grid the table has."""
        return np.interp(u, peaks.grid.u, np.broadcast_to(values, (peaks.grid.n,)))

    # Under the losses no spectrum shows what they share: the tail at zero thickness does.
    structure = ending_at_zero(of_tail(peaks.tail_structure, nodes))
    prior = Prior.of(table, nodes) if known else replace(Prior.none(nodes.size), curve=structure)
    # Once: matching again with what is learnt makes no smaller errors.
    in_groups = table.in_groups(per_fwhm)
    matched = _matched(in_groups, peaks, samples, groups=groups, log_fwhm=log_fwhm)
    points = collect_points(table, peaks, samples, matched=matched, groups=groups)
    learnt = _learn(
        points,
        nodes=nodes,
        n_channels=samples[0].energy.size,
        log_width=np.log(matched.fwhm) - log_fwhm.mean,
        grid=table.grid,
        prior=prior,
    )
    few = len(matched.fwhm) < _FEWEST_SPECTRA
    roughness = of_tail(peaks.tail_roughness, table.grid.u)
    learnt = replace(
        learnt,
        channel_error=np.hypot(learnt.channel_error, roughness),
        mode_scale=np.ones(table.n_modes) if few else scale_of_modes(matched),
    )
    return _with_error_of_dark_levels(learnt, table, peaks, matched=matched, per_fwhm=per_fwhm)


def _with_error_of_dark_levels(learnt, table, peaks, matched, per_fwhm):
    """Add what dark levels do to the shape: it is learnt from the thinnest spectra, at their height."""
    height = np.median(matched.log_height[peaks.label == peaks.label.min()])
    dark = error_of_dark_levels(height + table.log_shape[-1], table.grid, peaks.noise, per_fwhm)
    return replace(
        learnt,
        group_error=np.hypot(learnt.group_error, dark.shared),
        channel_error=np.hypot(learnt.channel_error, dark.own),
    )


def flattened(peaks, samples, groups, residual):
    """Divide registered spectra by what they share beyond a smooth shape.

    Parameters
    ----------
    peaks : RegisteredPeaks
    samples : sequence of Sample
        The same spectra, channel by channel.
    groups : ChannelGroups
        Those in which they are registered.
    residual : CoherentResidual

    Returns
    -------
    RegisteredPeaks
        Matched as before. Groups that hold spikes stay incomplete.
    """
    return regrouped(peaks, _divided(samples, peaks.matched, residual), groups)


def _divided(samples, matched, residual):
    """Divide the counts of samples by curve and pattern."""
    flat, first = [], 0
    for sample in samples:
        rows = slice(first, first + len(sample.label))
        pattern = 1 + residual.pattern if residual.pattern.size == sample.energy.size else 1.0

        def of_block(counts, centre, fwhm, energy=sample.energy, pattern=pattern):
            """Divide the counts of some spectra."""
            u = (energy - centre[:, None]) / fwhm[:, None]
            return counts / ((1 + residual.at(u)) * pattern)

        counts = join_blocks(of_block, sample.counts, matched.centre[rows], matched.fwhm[rows])
        flat.append(replace(sample, counts=counts))
        first = rows.stop
    return flat


def regrouped(peaks, samples, groups):
    """Give registered spectra other counts, but for the groups that hold spikes.

    Parameters
    ----------
    peaks : RegisteredPeaks
    samples : sequence of Sample
        The same spectra, channel by channel, with the counts that are wanted.
    groups : ChannelGroups
        Those in which they are registered.

    Returns
    -------
    RegisteredPeaks
    """
    spectra = group_samples(samples, groups, peaks.spectra.curvature)
    complete = spectra.complete & peaks.spectra.complete
    return replace(peaks, spectra=replace(spectra, complete=complete))


def _matched(table, peaks, samples, groups, log_fwhm):
    """Match the spectra, free of the pattern of the detector, where they are pure."""
    start = MatchStart(peaks.matched.centre, peaks.matched.fwhm, peaks.log_intensity, peaks.window)
    if table.residual.has_pattern:
        pattern = replace(CoherentResidual.none(), pattern=table.residual.pattern)
        peaks = flattened(peaks, samples, groups, pattern)
    return match(peaks.spectra, start, table, peaks.noise, width_prior=log_fwhm)


def _learn(points, nodes, n_channels, log_width, grid, prior):
    """Learn curve, widening, pattern and scatter from points."""
    if (np.bincount(points.spectrum) > 0).sum() < _FEWEST_SPECTRA:
        return _of_few(points, nodes, grid, prior)
    points = _without_curve(points, nodes, log_width, prior)
    # Spectra of another axis see other channels: they are counted in a channel of their own.
    pattern = pattern_error = np.zeros(n_channels + 1)
    for _ in range(_ROUNDS):
        found = learn_curve(points.without(pattern[points.channel]), nodes, log_width, prior)
        flat = _without_curve(points, nodes, log_width, found)
        pattern, pattern_error = learn_pattern(flat, n_channels + 1)
        if not pattern.any():
            break
    curve = ending_at_zero(np.clip(prior.curve + found.curve, -LARGEST, LARGEST))
    flat = flat.without(pattern[flat.channel])
    scatter = measure_scatter(flat, grid)
    misplaced = np.interp(grid.u, nodes, error_of_place(flat, nodes, curve))
    channel_error = np.interp(grid.u, nodes, found.channel_error)
    some = pattern.any()
    return LearntResidual(
        residual=CoherentResidual(
            start=float(nodes[0]),
            step=float(nodes[1] - nodes[0]),
            curve=curve,
            pattern=pattern[:-1] if some else np.zeros(1),
            pattern_error=pattern_error[:-1] if some else np.zeros(1),
        ),
        widening=np.interp(grid.u, nodes, prior.widening + found.widening),
        group_error=np.interp(grid.u, nodes, found.group_error),
        channel_error=np.hypot(channel_error, np.maximum(scatter.own, misplaced)),
        scatter=scatter.shared,
        expected=scatter.expected,
        mode_scale=np.ones(1),
    )


def _without_curve(points, nodes, log_width, known):
    """Take off a curve that is known, or learnt, and its change with the width."""
    change = log_width[points.spectrum] * np.interp(points.u, nodes, known.widening)
    return points.without(np.interp(points.u, nodes, known.curve) + change)


def _of_few(points, nodes, grid, prior):
    """Keep what is known: in few spectra structure is told from noise by what is known of noise."""
    known = np.interp(points.u, nodes, prior.curve)
    scatter = measure_scatter(points.without(known), grid)
    channel_error = np.interp(grid.u, nodes, np.sqrt(prior.channel_variance))
    return LearntResidual(
        residual=CoherentResidual(float(nodes[0]), float(nodes[1] - nodes[0]), prior.curve),
        widening=np.interp(grid.u, nodes, prior.widening),
        group_error=np.interp(grid.u, nodes, np.sqrt(prior.group_variance)),
        channel_error=np.hypot(channel_error, scatter.own),
        scatter=scatter.shared,
        expected=np.full(grid.n, np.inf),
        mode_scale=np.ones(1),
    )
