# SPDX-License-Identifier: GPL-3.0-or-later
"""The method from top to bottom, on arrays: spectra -> ensemble -> subtracted spectra.

:func:`train_ensemble` reads like the papers: noise, vacuum, clusters, reference, regions,
replicas, training, selection. :func:`subtract` applies an ensemble to a block of spectra; it is
what runs on every chunk of a lazy image.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import uniform_filter1d

from hyperspy_zlpml.ensemble import Ensemble, InputScaling
from hyperspy_zlpml.network.selection import select
from hyperspy_zlpml.report import Report, cluster_rows, describe_noise
from hyperspy_zlpml.zlp import noise as noise_models
from hyperspy_zlpml.zlp.binning import make_groups
from hyperspy_zlpml.zlp.matching import (
    ShapeTable,
    group_curvature,
    group_spectra,
    join_spectra,
    match,
)
from hyperspy_zlpml.zlp.peaks import PeakParameters
from hyperspy_zlpml.zlp.reference import (
    Grid,
    extrapolate_by_gain_side,
    fit_reference,
    to_grid,
)
from hyperspy_zlpml.zlp.regions import (
    EXTRAPOLATED_RISE,
    NO_LIMIT,
    SMALLEST_RISE,
    SMALLEST_RISE_WITHOUT_VACUUM,
    Regions,
    below_noise,
    flattening,
    onset,
)
from hyperspy_zlpml.zlp.replicas import DRAW, ClusterSpectra, draw_limits

#: The core, in FWHM, in which a peak is registered before its regions are known.
_CORE = 1.0
_REFERENCE_ROUNDS = 3
#: Regions and the losses spilled into them depend on each other.
_REGION_ROUNDS = 2
#: ``E_I`` of a replica is lowered by a random fraction up to this.
_LIMIT_SPREAD = 0.3
#: Ratios are not believed better than this, which keeps single points from ruling a fit.
_RATIO_FLOOR = 1e-3
_LEAST_WIDTH_SPREAD = 0.005
_TAIL_LINES_STEP = 0.15


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
    """

    n_replicas: int = 100
    replica_kind: str = "gaussian"
    regions: dict = field(default_factory=dict)
    layers: tuple = (2, 10, 15, 5, 1)
    n_steps: int = 40
    random_state: int | None = None


@dataclass(frozen=True)
class Sample:
    """Spectra to train on, of one image or of one vacuum reference.

    Attributes
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Free of pedestal.
    energy : ndarray of shape (n_energy,)
        Uniform, eV.
    parameters : PeakParameters
        All usable.
    label : ndarray of int of shape (n_spectra,)
        Cluster of each spectrum, or VACUUM.
    """

    counts: np.ndarray
    energy: np.ndarray
    parameters: PeakParameters
    label: np.ndarray

    def select(self, index):
        """Some of the spectra."""
        return Sample(
            self.counts[index], self.energy, self.parameters.select(index), self.label[index]
        )


VACUUM = -1


@dataclass(frozen=True)
class Detector:
    """Pedestal and noise of the counts."""

    pedestal: float
    pedestal_note: str
    noise: noise_models.NoiseModel


def describe_detector(counts, energy, parameters, noise=None):
    """Pedestal and noise model from a sample of spectra.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    energy : ndarray of shape (n_energy,)
        eV.
    parameters : PeakParameters
        All usable, shape (n_spectra,).
    noise : NoiseModel, optional
        Where the signal carries its own.

    Returns
    -------
    Detector
    """
    centre, fwhm = parameters.centre, parameters.fwhm
    pedestal, note = noise_models.estimate_pedestal(counts, energy, centre, fwhm)
    if noise is None:
        noise = noise_models.estimate_noise(counts - pedestal, energy, centre, fwhm)
    return Detector(pedestal, note, noise)


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
    peaks = registered(samples, detector.noise)
    for _ in range(_REGION_ROUNDS):
        regions = find_regions(peaks, clusters.centres.size, settings.regions)
        peaks = replace(peaks, spill_tables=spilled_losses(peaks, regions)).within(regions)
    trained, selection, scaling = _train_networks(peaks, regions, settings, rng, progress)

    ensemble = Ensemble(
        weights=trained.weights[selection.kept].astype(np.float32),
        layers=tuple(settings.layers),
        scaling=scaling,
        grid=peaks.grid,
        log_reference=peaks.log_reference,
        scatter=np.zeros(peaks.grid.n),
        spill=peaks.spill_by_intensity,
        extrapolated_from=peaks.extrapolated_from,
        log_intensity_range=peaks.log_intensity_range,
        log_fwhm=peaks.log_fwhm,
        regions=regions,
        cluster_centres=clusters.centres,
        cluster_by=cluster_by,
        noise=detector.noise,
    )
    ensemble = ensemble.with_scatter(unexplained_scatter(ensemble, peaks))
    report = _report(ensemble, detector, clusters, trained, selection)
    return ensemble, report


