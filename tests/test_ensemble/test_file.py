# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of ensembles: what is saved is what is loaded, and everything else is refused in words."""

import ast
import io
import json
import os
import subprocess
import sys
import warnings
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from ensemble_mutations import DAMAGE, damaged, file_of, forged
from ensembles import GRID, NAMES, RECORDS, place_of, random_ensemble, with_parts

from hyperspy_zlpml import EnsembleFileError, load
from hyperspy_zlpml.ensemble import ensemble as ensemble_module
from hyperspy_zlpml.ensemble import file as ensemble_file
from hyperspy_zlpml.ensemble import parts as ensemble_parts
from hyperspy_zlpml.ensemble import reading, validation
from hyperspy_zlpml.ensemble.conditions import Conditions
from hyperspy_zlpml.ensemble.ensemble import Ensemble
from hyperspy_zlpml.ensemble.parts import to_parts
from hyperspy_zlpml.ensemble.reading import from_parts
from hyperspy_zlpml.ensemble.records import Beside
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.network import mlp
from hyperspy_zlpml.removal import codec, stored
from hyperspy_zlpml.signals import loading
from hyperspy_zlpml.signals.maps import files as map_files
from hyperspy_zlpml.signals.maps import loading as map_loading
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.workflow import remove_zlp
from hyperspy_zlpml.zlp.grid import Grid
from hyperspy_zlpml.zlp.regions import Regions
from hyperspy_zlpml.zlp.residual import CoherentResidual

ENERGY = np.linspace(-3, 8, 200)
DATA = ROOT / "tests" / "data"


def whole(n_replicas=6, **changes):
    """An ensemble with something in every field."""
    values = {
        "scatter": np.linspace(0, 0.1, GRID.n).astype("f4"),
        "regions": Regions(
            np.array([-np.inf, -1.0]), np.array([np.inf, 1.5]), np.array([np.inf, 9])
        ),
        "cluster_centres": np.array([15.2, 14.8]),
        "activation": "softsign",
        "n_errors": 1,
        "tail": "beyond 3 eV a guess – “so”",
        "microscope": {"beam_energy": 200.0, "collection_angle": 15.0},
        "residual": CoherentResidual(
            -4.0,
            0.1,
            curve=0.01 * np.sin(np.arange(121, dtype="f4")),
            pattern=0.01 * np.cos(np.arange(64, dtype="f4")),
            pattern_error=np.full(64, 1e-3, "f4"),
        ),
        "beside": Beside(
            *(np.full(GRID.n, value, "f4") for value in (0.1, 1e-3, 2e-3, 0.5)),
            mode_scale=np.full(2, 0.7, "f4"),
        ),
        "provenance": {"title": "flake µ", "arguments": {"regions": {"gain_limit": -np.inf}}},
    }
    return random_ensemble(n_replicas, **{**values, **changes})


def conditioned(setting=(), **changes):
    """An ensemble with two conditions, one of which counts by its logarithm."""
    rng = np.random.default_rng(3)
    settings = np.array([[0.1, -2.0], [0.2, 0.0], [0.4, 3.0], [0.8, 1.0]])
    log_n0, log_fwhm = np.log(settings[:, 0]) + 15, -1 + 0.01 * settings[:, 1]
    conditions = Conditions.of(
        ("exposure", "offset"),
        settings,
        log_n0=log_n0,
        log_fwhm=log_fwhm,
        errors=np.full((4, 2), 1e-3),
        spread=[0.01, 0.02],
        scores=rng.standard_normal((6, 2)),
    )
    layers = (4, 6, 1)
    weights = mlp.initial_weights(layers, 6, rng).astype("f4")
    values = {"layers": layers, "weights": weights, "conditions": conditions, "setting": setting}
    return whole(**{**values, **changes})


