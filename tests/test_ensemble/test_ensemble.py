# SPDX-License-Identifier: GPL-3.0-or-later
"""The ensemble predicts with NumPy what torch trained, and its tables are its replicas."""

import pickle
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
import torch
from ensembles import GRID, LAYERS, LOG_REFERENCE, random_ensemble, with_parts
from scipy.stats import norm

from hyperspy_zlpml.ensemble.ensemble import Ensemble
from hyperspy_zlpml.ensemble.records import Origin, Reference
from hyperspy_zlpml.ensemble.tabulation import quantiles_of
from hyperspy_zlpml.network import mlp
from hyperspy_zlpml.network.weights import outputs_of, split_weights
from hyperspy_zlpml.statistics import without_outliers

# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [(2, 1), (3, 4, 1), (2, 10, 15, 5, 1)])
def test_weights_are_split_into_every_layer_in_order(layers):
    n = mlp.n_weights(layers)
    parts = split_weights(np.arange(2 * n).reshape(2, n), layers)
    assert [m.shape[1:] for m, _ in parts] == list(zip(layers[1:], layers[:-1], strict=True))
    flat = [np.concatenate([m.reshape(2, -1), b], axis=1) for m, b in parts]
    np.testing.assert_array_equal(np.concatenate(flat, axis=1), np.arange(2 * n).reshape(2, n))


@pytest.mark.parametrize("dtype, accuracy", [(np.float64, 1e-12), (np.float32, 3e-6)])
def test_numpy_predicts_what_torch_computes(dtype, accuracy):
    one = random_ensemble(n_modes=0, dtype=dtype)
    rng = np.random.default_rng(1)
    u, log_intensity = rng.uniform(-8, 20, (3, 40)), rng.uniform(14, 16, (3, 40))
    found = one.log_ratio(u, log_intensity)
    inputs = torch.as_tensor(one.networks.scaling(u.ravel(), log_intensity.ravel()).astype(dtype))
    expected, _ = mlp.forward(torch.as_tensor(one.networks.weights), LAYERS, inputs)
    assert found.shape == (12, 3, 40)
    np.testing.assert_allclose(found.reshape(12, -1), expected.numpy(), atol=accuracy)


def test_every_replica_has_a_reference_of_its_own():
    with_modes, without = random_ensemble(), random_ensemble(n_modes=0)
    u = np.array([-3.0, 0.0, 2.0, 11.0])
    difference = with_modes.log_ratio(u, 15.0) - without.log_ratio(u, 15.0)
    for k in range(12):
        own = with_modes.reference.scores[k] @ with_modes.reference.modes
        np.testing.assert_allclose(difference[k], GRID.interpolate(own, u), atol=1e-5)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_log_intensity_broadcasts(shape):
    one, u = random_ensemble(), np.random.default_rng(2).uniform(-5, 5, shape)
    full = np.full(shape, 14.9)
    np.testing.assert_array_equal(one.log_ratio(u, 14.9), one.log_ratio(u, full))
    assert one.log_ratio(u, 14.9).shape == (12, *shape)


@pytest.mark.parametrize("n_replicas", [1, 4, 5, 12])
def test_outputs_of_networks_are_added_whatever_their_number(n_replicas):
    # Networks are evaluated a few at a time.
    networks = random_ensemble(n_replicas).networks
    rng = np.random.default_rng(3)
    u, log_intensity = rng.uniform(-8, 20, 30), rng.uniform(14, 16, 30)
    before = rng.standard_normal((n_replicas, 30))
    values = before.copy()
    networks.add_outputs(values, u, log_intensity, ())
    inputs = networks.scaling(u, log_intensity).astype(np.float32)
    for row, weights in enumerate(networks.weights):
        (expected,) = outputs_of(weights[None], LAYERS, inputs)
        np.testing.assert_allclose(values[row] - before[row], expected, atol=1e-6)


def test_inputs_are_of_order_one():
    scaling = random_ensemble().networks.scaling
    inputs = scaling(np.array([-8.0, 0.0, 20.0]), np.array([14.5, 15.0, 15.5]))
    np.testing.assert_allclose(inputs[:, 1], [-1, 0, 1])
    assert inputs[1, 0] == 0
    assert inputs[2, 0] == pytest.approx(2.0)


# --- prediction -----------------------------------------------------------------------------------

ENERGY = np.linspace(-3, 8, 300)