# --- registration: centre, width and height of every training spectrum ---------------------------


@dataclass(frozen=True)
class RegisteredPeaks:
    """Training spectra with their peaks registered to a common reference shape.

    Attributes
    ----------
    spectra : GroupedSpectra
    label : ndarray of int
        Cluster, or VACUUM.
    log_intensity : ndarray of shape (n_spectra,)
        ln N0.
    matched : Match
        Height, centre and width against the reference.
    grid : Grid
    log_reference : ndarray of shape (grid.n,)
    noise : NoiseModel
    window : tuple of two ndarrays of shape (n_spectra,)
        Limits of the pure ZLP in reduced energy.
    spill_tables : dict of int to ndarray of shape (grid.n,)
        For each label, counts that losses spill into region I, relative to the ZLP.
    extrapolated_from : float
        Reduced energy beyond which no spectrum shows the pure tail.
    """

    spectra: object
    label: np.ndarray
    log_intensity: np.ndarray
    matched: object
    grid: Grid
    log_reference: np.ndarray
    noise: noise_models.NoiseModel
    window: tuple
    spill_tables: dict = field(default_factory=dict)
    extrapolated_from: float = NO_LIMIT

    @property
    def table(self):
        """The reference as a table."""
        return ShapeTable.of_reference(self.grid, self.log_reference)

    @property
    def u(self):
        """Reduced energies of all groups, shape (n_spectra, n_groups)."""
        return (self.spectra.energy - self.matched.centre[:, None]) / self.matched.fwhm[:, None]

    @property
    def scale(self):
        """Counts of each group for a shape of 1."""
        height = np.exp(self.matched.log_height)[:, None]
        return height * self.spectra.n_channels * self.spectra.curvature

    @property
    def spill(self):
        """Spilled counts over the matched reference, shape (n_spectra, n_groups)."""
        spill = np.zeros_like(self.spectra.sums)
        for name, table in self.spill_tables.items():
            rows = self.label == name
            spill[rows] = self.grid.interpolate(table, self.u[rows])
        return spill

    @property
    def has_vacuum(self):
        """Whether some of the spectra are pure zero-loss peaks."""
        return bool((self.label == VACUUM).any())

    @property
    def spill_by_intensity(self):
        """Spill tables in the order of increasing ln N0, as (ln N0, tables)."""
        medians = {name: np.median(self.log_intensity[self.label == name]) for name in self.labels}
        order = sorted(medians, key=medians.get)
        none = np.zeros(self.grid.n)
        tables = np.stack([self.spill_tables.get(int(name), none) for name in order])
        return np.array([medians[name] for name in order]), tables

    @property
    def labels(self):
        """Labels in use, vacuum first."""
        return np.unique(self.label)

    @property
    def log_intensity_range(self):
        """Median ln N0 of the thickest and the thinnest set of spectra."""
        medians = [np.median(self.log_intensity[self.label == name]) for name in self.labels]
        return float(min(medians)), float(max(medians))

    @property
    def log_fwhm(self):
        """Mean and true standard deviation of ln FWHM over the spectra."""
        logarithm = np.log(self.matched.fwhm)
        noise = np.median(self.matched.covariance[:, 2, 2])
        spread = np.sqrt(max(logarithm.var() - noise, _LEAST_WIDTH_SPREAD**2))
        return float(logarithm.mean()), float(spread)

    def ratios(self):
        """Counts over the matched reference, their variance, and the groups inside the window.

        The variance comes from the mean counts of a cluster: a spectrum's own would give low
        fluctuations more weight than high ones.
        """
        one = np.ones((len(self.label), 1))
        shape = np.exp(self.table.evaluate(self.u, one, self.table.log_shape))
        expected = np.maximum(self.scale * shape, 1e-12)
        typical = np.ones_like(expected)
        for name in self.labels:
            rows = self.label == name
            typical[rows] = np.clip(self.spectra.sums[rows].sum(0) / expected[rows].sum(0), 1, None)
        variance = self.noise.variance(expected * typical, self.spectra.n_channels) / expected**2
        u = self.u
        inside = (
            self.spectra.complete & (u >= self.window[0][:, None]) & (u <= self.window[1][:, None])
        )
        return self.spectra.sums / expected - self.spill, variance + 1e-12, inside

    def within(self, regions):
        """The same, matched in the windows of the regions."""
        window = window_of(regions, self.label, self.matched.fwhm)
        zero = np.zeros(len(self.label))
        matched = match(
            self.spectra, self.matched.centre, self.matched.fwhm, zero, window, self.table,
            self.noise, None,
        )  # fmt: skip
        return replace(self, matched=matched, window=window)


