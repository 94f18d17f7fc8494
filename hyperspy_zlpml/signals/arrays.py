# SPDX-License-Identifier: GPL-3.0-or-later
"""Take arrays from signals, with the checks at that boundary."""

import re
import threading

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pint
from hyperspy.misc.utils import DictionaryTreeBrowser

from hyperspy_zlpml import arguments
from hyperspy_zlpml.image.spectra import FEWEST_CHANNELS, LARGEST_VARIANCE, Spectra
from hyperspy_zlpml.signals.microscope import microscope_settings

#: Name of a unit, with its prefix.
_UNIT_NAME = re.compile(r"[^\W\d]{1,40}")
#: Significant digits of offset and scale that are taken: those behind depend on the unit of the axis.
_DIGITS = 14
#: Held while signals are read and copied: HyperSpy empties a signal for as long as it copies it,
#: and other threads may work on the same one.
one_at_a_signal = threading.RLock()


def energy_axis(signal, name="signal"):
    """Take the energies of the channels, after all that can be wrong with the axis was checked.

    Parameters
    ----------
    signal : Signal1D
    name : str
        What to call it in errors.

    Returns
    -------
    energy : ndarray of shape (n_energy,)
        eV.
    factor : float
        eV per unit of the axis.

    Raises
    ------
    ValueError
        If there is more than one signal axis, or it is not one of uniform increasing energies.

    Examples
    --------
    >>> from hyperspy_zlpml.data import make_sample
    >>> from hyperspy_zlpml.signals.arrays import energy_axis
    >>> s = make_sample((), n_channels=256, scale=0.1, random_state=0).signal
    >>> s.axes_manager.signal_axes[0].convert_to_units("meV")
    >>> energy, factor = energy_axis(s)
    >>> float(energy[0].round(6)), factor
    (-4.0, 0.001)
    """
    arguments.instance(signal, name, hs.signals.BaseSignal)
    if signal.axes_manager.signal_dimension != 1:
        raise ValueError(
            f"{name}: expected one signal axis (energy), got {signal.axes_manager.signal_dimension}; "
            "use as_signal1D to choose the energy axis."
        )
    axis = signal.axes_manager.signal_axes[0]
    if not axis.is_uniform:
        raise ValueError(
            f"{name}: expected a uniform energy axis, got a non-uniform one; "
            "interpolate with s.interpolate_on_axis('uniform', axis=-1)."
        )
    _check_size(signal, axis, name)
    is_finite = arguments.is_number(axis.scale) and arguments.is_number(axis.offset)
    if not is_finite or axis.offset + axis.scale == axis.offset:
        raise ValueError(
            f"{name}: expected an energy axis of finite offset and positive scale, got an offset of "
            f"{axis.offset:g} and a scale of {axis.scale:g}; set "
            "s.axes_manager.signal_axes[0].offset and .scale."
        )
    if axis.scale < 0:
        raise ValueError(
            f"{name}: expected an increasing energy axis, got a scale of {axis.scale:g}; "
            "reverse it with s.isig[::-1]."
        )
    factor = ev_per_unit(axis.units, name)
    offset, scale = (_rounded(number * factor) for number in (axis.offset, axis.scale))
    return offset + scale * np.arange(axis.size), factor


def _rounded(number):
    """Drop the digits in which a number in one unit differs from the same in another by rounding alone."""
    return float(f"{number:.{_DIGITS}g}")


def _check_size(signal, axis, name):
    """Raise ValueError unless the axes are as long as the data, and hold channels enough."""
    sizes = tuple(one.size for one in signal.axes_manager._axes)
    if sizes != signal.data.shape:
        raise ValueError(
            f"{name}: expected axes as long as the data, of shape {signal.data.shape}, got axes of "
            f"{sizes}; make the signal anew from its data."
        )
    if axis.size < FEWEST_CHANNELS:
        raise ValueError(
            f"{name}: expected at least {FEWEST_CHANNELS} channels of energy, got {axis.size}."
        )


def ev_per_unit(units, name):
    """Convert the unit of an energy axis to eV.

    Parameters
    ----------
    units : str
    name : str
        What the axis belongs to, for errors.

    Returns
    -------
    float
        eV per unit.

    Raises
    ------
    ValueError
        If that is no unit of energy.

    Examples
    --------
    >>> from hyperspy_zlpml.signals.arrays import ev_per_unit
    >>> ev_per_unit("keV", "signal")
    1000.0
    """
    advice = (
        "set it, for example s.axes_manager.signal_axes[0].units = 'eV' "
        "(and .scale and .offset, if the file does not hold them)."
    )
    if not isinstance(units, str) or not units.strip():
        raise ValueError(f"{name}: the energy axis has no units, expected eV, meV or keV; {advice}")
    try:
        return _pint_factor(units.strip())
    except Exception as error:  # pint raises many kinds, none of which says what to do
        raise ValueError(
            f"{name}: the energy axis is in {arguments.got(units)}, expected eV, meV or keV; {advice}"
        ) from error


