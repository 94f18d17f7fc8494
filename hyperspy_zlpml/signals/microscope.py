# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the microscope, as the metadata of signals hold them."""

from collections.abc import Mapping

import numpy as np

from hyperspy_zlpml.arguments import is_number, is_sequence, meant, refuse
from hyperspy_zlpml.compute.user_warnings import warn_user
from hyperspy_zlpml.ensemble.conditions import check_condition_names, condition_values
from hyperspy_zlpml.image.spectra import SHAPING_SETTINGS
from hyperspy_zlpml.physics.kinematics import Beam

#: Smallest angle of a microscope but for that of a parallel beam, mrad.
_SMALLEST_ANGLE = 0.05
#: Settings of the microscope, and where HyperSpy keeps them.
_SETTINGS = {
    "beam_energy": "Acquisition_instrument.TEM.beam_energy",
    "convergence_angle": "Acquisition_instrument.TEM.convergence_angle",
    "collection_angle": "Acquisition_instrument.TEM.Detector.EELS.collection_angle",
    "exposure": "Acquisition_instrument.TEM.Detector.EELS.exposure",
    "dwell_time": "Acquisition_instrument.TEM.Detector.EELS.dwell_time",
}


def microscope_settings(signal):
    """Read the settings that shape a zero-loss peak from the metadata of a signal.

    Parameters
    ----------
    signal : BaseSignal

    Returns
    -------
    dict of str to float
        Settings that the metadata hold; an angle or energy of zero was never set.

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.microscope import microscope_settings
    >>> s = ws2_like((), n_channels=256, random_state=0).signal
    >>> microscope_settings(s)
    {'beam_energy': 200.0, 'convergence_angle': 10.0, 'collection_angle': 15.0}
    """
    found = {name: signal.metadata.get_item(_SETTINGS[name]) for name in SHAPING_SETTINGS}
    return {name: float(value) for name, value in found.items() if is_number(value) and value > 0}


def beam_of(removal, purpose):
    """Read the beam and the angles from the metadata of the signal that the ZLP was removed from.

    As they are now: a number that was wrong can be set right without removing the ZLP anew.

    Parameters
    ----------
    removal : ZLPRemoval
    purpose : str
        What they are needed for, as errors say it.

    Returns
    -------
    Beam

    Raises
    ------
    ValueError
        If the beam energy or an angle is missing, or is no possible number.

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.microscope import beam_of
    >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
    >>> r = s.remove_zlp_ml(
    ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
    ... )
    >>> beam_of(r, "thickness")
    Beam(energy=200.0, collection_angle=15.0, convergence_angle=10.0)
    >>> s.set_microscope_parameters(collection_angle=20.0)
    >>> beam_of(r, "thickness").collection_angle
    20.0
    >>> del s.metadata.Acquisition_instrument.TEM.beam_energy
    >>> beam_of(r, "thickness")
    Traceback (most recent call last):
    ValueError: thickness: expected beam_energy in the metadata of the signal that the ZLP was \
removed from, got none; set it with s.set_microscope_parameters(beam_energy=...).
    """
    signal = removed_from(removal)
    found = microscope_settings(signal)
    missing = [name for name in SHAPING_SETTINGS if name not in found]
    if missing == ["convergence_angle"] and signal.metadata.get_item(_SETTINGS[missing[0]]) == 0:
        missing, found = [], {**found, "convergence_angle": 0.0}  # a parallel beam
    if missing:
        calls = ", ".join(f"{name}=..." for name in missing)
        raise ValueError(
            f"{purpose}: expected {' and '.join(missing)} in the metadata of the signal that the ZLP "
            f"was removed from, got none; set it with s.set_microscope_parameters({calls})."
        )
    _warn_of_radians(found)
    return Beam(
        energy=found["beam_energy"],
        collection_angle=found["collection_angle"],
        convergence_angle=found["convergence_angle"],
    )


def removed_from(removal):
    """Take the signal that the ZLP was removed from, whose metadata may have been set right since.

    Parameters
    ----------
    removal : ZLPRemoval

    Returns
    -------
    BaseSignal
        One without data, as it was then, where the signal is not at hand.
    """
    return removal._like if removal._source is None else removal._source


