# SPDX-License-Identifier: GPL-3.0-or-later
"""Pedestals are found, not invented, on axes that begin far before the peak and close to it."""

from types import SimpleNamespace

import numpy as np
import pytest
from detector_spectra import ENERGY, FWHM, SHAPE, peak, spectra

from hyperspy_zlpml.data import Material, Response, make_sample, phonons, ws2_like
from hyperspy_zlpml.image.detector import describe_detector
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.pedestal import dark_level, estimate_pedestal, pedestal_by_intensity

#: An axis that begins close to the peak.
SHORT = 0.025 * np.arange(-56, 1200)
HEIGHTS = np.linspace(5e3, 2e4, 400)


def close_spectra(pedestal, heights=HEIGHTS, losses=True, seed=0):
    """Peaks on a pedestal, whose axis begins 3 FWHM before them; thinner ones lose less."""
    rng = np.random.default_rng(seed)
    heights = rng.permutation(heights)[:, None]
    u = (SHORT - rng.normal(0, 0.02, (len(heights), 1))) / FWHM
    shape = (1 + 4 * (2 ** (1 / 2.2) - 1) * u**2) ** -2.2
    thickness = np.log(heights.max() / heights) + 0.2 * losses
    inelastic = 0.01 * losses * heights * thickness * np.clip(SHORT - 1.6, 0, None)
    return rng.poisson(heights * shape + inelastic) + pedestal + rng.normal(0, 5, u.shape)


def by_intensity(counts):
    return pedestal_by_intensity(counts, SHORT, peak_parameters(counts, SHORT)).mean


@pytest.mark.parametrize("pedestal", [60.0, 45.0, -45.0])
def test_pedestal_is_what_does_not_grow_with_the_peak(pedestal):
    # Where nothing behind the peak is free of losses the gain side alone tells: 3 FWHM from the peak to some counts, for
    # losses may lie there, as many as a third of the tail.
    assert by_intensity(close_spectra(pedestal)) == pytest.approx(pedestal, abs=5.0)


def test_pedestal_is_no_more_than_the_lowest_level_behind_the_peak():
    counts = close_spectra(30.0, losses=False)
    # 30 counts at the end of the axis, known from 40 spectra of 150 channels to 0.1.
    assert 25.0 < by_intensity(counts) < 30.3


def wedge(seed, pedestal):
    """Simulated wedge, recorded with heavy tails on both sides, as losses are: 12 FWHM before the peak they are half of the counts."""
    sample = make_sample(
        (16, 16),
        n_channels=600,
        offset=-6.0,
        scale=0.05,
        fwhm=0.5,
        peak_counts=1e6,
        thickness_range=(0.0, 1.5),
        response=Response(exponent_gain=5.0, halo=2e-3, halo_width=16.0),
        material=Material(band_gap=1.0),
        random_state=seed,
    )
    energy = sample.signal.axes_manager.signal_axes[0].axis
    return sample.signal.data.reshape(-1, 600).astype(float) + pedestal, energy


@pytest.mark.parametrize("seed", range(4))
def test_losses_that_tails_carry_before_the_peak_are_no_pedestal(seed):
    # A straight line against the height misses the origin by a third of the counts there.
    counts, energy = wedge(seed, pedestal=0.0)
    assert pedestal_by_intensity(counts, energy, peak_parameters(counts, energy)).mean == 0.0


@pytest.mark.parametrize("pedestal", [60.0, -60.0])
def test_pedestals_under_a_falling_tail_are_found_far_from_the_peak(pedestal):
    # Of 3e5 counts in the highest channel. A tail of some thousand lies 2 to 4 FWHM before the peak, one of
    # a hundred where the axis begins.
    sample = ws2_like((16, 16), peak_counts=3e5, n_channels=1024, random_state=1)
    counts = sample.signal.data.reshape(-1, 1024).astype(float) + pedestal
    energy = sample.signal.axes_manager.signal_axes[0].axis
    found = pedestal_by_intensity(counts, energy, peak_parameters(counts, energy)).mean
    assert found == pytest.approx(pedestal, abs=15.0)


@pytest.mark.parametrize("losses", [True, False])
def test_errors_of_the_pedestal_hold_it(losses):
    """Of 24 images two thirds lie within one error, told by the intercept, or by the lowest level where that agrees."""
    found = [
        pedestal_by_intensity(counts, SHORT, peak_parameters(counts, SHORT))
        for counts in (close_spectra(40.0, losses=losses, seed=seed) for seed in range(24))
    ]
    pedestal, error = np.transpose(found)
    pull = (pedestal - 40.0) / error
    assert 0.4 < np.sqrt(np.mean(pull**2)) < 1.8
    assert (np.abs(pull) < 3).mean() > 0.9


