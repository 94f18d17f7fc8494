# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions of physics of spectra that are pooled over neighbours or clusters of an image.

All maps that pool do it here: whatever of a spectrum a function needs is cut out, spectra are aligned
on their peaks and averaged with the errors that they share, and the function is given the means.
"""

from functools import partial

import dask
import dask.array as da
import numpy as np

from hyperspy_zlpml.compute import compute
from hyperspy_zlpml.physics.pooling import (
    Packing,
    pool_groups,
    pool_neighbours,
    pooled_groups,
)

#: What is pooled where it is not a number of neighbours.
CLUSTERS = "clusters"


def map_pooled(removed, function, width, *, pool, prepare, **options):
    """Apply a function of physics to every spectrum of an image pooled with others.

    Parameters
    ----------
    removed : RemovedZLP
    function : callable
        Of the Losses of some pooled spectra; returns an array of shape (n_spectra, width).
    width : int
    pool : int or "clusters"
        Spectra on a side of the neighbourhood of each, in every direction of the image; or the
        clusters of the image, vacuum being one of its own.
    prepare : callable
        Takes what the function needs of the Losses of some spectra, on one axis of energies from the
        peak, see :func:`.physics.pooling.cropped`.
    **options
        ``show_progressbar``, and ``title`` of the bar.

    Returns
    -------
    ndarray of shape (..., width)
        NaN where a spectrum has no ZLP, or belongs to no cluster.
    """
    shape = removed.shape[:-1]
    one = np.flatnonzero(np.isfinite(np.asarray(removed.centre).ravel()))[:1]
    if not one.size:
        return np.full(shape + (width,), np.nan)
    packing = Packing.of(prepare(removed.losses_of(one)))
    pack = partial(_pack, packing=packing, prepare=prepare)
    rows = removed.map_losses(pack, packing.width, lazy=True)
    if pool != CLUSTERS:
        rows = rows if shape else rows[None]
        work = partial(_neighbours_of_block, packing=packing, function=function, size=pool)
        return _map_neighbours(rows, work, width, size=pool, **options).reshape(shape + (width,))
    labels = kinds_of(removed)
    if labels.max() < 0:
        return np.full(shape + (width,), np.nan)
    groups = _groups(removed, packing, rows, prepare=prepare, labels=labels, **options)
    return np.where((labels < 0)[..., None], np.nan, function(groups)[labels])


def losses_at(removed, place, *, pool, prepare):
    """Collect the losses of one spectrum as a function is given them, pooled or alone.

    Parameters
    ----------
    removed : RemovedZLP
    place : tuple of int
        In arrays of the navigation shape; of a spectrum with a ZLP.
    pool : int, "clusters" or None
        See :func:`map_pooled`; None for the spectrum alone.
    prepare : callable
        See :func:`map_pooled`.

    Returns
    -------
    Losses
        Of one spectrum.
    """
    shape = removed.shape[:-1]
    if pool == CLUSTERS:
        return _group_of(removed, place, prepare)
    reach = pool // 2 if pool and shape else 0
    box = tuple(slice(max(i - reach, 0), i + reach + 1) for i in place)
    numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape)[box]
    is_known = np.isfinite(np.asarray(removed.centre).reshape(shape)[box])
    losses = prepare(removed.losses_of(numbers[is_known]))
    if not reach:
        return losses
    packing, kept = Packing.of(losses), []
    rows = np.full(numbers.shape + (packing.width,), np.nan)
    rows[is_known] = packing.pack(losses)
    own = tuple(slice(i - one.start, i - one.start + 1) for i, one in zip(place, box, strict=True))
    pool_neighbours(packing, rows, partial(_keep, kept=kept), 1, size=pool, inner=own)
    return kept[0]


def _keep(losses, kept):
    kept.append(losses)
    return np.zeros((len(losses.centre), 1))


def _group_of(removed, place, prepare):
    """Average the spectra of the cluster that one belongs to; their Losses."""
    kinds = kinds_of(removed)
    labels = np.where(kinds == kinds[place], 0, -1)
    one = np.flatnonzero(labels.ravel() == 0)[:1]
    packing = Packing.of(prepare(removed.losses_of(one)))
    pack = partial(_pack, packing=packing, prepare=prepare)
    rows = removed.map_losses(pack, packing.width, lazy=True)
    quiet = {"show_progressbar": False, "title": ""}
    return _groups(removed, packing, rows, prepare=prepare, labels=labels, **quiet)


def kinds_of(removed):
    """Give every cluster that has spectra a number; vacuum is one of its own.

    Parameters
    ----------
    removed : RemovedZLP

    Returns
    -------
    ndarray of int of the navigation shape
        From 0; -1 where a spectrum belongs to none, or has no ZLP.
    """
    labels = np.where(removed.vacuum, removed.clusters.max() + 1, removed.clusters)
    labels = np.where(np.isfinite(removed.centre) & (removed.clusters >= 0), labels, -1)
    known = np.unique(labels[labels >= 0])
    return np.where(labels >= 0, np.searchsorted(known, labels), -1)


def _pack(losses, packing, prepare):
    return packing.pack(prepare(losses))


def _map_neighbours(rows, work, width, *, size, **options):
    """Work on every block of an image and what lies beside it; (..., width)."""
    n_axes = rows.ndim - 1
    rows = rows.rechunk({axis: _at_least(rows.chunks[axis], size) for axis in range(n_axes)})
    depth = {**dict.fromkeys(range(n_axes), size // 2), n_axes: 0}
    found = da.map_blocks(
        work,
        da.overlap.overlap(rows, depth=depth, boundary="none"),
        width=width,
        dtype=float,
        chunks=rows.chunks[:-1] + ((width,),),
        meta=np.empty((0,) * rows.ndim),
    )
    return compute(found, **options)[0]


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


def _neighbours_of_block(rows, packing, function, size, width, block_info=None):
    """Apply a function to the spectra of a block, without those that overlap with others."""
    location, n_blocks = block_info[0]["chunk-location"], block_info[0]["num-chunks"]
    inner = tuple(
        slice(
            size // 2 if location[axis] else 0,
            n - (size // 2 if location[axis] < n_blocks[axis] - 1 else 0),
        )
        for axis, n in enumerate(rows.shape[:-1])
    )
    return pool_neighbours(packing, rows, function, width, size=size, inner=inner)


def _groups(removed, packing, rows, *, prepare, labels, **options):
    """Average the spectra of every group; their Losses."""
    n_groups = int(labels.max()) + 1
    first = [np.flatnonzero(labels.ravel() == group)[0] for group in range(n_groups)]
    references = packing.pack(prepare(removed.losses_of(first)))
    labels = da.from_array(labels, chunks=rows.chunks[:-1])
    parts = [
        da.from_delayed(
            dask.delayed(pool_groups)(packing, *block, references),
            shape=(n_groups, packing.width + 1),
            dtype=float,
        )
        for block in zip(rows.to_delayed().ravel(), labels.to_delayed().ravel(), strict=True)
    ]
    return pooled_groups(packing, sum(compute(*parts, **options)), references)
