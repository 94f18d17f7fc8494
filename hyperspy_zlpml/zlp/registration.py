# SPDX-License-Identifier: GPL-3.0-or-later
"""Registration: every training spectrum brought to one reduced energy axis.

The mean shape of the vacuum (or of the brightest cluster) and the peak parameters of the spectra
improve each other in a few rounds; after that a spectrum is its ratio to the reference.
"""

from dataclasses import dataclass, field, fields, replace

import numpy as np
from scipy.integrate import trapezoid

from hyperspy_zlpml.image.detector import NoiseModel
from hyperspy_zlpml.image.samples import VACUUM, log_intensities
from hyperspy_zlpml.zlp.binning import make_groups
from hyperspy_zlpml.zlp.matching import (
    Match,
    group_curvature,
    group_spectra,
    join_spectra,
    match,
)
from hyperspy_zlpml.zlp.reference import (
    Grid,
    extrapolate_by_gain_side,
    fit_reference,
    hold_beyond,
    tail_mode,
)
from hyperspy_zlpml.zlp.regions import (
    EXTRAPOLATED_RISE,
    NO_LIMIT,
    SMALLEST_RISE_WITHOUT_VACUUM,
    flattening,
    onset,
)
from hyperspy_zlpml.zlp.tables import ShapeTable

