# SPDX-License-Identifier: GPL-3.0-or-later
"""Matching: joining the ensemble to one spectrum.

In the window where a spectrum is still pure zero-loss peak its own counts say how high, where,
how wide and of which of the ensemble's shapes its peak is. These few numbers are fitted there by
weighted least squares with the ensemble's spread as the prior, for all spectra at once; what is
left of the spread after the fit is the uncertainty of the ZLP in that spectrum.
"""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.zlp.reference import Grid

#: Amplitude, shift and width come before the coefficients of the ensemble's modes.
N_PEAK = 3
#: Largest correction of centre (in FWHM) and of ln(FWHM) in one step.
_LARGEST_STEP = 0.2
#: Half-height widths agree with fitted ones to this, plus this over the channels per FWHM ...
_WIDTH_SIGMA, _WIDTH_SIGMA_COARSE = 0.005, 0.2
#: ... plus this over the square root of the electrons in the peak.
_WIDTH_SIGMA_COUNTING = 5.0
_SPECTRA_AT_ONCE = 256
#: Steps of a match in which the modes are looked up at the present centre and width.
_MODES_LOOKED_UP = (0, 2)


@dataclass(frozen=True)
class ShapeTable:
    """Log-shape of the peak and its modes, on the grid of x times nodes of a thickness coordinate.

    Attributes
    ----------
    grid : Grid
    thickness_nodes : ndarray of shape (n_nodes,)
        Values of the coordinate, increasing; one node makes the shape independent of it.
    log_shape : ndarray of shape (n_nodes, n_grid)
        Median over the replicas of ln(ZLP / N0 height), 0 near u = 0.
    modes : ndarray of shape (n_modes, n_nodes, n_grid)
        Principal deviations of the replicas, of unit prior variance.
    rest : ndarray of shape (n_nodes, n_grid)
        Standard deviation over replicas that the modes leave out.
    scatter : ndarray of shape (n_grid,)
        Relative scatter of measured spectra about the shapes that no mode explains.
    lower, upper : ndarray of shape (n_nodes, n_grid)
        Quantiles over the replicas in units of their standard deviation, from the median.
    spill : ndarray of shape (n_nodes, n_grid)
        Counts in region I that are not ZLP but losses spilled by the response, relative to it.
    """

    grid: Grid
    thickness_nodes: np.ndarray
    log_shape: np.ndarray
    modes: np.ndarray
    rest: np.ndarray
    scatter: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    spill: np.ndarray

    @classmethod
    def of_reference(cls, grid, log_shape):
        """Table of one shape without spread."""
        one, none = log_shape[None], np.zeros((1, grid.n))
        no_modes = np.zeros((0, 1, grid.n))
        return cls(grid, np.zeros(1), one, no_modes, none, none[0], none - 1, none + 1, none)

    @property
    def n_modes(self):
        return len(self.modes)

    def at(self, thickness):
        """Nodes below the given values and fractions of a step beyond them, constant outside.

        Returns
        -------
        node : ndarray of int of shape (n_spectra,)
        fraction : ndarray of shape (n_spectra,)
        """
        nodes = self.thickness_nodes
        if nodes.size == 1:
            return np.zeros(len(thickness), np.intp), np.zeros(len(thickness))
        position = np.interp(thickness, nodes, np.arange(nodes.size))
        low = np.minimum(position.astype(np.intp), nodes.size - 2)
        return low, position - low

    def evaluate(self, u, at, tables):
        """Interpolate tables of shape (..., n_nodes, n_grid) at ``u`` of shape (n_spectra, n).

        ``at`` is what :meth:`at` returns. Returns an array of shape (..., n_spectra, n).
        """
        return self.look_up(self.places(u, at), tables)

    def places(self, u, at):
        """Where ``u`` of shape (n_spectra, n) lies in a table; see :class:`Places`."""
        below, fraction = self.grid.locate(u)
        node, beyond = at
        below += node[:, None] * self.grid.n
        return Places(below, fraction, beyond[:, None] if self.thickness_nodes.size > 1 else None)

    def look_up(self, places, tables):
        """Bilinear interpolation of tables of shape (..., n_nodes, n_grid).

        Neighbours are gathered row by row into scratch that stays in the cache: for a block of
        spectra this is several times faster than mixing the nodes of each spectrum first.
        """
        flat = tables.reshape((-1, self.thickness_nodes.size * self.grid.n))
        shape = places.below.shape
        values = np.empty((len(flat),) + shape, flat.dtype)
        scratch = np.empty((2,) + shape, flat.dtype)
        fraction = places.fraction.astype(flat.dtype, copy=False)
        for row, result in zip(flat, values, strict=True):
            _interpolate(row, places.below, fraction, result, scratch[0])
            if places.beyond is not None:
                at_next = _interpolate(
                    row[self.grid.n :], places.below, fraction, scratch[1], scratch[0]
                )
                at_next -= result
                at_next *= places.beyond
                result += at_next
        return values.reshape(tables.shape[:-2] + shape)


