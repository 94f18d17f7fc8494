# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be pooled for a map: squares of pixels, or clusters."""

from hyperspy_zlpml import arguments
from hyperspy_zlpml.removal.pooling import CLUSTERS

#: Pixels on a side of a neighbourhood, at most.
_LARGEST = 64


def checked_pool(removal, pool):
    """Take a size of neighbourhoods, the clusters, or none of both.

    Parameters
    ----------
    removal : ZLPRemoval
    pool : int, "clusters" or None

    Returns
    -------
    int, "clusters" or None

    Raises
    ------
    ValueError
        If it is none of these, or a number of neighbours of a single spectrum.
    """
    if pool is None or (isinstance(pool, str) and pool == CLUSTERS):
        return pool
    size = arguments.count(pool, "pool", 2, _LARGEST, beside=', "clusters" or None')
    if not removal.removed.shape[:-1]:
        arguments.refuse(pool, "pool", "None for a single spectrum")
    return size
