# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages of the documentation: each says at once what it is about, and is found from another one."""

import ast
import re
import textwrap

import pytest
from conftest import ROOT

DOCS = ROOT / "docs"
#: Pages that are put together from other files.
PUT_TOGETHER = {"changes", "contributing"}
#: What Sphinx-Gallery writes beside the pages.
GENERATED = {"sg_execution_times"}
PAGES = sorted({path.stem for path in DOCS.glob("*.rst")} - GENERATED)


@pytest.mark.parametrize("page", sorted(set(PAGES) - PUT_TOGETHER))
def test_a_page_begins_with_a_paragraph(page):
    """Not with code, a table or a section: the first words tell whose question it answers."""
    title, line, empty, first = (DOCS / f"{page}.rst").read_text(encoding="utf-8").split("\n")[:4]
    assert line == "=" * len(title)
    assert not empty
    assert re.match(r"[\w`*]", first), f"{page}.rst begins with {first!r}"


def test_no_page_has_a_name_that_sphinx_uses():
    """Its own page of that name would be written over ours."""
    assert not set(PAGES) & {"search", "genindex", "py-modindex", "modindex", "searchindex"}


def test_every_page_is_in_a_list_of_contents():
    listed = set()
    for page in PAGES:
        text = (DOCS / f"{page}.rst").read_text(encoding="utf-8")
        for entries in re.findall(r"\.\. toctree::\n(?:   :.*\n)*\n((?:   \S+\n?)+)", text):
            listed |= set(entries.split())
    assert listed - {"gallery/index", "gallery/first_removal"} == set(PAGES) - {"index"}


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md"])
def test_links_to_files_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)]+)\)|(?:src|srcset)=\"(?!https?:)([^\"]+)\"", text)
    files = {one or other for one, other in links}
    assert files
    assert {file for file in files if not (ROOT / file).is_file()} == set()


def test_targets_that_the_readme_names_are_in_the_makefile():
    named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    targets = re.findall(
        r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert named
    assert named <= set(targets)


def test_python_on_the_pages_is_python():
    """Code that was copied from a page runs as far as Python reads it; magic of notebooks beside it."""
    for path in [*(DOCS / f"{page}.rst" for page in PAGES), ROOT / "README.md"]:
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"^\.\. code-block:: python\n\n((?: +.*\n|\n)+)", text, re.MULTILINE)
        blocks += re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for block in blocks:
            plain = re.sub(r"^ *%.*$", "", block, flags=re.MULTILINE)
            ast.parse(textwrap.dedent(plain), filename=str(path))
