# SPDX-License-Identifier: GPL-3.0-or-later
"""Thickness against plural scattering of known thickness, and against the materials' sum rule."""

from dataclasses import replace

import numpy as np
import pytest
from scattering_spectra import drude, make_losses

from hyperspy_zlpml.physics.collection import as_parallel
from hyperspy_zlpml.physics.extrapolation import fit_tail
from hyperspy_zlpml.physics.kinematics import BOHR_RADIUS, Beam
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.physics.thickness import (
    COLUMNS,
    Estimate,
    index_factor,
    log_ratio,
    mean_free_path,
    measure_thickness,
)

pytestmark = pytest.mark.filterwarnings("error")

BEAM = Beam(energy=200.0, collection_angle=15.0)
#: All losses of a Drude plasmon, by the step of the axis.
EVERY_LOSS = 0.1 * np.arange(1, 200_000)


def measured(losses, **settings):
    return dict(zip(COLUMNS, measure_thickness(losses, **settings).T, strict=True))


def all_losses(thickness, **shape):
    """t/lambda of all losses, those beyond the axis too, that make_losses makes."""
    return thickness * 0.1 * drude(EVERY_LOSS, **shape).sum()


# --- the logarithmic ratio -----------------------------------------------------------------------


def test_log_ratio_is_that_of_the_counts():
    losses, _ = make_losses([0.0, 0.3, 1.5])
    value, _ = log_ratio(losses)
    expected = np.log(losses.counts.sum(-1) / losses.zlp.sum(-1))
    assert np.allclose(value, expected, atol=2e-3)


def test_error_of_the_log_ratio_knows_that_losses_and_peak_share_the_zlp():
    losses, _ = make_losses(np.full(400, 0.6), seed=7010)
    value, std = log_ratio(losses)
    exact, _ = log_ratio(make_losses(0.6)[0])
    pull = (value - exact) / std
    assert pull.std() == pytest.approx(1.0, abs=0.1)
    assert abs(pull.mean()) < 0.15


# --- all losses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rebin", [1, 2])
@pytest.mark.parametrize("thickness", [0.1, 0.8, 2.5])
def test_losses_beyond_the_axis_are_counted(thickness, rebin):
    losses, _ = make_losses(thickness, lambda loss: drude(loss, 20.0, 5.0))
    found = measured(losses, rebin=rebin)
    truth = all_losses(thickness, plasmon=20.0, width=5.0)
    assert found["reason"] == Reason.NONE
    assert found["on_axis"] < 0.98 * truth
    assert found["t_over_lambda"] == pytest.approx(truth, rel=4e-3)
    assert abs(found["t_over_lambda"] - truth) < found["systematic"] + found["std"]


def test_errors_of_thickness_hold():
    truth = all_losses(0.6)
    losses, _ = make_losses(np.full(300, 0.6), seed=7011)
    found = measured(losses, beam=BEAM)
    scatter = np.std(found["t_over_lambda"])
    assert scatter == pytest.approx(np.median(found["std"]), rel=0.15)
    assert np.std(found["sum_rule"]) == pytest.approx(np.median(found["sum_rule_std"]), rel=0.15)
    found = measured(losses)  # of losses that no aperture cuts
    error = np.abs(found["t_over_lambda"] - truth)
    assert (error < found["std"] + found["systematic"]).mean() > 0.9


def test_faint_losses_are_continued_as_usual():
    """Noise must not decide how losses go on: the exponent is then that of most materials."""
    losses, _ = make_losses(np.full(100, 0.05), seed=7012, electrons=1e5)
    found = measured(losses)
    assert (found["tail_exponent"] == 3.0).all()
    given = measured(losses, tail_exponent=4.0)
    assert (given["tail_exponent"] == 4.0).all()


@pytest.mark.parametrize("plasmon", [8.0, 15.0, 25.0])
def test_sum_rule_of_a_metal(plasmon):
    """The thickness of which the spectrum was made comes back, Drude losses and all."""
    thickness_nm = 40.0
    loss_function = lambda energy: drude(energy, plasmon, 2.0) * np.pi * plasmon / 2  # noqa: E731

    def single(energy):
        energy = np.maximum(energy, 1e-9)
        collected = BEAM.angular_logarithm(energy)
        return loss_function(energy) * collected / (2 * np.pi * BOHR_RADIUS * BEAM.kinetic)

    losses, _ = make_losses(thickness_nm, single, electrons=3e7 * np.exp(thickness_nm))
    found = measured(losses, beam=BEAM)
    assert found["sum_rule"] == pytest.approx(thickness_nm, rel=0.02)
    assert (
        abs(found["sum_rule"] - thickness_nm) < found["sum_rule_systematic"] + found["sum_rule_std"]
    )


def test_no_sum_rule_without_a_beam():
    assert np.isnan(measured(make_losses(0.5)[0])["sum_rule"])


# --- what cannot be measured ---------------------------------------------------------------------


