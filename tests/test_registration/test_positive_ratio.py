# SPDX-License-Identifier: GPL-3.0-or-later
"""Ratios of tails that are positive, drawn to what was expected of them."""

import numpy as np
import pytest

from hyperspy_zlpml.registration import positive_ratio as module
from hyperspy_zlpml.registration.positive_ratio import positive_ratio

N = 60
START = 1.0
U = np.geomspace(1.05, 16.0, N)
#: A power of the energy, known to a quarter.
PRIOR = 0.25 * np.log(U / START)
NONE = np.zeros((1, N))
UNKNOWN = np.full(N, np.inf)


def weighed(found, deviations, variance, prior):
    return positive_ratio(
        U, start=START, found=found, deviations=deviations, variance=variance, prior=prior
    )


def spread(tail, deviations=NONE):
    """Standard deviations of the logarithm by all errors."""
    return np.sqrt((np.vstack([tail.directions, tail.follow(deviations)]) ** 2).sum(0))


def walks(n, rng, prior=PRIOR):
    """Logarithms drawn from the prior."""
    steps = np.diff(prior**2, prepend=0.0)
    return np.cumsum(rng.standard_normal((n, N)) * np.sqrt(steps), axis=-1)


def test_what_is_not_measured_is_as_expected():
    tail = weighed(np.full(N, 7.0), NONE, UNKNOWN, PRIOR)
    np.testing.assert_allclose(tail.ratio, 1, atol=1e-9)
    np.testing.assert_allclose(spread(tail), PRIOR, rtol=1e-3)
    assert not tail.response.any()


def test_small_errors_are_those_of_a_linear_fit():
    # ln(1 + x) is x: the mean of a normal prior and a normal likelihood, in closed form.
    rng = np.random.default_rng(1)
    prior, noise = 1e-3 * PRIOR, 2e-4
    found = 1 + noise * rng.standard_normal(N)
    tail = weighed(found, NONE, np.full(N, noise**2), prior)
    walk = np.minimum.outer(prior**2, prior**2)
    gain = walk @ np.linalg.inv(walk + noise**2 * np.eye(N))
    # Up to the 1e-12 that are added to variances against rounding.
    np.testing.assert_allclose(tail.log_ratio, gain @ (found - 1), atol=5e-6)
    left = np.sqrt(np.diag(walk - gain @ walk))
    np.testing.assert_allclose(spread(tail)[3:], left[3:], rtol=0.01)


@pytest.mark.parametrize("found, error", [(3.0, 1.0), (0.2, 0.5), (-1.0, 0.7), (8.0, 2.0)])
def test_one_measurement_meets_the_prior_where_a_fine_search_says(found, error):
    variance = UNKNOWN.copy()
    variance[40] = error**2
    tail = weighed(np.full(N, found), NONE, variance, PRIOR)
    logarithm = np.linspace(-4, 4, 400_001)
    missed = (logarithm / PRIOR[40]) ** 2 + ((np.exp(logarithm) - found) / error) ** 2
    assert tail.log_ratio[40] == pytest.approx(logarithm[missed.argmin()], abs=2e-3)
    # Farther out it stays, nearer it is part of the way: as a walk with known ends.
    np.testing.assert_allclose(tail.log_ratio[41:], tail.log_ratio[40], atol=1e-3)
    part = (PRIOR[20] / PRIOR[40]) ** 2
    assert tail.log_ratio[20] == pytest.approx(part * tail.log_ratio[40], abs=2e-3)


def test_ratios_stay_positive_where_noise_is_below_zero():
    tail = weighed(np.full(N, -3.0), NONE, np.full(N, 1e-8), PRIOR)
    assert (tail.ratio > 0).all()
    assert np.isfinite(tail.response).all()
    assert np.isfinite(tail.directions).all()


def test_a_tail_far_above_the_gain_side_is_followed():
    # A Gaussian flank before the peak, an exponential tail behind it: thirty times within an octave.
    truth = 1 + 29 * np.clip(np.log2(U), 0, 1) ** 2
    rng = np.random.default_rng(2)
    noise = 0.1 * truth * np.maximum(U / 4, 1) ** 3
    found = truth + noise * rng.standard_normal(N)
    tail = weighed(found, NONE, noise**2, PRIOR)
    pulls = (tail.log_ratio - np.log(truth)) / np.maximum(spread(tail), 1e-3)
    assert np.abs(tail.log_ratio - np.log(truth))[5:].max() < 0.5
    assert np.sqrt(np.mean(pulls[5:] ** 2)) < 2


def test_no_parting_is_found_where_sides_are_alike():
    # Draws of the prior with noise: of 200, a parting that is better by e**5 is found in less than 1 %.
    rng = np.random.default_rng(3)
    noise = 0.3 * U
    n_parted, pulls = 0, []
    for logarithm in walks(200, rng):
        found = np.exp(logarithm) + noise * rng.standard_normal(N)
        tail = weighed(found, NONE, noise**2, PRIOR)
        n_parted += spread(tail)[2] > 1.5 * PRIOR[2]
        pulls.append(((tail.log_ratio - logarithm) / spread(tail))[5:])
    assert n_parted < 2
    # Errors hold: pulls are correlated along an axis and few degrees apart, so that 200 rms are good to 4 %.
    assert 0.9 < np.sqrt(np.mean(np.square(pulls))) < 1.1


def test_an_error_that_energies_share_does_not_average_out():
    seen = U > 4
    unknown = np.where(seen, 0.0, np.inf)
    shared = np.where(seen, 0.4, 0.0)[None]
    together = weighed(np.full(N, 1.2), shared, unknown, PRIOR)
    apart = weighed(np.full(N, 1.2), NONE, unknown + 0.4**2, PRIOR)
    assert spread(together, shared)[45] > 1.5 * spread(apart)[45]


def test_directions_have_all_of_the_variances():
    rng = np.random.default_rng(4)
    factor = rng.standard_normal((N, 9))
    covariance = factor @ factor.T
    described = (module._directions(covariance) ** 2).sum(0)
    np.testing.assert_allclose(described, np.diag(covariance))
