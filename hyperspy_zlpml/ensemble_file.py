# SPDX-License-Identifier: GPL-3.0-or-later
"""Ensembles as files, and as dictionaries of arrays for HyperSpy's own files.

A file is one of `safetensors <https://huggingface.co/docs/safetensors>`_: the arrays as they are,
and in its header, as JSON, everything else that prediction needs. Nothing is pickled, so a file
from anywhere can be opened without running what it holds. A checksum tells damage.
"""

import contextlib
import hashlib
import json
import os
import uuid
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from hyperspy_zlpml.ensemble import Ensemble, InputScaling
from hyperspy_zlpml.zlp.noise import NoiseModel
from hyperspy_zlpml.zlp.reference import Grid
from hyperspy_zlpml.zlp.regions import Regions

#: Raised when files of before could not be read as what they are any more.
FORMAT_VERSION = 1
#: Key of the only entry in the metadata of the header.
_KEY = "hyperspy_zlpml"
#: Longest header that is looked at, bytes; ours take some thousand.
_LONGEST_HEADER = 2**20
#: Largest file that is read, bytes; ours take some hundred thousand.
_LARGEST_FILE = 2**27
#: Names of the arrays, with the kinds and numbers of dimensions they must have.
_ARRAYS = {
    "weights": ("f", 2),
    "log_reference": ("f", 1),
    "scatter": ("f", 1),
    "reference_modes": ("f", 2),
    "reference_scores": ("f", 2),
    "cluster_centres": ("f", 1),
    "spill_log_intensity": ("f", 1),
    "spill": ("f", 2),
    "gain_limit": ("f", 1),
    "E_I": ("f", 1),
    "E_II": ("f", 1),
}


class EnsembleFileError(ValueError):
    """A file is not an ensemble that can be read; the message says why."""


def to_parts(ensemble):
    """An ensemble as arrays and a dictionary that JSON can write.

    Parameters
    ----------
    ensemble : Ensemble

    Returns
    -------
    arrays : dict of str to ndarray
    facts : dict
    """
    arrays = {name: getattr(ensemble, name) for name in _PLAIN_ARRAYS}
    arrays["spill_log_intensity"], arrays["spill"] = ensemble.spill
    for name, of_regions in _REGIONS.items():
        arrays[name] = getattr(ensemble.regions, of_regions)
    facts = {name: getattr(ensemble, name) for name in _PLAIN_FACTS}
    for name in _RECORDS:
        facts[name] = asdict(getattr(ensemble, name))
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, facts


_PLAIN_ARRAYS = (
    "weights", "log_reference", "scatter", "reference_modes", "reference_scores",
    "cluster_centres",
)  # fmt: skip
_REGIONS = {"gain_limit": "gain", "E_I": "E_I", "E_II": "E_II"}
_TUPLES = ("layers", "log_intensity_range", "log_fwhm", "u_range")
_PLAIN_FACTS = (*_TUPLES, "log_beam", "cluster_by", "tail", "microscope", "provenance")
_RECORDS = {"scaling": InputScaling, "grid": Grid, "noise": NoiseModel}


def from_parts(arrays, facts):
    """Inverse of :func:`to_parts`.

    Raises
    ------
    EnsembleFileError
        If something is missing, or of a wrong kind or shape.
    """
    try:
        arrays = {name: _array(arrays, name) for name in _ARRAYS}
        values = {name: arrays[name] for name in _PLAIN_ARRAYS}
        values.update({name: facts[name] for name in _PLAIN_FACTS})
        values.update({name: tuple(facts[name]) for name in _TUPLES})
        values.update({name: record(**facts[name]) for name, record in _RECORDS.items()})
        limits = {of_regions: arrays[name] for name, of_regions in _REGIONS.items()}
        spill = arrays["spill_log_intensity"], arrays["spill"]
        ensemble = Ensemble(**values, regions=Regions(**limits), spill=spill)
        _check_shapes(ensemble)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise EnsembleFileError(
            f"the parts of an ensemble are incomplete or of the wrong kind ({error!r})."
        ) from error
    return ensemble


def _array(arrays, name):
    array = np.asarray(arrays[name])
    kind, n_dimensions = _ARRAYS[name]
    if array.dtype.kind != kind or array.ndim != n_dimensions:
        raise TypeError(f"{name} is {array.dtype} of {array.ndim} dimensions")
    return array


def _check_shapes(ensemble):
    layers, n, grid = ensemble.layers, ensemble.n_replicas, ensemble.grid.n
    n_weights = sum((a + 1) * b for a, b in zip(layers[:-1], layers[1:], strict=True))
    n_modes, n_clusters = len(ensemble.reference_modes), ensemble.cluster_centres.size
    expected = {
        "weights": (n, n_weights), "log_reference": (grid,), "scatter": (grid,),
        "reference_modes": (n_modes, grid), "reference_scores": (n, n_modes),
    }  # fmt: skip
    found = {name: getattr(ensemble, name).shape for name in expected}
    found["spill"] = tuple(array.shape for array in ensemble.spill)
    expected["spill"] = ((len(ensemble.spill[0]),), (len(ensemble.spill[0]), grid))
    for field in fields(Regions):
        found[field.name] = getattr(ensemble.regions, field.name).shape
        expected[field.name] = (n_clusters,)
    wrong = [f"{name} {found[name]}" for name in expected if found[name] != expected[name]]
    if wrong or not n or not grid > 1:
        raise TypeError(f"shapes do not agree: {', '.join(wrong)}")


def fingerprint(ensemble):
    """SHA-256, as hexadecimal digits, of all that predictions depend on."""
    arrays, facts = to_parts(ensemble)
    facts.pop("provenance")
    return _checksum(arrays, facts)


def _checksum(arrays, facts):
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save(ensemble, path):
    """Write an ensemble; see :meth:`hyperspy_zlpml.Ensemble.save`."""
    from safetensors.numpy import save as to_bytes

    arrays, facts = to_parts(ensemble)
    header = {
        "format_version": FORMAT_VERSION,
        "sha256": _checksum(arrays, facts),
        "ensemble": facts,
    }
    content = to_bytes(arrays, {_KEY: json.dumps(header, allow_nan=False)})
    _write_whole(Path(path), content)


def _write_whole(path, content):
    """Write bytes aside and give them their name when they are on the disk."""
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
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
    if not _is_integer(header.get("format_version")):
        raise EnsembleFileError(f"{path}: altered: its header holds no format version.")
    if header["format_version"] > FORMAT_VERSION:
        raise EnsembleFileError(
            f"{path}: written by a newer version of hyperspy_zlpml (format "
            f"{header['format_version']}, this one reads up to {FORMAT_VERSION}): update it."
        )
    try:
        arrays = from_bytes(path.read_bytes())
        intact = _checksum(arrays, header["ensemble"]) == header["sha256"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
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


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


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
    if not _is_integer(end) or size < end:
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
