# SPDX-License-Identifier: GPL-3.0-or-later
"""Applying an ensemble to spectra: what runs on every block of an image.

A :class:`Removal` holds nothing but arrays and numbers, so it travels to any dask worker. The
cost per spectrum does not depend on the number of replicas: they enter by their tables.
"""

from dataclasses import dataclass, replace

import numpy as np

from hyperspy_zlpml.compute import map_spectra
from hyperspy_zlpml.departure import thickness_distance
from hyperspy_zlpml.image.detector import NoiseModel
from hyperspy_zlpml.zlp.expansion import Expansion
from hyperspy_zlpml.zlp.groups import ChannelGroups, GroupedSpectra, group_curvature, make_groups
from hyperspy_zlpml.zlp.matching import N_PEAK, match
from hyperspy_zlpml.zlp.tables import ShapeTable
from hyperspy_zlpml.zlp.tails import level_ripples

#: Spectra worked on at once: what they need stays in the cache.
_SPECTRA_AT_ONCE = 256
#: ln(counts) and its standard deviation are kept within this.
_LARGEST_LOG = 80.0
_LARGEST_SIGMA = 5.0
#: Tables reach a little further than the axis in units of the mean FWHM.
_WIDER = 1.05
#: Power of the energy by which a tail beyond region I may be wrong at a distance of 1.
_OPENING = 0.1
#: No ZLP is claimed to be known better than this.
MODEL_FLOOR = 1e-4
#: Results of :meth:`Removal.apply`, in order.
RESULTS = ("subtracted", "zlp", "std", "lower", "upper", "variance")


