# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw spectra of one pixel with their errors as bands; the figure follows the navigator."""

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np

from hyperspy_zlpml import arguments
from hyperspy_zlpml.signals.following import Follower, PixelsFigure
from hyperspy_zlpml.signals.maps.figure import (
    given_axes,
    no_figure_if_refused,
    range_of,
    write_title,
)
from hyperspy_zlpml.signals.maps.pixels import at_pixel, pixel_shown, place_of
from hyperspy_zlpml.statistics import Range

#: Opacity of a band.
_ALPHA = 0.25
#: Room above and below the numbers that a figure shows, as a part of what they span.
_ROOM = 0.1


def of_pixel(signal, indices):
    """Take the numbers of one pixel, computing no others.

    Parameters
    ----------
    signal : BaseSignal
    indices : tuple of int
        Navigation indices (x, y, ...).

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from hyperspy.signals import Signal1D
    >>> from hyperspy_zlpml.signals.maps.spectra_figure import of_pixel
    >>> of_pixel(Signal1D([[1.0, 2.0], [3.0, 4.0]]).as_lazy(), (1,))
    array([3., 4.])
    """
    data = signal.data[tuple(indices[::-1])]
    return data.compute() if isinstance(data, da.Array) else np.asarray(data)


@no_figure_if_refused()
def plot_spectra(  # noqa: PLR0913
    shown, indices=None, *, navigator=None, known=None, describe=None, ax=None, title=None, **style
):
    """Plot spectra of a pixel; without indices the figure follows their navigator.

    Parameters
    ----------
    shown : dict of str to Measured
        Spectra by their names in the legend, all of the same axes.
    indices : tuple of int, optional
        Navigation indices (x, y, ...).
    navigator : BaseSignal, optional
        One more signal whose navigator moves the figure, and says where it begins; default the first
        of the spectra.
    known : ndarray of bool of the navigation shape, optional
        Where there is an answer, to begin with one; default where the first of the spectra have
        numbers.
    describe : callable, optional
        Called with navigation indices; returns a title, and the Range of energies that is shown: its
        numbers decide the scale, and a dotted line marks where it begins.
    ax : matplotlib.axes.Axes, optional
        To draw in; default a figure of its own.
    title : str, optional
        Before that of the pixel.
    **style
        Of the lines, as ``matplotlib.axes.Axes.plot`` takes them.

    Returns
    -------
    list of matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there is no such pixel, ``ax`` is no axes, or the title is no text.
    """
    if title is not None:
        arguments.text(title, "title")
    signals = [one.value for one in shown.values()]
    navigator = signals[0] if navigator is None else navigator
    shape = navigator.axes_manager._navigation_shape_in_array
    follows = indices is None
    if follows:
        indices = pixel_shown(navigator, _with_numbers(signals[0]) if known is None else known)
    place, (ax,) = place_of(indices, shape)[::-1], given_axes(ax, (1,)) or [None]
    figure = SpectraFigure(shown, place, describe or _place_alone, ax=ax, title=title, style=style)
    if follows:
        follower = Follower()
        for signal in (navigator, *signals):
            follower.watch(signal.axes_manager)
        follower.follow(figure)
    return [figure.axes]


def _with_numbers(signal):
    """Find the pixels with numbers; all of lazy spectra, which are not computed for that."""
    data = signal.data
    return np.ones(data.shape[:-1], bool) if signal._lazy else np.isfinite(data).any(-1)


def _place_alone(indices):
    """Name a pixel; all of its energies are shown."""
    return at_pixel(indices), Range(-np.inf, np.inf)


class SpectraFigure(PixelsFigure):
    """Figure of the spectra of one pixel.

    Parameters
    ----------
    shown : dict of str to Measured
    place : tuple of int
        Navigation indices (x, y, ...) of the pixel shown first.
    describe : callable
    ax : matplotlib.axes.Axes or None
    title : str or None
    style : dict
        See :func:`plot_spectra`.
    """

    def __init__(self, shown, place, describe, *, ax, title, style):
        self._shown, self._describe, self._title = shown, describe, title or ""
        #: Where the spectra are drawn.
        self.axes = ax or plt.subplots(figsize=(7, 4.5), layout="constrained")[1]
        super().__init__(self.axes)
        first = next(iter(shown.values())).value
        self._axis = first.axes_manager.signal_axes[0]
        self._from = self.axes.axvline(np.nan, color="0.5", ls=":")
        self.axes.axhline(0, color="k", lw=0.6)
        self._lines = {name: self.axes.plot([], [], **{"label": name} | style)[0] for name in shown}
        self.drawn, self._bands = list(self._lines.values()), []
        quantity = first.metadata.get_item("Signal.quantity", "")
        self.axes.set(xlabel=f"Energy ({self._axis.units})", ylabel=quantity)
        if len(shown) > 1:
            self.axes.legend()
        self.show(place)

    def show(self, place):
        """Show a pixel.

        Parameters
        ----------
        place : tuple of int
            Navigation indices (x, y, ...).
        """
        for band in self._bands:
            band.remove()
        self._bands = []
        title, (first, last) = self._describe(place)
        values = [self._draw(name, place) for name in self._shown]
        energy = self._axis.axis
        within = (energy >= np.nan_to_num(first, nan=-np.inf)) & (energy <= last)
        self.scale(self.axes, "x", (energy[0], min(energy[-1], last)))
        self.scale(self.axes, "y", _limits(np.concatenate([one[within] for one in values])))
        self._from.set(xdata=[first, first], visible=bool(np.isfinite(first)))
        has_numbers = np.isfinite(values).any()
        self._words = " ".join(
            filter(None, (self._title, title, "" if has_numbers else "no number"))
        )
        words = dict.fromkeys(one._words for one in self.sharing)
        write_title(self.axes, "; ".join(filter(None, words)))
        self.figure.canvas.draw_idle()

    def _draw(self, name, place):
        """Draw one spectrum with its bands; return its numbers."""
        measured, energy = self._shown[name], self._axis.axis
        parts = (measured.value, measured.std, measured.systematic)
        values, std, systematic = (of_pixel(part, place) for part in parts)
        line = self._lines[name]
        line.set_data(energy, values)
        style = {"color": line.get_color(), "alpha": _ALPHA, "lw": 0}
        for width in (np.hypot(std, systematic), std):
            self._bands.append(
                self.axes.fill_between(energy, values - width, values + width, **style)
            )
        return values


def _limits(values):
    """Choose what a figure shows: most of the numbers, with room around them."""
    low, high = range_of(values)
    room = _ROOM * (high - low)
    return low - room, high + room
