# SPDX-License-Identifier: GPL-3.0-or-later
"""Onsets that stand on a tail which nothing shows: no vacuum, nor pixels of differing thickness.

Such a tail is a guess from ``E_I`` on, where it joins what was measured. The losses of a metal reach down to the peak:
below ``E_I`` they are taken for the peak, above it counts leave the guess, as smoothly as a tail of another power of the
energy would. An onset is none of that where it is steeper than such tails are, and where the guess is seen to hold up to it.
"""

from dataclasses import replace

import numpy as np

from hyperspy_zlpml.physics.bins import binned
from hyperspy_zlpml.physics.onset_search import DETECTED, improvement_on

#: A tail may fall by another power of the energy from E_I on than was guessed (standard deviation), ...
_POWER = 1.0
#: ... which itself may change with the logarithm of the energy.
_BEND = 1.0
#: A guess holds up to an onset where it does so over at least this many FWHM from E_I on.
_HOLDS_FOR = 0.5


def stands_above_guess(losses, row, spectrum, found, lower):
    """Tell whether an onset is told from a tail that was guessed wrong.

    Parameters
    ----------
    losses : Losses
    row : int
        Of the spectrum.
    spectrum : OnsetSpectrum
        Its bins up to the end of the longest window, from ``E_I`` on, without departures.
    found : Onsets and ndarray of int of shape (n_windows,)
        Onsets that are tried, and the bins of each window.
    lower : float
        Lower end of the gap, eV from the peak.

    Returns
    -------
    bool
    """
    if lower - losses.loss_limit[row] < _HOLDS_FOR * spectrum.fwhm:
        return False
    bins = spectrum.bins
    low = bins.energy[0] - 0.5 * bins.n_channels * bins.step
    wrong = binned(_wrong_tails(losses.select([row])), 0, low).directions
    return improvement_on(spectrum, wrong[:, : bins.energy.size], *found) > DETECTED


def _wrong_tails(losses):
    """Replace the ways in which ZLPs may be wrong by those of a tail that was guessed."""
    limit = losses.loss_limit[:, None]
    x = np.log(np.maximum(losses.from_peak, limit) / limit)
    ways = np.stack([_POWER * x, _BEND * x**2], axis=1)
    return replace(losses, directions=losses.zlp[:, None] * ways)
