# SPDX-License-Identifier: GPL-3.0-or-later
"""Peaks of blocks of spectra: identities, slow references, round trips, errors that hold."""

from dataclasses import replace

import numpy as np
import pytest
from peak_losses import FWHM, STEP, make_losses, response_of
from scipy.integrate import quad
from scipy.optimize import curve_fit, minimize_scalar

from hyperspy_zlpml.physics.kinematics import Beam
from hyperspy_zlpml.physics.peak_fits import Model, Prior, least_squares
from hyperspy_zlpml.physics.peak_search import _widening, places_of, search
from hyperspy_zlpml.physics.peak_shapes import (
    SHAPES,
    Exciton,
    Plasmon,
    drude,
    drude_area,
    drude_maximum,
    gaussian,
)
from hyperspy_zlpml.physics.peak_windows import take_window
from hyperspy_zlpml.physics.peaks import (
    QUANTITIES,
    WIDTH,
    fit_group,
    fit_peaks,
    groups_of,
    piece_of,
    top,
)
from hyperspy_zlpml.physics.pooling import pooled
from hyperspy_zlpml.physics.reasons import Reason

EXCITON = Exciton(energy=2.0, width=0.2)
AREA = 3e4
WEIGHT = Beam(energy=200.0, collection_angle=15.0).angular_logarithm


def column(found, name, kind="value"):
    """One column of a fit of one peak."""
    kinds = ("value", "std", "systematic")
    return found[:, 3 * QUANTITIES.index(name) + kinds.index(kind)]


def blurred(shape, position, width, amplitude):
    """A peak, blurred by the response, on a plain grid: the slow reference."""
    distance, response = response_of()

    def values(energy):
        fine = energy[:, None] - distance
        return amplitude * SHAPES[shape](fine, position, width)[0] @ response

    return values


def exciton_on(background, position=2.03, width=0.23, area=AREA, shape="gaussian"):
    """Counts per channel of a blurred exciton over a function of the energy."""
    peak = blurred(shape, position, width, area * STEP)
    return lambda energy: peak(energy) + background(energy)


def quadratic(energy):
    """Smooth background that a polynomial of order 2 holds."""
    return 400 + 60 * (energy - 2) + 20 * (energy - 2) ** 2


@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives_of_shapes_are_those_of_differences(shape):
    energy, step = np.linspace(0.5, 30, 60), 1e-5
    _, by_position, by_width = SHAPES[shape](energy, 12.0, 3.0)
    for k, analytic in enumerate((by_position, by_width)):
        up, down = (
            SHAPES[shape](energy, *np.array([12.0, 3.0]) ** 1 * np.exp(sign * step * np.eye(2)[k]))[
                0
            ]
            for sign in (1, -1)
        )
        assert analytic == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("shape", ["gaussian", "lorentzian"])
def test_shapes_have_unit_area_and_the_width_they_say(shape):
    area = quad(lambda energy: SHAPES[shape](energy, 12.0, 3.0)[0], -np.inf, np.inf)[0]
    half, whole = SHAPES[shape](np.array([13.5, 12.0]), 12.0, 3.0)[0]
    assert area == pytest.approx(1)
    assert half == pytest.approx(whole / 2)


