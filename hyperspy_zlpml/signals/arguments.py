# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of the signal methods, made into those of the method on arrays."""

from dataclasses import replace

from hyperspy_zlpml.signals.arrays import map_of, vacuum_of
from hyperspy_zlpml.signals.preferences import wants_progressbar

__all__ = ["unwrap", "wants_progressbar"]


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
