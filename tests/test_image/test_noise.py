# SPDX-License-Identifier: GPL-3.0-or-later
"""The noise model recovers what the counts were made with."""

import numpy as np
import pytest
from detector_spectra import ENERGY, FWHM, STEP, peak, spectra
from scipy.ndimage import convolve1d

from hyperspy_zlpml.data import dielectric_phantom, make_sample, ws2_like
from hyperspy_zlpml.image.noise import (
    NoiseModel,
    correlation_of_spread,
    estimate_noise,
    fit_noise,
    mean_levels,
    rough_noise,
)
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.sums import (
    ScatterOfSums,
    _error_of,
    deviations,
    fit_correlation,
    scatter_of_sums,
)
from hyperspy_zlpml.statistics import Range
from hyperspy_zlpml.workflow import remove_zlp


def spread(electrons, kernel):
    return convolve1d(electrons.astype(float), kernel, axis=-1, mode="nearest")


def image(n, height, gain, readout, kernel, seed=0):
    """Spectra that drift by a channel and differ in thickness, as a detector with spread sees them."""
    rng = np.random.default_rng(seed)
    shift = STEP * rng.normal(0, 1, (n, 1))
    thickness = rng.uniform(0, 1, (n, 1))
    u = (ENERGY - shift) / FWHM
    peaks = (1 + 1.66 * u**2) ** -2 + 5e-4 / (1 + (u / 6) ** 2)
    plasmon = 0.02 * np.exp(-0.5 * ((ENERGY - shift - 12) / 2.5) ** 2)
    exciton = 0.01 * np.exp(-0.5 * ((ENERGY - shift - 4) / 0.2) ** 2)
    expected = height * np.exp(-thickness) * (peaks + thickness * (plasmon + exciton))
    counts = spread(gain * rng.poisson(expected / gain), kernel)
    return counts + readout * rng.standard_normal(counts.shape), shift[:, 0]


# --- the model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain, readout", [(1.0, 0.0), (0.4, 3.0), (7.0, 50.0)])
def test_variance_is_that_of_simulated_counts(gain, readout):
    # The variance of n samples has the relative error sqrt(2 / n) = 0.7 %: four of them.
    rng = np.random.default_rng(0)
    expected = 500.0
    counts = gain * rng.poisson(expected / gain, 40_000) + readout * rng.standard_normal(40_000)
    assert NoiseModel(gain, readout).variance(expected) == pytest.approx(counts.var(), rel=0.03)


def test_variance_of_a_sum_is_the_sum_of_variances():
    model = NoiseModel(1.7, 12.0)
    expected = np.array([3.0, 500.0, 0.0, 42.0])
    assert model.variance(expected.sum(), 4) == pytest.approx(model.variance(expected).sum())


def test_negative_expectations_leave_the_readout_noise():
    np.testing.assert_allclose(NoiseModel(2.0, 5.0).variance(np.array([-100.0, 0.0])), 25.0)


def test_measured_channels_never_claim_less_than_one_electron():
    model = NoiseModel(3.0, 4.0)
    empty, full = model.of_measured(np.array([-7.0, 300.0]))
    assert empty == 3.0**2 + 4.0**2  # one electron is `gain` counts: its variance is gain**2
    assert full == model.variance(300.0)


def test_correlation_of_a_spread_is_the_sum_of_products_of_its_shares():
    kernel = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
    found = correlation_of_spread(kernel)
    by_hand = [sum(kernel[i] * kernel[i + j] for i in range(5 - j)) for j in range(5)]
    np.testing.assert_allclose(found, by_hand, rtol=1e-12)
    assert found[0] + 2 * sum(found[1:]) == pytest.approx(1)  # no electron is lost
    np.testing.assert_allclose(correlation_of_spread(7 * kernel), found)


