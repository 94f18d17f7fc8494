# SPDX-License-Identifier: GPL-3.0-or-later
"""Applying an ensemble to spectra: what runs on every block of an image.

A :class:`Removal` holds nothing but arrays and numbers, so it travels to any dask worker. The
cost per spectrum does not depend on the number of replicas: they enter by their tables.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import make_interp_spline

from hyperspy_zlpml.zlp.binning import ChannelGroups, make_groups
from hyperspy_zlpml.zlp.matching import (
    N_PEAK,
    ShapeTable,
    group_curvature,
    group_spectra,
    match,
)
from hyperspy_zlpml.zlp.noise import NoiseModel
from hyperspy_zlpml.zlp.reference import level_ripples

_SPECTRA_AT_ONCE = 512
#: ln(counts) and its standard deviation are kept within this.
_LARGEST_LOG = 80.0
_LARGEST_SIGMA = 5.0
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
    to_channels : tuple of two ndarrays of shape (n_groups, n_relative)
        Linear and cubic interpolation from the middle of the groups to channels.
    noise : NoiseModel
    pedestal : float
    log_fwhm : tuple of float
        Mean and standard deviation of ln FWHM.
    """

    energy: np.ndarray
    table: ShapeTable
    groups: ChannelGroups
    curvature: np.ndarray
    to_channels: tuple
    noise: NoiseModel
    pedestal: float
    log_fwhm: tuple

    @classmethod
    def prepare(cls, ensemble, energy, noise, pedestal, confidence, channels):
        """Tables and groups for one energy axis and peaks in the given (first, last) channels."""
        table = ensemble.tabulate(confidence)
        step = energy[1] - energy[0]
        per_fwhm = np.exp(ensemble.log_fwhm[0]) / step
        groups = make_groups(per_fwhm, channels[1], energy.size - channels[0])
        curvature = group_curvature(ensemble.grid, ensemble.log_reference, groups, per_fwhm)
        to_channels = tuple(interpolation_matrix(groups, degree) for degree in (1, 3))
        return cls(
            energy, table, groups, curvature, to_channels, noise, pedestal, ensemble.log_fwhm
        )

    def match(self, counts, channel, centre, fwhm, log_intensity, window):
        """Fit the peaks of some spectra; see :func:`hyperspy_zlpml.zlp.matching.match`."""
        spectra = group_spectra(
            counts - self.pedestal, self.energy, channel, self.groups, self.curvature
        )
        return match(
            spectra, centre, fwhm, log_intensity, window, self.table, self.noise, self.log_fwhm
        )

    def apply(self, counts, peaks, measured_variance=None):
        """Subtract the ZLP from spectra.

        Parameters
        ----------
        counts : ndarray of shape (..., n_energy)
        peaks : ndarray of shape (..., 6)
            Channel, centre, FWHM, ln N0 and the window in eV from the peak of every spectrum;
            NaN where there is no usable peak.
        measured_variance : ndarray, optional
            Variance of the counts where the signal carries its own; broadcasts with ``counts``.

        Returns
        -------
        ndarray of shape (6, ..., n_energy)
            In the order of ``RESULTS``; NaN for spectra without a usable peak.
        """
        leading, n_energy = counts.shape[:-1], counts.shape[-1]
        spectra = counts.reshape(-1, n_energy)
        peaks = np.asarray(peaks, float).reshape(len(spectra), -1)
        dtype = np.float64 if counts.dtype == np.float64 else np.float32
        results = np.full((len(RESULTS), len(spectra), n_energy), np.nan, dtype)
        usable = np.flatnonzero(np.isfinite(peaks[:, :4]).all(-1))
        if measured_variance is not None:
            measured_variance = np.broadcast_to(measured_variance, counts.shape).reshape(
                -1, n_energy
            )
        for start in range(0, usable.size, _SPECTRA_AT_ONCE):
            rows = usable[start : start + _SPECTRA_AT_ONCE]
            given = None if measured_variance is None else measured_variance[rows]
            for result, values in zip(
                results, self._apply_rows(spectra[rows], peaks[rows], given), strict=True
            ):
                result[rows] = values
        return results.reshape((len(RESULTS),) + leading + (n_energy,))

    def _apply_rows(self, counts, peaks, measured_variance):
        counts = counts.astype(float)
        channel = peaks[:, 0].astype(int)
        matched = self.match_rows(counts, peaks)
        log_zlp, sigma, below, above = self.at_groups(matched, channel, peaks[:, 3])
        zlp = np.exp(self._cubic(log_zlp, channel))
        sigma, below, above = (self._linear(values, channel) for values in (sigma, below, above))
        data = counts - self.pedestal
        std = zlp * np.sinh(sigma)
        if measured_variance is None:
            measured_variance = self.noise.of_measured(data)
        # A ZLP that is too high leaves a subtracted signal that is too low.
        lower, upper = data - zlp * np.exp(above), data - zlp * np.exp(below)
        return data - zlp, zlp, std, lower, upper, measured_variance + std**2

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
        log_zlp, *_ = self.at_groups(matched, channel, peaks[:, 3])
        zlp = np.exp(self._cubic(log_zlp, channel))
        distance = self.energy - matched.centre[:, None]
        inside = (distance >= limits[0][:, None]) & (distance < limits[1][:, None])
        data = counts - self.pedestal
        model = self._integral_std(matched, channel, peaks[:, 3], zlp * inside)
        counting = np.sqrt((self.noise.of_measured(data) * inside).sum(-1))
        return ((data - zlp) * inside).sum(-1), model, counting, (zlp * inside).sum(-1)

    def _integral_std(self, matched, channel, log_intensity, weights):
        rows = self.table.at(log_intensity)
        u = self._reduced_energy(matched, channel)
        values = self.table.evaluate(
            u, rows, np.concatenate([self.table.rest[None], self.table.modes])
        )
        derivatives = self._derivatives(matched, u, rows, values[1:])
        alone = np.sqrt(values[0] ** 2 + self._alone(u) ** 2)
        # Each channel takes the derivatives of its group: transpose of the interpolation.
        relative = np.zeros((len(weights), self.to_channels[0].shape[1]))
        np.put_along_axis(relative, self._index(channel), weights, -1)
        at_groups = relative @ self.to_channels[0].T
        gradient = np.einsum("pg,pgi->pi", at_groups, derivatives)
        variance = np.einsum("pi,pij,pj->p", gradient, matched.covariance, gradient)
        variance = np.clip(variance, 0, None) * np.clip(matched.reduced_chi2, 1, None)
        return np.sqrt(variance + (at_groups * alone).sum(-1) ** 2)

    def match_rows(self, counts, peaks):
        """Match spectra given the rows of ``peaks`` that :meth:`apply` takes."""
        window = (peaks[:, 4] / peaks[:, 2], peaks[:, 5] / peaks[:, 2])
        channel = peaks[:, 0].astype(int)
        return self.match(counts, channel, peaks[:, 1], peaks[:, 2], peaks[:, 3], window)

    def at_groups(self, matched, channel, log_intensity):
        """ln(ZLP per channel) in the middle of every group, its spread and its band.

        Returns
        -------
        log_zlp, sigma, below, above : ndarray of shape (n_spectra, n_groups)
        """
        weights = self.table.at(log_intensity)
        u = self._reduced_energy(matched, channel)
        table = self.table
        tables = [table.log_shape[None], table.lower[None], table.upper[None], table.rest[None]]
        values = table.evaluate(u, weights, np.concatenate([*tables, table.modes]))
        log_zlp = values[0] + matched.log_height[:, None]
        log_zlp += np.einsum("pj,jpg->pg", matched.coefficients, values[4:])
        log_zlp = level_ripples(log_zlp, u)
        derivatives = self._derivatives(matched, u, weights, values[4:])
        # Where the match is worse than its noise its errors are larger in proportion.
        inflation = np.clip(matched.reduced_chi2, 1, None)[:, None]
        spread = np.einsum(
            "pgi,pij,pgj->pg", derivatives, matched.covariance, derivatives, optimize=True
        )
        independent = values[3] ** 2 + self._alone(u) ** 2
        sigma = np.sqrt(np.clip(spread * inflation, 0, None) + independent)
        sigma = np.minimum(sigma, _LARGEST_SIGMA)
        return (
            np.clip(log_zlp, -_LARGEST_LOG, _LARGEST_LOG),
            sigma,
            sigma * values[1],
            sigma * values[2],
        )

    def _alone(self, u):
        """Relative error that is no part of the match nor of the ensemble."""
        return np.hypot(self.table.grid.interpolate(self.table.scatter, u), MODEL_FLOOR)

    def _reduced_energy(self, matched, channel):
        step = self.energy[1] - self.energy[0]
        middle = self.energy[0] + step * (channel[:, None] + self.groups.middle)
        return (middle - matched.centre[:, None]) / matched.fwhm[:, None]

    def _derivatives(self, matched, u, weights, modes):
        slopes = np.gradient(self.table.log_shape, self.table.grid.u, axis=-1)
        slope = self.table.evaluate(u, weights, slopes)
        derivatives = np.empty(u.shape + (N_PEAK + len(modes),))
        derivatives[..., 0] = 1.0
        derivatives[..., 1] = -slope
        derivatives[..., 2] = -u * slope
        derivatives[..., N_PEAK:] = np.moveaxis(modes, 0, -1)
        return derivatives

    def _index(self, channel):
        """Position of every channel of the axis in the span of the groups."""
        return (-self.groups.edges[0] - channel)[:, None] + np.arange(self.energy.size)

    def _linear(self, values, channel):
        return np.take_along_axis(values @ self.to_channels[0], self._index(channel), -1)

    def _cubic(self, values, channel):
        return np.take_along_axis(values @ self.to_channels[1], self._index(channel), -1)


def interpolation_matrix(groups, degree):
    """Matrix from values in the middle of groups to values in all their channels."""
    channels = np.arange(groups.edges[0], groups.edges[-1])
    inside = np.clip(channels, groups.middle[0], groups.middle[-1])
    return make_interp_spline(groups.middle, np.eye(groups.size), k=degree)(inside).T
