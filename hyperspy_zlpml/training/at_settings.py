# SPDX-License-Identifier: GPL-3.0-or-later
"""One ensemble from spectra taken at several settings of the microscope.

Shapes are learnt in units of the FWHM, and ln N0 is counted from the beam of each setting; width of
the peak and brightness of the beam follow laws of the settings (Roest 2021, section 3.4).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from hyperspy_zlpml.ensemble.conditions import Conditions
from hyperspy_zlpml.ensemble.records import Beside
from hyperspy_zlpml.image.clusters import Clusters
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.image.samples import VACUUM, Sample
from hyperspy_zlpml.registration.coherent import learn_residual, regrouped
from hyperspy_zlpml.registration.find_regions import late_limits
from hyperspy_zlpml.registration.register import groups_of, log_beam
from hyperspy_zlpml.training.train import register_image, train_on_registered, with_clusters
from hyperspy_zlpml.zlp.residual import CoherentResidual
from hyperspy_zlpml.zlp.tables import ShapeTable

#: Standard deviation of ln N0 and ln FWHM where there is one spectrum at each setting.
_UNKNOWN_SPREAD = 0.01
#: Steps of the grid over which what spectra share at one setting is averaged (standard deviation).
_SHARED_OVER = 25.0


@dataclass(frozen=True)
class AtSetting:
    """Spectra of one setting of the microscope.

    Attributes
    ----------
    samples : tuple of Sample
        As :func:`~hyperspy_zlpml.training.train.train_ensemble` takes them.
    noise : NoiseModel
    clusters : Clusters
    values : tuple of float
        Values of the conditions at which they were taken.
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
        One for each setting.
    names : tuple of str
        Names of the conditions whose values the settings are.
    options : TrainingOptions
        With as many inputs of the networks as there are conditions, and two.
    progress : callable, optional
        Called with (steps done, of steps, median chi2).

    Returns
    -------
    TrainedEnsemble

    Raises
    ------
    TooFewReplicasError
        If fewer than half of the networks could be trained.
    """
    rng = np.random.default_rng(options.random_state)
    registered = [
        register_image(
            one.samples,
            one.noise,
            n_clusters=one.clusters.centres.size,
            limits=options.limits,
            n_modes=options.settings.n_modes,
        )
        for one in images
    ]
    beams = np.array(
        [
            log_beam(image.samples, one.peaks.grid, one.peaks.log_reference)
            for image, one in zip(images, registered, strict=True)
        ]
    )
    scores = rng.standard_normal((options.n_replicas, 2))
    conditions = _conditions_of(names, images, registered=registered, beams=beams, scores=scores)
    scaled = conditions.scaled(conditions.settings)
    first = int((scaled**2).sum(-1).argmin())
    order = [first, *(n for n in range(len(images)) if n != first)]
    brought = [_at_dose(registered[n], beams[n] - beams[first], tuple(scaled[n])) for n in order]
    brought[0] = replace(brought[0], peaks=_reaching_all(brought))
    trained = train_on_registered(brought, options, rng, progress)
    ensemble = with_clusters(trained.ensemble, beams[first], images[first].clusters)
    ensemble = replace(ensemble, conditions=conditions.select(trained.kept))
    learnt = [_learnt_at(ensemble, brought[k], images[n]) for k, n in enumerate(order)]
    return replace(
        trained,
        ensemble=ensemble.with_scatter(*_at_any(learnt)),
        messages=_late_at_settings(images, registered, options.limits),
    )


def _late_at_settings(images, registered, limits):
    """Say at which settings ``E_I`` that the user gives lies behind the losses that are seen."""
    found = [
        late_limits(one.peaks, image.clusters.centres.size, limits)
        for image, one in zip(images, registered, strict=True)
    ]
    return tuple(f"setting {number}: {late}" for number, late in enumerate(found) if late)


def _conditions_of(names, images, *, registered, beams, scores):
    """Collect the settings, and brightness and width as measured at each."""
    errors, spread = spreads([one.peaks for one in registered])
    return Conditions.of(
        names,
        [image.values for image in images],
        log_n0=beams,
        log_fwhm=[one.peaks.log_fwhm.mean for one in registered],
        errors=errors,
        spread=spread,
        scores=scores,
    )


def spreads(peaks):
    """Measure how ln N0 and ln FWHM vary from spectrum to spectrum at one setting.

    Parameters
    ----------
    peaks : sequence of RegisteredPeaks
        One for each setting; their thinnest spectra count.

    Returns
    -------
    errors : ndarray of shape (n_settings, 2)
        Standard errors of the means.
    spread : ndarray of shape (2,)
        Standard deviation, typical of all settings.

    Examples
    --------
    Where a setting has one spectrum, its error is the spread of the others:

    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from hyperspy_zlpml.training.at_settings import spreads
    >>> def peaks(log_n0, log_fwhm):
    ...     label, matched = np.zeros(len(log_n0)), SimpleNamespace(fwhm=np.exp(log_fwhm))
    ...     return SimpleNamespace(label=label, log_intensity=np.array(log_n0), matched=matched)
    >>> errors, spread = spreads([peaks([15.0, 15.2], [-1.0, -1.0]), peaks([16.0], [-0.9])])
    >>> spread.round(3), errors.round(3)[:, 0]
    (array([0.141, 0.   ]), array([0.1  , 0.141]))
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
    """Count ln N0 of registered spectra at another dose, and add their setting."""
    peaks = replace(image.peaks, log_intensity=image.peaks.log_intensity - log_dose)
    return replace(image, peaks=peaks, setting=setting)


