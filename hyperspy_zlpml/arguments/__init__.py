# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of arguments: one function for each, which hands back the value or says what is wrong.

Every function takes the value and the name that the user knows it by (str), and hands back the value
as the type that it must be of. Called before any work is done, so that nobody waits for an error.
Errors, all ValueError, say what was expected and what was got.
"""

import functools
import inspect
import numbers
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from difflib import get_close_matches

import numpy as np

#: No quantity is larger in a unit that somebody uses for it.
LARGEST = 1e12
#: Settings of a microscope that there are: keV, s, mrad.
SETTINGS = {
    "beam_energy": (1.0, 1e4),
    "exposure": (1e-9, 1e5),
    "dwell_time": (1e-9, 1e5),
    "convergence_angle": (0.0, 1e3),
    "collection_angle": (0.0, 1e3),
}
#: Seeds below this can be stored in every file.
_SEEDS = 2**63
#: Longest part of a value that errors repeat.
_LONGEST = 80


def got(value):
    """Describe a value in an error: itself where it is short, else what it is.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.arguments import got
    >>> got("many"), got(np.zeros((40, 30)))
    ("'many'", 'ndarray of shape (40, 30)')
    """
    text = repr(value)
    if len(text) <= _LONGEST and "\n" not in text:
        return text
    if isinstance(value, (str, bytes)):
        return f"{value[: _LONGEST // 2]!r}..."
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" of shape {shape}" if isinstance(shape, tuple) else "")


def meant(value, names):
    """Ask whether a name that there is was meant by one that there is not; empty where none is alike.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import meant
    >>> meant("e_i", ["gain_limit", "E_I", "E_II"]), meant("onset", ["gain_limit", "E_I", "E_II"])
    (" Did you mean 'E_I'?", '')
    """
    spelt = {name.lower(): name for name in names}
    alike = get_close_matches(value.lower(), spelt, n=1) if isinstance(value, str) else []
    return f" Did you mean {spelt[alike[0]]!r}?" if alike else ""


def named(method):
    """Let a method say which of its arguments was meant by one that it does not have.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import named
    >>> @named
    ... def search(n_evaluations=40):
    ...     return n_evaluations
    >>> search(n_evaluation=3)
    Traceback (most recent call last):
    TypeError: search: no argument 'n_evaluation'. Did you mean 'n_evaluations'?
    """
    known = inspect.signature(method).parameters

    @functools.wraps(method)
    def called(*values, **others):
        for name in others:
            if name not in known:
                asked = meant(name, known)
                raise TypeError(f"{method.__name__}: no argument {name!r}.{asked}")
        return method(*values, **others)

    return called


def refuse(value, name, expected, names=()):
    """Raise the ValueError that names an argument, what was expected, and of some names the one that may be meant."""
    raise ValueError(f"{name}: expected {expected}, got {got(value)}.{meant(value, names)}")


def is_number(value, largest=LARGEST):
    """Tell whether a value is a finite real number of a size that a quantity can have.

    Examples
    --------
    A flag is no number, though Python says so:

    >>> from hyperspy_zlpml.arguments import is_number
    >>> is_number(2.5), is_number(True), is_number("2.5"), is_number(float("nan"))
    (True, False, False, False)
    """
    if isinstance(value, (bool, np.bool_)):
        return False
    value = value.item() if isinstance(value, np.ndarray) and not value.ndim else value
    return (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and _is_within(value, largest)
    )


def _is_within(value, largest):
    return abs(value) <= largest if isinstance(value, int) else bool(np.abs(value) <= largest)


def number(value, name, expected="a finite number", allows=None, largest=LARGEST):
    """Check a number: that it is what is ``expected``, by what the function ``allows``, and not larger than any.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import number
    >>> number(2, "left")
    2.0
    >>> number("2", "left")
    Traceback (most recent call last):
    ValueError: left: expected a finite number, got '2'.
    """
    if not is_number(value, largest) or not (allows is None or allows(value)):
        refuse(value, name, expected)
    return float(value)


def positive(value, name, unit="", largest=LARGEST):
    """Check a positive number, neither larger than ``largest`` nor smaller than its inverse."""
    expected = f"a positive number ({unit})" if unit else "a positive number"
    return number(
        value, name, expected=expected, allows=lambda one: one >= 1 / largest, largest=largest
    )


def within(value, name, low, high):
    """Check a number between two others, which it may equal."""
    expected = f"a number from {low:g} to {high:g}"
    return number(value, name, expected, lambda one: low <= one <= high)


def setting(value, name):
    """Check a setting of a microscope; those without a name that is known are any number.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import setting
    >>> setting(200, "beam_energy"), setting(-3, "tilt")
    (200.0, -3.0)
    >>> setting(0, "beam_energy")
    Traceback (most recent call last):
    ValueError: beam_energy: expected a number from 1 to 10000, got 0.
    """
    if name not in SETTINGS:
        return number(value, name)
    return within(value, name, *SETTINGS[name])


def probability(value, name="confidence"):
    """Check a probability that is neither 0 nor 1.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import probability
    >>> probability(0.68)
    0.68
    >>> probability(68)
    Traceback (most recent call last):
    ValueError: confidence: expected a number between 0 and 1, got 68.
    """
    return number(value, name, "a number between 0 and 1", lambda one: 0 < one < 1)


def count(value, name, least=1, most=None, beside=""):
    """Check an integer; ``beside`` says what may be given instead.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import count
    >>> count(True, "n_channels", least=2)
    Traceback (most recent call last):
    ValueError: n_channels: expected an integer of at least 2, got True.
    """
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < least or (most is not None and value > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        refuse(value, name, f"an integer {span}{beside}")
    return int(value)


def flag(value, name):
    """Check what is True or False: "no" is neither.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import flag
    >>> flag("no", "overwrite")
    Traceback (most recent call last):
    ValueError: overwrite: expected True or False, got 'no'.
    """
    if not isinstance(value, (bool, np.bool_)):
        refuse(value, name, "True or False")
    return bool(value)


def optional_flag(value, name):
    """Check what is True, False, or None for the default."""
    if value is not None and not isinstance(value, (bool, np.bool_)):
        refuse(value, name, "True, False or None")
    return None if value is None else bool(value)


def choice(value, name, names, beside=""):
    """Check the name of something, one of ``names``; ``beside`` says what may be given instead.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import choice
    >>> choice("totl", "cluster_by", ["total", "zlp"])
    Traceback (most recent call last):
    ValueError: cluster_by: expected one of ['total', 'zlp'], got 'totl'. Did you mean 'total'?
    """
    if not isinstance(value, str) or value not in names:
        refuse(value, name, f"one of {sorted(names)}{beside}", names)
    return value


def keys(value, name, names):
    """Check a dict whose keys are among ``names``.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import keys
    >>> keys({"E_1": 2.0}, "regions", ["gain_limit", "E_I"])
    Traceback (most recent call last):
    ValueError: regions: expected a dict with keys among ['gain_limit', 'E_I'], got the key 'E_1'. \
