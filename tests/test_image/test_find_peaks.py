# SPDX-License-Identifier: GPL-3.0-or-later
"""Which feature is the zero-loss peak: the first one, whatever is higher, and no spike."""

from math import factorial

import numpy as np
import plain_find_peaks
import pytest

from hyperspy_zlpml.image.find_peaks import find_peaks
from hyperspy_zlpml.image.peaks import peak_parameters

ENERGY = -5 + 0.05 * np.arange(1500)
ZERO = 100


def gaussian(centre, fwhm):
    return np.exp(-4 * np.log(2) * ((ENERGY - centre) / fwhm) ** 2) / fwhm


def thick(thickness, dose=1e5, seed=0):
    """Spectra of a free-electron metal, whose plasmons are higher than the ZLP from t = 1.35 on."""
    t = np.asarray(thickness, float)[:, None]
    plasmons = sum(
        t**n / factorial(n) * gaussian(15 * n, np.hypot(1, 0.9 * np.sqrt(n))) for n in range(1, 9)
    )
    tail = 0.002 / (1 + (ENERGY / 0.7) ** 2)
    expected = dose * np.exp(-t) * (gaussian(0, 1.0) + tail + plasmons)
    return np.random.default_rng(seed).poisson(expected).astype(float)


@pytest.mark.parametrize("dose", [3e3, 1e4, 1e6])
def test_plasmons_may_be_higher_than_the_zero_loss_peak(dose):
    counts = thick(np.linspace(0, 2.5, 40), dose)
    assert (counts.argmax(-1) != ZERO).mean() > 0.2
    assert np.abs(find_peaks(counts).channel - ZERO).max() <= 8


@pytest.mark.parametrize("size", [1.5, 30.0, 1e4])
@pytest.mark.parametrize("place", [3, ZERO - 40, ZERO + 300, 1498])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_spikes_are_no_peaks(size, place, n_channels):
    clean = thick([0.5])
    spiked = clean.copy()
    spiked[0, place : place + n_channels] += size * clean.max()
    right, found = peak_parameters(clean, ENERGY), peak_parameters(spiked, ENERGY)
    np.testing.assert_allclose(found.centre, right.centre, atol=1e-4)
    np.testing.assert_allclose(found.fwhm, right.fwhm, atol=1e-4)


def test_hot_channels_before_the_peak_are_no_first_peak():
    counts = thick([0.1, 2.0])
    counts[:, 0] = 0.5 * counts.max()
    assert np.abs(find_peaks(counts).channel - ZERO).max() <= 8


def test_peaks_of_a_single_channel_are_all_there_is():
    counts = np.zeros((1, 200))
    counts[0, 80] = 1e4
    assert find_peaks(counts).channel == 80


def test_low_counts_make_no_first_peak():
    # Poisson noise of 2 to 20 electrons: false peaks before the true one would be 5 sigma valleys.
    u = (np.arange(400) - 200) / 20
    counts = np.random.default_rng(1).poisson(20 * np.exp(-(u**2)), (2000, 400)).astype(float)
    found = find_peaks(counts)
    assert (np.abs(found.channel - 200) > 30).mean() < 1e-3


def test_falling_backgrounds_have_no_peak_that_lies_on_the_axis():
    energy = 350 + 0.25 * np.arange(2048)
    lines = 3e4 * np.exp(-(((energy - 530) / 3) ** 2))
    counts = np.random.default_rng(0).poisson(1e5 * (energy / 350) ** -3.0 + lines, (5, 2048))
    assert not peak_parameters(counts, energy).usable.any()


def with_spikes(counts, size, seed=0):
    """Counts with spikes of one or two channels in about half of the spectra."""
    rng = np.random.default_rng(seed)
    spiked = counts.copy()
    for row in rng.integers(0, len(counts), len(counts)):
        place, width = rng.integers(0, counts.shape[1] - 1), rng.integers(1, 3)
        spiked[row, place : place + width] += size * counts.max()
    return spiked


@pytest.mark.parametrize("size", [0.0, 0.1, 3.0, 1e3])
@pytest.mark.parametrize("pedestal", [0.0, 5e3])
@pytest.mark.parametrize("dose", [30.0, 1e3, 1e6])
def test_the_compiled_search_finds_what_the_plain_one_finds(dose, pedestal, size):
    counts = with_spikes(thick(np.linspace(0, 4, 120), dose) + pedestal, size)
    bridged = counts.copy()
    expected, found = plain_find_peaks.find_peaks(bridged), find_peaks(counts)
    np.testing.assert_allclose(counts, bridged, rtol=1e-9, atol=1e-9)
    for name in expected._fields:
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-9, err_msg=name
        )


def test_too_few_channels_are_refused():
    with pytest.raises(ValueError, match="expected at least 4 channels to find a peak, got 3"):
        find_peaks(np.ones((1, 3)))
