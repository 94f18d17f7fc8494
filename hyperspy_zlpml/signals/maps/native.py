# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps in native form: axes and provenance of the data, errors as variance, reasons with a legend."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from hyperspy.signals import BaseSignal

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


@dataclass(frozen=True, repr=False, eq=False)
class Measured:
    """Map of a quantity with its errors, all in the same units.

    Attributes
    ----------
    value : BaseSignal
        Its noise variance is the square of ``std``. NaN where a pixel has no number.
    std : BaseSignal
        Error from counting noise and the ZLP: differs from pixel to pixel.
    systematic : BaseSignal
        Error of what was given or assumed: most of it common to all pixels.
    """

    value: BaseSignal
    std: BaseSignal
    systematic: BaseSignal

    @classmethod
    def of(cls, removal, numbers, title, quantity):
        """Make maps of a quantity and its errors.

        Parameters
        ----------
        removal : ZLPRemoval
        numbers : tuple of three ndarray of the navigation shape
            Values, standard deviations, systematic errors.
        title : str
            Appended to the title of the data.
        quantity : str
            What the numbers are, with their units.

        Returns
        -------
        Measured
        """
        value, std, systematic = numbers
        return cls(
            value=value_map(removal, value, std, title=title, quantity=quantity),
            std=plain_map(removal, std, f"standard deviation of {title}", quantity),
            systematic=plain_map(removal, systematic, f"systematic error of {title}", quantity),
        )

    @property
    def error(self):
        """Both errors together, square root of the sum of their squares (ndarray)."""
        return np.hypot(self.std.data, self.systematic.data)

    def __repr__(self):
        title = self.value.metadata.get_item("General.title", "")
        return f"<Measured, {title}: {summary(self.value.data, self.std.data)}>"


def summary(values, std):
    """Say in a few words what a map holds.

    Parameters
    ----------
    values, std : ndarray
        NaN where a pixel has no number.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.signals.maps.native import summary
    >>> summary(np.array([1.6, 1.7, np.nan]), np.array([0.1, 0.1, np.nan]))
    'median 1.65 +- 0.1 in 2 of 3 pixels'
    """
    known = np.isfinite(values)
    if not known.any():
        return f"no number in {known.size} pixels"
    median, error = np.median(values[known]), np.nanmedian(std[known])
    return f"median {median:.4g} +- {error:.2g} in {known.sum()} of {known.size} pixels"


def answers(reasons):
    """Say how many pixels have an answer that holds.

    Parameters
    ----------
    reasons : BaseSignal
        Of :func:`reason_map`.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy.signals import BaseSignal
    >>> from hyperspy_zlpml.signals.maps.native import answers
    >>> answers(BaseSignal(np.array([0, 0, 5])))
    '2 of 3 pixels'
    """
    codes = np.asarray(reasons.data)
    return f"{int((codes == Reason.NONE).sum())} of {codes.size} pixels"


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
    if (np.isfinite(values) & (np.abs(values) > arguments.LARGEST)).any():
        arguments.refuse(value, name, f"numbers up to {arguments.LARGEST:g}")
    if values.size == 1:
        return np.full(shape, float(values.ravel()[0]))
    if values.shape != shape:
        arguments.refuse(value, name, f"a number or a map of the navigation shape {shape}")
    return values.astype(float)
