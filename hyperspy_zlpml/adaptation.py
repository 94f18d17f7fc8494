# SPDX-License-Identifier: GPL-3.0-or-later
"""An ensemble trained before, adapted to another image of the same instrument."""

from dataclasses import dataclass, replace

import numpy as np

from hyperspy_zlpml.departure import check_same_shape
from hyperspy_zlpml.image.samples import log_intensities
from hyperspy_zlpml.registration.find_regions import separated
from hyperspy_zlpml.registration.register import log_beam, registered_to
from hyperspy_zlpml.registration.registered_peaks import FEW_SPECTRA
from hyperspy_zlpml.registration.scatter import unexplained_scatter
from hyperspy_zlpml.statistics import MAD_TO_SIGMA
from hyperspy_zlpml.zlp.regions import Regions
from hyperspy_zlpml.zlp.tables import ShapeTable

#: Widths further from the median than this many robust standard deviations, and this in ln, are of
#: matches that went astray.
_FAR_OFF, _LEAST_REACH = 5.0, 0.02


@dataclass(frozen=True)
class Adapted:
    """An ensemble as an image sees it.

    Attributes
    ----------
    table : ShapeTable
    log_fwhm : tuple of float
        Mean and standard deviation of ln FWHM over the image.
    regions : Regions
        Of the clusters of the image.
    log_dose : float
        Logarithm of the dose over that of the ensemble.
    shape : tuple of float
        Difference of the shape, and the spread seen of it.
    """

    table: ShapeTable
    log_fwhm: tuple
    regions: Regions
    log_dose: float
    shape: tuple = (0.0, 0.0)


def as_trained(ensemble, confidence):
    """For the image that an ensemble was trained on."""
    return Adapted(
        ensemble.tabulate(confidence), ensemble.seen.log_fwhm, ensemble.seen.regions, 0.0
    )


def adapt(ensemble, samples, noise, n_clusters, given, confidence):
    """An ensemble trained before, for other spectra of the same instrument.

    The shapes are those of the ensemble. What belongs to the image is found anew: the regions, the
    losses spilled into them, the widths and the scatter of its peaks. The dose does not matter: ln N0
    is counted from that of the beam.

    The mean spectra of the image are not used to narrow the shapes down: tails drift slowly over an
    image, so that the means of its clusters differ by more than their spectra allow, and what they
    say below ``E_I`` is wrong beyond it (tried: errors three times as large).

    Parameters
    ----------
    ensemble : Ensemble
    samples : sequence of Sample
    noise : NoiseModel
    n_clusters : int
    given : dict
        Limits given by the user, eV.
    confidence : float
        Probability inside the band.

    Returns
    -------
    Adapted

    Raises
    ------
    OtherZeroLossPeakError
    """
    table = ensemble.tabulate(confidence).reaching(*reach_of(samples))
    log_dose = log_beam(samples, table.grid, table.log_shape[-1]) - ensemble.seen.log_beam
    peaks = registered_to(table, samples, noise, log_intensities(samples) - log_dose)
    shape = check_same_shape(peaks, ensemble.seen.log_fwhm.mean)
    own = ensemble.grid.held_to(table.grid, ensemble.reference.modes.astype(float))
    # Few spectra may differ from the mean of many by what the ensemble has seen spectra differ.
    peaks = replace(peaks, reference_modes=own, variation=table.modes[:, -1])
    peaks, regions, _ = separated(
        peaks, n_clusters, given, _no_later_than(ensemble, peaks.label, n_clusters)
    )
    table = replace(table, spill=peaks.spill_by_intensity.at(table.log_intensity_nodes))
    log_fwhm = _typical_width(peaks)
    scatter = unexplained_scatter(table, peaks, log_fwhm)
    return Adapted(replace(table, scatter=scatter), log_fwhm, regions, log_dose, shape)


def reach_of(samples, of=None):
    """Reduced energies that the axes of spectra reach.

    Parameters
    ----------
    samples : sequence of Sample
    of : callable, optional
        Over the spectra, as ``np.median``; default those of the one that reaches furthest.
    """
    low, high = (
        np.concatenate([(s.energy[end] - s.parameters.centre) / s.parameters.fwhm for s in samples])
        for end in (0, -1)
    )
    return float((of or np.min)(low)), float((of or np.max)(high))


def _no_later_than(ensemble, label, n_clusters):
    """``E_I`` as found, but in some clusters no later than that of the ensemble.

    Few spectra hide their losses, and would be matched to them. An ensemble that saw no vacuum
    does not know the tail well enough to tell where losses begin.

    Parameters
    ----------
    ensemble : Ensemble
    label : ndarray of int
        Cluster of each spectrum of the image, 0 is the thinnest.
    n_clusters : int

    Returns
    -------
    callable
    """
    limits = ensemble.seen.regions.E_I
    known = limits[np.linspace(0, limits.size - 1, n_clusters).round().astype(int)]
    unsure = np.array([(label == number).sum() < FEW_SPECTRA for number in range(n_clusters)])

    def limited(found):
        found = np.where(np.isfinite(found), found, known)
        return np.where(unsure | bool(ensemble.seen.tail), np.minimum(found, known), found)

    return limited


def _typical_width(peaks):
    """Mean and standard deviation of ln FWHM, whatever single spectra do."""
    logarithm = np.log(peaks.matched.fwhm)
    middle = np.median(logarithm)
    reach = _FAR_OFF * MAD_TO_SIGMA * np.median(np.abs(logarithm - middle)) + _LEAST_REACH
    return peaks.select(np.flatnonzero(np.abs(logarithm - middle) <= reach)).log_fwhm
