# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference shape: interpolation, smoothing, tails that fall, and their extrapolation."""

import functools

import numpy as np
import pytest

from hyperspy_zlpml.statistics import Range
from hyperspy_zlpml.zlp.grid import (
    GAIN_SIDE_POWER_SIGMA,
    GRID_STEP,
    TAIL_POWER_SIGMA,
    Grid,
    from_grid,
    to_grid,
)
from hyperspy_zlpml.zlp.reference import fit_reference
from hyperspy_zlpml.zlp.tails import (
    beyond_data,
    extrapolate_by_gain_side,
    falling_tails,
    level_ripples,
    like_gain_side,
    tail_modes,
    unseen_modes,
)

GRID = Grid.covering(-12.0, 40.0)
PEAK = int(np.abs(GRID.x).argmin())


def pearson(u, gain=2.5, loss=2.0):
    exponent = np.where(u < 0, gain, loss)
    return (1 + 4 * (2 ** (1 / exponent) - 1) * u**2) ** -exponent


# --- the grid -------------------------------------------------------------------------------------


def test_grid_coordinate_is_linear_in_the_core_and_logarithmic_in_the_tails():
    u = np.linspace(-50, 50, 401)
    np.testing.assert_allclose(from_grid(to_grid(u)), u, atol=1e-12)
    assert to_grid(1e-4) == pytest.approx(2e-4, rel=1e-6)
    assert to_grid(2000.0) - to_grid(1000.0) == pytest.approx(np.log(2), rel=1e-5)


@pytest.mark.parametrize("low, high", [(-12, 40), (-3, 3), (-0.4, 100)])
def test_grid_covers_its_range_with_a_node_at_the_peak(low, high):
    grid = Grid.covering(low, high)
    assert grid.u[0] <= low
    assert grid.u[-1] >= high
    assert np.abs(grid.x).min() < 1e-9
    np.testing.assert_allclose(np.diff(grid.x), GRID_STEP)
    np.testing.assert_allclose(to_grid(grid.u), grid.x, atol=1e-9)


def test_interpolation_is_linear_in_x_and_exact_at_the_nodes():
    table = 3.0 - 2.0 * GRID.x
    u = np.random.default_rng(0).uniform(-12, 40, (7, 5))
    np.testing.assert_allclose(GRID.interpolate(table, u), 3.0 - 2.0 * to_grid(u), atol=1e-9)
    table = np.random.default_rng(1).normal(size=GRID.n)
    np.testing.assert_allclose(GRID.interpolate(table, GRID.u[:-1]), table[:-1], atol=1e-6)
    np.testing.assert_allclose(
        GRID.interpolate(table, from_grid(0.5 * (GRID.x[1:] + GRID.x[:-1]))),
        0.5 * (table[1:] + table[:-1]),
        atol=1e-6,
    )


def test_interpolation_of_many_tables_at_once():
    tables = np.random.default_rng(5).normal(size=(GRID.n, 3))
    u = np.array([-4.0, 0.1, 7.7, 100.0])
    found = GRID.interpolate_rows(tables, u)
    for k in range(3):
        np.testing.assert_allclose(found[:, k], GRID.interpolate(tables[:, k], u))


def test_interpolation_outside_keeps_the_last_values():
    table = np.random.default_rng(2).normal(size=GRID.n)
    ends = GRID.interpolate(table, np.array([-1e6, 1e6]))
    np.testing.assert_allclose(ends, table[[0, -1]], atol=1e-5)


def test_interpolated_shapes_are_good_to_what_the_step_promises():
    u = np.linspace(-1, 1, 2001)
    error = GRID.interpolate(np.log(pearson(GRID.u)), u) - np.log(pearson(u))
    assert np.abs(error).max() < 4e-5  # GRID_STEP**2 / 8 times a curvature of 3


# --- the fit --------------------------------------------------------------------------------------


def fitted(*arguments):
    return fit_reference(*arguments, GRID).log_shape


def measured(height=1e6, n=20, seed=0, readout=5.0, u_last=20.0):
    """Counts of spectra shifted by fractions of a channel, their u, scale and variance."""
    rng = np.random.default_rng(seed)
    u = np.arange(-8, u_last, 0.06) + rng.uniform(-0.03, 0.03, (n, 1))
    expected = height * pearson(u)
    counts = rng.poisson(expected) + readout * rng.standard_normal(u.shape)
    return u, counts, np.full(u.shape, height), expected + readout**2


