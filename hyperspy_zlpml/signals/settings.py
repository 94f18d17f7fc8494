# SPDX-License-Identifier: GPL-3.0-or-later
"""One ensemble from signals taken at several settings of the microscope."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace

import hyperspy.api as hs
import numpy as np

from hyperspy_zlpml.compute.threads import one_blas_thread
from hyperspy_zlpml.ensemble.conditions import MOST_SETTINGS, TIMES, with_logarithms
from hyperspy_zlpml.ensemble.ensemble import Ensemble
from hyperspy_zlpml.ensemble.records import Origin
from hyperspy_zlpml.signals import _arrays, removing
from hyperspy_zlpml.workflow import AtSetting, Settings, train_at_settings

#: Smallest singular value of settings of unit variance that tells two conditions apart.
_INDEPENDENT = 1e-3


def train_zlp_ml(
    signals,
    conditions=None,
    n_clusters=5,
    cluster_by="zlp",
    n_replicas=100,
    regions=None,
    replica_kind="gaussian",
    random_state=None,
    show_progressbar=None,
    device="auto",
):
    """Train an ensemble on one signal, or on several taken at different settings.

    With ``conditions`` the settings of the microscope are inputs of the networks beside energy
    and thickness, so that the ensemble predicts the zero-loss peak (ZLP) at settings that were
    not measured ([1]_, section 3.4), with a band that widens with the distance from those that were.

    Parameters
    ----------
    signals : signal or list of signals
        EELS spectra of zero to three navigation dimensions; best vacuum, some dozens of spectra at
        each setting. Their axes may differ.
    conditions : list of str, or dict, optional
        Names of what differs between the signals, read from their metadata: ``beam_energy`` (keV),
        ``exposure``, ``dwell_time`` (s), ``convergence_angle``, ``collection_angle`` (mrad). A
        dict gives the values itself, one for each signal, or the key of the metadata that holds
        them: ``{"beam_energy": [60, 80, 120], "spot": "Acquisition_instrument.TEM.spot_size"}``.
        Conditions that are positive everywhere count by their logarithm. Counts are in proportion
        to ``exposure`` or ``dwell_time`` where one of them is a condition.
    n_clusters, cluster_by, n_replicas, regions, replica_kind, random_state, show_progressbar, \
