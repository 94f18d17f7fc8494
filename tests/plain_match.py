# SPDX-License-Identifier: GPL-3.0-or-later
"""The match in plain NumPy, which the compiled one is held to."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import median_filter

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.statistics import Normal
from hyperspy_zlpml.zlp.groups import GroupedSpectra
from hyperspy_zlpml.zlp.kernels import HEIGHT, N_PEAK, SHIFT, WIDTH
from hyperspy_zlpml.zlp.matching import Match, inside_window
from hyperspy_zlpml.zlp.tables import Between, ShapeTable

#: Largest correction of centre (in FWHM) and of ln(FWHM) in one step.
_LARGEST_STEP = 0.2
#: Furthest that ln(height) goes from what the counts of the core say.
_LARGEST_CHANGE = 1.5
#: Half-height widths agree with fitted ones to this fraction ...
_WIDTH_SIGMA = 0.005
#: ... plus this over the channels per FWHM ...
_WIDTH_SIGMA_COARSE = 0.2
#: ... plus this over the square root of the electrons in the peak.
_WIDTH_SIGMA_COUNTING = 5.0
#: No group of channels is believed to be better known than this, relatively.
_FLOOR = 1e-3
#: Counts, in electrons, that are none.
_NOTHING = 1e-6
#: Groups that are off by this many standard deviations, and by as many times what their neighbours
#: are off, hold a spike.
_SPIKE = 6.0
#: Steps of a match, by number, up to which spikes are looked for: weights that change for ever would
#: keep it from converging.
_WEIGHED_UP_TO = 3
#: Neighbouring groups that are looked at.
_SPIKE_NEIGHBOURS = 9
#: A spectrum is matched when a step is shorter than this, in standard deviations squared.
_CONVERGED = 1e-2
#: Steps of a match, by number, in which the modes are looked up at the present centre and width.
_MODES_LOOKED_UP = (0, 2)


def _width_priors(spectra, start, noise, width_prior):
    """Collect the priors of ln(FWHM) of every spectrum: by its own peak, by the image."""
    centre, fwhm = start.centre, start.fwhm
    step = spectra.energy[:, 1] - spectra.energy[:, 0]
    step = np.abs(step) / (0.5 * (spectra.n_channels[0] + spectra.n_channels[1]))
    core = np.abs(spectra.energy - centre[:, None]) < fwhm[:, None]
    electrons = np.maximum((spectra.sums * core).sum(-1) / noise.unit, 1.0)
    relative = np.sqrt(
        _WIDTH_SIGMA**2
        + (_WIDTH_SIGMA_COARSE * step / fwhm) ** 2
        + _WIDTH_SIGMA_COUNTING**2 / electrons
    )
    priors = [Normal(np.log(fwhm), relative)]
    if width_prior is not None:
        mean, sigma = np.broadcast_arrays(*width_prior, fwhm)[:2]
        priors.append(Normal(mean, sigma))
    return priors


def match(spectra, start, table, noise, width_prior, n_steps=10):
    """What the compiled match does, for all spectra at once; each leaves the loop when it has converged."""
    centre, fwhm = start.centre, start.fwhm
    u = (spectra.energy - centre[:, None]) / fwhm[:, None]
    inside = spectra.complete & inside_window(u, start.window)
    # Groups that no spectrum of the block is matched in need no look at all.
    groups = _span(inside.any(0))
    fit = _Fit(
        spectra=spectra.of_groups(groups),
        inside=inside[:, groups],
        at=table.at(start.log_intensity),
        first_log_fwhm=np.log(fwhm),
        first_log_height=np.zeros(len(fwhm)),
        widths=_width_priors(spectra, start, noise, width_prior),
        table=table,
        noise=noise,
    )
    believed = None
    now = _Peaks(np.zeros(len(centre)), centre, fwhm, np.zeros((len(centre), table.n_modes)))
    found = Match.empty(len(centre), table.n_modes)
    found.n_points[:] = inside.sum(-1)
    active = np.arange(len(centre))
    for number in range(n_steps):
        places = fit.places(now)
        shape = table.peak(places)
        if number == 0:
            now = replace(now, log_height=fit.first_height(shape[0], places.u))
            fit = replace(fit, first_log_height=now.log_height)
        # Modes are smooth: after two steps the peak moves too little to look them up again.
        if number in _MODES_LOOKED_UP:
            modes = table.shape_modes(places)
        if number <= _WEIGHED_UP_TO:
            believed = None
        normal, gradient, chi2, believed = fit.normal_equations(
            now, places.u, shape=shape, modes=modes, believed=believed
        )
        broken = _settle_broken(normal, gradient)
        step = np.linalg.solve(normal, gradient[..., None])[..., 0]
        now = fit.moved(now, step)
        done = np.einsum("pi,pi->p", gradient, step) < _CONVERGED
        done |= number == n_steps - 1
        if done.any():
            rows = active[done]
            _write(found, rows, now.select(done))
            found.covariance[rows] = np.linalg.inv(normal[done])
            found.log_height[active[broken]] = np.nan
            found.chi2[rows] = chi2[done]
            left = ~done
            active, modes, believed = active[left], modes[:, left], believed[left]
            fit, now = fit.select(left), now.select(left)
        if not active.size:
            break
    return found


def _settle_broken(normal, gradient):
    """Let fits that have run away end where they are, in place; tell which do."""
    broken = ~(np.isfinite(normal).all((-1, -2)) & np.isfinite(gradient).all(-1))
    normal[broken] = np.eye(normal.shape[-1])
    gradient[broken] = 0.0
    return broken


def _write(found, rows, peaks):
    """Write fitted numbers of some spectra where they belong."""
    for name, values in vars(peaks).items():
        getattr(found, name)[rows] = values


@dataclass(frozen=True)
class _Peaks(PerSpectrum):
    """Numbers that are fitted to every spectrum."""

    log_height: np.ndarray
    centre: np.ndarray
    fwhm: np.ndarray
    coefficients: np.ndarray


@dataclass(frozen=True)
class _Fit(PerSpectrum):
    """Data of a fit: spectra in their windows, and what is known beforehand.

    Attributes
    ----------
    spectra : GroupedSpectra
    inside : ndarray of bool of shape (n_spectra, n_groups)
    at : Between
        Nodes of ln N0 in the table that each lies between.
    first_log_fwhm, first_log_height : ndarray of shape (n_spectra,)
        ln(FWHM) and ln(height) at the start.
    widths : list of Normal
        Priors of ln(FWHM).
    table : ShapeTable
    noise : NoiseModel
    """

    shared = ("table", "noise")

    spectra: GroupedSpectra
    inside: np.ndarray
    at: Between
    first_log_fwhm: np.ndarray
    first_log_height: np.ndarray
    widths: list[Normal]
    table: ShapeTable
    noise: NoiseModel

    def places(self, now):
        """Find where the groups lie in the table."""
        u = (self.spectra.energy - now.centre[:, None]) / now.fwhm[:, None]
        return self.table.places(u, self.at)

    def first_height(self, log_shape, u):
        """Find the ln(height) at which the counts of the core are those of the shape."""
        core = self.inside & (np.abs(u) < 1)
        scale = self.spectra.scale(np.exp(self.first_log_fwhm))
        counts = np.maximum((self.spectra.sums * core).sum(-1), _NOTHING * self.noise.unit)
        expected = np.maximum((np.exp(log_shape) * scale * core).sum(-1), _NOTHING)
        return np.log(counts / expected)

    def normal_equations(self, now, u, *, shape, modes, believed=None):
        """Compute normal matrices, gradients, chi2 and weights of the linearised fits.

        ``shape`` holds the logarithm, slope and scatter of the table at ``u``, ``modes`` its
        modes; all of shape (..., n_spectra, n_groups).
        """
        log_shape, slope, scatter, *widening = shape
        spectra = self.spectra
        wider = (np.log(now.fwhm) - self.table.log_fwhm)[:, None]
        coefficients = now.coefficients.astype(self.table.dtype, copy=False)
        log_expected = now.log_height[:, None] + log_shape
        log_expected += np.einsum("pj,jpg->pg", coefficients, modes)
        for change in widening:
            log_expected += wider.astype(self.table.dtype, copy=False) * change
        scale = spectra.scale(now.fwhm)
        expected = scale * np.exp(np.clip(log_expected, -80, 80))
        extra = (scatter * expected) ** 2
        variance = self.noise.variance(expected, spectra.n_channels) + extra
        inverse = self._inverse_sigma(variance, expected)
        deviation = spectra.sums - expected
        if believed is None:
            believed = _believed(deviation * inverse)
        inverse *= believed
        residual = deviation * inverse
        # Sums in double precision: they must not depend on the spectra worked on beside.
        jacobian = np.empty((N_PEAK + len(modes),) + u.shape)
        jacobian[HEIGHT] = expected * inverse
        np.multiply(slope, -jacobian[HEIGHT], out=jacobian[SHIFT])
        np.multiply(jacobian[SHIFT], u, out=jacobian[WIDTH])
        for change in widening:
            jacobian[WIDTH] += change * jacobian[HEIGHT]
        np.multiply(modes, jacobian[HEIGHT], out=jacobian[N_PEAK:])
        jacobian = jacobian.transpose(1, 0, 2)
        normal = jacobian @ jacobian.swapaxes(-1, -2)
        gradient = (jacobian @ residual[..., None])[..., 0]
        gradient[:, N_PEAK:] -= now.coefficients
        diagonal = np.einsum("pii->pi", normal)
        diagonal[:, N_PEAK:] += 1.0
        for mean, sigma in self.widths:
            gradient[:, WIDTH] += (mean - np.log(now.fwhm)) / sigma**2
            diagonal[:, WIDTH] += sigma**-2.0
        diagonal += 1e-9 * diagonal.sum(-1, keepdims=True) + 1e-12
        if len(self.noise.correlation) > 1:
            # The fitted numbers are as uncertain as the noise of many channels makes them, but
            # single groups deviate by the noise of their few.
            variance = self.noise.of_sum(expected, spectra.n_channels) + extra
            residual = deviation * self._inverse_sigma(variance, expected) * believed
        return normal, gradient, np.einsum("pg,pg->p", residual, residual), believed

    def _inverse_sigma(self, variance, expected):
        """Compute one over the standard deviation of groups, 0 outside of their windows."""
        variance = np.maximum(variance, _FLOOR**2 * expected**2 + (_NOTHING * self.noise.unit) ** 2)
        return np.where(self.inside, 1 / np.sqrt(variance), 0.0)

    def moved(self, now, step):
        """Take a step, which is kept from being too long."""
        move = np.clip(step[:, :N_PEAK], -_LARGEST_STEP, _LARGEST_STEP)
        log_fwhm = np.log(now.fwhm) + move[:, WIDTH]
        lowest, highest = self.first_log_fwhm - 0.5, self.first_log_fwhm + 0.5
        # The sum of the core tells the height: further away a fit has run off.
        log_height = np.clip(
            now.log_height + step[:, HEIGHT],
            self.first_log_height - _LARGEST_CHANGE,
            self.first_log_height + _LARGEST_CHANGE,
        )
        return _Peaks(
            log_height=log_height,
            centre=now.centre + move[:, SHIFT] * now.fwhm,
            fwhm=np.exp(np.clip(log_fwhm, lowest, highest)),
            coefficients=now.coefficients + step[:, N_PEAK:],
        )


def _believed(residual):
    """Weigh groups less whose residuals stand out of those of their neighbours, as spikes do.

    Where the shape is not that of the peak, neighbours are off together: nothing stands out.
    """
    weight = np.ones_like(residual)
    rows = np.flatnonzero((np.abs(residual) > _SPIKE).any(-1))
    if rows.size:
        size = np.abs(residual[rows])
        # Zero beyond the groups that are looked at, as outside of the windows: neighbours in a block
        # of spectra must not decide.
        typical = median_filter(size, size=(1, _SPIKE_NEIGHBOURS), mode="constant")
        limit = _SPIKE * np.maximum(typical, 1.0)
        weight[rows] = np.where(size > limit, (limit / np.maximum(size, limit)) ** 2, 1.0)
    return weight


def _span(used):
    """Find the slice from the first to the last of some booleans that are true."""
    found = np.flatnonzero(used)
    return slice(found[0], found[-1] + 1) if found.size else slice(0, used.size)
