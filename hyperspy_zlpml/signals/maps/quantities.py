# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a map that is given holds the quantity that is asked for, and the error that it brings."""

import numpy as np
from hyperspy.signals import BaseSignal

from hyperspy_zlpml import arguments
from hyperspy_zlpml.signals.maps.native import Measured
from hyperspy_zlpml.signals.maps.words import title_of, units_of

#: Quantity of a map that may be given, by the name of the argument, and where there is one.
_QUANTITIES = {
    "n": ("Refractive index", "d.n of d = r.dielectric_function(thickness=...)"),
    "thickness": ("Thickness (nm)", "t.by_index of t = r.thickness(n=...)"),
    "mean_free_path": ("Mean free path (nm)", "a number of nm"),
    "right": ("Energy ({units})", "g.gap of g = r.band_gap()"),
}
#: Where the metadata of maps tell that they are of a removal.
_OF_REMOVAL = "ZLP_ML"


def check_quantity(value, name, units):
    """Raise ValueError where a map holds another quantity than is asked for.

    Maps of this package are told by their quantity, others by its units; what names no quantity, and
    numbers, are taken for what is asked for.

    Parameters
    ----------
    value : float, ndarray, BaseSignal or Measured
    name : str
        Of the argument; an error, ``name_error``, is of the same quantity.
    units : str
        Of the energy axis.

    Raises
    ------
    ValueError
        If it is another quantity, or in other units.

    Examples
    --------
    >>> from hyperspy.signals import BaseSignal
    >>> from hyperspy_zlpml.signals.maps.quantities import check_quantity
    >>> map_ = BaseSignal([[0.3, 0.4]]).T
    >>> map_.metadata.Signal.quantity = "Thickness (t/lambda)"
    >>> check_quantity(map_, "thickness", "eV")
    Traceback (most recent call last):
    ValueError: thickness: expected Thickness (nm), as t.by_index of t = r.thickness(n=...), got a \
map of Thickness (t/lambda). Where its numbers are right, set metadata.Signal.quantity of it to that.
    """
    signal = value.value if isinstance(value, Measured) else value
    known = _QUANTITIES.get(name.removesuffix("_error"))
    quantity = signal.metadata.get_item("Signal.quantity", "") if _is_signal(signal) else ""
    if known is None or not quantity:
        return
    expected, example = known[0].format(units=units), known[1]
    if _is_another(signal, quantity, expected):
        title = title_of(signal)
        raise ValueError(
            f"{name}: expected {expected}, as {example}, got a map of {quantity}"
            f"{f' ({title})' if title else ''}. Where its numbers are right, set "
            f"{'value.' if isinstance(value, Measured) else ''}metadata.Signal.quantity of it to that."
        )


def _is_signal(value):
    return isinstance(value, BaseSignal)


def _is_another(signal, quantity, expected):
    """Tell whether a quantity is not that which is expected."""
    if signal.metadata.has_item(_OF_REMOVAL):
        return quantity != expected
    units = units_of(signal)
    return bool(units) and f"({units})" not in expected


def error_of(value):
    """Read the error that a map brings.

    Parameters
    ----------
    value : float, ndarray, BaseSignal or Measured

    Returns
    -------
    ndarray of float or None
        Both errors of a measured quantity, the root of the noise variance of a signal; None where
        there is none.

    Examples
    --------
    >>> from hyperspy.signals import BaseSignal
    >>> from hyperspy_zlpml.signals.maps.quantities import error_of
    >>> map_ = BaseSignal([[2.5, 2.6]]).T
    >>> error_of(map_) is None
    True
    >>> map_.set_noise_variance(0.01)
    >>> error_of(map_)
    array([[0.1, 0.1]])
    """
    if isinstance(value, Measured):
        return value.error
    variance = value.get_noise_variance() if _is_signal(value) else None
    if variance is None:
        return None
    numbers = arguments.real_array(getattr(variance, "data", variance), "noise variance")
    return np.sqrt(np.broadcast_to(numbers, value.data.shape))
