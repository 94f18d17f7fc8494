# SPDX-License-Identifier: GPL-3.0-or-later
"""Fourier-log deconvolution against plural scattering that is summed order by order."""

from dataclasses import replace

import numpy as np
import pytest
from scattering_spectra import drude, make_losses

from hyperspy_zlpml.physics.deconvolution import (
    channels_to_sum,
    from_peak,
    rebinned,
    single_scattering,
    summed_channels,
    up_to,
)
from hyperspy_zlpml.physics.hidden_losses import GivenBack

pytestmark = pytest.mark.filterwarnings("error")


def relative_error(found, truth):
    return np.abs(found - truth).max(-1) / truth.max(-1)


@pytest.mark.parametrize("rebin", [1, 2])
@pytest.mark.parametrize("thickness", [0.05, 0.5, 2.0, 3.9])
def test_single_scattering_comes_back(thickness, rebin):
    """Up to the end of the axis, though much is scattered beyond it."""
    losses, once = make_losses(thickness)
    found = single_scattering(rebinned(losses, rebin))
    assert relative_error(found.counts, summed_channels(once, rebin)) < 1e-3


def test_phase_is_unwrapped():
    """A narrow plasmon low on a long axis: its transform is turned by more than half a circle."""
    losses, once = make_losses(3.8, lambda loss: drude(loss, 5.0, 0.2), electrons=1e12)
    assert relative_error(single_scattering(losses).counts, once) < 1e-3


def test_gains_are_deconvolved_as_losses_are():
    losses, once = make_losses(0.5)
    gained = np.roll(losses.zlp, -20, axis=-1) * 0.01
    both = single_scattering(replace(losses, counts=losses.counts + gained))
    # A gain and a loss leave the energy between them, which is no single scattering.
    alike = np.roll(losses.counts, -20, axis=-1) * 0.01
    right = single_scattering(replace(losses, counts=losses.counts + alike))
    gain = (right.counts - single_scattering(losses).counts)[:, 10:25]
    assert np.allclose(gain, gained[:, 10:25], atol=2e-4 * gained.max())
    assert relative_error(both.counts[:, 60:], once[:, 60:]) < 2e-2


@pytest.mark.parametrize("thickness", [0.8, 2.0])
def test_error_bars_hold(thickness):
    losses, once = make_losses(np.full(60, thickness), seed=7001)
    found = single_scattering(losses)
    pull = (found.counts - once) / np.sqrt(found.variance + found.zlp_variance)
    for low, high in ((2, 8), (8, 20), (20, 35), (35, 44)):
        window = (found.energy > low) & (found.energy < high)
        assert pull[:, window].std() == pytest.approx(1.0, abs=0.06)
        assert (np.abs(pull[:, window]) < 1).mean() == pytest.approx(0.683, abs=0.03)


def test_errors_of_sums_are_not_those_of_independent_channels():
    losses, once = make_losses(np.full(200, 1.5), seed=7002)
    found = single_scattering(losses)
    weights = np.ones_like(once) * (found.energy > 2)
    of_zlp = np.einsum("ne,nqe->nq", weights, found.directions)
    _, noise = found.changes_and_noise_of(weights)
    std = np.sqrt(noise + (of_zlp**2).sum(-1))
    pull = ((found.counts - once) * weights).sum(-1) / std
    assert pull.std() == pytest.approx(1.0, abs=0.12)
    naive = (found.variance * weights).sum(-1)
    assert (noise < naive).all()


def test_deviations_are_derivatives():
    """Directions and noise are what a small change of the ZLP or of a channel makes."""
    losses, _ = make_losses([0.3, 1.2], seed=7003)
    found = single_scattering(losses)
    for number in range(2):
        small = 1e-3 * losses.directions[:, number]
        higher = single_scattering(replace(losses, zlp=losses.zlp + small)).counts
        lower = single_scattering(replace(losses, zlp=losses.zlp - small)).counts
        expected = (higher - lower) / 2e-3
        assert np.allclose(
            found.directions[:, number], expected, atol=1e-4 * np.abs(expected).max()
        )


def test_changes_of_sums_are_sums_of_changes():
    """Weights that go back give what deviations give that go forth, given back or not."""
    losses, _ = make_losses([0.3, 1.2], seed=7003)
    rng = np.random.default_rng(7003)
    weights = rng.normal(size=losses.counts.shape)
    plain = single_scattering(losses)
    hidden = GivenBack(rng.normal(size=(2, 2)), rng.normal(size=(2, 3, 2)), level=0 * losses.counts)
    given = plain.given_back(hidden)
    for found in (plain, given):
        expected = np.einsum("ne,nqe->nq", weights, found.directions)
        assert np.allclose(found.changes_of(weights), expected, rtol=1e-9)
        assert np.allclose(found.changes_and_noise_of(weights)[0], expected, rtol=1e-9)


