# SPDX-License-Identifier: GPL-3.0-or-later
"""Write all files of a result: lazy signals together, in one pass, block by block.

HyperSpy computes and writes one signal at a time: six results of one subtraction would take six
passes over the data. Here HyperSpy writes the files with blank data, which take no space, and all
blank arrays are then filled at once. Memory stays that of a few blocks whatever the image.
"""

import contextlib
import io
import os
import threading
import warnings
from functools import lru_cache
from pathlib import Path

import dask.array as da
import zarr
from rsciio.utils.path import overwrite as ask_to_overwrite

from hyperspy_zlpml.compute import store
from hyperspy_zlpml.compute.lazy import reads_from
from hyperspy_zlpml.signals.folders import REMOVAL, clean_up, kind_of, put_in_place, unfinished

#: Where a ``.zspy`` file keeps the noise variance of a signal.
_VARIANCE = "metadata/Signal/Noise_properties/_sig_variance/data"
#: Signals of a result, each a file of its name.
_OF_RESULTS = {
    *("subtracted", "zlp", "std", "lower", "upper", "posterior"),
    *("clusters", "vacuum", "centre", "fwhm", "intensity"),
}
#: Ends of the names of files that HyperSpy and this package write results to.
_OF_FILES = {
    ".hspy",
    ".zspy",
    ".h5",
    ".hdf5",
    ".nxs",
    ".emd",
    ".msa",
    ".tif",
    ".tiff",
    ".zarr",
    ".zlp",
}
#: Files beside the signals of results.
_BESIDE = {"report.txt", "ensemble.zlp", "model.safetensors", "summary.txt", "result.json"}
#: How the numbers of files are compressed: in a third of the time that HyperSpy's own choice takes, to
#: files 3 % larger, for most of what is written is noise.
_COMPRESSOR = zarr.Blosc(cname="lz4", clevel=1, shuffle=zarr.Blosc.SHUFFLE)
#: What systems and earlier versions of this package leave in folders.
_IGNORED = (".DS_Store", "Thumbs.db", ".unfinished-")


def save_together(  # noqa: PLR0913
    signals,
    files,
    directory,
    overwrite=None,
    *,
    show_progressbar=False,
    kinds=_OF_RESULTS,
    title=REMOVAL,
):
    """Write signals and other files into a folder, each under its name.

    They are written into a folder beside it that takes its place when all are complete: an error,
    or the end of the process, leaves what was there before.

    Parameters
    ----------
    signals : dict of str to BaseSignal
        By their names; each becomes a ``.zspy``.
    files : dict of str to bytes
        What other files hold, by their names.
    directory : str or Path
        New, empty, or one that was written before.
    overwrite : bool, optional
        Whether to replace a folder that was written before; by default HyperSpy's question is
        asked.
    show_progressbar : bool
    kinds : set of str
        Names that the signals of one that was written before may have; default those of removals.
    title : str
        What the result is, as a folder of its own may be called.

    Raises
    ------
    FileExistsError
        If the folder holds anything else.
    ValueError
        If the signals are read from the folder, it is the working directory, or its name is that of a
        file.
    OSError
        If it cannot be written.
    """
    _check_name(Path(directory))
    directory = Path(os.path.realpath(directory))
    directory.parent.mkdir(parents=True, exist_ok=True)
    clean_up(directory)
    _check_sources(signals, directory)
    found = _checked_folder(directory, set(files), {*kinds, *signals}, title)
    if found and not _may_replace(directory, overwrite):
        return
    aside = unfinished(directory)
    try:
        for name, content in files.items():
            (aside / name).write_bytes(content)
        _write_signals(signals, aside, show_progressbar)
        put_in_place(aside, directory)
    finally:
        clean_up(directory)
    for name, signal in signals.items():
        signal.tmp_parameters.set_item("folder", directory)
        signal.tmp_parameters.set_item("filename", name)


