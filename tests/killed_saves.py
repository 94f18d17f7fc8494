# SPDX-License-Identifier: GPL-3.0-or-later
"""Saves in a process of their own that is killed, or told of an error, at a chosen instant.

Shared by ``tests/test_signals/test_saving.py`` and ``benchmarks/fuzz_saving.py``. Instants are
counted in what a save asks of the operating system: Python tells of every file that is opened,
renamed or removed before it is, and the one call it does not know of is counted on both sides.
"""

import hashlib
import os
import signal as signals
import sys
import time

import dask

from hyperspy_zlpml.signals import folders

#: Beginnings of the names of the events that are instants.
COUNTED = ("open", "os.", "shutil.")
#: Name of the instants on both sides of the exchange of two folders.
EXCHANGE = "exchange"
#: A child that has not ended by then hangs.
MOST_SECONDS = 60


class Instants:
    """Counts instants; at one of them it acts."""

    def __init__(self, at=None, act=None):
        self.names = []
        self.at = at
        self.act = act

    def __call__(self, name, args=()):
        if name != EXCHANGE and not name.startswith(COUNTED):
            return
        self.names.append(name)
        if len(self.names) - 1 == self.at:
            self.act()


def kill():
    """End this process as SIGKILL does: nothing more is run."""
    os.kill(os.getpid(), signals.SIGKILL)


def full():
    """Fail as a full disk does."""
    raise OSError(28, "No space left on device")


def interrupt():
    """Fail as Ctrl+C does."""
    raise KeyboardInterrupt


def in_child(save, at=None, act=None, exchange=True, before=None, seconds=None):
    """Run a save in a child; its instants if it came to an end, or how it ended.

    ``exchange=False`` is a system that cannot exchange two folders; ``before`` is called first;
    after some ``seconds`` the child is killed from outside.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        _be_child(save, Instants(at, act), exchange, before, writing)
    os.close(writing)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signals.SIGKILL)
    with os.fdopen(reading) as told:
        text = told.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return "killed"
    return text if text.startswith("!") else text.split()


def _be_child(save, instants, exchange, before, writing):
    """Save, tell of the instants or the error, and end without anything of the parent's."""
    signals.alarm(MOST_SECONDS)
    exchanged = folders._exchanged

    def counted(one, other):
        instants(EXCHANGE)
        done = exchange and exchanged(one, other)
        instants(EXCHANGE)
        return done

    folders._exchanged = counted
    told = ""
    try:
        if before:
            before()
        with dask.config.set(scheduler="synchronous"):
            sys.addaudithook(instants)
            save()
        told = "\n".join(instants.names)
    except BaseException as error:
        told = f"!{error!r}"
    finally:
        instants.at = None
        os.write(writing, told[:60_000].encode())
        os._exit(0)


def contents(folder):
    """Digest of all numbers and texts below a folder, and all names; None if there is none.

    But for the history of the signals, to which every save adds a line with its time.
    """
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    paths = [path for path in sorted(folder.rglob("*")) if "General" not in path.parts]
    for path in paths:
        digest.update(str(path.relative_to(folder)).encode())
        # What describes the arrays is of another order from save to save.
        if path.is_file() and not path.name.startswith(".z"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def swap_of(instants):
    """Number of the instant at which the new folder takes the place of the old one."""
    return instants.index(EXCHANGE)
