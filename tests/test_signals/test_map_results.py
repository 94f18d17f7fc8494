# SPDX-License-Identifier: GPL-3.0-or-later
"""What the results of all methods that make maps have in common."""

import json
import shutil
import warnings
from dataclasses import replace

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

from hyperspy_zlpml import RemovalFileError, load_maps, load_removal
from hyperspy_zlpml.data import dielectric_phantom
from hyperspy_zlpml.physics import Beam, Exciton, Plasmon, Reason
from hyperspy_zlpml.physics.cherenkov import with_retardation
from hyperspy_zlpml.physics.reasons import BY_WEIGHT, most_serious
from hyperspy_zlpml.removal.shared_errors import SharedErrors
from hyperspy_zlpml.signals.maps import files
from hyperspy_zlpml.signals.maps.figure import plot_maps
from hyperspy_zlpml.signals.maps.given import with_error
from hyperspy_zlpml.signals.maps.native import Measured
from hyperspy_zlpml.signals.maps.words import rounded_alike
from hyperspy_zlpml.signals.microscope import beam_of

QUIET = {"show_progressbar": False}
QUICK = {"n_replicas": 4, "n_clusters": 2, "random_state": 0, **QUIET}
N = 2.62


@pytest.fixture(scope="module")
def sample():
    return dielectric_phantom((4, 3), random_state=7001, n_channels=512, scale=0.1)


@pytest.fixture(scope="module")
def removal(sample):
    return sample.signal.remove_zlp_ml(**QUICK)


@pytest.fixture(scope="module")
def results(removal):
    """One result of every kind, by the name of what stands for it in a line."""
    return {
        "gap": removal.band_gap(**QUIET),
        "t_over_lambda": removal.thickness(n=N, **QUIET),
        "thickness": removal.dielectric_function(n=N, **QUIET),
        "excess": removal.retardation(n=N),
        "position": removal.fit_peaks(Plasmon(24.0, 6.0), **QUIET),
        "temperature": removal.temperature(**QUIET),
    }


@pytest.fixture(scope="module")
def saved(results, tmp_path_factory):
    """Folder of the folders of ``results``, by their names. Not to be modified."""
    folder = tmp_path_factory.mktemp("saved")
    for name, found in results.items():
        found.save(folder / name)
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    """A copy of the folder of gaps that a test may modify."""
    return shutil.copytree(saved / "gap", tmp_path / "maps")


@pytest.fixture(scope="module")
def others(removal, tmp_path_factory):
    """Folder of gaps of another exponent of the same spectra."""
    folder = tmp_path_factory.mktemp("others") / "maps"
    removal.band_gap(exponent=0.5, **QUIET).save(folder)
    return folder


def test_all_say_the_same_in_a_line_in_words_and_in_html(results):
    for name, found in results.items():
        words = dict(found._rows())
        assert f"{name}: {words[name]}; {words['reason']}>" in repr(found)
        assert str(found) == found.summary
        assert len(found.summary.splitlines()) == len(words) + 1
        for said in (name, words[name]):
            assert said in found.summary
            assert said in found._repr_html_()


def test_quantities_keep_the_reasons_of_their_pixels(results, saved):
    whole = results["t_over_lambda"]
    assert Reason.NOT_SIGNIFICANT in whole.reason.data
    for found in (whole, whole.inav[:2], load_maps(saved / "t_over_lambda")):
        words, one = dict(found._rows()), found.t_over_lambda
        assert one.summary == words["t_over_lambda"]
        assert (2 * one).summary.rpartition(" in ")[2] == one.summary.rpartition(" in ")[2]
        np.testing.assert_array_equal(one.inav[1].reason.data, found.reason.inav[1].data)
    assert not list((saved / "t_over_lambda").glob("*_reason.zspy"))
    assert "no number" not in whole.lower_limit.summary  # whose numbers hold whatever the reason
    one.plot()
    assert "NOT_SIGNIFICANT" in plt.gcf().legends[0].get_texts()[0].get_text()
    plt.close("all")


def test_reasons_of_another_version_are_refused(results, tmp_path):
    found = results["gap"]
    older = found.reason.deepcopy()
    older.metadata.ZLP_ML.legend.set_item(
        "7", "AT_EDGE: the answer lies at an end of what was tried"
    )
    replace(found, reason=older).save(tmp_path / "maps")
    with pytest.raises(RemovalFileError, match="reason 7 was AT_EDGE, expected AT_LOWER_END: make"):
        load_maps(tmp_path / "maps")
    altered = found.reason.deepcopy()
    altered.metadata.ZLP_ML.legend.set_item("1", 3)
    replace(found, reason=altered).save(tmp_path / "maps", overwrite=True)
    with pytest.raises(RemovalFileError, match="altered"):
        load_maps(tmp_path / "maps")


