# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole method on arrays, from top to bottom: counts in, subtracted counts and their errors out.

:func:`remove_zlp`, :func:`train_zlp` and :func:`train_zlp_at_settings` take what the signal methods
take, as arrays, and need no HyperSpy. :func:`remove` is the method itself and reads like the papers:

1. measure the peaks of all spectra, describe the image: detector, vacuum (:func:`look`)
2. cluster by thickness, choose spectra to train on (:func:`choose`)
3. draw replicas, train a network on each (:func:`train_on`), or adapt an ensemble that was trained
   before (:func:`adapt_to`)
4. match the ensemble to every spectrum (:meth:`.Application.posterior`)
5. check the result on the data themselves, report (:func:`check_and_report`)
6. subtract, where results are asked for (:class:`.RemovedZLP`)
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from hyperspy_zlpml.arguments import (
    flag,
    instance,
    is_sequence,
    optional_flag,
    probability,
    refuse,
    settle_random_state,
    text,
)
from hyperspy_zlpml.compute import one_blas_thread
from hyperspy_zlpml.compute.progress import training_steps
from hyperspy_zlpml.compute.user_warnings import each_warning_once, warn_of_all, warn_user
from hyperspy_zlpml.ensemble.conditions import check_conditions, condition_values
from hyperspy_zlpml.ensemble.ensemble import Ensemble
from hyperspy_zlpml.ensemble.records import Origin
from hyperspy_zlpml.image.channels import Channels
from hyperspy_zlpml.image.clusters import Clusters, check_clustering, cluster_image
from hyperspy_zlpml.image.describe import (
    Image,
    describe_image,
    describe_vacuum,
    in_counts_of,
    measure_and_describe,
    vacuum_messages,
)
from hyperspy_zlpml.image.quality import (
    NoZeroLossPeakError,
    edges_message,
    measurement_messages,
    unusable_message,
    width_messages,
)
from hyperspy_zlpml.image.samples import Samples, choose_sample, draw_samples
from hyperspy_zlpml.image.saturation import steep_flanks_message
from hyperspy_zlpml.image.second_peaks import second_peak_messages
from hyperspy_zlpml.image.spectra import Spectra, known_noise
from hyperspy_zlpml.removal.adapt import Fitted, adapt, as_trained, typical_reach_of
from hyperspy_zlpml.removal.applicability import ImageSummary, compare
from hyperspy_zlpml.removal.application import Application
from hyperspy_zlpml.removal.checks import run_checks
from hyperspy_zlpml.removal.provenance import (
    describe_arguments,
    describe_origin,
    describe_removal,
)
from hyperspy_zlpml.removal.removed import RemovedZLP, maps_of
from hyperspy_zlpml.removal.report import build_report
from hyperspy_zlpml.training.at_settings import AtSetting, train_ensemble_at_settings
from hyperspy_zlpml.training.replicas import check_replicas
from hyperspy_zlpml.training.settings import DEFAULTS, WHERE_SETTINGS, TrainingSettings
from hyperspy_zlpml.training.train import TrainingOptions, check_device, train_ensemble
from hyperspy_zlpml.zlp.regions import check_limits, check_number_of_limits, check_reach

__all__ = [
    "Spectra",
    "remove_zlp",
    "train_zlp",
    "train_zlp_at_settings",
    "Options",
    "remove",
    "train",
    "train_at_settings",
    "look",
    "fit_and_subtract",
    "choose",
    "train_on",
    "adapt_to",
    "check_and_report",
    "FirstLook",
    "Choice",
    "check_ensemble",
]

#: Arguments that are kept for the record.
_RECORDED = (
    "n_clusters",
    "cluster_by",
    "n_replicas",
    "regions",
    "vacuum",
    "navigation_mask",
    "replica_kind",
    "settings",
)
#: Arguments whose place settings take.
_IN_SETTINGS = ("n_clusters", "replica_kind")
#: Arguments that only a training uses.
_OF_TRAINING = ("n_replicas", "replica_kind", "device")


