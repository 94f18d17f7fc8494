# SPDX-License-Identifier: GPL-3.0-or-later
"""Subtract the zero-loss peak from spectra: what runs on every block of an image.

A :class:`Subtraction` holds nothing but arrays and numbers, so it travels to any dask worker. The
cost per spectrum does not depend on the number of replicas: they enter by their tables.
"""

from dataclasses import dataclass, replace

import numpy as np

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.image.channels import find_spikes, without_spikes
from hyperspy_zlpml.image.detector import NoiseModel
from hyperspy_zlpml.removal.applicability import log_intensity_distance
from hyperspy_zlpml.statistics import Normal
from hyperspy_zlpml.zlp.expansion import Expansion
from hyperspy_zlpml.zlp.grid import to_grid
from hyperspy_zlpml.zlp.groups import ChannelGroups, GroupedSpectra, group_curvature, make_groups
from hyperspy_zlpml.zlp.kernels import HEIGHT, N_PEAK, SHIFT, WIDTH
from hyperspy_zlpml.zlp.matching import KnownPeaks, match
from hyperspy_zlpml.zlp.tables import ShapeTable
from hyperspy_zlpml.zlp.tails import level_ripples

#: Spectra worked on at once: what they need stays in the cache.
_SPECTRA_AT_ONCE = 256
#: ln(counts) of the ZLP is kept within plus and minus this, ...
_LARGEST_LOG = 80.0
#: ... its standard deviation below this.
_LARGEST_SIGMA = 5.0
#: Tables reach a little further than the axis in units of the mean FWHM.
_WIDER = 1.05
#: Power of the energy by which a tail beyond region I may be wrong at a distance of 1.
_OPENING = 0.1
#: Errors that no mode holds are shared over about this distance in x (standard deviation).
_SHARED_OVER = 0.25
#: No ZLP is claimed to be known better than this, relatively.
MODEL_FLOOR = 1e-4
#: Matches with a larger chi2 per degree of freedom are tried once more without spikes.
_POOR = 10.0
#: A ZLP above its counts by this many standard deviations of all that is uncertain is no result.
_ABOVE = 20.0
#: ... and by this part of its height: tails that are wrong by less are wrong by their error.
_VISIBLE = 0.01
#: A ZLP higher than this many times the highest counts is no result.
_HIGHEST = 1.5
#: Nor is one whose height is uncertain by this (standard deviation of its logarithm).
_UNKNOWN = 1.0
#: Results of :meth:`Subtraction.apply`, in order.
RESULTS = ("subtracted", "zlp", "std", "lower", "upper", "variance")


