# SPDX-License-Identifier: GPL-3.0-or-later
"""Peaks of pooled spectra of an image: who is pooled with whom, and the fit."""

from functools import partial

import numpy as np

from hyperspy_zlpml import arguments
from hyperspy_zlpml.compute import compute, take_spectra
from hyperspy_zlpml.physics.peaks import WIDTH, groups_of, packed, piece_of
from hyperspy_zlpml.physics.pooled_peaks import clusters, fit_pooled, neighbourhoods
from hyperspy_zlpml.physics.pooling import Packing

#: Largest side of the square of pixels that are pooled.
_LARGEST = 1001


def pools_of(removal, pool):
    """List what is pooled about every spectrum; None where nothing is.

    Parameters
    ----------
    removal : ZLPRemoval
    pool : int, "clusters" or None

    Returns
    -------
    pools : list of (int, ndarray of int)
        A spectrum, and those that may be pooled with it.
    places : ndarray of int of the navigation shape
        Pool of each spectrum; -1 where it has none.

    Raises
    ------
    ValueError
        If it is none of these, or an even number.
    """
    shape = removal.removed.shape[:-1]
    number = np.arange(int(np.prod(shape))).reshape(shape)
    if pool is None:
        return None
    if isinstance(pool, str):
        arguments.choice(pool, "pool", {"clusters"}, ", an odd integer or None")
        removed = removal.removed
        pools = clusters(removed.clusters.ravel(), removed.vacuum.ravel())
        places = np.full(number.size, -1)
        for k, (_, members) in enumerate(pools):
            places[members] = k
        return pools, places.reshape(shape)
    size = arguments.count(pool, "pool", least=3, most=_LARGEST, beside=' or "clusters"')
    if size % 2 == 0:
        arguments.refuse(pool, "pool", "an odd number of pixels on a side of the square")
    return neighbourhoods(shape, size), number


def fit_pools(removed, pools, peaks, *, weight, threshold, is_single, is_gain, **options):
    """Fit peaks to the means of pooled spectra of an image.

    Parameters
    ----------
    removed : RemovedZLP
    pools : tuple
        Of :func:`pools_of`.
    peaks, weight, threshold, is_single, is_gain
        As :func:`.physics.peaks.fit_peaks` takes them.
    **options
        Of :meth:`.RemovedZLP.map_losses`.

    Returns
    -------
    ndarray of shape (..., n_peaks * WIDTH)
    """
    pools, places = pools
    one = losses_of_one(removed)
    found = np.full((len(pools), len(peaks), WIDTH), np.nan)
    for group in groups_of(peaks) if one is not None else ():
        settings = {"peaks": [peaks[k] for k in group], "is_single": is_single, "is_gain": is_gain}
        packing = Packing.of(piece_of(one, **settings))
        rows = removed.map_losses(partial(packed, **settings), packing.width, lazy=False, **options)
        found[:, group] = fit_pooled(
            packing,
            rows.reshape(-1, packing.width),
            pools,
            peaks=settings["peaks"],
            weight=weight,
            threshold=threshold,
        )
    values = found.reshape(len(pools), -1)[places]
    values[places < 0] = np.nan
    return values


def losses_of_one(removed):
    """Take the losses of one spectrum, by which those of others are laid out.

    Parameters
    ----------
    removed : RemovedZLP

    Returns
    -------
    Losses or None
        None where no spectrum has a zero-loss peak.
    """
    usable = np.flatnonzero(np.isfinite(removed.centre).ravel())
    kept = []

    def keep(losses):
        kept.append(losses)
        return np.zeros((len(losses.centre), 1))

    for row in usable:
        spectra, index = removed.spectra, np.array([row])
        wanted = [spectra.counts, removed.posterior]
        if np.ndim(spectra.variance):
            wanted.append(spectra.variance)
        taken = [take_spectra(one, index) for one in wanted]
        counts, posterior, *known = compute(*taken, show_progressbar=False, title="")
        removed.application.map_losses(
            keep, 1, counts, posterior, variance=known[0] if known else spectra.variance
        )
        if kept:
            return kept[0]
    return None