def window_of(regions, label, fwhm):
    """Limits of the pure ZLP of every spectrum in reduced energy."""
    known = np.clip(label, 0, None)
    gain = np.where(label == VACUUM, -NO_LIMIT, regions.gain[known])
    loss = np.where(label == VACUUM, NO_LIMIT, regions.E_I[known])
    return gain / fwhm, loss / fwhm


def registered(samples, noise):
    """Register the training spectra to the mean shape of the vacuum, or the brightest cluster.

    The reference and the peak parameters improve each other in a few rounds.

    Parameters
    ----------
    samples : sequence of Sample
    noise : NoiseModel

    Returns
    -------
    RegisteredPeaks
    """
    label = np.concatenate([sample.label for sample in samples])
    centre = np.concatenate([sample.parameters.centre for sample in samples])
    fwhm = np.concatenate([sample.parameters.fwhm for sample in samples])
    step = samples[0].energy[1] - samples[0].energy[0]
    per_fwhm = np.median(fwhm) / step
    n_energy = max(sample.energy.size for sample in samples)
    groups = make_groups(per_fwhm, n_energy, n_energy)
    spectra = join_spectra(
        [
            group_spectra(s.counts, s.energy, s.parameters.channel, groups, np.ones(groups.size))
            for s in samples
        ]
    )
    reach = n_energy / per_fwhm * 1.1
    grid = Grid.covering(-reach, reach)
    first = label == label.min()

    one = np.ones(len(label))
    core = (-_CORE * one, _CORE * one)
    height = np.concatenate([_heights(sample) for sample in samples])
    for _ in range(_REFERENCE_ROUNDS):
        u = (spectra.energy - centre[:, None]) / fwhm[:, None]
        scale = height[:, None] * spectra.n_channels * spectra.curvature
        log_reference = _reference_of(spectra, u, scale, first, NO_LIMIT, noise, grid)
        curvature = group_curvature(grid, log_reference, groups, per_fwhm)
        spectra = replace(spectra, curvature=curvature)
        table = ShapeTable.of_reference(grid, log_reference)
        matched = match(spectra, centre, fwhm, 0 * one, core, table, noise, None)
        centre, fwhm, height = matched.centre, matched.fwhm, np.exp(matched.log_height)
    peaks = RegisteredPeaks(
        spectra, label, _log_intensities(samples), matched, grid, log_reference, noise, core
    )
    return peaks if peaks.has_vacuum else _limited_reference(peaks, first)


def _heights(sample):
    highest = np.take_along_axis(sample.counts, sample.parameters.channel[:, None], -1)[:, 0]
    return np.maximum(highest, 1e-9)


def _log_intensities(samples):
    """ln N0 of every spectrum; a separate vacuum reference counts as the thin end of the image.

    The reference was taken at another time and dose: its own N0 says nothing of thickness.
    """
    image, *references = samples
    logarithm = np.log(image.parameters.intensity)
    thin = np.median(logarithm[image.label == image.label.min()])
    return np.concatenate([logarithm, *(np.full(len(r.label), thin) for r in references)])


def _reference_of(spectra, u, scale, chosen, limit, noise, grid):
    use = spectra.complete & chosen[:, None] & (u < limit)
    variance = noise.variance(spectra.sums, spectra.n_channels)
    scale = np.where(use, scale, 0.0)[chosen]
    return fit_reference(u[chosen], spectra.sums[chosen], scale, variance[chosen], grid)