#: The core, in FWHM, in which a peak is registered before its regions are known.
_CORE = 1.0
_REFERENCE_ROUNDS = 3
_LEAST_WIDTH_SPREAD = 0.005
#: Fewer spectra in a cluster than this may hide where their losses begin, or differ in their tails.
FEW_SPECTRA = 30


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
    reference_modes : ndarray of shape (n_modes, grid.n)
        Deviations of one standard error by which the reference is uncertain.
    extrapolated_from : float
        Reduced energy beyond which no spectrum shows the pure tail.
    tail_is_known : bool
        Whether the reference holds beyond that energy nevertheless.
    variation : ndarray of shape (n_modes, grid.n), optional
        How single spectra are known to differ from the reference, in modes of unit variance; where
        the spectra at hand are too few to tell.
    """

    spectra: object
    label: np.ndarray
    log_intensity: np.ndarray
    matched: object
    grid: Grid
    log_reference: np.ndarray
    noise: NoiseModel
    window: tuple
    spill_tables: dict = field(default_factory=dict)
    reference_modes: np.ndarray | None = None
    extrapolated_from: float = NO_LIMIT
    tail_is_known: bool = True
    variation: np.ndarray | None = None

    def select(self, index):
        """Some of the spectra."""
        matched = {f.name: getattr(self.matched, f.name)[index] for f in fields(self.matched)}
        return replace(
            self, spectra=self.spectra.select(index), label=self.label[index],
            log_intensity=self.log_intensity[index], matched=Match(**matched),
            window=(self.window[0][index], self.window[1][index]),
        )  # fmt: skip

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
    def u_range(self):
        """Reduced energies that some spectra show."""
        seen = self.u[self.spectra.complete]
        return float(seen.min()), float(seen.max())

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
        shape = np.exp(self.grid.interpolate(self.table.log_shape[0], self.u))
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

    def reference_error(self, u):
        """Standard error of the logarithm of the reference."""
        if self.reference_modes is None:
            return np.zeros(u.shape)
        return np.sqrt((self.grid.interpolate_rows(self.reference_modes.T, u) ** 2).sum(-1))

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


def registered(samples, noise, given_limit=None):
    """Register the training spectra to the mean shape of the vacuum, or the brightest cluster.

    The reference and the peak parameters improve each other in a few rounds.

    Parameters
    ----------
    samples : sequence of Sample
    noise : NoiseModel
    given_limit : float, optional
        ``E_I`` of the thinnest spectra, eV, where the user gives it; used without vacuum.

    Returns
    -------
    RegisteredPeaks
    """
    label, centre, fwhm, per_fwhm, groups = _joined(samples)
    n_energy = max(sample.energy.size for sample in samples)
    spectra = _grouped(samples, groups, np.ones(groups.size))
    reach = n_energy / per_fwhm * 1.1
    grid = Grid.covering(-reach, reach)
    first = label == label.min()

    one = np.ones(len(label))
    core = (-_CORE * one, _CORE * one)
    height = np.concatenate([_heights(sample) for sample in samples])
    for _ in range(_REFERENCE_ROUNDS):
        u = (spectra.energy - centre[:, None]) / fwhm[:, None]
        scale = height[:, None] * spectra.n_channels * spectra.curvature
        log_reference, reference_modes = _reference_of(
            spectra, u, scale, first, NO_LIMIT, noise, grid
        )
        curvature = group_curvature(grid, log_reference, groups, per_fwhm)
        spectra = replace(spectra, curvature=curvature)
        table = ShapeTable.of_reference(grid, log_reference)
        matched = match(spectra, centre, fwhm, 0 * one, core, table, noise, None)
        centre, fwhm, height = matched.centre, matched.fwhm, np.exp(matched.log_height)
    peaks = RegisteredPeaks(
        spectra,
        label,
        log_intensities(samples),
        matched,
        grid,
        log_reference,
        noise,
        core,
        reference_modes=reference_modes,
    )
    return peaks if peaks.has_vacuum else _limited_reference(peaks, first, given_limit)


def registered_to(table, samples, noise, log_intensity):
    """Register spectra to a shape that is known already.

    Parameters
    ----------
    table : ShapeTable
        Of an ensemble; the shape of the thinnest spectra is the reference.
    samples : sequence of Sample
    noise : NoiseModel
    log_intensity : ndarray of shape (n_spectra,)
        ln N0 as the ensemble counts it.

    Returns
    -------
    RegisteredPeaks
    """
    label, centre, fwhm, per_fwhm, groups = _joined(samples)
    log_reference = table.log_shape[-1]
    curvature = group_curvature(table.grid, log_reference, groups, per_fwhm)
    spectra = _grouped(samples, groups, curvature)
    core = (np.full(len(label), -_CORE), np.full(len(label), _CORE))
    reference = ShapeTable.of_reference(table.grid, log_reference)
    matched = match(spectra, centre, fwhm, np.zeros(len(label)), core, reference, noise, None)
    return RegisteredPeaks(
        spectra, label, log_intensity, matched, table.grid, log_reference, noise, core,
        reference_modes=table.modes[:, -1],
    )  # fmt: skip


def _joined(samples):
    """Labels, centres and widths of all spectra, channels per FWHM, groups of channels."""
    label = np.concatenate([sample.label for sample in samples])
    centre = np.concatenate([sample.parameters.centre for sample in samples])
    fwhm = np.concatenate([sample.parameters.fwhm for sample in samples])
    per_fwhm = np.median(fwhm) / (samples[0].energy[1] - samples[0].energy[0])
    n_energy = max(sample.energy.size for sample in samples)
    return label, centre, fwhm, per_fwhm, make_groups(per_fwhm, n_energy, n_energy)


def _grouped(samples, groups, curvature):
    return join_spectra(
        [
            group_spectra(s.counts, s.energy, s.parameters.channel, groups, curvature)
            for s in samples
        ]
    )


def _heights(sample):
    highest = np.take_along_axis(sample.counts, sample.parameters.channel[:, None], -1)[:, 0]
    return np.maximum(highest, 1e-9)


def log_beam(samples, grid, log_reference):
    """ln N0 of the beam that no specimen has weakened.

    Of the vacuum in view; without, from the total counts, which a specimen hardly changes.

    Parameters
    ----------
    samples : sequence of Sample
        The image's first.
    grid : Grid
    log_reference : ndarray of shape (grid.n,)

    Returns
    -------
    float
    """
    image = samples[0]
    vacuum = image.label == VACUUM
    if vacuum.any():
        return float(np.median(np.log(image.parameters.intensity[vacuum])))
    total = np.median(np.log(np.maximum(image.parameters.total, 1e-300)))
    shape = np.exp(log_reference)
    within = np.abs(grid.u) < 1
    part = trapezoid(shape[within], grid.u[within]) / trapezoid(shape, grid.u)
    return float(total + np.log(part))


def _reference_of(spectra, u, scale, chosen, limit, noise, grid):
    use = spectra.complete & chosen[:, None] & (u < limit)
    # An empty group has the variance of a single electron.
    variance = noise.variance(np.maximum(spectra.sums, noise.gain), spectra.n_channels)
    scale = np.where(use, scale, 0.0)[chosen]
    return fit_reference(u[chosen], spectra.sums[chosen], scale, variance[chosen], grid)


def _limited_reference(peaks, first, given):
    """Without vacuum: a reference from the pure part of the brightest cluster alone.

    Pure is what lies below the energies where thicker clusters leave the brightest one, where
    the brightest leaves the power law on which its flank ends, and where it has flattened.
    Beyond the least of them the reference follows the gain side.
    """
    limits = [
        onset(*mean_ratio(peaks, peaks.label == name), SMALLEST_RISE_WITHOUT_VACUUM)
        for name in peaks.labels[1:]
    ]
    flank = replace(peaks, log_reference=_refit(peaks, first, _FLANK)[0])
    limits.append(onset(*mean_ratio(flank, first), EXTRAPOLATED_RISE))
    limits.append(flattening(peaks.grid.u, peaks.log_reference))
    limit = min(limits) if given is None else given / np.median(peaks.matched.fwhm)
    if not np.isfinite(limit):
        return peaks
    pure, modes = _refit(peaks, first, limit)
    pure = extrapolate_by_gain_side(pure, peaks.grid, limit)
    modes = np.concatenate(
        [hold_beyond(modes, peaks.grid, limit), tail_mode(peaks.grid, limit)[None]]
    )
    return replace(
        peaks,
        log_reference=pure,
        reference_modes=modes,
        extrapolated_from=limit,
        tail_is_known=False,
    )


#: Flank, in FWHM, that tells how the tail would go on without inelastic signal.
_FLANK = 1.8


def _refit(peaks, first, limit):
    return _reference_of(peaks.spectra, peaks.u, peaks.scale, first, limit, peaks.noise, peaks.grid)


def mean_ratio(peaks, chosen, side=1, modes=None, pure=None):
    """Mean ratio of some spectra to the reference on one side of the peak.

    Parameters
    ----------
    peaks : RegisteredPeaks
    chosen : ndarray of bool of shape (n_spectra,)
    side : 1 or -1
        Loss or gain side.
    modes : ndarray of shape (n_modes, n_groups), optional
        Variations of the shape to take off, as far as ``pure`` shows them: tails that are
        higher today look like the onset of a signal.
    pure : tuple of two floats, optional
        Reduced energies between which the spectra are pure zero-loss peak for certain.

    Returns
    -------
    u, mean, error : ndarray of shape (n_seen,)
        Distance from the peak in FWHM, increasing; mean ratio; its standard error, in which the
        spread of the spectra is included.
    """
    ratio, variance, _ = peaks.ratios()
    u = peaks.u[chosen].mean(0)
    complete = peaks.spectra.complete[chosen]
    weight = np.where(complete, 1 / variance[chosen], 0.0)
    ratio = np.where(complete, ratio[chosen], 0.0)
    total = weight.sum(0)
    seen = total > 0
    known = np.where(seen, total, 1.0)
    mean = (weight * ratio).sum(0) / known
    # What spectra differ by, beyond their noise, is uncertainty of the mean too.
    spread = np.sqrt((weight * (ratio - mean) ** 2).sum(0) / known)
    n = np.maximum((weight > 0).sum(0), 1)
    error = np.maximum(known**-0.5, spread / np.sqrt(np.maximum(n - 1, 1)))
    error = np.hypot(error, peaks.reference_error(u))
    if peaks.variation is not None and chosen.sum() < FEW_SPECTRA:
        varied = peaks.grid.interpolate_rows(peaks.variation.T, u)
        error = np.hypot(error, np.sqrt((varied**2).sum(-1) / chosen.sum()))
    if modes is not None and len(modes):
        inside = seen & (u > pure[0]) & (u < pure[1])
        mean = mean - _scores(mean - 1, error, modes, inside) @ modes
    seen &= side * u > 0
    order = np.abs(u[seen]).argsort()
    return np.abs(u[seen])[order], mean[seen][order], error[seen][order]


def _scores(deviation, error, modes, inside):
    """Scores of unit prior variance of the modes in a deviation, fitted where ``inside``."""
    scaled = modes[:, inside] / error[inside]
    normal = scaled @ scaled.T + np.eye(len(modes))
    return np.linalg.solve(normal, scaled @ (deviation[inside] / error[inside]))
