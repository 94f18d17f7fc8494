# SPDX-License-Identifier: GPL-3.0-or-later
"""Saves of results that are killed, fail or meet a full or read-only disk, at many instants.

A result is saved over another one in a child process. Afterwards the folder must hold all files of
the old result or all of the new one, and after the next save nothing else may lie beside it. Both
ways in which folders change places are tried: exchanged in one step, and renamed one after the
other, where the folder may be absent until the next save gives it back.
"""

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import hyperspy.api as hs
import numpy as np

from hyperspy_zlpml.data import ws2_like

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from killed_saves import contents, full, in_child, interrupt, kill, swap_of  # noqa: E402

#: Instants on both sides of the change of places that are all tried.
ABOUT_SWAP = 20
#: Bytes that a file may have on the disk that is full.
FILE_SIZES = (0, 100, 1000, 2000, 4000)
NOBODY = 65534
COUNTS = ("old", "new", "absent until the next save", "LOST", "MIXED", "LEFTOVERS", "OTHER")


def main():
    """Print what became of the files; 1 if any were lost, mixed or left over."""
    options = arguments()
    hs.preferences.General.show_progressbar = False
    trial = Trial(Path(tempfile.mkdtemp(prefix="fuzz-saving-", dir=options.folder)))
    rng = np.random.default_rng(options.seed)
    start = time.perf_counter()
    try:
        for exchange, way in ((True, "exchanged"), (False, "renamed one after the other")):
            killed = trial.at_instants(options.instants // 2, exchange, kill, rng)
            show(f"killed at instants, folders {way}", killed)
            for act in (full, interrupt):
                found = trial.at_instants(options.errors // 4, exchange, act, rng)
                show(f"{act.__name__} at instants, folders {way}", found)
        show("killed at random times", trial.at_times(options.times, rng))
        show("files limited in size", trial.limited())
        show("read-only", trial.read_only())
    finally:
        shutil.rmtree(trial.home)
    bad = sum(trial.total[name] for name in COUNTS if name.isupper())
    print(f"{time.perf_counter() - start:.0f} s; {'FAILED' if bad else 'passed'}")
    return int(bad > 0)


def arguments():
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instants", type=int, default=200, help="instants to be killed at")
    parser.add_argument("--errors", type=int, default=40, help="instants at which a call fails")
    parser.add_argument("--times", type=int, default=20, help="random times to be killed at")
    parser.add_argument("--folder", help="where to save; default: that of temporary files")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def show(title, counts):
    """Print one line of counts."""
    told = ", ".join(f"{counts[name]} {name}" for name in COUNTS if counts[name])
    print(f"{sum(counts[name] for name in COUNTS[:5]):4d} {title}: {told}", flush=True)


class Trial:
    """An old result in a folder, and a new one, lazy, that is saved over it."""

    def __init__(self, home):
        self.home = home
        self.total = Counter()
        self.place = home / "place"
        self.folder = self.place / "result"
        signal = ws2_like((4, 3), n_channels=512, offset=-2.0, random_state=2).signal
        self.old = signal.remove_zlp_ml(n_clusters=2, n_replicas=8, random_state=0)
        lazy = signal.as_lazy(chunks=(2, 2, 512))
        self.new = lazy.remove_zlp_ml(n_clusters=2, n_replicas=8, random_state=1)
        self.states = {None: "LOST"}
        for name, result in (("old", self.old), ("new", self.new)):
            for spectra in (result.subtracted, result.zlp, result.std, result.lower, result.upper):
                del spectra.metadata.ZLP_ML  # dozens of small files of each, that take the time
            result.save(home / name)
            self.states[contents(home / name)] = name

    def save(self):
        """Save the new result over the old one."""
        self.new.save(self.folder, overwrite=True)

    def lay_out(self):
        """Put the old result into its place."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.home / "old", self.folder)

    def run(self, counts, **how):
        """One save, and what it left."""
        self.lay_out()
        ended = in_child(self.save, **how)
        self.judge(counts)
        return ended

    def judge(self, counts):
        """Count what a save left, and what the next one leaves beside."""
        found = Counter()
        state = self.states.get(contents(self.folder), "MIXED")
        if state == "LOST":  # what the next save finds before it writes anything
            self.new.save(self.folder, overwrite=False)
            if self.states.get(contents(self.folder)) == "old":
                state = "absent until the next save"
        found[state] += 1
        self.old.save(self.folder, overwrite=True)
        found["LEFTOVERS"] += os.listdir(self.place) != ["result"]
        found["OTHER"] += self.states.get(contents(self.folder)) != "old"
        counts.update(found)
        self.total.update(found)

    def at_instants(self, n, exchange, act, rng):
        """Act at instants close to the change of places, and at others anywhere."""
        counts = Counter()
        instants = self.run(Counter(), exchange=exchange)
        swap = swap_of(instants)
        close = np.arange(swap - ABOUT_SWAP, swap + ABOUT_SWAP)[: n // 2 * 2]
        others = rng.choice(len(instants), size=max(n - close.size, 0), replace=False)
        for at in [*close, *others]:
            self.run(counts, exchange=exchange, at=int(at), act=act)
        return counts

    def at_times(self, n, rng):
        """Kill after random times, within those that a save takes."""
        counts = Counter()
        start = time.perf_counter()
        self.run(Counter())
        longest = time.perf_counter() - start
        for seconds in rng.uniform(0, longest, n):
            self.run(counts, seconds=seconds)
        return counts

    def limited(self):
        """Write to files that cannot grow beyond some sizes."""
        counts = Counter()
        for size in FILE_SIZES:
            limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))
            ended = self.run(counts, before=limit)
            saved = not str(ended).startswith("!OSError")
            counts["OTHER"] += saved
            self.total["OTHER"] += saved
        return counts

    def read_only(self):
        """Save over a folder, and within one, that must not be written to."""
        counts = Counter()
        os.chmod(self.home, 0o755)
        for place in (self.folder, self.place):
            self.lay_out()
            place.chmod(0o555)
            ended = in_child(self.save, before=become_nobody)
            refused = str(ended).startswith("!PermissionError('directory: ")
            place.chmod(0o755)
            self.judge(counts)
            counts["OTHER"] += not refused
            self.total["OTHER"] += not refused
        return counts


def become_nobody():
    """Take another user's rights: root may write anywhere."""
    if os.getuid() == 0:
        os.setuid(NOBODY)


if __name__ == "__main__":
    sys.exit(main())
