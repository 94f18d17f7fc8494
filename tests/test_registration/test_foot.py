# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses that begin gently, below their limit."""

from types import SimpleNamespace

import numpy as np
import pytest

from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.samples import VACUUM, Sample
from hyperspy_zlpml.registration.find_foot import with_foot
from hyperspy_zlpml.registration.find_regions import separate
from hyperspy_zlpml.registration.foot import Foot
from hyperspy_zlpml.registration.register import register_peaks
from hyperspy_zlpml.training.pseudo_data import _feet_of

ENERGY = 0.04 * np.arange(-160, 480)
FWHM = 0.45
NOISE = NoiseModel(1.0, 10.0)
THICKNESS = {0: 0.3, 1: 0.9}


def shape(u):
    return (1 + 4 * (2 ** (1 / 2) - 1) * u**2) ** -2


def losses_of(u, power):
    """0.1 % of the height of the peak at 2 FWHM, 6 % of what it is there."""
    return 0.001 * (np.clip(u, 0, None) / 2) ** power


def losses_over_peak(u, power):
    return losses_of(u, power) / shape(u)


def image_of(power, n_vacuum=60, seed=0):
    """Separated peaks of vacuum and of two thicknesses, whose losses rise with a power."""
    rng = np.random.default_rng(seed)
    label = np.repeat([VACUUM, *THICKNESS], [n_vacuum, 60, 60])
    thickness = np.array([THICKNESS.get(name, 0.0) for name in label])[:, None]
    u = (ENERGY - rng.normal(0, 0.02, (label.size, 1))) / FWHM
    ratio = 1 + thickness * np.minimum(losses_over_peak(u, power), 30.0)
    counts = rng.poisson(1e6 * np.exp(-thickness) * shape(u) * ratio)
    counts = counts + NOISE.readout * rng.standard_normal(counts.shape)
    one = Sample(counts, ENERGY, peak_parameters(counts, ENERGY), label)
    return with_foot(separate(register_peaks([one], NOISE), len(THICKNESS), {}))


@pytest.mark.parametrize("power", [0.8, 2.0])
def test_losses_that_begin_gently_go_on_below_their_limit(power):
    image = image_of(power)
    u, tables = image.peaks.grid.u, image.peaks.spill_tables
    for name, thick in THICKNESS.items():
        limit = image.regions.E_I[name] / FWHM
        below = (u > 0.6 * limit) & (u < 0.95 * limit)
        true = thick * losses_over_peak(u[below], power)
        assert true.max() < 0.02
        # No ratio is believed to be better than 4e-4.
        np.testing.assert_allclose(tables[name][below], true, rtol=0.2, atol=4e-4)
        assert not tables[name][(u > -0.5) & (u < 0)].max() > 1e-4


def test_far_below_the_limit_a_foot_is_neither_too_large_nor_too_small():
    # Losses over the peak follow no power: a parabola of their logarithm is 30 % too low here.
    u = np.array([0.8])
    feet = [image_of(0.8, seed=seed).foot.at(u) for seed in range(3)]
    assert np.mean(np.log(feet / losses_of(u, 0.8))) == pytest.approx(0.0, abs=0.15)


def test_steep_losses_have_no_foot():
    assert image_of(power=10.0).foot is None


def test_errors_hold_the_truth():
    # Of a dozen spectra of vacuum, too, whose mean is a worse reference.
    u, off = np.array([1.2, 1.5, 1.8]), []
    for seed in range(2):
        for n_vacuum in (12, 100):
            foot = image_of(1.0, n_vacuum, seed).foot
            error = foot.deviations(500, np.random.default_rng(0))(u).std(0)
            off.append((foot.at(u) - losses_of(u, 1.0)) / error)
    assert 0.3 < np.sqrt(np.mean(np.square(off))) < 1.5


def test_a_foot_falls_to_none_at_the_peak_however_it_bends():
    u = np.linspace(0.01, 2.0, 100)
    foot = Foot(2.0, np.array([np.log(0.005), 4.0, 2.5]), np.zeros((3, 3)), THICKNESS)
    assert (np.diff(foot.at(u)) > 0).all()
    assert foot.at(u)[0] < 0.1 * foot.at(u)[-1]
    assert foot.falls


def test_feet_of_another_setting_are_ratios_to_the_common_reference():
    image = image_of(1.0)
    lower = SimpleNamespace(
        grid=image.peaks.grid, log_reference=image.peaks.log_reference - np.log(2)
    )
    own, other = (
        _feet_of(image, reference, 5, np.random.default_rng(0))
        for reference in (image.peaks, lower)
    )
    u = np.array([1.0, 1.5])
    vacuum, thin, thick = (list(image.peaks.labels).index(name) for name in (VACUUM, 0, 1))
    np.testing.assert_allclose(other(thick, u), 2 * own(thick, u))
    assert np.abs(own(thick, u)).min() > np.abs(own(thin, u)).min() > 0
    # Neither vacuum nor the cluster of zero thickness, which has no label, holds losses.
    assert own(vacuum, u) == own(len(image.peaks.labels), u) == 0


def test_replicas_draw_feet_about_the_one_that_was_found():
    covariance = np.diag([0.01, 0.04, 0.0])
    foot = Foot(2.0, np.array([np.log(0.005), 4.0, 0.0]), covariance, THICKNESS, share=0.5)
    u = np.array([-1.0, 1.0, 2.0])
    drawn = foot.deviations(4000, np.random.default_rng(0))(u)
    before, far, limit = drawn.T
    assert not before.any()
    # The extrapolation is trusted to a fifth, where the fit is exact; farther in the power is unsure.
    assert limit.std() / foot.at(u)[2] == pytest.approx(np.hypot(0.1, 0.2), rel=0.1)
    assert far.std() / foot.at(u)[1] == pytest.approx(
        np.sqrt(0.05 + (0.2 * np.log(2)) ** 2), rel=0.15
    )
    np.testing.assert_allclose(foot.at(u)[1:], 0.5 * 0.005 * (u[1:] / 2) ** 4)
