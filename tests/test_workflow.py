# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole method on arrays: the numbers of the signal method, without HyperSpy."""

import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
from conftest import MAPS, QUICK, SPECTRA

import hyperspy_zlpml.data
from hyperspy_zlpml import NoZeroLossPeakError
from hyperspy_zlpml.image.spectra import Spectra
from hyperspy_zlpml.removal.removed import RemovedZLP
from hyperspy_zlpml.removal.report import Report
from hyperspy_zlpml.workflow import (
    Options,
    remove_zlp,
    train_at_settings,
    train_zlp,
    train_zlp_at_settings,
)

OPTIONS = {"n_clusters": 2, **QUICK}
#: Where both ways are gone here, two networks tell whether they are the same.
FEWEST = {**OPTIONS, "n_replicas": 2}
#: Settings that the metadata of the sample images hold: part of what an ensemble is.
SETTINGS = {"beam_energy": 200.0, "convergence_angle": 10.0, "collection_angle": 15.0}


def arrays_of(signal):
    """Counts and energies of a signal."""
    return signal.data, signal.axes_manager.signal_axes[0].axis


def assert_equal_to(removed, result):
    """Every array is that of the signals, bit for bit."""
    for name in SPECTRA:
        signal = getattr(result, name)
        np.testing.assert_array_equal(np.asarray(getattr(removed, name)), signal.data, name)
        assert getattr(removed, name).dtype == signal.data.dtype
    variance = result.subtracted.get_noise_variance().data
    np.testing.assert_array_equal(np.asarray(removed.variance), variance)
    for name in MAPS:
        values = getattr(removed, name)
        expected = getattr(result, name).data
        np.testing.assert_array_equal(values.reshape(expected.shape), expected, name)
    assert removed.ensemble.fingerprint == result.ensemble.fingerprint
    assert str(removed.report) == str(result.report)


# --- equal to the signal method -------------------------------------------------------------------


def test_arrays_give_what_the_signal_method_gives(small, small_removal):
    removed = remove_zlp(*arrays_of(small), microscope=SETTINGS, **OPTIONS)
    assert isinstance(removed, RemovedZLP)
    assert isinstance(removed.report, Report)
    assert removed.subtracted.shape == small.data.shape
    assert removed.clusters.shape == small.data.shape[:-1]
    assert_equal_to(removed, small_removal)


def test_lazy_arrays_give_what_the_lazy_signal_gives(small):
    counts, energy = arrays_of(small)
    lazy = da.from_array(counts, chunks=(2, 2, 100))
    removed = remove_zlp(lazy, energy, microscope=SETTINGS, **FEWEST)
    assert isinstance(removed.subtracted, da.Array)
    assert "lazy" in repr(removed)
    result = small.as_lazy(chunks=(2, 2, 100)).remove_zlp_ml(**FEWEST)
    result.compute()
    assert_equal_to(removed, result)


@pytest.mark.parametrize("lazy_output", [True, False])
def test_laziness_of_the_output_can_be_chosen(small, small_removal, lazy_output):
    counts, energy = arrays_of(small)
    given = counts if lazy_output else da.from_array(counts, chunks=(1, 4, -1))
    removed = remove_zlp(given, energy, lazy_output=lazy_output, **OPTIONS)
    assert isinstance(removed.zlp, da.Array) == lazy_output
    np.testing.assert_allclose(removed.zlp, small_removal.zlp.data, rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (7,), (3, 2, 2)])
def test_any_number_of_navigation_axes(shape):
    signal = hyperspy_zlpml.data.ws2_like(shape, n_channels=512, offset=-2.0, random_state=3).signal
    removed = remove_zlp(*arrays_of(signal), microscope=SETTINGS, **FEWEST)
    result = signal.remove_zlp_ml(**FEWEST)
    assert removed.centre.shape == shape[::-1]
    assert_equal_to(removed, result)


