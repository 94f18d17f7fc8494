# SPDX-License-Identifier: GPL-3.0-or-later
"""Vacuum pixels: found where there are some, nowhere else, at the stated rates."""

import numpy as np
import pytest

from hyperspy_zlpml.image.detector import NoiseModel
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.vacuum import never_rises, vacuum_candidates

STEP = 0.05
FWHM = 0.45
ENERGY = STEP * np.arange(-80, 720)
NOISE = NoiseModel(1.0, 5.0, "given")


def spectra(thickness, height=1e5, seed=0):
    """Peaks with a weak halo, and single losses from 1.6 eV to a plasmon at 20 eV."""
    rng = np.random.default_rng(seed)
    thickness = np.asarray(thickness, float)[:, None]
    u = ENERGY / FWHM
    peak = (1 + 1.66 * u**2) ** -2 + 1e-5 / (1 + (u / 6) ** 2)
    onset = np.clip(1 - np.exp(-(ENERGY - 1.6)), 0, None)
    loss = onset * (
        0.2 * np.exp(-np.clip(ENERGY, 0, None) / 8) + 1 / (1 + ((ENERGY - 20) / 3) ** 2)
    )
    loss *= peak.sum() / loss.sum()
    expected = height * np.exp(-thickness) * (peak + thickness * loss)
    counts = rng.poisson(expected).astype(float)
    return counts + NOISE.readout * rng.standard_normal(counts.shape)


def candidates(counts):
    return vacuum_candidates(peak_parameters(counts, ENERGY), NOISE, ENERGY)


@pytest.mark.parametrize("height", [1e4, 1e5, 1e6])
@pytest.mark.parametrize("n_vacuum", [4, 60])
def test_vacuum_beside_a_specimen(height, n_vacuum):
    # Four sigma about a median: 6e-5 false alarms per pixel. One pixel may be lost by chance.
    thickness = np.r_[np.zeros(n_vacuum), np.linspace(0.1, 1.5, 40)]
    found = candidates(spectra(thickness, height))
    assert not found[n_vacuum:].any()
    assert found[:n_vacuum].sum() >= n_vacuum - 1


def test_counts_do_not_matter_only_fractions():
    counts = spectra(np.r_[np.zeros(20), np.full(20, 0.3)], 1e6)
    counts[::2] *= 0.5  # a beam that fluctuates
    np.testing.assert_array_equal(candidates(counts), np.arange(40) < 20)


def test_thick_specimens_hold_no_vacuum():
    assert not candidates(spectra(np.linspace(0.2, 2.0, 40))).any()


def test_noise_does_not_make_a_thin_film_vacuum():
    # 4 % of the electrons are scattered, at a noise that allows any single pixel to be vacuum:
    # the median of all decides.
    counts = spectra(np.full(60, 0.04), height=2e3)
    assert not candidates(counts).any()


def test_unusable_spectra_are_never_vacuum():
    counts = spectra(np.zeros(12))
    counts[3] = np.nan
    counts[5] = 0.0
    found = candidates(counts)
    assert not found[[3, 5]].any()
    assert found.sum() >= 9
    counts[:] = np.nan
    assert not candidates(counts).any()


def test_without_channels_beyond_eight_widths_nothing_is_known():
    near = ENERGY < 7.5 * FWHM
    counts = spectra(np.zeros(10))[:, near]
    assert not vacuum_candidates(peak_parameters(counts, ENERGY[near]), NOISE, ENERGY[near]).any()


def test_shape_of_navigation_is_kept():
    counts = spectra(np.r_[np.zeros(6), np.full(6, 0.5)]).reshape(3, 4, -1)
    np.testing.assert_array_equal(candidates(counts).ravel(), np.arange(12) < 6)


def rises(counts):
    n = len(counts)
    return not never_rises(counts, ENERGY, np.zeros(n), np.full(n, FWHM), NOISE)


def test_vacuum_never_rises():
    # Ten comparisons at four sigma one-sided: 3e-4 per image at most, 60 images.
    assert sum(rises(spectra(np.zeros(10), seed=seed)) for seed in range(60)) == 0


@pytest.mark.parametrize("thickness, n", [(0.02, 30), (0.1, 5), (0.5, 1)])
def test_specimens_rise(thickness, n):
    assert rises(spectra(np.full(n, thickness)))


def test_noise_decides_whether_a_rise_is_seen():
    # One electron in a thousand scattered, at a thousand counts: nothing to see.
    assert not rises(spectra([0.001], height=1e3))
    assert rises(spectra(np.full(200, 0.001), height=1e7))
