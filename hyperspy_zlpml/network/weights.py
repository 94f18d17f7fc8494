# SPDX-License-Identifier: GPL-3.0-or-later
"""Layout of the weights of many networks in one array, and their outputs: NumPy alone."""

import numpy as np
from scipy.special import expit


def softsign(values, out=None):
    """Compute ``x / (1 + |x|)``, which approaches 1 more slowly than ``tanh``.

    Parameters
    ----------
    values : ndarray
    out : ndarray, optional
        Written to.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.network.weights import softsign
    >>> softsign(np.array([-1.0, 0.0, 3.0]))
    array([-0.5 ,  0.  ,  0.75])
    """
    return np.divide(values, 1 + np.abs(values), out=out)


#: Functions of hidden units by their names, increasing and bounded: from -1, or 0 (logistic), to 1.
ACTIVATIONS = {"tanh": np.tanh, "logistic": expit, "softsign": softsign}


def split_weights(weights, layers):
    """Split the weights of networks into matrices and biases, as views.

    Parameters
    ----------
    weights : ndarray or tensor of shape (n_replicas, n_weights)
        Layer by layer the matrix, row by row, then the biases.
    layers : sequence of int
        Layer sizes, from input to output.

    Returns
    -------
    list of tuple
        For every layer the matrices, of shape (n_replicas, n_out, n_in), and the biases, of shape
        (n_replicas, n_out).

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.network.weights import split_weights
    >>> hidden, last = split_weights(np.arange(13)[None], layers=(2, 3, 1))
    >>> hidden[0][0]
    array([[0, 1],
           [2, 3],
           [4, 5]])
    >>> hidden[1][0], last[0][0], last[1][0]
    (array([6, 7, 8]), array([[ 9, 10, 11]]), array([12]))
    """
    start = 0
    split = []
    for n_in, n_out in zip(layers[:-1], layers[1:], strict=True):
        matrix = weights[:, start : start + n_out * n_in].reshape(-1, n_out, n_in)
        start += n_out * n_in
        split.append((matrix, weights[:, start : start + n_out]))
        start += n_out
    return split


def outputs_of(weights, layers, inputs, activation="tanh"):
    """Compute the outputs of networks with a linear last layer.

    Parameters
    ----------
    weights : ndarray of shape (n_replicas, n_weights)
    layers : sequence of int
        Layer sizes, from input to output; the last is 1.
    inputs : ndarray of shape (n_points, n_in)
    activation : str
        Name of the function of the hidden units, of ``ACTIVATIONS``.

    Returns
    -------
    ndarray of shape (n_replicas, n_points)

    Examples
    --------
    One network, ``2 tanh(x) + 0.5``:

    >>> import numpy as np
    >>> from hyperspy_zlpml.network.weights import outputs_of
    >>> weights = np.array([[1.0, 0.0, 2.0, 0.5]])
    >>> outputs_of(weights, layers=(1, 1, 1), inputs=np.array([[0.0], [1e3]]))
    array([[0.5, 2.5]])
    """
    function = ACTIVATIONS[activation]
    split = split_weights(weights, layers)
    value = np.broadcast_to(inputs, (len(weights),) + inputs.shape)
    for number, (matrix, bias) in enumerate(split):
        value = value @ np.swapaxes(matrix, -1, -2)
        value += bias[:, None, :]
        if number < len(split) - 1:
            function(value, out=value)
    return value[..., 0]
