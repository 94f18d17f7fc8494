# SPDX-License-Identifier: GPL-3.0-or-later
"""The same calls on dask blocks: one pass to look at the peaks, one to subtract them.

Every block holds whole spectra. Only arrays, numbers and frozen dataclasses of these travel.
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
from dask.local import get_sync
from dask.threaded import get as get_threaded

from hyperspy_zlpml import cluster
from hyperspy_zlpml.removal import RESULTS, results_type
from hyperspy_zlpml.threads import n_threads, one_blas_thread
from hyperspy_zlpml.zlp.peaks import PeakParameters, peak_parameters

#: Schedulers of dask whose tasks can write into the arrays of this process.
_OF_THIS_PROCESS = (get_threaded, get_sync)
_N_PARAMETERS = len(PeakParameters.__dataclass_fields__)
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


def look_at_peaks(data, energy, index, show_progressbar):
    """First pass: peak parameters of all spectra, counts of some.

    Parameters
    ----------
    data : dask array of shape (..., n_energy), whole spectra in each block
    energy : ndarray of shape (n_energy,)
        eV.
    index : ndarray of int
        Spectra wanted, in flattened navigation order.
    show_progressbar : bool

    Returns
    -------
    parameters : PeakParameters
        Of shape (n_spectra,).
    counts : ndarray of shape (index.size, n_energy)
    """
    stacked = da.map_blocks(
        _parameters_of_block, data, energy=energy, dtype=float,
        chunks=data.chunks[:-1] + ((_N_PARAMETERS,),), meta=np.empty((0,) * data.ndim),
    )  # fmt: skip
    if data.ndim == 1:
        wanted = data[None][index]
    else:
        places = np.unravel_index(index, data.shape[:-1])
        wanted = data.vindex[(*places, slice(None))]
    stacked, counts = compute(
        stacked, wanted, show_progressbar=show_progressbar, what="Looking at peaks"
    )
    return PeakParameters.unstack(stacked.reshape(-1, _N_PARAMETERS)), np.ascontiguousarray(counts)


def _parameters_of_block(block, energy):
    return peak_parameters(block, energy).stack()


def subtract(data, peaks, removal, variance=None):
    """Second pass: all results of the subtraction, not computed yet.

    Parameters
    ----------
    data : dask array of shape (..., n_energy), whole spectra in each block
    peaks : ndarray of shape (n_spectra, 6)
    removal : Removal
    variance : array of the shape of ``data`` or a float, optional
        Variance of the counts.

    Returns
    -------
    dict of str to dask array of shape (..., n_energy)
    """
    shape = data.shape[:-1]
    peaks = da.from_array(peaks.reshape(shape + (-1,)), chunks=data.chunks[:-1] + (-1,))
    arrays = [data, peaks]
    if variance is not None and np.ndim(variance):
        arrays.append(da.asarray(variance).rechunk(data.chunks))
        variance = None
    dtype = results_type(data.dtype)
    stacked = da.map_blocks(
        _subtract_block, *arrays, removal=dask.delayed(removal, traverse=False), constant=variance,
        dtype=dtype, new_axis=0, chunks=((len(RESULTS),),) + data.chunks,
        meta=np.empty((0,) * (data.ndim + 1), dtype),
    )  # fmt: skip
    return {name: stacked[i] for i, name in enumerate(RESULTS)}


def _subtract_block(counts, peaks, variance=None, *, removal, constant):
    return removal.apply(counts, peaks, constant if variance is None else variance)


def compute(*arrays, show_progressbar, what):
    """Compute dask arrays together, with a progress bar.

    On a cluster they are gathered block by block, in threads written straight into the results.
    Arrays in memory are given back as they are.
    """
    if not all(isinstance(array, da.Array) for array in arrays):
        return arrays
    client = cluster.active_client()
    if client is not None:
        return cluster.gather(client, arrays, show_progressbar, what)
    with _in_threads(show_progressbar, what):
        if dask.base.get_scheduler(collections=arrays) not in _OF_THIS_PROCESS:
            return dask.compute(*arrays)
        results = [np.empty(array.shape, array.dtype) for array in arrays]
        dask.compute(da.store(arrays, results, lock=False, compute=False))
    return results


def store(sources, targets, show_progressbar, what):
    """Compute dask arrays together and write their blocks as they come, with a progress bar.

    Parameters
    ----------
    sources : list of dask array
    targets : list of array of a file
        Whose chunks are those of the sources.
    show_progressbar : bool
    what : str
        Title of the progress bar.
    """
    stored = da.store(sources, targets, lock=False, compute=False)
    stored = stored if isinstance(stored, tuple) else (stored,)
    client = cluster.active_client()
    if client is not None:
        cluster.run(client, stored, show_progressbar, what)
        return
    with _in_threads(show_progressbar, what):
        dask.compute(*stored)


@contextlib.contextmanager
def _in_threads(show_progressbar, what):
    """Progress bar, and one thread of BLAS for each thread of dask: more would wait in line."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(one_blas_thread)
        if dask.base.get_scheduler() in (None, get_threaded):
            # Of our own, so that after an error nothing goes on writing behind our back.
            pool = stack.enter_context(ThreadPoolExecutor(n_threads()))
            stack.enter_context(dask.config.set(pool=pool))
        if show_progressbar:
            from tqdm.dask import TqdmCallback

            stack.enter_context(TqdmCallback(desc=what))
        yield