Did you mean 'E_I'?
    """
    is_dict = isinstance(value, dict)
    others = [key for key in value if key not in names] if is_dict else []
    if others or not is_dict:
        found = f"the key {others[0]!r}.{meant(others[0], names)}" if others else f"{got(value)}."
        raise ValueError(f"{name}: expected a dict with keys among {list(names)}, got {found}")
    return value


def text(value, name):
    """Check text."""
    if not isinstance(value, str):
        refuse(value, name, "text")
    return value


def path(value, name):
    """Check the path of a file or folder.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import path
    >>> path(3, "path")
    Traceback (most recent call last):
    ValueError: path: expected the path of a file as str or Path, got 3.
    """
    is_path = isinstance(value, (str, os.PathLike))
    found = os.fspath(value) if is_path else None
    if not isinstance(found, str) or not found.strip() or "\0" in found:
        refuse(value, name, "the path of a file as str or Path")
    return found


def instance(value, name, kind, advice=""):
    """Check that a value is of a class; ``advice`` says where to get one."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        raise ValueError(
            f"{name}: expected {article} {kind.__name__}{advice}, got {type(value).__name__}."
        )
    return value


def array(value, name):
    """Make an array, of any dtype, of what can be one."""
    try:
        return np.asanyarray(value)
    except Exception as error:  # any kind: objects decide themselves how they become an array
        raise ValueError(f"{name}: expected an array of numbers, got {got(value)}.") from error