def _limited_reference(peaks, first):
    """Without vacuum: a reference from the pure part of the brightest cluster alone.

    Pure is what lies below the energies where thicker clusters leave the brightest one, where
    the brightest leaves the power law on which its flank ends, and where it has flattened.
    Beyond the least of them the reference follows the gain side.
    """
    limits = [
        _onset_of(peaks, peaks.label == name, smallest_rise=SMALLEST_RISE_WITHOUT_VACUUM)
        for name in peaks.labels[1:]
    ]
    flank = replace(peaks, log_reference=_refit(peaks, first, _FLANK))
    limits.append(_onset_of(flank, first, smallest_rise=EXTRAPOLATED_RISE))
    limits.append(flattening(peaks.grid.u, peaks.log_reference))
    limit = min(limits)
    if not np.isfinite(limit):
        return peaks
    pure = extrapolate_by_gain_side(_refit(peaks, first, limit), peaks.grid, limit)
    return replace(peaks, log_reference=pure, extrapolated_from=limit)


#: Flank, in FWHM, that tells how the tail would go on without inelastic signal.
_FLANK = 1.8


def _refit(peaks, first, limit):
    return _reference_of(peaks.spectra, peaks.u, peaks.scale, first, limit, peaks.noise, peaks.grid)


# --- regions -------------------------------------------------------------------------------------


def find_regions(peaks, n_clusters, given):
    """Regions of every cluster, found from the data where the user gives none.

    Parameters
    ----------
    peaks : RegisteredPeaks
    n_clusters : int
    given : dict
        ``E_I``, ``E_II``, ``gain`` in eV, one number or one per cluster.

    Returns
    -------
    Regions
    """
    gain, first, second = (np.full(n_clusters, np.nan) for _ in range(3))
    for name in peaks.labels[peaks.labels != VACUUM]:
        chosen = peaks.label == name
        fwhm = np.median(peaks.matched.fwhm[chosen])
        if peaks.has_vacuum:
            first[name] = _onset_of(peaks, chosen) * fwhm
        else:
            first[name] = peaks.extrapolated_from * fwhm
        gain[name] = -_onset_of(peaks, chosen, side=-1) * fwhm
        second[name] = _below_noise_of(peaks, chosen) * fwhm
    regions = Regions(
        gain=_filled(gain, -NO_LIMIT), E_I=_filled(first, NO_LIMIT), E_II=_filled(second, NO_LIMIT)
    )
    return regions.overridden(given, n_clusters)


def _filled(values, default):
    """Clusters without spectra of their own take the value of the next thicker one."""
    known = np.flatnonzero(~np.isnan(values))
    if not known.size:
        return np.full(values.shape, default)
    after = np.minimum(np.searchsorted(known, np.arange(values.size)), known.size - 1)
    return values[known[after]]


def _mean_ratio(peaks, chosen, side):
    ratio, variance, _ = peaks.ratios()
    u = peaks.u[chosen].mean(0)
    use = peaks.spectra.complete[chosen] & (side * u > 0)
    weight = np.where(use, 1 / variance[chosen], 0.0)
    total = weight.sum(0)
    seen = total > 0
    mean = (weight * np.where(use, ratio[chosen], 0)).sum(0)[seen] / total[seen]
    error = total[seen] ** -0.5
    n = np.maximum(use.sum(0)[seen], 1)
    # What spectra differ by, beyond their noise, is uncertainty of the mean too.
    spread = np.sqrt(
        (weight * (np.where(use, ratio[chosen], 0) - _spread_out(mean, seen)) ** 2).sum(0)[seen]
        / total[seen]
    )
    error = np.maximum(error, spread / np.sqrt(np.maximum(n - 1, 1)))
    order = np.abs(u[seen]).argsort()
    return np.abs(u[seen])[order], mean[order], error[order]


def _spread_out(mean, seen):
    full = np.zeros(seen.size)
    full[seen] = mean
    return full


def _onset_of(peaks, chosen, side=1, smallest_rise=SMALLEST_RISE):
    return onset(*_mean_ratio(peaks, chosen, side), smallest_rise)


def _below_noise_of(peaks, chosen):
    u = np.linspace(1, peaks.grid.u[-1], 4000)
    height = np.median(np.exp(peaks.matched.log_height[chosen]))
    expected = height * np.exp(peaks.grid.interpolate(peaks.log_reference, u))
    return below_noise(u, expected, np.sqrt(peaks.noise.variance(expected)))


# --- losses that the response spills below the onset ---------------------------------------------

#: Closer to a loss than this many FWHM the measured losses already hold their own broadening.
_SPILL_FROM = 1.0


