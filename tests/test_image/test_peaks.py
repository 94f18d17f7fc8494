# SPDX-License-Identifier: GPL-3.0-or-later
"""Peak parameters against analytic peaks, equivariances, and the counting limit."""

from dataclasses import fields

import numpy as np
import pytest
from scipy.special import erf

from hyperspy_zlpml.image import peaks
from hyperspy_zlpml.image.peaks import PeakParameters, peak_parameters

STEP = 0.025
ENERGY = STEP * np.arange(-240, 760)
FWHM_OVER_SIGMA = 2 * np.sqrt(2 * np.log(2))


def pearson(u, exponent):
    """Pearson VII profile of unit height and FWHM; 1 is a Lorentzian, infinity a Gaussian."""
    if np.isinf(exponent):
        return np.exp(-4 * np.log(2) * u**2)
    return (1 + 4 * (2 ** (1 / exponent) - 1) * u**2) ** -exponent


def images_of_peaks(n_spectra=40, seed=0, height=1e5):
    """Poisson spectra with drifting centres and widths, and what they were made of."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(0, 0.1, n_spectra)
    fwhm = 0.4 * np.exp(rng.normal(0, 0.1, n_spectra))
    expected = height * pearson((ENERGY - centre[:, None]) / fwhm[:, None], 2.0)
    return rng.poisson(expected).astype(float), centre, fwhm


def assert_same(a, b, **tolerance):
    tolerance = {"rtol": 1e-9, **tolerance}
    for f in fields(PeakParameters):
        np.testing.assert_allclose(
            getattr(a, f.name), getattr(b, f.name), err_msg=f.name, **tolerance
        )


@pytest.mark.parametrize("factor", [1e-15, 1e-6, 1e12])
def test_the_units_of_the_counts_change_no_bit_of_centre_and_width(factor):
    """Trainings magnify last bits: what they begin with must be the same."""
    counts = images_of_peaks()[0]
    found, scaled = peak_parameters(counts, ENERGY), peak_parameters(factor * counts, ENERGY)
    np.testing.assert_array_equal(scaled.centre, found.centre)
    np.testing.assert_array_equal(scaled.fwhm, found.fwhm)


@pytest.mark.parametrize("exponent", [1.0, 2.0, np.inf])
@pytest.mark.parametrize("channels", [6.3, 12.7, 33.1])
def test_centre_and_width_of_sampled_peaks(exponent, channels):
    # Lines and parabolas through the logarithm are exact for no peak: the widths are good to
    # the curvature of the flank over the 0.15 FWHM of the line, about 1 %, at every sub-channel
    # position, and the centres of symmetric peaks to a few hundredths of a channel.
    centre = STEP * np.linspace(-0.5, 0.5, 11)
    fwhm = channels * STEP
    found = peak_parameters(1e6 * pearson((ENERGY - centre[:, None]) / fwhm, exponent), ENERGY)
    assert found.usable.all()
    np.testing.assert_allclose(found.centre, centre, atol=0.03 * STEP)
    np.testing.assert_allclose(found.fwhm, fwhm, rtol=0.015)


@pytest.mark.parametrize("channels", [1.0, 1.5, 2.0])
def test_peaks_narrower_than_their_flanks_are_taken_for_gaussians(channels):
    # The logarithm of a Gaussian is the parabola that is drawn through its highest channels.
    centre = STEP * np.linspace(-0.4, 0.4, 9)
    counts = 1e6 * pearson((ENERGY - centre[:, None]) / (channels * STEP), np.inf)
    found = peak_parameters(counts, ENERGY)
    np.testing.assert_allclose(found.centre, centre, atol=1e-6 * STEP)
    np.testing.assert_allclose(found.fwhm, channels * STEP, rtol=1e-6)


@pytest.mark.parametrize("channels", [4, 5])
@pytest.mark.parametrize("exponent", [1.0, 2.0, np.inf])
def test_width_when_the_crossings_fall_on_channels(channels, exponent):
    counts = 1e6 * pearson(ENERGY / (channels * STEP), exponent)
    assert peak_parameters(counts, ENERGY).fwhm == pytest.approx(channels * STEP, rel=0.06)


def test_intensity_and_total_of_a_gaussian():
    # N0 is what lies within one FWHM of the centre: erf(2 sqrt(ln 2)) of a Gaussian's area.
    sigma, area = 0.4 / FWHM_OVER_SIGMA, 1e7
    counts = area * STEP * np.exp(-0.5 * (ENERGY / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    found = peak_parameters(counts, ENERGY)
    assert found.total == pytest.approx(area, rel=1e-9)
    assert found.intensity == pytest.approx(area * erf(2 * np.sqrt(np.log(2))), rel=2e-3)
    assert found.scattered == pytest.approx(0, abs=1e-6)


def test_scattered_counts_are_those_beyond_eight_widths():
    peak = 1e6 * pearson(ENERGY / 0.4, np.inf)
    losses = np.where((ENERGY > 6.0) & (ENERGY < 8.0), 50.0, 0.0)
    found = peak_parameters(peak + losses, ENERGY)
    assert found.scattered == pytest.approx(losses.sum(), rel=1e-9)
    nearer = np.where((ENERGY > 2.0) & (ENERGY < 2.8), 50.0, 0.0)  # before 8 FWHM = 3.2 eV
    assert peak_parameters(peak + nearer, ENERGY).scattered == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("factor", [1e-2, 7.0, 1e4])
def test_scaling_the_counts_scales_only_the_sums(factor):
    counts, *_ = images_of_peaks()
    one, many = peak_parameters(counts, ENERGY), peak_parameters(factor * counts, ENERGY)
    # The tiny ridge of the least squares holds the logarithm of the counts: not quite exact.
    np.testing.assert_allclose(many.centre, one.centre, atol=1e-7 * STEP)
    np.testing.assert_allclose(many.fwhm, one.fwhm, rtol=1e-7)
    for name in ("intensity", "total", "scattered"):
        np.testing.assert_allclose(getattr(many, name), factor * getattr(one, name), rtol=1e-7)


@pytest.mark.parametrize("offset, stretch", [(100.0, 1.0), (0.0, 1e3), (-5.0, 0.01)])
def test_moving_and_stretching_the_axis(offset, stretch):
    counts, *_ = images_of_peaks()
    here, there = (
        peak_parameters(counts, ENERGY),
        peak_parameters(counts, offset + stretch * ENERGY),
    )
    np.testing.assert_allclose(there.centre, offset + stretch * here.centre, atol=1e-9 * stretch)
    np.testing.assert_allclose(there.fwhm, stretch * here.fwhm, rtol=1e-7)
    np.testing.assert_allclose(there.intensity, here.intensity, rtol=1e-7)


@pytest.mark.parametrize("n_channels", [-50, 30])
def test_moving_the_counts_along_the_axis(n_channels):
    # No counts at the ends: rolling moves whole peaks.
    centre = np.linspace(-0.1, 0.1, 5)
    counts = np.round(1e5 * pearson((ENERGY - centre[:, None]) / 0.4, np.inf))
    here = peak_parameters(counts, ENERGY)
    there = peak_parameters(np.roll(counts, n_channels, axis=-1), ENERGY)
    np.testing.assert_array_equal(there.channel, here.channel + n_channels)
    np.testing.assert_allclose(there.centre, here.centre + n_channels * STEP, atol=1e-9)
    np.testing.assert_allclose(there.fwhm, here.fwhm, rtol=1e-9)
    np.testing.assert_allclose(there.intensity, here.intensity, rtol=1e-9)


@pytest.mark.parametrize("pieces", [2, 7, 40])
def test_independent_of_chunking(pieces):
    # Widths differ by a factor of 30: the widest peak of a chunk sets the size of its windows.
    counts, *_ = images_of_peaks()
    counts[3] = 1e5 * pearson((ENERGY - 0.01) / 2.9, 2.0)
    counts[8] = 1e5 * pearson((ENERGY - 0.01) / 0.1, 2.0)
    counts[17, 5] = np.nan
    counts[25] = 0.0
    parts = [peak_parameters(part, ENERGY).stack() for part in np.array_split(counts, pieces)]
    assert_same(PeakParameters.unstack(np.concatenate(parts)), peak_parameters(counts, ENERGY))


def test_any_leading_axes():
    counts, *_ = images_of_peaks(12)
    flat, shaped = (
        peak_parameters(counts, ENERGY),
        peak_parameters(counts.reshape(2, 3, 2, -1), ENERGY),
    )
    assert shaped.centre.shape == shaped.status.shape == (2, 3, 2)
    assert_same(PeakParameters.unstack(shaped.stack().reshape(12, -1)), flat)
    assert_same(peak_parameters(counts[4], ENERGY), flat.select(4))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_types_of_the_counts_do_not_matter(dtype):
    counts, *_ = images_of_peaks(height=3e4)
    assert_same(peak_parameters(counts.astype(dtype), ENERGY), peak_parameters(counts, ENERGY))


def test_input_is_not_modified():
    counts, *_ = images_of_peaks(3)
    counts[1, 7] = np.nan
    before = counts.copy()
    peak_parameters(counts, ENERGY)
    np.testing.assert_array_equal(counts, before)


def test_unusable_spectra_are_marked_and_do_not_disturb_the_others():
    counts, *_ = images_of_peaks(9)
    alone = peak_parameters(counts, ENERGY)
    rng = np.random.default_rng(1)
    counts[1, 500] = np.nan
    counts[2, 0] = np.inf
    counts[3] = np.nan
    counts[4] = rng.normal(0, 10, ENERGY.size)
    counts[5] = 0.0
    counts[6] = 1e5 * pearson((ENERGY - ENERGY[0]) / 0.4, 2.0)
    counts[7] = 1e5 * pearson((ENERGY - ENERGY[-1]) / 0.4, 2.0)
    found = peak_parameters(counts, ENERGY)
    bad, none, edge = peaks.NOT_FINITE, peaks.NO_PEAK, peaks.AT_EDGE
    np.testing.assert_array_equal(found.status, [0, bad, bad, bad, none, none, edge, edge, 0])
    for name in ("centre", "fwhm", "intensity", "total", "scattered"):
        assert np.isnan(getattr(found, name)[1:8]).all()
    assert_same(found.select([0, 8]), alone.select([0, 8]))


@pytest.mark.parametrize("value", [np.nan, 0.0, 7.0])
def test_an_image_without_any_peak(value):
    found = peak_parameters(np.full((2, 3, ENERGY.size), value), ENERGY)
    assert not found.usable.any()
    assert np.isnan(found.centre).all()


def test_no_spectra_at_all():
    assert peak_parameters(np.zeros((0, ENERGY.size)), ENERGY).centre.shape == (0,)


@pytest.mark.parametrize("height", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("exponent", [8, 20])
def test_flat_peaks_lie_in_the_middle_of_their_flanks(exponent, height):
    # Noise makes any channel of a flat top the highest, and few tops not look flat.
    energy, rng = 0.02 * np.arange(-100, 200), np.random.default_rng(0)
    centre = rng.uniform(-0.01, 0.01, 100)
    shape = np.exp(-np.log(2) * np.abs((energy - centre[:, None]) / 0.25) ** exponent)
    found = peak_parameters(rng.poisson(height * shape), energy)
    assert np.quantile(np.abs(found.centre - centre), 0.95) < 0.005
    assert np.quantile(np.abs(found.fwhm / 0.5 - 1), 0.95) < 0.05


@pytest.mark.parametrize("exponent", [2, 3, 4, 5, 6, 8])
def test_equal_peaks_have_one_centre_however_flat_and_tilted(exponent):
    # Between vertex and middle of the flanks it is no matter of noise which of the two a centre is.
    energy, rng = 0.02 * np.arange(-100, 150), np.random.default_rng(0)
    centre = rng.uniform(-0.01, 0.01, 300)
    x = (energy - centre[:, None]) / 0.25
    shape = np.exp(-np.log(2) * np.abs(x) ** exponent) * (1 + 0.1 * np.clip(x, -1.2, 1.2))
    off = (peak_parameters(rng.poisson(1e5 * shape), energy).centre - centre) / 0.5
    assert off.std() < 0.025
    assert np.abs(off.mean()) < 0.1


@pytest.mark.parametrize("width", [1, 2, 30])
def test_boxes_have_a_finite_width(width):
    # One hot channel, two, and a peak cut off flat: no NaN, the centre in the middle.
    counts = np.zeros(ENERGY.size)
    counts[300 : 300 + width] = 1e5
    found = peak_parameters(counts, ENERGY)
    assert found.usable
    # Neighbours of a coarse peak count as something: two full channels come out below two.
    assert STEP * 0.4 * width <= found.fwhm <= STEP * (width + 3)
    assert found.intensity == pytest.approx(1e5 * width, rel=0.1)


@pytest.mark.parametrize("pedestal", [0.0, 100.0])
def test_noise_is_not_taken_for_a_peak(pedestal):
    # Ten standard deviations: the false-alarm rate of Gaussian noise is below 1e-18 per spectrum.
    rng = np.random.default_rng(2)
    found = peak_parameters(rng.normal(pedestal, 10, (300, ENERGY.size)), ENERGY)
    assert not found.usable.any()
    # With its maximum in the first channels a spectrum has no baseline to compare with.
    enough = (found.channel >= 16) | (pedestal == 0)
    assert (found.status[enough] == peaks.NO_PEAK).all()


@pytest.mark.parametrize("height", [100.0, 1e4, 1e6])
def test_errors_follow_the_counts(height):
    # No estimator beats the Cramer-Rao limit of a Gaussian, sigma / sqrt(N) for the centre and
    # 1 / sqrt(2 N) for ln(width); the parabola and lines near the top and the crossings lose a
    # factor of three. Biases stay within four standard errors of their mean (false alarms
    # 6e-5), beyond 0.01 of a channel for the centre and the 1 % of the lines for the width.
    n, fwhm, centre = 300, 0.45, 0.007
    rng = np.random.default_rng(3)
    expected = height * pearson((ENERGY - centre) / fwhm, np.inf)
    found = peak_parameters(rng.poisson(expected, (n, ENERGY.size)).astype(float), ENERGY)
    electrons = expected.sum()
    assert found.usable.all()
    limit = fwhm / FWHM_OVER_SIGMA / np.sqrt(electrons)
    assert 0.8 * limit < found.centre.std() < 6 * limit
    assert abs(found.centre.mean() - centre) < 0.01 * STEP + 4 * found.centre.std() / np.sqrt(n)
    relative = 1 / np.sqrt(2 * electrons)
    assert 0.8 * relative < found.fwhm.std() / fwhm < 4 * relative
    bias = found.fwhm.mean() / fwhm - 1
    assert abs(bias) < 0.015 + 4 * found.fwhm.std() / fwhm / np.sqrt(n)


def test_a_pedestal_does_not_move_the_peak_and_is_taken_off_the_sums():
    counts, *_ = images_of_peaks()
    clean, raised = peak_parameters(counts, ENERGY), peak_parameters(counts + 250.0, ENERGY)
    np.testing.assert_allclose(raised.centre, clean.centre, atol=0.01 * STEP)
    np.testing.assert_allclose(raised.fwhm, clean.fwhm, rtol=2e-3)
    corrected = raised.without_pedestal(250.0, ENERGY)
    np.testing.assert_allclose(corrected.total, clean.total, rtol=1e-9)
    np.testing.assert_allclose(corrected.intensity, clean.intensity, rtol=1e-3)
    # `scattered` starts half a channel apart: one channel's pedestal and counts.
    np.testing.assert_allclose(corrected.scattered, clean.scattered, atol=300.0)


def test_stacking_and_selecting():
    parameters = peak_parameters(images_of_peaks(6)[0], ENERGY)
    stacked = parameters.stack()
    assert stacked.shape == (6, len(fields(PeakParameters)))
    assert_same(PeakParameters.unstack(stacked), parameters)
    assert PeakParameters.unstack(stacked).channel.dtype.kind == "i"
    chosen = parameters.select(np.array([True, False, True, False, False, False]))
    np.testing.assert_array_equal(chosen.centre, parameters.centre[[0, 2]])
