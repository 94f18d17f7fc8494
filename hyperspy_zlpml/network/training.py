# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the ensemble: all replicas at once, stopped by look-back cross-validation.

A network ``f`` is the logarithm of the ratio of the peak to the reference; it is fitted to the
measured ratios themselves, ``chi2 = mean(((ratio - exp(f)) / sigma)**2)``, so counts may be zero
or negative. Two kinds of rows are added: the tails may not rise where nothing is measured, and
far out ``f`` is drawn to zero. A fifth of the points of every replica is never trained on; the
weights kept are those of the smallest misfit there (Roest 2021, section 3.3).
"""

import contextlib
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from hyperspy_zlpml.network import levenberg_marquardt as lm
from hyperspy_zlpml.network import mlp

#: Layer sizes of the published networks.
LAYERS = (2, 10, 15, 5, 1)
#: Inverse variance of the weights about zero.
_PRIOR = 1.0
#: A tail that rises by this much in ln(counts) between two points counts as one sigma.
_RISE_SIGMA = 0.01
#: ln(ratio) far out is zero within this.
_FAR_SIGMA = 0.3
_REPLICAS_AT_ONCE = 25
_LARGEST_LOG_RATIO = 5.0
#: A replica has converged when its cost fell by less than this fraction in so many steps.
_CONVERGED, _CONVERGED_STEPS = 0.02, 8
#: Neither rule stops a replica before this: the first steps look for the right damping.
_FIRST_STEPS = 25


@dataclass(frozen=True)
class TrainingData:
    """What the replicas are trained on; replica axis first.

    Attributes
    ----------
    inputs : ndarray of shape (n_points, n_in)
        Scaled inputs, the same for all replicas.
    ratios : ndarray of shape (n_replicas, n_points)
        Pseudo-data: counts over reference.
    sigma : ndarray of shape (n_points,)
    used : ndarray of bool of shape (n_replicas, n_points)
        Points in the replica's region I.
    tail_inputs : ndarray of shape (n_lines, n_steps, n_in)
        Lines along the energy on which the peak must fall outward.
    tail_reference : ndarray of shape (n_replicas, n_lines, n_steps)
        Logarithm of each replica's reference there.
    far_inputs : ndarray of shape (n_far, n_in)
        Points at which the log-ratio is drawn to zero.
    """

    inputs: np.ndarray
    ratios: np.ndarray
    sigma: np.ndarray
    used: np.ndarray
    tail_inputs: np.ndarray
    tail_reference: np.ndarray
    far_inputs: np.ndarray


@dataclass(frozen=True)
class Trained:
    """Weights kept by look-back stopping, and how well they fit.

    Attributes
    ----------
    weights : ndarray of shape (n_replicas, n_weights)
    chi2, chi2_validation : ndarray of shape (n_replicas,)
        Mean squared residual on training and validation points.
    rise : ndarray of shape (n_replicas,)
        Largest rise of ln(ZLP) outward along the tails.
    steps : ndarray of int of shape (n_replicas,)
        Step at which the kept weights were reached.
    """

    weights: np.ndarray
    chi2: np.ndarray
    chi2_validation: np.ndarray
    rise: np.ndarray
    steps: np.ndarray


def train(
    data, layers=LAYERS, n_steps=100, validation_fraction=0.2, patience=15, rng=None, progress=None
):
    """Train one network per replica.

    Parameters
    ----------
    data : TrainingData
    layers : sequence of int
        Layer sizes; the first is the number of inputs, the last 1.
    n_steps : int
        Most Levenberg-Marquardt steps.
    validation_fraction : float
        Fraction of the points held out in each replica.
    patience : int
        A replica stops after this many steps without a better validation cost, or earlier when
        its cost hardly falls any more.
    rng : numpy.random.Generator
    progress : callable, optional
        Called with (steps done, of steps, median chi2).

    Returns
    -------
    Trained
    """
    n_replicas = len(data.ratios)
    weights = mlp.initial_weights(layers, n_replicas, rng)
    held_out = rng.random(data.used.shape) < validation_fraction
    starts = range(0, n_replicas, _REPLICAS_AT_ONCE)
    report = _Progress(progress, len(starts), n_steps)

    def train_from(start):
        block = slice(start, start + _REPLICAS_AT_ONCE)
        fit = _Fit(data, block, held_out[block], layers)
        return _train_block(fit, weights[block], n_steps, patience, report.of(start))

    with _one_thread_each(), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        blocks = list(pool.map(train_from, starts))
    return Trained(*(np.concatenate(column) for column in zip(*blocks, strict=True)))


@contextlib.contextmanager
def _one_thread_each():
    """Blocks of replicas run side by side, each on one thread of torch.

    The numbers then depend neither on how many cores there are nor on what else they do, and
    threads of one small product do not wait for each other.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Progress:
    """Progress of all blocks together, told from whichever thread."""

    def __init__(self, callback, n_blocks, n_steps):
        self._callback, self._total = callback, n_blocks * n_steps
        self._done, self._lock = {}, threading.Lock()

    def of(self, block):
        """The function that one block reports its steps to."""

        def report(step, chi2):
            if self._callback is None:
                return
            with self._lock:
                self._done[block] = step
                self._callback(sum(self._done.values()), self._total, chi2)

        return report


