# SPDX-License-Identifier: GPL-3.0-or-later
"""Zeros of functions with errors: found where they are, told from noise, with a probability."""

import numpy as np
import pytest

from hyperspy_zlpml.physics.crossings import find_crossings
from hyperspy_zlpml.physics.kramers_kronig import smoothed

ENERGY = np.arange(1.0, 40.0, 0.1)


def curve(energy=ENERGY):
    """Real part of a dielectric function with zeros at 9.6 and 23.9."""
    return 2.0 * (energy - 9.6) * (energy - 23.9) / (energy**2 + 20.0)


def crossings(values, sigma, first=0):
    values = np.atleast_2d(values)
    std = np.full(values.shape, sigma)
    return find_crossings(ENERGY, values, std, np.full(len(values), first), window=5)


def test_positions_are_between_channels():
    rising, falling = crossings(curve(), 1e-3)
    assert rising.position[0] == pytest.approx(23.9, abs=2e-3)
    assert falling.position[0] == pytest.approx(9.6, abs=2e-3)
    assert rising.slope[0] > 0 > falling.slope[0]
    assert np.allclose([rising.probability, falling.probability], 1.0)


@pytest.mark.parametrize("sigma", [0.02, 0.05])
def test_errors_are_the_scatter_of_noise(sigma):
    rng = np.random.default_rng(7001)
    noise = smoothed(rng.normal(0, sigma, (500, ENERGY.size)), 5)
    rising, falling = crossings(curve() + noise, sigma / np.sqrt(5))
    for zero, true in ((rising, 23.9), (falling, 9.6)):
        pull = (zero.position - true) / zero.std
        assert 0.8 < np.std(pull) < 1.25
        assert abs(np.mean(pull)) < 0.15


def test_noise_about_zero_makes_no_crossings_of_its_own():
    """A curve that touches zero for long has one zero in each direction, whatever the noise."""
    rng = np.random.default_rng(7002)
    flat = np.interp(ENERGY, [1, 8, 12, 20, 24, 40], [5.0, 0.01, -0.01, -0.01, 0.01, 1.0])
    rising, falling = crossings(flat + rng.normal(0, 0.03, (200, ENERGY.size)), 0.03)
    known = np.isfinite(falling.position)
    assert (falling.position[known] < rising.position[known]).all()


def test_a_metal_rises_only():
    rising, falling = crossings(1 - 225.0 / ENERGY**2, 1e-3)
    assert rising.position[0] == pytest.approx(15.0, abs=0.01)
    assert np.isnan(falling.position[0])
    assert falling.probability[0] < 0.01


def test_a_function_that_stays_positive_has_none():
    rising, falling = crossings(0.5 + 0 * ENERGY, 0.1)
    for zero in (rising, falling):
        assert np.isnan([zero.position[0], zero.std[0], zero.slope[0]]).all()
        assert zero.probability[0] < 1e-5


def test_the_probability_is_how_often_there_is_a_zero():
    """A dip whose depth is of the size of its error, of one channel."""
    depth, sigma = 0.03, 0.05
    values = np.where(np.arange(ENERGY.size) == 150, -depth, 5.0)
    rising, _ = crossings(values, sigma)
    draws = np.random.default_rng(7003).normal(-depth, sigma, 20000)
    assert rising.probability[0] == pytest.approx(np.mean(draws < 0), abs=0.01)


def test_what_is_not_trusted_is_not_looked_at():
    values = np.where(ENERGY < 3, -1.0, curve())
    rising, _ = crossings(np.where(ENERGY < 12, np.abs(values), 1.0), 1e-3, first=8)
    assert np.isnan(rising.position[0])


def test_unknown_spectra_have_no_zeros():
    rising, falling = crossings(np.full(ENERGY.size, np.nan), 0.1)
    assert np.isnan([rising.position[0], rising.probability[0], falling.position[0]]).all()
