# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example runs, and the pages show parts of them that are there."""

import ast
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.rst"))
#: Those that a build of the documentation does not run.
NOT_IN_THE_GALLERY = ("without_hyperspy.py",)
#: Longer than any takes on a slow core.
_SECONDS = 300
#: Of ours: modules of the package, and warnings without a line of code of their own.
_OF_OURS = re.compile(
    r"^.*(?:hyperspy_zlpml|examples)[/\\].*: \w*Warning: .*$|^sys:1: \w*Warning: .*$"
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in NOT_IN_THE_GALLERY else pytest.mark.examples)
        for name in EXAMPLES
    ],
)
def test_example_runs(name, tmp_path):
    """In a process and a folder of its own, as a reader does; what it warns of is shown on purpose."""
    env = {**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-W", "default", ROOT / "examples" / name],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=_SECONDS,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert not re.search(r"\bnan\b", run.stdout), run.stdout
    assert run.stdout.strip(), "it shows something"
    warned = [line for line in run.stderr.splitlines() if _OF_OURS.match(line)]
    warned = [line for line in warned if "DeprecationWarning" not in line or "zlpml" in line]
    assert not warned, warned


def test_there_are_examples():
    assert len(EXAMPLES) >= 4


def included(page):
    """Each ``literalinclude`` of a page: name of the file, and its options."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.finditer(r"^\.\. literalinclude:: (\S+)\n((?:   +:.*\n)*)", text, re.MULTILINE)
    for match in found:
        options = re.findall(r":([a-z-]+): ?(.*)", match[2])
        yield match[1], {name: value.strip() for name, value in options}


INCLUDED = [(page, name, options) for page in PAGES for name, options in included(page)]


def test_pages_include_something():
    assert {"component.rst", "keep.rst", "other_images.rst", "other_settings.rst"} <= {
        page for page, *_ in INCLUDED
    }


@pytest.mark.parametrize(
    "page, name, options", INCLUDED,
    ids=[f"{page}-{name}-{number}" for number, (page, name, _) in enumerate(INCLUDED)],
)  # fmt: skip
def test_what_a_page_includes_is_there(page, name, options):
    """File and markers, the end after the start, and something in between, as Sphinx reads them."""
    path = (ROOT / "docs" / name).resolve()
    assert path.is_file(), f"{page} includes {name}, which does not exist"
    lines = path.read_text(encoding="utf-8").splitlines()
    first, last = 0, len(lines)
    for option, after in (("start-at", 0), ("start-after", 1)):
        if option in options:
            places = [n for n, line in enumerate(lines) if options[option] in line]
            assert places, f"{page}: no line of {name} holds {options[option]!r}"
            first = places[0] + after
    for option in ("end-before", "end-at"):
        if option in options:
            places = [n for n, line in enumerate(lines) if n >= first and options[option] in line]
            assert places, f"{page}: no line of {name} after the start holds {options[option]!r}"
            last = places[0] + (option == "end-at")
    assert any(line.strip() for line in lines[first:last])
    unknown = set(options) - {"start-at", "start-after", "end-before", "end-at", "language"}
    assert not unknown, f"this test does not know {unknown}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_has_a_title_for_the_gallery(name):
    docstring = ast.get_docstring(ast.parse((ROOT / "examples" / name).read_text(encoding="utf-8")))
    title, line, *text = docstring.splitlines()
    assert line == "=" * len(title)
    assert any(text)
