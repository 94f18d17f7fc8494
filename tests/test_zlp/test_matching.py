# SPDX-License-Identifier: GPL-3.0-or-later
"""Matching: noiseless spectra give back what they were made of, noisy ones honest errors."""

import numpy as np
import plain_match
import pytest
from scipy.optimize import least_squares

from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.image.odd_peaks import FAR_WIDTH
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.zlp.grid import Grid
from hyperspy_zlpml.zlp.groups import (
    Curvature,
    GroupedSpectra,
    group_curvature,
    group_spectra,
    make_groups,
)
from hyperspy_zlpml.zlp.kernels import N_PEAK
from hyperspy_zlpml.zlp.matching import KnownPeaks, MatchStart, inside_window, match
from hyperspy_zlpml.zlp.residual import CoherentResidual
from hyperspy_zlpml.zlp.tables import ShapeTable

STEP = 0.025
FWHM = 0.45
ENERGY = STEP * np.arange(-160, 400)
PER_FWHM = FWHM / STEP
GRID = Grid.covering(-20, 40)
GROUPS = make_groups(PER_FWHM, 300, 500)
POISSON = NoiseModel(1.0, 5.0)


def shape(u):
    exponent = np.where(u < 0, 2.5, 2.0)
    return (1 + 4 * (2 ** (1 / exponent) - 1) * u**2) ** -exponent


LOG_SHAPE = np.log(shape(GRID.u))
CURVATURE = group_curvature(GRID, LOG_SHAPE, GROUPS, PER_FWHM, STEP)
MODE = 0.2 * np.tanh(GRID.u / 3) * np.tanh(GRID.u**2)


def table(modes=(), nodes=(0.0,), **changes):
    """The reference, one log-shape per node, with modes that do not depend on the node."""
    n = len(nodes)
    none = np.zeros((n, GRID.n))
    values = {
        "log_shape": np.broadcast_to(LOG_SHAPE, (n, GRID.n)),
        "modes": np.array([np.broadcast_to(m, (n, GRID.n)) for m in modes]).reshape(-1, n, GRID.n),
        "rest": none, "scatter": none[0], "lower": none - 1, "upper": none + 1, "spill": none,
        "residual": CoherentResidual.none(), "log_fwhm": 0.0,
        **{name: none[0] for name in ("widening", "group_error", "channel_error", "coherent", "grain")},
    }  # fmt: skip
    return ShapeTable(
        grid=GRID, log_intensity_nodes=np.array(nodes, float), **{**values, **changes}
    )


def expected(height, centre, fwhm, deviation=None):
    u = (ENERGY - np.asarray(centre)[:, None]) / np.asarray(fwhm)[:, None]
    values = np.asarray(height)[:, None] * shape(u)
    return values if deviation is None else values * np.exp(deviation(u))


def grouped(counts):
    channel = counts[:, 1:-1].argmax(-1) + 1
    return group_spectra(counts, ENERGY, channel, GROUPS, CURVATURE)


def everywhere(n):
    return Range(np.full(n, -np.inf), np.full(n, np.inf))


def match_all(counts, centre, fwhm, *, window=None, using=None, noise=POISSON, prior=None, **more):
    n = len(counts)
    window = everywhere(n) if window is None else window
    using = table() if using is None else using
    start = MatchStart(centre, fwhm, np.zeros(n), window)
    return match(grouped(counts), start, using, noise, prior, **more)


def drifting(n=30, seed=0, width=0.02):
    rng = np.random.default_rng(seed)
    height = 1e5 * np.exp(rng.normal(0, 0.5, n))
    return height, rng.normal(0, 0.05, n), FWHM * np.exp(rng.normal(0, width, n))


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [(3.0,), (1.0, 2.0), (-1.0, 0.5, 4.0, 5.0)])
def test_places_between_the_nodes_interpolate_linearly(nodes):
    thickness = np.array([-9.0, -1.0, 0.7, 1.9, 4.4, 5.0, 77.0])
    node, fraction = table(nodes=nodes).at(thickness)
    assert (fraction >= 0).all()
    assert (fraction <= 1).all()
    values = np.array(nodes) ** 2
    above = values[np.minimum(node + 1, values.size - 1)]
    found = (1 - fraction) * values[node] + fraction * above
    np.testing.assert_allclose(found, np.interp(thickness, nodes, values))