def spilled_losses(peaks, regions):
    """What the tails of the response carry from the losses into region I, relative to the ZLP.

    Every electron that lost energy is recorded with the same response as the ZLP, whose tails
    reach below the onset and to the gain side. The mean losses of each cluster beyond ``E_I``,
    spread by the tails of the reference, give this part of the counts in region I, which is not
    ZLP although nothing in its shape tells so.

    Parameters
    ----------
    peaks : RegisteredPeaks
    regions : Regions

    Returns
    -------
    dict of int to ndarray of shape (grid.n,)
        By label; the vacuum has none.
    """
    grid = peaks.grid
    response = np.exp(peaks.log_reference)
    area = np.trapezoid(response, grid.u)
    tables = {}
    for name in peaks.labels[peaks.labels != VACUUM]:
        rows = peaks.label == name
        fwhm = np.median(peaks.matched.fwhm[rows])
        u, height = peaks.u[rows].mean(0), np.exp(peaks.matched.log_height[rows]).sum()
        width = np.gradient(u)
        channels = peaks.spectra.n_channels * peaks.spectra.complete[rows].any(0)
        zlp = np.exp(grid.interpolate(peaks.log_reference, u))
        losses = peaks.spectra.sums[rows].sum(0) / np.maximum(channels, 1) / height - zlp
        losses = np.where((u > regions.E_I[name] / fwhm) & (channels > 0), losses, 0.0)
        distance = grid.u[:, None] - u
        kernel = np.exp(grid.interpolate(peaks.log_reference, distance)) / area
        kernel = np.where(np.abs(distance) > _SPILL_FROM, kernel, 0.0)
        spilled = np.clip(kernel @ (losses * width), 0, None)
        inside = grid.u < regions.E_I[name] / fwhm
        tables[int(name)] = np.where(inside, spilled / response, 0.0)
    return tables


# --- replicas and training -----------------------------------------------------------------------


def cluster_spectra(peaks):
    """The registered spectra by cluster, as ratios to the reference."""
    ratio, variance, inside = peaks.ratios()
    u = peaks.u
    return [
        ClusterSpectra(
            ratio[chosen], variance[chosen], inside[chosen], u[chosen].mean(0),
            float(np.median(peaks.log_intensity[chosen])),
        )
        for chosen in (peaks.label == name for name in peaks.labels)
    ]  # fmt: skip


def training_data(peaks, regions, settings, rng):
    """Replicas and constraints as the arrays that the networks are trained on."""
    from hyperspy_zlpml.network.training import TrainingData

    clusters = cluster_spectra(peaks)
    low, high = peaks.log_intensity_range
    scaling = InputScaling(0.5 * (low + high), max(0.5 * (high - low), 0.25), peaks.grid.x[-1] / 2)
    replicas = DRAW[settings.replica_kind](clusters, settings.n_replicas, rng)

    limits = np.array([peaks.window[1][peaks.label == name].mean() for name in peaks.labels])
    limits = draw_limits(limits, settings.n_replicas, rng, _LIMIT_SPREAD)
    inputs, ratios, sigma, used = [], [], [], []
    for number, cluster in enumerate(clusters):
        _, error = cluster.mean
        seen = np.isfinite(error)
        thickness = np.full(seen.sum(), cluster.log_intensity)
        inputs.append(scaling(cluster.u[seen], thickness))
        ratios.append(replicas[:, number, seen])
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
        tail_reference=peaks.grid.interpolate(peaks.log_reference, lines),
        far_inputs=scaling(far, np.broadcast_to(thickness[:, :1], far.shape)).reshape(-1, 2),
    )


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


def _train_networks(peaks, regions, settings, rng, progress):
    from hyperspy_zlpml.network.training import train

    scaling, data = training_data(peaks, regions, settings, rng)
    trained = train(data, settings.layers, settings.n_steps, rng=rng, progress=progress)
    return trained, select(trained.chi2, trained.chi2_validation, trained.rise), scaling


# --- what the ensemble does not explain ----------------------------------------------------------

_SCATTER_CELL = 0.25


def unexplained_scatter(ensemble, peaks):
    """Relative scatter of the training spectra about their matched shapes beyond their noise.

    Returns
    -------
    ndarray of shape (grid.n,)
        Beyond the last measured energy the last value is kept.
    """
    table = ensemble.tabulate()
    weights_of = table.at(peaks.log_intensity)
    matched = match(
        peaks.spectra, peaks.matched.centre, peaks.matched.fwhm, peaks.log_intensity, peaks.window,
        table, peaks.noise, ensemble.log_fwhm,
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
    return np.interp(ensemble.grid.x, names * _SCATTER_CELL, scatter)


# --- report --------------------------------------------------------------------------------------


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
        messages=clusters.messages,
    )
