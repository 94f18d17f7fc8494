# SPDX-License-Identifier: GPL-3.0-or-later
"""What users give beside the data: numbers, maps and measured quantities, energies, pools."""

import numpy as np

from hyperspy_zlpml import arguments
from hyperspy_zlpml.signals.maps.native import Measured
from hyperspy_zlpml.signals.maps.quantities import check_quantity, error_of

#: Pixels on a side of a square that is pooled, at least and at most.
_POOLS = (2, 64)
#: Narrowest window in which something is fitted, FWHM.
_NARROWEST = 2.0


def numbers_of_pixels(removal, value, name):
    """Take a number, or one for each pixel, as an array of the navigation shape.

    Parameters
    ----------
    removal : ZLPRemoval
    value : float, ndarray, BaseSignal or Measured
        A map has the navigation shape of the data.
    name : str
        What it is called in errors.

    Returns
    -------
    ndarray of float of the navigation shape

    Raises
    ------
    ValueError
        If it holds anything but numbers, or is a map of another shape or of another quantity.

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.maps.given import numbers_of_pixels
    >>> s = ws2_like((4, 3), n_channels=512, random_state=0).signal
    >>> r = s.remove_zlp_ml(
    ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
    ... )
    >>> numbers_of_pixels(r, 2.5, "n").shape
    (3, 4)
    """
    shape = removal.removed.shape[:-1]
    check_quantity(value, name, removal._units)
    value = value.value if isinstance(value, Measured) else value
    values = arguments.real_array(getattr(value, "data", value), name)
    if (np.isfinite(values) & (np.abs(values) > arguments.LARGEST)).any():
        arguments.refuse(value, name, f"numbers up to {arguments.LARGEST:g}")
    if values.size == 1:
        return _of_all(values, shape)
    if values.shape != shape:
        arguments.refuse(value, name, f"a number or a map of the navigation shape {shape}")
    return values.astype(float)


def _of_all(values, shape):
    """Take one number for all pixels, or one of each."""
    values = np.asarray(values, float)
    return np.full(shape, values.ravel()[0]) if values.size == 1 else values.reshape(shape)


def with_error(removal, value, error, name):
    """Take a quantity and its error as arrays of the navigation shape.

    Parameters
    ----------
    removal : ZLPRemoval
    value : float, ndarray, BaseSignal or Measured
        A measured quantity brings its error, both parts of it; a signal the root of its noise
        variance, unless an error is given.
    error : float, ndarray or BaseSignal
        One standard deviation; 0 where the quantity brings its own.
    name : str
        What the quantity is called in errors; its error is called ``name_error``.

    Returns
    -------
    values, errors : ndarray of float of the navigation shape
        Values are NaN, that is not given, in pixels whose error is not known or infinite; errors 0.

    Raises
    ------
    ValueError
        If one holds anything but numbers, is a map of another shape or quantity, or errors are
        negative, unknown in all pixels, or given beside those of a measured quantity.
    """
    values, of = numbers_of_pixels(removal, value, name), f"{name}_error"
    if isinstance(value, Measured):
        check_unused(error, of, f"a {name} that has none of its own")
        errors = _of_all(value.error, values.shape)
    else:
        own = error_of(value) if arguments.is_number(error) and error == 0 else None
        errors = numbers_of_pixels(removal, error if own is None else own, of)
        known = errors[~np.isnan(errors)]
        if not known.size or not ((known >= 0) & (known < np.inf)).all():
            arguments.refuse(error if own is None else value, of, "errors that are not negative")
    known = np.isfinite(errors)
    return np.where(known, values, np.nan), np.where(known, errors, 0.0)