def _warn_of_radians(found):
    """Warn of angles so small that they can only be radians; 0 is a parallel beam."""
    angles = {name: found[name] for name in ("convergence_angle", "collection_angle")}
    small = [f"{name}={value:g}" for name, value in angles.items() if 0 < value < _SMALLEST_ANGLE]
    if small:
        warn_user(
            f"{', '.join(small)}: angles are in mrad, and less than {_SMALLEST_ANGLE:g} is too small for a "
            "microscope. If it is radians, set a thousand times as much by s.set_microscope_parameters; the "
            "convergence_angle of a parallel beam is 0."
        )


def condition_of(signal, name, key=None, number=None):
    """Read the value of a setting from the metadata of a signal.

    Parameters
    ----------
    signal : BaseSignal
    name : str
    key : str, optional
        Of the metadata; default where HyperSpy keeps settings of this name.
    number : int, optional
        Place of the signal in a list, for errors.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the metadata hold no number there.
    """
    which = "the signal" if number is None else f"signal {number}"
    if key is None and name not in _SETTINGS:
        raise ValueError(
            f"conditions: expected names among {sorted(_SETTINGS)}, got {name!r}; for others give "
            f"a dict of values or of keys of the metadata: {{{name!r}: [...]}}."
            + meant(name, _SETTINGS)
        )
    key = key or _SETTINGS[name]
    value = signal.metadata.get_item(key)
    if not is_number(value):
        raise ValueError(
            f"conditions: expected {name} of {which} in its metadata at {key}, got {value!r}; set "
            f"it with metadata.set_item, or give the values."
        )
    return float(value)


def read_conditions(signals, conditions):
    """Read the values of the conditions of signals.

    Parameters
    ----------
    signals : list of BaseSignal
    conditions : str, list of str, or dict
        As :func:`hyperspy_zlpml.train_zlp_ml` takes them.

    Returns
    -------
    dict of str to ndarray of shape (n_signals,)

    Raises
    ------
    ValueError
        If they are neither in the metadata nor given.

    Examples
    --------
    >>> from hyperspy_zlpml.data import vacuum_at_settings
    >>> from hyperspy_zlpml.signals.microscope import read_conditions
    >>> images = vacuum_at_settings((60, 200), (0.1,), (2, 2), n_channels=256, random_state=0)
    >>> read_conditions([image.signal for image in images], "beam_energy")
    {'beam_energy': array([ 60., 200.])}
    """
    if isinstance(conditions, str):
        conditions = [conditions]
    is_known = is_sequence(conditions) or isinstance(conditions, Mapping)
    names = list(conditions) if is_known else []
    if not names or not all(isinstance(name, str) for name in names):
        refuse(conditions, "conditions", "names or a dict of them")
    if not isinstance(conditions, Mapping):
        conditions = dict.fromkeys(names)
    check_condition_names(conditions)
    return {
        name: np.asarray(_column(signals, name, given), float) for name, given in conditions.items()
    }


def setting_of(signal, ensemble):
    """Take an ensemble trained with conditions to the setting of a signal, unless one was chosen.

    Parameters
    ----------
    signal : BaseSignal
    ensemble : Ensemble

    Returns
    -------
    Ensemble

    Raises
    ------
    ValueError
        If the metadata do not hold the conditions.
    """
    if ensemble.conditions is None or ensemble.setting:
        return ensemble
    names = ensemble.conditions.names
    try:
        setting = {name: condition_of(signal, name) for name in names}
    except ValueError as error:
        raise ValueError(
            f"ensemble: it was trained with the conditions {list(names)}, which the metadata of the "
            f"signal do not hold ({error}) Choose them: ensemble=ensemble.at("
            + ", ".join(f"{name}=..." for name in names)
            + ")."
        ) from error
    return ensemble.at(**setting)


def _column(signals, name, given):
    """Read, or check, the values of one condition."""
    if given is None or isinstance(given, str):
        return [condition_of(signal, name, given, number) for number, signal in enumerate(signals)]
    return condition_values(name, given, len(signals))