def test_variance_is_that_of_every_channel_on_its_own():
    losses, _ = make_losses([1.2], n_energy=120, seed=7004)
    found = single_scattering(losses)
    jacobian = np.empty((120, 120))
    for channel in range(120):
        change = np.zeros(120)
        change[channel] = 1.0
        higher = single_scattering(replace(losses, counts=losses.counts + change)).counts
        lower = single_scattering(replace(losses, counts=losses.counts - change)).counts
        jacobian[:, channel] = (higher - lower)[0] / 2
    assert np.allclose(found.variance[0], jacobian**2 @ losses.variance[0], rtol=1e-4)
    weights = np.linspace(-1, 2, 120)
    expected = (weights @ jacobian) ** 2 @ losses.variance[0]
    _, noise = found.changes_and_noise_of(weights[None])
    assert noise[0] == pytest.approx(expected, rel=1e-4)


def test_nothing_is_lost_in_vacuum():
    losses, _ = make_losses(0.0, seed=7005)
    found = single_scattering(losses)
    signal = losses.subtracted
    assert np.abs(found.counts - signal).max() < 0.1 * np.sqrt(losses.variance.max())


def test_spectra_are_treated_alone():
    losses, _ = make_losses([0.0, 0.5, 5.0, 1.0], seed=7006, centre=[0.0, 0.1, 0.0, -0.2])
    together = single_scattering(losses)
    for row in range(4):
        alone = single_scattering(losses.select([row]))
        assert np.allclose(alone.counts[0], together.counts[row], rtol=1e-12, equal_nan=True)
        assert np.allclose(alone.variance[0], together.variance[row], rtol=1e-9, equal_nan=True)


def test_too_thick_and_empty_spectra_are_nan():
    losses, _ = make_losses([0.5, 4.5, 0.5], seed=7007)
    losses.zlp[2] = 0.0
    found = single_scattering(losses)
    for values in (found.counts, found.variance, found.directions.sum(1)):
        assert (np.isnan(values).all(-1) == [False, True, True]).all()


def test_rebinning_keeps_counts_and_response():
    losses, _ = make_losses([0.5], n_energy=501)
    coarse = rebinned(losses, 4)
    assert coarse.counts.sum() == pytest.approx(losses.counts[:, 1:].sum())
    assert coarse.energy[-1] == pytest.approx(losses.energy[-4:].mean())
    assert coarse.step == pytest.approx(4 * losses.step)
    assert coarse.response.sum() == pytest.approx(1.0)
    assert coarse.distance[coarse.distance.size // 2] == 0
    # As a peak at the middle of a new channel, which lies between two old ones.
    fine = np.interp(
        coarse.distance[:, None] + losses.step * np.array([-1.5, -0.5, 0.5, 1.5]),
        losses.distance,
        losses.response[0],
    ).sum(-1)
    assert np.allclose(coarse.response[0], fine, atol=0.02 * fine.max())


def test_what_is_beyond_has_no_part_in_what_is_below():
    losses, _ = make_losses([0.5])
    near = up_to(losses, 30.0)
    assert near.energy[-1] == pytest.approx(30.0)
    whole, part = (single_scattering(one).counts for one in (losses, near))
    inside = near.energy < 29.0
    assert np.allclose(part[:, inside], whole[:, : inside.size][:, inside], rtol=1e-4, atol=0.1)


@pytest.mark.parametrize("fwhm, step, factor", [(0.45, 0.025, 4), (0.45, 0.2, 1), (0.01, 5e-4, 5)])
def test_channels_to_sum(fwhm, step, factor):
    assert channels_to_sum(fwhm, step) == factor


def test_energies_from_the_peak():
    """Spectra whose peaks lie at different energies come to lie on each other."""
    centre = np.array([0.0, 0.037, -0.512, 1.5])
    losses, _ = make_losses(np.full(4, 0.7), centre=centre)
    found = from_peak(single_scattering(losses))
    inside = (found.energy > 1) & (found.energy < 43)
    steps = found.energy / losses.step
    assert np.isclose(steps, np.round(steps)).all()
    counts = found.counts[:, inside]
    assert np.allclose(counts, counts[0], atol=1e-3 * counts.max())
    assert np.isnan(found.counts[3, -10:]).all()
    moved = replace(losses, zlp=losses.zlp + losses.directions[:, 0])
    expected = from_peak(single_scattering(moved)).counts - found.counts
    assert np.allclose(
        found.directions[:, 0, inside],
        expected[:, inside],
        atol=0.01 * np.nanmax(np.abs(expected[:, inside])),
    )
    for one in (found.directions[:, 0], found.counts_shift, found.of_level):
        assert (np.isnan(one) == np.isnan(found.counts)).all()


@pytest.mark.parametrize("factor", [2, 50, 400])
def test_channels_wider_than_the_response_hold_all_of_it(factor):
    # A sharp peak on a long axis.
    losses, _ = make_losses(0.5, n_energy=4000)
    found = rebinned(losses, factor)
    assert found.response.shape[-1] == found.distance.size >= 3
    np.testing.assert_allclose(found.response.sum(-1), 1)
    assert (found.response[:, found.distance.size // 2] == found.response.max(-1)).all()
    assert np.isfinite(single_scattering(rebinned(losses, factor)).counts).any()
