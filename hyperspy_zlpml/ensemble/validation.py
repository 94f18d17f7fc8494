# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that arrays and facts are the parts of an ensemble.

They may come from any file: kinds, shapes and ranges are checked before anything is made of them.
"""

from collections.abc import Callable

import numpy as np

from hyperspy_zlpml.ensemble.conditions import MOST_SETTINGS, TIMES, Conditions
from hyperspy_zlpml.ensemble.inputs import InputScaling
from hyperspy_zlpml.ensemble.parts import (
    BESIDE_ARRAYS,
    BESIDE_PREFIX,
    CONDITIONS_ARRAYS,
    CONDITIONS_PREFIX,
    RESIDUAL_ARRAYS,
    RESIDUAL_PREFIX,
    EnsembleFileError,
)
from hyperspy_zlpml.network.weights import ACTIVATIONS
from hyperspy_zlpml.zlp.grid import Grid

#: Largest magnitude of the numbers that predictions are made of: of order one, or logarithms.
_LARGEST_NUMBER = 1e6
#: Largest magnitude of the logarithm of a peak, over its height: its exponential is a number.
_LARGEST_LOG = 500.0
#: Largest magnitude of the logarithm of counts and widths.
_LARGEST_LOG_COUNTS = 100.0
#: Deepest nesting of what is known of the origin.
_DEEPEST = 20
#: Furthest end of the grid, in x = asinh(2 u): 10^12 FWHM.
_LARGEST_X = 30.0
#: Most channels over which noise can be correlated.
_MOST_LAGS = 100
#: The correlation of noise adds up to 1 to this.
_NORMALISED = 1e-6
#: Most units of a layer: a file of a few megabytes must not keep the machine busy.
_WIDEST_LAYER = 64
#: Most nodes of the grid.
_LARGEST_GRID = 20_000
#: Most replicas.
MOST_REPLICAS = 10_000
#: Most nodes of the curve of the coherent residual, and most channels of a pattern.
_LONGEST_CURVE = 1_000_000
#: Deviations of peaks from their shapes, and of channels, lie above this: counts are positive.
_LEAST_DEVIATION = -1.0
#: Inputs without conditions: reduced energy and ln N0.
_N_INPUTS = 2
#: Errors of work with numbers and values of any kind.
_WRONG_PARTS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)
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
#: Numbers of dimensions of the arrays of conditions.
_CONDITIONS_DIMENSIONS = {"settings": 2, "values": 2, "errors": 2, "spread": 1, "scores": 2}


def checked_parts(arrays, facts):
    """Check the parts of an ensemble, and give back those that it consists of.

    Parameters
    ----------
    arrays : dict of str to ndarray
    facts : dict of str to JSON

    Returns
    -------
    arrays : dict of str to ndarray
        In the byte order of this machine.
    conditions : Conditions or None

    Raises
    ------
    EnsembleFileError
        If something is missing, of a wrong kind or shape, or no number to predict with.
    """
    try:
        conditions = _conditions(arrays, facts["conditions"])
        residual = _residual_arrays(arrays, facts)
        arrays = {name: _array(arrays, name, *_ARRAYS[name]) for name in _ARRAYS}
        _check_facts(facts)
        _check_shapes(arrays, facts)
        _check_residual(residual, facts)
        arrays |= residual
        _check_conditions(conditions, arrays, facts)
        _check_peaks(conditions, arrays, facts)
    except KeyError as error:
        raise EnsembleFileError(f"the parts of an ensemble are incomplete: no {error}.") from error
    except _WRONG_PARTS as error:
        raise EnsembleFileError(
            f"the parts of an ensemble are of the wrong kind: {error}."
        ) from error
    return arrays, conditions


def _conditions(arrays, facts):
    """Build the conditions, None where there are none."""
    if facts is None:
        return None
    if not _is_record({"names": _are_names, "logarithmic": _are_flags})(facts):
        raise TypeError("conditions cannot be that")
    values = {
        name: _array(
            arrays, CONDITIONS_PREFIX + name, _CONDITIONS_DIMENSIONS[name], _LARGEST_NUMBER
        )
        for name in CONDITIONS_ARRAYS
    }
    return Conditions(tuple(facts["names"]), logarithmic=tuple(facts["logarithmic"]), **values)


def _residual_arrays(arrays, facts):
    """Look up the arrays of the coherent residual; files of format 1 hold none."""
    if not any(name.startswith((RESIDUAL_PREFIX, BESIDE_PREFIX)) for name in arrays):
        return {}
    kinds = {"start": _is_number, "step": _is_scale, "n": is_integer, "n_modes": is_integer}
    if not _is_record(kinds)(facts["residual"]):
        raise TypeError("residual cannot be that")
    names = [RESIDUAL_PREFIX + name for name in RESIDUAL_ARRAYS]
    names += [BESIDE_PREFIX + name for name in BESIDE_ARRAYS]
    return {name: _array(arrays, name, 1, _LARGEST_NUMBER) for name in names}


def _check_residual(residual, facts):
    """Check shapes and ranges of the arrays of the coherent residual."""
    if not residual:
        return
    n_grid = facts["grid"]["n"]
    curve, pattern, error = (residual[RESIDUAL_PREFIX + name] for name in RESIDUAL_ARRAYS)
    *on_grid, scale = (residual[BESIDE_PREFIX + name] for name in BESIDE_ARRAYS)
    sizes = (curve.size, scale.size) == (facts["residual"]["n"], facts["residual"]["n_modes"])
    if any(one.shape != (n_grid,) for one in on_grid) or pattern.shape != error.shape or not sizes:
        raise ValueError("shapes do not agree: those of the coherent residual")
    if not 2 <= curve.size <= _LONGEST_CURVE or pattern.size > _LONGEST_CURVE:
        raise ValueError(f"{curve.size} nodes or {pattern.size} channels of the residual")
    least = min(one.min(initial=0.0) for one in (curve, pattern))
    negative = min(one.min(initial=0.0) for one in (*on_grid[1:], scale, error)) < 0
    if least <= _LEAST_DEVIATION or negative:
        raise ValueError("the coherent residual leaves no counts, or has negative errors")


def _array(arrays, name, n_dimensions, largest):
    """Look up one array, and check kind, dimensions and range."""
    array = np.asarray(arrays[name])
    if array.dtype.kind != "f" or array.itemsize not in (4, 8) or array.ndim != n_dimensions:
        raise TypeError(f"{name} is {array.dtype} of {array.ndim} dimensions")
    if not (np.abs(array) <= largest).all():
        raise ValueError(f"{name} holds numbers that are none, or too large")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_facts(facts):
    """Check kinds and ranges of what JSON holds: a file may hold anything."""
    wrong = [name for name, is_right in _KINDS.items() if not is_right(facts[name])]
    if not _is_activation(facts.get("activation", "tanh")):
        wrong.append("activation")
    if wrong:
        raise TypeError(f"{', '.join(wrong)} cannot be that")


def _check_shapes(arrays, facts):
    """Check that the shapes of all arrays agree with each other and with the facts."""
    grid, n = Grid(**facts["grid"]), len(arrays["weights"])
    wrong = [
        f"{name} {arrays[name].shape}"
        for name, shape in _expected_shapes(arrays, facts["layers"], grid).items()
        if arrays[name].shape != shape
    ]
    some = ("weights", "cluster_centres", "spill_log_intensity")
    if wrong or not all(len(arrays[name]) for name in some):
        raise ValueError(f"shapes do not agree or hold nothing: {', '.join(wrong)}")
    if n > MOST_REPLICAS or grid.n > _LARGEST_GRID:
        raise ValueError(f"{n} replicas on {grid.n} nodes are too many")
    if not 0 < grid.x[-1] <= _LARGEST_X:
        raise ValueError(f"the grid of {grid.n} nodes does not hold the peak")
    if (np.diff(arrays["spill_log_intensity"]) < 0).any():
        raise ValueError("spill_log_intensity does not increase")
    n_modes = len(arrays["reference_modes"])
    n_errors = facts.get("n_errors", n_modes)
    if not is_integer(n_errors) or not 0 <= n_errors <= n_modes:
        raise ValueError(f"n_errors is {n_errors!r}, of {n_modes} modes of the reference")


def _expected_shapes(arrays, layers, grid):
    """Shapes that arrays must have, from the lengths of some of them."""
    n_replicas = len(arrays["weights"])
    n_weights = sum((a + 1) * b for a, b in zip(layers[:-1], layers[1:], strict=True))
    n_clusters = arrays["cluster_centres"].size
    n_modes = len(arrays["reference_modes"])
    return {
        "weights": (n_replicas, n_weights),
        "log_reference": (grid.n,),
        "scatter": (grid.n,),
        "reference_modes": (n_modes, grid.n),
        "reference_scores": (n_replicas, n_modes),
        "spill": (len(arrays["spill_log_intensity"]), grid.n),
        "gain_limit": (n_clusters,),
        "E_I": (n_clusters,),
        "E_II": (n_clusters,),
    }


def _check_conditions(conditions, arrays, facts):
    """Check that conditions, inputs of the networks and setting agree with each other."""
    layers = facts["layers"]
    setting = tuple(facts["setting"])
    if conditions is None:
        if setting or layers[0] != _N_INPUTS:
            raise ValueError(f"layers {layers} or setting {setting} without conditions")
        return
    n_settings, n = len(conditions.settings), len(conditions.names)
    expected = {
        "settings": (n_settings, n),
        "values": (n_settings, 2),
        "errors": (n_settings, 2),
        "spread": (2,),
        "scores": (len(arrays["weights"]), 2),
    }
    wrong = [name for name, shape in expected.items() if getattr(conditions, name).shape != shape]
    if n_settings > MOST_SETTINGS:
        raise ValueError(f"{n_settings} settings are too many")
    if wrong or layers[0] != _N_INPUTS + n or len(setting) not in (0, n):
        raise ValueError(f"shapes of conditions do not agree: {', '.join(wrong)}")
    positive = (conditions.settings > 0).all(0)
    is_time = np.array([name in TIMES for name in conditions.names])
    if conditions.logarithmic != tuple(positive.tolist()) or not positive[is_time].all():
        raise ValueError("settings of conditions are not what their logarithms are taken of")
    with np.errstate(all="ignore"):
        scaled = conditions.scaled(np.array([*conditions.settings, setting or conditions.middle]))
    if not (np.abs(scaled) < _LARGEST_NUMBER).all():
        raise ValueError("settings of conditions span no range, or are far outside of it")
    with np.errstate(all="ignore"):
        logarithms = np.array(conditions.of_replicas(setting or conditions.middle))
    if not (np.abs(logarithms) <= _LARGEST_LOG_COUNTS).all():
        raise ValueError("conditions give peaks that are no numbers")


def _check_peaks(conditions, arrays, facts):
    """Check that no peak of any replica can be larger or smaller than numbers go.

    Hidden units lie between -1 and 1: outputs are not above the sum of the last weights.
    """
    layers, weights = facts["layers"], np.abs(arrays["weights"].astype(float))
    modes = np.abs(arrays["reference_scores"].astype(float)).max(0, initial=0.0)
    inputs = 1.0 if len(layers) > 2 else _largest_input(facts)
    outputs = weights[:, -layers[-2] - 1 :].sum(1).max() * inputs
    spread = outputs + (modes @ np.abs(arrays["reference_modes"].astype(float))).max()
    setting = tuple(facts["setting"])
    if setting:
        spread *= 1 + conditions.outside(setting)
    if not np.abs(arrays["log_reference"]).max() + spread <= _LARGEST_LOG:
        raise ValueError("peaks are no numbers: weights, reference or modes are too large")


def _largest_input(facts):
    """Compute the largest input of the networks, 1 or more."""
    grid, scaling = Grid(**facts["grid"]), InputScaling(**facts["scaling"])
    ends = scaling(grid.u[[0, -1, 0, -1]], np.repeat(facts["log_intensity_range"], 2))
    return max(1.0, np.abs(ends).max())


# --- kinds of values that JSON can hold -----------------------------------------------------------


def is_integer(value):
    """Tell whether a value of JSON is a whole number, and no truth value.

    Parameters
    ----------
    value : anything that JSON can hold

    Returns
    -------
    bool

    Examples
    --------
    >>> from hyperspy_zlpml.ensemble.validation import is_integer
    >>> is_integer(1), is_integer(True), is_integer(1.0)
    (True, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value, largest=_LARGEST_NUMBER):
    """Tell whether a value of JSON is a number, finite and not too large, and no truth value."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and abs(value) <= largest


def _is_text(value):
    return isinstance(value, str)


def _is_pair(value):
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))


def _is_range(value):
    return _is_pair(value) and value[0] <= value[1]


def _is_log_counts(value):
    return _is_number(value, _LARGEST_LOG_COUNTS)


def _is_log_range(value):
    return _is_range(value) and all(map(_is_log_counts, value))


def _is_width(value):
    """Tell whether a value can be mean and standard deviation of ln(FWHM / eV)."""
    return _is_pair(value) and abs(value[0]) <= _LARGEST_X and value[1] >= 0


def _is_activation(value):
    return _is_text(value) and value in ACTIVATIONS


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


def _is_record(names: dict[str, Callable]) -> Callable:
    """Make a test of whether a value is a dictionary of these entries, each of its kind."""

    def is_record(value):
        if not isinstance(value, dict) or set(value) != set(names):
            return False
        return all(is_right(value[name]) for name, is_right in names.items())

    return is_record


def _is_scale(value):
    return _is_number(value) and value >= 1 / _LARGEST_NUMBER


def _is_counts(value):
    return _is_number(value, np.finfo(float).max) and value >= 0


def _are_two_counts(value):
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_counts, value))


def _is_noise(value):
    """Tell whether a value describes the noise; older files have neither correlation nor an error."""
    kinds = {"gain": _is_counts, "readout": _is_counts, "source": _is_text}
    later = {"correlation": _is_correlation, "gain_error": _is_counts, "dark": _are_two_counts}
    if not isinstance(value, dict):
        return False
    return _is_record(kinds | {name: later[name] for name in later if name in value})(value)


def _is_correlation(value):
    """Tell whether a value can be the correlation of the noise between channels."""
    if not _are_numbers(value) or not 0 < len(value) <= _MOST_LAGS or not value[0] > 0:
        return False
    return abs(value[0] + 2 * sum(value[1:]) - 1) < _NORMALISED


def _is_start(value):
    return _is_number(value, _LARGEST_X) and value < 0


def _are_settings(value):
    return isinstance(value, dict) and all(_is_text(k) and _is_number(v) for k, v in value.items())


def _is_shallow(value):
    """Tell whether a value is a dictionary that JSON can write wherever it is called from."""
    if not isinstance(value, dict):
        return False
    level = [value]
    for _ in range(_DEEPEST):
        inner = [one.values() if isinstance(one, dict) else one for one in level]
        level = [child for one in inner for child in one if isinstance(child, (dict, list, tuple))]
    return not level


#: Test of the kind of each fact.
_KINDS = {
    "layers": _are_layers,
    "log_intensity_range": _is_log_range,
    "log_fwhm": _is_width,
    "u_range": _is_range,
    "log_beam": _is_log_counts,
    "setting": _are_numbers,
    "cluster_by": _is_text,
    "tail": _is_text,
    "origin": _is_text,
    "microscope": _are_settings,
    "provenance": _is_shallow,
    "scaling": _is_record(
        {
            "log_intensity_mean": _is_number,
            "log_intensity_scale": _is_scale,
            "x_scale": _is_scale,
            "condition_scale": _is_scale,
        }
    ),
    "grid": _is_record({"start": _is_start, "n": is_integer}),
    "noise": _is_noise,
}
