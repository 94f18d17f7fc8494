# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx configuration."""

from hyperspy_zlpml import __version__

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
]
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
autodoc_default_options = {"members": True, "show-inheritance": False}
autodoc_typehints = "none"
# The eXSpy methods that the signal inherits have docstrings of their own style.
autodoc_inherit_docstrings = False
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_title = "hyperspy_zlpml"
exclude_patterns = ["_build"]
