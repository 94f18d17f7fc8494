# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters of pixels of equal thickness: K-means on a scalar proxy (Roest 2021, section 3.2)."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.cluster import KMeans

from hyperspy_zlpml import arguments

#: ``n_clusters="auto"`` makes the clusters about this wide, in t/lambda.
_AUTO_WIDTH = 0.25
#: Most clusters that ``n_clusters="auto"`` makes.
_AUTO_MOST = 8
#: Most clusters that can be asked for: a report tells of each.
MOST_CLUSTERS = 50
#: Clusters with fewer spectra are merged into their nearest neighbour.
MIN_SIZE = 2


def zlp_proxy(parameters):
    """Compute ``ln N0``, which falls by t/lambda.

    Parameters
    ----------
    parameters : PeakParameters

    Returns
    -------
    ndarray
        Of the navigation shape; NaN where N0 is not positive.
    """
    return _logarithm(parameters.intensity)


def total_proxy(parameters):
    """Compute the logarithm of the total counts, which falls with what the aperture stops.

    Parameters
    ----------
    parameters : PeakParameters

    Returns
    -------
    ndarray
        Of the navigation shape; NaN where the total is not positive.
    """
    return _logarithm(parameters.total)


def log_ratio_proxy(parameters):
    """Compute ``ln(I_total / I_zlp)``, the log-ratio thickness up to a constant.

    Parameters
    ----------
    parameters : PeakParameters

    Returns
    -------
    ndarray
        Of the navigation shape; NaN where one of both is not positive.

    Examples
    --------
    Beer-Lambert: without losses stopped by the aperture, it grows by t/lambda.

    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.clusters import log_ratio_proxy
    >>> thickness = np.array([0.0, 0.5, 1.0])
    >>> peaks = SimpleNamespace(total=np.full(3, 1e6), intensity=1e6 * np.exp(-thickness))
    >>> log_ratio_proxy(peaks).round(6)
    array([0. , 0.5, 1. ])
    """
    return _logarithm(parameters.total) - _logarithm(parameters.intensity)


def _logarithm(values):
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(np.where(values > 0, values, np.nan))


#: Proxies by the name of ``cluster_by``; with the sign that makes them grow with thickness.
PROXIES = {"zlp": (zlp_proxy, -1), "total": (total_proxy, -1), "log_ratio": (log_ratio_proxy, 1)}
#: What a proxy is called in tables, and what that means.
WORDS = {
    "zlp": ("ln(I0)", "I0: counts of the ZLP"),
    "total": ("ln(It)", "It: all counts"),
    "log_ratio": ("ln(It/I0)", "It: all counts, I0: those of the ZLP"),
    "map": ("map", "map: the one given as cluster_by"),
}


@dataclass(frozen=True)
class Clusters:
    """Clusters of spectra by thickness, thinnest first.

    Attributes
    ----------
    labels : ndarray of int
        Cluster of each spectrum, thinnest first; -1 where the proxy is not finite.
    centres : ndarray of shape (n_clusters,)
        Mean of the proxy in each cluster, in the order of the labels.
    messages : tuple of str
        Mergers, for the report.
    proxy : str
        Name of the proxy of thickness, "map" for one that the user gave.
    """

    labels: np.ndarray
    centres: np.ndarray
    messages: tuple[str, ...] = ()
    proxy: str = ""

    @property
    def sizes(self):
        """Number of spectra in each cluster, shape (n_clusters,)."""
        return np.bincount(self.labels[self.labels >= 0].ravel(), minlength=self.centres.size)


def cluster_by_thickness(proxy, n_clusters, sign=1, min_size=MIN_SIZE, random_state=None):
    """Cluster spectra by K-means on a scalar proxy of thickness.

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

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.clusters import cluster_by_thickness
    >>> thickness = np.array([0.9, 0.1, 0.12, np.nan, 0.88])
    >>> cluster_by_thickness(thickness, 2, random_state=0).labels
    array([ 1,  0,  0, -1,  1])
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
    """Choose a number of clusters by the range of a proxy, which is in units of t/lambda."""
    low, high = np.percentile(values, [1, 99])
    return int(np.clip(np.ceil((high - low) / _AUTO_WIDTH), 1, _AUTO_MOST))


def _merge_small(values, label, min_size):
    """Merge clusters that are too small with their nearest neighbours, and count the mergers."""
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
    """Sort clusters from the thinnest on; labels and centres."""
    names = np.unique(label)
    centres = np.array([values[label == name].mean() for name in names])
    order = (sign * centres).argsort(kind="stable")
    rank = np.empty(names.size, int)
    rank[order] = np.arange(names.size)
    return rank[np.searchsorted(names, label)], centres[order]


def cluster_image(image, cluster_by, n_clusters, random_state):
    """Cluster the usable spectra of an image.

    Parameters
    ----------
    image : Image
    cluster_by : str or ndarray of shape (n_spectra,)
        Name of a proxy, or a map that grows with thickness.
    n_clusters : int or "auto"
    random_state : int or None
        Seed of K-means.

    Returns
    -------
    Clusters

    Examples
    --------
    A spectrum without a peak belongs to no cluster, whatever a map says of it.

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.clusters import cluster_image
    >>> from hyperspy_zlpml.image.describe import describe_image
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> energy = 0.05 * np.arange(-100, 200)
    >>> height = np.array([9e4, 3e4, 0.0, 1e5, 2e4])
    >>> counts = height[:, None] * np.exp(-4 * np.log(2) * (energy / 0.5) ** 2)
    >>> image = describe_image(peak_parameters(counts, energy), energy, np.arange(5), counts)
    >>> thickness = np.array([0.1, 1.2, 1.2, 0.0, 1.6])
    >>> cluster_image(image, thickness, n_clusters=2, random_state=0).labels
    array([ 0,  1, -1,  0,  1])
    >>> cluster_image(image, "zlp", n_clusters=2, random_state=0).labels
    array([ 0,  1, -1,  0,  1])
    """
    if isinstance(cluster_by, str):
        function, sign = PROXIES[cluster_by]
        proxy = function(image.parameters)
        name = cluster_by
    else:
        proxy = np.asarray(cluster_by, float)
        sign = 1
        name = "map"
    learnt = np.where(image.teaches, proxy, np.nan)
    clusters = cluster_by_thickness(learnt, n_clusters, sign, random_state=random_state)
    aside = image.set_aside & np.isfinite(proxy)
    labels = clusters.labels.copy()
    if clusters.centres.size:
        labels[aside] = np.abs(proxy[aside, None] - clusters.centres).argmin(-1)
    return replace(clusters, labels=labels, proxy=name)


def check_clustering(n_clusters, cluster_by):
    """Raise ValueError unless spectra can be clustered by these keywords.

    Parameters
    ----------
    n_clusters : int or "auto"
    cluster_by : str or array
        Name of a proxy; arrays are not looked at.

    Raises
    ------
    ValueError
        If the number is not a positive integer or "auto", or there is no proxy of that name.

    Examples
    --------
    >>> from hyperspy_zlpml.image.clusters import check_clustering
    >>> check_clustering(0, "zlp")
    Traceback (most recent call last):
    ValueError: n_clusters: expected an integer from 1 to 50 or 'auto', got 0.
    """
    if not (isinstance(n_clusters, str) and n_clusters == "auto"):
        arguments.count(n_clusters, "n_clusters", 1, MOST_CLUSTERS, beside=" or 'auto'")
    if cluster_by is None or isinstance(cluster_by, str):
        arguments.choice(cluster_by, "cluster_by", PROXIES, beside=" or a map")