def test_variance_of_few_channels_is_that_of_simulated_sums():
    # 200 000 samples of each sum, 0.3 % each: five of them.
    rng = np.random.default_rng(0)
    kernel = [0.2, 0.6, 0.2]
    model = NoiseModel(3.5, 4.0, correlation=correlation_of_spread(kernel))
    counts = spread(3.5 * rng.poisson(100.0, (200_000, 20)), kernel)
    counts += 4.0 * rng.standard_normal(counts.shape)
    length = np.array([1, 2, 3, 7])
    found = [counts[:, 5 : 5 + n].sum(-1).var() for n in length]
    np.testing.assert_allclose(found, model.of_sum(350.0 * length, length), rtol=0.016)
    assert model.of_measured(np.array([350.0])) == pytest.approx(model.of_sum(350.0, 1))


def test_sums_of_many_channels_have_the_variance_of_electrons():
    model = NoiseModel(2.0, 5.0, correlation=(0.44, 0.24, 0.04))
    n = 10_000
    assert model.of_sum(1e6, n) == pytest.approx(model.variance(1e6, n), rel=1e-4)
    each = model.of_measured(np.full(n, 100.0), n)
    assert each.sum() == pytest.approx(model.of_sum(100.0 * n, n))


def test_without_correlation_all_sums_are_as_before():
    model = NoiseModel(1.7, 12.0)
    expected, n = np.array([-3.0, 0.0, 5.3, 1e4]), np.array([1, 2, 30, 4])
    np.testing.assert_array_equal(model.of_sum(expected, n), model.variance(expected, n))
    single = np.array([3.0, 500.0], np.float32)
    before = 1.7 * np.maximum(single, 1.7) + 12.0**2
    np.testing.assert_array_equal(model.of_measured(single), before)
    assert model.of_measured(single).dtype == np.float32


# --- estimates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain, readout", [(1.0, 30.0), (2.0, 5.0), (0.25, 10.0), (8.0, 100.0)])
@pytest.mark.parametrize("losses", [0.0, 5e3])
def test_variances_are_recovered(gain, readout, losses):
    # 60 spectra of 1100 channels outside the core: 2 % statistically where few channels are
    # bright, and 2 % for the trimming of what is not normal and for the curvature of the tails.
    counts = spectra(60, 3e6, gain, readout, losses=losses)
    found = estimate_noise(counts, ENERGY, *peak(60))
    level = np.geomspace(100.0, losses or 2e3, 9)  # the levels outside the core
    np.testing.assert_allclose(
        found.variance(level), NoiseModel(gain, readout).variance(level), rtol=0.04
    )
    assert found.gain == pytest.approx(gain, rel=0.06)
    assert "data" in found.source


@pytest.mark.parametrize("readout, kernel", [(30.0, [1.0]), (100.0, [1.0]), (3.0, [0.2, 0.6, 0.2])])
def test_the_error_of_the_gain_is_its_scatter(readout, kernel):
    # Ten images: chi2 of nine degrees is 1.7 to 24 but for one case in 200, and there are three. What
    # the last lags hold is cut off, which is no scatter.
    pulls = []
    for seed in range(10):
        counts, centre = image(60, 1e5, 1.0, readout, kernel, seed=seed)
        found = estimate_noise(counts, ENERGY, centre, peak(60)[1])
        pulls.append((found.gain - 1) / found.gain_error)
    assert 1.7 < ((np.array(pulls) - np.mean(pulls)) ** 2).sum() < 24
    assert abs(np.mean(pulls)) < 1.3  # by chance 0.3, three of these; and the cut


def test_a_gain_that_is_of_a_curve_is_not_known():
    # Read-out noise hides the electrons of the tails; those of the peak are not told from its curve.
    for seed in range(4):
        counts, centre = image(50, 1e4, 1.0, 50.0, [1.0], seed=seed)
        found = estimate_noise(counts, ENERGY, centre, peak(50)[1])
        assert found.gain < 3  # 0.9 to 2.6 in these images
        assert abs(found.gain - 1) < 2 * found.gain_error
        assert found.readout == pytest.approx(50, rel=0.02)


def test_a_gain_that_is_a_guess_is_as_wrong_as_large():
    found = fit_noise(np.zeros(100), np.zeros(100), "")
    assert found.gain == found.gain_error == 1.0
    assert fit_noise(np.arange(100.0), np.arange(100.0), "").gain_error == 0.0


