# SPDX-License-Identifier: GPL-3.0-or-later
"""Widgets of the tool for notebooks."""

import asyncio
from functools import partial

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from hyperspy_gui_ipywidgets.utils import add_display_arg, labelme, set_title_container
from link_traits import link

from hyperspy_zlpml.gui.texts import HELP, NO_CANVAS
from hyperspy_zlpml.signals.tools import LIMITS

#: Width of the box of a limit.
_LIMIT_WIDTH = "110px"
#: Width of the number of clusters, and of the flag beside.
_NUMBER_WIDTH, _FLAG_WIDTH = "150px", "146px"
#: Probabilities within this of 0 and 1 are no choice.
_LEAST = 1e-9
#: Digits of a limit that was found, as they are shown.
_DIGITS = 4


@add_display_arg
def removal_ipywidgets(obj, **kwargs):
    """Make the widgets of a tool.

    Parameters
    ----------
    obj : ZLPRemovalTool
    **kwargs
        ``display``; whether to show the widgets.

    Returns
    -------
    dict
        The box under ``widget``, its parts by their names under ``wdict``, and the ``tool``.
    """
    _let_the_loop_call(obj)
    parts = {**_options(obj), **_buttons(obj), **_state(obj)}
    parts["limits"] = LimitsTable(obj, parts).box
    parts["report"] = ipywidgets.HTML()
    obj.observe(lambda _: _show_report(obj, parts["report"]), "result")
    _show_report(obj, parts["report"])
    _enable(obj, parts)
    obj.observe(lambda _: _enable(obj, parts), "is_running, result")
    box = _laid_out(obj, parts)
    parts["close_button"].on_click(lambda _: _close(obj, box))
    return {"widget": box, "wdict": parts, "tool": obj}


