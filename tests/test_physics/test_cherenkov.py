# SPDX-License-Identifier: GPL-3.0-or-later
"""Electrons faster than light: thresholds, probabilities against draws, spectra without an answer."""

import numpy as np
import pytest

from hyperspy_zlpml.data import ALUMINIUM, SEMICONDUCTOR
from hyperspy_zlpml.physics import Beam
from hyperspy_zlpml.physics.cherenkov import excess_of_epsilon, excess_of_index
from hyperspy_zlpml.physics.retardation import cherenkov_threshold

ENERGY = 0.1 * np.arange(1, 400)
EPSILON = SEMICONDUCTOR.epsilon(ENERGY)
#: Everything above 1 eV.
ALL = np.array([1.0]), np.array([np.inf])


def errors_of(std):
    """Statistical and systematic parts of an error."""
    return 0.6 * std, 0.8 * std


def found(std=0.2, window=ALL, epsilon=EPSILON, kilovolts=200.0):
    beam = Beam(energy=kilovolts, collection_angle=15.0)
    return excess_of_epsilon(ENERGY, epsilon[None], errors_of(np.full((1, 399), std)), beam, window)


def test_thresholds_are_those_of_the_tables():
    """Egerton's table of (v/c)^2."""
    for kilovolts, expected in ((30, 9.27), (60, 5.02), (100, 3.33), (200, 2.07), (300, 1.66)):
        assert cherenkov_threshold(Beam(kilovolts, 15.0)) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    "kilovolts, low, high", [(200.0, 0.99, 1), (60.0, 0.99, 1), (20.0, 0, 0.01)]
)
def test_fast_electrons_are_told_from_slow_ones(kilovolts, low, high):
    """K10: eps1 is 8.7 at most, at 4 eV; (c/v)^2 is 2.07, 5.02 and 13.5."""
    one = found(kilovolts=kilovolts)
    assert low <= one.probability[0] <= high
    assert one.energy[0] == pytest.approx(3.9, abs=0.15)
    assert one.excess[0] == pytest.approx(
        EPSILON.real.max() - cherenkov_threshold(Beam(kilovolts, 1.0))
    )
    assert np.hypot(one.std, one.systematic)[0] == pytest.approx(0.2)


def test_only_energies_between_the_two_count():
    window = np.array([15.0]), np.array([17.0])
    one = found(window=window)
    inside = (ENERGY >= 15) & (ENERGY <= 17)
    assert one.excess[0] == pytest.approx(EPSILON.real[inside].max() - 2.068, abs=1e-3)
    assert one.probability[0] < 1e-6


def test_probability_is_that_of_draws_that_move_all_energies():
    beam = Beam(energy=30.0, collection_angle=15.0)
    rng = np.random.default_rng(0)
    moved = EPSILON.real + 0.8 * rng.standard_normal(20000)[:, None]
    drawn = (moved[:, ENERGY >= 1] > cherenkov_threshold(beam)).any(-1).mean()
    one = excess_of_epsilon(ENERGY, EPSILON[None], errors_of(np.full((1, 399), 0.8)), beam, ALL)
    assert one.probability[0] == pytest.approx(drawn, abs=0.01)
    assert 0.1 < drawn < 0.9


def test_losses_are_as_many_times_more_as_the_design_says():
    """Phantom at 200 kV: 6.6 in 1-2 eV, 1.31 in 5-10 eV; 2.1 and 1.09 at 60 kV."""
    for kilovolts, low, high, expected in (
        (200.0, 1.0, 2.0, 6.6), (200.0, 5.0, 10.0, 1.31), (60.0, 1.0, 2.0, 2.1), (60.0, 5.0, 10.0, 1.09),
    ):  # fmt: skip
        window = np.array([low]), np.array([high])
        ratio = found(window=window, kilovolts=kilovolts).ratio[0]
        assert ratio == pytest.approx(expected, rel=0.05)


def test_metals_hold_no_light():
    assert found(epsilon=ALUMINIUM.epsilon(ENERGY)).probability[0] < 1e-3


@pytest.mark.parametrize(
    "epsilon, window",
    [
        (np.full(399, np.nan + 0j), ALL),
        (EPSILON, (np.array([50.0]), np.array([60.0]))),
        (EPSILON, (np.array([np.nan]), np.array([np.inf]))),
    ],
)
def test_spectra_without_an_answer(epsilon, window):
    one = found(epsilon=epsilon, window=window)
    assert all(np.isnan(values).all() for values in one)


def test_spectra_are_treated_alone():
    epsilon = np.array([EPSILON, np.full(399, np.nan), 0.5 * EPSILON])
    std, window = np.full((3, 399), 0.2), (np.ones(3), np.full(3, 9.0))
    beam = Beam(energy=80.0, collection_angle=15.0)
    together = excess_of_epsilon(ENERGY, epsilon, errors_of(std), beam, window)
    for i in range(3):
        rows = [i]
        own = [one[rows] for one in window]
        alone = excess_of_epsilon(ENERGY, epsilon[rows], errors_of(std[rows]), beam, own)
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other[rows])


# --- index alone ----------------------------------------------------------------------------------


def test_an_index_is_fast_above_c_over_v():
    beam = Beam(energy=200.0, collection_angle=15.0)
    critical = np.sqrt(cherenkov_threshold(beam))
    index = critical + np.array([-0.1, 0.0, 0.1, np.nan])
    one = excess_of_index(index, errors_of(np.full(4, 0.1)), beam)
    np.testing.assert_allclose(one.probability, [0.159, 0.5, 0.841, np.nan], atol=1e-3)
    np.testing.assert_allclose(one.excess[:3], index[:3] ** 2 - critical**2)
    np.testing.assert_allclose(one.std[:3], 0.6 * 0.2 * index[:3])
    np.testing.assert_allclose(one.systematic[:3], 0.8 * 0.2 * index[:3])
    exact = excess_of_index(index, np.zeros((2, 4)), beam)
    np.testing.assert_array_equal(exact.probability, [0, 0, 1, np.nan])


def test_no_light_goes_with_electrons_in_a_metal():
    """Its eps1 falls to minus infinity below all losses."""
    index, beam = np.array([np.inf, 2.6]), Beam(energy=200.0, collection_angle=5.0)
    one = excess_of_index(index, np.zeros((2, 2)), beam)
    np.testing.assert_array_equal(one.probability, [0.0, 1.0])
    assert np.isnan([one.excess[0], one.std[0], one.systematic[0]]).all()
