# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays that are computed once and do not fit into memory: kept in files as long as they are used."""

import os
import shutil
import tempfile
import weakref
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import zarr

from hyperspy_zlpml.compute import store

#: Where dask is told to put files that are for a while; by default where the system puts them.
_FOLDER = "temporary_directory"
#: What to do where that is not the same folder for all who write and read.
_WAY_OUT = (
    f'name a folder that all processes and hosts share by dask.config.set({_FOLDER}="..."), or bring '
    "the spectra into memory or into files of their own, by compute() or save(), before they go elsewhere"
)


class _Kept:
    """Array in files, which never reads as if it were empty where the files have gone."""

    def __init__(self, array):
        self.array = array
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    def __getitem__(self, where):
        folder = Path(self.array.store.path)
        found = self.array[where]
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: expected the files of spectra, got none: they go with the result that they "
                f"were made for, and with its process, and other hosts may not see them; {_WAY_OUT}."
            )
        return found


def kept(arrays, *, show_progressbar, title):
    """Compute dask arrays together, and keep their numbers in files of this process.

    Memory is that of some blocks. The files go with the last array that reads them, or with the
    process. Copies by pickle do not hold them: an error tells that they are gone. A process that is killed
    leaves them.

    Parameters
    ----------
    arrays : sequence of dask array
    show_progressbar : bool
    title : str
        Of the progress bar.

    Returns
    -------
    list of dask array
        Of the same numbers, read from the files.

    Raises
    ------
    OSError
        If there is no room for them, before any work; after it, if workers wrote them elsewhere.

    Examples
    --------
    >>> import dask.array as da
    >>> from hyperspy_zlpml.signals.maps.temporary import kept
    >>> (squares,) = kept([da.arange(5, chunks=2) ** 2], show_progressbar=False, title="Squares")
    >>> squares.compute()
    array([ 0,  1,  4,  9, 16])
    """
    folder = tempfile.mkdtemp(prefix="zlp_ml_", dir=dask.config.get(_FOLDER, None))
    files = zarr.DirectoryStore(folder)
    # The arrays hold their store, wherever they go within this process.
    weakref.finalize(files, _remove, folder, os.getpid())
    _check_room(sum(one.nbytes for one in arrays), folder)
    targets = [
        zarr.open_array(
            files,
            mode="w",
            path=str(number),
            shape=one.shape,
            chunks=one.chunksize,
            dtype=one.dtype,
            fill_value=np.nan if one.dtype.kind in "fc" else None,
        )
        for number, one in enumerate(arrays)
    ]
    # Two blocks that share a chunk of a file would overwrite each other.
    pairs = zip(arrays, targets, strict=True)
    store([one.rechunk(target.chunks) for one, target in pairs], targets, show_progressbar, title)
    _check_written(targets, folder)
    return [da.from_array(_Kept(one), chunks=one.chunks, name=False) for one in targets]


def _remove(folder, process):
    """Remove a folder, unless this is a process that was forked from the one that made it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _check_written(targets, folder):
    """Raise OSError unless all chunks of arrays are in a folder."""
    lacking = sum(one.nchunks - one.nchunks_initialized for one in targets)
    if lacking:
        raise OSError(
            f"{folder}: expected all blocks of the spectra, got none of {lacking}: workers on other "
            f"hosts wrote them to folders of their own; {_WAY_OUT}."
        )


def _check_room(n_bytes, folder):
    """Raise OSError unless a folder has room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OSError(
            f"{Path(folder).parent}: expected room for {n_bytes / 1e9:.3g} GB of spectra, which are "
            f"kept there while they are used, got {free / 1e9:.3g} GB; name another folder by "
            f'dask.config.set({_FOLDER}="...").'
        )
