# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension file: a mistake in it breaks ``import hyperspy.api`` for everybody."""

import importlib
from importlib.metadata import entry_points

import pytest
import yaml

import hyperspy_zlpml

SIGNAL_KEYS = {"signal_type", "signal_dimension", "dtype", "lazy", "module"}
MORE_SIGNAL_KEYS = {"signal_type_aliases", "hidden"}


@pytest.fixture(scope="module")
def extension(root):
    text = (root / "hyperspy_zlpml" / "hyperspy_extension.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def test_only_known_sections(extension):
    """HyperSpy ignores others without a word."""
    assert set(extension) <= {"signals", "components1D", "components2D", "GUI"}


def test_top_level_file_is_a_link_to_the_real_one(root):
    link = root / "hyperspy_extension.yaml"
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == root / "hyperspy_zlpml" / "hyperspy_extension.yaml"


def test_signals_have_all_keys(extension):
    for name, entry in extension["signals"].items():
        assert set(entry) >= SIGNAL_KEYS, name
        assert set(entry) <= SIGNAL_KEYS | MORE_SIGNAL_KEYS, name
        assert entry["signal_dimension"] in (-1, 0, 1, 2)
        assert entry["dtype"] in ("real", "complex")
        assert isinstance(entry["lazy"], bool)


def test_signals_can_be_imported_and_agree(extension):
    """The key is the class name; type, laziness and aliases are those of the class."""
    for name, entry in extension["signals"].items():
        cls = getattr(importlib.import_module(entry["module"]), name)
        assert cls.__name__ == name
        assert cls._signal_type == entry["signal_type"]
        assert cls._lazy == entry["lazy"]
        assert cls._signal_dimension == entry["signal_dimension"]
        if "signal_type_aliases" in entry:
            assert sorted(entry["signal_type_aliases"]) == sorted(cls._alias_signal_types)


def test_aliases_of_the_class_are_declared(extension):
    """An alias that the yaml does not list is unknown to HyperSpy."""
    for name, entry in extension["signals"].items():
        cls = getattr(importlib.import_module(entry["module"]), name)
        declared = set(entry.get("signal_type_aliases", ()))
        own = [c for c in cls.__mro__ if c.__module__.startswith("hyperspy_zlpml")]
        for c in own:
            assert set(vars(c).get("_alias_signal_types", ())) <= declared, name


def test_every_signal_has_its_lazy_twin(extension):
    kinds = {}
    for entry in extension["signals"].values():
        kind = entry["signal_type"], entry["signal_dimension"], entry["dtype"]
        kinds.setdefault(kind, set()).add(entry["lazy"])
    assert all(found == {False, True} for found in kinds.values())


def test_the_type_is_not_taken(extension):
    """Two classes of one type make HyperSpy warn at every cast and take the first."""
    from hyperspy.extensions import ALL_EXTENSIONS

    own = set(extension["signals"])
    taken = {
        name
        for key, entry in ALL_EXTENSIONS["signals"].items()
        if key not in own
        for name in (entry["signal_type"], *entry.get("signal_type_aliases", ()))
    }
    for name, entry in extension["signals"].items():
        assert entry["signal_type"] not in taken, name
        assert not taken & set(entry.get("signal_type_aliases", ())), name


@pytest.mark.parametrize("section", ["components1D", "components2D"])
def test_components_can_be_imported(extension, section):
    """The key is the name of the class, by which stored models know it."""
    for name, entry in extension.get(section, {}).items():
        assert set(entry) == {"module", "class"}, name
        cls = getattr(importlib.import_module(entry["module"]), entry["class"])
        assert cls.__name__ == name


def test_widgets_can_be_imported(extension):
    gui = extension.get("GUI", {})
    keys = set(gui.get("toolkeys", ()))
    assert all(key.split(".")[0] == "hyperspy_zlpml" for key in keys)
    for toolkit, widgets in gui.get("widgets", {}).items():
        assert set(widgets) <= keys, f"{toolkit} has a widget for a toolkey that is not declared"
        for entry in widgets.values():
            assert callable(getattr(importlib.import_module(entry["module"]), entry["function"]))


def test_entry_point_is_the_package():
    """HyperSpy looks for the yaml beside the package of the entry point's name."""
    found = [e for e in entry_points(group="hyperspy.extensions") if e.name == "hyperspy_zlpml"]
    assert found
    assert found[0].value == "hyperspy_zlpml"


def test_hyperspy_has_read_it(extension):
    from hyperspy.extensions import ALL_EXTENSIONS

    for name, entry in extension["signals"].items():
        assert ALL_EXTENSIONS["signals"][name]["module"] == entry["module"]
    for name, entry in extension["components1D"].items():
        assert ALL_EXTENSIONS["components1D"][name]["module"] == entry["module"]


def test_version():
    """Without ``__version__`` every save logs a warning."""
    assert isinstance(hyperspy_zlpml.__version__, str)
    assert hyperspy_zlpml.__version__[0].isdigit()