def test_prediction_is_height_times_reference_times_ratio():
    one = random_ensemble()
    found = one.predict(ENERGY, centre=0.1, fwhm=0.5, log_intensity=14.8, height=1e5)
    u = (ENERGY - 0.1) / 0.5
    log_zlp = GRID.interpolate(LOG_REFERENCE, u) + one.log_ratio(u, 14.8)
    # Its tails fall; between the nodes of the grid the networks are interpolated.
    np.testing.assert_allclose(found, 1e5 * np.exp(log_zlp), rtol=1e-4)
    np.testing.assert_allclose(one.predict(ENERGY, height=3.0), 3.0 * one.predict(ENERGY))


def test_no_predicted_tail_rises():
    one = random_ensemble()
    ripples = np.stack([0.5 * np.sin(4 * GRID.x), 0.5 * np.sin(7 * GRID.x)])
    wild = with_parts(one, reference_modes=ripples)
    u = np.linspace(1, 18, 400)
    raw = GRID.interpolate(LOG_REFERENCE, u) + wild.log_ratio(u, 15.0)
    assert (np.diff(raw) > 0).any()
    found = np.log(wild.predict(u, 0.0, 1.0, 15.0))
    assert (np.diff(found) <= 1e-9).all()
    assert (np.diff(wild.tabulate().log_shape)[:, GRID.u[:-1] > 0.8] <= 1e-9).all()


def test_prediction_depends_on_the_reduced_energy_alone():
    one = random_ensemble()
    here = one.predict(ENERGY, centre=0.0, fwhm=0.45)
    there = one.predict(2.5 + 3 * ENERGY, centre=2.5, fwhm=3 * 0.45)
    np.testing.assert_allclose(there, here, rtol=1e-5)


def test_defaults_are_the_thinnest_spectra_and_their_mean_width():
    one = random_ensemble()
    np.testing.assert_array_equal(
        one.predict(ENERGY), one.predict(ENERGY, 0.0, np.exp(one.seen.log_fwhm.mean), 15.5, 1.0)
    )


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.5, 0.68, 0.95])
def test_tables_are_normal_quantiles_but_for_what_replicas_show(confidence):
    one = random_ensemble(25)
    table = one.tabulate(confidence)
    tail, normal = (1 - confidence) / 2, norm.ppf(0.5 + confidence / 2)
    chance = np.sqrt(tail * (1 - tail) / 25) / norm.pdf(normal)
    for k, node in enumerate(table.log_intensity_nodes):
        log_shape = one.log_ratio(GRID.u, node) + LOG_REFERENCE
        low, middle, high = np.quantile(log_shape, [tail, 0.5, 1 - tail], axis=0)
        sigma = without_outliers(log_shape).std(0, ddof=1)
        np.testing.assert_allclose(table.log_shape[k], middle, atol=1e-6)
        for edge, sample, expected in (
            (table.lower[k], low - middle, -normal),
            (table.upper[k], high - middle, normal),
        ):
            # Quantiles of 25 values lie too far inside; on average by a factor of 1 + 1.5 / 25.
            seen = (1 + 1.5 / 25) * sample / np.maximum(sigma, 1e-300)
            by_chance = np.abs(seen - expected) < 2 * chance
            known = sigma > 1e-3
            np.testing.assert_allclose(edge[by_chance & known], expected)
            # Of a difference of n times what is chance, 1 - 1 / n^2 is kept.
            certain = ~by_chance & known
            times = np.abs(seen - expected)[certain] / (2 * chance)
            kept = (edge - expected)[certain] / (seen - expected)[certain]
            np.testing.assert_allclose(kept, 1 - times**-2, atol=1e-6)
        total = (table.modes[:, k] ** 2).sum(0) + table.rest[k] ** 2
        np.testing.assert_allclose(np.sqrt(total), sigma, rtol=1e-4, atol=1e-7)
    assert (table.lower <= 0).all()
    assert (table.upper >= 0).all()


def test_bands_of_a_hundred_normal_replicas_do_not_scatter():
    # Sample quantiles scatter by 0.15. Beyond two standard errors, 5 % of them, some of that is kept.
    rng, edges = np.random.default_rng(0), []
    for _ in range(200):
        samples = rng.normal(0, 0.1, (100, 1))
        below, above = np.quantile(samples - np.median(samples), [0.16, 0.84], axis=0)
        edges.append(quantiles_of(samples, 0.68, below, above))
    edges = np.abs(edges)
    assert edges.std() < 0.05
    assert edges.mean() == pytest.approx(norm.ppf(0.84), abs=0.02)