@pytest.mark.parametrize("height", [1e4, 1e6, 1e8])
def test_known_shape_is_recovered(height):
    found = fitted(*measured(height))
    truth = np.log(pearson(GRID.u))
    core, flank = np.abs(GRID.u) < 1, np.abs(GRID.u) < 4
    # A cell holds some ten channels of 20 spectra; no shape is believed better than 1e-3.
    error = 1 / np.sqrt(200 * height * pearson(GRID.u)) + 2e-3
    assert np.abs((found - truth)[core]).max() < 0.01 + 5 * error[core].max()
    assert (np.abs(found - truth)[flank] < 0.03 + 5 * error[flank]).all()


def test_shape_is_one_at_the_peak_and_falls_outside_the_core():
    found = fitted(*measured(3e3))
    assert found[PEAK] == pytest.approx(0.0, abs=1e-9)
    assert (np.diff(found)[GRID.u[:-1] > 0.8] <= 1e-12).all()
    assert (np.diff(found)[GRID.u[1:] < -0.8] >= -1e-12).all()


def test_counts_below_zero_are_no_obstacle():
    u, counts, scale, variance = measured(2e3, readout=20.0)
    assert (counts < 0).mean() > 0.2
    found = fitted(u, counts, scale, variance)
    flank = np.abs(GRID.u) < 2
    assert np.isfinite(found).all()
    assert np.abs(found - np.log(pearson(GRID.u)))[flank].max() < 0.25


def test_scale_of_the_counts_does_not_matter():
    u, counts, scale, variance = measured()
    one = fitted(u, counts, scale, variance)
    # A common factor of the ratios only moves the shape, which is 0 at the peak again.
    np.testing.assert_allclose(fitted(u, 3 * counts, 3 * scale, 9 * variance), one, atol=1e-9)
    np.testing.assert_allclose(fitted(u, counts, 2 * scale, variance), one, atol=0.005)


def test_points_of_no_scale_are_left_out():
    u, counts, scale, variance = measured()
    bad = np.random.default_rng(3).random(u.shape) < 0.3
    spoiled = np.where(bad, 1e9, counts), np.where(bad, 0.0, scale)
    found = fitted(u, *spoiled, variance)
    kept = fitted(u[~bad], counts[~bad], scale[~bad], variance[~bad])
    np.testing.assert_allclose(found, kept, atol=1e-12)


def test_tail_goes_on_from_its_power_beyond_the_data_and_flattens():
    found = fitted(*measured(1e8, u_last=10.0))
    slope = np.gradient(found, GRID.u) * GRID.u
    # Pearson VII of exponent 2: u**-4 to the end, steep for a tail: it is expected to turn to half as far from u**-3; half of
    # that where the energy is four times as large.
    ends = np.interp([9.0, 10.2, 39.0], GRID.u, slope)
    np.testing.assert_allclose(ends, [-4.0, -4.0, -1.75], rtol=0.1)


@pytest.mark.parametrize(
    "power, behind, doubt", [(-2.0, -2, 0.5), (-3, -3, 0.5), (-4, -3.5, 0.71), (-9, -3.75, 1.5)]
)
def test_the_steeper_a_flank_the_less_is_known_of_the_tail_behind_it(power, behind, doubt):
    shape = power * np.log(np.maximum(np.abs(GRID.u), 0.5))
    tail = falling_tails(shape, GRID, to_grid(-8.0), to_grid(8.0))
    # It leaves the slope that it had, but not far: later it is that of a tail that began less steep.
    slopes, first = np.diff(tail) / GRID_STEP, np.searchsorted(GRID.u, 8.05)
    assert slopes[first] == pytest.approx(max(power, -4.5), rel=0.06)
    later = beyond_data(behind, 150)
    assert slopes[first + 148] == pytest.approx((later[149] - later[148]) / GRID_STEP, rel=0.05)
    after, before = unseen_modes(shape, GRID, Range(-8.0, 8.0))[::-1]
    of_guess, _ = tail_modes(shape, GRID, 4.0, 8.0)
    error = GRID.interpolate(after, np.array([16.0]))[0]
    assert error == pytest.approx(doubt * np.log(2), rel=0.01)
    nearer = GRID.interpolate(before, np.array([-10.0]))[0]
    assert nearer == pytest.approx(doubt * np.log(10 / 8), rel=0.01)
    beside = GAIN_SIDE_POWER_SIGMA * np.log(2)
    assert GRID.interpolate(of_guess, np.array([16.0]))[0] == pytest.approx(
        error + beside, rel=0.01
    )