@dataclass(frozen=True)
class Places:
    """Where tables are looked up.

    Attributes
    ----------
    below : ndarray of int of shape (n_spectra, n)
        Position below in a table of flattened (n_nodes, n_grid).
    fraction : ndarray of shape (n_spectra, n)
        Of a step of the grid beyond it.
    beyond : ndarray of shape (n_spectra, 1) or None
        Fraction of a step between nodes of the thickness; None for a single node.
    """

    below: np.ndarray
    fraction: np.ndarray
    beyond: np.ndarray


def _interpolate(row, below, fraction, result, scratch):
    """Linear interpolation of one row of a table into ``result``."""
    np.take(row, below, out=result, mode="clip")
    np.take(row[1:], below, out=scratch, mode="clip")
    scratch -= result
    scratch *= fraction
    result += scratch
    return result


@dataclass(frozen=True)
class Match:
    """Outcome of matching spectra; the first axis runs over spectra.

    Attributes
    ----------
    log_height : ndarray of shape (n_spectra,)
        Logarithm of the height of the peak, counts per channel.
    centre, fwhm : ndarray of shape (n_spectra,)
        Corrected position and width, eV.
    coefficients : ndarray of shape (n_spectra, n_modes)
    covariance : ndarray of shape (n_spectra, 3 + n_modes, 3 + n_modes)
        Of (log height, shift in FWHM, ln FWHM, coefficients).
    chi2, n_points : ndarray of shape (n_spectra,)
        Misfit in the window, and points in it.
    """

    log_height: np.ndarray
    centre: np.ndarray
    fwhm: np.ndarray
    coefficients: np.ndarray
    covariance: np.ndarray
    chi2: np.ndarray
    n_points: np.ndarray

    @property
    def reduced_chi2(self):
        """Misfit per degree of freedom."""
        return self.chi2 / np.maximum(self.n_points - N_PEAK, 1)


@dataclass(frozen=True)
class GroupedSpectra:
    """Counts of spectra in groups of channels around their peaks.

    Attributes
    ----------
    sums : ndarray of shape (n_spectra, n_groups)
        Counts, free of pedestal.
    n_channels : ndarray of shape (n_groups,)
    curvature : ndarray of shape (n_groups,)
        Mean of the peak over a group divided by its value in the middle.
    from_channel : ndarray of shape (n_spectra, n_groups)
        Energy of the middle of each group, eV.
    complete : ndarray of bool, shape (n_spectra, n_groups)
    """

    sums: np.ndarray
    n_channels: np.ndarray
    curvature: np.ndarray
    energy: np.ndarray
    complete: np.ndarray

    def select(self, index):
        """Some of the spectra."""
        return GroupedSpectra(
            self.sums[index],
            self.n_channels,
            self.curvature,
            self.energy[index],
            self.complete[index],
        )

    def of_groups(self, groups):
        """Some neighbouring groups of all spectra."""
        return GroupedSpectra(
            self.sums[:, groups],
            self.n_channels[groups],
            self.curvature[groups],
            self.energy[:, groups],
            self.complete[:, groups],
        )


