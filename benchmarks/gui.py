# SPDX-License-Identifier: GPL-3.0-or-later
"""Print how fast figures and the tool answer, and what they leave behind; ``make bench-gui``.

Each figure is of one process, without a display unless ``--backend qtagg`` is asked for: seconds from an event of the
mouse to the drawn canvas, from ``cancel()`` to the end of the work, and of a step of the navigator beside HyperSpy's own
plot of the same signal. Times of the processor do not count what other work takes. With ``--backend widget`` the canvas is
that of notebooks, and a browser is played: it asks for a drawing when it is told that there is something new, and a time
ends with the picture, as PNG, that is sent to it.
"""

import argparse
import contextlib
import io
import statistics
import subprocess
import sys
import time
import warnings

import hyperspy.api as hs
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backend_bases import MouseButton, MouseEvent

from hyperspy_zlpml.data import ws2_like
from hyperspy_zlpml.signals.tools import ZLPRemovalTool

#: What is printed.
PARTS = ("drags", "cancels", "steps", "followers", "imports")
#: Backends of matplotlib that have a longer name.
BACKENDS = {"widget": "module://ipympl.backend_nbagg"}
#: Places that a limit is dragged to, of which the median is told.
DRAGS = 15
#: Steps of the navigator, of which the median is told.
STEPS = 20
#: Times that training is cancelled.
CANCELS = 3
#: Pixels that are stepped through once all figures are closed.
PASSES = 256
#: Fresh processes that import, of which the median is told.
IMPORTS = 5
#: Packages that bring windows or widgets.
TOOLKITS = ("PySide6", "PyQt5", "PyQt6", "ipywidgets", "traitsui", "pyface", "ipympl", "torch")


def main():
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=48, help="pixels along a side of the image")
    parser.add_argument("--backend", default="agg", help="of matplotlib: agg, widget or qtagg")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    matplotlib.use(BACKENDS.get(options.backend, options.backend))
    hs.preferences.General.show_progressbar = False
    signal = ws2_like((options.side, options.side), random_state=7001).signal
    result = signal.remove_zlp_ml(n_replicas=20, random_state=0)
    print(f"backend {options.backend}, {signal}")
    parts = {
        "drags": lambda: report_drags(signal, result),
        "cancels": lambda: report_cancels(signal),
        "steps": lambda: report_steps(result),
        "followers": lambda: report_followers(signal, result),
        "imports": report_imports,
    }
    for part in options.parts:
        parts[part]()


class Stopwatch:
    """Seconds on the wall, and of the processor, within a ``with``."""

    def __enter__(self):
        self._begin = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        end = time.perf_counter(), time.process_time()
        self.wall, self.processor = (b - a for a, b in zip(self._begin, end, strict=True))


def said(times):
    """Median and longest of some times, in words.

    Parameters
    ----------
    times : list of Stopwatch

    Returns
    -------
    str
    """
    wall, processor = ([getattr(one, name) for one in times] for name in ("wall", "processor"))
    return (
        f"median {statistics.median(wall):.3f} s, longest {max(wall):.3f} s "
        f"(of the processor {statistics.median(processor):.3f} s)"
    )


def report_drags(signal, result):
    """Drag ``E_I`` by events of the mouse, and draw."""
    tool = ZLPRemovalTool(signal, result)
    axes, *_ = tool.plot()
    canvas = axes.figure.canvas
    canvas.draw()
    browser = Browser(canvas)
    (pixel,) = axes.zlpml_pixels
    begin = pixel.limits.current("E_I")
    send(canvas, "button_press_event", axes, begin)
    browser.draw()
    times, pictures = [], []
    for energy in begin - np.linspace(0.02, 0.3, DRAGS):
        with Stopwatch() as one:
            send(canvas, "motion_notify_event", axes, energy)
            browser.draw()
        times.append(one)
        pictures.append(browser.picture)
    send(canvas, "button_release_event", axes, energy)
    moved, n_new = begin - pixel.limits.E_I, len(set(pictures))
    plt.close("all")
    print(
        f"drag of E_I to the new curve: {said(times)}; dragged by {moved:.2f} eV, {n_new} pictures of "
        f"{DRAGS} differ; goal 0.5 s"
    )


class Browser:
    """What shows a canvas: in a notebook a browser is told of news, and asks for a picture.

    Parameters
    ----------
    canvas : FigureCanvasBase
    """

    def __init__(self, canvas):
        self._canvas, self._is_news, self._sent = canvas, False, b""
        self._is_notebook = hasattr(canvas.manager, "web_sockets")
        if self._is_notebook:
            canvas.manager.web_sockets.append(self)
            # The canvas then keeps no picture of its own for pages without a kernel.
            canvas._handle_message(canvas, {"type": "initialized"}, [])

    def send_json(self, content):
        """Be told of something."""
        self._is_news |= content["type"] == "draw"

    def send_binary(self, picture):
        """Be sent a picture."""
        self._sent = picture

    def draw(self, anew=False):
        """Ask for a picture where there are news; elsewhere draw what was put off, or all anew."""
        if self._is_notebook and self._is_news:
            self._is_news = False
            self._canvas.manager.handle_json({"type": "draw"})
        elif not self._is_notebook:
            self._canvas.draw() if anew else self._canvas.flush_events()

    @property
    def picture(self):
        """What is shown (bytes)."""
        return self._sent or bytes(self._canvas.buffer_rgba())


