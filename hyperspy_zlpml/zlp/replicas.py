# SPDX-License-Identifier: GPL-3.0-or-later
"""Monte Carlo replicas: pseudo-measurements that the networks are trained on.

``gaussian`` (Roest 2021, eq. 3.3): central values of each cluster, plus statistical errors
independent from point to point, plus systematic errors common to all points: here the modes in
which the shape of measured peaks really differs from one spectrum to the next.

``spectra`` (Brokkelkamp 2022, section 2.2): one spectrum drawn from each cluster; where single
spectra are too noisy, the mean of a bootstrap sample of several.
"""

from dataclasses import dataclass

import numpy as np

KINDS = ("gaussian", "spectra")

#: A drawn spectrum should be known to this relative accuracy on its flank.
_DRAW_ACCURACY = 0.02
_MOST_MODES = 4
#: Most spectra of one cluster that enter the covariance.
_EM_STEPS = 30


@dataclass(frozen=True)
class ClusterSpectra:
    """Spectra of one cluster as ratios to the matched reference, group by group.

    Attributes
    ----------
    ratio, variance : ndarray of shape (n_spectra, n_groups)
    used : ndarray of bool of shape (n_spectra, n_groups)
        Groups on the axis and in region I.
    u : ndarray of shape (n_groups,)
        Mean reduced energy of each group.
    log_intensity : float
        Mean ln N0: the thickness coordinate.
    """

    ratio: np.ndarray
    variance: np.ndarray
    used: np.ndarray
    u: np.ndarray
    log_intensity: float

    @property
    def mean(self):
        """Weighted mean ratio of each group and its statistical error (infinite if unused)."""
        weight = np.where(self.used, 1 / self.variance, 0.0)
        total = weight.sum(0)
        seen = total > 0
        mean = (weight * np.where(self.used, self.ratio, 0)).sum(0) / np.where(seen, total, 1)
        return np.where(seen, mean, 1.0), np.where(seen, np.where(seen, total, 1) ** -0.5, np.inf)


def shape_modes(clusters):
    """Modes in which the shape of the peaks varies from spectrum to spectrum.

    Deviations from the cluster means, in units of their noise, are pooled over all clusters;
    principal components above what noise alone would give (Marchenko-Pastur) are the modes.
    Groups that lie beyond region I in some clusters are missing data: the modes are completed
    by expectation maximisation (probabilistic principal components).

    Parameters
    ----------
    clusters : sequence of ClusterSpectra

    Returns
    -------
    ndarray of shape (n_modes, n_groups)
        Standard deviations of the ratio; the sign of a mode is arbitrary.
    """
    deviation, sigma, used, freedom = _pooled_deviations(clusters)
    n_groups = deviation.shape[1]
    if freedom < 1:
        return np.zeros((0, n_groups))
    everywhere = used.all(0)
    # The components are sought where all spectra are seen, and where most are if that is little.
    if everywhere.sum() < 8:
        everywhere = used.mean(0) > 0.5
    whitened = np.where(used, deviation / sigma, 0.0)[:, everywhere]
    _, singular, directions = np.linalg.svd(whitened, full_matrices=False)
    eigenvalues = singular**2 / freedom
    noise_edge = (1 + np.sqrt(everywhere.sum() / freedom)) ** 2
    n_modes = min(int((eigenvalues > 1.2 * noise_edge).sum()), _MOST_MODES, freedom)
    if n_modes == 0:
        return np.zeros((0, n_groups))
    modes = np.zeros((n_modes, n_groups))
    amplitude = np.sqrt(eigenvalues[:n_modes] - 1)
    typical = np.median(sigma, axis=0)
    modes[:, everywhere] = amplitude[:, None] * directions[:n_modes] * typical[everywhere]
    return _complete_modes(modes, deviation, sigma, used, freedom / len(deviation))


def _pooled_deviations(clusters):
    deviations, sigmas, masks, freedom = [], [], [], 0
    for cluster in clusters:
        if len(cluster.ratio) < 2:
            continue
        mean, _ = cluster.mean
        deviations.append(np.where(cluster.used, cluster.ratio - mean, 0.0))
        sigmas.append(np.sqrt(cluster.variance))
        masks.append(cluster.used)
        freedom += len(cluster.ratio) - 1
    if not deviations:
        n_groups = clusters[0].u.size
        return np.zeros((0, n_groups)), np.ones((0, n_groups)), np.zeros((0, n_groups), bool), 0
    return np.concatenate(deviations), np.concatenate(sigmas), np.concatenate(masks), freedom


def _complete_modes(modes, deviation, sigma, used, freedom_fraction):
    """Expectation maximisation of the modes with the noise known and data missing."""
    weight = np.where(used, sigma**-2.0, 0.0)
    n_modes = len(modes)
    for _ in range(_EM_STEPS):
        precision = np.einsum("jg,pg,kg->pjk", modes, weight, modes) + np.eye(n_modes)
        covariance = np.linalg.inv(precision)
        scores = np.einsum("pjk,kg,pg,pg->pj", covariance, modes, weight, deviation, optimize=True)
        second = covariance + scores[:, :, None] * scores[:, None, :]
        left = np.einsum("pg,pjk->gjk", weight, second)
        right = np.einsum("pg,pg,pj->gj", weight, deviation, scores, optimize=True)
        seen = weight.sum(0) > 0
        ridge = 1e-9 * np.eye(n_modes) * (np.trace(left, axis1=1, axis2=2)[:, None, None] + 1e-300)
        solved = np.linalg.solve(left + ridge, right[..., None])[..., 0].T
        modes = np.where(seen, solved, 0.0)
        # Scores have unit variance by definition of the modes.
        spread = np.linalg.cholesky(second.mean(0) / freedom_fraction + 1e-12 * np.eye(n_modes))
        modes = spread.T @ modes
    return modes


def draw_gaussian(clusters, n_replicas, rng):
    """Pseudo-data from central values and covariance.

    Returns
    -------
    ndarray of shape (n_replicas, n_clusters, n_groups)
    """
    modes = shape_modes(clusters)
    scores = rng.standard_normal((n_replicas, len(modes)))
    systematic = scores @ modes
    replicas = np.empty((n_replicas, len(clusters), clusters[0].u.size))
    for number, cluster in enumerate(clusters):
        mean, error = cluster.mean
        error = np.where(np.isfinite(error), error, 0.0)
        statistical = rng.standard_normal((n_replicas, mean.size)) * error
        replicas[:, number] = mean + statistical + systematic
    return replicas


def draw_spectra(clusters, n_replicas, rng):
    """Pseudo-data from spectra drawn from the clusters.

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
