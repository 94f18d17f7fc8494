# SPDX-License-Identifier: GPL-3.0-or-later
"""Curve, pattern and scatter of simulated residuals are told apart, and from their noise."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.registration.levels import Prior, lay_nodes, learn_curve
from hyperspy_zlpml.registration.pattern import learn_pattern
from hyperspy_zlpml.registration.points import Points
from hyperspy_zlpml.registration.scatter import measure_scatter
from hyperspy_zlpml.statistics import Range
from hyperspy_zlpml.zlp.grid import Grid

N_SPECTRA, N_CHANNELS = 200, 161
#: Channels over which peaks drift, those that any spectrum sees, and those that most do.
DRIFT = 40
N_SEEN = N_CHANNELS + DRIFT
INSIDE = slice(DRIFT, N_CHANNELS)
#: Standard deviation of each residual by noise.
SIGMA = 0.02
U = np.linspace(-4, 4, N_CHANNELS)
GRID = Grid.covering(-4, 4)
INNER = np.abs(GRID.u) < 3


def points(curve=0.0, by_spectrum=0.0, of_channel=None, seed=0):
    """Residuals of spectra whose peaks drift over the channels, noise included."""
    rng = np.random.default_rng(seed)
    shape = (N_SPECTRA, N_CHANNELS)
    spectrum, place = np.indices(shape)
    drift = rng.integers(0, DRIFT + 1, (N_SPECTRA, 1))
    channel = place + drift
    residual = SIGMA * rng.standard_normal(shape) + curve
    residual += by_spectrum * rng.standard_normal((N_SPECTRA, 1))
    if of_channel is not None:
        residual += of_channel[channel]
    return Points(
        u=np.tile(U, N_SPECTRA),
        spectrum=spectrum.ravel(),
        channel=channel.ravel(),
        residual=residual.ravel(),
        weight=np.full(residual.size, SIGMA**-2),
        unsure=np.zeros(residual.size),
        noise=NoiseModel(1.0, 0.0),
    )


def test_noise_alone_shows_nothing():
    found = points()
    scatter = measure_scatter(found, GRID)
    assert not scatter.shared[INNER].any()
    assert scatter.own[INNER].max() < SIGMA / 5
    assert not learn_pattern(found, N_SEEN + 1)[0].any()


def test_scatter_of_each_channel_is_told_from_an_error_of_the_noise():
    # A third of the noise is a ninth of its variance: what twice an error of a fifth explains.
    rng = np.random.default_rng(2)
    found = points()
    found = replace(found, residual=found.residual + SIGMA / 3 * rng.standard_normal(found.u.size))
    known, unsure = (
        measure_scatter(replace(found, unsure=np.full(found.u.size, error)), GRID).own[INNER]
        for error in (0.0, 0.2)
    )
    assert np.median(known) > SIGMA / 10
    assert not unsure.any()


@pytest.mark.parametrize("size", [0.01, 0.05])
def test_scatter_that_channels_share_is_told_from_that_of_each(size):
    scatter = measure_scatter(points(by_spectrum=size), GRID)
    assert scatter.shared[INNER] == pytest.approx(size, rel=0.3)
    assert scatter.own[INNER].max() < size / 2
    assert (scatter.expected >= scatter.shared).all()


def test_where_there_is_no_scatter_no_more_is_expected_than_noise_leaves_on_average():
    # What is measured of a variance of zero scatters by its error, and 0.8 to 1.0 errors are then expected; what two
    # errors do not exclude, which stood in the band before, was 2.5. About 2 FWHM ten channels lie in a cell.
    error = np.sqrt(2 / N_SPECTRA) * SIGMA**2 / 10
    there = np.abs(GRID.u - 2.0).argmin()
    found = [measure_scatter(points(seed=seed), GRID).expected[there] for seed in range(20)]
    assert 0.6 < np.mean(np.square(found)) / error < 1.4


def test_scatter_beyond_the_spectra_is_not_excluded():
    scatter = measure_scatter(points(), Grid.covering(-20, 20))
    assert np.isinf(scatter.expected[[0, -1]]).all()


def test_no_points_exclude_nothing():
    scatter = measure_scatter(points().select(np.zeros(0, int)), GRID)
    assert not scatter.own.any()
    assert np.isinf(scatter.expected).all()


def test_a_curve_is_learnt_within_its_error():
    ripple = 0.005 * np.sin(4 * U)
    nodes = lay_nodes(Range(-4.0, 4.0), per_fwhm=N_CHANNELS / 8)
    found = learn_curve(points(ripple), nodes, np.zeros(N_SPECTRA), Prior.none(nodes.size))
    inner = np.abs(nodes) < 3
    deviation = (found.curve - 0.005 * np.sin(4 * nodes))[inner]
    error = np.hypot(found.group_error, found.channel_error)[inner]
    assert np.sqrt((deviation**2).mean()) < 0.25 * 0.005
    assert (np.abs(deviation) < 2 * error).mean() > 0.8
    assert not found.widening.any()


def test_a_pattern_is_learnt_within_its_error():
    truth = 0.01 * np.random.default_rng(1).standard_normal(N_SEEN)
    pattern, error = learn_pattern(points(of_channel=truth), N_SEEN + 1)
    deviation, error = (pattern[:-1] - truth)[INSIDE], error[:-1][INSIDE]
    assert 0.5 < np.sqrt(((deviation / error) ** 2).mean()) < 1.5
    assert error.max() < 0.01 / 3


def test_a_peak_of_another_shape_is_no_pattern():
    pattern, _ = learn_pattern(points(of_channel=0.02 * np.cos(np.arange(N_SEEN) / 20)), N_SEEN + 1)
    assert not pattern.any()
