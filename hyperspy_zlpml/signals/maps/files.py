# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of methods that make maps as files: signals each in its own, all else as JSON beside them."""

import json
import re
from pathlib import Path

import hyperspy.api as hs
from hyperspy.signals import BaseSignal

from hyperspy_zlpml.ensemble.parts import checksum
from hyperspy_zlpml.removal.codec import RemovalFileError, decode, encode
from hyperspy_zlpml.signals.arrays import one_at_a_signal

#: File that says what the result is made of.
RESULT = "result.json"
#: Version of the format that is written.
_FORMAT = 1
#: Largest file that is read, bytes.
_LARGEST = 2**20
#: Way from a result to a signal of it: names of attributes.
_WAY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
#: What reading makes of a file that was altered.
_SPOILT = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
#: Name of the whole, with which all ways begin as they are encoded.
_WHOLE = "result"


def name_of(way):
    """Name the file of a signal of a result.

    Parameters
    ----------
    way : str
        Names of the attributes that lead to it, with dots between.

    Returns
    -------
    str
        Without ending. That of the value of a quantity is the name of the quantity.

    Examples
    --------
    >>> from hyperspy_zlpml.signals.maps.files import name_of
    >>> [name_of(way) for way in ("gap.value", "gap.std", "crossings.rising.reason", "_numbers")]
    ['gap', 'gap_std', 'crossings_rising_reason', 'numbers']
    """
    return way.removesuffix(".value").replace(".", "_").strip("_")


def written(result):
    """Write a result as signals, and as what says how they belong together.

    Parameters
    ----------
    result : MapResult

    Returns
    -------
    signals : dict of str to BaseSignal
        By the names of their files.
    content : bytes
        Of the file ``RESULT``.
    """
    signals = {}
    record = encode(result, signals, _WHOLE, aside=BaseSignal)
    ways = {way.removeprefix(f"{_WHOLE}."): signal for way, signal in signals.items()}
    text = {
        "format_version": _FORMAT,
        "sha256": checksum({}, record),
        "signals": list(ways),
        "result": record,
    }
    return {name_of(way): signal for way, signal in ways.items()}, json.dumps(
        text, indent=1
    ).encode()


def read(directory, known, lazy=False):
    """Read a result that :func:`written` wrote.

    Parameters
    ----------
    directory : Path
    known : sequence of class
        Records that a result may be, or hold.
    lazy : bool
        Whether spectra are left in their files; maps are read.

    Returns
    -------
    MapResult

    Raises
    ------
    RemovalFileError
        If there is no result, its files were altered, or they do not belong together.
    OSError
        If a file cannot be read.
    """
    file = directory / RESULT
    if not file.is_file():
        raise FileNotFoundError(f"{file}: expected what found.save wrote, got no file.")
    try:
        record, ways = _contents(file)
    except _SPOILT as error:
        raise RemovalFileError(f"{file}: no result, or altered: {str(error)[:200]}.") from error
    signals = {f"{_WHOLE}.{way}": _signal(directory, name_of(way), lazy) for way in ways}
    try:
        return _checked(decode(record, signals, known))
    except _SPOILT as error:
        raise RemovalFileError(f"{file}: altered: {str(error)[:200]}.") from error


def _contents(file):
    """Read what a result is made of, and the ways to its signals; ValueError unless it is whole."""
    if file.stat().st_size > _LARGEST:
        raise ValueError(f"it has {file.stat().st_size} bytes")
    text = json.loads(file.read_bytes())
    record, ways, version = text["result"], text["signals"], text["format_version"]
    if version != _FORMAT:
        raise ValueError(f"it is of format {version}, this version reads {_FORMAT}")
    if checksum({}, record) != text["sha256"]:
        raise ValueError("its checksum is not that of what it holds")
    if not all(isinstance(way, str) and _WAY.fullmatch(way) for way in ways):
        raise ValueError("it names signals as no result does")
    return record, ways


def _signal(directory, name, lazy):
    """Read one signal; spectra lazily where that is asked for."""
    file = Path(directory) / f"{name}.zspy"
    if not file.is_dir():
        raise FileNotFoundError(f"{file}: expected a signal of a result, got none.")
    try:
        with one_at_a_signal:
            signal = hs.load(str(file), lazy=True)
            keep = lazy and signal.axes_manager.signal_dimension
            return signal if keep else hs.load(str(file))
    except Exception as error:  # whatever a damaged file makes of its reader
        raise RemovalFileError(f"{file}: cannot be read: {str(error)[:200]}.") from error


def _checked(result):
    """Raise ValueError unless all signals of a result have the same navigation axes."""
    parts = result._parts()
    first = getattr(result, result._first).value.axes_manager.navigation_shape
    for name, part in parts.items():
        signal = getattr(part, "value", part)
        if isinstance(signal, BaseSignal) and signal.axes_manager.navigation_shape != first:
            shape = signal.axes_manager.navigation_shape
            raise ValueError(f"{name} is of {shape} pixels, {result._first} of {first}")
    return result
