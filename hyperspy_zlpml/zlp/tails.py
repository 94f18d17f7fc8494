# SPDX-License-Identifier: GPL-3.0-or-later
"""Tails of the zero-loss peak: they fall outward, and go on where nobody measured them."""

import numpy as np
from scipy.optimize import isotonic_regression

from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.zlp.grid import (
    FALLS_FROM,
    GAIN_SIDE_POWER_SIGMA,
    GRID_STEP,
    SLOWEST_TAIL,
    beyond_data,
    from_grid,
    to_grid,
)

#: Beyond the data a tail goes on from its mean slope over this distance in x: a factor of two.
_BASELINE = 0.7
#: What falls faster than this power of the energy is the flank of a peak: the tail behind it is expected half as far
#: from this, ...
_FLANK_POWER = -3.0
#: ... and no farther than this.
_STEEPEST_TAIL = -3.75
#: Tails leave the slope that is seen over this distance in x: a tenth of an e-fold. What is steeper than this is cut off.
_LEAVES_OVER = 0.1
_STEEPEST_FLANK = -4.5

#: Powers of the energy by which tails fall, as far as they are known before one is measured.
_TYPICAL_POWER = Normal(-2.0, 0.7)
#: Standard deviation of the power of a tail beyond where it is seen, if it is one there.
_UNSEEN_POWER_SIGMA = 0.5
#: The same at most, where what is seen ends on a flank.
_FLANK_POWER_SIGMA = 1.5
#: Errors of slopes that are known.
_EXACT = Range(0.0, 0.0)
#: The logarithm of what the sides of peaks differ by falls by this power of the energy.
_SIDES_DIFFER = 0.65
#: Slopes at the end of what is seen are those from here on, as a fraction of the distance.
_OCTAVE = 2.0**0.5


