# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrap arrays as signals, spectra and maps with the axes and metadata of the data; and cut them."""

import dask.array as da
import numpy as np
from hyperspy.signals import BaseSignal, Signal1D


def spectra_like(signal, data, title):
    """Make a signal with the axes, type and metadata of another, and new data.

    Parameters
    ----------
    signal : Signal1D
    data : ndarray or dask array of the shape of its data
    title : str
        Appended to the title of the signal.

    Returns
    -------
    Signal1D

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.wrapping import spectra_like
    >>> s = ws2_like((4, 3), n_channels=256, random_state=0).signal
    >>> spectra_like(s, s.data / 2, "halved")
    <EELSZLPSpectrum, title: WS2-like flake halved, dimensions: (4, 3|256)>
    """
    new = signal._deepcopy_with_new_data(data)
    new.metadata.set_item("General.title", _titled(signal, title))
    if "filename" in new.tmp_parameters:
        new.tmp_parameters.filename += "_" + title.replace(" ", "_")
    return new


def map_like(signal, data, title, quantity):
    """Make a map over the navigation space of a signal, as ``(x, y|)``.

    Parameters
    ----------
    signal : Signal1D
    data : ndarray
        One number for each spectrum.
    title : str
        Appended to the title of the signal.
    quantity : str
        What the numbers are, with their units.

    Returns
    -------
    BaseSignal

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.wrapping import map_like
    >>> s = ws2_like((4, 3), n_channels=256, random_state=0).signal
    >>> map_like(s, s.data.sum(-1), "total", "Intensity (Counts)")
    <BaseSignal, title: WS2-like flake total, dimensions: (4, 3|)>
    """
    manager = signal.axes_manager
    axes = [axis.get_axis_dictionary() for axis in manager.navigation_axes[::-1]]
    return BaseSignal(
        np.asarray(data).reshape(manager._navigation_shape_in_array or (1,)),
        axes=axes or [{"size": 1, "navigate": True}],
        metadata={
            "General": {"title": _titled(signal, title)},
            "Signal": {"quantity": quantity},
        },
    )


def peak_maps_like(signal, peaks, factor):
    """Make maps of centre, FWHM and intensity, energies in the units of the axis.

    Parameters
    ----------
    signal : Signal1D
    peaks : object with ``centre``, ``fwhm`` (eV) and ``intensity``
        :class:`.PeakParameters`, or the result of a removal.
    factor : float
        eV per unit of the axis.

    Returns
    -------
    dict of str to BaseSignal
    """
    quantity = f"Energy ({signal.axes_manager.signal_axes[0].units})"
    return {
        "centre": map_like(signal, peaks.centre / factor, "ZLP centre", quantity),
        "fwhm": map_like(signal, peaks.fwhm / factor, "ZLP FWHM", quantity),
        "intensity": map_like(signal, peaks.intensity, "ZLP intensity", "Intensity (Counts)"),
    }


def numbers_like(signal, data, title):
    """Wrap some numbers of each spectrum as a signal with the navigation axes of another.

    Parameters
    ----------
    signal : Signal1D
    data : ndarray or dask array of shape (..., n_numbers)
    title : str

    Returns
    -------
    Signal1D
        Lazy where the numbers are.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.wrapping import numbers_like
    >>> s = ws2_like((4, 3), n_channels=256, random_state=0).signal
    >>> numbers_like(s, np.zeros((3, 4, 5)), "five numbers")
    <Signal1D, title: five numbers, dimensions: (4, 3|5)>
    """
    axes = [axis.get_axis_dictionary() for axis in signal.axes_manager._axes if axis.navigate]
    new = Signal1D(
        data, axes=[*axes, {"name": "Number", "size": data.shape[-1], "navigate": False}]
    )
    set_lazy(new, isinstance(data, da.Array))
    new.metadata.General.title = title
    return new


class Slicer:
    """Choice of pixels, as ``inav`` of HyperSpy: ``result.inav[10:20, 5]``.

    Parameters
    ----------
    cut : callable
        Of what stands in the brackets; returns the part.

    Examples
    --------
    >>> from hyperspy_zlpml.signals.wrapping import Slicer
    >>> Slicer(lambda slices: slices)[1:3, 0.5]
    (slice(1, 3, None), 0.5)
    """

    def __init__(self, cut):
        self._cut = cut

    def __getitem__(self, slices):
        return self._cut(slices)


