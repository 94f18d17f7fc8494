# SPDX-License-Identifier: GPL-3.0-or-later
"""Levenberg-Marquardt steps of many small fits at once.

The cost of a replica is ``|residuals|^2 + prior |weights|^2``. Its step solves the normal
equations, damped in proportion to their diagonal so that strongly and weakly determined weights
both move (Marquardt 1963), and is bent along the valley of the cost by the second derivative in
its direction (geodesic acceleration: Transtrum & Sethna 2012, arXiv:1201.5885). The damping of
every replica follows how well its cost was predicted (Nielsen 1999, report IMM-REP-1999-05).

Jacobians and normal matrices are float32, ten times cheaper than float64 and good enough for a
direction; costs are float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch

#: Damping of the first step, of the diagonal of the normal equations.
_DAMPING_START = 1e-2
#: Least and largest damping.
_DAMPING_LIMITS = (1e-6, 1e8)
#: Factor that the first step of no avail multiplies the damping by; doubled at every further one.
_GROWTH_START = 2.0
#: Smallest factor that a step that was taken multiplies the damping by.
_STRONGEST_SHRINK = 1 / 3
#: Of the largest diagonal, added to all: keeps float32 products positive definite, and weights
#: that hardly anything depends on near where they started, which the spread of replicas is due to.
_ROUNDING = 1e-6
#: Weights that hardly anything depends on are damped as if by this fraction of the most weighty.
_SCALE_FLOOR = 1e-4
#: Fraction of a step over which the second derivative is a difference.
_PROBE = 0.1
#: Half steps beyond which a bend is not to be trusted.
_LARGEST_BEND = 1.5
#: Columns of the panels in which the normal matrix is computed.
_PANEL = 48


class Workspace:
    """Memory of the largest arrays, kept from step to step: fresh pages cost as much as sums.

    Examples
    --------
    >>> import torch
    >>> from hyperspy_zlpml.network.levenberg_marquardt import Workspace
    >>> work, like = Workspace(), torch.zeros(1)
    >>> first = work("jacobian", like, 4, 5)
    >>> again = work("jacobian", like, 2, 3)
    >>> again.data_ptr() == first.data_ptr()
    True
    """

    def __init__(self):
        self._kept = {}

    def __call__(self, name, like, *shape):
        """Give an array of this shape with anything in it, until the name is asked for again."""
        size = math.prod(shape)
        kept = self._kept.get(name)
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
        Half of the second derivatives of the cost; lower triangle, anything above.
    gradient : tensor of shape (n_replicas, n_weights)
        Half of the gradient of the cost.
    scale : tensor of shape (n_replicas, n_weights)
        Factors of the damping.
    residuals_along : callable
        Residuals, shape (n_replicas, n_rows), a given step away from the weights; indexed by
        replicas like the tensors.
    """

    jacobian: torch.Tensor
    residuals: torch.Tensor
    normal: torch.Tensor
    gradient: torch.Tensor
    scale: torch.Tensor
    residuals_along: Callable[[torch.Tensor], torch.Tensor]

    def of(self, index):
        """Take some of the replicas.

        Parameters
        ----------
        index : tensor, index of the replicas

        Returns
        -------
        Linearised
        """
        return Linearised(**{one.name: getattr(self, one.name)[index] for one in fields(self)})


