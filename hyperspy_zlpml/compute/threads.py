# SPDX-License-Identifier: GPL-3.0-or-later
"""Number of threads that work, with those of BLAS not on top."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import dask
from dask.local import get_sync
from dask.system import CPU_COUNT
from threadpoolctl import threadpool_limits

#: What holds for the calls of one thread alone.
_here = threading.local()


def n_threads():
    """Count the threads to work with, in training as in application.

    Those that dask is told to use (``dask.config.set(num_workers=...)``, or one with the
    synchronous scheduler), else one for each core that this process may use: within a container's
    quota and the affinity of the process. One within :func:`on_one_core`.

    Returns
    -------
    int

    Examples
    --------
    >>> import dask
    >>> from hyperspy_zlpml.compute import n_threads
    >>> with dask.config.set(num_workers=3):
    ...     n_threads()
    3
    """
    if getattr(_here, "on_one_core", False) or dask.base.get_scheduler() is get_sync:
        return 1
    return dask.config.get("num_workers", None) or CPU_COUNT


@contextlib.contextmanager
def on_one_core():
    """Let the calls of this thread take one core: others, side by side, have theirs.

    Examples
    --------
    >>> from hyperspy_zlpml.compute.threads import n_threads, on_one_core
    >>> with on_one_core():
    ...     n_threads()
    1
    """
    before = getattr(_here, "on_one_core", False)
    _here.on_one_core = True
    try:
        yield
    finally:
        _here.on_one_core = before


class _OneBlasThread:
    """One thread of BLAS while any of our calls runs, and as many as before afterwards.

    Spectra are worked on side by side: threads of BLAS on top wait for each other on busy machines,
    and change the last bits of sums. Their number is common to the whole process, and calls may
    overlap: the last to end puts it back, not the first. A limit that is set around our calls stays.
    A process that is forked meanwhile has only the calls of the thread that forked it.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = 0
        self._of_thread = threading.local()
        self._limits = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._forget_other_threads,
            )

    def __enter__(self):
        with self._lock:
            if not self._inside:
                self._limits = _in_a_thread(lambda: threadpool_limits(limits=1, user_api="blas"))
            self._inside += 1
            self._of_thread.inside = getattr(self._of_thread, "inside", 0) + 1

    def __exit__(self, *_):
        with self._lock:
            self._inside -= 1
            self._of_thread.inside -= 1
            if not self._inside:
                _in_a_thread(self._limits.restore_original_limits)

    def _forget_other_threads(self):
        """Count the calls of this thread alone: in a forked process no other will ever end one."""
        before, self._inside = self._inside, getattr(self._of_thread, "inside", 0)
        if before and not self._inside:
            self._limits.restore_original_limits()
        self._lock.release()


def _in_a_thread(function):
    """Call a function in a thread that ends with it.

    The number of BLAS threads obeys the thread that changed it first for as long as that thread
    lives, and the first of ours to begin need not be the last to end.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


#: Context of every call that works on spectra.
one_blas_thread = _OneBlasThread()
