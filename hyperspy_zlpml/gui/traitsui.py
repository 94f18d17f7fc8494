# SPDX-License-Identifier: GPL-3.0-or-later
"""Window of the tool for Qt, beside the figures of HyperSpy."""

# Imported first: it chooses the toolkit of windows from the backend of matplotlib. The other way
# round, the process would be aborted where there is no display.
from hyperspy_gui_traitsui.utils import add_display_arg  # isort: split

import re

import numpy as np
import traitsui.api as tu
from traits.api import Button, HasTraits, Instance, Str
from traits.etsconfig.api import ETSConfig

from hyperspy_zlpml.gui.texts import HELP
from hyperspy_zlpml.signals.tools import LIMITS, ZLPRemovalTool

#: Digits of a limit as it is shown.
_DIGITS = 4
#: Options that are numbers.
_NUMBERS = ("n_replicas", "confidence", "random_state")
#: Options that are chosen, and where their choices are.
_CHOICES = {"cluster_by": "proxies", "vacuum": "vacuum_choices"}
#: Toolkits of windows that show none, where there is no display.
_WITHOUT_LOOP = ("", "null")
#: Size of the window on the screen.
_WIDTH, _HEIGHT = 560, 640
#: Width of the column of a limit.
_COLUMN = 120


class RemovalWindow(HasTraits):
    """Buttons of the window of a tool, and what they do.

    Parameters
    ----------
    tool : ZLPRemovalTool
    """

    tool = Instance(ZLPRemovalTool)
    run = Button("Train and remove")
    rematch = Button("Match anew")
    cancel = Button("Cancel")
    report = Str()
    help = Str(re.sub(r"<[^>]+>", "", HELP).strip())

    def __init__(self, tool):
        super().__init__(tool=tool)
        tool.observe(self._show_result, "result")
        self._show_result()

    def _run_fired(self):
        self._press(self.tool.run)

    def _rematch_fired(self):
        self._press(self.tool.rematch)

    def _cancel_fired(self):
        self.tool.cancel()

    def _press(self, action):
        """Do what a button says; what cannot be done is told beside the progress."""
        try:
            action()
        except (ValueError, RuntimeError) as error:
            self.tool.message = str(error)

    def _show_result(self, _=None):
        if self.tool.result is not None:
            self.report = str(self.tool.result.report)
            # The table looks at its rows again: what was found has changed in them.
            self.tool.limits[:] = list(self.tool.limits)


class RemovalHandler(tu.Handler):
    """Handler that keeps the window as long as it is open, and ends the work with it."""

    def init(self, info):
        """Keep the window, which nobody else holds."""
        info.object.tool.window = info.ui
        return True

    def closed(self, info, is_ok):
        """End what is going on."""
        info.object.tool.window = None
        info.object.tool.cancel()


@add_display_arg
def removal_traitsui(obj, **kwargs):
    """Make the window of a tool.

    Parameters
    ----------
    obj : ZLPRemovalTool
    **kwargs
        ``display``; whether to show the window.

    Returns
    -------
    RemovalWindow
        With the ``tool``.
    view : dict
        What it shows.
    """
    window = RemovalWindow(obj)
    if ETSConfig.toolkit not in _WITHOUT_LOOP:
        obj.call_in_main_thread = _later
    obj.plot()
    return window, {"view": _view()}


def _later(function):
    """Call a function in the thread of the windows."""
    from pyface.api import GUI

    GUI.invoke_later(function)


# --- what the window shows ------------------------------------------------------------------------


class LimitColumn(tu.ObjectColumn):
    """Column of one limit of all clusters: those that were found stand in brackets."""

    def get_value(self, object):
        """Write the limit of a cluster."""
        text = _text_of(object.current(self.name))
        return text if object.is_given(self.name) else f"({text})"


def _text_of(limit):
    if np.isnan(limit):
        return "auto"
    return f"{limit:.{_DIGITS}g}" if np.isfinite(limit) else "none"


def _limit_of(text):
    """Read a limit; what is empty, or in brackets, is found from the data."""
    text = str(text).strip()
    return np.nan if not text or text.startswith("(") else float(text)


def _typed(limit):
    """Write a limit to be changed; nothing where there is none given."""
    return "" if np.isnan(limit) else f"{limit:.{_DIGITS}g}"


def _limits_editor():
    editor = tu.TextEditor(evaluate=_limit_of, format_func=_typed, auto_set=False)
    columns = [LimitColumn(name=name, label=name, editor=editor, width=_COLUMN) for name in LIMITS]
    number = tu.ObjectColumn(name="number", label="Cluster", editable=False)
    return tu.TableEditor(
        columns=[number, *columns], sortable=False, deletable=False, auto_size=False
    )


def _options():
    """Group the options, and the limits of the clusters."""
    return tu.Group(
        tu.HGroup(
            tu.Item("object.tool.n_clusters"),
            tu.Item("object.tool.auto_clusters"),
        ),
        *(tu.Item(f"object.tool.{name}") for name in _NUMBERS),
        *(
            tu.Item(f"object.tool.{name}", editor=tu.EnumEditor(name=f"object.tool.{choices}"))
            for name, choices in _CHOICES.items()
        ),
        tu.Item("object.tool.limits", editor=_limits_editor(), show_label=False),
        label="Options and limits",
    )


def _work():
    """Group the buttons and what shows the progress."""
    idle = "not object.tool.is_running"
    return tu.VGroup(
        tu.HGroup(
            tu.Item("run", show_label=False, enabled_when=idle),
            tu.Item(
                "rematch",
                show_label=False,
                enabled_when=f"{idle} and object.tool.result is not None",
            ),
            tu.Item("cancel", show_label=False, enabled_when="object.tool.is_running"),
        ),
        tu.Item("object.tool.progress", style="readonly", format_func="{:.0%}".format),
        tu.Item("object.tool.message", style="readonly", show_label=False),
    )


def _view():
    texts = [
        tu.Group(tu.Item(name, style="custom", show_label=False, enabled_when="True"), label=label)
        for name, label in (
            ("report", "Report"),
            ("object.tool.line_of_code", "Code"),
            ("help", "Help"),
        )
    ]
    return tu.View(
        tu.VGroup(tu.Tabbed(_options(), *texts), _work()),
        handler=RemovalHandler,
        kind="live",
        title="Remove the zero-loss peak",
        width=_WIDTH,
        height=_HEIGHT,
        resizable=True,
    )
