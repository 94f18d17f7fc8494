# SPDX-License-Identifier: GPL-3.0-or-later
"""Integrals of the subtracted signal, with errors that know how channels are correlated."""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.removal.evaluation import deviations, look_up, zlp_of


@dataclass(frozen=True)
class Integrals(PerSpectrum):
    """Integrals of the subtracted signal over a window of energies, and their errors.

    Attributes
    ----------
    integral : ndarray of shape (n_spectra,)
        Counts.
    model_std : ndarray of shape (n_spectra,)
        Error of the ZLP model, correlated between channels as it is.
    counting_std : ndarray of shape (n_spectra,)
        Counting noise.
    zlp : ndarray of shape (n_spectra,)
        Counts of the zero-loss peak in the window.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.integrals import Integrals
    >>> found = Integrals(
    ...     integral=np.array([90.0, 400.0]),
    ...     model_std=np.array([30.0, 15.0]),
    ...     counting_std=np.array([40.0, 20.0]),
    ...     zlp=np.array([1e3, 1e2]),
    ... )
    >>> brighter = found.select([1])
    >>> brighter.integral / np.hypot(brighter.model_std, brighter.counting_std)
    array([16.])
    """

    integral: np.ndarray
    model_std: np.ndarray
    counting_std: np.ndarray
    zlp: np.ndarray


def integrate(model, posterior, counts, limits):
    """Integrate the subtracted signal between two energies, with its errors.

    The error of the ZLP model is fully correlated between channels where it comes from the
    match, from a mode of the ensemble or from what both leave out.

    Parameters
    ----------
    model : Subtraction
    posterior : Posterior
        All usable.
    counts : ndarray of shape (n_spectra, n_energy)
        As measured, double precision.
    limits : Range
        Energies from the peak, eV; numbers, or one for each spectrum.

    Returns
    -------
    Integrals
    """
    peaks, matched = posterior.peaks, posterior.matched
    looked_up = look_up(model, matched, peaks)
    low, high = (np.reshape(limit, (-1, 1)) for limit in limits)
    centre = matched.centre[:, None]
    looked_at = _channels_within(model.energy, centre + low, centre + high)
    distance = model.energy[looked_at] - centre
    inside = (distance >= low) & (distance < high)
    zlp = zlp_of(model, posterior)[:, looked_at] * inside
    data = model.free_of_dark_level(counts)[:, looked_at]
    n_channels = np.maximum(inside.sum(-1, keepdims=True), 1)
    weights = np.zeros(counts.shape)
    weights[:, looked_at] = zlp
    return Integrals(
        integral=(data * inside - zlp).sum(-1),
        model_std=_model_std(
            model, posterior, looked_up, weights=weights, n_channels=inside.sum(-1)
        ),
        counting_std=np.sqrt((model.noise.of_measured(data, n_channels) * inside).sum(-1)),
        zlp=zlp.sum(-1),
    )


def _channels_within(energy, low, high):
    """Find the channels that lie in the window of some spectrum, and one to either side."""
    lowest = np.fmin.reduce(low, axis=None, initial=np.inf)
    highest = np.fmax.reduce(high, axis=None, initial=-np.inf)
    first, last = np.searchsorted(energy, (lowest, highest))
    return slice(max(int(first) - 1, 0), int(last) + 1)


def _model_std(model, posterior, looked_up, *, weights, n_channels):
    """Compute the error that the ZLP model makes in a weighted sum of so many of its channels."""
    peaks = posterior.peaks
    found = deviations(model, posterior.matched, peaks, looked_up)
    # Each channel takes the deviations of its group: transpose of the interpolation.
    groups = model.linear.collected(model.aligned(weights, peaks, float))
    variance = ((found.directions @ groups[..., None]) ** 2).sum((1, 2))
    variance += (n_channels * found.pedestal) ** 2
    shared = groups * found.shared
    variance += ((shared @ model.correlation) * shared).sum(-1)
    variance += ((groups * found.of_group) ** 2).sum(-1)
    pattern_error = model.table.residual.pattern_error
    if pattern_error.size == model.n_energy:
        variance += ((weights * pattern_error) ** 2).sum(-1)
    return np.sqrt(variance)
