# SPDX-License-Identifier: GPL-3.0-or-later
"""Training spectra as ratios to a reference, once their peaks are registered to it."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.image.samples import FEW_SPECTRA, VACUUM
from hyperspy_zlpml.statistics import Normal, Range, solved
from hyperspy_zlpml.zlp.grid import Grid
from hyperspy_zlpml.zlp.groups import GroupedSpectra
from hyperspy_zlpml.zlp.kernels import WIDTH
from hyperspy_zlpml.zlp.matching import Match, MatchStart, inside_window, match
from hyperspy_zlpml.zlp.regions import NO_LIMIT
from hyperspy_zlpml.zlp.tables import ShapeTable, SpillTables

#: Least standard deviation of ln FWHM from spectrum to spectrum.
_LEAST_WIDTH_SPREAD = 0.005
#: Expected counts, in electrons, that are none.
_NOTHING = 1e-12


class Ratios(NamedTuple):
    """Counts over the matched reference; arrays of shape (n_spectra, n_groups).

    Attributes
    ----------
    ratio : ndarray
        Free of spilled losses.
    variance : ndarray
        Of the ratio, by counting and read-out noise.
    inside : ndarray of bool
        Groups on the axis and within the window of pure ZLP.
    """

    ratio: np.ndarray
    variance: np.ndarray
    inside: np.ndarray


@dataclass(frozen=True)
class RegisteredPeaks(PerSpectrum):
    """Training spectra with their peaks registered to a common reference shape.

    Attributes
    ----------
    spectra : GroupedSpectra
    label : ndarray of int of shape (n_spectra,)
        Cluster, or VACUUM.
    log_intensity : ndarray of shape (n_spectra,)
        ln N0.
    matched : Match
        Height, centre and width against the reference.
    grid : Grid
        Nodes of the reference in reduced energy.
    log_reference : ndarray of shape (grid.n,)
        Logarithm of the reference shape, 0 at u = 0.
    noise : NoiseModel
    window : Range of two ndarrays of shape (n_spectra,)
        Limits of the pure ZLP in reduced energy.
    spill_tables : dict of int to ndarray of shape (grid.n,)
        For each label, counts that losses spill into region I, relative to the ZLP.
    reference_modes : ndarray of shape (n_modes, grid.n)
        Deviations of one standard error by which the reference is uncertain.
    noise_share : ndarray of shape (grid.n,) or float
        Part of these that noise makes; the rest is fine structure that the reference does not follow.
    extrapolated_from : float
        Reduced energy beyond which no spectrum shows the pure tail.
    gain_extrapolated_from : float
        Distance from the peak in reduced energy beyond which none shows it on the gain side.
    tail_is_known : bool
        Whether the reference holds beyond that energy nevertheless.
    tail_structure : ndarray of shape (grid.n,) or float
        Relative deviation of the tail from the reference there, that a smooth curve does not follow.
    tail_roughness : ndarray of shape (grid.n,) or float
        Standard deviation of the logarithm of the tail about both, by structure that
        neighbouring channels do not share.
    variation : ndarray of shape (n_modes, grid.n), optional
        How single spectra are known to differ from the reference, in modes of unit variance; where
        the spectra at hand are too few to tell.
    """

    shared = (
        "grid",
        "log_reference",
        "noise",
        "spill_tables",
        "reference_modes",
        "noise_share",
        "extrapolated_from",
        "gain_extrapolated_from",
        "tail_is_known",
        "tail_structure",
        "tail_roughness",
        "variation",
    )

    spectra: GroupedSpectra
    label: np.ndarray
    log_intensity: np.ndarray
    matched: Match
    grid: Grid
    log_reference: np.ndarray
    noise: NoiseModel
    window: Range
    spill_tables: dict[int, np.ndarray] = field(default_factory=dict)
    reference_modes: np.ndarray | None = None
    noise_share: np.ndarray | float = 1.0
    extrapolated_from: float = NO_LIMIT
    gain_extrapolated_from: float = NO_LIMIT
    tail_is_known: bool = True
    tail_structure: np.ndarray | float = 0.0
    tail_roughness: np.ndarray | float = 0.0
    variation: np.ndarray | None = None

    @property
    def table(self):
        """Reference as a table of one shape without spread."""
        return ShapeTable.of_reference(self.grid, self.log_reference)

    @cached_property
    def u(self):
        """Reduced energies of all groups, shape (n_spectra, n_groups)."""
        return (self.spectra.energy - self.matched.centre[:, None]) / self.matched.fwhm[:, None]

    @cached_property
    def scale(self):
        """Counts of each group for a shape of 1, shape (n_spectra, n_groups)."""
        return np.exp(self.matched.log_height)[:, None] * self.spectra.scale(self.matched.fwhm)

    @cached_property
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
        """Spill tables in the order of increasing ln N0."""
        medians = {name: np.median(self.log_intensity[self.label == name]) for name in self.labels}
        order = sorted(medians, key=medians.get)
        none = np.zeros(self.grid.n)
        tables = np.stack([self.spill_tables.get(int(name), none) for name in order])
        return SpillTables(np.array([medians[name] for name in order]), tables)

    @property
    def u_range(self):
        """Reduced energies that some spectra show."""
        seen = self.u[self.spectra.complete]
        return Range(float(seen.min()), float(seen.max()))

    @property
    def labels(self):
        """Labels in use, vacuum first."""
        return np.unique(self.label)

    @property
    def log_intensity_range(self):
        """Median ln N0 of the thickest and the thinnest set of spectra."""
        medians = [np.median(self.log_intensity[self.label == name]) for name in self.labels]
        return Range(float(min(medians)), float(max(medians)))

    @property
    def log_fwhm(self):
        """Mean and true standard deviation of ln FWHM over the spectra."""
        logarithm = np.log(self.matched.fwhm)
        noise = np.median(self.matched.covariance[:, WIDTH, WIDTH])
        spread = np.sqrt(max(logarithm.var() - noise, _LEAST_WIDTH_SPREAD**2))
        return Normal(float(logarithm.mean()), float(spread))

    def without_spill(self):
        """Take the spilled losses for unknown: they stay in the ratios.

        Returns
        -------
        RegisteredPeaks
        """
        return replace(self, spill_tables={})

    def without_misfit(self):
        """Take fine structure for known: the reference is then uncertain by noise alone.

        What is not known of the structure is an error of its own.

        Returns
        -------
        RegisteredPeaks
        """
        if self.reference_modes is None:
            return self
        return replace(
            self, reference_modes=self.noise_share * self.reference_modes, noise_share=1.0
        )

    @cached_property
    def ratios(self):
        """Counts divided by the matched reference, a :class:`Ratios`."""
        seen = self.ratios_with_spill
        return seen._replace(ratio=seen.ratio - self.spill) if self.spill_tables else seen

    @cached_property
    def ratios_with_spill(self):
        """Ratios with the spilled losses in them, as if these were not known.

        The variance comes from the mean counts of a cluster: a spectrum's own would give low
        fluctuations more weight than high ones.
        """
        shape = np.exp(self.grid.interpolate(self.table.log_shape[0], self.u))
        expected = np.maximum(self.scale * shape, _NOTHING * self.noise.unit)
        typical = np.ones_like(expected)
        for name in self.labels:
            rows = self.label == name
            typical[rows] = np.clip(self.spectra.sums[rows].sum(0) / expected[rows].sum(0), 1, None)
        variance = self.noise.variance(expected * typical, self.spectra.n_channels) / expected**2
        inside = self.spectra.complete & inside_window(self.u, self.window)
        return Ratios(self.spectra.sums / expected, variance + 1e-12, inside)

    def reference_error(self, u):
        """Compute the standard error of the logarithm of the reference.

        Parameters
        ----------
        u : ndarray of shape (n,)
            Reduced energies.

        Returns
        -------
        ndarray of shape (n,)
        """
        if self.reference_modes is None:
            return np.zeros(u.shape)
        return np.sqrt((self.grid.interpolate_rows(self.reference_modes.T, u) ** 2).sum(-1))

    def within(self, regions):
        """Match the spectra in the windows of the regions.

        Parameters
        ----------
        regions : Regions

        Returns
        -------
        RegisteredPeaks
        """
        window = window_of(regions, self.label, self.matched.fwhm)
        start = MatchStart(
            centre=self.matched.centre,
            fwhm=self.matched.fwhm,
            log_intensity=np.zeros(len(self.label)),
            window=window,
        )
        matched = match(self.spectra, start, self.table, self.noise, width_prior=None)
        return replace(self, matched=matched, window=window)


def window_of(regions, label, fwhm):
    """Look up the limits of the pure ZLP of every spectrum in reduced energy.

    Parameters
    ----------
    regions : Regions
    label : ndarray of int of shape (n_spectra,)
        Cluster, or VACUUM.
    fwhm : ndarray of shape (n_spectra,)
        Width, eV.

    Returns
    -------
    Range of two ndarrays of shape (n_spectra,)

    Examples
    --------
    Vacuum is pure everywhere; the loss side of a cluster ends at its ``E_I``, in FWHM:

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.samples import VACUUM
    >>> from hyperspy_zlpml.registration.registered_peaks import window_of
    >>> from hyperspy_zlpml.zlp.regions import Regions
    >>> regions = Regions(gain_limit=np.array([-2.0]), E_I=np.array([1.5]), E_II=np.array([9.0]))
    >>> low, high = window_of(regions, label=np.array([VACUUM, 0]), fwhm=np.array([0.5, 0.5]))
    >>> low, high
    (array([-inf,  -4.]), array([inf,  3.]))
    """
    known = np.clip(label, 0, None)
    low = np.where(label == VACUUM, -NO_LIMIT, regions.gain_limit[known])
    high = np.where(label == VACUUM, NO_LIMIT, regions.E_I[known])
    return Range(low / fwhm, high / fwhm)


def mean_ratio(peaks, chosen, side=1, modes=None, pure=None):
    """Average the ratio of some spectra to the reference on one side of the peak.

    Parameters
    ----------
    peaks : RegisteredPeaks
    chosen : ndarray of bool of shape (n_spectra,)
    side : 1 or -1
        Loss or gain side.
    modes : ndarray of shape (n_modes, n_groups), optional
        Variations of the shape to take off, as far as ``pure`` shows them: tails that are
        higher today look like the onset of a signal.
    pure : Range, optional
        Reduced energies between which the spectra are pure zero-loss peak for certain.

    Returns
    -------
    u, mean, error : ndarray of shape (n_seen,)
        Distance from the peak in FWHM, increasing; mean ratio; its standard error, in which the
        spread of the spectra is included.
    """
    ratios = peaks.ratios
    u = peaks.u[chosen].mean(0)
    complete = peaks.spectra.complete[chosen]
    weight = np.where(complete, 1 / ratios.variance[chosen], 0.0)
    ratio = np.where(complete, ratios.ratio[chosen], 0.0)
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
        inside = seen & (u > pure.low) & (u < pure.high)
        mean = mean - scores_of(mean - 1, error, modes, inside) @ modes
    seen &= side * u > 0
    order = np.abs(u[seen]).argsort()
    return np.abs(u[seen])[order], mean[seen][order], error[seen][order]


def scores_of(deviation, error, modes, inside):
    """Fit the scores, of unit prior variance, of the modes in a deviation where ``inside``."""
    scaled = modes[:, inside] / error[inside]
    normal = scaled @ scaled.T + np.eye(len(modes))
    return solved(normal, scaled @ (deviation[inside] / error[inside]))
