# SPDX-License-Identifier: GPL-3.0-or-later
"""Take arrays from signals, with the checks at that boundary."""

import threading

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pint

from hyperspy_zlpml.image.spectra import FEWEST_CHANNELS, Spectra
from hyperspy_zlpml.signals.microscope import microscope_settings

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
        return float(pint.get_application_registry()(units).to("eV").magnitude)
    except Exception as error:  # pint raises many kinds, none of which says what to do
        raise ValueError(
            f"{name}: the energy axis is in {units!r}, expected eV, meV or keV; {advice}"
        ) from error


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
    spectra = Spectra(
        signal.data,
        energy,
        given_noise(signal),
        microscope=microscope_settings(signal),
        title=signal.metadata.get_item("General.title", ""),
    )
    return spectra, factor


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
    return variance.data if isinstance(variance, hs.signals.BaseSignal) else float(variance)


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
