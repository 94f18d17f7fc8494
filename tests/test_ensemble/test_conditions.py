# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the microscope: how they scale, what is no setting, and what follows from them."""

import inspect
from itertools import product

import numpy as np
import pytest

from hyperspy_zlpml.ensemble.conditions import (
    _TAKEN,
    LAWS,
    MOST_SETTINGS,
    TIMES,
    UNITS,
    Conditions,
    check_condition_names,
    check_conditions,
)
from hyperspy_zlpml.ensemble.ensemble import Ensemble

NAMES = ("beam_energy", "exposure")
SETTINGS = np.array(list(product((60.0, 100.0, 200.0), (0.1, 0.2, 0.4))))
SPREAD = (0.03, 0.01)


def rate_of(settings):
    """ln of the counts per second: a power of the beam energy."""
    return 15 + 0.6 * np.log(settings[:, 0] / 100)


def conditions(settings=SETTINGS, names=NAMES, log_n0=None, n_replicas=5, seed=0):
    """At a rate of counts that the time does not change, unless ln N0 is given."""
    settings = np.asarray(settings, float)
    if log_n0 is None:
        log_n0 = rate_of(settings) + np.log(settings[:, 1])
    log_fwhm = -1 + 0.1 * np.log(np.maximum(settings[:, 0], 1) / 100)
    scores = np.random.default_rng(seed).standard_normal((n_replicas, 2))
    errors = np.full((len(settings), 2), 1e-3)
    return Conditions.of(
        names,
        settings,
        log_n0=log_n0,
        log_fwhm=log_fwhm,
        errors=errors,
        spread=SPREAD,
        scores=scores,
    )


# --- scaling --------------------------------------------------------------------------------------


def test_settings_trained_at_lie_between_minus_one_and_one():
    one = conditions()
    scaled = one.scaled(SETTINGS)
    np.testing.assert_allclose(scaled.min(0), [-1, -1])
    np.testing.assert_allclose(scaled.max(0), [1, 1])
    # Equal ratios are equal steps.
    np.testing.assert_allclose(one.scaled([60, 0.2])[1], 0, atol=1e-12)
    np.testing.assert_allclose(
        one.scaled([100, 0.1])[0], 2 * np.log(100 / 60) / np.log(200 / 60) - 1
    )
    assert one.scaled(np.zeros((4, 3, 2)) + 1.0).shape == (4, 3, 2)


def test_what_is_positive_everywhere_counts_by_its_logarithm():
    settings = [[1.0, -2.0, 0.0], [10.0, 0.0, 5.0], [100.0, 6.0, 20.0]]
    one = conditions(settings, ("current", "defocus", "tilt"), np.zeros(3))
    assert one.logarithmic == (True, False, False)
    np.testing.assert_allclose(one.scaled(settings)[1], [0, -0.5, -0.5], atol=1e-12)
    # Straight in what has no logarithm, beyond the settings and on the other side of zero too.
    np.testing.assert_allclose(one.scaled([1000, -6, -10]), [2, -2, -2])


def test_the_middle_is_that_of_the_scale():
    assert conditions().middle == pytest.approx((np.sqrt(60 * 200), np.sqrt(0.1 * 0.4)))
    one = conditions([[1.0, -2.0], [100.0, 6.0], [3.0, 0.0]], ("current", "defocus"), np.zeros(3))
    assert one.middle == pytest.approx((10, 2))
    np.testing.assert_allclose(one.scaled(one.middle), [0, 0], atol=1e-12)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_units_of_a_logarithmic_condition_do_not_matter(unit):
    # V, kV, MV: only where the settings lie between one another counts.
    one, other = conditions(), conditions(SETTINGS * [unit, 1], log_n0=conditions().values[:, 0])
    at = np.array([[80.0, 0.3], [400.0, 0.05]])
    np.testing.assert_allclose(other.scaled(at * [unit, 1]), one.scaled(at), atol=1e-12)


def test_distance_outside_is_counted_in_half_ranges():
    one = conditions()
    half = np.sqrt([200 / 60, 0.4 / 0.1])
    assert [one.outside(setting) for setting in SETTINGS] == [0.0] * 9
    assert one.outside((111.0, 0.39)) == 0.0
    assert one.outside((200 * half[0], 0.2)) == pytest.approx(1)
    assert one.outside((100, 0.1 / half[1] ** 3)) == pytest.approx(3)
    both = one.outside((60 / half[0] ** 2, 0.4 * half[1]))
    assert both == pytest.approx(np.hypot(2, 1))
    assert isinstance(both, float)


# --- what is given --------------------------------------------------------------------------------


