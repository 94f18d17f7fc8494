# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of whole spectra for dask, computed or stored together.

Only arrays, numbers and frozen dataclasses of these travel.
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
from dask.local import get_sync
from dask.threaded import get as get_threaded

from hyperspy_zlpml.compute import workers
from hyperspy_zlpml.compute.threads import n_threads, one_blas_thread

#: Schedulers of dask whose tasks can write into the arrays of this process.
_OF_THIS_PROCESS = (get_threaded, get_sync)
#: Bytes of a block of data that is not lazy yet: several for every core, each worth the overhead.
_BLOCK_BYTES = 4e6
#: Chunks of more numbers than this (64 MB in single precision) are split into blocks of these.
_MOST_CHANNELS, _SPLIT_CHANNELS = 2**24, 2**22


def as_blocks(data):
    """Dask array of whole spectra; chunks over navigation are kept where there are some.

    Only chunks that are too large are split: a thread holds its block and six results of it.
    """
    if not isinstance(data, da.Array):
        chunks = ("auto",) * (data.ndim - 1) + (-1,)
        with dask.config.set({"array.chunk-size": int(_BLOCK_BYTES)}):
            return da.from_array(data, chunks=chunks)
    if data.numblocks[-1] > 1:
        data = data.rechunk({data.ndim - 1: -1})
    if data.ndim > 1 and np.prod(data.chunksize, dtype=float) > _MOST_CHANNELS:
        auto = dict.fromkeys(range(data.ndim - 1), "auto")
        limit = int(_SPLIT_CHANNELS * data.itemsize)
        data = data.rechunk({**auto, data.ndim - 1: -1}, block_size_limit=limit)
    return data


def compute(*arrays, show_progressbar, title):
    """Compute dask arrays together, with a progress bar.

    On a cluster they are gathered block by block, in threads written straight into the results.
    Arrays in memory are given back as they are.
    """
    if not all(isinstance(array, da.Array) for array in arrays):
        return arrays
    client = workers.active_client()
    if client is not None:
        return workers.gather(client, arrays, show_progressbar, title)
    with _in_threads(show_progressbar, title):
        if dask.base.get_scheduler(collections=arrays) not in _OF_THIS_PROCESS:
            return dask.compute(*arrays)
        results = [np.empty(array.shape, array.dtype) for array in arrays]
        dask.compute(da.store(arrays, results, lock=False, compute=False))
    return results


def store(sources, targets, show_progressbar, title):
    """Compute dask arrays together and write their blocks as they come, with a progress bar.

    Parameters
    ----------
    sources : list of dask array
    targets : list of array of a file
        Whose chunks are those of the sources.
    show_progressbar : bool
    title : str
        Title of the progress bar.
    """
    stored = da.store(sources, targets, lock=False, compute=False)
    stored = stored if isinstance(stored, tuple) else (stored,)
    client = workers.active_client()
    if client is not None:
        workers.run(client, stored, show_progressbar, title)
        return
    with _in_threads(show_progressbar, title):
        dask.compute(*stored)


@contextlib.contextmanager
def _in_threads(show_progressbar, title):
    """Progress bar, and one thread of BLAS for each thread of dask: more would wait in line."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(one_blas_thread)
        if dask.base.get_scheduler() in (None, get_threaded):
            # Of our own, so that after an error nothing goes on writing behind our back.
            pool = stack.enter_context(ThreadPoolExecutor(n_threads()))
            stack.enter_context(dask.config.set(pool=pool))
        if show_progressbar:
            from tqdm.dask import TqdmCallback

            stack.enter_context(TqdmCallback(desc=title))
        yield
