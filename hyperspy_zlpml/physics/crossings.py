# SPDX-License-Identifier: GPL-3.0-or-later
"""Energies at which the real part of a dielectric function is zero, rising apart from falling.

Above the rising zero losses of the volume peak (a plasmon); the falling one below it is where
electrons stop following. Only values that differ from zero by their error say on which side they
are, so that noise about zero makes no crossings of its own.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, ndtr

from hyperspy_zlpml.compute.records import PerSpectrum

#: Values are on a side of zero that differ from it by so many standard deviations: of the many between two zeros some
#: would by one, on the wrong side, by chance.
_SURE = 2.0


@dataclass(frozen=True)
class Crossing(PerSpectrum):
    """Zero of each of some spectra.

    Attributes
    ----------
    position : ndarray of shape (n_spectra,)
        eV; NaN where there is none.
    std : ndarray of shape (n_spectra,)
        Standard deviation of the position: that of the values over their slope.
    slope : ndarray of shape (n_spectra,)
        Per eV, NaN where there is none.
    probability : ndarray of shape (n_spectra,)
        Probability that values are on one side of zero somewhere, and on the other side above it.
    """

    position: np.ndarray
    std: np.ndarray
    slope: np.ndarray
    probability: np.ndarray


def find_crossings(energy, values, std, first, window=1):
    """Find the highest rising zero of each spectrum, and the falling one below it.

    Parameters
    ----------
    energy : ndarray of shape (n_energy,)
        eV.
    values, std : ndarray of shape (n_spectra, n_energy)
        Real part of the dielectric functions, smoothed over the resolution, and its error.
    first : ndarray of int of shape (n_spectra,)
        First channel that is looked at.
    window : int
        Channels of one resolution: the slope is that over so many on both sides of the zero.

    Returns
    -------
    rising, falling : Crossing

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.crossings import find_crossings
    >>> energy = np.arange(1.0, 30.0, 0.5)
    >>> values = (energy - 10.2) * (energy - 20.1) / 100.0
    >>> std = np.full((1, energy.size), 0.02)
    >>> rising, falling = find_crossings(energy, values[None], std, np.zeros(1, int))
    >>> rising.position.round(1), falling.position.round(1), rising.std.round(1)
    (array([20.1]), array([10.2]), array([0.2]))
    """
    found = [
        _of_spectrum(energy[start:], one[start:], its_std[start:], window)
        for one, its_std, start in zip(values, std, first, strict=True)
    ]
    rising, falling = np.moveaxis(np.array(found, float).reshape(-1, 2, 4), 1, 0)
    return Crossing.unstack(rising), Crossing.unstack(falling)


def _of_spectrum(energy, values, std, window):
    """Find the rising zero of one spectrum and the falling one below: four numbers for each."""
    if not np.isfinite(values).all():
        return np.full((2, 4), np.nan)
    significance = values / std
    sure = np.flatnonzero(np.abs(significance) > _SURE)
    step = np.diff(np.sign(significance[sure]))
    upwards, downwards = np.flatnonzero(step > 0), np.flatnonzero(step < 0)
    if upwards.size:
        downwards = downwards[downwards < upwards[-1]]
    ends = [sure[one[-1] : one[-1] + 2] if one.size else None for one in (upwards, downwards)]
    return [
        [*_zero_between(energy, values, std, at, window=window), _probability(sign * significance)]
        for at, sign in zip(ends, (1, -1), strict=True)
    ]


def _zero_between(energy, values, std, ends, *, window):
    """Compute position, error and slope of the zero between two channels of different sign."""
    if ends is None:
        return np.full(3, np.nan)
    between = slice(ends[0], ends[1] + 1)
    piece = values[between]
    before = _likeliest_change(np.sign(piece[0]) * piece / std[between])
    part = piece[before] / (piece[before] - piece[before + 1])
    position = np.interp(before + part, np.arange(piece.size), energy[between])
    beside = slice(max(ends[0] - window, 0), ends[1] + 1 + window)
    apart = energy[beside] - energy[beside].mean()
    slope = (apart @ values[beside]) / (apart @ apart)
    return position, np.interp(position, energy, std) / np.abs(slope), slope


def _likeliest_change(significance):
    """Find the channel after which values most probably stay below zero, of those before which they are above."""
    before = np.flatnonzero((significance[:-1] > 0) & (significance[1:] <= 0))
    above = np.cumsum(log_ndtr(significance))
    below = np.cumsum(log_ndtr(-significance[::-1]))[::-1]
    return before[(above[before] + below[before + 1]).argmax()]


def _probability(significance):
    """Compute how probable it is that values are negative somewhere and positive above it."""
    if significance.size < 2:
        return 0.0
    below = np.maximum.accumulate(-significance)[:-1]
    above = np.maximum.accumulate(significance[::-1])[::-1][1:]
    return np.max(ndtr(below) * ndtr(above))
