# SPDX-License-Identifier: GPL-3.0-or-later
"""What films lose beside their volume, by an index: as of a material that has another dielectric function."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_zlpml.data import SEMICONDUCTOR
from hyperspy_zlpml.physics import Beam
from hyperspy_zlpml.physics.film_shares import film_shares
from hyperspy_zlpml.physics.loss_probability import volume_loss
from hyperspy_zlpml.physics.retardation import film_loss, retarded_volume_loss
from hyperspy_zlpml.physics.surface import Excess

BEAM = Beam(energy=200.0, collection_angle=15.0)
NOTHING = Excess(BEAM, surface=False, relativistic=False)
ENERGY = np.arange(1.0, 200.0, 0.05)


@pytest.mark.parametrize("thickness", [20.0, 60.0, 150.0])
@pytest.mark.parametrize("relativistic", [False, True])
def test_three_oscillators_lose_as_one_does(thickness, relativistic):
    """Of a material that is known no more is lost than is said, and not much less, taken off or not."""
    epsilon = SEMICONDUCTOR.epsilon(ENERGY)
    film = film_loss(ENERGY, epsilon, thickness, BEAM) / thickness
    volume = volume_loss(ENERGY, epsilon, BEAM)
    known = retarded_volume_loss(ENERGY, epsilon, BEAM) if relativistic else volume
    index = np.array([SEMICONDUCTOR.refractive_index])
    excess = replace(NOTHING, relativistic=relativistic)
    found = film_shares(index, np.array([thickness]), main=22.0, lowest=1.0, excess=excess)
    for weights, share in zip(
        (1.0, 1 / (ENERGY * BEAM.angular_logarithm(ENERGY))), found, strict=True
    ):
        expected = ((film - known) * weights).sum() / (volume * weights).sum()
        assert expected < share[0] < (2.0 if relativistic else 1.6) * expected


def test_slow_electrons_lose_less():
    """Below the speed of light in the specimen only faces are left, which thick films hardly notice."""
    index, thickness = np.full(2, 2.6), np.array([30.0, 800.0])
    nothing = [replace(NOTHING, beam=Beam(kilovolts, 15.0)) for kilovolts in (20.0, 300.0)]
    for number, largest in ((0, 0.02), (1, 0.04)):
        slow, fast = (
            film_shares(index, thickness, main=22.0, lowest=1.0, excess=one)[number]
            for one in nothing
        )
        assert (slow < fast).all()
        assert abs(slow[1]) < largest


def test_pixels_of_which_nothing_is_known_have_no_share():
    index, thickness = np.array([2.0, np.nan, 3.0, np.inf]), np.array([50.0, 50.0, np.nan, 50.0])
    for share in film_shares(index, thickness, main=20.0, lowest=1.0, excess=NOTHING):
        assert np.array_equal(np.isnan(share), [False, True, True, False])


def test_indices_between_are_interpolated():
    index = np.linspace(1.5, 4.0, 7)
    thickness = np.full(7, 70.0)
    together = film_shares(index, thickness, main=20.0, lowest=1.0, excess=NOTHING)
    for number in (0, 3, 6):
        alone = film_shares(
            index[[number]], thickness[[number]], main=20.0, lowest=1.0, excess=NOTHING
        )
        for one, other in zip(together, alone, strict=True):
            assert one[number] == pytest.approx(other[0], rel=0.15)


def test_where_no_index_is_known_there_is_no_share_and_no_warning():
    for share in film_shares(
        np.full(3, np.nan), np.full(3, 50.0), main=20.0, lowest=1.0, excess=NOTHING
    ):
        assert np.isnan(share).all()


@pytest.mark.parametrize("index", [1.0005, 1 + 1e-12])
def test_shares_go_on_to_an_index_of_one(index):
    indices, thickness = np.array([index, 1.01]), np.full(2, 50.0)
    for share in film_shares(indices, thickness, main=20.0, lowest=1.0, excess=NOTHING):
        assert share[0] == pytest.approx(share[1], rel=0.1)
