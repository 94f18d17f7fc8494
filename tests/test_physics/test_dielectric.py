# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of spectra to dielectric functions: errors are what errors do, spectra are treated alone."""

from dataclasses import replace

import numpy as np
import pytest
from scattering_spectra import make_losses
from scipy.signal import fftconvolve

from hyperspy_zlpml.data import ALUMINIUM, SEMICONDUCTOR
from hyperspy_zlpml.physics import Beam, Reason
from hyperspy_zlpml.physics.dielectric import dielectric_block
from hyperspy_zlpml.physics.kramers_kronig import LossGrid
from hyperspy_zlpml.physics.loss_probability import surface_loss, volume_loss
from hyperspy_zlpml.physics.material import NUMBERS, SPECTRA, Analysis
from hyperspy_zlpml.physics.retardation import retarded_excess

BEAM = Beam(energy=200.0, collection_angle=15.0)
ANALYSIS = Analysis(grid=LossGrid(0.1, 440, 5), rebin=1, beam=BEAM, by_index=True)
ENERGY = ANALYSIS.grid.energy
N = SEMICONDUCTOR.refractive_index


def single(energy):
    """Probability per eV of a loss in one mean free path of 130.6 nm."""
    above = np.maximum(energy, 1e-3)
    return np.where(energy > 0, 130.6 * volume_loss(above, SEMICONDUCTOR.epsilon(above), BEAM), 0.0)


def found_of(losses, analysis=ANALYSIS, given=N, error=0.0):
    n = len(losses.counts)
    columns = dielectric_block(losses, np.full(n, given), np.full(n, error), analysis=analysis)
    return {name: columns[:, analysis.columns(name)] for name in (*SPECTRA, *NUMBERS)}


@pytest.fixture(scope="module")
def losses():
    return make_losses([0.3, 0.6, 1.0], single=single)[0]


def test_exact_losses_give_the_function_at_the_resolution(losses):
    found = found_of(losses)
    seen = (ENERGY > 2) & (ENERGY < 30)
    true = SEMICONDUCTOR.epsilon(ENERGY)[seen]
    error = found["eps1"][:, seen] - true.real
    assert np.sqrt(np.mean(error**2) / np.mean(true.real**2)) < 0.02
    assert np.allclose(found["thickness"], 130.6 * np.array([0.3, 0.6, 1.0]), rtol=5e-3)
    assert np.allclose(found["rising"], 23.877, atol=0.03)
    assert np.allclose(found["falling"], 9.628, atol=0.1)


def test_columns_are_all_there_and_none_twice():
    covered = np.concatenate(
        [
            np.atleast_1d(np.arange(ANALYSIS.width)[ANALYSIS.columns(one)])
            for one in (*SPECTRA, *NUMBERS)
        ]
    )
    assert np.array_equal(np.sort(covered), np.arange(ANALYSIS.width))


def test_spectra_are_treated_alone(losses):
    together, alone = found_of(losses), found_of(losses.select([1]))
    for name, values in together.items():
        assert np.array_equal(values[1], alone[name][0], equal_nan=True), name


@pytest.mark.parametrize("by_index", [True, False])
def test_std_is_the_change_by_a_direction(losses, by_index):
    """The error of one direction, a tail beyond the window, is the difference that it makes."""
    analysis = replace(ANALYSIS, by_index=by_index)
    given = N if by_index else 100.0
    tail = np.where(losses.from_peak > 2.0, np.exp(-losses.from_peak / 4.0), 0.0)
    tail *= 1e-3 * losses.subtracted.max(-1, keepdims=True)
    nothing, with_tail = (replace(losses, directions=c * tail[:, None]) for c in (0.0, 1.0))
    moved = replace(nothing, zlp=losses.zlp + tail)
    start, found, other = (found_of(one, analysis, given) for one in (nothing, with_tail, moved))
    seen = (ENERGY > 3.0) & (ENERGY < 30.0)
    for name in ("eps1", "eps2"):
        own = np.sqrt(found[f"{name}_std"] ** 2 - start[f"{name}_std"] ** 2)[:, seen]
        change = np.abs(other[name] - start[name])[:, seen]
        assert np.nanmedian(own / change) == pytest.approx(1.0, abs=0.03)
    own = np.sqrt(found["thickness_std"] ** 2 - start["thickness_std"] ** 2)
    change = np.abs(other["thickness"] - start["thickness"])
    assert np.allclose(own, change, rtol=0.03)


def test_draws_scatter_as_the_errors_say():
    draws, _ = make_losses(np.full(150, 0.5), single=single, seed=7001)
    found = found_of(draws)
    for name in ("eps1", "eps2"):
        seen = (ENERGY > 3.0) & (ENERGY < 30.0)
        ratio = found[name].std(0) / np.median(found[f"{name}_std"], axis=0)
        assert np.median(ratio[seen]) == pytest.approx(1.0, abs=0.15)
    for name in ("thickness", "rising", "falling"):
        assert found[name].std() / np.median(found[f"{name}_std"]) == pytest.approx(1.0, abs=0.3)


