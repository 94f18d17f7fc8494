# SPDX-License-Identifier: GPL-3.0-or-later
"""Vacuum that is none is told: films among it, and peaks of another setting; true vacuum is not."""

import numpy as np
import pytest

from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.samples import VACUUM, Sample
from hyperspy_zlpml.registration.doubtful_vacuum import doubts_of_vacuum, losses_in_vacuum
from hyperspy_zlpml.registration.find_regions import separate
from hyperspy_zlpml.registration.register import register_peaks

ENERGY = 0.025 * np.arange(-160, 480)
FWHM = 0.45
NOISE = NoiseModel(1.0, 10.0)
LABEL = np.repeat([VACUUM, 0, 1], 40)
THICKNESS = np.repeat([0.0, 0.3, 1.0], 40)


def registered(thickness=THICKNESS, exponent=2.0):
    """Peaks whose tails vary by 5 %, and losses from 2 eV on; ``exponent`` of the vacuum's flank."""
    rng = np.random.default_rng(0)
    m = np.where(LABEL == VACUUM, exponent, 2.0)[:, None]
    u = (ENERGY - rng.normal(0, 0.02, (LABEL.size, 1))) / FWHM
    varied = np.exp(0.05 * rng.standard_normal((LABEL.size, 1)) * np.tanh(u / 2) ** 2)
    peak = (1 + 4 * (2 ** (1 / m) - 1) * u**2) ** -m * varied
    losses = 0.003 * np.clip(1 - np.exp(-(ENERGY - 2.0)), 0, None)
    counts = rng.poisson(1e6 * np.exp(-thickness[:, None]) * (peak + thickness[:, None] * losses))
    counts = counts.astype(float)
    sample = Sample(counts, ENERGY, peak_parameters(counts, ENERGY), LABEL)
    return separate(register_peaks([sample], NOISE), 2, {})


def test_true_vacuum_is_not_doubted():
    assert doubts_of_vacuum(registered()) == ()


def test_films_among_the_vacuum_are_told_with_what_they_hold():
    # One in three of the vacuum spectra holds a fifth of the losses of the thickest.
    films = np.where(np.arange(LABEL.size) % 3 == 0, 0.2, 0.0)
    image = registered(np.where(LABEL == VACUUM, films, THICKNESS))
    assert losses_in_vacuum(image.peaks) == pytest.approx(0.2, rel=0.1)
    (message,) = doubts_of_vacuum(image)
    assert message.startswith("the vacuum holds losses")


def test_vacuum_with_other_tails_is_told():
    (message,) = doubts_of_vacuum(registered(exponent=1.8))
    assert message.startswith("the vacuum has another peak")