# --- what is asked for, and what is returned -------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """Options of a removal or a training; see :func:`remove_zlp` for the meaning of each.

    Attributes
    ----------
    n_clusters : int or "auto"
    cluster_by : str or ndarray of the navigation shape
    n_replicas : int
    regions : dict or None
    vacuum : bool, ndarray of bool of the navigation shape, Spectra or None
    navigation_mask : ndarray of bool of the navigation shape, or None
    confidence : float
    replica_kind : str
    settings : TrainingSettings or None
        None for those of ``n_clusters`` and ``replica_kind``, the defaults otherwise.
    random_state : int, numpy.random.Generator or None
    show_progressbar : bool
    device : str
    ev_per_unit : float
        Of the limits in ``regions``, eV per unit.
    arguments : dict or None
        The arguments as the user gave them, for the record; None for those above.
    """

    n_clusters: int | str = 5
    cluster_by: str | np.ndarray = "zlp"
    n_replicas: int = 100
    regions: dict | None = None
    vacuum: bool | np.ndarray | Spectra | None = None
    navigation_mask: np.ndarray | None = None
    confidence: float = 0.68
    replica_kind: str = "gaussian"
    settings: TrainingSettings | None = None
    random_state: int | np.random.Generator | None = None
    show_progressbar: bool = False
    device: str = "auto"
    ev_per_unit: float = 1.0
    arguments: dict | None = None

    def checked(self):
        """Check what can be checked before the data are read, and settle the random state.

        Returns
        -------
        Options
            With an integer as random state, and with ``arguments``.

        Raises
        ------
        ValueError
            If an argument is not what it must be.
        """
        check_clustering(self.n_clusters, self.cluster_by)
        check_replicas(self.n_replicas, self.replica_kind)
        probability(self.confidence, "confidence")
        flag(self.show_progressbar, "show_progressbar")
        if not isinstance(self.device, str):
            refuse(self.device, "device", "a device of torch by its name, as 'cpu', or 'auto'")
        check_limits(self.regions, self.ev_per_unit)
        self._check_settings()
        random_state = settle_random_state(self.random_state)
        arguments = self.arguments or self.described()
        return replace(
            self, random_state=random_state, arguments={**arguments, "random_state": random_state}
        )

    def _check_settings(self):
        """Raise ValueError unless the settings are some, and no argument contradicts them."""
        if self.settings is None:
            return
        instance(self.settings, "settings", TrainingSettings, WHERE_SETTINGS)
        for name in _IN_SETTINGS:
            given, own = getattr(self, name), getattr(self.settings, name)
            if given not in (DEFAULTS[name], own):
                raise ValueError(
                    f"{name}: expected none beside settings, which say {name}={own!r}, got "
                    f"{given!r}; leave it out, or change it in the settings: "
                    f"dataclasses.replace(settings, {name}={given!r})."
                )

    @property
    def training(self):
        """Settings of the training (TrainingSettings)."""
        if self.settings is not None:
            return self.settings
        return TrainingSettings(n_clusters=self.n_clusters, replica_kind=self.replica_kind)

    def described(self):
        """Describe the arguments for the record, as far as text and numbers tell.

        Those whose place ``settings`` take are the ones in ``settings``.

        Returns
        -------
        dict
        """
        effective = {name: getattr(self, name) for name in _RECORDED}
        effective |= {name: getattr(self.training, name) for name in _IN_SETTINGS}
        return describe_arguments(effective)

    @property
    def limits(self):
        """Limits of the regions given by the user, eV."""
        return check_limits(self.regions, self.ev_per_unit)

    @property
    def seed(self):
        """Seed that every step starts from anew, so that none depends on how much another drew."""
        return int(np.random.SeedSequence(self.random_state).generate_state(1)[0])


# --- the functions for users of arrays -------------------------------------------------------------


# One argument for each choice of the user, as in the signal methods.
def remove_zlp(  # noqa: PLR0913
    counts,
    energy,
    *,
    variance=None,
    microscope=None,
    n_clusters=5,
    cluster_by="zlp",
    n_replicas=100,
    regions=None,
    vacuum=None,
    navigation_mask=None,
    ensemble=None,
    confidence=0.68,
    replica_kind="gaussian",
    settings=None,
    random_state=None,
    show_progressbar=False,
    lazy_output=None,
    device="auto",
):
    """Remove the zero-loss peak (ZLP) from arrays of spectra and say how well it is known.

    The spectra are clustered by thickness; an ensemble of small neural networks, each
    trained on its own Monte Carlo replica of the pure-ZLP parts of the data, predicts the
    peak of every spectrum, which is matched to the spectrum and subtracted [1]_ [2]_. The
    counts themselves are not changed, and HyperSpy is not needed.

    Parameters
    ----------
    counts : ndarray or dask array of shape (..., n_energy)
        Spectra, energy axis last, of any number of navigation axes.
    energy : ndarray of shape (n_energy,)
        Uniform increasing axis, eV.
    variance : array that broadcasts with ``counts``, or float, optional
        Variance of the counts where it is known; otherwise it is estimated.
    microscope : dict of str to float, optional
        Settings that are known: ``beam_energy`` (keV), ``convergence_angle``,
        ``collection_angle`` (mrad).
    n_clusters : int or "auto"
        Clusters of equal thickness, at most 50.
    cluster_by : "zlp", "total", "log_ratio", or array of the navigation shape
        Proxy of thickness: logarithm of the ZLP's intensity, of the total counts, of the
        total over the ZLP; or a map that grows with thickness.
    n_replicas : int
        Networks to train, 2 to 10 000. The cost per spectrum does not depend on it.
    regions : dict, optional
        Limits that override those found from the data, eV from the peak: ``E_I``, end of the pure
        ZLP; ``E_II``, where it has fallen below the noise; ``gain_limit``, the end of the pure ZLP
        on the gain side (negative). One number or one per cluster. ``E_I`` and ``gain_limit``
        bind every spectrum, those of vacuum too: none is matched beyond them.
    vacuum : bool, array of bool of the navigation shape, or Spectra, optional
        Which spectra see vacuum: True for all, False for none, or a map; or vacuum spectra measured
        with the same dispersion, as ``Spectra(counts, energy)``, none of ``counts`` is vacuum then.
        By default such spectra are looked for, and found where others scatter clearly more: where
        all are alike none is vacuum, and a warning says so.
    navigation_mask : array of bool of the navigation shape, optional
        Spectra to leave out (True): not trained on, NaN in every result.
    ensemble : Ensemble, optional
        Trained before; nothing is trained then: ``n_replicas``, ``replica_kind``, ``device``, and
        ``settings`` but for its ``n_clusters``, have no effect. One with conditions is taken to those in ``microscope``, if all
        are there and it was not taken to others with ``ensemble.at(...)``.
    confidence : float
        Probability inside the band of ``lower`` and ``upper``.
    replica_kind : "gaussian" or "spectra"
        Pseudo-data from central values and covariance [1]_, or spectra drawn from the
        clusters [2]_.
    settings : TrainingSettings, optional
        Architecture of the networks, and constants of the training; its ``n_clusters`` and
        ``replica_kind`` take the place of the arguments of these names.
    random_state : int or numpy.random.Generator, optional
        Same state, same numbers.
    show_progressbar : bool
        Whether to show progress bars.
    lazy_output : bool, optional
        Whether to return dask arrays; by default where ``counts`` is one.
    device : str
        Device of PyTorch to train on: "cpu", "cuda", "cuda:1"...; "auto" is CUDA where there
        is one.

    Returns
    -------
    RemovedZLP
        ``subtracted``, ``zlp``, ``std``, ``lower``, ``upper`` and ``variance`` of the shape of the
        counts, NaN for spectra that were left out; maps; ``ensemble`` and ``report``.

    Raises
    ------
    NoZeroLossPeakError
        If no spectrum has a usable peak.
    TooFewReplicasError
        If fewer than half of the networks could be trained.
    OtherZeroLossPeakError
        If the peaks are of another shape than those that ``ensemble`` was trained on.
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] L. I. Roest et al., Ultramicroscopy 222, 113202 (2021).
    .. [2] A. Brokkelkamp et al., J. Phys. Chem. A 126, 1255 (2022).

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.workflow import remove_zlp
    >>> energy = -2 + 0.025 * np.arange(512)
    >>> zlp = np.exp(-4 * np.log(2) * (energy / 0.4) ** 2) + 0.01 / (1 + (energy / 0.3) ** 2)
    >>> thickness = np.linspace(0, 0.5, 30)[:, None]
    >>> losses = 0.02 * thickness * np.clip(energy - 1.8, 0, None) ** 0.5
    >>> rng = np.random.default_rng(0)
    >>> counts = rng.poisson(1e6 * (np.exp(-thickness) * zlp + losses))
    >>> removed = remove_zlp(counts, energy, n_clusters=2, n_replicas=8, random_state=0)
    >>> removed.subtracted.shape
    (30, 512)
    """
    options = Options(
        n_clusters=n_clusters,
        cluster_by=cluster_by,
        n_replicas=n_replicas,
        regions=regions,
        vacuum=vacuum,
        navigation_mask=navigation_mask,
        confidence=confidence,
        replica_kind=replica_kind,
        settings=settings,
        random_state=random_state,
        show_progressbar=show_progressbar,
        device=device,
    )
    spectra = Spectra(counts, energy, variance, microscope=microscope)
    return remove(spectra, options, ensemble, lazy_output)


def train_zlp(  # noqa: PLR0913
    counts,
    energy,
    *,
    variance=None,
    microscope=None,
    n_clusters=5,
    cluster_by="zlp",
    n_replicas=100,
    regions=None,
    vacuum=None,
    navigation_mask=None,
    replica_kind="gaussian",
    settings=None,
    random_state=None,
    show_progressbar=False,
    device="auto",
):
    """Train an ensemble on arrays of spectra without applying it.

    Parameters
    ----------
    counts, energy, variance, microscope, n_clusters, cluster_by, n_replicas, regions, vacuum, \
