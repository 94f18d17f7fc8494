# SPDX-License-Identifier: GPL-3.0-or-later
"""Residuals of a block of replicas, their derivatives and costs.

Every replica has points of its own, gathered and filled up to a common number by points of no
weight: those that it is trained on, the far points, the tails, and last the points held out,
which only the costs look at.
"""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import torch

from hyperspy_zlpml.network import levenberg_marquardt as lm
from hyperspy_zlpml.network import mlp

#: Inverse variance of the weights about zero.
PRIOR = 1.0
#: A tail that rises by this much in ln(counts) between two points counts as one sigma.
RISE_SIGMA = 0.01
#: ln(ratio) far out is zero within this.
FAR_SIGMA = 0.3
#: Log-ratios beyond this, up or down, count as this.
_LARGEST_LOG_RATIO = 5.0
#: Rows are filled up to a multiple of this, for aligned loads.
_ALIGNED = 16
#: What all replicas of a fit have in common.
_COMMON = ("layers", "activation", "prior", "tail_shape")


@dataclass(frozen=True)
class Fit:
    """Residuals and their derivatives for a block of replicas.

    Attributes
    ----------
    layers : tuple of int
        Layer sizes, from input to output.
    activation : str
        Name of the function of the hidden units.
    prior : float
        Inverse variance of the weights about zero.
    tail_shape : tuple of int
        (n_lines, n_steps) of the tails.
    inputs : tensor of shape (n_replicas, n_points, n_in)
        Points trained on, far points, tails, points held out.
    ratios, weight : tensor of shape (n_replicas, n_trained)
        Pseudo-data and their inverse standard deviations.
    held_ratios, held_weight : tensor of shape (n_replicas, n_held_out)
        Those of the points held out.
    reference_step : tensor of shape (n_replicas, n_lines * (n_steps - 1))
        Steps of the logarithm of the reference outward along the tails.
    """

    layers: tuple[int, ...]
    activation: str
    prior: float
    tail_shape: tuple[int, int]
    inputs: torch.Tensor
    ratios: torch.Tensor
    weight: torch.Tensor
    held_ratios: torch.Tensor
    held_weight: torch.Tensor
    reference_step: torch.Tensor

    @classmethod
    def build(cls, data, held_out, layers, device="cpu", *, activation="tanh", prior=PRIOR):
        """Build the fits of all replicas of the data.

        Parameters
        ----------
        data : TrainingData
        held_out : ndarray of bool of shape (n_replicas, n_points)
            Points for validation.
        layers : sequence of int
            Layer sizes, from input to output.
        device : str
            Device of torch.
        activation : str
            Name of the function of the hidden units.
        prior : float
            Inverse variance of the weights about zero.

        Returns
        -------
        Fit
        """
        n_lines, n_steps, n_in = data.tail_inputs.shape
        trained, ratios, weight = _gathered(data, data.used & ~held_out, len(data.far_inputs))
        held, held_ratios, held_weight = _gathered(data, data.used & held_out)
        common = np.concatenate([data.far_inputs, data.tail_inputs.reshape(-1, n_in)])
        common = np.broadcast_to(common, (len(data.ratios),) + common.shape)
        inputs = np.concatenate([trained, common, held], axis=1)
        steps = np.diff(data.tail_reference, axis=-1).reshape(len(data.ratios), -1)

        def tensor(array):
            return torch.as_tensor(array, dtype=torch.float32, device=device)

        return cls(
            layers=tuple(layers),
            activation=activation,
            prior=prior,
            tail_shape=(n_lines, n_steps),
            inputs=tensor(inputs).mT.contiguous().mT,
            ratios=tensor(ratios),
            weight=tensor(weight),
            held_ratios=tensor(held_ratios),
            held_weight=tensor(held_weight),
            reference_step=tensor(steps),
        )

    def of(self, index):
        """Take some of the replicas.

        Parameters
        ----------
        index : tensor, index of the replicas

        Returns
        -------
        Fit
        """
        tensors = {
            field.name: getattr(self, field.name)[index]
            for field in fields(self)
            if field.name not in _COMMON
        }
        return replace(self, **tensors)

    def linearise(self, weights, work=None):
        """Set up the normal equations at these weights.

        Tails enter only where they rise, which most never do.

        Parameters
        ----------
        weights : tensor of shape (n_replicas, n_weights)
        work : Workspace, optional

        Returns
        -------
        Linearised
        """
        outputs, activations = self._outputs(weights, self._seen)
        rows = self._rows(outputs)
        rising = rows.steps > 0
        chosen = _rising_first(rising)
        far_scale = torch.full_like(rows.far, 1 / FAR_SIGMA)
        scale = torch.cat([rows.log_ratio.exp() * self.weight, far_scale], 1)
        n = scale.shape[1]
        n_tail = chosen.shape[1]
        work = lm.Workspace() if work is None else work
        jacobian = work("jacobian", weights, *weights.shape, n + n_tail)
        first = [values[..., :n] for values in activations]
        self._jacobian(weights, first, scale, out=jacobian[..., :n])
        if n_tail:
            jacobian[..., n:] = self._tail_jacobian(weights, activations, rising, chosen)
        return lm.linearised(
            weights=weights,
            jacobian=jacobian,
            residuals=self._residuals(outputs, chosen),
            prior=self.prior,
            residuals_along=_Along(self, weights, chosen),
            work=work,
        )

    def costs(self, weights):
        """Compute the cost that is minimised, and the mean squared residuals.

        Parameters
        ----------
        weights : tensor of shape (n_replicas, n_weights)

        Returns
        -------
        cost, chi2, chi2_validation : tensor of float64 of shape (n_replicas,)
            The cost is infinite where it is no number.
        """
        outputs, _ = self._outputs(weights, self.inputs)
        rows = self._rows(outputs)

        def total(values):
            return (values**2).double().sum(-1)

        train = total((self.ratios - rows.log_ratio.exp()) * self.weight)
        validation = total((self.held_ratios - rows.held.exp()) * self.held_weight)
        cost = train + total(rows.steps.clamp(min=0) / RISE_SIGMA) + total(rows.far / FAR_SIGMA)
        cost = cost + self.prior * total(weights)
        cost = torch.where(torch.isfinite(cost), cost, torch.inf)
        n_train = (self.weight > 0).sum(-1).clamp(min=1)
        n_held = (self.held_weight > 0).sum(-1).clamp(min=1)
        return cost, train / n_train, validation / n_held

    def largest_rise(self, weights):
        """Find the largest step of ln(ZLP) outward along the tails.

        Parameters
        ----------
        weights : tensor of shape (n_replicas, n_weights)

        Returns
        -------
        tensor of shape (n_replicas,)
        """
        outputs, _ = self._outputs(weights, self._seen)
        steps = self._rows(outputs).steps
        return steps.amax(-1) if steps.numel() else weights.new_zeros(len(weights))

    def _outputs(self, weights, inputs):
        """Compute outputs and activations of the networks."""
        return mlp.forward(weights, self.layers, inputs, self.activation)

    def _jacobian(self, weights, activations, scale, out=None):
        """Compute the derivatives of scaled outputs."""
        return mlp.jacobian(
            weights, self.layers, activations, scale=scale, out=out, activation=self.activation
        )

    @property
    def _seen(self):
        """Inputs but those of the points held out."""
        return self.inputs[:, : self.inputs.shape[1] - self.held_ratios.shape[1]]

    def _rows(self, outputs):
        """Split outputs into the rows of each kind; those held out may be missing."""
        n = self.ratios.shape[1]
        n_held = self.held_ratios.shape[1]
        n_tail = self.tail_shape[0] * self.tail_shape[1]
        n_far = self.inputs.shape[1] - n - n_held - n_tail
        rest = outputs.shape[1] - n - n_far - n_tail
        trained, far, tail, held = outputs.split([n, n_far, n_tail, rest], dim=1)
        steps = tail.unflatten(1, self.tail_shape).diff(dim=-1).flatten(1) + self.reference_step
        limits = -_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO
        return _Rows(trained.clamp(*limits), far, steps, held.clamp(*limits))

    def _residuals(self, outputs, chosen):
        """Compute weighted residuals: trained, far, chosen steps of the tails."""
        rows = self._rows(outputs)
        rises = rows.steps.gather(1, chosen).clamp(min=0) / RISE_SIGMA
        data = (rows.log_ratio.exp() - self.ratios) * self.weight
        return torch.cat([data, rows.far / FAR_SIGMA, rises], dim=1)

    def _tail_jacobian(self, weights, activations, rising, chosen):
        """Compute derivatives of the chosen steps, shape (n_replicas, n_weights, n_chosen)."""
        n_lines, n_points = self.tail_shape
        inner = chosen // (n_points - 1) * n_points + chosen % (n_points - 1)
        inner = inner + self._seen.shape[1] - n_lines * n_points
        ends = torch.cat([inner, inner + 1], dim=1)
        at_ends = [
            values.gather(2, ends[:, None].expand(-1, values.shape[1], -1))
            for values in activations
        ]
        scale = (rising.gather(1, chosen) / RISE_SIGMA).to(weights.dtype).repeat(1, 2)
        inside, outside = self._jacobian(weights, at_ends, scale).chunk(2, dim=-1)
        return outside - inside


