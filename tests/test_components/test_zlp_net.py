# SPDX-License-Identifier: GPL-3.0-or-later
"""The zero-loss peak as a component: shapes, gradients, units, estimates, fits and storage."""

import copy
import json
import pickle
import subprocess
import sys
import time
import warnings

import dask.array as da
import exspy
import hyperspy.api as hs
import numpy as np
import pytest
from conftest import ROOT
from ensemble_mutations import tampered
from ensembles import with_parts
from scipy.integrate import trapezoid

from hyperspy_zlpml.components import ZLPNet
from hyperspy_zlpml.components.shapes import cells_of
from hyperspy_zlpml.components.zlp_net import ensemble_from_dictionary, ensemble_to_dictionary
from hyperspy_zlpml.ensemble.parts import FORMAT_VERSION, to_parts
from hyperspy_zlpml.image.peaks import peak_parameters

#: Energies (eV) with a part beyond the grid of the shapes on both sides.
WIDE = np.linspace(-40.0, 60.0, 4001)
SETTINGS = {"intensity": 3e7, "centre": 0.037, "width": 1.06}


@pytest.fixture(scope="module")
def ensemble(removal):
    return removal.ensemble


def component(ensemble, thickness=0.0, **values):
    """A component with values of its parameters."""
    result = ZLPNet(ensemble, thickness)
    for name, value in values.items():
        getattr(result, name).value = value
    return result


def log_median(replicas):
    """As the networks speak of logarithms: of an even number, the geometric mean of two."""
    return np.exp(np.median(np.log(replicas), axis=0))


def image_of(values, scale=0.025, offset=-2.0, units="eV", shape=(), binned=True):
    """EELS signal of the values given, (..., n_energy)."""
    signal = exspy.signals.EELSSpectrum(np.broadcast_to(values, shape + values.shape[-1:]).copy())
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.offset, axis.units, axis.is_binned = scale, offset, units, binned
    return signal


def noisy_peaks(ensemble, shape=(), n=400, seed=0, unit=1.0, units="eV", binned=True, noise=True):
    """Images of the component itself at drifting positions, with what they were made of.

    ``unit`` is eV per unit of the axis.
    """
    rng = np.random.default_rng(seed)
    truth = {
        "intensity": 2e7 * rng.uniform(0.8, 1.2, shape),
        "centre": rng.normal(0.0, 0.03, shape),
        "width": rng.uniform(0.95, 1.05, shape),
    }
    energy = -2.0 + 0.025 * np.arange(n)
    counts = np.empty(shape + (n,))
    for index in np.ndindex(shape):
        values = {name: value[index] for name, value in truth.items()}
        counts[index] = component(ensemble, **values).function(energy) * 0.025
    if noise:
        counts = rng.poisson(counts).astype(float)
    data = counts if binned else counts / (0.025 / unit)
    signal = image_of(data, 0.025 / unit, -2.0 / unit, units, shape, binned)
    if noise and binned:
        signal.set_noise_variance(hs.signals.Signal1D(np.maximum(counts, 1.0)))
    truth["centre"] = truth["centre"] / unit
    return signal, truth


def model_of(signal, *components):
    model = signal.create_model(auto_background=False, auto_add_edges=False)
    model.extend(components)
    return model


# Shapes


def test_median_is_that_of_the_ensemble(ensemble):
    """At the nodes of the grid exactly, between them to the error of linear interpolation."""
    fwhm = np.exp(ensemble.seen.log_fwhm.mean)
    for energy, tolerance in ((ensemble.grid.u[1:-1] * fwhm, 1e-6), (WIDE[1300:2500], 2e-3)):
        median = log_median(ensemble.predict(energy))
        ratio = component(ensemble).function(energy) / median
        np.testing.assert_allclose(ratio, ratio[ratio.size // 2], rtol=tolerance)


@pytest.mark.parametrize("quantile", [0.05, 0.31, 0.9])
def test_modes_below_one_are_quantiles(ensemble, quantile):
    fwhm = np.exp(ensemble.seen.log_fwhm.mean)
    energy = ensemble.grid.u[1:-1] * fwhm
    replicas = np.log(ensemble.predict(energy))
    log_ratio = np.quantile(replicas, quantile, axis=0) - np.quantile(replicas, 0.5, axis=0)
    expected = component(ensemble).function(energy) * np.exp(log_ratio)
    actual = component(ensemble, mode=quantile).function(energy)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_whole_modes_are_replicas(ensemble):
    """All with the normalisation of the median: what differs is shape and height."""
    energy = ensemble.grid.u[1:-1] * np.exp(ensemble.seen.log_fwhm.mean)
    replicas = ensemble.predict(energy)
    median = component(ensemble).function(energy) / log_median(replicas)
    for number in (1, ensemble.n_replicas):
        actual = component(ensemble, mode=number).function(energy)
        np.testing.assert_allclose(actual / replicas[number - 1], median, rtol=1e-6)


def test_one_replica_is_its_own_median(ensemble):
    single = with_parts(
        ensemble,
        weights=ensemble.networks.weights[:1],
        reference_scores=ensemble.reference.scores[:1],
    )
    values = [component(single, mode=mode).function(WIDE) for mode in (0.2, 0.5, 1)]
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])


