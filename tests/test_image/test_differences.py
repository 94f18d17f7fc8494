# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences hold the noise of the level that they say, whatever spectra share."""

import numpy as np
import pytest

from hyperspy_zlpml.image.differences import all_of, differences, fit_differences

X = np.arange(-40, 160)
#: Channels of the core of a peak 4 channels wide, three times that on each side.
CORE = np.abs(X) <= 12


def electrons(n, per_spectrum, seed=0, tail=0.0):
    """Spectra of a sharp peak, some of them three times as high as others."""
    rng = np.random.default_rng(seed)
    shape = np.exp(-4 * np.log(2) * (X / 4) ** 2) + tail / (1 + (X / 2) ** 2)
    height = per_spectrum / shape.sum() * rng.uniform(0.5, 1.5, (n, 1))
    return rng.poisson(height * shape).astype(float)


def core(n):
    return np.tile(CORE, (n, 1))


def test_a_difference_is_that_of_two_spectra():
    # Weights are those of what both hold, their squares a sum of 1; a third difference removes parabolas.
    counts = 1e3 * np.outer([1.0, 3.0], 1 + 0.01 * X**2) + np.outer([0.0, 1.0], X == 100)
    found = differences(counts, core(2))
    assert found.squared.shape == (1, X.size - 3)
    inside = slice(60, -40)
    np.testing.assert_allclose(
        np.sort(found.squared[0, inside])[-4:], 0.1 * np.array([1, 1, 9, 9]) / 20, rtol=0.01
    )
    by_hand = (0.9 * counts[0] + 0.1 * counts[1])[1:-2] + 0.5 * np.diff(counts[0])[1:-1]
    np.testing.assert_allclose(found.level[0, inside], by_hand[inside], rtol=0.04)


@pytest.mark.parametrize("per_spectrum", [3.0, 100.0, 1e5])
def test_squares_of_electrons_are_their_level(per_spectrum):
    # Whether few or many, on the flank of a peak of 4 channels too: means of 3000 pairs scatter by 3 %.
    counts = electrons(3000, per_spectrum)
    found = differences(counts, core(3000))
    inside = CORE[1:-2]
    ratio = found.squared[:, inside].mean() / found.level[:, inside].mean()
    assert ratio == pytest.approx(1.0, abs=0.1)


def test_classes_do_not_know_the_noise():
    """Where all channels hold the same, levels of classes are the same: sorted by their own counts they were not."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.5, (200, X.size)) + rng.standard_normal((200, X.size))
    found = differences(counts, core(200))
    outside = ~CORE[1:-2]
    level = found.level[:, outside].ravel()[np.argsort(found.expected[:, outside], axis=None)]
    low, high = (part.mean() for part in np.array_split(level, 2))
    assert low == pytest.approx(high, abs=0.05)


def test_a_line_needs_no_electrons_of_the_core_nor_follows_its_structure():
    # Peaks of 1e6 electrons that drift by a tenth of a channel differ by far more than noise.
    rng = np.random.default_rng(1)
    shift = 0.1 * rng.standard_normal((100, 1))
    shape = np.exp(-4 * np.log(2) * ((X - shift) / 4) ** 2) + 1e-2 / (1 + ((X - shift) / 2) ** 2)
    counts = rng.poisson(2e5 * shape) + 3.0 * rng.standard_normal(shape.shape)
    far, near = all_of(~core(100)), ~all_of(~core(100))
    found = fit_differences(differences(counts, core(100)), far=far, core=near)
    assert found.gain == pytest.approx(1.0, abs=0.1)
    assert found.readout == pytest.approx(3.0, abs=0.3)


def test_nothing_is_said_of_what_does_not_scatter():
    nothing = differences(np.ones((5, X.size)), core(5))
    far = all_of(~core(5))
    assert fit_differences(nothing, far=far, core=~far) is None
