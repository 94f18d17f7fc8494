# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps in native form: axes and provenance of the data, errors as variance, reasons with a legend."""

import operator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from hyperspy.signals import BaseSignal

from hyperspy_zlpml import arguments
from hyperspy_zlpml.physics.reasons import Reason, legend
from hyperspy_zlpml.signals.maps.words import LEGEND, REASONS_OF, summary, title_of, units_of
from hyperspy_zlpml.signals.wrapping import Slicer, cut_map, map_like


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
    """Map, or spectra, of a quantity with its errors, all in the same units.

    It may be given back wherever a method takes a number or a map: its error is then used. Exact numbers
    are added to it and multiply it, and its errors with it: ``thickness.t_over_lambda * 105`` nm. With
    another quantity of the same image it is not combined: both have the errors of the same zero-loss
    peaks, and ``std`` does not tell how much of these cancels.

    Attributes
    ----------
    value : BaseSignal
        Its noise variance is the square of ``std``. NaN where a pixel has no number.
    std : BaseSignal
        Error from counting noise and the ZLP: differs from pixel to pixel.
    systematic : BaseSignal
        Error of what was given or assumed: most of it common to all pixels.
    reason : BaseSignal or None
        Why pixels have no number, or one to be read with care: that of the result it was taken out of.
    """

    #: Names of the errors.
    errors: ClassVar[tuple[str, ...]] = ("std", "systematic")

    value: BaseSignal
    std: BaseSignal
    systematic: BaseSignal
    # Of the whole result, with which it is written.
    reason: BaseSignal | None = field(default=None, init=False)

    @classmethod
    def of(cls, removal, numbers, title, quantity):
        """Make maps of a quantity and its errors.

        Parameters
        ----------
        removal : ZLPRemoval
        numbers : tuple of two or three ndarray of the navigation shape
            Values, standard deviations, systematic errors: none of these where there are two.
        title : str
            Appended to the title of the data.
        quantity : str
            What the numbers are, with their units.

        Returns
        -------
        Measured
        """
        value, std, *more = numbers
        systematic = more[0] if more else np.where(np.isfinite(value), 0.0, np.nan)
        return cls(
            value=value_map(removal, value, std, title=title, quantity=quantity),
            std=plain_map(removal, std, f"standard deviation of {title}", quantity),
            systematic=plain_map(removal, systematic, f"systematic error of {title}", quantity),
        )

    @classmethod
    def with_errors(cls, value, std, systematic):
        """Take a signal with its errors, whose noise variance becomes the square of ``std``.

        Parameters
        ----------
        value, std, systematic : BaseSignal

        Returns
        -------
        Measured
        """
        variance = std**2
        variance.metadata.General.title = f"variance of {title_of(value)}"
        value.set_noise_variance(variance)
        return cls(value, std, systematic)

    def _with_reason(self, reason):
        """Take the quantity with the reasons of its pixels, a map of :func:`reason_map` or None."""
        found = type(self)(self.value, self.std, self.systematic)
        object.__setattr__(found, "reason", reason)
        return found

    @property
    def inav(self):
        """Pixels or regions of the value and its errors, as HyperSpy slices signals (Measured)."""
        return Slicer(self._within)

    def _within(self, slices):
        reason = None if self.reason is None else cut_map(self.reason, slices)
        return self._changed(lambda part: cut_map(part, slices))._with_reason(reason)

    @property
    def isig(self):
        """Energies of the spectra and their errors, as HyperSpy slices signals (Measured)."""
        return Slicer(lambda slices: self._changed(lambda part: part.isig[slices]))

    def _changed(self, function):
        """Change the value and its errors alike."""
        errors = (function(getattr(self, name)) for name in self.errors)
        return type(self)(function(self.value), *errors)._with_reason(self.reason)

    def __add__(self, number):
        return self._linear(1.0, _exact(number))

    __radd__ = __add__

    def __sub__(self, number):
        return self._linear(1.0, -_exact(number))

    def __rsub__(self, number):
        return self._linear(-1.0, _exact(number))

    def __neg__(self):
        return self._linear(-1.0, 0.0)

    def __mul__(self, number):
        return self._linear(_exact(number), 0.0)

    __rmul__ = __mul__

    def __truediv__(self, number):
        if _exact(number) == 0:
            arguments.refuse(number, "Measured", "a number other than 0 to divide by")
        return self._linear(1 / _exact(number), 0.0)

    def __rtruediv__(self, other):
        _exact(other)
        raise TypeError(_CURVED)

    __pow__ = __rtruediv__

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if ufunc not in _ARITHMETIC or method != "__call__" or kwargs:
            raise TypeError(_CURVED)
        # Of arrays of one number, too; others are refused, and by name.
        one, other = (_exact(one) if isinstance(one, _NUMPY) else one for one in inputs)
        return _ARITHMETIC[ufunc](one, other)

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(_CURVED)

    def _linear(self, factor, shift):
        """Multiply by an exact number, and add one; the quantity says by what it was multiplied."""
        std, systematic = (getattr(self, name) * abs(factor) for name in self.errors)
        found = self.with_errors(self.value * factor + shift, std, systematic)
        if abs(factor) != 1:
            for part in (found.value, std, systematic):
                quantity = part.metadata.get_item("Signal.quantity", "")
                part.metadata.set_item("Signal.quantity", f"{quantity} x {factor:.6g}".strip())
        return found._with_reason(self.reason)

    def plot(self, indices=None, *, ax=None, title=None, **style):
        """Plot a map beside its relative error, or the spectrum of a pixel with its errors as bands.

        Along a line, numbers have error bars. Of a map with more than two axes a slider chooses the
        image. The inner band of a spectrum is the standard deviation, the outer one holds systematic errors,
        too; the figure follows the navigator of ``value``.

        Parameters
        ----------
        indices : tuple of int, optional
            Navigation indices (x, y, ...) of the pixel of spectra, which is shown for good; maps have none.
        ax : matplotlib.axes.Axes or sequence of these, optional
            To draw in, without a legend of reasons: one, or two for a map with its error. Default a figure of its own.
        title : str, optional
            Default that of the signal; of spectra it stands before the pixel.
        **style
            Of the map, as ``matplotlib.axes.Axes.imshow`` takes it: ``cmap``, ``vmin``, ``vmax``, ``norm``; of numbers
            along a line, as ``errorbar`` does; of spectra, as ``plot`` does.

        Returns
        -------
        list of matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If there is no such pixel, it is a map, or ``ax`` are no axes, too few or too many.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy.signals import BaseSignal
        >>> from hyperspy_zlpml.signals.maps.native import Measured
        >>> gap, std = (BaseSignal(np.full((3, 4), one)).transpose(signal_axes=[]) for one in (1.6, 0.1))
        >>> [axes.get_title() for axes in Measured(gap, std, std * 0).plot()[:2]]
        ['', 'Error (%)']
        """
        if self.value.axes_manager.signal_dimension:
            from hyperspy_zlpml.signals.maps.spectra_figure import plot_spectra

            shown = {title_of(self.value): self}
            return plot_spectra(shown, indices, ax=ax, title=title, **style)
        from hyperspy_zlpml.signals.maps.figure import plot_maps

        if indices is not None:
            arguments.refuse(indices, "indices", "none for a map, of which all pixels are shown")
        return plot_maps({"value": self}, self.reason, ax=ax, title=title, **style)

    @property
    def error(self):
        """Both errors together, square root of the sum of their squares (ndarray)."""
        return np.hypot(self.std.data, self.systematic.data)

    @property
    def summary(self):
        """Words that say what is measured: medians of pixels that hold, or the size of spectra (str)."""
        manager = self.value.axes_manager
        if manager.signal_dimension:
            return f"spectra with errors, dimensions {manager._get_dimension_str()}"
        codes = Reason.NONE if self.reason is None else self.reason.data
        errors = (getattr(self, name).data for name in self.errors)
        values = np.where(codes == Reason.NOT_SIGNIFICANT, np.nan, self.value.data)
        return summary(values, *errors, units=units_of(self.value), holds=codes == Reason.NONE)

    def __repr__(self):
        return f"<Measured, {title_of(self.value)}: {self.summary}>"


