# SPDX-License-Identifier: GPL-3.0-or-later
"""Monte Carlo replicas: pseudo-measurements that the networks are trained on.

``gaussian`` (Roest 2021, eq. 3.3): central values of each cluster, plus statistical errors
independent from point to point, plus systematic errors common to all points: here the modes in
which the shape of measured peaks really differs from one spectrum to the next.

``spectra`` (Brokkelkamp 2022, section 2.2): one spectrum drawn from each cluster; where single
spectra are too noisy, the mean of a bootstrap sample of several.
"""

import numpy as np

KINDS = ("gaussian", "spectra")

#: A drawn spectrum should be known to this relative accuracy on its flank.
_DRAW_ACCURACY = 0.02


def draw_gaussian(clusters, n_replicas, rng, modes):
    """Pseudo-data from central values and covariance.

    Parameters
    ----------
    clusters : sequence of ClusterSpectra
    n_replicas : int
    rng : numpy.random.Generator
    modes : ndarray of shape (n_modes, n_groups)
        In which shapes vary, see :func:`shape_modes`.

    Returns
    -------
    ndarray of shape (n_replicas, n_clusters, n_groups)
    """
    scores = rng.standard_normal((n_replicas, len(modes)))
    systematic = scores @ modes
    replicas = np.empty((n_replicas, len(clusters), clusters[0].u.size))
    for number, cluster in enumerate(clusters):
        mean, error = cluster.mean
        error = np.where(np.isfinite(error), error, 0.0)
        statistical = rng.standard_normal((n_replicas, mean.size)) * error
        if cluster.is_reference:
            statistical = 0.0
        replicas[:, number] = mean + statistical + systematic
    return replicas


def draw_spectra(clusters, n_replicas, rng, modes=None):
    """Pseudo-data from spectra drawn from the clusters, whose variations they bring along.

    Returns
    -------
    ndarray of shape (n_replicas, n_clusters, n_groups)
    """
    replicas = np.empty((n_replicas, len(clusters), clusters[0].u.size))
    for number, cluster in enumerate(clusters):
        size = draw_size(cluster)
        drawn = rng.integers(len(cluster.ratio), size=(n_replicas, size))
        weight = np.where(cluster.used, 1 / cluster.variance, 0.0)
        amount = weight[drawn].sum(1)
        values = (weight * np.where(cluster.used, cluster.ratio, 0.0))[drawn].sum(1)
        replicas[:, number] = np.where(amount > 0, values / np.where(amount > 0, amount, 1), 1.0)
    return replicas


def draw_size(cluster):
    """Spectra to average per draw so that the flank is known well enough."""
    flank = cluster.used & (np.abs(cluster.u) > 1)
    if not flank.any():
        return 1
    sigma = np.sqrt(np.median(cluster.variance[flank]))
    return int(np.clip(np.ceil((sigma / _DRAW_ACCURACY) ** 2), 1, len(cluster.ratio)))


DRAW = {"gaussian": draw_gaussian, "spectra": draw_spectra}


def draw_limits(limits, n_replicas, rng, spread):
    """``E_I`` of every replica: lowered by a random fraction up to ``spread``.

    Returns
    -------
    ndarray of shape (n_replicas, n_clusters)
    """
    return limits * (1 - spread * rng.random((n_replicas, len(limits))))
