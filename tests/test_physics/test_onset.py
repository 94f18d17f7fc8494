# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes of onsets, their templates, what tails bring down, and the fit, against plain references."""

import numpy as np
import pytest
from onset_spectra import FWHM, axis, blurred, make_losses, onset, peak

from hyperspy_zlpml.physics.bins import Bins, binned
from hyperspy_zlpml.physics.onset import Shapes, Templates, onset_grid, rise, templates
from hyperspy_zlpml.physics.onset_fit import departures, fit
from hyperspy_zlpml.physics.scattered_down import scattered_down, without_losses_above


def some_bins(step=0.05, n_channels=1, n_bins=40, start=1.0):
    energy = start + step * (np.arange(n_bins * n_channels).reshape(n_bins, -1)).mean(-1)
    nothing = np.zeros(n_bins)
    return Bins(energy, nothing, nothing + 1.0, nothing[None], step, n_channels)


def response(step, reach=8):
    n = int(reach * FWHM / step)
    shape = peak(step * np.arange(-n, n + 1))
    return shape / shape.sum()


def test_a_wide_rise_is_a_power_law():
    above = np.array([-1.0, 0.0, 0.25, 1.0])
    np.testing.assert_allclose(rise(above, 0.5, np.inf), [0, 0, 0.5, 1])
    np.testing.assert_allclose(rise(above, 1.5, 1e9), [0, 0, 0.125, 1], atol=1e-8)
    assert rise(np.array([1e6]), 0.5, width=2.0) == pytest.approx(2**0.5, rel=1e-5)


@pytest.mark.parametrize("step, n_channels", [(0.02, 3), (0.05, 1)])
def test_shapes_end_where_they_are_told(step, n_channels):
    """Whatever the onset: as a plain convolution of shapes that are cut off there."""
    bins = some_bins(step, n_channels)
    end = bins.energy[-1] + 0.5 * n_channels * step
    grid, shapes = onset_grid(bins, 1.4, 1.6, fineness=0.05), Shapes((0.5,), (0.8,), (0.0,))
    found = templates(bins, grid, shapes, response(step), end=end)
    n, beside = bins.energy.size * n_channels, response(step).size
    channel = bins.first_channel + step * np.arange(-beside, n + beside)
    parts = step * ((np.arange(8) + 0.5) / 8 - 0.5)
    for place, at in enumerate(grid.energy):
        sharp = np.mean([rise(channel + part - at, 0.5, 0.8) for part in parts], axis=0)
        plain = np.convolve(sharp * (channel < end), response(step), "same")[beside : beside + n]
        plain = plain.reshape(-1, n_channels).mean(-1)
        np.testing.assert_allclose(found.level[0, place], plain, atol=1e-3 * plain.max())


