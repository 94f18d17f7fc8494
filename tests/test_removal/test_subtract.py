# SPDX-License-Identifier: GPL-3.0-or-later
"""Subtraction from blocks of spectra: identities, known peaks, errors that cover."""

from dataclasses import replace

import numpy as np
import pytest
from ensembles import make_ensemble

from hyperspy_zlpml.ensemble.inputs import InputScaling
from hyperspy_zlpml.image.detector import Detector
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.network import mlp
from hyperspy_zlpml.removal.application import Application
from hyperspy_zlpml.removal.checks import ScannedSpectra
from hyperspy_zlpml.removal.evaluation import _OPENING, MODEL_FLOOR, RESULTS
from hyperspy_zlpml.removal.subtract import Subtraction
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.zlp.expansion import Expansion, interpolation_matrix
from hyperspy_zlpml.zlp.grid import Grid, to_grid
from hyperspy_zlpml.zlp.groups import make_groups
from hyperspy_zlpml.zlp.matching import KnownPeaks
from hyperspy_zlpml.zlp.regions import Regions
from hyperspy_zlpml.zlp.tables import SpillTables

STEP = 0.025
FWHM = 0.45
ENERGY = STEP * np.arange(-160, 480)
GRID = Grid.covering(-20, 40)
NOISE = NoiseModel(1.0, 5.0)
MODE = 0.2 * np.tanh(GRID.u / 2) ** 3


def shape(u):
    return (1 + 1.66 * u**2) ** -2 + 1e-4 / (1 + (u / 6) ** 2)


def ensemble(spread=True, n_replicas=200, **changes):
    """Networks that answer zero; replicas differ by a known mode of the reference."""
    layers = (2, 3, 1)
    scores = np.random.default_rng(0).standard_normal((n_replicas, 1))
    scores = (scores - np.median(scores)) / scores.std()
    values = {
        "weights": np.zeros((n_replicas, mlp.n_weights(layers)), np.float32),
        "layers": layers,
        "scaling": InputScaling(14.0, 1.0, to_grid(40.0) / 2),
        "grid": GRID,
        "log_reference": np.log(shape(GRID.u) / shape(0.0)),
        "scatter": np.zeros(GRID.n),
        "spill": SpillTables(np.array([14.0]), np.zeros((1, GRID.n))),
        "reference_modes": MODE[None] if spread else np.zeros((0, GRID.n)),
        "reference_scores": scores if spread else np.zeros((n_replicas, 0)),
        "log_intensity_range": Range(13.0, 15.0),
        "log_fwhm": Normal(np.log(FWHM), 0.02),
        "log_beam": 15.0,
        "u_range": Range(-8.0, 26.0),
        "regions": Regions(np.array([-np.inf]), np.array([1.5]), np.array([9.0])),
        "cluster_centres": np.array([14.0]),
        "cluster_by": "zlp",
        "noise": NOISE,
    }
    return make_ensemble(**{**values, **changes})


def prepare(one=None, noise=NOISE, pedestal=0.0, confidence=0.68, distance=0.0):
    one = one or ensemble()
    table = one.tabulate(confidence)
    detector = Detector(pedestal, "", noise)
    return Subtraction.prepare(
        table, one.seen.log_fwhm, ENERGY, detector, Range(140, 180), distance
    )


def true_zlp(n=6, seed=1, score=0.0, height=1e5):
    rng = np.random.default_rng(seed)
    centre, fwhm = rng.normal(0, 0.05, n), FWHM * np.exp(rng.normal(0, 0.01, n))
    u = (ENERGY - centre[:, None]) / fwhm[:, None]
    zlp = height * shape(u) * np.exp(np.reshape(score, (-1, 1)) * GRID.interpolate(MODE, u))
    return zlp, centre, fwhm


def rows(zlp, centre, fwhm, loss=np.inf, gain=-np.inf):
    """What `Subtraction.apply` asks to be told of every spectrum."""
    n = len(zlp)
    return KnownPeaks(
        channel=zlp[:, 1:-1].argmax(-1) + 1.0,
        centre=centre,
        fwhm=fwhm,
        log_intensity=np.full(n, 14.0),
        gain_limit=np.full(n, gain),
        loss_limit=np.full(n, loss),
    )


