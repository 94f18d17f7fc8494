# SPDX-License-Identifier: GPL-3.0-or-later
"""The score is proper: nobody does better than by telling what is known, with the error that it has."""

import numpy as np
import pytest
from scipy import stats

from hyperspy_zlpml.search.scores import LOST, Scores, kind_weights, log_density


def test_it_is_the_logarithm_of_a_normal_density():
    rng = np.random.default_rng(0)
    error, width = rng.normal(size=50), rng.uniform(0.5, 3, 50)
    np.testing.assert_allclose(
        log_density(error / width, width), stats.norm.logpdf(error, scale=width), rtol=1e-12
    )


@pytest.mark.parametrize("claimed", [0.5, 0.8, 1.25, 2.0])
def test_no_claim_scores_better_than_the_error_there_is(claimed):
    error = np.random.default_rng(1).normal(size=20_000)
    honest, other = (log_density(error / w, np.full(error.size, w)) for w in (1.0, claimed))
    difference = honest - other
    assert difference.mean() > 5 * difference.std() / np.sqrt(error.size)


@pytest.mark.parametrize("bias", [0.2, 1.0])
def test_a_bias_costs_half_its_square(bias):
    error = np.random.default_rng(2).normal(size=200_000)
    one = np.ones(error.size)
    cost = (log_density(error, one) - log_density(error + bias, one)).mean()
    assert cost == pytest.approx(bias**2 / 2, abs=0.01 * bias + 0.002)


def test_a_spike_does_not_rule_and_nothing_is_worse_than_lost():
    densities = log_density(np.array([10.0, 1e6, np.nan, 1.0]), np.array([1.0, 1.0, 1.0, 1e30]))
    assert densities[0] == densities[1] > LOST
    assert densities[2] == densities[3] == LOST


def test_kinds_count_alike():
    rng = np.random.default_rng(3)
    is_vacuum = np.arange(40) < 5
    log_score, pull = rng.normal(size=40), rng.normal(size=(40, 4))
    scores = Scores(log_score, pull, pull, is_vacuum)
    of_kinds = [log_score[is_vacuum].mean(), log_score[~is_vacuum].mean()]
    assert scores.mean == pytest.approx(np.mean(of_kinds))
    assert scores.weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(kind_weights(np.zeros(4, bool)), 0.25)
    np.testing.assert_allclose(kind_weights(np.ones(4, bool)), 0.25)


def test_windows_without_channels_do_not_count():
    pull = np.array([[0.1, np.nan, 2.0, np.nan]])
    scores = Scores(np.array([-1.0]), pull, pull, np.zeros(1, bool))
    assert scores.coverage == 0.5
    assert scores.rms_error == pytest.approx(np.sqrt((0.1**2 + 2**2) / 2))


def test_spectra_that_were_lost_have_no_error_and_are_in_no_band():
    pull = np.array([[0.1, 0.2], [np.nan, np.nan]])
    scores = Scores(np.array([-1.0, LOST]), pull, 3 * pull, np.zeros(2, bool))
    assert scores.coverage == 0.5
    assert scores.rms_error == pytest.approx(np.sqrt((0.3**2 + 0.6**2) / 2))
    assert scores.mean == pytest.approx((LOST - 1) / 2)
