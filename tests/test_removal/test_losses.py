# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses of a block: their directions hold the errors of the removal, and nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
from test_subtract import measured, prepare, rows, true_zlp

from hyperspy_zlpml.data import ws2_like
from hyperspy_zlpml.removal.evaluation import (
    at_groups,
    deviations,
    log_zlp_of,
    look_up,
    on_channels,
)
from hyperspy_zlpml.removal.geometry import cut
from hyperspy_zlpml.removal.integrals import integrate
from hyperspy_zlpml.removal.losses import _most_significant, _on_channels, losses_of
from hyperspy_zlpml.statistics import Range

LIMIT = 1.5
LIMITS = Range(-2.0, LIMIT)
FEW = {"n_clusters": 2, "n_replicas": 4, "random_state": 0, "show_progressbar": False}
REUSE = {"random_state": 0, "show_progressbar": False}


@pytest.fixture(scope="module")
def scene():
    """A model, counts with losses beyond the limit, and what was matched."""
    zlp, centre, fwhm = true_zlp(6)
    counts = measured(zlp).astype(float)
    model = prepare()
    return model, counts, model.posterior(counts, rows(zlp, centre, fwhm, LIMIT))


@pytest.fixture(scope="module")
def losses(scene):
    model, counts, posterior = scene
    return losses_of(model, posterior, counts, LIMITS)


def without_limit(losses):
    """Leave out the choice of E_I, which other errors do not hold."""
    return replace(losses, directions=losses.directions[:, :-1])


def test_zlp_is_that_of_the_removal(scene, losses):
    model, counts, posterior = scene
    (zlp,) = model.evaluate(["zlp"], posterior)
    np.testing.assert_allclose(losses.zlp, zlp)
    np.testing.assert_allclose(losses.subtracted, counts - model.dark_level - zlp, atol=1e-6)


@pytest.mark.parametrize("window", [Range(2.0, 4.0), Range(1.6, 2.0), Range(5.0, 9.0)])
def test_directions_give_the_errors_of_integrals(scene, losses, window):
    model, counts, posterior = scene
    expected = integrate(model, posterior, counts, window).model_std
    from_peak = losses.from_peak
    inside = (from_peak >= window.low) & (from_peak < window.high)
    found = (without_limit(losses).directions * inside[:, None]).sum(-1)
    std = np.sqrt((found**2).sum(-1))
    # What is taken for the channels' own is a part of a few per cent.
    np.testing.assert_allclose(std, expected, rtol=0.15)


@pytest.mark.parametrize("size", [1e4, 1e7])
def test_cosmic_rays_are_no_losses(scene, losses, size):
    model, counts, posterior = scene
    spoilt, channel = counts.copy(), int(np.abs(model.energy - 3.0).argmin())
    spoilt[2, channel] += size
    found = losses_of(model, posterior, spoilt, LIMITS)
    change = (found.subtracted - losses.subtracted) / np.sqrt(losses.variance)
    # What bridges a channel has the noise of its neighbours, and none of the ray.
    assert abs(change[2, channel]) < 6
    change[2, channel] = 0
    assert np.abs(change).max() < 1e-6
    assert (found.counts[2] <= counts[2].max()).all()


def test_turning_directions_keeps_their_covariance():
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((3, 30, 12)) * np.geomspace(1, 1e-3, 30)[:, None]
    kept, rest = _most_significant(directions, np.ones((3, 12)))
    np.testing.assert_allclose((kept**2).sum(1) + rest**2, (directions**2).sum(1), rtol=1e-10)
    # Twelve groups have no more than twelve independent directions.
    covariance = np.einsum("pig,pih->pgh", directions, directions)
    np.testing.assert_allclose(np.einsum("pig,pih->pgh", kept, kept), covariance, atol=1e-12)
    assert (rest < 1e-6).all()


