# SPDX-License-Identifier: GPL-3.0-or-later
"""Monte Carlo replicas: pseudo-measurements that the networks are trained on.

``gaussian`` (Roest 2021, eq. 3.3): central values of each cluster, plus statistical errors
independent from point to point, plus systematic errors common to all points: here the modes in
which the shape of measured peaks really differs from one spectrum to the next. The latter are part of
the reference that each replica has for its own.

``spectra`` (Brokkelkamp 2022, section 2.2): one spectrum drawn from each cluster; where single
spectra are too noisy, the mean of a bootstrap sample of several.
"""

import numpy as np

from hyperspy_zlpml import arguments
from hyperspy_zlpml.ensemble.validation import MOST_REPLICAS

#: Relative accuracy to which a drawn spectrum should be known on its flank.
_DRAW_ACCURACY = 0.02
#: Fewest replicas that have a spread.
_FEWEST_REPLICAS = 2


def draw_gaussian(clusters, n_replicas, rng):
    """Draw pseudo-data from central values and covariance (Roest 2021, eq. 3.3).

    Parameters
    ----------
    clusters : sequence of ClusterSpectra
    n_replicas : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n_replicas, n_clusters, n_groups)
        Ratios to the reference.

    Examples
    --------
    One hundred spectra of 10 % noise: their mean is known to 1 %, and so much do replicas differ.

    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.variation import ClusterSpectra
    >>> from hyperspy_zlpml.training.replicas import draw_gaussian
    >>> ratio, u = np.ones((100, 5)), np.linspace(-2, 2, 5)
    >>> cluster = ClusterSpectra(ratio, np.full(ratio.shape, 0.1**2), ratio > 0, u, 15.0)
    >>> drawn = draw_gaussian([cluster], 2000, np.random.default_rng(0))
    >>> drawn.shape, float(drawn.std().round(3))
    ((2000, 1, 5), 0.01)
    """
    replicas = np.empty((n_replicas, len(clusters), clusters[0].u.size))
    for number, cluster in enumerate(clusters):
        mean, error = cluster.mean
        error = np.where(np.isfinite(error), error, 0.0)
        statistical = rng.standard_normal((n_replicas, mean.size)) * error
        if cluster.is_reference:
            statistical = 0.0
        replicas[:, number] = mean + statistical
    return replicas


def draw_spectra(clusters, n_replicas, rng):
    """Draw spectra from the clusters, whose variations they bring along (Brokkelkamp 2022, 2.2).

    Parameters
    ----------
    clusters : sequence of ClusterSpectra
    n_replicas : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n_replicas, n_clusters, n_groups)
        Ratios to the reference.

    Examples
    --------
    Spectra of 1 % noise are good enough alone: each replica is one of them.

    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.variation import ClusterSpectra
    >>> from hyperspy_zlpml.training.replicas import draw_spectra
    >>> ratio, u = np.array([[0.9], [1.0], [1.2]]) * np.ones(5), np.linspace(-2, 2, 5)
    >>> cluster = ClusterSpectra(ratio, np.full(ratio.shape, 0.01**2), ratio > 0, u, 15.0)
    >>> drawn = draw_spectra([cluster], 50, np.random.default_rng(0))
    >>> np.unique(drawn.round(6))
    array([0.9, 1. , 1.2])
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
    """Count the spectra to average per draw so that the flank is known well enough.

    Parameters
    ----------
    cluster : ClusterSpectra

    Returns
    -------
    int

    Examples
    --------
    Spectra known to 10 % on their flanks: the mean of 25 of them is known to 2 %.

    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.variation import ClusterSpectra
    >>> from hyperspy_zlpml.training.replicas import draw_size
    >>> ratio, u = np.ones((100, 5)), np.linspace(-2, 2, 5)
    >>> cluster = ClusterSpectra(ratio, np.full(ratio.shape, 0.0999**2), ratio > 0, u, 15.0)
    >>> draw_size(cluster)
    25
    """
    flank = cluster.used & (np.abs(cluster.u) > 1)
    if not flank.any():
        return 1
    sigma = np.sqrt(np.median(cluster.variance[flank]))
    return int(np.clip(np.ceil((sigma / _DRAW_ACCURACY) ** 2), 1, len(cluster.ratio)))


#: Functions that draw the replicas of each kind.
DRAW = {"gaussian": draw_gaussian, "spectra": draw_spectra}


def draw_limits(limits, n_replicas, rng, spread):
    """Lower ``E_I`` of every replica by a random fraction up to ``spread``.

    Parameters
    ----------
    limits : ndarray of shape (n_clusters,)
        In any unit; infinity stays.
    n_replicas : int
    rng : numpy.random.Generator
    spread : float
        Largest fraction, between 0 and 1.

    Returns
    -------
    ndarray of shape (n_replicas, n_clusters)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.training.replicas import draw_limits
    >>> drawn = draw_limits(np.array([1.5, 2.0]), 4, np.random.default_rng(0), 0.3)
    >>> drawn.shape, bool((drawn <= [1.5, 2.0]).all()), bool((drawn >= [1.05, 1.4]).all())
    ((4, 2), True, True)
    """
    return limits * (1 - spread * rng.random((n_replicas, len(limits))))


def check_replicas(n_replicas, replica_kind):
    """Raise ValueError unless so many replicas of a kind can be drawn.

    Parameters
    ----------
    n_replicas : int
    replica_kind : str

    Raises
    ------
    ValueError
        If the number is no integer of at least 2, more than a file may hold, or the kind is unknown.

    Examples
    --------
    >>> from hyperspy_zlpml.training.replicas import check_replicas
    >>> check_replicas(100, "gaussian")
    >>> check_replicas(1, "gaussian")
    Traceback (most recent call last):
    ValueError: n_replicas: expected an integer from 2 to 10000, got 1.
    """
    arguments.count(n_replicas, "n_replicas", _FEWEST_REPLICAS, MOST_REPLICAS)
    arguments.choice(replica_kind, "replica_kind", DRAW)
