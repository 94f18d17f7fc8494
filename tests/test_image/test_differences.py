# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences hold the noise of the level that they say, whatever spectra share."""

import numpy as np
import pytest

from hyperspy_zlpml.image.differences import (
    Beside,
    Differences,
    _in_order,
    fit_with_core,
    of_channels,
    of_shapes,
)

X = np.arange(-20, 21)


def peaks(n, electrons, drift=0.0, seed=0):
    """Expected counts of peaks of 4 channels that differ in height."""
    rng = np.random.default_rng(seed)
    u = (X - drift * rng.standard_normal((n, 1))) / 4
    return electrons * rng.uniform(0.4, 1.0, (n, 1)) * np.exp(-4 * np.log(2) * u**2)


def test_third_differences_remove_parabolas_and_hold_the_noise_of_their_channels():
    counts = 1e3 + 3.0 * X**2 + np.outer([0, 1, 0], X == 5)
    found = of_channels(counts, counts, counts)
    around = slice(20, 26)
    np.testing.assert_allclose(found.squared[0], 0, atol=1e-18)
    np.testing.assert_allclose(found.squared[1, around] * 20, [0, 0, 1, 9, 9, 1], atol=1e-9)
    by_hand = sum(w * counts[0, k : k + 38] for k, w in enumerate([1, 9, 9, 1])) / 20
    np.testing.assert_allclose(found.level[0], by_hand)


@pytest.mark.parametrize("electrons", [0.3, 10.0, 1e4])
@pytest.mark.parametrize("drift", [0.0, 0.4])
def test_shapes_leave_the_noise_of_electrons_few_or_many(electrons, drift):
    # 1000 spectra of some 8 channels that hold electrons: 5 %, lone ones 10 %.
    counts = np.random.default_rng(1).poisson(peaks(1000, electrons, drift)).astype(float)
    found = of_shapes(counts, gain=1.0, readout=0.0)
    known = np.isfinite(found.squared)
    ratio = found.squared[known].sum() / found.level[known].sum()
    assert ratio == pytest.approx(1.0, abs=0.1)


def test_shapes_of_few_spectra_lend_their_noise():
    # One shape of eight spectra has an eighth of their variance: it is known, and not taken for electrons.
    expected, rng = peaks(16, 3e3), np.random.default_rng(2)
    ratio = []
    for _ in range(60):
        found = of_shapes(rng.poisson(expected).astype(float), gain=1.0, readout=0.0)
        known = np.isfinite(found.squared)
        ratio.append(found.squared[known].sum() / found.level[known].sum())
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.05)


def test_read_out_noise_is_that_of_one_channel():
    counts = peaks(200, 1e3) + 5.0 * np.random.default_rng(3).standard_normal((200, X.size))
    found = of_shapes(counts, gain=1.0, readout=5.0)
    assert np.nanmean(found.squared) == pytest.approx(25.0, rel=0.05)


