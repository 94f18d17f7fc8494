# SPDX-License-Identifier: GPL-3.0-or-later
"""Thickness from single scattering: in proportion where all losses are not, wherever the axis ends."""

import re
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import poisson

from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.registration.thickness import (
    relative_thickness,
    scattered_once,
    share_beyond_noise,
    why_no_thickness,
)
from hyperspy_zlpml.registration.zero_thickness import at_zero_thickness
from hyperspy_zlpml.zlp.grid import Grid

#: Grid of the losses, in FWHM, finer than the groups.
LOST = np.linspace(0, 40, 4001)
PLASMON, WIDTH = 16.0, 4.0


def plasmon():
    """Unit area of one loss, most of it on the axis."""
    density = LOST / ((LOST**2 - PLASMON**2) ** 2 + (WIDTH * LOST) ** 2) * (LOST > 6)
    return density / density.sum() / LOST[1]


@cache
def powers():
    """Convolutions of one loss with itself, each over the factorial of its power."""
    found = [plasmon()]
    for n in range(2, 14):
        found.append(np.convolve(found[-1], plasmon())[: LOST.size] * LOST[1] / n)
    return np.array(found)


def losses_of(thickness):
    """All losses per electron without loss and FWHM, by the series of convolutions."""
    return thickness ** np.arange(1, 14) @ powers()


def registered(thickness, tail=1e-4, extrapolated_from=4.0, heights=1e5, widths=1.0, end=39):
    """Narrow peaks on a level tail, with the losses of a plasmon; no noise."""
    thickness = np.asarray(thickness, float)
    n = thickness.size
    grid = Grid.covering(-6, 45)
    log_reference = np.maximum(-4 * np.log(2) * grid.u**2, np.log(tail))
    area = trapezoid(np.exp(log_reference), grid.u)
    u = np.concatenate([np.linspace(-5, 5, 61), np.linspace(5.2, 39, 170)])
    u = np.broadcast_to(u[u <= end], (n, (u <= end).sum()))
    height, width = (np.broadcast_to(values, n)[:, None] for values in (heights, widths))
    losses = np.stack([np.interp(u[0], LOST, losses_of(t)) for t in thickness])
    shape = np.exp(grid.interpolate(log_reference, u))
    n_channels = np.arange(1, u.shape[1] + 1)
    counts = height * n_channels * (shape + area * width / np.mean(width) * losses)
    return SimpleNamespace(
        u=u, extrapolated_from=extrapolated_from, label=np.zeros(n, int), labels=np.zeros(1, int), grid=grid,
        noise=NoiseModel(gain=1.0, readout=0.0),
        log_reference=log_reference, reference_error=np.zeros_like,
        spectra=SimpleNamespace(sums=counts, n_channels=n_channels, complete=np.ones(u.shape, bool)),
        matched=SimpleNamespace(log_height=np.log(height[:, 0]), fwhm=width[:, 0].copy()),
    )  # fmt: skip


# --- the series ------------------------------------------------------------------------------------


def test_single_scattering_gives_back_what_the_series_was_made_of():
    rng = np.random.default_rng(0)
    once = rng.uniform(0, 0.05, (3, 40))
    spectrum = np.zeros((3, 41))
    spectrum[:, 0] = 1
    power = spectrum.copy()
    for n in range(1, 40):
        power = np.stack(
            [np.convolve(p, np.r_[0, s])[:41] for p, s in zip(power, once, strict=True)]
        )
        power /= n
        spectrum += power
    np.testing.assert_allclose(scattered_once(spectrum[:, 1:]), once, atol=1e-12)


@pytest.mark.parametrize("thickness", [0.1, 1.0, 6.0])
def test_multiples_of_a_loss_are_those_of_poisson(thickness):
    numbers = poisson.pmf(np.arange(1, 30), thickness) / poisson.pmf(0, thickness)
    once = scattered_once(numbers[None])[0]
    assert once[0] == pytest.approx(thickness)
    np.testing.assert_allclose(once[1:], 0, atol=1e-9 * numbers.max())


