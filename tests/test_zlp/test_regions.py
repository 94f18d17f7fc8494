# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions: an onset that lasts is found where it is, noise has none at the stated rate."""

import numpy as np
import pytest

from hyperspy_zlpml.zlp.regions import (
    NO_LIMIT,
    Hump,
    Regions,
    below_noise,
    bulge,
    check_limits,
    check_number_of_limits,
    check_reach,
    flattening,
    hump,
    onset,
)

U = np.geomspace(0.3, 30, 160)


def rising(start, power=1.0, size=1.0):
    return 1 + size * np.clip(U / start - 1, 0, None) ** power


@pytest.mark.parametrize("start", [1.5, 3.0, 8.0, 15.0])
@pytest.mark.parametrize("sigma", [1e-4, 1e-2])
@pytest.mark.parametrize("power", [0.5, 1.5])
def test_onset_of_a_clean_rise(start, sigma, power):
    # Windows a quarter wide are compared: the limit lies that far before the rise at the
    # earliest, and behind it only where the rise is still in the noise.
    found = onset(U, rising(start, power), np.full(U.size, sigma))
    assert start / 1.27 < found < start * 1.27


@pytest.mark.parametrize("slope", [0.0, -0.3, 0.002])
def test_level_or_falling_ratios_have_no_onset(slope):
    # A rise of 0.2 % per unit of ln(u) stays below the smallest that is taken for a signal.
    ratio = 1 + slope * np.log(U)
    assert onset(U, ratio, np.full(U.size, 1e-5)) == NO_LIMIT


def test_rate_of_false_onsets():
    # Two rises of four standard errors are needed at one place; the 90 places overlap. One in
    # 1000 at most: 200 clean images, of which one may fail.
    rng = np.random.default_rng(0)
    sigma = 0.02 * np.sqrt(U)
    found = [onset(U, 1 + sigma * rng.standard_normal(U.size), sigma) for _ in range(200)]
    assert np.isfinite(found).sum() <= 1


def test_gentle_rises_are_found_later_where_there_is_more_noise():
    limits = [onset(U, rising(2.0, 1.0, 0.2), np.full(U.size, s)) for s in (1e-4, 0.02, 0.1)]
    assert np.all(np.diff(limits) > 0)


def test_a_bump_that_falls_back_below_is_no_onset():
    # The tail of the ZLP wanders; only what stays up for good is a loss.
    bump = 1 + 0.3 * np.exp(-0.5 * (np.log(U / 4) / 0.2) ** 2) - 0.2 / (1 + (8 / U) ** 8)
    assert onset(U, bump, np.full(U.size, 1e-3)) == NO_LIMIT


def test_nearest_onset_is_one_width():
    assert onset(U, rising(0.5), np.full(U.size, 1e-3)) >= 1.0


def test_smallest_rise_is_what_the_caller_asks_for():
    ratio = 1 + 0.02 / (1 + (3 / U) ** 20)  # a step of 2 %
    sigma = np.full(U.size, 1e-5)
    assert 2 < onset(U, ratio, sigma, smallest_rise=0.005) < 4
    assert onset(U, ratio, sigma, smallest_rise=0.03) == NO_LIMIT


def test_points_without_data_are_skipped():
    ratio, sigma = rising(5.0), np.full(U.size, 1e-3)
    clean = onset(U, ratio, sigma)
    spoiled, sigma = ratio.copy(), sigma.copy()
    spoiled[::3], sigma[::3] = 50.0, np.inf
    assert onset(U, spoiled, sigma) == pytest.approx(clean, rel=0.1)
    assert onset(U, ratio, np.full(U.size, np.inf)) == NO_LIMIT


@pytest.mark.parametrize("power", [1.5, 4.0])
def test_power_laws_never_flatten(power):
    assert flattening(U, -power * np.log(U)) == NO_LIMIT


