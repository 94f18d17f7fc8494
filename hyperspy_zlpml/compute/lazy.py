# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of whole spectra for dask, computed or stored together."""

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import dask.array as da
import numpy as np
from dask.callbacks import Callback
from dask.local import get_sync
from dask.threaded import get as get_threaded

from hyperspy_zlpml.compute import workers
from hyperspy_zlpml.compute.progress import steps
from hyperspy_zlpml.compute.threads import n_threads, one_blas_thread

#: Schedulers of dask whose tasks can write into the arrays of this process.
_OF_THIS_PROCESS = (get_threaded, get_sync)
#: Bytes of a block of data that is not lazy yet: several for every core, each worth the overhead.
_BLOCK_BYTES = 4e6
#: Most numbers of a chunk (64 MB in single precision); larger ones are split.
_MOST_CHANNELS = 2**24
#: Numbers of the blocks that they are split into.
_SPLIT_CHANNELS = 2**22
#: Bytes that chunks are joined to: those of HyperSpy hold 1 MB, and dask takes as long for the tasks
#: of one as the work on its spectra does.
_JOINED_BYTES = 2**22
#: Blocks that are left for every thread: joined ones differ in size, and none is to wait for another.
_BLOCKS_OF_THREAD = 4


def as_blocks(data):
    """Cut an image into blocks of whole spectra.

    Small chunks over navigation are joined where every thread still has several, and those that are
    too large are split: a thread holds its block and six results of it.

    Parameters
    ----------
    data : ndarray or dask array of shape (..., n_energy)

    Returns
    -------
    dask array of shape (..., n_energy)

    Examples
    --------
    >>> import dask.array as da
    >>> from hyperspy_zlpml.compute import as_blocks
    >>> as_blocks(da.zeros((40, 66, 512), chunks=(20, 22, 100))).chunksize
    (20, 22, 512)
    """
    if not isinstance(data, da.Array):
        chunks = ("auto",) * (data.ndim - 1) + (-1,)
        with dask.config.set({"array.chunk-size": int(_BLOCK_BYTES)}):
            return da.from_array(data, chunks=chunks)
    if data.numblocks[-1] > 1:
        data = data.rechunk({data.ndim - 1: -1})
    if data.ndim == 1:
        return data
    n_channels = np.prod(data.chunksize, dtype=float)
    if n_channels > _MOST_CHANNELS:
        return _in_blocks_of(data, _SPLIT_CHANNELS * data.itemsize)
    n_bytes = min(_JOINED_BYTES, data.nbytes / (_BLOCKS_OF_THREAD * n_threads()))
    return _in_blocks_of(data, n_bytes) if 2 * n_channels * data.itemsize <= n_bytes else data


def _in_blocks_of(data, n_bytes):
    """Cut an image into blocks of at most so many bytes, of whole chunks where they are smaller."""
    auto = dict.fromkeys(range(data.ndim - 1), "auto")
    return data.rechunk({**auto, data.ndim - 1: -1}, block_size_limit=int(n_bytes))


def compute(*arrays, show_progressbar, title):
    """Compute dask arrays together, with a progress bar.

    From workers they are gathered block by block, in threads written straight into the results.
    Arrays in memory are handed back as they are.

    Parameters
    ----------
    *arrays : ndarray or dask array
    show_progressbar : bool
    title : str
        Title of the progress bar.

    Returns
    -------
    list of ndarray

    Examples
    --------
    >>> import dask.array as da
    >>> from hyperspy_zlpml.compute import compute
    >>> counts = da.arange(6, chunks=2)
    >>> compute(counts, 2 * counts, show_progressbar=False, title="Doubling")
    [array([0, 1, 2, 3, 4, 5]), array([ 0,  2,  4,  6,  8, 10])]
    """
    lazy = [array for array in arrays if isinstance(array, da.Array)]
    computed = iter(_computed(lazy, show_progressbar, title) if lazy else ())
    return [next(computed) if isinstance(array, da.Array) else array for array in arrays]