def test_the_error_of_the_gain_is_none_where_all_is_readout():
    noise = NoiseModel(gain=0.0, readout=50.0, gain_error=0.5)
    found = noise.error_of_channel(np.array([-1.0, 0.0, 500.0]))
    np.testing.assert_allclose(found, [0.0, 0.0, 250 / 2500])
    assert not NoiseModel(gain=1.0, readout=0.0).error_of_channel(np.array([0.0, 1.0])).any()
    # Where there are electrons alone it is that of the gain.
    noise = NoiseModel(gain=2.0, readout=0.0, correlation=(0.5, 0.25), gain_error=0.2)
    np.testing.assert_allclose(noise.error_of_channel(np.array([1.0, 1e6])), 0.1)


@pytest.mark.parametrize("level", [0.1, 1.0, 10.0])
def test_a_counting_detector_has_the_gain_one(level):
    # From one electron in ten channels on: the trimmed squares of rare counts are not normal.
    rng = np.random.default_rng(5)
    expected = level * np.linspace(0.5, 1.5, ENERGY.size)
    counts = rng.poisson(expected, (100, ENERGY.size)).astype(float)
    found = estimate_noise(counts, ENERGY, *peak(100))
    assert found.variance(level) == pytest.approx(level, rel=0.12)


KERNELS = {
    "narrow": [0.2, 0.6, 0.2],
    "wide": [0.1, 0.2, 0.4, 0.2, 0.1],
    "tail": np.exp(-np.arange(5) / 1.5) / np.exp(-np.arange(5) / 1.5).sum(),
    "gauss": np.exp(-0.5 * np.arange(-4, 5) ** 2) / np.exp(-0.5 * np.arange(-4, 5) ** 2).sum(),
}


def odd(kernel):
    """Kernel in the middle of an odd number of channels."""
    return np.concatenate([np.zeros(len(kernel) - 1), kernel])


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("gain, readout", [(0.3, 3.0), (3.5, 10.0), (10.0, 30.0)])
@pytest.mark.parametrize("height", [1e5, 1e6])
def test_gain_is_found_behind_a_point_spread(name, gain, readout, height):
    # Third differences of channels find 0.003 to 0.3 of it.
    kernel = odd(KERNELS[name]) if name == "tail" else KERNELS[name]
    counts, centre = image(60, height, gain, readout, kernel)
    found = estimate_noise(counts, ENERGY, centre, peak(60)[1])
    # By chance 4 %; what little the last lags hold is cut off, 2 to 6 %.
    assert found.gain == pytest.approx(gain, rel=0.12)
    assert found.readout == pytest.approx(readout, rel=0.05)
    true = np.array(correlation_of_spread(kernel))[: len(found.correlation)]
    np.testing.assert_allclose(found.correlation[: true.size], true, atol=0.06)
    assert found.correlation[0] + 2 * sum(found.correlation[1:]) == pytest.approx(1)


def test_shapes_are_as_many_as_channels_that_hold_electrons():
    # More numbers than channels that tell them: any would do, the known ones once more among them.
    x = np.arange(-32, 96)
    expected = np.random.default_rng(0).uniform(0.4, 1.0, (90, 1)) * 1e5 * np.exp(-((x / 6) ** 2))
    counts = np.random.default_rng(1).poisson(expected).astype(float)
    left, level = deviations(
        counts, np.tile(x / 4, (90, 1)), np.random.default_rng(2).normal(size=90)
    )
    beside = (np.abs(x) > 16) & (expected.mean(0) > 1)
    assert (left**2)[:, beside].sum() / level[:, beside].sum() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_peaks_of_one_channel_that_move_between_dark_ones_tell_no_gain(seed):
    # No shapes describe them: by their core alone an electron counts for hundreds, or for what its dim edge allows.
    rng, x = np.random.default_rng(seed), np.arange(-40, 80)
    u = (x + np.linspace(-0.4, 0.4, 5)[:, None, None] - 0.3 * rng.standard_normal((100, 1))) / 1.2
    expected = 4e5 * rng.uniform(0.4, 1, (100, 1)) * np.exp(-4 * np.log(2) * u**2).mean(0)
    counts = 2.0 * rng.poisson(expected)
    found = estimate_noise(counts, 0.01 * x, np.zeros(100), np.full(100, 0.012))
    assert abs(found.gain - 2) < 3 * found.gain_error
    assert found.gain < 100