@pytest.mark.parametrize("power", [-6.0, -2.5, -1.0, 0.3])
def test_tails_beyond_the_data_fall_and_flatten(power):
    slopes = np.diff(beyond_data(power, 600)) / GRID_STEP
    assert (slopes <= -1 + 1e-9).all()
    assert (np.diff(slopes) >= -1e-9).all()
    assert slopes[-1] == pytest.approx(-1.0)
    assert slopes[0] == pytest.approx(min(power, -1.0), rel=0.01)


def test_measured_tails_are_met_better_where_they_are_taken_to_flatten():
    # ln(counts over the maximum) of vacuum at 200 keV, FWHM 80 meV, 5 to 80 FWHM behind the peak; and a
    # wider peak of another spectrometer: smooth curves of the measured ones.
    tails = (
        [-6.95, -7.33, -7.92, -8.22, -8.43, -8.79, -9.12],
        [-6.98, -7.48, -8.09, -8.71, -9.08, -9.77, -10.05],
    )
    u = np.array([5.0, 6, 8, 10, 12, 16, 20])
    straight, bent = [], []
    for tail in tails:
        shape = np.interp(np.log(np.maximum(GRID.u, 1)), np.log(u), tail)
        slope = np.diff(np.interp(np.log([5.0, 10.0]), np.log(u), tail))[0] / np.log(2)
        end = np.searchsorted(GRID.u, 10.0)
        fall = beyond_data(slope, GRID.n - end)[np.searchsorted(GRID.u, 20.0) - end]
        left = np.interp(20.0, GRID.u, shape) - shape[end]
        straight.append(left - slope * np.log(2))
        bent.append(left - fall)
    assert np.abs(bent).mean() < 0.8 * np.abs(straight).mean()


@pytest.mark.parametrize(
    "low, high",
    [
        (3.0, 10.0),
        pytest.param(
            0.4, 2.2),
    ],
)  # fmt: skip
def test_modes_are_the_errors_that_repeated_measurements_show(low, high):
    # The modes are directions of one standard error: their quadrature is the scatter of the fit
    # over 25 measurements, known to 14 % a point; the smoothing chosen makes it uneven.
    fits = [fit_reference(*measured(1e4, n=4, seed=seed), GRID) for seed in range(25)]
    shapes = np.array([one.log_shape for one in fits])
    claimed = np.median([np.sqrt((one.modes**2).sum(0)) for one in fits], axis=0)
    where = (GRID.u > low) & (GRID.u < high)
    assert 0.5 < np.median(shapes.std(0, ddof=1)[where] / claimed[where]) < 1.5


@functools.cache
def repeated(height, n):
    """Errors made and claimed of 30 measurements, shape (30, grid.n)."""
    fits = [fit_reference(*measured(height, n, seed=seed), GRID) for seed in range(30)]
    errors = np.array([one.log_shape for one in fits]) - np.log(pearson(GRID.u))
    return errors, np.array([np.sqrt((one.modes**2).sum(0)) for one in fits])


@pytest.mark.parametrize("region", [(-3.0, -0.8), (0.2, 0.5), (0.8, 3.0), (3.0, 8.0)])
@pytest.mark.parametrize("height, n", [(1e4, 4), (1e6, 20)])
def test_errors_are_those_against_the_truth(height, n, region):
    # Pulls of 30 measurements, one or two independent ones each: over 60 seeds the mean square
    # scatters by up to 1.5 from one to the next, so the width of 30 by 0.14; from a true 1.0 (0.9
    # to 1.1 over 60 seeds) that is 4 standard deviations. What pooling in cells of 0.03 in x
    # bends, 16 * 0.03**2 / 24 on a flank of the fourth power, and what else is not noise is not
    # claimed: a thousandth altogether, which counts where there are 20 million electrons.
    where = (GRID.u > region[0]) & (GRID.u < region[1])
    errors, claimed = (values[:, where] for values in repeated(height, n))
    pulls = errors / np.hypot(claimed, 1e-3 if height > 1e5 else 0.0)
    assert (0.45 if height < 1e5 else 0.2) < np.sqrt(np.mean(pulls**2)) < 1.6


