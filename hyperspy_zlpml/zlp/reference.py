# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference: a smooth shape with falling tails, which the networks correct.

As NNPDF multiplies its networks by a preprocessing function, a network here learns the logarithm
of the ratio of a peak to the mean shape of the vacuum pixels (or of the brightest cluster), and
so carries only what differs. Shapes live on a uniform grid of ``x = asinh(2 u)``: linear in the
core, logarithmic in the tails, where a straight line is a power law.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline
from scipy.linalg import solveh_banded
from scipy.optimize import isotonic_regression

#: Step of the tables in x; linear interpolation is then good to 2e-5 in the core.
GRID_STEP = 0.01
_KNOT_STEP = 0.12
_CELL = 0.03
#: Relative error added to every cell: no measured shape is known better.
_FLOOR = 3e-4
_PENALTIES = 10.0 ** np.arange(-3, 6, 0.5)
#: Directions in which the reference is uncertain that are kept, and the largest error in ln.
_MOST_DIRECTIONS = 24
_LARGEST_ERROR = 1.0
_LARGEST_LOG = 50.0
#: Outside the core (|u| beyond this) the tails may only fall.
_CORE = 0.75
#: Slope in x of the extrapolated tails: at least this power of the energy.
SLOWEST_TAIL = -1.0


def to_grid(u):
    """``x = asinh(2 u)``."""
    return np.arcsinh(2.0 * u)


def from_grid(x):
    """Inverse of :func:`to_grid`."""
    return np.sinh(x) / 2.0


@dataclass(frozen=True)
class Grid:
    """Uniform grid in x."""

    start: float
    n: int

    @property
    def x(self):
        """Nodes, shape (n,)."""
        return self.start + GRID_STEP * np.arange(self.n)

    @property
    def u(self):
        """Reduced energies of the nodes."""
        return from_grid(self.x)

    def locate(self, u):
        """Lower node and fraction of a step for linear interpolation, clipped to the grid."""
        position = np.clip((to_grid(u) - self.start) / GRID_STEP, 0, self.n - 1.000001)
        node = position.astype(np.intp)
        return node, position - node

    def interpolate(self, table, u):
        """Linear interpolation of ``table`` (n,) at any ``u``."""
        node, fraction = self.locate(u)
        return table[node] + fraction * (table[node + 1] - table[node])

    def interpolate_rows(self, table, u):
        """Linear interpolation of ``table`` (n, ...) along its first axis."""
        node, fraction = self.locate(u)
        return table[node] + fraction[:, None] * (table[node + 1] - table[node])

    def held_to(self, wider, table):
        """A table (..., n) on a wider grid, constant beyond this one."""
        before = round((self.start - wider.start) / GRID_STEP)
        padding = [(0, 0)] * (table.ndim - 1) + [(before, wider.n - self.n - before)]
        return np.pad(table, padding, mode="edge")

    @classmethod
    def covering(cls, u_low, u_high):
        """Grid from ``u_low`` to ``u_high`` with a node at the peak."""
        first = int(np.floor(to_grid(u_low) / GRID_STEP)) - 2
        last = int(np.ceil(to_grid(u_high) / GRID_STEP)) + 2
        return cls(first * GRID_STEP, last - first + 1)


