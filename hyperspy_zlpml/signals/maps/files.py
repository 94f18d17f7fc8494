# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of methods that make maps as files: signals each in its own, all else as JSON beside them."""

import json
import re
from pathlib import Path

import hyperspy.api as hs
from hyperspy.signals import BaseSignal

from hyperspy_zlpml.ensemble.parts import checksum
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.removal.codec import RemovalFileError, decode, encode
from hyperspy_zlpml.signals.arrays import one_at_a_signal
from hyperspy_zlpml.signals.folders import kind_of
from hyperspy_zlpml.signals.maps.words import LEGEND, has_legend

#: File that says what the result is made of.
RESULT = "result.json"
#: Version of the format that is written.
_FORMAT = 1
#: Largest file that is read, bytes.
_LARGEST = 2**20
#: Way from a result to a signal of it: names of attributes, and numbers within tuples.
_WAY = re.compile(r"\w+(\.\w+)*")
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
    return way.removesuffix(".value").replace("._", ".").replace(".", "_").strip("_")


def written(result, of=None):
    """Write a result as signals, and as what says how they belong together.

    Parameters
    ----------
    result : MapResult
    of : str, optional
        Fingerprint of the removal that it is of, where that is at hand.

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
    sums = {way: _sum_of(signal) for way, signal in ways.items()}
    text = {
        "format_version": _FORMAT,
        "sha256": checksum({}, [record, sums, of]),
        "signals": sums,
        "removal": of,
        "result": record,
    }
    return {name_of(way): signal for way, signal in ways.items()}, json.dumps(
        text, indent=1
    ).encode()


def _sum_of(signal):
    """Compute the SHA-256 of the numbers of a signal; None of a lazy one, which are not known yet."""
    if signal._lazy:
        return None
    numbers, variance = {"data": signal.data}, signal.get_noise_variance()
    if isinstance(variance, BaseSignal) and not variance._lazy:
        numbers["variance"] = variance.data
    return checksum(numbers, {})


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
    result : MapResult
    of : str or None
        Fingerprint of the removal that it is of, where that was written.

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
        record, sums, of = _contents(file)
    except _SPOILT as error:
        raise RemovalFileError(f"{file}: no result, or altered: {str(error)[:200]}.") from error
    signals = {way: _signal(directory, name_of(way), lazy) for way in sums}
    _check_numbers(directory, signals, sums)
    try:
        _check_reasons(directory, signals)
        found = decode(record, {f"{_WHOLE}.{way}": one for way, one in signals.items()}, known)
        return _checked(found), of
    except RemovalFileError:
        raise
    except _SPOILT as error:
        raise RemovalFileError(f"{file}: altered: {str(error)[:200]}.") from error


def names_in(directory, kind):
    """List the names of the signals of a result that lies in a folder.

    Parameters
    ----------
    directory : str or Path
    kind : str
        Of the result, as :func:`~hyperspy_zlpml.signals.folders.kind_of` says it.

    Returns
    -------
    set of str
        None where there is no result of that kind, or none that can be read.
    """
    directory = Path(directory)
    if kind_of(directory) != kind:
        return set()
    try:
        return {name_of(way) for way in _contents(directory / RESULT)[1]}
    except (OSError, *_SPOILT):
        return set()


def _contents(file):
    """Read what a result is made of, sums by ways to its signals, its removal; ValueError unless whole."""
    if file.stat().st_size > _LARGEST:
        raise ValueError(f"it has {file.stat().st_size} bytes")
    text = json.loads(file.read_bytes())
    version = text["format_version"]
    if version != _FORMAT:
        raise ValueError(f"it is of format {version}, this version reads {_FORMAT}")
    record, sums, of = text["result"], text["signals"], text["removal"]
    if checksum({}, [record, sums, of]) != text["sha256"]:
        raise ValueError("its checksum is not that of what it holds")
    if not (isinstance(sums, dict) and all(_WAY.fullmatch(way) for way in sums)):
        raise ValueError("it names signals as no result does")
    return record, sums, of


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


def _check_numbers(directory, signals, sums):
    """Raise RemovalFileError where a signal was read whose numbers are not those that were written."""
    for way, signal in signals.items():
        if not signal._lazy and sums[way] is not None and _sum_of(signal) != sums[way]:
            raise RemovalFileError(
                f"{directory / name_of(way)}.zspy: altered, or of another result: its numbers are not those "
                f"that {RESULT} was written with."
            )


def _check_reasons(directory, signals):
    """Raise RemovalFileError where reasons were written whose numbers mean others now."""
    names = {str(int(reason)): reason.name for reason in Reason}
    for way, signal in signals.items():
        meaning = signal.metadata.get_item(LEGEND).as_dictionary() if has_legend(signal) else {}
        for number, text in meaning.items():
            name = text.split(":")[0]
            if names.get(number) != name:
                raise RemovalFileError(
                    f"{directory / name_of(way)}.zspy: of another version of this package, where reason {number} was "
                    f"{name}, expected {names.get(number, 'none')}: make the maps anew."
                )


def _checked(result):
    """Raise ValueError unless all signals of a result have the same navigation axes."""
    parts = result._parts()
    first = result._map().axes_manager.navigation_shape
    for name, part in parts.items():
        signal = getattr(part, "value", part)
        if isinstance(signal, BaseSignal) and signal.axes_manager.navigation_shape != first:
            shape = signal.axes_manager.navigation_shape
            raise ValueError(f"{name} is of {shape} pixels, others of {first}")
    return result
