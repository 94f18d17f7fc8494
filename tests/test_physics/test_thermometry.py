# SPDX-License-Identifier: GPL-3.0-or-later
"""Temperatures from gains and losses: detailed balance after blurring, errors that hold, reasons."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from hyperspy_zlpml.data import Material, Response
from hyperspy_zlpml.data.forward import TrueSpectra, zlp_and_inelastic
from hyperspy_zlpml.physics import Losses, Reason
from hyperspy_zlpml.physics.detailed_balance import (
    both_sides,
    filter_sides,
    misfit,
    window_of,
)
from hyperspy_zlpml.physics.kinematics import BOLTZMANN
from hyperspy_zlpml.physics.thermometry import COLUMNS, TAIL_ERROR, temperatures

STEP, FWHM, LIMIT = 0.0005, 0.012, 0.045
ENERGY = STEP * np.arange(-600, 601)
RESPONSE = Response(exponent_gain=1.8, exponent_loss=1.7, halo=1e-4, halo_width=15.0)
PHONON = ((0.1, 0.006, 0.02),)


def losses_of(zlp, signal, response, *, fwhm=FWHM, centre=0.0, limit=LIMIT, n=1, seed=None):
    """Losses of spectra alike, free of noise but for a seed; the ZLP is known but for that."""
    variance = zlp + np.abs(signal) + 30.0**2
    counts = np.tile(zlp + signal, (n, 1))
    if seed is not None:
        counts += np.random.default_rng(seed).normal(size=counts.shape) * np.sqrt(variance)
    reach = int(np.ceil(8 * fwhm / STEP))
    distance = STEP * np.arange(-reach, reach + 1)
    shape = response(distance / fwhm)
    each = {"centre": centre, "fwhm": fwhm, "gain_limit": -limit, "loss_limit": limit}
    return Losses(
        energy=ENERGY,
        distance=distance,
        counts=counts,
        zlp=np.tile(zlp, (n, 1)),
        variance=np.tile(variance, (n, 1)),
        spilled=np.zeros((n, variance.size)),
        directions=np.zeros((n, 1, ENERGY.size)),
        is_vacuum=np.zeros(n, bool),
        response=np.tile(shape / shape.sum(), (n, 1)),
        **{name: np.full(n, value) for name, value in each.items()},
    )


def film(temperature, *, phonons=PHONON, response=RESPONSE, fwhm=FWHM, centre=0.0, **options):
    """A film with phonons at a temperature."""
    numbers = {"centre": centre, "fwhm": fwhm, "tail": 0.0, "electrons": 6e7,
               "thickness": 0.6, "band_gap": 1.6}  # fmt: skip
    truth = TrueSpectra(**{name: np.array([value]) for name, value in numbers.items()})
    material = Material(phonons=phonons, temperature=temperature)
    zlp, signal = zlp_and_inelastic(ENERGY, truth, response, material)
    return losses_of(zlp[0], signal[0], response, fwhm=fwhm, centre=centre, **options)


def found(losses, **window):
    return dict(zip(COLUMNS, temperatures(losses, **window).T, strict=True))


# --- detailed balance -----------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [300.0, 600.0, 1000.0])
@pytest.mark.parametrize("fwhm", [0.006, 0.012, 0.02])
def test_temperature_of_a_blurred_spectrum_free_of_noise(temperature, fwhm):
    result = found(film(temperature, fwhm=fwhm, limit=3 * fwhm, centre=0.0002))
    assert abs(result["temperature"][0] / temperature - 1) < 0.004
    assert result["reason"][0] == Reason.NONE
    assert result["energy"][0] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("exponents", [(1.3, 5.0), (5.0, 1.3), (50.0, 50.0)])
def test_any_response_is_allowed_for(exponents):
    result = found(film(300.0, response=Response(*exponents, halo=0.0)))
    assert abs(result["temperature"][0] - 300.0) < 1.5


def test_the_shift_by_a_gaussian_response_is_the_known_one():
    # Level losses blurred by sigma: ln(L / G) is too small by sigma^2 / 2 (kT)^2.
    kt, sigma = BOLTZMANN * 300.0, FWHM / 2.3548
    wide = np.exp(-0.5 * ((ENERGY - 0.1) / 0.05) ** 2) * 1e5
    signal = np.where(ENERGY > 0, wide, wide[::-1] * np.exp(ENERGY / kt))
    at = np.exp(-0.5 * (np.arange(-100, 101) * STEP / sigma) ** 2)
    blurred = np.convolve(signal, at / at.sum(), "same")
    top = np.searchsorted(ENERGY, 0.1 - 1e-9)
    plain = np.log(blurred[top] / blurred[::-1][top])
    assert plain - 0.1 / kt == pytest.approx(-(sigma**2) / (2 * kt**2), rel=0.15)
    gaussian = Response(1e4, 1e4, halo=0.0)
    result = found(losses_of(np.zeros(ENERGY.size), blurred, gaussian), left=0.07, right=0.15)
    assert abs(result["temperature"][0] - 300.0) < 0.3
    assert abs(0.1 / (BOLTZMANN * plain) - 300.0) > 1.4  # what would be found without


def test_a_zero_that_peak_and_response_share_does_not_matter():
    # Who counts energies from another point of the same peak finds the same temperature.
    right = film(300.0)
    moved = replace(right, centre=right.centre + 2 * STEP, response=np.roll(right.response, -2, -1))
    one, other = found(right), found(moved)
    assert other["temperature"][0] == pytest.approx(one["temperature"][0], abs=0.3)


def test_a_wrong_centre_stays_inside_the_error():
    losses = film(300.0)
    for off in (-STEP, STEP):
        result = found(replace(losses, centre=losses.centre + off))
        assert abs(result["temperature"][0] - 300.0) < result["std"][0]


def test_filtered_sides_are_in_detailed_balance():
    losses = film(600.0)
    window, inverse = window_of(losses), np.array([1 / (BOLTZMANN * 600.0)])
    filtered = filter_sides(both_sides(losses, window), window, inverse)
    there = np.abs(filtered.energy - 0.1) < 0.02
    ratio = filtered.gain[0, there] / filtered.loss[0, there]
    np.testing.assert_allclose(ratio, np.exp(-inverse * filtered.energy[there]), rtol=0.02)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature, fraction", [(300.0, 0.02), (1000.0, 0.02), (600.0, 0.002)])
def test_errors_are_those_of_noise(temperature, fraction):
    losses = film(temperature, phonons=((0.1, 0.006, fraction),), n=400, seed=7001)
    result = found(losses)
    pull = (result["temperature"] - temperature) / result["std"]
    assert np.isfinite(pull).all()
    assert abs(pull.mean()) < 0.25
    assert 0.9 < pull.std() < 1.1
    assert 0.62 < (np.abs(pull) < 1).mean() < 0.76
    assert 0.92 < (result["highest"] > temperature).mean() < 0.98
    assert np.median(result["chi2"]) == pytest.approx(1.0, abs=0.1)


def with_tail_errors(n, seed, size=0.03):
    """Spectra whose ZLPs are wrong by as much as their directions say, on both sides together."""
    losses = film(600.0, n=n, seed=seed)
    u = losses.from_peak / FWHM
    directions = size * losses.zlp[:, None] * np.stack([u > 2, u < -2, np.abs(u) > 2], 1)
    drawn = np.random.default_rng(seed).normal(size=(n, 3, 1))
    return replace(losses, zlp=losses.zlp + (drawn * directions).sum(1), directions=directions)


def test_errors_of_the_zlp_are_in():
    losses = with_tail_errors(400, seed=7002)
    result = found(losses)
    known = found(film(600.0, n=400, seed=7002))
    pull = (result["temperature"] - 600.0) / result["std"]
    assert 0.62 < (np.abs(pull) < 1).mean() < 0.76
    assert (result["std"] > 1.05 * known["std"]).mean() > 0.9
    assert np.median(result["gain_std"]) > 2 * np.median(known["gain_std"])


def test_counts_of_both_sides():
    losses = film(600.0)
    result = found(losses, left=0.06, right=0.14)
    for side, name in ((1, "loss"), (-1, "gain")):
        inside = (side * ENERGY >= 0.06) & (side * ENERGY <= 0.14)
        expected = losses.subtracted[0, inside].sum()
        assert result[name][0] == pytest.approx(expected, rel=0.01)
        assert result[f"{name}_std"][0] == pytest.approx(
            np.sqrt(losses.variance[0, inside].sum()), rel=0.02
        )


def plain_temperature(losses):
    """Slow reference of one spectrum: filter by a sum at every energy, dense covariance, a search."""
    window = window_of(losses)
    half, reach = window.n_together // 2, window.reach * window.n_together
    signal, variance = losses.subtracted[0], losses.variance[0]
    middle = ENERGY.size // 2
    rows = [n * window.n_together for n in window.numbers if n * window.n_together * STEP > LIMIT]
    rows = [
        n for n in rows if n * STEP >= window.low[0] and middle + n + reach + half < ENERGY.size
    ]
    response = losses.response[0]

    def chi2(inverse, kernel_inverse):
        filters = np.zeros((2, len(rows), ENERGY.size))
        for side, sign in enumerate((1, -1)):
            for row, n in enumerate(rows):
                for bin_ in range(-window.reach, window.reach + 1):
                    channels = bin_ * window.n_together + np.arange(-half, half + 1)
                    weight = response[response.size // 2 + channels].sum()
                    weight *= np.exp(-bin_ * window.n_together * STEP * kernel_inverse)
                    filters[side, row, middle + sign * n + channels] += weight
        ratio = np.exp(-inverse * STEP * np.array(rows))[:, None]
        combined = filters[1] - ratio * filters[0]
        difference, covariance = combined @ signal, (combined * variance) @ combined.T
        return difference @ np.linalg.solve(covariance, difference)

    inverse = 1 / (BOLTZMANN * 550.0)
    for _ in range(4):
        inverse = minimize_scalar(chi2, (0.9 * inverse, 1.1 * inverse), args=(inverse,), tol=1e-6).x
    return 1 / (BOLTZMANN * inverse)


def test_the_temperature_is_that_of_a_slow_reference():
    losses = film(600.0, n=1, seed=7003)
    result = found(losses)
    assert abs(result["temperature"][0] - plain_temperature(losses)) < 0.02 * result["std"][0]


def test_the_error_is_where_chi2_has_grown_by_one():
    losses = film(600.0, n=1, seed=7004)
    result = found(losses)
    inverse = 1 / (BOLTZMANN * result["temperature"])
    window = window_of(losses)
    filtered = filter_sides(both_sides(losses, window), window, inverse)
    error = inverse * result["std"] / result["temperature"]
    least = misfit(filtered, inverse).chi2
    for sign in (-1, 1):
        grown = misfit(filtered, inverse + sign * error).chi2 - least
        assert grown == pytest.approx(1.0, rel=0.05)


def test_derivatives_of_the_misfit_are_those_of_differences():
    losses = with_tail_errors(3, seed=7008)
    window, inverse = window_of(losses), 1 / (BOLTZMANN * np.array([500.0, 600.0, 800.0]))
    filtered = filter_sides(both_sides(losses, window), window, inverse)
    here, step = misfit(filtered, inverse), 1e-4 * inverse
    below, above = (misfit(filtered, inverse + sign * step) for sign in (-1, 1))
    np.testing.assert_allclose(here.slope, (above.chi2 - below.chi2) / (2 * step), rtol=1e-4)
    np.testing.assert_allclose(here.curvature, (above.slope - below.slope) / (2 * step), rtol=1e-4)


def test_energies_that_one_spectrum_lacks_do_not_count_for_others():
    losses = film(600.0, n=3, seed=7001)
    variance = losses.variance.copy()
    variance[0, ENERGY < -0.2] = np.nan  # its gain side ends there
    short = replace(losses, variance=variance)
    together = temperatures(short)
    alone = np.concatenate([temperatures(short.select([row])) for row in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-9)
    np.testing.assert_allclose(together[1:], temperatures(losses)[1:], rtol=1e-9)
    assert (together[0, :2] != temperatures(losses)[0, :2]).all()


def test_every_spectrum_is_treated_alone():
    losses = with_tail_errors(9, seed=7005)
    together = temperatures(losses)
    for part in (slice(0, 1), slice(3, 8)):
        np.testing.assert_allclose(temperatures(losses.select(part)), together[part], rtol=1e-9)


# --- a tail that no vacuum shows ------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [300.0, 600.0])
def test_the_systematic_error_is_what_a_wrong_tail_makes(temperature):
    # In a narrow window, of about one energy, so that nothing but the height of the tail matters.
    losses, window = film(temperature), {"left": 0.096, "right": 0.106}
    result = found(losses, tail_error=TAIL_ERROR, **window)
    beneath = losses.from_peak < -LIMIT
    wrong = replace(losses, zlp=losses.zlp * np.where(beneath, 1 + TAIL_ERROR, 1.0))
    moved = result["temperature"] - found(wrong, **window)["temperature"]
    assert moved[0] == pytest.approx(result["systematic"][0], rel=0.1)
    assert found(losses, **window)["systematic"][0] == 0


def test_highest_temperatures_hold_the_tail():
    warm = found(film(600.0), tail_error=TAIL_ERROR)
    relative = np.hypot(warm["std"], warm["systematic"]) / warm["temperature"]
    expected = warm["temperature"] / (1 - 1.645 * relative)
    np.testing.assert_allclose(warm["highest"], expected, rtol=1e-6)
    cold = film(30.0)  # shows no gains
    known, guess = found(cold), found(cold, tail_error=TAIL_ERROR)
    assert np.isnan(guess["temperature"][0])
    assert guess["highest"][0] > known["highest"][0]


def test_coarse_channels_are_marked_where_the_tail_is_a_guess():
    losses = film(600.0, n=2)
    losses = replace(losses, fwhm=STEP * np.array([4.0, 6.0]))
    result, known = found(losses, tail_error=TAIL_ERROR), found(losses)
    assert list(result["reason"]) == [Reason.TAIL_GUESSED, Reason.NONE]
    assert (known["reason"] == Reason.NONE).all()
    np.testing.assert_array_equal(result["temperature"], known["temperature"])
    assert result["systematic"][0] == pytest.approx(10 * result["systematic"][1])
    assert result["highest"][0] > result["highest"][1]
    cold = replace(film(30.0, n=2), fwhm=losses.fwhm)  # shows no gains
    assert list(np.isnan(found(cold, tail_error=TAIL_ERROR)["highest"])) == [True, False]


# --- nothing to be found --------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.0, 0.02], ids=["no losses", "losses without gains"])
def test_no_temperature_without_gains(fraction):
    # Three standard errors: fewer than 1 % of spectra have a temperature that is none.
    losses = film(30.0, phonons=((0.1, 0.006, fraction),), n=700, seed=7006)
    result = found(losses)
    assert np.isnan(result["temperature"]).mean() > 0.99
    nothing = np.isnan(result["temperature"])
    assert (result["reason"][nothing] == Reason.NOT_SIGNIFICANT).all()
    if fraction:
        assert (result["highest"] > 30.0).mean() > 0.93
        assert np.median(result["highest"]) < 250.0
    else:
        assert np.isnan(result["highest"]).mean() > 0.99


def test_gains_without_losses_are_no_temperature():
    losses = film(600.0)
    mirrored = losses.zlp + (losses.counts - losses.zlp)[:, ::-1]
    result = found(replace(losses, counts=mirrored))
    assert np.isnan(result["temperature"][0])
    assert result["reason"][0] in (Reason.AT_UPPER_END, Reason.MISFIT, Reason.NOT_SIGNIFICANT)


@pytest.mark.parametrize(
    "temperature, reason", [(3000.0, Reason.NONE), (9000.0, Reason.AT_UPPER_END)]
)
def test_gains_hotter_than_any_solid_are_no_temperature(temperature, reason):
    result = found(film(temperature, n=20, seed=7011))
    assert (result["reason"] == reason).all()
    assert (np.isfinite(result["temperature"]) == (reason == Reason.NONE)).all()
    assert (np.isfinite(result["highest"]) == (reason == Reason.NONE)).all()


def test_gains_elsewhere_than_losses_do_not_fit():
    losses = film(600.0)
    pumped = 3e4 * np.exp(-0.5 * ((ENERGY + 0.15) / 0.004) ** 2)
    result = found(replace(losses, counts=losses.counts + pumped))
    assert np.isnan(result["temperature"][0])
    assert result["reason"][0] == Reason.MISFIT
    assert result["chi2"][0] > 4


@pytest.mark.parametrize(
    "change, window, reason",
    [
        ({"loss_limit": np.inf}, {}, Reason.NO_LIMIT),
        ({"gain_limit": -np.inf}, {}, Reason.NO_LIMIT),
        ({"loss_limit": 0.29}, {}, Reason.AXIS_TOO_SHORT),
        ({"centre": -0.29}, {}, Reason.AXIS_TOO_SHORT),
        ({}, {"left": 0.01, "right": 0.04}, Reason.BELOW_RESOLUTION),
        ({}, {"left": 0.29, "right": 0.31}, Reason.AXIS_TOO_SHORT),
    ],
    ids=["no E_I", "no gain limit", "late E_I", "no gain side", "within limits", "beyond the axis"],
)
@pytest.mark.filterwarnings("error")
def test_why_there_is_no_temperature(change, window, reason):
    losses = film(600.0, n=2, seed=7007)
    losses = replace(losses, **{name: np.array([value, getattr(losses, name)[1]])
                                for name, value in change.items()})  # fmt: skip
    result = found(losses, **window)
    assert np.isnan(result["temperature"][0])
    assert result["reason"][0] == reason
    if not window:
        assert result["reason"][1] == Reason.NONE


@pytest.mark.filterwarnings("error")
def test_counts_without_any_noise_do_no_harm():
    losses = film(600.0)
    silent = replace(losses, variance=0 * losses.variance, counts=losses.zlp)
    assert found(silent)["reason"][0] != Reason.NONE


def test_energies_within_the_limits_are_not_used():
    # Whatever lies there is taken for ZLP: a window that begins too early is cut at the limit.
    losses = film(600.0)
    wide, narrow = found(losses, left=0.01, right=0.2), found(losses, left=0.05, right=0.2)
    assert wide["temperature"][0] == pytest.approx(narrow["temperature"][0], abs=1.0)