@pytest.mark.parametrize("dtype, atol", [(np.float64, 1e-9), (np.float32, 2e-4)])
def test_tables_are_evaluated_like_a_loop_does(dtype, atol):
    rng = np.random.default_rng(0)
    tables = rng.normal(size=(2, 3, GRID.n))
    thickness = np.array([-1.0, 0.3, 1.0, 1.9, 7.0])
    u = rng.uniform(-15, 30, (5, 6))
    one = table(nodes=(0, 1, 2))
    found = one.evaluate(u, one.at(thickness), tables.astype(dtype))
    assert found.shape == (2, 5, 6)
    assert found.dtype == dtype
    for t in range(2):
        for i in range(5):
            mixed = [np.interp(thickness[i], (0, 1, 2), tables[t, :, k]) for k in range(GRID.n)]
            expected = GRID.interpolate(np.array(mixed), u[i])
            np.testing.assert_allclose(found[t, i], expected, atol=atol)


def test_table_of_a_reference_has_no_spread():
    one = ShapeTable.of_reference(GRID, LOG_SHAPE)
    assert one.n_modes == 0
    u = np.array([[-3.0, 0.0, 5.0]])
    at = one.at(np.array([123.0]))
    np.testing.assert_allclose(one.evaluate(u, at, one.log_shape), np.log(shape(u)), atol=1e-4)
    assert not one.rest.any()
    assert not one.scatter.any()
    assert not one.spill.any()


def test_curvature_is_the_mean_over_a_group_by_its_middle():
    (found,) = CURVATURE.at(np.array([FWHM]))
    for g in range(0, GROUPS.size, 7):
        channels = np.arange(GROUPS.edges[g], GROUPS.edges[g + 1])
        mean = np.mean(shape(channels / PER_FWHM))
        assert found[g] == pytest.approx(mean / shape(GROUPS.middle[g] / PER_FWHM), rel=1e-3)
    np.testing.assert_allclose(found[GROUPS.n_channels == 1], 1.0, atol=1e-9)


@pytest.mark.parametrize("per_fwhm", [3.0, 6.0, 10.0, 20.0, 40.0])
@pytest.mark.parametrize("wider", [0.4, 0.45, 0.5, 0.73, 0.94, 1.1, 1.25, 2.0, 2.2, 2.5])
def test_curvature_of_wider_and_narrower_peaks(per_fwhm, wider):
    # In every group: steps of a tenth between widths leave 0.1^2 / 8 of the second derivative, which is four times
    # what a curvature differs from 1; the grid of the shape leaves 3e-5.
    groups = make_groups(per_fwhm, int(8 * per_fwhm), int(15 * per_fwhm))
    width, grid = wider * per_fwhm, Grid.covering(-30, 60)
    table = group_curvature(grid, np.log(shape(grid.u)), groups, per_fwhm, STEP)
    (found,) = table.at(np.array([width * STEP]))
    channels = shape(np.arange(groups.edges[0], groups.edges[-1]) / width)
    mean = np.add.reduceat(channels, groups.edges[:-1] - groups.edges[0]) / groups.n_channels
    own = mean / shape(groups.middle / width)
    np.testing.assert_array_less(np.abs(found - own), 1e-4 + 0.01 * np.abs(own - 1))


@pytest.mark.parametrize("wider", [np.exp(-FAR_WIDTH), np.exp(FAR_WIDTH)])
def test_curvature_is_tabulated_up_to_the_last_usable_width(wider):
    one, other = CURVATURE.at(FWHM * wider * np.array([0.995, 1.005]))
    assert not np.array_equal(one, other)


def test_curvature_of_widths_beyond_the_table_and_of_none():
    ends = CURVATURE.at(FWHM * np.array([0.1, 0.36, 2.73, 1e9]))
    np.testing.assert_array_equal(ends[0], ends[1])
    np.testing.assert_array_equal(ends[2], ends[3])
    assert np.isfinite(CURVATURE.at(np.array([np.nan, 0.0, -1.0, np.inf]))).all()
    assert (Curvature.none(3).at(np.array([0.1, np.nan])) == 1).all()