def test_std_is_what_noise_of_every_channel_and_every_error_of_the_zlp_do():
    """Noise just above E_I is in what it gives back below, too: the two are one."""
    (losses,) = make_losses(0.5, single=single)[:1]
    wide = losses.zlp.max() * 2e-5 / (1 + (losses.from_peak / 1.5) ** 2)
    choice = np.zeros_like(wide)  # of E_I, here without any effect
    losses = replace(losses, directions=np.stack([wide, choice], 1))
    n = losses.energy.size
    steps = 0.3 * np.vstack([np.diag(np.sqrt(losses.variance[0])), losses.directions[0]])
    moved = losses.select(np.zeros(2 * len(steps), int))
    signed = np.concatenate([steps, -steps])
    is_of_zlp = (np.arange(len(signed)) % len(steps) >= n)[:, None]
    moved = replace(
        moved,
        counts=moved.counts + np.where(is_of_zlp, 0.0, signed),
        zlp=moved.zlp + np.where(is_of_zlp, signed, 0.0),
    )
    claimed, found = found_of(losses), found_of(moved)
    seen = (ENERGY > 2.0) & (ENERGY < 30.0)
    for name in ("eps1", "eps2"):
        one, other = np.split(found[name], 2)
        expected = np.sqrt((((one - other) / 0.6) ** 2).sum(0))[seen]
        assert np.allclose(claimed[f"{name}_std"][0, seen], expected, rtol=0.01), name
    one, other = np.split(found["thickness"], 2)
    expected = np.sqrt((((one - other) / 0.6) ** 2).sum())
    assert claimed["thickness_std"][0] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("taken_off", ["relativistic", "surface"])
def test_draws_scatter_as_the_errors_say_where_something_is_taken_off(taken_off):
    """The iterations make more of noise, or less: seen in draws where they act, below 8 eV."""

    def with_excess(energy):
        above = np.maximum(energy, 0.05)
        true = SEMICONDUCTOR.epsilon(above)
        added = {
            "relativistic": lambda: 130.6 * retarded_excess(above, true, BEAM),
            "surface": lambda: 2.0 * surface_loss(above, true, BEAM),  # of half a mean free path
        }[taken_off]()
        return np.where(energy > 0, single(energy) + added, 0.0)

    draws, _ = make_losses(np.full(120, 0.5), single=with_excess, seed=7003)
    draws = replace(draws, directions=1e-3 * draws.directions)
    found = found_of(draws, replace(ANALYSIS, **{taken_off: True}))
    assert np.median(found["thickness"]) == pytest.approx(65.3, rel=0.02)
    seen = (ENERGY > 2.5) & (ENERGY < 8.0)
    ratio = found["eps1"].std(0) / np.median(found["eps1_std"], axis=0)
    assert np.median(ratio[seen]) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("model, is_told", [(SEMICONDUCTOR, False), (ALUMINIUM, True)])
def test_faces_that_may_be_taken_for_the_volume_are_told(model, is_told):
    """A sharp plasmon of the faces, where eps1 is -1, may be one of the volume just as well."""

    def with_faces(energy):
        above = np.maximum(energy, 0.05)
        true = model.epsilon(above)
        total = 130.6 * volume_loss(above, true, BEAM) + 5.0 * surface_loss(above, true, BEAM)
        return np.where(energy > 0, total, 0.0)  # of 26 nm

    losses, _ = make_losses([0.2], single=with_faces)
    found = found_of(losses, replace(ANALYSIS, surface=True), given=model.refractive_index)
    assert (found["reason"] == Reason.NOT_CONVERGED).all() == is_told


@pytest.mark.parametrize("adds", [1.0, 0.0])
def test_noise_of_few_counts_is_no_retardation_that_is_not_explained(adds):
    """Where losses are noise about zero, some are less than what retardation adds: at 30000 counts, too."""

    def retarded(energy):
        above = np.maximum(energy, 0.05)
        excess = retarded_excess(above, SEMICONDUCTOR.epsilon(above), BEAM)
        return single(energy) + np.where(energy > 0, adds * 130.6 * excess, 0.0)

    electrons = 3e5 if adds else 1e7  # of counts enough what is not there is told from noise
    draws, _ = make_losses(np.full(30, 0.5), single=retarded, seed=7005, electrons=electrons)
    assert not adds or draws.zlp.max(-1).mean() == pytest.approx(3e4, rel=0.3)
    draws = replace(draws, directions=1e-3 * draws.directions)
    found = found_of(draws, replace(ANALYSIS, relativistic=True))
    has_answer = np.isfinite(found["thickness"])
    assert has_answer.mean() > 0.8 if adds else not has_answer.any()
    error = found["thickness"][has_answer] - 65.3
    assert (np.abs(error) < 4 * found["thickness_std"][has_answer]).all()


