# SPDX-License-Identifier: GPL-3.0-or-later
"""Run notebooks of the gallery in a kernel, as a reader would, and keep what they showed.

The gallery makes a notebook of every example. Those that are named here are downloaded with their outputs; an error
in a cell ends the build.
"""

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from sphinx.util import logging

#: Examples whose notebooks are run: from a first removal to an image larger than memory.
EXECUTED = (
    "first_removal",
    "band_gap_map",
    "thickness_map",
    "dielectric_function",
    "larger_than_memory",
)
#: Longest time that a cell may take, s.
PATIENCE = 600
#: Reference to a page of the documentation, which a notebook shows as its words alone.
REFERENCE = re.compile(r":doc:`([^`<]+?)\s*<[^`]*>`")


class ReadingOrder:
    """Order of the gallery: those that are named above, and then the others by their names.

    Parameters
    ----------
    folder : str
        Of the examples.
    """

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, name):
        """Give the key of an example.

        Parameters
        ----------
        name : str
            Of its file.

        Returns
        -------
        tuple of (int, str)
        """
        stem = Path(name).stem
        return (EXECUTED.index(stem) if stem in EXECUTED else len(EXECUTED), stem)


def execute_gallery(app):
    """Run the notebooks that are named above, unless the gallery is not run or they have been.

    Parameters
    ----------
    app : sphinx.application.Sphinx
    """
    if not app.config.sphinx_gallery_conf["plot_gallery"]:
        return
    logger = logging.getLogger(__name__)
    for name in EXECUTED:
        path = Path(app.srcdir) / "gallery" / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        if not is_executed(notebook):
            logger.info("running the notebook %s", path.name)
            nbformat.write(execute(without_references(notebook), path.parent), path)


def is_executed(notebook):
    """Tell whether every cell of code has been run.

    Parameters
    ----------
    notebook : nbformat.NotebookNode

    Returns
    -------
    bool
    """
    return all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


def without_references(notebook):
    """Leave words of references to pages, which lead nowhere from a notebook.

    Parameters
    ----------
    notebook : nbformat.NotebookNode

    Returns
    -------
    nbformat.NotebookNode
        The same one.
    """
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = REFERENCE.sub(r"\1", cell.source)
    return notebook


def execute(notebook, folder):
    """Run all cells in a kernel of this Python.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
    folder : path-like
        Where it runs.

    Returns
    -------
    nbformat.NotebookNode
        The same, with outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        By a cell that fails.
    """
    client = NotebookClient(
        notebook,
        timeout=PATIENCE,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute()
