# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra that are pooled: alignment, errors that are shared and errors that are not."""

from dataclasses import replace

import numpy as np
import pytest
from onset_spectra import axis, make_losses
from scipy.stats import ortho_group

from hyperspy_zlpml.physics.losses import Losses
from hyperspy_zlpml.physics.pooling import (
    Packing,
    aligned,
    cropped,
    members_of,
    pool_groups,
    pool_neighbours,
    pooled,
    pooled_groups,
)


def some(n=6, **changes):
    losses = make_losses(1e3 + 0 * axis(200), noise=20.0, zlp_error=0.05, n=n)
    return cropped(replace(losses, **changes), 1.0, 4.0)


def totals(losses):
    return losses.subtracted.sum(-1)


def test_spectra_are_aligned_on_their_peaks():
    near, far = (make_losses(axis(200), noise=None, offset=offset) for offset in (0.0, 1.0))
    far = replace(far, centre=far.centre + 0.01)
    near, far = cropped(near, 1.0, 3.0), cropped(far, 1.0, 3.0)
    np.testing.assert_allclose(near.energy, 1 + 0.05 * np.arange(41), atol=1e-9)
    np.testing.assert_allclose(near.counts, far.counts)
    assert far.centre[0] == pytest.approx(0.01)


def test_beyond_the_axis_there_is_nothing():
    found = cropped(make_losses(axis(100), noise=None), 1.0, 5.0)
    beyond = found.energy > axis(100)[-1] + 1e-6
    assert beyond.any()
    np.testing.assert_array_equal(np.isnan(found.counts[0]), beyond)
    np.testing.assert_array_equal(np.isnan(found.directions[0, 0]), beyond)


def test_what_is_packed_is_unpacked():
    losses = some()
    packing = Packing.of(losses)
    rows = packing.pack(losses)
    assert rows.shape == (6, packing.width)
    found = packing.unpack(rows)
    for name in Losses._of_spectra():
        np.testing.assert_array_equal(getattr(found, name), getattr(losses, name))


def test_turned_directions_stand_for_the_same_errors():
    rng = np.random.default_rng(0)
    losses = some(3)
    losses = replace(losses, directions=rng.standard_normal((3, 4, losses.energy.size)))
    turned = aligned(losses, losses.select([0]))
    before = np.einsum("pdi,pdj->pij", losses.directions, losses.directions)
    np.testing.assert_allclose(np.einsum("pdi,pdj->pij", turned, turned), before, atol=1e-9)
    np.testing.assert_allclose(turned[0], losses.directions[0], atol=1e-9)


def test_the_same_errors_are_recognised_however_they_are_told():
    rng = np.random.default_rng(1)
    losses = some(5)
    one = rng.standard_normal((4, losses.energy.size))
    turns = ortho_group.rvs(4, size=5, random_state=rng)
    losses = replace(losses, directions=turns @ one)
    found = pooled(losses, losses.select([2]))
    covariance = found.directions[0].T @ found.directions[0]
    np.testing.assert_allclose(covariance, one.T @ one, atol=1e-8)


def test_noise_averages_out_and_the_error_of_the_zlp_does_not():
    losses = some(16)
    found, one = pooled(losses, losses.select([0])), losses.select([0])
    assert totals(found)[0] == pytest.approx(totals(losses).mean())
    noise = np.sqrt(found.variance.sum()) / np.sqrt(one.variance.sum())
    assert noise == pytest.approx(1 / 4, rel=0.05)
    np.testing.assert_allclose(found.directions, one.directions, rtol=1e-6)
    assert found.response.sum() == pytest.approx(1)


def test_vacuum_and_higher_limits_stay_out():
    vacuum = np.array([0, 0, 1, 0, 0, 0], bool)
    losses = some(loss_limit=np.array([1.5, 1.5, 1.5, 1.7, 1.2, np.nan]), is_vacuum=vacuum)
    everything = np.arange(6)
    np.testing.assert_array_equal(members_of(losses, 0, everything), [0, 1, 4])
    np.testing.assert_array_equal(members_of(losses, 2, everything), [2])


RIM = np.array([0.5, 1.0, 0.5])


@pytest.mark.parametrize("size, weights", [(2, np.outer(RIM, RIM)), (3, np.ones((3, 3)))])
def test_neighbours_are_those_beside(size, weights):
    """Those at the rim of an even number count by half: their sum is that of 2 x 2."""
    assert weights.sum() == size**2
    losses = some(30)
    packing = Packing.of(losses)
    rows = packing.pack(losses)
    rows[7] = np.nan
    rows = rows.reshape(5, 6, -1)
    found = pool_neighbours(packing, rows, lambda one: totals(one)[:, None], 1, size=size)
    assert found.shape == (5, 6, 1)
    assert np.isnan(found[1, 1])
    box = np.arange(30).reshape(5, 6)[2:5, 2:5].ravel()
    assert found[3, 3, 0] == pytest.approx(weights.ravel() @ totals(losses)[box] / size**2)
    inner = (slice(2, 4), slice(1, 5))
    part = pool_neighbours(
        packing, rows, lambda one: totals(one)[:, None], 1, size=size, inner=inner
    )
    np.testing.assert_array_equal(part, found[inner])


def test_weights_count_twice_in_the_noise():
    losses = some(3)
    found = pooled(losses, losses.select([1]), weights=np.array([0.5, 1.0, 0.5]))
    np.testing.assert_allclose(found.variance[0], np.array([0.25, 1, 0.25]) @ losses.variance / 4)
    np.testing.assert_allclose(found.directions[0], losses.directions[1], rtol=1e-6)
    np.testing.assert_allclose(found.fwhm, losses.fwhm[:1])


def test_groups_may_be_summed_in_parts():
    losses = some(12)
    packing, labels = Packing.of(losses), np.array([0, 1, -1] * 4)
    rows = packing.pack(losses)
    references = rows[:2]
    whole = pool_groups(packing, rows, labels, references)
    parts = [
        pool_groups(packing, rows[part], labels[part], references)
        for part in (slice(0, 5), slice(5, None))
    ]
    np.testing.assert_allclose(sum(parts), whole)
    found = pooled_groups(packing, whole, references)
    np.testing.assert_array_equal(whole[:, -1], [4, 4])
    np.testing.assert_allclose(totals(found), [totals(losses)[labels == g].mean() for g in (0, 1)])
    np.testing.assert_allclose(found.fwhm, losses.fwhm[:2])
