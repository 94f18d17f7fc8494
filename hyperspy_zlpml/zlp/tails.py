# SPDX-License-Identifier: GPL-3.0-or-later
"""Tails of the zero-loss peak: they fall outward, and go on where nobody measured them."""

import numpy as np
from scipy.optimize import isotonic_regression

from hyperspy_zlpml.zlp.grid import GRID_STEP, SLOWEST_TAIL, TAIL_POWER_SIGMA, to_grid

#: Outside the core (|u| beyond this) the tails may only fall.
_FALLS_FROM = 0.75


def falling_tails(log_shape, grid, x_first, x_last):
    """Force the tails to fall outward, at least slowly beyond the data."""
    shape = log_shape.copy()
    peak = int(np.abs(grid.x).argmin())
    core = int(np.ceil(to_grid(_FALLS_FROM) / GRID_STEP))
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
    inner = np.abs(u) <= _FALLS_FROM
    top = np.where(inner, np.inf, log_values)
    loss = np.where(u > 0, np.minimum.accumulate(np.where(u > 0, top, np.inf), -1), np.inf)
    gain = np.where(u < 0, top, np.inf)[..., ::-1]
    gain = np.minimum.accumulate(gain, -1)[..., ::-1]
    levelled = np.where(u > 0, loss, gain)
    return np.where(inner, log_values, levelled)


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
