# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the ensemble: blocks of replicas, each stopped by look-back cross-validation.

A network ``f`` is the logarithm of the ratio of the peak to the reference; it is fitted to the
measured ratios themselves, ``chi2 = mean(((ratio - exp(f)) / sigma)**2)``, so counts may be zero
or negative. Two kinds of rows are added: the tails may not rise where nothing is measured, and
far out ``f`` is drawn to zero. A fifth of the points of every replica is never trained on; the
weights kept are those of the smallest misfit there (Roest 2021, section 3.3).

The first replicas, the founders, start from random weights, each from its own. The others start
from the weights of a founder and need a third of the steps on their own pseudo-data: what differs
between replicas is above all these data and their regions, and founders enough carry on what is
due to the starts.

Within a block replicas do not know of each other: :func:`train_block` trains a few of them, here, in
another process or on another machine, and :func:`train_networks` cuts the blocks and joins what
comes back.
"""

import contextlib
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np
import torch

from hyperspy_zlpml.compute.threads import n_threads
from hyperspy_zlpml.network import levenberg_marquardt as lm
from hyperspy_zlpml.network import mlp
from hyperspy_zlpml.network.data import Block, Trained
from hyperspy_zlpml.network.fit import PRIOR, Fit
from hyperspy_zlpml.network.selection import sort_out

#: Replicas that start from random weights; all others start from theirs.
_FOUNDERS = 20
#: Fewest replicas of a block on a CPU; between fewest and most a twentieth of all.
_FEWEST_AT_ONCE = 10
#: Most replicas of a block on a CPU: few are shared out evenly, many keep threads from waiting for
#: each other.
_MOST_AT_ONCE = 25
#: Replicas of a block on a GPU: enough to fill it.
_REPLICAS_ON_GPU = 256
#: A step that does not lower the cost is tried again, damped more, so many times in all.
_TRIES = 4
#: A replica has converged when its cost fell by less than this fraction in some steps.
_CONVERGED = 0.05
#: A replica stops where its damping has grown to this.
_HOPELESS_DAMPING = 1e7


class _Rules(NamedTuple):
    """When a replica has converged."""

    #: Steps in which its cost must fall.
    converged_steps: int
    #: No replica stops before this: the first steps look for the right damping.
    first_steps: int
    #: Nor while its chi2 is above this: some linger on a plateau before they find a fit. The right one has 2,
    #: for points vary once about the peak and once more about themselves.
    poor_fit: float


_FROM_RANDOM_WEIGHTS = _Rules(converged_steps=4, first_steps=12, poor_fit=3.0)
#: The weights of a founder are a fit already.
_FROM_FOUNDER = _Rules(converged_steps=2, first_steps=2, poor_fit=np.inf)


def train_networks(  # noqa: PLR0913
    data,
    layers,
    n_steps=100,
    validation_fraction=0.2,
    patience=15,
    *,
    rng,
    activation="tanh",
    prior=PRIOR,
    progress=None,
    device="auto",
    run_blocks=None,
):
    """Train one network per replica.

    Parameters
    ----------
    data : TrainingData
    layers : sequence of int
        Layer sizes, from input to output; the last is 1.
    n_steps : int
        Most Levenberg-Marquardt steps.
    validation_fraction : float
        Fraction of the points held out in each replica.
    patience : int
        A replica stops after this many steps without a better validation cost, or earlier when
        its cost hardly falls any more.
    rng : numpy.random.Generator
        Draws the first weights, and the points held out.
    activation : str
        Name of the function of the hidden units, of
        :data:`~hyperspy_zlpml.network.weights.ACTIVATIONS`.
    prior : float
        Inverse variance of the weights about zero.
    progress : callable, optional
        Called with (steps done, of steps, median chi2).
    device : str
        Device of torch: "cpu", "cuda", "cuda:1"...; "auto" is CUDA where there is one, else CPU.
        Where blocks are sent elsewhere, it is a device there.
    run_blocks : callable, optional
        Runs blocks elsewhere. Like ``map``: called with :func:`train_block` and a list of
        :class:`.Block`, gives an iterable of :class:`.Trained` in the same order. Default: threads.

    Returns
    -------
    Trained

    Raises
    ------
    ValueError
        If the device cannot be used.

    Examples
    --------
    Two replicas of a constant ratio, without tails or far points:

    >>> import numpy as np
    >>> from hyperspy_zlpml.network.data import TrainingData
    >>> from hyperspy_zlpml.network.training import train_networks
    >>> from hyperspy_zlpml.network.weights import outputs_of
    >>> inputs = np.linspace(-1, 1, 20)[:, None]
    >>> data = TrainingData(
    ...     inputs=inputs,
    ...     ratios=np.full((2, 20), 1.2),
    ...     sigma=np.full((2, 20), 0.01),
    ...     used=np.ones((2, 20), bool),
    ...     tail_inputs=np.zeros((0, 2, 1)),
    ...     tail_reference=np.zeros((2, 0, 2)),
    ...     far_inputs=np.zeros((0, 1)),
    ... )
    >>> rng = np.random.default_rng(0)
    >>> trained = train_networks(data, layers=(1, 3, 1), n_steps=4, rng=rng, device="cpu")
    >>> ratios = np.exp(outputs_of(trained.weights, (1, 3, 1), inputs))
    >>> bool(np.abs(ratios - 1.2).max() < 0.01)
    True
    """
    if run_blocks is None:
        device = usable_device(device)
    whole = _drawn(
        data,
        layers=tuple(layers),
        activation=activation,
        prior=prior,
        n_steps=n_steps,
        validation_fraction=validation_fraction,
        patience=patience,
        device=device,
        rng=rng,
    )
    founders, others = whole.of(slice(_FOUNDERS)), whole.of(slice(_FOUNDERS, None))
    n_blocks = len(_blocks(founders)) + len(_blocks(others))
    report = _Progress(progress, n_blocks, n_steps)
    trained = _run(founders, run_blocks, report)
    if not len(others.weights):
        return trained
    return _joined([trained, _run(_started_from(trained, others), run_blocks, report)])


def _drawn(data, layers, validation_fraction, rng, **options):
    """Draw the first weights of all replicas, and the points held out."""
    return Block(
        data=data,
        weights=mlp.initial_weights(layers, len(data.ratios), rng),
        held_out=rng.random(data.used.shape) < validation_fraction,
        layers=layers,
        from_founder=False,
        **options,
    )


def _started_from(founders, block):
    """Let replicas start from founders that are worth it, in turn; from their own where none is."""
    usable, _ = sort_out(founders.chi2, founders.chi2_validation, founders.rise)
    if not usable.any():
        return block
    weights = founders.weights[usable]
    in_turn = np.arange(len(block.weights)) % len(weights)
    return replace(block, weights=weights[in_turn], from_founder=True)


def _run(whole, run_blocks, progress):
    """Train replicas in blocks, wherever these are run, and report each that is done."""
    blocks = _blocks(whole)
    reports = [progress.of_another_block() for _ in blocks]
    if run_blocks is None:
        results = _in_threads(blocks, reports)
    else:
        results = run_blocks(train_block, blocks)
    trained = []
    for report, one in zip(reports, results, strict=True):
        report(whole.n_steps, _median(one.chi2))
        trained.append(one)
    return _joined(trained)


def _joined(trained):
    """Join what came back of all blocks."""
    names = [field.name for field in fields(Trained)]
    return Trained(
        **{name: np.concatenate([getattr(one, name) for one in trained]) for name in names}
    )


def train_block(block, report=None):
    """Train the replicas of a block: a pure function of it, whatever else runs beside it.

    On one thread of torch: the numbers then depend neither on how many cores there are nor on
    what else they do.

    Parameters
    ----------
    block : Block
    report : callable, optional
        Called with (step, median chi2).

    Returns
    -------
    Trained
    """
    device = usable_device(block.device)
    with _ONE_THREAD:
        fit = Fit.build(
            block.data,
            block.held_out,
            block.layers,
            device,
            activation=block.activation,
            prior=block.prior,
        )
        weights = torch.as_tensor(block.weights, dtype=torch.float32, device=device)
        state = _State(fit, weights, block.from_founder)
        for step in range(1, block.n_steps + 1):
            state.step(step, block.patience)
            if report is not None:
                report(step, _median(state.best.train.cpu().numpy()))
            if not len(state.active):
                break
        return state.best.trained(fit)


def usable_device(name):
    """Find the device of torch that is meant, and check that it can be used.

    Parameters
    ----------
    name : str
        Name of a device of torch, or "auto": CUDA where there is one, else CPU.

    Returns
    -------
    str
        Name of the device.

    Raises
    ------
    ValueError
        If torch does not know it, finds none, or it has no float64.

    Examples
    --------
    >>> from hyperspy_zlpml.network.training import usable_device
    >>> usable_device("cpu")
    'cpu'
    >>> usable_device("auto") in ("cpu", "cuda")
    True
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if not isinstance(name, str):
            raise TypeError("not a string")
        torch.zeros(1, dtype=torch.float64, device=name).item()
    except Exception as error:  # AssertionError, RuntimeError, TypeError...: as torch was built
        why = str(error).strip().splitlines()
        raise ValueError(
            f"device: expected a device of torch with float64, got {name!r} "
            f"({why[0] if why else type(error).__name__}). Use 'cpu', or 'auto' for CUDA where "
            "there is one."
        ) from error
    return str(torch.device(name))


