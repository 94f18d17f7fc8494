# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a search for settings finds better ones than the defaults, says so honestly, and comes back.

Run by ``make bench-search``. Scores are predictive log scores of tails, nats per window; gains are
those of the best settings that were found over the defaults, on spectra that the search has not seen,
with the standard error of the paired difference. All but the last two parts are the same in every run.
"""

import argparse
import contextlib
import logging
import os
import tempfile
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PARTS = ("kinds", "bad", "measured", "bars", "again", "time", "workers")
KINDS = ("ws2_like", "monochromated", "thick_small_gap", "low_dose", "no_vacuum")
MEASURED = {
    "si_16x16_200kV.dm3": "silicon, 16 x 16, no vacuum",
    "lsmo_linescan_80kV.hspy": "LSMO, line of 40",
    "fecr_linescan_300kV_lowdose.dm3": "Fe/Cr oxide, line of 100, low dose",
}
#: A network that is too small, and pixels of all thicknesses together.
BAD = {"hidden_layers": (3,), "n_clusters": 1}
QUICK = {"n_evaluations": 14, "n_trainings": 2, "n_replicas": 4, "random_state": 0}


def main():
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--files", nargs="*", choices=MEASURED, default=MEASURED)
    parser.add_argument("--size", type=int, default=12, help="pixels on a side")
    parser.add_argument("--seed", type=int, default=101, help="of the images and of the searches")
    parser.add_argument("--evaluations", type=int, default=20)
    parser.add_argument("--replicas", type=int, default=6, help="networks of each training")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    import hyperspy.api as hs

    hs.preferences.General.show_progressbar = False
    for part in options.parts:
        print(f"--- {part}", flush=True)
        globals()[f"measure_{part}"](options)


def image_of(kind, options):
    """Sample image of a kind."""
    from hyperspy_zlpml.data import SAMPLE_KINDS

    return SAMPLE_KINDS[kind]((options.size, options.size), random_state=options.seed).signal


def searched(signal, options, **more):
    """Search with the options of the command line."""
    return signal.search_zlp_ml(
        n_evaluations=options.evaluations,
        n_replicas=options.replicas,
        random_state=options.seed,
        **more,
    )


def told(name, found, more=""):
    """Print what a search has found, in one line and the settings below."""
    compared = found.comparison
    verdict = found.verdict.split(" over")[0].split(" against")[0]
    # Nothing is compared where the defaults are the best.
    gain = f"{compared.gain:+8.3f} +- {compared.error:.3f}" if found.best.differences else ""
    print(
        f"{name:35} {compared.default_score:8.3f} {compared.score:8.3f} {gain:17}   {verdict}{more}"
    )
    print(f"    best: {found.best}", flush=True)


def heading(more=""):
    """Print the heads of the columns."""
    print(f"{'':35} {'defaults':>8} {'best':>8} {'gain':>8}    error   said{more}")


def measure_kinds(options):
    """Five kinds of sample images, the search begun with the defaults."""
    heading()
    for kind in options.kinds:
        told(kind, searched(image_of(kind, options), options))


def measure_bad(options):
    """The same images, the search begun with settings that are deliberately bad."""
    from hyperspy_zlpml import TrainingSettings

    start = TrainingSettings(**BAD)
    print(f"begun with {start}; n: evaluations until the score of the defaults was reached")
    heading("             score of the start   n")
    for kind in options.kinds:
        signal = image_of(kind, options)
        found = searched(signal, options, start=start)
        aim = default_score(signal, options)
        reached = [one.number + 1 for one in found.history if one.score >= aim]
        n = str(reached[0]) if reached else "-"
        told(kind, found, f"   {found.history[0].score:.3f} for {aim:.3f}   {n}")


def default_score(signal, options):
    """Score of the defaults on the spectra that settings are selected by, mean of some trainings."""
    return np.mean([one.score for one in evaluated_defaults(signal, options)])


def evaluated_defaults(signal, options, judged=False, n=3):
    """Evaluations of the defaults, by some trainings."""
    from hyperspy_zlpml import TrainingSettings
    from hyperspy_zlpml.search.evaluation import evaluate, prepare
    from hyperspy_zlpml.workflow import Options, Spectra

    energy = signal.axes_manager.signal_axes[0].axis
    asked = Options(n_replicas=options.replicas, random_state=options.seed).checked()
    prepared = prepare(Spectra(signal.data, energy), asked)
    return [evaluate(prepared, TrainingSettings(), seed, judged) for seed in range(n)]


def measure_measured(options):
    """Measured spectra, where they are there."""
    import hyperspy.api as hs

    if not DATA.is_dir():
        print("skipped, ../shared/data is not there")
        return
    heading()
    for name in options.files:
        signal, what = hs.load(DATA / name, signal_type="EELS_ZLPML"), MEASURED[name]
        told(what, searched(signal, options))


def measure_bars(options):
    """What scores of the defaults on measured spectra are made of, where these are there."""
    import hyperspy.api as hs

    if not DATA.is_dir():
        print("skipped, ../shared/data is not there")
        return
    print(
        "three trainings of the defaults; error in units of counting noise, coverage 0.68 if right"
    )
    print(f"{'':35} {'score':>8} {'error':>8} {'coverage':>9}")
    for name in options.files:
        signal, what = hs.load(DATA / name, signal_type="EELS_ZLPML"), MEASURED[name]
        scores = [one.scores for one in evaluated_defaults(signal, options, judged=True)]
        mean, error, coverage = np.mean([(s.mean, s.rms_error, s.coverage) for s in scores], 0)
        print(f"{what:35} {mean:8.3f} {error:8.2f} {coverage:9.2f}", flush=True)


def measure_again(options):
    """The same search again, interrupted and gone on with, and with two workers."""
    signal = small_image(options)
    whole = quick_search(signal)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "search.log"
        interrupted_search(signal, kept, after=4)
        gone_on = quick_search(signal, storage=kept)
    others = {
        "once more": quick_search(signal),
        "interrupted after 4, gone on": gone_on,
        "two workers": quick_search(signal, n_workers=2),
    }
    for name, other in others.items():
        same = facts_of(other) == facts_of(whole)
        print(f"{name:35} {'the same' if same else 'ANOTHER'} history of {len(whole.history)}")


def quick_search(signal, **more):
    """Search with few evaluations."""
    return signal.search_zlp_ml(**QUICK, **more)


def facts_of(found):
    """All that two runs have in common: everything but seconds."""
    history = [replace(one, seconds=0.0) for one in found.history]
    return repr((history, found.best, found.comparison, found.importance))


def interrupted_search(signal, kept, after):
    """Begin a search, and cancel it after some evaluations."""
    import hyperspy_zlpml

    def stop(title, done, total):
        if title == "Searching settings" and done >= after:
            raise hyperspy_zlpml.Cancelled

    try:
        with hyperspy_zlpml.report_progress(stop):
            quick_search(signal, storage=kept)
    except hyperspy_zlpml.Cancelled:
        pass


def small_image(options):
    """Make an image of eight times eight pixels."""

    from hyperspy_zlpml.data import ws2_like

    return ws2_like((8, 8), n_channels=512, random_state=options.seed).signal


def measure_time(options):
    """Seconds of the processor that a search by default arguments takes, of an image twice as wide and high."""
    from hyperspy_zlpml.data import ws2_like

    side = 2 * options.size
    signal = ws2_like((side, side), random_state=options.seed).signal
    quick_search(image_of("ws2_like", options))  # compiled kernels
    began = time.process_time()
    found = signal.search_zlp_ml(random_state=options.seed)
    seconds = time.process_time() - began
    print(
        f"{side} x {side} spectra, {len(found.history)} evaluations: {seconds:.0f} s of the processor"
    )


def measure_workers(options):
    """Time of one search with one worker and with two, threads and processes of dask."""
    import dask

    signal = image_of("ws2_like", options)
    print("seconds by the clock, and less those that threads waited for a core that others had")
    quick_search(signal)  # compiled kernels
    one, two = (timed(signal, options, n, [os.getpid()], n_workers=n) for n in (1, 2))
    told_ratio("threads", one, two)
    told_ratio("workers of dask", *(timed_on_workers(signal, options, n) for n in (1, 2)))
    # The first cluster has left it in the environment of this process, too.
    for place in (dask.config.get("distributed.nanny.pre-spawn-environ"), os.environ):
        place.pop("MALLOC_TRIM_THRESHOLD_", None)
    told_ratio("that keep memory", *(timed_on_workers(signal, options, n) for n in (1, 2)))
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")


def timed_on_workers(signal, options, n):
    """Seconds of a search by ``n`` workers of dask, each a process."""
    import dask
    from distributed import Client

    processes = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with Client(n_workers=n, **processes) as client, dask.config.set(scheduler=None):
        quick_search(signal)  # processes import what they need
        workers = list(client.run(os.getpid).values())
        return timed(signal, options, n, [os.getpid(), *workers])


def timed(signal, options, n, processes, **more):
    """Seconds of a search by ``n`` workers, and what they would be on as many cores of their own."""
    began = time.perf_counter()
    with Waits(processes) as waits:
        searched(signal, options, **more)
    seconds = time.perf_counter() - began
    # The workers share the waiting: none has much to do while another waits.
    return seconds, seconds - waits.seconds / n


def told_ratio(name, one, two):
    """Print how many times longer one run took than another, by the clock and by the processor."""
    clock, own = (a / b for a, b in zip(one, two, strict=True))
    print(
        f"{name:20} {one[0]:6.1f} -> {two[0]:6.1f} s: {clock:.2f} x;"
        f"   {one[1]:6.1f} -> {two[1]:6.1f} s: {own:.2f} x",
        flush=True,
    )


class Waits:
    """Seconds that the threads of some processes waited for a core, as Linux counts them."""

    def __init__(self, processes):
        self._folders = [Path(f"/proc/{process}/task") for process in processes]
        self._before = self._found()
        self._latest = dict(self._before)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._latest.update(self._found())
        self._is_over.set()
        self._thread.join()

    @property
    def seconds(self):
        """Of all threads, those that have ended too."""
        return sum(n - self._before.get(name, 0) for name, n in self._latest.items()) / 1e9

    def _follow(self):
        while not self._is_over.wait(0.02):
            self._latest.update(self._found())

    def _found(self):
        """Nanoseconds of waiting of the threads that there are, by their files."""
        found = {}
        for file in (file for folder in self._folders for file in folder.glob("*/schedstat")):
            with contextlib.suppress(OSError):  # it has just ended
                found[file] = int(file.read_text().split()[1])
        return found


if __name__ == "__main__":
    main()