def changed(peaks, where, **values):
    """Peaks with other numbers in some of the spectra."""
    columns = {name: getattr(peaks, name).copy() for name in values}
    for name, value in values.items():
        columns[name][where] = value
    return replace(peaks, **columns)


def without(peaks, where):
    """Peaks of which some cannot be used."""
    return changed(peaks, where, **dict.fromkeys(KnownPeaks.__dataclass_fields__, np.nan))


LOSSES = 3e3 * np.clip(1 - np.exp(-(ENERGY - 1.6)), 0, None)


def measured(zlp, seed=2, losses=LOSSES, readout=NOISE.readout):
    rng = np.random.default_rng(seed)
    return rng.poisson(zlp + losses) + readout * rng.standard_normal(zlp.shape)


# --- interpolation --------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [1, 3])
def test_interpolation_reproduces_straight_lines_and_its_nodes(degree):
    groups = make_groups(18.0, 150, 480)
    matrix = interpolation_matrix(groups, degree)
    channels = np.arange(groups.edges[0], groups.edges[-1])
    assert matrix.shape == (groups.size, channels.size)
    inside = (channels >= groups.middle[0]) & (channels <= groups.middle[-1])
    found = (2.0 - 0.1 * groups.middle) @ matrix
    np.testing.assert_allclose(found[inside], (2.0 - 0.1 * channels)[inside], atol=1e-9)
    np.testing.assert_allclose(np.ones(groups.size) @ matrix, 1.0)
    values = np.random.default_rng(0).normal(size=groups.size)
    nodes = np.isin(channels, groups.middle)
    np.testing.assert_allclose(
        (values @ matrix)[nodes], values[np.isin(groups.middle, channels)], atol=1e-9
    )


@pytest.mark.parametrize("name, degree", [("linear", 1), ("cubic", 3)])
def test_segments_are_the_whole_matrix(name, degree):
    groups = make_groups(18.0, 150, 480)
    matrix, expansion = interpolation_matrix(groups, degree), getattr(Expansion, name)(groups)
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=(4, groups.size)), rng.normal(size=(4, matrix.shape[1]))
    found = expansion(values, out=np.empty(weights.shape))
    np.testing.assert_allclose(found, values @ matrix, atol=1e-9)
    np.testing.assert_allclose(expansion.collected(weights), weights @ matrix.T, atol=1e-9)
    single = expansion.astype(np.float32)(values.astype("f4"), out=np.empty(weights.shape, "f4"))
    np.testing.assert_allclose(single, found, atol=1e-4)


def test_linear_interpolation_stays_between_its_nodes():
    groups = make_groups(18.0, 150, 480)
    assert interpolation_matrix(groups, 1).min() >= -1e-12


# --- subtraction ----------------------------------------------------------------------------------


def test_noiseless_peaks_are_subtracted_to_their_promise():
    # The spread of the reference is one mode, whose score the core tells.
    zlp, centre, fwhm = true_zlp(score=np.linspace(-1, 1, 6), height=1e7)
    found = dict(
        zip(RESULTS, prepare().apply(zlp + LOSSES, rows(zlp, centre, fwhm, 1.5)), strict=True)
    )
    near = np.abs(ENERGY) < 3
    np.testing.assert_allclose(found["zlp"][:, near], zlp[:, near], rtol=0.01)
    assert (np.abs(found["zlp"] - zlp) < 5 * found["std"] + 2e-3 * zlp).all()
    at_losses = (ENERGY > 2.5) & (ENERGY < 11)
    np.testing.assert_allclose(
        found["subtracted"][:, at_losses], np.broadcast_to(LOSSES, zlp.shape)[:, at_losses],
        atol=0.02 * 1e7 * shape(2.5 / FWHM),
    )  # fmt: skip