def test_classes_do_not_know_the_noise():
    """Where all channels hold the same, levels of classes are the same: sorted by their own counts they were not."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.5, (200, 300)) + rng.standard_normal((200, 300))
    found = of_channels(counts, counts, counts)
    level = found.level.ravel()[np.argsort(found.expected, axis=None)]
    low, high = (part.mean() for part in np.array_split(level, 2))
    assert low == pytest.approx(high, abs=0.05)


def scatter(level, gain, readout, structure=0.0, seed=0):
    """Squared normal deviations at some levels."""
    rng = np.random.default_rng(seed)
    level = np.repeat(np.asarray(level, float), 2000)
    sigma = np.sqrt(gain * level + readout**2 + (structure * level) ** 2)
    return Differences((sigma * rng.standard_normal(level.size)) ** 2, level, level)


def test_structure_of_the_core_ends_the_line():
    beside = scatter(np.linspace(1, 50, 10), 2.0, 5.0)
    core = scatter([100, 300, 1e3, 1e4, 1e5], 2.0, 5.0, structure=0.03)
    found = fit_with_core(Beside(beside), core)
    assert found.gain == pytest.approx(2.0, rel=0.1)
    assert found.readout == pytest.approx(5.0, rel=0.05)


def test_a_core_that_moves_the_gain_makes_it_less_sure():
    # It agrees with what little is known beside the peak, and moves it by more than chance does.
    beside = scatter(np.linspace(1, 50, 10), 2.0, 5.0)
    alone = Beside(beside).line
    with_core = fit_with_core(
        Beside(beside),
        scatter(np.linspace(900, 1100, 50), alone.gain + 3.5 * alone.gain_error, 5.0),
    )
    assert with_core.gain > alone.gain + 2 * alone.gain_error
    assert with_core.gain_error > 0.5 * alone.gain_error


def test_structure_alone_bounds_the_gain():
    # What is beside the peak tells next to nothing: the gain is no more than what the dimmest class of the core shows.
    beside = scatter(np.linspace(0.001, 0.1, 10), 2.0, 5.0)
    found = fit_with_core(Beside(beside), scatter([3e3, 1e5], 2.0, 5.0, structure=1.0))
    assert 2.0 < found.gain <= found.gain_error
    assert found.readout == pytest.approx(5.0, rel=0.05)


NOTHING = Differences(*np.zeros((3, 100)))


def both(*found):
    return Differences(*map(np.concatenate, zip(*found, strict=True)))


def test_a_core_that_one_class_contradicts_does_not_tell_the_gain():
    # As peaks of one channel that move between dark ones: the bright ones say some hundred counts for each electron.
    of_level = [
        (1.7, 17),
        (2.2, 8),
        (493, 350),
        (1240, 514),
        (1810, 625),
        (1960, 785),
        (2430, 1120),
    ]
    core = both(*(scatter([level], gain, 0.0, seed=1) for level, gain in of_level))
    core = core.where(np.arange(core.level.size) % 25 == 0)
    found = fit_with_core(Beside(NOTHING), core)
    assert 5 < found.gain == found.gain_error < 25


def test_two_classes_that_no_other_confirms_do_not_tell_the_gain():
    core = scatter([2, 20, 500, 1e3, 2e3, 3e3, 4e3, 5e3], 2.0, 0.0, structure=0.5)
    found = fit_with_core(Beside(NOTHING), core)
    assert found.gain_error >= found.gain > 2.0


def test_a_gain_that_rises_with_the_level_is_as_unsure():
    even = fit_with_core(Beside(NOTHING), scatter(np.geomspace(3, 3e3, 8), 2.0, 0.0))
    assert even.gain == pytest.approx(2.0, rel=0.1)
    assert even.gain_error < 0.1
    level = np.geomspace(3, 3e3, 8)
    rising = [scatter([x], 2.0 * (1 + 0.1 * k), 0.0, seed=k) for k, x in enumerate(level)]
    found = fit_with_core(Beside(NOTHING), both(*rising))
    assert found.gain > 2.15
    assert abs(found.gain - 2.0) < 3 * found.gain_error


def test_nothing_is_said_of_what_does_not_scatter():
    assert Beside(NOTHING).line is None
    assert fit_with_core(Beside(NOTHING), NOTHING) is None


@pytest.mark.parametrize("unit", [1.0, 3e-7, 1e9])
def test_counts_that_are_expected_alike_stay_in_their_order(unit):
    # Whole counts, and what sums of many of them round to.
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 20, 5000)
    rounded = unit * whole * (1 + 1e-14 * rng.standard_normal(5000))
    assert (_in_order(rounded) == np.argsort(whole, kind="stable")).all()


def test_levels_that_differ_by_their_noise_alone_are_one_class():
    apart = Beside(scatter(np.linspace(10, 1000, 20), 2.0, 5.0))
    assert len(apart.classes) > 1
    assert apart.line_of_classes is apart.line
    alike = Beside(scatter([100.0], 2.0, 5.0))
    assert len(alike.classes) == 1
    assert not np.isfinite(alike.line_of_classes.gain_error)