def test_vacuum_is_nothing_with_an_error():
    losses, _ = make_losses(np.zeros(400), seed=7013)
    found = measured(losses)
    pull = found["t_over_lambda"] / found["std"]
    assert pull.std() == pytest.approx(1.0, abs=0.1)
    # One in 740 is three standard deviations high by chance.
    assert (found["reason"] == Reason.NOT_SIGNIFICANT).mean() > 0.98


def test_an_error_of_the_baseline_counts_on_a_long_axis():
    """Some counts too few in each of thousands of channels are many in all."""
    losses, _ = make_losses([0.3, 0.0], n_energy=6000, seed=7018, electrons=1e5)
    losses = replace(losses, counts=losses.counts - 3.0)
    assert measured(losses)["reason"][1] == Reason.MISFIT
    near = measured(losses, last=100.0)
    assert near["t_over_lambda"][0] == pytest.approx(0.3, abs=0.08)
    assert np.isnan(measured(losses)["t_over_lambda"][1])


@pytest.mark.parametrize("n_energy, plasmon", [(130, 16.0), (250, 24.0), (170, 12.0)])
def test_axes_that_end_too_early_give_a_lower_limit(n_energy, plasmon):
    losses, _ = make_losses(
        [0.5, 0.0], lambda loss: drude(loss, plasmon, 3.0), n_energy=n_energy, seed=7014
    )
    found = measured(losses, beam=BEAM)
    assert found["reason"][0] == Reason.AXIS_TOO_SHORT
    assert np.isnan([found["t_over_lambda"][0], found["sum_rule"][0]]).all()
    assert 0 < found["on_axis"][0] < 0.5


def test_phonons_are_not_all_losses():
    """An axis to 0.3 eV with a peak of losses on it has no plasmon."""
    losses, _ = make_losses(
        0.1, lambda loss: 2 * drude(loss, 0.1, 0.01), step=1e-3, fwhm=0.01, offset=-0.2
    )
    losses = replace(losses, loss_limit=np.array([0.04]))
    assert measured(losses, beam=BEAM)["reason"] == Reason.AXIS_TOO_SHORT


def test_losses_that_rise_at_the_end_are_not_continued():
    """A second band begins: an axis that reaches three plasmon energies is no help."""

    def two(loss):
        return drude(loss, 12.0, 3.0) + drude(loss, 55.0, 10.0)

    assert measured(make_losses(0.5, two)[0])["reason"] == Reason.AXIS_TOO_SHORT


def test_reasons():
    losses, _ = make_losses([0.5, 4.6, 0.5, 0.5], seed=7015)
    losses.loss_limit[2] = np.inf
    losses.zlp[3], losses.directions[3] = 0.0, 0.0
    found = measured(losses, beam=BEAM)
    expected = [Reason.NONE, Reason.TOO_THICK, Reason.NO_LIMIT, Reason.NO_PEAK]
    assert (found["reason"] == expected).all()
    assert (np.isnan(found["t_over_lambda"]) == [False, True, True, True]).all()


@pytest.mark.parametrize("width", [0.5, 3.0])
def test_what_is_not_scattering_has_no_thickness(width):
    # So strong a plasmon has a double, a triple...: alone it is no scattering, and single scattering
    # that makes up for them is negative.
    losses, _ = make_losses([0.3, 0.3])
    hump = np.exp(-0.5 * ((losses.energy - 16.0) / width) ** 2)
    counts = losses.counts.copy()
    counts[1] += losses.zlp[1].max() * hump
    found = measured(replace(losses, counts=counts))
    assert (found["reason"] == [Reason.NONE, Reason.MISFIT]).all()
    assert (np.isnan(found["t_over_lambda"]) == [False, True]).all()
    assert found["on_axis"][1] > 1


def test_spectra_are_treated_alone():
    losses, _ = make_losses([0.0, 0.5, 5.0, 1.0], seed=7016, centre=[0.0, 0.1, 0.0, -0.2])
    together = measure_thickness(losses, BEAM)
    for row in range(4):
        alone = measure_thickness(losses.select([row]), BEAM)
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-9)


# --- tails ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [2.7, 3.0, 4.0])
def test_tail_of_a_power_law(exponent):
    energy = 0.1 * np.arange(1, 400)[None]
    losses = 1e6 * energy**-exponent
    tail = fit_tail(losses, np.full_like(losses, 1e-9), energy, exponent)
    beyond = (tail.beyond() * losses).sum(-1)
    truth = 1e6 * 39.95 ** (1 - exponent) / (exponent - 1) / 0.1
    # The fitted form falls otherwise on the axis than the power law of the same area beyond it.
    assert beyond == pytest.approx(truth, rel=0.12)


@pytest.mark.parametrize("plasmon, width", [(15.0, 0.6), (22.0, 6.0), (10.0, 8.0)])
def test_tail_of_a_plasmon_is_seen(plasmon, width):
    losses = drude(EVERY_LOSS, plasmon, width)[None]
    end = 450
    tail = fit_tail(losses[:, :end], np.full((1, end), 1e-12), EVERY_LOSS[None, :end])
    beyond = (tail.beyond() * losses[:, :end]).sum(-1)
    assert beyond == pytest.approx(losses[:, end:].sum(-1), rel=0.04)
    moments = losses[:, end:] / EVERY_LOSS[end:] * EVERY_LOSS[end]
    assert (tail.beyond(-1) * losses[:, :end]).sum(-1) == pytest.approx(moments.sum(-1), rel=0.05)


