# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of spectra in memory, worked on side by side in threads."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hyperspy_zlpml.compute.progress import steps
from hyperspy_zlpml.compute.threads import n_threads, one_blas_thread

#: Spectra that a thread works on at once.
_SPECTRA_AT_ONCE = 512


def run_in_threads(work, n_spectra, show_progressbar, title):
    """Call a function with slices that cover all spectra, side by side in threads.

    Parameters
    ----------
    work : callable
        Called with a slice.
    n_spectra : int
    show_progressbar : bool
    title : str
        Title of the progress bar.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.compute.blocks import run_in_threads
    >>> visits = np.zeros(2000)
    >>> def visit(rows):
    ...     visits[rows] += 1
    >>> run_in_threads(visit, len(visits), show_progressbar=False, title="")
    >>> bool((visits == 1).all())
    True
    """
    n_blocks = len(_slices(n_spectra))
    with steps(title, n_blocks, show_progressbar) as advance:
        for number, _ in enumerate(_side_by_side(work, n_spectra), start=1):
            advance(number)


def _slices(n_spectra):
    """Cut spectra into blocks."""
    return [
        slice(start, min(start + _SPECTRA_AT_ONCE, n_spectra))
        for start in range(0, n_spectra, _SPECTRA_AT_ONCE)
    ]


def _side_by_side(work, n_spectra):
    """Call a function with slices of spectra in threads, and give what it gives, in order."""
    with one_blas_thread, ThreadPoolExecutor(n_threads()) as pool:
        # Closed by hand: blocks that wait are not begun any more after an error.
        with contextlib.closing(pool.map(work, _slices(n_spectra))) as done:
            yield from done


def join_blocks(function, *arrays):
    """Apply a function of spectra to blocks of them, side by side in threads, and join what it gives.

    Passes over a block find it in the cache; passes over thousands of spectra do not.

    Parameters
    ----------
    function : callable
        Called with the same rows of all arrays; gives one array, or a tuple of arrays, with one row
        for each. It must treat every spectrum alone.
    *arrays : ndarray of shape (n_spectra, ...)

    Returns
    -------
    ndarray of shape (n_spectra, ...), or tuple of them

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.compute.blocks import join_blocks
    >>> counts = np.arange(6000).reshape(2000, 3)
    >>> lowest, highest = join_blocks(lambda rows: (rows.min(-1), rows.max(-1)), counts)
    >>> bool((highest - lowest == 2).all()), highest.shape
    (True, (2000,))
    """

    def work(rows):
        return function(*(array[rows] for array in arrays))

    in_order = list(_side_by_side(work, len(arrays[0])))
    if not isinstance(in_order[0], tuple):
        return np.concatenate(in_order)
    return tuple(np.concatenate(parts) for parts in zip(*in_order, strict=True))
