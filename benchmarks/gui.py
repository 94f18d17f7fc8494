# SPDX-License-Identifier: GPL-3.0-or-later
"""Print how fast figures and the tool answer, and what they leave behind; ``make bench-gui``.

Each figure is of one process, without a display unless ``--backend qtagg`` is asked for: seconds from an event of the
mouse to the drawn canvas, from ``cancel()`` to the end of the work, and of a step of the navigator beside HyperSpy's own
plot of the same signal. Times of the processor do not count what other work takes.
"""

import argparse
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
    parser.add_argument("--backend", default="agg", help="of matplotlib; qtagg needs a display")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    matplotlib.use(options.backend)
    hs.preferences.General.show_progressbar = False
    signal = ws2_like((options.side, options.side), random_state=7001).signal
    result = signal.remove_zlp_ml(n_replicas=20, random_state=0)
    print(f"backend {options.backend}, {signal}")
    report_drags(signal, result)
    report_cancels(signal)
    report_steps(result)
    report_followers(signal, result)
    report_imports()


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
    pixel = tool.figure.zlpml_pixel
    begin = pixel.limits.current("E_I")
    send(canvas, "button_press_event", axes, begin)
    times = []
    for energy in begin - np.linspace(0.02, 0.3, DRAGS):
        # Here agg draws at once, where canvases of windows wait until nothing else is to do.
        with Stopwatch() as one:
            send(canvas, "motion_notify_event", axes, energy)
        times.append(one)
    send(canvas, "button_release_event", axes, energy)
    moved = begin - pixel.limits.E_I
    plt.close("all")
    print(f"drag of E_I to the new curve: {said(times)}; dragged by {moved:.2f} eV; goal 0.5 s")


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
        for place in places:
            with Stopwatch() as one:
                manager.indices = place
                for number in plt.get_fignums():
                    plt.figure(number).canvas.draw()
            times.append(one)
        return times

    ours = theirs = None
    for _ in range(2):  # the second time, once everything is warm
        result.plot()
        ours = stepped()
        plt.close("all")
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
