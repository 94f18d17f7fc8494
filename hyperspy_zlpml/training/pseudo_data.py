# SPDX-License-Identifier: GPL-3.0-or-later
"""Pseudo-data of registered peaks, as networks are trained on them: replicas and constraints."""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from hyperspy_zlpml.ensemble.inputs import InputScaling
from hyperspy_zlpml.network.data import TrainingData
from hyperspy_zlpml.registration.registered_peaks import scores_of
from hyperspy_zlpml.registration.variation import ClusterSpectra, cluster_spectra
from hyperspy_zlpml.registration.zero_thickness import PURE_FRACTION, at_zero_thickness
from hyperspy_zlpml.training.replicas import DRAW, draw_limits
from hyperspy_zlpml.zlp.grid import Grid, to_grid

#: Ratios are not believed to be better than this, which keeps single points from ruling a fit.
_RATIO_FLOOR = 4e-4
#: Relative difference of tails at one setting from one acquisition to the next: a setting does not
#: determine them better, however many spectra an acquisition has.
_REPRODUCED = 3e-3
#: Half a step, in x, of the lines on which tails must fall.
_TAIL_LINES_STEP = 0.15
#: Without vacuum, modes are seen beyond region I up to this many times its end.
_MODES_SEEN_TO = 2.0
#: Groups over which modes are smoothed there (standard deviation).
_MODE_SMOOTHING = 3.0
#: Fraction of the settings of the microscope that each replica leaves out, about.
_LEFT_OUT = 0.3
#: Corners of so many conditions are looked at.
_CORNERS_OF = 3
#: Smallest half range of ln N0 that is scaled to one.
_LEAST_RANGE = 0.25
#: Groups over which the pattern noise is averaged.
_PATTERN_GROUPS = 15
#: Fewer groups than this show no pattern.
_FEWEST_GROUPS = 8


@dataclass(frozen=True)
class OwnReferences:
    """References of the replicas, as the logarithms of their ratios to the common one.

    Networks learn ratios to them. They need not learn how peaks vary from spectrum to spectrum: what
    vacuum shows of that far out is then in spectra of any thickness, where a network would have to guess it.

    Attributes
    ----------
    grid : Grid
        That of the modes.
    errors, variations : ndarray of shape (n_modes, grid.n)
        Deviations by one standard error of the reference, and by one standard deviation of the
        spectra.
    scores : ndarray of shape (n_replicas, n_errors + n_variations)
        How much of each a replica has.
    """

    grid: Grid
    errors: np.ndarray
    variations: np.ndarray
    scores: np.ndarray

    @property
    def modes(self):
        """Errors and variations, shape (n_modes, grid.n)."""
        return np.concatenate([self.errors, self.variations])

    def at(self, u):
        """Look up how the references differ, shape (n_replicas, u.size)."""
        return self.scores @ self.grid.interpolate_rows(self.modes.T, u).T

    def errors_at(self, u):
        """Look up the part that is error of the reference, shape (n_replicas, u.size)."""
        scores = self.scores[:, : len(self.errors)]
        return scores @ self.grid.interpolate_rows(self.errors.T, u).T


@dataclass(frozen=True)
class _PseudoData:
    """Pseudo-data of the clusters of one image, points on the last axis.

    Attributes
    ----------
    inputs : ndarray of shape (n_points, n_in)
        Scaled inputs of the networks.
    ratios : ndarray of shape (n_replicas, n_points)
        Counts over the reference of each replica.
    sigma : ndarray of shape (n_replicas, n_points)
        Standard deviation of the ratios.
    used : ndarray of bool of shape (n_replicas, n_points)
        Points in the replica's region I.
    """

    inputs: np.ndarray
    ratios: np.ndarray
    sigma: np.ndarray
    used: np.ndarray

    @classmethod
    def join(cls, several):
        """Put the points of several side by side."""
        return cls(
            inputs=np.concatenate([one.inputs for one in several]),
            ratios=np.concatenate([one.ratios for one in several], axis=1),
            sigma=np.concatenate([one.sigma for one in several], axis=1),
            used=np.concatenate([one.used for one in several], axis=1),
        )


@dataclass(frozen=True)
class _Constraints:
    """Places at which the peaks of all replicas are held, whatever the data say.

    Attributes
    ----------
    lines : ndarray of shape (n_lines, n_steps)
        Reduced energies, outward, along which tails must fall.
    far : ndarray of shape (n_lines, 3)
        Reduced energies at which the ratio is drawn to one.
    places : list of (float, tuple)
        ln N0 and setting of each line.
    """

    lines: np.ndarray
    far: np.ndarray
    places: list[tuple[float, tuple[float, ...]]]


