# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad channels and spikes: those that are there are found, in clean data none."""

import tracemalloc

import numpy as np
import pytest
from channel_spectra import N_ENERGY, ZERO, spectra

from hyperspy_zlpml.image.channels import (
    Channels,
    find_spikes,
    inspect_channels,
    never_finite,
    without_spikes,
)
from hyperspy_zlpml.image.noise import NoiseModel

NOISE = NoiseModel(1.0, 0.0)


def inspected(counts, width=10.0):
    return inspect_channels(counts, np.full(len(counts), ZERO), width)


# --- channels of the detector ----------------------------------------------------------------------


@pytest.mark.parametrize("width", [2.0, 4.0, 20.0])
@pytest.mark.parametrize("height", [30.0, 1e4, 1e7])
def test_good_detectors_have_no_bad_channels(width, height):
    found = [inspected(spectra(seed=seed, width=width, height=height), width) for seed in range(5)]
    assert all(one.all_good for one in found)


def few_clean_spectra(seed):
    """Three to seven spectra of few or many electrons, with or without pedestal and read-out noise."""
    rng, channel = np.random.default_rng(seed), np.arange(256)
    n, width = int(rng.integers(3, 8)), rng.uniform(3, 12)
    peak = np.exp(-4 * np.log(2) * ((channel - 45) / width) ** 2)
    plasmon = np.exp(-0.5 * ((channel - 45) / width - rng.uniform(4, 9)) ** 2)
    expected = 10 ** rng.uniform(2, 5) * (peak + 0.02 * np.linspace(0.2, 1, n)[:, None] * plasmon)
    counts = rng.choice([1.0, 5.0]) * rng.poisson(expected) + rng.choice([0.0, 100.0])
    return counts + rng.choice([0.0, 3.0]) * rng.standard_normal(counts.shape), width


def test_few_good_spectra_hardly_ever_have_bad_channels():
    # Where hardly an electron arrives channels are equal, or far from those beside them, by chance.
    found = [few_clean_spectra(seed) for seed in range(7001, 7201)]
    n_alarms = sum(
        inspect_channels(counts, np.full(len(counts), 45), width).bad.any()
        for counts, width in found
    )
    assert n_alarms <= 2


def test_patterns_of_sensitivity_are_no_bad_channels():
    pattern = 1 + 0.02 * np.random.default_rng(0).standard_normal(N_ENERGY)
    assert inspected(spectra(height=1e6) * pattern).all_good


@pytest.mark.parametrize("channel", [0, 50, ZERO, ZERO + 3, 400, N_ENERGY - 1])
@pytest.mark.parametrize("value", [0.0, -(2.0**31), 65535.0])
def test_stuck_channels_are_found(channel, value):
    counts = spectra(height=1e4)
    counts[:, channel] = value
    expected = [channel]
    np.testing.assert_array_equal(np.flatnonzero(inspected(counts).bad), expected)


def test_hot_channels_are_found_whatever_the_thickness():
    counts = spectra()
    counts[:, [300, 450, 451]] += 5e4
    np.testing.assert_array_equal(np.flatnonzero(inspected(counts).bad), [300, 450, 451])