def test_no_film_of_a_metal_has_an_answer_from_its_index(losses):
    """The sum rule counts the losses of the film most: it has solutions that are several times too thick."""
    film = replace(ANALYSIS, surface=True, relativistic=True)
    found = found_of(losses.select([1]), film, given=np.inf)
    assert found["reason"] == Reason.NOT_CONVERGED
    assert np.isnan(found["thickness"]).all()


def test_the_error_of_what_is_given_is_systematic(losses):
    exact, found, other = (
        found_of(losses, given=n, error=e) for n, e in ((N, 0), (N, 0.05), (N + 0.05, 0))
    )
    own = np.sqrt(found["thickness_systematic"] ** 2 - exact["thickness_systematic"] ** 2)
    assert np.allclose(own, np.abs(other["thickness"] - exact["thickness"]), rtol=1e-6)
    assert np.array_equal(found["eps1_std"], exact["eps1_std"])


def test_the_resolution_is_that_of_the_whole_peak_on_the_axis(losses):
    """Tails as far as the plasmon move its zero, though little of the peak is in them: the error holds it."""
    core = losses.select([1])
    blurred = convolved_with_halo(core)
    was, found = found_of(core), found_of(blurred)
    shift = found["rising"] - was["rising"]
    assert shift < -0.005
    more = found["rising_systematic"] - was["rising_systematic"]
    assert more == pytest.approx(-shift, rel=0.1)


def convolved_with_halo(losses, height=5e-4, width=3.0):
    """Spectra as they are where a thousandth of all electrons is scattered far on their way to the camera."""
    n_energy = losses.energy.size
    distance = 0.1 * np.arange(-n_energy, n_energy + 1)
    halo = height / (1 + (distance / width) ** 2)
    halo[n_energy] += 1
    longer = {
        name: np.pad(getattr(losses, name), ((0, 0), (n_energy, n_energy)))
        for name in ("counts", "zlp")
    }
    here = slice(n_energy, 2 * n_energy)
    spread = {
        name: fftconvolve(one, halo[None], mode="same", axes=-1)[:, here]
        for name, one in longer.items()
    }
    return replace(losses, **spread)


def test_reasons(losses):
    short = replace(ANALYSIS, grid=LossGrid(0.1, 300, 5))
    no_limit = replace(losses, loss_limit=np.full(3, np.inf), gain_limit=np.full(3, -np.inf))
    noisy = replace(losses, variance=1e10 + losses.variance)
    corrected = replace(ANALYSIS, relativistic=True)
    thick = make_losses([5.0], single=single)[0]

    def retarded(energy):
        above = np.maximum(energy, 0.05)
        return single(energy) + np.where(
            energy > 0, 130.6 * retarded_excess(above, SEMICONDUCTOR.epsilon(above), BEAM), 0.0
        )

    fast, fast_and_thick = (make_losses(one, single=retarded)[0] for one in ([0.3, 0.6], [2.0]))
    for one, analysis, reason in (
        (losses, ANALYSIS, Reason.RETARDED),
        (fast, corrected, Reason.RETARDED),  # no such film is as the volume is
        (fast_and_thick, corrected, Reason.NONE),
        (losses, corrected, Reason.NOT_CONVERGED),  # more would be taken off than there is
        (losses, short, Reason.AXIS_TOO_SHORT),
        (no_limit, ANALYSIS, Reason.NO_LIMIT),
        (noisy, ANALYSIS, Reason.NOT_SIGNIFICANT),
        (thick, ANALYSIS, Reason.TOO_THICK),
    ):
        found = found_of(one, analysis)
        assert (found["reason"] == reason).all(), reason
        assert np.isnan(found["eps1"]).all() == (reason not in (Reason.NONE, Reason.RETARDED))


def test_a_pixel_without_a_thickness_has_no_answer(losses):
    found = found_of(losses, replace(ANALYSIS, by_index=False), given=np.nan)
    assert (found["reason"] == Reason.NOT_GIVEN).all()
    assert np.isnan(found["eps1"]).all()


def test_vacuum_has_no_answer():
    draws, _ = make_losses(np.zeros(200), single=single, seed=7002)
    assert (found_of(draws)["reason"] == Reason.NOT_SIGNIFICANT).mean() >= 0.99


@pytest.mark.parametrize("limit", [3.0, 4.0])
def test_losses_that_are_no_straight_line_below_the_first_trusted_are_in_the_error(losses, limit):
    """They rise towards a resonance at 5 eV: a line to zero from there is too high, all pixels too thick."""
    later = replace(losses, loss_limit=np.full(3, limit), directions=0.0 * losses.directions)
    found, true = found_of(later), 130.6 * np.array([0.3, 0.6, 1.0])
    too_thick = found["thickness"] - true
    assert (too_thick > 4 * found["thickness_std"]).all()
    ratio = too_thick / found["thickness_systematic"]
    assert ((ratio > 0.3) & (ratio < 1.5)).all()
