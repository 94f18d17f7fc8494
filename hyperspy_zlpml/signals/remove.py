# SPDX-License-Identifier: GPL-3.0-or-later
"""Work of the signal methods: take arrays from the signal, call the method, wrap the results."""

from dataclasses import replace

import hyperspy.api as hs

from hyperspy_zlpml import workflow
from hyperspy_zlpml.image.peaks import measure_peaks
from hyperspy_zlpml.signals.arrays import map_of, spectra_of, vacuum_of
from hyperspy_zlpml.signals.microscope import setting_of
from hyperspy_zlpml.signals.result import ZLPRemoval
from hyperspy_zlpml.signals.wrapping import peak_maps_like


def remove(signal, options, ensemble=None, lazy_output=None):
    """Remove the zero-loss peak from a signal.

    Parameters
    ----------
    signal : EELSZLPSpectrum
    options : Options
        With signals where the workflow takes arrays.
    ensemble : Ensemble, optional
    lazy_output : bool, optional

    Returns
    -------
    ZLPRemoval
    """
    if ensemble is not None:
        workflow.check_ensemble(ensemble)
        ensemble = setting_of(signal, ensemble)
    spectra, factor = spectra_of(signal)
    removed = workflow.remove(spectra, unwrap(options, factor), ensemble, lazy_output)
    return ZLPRemoval.wrap(signal, removed, factor)


def train(signal, options):
    """Train an ensemble on a signal.

    Parameters
    ----------
    signal : Signal1D
    options : Options
        With signals where the workflow takes arrays.

    Returns
    -------
    Ensemble
    """
    spectra, factor = spectra_of(signal)
    return workflow.train(spectra, unwrap(options, factor))


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
    options = options.checked()
    cluster_by = options.cluster_by
    return replace(
        options,
        cluster_by=cluster_by if isinstance(cluster_by, str) else map_of(cluster_by),
        vacuum=vacuum_of(options.vacuum),
        navigation_mask=map_of(options.navigation_mask),
        show_progressbar=wants_progressbar(options.show_progressbar),
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
    """
    return hs.preferences.General.show_progressbar if show is None else bool(show)


def peak_maps(signal, show_progressbar):
    """Make maps of centre, FWHM and intensity of the peaks of a signal.

    Parameters
    ----------
    signal : Signal1D
    show_progressbar : bool or None

    Returns
    -------
    centre, fwhm, intensity : BaseSignal
    """
    spectra, factor = spectra_of(signal)
    parameters, _ = measure_peaks(
        spectra.counts, spectra.energy, show_progressbar=wants_progressbar(show_progressbar)
    )
    return tuple(peak_maps_like(signal, parameters, factor).values())
