# SPDX-License-Identifier: GPL-3.0-or-later
"""Levenberg-Marquardt steps of many small fits at once.

The cost of a replica is ``|residuals|^2 + prior |weights|^2``. Its step solves the normal
equations, damped in proportion to their diagonal so that strongly and weakly determined weights
both move (Marquardt 1963), and is bent along the valley of the cost by the second derivative in
its direction (geodesic acceleration: Transtrum & Sethna 2012, arXiv:1201.5885). The damping of
every replica follows how well its fit was foretold (Nielsen 1999, report IMM-REP-1999-05).

Jacobians and normal matrices are float32, ten times cheaper than float64 and good enough for a
direction; costs are float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

_DAMPING_START = 1e-2
_DAMPING_LIMITS = (1e-6, 1e8)
_GROWTH_START = 2.0
_STRONGEST_SHRINK = 1 / 3
#: Of the largest diagonal, added to all: keeps float32 products positive definite, and weights
#: that hardly anything depends on near where they started, which the spread of replicas is due to.
_ROUNDING = 1e-6
#: Weights that hardly anything depends on are damped as if by this fraction of the most weighty.
_SCALE_FLOOR = 1e-4
#: The second derivative is the difference over this part of a step.
_PROBE = 0.1
#: A bend that is longer than this many half steps is not to be trusted.
_LARGEST_BEND = 1.5
#: The normal matrix is computed in panels of so many columns.
_PANEL = 48


class Workspace:
    """Memory of the largest arrays, kept from step to step: fresh pages cost as much as sums."""

    def __init__(self):
        self._kept = {}

    def __call__(self, name, like, *shape):
        """An array of this shape with anything in it, valid until the name is asked for again."""
        size, kept = math.prod(shape), self._kept.get(name)
        if kept is None or len(kept) < size:
            kept = self._kept[name] = like.new_empty(size)
        return kept[:size].view(shape)


@dataclass(frozen=True)
class Linearised:
    """Fits linearised at their weights: all that steps of any damping need.

    Attributes
    ----------
    jacobian : tensor of shape (n_replicas, n_weights, n_rows)
        Derivatives of the residuals.
    residuals : tensor of shape (n_replicas, n_rows)
    normal : tensor of shape (n_replicas, n_weights, n_weights)
        Half of the cost's second derivatives; lower triangle, anything above.
    gradient : tensor of shape (n_replicas, n_weights)
        Half of the cost's.
    scale : tensor of shape (n_replicas, n_weights)
        Which the damping is multiplied by.
    residuals_along : callable
        Residuals, shape (n_replicas, n_rows), a given step away from the weights; indexed by
        replicas like the tensors.
    """

    jacobian: torch.Tensor
    residuals: torch.Tensor
    normal: torch.Tensor
    gradient: torch.Tensor
    scale: torch.Tensor
    residuals_along: Callable

    def of(self, index):
        """The same of some replicas."""
        return Linearised(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Damping:
    """How strongly steps are damped, and by how much more after a failure.

    Attributes
    ----------
    value, growth : tensor of shape (n_replicas,)
    """

    value: torch.Tensor
    growth: torch.Tensor

    @classmethod
    def start(cls, n_replicas, device="cpu"):
        """Damping of the first step."""
        one = torch.ones(n_replicas, dtype=torch.float64, device=device)
        return cls(_DAMPING_START * one, _GROWTH_START * one)

    def of(self, index):
        """The same of some replicas."""
        return Damping(self.value[index], self.growth[index])

    def put(self, index, other):
        """Write that of some replicas."""
        self.value[index], self.growth[index] = other.value, other.growth

    def after(self, gain, accepted):
        """Damping of the next step.

        Parameters
        ----------
        gain : tensor of shape (n_replicas,)
            Decrease of the cost over what the linearised fit foretold.
        accepted : tensor of bool of shape (n_replicas,)
            Which steps were taken.
        """
        shrink = (1 - (2 * gain - 1) ** 3).clamp(_STRONGEST_SHRINK, 2.0)
        value = self.value * torch.where(accepted, shrink, self.growth)
        growth = torch.where(accepted, _GROWTH_START, 2 * self.growth)
        return Damping(value.clamp(*_DAMPING_LIMITS), growth)


def linearised(weights, jacobian, residuals, prior, residuals_along, work=None):
    """Normal equations of fits.

    Parameters
    ----------
    weights : tensor of shape (n_replicas, n_weights)
    jacobian : tensor of shape (n_replicas, n_weights, n_rows)
    residuals : tensor of shape (n_replicas, n_rows)
    prior : float
        Inverse variance of the weights about zero.
    residuals_along : callable
        See :class:`Linearised`.
    work : Workspace, optional

    Returns
    -------
    Linearised
    """
    normal = _lower_product(jacobian, Workspace() if work is None else work)
    diagonal = torch.diagonal(normal, dim1=-2, dim2=-1)
    diagonal += prior
    gradient = _times(jacobian, residuals) + prior * weights
    scale = torch.maximum(diagonal, _SCALE_FLOOR * diagonal.amax(-1, keepdim=True))
    return Linearised(jacobian, residuals, normal, gradient, scale, residuals_along)


def propose(fit, damping, work=None):
    """Steps that the linearised fits ask for.

    Parameters
    ----------
    fit : Linearised
    damping : Damping
    work : Workspace, optional

    Returns
    -------
    step : tensor of shape (n_replicas, n_weights)
        Zero where the equations cannot be solved.
    foretold : tensor of float64 of shape (n_replicas,)
        Decrease of the cost of the linearised fit.
    """
    work = Workspace() if work is None else work
    damped = fit.scale * damping.value.to(fit.scale.dtype)[:, None]
    damped = damped + _ROUNDING * fit.scale.amax(-1, keepdim=True)
    # By columns, as LAPACK has it: else torch makes two more copies.
    normal, factor = (work(name, fit.normal, *fit.normal.shape).mT for name in ("damped", "factor"))
    normal.copy_(fit.normal)
    torch.diagonal(normal, dim1=-2, dim2=-1).add_(damped)
    failed = torch.empty(len(normal), dtype=torch.int32, device=normal.device)
    torch.linalg.cholesky_ex(normal, out=(factor, failed))
    step = -_solve(factor, fit.gradient)
    usable = (failed == 0) & torch.isfinite(step).all(-1)
    step = torch.where(usable[:, None], step, 0)
    foretold = (step * (damped * step - fit.gradient)).double().sum(-1)
    return step + _bend(fit, factor, step), foretold


def _bend(fit, factor, step):
    """Half of the geodesic acceleration along a step, or zero where it is too long."""
    change = (fit.residuals_along(_PROBE * step) - fit.residuals) / _PROBE
    foretold = torch.bmm(step[:, None], fit.jacobian)[:, 0]
    second = 2 / _PROBE * (change - foretold)
    bend = -0.5 * _solve(factor, _times(fit.jacobian, second))
    length, longest = (((v**2) * fit.scale).sum(-1) for v in (2 * bend, _LARGEST_BEND * step))
    return torch.where((length < longest)[:, None], bend, 0)


def _solve(factor, right):
    return torch.cholesky_solve(right[..., None], factor)[..., 0]


def _times(jacobian, rows):
    """Jacobian times a vector of rows, as a row: batched products are slow for a single column."""
    return torch.bmm(rows[:, None], jacobian.mT)[:, 0]


def _lower_product(jacobian, work):
    """Lower triangle of the Jacobian times its transpose, in panels; anything above it."""
    n_replicas, n_weights, _ = jacobian.shape
    upper = work("normal", jacobian, n_replicas, n_weights, n_weights)
    for start in range(0, n_weights, _PANEL):
        rows = jacobian[:, start : start + _PANEL]
        upper[:, start : start + _PANEL, start:] = torch.bmm(rows, jacobian[:, start:].mT)
    return upper.mT