def _reaching_all(images):
    """Continue the reference of the first image as far as all settings reach."""
    peaks = images[0].peaks
    low = min(image.peaks.grid.u[0] for image in images)
    high = max(image.peaks.grid.u[-1] for image in images)
    table = ShapeTable.of_reference(peaks.grid, peaks.log_reference).reaching(low, high)

    def held(values):
        """Hold values, or one for all nodes, beyond the nodes."""
        return peaks.grid.held_to(table.grid, np.broadcast_to(values, (peaks.grid.n,)))

    return replace(
        peaks,
        grid=table.grid,
        log_reference=table.log_shape[0],
        reference_modes=peaks.grid.held_to(table.grid, peaks.reference_modes),
        spill_tables={name: held(one) for name, one in peaks.spill_tables.items()},
        tail_structure=held(peaks.tail_structure),
        tail_roughness=held(peaks.tail_roughness),
    )


def _learnt_at(ensemble, registered, image):
    """Learn what the spectra at one setting show beside their shapes.

    What they share at this setting is an error at any other.
    """
    # Here ln N0 still counts from the beam of the first setting: the dose stays as it is.
    table = replace(ensemble, setting=tuple(image.values)).tabulate()
    groups = groups_of(image.samples)
    peaks = regrouped(registered.peaks, image.samples, groups)
    learnt = learn_residual(table, peaks, image.samples, groups=groups, log_fwhm=peaks.log_fwhm)
    shared = gaussian_filter1d(learnt.residual.at(table.grid.u) ** 2, _SHARED_OVER)
    return replace(learnt, channel_error=np.sqrt(learnt.channel_error**2 + shared))


def _at_any(learnt):
    """Take what was learnt at some settings for any other.

    Returns
    -------
    scatter : ndarray of shape (grid.n,)
    residual : CoherentResidual
    beside : Beside
    """

    def typical(name):
        values = [getattr(one, name) for one in learnt]
        return np.sqrt(np.mean(np.square(values), 0)).astype(np.float32)

    beside = replace(
        Beside.none(learnt[0].scatter.size),
        group_error=typical("group_error"),
        channel_error=typical("channel_error"),
    )
    return typical("scatter"), CoherentResidual.none(), beside
