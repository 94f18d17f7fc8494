# SPDX-License-Identifier: GPL-3.0-or-later
"""Residuals of a block of replicas, their derivatives and costs.

Every replica has points of its own, gathered and filled up to a common number by points of no
weight: those that it is trained on, the far points, the tails, and last the points held out,
which only the costs look at.
"""

from dataclasses import dataclass, fields, replace

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
_LARGEST_LOG_RATIO = 5.0
#: Rows are filled up to a multiple of this, for aligned loads.
_ALIGNED = 16


@dataclass(frozen=True)
class Fit:
    """Residuals and their derivatives for a block of replicas.

    Attributes
    ----------
    layers : tuple of int
    tail_shape : tuple of int
        (n_lines, n_steps) of the tails.
    inputs : tensor of shape (n_replicas, n_points, n_in)
        Trained on, far, tails, held out.
    ratios, weight : tensor of shape (n_replicas, n_trained)
        Pseudo-data and their inverse standard deviations.
    held_ratios, held_weight : tensor of shape (n_replicas, n_held_out)
    reference_step : tensor of shape (n_replicas, n_lines * (n_steps - 1))
        Steps of the logarithm of the reference outward along the tails.
    """

    layers: tuple
    tail_shape: tuple
    inputs: torch.Tensor
    ratios: torch.Tensor
    weight: torch.Tensor
    held_ratios: torch.Tensor
    held_weight: torch.Tensor
    reference_step: torch.Tensor

    @classmethod
    def build(cls, data, held_out, layers, device="cpu"):
        """Fits of all replicas of the data.

        Parameters
        ----------
        data : TrainingData
        held_out : ndarray of bool of shape (n_replicas, n_points)
        layers : sequence of int
        device : str
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

        inputs = tensor(inputs).mT.contiguous().mT
        arrays = (ratios, weight, held_ratios, held_weight, steps)
        return cls(tuple(layers), (n_lines, n_steps), inputs, *map(tensor, arrays))

    def of(self, index):
        """The same of some replicas."""
        tensors = {
            field.name: getattr(self, field.name)[index]
            for field in fields(self)
            if field.name not in ("layers", "tail_shape")
        }
        return replace(self, **tensors)

    def linearise(self, weights, work=None):
        """Normal equations at these weights, shape (n_replicas, n_weights).

        Tails enter only where they rise, which most never do.

        Returns
        -------
        Linearised
        """
        outputs, activations = mlp.forward(weights, self.layers, self._seen)
        log_ratio, far, steps, _ = self._rows(outputs)
        rising = steps > 0
        # Those that rise first; the others do no harm, for their rows are zero.
        chosen = rising.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
        chosen = chosen[:, : int(rising.sum(1).max()) if rising.numel() else 0]
        scale = torch.cat([log_ratio.exp() * self.weight, torch.full_like(far, 1 / FAR_SIGMA)], 1)
        n, n_tail = scale.shape[1], chosen.shape[1]
        work = lm.Workspace() if work is None else work
        jacobian = work("jacobian", weights, *weights.shape, n + n_tail)
        first = [values[..., :n] for values in activations]
        mlp.jacobian(weights, self.layers, first, scale, out=jacobian[..., :n])
        if n_tail:
            jacobian[..., n:] = self._tail_jacobian(weights, activations, rising, chosen)
        residuals, along = self._residuals(outputs, chosen), _Along(self, weights, chosen)
        return lm.linearised(weights, jacobian, residuals, PRIOR, along, work)

    def costs(self, weights):
        """Cost that is minimised, and both chi2, each of shape (n_replicas,)."""
        outputs, _ = mlp.forward(weights, self.layers, self.inputs)
        log_ratio, far, steps, held = self._rows(outputs)

        def total(values):
            return (values**2).double().sum(-1)

        train = total((self.ratios - log_ratio.exp()) * self.weight)
        validation = total((self.held_ratios - held.exp()) * self.held_weight)
        cost = train + total(steps.clamp(min=0) / RISE_SIGMA) + total(far / FAR_SIGMA)
        cost = cost + PRIOR * total(weights)
        cost = torch.where(torch.isfinite(cost), cost, torch.inf)
        n_train = (self.weight > 0).sum(-1).clamp(min=1)
        n_held = (self.held_weight > 0).sum(-1).clamp(min=1)
        return cost, train / n_train, validation / n_held

    def largest_rise(self, weights):
        """Largest step of ln(ZLP) outward along the tails, shape (n_replicas,)."""
        outputs, _ = mlp.forward(weights, self.layers, self._seen)
        steps = self._rows(outputs)[2]
        return steps.amax(-1) if steps.numel() else weights.new_zeros(len(weights))

    @property
    def _seen(self):
        """Inputs but those of the points held out."""
        return self.inputs[:, : self.inputs.shape[1] - self.held_ratios.shape[1]]

    def _rows(self, outputs):
        """Log-ratios trained on, far log-ratios, steps of ln(ZLP) along the tails, the rest."""
        n, n_held = self.ratios.shape[1], self.held_ratios.shape[1]
        n_tail = self.tail_shape[0] * self.tail_shape[1]
        n_far = self.inputs.shape[1] - n - n_held - n_tail
        rest = outputs.shape[1] - n - n_far - n_tail
        trained, far, tail, held = outputs.split([n, n_far, n_tail, rest], dim=1)
        steps = tail.unflatten(1, self.tail_shape).diff(dim=-1).flatten(1) + self.reference_step
        limits = -_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO
        return trained.clamp(*limits), far, steps, held.clamp(*limits)

    def _residuals(self, outputs, chosen):
        """Weighted residuals: trained, far, chosen steps of the tails."""
        log_ratio, far, steps, _ = self._rows(outputs)
        rises = steps.gather(1, chosen).clamp(min=0) / RISE_SIGMA
        data = (log_ratio.exp() - self.ratios) * self.weight
        return torch.cat([data, far / FAR_SIGMA, rises], dim=1)

    def _tail_jacobian(self, weights, activations, rising, chosen):
        """Derivatives of the chosen steps, shape (n_replicas, n_weights, n_chosen)."""
        n_lines, n_points = self.tail_shape
        inner = chosen // (n_points - 1) * n_points + chosen % (n_points - 1)
        inner = inner + self._seen.shape[1] - n_lines * n_points
        ends = torch.cat([inner, inner + 1], dim=1)
        at_ends = [
            values.gather(2, ends[:, None].expand(-1, values.shape[1], -1))
            for values in activations
        ]
        scale = (rising.gather(1, chosen) / RISE_SIGMA).to(weights.dtype).repeat(1, 2)
        inside, outside = mlp.jacobian(weights, self.layers, at_ends, scale).chunk(2, dim=-1)
        return outside - inside


@dataclass(frozen=True)
class _Along:
    """Residuals a step away from the weights; indexed by replicas."""

    fit: Fit
    weights: torch.Tensor
    chosen: torch.Tensor

    def __call__(self, step):
        outputs, _ = mlp.forward(self.weights + step, self.fit.layers, self.fit._seen)
        return self.fit._residuals(outputs, self.chosen)

    def __getitem__(self, index):
        return _Along(self.fit.of(index), self.weights[index], self.chosen[index])


def _gathered(data, chosen, n_more=0):
    """Inputs, ratios and inverse standard deviations of each replica's chosen points.

    Filled up with points of no weight to a common number, which together with ``n_more`` other
    rows is a multiple of what loads best.
    """
    most = int(chosen.sum(1).max())
    most += -(most + n_more) % _ALIGNED
    order = np.argsort(~chosen, axis=1, kind="stable")
    order = np.pad(order, ((0, 0), (0, max(most - order.shape[1], 0))))[:, :most]
    real = np.arange(most) < chosen.sum(1)[:, None]
    ratios = np.where(real, np.take_along_axis(data.ratios, order, axis=1), 1.0)
    return data.inputs[order], ratios, np.where(real, 1 / data.sigma[order], 0.0)
