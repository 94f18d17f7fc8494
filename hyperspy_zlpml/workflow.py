# SPDX-License-Identifier: GPL-3.0-or-later
"""The method from top to bottom, on arrays: spectra of an image -> trained ensemble.

:func:`train_ensemble` reads like the papers: register the peaks to a reference shape, find the
regions where they are pure ZLP, draw replicas there, train a network on each, select. What comes
before (noise, vacuum, clusters) is in :mod:`hyperspy_zlpml.image.describe`, what comes after (matching and
subtraction, block by block) in :mod:`hyperspy_zlpml.removal`.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from hyperspy_zlpml.compute.workers import active_client, map_on
from hyperspy_zlpml.ensemble.conditions import Conditions
from hyperspy_zlpml.ensemble.ensemble import Ensemble
from hyperspy_zlpml.ensemble.records import Networks, Reference, SeenSpectra
from hyperspy_zlpml.image.samples import VACUUM
from hyperspy_zlpml.network.selection import select
from hyperspy_zlpml.registration.find_regions import separated
from hyperspy_zlpml.registration.register import log_beam, registered
from hyperspy_zlpml.registration.scatter import unexplained_scatter
from hyperspy_zlpml.registration.zero_thickness import (
    PURE_FRACTION,
    with_known_tail,
)
from hyperspy_zlpml.report import Report, cluster_rows, describe_noise, describe_tail
from hyperspy_zlpml.statistics import Range
from hyperspy_zlpml.training_data import Part, training_data
from hyperspy_zlpml.zlp.tables import ShapeTable

#: Of brightness and width from spectrum to spectrum where there is one at each setting.
_UNKNOWN_SPREAD = 0.01


@dataclass(frozen=True)
class Settings:
    """How an ensemble is trained.

    Attributes
    ----------
    n_replicas : int
    replica_kind : "gaussian" or "spectra"
    regions : dict
        Limits given by the user, see :func:`find_regions`.
    layers : tuple of int
        Layer sizes; the first is the number of inputs, the last 1.
    n_steps : int
        Most Levenberg-Marquardt steps.
    random_state : int or None
        Same state, same numbers.
    device : str
        Device of torch to train on; "auto" is CUDA where there is one.
    """

    n_replicas: int = 100
    replica_kind: str = "gaussian"
    regions: dict = field(default_factory=dict)
    layers: tuple = (2, 10, 15, 5, 1)
    n_steps: int = 100
    random_state: int | None = None
    device: str = "auto"


def train_ensemble(samples, detector, clusters, cluster_by, settings, progress=None):
    """Train an ensemble on samples of spectra.

    Parameters
    ----------
    samples : sequence of Sample
        Of equal dispersion: the image's, and a vacuum reference's if there is one.
    detector : Detector
    clusters : Clusters
    cluster_by : str
        Name of the proxy, kept for the record.
    settings : Settings
    progress : callable, optional
        Called with (steps done, of steps, median chi2).

    Returns
    -------
    ensemble : Ensemble
    report : Report
    """
    rng = np.random.default_rng(settings.random_state)
    part = registered_part(samples, detector, clusters, settings.regions)
    ensemble, trained, selection = _trained([part], settings, rng, progress)
    seen = replace(
        ensemble.seen,
        log_beam=log_beam(samples, part.peaks.grid, part.peaks.log_reference),
        cluster_centres=clusters.centres,
        cluster_by=cluster_by,
    )
    ensemble = replace(ensemble, seen=seen)
    scatter = unexplained_scatter(ensemble.tabulate(), part.peaks, ensemble.seen.log_fwhm)
    ensemble = ensemble.with_scatter(scatter.astype(np.float32))
    report = _report(ensemble, detector, clusters, trained, selection)
    return ensemble, report


def registered_part(samples, detector, clusters, given):
    """Peaks of one image registered to a reference, their regions and variations."""
    limit = given.get("E_I")
    peaks = registered(samples, detector.noise, None if limit is None else float(np.min(limit)))
    n_clusters = clusters.centres.size
    if not peaks.tail_is_known:
        peaks = with_known_tail(peaks, n_clusters, given)
    return Part(*separated(peaks, n_clusters, given))


@dataclass(frozen=True)
class AtSetting:
    """Spectra of one setting of the microscope, as :func:`train_ensemble` takes them."""

    samples: list
    detector: object
    clusters: object
    values: tuple

    @property
    def is_vacuum(self):
        """Whether no specimen is in view."""
        return bool((self.samples[0].label == VACUUM).all())


def train_at_settings(images, names, cluster_by, settings, progress=None):
    """Train one ensemble on spectra taken at several settings of the microscope.

    Shapes are learnt in units of the FWHM, thickness is counted from the beam of each setting;
    how wide the peak and how bright the beam is follow laws of the settings.

    Parameters
    ----------
    images : sequence of AtSetting
    names : tuple of str
        Of the conditions whose values the settings are.
    cluster_by : str
    settings : Settings
        With as many inputs of the networks as there are conditions, and two.
    progress : callable, optional

    Returns
    -------
    ensemble : Ensemble
    report : Report
        Of the setting in the middle.
    """
    rng = np.random.default_rng(settings.random_state)
    parts = [registered_part(i.samples, i.detector, i.clusters, settings.regions) for i in images]
    beams = np.array(
        [
            log_beam(image.samples, part.peaks.grid, part.peaks.log_reference)
            for image, part in zip(images, parts, strict=True)
        ]
    )
    conditions = Conditions.of(
        names, [image.values for image in images], beams,
        [part.peaks.log_fwhm[0] for part in parts],
        *spreads([part.peaks for part in parts]),
        rng.standard_normal((settings.n_replicas, 2)),
    )  # fmt: skip
    scaled = conditions.scaled(conditions.settings)
    first = int((scaled**2).sum(-1).argmin())
    order = [first, *(n for n in range(len(parts)) if n != first)]
    shifted = [_at_dose(parts[n], beams[n] - beams[first], tuple(scaled[n])) for n in order]
    reach = [
        extreme(part.peaks.grid.u[end] for part in parts) for end, extreme in ((0, min), (-1, max))
    ]
    shifted[0] = replace(shifted[0], peaks=_reaching(shifted[0].peaks, *reach))
    ensemble, trained, selection = _trained(shifted, settings, rng, progress)
    image = images[first]
    seen = replace(
        ensemble.seen,
        log_beam=float(beams[first]),
        cluster_centres=image.clusters.centres,
        cluster_by=cluster_by,
    )
    ensemble = replace(ensemble, seen=seen, conditions=conditions.select(selection.kept))
    scatter = [
        _scatter_at(ensemble, part, images[n].values)
        for n, part in zip(order, shifted, strict=True)
    ]
    ensemble = ensemble.with_scatter(np.sqrt(np.mean(np.square(scatter), 0)).astype(np.float32))
    return ensemble, _report(ensemble, image.detector, image.clusters, trained, selection)


def spreads(peaks):
    """How ln N0 and ln FWHM vary from spectrum to spectrum at one setting.

    Parameters
    ----------
    peaks : sequence of RegisteredPeaks
        One for each setting.

    Returns
    -------
    errors : ndarray of shape (n_settings, 2)
        Standard errors of the means.
    spread : ndarray of shape (2,)
        Standard deviation, typical of all settings.
    """
    thin = [p.label == p.label.min() for p in peaks]
    numbers = [
        (p.log_intensity[t], np.log(p.matched.fwhm[t])) for p, t in zip(peaks, thin, strict=True)
    ]
    n = np.array([t.sum() for t in thin])
    sigma = np.array(
        [[values.std(ddof=min(1, values.size - 1)) for values in pair] for pair in numbers]
    )
    known = n > 1
    spread = np.sqrt((sigma[known] ** 2).mean(0)) if known.any() else np.full(2, _UNKNOWN_SPREAD)
    return np.where(known[:, None], sigma, spread) / np.sqrt(n)[:, None], spread


def _at_dose(part, log_dose, setting):
    """A part with ln N0 counted at another dose."""
    peaks = replace(part.peaks, log_intensity=part.peaks.log_intensity - log_dose)
    return replace(part, peaks=peaks, setting=setting)


def _reaching(peaks, u_low, u_high):
    """The same with a reference that goes on as far as all settings reach."""
    table = ShapeTable.of_reference(peaks.grid, peaks.log_reference).reaching(u_low, u_high)
    return replace(
        peaks, grid=table.grid, log_reference=table.log_shape[0],
        reference_modes=peaks.grid.held_to(table.grid, peaks.reference_modes),
        spill_tables={
            name: peaks.grid.held_to(table.grid, one) for name, one in peaks.spill_tables.items()
        },
    )  # fmt: skip


def _scatter_at(ensemble, part, values):
    """Unexplained scatter at one setting, on the grid of the ensemble."""
    # ln N0 is that of the beam of the first setting still: the dose stays as it is.
    table = replace(ensemble, setting=tuple(values)).tabulate()
    return unexplained_scatter(table, part.peaks, part.peaks.log_fwhm)


def _trained(parts, settings, rng, progress):
    """Networks trained on parts, the first of which lends its reference.

    Returns
    -------
    ensemble : Ensemble
    trained : Trained
    selection : Selection
    """
    peaks = parts[0].peaks
    scores = rng.standard_normal((settings.n_replicas, len(peaks.reference_modes)))
    scaling, data = training_data(parts, scores, settings, rng)
    trained = _train_networks(data, settings, rng, progress)
    selection = select(trained.chi2, trained.chi2_validation, trained.rise)
    ranges = np.array([part.peaks.log_intensity_range for part in parts])
    reaches = np.array([part.peaks.u_range for part in parts])
    ensemble = Ensemble(
        networks=Networks(
            weights=trained.weights[selection.kept].astype(np.float32),
            layers=tuple(settings.layers),
            scaling=scaling,
        ),
        reference=Reference(
            grid=peaks.grid,
            log_shape=peaks.log_reference,
            modes=peaks.reference_modes.astype(np.float32),
            scores=scores[selection.kept].astype(np.float32),
            scatter=np.zeros(peaks.grid.n, np.float32),
            spill=single_precision(peaks.spill_by_intensity),
        ),
        seen=SeenSpectra(
            log_intensity_range=Range(float(ranges[:, 0].min()), float(ranges[:, 1].max())),
            log_fwhm=peaks.log_fwhm,
            log_beam=0.0,
            u_range=Range(float(reaches[:, 0].min()), float(reaches[:, 1].max())),
            regions=parts[0].regions,
            cluster_centres=np.zeros(len(parts[0].regions.E_I)),
            cluster_by="",
            noise=peaks.noise,
            tail=_tail(peaks),
        ),
    )
    return ensemble, trained, selection


def single_precision(spill):
    """ln N0 as it is, tables in single precision: half of the bytes of a file."""
    return replace(spill, relative=spill.relative.astype(np.float32))


def _train_networks(data, settings, rng, progress):
    """On the workers where a dask client is active, else in threads."""
    from hyperspy_zlpml.network.training import train

    client = active_client()
    return train(
        data, settings.layers, settings.n_steps, rng=rng, progress=progress,
        device=settings.device, run_blocks=None if client is None else map_on(client),
    )  # fmt: skip


# --- what the ensemble does not explain ----------------------------------------------------------

# --- report --------------------------------------------------------------------------------------


def _tail(peaks):
    """How the tail of the reference was found, in words."""
    if peaks.has_vacuum or not np.isfinite(peaks.extrapolated_from):
        return ""
    limit = peaks.extrapolated_from * np.exp(peaks.log_fwhm[0])
    if peaks.tail_is_known:
        return describe_tail(PURE_FRACTION * limit, len(peaks.label))
    return describe_tail(limit, None)


def _report(ensemble, detector, clusters, trained, selection):
    kept = selection.kept
    return Report(
        noise=describe_noise(detector.noise),
        pedestal=detector.pedestal,
        pedestal_note=detector.pedestal_note,
        clusters=cluster_rows(clusters.centres, clusters.sizes, ensemble.seen.regions),
        n_replicas=kept.size,
        n_kept=int(kept.sum()),
        dropped=selection.dropped,
        chi2=float(np.median(trained.chi2[kept])),
        chi2_validation=float(np.median(trained.chi2_validation[kept])),
        tail=ensemble.seen.tail,
        messages=clusters.messages,
    )
