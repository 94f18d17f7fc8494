# SPDX-License-Identifier: GPL-3.0-or-later
"""Ensembles as files.

A file is one of `safetensors <https://huggingface.co/docs/safetensors>`_: the arrays as they are,
and in its header, as JSON, everything else that prediction needs. Nothing is pickled, so a file
from anywhere can be opened without running what it holds. A checksum shows damage.
"""

import contextlib
import json
import os
import uuid
from pathlib import Path

from hyperspy_zlpml.ensemble.parts import (
    FORMAT_VERSION,
    EnsembleFileError,
    checksum,
    to_parts,
)
from hyperspy_zlpml.ensemble.validation import checked_parts

#: Key of the only entry in the metadata of the header.
HEADER_KEY = "hyperspy_zlpml"
#: Longest header that is written and looked at, bytes; ours take some thousand.
LONGEST_HEADER = 2**20
#: Largest file that is written and read, bytes; ours take some hundred thousand.
LARGEST_FILE = 2**24


def save(ensemble, path):
    """Write an ensemble to a file; see :meth:`hyperspy_zlpml.Ensemble.save`.

    Parameters
    ----------
    ensemble : Ensemble
    path : str or Path

    Raises
    ------
    EnsembleFileError
        If it is larger than :func:`hyperspy_zlpml.load` reads, or no ensemble that predicts.
    OSError
        If the file cannot be written.
    """
    _write_whole(Path(os.path.realpath(path)), to_content(ensemble, path))


def to_content(ensemble, path):
    """Write an ensemble as the bytes of a file.

    Parameters
    ----------
    ensemble : Ensemble
    path : str or Path
        Of the file, to be named in errors.

    Returns
    -------
    bytes

    Raises
    ------
    EnsembleFileError
        If it is larger than :func:`hyperspy_zlpml.load` reads, or no ensemble that predicts.
    """
    from safetensors.numpy import save as to_bytes

    arrays, facts = to_parts(ensemble)
    header = {
        "format_version": FORMAT_VERSION,
        "sha256": checksum(arrays, facts),
        "ensemble": facts,
    }
    checked_parts(arrays, facts)  # or load() would refuse it
    content = to_bytes(arrays, {HEADER_KEY: json.dumps(header)})
    if len(content) > LARGEST_FILE or int.from_bytes(content[:8], "little") > LONGEST_HEADER:
        raise EnsembleFileError(f"{path}: {len(content)} bytes are more than load() would read.")
    return content


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
