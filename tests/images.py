# SPDX-License-Identifier: GPL-3.0-or-later
"""An image of spectra made by hand: vacuum, then a specimen of growing thickness."""

import numpy as np

from hyperspy_zlpml.image.describe import describe_image
from hyperspy_zlpml.image.peaks import peak_parameters

STEP = 0.05
FWHM = 0.45
ENERGY = STEP * np.arange(-250, 500)
N_VACUUM = 40
N = 100


def counts_of(thickness, pedestal=0.0, height=1e5, seed=0):
    """Peaks over a pedestal, and losses from 1.6 eV in proportion to thickness."""
    rng = np.random.default_rng(seed)
    thickness = np.asarray(thickness)[:, None]
    peak = (1 + 1.66 * (ENERGY / FWHM) ** 2) ** -2.5
    loss = np.clip(1 - np.exp(-(ENERGY - 1.6)), 0, None)
    expected = height * np.exp(-thickness) * (peak + thickness * loss * peak.sum() / loss.sum())
    return rng.poisson(expected) + 5.0 * rng.standard_normal(expected.shape) + pedestal


THICKNESS = np.r_[np.zeros(N_VACUUM), np.linspace(0.1, 1.2, N - N_VACUUM)]
COUNTS = counts_of(THICKNESS)


def described(counts=COUNTS, index=None, **settings):
    """The image that spectra make."""
    parameters = peak_parameters(counts, ENERGY)
    index = np.arange(len(counts)) if index is None else index
    return describe_image(parameters, ENERGY, index, counts[index], **settings)
