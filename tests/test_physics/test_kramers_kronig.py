# SPDX-License-Identifier: GPL-3.0-or-later
"""Dielectric functions of losses: against closed forms, a slow principal value, and draws."""

import numpy as np
import pytest
from scipy.integrate import quad

from hyperspy_zlpml.physics.kramers_kronig import (
    Continuation,
    LossGrid,
    at_zero,
    changes_of_epsilon,
    hat_weights,
    invert,
    noise_of_epsilon,
    smoothed,
    tail_of,
    transform,
)

#: Strengths (eV^2), energies and widths (eV) of oscillators.
OSCILLATORS = ((60.0, 5.0, 2.0), (200.0, 9.0, 4.0), (224.0, 15.0, 8.0))


def lorentz(energy, oscillators=OSCILLATORS):
    energy = np.asarray(energy, float)
    terms = [a / (e0**2 - energy**2 - 1j * energy * g) for a, e0, g in oscillators]
    return 1 + np.sum(terms, axis=0)


def drude(energy, plasmon=15.0, width=0.6):
    return 1 - plasmon**2 / (energy * (energy + 1j * width))


def known_from(grid, *first, plasmon=24.9):
    at = np.full(len(first), plasmon / grid.energy[-1])
    return Continuation(grid, np.array(first, int), at)


def crossings(energy, values):
    before = np.flatnonzero(np.diff(np.sign(values)))
    return [
        energy[i] - values[i] * (energy[i + 1] - energy[i]) / (values[i + 1] - values[i])
        for i in before
    ]


def relative_error(found, true, energy, low=1.0, high=30.0):
    seen = (energy > low) & (energy < high)
    return np.sqrt(np.mean((found - true)[seen] ** 2) / np.mean(true[seen] ** 2))


@pytest.mark.parametrize("end, most", [(47.0, 0.001), (100.0, 0.0005), (200.0, 0.0005)])
@pytest.mark.parametrize("step", [0.025, 0.1])
def test_oscillators_come_back_from_a_finite_axis(end, most, step):
    grid = LossGrid(step, round(end / step))
    true = lorentz(grid.energy)
    losses = 7.0 * (-1 / true).imag[None]
    known, index = known_from(grid, 0), np.sqrt(lorentz(0.0).real)
    inverse = invert(losses, known, np.array([index]))
    found = inverse.epsilon[0]
    assert inverse.scale[0] == pytest.approx(7.0, rel=most)
    assert relative_error(found.real, true.real, grid.energy) < most
    assert relative_error(found.imag, true.imag, grid.energy) < most
    zeros = crossings(grid.energy, found.real)
    assert np.allclose(zeros, [9.628, 23.877], atol=0.03)


def test_a_metal_has_no_finite_index():
    grid = LossGrid(0.05, 1200)
    true = drude(grid.energy)
    losses = 3.0 * (-1 / true).imag[None]
    known = known_from(grid, 0, plasmon=15.0)
    inverse = invert(losses, known, np.array([np.inf]))
    found = inverse.epsilon[0]
    assert inverse.scale[0] == pytest.approx(3.0, rel=2e-3)
    assert relative_error(found.real, true.real, grid.energy, low=2.0) < 0.01
    assert crossings(grid.energy, found.real) == pytest.approx([14.99], abs=0.02)


def test_the_transform_is_the_principal_value():
    """Against SciPy's Cauchy weight, for the straight lines that the losses are between nodes."""
    step, size = 0.5, 40
    energy = step * np.arange(size + 2)
    losses = np.random.default_rng(7001).random(size)
    heights = np.r_[0.0, losses, 0.0]

    def line(x):
        return np.interp(x, energy, heights) * x

    for node in (1, 7, 39):
        expected = 2 / np.pi * principal_value(line, energy, node)
        assert transform(losses)[node - 1] == pytest.approx(expected, abs=2e-4)


def principal_value(line, energy, node):
    """Integral of ``line / (E^2 - at^2)``; the two pieces beside the node are taken together."""
    at, total = energy[node], 0.0
    for number in range(energy.size - 1):
        low, high = energy[number], energy[number + 1]
        if number == node:
            low = energy[node - 1]
            total += quad(divided_by_sum, low, high, (line, at), weight="cauchy", wvar=at)[0]
        elif number != node - 1:
            total += quad(divided_by_both, low, high, (line, at))[0]
    return total


def divided_by_sum(x, line, at):
    return line(x) / (x + at)


def divided_by_both(x, line, at):
    return line(x) / (x**2 - at**2)


def test_the_sum_rule_is_the_integral_of_the_straight_lines():
    step, size = 0.5, 40
    losses = np.random.default_rng(7001).random(size)
    energy, heights = step * np.arange(size + 2), np.r_[0.0, losses, 0.0]
    slope = np.diff(heights) / step
    # Of a + b E over E, from node to node; the first piece has no a.
    level = (heights[:-1] - slope * energy[:-1])[1:]
    area = slope.sum() * step + level @ np.log(energy[2:] / energy[1:-1])
    assert at_zero(losses) == pytest.approx(2 / np.pi * area, rel=1e-12)


def test_the_transform_is_the_sum_over_hats():
    losses = np.random.default_rng(7002).normal(size=(3, 50))
    node = np.arange(1, 51)
    weights = hat_weights(node[None] - node[:, None]) + hat_weights(node[None] + node[:, None])
    assert np.allclose(transform(losses), losses @ weights.T / np.pi, atol=1e-13)