def test_options_mean_the_same(small):
    counts, energy = arrays_of(small)
    shape = counts.shape[:-1]
    vacuum = np.zeros(shape, bool)
    vacuum[0, :2] = True
    mask = np.zeros(shape, bool)
    mask[2, 3] = True
    options = {
        "regions": {"E_I": 1.2, "gain_limit": -1.0},
        "vacuum": vacuum,
        "navigation_mask": mask,
        "cluster_by": np.arange(12.0).reshape(shape),
        "confidence": 0.9,
        "replica_kind": "spectra",
        **FEWEST,
    }
    removed = remove_zlp(counts, energy, microscope=SETTINGS, **options)
    assert_equal_to(removed, small.remove_zlp_ml(**options))
    assert removed.clusters[2, 3] == -1
    assert np.isnan(removed.zlp[2, 3]).all()


def test_a_vacuum_measured_separately(small):
    reference = hyperspy_zlpml.data.vacuum_reference(
        (5,), n_channels=512, offset=-2.0, random_state=4
    ).signal
    removed = remove_zlp(
        *arrays_of(small),
        vacuum=Spectra(*arrays_of(reference)),
        microscope=SETTINGS,
        **FEWEST,
    )
    assert_equal_to(removed, small.remove_zlp_ml(vacuum=reference, **FEWEST))
    assert removed.report.n_reference == 5


@pytest.mark.parametrize("lazy", [False, True])
def test_a_variance_that_is_known(small, lazy):
    counts, energy = arrays_of(small)
    variance = np.clip(counts, 1, None)
    if lazy:
        variance = da.from_array(variance, chunks=(1, 4, 512))
    removed = remove_zlp(counts, energy, variance=variance, microscope=SETTINGS, **FEWEST)
    small.set_noise_variance(small._deepcopy_with_new_data(np.asarray(variance)))
    assert_equal_to(removed, small.remove_zlp_ml(**FEWEST))


def test_an_ensemble_that_was_trained_before(small, small_reused):
    counts, energy = arrays_of(small)
    ensemble = train_zlp(counts, energy, microscope=SETTINGS, **OPTIONS)
    assert ensemble.fingerprint == small.train_zlp_ml(**OPTIONS).fingerprint
    options = {"ensemble": small_reused.ensemble, "n_clusters": 2, "random_state": 0}
    removed = remove_zlp(counts, energy, microscope=SETTINGS, **options)
    assert_equal_to(removed, small_reused)


def test_several_settings(small):
    images = hyperspy_zlpml.data.vacuum_at_settings(
        (60, 200), (0.1, 0.4), (3, 3), n_channels=256, random_state=0
    )
    signals = [image.signal for image in images]
    options = {"n_clusters": 1, "n_replicas": 4, "random_state": 0}
    expected = hyperspy_zlpml.train_zlp_ml(signals, ["beam_energy", "exposure"], **options)
    conditions = {"beam_energy": [60, 60, 200, 200], "exposure": [0.1, 0.4, 0.1, 0.4]}
    spectra = [
        Spectra(*arrays_of(s), microscope={"convergence_angle": 10.0, "collection_angle": 15.0})
        for s in signals
    ]
    found = train_zlp_at_settings(spectra, conditions, **options)
    assert found.fingerprint == expected.fingerprint
    energy = np.linspace(-1, 3, 50)
    np.testing.assert_array_equal(
        found.predict(energy, beam_energy=100, exposure=0.2),
        expected.predict(energy, beam_energy=100, exposure=0.2),
    )


@pytest.mark.parametrize("values", [[60, 80], [60, np.nan, 80], "abc", [[60], [80], [120]]])
def test_settings_that_are_not_one_number_for_each_image(small, values):
    spectra = [Spectra(*arrays_of(small))] * 3
    with pytest.raises(ValueError, match="conditions: expected 3 finite values of beam_energy"):
        train_zlp_at_settings(spectra, {"beam_energy": values}, **OPTIONS)


