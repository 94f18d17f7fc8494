# SPDX-License-Identifier: GPL-3.0-or-later
"""Replicas are distributed as the data say."""

import numpy as np
import pytest
from cluster_spectra import N_GROUPS, U, cluster

from hyperspy_zlpml.registration.variation import ClusterSpectra
from hyperspy_zlpml.training.replicas import (
    DRAW,
    check_replicas,
    draw_gaussian,
    draw_limits,
    draw_size,
    draw_spectra,
)

# --- drawing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DRAW)
def test_shape_and_seed_of_drawn_replicas(kind):
    clusters = [cluster(9, seed=1), cluster(5, seed=2, n_used=20), cluster(1, seed=3)]
    one, same, other = (DRAW[kind](clusters, 7, np.random.default_rng(s)) for s in (0, 0, 1))
    assert one.shape == (7, 3, N_GROUPS)
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("kind", DRAW)
def test_values_of_unused_groups_are_not_drawn(kind):
    one = cluster(8, n_used=25)
    spoiled = np.where(one.used, one.ratio, np.nan)
    other = ClusterSpectra(spoiled, one.variance, one.used, U, 14.0)
    drawn = DRAW[kind]([other], 4, np.random.default_rng(0))
    same = DRAW[kind]([one], 4, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, same)


def test_gaussian_replicas_have_the_mean_and_errors_of_the_data():
    # Roest 2021, eq. 3.3: statistical errors are independent from point to point and cluster to
    # cluster. Moments of 4000 replicas: standard errors of 1.6 % and 2.2 %.
    clusters = [cluster(100, seed=1), cluster(60, mean=1.3, seed=2)]
    drawn = draw_gaussian(clusters, 4000, np.random.default_rng(0))
    for number, one in enumerate(clusters):
        mean, error = one.mean
        np.testing.assert_allclose(drawn[:, number].mean(0), mean, atol=5 * error.max() / 63)
        np.testing.assert_allclose(drawn[:, number].std(0), error, rtol=0.08)
    between = np.corrcoef(drawn[:, 0, 0], drawn[:, 1, -1])[0, 1]
    assert abs(between) < 5 / np.sqrt(4000)


def test_groups_that_nobody_uses_are_the_reference():
    one = cluster(30, n_used=25)
    drawn = draw_gaussian([one], 5, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn[..., 25:], 1.0)


def test_the_cluster_that_made_the_reference_is_drawn_with_it():
    # Its statistical errors are those of the reference, which every replica draws anyway.
    one = cluster(30)
    vacuum = ClusterSpectra(one.ratio, one.variance, one.used, U, 14.0, is_reference=True)
    drawn = draw_gaussian([vacuum, one], 6, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn[:, 0], np.broadcast_to(vacuum.mean[0], (6, N_GROUPS)))
    assert (drawn[:, 1].std(0) > 0).all()


def test_single_spectra_are_drawn_where_they_are_good_enough():
    one = cluster(15, sigma=0.005)
    assert draw_size(one) == 1
    drawn = draw_spectra([one], 200, np.random.default_rng(0))[:, 0]
    index = np.abs(drawn[:, None] - one.ratio).max(-1).argmin(-1)
    np.testing.assert_allclose(drawn, one.ratio[index], atol=1e-12)
    assert np.unique(index).size == 15  # a spectrum is missed with probability 1e-6


def test_noisy_spectra_are_averaged():
    # Averages of m spectra drawn with replacement: their scatter is that of one over sqrt(m).
    noisy = cluster(300, sigma=0.1)
    size = draw_size(noisy)
    assert 25 < size < 300
    drawn = draw_spectra([noisy], 600, np.random.default_rng(0))[:, 0]
    sigma = np.sqrt(np.median(noisy.variance, axis=0) / size)
    assert np.median(drawn.std(0) / sigma) == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(drawn.mean(0), noisy.mean[0], atol=6 * sigma.max() / np.sqrt(600))


@pytest.mark.parametrize("sigma, expected", [(0.02, 1), (0.04, 4), (0.1, 25), (10.0, 50)])
def test_size_of_a_draw_brings_the_flank_to_two_percent(sigma, expected):
    # n = (sigma / 0.02)**2, at most all 50.
    variance = np.full((50, N_GROUPS), (0.9999 * sigma) ** 2)
    one = ClusterSpectra(np.ones_like(variance), variance, variance > 0, U, 14.0)
    assert draw_size(one) == expected


def test_without_a_flank_one_spectrum_is_drawn():
    one = cluster(10)
    core = np.broadcast_to(np.abs(U) < 1, one.used.shape)
    assert draw_size(ClusterSpectra(one.ratio, one.variance, core, U, 14.0)) == 1


@pytest.mark.parametrize("kind", DRAW)
def test_a_cluster_of_one_spectrum(kind):
    single = cluster(1, sigma=1e-3)
    drawn = DRAW[kind]([single], 50, np.random.default_rng(0))[:, 0]
    # Gaussian replicas scatter by the spectrum's noise, drawn ones are the spectrum itself.
    sigma = np.sqrt(single.variance[0])
    assert (np.abs(drawn - single.ratio[0]) < 5 * sigma).all()


def test_limits_are_lowered_by_a_uniform_fraction():
    limits = np.array([2.0, 5.0, np.inf])
    drawn = draw_limits(limits, 2000, np.random.default_rng(0), 0.3)
    assert drawn.shape == (2000, 3)
    assert np.isinf(drawn[:, 2]).all()
    fraction = drawn[:, :2] / limits[:2]
    assert fraction.min() > 0.7
    assert fraction.max() <= 1
    # Uniform between 0.7 and 1: mean 0.85 +- 0.002, width 0.3 / sqrt(12).
    np.testing.assert_allclose(fraction.mean(0), 0.85, atol=0.01)
    np.testing.assert_allclose(fraction.std(0), 0.3 / np.sqrt(12), rtol=0.06)
    np.testing.assert_array_equal(draw_limits(limits, 3, np.random.default_rng(0), 0.0)[0], limits)


# --- what can be drawn ----------------------------------------------------------------------------


@pytest.mark.parametrize("n_replicas", [2, 100, np.int64(7)])
@pytest.mark.parametrize("kind", DRAW)
def test_numbers_and_kinds_of_replicas(n_replicas, kind):
    check_replicas(n_replicas, kind)


@pytest.mark.parametrize(
    "n_replicas", [1, 0, -5, 10_001, 10.0, np.float64(10), True, "10", None, [10]]
)
def test_numbers_of_replicas_that_are_none(n_replicas):
    with pytest.raises(ValueError, match="n_replicas: expected an integer from 2 to 10000, got "):
        check_replicas(n_replicas, "gaussian")


@pytest.mark.parametrize("kind", ["Gaussian", "", None, 3, ["gaussian"], {}])
def test_kinds_of_replicas_that_are_none(kind):
    message = r"replica_kind: expected one of \['gaussian', 'spectra'\], got "
    with pytest.raises(ValueError, match=message):
        check_replicas(10, kind)
