# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses below E_I that a match has taken for zero-loss peak are given back."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_zlpml.physics import Beam, Losses
from hyperspy_zlpml.physics.deconvolution import single_scattering
from hyperspy_zlpml.physics.hidden_losses import hidden_losses, onset_of

BEAM = Beam(energy=200.0, collection_angle=15.0)
ENERGY = np.arange(-2.0, 8.0, 0.05)
LIMIT = 1.0


def matched(slope, noise=0.0, share=0.0):
    """Losses of Im[-1/eps] = slope E, and a ZLP that was matched to them below E_I by least squares.

    The match has two numbers, height and width of the tail, with weak priors: the directions are
    those of its posterior.
    """
    peak = 1e6 / (1 + (ENERGY / 0.2) ** 2) ** 1.5
    above = np.maximum(ENERGY, 0.0)
    shape = above * BEAM.angular_logarithm(np.maximum(above, 0.05)) * 0.05
    counts = peak + slope * shape
    variance = counts + 100.0
    derivatives = np.stack([peak, peak * np.log1p(np.abs(ENERGY))]) * [[1.0], [0.3]]
    window = (ENERGY < LIMIT) & (ENERGY > -1.5)
    weighted = derivatives[:, window] / variance[window]
    covariance = np.linalg.inv(weighted @ derivatives[:, window].T + np.eye(2))
    known = share * np.where(window, counts - peak, 0.0)
    fitted = covariance @ (weighted @ (counts - peak - known)[window])
    of_limit = np.zeros((1, ENERGY.size))  # the choice of E_I, here without any effect
    directions = np.vstack([np.linalg.cholesky(covariance).T @ derivatives, of_limit])
    true = counts - peak
    return true, Losses(
        energy=ENERGY,
        distance=ENERGY[:81],
        counts=counts[None],
        zlp=(peak + fitted @ derivatives)[None],
        variance=variance[None],
        spilled=known[None],
        directions=directions[None],
        centre=np.zeros(1),
        fwhm=np.full(1, 0.3),
        gain_limit=np.full(1, -1.5),
        loss_limit=np.full(1, LIMIT),
        is_vacuum=np.zeros(1, bool),
        response=np.ones((1, 81)) / 81,
    )


def corrected(losses, found):
    """The ZLP and its directions after losses were given back."""
    taken = (found.taken[:, None] @ losses.directions)[:, 0]
    return losses.zlp - taken, found.mixing @ losses.directions


def collected(losses):
    return BEAM.angular_logarithm(np.maximum(losses.from_peak, losses.step))


def with_hidden_losses(losses, beam):
    zlp, directions = corrected(losses, hidden_losses(losses, beam))
    return replace(losses, zlp=zlp, directions=directions)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_losses_that_the_match_knew_of_are_not_given_back_twice(share):
    true, losses = matched(3000.0, share=share)
    beyond = (ENERGY > LIMIT) & (ENERGY < 4.0)
    np.testing.assert_allclose(
        with_hidden_losses(losses, BEAM).subtracted[0, beyond], true[beyond], rtol=2e-3
    )
    taken = hidden_losses(losses, BEAM).taken
    np.testing.assert_allclose(
        taken, (1 - share) * hidden_losses(matched(3000.0)[1], BEAM).taken, atol=1e-6
    )


@pytest.mark.parametrize("slope", [300.0, 3000.0])
def test_the_zlp_is_that_without_losses_in_its_window(slope):
    true, losses = matched(slope)
    beyond = (ENERGY > LIMIT) & (ENERGY < 4.0)
    before = (losses.subtracted[0] - true)[beyond]
    after = (with_hidden_losses(losses, BEAM).subtracted[0] - true)[beyond]
    assert (before < 0).all()
    assert np.abs(after).max() < 0.05 * np.abs(before).max()


def test_nothing_is_given_back_where_there_are_no_losses():
    _, losses = matched(0.0)
    assert np.allclose(with_hidden_losses(losses, BEAM).zlp, losses.zlp, rtol=1e-12)


def test_a_specimen_with_a_gap_keeps_its_zlp():
    _, losses = matched(0.0)
    counts = losses.counts + np.where(ENERGY > 3.0, 1e4, 0.0)
    gapped = replace(losses, counts=counts)
    assert np.allclose(with_hidden_losses(gapped, BEAM).zlp, losses.zlp, rtol=1e-12)


def test_errors_grow_by_what_is_not_known_of_the_slope():
    _, losses = matched(3000.0)
    after = with_hidden_losses(losses, BEAM)
    assert after.n_directions == losses.n_directions + 1
    beyond = ENERGY > LIMIT
    std = [np.sqrt((one.directions[0][:, beyond] ** 2).sum(0)) for one in (losses, after)]
    assert (std[1] > std[0]).all()