def training_data(images, own, options, rng):
    """Turn registered spectra into the arrays that the networks are trained on.

    Parameters
    ----------
    images : sequence of RegisteredImage
        One for each setting of the microscope; the reference of the first is that of all.
    own : OwnReferences
    options : TrainingOptions
    rng : numpy.random.Generator

    Returns
    -------
    scaling : InputScaling
        From reduced energy, ln N0 and setting to the inputs of the networks.
    data : TrainingData
    """
    reference = images[0].peaks
    ranges = [image.peaks.log_intensity_range for image in images]
    low, high = min(one.low for one in ranges), max(one.high for one in ranges)
    scaling = InputScaling(
        log_intensity_mean=0.5 * (low + high),
        log_intensity_scale=max(0.5 * (high - low), _LEAST_RANGE),
        x_scale=reference.grid.x[-1] / 2,
    )
    drawn = [
        _draw(image, reference=reference, own=own, scaling=scaling, options=options, rng=rng)
        for image in images
    ]
    if len(images) > 1:
        seen = _settings_seen(options.n_replicas, len(images), rng)
        drawn = [
            replace(one, used=one.used & seen[:, number, None]) for number, one in enumerate(drawn)
        ]
    points, held = _PseudoData.join(drawn), _constraints(images, low, high)
    common = reference.grid.interpolate(reference.log_reference, held.lines)
    return scaling, TrainingData(
        inputs=points.inputs,
        ratios=points.ratios,
        sigma=points.sigma,
        used=points.used,
        tail_inputs=_at_places(scaling, held.lines, held.places),
        tail_reference=common + own.at(held.lines.ravel()).reshape((-1,) + held.lines.shape),
        far_inputs=np.concatenate(_at_places(scaling, held.far, held.places)),
    )


def _draw(image, *, reference, own, scaling, options, rng):
    """Draw the pseudo-data of one image."""
    clusters = _clusters_of(image, reference)
    replicas = DRAW[options.settings.replica_kind](clusters, options.n_replicas, rng)
    limits = _limits_of(image.peaks, len(clusters))
    limits = draw_limits(limits, options.n_replicas, rng, options.settings.limit_spread)
    foot_drawn = _feet_of(image, reference, options.n_replicas, rng)
    drawn = []
    for number, cluster in enumerate(clusters):
        mean, error = cluster.mean
        seen = np.isfinite(error)
        u, error = cluster.u[seen], error[seen]
        # Spectra drawn from the mean itself vary about it; drawn values of one do not.
        always_the_same = options.settings.replica_kind == "gaussian" or len(cluster.ratio) == 1
        drawn_with_it = cluster.is_reference and always_the_same
        error_drawn = np.exp(own.errors_at(u) * (not drawn_with_it))
        reproduced = _REPRODUCED if image.setting else 0.0
        floor = np.hypot(_RATIO_FLOOR, reproduced * np.tanh(u / 2) ** 2)
        pattern = pattern_noise(mean[seen], error)
        intensity = np.full(u.size, cluster.log_intensity)
        drawn.append(
            # Against a reference that is too low noise grows as ratios do. It is not made less against one that is
            # too high: networks would follow rare electrons over many powers of ten.
            _PseudoData(
                inputs=scaling(u, intensity, image.setting),
                ratios=(replicas[:, number, seen] - foot_drawn(number, u)) / error_drawn,
                sigma=np.sqrt(error**2 + floor**2 + pattern**2) / np.minimum(error_drawn, 1),
                used=u <= limits[:, number, None],
            )
        )
    return _PseudoData.join(drawn)


def _feet_of(image, reference, n_replicas, rng):
    """Draw how the feet of the losses of replicas differ, as ratios to the common reference.

    Returns
    -------
    callable
        Called with the number of a cluster and reduced energies (n,): numbers (n_replicas, n), or zero.
    """
    if image.foot is None:
        return lambda number, u: 0.0
    deviations = image.foot.deviations(n_replicas, rng)
    thickness = [image.foot.thickness.get(int(name), 0.0) for name in image.peaks.labels]

    def foot_drawn(number, u):
        """Look one up; neither vacuum nor zero thickness has one."""
        if number >= len(thickness) or not thickness[number]:
            return 0.0
        log_peak = reference.grid.interpolate(reference.log_reference, u)
        return thickness[number] * deviations(u) * np.exp(-log_peak)

    return foot_drawn