def real_array(value, name, shape=None):
    """Check an array, or nested lists, of real numbers, of one shape where that is given.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import real_array
    >>> real_array([1, 2], "energy")
    array([1., 2.])
    >>> real_array(["1", "2"], "energy")
    Traceback (most recent call last):
    ValueError: energy: expected real numbers, got ['1', '2'].
    """
    found = array(value, name)
    if found.dtype.kind not in "fiu" or isinstance(found, np.ma.MaskedArray):
        refuse(value, name, "real numbers")
    if shape is not None and found.shape != shape:
        raise ValueError(f"{name}: expected an array of shape {shape}, got shape {found.shape}.")
    return found.astype(float)


def finite_array(value, name, shape=None):
    """Check an array of finite real numbers, of one shape where that is given."""
    found = real_array(value, name, shape)
    if not (np.abs(found) <= LARGEST).all():
        refuse(value, name, "finite numbers")
    return found


def broadcast(arrays):
    """Bring arrays, given by their names, to a common shape.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.arguments import broadcast
    >>> broadcast({"u": np.zeros(3), "log_intensity": np.zeros(2)})
    Traceback (most recent call last):
    ValueError: u, log_intensity: expected shapes that broadcast, got (3,), (2,).
    """
    try:
        return tuple(np.broadcast_arrays(*arrays.values()))
    except ValueError as error:
        shapes = ", ".join(str(one.shape) for one in arrays.values())
        raise ValueError(
            f"{', '.join(arrays)}: expected shapes that broadcast, got {shapes}."
        ) from error


def integers(value, name):
    """Check a sequence of integers; one alone is a sequence of one.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import integers
    >>> integers((3, 4), "indices"), integers(3, "indices")
    ((3, 4), (3,))
    """
    if isinstance(value, numbers.Integral):
        value = (value,)
    values = tuple(value) if is_sequence(value) else (None,)
    if not all(isinstance(one, numbers.Integral) and not isinstance(one, bool) for one in values):
        refuse(value, name, "integers")
    return tuple(int(one) for one in values)


def is_sequence(value):
    """Tell whether a value holds others in an order, and can be looked at more than once.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import is_sequence
    >>> is_sequence([60, 200]), is_sequence({60, 200}), is_sequence("60")
    (True, False, False)
    """
    has_no_order = isinstance(value, (str, bytes, Mapping, Set, Iterator))
    return isinstance(value, Iterable) and not has_no_order and getattr(value, "ndim", 1) > 0


def pair(value, name, low, high):
    """Check two numbers within limits, the first not above the second."""
    ends = finite_array(value, name)
    if ends.shape != (2,) or not low <= ends[0] <= ends[1] <= high:
        refuse(value, name, f"two numbers from {low:g} to {high:g}, the smaller one first")
    return tuple(ends.tolist())


def generator(value):
    """Make a random generator of a seed; one that is given goes on."""
    return np.random.default_rng(_checked_seed(value))


def settle_random_state(value):
    """Settle on an integer that gives the same numbers again, for the record.

    Raises
    ------
    ValueError
        If it is none of these, or negative.

    Examples
    --------
    >>> from hyperspy_zlpml.arguments import settle_random_state
    >>> settle_random_state(3)
    3
    """
    value = _checked_seed(value)
    if isinstance(value, int):
        return value
    return int(np.random.default_rng(value).integers(2**31))


def _checked_seed(value):
    if value is None or isinstance(value, np.random.Generator):
        return value
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or not 0 <= value < _SEEDS:
        refuse(value, "random_state", "an int of at least 0, a numpy.random.Generator or None")
    return int(value)
