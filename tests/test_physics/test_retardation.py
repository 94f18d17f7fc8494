# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses of fast electrons against angles integrated one by one, limits, and laws of radiation."""

import numpy as np
import pytest
from scipy.integrate import quad

from hyperspy_zlpml.data import ALUMINIUM, GLASS, SEMICONDUCTOR
from hyperspy_zlpml.physics import Beam
from hyperspy_zlpml.physics import retardation as module
from hyperspy_zlpml.physics.loss_probability import (
    HBAR_C,
    distance_per_radian,
    surface_loss,
    volume_factor,
    volume_loss,
)
from hyperspy_zlpml.physics.retardation import (
    cherenkov_threshold,
    face_loss,
    film_excess,
    film_loss,
    retarded_excess,
    retarded_volume_loss,
)

BEAM = Beam(energy=200.0, collection_angle=15.0)
ENERGY = np.array([1.5, 3.0, 6.0, 9.0, 16.0, 20.0, 30.0, 50.0])
#: Slow enough for the speed of light to be infinite, but for parts in a thousand.
SLOW = Beam(energy=1.0, collection_angle=300.0)
#: Electron's charge squared over ``hbar c``.
FINE_STRUCTURE = 1 / 137.035999
MODELS = pytest.mark.parametrize("model", [SEMICONDUCTOR, ALUMINIUM, GLASS])
BEAMS = pytest.mark.parametrize("beam", [BEAM, Beam(60.0, 5.0), Beam(300.0, 40.0)])


def one_angle(angle, energy, epsilon, thickness, beam):
    """Losses per eV and solid angle of a film, over ``1 / (2 pi^2 a0 T)``, as Kroeger wrote them.

    E. Kroeger, Z. Phys. 216, 115 (1968), for a film in vacuum at normal incidence; his epsilon is the
    complex conjugate of ours.
    """
    speed2, theta = beam.speed_squared, beam.characteristic_angle(energy)
    eps, length = np.conj(epsilon), distance_per_radian(energy, beam)
    phase = thickness / (2 * length)
    lam = np.sqrt(angle**2 - eps * theta**2 * speed2)
    lam0 = np.sqrt(angle**2 - theta**2 * speed2 + 1e-30j)
    phi2, phi02 = lam**2 + theta**2, lam0**2 + theta**2
    phi012 = angle**2 + theta**2 * (1 - (eps + 1) * speed2)
    tanh = np.tanh(lam * phase / theta)
    even, odd = lam0 * eps + lam * tanh, lam0 * eps + lam / tanh
    a = phi012**2 / eps * (np.sin(phase) ** 2 / even + np.cos(phase) ** 2 / odd)
    b = speed2 * lam0 * theta * phi012 * (1 / even - 1 / odd) * np.sin(2 * phase)
    c = -(speed2**2) * lam0 * lam * theta**2
    c *= np.cos(phase) ** 2 * tanh / even + np.sin(phase) ** 2 / tanh / odd
    faces = 2 * angle**2 * (eps - 1) ** 2 * theta * length / (phi02**2 * phi2**2) * (a + b + c)
    return (thickness * (1 - eps * speed2) / (eps * phi2) - faces).imag


def all_angles(function, largest, points):
    """Integrate a function of the angle over solid angles, in pieces that end at ``points``."""
    ends = [0.0, *points, *np.geomspace(points[-1], largest, 6)[1:]]
    pieces = zip(ends[:-1], ends[1:], strict=True)
    return sum(quad(lambda x: 2 * x * function(x), *ends, limit=400)[0] for ends in pieces)


def in_sum(energy, epsilon, thickness, beam):
    """Losses of a film, integrated over angles one by one."""
    light = beam.characteristic_angle(energy) * np.sqrt(beam.speed_squared)
    points = light * np.array([0.5, 1, 1.2, 1.6, 2.0, 2.5, 3, 4, 6, 10])
    total = all_angles(
        lambda x: one_angle(x, energy, epsilon, thickness, beam),
        1e-3 * beam.collection_angle,
        points[points < 1e-3 * beam.collection_angle],
    )
    return volume_factor(beam) * total


# --- volume ---------------------------------------------------------------------------------------


@MODELS
@BEAMS
def test_volume_is_the_sum_over_angles(model, beam):
    for energy in ENERGY[::2]:
        epsilon = model.epsilon(energy)
        m = 1 - epsilon * beam.speed_squared
        theta = beam.characteristic_angle(energy)

        def density(x, epsilon=epsilon, m=m, theta=theta, speed2=beam.speed_squared):
            return (-(1 / epsilon - speed2) / (x**2 + theta**2 * m)).imag

        expected = all_angles(density, 1e-3 * beam.collection_angle, theta * np.array([0.3, 1, 3]))
        found = retarded_volume_loss(energy, epsilon, beam)
        assert found == pytest.approx(volume_factor(beam) * expected, rel=1e-6)


@MODELS
def test_retardation_is_of_second_order_in_the_square_of_the_speed(model):
    epsilon = model.epsilon(ENERGY)
    once, twice = (
        np.linalg.norm(retarded_excess(ENERGY, epsilon, beam) / volume_factor(beam))
        for beam in (SLOW, Beam(energy=2.0, collection_angle=300.0))
    )
    assert once < 3e-3 * np.linalg.norm((-1 / epsilon).imag)
    assert twice / once == pytest.approx(4.0, rel=0.25)


