# SPDX-License-Identifier: GPL-3.0-or-later
"""Tool in a browser: JupyterLab is started, lines are dragged, training is cancelled and repeated.

Runs where ``ZLPML_BROWSER`` names a Chromium; pictures are left in the folder ``ZLPML_PICTURES``.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

BROWSER = os.environ.get("ZLPML_BROWSER", "")
if not BROWSER:
    pytest.skip("ZLPML_BROWSER names no browser", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
pytest.importorskip("hyperspy_gui_ipywidgets", reason="hyperspy_gui_ipywidgets is not installed")

#: Cells of the notebook.
CELLS = [
    "%matplotlib widget\n"
    "import warnings; warnings.simplefilter('ignore')\n"
    "import hyperspy_zlpml.data\n"
    "s = hyperspy_zlpml.data.ws2_like((8, 8), n_channels=512, random_state=7001).signal",
    "tool = s.remove_zlp_ml(\n"
    "    interactive=True, n_clusters=3, n_replicas=300, random_state=0, toolkit='ipywidgets'\n"
    ")",
    "print('state', tool.message, tool.regions, tool.result)",
    "print('code', tool.line_of_code)",
    "tool.result",
]
#: Longest time to wait for anything, ms.
PATIENCE = 120_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """JupyterLab with the notebook: its address."""
    folder = tmp_path_factory.mktemp("lab")
    cells = [
        {
            "cell_type": "code",
            "id": f"c{n}",
            "metadata": {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for n, source in enumerate(CELLS)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "tool.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ip=127.0.0.1",
        "--IdentityProvider.token=",
        "--LabApp.news_url=None",
        f"--ServerApp.root_dir={folder}",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            wait_for(address)
            yield address
        finally:
            process.terminate()


def wait_for(address):
    for _ in range(120):
        try:
            with urlopen(f"{address}/api"):
                return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(address)


@pytest.fixture(scope="module")
def page(server):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 2600})
        page.set_default_timeout(PATIENCE)
        page.goto(f"{server}/lab/workspaces/zlpml/tree/tool.ipynb?reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.get_by_text("| Idle").first.wait_for()
        yield page
        picture(page, "9_last")
        browser.close()


def picture(page, name):
    folder = os.environ.get("ZLPML_PICTURES")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def run_cell(page, number, done=True):
    """Run a cell, and return what it printed."""
    cell = page.locator(".jp-Notebook .jp-Cell").nth(number)
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    if done:
        page.wait_for_timeout(300)
        page.wait_for_function(
            "n => !document.querySelectorAll('.jp-Notebook .jp-Cell')[n]"
            ".querySelector('.jp-InputPrompt').textContent.includes('*')",
            arg=number,
        )
        page.wait_for_timeout(300)
    return "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts())


def button(page, text):
    return page.get_by_role("button", name=text, exact=True)


def message_is(page, text):
    page.wait_for_function(
        "text => [...document.querySelectorAll('.widget-label')]"
        ".some(one => one.textContent.startsWith(text))",
        arg=text,
    )


def drag(page, begin, end):
    """Drag with the mouse between two places of the figure, in parts of its canvas."""
    box = page.locator(".jupyter-matplotlib-canvas-container canvas").last.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (begin, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    for step in range(1, 9):
        part = step / 8
        page.mouse.move(*(a + part * (b - a) for a, b in zip(*places, strict=True)))
        page.wait_for_timeout(80)
    page.mouse.up()
    page.wait_for_timeout(1500)


def place_of_limit(page):
    """Where the line of E_I is in the figure, in parts of its canvas, and E_I."""
    source = (
        "p = tool._figure._pixel; e = p.limits.current('E_I'); a = p.panels[1]\n"
        "x, y = tool.figure.transFigure.inverted().transform("
        "a.transData.transform((e, sum(a.get_ylim()) / 2)))\n"
        "print('place', x, 1 - y, e)"
    )
    cell = page.locator(".jp-Notebook .jp-Cell").nth(2)
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(source)
    said = run_cell(page, 2)
    return [float(word) for word in said.split("place")[1].split()[:3]]


def test_train_cancel_train_drag_and_match(page):
    for number in (0, 1):
        run_cell(page, number)
    page.wait_for_selector(".jupyter-matplotlib-canvas-container canvas")
    picture(page, "1_opened")

    button(page, "Train and remove").click()
    message_is(page, "Training networks")
    picture(page, "2_training")
    # The kernel answers meanwhile.
    assert "state Training networks None None" in run_cell(page, 2)
    button(page, "Cancel").click()
    message_is(page, "Cancelled")

    replicas = page.locator("input[type=number]").nth(1)
    replicas.fill("20")
    replicas.press("Enter")
    button(page, "Train and remove").click()
    message_is(page, "Done.")
    page.wait_for_timeout(3000)
    picture(page, "3_trained")

    x, y, before = place_of_limit(page)
    drag(page, (x, y), (x - 0.02, y))
    picture(page, "4_dragged")
    picture(page.locator(".jp-OutputArea").nth(1), "window")
    _, _, after = place_of_limit(page)
    assert after < before - 0.05

    button(page, "Match anew").click()
    message_is(page, "Done.")
    page.wait_for_timeout(3000)
    picture(page, "5_matched")
    said = run_cell(page, 3)
    assert "n_replicas=20" in said
    assert f"{after}" in said
    assert "check" in run_cell(page, 4)
    picture(page, "6_result")
