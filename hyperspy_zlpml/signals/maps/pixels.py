# SPDX-License-Identifier: GPL-3.0-or-later
"""Pixels that users ask for, and those that figures begin with."""

import numpy as np

from hyperspy_zlpml import arguments


def place_of(indices, shape):
    """Take navigation indices as a place in arrays of the navigation shape.

    Parameters
    ----------
    indices : tuple of int
        Of the pixel, as (x, y, ...); none, or (0,), for a single spectrum.
    shape : tuple of int
        Navigation shape of arrays, (..., y, x).

    Returns
    -------
    tuple of int
        From 0, in the order of ``shape``.

    Raises
    ------
    ValueError
        If there is no such pixel.

    Examples
    --------
    >>> from hyperspy_zlpml.signals.maps.pixels import place_of
    >>> place_of((3, -1), (5, 6)), place_of((), ()), place_of(0, ())
    ((4, 3), (), ())
    """
    found = arguments.integers(indices, "indices")[::-1]
    if not shape and found in ((), (0,)):
        return ()
    inside = len(found) == len(shape) and all(
        -n <= i < n for i, n in zip(found, shape, strict=True)
    )
    if not inside:
        there = f"one within each of {shape[::-1]}" if shape else "none for a single spectrum"
        arguments.refuse(indices, "indices", there)
    return tuple(i % n for i, n in zip(found, shape, strict=True))


def at_pixel(indices, words=""):
    """Name a pixel by its navigation indices before some words; a single spectrum has no name."""
    name = f"({', '.join(map(str, indices))})" if indices else ""
    return f"{name} {words}".strip()


def pixel_shown(signal, known):
    """Choose the pixel that a figure shows first.

    Parameters
    ----------
    signal : BaseSignal
        Whose navigator counts.
    known : ndarray of bool of the navigation shape
        Where there is an answer.

    Returns
    -------
    tuple of int
        Navigation indices (x, y, ...): where the navigator is, or one in the middle of those with an
        answer where that has none; none for a single spectrum.
    """
    place = tuple(signal.axes_manager.indices)
    if not place or known[place[::-1]] or not known.any():
        return place
    answers = np.argwhere(known)
    return tuple(int(i) for i in answers[len(answers) // 2][::-1])
