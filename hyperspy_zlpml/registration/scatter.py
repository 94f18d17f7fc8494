# SPDX-License-Identifier: GPL-3.0-or-later
"""Scatter: what single spectra differ by beyond their noise and the curve that all share."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from hyperspy_zlpml.registration.cells import (
    CAUTION,
    LEAST_WEIGHT,
    SIGNIFICANT,
    cells_of,
    sum_neighbours,
)
from hyperspy_zlpml.zlp.grid import to_grid
from hyperspy_zlpml.zlp.kernels import N_PEAK

#: Errors of what is known of noise are taken this many times.
_NOT_EXCLUDED = 2.0
#: Variances that are more standard errors below zero than this are taken for this.
_FAR_BELOW = 5.0
#: The variance of the noise of a channel is known to this fraction, beside the error of the gain.
_NOISE_UNSURE = 0.02


@dataclass(frozen=True)
class Scatter:
    """Scatter of single spectra beyond their noise, on the grid of the shapes.

    Attributes
    ----------
    shared : ndarray of shape (grid.n,)
        Relative standard deviation that all channels within some tenths of x share.
    own : ndarray of shape (grid.n,)
        The same that each channel has for itself.
    expected : ndarray of shape (grid.n,)
        Shared one that noise leaves on average, where what is found of it may be chance; infinite where no
        spectrum is seen.
    """

    shared: np.ndarray
    own: np.ndarray
    expected: np.ndarray

    @classmethod
    def unknown(cls, n):
        """Make the scatter of no spectra.

        Parameters
        ----------
        n : int
            Points of the grid.

        Returns
        -------
        Scatter
        """
        return cls(np.zeros(n), np.zeros(n), np.full(n, np.inf))


@dataclass(frozen=True)
class _Excess:
    """Variance beyond the noise in cells, and its standard error."""

    variance: np.ndarray
    error: np.ndarray


def measure_scatter(points, grid):
    """Measure what single spectra scatter by beyond their noise.

    Parameters
    ----------
    points : Points
        Residuals, curve and pattern taken off.
    grid : Grid
        That of the shapes.

    Returns
    -------
    Scatter
    """
    if not points.u.size:
        return Scatter.unknown(grid.n)
    cell, centres = cells_of(to_grid(points.u))
    each, unsure = _of_channels(points, cell, centres.size)
    common = _of_neighbours(points, cell, centres.size)
    unsure = CAUTION * np.hypot(each.error, common.error) + unsure
    own = np.clip(each.variance - common.variance - unsure, 0, None)
    expected = expected_variance(common.variance, common.error)
    shared = np.where(common.variance > SIGNIFICANT * common.error, common.variance, 0.0)
    shared, own, expected = (
        np.interp(grid.x, centres, np.minimum(np.sqrt(value), 1.0))
        for value in (shared, own, expected)
    )
    unseen = (grid.x < centres[0]) | (grid.x > centres[-1])
    return Scatter(shared, own, np.where(unseen, np.inf, expected))


def expected_variance(found, error):
    """Compute what variances are on average, of which only a noisy measure is known.

    They are not negative, and any others are alike before they are measured.

    Parameters
    ----------
    found, error : ndarray of shape (n,)
        As measured, and their standard errors.

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.scatter import expected_variance
    >>> expected_variance(np.array([-1.0, 0.0, 1.0, 9.0]), np.ones(4)).round(2)
    array([0.53, 0.8 , 1.29, 9.  ])
    """
    excess = np.maximum(found / error, -_FAR_BELOW)
    return error * (excess + norm.pdf(excess) / norm.cdf(excess))


def _of_channels(points, cell, n_cells):
    """Measure the excess of single channels, and by how much their noise may be off."""
    squared = points.weight**2
    known = np.maximum(np.bincount(cell, squared, minlength=n_cells), LEAST_WEIGHT)
    excess = squared * points.residual**2 - points.weight
    variance = np.bincount(cell, excess, minlength=n_cells) / known
    unsure = points.weight * np.hypot(_NOISE_UNSURE, _NOT_EXCLUDED * points.unsure)
    unsure = np.bincount(cell, unsure, minlength=n_cells) / known
    return _Excess(variance, np.sqrt(2 / known)), unsure


def _of_neighbours(points, cell, n_cells):
    """Measure the excess that all channels of a spectrum within a cell share."""
    place = points.spectrum * n_cells + cell
    weight = np.bincount(place, points.weight)
    score = np.bincount(place, points.weight * points.residual)
    name = np.arange(weight.size) % n_cells
    noise_of_score = weight * points.by_channels(np.bincount(place))
    total = np.bincount(name, weight**2, minlength=n_cells)
    total = np.maximum(total, 1e-300)
    variance = np.bincount(name, score**2 - noise_of_score, minlength=n_cells) / total
    return _Excess(variance, np.sqrt(2 / total))


def error_of_place(points, nodes, curve):
    """Find the error of a fine structure whose place in single spectra is uncertain.

    The scale of the reduced energy of a spectrum is known as well as its width is. How far it is
    off shows in residuals that follow the slope of the structure.

    Parameters
    ----------
    points : Points
        Residuals, curve and pattern taken off.
    nodes, curve : ndarray of shape (n_nodes,)
        Reduced energies in FWHM, and the structure there.

    Returns
    -------
    ndarray of shape (n_nodes,)
    """
    slope = np.gradient(curve, nodes) * nodes
    moved = np.interp(points.u, nodes, slope)
    information = np.bincount(points.spectrum, points.weight * moved**2)
    score = np.bincount(points.spectrum, points.weight * moved * points.residual)
    total = max((information**2).sum(), 1e-300)
    variance = ((score**2).sum() - information.sum()) / total
    variance -= CAUTION * np.sqrt(2 / total)
    x = to_grid(nodes)
    neighbours = np.maximum(sum_neighbours(np.ones(nodes.size), x), 1e-300)
    typical = sum_neighbours(slope**2, x) / neighbours
    return np.sqrt(max(variance, 0.0) * typical)


def scale_of_modes(matched):
    """Compare how far spectra follow the modes with how far the replicas do.

    Replicas differ by what networks make of the same data too, which no spectrum shows.

    Parameters
    ----------
    matched : Match

    Returns
    -------
    ndarray of shape (n_modes,)
        1 where the spectra do not tell.
    """
    left = np.clip(np.einsum("pii->pi", matched.covariance)[:, N_PEAK:], 1e-9, 1 - 1e-9)
    information = 1 / left - 1
    # Without the prior the coefficient would be larger, and of variance 1 / information.
    alone = matched.coefficients / (1 - left)
    total = np.maximum((information**2).sum(0), 1e-300)
    variance = (information**2 * alone**2 - information).sum(0) / total
    unsure = _NOT_EXCLUDED * np.sqrt(2 / total)
    return np.sqrt(np.clip(1.0, variance - unsure, np.maximum(variance, 0) + unsure))
