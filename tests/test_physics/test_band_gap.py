# SPDX-License-Identifier: GPL-3.0-or-later
"""Band gaps of spectra with a known onset: values, errors, detection, reasons."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from onset_spectra import FWHM, axis, blurred, make_losses, onset

from hyperspy_zlpml.physics.band_gap import N_NUMBERS, Gap, GapSettings, band_gaps
from hyperspy_zlpml.physics.onset_curve import onset_curve
from hyperspy_zlpml.physics.onset_fit import Fits
from hyperspy_zlpml.physics.onset_posterior import weighted
from hyperspy_zlpml.physics.reasons import Reason

GAP = 3.0


def spectrum(exponent=0.5, gap=GAP):
    return blurred(axis(), onset(gap, exponent), 0.05)


def found(losses, exponent=None, **settings):
    """Numbers of a block, as arrays by their names."""
    if exponent is not None:
        settings["exponents"] = (exponent,)
    numbers = band_gaps(losses, GapSettings(**settings))
    return Gap(*numbers.T)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_without_noise_the_gap_is_found(exponent):
    gap = found(make_losses(spectrum(exponent), noise=None), exponent)
    assert gap.gap[0] == pytest.approx(GAP, abs=0.06)
    assert gap.lower[0] < GAP < gap.upper[0]
    assert gap.reason[0] == Reason.NONE


def test_errors_hold_and_grow_with_those_of_the_zlp():
    """Noise and an error of the ZLP, which a hundred spectra do not share."""
    losses = make_losses(spectrum(), noise=30.0, zlp_error=1.0, n=100, shared=False)
    gap = found(losses, 0.5)
    inside = (gap.lower < GAP) & (gap.upper > GAP)
    assert 0.55 < inside.mean() <= 1
    assert np.sqrt(np.mean((gap.gap - GAP) ** 2)) < 0.1
    about_the_onset = 150 * np.exp(-(((axis() - GAP) / 0.4) ** 2)) * np.ones((100, 1, 1))
    doubted = found(replace(losses, directions=about_the_onset + losses.directions), 0.5)
    assert np.median(doubted.std) > 1.2 * np.median(gap.std)


def test_an_unknown_exponent_widens_the_error():
    losses = make_losses(spectrum(), noise=60.0, n=8)
    known, unknown = found(losses, 0.5), found(losses)
    assert (unknown.std > known.std).mean() > 0.7
    assert (unknown.exponent_std > 0.2).all()
    np.testing.assert_allclose(known.exponent_std, 0, atol=1e-12)


def test_nothing_is_found_where_nothing_is():
    """Stated: less than 1 % of spectra without losses; the ZLP is off as it is said to be."""
    losses = make_losses(0 * axis(), noise=30.0, zlp_error=0.05, n=400, shared=False)
    gap = found(losses, 0.5)
    assert np.isfinite(gap.gap).mean() < 0.01
    assert (gap.reason == Reason.NOT_SIGNIFICANT).mean() > 0.99
    in_window = found(losses.select(slice(100)), 0.5, left=1.6, right=4.0)
    assert np.isfinite(in_window.gap).mean() < 0.05


def test_every_spectrum_stands_alone():
    losses = make_losses(spectrum(), noise=30.0, zlp_error=0.02, n=5)
    together = band_gaps(losses)
    alone = [band_gaps(losses.select([row]))[0] for row in range(5)]
    np.testing.assert_allclose(together, alone, rtol=1e-9)


def test_numbers_do_not_depend_on_the_unit_of_counts_or_the_zero_of_the_axis():
    losses = make_losses(spectrum(), noise=30.0, zlp_error=0.02)
    scaled = {name: 7 * getattr(losses, name) for name in ("counts", "zlp", "directions")}
    more = replace(losses, **scaled, variance=49 * losses.variance)
    moved = replace(losses, energy=losses.energy + 2.0, centre=losses.centre + 2.0)
    for other in (more, moved):
        np.testing.assert_allclose(
            found(other).gap, found(losses).gap, rtol=1e-6, err_msg=str(other.energy[0])
        )


def test_without_the_response_the_gap_is_too_low():
    losses = make_losses(spectrum(), noise=20.0, n=4)
    own, none = found(losses, 0.5), found(losses, 0.5, own_response=False)
    assert none.gap.mean() < own.gap.mean() - 0.03


def test_a_window_is_kept_to():
    gap = found(make_losses(spectrum(), noise=20.0), 0.5, left=2.0, right=4.0)
    assert 2.0 <= gap.first[0]
    assert gap.last[0] <= 4.0
    assert gap.gap[0] == pytest.approx(GAP, abs=0.1)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"loss_limit": np.full(1, np.inf)}, Reason.NO_LIMIT),
        ({"loss_limit": np.full(1, 22.9)}, Reason.AXIS_TOO_SHORT),
        ({"loss_limit": np.full(1, 100.0)}, Reason.AXIS_TOO_SHORT),
        ({"loss_limit": np.full(1, np.nan)}, Reason.NO_LIMIT),
    ],
)
def test_reasons_why_there_is_none(change, reason):
    losses = replace(make_losses(spectrum()), **change)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers = band_gaps(losses)
    assert numbers.shape == (1, N_NUMBERS)
    assert np.isnan(numbers[0, 0])
    assert Gap(*numbers[0]).reason == reason


def guessed_too_steep(n=8, power=0.8, seed=0):
    """A metal: counts leave a guessed tail from E_I on, by another power of the energy."""
    losses = make_losses(0 * axis(), noise=10.0, n=n, seed=seed)
    x = np.log(np.maximum(losses.from_peak / losses.loss_limit[:, None], 1.0))
    return replace(losses, counts=losses.counts + losses.zlp * np.expm1(power * x))


def test_losses_of_a_metal_on_a_guessed_tail_are_no_onset():
    """Nothing shows the tail: what a tail of another power does as well is no gap."""
    losses = guessed_too_steep()
    assert (found(losses, 1.0).improvement > 100).all()
    guessed = found(losses, 1.0, tail_is_guessed=True)
    assert not (guessed.reason == Reason.NONE).any()
    assert (guessed.reason == Reason.TAIL_GUESSED).any()


@pytest.mark.parametrize("exponent", [0.5, 1.5])
def test_onsets_of_films_are_told_from_guessed_tails(exponent):
    """A gap far behind E_I, losses far above the tail: numbers and reason are those of a tail that is known."""
    losses = make_losses(spectrum(exponent), noise=30.0, zlp_error=0.02, n=4)
    known = band_gaps(losses, GapSettings(exponents=(exponent,)))
    guessed = band_gaps(losses, GapSettings(exponents=(exponent,), tail_is_guessed=True))
    np.testing.assert_array_equal(known, guessed)


def test_an_onset_where_a_guess_begins_is_none():
    """Nothing is seen of the guess below it, however clear it is."""
    losses = replace(
        make_losses(spectrum(0.5), noise=30.0, n=2), loss_limit=np.full(2, GAP - 0.1 * FWHM)
    )
    assert (found(losses, 0.5).reason == Reason.NONE).all()
    assert (found(losses, 0.5, tail_is_guessed=True).reason == Reason.TAIL_GUESSED).all()


def test_a_gap_beside_the_peak_is_told():
    losses = make_losses(spectrum(gap=0.5), noise=20.0)
    gap = found(replace(losses, loss_limit=np.full(1, 0.4)), 0.5)
    assert gap.reason[0] in (Reason.BELOW_RESOLUTION, Reason.AT_LOWER_END)


def test_peaks_in_the_gap_are_a_misfit_or_widen_the_error():
    """Narrow lines are no onset, whatever the shape."""
    energy = axis()
    lines = sum(3e3 * np.exp(-0.5 * ((energy - at) / 0.1) ** 2) for at in (2.0, 2.6, 3.2, 3.8))
    gap = found(make_losses(spectrum() + lines, noise=10.0), 0.5)
    assert gap.reason[0] == Reason.MISFIT or gap.std[0] > 0.1


@pytest.mark.parametrize("n_errors", [2.5, 6])
def test_losses_below_an_onset_are_told(n_errors):
    """A weak onset that an error of the ZLP explains at some of its standard deviations."""
    energy = axis()
    below = blurred(energy, onset(2.0, 0.5, height=300.0), 0.05)
    losses = make_losses(spectrum(gap=6.0) + below, noise=20.0)
    as_below = below * (energy > 0) / n_errors
    doubted = replace(
        losses, directions=np.concatenate([losses.directions, as_below[None, None]], 1)
    )
    above = found(doubted, 0.5, left=1.8, right=8.0)
    alone = found(make_losses(spectrum(gap=6.0), noise=20.0), 0.5, left=1.8, right=8.0)
    assert alone.reason[0] == Reason.NONE
    assert above.lower[0] > 5
    assert above.reason[0] == Reason.MISFIT


@pytest.mark.parametrize("height", [0.0, 50.0])
def test_losses_that_the_zlp_could_hide_are_told_where_there_are_counts(height):
    """Counts that are no noise, and an error of the ZLP as large as the losses above: these may begin below."""
    energy = axis()
    shape = np.exp(-np.clip(energy, 0, None) / 5) * (energy > 0)
    losses = make_losses(spectrum(gap=6.0) + height * shape, noise=20.0)
    wide = replace(losses, directions=500 * shape[None, None])
    gap = found(wide, 0.5, left=1.8, right=8.0)
    assert gap.lower[0] > 5
    assert gap.reason[0] == (Reason.MISFIT if height else Reason.NONE)


def test_an_interval_longer_than_the_window_of_the_fit_is_told():
    """Noise as large as the losses: onsets in windows that have nothing in common do as well."""
    losses = make_losses(spectrum(1.5), noise=150.0, n=40)
    gap = found(losses)
    longer = gap.upper - gap.lower > 2 * losses.fwhm[0]
    assert longer.any()
    assert (gap.reason[longer] != Reason.NONE).all()


def test_an_error_of_the_zlp_is_seldom_taken_for_losses_below():
    """Stated: one in twenty, where it is as large as the losses and as said."""
    energy, rng, n = axis(), np.random.default_rng(0), 200
    error = 300 * np.exp(-np.clip(energy, 0, None) / 2.5) * np.ones((n, 1, 1))
    losses = make_losses(spectrum(gap=6.0), noise=20.0, n=n)
    off = rng.standard_normal((n, 1)) * error[:, 0]
    wrong = replace(losses, counts=losses.counts + off, directions=error)
    gap = found(wrong, 0.5, left=1.8, right=8.0)
    assert (gap.lower > 5).mean() > 0.9
    assert (gap.reason == Reason.MISFIT).mean() < 0.05 + 3 * np.sqrt(0.05 / n)


def test_a_gap_that_may_be_too_near_is_told():
    """The interval reaches below 2 FWHM, the median does not."""
    losses = make_losses(spectrum(gap=0.65), noise=200.0, n=10)
    gap = found(replace(losses, loss_limit=np.full(10, 0.4)))
    near = (gap.lower < 2 * losses.fwhm) & np.isfinite(gap.gap)
    assert (near & (gap.gap > 2 * losses.fwhm)).any()
    assert (gap.reason[near] != Reason.NONE).all()


def test_chi2_is_never_negative():
    """Few bins, and errors that are larger than the scatter."""
    losses = make_losses(spectrum(), noise=None)
    short = found(replace(losses, variance=9 * losses.variance), right=3.9)
    assert (short.reduced_chi2 >= 0).all()


def test_chi2_of_noise_is_one_and_seldom_a_misfit():
    """What an onset of the shapes that are tried leaves is noise: its mean is that of what was not fitted."""
    losses = make_losses(spectrum(), noise=60.0, n=60)
    gap = found(losses, 0.5)
    assert gap.reduced_chi2.mean() == pytest.approx(1.0, abs=0.1)
    assert (gap.reason == Reason.MISFIT).mean() < 0.05


def test_the_fit_of_a_pool_uses_up_two_numbers_more():
    losses = make_losses(spectrum(), noise=30.0)
    alone, pooled = (found(losses, 0.5, right=4.5, pooled=one) for one in (False, True))
    # Of n bins, chi2 / (n - 4) and chi2 / (n - 2): two bins more are left of one spectrum.
    left = 2 / (pooled.reduced_chi2[0] / alone.reduced_chi2[0] - 1)
    assert left > 1
    assert left == pytest.approx(round(left), abs=1e-6)


def test_windows_of_pools_weigh_by_what_they_add():
    # 20 bins more are missed by 60, while all bins are missed by no more than is chance.
    chi2 = np.array([60.0, 120.0])[:, None, None]
    fits = Fits(
        chi2,
        none=chi2[:, 0, 0],
        height=chi2,
        log_determinant=chi2[:, 0, 0],
        n_bins=np.array([90, 110]),
    )
    alone, pooled = (weighted(fits, pooled=of_pool)[1] for of_pool in (False, True))
    assert np.exp(alone) == pytest.approx([0.5, 0.5])
    assert np.diff(pooled) == pytest.approx(-(60 - 20 - np.sqrt(40)) / 2)


def test_the_curve_goes_through_the_data():
    losses = make_losses(spectrum(), noise=20.0)
    numbers = band_gaps(losses, GapSettings(exponents=(0.5,)))[0]
    gap = Gap(*numbers)
    curve = onset_curve(losses, gap)
    inside = np.isfinite(curve.total)
    energy = losses.from_peak[0]
    np.testing.assert_array_equal(inside, (energy >= gap.first) & (energy < gap.last))
    pulls = (losses.subtracted[0] - curve.total)[inside] / np.sqrt(losses.variance[0, inside])
    assert (pulls**2).mean() < 1.5
    assert np.isnan(onset_curve(losses, Gap()).total).all()
