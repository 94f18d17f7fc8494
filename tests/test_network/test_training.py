# SPDX-License-Identifier: GPL-3.0-or-later
"""Training: known ratios are learnt, constraints hold, look-back keeps the best."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from hyperspy_zlpml.network import fit as fits
from hyperspy_zlpml.network import mlp, training
from hyperspy_zlpml.network.data import TrainingData
from hyperspy_zlpml.network.training import train_block, train_networks

LAYERS = (2, 6, 6, 1)
#: Energies and two thicknesses; lines along the energy on both sides, from 0.2 to 1.5.
X = np.linspace(-1, 1, 40)
INPUTS = np.stack([np.tile(X, 2), np.repeat([-1.0, 1.0], X.size)], axis=-1)
LINE = np.linspace(0.2, 1.5, 14)
TAILS = np.array(
    [
        np.stack([side * LINE, np.full(LINE.size, thickness)], -1)
        for side in (1, -1)
        for thickness in (-1.0, 1.0)
    ]
)
SIGMA = 0.02


def truth(inputs):
    """ln(ratio): an asymmetry that depends on thickness."""
    return 0.3 * np.tanh(2 * inputs[:, 0]) + 0.1 * inputs[:, 1] * inputs[:, 0] ** 2


def data(n_replicas=5, seed=0, slope=-3.0, function=truth, sigma=SIGMA):
    rng = np.random.default_rng(seed)
    ratios = np.exp(function(INPUTS)) + sigma * rng.standard_normal((n_replicas, len(INPUTS)))
    return TrainingData(
        inputs=INPUTS,
        ratios=ratios,
        sigma=np.full((n_replicas, len(INPUTS)), sigma),
        used=np.ones(ratios.shape, bool),
        tail_inputs=TAILS,
        tail_reference=np.broadcast_to(slope * LINE, (n_replicas, len(TAILS), LINE.size)),
        far_inputs=np.array([[1.8, -1.0], [1.8, 1.0], [-1.8, -1.0], [-1.8, 1.0]]),
    )


def outputs(trained, inputs):
    weights = torch.as_tensor(trained.weights)
    return mlp.forward(weights, LAYERS, torch.as_tensor(inputs))[0].numpy()


def trained_on(one, seed=1, **options):
    options = {"layers": LAYERS, "n_steps": 30, **options}
    return train_networks(one, rng=np.random.default_rng(seed), **options)


def test_known_ratios_are_learnt_to_their_noise():
    # 80 points determine some ten effective weights: what is left is a third of the noise.
    trained = trained_on(data(), n_steps=60)
    error = np.exp(outputs(trained, INPUTS)) - np.exp(truth(INPUTS))
    assert np.sqrt((error**2).mean(-1)).max() < 0.7 * SIGMA
    # chi2 of 64 points: 1 -+ 0.18, less the weights used up; of 16 validation points 1 -+ 0.35.
    assert (trained.chi2 > 0.5).all()
    assert (trained.chi2 < 1.6).all()
    assert 0.5 < trained.chi2_validation.mean() < 1.6


def test_counts_below_zero_can_be_fitted():
    # Ratios of a tail buried in noise: a third of them negative.
    one = data(function=lambda inputs: np.full(len(inputs), -0.7), sigma=1.0)
    assert (one.ratios < 0).mean() > 0.2
    found = np.exp(outputs(trained_on(one), INPUTS)).mean()
    assert found == pytest.approx(np.exp(-0.7), abs=0.25)


def test_results_depend_on_the_generator_alone():
    one, same, other = (trained_on(data(3), seed, n_steps=4) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.weights, same.weights)
    np.testing.assert_array_equal(one.chi2, same.chi2)
    assert (one.weights != other.weights).any()


def test_shapes_of_what_is_returned():
    trained = trained_on(data(3), n_steps=2)
    assert trained.weights.shape == (3, mlp.n_weights(LAYERS))
    for values in (trained.chi2, trained.chi2_validation, trained.rise, trained.steps):
        assert values.shape == (3,)


def test_points_outside_the_region_are_not_seen():
    one = data(3)
    used = np.broadcast_to(INPUTS[:, 0] < 0.3, one.used.shape)
    clean = replace(one, used=used)
    spoiled = replace(one, used=used, ratios=np.where(used, one.ratios, 1e4))
    a, b = trained_on(clean, n_steps=5), trained_on(spoiled, n_steps=5)
    np.testing.assert_array_equal(a.weights, b.weights)
    np.testing.assert_array_equal(a.chi2_validation, b.chi2_validation)


def fit_of(one, held_out=None):
    held_out = np.zeros(one.used.shape, bool) if held_out is None else held_out
    return fits.Fit.build(one, held_out, LAYERS)


@pytest.mark.parametrize("slope", [-3.0, 0.0, 2.0])
def test_linearised_rows_are_the_gradient_of_the_cost(slope):
    # cost / 2 = |rows|^2 / 2 + prior |w|^2 / 2: its gradient is J^T r + prior w.
    one = data(3, slope=slope)
    fit = fit_of(one, np.random.default_rng(3).random(one.used.shape) < 0.2)
    rng = np.random.default_rng(4)
    weights = mlp.initial_weights(LAYERS, 3, rng) + 0.2 * rng.standard_normal((3, 67))
    single = torch.as_tensor(weights, dtype=torch.float32)
    linearised = fit.linearise(single)
    found = torch.einsum("kir,kr->ki", linearised.jacobian, linearised.residuals) + single
    np.testing.assert_allclose(linearised.gradient, found, atol=1e-4 * found.abs().max().item())
    step = 2e-3
    for k in range(0, 67, 5):
        moved = torch.zeros_like(single)
        moved[:, k] = step
        high, low = (fit.costs(single + s * moved)[0] for s in (1, -1))
        difference = ((high - low) / (4 * step)).numpy()
        scale = found.abs().amax(-1).numpy()
        np.testing.assert_allclose(difference / scale, found[:, k].numpy() / scale, atol=5e-3)


def test_cost_and_chi2_are_plain_sums():
    one = data(2, slope=0.5)
    held_out = np.random.default_rng(5).random(one.used.shape) < 0.3
    weights = mlp.initial_weights(LAYERS, 2, np.random.default_rng(6))
    cost, chi2, validation = fit_of(one, held_out).costs(
        torch.as_tensor(weights, dtype=torch.float32)
    )
    double = torch.as_tensor(weights)

    def at(inputs):
        flat = torch.as_tensor(inputs.reshape(-1, 2))
        return mlp.forward(double, LAYERS, flat)[0].numpy().reshape((2,) + inputs.shape[:-1])

    squared = ((one.ratios - np.exp(at(INPUTS))) / one.sigma) ** 2
    rises = np.diff(at(TAILS) + one.tail_reference, axis=-1).clip(0) / fits.RISE_SIGMA
    far = at(one.far_inputs) / fits.FAR_SIGMA
    for k in range(2):
        seen, unseen = squared[k][~held_out[k]], squared[k][held_out[k]]
        assert chi2[k].item() == pytest.approx(seen.mean(), rel=1e-3)
        assert validation[k].item() == pytest.approx(unseen.mean(), rel=1e-3)
        total = seen.sum() + (rises[k] ** 2).sum() + (far[k] ** 2).sum() + (weights[k] ** 2).sum()
        assert cost[k].item() == pytest.approx(total, rel=1e-3)


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_a_larger_prior_keeps_the_weights_smaller(activation):
    one = data(3)
    sizes = [
        np.abs(trained_on(one, prior=prior, activation=activation).weights).mean()
        for prior in (0.01, 1.0, 100.0)
    ]
    assert sizes[0] > sizes[1] > sizes[2]


def test_held_out_points_do_not_enter_the_cost():
    one = data(3)
    held_out = np.random.default_rng(7).random(one.used.shape) < 0.2
    weights = torch.as_tensor(mlp.initial_weights(LAYERS, 3, np.random.default_rng(8))).float()
    spoiled = replace(one, ratios=np.where(held_out, 77.0, one.ratios))
    clean, other = (fit_of(d, held_out) for d in (one, spoiled))
    np.testing.assert_array_equal(clean.costs(weights)[0], other.costs(weights)[0])
    assert (clean.costs(weights)[2] < other.costs(weights)[2]).all()
    a, b = (fit.linearise(weights) for fit in (clean, other))
    np.testing.assert_array_equal(a.jacobian, b.jacobian)
    np.testing.assert_array_equal(a.residuals, b.residuals)


def test_residuals_along_a_step_are_those_at_its_end():
    one = data(3, slope=0.5)
    fit = fit_of(one, np.random.default_rng(3).random(one.used.shape) < 0.2)
    weights = torch.as_tensor(mlp.initial_weights(LAYERS, 3, np.random.default_rng(4))).float()
    here = fit.linearise(weights)
    assert here.residuals.shape[1] > fit.ratios.shape[1] + len(one.far_inputs)  # tails that rise
    np.testing.assert_array_equal(here.residuals_along(0.0), here.residuals)
    step = 1e-2 * torch.randn(3, 67, generator=torch.Generator().manual_seed(0))
    change = here.residuals_along(step) - here.residuals
    predicted = torch.einsum("kir,ki->kr", here.jacobian, step)
    assert (change - predicted).norm() < 0.1 * predicted.norm()
    part = here.of(torch.tensor([2]))
    np.testing.assert_allclose(
        part.residuals_along(step[2:]), here.residuals_along(step)[2:], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("slope", [-3.0, 1.0])
def test_rows_that_carry_no_weight_are_left_out(slope):
    # Half of the points, of which a fifth is held out; tails only where they rise.
    one = data(3, slope=slope)
    one = replace(one, used=np.broadcast_to(INPUTS[:, 0] < 0, one.used.shape))
    fit = fit_of(one, np.random.default_rng(3).random(one.used.shape) < 0.2)
    weights = torch.as_tensor(mlp.initial_weights(LAYERS, 3, np.random.default_rng(4))).float()
    n_rows = fit.linearise(weights).residuals.shape[1]
    n_data = int((fit.weight > 0).sum(1).max()) + len(one.far_inputs)
    n_rising = len(TAILS) * (LINE.size - 1) if slope > 0 else 0
    assert n_data + n_rising <= n_rows < n_data + n_rising + fits._ALIGNED


def test_tails_do_not_rise_where_nothing_is_measured():
    # Measured is a ratio that rises up to 0.15; beyond, a network alone goes on rising. A
    # reference that falls by 50 per unit leaves it free to, a level one does not.
    rising = {"function": lambda inputs: 0.8 * inputs[:, 0]}
    used = np.broadcast_to(np.abs(INPUTS[:, 0]) < 0.15, (4, len(INPUTS)))
    level, free = (
        trained_on(replace(data(4, slope=slope, **rising), used=used)) for slope in (0.0, -50.0)
    )
    assert free.rise.max() < 0
    would_rise = np.diff(outputs(free, TAILS.reshape(-1, 2)).reshape(4, len(TAILS), -1)).max((1, 2))
    # Three of the standard deviations that a step counts by, and several times less than free.
    assert level.rise.max() < 3 * fits.RISE_SIGMA
    assert level.rise.mean() < 0.4 * would_rise.mean()


def test_rise_is_the_largest_step_of_the_tails():
    one = data(3, slope=1.5)
    trained = trained_on(one, n_steps=3)
    tails = outputs(trained, TAILS.reshape(-1, 2)).reshape(3, len(TAILS), -1) + one.tail_reference
    np.testing.assert_allclose(trained.rise, np.diff(tails, axis=-1).max((-1, -2)), atol=1e-5)


@pytest.mark.parametrize("sigma, most", [(fits.FAR_SIGMA, 1.0), (0.03, 0.5)])
def test_far_points_are_drawn_to_the_reference(monkeypatch, sigma, most):
    # A compromise between the ratios, which end at 0.3 to 0.4, the prior, and 0 -+ sigma; the
    # tighter the last, the more it rules.
    monkeypatch.setattr(fits, "FAR_SIGMA", sigma)
    one = data(16)
    far = outputs(trained_on(one), one.far_inputs)
    without = replace(one, far_inputs=one.far_inputs[:0])
    free = outputs(trained_on(without), one.far_inputs)
    assert np.sqrt((far**2).mean()) < most * np.sqrt((free**2).mean())
    assert np.sqrt((far**2).mean()) < 2 * fits.FAR_SIGMA or sigma < 0.3


def test_more_steps_never_validate_worse():
    # The same seed takes the same steps; look-back keeps the best of them.
    one = data(4)
    kept = [trained_on(one, n_steps=n, patience=99) for n in (1, 4, 12)]
    validation = np.array([t.chi2_validation for t in kept])
    assert (np.diff(validation, axis=0) <= 0).all()
    assert (kept[2].steps <= 12).all()
    assert (kept[2].steps > 0).all()


def test_kept_weights_are_those_of_the_chi2_reported():
    one = data(3)
    trained = trained_on(one, seed=9, n_steps=6)
    rng = np.random.default_rng(9)
    mlp.initial_weights(LAYERS, 3, rng)
    held_out = rng.random(one.used.shape) < 0.2
    squared = ((one.ratios - np.exp(outputs(trained, INPUTS))) / one.sigma) ** 2
    for k in range(3):
        assert trained.chi2[k] == pytest.approx(squared[k][~held_out[k]].mean(), rel=2e-3)
        assert trained.chi2_validation[k] == pytest.approx(squared[k][held_out[k]].mean(), rel=2e-3)


def test_blocks_of_replicas_are_trained_as_one(monkeypatch):
    # Alike but for the rounding of float32, which steps amplify.
    one = data(5)
    whole = trained_on(one, n_steps=3)
    monkeypatch.setattr(training, "_MOST_AT_ONCE", 2)
    parts = trained_on(one, n_steps=3)
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-3)
    np.testing.assert_allclose(parts.chi2, whole.chi2, rtol=1e-2)


def blocks_of(one, n_steps=6, size=2):
    """Arguments of train_block, as train cuts them."""
    blocks = []

    def kept(function, given):
        blocks.extend(given)
        return map(function, given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_MOST_AT_ONCE", size)
        whole = trained_on(one, n_steps=n_steps, run_blocks=kept, device="cpu")
    return blocks, whole


def test_other_replicas_start_from_founders_in_turn_and_fit_as_well(monkeypatch):
    one = data(6)
    anew = trained_on(one, device="cpu")
    monkeypatch.setattr(training, "_FOUNDERS", 2)
    (founders, *others), founded = blocks_of(one, n_steps=30)
    assert [block.from_founder for block in (founders, *others)] == [False, True, True]
    for block in others:
        np.testing.assert_array_equal(block.weights, founded.weights[:2])
    # Trained on, not copied, and no worse than from random weights.
    assert (np.ptp(outputs(founded, INPUTS)[::2], axis=0) > 0).all()
    np.testing.assert_allclose(founded.chi2, anew.chi2, rtol=0.2)
    np.testing.assert_array_equal(founded.weights[:2], anew.weights[:2])


def test_founders_that_could_not_be_fitted_are_nobodys_start(monkeypatch):
    monkeypatch.setattr(training, "_FOUNDERS", 2)
    one = data(4)
    one.ratios[0] = np.nan
    (_, others), _ = blocks_of(one)
    np.testing.assert_array_equal(others.weights[0], others.weights[1])
    one.ratios[1] = np.nan
    (_, others), trained = blocks_of(one)
    assert not others.from_founder
    assert (np.ptp(others.weights, axis=0) > 0).any()
    assert np.isfinite(trained.chi2[2:]).all()


def test_a_block_holds_its_replicas_alone():
    one = data(5)
    blocks, _ = blocks_of(one)
    assert [len(block.weights) for block in blocks] == [2, 2, 1]
    for block, ratios in zip(blocks, np.split(one.ratios, [2, 4]), strict=True):
        np.testing.assert_array_equal(block.data.ratios, ratios)
        assert block.data.used.shape == block.held_out.shape == ratios.shape
        assert len(block.data.tail_reference) == len(ratios)
        # What is pickled is the part, not the arrays that it is a view of.
        assert len(pickle.dumps(block)) < 2 * sum(
            value.nbytes for value in (*vars(block.data).values(), block.weights, block.held_out)
        )


def test_threads_processes_and_the_calling_thread_give_the_same_numbers():
    one = data(5)
    blocks, expected = blocks_of(one)
    spawn = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(1, mp_context=spawn) as processes:
        runs = [list(pool.map(train_block, blocks)) for pool in (threads, processes)]
    for parts in runs:
        for name, value in vars(expected).items():
            joined = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(joined, value)


def test_order_and_company_of_blocks_change_no_number():
    blocks, expected = blocks_of(data(5))
    last, first = train_block(blocks[2]), train_block(blocks[0])
    np.testing.assert_array_equal(first.weights, expected.weights[:2])
    np.testing.assert_array_equal(last.weights, expected.weights[4:])


def test_blocks_run_elsewhere_are_reported_when_they_end(monkeypatch):
    monkeypatch.setattr(training, "_MOST_AT_ONCE", 2)
    reports = []
    trained_on(
        data(5), n_steps=3, run_blocks=map, progress=lambda *values: reports.append(values[:2])
    )
    assert reports == [(3, 9), (6, 9), (9, 9)]


def test_a_step_of_no_avail_is_tried_again_from_the_same_linearisation(monkeypatch):
    # So strongly damped a second try lowers the cost; no other Jacobian is computed for it.
    one, calls = data(2), []
    linearise = fits.Fit.linearise
    monkeypatch.setattr(fits.Fit, "linearise", lambda *args: calls.append(1) or linearise(*args))
    costs = fits.Fit.costs
    worse = iter([False, True, True])  # the start, then two tries that fail

    def failing(self, weights):
        cost, *chi2 = costs(self, weights)
        return (cost + 1e9 if next(worse, False) else cost, *chi2)

    monkeypatch.setattr(fits.Fit, "costs", failing)
    trained = trained_on(one, n_steps=1)
    assert len(calls) == 1
    assert (trained.steps == 1).all()


def test_proposals_that_are_no_numbers_are_not_taken(monkeypatch):
    one = data(3)
    propose = training.lm.propose

    def broken(linearised, damping, work):
        step, predicted = propose(linearised, damping, work)
        return step * torch.nan, predicted

    monkeypatch.setattr(training.lm, "propose", broken)
    trained = trained_on(one, n_steps=40)
    rng = np.random.default_rng(1)
    start = mlp.initial_weights(LAYERS, 3, rng).astype(np.float32)
    np.testing.assert_array_equal(trained.weights, start)
    assert (trained.steps == 0).all()
    assert np.isfinite(trained.chi2).all()


def test_a_cluster_without_any_point_in_use():
    one = data(3)
    used = np.broadcast_to(INPUTS[:, 1] > 0, one.used.shape)
    trained = trained_on(replace(one, used=used))
    assert (trained.chi2 < 2).all()
    nothing = trained_on(replace(one, used=np.zeros(one.used.shape, bool)), n_steps=3)
    assert (nothing.chi2 == 0).all()
    assert np.isfinite(nothing.weights).all()


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "meta"])
def test_devices_that_cannot_be_used(name):
    with pytest.raises(ValueError, match=f"device: expected .* got '{name}' .* Use 'cpu'"):
        trained_on(data(1), n_steps=1, device=name)


def test_the_cpu_is_a_device_like_any_other():
    expected = trained_on(data(3), n_steps=3, device="cpu")
    found = trained_on(data(3), n_steps=3, device="auto")
    if not torch.cuda.is_available():
        np.testing.assert_array_equal(found.weights, expected.weights)
    assert training.usable_device("cpu") == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_agrees_with_the_cpu():
    one = data(4)
    cpu, cuda = (trained_on(one, n_steps=60, device=device) for device in ("cpu", "cuda"))
    # Rounding differs and steps amplify it: functions are compared in units of the noise.
    difference = outputs(cuda, INPUTS) - outputs(cpu, INPUTS)
    assert np.sqrt((difference**2).mean()) < 0.3 * SIGMA
    np.testing.assert_allclose(cuda.chi2, cpu.chi2, rtol=0.1)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_threads_of_torch_are_put_back_and_change_no_number(n_threads):
    before = torch.get_num_threads()
    expected = trained_on(data(3), n_steps=3)
    torch.set_num_threads(n_threads)
    try:
        found = trained_on(data(3), n_steps=3)
        assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found.weights, expected.weights)


def test_progress_runs_to_its_end(monkeypatch):
    monkeypatch.setattr(training, "_MOST_AT_ONCE", 2)
    reports = []
    trained_on(
        data(3),
        n_steps=30,
        patience=2,
        progress=lambda *values: reports.append(values),
        device="cpu",  # which is given blocks of two, another device more
    )
    done = [step for step, *_ in reports]
    assert done == sorted(done)
    assert {total for _, total, _ in reports} == {60}
    assert done[-1] == 60
    assert all(np.isfinite(chi2) for *_, chi2 in reports)


def test_a_replica_that_cannot_be_fitted_leaves_the_others_alone():
    one = data(4)
    ratios = one.ratios.copy()
    ratios[2] = np.nan
    clean, spoiled = trained_on(one, n_steps=3), trained_on(replace(one, ratios=ratios), n_steps=3)
    others = [0, 1, 3]
    np.testing.assert_allclose(spoiled.weights[others], clean.weights[others], atol=1e-4)
    assert not np.isfinite(spoiled.chi2[2])


def test_a_single_replica():
    assert np.isfinite(trained_on(data(1), n_steps=3).chi2).all()


def test_without_validation_the_last_weights_are_kept():
    trained = trained_on(data(3), validation_fraction=0.0)
    assert (trained.steps > 0).all()
    assert (trained.chi2 < 2).all()