def test_directions_left_out_are_nearly_the_least_that_can_be():
    """Beside as many eigenvectors: of sizes that fall by a tenth each, far from their own directions."""
    rng = np.random.default_rng(0)
    sizes = 0.9 ** np.arange(40)[:, None]
    directions = rng.standard_normal((20, 40, 40)) @ (sizes * rng.standard_normal((40, 90)))
    significance = rng.uniform(0.5, 2.0, (20, 90))
    kept, rest = _most_significant(directions, significance)
    values = np.linalg.svd(directions * significance[:, None], compute_uv=False) ** 2
    least = values[:, kept.shape[1] :].sum(-1)
    assert (((rest * significance) ** 2).sum(-1) < 1.2 * least).all()


def test_directions_are_straight_lines_between_groups(scene, losses):
    """Compiled as by the matrix of the expansion."""
    model, _, posterior = scene
    peaks = posterior.peaks
    groups = np.random.default_rng(0).standard_normal((6, 2, model.groups.size))
    found = _on_channels(model, peaks, groups, losses.zlp)
    for number in range(2):
        lines = cut(on_channels(model, groups[:, number]), model.start(peaks), model.n_energy)
        np.testing.assert_allclose(found[:, number], lines * losses.zlp, rtol=1e-9, atol=1e-9)


def test_peaks_without_their_errors_are_those_with_them(scene):
    model, _, posterior = scene
    expected = at_groups(model, posterior.matched, posterior.peaks).log_zlp
    found = log_zlp_of(model, posterior.matched, posterior.peaks)
    np.testing.assert_array_equal(found, expected)


def test_few_directions_hold_nearly_all(scene, losses):
    model, _, posterior = scene
    found = deviations(
        model,
        posterior.matched,
        posterior.peaks,
        look_up(model, posterior.matched, posterior.peaks),
    )
    sigma = np.sqrt((found.directions**2).sum(1) + found.shared**2 + found.own**2)
    middle = np.abs(losses.energy - 2.5).argmin()
    of_groups = [np.interp(2.5, model.middle(posterior.peaks)[k], sigma[k]) for k in range(6)]
    in_directions = np.sqrt((without_limit(losses).directions[..., middle] ** 2).sum(1))
    assert (in_directions < 1.1 * np.array(of_groups) * losses.zlp[:, middle]).all()


def test_response_is_the_peak(losses):
    np.testing.assert_allclose(losses.response.sum(-1), 1.0)
    largest = losses.distance[losses.response.argmax(-1)]
    assert (np.abs(largest) < 0.1 * losses.fwhm).all()
    half = losses.response / losses.response.max(-1, keepdims=True) > 0.5
    np.testing.assert_allclose(half.sum(-1) * losses.step, losses.fwhm, rtol=0.1)


def test_choice_of_limit_is_a_direction_that_losses_open(scene):
    model, counts, posterior = scene
    pure = losses_of(model, posterior, counts, LIMITS).directions[:, -1]
    onset = 1.3
    energy = model.energy
    losing = counts + 300.0 * np.clip(energy - onset, 0, None)
    posterior = model.posterior(losing, posterior.peaks)
    moved = losses_of(model, posterior, losing, LIMITS).directions[:, -1]
    beyond = energy > 2.0
    assert (np.abs(moved[:, beyond]).max(-1) > 2 * np.abs(pure[:, beyond]).max(-1)).all()
    # Who takes losses for ZLP takes more with a later limit.
    assert (moved[:, beyond].sum(-1) > 0).all()


