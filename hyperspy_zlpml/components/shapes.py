# SPDX-License-Identifier: GPL-3.0-or-later
"""Smooth shapes of the zero-loss peak from an ensemble, on arrays alone.

The logarithms of the replicas are interpolated by cubic splines in ``x = asinh(2 u)`` and go on
straight beyond the grid, as powers of the energy: derivatives are those of what is returned.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.integrate import simpson
from scipy.interpolate import CubicSpline

from hyperspy_zlpml.zlp.grid import GRID_STEP, from_grid, to_grid

#: Quantiles that a free ``mode`` is kept within.
MODE_LIMITS = (1e-3, 1 - 1e-3)
#: Modes whose splines are kept.
_MODES_KEPT = 16
#: Points of the integral over the core.
_CORE_POINTS = 801


@dataclass(frozen=True)
class Shape:
    """Peak of unit area as a function of ``u``, the energy from its centre in FWHM.

    Attributes
    ----------
    left : ndarray of shape (n_cells,)
        Lower end in x of each cell; the first one lies before the grid and has its upper end here.
    log_density : ndarray of shape (4, n_cells)
        Coefficients, highest power first, of ln(density) in each cell.
    by_mode : ndarray of shape (4, n_cells)
        Coefficients, likewise, of the derivative of ln(density) to ``mode``.
    """

    left: np.ndarray
    log_density: np.ndarray
    by_mode: np.ndarray

    def density(self, u):
        """Compute counts per unit of ``u``, for one count in all.

        Parameters
        ----------
        u : ndarray

        Returns
        -------
        ndarray of the shape of ``u``
        """
        return np.exp(_cubic(self.log_density, *self._cell(to_grid(u))))

    def density_and_slope(self, u):
        """Compute counts per unit of ``u``, and the derivative of their logarithm to ``u``.

        Parameters
        ----------
        u : ndarray

        Returns
        -------
        density, slope : ndarray of the shape of ``u``
        """
        node, offset = self._cell(to_grid(u))
        a, b, c, d = (row[node] for row in self.log_density)
        log_density = ((a * offset + b) * offset + c) * offset + d
        slope = ((3 * a * offset + 2 * b) * offset + c) * 2 / np.sqrt(1 + 4 * u**2)
        return np.exp(log_density), slope

    def mode_slope(self, u):
        """Compute the derivative of ln(density) to ``mode``.

        Parameters
        ----------
        u : ndarray

        Returns
        -------
        ndarray of the shape of ``u``
        """
        return _cubic(self.by_mode, *self._cell(to_grid(u)))

    def _cell(self, x):
        last = self.left.size - 1
        position = np.clip((x - self.left[0]) / GRID_STEP, -1, last - 1)
        with np.errstate(invalid="ignore"):  # NaN in, NaN out
            node = np.clip(np.floor(position).astype(np.intp) + 1, 0, last)
        return node, x - self.left[node]


def _cubic(coefficients, node, offset):
    """Evaluate a cubic polynomial of every cell by Horner's scheme."""
    value = coefficients[0][node]
    for row in coefficients[1:]:
        value *= offset
        value += row[node]
    return value


def cells_of(grid, log_shapes):
    """Make cubic splines through the nodes of a grid, straight and falling beyond it.

    Parameters
    ----------
    grid : Grid
    log_shapes : ndarray of shape (..., grid.n)

    Returns
    -------
    left : ndarray of shape (grid.n + 1,)
        Lower end of each cell in x; the upper end of the first.
    coefficients : ndarray of shape (..., 4, grid.n + 1)
        Highest power first.

    Examples
    --------
    Where values fall towards both ends the lines beyond the grid fall, too:

    >>> import numpy as np
    >>> from hyperspy_zlpml.components.shapes import cells_of
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> grid = Grid.covering(-5, 10)
    >>> left, coefficients = cells_of(grid, -grid.x**2)
    >>> before, *_, behind = coefficients[2]
    >>> bool(before > 0), bool(behind < 0)
    (True, True)
    """
    x = grid.x
    spline = CubicSpline(x, log_shapes, axis=-1, bc_type="natural")
    inside = np.moveaxis(spline.c, (0, 1), (-2, -1))
    ends = np.zeros(inside.shape[:-1] + (2,))
    ends[..., 3, :] = log_shapes[..., [0, -1]]
    slopes = spline(x[[0, -1]], 1)
    ends[..., 2, 0] = np.maximum(slopes[..., 0], 0)
    ends[..., 2, 1] = np.minimum(slopes[..., 1], 0)
    coefficients = np.concatenate([ends[..., :1], inside, ends[..., 1:]], -1)
    return np.concatenate([x[:1], x]), coefficients


