# SPDX-License-Identifier: GPL-3.0-or-later
"""Reductions over replicas: against plain NumPy, known distributions and exact decompositions."""

import numpy as np
import pytest
from scipy.stats import norm

from hyperspy_zlpml.statistics import (
    coverage,
    factorised,
    interval,
    inverted,
    principal_modes,
    pull,
    solved,
    without_outliers,
)

# --- interval -------------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.5, 0.68, 0.95])
@pytest.mark.parametrize("n", [1, 2, 25])
def test_interval_is_three_quantiles(confidence, n):
    samples = np.random.default_rng(0).normal(size=(n, 3, 4))
    median, lower, upper = interval(samples, confidence)
    np.testing.assert_allclose(median, np.median(samples, axis=0))
    for i in np.ndindex(3, 4):
        column = samples[(slice(None), *i)]
        assert lower[i] == pytest.approx(np.quantile(column, (1 - confidence) / 2))
        assert upper[i] == pytest.approx(np.quantile(column, (1 + confidence) / 2))


def test_interval_of_normal_samples_is_the_normal_interval():
    # Quantiles of 40 000 samples: standard error 0.007; five of them.
    samples = 3.0 + 2.0 * np.random.default_rng(1).standard_normal(40_000)
    median, lower, upper = interval(samples, 0.68)
    expected = 3.0 + 2.0 * norm.ppf([0.5, 0.16, 0.84])
    np.testing.assert_allclose([median, lower, upper], expected, atol=0.07)


@pytest.mark.parametrize("function", [np.exp, lambda x: 5.0 - x**3])
def test_intervals_commute_with_monotone_functions(function):
    # An odd number of samples and a confidence at which no quantile is interpolated.
    samples = np.random.default_rng(2).normal(size=(101, 6))
    median, lower, upper = interval(samples, 0.68)
    of_function = interval(function(samples), 0.68)
    assert function(samples[0, 0] + 0.1) != function(samples[0, 0])
    ends = np.sort(np.stack([function(lower), function(upper)]), axis=0)
    np.testing.assert_allclose(of_function[0], function(median))
    np.testing.assert_allclose(of_function[1:], ends)


# --- modes ----------------------------------------------------------------------------------------


def correlated(n=60, n_points=30, n_modes=3, noise=0.0, seed=3):
    rng = np.random.default_rng(seed)
    shapes = rng.normal(size=(n_modes, n_points)) * np.array([[3.0], [1.0], [0.3]])[:n_modes]
    samples = rng.standard_normal((n, n_modes)) @ shapes
    return samples + noise * rng.standard_normal((n, n_points)) + 7.0


def test_an_outlier_does_not_set_the_spread():
    # 99 normal samples and one far away: the spread stays that of the normal ones; their own
    # three in a thousand beyond three sigma are drawn in, which takes 0.5 % off it.
    samples = np.random.default_rng(0).standard_normal((100, 400))
    spoiled = samples.copy()
    spoiled[17] += 50.0
    spread = without_outliers(spoiled).std(0)
    assert spread.mean() == pytest.approx(1.0, abs=0.05)
    assert spread.max() < 1.4
    assert spoiled.std(0).min() > 4
    kept = np.abs(samples) < 2
    np.testing.assert_array_equal(without_outliers(samples)[kept].round(9), samples[kept].round(9))
    same = np.full((30, 4), 2.0)
    np.testing.assert_array_equal(without_outliers(same), same)


@pytest.mark.parametrize("most", [1, 2, 8])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_modes_and_rest_hold_the_whole_variance(most, noise):
    samples = correlated(noise=noise)
    modes, rest = principal_modes(samples, 1e-3, most)
    assert len(modes) <= most
    np.testing.assert_allclose((modes**2).sum(0) + rest**2, samples.var(0, ddof=1), rtol=1e-9)


def test_all_modes_are_the_whole_covariance():
    samples = correlated()
    modes, rest = principal_modes(samples, 1e-3, 8, explained=1 - 1e-12)
    assert len(modes) == 3
    np.testing.assert_allclose(modes.T @ modes, np.cov(samples.T), atol=1e-9)
    np.testing.assert_allclose(rest, 0, atol=1e-6)


@pytest.mark.parametrize("explained", [0.5, 0.9, 0.995])
def test_as_few_modes_as_explain_what_is_asked(explained):
    samples = correlated(noise=0.3)
    floor = 1e-6
    modes, _ = principal_modes(samples, floor, 99, explained)
    variance = samples.var(0, ddof=1)

    def fraction(these):
        return ((these**2).sum(0) / variance).sum() / variance.size

    assert fraction(modes) >= explained - 1e-9
    assert fraction(modes[:-1]) < explained


def test_a_precise_core_counts_as_much_as_a_wide_tail():
    rng = np.random.default_rng(4)
    core, tail = rng.standard_normal((2, 500, 1))
    samples = np.hstack([1e-2 * core * np.ones(20), 10.0 * tail * np.ones(20)])
    modes, rest = principal_modes(samples, 1e-4, 8)
    assert len(modes) == 2
    np.testing.assert_allclose(rest / samples.std(0), 0, atol=0.05)


