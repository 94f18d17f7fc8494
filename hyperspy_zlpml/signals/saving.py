# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing several signals as ``.zspy``: lazy ones together, in one pass, block by block.

HyperSpy computes and writes one signal at a time: six results of one subtraction would take six
passes over the data. Here HyperSpy writes the files with blank data, which take no space, and all
blank arrays are then filled at once. Memory stays that of a few blocks whatever the image.
"""

import contextlib
import io
import shutil
from pathlib import Path

import dask.array as da
import zarr
from rsciio.utils.path import overwrite as ask_to_overwrite

from hyperspy_zlpml import lazy


def save_together(signals, directory, overwrite=None, show_progressbar=False):
    """Write signals into a directory, each under its name, completely or not at all.

    Parameters
    ----------
    signals : dict of str to BaseSignal
    directory : Path
    overwrite : bool, optional
        Whether to replace files that exist; by default HyperSpy's question is asked.
    show_progressbar : bool
    """
    files = {name: Path(directory) / f"{name}.zspy" for name in signals}
    files = {name: file for name, file in files.items() if _may_write(file, overwrite)}
    unfinished = {name: file.with_name(f".{file.name}.part.zspy") for name, file in files.items()}
    try:
        sources, targets = [], []
        for name, part in unfinished.items():
            signal = signals[name]
            if not signal._lazy:
                signal.save(part, overwrite=True, show_progressbar=False)
                continue
            _save_blank(signal, part)
            for source, target in _to_fill(signal, part):
                # Two blocks that share a chunk of the file would overwrite each other.
                sources.append(source.rechunk(target.chunks))
                targets.append(target)
        if sources:
            lazy.store(sources, targets, show_progressbar, "Saving")
        for name, part in unfinished.items():
            _replace(part, files[name])
    finally:
        for part in unfinished.values():
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(part)


def _may_write(file, overwrite):
    if not file.exists():
        return True
    return ask_to_overwrite(file) if overwrite is None else bool(overwrite)


def _save_blank(signal, file):
    """All of a lazy signal but its numbers: chunks of zeros are not written."""
    blank = signal._deepcopy_with_new_data(da.zeros_like(signal.data))
    variance = signal.get_noise_variance()
    if getattr(variance, "_lazy", False):
        blank.set_noise_variance(variance._deepcopy_with_new_data(da.zeros_like(variance.data)))
    elif variance is not None:
        blank.set_noise_variance(variance)
    # RosettaSciIO shows a bar for signals within the metadata, whatever it is told.
    with contextlib.redirect_stdout(io.StringIO()):
        blank.save(file, overwrite=True, show_progressbar=False, write_empty_chunks=False)


def _to_fill(signal, file):
    """Lazy arrays and the arrays of the file that they belong into."""
    (group,) = zarr.open_group(str(file), mode="r+")["Experiments"].values()
    pairs = [(signal.data, group["data"])]
    variance = signal.get_noise_variance()
    if getattr(variance, "_lazy", False):
        pairs.append((variance.data, group["metadata/Signal/Noise_properties/_sig_variance/data"]))
    return pairs


def _replace(part, file):
    if file.is_dir():
        shutil.rmtree(file)
    elif file.exists():
        file.unlink()
    part.rename(file)