def _let_the_loop_call(tool):
    """Let the end of the work be seen to by the loop of the notebook, where there is one."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return  # a test, or a script: it waits itself
    tool.call_in_main_thread = loop.call_soon_threadsafe


# --- options --------------------------------------------------------------------------------------


def _options(tool):
    """Make widgets of the options, bound to the traits of the tool."""
    parts = {
        "n_clusters": ipywidgets.BoundedIntText(min=1, max=50, layout=_narrow(_NUMBER_WIDTH)),
        "auto_clusters": ipywidgets.Checkbox(
            indent=False, description="from the data", layout=_narrow(_FLAG_WIDTH)
        ),
        "cluster_by": ipywidgets.Dropdown(options=list(tool.proxies)),
        "n_replicas": ipywidgets.BoundedIntText(min=2, max=10_000),
        "confidence": ipywidgets.BoundedFloatText(min=_LEAST, max=1 - _LEAST, step=0.01),
        "random_state": ipywidgets.BoundedIntText(min=0, max=2**63 - 1),
        "vacuum": ipywidgets.Dropdown(options=list(tool.vacuum_choices)),
    }
    for name, widget in parts.items():
        widget.tooltip = tool.trait(name).desc or ""
        link((tool, name), (widget, "value"))
    return parts


def _narrow(width):
    return ipywidgets.Layout(width=width)


def _labelled(tool, parts):
    """Put the names of the options before their widgets."""
    clusters = ipywidgets.HBox([parts["n_clusters"], parts["auto_clusters"]])
    names = ("cluster_by", "n_replicas", "confidence", "random_state", "vacuum")
    return [
        labelme(tool.trait("n_clusters").label, clusters),
        *(labelme(tool.trait(name).label, parts[name]) for name in names),
    ]


# --- limits ---------------------------------------------------------------------------------------


class LimitsTable:
    """Table of the limits of the clusters: empty boxes show in grey what was found.

    Parameters
    ----------
    tool : ZLPRemovalTool
    parts : dict
        Widgets by their names; those of the limits are added as ``E_I_0``, ``E_I_1``...
    """

    def __init__(self, tool, parts):
        self._tool, self._parts = tool, parts
        self.box = ipywidgets.VBox()
        self._shown = None
        self._refresh()
        tool.observe(lambda _: self._refresh(), "limits_moved, result")

    def _build(self):
        width = _narrow(_LIMIT_WIDTH)
        head = [ipywidgets.Label(text, layout=width) for text in ("Cluster", *LIMITS)]
        rows = [ipywidgets.HBox(head), *(self._row(limits, width) for limits in self._tool.limits)]
        note = ipywidgets.Label(f"{self._tool.units} from the peak; empty: from the data (grey)")
        self.box.children = (*rows, note)

    def _row(self, limits, width):
        boxes = [ipywidgets.Label(str(limits.number), layout=width)]
        for name in LIMITS:
            text = ipywidgets.Text(continuous_update=False, layout=width)
            text.observe(partial(self._typed, limits, name), "value")
            self._parts[f"{name}_{limits.number}"] = text
            boxes.append(text)
        return ipywidgets.HBox(boxes)

    def _typed(self, limits, name, change):
        """Take a limit that was typed; what is no number, or cannot be, is put back."""
        if change["new"] == _text_of(getattr(limits, name)):
            return
        try:
            value = float(change["new"]) if change["new"].strip() else np.nan
        except ValueError:
            self._put_back(f"{name}: expected a number, or nothing, got {change['new']!r}.")
            return
        try:
            setattr(limits, name, value)
        except ValueError as error:
            self._put_back(str(error))

    def _put_back(self, message):
        """Say why a limit is not taken, and show those that count."""
        self._tool.message = message
        self._refresh()

    def _refresh(self):
        """Show the limits as they are, in other rows where there are other clusters."""
        if self._shown != list(self._tool.limits):
            self._shown = list(self._tool.limits)
            self._build()
        for limits in self._tool.limits:
            for name in LIMITS:
                text = self._parts[f"{name}_{limits.number}"]
                found = limits.automatic.get(name)
                text.placeholder = "auto" if found is None else _text_of(found)
                text.value = _text_of(getattr(limits, name))


def _text_of(limit):
    """Write a limit; nothing where there is none given."""
    if np.isnan(limit):
        return ""
    return f"{limit:.{_DIGITS}g}" if np.isfinite(limit) else "none"


# --- buttons, progress, report --------------------------------------------------------------------


def _buttons(tool):
    """Make the buttons, which do what the methods of the tool do."""
    parts = {
        "run_button": ipywidgets.Button(
            description="Train and remove", button_style="primary", tooltip="Train, and remove."
        ),
        "rematch_button": ipywidgets.Button(
            description="Match anew", tooltip="Apply the limits with the ensemble that was trained."
        ),
        "cancel_button": ipywidgets.Button(description="Cancel", tooltip="End the work."),
        "close_button": ipywidgets.Button(description="Close", tooltip="Close the widgets."),
    }
    for name in ("run", "rematch", "cancel"):
        parts[f"{name}_button"].on_click(partial(_press, tool, getattr(tool, name)))
    return parts


def _press(tool, action, _):
    """Do what a button says; what cannot be done is told beside the progress."""
    try:
        action()
    except (ValueError, RuntimeError) as error:
        tool.message = str(error)


def _state(tool):
    """Make what shows progress, and the code of the result."""
    parts = {
        "progress": ipywidgets.FloatProgress(min=0, max=1),
        "message": ipywidgets.Label(),
        "line_of_code": ipywidgets.Textarea(
            disabled=True, rows=4, layout=ipywidgets.Layout(width="98%")
        ),
    }
    for name, widget in parts.items():
        widget.value = getattr(tool, name)
        tool.observe(partial(_tell, widget), name)
    return parts


def _tell(widget, event):
    """Show the new value of a trait."""
    widget.value = event.new


def _enable(tool, parts):
    """Let those buttons be pressed that can do something."""
    parts["run_button"].disabled = tool.is_running
    parts["rematch_button"].disabled = tool.is_running or tool.result is None
    parts["cancel_button"].disabled = not tool.is_running


def _show_report(tool, widget):
    if tool.result is not None:
        widget.value = tool.result.report._repr_html_()


def _laid_out(tool, parts):
    """Lay the widgets out in one box."""
    more = ipywidgets.Accordion(
        [parts["report"], parts["line_of_code"], ipywidgets.HTML(HELP)], selected_index=None
    )
    set_title_container(more, ["Report", "Code", "Help"])
    buttons = ["run_button", "rematch_button", "cancel_button", "close_button"]
    beside = ipywidgets.HBox(
        [ipywidgets.VBox(_labelled(tool, parts)), parts["limits"]],
        layout=ipywidgets.Layout(justify_content="space-between"),
    )
    lines = [
        beside,
        ipywidgets.HBox([parts[name] for name in buttons]),
        ipywidgets.HBox([parts["progress"], parts["message"]]),
        _canvas(tool, parts),
        more,
    ]
    return ipywidgets.VBox(lines)


def _canvas(tool, parts):
    """Show the figure among the widgets where it is one, else as the backend does."""
    canvas = tool.figure.canvas
    if isinstance(canvas, ipywidgets.DOMWidget):
        canvas.header_visible = False
        parts["figure"] = canvas
        return canvas
    tool.plot()
    return ipywidgets.HTML("" if canvas.required_interactive_framework else NO_CANVAS)


def _close(tool, box):
    """Close the widgets and the figure among them, and end what is going on."""
    tool.cancel()
    if isinstance(tool.figure.canvas, ipywidgets.DOMWidget):
        plt.close(tool.figure)
    box.close()
