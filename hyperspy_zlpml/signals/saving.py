# SPDX-License-Identifier: GPL-3.0-or-later
"""Write several signals as ``.zspy``: lazy ones together, in one pass, block by block.

HyperSpy computes and writes one signal at a time: six results of one subtraction would take six
passes over the data. Here HyperSpy writes the files with blank data, which take no space, and all
blank arrays are then filled at once. Memory stays that of a few blocks whatever the image.
"""

import contextlib
import io
import os
import shutil
import tempfile
import threading
from functools import lru_cache
from pathlib import Path

import dask.array as da
import zarr
from rsciio.utils.path import overwrite as ask_to_overwrite

from hyperspy_zlpml.compute import store

#: Where a ``.zspy`` file keeps the noise variance of a signal.
_VARIANCE = "metadata/Signal/Noise_properties/_sig_variance/data"


def save_together(signals, directory, overwrite=None, show_progressbar=False):
    """Write signals into a directory, each under its name.

    Files are made aside and take their names when all of them are complete: an error leaves those
    that were there before.

    Parameters
    ----------
    signals : dict of str to BaseSignal
    directory : Path
    overwrite : bool, optional
        Whether to replace files that exist; by default HyperSpy's question is asked.
    show_progressbar : bool

    Returns
    -------
    list of str
        Names that were written.
    """
    files = {name: Path(directory) / f"{name}.zspy" for name in signals}
    files = {name: file for name, file in files.items() if _may_write(file, overwrite)}
    aside = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=directory))
    try:
        sources = []
        targets = []
        for name, file in files.items():
            for source, target in _write(signals[name], aside / file.name):
                # Two blocks that share a chunk of the file would overwrite each other.
                sources.append(source.rechunk(target.chunks))
                targets.append(target)
        if sources:
            store(sources, targets, show_progressbar, "Saving")
        for name, file in files.items():
            _replace(aside / file.name, file, aside)
            signals[name].tmp_parameters.set_item("folder", file.parent)
            signals[name].tmp_parameters.set_item("filename", file.stem)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return list(files)


def _may_write(file, overwrite):
    """Ask HyperSpy's question where a file exists and no answer was given."""
    if not file.exists():
        return True
    return ask_to_overwrite(file) if overwrite is None else bool(overwrite)


class _ArrayOfFile:
    """Array of a ``.zspy`` file that is opened where it is written to.

    It travels as a path: a worker that gets it when the file has gone fails in its task, and not
    where it reads what it was sent.
    """

    def __init__(self, file, key):
        self.path = os.fspath(Path(file).resolve() / key)
        self.chunks = _opened(self.path).chunks

    def __setitem__(self, region, values):
        if not os.path.exists(os.path.join(self.path, ".zarray")):
            raise FileNotFoundError(f"{self.path} was removed while it was written.")
        _opened(self.path)[region] = values

    def __dask_tokenize__(self):
        return type(self).__name__, self.path


@lru_cache(maxsize=64)
def _opened(path):
    return zarr.open_array(path, mode="r+", write_empty_chunks=False)


def _write(signal, file):
    """Write a signal; a lazy one without its numbers, for which pairs of arrays are returned."""
    if not signal._lazy:
        signal.save(file, overwrite=True, show_progressbar=False)
        return []
    variance = signal.get_noise_variance()
    variance_is_lazy = getattr(variance, "_lazy", False)
    blank = signal._deepcopy_with_new_data(da.zeros_like(signal.data))
    if variance_is_lazy:
        zeros = da.zeros_like(variance.data)
        blank.set_noise_variance(variance._deepcopy_with_new_data(zeros))
    elif variance is not None:
        blank.set_noise_variance(variance)
    with _silence():
        blank.save(file, overwrite=True, show_progressbar=False, write_empty_chunks=False)
    (group,) = zarr.open_group(str(file), mode="r")["Experiments"].values()
    pairs = [(signal.data, _ArrayOfFile(file, f"{group.path}/data"))]
    if variance_is_lazy:
        pairs.append((variance.data, _ArrayOfFile(file, f"{group.path}/{_VARIANCE}")))
    return pairs


#: Held while the standard output is redirected: it is common to all threads.
_SILENT = threading.Lock()


@contextlib.contextmanager
def _silence():
    """Hide the bar of RosettaSciIO for signals within the metadata, which it always shows."""
    with _SILENT, contextlib.redirect_stdout(io.StringIO()):
        yield


def _replace(unfinished, file, aside):
    """Give a file its name; the old one goes only when the new one is in its place."""
    old = aside / f"{file.name}.old"
    if file.exists():
        file.rename(old)
    try:
        unfinished.rename(file)
    except BaseException:
        if old.exists():
            old.rename(file)
        raise