def test_vacuum_is_given_the_limits_of_others(scene):
    model, _, posterior = scene
    counts = np.random.default_rng(1).poisson(true_zlp(6)[0]).astype(float)
    peaks = replace(
        posterior.peaks,
        loss_limit=np.full(6, np.inf),
        gain_limit=np.full(6, -np.inf),
    )
    free = model.posterior(counts, peaks)
    losses = losses_of(model, free, counts, LIMITS)
    assert losses.is_vacuum.all()
    np.testing.assert_array_equal(losses.loss_limit, LIMIT)
    limited = model.posterior(
        counts, replace(peaks, loss_limit=np.full(6, LIMIT), gain_limit=np.full(6, -2.0))
    )
    np.testing.assert_allclose(losses.zlp, losses_of(model, limited, counts, LIMITS).zlp)
    # The prediction is uncertain where the match of the whole spectrum claims to know.
    nowhere = losses_of(model, free, counts, Range(-np.inf, np.inf))
    beyond = losses.energy > 3.0
    wider = (losses.directions[..., beyond] ** 2).sum((1, 2))
    assert (wider > (nowhere.directions[..., beyond] ** 2).sum((1, 2))).all()
    assert np.isinf(nowhere.loss_limit).all()
    assert not nowhere.directions[:, -1].any()


@pytest.fixture(scope="module")
def signal():
    return ws2_like((5, 3), n_channels=512, random_state=0).signal


@pytest.fixture(scope="module")
def removal(signal):
    return signal.remove_zlp_ml(**FEW)


def sums(losses, number=None):
    """Sum what was lost; one more number is handed through."""
    number = np.zeros(len(losses.centre)) if number is None else number
    errors = np.sqrt((losses.directions.sum(-1) ** 2).sum(-1))
    return np.stack([losses.subtracted.sum(-1), errors, number], -1)


def test_lazy_and_eager_blocks_give_the_same(signal, removal):
    numbers = np.arange(15.0).reshape(3, 5)
    found = removal.removed.map_losses(sums, 3, numbers)
    lazy = signal.as_lazy()
    lazy.data = lazy.data.rechunk((1, 2, 512))
    other = lazy.remove_zlp_ml(ensemble=removal.ensemble, **REUSE).removed
    blocks = other.map_losses(sums, 3, numbers)
    assert blocks.shape == (3, 5, 3)
    np.testing.assert_array_equal(found[..., 2], numbers)
    eager = signal.remove_zlp_ml(ensemble=removal.ensemble, **REUSE).removed
    np.testing.assert_allclose(blocks.compute(), eager.map_losses(sums, 3, numbers), rtol=1e-9)
    assert isinstance(other.map_losses(sums, 3, lazy=False), np.ndarray)


def test_spectra_left_out_are_nan(signal, removal):
    mask = np.zeros((3, 5), bool)
    mask[1, 2] = True
    left_out = signal.remove_zlp_ml(ensemble=removal.ensemble, navigation_mask=mask, **REUSE)
    found = left_out.removed.map_losses(sums, 3)
    np.testing.assert_array_equal(np.isnan(found).all(-1), mask)


def test_known_variance_is_that_of_the_channels(signal, removal):
    known = signal.deepcopy()
    known.set_noise_variance(known._deepcopy_with_new_data(np.full(signal.data.shape, 900.0)))
    found = known.remove_zlp_ml(ensemble=removal.ensemble, **REUSE)

    def smallest(losses):
        return losses.variance.min(-1)[:, None]

    assert (found.removed.map_losses(smallest, 1) >= 900.0).all()
    assert (found.removed.map_losses(smallest, 1) < 950.0).all()


@pytest.mark.parametrize("function", [None, "thickness", 3.0])
def test_what_is_no_function_of_losses_is_refused(removal, function):
    with pytest.raises(ValueError, match="function: expected a function of losses, got"):
        removal.removed.map_losses(function, 2)


def test_functions_of_losses_give_as_many_numbers_as_they_say(removal):
    with pytest.raises(ValueError, match=r"function, width: .* \(\d+, 3\), .* got one of shape"):
        removal.removed.map_losses(lambda losses: losses.subtracted[:, :2], 3)


def test_counts_that_changed_are_refused(signal, removal):
    changing = signal.deepcopy()
    found = changing.remove_zlp_ml(ensemble=removal.ensemble, **REUSE)
    changing.data[:] = changing.data[..., ::-1]
    with pytest.raises(
        ValueError, match="counts: expected the spectra that the ZLP was matched to"
    ):
        found.removed.map_losses(sums, 3)