@pytest.mark.parametrize("pedestal", [0.0, 250.0])
def test_identities_of_the_results(pedestal):
    zlp, centre, fwhm = true_zlp()
    counts = measured(zlp)
    subtraction = prepare(pedestal=pedestal)
    subtracted, found, std, lower, upper, variance = subtraction.apply(
        counts + pedestal, rows(zlp, centre, fwhm, 1.5)
    )
    np.testing.assert_allclose(subtracted + found, counts, atol=1e-6)
    np.testing.assert_allclose(variance - std**2, NOISE.of_measured(counts), rtol=1e-9, atol=1e-6)
    assert (lower < subtracted).all()
    assert (subtracted < upper).all()
    assert (found > 0).all()
    assert (std > 0).all()


def test_nothing_is_clipped():
    # Residuals of a vacuum spectrum scatter about zero: as many below as above, +- 3 sigma.
    zlp, centre, fwhm = true_zlp(30)
    counts = measured(zlp, losses=0.0)
    subtracted = prepare().apply(counts, rows(zlp, centre, fwhm))[0]
    tail = ENERGY > 3
    assert np.mean(subtracted[:, tail] < 0) == pytest.approx(0.5, abs=0.05)


def test_pedestal_only_shifts_the_data():
    zlp, centre, fwhm = true_zlp()
    counts = measured(zlp)
    one = prepare().apply(counts, rows(zlp, centre, fwhm, 1.5))
    other = prepare(pedestal=250.0).apply(counts + 250.0, rows(zlp, centre, fwhm, 1.5))
    np.testing.assert_allclose(other, one, rtol=1e-7, atol=1e-5)


def test_scaling_counts_and_noise_scales_the_results():
    zlp, centre, fwhm = true_zlp()
    counts = measured(zlp)
    peaks = rows(zlp, centre, fwhm, 1.5)
    one = prepare().apply(counts, peaks)
    ten = prepare(noise=NoiseModel(10.0, 50.0)).apply(10 * counts, peaks)
    np.testing.assert_allclose(ten[:5], 10 * one[:5], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(ten[5], 100 * one[5], rtol=1e-5)


def test_spectra_are_treated_alone(monkeypatch):
    from hyperspy_zlpml.removal import subtract as module

    zlp, centre, fwhm = true_zlp(12)
    counts, peaks = measured(zlp), rows(zlp, centre, fwhm, 1.5)
    subtraction = prepare()
    whole = subtraction.apply(counts, peaks)
    monkeypatch.setattr(module, "_SPECTRA_AT_ONCE", 5)
    np.testing.assert_allclose(subtraction.apply(counts, peaks), whole, rtol=1e-9, atol=1e-9)
    nothing = ScannedSpectra(counts[:0], peaks.select(slice(0)), np.zeros(0, int))
    application = Application(subtraction, peaks, ensemble().seen.regions, nothing)
    shape = counts.reshape(3, 4, -1)
    shaped = application.evaluate(RESULTS, shape, application.posterior(shape))
    assert tuple(shaped) == RESULTS
    for name, expected in zip(RESULTS, whole, strict=True):
        assert shaped[name].shape == (3, 4, ENERGY.size)
        np.testing.assert_allclose(
            shaped[name].reshape(expected.shape), expected, rtol=1e-9, atol=1e-9
        )
    single = subtraction.apply(counts[7:8], peaks.select(slice(7, 8)))
    np.testing.assert_allclose(single, whole[:, 7:8], rtol=1e-9, atol=1e-9)


def test_spectra_without_a_peak_are_nan_and_do_not_disturb():
    zlp, centre, fwhm = true_zlp()
    counts, peaks = measured(zlp), rows(zlp, centre, fwhm, 1.5)
    whole = prepare().apply(counts, peaks)
    peaks = without(peaks, [1, 4])
    counts[1] = np.nan
    found = prepare().apply(counts, peaks)
    assert np.isnan(found[:, [1, 4]]).all()
    np.testing.assert_allclose(found[:, [0, 2, 3, 5]], whole[:, [0, 2, 3, 5]], rtol=1e-9)
    assert np.isnan(prepare().apply(counts, without(peaks, slice(None)))).all()


@pytest.mark.parametrize(
    "dtype, expected",
    [(np.float64, np.float64), (np.float32, np.float32), (np.int32, np.float32), (np.uint16, np.float32)],
)  # fmt: skip
def test_types_of_the_counts(dtype, expected):
    zlp, centre, fwhm = true_zlp(height=4e4)
    counts = np.round(measured(zlp).clip(0))
    peaks = rows(zlp, centre, fwhm, 1.5)
    found = prepare().apply(counts.astype(dtype), peaks)
    assert found.dtype == expected
    exact = prepare().apply(counts, peaks)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=0.05)


