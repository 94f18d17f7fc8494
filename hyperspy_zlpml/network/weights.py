# SPDX-License-Identifier: GPL-3.0-or-later
"""How the weights of many networks lie in one array, and what the networks answer: NumPy alone."""

import numpy as np


def split_weights(weights, layers):
    """Views of the matrices (n_replicas, n_out, n_in) and biases (n_replicas, n_out).

    ``weights`` has shape (n_replicas, n_weights), an array or a tensor: layer by layer the
    matrix, row by row, then the biases.
    """
    start, parts = 0, []
    for n_in, n_out in zip(layers[:-1], layers[1:], strict=True):
        matrix = weights[:, start : start + n_out * n_in].reshape(-1, n_out, n_in)
        start += n_out * n_in
        parts.append((matrix, weights[:, start : start + n_out]))
        start += n_out
    return parts


def outputs_of(weights, layers, inputs):
    """Outputs (n_replicas, n_points) of networks with tanh units at inputs (n_points, n_in)."""
    parts = split_weights(weights, layers)
    value = np.broadcast_to(inputs, (len(weights),) + inputs.shape)
    for number, (matrix, bias) in enumerate(parts):
        value = value @ np.swapaxes(matrix, -1, -2)
        value += bias[:, None, :]
        if number < len(parts) - 1:
            np.tanh(value, out=value)
    return value[..., 0]
