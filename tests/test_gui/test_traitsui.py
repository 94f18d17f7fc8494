# SPDX-License-Identifier: GPL-3.0-or-later
"""Window for Qt: made without a display too; its buttons do what the methods of the tool do."""

import subprocess
import sys

import numpy as np
import pytest
from hyperspy.ui_registry import UI_REGISTRY

from hyperspy_zlpml.data import ws2_like
from hyperspy_zlpml.signals.tools import TOOLKEY

pytest.importorskip("hyperspy_gui_traitsui", reason="hyperspy_gui_traitsui is not installed")

FEW = {"n_clusters": 2, "n_replicas": 4, "random_state": 0}
OPEN = {"toolkit": "traitsui", "display": False}


@pytest.fixture(scope="module")
def signal():
    return ws2_like((4, 3), n_channels=512, offset=-2.0, random_state=2).signal


@pytest.fixture(scope="module")
def window(signal):
    """Window of a tool that has run by its button."""
    window = signal.remove_zlp_ml(interactive=True, **FEW, **OPEN)["traitsui"]
    window.run = True
    window.tool.wait()
    return window


def test_run_by_button(window):
    assert window.tool.line_of_code.startswith("r = s.remove_zlp_ml(")
    assert window.report == str(window.tool.result.report)
    assert "<" not in window.help


def test_match_anew_by_button(window):
    for row in window.tool.limits:
        row.E_I = 1.1
    window.rematch = True
    assert window.tool.wait().report.clusters[1].E_I == 1.1
    for row in window.tool.limits:
        row.E_I = np.nan


def test_cancel_by_button(window):
    before = window.tool.result
    window.tool.n_replicas = 400
    window.run = True
    window.cancel = True
    assert window.tool.wait(60) is before


def test_errors_are_shown(signal):
    window = signal.remove_zlp_ml(interactive=True, **FEW, **OPEN)["traitsui"]
    window.rematch = True
    assert "run first" in window.tool.message


def test_limits_are_written_and_read():
    from hyperspy_zlpml.gui import traitsui
    from hyperspy_zlpml.signals.tools import ClusterLimits

    limits = ClusterLimits(number=0, automatic={"E_I": 1.5, "gain_limit": -np.inf})
    column = traitsui.LimitColumn(name="E_I")
    assert column.get_value(limits) == "(1.5)"
    limits.E_I = traitsui._limit_of("1.2")
    assert column.get_value(limits) == "1.2"
    assert np.isnan(traitsui._limit_of(""))
    assert np.isnan(traitsui._limit_of("(1.5)"))
    assert traitsui.LimitColumn(name="gain_limit").get_value(limits) == "(none)"


def test_every_toolkey_has_its_window():
    named = UI_REGISTRY[TOOLKEY]["traitsui"]
    module = __import__(named["module"], fromlist=["_"])
    assert callable(getattr(module, named["function"]))


def test_no_display_is_no_abort(signal, tmp_path):
    """The order of imports decides: the other way round Qt ends the process."""
    code = (
        "import hyperspy_zlpml.data\n"
        "s = hyperspy_zlpml.data.ws2_like((3, 3), n_channels=512, random_state=0).signal\n"
        "found = s.remove_zlp_ml(interactive=True, toolkit='traitsui', display=False)\n"
        "print(type(found['traitsui']).__name__)\n"
    )
    environment = {"MPLBACKEND": "agg", "PATH": "", "HOME": str(tmp_path)}
    environment["PYTHONPATH"] = ":".join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["RemovalWindow"]