def test_modes_vanish_at_the_peak_and_grow_where_less_is_measured():
    claimed = np.sqrt((fit_reference(*measured(1e4, n=4), GRID).modes ** 2).sum(0))
    assert claimed[PEAK] == pytest.approx(0, abs=1e-9)  # the height is no part of the shape
    assert (np.diff(claimed[np.searchsorted(GRID.u, [1.0, 4.0, 10.0, 35.0])]) > 0).all()


def test_fine_structure_that_no_smooth_shape_follows_is_an_error_of_the_shape():
    u, counts, scale, variance = measured(1e8)
    ripple = 1 + 0.02 * np.sin(2 * np.pi * u / 0.15)
    smooth, rippled = (
        fit_reference(u, values, scale, variance, GRID) for values in (counts, counts * ripple)
    )
    flank = (np.abs(GRID.u) > 1) & (np.abs(GRID.u) < 4)
    of_smooth, of_rippled = (np.sqrt((one.modes**2).sum(0))[flank] for one in (smooth, rippled))
    found = rippled.log_shape - np.log(pearson(GRID.u))
    assert np.median(of_rippled) > 3 * np.median(of_smooth)
    assert np.sqrt(np.mean((found[flank] / of_rippled) ** 2)) < 2


def test_of_the_error_that_fine_structure_makes_noise_has_its_share_alone():
    u, counts, scale, variance = measured(1e8)
    ripple = 1 + 0.02 * np.sin(2 * np.pi * u / 0.15)
    smooth, rippled = (
        fit_reference(u, values, scale, variance, GRID) for values in (counts, counts * ripple)
    )
    np.testing.assert_array_equal(smooth.noise_share, 1.0)
    flank = (np.abs(GRID.u) > 1) & (np.abs(GRID.u) < 4)
    of_smooth = np.sqrt((smooth.modes**2).sum(0))[flank]
    of_noise = np.sqrt(((rippled.noise_share * rippled.modes) ** 2).sum(0))[flank]
    # A ripple that noise does not explain is smoothed less: its errors are a little larger.
    assert 1.0 < np.median(of_noise / of_smooth) < 2.0


def test_shape_is_seen_up_to_where_it_sinks_into_the_noise():
    u, counts, scale, variance = measured(1e4, n=4, readout=20.0)
    # A twelfth of 0.25 in x, 10 channels at 4 FWHM: 40 of them let 20 / sqrt(40) counts be seen.
    seen = fit_reference(u, counts, scale, variance, GRID).seen
    assert -6 < seen.low < -3
    assert 3 < seen.high < 8
    assert fit_reference(*measured(1e10), GRID).seen.high > 19


@pytest.mark.parametrize("last", [0.1, 3.0])
def test_what_the_last_channels_hold_makes_no_cliff_and_no_shelf(last):
    u, counts, scale, variance = measured(1e8, u_last=8.0)
    odd = np.where(u > 7.9, last, 1.0)
    found = fitted(u, counts * odd, scale, variance)
    good = fitted(u, counts, scale, variance)
    off = GRID.interpolate(found - good, np.array([16.0, 30.0]))
    assert np.abs(off).max() < 1.0


# --- tails ----------------------------------------------------------------------------------------


def test_falling_tails_leave_a_falling_shape_alone():
    shape = np.log(pearson(GRID.u))
    np.testing.assert_allclose(falling_tails(shape, GRID, GRID.x[0], GRID.x[-1]), shape, atol=1e-12)


def test_falling_tails_do_not_rise_and_fall_at_least_slowly_beyond_the_data():
    rng = np.random.default_rng(4)
    shape = np.log(pearson(GRID.u)) + 0.3 * rng.standard_normal(GRID.n)
    rising = np.where(GRID.u > 10, -3.0 + GRID.x, shape)
    before = rising.copy()
    x_last = to_grid(10.0)
    found = falling_tails(rising, GRID, GRID.x[0], x_last)
    np.testing.assert_array_equal(rising, before)
    core = np.abs(GRID.u) < 0.7
    np.testing.assert_array_equal(found[core], rising[core])
    assert (np.diff(found)[GRID.u[:-1] > 0.8] <= 1e-12).all()
    assert (np.diff(found)[GRID.u[1:] < -0.8] >= -1e-12).all()
    beyond = GRID.x[:-1] > x_last + GRID_STEP
    assert (np.diff(found)[beyond] <= -GRID_STEP + 1e-12).all()
    # Isotonic regression: means of what it pools are kept.
    inside = (GRID.u > 0.8) & (GRID.x < x_last)
    assert found[inside].mean() == pytest.approx(rising[inside].mean(), abs=0.01)