def fit_reference(u, counts, expected_scale, variance, grid):
    """Smooth log-shape from many spectra.

    A penalised spline in x with a logarithmic link, fitted to the counts themselves (which may
    be negative) by iterated least squares; the smoothing is the one that the data
    make most likely. Beyond the data the spline goes on straight: a power law.

    Parameters
    ----------
    u : ndarray
        Reduced energies of the groups of channels, any shape.
    counts : ndarray, same shape
        Their counts.
    expected_scale : ndarray, same shape
        Counts a group would hold if the shape were 1 (amplitude times channels); 0 leaves out.
    variance : ndarray, same shape
    grid : Grid

    Returns
    -------
    log_shape : ndarray of shape (grid.n,)
        0 at u = 0.
    modes : ndarray of shape (n_modes, grid.n)
        Independent deviations of one standard error by which the data leave it uncertain.
    """
    on_grid = (u >= grid.u[0]) & (u <= grid.u[-1])
    expected_scale = np.where(on_grid, expected_scale, 0.0)
    x, ratio, sigma = _pool(to_grid(u), counts, expected_scale, variance)
    knots_from, knots_to = grid.x[0] - 4 * _KNOT_STEP, grid.x[-1] + 4 * _KNOT_STEP
    knots = np.arange(knots_from, knots_to + _KNOT_STEP, _KNOT_STEP)
    n_basis = knots.size - 4
    basis = BSpline.design_matrix(x, knots, 3).toarray()
    difference = np.diff(np.eye(n_basis), 2, axis=0)
    roughness = difference.T @ difference

    best_score, best = np.inf, None
    for penalty in _PENALTIES:
        score, coefficient, system = _fit_spline(basis, ratio, sigma, roughness, penalty)
        if score < best_score:
            best_score, best, information = score, coefficient, system
    on_grid = BSpline.design_matrix(grid.x, knots, 3).toarray()
    on_grid -= grid.interpolate_rows(on_grid, np.zeros(1))
    log_shape = falling_tails(on_grid @ best, grid, x[0], x[-1])
    return log_shape, _uncertain_directions(on_grid, information)


def _uncertain_directions(on_grid, information):
    """Principal directions of the error of a spline, from the inverse of its covariance."""
    ridge = 1e-10 * np.trace(information) / len(information)
    factor = np.linalg.cholesky(information + ridge * np.eye(len(information)))
    errors = np.linalg.solve(factor, on_grid.T).T
    sigma = np.linalg.norm(errors, axis=1)
    sigma = np.maximum(sigma, 1e-300)
    errors *= np.minimum(1.0, _LARGEST_ERROR / sigma)[:, None]
    # Compared in units of the error, or the far tails would take all the directions.
    scale = np.minimum(sigma, _LARGEST_ERROR) + _FLOOR
    left, singular, _ = np.linalg.svd(errors / scale[:, None], full_matrices=False)
    modes = (left * singular).T[:_MOST_DIRECTIONS] * scale
    # The sign of a direction is arbitrary: fix it, so that equal data give equal replicas.
    return modes * np.sign(modes[np.arange(len(modes)), np.abs(modes).argmax(-1)])[:, None]


def _pool(x, counts, scale, variance):
    """Mean ratio in narrow cells of x, with its error."""
    use = scale > 0
    cell = np.round(x[use] / _CELL).astype(int)
    cell, index = np.unique(cell, return_inverse=True)
    weight = scale[use]
    total = np.bincount(index, weight)
    ratio = np.bincount(index, counts[use]) / total
    position = np.bincount(index, x[use] * weight) / total
    sigma = np.sqrt(np.bincount(index, variance[use])) / total
    sigma = np.hypot(sigma, _FLOOR * np.abs(ratio))
    return position, ratio, np.maximum(sigma, _FLOOR * sigma.max())


def _fit_spline(basis, ratio, sigma, roughness, strength):
    """Score, coefficients and their inverse covariance.

    The score is minus twice the logarithm of the marginal likelihood: the noise is known, and
    cross-validation smooths too much where there is little data.
    """
    penalty = strength * roughness
    significant = ratio > 2 * sigma
    start = np.log(np.where(significant, ratio, np.maximum(2 * sigma, 1e-12)))
    value = start
    for _ in range(12):
        mean = np.exp(value)
        weight = (mean / sigma) ** 2
        target = value + np.clip((ratio - mean) / mean, -1.0, 1.0)
        normal = basis.T @ (weight[:, None] * basis)
        right = basis.T @ (weight * target)
        system = normal + penalty
        coefficient = _solve(system, right)
        new = np.clip(basis @ coefficient, -_LARGEST_LOG, _LARGEST_LOG)
        done = np.abs(new - value).max() < 1e-6
        value = new
        if done:
            break
    misfit = (((ratio - np.exp(value)) / sigma) ** 2).sum()
    rough = coefficient @ penalty @ coefficient
    # Straight lines are not penalised: the penalty has two eigenvalues of zero.
    rank = len(penalty) - 2
    spread = np.linalg.slogdet(system + 1e-10 * np.abs(system).max() * np.eye(len(system)))[1]
    return misfit + rough + spread - rank * np.log(strength), coefficient, system


