# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of an ensemble on an image: register, find regions, draw replicas, train, select."""

from dataclasses import dataclass, field, replace

import numpy as np

from hyperspy_zlpml.compute.workers import map_on, ready_client
from hyperspy_zlpml.ensemble.ensemble import Ensemble
from hyperspy_zlpml.ensemble.records import Beside, Networks, Reference, SeenSpectra
from hyperspy_zlpml.network.selection import select
from hyperspy_zlpml.registration.coherent import flattened, learn_residual, regrouped
from hyperspy_zlpml.registration.doubtful_vacuum import doubts_of_vacuum
from hyperspy_zlpml.registration.find_foot import with_foot
from hyperspy_zlpml.registration.find_regions import (
    describe_tail_of,
    late_limits,
    separate,
    with_known_tail,
)
from hyperspy_zlpml.registration.register import (
    groups_of,
    log_beam,
    register_peaks,
)
from hyperspy_zlpml.registration.variation import MOST_MODES
from hyperspy_zlpml.statistics import Range
from hyperspy_zlpml.training.pseudo_data import OwnReferences, training_data, variations_of
from hyperspy_zlpml.training.settings import TrainingSettings
from hyperspy_zlpml.training.summary import TrainingSummary
from hyperspy_zlpml.zlp.regions import Regions


@dataclass(frozen=True)
class TrainingOptions:
    """Options of the training of an ensemble.

    Attributes
    ----------
    n_replicas : int
    settings : TrainingSettings
    limits : dict of str to ndarray
        Limits of the regions given by the user, eV; see
        :func:`~hyperspy_zlpml.registration.find_regions.find_regions`.
    n_inputs : int
        Of the networks: reduced energy, ln N0, and the conditions.
    n_steps : int
        Most Levenberg-Marquardt steps.
    random_state : int or None
        Same state, same numbers.
    device : str
        Device of torch to train on; "auto" is CUDA where there is one.
    """

    n_replicas: int = 100
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    limits: dict[str, np.ndarray] = field(default_factory=dict)
    n_inputs: int = 2
    n_steps: int = 100
    random_state: int | None = None
    device: str = "auto"

    @property
    def layers(self):
        """Units of each layer of the networks, inputs first; the output is ln(ratio to the reference)."""
        return (self.n_inputs, *self.settings.hidden_layers, 1)


@dataclass(frozen=True)
class TrainedEnsemble:
    """Result of a training.

    Attributes
    ----------
    ensemble : Ensemble
    summary : TrainingSummary
    kept : ndarray of bool of shape (n_replicas,)
        Replicas that the ensemble consists of, of those drawn.
    work : float
        Multiply-adds of the training, about; see :func:`work_of`.
    messages : tuple of str
        Warnings.
    """

    ensemble: Ensemble
    summary: TrainingSummary
    kept: np.ndarray
    work: float
    messages: tuple[str, ...] = ()