class Shapes:
    """All shapes of an ensemble at one thickness, for :class:`.ZLPNet`.

    Parameters
    ----------
    ensemble : Ensemble
    thickness : float
        t/lambda.
    """

    def __init__(self, ensemble, thickness):
        self.grid = ensemble.grid
        self.n_replicas = ensemble.n_replicas
        self._ensemble = ensemble
        self._thickness = thickness
        self.at = lru_cache(_MODES_KEPT)(self._at)

    @cached_property
    def log_shapes(self):
        """Logarithms of the shapes of the replicas, of shape (n_replicas, grid.n)."""
        seen = self._ensemble.seen
        log_intensity = np.clip(seen.log_beam - self._thickness, *seen.log_intensity_range)
        return self._ensemble.log_shapes(np.array([log_intensity]))[:, 0].astype(float)

    @cached_property
    def ordered(self):
        """Logarithms of the shapes in increasing order at each node, (n_replicas, grid.n)."""
        return np.sort(self.log_shapes, axis=0)

    @cached_property
    def log_area(self):
        """Logarithm of the area of the median shape over the grid, in units of ``u``."""
        left, median = cells_of(self.grid, np.median(self.log_shapes, axis=0))
        shape = Shape(left, median, median)
        x = np.linspace(*self.grid.x[[0, -1]], 2 * self.grid.n - 1)
        return np.log(simpson(shape.density(from_grid(x)) * np.cosh(x) / 2, x=x))

    def _at(self, mode):
        """Make the shape of a quantile between 0 and 1, or of the replica of that number."""
        if mode >= 1:
            rows = self.log_shapes[[int(mode) - 1]]
            weights = [1.0]
            steps = [0.0]
        else:
            position = mode * (self.n_replicas - 1)
            lower = min(int(position), max(self.n_replicas - 2, 0))
            upper = min(lower + 1, self.n_replicas - 1)
            rows = self.ordered[[lower, upper]]
            weights = [1 - (position - lower), position - lower]
            steps = [1 - self.n_replicas, self.n_replicas - 1]
        left, cells = cells_of(self.grid, rows)
        log_density = np.tensordot(weights, cells, 1)
        log_density[3] -= self.log_area
        return Shape(left, log_density, np.tensordot(steps, cells, 1))

    def core(self, mode):
        """Compute the counts within one FWHM on both sides of the centre, for one count in all.

        Parameters
        ----------
        mode : float
            As :func:`check_mode` returns it.

        Returns
        -------
        float
        """
        u = np.linspace(-1, 1, _CORE_POINTS)
        return simpson(self.at(mode).density(u), x=u)


def check_mode(mode, n_replicas, free):
    """Check the parameter ``mode``, and keep it within its limits where it is fitted.

    Parameters
    ----------
    mode : float
    n_replicas : int
    free : bool
        Whether it is being fitted: a quantile then, kept within the limits.

    Returns
    -------
    float
        Quantile, or number of a replica.

    Raises
    ------
    ValueError
        If it is neither a quantile nor a replica, or a replica is to be fitted.

    Examples
    --------
    >>> from hyperspy_zlpml.components.shapes import check_mode
    >>> check_mode(7, 100, free=False), check_mode(1.2, 100, free=True)
    (7.0, 0.999)
    """
    whole = mode == np.floor(mode)
    if free and np.isfinite(mode) and not (whole and mode > 1):
        return float(np.clip(mode, *MODE_LIMITS))
    if free:
        raise ValueError(
            "mode: expected a number between 0 and 1 where it is free (only quantiles can be "
            f"fitted), got {mode:g}; set mode.value = 0.5 or mode.free = False."
        )
    if 0 < mode < 1 or (whole and 1 <= mode <= n_replicas):
        return float(mode)
    raise ValueError(
        "mode: expected a number between 0 and 1 (a quantile of the replicas, 0.5 the median) or "
        f"a whole number from 1 to {n_replicas} (that replica), got {mode:g}; "
        "set for example mode.value = 0.5."
    )