@pytest.mark.parametrize("power", [2.0, 4.0])
def test_flattening_where_half_of_the_steepness_is_lost(power):
    # counts = u**-p + c: the slope is -p / (1 + c u**p), half of -p where c u**p = 1.
    crossing = 6.0
    shape = np.log(U**-power + crossing**-power)
    assert flattening(U, shape) == pytest.approx(crossing, rel=0.05)


def test_tails_that_only_steepen_never_flatten():
    assert flattening(U, -(U**0.7)) == NO_LIMIT


def test_below_noise_is_the_crossing():
    expected = 1e6 * U**-4.0
    noise = np.full(U.size, 1e6 * 5.0**-4)
    found = below_noise(U, expected, noise)
    assert found == U[U > 5][0]
    assert below_noise(U, expected, np.zeros(U.size)) == NO_LIMIT
    assert below_noise(U, np.zeros(U.size), noise) == U[U > 1][0]


def test_given_limits_replace_those_found():
    found = Regions(np.array([-1.0, -2.0]), np.array([1.5, np.inf]), np.array([8.0, 9.0]))
    changed = found.overridden({"E_I": 1.2, "gain_limit": [-3.0, -np.inf]}, 2)
    np.testing.assert_array_equal(changed.E_I, [1.2, 1.2])
    np.testing.assert_array_equal(changed.gain_limit, [-3.0, -np.inf])
    np.testing.assert_array_equal(changed.E_II, found.E_II)
    np.testing.assert_array_equal(found.E_I, [1.5, np.inf])


@pytest.mark.parametrize("value", [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]])
def test_limits_of_another_number_of_clusters_are_refused(value):
    found = Regions(*np.ones((3, 2)))
    with pytest.raises(ValueError, match="shape|broadcast"):
        found.overridden({"E_I": value}, 2)


# --- limits given by a user -----------------------------------------------------------------------


def test_no_limits_given():
    assert check_limits(None) == check_limits({}) == {}


def test_limits_are_brought_to_ev():
    limits = check_limits({"E_I": 1500, "gain_limit": [-800.0, -np.inf]}, ev_per_unit=1e-3)
    assert limits["E_I"] == pytest.approx(1.5)
    np.testing.assert_allclose(limits["gain_limit"], [-0.8, -np.inf])


@pytest.mark.parametrize("regions", [{"E_III": 3.0}, {"E_I": 1.0, 2: 3.0}, [1.0, 2.0], 1.5])
def test_names_that_are_no_limits(regions):
    with pytest.raises(ValueError, match="regions: expected a dict with keys among"):
        check_limits(regions)


@pytest.mark.parametrize("value", ["far", "1", True, None, [], [1.0, [2.0, 3.0]], {}])
def test_limits_that_are_no_numbers(value):
    with pytest.raises(ValueError, match="regions: E_I: expected"):
        check_limits({"E_I": value})


@pytest.mark.parametrize("name, value", [("E_I", 0.0), ("E_II", -3.0), ("E_I", [1.0, np.nan])])
def test_limits_behind_the_peak_are_positive(name, value):
    with pytest.raises(ValueError, match=f"{name} to be positive"):
        check_limits({name: value})


@pytest.mark.parametrize("value", [0.0, 2.0, np.nan, [-1.0, 1.0]])
def test_limit_before_the_peak_is_negative(value):
    with pytest.raises(ValueError, match="gain_limit to be negative"):
        check_limits({"gain_limit": value})


def test_region_one_ends_before_region_two():
    check_limits({"E_I": [1.0, 2.0], "E_II": 2.0})
    with pytest.raises(ValueError, match="regions: expected E_I below E_II"):
        check_limits({"E_I": [1.0, 2.5], "E_II": 2.0})


def test_one_limit_or_one_for_each_cluster():
    limits = check_limits({"E_I": [1.0, 1.2, 1.4], "E_II": 9.0})
    check_number_of_limits(limits, 3)
    with pytest.raises(ValueError, match="one E_I or one for each of 2 clusters, got 3"):
        check_number_of_limits(limits, 2)
    with pytest.raises(ValueError, match="one E_I or one for each of 1 clusters, got 3"):
        check_number_of_limits(limits, 1)