def test_nodes_span_the_thicknesses_trained_on():
    nodes = random_ensemble().tabulate().log_intensity_nodes
    assert (nodes[0], nodes[-1]) == (14.5, 15.5)
    assert (np.diff(nodes) > 0).all()
    same = with_parts(random_ensemble(), log_intensity_range=(15.0, 15.0)).tabulate()
    assert same.log_intensity_nodes.size == 1


def test_spill_is_interpolated_between_the_thicknesses_it_was_seen_at():
    table = random_ensemble().tabulate()
    for node, row in zip(table.log_intensity_nodes, table.spill, strict=True):
        np.testing.assert_allclose(row, (15.5 - node) * 0.2 * (GRID.u > 1), atol=1e-12)


def test_more_log_intensity_nodes_change_nothing(monkeypatch):
    from hyperspy_zlpml.ensemble import tabulation as module

    coarse = random_ensemble(25).tabulate()
    monkeypatch.setattr(module, "_N_INTENSITY_NODES", 33)
    fine = random_ensemble(25).tabulate()
    assert fine.log_intensity_nodes.size > coarse.log_intensity_nodes.size
    u = np.linspace(-6, 15, 40)[None, :] * np.ones((5, 1))
    thickness = np.linspace(14.5, 15.5, 5) + 0.01
    a, b = (t.evaluate(u, t.at(thickness), t.log_shape) for t in (coarse, fine))
    np.testing.assert_allclose(a, b, atol=2e-3)


def test_what_is_known_beside_replicas_is_tabulated_anew(monkeypatch):
    from hyperspy_zlpml.ensemble import tabulation as module

    one = random_ensemble(25)
    one.tabulate()
    scatter = np.full(GRID.n, 0.3)
    expected = random_ensemble(25).with_scatter(scatter).tabulate()
    monkeypatch.delattr(module, "of_replicas")  # replicas are not looked at twice
    found = one.with_scatter(scatter).tabulate()
    for name in ("log_shape", "modes", "rest", "scatter", "lower", "upper"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_what_was_computed_of_replicas_goes_on_with_another_origin_but_is_not_sent(monkeypatch):
    from hyperspy_zlpml.ensemble import tabulation as module

    one = random_ensemble(25)
    expected = one.tabulate()
    sent = pickle.loads(pickle.dumps(one))
    assert "_replicas" not in vars(sent)
    np.testing.assert_array_equal(sent.tabulate().log_shape, expected.log_shape)
    monkeypatch.delattr(module, "of_replicas")
    np.testing.assert_array_equal(one.with_origin(Origin()).tabulate().modes, expected.modes)


@pytest.mark.parametrize("n_replicas", [1, 2])
def test_few_replicas(n_replicas):
    one = random_ensemble(n_replicas)
    table = one.tabulate()
    assert len(table.modes) == n_replicas - 1
    for values in (table.log_shape, table.lower, table.upper, table.rest, table.modes):
        assert np.isfinite(values).all()
    if n_replicas == 1:
        expected = LOG_REFERENCE + one.log_ratio(GRID.u, 15.5)[0]
        np.testing.assert_allclose(table.log_shape[-1], expected, atol=1e-6)
        assert not table.rest.any()


# --- the object -----------------------------------------------------------------------------------


def test_is_frozen_and_travels():
    one = random_ensemble()
    with pytest.raises(FrozenInstanceError):
        one.networks.weights = None
    back = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(back.predict(ENERGY), one.predict(ENERGY))


def test_with_scatter_changes_only_the_scatter():
    one = random_ensemble()
    other = one.with_scatter(np.full(GRID.n, 0.1))
    np.testing.assert_array_equal(other.tabulate().scatter, 0.1)
    for f in fields(Ensemble):
        if f.name != "reference":
            assert getattr(other, f.name) is getattr(one, f.name)
    for f in fields(Reference):
        if f.name != "scatter":
            assert getattr(other.reference, f.name) is getattr(one.reference, f.name)


def test_repr_says_what_it_is():
    assert "12 networks [2, 6, 5, 1], FWHM 0.45 eV, ln N0 14.50 to 15.50" in repr(random_ensemble())
