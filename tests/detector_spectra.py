# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra as a detector of known gain, read-out noise and pedestal counts them."""

import numpy as np

STEP = 0.025
FWHM = 0.45
ENERGY = STEP * np.arange(-400, 800)
#: Power-law tails (u**-4) over a weak Lorentzian that falls like u**-2 only from 6 FWHM on.
SHAPE = (1 + 1.66 * (ENERGY / FWHM) ** 2) ** -2 + 5e-4 / (1 + (ENERGY / FWHM / 6) ** 2)


def spectra(n, height=1e5, gain=1.0, readout=0.0, pedestal=0.0, losses=0.0, seed=0):
    rng = np.random.default_rng(seed)
    expected = height * SHAPE + losses * np.clip(1 - np.exp(-(ENERGY - 1.5) / 3), 0, None)
    counts = gain * rng.poisson(expected / gain, (n, ENERGY.size)) + pedestal
    return counts + readout * rng.standard_normal(counts.shape)


def peak(n):
    return np.zeros(n), np.full(n, FWHM)
