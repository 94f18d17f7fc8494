# SPDX-License-Identifier: GPL-3.0-or-later
"""Time of the compiled functions against copying what is written, and of compiling them.

Both sides of every ratio are measured in one run, by as many threads; medians. Copied are the data and
as many arrays as results are made, into memory that is there already on both sides.
"""

import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
from speed import copies, image, quiet, say, timed

#: Results that are asked for, and how many times the copies they may take.
ASKED = {
    ("subtracted", "variance"): 15,
    ("subtracted", "zlp", "std", "lower", "upper", "variance"): 10,
}
#: How many times three copies a whole call may take that asks for `subtracted`.
WHOLE_CALL = 40
#: Compiled functions that are called from Python.
KERNELS = (
    "collect_groups",
    "match_spectra",
    "doubt_peaks",
    "evaluate_groups",
    "evaluate_channels",
    "weighted_sums",
)


def main():
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128, help="pixels along a side")
    parser.add_argument("--channels", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--first", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    quiet()
    if options.first:
        say(f"{first_calls():.2f}")
        return
    measure_compiling()
    measure_application(options.size, options.channels, options.repeats)


def measure_compiling():
    """Seconds of the first calls in a process, where nothing was compiled before and where it was."""
    command = [sys.executable, __file__, "--first"]
    with tempfile.TemporaryDirectory() as folder:
        for name, goal in (("first call ever", 15), ("a later process", 0.5)):
            environment = os.environ | {"NUMBA_CACHE_DIR": folder}
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env=environment
            )
            say(f"compiling, {name}: {done.stdout.split()[-1]} s (goal {goal})")


def first_calls():
    """Seconds of the first calls of all compiled functions, with single precision counts."""
    from hyperspy_zlpml.zlp import kernels

    seconds = {}

    def stopwatch(name):
        function = getattr(kernels, name)

        def call(*args, **kwargs):
            result, took = timed(lambda: function(*args, **kwargs))
            seconds.setdefault(name, took)
            return result

        return call

    for name in KERNELS:
        setattr(kernels, name, stopwatch(name))
    signal = image((8, 8), 512, dtype="float32").signal
    signal.remove_zlp_ml(n_replicas=2, n_clusters=1, random_state=0).compute("subtracted")
    return sum(seconds[name] for name in KERNELS)


def measure_application(size, n_channels, repeats):
    """Posterior and results, and a whole call, against copies."""
    signal = image((size, size), n_channels, dtype="float32").signal
    ensemble = image((48, 48), n_channels).signal.train_zlp_ml(n_replicas=20, random_state=0)
    owned = [np.ones_like(signal.data) for _ in range(7)]
    work = application(signal, ensemble, owned)
    rows = {name: [] for name in ("match", "call", *ASKED, *(len(names) for names in ASKED))}
    for _ in range(repeats + 1):
        rows["match"].append(timed(lambda: work(()))[1])
        for names in ASKED:
            of_names = owned[: len(names) + 1]
            rows[len(names)].append(
                timed(lambda of_names=of_names: copies(signal.data, of_names))[1]
            )
            rows[names].append(timed(lambda names=names: work(names))[1])
        rows["call"].append(timed(lambda: whole_call(signal, ensemble))[1])
    median = {name: float(np.median(values[1:])) for name, values in rows.items()}
    say(f"{size} x {size} x {n_channels} float32, posterior alone: {median['match']:.3f} s")
    for names, goal in ASKED.items():
        copy = median[len(names)]
        say(f"posterior and {', '.join(names)}: {median[names]:.3f} s, {len(names) + 1} copies "
            f"{copy:.4f} s, ratio {median[names] / copy:.1f} (goal {goal})")  # fmt: skip
    copy = median[2]
    say(f"whole call with a given ensemble, subtracted: {median['call']:.2f} s, 3 copies "
        f"{copy:.4f} s, ratio {median['call'] / copy:.0f} (goal {WHOLE_CALL})")  # fmt: skip


def whole_call(signal, ensemble):
    """Remove the ZLP with a given ensemble, and ask for what is left."""
    return signal.remove_zlp_ml(ensemble=ensemble).compute("subtracted")


def application(signal, ensemble, owned):
    """A function that makes posterior and results of all spectra, in memory that is there."""
    from hyperspy_zlpml.compute import one_blas_thread
    from hyperspy_zlpml.compute.blocks import run_in_threads

    applied = signal.remove_zlp_ml(ensemble=ensemble)._application
    peaks, subtraction = applied.peaks, applied.subtraction
    spectra = signal.data.reshape(-1, signal.data.shape[-1])
    flat = [result.reshape(spectra.shape) for result in owned]

    def work(names):
        def on_rows(rows):
            posterior = subtraction.posterior(spectra[rows], peaks.select(rows))
            if names:
                out = [result[rows] for result in flat[: len(names)]]
                subtraction.evaluate(names, posterior, spectra[rows], out=out)

        with one_blas_thread:
            run_in_threads(on_rows, len(spectra), show_progressbar=False, title="")

    return work


if __name__ == "__main__":
    main()