@pytest.mark.parametrize(
    "value, errors", [(1.6449, (0.1, 0.024)), (312.7, (52.0, 0.3)), (1e-3, (9.96e-4,))]
)
def test_numbers_and_errors_have_the_same_decimals(value, errors):
    written = rounded_alike(value, *errors)
    assert len({len(one.partition(".")[2]) for one in written}) == 1
    assert np.abs(np.array(written, float) - (value, *errors)).max() < 0.051 * max(errors)
    assert all(float(one) for one in written)


def failed(removal):
    """The same removal, had spectra of pure zero-loss peak shared errors four times as large as claimed."""
    distance, ones = np.linspace(0.5, 1.0, 8), np.ones(8)
    shared = SharedErrors(distance, 0.04 * ones, 1e-4 * ones, 0.01 * ones, 0 * ones)
    report = replace(removal.removed.report, pure=shared)
    record = {**removal.removed.record, "checks": report.said_of_checks}
    removed = replace(removal.removed, report=report, record=record)
    return replace(removal, removed=removed, _warned=[])


def test_maps_say_that_a_check_of_the_removal_failed(removal, tmp_path):
    bad = failed(removal)
    with pytest.warns(UserWarning, match="check on region I FAILED.* in the maps too") as caught:
        gap = bad.band_gap(**QUIET)
    assert [one.filename for one in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bad.inav[1:].thickness(**QUIET)
        bad.maps(thickness={}, **QUIET)
    gap.save(tmp_path / "gap")
    for found in (gap, gap.inav[1], load_maps(tmp_path / "gap")):
        assert "check on region I FAILED" in repr(found)
        assert "check on region I FAILED" in found.summary
        assert "check on region I FAILED" in found.gap.std.metadata.ZLP_ML.checks


def test_maps_of_a_removal_that_holds_say_so_without_a_warning(removal, results):
    assert "FAILED" not in removal.report.said_of_checks
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replace(removal, _warned=[]).thickness(**QUIET)
    for found in results.values():
        assert dict(found._rows())["removal"] == removal.report.said_of_checks
        assert "FAILED" not in repr(found)


def test_quantities_are_measured_and_nothing_has_an_error_beside(results):
    for found in results.values():
        parts = found._parts()
        assert isinstance(parts[found._first], Measured)
        assert not [name for name in parts if name.endswith(("std", "systematic", "chi2s"))]
        for part in parts.values():
            if isinstance(part, Measured):
                variance = part.value.get_noise_variance().data
                np.testing.assert_allclose(variance, part.std.data**2)


@pytest.mark.parametrize("name", ["gap", "thickness", "position"])
def test_saved_results_are_read_back(results, saved, name, tmp_path):
    found, folder = results[name], shutil.copytree(saved / name, tmp_path / "maps")
    assert (folder / "summary.txt").read_text().strip() == found.summary
    first = getattr(found, found._first)
    for end, signal in (("", first.value), ("_std", first.std), ("_systematic", first.systematic)):
        read = hs.load(folder / f"{found._first}{end}.zspy")
        np.testing.assert_array_equal(read.data, signal.data)
    reason = hs.load(folder / "reason.zspy")
    one, other = (each.metadata.ZLP_ML.legend.as_dictionary() for each in (reason, found.reason))
    assert one == other
    found.save(folder, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["maps"]


def assert_equal(one, other):
    """All that two results say and hold is equal."""
    assert type(one) is type(other)
    assert one.summary == other.summary
    for name, part in one._parts().items():
        same = other._parts()[name]
        if not isinstance(part, (Measured, hs.signals.BaseSignal)):
            assert part == same or (part != part and same != same)
            continue
        pairs = [(part, same)]
        if isinstance(part, Measured):
            pairs = [
                (getattr(part, kind), getattr(same, kind))
                for kind in ("value", "std", "systematic")
            ]
        for first, second in pairs:
            assert type(first) is type(second)
            assert first.axes_manager.shape == second.axes_manager.shape
            assert first.metadata.General.title == second.metadata.General.title
            np.testing.assert_array_equal(np.asarray(first.data), np.asarray(second.data))


@pytest.mark.parametrize(
    "name", ["gap", "t_over_lambda", "thickness", "excess", "position", "temperature"]
)
def test_results_come_back(results, removal, saved, name, tmp_path):
    found = results[name]
    again = load_maps(saved / name)
    assert_equal(again, found)
    again.plot()
    again.inav[1:3, 0].save(tmp_path / "part")
    assert_equal(load_maps(tmp_path / "part"), found.inav[1:3, 0])
    assert_equal(load_maps(saved / name, removal=removal), found)
    plt.close("all")


def test_what_is_drawn_anew_needs_the_removal(results, removal, saved):
    alone = load_maps(saved / "gap")
    for ask in (alone.curve, alone.plot_fit, alone.plot_line):
        with pytest.raises(
            ValueError,
            match=r"drawn anew from spectra: expected the removal .*load_maps\(directory, rem",
        ):
            ask()
    again = load_maps(saved / "gap", removal=removal)
    np.testing.assert_array_equal(again.curve((1, 1)).data, results["gap"].curve((1, 1)).data)
    with pytest.raises(ValueError, match="removal: expected the one that the maps are of"):
        load_maps(saved / "gap", removal=removal.inav[1:])


@pytest.mark.filterwarnings("ignore:E_I of cluster")
def test_another_removal_of_the_same_shape_is_refused(sample, results, removal, saved, tmp_path):
    """Whether other pixels, other limits of the same ensemble, or another ensemble."""
    part = tmp_path / "part"
    results["gap"].inav[:2].save(part)
    assert load_maps(part, removal=removal.inav[:2])._removal is not None
    signal = sample.signal
    known = {"ensemble": removal.ensemble, "random_state": 0, **QUIET}
    shifted = signal.remove_zlp_ml(regions={"E_I": 2.5}, **known)
    other = signal.remove_zlp_ml(**QUICK | {"random_state": 1})
    for folder, one in (
        (part, removal.inav[2:]),
        (saved / "gap", shifted),
        (saved / "gap", other),
        (saved / "t_over_lambda", other),
        (saved / "t_over_lambda", shifted),
    ):
        with pytest.raises(ValueError, match="removal: .*, got another of the same shape"):
            load_maps(folder, removal=one)


def test_loaded_quantities_are_arguments_with_their_errors(results, removal, saved):
    thickness = load_maps(saved / "t_over_lambda").by_index
    found = removal.dielectric_function(thickness=thickness, **QUIET)
    expected = removal.dielectric_function(thickness=results["t_over_lambda"].by_index, **QUIET)
    np.testing.assert_array_equal(found.n.systematic.data, expected.n.systematic.data)


def test_fits_that_come_back_go_into_models(results, removal, saved):
    again = load_maps(saved / "position")
    models = [removal.subtracted.create_model() for _ in range(2)]
    for fit, model in zip((results["position"], again), models, strict=True):
        fit.append_to(model)
    one, other = ({p.name: p.map["values"] for p in model[0].parameters} for model in models)
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])


