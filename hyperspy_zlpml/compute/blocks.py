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
    blocks = slices_of(n_spectra)
    with steps(title, len(blocks), show_progressbar) as advance:
        for number, _ in enumerate(_in_threads(work, blocks), start=1):
            advance(number)


def slices_of(n_spectra):
    """Cut spectra into blocks.

    Parameters
    ----------
    n_spectra : int

    Returns
    -------
    list of slice

    Examples
    --------
    >>> from hyperspy_zlpml.compute.blocks import slices_of
    >>> slices_of(600)
    [slice(0, 512, None), slice(512, 600, None)]
    """
    starts = range(0, n_spectra, _SPECTRA_AT_ONCE)
    return [slice(start, min(start + _SPECTRA_AT_ONCE, n_spectra)) for start in starts]


def side_by_side(function, items):
    """Call a function with every item, side by side in threads, and list what it gives, in order.

    Parameters
    ----------
    function : callable
        Called with one item.
    items : sequence

    Returns
    -------
    list

    Examples
    --------
    >>> from hyperspy_zlpml.compute.blocks import side_by_side
    >>> side_by_side(len, ["a", "bcd", "ef"])
    [1, 3, 2]
    """
    return list(_in_threads(function, items))


def together(*calls):
    """Call functions without arguments side by side in threads, and list what they give, in order.

    Parameters
    ----------
    *calls : callable
        They neither warn nor depend on what holds in the calling thread alone, as ``np.errstate`` does.

    Returns
    -------
    list

    Examples
    --------
    >>> from hyperspy_zlpml.compute.blocks import together
    >>> together(lambda: "one", lambda: 2)
    ['one', 2]
    """
    return side_by_side(lambda call: call(), calls)


def _in_threads(function, items):
    """Give what a function gives for every item, in order, as soon as it is there."""
    with one_blas_thread, ThreadPoolExecutor(n_threads()) as pool:
        # Closed by hand: items that wait are not begun any more after an error.
        with contextlib.closing(pool.map(function, items)) as done:
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

    in_order = side_by_side(work, slices_of(len(arrays[0])) or [slice(0, 0)])
    if not isinstance(in_order[0], tuple):
        return np.concatenate(in_order)
    return tuple(np.concatenate(parts) for parts in zip(*in_order, strict=True))
