# SPDX-License-Identifier: GPL-3.0-or-later
"""Peaks of very different width in one image, and the ends of its axis: vacuum, of which the truth is known."""

import numpy as np
import pytest

from hyperspy_zlpml.image.detector import Detector
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.image.odd_peaks import FAR_WIDTH
from hyperspy_zlpml.removal import subtract
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.workflow import remove_zlp
from hyperspy_zlpml.zlp.grid import Grid
from hyperspy_zlpml.zlp.tables import ShapeTable

GRID = Grid.covering(-40, 60)
#: Spectra, and how many of them are of another width.
N_SPECTRA, N_OTHER = 100, 12


def remove(energy, fwhm, shape, seed=0, **settings):
    """Zero-loss peak of vacuum over the true one, and its standard deviation as a fraction of that."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(-0.4, 0.4, (N_SPECTRA, 1)) * (energy[1] - energy[0])
    true = shape((energy - centre) / fwhm)
    settings = {"n_replicas": 20, "random_state": seed, **settings}
    result = remove_zlp(rng.poisson(true).astype(float), energy, vacuum=True, **settings)
    return np.asarray(result.zlp) / true, np.asarray(result.std) / true


def test_far_tails_of_narrow_peaks_fall_like_those_of_others():
    # The axis ends at 50 FWHM of most peaks, and at 83 of the narrow ones. With tables that ended at 55 the tail of
    # those was 1.9 times too high there, with a claimed error of 13 %.
    fwhm = np.where(np.arange(N_SPECTRA) < N_OTHER, 0.3, 0.5)[:, None]
    energy = -5 + 0.05 * np.arange(600)
    ratio, std = remove(energy, fwhm, lambda u: 2e5 * (1 + 1.66 * u**2) ** -1.5)
    for peaks in (slice(N_OTHER), slice(N_OTHER, None)):
        far = np.median(ratio[peaks, energy > 20], 0)
        assert np.abs(far - 1).max() < 0.15
        assert (np.abs(far - 1) < 3 * np.median(std[peaks, energy > 20], 0)).all()


def test_tables_reach_to_the_end_of_the_axis_of_the_narrowest_usable_peak():
    assert subtract._WIDER >= 1.05 * np.exp(FAR_WIDTH)


def test_the_last_channels_go_on_like_those_before():
    # Half of the last group of 8 channels: where it was level the last four were 1, 3, 5 and 7 % too high by an error of
    # 2 %, and the first 2 %.
    energy = 0.1 * np.arange(-60, 200)
    settings = {"n_clusters": 2}
    ratio, std = remove(energy, 2.0, lambda u: 2e6 * (1 + 1.66 * u**2) ** -2.0, **settings)
    bias = np.abs(ratio.mean(0) - 1)
    assert bias[[0, 1, -2, -1]].max() < 0.02
    assert (bias < 2 * std.mean(0)).all()


@pytest.mark.parametrize("n_after", range(200, 216))
@pytest.mark.parametrize("per_fwhm", [1.0, 6.3, 60.0])
def test_every_channel_lies_between_the_middles_of_two_groups(n_after, per_fwhm):
    table = ShapeTable.of_reference(GRID, -2 * np.log1p(1.66 * GRID.u**2))
    energy, detector = 0.1 * np.arange(150.0 + n_after), Detector(0.0, "", NoiseModel(1.0, 0.0))
    made = subtract.Subtraction.prepare(
        table, Normal(np.log(0.1 * per_fwhm), 0.01), energy, detector, channels=Range(150, 160)
    )
    middle = made.groups.middle
    assert middle[0] <= -160
    assert middle[-1] >= n_after - 1
