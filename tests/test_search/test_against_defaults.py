# SPDX-License-Identifier: GPL-3.0-or-later
"""A gain that is none is called one as rarely as is said."""

import re

import numpy as np
import pytest
from scipy import stats

from hyperspy_zlpml.search.comparison import FALSE_ALARMS, compare
from hyperspy_zlpml.search.scores import kind_weights, kinds_of

N_SPECTRA = 60
KIND = (np.arange(N_SPECTRA) < 20).astype(int)
WEIGHTS = kind_weights(KIND)


def compared(seed, gain=0.0, n_trainings=5, of_training=0.02, of_spectra=0.1):
    """Two sets of trainings whose scores differ by what all spectra share, and by their own."""
    rng = np.random.default_rng(seed)
    common = rng.normal(-1.5, 0.5, N_SPECTRA)  # some spectra are harder than others

    def scores():
        shared = of_training * rng.standard_normal((n_trainings, 1))
        own = of_spectra * rng.standard_normal(N_SPECTRA)
        return common + shared + own + 0.02 * rng.standard_normal((n_trainings, N_SPECTRA))

    return compare(scores() + gain, scores(), KIND)


@pytest.mark.parametrize("n_trainings, of_training, of_spectra", [
    (5, 0.02, 0.1), (5, 0.05, 0.0), (3, 0.05, 0.0), (10, 0.0, 0.1),
])  # fmt: skip
def test_false_alarms_are_as_rare_as_is_said(n_trainings, of_training, of_spectra):
    # This test itself fails by chance once in ten thousand: seeds are fixed.
    n = 1000
    rate = np.mean(
        [compared(s, 0.0, n_trainings, of_training, of_spectra).is_gain for s in range(n)]
    )
    assert rate <= stats.binom.ppf(1 - 1e-4, n, FALSE_ALARMS) / n


@pytest.mark.parametrize("n_vacuum, n_specimen", [
    (1, 24), (2, 24), (3, 24), (5, 7), (6, 6), (12, 12), (6, 60),
])  # fmt: skip
def test_few_spectra_of_a_kind_raise_no_more_alarms(n_vacuum, n_specimen):
    """Vacuum scores vary three times as much as those of the specimen; trainings differ little."""
    n, n_spectra = 1000, n_vacuum + n_specimen
    is_vacuum = np.arange(n_spectra) < n_vacuum
    (kind,) = kinds_of(is_vacuum)
    spread = np.where(is_vacuum, 0.3, 0.1)
    alarms = 0
    for seed in range(n):
        rng = np.random.default_rng(seed)
        own = spread * rng.standard_normal((2, 1, n_spectra))
        one, other = own + 0.01 * rng.standard_normal((2, 5, n_spectra))
        alarms += compare(one, other, kind).is_gain
    assert alarms <= stats.binom.ppf(1 - 1e-4, n, FALSE_ALARMS)


def test_kinds_of_equal_size_vary_about_their_own_means():
    rng = np.random.default_rng(0)
    for n_vacuum in (12, 13):
        kind = (np.arange(25) < n_vacuum).astype(int)[: 12 + n_vacuum]
        apart = np.where(kind, 1.0, -1.0) + rng.normal(0, 0.02, (5, kind.size))
        found = compare(apart, np.zeros_like(apart), kind)
        assert found.error < 0.02


def test_vacuum_counts_apart_where_there_is_enough_of_both():
    for n_vacuum, apart in (
        (0, False),
        (5, False),
        (6, True),
        (14, True),
        (15, False),
        (20, False),
    ):
        one, other = kinds_of(np.arange(20) < 10, np.arange(20) < n_vacuum)
        assert one.any() == apart
        assert other.any() == apart


def test_few_spectra_tell_an_error_less_well():
    scores = np.random.default_rng(0).normal(size=(20, 16))
    kind = (np.arange(16) < 6).astype(int)
    assert compare(scores, scores + 1, kind).n_free == 5
    assert compare(scores[:3], scores[:3] + 1, kind).n_free == 2


def test_without_the_variation_of_trainings_there_would_be_many():
    """What spectra share does not average out over them: a naive error is far too small."""
    naive = []
    for seed in range(200):
        found = compared(seed, of_training=0.05, of_spectra=0.02)
        own = 0.035 * np.sqrt((WEIGHTS**2).sum())
        naive.append(found.gain > stats.norm.ppf(1 - FALSE_ALARMS) * own)
    assert np.mean(naive) > 0.1


def test_gains_and_losses_that_are_there_are_found():
    assert np.mean([compared(s, gain=0.2).is_gain for s in range(100)]) > 0.95
    assert np.mean([compared(s, gain=-0.2).is_loss for s in range(100)]) > 0.95


def test_the_same_scores_are_no_gain():
    scores = np.random.default_rng(0).normal(size=(5, N_SPECTRA))
    found = compare(scores, scores, KIND)
    assert (found.gain, found.error, found.is_gain, found.is_loss) == (0, 0, False, False)
    assert found.score == found.default_score == pytest.approx(scores.mean(0) @ WEIGHTS)


@pytest.mark.parametrize("gain, words", [
    (0.0, "no gain over the defaults"),
    (1.0, "significant gain against the defaults: [+]"),
    (-1.0, "significant loss against the defaults: -"),
])  # fmt: skip
def test_it_says_so_in_a_sentence(gain, words):
    found = compared(2, gain=gain, of_spectra=0.01)
    assert re.match(words, str(found))
