# SPDX-License-Identifier: GPL-3.0-or-later
"""From signals to arrays and back, and the checks at that boundary."""

import numbers

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pint

from hyperspy_zlpml.image.clusters import PROXIES

#: Fewer channels than this cannot hold a peak and its tails.
FEWEST_CHANNELS = 64
_REGION_NAMES = ("E_I", "E_II", "gain_limit")


def energy_axis(signal, name="signal"):
    """Energies of the channels in eV, after all that can be wrong with the axis was checked.

    Parameters
    ----------
    signal : Signal1D
    name : str
        What to call it in errors.

    Returns
    -------
    energy : ndarray of shape (n_energy,)
    factor : float
        eV per unit of the axis.

    Raises
    ------
    ValueError
    """
    if signal.axes_manager.signal_dimension != 1:
        raise ValueError(
            f"{name}: expected one signal axis (energy), got {signal.axes_manager.signal_dimension}; "
            "use as_signal1D to choose the energy axis."
        )
    axis = signal.axes_manager.signal_axes[0]
    if not axis.is_uniform:
        raise ValueError(
            f"{name}: expected a uniform energy axis, got a non-uniform one; "
            "interpolate with interpolate_on_axis('uniform')."
        )
    if axis.size < FEWEST_CHANNELS:
        raise ValueError(
            f"{name}: expected at least {FEWEST_CHANNELS} channels of energy, got {axis.size}."
        )
    if axis.scale <= 0:
        raise ValueError(
            f"{name}: expected an increasing energy axis, got a scale of {axis.scale:g}; "
            "reverse it with s.isig[::-1]."
        )
    factor = ev_per_unit(axis.units, name)
    return np.asarray(axis.axis, float) * factor, factor


def ev_per_unit(units, name):
    """eV per unit of an energy axis; ValueError, with ``name``, if that is no energy."""
    advice = (
        "set it, for example s.axes_manager.signal_axes[0].units = 'eV' "
        "(and .scale and .offset, if the file does not hold them)."
    )
    if not isinstance(units, str) or not units.strip():
        raise ValueError(f"{name}: the energy axis has no units, expected eV, meV or keV; {advice}")
    try:
        return float(pint.get_application_registry()(units).to("eV").magnitude)
    except Exception as error:  # pint raises many kinds, none of which says what to do
        raise ValueError(
            f"{name}: the energy axis is in {units!r}, expected eV, meV or keV; {advice}"
        ) from error


def navigation_array(value, signal, name, dtype):
    """A map over the navigation space, flattened.

    Parameters
    ----------
    value : BaseSignal or ndarray
    signal : Signal1D
        Whose navigation shape it must have.
    name : str
        Of the argument, for errors.
    dtype : type
        bool or float.

    Returns
    -------
    ndarray of shape (n_spectra,)
    """
    shape = signal.axes_manager._navigation_shape_in_array
    data = value.data if isinstance(value, hs.signals.BaseSignal) else value
    data = np.asarray(data.compute() if isinstance(data, da.Array) else data)
    if not shape and data.size == 1:
        data = data.reshape(())
    if data.shape != shape:
        raise ValueError(
            f"{name}: expected a map of shape {shape} (the navigation shape as an array), "
            f"got {data.shape}."
        )
    if dtype is bool and data.dtype != bool:
        raise ValueError(
            f"{name}: expected a boolean map, got dtype {data.dtype}; compare it first."
        )
    return data.astype(dtype).ravel()


def check_options(n_clusters, cluster_by, n_replicas, confidence, replica_kind, kinds):
    """Raise ValueError for option values that are not among the allowed ones."""
    if n_clusters != "auto" and not _is_count(n_clusters):
        raise ValueError(f"n_clusters: expected a positive integer or 'auto', got {n_clusters!r}.")
    if isinstance(cluster_by, str) and cluster_by not in PROXIES:
        raise ValueError(
            f"cluster_by: expected one of {sorted(PROXIES)} or a map, got {cluster_by!r}."
        )
    if not _is_count(n_replicas) or n_replicas < 2:
        raise ValueError(f"n_replicas: expected an integer of at least 2, got {n_replicas!r}.")
    if not isinstance(confidence, numbers.Real) or not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence!r}.")
    if replica_kind not in kinds:
        raise ValueError(f"replica_kind: expected one of {sorted(kinds)}, got {replica_kind!r}.")


