# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a removal as the lines of Python that give it."""

import inspect

import numpy as np

from hyperspy_zlpml.training.settings import TrainingSettings

#: Values that are written as they are.
_PLAIN = (str, bool, int, float, type(None), list, tuple, dict, TrainingSettings)
#: Line that has settings of a training at hand.
_IMPORT = "from hyperspy_zlpml import TrainingSettings"


def removal_code(function, arguments, target="r", result=""):
    """Write a removal as lines of Python, without arguments that are the defaults.

    Parameters
    ----------
    function : callable
        Method of the signal.
    arguments : dict of str to anything
        Those without a literal are named by themselves; boolean maps are written before.
    target : str
        Name that takes the result.
    result : str
        What is taken of it, as ``.ensemble``.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml import EELSZLPSpectrum
    >>> from hyperspy_zlpml.signals.code import removal_code
    >>> mask = np.array([[True, True, False], [True, False, False]])
    >>> print(removal_code(EELSZLPSpectrum.remove_zlp_ml, {"n_clusters": 3, "vacuum": mask}))
    vacuum = np.zeros((2, 3), bool)
    vacuum.flat[np.r_[0:2, 3:4]] = True
    r = s.remove_zlp_ml(n_clusters=3, vacuum=vacuum)
    """
    known = inspect.signature(function).parameters
    written = {
        name: value for name, value in arguments.items() if not _is_default(value, known[name])
    }
    has_settings = any(isinstance(value, TrainingSettings) for value in written.values())
    lines = [_IMPORT] if has_settings else []
    lines += [
        line
        for name, value in written.items()
        if isinstance(value, np.ndarray) and value.dtype == bool
        for line in _mask_lines(name, value)
    ]
    keywords = ", ".join(f"{name}={_literal(name, value)}" for name, value in written.items())
    return "\n".join([*lines, f"{target} = s.{function.__name__}({keywords}){result}"])


def _is_default(value, parameter):
    return isinstance(value, _PLAIN) and value == parameter.default


def _literal(name, value):
    return repr(value) if isinstance(value, _PLAIN) else name


def _mask_lines(name, mask):
    """Write a boolean map by the runs of pixels in flattened order that are True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel().astype(int), [0]])))
    runs = ", ".join(f"{begin}:{end}" for begin, end in edges.reshape(-1, 2).tolist())
    lines = [f"{name} = np.zeros({mask.shape}, bool)"]
    return [*lines, f"{name}.flat[np.r_[{runs}]] = True"] if runs else lines