def _computed(arrays, show_progressbar, title):
    """Compute dask arrays on the workers, or in threads of this process."""
    client = workers.ready_client()
    if client is not None:
        return workers.gather(client, arrays, show_progressbar, title)
    with _in_threads(show_progressbar, title):
        if dask.base.get_scheduler(collections=arrays) not in _OF_THIS_PROCESS:
            return dask.compute(*arrays)
        results = [np.empty(array.shape, array.dtype) for array in arrays]
        dask.compute(da.store(arrays, results, lock=False, compute=False))
    return results


def reads_from(arrays, folder):
    """Tell whether dask arrays are read from files within a folder.

    Parameters
    ----------
    arrays : sequence of dask array
    folder : Path

    Returns
    -------
    bool

    Examples
    --------
    >>> from pathlib import Path
    >>> import dask.array as da
    >>> from hyperspy_zlpml.compute.lazy import reads_from
    >>> reads_from([da.zeros(4)], Path.cwd())
    False
    """
    layers = {}
    for array in arrays:
        layers.update(array.__dask_graph__().layers)
    seen = {}  # the objects too: the number of one that is gone may be that of another
    waiting = [dict(layer) for layer in layers.values()]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        if _lies_in(one, folder):
            return True
        waiting.extend(_parts_of(one))
    return False


def _lies_in(one, folder):
    """Tell whether an object of a graph is an array of a file within a folder."""
    for holder, name in ((getattr(one, "chunk_store", None), "path"), (one, "filename")):
        path = getattr(holder, name, None)
        if isinstance(path, (str, os.PathLike)):
            return Path(os.path.realpath(path)).is_relative_to(folder)
    return False


def _parts_of(one):
    """List what an entry of a graph, of any version of dask, is made of."""
    if isinstance(one, dict):
        return list(one.values())
    if isinstance(one, (list, tuple, set)):
        return list(one)
    names = ("args", "kwargs", "value", "dsk") if type(one).__module__.startswith("dask.") else ()
    return [getattr(one, name) for name in names if hasattr(one, name)]


def store(sources, targets, show_progressbar, title):
    """Compute dask arrays together and write their blocks as they come, with a progress bar.

    Parameters
    ----------
    sources : list of dask array
    targets : list of array of a file
        Arrays with the chunks of the sources, each written to by one task.
    show_progressbar : bool
    title : str
        Title of the progress bar.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from hyperspy_zlpml.compute import store
    >>> target = np.zeros(4)
    >>> store([da.arange(4, chunks=2)], [target], show_progressbar=False, title="Saving")
    >>> target
    array([0., 1., 2., 3.])
    """
    stored = da.store(sources, targets, lock=False, compute=False)
    stored = stored if isinstance(stored, tuple) else (stored,)
    client = workers.ready_client()
    if client is not None:
        workers.run(client, stored, show_progressbar, title)
        return
    with _in_threads(show_progressbar, title):
        dask.compute(*stored)


@contextlib.contextmanager
def _in_threads(show_progressbar, title):
    """Show a progress bar, and keep BLAS to one thread in each of dask: more would wait in line."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(one_blas_thread)
        if dask.base.get_scheduler() in (None, get_threaded):
            # Of our own, so that after an error nothing goes on writing behind our back.
            pool = stack.enter_context(ThreadPoolExecutor(n_threads()))
            stack.enter_context(dask.config.set(pool=pool))
        advance = stack.enter_context(steps(title, 1, show_progressbar))
        stack.enter_context(_Tasks(advance))
        yield


class _Tasks(Callback):
    """Count the tasks of dask that are done.

    Parameters
    ----------
    advance : callable
        See :func:`.steps`.
    """

    def __init__(self, advance):
        super().__init__()
        self._advance = advance
        self._done = 0

    def _posttask(self, key, result, dsk, state, worker_id):
        self._done += 1
        waiting = sum(len(state[name]) for name in ("waiting", "ready", "running"))
        self._advance(self._done, self._done + waiting)