def test_inputs_are_not_modified():
    zlp, centre, fwhm = true_zlp()
    counts, peaks = measured(zlp), rows(zlp, centre, fwhm, 1.5)
    before = counts.copy(), peaks.stack()
    prepare(pedestal=10.0).apply(counts, peaks)
    np.testing.assert_array_equal(counts, before[0])
    np.testing.assert_array_equal(peaks.stack(), before[1])


@pytest.mark.parametrize("given", [4.0, np.full(ENERGY.size, 9.0), "full"])
def test_variance_of_the_signal_is_used_where_it_carries_one(given):
    zlp, centre, fwhm = true_zlp()
    if isinstance(given, str):
        given = np.random.default_rng(3).uniform(1, 9, zlp.shape)
    _, _, std, _, _, variance = prepare().apply(measured(zlp), rows(zlp, centre, fwhm, 1.5), given)
    np.testing.assert_allclose(variance, std**2 + given)


# --- errors ---------------------------------------------------------------------------------------


def test_scatter_of_spectra_is_part_of_the_error():
    zlp, centre, fwhm = true_zlp(height=1e7)
    counts, peaks = measured(zlp), rows(zlp, centre, fwhm, 1.5)
    scattered = prepare(ensemble(scatter=np.full(GRID.n, 0.1))).apply(counts, peaks)
    plain = prepare().apply(counts, peaks)
    assert (scattered[2] > plain[2]).all()
    assert (scattered[2] >= scattered[1] * np.sinh(0.1) - 1e-9).all()


def test_no_zlp_is_claimed_to_be_known_better_than_one_part_in_ten_thousand():
    zlp, centre, fwhm = true_zlp(height=1e9)
    _, found, std, *_ = prepare(ensemble(spread=False)).apply(zlp, rows(zlp, centre, fwhm))
    assert (std >= 1e-4 * found * (1 - 1e-9)).all()


def test_the_further_a_peak_is_seen_the_better_its_tail_is_known():
    zlp, centre, fwhm = true_zlp()
    counts = measured(zlp, losses=0.0)
    tail = ENERGY > 4
    errors = []
    for limit in (0.5, 1.0, 4.0):
        _, found, std, *_ = prepare().apply(counts, rows(zlp, centre, fwhm, limit))
        errors.append(np.median((std / found)[:, tail]))
    assert errors[0] > errors[1] > errors[2]
    # Never more than the ensemble's own spread of 0.2 in ln, but for height, centre and width.
    assert errors[0] < 0.25


def test_losses_in_the_window_make_the_errors_large():
    zlp, centre, fwhm = true_zlp()
    pure, spoiled = measured(zlp, losses=0.0), measured(zlp)
    peaks = rows(zlp, centre, fwhm, 4.0)  # the losses start at 1.6 eV
    assert (prepare().apply(spoiled, peaks)[2] > 2.5 * prepare().apply(pure, peaks)[2]).all()


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_bands_widen_with_confidence(confidence):
    zlp, centre, fwhm = true_zlp()
    counts, peaks = measured(zlp), rows(zlp, centre, fwhm, 1.5)
    wide = prepare(confidence=confidence).apply(counts, peaks)
    usual = prepare(confidence=0.68).apply(counts, peaks)
    ratio = (wide[4] - wide[3]) / (usual[4] - usual[3])
    assert ((ratio > 1) == (confidence > 0.68)).all()
    np.testing.assert_allclose(wide[:3], usual[:3])


