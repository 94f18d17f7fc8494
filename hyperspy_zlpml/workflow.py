# SPDX-License-Identifier: GPL-3.0-or-later
"""The method from top to bottom, on arrays: spectra of an image -> trained ensemble.

:func:`train_ensemble` reads like the papers: register the peaks to a reference shape, find the
regions where they are pure ZLP, draw replicas there, train a network on each, select. What comes
before (noise, vacuum, clusters) is in :mod:`hyperspy_zlpml.image`, what comes after (matching and
subtraction, block by block) in :mod:`hyperspy_zlpml.removal`.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from hyperspy_zlpml.cluster import active_client, map_on
from hyperspy_zlpml.departure import check_same_shape
from hyperspy_zlpml.ensemble import Ensemble, InputScaling
from hyperspy_zlpml.network.selection import select
from hyperspy_zlpml.report import Report, cluster_rows, describe_noise, describe_tail
from hyperspy_zlpml.zlp.matching import match
from hyperspy_zlpml.zlp.reference import GRID_STEP, to_grid
from hyperspy_zlpml.zlp.registration import (
    VACUUM,
    log_beam,
    log_intensities,
    registered,
    registered_to,
)
from hyperspy_zlpml.zlp.replicas import DRAW, ClusterSpectra, draw_limits, shape_modes
from hyperspy_zlpml.zlp.separation import find_regions, spilled_losses
from hyperspy_zlpml.zlp.zero_thickness import PURE_FRACTION, at_zero_thickness, tail_of

#: Regions and the losses spilled into them depend on each other.
_REGION_ROUNDS = 2
#: ``E_I`` of a replica is lowered by a random fraction up to this.
_LIMIT_SPREAD = 0.3
#: Ratios are not believed better than this, which keeps single points from ruling a fit.
_RATIO_FLOOR = 4e-4
_TAIL_LINES_STEP = 0.15
#: How modes go on beyond region I is seen up to this many times its end without vacuum, and
#: smoothed over some groups.
_MODES_SEEN_TO = 2.0
_MODE_SMOOTHING = 3.0


@dataclass(frozen=True)
class Settings:
    """How an ensemble is trained.

    Attributes
    ----------
    n_replicas : int
    replica_kind : "gaussian" or "spectra"
    regions : dict
        Limits given by the user, see :func:`find_regions`.
    layers : tuple of int
        Layer sizes; the first is the number of inputs, the last 1.
    n_steps : int
        Most Levenberg-Marquardt steps.
    random_state : int or None
        Same state, same numbers.
    device : str
        Device of torch to train on; "auto" is CUDA where there is one.
    """

    n_replicas: int = 100
    replica_kind: str = "gaussian"
    regions: dict = field(default_factory=dict)
    layers: tuple = (2, 10, 15, 5, 1)
    n_steps: int = 100
    random_state: int | None = None
    device: str = "auto"


def train_ensemble(samples, detector, clusters, cluster_by, settings, progress=None):
    """Train an ensemble on samples of spectra.

    Parameters
    ----------
    samples : sequence of Sample
        Of equal dispersion: the image's, and a vacuum reference's if there is one.
    detector : Detector
    clusters : Clusters
    cluster_by : str
        Name of the proxy, kept for the record.
    settings : Settings
    progress : callable, optional
        Called with (steps done, of steps, median chi2).

    Returns
    -------
    ensemble : Ensemble
    report : Report
    """
    rng = np.random.default_rng(settings.random_state)
    given = settings.regions.get("E_I")
    peaks = registered(samples, detector.noise, None if given is None else float(np.min(given)))
    n_clusters = clusters.centres.size
    if not peaks.tail_is_known:
        peaks = with_known_tail(peaks, n_clusters, settings.regions)
    peaks, regions, modes = separated(peaks, n_clusters, settings.regions)
    scores = rng.standard_normal((settings.n_replicas, len(peaks.reference_modes)))
    scaling, data = training_data(peaks, regions, modes, scores, settings, rng)
    trained = _train_networks(data, settings, rng, progress)
    selection = select(trained.chi2, trained.chi2_validation, trained.rise)

    ensemble = Ensemble(
        weights=trained.weights[selection.kept].astype(np.float32),
        layers=tuple(settings.layers),
        scaling=scaling,
        grid=peaks.grid,
        log_reference=peaks.log_reference,
        scatter=np.zeros(peaks.grid.n),
        spill=_single(peaks.spill_by_intensity),
        reference_modes=peaks.reference_modes.astype(np.float32),
        reference_scores=scores[selection.kept].astype(np.float32),
        log_intensity_range=peaks.log_intensity_range,
        log_fwhm=peaks.log_fwhm,
        log_beam=log_beam(samples, peaks.grid, peaks.log_reference),
        u_range=peaks.u_range,
        regions=regions,
        cluster_centres=clusters.centres,
        cluster_by=cluster_by,
        noise=detector.noise,
        tail=_tail(peaks),
    )
    scatter = unexplained_scatter(ensemble.tabulate(), peaks, ensemble.log_fwhm)
    ensemble = ensemble.with_scatter(scatter.astype(np.float32))
    report = _report(ensemble, detector, clusters, trained, selection)
    return ensemble, report


def adapt(ensemble, samples, noise, clusters, cluster_by, given):
    """An ensemble trained before, for other spectra of the same instrument.

    The shapes are those of the ensemble; what belongs to the image is found anew: the regions,
    the losses spilled into them, the widths and the scatter of its peaks. The dose does not
    matter: ln N0 is counted from that of the beam.

    Parameters
    ----------
    ensemble : Ensemble
    samples : sequence of Sample
    noise : NoiseModel
    clusters : Clusters
    cluster_by : str
    given : dict
        Limits given by the user, eV.

    Returns
    -------
    adapted : Ensemble
    log_dose : float
        Logarithm of the dose over that of the ensemble.

    Raises
    ------
    OtherZeroLossPeakError
    """
    table = ensemble.tabulate().reaching(*reach_of(samples))
    log_dose = log_beam(samples, table.grid, table.log_shape[-1]) - ensemble.log_beam
    peaks = registered_to(table, samples, noise, log_intensities(samples) - log_dose)
    check_same_shape(peaks)
    before = round((ensemble.grid.start - table.grid.start) / GRID_STEP)
    of_grid = slice(before, before + ensemble.grid.n)
    after = table.grid.n - of_grid.stop
    own = np.pad(ensemble.reference_modes.astype(float), [(0, 0), (before, after)], mode="edge")
    peaks = replace(peaks, reference_modes=own)
    peaks, regions, _ = separated(peaks, clusters.centres.size, given)
    log_intensity, spill = _single(peaks.spill_by_intensity)
    scatter = unexplained_scatter(table, peaks, peaks.log_fwhm).astype(np.float32)
    adapted = replace(
        ensemble, spill=(log_intensity, spill[:, of_grid]), scatter=scatter[of_grid],
        log_fwhm=peaks.log_fwhm, regions=_no_later(regions, ensemble.regions, peaks),
        cluster_centres=clusters.centres, cluster_by=cluster_by, noise=noise,
    )  # fmt: skip
    return adapted, log_dose


def reach_of(samples):
    """Reduced energies that the axes of spectra reach."""
    low = min(((s.energy[0] - s.parameters.centre) / s.parameters.fwhm).min() for s in samples)
    high = max(((s.energy[-1] - s.parameters.centre) / s.parameters.fwhm).max() for s in samples)
    return float(low), float(high)


def _no_later(regions, of_ensemble, peaks):
    """Regions of an image; where no losses were seen in it, the limit that the ensemble knows.

    Few spectra at low dose hide their losses, and would be matched to them.
    """
    known = of_ensemble.E_I[np.isfinite(of_ensemble.E_I)]
    if peaks.has_vacuum and set(peaks.labels) == {VACUUM} or not known.size:
        return regions
    return replace(regions, E_I=np.where(np.isfinite(regions.E_I), regions.E_I, known.min()))


def separated(peaks, n_clusters, given):
    """Regions, the losses spilled into them and the variations of the shape, found together.

    Parameters
    ----------
    peaks : RegisteredPeaks
    n_clusters : int
    given : dict
        Limits given by the user, eV.

    Returns
    -------
    peaks : RegisteredPeaks
        Matched within the regions, with their spill tables.
    regions : Regions
    modes : ndarray of shape (n_modes, n_groups)
    """
    modes, gain = None, None
    for _ in range(_REGION_ROUNDS):
        regions = find_regions(peaks, n_clusters, given, modes, gain)
        peaks = replace(peaks, spill_tables=spilled_losses(peaks, regions)).within(regions)
        modes, gain = shape_modes(cluster_spectra(peaks)), regions.gain
    return peaks, regions, modes


def _single(spill):
    """ln N0 as it is, tables in single precision: half of the bytes of a file."""
    log_intensity, tables = spill
    return log_intensity, tables.astype(np.float32)


def with_known_tail(peaks, n_clusters, given):
    """Without vacuum: peaks registered to a reference whose tail is that of zero thickness.

    Where the pixels do not tell (one thickness, few spectra, no far losses), the gain side remains.
    """
    regions = find_regions(peaks, n_clusters, given)
    pure = peaks.within(replace(regions, E_I=PURE_FRACTION * regions.E_I))
    found = at_zero_thickness(pure, shape_modes(cluster_spectra(pure)))
    if found is None:
        return peaks
    log_reference, modes = tail_of(pure, found)
    return replace(
        pure, log_reference=log_reference, reference_modes=modes, tail_is_known=True
    ).within(regions)


# --- replicas and training -----------------------------------------------------------------------


def cluster_spectra(peaks):
    """The registered spectra by cluster, as ratios to the reference."""
    ratio, variance, inside = peaks.ratios()
    u = peaks.u
    slope = np.gradient(peaks.log_reference, peaks.grid.u)

    def fitted(u):
        slopes = peaks.grid.interpolate(slope, u)
        return np.stack([np.ones(u.size), -slopes, -u * slopes])

    return [
        ClusterSpectra(
            ratio[chosen], variance[chosen], inside[chosen], u[chosen].mean(0),
            float(np.median(peaks.log_intensity[chosen])), name == VACUUM, fitted(u[chosen].mean(0)),
        )
        for name, chosen in ((name, peaks.label == name) for name in peaks.labels)
    ]  # fmt: skip


def training_data(peaks, regions, modes, scores, settings, rng):
    """Replicas and constraints as the arrays that the networks are trained on.

    Parameters
    ----------
    peaks : RegisteredPeaks
    regions : Regions
    modes : ndarray of shape (n_modes, n_groups)
        Of the shapes of spectra, see :func:`shape_modes`.
    scores : ndarray of shape (n_replicas, n_reference_modes)
        Of the reference modes in each replica's own reference.
    settings : Settings
    rng : numpy.random.Generator

    Returns
    -------
    scaling : InputScaling
    data : TrainingData
    """
    from hyperspy_zlpml.network.training import TrainingData

    clusters = cluster_spectra(peaks)
    if peaks.tail_is_known and not peaks.has_vacuum:
        modes = continued_modes(peaks, modes)
        clusters.append(zero_thickness_cluster(peaks))
    low, high = peaks.log_intensity_range
    scaling = InputScaling(0.5 * (low + high), max(0.5 * (high - low), 0.25), peaks.grid.x[-1] / 2)
    replicas = DRAW[settings.replica_kind](clusters, settings.n_replicas, rng, modes)

    def own_reference(u):
        """How the reference of each replica differs, shape (n_replicas, u.size)."""
        return scores @ peaks.grid.interpolate_rows(peaks.reference_modes.T, u).T

    limits = [peaks.window[1][peaks.label == name].mean() for name in peaks.labels]
    limits = np.array(limits + [np.inf] * (len(clusters) - len(limits)))
    limits = draw_limits(limits, settings.n_replicas, rng, _LIMIT_SPREAD)
    inputs, ratios, sigma, used = [], [], [], []
    for number, cluster in enumerate(clusters):
        _, error = cluster.mean
        seen = np.isfinite(error)
        thickness = np.full(seen.sum(), cluster.log_intensity)
        inputs.append(scaling(cluster.u[seen], thickness))
        # Spectra drawn from the mean itself vary about it; drawn values of one do not.
        always_the_same = settings.replica_kind == "gaussian" or len(cluster.ratio) == 1
        drawn_with_it = cluster.is_reference and always_the_same
        own = 0.0 if drawn_with_it else own_reference(cluster.u[seen])
        ratios.append(replicas[:, number, seen] / np.exp(own))
        pattern = pattern_noise(cluster.mean[0][seen], error[seen])
        sigma.append(np.sqrt(error[seen] ** 2 + _RATIO_FLOOR**2 + pattern**2))
        used.append(cluster.u[seen] <= limits[:, number, None])

    nodes = np.unique([low, 0.5 * (low + high), high])
    end = to_grid(peaks.grid.u[-1])
    x = np.linspace(to_grid(1.0), end, int((end - to_grid(1.0)) / _TAIL_LINES_STEP / 2))
    lines = np.stack([side * np.sinh(x) / 2 for side in (1, -1) for _ in nodes])
    thickness = np.broadcast_to(np.tile(nodes, 2)[:, None], lines.shape)
    far_from = np.nanmin(regions.E_II) / np.exp(peaks.log_fwhm[0])
    far = lines[:, -1:] * np.array([0.25, 0.5, 1.0])
    far = np.where(np.abs(far) > min(far_from, np.abs(lines).max() / 2), far, lines[:, -1:])
    return scaling, TrainingData(
        inputs=np.concatenate(inputs),
        ratios=np.concatenate(ratios, axis=1),
        sigma=np.concatenate(sigma),
        used=np.concatenate(used, axis=1),
        tail_inputs=scaling(lines, thickness),
        tail_reference=peaks.grid.interpolate(peaks.log_reference, lines)
        + own_reference(lines.ravel()).reshape((-1,) + lines.shape),
        far_inputs=scaling(far, np.broadcast_to(thickness[:, :1], far.shape)).reshape(-1, 2),
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


def _train_networks(data, settings, rng, progress):
    """On the workers where a dask client is active, else in threads."""
    from hyperspy_zlpml.network.training import train

    client = active_client()
    return train(
        data, settings.layers, settings.n_steps, rng=rng, progress=progress,
        device=settings.device, run_blocks=None if client is None else map_on(client),
    )  # fmt: skip


# --- what the ensemble does not explain ----------------------------------------------------------

_SCATTER_CELL = 0.25
_SCATTER_SPECTRA = 768


def unexplained_scatter(table, peaks, log_fwhm):
    """Relative scatter of the training spectra about their matched shapes beyond their noise.

    Parameters
    ----------
    table : ShapeTable
    peaks : RegisteredPeaks
    log_fwhm : tuple of float
        Mean and standard deviation of ln FWHM.

    Returns
    -------
    ndarray of shape (grid.n,)
        Beyond the last measured energy the last value is kept.
    """
    peaks = peaks.select(slice(None, None, max(len(peaks.label) // _SCATTER_SPECTRA, 1)))
    weights_of = table.at(peaks.log_intensity)
    matched = match(
        peaks.spectra, peaks.matched.centre, peaks.matched.fwhm, peaks.log_intensity, peaks.window,
        table, peaks.noise, log_fwhm,
    )  # fmt: skip
    u = (peaks.spectra.energy - matched.centre[:, None]) / matched.fwhm[:, None]
    log_seen = table.log_shape + np.log1p(table.spill)
    values = table.evaluate(u, weights_of, np.concatenate([log_seen[None], table.modes]))
    log_shape = values[0] + np.einsum("pj,jpg->pg", matched.coefficients, values[1:])
    scale = peaks.spectra.n_channels * peaks.spectra.curvature
    expected = scale * np.exp(matched.log_height[:, None] + log_shape)
    variance = peaks.noise.variance(expected, peaks.spectra.n_channels) / expected**2
    inside = (
        peaks.spectra.complete & (u >= peaks.window[0][:, None]) & (u <= peaks.window[1][:, None])
    )
    excess = (peaks.spectra.sums / expected - 1) ** 2 - variance

    cell = np.round(to_grid(u[inside]) / _SCATTER_CELL).astype(int)
    names, index = np.unique(cell, return_inverse=True)
    weight = variance[inside] ** -2.0
    total = np.bincount(index, weight)
    mean = np.bincount(index, weight * excess[inside]) / total
    error = np.sqrt(2 / total)
    scatter = np.where(mean > 3 * error, np.sqrt(np.clip(mean, 0, None)), 0.0)
    seen = np.bincount(index, variance[inside]) / np.bincount(index) < 1
    names, scatter = names[seen], np.minimum(scatter[seen], 1.0)
    return np.interp(table.grid.x, names * _SCATTER_CELL, scatter)


# --- report --------------------------------------------------------------------------------------


def _tail(peaks):
    """How the tail of the reference was found, in words."""
    if peaks.has_vacuum or not np.isfinite(peaks.extrapolated_from):
        return ""
    limit = peaks.extrapolated_from * np.exp(peaks.log_fwhm[0])
    if peaks.tail_is_known:
        return describe_tail(PURE_FRACTION * limit, len(peaks.label))
    return describe_tail(limit, None)


def _report(ensemble, detector, clusters, trained, selection):
    kept = selection.kept
    return Report(
        noise=describe_noise(detector.noise),
        pedestal=detector.pedestal,
        pedestal_note=detector.pedestal_note,
        clusters=cluster_rows(clusters.centres, clusters.sizes, ensemble.regions),
        n_replicas=kept.size,
        n_kept=int(kept.sum()),
        dropped=selection.dropped,
        chi2=float(np.median(trained.chi2[kept])),
        chi2_validation=float(np.median(trained.chi2_validation[kept])),
        tail=ensemble.tail,
        messages=clusters.messages,
    )
