# SPDX-License-Identifier: GPL-3.0-or-later
"""Replicas are distributed as the data say; modes are found where there are some."""

import numpy as np
import pytest

from hyperspy_zlpml.registration.variation import (
    _LARGEST_UNSEEN,
    _PRIOR_SPECTRA,
    _TAILS_DIFFER,
    ClusterSpectra,
    _smooth_basis,
    _tail_heights,
    shape_modes,
)
from hyperspy_zlpml.training.replicas import (
    DRAW,
    draw_gaussian,
    draw_limits,
    draw_size,
    draw_spectra,
)

N_GROUPS = 40
U = np.linspace(-5, 10, N_GROUPS)
NO_MODES = np.zeros((0, N_GROUPS))
#: The variation that is assumed where none can be seen: nothing in the core, all of both tails.
TAILS = np.tanh(U / 2) ** 2


def cluster(n=50, sigma=0.05, mode=None, n_used=N_GROUPS, mean=1.0, seed=0, fitted=None):
    """Ratios to the reference: noise of known size plus, if given, one mode of shape.

    Of what is ``fitted`` nothing is left, as after registration.
    """
    rng = np.random.default_rng(seed)
    sigma = sigma * np.linspace(1, 2, N_GROUPS) * rng.uniform(0.8, 1.25, (n, 1))
    ratio = mean + sigma * rng.standard_normal((n, N_GROUPS))
    if mode is not None:
        ratio += rng.standard_normal((n, 1)) * mode
    if fitted is not None:
        for row, weight in zip(ratio, sigma**-2, strict=True):
            normal = (fitted * weight) @ fitted.T
            row -= np.linalg.solve(normal, (fitted * weight) @ (row - mean)) @ fitted
    used = np.broadcast_to(np.arange(N_GROUPS) < n_used, ratio.shape)
    return ClusterSpectra(ratio, sigma**2, used, U, 14.0, fitted=fitted)


def height_of_tails(modes):
    """The factor of a single mode that is a multiple of the tails, or None."""
    if len(modes) != 1:
        return None
    factor = modes[0] @ TAILS / (TAILS @ TAILS)
    return factor if np.allclose(modes[0], factor * TAILS, atol=1e-9) else None


# --- means ----------------------------------------------------------------------------------------


def test_mean_is_the_weighted_mean_of_what_is_used():
    rng = np.random.default_rng(1)
    one = cluster(12)
    one = ClusterSpectra(one.ratio, one.variance, rng.random((12, N_GROUPS)) < 0.6, U, 14.0)
    one.used[:, 7] = False
    mean, error = one.mean
    for g in range(N_GROUPS):
        rows = [i for i in range(12) if one.used[i, g]]
        if not rows:
            assert (mean[g], error[g]) == (1.0, np.inf)
            continue
        weights = [1 / one.variance[i, g] for i in rows]
        value = sum(w * one.ratio[i, g] for w, i in zip(weights, rows, strict=True)) / sum(weights)
        assert mean[g] == pytest.approx(value)
        assert error[g] == pytest.approx(1 / np.sqrt(sum(weights)))


def test_values_of_unused_groups_do_not_enter():
    one = cluster(8, n_used=25)
    spoiled = np.where(one.used, one.ratio, np.nan)
    other = ClusterSpectra(spoiled, one.variance, one.used, U, 14.0)
    np.testing.assert_array_equal(one.mean[0], other.mean[0])
    for kind in DRAW:
        drawn = DRAW[kind]([other], 4, np.random.default_rng(0), NO_MODES)
        assert np.isfinite(drawn).all()


def test_error_of_the_mean_is_the_scatter_of_means():
    means = np.array([cluster(20, seed=seed).mean[0] for seed in range(300)])
    claimed = np.mean([cluster(20, seed=seed).mean[1] for seed in range(20)], axis=0)
    np.testing.assert_allclose(means.std(0), claimed, rtol=0.2)  # 4 % each: five of them


