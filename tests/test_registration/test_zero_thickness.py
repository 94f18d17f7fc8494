# SPDX-License-Identifier: GPL-3.0-or-later
"""Extrapolation to zero thickness: exact where its model is, honest where noise or bends enter."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.samples import Sample
from hyperspy_zlpml.registration.register import register_peaks
from hyperspy_zlpml.registration.registered_peaks import Ratios
from hyperspy_zlpml.registration.thickness import RelativeThickness
from hyperspy_zlpml.registration.zero_thickness import (
    PURE_FRACTION,
    ZeroThickness,
    at_zero_thickness,
    extrapolate,
    mode_scores,
    tail_from,
)
from hyperspy_zlpml.training.train import register_image
from hyperspy_zlpml.zlp.grid import GAIN_SIDE_POWER_SIGMA

N_GROUPS = 30
NO_SCORES = np.zeros((0, 60))
EVERYWHERE = np.ones((60, N_GROUPS), bool)


def thicknesses(n=60, seed=0):
    """Losses of mean 1 in no order."""
    losses = np.random.default_rng(seed).permutation(np.linspace(0.3, 1.7, n))
    return losses / losses.mean()


def of(relative):
    """Thickness of peaks that are all of one width."""
    return RelativeThickness.of_equal_peaks(relative)


def polynomial(losses, *coefficients):
    return sum(c * losses[:, None] ** k for k, c in enumerate(coefficients))


def ratios(ratio, variance):
    """Ratios that lie within the window everywhere."""
    return Ratios(ratio, variance, np.ones(np.shape(ratio), bool))


def coefficients(seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.5, 1.5, N_GROUPS), rng.uniform(0, 5, N_GROUPS), rng.normal(0, 1, N_GROUPS)


# --- the fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [12, 17, 60])
def test_a_parabola_is_recovered_to_rounding(n):
    # The normal equations are squared and steadied by 1e-9: no better than that times their
    # condition.
    losses, truth = thicknesses(n), coefficients()
    variance = np.random.default_rng(2).uniform(1e-6, 1e-4, (n, N_GROUPS))
    found = extrapolate(
        ratios(polynomial(losses, *truth), variance),
        np.ones(variance.shape, bool),
        of(losses),
        np.zeros((0, n)),
    )
    np.testing.assert_allclose(found.ratio, truth[0], atol=1e-4)
    np.testing.assert_allclose(found.deviations[:-1], 0, atol=1e-4)
    assert found.responses.shape == (0, N_GROUPS)
    # One deviation for each block, six at most, of three spectra at least, and one for the bend.
    assert found.deviations.shape == (min(6, n // 3) + 1, N_GROUPS)


def test_what_modes_do_to_the_tail_is_told_apart_from_thickness():
    losses, truth = thicknesses(), coefficients()
    scores = np.random.default_rng(3).standard_normal((2, 60))
    responses = np.random.default_rng(4).normal(0, 0.3, (2, N_GROUPS))
    ratio = polynomial(losses, *truth) + scores.T @ responses
    found = extrapolate(ratios(ratio, np.full(ratio.shape, 1e-5)), EVERYWHERE, of(losses), scores)
    np.testing.assert_allclose(found.ratio, truth[0], atol=1e-4)
    np.testing.assert_allclose(found.responses, responses, atol=1e-4)
    # Blind to the modes the extrapolation scatters by what they do.
    blind = extrapolate(
        ratios(ratio, np.full(ratio.shape, 1e-5)), EVERYWHERE, of(losses), NO_SCORES
    )
    assert np.abs(blind.ratio - truth[0]).max() > 0.05


def test_modes_that_noise_hides_do_not_move_the_tail():
    """Scores of next to nothing, as of a mode that no spectrum shows, are no lever for noise."""
    rng, relative = np.random.default_rng(5), thicknesses()
    noisy = polynomial(relative, 1.0, 2.0) + 0.1 * rng.standard_normal((60, N_GROUPS))
    scores = 1e-7 * rng.standard_normal((1, 60))
    measured = ratios(noisy, np.full(noisy.shape, 0.1**2))
    found = extrapolate(measured, EVERYWHERE, of(relative), scores)
    without = extrapolate(measured, EVERYWHERE, of(relative), NO_SCORES)
    assert np.abs(found.responses).max() < 1e-3
    np.testing.assert_allclose(found.ratio, without.ratio, atol=1e-6)


def test_points_beyond_an_axis_do_not_count():
    losses, truth = thicknesses(), coefficients()
    ratio = polynomial(losses, *truth)
    complete = np.random.default_rng(5).random(ratio.shape) < 0.7
    spoiled = np.where(complete, ratio, 1e9)
    found = extrapolate(
        ratios(spoiled, np.full(ratio.shape, 1e-5)), complete, of(losses), NO_SCORES
    )
    np.testing.assert_allclose(found.ratio, truth[0], atol=1e-4)


def test_errors_are_proportional_to_the_noise():
    losses, noise = thicknesses(), np.random.default_rng(6).standard_normal((60, N_GROUPS))
    one, ten = (
        extrapolate(
            ratios(1 + s * noise, np.full(noise.shape, s**2)), EVERYWHERE, of(losses), NO_SCORES
        )
        for s in (1e-3, 1e-2)
    )
    # To what steadies the normal equations.
    for large, small in ((ten.deviations, one.deviations), (ten.ratio - 1, one.ratio - 1)):
        np.testing.assert_allclose(large / 10, small, atol=1e-3 * small.std())


def test_errors_are_those_of_least_squares():
    # 400 groups of white noise. Scatter of the value read off: known to 1 / sqrt(800) = 3.5 %.
    # Errors of a group rest on six pairs of blocks, 80 % in the variance, so 4 % in the mean of 400;
    # blocks left out whole make a jackknife a little too large, and a bend that noise feigns widens.
    n, n_groups, sigma = 120, 400, 0.01
    losses = thicknesses(n)
    rng = np.random.default_rng(7)
    ratio = 1 + 2 * losses[:, None] + sigma * rng.standard_normal((n, n_groups))
    every = np.ones(ratio.shape, bool)
    found = extrapolate(
        ratios(ratio, np.full(ratio.shape, sigma**2)), every, of(losses), np.zeros((0, n))
    )
    design = np.stack([np.ones(n), losses])
    expected = sigma * np.sqrt(np.linalg.inv(design @ design.T)[0, 0])
    scatter = (found.ratio - 1).std()
    assert scatter == pytest.approx(expected, rel=0.18)
    assert abs((found.ratio - 1).mean()) < 5 * expected / np.sqrt(n_groups)
    claimed = np.sqrt((found.deviations**2).sum(0).mean())
    assert 0.84 * scatter < claimed < 1.5 * scatter


def test_a_straight_line_is_known_better_than_a_parabola():
    losses = thicknesses()
    noise = 0.01 * np.random.default_rng(8).standard_normal((60, 300))
    ratio, every = 1 + losses[:, None] + noise, np.ones(noise.shape, bool)
    found = extrapolate(ratios(ratio, np.full(ratio.shape, 1e-4)), every, of(losses), NO_SCORES)
    assert np.std(found.ratio) < 0.6 * np.std(np.polyfit(losses, ratio, 2)[-1])


@pytest.mark.parametrize("bend", [-1.0, -0.5, 0.5, 1.0])
def test_a_line_that_bends_gives_way_to_a_parabola(bend):
    # Losses that follow thickness as beneath a band gap that narrows with it.
    losses = thicknesses()
    noise = 0.01 * np.random.default_rng(9).standard_normal((60, N_GROUPS))
    ratio = 1 + losses[:, None] + bend * losses[:, None] ** 2 + noise
    found = extrapolate(
        ratios(ratio, np.full(ratio.shape, 1e-4)), EVERYWHERE, of(losses), NO_SCORES
    )
    error = np.sqrt((found.deviations**2).sum(0))
    assert np.sqrt(np.mean(((found.ratio - 1) / error) ** 2)) < 1.5
    assert (
        np.abs(found.ratio - 1).mean() < 0.1 * np.abs(np.polyfit(losses, ratio, 1)[-1] - 1).mean()
    )


def test_losses_near_their_onset_follow_the_width_of_the_peak():
    # Thick specimens broaden the peak, and it the onset: unless that is told, it is taken for a bend.
    losses = thicknesses()
    broadening = 0.05 * (losses - 1) + 0.03 * np.random.default_rng(11).standard_normal(60)
    ratio = 1 + losses[:, None] * (1 + 4 * broadening[:, None]) * np.ones(N_GROUPS)
    variance = np.full(ratio.shape, 1e-8)
    told = replace(of(losses), broadening=broadening)
    found, blind = (
        extrapolate(ratios(ratio, variance), EVERYWHERE, thickness, NO_SCORES)
        for thickness in (told, of(losses))
    )
    np.testing.assert_allclose(found.ratio, 1, atol=1e-4)
    assert np.abs(blind.ratio - 1).max() > 0.03


def test_losses_are_in_proportion_to_the_electrons_not_to_the_peak_beside_them():
    # A peak twice as high there leaves half of the ratio, whatever the thickness.
    losses = thicknesses()
    over_zlp = np.exp(0.3 * np.random.default_rng(11).standard_normal((60, N_GROUPS)))
    ratio = 1 + losses[:, None] * over_zlp
    told = replace(of(losses), over_zlp=over_zlp)
    found = extrapolate(ratios(ratio, np.full(ratio.shape, 1e-8)), EVERYWHERE, told, NO_SCORES)
    np.testing.assert_allclose(found.ratio, 1, atol=1e-4)


def test_plural_scattering_is_no_bend():
    losses = thicknesses()
    plural = np.broadcast_to(losses[:, None] ** 2, EVERYWHERE.shape)
    ratio = 1 + losses[:, None] + plural
    told = replace(of(losses), plural=plural)
    found = extrapolate(ratios(ratio, np.full(ratio.shape, 1e-8)), EVERYWHERE, told, NO_SCORES)
    np.testing.assert_allclose(found.ratio, 1, atol=1e-6)


def test_spectra_weigh_as_their_noise_says():
    # Scatter within the noise claimed: nothing is added to it, and the fit is plain least squares.
    losses = thicknesses()
    sigma = np.random.default_rng(8).uniform(1e-3, 1e-1, 60)
    ratio = 1 + losses + 0.5 * sigma * np.random.default_rng(9).uniform(-1, 1, 60)
    column = ratio[:, None] * np.ones(N_GROUPS)
    variance = np.broadcast_to(sigma[:, None] ** 2, column.shape)
    found = extrapolate(ratios(column, variance), EVERYWHERE, of(losses), NO_SCORES)
    expected = np.polyfit(losses, ratio, 1, w=1 / sigma)[-1]
    np.testing.assert_allclose(found.ratio, expected, atol=1e-6)
    assert abs(expected - np.polyfit(losses, ratio, 1)[-1]) > 1e-4


def test_differences_between_pixels_that_grow_with_thickness_are_errors():
    # The band gap drifts slowly over the scan, so neighbours deviate together: only whole blocks
    # left out show it. Pulls of 40 images, some four of them independent along the energies.
    n, pulls, alone = 90, [], []
    for seed in range(40):
        rng = np.random.default_rng(100 + seed)
        losses = thicknesses(n, seed)
        drift = np.repeat(rng.standard_normal(18), 5)
        pattern = 0.1 * np.sin(np.arange(N_GROUPS) / 3)
        ratio = 1 + 2 * losses[:, None] + (losses * drift)[:, None] * pattern
        ratio += 1e-3 * rng.standard_normal(ratio.shape)
        every = np.ones(ratio.shape, bool)
        measured = ratios(ratio, np.full(ratio.shape, 1e-6))
        found = extrapolate(measured, every, of(losses), np.zeros((0, n)))
        error = np.sqrt((found.deviations**2).sum(0))
        large = np.abs(pattern) > 0.05
        pulls.append(((found.ratio - 1) / error)[large])
        alone.append(np.median(error[large]))
    # Three pairs of blocks give Student's t of three degrees: its width, 1.7, over 1.2 by which errors are wider; of 40 independent values known
    # to some 20 %; four of them. Noise alone would claim a thousandth and be wrong thirtyfold.
    assert np.median(alone) > 0.01
    assert 0.5 < np.sqrt(np.mean(np.square(pulls))) < 2.3


def test_errors_hold_where_thickness_and_gap_change_over_the_whole_view():
    # Both are smooth over an eighth of the pixels, so that few of them are independent and may agree by
    # chance. Single blocks left out cover .54. 160 images tell a coverage to .04.
    n, inside = 90, []
    for seed in range(160):
        drift, losses = gaussian_filter1d(
            np.random.default_rng(seed).standard_normal((2, n)), sigma=n / 8
        )
        losses = 1 + 0.7 * (losses - losses.mean()) / np.abs(losses - losses.mean()).max()
        line = 1 + losses * (2 + 0.1 * drift / drift.std())
        ratio = np.repeat(line[:, None], N_GROUPS, axis=1)
        ratio += 1e-3 * np.random.default_rng(1000 + seed).standard_normal(ratio.shape)
        every = np.ones(ratio.shape, bool)
        measured = ratios(ratio, np.full(ratio.shape, 1e-6))
        found = extrapolate(measured, every, of(losses), np.zeros((0, n)))
        inside.append((found.ratio - 1) ** 2 < (found.deviations**2).sum(0))
    assert 0.6 < np.mean(inside) < 0.85


def test_a_straight_line_has_no_bend_and_a_parabola_a_part_of_it():
    losses = thicknesses()
    variance = np.full((60, N_GROUPS), 1e-5)
    straight, bent = (
        extrapolate(ratios(polynomial(losses, 1.0, 2.0, c) * np.ones(N_GROUPS), variance), EVERYWHERE, of(losses), NO_SCORES)
        for c in (0.0, 0.5)
    )  # fmt: skip
    np.testing.assert_allclose(straight.deviations[-1], 0, atol=1e-4)
    # A fifth of what a line would miss, which the least squares of this parabola tell.
    weight = 1 / (1e-5 + np.zeros(60))
    line = np.polyfit(losses, polynomial(losses, 1.0, 2.0, 0.5)[:, 0], 1, w=np.sqrt(weight))
    np.testing.assert_allclose(bent.deviations[-1], 0.2 * (1.0 - line[1]), rtol=1e-2)


# --- scores ---------------------------------------------------------------------------------------

MODES = np.stack([0.1 * np.linspace(0, 1, N_GROUPS), 0.05 * np.sin(np.arange(N_GROUPS))])


def test_scores_are_recovered_from_the_pure_part():
    # Centred: the mean belongs to the tail itself. Noise of 1e-3 in 20 groups tells modes of 0.05
    # to a few per cent; none here, and the prior of one costs less than that squared.
    scores = np.random.default_rng(9).standard_normal((2, 40))
    ratio = 1.3 + scores.T @ MODES
    inside = np.broadcast_to(np.arange(N_GROUPS) < 20, ratio.shape)
    found = mode_scores(
        Ratios(np.where(inside, ratio, 7.0), np.full(ratio.shape, 1e-6), inside), MODES
    )
    np.testing.assert_allclose(found, scores - scores.mean(1, keepdims=True), atol=0.01)
    other = mode_scores(
        Ratios(np.where(inside, ratio, -3e5), np.full(ratio.shape, 1e-6), inside), MODES
    )
    np.testing.assert_array_equal(found, other)


def test_scores_that_noise_hides_are_zero():
    ratio = 1 + np.random.default_rng(10).standard_normal((40, N_GROUPS))
    found = mode_scores(Ratios(ratio, np.full(ratio.shape, 1e4), np.ones(ratio.shape, bool)), MODES)
    assert np.abs(found).max() < 0.01


def test_no_modes_no_scores():
    one = np.ones((40, N_GROUPS))
    assert mode_scores(Ratios(one, one, one > 0), MODES[:0]).shape == (0, 40)


# --- registered peaks -----------------------------------------------------------------------------

STEP = 0.025
FWHM = 0.45
ENERGY = STEP * np.arange(-160, 800)
NOISE = NoiseModel(1.0, 10.0)
ONSET = 2.0


def shape(u):
    """A peak with a halo, whose loss side lies above its gain side: by a half at 3 FWHM, less beyond."""
    peak = (1 + 4 * (2 ** (1 / 2.2) - 1) * u**2) ** -2.2 + 5e-4 / (1 + (u / 6) ** 2)
    return peak * np.where(u > 0, 1 + 0.8 * np.tanh(u / 1.5) ** 4 / (1 + np.abs(u) / 6), 1.0)


def all_losses(thickness):
    """Losses per electron without loss and eV, a plasmon and its multiples, of some thicknesses."""
    lost = STEP * np.arange(ENERGY.size - 160)
    once = np.clip(1 - np.exp(-(lost - ONSET)), 0, None) / (1 + ((lost - 9) / 4) ** 2)
    power = once / once.sum()
    total, factor = np.zeros((thickness.size, lost.size)), np.ones((thickness.size, 1))
    for n in range(1, 7):
        factor = factor * thickness / n
        total += factor * power / STEP
        power = np.convolve(power, once / once.sum())[: lost.size]
    return np.pad(total, ((0, 0), (160, 0)))


def wedge_sample(seed, n=90, height=3e6, shape=shape):
    """Spectra of a wedge without vacuum, of up to a mean free path."""
    rng = np.random.default_rng(seed)
    thickness = np.sort(rng.uniform(0.2, 1.0, n))[:, None]
    centre, fwhm = rng.normal(0, 0.02, (n, 1)), FWHM * np.exp(rng.normal(0, 0.02, (n, 1)))
    area = STEP * shape(ENERGY / FWHM).sum() * fwhm / FWHM
    losses = area * all_losses(thickness)
    expected = height * np.exp(-thickness) * (shape((ENERGY - centre) / fwhm) + losses)
    counts = rng.poisson(expected) + NOISE.readout * rng.standard_normal(expected.shape)
    label = (np.arange(n) < n / 2).astype(int)  # 0 is the thin half
    parameters = peak_parameters(counts, ENERGY)
    return Sample(counts, ENERGY, parameters, 1 - label)


def wedge(seed):
    """Registered spectra of it."""
    return register_peaks([wedge_sample(seed)], NOISE)


def test_tail_of_a_wedge_is_its_zero_loss_peak():
    # At 6 to 9 FWHM the losses are 8 to 90 times the tail. Errors are common to these energies:
    # one pull a wedge, of Student's t with five degrees (six blocks). Beyond 4 lie 1 % of them:
    # half of six wedges do so with probability 2e-5.
    pulls, claimed, prior, after = [], [], [], []
    u = np.linspace(6, 9, 40)
    truth = np.log(shape(u))
    for seed in range(6):
        peaks = wedge(seed)
        assert not peaks.tail_is_known
        assert 2 < peaks.extrapolated_from < 6
        found = at_zero_thickness(peaks, np.zeros((0, peaks.u.shape[1])))
        log_reference, modes, *_ = tail_from(peaks, found)
        sigma = np.sqrt((peaks.grid.interpolate_rows(modes.T, u) ** 2).sum(-1))
        error = peaks.grid.interpolate(log_reference, u) - truth
        pulls.append(np.sqrt(np.mean(np.square(error / sigma))))
        claimed.append(sigma.mean())
        after.append(np.abs(error).mean())
        prior.append(peaks.reference_error(u).mean())
    assert np.median(pulls) < 4
    # The pixels tell more than the gain side, and do not lead away from what that shows.
    assert np.median(claimed) < 0.65 * np.median(prior)
    assert np.median(after) < 0.15


@pytest.fixture(scope="module")
def one_wedge():
    return wedge(7)


def constant(peaks, ratio, deviation):
    n = peaks.u.shape[1]
    deviations = np.zeros((3, n))
    deviations[0] = deviation
    return ZeroThickness(np.full(n, float(ratio)), deviations, np.zeros((0, n)))


def prior_of(peaks, u):
    """What the tail from the gain side is known to: a power before the limit, its modes beyond."""
    before = GAIN_SIDE_POWER_SIGMA * np.log(1 / PURE_FRACTION)
    return np.hypot(before, peaks.reference_error(u))


def reference_change(peaks, found, u):
    log_reference = tail_from(peaks, found).log_reference
    return peaks.grid.interpolate(log_reference - peaks.log_reference, u)


def test_a_well_known_tail_replaces_the_one_from_the_gain_side(one_wedge):
    far = np.linspace(2, 3, 20) * one_wedge.extrapolated_from
    change = reference_change(one_wedge, constant(one_wedge, 1.5, 1e-4), far)
    np.testing.assert_allclose(change, np.log(1.5), atol=0.02)
    # Below the pure limit nothing changes but the smoothing of another fit.
    near = np.linspace(-4, 0.7 * PURE_FRACTION * one_wedge.extrapolated_from, 60)
    change = reference_change(one_wedge, constant(one_wedge, 1.5, 1e-4), near)
    assert np.abs(change).max() < 0.03


def test_an_unknown_tail_stays_that_of_the_gain_side(one_wedge):
    far = np.linspace(2, 3, 20) * one_wedge.extrapolated_from
    change = reference_change(one_wedge, constant(one_wedge, 1.5, 1e3), far)
    _, modes, *_ = tail_from(one_wedge, constant(one_wedge, 1.5, 1e3))
    # What is left is the prior: a power of the energy, from where the pure part ends. Another
    # smooth fit within it moves little of that.
    prior = prior_of(one_wedge, far)
    left = np.sqrt((one_wedge.grid.interpolate_rows(modes.T, far) ** 2).sum(-1))
    np.testing.assert_allclose(left, prior, rtol=0.03)
    assert (np.abs(change) < 0.35 * prior).all()


def test_tails_stay_positive_and_fall(one_wedge):
    log_reference, modes, *_ = tail_from(one_wedge, constant(one_wedge, -3.0, 1e-4))
    assert np.isfinite(log_reference).all()
    assert np.isfinite(modes).all()
    assert (np.diff(log_reference)[one_wedge.grid.u[:-1] > 0.8] <= 1e-12).all()


@pytest.mark.parametrize("height", [0.0, 0.05])
def test_structure_that_no_smooth_tail_follows_is_found(one_wedge, height):
    # A ripple of three groups' period, which their noise, alike in all, does not have.
    found = constant(one_wedge, 1.5, 1e-3)
    ripple = np.sqrt(2) * height * np.sin(2 * np.pi / 3 * np.arange(found.ratio.size))
    tail = tail_from(one_wedge, replace(found, ratio=found.ratio * (1 + ripple)))
    u = one_wedge.u.mean(0)
    far = (u > 2 * one_wedge.extrapolated_from) & (u < 3 * one_wedge.extrapolated_from)
    shown = (1 + one_wedge.grid.interpolate(tail.structure, u[far])) * np.exp(
        one_wedge.grid.interpolate(tail.log_reference - one_wedge.log_reference, u[far])
    )
    np.testing.assert_allclose(shown / 1.5 - 1, ripple[far], atol=0.3 * height + 3e-3)
    # Within a group it is taken to change as much as over it: 0.87 of the ripple.
    roughness = one_wedge.grid.interpolate(tail.roughness, u[far])
    np.testing.assert_allclose(roughness, 0.87 * height, rtol=0.25, atol=3e-3)
    before = one_wedge.grid.u < 0.9 * PURE_FRACTION * one_wedge.extrapolated_from
    assert not tail.roughness[before].any()
    assert not tail.structure[before].any()


def test_noise_of_single_groups_is_drawn_to_zero(one_wedge):
    # Points that scatter as their deviations say, each for itself. Their variance is told by ten of them or so.
    far = np.linspace(2, 6, 100) * one_wedge.extrapolated_from
    left = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        found = constant(one_wedge, 1.5, 0.0)
        deviations = 0.05 * rng.standard_normal((6, found.ratio.size))
        noise = 0.05 * np.sqrt(6) * rng.standard_normal(found.ratio.size)
        given = replace(found, ratio=found.ratio + noise, deviations=deviations)
        structure = tail_from(one_wedge, given).structure
        left.append(one_wedge.grid.interpolate(structure, far).std() / (noise.std() / 1.5))
    assert np.median(left) < 0.4


@pytest.mark.parametrize("rise", [0.0, 0.5])
def test_a_smooth_tail_has_no_structure(one_wedge, rise):
    # A tail that is higher than the gain side says, the more the farther out.
    found = constant(one_wedge, 1.0, 1e-3)
    x = np.log(np.maximum(one_wedge.u.mean(0), 1e-3) / one_wedge.extrapolated_from)
    ratio = 1 + rise / (1 + np.exp(-4 * (x - 1)))
    structure = tail_from(one_wedge, replace(found, ratio=ratio)).structure
    assert np.abs(structure).max() < 0.02


def test_structure_of_the_tail_goes_on_under_the_losses():
    # Three groups long, so that no smooth curve follows it. It is learnt where spectra are pure, and
    # has to go on to where their losses are several times the peak.
    def ripple(u):
        return 0.05 * np.sin(2 * np.pi / 0.15 * np.arcsinh(2 * u)) * (np.abs(u) > 1)

    sample = wedge_sample(seed=7, height=3e7, shape=lambda u: shape(u) * (1 + ripple(u)))
    image = register_image([sample], NOISE, 2, {})
    assert image.peaks.tail_is_known
    u = np.linspace(1.2, 1.8, 60) * image.peaks.extrapolated_from
    found = image.residual.at(u)
    assert np.corrcoef(found, ripple(u))[0, 1] > 0.7
    assert 0.4 < (found @ ripple(u)) / (ripple(u) @ ripple(u)) < 1.2


def test_one_spoilt_spectrum_does_not_move_the_others():
    losses = thicknesses()
    noise = 0.01 * np.random.default_rng(3).standard_normal((60, N_GROUPS))
    ratio = 1 + losses[:, None] + noise
    spoilt = ratio.copy()
    spoilt[20, 5:9] = 0.0
    right, found = (
        extrapolate(ratios(values, 1e-4), EVERYWHERE, of(losses), NO_SCORES)
        for values in (ratio, spoilt)
    )
    error = np.sqrt((right.deviations**2).sum(0))
    assert np.abs((found.ratio - right.ratio) / error).max() < 1
    np.testing.assert_array_equal(found.ratio[9:], right.ratio[9:])


def test_a_line_does_not_hang_on_one_spectrum_far_apart(one_wedge):
    # Far losses of thirty times those of any other, and near ones twice as steep: as in a real image.
    none = np.zeros((0, one_wedge.u.shape[1]))
    sums, u = one_wedge.spectra.sums.copy(), one_wedge.u.mean(0)
    limit = one_wedge.extrapolated_from
    sums[50] *= np.interp(u, [limit, 2 * limit, 4 * limit], [1.0, 60.0, 30.0])
    apart = replace(one_wedge, spectra=replace(one_wedge.spectra, sums=sums))
    right, found = (at_zero_thickness(peaks, none) for peaks in (one_wedge, apart))
    error = np.sqrt((right.deviations**2).sum(0))
    seen = (u > limit) & (u < 20)
    assert (np.abs(found.ratio - right.ratio)[seen] / error[seen]).max() < 1