def train_ensemble(samples, noise, clusters, options, progress=None):
    """Train an ensemble on the spectra of an image.

    Parameters
    ----------
    samples : sequence of Sample
        Of equal dispersion: the image's, and a vacuum reference's if there is one.
    noise : NoiseModel
    clusters : Clusters
        Clusters of the image by thickness.
    options : TrainingOptions
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
    n_modes = options.settings.n_modes
    image = register_image(
        samples, noise, n_clusters=clusters.centres.size, limits=options.limits, n_modes=n_modes
    )
    trained = train_on_registered([image], options, rng, progress)
    peaks = image.peaks
    beam = log_beam(samples, peaks.grid, peaks.log_reference)
    ensemble = with_clusters(trained.ensemble, beam, clusters)
    table = replace(ensemble.tabulate(), residual=image.residual)
    groups = groups_of(samples)
    learnt = learn_residual(
        table,
        regrouped(peaks, samples, groups),
        samples,
        groups=groups,
        log_fwhm=ensemble.seen.log_fwhm,
    )
    if not peaks.has_vacuum:
        # What spectra show before their losses says nothing of the tails under them.
        learnt = replace(
            learnt,
            expected=np.where(in_region_one(image, table.grid), learnt.expected, np.inf),
            mode_scale=np.ones(1),
        )
    late = late_limits(peaks, clusters.centres.size, options.limits)
    return replace(
        trained,
        ensemble=with_residual(ensemble, learnt, table.rest[-1]),
        messages=(*((late,) if late else ()), *doubts_of_vacuum(image)),
    )


def in_region_one(image, grid):
    """Tell at which reduced energies spectra of all clusters are pure zero-loss peaks.

    Parameters
    ----------
    image : RegisteredImage
    grid : Grid

    Returns
    -------
    ndarray of bool of shape (grid.n,)
    """
    fwhm, regions = np.exp(image.peaks.log_fwhm.mean), image.regions
    low, high = np.max(regions.gain_limit) / fwhm, np.min(regions.E_I) / fwhm
    return (grid.u > low) & (grid.u < high)


def with_residual(ensemble, learnt, rest):
    """Add to an ensemble what the spectra that it was trained on show beside its shapes.

    Parameters
    ----------
    ensemble : Ensemble
    learnt : LearntResidual
    rest : ndarray of shape (grid.n,)
        Spread of the replicas of the thinnest spectra beside their modes.

    Returns
    -------
    Ensemble
    """
    beside = Beside(
        widening=learnt.widening.astype(np.float32),
        group_error=learnt.group_error.astype(np.float32),
        channel_error=learnt.channel_error.astype(np.float32),
        rest_share=learnt.seen_share(rest).astype(np.float32),
        mode_scale=learnt.mode_scale.astype(np.float32),
    )
    residual = replace(
        learnt.residual,
        curve=learnt.residual.curve.astype(np.float32),
        pattern=learnt.residual.pattern.astype(np.float32),
        pattern_error=learnt.residual.pattern_error.astype(np.float32),
    )
    return ensemble.with_scatter(learnt.scatter.astype(np.float32), residual, beside)


def register_image(samples, noise, n_clusters, limits, n_modes=MOST_MODES):
    """Register the spectra of one image to a reference, and find where they are pure ZLP.

    Parameters
    ----------
    samples : sequence of Sample
    noise : NoiseModel
    n_clusters : int
    limits : dict of str to float or ndarray of shape (n_clusters,)
        Limits of the regions given by the user, eV.
    n_modes : int
        Most variations of the shape that are kept.

    Returns
    -------
    RegisteredImage
    """
    given = limits.get("E_I")
    peaks = register_peaks(samples, noise, None if given is None else float(np.min(given)))
    if not peaks.tail_is_known:
        peaks = with_known_tail(peaks, n_clusters, limits, n_modes)
    if not peaks.has_vacuum:
        # Of spectra of specimen only what is free of losses tells what they share.
        peaks = separate(peaks, n_clusters, limits, n_modes=n_modes).peaks
    peaks, residual = _without_residual(peaks, samples)
    image = with_foot(separate(peaks, n_clusters, limits, n_modes=n_modes))
    return replace(image, residual=residual)


def _without_residual(peaks, samples):
    """Take off what the thinnest spectra share beyond a smooth shape, which networks must not follow."""
    thinnest = peaks.label == peaks.label.min()
    thin = peaks.select(thinnest)
    if peaks.has_vacuum:
        thin = thin.within(Regions.endless(1))
    chosen = [one for one in _split(samples, thinnest) if len(one.label)]
    groups = groups_of(samples)
    learnt = learn_residual(peaks.table, thin, chosen, groups=groups, log_fwhm=thin.log_fwhm)
    # What depends on the width is left to the modes, which follow more than a straight line.
    peaks = flattened(peaks, samples, groups, learnt.residual).without_spill()
    if learnt.residual.has_curve:
        # What is not known of the curve is in its errors: as an error of the reference it would count twice.
        peaks = peaks.without_misfit()
    return peaks, learnt.residual


def _split(samples, chosen):
    """Select spectra of several samples by one mask over all of them."""
    ends = np.cumsum([len(sample.label) for sample in samples])
    masks = np.split(chosen, ends[:-1])
    return [
        sample.select(np.flatnonzero(mask)) for sample, mask in zip(samples, masks, strict=True)
    ]


def train_on_registered(images, options, rng, progress=None):
    """Train networks on registered spectra.

    Parameters
    ----------
    images : sequence of RegisteredImage
        One for each setting of the microscope; the first lends its reference.
    options : TrainingOptions
    rng : numpy.random.Generator
    progress : callable, optional
        Called with (steps done, of steps, median chi2).

    Returns
    -------
    TrainedEnsemble
        Its ensemble knows neither beam nor clusters nor scatter yet.

    Raises
    ------
    TooFewReplicasError
        If fewer than half of the networks could be trained.
    """
    peaks = images[0].peaks
    own = _own_references(images[0], options, rng)
    scaling, data = training_data(images, own, options, rng)
    trained = _train_networks(data, options, rng, progress)
    selection = select(trained.chi2, trained.chi2_validation, trained.rise)
    networks = Networks(
        weights=trained.weights[selection.kept].astype(np.float32),
        layers=options.layers,
        scaling=scaling,
        activation=options.settings.activation,
    )
    reference = _reference_of(peaks, own, selection.kept)
    ensemble = Ensemble(networks, reference, _seen_of(images))
    return TrainedEnsemble(
        ensemble,
        TrainingSummary.of(trained, selection),
        selection.kept,
        work_of(trained, data.used.sum(-1).mean()),
    )


def work_of(trained, n_points):
    """Count the multiply-adds of a training: its cost, whatever else the machine is doing.

    Parameters
    ----------
    trained : Trained
    n_points : float
        Points that a replica is trained on, on average.

    Returns
    -------
    float
        Of normal equations and their solutions, in all steps up to the weights that were kept.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from hyperspy_zlpml.training.train import work_of
    >>> trained = SimpleNamespace(steps=np.array([20, 10]), weights=np.zeros((2, 30)))
    >>> work_of(trained, n_points=200)
    5670000.0
    """
    n_weights = trained.weights.shape[1]
    return float(trained.steps.sum() * (n_points * n_weights**2 + n_weights**3 / 3))


def paired_scores(rng, n_replicas, n_modes):
    """Draw scores of modes in pairs of opposite signs, so that their median is that of the modes.

    Drawn independently, the median of 100 replicas is off by an eighth of a standard deviation:
    where a tail is a guess to 25 %, that is more than the losses of a thin film.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_replicas, n_modes : int

    Returns
    -------
    ndarray of shape (n_replicas, n_modes)
        Of unit variance.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.training.train import paired_scores
    >>> scores = paired_scores(np.random.default_rng(0), n_replicas=4, n_modes=2)
    >>> scores[:2] + scores[2:]
    array([[0., 0.],
           [0., 0.]])
    """
    scores = rng.standard_normal((n_replicas, n_modes))
    half = n_replicas // 2
    scores[half : 2 * half] = -scores[:half]
    return scores


def _own_references(image, options, rng):
    """Draw how the reference of each replica differs from the common one."""
    peaks = image.peaks
    # Spectra drawn themselves bring their variations along.
    varied = options.settings.replica_kind == "gaussian"
    variations = variations_of(image) if varied else np.zeros((0, peaks.grid.n))
    n_modes = len(peaks.reference_modes) + len(variations)
    scores = paired_scores(rng, options.n_replicas, n_modes)
    return OwnReferences(peaks.grid, peaks.reference_modes, variations, scores)


def _reference_of(peaks, own, kept):
    """Keep the references of the replicas that are kept, in single precision: half of the bytes of a file."""
    spill = peaks.spill_by_intensity
    return Reference(
        grid=peaks.grid,
        log_shape=peaks.log_reference,
        modes=own.modes.astype(np.float32),
        scores=own.scores[kept].astype(np.float32),
        scatter=np.zeros(peaks.grid.n, np.float32),
        spill=replace(spill, relative=spill.relative.astype(np.float32)),
        n_errors=len(own.errors),
    )


def _seen_of(images):
    """Keep what registered spectra were like; beam and clusters are not known yet."""
    peaks, regions = images[0].peaks, images[0].regions
    return SeenSpectra(
        log_intensity_range=_hull(image.peaks.log_intensity_range for image in images),
        log_fwhm=peaks.log_fwhm,
        log_beam=0.0,
        u_range=_hull(image.peaks.u_range for image in images),
        regions=regions,
        cluster_centres=np.zeros(len(regions.E_I)),
        cluster_by="",
        noise=peaks.noise,
        tail=describe_tail_of(peaks),
    )


def with_clusters(ensemble, beam, clusters):
    """Add to an ensemble the beam and the clusters that it was trained on.

    Parameters
    ----------
    ensemble : Ensemble
    beam : float
        ln N0 of the spectrum that no specimen has weakened.
    clusters : Clusters

    Returns
    -------
    Ensemble
    """
    seen = replace(
        ensemble.seen,
        log_beam=float(beam),
        cluster_centres=clusters.centres,
        cluster_by=clusters.proxy,
    )
    return replace(ensemble, seen=seen)


def check_device(device):
    """Raise ValueError unless networks can be trained on a device.

    Where dask workers train, one of them is asked.

    Parameters
    ----------
    device : str
        Device of torch, or "auto".

    Raises
    ------
    ValueError
        If torch knows no such device, or cannot use it.

    Examples
    --------
    >>> from hyperspy_zlpml.training.train import check_device
    >>> check_device("cpu")
    >>> check_device("abacus")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: device: ...
    """
    from hyperspy_zlpml.network.training import usable_device

    client = ready_client("torch")
    if client is None:
        usable_device(device)
    else:
        client.submit(usable_device, device, pure=False).result()


def _hull(ranges):
    """Find the smallest range that holds all."""
    lows, highs = zip(*ranges, strict=True)
    return Range(min(lows), max(highs))


def _train_networks(data, options, rng, progress):
    """Train on dask workers where a client is active, else in threads."""
    from hyperspy_zlpml.network.training import train_networks

    client = ready_client("torch")
    return train_networks(
        data,
        options.layers,
        options.n_steps,
        rng=rng,
        activation=options.settings.activation,
        prior=options.settings.prior,
        progress=progress,
        device=options.device,
        run_blocks=None if client is None else map_on(client),
    )
