# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of the docstrings run and show what is said."""

import doctest
import importlib
import inspect
import logging
import re

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


def public_functions(module):
    """Functions of a module, and methods of its classes, that are public, by name."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(thing):
            yield name, thing
        for method in vars(thing) if inspect.isclass(thing) else ():
            function = getattr(thing, method)
            if not method.startswith("_") and inspect.isroutine(function):
                yield f"{name}.{method}", function


def parameters_told(function):
    """Names in the section Parameters of a docstring; None where there is none."""
    found = re.search(
        r"Parameters\n-+\n(.*?)(?=\n\n\S[^\n]*\n-{3}|\Z)", inspect.getdoc(function) or "", re.S
    )
    if found is None:
        return None
    lines = [one.split(" :")[0] for one in found[1].splitlines() if one[:1].strip()]
    return {name.strip().lstrip("*") for line in lines for name in line.split(",")}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_signature(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason="the package of the toolkit is not installed")
    for function_name, function in public_functions(importlib.import_module(name)):
        told = parameters_told(function)
        if told is None:
            continue
        taken = {
            one.name: one.kind != one.VAR_KEYWORD
            for one in inspect.signature(function).parameters.values()
            if one.name not in ("self", "cls")
        }
        needed = {one for one, is_named in taken.items() if is_named}
        assert needed <= told <= set(taken), f"{function_name}: {told ^ set(taken)}"


def test_the_section_of_parameters_is_read():
    def sums(first, second, *others, **options):
        """Sum.

        Parameters
        ----------
        first, second : float
            Of them: ``first`` is first.
        *others : float
        **options

        Returns
        -------
        float
        """

    assert parameters_told(sums) == {"first", "second", "others", "options"}
