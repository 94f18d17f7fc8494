# SPDX-License-Identifier: GPL-3.0-or-later
"""Warnings that point at the line of the user who called, wherever our code raises them."""

import sys
import warnings
from contextlib import contextmanager
from contextvars import ContextVar

#: Name of this package: frames of its modules are not the user's.
_PACKAGE = __name__.split(".")[0]
#: What was said already, where nothing is to be said twice.
_SAID = ContextVar("said", default=None)
#: Whether nothing is to be said at all.
_SILENT = ContextVar("silent", default=False)


@contextmanager
def each_warning_once():
    """Say nothing twice within this context, however often it is found.

    Examples
    --------
    >>> import warnings
    >>> from hyperspy_zlpml.compute.user_warnings import each_warning_once, warn_user
    >>> with warnings.catch_warnings(record=True) as caught, each_warning_once():
    ...     warnings.simplefilter("always")
    ...     for _ in range(3):
    ...         warn_user("one peak is saturated")
    >>> len(caught)
    1
    """
    token = _SAID.set(set())
    try:
        yield
    finally:
        _SAID.reset(token)


@contextmanager
def nothing_said():
    """Say nothing within this context, in this thread alone: what others notice is said.

    Examples
    --------
    >>> import warnings
    >>> from hyperspy_zlpml.compute.user_warnings import nothing_said, warn_user
    >>> with warnings.catch_warnings(record=True) as caught, nothing_said():
    ...     warn_user("one peak is saturated")
    >>> caught
    []
    """
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


def warn_user(message):
    """Raise a UserWarning that points at the first caller outside of this package.

    Parameters
    ----------
    message : str
        Message of the warning.

    Examples
    --------
    >>> import warnings
    >>> from hyperspy_zlpml.compute.user_warnings import warn_user
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warn_user("the peaks are narrow")
    >>> caught[0].category.__name__, str(caught[0].message)
    ('UserWarning', 'the peaks are narrow')
    """
    if _SILENT.get():
        return
    said = _SAID.get()
    if said is not None:
        if message in said:
            return
        said.add(message)
    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame):
        level += 1
        frame = frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def _is_ours(frame):
    """Tell whether a frame runs code of this package."""
    return frame.f_globals.get("__name__", "").split(".")[0] == _PACKAGE


def warn_of_all(messages, before=""):
    """Warn of every message at the line of the user that led here.

    Parameters
    ----------
    messages : sequence of str or None
        Nothing is said of those that are empty or None.
    before : str
        Said before each.
    """
    for message in messages:
        if message:
            warn_user(before + message)


def counted(number, one, many):
    """Say how many there are of something, one alone in the singular.

    Parameters
    ----------
    number : int
    one, many : str
        What it is, in the singular and in the plural.

    Returns
    -------
    str

    Examples
    --------
    >>> from hyperspy_zlpml.compute.user_warnings import counted
    >>> counted(1, "spectrum", "spectra"), counted(3, "spectrum", "spectra")
    ('1 spectrum', '3 spectra')
    """
    return f"{number} {one if number == 1 else many}"
