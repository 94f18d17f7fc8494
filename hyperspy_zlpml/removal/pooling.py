# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions of physics of spectra that are pooled over neighbours or groups of an image."""

from functools import partial

import dask
import dask.array as da
import numpy as np

from hyperspy_zlpml.compute import compute
from hyperspy_zlpml.physics.onset import without_losses_above
from hyperspy_zlpml.physics.pooling import (
    Packing,
    cropped,
    pool_groups,
    pool_neighbours,
    pooled_groups,
)


def map_neighbours(removed, function, width, *, size, window, show_progressbar=False, title=""):
    """Apply a function of physics to every spectrum of an image pooled with its neighbours.

    Parameters
    ----------
    removed : RemovedZLP
    function : callable
        Of the Losses of one pooled spectrum; returns an array of shape (1, width).
    width : int
    size : int
        Spectra on a side of the neighbourhood, in every direction of the image.
    window : Range
        Energies from the peak that the function needs, eV; what the tail of the peak brings down from
        above counts as ZLP.
    show_progressbar : bool
    title : str
        Of the progress bar.

    Returns
    -------
    ndarray of shape (..., width)
        NaN where a spectrum has no ZLP.
    """
    packing, rows = _packed(removed, window)
    n_axes = rows.ndim - 1
    rows = rows.rechunk({axis: _at_least(rows.chunks[axis], size) for axis in range(n_axes)})
    depth = {**dict.fromkeys(range(n_axes), size // 2), n_axes: 0}
    wide = da.overlap.overlap(rows, depth=depth, boundary="none")
    found = da.map_blocks(
        _neighbours_of_block,
        wide,
        packing=packing,
        size=size,
        function=dask.delayed(function, traverse=False),
        width=width,
        dtype=float,
        chunks=rows.chunks[:-1] + ((width,),),
        meta=np.empty((0,) * rows.ndim),
    )
    return compute(found, show_progressbar=show_progressbar, title=title)[0]


def map_groups(removed, function, labels, *, window, show_progressbar=False, title=""):
    """Apply a function of physics to the sums of groups of spectra.

    Parameters
    ----------
    removed : RemovedZLP
    function : callable
        Of the Losses of the groups; returns an array of shape (n_groups, width).
    labels : ndarray of int of the navigation shape
        Group of each spectrum, from 0; -1 where it belongs to none.
    window : Range
        As :func:`map_neighbours` takes it.
    show_progressbar : bool
    title : str
        Of the progress bar.

    Returns
    -------
    ndarray of shape (n_groups, width)
    """
    packing, rows = _packed(removed, window)
    n_groups = int(labels.max()) + 1
    first = [np.flatnonzero(labels.ravel() == group)[0] for group in range(n_groups)]
    references = packing.pack(_prepared(removed.losses_of(first), window))
    labels = da.from_array(labels, chunks=rows.chunks[:-1])
    parts = [
        da.from_delayed(
            dask.delayed(pool_groups)(packing, *block, references),
            shape=(n_groups, packing.width + 1),
            dtype=float,
        )
        for block in zip(rows.to_delayed().ravel(), labels.to_delayed().ravel(), strict=True)
    ]
    sums = compute(*parts, show_progressbar=show_progressbar, title=title)
    return function(pooled_groups(packing, sum(sums), references))


def _prepared(losses, window):
    """Take what is pooled of spectra: a window that nothing from above reaches into."""
    return cropped(without_losses_above(losses, window.high), window.low, window.high)


def _packed(removed, window):
    """Pack all spectra of an image; a dask array of shape (..., width)."""
    one = np.flatnonzero(np.isfinite(np.asarray(removed.centre).ravel()))[:1]
    packing = Packing.of(_prepared(removed.losses_of(one), window))
    pack = partial(_pack, packing=packing, window=window)
    return packing, removed.map_losses(pack, packing.width, lazy=True)


def _pack(losses, packing, window):
    return packing.pack(_prepared(losses, window))


def _at_least(sizes, least):
    """Join the chunks of an axis until each but the last has a size, and the last has it too."""
    joined = []
    for size in sizes:
        if joined and joined[-1] < least:
            joined[-1] += size
        else:
            joined.append(size)
    if len(joined) > 1 and joined[-1] < least:
        joined[-2:] = [sum(joined[-2:])]
    return tuple(joined)


def _neighbours_of_block(rows, packing, size, function, width, block_info=None):
    """Apply a function to the spectra of a block, without those that overlap with others."""
    location, n_blocks = block_info[0]["chunk-location"], block_info[0]["num-chunks"]
    inner = tuple(
        slice(
            size // 2 if location[axis] else 0,
            n - (size // 2 if location[axis] < n_blocks[axis] - 1 else 0),
        )
        for axis, n in enumerate(rows.shape[:-1])
    )
    found = pool_neighbours(packing, rows, size, function, inner=inner)
    return found if found.shape[-1] else np.full(found.shape[:-1] + (width,), np.nan)