def _train_block(fit, weights, n_steps, patience, report):
    torch.set_num_threads(1)  # holds for the thread that calls it
    weights = torch.as_tensor(weights, dtype=torch.float32)
    damping = lm.start_damping(len(weights))
    cost, *_ = fit.costs(weights)
    best = _Best(weights, *fit.chi2(weights))
    active = torch.arange(len(weights))
    earlier = deque([cost.clone()], maxlen=_CONVERGED_STEPS)
    for step in range(1, n_steps + 1):
        jacobian, residuals = fit.linearise(weights[active], active)
        proposed = lm.propose(weights[active], jacobian, residuals, fit.prior, damping[active])
        new_cost, train, validation = fit.costs(proposed, active)
        kept = lm.accept(weights[active], proposed, cost[active], new_cost, damping[active])
        weights[active], cost[active], damping[active], accepted = kept
        best.update(
            active[accepted], proposed[accepted], train[accepted], validation[accepted], step
        )
        report(step, float(best.train.nanmedian()))
        fresh = (step - best.step < patience) | (step < _FIRST_STEPS)
        improving = fresh & (damping < 1e7)
        if step >= _FIRST_STEPS:
            improving &= earlier[0] - cost > _CONVERGED * cost
        earlier.append(cost.clone())
        active = active[improving[active]]
        if not len(active):
            report(n_steps, float(best.train.nanmedian()))
            break
    rise = fit.largest_rise(best.weights)
    values = (best.weights, best.train, best.validation, rise, best.step)
    return tuple(
        value.double().numpy() if value.is_floating_point() else value.numpy() for value in values
    )


class _Best:
    """Weights of the smallest validation cost so far."""

    def __init__(self, weights, train, validation):
        self.weights, self.train, self.validation = weights.clone(), train, validation
        self.step = torch.zeros(len(weights), dtype=torch.int64)

    def update(self, index, weights, train, validation, step):
        better = validation <= self.validation[index]
        index = index[better]
        self.weights[index] = weights[better]
        self.train[index], self.validation[index] = train[better], validation[better]
        self.step[index] = step


class _Fit:
    """Residuals and their derivatives for a block of replicas."""

    prior = _PRIOR

    def __init__(self, data, block, held_out, layers):
        single = {"dtype": torch.float32}
        self.layers = list(layers)
        n_lines, n_steps, n_in = data.tail_inputs.shape
        stacked = [data.inputs, data.tail_inputs.reshape(-1, n_in), data.far_inputs]
        self.inputs = torch.as_tensor(np.concatenate(stacked), **single)
        self.n_points, self.n_far = len(data.inputs), len(data.far_inputs)
        self.tail_shape = (n_lines, n_steps)
        self.ratios = torch.as_tensor(data.ratios[block], **single)
        used = data.used[block]
        inverse = 1 / data.sigma
        self.train_weight = torch.as_tensor(np.where(used & ~held_out, inverse, 0.0), **single)
        self.validation_weight = torch.as_tensor(np.where(used & held_out, inverse, 0.0), **single)
        self.reference_step = torch.as_tensor(
            np.diff(data.tail_reference[block], axis=-1), **single
        )

    def _rows(self, outputs, index):
        """Log-ratios at the data, steps of ln(ZLP) outward along the tails, far log-ratios."""
        data, tail, far = outputs.split(
            [self.n_points, self.tail_shape[0] * self.tail_shape[1], self.n_far], dim=1
        )
        steps = tail.unflatten(1, self.tail_shape).diff(dim=-1) + self.reference_step[index]
        return data.clamp(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO), steps, far

    def chi2(self, weights, index=slice(None)):
        """Mean squared residuals on training and validation points."""
        return self.costs(weights, index)[1:]

    def costs(self, weights, index=slice(None)):
        """Cost that is minimised, and both chi2, each of shape (n_replicas,)."""
        outputs, _ = mlp.forward(weights, self.layers, self.inputs)
        log_ratio, steps, far = self._rows(outputs, index)
        residual = self.ratios[index] - log_ratio.exp()
        train = ((residual * self.train_weight[index]) ** 2).double().sum(-1)
        validation = ((residual * self.validation_weight[index]) ** 2).double().sum(-1)
        rising = ((steps.clamp(min=0) / _RISE_SIGMA) ** 2).double().sum((-1, -2))
        drawn = ((far / _FAR_SIGMA) ** 2).double().sum(-1)
        cost = train + rising + drawn + self.prior * (weights**2).double().sum(-1)
        cost = torch.where(torch.isfinite(cost), cost, torch.inf)
        n_train = (self.train_weight[index] > 0).sum(-1).clamp(min=1)
        n_validation = (self.validation_weight[index] > 0).sum(-1).clamp(min=1)
        return cost, train / n_train, validation / n_validation

    def linearise(self, weights, index):
        """Jacobian and residuals of all rows."""
        outputs, activations = mlp.forward(weights, self.layers, self.inputs)
        derivative = mlp.jacobian(weights, self.layers, activations)
        log_ratio, steps, far = self._rows(outputs, index)
        n, n_tail = self.n_points, self.tail_shape[0] * self.tail_shape[1]
        ratio, weight = log_ratio.exp(), self.train_weight[index]
        residuals = [(ratio - self.ratios[index]) * weight]
        derivative[:, :n] *= (ratio * weight)[..., None]
        rising = steps > 0
        tails = derivative[:, n : n + n_tail].unflatten(1, self.tail_shape).diff(dim=2)
        tails = tails * (rising / _RISE_SIGMA)[..., None]
        residuals += [(steps.clamp(min=0) / _RISE_SIGMA).flatten(1), far / _FAR_SIGMA]
        rows = [derivative[:, :n], tails.flatten(1, 2), derivative[:, n + n_tail :] / _FAR_SIGMA]
        return torch.cat(rows, dim=1), torch.cat(residuals, dim=1)

    def largest_rise(self, weights):
        """Largest step of ln(ZLP) outward along the tails, shape (n_replicas,)."""
        outputs, _ = mlp.forward(weights, self.layers, self.inputs)
        steps = self._rows(outputs, slice(None))[1]
        return steps.flatten(1).amax(-1) if steps.numel() else torch.zeros(len(weights))
