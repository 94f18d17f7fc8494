# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments that are settled by the preferences of HyperSpy where they are not given."""

import hyperspy.api as hs

from hyperspy_zlpml.arguments import optional_flag


def wants_progressbar(show):
    """Tell whether to show progress bars.

    Parameters
    ----------
    show : bool or None
        None for what HyperSpy's preferences say.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If it is none of these.
    """
    show = optional_flag(show, "show_progressbar")
    return hs.preferences.General.show_progressbar if show is None else show
