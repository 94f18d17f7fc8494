# SPDX-License-Identifier: GPL-3.0-or-later
"""Dielectric functions in closed form obey the laws that hold for all of them."""

import numpy as np
import pytest
from scipy.integrate import quad

from hyperspy_zlpml.data import ALUMINIUM, GLASS, SEMICONDUCTOR
from hyperspy_zlpml.physics import Beam
from hyperspy_zlpml.physics.dielectric_models import OscillatorModel
from hyperspy_zlpml.physics.loss_probability import surface_loss, volume_factor, volume_loss

MODELS = pytest.mark.parametrize("model", [SEMICONDUCTOR, ALUMINIUM, GLASS])
ENERGY = np.linspace(0.5, 60, 200)


def integral(function):
    """Integrate over all positive energies."""
    ends = [0, 5, 10, 14, 16, 20, 30, 100, 1e3]
    pieces = zip(ends[:-1], ends[1:], strict=True)
    return sum(quad(function, *piece, limit=500)[0] for piece in pieces)


@MODELS
def test_media_are_passive_and_real_in_time(model):
    epsilon = model.epsilon(ENERGY)
    assert (epsilon.imag > 0).all()
    np.testing.assert_allclose(model.epsilon(-ENERGY), epsilon.conj())
    np.testing.assert_allclose(model.loss_function(ENERGY), epsilon.imag / np.abs(epsilon) ** 2)


@MODELS
def test_losses_obey_the_f_sum_rule(model):
    total = integral(lambda x: x * model.loss_function(x))
    assert total == pytest.approx(np.pi / 2 * model.plasma_energy**2, rel=0.01)


@MODELS
def test_losses_obey_the_sum_rule_of_the_index(model):
    total = integral(lambda x: model.loss_function(x + 1e-9) / (x + 1e-9))
    expected = 1 - model.refractive_index**-2
    assert 2 / np.pi * total == pytest.approx(expected, rel=1e-3)


def test_what_the_ready_made_ones_are():
    assert SEMICONDUCTOR.refractive_index == pytest.approx(2.62, abs=0.001)
    assert GLASS.refractive_index == pytest.approx(2.0)
    assert ALUMINIUM.refractive_index == np.inf
    np.testing.assert_allclose(SEMICONDUCTOR.zero_crossings(1, 47), [9.63, 23.88], atol=0.005)


def test_metals_diverge_at_zero_as_far_as_numbers_go():
    assert np.isfinite(ALUMINIUM.epsilon(np.array([0.0, 1.0]))).all()
    assert ALUMINIUM.loss_function(0.0) == pytest.approx(0.0, abs=1e-6)


def test_free_electrons_are_zero_at_their_plasma_energy():
    free = OscillatorModel(((400.0, 0.0, 1e-4),))
    np.testing.assert_allclose(free.zero_crossings(1, 50), [20.0], atol=1e-6)


@pytest.mark.parametrize(
    "oscillators",
    [(), 3.0, ((1.0, 2.0),), ((-1.0, 2.0, 1.0),), ((1.0, 2.0, 0.0),), ((1.0, -2.0, 1.0),)],
)
def test_oscillators_that_are_none(oscillators):
    with pytest.raises(ValueError, match="oscillators: expected"):
        OscillatorModel(oscillators)


# --- losses without retardation -------------------------------------------------------------------


@pytest.mark.parametrize("beam", [Beam(200.0, 15.0), Beam(60.0, 2.0)])
@pytest.mark.parametrize("energy", [2.0, 9.0, 25.0])
def test_volume_and_surface_are_sums_over_angles(beam, energy):
    """Angular distributions of Ritchie's two terms, integrated one angle at a time."""
    largest = 1e-3 * beam.collection_angle
    epsilon, theta = SEMICONDUCTOR.epsilon(energy), beam.characteristic_angle(energy)
    points = theta * np.array([0.3, 1, 3])
    points = points[points < largest]
    volume = quad(lambda x: 2 * x / (x**2 + theta**2), 0, largest, points=points)[0]
    face = quad(lambda x: 2 * x**2 / (x**2 + theta**2) ** 2, 0, largest, points=points)[0]
    expected = volume_factor(beam) * volume * (-1 / epsilon).imag
    assert volume_loss(energy, epsilon, beam) == pytest.approx(expected)
    wave_number = 1 / (theta * np.sqrt(beam.speed_squared) * 197.327 / energy)
    excess = 4 * epsilon.imag / np.abs(epsilon + 1) ** 2 - (-1 / epsilon).imag
    expected = 2 * volume_factor(beam) * face / wave_number * excess
    assert surface_loss(energy, epsilon, beam) == pytest.approx(expected, rel=1e-5)