# --- modes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(50, 80), (300,), (12, 12, 12)])
def test_noise_shows_no_modes(sizes):
    # 1.2 times the edge of Marchenko and Pastur: the largest eigenvalue of noise fluctuates by
    # a few per cent about the edge. Less than one image in a hundred: at most 2 of 60. What is
    # left is the variation of the tails that noise could hide.
    found = [
        shape_modes([cluster(n, seed=100 * s + k) for k, n in enumerate(sizes)]) for s in range(60)
    ]
    assert sum(height_of_tails(modes) is None for modes in found) <= 2


@pytest.mark.parametrize("n_used", [N_GROUPS, 25])
def test_an_injected_mode_is_recovered(n_used):
    # Amplitudes of 400 normal scores are known to 3.5 %. The second cluster is not used beyond
    # `n_used`: there the mode rests on the other half of the spectra.
    mode = 0.2 * np.tanh(U / 3)
    clusters = [cluster(200, mode=mode, seed=1), cluster(200, mode=mode, n_used=n_used, seed=2)]
    (found,) = shape_modes(clusters)
    found = found * np.sign(found @ mode)
    np.testing.assert_allclose(found, mode, atol=0.2 * 0.2)
    assert found @ mode / (mode @ mode) == pytest.approx(1.0, abs=0.15)


def test_two_modes_span_what_was_injected():
    rng = np.random.default_rng(3)
    first, second = 0.3 * np.tanh(U / 3), 0.15 * np.exp(-0.5 * (U - 4) ** 2)
    noise = cluster(400, seed=4)
    scores = rng.standard_normal((400, 2))
    ratio = noise.ratio + scores @ np.stack([first, second])
    modes = shape_modes([ClusterSpectra(ratio, noise.variance, noise.used, U, 14.0)])
    assert len(modes) == 2
    truth = np.outer(first, first) + np.outer(second, second)
    # The covariance is what matters, whatever basis the modes are given in.
    assert np.linalg.norm(modes.T @ modes - truth) < 0.25 * np.linalg.norm(truth)


def test_means_of_clusters_are_no_modes():
    clusters = [cluster(60, mean=mean, seed=int(10 * mean)) for mean in (1.0, 1.5, 0.7)]
    # Means that differ by halves would make modes of that size.
    assert 0 < height_of_tails(shape_modes(clusters)) < 0.05


def test_modes_are_smooth():
    # What differs from group to group without rhyme, the sensitivity of channels or noise, is no
    # shape: modes are combinations of a few smooth functions, fewer than there are groups.
    rng = np.random.default_rng(5)
    pattern = np.where(np.abs(U) > 2, 0.3 * (-1.0) ** np.arange(N_GROUPS), 0.0)
    smooth = 0.2 * np.tanh(U / 3)
    noise = cluster(300, seed=6)
    ratio = noise.ratio + rng.standard_normal((300, 1)) * pattern
    ratio += rng.standard_normal((300, 1)) * smooth
    modes = shape_modes([ClusterSpectra(ratio, noise.variance, noise.used, U, 14.0)])
    basis = _smooth_basis(U)
    assert basis.shape[1] < N_GROUPS / 2
    inside = basis @ np.linalg.lstsq(basis, modes.T, rcond=None)[0]
    np.testing.assert_allclose(inside.T, modes, atol=1e-9)
    # The pattern is larger than the mode, group by group; what of it is taken for one is not.
    captured = np.linalg.norm(modes @ pattern) / (pattern @ pattern)
    assert captured < 0.3
    assert np.linalg.norm(modes @ smooth) / (smooth @ smooth) == pytest.approx(1, abs=0.2)


