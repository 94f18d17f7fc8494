# SPDX-License-Identifier: GPL-3.0-or-later
"""Means of clusters, and modes of shape: found where there are some, and only there."""

from dataclasses import replace

import numpy as np
import pytest
from cluster_spectra import N_GROUPS, TAILS, U, cluster

from hyperspy_zlpml.registration.variation import (
    _LARGEST_UNSEEN,
    _TAILS_DIFFER,
    _TAILS_DIFFER_BY,
    ClusterSpectra,
    _coefficients,
    _smooth_basis,
    _tail_heights,
    shape_modes,
)


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


def test_values_of_unused_groups_do_not_enter_the_mean():
    one = cluster(8, n_used=25)
    spoiled = np.where(one.used, one.ratio, np.nan)
    other = ClusterSpectra(spoiled, one.variance, one.used, U, 14.0)
    np.testing.assert_array_equal(one.mean[0], other.mean[0])


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
    # Spectra with and without a note of what was fitted: height and width take most of it away.
    # The errors of the comparison cancel: both see the same spectra.
    fitted = pearson_slopes()
    informed, blind = [], []
    for seed in range(10):
        one = cluster(300, 0.2, 0.05 * TAILS, seed=seed, fitted=fitted)
        informed.append(height_of_tails(shape_modes([one])))
        without = ClusterSpectra(one.ratio, one.variance, one.used, U, 14.0)
        blind.append(height_of_tails(shape_modes([without])))
    assert np.mean(blind) < 0.6 * np.mean(informed)


def test_unseen_variations_are_small_where_the_noise_is():
    # No variation at all: what could hide grows with the noise and stays below the largest.
    heights = [
        np.mean([height_of_tails(shape_modes([cluster(200, sigma, seed=s)])) for s in range(5)])
        for sigma in (0.1, 0.3, 0.9)
    ]
    assert 0 < heights[0] < heights[1] < heights[2]
    loud = [height_of_tails(shape_modes([cluster(20, 50.0, seed=s)])) for s in range(5)]
    np.testing.assert_allclose(loud, _LARGEST_UNSEEN)


#: Tails of either side from three distances on, on the side of losses first.
EXPECTED = np.stack(
    [np.where(side * U > 0, np.tanh(U / w) ** 2, 0) for side in (1, -1) for w in (1, 2, 6)]
)


def size_of_expected(clusters):
    """Check that the last modes are what is expected of tails, and return how large they are."""
    modes = shape_modes(clusters)[-len(EXPECTED) :]
    size = np.abs(modes).max() / EXPECTED.max()
    np.testing.assert_allclose(modes, size * EXPECTED)
    return size


def test_one_spectrum_is_taken_to_vary_as_tails_are_known_to():
    # The root of the mean square of a logarithmic normal distribution, but for half of the peak and more.
    expected = _TAILS_DIFFER * np.exp(_TAILS_DIFFER_BY**2)
    alone = replace(cluster(1, sigma=0.01), is_reference=True)
    np.testing.assert_allclose(size_of_expected([alone]), expected, rtol=0.2)


@pytest.mark.parametrize("size", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("n_spectra", [2, 8])
def test_few_spectra_tell_by_how_much_their_tails_vary(size, n_spectra):
    rng, found = np.random.default_rng(0), []
    for seed in range(20):
        spectra = cluster(n_spectra, sigma=0.002, seed=seed)
        varied = size * rng.standard_normal((n_spectra, len(EXPECTED))) @ EXPECTED
        vacuum = replace(cluster(1, sigma=0.002, seed=seed + 100), is_reference=True)
        found.append(size_of_expected([vacuum, replace(spectra, ratio=spectra.ratio + varied)]))
    # Twelve numbers of one image tell a standard deviation to a fifth of itself, and 48 to a tenth; the root of the
    # mean square over what they leave open is the larger one.
    assert 0.8 * size < np.median(found) < 1.6 * size


def test_region_one_of_a_specimen_tells_the_same_size():
    rng, sizes = np.random.default_rng(1), (0.01, 0.2)
    medians = []
    for size in sizes:
        found = []
        for seed in range(20):
            specimen = cluster(1, sigma=0.002, seed=seed, n_used=22)
            varied = size * rng.standard_normal((1, len(EXPECTED))) @ EXPECTED
            vacuum = replace(cluster(1, sigma=0.002, seed=seed + 100), is_reference=True)
            clusters = [vacuum, replace(specimen, ratio=specimen.ratio + varied)]
            found.append(size_of_expected(clusters))
        medians.append(np.median(found))
    assert medians[0] < 0.03
    assert 0.08 < medians[1] < 0.3


def test_a_mode_of_two_spectra_is_what_one_of_them_happens_to_be():
    vacuum = replace(cluster(1, sigma=0.002), is_reference=True)
    specimen = cluster(2, sigma=0.002, mean=1 + 0.1 * TAILS, seed=1)
    assert len(shape_modes([vacuum, specimen])) == len(EXPECTED)


def test_what_few_spectra_show_in_region_one_goes_on_beyond():
    # Vacuum is all that is seen there, and does not deviate from itself: that is no evidence that a mode ends.
    vacuum = replace(cluster(1, sigma=0.002), is_reference=True)
    height = 0.2 * np.random.default_rng(2).standard_normal((8, 1))
    specimen = cluster(8, sigma=0.002, seed=3, n_used=26)
    specimen = replace(specimen, ratio=specimen.ratio + height * TAILS)
    (mode, *_), last = shape_modes([vacuum, specimen]), 25
    assert abs(mode[last]) > 0.1
    assert (np.abs(mode[last:]) > 0.7 * abs(mode[last])).all()


@pytest.mark.parametrize("sizes", [(1,), (1, 1), (2,), (1, 2)])
def test_too_few_spectra_for_modes(sizes):
    modes = shape_modes([cluster(n, seed=n) for n in sizes])
    assert len(modes) == len(EXPECTED)
    assert np.isfinite(modes).all()
    assert 0 < np.abs(modes).max() < 2 * _LARGEST_UNSEEN


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1), (2, 2, 2)])
def test_what_clusters_differ_by_is_variation_where_spectra_are_few(sizes):
    # Each cluster has its own height of the tails: with so few spectra that is no trend.
    clusters = [cluster(n, sigma=0.002, seed=k) for k, n in enumerate(sizes)]
    clusters = [
        ClusterSpectra(c.ratio + (k - 1.5) * 0.1 * TAILS, c.variance, c.used, U, 14.0)
        for k, c in enumerate(clusters)
    ]
    seen = shape_modes(clusters)[: -len(EXPECTED)]
    assert len(seen) == 1
    assert 0.03 < np.abs(seen[0][-1]) < 0.3