def test_sums_on_a_steep_flank_hold_the_noise_of_their_levels():
    # The plain mean of the channels of a difference is more than what its noise is of.
    level = np.tile(1e6 / np.arange(10.0, 130.0) ** 3, (300, 1))
    noise = np.sqrt(2 * level) * np.random.default_rng(0).standard_normal(level.shape)
    scatter = scatter_of_sums(noise, level, np.ones(level.shape, bool))
    ratio = scatter.squared / scatter.length / scatter.level
    for length in (1, 2, 4, 8):
        assert ratio[scatter.length == length].mean() == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_narrow_spread_is_told_where_spectra_have_few_channels(share):
    # Covariances of single lags, as far as they are significant and one more, end too early or too late.
    level, ratio = np.tile(np.linspace(1e3, 3e3, 60), (100, 1)), []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        noise = spread(rng.normal(0, np.sqrt(2 * level)), [share, 1 - 2 * share, share])
        found = fit_correlation(scatter_of_sums(noise, level, np.ones(level.shape, bool)))
        assert len(found.correlation) == 3
        ratio.append(found.gain / 2)
    assert np.std(ratio) < 0.08
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.05)


def test_detector_that_gave_a_tenth_of_its_gain():
    # 3.5 counts for each electron, 60 % of them in its channel: 0.37 by third differences.
    counts, centre = image(100, 1e5, 3.5, 0.0, [0.2, 0.6, 0.2], seed=1)
    found = estimate_noise(counts, ENERGY, centre, peak(100)[1])
    assert found.gain == pytest.approx(3.5, abs=0.3)
    np.testing.assert_allclose(found.correlation[:3], (0.44, 0.24, 0.04), atol=0.03)


@pytest.mark.parametrize("kernel", [[1.0], [0.2, 0.6, 0.2]])
def test_spikes_and_dead_channels_are_no_noise(kernel):
    counts, centre = image(60, 1e5, 2.0, 10.0, kernel)
    rng = np.random.default_rng(1)
    spikes = (rng.random(counts.shape) < 1e-3) * rng.exponential(3e3, counts.shape)
    counts = counts + spikes
    counts[:, [600, 900]] = 0.0
    found = estimate_noise(counts, ENERGY, centre, peak(60)[1])
    assert found.gain == pytest.approx(2.0, rel=0.1)
    assert found.readout == pytest.approx(10.0, rel=0.1)


@pytest.mark.parametrize("kernel", [[1.0], [0.2, 0.6, 0.2]])
def test_a_fixed_pattern_is_no_noise(kernel):
    # 0.5 % of 2e5 counts is more than their noise: neighbours differ by it in every spectrum.
    counts, centre = image(60, 1e7, 1.0, 10.0, kernel)
    counts = counts * (1 + 0.005 * np.random.default_rng(2).standard_normal(ENERGY.size))
    found = estimate_noise(counts, ENERGY, centre, peak(60)[1])
    assert found.gain == pytest.approx(1.0, rel=0.1)


def test_bright_spectra_lend_no_noise_to_dark_ones():
    # What spectra share is fitted over them. Behind the peak of vacuum there is nothing, and thick
    # spectra hold thousands of electrons; a pattern hides the noise of neighbouring channels.
    sample = ws2_like((12, 12), random_state=7001)
    counts = sample.signal.data.reshape(144, -1).astype(float)
    energy = sample.signal.axes_manager.signal_axes[0].axis
    counts = counts * (1 + 0.005 * np.random.default_rng(2).standard_normal(energy.size))
    peaks = peak_parameters(counts, energy)
    found = estimate_noise(counts, energy, peaks.centre, peaks.fwhm)
    assert found.gain == pytest.approx(sample.gain, rel=0.05)
    assert found.readout == pytest.approx(sample.readout, rel=0.05)


