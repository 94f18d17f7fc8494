# SPDX-License-Identifier: GPL-3.0-or-later
"""What the signal methods do: take arrays from the signal, call the method, wrap the results."""

import contextlib
import warnings
from dataclasses import dataclass, replace

import dask.array as da
import hyperspy.api as hs
import numpy as np

from hyperspy_zlpml import checks
from hyperspy_zlpml.adaptation import adapt, as_trained, reach_of
from hyperspy_zlpml.compute import as_blocks
from hyperspy_zlpml.compute.threads import one_blas_thread
from hyperspy_zlpml.compute.workers import active_client
from hyperspy_zlpml.departure import Seen, departure
from hyperspy_zlpml.ensemble.records import Origin
from hyperspy_zlpml.image.clusters import clusters_of
from hyperspy_zlpml.image.describe import (
    Image,
    NoZeroLossPeakError,
    describe_image,
    excluded_parameters,
    is_pure,
)
from hyperspy_zlpml.image.detector import noise_of_variance
from hyperspy_zlpml.image.peaks import measure_peaks
from hyperspy_zlpml.image.quality import measurement_messages, unusable_message
from hyperspy_zlpml.image.samples import (
    FEWEST_TO_HOLD_OUT,
    LARGEST_SAMPLE,
    choose_sample,
    training_samples,
)
from hyperspy_zlpml.removal import Removal, channel_range, peaks_to_apply, subtract_from
from hyperspy_zlpml.report import Report
from hyperspy_zlpml.signals import _arrays
from hyperspy_zlpml.signals.provenance import provenance_of, removal_node
from hyperspy_zlpml.signals.result import ZLPRemoval
from hyperspy_zlpml.workflow import Settings, train_ensemble
from hyperspy_zlpml.zlp.replicas import KINDS


@dataclass(frozen=True)
class Options:
    """Arguments of ``remove_zlp_ml`` and ``train_zlp_ml``."""

    n_clusters: object = 5
    cluster_by: object = "zlp"
    n_replicas: int = 100
    regions: dict | None = None
    vacuum: object = None
    navigation_mask: object = None
    confidence: float = 0.68
    replica_kind: str = "gaussian"
    random_state: object = None
    show_progressbar: bool | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Prepared:
    """A signal as arrays, and its image described."""

    data: object
    variance: object
    image: Image
    reference: Image | None
    cluster_by: object
    factor: float
    limits: dict
    messages: tuple
    seed: int
    progressbar: bool
    microscope: dict
    title: str
    random_state: int


def prepare(signal, options):
    """Checks, the first pass over the data, and what it says of the image."""
    _arrays.check_options(
        options.n_clusters, options.cluster_by, options.n_replicas, options.confidence,
        options.replica_kind, KINDS,
    )  # fmt: skip
    energy, factor = _arrays.energy_axis(signal)
    limits = _arrays.check_regions(options.regions, factor)
    progressbar = _progressbar(options.show_progressbar)
    n_spectra = max(signal.axes_manager.navigation_size, 1)
    excluded = np.zeros(n_spectra, bool)
    if options.navigation_mask is not None:
        excluded = _arrays.navigation_array(
            options.navigation_mask, signal, "navigation_mask", bool
        )
    vacuum, reference = _vacuum(options.vacuum, signal, energy)
    cluster_by, unknown, left_out = options.cluster_by, np.zeros(1, bool), ""
    if not isinstance(cluster_by, str):
        cluster_by = _arrays.navigation_array(cluster_by, signal, "cluster_by", float)
        unknown = ~np.isfinite(cluster_by) & ~excluded
        if unknown.all():
            raise ValueError("cluster_by: expected a map with finite values, got none.")
        excluded = excluded | unknown
        left_out = (
            f"{unknown.sum()} of {n_spectra} spectra are left out and NaN in every result: "
            "cluster_by is not finite there."
        )

    random_state = _whole_number(options.random_state)
    seed = int(np.random.SeedSequence(random_state).generate_state(1)[0])
    index = choose_sample(n_spectra, excluded, vacuum, np.random.default_rng(seed))
    data = as_blocks(signal.data) if signal._lazy else signal.data
    variance = _arrays.given_noise(signal)
    parameters, counts = measure_peaks(data, energy, index, progressbar)
    parameters = excluded_parameters(parameters, excluded)
    noise = None if variance is None else _noise_model(variance, data, counts, index)
    image = describe_image(parameters, energy, index, counts, noise, vacuum)

    messages = measurement_messages(image) + ([left_out] if unknown.any() else [])
    unusable = unusable_message(parameters)
    for message in messages + ([unusable] if unusable else []):
        warnings.warn(message, UserWarning, stacklevel=5)
    return Prepared(
        data,
        variance,
        image,
        reference,
        cluster_by,
        factor,
        limits,
        tuple(messages),
        seed,
        progressbar,
        _arrays.microscope_settings(signal),
        signal.metadata.get_item("General.title", ""),
        random_state,
    )


