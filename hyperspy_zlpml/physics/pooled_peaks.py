# SPDX-License-Identifier: GPL-3.0-or-later
"""Peaks of spectra that are pooled: with their neighbours, or over clusters."""

from dataclasses import replace

import numpy as np

from hyperspy_zlpml.physics.peaks import WIDTH, fit_group
from hyperspy_zlpml.physics.pooling import members_of, pooled

#: Pools that are fitted at once.
_AT_ONCE = 64


def fit_pooled(packing, rows, pools, **settings):
    """Fit peaks to the means of pooled spectra.

    Parameters
    ----------
    packing : Packing
    rows : ndarray of shape (n_spectra, packing.width)
        Spectra as :func:`.peaks.packed` writes them; NaN where one has no zero-loss peak.
    pools : sequence of (int, ndarray of int, ndarray)
        A spectrum, those that are pooled with it if they are of its kind, see
        :func:`.pooling.members_of`, in rising order with itself among them, and their weights.
    **settings
        Of :func:`.peaks.fit_group`.

    Returns
    -------
    ndarray of shape (n_pools, n_peaks, WIDTH)
        NaN for pools about a spectrum without a zero-loss peak.
    """
    losses = packing.unpack(rows)
    found = np.full((len(pools), len(settings["peaks"]), WIDTH), np.nan)
    usable = [k for k, (row, *_) in enumerate(pools) if np.isfinite(losses.centre[row])]
    for start in range(0, len(usable), _AT_ONCE):
        some = usable[start : start + _AT_ONCE]
        means = [mean_of(losses, *pools[k]) for k in some]
        found[some] = fit_group(type(losses).join(means), **settings)
    return found


def mean_of(losses, row, near, weights):
    """Average a spectrum with those near it, with the errors that they share.

    Parameters
    ----------
    losses : Losses
    row : int
    near : ndarray of int
        In rising order, the row among them.
    weights : ndarray
        Of those near it.

    Returns
    -------
    Losses
        Of one spectrum.
    """
    members = members_of(losses, row, near)
    weights = weights[np.searchsorted(near, members)]
    total = pooled(losses.select(members), losses.select([row]), weights)
    return means_of(total, np.array([weights.sum()]))


def means_of(sums, count):
    """Divide sums of spectra by their numbers.

    Parameters
    ----------
    sums : Losses
        Of n pools.
    count : ndarray of shape (n,)

    Returns
    -------
    Losses
    """
    n = np.asarray(count, float)[:, None]
    means = {name: getattr(sums, name) / n for name in ("counts", "zlp")}
    return replace(
        sums, variance=sums.variance / n**2, directions=sums.directions / n[..., None], **means
    )


def neighbourhoods(shape, size):
    """List every spectrum of an image with those in a square about it, and their weights.

    Parameters
    ----------
    shape : tuple of int
        Navigation shape.
    size : int
        Spectra on a side of the square; of an even number those at the rim count by half.

    Returns
    -------
    list of (int, ndarray of int, ndarray)

    Examples
    --------
    >>> from hyperspy_zlpml.physics.pooled_peaks import neighbourhoods
    >>> neighbourhoods((3,), 3)[0]
    (0, array([0, 1]), array([1., 1.]))
    >>> neighbourhoods((3,), 2)[1]
    (1, array([0, 1, 2]), array([0.5, 1. , 0.5]))
    """
    number = np.arange(int(np.prod(shape))).reshape(shape)
    reach, is_even = size // 2, size % 2 == 0
    found = []
    for row, place in enumerate(np.ndindex(*shape)):
        near = number[tuple(slice(max(i - reach, 0), i + reach + 1) for i in place)].ravel()
        off = np.stack(np.unravel_index(near, shape), -1) - place if shape else np.zeros((1, 0))
        weights = np.where((np.abs(off) == reach) & is_even, 0.5, 1.0).prod(-1)
        found.append((row, near, weights))
    return found


def kinds_of(labels, is_vacuum):
    """Make vacuum a cluster of its own.

    Parameters
    ----------
    labels : ndarray of int
        Negative where a spectrum was left out.
    is_vacuum : ndarray of bool
        Of the same shape.

    Returns
    -------
    ndarray of int

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.pooled_peaks import kinds_of
    >>> kinds_of(np.array([0, 0, 1, -1]), np.array([True, False, False, False]))
    array([ 2,  0,  1, -1])
    """
    return np.where(is_vacuum & (labels >= 0), labels.max(initial=0) + 1, labels)
