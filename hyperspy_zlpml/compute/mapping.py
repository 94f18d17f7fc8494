# SPDX-License-Identifier: GPL-3.0-or-later
"""Passes over all spectra of an image, whether the image is in memory or lazy.

Use :func:`map_spectra` for a pass over the data. In memory every thread writes its spectra straight
into the results: nothing is joined or copied after, and nothing is sent to the workers of dask,
which would take longer than the work. Lazy data are worked on block by block of dask.
"""

import dask
import dask.array as da
import numpy as np

from hyperspy_zlpml.compute.blocks import run_in_threads
from hyperspy_zlpml.compute.lazy import as_blocks, compute
from hyperspy_zlpml.compute.threads import one_blas_thread


def map_spectra(  # noqa: PLR0913
    function,
    data,
    *others,
    names,
    width,
    dtype,
    lazy=None,
    show_progressbar=False,
    title="Working",
):
    """Apply a function of spectra to all spectra of an image.

    The numbers do not depend on how many spectra the function is given at once, as long as it
    treats every spectrum alone.

    Parameters
    ----------
    function : callable
        Called as ``function(counts, *others, out=out)`` with ``counts`` of shape
        (n_spectra, n_energy) and those of ``others`` that are arrays cut to the same spectra. It
        writes one array of shape (n_spectra, width) for each name into the list ``out``.
    data : ndarray or dask array of shape (..., n_energy)
        Spectra, energy axis last, of any number of navigation axes.
    *others : ndarray or dask array of shape (..., n), float or None
        Numbers of each spectrum, whose leading axes broadcast to those of ``data``. Anything
        without axes is handed on as it is.
    names : sequence of str
        Names of the results.
    width : int
        Numbers that a result has for each spectrum.
    dtype : dtype
        Type of the results.
    lazy : bool, optional
        Whether to return dask arrays that are not computed yet; by default where ``data`` is one.
    show_progressbar : bool
    title : str
        Title of the progress bar.

    Returns
    -------
    dict of str to ndarray or dask array of shape (..., width)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.compute import map_spectra
    >>> def total(counts, out):
    ...     out[0][:, 0] = counts.sum(-1)
    >>> counts = np.ones((3, 2, 100))
    >>> map_spectra(total, counts, names=["total"], width=1, dtype=float)["total"].shape
    (3, 2, 1)
    """
    is_dask = isinstance(data, da.Array)
    if not is_dask and not lazy:
        results = {name: np.empty(data.shape[:-1] + (width,), dtype) for name in names}
        work, n_spectra = _into_results(function, data, others, results)
        run_in_threads(work, n_spectra, show_progressbar, title)
        return results
    results = _on_blocks(
        function=function,
        data=as_blocks(data),
        others=others,
        names=names,
        width=width,
        dtype=dtype,
    )
    if lazy or lazy is None:
        return results
    values = compute(*results.values(), show_progressbar=show_progressbar, title=title)
    return dict(zip(results, values, strict=True))


def take_spectra(data, index):
    """Take some spectra of an image.

    Parameters
    ----------
    data : ndarray or dask array of shape (..., n_energy)
    index : ndarray of int of shape (n,)
        Spectra to take, in flattened navigation order.

    Returns
    -------
    ndarray or dask array of shape (n, n_energy)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.compute import take_spectra
    >>> take_spectra(np.arange(12).reshape(2, 2, 3), [3, 0])
    array([[ 9, 10, 11],
           [ 0,  1,  2]])
    """
    if data.ndim == 1:
        return data[None][index]
    # No reshape: it would copy what is broadcast or not contiguous.
    places = np.unravel_index(index, data.shape[:-1])
    return data.vindex[(*places, slice(None))] if isinstance(data, da.Array) else data[places]


def _into_results(function, data, others, results):
    """Make the function that works on a slice of all spectra, and count the spectra."""
    spectra = data.reshape(-1, data.shape[-1])
    out = [result.reshape(-1, result.shape[-1]) for result in results.values()]
    others = [_flattened(other, data.shape[:-1]) for other in others]

    def work(rows):
        own = [other[rows] if np.ndim(other) else other for other in others]
        function(spectra[rows], *own, out=[result[rows] for result in out])

    return work, len(spectra)


def _flattened(other, shape):
    """Lay out numbers of each spectrum as rows; hand on what has no axes."""
    if not np.ndim(other):
        return other
    other = np.asarray(other)
    return np.broadcast_to(other, shape + other.shape[-1:]).reshape(-1, other.shape[-1])


def _on_blocks(function, data, others, names, width, dtype):
    """Lay out the results as dask arrays that are not computed yet."""
    stacked = da.map_blocks(
        _apply_to_block,
        data,
        *(_blocks_like(other, data) for other in others),
        function=dask.delayed(function, traverse=False),
        n_results=len(names),
        width=width,
        result_type=dtype,
        dtype=dtype,
        new_axis=0,
        chunks=((len(names),),) + data.chunks[:-1] + ((width,),),
        meta=np.empty((0,) * (data.ndim + 1), dtype),
    )
    return {name: stacked[number] for number, name in enumerate(names)}


def _blocks_like(other, data):
    """Cut numbers of each spectrum into the blocks of the data; hand on what has no axes."""
    if not np.ndim(other):
        return other
    shape, chunks = data.shape[:-1] + other.shape[-1:], data.chunks[:-1] + (-1,)
    return da.broadcast_to(da.asarray(other), shape).rechunk(chunks)


def _apply_to_block(counts, *others, function, n_results, width, result_type):
    """Work on one block, and stack the results on a first axis."""
    leading = counts.shape[:-1]
    spectra = counts.reshape(-1, counts.shape[-1])
    own = [other.reshape(-1, other.shape[-1]) if np.ndim(other) else other for other in others]
    stacked = np.empty((n_results, len(spectra), width), result_type)
    with one_blas_thread:
        function(spectra, *own, out=list(stacked))
    return stacked.reshape((n_results,) + leading + (width,))