def test_error_of_the_exponent_holds():
    rng = np.random.default_rng(7017)
    energy = 0.1 * np.arange(1, 450)[None]
    losses = 1e6 * drude(energy)
    noise = 100.0
    noisy = losses + noise * rng.normal(size=(500, energy.size))
    tail = fit_tail(noisy, np.full_like(noisy, noise**2), np.broadcast_to(energy, noisy.shape))
    assert tail.exponent.std() == pytest.approx(np.median(tail.std), rel=0.15)
    assert 0.01 < np.median(tail.std) < 0.4


# --- nm ------------------------------------------------------------------------------------------


def test_index_factor():
    factor, error = index_factor(np.array([1.5, 3.0, np.inf]), 0.1)
    assert np.allclose(factor, [1.8, 1.125, 1.0])
    change = (index_factor(1.5001)[0] - index_factor(1.4999)[0]) / 2e-4 / 1.8
    assert error[0] == pytest.approx(0.1 * abs(change), rel=1e-3)


def test_mean_free_path():
    """Longer for faster electrons and smaller apertures, for light materials, whichever angle is larger."""
    narrow, wide = (Beam(200.0, collection_angle=angle) for angle in (5.0, 20.0))
    assert mean_free_path(2.33, narrow) > mean_free_path(2.33, wide)
    assert mean_free_path(2.33, wide) > mean_free_path(7.5, wide)
    assert mean_free_path(2.33, wide) > mean_free_path(2.33, Beam(80.0, collection_angle=20.0))
    turned = [Beam(200.0, *angles) for angles in ((10.0, 20.0), (20.0, 10.0))]
    assert mean_free_path(2.33, turned[0]) == pytest.approx(mean_free_path(2.33, turned[1]))


def test_systematic_errors_add_in_quadrature():
    one = Estimate(np.array([2.0, -2.0]), np.array([0.1, 0.1]), np.array([0.3, 0.3]))
    nm = one.scaled(10.0, 0.2)
    assert np.allclose(nm.systematic, 5.0)
    assert np.allclose(nm.std, 1.0)


def test_zlp_with_another_tail():
    """What the ZLP has more beyond E_I is missing from the losses, as its direction says."""
    losses, _ = make_losses([0.7])
    direction = 1e-3 * np.roll(losses.zlp, 30, axis=-1)
    losses = replace(losses, directions=direction[:, None], variance=1e-6 * losses.variance)
    found = measured(losses)
    moved = measured(replace(losses, zlp=losses.zlp + direction))
    change = found["t_over_lambda"] - moved["t_over_lambda"]
    assert change == pytest.approx(found["std"], rel=0.02)
    assert change == pytest.approx(1e-3, rel=0.3)


def test_zlp_of_another_height():
    """The same losses, but another part of all: only in the logarithmic ratio."""
    losses, _ = make_losses([0.7])
    found = measured(losses)
    moved = measured(replace(losses, zlp=1.01 * losses.zlp))
    assert moved["t_over_lambda"] == pytest.approx(found["t_over_lambda"], rel=1e-3)
    assert moved["on_axis"] < 0.998 * found["on_axis"]


# --- convergent beams ----------------------------------------------------------------------------


@pytest.mark.parametrize("probe, aperture", [(10.0, 15.0), (10.0, 10.0), (28.0, 10.0), (5.0, 50.0)])
@pytest.mark.parametrize("energy", [5.0, 40.0])
def test_collection_of_a_convergent_beam(probe, aperture, energy):
    """Against electrons that are drawn in the probe, scattered, and counted in the aperture."""
    beam = Beam(200.0, collection_angle=aperture, convergence_angle=probe)
    lost = 1e3 * beam.characteristic_angle(energy)
    rng = np.random.default_rng(7019)
    n = 400_000
    came = probe * np.sqrt(rng.random(n)) * np.exp(2j * np.pi * rng.random(n))
    # Angles theta with the density 2 theta / (theta^2 + theta_E^2), up to where nothing is collected.
    all_angles = np.log1p(((probe + aperture) / lost) ** 2)
    scattered = lost * np.sqrt(np.expm1(all_angles * rng.random(n)))
    left = came + scattered * np.exp(2j * np.pi * rng.random(n))
    collected = (np.abs(left) < aperture).mean() / (np.abs(came) < aperture).mean() * all_angles
    assert as_parallel(beam).angular_logarithm(energy) == pytest.approx(collected, rel=0.006)


def test_a_parallel_beam_stays_as_it_is():
    assert as_parallel(BEAM) == BEAM
    nearly = as_parallel(Beam(200.0, collection_angle=15.0, convergence_angle=0.01))
    assert nearly.collection_angle == pytest.approx(15.0, rel=1e-4)