class _Rows(NamedTuple):
    """Outputs of all replicas by the kind of row, each of shape (n_replicas, n_rows)."""

    log_ratio: torch.Tensor
    far: torch.Tensor
    steps: torch.Tensor
    held: torch.Tensor


@dataclass(frozen=True)
class _Along:
    """Residuals a step away from the weights; indexed by replicas."""

    fit: Fit
    weights: torch.Tensor
    chosen: torch.Tensor

    def __call__(self, step):
        outputs, _ = self.fit._outputs(self.weights + step, self.fit._seen)
        return self.fit._residuals(outputs, self.chosen)

    def __getitem__(self, index):
        return _Along(self.fit.of(index), self.weights[index], self.chosen[index])


def _rising_first(rising):
    """Order the steps of the tails so that all that rise come first, and cut the rest.

    Some that do not rise are left in most replicas; they do no harm, for their rows are zero.
    """
    order = rising.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    return order[:, : int(rising.sum(1).max()) if rising.numel() else 0]


def _gathered(data, chosen, n_more=0):
    """Gather inputs, ratios and inverse standard deviations of each replica's chosen points.

    Filled up with points of no weight to a common number, which together with ``n_more`` other
    rows is a multiple of what loads best.
    """
    most = int(chosen.sum(1).max())
    most += -(most + n_more) % _ALIGNED
    order = np.argsort(~chosen, axis=1, kind="stable")
    order = np.pad(order, ((0, 0), (0, max(most - order.shape[1], 0))))[:, :most]
    real = np.arange(most) < chosen.sum(1)[:, None]
    ratios = np.where(real, np.take_along_axis(data.ratios, order, axis=1), 1.0)
    weight = np.where(real, 1 / np.take_along_axis(data.sigma, order, axis=1), 0.0)
    return data.inputs[order], ratios, weight