@pytest.mark.parametrize("pedestal", [0.0, 600.0])
@pytest.mark.parametrize("wings", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("width", [0.9, 1.2, 1.6, 2.0])
def test_peaks_of_one_channel_are_no_hot_channels(width, wings, pedestal):
    """Wherever between two channels they lie; wings from those of a Gaussian to a Lorentzian's."""
    rng, energy = np.random.default_rng(3), np.arange(400)
    for centre in (100.0, 100.2, 100.5):
        u = (energy - centre) / width
        shape = (1 - wings) * np.exp(-4 * np.log(2) * u**2) + wings / (1 + 4 * u**2)
        counts = rng.poisson(2e5 * shape + pedestal, (30, 400)).astype(float)
        assert not inspect_channels(counts, counts.argmax(-1), width).bad.any()


@pytest.mark.parametrize("channel", [100, 101, 103, 106])
@pytest.mark.parametrize("width", [3.2, 4.0, 10.0])
def test_hot_channels_in_a_peak_are_found(width, channel):
    rng, u = np.random.default_rng(4), (np.arange(400) - 100) / width
    counts = rng.poisson(2e5 * np.exp(-4 * np.log(2) * u**2), (30, 400)).astype(float)
    counts[:, channel] += 1e6
    found = inspect_channels(counts, np.full(30, 100), width)
    np.testing.assert_array_equal(np.flatnonzero(found.bad), [channel])


@pytest.mark.parametrize("width, measured", [(2.0, 3.1), (3.0, 3.6), (4.0, 3.9)])
def test_hot_channels_lower_than_a_narrow_peak_are_found_on_its_flank(width, measured):
    """The wider peaks that they make are no reason to take them for one."""
    rng, u = np.random.default_rng(4), (np.arange(400) - 100) / width
    counts = rng.poisson(2e5 * np.exp(-4 * np.log(2) * u**2), (30, 400)).astype(float)
    counts[:, 102] += 1e5
    found = inspect_channels(counts, counts.argmax(-1), measured)
    np.testing.assert_array_equal(np.flatnonzero(found.bad), [102])


@pytest.mark.parametrize("distance", [3, 4, 6])
def test_second_peaks_as_narrow_as_the_first_are_no_hot_channels(distance):
    channel = np.arange(400)[None] - np.array([[100.0], [100.3], [100.5]])
    shape = [np.exp(-4 * np.log(2) * ((channel - at) / 2) ** 2) for at in (0, distance)]
    counts = np.random.default_rng(5).poisson(2e5 * (shape[0] + 0.5 * shape[1])).astype(float)
    assert not inspect_channels(counts, counts.argmax(-1), 2.0).bad.any()


def test_too_few_recorded_channels_are_refused():
    counts = spectra(width=5.0)
    counts[:, :100], counts[:, 160:] = 0, 0
    with pytest.raises(ValueError, match="at least 64 channels that were recorded, got 60"):
        inspect_channels(counts[:, 80:190], np.full(len(counts), ZERO - 80), 5.0)


def test_repair_bridges_smoothly_and_changes_nothing_else():
    counts = np.sin(np.linspace(0, 3, 200))[None] + 2
    bad = np.zeros(200, bool)
    bad[[0, 60, 61, 199]] = True
    before = counts.copy()
    repaired = Channels(bad, 0, 200).repair(counts)
    np.testing.assert_allclose(repaired, before, atol=1e-3)
    np.testing.assert_array_equal(repaired[:, ~bad], before[:, ~bad])
    np.testing.assert_array_equal(counts, before)


def test_messages_name_the_channels():
    bad = np.arange(100) == 7
    (dead, padded) = Channels(bad, 0, 90).describe(np.arange(100) * 0.5)
    assert "1 of 100 channels are dead or hot in all or most spectra: 7 (3.5 eV)" in dead
    assert "10 channels behind 44.5 eV hold one value" in padded


@pytest.mark.parametrize("n", [6, 40])
@pytest.mark.parametrize("first", [150, 300])
def test_stretches_of_dead_channels_are_bridged_by_a_line(first, n):
    counts = spectra()
    dead = slice(first, first + n)
    clean, counts[:, dead] = counts.copy(), 0.0
    found = inspected(counts)
    np.testing.assert_array_equal(np.flatnonzero(found.bad), np.arange(first, first + n))
    line = clean[:, [first - 1]] + np.arange(1, n + 1) / (n + 1) * (
        clean[:, [first + n]] - clean[:, [first - 1]]
    )
    np.testing.assert_allclose(found.repair(counts)[:, dead], line)
    told = " ".join(found.describe(np.arange(float(N_ENERGY))))
    assert ("is a guess" in told) == (n > 8)


# --- spikes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2.0, 4.0, 20.0])
@pytest.mark.parametrize("height", [30.0, 1e4, 1e7])
def test_clean_spectra_have_no_spikes(width, height):
    # Ten standard deviations: none of 24 000 channels by chance.
    assert not find_spikes(spectra(width=width, height=height), width, NOISE).any()


@pytest.mark.parametrize("channel", [0, 1, ZERO, ZERO + 8, 400, N_ENERGY - 1])
@pytest.mark.parametrize("size", [-(2.0**31), 1e5, 1e9])
def test_spikes_are_found_and_bridged(channel, size):
    clean = spectra()
    spiked = clean.copy()
    spiked[7, channel] += size
    spikes = find_spikes(spiked, 10.0, NOISE)
    np.testing.assert_array_equal(np.argwhere(spikes), [[7, channel]])
    bridged = without_spikes(spiked, spikes)
    sigma = np.sqrt(clean[7, channel] + 1)
    # A cubic through four channels, each with its own noise; the ends of an axis have two.
    assert abs(bridged[7, channel] - clean[7, channel]) < 8 * sigma + 0.01 * clean.max()


def test_counts_without_spikes_are_not_copied():
    counts = spectra(5)
    assert without_spikes(counts, np.zeros(counts.shape, bool)) is counts


@pytest.mark.parametrize("stuck", [slice(200, 206), slice(300, 320), slice(250, 600, 20)])
def test_any_number_of_stuck_channels_is_found(stuck):
    counts = spectra(height=1e5)
    counts[:, stuck] = 0
    expected = np.arange(N_ENERGY)[stuck]
    np.testing.assert_array_equal(np.flatnonzero(inspected(counts).bad), expected)


@pytest.mark.parametrize("n_spectra", [3, 5, 7])
@pytest.mark.parametrize("height", [30.0, 1e3, 1e5])
def test_few_spectra_agree_by_chance(n_spectra, height):
    found = [inspected(spectra(n_spectra, height=height, seed=seed)) for seed in range(20)]
    assert all(one.all_good for one in found)


@pytest.mark.parametrize("n_spectra", [3, 5])
def test_a_dead_channel_shows_in_few_spectra(n_spectra):
    counts = spectra(n_spectra)
    counts[:, 150] = 0
    np.testing.assert_array_equal(np.flatnonzero(inspected(counts).bad), [150])


def test_the_cut_off_top_of_a_peak_is_not_stuck():
    assert inspected(np.minimum(spectra(3), 3e4)).all_good


@pytest.mark.parametrize("where", [[300], [119, 120], [90, 400, 401]])
def test_channels_without_a_number_are_those_within_the_axis(where):
    counts = spectra(5)
    counts[:, where] = np.nan
    counts[:, :3] = counts[:, -2:] = np.inf
    counts[2, 200] = np.nan
    np.testing.assert_array_equal(np.flatnonzero(never_finite(counts)), where)


def test_many_channels_without_a_number_are_no_fault_of_the_detector():
    counts = spectra(5)
    counts[:, ::5] = np.nan
    assert not never_finite(counts).any()


@pytest.mark.parametrize("n_bad", [1, 2, 4, 10])
def test_a_bridge_beside_a_step_stays_near_what_it_joins(n_bad):
    counts = np.where(np.arange(200) < 100, 0.0, 1e4)[None]
    bad = (np.arange(200) >= 100) & (np.arange(200) < 100 + n_bad)
    repaired = Channels(bad, 0, 200).repair(counts)
    assert -2500 <= repaired.min()
    assert repaired.max() <= 12500


@pytest.mark.parametrize("beyond", [0.2, 0.6, 1.0])
def test_a_loss_that_the_edge_cuts_is_no_spike(beyond):
    channel = np.arange(100)
    peak = 3e5 * np.exp(-4 * np.log(2) * ((channel - 60) / 7.0) ** 2)
    loss = 6e4 * np.exp(-4 * np.log(2) * ((channel - 99 - 10 * beyond) / 10.0) ** 2)
    counts = np.random.default_rng(0).poisson(peak + loss, (20, 100)).astype(float)
    assert not find_spikes(counts, width=7.0, noise=NOISE).any()


def test_rare_electrons_make_no_channel_bad():
    # Medians of few whole numbers need not scatter.
    rng = np.random.default_rng(0)
    peak = 3e5 * np.exp(-4 * np.log(2) * ((np.arange(900) - 230) / 17) ** 2)
    for n in (8, 9, 11, 15):
        images = rng.poisson(peak + 1.0, (20, n, 900)).astype(float)
        found = [inspect_channels(one, np.full(n, 230), 17.0).bad.any() for one in images]
        assert not any(found)


@pytest.mark.parametrize("width", [1.6, 2.5, 6.0])
def test_a_flank_at_the_edge_is_no_hole_and_a_ray_there_is_a_spike(width):
    channel = np.arange(60)
    at = 1.2 * width + np.array([[0.0], [0.3], [0.6]])
    peak = 5e6 * np.exp(-4 * np.log(2) * ((channel - at) / width) ** 2) + 50
    for counts in (peak, peak[:, ::-1]):
        assert not find_spikes(counts, width=width, noise=NoiseModel(1.0, 40.0)).any()
    peak[1, -1] += 1e6
    found = find_spikes(peak, width=width, noise=NoiseModel(1.0, 40.0))
    np.testing.assert_array_equal(np.argwhere(found), [[1, 59]])


def test_a_flank_in_counts_that_nearly_vanish_overflows_nothing():
    # Without an electron that is known, whatever is above zero counts: the factor by which a flank may rise
    # was counts over the smallest of numbers.
    counts = np.random.default_rng(0).poisson(0.5, (200, 60)).astype(float)
    with np.errstate(over="raise"):
        find_spikes(counts, width=1.5, noise=NoiseModel(0.0, 0.0))


def test_spikes_take_no_memory_of_their_own_each():
    # Where the noise is not known thousands of channels may be spikes: one spectrum of each would be gigabytes.
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, (200, 1500)).astype(float)
    tracemalloc.start()
    find_spikes(counts, width=5.0, noise=NoiseModel(gain=0.0, readout=0.0))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 30 * counts.nbytes