def _check_name(directory):
    """Raise ValueError where a name is that of a file: all of a result does not fit into one."""
    if directory.suffix.lower() in _OF_FILES:
        raise ValueError(
            f"directory: expected the name of a folder, which all of a result goes into, got "
            f"{directory.name!r}, that of a file; give {directory.stem!r}. One spectrum or map is saved by "
            f"its own method, as r.subtracted.save({directory.name!r})."
        )


def _checked_folder(directory, files, names, title):
    """List what a folder holds; raise an error unless it is a result that may be replaced."""
    if directory.exists() and not directory.is_dir():
        raise FileExistsError(f"directory: expected a folder, got a file: {directory}.")
    found = {path.name for path in directory.iterdir()} if directory.exists() else set()
    found = {name for name in found if not name.startswith(_IGNORED)}
    spectra = {f"{name}.zspy" for name in names}
    others = sorted(found - files - spectra)
    if others or (found and not (files <= found and found & spectra)):
        _check_kind(directory, others, title)
        raise FileExistsError(
            "directory: expected a new folder, an empty one, or one that holds a result and "
            f"nothing else, for all of it is replaced, got {directory} with "
            f"{', '.join(others[:3] or found)}. Give one of its own: "
            f"{str(directory / title)!r}."
        )
    if Path.cwd().is_relative_to(directory):
        raise ValueError(
            f"directory: expected another folder than the working directory, got {directory}; "
            f"give a new name, for example {title!r}."
        )
    return found


def _check_kind(directory, others, title):
    """Raise FileExistsError where all that a folder holds is a result of another kind."""
    kind = kind_of(directory)
    is_alone = all(name.endswith(".zspy") or name in _BESIDE for name in others)
    if kind not in ("", title) and is_alone:
        raise FileExistsError(
            f"directory: expected a new folder, an empty one, or one that holds a {title}, got {directory}, "
            f"which holds a result of another kind, {kind}. Give one of its own: "
            f"{str(directory.with_name(f'{directory.name}_{title}'))!r}."
        )


def _check_sources(signals, directory):
    """Raise an error where lazy signals are read from the folder that they would replace."""
    arrays = [signal.data for signal in signals.values() if signal._lazy]
    if directory.exists() and reads_from(arrays, directory):
        raise ValueError(
            f"directory: expected another folder than that of the data, got {directory}, from "
            "which these lazy results are read. Give another folder."
        )


def _may_replace(directory, overwrite):
    """Ask HyperSpy's question where no answer was given."""
    return ask_to_overwrite(directory) if overwrite is None else bool(overwrite)


def _write_signals(signals, folder, show_progressbar):
    """Write signals into a folder, the numbers of the lazy ones all at once."""
    sources = []
    targets = []
    for name, signal in signals.items():
        for source, target in _write(signal, folder / f"{name}.zspy"):
            # Two blocks that share a chunk of the file would overwrite each other.
            sources.append(source.rechunk(target.chunks))
            targets.append(target)
    if sources:
        store(sources, targets, show_progressbar, "Saving")


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
        with _without_warnings_of_zarr():
            signal.save(file, overwrite=True, show_progressbar=False, compressor=_COMPRESSOR)
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
        blank.save(
            file,
            overwrite=True,
            show_progressbar=False,
            write_empty_chunks=False,
            compressor=_COMPRESSOR,
        )
    (group,) = zarr.open_group(str(file), mode="r")["Experiments"].values()
    pairs = [(signal.data, _ArrayOfFile(file, f"{group.path}/data"))]
    if variance_is_lazy:
        pairs.append((variance.data, _ArrayOfFile(file, f"{group.path}/{_VARIANCE}")))
    return pairs


#: Held while the standard output is redirected: it is common to all threads.
_SILENT = threading.Lock()


@contextlib.contextmanager
def _silence():
    """Hide what RosettaSciIO shows its users of itself: a bar for signals within the metadata."""
    with _SILENT, contextlib.redirect_stdout(io.StringIO()), _without_warnings_of_zarr():
        yield


@contextlib.contextmanager
def _without_warnings_of_zarr():
    """Hide that RosettaSciIO uses a class that zarr will drop."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The NestedDirectoryStore", FutureWarning)
        yield
