# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses below E_I, where the zero-loss peak was matched: what they have done to it.

Counts up to ``E_I`` are taken for ZLP. A specimen without a gap loses energy there, too, and the ZLP
comes out too high by what the match made of these losses, also beyond ``E_I``: by up to a quarter of
the losses just above it. Whoever assumes what the losses below ``E_I`` are, as the Kramers-Kronig
relation must, can take that back.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from hyperspy_zlpml.compute.records import PerSpectrum

#: Part of the losses above E_I that the match can have taken: where errors of the ZLP are larger than the
#: match's own, as without vacuum, more would be taken back than was taken.
_LARGEST_PART = 0.3
#: Onset of the losses over E_I: below the first there may be none, the second is the largest.
_FIRST_ONSET = 0.7
_LAST_ONSET = 0.9
#: Rise of the losses over one FWHM, relative to them, that tells where they begin.
_FLATTEST = 0.05
#: Standard deviations by which the line must be below zero at zero energy: noise alone makes no gap.
_CLEARLY = 3.0
#: Error of the correction, relative to it and of one sign in all spectra: losses may be no straight line.
RELATIVE_ERROR = 0.7


@dataclass(frozen=True)
class GivenBack(PerSpectrum):
    """Losses given back to spectra, in units of the directions in which their ZLPs may be wrong.

    Whatever is linear in the ZLP is corrected by the same numbers: the ZLP itself, its intensity, and
    single scattering to first order.

    Attributes
    ----------
    taken : ndarray of shape (n_spectra, n_directions)
        Losses in the ZLP.
    mixing : ndarray of shape (n_spectra, n_directions + 1, n_directions)
        Directions after the correction. The last is new: the error of the level, of noise.
    level : ndarray of shape (n_spectra, n_energy)
        This noise itself, in the counts: what makes the last direction is in the losses, too.
    """

    taken: np.ndarray
    mixing: np.ndarray
    level: np.ndarray


def hidden_losses(losses, beam):
    """Find the losses below ``E_I`` that were taken for zero-loss peak.

    ``Im[-1/eps]`` is assumed to be a straight line below ``E_I``, from zero at an onset to the level
    that it has in one FWHM above. The match answers to counts h in its window as generalised least
    squares do: by ``C W h``, C the covariance of the ZLP and W the inverse variance of the counts. The
    choice of ``E_I`` is an error of the ZLP, too, but it answers to no counts; nor does the match to losses
    that it knew of, which are spilled below ``E_I`` or a foot found there. The level is that of the losses after the correction, which is a linear equation.

    The onset is zero energy, as without a gap, unless losses that are corrected so point clearly
    elsewhere.

    Parameters
    ----------
    losses : Losses
    beam : Beam

    Returns
    -------
    GivenBack
    """
    collected = beam.angular_logarithm(np.maximum(losses.from_peak, losses.step))
    found = _given_back(losses, np.zeros(len(losses.counts)), collected)
    zlp = losses.zlp - (found.taken[:, None] @ losses.directions)[:, 0]
    onset = onset_of(replace(losses, zlp=zlp), collected)
    gapped = np.flatnonzero(onset)
    again = _given_back(losses.select(gapped), onset[gapped], collected[gapped])
    for field in fields(GivenBack):
        getattr(found, field.name)[gapped] = getattr(again, field.name)
    return found


def onset_of(losses, collected):
    """Find where the straight line ends that losses make in two FWHM above ``E_I``.

    Parameters
    ----------
    losses : Losses
    collected : ndarray of shape (n_spectra, n_energy)
        What the aperture lets through at every channel.

    Returns
    -------
    ndarray of shape (n_spectra,)
        Energies from the peak at which the line is zero, eV; 0 where that is not clearly a gap.
    """
    distance, width = losses.from_peak - losses.loss_limit[:, None], losses.fwhm[:, None]
    near, far = (
        _mean_weights((distance >= start) & (distance < start + width)) / collected
        for start in (0.0, width)
    )
    at_near, at_far = ((one * losses.subtracted).sum(-1) for one in (near, far))
    rise = np.maximum(at_far - at_near, np.abs(at_far) * _FLATTEST)
    part = np.divide(at_near, rise, out=np.zeros_like(rise), where=rise > 0)
    onset = losses.loss_limit + losses.fwhm * (0.5 - part)
    is_clear = (onset > _FIRST_ONSET * losses.loss_limit) & _is_negative_at_zero(losses, near, far)
    return np.where(is_clear, np.minimum(onset, _LAST_ONSET * losses.loss_limit), 0.0)


def _is_negative_at_zero(losses, near, far):
    """Tell where the line through two means is below zero at zero energy, beyond its error."""
    limit = np.where(np.isfinite(losses.loss_limit), losses.loss_limit, 0.0)
    first, last = ((limit + part * losses.fwhm)[:, None] for part in (0.5, 1.5))
    weights = last * near - first * far
    of_zlp = (losses.directions @ weights[..., None])[..., 0]
    variance = (weights**2 * losses.variance).sum(-1) + (of_zlp**2).sum(-1)
    return (weights * losses.subtracted).sum(-1) < -_CLEARLY * np.sqrt(variance)


def _mean_weights(chosen):
    """Weights with which the chosen channels of each spectrum are averaged; 0 where there are none."""
    return chosen / np.maximum(chosen.sum(-1, keepdims=True), 1)


def _given_back(losses, onset, collected):
    """Give back the losses between an onset and E_I."""
    shape, weights = _below_and_above(losses, onset, collected)
    in_window, known = shape / losses.variance, losses.spilled / losses.variance
    in_window[losses.from_peak < losses.gain_limit[:, None]] = 0.0
    dots = losses.directions @ np.stack([in_window, weights, known], axis=-1)
    answer, seen, known = np.moveaxis(dots, -1, 0)
    answer[:, -1] = known[:, -1] = 0.0  # the choice of E_I
    part = (answer * seen).sum(-1)
    answer *= np.minimum(1.0, _LARGEST_PART / np.maximum(part, 1e-12))[:, None]
    left = 1 - np.minimum(part, _LARGEST_PART)
    slope = ((weights * losses.subtracted).sum(-1) - (known * seen).sum(-1)) / left
    variance = (weights**2 * losses.variance).sum(-1) / left**2
    slopes = -seen / left[:, None]
    mixing = np.eye(losses.n_directions) - slopes[..., None] * answer[:, None]
    # More counts make more losses, which are taken from the ZLP.
    own = -(np.sqrt(variance)[:, None] * answer)[:, None]
    taken = slope[:, None] * answer - known
    level = (
        weights
        * losses.variance
        / np.maximum(left * np.sqrt(variance), np.finfo(float).tiny)[:, None]
    )
    return GivenBack(taken, np.concatenate([mixing, own], axis=1), level)


def _below_and_above(losses, onset, collected):
    """Compute losses below E_I of slope 1, and the weights by which slopes are read off above it.

    Returns
    -------
    shape : ndarray of shape (n_spectra, n_energy)
        Counts.
    weights : ndarray of shape (n_spectra, n_energy)
    """
    distance, limit = losses.from_peak, losses.loss_limit[:, None]
    is_above = (distance >= limit) & (distance < limit + losses.fwhm[:, None])
    ramp = np.maximum(distance - onset[:, None], 0.0) * collected * losses.step
    total = np.where(is_above, ramp, 0.0).sum(-1, keepdims=True)
    weights = np.divide(is_above, total, out=np.zeros_like(ramp), where=total > 0)
    return np.where(distance < limit, ramp, 0.0), weights