@pytest.mark.parametrize("position, width", [(15.0, 0.6), (16.9, 5.4), (8.0, 9.0)])
def test_drude_maximum_is_where_it_is_largest(position, width):
    found, *_ = drude_maximum(np.array([position]), np.array([width]))
    largest = minimize_scalar(
        lambda energy: -drude(energy, position, width)[0],
        bounds=(0.2 * position, 1.5 * position),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert found[0] == pytest.approx(largest.x, abs=1e-5)


def test_drude_maximum_is_near_the_rule_of_thumb_for_narrow_peaks():
    found, by_position, by_width = drude_maximum(np.array([15.0]), np.array([0.6]))
    assert found[0] == pytest.approx(np.sqrt(15.0**2 - 0.3**2), abs=1e-5)
    assert by_position[0] == pytest.approx(15.0, rel=1e-2)
    assert abs(by_width[0]) < 0.05


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_drude_area_is_its_integral(weight):
    def integrand(energy):
        return drude(energy, 16.9, 5.4)[0] * (1.0 if weight is None else weight(energy))

    plain = sum(quad(integrand, *ends)[0] for ends in ((1e-9, 15), (15, 20), (20, 200), (200, 2e3)))
    area, by_position, by_width = drude_area(np.array([16.9]), np.array([5.4]), weight)
    up, _, _ = drude_area(np.array([16.9]) * 1.001, np.array([5.4]), weight)
    assert area[0] == pytest.approx(plain, rel=1e-4)
    assert by_position[0] == pytest.approx((up - area)[0] / np.log(1.001), rel=2e-3)
    assert np.isfinite(by_width).all()


def test_whitening_gives_the_inverse_of_the_covariance():
    """Slow reference: the covariance as a matrix, inverted."""
    window = take_window(
        make_losses(quadratic, 1, directions=[lambda e: 30 * np.exp(-e), lambda e: 9 / (1 + e)]),
        1.5,
        2.5,
        0.2,
    )
    directions = window.directions[0] / window.weight[0]
    covariance = np.diag(window.weight[0] ** -2) + directions.T @ directions
    rows = np.random.default_rng(0).normal(size=(1, 4, window.energy.shape[-1]))
    white = window.whiten(rows)[0]
    assert white @ white.T == pytest.approx(rows[0] @ np.linalg.inv(covariance) @ rows[0].T)


def test_windows_count_energies_from_the_peak_of_each_spectrum():
    losses = make_losses(quadratic, 3, centre=[-0.123, 0.0, 0.0777])
    window = take_window(losses, 1.5, 2.5, 0.3)
    assert np.ptp(window.energy[:, 0]) <= losses.step
    assert (window.weight > 0).all()
    # Means over bins of the curve itself: its bend within a bin is all that differs.
    assert window.values == pytest.approx(quadratic(window.energy), rel=1e-4)


def test_bins_off_the_axis_and_below_the_limit_are_not_used():
    window = take_window(make_losses(quadratic, 1, limit=2.0), 1.8, 7.2, 0.2)
    used = window.energy[window.weight > 0]
    assert used.min() >= 2.0
    assert used.max() < 7.0


def test_jacobian_of_a_model_is_that_of_differences():
    window = take_window(make_losses(quadratic, 2), 1.0, 3.0, 0.2)
    model = Model([EXCITON, Exciton(2.5, 0.3, shape="lorentzian")], 2, STEP)
    parameters = np.tile(np.log([3e4, 2.0, 0.2, 2e4, 2.5, 0.3]), (2, 1))
    _, jacobian = model.evaluate(window, parameters)
    for k in range(model.n_parameters):
        step = 1e-5 * np.eye(model.n_parameters)[k]
        up, down = (model.evaluate(window, parameters + sign * step)[0] for sign in (1, -1))
        assert jacobian[:, k] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-4)


def test_peaks_are_blurred_by_the_response_of_the_spectrum():
    window = take_window(make_losses(quadratic, 1), 1.2, 2.8, 0.2)
    model = Model([EXCITON], -1, STEP)
    value = model.peak(0, window, np.array([2.03]), np.array([0.23]))[0, 0]
    assert value == pytest.approx(blurred("gaussian", 2.03, 0.23, STEP)(window.energy[0]), rel=0.02)
    # A Gaussian response adds its width in quadrature.
    broad = STEP * gaussian(window.energy[0], 2.03, np.hypot(0.23, FWHM))[0]
    assert value == pytest.approx(broad, rel=0.02, abs=1e-3 * broad.max())