def test_width_of_a_peak_is_not_taken_for_another_tail():
    # With the curvature of one width the mode followed them by 1.5 errors per ln(FWHM), and widths were off by 6e-4.
    fwhm = FWHM * np.exp(np.linspace(-0.2, 0.2, 9))
    height, centre = np.full(9, 1e6), np.zeros(9)
    found = match_all(expected(height, centre, fwhm), centre, fwhm, using=table([MODE]))
    error = np.sqrt(found.covariance[:, 3, 3])
    slope = np.polyfit(np.log(fwhm / FWHM), found.coefficients[:, 0] / error, 1)[0]
    assert abs(slope) < 0.5
    np.testing.assert_allclose(found.fwhm, fwhm, rtol=1e-4)


def test_joining_what_was_split():
    counts = expected(*drifting(7))
    whole = grouped(counts)
    joined = GroupedSpectra.join([grouped(counts[:3]), grouped(counts[3:])])
    assert joined.curvature is whole.curvature
    for name in ("sums", "energy", "complete", "n_channels"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    np.testing.assert_array_equal(whole.select([2, 5]).sums, whole.sums[[2, 5]])


# --- noiseless spectra ----------------------------------------------------------------------------


def test_noiseless_spectra_give_back_height_and_centre():
    # Starting a fifth of a channel and 2 % off. What is left comes from the groups' curvature,
    # which is the same for peaks in the middle of a channel and between two.
    height, centre, fwhm = drifting()
    found = match_all(expected(height, centre, fwhm), centre + 0.2 * STEP, fwhm, prior=None)
    np.testing.assert_allclose(np.exp(found.log_height), height, rtol=1e-3)
    np.testing.assert_allclose(found.centre, centre, atol=2e-3 * FWHM)
    np.testing.assert_allclose(found.fwhm, fwhm, rtol=2e-3)


@pytest.mark.parametrize("start", [-0.015, 0.015])
def test_width_is_corrected_where_the_counts_say_so(start):
    height, centre, fwhm = drifting()
    counts = expected(1e4 * height, centre, fwhm)
    found = match_all(counts, centre, fwhm * np.exp(start), n_steps=6)
    np.testing.assert_allclose(found.fwhm, fwhm, rtol=4e-3)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_scaling_counts_and_noise_scales_the_height(factor):
    height, centre, fwhm = drifting()
    counts = np.random.default_rng(1).poisson(expected(height, centre, fwhm)).astype(float)
    one = match_all(counts, centre, fwhm)
    scaled = NoiseModel(factor * POISSON.gain, factor * POISSON.readout)
    many = match_all(factor * counts, centre, fwhm, noise=scaled)
    np.testing.assert_allclose(many.log_height, one.log_height + np.log(factor), atol=1e-6)
    np.testing.assert_allclose(many.centre, one.centre, atol=1e-6)
    np.testing.assert_allclose(many.chi2, one.chi2, rtol=1e-4)
    np.testing.assert_allclose(many.covariance, one.covariance, rtol=1e-4, atol=1e-12)


def test_modes_are_recovered_with_their_signs():
    height, centre, fwhm = drifting(4)
    truth = np.array([-1.5, 0.0, 0.7, 2.0])[:, None]
    counts = expected(height, centre, fwhm, lambda u: truth * GRID.interpolate(MODE, u))
    found = match_all(counts, centre, fwhm, using=table([MODE]), n_steps=6)
    # The prior of unit variance draws to zero by the posterior variance, which is small here.
    np.testing.assert_allclose(found.coefficients, truth, atol=0.02)
    assert (found.covariance[:, N_PEAK, N_PEAK] < 0.01).all()


def test_losses_spilled_into_the_window_are_not_taken_for_zlp():
    height, centre, fwhm = drifting(5)
    spill = np.where(GRID.u > 1, 0.2 * np.tanh(GRID.u - 1), 0.0)
    peak = expected(height, centre, fwhm)
    u = (ENERGY - centre[:, None]) / fwhm[:, None]
    counts = peak * (1 + GRID.interpolate(spill, u))
    known = table(spill=np.broadcast_to(spill, (1, GRID.n)))
    found = match_all(counts, centre, fwhm, using=known)
    np.testing.assert_allclose(np.exp(found.log_height), height, rtol=1e-3)
    ignorant = match_all(counts, centre, fwhm)
    assert (ignorant.chi2 > 10 * found.chi2).all()


def test_shape_of_the_thickness_of_each_spectrum_is_used():
    height, centre, fwhm = drifting(6)
    tilt = 0.1 * np.tanh(GRID.u) * np.tanh(np.abs(GRID.u))
    two = table(nodes=(0.0, 1.0), log_shape=np.stack([LOG_SHAPE, LOG_SHAPE + tilt]))
    thickness = np.array([0.0, 0.2, 0.5, 0.7, 1.0, 3.0])
    counts = expected(
        height, centre, fwhm,
        lambda u: np.clip(thickness, 0, 1)[:, None] * GRID.interpolate(tilt, u),
    )  # fmt: skip
    start = MatchStart(centre, fwhm, thickness, everywhere(6))
    found = match(grouped(counts), start, two, POISSON, None)
    np.testing.assert_allclose(np.exp(found.log_height), height, rtol=1e-3)
    assert (found.reduced_chi2 < 0.05).all()


# --- windows, blocks and priors -------------------------------------------------------------------


def known_peaks(n=4, **changes):
    values = {
        "channel": np.arange(10.0, 10 + n),
        "centre": np.linspace(-0.1, 0.1, n),
        "fwhm": np.linspace(0.4, 0.5, n),
        "log_intensity": np.linspace(12, 13, n),
        "gain_limit": np.full(n, -2.0),
        "loss_limit": np.full(n, 1.5),
    }
    return KnownPeaks(**{**values, **changes})


@pytest.mark.parametrize("name", ["channel", "centre", "fwhm", "log_intensity"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_peaks_with_a_number_missing_are_not_usable(name, value):
    spoiled = getattr(known_peaks(), name).copy()
    spoiled[2] = value
    np.testing.assert_array_equal(known_peaks(**{name: spoiled}).usable, [True, True, False, True])


def test_peaks_without_limits_are_usable():
    peaks = known_peaks(gain_limit=np.full(4, -np.inf), loss_limit=np.full(4, np.inf))
    assert peaks.usable.all()


def test_start_is_in_reduced_energies():
    peaks = known_peaks(loss_limit=np.array([0.4, 0.8, 1.6, np.inf]))
    start = peaks.start
    for name in ("centre", "fwhm", "log_intensity"):
        np.testing.assert_array_equal(getattr(start, name), getattr(peaks, name))
    np.testing.assert_allclose(start.window.low * peaks.fwhm, -2.0)
    np.testing.assert_allclose(start.window.high * peaks.fwhm, peaks.loss_limit)


def test_start_of_some_is_some_of_the_starts():
    peaks, some = known_peaks(loss_limit=np.array([0.4, 0.8, 1.6, 3.2])), np.array([3, 1])
    one, other = peaks.select(some).start, peaks.start.select(some)
    for name in ("centre", "fwhm", "log_intensity"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.window, other.window)


def test_windows_hold_their_ends_and_are_those_of_each_spectrum():
    u = np.tile(np.arange(-3.0, 4.0), (3, 1))
    window = Range(np.array([-2.0, -np.inf, np.nan]), np.array([1.0, np.inf, 1.0]))
    inside = inside_window(u, window)
    np.testing.assert_array_equal(u[0, inside[0]], [-2, -1, 0, 1])
    assert inside[1].all()
    assert not inside[2].any(), "no number is within limits that are not known"


def test_counts_outside_the_window_do_not_matter():
    height, centre, fwhm = drifting(8)
    counts = expected(height, centre, fwhm)
    window = Range(np.full(8, -3.0), np.full(8, 1.5))
    u = (ENERGY - centre[:, None]) / fwhm[:, None]
    spoiled = counts + np.where((u > 1.8) | (u < -3.4), 0.5 * height[:, None] * shape(u), 0.0)
    one, other = (match_all(c, centre, fwhm, window=window) for c in (counts, spoiled))
    np.testing.assert_allclose(other.log_height, one.log_height, atol=1e-9)
    np.testing.assert_allclose(other.centre, one.centre, atol=1e-9)
    assert (one.n_points < match_all(counts, centre, fwhm).n_points).all()


def test_narrower_windows_know_less():
    height, centre, fwhm = drifting(5)
    counts = expected(height, centre, fwhm)
    sigmas = []
    for end in (0.8, 2.0, 8.0):
        found = match_all(
            counts,
            centre,
            fwhm,
            using=table([MODE]),
            window=Range(np.full(5, -2.0), np.full(5, end)),
        )
        sigmas.append(found.covariance[:, N_PEAK, N_PEAK])
    assert (np.diff(sigmas, axis=0) < 0).all()
    assert (sigmas[0] <= 1 + 1e-6).all()  # never more than the prior


def test_each_spectrum_is_matched_alone():
    height, centre, fwhm = drifting(11)
    counts = np.random.default_rng(2).poisson(expected(height, centre, fwhm)).astype(float)
    prior = Normal(np.log(FWHM), 0.05)
    whole = match_all(counts, centre, fwhm, using=table([MODE]), prior=prior)
    parts = [
        match_all(counts[i : i + 1], centre[i : i + 1], fwhm[i : i + 1],
                  using=table([MODE]), prior=prior)
        for i in range(11)
    ]  # fmt: skip
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts]), value)


