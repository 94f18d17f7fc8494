# SPDX-License-Identifier: GPL-3.0-or-later
"""The pedestal of axes that begin close to the peak."""

import numpy as np
import pytest

from hyperspy_zlpml.image.detector import describe_detector
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.pedestal import pedestal_by_intensity

ENERGY = 0.025 * np.arange(-56, 1200)
FWHM = 0.45
HEIGHTS = np.linspace(5e3, 2e4, 400)


def spectra(pedestal, heights=HEIGHTS, losses=True, seed=0):
    """Peaks on a pedestal, whose axis begins 3 FWHM before them; thinner ones lose less."""
    rng = np.random.default_rng(seed)
    heights = rng.permutation(heights)[:, None]
    u = (ENERGY - rng.normal(0, 0.02, (len(heights), 1))) / FWHM
    shape = (1 + 4 * (2 ** (1 / 2.2) - 1) * u**2) ** -2.2
    thickness = np.log(heights.max() / heights) + 0.2 * losses
    inelastic = 0.01 * losses * heights * thickness * np.clip(ENERGY - 1.6, 0, None)
    return rng.poisson(heights * shape + inelastic) + pedestal + rng.normal(0, 5, u.shape)


def found(counts):
    return pedestal_by_intensity(counts, ENERGY, peak_parameters(counts, ENERGY))


@pytest.mark.parametrize("pedestal", [20.0, 60.0])
def test_pedestal_is_what_does_not_grow_with_the_peak(pedestal):
    # Where nothing behind the peak is free of losses the gain side alone tells, to some per cent.
    assert found(spectra(pedestal)) == pytest.approx(pedestal, rel=0.1)


def test_pedestal_is_the_lowest_level_behind_the_peak_where_that_agrees():
    counts = spectra(30.0, losses=False)
    # 30 counts at the end of the axis, known from 40 spectra of 150 channels to 0.1.
    assert found(counts) == pytest.approx(30.0, abs=0.3)


@pytest.mark.parametrize("seed", range(5))
def test_tails_are_no_pedestal(seed):
    assert found(spectra(0.0, seed=seed)) == 0.0


@pytest.mark.parametrize("heights", [np.full(400, 1e4), HEIGHTS[::20]], ids=["equal", "few"])
def test_peaks_that_are_alike_or_few_tell_no_pedestal(heights):
    assert found(spectra(30.0, heights)) == 0.0


def test_detector_says_how_the_pedestal_was_found():
    counts = spectra(30.0)
    detector = describe_detector(counts, ENERGY, peak_parameters(counts, ENERGY))
    assert detector.pedestal == pytest.approx(30.0, rel=0.1)
    assert "do not grow with the peak" in detector.pedestal_note