@pytest.mark.parametrize("n_spectra", [3, 4, 8])
def test_modes_are_no_larger_than_shapes_that_a_peak_can_have(n_spectra):
    rng = np.random.default_rng(n_spectra)
    u = np.linspace(-20, 20, 80)
    # What one wrong reference makes of peaks of few electrons: ratios of tens, known to a few per cent.
    ratio = np.where(np.abs(u) < 2, rng.uniform(0, 30, (n_spectra, 80)), 0.0)
    variance = rng.uniform(0.02, 0.5, ratio.shape) ** 2
    modes = shape_modes([ClusterSpectra(ratio, variance, variance > 0, u, 5.0)])
    assert np.isfinite(modes).all()
    assert np.abs(modes).max() < 5


@pytest.mark.parametrize("size", [1e2, 1e6, 1e10])
@pytest.mark.parametrize("n_spectra, seeds", [(3, (12, 25, 31)), (20, (2, 5, 28))])
def test_modes_are_numbers_however_unequal_the_spectra(n_spectra, seeds, size):
    # Some are known a trillion times better than others: moments and information are singular.
    for seed in seeds:
        rng = np.random.default_rng(seed)
        clusters = []
        for _ in range(2):
            error = 10 ** rng.uniform(-8, 0) * 10 ** rng.uniform(-4, 8, (n_spectra, 1))
            error = error * 10.0 ** rng.uniform(-1, 1, 25)
            shared = size * rng.standard_normal((n_spectra, 1)) * np.tanh(np.linspace(-6, 25, 25))
            ratio = 1 + error * rng.standard_normal(error.shape) + shared
            u = np.linspace(-6, 25, 25)
            clusters.append(ClusterSpectra(ratio, error**2, error > 0, u, 14.0))
        assert np.isfinite(shape_modes(clusters)).all()


def test_specimen_and_vacuum_tell_of_one_mode_whatever_registration_took_off():
    # Registration fits height, shift and width in region I of specimen, and in all of vacuum: other
    # parts of the same mode are left in either. Beside what it fits, the mode is the one injected.
    fitted = np.stack([np.ones(N_GROUPS), U / (1 + U**2), U**2 / (1 + U**2)])
    mode = 0.1 * TAILS * (1 + 0.1 * U)
    vacuum = cluster(100, mode=mode, seed=1, sigma=0.02, fitted=fitted)
    specimen = region_one(cluster(300, mode=mode, seed=2, sigma=0.02), fitted, n_used=20)
    modes = shape_modes([vacuum, specimen])
    assert len(modes) == 1
    span = np.concatenate([modes, fitted])
    weight = 1 / np.sqrt(vacuum.variance.mean(0))
    left = mode - np.linalg.lstsq((span * weight).T, mode * weight, rcond=None)[0] @ span
    assert np.abs(left).max() < 0.03 * mode.max()


def test_what_registration_follows_altogether_leaves_no_negative_information():
    # Two of three fitted functions are one, and only three of forty groups are seen, some a million times
    # better than others: what is left of most splines is rounding, which must not pass for information.
    once = U / (1 + U**2)
    fitted = np.stack([np.ones(N_GROUPS), once, once])
    one = replace(cluster(6, n_used=3, sigma=1e-5), fitted=fitted)
    one.variance[:, 1] *= 1e12
    basis = _smooth_basis(U)
    information, score = _coefficients([one], basis)
    assert np.linalg.eigvalsh(information).min() >= -1e-12 * np.abs(information).max()
    assert np.isfinite(score).all()
    assert np.isfinite(shape_modes([one])).all()


def region_one(one, fitted, n_used):
    """Take off the spectra of a cluster what is fitted to their first groups; those are used."""
    used = np.broadcast_to(np.arange(N_GROUPS) < n_used, one.ratio.shape)
    ratio = one.ratio.copy()
    for row, weight in zip(ratio, used / one.variance, strict=True):
        normal = (fitted * weight) @ fitted.T
        row -= np.linalg.solve(normal, (fitted * weight) @ (row - 1)) @ fitted
    return replace(one, ratio=ratio, used=used, fitted=fitted)
