# SPDX-License-Identifier: GPL-3.0-or-later
"""Grid of shapes, uniform in ``x = asinh(2 u)``: linear in the core, logarithmic in the tails.

A reduced energy ``u`` is counted from the centre of a peak, in FWHM of it.
"""

from dataclasses import dataclass

import numpy as np

#: Step of the tables in x; linear interpolation is then good to 2e-5 in the core.
GRID_STEP = 0.01
#: Slope in x of the extrapolated tails: they fall at least by this power of the energy.
SLOWEST_TAIL = -1.0
#: Steepness of extrapolated tails falls by a factor of e over this distance in x: it halves over a factor of four in
#: energy, as that of five measured vacuum peaks of three microscopes does.
_FLATTENS_OVER = 2.0
#: Standard deviation of the power of the energy by which an extrapolated tail may be wrong.
TAIL_POWER_SIGMA = 0.5
#: The same where it follows the gain side, as far as that is seen.
GAIN_SIDE_POWER_SIGMA = 0.25
#: Outside the core (beyond this many FWHM from the peak) the tails may only fall.
FALLS_FROM = 0.75
#: A group of channels is this fraction of its distance from the peak wide ...
GROWTH = 0.05
#: ... and at least this fraction of the FWHM.
CORE_WIDTH = 1 / 12
#: Errors that no mode holds are shared over about this distance in x (standard deviation).
SHARED_OVER = 0.25
#: From one width of peaks to the next, of which the curvature within groups is tabulated, ln FWHM grows by this.
WIDTH_STEP = 0.1


def to_grid(u):
    """Convert reduced energies to ``x = asinh(2 u)``.

    Parameters
    ----------
    u : float or ndarray
        Reduced energies, FWHM.

    Returns
    -------
    float or ndarray

    Examples
    --------
    Logarithmic in the tails: twice the energy is a step of ln 2.

    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import to_grid
    >>> bool(np.isclose(to_grid(200.0) - to_grid(100.0), np.log(2), rtol=1e-4))
    True
    """
    return np.arcsinh(2.0 * u)


def beyond_data(slope, n):
    """Compute how a tail falls beyond its data: it flattens as tails of measured peaks do.

    Far from the peak electrons are those that apertures and camera scatter, of which there are ever
    more beside those of the peak's own flank. A power law that ends at 3 to 16 FWHM misses vacuum
    peaks of three microscopes four times as far out by a factor of four (root mean square of the
    logarithm 1.4), one that flattens by a factor of 1.8 (0.6).

    Parameters
    ----------
    slope : float or ndarray of shape (..., 1)
        Of the logarithm in x at the end of the data.
    n : int
        Nodes of the grid beyond it.

    Returns
    -------
    ndarray of shape (..., n)
        Change of the logarithm from the last node with data.

    Examples
    --------
    The power is halved where the energy is four times as large:

    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import GRID_STEP, beyond_data
    >>> fall = beyond_data(-3.0, 400)
    >>> power = np.diff(fall) / GRID_STEP
    >>> power[[0, 139, 398]].round(2)
    array([-2.98, -1.49, -1.  ])
    """
    distance = GRID_STEP * (np.arange(n) + 0.5)
    slopes = np.minimum(slope * np.exp(-distance / _FLATTENS_OVER), SLOWEST_TAIL)
    return GRID_STEP * np.cumsum(slopes, axis=-1)


def from_grid(x):
    """Convert ``x`` to reduced energies: the inverse of :func:`to_grid`.

    Parameters
    ----------
    x : float or ndarray

    Returns
    -------
    float or ndarray
        Reduced energies, FWHM.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import from_grid, to_grid
    >>> from_grid(to_grid(np.array([-3.0, 0.0, 40.0]))).round(9)
    array([-3.,  0., 40.])
    """
    return np.sinh(x) / 2.0