def falling_tails(log_shape, grid, x_first, x_last, slope_errors=_EXACT):
    """Force the tails to fall outward, and to go on beyond the data.

    They begin there with the power of the outer part of the data: a cliff or a shelf at their very end
    is noise. One that the data leave uncertain is drawn to the square of the energy, by which most tails
    fall; one that is steeper than its cube is a flank, and goes on less steeply. Farther out they flatten, see
    :func:`~hyperspy_zlpml.zlp.grid.beyond_data`.

    Parameters
    ----------
    log_shape : ndarray of shape (grid.n,)
    grid : Grid
    x_first, x_last : float
        First and last x with data.
    slope_errors : Range, optional
        Standard errors of the slopes in x before the two, see :func:`outer_slope_error`.

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
    core = int(np.ceil(to_grid(FALLS_FROM) / GRID_STEP))
    sides = ((1, x_last, slope_errors.high), (-1, x_first, slope_errors.low))
    for side, limit, error in sides:
        tail = shape[peak:][core:] if side > 0 else shape[: peak + 1][::-1][core:]
        n_known = int(np.floor(abs(limit) / GRID_STEP + 1e-6)) + 1 - core
        known = tail[: max(n_known, 1)]
        known[:] = isotonic_regression(known, increasing=False).x
        slope = _outer_slope(known)
        tail[known.size :] = known[-1] + _behind(slope, error, tail.size - known.size)
    return shape


def _behind(slope, error, n):
    """Compute how a tail falls behind what is seen of it, over so many nodes: it leaves its slope for the one expected."""
    likely = min(_likely_power(max(slope, _STEEPEST_FLANK), error).mean, SLOWEST_TAIL)
    expected = _behind_flank(likely)
    distance = GRID_STEP * np.arange(1, n + 1)
    kept = _LEAVES_OVER * (1 - np.exp(-distance / _LEAVES_OVER))
    return beyond_data(expected, n) + (likely - expected) * kept


def _outer_slope(tail):
    """Compute the mean slope in x of the outer part of a tail."""
    outer = tail[-int(_BASELINE / GRID_STEP) :]
    return (outer[-1] - outer[0]) / (GRID_STEP * max(outer.size - 1, 1))


def _behind_flank(power):
    """Expect of a tail to fall less fast than the flank before it: steep ones do not go on."""
    behind = _FLANK_POWER + (power - _FLANK_POWER) / 2
    return max(behind, _STEEPEST_TAIL) if power < _FLANK_POWER else power


def _doubt(power):
    """Tell how well the power of a tail is known from what it was before: less behind a flank."""
    return min(np.hypot(_UNSEEN_POWER_SIGMA, _behind_flank(power) - power), _FLANK_POWER_SIGMA)


def outer_slope_error(rows, grid, x_end, factor):
    """Compute the standard error of the slope of a tail before the end of its data.

    Parameters
    ----------
    rows : ndarray of shape (grid.n, n)
        Functions of which the logarithm of the shape is made.
    grid : Grid
    x_end : float
        Where the data end.
    factor : ndarray of shape (n, n)
        Cholesky factor of the inverse covariance of their coefficients.

    Returns
    -------
    float

    Examples
    --------
    A straight line in x whose slope is known to 0.1:

    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.tails import outer_slope_error
    >>> grid = Grid.covering(-10, 10)
    >>> round(outer_slope_error(grid.x[:, None], grid, x_end=2.0, factor=np.array([[10.0]])), 3)
    0.1
    """
    inner = x_end - np.sign(x_end) * _BASELINE
    ends = grid.interpolate_rows(rows, from_grid(np.array([inner, x_end])))
    return float(np.linalg.norm(np.linalg.solve(factor, ends[1] - ends[0])) / _BASELINE)


def _likely_power(slope, error):
    """Join a measured power and what is known of tails."""
    if not error > 0:
        return Normal(slope, 0.0)
    share = error**2 / (error**2 + _TYPICAL_POWER.sigma**2)
    mean = slope + share * (_TYPICAL_POWER.mean - slope)
    return Normal(mean, np.sqrt(share) * _TYPICAL_POWER.sigma)


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
    inner = np.abs(u) <= FALLS_FROM
    top = np.where(inner, np.inf, log_values)
    loss_side = np.where(u > 0, np.minimum.accumulate(np.where(u > 0, top, np.inf), -1), np.inf)
    gain_side = np.where(u < 0, top, np.inf)[..., ::-1]
    gain_side = np.minimum.accumulate(gain_side, -1)[..., ::-1]
    levelled = np.where(u > 0, loss_side, gain_side)
    return np.where(inner, log_values, levelled)


def like_gain_side(log_shapes, grid, u_limit, u_end):
    """Replace loss sides beyond a reduced energy by the gain sides, raised to join them.

    No electron gains the energies that specimens take, so the gain side shows how the tail goes
    on. What the sides of measured peaks differ by fades outward (from a factor of 2.7 at 2 FWHM to
    1.9 at 4 and 1.5 at 8 on the WS2 data of Roest 2021): the logarithm falls by that power of the energy here.

    Parameters
    ----------
    log_shapes : ndarray of shape (..., grid.n)
        Logarithms of shapes, or deviations of one.
    grid : Grid
    u_limit : float
        Reduced energy, FWHM, up to which the loss sides are kept.
    u_end : float
        Reduced energy up to which the gain sides are known; constant beyond, and beyond the limit.

    Returns
    -------
    ndarray of shape (..., grid.n)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.tails import like_gain_side
    >>> grid = Grid.covering(-20, 20)
    >>> pure = -np.log1p(4 * grid.u**2)
    >>> with_losses = np.where(grid.u > 3, -3.0, pure)
    >>> bool(np.allclose(like_gain_side(with_losses, grid, u_limit=2.9, u_end=30), pure))
    True
    """
    columns = np.moveaxis(np.atleast_2d(log_shapes), -1, 0)
    u = np.clip(grid.u, u_limit, max(u_end, u_limit))
    here, there = grid.interpolate_rows(columns, np.array([u_limit, -u_limit]))
    fading = (u_limit / u) ** _SIDES_DIFFER
    joined = grid.interpolate_rows(columns, -u) + fading[:, None] * (here - there)
    joined = np.moveaxis(joined, 0, -1).reshape(np.shape(log_shapes))
    return np.where(grid.u > u_limit, joined, log_shapes)


def extrapolate_by_gain_side(log_shape, grid, u_limit, u_end):
    """Continue the loss side of a shape by its gain side, and from its power beyond that.

    Parameters
    ----------
    log_shape : ndarray of shape (grid.n,)
    grid : Grid
    u_limit : float
        Reduced energy, FWHM, up to which the loss side is kept.
    u_end : float
        Reduced energy up to which the gain side is known.

    Returns
    -------
    ndarray of shape (grid.n,)

    Examples
    --------
    A gain side that is known up to 10 FWHM shows a loss side how it goes on; beyond, tails of measured
    peaks flatten.

    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.tails import extrapolate_by_gain_side
    >>> grid = Grid.covering(-80, 80)
    >>> seen = (grid.u > -10) & (grid.u < 3)
    >>> known = np.where(seen, -np.log1p(4 * grid.u**2), -3.0)
    >>> tail = extrapolate_by_gain_side(known, grid, u_limit=2.9, u_end=9.9)
    >>> beyond = np.array([8.0, 12.0, 40.0])
    >>> (grid.interpolate(tail, beyond) + np.log1p(4 * beyond**2)).round(2) + 0.0
    array([0.  , 0.02, 0.8 ])
    """
    joined = like_gain_side(log_shape, grid, u_limit, u_end)
    return falling_tails(joined, grid, grid.x[0], to_grid(max(u_end, u_limit)))


def tail_modes(log_shape, grid, u_limit, u_end):
    """Make the modes by which a tail that follows the gain side may be wrong.

    The first is a power of the energy, a small one where the gain side is seen, and beyond that a larger one the steeper it
    is; the second is half of what the sides would differ less by than where they join if that faded all the way, see
    :func:`like_gain_side`.

    Parameters
    ----------
    log_shape : ndarray of shape (grid.n,)
        Known up to the limit on both sides.
    grid : Grid
    u_limit : float
        Reduced energy, FWHM, beyond which the tail is extrapolated.
    u_end : float
        Reduced energy up to which the gain side is known.

    Returns
    -------
    ndarray of shape (2, grid.n)
        Deviations of the logarithm by one standard error; 0 up to the limit.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.tails import tail_modes
    >>> grid = Grid.covering(-20, 20)
    >>> shape = np.where(grid.u > 0, np.log(2), 0.0) - np.log1p(4 * grid.u**2)
    >>> power, fading = tail_modes(shape, grid, u_limit=4.0, u_end=8.0)
    >>> grid.interpolate(power, np.array([-10.0, 4.0, 8.0, 16.0])).round(2)
    array([0.  , 0.  , 0.17, 0.52])
    >>> grid.interpolate(fading, np.array([-10.0, 4.0, 16.0])).round(2)
    array([0.  , 0.  , 0.21])
    """
    beyond = np.maximum(grid.u / u_limit, 1.0)
    unseen = np.maximum(grid.u / max(u_end, u_limit), 1.0)
    end = max(u_end, u_limit)
    outer, inner = grid.interpolate(log_shape, -end / np.array([1.0, _OCTAVE]))
    doubt = _doubt((outer - inner) / np.log(_OCTAVE))
    power = GAIN_SIDE_POWER_SIGMA * np.log(beyond / unseen) + doubt * np.log(unseen)
    here, there = grid.interpolate(log_shape, np.array([u_limit, -u_limit]))
    return np.stack([power, (here - there) / 2 * (1 - beyond**-_SIDES_DIFFER)])


def unseen_modes(log_shape, grid, seen, slope_errors=_EXACT):
    """Make the modes by which tails may be wrong beyond where they stand above their noise.

    They go on from their power and flatten. Where a flank ends in the noise before it has become a tail, its power
    says little: tails fall like the square of the energy or so, flanks faster by far. The steeper it is the less it says.

    Parameters
    ----------
    log_shape : ndarray of shape (grid.n,)
    grid : Grid
    seen : Range
        Reduced energies between which the shape stands above its noise, FWHM.
    slope_errors : Range, optional
        Standard errors of the slopes in x at their ends.

    Returns
    -------
    ndarray of shape (2, grid.n)
        Deviations of the logarithm by one standard error, before and behind the peak.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.statistics import Range
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.tails import unseen_modes
    >>> grid = Grid.covering(-20, 20)
    >>> before, behind = unseen_modes(-np.log1p(4 * grid.u**2), grid, Range(-8.0, 8.0))
    >>> grid.interpolate(behind, np.array([-16.0, 8.0, 16.0])).round(2)
    array([0.  , 0.  , 0.35])
    """
    modes = np.zeros((2, grid.n))
    for mode, side, end, error in zip(modes, (-1, 1), seen, slope_errors, strict=True):
        inner, outer = grid.interpolate(log_shape, np.array([end / _OCTAVE, end]))
        power = (outer - inner) / np.log(_OCTAVE)
        doubt = np.hypot(_doubt(power), _likely_power(power, error).sigma)
        mode[:] = doubt * np.log(np.maximum(side * grid.u / abs(end), 1.0))
    return modes