def test_a_variation_of_the_tails_that_no_group_shows():
    # 5 % where the noise of a group is 20 to 40 %: a spectrum holds 40 groups, and there are 2000.
    # Over ten seeds the height scatters by 3.6 %; five of them: false alarms in 1e-6.
    mode = 0.05 * TAILS
    (found,) = shape_modes([cluster(2000, sigma=0.2, mode=mode, seed=7)])
    assert abs(found @ mode) / (mode @ mode) == pytest.approx(1.0, abs=0.18)


# --- modes that noise hides -----------------------------------------------------------------------


def pearson_slopes():
    """What registration fits: height, shift and width of a peak, as deviations of the ratio."""
    slope = -4 * 1.66 * U / (1 + 1.66 * U**2)
    return np.stack([np.ones(N_GROUPS), -slope, -U * slope])


@pytest.mark.parametrize("fitted", [None, pearson_slopes()], ids=["nothing fitted", "fitted"])
def test_hidden_variations_of_the_tails_are_found_on_average(fitted):
    # Noise of such a size that a variance of 0.07**2 is 0.3 of what one spectrum tells it to: below
    # the edge of Marchenko and Pastur (0.7), known to 27 % from 300 spectra (sqrt(2 / 300) / 0.3;
    # 33 % where what is fitted makes spectra differ), to 5 % from 40 images. Five of them: false
    # alarms in 1e-6. Variances below zero, which are cut off, are three standard deviations away,
    # the largest allowed as far. One image in a hundred shows a mode of its own, and is left out:
    # more than three of 40 with probability 6e-4.
    n, n_images, truth = 300, 40, 0.07**2
    information, _ = _tail_heights([cluster(n, 1.0, fitted=fitted)], TAILS)
    sigma = np.sqrt(truth * information.mean() / 0.3)
    found = [
        shape_modes([cluster(n, sigma, np.sqrt(truth) * TAILS, seed=1000 + k, fitted=fitted)])
        for k in range(n_images)
    ]
    heights = [height for height in map(height_of_tails, found) if height is not None]
    assert len(heights) >= n_images - 3
    assert np.mean(np.square(heights)) == pytest.approx(truth, rel=0.26)


def test_what_registration_fits_hides_a_part_of_the_tails():
    # The same spectra, once told what was fitted: a fitted height and width take most of it away.
    # The errors of the comparison cancel: both see the same spectra.
    fitted = pearson_slopes()
    told, untold = [], []
    for seed in range(10):
        one = cluster(300, 0.2, 0.05 * TAILS, seed=seed, fitted=fitted)
        told.append(height_of_tails(shape_modes([one])))
        blind = ClusterSpectra(one.ratio, one.variance, one.used, U, 14.0)
        untold.append(height_of_tails(shape_modes([blind])))
    assert np.mean(untold) < 0.6 * np.mean(told)


def test_unseen_variations_are_small_where_the_noise_is():
    # No variation at all: what could hide grows with the noise and stays below the largest.
    heights = [
        np.mean([height_of_tails(shape_modes([cluster(200, sigma, seed=s)])) for s in range(5)])
        for sigma in (0.1, 0.3, 0.9)
    ]
    assert 0 < heights[0] < heights[1] < heights[2]
    loud = [height_of_tails(shape_modes([cluster(20, 50.0, seed=s)])) for s in range(5)]
    np.testing.assert_allclose(loud, _LARGEST_UNSEEN)


@pytest.mark.parametrize("n_repeated", [0, 2, 8])
def test_tails_of_few_spectra_vary_by_the_prior_each_side_for_itself(n_repeated):
    # Nearly noiseless and equal: nothing is seen, and the prior gives way as spectra are added.
    gain, loss = shape_modes([cluster(n_repeated + 1, sigma=1e-6)])[-1:-3:-1]
    share = np.sqrt(_PRIOR_SPECTRA / (_PRIOR_SPECTRA + n_repeated))
    np.testing.assert_allclose(loss, _TAILS_DIFFER * share * np.where(U > 0, TAILS, 0))
    np.testing.assert_allclose(gain, _TAILS_DIFFER * share * np.where(U < 0, TAILS, 0))
    assert 0.01 < _TAILS_DIFFER <= _LARGEST_UNSEEN


