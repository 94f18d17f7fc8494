# SPDX-License-Identifier: GPL-3.0-or-later
"""From registered peaks to what networks are trained on: clusters, replicas, constraints."""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from hyperspy_zlpml.ensemble.inputs import InputScaling
from hyperspy_zlpml.registration.registered_peaks import RegisteredPeaks
from hyperspy_zlpml.registration.variation import ClusterSpectra, cluster_spectra
from hyperspy_zlpml.registration.zero_thickness import PURE_FRACTION, at_zero_thickness
from hyperspy_zlpml.zlp.grid import to_grid
from hyperspy_zlpml.zlp.regions import Regions
from hyperspy_zlpml.zlp.replicas import DRAW, draw_limits

#: ``E_I`` of a replica is lowered by a random fraction up to this.
_LIMIT_SPREAD = 0.3
#: Ratios are not believed better than this, which keeps single points from ruling a fit.
_RATIO_FLOOR = 4e-4
#: Tails of the same setting differ by this from one acquisition to the next: what follows from a
#: setting is not known better, however many spectra an acquisition has.
_REPRODUCED = 3e-3
_TAIL_LINES_STEP = 0.15
#: How modes go on beyond region I is seen up to this many times its end without vacuum, and
#: smoothed over some groups.
_MODES_SEEN_TO = 2.0
_MODE_SMOOTHING = 3.0
#: Of several settings of the microscope each replica leaves out about this part.
_LEFT_OUT = 0.3
#: Corners of so many conditions are looked at.
_CORNERS_OF = 3


@dataclass(frozen=True)
class Part:
    """Registered spectra taken at one setting of the microscope.

    Attributes
    ----------
    peaks : RegisteredPeaks
    regions : Regions
    modes : ndarray of shape (n_modes, n_groups)
        Of the shapes of spectra, see :func:`shape_modes`.
    setting : tuple of float
        Scaled conditions; empty where all data were taken at one setting.
    variation : ndarray of shape (n_replicas, n_groups), optional
        Systematic deviation of each replica, drawn already; ``modes`` are none then.
    """

    peaks: RegisteredPeaks
    regions: Regions
    modes: np.ndarray
    setting: tuple = ()
    variation: np.ndarray | None = None


def training_data(parts, scores, settings, rng):
    """Replicas and constraints as the arrays that the networks are trained on.

    Parameters
    ----------
    parts : sequence of Part
        One for each setting of the microscope; the reference of the first is that of all.
    scores : ndarray of shape (n_replicas, n_reference_modes)
        Of the reference modes in each replica's own reference.
    settings : Settings
    rng : numpy.random.Generator

    Returns
    -------
    scaling : InputScaling
    data : TrainingData
    """
    from hyperspy_zlpml.network.data import TrainingData

    reference = parts[0].peaks
    ranges = [part.peaks.log_intensity_range for part in parts]
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    half = max(0.5 * (high - low), 0.25)
    scaling = InputScaling(0.5 * (low + high), half, reference.grid.x[-1] / 2)
    if len(parts) > 1 and settings.replica_kind == "gaussian":
        parts = with_common_variation(parts, settings.n_replicas, rng)
    drawn = [_drawn(part, reference, scores, scaling, settings, rng) for part in parts]
    inputs, ratios, sigma, used = (list(values) for values in zip(*drawn, strict=True))
    if len(parts) > 1:
        seen = _settings_seen(settings.n_replicas, len(parts), rng)
        used = [part & seen[:, number, None] for number, part in enumerate(used)]
    lines, places, far = _constraints(parts, low, high)
    return scaling, TrainingData(
        inputs=np.concatenate(inputs),
        ratios=np.concatenate(ratios, axis=1),
        sigma=np.concatenate(sigma),
        used=np.concatenate(used, axis=1),
        tail_inputs=_at_places(scaling, lines, places),
        tail_reference=reference.grid.interpolate(reference.log_reference, lines)
        + _own_reference(reference, scores, lines.ravel()).reshape((-1,) + lines.shape),
        far_inputs=np.concatenate(_at_places(scaling, far, places)),
    )


