# SPDX-License-Identifier: GPL-3.0-or-later
"""The same calls on dask blocks: one pass to look at the peaks, one to subtract them.

Every block holds whole spectra. Only arrays, numbers and frozen dataclasses of these travel.
"""

import contextlib

import dask
import dask.array as da
import numpy as np

from hyperspy_zlpml.removal import RESULTS
from hyperspy_zlpml.zlp.peaks import PeakParameters, peak_parameters

_N_PARAMETERS = len(PeakParameters.__dataclass_fields__)
#: Bytes of a block of data that is not lazy yet: several for every core, each worth the overhead.
_BLOCK_BYTES = 4e6


def as_blocks(data):
    """Dask array of whole spectra; chunks over navigation are kept where there are some."""
    if isinstance(data, da.Array):
        return data.rechunk({data.ndim - 1: -1}) if data.numblocks[-1] > 1 else data
    chunks = ("auto",) * (data.ndim - 1) + (-1,)
    with dask.config.set({"array.chunk-size": int(_BLOCK_BYTES)}):
        return da.from_array(data, chunks=chunks)


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
    dtype = np.float64 if data.dtype == np.float64 else np.float32
    stacked = da.map_blocks(
        _subtract_block, *arrays, removal=dask.delayed(removal, traverse=False), constant=variance,
        dtype=dtype, new_axis=0, chunks=((len(RESULTS),),) + data.chunks,
        meta=np.empty((0,) * (data.ndim + 1), dtype),
    )  # fmt: skip
    return {name: stacked[i] for i, name in enumerate(RESULTS)}


def _subtract_block(counts, peaks, variance=None, *, removal, constant):
    return removal.apply(counts, peaks, constant if variance is None else variance)


def compute(*arrays, show_progressbar, what):
    """Compute dask arrays together, with a progress bar."""
    bar = contextlib.nullcontext()
    if show_progressbar:
        from tqdm.dask import TqdmCallback

        bar = TqdmCallback(desc=what)
    with bar:
        return dask.compute(*arrays)