def two_heights(seed, end, readout=0.0):
    """Vacuum of one height, and a third of spectra of far less; no pedestal, and the axis ends there (eV)."""
    rng, energy = np.random.default_rng(seed), np.arange(-1.7, end, 0.025)
    thickness = np.where(rng.random(1024) < 0.7, 0.0, rng.uniform(1.5, 1.8, 1024))[:, None]
    u = energy / 0.5
    expected = 5e4 * np.exp(-thickness) * (1 + 1.66 * u**2) ** -2
    counts = rng.poisson(expected) + readout * rng.standard_normal(expected.shape)
    return pedestal_by_intensity(counts, energy, peak_parameters(counts, energy)).mean


@pytest.mark.parametrize("end", [2.5, 8.0])
def test_peaks_of_one_height_beside_thick_ones_tell_no_pedestal(end):
    # What is thick is left out; the others differ by noise alone, and no line goes through them.
    assert [two_heights(seed, end) for seed in range(8)] == [0.0] * 8


@pytest.mark.parametrize("pedestal", [0.0, 400.0])
def test_electrons_that_gained_energy_are_no_pedestal(pedestal):
    # Before the peak lie those that took up a phonon, in proportion to thickness, many times as many as the tail.
    rng, energy = np.random.default_rng(0), np.arange(-0.2, 0.4, 0.001)
    thickness = rng.uniform(0, 1.2, 500)[:, None]
    shape = np.exp(-4 * np.log(2) * (energy / 0.012) ** 2) + 1e-4 / (1 + (energy / 0.02) ** 2)
    gained = 1e-3 * np.exp(-4 * np.log(2) * ((energy + 0.1) / 0.015) ** 2)
    expected = 1e7 * np.exp(-thickness) * (shape + thickness * gained)
    counts = rng.poisson(expected) + pedestal + 10 * rng.standard_normal(expected.shape)
    found = pedestal_by_intensity(counts, energy, peak_parameters(counts, energy))
    assert abs(found.mean - pedestal) < 3 * found.sigma + 1e-9


def test_electrons_that_gained_energy_twice_are_no_pedestal():
    # Counts before 1000 K hot phonons: some per cent of the tail, in proportion to the square of the thickness.
    sample = phonons((24, 24), temperature=1000.0, random_state=103)
    energy = sample.signal.axes_manager.signal_axes[0].axis
    counts = sample.signal.data.reshape(-1, energy.size).astype(float)
    assert pedestal_by_intensity(counts, energy, peak_parameters(counts, energy)).mean == 0


def test_no_level_below_zero_is_found_by_chance():
    # The lowest of eight noisy levels behind the peak bounds a pedestal, and is none.
    assert min(two_heights(seed, end=60.0, readout=3.0) for seed in range(6)) >= 0


@pytest.mark.parametrize("seed", range(5))
def test_tails_are_no_pedestal(seed):
    assert by_intensity(close_spectra(0.0, seed=seed)) == 0.0


@pytest.mark.parametrize("begin", [-3.0, -1.4])
@pytest.mark.parametrize("wider", [-0.2, 0.2])
@pytest.mark.parametrize("pedestal", [0.0, 3000.0])
def test_widths_that_change_with_thickness_are_no_pedestal(pedestal, wider, begin):
    # Channels at equal reduced energies hold what is as high as the peak, not its counts. Counts are exact; the pedestal
    # widens what is measured of low peaks, by up to 1.5 %. Where the axis begins at -1.4 eV, 2.3 FWHM of the widest,
    # widths themselves are measured 2 % off, and the tail of 5000 with them.
    energy, thickness = np.arange(begin, 12, 0.025), np.linspace(0, 1, 256)[:, None]
    height, fwhm = 2e5 * np.exp(-thickness), 0.5 * (1 + wider * thickness)
    counts = height * (1 + 1.66 * (energy / fwhm) ** 2) ** -1.5 + pedestal
    counts += 0.01 * height * thickness * np.clip(energy - 1.6, 0, None)
    found = pedestal_by_intensity(counts, energy, peak_parameters(counts, energy)).mean
    assert found == pytest.approx(pedestal, rel=0.03 if begin < -2 else 0.25)


@pytest.mark.parametrize("pedestal", [0.0, 1500.0, -1500.0])
def test_wings_that_do_not_widen_with_the_core_are_no_pedestal(pedestal):
    # At equal reduced energies wide peaks hold less of wings that are fixed in energy: a line against the height alone
    # misses the origin by -600 counts. Counts are exact; the wings are no straight line of ln FWHM.
    energy, thickness = np.arange(-3.0, 12, 0.025), np.linspace(0, 1, 256)[:, None]
    height, fwhm = 2e6 * np.exp(-thickness), 0.5 * (1 + 0.1 * thickness)
    core = np.exp(-4 * np.log(2) * (energy / fwhm) ** 2)
    counts = height * (0.98 * core + 0.02 * (1 + (energy / 0.75) ** 2) ** -1.25) + pedestal
    found = pedestal_by_intensity(counts, energy, peak_parameters(counts, energy)).mean
    assert found == pytest.approx(pedestal, rel=0.15)


