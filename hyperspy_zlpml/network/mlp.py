# SPDX-License-Identifier: GPL-3.0-or-later
"""Feed-forward networks, all replicas in one tensor.

The weights of a replica are one vector: for each layer the matrix (outputs, inputs), row by row,
then the biases. The last layer is linear.
"""

import numpy as np
import torch

from hyperspy_zlpml.network.weights import split_weights

#: Functions of hidden units by their names, as :data:`~.weights.ACTIVATIONS` has them for NumPy.
_FUNCTIONS = {
    "tanh": torch.tanh,
    "logistic": torch.sigmoid,
    "softsign": torch.nn.functional.softsign,
}
#: Their derivatives, as functions of their own values.
_DERIVATIVES = {
    "tanh": lambda value: 1 - value**2,
    "logistic": lambda value: value * (1 - value),
    "softsign": lambda value: (1 - value.abs()) ** 2,
}


def n_weights(layers):
    """Count the weights and biases of one network.

    Parameters
    ----------
    layers : sequence of int
        Layer sizes, from input to output.

    Returns
    -------
    int

    Examples
    --------
    The networks of Roest et al., Ultramicroscopy 222, 113202 (2021):

    >>> from hyperspy_zlpml.network.mlp import n_weights
    >>> n_weights((2, 10, 15, 5, 1))
    281
    """
    return sum((n_in + 1) * n_out for n_in, n_out in zip(layers[:-1], layers[1:], strict=True))


def initial_weights(layers, n_replicas, rng):
    """Draw random weights: normal with variance 1/inputs, the last layer small.

    A small last layer starts every network near zero: at the reference shape.

    Parameters
    ----------
    layers : sequence of int
        Layer sizes, from input to output.
    n_replicas : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n_replicas, n_weights)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.network.mlp import initial_weights
    >>> from hyperspy_zlpml.network.weights import outputs_of
    >>> layers = (2, 10, 15, 5, 1)
    >>> weights = initial_weights(layers, n_replicas=100, rng=np.random.default_rng(0))
    >>> outputs = outputs_of(weights, layers, np.array([[0.0, 0.0], [1.0, -1.0]]))
    >>> bool(0 < np.abs(outputs).max() < 0.3)
    True
    """
    drawn = []
    last = len(layers) - 2
    for number, (n_in, n_out) in enumerate(zip(layers[:-1], layers[1:], strict=True)):
        size = 0.1 if number == last else 1.0
        matrix = rng.standard_normal((n_replicas, n_out * n_in)) * size / np.sqrt(n_in)
        bias = rng.standard_normal((n_replicas, n_out)) * (0.5 if number < last else 0.0)
        drawn += [matrix, bias]
    return np.concatenate(drawn, axis=1)


def forward(weights, layers, inputs, activation="tanh"):
    """Compute the outputs of all networks, and the activations on the way.

    Parameters
    ----------
    weights : tensor of shape (n_replicas, n_weights)
    layers : sequence of int
        Sizes from input to output; the last is 1.
    inputs : tensor of shape (n_points, n_in) or (n_replicas, n_points, n_in)
    activation : str
        Name of the function of the hidden units.

    Returns
    -------
    outputs : tensor of shape (n_replicas, n_points)
    activations : list of tensors (n_replicas, n_units, n_points), the inputs first
        Points last: long rows, for each unit and, in the Jacobian, for each weight.

    Examples
    --------
    Two networks without hidden units are straight lines, ``3 x + 1`` and ``-x``:

    >>> import torch
    >>> from hyperspy_zlpml.network.mlp import forward
    >>> weights = torch.tensor([[3.0, 1.0], [-1.0, 0.0]])
    >>> outputs, _ = forward(weights, layers=(1, 1), inputs=torch.tensor([[0.0], [2.0]]))
    >>> outputs.tolist()
    [[1.0, 7.0], [0.0, -2.0]]
    """
    value = inputs.mT.expand(len(weights), *inputs.mT.shape[-2:])
    activations = [value]
    split = split_weights(weights, layers)
    for number, (matrix, bias) in enumerate(split):
        value = torch.baddbmm(bias[..., None], matrix, value)
        if number < len(split) - 1:
            value = _FUNCTIONS[activation](value)
            activations.append(value)
    return value[:, 0], activations


def jacobian(weights, layers, activations, scale=None, out=None, activation="tanh"):
    """Compute the derivatives of the outputs with respect to the weights, by backpropagation.

    Parameters
    ----------
    weights : tensor of shape (n_replicas, n_weights)
    layers : sequence of int
    activations : list of tensors (n_replicas, n_units, n_points)
        Activations that :func:`forward` returns.
    scale : tensor of shape (n_replicas, n_points), optional
        Factor of each output.
    out : tensor of shape (n_replicas, n_weights, n_points), optional
        Tensor to write into.
    activation : str
        Name of the function of the hidden units.

    Returns
    -------
    tensor of shape (n_replicas, n_weights, n_points)

    Examples
    --------
    Of ``w x + b`` they are ``x`` and 1:

    >>> import torch
    >>> from hyperspy_zlpml.network.mlp import forward, jacobian
    >>> weights = torch.tensor([[3.0, 1.0]])
    >>> _, activations = forward(weights, (1, 1), torch.tensor([[0.0], [2.0]]))
    >>> jacobian(weights, (1, 1), activations).tolist()
    [[[0.0, 2.0], [1.0, 1.0]]]
    """
    split = split_weights(weights, layers)
    n_replicas, _, n_points = activations[0].shape
    if out is None:
        out = weights.new_empty(n_replicas, weights.shape[1], n_points)
    if scale is None:
        scale = weights.new_ones(n_replicas, n_points)
    delta = scale[:, None]
    stop = weights.shape[1]
    for number in range(len(split) - 1, -1, -1):
        n_out, n_in = split[number][0].shape[1:]
        start = stop - n_out - n_out * n_in
        out[:, stop - n_out : stop] = delta
        block = out[:, start : stop - n_out].unflatten(1, (n_out, n_in))
        torch.mul(delta[:, :, None], activations[number][:, None], out=block)
        stop = start
        if number:
            slope = _DERIVATIVES[activation](activations[number])
            delta = torch.bmm(split[number][0].mT, delta) * slope
    return out
