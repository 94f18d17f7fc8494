# SPDX-License-Identifier: GPL-3.0-or-later
"""Expand values in the middle of groups to values in all their channels.

A channel depends on its two neighbouring groups (linear) or on four coefficients of a spline
(cubic), so the matrices are cut into segments of a few groups: products of small dense blocks,
ten times fewer operations than the whole matrix and as fast per operation.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline, make_interp_spline

#: Groups of a segment.
_GROUPS_PER_SEGMENT = 16
#: Entries of a matrix below this count as zero.
_NOTHING = 1e-13


class Segment(NamedTuple):
    """Block of a banded matrix.

    Attributes
    ----------
    channels, groups : slice
        What the columns and the rows are.
    matrix : ndarray of shape (n_groups, n_channels)
    """

    channels: slice
    groups: slice
    matrix: np.ndarray


@dataclass(frozen=True)
class Expansion:
    """Banded linear map from groups to channels.

    Attributes
    ----------
    before : ndarray of shape (n_groups, n_groups) or None
        Applied first: values to coefficients of a spline.
    segments : tuple of Segment
    n_channels : int

    Examples
    --------
    Straight lines through equal values are level, and collect every weight once:

    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.expansion import Expansion
    >>> from hyperspy_zlpml.zlp.groups import make_groups
    >>> groups = make_groups(18.0, 50, 200)
    >>> expansion = Expansion.linear(groups)
    >>> ones = np.ones((1, groups.size))
    >>> level = expansion(ones, out=np.empty((1, expansion.n_channels)))
    >>> bool(np.allclose(level, 1.0))
    True
    >>> bool(np.isclose(expansion.collected(level).sum(), expansion.n_channels))
    True
    """

    before: np.ndarray | None
    segments: tuple[Segment, ...]
    n_channels: int

    @classmethod
    def linear(cls, groups):
        """Draw straight lines between the middles of the groups, constant outside.

        Parameters
        ----------
        groups : ChannelGroups

        Returns
        -------
        Expansion
        """
        matrix = interpolation_matrix(groups, degree=1)
        return cls(None, _segments(matrix, groups), _n_channels(groups))

    @classmethod
    def cubic(cls, groups):
        """Draw the cubic spline through the middles of the groups, constant outside.

        Parameters
        ----------
        groups : ChannelGroups

        Returns
        -------
        Expansion
        """
        spline = make_interp_spline(groups.middle, np.eye(groups.size), k=3)
        basis = BSpline.design_matrix(_inside(groups), spline.t, 3).toarray().T
        return cls(spline.c.T, _segments(basis, groups), _n_channels(groups))

    def astype(self, dtype):
        """Convert to another precision.

        Parameters
        ----------
        dtype : dtype

        Returns
        -------
        Expansion
        """
        before = None if self.before is None else self.before.astype(dtype)
        segments = tuple(one._replace(matrix=one.matrix.astype(dtype)) for one in self.segments)
        return Expansion(before, segments, self.n_channels)

    def __call__(self, values, out):
        """Expand values of groups to all channels.

        Parameters
        ----------
        values : ndarray of shape (n, n_groups)
        out : ndarray of shape (n, n_channels)
            Written to.

        Returns
        -------
        ndarray
            ``out``.
        """
        if self.before is not None:
            values = values @ self.before
        for channels, groups, matrix in self.segments:
            np.matmul(values[:, groups], matrix, out=out[:, channels])
        return out

    def collected(self, weights):
        """Collect weights of channels to weights of groups, by the transpose of the map.

        Parameters
        ----------
        weights : ndarray of shape (n, n_channels)

        Returns
        -------
        ndarray of shape (n, n_groups)
        """
        result = np.zeros((len(weights), self.segments[-1].groups.stop))
        for channels, groups, matrix in self.segments:
            result[:, groups] += weights[:, channels] @ matrix.T
        return result if self.before is None else result @ self.before.T


def interpolation_matrix(groups, degree):
    """Build the matrix from values in the middle of groups to values in all their channels.

    Parameters
    ----------
    groups : ChannelGroups
    degree : int
        1 for straight lines, 3 for the cubic spline.

    Returns
    -------
    ndarray of shape (n_groups, n_channels)

    Examples
    --------
    >>> from hyperspy_zlpml.zlp.expansion import interpolation_matrix
    >>> from hyperspy_zlpml.zlp.groups import make_groups
    >>> groups = make_groups(18.0, 50, 200)
    >>> matrix = interpolation_matrix(groups, degree=1)
    >>> matrix.shape == (groups.size, groups.edges[-1] - groups.edges[0])
    True
    >>> int((matrix > 0).sum(0).max())  # groups that a channel depends on
    2
    """
    return make_interp_spline(groups.middle, np.eye(groups.size), k=degree)(_inside(groups)).T


def _inside(groups):
    """List all channels, those outside of the outermost middles at these."""
    channels = np.arange(groups.edges[0], groups.edges[-1])
    return np.clip(channels, groups.middle[0], groups.middle[-1])


def _n_channels(groups):
    return int(groups.edges[-1] - groups.edges[0])


def _segments(matrix, groups):
    """Cut a banded matrix, of rows of groups and columns of channels, into blocks."""
    edges = groups.edges - groups.edges[0]
    found = []
    for first in range(0, groups.size, _GROUPS_PER_SEGMENT):
        last = min(first + _GROUPS_PER_SEGMENT, groups.size)
        channels = slice(int(edges[first]), int(edges[last]))
        filled = np.flatnonzero((np.abs(matrix[:, channels]) > _NOTHING).any(-1))
        rows = slice(int(filled[0]), int(filled[-1]) + 1)
        found.append(Segment(channels, rows, np.ascontiguousarray(matrix[rows, channels])))
    # The last reaches to the last group, whatever is zero there.
    channels, rows, _ = found[-1]
    rows = slice(rows.start, groups.size)
    found[-1] = Segment(channels, rows, matrix[rows, channels].copy())
    return tuple(found)