def test_levelled_ripples_are_running_minima_outside_the_core():
    rng = np.random.default_rng(6)
    u = np.sort(rng.uniform(-6, 9, 70))
    values = -np.abs(u) + rng.standard_normal((2, 3, 70))
    found = level_ripples(values, u)
    for i in np.ndindex(2, 3):
        for g in range(70):
            inner = (np.sign(u) == np.sign(u[g])) & (np.abs(u) > 0.75) & (np.abs(u) <= abs(u[g]))
            expected = values[i][inner].min() if inner.any() else values[i][g]
            assert found[i][g] == expected


def test_falling_shapes_have_no_ripples_to_level():
    shape = np.log(pearson(GRID.u))
    np.testing.assert_array_equal(level_ripples(shape, GRID.u), shape)
    each = np.stack([GRID.u, GRID.u + 0.1])
    np.testing.assert_array_equal(level_ripples(np.log(pearson(each)), each), np.log(pearson(each)))


def test_extrapolation_by_the_gain_side_keeps_symmetric_shapes():
    grid = Grid.covering(-40, 40)
    shape = -np.log1p(grid.u**2)
    np.testing.assert_allclose(extrapolate_by_gain_side(shape, grid, 3.0, 50), shape, atol=1e-9)


def test_extrapolation_by_the_gain_side_lets_the_difference_of_the_sides_fade():
    grid = Grid.covering(-40, 40)
    symmetric = -2 * np.log1p(grid.u**2)
    shape = symmetric + np.where(grid.u > 0, np.log(2) * np.tanh(grid.u), 0.0)
    losses = np.where(grid.u > 3, 5.0, 0.0)
    found = extrapolate_by_gain_side(shape + losses, grid, 2.9, 30.0)
    below, beyond = grid.u <= 2.9, (grid.u > 2.9) & (grid.u < 30)
    np.testing.assert_array_equal(found[below], shape[below])
    excess = np.log(2) * (2.9 / grid.u[beyond]) ** 0.65
    np.testing.assert_allclose((found - symmetric)[beyond], excess, atol=0.01)


def test_tails_go_on_from_their_power_where_the_gain_side_ends():
    grid = Grid.covering(-60, 60)
    u = grid.u
    power = -2.0 * np.log(np.maximum(np.abs(u), 0.5))
    # What lies beyond the gain side, zeros of an axis that begins there, plays no part.
    found = extrapolate_by_gain_side(np.where(u < -6, -60.0, power), grid, 4.0, 5.9)
    seen, end = (u > 0.8) & (u < 5.9), np.searchsorted(u, 5.9)
    np.testing.assert_allclose(found[seen], power[seen], atol=0.02)
    flattened = found[end] + beyond_data(-2.0, u.size - end - 1)
    np.testing.assert_allclose(found[end + 1 :], flattened, atol=0.04)


def test_errors_of_both_sides_enter_where_the_tail_follows_the_gain_side():
    grid = Grid.covering(-40, 40)
    modes = np.stack([np.where(grid.u < 0, grid.u, 0.0), np.where(grid.u > 0, 1.0, 0.0)])
    of_gain, of_loss = like_gain_side(modes, grid, u_limit=2.0, u_end=10.0)
    u = np.array([1.0, 4.0, 10.0, 30.0])
    # An error at the join moves the tail less, the further it has faded: by 2**-.65 and 5**-.65.
    np.testing.assert_allclose(
        grid.interpolate(of_gain, u),
        [0, -4 + 2 * 0.637, -10 + 2 * 0.351, -10 + 2 * 0.351],
        atol=0.02,
    )
    np.testing.assert_allclose(grid.interpolate(of_loss, u), [1, 0.637, 0.351, 0.351], atol=0.02)