def send(canvas, name, axes, energy):
    """Let the mouse do something at an energy."""
    x, y = axes.transData.transform((energy, np.sqrt(np.prod(axes.get_ylim()))))
    button = MouseButton.LEFT if name != "motion_notify_event" else None
    canvas.callbacks.process(name, MouseEvent(name, canvas, x, y, button))


def report_cancels(signal):
    """Cancel training at several points, and train once more."""
    arguments = {"n_clusters": 3, "n_replicas": 20, "random_state": 0}
    first = signal.remove_zlp_ml(**arguments)
    tool = ZLPRemovalTool(signal, **arguments)
    times = []
    for _ in range(CANCELS):
        tool.n_replicas = 1000
        tool.run()
        while not (tool.message == "Training networks" and tool.progress > 0):
            time.sleep(0.01)
        with Stopwatch() as one:
            tool.cancel()
            tool.wait()
        times.append(one)
        ended = tool.message
    tool.n_replicas = 20
    tool.run()
    same = np.array_equal(tool.wait().zlp.data, first.zlp.data)
    print(
        f"cancel during training ({ended}): {said(times)}; the next run is the same: {same}; goal 1 s"
    )


def report_steps(result):
    """Step the navigator with our figure open, and with HyperSpy's own plot of the same signal."""
    manager = result.subtracted.axes_manager
    row = result.subtracted.axes_manager.navigation_shape[1] // 2
    places = [(x, row) for x in range(1, STEPS + 1)]

    def stepped():
        times = []
        browsers = [Browser(plt.figure(number).canvas) for number in plt.get_fignums()]
        for place in places:
            with Stopwatch() as one:
                manager.indices = place
                for browser in browsers:
                    browser.draw(anew=True)
            times.append(one)
        return times

    ours = theirs = None
    for _ in range(2):  # the second time, once everything is warm
        result.plot()
        ours = stepped()
        plt.close("all")
        with contextlib.redirect_stdout(
            io.StringIO()
        ):  # outside of notebooks widgets are shown as text
            result.subtracted.plot()
        theirs = stepped()
        plt.close("all")
    ratio = statistics.median([one.processor for one in ours]) / statistics.median(
        [one.processor for one in theirs]
    )
    print(f"step of the navigator, r.plot(): {said(ours)}")
    print(f"step of the navigator, HyperSpy's plot: {said(theirs)}; ratio {ratio:.2f}; goal 1.5")


def report_followers(signal, result):
    """Count what is connected, and step through pixels, before any figure and after all are closed."""
    managers = [one.axes_manager for one in (signal, result.subtracted, result.zlp)]

    def passed():
        with Stopwatch() as one:
            for _, __ in zip(result.subtracted, range(PASSES), strict=False):
                pass
        return one.processor

    signal.axes_manager.indices = (0, 0)  # canvases of notebooks tell at the next step only
    before = min(passed() for _ in range(3))
    for _ in range(3):
        result.plot()
    plt.close("all")
    signal.axes_manager.indices = (1, 1)
    left = sum(is_ours(one) for m in managers for one in m.events.indices_changed.connected)
    after = min(passed() for _ in range(3))
    print(
        f"followers left after close: {left}; {PASSES} pixels: "
        f"{after / before:.2f} times as long as before any figure; goals 0, 1.1"
    )


def is_ours(function):
    """Tell whether a function that a navigator calls belongs to this package."""
    return getattr(function, "__module__", "").startswith("hyperspy_zlpml")


def report_imports():
    """Import HyperSpy with this extension and without, in fresh processes."""
    with_ours, without = [], []
    code = "import time; t = time.process_time(); {}import hyperspy.api; print(time.process_time() - t)"
    # HyperSpy looks for extensions by their entry points; this one is left out.
    hide = (
        "import importlib.metadata as m; f = m.entry_points; "
        "m.entry_points = lambda **k: [e for e in f(**k) if e.name != 'hyperspy_zlpml']; "
    )
    for _ in range(IMPORTS):
        with_ours.append(float(output_of(code.format(""))))
        without.append(float(output_of(code.format(hide))))
    extra = 1e3 * (statistics.median(with_ours) - statistics.median(without))
    loaded = output_of(
        f"import sys, hyperspy.api; print(*[n for n in {TOOLKITS} if n in sys.modules] or ['none'])"
    )
    print(
        f"import hyperspy.api: {extra:+.0f} ms with this extension; toolkits loaded: {loaded}; goal 20 ms"
    )


def output_of(code):
    """Last line that a fresh Python prints."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    main()
