# SPDX-License-Identifier: GPL-3.0-or-later
"""Curves of a fit of peaks: what is left of a spectrum, and all that is fitted to it."""

from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.physics.peak_fits import N_NUMBERS
from hyperspy_zlpml.physics.peaks import attempt


class Curves(NamedTuple):
    """One spectrum in the window of a fit, and what is fitted to it; counts per channel.

    Attributes
    ----------
    energy : ndarray of shape (n_bins,)
        From the zero-loss peak, eV.
    losses, noise, zlp_error : ndarray of shape (n_bins,)
        Free of the zero-loss peak; standard deviations of the noise, and of the zero-loss peak.
    peaks : ndarray of shape (n_peaks, n_bins)
        Blurred by the response.
    background : ndarray of shape (n_bins,)
        Below the peaks, with its bend.
    zlp : ndarray of shape (n_bins,)
        By how much the zero-loss peak is taken to be wrong.
    position, width : ndarray of shape (n_peaks,)
        Of the peaks, eV.
    """

    energy: np.ndarray
    losses: np.ndarray
    noise: np.ndarray
    zlp_error: np.ndarray
    peaks: np.ndarray
    background: np.ndarray
    zlp: np.ndarray
    position: np.ndarray
    width: np.ndarray

    @property
    def total(self):
        """Sum of all that is fitted, (n_bins,)."""
        return self.peaks.sum(0) + self.background + self.zlp


@np.errstate(divide="ignore", invalid="ignore")  # of a spectrum without a bin in the window
def curves_of(losses, peaks, weight=None):
    """Evaluate the fit of the peaks of one window to a spectrum, whether they stand out or not.

    Parameters
    ----------
    losses : Losses
        Of one spectrum, of :func:`.peaks.prepared`, or of :func:`.peaks.piece_of` and pooled.
    peaks : sequence of Plasmon or Exciton
        Energies in eV.
    weight : callable, optional
        See :func:`.fit_peaks`.

    Returns
    -------
    Curves
        Of the bins that are used; none where no fit can be made.
    """
    tried = attempt(losses, peaks, weight)
    window, used = tried.window, tried.window.weight[0] > 0
    shapes = _peaks_of(tried)
    free, directions = tried.model.background(window)[0], _directions(window)
    amplitude, deviation = _linear(window, window.values[0] - shapes.sum(0), free, directions)
    n_zlp = losses.n_directions
    bend = deviation[n_zlp:] @ directions[n_zlp:]
    _, position, width = np.exp(tried.parameters[0].reshape(-1, N_NUMBERS)).T
    return Curves(
        energy=window.energy[0, used],
        losses=window.values[0, used],
        noise=1 / window.weight[0, used],
        zlp_error=np.sqrt((directions[:n_zlp] ** 2).sum(0))[used],
        peaks=shapes[:, used],
        background=(amplitude @ free + bend)[used],
        zlp=(deviation[:n_zlp] @ directions[:n_zlp])[used],
        position=position,
        width=width,
    )


def _peaks_of(tried):
    """Evaluate every peak, (n_peaks, n_bins)."""
    found = []
    for k in range(len(tried.model.peaks)):
        amplitude, position, width = np.exp(tried.parameters[0, N_NUMBERS * k :][:N_NUMBERS])
        one = tried.model.peak(k, tried.window, np.array([position]), np.array([width]))
        found.append(amplitude * one[0, 0])
    return np.stack(found)


def _directions(window):
    """Deviations by one standard deviation, counts per channel, (n_directions, n_bins)."""
    weight = window.weight[0]
    return np.divide(
        window.directions[0],
        weight,
        where=weight > 0,
        out=np.zeros(window.directions[0].shape),
    )


def _linear(window, rest, free, directions):
    """Fit what enters linearly: a background of any size, and deviations of unit variance."""
    weight = window.weight[0]
    design = np.concatenate([free, directions]) * weight
    known = np.concatenate([np.zeros(len(free)), np.ones(len(directions))])
    augmented = np.concatenate([design.T, np.diag(known)])
    data = np.concatenate([rest * weight, np.zeros(known.size)])
    found, *_ = np.linalg.lstsq(augmented, data, rcond=None)
    return found[: len(free)], found[len(free) :]
