# SPDX-License-Identifier: GPL-3.0-or-later
"""One Levenberg-Marquardt step of many small fits at once.

Every replica has its own damping: divided after a step that lowers the cost, multiplied (and the
step taken back) after one that does not. The normal matrices are products of float32 Jacobians,
ten times cheaper than their exact sum and good enough for a direction; costs are float64.
"""

import torch

_DAMPING_START = 1.0
_DAMPING_LIMITS = (1e-6, 1e8)
_SHRINK, _GROW = 0.3, 4.0


def start_damping(n_replicas):
    """Damping of the first step, shape (n_replicas,)."""
    return torch.full((n_replicas,), _DAMPING_START, dtype=torch.float64)


def propose(weights, jacobian, residuals, prior, damping):
    """New weights that the linearised fit asks for.

    Parameters
    ----------
    weights : tensor of shape (n_replicas, n_weights)
    jacobian : tensor of shape (n_replicas, n_rows, n_weights)
        Derivatives of the weighted residuals.
    residuals : tensor of shape (n_replicas, n_rows)
    prior : float
        Inverse variance of the weights about zero.
    damping : tensor of shape (n_replicas,)

    Returns
    -------
    tensor of shape (n_replicas, n_weights)
    """
    normal = torch.bmm(jacobian.mT, jacobian)
    gradient = torch.bmm(jacobian.mT, residuals.to(jacobian.dtype)[..., None])[..., 0]
    gradient = gradient + prior * weights.to(jacobian.dtype)
    diagonal = torch.diagonal(normal, dim1=-2, dim2=-1)
    # float32 products: keep the matrix positive definite whatever their rounding.
    rounding = 1e-6 * diagonal.amax(-1)
    diagonal += (prior + damping.to(normal.dtype) + rounding)[:, None]
    factor, failed = torch.linalg.cholesky_ex(normal)
    step = torch.cholesky_solve(gradient[..., None], factor)[..., 0]
    usable = (failed == 0) & torch.isfinite(step).all(-1)
    return weights - torch.where(usable[:, None], step, torch.zeros_like(step)).to(weights.dtype)


def accept(old, new, old_cost, new_cost, damping):
    """Keep the better of both for every replica.

    Returns
    -------
    weights, cost, damping, accepted
    """
    accepted = new_cost < old_cost
    weights = torch.where(accepted[:, None], new, old)
    cost = torch.where(accepted, new_cost, old_cost)
    damping = torch.where(accepted, damping * _SHRINK, damping * _GROW).clamp(*_DAMPING_LIMITS)
    return weights, cost, damping, accepted