def _clusters_of(image, reference):
    """Sort the spectra of an image by cluster, against the common reference."""
    peaks = image.peaks
    clusters = [of_typical_shape(one, image.modes) for one in cluster_spectra(peaks)]
    if peaks.tail_is_known and not peaks.has_vacuum:
        clusters.append(zero_thickness_cluster(peaks))
    if peaks is not reference:
        clusters = [to_reference(cluster, peaks, reference) for cluster in clusters]
    return clusters


def of_typical_shape(cluster, modes):
    """Take off a cluster by how much its peaks vary, on average, from those of the reference.

    They need not average out: widths drift over an image, and clusters lie in some parts of it. What
    spectra show of that in region I goes on under their losses as their own match tells.

    Parameters
    ----------
    cluster : ClusterSpectra
    modes : ndarray of shape (n_modes, n_groups)

    Returns
    -------
    ClusterSpectra
    """
    if cluster.is_reference or not len(modes):
        return cluster
    mean, error = cluster.mean
    known = np.isfinite(error)
    both = np.concatenate([modes, cluster.fitted])
    return replace(cluster, ratio=cluster.ratio - scores_of(mean - 1, error, both, known) @ both)


def _limits_of(peaks, n_clusters):
    """Look up the end of region I of each cluster in reduced energy; zero thickness has none."""
    limits = [peaks.window.high[peaks.label == name].mean() for name in peaks.labels]
    return np.array(limits + [np.inf] * (n_clusters - len(limits)))


def to_reference(cluster, peaks, reference):
    """Bring a cluster to ratios to the reference of another setting.

    Parameters
    ----------
    cluster : ClusterSpectra
    peaks : RegisteredPeaks
        With the reference that the ratios are to.
    reference : RegisteredPeaks
        With the reference that they shall be to.

    Returns
    -------
    ClusterSpectra

    Examples
    --------
    Against a reference twice as high, ratios and their errors are half as large:

    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.variation import ClusterSpectra
    >>> from hyperspy_zlpml.training.pseudo_data import to_reference
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> grid, one = Grid.covering(-5, 5), np.ones((1, 3))
    >>> cluster = ClusterSpectra(one, 0.01 * one, one > 0, np.array([-1.0, 0.0, 2.0]), 15.0)
    >>> low = SimpleNamespace(grid=grid, log_reference=np.zeros(grid.n))
    >>> high = SimpleNamespace(grid=grid, log_reference=np.full(grid.n, np.log(2)))
    >>> halved = to_reference(cluster, low, high)
    >>> halved.ratio.round(3), np.sqrt(halved.variance).round(3)
    (array([[0.5, 0.5, 0.5]]), array([[0.05, 0.05, 0.05]]))
    """
    factor = _over_common(peaks, reference, cluster.u)
    return replace(
        cluster,
        ratio=cluster.ratio * factor,
        variance=cluster.variance * factor**2,
        is_reference=False,
        fitted=None if cluster.fitted is None else cluster.fitted * factor,
    )


def _over_common(peaks, reference, u):
    """Look up the reference of one setting over that of another."""
    own = peaks.grid.interpolate(peaks.log_reference, u)
    return np.exp(own - reference.grid.interpolate(reference.log_reference, u))


def _settings_seen(n_replicas, n_settings, rng):
    """Draw which settings each replica is trained at: it interpolates between those alone.

    Returns
    -------
    ndarray of bool of shape (n_replicas, n_settings)
    """
    seen = rng.random((n_replicas, n_settings)) >= _LEFT_OUT
    # Replicas with less than half of the settings see all.
    few = seen.sum(1) < n_settings / 2
    seen[few] = True
    return seen


