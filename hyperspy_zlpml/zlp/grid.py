# SPDX-License-Identifier: GPL-3.0-or-later
"""The grid of shapes: uniform in ``x = asinh(2 u)``, linear in the core and logarithmic in the tails."""

from dataclasses import dataclass

import numpy as np

#: Step of the tables in x; linear interpolation is then good to 2e-5 in the core.
GRID_STEP = 0.01

#: Slope in x of the extrapolated tails: at least this power of the energy.
SLOWEST_TAIL = -1.0
#: Standard deviation of the power of the energy by which an extrapolated tail may be wrong.
TAIL_POWER_SIGMA = 0.5


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