@pytest.mark.parametrize(
    "images, conditions, options, match",
    [
        ([], {"beam_energy": []}, {}, "images: expected a sequence of Spectra, got"),
        (["a"], {"beam_energy": [1]}, {}, r"images: expected a sequence of Spectra.*\['str'\]"),
        (3, {"beam_energy": [1]}, {}, r"images: expected a sequence of Spectra.*int"),
        (None, {1: [60, 200]}, {}, "conditions: expected values of what differs"),
        (None, {}, {}, "conditions: expected values of what differs.*beam_energy.*got {}"),
        (
            None,
            {"beam_energy": [60, 200]},
            {"vacuum": np.ones((3, 4), bool)},
            "vacuum: expected None",
        ),
        (
            None,
            {"beam_energy": [60, 200]},
            {"navigation_mask": np.zeros((3, 4), bool)},
            "navigation_mask: expected None",
        ),
        (
            None,
            {"beam_energy": [60, 200]},
            {"cluster_by": np.ones((3, 4))},
            "cluster_by: expected the name of a proxy.*got ndarray",
        ),
    ],
)
def test_training_at_settings_takes_images_and_no_map_of_one(
    small, images, conditions, options, match
):
    images = [Spectra(*arrays_of(small))] * 2 if images is None else images
    with pytest.raises(ValueError, match=match):
        train_at_settings(images, conditions, Options(**{**OPTIONS, **options}))


@pytest.mark.parametrize("lazy", [False, True])
def test_integrals_are_those_of_the_signal(small, small_removal, lazy):
    counts, energy = arrays_of(small)
    given = da.from_array(counts, chunks=(1, 4, 512)) if lazy else counts
    removed = remove_zlp(given, energy, **OPTIONS)
    found = removed.integrate(2.0, 5.0)
    integral, error = small_removal.integrate(2.0, 5.0)
    assert found.integral.shape == removed.centre.shape
    exactly = {"rtol": 1e-4 if lazy else 0, "atol": 1e-3 * error.data.min() if lazy else 0}
    np.testing.assert_allclose(found.integral, integral.data, **exactly)
    std = np.hypot(found.model_std, found.counting_std)
    np.testing.assert_allclose(std, error.data, **exactly)


@pytest.mark.parametrize(
    "left, right, match",
    [
        (4, 2.5, "left: expected less than right = 2.5, got 4"),
        ("a", 3, "left: expected a finite number, got 'a'"),
        (2, np.nan, "right: expected a finite number, got nan"),
        (1e3, 2e3, "left, right: expected energies on the axis, got 1000 to 2000 eV"),
    ],
)
def test_windows_that_are_none(small_removal, left, right, match):
    for one in (small_removal.removed, small_removal):
        with pytest.raises(ValueError, match=match):
            one.integrate(left, right)


# --- without HyperSpy -----------------------------------------------------------------------------

ALONE = """
import sys
import numpy as np, dask.array as da
from hyperspy_zlpml.workflow import remove_zlp
energy = -2 + 0.025 * np.arange(512)
zlp = np.exp(-4 * np.log(2) * (energy / 0.4) ** 2) + 0.01 / (1 + (energy / 0.3) ** 2)
thickness = np.linspace(0, 0.5, 30)[:, None]
losses = 0.02 * thickness * np.clip(energy - 1.8, 0, None) ** 0.5
counts = np.random.default_rng(0).poisson(1e6 * (np.exp(-thickness) * zlp + losses)).astype(float)
options = dict(n_clusters=2, n_replicas=4, random_state=0)
eager = remove_zlp(counts, energy, **options)
lazy = remove_zlp(da.from_array(counts, chunks=(7, 512)), energy, **options)
assert (lazy.clusters == eager.clusters).all()
np.testing.assert_allclose(lazy.zlp, eager.zlp, rtol=1e-6)
print(eager.report)
print(*sorted({m.split(".")[0] for m in sys.modules}))
"""


def test_a_process_that_never_imports_hyperspy():
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, check=True, timeout=300
    )
    assert "Zero-loss peak removal" in done.stdout
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "torch" in loaded
    assert not loaded & {"hyperspy", "exspy", "rsciio", "matplotlib", "traits"}


# --- what is taken ------------------------------------------------------------------------------


