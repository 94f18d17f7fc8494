# SPDX-License-Identifier: GPL-3.0-or-later
"""How many threads work, and that those of BLAS do not come on top."""

import threading

import dask
from dask.system import CPU_COUNT
from threadpoolctl import threadpool_limits


def n_threads():
    """Threads to work with: those that dask is told to use, else one for each processor."""
    return dask.config.get("num_workers", None) or CPU_COUNT


class _OneBlasThread:
    """BLAS uses one thread while any of our calls runs, and as many as before afterwards.

    Spectra are worked on side by side: threads of BLAS on top wait for each other on busy machines,
    and change the last bits of sums. The setting is common to the whole process, and calls may
    overlap: the last to end puts it back, not the first.
    """

    def __init__(self):
        self._lock, self._inside, self._limits = threading.Lock(), 0, None

    def __enter__(self):
        with self._lock:
            if not self._inside:
                self._limits = threadpool_limits(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_):
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limits.restore_original_limits()


one_blas_thread = _OneBlasThread()