def test_thickness_chooses_the_shape(ensemble):
    energy = ensemble.grid.u[1:-1] * np.exp(ensemble.seen.log_fwhm.mean)
    low, high = ensemble.seen.log_intensity_range
    thin = min(max(ensemble.seen.log_beam - 0.3, low), high)
    for thickness, log_intensity in ((0.3, thin), (1e3, low)):
        median = log_median(ensemble.predict(energy, log_intensity=log_intensity))
        ratio = component(ensemble, thickness).function(energy) / median
        np.testing.assert_allclose(ratio, ratio[ratio.size // 2], rtol=1e-6)


def test_intensity_is_the_area_over_the_grid(ensemble):
    zlp = component(ensemble, **SETTINGS)
    ends = SETTINGS["centre"] + ensemble.grid.u[[0, -1]] * zlp.fwhm
    energy = np.linspace(*ends, 400_001)
    assert trapezoid(zlp.function(energy), energy) == pytest.approx(3e7, rel=1e-6)


def test_channels_of_a_binned_axis_sum_to_the_intensity(ensemble):
    signal = image_of(np.zeros(4000), scale=0.05, offset=-100.0)
    zlp = component(ensemble, **SETTINGS)
    model = model_of(signal, zlp)
    zlp.store_current_parameters_in_map()
    counts = model.as_signal().data
    energy = signal.axes_manager[-1].axis
    u = (energy - SETTINGS["centre"]) / zlp.fwhm
    inside = (u > ensemble.grid.u[0]) & (u < ensemble.grid.u[-1])
    assert counts[inside].sum() == pytest.approx(3e7, rel=1e-4)


def test_width_scales_the_fwhm(ensemble):
    """Measured on the peak by someone else, wherever it lies."""
    energy = np.arange(-3.0, 5.0, 0.01)
    before = peak_parameters(component(ensemble).function(energy) * 1e9, energy)
    after = peak_parameters(component(ensemble, **SETTINGS).function(energy), energy)
    assert after.fwhm / before.fwhm == pytest.approx(SETTINGS["width"], rel=2e-3)
    assert after.centre - before.centre == pytest.approx(SETTINGS["centre"], abs=1e-3)


def test_power_laws_beyond_the_grid(ensemble):
    """Straight in x, falling outward, and joined without a step."""
    zlp, fwhm = component(ensemble, mode=0.3), np.exp(ensemble.seen.log_fwhm.mean)
    for side in (0, -1):
        end = ensemble.grid.x[side]
        outward = np.sign(end)
        x = end + outward * np.array([-1e-9, 1e-9, 1.0, 2.0, 3.0])
        values = np.log(zlp.function(np.sinh(x) / 2 * fwhm))
        assert values[0] == pytest.approx(values[1], abs=1e-6)
        np.testing.assert_allclose(np.diff(values[2:], 2), 0, atol=1e-9)
        assert values[3] <= values[2]


def test_cells_interpolate(ensemble):
    """The spline passes through the nodes, as a plain evaluation of its pieces shows."""
    grid = ensemble.grid
    values = np.cos(np.arange(grid.n) / 50.0)
    left, cells = cells_of(grid, values)
    np.testing.assert_allclose(cells[3, 1:], values, atol=1e-12)
    np.testing.assert_allclose(left[1:], grid.x)
    step = grid.x[1] - grid.x[0]
    arrived = np.array([1, step, step**2, step**3])[::-1] @ cells[:, 1:-1]
    np.testing.assert_allclose(arrived, values[1:], atol=1e-12)


# Gradients


def central_difference(zlp, name, step):
    parameter = getattr(zlp, name)
    value, ends = parameter.value, []
    for sign in (1, -1):
        parameter.value = value + sign * step
        ends.append(zlp.function(WIDE))
    parameter.value = value
    return (ends[0] - ends[1]) / (2 * step)


# No quantile at which two replicas change places, where there is no derivative.
@pytest.mark.parametrize("mode", [0.45, 0.317, 0.93, 3])
@pytest.mark.parametrize(
    "name, step", [("intensity", 1e3), ("centre", 1e-5), ("width", 1e-5), ("mode", 1e-6)]
)
def test_gradients_are_those_of_the_function(ensemble, mode, name, step):
    if name == "mode" and mode >= 1:
        return
    zlp = component(ensemble, thickness=0.2, mode=mode, **SETTINGS)
    gradient = getattr(zlp, f"grad_{name}")(WIDE)
    expected = central_difference(zlp, name, step)
    np.testing.assert_allclose(gradient, expected, atol=1e-6 * np.abs(gradient).max())


def test_gradient_of_the_mode_of_a_replica_is_zero(ensemble):
    assert not component(ensemble, mode=2).grad_mode(WIDE).any()


def test_a_fit_may_try_widths_that_are_none(ensemble):
    """Neither an error nor a gradient that leads further astray."""
    at_limit = component(ensemble, width=1e-3).function(WIDE)
    for width in (0.0, -0.5):
        zlp = component(ensemble, width=width)
        np.testing.assert_array_equal(zlp.function(WIDE), at_limit)
        assert not zlp.grad_width(WIDE).any()


# The mode


@pytest.mark.parametrize("mode", [0.0, 1.5, -1, -0.2, 9, np.nan, np.inf])
def test_modes_that_are_none(ensemble, mode):
    zlp = component(ensemble, mode=mode)
    of_all = rf"mode: expected .* from 1 to {ensemble.n_replicas} .*, got .*set"
    with pytest.raises(ValueError, match=of_all):
        zlp.function(WIDE)


@pytest.mark.parametrize("mode, meant", [(-0.2, 0.001), (0.0, 0.001), (1.0, 0.999), (1.5, 0.999)])
def test_a_free_mode_stays_a_quantile(ensemble, mode, meant):
    """An optimiser may try anything; what lies outside is taken for the limit."""
    zlp = component(ensemble, mode=mode)
    zlp.mode.free = True
    expected = component(ensemble, mode=meant).function(WIDE)
    np.testing.assert_array_equal(zlp.function(WIDE), expected)
    assert not zlp.grad_mode(WIDE).any()


@pytest.mark.parametrize("mode", [3, 40, np.nan])
def test_replicas_cannot_be_fitted(ensemble, mode):
    zlp = component(ensemble, mode=mode)
    zlp.mode.free = True
    with pytest.raises(
        ValueError, match=r"mode: expected .* where it is free .* mode.free = False"
    ):
        zlp.function(WIDE)


def test_mode_is_a_choice_by_default(ensemble):
    zlp = ZLPNet(ensemble)
    assert {p.name for p in zlp.free_parameters} == {"intensity", "centre", "width"}
    assert [p.name for p in zlp.parameters if p._linear] == ["intensity"]
    assert zlp._position is zlp.centre
    assert not zlp.convolved
    assert zlp.width.bmin > 0


# Units


@pytest.mark.parametrize("units, unit", [("meV", 1e-3), ("keV", 1e3), ("eV", 1.0)])
def test_units_of_the_axis(ensemble, units, unit):
    """The same counts per channel, whatever the axis is labelled in."""
    plain, values = noisy_peaks(ensemble, (2, 3), noise=False)
    scaled, _ = noisy_peaks(ensemble, (2, 3), unit=unit, units=units, noise=False)
    results = []
    for signal in (plain, scaled):
        zlp = ZLPNet(ensemble)
        model = model_of(signal, zlp)
        assert zlp.estimate_parameters(signal)
        results.append((model.as_signal().data, zlp.centre.map["values"], zlp.fwhm))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-8)
    np.testing.assert_allclose(results[0][1], results[1][1] * unit, rtol=1e-8)
    assert results[0][2] == pytest.approx(results[1][2] * unit)
    np.testing.assert_allclose(results[0][1], values["centre"], atol=0.005)


def test_gradients_in_other_units(ensemble):
    signal, _ = noisy_peaks(ensemble, unit=1e-3, units="meV")
    zlp = ZLPNet(ensemble)
    model_of(signal, zlp)
    zlp.estimate_parameters(signal)
    x = signal.axes_manager[-1].axis
    for name, step in (("centre", 1e-2), ("width", 1e-5)):
        parameter = getattr(zlp, name)
        value, ends = parameter.value, []
        for sign in (1, -1):
            parameter.value = value + sign * step
            ends.append(zlp.function(x))
        parameter.value = value
        gradient = getattr(zlp, f"grad_{name}")(x)
        expected = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(gradient, expected, atol=1e-6 * np.abs(gradient).max())


def test_alone_it_has_the_units_of_what_it_was_estimated_on(ensemble):
    signal, _ = noisy_peaks(ensemble, unit=1e-3, units="meV", noise=False)
    zlp = ZLPNet(ensemble)
    assert zlp.estimate_parameters(signal)
    counts = zlp.function(signal.axes_manager[-1].axis) * signal.axes_manager[-1].scale
    np.testing.assert_allclose(counts.max(), signal.data.max(), rtol=0.02)


@pytest.mark.parametrize("units", ["", "nm"])
def test_axes_that_are_not_of_energies(ensemble, units):
    signal, _ = noisy_peaks(ensemble, noise=False)
    signal.axes_manager[-1].units = units
    zlp = ZLPNet(ensemble)
    with pytest.raises(ValueError, match="expected eV, meV or keV"):
        zlp.estimate_parameters(signal)
    model = model_of(signal, zlp)
    with pytest.raises(ValueError, match=r"model: the energy axis .* expected eV, meV or keV"):
        model._get_current_data()


# Estimates


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 2, 3)])
def test_estimates(ensemble, shape, lazy):
    signal, truth = noisy_peaks(ensemble, shape)
    signal = signal.as_lazy() if lazy else signal
    zlp = ZLPNet(ensemble)
    assert zlp.estimate_parameters(signal) is True
    for name, tolerance in (("intensity", 0.01), ("centre", 0.005), ("width", 0.02)):
        found = getattr(zlp, name).map["values"].reshape(shape)
        np.testing.assert_allclose(found, truth[name], rtol=tolerance, atol=tolerance)
        assert getattr(zlp, name).map["is_set"].all()
    np.testing.assert_array_equal(zlp.mode.map["values"], 0.5)
    first = (0,) * len(shape)
    assert zlp.intensity.value == zlp.intensity.map["values"].reshape(shape)[first]


