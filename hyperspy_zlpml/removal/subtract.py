# SPDX-License-Identifier: GPL-3.0-or-later
"""Subtract the zero-loss peak from spectra: what runs on every block of an image.

A :class:`Subtraction` holds nothing but arrays and numbers, so it travels to any dask worker. It
matches spectra (:meth:`Subtraction.posterior`), and evaluates what is asked for of the ZLP that was
matched (:meth:`Subtraction.evaluate`). The cost per spectrum does not depend on the number of
replicas: they enter by their tables.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from hyperspy_zlpml.compute.compiled import laid_out
from hyperspy_zlpml.compute.workers import warn_wherever
from hyperspy_zlpml.image.channels import find_spikes, without_spikes
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.removal.draws import draw
from hyperspy_zlpml.removal.evaluation import RESULTS, at_groups, evaluate
from hyperspy_zlpml.removal.geometry import align
from hyperspy_zlpml.removal.integrals import integrate
from hyperspy_zlpml.removal.pedestal_error import PedestalError
from hyperspy_zlpml.removal.posterior import Posterior, check_unchanged, weighted_sums
from hyperspy_zlpml.statistics import Normal
from hyperspy_zlpml.zlp import kernels
from hyperspy_zlpml.zlp.expansion import Expansion
from hyperspy_zlpml.zlp.grid import SHARED_OVER, group_widths, to_grid
from hyperspy_zlpml.zlp.groups import (
    ChannelGroups,
    Curvature,
    GroupedSpectra,
    group_curvature,
    make_groups,
)
from hyperspy_zlpml.zlp.matching import KnownPeaks, laid_out_groups, match
from hyperspy_zlpml.zlp.tables import ShapeTable

#: Spectra worked on at once: what they need stays in the cache.
_SPECTRA_AT_ONCE = 256
#: Tables reach this much further than the axis in units of the mean FWHM: to peaks narrower than all of which
#: widths are usable (:data:`~hyperspy_zlpml.image.odd_peaks.FAR_WIDTH`). They are logarithmic: it is 110 nodes a side.
_WIDER = 3.0
#: Eigenvalues of a correlation below this, over the largest, are nothing.
_NEGLECTED = 1e-9
#: Matches with a larger chi2 per degree of freedom are tried once more without spikes.
_POOR = 10.0
#: A ZLP off its counts by this many standard deviations of all that is uncertain is no result.
_OFF = 20.0
#: ... and by this part of its height: tails that are wrong by less are wrong by their error.
_VISIBLE = 0.01
#: A ZLP higher than this many times the highest counts, or lower than one over it, is no result.
_HIGHEST = 1.5
#: Nor is one whose height is uncertain by this (standard deviation of its logarithm).
_UNKNOWN = 1.0
#: Spectra that are named, of those that are NaN.
_NAMED = 3
#: Said of them where they are found while results are computed.
_NOT_KNOWN_BEFORE = (
    "In a lazy image that is not known before results are computed, and the report does not count them; "
    "that of the result that was saved and loaded does."
)


@dataclass(frozen=True)
class Subtraction:
    """Arrays and numbers that subtracting the ZLP from a block of spectra needs.

    Attributes
    ----------
    energy : ndarray of shape (n_energy,)
        Uniform, eV.
    table : ShapeTable
    groups : ChannelGroups
        Groups of channels on which spectra are matched, in channels from their peaks.
    curvature : Curvature
        Of the shape within each group, see :func:`hyperspy_zlpml.zlp.groups.group_curvature`.
    linear : Expansion
        Interpolation from the middle of the groups to channels.
    noise : NoiseModel
    dark_level : ndarray of shape (n_energy,) or (1,)
        Counts of channels that no electron reaches, taken off before anything else.
    log_fwhm : Normal
        Mean and standard deviation of ln FWHM.
    correlation : ndarray of shape (n_groups, n_groups)
        Of the errors that no mode holds, between groups.
    distance : float
        How far the data lie outside what the ensemble has seen, see
        :mod:`hyperspy_zlpml.removal.applicability`.
    pedestal_error : PedestalError
    """

    energy: np.ndarray
    table: ShapeTable
    groups: ChannelGroups
    curvature: Curvature
    linear: Expansion
    noise: NoiseModel
    dark_level: np.ndarray
    log_fwhm: Normal
    correlation: np.ndarray
    distance: float = 0.0
    pedestal_error: PedestalError = field(default_factory=PedestalError)

    @classmethod
    def prepare(
        cls, table, log_fwhm, energy, detector, channels, distance=0.0, pedestal_error=None
    ):
        """Prepare tables and groups of channels for one energy axis.

        Parameters
        ----------
        table : ShapeTable
        log_fwhm : Normal
            Mean and standard deviation of ln FWHM.
        energy : ndarray of shape (n_energy,)
            Uniform, eV.
        detector : Detector
        channels : Range
            First and last channel that holds a peak.
        distance : float
            How far the data lie outside what the ensemble has seen.
        pedestal_error : PedestalError, optional
            Default: none.

        Returns
        -------
        Subtraction
        """
        step = energy[1] - energy[0]
        per_fwhm = np.exp(log_fwhm.mean) / step
        covered = np.array([channels.high, energy.size - channels.low])
        # Beyond the middles of the outermost groups the peak is level: those lie beyond the axis.
        covered += group_widths(covered / per_fwhm, per_fwhm).astype(int)
        groups = make_groups(per_fwhm, *covered)
        table = table.reaching(*(groups.edges[[0, -1]] / per_fwhm * _WIDER)).in_groups(per_fwhm)
        return cls.of_groups(
            energy=energy,
            table=table,
            groups=groups,
            noise=detector.noise,
            dark_level=detector.dark_level,
            log_fwhm=log_fwhm,
            distance=distance,
            pedestal_error=pedestal_error or PedestalError(),
        )

    @classmethod
    def of_groups(cls, *, energy, table, groups, log_fwhm, **values):
        """Prepare what follows from the groups of channels.

        Parameters
        ----------
        energy : ndarray of shape (n_energy,)
            Uniform, eV.
        table : ShapeTable
        groups : ChannelGroups
        log_fwhm : Normal
            Mean and standard deviation of ln FWHM.
        **values
            Other attributes of this class.

        Returns
        -------
        Subtraction
        """
        step = energy[1] - energy[0]
        per_fwhm = np.exp(log_fwhm.mean) / step
        return cls(
            energy=energy,
            table=table,
            groups=groups,
            log_fwhm=log_fwhm,
            curvature=group_curvature(
                grid=table.grid,
                log_shape=table.log_shape[-1],
                groups=groups,
                channels_per_fwhm=per_fwhm,
                step=step,
            ),
            linear=Expansion.linear(groups),
            correlation=_correlation(to_grid(groups.middle / per_fwhm)),
            **values,
        )

    @property
    def dtype(self):
        """Type of the numbers that it works with."""
        return self.table.dtype

    @property
    def n_energy(self):
        """Channels of the axis."""
        return self.energy.size

    @property
    def step(self):
        """Dispersion, eV per channel."""
        return self.energy[1] - self.energy[0]

    def posterior(self, counts, peaks):
        """Match the ensemble to spectra, and take a look at what comes out.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
            As measured.
        peaks : KnownPeaks

        Returns
        -------
        Posterior
            NaN for spectra without a usable peak; those whose matched peak is not where their
            counts are, are not credible.
        """
        return Posterior.unpack(self._packed(counts, peaks), self.table.n_modes)

    def _packed(self, counts, peaks):
        """Match spectra, and write what is found as :meth:`.Posterior.pack` does."""
        found = np.full((len(counts), Posterior.n_numbers(self.table.n_modes)), np.nan)
        found[:, : len(peaks._of_spectra())] = peaks.stack()
        usable = np.flatnonzero(peaks.usable)
        for start in range(0, usable.size, _SPECTRA_AT_ONCE):
            rows = _as_slice(usable[start : start + _SPECTRA_AT_ONCE])
            found[rows] = self._posterior(counts[rows], peaks.select(rows)).pack()
        return found

    def _posterior(self, counts, peaks):
        """Match spectra, all usable."""
        self._check_channels(counts)
        spectra = self._grouped(counts, peaks)
        matched, spectra = self._match(counts, spectra, peaks)
        at = at_groups(self, matched, peaks)
        credible = self._is_credible(spectra, matched, at)
        # A spike that the match saw through is no reason to doubt it.
        doubted = np.flatnonzero(~credible)
        spectra, mended = self._mended(counts, spectra, peaks, rows=doubted)
        if mended.size:
            credible = self._is_credible(spectra, matched, at)
        return Posterior(
            peaks=peaks,
            matched=matched,
            highest=self._highest(spectra),
            is_credible=credible,
            weighted_sum=weighted_sums(counts),
        )

    def evaluate(self, names, posterior, counts=None, measured_variance=None, out=None):
        """Evaluate results of spectra that were matched.

        Parameters
        ----------
        names : sequence of str
            Of ``RESULTS``.
        posterior : Posterior
        counts : ndarray of shape (n_spectra, n_energy), optional
            As measured; without them there are the ZLP and its standard deviation.
        measured_variance : ndarray, optional
            Variance of the counts where the signal carries its own; broadcasts with ``counts``.
        out : sequence of ndarrays of shape (n_spectra, n_energy), optional
            Written to, one for each name.

        Returns
        -------
        sequence of ndarrays of shape (n_spectra, n_energy)
            NaN for spectra without a ZLP.

        Raises
        ------
        ValueError
            If the counts are not those that were matched.
        """
        shape = (len(posterior.highest), self.n_energy)
        if out is None:
            dtype = results_type(np.float64 if counts is None else counts.dtype)
            out = [np.empty(shape, dtype) for _ in names]
        usable = posterior.usable
        for result in out:
            result[~usable] = np.nan
        if measured_variance is not None:
            measured_variance = laid_out(np.broadcast_to(measured_variance, shape), float)
        if counts is not None:
            self._check_channels(counts)
            counts = laid_out(counts, out[0].dtype)
        results = dict(zip(names, out, strict=True))
        rows = np.flatnonzero(usable)
        for first in range(0, rows.size, _SPECTRA_AT_ONCE):
            some = rows[first : first + _SPECTRA_AT_ONCE]
            own = posterior.select(_as_slice(some))
            if counts is not None:
                check_unchanged(counts, own, rows=some)
            evaluate(
                self,
                results,
                own,
                rows=some,
                counts=counts,
                measured_variance=measured_variance,
            )
        return out

    def _check_channels(self, counts):
        """Raise ValueError unless counts are those of the recorded channels."""
        if np.shape(counts)[-1:] != (self.n_energy,):
            raise ValueError(
                f"counts: expected {self.n_energy} channels, those that were recorded, "
                f"got an array of shape {np.shape(counts)}."
            )

    def apply(self, counts, peaks, measured_variance=None):
        """Match spectra and subtract the ZLP from them.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        peaks : KnownPeaks
        measured_variance : ndarray, optional
            Variance of the counts where the signal carries its own; broadcasts with ``counts``.

        Returns
        -------
        ndarray of shape (6, n_spectra, n_energy)
            In the order of ``RESULTS``; NaN for spectra without a usable peak. Double precision
            for double precision counts, else single.
        """
        posterior = self.posterior(counts, peaks)
        return np.stack(self.evaluate(RESULTS, posterior, counts, measured_variance))

    def match_rows(self, counts, peaks):
        """Match spectra in double precision.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        peaks : KnownPeaks
            All usable.

        Returns
        -------
        Match
        """
        self._check_channels(counts)
        counts = counts.astype(float, copy=False)
        return self._match(counts, self._grouped(counts, peaks), peaks)[0]

    def at_groups(self, matched, peaks):
        """Evaluate ln(ZLP per channel) in the middle of every group, its spread and its band.

        Parameters
        ----------
        matched : Match
        peaks : KnownPeaks
            All usable.

        Returns
        -------
        AtGroups
        """
        return at_groups(self, matched, peaks)

    def integrate(self, counts, peaks, limits):
        """Match spectra, and integrate what is left of them between two energies.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        peaks : KnownPeaks
            All usable.
        limits : Range
            Energies from the peak, eV; numbers, or one for each spectrum.

        Returns
        -------
        Integrals
        """
        counts = counts.astype(float, copy=False)
        return integrate(self, self._posterior(counts, peaks), counts, limits)

    def match_packed(self, counts, peaks, out):
        """Match spectra of a block, for :func:`~hyperspy_zlpml.compute.mapping.map_spectra`.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        peaks : ndarray of shape (n_spectra, 6)
            Of :meth:`.PerSpectrum.stack`.
        out : list of one ndarray of shape (n_spectra, n_numbers)
            Written to, see :meth:`.Posterior.pack`.
        """
        out[0][:] = self._packed(counts, KnownPeaks.unstack(peaks))

    def match_unread_packed(self, counts, peaks, numbers, *, shape, out):
        """Match spectra of a block, and tell of those whose peak nobody has missed before.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        peaks : ndarray of shape (n_spectra, 6)
            Of :meth:`.PerSpectrum.stack`.
        numbers : ndarray of shape (n_spectra, 1)
            Of the spectra in their image.
        shape : tuple of int
            Navigation shape of the image.
        out : list of one ndarray of shape (n_spectra, n_numbers)
            Written to, see :meth:`.Posterior.pack`.

        Warns
        -----
        UserWarning
            Of spectra that should have a ZLP and are NaN.
        """
        self.match_packed(counts, peaks, out)
        lost = Posterior.lost(out[0])
        if lost.any():
            warn_wherever(f"{describe_lost(numbers[lost, 0], shape)} {_NOT_KNOWN_BEFORE}")

    def evaluate_packed(self, counts, packed, measured_variance=None, *, names, out):
        """Evaluate results of a block, for :func:`~hyperspy_zlpml.compute.mapping.map_spectra`.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        packed : ndarray of shape (n_spectra, n_numbers)
            Of :meth:`.Posterior.pack`.
        measured_variance : ndarray, or float, optional
        names : sequence of str
        out : list of ndarray of shape (n_spectra, n_energy)
            Written to, one for each name.
        """
        posterior = Posterior.unpack(packed, self.table.n_modes)
        self.evaluate(names, posterior, counts, measured_variance=measured_variance, out=out)

    def model_packed(self, packed, *, names, out):
        """Evaluate results of a block that need no counts: the ZLP and its standard deviation.

        Parameters
        ----------
        packed : ndarray of shape (n_spectra, n_numbers)
            Of :meth:`.Posterior.pack`.
        names : sequence of str
        out : list of ndarray of shape (n_spectra, n_energy)
            Written to, one for each name.
        """
        self.evaluate(names, Posterior.unpack(packed, self.table.n_modes), out=out)

    def draw_packed(self, packed, numbers, *, seed, out):
        """Draw zero-loss peaks of a block.

        Parameters
        ----------
        packed : ndarray of shape (n_spectra, n_numbers)
            Of :meth:`.Posterior.pack`.
        numbers : ndarray of shape (n_spectra, 1)
            Of the spectra in their image: draws do not depend on the blocks.
        seed : int
        out : list of ndarray of shape (n_spectra, n_energy)
            Written to, one for each draw.
        """
        posterior = Posterior.unpack(packed, self.table.n_modes)
        rows = np.flatnonzero(posterior.usable)
        for result in out:
            result[:] = np.nan
        model = self.of_type(out[0].dtype)
        for first in range(0, rows.size, _SPECTRA_AT_ONCE):
            some = rows[first : first + _SPECTRA_AT_ONCE]
            rngs = [np.random.default_rng([seed, int(number)]) for number in numbers[some, 0]]
            draws = draw(model, posterior.select(some), rngs, common=np.random.default_rng(seed))
            for result, values in zip(out, draws, strict=False):
                result[some] = values

    def integrate_packed(self, counts, packed, *, window, out):
        """Integrate what is left of the spectra of a block.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        packed : ndarray of shape (n_spectra, n_numbers)
            Of :meth:`.Posterior.pack`.
        window : Range
            Energies from the peak, eV.
        out : list of one ndarray of shape (n_spectra, 4)
            Written to, see :class:`.Integrals`; NaN where the axis does not hold the window.
        """
        posterior = Posterior.unpack(packed, self.table.n_modes)
        centre = posterior.peaks.centre
        with np.errstate(invalid="ignore"):
            rows = self.energy[0] <= centre + window.low
            rows &= (centre + window.high <= self.energy[-1]) & posterior.usable
        out[0][:] = np.nan
        rows = np.flatnonzero(rows)
        for first in range(0, rows.size, _SPECTRA_AT_ONCE):
            some = rows[first : first + _SPECTRA_AT_ONCE]
            own = posterior.select(some)
            check_unchanged(counts, own, rows=some)
            out[0][some] = integrate(self, own, counts[some].astype(float), window).stack()

    def of_type(self, dtype):
        """Convert to single precision where the results are.

        Parameters
        ----------
        dtype : dtype

        Returns
        -------
        Subtraction
        """
        if dtype == np.float64:
            return self
        return replace(self, table=self.table.single, linear=self.linear.astype(dtype))

    def aligned(self, counts, peaks, dtype):
        """Write spectra side by side in channels from their peaks, zero where the axis has none.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        peaks : KnownPeaks
        dtype : dtype

        Returns
        -------
        ndarray of shape (n_spectra, n_relative)
        """
        return align(counts, self.start(peaks), self.linear.n_channels, dtype)

    def start(self, peaks):
        """Find where the first channel of the axis lies in the span of the groups.

        Parameters
        ----------
        peaks : KnownPeaks

        Returns
        -------
        ndarray of int of shape (n_spectra,)
        """
        return -self.groups.edges[0] - peaks.channel.astype(int)

    def middle(self, peaks):
        """Compute the energy of the middle of every group.

        Parameters
        ----------
        peaks : KnownPeaks

        Returns
        -------
        ndarray of shape (n_spectra, n_groups)
        """
        channel = peaks.channel.astype(int)
        return self.energy[0] + self.step * (channel[:, None] + self.groups.middle)

    def sensitivity(self, peaks, dtype):
        """Write the sensitivity of the channels beside aligned spectra.

        Parameters
        ----------
        peaks : KnownPeaks
        dtype : dtype

        Returns
        -------
        ndarray of shape (n_spectra, n_relative), or None where all are equal
        """
        pattern = self.table.residual.pattern
        if pattern.size != self.n_energy or not pattern.any():
            return None
        spectra = np.broadcast_to(pattern, (len(peaks.channel), pattern.size))
        sensitivity = self.aligned(spectra, peaks, dtype)
        sensitivity += 1
        return sensitivity

    def free_of_dark_level(self, counts):
        """Take the dark level off, where there is one.

        Parameters
        ----------
        counts : ndarray

        Returns
        -------
        ndarray
            The counts themselves where there is none.
        """
        return counts - self.dark_level if self.dark_level.any() else counts

    @cached_property
    def shared_root(self):
        """Independent ways in which groups err together, the largest first, (n_groups, n).

        Times its transpose it is the correlation.
        """
        values, vectors = np.linalg.eigh(self.correlation)
        kept = values > _NEGLECTED * values.max()
        return (vectors[:, kept] * np.sqrt(values[kept]))[:, ::-1]

    @cached_property
    def shared(self):
        """Numbers that all spectra share, as the compiled functions take them."""
        residual, none = self.table.residual, np.zeros(0)

        def of_channels(values):
            return laid_out(values if values.size == self.n_energy else none, float)

        return kernels.Shared(
            axis=kernels.Axis(
                start=float(self.energy[0]),
                step=float(self.step),
                middle=laid_out(self.groups.middle, float),
            ),
            spline=kernels.Spline.through(self.groups.middle),
            curve=laid_out(residual.curve, float) if residual.has_curve else none,
            curve_start=float(residual.start),
            curve_step=float(residual.step),
            pattern=of_channels(residual.pattern),
            pattern_error=of_channels(residual.pattern_error),
            dark_level=laid_out(np.broadcast_to(self.dark_level, self.n_energy), float),
            gain=float(self.noise.gain * self.noise.seen_by_sums(1)),
            least=float(self.noise.gain),
            readout=float(self.noise.readout),
            unit=float(self.noise.unit),
        )

    def _grouped(self, counts, peaks):
        """Collect spectra in groups of channels about their peaks."""
        sums, complete = self.groups.collect(
            laid_out(counts, results_type(counts.dtype)),
            peaks.channel,
            dark_level=self.shared.dark_level,
            pattern=self.shared.pattern,
        )
        return GroupedSpectra(
            sums=sums,
            n_channels=self.groups.n_channels,
            curvature=self.curvature,
            energy=self.middle(peaks),
            complete=complete,
        )

    def _flat(self, counts, peaks):
        """Align spectra, free of the dark level and of the pattern of the detector."""
        data = self.aligned(self.free_of_dark_level(counts), peaks, float)
        sensitivity = self.sensitivity(peaks, data.dtype)
        return data if sensitivity is None else data / sensitivity

    def _match(self, counts, spectra, peaks):
        """Fit the peaks of spectra; see :func:`hyperspy_zlpml.zlp.matching.match`.

        Those that fit poorly may hold a spike: they are fitted once more without.

        Returns
        -------
        matched : Match
        spectra : GroupedSpectra
            As they were fitted.
        """
        matched = self._match_groups(spectra, peaks)
        poor = np.flatnonzero(~(matched.reduced_chi2 < _POOR))
        spectra, mended = self._mended(counts, spectra, peaks, rows=poor)
        if mended.size:
            clean = spectra.select(mended), peaks.select(mended)
            matched = matched.with_rows(mended, self._match_groups(*clean))
        return matched, spectra

    def _mended(self, counts, spectra, peaks, rows):
        """Bridge the spikes of some of the spectra.

        Returns
        -------
        spectra : GroupedSpectra
            All of them.
        mended : ndarray of int
            Those that held spikes.
        """
        if not rows.size:
            return spectra, rows
        data = self._flat(counts[rows], peaks.select(rows))
        width = np.exp(self.log_fwhm.mean) / self.step
        spikes = find_spikes(data, width=width, noise=self.noise)
        spiked = spikes.any(-1)
        mended = rows[spiked]
        if not mended.size:
            return spectra, mended
        data = without_spikes(data[spiked], spikes[spiked])
        sums = spectra.sums.copy()
        channel = peaks.channel[mended].astype(int)
        sums[mended], _ = self.groups.collect_aligned(data, channel, self.n_energy)
        return replace(spectra, sums=sums), mended

    def _match_groups(self, spectra, peaks):
        """Fit the peaks of grouped spectra."""
        return match(spectra, peaks.start, self.table, noise=self.noise, width_prior=self.log_fwhm)

    def _is_credible(self, spectra, matched, at):
        """Tell which peaks are where their counts are; few must be looked at closely."""
        credible = np.isfinite(matched.log_height)
        rows = np.flatnonzero(self._doubted(spectra, matched, at))
        if rows.size:
            own = type(at)(*(values[rows] for values in at))
            credible[rows] = self._looked_at_closely(
                spectra.select(rows), matched.select(rows), own
            )
        return credible

    def _doubted(self, spectra, matched, at):
        """Tell which peaks may not be where their counts are."""
        doubted, core = np.empty(len(matched.fwhm), bool), self._core
        kernels.doubt_peaks(
            groups=laid_out_groups(spectra, self.noise),
            fwhm=laid_out(matched.fwhm, float),
            peaks=kernels.Peaks(*at),
            doubt=kernels.Doubt(
                visible=_VISIBLE,
                highest=_HIGHEST,
                unknown=_UNKNOWN,
                first=int(core[0]) if core.size else 0,
                last=int(core[-1]) + 1 if core.size else 0,
                middle=int(np.abs(self.groups.middle).argmin()),
            ),
            room=kernels.Room.of(self.groups.size, n_tables=1, n_modes=0),
            doubted=doubted,
        )
        return doubted

    @property
    def _core(self):
        """Groups within the width of the peak."""
        width = np.exp(self.log_fwhm.mean) / self.step
        return np.flatnonzero(np.abs(self.groups.middle) < width / 2)

    def _looked_at_closely(self, spectra, matched, at):
        """Tell which peaks are where their counts are; NaN or far off them is no result."""
        with np.errstate(over="ignore", invalid="ignore"):
            zlp = np.exp(at.log_zlp) * spectra.scale(matched.fwhm)
            far_off = self._far_above(spectra, zlp, at.sigma)
            far_off |= self._far_below(spectra, zlp, at.sigma)
            far_off |= self._unknown(spectra, zlp, at.sigma)
            # No finite number where one of them is none.
            finite = np.isfinite(at.log_zlp.sum(-1) + at.sigma.sum(-1) + matched.log_height)
        far_off |= at.sigma[:, np.abs(self.groups.middle).argmin()] > _UNKNOWN
        return finite & ~far_off

    def _unknown(self, spectra, zlp, sigma):
        """Tell which peaks are uncertain by more counts on the axis than there are anywhere."""
        uncertain = np.where(sigma > _UNKNOWN, np.sinh(sigma) * zlp / self.groups.n_channels, 0.0)
        uncertain[~self._on_axis(spectra.energy)] = 0.0
        return uncertain.max(-1) > _HIGHEST * self._highest(spectra)

    def _far_above(self, spectra, zlp, sigma):
        """Tell which peaks are above counts that are known, or higher than any."""
        n_channels, highest = self.groups.n_channels, self._highest(spectra)
        visible = np.maximum(_VISIBLE * highest, 0.0)[:, None] * n_channels
        above = spectra.complete & (zlp > np.maximum(2 * spectra.sums, visible))
        # Few are above at all: by how much of their error is asked of these alone.
        rows = np.flatnonzero(_three_together(above))
        known = self._known(zlp[rows], sigma[rows], n_channels)
        above[rows] &= zlp[rows] - spectra.sums[rows] > _OFF * np.sqrt(known)
        far_above = np.zeros(len(zlp), bool)
        far_above[rows] = _three_together(above[rows])
        # Of those that are higher than any it is asked whether they are so on the axis.
        per_channel = zlp / n_channels
        rows = np.flatnonzero(per_channel.max(-1) > _HIGHEST * highest)
        on_axis = self._on_axis(spectra.energy[rows])
        far_above[rows] |= np.where(on_axis, per_channel[rows], 0.0).max(-1) > (
            _HIGHEST * highest[rows]
        )
        return far_above

    def _far_below(self, spectra, zlp, sigma):
        """Tell which peaks are lower than the counts of their core."""
        core = self._core
        zlp, complete = zlp[:, core], spectra.complete[:, core]
        known = self._known(zlp, sigma[:, core], self.groups.n_channels[core])
        counts, expected, variance = (
            np.where(complete, values, 0.0).sum(-1)
            for values in (spectra.sums[:, core], zlp, known)
        )
        return (_HIGHEST * expected < counts) & (counts - expected > _OFF * np.sqrt(variance))

    def _known(self, zlp, sigma, n_channels):
        """Compute the variance of counts of groups about peaks that are uncertain themselves."""
        return self.noise.variance(zlp, n_channels) + (np.sinh(sigma) * zlp) ** 2

    def _highest(self, spectra):
        """Find the highest counts per channel of grouped spectra."""
        per_channel = np.where(spectra.complete, spectra.sums, 0.0) / self.groups.n_channels
        return per_channel.max(-1)

    def _on_axis(self, middle):
        """Tell which groups have a channel on the axis of their spectrum, by the energies of their middles."""
        half = (self.groups.n_channels + 1) / 2 * self.step
        return (middle + half > self.energy[0]) & (middle - half < self.energy[-1])


def _as_slice(rows):
    """Say increasing rows as a slice where they are neighbours, as most are: nothing of theirs is copied."""
    return slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] < rows.size else rows


def _three_together(groups):
    """Tell in which spectra three neighbouring groups are true: a hole is one of them, or two."""
    return (groups[:, :-2] & groups[:, 1:-1] & groups[:, 2:]).any(-1)


def describe_lost(numbers, shape):
    """Say which spectra became NaN when they were matched.

    Parameters
    ----------
    numbers : ndarray of int of shape (n,)
        Of the spectra, in flattened navigation order.
    shape : tuple of int
        Navigation shape of the image.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.subtract import describe_lost
    >>> describe_lost(np.array([13, 70]), (8, 16))[:60]
    '2 spectra are NaN in every result: data[0, 13], data[4, 6]. '
    >>> describe_lost(np.arange(9), (9,))[:70]
    '9 spectra are NaN in every result: data[0], data[1], data[2] and other'
    >>> describe_lost(np.array([0]), ())[:42]
    '1 spectrum is NaN in every result: data. N'
    """
    places = np.transpose(np.unravel_index(np.asarray(numbers, int), shape or (1,)))
    named = ", ".join(f"data{place.tolist() if shape else ''}" for place in places[:_NAMED])
    more = " and others" if len(places) > _NAMED else ""
    spectra = "1 spectrum is" if len(places) == 1 else f"{len(places)} spectra are"
    return (
        f"{spectra} NaN in every result: {named}{more}. No zero-loss peak could be matched to what "
        "is there."
    )


def _correlation(x):
    """Correlate errors at places in x; (n, n)."""
    return np.exp(-0.5 * ((x[:, None] - x) / SHARED_OVER) ** 2)


def results_type(dtype):
    """Choose the type of results: double precision for double precision counts, else single.

    Parameters
    ----------
    dtype : dtype of the counts

    Returns
    -------
    numpy.dtype

    Examples
    --------
    >>> from hyperspy_zlpml.removal.subtract import results_type
    >>> results_type("uint16"), results_type("float64")
    (dtype('float32'), dtype('float64'))
    """
    dtype = np.dtype(dtype)
    return np.dtype(np.float64 if dtype.kind == "f" and dtype.itemsize > 4 else np.float32)
