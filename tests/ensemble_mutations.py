# SPDX-License-Identifier: GPL-3.0-or-later
"""Random damage to ensemble files, and files whose checksum is right but whose content is not.

Stored models likewise. Shared by ``tests/test_ensemble/test_file.py``,
``tests/test_components/test_zlp_net.py`` and ``benchmarks/fuzz_files.py``.
"""

import json

import dask.array as da
import numpy as np

from hyperspy_zlpml.ensemble.file import HEADER_KEY
from hyperspy_zlpml.ensemble.parts import FORMAT_VERSION, checksum

# --- damage ---------------------------------------------------------------------------------------


def flipped(data, rng):
    """Some bytes changed."""
    data = bytearray(data)
    for place in rng.integers(len(data), size=rng.integers(1, 9)):
        data[place] ^= int(rng.integers(1, 256))
    return bytes(data)


def inserted(data, rng):
    """Bytes that do not belong there."""
    place = int(rng.integers(len(data) + 1))
    return data[:place] + rng.bytes(int(rng.integers(1, 200))) + data[place:]


def deleted(data, rng):
    """Bytes missing inside."""
    first, last = np.sort(rng.integers(len(data) + 1, size=2))
    return data[:first] + data[min(last, first + int(rng.integers(1, 500))) :]


def cut(data, rng):
    """The end missing."""
    return data[: int(rng.integers(len(data)))]