def test_order_of_the_spectra_is_of_no_importance():
    counts, centre = image(60, 1e5, 3.5, 10.0, [0.2, 0.6, 0.2])
    order = np.random.default_rng(3).permutation(60)
    one = estimate_noise(counts, ENERGY, centre, peak(60)[1])
    other = estimate_noise(counts[order], ENERGY, centre[order], peak(60)[1])
    assert other.gain == pytest.approx(one.gain, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_no_correlation_is_invented(seed):
    counts, centre = image(60, 1e5, 1.0, 10.0, [1.0], seed=seed)
    assert estimate_noise(counts, ENERGY, centre, peak(60)[1]).correlation == (1.0,)


def test_few_spectra_show_no_correlation_by_chance():
    """White noise of four spectra is called correlated less than once in sixty times."""
    energy = 0.05 * np.arange(-60, 300)
    losses = 0.02 * np.sqrt(np.clip(energy - 1, 0, None))
    expected = np.tile(1e5 * (1 / (1 + (energy / 0.25) ** 2) + losses), (4, 1))
    for seed in range(60):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(expected) + rng.normal(0, 3, expected.shape)
        found = estimate_noise(counts, energy, np.zeros(4), np.full(4, 0.5))
        assert found.correlation == (1.0,)


@pytest.mark.parametrize("seed", range(3))
def test_lone_electrons_of_few_spectra_are_no_correlation(seed):
    # Far out electrons are so rare that they look like spikes: once taken out nothing is left there.
    energy = 0.025 * np.arange(-80, 1968)
    tail = 1e3 / (1 + (energy / 0.3) ** 2) + 1e5 * np.exp(-4 * np.log(2) * (energy / 0.4) ** 2)
    counts = np.random.default_rng(seed).poisson(np.tile(tail, (12, 1))).astype(float)
    noise = estimate_noise(counts, energy, np.zeros(12), np.full(12, 0.4))
    assert noise.correlation == (1.0,)
    assert 0.9 < noise.gain < 1.1


def test_peaks_that_differ_are_no_correlation():
    # Beside the peak scatter is twice that of electrons, whatever the length of the sums.
    signal = dielectric_phantom((8, 8), random_state=3).signal
    energy = signal.axes_manager.signal_axes[0].axis
    counts = signal.data.reshape(64, -1).astype(float)
    found = peak_parameters(counts, energy)
    noise = estimate_noise(counts, energy, found.centre, found.fwhm)
    assert noise.correlation == (1.0,)
    assert noise.readout == pytest.approx(30.0, rel=0.05)


def test_a_single_spectrum_shows_a_point_spread_roughly():
    # 1100 channels: the scatter of sums of four is known to 10 %, what they miss must be guessed.
    counts, centre = image(1, 1e6, 3.5, 10.0, [0.2, 0.6, 0.2], seed=4)
    found = estimate_noise(counts, ENERGY, centre, peak(1)[1])
    assert found.gain == pytest.approx(3.5, rel=0.4)


def test_counts_without_readout_noise():
    found = estimate_noise(spectra(60, 1e6, losses=2e3), ENERGY, *peak(60))
    assert found.gain == pytest.approx(1.0, rel=0.03)
    assert found.readout**2 < 0.05 * 50.0  # small against the least counts: 50 per channel


def test_estimate_scales_with_the_counts():
    counts = spectra(20, 1e6, 1.0, 20.0, losses=1e3)
    one, ten = (estimate_noise(k * counts, ENERGY, *peak(20)) for k in (1, 10))
    assert ten.gain == pytest.approx(10 * one.gain, rel=1e-6)
    assert ten.readout == pytest.approx(10 * one.readout, rel=1e-6)


def test_a_single_spectrum_suffices():
    found = estimate_noise(spectra(1, 3e6, 2.0, 30.0, losses=2e4), ENERGY, *peak(1))
    assert found.gain == pytest.approx(2.0, rel=0.35)
    assert found.readout < 150


def test_an_axis_of_nothing_but_core_is_still_used():
    core = np.abs(ENERGY) < 2 * FWHM
    counts = spectra(300, 1e4)[:, core]
    found = estimate_noise(counts, ENERGY[core], *peak(300))
    assert found.gain == pytest.approx(1.0, rel=0.3)


def test_line_through_exact_variances_is_exact():
    level = np.linspace(1, 1000, 4800)
    model = fit_noise(level, 1.5 * level + 36.0, "test")
    assert model.gain == pytest.approx(1.5, rel=1e-6)
    assert model.readout == pytest.approx(6.0, rel=1e-5)
    assert model.source == "test"


def test_trimming_leaves_normal_noise_unbiased_and_resists_spikes():
    # The largest 1 % of squares are cut. Mean squares of 2500 scatter by 2.8 %: four of them;
    # a third of what is cut are spikes later, and as much of the noise is left in.
    rng = np.random.default_rng(1)
    level = rng.uniform(10, 1000, 60_000)
    squared = (2.0 * level + 100.0) * rng.standard_normal(level.size) ** 2
    x, plain, _ = mean_levels(level, squared, trimmed=False)
    np.testing.assert_allclose(mean_levels(level, squared)[1], plain, rtol=0.11)
    squared[rng.choice(level.size, 200, replace=False)] = 1e7  # 0.3 % of the channels
    np.testing.assert_allclose(mean_levels(level, squared)[1], 2 * x + 100, rtol=0.15)
    assert (mean_levels(level, squared, trimmed=False)[1] > 2 * plain).all()


@pytest.mark.parametrize("electron", [1.0, 5.0])
@pytest.mark.parametrize("level", [0.05, 0.5, 3.0])
def test_noise_to_find_spikes_by_is_that_of_electrons_where_they_are_rare(level, electron):
    rng = np.random.default_rng(0)
    expected = level + 50 * np.exp(-(((np.arange(300) - 100) / 5) ** 2))
    counts = electron * rng.poisson(expected, (24, 300))
    counts[3, 200] = 1e5
    rough = rough_noise(counts, NoiseModel(1e4, 0.0))
    assert 0.8 * electron < rough.gain < 2 * electron
    assert rough.readout < electron


def test_negative_slopes_and_offsets_are_not_believed():
    level = np.linspace(10, 1000, 4800)
    falling = fit_noise(level, 1e4 - 5 * level, "")
    assert falling.gain == 0
    assert falling.readout > 0
    through_below = fit_noise(level, 3 * level - 25, "")
    assert through_below.readout == 0
    assert through_below.gain == pytest.approx(3.0, rel=0.1)


def sharp(n, width, electrons, drift=0.0, tail=0.0, readout=8.0, seed=1):
    """Spectra of 2 counts per electron, in a peak of few channels that may drift."""
    rng = np.random.default_rng(seed)
    channel = np.arange(-100, 300)
    centre = drift * rng.standard_normal((n, 1))
    u = (channel - centre) / (width * (1 + 0.02 * rng.standard_normal((n, 1))))
    shape = np.exp(-4 * np.log(2) * u**2) + tail / (1 + 4 * u**2)
    expected = electrons * np.exp(-rng.uniform(0, 1, (n, 1))) * shape
    counts = 2.0 * rng.poisson(expected) + readout * rng.standard_normal(expected.shape)
    return counts, channel / width, centre[:, 0] / width, np.ones(n)


@pytest.mark.parametrize("width", [2.5, 4.0, 12.0])
@pytest.mark.parametrize("electrons", [30.0, 300.0, 3e4])
def test_gain_of_peaks_without_tails(width, electrons):
    """Only the core holds electrons: in it the gain is known to some tenths, and its error says so."""
    found = estimate_noise(*sharp(128, width, electrons, readout=2.0))
    assert found.gain_error < 0.8
    assert abs(found.gain - 2.0) < 3 * found.gain_error
    assert found.readout == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("readout", [1.0, 0.5])
def test_gain_of_dark_vacuum_is_right_on_average(readout):
    """Levels beside the peak differ by their noise alone: taken for exact they told a gain of 0, and 1.5 was found."""
    found = [estimate_noise(*sharp(60, 8.0, 1e4, readout=readout, seed=s)) for s in range(20)]
    gain, error = (
        np.array([getattr(one, name) for one in found]) for name in ("gain", "gain_error")
    )
    assert np.mean(gain) == pytest.approx(2.0, abs=0.1)
    assert np.sqrt(np.mean(((gain - 2.0) / error) ** 2)) < 1.5


def test_copies_of_neighbours_lend_no_noise():
    counts, energy, centre, fwhm = sharp(60, 8.0, 1e4, readout=3.0)
    found = estimate_noise(
        np.repeat(counts[::2], 2, axis=0), energy, np.repeat(centre[::2], 2), fwhm
    )
    assert abs(found.gain - 2.0) < 3 * found.gain_error < 2.0


def test_no_gain_where_nothing_is_beside_few_channels():
    rng, counts = np.random.default_rng(0), np.zeros((30, 200))
    counts[:, 99:102] = rng.poisson(1e4, (30, 3))
    energy = np.arange(200) - 100.0
    found = estimate_noise(counts, energy, np.zeros(30), np.ones(30))
    assert found.gain <= found.gain_error
    # Peaks so narrow that no channel is within them.
    found = estimate_noise(
        rng.poisson(50.0, (30, 200)), energy, np.full(30, 0.5), np.full(30, 0.05)
    )
    assert found.gain <= found.gain_error


def test_electrons_so_rare_that_most_spectra_hold_none():
    counts = np.random.default_rng(0).poisson(np.full((30, 200), 0.05)) * 2.0
    found = estimate_noise(counts, np.arange(200) - 100.0, np.zeros(30), np.full(30, 2.0))
    assert np.isfinite([found.gain, found.readout, found.gain_error]).all()


@pytest.mark.parametrize("electrons", [3e3, 3e4])
def test_gain_of_coarse_peaks_that_drift(electrons):
    # One channel, a quarter of the width, from spectrum to spectrum: differences of these gave 6 to 13.
    found = estimate_noise(*sharp(60, 4.0, electrons, drift=1.0))
    assert found.gain == pytest.approx(2.0, rel=0.3)


@pytest.mark.parametrize("tail", [0.01, 0.3])
@pytest.mark.parametrize("width", [2.5, 4.0])
def test_gain_of_coarse_peaks_with_tails(width, tail):
    """On a flank of few channels the mean of nine of them is more than the counts whose noise is seen: 0.6 was found."""
    found = estimate_noise(*sharp(100, width, 3e4, tail=tail, readout=2.0))
    assert found.correlation == (1.0,)
    assert found.gain == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("drift", [0.0, 1.0])
def test_alternating_thickness_shows_no_pattern(drift):
    """Neighbours share no height: a pattern of 1 % is more than the noise in what they differ by, which gave 2.9."""
    rng = np.random.default_rng(0)
    channel, thickness = np.arange(-80, 520), np.arange(100)[:, None] % 2
    centre = drift * rng.standard_normal((100, 1))
    x = channel - centre
    plasmon = 0.3 * thickness * np.exp(-(((x - 220) / 60) ** 2)) * (x > 0)
    expected = 2e5 * np.exp(-thickness) * (1 / (1 + 4 * (x / 6) ** 2) + plasmon)
    expected = expected * np.exp(-rng.uniform(0, 0.3, (100, 1)))
    pattern = 1 + 0.01 * rng.standard_normal(channel.size)
    counts = 2.0 * rng.poisson(expected) * pattern + 4.0 * rng.standard_normal(expected.shape)
    found = estimate_noise(counts, channel / 6, centre[:, 0] / 6, np.ones(100))
    assert found.gain == pytest.approx(2.0, rel=0.1)
    assert found.readout == pytest.approx(4.0, rel=0.1)


def test_spikes_move_no_gain():
    """Half a percent of the channels: neither mean squares nor levels hold them."""
    counts, energy, centre, fwhm = sharp(60, 6.0, 3e4, tail=1.0, readout=4.0)
    rng = np.random.default_rng(7)
    spiked = rng.random(counts.shape) < 5e-3
    counts[spiked] += rng.uniform(1e3, 3e4, spiked.sum())
    assert estimate_noise(counts, energy, centre, fwhm).gain == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("level", [0.0, 100.0])
@pytest.mark.parametrize("n", [3, 60])
def test_a_gain_that_nothing_tells_is_not_known(n, level):
    # Read-out noise on counts that are the same everywhere: all of it may be that of electrons.
    rng = np.random.default_rng(2)
    counts = level + 3.0 * rng.standard_normal((n, 300))
    found = estimate_noise(counts, np.arange(-60, 240) / 6, np.zeros(n), np.ones(n))
    assert found.gain_error >= max(found.gain, 1e-3)
    assert found.variance(level) == pytest.approx(9.0, rel=0.2)


def test_counts_without_any_noise_are_taken_for_electrons():
    found = estimate_noise(np.zeros((3, ENERGY.size)), ENERGY, *peak(3))
    assert (found.gain, found.readout) == (1.0, 0.0)


@pytest.fixture(scope="module")
def removed():
    """Image behind a point spread: what is known of it, its noise as it is, and what was found."""
    kernel = [0.2, 0.6, 0.2]
    sample = make_sample((12, 12), 640, peak_counts=3e5, readout=0.0, random_state=0)
    expected = (sample.zlp.data + sample.inelastic.data).reshape(-1, 640)
    electrons = np.random.default_rng(0).poisson(expected / 3.5)
    counts = spread(3.5 * electrons, kernel)
    energy = sample.signal.axes_manager.signal_axes[0].axis
    found = remove_zlp(counts, energy, n_replicas=8, random_state=0)
    return counts, counts - spread(expected, kernel), found


def test_matches_behind_a_point_spread_miss_by_their_noise(removed):
    # The chi2 of some 100 groups scatters by 15 % from spectrum to spectrum, its median by 2 %;
    # correlated noise is fitted a little better than white.
    counts, _, found = removed
    application = found.application
    match = application.subtraction.match_rows(counts, application.peaks)
    assert np.median(match.reduced_chi2) == pytest.approx(1.0, abs=0.1)


def test_variance_behind_a_point_spread_is_that_of_channels(removed):
    # Their own noise, beside that of the zero-loss peak: a quarter of it by third differences.
    _, noise, found = removed
    tail = slice(400, None)
    own = found.variance[:, tail] - found.std[:, tail] ** 2
    assert own.mean() == pytest.approx((noise[:, tail] ** 2).mean(), rel=0.1)


def test_integrals_behind_a_point_spread_know_their_counting_noise(removed):
    counts, noise, found = removed
    application = found.application
    low, high = 6.0, 9.0
    got = application.subtraction.integrate(counts, application.peaks, Range(low, high))
    energy = application.subtraction.energy
    inside = (energy >= low) & (energy < high)
    # 144 spectra: 6 %.
    assert (noise[:, inside].sum(-1) / got.counting_std).std() == pytest.approx(1.0, abs=0.2)


def test_levels_of_zero_that_do_not_scatter_leave_the_error_of_the_gain_finite():
    # The fit says that nothing scatters there, and its error was divided by that.
    level = np.array([0.0, 0.0, 1e4, 2e4, 1e5])
    scatter = ScatterOfSums(
        length=np.ones(5), level=level, squared=2.0 * level, error=np.full(5, 0.2), order=3
    )
    design = np.stack([np.ones(5), level], axis=1)
    error = _error_of(np.array([0.0, 1.0]), design, scatter, np.array([0.0, 2.0]))
    # Three levels that each tell the gain of 2 to a fifth.
    assert 0.1 < error < 1.0


@pytest.mark.parametrize("unused", [0, 57, 199])
def test_a_channel_that_is_not_used_is_in_no_sum(unused):
    counts = np.random.default_rng(0).normal(100.0, 1.0, (40, 200))
    used = np.ones(counts.shape, bool)
    used[:, unused] = False
    told = scatter_of_sums(counts, counts, used)
    spiked = counts.copy()
    spiked[:, unused] += 1e6 * np.arange(40)
    np.testing.assert_array_equal(scatter_of_sums(spiked, counts, used).squared, told.squared)
    every = np.ones_like(used)
    assert scatter_of_sums(spiked, counts, every).squared.max() > 1e6 * told.squared.max()