def test_given_values_are_put_in_order():
    one = conditions()
    assert one.checked({"exposure": 0.3, "beam_energy": 80}) == (80.0, 0.3)
    numbers = {"exposure": np.float32(0.5), "beam_energy": np.int64(300)}
    assert one.checked(numbers) == (300.0, 0.5)
    assert all(type(value) is float for value in one.checked(numbers))


EXPECTED = r"conditions: expected a value for each of \['beam_energy', 'exposure'\], got "


@pytest.mark.parametrize("given, message", [
    ({}, EXPECTED + r"\[\]"),
    ({"beam_energy": 80}, EXPECTED + r"\['beam_energy'\]"),
    ({"beam_energy": 80, "exposure": 1, "spot": 3}, EXPECTED + ".*'spot'"),
    ({"beam_energy": 80, "dwell_time": 1}, EXPECTED + r"\['beam_energy', 'dwell_time'\]"),
    ({"beam_energy": "80", "exposure": 1}, "beam_energy: expected a positive number, got '80'"),
    ({"beam_energy": 80, "exposure": [0.1]}, r"exposure: expected a positive number, got \[0\.1\]"),
    ({"beam_energy": None, "exposure": 1}, "beam_energy: expected a positive number, got None"),
    ({"beam_energy": True, "exposure": 1}, "beam_energy: expected a positive number, got True"),
    ({"beam_energy": np.nan, "exposure": 1}, "beam_energy: expected a positive number.*nan"),
    ({"beam_energy": 80, "exposure": np.inf}, "exposure: expected a positive number.*inf"),
    ({"beam_energy": 0, "exposure": 1}, "beam_energy: expected a positive number, got 0"),
    ({"beam_energy": 80, "exposure": -0.1}, "exposure: expected a positive number.*-0.1"),
    ({"beam_energy": 80, "exposure": 1j}, "exposure: expected a positive number, got 1j"),
])  # fmt: skip
def test_values_that_are_no_setting(given, message):
    with pytest.raises(ValueError, match=message):
        conditions().checked(given)


def test_what_has_no_logarithm_may_be_zero_or_negative():
    one = conditions([[1.0, -2.0], [100.0, 6.0], [3.0, 0.0]], ("current", "defocus"), np.zeros(3))
    assert one.checked({"current": 1, "defocus": 0}) == (1.0, 0.0)
    assert one.checked({"current": 1, "defocus": -50}) == (1.0, -50.0)
    with pytest.raises(ValueError, match="defocus: expected a finite number, got nan"):
        one.checked({"current": 1, "defocus": np.nan})


# --- what can be a condition ----------------------------------------------------------------------


def test_no_condition_is_called_like_a_parameter_of_predict():
    """A condition of that name could not be given."""
    parameters = inspect.signature(Ensemble.predict).parameters
    assert tuple(parameters) == _TAKEN
    # The last one takes the conditions.
    assert parameters[_TAKEN[-1]].kind is inspect.Parameter.VAR_KEYWORD


@pytest.mark.parametrize("name", _TAKEN)
def test_names_of_parameters_are_refused(name):
    with pytest.raises(ValueError, match=rf"no arguments of Ensemble.predict, got \['{name}'\]"):
        check_condition_names(["beam_energy", name])


@pytest.mark.parametrize("names", [[], ["a"], UNITS.keys() - {"dwell_time"}, ["größe", "_x", "n1"]])
def test_names_of_conditions(names):
    check_condition_names(names)


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a.b", "a b"])
def test_names_that_no_keyword_can_have(name):
    with pytest.raises(ValueError, match="expected names that can be keywords"):
        check_condition_names([name])


def test_there_are_no_more_settings_than_a_file_may_hold():
    values = np.linspace(1, 2, MOST_SETTINGS + 1)[:, None]
    check_conditions(("current",), values[:-1])
    message = f"conditions: expected at most {MOST_SETTINGS} settings, got {MOST_SETTINGS + 1}"
    with pytest.raises(ValueError, match=message):
        check_conditions(("current",), values)


def test_conditions_are_told_apart_on_the_scales_that_they_count_by():
    # The logarithm of what is positive everywhere, else the number itself.
    tilt = np.array([-1.0, 0.0, 1.0, 2.0])
    check_conditions(("tilt", "current"), np.stack([tilt, tilt + 2], -1))
    with pytest.raises(ValueError, match="expected tilt, current to change independently"):
        check_conditions(("tilt", "current"), np.stack([tilt, 3 * np.exp(tilt)], -1))


# --- laws -----------------------------------------------------------------------------------------