def swapped(data, rng):
    """Two blocks exchanged."""
    a, b, c = np.sort(rng.integers(len(data) + 1, size=3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def another_length(data, rng):
    """The length of the header is another."""
    length = int.from_bytes(data[:8], "little")
    other = (0, 1, length - 1, length + 1, 2 * length, len(data), 2**20, 2**31, 2**63, 2**64 - 1)
    return other[rng.integers(len(other))].to_bytes(8, "little") + data[8:]


def header_altered(data, rng):
    """A value of the header replaced by another, of any kind; the checksum left as it was."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    if rng.random() < 0.5:
        ours = json.loads(header["__metadata__"][HEADER_KEY])
        alter(ours, rng)
        header["__metadata__"][HEADER_KEY] = json.dumps(ours)
    else:
        alter(header, rng)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


DAMAGE = (flipped, inserted, deleted, cut, swapped, another_length, header_altered)


def damaged(data, rng):
    """A file with one or two kinds of damage, and their names."""
    kinds = [DAMAGE[i] for i in rng.integers(len(DAMAGE), size=rng.integers(1, 3))]
    told = []
    for kind in kinds:
        try:
            data = kind(data, rng)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            continue  # the damage before left no header, or nothing at all
        told.append(kind.__name__)
    return data, "+".join(told)


# --- forgery --------------------------------------------------------------------------------------


def anything(rng):
    """A value of any kind."""
    deep = 0
    for _ in range(40):
        deep = [deep]
    values = (
        None, True, False, 0, 1, -1, 2, 7, 10**30, -(10**400), 0.5, -0.0, 1e-300, 1e300,
        float("nan"), float("inf"), float("-inf"), "", "a", "weights", "\ud800", [], [[]], {},
        {"a": 1}, [1, "a"], [2, 1], [2, 10**9, 1], [2.0, 6, 5, 1], [0, 0], [-2, 1], [[2, 1]],
        [float("nan")] * 2, [1e300, -1e300], deep, list(range(1000)), "x" * 10000,
    )  # fmt: skip
    return values[rng.integers(len(values))]


def alter(tree, rng):
    """Replace, remove or add one entry somewhere in a tree of dictionaries and lists."""
    places = []

    def visit(node):
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                visit(node[key])

    visit(tree)
    if not places:
        return
    node, key = places[rng.integers(len(places))]
    what = rng.random()
    if what < 0.7:
        node[key] = anything(rng)
    elif what < 0.85:
        del node[key]
    elif isinstance(node, dict):
        node["another"] = anything(rng)
    else:
        node.append(anything(rng))


def another_array(array, rng):
    """An array of another kind or shape, or with numbers that are none."""
    flat = array.ravel()
    with np.errstate(all="ignore"):
        forms = (
            array[..., :0], array[:0], array[:-1], array.T, flat, array[None], np.zeros(()),
            array.astype("f2"), array.astype("i4"), array.astype(bool), array.astype("u1"),
            array.astype("f8"), array.astype("f4"), np.full_like(array, np.nan),
            np.full_like(array, np.inf), np.full_like(array, -np.inf), np.full_like(array, 1e30),
            np.full_like(array, -1e6), np.full_like(array, 1e6), np.zeros_like(array), -array,
            array[::-1], array + 1, np.repeat(array, 2, axis=0), np.zeros((0,) * array.ndim, array.dtype),
        )  # fmt: skip
    other = np.array(forms[rng.integers(len(forms))])
    if other.size and other.dtype.kind == "f" and rng.random() < 0.2:
        number = (np.nan, np.inf, -6e4, 6e-8)[rng.integers(4)]
        other.flat[rng.integers(other.size)] = number
    return other


def forged(arrays, facts, rng):
    """Bytes of a file whose checksum is right, but whose facts or arrays were tampered with."""
    return file_of(*forged_parts(arrays, facts, rng))


def forged_parts(arrays, facts, rng):
    """Arrays and facts of which some were tampered with."""
    intact, arrays, facts = arrays, dict(arrays), json.loads(json.dumps(facts))
    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.6:
            alter(facts, rng)
            continue
        name = list(intact)[rng.integers(len(intact))]
        if rng.random() < 0.1:
            arrays.pop(name, None)
        else:
            arrays[name] = another_array(intact[name], rng)
    return arrays, facts


def file_of(arrays, facts, **header):
    """Bytes of a file of these parts, with their checksum."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    ours = {
        "format_version": FORMAT_VERSION,
        "sha256": checksum(arrays, facts),
        "ensemble": facts,
    }
    return save(arrays, {HEADER_KEY: json.dumps({**ours, **header})})


# --- stored models --------------------------------------------------------------------------------


def another_text(text, rng):
    """The JSON of a stored model damaged, far too deep, far too long, or no text."""
    place = int(rng.integers(len(text)))
    depth = int(10 ** rng.uniform(1, 5))
    texts = (
        text[:place], text[:place] + text[place + 1 :], text[:place] + "9" + text[place:],
        "[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "", "null", "3", "[]", "{}",
        text[:-1] + ', "format_version": ' + "9" * depth + "}", " " * 2**22 + text,
        text.replace("0.", "NaN", 1), text.replace("0.", "1e999", 1),
        text.replace('"provenance": {', '"provenance": {"a": ' + "[" * depth + "]" * depth + ", "),
    )  # fmt: skip
    return texts[rng.integers(len(texts))]


def another_value(value, rng):
    """What a file may hold in place of an array or a text, and arrays that are not there."""
    values = (
        None, 0, 1e300, "text", b"\xff", [], [1, "a"], {}, {"a": value}, np.array(None),
        np.array(["a", "b"]), np.array([{}, None]), np.zeros((0, 0)), np.zeros((2,) * 20),
        da.zeros(10**13, chunks=10**10), da.ones((10**6, 10**6)), da.zeros(3),
        np.broadcast_to(np.float32(0.1), (10**6, 10**6)), np.array([value]), float("nan"),
        np.zeros(2, "datetime64[s]"), np.zeros(3, complex), np.zeros(2, "f4,f4"), np.zeros(2, "S5"),
    )  # fmt: skip
    return values[rng.integers(len(values))]


def tampered(arrays, facts, rng):
    """What a stored model holds of an ensemble, tampered with, and its thickness."""
    if rng.random() < 0.7:
        arrays, facts = forged_parts(arrays, facts, rng)
    version = anything(rng) if rng.random() < 0.05 else FORMAT_VERSION
    text = json.dumps({"format_version": version, "ensemble": facts})
    if rng.random() < 0.15:
        text = another_text(text, rng)
    stored = {**arrays, "facts": text}
    if rng.random() < 0.2:
        name = list(stored)[rng.integers(len(stored))]
        stored[name] = another_value(stored[name], rng)
    thickness = anything(rng) if rng.random() < 0.1 else 0.1
    return stored, thickness
