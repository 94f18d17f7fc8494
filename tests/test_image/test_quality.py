# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages on the level before the peak: told where it differs between spectra, and only there."""

import numpy as np
import pytest

from hyperspy_zlpml import data
from hyperspy_zlpml.image.describe import describe_image
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.quality import measurement_messages
from hyperspy_zlpml.image.second_peaks import second_peak_messages

ENERGY = 0.1 * np.arange(-200, 200)


def messages(level, seed, n_spectra=60):
    """Messages on peaks of differing height on levels of this mean and this scatter, read out with noise of 5."""
    rng = np.random.default_rng(seed)
    height = rng.uniform(0.5, 1.5, (n_spectra, 1))
    shape = np.exp(-4 * np.log(2) * ENERGY**2) + 0.01 / (1 + ENERGY**2)
    mean, scatter = level
    counts = rng.poisson(1e5 * height * shape) + rng.normal(mean, scatter, (n_spectra, 1))
    counts = counts + rng.normal(0, 5, counts.shape)
    image = describe_image(peak_parameters(counts, ENERGY), ENERGY, np.arange(n_spectra), counts)
    return " ".join(measurement_messages(image))


@pytest.mark.parametrize("scatter", [10.0, 40.0])
def test_levels_that_differ_are_told_of(scatter):
    assert "differs from spectrum to spectrum" in messages((100.0, scatter), seed=0)


@pytest.mark.parametrize("seeds", [
    range(12), pytest.param(range(12, 40), marks=pytest.mark.closure),
], ids=["12 images", "28 more"])  # fmt: skip
def test_one_level_of_all_is_not_told_of(seeds):
    """Nor are tails that grow with the peaks; in none of forty images."""
    assert not any("differs" in messages((100.0, 0.0), seed) for seed in seeds)


def test_an_axis_that_begins_above_zero_is_told_of():
    energy = 3 + 0.05 * np.arange(400)
    counts = 1e5 * np.exp(-4 * np.log(2) * ((energy - np.full((4, 1), 15.0)) / 3) ** 2)
    image = describe_image(peak_parameters(counts, energy), energy, np.arange(4), counts)
    assert "at 15 eV, was taken for the zero-loss peak" in " ".join(measurement_messages(image))


# --- counts cut off at a level --------------------------------------------------------------------------


def told_of_cut(counts):
    image = describe_image(peak_parameters(counts, ENERGY), ENERGY, np.arange(len(counts)), counts)
    return "lower ones were set to it" in " ".join(measurement_messages(image))


def peaks(height, seed, gain=1.0, readout=0.0, n_spectra=60):
    """Peaks without a level, of an electron-counting detector or of one that is read out with noise."""
    rng = np.random.default_rng(seed)
    shape = np.exp(-4 * np.log(2) * ENERGY**2) + 0.003 / (1 + ENERGY**2)
    counts = gain * rng.poisson(height / gain * np.tile(shape, (n_spectra, 1)))
    return counts + rng.normal(0, readout, counts.shape) if readout else counts.astype(float)


@pytest.mark.parametrize(
    "readout, whole", [(3.0, True), (3.0, False), (20.0, True), (300.0, False)]
)
def test_noise_that_was_cut_off_at_zero_is_told_of(readout, whole):
    counts = peaks(1e5, seed=0, readout=readout)
    assert not told_of_cut(counts)
    counts = np.round(counts) if whole else counts
    assert told_of_cut(np.clip(counts, 0, None))
    assert told_of_cut(np.clip(counts, 0, None) * 1e-6 + 1.0)


@pytest.mark.parametrize("height", [1e2, 1e3, 1e4, 1e5])
@pytest.mark.parametrize("gain", [1.0, 7.0])
def test_rare_electrons_were_not_cut_off(height, gain):
    assert not any(told_of_cut(peaks(height, seed, gain=gain)) for seed in range(5))


@pytest.mark.parametrize("height", [300, 3e3, 3e4])
@pytest.mark.parametrize("few, many", [(0.05, 3.0), (0.3, 5.0), (0.3, 10.0), (0.01, 30.0)])
def test_rare_electrons_beside_brighter_spectra_were_not_cut_off(height, few, many):
    rng = np.random.default_rng(0)
    level = np.repeat([few, many], 30)[:, None] * rng.uniform(0.5, 1.5, (60, 1))
    losses = level * np.clip(1 - np.exp(-(ENERGY - 2) / 3), 0, None)
    expected = height * np.exp(-4 * np.log(2) * ENERGY**2) + losses + 0.01
    assert not told_of_cut(rng.poisson(expected).astype(float))


@pytest.fixture(scope="module", params=[data.low_dose, data.very_low_dose, data.line_scan])
def low_dose_signal(request):
    """Not to be modified."""
    return request.param(random_state=0).signal


@pytest.mark.parametrize("dose", [1.0, 1e-2])
def test_samples_of_low_dose_were_not_cut_off(low_dose_signal, dose):
    signal = low_dose_signal
    counts = np.asarray(signal.data, float).reshape(-1, signal.data.shape[-1])
    counts = counts[:: max(len(counts) // 60, 1)]
    if dose < 1:
        counts = np.random.default_rng(0).poisson(dose * np.clip(counts, 0, None)).astype(float)
    energy = signal.axes_manager.signal_axes[0].axis
    image = describe_image(peak_parameters(counts, energy), energy, np.arange(len(counts)), counts)
    assert "lower ones were set to it" not in " ".join(measurement_messages(image))


def told_of_twice(share, distance, n_spectra=12, n_hit=5, wider=1.0):
    """Messages on peaks, a share of some of which lies elsewhere, FWHM, and may be wider."""
    energy = 0.025 * np.arange(-160, 440)
    rng = np.random.default_rng(0)
    peak, second = (
        np.exp(-4 * np.log(2) * ((energy - place) / (0.4 * width)) ** 2)
        for place, width in ((0.0, 1.0), (0.4 * distance, wider))
    )
    hit = (np.arange(n_spectra) < n_hit)[:, None]
    counts = rng.poisson(1e5 * ((1 - hit * share) * peak + hit * share * second) + 5).astype(float)
    found = peak_parameters(counts, energy)
    image = describe_image(found, energy, np.arange(n_spectra), counts)
    return " ".join(second_peak_messages(image))


@pytest.mark.parametrize("share, distance", [(0.5, 4.0), (0.3, 10.0), (0.6, -4.0)])
@pytest.mark.parametrize("n_spectra, n_hit", [(1, 1), (2, 1), (3, 2), (12, 5)])
def test_spectra_that_hold_their_peak_twice_are_told_of(share, distance, n_spectra, n_hit):
    told = told_of_twice(share, distance, n_spectra, n_hit)
    assert f"{n_hit} of {n_spectra} spectra looked at hold their peak twice (number 0" in told
    assert f"{0.4 * distance if share < 0.6 else 1.6:.3g} eV from it" in told


@pytest.mark.parametrize("wider", [1.15, 1.5, 3.0])
def test_losses_that_are_wider_than_the_peak_are_no_second_one(wider):
    assert "twice" in told_of_twice(0.4, 6.0)
    assert "twice" not in told_of_twice(0.4, 6.0, wider=wider)
