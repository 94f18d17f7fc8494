# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses of faces and of retardation: what is added to exact losses is taken off again."""

import numpy as np
import pytest

from hyperspy_zlpml.data import SEMICONDUCTOR
from hyperspy_zlpml.physics import Beam
from hyperspy_zlpml.physics.dielectric_models import OscillatorModel
from hyperspy_zlpml.physics.kramers_kronig import Continuation, LossGrid, invert
from hyperspy_zlpml.physics.loss_probability import surface_loss, volume_factor, volume_loss
from hyperspy_zlpml.physics.retardation import film_loss, retarded_excess
from hyperspy_zlpml.physics.surface import Excess, without_excess

BEAM = Beam(energy=200.0, collection_angle=15.0)
GRID = LossGrid(0.1, 470)
ENERGY = GRID.energy
TRUE = SEMICONDUCTOR.epsilon(ENERGY)
KNOWN = Continuation(GRID, np.array([3]), np.array([24.9 / 47]))


def corrected(counts, excess, index=2.6246, known=KNOWN):
    """Inverse before and after the iteration, of probabilities of losses."""
    losses = np.atleast_2d(counts) / BEAM.angular_logarithm(ENERGY)

    def inverse_of(losses):
        return invert(losses, known.select([0] * len(losses)), index=np.full(len(losses), index))

    def excess_of(inverse, rows):
        thickness = inverse.scale[rows] / volume_factor(BEAM)
        of_thickness = excess.per_thickness(ENERGY, inverse.epsilon[rows], thickness)
        return inverse.scale[rows][:, None] * of_thickness

    free, settled = without_excess(losses, inverse_of, excess_of, excess.first_part)
    return inverse_of(losses), inverse_of(free), settled


def error(inverse):
    seen = (ENERGY > 1) & (ENERGY < 30)
    return np.sqrt(np.mean((inverse.epsilon - TRUE).real[:, seen] ** 2, axis=-1))


def films(*thickness):
    volume = volume_loss(ENERGY, TRUE, BEAM)
    return np.array(thickness)[:, None] * volume + surface_loss(ENERGY, TRUE, BEAM)


def test_losses_of_faces_are_taken_off():
    thickness = [20.0, 30.0, 60.0]
    before, after, settled = corrected(films(*thickness), Excess(BEAM, True, False))
    assert settled.all()
    assert (error(after) < 0.05 * error(before)).all()
    assert np.allclose(after.scale / volume_factor(BEAM), thickness, rtol=2e-3)


def test_too_thin_a_film_does_not_settle():
    _, _, settled = corrected(films(2.0), Excess(BEAM, True, False))
    assert not settled[0]


@pytest.mark.parametrize(
    "width, thickness, is_found",
    [
        (0.6, 30.0, False),
        (0.6, 120.0, False),
        (2.0, 30.0, False),
        (2.0, 120.0, True),
        (4.0, 60.0, True),
    ],
)
def test_an_answer_that_does_not_explain_the_losses_is_none(width, thickness, is_found):
    """Of a sharp plasmon faces lose more than all that is measured: an iteration rests there, at nothing."""
    metal = OscillatorModel(((15.0**2, 0.0, width),)).epsilon(ENERGY)
    counts = thickness * volume_loss(ENERGY, metal, BEAM) + surface_loss(ENERGY, metal, BEAM)
    known = Continuation(GRID, np.zeros(1, int), np.array([15.0 / 47]))
    _, after, settled = corrected(counts, Excess(BEAM, True, False), np.inf, known)
    is_right = abs(after.scale[0] / volume_factor(BEAM) / thickness - 1) < 2e-3
    assert settled[0] == is_found == is_right


def test_retardation_is_taken_off():
    counts = 100 * (volume_loss(ENERGY, TRUE, BEAM) + retarded_excess(ENERGY, TRUE, BEAM))
    before, after, settled = corrected(counts, Excess(BEAM, False, True))
    assert settled[0]
    assert error(after)[0] < 0.02 * error(before)[0]


def test_all_of_a_film_is_taken_off():
    counts = film_loss(ENERGY, TRUE, 60.0, BEAM)
    before, bulk, _ = corrected(counts, Excess(BEAM, False, True))
    _, after, settled = corrected(counts, Excess(BEAM, True, True))
    assert settled[0]
    assert error(after)[0] < 0.02 * error(before)[0]
    # There is no room in it for what an infinite specimen adds.
    assert error(bulk)[0] > 0.5 * error(before)[0]
    assert after.scale[0] / volume_factor(BEAM) == pytest.approx(60.0, rel=1e-3)


def test_spectra_do_not_depend_on_those_beside():
    excess = Excess(BEAM, True, False)
    _, together, _ = corrected(films(12.0, 20.0, 60.0), excess)
    _, alone, _ = corrected(films(20.0), excess)
    assert np.array_equal(together.real[1], alone.real[0])


@pytest.mark.parametrize("surface, relativistic", [(True, False), (False, True)])
def test_unknown_losses_end_at_once(surface, relativistic):
    _, after, settled = corrected(np.full(ENERGY.size, np.nan), Excess(BEAM, surface, relativistic))
    assert settled[0]
    assert np.isnan(after.real).all()


def test_nothing_to_take_off():
    assert not Excess(BEAM, surface=False, relativistic=False)