def _pint_factor(units):
    """Ask pint for eV per unit. Only names of units: pint would work out powers of powers."""
    if not _UNIT_NAME.fullmatch(units):
        raise ValueError("no name of a unit")
    return arguments.positive(
        float(pint.get_application_registry()(units).to("eV").magnitude), "eV"
    )


def spectra_of(signal, name="signal"):
    """Take the spectra of a signal, with what its metadata tell of them.

    Parameters
    ----------
    signal : Signal1D
    name : str
        What to call it in errors.

    Returns
    -------
    spectra : Spectra
    factor : float
        eV per unit of the energy axis.

    Raises
    ------
    ValueError
        If the energy axis is not what it must be.

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.arrays import spectra_of
    >>> s = ws2_like((4, 3), n_channels=256, random_state=0).signal
    >>> spectra, factor = spectra_of(s)
    >>> spectra.counts.shape, factor, spectra.title
    ((3, 4, 256), 1.0, 'WS2-like flake')
    """
    energy, factor = energy_axis(signal, name)
    _check_data(signal, name)
    _check_metadata(signal, name)
    spectra = Spectra(
        signal.data,
        energy,
        given_noise(signal),
        microscope=microscope_settings(signal),
        title=str(signal.metadata.get_item("General.title", "")),
    )
    return spectra, factor


def _check_data(signal, name):
    """Raise ValueError unless the data are real numbers without a mask."""
    data = signal.data
    if isinstance(data, np.ma.MaskedArray):
        raise ValueError(
            f"{name}: expected data without a mask, got masked ones; mark what is unknown by NaN, "
            "with s.data = s.data.astype(float).filled(np.nan)."
        )
    if data.dtype.kind not in "fiu":
        advice = "take s.real or s.amplitude" if data.dtype.kind == "c" else "convert s.data"
        raise ValueError(
            f"{name}: expected real numbers as data, got dtype {data.dtype}; {advice}."
        )


def _check_metadata(signal, name):
    """Raise ValueError unless the metadata have the nodes that results need, before there are any."""
    for key in ("General", "Signal"):
        if not isinstance(signal.metadata.get_item(key), DictionaryTreeBrowser):
            raise ValueError(
                f"{name}: expected metadata with the node {key}, got none or something else of that "
                "name; make the signal anew from its data."
            )


def given_noise(signal):
    """Take the noise variance that a signal carries itself.

    Parameters
    ----------
    signal : BaseSignal

    Returns
    -------
    float, array or None
        Variance of the counts, broadcast against the data; None where the signal carries none.

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.arrays import given_noise
    >>> s = ws2_like((4, 3), n_channels=256, random_state=0).signal
    >>> given_noise(s) is None
    True
    >>> s.estimate_poissonian_noise_variance(gain_factor=1.0, gain_offset=900.0)
    >>> given_noise(s).shape
    (3, 4, 256)
    """
    variance = signal.get_noise_variance()
    if variance is None:
        return None
    if isinstance(variance, hs.signals.BaseSignal):
        return variance.data
    name = "variance: metadata.Signal.Noise_properties.variance"
    return arguments.positive(variance, name, largest=LARGEST_VARIANCE)


def map_of(value):
    """Take the array of a map over the navigation space.

    Parameters
    ----------
    value : BaseSignal, array, or anything else
        What is no signal and no dask array is handed on.

    Returns
    -------
    ndarray, or what was given

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.arrays import map_of
    >>> thickness = ws2_like((4, 3), n_channels=256, random_state=0).thickness
    >>> map_of(thickness).shape, map_of("zlp")
    ((3, 4), 'zlp')
    """
    data = value.data if isinstance(value, hs.signals.BaseSignal) else value
    return data.compute() if isinstance(data, da.Array) else data


def vacuum_of(vacuum):
    """Take the spectra of a vacuum signal, or the array of a map of vacuum pixels.

    Parameters
    ----------
    vacuum : BaseSignal, array, or anything else

    Returns
    -------
    Spectra, ndarray, or what was given
    """
    is_signal = isinstance(vacuum, hs.signals.BaseSignal)
    if is_signal and vacuum.axes_manager.signal_dimension == 1 and vacuum.data.dtype != bool:
        return spectra_of(vacuum, "vacuum")[0]
    return map_of(vacuum)