def test_rows_do_not_depend_on_what_comes_with_them():
    losses = np.random.default_rng(7003).normal(size=(5, 64))
    assert np.array_equal(transform(losses)[3], transform(losses[3:4])[0])


@pytest.mark.parametrize("exponent", [2.5, 3.0, 3.5])
def test_tails_are_those_of_a_longer_axis(exponent):
    size = 60
    longer = np.zeros(400 * size)
    longer[size:] = (np.arange(size + 1, longer.size + 1) / size) ** -exponent
    at_nodes, of_zero = tail_of(size, exponent)
    assert np.allclose(at_nodes, transform(longer)[:size], rtol=2e-5)
    assert of_zero == pytest.approx(at_zero(longer), rel=2e-5)


def test_losses_below_the_first_trusted_are_a_ramp():
    grid = LossGrid(0.1, 100, window=5)
    losses = np.broadcast_to(2.0 * grid.energy, (2, 100)).copy()
    losses[:, :10] = 77.0
    completed = known_from(grid, 10, 0).complete(losses)
    assert np.allclose(completed[0], 2.0 * grid.energy)
    assert np.array_equal(completed[1], losses[1])


@pytest.fixture(scope="module")
def noisy():
    """Two spectra with noise and a direction, the first of which are not trusted."""
    grid = LossGrid(0.2, 200, window=3)
    true = lorentz(grid.energy)
    losses = 5e3 * np.stack([(-1 / true).imag, (-1 / lorentz(grid.energy, OSCILLATORS[1:])).imag])
    variance = 4.0 + 1e-1 * losses
    return grid, losses, variance, known_from(grid, 6, 9)


#: Normalised by the refractive index, or by a factor that is known.
NORMALISED = [{"index": np.array([2.6, 2.1])}, {"scale": np.full(2, 5e3)}]


def stretched(norm, shape):
    return {name: np.broadcast_to(value[:, None], shape) for name, value in norm.items()}


@pytest.mark.parametrize("norm", NORMALISED, ids=["index", "scale"])
def test_changes_are_differences(noisy, norm):
    grid, losses, _, known = noisy
    changes = np.stack([np.sin(grid.energy / 3.0), np.exp(-grid.energy / 2.0)])[None] * [
        [[1.0]],
        [[3.0]],
    ]
    changed = invert(losses[:, None] + changes, known, **stretched(norm, (2, 2)))
    found = changes_of_epsilon(invert(losses, known, **norm), changed)
    for number in range(2):
        above = invert(losses + changes[:, number], known, **norm).epsilon
        below = invert(losses - changes[:, number], known, **norm).epsilon
        assert np.allclose(found[:, number], (above - below) / 2, rtol=5e-3, atol=1e-5)


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("norm", NORMALISED, ids=["index", "scale"])
def test_noise_is_the_sum_of_what_every_node_does(noisy, norm, window):
    grid, losses, variance, known = noisy
    inverse = invert(losses, known, **norm)
    # Small moves: the first order is what is to be found.
    moves = 1e-3 * np.sqrt(variance)[:, None] * np.eye(grid.size)
    changed = invert(losses[:, None] + moves, known, **stretched(norm, moves.shape[:2]))
    moved = changes_of_epsilon(inverse, changed) * 1e3
    moved = smoothed(moved.real, window) + 1j * smoothed(moved.imag, window)
    real, imaginary = noise_of_epsilon(inverse, variance, known, "scale" in norm, window)
    # Where eps turns fast the running mean of its changes is not eps times that of 1/eps.
    near, seen = 1e-5 if window == 1 else 0.15, grid.energy > 2.0
    for found, true in ((real, moved.real), (imaginary, moved.imag)):
        ratio = np.sqrt(found / (true**2).sum(1))[:, seen]
        assert np.abs(ratio - 1).max() < near


def test_first_order_errors_hold_for_draws(noisy):
    grid, losses, variance, known = noisy
    index = np.array([2.6, 2.1])
    inverse = invert(losses, known, index)
    real, imaginary = noise_of_epsilon(inverse, variance, known, False)
    rng = np.random.default_rng(7004)
    drawn = rng.normal(losses[:, None], np.sqrt(variance)[:, None], (2, 400, grid.size))
    drawn = invert(drawn, known, np.repeat(index[:, None], 400, axis=1)).epsilon
    seen = grid.energy > 2.0
    ratio = np.std(drawn.real, axis=1)[:, seen] / np.sqrt(real[:, seen])
    assert np.abs(ratio - 1).mean() < 0.06
    ratio = np.std(drawn.imag, axis=1)[:, seen] / np.sqrt(imaginary[:, seen])
    assert np.abs(ratio - 1).mean() < 0.06


def test_electrons_are_counted_alike_by_both_sums():
    """Bethe's f-sum: eps2 E and Im[-1/eps] E have the same area, that of the oscillators."""
    grid = LossGrid(0.1, 4000)
    losses = (-1 / lorentz(grid.energy)).imag[None]
    found = invert(losses, known_from(grid, 0), scale=np.ones(1)).epsilon[0]
    strength = sum(a for a, _, _ in OSCILLATORS) * np.pi / 2
    assert np.sum(found.imag * grid.energy) * grid.step == pytest.approx(strength, rel=0.02)
    assert np.sum(losses[0] * grid.energy) * grid.step == pytest.approx(strength, rel=0.02)
