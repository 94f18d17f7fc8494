# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters of pixels of equal thickness: K-means on a scalar proxy (Roest 2021, section 3.2)."""

from dataclasses import dataclass, field

import numpy as np
from sklearn.cluster import KMeans

#: ``n_clusters="auto"`` makes the clusters about this wide in t/lambda, up to a number.
_AUTO_WIDTH = 0.25
_AUTO_MOST = 8
#: Clusters with fewer spectra are merged into their nearest neighbour.
MIN_SIZE = 2


def zlp_proxy(parameters):
    """``ln N0``: falls by t/lambda."""
    return _logarithm(parameters.intensity)


def total_proxy(parameters):
    """Logarithm of the total counts: falls with what the aperture stops."""
    return _logarithm(parameters.total)


def log_ratio_proxy(parameters):
    """``ln(I_total / I_zlp)``: the log-ratio thickness, up to a constant."""
    return _logarithm(parameters.total) - _logarithm(parameters.intensity)


def _logarithm(values):
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(np.where(values > 0, values, np.nan))


#: Proxies by the name of ``cluster_by``; with the sign that makes them grow with thickness.
PROXIES = {"zlp": (zlp_proxy, -1), "total": (total_proxy, -1), "log_ratio": (log_ratio_proxy, 1)}


@dataclass(frozen=True)
class Clusters:
    """Outcome of the clustering.

    Attributes
    ----------
    labels : ndarray of int
        Cluster of each spectrum, thinnest first; -1 where the proxy is not finite.
    centres : ndarray of shape (n_clusters,)
        Mean of the proxy in each cluster, in the order of the labels.
    messages : tuple of str
        Mergers, for the report.
    """

    labels: np.ndarray
    centres: np.ndarray
    messages: tuple = field(default=())

    @property
    def sizes(self):
        """Spectra in each cluster."""
        return np.bincount(self.labels[self.labels >= 0].ravel(), minlength=self.centres.size)


def cluster(proxy, n_clusters, sign=1, min_size=MIN_SIZE, random_state=None):
    """K-means on a scalar proxy of thickness.

    Parameters
    ----------
    proxy : ndarray
        One number per spectrum; values that are not finite get the label -1.
    n_clusters : int or "auto"
        At most as many as there are distinct values.
    sign : int
        1 where the proxy grows with thickness, -1 where it falls.
    min_size : int
        Smaller clusters are merged with their nearest neighbour.
    random_state : int, optional
        Seed of K-means.

    Returns
    -------
    Clusters
    """
    finite = np.isfinite(proxy)
    if not finite.any():
        return Clusters(np.full(proxy.shape, -1), np.zeros(0))
    values = proxy[finite].astype(float)
    distinct = np.unique(values).size
    wanted = _number_for(values) if n_clusters == "auto" else n_clusters
    number = max(1, min(wanted, distinct))
    messages = []
    if number < wanted:
        messages.append(
            f"n_clusters reduced from {wanted} to {number}: no more distinct values to cluster"
        )
    seeded = KMeans(number, n_init=10, random_state=random_state)
    label = seeded.fit_predict(values[:, None])
    label, merged = _merge_small(values, label, min(min_size, values.size))
    if merged:
        messages.append(
            f"{merged} cluster(s) of fewer than {min_size} spectra merged with the nearest"
        )
    label, centres = _order(values, label, sign)
    labels = np.full(proxy.shape, -1)
    labels[finite] = label
    return Clusters(labels, centres, tuple(messages))


def _number_for(values):
    low, high = np.percentile(values, [1, 99])
    return int(np.clip(np.ceil((high - low) / _AUTO_WIDTH), 1, _AUTO_MOST))


def _merge_small(values, label, min_size):
    merged = 0
    while True:
        names, sizes = np.unique(label, return_counts=True)
        if names.size == 1 or sizes.min() >= min_size:
            return label, merged
        centres = np.array([values[label == name].mean() for name in names])
        smallest = sizes.argmin()
        distance = np.abs(centres - centres[smallest])
        distance[smallest] = np.inf
        label = np.where(label == names[smallest], names[distance.argmin()], label)
        merged += 1


def _order(values, label, sign):
    names = np.unique(label)
    centres = np.array([values[label == name].mean() for name in names])
    order = (sign * centres).argsort(kind="stable")
    rank = np.empty(names.size, int)
    rank[order] = np.arange(names.size)
    return rank[np.searchsorted(names, label)], centres[order]


def clusters_of(image, cluster_by, n_clusters, random_state):
    """Clusters of the usable spectra.

    Parameters
    ----------
    image : Image
    cluster_by : str or ndarray of shape (n_spectra,)
        Name of a proxy, or a map that grows with thickness.
    n_clusters : int or "auto"
    random_state : int or None

    Returns
    -------
    clusters : Clusters
    name : str
    """
    if isinstance(cluster_by, str):
        function, sign = PROXIES[cluster_by]
        proxy, name = function(image.parameters), cluster_by
    else:
        proxy, sign, name = np.asarray(cluster_by, float), 1, "map"
    proxy = np.where(image.usable, proxy, np.nan)
    return cluster(proxy, n_clusters, sign, random_state=random_state), name
