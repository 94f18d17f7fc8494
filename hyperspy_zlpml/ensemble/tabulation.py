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
    below, above = _quantiles(samples, confidence, lower - median, upper - median)
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


def _quantiles(samples, confidence, below, above):
    """Count quantiles from the median in units of the standard deviation.

    Where the replicas agree they are those of a normal distribution. Sample quantiles of few
    replicas lie too far inside; they are widened to be right on average.
    """
    n_replicas = len(samples)
    normal = norm.ppf(0.5 + confidence / 2)
    spread = samples.std(0, ddof=min(1, n_replicas - 1))
    agree = spread < _MODE_FLOOR
    scale = np.where(agree, 1.0, spread)
    few = 1 + _FEW_REPLICAS / n_replicas
    return (
        np.where(agree, -normal, few * below / scale),
        np.where(agree, normal, few * above / scale),
    )