def test_settings_of_the_microscope_are_numbers_of_any_kind(small):
    spectra = Spectra(*arrays_of(small), microscope={"beam_energy": np.int64(200)})
    assert spectra.microscope == {"beam_energy": 200.0}
    assert type(spectra.microscope["beam_energy"]) is float
    assert Spectra(*arrays_of(small), microscope=None).microscope == {}


@pytest.mark.parametrize("offset", [-2.0, 1000.0])
def test_an_axis_in_single_precision_is_uniform(small, offset):
    energy = (offset + 0.025 * np.arange(512)).astype(np.float32)
    assert Spectra(small.data, energy).step == pytest.approx(0.025, rel=1e-2)


def test_a_map_may_be_a_tuple_and_an_axis_of_dask(small):
    counts, energy = arrays_of(small)
    spectra = Spectra(counts, da.from_array(energy))
    assert type(spectra.energy) is np.ndarray
    mask = ((True,) * 4,) + ((False,) * 4,) * 2
    removed = remove_zlp(counts, da.from_array(energy), vacuum=mask, **OPTIONS)
    np.testing.assert_array_equal(removed.vacuum, mask)


def test_an_axis_with_a_jump_is_not_uniform(small):
    energy = -2 + 0.025 * np.arange(512)
    energy[300:] += 0.001
    with pytest.raises(ValueError, match="energy: expected a uniform axis"):
        Spectra(small.data, energy)


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"energy": np.arange(40.0)}, r"energy: expected at least 64 channels.*\(40,\)"),
        ({"energy": np.arange(512.0)[::-1]}, "energy: expected increasing energies"),
        ({"energy": np.geomspace(1, 50, 512)}, "energy: expected a uniform axis.*interpolate"),
        ({"energy": np.zeros((2, 512))}, r"energy: expected.*one dimension.*\(2, 512\)"),
        (
            {"counts": np.ones((3, 100))},
            r"counts: expected 512 channels on the last axis.*\(3, 100\)",
        ),
        ({"counts": np.ones((0, 512))}, r"counts: expected at least one spectrum.*\(0, 512\)"),
        (
            {"counts": np.ones((3, 512), complex)},
            "counts: expected real numbers, got dtype complex",
        ),
        ({"counts": np.full((3, 512), "a")}, "counts: expected real numbers, got dtype <U1"),
        ({"counts": np.ma.ones((3, 512))}, r"counts: expected an array without a mask.*filled\(np"),
        (
            {"counts": da.ones((8, 512))[da.arange(8) > 2]},
            r"counts: expected a dask array of known shape.*compute_chunk_sizes",
        ),
        (
            {"variance": np.ones((3, 4, 5))},
            r"variance: expected.*broadcasts.*got shape \(3, 4, 5\)",
        ),
        (
            {"variance": np.ones((2, 3, 4, 512))},
            r"variance: expected.*broadcasts.*\(2, 3, 4, 512\)",
        ),
        ({"variance": "auto"}, "variance: expected real numbers, got dtype <U4"),
        ({"variance": -1.0}, r"variance: expected a positive number, got -1\.0"),
        ({"variance": 0}, "variance: expected a positive number, got 0"),
        ({"variance": np.nan}, "variance: expected a positive number, got nan"),
        ({"variance": np.zeros(512)}, "variance: expected positive finite values, got none"),
        ({"energy": np.r_[np.arange(511.0), np.inf]}, "energy: expected increasing energies"),
        ({"variance": np.full(512, -2.0)}, "variance: expected at least 0 in every.*got -2; clip"),
        ({"microscope": {"beam_energy": None}}, "microscope: expected a positive number.*got None"),
        ({"microscope": {"beam_energy": "200"}}, "microscope: expected a positive.*got '200'"),
        ({"microscope": {"beam_energy": np.nan}}, "microscope: expected a positive.*got nan"),
        ({"microscope": {"beam_energy": -200}}, "microscope: expected a positive.*got -200"),
        ({"energy": "energy"}, "energy: expected real numbers, got dtype <U6"),
        ({"cluster_by": None}, "cluster_by: expected one of .* or a map, got None"),
        ({"cluster_by": np.full((3, 4), "a")}, "cluster_by: expected real numbers"),
        (
            {"navigation_mask": np.ones((3, 4), bool)},
            "navigation_mask: expected a spectrum to work",
        ),
        ({"vacuum": np.ones((5, 512))}, r"vacuum: expected.*Spectra\(counts, energy\)"),
        ({"vacuum": np.ones((3, 4, 512))}, r"vacuum: expected.*Spectra\(counts, energy\)"),
        (
            {"vacuum": ([1.0], 2.0)},
            r"vacuum: expected spectra, a boolean map, True, False or None, got .*Spectra",
        ),
        (
            {"microscope": {"beam_engery": 200}},
            r"microscope: expected.*among.*got the key 'beam_engery'",
        ),
        ({"microscope": 200}, "microscope: expected a dict with keys among.*got 200"),
        ({"vacuum": "auto"}, "vacuum: expected spectra, a boolean map, True, .* got 'auto'"),
        ({"vacuum": np.ones((4, 3), bool)}, r"vacuum: expected a map of shape \(3, 4\).*\(4, 3\)"),
        ({"navigation_mask": np.ones((3, 4))}, "navigation_mask: expected a boolean map"),
        ({"cluster_by": np.full((3, 4), np.nan)}, "cluster_by: expected a map with finite values"),
        ({"regions": {"E_I": 0.01}}, r"regions: expected E_I between 0\.2.*half the FWHM"),
        ({"regions": {"gain": -1}}, "regions: expected a dict with keys among.*gain_limit"),
        ({"ensemble": "file.zlp"}, "ensemble: expected an Ensemble.*got str"),
        ({"confidence": 1.0}, "confidence: expected a number between 0 and 1"),
        ({"replica_kind": "poisson"}, "replica_kind: expected one of"),
        ({"random_state": -1}, "random_state: expected an int of at least 0"),
    ],
)
def test_what_is_not_possible_is_refused_in_words(small, changed, match):
    counts, energy = arrays_of(small)
    with pytest.raises(ValueError, match=match):
        remove_zlp(**{"counts": counts, "energy": energy, **OPTIONS, **changed})