def with_common_variation(parts, n_replicas, rng):
    """Parts whose replicas vary at all settings by the same shape.

    How peaks differ from one spectrum to the next hardly depends on the setting. Drawn anew at
    every one, it would be taken for what the setting does.
    """
    first = parts[0]
    scores = rng.standard_normal((n_replicas, len(first.modes)))
    varied = scores @ first.modes
    here = first.peaks.u.mean(0)
    there = [part.peaks.u.mean(0) for part in parts]
    return [
        replace(
            part, modes=np.zeros((0, u.size)),
            variation=np.array([np.interp(u, here, row) for row in varied]),
        )
        for part, u in zip(parts, there, strict=True)
    ]  # fmt: skip


def _drawn(part, reference, scores, scaling, settings, rng):
    """Inputs, pseudo-data, errors and points used of one part."""
    peaks, modes = part.peaks, part.modes
    clusters = cluster_spectra(peaks)
    if peaks.tail_is_known and not peaks.has_vacuum:
        modes = continued_modes(peaks, modes)
        clusters.append(zero_thickness_cluster(peaks))
    if peaks is not reference:
        clusters = [to_reference(cluster, peaks, reference) for cluster in clusters]
    replicas = DRAW[settings.replica_kind](clusters, settings.n_replicas, rng, modes)
    if part.variation is not None:
        replicas = replicas + part.variation[:, None]
    limits = [peaks.window[1][peaks.label == name].mean() for name in peaks.labels]
    limits = np.array(limits + [np.inf] * (len(clusters) - len(limits)))
    limits = draw_limits(limits, settings.n_replicas, rng, _LIMIT_SPREAD)
    inputs, ratios, sigma, used = [], [], [], []
    several = bool(part.setting)
    for number, cluster in enumerate(clusters):
        _, error = cluster.mean
        seen = np.isfinite(error)
        thickness = np.full(seen.sum(), cluster.log_intensity)
        inputs.append(scaling(cluster.u[seen], thickness, part.setting))
        # Spectra drawn from the mean itself vary about it; drawn values of one do not.
        always_the_same = settings.replica_kind == "gaussian" or len(cluster.ratio) == 1
        drawn_with_it = cluster.is_reference and always_the_same
        own = 0.0 if drawn_with_it else _own_reference(reference, scores, cluster.u[seen])
        ratios.append(replicas[:, number, seen] / np.exp(own))
        pattern = pattern_noise(cluster.mean[0][seen], error[seen])
        floor = np.hypot(_RATIO_FLOOR, _REPRODUCED * np.tanh(cluster.u[seen] / 2) ** 2 * several)
        sigma.append(np.sqrt(error[seen] ** 2 + floor**2 + pattern**2))
        used.append(cluster.u[seen] <= limits[:, number, None])
    return (
        np.concatenate(inputs), np.concatenate(ratios, axis=1), np.concatenate(sigma),
        np.concatenate(used, axis=1),
    )  # fmt: skip


def _own_reference(reference, scores, u):
    """How the reference of each replica differs, shape (n_replicas, u.size)."""
    return scores @ reference.grid.interpolate_rows(reference.reference_modes.T, u).T


def to_reference(cluster, peaks, reference):
    """A cluster as ratios to the reference of another setting."""
    off = peaks.grid.interpolate(peaks.log_reference, cluster.u)
    factor = np.exp(off - reference.grid.interpolate(reference.log_reference, cluster.u))
    fitted = None if cluster.fitted is None else cluster.fitted * factor
    return replace(
        cluster, ratio=cluster.ratio * factor, variance=cluster.variance * factor**2,
        is_reference=False, fitted=fitted,
    )  # fmt: skip


def _settings_seen(n_replicas, n_settings, rng):
    """Which settings each replica is trained at: what it interpolates it cannot have seen.

    Returns
    -------
    ndarray of bool of shape (n_replicas, n_settings)
    """
    seen = rng.random((n_replicas, n_settings)) >= _LEFT_OUT
    # All, where less than half would be left.
    few = seen.sum(1) < n_settings / 2
    seen[few] = True
    return seen