@pytest.mark.parametrize("n_replicas", [1, 20])
def test_bands_are_as_wide_as_the_errors_where_the_replicas_agree(n_replicas):
    zlp, centre, fwhm = true_zlp()
    one = ensemble(spread=False, n_replicas=n_replicas)
    _, _, std, lower, upper, _ = prepare(one).apply(measured(zlp), rows(zlp, centre, fwhm, 1.5))
    np.testing.assert_allclose(0.5 * (upper - lower) / std, 1.0, atol=0.05)


@pytest.mark.parametrize("height", [1e4, 1e6])
def test_pulls_and_coverage_where_the_zlp_is_predicted(height):
    # 300 spectra whose shapes are drawn from the ensemble's own distribution, matched below
    # 0.9 eV, predicted beyond. The error of a tail is one number per spectrum: the width of the
    # pull is known to 4 % and its coverage to 2.7 %; four of them, and what the priors on the
    # width, wider than the truth, make the errors too large by.
    n = 300
    scores = np.random.default_rng(4).standard_normal(n)
    zlp, centre, fwhm = true_zlp(n, score=scores, height=height)
    counts = measured(zlp)
    _, found, std, lower, upper, _ = prepare().apply(counts, rows(zlp, centre, fwhm, 0.9))
    channel = np.abs(ENERGY - 2.5).argmin()
    pulls = ((found - zlp) / std)[:, channel]
    assert 0.6 < pulls.std() < 1.16
    assert abs(pulls.mean()) < 0.25
    truth = (counts - zlp)[:, channel]
    inside = (lower[:, channel] <= truth) & (truth <= upper[:, channel])
    assert 0.57 < inside.mean() < 0.9


def test_errors_are_those_of_the_match_propagated_by_differences():
    # Each fitted number is moved a little, and the covariance of the match propagated by hand.
    zlp, centre, fwhm = true_zlp()
    counts, peaks = measured(zlp, losses=0.0), rows(zlp, centre, fwhm, 1.5)
    subtraction = prepare()
    matched = subtraction.match_rows(counts, peaks)

    def moved(i, step):
        values = {
            0: {"log_height": matched.log_height + step},
            1: {"centre": matched.centre + step * matched.fwhm},
            2: {"fwhm": matched.fwhm * np.exp(step)},
            3: {"coefficients": matched.coefficients + step},
        }[i]
        return subtraction.at_groups(replace(matched, **values), peaks)[0]

    step = 2e-3
    jacobian = np.stack([(moved(i, step) - moved(i, -step)) / (2 * step) for i in range(4)], -1)
    variance = np.einsum("pgi,pij,pgj->pg", jacobian, matched.covariance, jacobian)
    variance *= np.maximum(matched.reduced_chi2, 1)[:, None]
    sigma = subtraction.at_groups(matched, peaks)[1]
    complete = np.abs(subtraction.groups.middle * STEP) < 3
    np.testing.assert_allclose(
        sigma[:, complete], np.sqrt(variance + MODEL_FLOOR**2)[:, complete], rtol=0.03
    )


@pytest.mark.parametrize("how", ["image", "thickness"])
def test_outside_of_what_was_seen_the_band_widens_and_the_tail_opens(how):
    # By definition of the distance: 1 doubles the error, and beyond the window of pure ZLP adds
    # that of a power of the energy, uncertain by so much. Thickness, for each spectrum by itself, counts
    # from half a mean free path outside those trained on: 1 is at 1.5 beyond.
    zlp, centre, fwhm = true_zlp()
    counts, inside = measured(zlp), rows(zlp, centre, fwhm, 1.5, -1.5)
    far = inside
    if how == "thickness":
        far = changed(inside, slice(None, None, 2), log_intensity=13.0 - 1.5)
        at_the_edge = changed(inside, slice(None), log_intensity=13.0)
        near = prepare(distance=0.0).apply(counts, at_the_edge)[2]
        subtraction, outside = prepare(), slice(0, None, 2)
    else:
        near = prepare().apply(counts, inside)[2]
        subtraction, outside = prepare(distance=1.0), slice(None)
    _, found, std, lower, upper, _ = subtraction.apply(counts, far)
    factor = (std / near)[outside]
    distance = np.abs(ENERGY - centre[outside, None])
    u = distance / fwhm[outside, None]
    within, outer = distance < 1.2, (distance > 1.8) & (u < 20)
    np.testing.assert_allclose(factor[within], 2.0, rtol=0.02)
    opening = _OPENING * np.log(distance / 1.5)
    expected = np.hypot(2 * (near / found)[outside], opening)
    small = outer & (expected < 0.5)  # of a logarithm, not yet of the counts
    assert small.sum() > 100
    np.testing.assert_allclose((std / found)[outside][small], expected[small], rtol=0.1)
    assert (np.diff(opening[0, ENERGY > 2]) > 0).all()
    if how == "thickness":
        exact = prepare().apply(counts, inside)[2]
        np.testing.assert_allclose(std[1::2], exact[1::2], rtol=1e-9)


