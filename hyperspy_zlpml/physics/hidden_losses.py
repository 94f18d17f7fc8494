# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses below E_I, where the zero-loss peak was matched: what they have done to it.

Counts up to ``E_I`` are taken for ZLP. A specimen without a gap loses energy there, too, and the ZLP
comes out too high by what the match made of these losses, also beyond ``E_I``: by up to a quarter of
the losses just above it. Whoever assumes what the losses below ``E_I`` are, as the Kramers-Kronig
relation must, can take that back.
"""

from dataclasses import replace

import numpy as np

#: Part of the losses above E_I that can be due to the match; where it is larger it is taken as this.
_LARGEST_PART = 0.3
#: Onset of the losses over E_I: below the first there may be none, the second is the largest.
_FIRST_ONSET = 0.7
_LAST_ONSET = 0.9
#: Rise of the losses over one FWHM, relative to them, that tells where they begin.
_FLATTEST = 0.05
#: Error of the correction, relative to it.
_RELATIVE_ERROR = 0.5


def with_hidden_losses(losses, beam):
    """Give back to spectra the losses below E_I that were taken for zero-loss peak.

    ``Im[-1/eps]`` is assumed to be a straight line below ``E_I``, from zero at an onset to the level
    that it has in one FWHM above. The match answers to counts h in its window as generalised least
    squares do: by ``C W h``, C the covariance of the ZLP and W the inverse variance of the counts.
    The level is that of the losses after the correction, which is a linear equation.

    The onset is zero energy, as without a gap, unless losses that are corrected so point clearly
    elsewhere.

    Parameters
    ----------
    losses : Losses
    beam : Beam

    Returns
    -------
    Losses
        With other ZLPs and directions of these, and one direction more: the error of the level, and
        half of the correction.
    """
    onset = np.zeros(len(losses.counts))
    return _corrected(losses, onset_of(_corrected(losses, onset, beam), beam), beam)


def onset_of(losses, beam):
    """Find where the straight line ends that losses make in two FWHM above ``E_I``.

    Parameters
    ----------
    losses : Losses
    beam : Beam

    Returns
    -------
    ndarray of shape (n_spectra,)
        Energies from the peak at which the line is zero, eV; 0 where that is not clearly a gap.
    """
    distance = losses.from_peak - losses.loss_limit[:, None]
    density = losses.subtracted / _logarithm(losses, beam)
    near, far = (
        _mean(density, (distance >= start) & (distance < start + losses.fwhm[:, None]))
        for start in (0.0, losses.fwhm[:, None])
    )
    rise = np.maximum(far - near, np.abs(far) * _FLATTEST)
    back = losses.fwhm * (0.5 + np.divide(near, rise, out=np.zeros_like(near), where=rise > 0))
    onset = losses.loss_limit + losses.fwhm - back
    is_clear = onset > _FIRST_ONSET * losses.loss_limit
    return np.where(is_clear, np.minimum(onset, _LAST_ONSET * losses.loss_limit), 0.0)


def _mean(values, chosen):
    """Average the chosen channels of each spectrum; 0 where there are none."""
    return (values * chosen).sum(-1) / np.maximum(chosen.sum(-1), 1)


def _corrected(losses, onset, beam):
    """Give back the losses between an onset and E_I."""
    shape, weights = _below_and_above(losses, onset, beam)
    in_window = shape / losses.variance
    in_window[losses.from_peak < losses.gain_limit[:, None]] = 0.0
    answer = np.einsum("nqe,nq->ne", losses.directions, _dots(losses.directions, in_window))
    part = np.minimum((weights * answer).sum(-1), _LARGEST_PART)
    slopes = -_dots(losses.directions, weights) / (1 - part)[:, None]
    slope = (weights * losses.subtracted).sum(-1) / (1 - part)
    variance = (weights**2 * losses.variance).sum(-1) / (1 - part) ** 2
    error = np.sqrt(variance + (_RELATIVE_ERROR * slope) ** 2)
    directions = losses.directions - slopes[..., None] * answer[:, None]
    own = (error[:, None] * answer)[:, None]
    return replace(
        losses,
        zlp=losses.zlp - slope[:, None] * answer,
        directions=np.concatenate([directions, own], axis=1),
    )


def _dots(directions, values):
    return np.einsum("nqe,ne->nq", directions, values)


def _logarithm(losses, beam):
    """Compute what the aperture lets through at every channel, (n_spectra, n_energy)."""
    return beam.angular_logarithm(np.maximum(losses.from_peak, losses.step))


def _below_and_above(losses, onset, beam):
    """Compute losses below E_I of slope 1, and the weights by which slopes are read off above it.

    Returns
    -------
    shape : ndarray of shape (n_spectra, n_energy)
        Counts.
    weights : ndarray of shape (n_spectra, n_energy)
    """
    distance, limit = losses.from_peak, losses.loss_limit[:, None]
    is_above = (distance >= limit) & (distance < limit + losses.fwhm[:, None])
    ramp = np.maximum(distance - onset[:, None], 0.0) * _logarithm(losses, beam) * losses.step
    total = np.where(is_above, ramp, 0.0).sum(-1, keepdims=True)
    weights = np.divide(is_above, total, out=np.zeros_like(ramp), where=total > 0)
    return np.where(distance < limit, ramp, 0.0), weights
