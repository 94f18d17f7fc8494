# SPDX-License-Identifier: GPL-3.0-or-later
"""Records as arrays and JSON, and back: nothing but records of known kinds comes out."""

import math
from dataclasses import fields, is_dataclass

import numpy as np

#: Records within records, at most.
_DEEPEST = 12


class RemovalFileError(ValueError):
    """A file holds no removal, no maps of one, or altered ones."""


def encode(value, arrays, name="value", aside=np.ndarray):
    """Write a record as what JSON can hold; its arrays are laid aside.

    Parameters
    ----------
    value : record
        A dataclass or named tuple of records, arrays, numbers, text, and lists, tuples and
        dictionaries of these.
    arrays : dict of str to ndarray
        Arrays are added under names that begin with ``name``.
    name : str
    aside : class
        What is laid aside; others than arrays, as signals, stand for arrays then.

    Returns
    -------
    JSON

    Raises
    ------
    TypeError
        If there is anything else among them.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.codec import decode, encode
    >>> from hyperspy_zlpml.statistics import Range
    >>> arrays = {}
    >>> written = encode(Range(0.5, np.ones(3)), arrays)
    >>> written
    {'record': 'Range', 'fields': {'low': 0.5, 'high': {'array': 'value.high'}}}
    >>> decode(written, arrays, [Range])
    Range(low=0.5, high=array([1., 1., 1.]))
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, np.generic):
        return encode(value.item(), arrays, name, aside)
    if isinstance(value, float):
        return value if math.isfinite(value) else {"number": repr(value)}
    if isinstance(value, aside):
        arrays[name] = value
        return {"array": name}

    def inner(one, of):
        return encode(one, arrays, f"{name}.{of}", aside)

    if is_dataclass(value) or hasattr(value, "_fields"):
        held = {one: inner(getattr(value, one), one) for one in _names_of(value)}
        return {"record": type(value).__name__, "fields": held}
    if isinstance(value, dict):
        return {"dict": {key: inner(one, key) for key, one in value.items()}}
    if not isinstance(value, (list, tuple)):
        raise TypeError(
            f"{name}: expected a record, or what records hold, got {type(value).__name__}."
        )
    kind = "tuple" if isinstance(value, tuple) else "list"
    return {kind: [inner(one, i) for i, one in enumerate(value)]}


def decode(written, arrays, known, depth=0):
    """Read a record that :func:`encode` wrote.

    Parameters
    ----------
    written : JSON
    arrays : dict of str to ndarray
    known : sequence of class
        Kinds of records that may come out.
    depth : int
        Records that it lies within.

    Returns
    -------
    record

    Raises
    ------
    ValueError
        If it is anything that :func:`encode` does not write.
    """
    if written is None or isinstance(written, (bool, int, float, str)):
        return written
    if not isinstance(written, dict) or depth > _DEEPEST:
        raise ValueError(f"expected a record, got {type(written).__name__} at depth {depth}.")
    kind = next(iter(written), None)
    held = written[kind] if kind else None

    def inner(one):
        return decode(one, arrays, known, depth + 1)

    if kind == "record":
        return _record(held, written.get("fields"), known, inner)
    if kind == "array" and isinstance(held, str) and held in arrays:
        return arrays[held]
    if kind == "number" and held in ("inf", "-inf", "nan"):
        return float(held)
    if kind == "dict" and isinstance(held, dict):
        return {key: inner(one) for key, one in held.items()}
    if kind in ("list", "tuple") and isinstance(held, list):
        return (list if kind == "list" else tuple)(inner(one) for one in held)
    raise ValueError(f"expected a record, got {kind!r} of {str(held)[:40]!r}.")


def _names_of(record):
    """List the fields that a record is made of; what it is told afterwards is none."""
    if is_dataclass(record):
        return [field.name for field in fields(record) if field.init]
    return list(record._fields)


def _record(name, held, known, inner):
    """Make a record of a known kind of exactly its own fields."""
    kinds = {one.__name__: one for one in known}
    if not isinstance(name, str) or name not in kinds or not isinstance(held, dict):
        raise ValueError(f"expected a record of {sorted(kinds)}, got {str(name)[:40]!r}.")
    kind = kinds[name]
    names = _names_of(kind)
    if list(held) != names:
        raise ValueError(f"expected {name} with {names}, got {list(held)[:20]}.")
    return kind(**{one: inner(value) for one, value in held.items()})
