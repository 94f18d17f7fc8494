# SPDX-License-Identifier: GPL-3.0-or-later
"""One ensemble from spectra taken at several settings of the microscope.

Shapes are learnt in units of the FWHM, thickness is counted from the beam of each setting; how wide
the peak and how bright the beam is follow laws of the settings (Roest 2021, section 3.4).
"""

from dataclasses import dataclass, replace

import numpy as np

from hyperspy_zlpml.ensemble.conditions import Conditions
from hyperspy_zlpml.image.clusters import Clusters
from hyperspy_zlpml.image.detector import NoiseModel
from hyperspy_zlpml.image.samples import VACUUM, Sample
from hyperspy_zlpml.registration.register import log_beam
from hyperspy_zlpml.registration.scatter import unexplained_scatter
from hyperspy_zlpml.training.train import register_image, train_on_registered, with_clusters
from hyperspy_zlpml.zlp.tables import ShapeTable

#: Spread of brightness and width from spectrum to spectrum where there is one at each setting.
_UNKNOWN_SPREAD = 0.01


@dataclass(frozen=True)
class AtSetting:
    """Spectra of one setting of the microscope.

    Attributes
    ----------
    samples : sequence of Sample
        As :func:`~hyperspy_zlpml.training.train.train_ensemble` takes them.
    noise : NoiseModel
    clusters : Clusters
    values : tuple of float
        Conditions at which they were taken.
    """

    samples: tuple[Sample, ...]
    noise: NoiseModel
    clusters: Clusters
    values: tuple[float, ...]

    @property
    def is_vacuum(self):
        """Whether no specimen is in view."""
        return bool((self.samples[0].label == VACUUM).all())


def train_ensemble_at_settings(images, names, options, progress=None):
    """Train one ensemble on spectra taken at several settings of the microscope.

    Parameters
    ----------
    images : sequence of AtSetting
    names : tuple of str
        Names of the conditions whose values the settings are.
    options : TrainingOptions
        With as many inputs of the networks as there are conditions, and two.
    progress : callable, optional
        Called with (steps done, of steps, median chi2).

    Returns
    -------
    TrainedEnsemble
    """
    rng = np.random.default_rng(options.random_state)
    registered = [
        register_image(one.samples, one.noise, one.clusters.centres.size, options.limits)
        for one in images
    ]
    beams = np.array(
        [
            log_beam(image.samples, one.peaks.grid, one.peaks.log_reference)
            for image, one in zip(images, registered, strict=True)
        ]
    )
    conditions = _conditions_of(images, names, registered, beams, options.n_replicas, rng)
    scaled = conditions.scaled(conditions.settings)
    first = int((scaled**2).sum(-1).argmin())
    order = [first, *(n for n in range(len(images)) if n != first)]
    brought = [_at_dose(registered[n], beams[n] - beams[first], tuple(scaled[n])) for n in order]
    brought[0] = replace(brought[0], peaks=_reaching_all(brought))
    trained = train_on_registered(brought, options, rng, progress)
    ensemble = with_clusters(trained.ensemble, beams[first], images[first].clusters)
    ensemble = replace(ensemble, conditions=conditions.select(trained.kept))
    scatter = [
        _scatter_at(ensemble, one, images[n].values) for n, one in zip(order, brought, strict=True)
    ]
    scatter = np.sqrt(np.mean(np.square(scatter), 0)).astype(np.float32)
    return replace(trained, ensemble=ensemble.with_scatter(scatter))


def _conditions_of(images, names, registered, beams, n_replicas, rng):
    """Settings, and what was measured of brightness and width at each."""
    errors, spread = spreads([one.peaks for one in registered])
    return Conditions.of(
        names,
        [image.values for image in images],
        log_n0=beams,
        log_fwhm=[one.peaks.log_fwhm.mean for one in registered],
        errors=errors,
        spread=spread,
        scores=rng.standard_normal((n_replicas, 2)),
    )


def spreads(peaks):
    """Measure how ln N0 and ln FWHM vary from spectrum to spectrum at one setting.

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


def _at_dose(image, log_dose, setting):
    """Registered spectra with ln N0 counted at another dose, and their setting."""
    peaks = replace(image.peaks, log_intensity=image.peaks.log_intensity - log_dose)
    return replace(image, peaks=peaks, setting=setting)


def _reaching_all(images):
    """Peaks of the first image against a reference that goes on as far as all settings reach."""
    peaks = images[0].peaks
    low = min(image.peaks.grid.u[0] for image in images)
    high = max(image.peaks.grid.u[-1] for image in images)
    table = ShapeTable.of_reference(peaks.grid, peaks.log_reference).reaching(low, high)
    spill_tables = {
        name: peaks.grid.held_to(table.grid, one) for name, one in peaks.spill_tables.items()
    }
    return replace(
        peaks,
        grid=table.grid,
        log_reference=table.log_shape[0],
        reference_modes=peaks.grid.held_to(table.grid, peaks.reference_modes),
        spill_tables=spill_tables,
    )


def _scatter_at(ensemble, image, values):
    """Unexplained scatter at one setting, on the grid of the ensemble."""
    # ln N0 is that of the beam of the first setting still: the dose stays as it is.
    table = replace(ensemble, setting=tuple(values)).tabulate()
    return unexplained_scatter(table, image.peaks, image.peaks.log_fwhm)