@dataclass(frozen=True)
class Damping:
    """Damping of the steps of every replica, and its growth after a step of no avail.

    Attributes
    ----------
    value : tensor of float64 of shape (n_replicas,)
        Damping of the next step.
    growth : tensor of float64 of shape (n_replicas,)
        Factor of the damping if that step is not taken.
    """

    value: torch.Tensor
    growth: torch.Tensor

    @classmethod
    def start(cls, n_replicas, device="cpu"):
        """Start with the damping of the first step.

        Parameters
        ----------
        n_replicas : int
        device : str or torch.device

        Returns
        -------
        Damping
        """
        one = torch.ones(n_replicas, dtype=torch.float64, device=device)
        return cls(_DAMPING_START * one, _GROWTH_START * one)

    def of(self, index):
        """Take some of the replicas.

        Parameters
        ----------
        index : tensor, index of the replicas

        Returns
        -------
        Damping
        """
        return Damping(self.value[index], self.growth[index])

    def put(self, index, other):
        """Write the damping of some replicas in place.

        Parameters
        ----------
        index : tensor, index of the replicas
        other : Damping
            Of those replicas.
        """
        self.value[index] = other.value
        self.growth[index] = other.growth

    def after(self, agreement, accepted):
        """Adapt the damping to how well the cost was predicted (Nielsen 1999).

        Parameters
        ----------
        agreement : tensor of float64 of shape (n_replicas,)
            Decrease of the cost over the decrease that the linearised fit predicted.
        accepted : tensor of bool of shape (n_replicas,)
            Steps that were taken.

        Returns
        -------
        Damping

        Examples
        --------
        A step that was predicted well shrinks the damping to a third, one that was not taken
        doubles it:

        >>> import torch
        >>> from hyperspy_zlpml.network.levenberg_marquardt import Damping
        >>> first = Damping.start(2)
        >>> agreement = torch.tensor([1.0, -0.5], dtype=torch.float64)
        >>> second = first.after(agreement, accepted=torch.tensor([True, False]))
        >>> [round(factor, 3) for factor in (second.value / first.value).tolist()]
        [0.333, 2.0]
        """
        shrink = (1 - (2 * agreement - 1) ** 3).clamp(_STRONGEST_SHRINK, 2.0)
        value = self.value * torch.where(accepted, shrink, self.growth)
        growth = torch.where(accepted, _GROWTH_START, 2 * self.growth)
        return Damping(value.clamp(*_DAMPING_LIMITS), growth)


def linearised(weights, jacobian, residuals, prior, residuals_along, work=None):
    """Set up the normal equations of fits.

    Parameters
    ----------
    weights : tensor of shape (n_replicas, n_weights)
    jacobian : tensor of shape (n_replicas, n_weights, n_rows)
        Derivatives of the residuals.
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
    return Linearised(
        jacobian=jacobian,
        residuals=residuals,
        normal=normal,
        gradient=gradient,
        scale=scale,
        residuals_along=residuals_along,
    )


def propose(fit, damping, work=None):
    """Solve the damped normal equations for the steps of all fits.

    Parameters
    ----------
    fit : Linearised
    damping : Damping
    work : Workspace, optional

    Returns
    -------
    step : tensor of shape (n_replicas, n_weights)
        Zero where the equations cannot be solved.
    predicted : tensor of float64 of shape (n_replicas,)
        Decrease of the cost of the linearised fit.

    Examples
    --------
    Undamped, one step reaches the minimum of a linear problem, ``(w - 3)**2``:

    >>> import torch
    >>> from hyperspy_zlpml.network.levenberg_marquardt import Damping, linearised, propose
    >>> residuals = torch.tensor([[-3.0]])  # at w = 0
    >>> fit = linearised(
    ...     weights=torch.zeros(1, 1),
    ...     jacobian=torch.ones(1, 1, 1),
    ...     residuals=residuals,
    ...     prior=0.0,
    ...     residuals_along=lambda step: residuals + step,
    ... )
    >>> none = torch.zeros(1, dtype=torch.float64)
    >>> step, predicted = propose(fit, Damping(value=none, growth=none))
    >>> round(step.item(), 3), round(predicted.item(), 3)
    (3.0, 9.0)
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
    predicted = (step * (damped * step - fit.gradient)).double().sum(-1)
    return step + _bend(fit, factor, step), predicted


def _bend(fit, factor, step):
    """Find half of the geodesic acceleration along a step, or zero where it is too long."""
    change = (fit.residuals_along(_PROBE * step) - fit.residuals) / _PROBE
    linear = torch.bmm(step[:, None], fit.jacobian)[:, 0]
    second = 2 / _PROBE * (change - linear)
    bend = -0.5 * _solve(factor, _times(fit.jacobian, second))
    length, longest = (((v**2) * fit.scale).sum(-1) for v in (2 * bend, _LARGEST_BEND * step))
    return torch.where((length < longest)[:, None], bend, 0)


def _solve(factor, right):
    return torch.cholesky_solve(right[..., None], factor)[..., 0]


def _times(jacobian, rows):
    """Multiply the Jacobian by a vector, as a row: batched products are slow for one column."""
    return torch.bmm(rows[:, None], jacobian.mT)[:, 0]


def _lower_product(jacobian, work):
    """Compute the lower triangle of the Jacobian times its transpose; anything above it."""
    n_weights = jacobian.shape[1]
    upper = work("normal", jacobian, *jacobian.shape[:2], n_weights)
    for start in range(0, n_weights, _PANEL):
        rows = jacobian[:, start : start + _PANEL]
        upper[:, start : start + _PANEL, start:] = torch.bmm(rows, jacobian[:, start:].mT)
    return upper.mT
