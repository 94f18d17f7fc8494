# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of the signal methods, made into those of the method on arrays."""

from dataclasses import replace

import hyperspy.api as hs

from hyperspy_zlpml.arguments import optional_flag
from hyperspy_zlpml.signals.arrays import map_of, vacuum_of


def unwrap(options, factor):
    """Check options, take arrays from the signals among them, settle what HyperSpy prefers.

    Parameters
    ----------
    options : Options
    factor : float
        eV per unit of the energy axis.

    Returns
    -------
    Options
        As the workflow takes them, with the arguments as they were given for the record.
    """
    options = replace(
        options, show_progressbar=wants_progressbar(options.show_progressbar)
    ).checked()
    cluster_by = options.cluster_by
    return replace(
        options,
        cluster_by=cluster_by if isinstance(cluster_by, str) else map_of(cluster_by),
        vacuum=vacuum_of(options.vacuum),
        navigation_mask=map_of(options.navigation_mask),
        ev_per_unit=factor,
    )


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