#: Numbers of NumPy.
_NUMPY = (np.generic, np.ndarray)
#: Arithmetic with numbers of NumPy, which come as its functions.
_ARITHMETIC = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
}
#: What is expected, and got.
_EXPECTED = "Measured: expected an exact number, got {}."
#: What to do where there is one for each pixel, which may be a quantity whose errors were left.
_ONE_EACH = (
    "Where its numbers are exact, change value and errors by themselves: m.value.data * a, m.std.data * abs(a), "
    "m.systematic.data * abs(a)."
)
#: What to do where errors cannot be told from those of both.
_COMBINED = (
    "Two quantities of one image have errors of the same zero-loss peaks, and "
    "std does not tell how much of these cancels. Take the numbers alone (a.value / b.value): the relative error of a "
    "ratio, or a product, lies between the difference and the sum of both relative errors. Or compute both in one function "
    "of the spectra, r.removed.map_losses(function, width), with the errors they share: docs, Physics, A quantity of your own."
)
#: The same where a quantity alone is not multiplied or added to.
_CURVED = (
    "Measured: expected sums with exact numbers, and products by them; the error of another function is not "
    "proportional to its own. Take the numbers, m.value, and their errors, m.std and m.systematic."
)


def _exact(number):
    """Take an exact number; TypeError for anything else, a quantity with errors among it."""
    if arguments.is_number(number):
        return float(number)
    way_out = {np.ndarray: f"{_ONE_EACH} {_COMBINED}", Measured: _COMBINED, BaseSignal: _COMBINED}
    ways = [words for kind, words in way_out.items() if isinstance(number, kind)]
    raise TypeError(" ".join([_EXPECTED.format(arguments.got(number)), *ways]))


def reason_map(removal, reasons, title, texts=None):
    """Make a map of the reasons why numbers are missing, or are to be read with care.

    Parameters
    ----------
    removal : ZLPRemoval
    reasons : ndarray of the navigation shape
        Of :class:`.Reason`; NaN where a spectrum was left out of the removal.
    title : str
        Appended to the title of the data.
    texts : dict of Reason to str, optional
        What some of them mean for this quantity.

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
    signal = plain_map(removal, codes, f"{REASONS_OF}{title}", "Reason")
    signal.metadata.set_item(LEGEND, legend(texts))
    return signal
