# SPDX-License-Identifier: GPL-3.0-or-later
"""Notebooks of the gallery are run in a kernel; the documentation is not built where one fails."""

import sys

import pytest
from conftest import ROOT

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
exceptions = pytest.importorskip("nbclient.exceptions", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytest.importorskip("sphinx", reason="sphinx is not installed")


@pytest.fixture(scope="module")
def notebooks():
    """The module of the documentation."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import notebooks

        return notebooks
    finally:
        sys.path.pop(0)


def notebook_of(*sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=cells)


def test_notebooks_that_are_run_are_examples(notebooks):
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert set(notebooks.EXECUTED) <= names
    assert len(notebooks.EXECUTED) >= 4


def test_the_gallery_begins_with_them(notebooks):
    files = sorted(
        (path.name for path in (ROOT / "examples").glob("*.py")), key=notebooks.ReadingOrder("")
    )
    n = len(notebooks.EXECUTED)
    assert files[:n] == [f"{name}.py" for name in notebooks.EXECUTED]
    assert files[n:] == sorted(files[n:])


def test_figures_and_text_are_kept(notebooks, tmp_path):
    notebook = notebook_of(
        "%matplotlib inline\nimport matplotlib.pyplot as plt",
        "from pathlib import Path\nprint(Path.cwd())",
        "plt.plot([1, 2]);",
    )
    assert not notebooks.is_executed(notebook)
    done = notebooks.execute(notebook, tmp_path)
    assert notebooks.is_executed(done)
    assert str(tmp_path) in done.cells[1].outputs[0].text
    assert "image/png" in done.cells[2].outputs[0].data


def test_an_error_ends_it(notebooks, tmp_path):
    with pytest.raises(exceptions.CellExecutionError, match="no such thing"):
        notebooks.execute(notebook_of("raise ValueError('no such thing')"), tmp_path)


def test_references_become_words(notebooks):
    text = "see :doc:`what bars mean </uncertainty>`, and ``code``"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    cell = notebooks.without_references(notebook).cells[0]
    assert cell.source == "see what bars mean, and ``code``"