@pytest.mark.parametrize("step, n_channels", [(0.02, 3), (0.05, 1), (0.02, 2), (0.15, 1)])
@pytest.mark.parametrize("exponent, growth", [(0.5, 0.0), (1.5, 1.0)])
def test_templates_are_plain_convolutions(step, n_channels, exponent, growth):
    bins = some_bins(step, n_channels)
    grid = onset_grid(bins, 1.4, 1.6, fineness=0.04)
    shapes = Shapes((exponent,), (0.8,), (growth,))
    found = templates(bins, grid, shapes, response(step))
    assert found.level.shape == (1, grid.energy.size, bins.energy.size)
    assert np.diff(grid.energy).max() <= 0.04 + 1e-9
    fine = step / 50
    wide = np.arange(-4.0, 8.0, fine)
    # The response is known in steps of a channel.
    points = step * (np.arange(response(step).size) - response(step).size // 2)
    for place in (0, grid.energy.size // 2):
        sharp = rise(wide - grid.energy[place], exponent, 0.8)
        sharp = sharp * (1 + growth * (wide - grid.energy[place]) / grid.energy[place])
        plain = sum(
            height * np.interp(wide - point, wide, sharp)
            for point, height in zip(points, response(step), strict=True)
        )
        half = 0.5 * step * n_channels
        expected = [
            plain[(wide > middle - half) & (wide < middle + half)].mean() for middle in bins.energy
        ]
        np.testing.assert_allclose(found.of(0, place), expected, atol=0.01 * max(expected))


def test_templates_move_with_their_onset():
    bins = some_bins(step=0.05, n_channels=2)
    grid = onset_grid(bins, 1.2, 2.0, fineness=0.1)
    found = templates(bins, grid, Shapes((0.5,), (1.0,)), response(0.05)).level[0]
    np.testing.assert_allclose(found[0, :-1], found[1, 1:], rtol=1e-9, atol=1e-12)


def test_templates_do_not_depend_on_the_other_bins():
    shapes, long = Shapes((0.5, 1.0), (1.0,)), some_bins(n_bins=60)
    grid = onset_grid(long, 1.3, 1.9, 0.05)
    whole = templates(long, grid, shapes, response(0.05))
    part = templates(long.between(0, 2.5), grid, shapes, response(0.05))
    size = part.level.shape[-1]
    np.testing.assert_allclose(part.level, whole.level[..., :size], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(part.rising, whole.rising[..., :size], rtol=1e-8, atol=1e-10)


def test_the_fit_is_generalised_least_squares():
    rng = np.random.default_rng(0)
    n = 30
    variance, directions = rng.uniform(1, 4, n), rng.standard_normal((3, n))
    bins = Bins(np.arange(n) + 0.0, rng.standard_normal(n), variance, directions, 1.0, 1)
    level, rising = rng.standard_normal((2, 3, 4, n))
    shapes = Templates(level, rising, growth=np.array([[0.0] * 4, [0.1, 0.2, 0.3, 0.4]]))
    found = fit(bins, shapes, [12, n])
    for end, size in enumerate((12, n)):
        covariance = np.diag(variance) + directions.T @ directions
        covariance = covariance[:size, :size]
        inverse, data = np.linalg.inv(covariance), bins.signal[:size]
        _, log_determinant = np.linalg.slogdet(covariance)
        expected = log_determinant - np.log(variance[:size]).sum()
        assert found.log_determinant[end] == pytest.approx(expected, rel=1e-3)
        assert found.none[end] == pytest.approx(data @ inverse @ data, rel=1e-3)
        for place in np.ndindex(6, 4):
            shape = shapes.of(*place)[:size]
            height = max(shape @ inverse @ data / (shape @ inverse @ shape), 0)
            left = data - height * shape
            assert found.height[end][place] == pytest.approx(height, rel=1e-3, abs=1e-6)
            assert found.chi2[end][place] == pytest.approx(left @ inverse @ left, rel=1e-3)


def test_one_single_direction_may_be_there_or_none():
    """chi2 is that of a mixture: the plain fit beside those with one direction more, by their evidence."""
    rng = np.random.default_rng(1)
    n = 24
    level, rising = rng.uniform(1, 2, (2, 2, 3, n))
    shapes = Templates(level, rising, growth=np.array([[0.0] * 3, [0.2] * 3]))
    variance, directions = rng.uniform(1, 4, n), rng.standard_normal((2, n))
    signal = 3 * level[0, 0] + 4 * np.exp(-((np.arange(n) - 15.0) ** 2)) + rng.standard_normal(n)
    bins = Bins(np.arange(n) + 0.0, signal, variance, directions, 1.0, 1)
    single = np.stack([4 * np.exp(-((np.arange(n) - at) ** 2)) for at in (5.0, 15.0)])
    plain, found = fit(bins, shapes, [n]), fit(bins, shapes, [n], single)
    more = [
        fit(bins._replace(directions=np.concatenate([directions, one[None]])), shapes, [n])
        for one in single
    ]
    likelihood = [
        np.exp(-0.5 * (one.chi2 + one.log_determinant - plain.log_determinant)) for one in more
    ]
    expected = -2 * np.log(0.5 * (np.exp(-0.5 * plain.chi2) + np.mean(likelihood, 0)))
    np.testing.assert_allclose(found.chi2, expected, rtol=1e-3)
    # The bump that is there is what fits best.
    np.testing.assert_allclose(found.height, more[1].height, rtol=1e-3)
    assert (found.chi2 <= plain.chi2).all()
    np.testing.assert_allclose(found.log_determinant, plain.log_determinant)


def test_bins_average_whole_channels():
    losses = make_losses(np.arange(200.0), step=0.02, noise=None)
    bins = binned(losses, 0, low=1.0)
    assert bins.n_channels == int(FWHM / 4 / 0.02)
    assert bins.energy[0] >= 1.0
    first = np.searchsorted(losses.from_peak[0], 1.0)
    channels = slice(first, first + bins.n_channels)
    assert bins.signal[0] == pytest.approx(losses.subtracted[0, channels].mean())
    assert bins.variance[0] == pytest.approx(losses.variance[0, channels].mean() / bins.n_channels)


def test_what_the_tail_brings_down_is_what_a_template_leaves_out():
    """The plasmon is thirty times as high as the onset: without its tail the gap is no gap."""
    energy = axis(700)
    losses = make_losses(blurred(energy, onset(3.0, 0.5), 0.05), noise=None)
    bins = binned(losses, 0, 1.5)
    below, above = bins.between(1.5, 2.2), bins.between(2.2, np.inf)
    brought, error = scattered_down(below, above, losses.response[0])
    # Beside the limit itself losses are measured blurred, and blurred once more.
    away = below.energy < 1.95
    np.testing.assert_allclose(brought[away], below.signal[away], rtol=0.15)
    assert (np.abs(brought - below.signal)[away] < 2 * error[away]).all()


def test_what_the_tail_brings_down_is_a_plain_sum():
    bins, above = some_bins(n_bins=5), some_bins(n_bins=9, start=1.25)
    above = above._replace(signal=np.arange(9.0))
    shape = response(0.05)
    brought, _ = scattered_down(bins, above, shape)
    middle = shape.size // 2
    plain = [
        sum(
            signal * shape[middle - round((high - low) / 0.05)]
            for high, signal in zip(above.energy, above.signal, strict=True)
        )
        for low in bins.energy
    ]
    np.testing.assert_allclose(brought, plain, rtol=1e-6)


def test_without_losses_above_only_what_is_below_changes():
    energy = axis(700)
    losses = make_losses(blurred(energy, onset(3.0, 0.5), 0.05), noise=None)
    found = without_losses_above(losses, 2.5)
    above = losses.from_peak[0] >= 2.5
    np.testing.assert_array_equal(found.zlp[:, above], losses.zlp[:, above])
    gap = (losses.from_peak[0] > 1.5) & (losses.from_peak[0] < 2.0)
    assert (np.abs(found.subtracted[0, gap]) < 0.2 * losses.subtracted[0, gap]).all()
    assert found.n_directions == losses.n_directions + 1


def test_departures_are_in_proportion_to_the_losses():
    bins = some_bins()
    model = np.clip(bins.energy - 1.5, 0, None)
    found = departures(bins, model, onset=1.5, distance=0.2)
    assert (found[:, model == 0] == 0).all()
    relative = np.sqrt((found**2).sum(0))[model > 0] / model[model > 0]
    assert 0.5 < relative.min()
    assert relative.max() < 1.01