def troubled(kind, counts):
    """Counts with something that a match must live with."""
    if kind == "spikes":
        counts[::2, 170] += 5e4
    if kind == "not finite":
        counts[3, 150] = np.inf
        counts[5, 155] = np.nan
    if kind == "empty":
        counts[4] = 0.0
    if kind == "large":
        counts *= 1e12
    return counts


@pytest.mark.parametrize("kind", ["as they are", "spikes", "not finite", "empty", "large"])
@pytest.mark.parametrize("using", ["modes", "nodes", "widening", "correlated", "reference"])
def test_compiled_match_is_that_of_plain_numpy(kind, using):
    """To rounding: sums over groups are added in another order, in double precision on both sides."""
    height, centre, fwhm = drifting(20, seed=4)
    rng = np.random.default_rng(5)
    counts = troubled(kind, rng.poisson(expected(height, centre, fwhm)).astype(float))
    tilt = 0.1 * np.tanh(GRID.u) * np.tanh(np.abs(GRID.u))
    two = {"log_shape": np.stack([LOG_SHAPE, LOG_SHAPE + tilt]), "scatter": 0.01 + 0 * GRID.u}
    tables = {
        "modes": table([MODE, np.cos(GRID.u)]),
        "nodes": table([MODE], nodes=(0.0, 1.0), **two),
        "widening": table([MODE], widening=tilt),
        "correlated": table([MODE]),
        "reference": table(),
    }
    noise = NoiseModel(1.0, 5.0, correlation=(0.5, 0.25)) if using == "correlated" else POISSON
    low = np.where(np.arange(20) % 2, -np.inf, rng.uniform(-9, -2, 20))
    window = Range(low, np.append(rng.uniform(1, 9, 19), -99.0))
    with np.errstate(all="ignore"):
        channel = np.full(20, 160) + rng.integers(-2, 3, 20)
        spectra = group_spectra(counts, ENERGY, channel, GROUPS, CURVATURE)
        start = MatchStart(centre, fwhm * 1.01, rng.uniform(-0.5, 1.5, 20), window)
        arguments = spectra, start, tables[using], noise, Normal(np.log(FWHM), 0.03)
        plain = plain_match.match(*arguments)
    found = match(*arguments)
    for name, value in vars(plain).items():
        scale = np.nanmax(np.abs(value), initial=1.0)
        np.testing.assert_allclose(
            getattr(found, name), value, rtol=1e-9, atol=1e-9 * scale, err_msg=name
        )