def test_what_lies_beyond_the_axis_does_not_matter():
    losses = np.random.default_rng(1).uniform(0, 0.1, (2, 60))
    short, long = scattered_once(losses[:, :25]), scattered_once(losses)
    np.testing.assert_allclose(long[:, :25], short, rtol=1e-12)


# --- spectra ---------------------------------------------------------------------------------------


def test_thickness_is_found_from_all_losses():
    # All losses of 1.2 mean free paths are 18 times those of 0.12, on this axis 14 times.
    thickness = np.linspace(0.12, 1.2, 20)
    found = relative_thickness(registered(thickness)).relative
    np.testing.assert_allclose(found, thickness / thickness.mean(), rtol=2e-3)


def test_thickness_is_not_that_of_brightness_or_width():
    rng = np.random.default_rng(2)
    thickness = np.linspace(0.2, 1.0, 20)
    peaks = registered(
        thickness, heights=rng.uniform(1e4, 1e6, 20), widths=rng.uniform(0.8, 1.2, 20)
    )
    found = relative_thickness(peaks)
    np.testing.assert_allclose(found.relative, thickness / thickness.mean(), rtol=5e-3)
    assert found.broadening == pytest.approx(
        np.log(peaks.matched.fwhm) - np.log(peaks.matched.fwhm).mean()
    )


def test_plural_scattering_is_what_single_scattering_leaves():
    thickness, once = np.linspace(0.2, 1.0, 15), plasmon()
    peaks = registered(thickness)
    found = relative_thickness(peaks)
    area = trapezoid(np.exp(peaks.log_reference), peaks.grid.u)
    shape = np.exp(peaks.grid.interpolate(peaks.log_reference, peaks.u[0]))
    for t, plural in zip(thickness, found.plural * shape / area, strict=True):
        expected = np.interp(peaks.u[0], LOST, losses_of(t) - t * once)
        # The steps of the convolution are a part of the width of the plasmon.
        np.testing.assert_allclose(plural, expected, atol=0.02 * expected.max())


def test_thickness_is_not_that_of_the_peaks_own_tail():
    # Losses of the thinnest are some ten times the tail below them.
    found = relative_thickness(registered(np.geomspace(0.01, 0.05, 15), tail=2e-5)).relative
    assert found[-1] / found[0] == pytest.approx(5, rel=1e-3)


def test_a_tail_that_is_higher_leaves_less_of_thin_specimens():
    peaks = registered(np.linspace(0.05, 1.0, 20), tail=5e-4)
    peaks.reference_error = lambda u: np.full(u.shape, 0.2)
    low, here, high = (relative_thickness(peaks, errors).relative[0] for errors in (-1.0, 0.0, 1.0))
    assert high < here < low


def test_groups_that_are_incomplete_in_single_spectra_are_bridged():
    thickness = np.linspace(0.2, 1.0, 30)
    whole, holed = registered(thickness), registered(thickness)
    holes = np.random.default_rng(3).random(holed.u.shape) < 0.1
    holed.spectra = SimpleNamespace(
        sums=np.where(holes, 0.0, holed.spectra.sums),
        n_channels=holed.spectra.n_channels,
        complete=~holes,
    )
    found, expected = (relative_thickness(peaks).relative for peaks in (holed, whole))
    np.testing.assert_allclose(found, expected, rtol=0.01)


@pytest.mark.parametrize(
    "thickest, end",
    [(1.0, 39), (1.0, 18), (0.05, 24)],
    ids=["all", "to the plasmon", "thin, beyond the plasmon"],
)
def test_most_losses_on_the_axis_tell_thickness(thickest, end):
    # Half of the plasmon is a quarter of a mean free path; it falls to half of its top at 18.
    thickness = np.linspace(0.2, 1.0, 20) * thickest
    found = relative_thickness(registered(thickness, tail=1e-5, end=end)).relative
    np.testing.assert_allclose(found, thickness / thickness.mean(), rtol=5e-3)


