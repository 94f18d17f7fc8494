# SPDX-License-Identifier: GPL-3.0-or-later
"""From values in the middle of groups to values in all their channels.

A channel depends on its two neighbouring groups (linear) or on four coefficients of a spline
(cubic), so the matrices are cut into segments of a few groups: products of small dense blocks,
ten times fewer operations than the whole matrix and as fast per operation.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline, make_interp_spline

_GROUPS_PER_SEGMENT = 16
#: Entries of a matrix below this count as zero.
_NOTHING = 1e-13


@dataclass(frozen=True)
class Expansion:
    """A banded linear map from groups to channels.

    Attributes
    ----------
    before : ndarray of shape (n_groups, n_groups) or None
        Applied first: values to coefficients of a spline.
    segments : tuple of (slice of channels, slice of groups, ndarray (n_groups, n_channels))
    n_channels : int
    """

    before: np.ndarray
    segments: tuple
    n_channels: int

    @classmethod
    def linear(cls, groups):
        """Straight lines between the middles of the groups, constant outside."""
        return cls(None, *_segments(interpolation_matrix(groups, 1), groups))

    @classmethod
    def cubic(cls, groups):
        """The cubic spline through the middles of the groups, constant outside."""
        spline = make_interp_spline(groups.middle, np.eye(groups.size), k=3)
        basis = BSpline.design_matrix(_inside(groups), spline.t, 3).toarray().T
        return cls(spline.c.T, *_segments(basis, groups))

    def astype(self, dtype):
        """The same in another precision."""
        before = None if self.before is None else self.before.astype(dtype)
        segments = tuple((a, b, matrix.astype(dtype)) for a, b, matrix in self.segments)
        return Expansion(before, segments, self.n_channels)

    def __call__(self, values, out):
        """Values of shape (n, n_groups) at all channels, written to ``out`` (n, n_channels)."""
        if self.before is not None:
            values = values @ self.before
        for channels, groups, matrix in self.segments:
            np.matmul(values[:, groups], matrix, out=out[:, channels])
        return out

    def collected(self, weights):
        """The transpose: weights of channels (n, n_channels) to weights of groups."""
        result = np.zeros((len(weights), self.segments[-1][1].stop))
        for channels, groups, matrix in self.segments:
            result[:, groups] += weights[:, channels] @ matrix.T
        return result if self.before is None else result @ self.before.T


def interpolation_matrix(groups, degree):
    """Matrix from values in the middle of groups to values in all their channels."""
    return make_interp_spline(groups.middle, np.eye(groups.size), k=degree)(_inside(groups)).T


def _inside(groups):
    channels = np.arange(groups.edges[0], groups.edges[-1])
    return np.clip(channels, groups.middle[0], groups.middle[-1])


def _segments(matrix, groups):
    """Blocks of a banded matrix that holds rows of groups and columns of channels."""
    edges = groups.edges - groups.edges[0]
    found = []
    for first in range(0, groups.size, _GROUPS_PER_SEGMENT):
        last = min(first + _GROUPS_PER_SEGMENT, groups.size)
        channels = slice(int(edges[first]), int(edges[last]))
        rows = np.flatnonzero((np.abs(matrix[:, channels]) > _NOTHING).any(-1))
        of = slice(int(rows[0]), int(rows[-1]) + 1)
        found.append((channels, of, np.ascontiguousarray(matrix[of, channels])))
    last = found[-1]
    found[-1] = (
        last[0],
        slice(last[1].start, groups.size),
        matrix[last[1].start :, last[0]].copy(),
    )
    return tuple(found), int(edges[-1])
