# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels that were never recorded are told from tails and from few counts."""

import numpy as np
import pytest
from channel_spectra import N_ENERGY, ZERO, spectra

from hyperspy_zlpml.image.padding import find_recorded, find_stretches, padded_unlike_others


def recorded(counts):
    return find_recorded(counts, np.full(len(counts), ZERO), width=10.0)


def test_padding_is_told_from_tails_that_end():
    counts = spectra()
    counts[:, :20], counts[:, -30:] = 0, 0
    assert recorded(counts) == (20, N_ENERGY - 30)
    # Losses that die out leave zeros as well.
    distance = np.arange(N_ENERGY) - ZERO
    fading = np.random.default_rng(0).poisson(1e4 * np.exp(-np.abs(distance) / 20), (40, N_ENERGY))
    assert (fading[:, -60:] == 0).all()
    assert recorded(fading.astype(float)) == (0, N_ENERGY)


@pytest.mark.parametrize("level", [0.0, -12.5])
@pytest.mark.parametrize("n_spectra", [1, 40])
def test_what_fills_up_an_axis_need_not_be_zero(level, n_spectra):
    counts = np.random.default_rng(0).poisson(30.0, (n_spectra, 200)) - 0.5
    counts[:, :12] = counts[:, 190:] = level
    assert find_recorded(counts, np.full(n_spectra, 80), 10.0) == (12, 190)


def test_few_counts_are_no_filling():
    rng = np.random.default_rng(1)
    for _ in range(50):
        counts = rng.poisson(0.3, (1, 200)).astype(float)
        assert find_recorded(counts, np.array([80]), 10.0) == (0, 200)


def test_a_read_out_that_ended_early_is_that_of_one_spectrum():
    counts = spectra()
    counts[7, 300:] = 0
    assert recorded(counts) == (0, N_ENERGY)
    channel = np.full(len(counts), ZERO)
    np.testing.assert_array_equal(np.flatnonzero(padded_unlike_others(counts, channel, 10.0)), [7])


@pytest.mark.parametrize("height", [10.0, 100.0, 1e3])
def test_few_counts_before_a_peak_are_no_padding(height):
    rng = np.random.default_rng(0)
    peak = height * np.exp(-(((np.arange(400) - 120) / 6) ** 2))
    for _ in range(20):
        counts = rng.poisson(peak, (30, 400)).astype(float)
        assert find_recorded(counts, counts.argmax(-1), 10.0) == (0, 400)
        assert not padded_unlike_others(counts, counts.argmax(-1), 10.0).any()


@pytest.mark.parametrize("value", [0.0, 2e4])
@pytest.mark.parametrize("first, n", [(60, 5), (140, 40), (300, 12)])
def test_a_stretch_of_one_value_is_that_of_one_spectrum(value, first, n):
    counts = spectra()
    counts[7, first : first + n] = value
    found = find_stretches(counts, width=10.0)
    np.testing.assert_array_equal(np.ravel(found), [7, first, first + n])
    channel = np.full(len(counts), ZERO)
    np.testing.assert_array_equal(np.flatnonzero(padded_unlike_others(counts, channel, 10.0)), [7])


@pytest.mark.parametrize("width", [2.0, 4.0, 20.0])
@pytest.mark.parametrize("electrons", [10.0, 1e3, 1e6])
def test_gaps_between_peaks_are_no_stretches_of_one_value(width, electrons):
    distance = np.arange(400) - np.array([80, 200, 320])[:, None]
    peaks = np.exp(-4 * np.log(2) * (distance / width) ** 2).sum(0)
    rng = np.random.default_rng(0)
    for least in (0.0, 0.3, 3.0):
        counts = rng.poisson(electrons * peaks + least, (400, 400)).astype(float)
        assert not find_stretches(counts, width)[0].size


def test_flat_tops_and_noise_cut_off_at_zero_are_no_stretches_of_one_value():
    assert not find_stretches(np.minimum(spectra(), 5e4), width=10.0)[0].size
    noisy = (
        spectra(height=1e3, thickness=3.0) - 20 + np.random.default_rng(0).normal(0, 20, N_ENERGY)
    )
    assert not find_stretches(np.maximum(noisy, 0.0), width=10.0)[0].size


def test_stretches_are_those_of_a_loop():
    # So few electrons that some channels in a row are equal in many spectra.
    counts = np.random.default_rng(0).poisson(0.7, (50, 300)).astype(float)
    counts[::7, 100:112] = 40.0
    counts[::7, 50] = 90.0
    rows, starts, stops = find_stretches(counts, width=4.0)
    for row, spectrum in enumerate(counts):
        steps = np.flatnonzero(np.diff(spectrum)) + 1
        n = np.diff(steps, prepend=0)
        of_row = {
            (int(end - size), int(end)) for end, size in zip(steps, n, strict=True) if size >= 5
        }
        found = set(zip(starts[rows == row].tolist(), stops[rows == row].tolist(), strict=True))
        assert found <= of_row
        assert ((100, 112) in found) == (row % 7 == 0)