@pytest.mark.parametrize("heights", [np.full(400, 1e4), HEIGHTS[::20]], ids=["equal", "few"])
def test_peaks_that_are_alike_or_few_tell_no_pedestal(heights):
    assert by_intensity(close_spectra(30.0, heights)) == 0.0


def test_detector_says_how_the_pedestal_was_found():
    counts = close_spectra(30.0)
    detector = describe_detector(counts, SHORT, peak_parameters(counts, SHORT))
    assert detector.pedestal == pytest.approx(30.0, abs=5.0)
    assert "do not grow with the peak" in detector.pedestal_note


# --- far before the peak ------------------------------------------------------------------------


@pytest.mark.parametrize("pedestal", [100.0, 12.0, -40.0])
@pytest.mark.parametrize("height", [1e3, 1e4])
def test_pedestal_is_recovered(pedestal, height):
    # What is left of the tail 20 FWHM from the peak adds to it: 4.7e-5 of the height there.
    counts = spectra(50, height, readout=5.0, pedestal=pedestal)
    (found, _), note = estimate_pedestal(counts, ENERGY, *peak(50))
    tail = height * SHAPE[:100].mean()
    error = np.sqrt(tail + 5.0**2) / np.sqrt(50 * 100)
    assert abs(found - pedestal - tail) < 4 * error  # false alarms 6e-5
    assert "channels before the peak" in note


@pytest.mark.parametrize("height", [1e3, 1e6])
def test_its_error_holds_the_tail_that_is_left_there(height):
    # A pedestal so high that the tail under it is none that is seen to fall.
    (found, error), _ = estimate_pedestal(
        spectra(50, height, readout=5.0, pedestal=1e3), ENERGY, *peak(50)
    )
    noise = np.sqrt(1e3 + 5.0**2) / np.sqrt(50 * 100)
    assert abs(found - 1e3) < 2 * error + 3 * noise
    assert error < 3 * (height * SHAPE[:100].mean() + noise)


def test_the_noise_tells_a_level_no_better_than_read_out_noise_hides_it():
    energy = 0.05 * np.arange(-20, 400)
    electrons = 1e5 / (1 + (energy / 0.25) ** 2)
    rng = np.random.default_rng(0)
    counts = 100 + rng.poisson(electrons, (50, 420)) + rng.normal(0, 5, (50, 420))
    level, error = dark_level(counts, energy, centre=np.zeros(50), fwhm=np.full(50, 0.5))
    assert 0 < level < 100
    assert 0.3 < (100 - level) / error < 2


def test_a_pedestal_under_a_falling_tail_is_left_alone():
    # Tail and pedestal cannot be told apart by two windows: better none than a wrong one.
    (found, _), note = estimate_pedestal(spectra(50, 1e6, pedestal=30.0), ENERGY, *peak(50))
    assert found == 0
    assert "still fall" in note


def rate_of_invented_pedestals(n, height, readout, trials=60):
    found = [
        estimate_pedestal(spectra(n, height, readout=readout, seed=seed), ENERGY, *peak(n))[0].mean
        for seed in range(trials)
    ]
    return np.mean(np.array(found) != 0)


@pytest.mark.parametrize(
    "n, height, readout",
    [
        (50, 1e6, 30.0),  # the tail stands out and is seen to fall
        (5, 1e4, 0.0),
        (5, 1e3, 30.0),  # nothing but read-out noise
        pytest.param(
            5, 1e3, 0.0),
    ],
)  # fmt: skip
def test_tails_are_no_pedestals(n, height, readout):
    # Asked for: in less than one of ten images, at any level of the tail. 60 trials at a true
    # rate of 1 % exceed 6 with a probability below 1e-5.
    assert rate_of_invented_pedestals(n, height, readout, 60) <= 0.1


def test_no_pedestal_in_an_empty_detector():
    # Five standard errors from 100 channels: false alarms below 1e-5 per image.
    assert rate_of_invented_pedestals(4, 0.0, 10.0) == 0


def test_no_pedestal_is_looked_for_close_to_the_peak():
    near = ENERGY > -9 * FWHM
    (found, _), note = estimate_pedestal(
        spectra(9, pedestal=100.0)[:, near], ENERGY[near], *peak(9)
    )
    assert found == 0
    assert "too close" in note


def test_describing_a_detector():
    counts = spectra(60, 2e5, gain=2.0, readout=20.0, pedestal=300.0, losses=1e4)
    parameters = SimpleNamespace(centre=peak(60)[0], fwhm=peak(60)[1])
    detector = describe_detector(counts, ENERGY, parameters)
    # The tail of 9 counts per channel cannot be told from the pedestal of 300.
    assert detector.pedestal == pytest.approx(300 + 2e5 * SHAPE[:100].mean(), abs=2)
    assert detector.noise.gain == pytest.approx(2.0, rel=0.05)
    given = NoiseModel(3.0, 1.0)
    assert describe_detector(counts, ENERGY, parameters, given).noise is given