@pytest.mark.parametrize("sigma", [1e-4, 0.05, 1.0])
def test_reduced_chi2_of_noise_is_one_whatever_is_known_before(sigma):
    """A number that is known does not follow the noise, one that is not does; few bins tell them apart."""
    n, area = 1500, 0.2 * AREA
    truth = np.log([area, 2.03, 0.23])
    losses = make_losses(exciton_on(quadratic, area=area), n, rng=np.random.default_rng(7031))
    window = take_window(losses, 1.6, 2.5, 1.0)
    start = np.tile(truth, (n, 1))
    found = least_squares(
        Model([EXCITON], 2, STEP), window, start, Prior(start, np.full(3, sigma**-2))
    )
    n_free = window.n_used[0] - 6
    assert n_free < 12
    assert found.chi2.mean() == pytest.approx(1, abs=4 * np.sqrt(2 / n_free / n))


def test_least_squares_are_those_of_scipy():
    """Slow reference: one spectrum, the covariance as a matrix, numerical derivatives."""
    losses = make_losses(
        exciton_on(quadratic),
        1,
        rng=np.random.default_rng(1),
        directions=[lambda e: 40 * np.exp(-e)],
    )
    window = take_window(losses, 1.4, 2.6, 0.2)
    model = Model([EXCITON], 2, STEP)
    start = np.log([[2e4, 2.0, 0.2]])
    found = least_squares(model, window, start, Prior(start, np.zeros(3)))
    powers = model.background(window)[0]
    directions = window.directions[0] / window.weight[0]
    best, covariance = curve_fit(
        lambda _, *free: (
            model.evaluate(window, np.array([free[:3]]))[0][0] + np.array(free[3:]) @ powers
        ),
        window.energy[0],
        window.values[0],
        p0=[*start[0], 400.0, 0.0, 0.0],
        sigma=np.diag(window.weight[0] ** -2) + directions.T @ directions,
        absolute_sigma=True,
    )
    sigma, best = np.sqrt(np.diag(covariance))[:3], best[:3]
    assert found.converged.all()
    assert np.abs((found.parameters[0] - best) / sigma).max() < 0.03
    assert np.sqrt(np.diag(found.covariance[0])) == pytest.approx(sigma, rel=0.02)


@pytest.mark.parametrize("shape", ["gaussian", "lorentzian"])
def test_excitons_come_back(shape):
    losses = make_losses(exciton_on(quadratic, shape=shape, area=1e5), 2, centre=[0.0, 0.053])
    found = fit_peaks(losses, [replace(EXCITON, shape=shape)])
    assert column(found, "position") == pytest.approx(2.03, abs=1e-3)
    assert column(found, "width") == pytest.approx(0.23, rel=0.02)
    assert column(found, "area") == pytest.approx(1e5, rel=0.03)
    assert (found[:, -1] == Reason.NONE).all()


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_plasmons_come_back(weight):
    """At a tenth of the energies of metals, so that the axis is short."""

    def signal(energy):
        distance, response = response_of()
        fine = energy[:, None] - distance
        factor = 1.0 if weight is None else weight(np.maximum(fine, 1e-3))
        return 500 * (drude(fine, 3.1, 0.9)[0] * factor) @ response

    losses = make_losses(signal, 2, centre=[0.0, 0.034])
    found = fit_peaks(losses, [Plasmon(3.0, 1.0)], weight=weight, is_single=False)
    maximum = drude_maximum(np.array([3.1]), np.array([0.9]))[0][0]
    assert column(found, "position") == pytest.approx(3.1, abs=2e-3)
    assert column(found, "maximum") == pytest.approx(maximum, abs=2e-3)
    assert column(found, "width") == pytest.approx(0.9, rel=5e-3)
    area = 500 * drude_area(np.array([3.1]), np.array([0.9]), weight)[0][0] / STEP
    assert column(found, "area") == pytest.approx(area, rel=5e-3)


def test_the_top_is_found_without_a_model():
    """What scatters less at high energies moves the top, and the Drude form does not follow."""
    energies = np.linspace(2, 4, 200001)
    curve = drude(energies, 3.1, 0.9)[0] / energies
    losses = make_losses(lambda e: 900 * drude(e, 3.1, 0.9)[0] / np.maximum(e, 0.1), 1)
    found = fit_peaks(losses, [Plasmon(3.0, 1.0)], is_single=False)
    truth = energies[curve.argmax()]
    assert column(found, "top")[0] == pytest.approx(truth, abs=5e-3)
    assert abs(column(found, "top") - truth) < column(found, "top", "std") * 3