def parts_of(value, error):
    """Part the error of a quantity into that of noise and a systematic one.

    Parameters
    ----------
    value : float, ndarray, BaseSignal or Measured
        What was given.
    error : ndarray of the navigation shape
        Of :func:`with_error`.

    Returns
    -------
    std, systematic : ndarray of the navigation shape
        An error that is given beside a number is systematic.
    """
    if not isinstance(value, Measured):
        return np.zeros_like(error), error
    parts = (_of_all(one.data, error.shape) for one in (value.std, value.systematic))
    return tuple(np.where(error > 0, one, 0.0) for one in parts)


def index_of(removal, n, n_error, above=1.0):
    """Take refractive indices of the pixels and their errors.

    Parameters
    ----------
    removal : ZLPRemoval
    n, n_error : float, ndarray, BaseSignal or Measured
        Infinite for a metal. Pixels of a map where it is not known are NaN.
    above : float
        All must exceed it; not to be 1 where an index of 1 has a meaning.

    Returns
    -------
    index, error : ndarray of float of the navigation shape

    Raises
    ------
    ValueError
        If an index is not one, or an error is negative.
    """
    index, error = with_error(removal, n, n_error, "n")
    known = index[~np.isnan(index)]
    if not known.size or not (known > above).all() or not (known >= 1).all():
        least = "above 1 (infinite for a metal)" if above >= 1 else "of at least 1"
        arguments.refuse(n, "n", f"refractive indices {least}")
    return index, error


def check_unused(value, name, of, default=0.0):
    """Raise ValueError where something is given that belongs to what is not.

    Parameters
    ----------
    value : anything
    name : str
        Of the argument.
    of : str
        What it belongs to, in words.
    default : 0 or None
        What it is where it is not given.

    Raises
    ------
    ValueError
        Unless it is its default.
    """
    is_zero = arguments.is_number(value) and value == 0
    if not (value is None if default is None else is_zero):
        raise ValueError(f"{name}: expected together with {of}, which is not given; leave it out.")


def window_of(removal, left, right):
    """Take the energies from the peak between which something is fitted, in eV.

    Parameters
    ----------
    removal : ZLPRemoval
    left, right : float or None
        In the units of the axis.

    Returns
    -------
    left, right : float or None
        eV; None where there is none.

    Raises
    ------
    ValueError
        If they are not positive and in order, lie off the axis, or are closer than two FWHM.
    """
    factor, units = removal._factor, removal._units
    typical = removal.removed.typical
    farthest = removal.removed.spectra.energy[-1] - typical.first
    end, fwhm = (float(one) / factor for one in (farthest, typical.fwhm))
    for name, value in (("left", left), ("right", right)):
        if value is not None and not arguments.positive(value, name, units) <= end:
            arguments.refuse(
                value, name, f"an energy on the axis, up to {end:.4g} {units} from the peak"
            )
    if left is not None and right is not None and right - left < _NARROWEST * fwhm:
        least = f"more than left = {left:g} by at least {_NARROWEST * fwhm:.3g}, two FWHM"
        arguments.refuse(right, "right", least)
    return tuple(None if one is None else one * factor for one in (left, right))


def pool_of(removal, pool):
    """Check what spectra are pooled with.

    Parameters
    ----------
    removal : ZLPRemoval
    pool : int, "clusters" or None
        Pixels on a side of the square about each, along every navigation axis; of an even number
        those at the rim count by half, so that the pixel is in the middle.

    Returns
    -------
    int, "clusters" or None

    Raises
    ------
    ValueError
        If it is none of these, or a single spectrum is to be pooled with neighbours.

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.maps.given import pool_of
    >>> s = ws2_like((4, 3), n_channels=512, random_state=0).signal
    >>> r = s.remove_zlp_ml(
    ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
    ... )
    >>> pool_of(r, 3)
    3
    """
    if pool is None or (isinstance(pool, str) and pool == "clusters"):
        return pool
    size = arguments.count(pool, "pool", *_POOLS, beside=', "clusters" or None')
    if len(removal.removed.shape) == 1:
        arguments.refuse(pool, "pool", "None for a single spectrum, which has no neighbours")
    return size
