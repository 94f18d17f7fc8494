# SPDX-License-Identifier: GPL-3.0-or-later
"""Training: known ratios are learnt, constraints hold, look-back keeps the best."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hyperspy_zlpml.network import mlp, training
from hyperspy_zlpml.network.training import TrainingData, train

LAYERS = (2, 6, 6, 1)
#: Energies and two thicknesses; lines along the energy on both sides, from 0.2 to 1.5.
X = np.linspace(-1, 1, 40)
INPUTS = np.stack([np.tile(X, 2), np.repeat([-1.0, 1.0], X.size)], axis=-1)
LINE = np.linspace(0.2, 1.5, 14)
TAILS = np.array([
    np.stack([side * LINE, np.full(LINE.size, thickness)], -1)
    for side in (1, -1) for thickness in (-1.0, 1.0)
])  # fmt: skip
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
        sigma=np.full(len(INPUTS), sigma),
        used=np.ones(ratios.shape, bool),
        tail_inputs=TAILS,
        tail_reference=np.broadcast_to(slope * LINE, (n_replicas, len(TAILS), LINE.size)),
        far_inputs=np.array([[1.8, -1.0], [1.8, 1.0], [-1.8, -1.0], [-1.8, 1.0]]),
    )


def outputs(trained, inputs):
    weights = torch.as_tensor(trained.weights)
    return mlp.forward(weights, LAYERS, torch.as_tensor(inputs))[0].numpy()


def trained_on(one, seed=1, **settings):
    settings = {"layers": LAYERS, "n_steps": 30, **settings}
    return train(one, rng=np.random.default_rng(seed), **settings)


def test_known_ratios_are_learnt_to_their_noise():
    # 80 points determine some ten effective weights: what is left is a third of the noise.
    trained = trained_on(data(), n_steps=60)
    error = np.exp(outputs(trained, INPUTS)) - np.exp(truth(INPUTS))
    assert np.sqrt((error**2).mean(-1)).max() < 0.7 * SIGMA
    # chi2 of 64 points: 1 -+ 0.18, less the weights used up; of 16 validation points 1 -+ 0.35.
    assert (trained.chi2 > 0.5).all() and (trained.chi2 < 1.6).all()
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
    return training._Fit(one, slice(None), held_out, LAYERS)


@pytest.mark.parametrize("slope", [-3.0, 0.0, 2.0])
def test_linearised_rows_are_the_gradient_of_the_cost(slope):
    # cost / 2 = |rows|^2 / 2 + prior |w|^2 / 2: its gradient is J^T r + prior w.
    one = data(3, slope=slope)
    fit = fit_of(one, np.random.default_rng(3).random(one.used.shape) < 0.2)
    rng = np.random.default_rng(4)
    weights = mlp.initial_weights(LAYERS, 3, rng) + 0.2 * rng.standard_normal((3, 67))
    single = torch.as_tensor(weights, dtype=torch.float32)
    jacobian, residuals = fit.linearise(single, torch.arange(3))
    found = torch.einsum("kri,kr->ki", jacobian, residuals) + fit.prior * single
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
    rises = np.diff(at(TAILS) + one.tail_reference, axis=-1).clip(0) / training._RISE_SIGMA
    far = at(one.far_inputs) / training._FAR_SIGMA
    for k in range(2):
        seen, unseen = squared[k][~held_out[k]], squared[k][held_out[k]]
        assert chi2[k].item() == pytest.approx(seen.mean(), rel=1e-3)
        assert validation[k].item() == pytest.approx(unseen.mean(), rel=1e-3)
        total = seen.sum() + (rises[k] ** 2).sum() + (far[k] ** 2).sum() + (weights[k] ** 2).sum()
        assert cost[k].item() == pytest.approx(total, rel=1e-3)


def test_held_out_points_do_not_enter_the_cost():
    one = data(3)
    held_out = np.random.default_rng(7).random(one.used.shape) < 0.2
    weights = torch.as_tensor(mlp.initial_weights(LAYERS, 3, np.random.default_rng(8))).float()
    spoiled = replace(one, ratios=np.where(held_out, 77.0, one.ratios))
    clean, other = (fit_of(d, held_out) for d in (one, spoiled))
    np.testing.assert_array_equal(clean.costs(weights)[0], other.costs(weights)[0])
    assert (clean.costs(weights)[2] < other.costs(weights)[2]).all()
    for a, b in zip(clean.linearise(weights, torch.arange(3)), other.linearise(weights, torch.arange(3)),
                    strict=True):  # fmt: skip
        np.testing.assert_array_equal(a, b)


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
    assert level.rise.max() < 3 * training._RISE_SIGMA
    assert level.rise.mean() < 0.4 * would_rise.mean()


def test_rise_is_the_largest_step_of_the_tails():
    one = data(3, slope=1.5)
    trained = trained_on(one, n_steps=3)
    tails = outputs(trained, TAILS.reshape(-1, 2)).reshape(3, len(TAILS), -1) + one.tail_reference
    np.testing.assert_allclose(trained.rise, np.diff(tails, axis=-1).max((-1, -2)), atol=1e-5)


def test_far_points_are_drawn_to_the_reference():
    one = data(4)
    far = outputs(trained_on(one), one.far_inputs)
    without = replace(one, far_inputs=one.far_inputs[:0])
    free = outputs(trained_on(without), one.far_inputs)
    # A compromise between the ratios, which end at 0.3 to 0.4, the prior, and 0 -+ 0.3.
    assert np.sqrt((far**2).mean()) < 2 * training._FAR_SIGMA
    assert np.sqrt((far**2).mean()) < 0.9 * np.sqrt((free**2).mean())


def test_more_steps_never_validate_worse():
    # The same seed takes the same steps; look-back keeps the best of them.
    one = data(4)
    kept = [trained_on(one, n_steps=n, patience=99) for n in (1, 4, 12)]
    validation = np.array([t.chi2_validation for t in kept])
    assert (np.diff(validation, axis=0) <= 0).all()
    assert (kept[2].steps <= 12).all() and (kept[2].steps > 0).all()


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
    one = data(5)
    whole = trained_on(one, n_steps=3)
    monkeypatch.setattr(training, "_REPLICAS_AT_ONCE", 2)
    parts = trained_on(one, n_steps=3)
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-3)
    np.testing.assert_allclose(parts.chi2, whole.chi2, rtol=1e-2)


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
    monkeypatch.setattr(training, "_REPLICAS_AT_ONCE", 2)
    told = []
    trained_on(data(3), n_steps=30, patience=2, progress=lambda *values: told.append(values))
    done = [step for step, *_ in told]
    assert done == sorted(done)
    assert {total for _, total, _ in told} == {60}
    assert done[-1] == 60
    assert all(np.isfinite(chi2) for *_, chi2 in told)


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
