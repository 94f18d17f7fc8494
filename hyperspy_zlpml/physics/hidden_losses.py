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
#: Error of the correction, relative to it.
_RELATIVE_ERROR = 0.5


def with_hidden_losses(losses, beam):
    """Give back to spectra the losses below E_I that were taken for zero-loss peak.

    ``Im[-1/eps]`` is assumed to be proportional to E up to ``E_I``, with the slope that it has in one
    FWHM above. The match answers to counts h in its window as generalised least squares do: by
    ``C W h``, C the covariance of the ZLP and W the inverse variance of the counts. The slope is
    that of the losses after the correction, which is a linear equation.

    Parameters
    ----------
    losses : Losses
    beam : Beam

    Returns
    -------
    Losses
        With other ZLPs and directions of these, and one direction more: the error of the slope, and
        half of the correction.
    """
    shape, weights = _ramp(losses, beam)
    in_window = shape / losses.variance
    in_window[losses.from_peak < losses.gain_limit[:, None]] = 0.0
    answer = np.einsum("nqe,nq->ne", losses.directions, _dots(losses.directions, in_window))
    part = np.minimum((weights * answer).sum(-1), _LARGEST_PART)
    slopes = -_dots(losses.directions, weights) / (1 - part)[:, None]
    slope = (weights * losses.subtracted).sum(-1) / (1 - part)
    variance = (weights**2 * losses.variance).sum(-1) / (1 - part) ** 2
    error = np.sqrt(variance + (_RELATIVE_ERROR * slope) ** 2)
    return replace(
        losses,
        zlp=losses.zlp - slope[:, None] * answer,
        directions=np.concatenate(
            [
                losses.directions - slopes[..., None] * answer[:, None],
                (error[:, None] * answer)[:, None],
            ],
            axis=1,
        ),
    )


def _dots(directions, values):
    return np.einsum("nqe,ne->nq", directions, values)


def _ramp(losses, beam):
    """Compute losses below E_I of slope 1, and the weights by which slopes are read off above it.

    Returns
    -------
    shape : ndarray of shape (n_spectra, n_energy)
        Counts.
    weights : ndarray of shape (n_spectra, n_energy)
    """
    distance, limit = losses.from_peak, losses.loss_limit[:, None]
    is_below = (distance > 0) & (distance < limit)
    is_above = (distance >= limit) & (distance < limit + losses.fwhm[:, None])
    energy = np.maximum(distance, losses.step)
    ramp = energy * beam.angular_logarithm(energy) * losses.step
    n_above = np.maximum(is_above.sum(-1, keepdims=True), 1)
    return np.where(is_below, ramp, 0.0), is_above / (ramp * n_above)