def group_widths(u, channels_per_fwhm):
    """Tell how many channels the group at a reduced energy holds.

    Parameters
    ----------
    u : ndarray of any shape
        Reduced energies, FWHM.
    channels_per_fwhm : float
        FWHM of the peaks, channels.

    Returns
    -------
    ndarray of the shape of ``u``

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import group_widths
    >>> group_widths(np.array([0.0, 10.0]), channels_per_fwhm=18.0)
    array([2., 9.])
    """
    smallest = max(1, int(round(channels_per_fwhm * CORE_WIDTH)))
    return np.maximum(smallest, np.floor(GROWTH * np.abs(u) * channels_per_fwhm))


@dataclass(frozen=True)
class Grid:
    """Uniform grid in x.

    Attributes
    ----------
    start : float
        x of the first node.
    n : int
        Number of nodes.
    """

    start: float
    n: int

    @property
    def x(self):
        """Nodes in x, shape (n,)."""
        return self.start + GRID_STEP * np.arange(self.n)

    @property
    def u(self):
        """Reduced energies of the nodes, shape (n,)."""
        return from_grid(self.x)

    def locate(self, u):
        """Find the lower node and the fraction of a step for linear interpolation.

        Parameters
        ----------
        u : ndarray of any shape
            Reduced energies; those outside are moved to the end of the grid.

        Returns
        -------
        node : ndarray of int of the same shape
        fraction : ndarray of the same shape
            Between 0 and 1.
        """
        position = np.clip((to_grid(u) - self.start) / GRID_STEP, 0, self.n - 1.000001)
        node = position.astype(np.intp)
        return node, position - node

    def interpolate(self, table, u):
        """Interpolate one table linearly in x.

        Parameters
        ----------
        table : ndarray of shape (n,)
        u : ndarray of any shape
            Reduced energies; constant outside the grid.

        Returns
        -------
        ndarray of the shape of ``u``

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.zlp.grid import Grid
        >>> grid = Grid.covering(-5, 5)
        >>> grid.interpolate(grid.u**2, np.array([-3.0, 0.0, 2.0])).round(2)
        array([9., 0., 4.])
        """
        node, fraction = self.locate(u)
        return table[node] + fraction * (table[node + 1] - table[node])

    def interpolate_rows(self, table, u):
        """Interpolate a table of several columns along its first axis.

        Parameters
        ----------
        table : ndarray of shape (n, n_columns)
        u : ndarray of shape (n_points,)
            Reduced energies; constant outside the grid.

        Returns
        -------
        ndarray of shape (n_points, n_columns)
        """
        node, fraction = self.locate(u)
        return table[node] + fraction[:, None] * (table[node + 1] - table[node])

    def held_to(self, wider, table):
        """Put a table on a wider grid, constant beyond this one.

        Parameters
        ----------
        wider : Grid
            With the nodes of this one among its own.
        table : ndarray of shape (..., n)

        Returns
        -------
        ndarray of shape (..., wider.n)
        """
        before = round((self.start - wider.start) / GRID_STEP)
        padding = [(0, 0)] * (table.ndim - 1) + [(before, wider.n - self.n - before)]
        return np.pad(table, padding, mode="edge")

    @classmethod
    def covering(cls, u_low, u_high):
        """Make a grid that holds two reduced energies and has a node at the peak.

        Parameters
        ----------
        u_low, u_high : float
            Reduced energies, FWHM.

        Returns
        -------
        Grid

        Examples
        --------
        >>> from hyperspy_zlpml.zlp.grid import Grid
        >>> grid = Grid.covering(-10, 100)
        >>> bool(grid.u[0] < -10 and grid.u[-1] > 100), float(abs(grid.u).min().round(12))
        (True, 0.0)
        >>> grid.n
        974
        """
        first = int(np.floor(to_grid(u_low) / GRID_STEP)) - 2
        last = int(np.ceil(to_grid(u_high) / GRID_STEP)) + 2
        return cls(first * GRID_STEP, last - first + 1)
