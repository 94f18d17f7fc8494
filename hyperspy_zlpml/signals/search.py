# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for the settings of a training on a signal."""

from hyperspy_zlpml.search import search as searches
from hyperspy_zlpml.signals.arguments import unwrap
from hyperspy_zlpml.signals.arrays import one_at_a_signal, spectra_of


def search(signal, options, plan):
    """Search for the settings of a training that suit a signal.

    Parameters
    ----------
    signal : Signal1D
    options : Options
        With signals where the workflow takes arrays.
    plan : SearchPlan

    Returns
    -------
    SettingsSearch
    """
    plan.check()
    with one_at_a_signal:
        spectra, factor = spectra_of(signal)
        options = unwrap(options, factor)
    return searches.search(spectra, options, plan)