navigation_mask, replica_kind, settings, random_state, show_progressbar, device
        See :func:`remove_zlp`.

    Returns
    -------
    Ensemble
        For ``remove_zlp(..., ensemble=ensemble)``.

    Raises
    ------
    NoZeroLossPeakError
        If no spectrum has a usable peak.
    TooFewReplicasError
        If fewer than half of the networks could be trained.
    ValueError
        If an argument is not what it must be.
    """
    options = Options(
        n_clusters=n_clusters,
        cluster_by=cluster_by,
        n_replicas=n_replicas,
        regions=regions,
        vacuum=vacuum,
        navigation_mask=navigation_mask,
        replica_kind=replica_kind,
        settings=settings,
        random_state=random_state,
        show_progressbar=show_progressbar,
        device=device,
    )
    spectra = Spectra(counts, energy, variance, microscope=microscope)
    return train(spectra, options)


def train_zlp_at_settings(  # noqa: PLR0913
    images,
    conditions,
    *,
    n_clusters=5,
    cluster_by="zlp",
    n_replicas=100,
    regions=None,
    replica_kind="gaussian",
    settings=None,
    random_state=None,
    show_progressbar=False,
    device="auto",
):
    """Train one ensemble on spectra taken at several settings of the microscope.

    The settings are inputs of the networks, so that the ensemble predicts the zero-loss peak
    at those that were not measured ([1]_, section 3.4).

    Parameters
    ----------
    images : sequence of Spectra
        Best of vacuum, some dozens of spectra at each setting. Their axes may differ. Spectra that
        are all alike and never rise behind the peak are taken for vacuum here.
    conditions : dict of str to sequence of float
        Values of what differs between the images, one for each: ``{"beam_energy": [60, 200]}``.
    n_clusters, cluster_by, n_replicas, regions, replica_kind, settings, random_state, \
