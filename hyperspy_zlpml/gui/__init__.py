# SPDX-License-Identifier: GPL-3.0-or-later
"""Widgets of the tool that removes the zero-loss peak, one module for each toolkit.

Each is imported when its widgets are asked for, and only where the toolkit's package is installed:
``hyperspy_gui_ipywidgets`` for notebooks, ``hyperspy_gui_traitsui`` for windows of Qt.
"""
