# SPDX-License-Identifier: GPL-3.0-or-later
"""Feed-forward networks with tanh units, all replicas in one tensor.

The weights of a replica are one vector: for each layer the matrix (outputs, inputs), row by row,
then the biases. The last layer is linear.
"""

import numpy as np
import torch

from hyperspy_zlpml.network.weights import split_weights


def n_weights(layers):
    """Number of weights and biases of one network with these layer sizes."""
    return sum((n_in + 1) * n_out for n_in, n_out in zip(layers[:-1], layers[1:], strict=True))


def initial_weights(layers, n_replicas, rng):
    """Random weights, shape (n_replicas, n_weights): variance 1/inputs, last layer small.

    A small last layer starts every network near zero: at the reference shape.
    """
    parts = []
    last = len(layers) - 2
    for number, (n_in, n_out) in enumerate(zip(layers[:-1], layers[1:], strict=True)):
        size = 0.1 if number == last else 1.0
        matrix = rng.standard_normal((n_replicas, n_out * n_in)) * size / np.sqrt(n_in)
        bias = rng.standard_normal((n_replicas, n_out)) * (0.5 if number < last else 0.0)
        parts += [matrix, bias]
    return np.concatenate(parts, axis=1)


def forward(weights, layers, inputs):
    """Outputs of all networks.

    Parameters
    ----------
    weights : tensor of shape (n_replicas, n_weights)
    layers : sequence of int
        Sizes from input to output; the last is 1.
    inputs : tensor of shape (n_points, n_in) or (n_replicas, n_points, n_in)

    Returns
    -------
    outputs : tensor of shape (n_replicas, n_points)
    activations : list of tensors (n_replicas, n_units, n_points), the inputs first
        Points last: long rows, for each unit and, in the Jacobian, for each weight.
    """
    value = inputs.mT.expand(len(weights), *inputs.mT.shape[-2:])
    activations = [value]
    parts = split_weights(weights, layers)
    for number, (matrix, bias) in enumerate(parts):
        value = torch.baddbmm(bias[..., None], matrix, value)
        if number < len(parts) - 1:
            value = torch.tanh(value)
            activations.append(value)
    return value[:, 0], activations


def jacobian(weights, layers, activations, scale=None, out=None):
    """Derivatives of the outputs.

    Parameters
    ----------
    weights : tensor of shape (n_replicas, n_weights)
    layers : sequence of int
    activations : list of tensors (n_replicas, n_units, n_points)
        Of :func:`forward`.
    scale : tensor of shape (n_replicas, n_points), optional
        Factor of each output.
    out : tensor of shape (n_replicas, n_weights, n_points), optional
        Where to write.

    Returns
    -------
    tensor of shape (n_replicas, n_weights, n_points)
    """
    parts = split_weights(weights, layers)
    n_replicas, _, n_points = activations[0].shape
    if out is None:
        out = weights.new_empty(n_replicas, weights.shape[1], n_points)
    if scale is None:
        scale = weights.new_ones(n_replicas, n_points)
    delta = scale[:, None]
    stop = weights.shape[1]
    for number in range(len(parts) - 1, -1, -1):
        n_out, n_in = parts[number][0].shape[1:]
        start = stop - n_out - n_out * n_in
        out[:, stop - n_out : stop] = delta
        block = out[:, start : stop - n_out].unflatten(1, (n_out, n_in))
        torch.mul(delta[:, :, None], activations[number][:, None], out=block)
        stop = start
        if number:
            delta = torch.bmm(parts[number][0].mT, delta) * (1 - activations[number] ** 2)
    return out