def test_spectra_of_a_result_may_stay_in_their_files(results, saved):
    again = load_maps(saved / "thickness", lazy=True)
    assert again.eps1.value._lazy
    assert not again.thickness.value._lazy
    np.testing.assert_array_equal(again.eps1.std.data.compute(), results["thickness"].eps1.std.data)


def spoilt(folder, how):
    file = folder / files.RESULT
    text = file.read_text()
    if how == "cut short":
        file.write_text(text[: len(text) // 2])
    elif how == "another number":
        file.write_text(text.replace('"ln_indirect_image": ', '"ln_indirect_image": 1', 1))
    elif how == "another record":
        file.write_text(text.replace('"record": "BandGap"', '"record": "Thickness"'))
    elif how == "a way out of the folder":
        file.write_text(text.replace('"gap.value"', '"../gap.value"'))
    elif how == "a newer format":
        file.write_text(text.replace('"format_version": 1', '"format_version": 2'))
    elif how == "a checksum taken out":
        sums = json.loads(text)
        sums["signals"]["gap.value"] = None
        file.write_text(json.dumps(sums))
    else:
        shutil.rmtree(folder / "reason.zspy")
        hs.signals.BaseSignal(np.zeros((2, 2))).T.save(folder / "reason.zspy")


@pytest.mark.parametrize(
    "how",
    [
        "cut short",
        "another number",
        "another record",
        "a way out of the folder",
        "a newer format",
        "a checksum taken out",
        "a map of other pixels",
    ],
)
def test_altered_results_are_refused(copied, how):
    spoilt(copied, how)
    with pytest.raises(RemovalFileError, match="(result.json|reason.zspy): .*altered"):
        load_maps(copied)


@pytest.mark.parametrize("name", ["gap", "gap_std"])
def test_maps_of_another_result_of_the_same_kind_are_refused(copied, others, name):
    """Their shape and titles are the same: only the numbers tell."""
    shutil.rmtree(copied / f"{name}.zspy")
    shutil.copytree(others / f"{name}.zspy", copied / f"{name}.zspy")
    with pytest.raises(RemovalFileError, match=f"{name}.zspy: altered, or of another result"):
        load_maps(copied)


def test_a_variance_that_was_altered_is_refused(results, copied):
    gap = results["gap"].gap.value.deepcopy()
    gap.set_noise_variance(gap.get_noise_variance() * 4)
    gap.save(copied / "gap.zspy", overwrite=True)
    with pytest.raises(RemovalFileError, match=r"gap.zspy: altered"):
        load_maps(copied)


def test_what_is_no_result_of_maps_is_refused(copied):
    with pytest.raises(FileNotFoundError, match="result.json: expected what found.save wrote"):
        load_maps(copied.parent)
    shutil.rmtree(copied / "lower.zspy")
    with pytest.raises(FileNotFoundError, match="lower.zspy: expected a signal of a result"):
        load_maps(copied)
    with pytest.raises(RemovalFileError, match="got a file; single maps are read by"):
        load_maps(copied / "result.json")


def test_folders_of_a_removal_and_of_maps_are_told_apart(results, removal, copied, tmp_path):
    removal.save(tmp_path / "r", signals=[])
    with pytest.raises(RemovalFileError, match="got maps; read them by hyperspy_zlpml.load_maps"):
        load_removal(copied)
    with pytest.raises(RemovalFileError, match="got a removal; read it by .*load_removal"):
        load_maps(tmp_path / "r")
    with pytest.raises(FileExistsError, match="another kind, band_gap.*maps_zlp_removal'"):
        removal.save(copied, overwrite=True)
    with pytest.raises(FileExistsError, match="another kind, zlp_removal.*r_band_gap'"):
        results["gap"].save(tmp_path / "r", overwrite=True)


def test_other_folders_are_left_alone(results, saved, tmp_path):
    shutil.copytree(saved / "t_over_lambda", tmp_path / "maps")
    with pytest.raises(FileExistsError, match="of another kind, thickness.*maps_band_gap'"):
        results["gap"].save(tmp_path / "maps", overwrite=True)
    (tmp_path / "maps" / "notes.txt").touch()
    with pytest.raises(FileExistsError, match="nothing else, for all.*band_gap'"):
        results["gap"].save(tmp_path / "maps", overwrite=True)
    with pytest.raises(ValueError, match="overwrite: expected True, False or None"):
        results["gap"].save(tmp_path / "other", overwrite="yes")


def test_lazy_spectra_are_saved(sample, removal, tmp_path):
    lazy = sample.signal.as_lazy().remove_zlp_ml(ensemble=removal.ensemble, random_state=0, **QUIET)
    found = lazy.dielectric_function(n=N, **QUIET)
    found.save(tmp_path / "maps")
    read = hs.load(tmp_path / "maps" / "epsilon.zspy")
    assert read.metadata.Signal.signal_type == "DielectricFunction"
    np.testing.assert_array_equal(read.data, found.epsilon.data.compute())
    again = load_maps(tmp_path / "maps", lazy=True)
    np.testing.assert_array_equal(again.epsilon.data.compute(), read.data)


# --- measured quantities as arguments ---------------------------------------------------------------


def test_measured_arguments_bring_their_errors(removal, results):
    thickness = results["thickness"].thickness
    whole = removal.dielectric_function(thickness=thickness, **QUIET)
    by_parts = removal.dielectric_function(
        thickness=thickness.value, thickness_error=thickness.error, **QUIET
    )
    np.testing.assert_array_equal(whole.n.systematic.data, by_parts.n.systematic.data)
    exact = removal.dielectric_function(thickness=thickness.value, **QUIET)
    known = np.isfinite(exact.n.systematic.data)
    assert (whole.n.systematic.data > exact.n.systematic.data)[known].all()


def test_measured_indices_are_taken_everywhere(removal, results):
    n = results["thickness"].n
    known = np.isfinite(n.value.data)
    again = removal.dielectric_function(n=n, **QUIET)
    assert (again.reason.data[~known] == Reason.NOT_GIVEN).all()
    np.testing.assert_allclose(
        again.thickness.value.data[known], results["thickness"].thickness.value.data[known]
    )
    assert np.isfinite(removal.thickness(n=n, **QUIET).by_index.value.data[known]).all()
    found = removal.retardation(n=n)
    assert (found.reason.data[known] == Reason.RETARDED).all()
    assert (found.reason.data[~known] == Reason.NOT_GIVEN).all()
    with pytest.raises(ValueError, match="n_error: expected together with a n that has none"):
        removal.retardation(n=n, n_error=0.1)


def an_index(removal, std):
    """Measured index of 3 with such errors."""
    std = np.broadcast_to(std, (3, 4))
    return Measured.of(removal, (np.full((3, 4), 3.0), std), title="n", quantity="Refractive index")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_quantity_whose_error_is_not_known_is_not_given(removal, bad):
    std = np.full((3, 4), 0.1)
    std[2] = bad
    found = removal.dielectric_function(n=an_index(removal, std), **QUIET)
    assert (found.reason.data[2] == Reason.NOT_GIVEN).all()
    assert not (found.reason.data[:2] == Reason.NOT_GIVEN).any()
    number = removal.retardation(n=an_index(removal, 0.1)).excess
    known = np.isfinite(number.value.data)
    assert known.any()
    np.testing.assert_allclose(number.std.data[known], 2 * 3.0 * 0.1)
    np.testing.assert_array_equal(number.systematic.data[known], 0.0)


def test_one_measured_number_is_that_of_all_pixels(removal, sample):
    one = sample.signal.inav[:1, :1].sum().remove_zlp_ml(**{**QUICK, "n_clusters": 1})
    n = Measured.of(one, (np.array(3.0), np.array(0.1)), title="n", quantity="Refractive index")
    assert n.value.data.size == 1
    found, expected = (removal.retardation(n=n) for n in (n, an_index(removal, 0.1)))
    np.testing.assert_array_equal(found.excess.std.data, expected.excess.std.data)


def test_a_sum_of_losses_above_that_of_any_index_is_told(removal, results):
    """Half of the thickness makes twice the losses of each nm."""
    thin = results["thickness"].thickness.value * 0.5
    found = removal.dielectric_function(thickness=thin, **QUIET)
    specimen = np.isfinite(thin.data)
    unknown = np.isnan(found.n.value.data)
    assert unknown[specimen].any()
    assert (found.reason.data[unknown] != Reason.NONE).all()
    assert np.isfinite(found.epsilon.data[specimen]).all()
    assert not np.isinf(found.n.value.data).any()


def test_metals_have_an_index_without_error_and_no_light(removal):
    n = removal.dielectric_function(metal=True, **QUIET).n
    known = ~np.isnan(n.value.data)
    assert np.isinf(n.value.data[known]).all()
    assert (n.error[known] == 0).all()
    assert n.summary == f"infinite in {known.sum()} of 12 pixels"
    found = removal.retardation(n=np.inf)
    assert (found.probability.data[known] == 0).all()
    assert (found.reason.data[known] == Reason.NONE).all()


def test_a_measured_mean_free_path(removal, results):
    relative, nm = (
        getattr(results["t_over_lambda"], name) for name in ("t_over_lambda", "by_index")
    )
    # Where there is hardly any specimen, the ratio of two small numbers may be anything.
    is_specimen = relative.value.data > 4 * relative.error
    assert is_specimen.sum() > 3
    relative_value = relative.value.deepcopy()
    relative_value.data[~is_specimen] = np.nan
    path = Measured(*(one / relative_value for one in (nm.value, nm.std, nm.systematic)))
    with pytest.raises(ValueError, match="metadata.Signal.quantity of it to that"):
        removal.thickness(mean_free_path=path, **QUIET)
    path.value.metadata.Signal.quantity = "Mean free path (nm)"
    found = removal.thickness(mean_free_path=path, **QUIET).by_mean_free_path
    known = np.isfinite(found.value.data)
    np.testing.assert_allclose(found.value.data[known], nm.value.data[known])
    assert (found.systematic.data >= path.error * relative.value.data)[known].all()


@pytest.mark.parametrize("is_signal", [False, True])
def test_maps_of_another_quantity_are_refused(removal, results, is_signal):
    relative = results["t_over_lambda"].t_over_lambda
    by_index = results["t_over_lambda"].by_index
    gap = results["gap"].gap
    if is_signal:
        relative, by_index, gap = relative.value, by_index.value, gap.value
    for one, words in ((relative, r"Thickness \(t/lambda\)"), (gap, r"Energy \(eV\)")):
        said = rf"thickness: expected Thickness \(nm\), as t.by_index .*, got a map of {words}"
        with pytest.raises(ValueError, match=said):
            removal.dielectric_function(thickness=one)
    with pytest.raises(ValueError, match="n: expected Refractive index.* got a map of Thickness"):
        removal.thickness(n=by_index)
    with pytest.raises(ValueError, match=r"mean_free_path: expected Mean free path \(nm\)"):
        removal.thickness(mean_free_path=by_index)
    with pytest.raises(ValueError, match=r"right: expected Energy \(eV\), as g.gap"):
        removal.retardation(dielectric=results["thickness"], right=by_index)
    with pytest.raises(ValueError, match="thickness_error: expected Thickness"):
        removal.dielectric_function(thickness=50.0, thickness_error=relative)


def test_angles_in_radians_raise_a_warning(removal):
    microscope = removal._source.metadata.Acquisition_instrument.TEM
    kept = microscope.convergence_angle, microscope.Detector.EELS.collection_angle
    try:
        removal._source.set_microscope_parameters(convergence_angle=0.01, collection_angle=0.015)
        with pytest.warns(UserWarning, match="convergence_angle=0.01, .* angles are in mrad"):
            beam_of(removal, "thickness")
        for angles, small in (((0.01, 15), "convergence_angle=0.01"), ((10, 0.015), "collection_")):
            removal._source.set_microscope_parameters(
                convergence_angle=angles[0], collection_angle=angles[1]
            )
            with pytest.warns(UserWarning, match=f"^{small}.*: angles are in mrad"):
                beam_of(removal, "thickness")
        removal._source.set_microscope_parameters(convergence_angle=0, collection_angle=15)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            beam_of(removal, "thickness")  # a parallel beam
    finally:
        removal._source.set_microscope_parameters(
            convergence_angle=kept[0], collection_angle=kept[1]
        )


def test_units_of_maps_from_elsewhere_count(removal):
    index = hs.signals.BaseSignal(np.full((3, 4), N)).T
    index.metadata.Signal.quantity = "n"
    found = removal.retardation(n=index)
    assert np.isfinite(found.excess.value.data[found.reason.data == Reason.RETARDED]).any()
    index.metadata.Signal.quantity = "Intensity (Counts)"
    with pytest.raises(ValueError, match=r"n: .* got a map of Intensity \(Counts\)"):
        removal.retardation(n=index)


def test_a_saved_map_brings_the_root_of_its_variance(removal, results, saved):
    by_index = results["t_over_lambda"].by_index
    read = hs.load(saved / "t_over_lambda" / "by_index.zspy")
    values, errors = with_error(removal, read, 0.0, "thickness")
    np.testing.assert_array_equal(values, by_index.value.data)
    np.testing.assert_allclose(errors, np.nan_to_num(by_index.std.data))
    assert (errors[np.isfinite(values)] > 0).all()
    assert (with_error(removal, read, 3.0, "thickness")[1] == 3.0).all()


def test_arguments_are_named(removal):
    for method in ("retardation", "band_gap", "thickness", "temperature", "dielectric_function"):
        with pytest.raises(TypeError, match="positional argument"):
            getattr(removal, method)(3.45)


# --- several in one pass ----------------------------------------------------------------------------


def assert_same(found, expected):
    """All signals of two results are equal bit for bit."""
    signals = (files.written(one._alone())[0].items() for one in (found, expected))
    for one, other in zip(*signals, strict=True):
        assert one[0] == other[0]
        np.testing.assert_array_equal(*(np.asarray(each[1].data) for each in (one, other)))


def test_maps_of_one_pass_are_those_of_several(removal, results):
    plasmon = {"peaks": Plasmon(24.0, 6.0)}
    found = removal.maps(
        thickness={"n": N}, dielectric_function={"n": N}, band_gap={}, fit_peaks=plasmon,
        temperature={}, **QUIET,
    )  # fmt: skip
    names = ("t_over_lambda", "thickness", "gap", "position", "temperature")
    methods = ("thickness", "dielectric_function", "band_gap", "fit_peaks", "temperature")
    for method, name in zip(methods, names, strict=True):
        assert_same(getattr(found, method), results[name])


def test_methods_that_pool_may_be_among_them(removal):
    found = removal.maps(thickness={}, band_gap={"pool": 3, "exponent": 1.0}, **QUIET)
    assert found.temperature is None
    assert list(found._members()) == ["band_gap", "thickness"]
    assert_same(found.band_gap, removal.band_gap(pool=3, exponent=1.0, **QUIET))


def test_lazy_maps_of_one_pass(sample, removal):
    lazy = sample.signal.as_lazy().remove_zlp_ml(ensemble=removal.ensemble, random_state=0, **QUIET)
    found = lazy.maps(thickness={"n": N}, dielectric_function={"n": N}, **QUIET)
    assert found.dielectric_function.epsilon._lazy
    assert_same(found.dielectric_function, lazy.dielectric_function(n=N, **QUIET))


@pytest.fixture(scope="module")
def several(removal):
    peaks = [Plasmon(24.0, 6.0), Exciton(14.0, 1.0)]
    return removal.maps(
        thickness={"n": N}, fit_peaks={"peaks": peaks}, band_gap={"exponent": 1.0}, **QUIET
    )


def test_several_results_are_told_of_and_plotted_together(several):
    for name, one in (("thickness", several.thickness), ("fits.1", several.fit_peaks[1])):
        assert f"{name}: {one!r}" in repr(several)
        assert one.summary in str(several)
        assert one._repr_html_() in several._repr_html_()
    plasmon, exciton = several.fit_peaks
    assert (len(several.fit_peaks), exciton.peak.energy) == (2, 14.0)
    several.plot()
    assert len(plt.get_fignums()) == 4
    plt.close("all")


def test_several_results_are_a_mapping(several):
    assert list(several) == ["band_gap", "fit_peaks", "thickness"]
    assert len(several) == 3
    assert several["thickness"] is several.thickness
    assert "temperature" not in several
    assert dict(several)["band_gap"] is several.band_gap
    with pytest.raises(KeyError, match="temperature"):
        several["temperature"]


def test_several_results_are_equal_to_themselves_alone(several):
    """As every result is: signals are not compared."""
    assert several == several  # noqa: PLR0124
    assert several not in (replace(several), dict(several))
    assert len({several, replace(several)}) == 2


def test_names_ask_for_the_defaults(removal):
    found = removal.maps("thickness", "temperature", **QUIET)
    assert list(found) == ["temperature", "thickness"]
    assert_same(found.thickness, removal.thickness(**QUIET))


def test_several_results_come_back(several, removal, tmp_path):
    several.save(tmp_path / "maps")
    again = load_maps(tmp_path / "maps", removal=removal)
    assert_equal(again, several)
    for one in (again.band_gap, *again.fit_peaks):
        assert one._removal is removal
    assert_equal(again.inav[1:3, 0].fit_peaks, several.fit_peaks.inav[1:3, 0])
    with pytest.raises(FileExistsError, match="another kind, maps.*maps_thickness'"):
        several.thickness.save(tmp_path / "maps", overwrite=True)
    removal.maps(thickness={}, **QUIET).save(tmp_path / "maps", overwrite=True)
    assert load_maps(tmp_path / "maps").band_gap is None
    assert not list((tmp_path / "maps").glob("band_gap*"))
    with pytest.raises(ValueError, match="removal: expected the one that the maps are of"):
        load_maps(tmp_path / "maps", removal=removal.inav[1:])


def test_zeros_are_results_of_their_own(results, tmp_path):
    crossings = results["thickness"].crossings
    crossings.save(tmp_path / "zeros")
    assert_equal(load_maps(tmp_path / "zeros"), crossings)
    assert "NO_CROSSING" in crossings.falling.summary or "pixels hold" in crossings.falling.summary
    axes = crossings.rising.plot(cmap="magma")
    assert axes[0].images[0].cmap.name == "magma"
    crossings.plot()
    plt.close("all")


def test_the_variance_of_a_ratio_is_its_own(removal):
    ratio = removal.thickness(n=N, density=2.3, **QUIET).ratio
    np.testing.assert_allclose(ratio.value.get_noise_variance().data, ratio.std.data**2)


def test_a_multiple_is_an_argument_of_none(removal, results):
    with pytest.raises(ValueError, match=r"got a map of Thickness \(nm\) x 2"):
        removal.dielectric_function(thickness=results["t_over_lambda"].by_index * 2)


@pytest.mark.parametrize(
    "methods, message",
    [
        ({}, "methods: expected some of band_gap"),
        ({"integrate": {}}, "integrate: expected one of band_gap"),
        ({"thickness": 2.6}, "thickness: expected a dict of the arguments"),
        ({"fit_peaks": {}}, "fit_peaks: expected a dict that holds peaks"),
        ({"thickness": {"n": 0.5}}, "n: expected refractive indices above 1"),
        ({"thickness": {"show_progressbar": True}}, "thickness: expected no show_progressbar"),
        ({"band_gap": {}, "show_progressbar": "no"}, "show_progressbar: expected True"),
    ],
)
def test_what_is_refused_of_several(removal, methods, message):
    with pytest.raises(ValueError, match=message):
        removal.maps(**methods)


@pytest.mark.parametrize(
    "names, message",
    [
        (("integrate",), "integrate: expected one of band_gap"),
        (({"thickness": {}},), "names: expected text, got {'thickness': {}}"),
        (("retardation",), "retardation: expected none among"),
        (("fit_peaks",), "fit_peaks: expected a dict that holds peaks"),
        (
            ("thickness", "temperature"),
            "thickness: expected once, by its name or with its arguments",
        ),
        (("temperature", "temperature"), "temperature: expected once, by its name"),
    ],
)
def test_what_is_no_name_is_refused(removal, names, message):
    with pytest.raises(ValueError, match=message):
        removal.maps(*names, thickness={})


# --- reasons --------------------------------------------------------------------------------------


def test_the_most_serious_reason_stands_whatever_the_order():
    assert set(BY_WEIGHT) == set(Reason)
    rng = np.random.default_rng(7001)
    several = rng.permuted(np.tile(np.arange(len(Reason), dtype=float), (50, 1)), axis=1)[:, :3]
    found = most_serious(*several.T)
    expected = [min(row, key=lambda one: BY_WEIGHT.index(Reason(int(one)))) for row in several]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(most_serious(np.array([np.nan, 0.0]), 8.0), [np.nan, 8.0])


def test_an_index_that_may_be_slower_is_not_called_fast():
    """(c/v) is 1.44 at 200 kV."""
    index, beam = np.array([1.5, 1.5]), Beam(energy=200.0, collection_angle=15.0)
    found = with_retardation(np.zeros(2), index, np.array([0.01, 0.1]), beam)
    np.testing.assert_array_equal(found, [Reason.RETARDED, Reason.NONE])


def test_a_missing_zero_is_no_matter_of_the_whole(removal, sample):
    metal = removal.dielectric_function(metal=True, surface=False, **QUIET)
    falling = metal.crossings.falling
    without = np.isnan(falling.position.value.data) & np.isfinite(metal.thickness.value.data)
    assert (falling.reason.data[without] == Reason.NO_CROSSING).all()
    assert not (metal.reason.data == Reason.NO_CROSSING).any()


# --- figures --------------------------------------------------------------------------------------


def measured(values):
    value, std = (
        hs.signals.BaseSignal(one).transpose(signal_axes=[]) for one in (values, values / 9)
    )
    return Measured(value, std, std)


@pytest.mark.parametrize("shape", [(3, 4), (12,)])
def test_pixels_with_reasons_are_marked_and_counted(shape):
    values = np.where(np.arange(12) < 4, np.nan, 1.6)
    codes = np.array([5, 5, 2, 0, 8, 9, 9, *[0] * 5])
    reasons = hs.signals.BaseSignal(codes.reshape(shape)).transpose(signal_axes=[])
    axes = plot_maps({"gap": measured(values.reshape(shape))}, reasons)
    (legend,) = axes[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "to be read with care: RETARDED 2, MISFIT 1",
        "no number: NOT_SIGNIFICANT 2, NO_LIMIT 1",
    ]
    if len(shape) == 2:
        assert [len(one.get_paths()) for one in axes[0].collections] == [3, 3]
        corner = axes[0].collections[0].get_paths()[0].vertices[0]
        np.testing.assert_allclose(corner, [-0.5, 0.5])  # pixel 4 of 12: x = 0, y = 1
    plt.close("all")


def test_maps_without_reasons_have_no_legend(results):
    plot_maps({"gap": measured(np.full((3, 4), 1.6))})
    assert not plt.gcf().legends
    plt.close("all")


def test_single_spectra_have_no_indices_and_need_none(sample):
    one = sample.signal.inav[3, 2].remove_zlp_ml(**QUICK)
    gap, epsilon = one.band_gap(**QUIET), one.dielectric_function(n=N, **QUIET)
    for indices in (None, (), (0,)):
        assert gap.plot_fit(indices)
        assert epsilon.plot(indices)
    for plot in (gap.plot_fit, epsilon.plot):
        with pytest.raises(ValueError, match="indices: expected none for a single spectrum"):
            plot((1, 2))
    plt.close("all")


def test_the_sum_of_what_is_fitted_is_drawn(results):
    (axes,) = results["gap"].plot_fit()
    labels = axes.get_legend_handles_labels()[1]
    assert {"brought down from above", "correction of the ZLP"} <= set(labels)
    assert [label for label in labels if label.startswith("onset: best single shape")]
    plt.close("all")