def test_the_top_of_a_quartic_is_exact():
    curve = lambda e: 900 - 300 * (e - 3.02) ** 2 + 40 * (e - 3.02) ** 4  # noqa: E731
    window = take_window(make_losses(curve, 1), 2.0, 4.0, 0.05)
    place, _ = top(window, np.array([3.1]), np.array([0.6]))
    assert place[0] == pytest.approx(3.02, abs=1e-4)


def test_a_slope_has_no_top():
    window = take_window(make_losses(lambda e: 100 * np.maximum(e, 0), 1), 2.0, 4.0, 0.05)
    place, std = top(window, np.array([3.0]), np.array([0.6]))
    assert np.isnan(place[0])
    assert np.isnan(std[0])


def test_errors_hold():
    """Pulls of 400 spectra with noise and an error that channels share are standard normal."""
    losses = make_losses(
        exciton_on(quadratic),
        400,
        rng=np.random.default_rng(2),
        centre=np.random.default_rng(3).normal(0, 0.05, 400),
        directions=[
            lambda e: 60 * np.exp(-np.maximum(e, 0)),
            lambda e: 20 * np.exp(-((e - 2) ** 2)),
        ],
    )
    found = fit_peaks(losses, [EXCITON])
    pull = (column(found, "position") - 2.03) / column(found, "position", "std")
    assert abs(pull.mean()) < 0.2
    assert 0.9 < pull.std() < 1.1
    assert 0.62 < (np.abs(pull) < 1).mean() < 0.74
    assert np.median(found[:, -3]) == pytest.approx(1, abs=0.1)


def test_what_the_peak_may_be_off_by_is_in_the_error():
    """A direction like the peak looked for leaves its area unknown by as much."""
    peak = blurred("gaussian", 2.03, 0.23, AREA * STEP)
    losses = make_losses(exciton_on(quadratic), 1, directions=[lambda e: 0.1 * peak(e)])
    found = fit_peaks(losses, [EXCITON])
    alone = fit_peaks(replace(losses, directions=0 * losses.directions), [EXCITON])
    added = column(found, "area", "std") ** 2 - column(alone, "area", "std") ** 2
    assert np.sqrt(added) == pytest.approx(0.1 * AREA, rel=0.1)


def test_false_alarms_are_as_often_as_stated():
    """Two in a hundred above 2, one in a thousand above 3."""
    losses = make_losses(quadratic, 3000, rng=np.random.default_rng(4))
    found = fit_peaks(losses, [EXCITON], threshold=9.0)
    assert 0.008 < (found[:, -2] > 2).mean() < 0.03
    assert (found[:, -2] > 3).mean() < 0.003
    assert (found[:, -1] == Reason.NOT_SIGNIFICANT).all()
    assert np.isnan(found[:, :-2]).all()


def test_a_wider_range_asks_for_more():
    """The same peak is less certain where it might have been at more places."""
    losses = make_losses(exciton_on(quadratic, area=2e3), 20, rng=np.random.default_rng(5))
    window = take_window(losses, 1.0, 3.0, 0.2)
    model = Model([EXCITON], 2, STEP)
    near, far = (
        search(model, window, [np.linspace(2 - reach, 2 + reach, 41)]) for reach in (0.05, 0.8)
    )
    assert np.median(near.significance - far.significance) > 0


def test_bends_of_the_background_are_no_peaks():
    """What is certain by noise alone is not where the background is a polynomial to 5 % only."""

    def bent(energy):
        x = np.clip((energy - 2) / 0.4, -1, 1)
        return 5e3 * (1 + 0.02 * (8 * x**4 - 8 * x**2 + 1))

    window = take_window(make_losses(bent, 50, rng=np.random.default_rng(6)), 1.6, 2.4, 0.2)
    model, places = Model([EXCITON], 2, STEP), np.linspace(1.9, 2.1, 9)
    certain = search(model, window, [places]).significance
    doubted = search(model, window.doubting(2), [places]).significance
    assert np.median(certain) > 3
    assert np.median(doubted) < 2


