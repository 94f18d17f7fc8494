# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled functions do what plain NumPy does, whatever a model holds; and compile little."""

import subprocess
import sys
from dataclasses import replace

import numba
import numpy as np
import plain_evaluation
import pytest
from conftest import ROOT
from test_subtract import FWHM, measured, prepare, rows, true_zlp

from hyperspy_zlpml.compute.compiled import laid_out
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.removal.evaluation import RESULTS, at_groups, look_up
from hyperspy_zlpml.zlp import kernels
from hyperspy_zlpml.zlp.residual import CoherentResidual

#: Both sides work in double precision; ln(ZLP) is of the order of 10, and a spline is solved.
RTOL = 1e-9


@pytest.fixture(scope="module")
def scene():
    zlp, centre, fwhm = true_zlp(6)
    return prepare(), measured(zlp), rows(zlp, centre, fwhm, 1.5)


def with_residual(model, pattern=False):
    u = np.linspace(-3, 4, 281)
    residual = CoherentResidual(-3.0, 0.025, 0.02 * np.sin(9 * u))
    if pattern:
        rng = np.random.default_rng(0)
        of_channels = rng.normal(0, 0.01, model.n_energy), np.full(model.n_energy, 0.002)
        residual = replace(residual, pattern=of_channels[0], pattern_error=of_channels[1])
    return replace(model, table=replace(model.table, residual=residual))


def with_widening(model):
    table = model.table
    changes = {"widening": 0.1 * np.tanh(table.grid.u), "spill": 0.1 + 0 * table.spill}
    return replace(model, table=replace(table, log_fwhm=-0.7, **changes))


CASES = {
    "as it is": lambda model: model,
    "curve": with_residual,
    "pattern": lambda model: with_residual(model, pattern=True),
    "widening": with_widening,
    "pedestal": lambda model: replace(model, dark_level=np.full(1, 3.5)),
    "dark pattern": lambda model: replace(model, dark_level=np.cos(np.arange(model.n_energy))),
    "far from what was seen": lambda model: replace(model, distance=0.7),
    "correlated": lambda model: replace(model, noise=NoiseModel(1.3, 4.0, "", (0.5, 0.25))),
}


@pytest.mark.parametrize("dtype, rtol", [("float64", RTOL), ("float32", 1e-5)])
@pytest.mark.parametrize("case", CASES)
def test_results_are_those_of_plain_numpy(scene, case, dtype, rtol):
    """In single precision to that of the counts, which results of little difference lose most of."""
    model, counts, peaks = scene
    model, counts = CASES[case](model), (counts + 3.5).astype(dtype)
    posterior = model.posterior(counts, peaks)
    assert posterior.usable.all()
    plain = plain_evaluation.evaluate(model, posterior, counts.astype(float))
    found = dict(zip(RESULTS, model.evaluate(RESULTS, posterior, counts), strict=True))
    size = np.abs(counts) + plain["zlp"]
    for name, value in found.items():
        assert value.dtype == dtype
        scale = size**2 if name == "variance" else size
        excess = np.abs(value - plain[name]) - rtol * np.abs(plain[name])
        assert (
            excess <= rtol * (scale if name in ("subtracted", "lower", "upper") else 0)
        ).all(), name


@pytest.mark.parametrize(
    "values",
    [
        np.ones((3, 4)).T,
        np.ones((3, 4))[:, ::2],
        np.ones((3, 4), np.float32),
        np.ones((3, 4), ">f8"),
        np.broadcast_to(1.0, (3, 4)),
        [[1.0, 1.0]],
    ],
)
def test_arrays_of_another_kind_are_laid_out(values):
    own = np.ones((3, 4))
    assert laid_out(own) is own
    found = laid_out(values)
    assert found.flags.carray
    assert found.dtype == np.dtype(float)
    np.testing.assert_array_equal(found, np.ones(np.shape(values)))


@pytest.mark.parametrize("names", [[name] for name in RESULTS] + [["subtracted", "zlp"]])
def test_results_do_not_depend_on_what_else_is_asked_for(scene, names):
    model, counts, peaks = scene
    model = with_residual(model, pattern=True)
    posterior = model.posterior(counts, peaks)
    every = dict(zip(RESULTS, model.evaluate(RESULTS, posterior, counts), strict=True))
    for name, found in zip(names, model.evaluate(names, posterior, counts), strict=True):
        np.testing.assert_array_equal(found, every[name])


def test_what_lies_at_groups_is_that_of_plain_numpy(scene):
    model, counts, peaks = scene
    posterior = model.posterior(counts, peaks)
    matched = posterior.matched
    looked_up = look_up(model, matched, peaks)
    found = at_groups(model, matched, peaks)
    log_zlp = plain_evaluation.log_zlp_of(model, matched, looked_up)
    np.testing.assert_allclose(found.log_zlp, log_zlp, rtol=1e-12)
    sigma = plain_evaluation.sigma_of(model, matched, peaks, looked_up)
    np.testing.assert_allclose(found.sigma, sigma, rtol=RTOL)
    np.testing.assert_allclose(found.below, sigma * looked_up.lower, rtol=RTOL)
    np.testing.assert_allclose(found.above, sigma * looked_up.upper, rtol=RTOL)


