# SPDX-License-Identifier: GPL-3.0-or-later
"""Train an ensemble on one signal, or on several taken at different settings."""

import hyperspy.api as hs

from hyperspy_zlpml import workflow
from hyperspy_zlpml.arguments import got, is_sequence
from hyperspy_zlpml.signals.arguments import unwrap
from hyperspy_zlpml.signals.arrays import one_at_a_signal, spectra_of
from hyperspy_zlpml.signals.microscope import read_conditions
from hyperspy_zlpml.workflow import Options


# Every keyword is a choice of the user, as in remove_zlp_ml.
def train_zlp_ml(  # noqa: PLR0913
    signals,
    conditions=None,
    n_clusters=5,
    cluster_by="zlp",
    n_replicas=100,
    regions=None,
    replica_kind="gaussian",
    settings=None,
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
        each setting. Their axes may differ. With ``conditions``, spectra that are all alike and
        never rise behind the peak are taken for vacuum.
    conditions : list of str, or dict, optional
        Names of what differs between the signals, read from their metadata: ``beam_energy`` (keV),
        ``exposure``, ``dwell_time`` (s), ``convergence_angle``, ``collection_angle`` (mrad). A
        dict gives the values itself, one for each signal, or the key of the metadata that holds
        them: ``{"beam_energy": [60, 80, 120], "spot": "Acquisition_instrument.TEM.spot_size"}``.
        Conditions that are positive everywhere count by their logarithm. Counts are in proportion
        to ``exposure`` or ``dwell_time`` where one of them is a condition.
    n_clusters, cluster_by, n_replicas, regions, replica_kind, settings, random_state, \
show_progressbar, device
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
    >>> images = vacuum_at_settings((60, 200), (0.1,), (4, 4), n_channels=512, random_state=0)
    >>> ensemble = hyperspy_zlpml.train_zlp_ml(
    ...     [image.signal for image in images],
    ...     conditions=["beam_energy"],
    ...     n_replicas=4,
    ...     random_state=0,
    ...     show_progressbar=False,
    ... )
    >>> ensemble.at(beam_energy=80)  # doctest: +ELLIPSIS
    <Ensemble of ... networks [3, 10, 15, 5, 1], ... at beam_energy 80 (2 settings)>
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
    signals = _checked_signals(signals, cluster_by)
    if conditions is not None:
        values = read_conditions(signals, conditions)
        with one_at_a_signal:
            spectra, factors = zip(*(spectra_of(signal) for signal in signals), strict=True)
            options = unwrap(options, factors[0])
        return workflow.train_at_settings(spectra, values, options)
    if len(signals) != 1:
        raise ValueError(
            f"conditions: expected what differs between {len(signals)} signals, for example "
            "['beam_energy'], got None."
        )
    return train_signal(signals[0], options)


def train_signal(signal, options):
    """Train an ensemble on a signal.

    Parameters
    ----------
    signal : Signal1D
    options : Options
        With signals where the workflow takes arrays.

    Returns
    -------
    Ensemble
    """
    with one_at_a_signal:
        spectra, factor = spectra_of(signal)
        options = unwrap(options, factor)
    return workflow.train(spectra, options)


def _checked_signals(signals, cluster_by):
    """Make a list of signals from one or several."""
    if isinstance(signals, hs.signals.BaseSignal):
        signals = [signals]
    signals = list(signals) if is_sequence(signals) else signals
    is_list = isinstance(signals, list) and len(signals) > 0
    if not is_list or not all(isinstance(s, hs.signals.BaseSignal) for s in signals):
        kinds = sorted({type(s).__name__ for s in signals}) if is_list else got(signals)
        raise ValueError(f"signals: expected one signal or a list of signals, got {kinds}.")
    if not isinstance(cluster_by, str):
        raise ValueError(
            f"cluster_by: expected the name of a proxy, got {type(cluster_by).__name__}."
        )
    return signals