def test_every_spectrum_is_treated_alone():
    losses = make_losses(
        exciton_on(quadratic), 7, rng=np.random.default_rng(7), centre=np.linspace(-0.2, 0.2, 7)
    )
    together = fit_peaks(losses, [EXCITON, Exciton(3.5, 0.3)], threshold=1.0)
    alone = [
        fit_peaks(losses.select([k]), [EXCITON, Exciton(3.5, 0.3)], threshold=1.0) for k in range(7)
    ]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-9)


def test_peaks_side_by_side_need_each_other():
    """Two peaks that touch: together they are right, alone the neighbour pulls."""
    other = blurred("gaussian", 2.4, 0.3, AREA * STEP)
    losses = make_losses(exciton_on(lambda e: quadratic(e) + other(e)), 1)
    both = fit_peaks(losses, [EXCITON, Exciton(2.4, 0.3)])[:, :WIDTH]
    alone = fit_peaks(losses, [EXCITON])
    assert column(both, "position")[0] == pytest.approx(2.03, abs=5e-3)
    off = [abs(column(one, "position")[0] - 2.03) for one in (both, alone)]
    assert off[1] > 3 * off[0]


def pair_of(first, second, sizes=(1.0, 1.5)):
    """Two excitons 0.4 eV apart over a background, the first the fainter one."""
    shapes = [
        blurred("gaussian", place, width, size * 0.25 * AREA * STEP)
        for place, width, size in zip((first, second), (0.25, 0.35), sizes, strict=True)
    ]
    return lambda energy: sum(shape(energy) for shape in shapes) + quadratic(energy)


@pytest.mark.parametrize("off", [-0.16, 0.0, 0.12])
def test_a_faint_peak_is_not_looked_for_in_the_flank_of_its_neighbour(off):
    """Both lie as far off where they are expected: the second comes close to the place of the first."""
    losses = make_losses(pair_of(2.0 + off, 2.4 + off), 60, rng=np.random.default_rng(7010))
    found = fit_peaks(losses, [Exciton(2.0, 0.25), Exciton(2.4, 0.35)])
    for k, place in enumerate((2.0, 2.4)):
        one = found[:, WIDTH * k :][:, :WIDTH]
        error, std = column(one, "position") - place - off, column(one, "position", "std")
        assert np.isfinite(error).mean() > 0.9
        assert np.nanmax(np.abs(error)) < 0.2
        assert (
            np.nanmean(np.abs(error) < np.hypot(std, column(one, "position", "systematic"))) > 0.58
        )


def test_one_peak_where_two_may_be_is_not_two():
    """One peak within the ranges of both: it is found once, and they do not change places."""
    losses = make_losses(pair_of(2.15, 2.15, (2.0, 0.0)), 60, rng=np.random.default_rng(7011))
    found = fit_peaks(losses, [Exciton(2.0, 0.25), Exciton(2.4, 0.25)]).reshape(60, 2, WIDTH)
    is_there = np.isfinite(found[..., 0])
    assert (is_there.sum(-1) == 1).mean() > 0.85
    assert is_there[:, 0].mean() > 0.8  # it is expected nearer
    pull = (found[..., 0] - 2.15) / np.hypot(found[..., 1], found[..., 2])
    assert np.abs(pull[is_there]).max() < 4