def check_pixels(signal, slices):
    """Raise IndexError, with the axes named in the order of HyperSpy, where there are no such pixels.

    Parameters
    ----------
    signal : BaseSignal
    slices : int, float, str, slice, ROI, or tuple of these
        As ``inav`` of HyperSpy takes them.

    Raises
    ------
    IndexError

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.wrapping import check_pixels
    >>> s = ws2_like((4, 3), n_channels=256, random_state=0).signal
    >>> check_pixels(s, (3, 2))
    >>> check_pixels(s, (2, 3))
    Traceback (most recent call last):
    IndexError: inav: expected pixels 0 to 2 of axis 1 (y), got 3.
    """
    axes = signal.axes_manager.navigation_axes
    given = list(slices) if isinstance(slices, (tuple, list, np.ndarray)) else [slices]
    places = [place for place, one in enumerate(given) if one is Ellipsis]
    if len(given) - len(places) > len(axes):
        order = ", ".join(str(axis.name) for axis in axes) or "none, for it is a single spectrum"
        raise IndexError(f"inav: expected at most one for each axis ({order}), got {len(given)}.")
    if places:
        missing = [slice(None)] * (len(axes) - len(given) + 1)
        given[places[0] : places[0] + 1] = missing
    for number, (one, axis) in enumerate(zip(given, axes, strict=False)):
        is_index = isinstance(one, (int, np.integer))
        if is_index and not -axis.size <= one < axis.size:
            raise IndexError(
                f"inav: expected pixels 0 to {axis.size - 1} of axis {number} ({axis.name}), got {one}."
            )


def cut_map(signal, slices):
    """Take some pixels of a map, or of spectra; a single number stays a map of one.

    Parameters
    ----------
    signal : BaseSignal
    slices : int, float, str, slice, ROI, or tuple of these
        As ``inav`` of HyperSpy takes them.

    Returns
    -------
    BaseSignal

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.wrapping import cut_map, map_like
    >>> s = ws2_like((4, 3), n_channels=256, random_state=0).signal
    >>> total = map_like(s, s.data.sum(-1), "total", "Intensity (Counts)")
    >>> cut_map(total, (1, slice(0, 2)))
    <BaseSignal, title: WS2-like flake total, dimensions: (2|)>
    >>> cut_map(total, (1, 2))
    <BaseSignal, title: WS2-like flake total, dimensions: (1|)>
    """
    check_pixels(signal, slices)
    part = signal.inav[slices]
    is_number = (
        not part.axes_manager.navigation_dimension and not signal.axes_manager.signal_dimension
    )
    return part.transpose(signal_axes=[]) if is_number else part


def blank_like(signal, is_lazy):
    """Make a signal of the wanted laziness that lends axes and metadata; its data are zeros.

    Parameters
    ----------
    signal : Signal1D
    is_lazy : bool

    Returns
    -------
    Signal1D

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.wrapping import blank_like
    >>> s = ws2_like((4, 3), n_channels=256, random_state=0).signal
    >>> type(blank_like(s, is_lazy=True)).__name__
    'LazyEELSZLPSpectrum'
    """
    blank = blank_array(signal.data.shape, np.float32, is_lazy)
    other = signal._deepcopy_with_new_data(blank)
    set_lazy(other, is_lazy)
    return other


def blank_array(shape, dtype, is_lazy):
    """Make an array of zeros that takes no memory, lazy or not.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    is_lazy : bool

    Returns
    -------
    ndarray or dask array
        To be looked at, not to be written to.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.signals.wrapping import blank_array
    >>> blank_array((512, 512, 2048), np.float32, is_lazy=False).strides
    (0, 0, 0)
    """
    if is_lazy:
        # A lazy array that is made of another one is named by all its numbers, written out for that.
        return da.zeros(shape, dtype=dtype)
    return np.broadcast_to(np.zeros((), dtype), shape)


def set_lazy(signal, is_lazy):
    """Let a signal be of the lazy class, or not, as its numbers are.

    Parameters
    ----------
    signal : Signal1D
    is_lazy : bool
    """
    if signal._lazy != is_lazy:
        signal._lazy = is_lazy
        signal._assign_subclass()


def _titled(signal, title):
    return f"{signal.metadata.get_item('General.title', '')} {title}".strip()