def _progressbar(show):
    return hs.preferences.General.show_progressbar if show is None else bool(show)


def _whole_number(random_state):
    """An integer that gives the same numbers again, for the record."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if isinstance(random_state, (int, np.integer)) and random_state >= 0:
        return int(random_state)
    raise ValueError(
        f"random_state: expected an int of at least 0, a numpy.random.Generator or None, got {random_state!r}."
    )


def _vacuum(vacuum, signal, energy):
    """Boolean map of vacuum pixels, or the image of a separate vacuum signal."""
    if vacuum is None:
        return None, None
    if isinstance(vacuum, str):
        raise ValueError(f"vacuum: expected a signal, a boolean map or None, got {vacuum!r}.")
    if isinstance(vacuum, hs.signals.BaseSignal) and vacuum.axes_manager.signal_dimension == 1:
        if vacuum.data.dtype != bool:
            return None, _reference(vacuum, energy)
    mask = _arrays.navigation_array(vacuum, signal, "vacuum", bool)
    if not mask.any():
        raise ValueError("vacuum: expected at least one vacuum pixel (True), got none.")
    return mask, None


def _reference(vacuum, energy):
    own, _ = _arrays.energy_axis(vacuum, "vacuum")
    step, own_step = energy[1] - energy[0], own[1] - own[0]
    if abs(own_step / step - 1) > 1e-3:
        raise ValueError(
            f"vacuum: expected the dispersion of the signal, {step:.6g} eV per channel, "
            f"got {own_step:.6g}; measure or interpolate the vacuum at the same dispersion."
        )
    data = as_blocks(vacuum.data) if vacuum._lazy else vacuum.data
    index = np.arange(max(vacuum.axes_manager.navigation_size, 1))[:LARGEST_SAMPLE]
    parameters, counts = measure_peaks(data, own, index)
    try:
        reference = describe_image(parameters, own, index, counts, vacuum=parameters.usable)
    except NoZeroLossPeakError as error:
        raise NoZeroLossPeakError(f"vacuum: {error}") from error
    if not is_pure(reference):
        warnings.warn(
            "vacuum: the spectra given rise again behind the peak, as spectra of a specimen do; "
            "what they lose there is taken for zero-loss peak.",
            UserWarning,
            stacklevel=7,
        )
    return reference


def _noise_model(variance, data, counts, index):
    if not np.ndim(variance):
        return noise_of_variance(counts, variance)
    whole = da.broadcast_to(da.asarray(variance), data.shape)
    rows = whole.reshape(-1, data.shape[-1])[index].compute()
    return noise_of_variance(counts, rows)


def train_on(prepared, options):
    """Cluster and train.

    Returns
    -------
    ensemble, report, labels, held_out
    """
    clusters, name, samples, held_out = sampled(prepared, options)
    settings = Settings(
        n_replicas=options.n_replicas, replica_kind=options.replica_kind, regions=prepared.limits,
        random_state=prepared.seed, device=options.device,
    )  # fmt: skip
    with training_bar(prepared.progressbar) as progress:
        ensemble, report = train_ensemble(
            samples, prepared.image.detector, clusters, name, settings, progress
        )
    ensemble = replace(
        ensemble, origin=Origin(prepared.microscope, provenance_of(prepared, options))
    )
    return ensemble, report, clusters.labels, held_out


def sampled(prepared, options):
    """Clusters of an image, the name of their proxy, samples of its spectra, vacuum held out."""
    clusters, name = clusters_of(
        prepared.image, prepared.cluster_by, options.n_clusters, prepared.seed
    )
    _check_number(prepared.limits, clusters.centres.size)
    _check_reach(prepared.limits, prepared)
    samples, held_out = training_samples(
        prepared.image, clusters.labels, prepared.reference, np.random.default_rng(prepared.seed)
    )
    return clusters, name, samples, held_out


def _check_number(limits, n_clusters):
    for name, value in limits.items():
        if value.ndim and value.shape != (n_clusters,):
            raise ValueError(
                f"regions: expected one {name} or one for each of {n_clusters} clusters, "
                f"got {value.size}."
            )


def _check_reach(limits, prepared):
    """E_I must lie outside the core and on the axis."""
    image = prepared.image
    fwhm = np.nanmedian(image.parameters.fwhm[image.usable])
    end = image.energy[-1] - np.nanmedian(image.parameters.centre[image.usable])
    for value in np.atleast_1d(limits.get("E_I", [])):
        if not 0.5 * fwhm < value < end:
            raise ValueError(
                f"regions: expected E_I between {0.5 * fwhm / prepared.factor:.4g} (half the FWHM) "
                f"and {end / prepared.factor:.4g} (the end of the axis), got {value / prepared.factor:.4g}."
            )


@contextlib.contextmanager
def training_bar(show):
    """Progress of a training as the callable that :func:`train_ensemble` takes, or None."""
    if not show:
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(desc="Training networks", total=1) as bar:

        def progress(done, total, chi2):
            bar.total = total
            bar.set_postfix(chi2=f"{chi2:.3g}", refresh=False)
            bar.update(done - bar.n)

        yield progress


def train(signal, options):
    """Ensemble trained on a signal."""
    with one_blas_thread:
        return _trained(signal, options)


def _trained(signal, options):
    check_device(options.device)
    prepared = prepare(signal, options)
    ensemble, report, *_ = train_on(prepared, options)
    warn_all(report.messages)
    return ensemble


def warn_all(messages):
    """What was noticed while an ensemble was trained."""
    for message in messages:
        warnings.warn(message, UserWarning, stacklevel=5)


def remove(signal, options, ensemble=None, lazy_output=None):
    """Train unless an ensemble is given, apply, wrap."""
    with one_blas_thread:
        return _removed(signal, options, ensemble, lazy_output)


def _removed(signal, options, ensemble, lazy_output):
    _check_ensemble(ensemble)
    if ensemble is None:
        check_device(options.device)
    else:
        ensemble = _at_setting(ensemble, signal)
    prepared, is_given = prepare(signal, options), ensemble is not None
    image = prepared.image
    if not is_given:
        ensemble, report, labels, held_out = train_on(prepared, options)
        adapted, distance = as_trained(ensemble, options.confidence), 0.0
    else:
        adapted, report, labels, held_out, distance = _adapt_given(ensemble, prepared, options)
    peaks = peaks_to_apply(image, labels, adapted.regions, adapted.log_dose)
    removal = Removal.prepare(
        adapted.table, adapted.log_fwhm, image.energy, image.detector.noise,
        image.detector.pedestal, channel_range(image), distance,
    )  # fmt: skip
    check = None
    if held_out is not None:
        check = checks.check_on_vacuum(
            removal, held_out, adapted.regions, options.confidence, adapted.log_dose
        )
    scanned = _scanned(removal, image, peaks, labels)
    report = replace(
        report, vacuum=check, check_note=_why_no_check(image, held_out),
        scan=checks.scan_regions(removal, scanned, adapted.regions),
        n_reference=0 if prepared.reference is None else prepared.reference.sample_index.size,
    )  # fmt: skip
    report = _completed(report, image, prepared.messages)

    is_lazy = signal._lazy if lazy_output is None else bool(lazy_output)
    results = _subtracted(prepared, peaks, removal, is_lazy)
    result = ZLPRemoval._wrap(
        signal if is_lazy == signal._lazy else _as(signal, is_lazy), results, image, labels,
        ensemble, adapted.regions, removal, peaks, scanned, report, prepared.factor,
    )  # fmt: skip
    result._note(removal_node(prepared, options, ensemble, is_given, adapted, removal, report))
    return result


def _subtracted(prepared, peaks, removal, is_lazy):
    """Second pass over the data, put off where lazy results are wanted."""
    return subtract_from(
        prepared.data,
        peaks,
        removal,
        prepared.variance,
        lazy=is_lazy,
        show_progressbar=prepared.progressbar,
    )


def check_device(device):
    """Before the data are read; on a cluster a worker is asked."""
    from hyperspy_zlpml.network.training import usable_device

    client = active_client()
    if client is None:
        usable_device(device)
    else:
        client.submit(usable_device, device, pure=False).result()


def _check_ensemble(ensemble):
    from hyperspy_zlpml.ensemble.ensemble import Ensemble

    if ensemble is not None and not isinstance(ensemble, Ensemble):
        raise ValueError(
            "ensemble: expected an Ensemble, as train_zlp_ml and hyperspy_zlpml.load return, "
            f"got {type(ensemble).__name__}."
        )


def _at_setting(ensemble, signal):
    """An ensemble trained with conditions at the setting of a signal, unless one was chosen."""
    if ensemble.conditions is None or ensemble.setting:
        return ensemble
    names = ensemble.conditions.names
    try:
        setting = {name: _arrays.condition_of(signal, name) for name in names}
    except ValueError as error:
        raise ValueError(
            f"ensemble: it was trained with the conditions {list(names)}, which the metadata of the "
            f"signal do not hold ({error}) Choose them: ensemble=ensemble.at("
            + ", ".join(f"{name}=..." for name in names)
            + ")."
        ) from error
    return ensemble.at(**setting)


def _as(signal, is_lazy):
    """A signal of the wanted laziness that lends axes and metadata; its data are not used."""
    blank = np.broadcast_to(np.zeros(1, np.float32), signal.data.shape)
    other = signal._deepcopy_with_new_data(da.asarray(blank) if is_lazy else blank)
    other._lazy = is_lazy
    other._assign_subclass()
    return other


def _adapt_given(ensemble, prepared, options):
    """A given ensemble adapted to the image; as :func:`train_on`, and what lies outside of it."""
    image = prepared.image
    clusters, _, samples, held_out = sampled(prepared, options)
    adapted = adapt(
        ensemble, samples, image.detector.noise, clusters.centres.size, prepared.limits,
        options.confidence,
    )  # fmt: skip
    end = image.energy[-1] - np.nanmedian(image.parameters.centre[image.usable])
    found = departure(ensemble, Seen(
        image.log_intensity[image.usable] - adapted.log_dose, adapted.log_fwhm[0],
        adapted.log_dose, reach_of(samples, np.median), adapted.shape, bool(image.vacuum.any()),
        float(end), prepared.microscope,
    ))  # fmt: skip
    told = (found.message,) if found.message else ()
    for message in told:
        warnings.warn(message, UserWarning, stacklevel=5)
    report = Report.of_given_ensemble(
        ensemble, image.detector, clusters, adapted.regions, messages=told
    )
    return adapted, report, clusters.labels, held_out, found.distance


def _scanned(removal, image, peaks, labels):
    """Spectra to try other limits on, of those that were read for training."""
    index = image.sample_index
    use = np.isfinite(peaks[index, 0]) & ~image.vacuum[index]
    counts = image.sample_counts[use] + removal.pedestal
    return checks.ScannedSpectra.chosen(counts, peaks[index][use], labels[index][use])


def _why_no_check(image, held_out):
    """Why there is no check on vacuum, where there is vacuum."""
    if not image.vacuum.any():
        return ""
    if held_out is None:
        return f"fewer than {FEWEST_TO_HOLD_OUT} vacuum pixels to spare"
    return "no losses were found, so there is no E_I to predict tails from"


def _completed(report, image, messages):
    n_unusable = int((~image.usable).sum())
    told = report.messages + messages
    report = replace(
        report,
        n_vacuum=int(image.vacuum.sum()),
        n_unusable=n_unusable,
        messages=told,
    )
    for message in report.complaints():
        warnings.warn(message, UserWarning, stacklevel=5)
        report = replace(report, messages=report.messages + (message,))
    return report


def peak_maps(signal, show_progressbar):
    """Maps of centre, FWHM and intensity."""
    energy, factor = _arrays.energy_axis(signal)
    data = as_blocks(signal.data) if signal._lazy else signal.data
    parameters, _ = measure_peaks(data, energy, show_progressbar=_progressbar(show_progressbar))
    return tuple(wrapped_peak_maps(signal, parameters, factor).values())


def wrapped_peak_maps(signal, parameters, factor):
    """The three maps as signals, energies in the units of the axis."""
    units = signal.axes_manager.signal_axes[0].units
    return {
        "centre": _arrays.map_like(
            signal, parameters.centre / factor, "ZLP centre", f"Energy ({units})"
        ),
        "fwhm": _arrays.map_like(signal, parameters.fwhm / factor, "ZLP FWHM", f"Energy ({units})"),
        "intensity": _arrays.map_like(
            signal, parameters.intensity, "ZLP intensity", "Intensity (Counts)"
        ),
    }
