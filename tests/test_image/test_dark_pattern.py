# SPDX-License-Identifier: GPL-3.0-or-later
"""Dark pattern of a detector: what is found of it, and what is none."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_zlpml.data import ws2_like
from hyperspy_zlpml.image.dark_pattern import find_dark_pattern
from hyperspy_zlpml.image.noise import NoiseModel

WIDTH = 16.0
CHANNEL = np.arange(-200, 824)
PEAK = 1e6 / (1 + (2.6 * CHANNEL / WIDTH) ** 2) ** 1.5
READOUT = 20.0


def spectra(n=400, peak=PEAK, seed=0):
    """Peaks with the noise of electrons and of the read-out."""
    rng = np.random.default_rng(seed)
    return rng.poisson(peak, (n, peak.size)) + READOUT * rng.standard_normal((n, peak.size))


def levels_of(rms, seed=1):
    return rms * np.random.default_rng(seed).standard_normal(CHANNEL.size)


@pytest.mark.parametrize("rms", [4.0, 20.0])
def test_what_is_claimed_of_the_levels_is_true(rms):
    true = levels_of(rms)
    found = find_dark_pattern(spectra() + true, WIDTH)
    assert found.rms == pytest.approx(rms, rel=0.1)
    far = np.abs(CHANNEL) > 4 * WIDTH  # nearer, electrons hide the pattern, and it does not matter
    left = np.std((true - found.levels)[far])
    assert left == pytest.approx(found.unknown, rel=0.15)
    # A white pattern has this part in frequencies that no peak has.
    assert left / rms == pytest.approx(np.sqrt(2 * 1.5 / WIDTH), rel=0.25)


def test_false_alarms():
    """The limit is 5 standard errors: of 40 detectors without a pattern none is said to have one."""
    found = [find_dark_pattern(spectra(n=64, seed=seed), WIDTH).rms for seed in range(40)]
    assert not any(found)


def test_sensitivity_is_none():
    """What channels differ by in proportion to their counts is no dark level."""
    counts = spectra(peak=PEAK * (1 + 1e-3 * levels_of(10.0)))
    assert find_dark_pattern(counts, WIDTH).rms < 2


def test_lines_as_narrow_as_the_peak_stay():
    """No more of them is taken off than the filter lets through."""
    line = 2000 * np.exp(-4 * np.log(2) * ((CHANNEL - 400) / WIDTH) ** 2)
    true = levels_of(20.0)
    noise = spectra(peak=np.zeros(1024)) + true
    with_line, without = (find_dark_pattern(noise + PEAK + more, WIDTH) for more in (line, 0.0))
    taken = with_line.levels - without.levels
    assert abs(taken @ line) < 1e-3 * line @ line
    assert (np.abs(taken) < np.abs(without.levels) + 2e-3 * line.max()).all()


def test_a_hot_channel_is_none():
    counts, true = spectra(), levels_of(8.0)
    found = find_dark_pattern(counts + true, WIDTH)
    counts[:, 700] += 3e4
    beside = find_dark_pattern(counts + true, WIDTH)
    assert beside.rms == pytest.approx(found.rms, rel=0.1)
    assert abs(beside.levels[700]) < 0.1
    far = np.abs(np.arange(1024) - 700) > 3 * WIDTH
    np.testing.assert_allclose(beside.levels[far], found.levels[far], atol=0.5)


@pytest.mark.parametrize(
    "n, width", [(8, WIDTH), (400, 2.5), (400, 80.0)], ids=["few", "narrow", "short axis"]
)
def test_where_nothing_can_be_told(n, width):
    assert find_dark_pattern(spectra(n=n) + levels_of(20.0), width).rms == 0


@pytest.mark.parametrize("round_off", [False, True], ids=["noise-free", "whole"])
def test_spectra_without_noise_have_none(round_off):
    counts = np.repeat(PEAK[None], 40, axis=0)
    assert find_dark_pattern(counts.round() if round_off else counts, WIDTH).rms == 0


def test_counted_electrons_and_empty_channels_have_none():
    """Where no electron arrives and nothing is read out channels are zero, in all spectra."""
    gaussian = 1e5 * np.exp(-4 * np.log(2) * (CHANNEL / WIDTH) ** 2) + 5.0 * (CHANNEL > 300)
    counts = np.random.default_rng(0).poisson(gaussian, (64, CHANNEL.size)).astype(float)
    assert find_dark_pattern(counts, WIDTH).rms == 0
    assert find_dark_pattern(spectra() * (CHANNEL < 400), WIDTH).rms == 0


def test_scale_of_the_counts_does_not_matter():
    counts = spectra() + levels_of(8.0)
    one, other = find_dark_pattern(counts, WIDTH), find_dark_pattern(1e-9 * counts, WIDTH)
    np.testing.assert_allclose(1e9 * other.levels, one.levels, rtol=1e-6, atol=1e-9)
    assert 1e9 * other.unknown == pytest.approx(one.unknown)


def test_sums_of_many_channels_have_all_of_it():
    """What is known changes its sign from channel to channel; what is left is all that sums have."""
    noise = NoiseModel(gain=1.0, readout=READOUT, dark=(3.0, 7.0))
    assert noise.of_dark_levels(1) == 9
    assert noise.of_dark_levels(1000) == 1000 * 49
    true = levels_of(20.0)
    found = find_dark_pattern(spectra() + true, WIDTH)
    left = (true - found.levels)[300:].reshape(-1, 181).sum(-1)
    rms = np.sqrt(np.mean((true[300:].reshape(-1, 181).sum(-1)) ** 2))
    assert np.sqrt(np.mean(left**2)) == pytest.approx(rms, rel=0.3)


def test_a_removal_takes_it_off():
    """With levels as large as the read-out noise the vacuum was lost, and errors were 14 times the noise."""
    sample = ws2_like((10, 10), n_channels=1024, random_state=3)
    signal = sample.signal.deepcopy()
    signal.change_dtype("float64")
    true = sample.readout * np.random.default_rng(4).standard_normal(1024)
    signal.data += true
    result = signal.remove_zlp_ml(
        n_clusters=2, n_replicas=8, random_state=0, show_progressbar=False
    )
    assert "channels differ by" in str(result.report)
    assert result.vacuum.data.any()
    assert result.dark_level.axes_manager[0].units == "eV"
    left = np.std(result.dark_level.data - true)
    assert left < 0.7 * sample.readout
    noise = result.removed.application.subtraction.noise
    assert noise.readout == pytest.approx(np.hypot(sample.readout, left), rel=0.1)
    whole = result.subtracted.data + result.zlp.data + result.dark_level.data
    np.testing.assert_allclose(whole, signal.data, rtol=1e-9, atol=1e-6)
    pull = (result.zlp.data - sample.zlp.data) / result.std.data
    near = np.abs(signal.axes_manager[-1].axis) < 5
    assert np.sqrt(np.median(pull[..., near] ** 2)) < 1.5


def test_the_same_detector_without_level():
    from hyperspy_zlpml.image.dark_pattern import DarkPattern
    from hyperspy_zlpml.image.detector import Detector

    detector = Detector(5.0, "", NoiseModel(1.0, 2.0), DarkPattern(np.array([1.0, -1.0]), 1.0, 0.5))
    np.testing.assert_array_equal(detector.dark_level, [6.0, 4.0])
    assert not detector.without_level().dark_level.any()
    assert replace(detector, pedestal=0.0).dark_level.any()
