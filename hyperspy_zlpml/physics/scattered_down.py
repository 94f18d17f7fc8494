# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tail of the zero-loss peak brings down from higher losses.

Every loss has a peak of its own, and the gain sides of all of them add up below: what comes down from a
plasmon into a gap is of the size of an onset there. It is known from the spectrum itself.
"""

from dataclasses import replace

import numpy as np

from hyperspy_zlpml.physics.bins import channels_of
from hyperspy_zlpml.physics.pooling import cropped

#: Outer part of the response, in units of its reach, whose slope goes on beyond.
_OUTER = 0.7
#: Responses of fewer channels have no tail.
_SHORTEST_RESPONSE = 9
#: Powers that a tail may have.
_SLOPES = (-4.0, -0.5)
#: Relative errors of a peak's tail, within the response and beyond it.
_TAIL_ERRORS = (0.1, 0.5)


def scattered_down(bins, above, response):
    """Compute what the gain side of the peak brings down of losses above.

    The tail of the peak of every higher loss, the plasmon with it, lies in the gap; these losses are
    measured.

    Parameters
    ----------
    bins : Bins
        Whose share is computed.
    above : Bins
        The losses above, of the same spectrum and the same width.
    response : ndarray of shape (n_response,)
        Peak in steps of a channel, of unit sum, centred.

    Returns
    -------
    brought : ndarray of shape (n_bins,)
        Mean counts per channel.
    error : ndarray of shape (n_bins,)
        Its standard deviation, of all bins together: a tenth of what the response holds, half of
        what its tail brings from further away, where it is continued.
    """
    n_bins, n_above = bins.energy.size, above.energy.size
    if not n_above or response.size < _SHORTEST_RESPONSE:
        return np.zeros((2, n_bins))
    width = bins.step * bins.n_channels
    distance = above.energy[0] - bins.energy[-1] + width * np.arange(n_bins + n_above - 1)
    tail = bins.n_channels * _gain_tail(response, distance / bins.step)
    near = distance / bins.step <= response.size // 2
    found = [np.correlate(one, above.signal, "valid")[::-1] for one in (tail * near, tail * ~near)]
    return sum(found), np.abs(_TAIL_ERRORS @ np.array(found))


def _gain_tail(response, channels):
    """Evaluate a peak at channels below its centre, beyond its reach by the slope that it has there.

    Tails that fall more slowly than a Lorentzian are not yet where its power of -2 begins: they go on
    as the Lorentzian of their slope; others as a power law.
    """
    reach = response.size // 2
    known = np.arange(1, reach + 1)
    heights = np.log(np.maximum(response[reach - known], np.finfo(float).tiny))
    outer = known > _OUTER * reach
    slope = np.clip(np.polyfit(np.log(known[outer]), heights[outer], 1)[0], *_SLOPES)
    beyond = np.maximum(channels / reach, 1)
    if slope > -2:
        far = -slope / (2 + slope)
        fall = np.log((1 + far) / (1 + far * beyond**2))
    else:
        fall = slope * np.log(beyond)
    return np.exp(np.interp(channels, known, heights) + fall)


def without_losses_above(losses, high):
    """Count as zero-loss peak what the gain side of it brings down from losses above an energy.

    What is left of spectra needs nothing above that energy any more: they can be cropped there.

    Parameters
    ----------
    losses : Losses
    high : float
        From the peak, eV.

    Returns
    -------
    Losses
        With one direction more: the error of what was brought down.
    """
    zlp, errors = losses.zlp.copy(), np.zeros_like(losses.zlp)
    for row, energy in enumerate(losses.from_peak):
        first = int(np.searchsorted(energy, high))
        parts = np.split(np.arange(energy.size), [first])
        below, above = (channels_of(losses, row, part) for part in parts)
        brought, errors[row, :first] = scattered_down(below, above, losses.response[row])
        zlp[row, :first] += brought
    directions = np.concatenate([losses.directions, errors[:, None]], axis=1)
    return replace(losses, zlp=zlp, directions=directions)


def piece_of(losses, low, high):
    """Cut out of spectra the energies where onsets may be, so that nothing from above reaches in.

    Parameters
    ----------
    losses : Losses
    low, high : float
        From the peak, eV.

    Returns
    -------
    Losses
        On one axis of energies from the peaks.
    """
    return cropped(without_losses_above(losses, high), low, high)