def _constraints(parts, low, high):
    """Lines along the energy on which tails must fall, where they lie, and their far points.

    Returns
    -------
    lines : ndarray of shape (n_lines, n_steps)
        Reduced energies, outward.
    places : list of (float, tuple)
        ln N0 and setting of each.
    far : ndarray of shape (n_lines, 3)
    """
    reference = parts[0].peaks
    nodes = np.unique([low, 0.5 * (low + high), high])
    places = [(node, parts[0].setting) for node in nodes]
    places += [(nodes[len(nodes) // 2], setting) for setting in _outermost(parts)]
    end = to_grid(reference.grid.u[-1])
    x = np.linspace(to_grid(1.0), end, int((end - to_grid(1.0)) / _TAIL_LINES_STEP / 2))
    lines = np.stack([side * np.sinh(x) / 2 for side in (1, -1) for _ in places])
    far_from = np.nanmin(parts[0].regions.E_II) / np.exp(reference.log_fwhm[0])
    far = lines[:, -1:] * np.array([0.25, 0.5, 1.0])
    far = np.where(np.abs(far) > min(far_from, np.abs(lines).max() / 2), far, lines[:, -1:])
    return lines, 2 * places, far


def _outermost(parts):
    """The settings closest to the corners of all, but for that of the reference."""
    settings = np.array([part.setting for part in parts])
    if len(parts) == 1:
        return []
    corners = np.array(list(product((-1, 1), repeat=min(settings.shape[1], _CORNERS_OF))))
    corners = np.pad(corners, [(0, 0), (0, settings.shape[1] - corners.shape[1])])
    nearest = {int(((settings - corner) ** 2).sum(-1).argmin()) for corner in corners}
    return [parts[number].setting for number in sorted(nearest - {0})]


def _at_places(scaling, u, places):
    """Inputs of shape (n_lines, n, n_in) at reduced energies (n_lines, n) of these places."""
    return np.stack(
        [
            scaling(row, np.full(row.size, node), setting)
            for row, (node, setting) in zip(u, places, strict=True)
        ]
    )


def zero_thickness_cluster(peaks):
    """The reference itself, as the vacuum that is not in view."""
    u = peaks.u.mean(0)
    variance = _RATIO_FLOOR**2 + peaks.reference_error(u) ** 2
    used = peaks.spectra.complete.any(0)
    thin = peaks.log_intensity_range[1]
    return ClusterSpectra(np.ones((1, u.size)), variance[None], used[None], u, thin, True)


def continued_modes(peaks, modes):
    """Modes beyond region I, where they are seen under the losses only."""
    found = at_zero_thickness(peaks, modes)
    if found is None or not len(modes):
        return modes
    u = peaks.u.mean(0)
    limit = np.median(peaks.window[1])
    last = np.flatnonzero(u < _MODES_SEEN_TO * peaks.extrapolated_from)[-1]
    seen = gaussian_filter1d(found.responses, _MODE_SMOOTHING, axis=-1)
    seen[:, last:] = seen[:, last : last + 1]
    share = np.clip((u / limit - PURE_FRACTION) / (1 - PURE_FRACTION), 0, 1)
    return (1 - share) * modes + share * seen


#: Groups over which the pattern noise is averaged.
_PATTERN_GROUPS = 15


def pattern_noise(mean, error):
    """Scatter of neighbouring groups beyond counting noise: what no smooth curve can follow.

    Channels differ in sensitivity; the mean of many spectra shows it as a pattern.

    Parameters
    ----------
    mean, error : ndarray of shape (n_groups,)

    Returns
    -------
    ndarray of shape (n_groups,)
    """
    if mean.size < 8:
        return np.zeros(mean.size)
    rough = np.zeros(mean.size)
    rough[1:-2] = np.diff(mean, 3) ** 2 / 20
    excess = uniform_filter1d(rough - error**2, _PATTERN_GROUPS, mode="nearest")
    uncertain = uniform_filter1d(error**2, _PATTERN_GROUPS, mode="nearest")
    return np.sqrt(np.where(excess > uncertain, excess, 0.0))
