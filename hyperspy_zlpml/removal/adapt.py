# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapt an ensemble trained before to another image of the same instrument."""

from dataclasses import dataclass, replace

import numpy as np

from hyperspy_zlpml.ensemble.ensemble import Ensemble
from hyperspy_zlpml.image.samples import FEW_SPECTRA, enough_to_adapt, log_intensities
from hyperspy_zlpml.registration.coherent import flattened, learn_residual
from hyperspy_zlpml.registration.find_foot import with_foot
from hyperspy_zlpml.registration.find_regions import GUESS, late_limits, separate
from hyperspy_zlpml.registration.register import (
    groups_of,
    log_beam,
    register_to_shape,
)
from hyperspy_zlpml.removal.applicability import ShapeDifference, check_same_shape
from hyperspy_zlpml.statistics import MAD_TO_SIGMA, Normal, Range
from hyperspy_zlpml.training.summary import TrainingSummary
from hyperspy_zlpml.zlp.regions import Regions
from hyperspy_zlpml.zlp.tables import ShapeTable

#: Widths are outliers beyond this many robust standard deviations from the median, ...
_FAR_OFF = 5.0
#: ... and this in ln FWHM.
_LEAST_REACH = 0.02


@dataclass(frozen=True)
class Adapted:
    """Ensemble as an image sees it.

    Attributes
    ----------
    table : ShapeTable
        Shapes, their errors and modes, for any ln N0.
    log_fwhm : Normal
        Mean and standard deviation of ln FWHM over the image.
    regions : Regions
        Limits of the clusters of the image.
    log_dose : float
        Logarithm of the dose over that of the ensemble.
    difference : ShapeDifference
        How the shape differs from what the ensemble has seen.
    late : str
        Which limits given by the user lie behind the losses that are seen; empty where none does.
    log_beam : float
        ln N0 of the beam whose tail the image itself showed, as the table counts it; infinite where another did.
    """

    table: ShapeTable
    log_fwhm: Normal
    regions: Regions
    log_dose: float = 0.0
    difference: ShapeDifference = ShapeDifference(0.0, 0.0)
    late: str = ""
    log_beam: float = np.inf


@dataclass(frozen=True)
class Fitted:
    """Ensemble for an image, trained on it or before.

    Attributes
    ----------
    ensemble : Ensemble
    adapted : Adapted
        How the image sees it.
    training : TrainingSummary or None
        None where it was trained before.
    messages : tuple of str
        What of the image lies outside what the ensemble has seen.
    distance : float
        How far it does.
    work : float
        Multiply-adds of the training, about; 0 where it was trained before.
    """

    ensemble: Ensemble
    adapted: Adapted
    training: TrainingSummary | None = None
    messages: tuple[str, ...] = ()
    distance: float = 0.0
    work: float = 0.0


def as_trained(ensemble, confidence, tail_was_given=False):
    """Take an ensemble for the image that it was trained on.

    Parameters
    ----------
    ensemble : Ensemble
    confidence : float
        Probability inside the band.
    tail_was_given : bool
        Whether the tail was learnt from vacuum spectra beside the image, which have a pedestal of their own.

    Returns
    -------
    Adapted
    """
    seen = ensemble.seen
    table = ensemble.tabulate(confidence)
    # Nor is a pedestal that is wrong missing from a tail that was guessed, not measured.
    apart = tail_was_given or GUESS in seen.tail
    log_beam = np.inf if apart else seen.log_beam
    return Adapted(table, seen.log_fwhm, seen.regions, log_beam=log_beam)


