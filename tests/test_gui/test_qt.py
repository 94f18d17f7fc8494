# SPDX-License-Identifier: GPL-3.0-or-later
"""Window of Qt on a display: it stays open, the loop goes on while the work is done, and cancels it."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

if not os.environ.get("DISPLAY"):
    pytest.skip("there is no display (run by xvfb-run)", allow_module_level=True)
if not (find_spec("hyperspy_gui_traitsui") and find_spec("PySide6")):
    pytest.skip("hyperspy_gui_traitsui and PySide6 are not installed", allow_module_level=True)

SESSION = """
import gc, time
import matplotlib
matplotlib.use("qtagg")
import hyperspy_zlpml.data
from PySide6.QtWidgets import QApplication

s = hyperspy_zlpml.data.ws2_like((4, 4), n_channels=512, random_state=7001).signal
first = s.remove_zlp_ml(n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False)
tool = s.remove_zlp_ml(interactive=True, toolkit="traitsui", n_clusters=2, n_replicas=800, random_state=0)
app = QApplication.instance()


def spin(done, longest=60):
    end, worst = time.time() + longest, 0
    while not done() and time.time() < end:
        begin = time.time()
        app.processEvents()
        worst = max(worst, time.time() - begin)
        time.sleep(0.01)
    return worst


spin(lambda: False, 1)
gc.collect()
windows = sorted(type(one).__name__ for one in app.topLevelWidgets() if one.isVisible())
tool.run()
gap = spin(lambda: tool.message == "Training networks" and tool.progress > 0)
tool.cancel()
spin(lambda: not tool.is_running)
cancelled = tool.message.startswith("Cancelled")
tool.n_replicas = 4
tool.run()
spin(lambda: not tool.is_running)
same = bool((tool.result.zlp.data == first.zlp.data).all())
tool.window.dispose()
print(windows, gap < 2, cancelled, same)
"""


def test_a_session_on_a_display():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SESSION], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "['MainWindow', '_StickyDialog'] True True True"