def test_a_measured_variance_is_taken_as_it_is(scene):
    model, counts, peaks = scene
    posterior = model.posterior(counts, peaks)
    given = np.linspace(1.0, 9.0, counts.size).reshape(counts.shape)
    std, variance = model.evaluate(["std", "variance"], posterior, counts, given)
    np.testing.assert_allclose(variance, std**2 + given, rtol=1e-12)
    (variance,) = model.evaluate(["variance"], posterior, counts, 7.0)
    np.testing.assert_allclose(variance, std**2 + 7.0, rtol=1e-12)


def test_groups_are_sums_of_channels(scene):
    model, counts, peaks = scene
    model = with_residual(replace(model, dark_level=np.full(1, 2.0)), pattern=True)
    shifted = replace(peaks, channel=peaks.channel - np.arange(6) * 30)
    found = model._grouped(counts, shifted)
    sums, complete = model.groups.collect(
        (counts - 2.0) / (1 + model.table.residual.pattern), shifted.channel.astype(int)
    )
    np.testing.assert_array_equal(found.complete, complete)
    np.testing.assert_allclose(found.sums, sums, rtol=1e-10, atol=1e-6)
    assert not complete.all()


@numba.njit
def logarithm(values, bits):
    kernels._take_logarithm(values, bits, np.empty(values.size), values.size)


@numba.njit
def exponential(values, scale, bits):
    kernels._take_exponential(values, scale, bits, values.size)


def test_elementary_functions_are_exact_to_rounding():
    values = np.exp(np.linspace(0, 40, 10_001))
    found = values.copy()
    logarithm(found, found.view(np.int64))
    np.testing.assert_allclose(found, np.log(values), rtol=1e-14, atol=1e-15)
    values = np.append(np.linspace(-160, 160, 10_001), np.nan)
    found, scale = values.copy(), np.empty(values.size)
    exponential(found, scale, scale.view(np.int64))
    np.testing.assert_allclose(found, np.exp(values), rtol=1e-14)


def test_one_specialisation_for_each_precision(scene):
    """Whatever arrays come in, no more is compiled than for single and double precision counts."""
    model, counts, peaks = scene
    for dtype in ("float64", "float32", "uint16", ">f4", "int64"):
        of_type = np.asfortranarray(np.clip(counts, 0, 60_000).astype(dtype))
        of_type.flags.writeable = False
        model.evaluate(["subtracted"], model.posterior(of_type, peaks), of_type)
    one = kernels.match_spectra, kernels.evaluate_groups
    two = kernels.evaluate_channels, kernels.collect_groups, kernels.weighted_sums
    assert [len(kernel.signatures) for kernel in one] == [1, 1]
    assert [len(kernel.signatures) for kernel in two] == [2, 2, 2]


#: Compiles something where nothing can be kept: no folder can be written.
NOWHERE = """
from hyperspy_zlpml.compute.compiled import compiled
import numba.core.caching as caching
caching.CacheImpl._locator_classes = []
@compiled
def double(x):
    return 2 * x
print(double(2.5))
"""


def test_where_no_folder_can_be_written_it_is_compiled_all_the_same():
    done = subprocess.run(
        [sys.executable, "-c", NOWHERE], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.stdout.strip() == "5.0", done.stderr


def test_peaks_that_are_not_credible_are_all_looked_at_closely():
    """Whatever is off its counts is found by the quick look; what is not is not looked at twice."""
    n = 200
    model, rng = prepare(), np.random.default_rng(0)
    zlp, centre, fwhm = true_zlp(n)
    counts, peaks = measured(zlp), rows(zlp, centre, fwhm, 1.5)
    matched, spectra = model._match(counts, model._grouped(counts, peaks), peaks)
    at = at_groups(model, matched, peaks)
    assert not model._doubted(spectra, matched, at).any()
    height = matched.log_height + rng.normal(0, 1, n)
    height[:2] = np.nan, np.inf
    moved = replace(
        matched,
        log_height=height,
        centre=matched.centre + rng.normal(0, 0.5, n) * FWHM,
        fwhm=matched.fwhm * np.exp(rng.normal(0, 0.3, n)),
    )
    at = at_groups(model, moved, peaks)
    credible = model._looked_at_closely(spectra, moved, at)
    assert 0 < credible.sum() < n
    np.testing.assert_array_equal(model._is_credible(spectra, moved, at), credible)


def test_a_peak_that_is_uncertain_by_more_than_all_counts_is_none():
    """Twice the highest counts in one group of the tail are told, wherever on the axis; a tail unknown by itself is not."""
    model, factors = prepare(), np.array([0.5, 1.0, 2.0, 4.0])
    zlp, centre, fwhm = true_zlp(factors.size)
    counts, peaks = measured(zlp), rows(zlp, centre, fwhm, 1.5)
    matched, spectra = model._match(counts, model._grouped(counts, peaks), peaks)
    at = at_groups(model, matched, peaks)
    group = model._core[-1] + 2
    one = np.exp(at.log_zlp[:, group]) * spectra.scale(matched.fwhm)[:, group]
    most = model._highest(spectra) * model.groups.n_channels[group]
    at.sigma[:, group] = np.arcsinh(factors * most / one)
    assert (at.sigma[:, group] > 1).all()
    np.testing.assert_array_equal(model._is_credible(spectra, matched, at), factors < 1.5)
