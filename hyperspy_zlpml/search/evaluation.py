# SPDX-License-Identifier: GPL-3.0-or-later
"""One evaluation of settings: train on one set of spectra, score on another."""

import time
from dataclasses import dataclass, replace

import dask.array as da
import numpy as np

from hyperspy_zlpml.compute import compute, one_blas_thread, take_spectra
from hyperspy_zlpml.compute.user_warnings import nothing_said, warn_of_all
from hyperspy_zlpml.network.selection import TooFewReplicasError
from hyperspy_zlpml.registration.find_regions import late_limits
from hyperspy_zlpml.removal.application import Application
from hyperspy_zlpml.search.parts import Parts, share_out
from hyperspy_zlpml.search.scores import LOST, HeldOut, Scores, hold_out, kinds_of, score
from hyperspy_zlpml.training.train import register_image
from hyperspy_zlpml.workflow import FirstLook, Options, choose, look, train_on


@dataclass(frozen=True)
class Prepared:
    """Spectra as every evaluation takes them; it travels to any worker.

    Attributes
    ----------
    first : FirstLook
        At the spectra that are trained on, and at no others.
    options : Options
        Their ``settings`` and ``random_state`` are those of each evaluation.
    selection, judgement : HeldOut
        By which settings are selected, and on which what was selected is judged.
    parts : Parts
        Which spectra of the image these are.
    """

    first: FirstLook
    options: Options
    selection: HeldOut
    judgement: HeldOut
    parts: Parts


@dataclass(frozen=True)
class Evaluation:
    """Evaluation of settings.

    Attributes
    ----------
    scores : Scores or None
        None where the networks could not be trained.
    work : float
        Multiply-adds of the training, about.
    seconds : float
        It took, beside what else the machine did.
    note : str
        Why the networks could not be trained.
    """

    scores: Scores | None
    work: float
    seconds: float
    note: str = ""

    @property
    def score(self):
        """Mean log score, nats per window; that of spectra that were lost where nothing was trained."""
        return LOST if self.scores is None else self.scores.mean


def prepare(spectra, options):
    """Look at an image, and share its spectra out.

    Parameters
    ----------
    spectra : Spectra
    options : Options
        Checked.

    Returns
    -------
    Prepared

    Raises
    ------
    NoZeroLossPeakError
        If too few spectra have a usable peak.

    Warns
    -----
    UserWarning
        Of all that evaluations would warn of, which they do not.
    """
    whole = look(spectra, options)
    image = whole.image
    rows = image.sample_index[image.usable[image.sample_index]]
    parts = share_out(rows, image.vacuum[rows], np.random.default_rng(options.seed))
    own = _options_for(parts.training, whole, options)
    with nothing_said():  # what was noticed was said of the whole image
        first = look(_spectra_of(whole.spectra, parts.training), own)
    regions = _regions_of(first, own)
    sets = (parts.selection, parts.judgement)
    kinds = kinds_of(*(image.vacuum[some] for some in sets))
    held = [_hold_out(whole, *one, regions) for one in zip(sets, kinds, strict=True)]
    return Prepared(first, own, *held, parts)


def _options_for(rows, whole, options):
    """Take the options for some of the spectra: maps are those of these."""
    vacuum = options.vacuum if whole.reference is not None else whole.image.vacuum[rows]
    cluster_by = whole.cluster_by
    return replace(
        options,
        vacuum=vacuum,
        cluster_by=cluster_by if isinstance(cluster_by, str) else cluster_by[rows],
        navigation_mask=None,
        show_progressbar=False,
    )


def _spectra_of(spectra, rows):
    """Take some spectra into memory, in one row."""
    variance = spectra.variance
    if np.ndim(variance):
        library = da if isinstance(variance, da.Array) else np
        variance = _read(library.broadcast_to(variance, spectra.counts.shape), rows)
    return replace(spectra, counts=_read(spectra.counts, rows), variance=variance)


def _read(data, rows):
    (taken,) = compute(take_spectra(data, rows), show_progressbar=False, title="")
    return np.asarray(taken)


def _regions_of(first, options):
    """Find the regions of the spectra that are trained on, with the default settings.

    Limits that were given too far out are warned of here, once for all evaluations.
    """
    choice = choose(first, options)
    n_clusters, noise = choice.clusters.centres.size, first.image.detector.noise
    with one_blas_thread:
        image = register_image(choice.samples.training, noise, n_clusters, first.limits)
        warn_of_all((late_limits(image.peaks, n_clusters, first.limits),))
    return image.regions


def _hold_out(whole, rows, kind, regions):
    image = whole.image
    return hold_out(
        _read(whole.spectra.counts, rows),
        image.parameters.select(rows),
        image.vacuum[rows],
        kind=kind,
        energy=image.energy,
        regions=regions,
    )


def evaluate(prepared, settings, seed, judged=False):
    """Train with some settings, and score on held-out spectra: a pure function.

    Parameters
    ----------
    prepared : Prepared
    settings : TrainingSettings
    seed : int
    judged : bool
        Whether to score on the spectra of judgement instead of those of selection.

    Returns
    -------
    Evaluation
    """
    began = time.perf_counter()
    options = replace(prepared.options, settings=settings, random_state=seed)
    first = prepared.first
    with one_blas_thread, nothing_said():  # preparation has said it
        choice = choose(first, options)
        try:
            fitted = train_on(first, choice, options)
        except TooFewReplicasError as error:
            return Evaluation(None, np.nan, time.perf_counter() - began, str(error))
        application = Application.prepare(
            first.image,
            choice.labels,
            fitted.adapted,
            given_limits=first.limits,
            channels=first.channels,
        )
        held = prepared.judgement if judged else prepared.selection
        scores = score(application.subtraction, held, fitted.adapted.log_dose)
    return Evaluation(scores, fitted.work, time.perf_counter() - began)


def scores_of(evaluation, held):
    """Take the log scores of an evaluation, those of lost spectra where nothing was trained.

    Parameters
    ----------
    evaluation : Evaluation
    held : HeldOut

    Returns
    -------
    ndarray of shape (n_spectra,)
    """
    if evaluation.scores is None:
        return np.full(held.kind.size, LOST)
    return evaluation.scores.log_score