def test_end_of_region_one_lies_outside_the_core_and_on_the_axis():
    for given in ({}, {"E_I": 0.3}, {"E_I": [0.3, 8.9]}, {"E_II": 99.0, "gain_limit": -0.01}):
        check_reach(check_limits(given), fwhm=0.5, end=9.0)
    for value in (0.25, 9.0, [1.0, 0.1], [1.0, np.inf]):
        with pytest.raises(ValueError, match="regions: expected E_I between 0.25 .* and 9 "):
            check_reach(check_limits({"E_I": value}), fwhm=0.5, end=9.0)


def test_limits_are_refused_in_the_units_they_were_given_in():
    limits = check_limits({"E_I": 100.0}, ev_per_unit=1e-3)
    with pytest.raises(ValueError, match="between 250 .* and 9000 .*, got 100"):
        check_reach(limits, fwhm=0.5, end=9.0, ev_per_unit=1e-3)


# --- bulges ---------------------------------------------------------------------------------------

FAR = np.geomspace(0.5, 60, 1500)
KNOWN = np.zeros(FAR.size)
#: Tails of peaks: flanks, with what is scattered far beneath.
TAILS = {
    "power law": (1 + 4 * FAR**2) ** -1.6,
    "steep flank and halo": (1 + 4 * FAR**2) ** -4.0 + 5e-4 / (1 + (FAR / 6) ** 2),
    "flank and wide halo": (1 + 4 * FAR**2) ** -1.8 + 1e-4 / (1 + (FAR / 15) ** 2),
    "Gaussian and halo": np.exp(-2.77 * FAR**2) + 1e-3 / (1 + (FAR / 3) ** 2),
    "shelf": (1 + 4 * FAR**2) ** -3.0 + 1e-5,
}


@pytest.mark.parametrize("kind", TAILS)
def test_tails_have_no_bulge(kind):
    assert bulge(FAR, np.log(TAILS[kind]), KNOWN) == Hump()


@pytest.mark.parametrize("kind", ["power law", "steep flank and halo", "flank and wide halo"])
@pytest.mark.parametrize("at", [6.0, 12.0, 25.0])
def test_a_bulge_is_where_the_signal_is(kind, at):
    signal = np.interp(at, FAR, TAILS[kind]) * np.exp(-(((FAR - at) / (0.12 * at)) ** 2))
    low, top, high, height = bulge(FAR, np.log(TAILS[kind] + signal), KNOWN)
    assert low < at < high
    assert low < top < high
    # As high as the tail at its middle, of which the chord from end to end hides a part.
    assert height > 0.3
    # Beyond either end there is no more of the signal than 5 % of the tail.
    outside = (FAR < 0.8 * low) | (FAR > high / 0.8)
    assert (signal / TAILS[kind])[outside].max() < 0.05


def test_a_hump_begins_before_its_top_and_ends_behind():
    tail = TAILS["power law"]
    signal = 0.5 * np.interp(7.0, FAR, tail) * np.exp(-(((FAR - 7.0) / 1.0) ** 2))
    low, top, high, height = hump(FAR, np.log(tail + signal), KNOWN)
    assert 2.5 < low < 6 < top < 7.5 < high < 11
    assert height == pytest.approx(0.5, rel=0.5)
    assert hump(FAR, np.log(tail), KNOWN) == Hump()


def test_a_bulge_within_the_noise_is_none():
    tail = TAILS["power law"]
    signal = 0.3 * np.interp(8.0, FAR, tail) * np.exp(-(((FAR - 8.0) / 0.8) ** 2))
    assert np.isfinite(bulge(FAR, np.log(tail + signal), KNOWN).low)
    assert bulge(FAR, np.log(tail + signal), KNOWN + 0.1) == Hump()


def test_a_rise_that_lasts_is_no_bulge():
    assert bulge(FAR, np.log(TAILS["power law"] + 1e-5 * FAR), KNOWN).low == NO_LIMIT
