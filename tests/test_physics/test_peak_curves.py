# SPDX-License-Identifier: GPL-3.0-or-later
"""Curves of fits of peaks: they are what was fitted, and add up to what was measured."""

import numpy as np
import pytest
from peak_losses import STEP, make_losses
from test_peak_fits import AREA, EXCITON, blurred, column, exciton_on, quadratic

from hyperspy_zlpml.physics.peak_curves import curves_of
from hyperspy_zlpml.physics.peak_shapes import Exciton
from hyperspy_zlpml.physics.peaks import attempt, fit_peaks


def test_curves_are_the_peak_and_what_lies_below():
    curves = curves_of(make_losses(exciton_on(quadratic), 1), [EXCITON])
    expected = blurred("gaussian", 2.03, 0.23, AREA * STEP)(curves.energy)
    assert curves.peaks[0] == pytest.approx(expected, abs=0.02 * expected.max())
    assert curves.background == pytest.approx(quadratic(curves.energy), rel=0.02)
    assert curves.total == pytest.approx(curves.losses, rel=0.01)


def test_curves_are_those_of_the_map():
    losses = make_losses(exciton_on(quadratic), 1, rng=np.random.default_rng(7021))
    curves, found = curves_of(losses, [EXCITON]), fit_peaks(losses, [EXCITON])
    assert curves.position[0] == pytest.approx(column(found, "position")[0], rel=1e-9)
    assert curves.width[0] == pytest.approx(column(found, "width")[0], rel=1e-9)


def test_what_is_missed_is_noise():
    """Residuals in units of the noise make the reduced chi2 of the fit, about."""
    losses = make_losses(exciton_on(quadratic), 1, rng=np.random.default_rng(7022))
    curves, found = curves_of(losses, [EXCITON]), fit_peaks(losses, [EXCITON])
    residual = (curves.losses - curves.total) / curves.noise
    n_free = curves.energy.size - 3
    assert (residual**2).sum() / n_free == pytest.approx(found[0, -3], rel=0.15)


def test_the_linear_part_has_the_least_cost():
    """No other background, and no other deviation of the zero-loss peak, is better."""
    directions = [
        lambda e: 40 * np.exp(-np.maximum(e, 0)),
        lambda e: 15 * np.exp(-((e - 1.8) ** 2)),
    ]
    losses = make_losses(
        exciton_on(quadratic), 1, rng=np.random.default_rng(7023), directions=directions
    )
    tried, curves = attempt(losses, [EXCITON]), curves_of(losses, [EXCITON])
    window = tried.window
    rest = (window.values[0] - curves.peaks.sum(0))[None, None]
    least = (window.beside(tried.model.background(window)).whiten(rest) ** 2).sum()
    residual = ((curves.losses - curves.total) / curves.noise) ** 2
    # The cost of the deviations themselves is what is left of it.
    assert residual.sum() < least < residual.sum() + 6


def test_an_error_of_the_zlp_is_seen_as_one():
    wrong = lambda e: 300 * np.exp(-((e - 1.75) ** 2) / 0.02)  # noqa: E731
    losses = make_losses(lambda e: exciton_on(quadratic)(e) + wrong(e), 1, directions=[wrong])
    curves = curves_of(losses, [EXCITON])
    # What the background takes of it, and its prior, are missing.
    share = (curves.zlp @ wrong(curves.energy)) / (wrong(curves.energy) ** 2).sum()
    assert 0.6 < share < 1.0
    assert curves.zlp_error == pytest.approx(np.abs(wrong(curves.energy)), abs=1)


def test_neighbours_have_curves_of_their_own():
    other = blurred("gaussian", 2.5, 0.3, AREA * STEP)
    losses = make_losses(lambda e: exciton_on(quadratic)(e) + other(e), 1)
    curves = curves_of(losses, [EXCITON, Exciton(2.5, 0.3)])
    assert curves.peaks[1] == pytest.approx(other(curves.energy), abs=0.03 * curves.peaks.max())


@pytest.mark.filterwarnings("error")
def test_off_the_axis_there_is_nothing():
    assert not curves_of(make_losses(quadratic, 1, limit=4.0), [EXCITON]).energy.size
