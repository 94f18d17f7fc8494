# SPDX-License-Identifier: GPL-3.0-or-later
"""Peaks that a detector cut off, and peaks that the instrument makes flat."""

import numpy as np
import pytest
from scipy.special import erf

from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.saturation import _relative_scatter, saturated_peaks

ENERGY = 0.02 * np.arange(-150, 300)


def super_gaussian(exponent):
    return lambda energy, fwhm: np.exp(-np.log(2) * np.abs(2 * energy / fwhm) ** exponent)


def blurred_box(energy, fwhm):
    """A slit with an edge of a twentieth of its width: flat throughout, and as steep as a peak that is cut off."""
    edge = 0.05 * fwhm
    return (erf((energy + fwhm / 2) / edge) - erf((energy - fwhm / 2) / edge)) / 2


def pearson(energy, fwhm):
    return (1 + 1.66 * (energy / fwhm) ** 2) ** -2.5


def spectra(shape, fwhm, height, n, dimmest=0.5, seed=0):
    """Counts of peaks that differ in dose and drift within a channel."""
    rng = np.random.default_rng(seed)
    drift = rng.uniform(-0.01, 0.01, (n, 1))
    return rng.poisson(
        height * rng.uniform(dimmest, 1, (n, 1)) * shape(ENERGY - drift, fwhm)
    ).astype(float)


def found(counts, unit=1.0):
    """Numbers of peaks that were cut off, and cut off behind noise."""
    parameters = peak_parameters(counts, ENERGY)
    usable = parameters.usable
    flags = saturated_peaks(counts[usable], parameters.select(usable), ENERGY, unit)
    return tuple(int(flag.sum()) for flag in flags)


@pytest.mark.parametrize("n", [1, 9, 100])
@pytest.mark.parametrize("height", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("fwhm", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("exponent", [4, 8])
def test_flat_responses_are_not_saturated(exponent, fwhm, height, n):
    assert found(spectra(super_gaussian(exponent), fwhm, height, n)) == (0, 0)


@pytest.mark.parametrize("dimmest", [0.5, 1.0])
def test_a_slit_is_not_saturated(dimmest):
    # Its edges show no more than those of a peak that is cut off; what its top counts does.
    assert found(spectra(blurred_box, 0.5, 1e5, 50, dimmest)) == (0, 0)


@pytest.mark.parametrize("n", [1, 9, 100])
@pytest.mark.parametrize("height", [3e4, 1e6, 1e8])
@pytest.mark.parametrize("shape", [super_gaussian(2), pearson])
def test_peaks_that_were_cut_off_are_seen_through_noise(shape, height, n):
    # The noise of a gain correction is less than that of electrons first, and more in the end.
    counts = spectra(shape, 0.5, height, n, dimmest=0.8)
    cut = np.minimum(counts, 0.2 * height)
    cut *= np.random.default_rng(1).normal(1, 0.003, cut.shape)
    exactly, behind_noise = found(cut)
    assert exactly == 0
    assert behind_noise == n


@pytest.mark.parametrize("n", [1, 4, 9, 100])
@pytest.mark.parametrize("shape", [super_gaussian(2), pearson])
@pytest.mark.parametrize("by", ["exposure", "area"])
def test_normalised_spectra_that_were_cut_off_are_seen(by, shape, n):
    # Each scaled by its own factor, they are level no longer; their corners are as sharp as they were.
    rng, counts = np.random.default_rng(1), spectra(shape, 0.5, 1e6, n)
    cut = np.minimum(counts, 2e5) * rng.normal(1, 0.003, counts.shape)
    area = cut.sum(1, keepdims=True)
    factor = area.mean() / area if by == "area" else rng.uniform(0.9, 1.1, (n, 1))
    assert found(cut * factor) == (0, n)


@pytest.mark.parametrize("fwhm", [0.2, 0.5])
@pytest.mark.parametrize("exponent", [4, 8])
def test_normalised_flat_responses_are_not_saturated(exponent, fwhm):
    counts = spectra(super_gaussian(exponent), fwhm, 1e6, 9)
    assert found(counts / counts.sum(1, keepdims=True) * counts.sum(1).mean()) == (0, 0)


@pytest.mark.parametrize("drift", [0.0, 0.002, 0.004, 0.006, 0.008, 0.01])
def test_corners_between_few_channels_are_seen(drift):
    # One dose, and no drift between spectra: all flanks meet the level at the same place between channels.
    rng = np.random.default_rng(0)
    peak = 1e6 * super_gaussian(2)(np.tile(ENERGY - drift, (9, 1)), 0.12)
    cut = np.minimum(rng.poisson(peak), 2e5) * rng.normal(1, 0.003, peak.shape)
    assert found(cut) == (0, 9)
    assert found(cut * rng.uniform(0.9, 1.1, (9, 1))) == (0, 9)


@pytest.mark.parametrize("fwhm", [0.12, 0.2, 0.5])
@pytest.mark.parametrize("edge", [0.006, 0.01, 0.02, 0.04])
def test_edges_of_few_channels_are_no_corners(edge, fwhm):
    def gaussian_blur(energy, fwhm):
        return (erf((energy + fwhm / 2) / edge) - erf((energy - fwhm / 2) / edge)) / 2

    def lorentzian_blur(energy, fwhm):
        return (
            np.arctan((energy + fwhm / 2) / edge) - np.arctan((energy - fwhm / 2) / edge)
        ) / np.pi

    for shape in (gaussian_blur, lorentzian_blur):
        for dimmest in (0.5, 1.0):
            assert found(spectra(shape, fwhm, 1e6, 9, dimmest)) == (0, 0)


def test_one_level_that_peaks_of_different_width_end_in_is_saturation():
    # Of so few channels that no flank shows how it ends, and behind more noise than electrons make.
    counts = spectra(super_gaussian(2), 0.1, 1e7, 100, dimmest=0.2)
    cut = np.minimum(counts, 0.1 * 1e7) * np.random.default_rng(1).normal(1, 0.003, counts.shape)
    assert found(cut)[1] > 50


def test_tops_without_the_noise_of_electrons_are_saturation():
    # Cut off so deep that all flanks are steeper than channels show, in spectra of one dose.
    edges = spectra(lambda energy, fwhm: (np.abs(energy) < fwhm / 2) + 0.0, 0.3, 5e4, 9, dimmest=1)
    quiet = np.where(edges > 0, 5e4, 0) * np.random.default_rng(1).normal(1, 5e-4, edges.shape)
    assert found(edges) == (0, 0)
    assert found(quiet)[1] == 9


def test_widths_of_which_none_is_known_do_not_differ(recwarn):
    assert _relative_scatter(np.full(9, np.nan)) == 0
    assert _relative_scatter(np.array([1.0, np.nan, 1.0])) == 0
    assert _relative_scatter(np.array([0.9, np.nan, 1.0, 1.1])) > 0.1
    assert not recwarn
