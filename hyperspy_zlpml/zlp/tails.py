# SPDX-License-Identifier: GPL-3.0-or-later
"""Tails of the zero-loss peak: they fall outward, and go on where nobody measured them."""

import numpy as np
from scipy.optimize import isotonic_regression

from hyperspy_zlpml.zlp.grid import GRID_STEP, SLOWEST_TAIL, TAIL_POWER_SIGMA, to_grid

#: Outside the core (beyond this many FWHM from the peak) the tails may only fall.
_FALLS_FROM = 0.75


def falling_tails(log_shape, grid, x_first, x_last):
    """Force the tails to fall outward, at least slowly beyond the data.

    Parameters
    ----------
    log_shape : ndarray of shape (grid.n,)
    grid : Grid
    x_first, x_last : float
        First and last x with data.

    Returns
    -------
    ndarray of shape (grid.n,)

    Examples
    --------
    A shape that stays level beyond its data falls there as 1 / E all the same.

    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.tails import falling_tails
    >>> grid = Grid.covering(-10, 100)
    >>> tail = falling_tails(np.zeros(grid.n), grid, x_first=grid.x[0], x_last=3.0)
    >>> bool(abs(tail[grid.x < 2.9]).max() == 0)
    True
    >>> round(float(grid.interpolate(tail, 40.0) - grid.interpolate(tail, 80.0)), 2)
    0.69
    """
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
    """Level tails that rise outward: every value is at most that of its inner neighbour.

    Parameters
    ----------
    log_values : ndarray of shape (..., n)
    u : ndarray of shape (..., n) or (n,)
        Reduced energies, FWHM, increasing.

    Returns
    -------
    ndarray of shape (..., n)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.tails import level_ripples
    >>> u = np.arange(-3.0, 4.0)
    >>> level_ripples(np.array([-4.0, -5.0, -2.0, 0.0, -2.0, -5.0, -4.0]), u)
    array([-5., -5., -2.,  0., -2., -5., -5.])
    """
    inner = np.abs(u) <= _FALLS_FROM
    top = np.where(inner, np.inf, log_values)
    loss_side = np.where(u > 0, np.minimum.accumulate(np.where(u > 0, top, np.inf), -1), np.inf)
    gain_side = np.where(u < 0, top, np.inf)[..., ::-1]
    gain_side = np.minimum.accumulate(gain_side, -1)[..., ::-1]
    levelled = np.where(u > 0, loss_side, gain_side)
    return np.where(inner, log_values, levelled)


def extrapolate_by_gain_side(log_shape, grid, u_limit):
    """Replace the loss-side tail beyond ``u_limit`` by the gain-side tail, raised to join it.

    No electron gains the energies that specimens take, so the gain side shows how the tail goes
    on; the two sides of measured peaks differ by a nearly constant factor (1.8 to 2.1 between
    2 and 7 FWHM on the WS2 data of Roest 2021).

    Parameters
    ----------
    log_shape : ndarray of shape (grid.n,)
    grid : Grid
    u_limit : float
        Reduced energy, FWHM, up to which the loss side is kept.

    Returns
    -------
    ndarray of shape (grid.n,)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.tails import extrapolate_by_gain_side
    >>> grid = Grid.covering(-20, 20)
    >>> pure = -np.log1p(4 * grid.u**2)
    >>> with_losses = np.where(grid.u > 3, -3.0, pure)
    >>> bool(np.allclose(extrapolate_by_gain_side(with_losses, grid, u_limit=2.9), pure))
    True
    """
    mirrored = grid.interpolate(log_shape, -grid.u)
    limit = np.array([u_limit])
    joined = mirrored + grid.interpolate(log_shape, limit) - grid.interpolate(log_shape, -limit)
    return np.where(
        grid.u > u_limit, np.minimum(joined, grid.interpolate(log_shape, limit)), log_shape
    )


def hold_beyond(modes, grid, u_limit):
    """Hold modes beyond a reduced energy at the value that they have there.

    Parameters
    ----------
    modes : ndarray of shape (n_modes, grid.n)
    grid : Grid
    u_limit : float
        FWHM.

    Returns
    -------
    ndarray of shape (n_modes, grid.n)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.tails import hold_beyond
    >>> grid = Grid.covering(-20, 20)
    >>> held = hold_beyond(grid.x[None], grid, u_limit=5.0)[0]
    >>> grid.interpolate(held, np.array([4.0, 5.0, 15.0])).round(2)
    array([2.78, 3.  , 3.  ])
    """
    at = grid.interpolate_rows(modes.T, np.array([u_limit])).T
    return np.where(grid.u > u_limit, at, modes)


def tail_mode(grid, u_limit):
    """Make the mode by which an extrapolated tail may be wrong: a power of the energy.

    Parameters
    ----------
    grid : Grid
    u_limit : float
        Reduced energy, FWHM, beyond which the tail is extrapolated.

    Returns
    -------
    ndarray of shape (grid.n,)
        Deviation of the logarithm by one standard error; 0 up to the limit.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.tails import tail_mode
    >>> grid = Grid.covering(-20, 20)
    >>> mode = tail_mode(grid, u_limit=4.0)
    >>> grid.interpolate(mode, np.array([-10.0, 4.0, 16.0])).round(2)
    array([0.  , 0.  , 0.69])
    """
    beyond = np.log(np.maximum(grid.u, u_limit) / u_limit)
    return TAIL_POWER_SIGMA * beyond