device
        See :meth:`EELSZLPSpectrum.remove_zlp_ml`. ``cluster_by`` is the name of a proxy.

    Returns
    -------
    Ensemble
        With conditions, ask for ``ensemble.predict(energy, beam_energy=..., exposure=...)``, for
        ``ensemble.at(beam_energy=..., exposure=...)`` to remove or fit with, and for
        ``ensemble.plot_conditions()``.

    Raises
    ------
    ValueError
        If there are fewer settings than conditions and one, a condition is the same in all
        signals or follows from the others, or it is in neither the metadata nor the dict.

    References
    ----------
    .. [1] L. I. Roest et al., Ultramicroscopy 222, 113202 (2021).

    Examples
    --------
    >>> import hyperspy_zlpml
    >>> from hyperspy_zlpml.data import vacuum_at_settings
    >>> images = vacuum_at_settings((60, 120, 200), (0.1, 0.4), (4, 4), random_state=0)
    >>> ensemble = hyperspy_zlpml.train_zlp_ml(
    ...     [image.signal for image in images], conditions=["beam_energy", "exposure"],
    ...     n_replicas=10, random_state=0, show_progressbar=False,
    ... )
    >>> ensemble.at(beam_energy=80, exposure=0.2)  # doctest: +ELLIPSIS
    <Ensemble of 10 networks [4, 10, 15, 5, 1], ... at beam_energy 80, exposure 0.2 (6 settings)>
    """
    options = removing.Options(
        n_clusters, cluster_by, n_replicas, regions, replica_kind=replica_kind,
        random_state=random_state, show_progressbar=show_progressbar, device=device,
    )  # fmt: skip
    signals = _checked_signals(signals, cluster_by)
    if conditions is None:
        if len(signals) != 1:
            raise ValueError(
                f"conditions: expected what differs between {len(signals)} signals, for example "
                "['beam_energy'], got None."
            )
        return removing.train(signals[0], options)
    return _train_all(signals, *read_conditions(signals, conditions), options)


def _train_all(signals, names, values, options):
    with one_blas_thread:
        return _trained(signals, names, values, options)


def _checked_signals(signals, cluster_by):
    """As a list."""
    if isinstance(signals, hs.signals.BaseSignal):
        signals = [signals]
    signals = list(signals) if isinstance(signals, Iterable) else signals
    is_list = isinstance(signals, list) and len(signals) > 0
    if not is_list or not all(isinstance(s, hs.signals.BaseSignal) for s in signals):
        kinds = sorted({type(s).__name__ for s in signals}) if is_list else repr(signals)
        raise ValueError(f"signals: expected one signal or a list of signals, got {kinds}.")
    if not isinstance(cluster_by, str):
        raise ValueError(
            f"cluster_by: expected the name of a proxy, got {type(cluster_by).__name__}."
        )
    return signals


def _trained(signals, names, values, options):
    removing.check_device(options.device)
    images, firsts = [], []
    for signal, at in zip(signals, values, strict=True):
        prepared = removing.prepare(signal, options)
        clusters, cluster_by, samples, _ = removing.sampled(prepared, options)
        images.append(AtSetting(samples, prepared.image.detector, clusters, tuple(at)))
        firsts.append(prepared)
    first = firsts[0]
    settings = Settings(
        n_replicas=options.n_replicas, replica_kind=options.replica_kind, regions=first.limits,
        layers=(2 + len(names), *Settings.layers[1:]), random_state=first.seed,
        device=options.device,
    )  # fmt: skip
    with removing.training_bar(first.progressbar) as progress:
        ensemble, report = train_at_settings(images, names, cluster_by, settings, progress)
    # Clusters of vacuum alone serve no purpose: nobody cares how they came about.
    of_clusters = [
        f"signal {number}: {text}" for number, image in enumerate(images)
        for text in image.clusters.messages if not image.is_vacuum
    ]  # fmt: skip
    of_all = {text for image in images for text in image.clusters.messages}
    removing.warn_all([*of_clusters, *(m for m in report.messages if m not in of_all)])
    kept = {name: value for name, value in first.microscope.items() if name not in names}
    same = {
        name: value for name, value in kept.items()
        if all(other.microscope.get(name) == value for other in firsts)
    }  # fmt: skip
    provenance = removing.provenance_of(first, options)
    provenance.update(
        title=f"{len(signals)} signals", titles=[one.title for one in firsts],
        n_spectra=sum(int(one.image.usable.size) for one in firsts),
    )  # fmt: skip
    return replace(ensemble, origin=Origin(same, provenance))


def read_conditions(signals, conditions):
    """Names and values of the conditions of signals.

    Returns
    -------
    names : tuple of str
    values : ndarray of shape (n_signals, n_conditions)
    """
    if isinstance(conditions, str):
        conditions = [conditions]
    if isinstance(conditions, Iterable) and not isinstance(conditions, Mapping):
        conditions = dict.fromkeys(conditions)
    is_dict = isinstance(conditions, Mapping) and len(conditions) > 0
    if not is_dict or not all(isinstance(name, str) for name in conditions):
        raise ValueError(f"conditions: expected names or a dict of them, got {conditions!r}.")
    _check_names(conditions)
    columns = [_column(signals, name, given) for name, given in conditions.items()]
    values = np.array(columns, float).T
    for name, column in zip(conditions, values.T, strict=True):
        if np.ptp(column) == 0:
            raise ValueError(
                f"conditions: expected {name} to differ between the signals, it is {column[0]:g} "
                "in all of them; leave it out."
            )
    if len(values) > MOST_SETTINGS:
        raise ValueError(f"signals: expected at most {MOST_SETTINGS} settings, got {len(values)}.")
    n_settings = len(np.unique(values, axis=0))
    if n_settings < values.shape[1] + 1:
        raise ValueError(
            f"conditions: expected at least {values.shape[1] + 1} settings for "
            f"{values.shape[1]} conditions, got {n_settings}."
        )
    _check_independent(tuple(conditions), values)
    return tuple(conditions), values


def _check_names(conditions):
    """Each must do as a keyword of ``predict``."""
    taken = set(inspect.signature(Ensemble.predict).parameters)
    wrong = sorted(name for name in conditions if name in taken or not name.isidentifier())
    if wrong:
        raise ValueError(
            "conditions: expected names that can be keywords and are no arguments of "
            f"Ensemble.predict, got {wrong}."
        )
    times = [name for name in conditions if name in TIMES]
    if len(times) > 1:
        raise ValueError(
            f"conditions: expected one time that counts are in proportion to, got {times}; leave "
            "one out."
        )


def _check_independent(names, values):
    """Times are positive, and conditions do not all change together."""
    for name, column in zip(names, values.T, strict=True):
        if name in TIMES and not (column > 0).all():
            raise ValueError(f"conditions: expected {name} to be positive, got {column.min():g}.")
    settings = with_logarithms(values, (values > 0).all(0))
    settings = (settings - settings.mean(0)) / settings.std(0)
    if np.linalg.matrix_rank(settings, tol=_INDEPENDENT) < len(names):
        raise ValueError(
            f"conditions: expected {', '.join(names)} to change independently of each other, got "
            "settings at which one follows from the others: leave one out, or measure more."
        )


def _column(signals, name, given):
    """Values of one condition."""
    if given is not None and not isinstance(given, str):
        try:
            column = np.asarray(given, float)
        except (TypeError, ValueError):
            column = np.zeros(0)
        if column.shape != (len(signals),) or not np.isfinite(column).all():
            raise ValueError(
                f"conditions: expected {len(signals)} finite values of {name}, one for each "
                f"signal, got {given!r}."
            )
        return column
    return [
        _arrays.condition_of(signal, name, given, number) for number, signal in enumerate(signals)
    ]
