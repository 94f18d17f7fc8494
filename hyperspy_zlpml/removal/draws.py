# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws of the zero-loss peak from its posterior, and the response of single spectra.

A draw is a ZLP of one spectrum as it may be, given the counts of that spectrum: all channels together,
correlated as their errors are. It is no prediction of a single network, none of which is matched to
the spectrum.
"""

import numpy as np
from scipy.integrate import trapezoid

from hyperspy_zlpml.removal.evaluation import (
    at_groups,
    deviations,
    limited,
    look_up,
    on_channels,
    zlp_of,
)
from hyperspy_zlpml.removal.geometry import cut


def draw(model, posterior, rngs, common):
    """Draw zero-loss peaks, again and again.

    Parameters
    ----------
    model : Subtraction
    posterior : Posterior
        All usable.
    rngs : sequence of numpy.random.Generator
        One for each spectrum.
    common : numpy.random.Generator
        For what all spectra share: the sensitivity of the channels, and the pedestal.

    Yields
    ------
    ndarray of shape (n_spectra, n_energy)
        Counts.
    """
    peaks, matched = posterior.peaks, posterior.matched
    looked_up = look_up(model, matched, peaks)
    at = at_groups(model, matched, peaks)
    zlp = zlp_of(model, posterior, at)
    found = deviations(model, matched, peaks, looked_up)
    # Errors are limited by a ZLP that is no higher than its peak.
    share = limited(model, at.sigma, at.log_zlp, posterior.highest) / at.sigma
    own = cut(on_channels(model, found.own * share), model.start(peaks), model.n_energy)
    factor = model.shared_root
    n_directions, n_shared = found.directions.shape[1], factor.shape[1]
    # Nor is any draw: where nothing is known of a tail its logarithm may be anything.
    unit = np.maximum(posterior.highest, model.noise.unit)[:, None]
    most = np.arcsinh(unit / np.maximum(zlp, np.finfo(float).tiny * unit))
    pattern_error = model.table.residual.pattern_error
    has_pattern = pattern_error.size == model.n_energy
    pedestal = found.pedestal[:, None]
    # Of the whole image: blocks draw alike.
    is_uncertain = bool(model.pedestal_error)
    while True:
        numbers = np.stack(
            [rng.standard_normal(n_directions + n_shared + model.n_energy) for rng in rngs]
        )
        directed, shared, alone = np.split(numbers, [n_directions, n_directions + n_shared], -1)
        deviation = (directed[:, None] @ found.directions)[:, 0]
        deviation += found.shared * (shared @ factor.T)
        deviation = cut(on_channels(model, deviation * share), model.start(peaks), model.n_energy)
        deviation = deviation + own * alone
        if has_pattern:
            deviation += pattern_error * common.standard_normal(model.n_energy)
        drawn = zlp * np.exp(np.minimum(deviation, most))
        yield drawn + pedestal * common.standard_normal() if is_uncertain else drawn


def response(model, posterior, at, distance):
    """Evaluate the peak that every spectrum has, with unit area.

    Parameters
    ----------
    model : Subtraction
    posterior : Posterior
        All usable.
    at : AtGroups
        Of the posterior.
    distance : ndarray of shape (n,)
        Energies from the peak, eV, increasing: those over which the area is 1.

    Returns
    -------
    ndarray of shape (n_spectra, n)
        Per eV.
    """
    energy = model.middle(posterior.peaks) - posterior.matched.centre[:, None]
    rows = zip(energy, at.log_zlp, strict=True)
    shapes = np.exp([np.interp(distance, at, values - values.max()) for at, values in rows])
    return shapes / trapezoid(shapes, distance, axis=-1)[:, None]
