# SPDX-License-Identifier: GPL-3.0-or-later
"""Every argument of every public function with values of all kinds, and what came of each call.

A value must be refused at once, by an error of ours that names the argument, or taken because it is
right. Errors from inside, values taken in silence that cannot mean anything, and calls that do not
come back fail. The table of arguments is ``tests/argument_table.py``.
"""

import argparse
import faulthandler
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import numpy as np  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from argument_table import MOST_SECONDS, OUTCOMES, Scene, calls, cases, outcome_of  # noqa: E402

#: Outcomes that may not be.
WRONG = ("from inside", "silent and wrong", "hang")
N_SHOWN = 40


def main():
    """Print the counts; 1 if anything is not as it must be."""
    options = arguments()
    start = time.perf_counter()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        every = calls(cases(Scene.make(folder)), rng)
        chosen = rng.permutation(len(every))[: options.calls]
        found = [tried(*every[number], start, options.seconds) for number in sorted(chosen)]
    found = [one for one in found if one is not None]
    show(found, options.all)
    print(f"{len(every)} calls there are, seed {options.seed}, "
          f"{time.perf_counter() - start:.0f} s")  # fmt: skip
    passed = not any(outcome in WRONG for outcome, *_ in found)
    print("passed" if passed else "FAILED")
    return int(not passed)


def arguments():
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=4000, help="calls, chosen at random")
    parser.add_argument("--seconds", type=float, default=600, help="time after which none is tried")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true", help="show all that went wrong")
    return parser.parse_args()


def tried(called, argument, name, value, start, seconds):
    """Outcome of one call and its words; None where the time is up."""
    if time.perf_counter() - start > seconds:
        return None
    # What no alarm interrupts ends the run, with the place where it hangs.
    faulthandler.dump_traceback_later(4 * MOST_SECONDS, exit=True)
    outcome, told = outcome_of(called, argument, value)
    faulthandler.cancel_dump_traceback_later()
    return outcome, called.name, argument, name, told


def show(found, show_all):
    """Print counts, and what went wrong."""
    counts = Counter(outcome for outcome, *_ in found)
    print(f"{len(found):6d}  calls")
    for outcome in OUTCOMES:
        print(f"{counts[outcome]:6d}  {outcome}")
    wrong = [one for one in found if one[0] in WRONG]
    for outcome, called, argument, name, told in wrong if show_all else wrong[:N_SHOWN]:
        print(f"  {outcome}: {called}({argument}={name}) {told}")


if __name__ == "__main__":
    sys.exit(main())
