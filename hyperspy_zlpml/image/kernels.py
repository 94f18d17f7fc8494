# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled functions of the first look: one spectrum after the other, without copies of an image."""

import math

from hyperspy_zlpml.compute.compiled import compiled


@compiled
def mark_apart(counts, sigmas, gain, least, variance, marked):
    """Mark channels whose counts lie clearly above, or below, those two steps beside.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        At least four channels. At the edges the only channel beside stands for both.
    sigmas : float
        By how many standard deviations of the noise of the channel beside.
    gain, least, variance : float
        The variance of counts is ``gain * max(counts, least) + variance``.
    marked : ndarray of bool of shape (n_spectra, n_energy)
        Written to.
    """
    n_spectra, n_energy = counts.shape
    for i in range(n_spectra):
        for k in range(n_energy):
            left = counts[i, k - 2 if k >= 2 else k + 2]
            right = counts[i, k + 2 if k + 2 < n_energy else k - 2]
            low, high = min(left, right), max(left, right)
            here = counts[i, k]
            # Counts that are no numbers stand out of nothing.
            above = here - high
            below = low - here
            marked[i, k] = (left == left and right == right) and (
                above > sigmas * math.sqrt(gain * max(high, least) + variance)
                or below > sigmas * math.sqrt(gain * max(low, least) + variance)
            )
