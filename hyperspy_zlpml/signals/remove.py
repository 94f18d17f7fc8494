# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove the peak from a signal, or map it: arrays from the signal, the method, results wrapped."""

from hyperspy_zlpml import workflow
from hyperspy_zlpml.arguments import optional_flag
from hyperspy_zlpml.image.peaks import measure_peaks
from hyperspy_zlpml.signals.arguments import unwrap, wants_progressbar
from hyperspy_zlpml.signals.arrays import one_at_a_signal, spectra_of
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
    spectra, factor, options, ensemble = check(signal, options, ensemble, lazy_output)
    removed = workflow.remove(spectra, options, ensemble, lazy_output)
    with one_at_a_signal:
        return ZLPRemoval.wrap(signal, removed, factor)


def check(signal, options, ensemble=None, lazy_output=None):
    """Check a signal and what is asked for, and take arrays from the signals among it.

    Parameters
    ----------
    signal : EELSZLPSpectrum
    options : Options
    ensemble : Ensemble, optional
    lazy_output : bool, optional

    Returns
    -------
    spectra : Spectra
    factor : float
        eV per unit of the energy axis.
    options : Options
        As the workflow takes them.
    ensemble : Ensemble or None
        At the setting of the signal.
    """
    if ensemble is not None:
        workflow.check_ensemble(ensemble)
        ensemble = setting_of(signal, ensemble)
    optional_flag(lazy_output, "lazy_output")
    with one_at_a_signal:
        spectra, factor = spectra_of(signal)
        return spectra, factor, unwrap(options, factor), ensemble


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
    show_progressbar = wants_progressbar(show_progressbar)
    with one_at_a_signal:
        spectra, factor = spectra_of(signal)
    parameters, _ = measure_peaks(spectra.counts, spectra.energy, show_progressbar=show_progressbar)
    with one_at_a_signal:
        return tuple(peak_maps_like(signal, parameters, factor).values())
