# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the widgets of a tool to HyperSpy, where the package of a toolkit is installed.

Widgets are not named in ``hyperspy_extension.yaml``: HyperSpy takes each toolkit that a file of any
extension names for installed, and tells users who have none the wrong thing.
"""

from importlib.util import find_spec

from hyperspy.ui_registry import UI_REGISTRY

#: Package of HyperSpy for a toolkit.
_PACKAGE = "hyperspy_gui_{toolkit}"
#: Module of ours with the widgets for a toolkit; imported when they are asked for.
_MODULE = "hyperspy_zlpml.gui.{toolkit}"
#: Toolkits that there are widgets for.
TOOLKITS = ("ipywidgets", "traitsui")


def register_widgets(toolkey, function, find=find_spec):
    """Name the widgets of a tool to HyperSpy.

    Parameters
    ----------
    toolkey : str
        As in ``hyperspy_extension.yaml``.
    function : str
        Its name, but for the toolkit that follows an underscore.
    find : callable
        Finds a package by its name; None where there is none.

    Returns
    -------
    list of str
        Toolkits that are installed.
    """
    found = [toolkit for toolkit in TOOLKITS if find(_PACKAGE.format(toolkit=toolkit))]
    for toolkit in found:
        widgets = {
            "module": _MODULE.format(toolkit=toolkit),
            "function": f"{function}_{toolkit}",
        }
        UI_REGISTRY.setdefault(toolkey, {})[toolkit] = widgets
    return found
