# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra of peaks at one channel, losses behind them, to spoil channels of."""

import numpy as np

N_ENERGY = 600
ZERO = 120


def spectra(n=40, width=10.0, height=1e5, seed=0, thickness=1.0):
    """Peaks with a plasmon three times as wide, of random thickness."""
    rng = np.random.default_rng(seed)
    distance = np.arange(N_ENERGY) - ZERO
    peak = (1 + 4 * (2 ** (1 / 1.5) - 1) * (distance / width) ** 2) ** -1.5
    plasmon = 0.3 * np.exp(-(((distance - 12 * width) / (2 * width)) ** 2))
    t = thickness * rng.random((n, 1))
    return rng.poisson(height * (np.exp(-t) * peak + t * plasmon) + 20).astype(float)
