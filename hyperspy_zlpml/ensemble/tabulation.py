# SPDX-License-Identifier: GPL-3.0-or-later
"""Median, band and modes of the replicas on a grid: to apply them costs the same for any number."""

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from hyperspy_zlpml.ensemble.records import Beside
from hyperspy_zlpml.statistics import interval, principal_modes, without_outliers
from hyperspy_zlpml.zlp.tables import ShapeTable

#: Values of ln N0 at which shapes are tabulated.
_N_INTENSITY_NODES = 9
#: Most modes that are kept.
_MOST_MODES = 8
#: Spread of ln(ZLP) that is not worth a mode.
_MODE_FLOOR = 1e-4
#: Sample quantiles of n values are narrower by a factor of about 1 + 1.5 / n.
_FEW_REPLICAS = 1.5
#: Quantiles that differ from those of a normal distribution by so many standard errors do so by chance.
_CERTAIN = 2.0
#: Fewer replicas do not tell which of them are outliers.
_FEWEST_FOR_OUTLIERS = 20


class OfReplicas(NamedTuple):
    """Median, band and modes of replicas, whatever single spectra show beside.

    Attributes
    ----------
    nodes : ndarray of shape (n_nodes,)
        ln N0.
    median, rest, lower, upper : ndarray of shape (n_nodes, grid.n)
        See :class:`.ShapeTable`; the ends of the band in standard deviations.
    modes : ndarray of shape (n_modes, n_nodes, grid.n)
    """

    nodes: np.ndarray
    median: np.ndarray
    modes: np.ndarray
    rest: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def of_replicas(ensemble, confidence):
    """Compute median, band and modes of the replicas of an ensemble.

    Parameters
    ----------
    ensemble : Ensemble
    confidence : float
        Probability inside the band.

    Returns
    -------
    OfReplicas
    """
    n_replicas = ensemble.n_replicas
    low, high = ensemble.seen.log_intensity_range
    n_nodes = _N_INTENSITY_NODES if high > low else 1
    nodes = np.linspace(low, high, n_nodes)
    samples = ensemble.log_shapes(nodes).reshape(n_replicas, -1)
    median, lower, upper = interval(samples, confidence)
    if n_replicas >= _FEWEST_FOR_OUTLIERS:
        samples = without_outliers(samples)
    modes, rest = principal_modes(samples, _MODE_FLOOR, _MOST_MODES)
    below, above = quantiles_of(samples, confidence, lower - median, upper - median)
    found = OfReplicas(nodes, median, modes=modes, rest=rest, lower=below, upper=above)
    shape = (n_nodes, ensemble.grid.n)
    return OfReplicas(nodes, *(values.reshape(values.shape[:-1] + shape) for values in found[1:]))


def tabulate(ensemble, replicas):
    """Tabulate the replicas of an ensemble on a grid of u times ln N0.

    Parameters
    ----------
    ensemble : Ensemble
    replicas : OfReplicas
        Of this ensemble.

    Returns
    -------
    ShapeTable
    """
    reference, modes = ensemble.reference, replicas.modes
    beside = reference.beside or Beside.none(reference.grid.n)
    if len(beside.mode_scale) == len(modes):
        modes = modes * beside.mode_scale[:, None, None]
    return ShapeTable(
        grid=reference.grid,
        log_intensity_nodes=replicas.nodes,
        log_shape=replicas.median,
        modes=modes,
        rest=replicas.rest * beside.rest_share,
        scatter=reference.scatter.astype(float),
        lower=replicas.lower,
        upper=replicas.upper,
        spill=reference.spill.at(replicas.nodes),
        residual=reference.residual,
        widening=beside.widening,
        group_error=beside.group_error,
        channel_error=beside.channel_error,
        log_fwhm=ensemble.seen.log_fwhm.mean,
        coherent=np.zeros(reference.grid.n),
        grain=np.zeros(reference.grid.n),
    )


def quantiles_of(samples, confidence, below, above):
    """Count quantiles from the median in units of the standard deviation.

    They are those of a normal distribution, but for what quantiles of the replicas differ from these
    for certain: those of a hundred normal values scatter by 0.15, and nearly alike at all energies.
    Sample quantiles of few replicas lie too far inside; they are widened to be right on average.

    Parameters
    ----------
    samples : ndarray of shape (n_replicas, n)
    confidence : float
        Probability between the quantiles.
    below, above : ndarray of shape (n,)
        Sample quantiles less the median.

    Returns
    -------
    lower, upper : ndarray of shape (n,)

    Examples
    --------
    A hundred normal values, and a thousand of a distribution that is skewed:

    >>> import numpy as np
    >>> from hyperspy_zlpml.ensemble.tabulation import quantiles_of
    >>> rng = np.random.default_rng(0)
    >>> def found(samples):
    ...     below, above = np.quantile(samples - np.median(samples, 0), [0.16, 0.84], axis=0)
    ...     return np.round(quantiles_of(samples, 0.68, below, above), 1).ravel()
    >>> found(rng.normal(size=(100, 1)))
    array([-1.,  1.])
    >>> found(rng.exponential(size=(1000, 1)))
    array([-0.6,  1. ])
    """
    n_replicas = len(samples)
    normal = norm.ppf(0.5 + confidence / 2)
    spread = samples.std(0, ddof=min(1, n_replicas - 1))
    agree = spread < _MODE_FLOOR
    scale = np.where(agree, 1.0, spread)
    few = 1 + _FEW_REPLICAS / n_replicas
    chance = np.sqrt((1 - confidence**2) / (4 * n_replicas)) / norm.pdf(normal)

    def drawn_to_normal(found, expected):
        """Keep of a difference from the normal quantile what is certain."""
        difference = np.where(agree, 0.0, few * found / scale - expected)
        by_chance = np.minimum(_CERTAIN * chance, np.abs(difference))
        certain = 1 - (by_chance / np.maximum(np.abs(difference), _MODE_FLOOR)) ** 2
        return expected + np.where(by_chance < np.abs(difference), certain, 0.0) * difference

    return drawn_to_normal(below, -normal), drawn_to_normal(above, normal)
