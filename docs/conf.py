# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx configuration."""

import os
import sys
from pathlib import Path

from hyperspy_zlpml import __version__

sys.path.insert(0, str(Path(__file__).parent))
from notebooks import execute_gallery

project = "hyperspy_zlpml"
author = "The hyperspy_zlpml developers"
copyright = f"2026, {author}"
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.towncrier.ext",
    "sphinx_gallery.gen_gallery",
]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    # In a process that has loaded HyperSpy this one shows nothing; the tests run it.
    "filename_pattern": r"(?<!without_hyperspy)\.py$",
    "abort_on_example_error": True,
    "within_subsection_order": "notebooks.ReadingOrder",
    # Axes that figures return are for those who go on with them.
    "ignore_repr_types": r"<class 'list'>|matplotlib",
    "copyfile_regex": r".*\.rst",
    "default_thumb_file": str(Path(__file__).parent / "_static" / "overview.png"),
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "min_reported_time": 1e4,
}
towncrier_draft_autoversion_mode = "draft"
towncrier_draft_include_empty = True
towncrier_draft_working_directory = Path(__file__).parent.parent
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# The eXSpy methods that the signal inherits have docstrings of their own style.
autodoc_inherit_docstrings = False

# A reference that leads nowhere is an error. Types of parameters are sentences ("ndarray of shape
# (n_spectra,)") and stay text: numpydoc_xref_param_type is off.
nitpicky = True
# What others document is looked up where there is a network, and stays text where there is none.
if os.environ.get("ZLPML_DOCS_ONLINE"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "dask": ("https://docs.dask.org/en/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
        "hyperspy": ("https://hyperspy.org/hyperspy-doc/current", None),
        "exspy": ("https://hyperspy.org/exspy", None),
    }
nitpick_ignore_regex = [("py:.*", r"(exspy|hyperspy)\..*")]

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = "hyperspy_zlpml"
html_theme_options = {
    "logo": {"image_light": "_static/logo.svg", "image_dark": "_static/logo_dark.svg"},
    "show_toc_level": 2,
}
exclude_patterns = [
    "_build",
    "gallery/*.ipynb",
    "gallery/*.py",
    "gallery/*.md5",
    "sg_execution_times.rst",
]


def setup(app):
    """Run notebooks once the gallery has made them."""
    app.connect("builder-inited", execute_gallery, priority=900)
