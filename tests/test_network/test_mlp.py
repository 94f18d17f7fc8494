# SPDX-License-Identifier: GPL-3.0-or-later
"""Batched networks against one network at a time, and the Jacobian against differences."""

import numpy as np
import pytest
import torch

from hyperspy_zlpml.network import mlp
from hyperspy_zlpml.network.weights import ACTIVATIONS, outputs_of

LAYERS = [(2, 10, 15, 5, 1), (2, 4, 1), (3, 1), (1, 6, 6, 1)]


def random_case(layers, n_replicas=3, n_points=7, seed=0):
    rng = np.random.default_rng(seed)
    weights = mlp.initial_weights(layers, n_replicas, rng)
    weights += 0.3 * rng.standard_normal(weights.shape)
    return torch.as_tensor(weights), torch.as_tensor(rng.normal(size=(n_points, layers[0])))


def one_network(weights, layers, point):
    """Output of one network at one point, unit by unit."""
    values, start = list(point), 0
    for number, (n_in, n_out) in enumerate(zip(layers[:-1], layers[1:], strict=True)):
        biases = start + n_in * n_out
        values = [
            weights[biases + o]
            + sum(weights[start + o * n_in + i] * values[i] for i in range(n_in))
            for o in range(n_out)
        ]
        if number < len(layers) - 2:
            values = [np.tanh(v) for v in values]
        start = biases + n_out
    return values[0]


def test_published_networks_have_281_weights():
    # [2, 10, 15, 5, 1]: 3 * 10 + 11 * 15 + 16 * 5 + 6 * 1.
    assert mlp.n_weights((2, 10, 15, 5, 1)) == 281


@pytest.mark.parametrize("layers", LAYERS)
def test_forward_is_every_network_at_every_point(layers):
    weights, inputs = random_case(layers)
    outputs, activations = mlp.forward(weights, layers, inputs)
    slow = [[one_network(w, layers, x) for x in inputs.numpy()] for w in weights.numpy()]
    np.testing.assert_allclose(outputs.numpy(), slow, rtol=1e-10, atol=1e-12)
    assert [a.shape[1] for a in activations] == list(layers[:-1])


@pytest.mark.parametrize("layers", LAYERS)
def test_jacobian_is_the_derivative(layers):
    weights, inputs = random_case(layers, seed=1)
    _, activations = mlp.forward(weights, layers, inputs)
    found = mlp.jacobian(weights, layers, activations)
    step = 1e-6
    for k in range(weights.shape[1]):
        moved = torch.zeros_like(weights)
        moved[:, k] = step
        high, low = (mlp.forward(weights + s * moved, layers, inputs)[0] for s in (1, -1))
        np.testing.assert_allclose(
            found[:, k].numpy(), ((high - low) / (2 * step)).numpy(), atol=1e-8
        )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_has_its_derivative_and_is_the_same_in_numpy(activation):
    layers = (2, 5, 4, 1)
    weights, inputs = random_case(layers, seed=2)
    outputs, activations = mlp.forward(weights, layers, inputs, activation)
    alone = outputs_of(weights.numpy(), layers, inputs.numpy(), activation)
    np.testing.assert_allclose(outputs.numpy(), alone, rtol=1e-12, atol=1e-14)
    assert max(one.abs().max() for one in activations[1:]) < 1
    found = mlp.jacobian(weights, layers, activations, activation=activation)
    along = torch.as_tensor(np.random.default_rng(5).normal(size=weights.shape))
    high, low = (
        mlp.forward(weights + s * 1e-6 * along, layers, inputs, activation)[0] for s in (1, -1)
    )
    expected = torch.einsum("kwp,kw->kp", found, along)
    np.testing.assert_allclose(((high - low) / 2e-6).numpy(), expected.numpy(), atol=1e-7)


def test_jacobian_is_scaled_and_written_where_asked():
    layers = (2, 4, 1)
    weights, inputs = random_case(layers)
    _, activations = mlp.forward(weights, layers, inputs)
    scale = torch.as_tensor(np.random.default_rng(3).normal(size=(3, 7)))
    room = torch.full((3, weights.shape[1], 9), torch.nan, dtype=torch.float64)
    mlp.jacobian(weights, layers, activations, scale, out=room[..., 1:8])
    expected = mlp.jacobian(weights, layers, activations) * scale[:, None]
    np.testing.assert_allclose(room[..., 1:8].numpy(), expected.numpy(), atol=1e-14)
    assert torch.isnan(room[..., [0, 8]]).all()


def test_every_replica_may_have_inputs_of_its_own():
    layers = (2, 4, 1)
    weights, inputs = random_case(layers)
    own = torch.stack([inputs, 2 * inputs, -inputs])
    found, _ = mlp.forward(weights, layers, own)
    for k in range(3):
        alone, _ = mlp.forward(weights[k : k + 1], layers, own[k])
        np.testing.assert_allclose(found[k].numpy(), alone[0].numpy(), rtol=1e-12)


def test_replicas_do_not_know_of_each_other():
    layers = (2, 10, 15, 5, 1)
    weights, inputs = random_case(layers, 5)
    whole, activations = mlp.forward(weights, layers, inputs)
    alone, of_one = mlp.forward(weights[3:4], layers, inputs)
    np.testing.assert_allclose(whole[3].numpy(), alone[0].numpy(), rtol=1e-12)
    np.testing.assert_allclose(
        mlp.jacobian(weights, layers, activations)[3].numpy(),
        mlp.jacobian(weights[3:4], layers, of_one)[0].numpy(),
        rtol=1e-12,
        atol=1e-14,
    )


def test_initial_networks_lie_near_the_reference_and_differ():
    layers = (2, 10, 15, 5, 1)
    weights = mlp.initial_weights(layers, 400, np.random.default_rng(2))
    assert weights.shape == (400, 281)
    outputs, _ = mlp.forward(
        torch.as_tensor(weights), layers, torch.as_tensor(np.array([[0.0, 0.0], [1.0, -1.0]]))
    )
    # tanh units of order one, five of them with weights 0.1 / sqrt(5): at most 0.1.
    assert 0.01 < outputs.std() < 0.1
    assert np.unique(outputs.numpy()).size == outputs.numel()
    first = weights[:, :20]  # the first matrix: variance 1 / inputs, 8000 numbers
    assert first.var() == pytest.approx(0.5, rel=0.1)


def test_initial_weights_depend_on_the_generator_alone():
    draws = [mlp.initial_weights((2, 4, 1), 3, np.random.default_rng(s)) for s in (5, 5, 6)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
