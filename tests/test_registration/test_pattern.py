# SPDX-License-Identifier: GPL-3.0-or-later
"""What dark levels do to the shape of the peak is right in single channels, and in sums of them."""

import numpy as np
import pytest

from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.registration.pattern import error_of_dark_levels
from hyperspy_zlpml.zlp.grid import SHARED_OVER, Grid, to_grid

GRID, PER_FWHM, LEVEL = Grid.covering(-30, 30), 16.0, 20.0
#: A peak of 1000 counts everywhere.
FLAT = np.full(GRID.n, np.log(1e3))


def errors_at(u, noise):
    """Shared and own errors at reduced energies, counts."""
    found = error_of_dark_levels(FLAT, GRID, noise, PER_FWHM)
    return [1e3 * np.interp(u, GRID.u, values) for values in found]


@pytest.mark.parametrize("window", [(2, 8), (5, 12), (10, 30)])
def test_integrals_hold_dark_levels_as_sums_of_independent_ones(window):
    # The ends of a window take part of what is shared over: up to a fifth more or less.
    u = np.arange(*window, 1 / PER_FWHM)
    shared, own = errors_at(u, NoiseModel(1.0, 30.0, dark=(LEVEL, LEVEL)))
    x = to_grid(u)
    alike = np.exp(-0.5 * ((x[:, None] - x) / SHARED_OVER) ** 2)
    variance = shared @ alike @ shared + (own**2).sum()
    assert variance == pytest.approx(u.size * LEVEL**2, rel=0.25)


def test_channels_hold_what_neighbours_have_in_common():
    # Levels averaged over 0.12 in x: 15 channels at 8 FWHM, of which a mean scatters by a quarter of one.
    noise = NoiseModel(1.0, 30.0, dark=(LEVEL, LEVEL))
    assert np.hypot(*errors_at(8.0, noise)) == pytest.approx(LEVEL / np.sqrt(15.4), rel=0.02)
    # No more than is not known of a single channel, where few are averaged.
    known = NoiseModel(1.0, 30.0, dark=(0.2 * LEVEL, LEVEL))
    assert np.hypot(*errors_at(1.0, known)) == pytest.approx(0.2 * LEVEL, rel=0.02)


def test_without_dark_levels_there_is_no_error():
    assert not np.any(error_of_dark_levels(FLAT, GRID, NoiseModel(1.0, 30.0), PER_FWHM))


def test_a_shape_that_is_lower_than_its_levels_is_uncertain_by_itself():
    found = error_of_dark_levels(FLAT - 50, GRID, NoiseModel(1.0, 30.0, dark=(9.0, 9.0)), PER_FWHM)
    assert np.isfinite(found).all()
    assert np.max(found) == 1.0