def test_counts_without_a_peak(small):
    counts, energy = arrays_of(small)
    with pytest.raises(NoZeroLossPeakError, match="any of 12 spectra"):
        remove_zlp(np.zeros_like(counts), energy, **OPTIONS)


def test_energies_in_another_unit_are_noticed(small):
    counts, energy = arrays_of(small)
    with pytest.warns(UserWarning, match=r"peaks are \d+ eV wide.*is the energy axis in eV"):
        remove_zlp(counts, 1e3 * energy, **OPTIONS)


def test_an_ensemble_with_conditions_must_stand_at_a_setting(small):
    images = hyperspy_zlpml.data.vacuum_at_settings(
        (60, 200), (0.1,), (3, 3), n_channels=256, random_state=0
    )
    ensemble = hyperspy_zlpml.train_zlp_ml(
        [image.signal for image in images],
        ["beam_energy"],
        n_clusters=1,
        n_replicas=4,
        random_state=0,
    )
    with pytest.raises(ValueError, match=r"setting: expected values of.*ensemble\.at\(beam_energy"):
        remove_zlp(*arrays_of(small), ensemble=ensemble)
    # Settings that are known are taken, as a signal's metadata are.
    options = {"n_clusters": 2, "random_state": 0}
    found = remove_zlp(*arrays_of(small), ensemble=ensemble, microscope=SETTINGS, **options)
    expected = remove_zlp(
        *arrays_of(small),
        ensemble=ensemble.at(beam_energy=200.0),
        microscope=SETTINGS,
        **options,
    )
    np.testing.assert_array_equal(found.zlp, expected.zlp)


def test_inputs_are_not_modified(small):
    counts, energy = arrays_of(small)
    before = counts.copy(), energy.copy()
    remove_zlp(counts, energy, **OPTIONS)
    np.testing.assert_array_equal(counts, before[0])
    np.testing.assert_array_equal(energy, before[1])
