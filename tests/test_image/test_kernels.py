# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled functions of the first look do what plain NumPy does."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from hyperspy_zlpml.image.kernels import find_crossings, mark_apart, running_median, sum_peaks


@pytest.mark.parametrize("size, mode", [(7, "reflect"), (31, "edge")])
def test_running_median_is_that_of_each_window(size, mode):
    # Equal values, as whole counts are, change places with each other.
    values = np.random.default_rng(0).poisson(3.0, (5, 200)).astype(float)
    padded = np.pad(values, ((0, 0), (size // 2, size // 2)), mode=mode)
    expected = np.median(sliding_window_view(padded, size, axis=-1), axis=-1)
    np.testing.assert_array_equal(running_median(values, size, mode), expected)


def test_running_median_ends_where_there_are_no_numbers():
    values = np.ones((2, 40))
    values[0, 20] = np.nan
    np.testing.assert_array_equal(running_median(values, 7, "edge")[1], 1.0)


def test_channels_stand_out_of_those_two_steps_beside():
    counts = np.random.default_rng(0).poisson(20.0, (30, 100)).astype(float)
    counts[3, 50] = counts[4, 0] = counts[5, 98] = np.nan
    padded = np.pad(counts, ((0, 0), (2, 2)), constant_values=np.nan)
    left, right = padded[:, :-4], padded[:, 4:]
    edges = np.arange(100)
    # At the edges the only channel beside stands for both.
    left = np.where(edges < 2, right, left)
    right = np.where(edges >= 98, left, right)
    low, high = np.minimum(left, right), np.maximum(left, right)
    above = counts - high > 2 * np.sqrt(1.5 * np.maximum(high, 1.2) + 3)
    below = low - counts > 2 * np.sqrt(1.5 * np.maximum(low, 1.2) + 3)
    marked = np.zeros(counts.shape, bool)
    mark_apart(counts, sigmas=2.0, gain=1.5, least=1.2, variance=3.0, marked=marked)
    assert 10 < marked.sum() < 1000
    np.testing.assert_array_equal(marked, above | below)


@pytest.mark.parametrize("reach", [0, 1])
def test_crossings_are_the_first_channels_below(reach):
    """On slopes of noise the first channel below is not the last one above; or there is none."""
    rng = np.random.default_rng(0)
    spectra = 50 / (1 + (np.arange(-60, 60) / 20) ** 2) + rng.normal(0, 5, (40, 120))
    channel, half = rng.integers(50, 70, 40), rng.uniform(0, 40, 40)
    around = np.pad(spectra, ((0, 0), (reach, reach)), mode="edge")
    smooth = sliding_window_view(around, 2 * reach + 1, axis=-1).mean(-1)
    rows = np.arange(5, 40)
    left, right = np.empty((2, rows.size), int)
    find_crossings(spectra, rows, channel, half=half, reach=reach, left=left, right=right)
    for i, row in enumerate(rows):
        below = np.flatnonzero(smooth[row] < half[row])
        assert left[i] == below[below < channel[row]].max(initial=-1)
        assert right[i] == below[below > channel[row]].min(initial=120)


def test_sums_take_fractions_of_channels():
    """A sum up to any place is the integral of counts that are evenly spread in each channel."""
    rng = np.random.default_rng(0)
    spectra = rng.normal(10, 5, (300, 50))
    limits = rng.uniform(-10, 60, (3, 300))
    limits[:, :4] = [[3.2, 7.0, -5.0, np.nan], [3.9, 9.0, 60.0, np.nan], [50.0, 49.0, -1.0, np.nan]]
    sums = np.empty((3, 300))
    sum_peaks(spectra, limits, sums)
    for row in range(300):
        until = np.append(0.0, np.cumsum(spectra[row]))
        low, high, beyond = np.interp(np.nan_to_num(limits[:, row]), np.arange(51), until)
        between = high - low if limits[0, row] < limits[1, row] else 0.0
        np.testing.assert_allclose(
            sums[:, row], [between, until[-1], until[-1] - beyond], atol=1e-9
        )