def adapt(ensemble, samples, noise, n_clusters, limits, confidence):
    """Adapt an ensemble trained before to other spectra of the same instrument.

    Shapes are those of the ensemble. What belongs to the image is found anew: the regions, the
    losses spilled into them, the widths and the scatter of its peaks. The dose does not matter:
    ln N0 is counted from that of the beam.

    The mean spectra of the image are not used to narrow the shapes down: tails drift slowly over an
    image, so that the means of its clusters differ by more than their spectra allow, and what they
    say below ``E_I`` is wrong beyond it (tried: errors three times as large).

    Parameters
    ----------
    ensemble : Ensemble
    samples : sequence of Sample
        Some hundred spectra of each cluster are used at most.
    noise : NoiseModel
    n_clusters : int
    limits : dict of str to float or ndarray of shape (n_clusters,)
        Limits given by the user, eV.
    confidence : float
        Probability inside the band.

    Returns
    -------
    Adapted

    Raises
    ------
    OtherZeroLossPeakError
        If the peaks are of another shape than those that the ensemble was trained on.
    """
    samples = [enough_to_adapt(sample) for sample in samples]
    reach = reach_of(samples)
    table = _as_uncertain_as_replicas(ensemble).tabulate(confidence)
    table = table.reaching(reach.low, reach.high)
    log_dose = log_beam(samples, table.grid, table.log_shape[-1]) - ensemble.seen.log_beam
    peaks = register_to_shape(table, samples, noise, log_intensities(samples) - log_dose)
    difference = check_same_shape(peaks, ensemble.seen.log_fwhm.mean)
    own = ensemble.grid.held_to(table.grid, ensemble.reference.errors.astype(float))
    # Few spectra may differ from the mean of many by what the ensemble has seen spectra differ.
    peaks = replace(peaks, reference_modes=own, variation=table.modes[:, -1])
    groups = groups_of(samples)
    counted = peaks.spectra
    peaks = flattened(peaks, samples, groups, table.residual)
    latest = _no_later_than(ensemble, peaks.label, n_clusters)
    image = with_foot(separate(peaks, n_clusters, limits, latest))
    spill = image.peaks.spill_by_intensity.at(table.log_intensity_nodes)
    table = _with_thickness_mode(replace(table, spill=spill))
    log_fwhm = _typical_width(image.peaks)
    peaks = replace(image.peaks, spectra=counted)
    learnt = learn_residual(table, peaks, samples, groups=groups, log_fwhm=log_fwhm, known=True)
    return Adapted(
        table=_with_learnt(table, learnt, log_fwhm),
        log_fwhm=log_fwhm,
        regions=image.regions,
        log_dose=log_dose,
        difference=difference,
        late="" if GUESS in ensemble.seen.tail else late_limits(image.peaks, n_clusters, limits),
    )


def _as_uncertain_as_replicas(ensemble):
    """Take back what the spectra trained on say of the modes: other spectra say something else."""
    beside = ensemble.reference.beside
    if beside is None:
        return ensemble
    beside = replace(beside, mode_scale=np.ones(1), rest_share=np.ones(ensemble.grid.n))
    return ensemble.with_scatter(ensemble.reference.scatter, beside=beside)


def _with_thickness_mode(table):
    """Add the learnt dependence on thickness as a mode: it may be that of one image alone.

    Where peaks drift slowly over an image, thickness and drift are one.
    """
    dependence = table.log_shape - table.log_shape[-1:]
    return replace(table, modes=np.concatenate([table.modes, dependence[None]]))


def _with_learnt(table, learnt, log_fwhm):
    """Put what the spectra of an image show into the table of an ensemble."""
    return replace(
        learnt.put_into(table),
        modes=table.modes,
        rest=table.rest * learnt.seen_share(table.rest[-1]),
        log_fwhm=log_fwhm.mean,
    )


def reach_of(samples):
    """Find the lowest and the highest reduced energy that an axis of some spectrum reaches.

    Parameters
    ----------
    samples : sequence of Sample

    Returns
    -------
    Range
    """
    low, high = _ends_of(samples)
    return Range(float(low.min()), float(high.max()))


def typical_reach_of(samples):
    """Find the median reduced energies that the axes of spectra reach.

    Parameters
    ----------
    samples : sequence of Sample

    Returns
    -------
    Range
    """
    low, high = _ends_of(samples)
    return Range(float(np.median(low)), float(np.median(high)))


def _ends_of(samples):
    """Compute the reduced energies of both ends of the axis of every spectrum."""
    return (
        np.concatenate([(s.energy[end] - s.parameters.centre) / s.parameters.fwhm for s in samples])
        for end in (0, -1)
    )


def _no_later_than(ensemble, label, n_clusters):
    """Make a function that keeps ``E_I`` of some clusters from being later than in the ensemble.

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
    """Find the mean and standard deviation of ln FWHM without outliers."""
    logarithm = np.log(peaks.matched.fwhm)
    middle = np.median(logarithm)
    reach = _FAR_OFF * MAD_TO_SIGMA * np.median(np.abs(logarithm - middle)) + _LEAST_REACH
    return peaks.select(np.flatnonzero(np.abs(logarithm - middle) <= reach)).log_fwhm