# --- integrals ------------------------------------------------------------------------------------


def test_integral_is_the_sum_of_the_subtracted_channels():
    zlp, centre, fwhm = true_zlp()
    counts, peaks = measured(zlp), rows(zlp, centre, fwhm, 1.5)
    subtraction = prepare()
    found_integrals = subtraction.integrate(counts, peaks, Range(1.5, 4.0))
    integral, model, counting, total = found_integrals.stack().T
    subtracted, found, std, *_ = subtraction.apply(counts, peaks)
    distance = ENERGY - subtraction.match_rows(counts, peaks).centre[:, None]
    inside = (distance >= 1.5) & (distance < 4.0)
    np.testing.assert_allclose(integral, (subtracted * inside).sum(-1), rtol=1e-9)
    np.testing.assert_allclose(total, (found * inside).sum(-1), rtol=1e-9)
    np.testing.assert_allclose(
        counting, np.sqrt((NOISE.of_measured(counts) * inside).sum(-1)), rtol=1e-9
    )
    # Channels share their errors: at least as if independent, at most as if the same.
    assert (model > np.sqrt(((std * inside) ** 2).sum(-1))).all()
    assert (model < 1.05 * (std * inside).sum(-1)).all()


@pytest.mark.parametrize("losses", [0.0, LOSSES])
def test_integral_over_one_channel_has_the_error_of_the_channel(losses):
    # With losses in the window (they start at 1.6 eV) both are enlarged by the same misfit.
    zlp, centre, fwhm = true_zlp()
    counts, peaks = measured(zlp, losses=losses), rows(zlp, centre, fwhm, 4.0)
    subtraction = prepare()
    matched = subtraction.match_rows(counts, peaks)
    channel = np.abs(ENERGY - 3.0).argmin()
    low = ENERGY[channel] - STEP / 2 - matched.centre
    integrals = subtraction.integrate(counts, peaks, Range(low, low + STEP))
    model, total = integrals.model_std, integrals.zlp
    _, found, std, *_ = subtraction.apply(counts, peaks)
    np.testing.assert_allclose(total, found[:, channel])
    np.testing.assert_allclose(model, std[:, channel], rtol=0.03)


def test_pulls_of_the_integral():
    n = 300
    scores = np.random.default_rng(5).standard_normal(n)
    zlp, centre, fwhm = true_zlp(n, seed=6, score=scores)
    counts = measured(zlp, losses=0.0)
    found = prepare().integrate(counts, rows(zlp, centre, fwhm, 0.9), Range(1.2, 4.0))
    pulls = found.integral / np.hypot(found.model_std, found.counting_std)
    assert 0.6 < pulls.std() < 1.16
    assert abs(pulls.mean()) < 0.25


def test_rows_from_measured_parameters_serve():
    # As the workflow does it: centres and widths from the counts, not from the truth.
    zlp, *_ = true_zlp()
    counts = measured(zlp)
    found = peak_parameters(counts, ENERGY)
    peaks = rows(zlp, found.centre, found.fwhm, 1.5)
    peaks = changed(peaks, slice(None), channel=found.channel)
    predicted = prepare().apply(counts, peaks)[1]
    near = np.abs(ENERGY) < 1.5
    np.testing.assert_allclose(predicted[:, near], zlp[:, near], rtol=0.1)
