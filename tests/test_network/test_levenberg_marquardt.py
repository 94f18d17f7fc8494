# SPDX-License-Identifier: GPL-3.0-or-later
"""One step against dense normal equations, many against SciPy's least squares."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from hyperspy_zlpml.network import levenberg_marquardt as lm


class Straight:
    """Residuals along a step where the model is linear: no bend."""

    def __init__(self, jacobian, residuals):
        self.jacobian, self.residuals = jacobian, residuals

    def __call__(self, step):
        return self.residuals + torch.einsum("kwr,kw->kr", self.jacobian, step)

    def __getitem__(self, index):
        return Straight(self.jacobian[index], self.residuals[index])


def linear_case(n_replicas=4, n_rows=30, n_weights=6, seed=0, dtype=torch.float64, prior=1.0):
    """Weights and the fit linearised there."""
    rng = np.random.default_rng(seed)
    weights, jacobian, residuals = (
        torch.as_tensor(rng.normal(size=shape)).to(dtype)
        for shape in (
            (n_replicas, n_weights),
            (n_replicas, n_weights, n_rows),
            (n_replicas, n_rows),
        )
    )
    return weights, linearised(weights, jacobian, residuals, prior)


def linearised(weights, jacobian, residuals, prior):
    return lm.linearised(
        weights=weights,
        jacobian=jacobian,
        residuals=residuals,
        prior=prior,
        residuals_along=Straight(jacobian, residuals),
    )


def damped(n_replicas, value):
    start = lm.Damping.start(n_replicas)
    return lm.Damping(torch.full_like(start.value, value), start.growth)


def as_numpy(tensors, k):
    return tuple(tensor[k].double().numpy() for tensor in tensors)


@pytest.mark.parametrize("prior", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("damping", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("dtype, accuracy", [(torch.float64, 1e-10), (torch.float32, 2e-4)])
def test_proposed_step_solves_the_normal_equations(prior, damping, dtype, accuracy):
    weights, fit = linear_case(dtype=dtype, prior=prior)
    step, predicted = lm.propose(fit, damped(4, damping))
    for k in range(4):
        j, r, w = as_numpy((fit.jacobian, fit.residuals, weights), k)
        normal, gradient = j @ j.T + prior * np.eye(len(w)), j @ r + prior * w
        scale = np.diag(np.diag(normal) * damping + np.diag(normal).max() * lm._ROUNDING)
        expected = -np.linalg.solve(normal + scale, gradient)
        np.testing.assert_allclose(step[k].double().numpy(), expected, atol=accuracy)
        decrease = -(2 * gradient @ expected + expected @ normal @ expected)
        assert predicted[k].item() == pytest.approx(decrease, rel=1e-3, abs=accuracy)


@pytest.mark.parametrize("n_weights", [1, lm._PANEL - 1, lm._PANEL, 2 * lm._PANEL + 5])
def test_panels_hold_the_lower_triangle(n_weights):
    _, fit = linear_case(2, 20, n_weights, prior=0.0)
    whole = torch.bmm(fit.jacobian, fit.jacobian.mT)
    np.testing.assert_allclose(fit.normal.tril().numpy(), whole.tril().numpy(), atol=1e-12)


def test_weights_that_nothing_depends_on_are_damped_too():
    rng = np.random.default_rng(3)
    weights, jacobian = torch.zeros(1, 4), torch.as_tensor(rng.normal(size=(1, 4, 9))).float()
    jacobian[:, 2] = 0
    fit = linearised(weights, jacobian, torch.ones(1, 9), 0.0)
    assert fit.scale[0, 2] == lm._SCALE_FLOOR * fit.scale.max()
    step, _ = lm.propose(fit, damped(1, 1.0))
    assert torch.isfinite(step).all()
    assert step[0, 2] == 0


def test_undamped_step_of_a_linear_problem_is_the_ridge_solution():
    # cost = |X w - y|^2 + prior |w|^2, one step from anywhere.
    rng = np.random.default_rng(1)
    design, target, prior = rng.normal(size=(2, 40, 5)), rng.normal(size=(2, 40)), 3.0
    start = torch.as_tensor(rng.normal(size=(2, 5)))
    residuals = torch.as_tensor(np.einsum("kij,kj->ki", design, start.numpy()) - target)
    fit = linearised(start, torch.as_tensor(design).mT, residuals, prior)
    found = (start + lm.propose(fit, damped(2, 0.0))[0]).numpy()
    for k in range(2):
        augmented = np.vstack([design[k], np.sqrt(prior) * np.eye(5)])
        ridge = np.linalg.lstsq(augmented, np.append(target[k], np.zeros(5)), rcond=None)[0]
        np.testing.assert_allclose(found[k], ridge, atol=1e-5)


def test_strong_damping_is_a_short_step_down_the_scaled_gradient():
    _, fit = linear_case(1)
    lam = 1e7
    step, _ = lm.propose(fit, damped(1, lam))
    expected = -fit.gradient / (lam * fit.scale)
    np.testing.assert_allclose(step.numpy(), expected.numpy(), rtol=1e-4)


def test_a_failed_factorisation_leaves_only_its_replica_alone():
    weights, fit = linear_case(3)
    jacobian, residuals = fit.jacobian.clone(), fit.residuals.clone()
    jacobian[1] = torch.nan
    residuals[2, 0] = torch.inf
    step, _ = lm.propose(linearised(weights, jacobian, residuals, 1.0), lm.Damping.start(3))
    assert torch.isfinite(step).all()
    assert (step[0] != 0).any()
    assert (step[1:] == 0).all()


def test_rows_without_any_weight_leave_the_prior():
    weights, fit = linear_case(1)
    fit = linearised(weights, 0 * fit.jacobian, 0 * fit.residuals, 1.0)
    step, _ = lm.propose(fit, damped(1, 0.0))
    np.testing.assert_allclose((weights + step).numpy(), 0, atol=1e-5)


def test_steps_of_any_damping_come_from_one_normal_matrix():
    # Proposing changes nothing of the linearised fit, and a part of it is that of the part.
    weights, fit = linear_case(4)
    before = fit.normal.clone()
    work = lm.Workspace()
    lm.propose(fit, damped(4, 1e-3), work)
    again, _ = lm.propose(fit.of(torch.tensor([1, 3])), damped(2, 5.0), work)
    np.testing.assert_array_equal(fit.normal.numpy(), before.numpy())
    anew, _ = lm.propose(linear_case(4)[1], damped(4, 5.0))
    np.testing.assert_allclose(again.numpy(), anew[[1, 3]].numpy(), rtol=1e-12)


class Curved(Straight):
    """Residuals with a given second derivative along any step."""

    def __init__(self, jacobian, residuals, second):
        super().__init__(jacobian, residuals)
        self.second = second

    def __call__(self, step):
        return super().__call__(step) + 0.5 * self.second * (step**2).sum(-1, keepdim=True)


@pytest.mark.parametrize("curvature, bends", [(0.01, True), (100.0, False)])
def test_steps_bend_with_the_second_derivative_unless_it_is_too_large(curvature, bends):
    weights, fit = linear_case(1, prior=2.0)
    second = curvature * torch.as_tensor(np.random.default_rng(4).normal(size=(1, 30)))
    along = Curved(fit.jacobian, fit.residuals, second)
    curved = lm.linearised(
        weights=weights,
        jacobian=fit.jacobian,
        residuals=fit.residuals,
        prior=2.0,
        residuals_along=along,
    )
    straight, _ = lm.propose(fit, damped(1, 0.1))
    found, _ = lm.propose(curved, damped(1, 0.1))
    j, v = fit.jacobian[0].numpy(), straight[0].numpy()
    normal = j @ j.T + 2 * np.eye(6)
    normal += np.diag(0.1 * np.diag(normal) + lm._ROUNDING * np.diag(normal).max())
    bend = -0.5 * np.linalg.solve(normal, j @ second[0].numpy() * (v @ v))
    np.testing.assert_allclose((found - straight)[0].numpy(), bends * bend, atol=1e-9)


def test_damping_follows_how_well_the_cost_was_predicted():
    accepted = torch.tensor([True, True, True, False, False])
    agreement = torch.tensor([1.0, 0.5, 0.0, -1.0, torch.nan], dtype=torch.float64)
    first = damped(5, 1.0)
    after = first.after(agreement, accepted)
    np.testing.assert_allclose(after.value.numpy(), [1 / 3, 1, 2, 2, 2])
    twice = after.after(agreement, accepted)
    np.testing.assert_allclose(twice.value[3:].numpy(), 8)
    np.testing.assert_array_equal(twice.growth.numpy(), [2, 2, 2, 8, 8])


def test_damping_stays_within_its_limits():
    # Replica 0 always improves, replica 1 never does.
    damping, accepted = lm.Damping.start(2), torch.tensor([True, False])
    for _ in range(80):
        damping = damping.after(torch.ones(2, dtype=torch.float64), accepted)
    np.testing.assert_allclose(damping.value.numpy(), lm._DAMPING_LIMITS)


def test_workspace_keeps_its_memory():
    work, like = lm.Workspace(), torch.zeros(1)
    large = work("a", like, 4, 5)
    small = work("a", like, 2, 3)
    assert large.shape == (4, 5)
    assert small.shape == (2, 3)
    assert small.data_ptr() == large.data_ptr() != work("b", like, 2, 3).data_ptr()
    assert work("a", like, 7, 5).shape == (7, 5)


class Exponentials:
    """a exp(-b t) less data."""

    def __init__(self, weights, t, data):
        self.weights, self.t, self.data = weights, t, data

    def __call__(self, step=0.0):
        a, b = (self.weights + step).split(1, dim=1)
        return a * torch.exp(-b * self.t) - self.data

    def jacobian(self):
        a, b = self.weights.split(1, dim=1)
        decay = torch.exp(-b * self.t)
        return torch.stack([decay, -a * self.t * decay], 1)


def test_nonlinear_fits_reach_the_minima_that_scipy_finds():
    # Three exponentials with a prior, each with noise and a start of its own.
    rng = np.random.default_rng(2)
    t, prior = np.linspace(0, 4, 50), 0.05
    truth = rng.uniform(0.5, 2.0, (3, 2))
    data = truth[:, :1] * np.exp(-truth[:, 1:] * t) + 0.05 * rng.standard_normal((3, 50))

    def at(weights):
        return Exponentials(weights, torch.as_tensor(t), torch.as_tensor(data))

    def cost(weights):
        return (at(weights)() ** 2).sum(-1) + prior * (weights**2).sum(-1)

    weights, damping = torch.full((3, 2), 0.2, dtype=torch.float64), lm.Damping.start(3)
    for _ in range(40):
        here = at(weights)
        fit = lm.linearised(
            weights=weights,
            jacobian=here.jacobian(),
            residuals=here(),
            prior=prior,
            residuals_along=here,
        )
        step, predicted = lm.propose(fit, damping)
        decrease = cost(weights) - cost(weights + step)
        damping = damping.after(decrease / predicted, decrease > 0)
        weights = torch.where((decrease > 0)[:, None], weights + step, weights)
    for k in range(3):
        solution = least_squares(
            lambda p, k=k: np.append(p[0] * np.exp(-p[1] * t) - data[k], np.sqrt(prior) * p),
            [0.2, 0.2],
            xtol=1e-14,
            ftol=1e-14,
            gtol=1e-14,
        )
        np.testing.assert_allclose(weights[k].numpy(), solution.x, atol=1e-5)