def test_pairs_are_those_of_a_plain_fit():
    """Slow reference: a linear fit of the shapes of both at every pair of places."""
    window = take_window(
        make_losses(pair_of(1.9, 2.3), 1, rng=np.random.default_rng(7012)), 1.5, 3.0, 0.25
    )
    model = Model([Exciton(2.0, 0.25), Exciton(2.4, 0.35)], 2, STEP)
    places = [places_of(peak) for peak in model.peaks]
    found = search(model, window, places)
    chi2 = {}
    for pair in ((a, b) for a in places[0] for b in places[1] if a < b - 0.1):
        shapes = [
            model.peak(k, window, np.array([place]), np.array([model.peaks[k].width]))[0, 0]
            for k, place in enumerate(pair)
        ]
        design = np.stack([*shapes, *model.background(window)[0]], -1) * window.weight[0][:, None]
        data = window.values[0] * window.weight[0]
        best, rest, *_ = np.linalg.lstsq(design, data, rcond=None)
        if (best[:2] > 0).all():
            chi2[pair] = rest[0]
    assert tuple(found.position[0]) == min(chi2, key=chi2.get)


def test_places_as_likely_as_the_best_widen_its_error():
    """Two places of the same improvement, and one: what a Gaussian of one of them holds."""
    places = np.linspace(-1, 1, 17)
    one = 20 * np.exp(-(((places - 0.25) / 0.3) ** 2))
    two = one + 20 * np.exp(-(((places + 0.625) / 0.2) ** 2))
    alone, both = _widening(places, np.stack([one, two]))
    assert alone == pytest.approx(1.0, abs=0.01)
    assert both > 4


def test_a_position_that_is_anywhere_in_its_range_is_none():
    """Something is there, as a wide bump, and no place is better than another."""
    wide = blurred("gaussian", 2.0, 0.9, 8e4 * STEP)
    losses = make_losses(lambda e: quadratic(e) + wide(e), 40, rng=np.random.default_rng(7013))
    peak = Exciton(2.0, 0.25, left=1.0, right=3.0, background=1)
    found = fit_peaks(losses, [peak], threshold=2.0)
    error = np.hypot(column(found, "position", "std"), column(found, "position", "systematic"))
    assert (error[np.isfinite(error)] <= 0.5 * 0.25).all()


def test_peaks_are_fitted_together_where_windows_overlap():
    peaks = [Plasmon(5.0, 0.5), Exciton(2.0, 0.2), Exciton(2.3, 0.2), Exciton(3.5, 0.1)]
    assert groups_of(peaks) == [[1, 2], [3], [0]]


#: E_I that cuts most of a window off, below the peak that is looked for.
LATE = {"loss_limit": np.full(1, 1.85)}


@pytest.mark.parametrize(
    "peak, change, reason",
    [
        (Exciton(6.95, 0.2), {}, Reason.AXIS_TOO_SHORT),
        (Exciton(6.8, 0.2, left=6.6, right=7.5), {}, Reason.AXIS_TOO_SHORT),
        (Exciton(0.4, 0.1), {}, Reason.BELOW_RESOLUTION),
        (Exciton(2.0, 0.2, left=1.0, right=2.3), LATE, Reason.BELOW_RESOLUTION),
        (EXCITON, {"loss_limit": np.full(1, np.inf)}, Reason.NO_LIMIT),
        (EXCITON, {"counts": np.full((1, 800), np.nan)}, Reason.TOO_THICK),
        (Exciton(3.5, 0.2), {}, Reason.NOT_SIGNIFICANT),
    ],
)
def test_reasons_why_there_is_no_number(peak, change, reason):
    losses = replace(make_losses(exciton_on(quadratic), 1), **change)
    found = fit_peaks(losses, [peak])
    assert found[0, -1] == reason
    assert np.isnan(found[0, :-2]).all()


@pytest.mark.parametrize(
    "position, reason", [(1.75, Reason.AT_LOWER_END), (2.25, Reason.AT_UPPER_END)]
)
def test_a_peak_beyond_the_range_is_at_its_end(position, reason):
    losses = make_losses(exciton_on(quadratic, position=position, area=1e5), 1)
    found = fit_peaks(losses, [Exciton(2.0, 0.2, left=1.2, right=2.8)])
    assert found[0, -1] == reason


