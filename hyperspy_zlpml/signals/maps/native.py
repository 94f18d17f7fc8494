# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps in native form: axes and provenance of the data, errors as variance, reasons with a legend."""

from copy import deepcopy

import numpy as np

from hyperspy_zlpml import arguments
from hyperspy_zlpml.physics.reasons import Reason, legend
from hyperspy_zlpml.signals.wrapping import map_like

#: Where the metadata keep what the numbers of a map of reasons mean.
_LEGEND = "ZLP_ML.legend"


def plain_map(removal, values, title, quantity):
    """Make a map of numbers without errors of their own.

    Parameters
    ----------
    removal : ZLPRemoval
    values : ndarray of the navigation shape
    title : str
        Appended to the title of the data.
    quantity : str
        What the numbers are, with their units.

    Returns
    -------
    BaseSignal
        Of dimensions (x, y|).
    """
    signal = map_like(removal._like, values, title, quantity)
    signal.metadata.add_dictionary({"ZLP_ML": deepcopy(removal.removed.record)})
    return signal


def value_map(removal, values, std, title, quantity):
    """Make a map of numbers with their errors.

    Parameters
    ----------
    removal : ZLPRemoval
    values, std : ndarray of the navigation shape
    title : str
        Appended to the title of the data.
    quantity : str
        What the numbers are, with their units.

    Returns
    -------
    BaseSignal
        Of dimensions (x, y|); its noise variance is the square of ``std``.
    """
    signal = plain_map(removal, values, title, quantity)
    variance = plain_map(removal, np.square(std), f"variance of {title}", quantity)
    signal.set_noise_variance(variance)
    return signal


def reason_map(removal, reasons, title):
    """Make a map of the reasons why numbers are missing, or are to be read with care.

    Parameters
    ----------
    removal : ZLPRemoval
    reasons : ndarray of the navigation shape
        Of :class:`.Reason`; NaN where a spectrum was left out of the removal.
    title : str
        Appended to the title of the data.

    Returns
    -------
    BaseSignal
        Of integers; their meaning is in ``metadata.ZLP_ML.legend``.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.physics import Reason
    >>> from hyperspy_zlpml.signals.maps.native import reason_map
    >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
    >>> r = s.remove_zlp_ml(
    ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
    ... )
    >>> reasons = reason_map(r, np.full((4, 4), Reason.NO_CROSSING), "crossing of zero")
    >>> reasons.metadata.ZLP_ML.legend.as_dictionary()["10"]
    'NO_CROSSING: the function does not cross zero'
    """
    codes = np.where(np.isnan(reasons), Reason.LEFT_OUT, reasons).astype(np.int16)
    signal = plain_map(removal, codes, f"reasons of {title}", "Reason")
    signal.metadata.set_item(_LEGEND, legend())
    return signal


def numbers_of_pixels(removal, value, name):
    """Take a number, or one for each pixel, as an array of the navigation shape.

    Parameters
    ----------
    removal : ZLPRemoval
    value : float, ndarray or BaseSignal
        A map has the navigation shape of the data.
    name : str
        What it is called in errors.

    Returns
    -------
    ndarray of float of the navigation shape

    Raises
    ------
    ValueError
        If it holds anything but numbers, or is a map of another shape.

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.maps.native import numbers_of_pixels
    >>> s = ws2_like((4, 3), n_channels=512, random_state=0).signal
    >>> r = s.remove_zlp_ml(
    ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
    ... )
    >>> numbers_of_pixels(r, 2.5, "n").shape
    (3, 4)
    """
    shape = removal.removed.shape[:-1]
    values = arguments.real_array(getattr(value, "data", value), name)
    if values.size == 1:
        return np.full(shape, float(values.ravel()[0]))
    if values.shape != shape:
        arguments.refuse(value, name, f"a number or a map of the navigation shape {shape}")
    return values.astype(float)