def test_clear_media_radiate_as_frank_and_tamm_say():
    """Nothing is absorbed: photons per eV and nm are ``alpha (1 - 1/(n v/c)^2) / (hbar c)``."""
    energy, epsilon = np.array([2.0]), np.array([2.5, 4.0, 9.0])[:, None] + 0j
    expected = FINE_STRUCTURE / HBAR_C * (1 - 1 / (BEAM.speed_squared * epsilon.real))
    found = retarded_volume_loss(energy, epsilon, BEAM)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_no_radiation_below_the_threshold():
    threshold = cherenkov_threshold(BEAM)
    slow, fast = (retarded_volume_loss(3.0, threshold * f + 0j, BEAM) for f in (0.99, 1.01))
    assert slow < 1e-6 * fast


# --- film -----------------------------------------------------------------------------------------


@MODELS
@BEAMS
@pytest.mark.parametrize("thickness", [4.0, 60.0])
def test_film_is_the_sum_over_angles(model, beam, thickness):
    """The fields solved here, on a path through complex angles, and Kroeger's formula on real ones."""
    for energy in ENERGY[1::3]:
        epsilon = model.epsilon(energy)
        expected = in_sum(energy, epsilon, thickness, beam)
        assert film_loss(energy, epsilon, thickness, beam) == pytest.approx(expected, rel=2e-4)


def test_thick_films_are_volume():
    epsilon = SEMICONDUCTOR.epsilon(ENERGY)
    volume = retarded_volume_loss(ENERGY, epsilon, BEAM)
    one, ten = (face_loss(ENERGY, epsilon, t, BEAM) for t in (1e4, 1e5))
    # The faces of a thick film do not feel each other: their losses no longer depend on it.
    np.testing.assert_allclose(one, ten, rtol=0.02, atol=1e-6)
    np.testing.assert_allclose(film_loss(ENERGY, epsilon, 1e5, BEAM) / 1e5, volume, rtol=0.01)


@MODELS
def test_faces_of_slow_electrons_are_ritchies(model):
    epsilon = model.epsilon(ENERGY)
    expected = surface_loss(ENERGY, epsilon, SLOW)
    scale = np.abs(expected) + volume_loss(ENERGY, epsilon, SLOW)
    found = face_loss(ENERGY, epsilon, 1e3, SLOW)
    np.testing.assert_allclose(found / scale, expected / scale, atol=0.03)


def test_films_that_are_passive_take_no_energy_from_nowhere():
    rng = np.random.default_rng(0)
    epsilon = rng.uniform(-20, 20, 400) + 1j * 10 ** rng.uniform(-6, 1.5, 400)
    energy = 10 ** rng.uniform(-0.5, 2, 400)
    for thickness in (0.5, 5.0, 50.0, 500.0):
        assert (film_loss(energy, epsilon, thickness, BEAM) > 0).all()


def test_a_film_of_vacuum_is_not_there():
    np.testing.assert_allclose(film_loss(ENERGY, np.ones(8, complex), 50.0, BEAM), 0, atol=1e-10)


def test_clear_films_lose_what_they_guide():
    """Losses do not vanish with absorption where light is guided: narrow waves are not missed."""
    almost, clear = (film_loss(3.0, 6.0 + 1j * eps2, 100.0, BEAM) for eps2 in (1e-3, 0.0))
    assert clear > 0.1 * 100 * retarded_volume_loss(3.0, 6.0 + 0j, BEAM)
    assert almost == pytest.approx(clear, rel=2e-3)


def test_both_paths_of_integration_agree(monkeypatch):
    """Where no wave is narrow the real axis will do everywhere."""
    energy = ENERGY[2:]
    epsilon = SEMICONDUCTOR.epsilon(energy)
    expected = face_loss(energy, epsilon, 40.0, BEAM)
    monkeypatch.setattr(module, "_below_poles", module._on_axis)
    on_axis = face_loss(energy, epsilon, 40.0, BEAM)
    np.testing.assert_allclose(on_axis, expected, rtol=1e-3)


def test_spectra_do_not_depend_on_each_other(monkeypatch):
    epsilon = np.array([model.epsilon(ENERGY) for model in (SEMICONDUCTOR, ALUMINIUM, GLASS)])
    thickness = np.array([10.0, 40.0, 90.0])
    together = film_excess(ENERGY, epsilon, thickness, BEAM)
    monkeypatch.setattr(module, "_CHUNK", 600)
    for row, one, t in zip(together, epsilon, thickness, strict=True):
        np.testing.assert_array_equal(film_excess(ENERGY, one, t, BEAM), row)


def test_excess_and_volume_make_the_film():
    epsilon = SEMICONDUCTOR.epsilon(ENERGY)
    volume = volume_loss(ENERGY, epsilon, BEAM)
    film = 30.0 * (volume + film_excess(ENERGY, epsilon, 30.0, BEAM))
    np.testing.assert_allclose(film, film_loss(ENERGY, epsilon, 30.0, BEAM))


def test_dielectric_functions_that_noise_made_amplify():
    epsilon = SEMICONDUCTOR.epsilon(ENERGY).conj()
    assert np.isfinite(retarded_volume_loss(ENERGY, epsilon, BEAM)).all()
    assert np.isfinite(film_loss(ENERGY, epsilon, 30.0, BEAM)).all()


def test_nothing_is_found_where_nothing_is_known():
    epsilon = np.where(ENERGY < 7, np.nan, SEMICONDUCTOR.epsilon(ENERGY))
    found = film_excess(ENERGY, epsilon, 30.0, BEAM)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(epsilon))