def _solve(matrix, right):
    """Solve with the banded positive-definite ``matrix`` (bandwidth 3)."""
    n = len(matrix)
    bands = np.zeros((4, n))
    for k in range(4):
        bands[3 - k, k:] = np.diagonal(matrix, k)
    bands[3] += 1e-10 * bands[3].max()
    return solveh_banded(bands, right)


def falling_tails(log_shape, grid, x_first, x_last):
    """Force the tails to fall outward, at least slowly beyond the data."""
    shape = log_shape.copy()
    peak = int(np.abs(grid.x).argmin())
    core = int(np.ceil(to_grid(_CORE) / GRID_STEP))
    for side, limit in ((1, x_last), (-1, x_first)):
        tail = shape[peak:][core:] if side > 0 else shape[: peak + 1][::-1][core:]
        distance = (np.arange(tail.size) + core) * GRID_STEP
        beyond = distance > abs(limit)
        steps = np.diff(tail, prepend=tail[0])
        steps = np.where(beyond, np.minimum(steps, SLOWEST_TAIL * GRID_STEP), np.minimum(steps, 0))
        falling = tail[0] + np.cumsum(steps)
        inside = tail.copy()
        if not beyond.all():
            inside[~beyond] = isotonic_regression(tail[~beyond], increasing=False).x
        tail[:] = np.where(beyond, falling + (inside - falling)[~beyond][-1:].sum(), inside)
    return shape


def level_ripples(log_values, u):
    """Tails that never rise outward: every value at most that of its inner neighbour.

    Parameters
    ----------
    log_values : ndarray of shape (..., n)
    u : ndarray of shape (..., n) or (n,)
        Reduced energies, increasing.

    Returns
    -------
    ndarray of shape (..., n)
    """
    inner = np.abs(u) <= _CORE
    top = np.where(inner, np.inf, log_values)
    loss = np.where(u > 0, np.minimum.accumulate(np.where(u > 0, top, np.inf), -1), np.inf)
    gain = np.where(u < 0, top, np.inf)[..., ::-1]
    gain = np.minimum.accumulate(gain, -1)[..., ::-1]
    levelled = np.where(u > 0, loss, gain)
    return np.where(inner, log_values, levelled)


#: Standard deviation of the power of the energy by which an extrapolated tail may be wrong.
TAIL_POWER_SIGMA = 0.5


def extrapolate_by_gain_side(log_shape, grid, u_limit):
    """Replace the loss-side tail beyond ``u_limit`` by the gain-side tail, raised to join it.

    No electron gains the energies that specimens take, so the gain side shows how the tail goes
    on; the two sides of measured peaks differ by a nearly constant factor (1.8 to 2.1 between
    2 and 7 FWHM on the WS2 data of Roest 2021).
    """
    mirrored = grid.interpolate(log_shape, -grid.u)
    limit = np.array([u_limit])
    joined = mirrored + grid.interpolate(log_shape, limit) - grid.interpolate(log_shape, -limit)
    return np.where(
        grid.u > u_limit, np.minimum(joined, grid.interpolate(log_shape, limit)), log_shape
    )


def hold_beyond(modes, grid, u_limit):
    """Modes that keep beyond ``u_limit`` the value they have there."""
    at = grid.interpolate_rows(modes.T, np.array([u_limit])).T
    return np.where(grid.u > u_limit, at, modes)


def tail_mode(grid, u_limit):
    """How far an extrapolated tail may be wrong: a power of the energy beyond ``u_limit``."""
    beyond = np.log(np.maximum(grid.u, u_limit) / u_limit)
    return TAIL_POWER_SIGMA * beyond