def test_values_are_counts_per_second_and_widths():
    one = conditions()
    assert LAWS == ("log_rate", "log_fwhm")
    assert one.values.shape == (9, len(LAWS))
    np.testing.assert_allclose(one.values[:, 0], rate_of(SETTINGS))
    assert one.time == "exposure"
    assert set(TIMES) <= set(UNITS)


@pytest.mark.parametrize("exposure", [0.1, 0.15, 0.4, 1.6, 0.01])
def test_twice_the_time_is_twice_the_counts(exposure):
    # A constant rate is a law that does not depend on the time; within what it is uncertain by.
    one = conditions()
    (once, width), (sigma, _) = one.predicted((100.0, exposure))
    (twice, same_width), _ = one.predicted((100.0, 2 * exposure))
    assert twice - once == pytest.approx(np.log(2), abs=0.2 * sigma)
    assert twice - once == pytest.approx(np.log(2), abs=5e-3)
    assert same_width == pytest.approx(width, abs=5e-3)
    assert once == pytest.approx(15 + np.log(exposure), abs=5e-3)


def test_dwell_times_are_times():
    one = conditions(names=("beam_energy", "dwell_time"))
    assert one.time == "dwell_time"
    np.testing.assert_allclose(one.values[:, 0], rate_of(SETTINGS))


def test_without_a_time_counts_are_counts():
    log_n0 = rate_of(SETTINGS)
    one = conditions(names=("beam_energy", "spot"), log_n0=log_n0)
    assert one.time is None
    np.testing.assert_array_equal(one.values[:, 0], log_n0)
    (found, _), _ = one.predicted((100.0, 0.2))
    assert found == pytest.approx(15, abs=0.01)


def test_a_single_spectrum_scatters_more_than_the_law_is_uncertain():
    one = conditions()
    at = (120.0, 0.3)
    _, sigma = one.predicted(at)
    of_laws = np.array([law(one.scaled(at)[None])[1][0] for law in one.laws])
    np.testing.assert_allclose(sigma, np.hypot(of_laws, SPREAD))
    assert (sigma > SPREAD).all()
    assert (sigma < 2 * np.array(SPREAD)).all()


@pytest.mark.parametrize("at", [
    [(200, 0.2), (300, 0.2), (450, 0.2)],
    [(60, 0.2), (40, 0.2), (25, 0.2)],
    [(100, 0.4), (100, 0.8), (100, 1.6)],
    [(100, 0.1), (100, 0.05), (100, 0.025)],
])  # fmt: skip
def test_laws_are_less_certain_beyond_the_settings(at):
    one = conditions()
    sigmas = np.array([one.predicted(setting)[1] for setting in at])
    assert (np.diff(sigmas, axis=0) > 0).all()


# --- replicas -------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [(100.0, 0.2), (130.0, 0.15), (900.0, 3.0)])
def test_replicas_are_spread_as_the_laws_are_uncertain(setting):
    one = conditions(n_replicas=4000)
    mean, sigma = one.predicted(setting)
    replicas = np.array(one.of_replicas(setting))
    assert replicas.shape == (2, 4000)
    # 4000 normal numbers: means to sigma / 63, standard deviations to 1.1 %; four times that.
    assert (np.abs(replicas.mean(1) - mean) < 4 * sigma / np.sqrt(4000)).all()
    np.testing.assert_allclose(replicas.std(1), sigma, rtol=0.05)
    # Brightness and width are drawn by numbers of their own.
    assert abs(np.corrcoef(replicas)[0, 1]) < 4 / np.sqrt(4000)


def test_a_replica_keeps_its_place_at_every_setting():
    one = conditions()
    for setting in ((100.0, 0.2), (400.0, 1.0)):
        mean, sigma = one.predicted(setting)
        pulls = (np.array(one.of_replicas(setting)).T - mean) / sigma
        np.testing.assert_allclose(pulls, one.scores)


@pytest.mark.parametrize("chosen", [[3, 0], np.array([True, False, False, True, True])])
def test_some_of_the_replicas(chosen):
    one = conditions()
    few = one.select(chosen)
    for here, expected in zip(few.of_replicas((80, 0.3)), one.of_replicas((80, 0.3)), strict=True):
        np.testing.assert_array_equal(here, expected[chosen])
    np.testing.assert_array_equal(few.settings, one.settings)
    assert one.scores.shape == (5, 2), "the others are still there"


def test_inputs_are_not_modified():
    settings, log_n0 = SETTINGS.copy(), rate_of(SETTINGS)
    one = conditions(settings, log_n0=log_n0)
    one.predicted((80.0, 0.3))
    one.scaled(settings)
    np.testing.assert_array_equal(settings, SETTINGS)
    np.testing.assert_array_equal(log_n0, rate_of(SETTINGS))
