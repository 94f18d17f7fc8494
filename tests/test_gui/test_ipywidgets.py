# SPDX-License-Identifier: GPL-3.0-or-later
"""Widgets for notebooks: what is set in them reaches the tool, what the tool finds is shown."""

import asyncio

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import assert_same_results

from hyperspy_zlpml.data import ws2_like

ipywidgets = pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
pytest.importorskip("hyperspy_gui_ipywidgets", reason="hyperspy_gui_ipywidgets is not installed")

FEW = {"n_clusters": 2, "n_replicas": 4, "random_state": 0}
OPEN = {"toolkit": "ipywidgets", "display": False}


@pytest.fixture(scope="module")
def signal():
    return ws2_like((4, 3), n_channels=512, offset=-2.0, random_state=2).signal


@pytest.fixture(scope="module")
def trained(signal):
    return signal.remove_zlp_ml(show_progressbar=False, **FEW)


@pytest.fixture
def opened(trained):
    """Window of a result: its parts, and its tool."""
    found = trained.gui(**OPEN)["ipywidgets"]
    return found["wdict"], found["tool"]


def press(parts, name):
    button = parts[f"{name}_button"]
    button._click_handlers(button)


def test_a_removal_by_widgets_is_the_method(signal, trained):
    found = signal.remove_zlp_ml(interactive=True, n_replicas=9, **OPEN)["ipywidgets"]
    parts, tool = found["wdict"], found["tool"]
    assert parts["n_replicas"].value == 9
    for name, value in FEW.items():
        parts[name].value = value
    press(parts, "run")
    assert (parts["run_button"].disabled, parts["cancel_button"].disabled) == (True, False)
    assert_same_results(tool.wait(), trained)
    assert parts["line_of_code"].value == tool.line_of_code
    assert parts["message"].value == "Done."
    assert "check" in parts["report"].value
    assert (parts["run_button"].disabled, parts["cancel_button"].disabled) == (False, True)


def test_limits_are_typed_and_matched_anew(opened):
    parts, tool = opened
    found = tool.limits[0].automatic["E_I"]
    assert parts["E_I_0"].placeholder == f"{found:.4g}"
    assert parts["E_I_0"].value == ""
    parts["E_I_1"].value = "1.1"
    assert tool.regions == {"E_I": [found, 1.1]}
    press(parts, "rematch")
    assert tool.wait().report.clusters[1].E_I == 1.1
    parts["E_I_1"].value = ""
    assert tool.regions is None


def test_dragged_limits_are_shown_with_all_their_digits_kept(opened):
    parts, tool = opened
    tool.limits[0].E_I = 1.23456789
    assert parts["E_I_0"].value == "1.235"
    assert tool.limits[0].E_I == 1.23456789


def test_what_is_no_number_is_put_back(opened):
    parts, tool = opened
    parts["E_I_0"].value = "1.1"
    parts["E_I_0"].value = "wide"
    assert (parts["E_I_0"].value, tool.limits[0].E_I) == ("1.1", 1.1)
    assert parts["message"].value.startswith("E_I: expected a number")
    parts["E_I_0"].value = "-3"
    assert (parts["E_I_0"].value, tool.limits[0].E_I) == ("1.1", 1.1)
    assert "expected E_I to be positive" in parts["message"].value


def test_rows_follow_the_number_of_clusters(opened):
    parts, tool = opened
    parts["n_clusters"].value = 3
    parts["E_I_2"].value = "1.3"
    assert tool.limits[2].E_I == 1.3
    parts["auto_clusters"].value = True
    assert not tool.limits


def test_errors_are_shown(signal):
    found = signal.remove_zlp_ml(interactive=True, **FEW, **OPEN)["ipywidgets"]
    parts = found["wdict"]
    assert parts["rematch_button"].disabled
    press(parts, "rematch")
    assert "run first" in parts["message"].value
    parts["E_I_0"].value = "1.1"
    press(parts, "run")
    assert "expected a limit for every cluster" in parts["message"].value


def test_close_cancels(opened):
    parts, tool = opened
    parts["n_replicas"].value = 400
    press(parts, "run")
    before = tool.result
    press(parts, "close")
    assert tool.wait(60) is before


def test_the_loop_of_a_notebook_sees_to_the_end(trained):
    """Nobody waits: the loop that runs while the work is done is told of its end."""

    async def session():
        tool = trained.gui(**OPEN)["ipywidgets"]["tool"]
        tool.limits[0].E_I = tool.limits[1].E_I = 1.1
        tool.rematch()
        while tool.is_running:
            await asyncio.sleep(0.02)
        return tool

    tool = asyncio.run(asyncio.wait_for(session(), 60))
    assert tool.message == "Done."
    assert tool.result.report.clusters[0].E_I == 1.1


def test_opening_changes_no_option(signal):
    given = {"confidence": 0.995, "random_state": 2**62 + 1, "n_replicas": 10_000, "n_clusters": 50}
    tool = signal.remove_zlp_ml(interactive=True, **given, **OPEN)["ipywidgets"]["tool"]
    assert {name: tool.arguments[name] for name in given} == given


def test_choices_and_tooltips(signal):
    thickness = np.arange(12.0).reshape(3, 4)
    found = signal.remove_zlp_ml(interactive=True, cluster_by=thickness, **OPEN)["ipywidgets"]
    parts = found["wdict"]
    assert parts["cluster_by"].value == "given"
    assert "mask" in parts["vacuum"].options
    assert parts["confidence"].tooltip


def test_the_tool_is_returned_where_the_window_is_shown(signal, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    tool = signal.remove_zlp_ml(interactive=True, toolkit="ipywidgets")
    assert type(tool).__name__ == "ZLPRemovalTool"
    assert isinstance(shown[0], ipywidgets.VBox)


def test_a_toolkit_that_there_is_none_of(signal):
    with pytest.raises(ValueError, match="abacus is not a registered toolkit"):
        signal.remove_zlp_ml(interactive=True, toolkit="abacus")


def test_every_toolkey_has_its_widgets():
    from hyperspy.ui_registry import UI_REGISTRY

    import hyperspy_zlpml.signals.tools as tools

    assert hs.signals  # HyperSpy has read its extensions
    named = UI_REGISTRY[tools.TOOLKEY]["ipywidgets"]
    module = __import__(named["module"], fromlist=["_"])
    assert callable(getattr(module, named["function"]))
