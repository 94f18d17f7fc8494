# SPDX-License-Identifier: GPL-3.0-or-later
"""Vacuum pixels: found where there are some, nowhere else, at the stated rates."""

import numpy as np
import pytest

from hyperspy_zlpml import data
from hyperspy_zlpml.image.describe import describe_image, is_pure
from hyperspy_zlpml.image.falling import never_rises
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.vacuum import ALIKE, HUMP, find_vacuum, vacuum_candidates

STEP = 0.05
FWHM = 0.45
ENERGY = STEP * np.arange(-80, 720)
NOISE = NoiseModel(1.0, 5.0, "given")


def spectra(thickness, height=1e5, seed=0):
    """Peaks with a weak halo, and single losses from 1.6 eV to a plasmon at 20 eV."""
    rng = np.random.default_rng(seed)
    thickness = np.asarray(thickness, float)[:, None]
    u = ENERGY / FWHM
    peak = (1 + 1.66 * u**2) ** -2 + 1e-5 / (1 + (u / 6) ** 2)
    onset = np.clip(1 - np.exp(-(ENERGY - 1.6)), 0, None)
    loss = onset * (
        0.2 * np.exp(-np.clip(ENERGY, 0, None) / 8) + 1 / (1 + ((ENERGY - 20) / 3) ** 2)
    )
    loss *= peak.sum() / loss.sum()
    expected = height * np.exp(-thickness) * (peak + thickness * loss)
    counts = rng.poisson(expected).astype(float)
    return counts + NOISE.readout * rng.standard_normal(counts.shape)


def candidates(counts):
    return vacuum_candidates(peak_parameters(counts, ENERGY), NOISE, ENERGY)


@pytest.mark.parametrize("height", [1e4, 1e5, 1e6])
@pytest.mark.parametrize("n_vacuum", [4, 60])
def test_vacuum_beside_a_specimen(height, n_vacuum):
    # Four sigma about a median: 6e-5 false alarms per pixel. One pixel may be lost by chance.
    thickness = np.r_[np.zeros(n_vacuum), np.linspace(0.1, 1.5, 40)]
    found = candidates(spectra(thickness, height))
    assert not found[n_vacuum:].any()
    assert found[:n_vacuum].sum() >= n_vacuum - 1


def test_counts_do_not_matter_only_fractions():
    counts = spectra(np.r_[np.zeros(20), np.full(20, 0.3)], 1e6)
    counts[::2] *= 0.5  # a beam that fluctuates
    np.testing.assert_array_equal(candidates(counts), np.arange(40) < 20)


def test_thick_specimens_hold_no_vacuum():
    assert not candidates(spectra(np.linspace(0.2, 2.0, 40))).any()


def test_noise_does_not_make_a_thin_film_vacuum():
    # 4 % of the electrons are scattered, at a noise that allows any single pixel to be vacuum:
    # the median of all decides.
    counts = spectra(np.full(60, 0.04), height=2e3)
    assert not candidates(counts).any()


def test_unusable_spectra_are_never_vacuum():
    counts = spectra(np.zeros(12))
    counts[3] = np.nan
    counts[5] = 0.0
    found = candidates(counts)
    assert not found[[3, 5]].any()
    assert found.sum() >= 9
    counts[:] = np.nan
    assert not candidates(counts).any()


def test_an_axis_that_ends_within_three_widths_tells_nothing():
    near = ENERGY < 2.8 * FWHM
    counts = spectra(np.zeros(10))[:, near]
    assert not vacuum_candidates(peak_parameters(counts, ENERGY[near]), NOISE, ENERGY[near]).any()


def test_shape_of_navigation_is_kept():
    counts = spectra(np.r_[np.zeros(6), np.full(6, 0.5)]).reshape(3, 4, -1)
    np.testing.assert_array_equal(candidates(counts).ravel(), np.arange(12) < 6)


def rises(counts):
    n = len(counts)
    return not never_rises(counts, ENERGY, np.zeros(n), np.full(n, FWHM), NOISE)


def test_vacuum_never_rises():
    # Ten comparisons at four sigma one-sided: 3e-4 per image at most, 60 images.
    assert sum(rises(spectra(np.zeros(10), seed=seed)) for seed in range(60)) == 0