show_progressbar, device
        See :func:`remove_zlp`. ``cluster_by`` is the name of a proxy.

    Returns
    -------
    Ensemble
        With conditions: ask for ``ensemble.at(beam_energy=...)``.

    Raises
    ------
    ValueError
        If the conditions do not tell the images apart, or an argument is not what it must be.
    NoZeroLossPeakError
        If no spectrum of an image has a usable peak.
    TooFewReplicasError
        If fewer than half of the networks could be trained.

    References
    ----------
    .. [1] L. I. Roest et al., Ultramicroscopy 222, 113202 (2021).

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.workflow import Spectra, train_zlp_at_settings
    >>> energy = -2 + 0.025 * np.arange(512)
    >>> rng = np.random.default_rng(0)
    >>> def vacuum(width):
    ...     peak = np.exp(-4 * np.log(2) * (energy / width) ** 2) + 0.02 / (1 + energy**2)
    ...     return Spectra(rng.poisson(1e5 * peak, (20, 512)), energy)
    >>> ensemble = train_zlp_at_settings(
    ...     [vacuum(0.3), vacuum(0.4)],
    ...     {"beam_energy": [60, 200]},
    ...     n_clusters=1,
    ...     n_replicas=4,
    ...     random_state=0,
    ... )
    >>> ensemble.at(beam_energy=80)  # doctest: +ELLIPSIS
    <Ensemble of 4 networks [3, 10, 15, 5, 1], ... at beam_energy 80 (2 settings)>
    """
    options = Options(
        n_clusters=n_clusters,
        cluster_by=cluster_by,
        n_replicas=n_replicas,
        regions=regions,
        replica_kind=replica_kind,
        settings=settings,
        random_state=random_state,
        show_progressbar=show_progressbar,
        device=device,
    )
    return train_at_settings(images, conditions, options)


# --- the method ------------------------------------------------------------------------------------


def remove(spectra, options, ensemble=None, lazy_output=None):
    """Remove the zero-loss peak from spectra: the whole method, step by step.

    Parameters
    ----------
    spectra : Spectra
    options : Options
    ensemble : Ensemble, optional
        Trained before; nothing is trained then.
    lazy_output : bool, optional
        Whether to return dask arrays; by default where the counts are lazy.

    Returns
    -------
    RemovedZLP
    """
    _check_spectra(spectra, options)
    optional_flag(lazy_output, "lazy_output")
    options = options.checked()
    if ensemble is None:
        check_device(options.device)
    else:
        ensemble = _at_setting_of(ensemble, spectra.microscope)
        _warn_of_training_options(options)
    lazy = spectra.is_lazy if lazy_output is None else bool(lazy_output)
    with one_blas_thread, each_warning_once():
        first = look(spectra, options)
        removed, lost = fit_and_subtract(first, options, ensemble, lazy)
        left_out = lost
        while lost.any():
            # Nothing is learnt from spectra whose peak is not found again.
            first = look(spectra, options, lost=left_out)
            removed, lost = fit_and_subtract(first, options, ensemble, lazy)
            left_out = left_out | lost
    return removed


def _warn_of_training_options(options):
    """Warn of options of a training that were given where nothing is trained."""
    defaults = {one.name: one.default for one in fields(Options)}
    given = [name for name in _OF_TRAINING if getattr(options, name) != defaults[name]]
    if given:
        warn_user(
            f"{', '.join(given)}: without effect beside ensemble, for nothing is trained; leave out."
        )


def fit_and_subtract(first, options, ensemble=None, lazy=False):
    """Remove the zero-loss peak from an image that was looked at.

    Parameters
    ----------
    first : FirstLook
    options : Options
    ensemble : Ensemble, optional
        Trained before; nothing is trained then.
    lazy : bool
        Whether to return dask arrays.

    Returns
    -------
    removed : RemovedZLP or None
        None where spectra were lost: they were learnt from, and must not be.
    lost : ndarray of bool of the navigation shape
        Spectra whose matched peak is not where their counts are.

    Raises
    ------
    NoZeroLossPeakError
        If no spectrum is left.
    """
    if ensemble is not None:
        check_ensemble(ensemble)
    flag(lazy, "lazy")
    choice = choose(first, options)
    if ensemble is None:
        fitted = train_on(first, choice, options)
    else:
        fitted = adapt_to(ensemble, first, choice, options)
    application = Application.prepare(
        first.image,
        choice.labels,
        fitted.adapted,
        distance=fitted.distance,
        given_limits=first.limits,
        channels=first.channels,
    )
    spectra = first.spectra
    posterior = application.posterior(
        spectra.counts, lazy=lazy, show_progressbar=options.show_progressbar
    )
    lost = application.lost(posterior, first.image)
    if lost.any():
        left = application.peaks.usable & ~lost
        _check_that_some_are_left(left, first.image, options.vacuum)
        return None, lost.reshape(spectra.navigation_shape)
    report = check_and_report(
        application, first, choice, fitted=fitted, confidence=options.confidence
    )
    removed = RemovedZLP(
        spectra=spectra,
        posterior=posterior,
        **maps_of(first.image, application, choice.labels, spectra.navigation_shape),
        ensemble=fitted.ensemble,
        report=report,
        application=application,
        record=describe_removal(
            fitted,
            application.subtraction,
            report,
            arguments=options.arguments,
            confidence=options.confidence,
        ),
        is_lazy=lazy,
    )
    return removed, lost.reshape(spectra.navigation_shape)


def train(spectra, options):
    """Train an ensemble on spectra without applying it.

    Parameters
    ----------
    spectra : Spectra
    options : Options

    Returns
    -------
    Ensemble
    """
    _check_spectra(spectra, options)
    options = options.checked()
    check_device(options.device)
    with one_blas_thread:
        first = look(spectra, options)
        choice = choose(first, options)
        fitted = train_on(first, choice, options)
    warn_of_all(choice.clusters.messages)
    return fitted.ensemble


def train_at_settings(images, conditions, options):
    """Train one ensemble on spectra taken at several settings of the microscope.

    Parameters
    ----------
    images : sequence of Spectra
    conditions : dict of str to sequence of float
        Values of what differs between the images, one for each.
    options : Options
        A map to cluster by, and maps of vacuum or to leave out, are not possible.

    Returns
    -------
    Ensemble
        With conditions: ask for ``ensemble.at(beam_energy=...)``.

    Raises
    ------
    ValueError
        If the conditions do not tell the images apart, or an argument is not what it must be.
    """
    images = list(images) if is_sequence(images) else [images]
    n_images = len(images)
    _check_settings(images, conditions, options)
    columns = [condition_values(name, given, n_images) for name, given in conditions.items()]
    names, values = tuple(conditions), np.array(columns).T
    check_conditions(names, values)
    options = options.checked()
    check_device(options.device)
    with one_blas_thread:
        looks = [
            look(spectra, options, f"setting {number}: ", alike_is_vacuum=True)
            for number, spectra in enumerate(images)
        ]
        choices = [choose(first, options) for first in looks]
        at_settings = [
            AtSetting(
                choice.samples.training, first.image.detector.noise, choice.clusters, tuple(at)
            )
            for first, choice, at in zip(looks, choices, values, strict=True)
        ]
        training = _training_options(looks[0], options, n_conditions=len(names))
        with training_steps(options.show_progressbar) as progress:
            trained = train_ensemble_at_settings(at_settings, names, training, progress)
    # Clusters of vacuum alone serve no purpose: nobody cares how they came about.
    for number, image in enumerate(at_settings):
        if not image.is_vacuum:
            warn_of_all(image.clusters.messages, f"setting {number}: ")
    warn_of_all(trained.messages)
    origin = describe_origin(
        f"{n_images} signals", sum(one.n_spectra for one in images), options.arguments
    )
    origin["titles"] = [one.title for one in images]
    return trained.ensemble.with_origin(Origin(_common_settings(images, names), origin))


# --- its steps -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FirstLook:
    """First look at an image: its peaks, and what they say of it.

    Attributes
    ----------
    spectra : Spectra
        Recorded channels, bad ones bridged.
    image : Image
    reference : Image or None
        A separate vacuum measurement.
    cluster_by : str or ndarray of shape (n_spectra,)
        Name of a proxy of thickness, or a map of it.
    limits : dict of str to ndarray
        Limits of the regions given by the user, eV.
    messages : tuple of str
        What was noticed.
    channels : Channels
        Which of the given channels ``spectra`` are made of.
    """

    spectra: Spectra
    image: Image
    reference: Image | None
    cluster_by: str | np.ndarray
    limits: dict[str, np.ndarray]
    messages: tuple[str, ...]
    channels: Channels

    @property
    def n_reference(self):
        """Spectra of the separate vacuum measurement."""
        return 0 if self.reference is None else self.reference.sample_index.size


@dataclass(frozen=True)
class Choice:
    """Spectra that belong together, and those of them that are trained on.

    Attributes
    ----------
    clusters : Clusters
    samples : Samples
    """

    clusters: Clusters
    samples: Samples

    @property
    def labels(self):
        """Cluster of each spectrum."""
        return self.clusters.labels


def look(spectra, options, name="", alike_is_vacuum=False, lost=None):
    """Measure the peaks of all spectra, and describe the image.

    Parameters
    ----------
    spectra : Spectra
    options : Options
    name : str
        Said before every warning, where there are several images.
    alike_is_vacuum : bool
        Whether spectra that are all alike and never rise are vacuum without further evidence.
    lost : ndarray of bool of the navigation shape, optional
        Spectra whose peak could not be matched before.

    Returns
    -------
    FirstLook

    Raises
    ------
    NoZeroLossPeakError
        If no spectrum has a usable peak.
    ValueError
        If a map is not of the navigation shape, or the vacuum does not fit.
    """
    _check_spectra(spectra, options)
    text(name, "name")
    flag(alike_is_vacuum, "alike_is_vacuum")
    vacuum, reference = _vacuum_of(options.vacuum, spectra)
    cluster_by, excluded, left_out = _used_spectra(options, spectra)
    rng = np.random.default_rng(options.seed)
    index = choose_sample(spectra.n_spectra, excluded, vacuum, rng)
    unmatched = None if lost is None else spectra.flat_map(lost, "lost", bool)

    def described(measured):
        """Describe the image but for spectra whose peak could not be matched."""
        measured = measured if lost is None else measured.without(unmatched)
        return describe_image(
            measured.parameters,
            measured.spectra.energy,
            index,
            measured.counts,
            noise=known_noise(measured.spectra, index, measured.counts),
            vacuum=vacuum,
            alike_is_vacuum=alike_is_vacuum,
        )

    measured, image = measure_and_describe(
        spectra, index, described, excluded=excluded, show_progressbar=options.show_progressbar
    )
    if reference is not None:
        reference = in_counts_of(reference, image)
    limits = options.limits
    wrong = measured.channels.describe(spectra.energy)
    doubts = (*vacuum_messages(image, vacuum, limits), *width_messages(reference, image))
    odd = (*measurement_messages(image), *second_peak_messages(image))
    messages = (*wrong, *odd, *doubts, *left_out)
    warn_of_all(
        (*messages, unusable_message(image.parameters), edges_message(measured.counts)), name
    )
    return FirstLook(
        measured.spectra,
        image,
        reference,
        cluster_by,
        limits=limits,
        messages=messages,
        channels=measured.channels,
    )


def choose(first, options):
    """Cluster an image by thickness, and choose spectra to train on.

    Parameters
    ----------
    first : FirstLook
    options : Options

    Returns
    -------
    Choice

    Raises
    ------
    ValueError
        If the limits given by the user do not fit the clusters or the axis.
    """
    instance(first, "first", FirstLook, ", as look() returns")
    instance(options, "options", Options)
    clusters = cluster_image(
        first.image, first.cluster_by, options.training.n_clusters, options.seed
    )
    check_number_of_limits(first.limits, clusters.centres.size)
    check_reach(first.limits, first.image.fwhm, first.image.end, options.ev_per_unit)
    rng = np.random.default_rng(options.seed)
    return Choice(clusters, draw_samples(first.image, clusters.labels, first.reference, rng))


def train_on(first, choice, options):
    """Train an ensemble on the image itself.

    What comes back is fitted to the image: the ensemble, and how its peaks are read in this image.

    Parameters
    ----------
    first : FirstLook
    choice : Choice
    options : Options

    Returns
    -------
    Fitted
    """
    _check_steps(first, choice, options)
    noise = first.image.detector.noise
    training = _training_options(first, options)
    with training_steps(options.show_progressbar) as progress:
        trained = train_ensemble(
            choice.samples.training, noise, choice.clusters, options=training, progress=progress
        )
    spectra = first.spectra
    provenance = describe_origin(spectra.title, spectra.n_spectra, options.arguments)
    ensemble = trained.ensemble.with_origin(Origin(spectra.microscope, provenance))
    warn_of_all(trained.messages)
    adapted = as_trained(ensemble, options.confidence, tail_was_given=first.reference is not None)
    return Fitted(ensemble, adapted, trained.summary, messages=trained.messages, work=trained.work)


def adapt_to(ensemble, first, choice, options):
    """Adapt an ensemble that was trained before to the image, and say what lies outside of it.

    Width, brightness and limits become those of the image; the shapes stay those that were learnt.

    Parameters
    ----------
    ensemble : Ensemble
    first : FirstLook
    choice : Choice
    options : Options

    Returns
    -------
    Fitted
    """
    check_ensemble(ensemble)
    _check_steps(first, choice, options)
    image, samples = first.image, choice.samples.training
    adapted = adapt(
        ensemble,
        samples,
        image.detector.noise,
        n_clusters=choice.clusters.centres.size,
        limits=first.limits,
        confidence=options.confidence,
    )
    applicability = compare(
        ensemble,
        ImageSummary(
            log_intensity=image.log_intensity[image.teaches] - adapted.log_dose,
            log_fwhm=adapted.log_fwhm.mean,
            log_dose=adapted.log_dose,
            u_range=typical_reach_of(samples),
            difference=adapted.difference,
            has_vacuum=bool(image.vacuum.any()),
            end=image.end,
            microscope=first.spectra.microscope,
        ),
    )
    messages = tuple(one for one in (applicability.message, adapted.late) if one)
    warn_of_all(messages)
    return Fitted(ensemble, adapted, messages=messages, distance=applicability.distance)


def check_and_report(application, first, choice, fitted, confidence):
    """Check a removal on the data themselves, and report what was done and how well.

    Parameters
    ----------
    application : Application
    first : FirstLook
    choice : Choice
    fitted : Fitted
    confidence : float
        Probability inside the band.

    Returns
    -------
    Report

    Warns
    -----
    UserWarning
        For every complaint of the report.
    """
    instance(application, "application", Application)
    instance(first, "first", FirstLook, ", as look() returns")
    instance(choice, "choice", Choice, ", as choose() returns")
    instance(fitted, "fitted", Fitted, ", as train_on() and adapt_to() return")
    probability(confidence, "confidence")
    held_out = choice.samples.held_out
    checks = run_checks(
        application, first.image, held_out, adapted=fitted.adapted, confidence=confidence
    )
    report = build_report(
        first.image,
        choice.clusters,
        fitted,
        checks,
        n_reference=first.n_reference,
        messages=(*choice.clusters.messages, *fitted.messages, *first.messages),
    )
    warn_of_all(report.complaints())
    return report


# --- checks and small things -----------------------------------------------------------------------


def _check_that_some_are_left(left, image, vacuum):
    """Raise NoZeroLossPeakError where the peak of no spectrum was found again, and say what to do."""
    if left.any():
        return
    lost = f"the zero-loss peak could be matched to none of {left.size} spectra: "
    peaks = image.parameters.select(image.sample_index)
    steep = steep_flanks_message(image.sample_counts, peaks, image.energy)
    if steep:
        raise NoZeroLossPeakError(f"{lost}their peaks are {steep}.")
    if vacuum is not None:
        raise NoZeroLossPeakError(
            f"{lost}the vacuum that was given holds losses, or has peaks of another shape; mark vacuum "
            "alone in vacuum=, or leave it out."
        )
    raise NoZeroLossPeakError(
        f"{lost}their peaks are of no common shape; look at the data, and at the maps of "
        "s.estimate_zlp_parameters()."
    )


def check_ensemble(ensemble):
    """Raise ValueError unless something is an ensemble.

    Parameters
    ----------
    ensemble : Ensemble
    """
    instance(ensemble, "ensemble", Ensemble, ", as a training and hyperspy_zlpml.load return")


def _check_spectra(spectra, options):
    """Raise ValueError unless there are spectra and options."""
    instance(spectra, "spectra", Spectra, ", as Spectra(counts, energy) makes")
    instance(options, "options", Options)


def _at_setting_of(ensemble, microscope):
    """Take an ensemble trained with conditions to the settings of the spectra, if they are known."""
    check_ensemble(ensemble)
    if ensemble.conditions is not None and not ensemble.setting:
        names = ensemble.conditions.names
        if set(names) <= set(microscope):
            return ensemble.at(**{name: microscope[name] for name in names})
    ensemble.check_setting()
    return ensemble


def _check_steps(first, choice, options):
    """Raise ValueError unless the results of the steps before are given, and options."""
    instance(first, "first", FirstLook, ", as look() returns")
    instance(choice, "choice", Choice, ", as choose() returns")
    instance(options, "options", Options)


def _check_settings(images, conditions, options):
    """Raise ValueError unless there are images and conditions, and no maps of one image."""
    instance(options, "options", Options)
    if not images or not all(isinstance(one, Spectra) for one in images):
        kinds = sorted({type(one).__name__ for one in images})
        raise ValueError(f"images: expected a sequence of Spectra, got {kinds}.")
    is_dict = isinstance(conditions, dict) and len(conditions) > 0
    if not is_dict or not all(isinstance(name, str) for name in conditions):
        raise ValueError(
            "conditions: expected values of what differs between the images, for example "
            f"{{'beam_energy': [60, 200]}}, got {conditions!r}."
        )
    for name in ("vacuum", "navigation_mask"):
        if getattr(options, name) is not None:
            raise ValueError(f"{name}: expected None for images at several settings.")
    if not isinstance(options.cluster_by, str):
        raise ValueError(
            "cluster_by: expected the name of a proxy for images at several settings, got "
            f"{type(options.cluster_by).__name__}."
        )


def _training_options(first, options, n_conditions=0):
    return TrainingOptions(
        n_replicas=options.n_replicas,
        settings=options.training,
        limits=first.limits,
        # One more input of the networks for each condition.
        n_inputs=2 + n_conditions,
        random_state=options.seed,
        device=options.device,
    )


def _common_settings(images, names):
    """Find the settings, but for the conditions, that are the same for all images."""
    return {
        name: value
        for name, value in images[0].microscope.items()
        if name not in names and all(one.microscope.get(name) == value for one in images)
    }


def _used_spectra(options, spectra):
    """Proxy of thickness, spectra that are left out, and the message about them."""
    excluded = np.zeros(spectra.n_spectra, bool)
    if options.navigation_mask is not None:
        excluded = spectra.flat_map(options.navigation_mask, "navigation_mask", bool)
        if excluded.all():
            raise ValueError(
                "navigation_mask: expected a spectrum to work on (False), got none; True is left out."
            )
    if isinstance(options.cluster_by, str):
        return options.cluster_by, excluded, ()
    cluster_by = spectra.flat_map(options.cluster_by, "cluster_by", float)
    unknown = ~np.isfinite(cluster_by) & ~excluded
    if (unknown | excluded).all():
        raise ValueError("cluster_by: expected a map with finite values, got none.")
    if not unknown.any():
        return cluster_by, excluded, ()
    message = (
        f"{unknown.sum()} of {spectra.n_spectra} spectra are left out and NaN in every result: "
        "cluster_by is not finite there."
    )
    return cluster_by, excluded | unknown, (message,)


def _vacuum_of(vacuum, spectra):
    """Boolean map of vacuum pixels or None, and the image of a separate measurement or None."""
    if vacuum is None:
        return None, None
    if isinstance(vacuum, Spectra):
        # Who measures vacuum elsewhere does not mean that there is some in view.
        return np.zeros(spectra.n_spectra, bool), describe_vacuum(vacuum, spectra.step)
    if isinstance(vacuum, (bool, np.bool_)):
        return np.full(spectra.n_spectra, bool(vacuum)), None
    if isinstance(vacuum, str) or _is_like_spectra(vacuum, spectra):
        got = repr(vacuum) if isinstance(vacuum, str) else f"a {type(vacuum).__name__}"
        raise ValueError(
            f"vacuum: expected spectra, a boolean map, True, False or None, got {got}; spectra "
            "measured elsewhere come as a signal or as Spectra(counts, energy)."
        )
    return spectra.flat_map(vacuum, "vacuum", bool), None


def _is_like_spectra(array, spectra):
    """Tell whether an array has channels of energy, rather than a number for each spectrum."""
    try:
        array = np.asarray(array)
    except ValueError:  # counts beside energies, of different shapes
        return True
    is_map = array.dtype == bool or array.shape == spectra.navigation_shape
    return not is_map and array.shape[-1:] == spectra.energy.shape