def _constraints(images, low, high):
    """Lay lines along the energy on both sides, at some ln N0 and settings."""
    reference = images[0].peaks
    nodes = np.unique([low, 0.5 * (low + high), high])
    places = [(node, images[0].setting) for node in nodes]
    places += [(nodes[len(nodes) // 2], setting) for setting in _outermost(images)]
    end = to_grid(reference.grid.u[-1])
    x = np.linspace(to_grid(1.0), end, int((end - to_grid(1.0)) / _TAIL_LINES_STEP / 2))
    lines = np.stack([side * np.sinh(x) / 2 for side in (1, -1) for _ in places])
    far_from = np.nanmin(images[0].regions.E_II) / np.exp(reference.log_fwhm.mean)
    far = lines[:, -1:] * np.array([0.25, 0.5, 1.0])
    far = np.where(np.abs(far) > min(far_from, np.abs(lines).max() / 2), far, lines[:, -1:])
    return _Constraints(lines=lines, far=far, places=2 * places)


def _outermost(images):
    """Find the settings closest to the corners of all settings, but for that of the reference."""
    settings = np.array([image.setting for image in images])
    if len(images) == 1:
        return []
    corners = np.array(list(product((-1, 1), repeat=min(settings.shape[1], _CORNERS_OF))))
    corners = np.pad(corners, [(0, 0), (0, settings.shape[1] - corners.shape[1])])
    nearest = {int(((settings - corner) ** 2).sum(-1).argmin()) for corner in corners}
    return [images[number].setting for number in sorted(nearest - {0})]


def _at_places(scaling, u, places):
    """Scale reduced energies (n_lines, n) of these places to inputs (n_lines, n, n_in)."""
    return np.stack(
        [
            scaling(row, np.full(row.size, node), setting)
            for row, (node, setting) in zip(u, places, strict=True)
        ]
    )


def zero_thickness_cluster(peaks):
    """Take the reference itself for the vacuum that is not in view.

    Parameters
    ----------
    peaks : RegisteredPeaks

    Returns
    -------
    ClusterSpectra
        Of one spectrum, whose ratios are one.
    """
    u = peaks.u.mean(0)
    variance = _RATIO_FLOOR**2 + peaks.reference_error(u) ** 2
    used = peaks.spectra.complete.any(0)
    return ClusterSpectra(
        ratio=np.ones((1, u.size)),
        variance=variance[None],
        used=used[None],
        u=u,
        log_intensity=peaks.log_intensity_range.high,
        is_reference=True,
    )


def variations_of(image):
    """Lay the modes in which peaks vary from spectrum to spectrum on the grid of the reference.

    Parameters
    ----------
    image : RegisteredImage

    Returns
    -------
    ndarray of shape (n_modes, grid.n)
        Constant beyond what spectra show.
    """
    peaks, modes = image.peaks, image.modes
    if peaks.tail_is_known and not peaks.has_vacuum:
        modes = continue_modes(peaks, modes)
    u = peaks.u.mean(0)
    return np.array([np.interp(peaks.grid.u, u, mode) for mode in modes]).reshape(-1, peaks.grid.n)


def continue_modes(peaks, modes):
    """Continue modes beyond region I, where they are seen under the losses only.

    Parameters
    ----------
    peaks : RegisteredPeaks
        Without vacuum, their tail known from zero thickness.
    modes : ndarray of shape (n_modes, n_groups)

    Returns
    -------
    ndarray of shape (n_modes, n_groups)
        As they were where the spectra do not show it.
    """
    found = at_zero_thickness(peaks, modes)
    if found is None or not len(modes):
        return modes
    u = peaks.u.mean(0)
    limit = np.median(peaks.window.high)
    last = np.flatnonzero(u < _MODES_SEEN_TO * peaks.extrapolated_from)[-1]
    seen = gaussian_filter1d(found.responses, _MODE_SMOOTHING, axis=-1)
    seen[:, last:] = seen[:, last : last + 1]
    share = np.clip((u / limit - PURE_FRACTION) / (1 - PURE_FRACTION), 0, 1)
    return (1 - share) * modes + share * seen


def pattern_noise(mean, error):
    """Measure the scatter of neighbouring groups beyond counting noise.

    No smooth curve can follow it: channels differ in sensitivity, and the mean of many spectra
    shows it as a pattern.

    Parameters
    ----------
    mean, error : ndarray of shape (n_groups,)
        Mean ratio and its standard error.

    Returns
    -------
    ndarray of shape (n_groups,)
        Standard deviation; zero where nothing stands out.

    Examples
    --------
    A smooth curve is no pattern; channels that differ by 2 % are:

    >>> import numpy as np
    >>> from hyperspy_zlpml.training.pseudo_data import pattern_noise
    >>> error, smooth = np.full(60, 1e-3), 1 + 0.3 * np.tanh(np.linspace(-3, 3, 60))
    >>> float(pattern_noise(smooth, error).max())
    0.0
    >>> sensitivity = 1 + 0.02 * np.random.default_rng(0).standard_normal(60)
    >>> bool(0.01 < np.median(pattern_noise(smooth * sensitivity, error)) < 0.03)
    True
    """
    if mean.size < _FEWEST_GROUPS:
        return np.zeros(mean.size)
    rough = np.zeros(mean.size)
    rough[1:-2] = np.diff(mean, 3) ** 2 / 20
    excess = uniform_filter1d(rough - error**2, _PATTERN_GROUPS, mode="nearest")
    uncertain = uniform_filter1d(error**2, _PATTERN_GROUPS, mode="nearest")
    return np.sqrt(np.where(excess > uncertain, excess, 0.0))