def group_spectra(counts, energy, channel, groups, curvature):
    """Collect the counts of spectra in groups around their peaks.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Free of pedestal.
    energy : ndarray of shape (n_energy,)
    channel : ndarray of int, shape (n_spectra,)
    groups : ChannelGroups
    curvature : ndarray of shape (n_groups,)
    """
    sums, complete = groups.collect(counts, channel)
    step = energy[1] - energy[0]
    middle = energy[0] + step * (channel[:, None] + groups.middle)
    return GroupedSpectra(sums, groups.n_channels, curvature, middle, complete)


def join_spectra(parts):
    """One set of grouped spectra from several with the same groups."""
    first = parts[0]
    sums, energy, complete = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("sums", "energy", "complete")
    )
    return GroupedSpectra(sums, first.n_channels, first.curvature, energy, complete)


def group_curvature(grid, log_shape, groups, channels_per_fwhm):
    """Mean of the shape over each group divided by its value in the middle."""
    middle = np.exp(grid.interpolate(log_shape, groups.middle / channels_per_fwhm))
    channels = np.arange(groups.edges[0], groups.edges[-1])
    shape = np.exp(grid.interpolate(log_shape, channels / channels_per_fwhm))
    means = np.add.reduceat(shape, groups.edges[:-1] - groups.edges[0]) / groups.n_channels
    return means / np.maximum(middle, 1e-300)


