# SPDX-License-Identifier: GPL-3.0-or-later
"""One step against dense normal equations, many against SciPy's least squares."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from hyperspy_zlpml.network import levenberg_marquardt as lm


def linear_case(n_replicas=4, n_rows=30, n_weights=6, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    weights, jacobian, residuals = (
        torch.as_tensor(rng.normal(size=shape)).to(dtype)
        for shape in (
            (n_replicas, n_weights),
            (n_replicas, n_rows, n_weights),
            (n_replicas, n_rows),
        )
    )
    return weights, jacobian, residuals


@pytest.mark.parametrize("prior", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("damping", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("dtype, accuracy", [(torch.float64, 1e-5), (torch.float32, 2e-4)])
def test_proposed_step_solves_the_normal_equations(prior, damping, dtype, accuracy):
    weights, jacobian, residuals = linear_case(dtype=dtype)
    damping = torch.full((len(weights),), damping, dtype=torch.float64)
    found = lm.propose(weights, jacobian, residuals, prior, damping)
    for k, lam in enumerate(damping.numpy()):
        j, r, w = (t[k].double().numpy() for t in (jacobian, residuals, weights))
        normal = j.T @ j + (prior + lam) * np.eye(len(w))
        expected = w - np.linalg.solve(normal, j.T @ r + prior * w)
        # The step holds a relative 1e-6 of the largest diagonal for rounding.
        np.testing.assert_allclose(found[k].double().numpy(), expected, atol=accuracy * 5)


def test_undamped_step_of_a_linear_problem_is_the_ridge_solution():
    # cost = |X w - y|^2 + prior |w|^2, one step from anywhere.
    rng = np.random.default_rng(1)
    design, target, prior = rng.normal(size=(2, 40, 5)), rng.normal(size=(2, 40)), 3.0
    start = torch.as_tensor(rng.normal(size=(2, 5)))
    residuals = torch.as_tensor(np.einsum("kij,kj->ki", design, start.numpy()) - target)
    zero = torch.zeros(2, dtype=torch.float64)
    found = lm.propose(start, torch.as_tensor(design), residuals, prior, zero).numpy()
    for k in range(2):
        augmented = np.vstack([design[k], np.sqrt(prior) * np.eye(5)])
        ridge = np.linalg.lstsq(augmented, np.append(target[k], np.zeros(5)), rcond=None)[0]
        np.testing.assert_allclose(found[k], ridge, atol=1e-5)


def test_strong_damping_is_a_short_step_down_the_gradient():
    weights, jacobian, residuals = linear_case(1)
    lam = 1e7
    damping = torch.tensor([lam], dtype=torch.float64)
    step = (lm.propose(weights, jacobian, residuals, 2.0, damping) - weights)[0].numpy()
    gradient = (jacobian[0].T @ residuals[0] + 2.0 * weights[0]).numpy()
    np.testing.assert_allclose(step, -gradient / lam, rtol=1e-4)


def test_a_failed_factorisation_leaves_only_its_replica_alone():
    weights, jacobian, residuals = linear_case(3)
    jacobian[1] = torch.nan
    residuals[2, 0] = torch.inf
    found = lm.propose(weights, jacobian, residuals, 1.0, lm.start_damping(3))
    assert torch.isfinite(found).all()
    assert (found[0] != weights[0]).any()
    np.testing.assert_array_equal(found[1:].numpy(), weights[1:].numpy())


def test_rows_without_any_weight_leave_the_prior():
    weights, jacobian, residuals = linear_case(1)
    zero = torch.zeros(1, dtype=torch.float64)
    found = lm.propose(weights, 0 * jacobian, 0 * residuals, 1.0, zero)
    np.testing.assert_allclose(found.numpy(), 0, atol=1e-9)


def test_the_better_of_old_and_new_is_kept():
    old, new = torch.zeros(4, 2), torch.ones(4, 2)
    old_cost = torch.tensor([5.0, 5.0, 5.0, 5.0])
    new_cost = torch.tensor([4.0, 6.0, torch.nan, torch.inf])
    damping = torch.ones(4, dtype=torch.float64)
    weights, cost, after, accepted = lm.accept(old, new, old_cost, new_cost, damping)
    np.testing.assert_array_equal(accepted.numpy(), [True, False, False, False])
    np.testing.assert_array_equal(weights[:, 0].numpy(), [1, 0, 0, 0])
    np.testing.assert_array_equal(cost.numpy(), [4, 5, 5, 5])
    assert after[0] < 1 < after[1] == after[2] == after[3]


def test_damping_stays_within_its_limits():
    # Replica 0 always improves, replica 1 never does.
    state = torch.zeros(2, 1), torch.tensor([1000.0, 1.0]), lm.start_damping(2)
    for number in range(80):
        new_cost = torch.tensor([900.0 - number, 2.0])
        weights, cost, damping, _ = lm.accept(state[0], state[0], state[1], new_cost, state[2])
        state = weights, cost, damping
    low, high = lm._DAMPING_LIMITS
    np.testing.assert_allclose(state[2].numpy(), [low, high])


def test_nonlinear_fits_reach_the_minima_that_scipy_finds():
    # Three exponentials a exp(-b t) with a prior, each with noise and a start of its own.
    rng = np.random.default_rng(2)
    t, prior = np.linspace(0, 4, 50), 0.05
    truth = rng.uniform(0.5, 2.0, (3, 2))
    data = truth[:, :1] * np.exp(-truth[:, 1:] * t) + 0.05 * rng.standard_normal((3, 50))

    def evaluate(weights):
        a, b = weights[:, :1], weights[:, 1:]
        decay = torch.exp(-b * torch.as_tensor(t))
        jacobian = torch.stack([decay, -a * torch.as_tensor(t) * decay], -1)
        residuals = a * decay - torch.as_tensor(data)
        return residuals, jacobian, (residuals**2).sum(-1) + prior * (weights**2).sum(-1)

    weights, damping = torch.full((3, 2), 0.2, dtype=torch.float64), lm.start_damping(3)
    residuals, jacobian, cost = evaluate(weights)
    history = [cost]
    for _ in range(60):
        new = lm.propose(weights, jacobian, residuals, prior, damping)
        weights, cost, damping, _ = lm.accept(weights, new, cost, evaluate(new)[2], damping)
        residuals, jacobian, _ = evaluate(weights)
        history.append(cost)
    assert (torch.stack(history).diff(dim=0) <= 0).all()
    for k in range(3):
        solution = least_squares(
            lambda p, k=k: np.append(p[0] * np.exp(-p[1] * t) - data[k], np.sqrt(prior) * p),
            [0.2, 0.2], xtol=1e-14, ftol=1e-14, gtol=1e-14,
        )  # fmt: skip
        np.testing.assert_allclose(weights[k].numpy(), solution.x, atol=1e-5)
