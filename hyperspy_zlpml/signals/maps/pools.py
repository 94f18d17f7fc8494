# SPDX-License-Identifier: GPL-3.0-or-later
"""Peaks of pooled spectra of an image, block by block: squares about each pixel, or clusters."""

from functools import partial

import dask
import dask.array as da
import numpy as np

from hyperspy_zlpml.compute import compute
from hyperspy_zlpml.physics.peaks import WIDTH, fit_group, groups_of, packed, piece_of
from hyperspy_zlpml.physics.pooled_peaks import fit_pooled, kinds_of, means_of, neighbourhoods
from hyperspy_zlpml.physics.pooling import Packing, pool_groups, pooled_groups


def fit_pools(removed, pool, peaks, *, weight, threshold, is_single, is_gain, **options):
    """Fit peaks to the means of pooled spectra of an image.

    Parameters
    ----------
    removed : RemovedZLP
    pool : int or "clusters"
    peaks, weight, threshold, is_single, is_gain
        As :func:`.physics.peaks.fit_peaks` takes them.
    **options
        ``show_progressbar`` and ``title`` of the bar.

    Returns
    -------
    ndarray of shape (..., n_peaks * WIDTH)
    """
    shape = removed.shape[:-1]
    found = np.full(shape + (len(peaks), WIDTH), np.nan)
    usable = np.flatnonzero(np.isfinite(removed.centre).ravel())
    for group in groups_of(peaks) if usable.size else ():
        some = [peaks[k] for k in group]
        cut = partial(piece_of, peaks=some, is_single=is_single, is_gain=is_gain)
        packing = Packing.of(cut(removed.losses_of(usable[:1])))
        pack = partial(packed, peaks=some, is_single=is_single, is_gain=is_gain)
        rows = removed.map_losses(pack, packing.width, lazy=True)
        settings = {"peaks": some, "weight": weight, "threshold": threshold}
        if pool == "clusters":
            values = _of_clusters(removed, packing, rows, cut=cut, settings=settings, **options)
        else:
            values = _of_squares(packing, rows, size=pool, settings=settings, **options)
        found[..., group, :] = values.reshape(shape + (len(some), WIDTH))
    return found.reshape(shape + (-1,))


def _of_squares(packing, rows, size, settings, **options):
    """Fit to the mean of the square about each spectrum; (..., n_peaks * WIDTH)."""
    rows = rows if rows.ndim > 1 else rows[None]
    n_axes, reach = rows.ndim - 1, size // 2
    rows = rows.rechunk({axis: _at_least(rows.chunks[axis], reach) for axis in range(n_axes)})
    depth = dict.fromkeys(range(n_axes), reach) | {n_axes: 0}
    width = len(settings["peaks"]) * WIDTH
    found = da.map_blocks(
        _squares_of_block,
        da.overlap.overlap(rows, depth=depth, boundary="none"),
        packing=packing,
        size=size,
        settings=dask.delayed(settings, traverse=False),
        dtype=float,
        chunks=rows.chunks[:-1] + ((width,),),
        meta=np.empty((0,) * rows.ndim),
    )
    return compute(found, **options)[0]


def _squares_of_block(rows, packing, size, settings, block_info=None):
    """Fit to the spectra of a block, without those that overlap with others."""
    shape, reach = rows.shape[:-1], size // 2
    place = zip(block_info[0]["chunk-location"], block_info[0]["num-chunks"], strict=True)
    inner = tuple(
        slice(reach if at else 0, n - (reach if at < n_blocks - 1 else 0))
        for n, (at, n_blocks) in zip(shape, place, strict=False)
    )
    number = np.arange(int(np.prod(shape))).reshape(shape)[inner]
    every = neighbourhoods(shape, size)
    pools = [every[row] for row in number.ravel()]
    found = fit_pooled(packing, rows.reshape(-1, rows.shape[-1]), pools, **settings)
    return found.reshape(number.shape + (-1,))


def _at_least(sizes, least):
    """Join the chunks of an axis until none is smaller than the reach of a square."""
    joined = []
    for size in sizes:
        if joined and min(joined[-1], size) < least:
            joined[-1] += size
        else:
            joined.append(size)
    return tuple(joined)


def _of_clusters(removed, packing, rows, *, cut, settings, **options):
    """Fit to the mean of each cluster; (..., n_peaks * WIDTH), NaN where a spectrum is in none."""
    labels = kinds_of(removed.clusters, removed.vacuum & np.isfinite(removed.centre))
    groups = np.unique(labels[labels >= 0])
    labels = np.where(labels < 0, -1, np.searchsorted(groups, labels))
    first = [np.flatnonzero(labels.ravel() == group)[0] for group in range(groups.size)]
    references = packing.pack(cut(removed.losses_of(first)))
    chunked = da.from_array(np.asarray(labels), chunks=rows.chunks[:-1])
    parts = [
        da.from_delayed(
            dask.delayed(pool_groups)(packing, *block, references),
            shape=(groups.size, packing.width + 1),
            dtype=float,
        )
        for block in zip(rows.to_delayed().ravel(), chunked.to_delayed().ravel(), strict=True)
    ]
    sums = sum(compute(*parts, **options))
    means = means_of(pooled_groups(packing, sums, references), np.maximum(sums[:, -1], 1))
    found = fit_group(means, **settings).reshape(groups.size, -1)[labels]
    found[labels < 0] = np.nan
    return found
