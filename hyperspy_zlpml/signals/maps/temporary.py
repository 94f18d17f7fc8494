# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays that are computed once and do not fit into memory: kept in files as long as they are used."""

import shutil
import tempfile
import weakref
from pathlib import Path

import dask
import dask.array as da
import zarr

from hyperspy_zlpml.compute import store

#: Where dask is told to put files that are for a while; by default where the system puts them.
_FOLDER = "temporary_directory"


def kept(arrays, *, show_progressbar, title):
    """Compute dask arrays together, and keep their numbers in files of this process.

    Memory is that of some blocks. The files go with the last array that reads them, or with the
    process.

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
        If there is no room for them, before any work.

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
    weakref.finalize(files, shutil.rmtree, folder, ignore_errors=True)
    _check_room(sum(one.nbytes for one in arrays), folder)
    targets = [
        zarr.open_array(
            files,
            mode="w",
            path=str(number),
            shape=one.shape,
            chunks=one.chunksize,
            dtype=one.dtype,
        )
        for number, one in enumerate(arrays)
    ]
    # Two blocks that share a chunk of a file would overwrite each other.
    pairs = zip(arrays, targets, strict=True)
    store([one.rechunk(target.chunks) for one, target in pairs], targets, show_progressbar, title)
    return [da.from_array(target, chunks=target.chunks) for target in targets]


def _check_room(n_bytes, folder):
    """Raise OSError unless a folder has room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OSError(
            f"{Path(folder).parent}: expected room for {n_bytes / 1e9:.3g} GB of spectra, which are "
            f"kept there while they are used, got {free / 1e9:.3g} GB; name another folder by "
            f'dask.config.set({_FOLDER}="...").'
        )
