# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of the docstrings run and show what is said."""

import doctest
import importlib
import logging

import exspy.signals  # noqa: F401  what HyperSpy says at its first import is no output of an example
import pytest
from conftest import ROOT

PACKAGE = ROOT / "hyperspy_zlpml"
NAMES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.stem not in ("__main__", "_version")
]
#: Modules of widgets, which need the package of a toolkit.
NEEDS = {
    "hyperspy_zlpml.gui.ipywidgets": "hyperspy_gui_ipywidgets",
    "hyperspy_zlpml.gui.traitsui": "hyperspy_gui_traitsui",
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name, tmp_path, monkeypatch, caplog):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason="the package of the toolkit is not installed")
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.CRITICAL)
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=FLAGS)
    assert results.failed == 0, f"{results.failed} of {results.attempted} lines of {name}"