def test_estimates_are_equal_lazy_or_not(ensemble):
    signal, _ = noisy_peaks(ensemble, (4, 3))
    zlps = [ZLPNet(ensemble) for _ in range(2)]
    chunked = signal.as_lazy()
    chunked.data = chunked.data.rechunk((2, 2, 100))
    for zlp, s in zip(zlps, (signal, chunked), strict=True):
        zlp.estimate_parameters(s)
    for a, b in zip(*(zlp.parameters for zlp in zlps), strict=True):
        np.testing.assert_allclose(a.map["values"], b.map["values"], rtol=1e-12)


def test_estimates_at_the_present_position(ensemble):
    signal, truth = noisy_peaks(ensemble, (2, 3))
    zlp = ZLPNet(ensemble)
    model_of(signal, zlp)
    signal.axes_manager.indices = (2, 1)
    assert zlp.estimate_parameters(signal, only_current=True)
    assert zlp.centre.value == pytest.approx(truth["centre"][1, 2], abs=0.005)
    assert zlp.intensity.value == pytest.approx(truth["intensity"][1, 2], rel=0.01)
    assert not zlp.centre.map["is_set"].any()


def test_estimates_of_densities(ensemble):
    """On an axis that is not binned the data are counts per unit: the intensity is the same."""
    binned, _ = noisy_peaks(ensemble, (3,), noise=False)
    density, _ = noisy_peaks(ensemble, (3,), noise=False, binned=False)
    zlps = [ZLPNet(ensemble) for _ in range(2)]
    for zlp, signal in zip(zlps, (binned, density), strict=True):
        zlp.estimate_parameters(signal)
    a, b = (zlp.intensity.map["values"] for zlp in zlps)
    np.testing.assert_allclose(a, b, rtol=1e-8)
    models = [model_of(*pair) for pair in zip((binned, density), zlps, strict=True)]
    counts, densities = (model.as_signal().data for model in models)
    np.testing.assert_allclose(counts, densities * 0.025, rtol=1e-8)


