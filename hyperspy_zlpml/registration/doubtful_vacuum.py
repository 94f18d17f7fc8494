# SPDX-License-Identifier: GPL-3.0-or-later
"""Doubtful vacuum: spectra taken for vacuum that hold losses, or whose peaks are not the specimen's.

Vacuum is what everything rests on. Two things show that it is none: its spectra differ by losses, those of the
specimen in different amounts; or the peaks of the specimen differ from it in region I by more than peaks differ
among themselves, so that it is of another time or setting.
"""

import numpy as np

from hyperspy_zlpml.image.samples import VACUUM
from hyperspy_zlpml.registration.registered_peaks import scores_of
from hyperspy_zlpml.registration.variation import cluster_spectra

#: Losses are looked for where those of the thickest spectra exceed the peak this many times: tails that
#: vary by a fifth are less there than the share below.
_FAR_LOSSES = 5.0
#: Vacuum spectra are compared between these percentiles: a few at the edge of a specimen hurt little.
_PERCENTILES = (10, 90)
#: They differ by less than this part of the losses of the thickest spectra, ...
_LARGEST_SHARE = 0.05
#: ... or by less than this many standard errors of one spectrum.
_CERTAIN = 6.0
#: Peaks of the specimen differ from vacuum by less than this many standard deviations of the peaks.
_LARGEST_SCORE = 4.0


def doubts_of_vacuum(image):
    """Say why spectra that are taken for vacuum may be none, or none of this specimen.

    Parameters
    ----------
    image : RegisteredImage

    Returns
    -------
    tuple of str
        Empty where nothing shows it.
    """
    peaks = image.peaks
    if not peaks.has_vacuum or len(peaks.labels) < 2:
        return ()
    share = losses_in_vacuum(peaks)
    if share:
        return (
            f"the vacuum holds losses: its spectra differ by up to {share:.0%} of those of the thickest "
            "cluster. They are taken for zero-loss peak, and the error bars may not hold: mark vacuum alone "
            "in vacuum=, or leave it out.",
        )
    score = distance_from_vacuum(peaks, image.modes)
    if score > _LARGEST_SCORE:
        return (
            f"the vacuum has another peak than the specimen: below E_I they differ by {score:.0f} standard "
            "deviations of what peaks differ by among themselves. The tail under the losses is a guess, "
            "and the error bars may not hold: measure vacuum along with the specimen.",
        )
    return ()


def losses_in_vacuum(peaks):
    """Measure by which part of the losses of the thickest cluster vacuum spectra differ.

    Parameters
    ----------
    peaks : RegisteredPeaks

    Returns
    -------
    float
        From the 10th to the 90th percentile; 0 where that is little, or no more than noise.
    """
    ratios, complete = peaks.ratios_with_spill, peaks.spectra.complete
    thickest, vacuum = peaks.label == peaks.labels[-1], peaks.label == VACUUM
    weight = np.where(complete[thickest], 1 / ratios.variance[thickest], 0.0)
    total = np.maximum(weight.sum(0), 1e-300)
    losses = (weight * ratios.ratio[thickest]).sum(0) / total - 1
    far = (peaks.u.mean(0) > 0) & (losses > _FAR_LOSSES)
    if not far.any():
        return 0.0
    weight = np.where(complete[vacuum], 1 / ratios.variance[vacuum], 0.0)[:, far]
    information = (weight * losses[far] ** 2).sum(-1)
    known = information > 0
    if not known.any():
        return 0.0
    shares = (weight * (ratios.ratio[vacuum][:, far] - 1) * losses[far]).sum(-1)[known]
    low, high = np.percentile(shares / information[known], _PERCENTILES)
    least = max(_LARGEST_SHARE, _CERTAIN * np.median(information[known]) ** -0.5)
    return float(high - low) if high - low > least else 0.0


def distance_from_vacuum(peaks, modes):
    """Measure how far the peaks of the specimen differ from vacuum where both are pure.

    Parameters
    ----------
    peaks : RegisteredPeaks
    modes : ndarray of shape (n_modes, n_groups)
        Variations of the peaks from spectrum to spectrum, one standard deviation each.

    Returns
    -------
    float
        Largest score of a cluster's mean in any mode, the median over the clusters.
    """
    if not len(modes):
        return 0.0
    scores = []
    for cluster in cluster_spectra(peaks):
        if cluster.is_reference:
            continue
        mean, error = cluster.mean
        both = np.concatenate([modes, cluster.fitted])
        found = scores_of(mean - 1, error, both, np.isfinite(error))
        scores.append(np.abs(found[: len(modes)]).max())
    return float(np.median(scores))