@pytest.mark.parametrize("sizes", [(1,), (1, 1), (2,), (1, 2)])
def test_too_few_spectra_for_modes(sizes):
    modes = shape_modes([cluster(n, seed=n) for n in sizes])
    assert len(modes) >= 2
    assert np.isfinite(modes).all()
    assert 0 < np.abs(modes).max() < 2 * _LARGEST_UNSEEN


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 2, 1)])
def test_what_clusters_differ_by_is_variation_where_spectra_are_few(sizes):
    # Each cluster has its own height of the tails: with so few spectra that is no trend.
    clusters = [cluster(n, sigma=0.002, seed=k) for k, n in enumerate(sizes)]
    clusters = [
        ClusterSpectra(c.ratio + (k - 1.5) * 0.1 * TAILS, c.variance, c.used, U, 14.0)
        for k, c in enumerate(clusters)
    ]
    seen = shape_modes(clusters)[:-2]
    assert len(seen) == 1
    assert 0.03 < np.abs(seen[0][-1]) < 0.3


# --- drawing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DRAW)
def test_shape_and_seed_of_drawn_replicas(kind):
    clusters = [cluster(9, seed=1), cluster(5, seed=2, n_used=20), cluster(1, seed=3)]
    modes = shape_modes(clusters)
    one, same, other = (DRAW[kind](clusters, 7, np.random.default_rng(s), modes) for s in (0, 0, 1))
    assert one.shape == (7, 3, N_GROUPS)
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("mode", [None, 0.3 * np.tanh(U / 3)])
def test_gaussian_replicas_have_the_mean_and_covariance_of_the_data(mode):
    # Roest 2021, eq. 3.3: statistical errors are independent, systematic ones common to all
    # points and clusters. Moments of 4000 replicas: standard errors of 1.6 % and 2.2 %.
    clusters = [cluster(100, mode=mode, seed=1), cluster(60, mode=mode, mean=1.3, seed=2)]
    modes = NO_MODES if mode is None else shape_modes(clusters)
    assert len(modes) == (0 if mode is None else 1)
    drawn = draw_gaussian(clusters, 4000, np.random.default_rng(0), modes)
    for number, one in enumerate(clusters):
        mean, error = one.mean
        sigma = np.sqrt(error**2 + (modes**2).sum(0))
        np.testing.assert_allclose(drawn[:, number].mean(0), mean, atol=5 * sigma.max() / 63)
        np.testing.assert_allclose(drawn[:, number].std(0), sigma, rtol=0.08)
    between = np.cov(drawn[:, 0, 0], drawn[:, 1, -1])[0, 1]
    expected = (modes[:, 0] * modes[:, -1]).sum()
    scale = drawn[:, 0, 0].std() * drawn[:, 1, -1].std()
    assert abs(between - expected) < 5 * scale / np.sqrt(4000)


def test_groups_that_nobody_uses_are_the_reference_plus_modes():
    one = cluster(30, n_used=25)
    drawn = draw_gaussian([one], 5, np.random.default_rng(0), NO_MODES)
    np.testing.assert_array_equal(drawn[..., 25:], 1.0)
    drawn = draw_gaussian([one], 5, np.random.default_rng(0), 0.1 * TAILS[None])
    scores = (drawn[:, 0, 25:] - 1) / (0.1 * TAILS[25:])
    np.testing.assert_allclose(scores, np.broadcast_to(scores[:, :1], scores.shape))
    assert np.ptp(scores) > 0.1


