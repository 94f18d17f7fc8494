# SPDX-License-Identifier: GPL-3.0-or-later
"""Cells of the reduced energy: residuals sorted into them, and how certain what they tell must be."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

#: Width in x of the cells within which the scatter is one number.
_SCATTER_CELL = 0.25
#: The variance of means is that of neighbours within about this distance in x (standard deviation).
_NEIGHBOURS = 0.25
#: Channels that know the shape to less than this (one over the squared relative error) are left out.
LEAST_WEIGHT = 1e-9
#: What is found is told from noise by this many standard errors.
SIGNIFICANT = 3.0
#: Corrected is by the variance that is certain by this many standard errors.
CAUTION = 1.0
#: Relative deviations are at most this: more is no fine structure.
LARGEST = 0.5


def cells_of(x):
    """Sort positions into the cells within which the scatter is one number.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Positions on the grid of the shapes.

    Returns
    -------
    cell : ndarray of int of shape (n,)
        Number of the cell that each lies in.
    centres : ndarray of shape (n_cells,)
        Middles of the cells.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.cells import cells_of
    >>> cells_of(np.array([-0.3, -0.1, 0.1, 0.2]))
    (array([0, 1, 2, 2]), array([-0.375, -0.125,  0.125]))
    """
    cell = np.floor(x / _SCATTER_CELL).astype(int)
    first = cell.min(initial=0)
    cell -= first
    n_cells = int(cell.max(initial=0)) + 1
    return cell, (first + np.arange(n_cells) + 0.5) * _SCATTER_CELL


def lay_cells(x_nodes, x, width):
    """Lay cells of a width over nodes, and sort positions into them.

    Parameters
    ----------
    x_nodes : ndarray of shape (n_nodes,)
        Ascending.
    x : ndarray of shape (n,)
        Positions, within the nodes.
    width : float

    Returns
    -------
    centres : ndarray of shape (n_cells,)
        Middles of the cells, which reach beyond both ends of the nodes.
    cell : ndarray of int of shape (n,)
        Number of the cell that each position lies in.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.cells import lay_cells
    >>> lay_cells(np.array([0.0, 1.0]), np.array([0.1, 0.9]), width=0.5)
    (array([-0.25,  0.25,  0.75,  1.25,  1.75]), array([1, 2]))
    """
    low = int(np.floor(x_nodes[0] / width)) - 1
    n = int(np.floor(x_nodes[-1] / width)) - low + 2
    cell = np.clip(np.floor(x / width).astype(int) - low, 0, n - 1)
    return (low + np.arange(n) + 0.5) * width, cell


def sum_neighbours(values, x):
    """Sum values over neighbours, weighed by their distance.

    Parameters
    ----------
    values, x : ndarray of shape (n,)
        Values, and their positions in ascending order.

    Returns
    -------
    ndarray of shape (n,)
        A value without neighbours is its own sum.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.cells import sum_neighbours
    >>> sum_neighbours(np.ones(3), np.array([0.0, 0.1, 9.0])).round(2)
    array([1.93, 1.93, 1.  ])
    """
    step = 0.02
    low = x[0]
    place = np.round((x - low) / step).astype(int)
    binned = np.bincount(place, values)
    smooth = gaussian_filter1d(binned, _NEIGHBOURS / step, mode="constant", truncate=3)
    # Of unit height: it counts the neighbours.
    return smooth[place] * (_NEIGHBOURS / step) * np.sqrt(2 * np.pi)
