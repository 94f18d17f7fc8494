# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiling of functions that work on one spectrum after the other.

The first call ever compiles; later processes load what was compiled from numba's cache, which lies
beside the modules, in the user's own folder where that cannot be written, or where
``NUMBA_CACHE_DIR`` says. It is looked up by the file of a function: what one calls lies in the same
file, or a change of it went unseen.
"""

import numba
import numpy as np

#: NaN and infinite numbers mean what they mean: only the order of sums is free.
_FREEDOMS = {"reassoc", "contract", "nsz"}
#: Nothing is allocated within, so that no references to arrays are counted.
_OPTIONS = {"error_model": "numpy", "fastmath": _FREEDOMS, "_nrt": False}


def compiled(function):
    """Compile a function when it is first called, to run without the lock of the interpreter.

    Parameters
    ----------
    function : callable
        Of arrays and named tuples of them, which it writes to: it allocates none. It stays reachable as
        ``py_func``.

    Returns
    -------
    callable
        Kept between processes, where a folder can be written.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.compute.compiled import compiled
    >>> @compiled
    ... def total(values):
    ...     found = 0.0
    ...     for value in values:
    ...         found += value
    ...     return found
    >>> total(np.array([1.0, 2.0, 3.0]))
    6.0
    """
    made = numba.njit(nogil=True, no_cfunc_wrapper=True, **_OPTIONS)(function)
    try:
        made.enable_caching()
    except RuntimeError:
        # No folder can be written, or there is no file: compiled anew in every process.
        return made
    return made


def part(function):
    """Compile a function that only compiled ones call, in half the time: Python cannot call it.

    Parameters
    ----------
    function : callable
        In the file of those that call it.

    Returns
    -------
    callable
        Reachable from Python as ``py_func``.
    """
    return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)


def in_place(function):
    """Compile a function into the one that calls it, at its only place there: it is optimised once.

    Parameters
    ----------
    function : callable
        In the file of the one that calls it.

    Returns
    -------
    callable
        Reachable from Python as ``py_func``.
    """
    return numba.njit(inline="always", **_OPTIONS)(function)


def laid_out(values, dtype=float):
    """Lay out an array as compiled functions take it: for any other kind they were compiled anew.

    Parameters
    ----------
    values : array_like
    dtype : dtype

    Returns
    -------
    ndarray
        The array itself where it is contiguous, of this type and may be written to.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.compute.compiled import laid_out
    >>> counts = np.ones((2, 3))
    >>> laid_out(counts) is counts, laid_out(counts.T).flags.c_contiguous
    (True, True)
    >>> laid_out(np.broadcast_to(1.0, 3)).flags.writeable
    True
    """
    if type(values) is np.ndarray and values.dtype == dtype and values.flags.carray:
        # Said at once: most are so, and blocks of few spectra bring many.
        return values
    return np.require(values, dtype, ["C", "A", "W"])