def test_the_cluster_that_made_the_reference_is_drawn_with_it():
    # Its statistical errors are those of the reference, which every replica draws anyway.
    one = cluster(30)
    vacuum = ClusterSpectra(one.ratio, one.variance, one.used, U, 14.0, is_reference=True)
    drawn = draw_gaussian([vacuum, one], 6, np.random.default_rng(0), NO_MODES)
    np.testing.assert_array_equal(drawn[:, 0], np.broadcast_to(vacuum.mean[0], (6, N_GROUPS)))
    assert (drawn[:, 1].std(0) > 0).all()
    # The modes are common to all clusters, this one included.
    both = draw_gaussian([vacuum, vacuum], 6, np.random.default_rng(0), 0.1 * TAILS[None])
    np.testing.assert_array_equal(both[:, 0], both[:, 1])
    assert np.ptp(both[:, 0, -1]) > 0.02


def test_single_spectra_are_drawn_where_they_are_good_enough():
    one = cluster(15, sigma=0.005)
    assert draw_size(one) == 1
    drawn = draw_spectra([one], 200, np.random.default_rng(0))[:, 0]
    index = np.abs(drawn[:, None] - one.ratio).max(-1).argmin(-1)
    np.testing.assert_allclose(drawn, one.ratio[index], atol=1e-12)
    assert np.unique(index).size == 15  # a spectrum is missed with probability 1e-6


def test_noisy_spectra_are_averaged():
    # Averages of m spectra drawn with replacement: their scatter is that of one over sqrt(m).
    noisy = cluster(300, sigma=0.1)
    size = draw_size(noisy)
    assert 25 < size < 300
    drawn = draw_spectra([noisy], 600, np.random.default_rng(0))[:, 0]
    sigma = np.sqrt(np.median(noisy.variance, axis=0) / size)
    assert np.median(drawn.std(0) / sigma) == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(drawn.mean(0), noisy.mean[0], atol=6 * sigma.max() / np.sqrt(600))


@pytest.mark.parametrize("sigma, expected", [(0.02, 1), (0.04, 4), (0.1, 25), (10.0, 50)])
def test_size_of_a_draw_brings_the_flank_to_two_percent(sigma, expected):
    # n = (sigma / 0.02)**2, at most all 50.
    variance = np.full((50, N_GROUPS), (0.9999 * sigma) ** 2)
    one = ClusterSpectra(np.ones_like(variance), variance, variance > 0, U, 14.0)
    assert draw_size(one) == expected


def test_without_a_flank_one_spectrum_is_drawn():
    one = cluster(10)
    core = np.broadcast_to(np.abs(U) < 1, one.used.shape)
    assert draw_size(ClusterSpectra(one.ratio, one.variance, core, U, 14.0)) == 1


@pytest.mark.parametrize("kind", DRAW)
def test_a_cluster_of_one_spectrum(kind):
    single = cluster(1, sigma=1e-3)
    drawn = DRAW[kind]([single], 50, np.random.default_rng(0), NO_MODES)[:, 0]
    # Gaussian replicas scatter by the spectrum's noise, drawn ones are the spectrum itself.
    sigma = np.sqrt(single.variance[0])
    assert (np.abs(drawn - single.ratio[0]) < 5 * sigma).all()


def test_limits_are_lowered_by_a_uniform_fraction():
    limits = np.array([2.0, 5.0, np.inf])
    drawn = draw_limits(limits, 2000, np.random.default_rng(0), 0.3)
    assert drawn.shape == (2000, 3)
    assert np.isinf(drawn[:, 2]).all()
    fraction = drawn[:, :2] / limits[:2]
    assert fraction.min() > 0.7
    assert fraction.max() <= 1
    # Uniform between 0.7 and 1: mean 0.85 +- 0.002, width 0.3 / sqrt(12).
    np.testing.assert_allclose(fraction.mean(0), 0.85, atol=0.01)
    np.testing.assert_allclose(fraction.std(0), 0.3 / np.sqrt(12), rtol=0.06)
    np.testing.assert_array_equal(draw_limits(limits, 3, np.random.default_rng(0), 0.0)[0], limits)
