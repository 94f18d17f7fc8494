# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses that begin gently, below their limit."""

import numpy as np
import pytest

from hyperspy_zlpml.registration.foot import LossRatio, foot_of_losses

LIMIT = 2.0
BEHIND = np.linspace(LIMIT, 10.0, 80)
BELOW = np.linspace(0.05, 0.95, 19) * LIMIT


def losses(ratio, u=BEHIND, error=1e-5):
    return LossRatio(LIMIT, u, ratio, np.broadcast_to(error, u.shape))


def test_losses_that_are_flat_behind_their_limit_fall_towards_the_peak():
    # Like the square at least: losses are odd in the energy, and the tail of the peak is no flatter than 1/u.
    flat = losses(0.01 * (1 + 0.02 * (BEHIND / LIMIT - 1) ** 3))
    (foot,) = foot_of_losses(BELOW, [flat])
    np.testing.assert_allclose(foot, 0.01 * (BELOW / LIMIT) ** 2, rtol=0.03)


def test_steeper_losses_fall_by_their_own_power():
    (foot,) = foot_of_losses(BELOW, [losses(1e-4 * BEHIND**4)])
    np.testing.assert_allclose(foot, 1e-4 * BELOW**4, rtol=1e-6)


@pytest.mark.parametrize("power", [0.01, 3.0])
def test_the_peak_and_the_gain_side_hold_no_foot(power):
    (foot,) = foot_of_losses(np.array([-8.0, -1.0, 0.0]), [losses(0.01 * BEHIND**power)])
    assert not foot.any()


def test_no_foot_is_higher_than_what_is_measured_allows():
    # They begin suddenly, and none are seen below: 2 errors at most.
    u = np.linspace(0.1, 10.0, 100)
    sudden = losses(np.where(u > LIMIT, 0.02 * u, 0.0), u=u, error=1e-4)
    (foot,) = foot_of_losses(BELOW[:-1], [sudden])
    assert 0 < foot.max() <= 2.01e-4


def test_noisy_groups_of_a_cluster_count_least():
    thick = losses(1e-3 * BEHIND**2)
    noisy = BEHIND > 1.5 * LIMIT
    off = np.where(noisy, 10.0, 0.5) * thick.ratio
    thin = losses(off, error=np.where(noisy, 1.0, 1e-5))
    foot, whole = foot_of_losses(BELOW, [thin, thick])
    np.testing.assert_allclose(foot, 0.5 * whole, rtol=1e-3)