@pytest.mark.parametrize("thickness, n", [(0.02, 30), (0.1, 5), (0.5, 1)])
def test_specimens_rise(thickness, n):
    assert rises(spectra(np.full(n, thickness)))


def test_noise_decides_whether_a_rise_is_seen():
    # One electron in a thousand scattered, at a thousand counts: nothing to see.
    assert not rises(spectra([0.001], height=1e3))
    assert rises(spectra(np.full(200, 0.001), height=1e7))


# --- evidence -------------------------------------------------------------------------------------


def found(counts, energy=ENERGY):
    parameters = peak_parameters(counts, energy)
    return find_vacuum(parameters, NOISE, energy, np.arange(len(counts)), counts)


@pytest.mark.parametrize("height", [1e3, 1e6])
@pytest.mark.parametrize("n_vacuum", [2, 50])
def test_a_specimen_beside_it_is_evidence(height, n_vacuum):
    n_specimen = 100 - n_vacuum
    counts = spectra(np.r_[np.zeros(n_vacuum), np.linspace(0.3, 1.0, n_specimen)], height)
    vacuum, doubt = found(counts)
    assert not doubt
    assert not vacuum[n_vacuum:].any()
    assert vacuum[:n_vacuum].sum() >= n_vacuum - 1


@pytest.mark.parametrize("height", [1e3, 1e6])
def test_pixels_that_are_all_alike_are_no_evidence(height):
    vacuum, doubt = found(spectra(np.zeros(60), height))
    assert vacuum.sum() >= 59
    assert doubt == ALIKE


def test_one_bad_spectrum_is_no_evidence():
    counts = spectra(np.zeros(60))
    counts[7, 500:] += 300.0
    vacuum, doubt = found(counts)
    assert vacuum.any()
    assert doubt == ALIKE
    counts[20:24, 500:] += 300.0
    assert not found(counts)[1]


def test_spikes_are_no_evidence_of_a_specimen():
    counts = spectra(np.zeros(60))
    counts[::3, 600] += 5e4
    counts[::4, 650:652] += 5e4
    parameters = peak_parameters(counts, ENERGY)
    image = describe_image(parameters, ENERGY, np.arange(60), counts, alike_is_vacuum=True)
    assert image.vacuum.sum() > 50
    assert (
        "could be vacuum" in describe_image(parameters, ENERGY, np.arange(60), counts).vacuum_note
    )
    assert is_pure(image)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_vacuum", [0, 40])
@pytest.mark.parametrize("beam, fluctuates", [(3e-3, 0.0), (3e-3, 1.0), (0.1, 1.0)])
def test_what_is_dark_is_no_vacuum_for_its_lack_of_counts(beam, fluctuates, n_vacuum, seed):
    """Behind a holder noise hides what scatters, in many pixels alike or each with a beam of its own."""
    thickness = np.r_[np.zeros(n_vacuum), np.linspace(0.3, 1.0, 60), np.linspace(0.3, 3.0, 40)]
    counts = spectra(thickness, height=1e4, seed=seed)
    beams = beam * np.random.default_rng(seed).uniform(1 - fluctuates / 2, 1 + fluctuates, 40)
    behind = [spectra([t], 1e4 * one, seed) for t, one in zip(thickness[-40:], beams, strict=True)]
    counts[-40:] = np.concatenate(behind)
    vacuum, doubt = found(counts)
    assert not doubt or not n_vacuum
    assert not vacuum[n_vacuum:].any()
    assert vacuum[:n_vacuum].sum() >= n_vacuum - 1


def test_what_is_dark_is_vacuum_where_its_own_counts_show_it():
    """Half of the pixels see a tenth of the beam: of those losses of a hundredth would be seen."""
    counts = spectra(np.r_[np.zeros(40), np.full(40, 0.3)], 1e6)
    counts[::2] = spectra(np.r_[np.zeros(20), np.full(20, 0.3)], 1e5)
    assert found(counts)[0].tolist() == [True] * 40 + [False] * 40


@pytest.mark.parametrize("thickness", [np.full(60, 0.3), np.linspace(0.05, 1.0, 60)])
def test_films_and_wedges_without_vacuum(thickness):
    assert not found(spectra(thickness, 1e6))[0].any()


