# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables that must reach further than what they were made of; looking up is in ``test_matching.py``."""

from dataclasses import fields

import numpy as np
import pytest

from hyperspy_zlpml.zlp.grid import GRID_STEP, SLOWEST_TAIL, TAIL_POWER_SIGMA, Grid, to_grid
from hyperspy_zlpml.zlp.residual import CoherentResidual
from hyperspy_zlpml.zlp.tables import ShapeTable

GRID = Grid.covering(-8, 20)
N_NODES = 3
N_MODES = 2


def shape(u, exponent=2.0):
    return -exponent * np.log1p(1.66 * u**2)


def table(exponents=(1.8, 2.0, 2.2)):
    rng = np.random.default_rng(0)
    rows = np.array([shape(GRID.u, e) for e in exponents])
    return ShapeTable(
        grid=GRID,
        log_intensity_nodes=np.linspace(14, 15, N_NODES),
        log_shape=rows,
        modes=rng.standard_normal((N_MODES, N_NODES, GRID.n)),
        rest=rng.uniform(0.01, 0.02, (N_NODES, GRID.n)),
        scatter=rng.uniform(0.01, 0.02, GRID.n),
        lower=-rng.uniform(0.9, 1.1, (N_NODES, GRID.n)),
        upper=rng.uniform(0.9, 1.1, (N_NODES, GRID.n)),
        spill=rng.uniform(0, 0.1, (N_NODES, GRID.n)),
        residual=CoherentResidual.none(),
        widening=rng.uniform(-0.1, 0.1, GRID.n),
        group_error=rng.uniform(0, 0.01, GRID.n),
        channel_error=rng.uniform(0, 0.01, GRID.n),
        log_fwhm=-1.0,
        coherent=rng.uniform(-0.01, 0.01, GRID.n),
        grain=rng.uniform(0, 0.01, GRID.n),
    )


TABLES = ("log_shape", "modes", "rest", "scatter", "lower", "upper", "spill")
TABLES += ("widening", "group_error", "channel_error", "coherent", "grain")
REACHES = [(-30.0, 20.0), (-8.0, 300.0), (-30.0, 300.0)]


@pytest.mark.parametrize("reach", [(-8, 20), (-1, 1), (0, 0), (GRID.u[0], GRID.u[-1])])
def test_nothing_to_add_is_the_table_itself(reach):
    one = table()
    assert one.reaching(*reach) is one


@pytest.mark.parametrize("reach", REACHES)
def test_what_it_held_stays_as_it_was(reach):
    one = table()
    longer = one.reaching(*reach)
    before = round((GRID.start - longer.grid.start) / GRID_STEP)
    inside = slice(before, before + GRID.n)
    np.testing.assert_allclose(longer.grid.x[inside], GRID.x, atol=1e-9)
    for name in TABLES:
        values = getattr(longer, name)
        assert values.shape[-1] == longer.grid.n
        np.testing.assert_array_equal(values[..., inside], getattr(one, name), err_msg=name)
    np.testing.assert_array_equal(longer.log_intensity_nodes, one.log_intensity_nodes)


@pytest.mark.parametrize("reach", REACHES)
def test_it_reaches_as_far_as_asked_and_a_step_at_most_further(reach):
    grid = table().reaching(*reach).grid
    for asked, had, found in zip(reach, GRID.u[[0, -1]], grid.u[[0, -1]], strict=True):
        wanted = asked if abs(asked) > abs(had) else had
        assert abs(found) >= abs(wanted) * (1 - 1e-12)
        assert abs(to_grid(found) - to_grid(wanted)) < GRID_STEP + 1e-9


@pytest.mark.parametrize("side", [-1, 1])
def test_beyond_its_edges_the_shape_goes_on_from_its_power_and_flattens(side):
    """The slope of the last half unit of x at the edge, halved over ln 4, node by node."""
    one = table()
    longer = one.reaching(-200, 500)
    beyond = side * longer.grid.u > side * GRID.u[0 if side < 0 else -1]
    steps = side * np.diff(longer.log_shape[:, beyond]) / GRID_STEP
    assert steps.shape[1] > 100
    edge = slice(None, 51) if side < 0 else slice(-51, None)
    slope = side * (one.log_shape[:, edge][:, -1] - one.log_shape[:, edge][:, 0]) / 0.5
    distance = GRID_STEP * (np.arange(steps.shape[1]) + 0.5)
    expected = slope[:, None] * 0.5 ** (distance / np.log(4))
    np.testing.assert_allclose(
        steps[:, ::side], np.minimum(expected, SLOWEST_TAIL), rtol=0.01, err_msg="outward"
    )
    assert len(set(np.round(slope, 3))) == N_NODES
    # Of a true power law, (1 + u^2)^-k, twice its exponent: asinh(2 u) is ln(4 u) far out.
    np.testing.assert_allclose(slope, -2 * np.array([1.8, 2.0, 2.2]), rtol=0.02)
    assert (np.abs(np.diff(longer.log_shape)) < 0.05).all(), "no step where the two meet"


def test_tails_that_rise_at_the_edge_fall_beyond_it():
    flat = ShapeTable.of_reference(GRID, np.minimum(shape(GRID.u), 0) * 0 + 0.1 * GRID.x)
    longer = flat.reaching(-8, 300)
    beyond = longer.grid.u > GRID.u[-1]
    np.testing.assert_allclose(np.diff(longer.log_shape[0, beyond]) / GRID_STEP, SLOWEST_TAIL)


def test_the_power_is_as_uncertain_as_that_of_tails_nobody_measured():
    one = table()
    longer = one.reaching(-200, 500)
    for end, beyond in ((0, longer.grid.u < GRID.u[0]), (-1, longer.grid.u > GRID.u[-1])):
        power = np.log(longer.grid.u[beyond] / GRID.u[end])
        expected = np.hypot(one.rest[:, end, None], TAIL_POWER_SIGMA * power)
        np.testing.assert_allclose(longer.rest[:, beyond], expected)
        outward = longer.rest[:, beyond][:, :: -1 if end == 0 else 1]
        assert (np.diff(outward) > 0).all(), "grows with the distance"


def test_everything_else_is_held():
    one = table()
    longer = one.reaching(-200, 500)
    for name in ("modes", "scatter", "lower", "upper", "spill"):
        values, had = getattr(longer, name), getattr(one, name)
        for end, beyond in ((0, longer.grid.u < GRID.u[0]), (-1, longer.grid.u > GRID.u[-1])):
            held = np.broadcast_to(had[..., [end]], values[..., beyond].shape)
            np.testing.assert_array_equal(values[..., beyond], held, err_msg=name)


def test_further_in_two_steps_is_further_at_once_within_its_error():
    """But for the uncertain power, which begins where the data ended, and for rounding."""
    once, twice = table().reaching(-100, 400), table().reaching(-20, 90).reaching(-100, 400)
    assert once.grid.n == twice.grid.n
    assert (np.abs(once.log_shape - twice.log_shape) <= once.rest).all()


def test_nothing_is_modified():
    one = table()
    before = {field.name: np.copy(getattr(one, field.name)) for field in fields(one)[1:]}
    one.reaching(-200, 500)
    for name, values in before.items():
        np.testing.assert_array_equal(getattr(one, name), values)


def test_a_table_without_modes():
    longer = ShapeTable.of_reference(GRID, shape(GRID.u)).reaching(-30, 100)
    assert longer.modes.shape == (0, 1, longer.grid.n)
    assert longer.n_modes == 0