def match(spectra, centre, fwhm, thickness, window, table, noise, width_prior, n_steps=4):
    """Fit height, shift, width and shape of the peaks in their pure-ZLP windows.

    Parameters
    ----------
    spectra : GroupedSpectra
    centre, fwhm : ndarray of shape (n_spectra,)
        Starting values, eV.
    thickness : ndarray of shape (n_spectra,)
        Coordinate of the table.
    window : tuple of two ndarrays of shape (n_spectra,)
        Limits in reduced energy.
    table : ShapeTable
    noise : NoiseModel
    width_prior : tuple of two floats, or None
        Mean and standard deviation of ln(FWHM) over the image; None leaves the width free.
    n_steps : int
        Gauss-Newton steps.

    Returns
    -------
    Match
    """
    parts = []
    for start in range(0, len(centre), _SPECTRA_AT_ONCE):
        block = slice(start, start + _SPECTRA_AT_ONCE)
        parts.append(
            _match_block(
                spectra.select(block), centre[block], fwhm[block], thickness[block],
                (window[0][block], window[1][block]), table, noise, width_prior, n_steps,
            )
        )  # fmt: skip
    if not parts:
        parts = [_nothing_to_match(table.n_modes)]
    return Match(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _nothing_to_match(n_modes):
    n = N_PEAK + n_modes
    empty = np.zeros(0)
    return empty, empty, empty, np.zeros((0, n_modes)), np.zeros((0, n, n)), empty, empty


def _width_priors(spectra, centre, fwhm, noise, width_prior):
    """What is known of ln(FWHM) beforehand, as (mean, standard deviation) pairs."""
    step = spectra.energy[:, 1] - spectra.energy[:, 0]
    step = np.abs(step) / (0.5 * (spectra.n_channels[0] + spectra.n_channels[1]))
    core = np.abs(spectra.energy - centre[:, None]) < fwhm[:, None]
    electrons = np.maximum((spectra.sums * core).sum(-1) / max(noise.gain, 1e-3), 1.0)
    relative = np.sqrt(
        _WIDTH_SIGMA**2
        + (_WIDTH_SIGMA_COARSE * step / fwhm) ** 2
        + _WIDTH_SIGMA_COUNTING**2 / electrons
    )
    priors = [(np.log(fwhm), relative)]
    if width_prior is not None:
        priors.append((width_prior[0], np.full(len(fwhm), width_prior[1])))
    return priors


def _match_block(spectra, centre, fwhm, thickness, window, table, noise, width_prior, n_steps):
    at = table.at(thickness)
    slope_table = np.gradient(table.log_shape, table.grid.u, axis=-1)
    log_seen = table.log_shape + np.log1p(table.spill)
    scatter_table = np.broadcast_to(table.scatter, log_seen.shape)
    peak_tables = np.stack([log_seen, slope_table, scatter_table])
    n_modes, n_numbers = table.n_modes, N_PEAK + table.n_modes
    widths = _width_priors(spectra, centre, fwhm, noise, width_prior)
    prior = np.ones((len(centre), n_numbers))
    prior[:, :N_PEAK] = 0.0
    prior[:, 2] = sum(sigma**-2.0 for _, sigma in widths)

    start_u = (spectra.energy - centre[:, None]) / fwhm[:, None]
    inside = spectra.complete & (start_u >= window[0][:, None]) & (start_u <= window[1][:, None])
    n_points = inside.sum(-1).astype(float)
    # Groups that no spectrum of the block is matched in need no look at all.
    groups = _span(inside.any(0))
    spectra, inside, start_u = spectra.of_groups(groups), inside[:, groups], start_u[:, groups]
    log_height = _first_height(spectra, start_u, inside, table, at, log_seen)
    coefficients = np.zeros((len(centre), n_modes))
    first_log_fwhm = np.log(fwhm)
    scale = spectra.n_channels * spectra.curvature
    jacobian = np.empty((n_numbers,) + inside.shape)
    modes = np.zeros((n_modes,) + inside.shape)
    for number in range(n_steps):
        u = (spectra.energy - centre[:, None]) / fwhm[:, None]
        places = table.places(u, at)
        log_shape, slope, scatter = table.look_up(places, peak_tables)
        # Modes are smooth: after two steps the peak moves too little to look them up again.
        if number in _MODES_LOOKED_UP:
            modes = table.look_up(places, table.modes)
        log_expected = log_height[:, None] + log_shape
        log_expected += np.einsum("pj,jpg->pg", coefficients, modes)
        expected = scale * np.exp(np.clip(log_expected, -80, 80))
        variance = noise.variance(expected, spectra.n_channels) + (scatter * expected) ** 2
        variance = np.maximum(variance, 1e-6 * expected**2 + 1e-12)
        inverse = np.where(inside, 1 / np.sqrt(variance), 0.0)
        root = expected * inverse
        residual = (spectra.sums - expected) * inverse
        jacobian[0] = root
        np.multiply(slope, -root, out=jacobian[1])
        np.multiply(jacobian[1], u, out=jacobian[2])
        np.multiply(modes, root, out=jacobian[N_PEAK:])
        by_spectrum = jacobian.transpose(1, 0, 2)
        normal = by_spectrum @ by_spectrum.swapaxes(-1, -2)
        gradient = (by_spectrum @ residual[..., None])[..., 0]
        gradient[:, N_PEAK:] -= coefficients
        for mean, sigma in widths:
            gradient[:, 2] += (mean - np.log(fwhm)) / sigma**2
        diagonal = np.einsum("pii->pi", normal)
        diagonal += prior
        diagonal += 1e-9 * diagonal.sum(-1, keepdims=True) + 1e-12
        covariance = np.linalg.inv(normal)
        step = (covariance @ gradient[..., None])[..., 0]
        step[:, 1:N_PEAK] = np.clip(step[:, 1:N_PEAK], -_LARGEST_STEP, _LARGEST_STEP)
        log_height = log_height + step[:, 0]
        centre = centre + step[:, 1] * fwhm
        fwhm = np.exp(
            np.clip(np.log(fwhm) + step[:, 2], first_log_fwhm - 0.5, first_log_fwhm + 0.5)
        )
        coefficients = coefficients + step[:, N_PEAK:]
    chi2 = np.einsum("pg,pg->p", residual, residual)
    return log_height, centre, fwhm, coefficients, covariance, chi2, n_points


def _span(used):
    """From the first to the last of some booleans, as a slice."""
    found = np.flatnonzero(used)
    return slice(found[0], found[-1] + 1) if found.size else slice(0, used.size)


def _first_height(spectra, u, inside, table, at, log_seen):
    """ln(height) at which the counts of the core are those of the shape."""
    shape = np.exp(table.evaluate(u, at, log_seen))
    core = inside & (np.abs(u) < 1)
    scale = spectra.n_channels * spectra.curvature
    counts = np.maximum((spectra.sums * core).sum(-1), 1e-9)
    return np.log(counts / (shape * scale * core).sum(-1))