def test_noise_of_the_level_is_noise_of_the_losses_too():
    """The error of a sum is what noise of every channel makes of it, with what it gives back."""
    _, losses = matched(3000.0)

    def given_back(counts):
        moved = replace(losses, counts=counts)
        return single_scattering(moved).given_back(hidden_losses(moved, BEAM))

    found = given_back(losses.counts)
    weights = ((ENERGY > LIMIT) & (ENERGY < 1.5 * LIMIT)).astype(float)[None]
    expected = 0.0
    for channel in range(ENERGY.size):
        step = np.sqrt(losses.variance) * (np.arange(ENERGY.size) == channel)
        sums = [(weights * given_back(losses.counts + one).counts).sum() for one in (step, -step)]
        expected += (sums[0] - sums[1]) ** 2 / 4
    changes, noise = found.changes_and_noise_of(weights)
    assert noise[0] + changes[0, -1] ** 2 == pytest.approx(expected, rel=0.01)
    apart, noise = replace(found, level=None).changes_and_noise_of(weights)
    assert noise[0] + apart[0, -1] ** 2 < 0.9 * expected


def test_the_straight_line_is_an_assumption_and_no_noise():
    """What it may do is a part of what it does, of one sign, and no direction of the error of the ZLP."""
    few, many = (matched(slope)[1] for slope in (300.0, 3000.0))
    for losses in (few, many):
        before, found = single_scattering(losses), hidden_losses(losses, BEAM)
        after = before.given_back(found)
        given = after.counts - before.counts
        assert np.allclose(after.counts_shift, 0.7 * given, atol=1e-9 * np.abs(given).max())
        taken = corrected(losses, found)[0] - losses.zlp
        assert np.allclose(after.intensity_shift, 0.7 * taken.sum(-1), rtol=1e-9)
    new = [hidden_losses(one, BEAM).mixing[0, -1] @ one.directions[0] for one in (few, many)]
    # Ten times the losses: the error of their level grows as their noise does, not as they do.
    assert np.abs(new[1]).max() < 2 * np.abs(new[0]).max()


def test_directions_are_those_of_the_corrected_zlp():
    """Moving the ZLP by a direction before is moving it by that direction after."""
    _, losses = matched(1000.0)
    after = with_hidden_losses(losses, BEAM)
    for number in range(losses.n_directions):
        moved = replace(losses, zlp=losses.zlp + losses.directions[:, number])
        found = with_hidden_losses(moved, BEAM).zlp
        assert np.allclose(found, after.zlp + after.directions[:, number], rtol=1e-9)


def test_spectra_without_a_limit_stay_as_they_are():
    _, losses = matched(1000.0)
    unlimited = replace(losses, loss_limit=np.full(1, np.inf), gain_limit=np.full(1, -np.inf))
    after = with_hidden_losses(unlimited, BEAM)
    assert np.array_equal(after.zlp, losses.zlp)


def test_losses_that_begin_just_below_the_limit_are_of_a_gap():
    """A straight line from an onset: found where it is, and less is given back than without it."""
    _, losses = matched(0.0)
    distance = np.maximum(ENERGY - 0.9, 0.0)
    added = 1e4 * distance * BEAM.angular_logarithm(np.maximum(ENERGY, 0.05)) * 0.05
    gapped = replace(losses, counts=losses.counts + added)
    assert onset_of(gapped, collected(gapped))[0] == pytest.approx(0.9, abs=0.02)
    beyond = ENERGY > LIMIT
    error = (with_hidden_losses(gapped, BEAM).zlp - losses.zlp)[0, beyond]
    assert np.abs(error).max() < 0.01 * added[beyond].max()


def test_losses_without_a_gap_have_no_onset():
    true, losses = matched(1000.0)
    exact = replace(losses, zlp=losses.counts - true)
    assert onset_of(exact, collected(exact))[0] == 0.0


def test_noise_makes_no_gap():
    true, losses = matched(300.0)
    rng = np.random.default_rng(7001)
    noisy = losses.select(np.zeros(1000, int))
    counts = rng.normal(losses.counts, np.sqrt(losses.variance), noisy.counts.shape)
    noisy = replace(noisy, counts=counts, zlp=noisy.counts - true)
    onset = onset_of(noisy, collected(noisy))
    assert (onset > 0).mean() < 0.005


def test_errors_that_are_larger_than_the_match_give_back_no_more_than_a_part():
    """Without vacuum the tail is a guess: its error says nothing of what the match took."""
    _, losses = matched(3000.0)
    doubtful = replace(losses, directions=30.0 * losses.directions)
    near = (ENERGY > LIMIT) & (ENERGY < LIMIT + 0.3)
    before, after = (
        one.subtracted[0, near].sum() for one in (doubtful, with_hidden_losses(doubtful, BEAM))
    )
    assert 1.2 < after / before < 1.5


def test_the_choice_of_the_limit_answers_to_no_counts():
    """It is an error of the ZLP, and no number of the match: what is given back does not depend on it."""
    _, losses = matched(1000.0)
    wrong = losses.directions.copy()
    wrong[:, -1] = np.where(np.abs(ENERGY) > 0.5, 0.3 * losses.zlp, 0.0)
    unsure = replace(losses, directions=wrong)
    found, same = (with_hidden_losses(one, BEAM) for one in (unsure, losses))
    np.testing.assert_allclose(found.zlp, same.zlp, rtol=1e-12)
    # Its own error stays, and goes into the level of what is given back.
    beyond = ENERGY > LIMIT
    assert (found.directions[0, -2, beyond] >= wrong[0, -1, beyond]).all()