def _blocks(whole):
    """Cut the replicas into blocks: alike however many cores or workers there are.

    "auto" is not resolved yet where blocks are sent elsewhere: most machines have no GPU.
    """
    n_replicas = len(whole.weights)
    size = min(max(n_replicas // 20, _FEWEST_AT_ONCE), _MOST_AT_ONCE)
    size = size if _on_cpu(whole.device) else _REPLICAS_ON_GPU
    return [whole.of(slice(start, start + size)) for start in range(0, n_replicas, size)]


def _in_threads(blocks, reports):
    """Train blocks in this process, side by side on a CPU, one after the other elsewhere."""
    with ThreadPoolExecutor(n_threads() if _on_cpu(blocks[0].device) else 1) as pool:
        # Closed by hand: blocks that wait are not begun any more after an error.
        with contextlib.closing(pool.map(train_block, blocks, reports)) as trained:
            yield from trained


def _on_cpu(device):
    """Tell whether a device is a CPU, as far as it is known here."""
    return device == "auto" or device.startswith("cpu")


def _median(chi2):
    """Find the median of those that are numbers."""
    chi2 = chi2[np.isfinite(chi2)]
    return float(np.median(chi2)) if chi2.size else np.inf


class _OneThread:
    """One thread of torch while any block is trained, and as many as before afterwards.

    Blocks run side by side, and part of torch's number of threads is common to all threads: the
    last block to end puts it back, not the first.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = 0
        self._before = 1

    def __enter__(self):
        with self._lock:
            if not self._inside:
                self._before = torch.get_num_threads()
            self._inside += 1
            torch.set_num_threads(1)  # holds for the thread that calls it, too

    def __exit__(self, *_):
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.set_num_threads(self._before)


_ONE_THREAD = _OneThread()


class _Progress:
    """Progress of all blocks together, reported from whichever thread."""

    def __init__(self, callback, n_blocks, n_steps):
        self._callback = callback
        self._total = n_blocks * n_steps
        self._done = {}
        self._n_given = 0
        self._lock = threading.Lock()

    def of_another_block(self):
        """Make the function that one more block reports its steps to."""
        block = self._n_given
        self._n_given += 1

        def report(step, chi2):
            if self._callback is None:
                return
            with self._lock:
                self._done[block] = step
                self._callback(sum(self._done.values()), self._total, chi2)

        return report


class _State:
    """State of the training of a block."""

    def __init__(self, fit, weights, from_founder):
        self.weights = weights.clone()
        self.cost, *chi2 = fit.costs(weights)
        self.damping = lm.Damping.start(len(weights), weights.device)
        self.best = _Best(weights, *chi2)
        self.active = torch.arange(len(weights), device=weights.device)
        self._fit = fit
        self._work = lm.Workspace()
        self._rules = _FROM_FOUNDER if from_founder else _FROM_RANDOM_WEIGHTS
        self._earlier = deque([self.cost.clone()], maxlen=self._rules.converged_steps)

    def step(self, number, patience):
        """Linearise the active replicas, and take the steps from there."""
        linearised = self._fit.linearise(self.weights[self.active], self._work)
        fit, index = self._fit, self.active
        for _ in range(_TRIES):
            rejected = self._try(fit, index, linearised, number)
            if not rejected.any():
                break
            fit, linearised, index = fit.of(rejected), linearised.of(rejected), index[rejected]
        self._drop_finished(number, patience)

    def _drop_finished(self, number, patience):
        """Leave out the replicas that have converged or do not get better any more."""
        fresh = (number - self.best.step < patience) | (number < self._rules.first_steps)
        improving = fresh & (self.damping.value < _HOPELESS_DAMPING)
        if number >= self._rules.first_steps:
            falling = self._earlier[0] - self.cost > _CONVERGED * self.cost
            improving &= falling | (self.best.train > self._rules.poor_fit)
        self._earlier.append(self.cost.clone())
        going_on = improving[self.active]
        if not going_on.all():
            self.active = self.active[going_on]
            self._fit = self._fit.of(going_on)

    def _try(self, fit, index, linearised, number):
        """Propose steps of some replicas, take those that lower the cost; find which do not."""
        damping = self.damping.of(index)
        cost = self.cost[index]
        step, predicted = lm.propose(linearised, damping, self._work)
        proposed = self.weights[index] + step
        new_cost, train, validation = fit.costs(proposed)
        accepted = new_cost < cost
        agreement = (cost - new_cost) / predicted
        self.damping.put(index, damping.after(agreement, accepted))
        taken = index[accepted]
        self.weights[taken] = proposed[accepted]
        self.cost[taken] = new_cost[accepted]
        self.best.update(
            index=taken,
            weights=proposed[accepted],
            train=train[accepted],
            validation=validation[accepted],
            step=number,
        )
        return ~accepted


class _Best:
    """Weights of the smallest validation cost so far."""

    def __init__(self, weights, train, validation):
        self.weights = weights.clone()
        self.train = train
        self.validation = validation
        self.step = torch.zeros(len(weights), dtype=torch.int64, device=weights.device)

    def update(self, index, weights, train, validation, step):
        """Keep new weights of some replicas where they validate better."""
        better = validation <= self.validation[index]
        index = index[better]
        self.weights[index] = weights[better]
        self.train[index] = train[better]
        self.validation[index] = validation[better]
        self.step[index] = step

    def trained(self, fit):
        """Hand over the weights as arrays, with how well they fit."""
        tensors = {
            "weights": self.weights.double(),
            "chi2": self.train,
            "chi2_validation": self.validation,
            "rise": fit.largest_rise(self.weights).double(),
            "steps": self.step,
        }
        return Trained(**{name: tensor.cpu().numpy() for name, tensor in tensors.items()})
