# SPDX-License-Identifier: GPL-3.0-or-later
"""Ensembles as files.

A file is one of `safetensors <https://huggingface.co/docs/safetensors>`_: the arrays as they are,
and in its header, as JSON, everything else that prediction needs. Nothing is pickled, so a file
from anywhere can be opened without running what it holds. A checksum tells damage.
"""

import contextlib
import json
import os
import uuid
from pathlib import Path

from hyperspy_zlpml.ensemble_parts import (
    FORMAT_VERSION,
    EnsembleFileError,
    checksum,
    from_parts,
    is_integer,
    to_parts,
)

#: Key of the only entry in the metadata of the header.
_KEY = "hyperspy_zlpml"
#: Longest header that is looked at, bytes; ours take some thousand.
_LONGEST_HEADER = 2**20
#: Largest file that is read, bytes; ours take some hundred thousand.
_LARGEST_FILE = 2**24


def save(ensemble, path):
    """Write an ensemble; see :meth:`hyperspy_zlpml.Ensemble.save`."""
    from safetensors.numpy import save as to_bytes

    arrays, facts = to_parts(ensemble)
    header = {
        "format_version": FORMAT_VERSION,
        "sha256": checksum(arrays, facts),
        "ensemble": facts,
    }
    from_parts(arrays, facts)  # or load() would refuse it
    content = to_bytes(arrays, {_KEY: json.dumps(header)})
    if len(content) > _LARGEST_FILE or int.from_bytes(content[:8], "little") > _LONGEST_HEADER:
        raise EnsembleFileError(f"{path}: {len(content)} bytes are more than load() would read.")
    _write_whole(Path(os.path.realpath(path)), content)


def _write_whole(path, content):
    """Write bytes aside and give them their name when they are on the disk."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}.")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected the name of a file, got a folder.")
    aside = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def load(path):
    """Read an ensemble that :meth:`Ensemble.save` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Ensemble
        Predicts, bit for bit, what the saved one does.

    Raises
    ------
    EnsembleFileError
        If the file is of another kind, cut short, altered, or from a newer version of this
        package.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import hyperspy_zlpml
    >>> ensemble.save("afternoon.zlp")  # doctest: +SKIP
    >>> ensemble = hyperspy_zlpml.load("afternoon.zlp")  # doctest: +SKIP
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    path = Path(path)
    header = _header_of(path)
    if not is_integer(header.get("format_version")) or header["format_version"] < 1:
        raise EnsembleFileError(f"{path}: altered: its header holds no format version.")
    if header["format_version"] > FORMAT_VERSION:
        raise EnsembleFileError(
            f"{path}: written by a newer version of hyperspy_zlpml (format "
            f"{header['format_version']}, this one reads up to {FORMAT_VERSION}): update it."
        )
    try:
        arrays = from_bytes(path.read_bytes())
        intact = checksum(arrays, header["ensemble"]) == header["sha256"]
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise EnsembleFileError(f"{path}: altered: {error}.") from error
    if not intact:
        raise EnsembleFileError(
            f"{path}: altered or damaged: its checksum is not that of what it holds. "
            "Copy it again, or train again."
        )
    try:
        return from_parts(arrays, header["ensemble"])
    except EnsembleFileError as error:
        raise EnsembleFileError(f"{path}: {error}") from error


def _header_of(path):
    """Our part of the header of a file, after all that can be told without reading the rest."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(9)
        length = int.from_bytes(start[:8], "little")
        foreign = EnsembleFileError(
            f"{path}: not an ensemble of hyperspy_zlpml. Ensembles are written by ensemble.save()."
        )
        if len(start) < 9 or start[8:] != b"{" or length > _LONGEST_HEADER:
            raise foreign
        text = start[8:] + file.read(length - 1)
    if len(text) < length:
        raise EnsembleFileError(f"{path}: cut short: the file ends within its header.")
    try:
        header = json.loads(text)
        end = 8 + length + max(
            (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"),
            default=0,
        )  # fmt: skip
        metadata = header["__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise EnsembleFileError(
            f"{path}: not an ensemble of hyperspy_zlpml, or its header was altered."
        ) from error
    if not isinstance(metadata, dict) or _KEY not in metadata:
        raise foreign
    if not is_integer(end) or size < end:
        raise EnsembleFileError(f"{path}: cut short: {size} bytes of {end}.")
    if size > min(end, _LARGEST_FILE):
        raise EnsembleFileError(f"{path}: altered: {size} bytes where {end} are expected.")
    try:
        ours = json.loads(metadata[_KEY])
    except (ValueError, TypeError, RecursionError) as error:
        raise EnsembleFileError(f"{path}: altered: its header is no JSON.") from error
    if not isinstance(ours, dict):
        raise EnsembleFileError(f"{path}: altered: its header is no dictionary.")
    return ours