@pytest.mark.parametrize(
    "case",
    [
        {"thickness": np.linspace(0.2, 1.0, 11)},  # too few spectra
        {"thickness": np.linspace(0.50, 0.55, 30)},  # as good as equally thick
        {"thickness": np.linspace(1e-5, 1e-4, 30)},  # no more losses than tail
        {"thickness": np.linspace(-0.2, 1.0, 30)},  # no losses at all in some
        {"thickness": np.linspace(0.2, 1.0, 30), "extrapolated_from": 15.0},  # nothing is far
        {"thickness": np.linspace(0.2, 1.0, 30), "extrapolated_from": np.inf},
        # Losses still rise where the axis ends, and are few.
        {"thickness": np.linspace(0.2, 1.0, 30), "extrapolated_from": 3.0, "end": 14},
        {"thickness": np.linspace(0.02, 0.1, 30), "tail": 1e-5, "end": 17},
    ],
    ids=["few", "equal", "weak", "negative", "near", "known", "before plasmon", "thin, to plasmon"],
)
def test_spectra_that_do_not_tell_are_left_alone(case):
    peaks = registered(**case)
    assert relative_thickness(peaks) is None
    assert at_zero_thickness(peaks, np.zeros((0, peaks.u.shape[1]))) is None


@pytest.mark.parametrize(
    "thickness, said",
    [
        (np.linspace(0.2, 1.0, 20), "^$"),
        (np.linspace(0.2, 1.0, 5), "too few spectra"),
        (np.full(20, 0.5), "of one thickness"),
        (np.linspace(1e-7, 2e-7, 20), "too weak"),
        (np.r_[-1e-3 * np.ones(4), np.linspace(0.2, 1.0, 16)], "no far losses beyond noise"),
    ],
)
def test_what_hides_the_thickness_is_named(thickness, said):
    peaks = registered(thickness, tail=2e-5)
    assert re.search(said, why_no_thickness(peaks))
    assert (relative_thickness(peaks) is None) == bool(why_no_thickness(peaks))


def test_a_spectrum_that_was_lost_hides_no_losses_of_the_others():
    peaks = registered(np.linspace(0.2, 1.0, 60))
    peaks.spectra.complete[0] = False
    assert not why_no_thickness(peaks)


def test_an_axis_that_ends_too_early_is_named():
    peaks = registered(np.linspace(0.02, 0.1, 20))
    peaks.spectra.complete[:, peaks.u.mean(0) > 15] = False
    assert "the axis ends before" in why_no_thickness(peaks)


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0, 3.0])
def test_the_share_beyond_noise_is_that_of_the_variances(noise):
    # 60 groups, each with so many times the spread of thickness: 400 spectra tell either variance to 7 %, both to 10 %.
    rng = np.random.default_rng(5)
    u = 5 * 1.02 ** np.arange(60)
    spread = 0.2
    thickness = 1 + spread * rng.standard_normal((400, 1))
    shape = np.exp(-(((u - 9) / 3) ** 2))
    scatter = noise * spread * rng.standard_normal((400, 60))
    weights = np.gradient(u)
    of_noise = (noise * spread * weights) @ (noise * spread * weights)
    of_thickness = (spread * (shape @ weights)) ** 2
    truth = of_thickness / (of_thickness + of_noise)
    found = share_beyond_noise(u, thickness * shape + scatter)
    assert found == pytest.approx(truth, abs=0.3 * (1 - truth) + 2e-3)


def test_pixels_that_differ_by_noise_alone_are_of_one_thickness():
    # Noise by which far losses differ by a sixth: their 5th and 95th percentile by a factor of 1.7.
    peaks = registered(np.full(60, 0.3))
    rng, u = np.random.default_rng(6), peaks.u.mean(0)
    far, weights = u > 3.2 * peaks.extrapolated_from, np.gradient(u)
    losses = peaks.spectra.sums[0] / peaks.spectra.n_channels
    noise = (losses * weights)[far].sum() / 6 / np.sqrt((weights[far] ** 2).sum())
    scatter = noise * far * rng.standard_normal(peaks.u.shape)
    peaks.spectra.sums = peaks.spectra.sums + peaks.spectra.n_channels * scatter
    assert "of one thickness" in why_no_thickness(peaks)
    assert relative_thickness(peaks) is None