def test_tails_may_be_wrong_by_a_power_of_the_energy_and_by_how_the_sides_differ():
    shape = np.where(GRID.u > 0, -1.0, 0.0)
    power, fading = tail_modes(shape, GRID, 4.0, 8.0)
    assert (power[GRID.u <= 4] == 0).all()
    assert (fading[GRID.u <= 4] == 0).all()
    u = np.array([8.0, 16.0, 32.0])
    np.testing.assert_allclose(
        GRID.interpolate(power, u),
        GAIN_SIDE_POWER_SIGMA * np.log(2) + TAIL_POWER_SIGMA * np.log([1, 2, 4]),
        atol=1e-3,
    )
    fades = 1 - (4 / u) ** 0.65
    np.testing.assert_allclose(GRID.interpolate(fading, u), -0.5 * fades, atol=1e-3)


# --- tails that few electrons show -----------------------------------------------------------------


def of_few_electrons(seed):
    """Lorentzian tails, of which the last that a narrow window shows is at 3 FWHM."""
    u = np.linspace(-6, 20, 312)[None] + np.zeros((8, 1))
    expected = 1e3 * (np.exp(-4 * np.log(2) * u**2) + 0.008 / (1 + (1.4 * u) ** 2))
    counts = np.random.default_rng(seed).poisson(expected).astype(float)
    return fit_reference(u, counts, np.full(u.shape, 1e3), expected + 1e-3, GRID)


def test_tails_of_few_electrons_are_right_within_their_errors():
    u = np.array([4.0, 8.0, 16.0])
    truth = np.log(0.008 / (1 + (1.4 * u) ** 2) / 1.008)
    pulls = []
    for seed in range(30):
        found = of_few_electrons(seed)
        unseen = unseen_modes(found.log_shape, GRID, found.seen, found.slope_errors)
        modes = GRID.interpolate_rows(np.concatenate([found.modes, unseen]).T, u)
        errors = np.linalg.norm(modes, axis=-1)
        pulls.append((GRID.interpolate(found.log_shape, u) - truth) / errors)
    # The mean of 30 pulls has an error of 0.2, their standard deviation one of 0.13.
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.8
    assert np.std(pulls, axis=0).max() < 1.4


def test_a_power_that_is_not_known_is_drawn_to_that_of_most_tails():
    shape = -3.0 * np.log(np.maximum(np.abs(GRID.u), 0.5) / 0.5)
    ends = to_grid(-8.0), to_grid(10.0)
    slopes = []
    for error in (0.0, 0.7, 100.0):
        tail = falling_tails(shape, GRID, *ends, Range(error, error))
        slopes.append(np.diff(tail)[np.searchsorted(GRID.u, 10.1)] / GRID_STEP)
    np.testing.assert_allclose(slopes, [-3.0, -2.5, -2.0], atol=0.06)


def test_errors_of_slopes_are_those_that_repeated_measurements_show():
    found = [of_few_electrons(seed) for seed in range(40)]
    end = np.median([one.seen.high for one in found])
    inner = from_grid(to_grid(end) - 0.7)
    slopes = [
        np.diff(GRID.interpolate(one.log_shape, np.array([inner, end])))[0] / 0.7 for one in found
    ]
    claimed = np.median([one.slope_errors.high for one in found])
    # 40 measurements show a standard deviation to 11 %, and not all of them end there.
    assert 0.5 < np.std(slopes) / claimed < 1.4


@pytest.mark.parametrize("seed", range(4))
def test_what_lies_between_two_channels_is_not_lost_in_noise(seed):
    """Peaks of two channels whose tops disagree: the tails that all show are no guess of theirs."""
    rng = np.random.default_rng(seed)
    u = 0.55 * np.arange(-20, 70) + rng.uniform(-0.28, 0.28, (4, 1))
    tops = np.exp(0.8 * rng.standard_normal(u.shape) * (np.abs(u) < 0.7))
    variance = 1e5 * pearson(u) + 70.0**2
    counts = rng.normal(1e5 * pearson(u) * tops, np.sqrt(variance))
    found = fit_reference(u, counts, np.full(u.shape, 1e5), variance, GRID)
    assert found.seen.low < -2.5
    assert found.seen.high > 3.5
    # Height is that of the top, which is not known here: the shape of the flank is.
    flank = np.linspace(1.2, 3.5, 20)
    misfit = GRID.interpolate(found.log_shape, flank) - np.log(pearson(flank))
    assert misfit.std() < 0.25