@dataclass(frozen=True)
class Removal:
    """Everything that subtracting the ZLP from a block of spectra needs.

    Attributes
    ----------
    energy : ndarray of shape (n_energy,)
        Uniform, eV.
    table : ShapeTable
    groups : ChannelGroups
    curvature : ndarray of shape (n_groups,)
    linear, cubic : Expansion
        Interpolation from the middle of the groups to channels.
    noise : NoiseModel
    pedestal : float
    log_fwhm : tuple of float
        Mean and standard deviation of ln FWHM.
    distance : float
        How far the data lie outside what the ensemble has seen, see
        :mod:`hyperspy_zlpml.departure`.
    """

    energy: np.ndarray
    table: ShapeTable
    groups: ChannelGroups
    curvature: np.ndarray
    linear: Expansion
    cubic: Expansion
    noise: NoiseModel
    pedestal: float
    log_fwhm: tuple
    distance: float = 0.0

    @classmethod
    def prepare(cls, table, log_fwhm, energy, noise, pedestal, channels, distance=0.0):
        """Tables and groups for one energy axis and peaks in the given (first, last) channels."""
        step = energy[1] - energy[0]
        per_fwhm = np.exp(log_fwhm[0]) / step
        groups = make_groups(per_fwhm, channels[1], energy.size - channels[0])
        table = table.reaching(*(groups.edges[[0, -1]] / per_fwhm * _WIDER))
        curvature = group_curvature(table.grid, table.log_shape[-1], groups, per_fwhm)
        return cls(
            energy, table, groups, curvature, Expansion.linear(groups), Expansion.cubic(groups),
            noise, pedestal, log_fwhm, distance,
        )  # fmt: skip

    def apply(self, counts, peaks, measured_variance=None, out=None):
        """Subtract the ZLP from spectra.

        Parameters
        ----------
        counts : ndarray of shape (..., n_energy)
        peaks : ndarray of shape (..., 6)
            Channel, centre, FWHM, ln N0 and the window in eV from the peak of every spectrum;
            NaN where there is no usable peak.
        measured_variance : ndarray, optional
            Variance of the counts where the signal carries its own; broadcasts with ``counts``.
        out : sequence of 6 ndarrays of the shape of ``counts``, optional
            Written to, C-contiguous.

        Returns
        -------
        ndarray of shape (6, ..., n_energy), or ``out``
            In the order of ``RESULTS``; NaN for spectra without a usable peak. Double precision
            for double precision counts, else single.
        """
        n_energy = counts.shape[-1]
        spectra = counts.reshape(-1, n_energy)
        peaks = np.asarray(peaks, float).reshape(len(spectra), -1)
        dtype = results_type(counts.dtype)
        if out is None:
            out = np.empty((len(RESULTS),) + counts.shape, dtype)
        results = [result.reshape(-1, n_energy) for result in out]
        is_usable = np.isfinite(peaks[:, :4]).all(-1)
        for result in results:
            result[~is_usable] = np.nan
        if measured_variance is not None:
            measured_variance = np.broadcast_to(measured_variance, counts.shape).reshape(
                -1, n_energy
            )
        # Windows of equal length side by side: a match looks no further than the longest.
        usable = np.flatnonzero(is_usable)
        usable = usable[np.argsort(peaks[usable, 5], kind="stable")]
        of_type = self._of_type(dtype)
        for start in range(0, usable.size, _SPECTRA_AT_ONCE):
            rows = usable[start : start + _SPECTRA_AT_ONCE]
            given = None if measured_variance is None else measured_variance[rows]
            of_type._apply_rows(spectra, peaks, rows, given, results)
        return out

    def _of_type(self, dtype):
        """Itself, or in single precision where the data are."""
        if dtype == np.float64:
            return self
        return replace(self, table=self.table.single, linear=self.linear.astype(dtype))

    def _apply_rows(self, counts, peaks, rows, measured_variance, results):
        """Subtract from some spectra; everything is counted in channels from their peaks."""
        peaks = peaks[rows]
        channel = peaks[:, 0].astype(int)
        start, n_energy = self._start(channel), counts.shape[-1]
        data = self._aligned(self._free_of_pedestal(counts[rows]), start, results[0].dtype)
        matched = self._match(data, peaks)
        log_zlp, sigma, below, above = self.at_groups(matched, peaks)

        dtype, n = data.dtype, len(rows)
        # A ZLP that is too high leaves a subtracted signal that is too low.
        relative = np.stack([np.sinh(sigma), np.expm1(above), np.expm1(below)])
        std, lower, upper = self.linear(
            relative.reshape(3 * n, -1).astype(dtype),
            out=np.empty((3 * n, data.shape[1]), dtype),
        ).reshape(3, n, -1)
        # In double precision: that of a logarithm is ten times worse than that of the counts.
        zlp = self.cubic(log_zlp, out=np.empty(data.shape))
        zlp = np.exp(zlp, out=zlp).astype(dtype, copy=False)
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
        for result, value in zip(results, values, strict=True):
            result[rows] = _cut(value, start, n_energy)

    def _aligned(self, counts, start, dtype):
        """Spectra side by side in channels from their peaks, zero where the axis has none.

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

    def _match(self, data, peaks):
        """Fit the peaks of aligned spectra; see :func:`hyperspy_zlpml.zlp.matching.match`."""
        channel = peaks[:, 0].astype(int)
        sums, complete = self.groups.collect_aligned(data, channel, self.energy.size)
        middle = self._middle(channel)
        spectra = GroupedSpectra(sums, self.groups.n_channels, self.curvature, middle, complete)
        window = (peaks[:, 4] / peaks[:, 2], peaks[:, 5] / peaks[:, 2])
        return match(
            spectra, peaks[:, 1], peaks[:, 2], peaks[:, 3], window, self.table, self.noise,
            self.log_fwhm,
        )  # fmt: skip

    def match_rows(self, counts, peaks):
        """Match spectra (n_spectra, n_energy) given the rows of ``peaks`` of :meth:`apply`."""
        start = self._start(peaks[:, 0].astype(int))
        return self._match(self._aligned(self._free_of_pedestal(counts), start, float), peaks)

    def _free_of_pedestal(self, counts):
        return counts - self.pedestal if self.pedestal else counts

    def integrate(self, counts, peaks, limits):
        """Integral of the subtracted signal between two energies, with its errors.

        The error of the ZLP model is fully correlated between channels where it comes from the
        match, from a mode of the ensemble or from what both leave out.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        peaks : ndarray of shape (n_spectra, 6)
            As in :meth:`apply`, all usable.
        limits : tuple of two ndarrays of shape (n_spectra,)
            eV from the peak.

        Returns
        -------
        integral, model_std, counting_std, zlp : ndarray of shape (n_spectra,)
        """
        counts = counts.astype(float)
        channel = peaks[:, 0].astype(int)
        matched = self.match_rows(counts, peaks)
        log_zlp, *_ = self.at_groups(matched, peaks)
        zlp = self.cubic(log_zlp, out=np.empty((len(counts), self.cubic.n_channels)))
        zlp = np.exp(_cut(zlp, self._start(channel), self.energy.size))
        distance = self.energy - matched.centre[:, None]
        inside = (distance >= limits[0][:, None]) & (distance < limits[1][:, None])
        data = self._free_of_pedestal(counts)
        model = self._integral_std(matched, peaks, zlp * inside)
        counting = np.sqrt((self.noise.of_measured(data) * inside).sum(-1))
        return ((data - zlp) * inside).sum(-1), model, counting, (zlp * inside).sum(-1)

    def _integral_std(self, matched, peaks, weights):
        channel = peaks[:, 0].astype(int)
        u = self._reduced_energy(matched, channel)
        places = self.table.places(u, self.table.at(peaks[:, 3]))
        _, slope, _, _, alone = self.table.prediction(places)
        derivatives = _derivatives(u, slope, self.table.shape_modes(places))
        wider, opening = self._of_distance(u, peaks, matched.fwhm)
        alone = np.hypot(np.hypot(alone, MODEL_FLOOR) * wider, opening)
        # Each channel takes the derivatives of its group: transpose of the interpolation.
        at_groups = self.linear.collected(self._aligned(weights, self._start(channel), float))
        gradient = np.einsum("pg,ipg->pi", at_groups, derivatives)
        variance = np.einsum("pi,pij,pj->p", gradient, matched.covariance, gradient)
        variance = np.clip(variance, 0, None) * np.clip(matched.reduced_chi2, 1, None)
        variance *= wider[:, 0] ** 2
        return np.sqrt(variance + (at_groups * alone).sum(-1) ** 2)

    def at_groups(self, matched, peaks):
        """ln(ZLP per channel) in the middle of every group, its spread and its band.

        Parameters
        ----------
        matched : Match
        peaks : ndarray of shape (n_spectra, 6)
            As in :meth:`apply`, all usable.

        Returns
        -------
        log_zlp, sigma, below, above : ndarray of shape (n_spectra, n_groups)
        """
        u = self._reduced_energy(matched, peaks[:, 0].astype(int))
        places = self.table.places(u, self.table.at(peaks[:, 3]))
        log_shape, slope, lower, upper, alone = self.table.prediction(places)
        modes = self.table.shape_modes(places)
        coefficients = matched.coefficients.astype(self.table.dtype, copy=False)
        log_zlp = log_shape + matched.log_height[:, None]
        log_zlp += np.einsum("pj,jpg->pg", coefficients, modes)
        log_zlp = level_ripples(log_zlp, u)
        # Where the match is worse than its noise its errors are larger in proportion.
        inflation = np.clip(matched.reduced_chi2, 1, None)[:, None]
        derivatives = _derivatives(u, slope, modes)
        covariance = matched.covariance.astype(self.table.dtype, copy=False)
        moved = covariance @ derivatives.transpose(1, 0, 2)
        spread = np.einsum("ipg,pig->pg", derivatives, moved)
        variance = np.clip(spread * inflation, 0, None) + alone**2 + MODEL_FLOOR**2
        wider, opening = self._of_distance(u, peaks, matched.fwhm)
        sigma = np.hypot(np.sqrt(variance) * wider, opening)
        sigma = np.minimum(sigma, _LARGEST_SIGMA).astype(log_zlp.dtype, copy=False)
        log_zlp = np.clip(log_zlp, -_LARGEST_LOG, _LARGEST_LOG)
        return log_zlp, sigma, sigma * lower, sigma * upper

    def _of_distance(self, u, peaks, fwhm):
        """By what the band is wider, and what opens beyond the windows, outside what was seen.

        Returns
        -------
        wider : ndarray of shape (n_spectra, 1)
            Factor on the standard deviation.
        opening : ndarray of shape (n_spectra, n_groups)
            Standard deviation of ln(ZLP): a tail that nothing tells the power of.
        """
        nodes = self.table.log_intensity_nodes
        distance = thickness_distance(peaks[:, 3], nodes[0], nodes[-1])[:, None]
        distance = np.hypot(distance, self.distance)
        if not distance.any():
            return np.ones_like(distance), np.zeros(1)
        first, last = (peaks[:, column] / fwhm for column in (4, 5))
        beyond = np.maximum(u / last[:, None], u / first[:, None])
        return 1 + distance, distance * _OPENING * np.log(np.maximum(beyond, 1.0))

    def _reduced_energy(self, matched, channel):
        return (self._middle(channel) - matched.centre[:, None]) / matched.fwhm[:, None]

    def _middle(self, channel):
        """Energy of the middle of every group."""
        step = self.energy[1] - self.energy[0]
        return self.energy[0] + step * (channel[:, None] + self.groups.middle)

    def _start(self, channel):
        """Where the first channel of the axis lies in the span of the groups."""
        return -self.groups.edges[0] - channel


def subtract_from(data, peaks, removal, variance=None, lazy=False, show_progressbar=False):
    """Subtract the ZLP from all spectra of an image.

    Parameters
    ----------
    data : ndarray or dask array of shape (..., n_energy)
    peaks : ndarray of shape (n_spectra, 6)
        As :meth:`Removal.apply` takes them.
    removal : Removal
    variance : array that broadcasts with ``data``, or float, optional
        Variance of the counts where it is known.
    lazy : bool
        Whether to return dask arrays that are not computed yet.
    show_progressbar : bool

    Returns
    -------
    dict of str to ndarray or dask array of shape (..., n_energy)
        Under the names of ``RESULTS``.
    """
    return map_spectra(
        removal.apply,
        data,
        peaks.reshape(data.shape[:-1] + (-1,)),
        variance,
        names=RESULTS,
        width=data.shape[-1],
        dtype=results_type(data.dtype),
        lazy=lazy,
        show_progressbar=show_progressbar,
        title="Subtracting the ZLP",
    )


def _windows(spectra, start, n):
    """View of all runs of ``n`` channels of (n_spectra, n_channels), and which begin at ``start``.

    Indexing it cuts runs that begin elsewhere in every spectrum in one call: a loop over spectra
    takes twice as long, and keeps other threads from their work.
    """
    n_spectra, n_channels = spectra.shape
    flat = spectra.reshape(-1)
    windows = np.lib.stride_tricks.sliding_window_view(flat, n, writeable=True)
    return windows, np.arange(n_spectra) * n_channels + start


def _cut(spectra, start, n):
    windows, offsets = _windows(spectra, start, n)
    return windows[offsets]


def _derivatives(u, slope, modes):
    """Of ln(ZLP) by the fitted numbers, shape (3 + n_modes, n_spectra, n_groups)."""
    derivatives = np.empty((N_PEAK + len(modes),) + u.shape, modes.dtype)
    derivatives[0] = 1.0
    derivatives[1] = -slope
    derivatives[2] = -u * slope
    derivatives[N_PEAK:] = modes
    return derivatives


def results_type(dtype):
    """Double precision for double precision counts, else single."""
    dtype = np.dtype(dtype)
    return np.dtype(np.float64 if dtype.kind == "f" and dtype.itemsize > 4 else np.float32)


def peaks_to_apply(image, labels, regions, log_dose=0.0):
    """What :meth:`Removal.apply` needs to know of every spectrum, shape (n_spectra, 6).

    ``log_dose`` is the logarithm of the dose over that of the ensemble, to which ln N0 is brought.
    """
    parameters = image.parameters
    known = np.clip(labels, 0, None)
    gain = np.where(image.vacuum, -np.inf, regions.gain_limit[known])
    loss = np.where(image.vacuum, np.inf, regions.E_I[known])
    columns = (
        parameters.channel,
        parameters.centre,
        parameters.fwhm,
        image.log_intensity - log_dose,
        gain,
        loss,
    )
    peaks = np.stack(columns, axis=-1).astype(float)
    peaks[~image.usable | (labels < 0)] = np.nan
    return peaks


def channel_range(image):
    """First and last channel that holds a peak."""
    channels = image.parameters.channel[image.usable]
    return int(channels.min()), int(channels.max())