def test_the_thinner_of_two_specimens_is_no_vacuum():
    assert not found(spectra(np.r_[np.full(30, 0.1), np.full(30, 0.6)]))[0].any()


@pytest.mark.parametrize("end", [4.0, 5.0, 8.0])
@pytest.mark.parametrize("height", [1e5, 1e6])
def test_vacuum_on_an_axis_that_ends_early(end, height):
    near = end * FWHM > ENERGY
    counts = spectra(np.r_[np.zeros(200), np.linspace(0.2, 1.5, 200)], height)[:, near]
    vacuum, doubt = found(counts, ENERGY[near])
    assert not doubt
    assert vacuum[:200].mean() > 0.95
    assert not vacuum[200:].any()


@pytest.mark.parametrize("thickness", [np.full(200, 0.5), np.linspace(0.05, 1.0, 200)])
def test_no_vacuum_on_an_axis_that_ends_early(thickness):
    near = ENERGY < 5 * FWHM
    vacuum, doubt = found(spectra(thickness)[:, near], ENERGY[near])
    assert not (vacuum.any() and not doubt)


@pytest.mark.parametrize("offset", [-30.0, 0.0, 2.0])
@pytest.mark.parametrize("strength", [0.02, 0.002])
def test_films_are_no_vacuum_on_an_axis_of_phonons_alone(strength, offset):
    """Nearly all losses lie beyond the axis: what shows films is the light they take from the peak."""
    sample = data.phonons((16, 16), 600.0, strength, random_state=7002)
    signal = sample.signal
    counts = signal.data.reshape(256, -1).astype(float)
    # Wherever the axis has its zero.
    vacuum, doubt = found(counts, signal.axes_manager.signal_axes[0].axis + offset)
    assert not doubt
    assert np.array_equal(vacuum, sample.thickness.data.ravel() == 0)


# --- humps ----------------------------------------------------------------------------------------


def phonons(n, height=15.0, seed=0):
    """Films with a vibration at 7 FWHM that is weaker than the tail it stands on."""
    energy = -0.1 + 0.002 * np.arange(300)
    peak = 2e4 * (1 + 2.817 * (energy / 0.013) ** 2) ** -1.3
    hump = height * np.exp(-(((energy - 0.09) / 0.02) ** 2))
    counts = np.random.default_rng(seed).poisson(np.tile(peak + hump, (n, 1))).astype(float)
    of_peaks = {"centre": np.zeros(n), "fwhm": np.full(n, 0.013), "noise": NoiseModel(1.0, 0.0)}
    return counts, {"energy": energy, **of_peaks}


@pytest.mark.parametrize("height, falls", [(0.0, True), (15.0, False), (100.0, False)])
def test_a_hump_that_does_not_rise_is_seen(height, falls):
    counts, of_peaks = phonons(256, height)
    assert never_rises(counts, **of_peaks) == falls


def test_tails_without_a_hump_have_none():
    for seed in range(40):
        counts, of_peaks = phonons(64, 0.0, seed)
        assert never_rises(counts, **of_peaks)


def test_one_bad_spectrum_does_not_rise():
    counts = spectra(np.zeros(30))
    counts[4, 300:] += 500.0
    assert not rises(counts)
    counts[10:20, 300:] += 500.0
    assert rises(counts)


def test_a_hump_on_what_scatters_clearly_least_is_told_of():
    counts = spectra(np.r_[np.zeros(40), np.linspace(0.3, 1.0, 60)], 1e6)
    assert found(counts)[1] == ""
    # One of the response, in all spectra alike: nothing tells whether these 40 are a film.
    counts += 60 * np.exp(-(((ENERGY - 4) / 0.8) ** 2))
    vacuum, doubt = found(counts)
    assert doubt == HUMP
    assert vacuum.tolist() == [True] * 40 + [False] * 60
    image = describe_image(peak_parameters(counts, ENERGY), ENERGY, np.arange(100), counts)
    assert not image.vacuum.any()
    assert "the vacuum is in doubt: 40 pixels" in image.vacuum_note
    # Where no others scatter more they are what they look like: films.
    assert not found(counts[:40])[0].any()
