# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that are replaced as a whole, also where the process is killed on the way.

The new folder is made beside the old one, under a name of its own, and then takes its place. Linux
and macOS exchange the names of two folders in one step: whoever looks finds the old files or the
new ones, never none and never some of each. Windows and most network disks know no such step: there
the old folder is renamed, then the new one. Who is killed between these two finds neither under the
name, but both beside it, and the next save gives the old one its name back. A link that points to
the folder in use would have one step everywhere but Windows; it would also be copied, packed and
backed up as a link, which is not what a folder of results should be.

Nothing is waited for to reach the disk: after a power cut the file system decides.
"""

import contextlib
import ctypes
import json
import os
import re
import shutil
import sys
import uuid
from itertools import chain

#: Name of the folder of a removal where none is given.
REMOVAL = "zlp_removal"
#: Files that tell what a folder holds: a removal, or maps.
_OF_REMOVAL, _OF_MAPS = "model.safetensors", "result.json"
#: Beginnings of words within the name of a class.
_WORDS = re.compile("(?<=[a-z])(?=[A-Z])")
#: Ends, before a random one, of the names of folders that are not finished or not wanted any more.
_UNFINISHED = "unfinished-"
#: The same of the old folder while it and the new one change places in two steps.
_OLD = "old-"
#: Of Linux and macOS: the working directory stands for the place of a path, paths are exchanged.
_AT_FDCWD = {"linux": -100, "darwin": -2}
_EXCHANGE = 2
#: Call that exchanges two names.
_CALLS = {"linux": "renameat2", "darwin": "renameatx_np"}


def name_of_folder(kind):
    """Name a folder after the class of a result.

    Parameters
    ----------
    kind : str

    Returns
    -------
    str

    Examples
    --------
    >>> from hyperspy_zlpml.signals.folders import name_of_folder
    >>> name_of_folder("BandGap")
    'band_gap'
    """
    return _WORDS.sub("_", kind).lower()


def kind_of(directory):
    """Say what a folder holds, as far as its files tell.

    Parameters
    ----------
    directory : Path

    Returns
    -------
    str
        ``REMOVAL``, the like of "band_gap" for maps, or "" where it holds neither.
    """
    if (directory / _OF_REMOVAL).is_file():
        return REMOVAL
    try:
        record = json.loads((directory / _OF_MAPS).read_bytes())["result"]["record"]
        return name_of_folder(record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def unfinished(directory):
    """Make an empty folder beside a folder whose place it will take.

    Parameters
    ----------
    directory : Path
        Absolute.

    Returns
    -------
    Path

    Raises
    ------
    PermissionError
        If the folder, or that which it lies in, must not be written to.
    """
    for place in (directory.parent, directory):
        if place.exists() and not os.access(place, os.W_OK):
            raise PermissionError(
                f"directory: expected a folder that can be written to, got {directory}: {place} "
                "is read-only. Choose another one."
            )
    aside = _beside(directory, _UNFINISHED)
    aside.mkdir()
    return aside


def put_in_place(aside, directory):
    """Give a finished folder its name; what had it before is left for :func:`clean_up`.

    Parameters
    ----------
    aside : Path
        As :func:`unfinished` made it, filled.
    directory : Path
    """
    if not directory.exists():
        aside.rename(directory)
        return
    shutil.copymode(directory, aside)
    if not _exchanged(aside, directory):
        directory.rename(_beside(directory, _OLD))
        aside.rename(directory)


def clean_up(directory):
    """Remove what earlier saves left beside a folder, and give an old folder its name back.

    It is for one save at a time: of two into one folder, one fails.

    Parameters
    ----------
    directory : Path
        Absolute.
    """
    for old in _leftovers(directory, _OLD):
        # Never removed under this name: what bears it is complete.
        old.rename(_beside(directory, _UNFINISHED) if directory.exists() else directory)
    for left in _leftovers(directory, _UNFINISHED):
        gone = _beside(directory, _UNFINISHED)
        with contextlib.suppress(OSError):  # open files on Windows: the next save tries again
            # Under its old name another save might still finish it.
            left.rename(gone)
            shutil.rmtree(gone)


def _beside(directory, kind):
    return directory.with_name(f".{directory.name}.{kind}{uuid.uuid4().hex[:8]}")


def _leftovers(directory, kind):
    """List folders of a kind that belong to a folder."""
    if not directory.parent.is_dir():
        return []
    start = f".{directory.name}.{kind}"
    found = [path for path in directory.parent.iterdir() if path.name.startswith(start)]
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def _exchanged(one, other):
    """Exchange the names of two folders in one step; tell whether this system could."""
    try:
        call = getattr(ctypes.CDLL(None), _CALLS[sys.platform])
    except (KeyError, AttributeError, OSError):
        return False
    places = ((_AT_FDCWD[sys.platform], os.fsencode(path)) for path in (one, other))
    return call(*chain.from_iterable(places), ctypes.c_uint(_EXCHANGE)) == 0