def test_spread_below_the_floor_earns_no_mode():
    rng = np.random.default_rng(5)
    wide = rng.standard_normal((50, 1)) * np.ones(10)
    tiny = 1e-6 * rng.standard_normal((50, 10))
    modes, rest = principal_modes(np.hstack([wide, tiny]), 1e-3, 8)
    assert len(modes) == 1
    np.testing.assert_allclose(rest[10:], tiny.std(0, ddof=1), rtol=0.2)


@pytest.mark.parametrize("samples", [np.ones((1, 5)), np.ones((10, 5)), np.zeros((2, 5))])
def test_without_spread_there_is_no_mode(samples):
    modes, rest = principal_modes(samples, 1e-3, 8)
    assert modes.shape == (0, 5)
    np.testing.assert_allclose(rest, 0, atol=1e-12)


def test_two_samples_have_one_mode():
    samples = np.random.default_rng(6).normal(size=(2, 9))
    modes, rest = principal_modes(samples, 1e-3, 8)
    np.testing.assert_allclose(np.abs(modes), np.abs(samples[:1] - samples[1:]) / np.sqrt(2))
    np.testing.assert_allclose(rest, 0, atol=1e-7)


# --- measures -------------------------------------------------------------------------------------


def test_pull_is_in_units_of_the_error():
    np.testing.assert_allclose(pull(np.array([5.0, 1.0]), 3.0, np.array([2.0, 0.5])), [1.0, -4.0])


def test_coverage_counts_what_is_known():
    lower, upper = np.zeros(8), np.ones(8)
    truth = np.array([0.5, 0.0, 1.0, -0.1, 1.1, np.nan, 0.5, 0.5])
    lower[6], upper[7] = np.nan, np.inf
    assert coverage(lower, upper, truth) == pytest.approx(3 / 5)


def test_coverage_of_nothing_is_unknown():
    assert np.isnan(coverage(np.full(3, np.nan), np.ones(3), np.ones(3)))


def test_calibrated_bands_cover_what_they_say():
    # 20 000 trials: standard error 0.0033; four of them, 6e-5 false alarms.
    rng = np.random.default_rng(7)
    estimate = rng.standard_normal(20_000)
    half = norm.ppf(0.84)
    assert coverage(estimate - half, estimate + half, 0.0) == pytest.approx(0.68, abs=0.0132)


# --- moments and normal equations ---------------------------------------------------------------------


def moments_of(rng, n_data, sizes):
    """Second moments of some data whose numbers have these sizes."""
    data = rng.standard_normal((n_data, len(sizes))) * sizes
    return data.T @ data


@pytest.mark.parametrize("n_data", [1, 3, 4, 40])
@pytest.mark.parametrize("decades", [0, 3, 9])
def test_factors_are_those_of_moments_singular_or_not(n_data, decades):
    rng = np.random.default_rng(n_data + decades)
    sizes = 10.0 ** rng.uniform(-decades, decades, 4)
    moments = moments_of(rng, n_data, sizes)
    factor = factorised(moments)
    known = np.sqrt(np.diag(moments))
    np.testing.assert_array_equal(factor, np.tril(factor))
    np.testing.assert_allclose(
        (factor @ factor.T - moments) / np.outer(known, known), 0, atol=1e-11
    )


def test_regular_moments_are_inverted_and_solved_as_usual():
    rng = np.random.default_rng(0)
    moments = np.stack([moments_of(rng, 40, 10.0 ** rng.uniform(-8, 8, 4)) for _ in range(9)])
    right = rng.standard_normal((9, 4))
    np.testing.assert_allclose(inverted(moments), np.linalg.inv(moments), rtol=1e-9)
    np.testing.assert_allclose(
        solved(moments, right), np.linalg.solve(moments, right[..., None])[..., 0], rtol=1e-8
    )


@pytest.mark.parametrize("size", [1e-140, 1e-20, 1.0, 1e20, 1e140])
def test_too_few_data_are_met_by_the_solution_whatever_the_units(size):
    # Two data for four numbers: many solutions, of which each meets the data.
    rng = np.random.default_rng(1)
    design, data = rng.standard_normal((2, 4)) * size, rng.standard_normal(2)
    found = solved(design.T @ design, design.T @ data)
    np.testing.assert_allclose(design @ found, data, rtol=1e-4)


def test_numbers_of_which_nothing_is_known_are_left_alone():
    moments = np.diag([4.0, 0.0])
    np.testing.assert_allclose(factorised(moments), np.diag([2.0, 0.0]), atol=1e-11)
    np.testing.assert_allclose(solved(moments, np.array([8.0, 5.0])), [2.0, 0.0])
    np.testing.assert_allclose(inverted(moments), np.diag([0.25, np.inf]), atol=1e-11)


@pytest.mark.parametrize("place", [(0, 0), (0, 1)])
def test_moments_that_are_not_finite_give_no_numbers_and_leave_others_alone(place):
    moments = np.stack([np.diag([4.0, 1.0])] * 2)
    moments[0][place] = moments[0][place[::-1]] = np.nan
    right = np.ones((2, 2))
    for found, whole in (
        (factorised(moments), factorised(moments[1])),
        (inverted(moments), inverted(moments[1])),
        (solved(moments, right), solved(moments[1], right[1])),
    ):
        assert np.isnan(found[0]).all()
        np.testing.assert_array_equal(found[1], whole)
