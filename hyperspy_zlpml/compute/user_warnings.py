# SPDX-License-Identifier: GPL-3.0-or-later
"""Warnings that point at the line of the user who called, wherever our code raises them."""

import sys
import warnings
from pathlib import Path

#: Folder of this package: frames of its files are not the user's.
_PACKAGE = str(Path(__file__).resolve().parents[1])


def warn_user(message):
    """Raise a UserWarning that points at the first caller outside of this package.

    Parameters
    ----------
    message : str

    Examples
    --------
    >>> import warnings
    >>> from hyperspy_zlpml.compute.user_warnings import warn_user
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warn_user("the peaks are narrow")
    >>> caught[0].category.__name__, str(caught[0].message)
    ('UserWarning', 'the peaks are narrow')
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)