def test_nothing_to_match():
    found = match_all(np.zeros((0, ENERGY.size)), np.zeros(0), np.zeros(0), using=table([MODE]))
    assert found.log_height.shape == (0,)
    assert found.coefficients.shape == (0, 1)
    assert found.covariance.shape == (0, N_PEAK + 1, N_PEAK + 1)


def test_widths_of_noisy_peaks_follow_the_image():
    # Few electrons: what all spectra of the image say of the width is worth more.
    n = 200
    rng = np.random.default_rng(3)
    true = np.full(n, FWHM)
    counts = rng.poisson(expected(np.full(n, 60.0), np.zeros(n), true)).astype(float)
    start = true * np.exp(rng.normal(0, 0.1, n))
    noise = NoiseModel(1.0, 0.0)
    free = match_all(counts, np.zeros(n), start, noise=noise)
    told = match_all(counts, np.zeros(n), start, noise=noise, prior=Normal(np.log(FWHM), 0.01))
    assert np.log(told.fwhm / FWHM).std() < 0.012
    assert np.log(told.fwhm / FWHM).std() < 0.3 * np.log(free.fwhm / FWHM).std()


def test_agrees_with_a_dense_least_squares_solution():
    # One spectrum, scipy's solver on the same residuals: variance of the model, the mode's
    # prior, and the prior that the starting width carries.
    noise = NoiseModel(1.0, 200.0)
    counts = np.random.default_rng(4).poisson(
        expected([2e4], [0.01], [FWHM], lambda u: 0.8 * GRID.interpolate(MODE, u))
    ) + np.random.default_rng(5).normal(0, 200.0, (1, ENERGY.size))
    spectra = grouped(counts)
    prior = Normal(np.log(FWHM), 1e-4)  # holds the width: its other prior is then of no importance
    found = match_all(
        counts, np.array([0.0]), np.array([FWHM]), using=table([MODE]), noise=noise,
        prior=prior, n_steps=25,
    )  # fmt: skip
    complete = spectra.complete[0]
    scale = spectra.scale(np.array([FWHM]))[0, complete]
    sums, energy = spectra.sums[0, complete], spectra.energy[0, complete]
    n_channels = spectra.n_channels[complete]

    def model(p):
        u = (energy - p[1] * FWHM) / FWHM
        log_shape = GRID.interpolate(LOG_SHAPE, u) + p[2] * GRID.interpolate(MODE, u)
        return scale * np.exp(p[0] + log_shape)

    best = np.array([found.log_height[0], found.centre[0] / FWHM, found.coefficients[0, 0]])
    sigma = np.sqrt(noise.variance(model(best), n_channels))
    solution = least_squares(
        lambda p: np.append((sums - model(p)) / sigma, p[2]), [np.log(1e4), 0.0, 0.0], xtol=1e-12
    )
    errors = np.sqrt(np.diag(np.linalg.inv(solution.jac.T @ solution.jac)))
    np.testing.assert_allclose(best, solution.x, atol=0.05 * errors.min())
    claimed = np.sqrt(np.diag(found.covariance[0]))[[0, 1, 3]]
    np.testing.assert_allclose(claimed, errors, rtol=0.01)
    assert found.chi2[0] == pytest.approx((solution.fun[:-1] ** 2).sum(), rel=1e-3)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("height, readout", [(1e3, 5.0), (1e5, 30.0)])