def test_estimate_takes_the_shape_in_use_into_account(ensemble):
    """A quantile beside the median has more counts for the same intensity."""
    signal, _ = noisy_peaks(ensemble)
    results = []
    for mode in (0.5, 0.95):
        zlp = component(ensemble, mode=mode)
        zlp.estimate_parameters(signal)
        energy = signal.axes_manager[-1].axis
        near = np.abs(energy) < np.exp(ensemble.seen.log_fwhm.mean)
        results.append(zlp.function(energy)[near].sum())
    assert results[0] == pytest.approx(results[1], rel=2e-3)


def test_estimates_look_only_where_told(ensemble):
    """A plasmon higher than the peak does not catch the eye from outside the range."""
    signal, truth = noisy_peaks(ensemble, (2,))
    energy = signal.axes_manager[-1].axis
    plain = signal.deepcopy()
    signal.data += 1e8 * np.exp(-0.5 * ((energy - 5.0) / 0.3) ** 2)
    found = []
    for s in (plain, signal):
        zlp = ZLPNet(ensemble)
        assert zlp.estimate_parameters(s, -1.5, 1.5)
        found.append(zlp.centre.map["values"].copy())
    np.testing.assert_array_equal(*found)


def test_a_range_with_too_few_channels(ensemble):
    signal, _ = noisy_peaks(ensemble)
    with pytest.raises(ValueError, match=r"x1, x2: expected .* 16 channels .* holds 5"):
        ZLPNet(ensemble).estimate_parameters(signal, -0.05, 0.05)


