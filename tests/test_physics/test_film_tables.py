# SPDX-License-Identifier: GPL-3.0-or-later
"""What films add, from tables over the thickness: as computed for each, and as the material says."""

import numpy as np
import pytest
from scattering_spectra import make_losses

from hyperspy_zlpml.data import SEMICONDUCTOR
from hyperspy_zlpml.physics import Beam
from hyperspy_zlpml.physics.film_tables import FilmTables
from hyperspy_zlpml.physics.kramers_kronig import LossGrid
from hyperspy_zlpml.physics.loss_probability import volume_factor
from hyperspy_zlpml.physics.material import Analysis, film_table
from hyperspy_zlpml.physics.retardation import film_excess, film_loss

BEAM = Beam(energy=200.0, collection_angle=15.0)
GRID = LossGrid(0.2, 220, 3)
ENERGY = GRID.energy
N = SEMICONDUCTOR.refractive_index
EPSILON = SEMICONDUCTOR.epsilon(ENERGY)
UNIT = volume_factor(BEAM) * BEAM.angular_logarithm(ENERGY)


@pytest.fixture(scope="module")
def tables():
    return FilmTables.of(ENERGY, EPSILON, (15.0, 150.0), BEAM)


def test_films_are_those_of_their_thickness(tables):
    thickness = np.array([17.3, 41.0, 66.6, 140.0])
    found = tables.per_thickness(np.zeros(4, int), thickness)
    expected = film_excess(ENERGY, EPSILON + np.zeros((4, 1)), thickness, BEAM) / UNIT
    assert np.abs(found - expected).max() < 1e-3 * (-1 / EPSILON).imag.max()


def test_thick_films_have_the_faces_of_the_last_of_a_table(tables):
    thick = np.array([1e4])
    found = tables.per_thickness(np.zeros(1, int), thick)
    assert np.allclose(found, tables.volume + tables.faces[:, -1] / 1e4)


def test_materials_keep_their_tables(tables):
    other = FilmTables.of(ENERGY, EPSILON**0.5, (15.0, 150.0), BEAM)
    both = FilmTables.join([tables, other, FilmTables.unknown(ENERGY.size)])
    found = both.per_thickness(np.array([1, 0, 2]), np.full(3, 50.0))
    assert np.array_equal(found[0], other.per_thickness(np.zeros(1, int), np.array([50.0]))[0])
    assert np.array_equal(found[1], tables.per_thickness(np.zeros(1, int), np.array([50.0]))[0])
    assert np.isnan(found[2]).all()
    assert not both.settled[2]


@pytest.mark.parametrize("by_index", [True, False])
def test_the_material_is_that_of_the_spectra(by_index):
    """Films of three thicknesses: the excess of any other is that of the true dielectric function."""
    nm = np.array([40.0, 60.0, 80.0])

    def single(energy):
        above = np.maximum(energy, 0.05)
        losses = film_loss(above, SEMICONDUCTOR.epsilon(above), 60.0, BEAM)
        return np.where(energy > 0, losses, 0.0)

    # All as the film of 60 nm, which the thickness given must then be, too.
    losses, _ = make_losses(np.ones(3), single=single)
    analysis = Analysis(GRID, 2, BEAM, by_index, surface=True, relativistic=True)
    given = np.full(3, N) if by_index else np.full(3, 60.0)
    films = film_table(losses, given, analysis)
    assert films.settled.all()
    found = films.per_thickness(np.zeros(3, int), nm)
    expected = film_excess(ENERGY, EPSILON + np.zeros((3, 1)), nm, BEAM) / UNIT
    seen = (ENERGY > 3.0) & (ENERGY < 30.0)
    size = np.sqrt(np.mean((expected + (-1 / EPSILON).imag)[:, seen] ** 2))
    assert np.abs(found - expected)[:, seen].max() < 0.06 * size


def test_spectra_without_losses_tell_no_material():
    losses, _ = make_losses(np.zeros(3), seed=7004)
    analysis = Analysis(GRID, 2, BEAM, True, surface=True, relativistic=True)
    assert not film_table(losses, np.full(3, N), analysis).settled.any()