def test_pulls_of_height_centre_and_mode_are_normal(height, readout):
    # 400 spectra whose mode is drawn from its prior. The width of a pull is known to 3.5 %, its
    # mean to 0.05: four of each, 1e-4 false alarms per number, and 3 % for the curvature.
    n = 400
    rng = np.random.default_rng(6)
    centre, scores = rng.normal(0, 0.05, n), rng.standard_normal(n)
    clean = expected(
        np.full(n, height), centre, np.full(n, FWHM),
        lambda u: scores[:, None] * GRID.interpolate(MODE, u),
    )  # fmt: skip
    counts = rng.poisson(clean) + readout * rng.standard_normal(clean.shape)
    # The width is known and its prior narrow, so that all other errors are statistical.
    found = match_all(
        counts, centre, np.full(n, FWHM), using=table([MODE]), noise=NoiseModel(1.0, readout),
        prior=Normal(np.log(FWHM), 1e-4), n_steps=6,
    )  # fmt: skip
    sigma = np.sqrt(np.diagonal(found.covariance, axis1=1, axis2=2))
    pulls = np.stack([
        (found.log_height - np.log(height)) / sigma[:, 0],
        (found.centre - centre) / FWHM / sigma[:, 1],
        (found.coefficients[:, 0] - scores) / sigma[:, N_PEAK],
    ])  # fmt: skip
    np.testing.assert_allclose(pulls.std(-1), 1.0, atol=0.17)
    np.testing.assert_allclose(pulls.mean(-1), 0.0, atol=0.23)
    # chi2 of n_points - 2 or so degrees of freedom: mean known to sqrt(2 / 400 / 100).
    assert found.reduced_chi2.mean() == pytest.approx(1.0, abs=0.05)


def test_scatter_that_no_mode_explains_is_no_misfit():
    height, centre, fwhm = np.full(60, 1e6), np.zeros(60), np.full(60, FWHM)
    rng = np.random.default_rng(7)
    counts = expected(height, centre, fwhm) * (1 + 0.05 * rng.standard_normal(ENERGY.size))
    one = match_all(counts, centre, fwhm)
    known = match_all(counts, centre, fwhm, using=table(scatter=np.full(GRID.n, 0.05)))
    assert known.reduced_chi2.mean() < 2 < 5 < one.reduced_chi2.mean()
    assert (known.covariance[:, 0, 0] > one.covariance[:, 0, 0]).all()