@pytest.mark.parametrize("lazy", [False, True])
def test_spectra_without_a_peak_get_the_median(ensemble, lazy):
    signal, _ = noisy_peaks(ensemble, (2, 3))
    signal.data[0, 1] = 0.0
    signal.data[1, 2, 17] = np.nan
    good = np.ones((2, 3), bool)
    good[0, 1] = good[1, 2] = False
    zlp = ZLPNet(ensemble)
    with pytest.warns(UserWarning, match="2 of 6 spectra without a usable .* NaN .* median"):
        assert zlp.estimate_parameters(signal.as_lazy() if lazy else signal)
    for name in SETTINGS:
        values = getattr(zlp, name).map["values"]
        np.testing.assert_allclose(values[~good], np.median(values[good]), rtol=1e-14)


@pytest.mark.parametrize("only_current", [False, True])
def test_nothing_to_estimate(ensemble, only_current):
    signal = image_of(np.full((2, 400), np.nan), shape=(2,))
    zlp = component(ensemble, **SETTINGS)
    with pytest.warns(UserWarning, match="nothing is estimated"):
        assert zlp.estimate_parameters(signal, only_current=only_current) is False
    assert zlp.intensity.value == SETTINGS["intensity"]


def test_estimates_without_reason_to_warn(ensemble):
    signal, _ = noisy_peaks(ensemble, (2,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ZLPNet(ensemble).estimate_parameters(signal)


# In models


def test_function_nd_is_the_function_at_every_position(ensemble, monkeypatch):
    """With modes that differ, in several blocks."""
    monkeypatch.setattr("hyperspy_zlpml.components.zlp_net._NUMBERS_AT_ONCE", 1000)
    signal, _ = noisy_peaks(ensemble, (3, 4))
    zlp = ZLPNet(ensemble)
    model_of(signal, zlp)
    zlp.estimate_parameters(signal)
    zlp.mode.map["values"][:] = np.array([0.5, 0.2, 3, 0.2])
    energy = signal.axes_manager[-1].axis
    result = zlp.function_nd(energy)
    given = zlp.function_nd(energy, [p.map["values"][1:] for p in zlp.parameters])
    np.testing.assert_array_equal(given, result[1:])
    for index in np.ndindex(3, 4):
        signal.axes_manager.indices = index[::-1]
        zlp.fetch_stored_values()
        np.testing.assert_allclose(result[index], zlp.function(energy), rtol=1e-12)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_as_signal(ensemble, shape, lazy):
    signal, _ = noisy_peaks(ensemble, shape, noise=False)
    signal = signal.as_lazy() if lazy else signal
    zlp = ZLPNet(ensemble)
    model = model_of(signal, zlp)
    zlp.estimate_parameters(signal)
    result = model.as_signal()
    assert isinstance(result.data, da.Array) == lazy
    expected = np.asarray(signal.data)
    np.testing.assert_allclose(
        np.asarray(result.data), expected, atol=0.02 * expected.max(), rtol=0
    )


@pytest.mark.parametrize("free_mode", [False, True])
def test_fits_find_what_the_data_were_made_of(ensemble, free_mode):
    """With analytical and with numerical gradients, which agree."""
    signal, truth = noisy_peaks(ensemble, (2,), noise=False)
    results = []
    for grad in ("fd", "analytical"):
        zlp = ZLPNet(ensemble)
        model = model_of(signal, zlp)
        zlp.estimate_parameters(signal)
        if free_mode:
            zlp.mode.free = True
            zlp.mode.map["values"][:] = 0.53
            zlp.fetch_stored_values()
        model.multifit(grad=grad, optimizer="lm", ftol=1e-15, xtol=1e-15, gtol=1e-15)
        results.append({p.name: p.map["values"].copy() for p in zlp.parameters})
    for name, expected in truth.items():
        np.testing.assert_allclose(results[1][name], expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(results[1]["mode"], 0.5, atol=1e-4)


def test_gradients_agree_in_fits_of_noisy_spectra(ensemble):
    signal, _ = noisy_peaks(ensemble, (3,))
    results = []
    for grad in ("fd", "analytical"):
        zlp = ZLPNet(ensemble)
        model = model_of(signal, zlp)
        zlp.estimate_parameters(signal)
        model.multifit(grad=grad, ftol=1e-15, xtol=1e-15, gtol=1e-15)
        results.append([p.map["values"].copy() for p in zlp.parameters])
        errors = [p.map["std"] for p in zlp.free_parameters]
        assert np.isfinite(errors).all()
    np.testing.assert_allclose(*results, rtol=1e-6, atol=1e-7)


def test_errors_of_a_fit_are_those_of_the_noise(ensemble):
    """Pulls of 60 fits: their rms is 1 within 3 sigma of chi-squared (false alarm 1 in 100)."""
    signal, truth = noisy_peaks(ensemble, (60,), n=160, seed=3)
    zlp = ZLPNet(ensemble)
    model = model_of(signal, zlp)
    zlp.estimate_parameters(signal)
    model.multifit(grad="analytical")
    for name in SETTINGS:
        fitted = getattr(zlp, name).map
        pull = (fitted["values"] - truth[name]) / fitted["std"]
        assert 0.7 < np.sqrt(np.mean(pull**2)) < 1.3, name


def test_bounded_fits(ensemble):
    """A mode that the data push out of its range ends inside."""
    energy = -2.0 + 0.025 * np.arange(400)
    zlp = component(ensemble, mode=0.5, **SETTINGS)
    counts = zlp.function(energy) * 0.025
    u = np.abs(energy / zlp.fwhm)
    signal = image_of(counts * (1 + 0.5 * (u > 1.5)))
    signal.set_noise_variance(hs.signals.Signal1D(np.maximum(counts, 1.0)))
    model = model_of(signal, zlp)
    zlp.mode.free = True
    zlp.mode.value = 0.6
    model.fit(bounded=True)
    assert 0.001 <= zlp.mode.value <= 0.999
    zlp.mode.free = False
    assert np.isfinite(zlp.function(energy)).all()


@pytest.mark.parametrize("lazy", [False, True])
def test_linear_multifit(ensemble, lazy):
    """Equal to the ratio of sums that least squares give for one component."""
    rng = np.random.default_rng(0)
    energy = -2.0 + 0.025 * np.arange(300)
    template = component(ensemble).function(energy) * 0.025
    data = template * rng.uniform(1e5, 1e6, (3, 4, 1)) + rng.normal(0, 10, (3, 4, 300))
    signal = image_of(data, shape=(3, 4))
    signal = signal.as_lazy() if lazy else signal
    zlp = ZLPNet(ensemble)
    model = model_of(signal, zlp)
    model.assign_current_values_to_all()
    model.set_parameters_not_free(only_nonlinear=True)
    model.multifit(optimizer="lstsq")
    expected = data @ template / (template @ template)
    np.testing.assert_allclose(zlp.intensity.map["values"], expected, rtol=1e-10)


def test_not_convolved(ensemble):
    """A low-loss spectrum that the other components are convolved with leaves the peak alone."""
    signal, _ = noisy_peaks(ensemble, n=300, noise=False)
    low_loss = signal.deepcopy()
    model = signal.create_model(low_loss=low_loss, auto_background=False, auto_add_edges=False)
    zlp = ZLPNet(ensemble)
    model.append(zlp)
    assert model.convolved
    assert not zlp.convolved
    zlp.estimate_parameters(signal)
    alone = model_of(signal, component(ensemble, **{p.name: p.value for p in zlp.parameters}))
    np.testing.assert_allclose(model._get_current_data(), alone._get_current_data(), rtol=1e-12)
    model.fit(grad="analytical")
    assert model._get_current_data().max() == pytest.approx(signal.data.max(), rel=1e-3)


def test_beside_a_plasmon_and_an_exciton(ensemble):
    """All together in one fit, from starting values that are wrong."""
    energy = -2.0 + 0.025 * np.arange(500)
    parts = [
        component(ensemble, **SETTINGS),
        exspy.components.VolumePlasmonDrude(intensity=2e6, plasmon_energy=8.0, fwhm=3.0),
        hs.model.components1D.Gaussian(A=2e5, sigma=0.2, centre=2.2),
    ]
    signal = image_of(sum(part.function(energy) for part in parts) * 0.025)
    zlp = ZLPNet(ensemble)
    plasmon = exspy.components.VolumePlasmonDrude(intensity=1e6, plasmon_energy=7.5, fwhm=3.5)
    exciton = hs.model.components1D.Gaussian(A=1e5, sigma=0.3, centre=2.3)
    model = model_of(signal, zlp, plasmon, exciton)
    zlp.estimate_parameters(signal)
    signal.set_noise_variance(hs.signals.Signal1D(np.maximum(signal.data, 1.0)))
    model.fit(grad="analytical")
    for part, fitted in zip(parts, model, strict=True):
        for a, b in zip(part.parameters, fitted.parameters, strict=True):
            assert b.value == pytest.approx(a.value, rel=1e-3), (fitted.name, a.name)


def test_plots(ensemble):
    signal, _ = noisy_peaks(ensemble, (2, 2))
    zlp = ZLPNet(ensemble)
    model = model_of(signal, zlp)
    zlp.estimate_parameters(signal)
    model.plot(plot_components=True)
    signal.axes_manager.indices = (1, 1)
    shown = zlp._component_line.line.get_ydata()
    expected = zlp.function(signal.axes_manager[-1].axis) * signal.axes_manager[-1].scale
    np.testing.assert_allclose(shown, expected, rtol=1e-12)


def test_slices_keep_the_ensemble(ensemble):
    signal, _ = noisy_peaks(ensemble, (2, 3))
    zlp = ZLPNet(ensemble, 0.2)
    model = model_of(signal, zlp)
    zlp.estimate_parameters(signal)
    part = model.inav[1:]
    assert part[0].ensemble.fingerprint == ensemble.fingerprint
    assert part[0].thickness == 0.2
    np.testing.assert_array_equal(part.as_signal().data, model.as_signal().data[:, 1:])


# Storage


def fitted_model(ensemble):
    signal, _ = noisy_peaks(ensemble, (2, 3))
    zlp = ZLPNet(ensemble, 0.1)
    model = model_of(signal, zlp, hs.model.components1D.Gaussian(A=10.0, centre=2.0, sigma=0.3))
    zlp.estimate_parameters(signal)
    zlp.mode.map["values"][0] = [0.3, 2, 0.5]
    zlp.name = "elastic"
    model[1].store_current_parameters_in_map()
    for parameter in model[1].parameters:
        parameter.assign_current_value_to_all()
    return model


def assert_same_model(restored, model):
    zlp, original = restored["elastic"], model["elastic"]
    assert isinstance(zlp, ZLPNet)
    assert zlp.ensemble.fingerprint == original.ensemble.fingerprint
    assert zlp.thickness == original.thickness
    assert not zlp.convolved
    actual, expected = (np.asarray(m.as_signal().data) for m in (restored, model))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("extension", ["hspy", "zspy"])
def test_files(ensemble, tmp_path, extension, lazy):
    """Saved, read, restored, and the same once more from what was read."""
    model = fitted_model(ensemble)
    model.store("fit")
    first, second = (tmp_path / f"{name}.{extension}" for name in ("first", "second"))
    model.signal.save(first)
    read = hs.load(first, lazy=lazy)
    restored = read.models.restore("fit")
    assert_same_model(restored, model)
    held = restored["elastic"]._whitelist["ensemble"][1].values()
    assert not any(isinstance(value, da.Array) for value in held)
    restored.store("again")
    read.save(second, show_progressbar=False)
    assert_same_model(hs.load(second, lazy=lazy).models.restore("again"), model)


def test_store_and_restore(ensemble):
    model = fitted_model(ensemble)
    model.store("fit")
    assert_same_model(model.signal.models.restore("fit"), model)


def test_restoring_loads_no_torch(ensemble, tmp_path):
    model = fitted_model(ensemble)
    model.store("fit")
    model.signal.save(tmp_path / "fit.hspy")
    code = (
        "import sys, matplotlib; matplotlib.use('agg')\n"
        "import hyperspy.api as hs\n"
        "model = hs.load(sys.argv[1]).models.restore('fit')\n"
        "assert 'sklearn' not in sys.modules\n"
        "model.as_signal(); model.plot(plot_components=True)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "fit.hspy")],
        check=True, timeout=120, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.parametrize("in_model", [False, True])
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, copy.copy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_copies(ensemble, duplicate, in_model):
    """Equal, working, and independent."""
    signal, _ = noisy_peaks(ensemble, (2,), unit=1e-3, units="meV")
    zlp = ZLPNet(ensemble, 0.2)
    if in_model:
        model_of(signal, zlp)
    zlp.estimate_parameters(signal)
    zlp.width.free = False
    zlp.width.bmax = 2.0
    other = duplicate(zlp)
    energy = signal.axes_manager[-1].axis
    np.testing.assert_array_equal(other.function(energy), zlp.function(energy))
    assert other.model is None
    assert (other.thickness, other.width.free, other.width.bmax) == (0.2, False, 2.0)
    assert other.centre.component is other
    assert other._position is other.centre
    before = zlp.centre.value
    other.centre.value = 5.0
    assert zlp.centre.value == before
    np.testing.assert_array_equal(other.centre.map["values"], zlp.centre.map["values"])
    other.centre.map["values"][:] = 1.0
    assert not (zlp.centre.map["values"] == 1.0).any()
    other.centre.value = before
    model = model_of(signal, other)
    assert other.estimate_parameters(signal)
    model.fit(grad="analytical")


# Arguments


@pytest.mark.parametrize("shape_of_text", [str, str.encode, np.array, lambda t: np.array([t])])
def test_dictionaries_as_files_give_them_back(ensemble, shape_of_text):
    stored = ensemble_to_dictionary(ensemble)
    given = {
        name: da.from_array(value) if isinstance(value, np.ndarray) else shape_of_text(value)
        for name, value in sorted(stored.items(), reverse=True)
    }
    assert ZLPNet(given).ensemble.fingerprint == ensemble.fingerprint


def test_dictionaries_can_be_stored(ensemble):
    """What HyperSpy keeps in both of its formats: arrays of some dimension, and text."""
    for value in ensemble_to_dictionary(ensemble).values():
        assert isinstance(value, str) or (isinstance(value, np.ndarray) and value.ndim)


def deep(levels):
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize("name, value, told", [
    ("facts", deep(100_000), "RecursionError"), ("facts", "3", "TypeError"),
    ("facts", " " * 2**21, "facts claims 2097152 letters"), ("facts", None, "AttributeError"),
    ("weights", [1.0], "AttributeError"), ("weights", da.zeros(10**13), "weights claims 8"),
    ("scatter", np.broadcast_to(1.0, (10**6, 10**6)), "scatter claims 8000000000000 bytes"),
    ("facts", '{"format_version": true, "ensemble": {}}', "no format version"),
])  # fmt: skip
def test_what_a_stored_model_cannot_hold_is_refused_at_once(ensemble, name, value, told):
    start = time.perf_counter()
    with pytest.raises(ValueError, match=f"ensemble: expected the dictionary .*{told}"):
        ZLPNet({**ensemble_to_dictionary(ensemble), name: value})
    assert time.perf_counter() - start < 2


def test_an_origin_that_is_nested_too_deep_is_refused(ensemble):
    """It would be read, but could not be written again from everywhere."""
    arrays, facts = to_parts(ensemble)
    facts["provenance"] = json.loads(deep(30))
    text = json.dumps({"format_version": FORMAT_VERSION, "ensemble": facts})
    with pytest.raises(ValueError, match="provenance cannot be that"):
        ZLPNet({**arrays, "facts": text})


@pytest.mark.parametrize("name, factor", [
    ("log_reference", 1e3), ("reference_modes", 1e5), ("weights", 1e4), ("reference_scores", 1e5),
])  # fmt: skip
def test_peaks_that_are_no_numbers_are_refused(ensemble, name, factor):
    stored = ensemble_to_dictionary(ensemble)
    with pytest.raises(ValueError, match="peaks are no numbers|too large"):
        ZLPNet({**stored, name: stored[name] * factor})


def test_stored_models_tampered_with_are_refused_or_work(ensemble):
    energy = np.linspace(-2, 8, 300)
    rng = np.random.default_rng(0)
    refused = []
    for number in range(200):
        stored, thickness = tampered(*to_parts(ensemble), rng)
        try:
            component = ZLPNet(stored, thickness)
        except ValueError as error:
            refused.append(str(error))
            continue
        predicted = component.ensemble.predict(energy)
        assert np.isfinite(predicted).all(), number
        assert np.isfinite(component.function(energy)).all(), number
    by_name = ("ensemble: expected", "thickness: expected")
    assert [text for text in refused if not text.startswith(by_name)] == []
    assert 50 < len(refused) < 200


@pytest.mark.parametrize("wrong", [None, 3, "ws2.zlp", np.ones(3), [1, 2]])
def test_ensemble_of_another_kind(wrong):
    with pytest.raises(ValueError, match=f"ensemble: expected .*, got {type(wrong).__name__}"):
        ZLPNet(wrong)


def test_dictionary_of_something_else(ensemble):
    stored = ensemble_to_dictionary(ensemble)
    without = {name: value for name, value in stored.items() if name != "weights"}
    cut = {**stored, "facts": stored["facts"][:-9]}
    bare = {**stored, "facts": "{}"}
    for wrong in ({}, {"facts": "{}"}, without, cut, bare, {**stored, "weights": np.ones(3)}):
        with pytest.raises(ValueError, match=r"ensemble: expected the dictionary .* give the Ens"):
            ensemble_from_dictionary(wrong)


def test_dictionary_of_the_future(ensemble):
    stored = ensemble_to_dictionary(ensemble)
    facts = json.loads(stored["facts"])
    facts["format_version"] = 99
    with pytest.raises(ValueError, match=r"format .* or older, got 99: .* update"):
        ZLPNet({**stored, "facts": json.dumps(facts)})


@pytest.mark.parametrize("thickness", [-0.1, np.nan, np.inf, "thin", None, [0.1, 0.2], True])
def test_thickness_that_is_none(ensemble, thickness):
    with pytest.raises(ValueError, match=r"thickness: expected t/lambda .* got"):
        ZLPNet(ensemble, thickness)


def test_function_nd_takes_present_values_where_maps_hold_none(ensemble):
    """Maps of a component that was just added to a model hold zeros that nobody set."""
    signal, _ = noisy_peaks(ensemble, (3, 2))
    zlp = ZLPNet(ensemble)
    model_of(signal, zlp)
    energy = signal.axes_manager[-1].axis
    expected = np.broadcast_to(zlp.function(energy), (3, 2, energy.size))
    np.testing.assert_allclose(zlp.function_nd(energy), expected)