CASES = {
    "single": {},
    "double": {"dtype": np.float64},
    "no modes": {"n_modes": 0, "n_errors": 0},
    "one replica": {"n_replicas": 1},
    "one thickness": {"log_intensity_range": Range(15.0, 15.0)},
    "no losses": {"regions": Regions(*np.array([[-np.inf], [np.inf], [np.inf]])),
                  "cluster_centres": np.array([15.0])},
    "numbers of NumPy": {"log_fwhm": Normal(np.log(0.45), np.float64(0.02)), "log_beam": np.float64(15.5)},
    "counts of one": {"noise": NoiseModel(0.0, 1e-12, "measured")},
    "point spread": {"noise": NoiseModel(3.5, 5.0, "measured", (0.44, 0.24, 0.04))},
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    """A file with an ensemble."""
    whole().save(tmp_path / "one.zlp")
    return tmp_path / "one.zlp"


MADE = {
    **{name: lambda name=name: whole(**CASES[name]) for name in CASES},
    "conditions": conditioned,
    "at a setting": lambda: conditioned().at(exposure=0.3, offset=1.5),
    "outside of its settings": lambda: conditioned().at(exposure=3.0, offset=-7.5),
}


def assert_equal(actual, expected, name=""):
    """Equal to the last bit, types of arrays included."""
    if is_dataclass(expected):
        assert type(actual) is type(expected), name
        for field in fields(expected):
            values = (getattr(one, field.name) for one in (actual, expected))
            assert_equal(*values, f"{name}.{field.name}")
    elif isinstance(expected, tuple):
        assert isinstance(actual, tuple), name
        assert len(actual) == len(expected), name
        for a, b in zip(actual, expected, strict=True):
            assert_equal(a, b, name)
    elif isinstance(expected, np.ndarray):
        assert actual.dtype == expected.dtype, name
        assert actual.shape == expected.shape, name
        np.testing.assert_array_equal(actual, expected, err_msg=name)
    else:
        assert actual == expected, name


def part_of(one, part):
    """A part of an ensemble by its flat name."""
    record, name = place_of(part)
    return getattr(one if record is None else getattr(one, record), name)


def all_parts():
    """Flat names of all parts of an ensemble."""
    own = {field.name for field in fields(Ensemble)} - set(RECORDS)
    flat = {place: part for part, place in NAMES.items()}
    for record, kind in RECORDS.items():
        own |= {flat.get((record, field.name), field.name) for field in fields(kind)}
    return own


# --- round trip -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
def test_what_is_loaded_is_what_was_saved(tmp_path, name):
    one = MADE[name]()
    one.save(tmp_path / "one.zlp")
    back = load(tmp_path / "one.zlp")
    assert_equal(back, one)
    if one.conditions is not None:
        there = {"exposure": 0.25, "offset": 0.5}
        one, back = one.at(**there), back.at(**there)
    thickness = np.array([14.5, 15.1])
    for both in (
        (back.predict(ENERGY), one.predict(ENERGY)),
        (back.predict(ENERGY, 0.2, 0.6, 14.7, 1e4), one.predict(ENERGY, 0.2, 0.6, 14.7, 1e4)),
        (back.log_shapes(thickness), one.log_shapes(thickness)),
    ):
        assert (both[0] == both[1]).all()
    a, b = back.tabulate(0.9), one.tabulate(0.9)
    for field in fields(a):
        assert_equal(getattr(a, field.name), getattr(b, field.name), field.name)


def test_conditions_are_asked_for_as_before(tmp_path):
    one = conditioned()
    one.save(tmp_path / "one.zlp")
    back = load(tmp_path / "one.zlp")
    there = {"exposure": 0.25, "offset": 0.5}
    assert (back.predict(ENERGY, **there) == one.predict(ENERGY, **there)).all()
    # The setting is named beside it: it makes no other model.
    assert back.at(**there).fingerprint == one.at(**there).fingerprint == one.fingerprint


def test_every_field_of_an_ensemble_is_stored():
    """A field that was forgotten would come back as its default, and nobody would notice."""
    arrays, facts = to_parts(whole())
    elsewhere = {
        "spill": "spill_log_intensity",
        "regions": "E_I",
        "fingerprint": "origin",
        "beside": "beside_widening",
    }
    for part in all_parts():
        stored = {part, elsewhere.get(part)}
        assert stored & (set(arrays) | set(facts)), f"{part} is in no file"


def test_a_trained_ensemble_comes_back(small_removal, tmp_path):
    one = small_removal.ensemble
    one.save(tmp_path / "one.zlp")
    assert_equal(load(tmp_path / "one.zlp"), one)


@pytest.mark.parametrize("seed", range(4))
def test_a_spectrum_that_shows_no_electrons_comes_back(tmp_path, seed):
    # Read-out noise alone: the gain may be none, and is not known.
    energy = 0.01 * np.arange(-200, 800)
    peak = 1e3 * np.exp(-4 * np.log(2) * (energy / 0.3) ** 2)
    counts = peak + 50 * np.random.default_rng(seed).standard_normal(energy.size)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        trained = remove_zlp(counts, energy, n_replicas=4, random_state=0).ensemble
    trained.save(tmp_path / "faint.zlp")
    assert_equal(load(tmp_path / "faint.zlp"), trained)


def test_limits_without_end_are_no_obstacle(small, tmp_path):
    """They are named in the provenance, and JSON has no word for infinity."""
    one = small.train_zlp_ml(
        n_clusters=1, n_replicas=4, random_state=0, regions={"gain_limit": -np.inf, "E_II": np.inf}
    )
    one.save(tmp_path / "one.zlp")
    assert_equal(load(str(tmp_path / "one.zlp")), one)


def test_arrays_that_are_views_are_stored_as_they_read(tmp_path):
    one = whole()
    turned = with_parts(
        one, weights=np.asfortranarray(one.networks.weights), scatter=one.reference.scatter[::-1]
    )
    turned.save(tmp_path / "one.zlp")
    assert_equal(load(tmp_path / "one.zlp"), turned)


def test_equal_models_are_equal_files(tmp_path):
    """So that files can be compared, and kept by what versions them."""
    for name in "ab":
        whole().save(tmp_path / name)
    load(tmp_path / "a").save(tmp_path / "c")
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b == c


def test_what_was_loaded_can_be_used_after_its_file_is_gone(path):
    one = load(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    path.unlink()
    assert (one.predict(ENERGY) == whole().predict(ENERGY)).all()


# --- fingerprint ----------------------------------------------------------------------------------


def test_fingerprint_is_that_of_the_model(tmp_path):
    one = whole()
    assert one.fingerprint == whole().fingerprint
    assert len(one.fingerprint) == 64
    assert int(one.fingerprint, 16) >= 0
    one.save(tmp_path / "one.zlp")
    assert load(tmp_path / "one.zlp").fingerprint == one.fingerprint
    assert with_parts(one, provenance={"title": "other"}).fingerprint == one.fingerprint


def other_values():
    """For every field, values that differ from those of ``whole()`` in one thing each."""
    one = whole()
    regions, noise, scaling = one.seen.regions, one.seen.noise, one.networks.scaling
    spill = one.reference.spill

    def nudged(array):
        other = array.copy()
        other.flat[-1] = np.nextafter(other.flat[-1], other.dtype.type(0))
        return other

    yield "weights", nudged(one.networks.weights)
    yield "weights", one.networks.weights.astype(float)
    yield "weights", one.networks.weights[::-1]
    yield "layers", (2, 5, 6, 1)
    yield "activation", "logistic"
    yield "n_errors", 2
    for name, value in asdict(scaling).items():
        yield "scaling", replace(scaling, **{name: np.nextafter(value, 0)})
    yield "grid", Grid(GRID.start + 1e-9, GRID.n)
    yield "grid", Grid(GRID.start, GRID.n + 1)
    for name in ("log_reference", "scatter", "reference_modes", "reference_scores"):
        yield name, nudged(part_of(one, name))
    yield "spill", replace(spill, log_intensity=nudged(spill.log_intensity))
    yield "spill", replace(spill, relative=spill.relative + 1e-9)
    for name in ("log_intensity_range", "log_fwhm", "u_range"):
        low, high = pair = part_of(one, name)
        yield name, type(pair)(np.nextafter(low, -99), high)
        yield name, type(pair)(low, np.nextafter(high, 99))
    yield "log_beam", np.nextafter(one.seen.log_beam, 0)
    for name in ("gain_limit", "E_I", "E_II"):
        yield "regions", replace(regions, **{name: nudged(getattr(regions, name))})
    yield "cluster_centres", nudged(one.seen.cluster_centres)
    yield "cluster_by", "map"
    other = {"gain": 1.1, "readout": 31.0, "source": "other", "correlation": (0.6, 0.2)}
    other["gain_error"] = 0.3
    for name, value in other.items():
        yield "noise", replace(noise, **{name: value})
    yield "tail", "other"
    residual, beside = one.reference.residual, one.reference.beside
    for field in fields(residual):
        value = getattr(residual, field.name)
        other = nudged(value) if np.ndim(value) else 1.5 * value
        yield "residual", replace(residual, **{field.name: other})
    for field in fields(beside):
        value = nudged(getattr(beside, field.name))
        yield "beside", replace(beside, **{field.name: value})
    yield "fingerprint", "0" * 64
    yield "microscope", {**one.origin.microscope, "beam_energy": 200.1}


@pytest.mark.parametrize("name, value", list(other_values()))
def test_fingerprint_tells_every_change(name, value):
    assert with_parts(whole(), **{name: value}).fingerprint != whole().fingerprint


def test_every_field_but_the_provenance_was_changed():
    kept = all_parts() - {name for name, _ in other_values()}
    # Conditions are None here; they have a test of their own.
    assert kept - {"conditions", "setting"} == {"provenance"}


@pytest.mark.parametrize("field", [field.name for field in fields(Conditions)] + ["setting"])
def test_fingerprint_tells_every_change_of_the_conditions(field):
    one = conditioned()
    if field == "setting":
        assert replace(one, setting=(0.3, 1.0)).fingerprint != one.fingerprint
        return
    value = getattr(one.conditions, field)
    other = value[::-1] if isinstance(value, tuple) else value + 1e-9
    changed = replace(one.conditions, **{field: other})
    assert replace(one, conditions=changed).fingerprint != one.fingerprint


def test_fingerprint_is_taken_once(monkeypatch):
    one = whole()
    first = one.fingerprint
    monkeypatch.setattr(ensemble_module, "fingerprint", None)
    assert one.fingerprint == first


# --- what is no ensemble --------------------------------------------------------------------------


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.zlp"):
        load(tmp_path / "nothing.zlp")


def test_a_folder(tmp_path):
    with pytest.raises(OSError, match=tmp_path.name):
        load(tmp_path)


def foreign_files():
    """Names and bytes of files of other kinds."""
    from safetensors.numpy import save

    npz = io.BytesIO()
    np.savez(npz, a=np.ones(5))
    yield "empty", b""
    yield "short", b"ab"
    yield "text", b"Energy, counts\n" * 50
    yield "npz", npz.getvalue()
    yield "npy", b"\x93NUMPY" + bytes(100)
    yield "zip, as a .zspy may be", b"PK\x03\x04" + bytes(500)
    yield "HDF5, as a .hspy is", b"\x89HDF\r\n\x1a\n" + bytes(500)
    yield "pickle", b"\x80\x04\x95" + bytes(500)
    yield "JSON", b'{"weights": [1, 2, 3]}'
    yield "safetensors of something else", save({"weights": np.ones((3, 2), "f4")})
    yield "safetensors with metadata", save({"a": np.ones(3)}, {"format": "pt"})
    yield "no arrays", save({}, {"other": "{}"})


FOREIGN = dict(foreign_files())


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_other_kinds(tmp_path, kind):
    file = tmp_path / "foreign.zlp"
    file.write_bytes(FOREIGN[kind])
    with pytest.raises(EnsembleFileError, match="foreign.zlp: not an ensemble"):
        load(file)


def test_a_file_cut_short_anywhere(path):
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    lengths = {*range(0, 64), *range(0, header, 97), *range(header - 9, header + 9)}
    lengths |= {*range(header, len(data), 1009), len(data) - 1}
    for length in sorted(lengths):
        path.write_bytes(data[:length])
        message = "not an ensemble" if length < 9 else "cut short"
        with pytest.raises(EnsembleFileError, match=message):
            load(path)


@pytest.mark.parametrize("where", [0.0, 0.3, 0.9, 1.0])
def test_an_altered_byte_in_the_arrays(path, where):
    data = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    data[header + round(where * (len(data) - header - 1))] ^= 1
    path.write_bytes(data)
    with pytest.raises(EnsembleFileError, match="altered or damaged: its checksum.*Copy it again"):
        load(path)


@pytest.mark.parametrize("old, new, message", [
    (b"log_beam", b"log_baem", "its checksum"),
    (b"15.5", b"15.6", "its checksum"),
    (b"sha256", b"sha255", "altered"),
    (b"format_version", b"format_versiom", "no format version"),
    (b'\\"format_version\\": 2', b'\\"format_version\\": 0', "no format version"),
    (b"hyperspy_zlpml", b"hyperspy_other", "not an ensemble"),
    (b"data_offsets", b"data_offsetz", "header was altered"),
    (b'{"__metadata__"', b'["__metadata__"', "not an ensemble"),
    (b"F32", b"F64", "altered"),
    (b"F32", b"I32", "checksum|altered"),
    (b"F32", b"Q32", "altered"),
])  # fmt: skip
def test_an_altered_header(path, old, new, message):
    data = path.read_bytes()
    assert old in data
    assert len(old) == len(new)
    path.write_bytes(data.replace(old, new, 1))
    with pytest.raises(EnsembleFileError, match=message):
        load(path)


def test_bytes_that_were_appended(path):
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(EnsembleFileError, match=r"altered: \d+ bytes where \d+ are expected"):
        load(path)


def test_a_file_of_a_newer_version_asks_for_an_update(path):
    path.write_bytes(file_of({"what": np.ones(3)}, {"may": "come"}, format_version=99))
    with pytest.raises(EnsembleFileError, match=r"newer version.*format 99.*up to \d+.*update"):
        load(path)


def test_errors_are_those_that_callers_of_files_expect():
    assert issubclass(EnsembleFileError, ValueError)


def test_a_header_that_does_not_end_is_not_read(path, monkeypatch):
    """Nothing is allocated that the file only claims to hold."""
    path.write_bytes((2**62).to_bytes(8, "little") + b"{" + bytes(100))
    with pytest.raises(EnsembleFileError, match="not an ensemble"):
        load(path)
    text = b'{"__metadata__": ' + b"[" * 100000
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(EnsembleFileError, match="not an ensemble"):
        load(path)
    monkeypatch.setattr(ensemble_file, "LARGEST_FILE", 1000)
    with pytest.raises(EnsembleFileError, match="more than load"):
        whole().save(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.zlp")
    for place in (tmp_path / "pipe.zlp", Path(os.devnull)):
        with pytest.raises(EnsembleFileError, match=f"{place}: expected a file, got a pipe"):
            load(place)


# --- saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt("stopped")])
def test_an_interrupted_save_leaves_the_old_file_alone(path, monkeypatch, broken, error):
    before = path.read_bytes()

    def fails(*args):
        raise error

    monkeypatch.setattr(os, broken, fails)
    with pytest.raises(type(error), match=str(error)):
        whole(seed=1).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no litter"


def test_saving_over_a_file_replaces_it(path):
    other = whole(seed=1)
    other.save(path)
    assert_equal(load(path), other)
    path.write_text("notes")
    other.save(path)
    assert_equal(load(path), other)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_ensemble_may_have_a_long_name(tmp_path):
    """As long as the file system allows: the name while it is written is no longer."""
    whole().save(tmp_path / ("x" * 251 + ".zlp"))
    assert len(list(tmp_path.iterdir())) == 1


def test_places_that_cannot_be_written_to_are_errors_of_the_system(tmp_path):
    for place in (tmp_path / "missing" / "one.zlp", tmp_path):
        with pytest.raises(OSError, match=tmp_path.name):
            whole().save(place)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written_to(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(PermissionError, match="locked"):
        whole().save(locked / "one.zlp")


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    spoiled = whole()
    spoiled.networks.weights[2, 3] = np.nan
    with pytest.raises(EnsembleFileError, match="weights holds numbers that are none"):
        spoiled.save(tmp_path / "one.zlp")
    assert not list(tmp_path.iterdir())


# --- nothing runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module",
    [ensemble_file, ensemble_parts, reading, validation, codec, stored, loading, map_files,
     map_loading],
)  # fmt: skip
def test_nothing_is_unpickled(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
             for alias in node.names}  # fmt: skip
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & {"pickle", "cloudpickle", "joblib", "torch"}
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & {"eval", "exec", "np.load", "compile", "__import__"}


def test_loading_needs_neither_torch_nor_hyperspy(path):
    code = (
        f"import sys, hyperspy_zlpml; hyperspy_zlpml.load({str(path)!r}).predict([0.0, 1.0]);"
        "print(*sorted(m.split('.')[0] for m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert not set(done.stdout.split()) & {"torch", "hyperspy", "cloudpickle", "sklearn"}


# --- parts ----------------------------------------------------------------------------------------


@pytest.fixture
def parts():
    """Arrays and facts, the latter as JSON gives them back."""
    arrays, facts = to_parts(whole())
    return arrays, json.loads(json.dumps(facts))


def test_parts_make_the_ensemble(parts):
    assert_equal(from_parts(*parts), whole())
    assert_equal(from_parts(*to_parts(whole())), whole())


def test_arrays_of_another_byte_order_are_the_same(parts):
    arrays, facts = parts
    swapped = {name: a.astype(a.dtype.newbyteorder(">")) for name, a in arrays.items()}
    assert from_parts(swapped, facts).fingerprint == whole().fingerprint


@pytest.mark.parametrize("name", to_parts(whole())[0])
def test_an_array_that_is_missing_or_of_another_kind(parts, name):
    arrays, facts = parts
    array = arrays[name]
    without = {key: value for key, value in arrays.items() if key != name}
    with pytest.raises(EnsembleFileError, match=f"incomplete: no '{name}'"):
        from_parts(without, facts)
    wrong = [array[None], array[..., 0], np.nan_to_num(array).astype(int), array.astype("f2"),
             array.astype(object), array.astype(complex), None, "text", [[1.0], [1.0, 2.0]],
             np.full_like(array, np.nan)]  # fmt: skip
    for other in wrong:
        with pytest.raises(EnsembleFileError, match=f"wrong kind.*({name}|inhomogeneous)"):
            from_parts({**arrays, name: other}, facts)


@pytest.mark.parametrize("name", to_parts(whole())[0])
def test_arrays_whose_shapes_do_not_agree(parts, name):
    arrays, facts = parts
    shorter = [arrays[name][..., 1:]] + ([arrays[name][1:]] if name != "weights" else [])
    for other in (*shorter, arrays[name][:0]):
        with pytest.raises(EnsembleFileError, match="shapes do not agree"):
            from_parts({**arrays, name: other}, facts)


def test_networks_without_a_word_of_their_units_have_those_of_all_before(parts):
    arrays, facts = parts
    del facts["activation"]
    assert from_parts(arrays, facts).networks.activation == "tanh"


def test_modes_without_a_word_of_errors_are_errors_as_all_before(parts):
    arrays, facts = parts
    assert len(from_parts(arrays, facts).reference.errors) == 1
    del facts["n_errors"]
    reference = from_parts(arrays, facts).reference
    np.testing.assert_array_equal(reference.errors, reference.modes)


@pytest.mark.parametrize("n_errors", [-1, 3, 1.0])
def test_errors_are_no_more_than_the_modes(parts, n_errors):
    arrays, facts = parts
    with pytest.raises(EnsembleFileError, match=rf"n_errors is {n_errors}, of 2 modes"):
        from_parts(arrays, {**facts, "n_errors": n_errors})


@pytest.mark.parametrize("name", to_parts(whole())[1])
def test_a_fact_that_is_missing_or_of_another_kind(parts, name):
    arrays, facts = parts
    without = {key: value for key, value in facts.items() if key != name}
    if name not in {"activation", "n_errors"}:
        with pytest.raises(EnsembleFileError, match=f"incomplete: no '{name}'"):
            from_parts(arrays, without)
    right = {"conditions": None, "setting": []}.get(name, "")
    for other in (None, True, [], [[1.0]], 1e30, np.nan, 10**400):
        if other == right:
            continue
        with pytest.raises(EnsembleFileError, match=f"wrong kind: .*{name}"):
            from_parts(arrays, {**facts, name: other})


@pytest.mark.parametrize("name, value", [
    ("layers", [2, 6, 5]), ("layers", [3, 6, 5, 1]), ("layers", [2.0, 6, 5, 1]),
    ("layers", [2, -6, 5, 1]), ("layers", [2]), ("layers", "2651"), ("layers", [2, True, 5, 1]),
    ("grid", {"start": 1.0, "n": GRID.n}), ("grid", {"start": -99.0, "n": GRID.n}),
    ("grid", {"start": -20.0, "n": GRID.n}), ("grid", {"start": GRID.start, "n": -GRID.n}),
    ("grid", {"start": GRID.start, "n": float(GRID.n)}), ("grid", {"start": 0.0}),
    ("grid", {"start": GRID.start, "n": 10**30}), ("grid", {"start": GRID.start, "n": 1}),
    ("grid", {"start": GRID.start, "n": GRID.n, "step": 1}),
    ("scaling", {"log_intensity_mean": 1, "log_intensity_scale": 0.0, "x_scale": 1.0,
                 "condition_scale": 1.0}),
    ("scaling", {"log_intensity_mean": np.inf, "log_intensity_scale": 1.0, "x_scale": 1.0,
                 "condition_scale": 1.0}),
    ("noise", {"gain": -1.0, "readout": 1.0, "source": ""}),
    ("noise", {"gain": 1.0, "readout": np.nan, "source": ""}),
    ("noise", {"gain": 1.0, "readout": 1.0, "source": 5}),
    ("noise", {"gain": 1.0, "readout": 1.0, "source": "", "correlation": []}),
    ("noise", {"gain": 1.0, "readout": 1.0, "source": "", "gain_error": -0.1}),
    ("noise", {"gain": 1.0, "readout": 1.0, "source": "", "other": 0.1}),
    ("noise", {"gain": 1.0, "readout": 1.0, "source": "", "correlation": [0.5, 0.5]}),
    ("noise", {"gain": 1.0, "readout": 1.0, "source": "", "correlation": [np.nan]}),
    ("noise", {"gain": 1.0, "readout": 1.0, "source": "", "correlation": [-1.0, 1.0]}),
    ("noise", {"gain": 1.0, "readout": 1.0, "source": "", "correlation": 1.0}),
    ("log_fwhm", [0.0, -0.1]), ("log_fwhm", [400.0, 0.1]), ("log_intensity_range", [2.0, 1.0]),
    ("log_intensity_range", [1.0, 2.0, 3.0]), ("microscope", {"beam_energy": "200"}),
    ("microscope", {"beam_energy": np.nan}), ("provenance", "me"), ("tail", None),
])  # fmt: skip
def test_facts_that_nothing_can_be_predicted_with(parts, name, value):
    arrays, facts = parts
    with pytest.raises(EnsembleFileError, match="wrong kind"):
        from_parts(arrays, {**facts, name: value})


@pytest.mark.parametrize("changes", [
    {"conditions": None}, {"conditions": {"names": ["exposure", "offset"]}}, {"conditions": []},
    {"conditions": {"names": ["exposure"] * 2, "logarithmic": [True, False]}},
    {"conditions": {"names": ["exposure", 5], "logarithmic": [True, False]}},
    {"conditions": {"names": ["exposure"], "logarithmic": [True]}},
    {"conditions": {"names": [], "logarithmic": []}},
    {"conditions": {"names": ["a", "b"], "logarithmic": [True, True]}},
    {"conditions": {"names": ["a", "b"], "logarithmic": [1, 0]}},
    {"conditions": {"names": ["a", "exposure"], "logarithmic": [True, False]}},
    {"setting": [0.1]}, {"setting": [0.1, "a"]}, {"setting": None}, {"setting": [-0.1, 1.0]},
    {"setting": [0.0, 1.0]}, {"layers": [2, 6, 1]}, {"layers": [3, 8, 1]},
])  # fmt: skip
def test_conditions_that_nothing_can_be_predicted_with(changes):
    arrays, facts = to_parts(conditioned())
    with pytest.raises(EnsembleFileError, match="parts of an ensemble are of the wrong kind"):
        from_parts(arrays, {**facts, **changes})


@pytest.mark.parametrize("name", ["settings", "values", "errors", "spread", "scores"])
def test_arrays_of_conditions_are_looked_at_too(name):
    arrays, facts = to_parts(conditioned())
    name = f"conditions_{name}"
    array = arrays[name]
    for other in (array[1:], array[..., 1:], array.astype(int), array * np.nan, array + 1e9, None):
        with pytest.raises(EnsembleFileError, match="wrong kind.*(conditions|float)"):
            from_parts({**arrays, name: other}, facts)
    del arrays[name]
    with pytest.raises(EnsembleFileError, match=f"incomplete: no '{name}'"):
        from_parts(arrays, facts)


def test_settings_that_are_all_the_same_are_no_conditions():
    arrays, facts = to_parts(conditioned())
    arrays["conditions_settings"][:, 1] = 1.0
    facts["conditions"]["logarithmic"] = [True, True]
    with pytest.raises(EnsembleFileError, match="span no range"):
        from_parts(arrays, facts)


def test_parts_that_are_none_at_all():
    for parts in ((None, None), ({}, {}), ([], []), (to_parts(whole())[0], None), ("a", "b")):
        with pytest.raises(EnsembleFileError, match="parts of an ensemble"):
            from_parts(*parts)


# --- random damage --------------------------------------------------------------------------------


def load_or_refuse(path):
    """The ensemble in a file and the error with which it is refused, one of them None."""
    try:
        return load(path), None
    except EnsembleFileError as error:
        return None, error


def test_damaged_files_are_refused(path):
    """A thousand files, each with something else wrong; a change that is none may be loaded."""
    data, rng = path.read_bytes(), np.random.default_rng(0)
    expected, seen, refused = whole().fingerprint, set(), 0
    for number in range(1000):
        other, kinds = damaged(data, rng)
        seen |= set(kinds.split("+"))
        path.write_bytes(other)
        found, error = load_or_refuse(path)
        if error is None:
            assert found.fingerprint == expected, (number, kinds)
        else:
            assert str(path) in str(error), (number, kinds)
            refused += 1
    assert {kind.__name__ for kind in DAMAGE} <= seen
    assert refused > 900


@pytest.mark.parametrize("name", ["single", "at a setting"])
def test_forged_files_are_refused_or_predict(path, name):
    """The checksum is right, what it is of was made up: numbers to predict with, or an error."""
    parts, rng = to_parts(MADE[name]()), np.random.default_rng(1)
    accepted = 0
    for number in range(400):
        path.write_bytes(forged(*parts, rng))
        found, error = load_or_refuse(path)
        if error is not None:
            continue
        accepted += 1
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            n = found.n_replicas
            assert found.predict(ENERGY).shape == (n, ENERGY.size), number
            assert found.log_shapes(np.array([15.0])).shape == (n, 1, found.grid.n), number
            found.tabulate()
            assert repr(found)
            assert found.fingerprint
    assert 8 < accepted < 200


# --- files of before ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [f"ensemble{kind}_format_{n}" for n in (1, 2) for kind in ("", "_with_conditions")]
)
def test_files_of_earlier_formats_are_read(name):
    """Made by tests/data/make_release_file.py when the format was new.

    What predictions depend on beside the file (laws of conditions, grids, tails that may not
    rise) must not change for files of a format either.
    """
    one = load(DATA / f"{name}.zlp")
    saved = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    assert one.fingerprint == saved["fingerprint"]
    assert one.n_replicas == saved["n_replicas"]
    energy = np.array(saved["energy"])
    for log_intensity, expected in zip(saved["log_intensity"], saved["zlp"], strict=True):
        found = one.predict(energy, log_intensity=log_intensity)
        # Machines differ in the last digits of single precision.
        np.testing.assert_allclose(found, np.array(expected, float), rtol=1e-5)
    assert (DATA / f"{name}.zlp").stat().st_size < 90_000