@dataclass(frozen=True)
class Integrals(PerSpectrum):
    """Integrals of the subtracted signal over a window of energies, and their errors.

    Attributes
    ----------
    integral : ndarray of shape (n_spectra,)
        Counts.
    model_std : ndarray of shape (n_spectra,)
        Error of the ZLP model, correlated between channels as it is.
    counting_std : ndarray of shape (n_spectra,)
        Counting noise.
    zlp : ndarray of shape (n_spectra,)
        Counts of the zero-loss peak in the window.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.subtract import Integrals
    >>> found = Integrals(
    ...     integral=np.array([90.0, 400.0]),
    ...     model_std=np.array([30.0, 15.0]),
    ...     counting_std=np.array([40.0, 20.0]),
    ...     zlp=np.array([1e3, 1e2]),
    ... )
    >>> brighter = found.select([1])
    >>> brighter.integral / np.hypot(brighter.model_std, brighter.counting_std)
    array([16.])
    """

    integral: np.ndarray
    model_std: np.ndarray
    counting_std: np.ndarray
    zlp: np.ndarray


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
    curvature : ndarray of shape (n_groups,)
        Of the shape within each group, see :func:`hyperspy_zlpml.zlp.groups.group_curvature`.
    linear, cubic : Expansion
        Interpolation from the middle of the groups to channels.
    noise : NoiseModel
    pedestal : float
        Counts per channel taken off before anything else.
    log_fwhm : Normal
        Mean and standard deviation of ln FWHM.
    correlation : ndarray of shape (n_groups, n_groups)
        Of the errors that no mode holds, between groups.
    distance : float
        How far the data lie outside what the ensemble has seen, see
        :mod:`hyperspy_zlpml.removal.applicability`.
    """

    energy: np.ndarray
    table: ShapeTable
    groups: ChannelGroups
    curvature: np.ndarray
    linear: Expansion
    cubic: Expansion
    noise: NoiseModel
    pedestal: float
    log_fwhm: Normal
    correlation: np.ndarray
    distance: float = 0.0

    @classmethod
    def prepare(cls, table, log_fwhm, energy, detector, channels, distance=0.0):
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

        Returns
        -------
        Subtraction
        """
        step = energy[1] - energy[0]
        per_fwhm = np.exp(log_fwhm.mean) / step
        groups = make_groups(per_fwhm, channels.high, energy.size - channels.low)
        table = table.reaching(*(groups.edges[[0, -1]] / per_fwhm * _WIDER)).in_groups(per_fwhm)
        curvature = group_curvature(table.grid, table.log_shape[-1], groups, per_fwhm)
        return cls(
            energy=energy,
            table=table,
            groups=groups,
            curvature=curvature,
            linear=Expansion.linear(groups),
            cubic=Expansion.cubic(groups),
            noise=detector.noise,
            pedestal=detector.pedestal,
            log_fwhm=log_fwhm,
            correlation=_correlation(to_grid(groups.middle / per_fwhm)),
            distance=distance,
        )

    def apply(self, counts, peaks, measured_variance=None, out=None):
        """Subtract the ZLP from spectra.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        peaks : KnownPeaks
        measured_variance : ndarray, optional
            Variance of the counts where the signal carries its own; broadcasts with ``counts``.
        out : sequence of 6 ndarrays of the shape of ``counts``, optional
            Written to.

        Returns
        -------
        ndarray of shape (6, n_spectra, n_energy), or ``out``
            In the order of ``RESULTS``; NaN for spectra without a usable peak. Double precision
            for double precision counts, else single.
        """
        dtype = results_type(counts.dtype)
        if out is None:
            out = np.empty((len(RESULTS),) + counts.shape, dtype)
        is_usable = peaks.usable
        for result in out:
            result[~is_usable] = np.nan
        if measured_variance is not None:
            measured_variance = np.broadcast_to(measured_variance, counts.shape)
        # Windows of equal length side by side: a match looks no further than the longest.
        usable = np.flatnonzero(is_usable)
        usable = usable[np.argsort(peaks.loss_limit[usable], kind="stable")]
        of_type = self._of_type(dtype)
        for start in range(0, usable.size, _SPECTRA_AT_ONCE):
            rows = usable[start : start + _SPECTRA_AT_ONCE]
            given = None if measured_variance is None else measured_variance[rows]
            values = of_type._subtract(counts[rows], peaks.select(rows), given, dtype)
            for result, value in zip(out, values, strict=True):
                result[rows] = value
        return out

    def apply_stacked(self, counts, stacked, measured_variance=None, out=None):
        """Subtract the ZLP, given what is known of the peaks as one array.

        For :func:`~hyperspy_zlpml.compute.mapping.map_spectra`, which cuts arrays to the spectra of a block.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        stacked : ndarray of shape (n_spectra, 6)
            Of :meth:`.PerSpectrum.stack`.
        measured_variance, out
            As in :meth:`apply`.

        Returns
        -------
        ndarray of shape (6, n_spectra, n_energy), or ``out``
        """
        return self.apply(counts, KnownPeaks.unstack(stacked), measured_variance, out)

    def _of_type(self, dtype):
        """Convert to single precision where the counts are."""
        if dtype == np.float64:
            return self
        return replace(self, table=self.table.single, linear=self.linear.astype(dtype))

    def _subtract(self, counts, peaks, measured_variance, dtype):
        """Subtract from usable spectra; everything is counted in channels from their peaks.

        Returns
        -------
        tuple of 6 ndarrays of shape (n_spectra, n_energy)
            In the order of ``RESULTS``.
        """
        start = self._start(peaks.channel.astype(int))
        data = self._aligned(self._free_of_pedestal(counts), start, dtype)
        sensitivity = self._sensitivity(start, dtype)
        spectra = self._grouped(data if sensitivity is None else data / sensitivity, peaks)
        matched = self._match(data, spectra, peaks)
        log_zlp, sigma, below, above = self.at_groups(matched, peaks)
        lost = ~self._is_credible(spectra, matched, log_zlp, sigma)
        sigma, below, above = self._limited(spectra, log_zlp, (sigma, below, above))
        std, lower, upper = self._relative_errors(sigma, below, above, dtype)
        zlp = self._peak(log_zlp, matched, peaks, dtype)
        if sensitivity is not None:
            zlp *= sensitivity
            self._add_pattern_error((std, lower, upper), start)
        subtracted = data - zlp
        std *= zlp
        for bound in (lower, upper):
            bound *= zlp
            np.subtract(subtracted, bound, out=bound)
        if measured_variance is None:
            variance = self.noise.of_measured(data)
        else:
            variance = self._aligned(measured_variance, start, dtype)
        variance += std**2
        values = subtracted, zlp, std, lower, upper, variance
        values = tuple(_cut(value, start, counts.shape[-1]) for value in values)
        lost |= ~(values[1].max(-1) < _HIGHEST * self._highest(spectra))
        for value in values:
            value[lost] = np.nan
        return values

    def _peak(self, log_zlp, matched, peaks, dtype):
        """Expand ln(ZLP) of groups to channels, with the coherent residual; (n_spectra, n)."""
        # In double precision: that of a logarithm is ten times worse than that of the counts.
        zlp = self.cubic(log_zlp, out=np.empty((len(log_zlp), self.cubic.n_channels)))
        zlp = np.exp(zlp, out=zlp).astype(dtype, copy=False)
        residual = self.table.residual
        if not residual.has_curve:
            return zlp
        step = self.energy[1] - self.energy[0]
        per_channel = step / matched.fwhm / residual.step
        first = self.energy[0] + step * (peaks.channel + self.groups.edges[0]) - matched.centre
        position = (first / matched.fwhm - residual.start) / residual.step
        last = residual.curve.size - 1
        # Channels that the curve reaches in no spectrum are left as they are.
        low = max(int((-position / per_channel).min()), 0)
        high = min(int(((last - position) / per_channel).max()) + 1, zlp.shape[1])
        if low < high:
            places = position[:, None] + per_channel[:, None] * np.arange(low, high)
            zlp[:, low:high] *= 1 + _interpolated(residual.curve.astype(dtype), places)
        return zlp

    def _sensitivity(self, start, dtype):
        """Write the sensitivity of the channels beside aligned spectra; None where all are equal."""
        pattern = self.table.residual.pattern
        if pattern.size != self.energy.size or not pattern.any():
            return None
        spectra = np.broadcast_to(pattern, (len(start), pattern.size))
        sensitivity = self._aligned(spectra, start, dtype)
        sensitivity += 1
        return sensitivity

    def _add_pattern_error(self, errors, start):
        """Add the error of the sensitivities to relative errors (std, lower, upper), in place."""
        error = self.table.residual.pattern_error
        error = np.broadcast_to(error, (len(start), error.size))
        std, *bounds = errors
        wider = np.hypot(std, self._aligned(error, start, std.dtype))
        for bound in bounds:
            bound *= wider / std
        std[:] = wider

    def _relative_errors(self, sigma, below, above, dtype):
        """Expand errors of ln(ZLP) to channels, as fractions of the ZLP: std, lower, upper."""
        n = len(sigma)
        # A ZLP that is too high leaves a subtracted signal that is too low.
        relative = np.stack([np.sinh(sigma), np.expm1(above), np.expm1(below)])
        expanded = self.linear(
            relative.reshape(3 * n, -1).astype(dtype),
            out=np.empty((3 * n, self.linear.n_channels), dtype),
        )
        return expanded.reshape(3, n, -1)

    def _aligned(self, counts, start, dtype):
        """Write spectra side by side in channels from their peaks, zero where the axis has none.

        Parameters
        ----------
        counts : ndarray of shape (n, n_energy)
        start : ndarray of int of shape (n,)
            Where the first channel of each comes to lie.
        dtype : dtype

        Returns
        -------
        ndarray of shape (n, n_relative)
        """
        n_energy = counts.shape[-1]
        aligned = np.empty((len(start), self.linear.n_channels), dtype)
        aligned[:, : start.max(initial=0)] = 0
        aligned[:, start.min(initial=aligned.shape[1]) + n_energy :] = 0
        windows, offsets = _windows(aligned, start, n_energy)
        windows[offsets] = counts
        return aligned

    def _grouped(self, data, peaks):
        """Collect aligned spectra in groups of channels."""
        channel = peaks.channel.astype(int)
        sums, complete = self.groups.collect_aligned(data, channel, self.energy.size)
        return GroupedSpectra(
            sums=sums,
            n_channels=self.groups.n_channels,
            curvature=self.curvature,
            energy=self._middle(channel),
            complete=complete,
        )

    def _match(self, data, spectra, peaks):
        """Fit the peaks of aligned spectra; see :func:`hyperspy_zlpml.zlp.matching.match`.

        Those that fit poorly may hold a spike: they are fitted once more without.
        """
        matched = self._match_groups(spectra, peaks)
        poor = np.flatnonzero(~(matched.reduced_chi2 < _POOR))
        if not poor.size:
            return matched
        step = self.energy[1] - self.energy[0]
        spikes = find_spikes(
            data[poor],
            width=np.exp(self.log_fwhm.mean) / step,
            noise=self.noise,
        )
        poor, spikes = poor[spikes.any(-1)], spikes[spikes.any(-1)]
        if not poor.size:
            return matched
        some = peaks.select(poor)
        clean = self._grouped(without_spikes(data[poor], spikes), some)
        return matched.with_rows(poor, self._match_groups(clean, some))

    def _match_groups(self, spectra, peaks):
        """Fit the peaks of grouped spectra."""
        return match(spectra, peaks.start, self.table, noise=self.noise, width_prior=self.log_fwhm)

    def _is_credible(self, spectra, matched, log_zlp, sigma):
        """Tell which peaks are where their counts are; NaN or far above them is no result."""
        with np.errstate(over="ignore", invalid="ignore"):
            zlp = np.exp(log_zlp) * self.groups.n_channels * self.curvature
            error = np.sinh(sigma) * zlp
            known = np.hypot(np.sqrt(self.noise.variance(zlp, self.groups.n_channels)), error)
            above = spectra.complete & (zlp - spectra.sums > _ABOVE * known)
            above &= zlp > 2 * np.maximum(spectra.sums, 0)
            visible = _VISIBLE * self._highest(spectra)[:, None] * self.groups.n_channels
            above &= zlp > visible
            on_axis = self._on_axis(spectra)
            largest = np.where(on_axis, zlp / self.groups.n_channels, 0.0).max(-1)
            unknown = largest > _HIGHEST * self._highest(spectra)
            core = self.groups.middle == self.groups.middle[np.abs(self.groups.middle).argmin()]
            unknown |= sigma[:, core][:, 0] > _UNKNOWN
        finite = np.isfinite(log_zlp).all(-1) & np.isfinite(sigma).all(-1)
        finite &= np.isfinite(matched.log_height)
        # A hole in a spectrum is one group of channels, or two.
        far_above = above[:, :-2] & above[:, 1:-1] & above[:, 2:]
        return finite & ~unknown & ~far_above.any(-1)

    def _highest(self, spectra):
        """Find the highest counts per channel of grouped spectra."""
        per_channel = np.where(spectra.complete, spectra.sums, 0.0) / self.groups.n_channels
        return per_channel.max(-1)

    def _on_axis(self, spectra):
        """Tell which groups have a channel on the axis of their spectrum."""
        step = self.energy[1] - self.energy[0]
        half = (self.groups.n_channels + 1) / 2 * step
        return (spectra.energy + half > self.energy[0]) & (spectra.energy - half < self.energy[-1])

    def _limited(self, spectra, log_zlp, errors):
        """Keep errors of ln(ZLP) below those of a ZLP as high as its peak: it is no higher."""
        sigma, below, above = errors
        with np.errstate(over="ignore", divide="ignore"):
            highest = np.maximum(self._highest(spectra), self.noise.unit)[:, None]
            most = np.arcsinh(highest * np.exp(-log_zlp)).astype(sigma.dtype, copy=False)
        share = np.minimum(1.0, most / np.maximum(sigma, np.finfo(sigma.dtype).tiny))
        return sigma * share, below * share, above * share

    def match_rows(self, counts, peaks):
        """Match spectra.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        peaks : KnownPeaks
            All usable.

        Returns
        -------
        Match
        """
        start = self._start(peaks.channel.astype(int))
        data = self._aligned(self._free_of_pedestal(counts), start, float)
        sensitivity = self._sensitivity(start, float)
        data = data if sensitivity is None else data / sensitivity
        return self._match(data, self._grouped(data, peaks), peaks)

    def _free_of_pedestal(self, counts):
        """Take the pedestal off, where there is one."""
        return counts - self.pedestal if self.pedestal else counts

    def integrate(self, counts, peaks, limits):
        """Integrate the subtracted signal between two energies, with its errors.

        The error of the ZLP model is fully correlated between channels where it comes from the
        match, from a mode of the ensemble or from what both leave out.

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
        counts = counts.astype(float)
        start = self._start(peaks.channel.astype(int))
        matched = self.match_rows(counts, peaks)
        log_zlp, *_ = self.at_groups(matched, peaks)
        zlp = self._peak(log_zlp, matched, peaks, float)
        sensitivity = self._sensitivity(start, float)
        if sensitivity is not None:
            zlp *= sensitivity
        zlp = _cut(zlp, start, self.energy.size)
        distance = self.energy - matched.centre[:, None]
        low, high = (np.reshape(limit, (-1, 1)) for limit in limits)
        inside = (distance >= low) & (distance < high)
        data = self._free_of_pedestal(counts)
        model = self._integral_std(matched, peaks, zlp * inside)
        n_channels = np.maximum(inside.sum(-1, keepdims=True), 1)
        counting = np.sqrt((self.noise.of_measured(data, n_channels) * inside).sum(-1))
        return Integrals(
            integral=((data - zlp) * inside).sum(-1),
            model_std=model,
            counting_std=counting,
            zlp=(zlp * inside).sum(-1),
        )

    def _integral_std(self, matched, peaks, weights):
        """Compute the error that the ZLP model makes in a weighted sum of its channels."""
        channel = peaks.channel.astype(int)
        u = self._reduced_energy(matched, channel)
        places = self.table.places(u, self.table.at(peaks.log_intensity))
        _, slope, _, _, shared, _, *widening = self.table.prediction(places)
        derivatives = _derivatives(u, slope, self.table.shape_modes(places), widening)
        wider, opening = self._outside_seen(u, peaks, matched.fwhm)
        shared = np.hypot(shared, MODEL_FLOOR) * wider
        # Each channel takes the derivatives of its group: transpose of the interpolation.
        at_groups = self.linear.collected(self._aligned(weights, self._start(channel), float))
        gradient = np.einsum("pg,ipg->pi", at_groups, derivatives)
        variance = np.einsum("pi,pij,pj->p", gradient, matched.covariance, gradient)
        variance = np.clip(variance, 0, None) * np.clip(matched.reduced_chi2, 1, None)
        variance *= wider[:, 0] ** 2
        variance += (at_groups * opening).sum(-1) ** 2
        variance += ((at_groups * shared) @ self.correlation * (at_groups * shared)).sum(-1)
        variance += ((at_groups * self.table.grains(places)[0] * wider) ** 2).sum(-1)
        pattern_error = self.table.residual.pattern_error
        if pattern_error.size == self.energy.size:
            variance += ((weights * pattern_error) ** 2).sum(-1)
        return np.sqrt(variance)

    def at_groups(self, matched, peaks):
        """Evaluate ln(ZLP per channel) in the middle of every group, its spread and its band.

        Parameters
        ----------
        matched : Match
        peaks : KnownPeaks
            All usable.

        Returns
        -------
        log_zlp, sigma, below, above : ndarray of shape (n_spectra, n_groups)
        """
        u = self._reduced_energy(matched, peaks.channel.astype(int))
        places = self.table.places(u, self.table.at(peaks.log_intensity))
        log_shape, slope, lower, upper, shared, own, *widening = self.table.prediction(places)
        modes = self.table.shape_modes(places)
        coefficients = matched.coefficients.astype(self.table.dtype, copy=False)
        log_zlp = log_shape + matched.log_height[:, None]
        log_zlp += np.einsum("pj,jpg->pg", coefficients, modes)
        for change in widening:
            log_zlp += (np.log(matched.fwhm) - self.table.log_fwhm)[:, None] * change
        log_zlp = level_ripples(log_zlp, u)
        # Where the match is worse than its noise its errors are larger in proportion.
        inflation = np.clip(matched.reduced_chi2, 1, None)[:, None]
        derivatives = _derivatives(u, slope, modes, widening)
        covariance = matched.covariance.astype(self.table.dtype, copy=False)
        moved = covariance @ derivatives.transpose(1, 0, 2)
        spread = np.einsum("ipg,pig->pg", derivatives, moved)
        variance = np.clip(spread * inflation, 0, None) + shared**2 + own**2 + MODEL_FLOOR**2
        wider, opening = self._outside_seen(u, peaks, matched.fwhm)
        sigma = np.hypot(np.sqrt(variance) * wider, opening)
        sigma = np.minimum(sigma, _LARGEST_SIGMA).astype(log_zlp.dtype, copy=False)
        log_zlp = np.clip(log_zlp, -_LARGEST_LOG, _LARGEST_LOG)
        return log_zlp, sigma, sigma * lower, sigma * upper

    def _outside_seen(self, u, peaks, fwhm):
        """Compute how the band widens outside what was seen, and opens beyond the windows.

        Returns
        -------
        wider : ndarray of shape (n_spectra, 1)
            Factor on the standard deviation.
        opening : ndarray of shape (n_spectra, n_groups)
            Standard deviation of ln(ZLP) where the power of the tail is not known.
        """
        nodes = self.table.log_intensity_nodes
        distance = log_intensity_distance(peaks.log_intensity, nodes[0], nodes[-1])[:, None]
        distance = np.hypot(distance, self.distance)
        if not distance.any():
            return np.ones_like(distance), np.zeros(1)
        first = peaks.gain_limit / fwhm
        last = peaks.loss_limit / fwhm
        beyond = np.maximum(u / last[:, None], u / first[:, None])
        return 1 + distance, distance * _OPENING * np.log(np.maximum(beyond, 1.0))

    def _reduced_energy(self, matched, channel):
        """Compute the reduced energy of the middle of every group, (n_spectra, n_groups)."""
        return (self._middle(channel) - matched.centre[:, None]) / matched.fwhm[:, None]

    def _middle(self, channel):
        """Compute the energy of the middle of every group, (n_spectra, n_groups)."""
        step = self.energy[1] - self.energy[0]
        return self.energy[0] + step * (channel[:, None] + self.groups.middle)

    def _start(self, channel):
        """Find where the first channel of the axis lies in the span of the groups."""
        return -self.groups.edges[0] - channel


def _windows(spectra, start, n):
    """View all runs of ``n`` channels of (n_spectra, n_channels), and find which begin at ``start``.

    Indexing it cuts runs that begin elsewhere in every spectrum in one call: a loop over spectra
    takes twice as long, and keeps other threads from their work.
    """
    n_spectra, n_channels = spectra.shape
    flat = spectra.reshape(-1)
    windows = np.lib.stride_tricks.sliding_window_view(flat, n, writeable=True)
    return windows, np.arange(n_spectra) * n_channels + start


def _cut(spectra, start, n):
    """Cut ``n`` channels, which begin at ``start``, from every spectrum."""
    windows, offsets = _windows(spectra, start, n)
    return windows[offsets]


def _correlation(x):
    """Correlate errors at places in x; (n, n)."""
    return np.exp(-0.5 * ((x[:, None] - x) / _SHARED_OVER) ** 2)


def _interpolated(values, places):
    """Interpolate linearly at places counted in nodes; zero beyond the first and the last."""
    last = values.size - 1
    node = places.astype(np.intp)
    outside = (places < 0) | (places > last)
    node[outside] = 0
    fraction = (places - node).astype(values.dtype)
    found = np.take(np.diff(values, append=values[-1:]), node)
    found *= fraction
    found += np.take(values, node)
    found[outside] = 0.0
    return found


def _derivatives(u, slope, modes, widening=()):
    """Stack derivatives of ln(ZLP) by the fitted numbers, (3 + n_modes, n_spectra, n_groups)."""
    derivatives = np.empty((N_PEAK + len(modes),) + u.shape, modes.dtype)
    derivatives[HEIGHT] = 1.0
    derivatives[SHIFT] = -slope
    derivatives[WIDTH] = -u * slope
    for change in widening:
        derivatives[WIDTH] += change
    derivatives[N_PEAK:] = modes
    return derivatives


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
