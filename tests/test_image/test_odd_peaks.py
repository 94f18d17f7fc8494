# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra unlike the others are left out; those that differ for a reason are not."""

import numpy as np
import pytest

from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.image.odd_peaks import of_other_shape, of_other_width
from hyperspy_zlpml.image.peaks import peak_parameters

ENERGY = 0.025 * np.arange(-80, 432)
NOISE = NoiseModel(1.0, 0.0)


def spectra(n=60, height=1e5, thickness=0.5, seed=0):
    rng = np.random.default_rng(seed)
    t = thickness * np.linspace(0, 1, n)[:, None]
    u = (ENERGY - 0.02 * rng.standard_normal((n, 1))) / 0.4
    peak = np.exp(-4 * np.log(2) * u**2) + 0.01 / (1 + u**2)
    losses = 0.3 * t * np.exp(-(((ENERGY - 6) / 0.8) ** 2))
    return rng.poisson(height * np.exp(-t) * (peak + losses)).astype(float)


def odd_among(counts):
    parameters = peak_parameters(counts, ENERGY)
    width = of_other_width(parameters.centre, parameters.fwhm, parameters.intensity)
    return np.flatnonzero(width | of_other_shape(counts, ENERGY, parameters, NOISE))


@pytest.mark.parametrize("height", [1e2, 1e4, 1e6])
def test_none_is_odd_by_chance(height):
    # 12 standard deviations of the scatter of all.
    assert not any(odd_among(spectra(height=height, seed=seed)).size for seed in range(20))


@pytest.mark.parametrize("n", [4, 6, 15])
def test_few_spectra_are_not_called_odd_for_their_noise(n):
    found = [odd_among(spectra(n, height=1e3, seed=seed)).size > 0 for seed in range(100)]
    assert np.mean(found) <= 0.02


def test_thick_spectra_are_not_odd():
    assert not odd_among(spectra(thickness=3.0)).size


@pytest.mark.parametrize("channels", [6, 20, 60, -60])
def test_a_beam_that_jumped_is(channels):
    counts = spectra()
    counts[13] = (counts[13] + np.roll(counts[13], channels)) / 2
    np.testing.assert_array_equal(odd_among(counts), [13])


def test_a_beam_that_jumped_is_among_four_spectra_and_where_electrons_are_few():
    for counts in (spectra(4), spectra(6, height=50)):
        counts[3] = (counts[3] + np.roll(counts[3], 60)) / 2
        np.testing.assert_array_equal(odd_among(counts), [3])


@pytest.mark.parametrize("electrons", [15, 25, 30])
def test_a_second_peak_is_told_from_the_noise_of_what_lies_below_it(electrons):
    # Half of a peak of so few electrons in a channel is no more than ten times its own noise.
    found = []
    for seed in range(20):
        counts = spectra(6, height=electrons, seed=seed)
        counts[3] = (counts[3] + np.roll(counts[3], 60)) / 2
        found.append(odd_among(counts).tolist() == [3])
    assert np.mean(found) > 0.7


def test_a_beam_that_jumped_is_where_the_axis_cuts_a_loss():
    # Losses that rise towards the end of the axis are no second peaks, nor do they hide one.
    counts = spectra(6, thickness=3.0)[:, ENERGY < 5.6]
    energy = ENERGY[ENERGY < 5.6]
    none = peak_parameters(counts, energy)
    assert not of_other_shape(counts, energy, none, NOISE).any()
    counts[3] = (counts[3] + np.roll(counts[3], 60)) / 2
    found = of_other_shape(counts, energy, peak_parameters(counts, energy), NOISE)
    np.testing.assert_array_equal(np.flatnonzero(found), [3])


@pytest.mark.parametrize("channels", [20, 60, 140])
def test_a_rolled_spectrum_is(channels):
    counts = spectra() + np.linspace(0, 300, 60)[:, None] * np.clip(ENERGY - 1.8, 0, None) ** 0.5
    counts[50] = np.roll(counts[50], channels)
    np.testing.assert_array_equal(odd_among(counts), [50])


@pytest.mark.parametrize("level", [-1e3, 300, 1e3])
def test_another_level_before_the_peak_is(level):
    counts = spectra()
    counts[13] += level
    np.testing.assert_array_equal(odd_among(counts), [13])


def test_a_beam_that_moved_is_not():
    counts = spectra()
    counts[13] = np.roll(counts[13], 40)
    assert not odd_among(counts).size


def test_a_ray_in_a_dark_spectrum_is():
    counts = spectra()
    counts[13] = 0
    counts[13, 400:402] = 1e4
    np.testing.assert_array_equal(odd_among(counts), [13])


def test_a_spectrum_of_another_dose_is():
    counts = spectra()
    counts[13] *= 1e3
    np.testing.assert_array_equal(odd_among(counts), [13])


def test_where_many_differ_none_is_odd():
    counts = spectra()
    wider = (np.roll(counts[::3], 8, -1) + counts[::3]) / 2
    counts[::3] = wider
    assert not odd_among(counts).size
