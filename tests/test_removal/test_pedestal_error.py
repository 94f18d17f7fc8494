# SPDX-License-Identifier: GPL-3.0-or-later
"""Error of the pedestal: what it makes of ZLPs, as one error of all channels of all spectra."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_zlpml.image.detector import Detector
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.removal.losses import common_directions, losses_of
from hyperspy_zlpml.removal.pedestal_error import PedestalError
from hyperspy_zlpml.removal.subtract import Subtraction
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.zlp.grid import Grid
from hyperspy_zlpml.zlp.matching import KnownPeaks
from hyperspy_zlpml.zlp.tables import ShapeTable

GRID = Grid.covering(-20, 60)
ENERGY = 0.1 * np.arange(-60, 240)
#: Channels per FWHM.
WIDTH = 10.0
#: Height of the beam, and of what a specimen leaves of it.
HEIGHTS = np.array([1e4, 5e3, 2e3])
ERROR = 7.0


def shape(u):
    return (1 + 1.66 * u**2) ** -2 + 1e-4


def log_n0(height):
    within = np.linspace(-1, 1, 2001)
    return np.log(height * WIDTH * np.trapezoid(shape(within), within))


def prepared(error=ERROR, log_beam=None):
    nodes = np.sort(log_n0(HEIGHTS))
    table = ShapeTable.of_reference(GRID, np.log(shape(GRID.u)))
    of_nodes = ("log_shape", "rest", "lower", "upper", "spill")
    table = replace(
        table,
        log_intensity_nodes=nodes,
        modes=np.zeros((0, nodes.size, GRID.n)),
        **{name: np.repeat(getattr(table, name), nodes.size, axis=0) for name in of_nodes},
    )
    return Subtraction.prepare(
        table,
        Normal(0.0, 0.02),
        ENERGY,
        Detector(0.0, "", NoiseModel(1.0, 1.0)),
        channels=Range(58, 62),
        pedestal_error=PedestalError(error, log_n0(HEIGHTS[0]) if log_beam is None else log_beam),
    )


def spectra():
    n = len(HEIGHTS)
    peaks = KnownPeaks(
        channel=np.full(n, 60.0),
        centre=np.zeros(n),
        fwhm=np.ones(n),
        log_intensity=log_n0(HEIGHTS),
        gain_limit=np.full(n, -2.0),
        loss_limit=np.full(n, 2.0),
    )
    return HEIGHTS[:, None] * shape(ENERGY), peaks


def added(name):
    """What the pedestal adds to the variance of a result."""
    counts, peaks = spectra()
    known, doubted = (prepared(error).posterior(counts, peaks) for error in (0.0, ERROR))
    np.testing.assert_array_equal(known.matched.log_height, doubted.matched.log_height)
    (one,), (other,) = (prepared(error).evaluate([name], known, counts) for error in (0.0, ERROR))
    return np.sqrt(other**2 - one**2)


#: Part of the error that is left under a peak that a specimen has weakened.
LEFT = 1 - HEIGHTS / HEIGHTS[0]


def test_the_beam_has_none_and_half_of_the_beam_half_of_it():
    far = ENERGY > 4
    std = added("std")[:, far]
    assert LEFT.tolist() == [0.0, 0.5, 0.8]
    np.testing.assert_allclose(
        std, ERROR * LEFT[:, None] * np.ones(far.sum()), rtol=0.05, atol=1e-6
    )


@pytest.mark.parametrize("name", ["lower", "upper"])
def test_the_band_holds_it_on_both_sides(name):
    counts, peaks = spectra()
    model = prepared()
    subtracted, end = model.evaluate(["subtracted", name], model.posterior(counts, peaks), counts)
    far = ENERGY > 4
    off = np.abs(end - subtracted)[:, far]
    # Where the ZLP is a counts or less, too; the noise of the match is far below the error.
    np.testing.assert_allclose(off[1:], ERROR * LEFT[1:, None] * np.ones(far.sum()), rtol=0.1)


def test_what_is_outside_of_what_was_seen_has_no_more_of_it():
    counts, peaks = spectra()
    far = ENERGY > 10
    model, bare = (replace(prepared(error), distance=1.0) for error in (ERROR, 0.0))
    known = bare.posterior(counts, peaks)
    (std,), (one,) = model.evaluate(["std"], known, counts), bare.evaluate(["std"], known, counts)
    left = np.sqrt(std**2 - one**2)[1:, far]
    np.testing.assert_allclose(left, ERROR * LEFT[1:, None] * np.ones(far.sum()), rtol=0.1)


def test_where_the_tail_was_learnt_apart_nothing_cancels():
    left = prepared(log_beam=np.inf).pedestal_error.left_under(log_n0(HEIGHTS))
    np.testing.assert_array_equal(left, ERROR)


def test_a_pedestal_that_is_certain_leaves_nothing():
    assert not prepared(0.0).pedestal_error
    assert not prepared(0.0).pedestal_error.left_under(log_n0(HEIGHTS)).any()


def test_of_pixels_that_hardly_any_beam_reaches_all_of_it_is_left():
    # Far below any that the shapes were seen in, and beyond the end of what was seen of them.
    (counts, peaks), model = spectra(), prepared()
    dim = 0.03
    peaks = replace(peaks, log_intensity=peaks.log_intensity + np.log(dim))
    (std,) = model.evaluate(["std"], model.posterior(dim * counts, peaks), dim * counts)
    far = ENERGY > 20
    np.testing.assert_allclose(std[:, far], ERROR * np.ones((3, far.sum())), rtol=0.1)


@pytest.mark.parametrize("window", [Range(4.0, 6.0), Range(4.0, 20.0)])
def test_integrals_hold_it_in_all_channels_alike(window):
    counts, peaks = spectra()
    known, doubted = (prepared(error).integrate(counts, peaks, window) for error in (0.0, ERROR))
    n_channels = ((ENERGY >= window.low) & (ENERGY < window.high)).sum()
    more = np.sqrt(doubted.model_std**2 - known.model_std**2)
    np.testing.assert_allclose(more, ERROR * LEFT * n_channels, rtol=0.1, atol=1e-6)


def test_directions_of_all_spectra_hold_it_alike():
    counts, peaks = spectra()
    model, limits = prepared(), Range(-2.0, 2.0)
    posterior = model.posterior(counts, peaks)
    far = ENERGY > 4
    common = common_directions(model, posterior, counts, limits)[..., far]
    of_pedestal = ERROR * LEFT[:, None] * np.ones(far.sum())
    # One of them, by its sign.
    off = np.abs(common - of_pedestal[:, None]).max((0, 2)) / ERROR
    assert off.min() < 0.1
    own = losses_of(model, posterior, counts, limits).directions[..., far]
    along = (own.sum(-1) ** 2).sum(1) / (of_pedestal.sum(-1) ** 2).clip(1)
    assert (along[1:] > 0.9).all()


def test_draws_share_it():
    """In a draw spectra, and channels, are off the ZLP with one sign, by as much as is said."""
    counts, peaks = spectra()
    model = prepared()
    packed = model.posterior(counts, peaks).pack()
    out = [np.empty(counts.shape) for _ in range(200)]
    model.draw_packed(packed, np.arange(3)[:, None], seed=0, out=out)
    far = ENERGY > 10
    off = (np.array(out) - HEIGHTS[:, None] * shape(ENERGY))[..., far].mean(-1)
    assert np.corrcoef(off[:, 1], off[:, 2])[0, 1] > 0.7
    assert 0.7 < off[:, 2].std() / (ERROR * LEFT[2]) < 2.0
