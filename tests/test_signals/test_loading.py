# SPDX-License-Identifier: GPL-3.0-or-later
"""Results that were saved come back without training; what is altered or another's is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hyperspy.signals import Signal1D

import hyperspy_zlpml
from hyperspy_zlpml import EnsembleFileError, RemovalFileError, load_removal
from hyperspy_zlpml.data import ws2_like
from hyperspy_zlpml.image import samples
from hyperspy_zlpml.removal import stored
from hyperspy_zlpml.removal.codec import decode, encode
from hyperspy_zlpml.removal.stored import _RECORDS, from_file, to_content
from hyperspy_zlpml.statistics import Range
from hyperspy_zlpml.zlp.groups import ChannelGroups

QUICK = {"n_clusters": 2, "n_replicas": 4, "random_state": 0, "show_progressbar": False}
#: Of single precision: a logarithm of 15 is known to a millionth.
ROUNDING = 5e-6


def image(shape=(4, 3), units="eV", **changes):
    signal = ws2_like(shape, n_channels=512, random_state=0).signal
    axis = signal.axes_manager.signal_axes[0]
    if units == "meV":
        axis.scale, axis.offset, axis.units = 1e3 * axis.scale, 1e3 * axis.offset, "meV"
    for name, value in changes.items():
        setattr(signal, name, value)
    return signal


def wedge():
    """A wedge of 120 spectra of sharp peaks."""
    energy, thickness = -2 + 0.025 * np.arange(256), np.linspace(0, 0.5, 30)[:, None]
    peak = np.exp(-4 * np.log(2) * (energy / 0.4) ** 2) + 0.01 / (1 + (energy / 0.3) ** 2)
    losses = 0.02 * thickness * np.clip(energy - 1.8, 0, None) ** 0.5
    expected = 1e6 * (np.exp(-thickness) * peak + losses)
    counts = np.random.default_rng(0).poisson(np.tile(expected, (4, 1))).astype(float)
    signal = Signal1D(counts.reshape(12, 10, 256))
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.offset, axis.units = 0.025, -2.0, "eV"
    signal.set_signal_type("EELS_ZLPML")
    return signal


@pytest.fixture(scope="module")
def signal():
    return image()


@pytest.fixture(scope="module")
def result(signal):
    return signal.remove_zlp_ml(**QUICK)


@pytest.fixture(scope="module")
def folder(result, tmp_path_factory):
    place = tmp_path_factory.mktemp("kept") / "result"
    result.save(place)
    return place


@pytest.fixture
def copied(folder, tmp_path):
    place = tmp_path / "copy"
    shutil.copytree(folder, place)
    return place


def close(one, other, rtol=ROUNDING, atol=0.0):
    np.testing.assert_allclose(np.asarray(one.data), np.asarray(other.data), rtol=rtol, atol=atol)


def test_results_that_need_no_counts_come_back_alone(result, folder):
    again = load_removal(folder)
    close(again.zlp, result.zlp)
    close(again.std, result.std, rtol=1e-4)
    close(again.draw(3, random_state=1), result.draw(3, random_state=1), rtol=1e-4)
    for name in ("clusters", "vacuum", "centre", "fwhm", "intensity"):
        close(getattr(again, name), getattr(result, name), rtol=1e-12)
    assert str(again.report) == str(result.report)
    assert again.ensemble.fingerprint == result.ensemble.fingerprint
    assert again.zlp.axes_manager.signal_axes[0].axis == pytest.approx(
        result.zlp.axes_manager.signal_axes[0].axis
    )
    assert again.zlp.metadata.General.title == result.zlp.metadata.General.title
    assert type(again.zlp) is type(result.zlp)


def test_results_that_were_written_are_read(result, folder):
    again = load_removal(folder)
    close(again.subtracted, result.subtracted, rtol=1e-6)
    noise = again.subtracted.get_noise_variance()
    close(noise, result.subtracted.get_noise_variance(), rtol=1e-6)


@pytest.mark.parametrize(
    "ask",
    [
        lambda r: r.lower,
        lambda r: r.upper,
        lambda r: r.integrate(2.0, 3.0),
        lambda r: r.plot((0, 0)),
    ],
)
def test_results_that_need_counts_ask_for_them(folder, ask):
    with pytest.raises(ValueError, match="expected the spectra that the ZLP was removed from"):
        ask(load_removal(folder))


@pytest.mark.parametrize("lazy", [False, True])
def test_with_the_signal_all_results_come_back(signal, result, folder, lazy):
    again = load_removal(folder, signal=signal.as_lazy() if lazy else signal)
    assert again.subtracted._lazy == lazy
    noise = np.sqrt(result.subtracted.get_noise_variance().data.max())
    for name in ("subtracted", "lower", "upper"):
        close(getattr(again, name), getattr(result, name), atol=1e-2 * noise)
    for one, other in zip(again.integrate(2.0, 3.0), result.integrate(2.0, 3.0), strict=True):
        close(one, other, rtol=1e-3, atol=1e-2 * noise)
    again.plot((1, 1))
    again.plot_regions()
    again.plot_checks()


@pytest.mark.parametrize("shape, units", [((), "eV"), ((5,), "meV"), ((3, 2, 2), "eV")])
def test_any_number_of_axes_and_other_units(shape, units, tmp_path):
    one = image(shape or (1,), units)
    one = one.inav[0] if not shape else one
    result = one.remove_zlp_ml(**QUICK)
    result.save(tmp_path / "r", signals=[])
    for again in (load_removal(tmp_path / "r"), load_removal(tmp_path / "r", signal=one)):
        close(again.zlp, result.zlp)
        assert again.centre.data.shape == result.centre.data.shape
        close(again.fwhm, result.fwhm, rtol=1e-9)


def test_lazy_results_come_back_lazy(signal, tmp_path):
    result = signal.as_lazy().remove_zlp_ml(**QUICK)
    result.save(tmp_path / "r", signals=["zlp"], show_progressbar=False)
    again = load_removal(tmp_path / "r")
    assert again.zlp._lazy
    close(again.zlp, result.zlp)


def test_spectra_that_a_lazy_image_lost_are_counted_where_it_comes_back(monkeypatch, tmp_path):
    monkeypatch.setattr(samples, "LARGEST_SAMPLE", 60)
    one = wedge()
    # Four channels of the flank count nothing: of eight such spectra some are not read.
    one.data.reshape(120, -1)[5::16, 96:100] = 0
    result = one.as_lazy().remove_zlp_ml(**QUICK)
    with pytest.warns(UserWarning, match="NaN in every result: data.* the report does not count"):
        result.save(tmp_path / "r", signals=["zlp"], show_progressbar=False)
    again = load_removal(tmp_path / "r")
    missing = np.isnan(again.zlp.data.compute()[..., 0])
    n_known = (result.clusters.data < 0).sum()
    assert missing.sum() > n_known
    np.testing.assert_array_equal(again.clusters.data < 0, missing)
    assert again.report.n_unusable == missing.sum()
    assert "NaN in every result: data[" in str(again.report)
    again.save(tmp_path / "twice", signals=[], show_progressbar=False)
    assert str(load_removal(tmp_path / "twice").report) == str(again.report)


def test_channels_that_were_bridged_are_bridged_again(tmp_path):
    one = image()
    one.data[..., 300] = 0
    one.data[..., -20:] = 0
    with pytest.warns(UserWarning, match="dead or hot"):
        result = one.remove_zlp_ml(**QUICK)
    result.save(tmp_path / "r")
    again = load_removal(tmp_path / "r", signal=one)
    close(again.zlp, result.zlp)
    noise = np.sqrt(np.nanmax(result.subtracted.get_noise_variance().data))
    close(again.subtracted, result.subtracted, atol=1e-2 * noise)


def test_a_loaded_result_can_be_saved_again(signal, folder, tmp_path):
    once = load_removal(folder, signal=signal)
    once.save(tmp_path / "twice")
    twice = load_removal(tmp_path / "twice", signal=signal)
    close(twice.zlp, once.zlp, rtol=1e-12)


def test_vacuum_is_a_mask_again(signal, folder):
    vacuum = load_removal(folder, signal=signal).removed.vacuum
    assert vacuum.dtype == bool
    assert (~vacuum).any()


def test_a_window_for_regions_needs_the_removal_itself(signal, folder):
    with pytest.raises(
        ValueError, match="left, right: expected none, for a result that was loaded"
    ):
        load_removal(folder, signal=signal).plot_regions(2.0, 3.0)


# --- what does not belong to a result ----------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        lambda s: s.isig[:500],
        lambda s: s.inav[:2],
        lambda s: s * 1.001,
        lambda s: s._deepcopy_with_new_data(s.data[::-1].copy()),
        lambda s: s._deepcopy_with_new_data(np.roll(s.data, 1, axis=-1)),
    ],
)
def test_another_signal_is_refused(signal, folder, other):
    with pytest.raises(ValueError, match="signal: expected the one that the ZLP was removed from"):
        load_removal(folder, signal=other(signal))


def test_one_pixel_of_another_signal_is_noticed(tmp_path):
    """Each spectrum of a signal in memory is looked at; of a lazy one when it is worked on."""
    signal = image((20, 10))
    result = signal.remove_zlp_ml(**QUICK)
    result.save(tmp_path / "r", signals=[])
    changed = signal.deepcopy()
    changed.data[4, 7] *= 1.01
    with pytest.raises(ValueError, match="other counts in 1 of 200 spectra"):
        load_removal(tmp_path / "r", signal=changed)
    lazy = load_removal(tmp_path / "r", signal=changed.as_lazy())
    close(lazy.zlp, result.zlp)
    with pytest.raises(
        ValueError, match="counts: expected the spectra that the ZLP was matched to"
    ):
        lazy.compute("subtracted", show_progressbar=False)


def test_another_axis_is_refused(signal, folder):
    moved = signal.deepcopy()
    moved.axes_manager.signal_axes[0].offset += 0.1
    with pytest.raises(ValueError, match="got another energy axis"):
        load_removal(folder, signal=moved)


def test_a_plot_says_that_it_draws_spectra(folder):
    with pytest.raises(ValueError, match="plot: expected the spectra .* which it draws, got none"):
        load_removal(folder).plot()


def test_a_folder_without_a_result_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the model of a removal"):
        load_removal(tmp_path)
    with pytest.raises(
        FileNotFoundError, match="resutls: expected the folder .* none of this name"
    ):
        load_removal(tmp_path / "resutls")


@pytest.mark.parametrize("name", ["posterior.zspy", "fwhm.zspy"])
def test_a_missing_file_is_named(copied, name):
    shutil.rmtree(copied / name)
    with pytest.raises(FileNotFoundError, match=name):
        load_removal(copied)


def test_files_of_two_results_do_not_belong_together(copied, tmp_path):
    other = image((5,)).remove_zlp_ml(**QUICK)
    other.save(tmp_path / "other")
    shutil.rmtree(copied / "centre.zspy")
    shutil.copytree(tmp_path / "other" / "centre.zspy", copied / "centre.zspy")
    with pytest.raises(RemovalFileError, match="its files do not belong together"):
        load_removal(copied)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_models_are_refused(copied, seed):
    file = copied / "model.safetensors"
    whole, rng = file.read_bytes(), np.random.default_rng(seed)
    for _ in range(60):
        content = bytearray(whole)
        if rng.random() < 0.3:
            content = content[: rng.integers(len(content))]
        else:
            for place in rng.integers(len(content), size=rng.integers(1, 4)):
                content[place] ^= int(rng.integers(1, 256))
        file.write_bytes(bytes(content))
        with pytest.raises(RemovalFileError, match="model.safetensors"):
            from_file(file)


def _altered(whole):
    """Models that hold what does not belong together: of tables, of the axis, of the groups."""
    table, edges = whole.table, whole.groups.edges
    tables = [
        replace(table, grid=replace(table.grid, n=table.grid.n + 50)),
        replace(table, modes=table.modes[..., :-3]),
        replace(table, log_shape=table.log_shape[0]),
        replace(table, scatter=table.scatter[:-1]),
    ]
    return [
        *(replace(whole, table=one) for one in tables),
        replace(whole, energy=whole.energy[:1]),
        *(replace(whole, groups=ChannelGroups(some)) for some in (edges[:0], edges[:4])),
        replace(whole, groups=ChannelGroups(edges[::-1].copy())),
    ]


def test_models_whose_arrays_do_not_belong_together_are_refused(folder, tmp_path):
    # Their checksum is that of what they hold: whoever wrote them computed it anew.
    file = tmp_path / "model.safetensors"
    for altered in _altered(from_file(folder / "model.safetensors")):
        file.write_bytes(to_content(altered))
        with pytest.raises(RemovalFileError, match="altered"):
            from_file(file)


def test_models_of_another_version_say_what_to_do(folder, tmp_path, monkeypatch):
    file, whole = tmp_path / "model.safetensors", from_file(folder / "model.safetensors")
    monkeypatch.setattr(stored, "_FORMAT", stored._FORMAT - 1)
    file.write_bytes(to_content(whole))
    monkeypatch.undo()
    with pytest.raises(RemovalFileError, match="another version.*ensemble=hyperspy_zlpml.load"):
        from_file(file)
    assert hyperspy_zlpml.load(folder / "ensemble.zlp").n_replicas == QUICK["n_replicas"]


def _values(written):
    """All places in a JSON, as pairs of a container and a key."""
    for key in written if isinstance(written, dict) else range(len(written)):
        yield written, key
        if isinstance(written[key], (dict, list)):
            yield from _values(written[key])


@pytest.mark.parametrize("seed", range(4))
def test_forged_records_are_refused_or_records(result, seed):
    arrays = {}
    written = json.dumps(encode(result.report, arrays))
    rng = np.random.default_rng(seed)
    for _ in range(100):
        forged = json.loads(written)
        places = list(_values(forged))
        container, key = places[rng.integers(len(places))]
        container[key] = [
            None,
            3,
            "x",
            [],
            {},
            {"record": "object", "fields": {}},
            {"array": "nothing"},
            {"number": "1"},
            [[[]]],
        ][rng.integers(9)]
        try:
            decode(forged, arrays, _RECORDS)
        except ValueError:
            continue


def test_nothing_but_known_records_comes_out():
    arrays = {}
    written = encode(Range(1.0, np.inf), arrays)
    assert decode(written, arrays, [Range]) == Range(1.0, np.inf)
    with pytest.raises(ValueError, match="expected a record of"):
        decode(written, arrays, [])
    with pytest.raises(ValueError, match="expected Range with"):
        decode({"record": "Range", "fields": {"low": 1.0}}, arrays, [Range])
    deep = {"list": []}
    for _ in range(200):
        deep = {"list": [deep]}
    with pytest.raises(ValueError, match="at depth"):
        decode(deep, arrays, [Range])


def test_what_is_kept_is_small(tmp_path):
    one = ws2_like((24, 24), n_channels=2048, random_state=0).signal
    one.change_dtype("float32")
    result = one.remove_zlp_ml(**QUICK)
    result.save(tmp_path / "r", signals=[])
    kept = (tmp_path / "r" / "posterior.zspy").rglob("*")
    size = sum(file.stat().st_size for file in kept if file.is_file())
    assert size < 0.06 * one.data.nbytes


def test_names_are_public():
    assert {"load_removal", "RemovalFileError"} <= set(hyperspy_zlpml.__all__)


def test_a_folder_and_an_ensemble_that_are_confused_point_at_each_other(tmp_path):
    (tmp_path / "ensemble.zlp").write_bytes(b"any")
    with pytest.raises(EnsembleFileError, match="folder of a result; .*load_removal.*ensemble.zlp"):
        hyperspy_zlpml.load(tmp_path)
    with pytest.raises(RemovalFileError, match="expected the folder.*hyperspy_zlpml.load,"):
        hyperspy_zlpml.load_removal(tmp_path / "ensemble.zlp")