def _is_count(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1


def check_regions(regions, factor):
    """Limits given by the user, in eV.

    Parameters
    ----------
    regions : dict or None
        In the units of the axis.
    factor : float
        eV per unit.

    Returns
    -------
    dict of str to ndarray
    """
    if regions is None:
        return {}
    if not isinstance(regions, dict) or not set(regions) <= set(_REGION_NAMES):
        raise ValueError(
            f"regions: expected a dict with keys among {list(_REGION_NAMES)}, got {regions!r}."
        )
    try:
        limits = {name: np.asarray(value, float) * factor for name, value in regions.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"regions: expected numbers in the units of the energy axis, got {regions!r}."
        ) from error
    for name, value in limits.items():
        wrong = value >= 0 if name == "gain_limit" else value <= 0
        if np.isnan(value).any() or wrong.any():
            side = (
                "negative (before the peak)"
                if name == "gain_limit"
                else "positive (after the peak)"
            )
            raise ValueError(f"regions: expected {name} to be {side}, got {regions[name]!r}.")
    if "E_I" in limits and "E_II" in limits and (limits["E_I"] > limits["E_II"]).any():
        raise ValueError(
            f"regions: expected E_I below E_II, got {regions['E_I']!r} and {regions['E_II']!r}."
        )
    return limits


def given_noise(signal):
    """Noise that the signal carries itself.

    Returns
    -------
    variance : float, array or None
        Of the counts, broadcast against the data; None where the signal carries none.
    """
    variance = signal.get_noise_variance()
    if variance is None:
        return None
    return variance.data if isinstance(variance, hs.signals.BaseSignal) else float(variance)


def spectra_like(signal, data, title):
    """Signal with the axes, type and metadata of another, and new data."""
    new = signal._deepcopy_with_new_data(data)
    new.metadata.General.title = _titled(signal, title)
    if "filename" in new.tmp_parameters:
        new.tmp_parameters.filename += "_" + title.replace(" ", "_")
    return new


def map_like(signal, data, title, quantity):
    """Map over the navigation space of a signal, as ``(x, y|)``."""
    shape = signal.axes_manager._navigation_shape_in_array or (1,)
    new = signal._get_navigation_signal(data=np.asarray(data).reshape(shape))
    new.set_signal_type("")
    new = new.transpose(signal_axes=[])
    new.metadata.General.title = _titled(signal, title)
    new.metadata.set_item("Signal.quantity", quantity)
    return new


def _titled(signal, title):
    return f"{signal.metadata.General.title} {title}".strip()


#: Settings of the microscope, and where HyperSpy keeps them.
_SETTINGS = {
    "beam_energy": "Acquisition_instrument.TEM.beam_energy",
    "convergence_angle": "Acquisition_instrument.TEM.convergence_angle",
    "collection_angle": "Acquisition_instrument.TEM.Detector.EELS.collection_angle",
    "exposure": "Acquisition_instrument.TEM.Detector.EELS.exposure",
    "dwell_time": "Acquisition_instrument.TEM.Detector.EELS.dwell_time",
}
#: Those that shape a zero-loss peak.
_SHAPING = ("beam_energy", "convergence_angle", "collection_angle")


def microscope_settings(signal):
    """Settings of the microscope that the metadata of a signal hold, as a dict of float."""
    found = {name: signal.metadata.get_item(_SETTINGS[name]) for name in _SHAPING}
    return {name: float(value) for name, value in found.items() if _is_number(value)}


def condition_of(signal, name, key=None, number=None):
    """Value of a setting that the metadata of a signal hold.

    Parameters
    ----------
    signal : BaseSignal
    name : str
    key : str, optional
        Of the metadata; default where HyperSpy keeps settings of this name.
    number : int, optional
        Of the signal in a list, for errors.

    Returns
    -------
    float

    Raises
    ------
    ValueError
    """
    which = "the signal" if number is None else f"signal {number}"
    if key is None and name not in _SETTINGS:
        raise ValueError(
            f"conditions: expected names among {sorted(_SETTINGS)}, got {name!r}; for others give "
            f"a dict of values or of keys of the metadata: {{{name!r}: [...]}}."
        )
    key = key or _SETTINGS[name]
    value = signal.metadata.get_item(key)
    if not _is_number(value):
        raise ValueError(
            f"conditions: expected {name} of {which} in its metadata at {key}, got {value!r}; set "
            f"it with metadata.set_item, or give the values."
        )
    return float(value)


def _is_number(value):
    return isinstance(value, numbers.Real) and np.isfinite(value)
