# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of channels: they tile the axis, grow with distance, and their sums are plain sums."""

import numpy as np
import pytest

from hyperspy_zlpml.zlp.groups import make_groups

SIZES = [(18.0, 160, 1890), (5.0, 20, 80), (60.0, 1000, 1000), (1.0, 3, 40), (200.0, 7, 3)]


@pytest.mark.parametrize("per_fwhm, before, after", SIZES)
def test_groups_tile_what_they_are_asked_to_cover(per_fwhm, before, after):
    groups = make_groups(per_fwhm, before, after)
    assert (groups.n_channels >= 1).all()
    assert groups.edges.size == groups.size + 1
    assert groups.edges[0] <= -before
    assert groups.edges[-1] >= after
    assert groups.n_channels.sum() == groups.edges[-1] - groups.edges[0]


@pytest.mark.parametrize("per_fwhm, before, after", SIZES)
def test_groups_are_fine_in_the_core_and_grow_by_five_percent(per_fwhm, before, after):
    groups = make_groups(per_fwhm, before, after)
    finest = max(1, round(per_fwhm / 12))
    nearest_edge = np.minimum(np.abs(groups.edges[:-1]), np.abs(groups.edges[1:]))
    assert (groups.n_channels >= finest).all()
    assert (groups.n_channels <= np.maximum(finest, 0.05 * nearest_edge)).all()


@pytest.mark.parametrize("per_fwhm", [1.0, 12.0, 18.0, 30.0, 100.0])
def test_the_group_of_the_peak_is_centred_on_it(per_fwhm):
    groups = make_groups(per_fwhm, 500, 500)
    assert np.abs(groups.middle).min() <= 0.5


def test_two_thousand_channels_become_few_groups():
    assert make_groups(18.0, 160, 1890).size < 250


@pytest.mark.parametrize("dtype", [float, np.uint16, np.int32])
def test_sums_are_those_of_a_plain_loop(dtype):
    rng = np.random.default_rng(0)
    counts = rng.poisson(2e4, (5, 120)).astype(dtype)
    channel = np.array([0, 20, 40, 60, 119])
    groups = make_groups(6.0, 50, 90)
    sums, complete = groups.collect(counts, channel)
    for i, spectrum in enumerate(counts):
        for g in range(groups.size):
            first, last = channel[i] + groups.edges[g], channel[i] + groups.edges[g + 1]
            on_axis = first >= 0 and last <= 120
            assert complete[i, g] == on_axis
            expected = float(sum(int(v) for v in spectrum[first:last])) if on_axis else 0.0
            assert sums[i, g] == pytest.approx(expected)


def test_no_counts_are_lost_or_counted_twice():
    counts = np.zeros((4, 300))
    channel = np.array([100, 120, 150, 160])
    rng = np.random.default_rng(1)
    for row, peak in zip(counts, channel, strict=True):
        row[peak - 60 : peak + 90] = rng.poisson(50, 150)
    sums, _ = make_groups(10.0, 90, 110).collect(counts, channel)
    np.testing.assert_allclose(sums.sum(-1), counts.sum(-1))


def test_groups_follow_the_peak_of_each_spectrum():
    shape = np.random.default_rng(2).poisson(100, 400).astype(float)
    counts = np.stack([np.roll(shape, k) for k in (0, 11, -7)])
    groups = make_groups(8.0, 60, 60)
    sums, complete = groups.collect(counts, np.array([200, 211, 193]))
    assert complete.all()
    np.testing.assert_allclose(sums[1:], sums[[0, 0]])


def test_middle_is_the_mean_channel():
    groups = make_groups(20.0, 50, 100)
    for middle, first, last in zip(groups.middle, groups.edges[:-1], groups.edges[1:], strict=True):
        assert middle == pytest.approx(np.arange(first, last).mean())


def test_spectra_cut_about_their_peaks_give_the_same_groups():
    groups = make_groups(20.0, 60, 120)
    counts = np.random.default_rng(0).poisson(50.0, (3, 150)).astype(float)
    channel = np.array([40, 55, 60])
    sums, complete = groups.collect(counts, channel)
    aligned = np.zeros((3, groups.edges[-1] - groups.edges[0]))
    for row, spectrum, first in zip(aligned, counts, -groups.edges[0] - channel, strict=True):
        row[first : first + 150] = spectrum
    again, complete_again = groups.collect_aligned(aligned, channel, 150)
    np.testing.assert_allclose(again, sums, atol=1e-9)
    np.testing.assert_array_equal(complete_again, complete)
    assert complete.any()
    assert not complete.all()
