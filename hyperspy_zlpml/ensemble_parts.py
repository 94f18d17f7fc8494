# SPDX-License-Identifier: GPL-3.0-or-later
"""Ensembles as dictionaries of arrays and of what JSON can write, and back.

For files of their own (:mod:`hyperspy_zlpml.ensemble_file`) and for HyperSpy's. What comes back may
come from anywhere: kinds, shapes and ranges are checked before anything is made of it.
"""

import hashlib
import json
from dataclasses import asdict, fields

import numpy as np

from hyperspy_zlpml.conditions import TIMES, Conditions
from hyperspy_zlpml.ensemble import Ensemble, InputScaling
from hyperspy_zlpml.image.detector import NoiseModel
from hyperspy_zlpml.zlp.grid import Grid
from hyperspy_zlpml.zlp.regions import Regions

#: Raised when files of before could not be read as what they are any more.
FORMAT_VERSION = 1
#: Largest magnitude of what predictions are made of: all are of order one, or logarithms.
_LARGEST_NUMBER = 1e6
#: Ends of the grid in x = asinh(2 u): 10^12 FWHM.
_LARGEST_X = 30.0
#: Most units of a layer, nodes of the grid, replicas and settings: what is computed from a file of a
#: few megabytes must not take the machine.
_WIDEST_LAYER, _LARGEST_GRID, _MOST_REPLICAS, MOST_SETTINGS = 64, 20_000, 10_000, 200
#: Names of the arrays, with their numbers of dimensions and the largest magnitude they may have.
_ARRAYS = {
    "weights": (2, _LARGEST_NUMBER),
    "log_reference": (1, _LARGEST_NUMBER),
    "scatter": (1, _LARGEST_NUMBER),
    "reference_modes": (2, _LARGEST_NUMBER),
    "reference_scores": (2, _LARGEST_NUMBER),
    "cluster_centres": (1, np.finfo(float).max),
    "spill_log_intensity": (1, _LARGEST_NUMBER),
    "spill": (2, np.finfo(float).max),
    "gain_limit": (1, np.inf),
    "E_I": (1, np.inf),
    "E_II": (1, np.inf),
}
#: The same, of ensembles trained with conditions.
_CONDITIONS = {
    "conditions_settings": (2, _LARGEST_NUMBER),
    "conditions_values": (2, _LARGEST_NUMBER),
    "conditions_errors": (2, _LARGEST_NUMBER),
    "conditions_spread": (1, _LARGEST_NUMBER),
    "conditions_scores": (2, _LARGEST_NUMBER),
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
    facts["conditions"] = None
    if ensemble.conditions is not None:
        for name in _CONDITIONS:
            arrays[name] = getattr(ensemble.conditions, name.removeprefix("conditions_"))
        names, logarithmic = ensemble.conditions.names, ensemble.conditions.logarithmic
        facts["conditions"] = {"names": list(names), "logarithmic": list(logarithmic)}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, facts


_PLAIN_ARRAYS = (
    "weights", "log_reference", "scatter", "reference_modes", "reference_scores",
    "cluster_centres",
)  # fmt: skip
_REGIONS = {"gain_limit": "gain", "E_I": "E_I", "E_II": "E_II"}
_TUPLES = ("layers", "log_intensity_range", "log_fwhm", "u_range", "setting")
_PLAIN_FACTS = (
    *_TUPLES, "log_beam", "cluster_by", "tail", "microscope", "provenance", "origin",
)  # fmt: skip
_RECORDS = {"scaling": InputScaling, "grid": Grid, "noise": NoiseModel}


def from_parts(arrays, facts):
    """Inverse of :func:`to_parts`.

    Raises
    ------
    EnsembleFileError
        If something is missing, of a wrong kind or shape, or no number to predict with.
    """
    try:
        conditions = _conditions(arrays, facts["conditions"])
        arrays = {name: _array(arrays, name, *_ARRAYS[name]) for name in _ARRAYS}
        _check_facts(facts)
        values = {name: arrays[name] for name in _PLAIN_ARRAYS}
        values.update({name: facts[name] for name in _PLAIN_FACTS})
        values.update({name: tuple(facts[name]) for name in _TUPLES})
        values.update({name: record(**facts[name]) for name, record in _RECORDS.items()})
        limits = {of_regions: arrays[name] for name, of_regions in _REGIONS.items()}
        spill = arrays["spill_log_intensity"], arrays["spill"]
        ensemble = Ensemble(**values, regions=Regions(**limits), spill=spill, conditions=conditions)
        _check_shapes(ensemble)
        _check_conditions(ensemble)
    except KeyError as error:
        raise EnsembleFileError(f"the parts of an ensemble are incomplete: no {error}.") from error
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise EnsembleFileError(
            f"the parts of an ensemble are of the wrong kind: {error}."
        ) from error
    return ensemble


def _conditions(arrays, facts):
    if facts is None:
        return None
    if not _is_record({"names": _are_names, "logarithmic": _are_flags})(facts):
        raise TypeError("conditions cannot be that")
    values = {
        name.removeprefix("conditions_"): _array(arrays, name, *kind)
        for name, kind in _CONDITIONS.items()
    }
    return Conditions(tuple(facts["names"]), logarithmic=tuple(facts["logarithmic"]), **values)


def _array(arrays, name, n_dimensions, largest):
    array = np.asarray(arrays[name])
    if array.dtype.kind != "f" or array.itemsize not in (4, 8) or array.ndim != n_dimensions:
        raise TypeError(f"{name} is {array.dtype} of {array.ndim} dimensions")
    if not (np.abs(array) <= largest).all():
        raise ValueError(f"{name} holds numbers that are none, or too large")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_facts(facts):
    """Kinds and ranges of what JSON holds: a file may hold anything."""
    wrong = [name for name, is_right in _KINDS.items() if not is_right(facts[name])]
    if wrong:
        raise TypeError(f"{', '.join(wrong)} cannot be that")


def is_integer(value):
    """Whether a value of JSON is a whole number, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value, largest=_LARGEST_NUMBER):
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and abs(value) <= largest


def _is_text(value):
    return isinstance(value, str)


def _is_pair(value):
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))


def _is_range(value):
    return _is_pair(value) and value[0] <= value[1]


def _is_width(value):
    """Mean and standard deviation of ln(FWHM / eV)."""
    return _is_pair(value) and abs(value[0]) <= _LARGEST_X and value[1] >= 0


def _are_layers(value):
    if not isinstance(value, (list, tuple)) or len(value) < 2 or not all(map(is_integer, value)):
        return False
    return (
        value[0] >= _N_INPUTS and value[-1] == 1 and 0 < min(value) <= max(value) <= _WIDEST_LAYER
    )


def _are_numbers(value):
    return isinstance(value, (list, tuple)) and all(map(_is_number, value))


def _are_names(value):
    is_list = isinstance(value, (list, tuple)) and len(value) > 0 and all(map(_is_text, value))
    return is_list and len(set(value)) == len(value)


def _are_flags(value):
    return isinstance(value, (list, tuple)) and all(isinstance(flag, bool) for flag in value)


def _is_record(names):
    """Whether a value is a dictionary of these entries, each of its kind."""

    def is_record(value):
        if not isinstance(value, dict) or set(value) != set(names):
            return False
        return all(is_right(value[name]) for name, is_right in names.items())

    return is_record


def _is_scale(value):
    return _is_number(value) and value >= 1 / _LARGEST_NUMBER


def _is_counts(value):
    return _is_number(value, np.finfo(float).max) and value >= 0


def _is_start(value):
    return _is_number(value, _LARGEST_X) and value < 0


def _are_settings(value):
    return isinstance(value, dict) and all(_is_text(k) and _is_number(v) for k, v in value.items())


#: Reduced energy and ln N0; conditions come behind.
_N_INPUTS = 2
_KINDS = {
    "layers": _are_layers,
    "log_intensity_range": _is_range,
    "log_fwhm": _is_width,
    "u_range": _is_range,
    "log_beam": _is_number,
    "setting": _are_numbers,
    "cluster_by": _is_text,
    "tail": _is_text,
    "origin": _is_text,
    "microscope": _are_settings,
    "provenance": lambda value: isinstance(value, dict),
    "scaling": _is_record(
        {
            "log_intensity_mean": _is_number,
            "log_intensity_scale": _is_scale,
            "x_scale": _is_scale,
            "condition_scale": _is_scale,
        }
    ),
    "grid": _is_record({"start": _is_start, "n": is_integer}),
    "noise": _is_record({"gain": _is_counts, "readout": _is_counts, "source": _is_text}),
}


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
    if wrong or not n or not n_clusters or not len(ensemble.spill[0]):
        raise ValueError(f"shapes do not agree or hold nothing: {', '.join(wrong)}")
    if n > _MOST_REPLICAS or grid > _LARGEST_GRID:
        raise ValueError(f"{n} replicas on {grid} nodes are too many")
    if not 0 < ensemble.grid.x[-1] <= _LARGEST_X:
        raise ValueError(f"the grid of {grid} nodes does not hold the peak")
    if (np.diff(ensemble.spill[0]) < 0).any():
        raise ValueError("spill_log_intensity does not increase")


def _check_conditions(ensemble):
    conditions, setting = ensemble.conditions, ensemble.setting
    if conditions is None:
        if setting or ensemble.layers[0] != _N_INPUTS:
            raise ValueError(f"layers {ensemble.layers} or setting {setting} without conditions")
        return
    n_settings, n = len(conditions.settings), len(conditions.names)
    expected = {
        "settings": (n_settings, n), "values": (n_settings, 2), "errors": (n_settings, 2),
        "spread": (2,), "scores": (ensemble.n_replicas, 2),
    }  # fmt: skip
    wrong = [name for name, shape in expected.items() if getattr(conditions, name).shape != shape]
    if n_settings > MOST_SETTINGS:
        raise ValueError(f"{n_settings} settings are too many")
    if wrong or ensemble.layers[0] != _N_INPUTS + n or len(setting) not in (0, n):
        raise ValueError(f"shapes of conditions do not agree: {', '.join(wrong)}")
    positive = (conditions.settings > 0).all(0)
    is_time = np.array([name in TIMES for name in conditions.names])
    if conditions.logarithmic != tuple(positive.tolist()) or not positive[is_time].all():
        raise ValueError("settings of conditions are not what their logarithms are taken of")
    with np.errstate(all="ignore"):
        scaled = conditions.scaled(np.array([*conditions.settings, setting or conditions.middle]))
    if not (np.abs(scaled) < _LARGEST_NUMBER).all():
        raise ValueError("settings of conditions span no range, or are far outside of it")


def fingerprint(ensemble):
    """SHA-256, as hexadecimal digits, of all that predictions depend on."""
    arrays, facts = to_parts(ensemble)
    facts.pop("provenance")
    return checksum(arrays, facts)


def checksum(arrays, facts):
    """SHA-256, as hexadecimal digits, of all parts."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