@pytest.mark.parametrize("power", [-2.0, -3.0, -4.0])
def test_a_tail_that_falls_is_no_plasmon(power):
    """Smooth losses far above any plasmon, clear enough for a fit of the peak alone."""
    tail = lambda e: 2e3 * (np.maximum(e, 0.3) / 4) ** power  # noqa: E731
    losses = make_losses(tail, 40, rng=np.random.default_rng(9))
    found = fit_peaks(losses, [Plasmon(4.0, 0.5)], is_single=False)
    assert (found[:, -2] > 3).mean() < 0.05
    assert (found[:, -1] == Reason.NOT_SIGNIFICANT).mean() > 0.95


@pytest.mark.parametrize("factor, reason", [(1.5, Reason.NONE), (4.0, Reason.OTHER_WIDTH)])
def test_a_peak_of_another_width_is_not_the_one_asked_for(factor, reason):
    losses = make_losses(lambda e: 900 * drude(e, 3.0, 0.3 * factor)[0], 1)
    found = fit_peaks(losses, [Plasmon(3.0, 0.3)], is_single=False)
    assert found[0, -1] == reason


def test_a_model_that_does_not_fit_is_told():
    """An onset is no peak; the number stays, with an error that says so."""

    def onset(energy):
        return 2e4 * np.sqrt(np.clip(energy - 1.6, 0, None))

    found = fit_peaks(make_losses(onset, 1, rng=np.random.default_rng(6)), [EXCITON])
    assert found[0, -1] == Reason.MISFIT
    assert np.isfinite(column(found, "position")[0])
    std, systematic = (column(found, "position", kind)[0] for kind in ("std", "systematic"))
    assert np.hypot(std, systematic) > 0.99 * std * np.sqrt(found[0, -3])


def test_gains_are_losses_turned_round():
    signal = exciton_on(quadratic)
    losses = make_losses(signal, 1, rng=np.random.default_rng(8))
    spectra = ("counts", "zlp", "variance", "directions", "response")
    turned = replace(
        losses,
        energy=-losses.energy[::-1],
        gain_limit=-losses.loss_limit,
        loss_limit=-losses.gain_limit,
        **{name: getattr(losses, name)[..., ::-1] for name in spectra},
    )
    np.testing.assert_allclose(
        fit_peaks(turned, [EXCITON], is_gain=True), fit_peaks(losses, [EXCITON]), rtol=1e-9
    )


@pytest.mark.parametrize("is_shared", [False, True])
def test_pooled_spectra_know_their_peak_better_but_not_what_they_share(is_shared):
    peak = blurred("gaussian", 2.03, 0.23, AREA * STEP)
    directions = [(lambda e: 0.2 * peak(e)) if is_shared else (lambda e: 0 * e)]
    losses = make_losses(exciton_on(quadratic), 9, directions=directions)
    piece = piece_of(losses, [EXCITON])
    one = fit_peaks(losses.select([4]), [EXCITON], threshold=0.0)
    mean = fit_group(pooled(piece, piece.select([4])), [EXCITON], threshold=0.0)[:, 0]
    ratio = column(mean, "area", "std") / column(one, "area", "std")
    assert column(mean, "area") == pytest.approx(column(one, "area"), rel=0.02)
    assert ratio > 0.85 if is_shared else ratio < 0.6


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Exciton(-1.0, 0.2), "energy: expected a positive number"),
        (lambda: Exciton(2.0, 0.0), "width: expected a positive number"),
        (lambda: Exciton(2.0, 0.2, left=2.5), "left: expected an energy below that of the peak, 2"),
        (lambda: Exciton(2.0, 0.2, right=1.0), "right: expected an energy above that of the peak"),
        (lambda: Exciton(2.0, 0.2, background=7), "background: expected an integer from 0 to 4"),
        (lambda: Exciton(2.0, 0.2, shape="voigt"), "shape: expected one of"),
        (lambda: Plasmon("15", 3.0), "energy: expected a positive number"),
        (lambda: Plasmon(22.0, 50.0), "width: expected less than 2 times the energy, 44"),
        (lambda: Exciton(0.1, 0.2), "width: expected less than 2 times the energy, 0.2"),
    ],
)
def test_wrong_peaks_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
