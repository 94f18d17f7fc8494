# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw spectra of one pixel with their errors as bands; the figure follows the navigator."""

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np

from hyperspy_zlpml.signals.following import Follower
from hyperspy_zlpml.signals.maps.pixels import pixel_shown, place_of
from hyperspy_zlpml.statistics import Range

#: Opacity of a band.
_ALPHA = 0.25
#: Part of the numbers, on both ends, that a figure does not show where it is far off, per cent.
_CUT = 1.0


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


def plot_spectra(shown, indices=None, *, navigator=None, known=None, describe=None):
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
        Where there is an answer, to begin with one.
    describe : callable, optional
        Called with navigation indices; returns a title, and the Range of energies that is shown: its
        numbers decide the scale, and a dotted line marks where it begins.

    Returns
    -------
    list of matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there is no such pixel.
    """
    signals = [one.value for one in shown.values()]
    navigator = signals[0] if navigator is None else navigator
    shape = navigator.axes_manager._navigation_shape_in_array
    follows = indices is None
    if follows:
        indices = pixel_shown(navigator, np.ones(shape, bool) if known is None else known)
    figure = SpectraFigure(shown, place_of(indices, shape)[::-1], describe or _place_alone)
    if follows:
        follower = Follower()
        for signal in (navigator, *signals):
            follower.watch(signal.axes_manager)
        follower.follow(figure)
    return figure.figure.axes


def _place_alone(indices):
    """Name a pixel; all of its energies are shown."""
    return f"({', '.join(map(str, indices))})" if indices else "", Range(-np.inf, np.inf)


class SpectraFigure:
    """Figure of the spectra of one pixel.

    Parameters
    ----------
    shown : dict of str to Measured
    place : tuple of int
        Navigation indices (x, y, ...) of the pixel shown first.
    describe : callable
        See :func:`plot_spectra`.
    """

    def __init__(self, shown, place, describe):
        self._shown, self._describe = shown, describe
        self.figure, self._axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
        # Lives as long as the figure does, without which nobody holds it.
        self.figure.zlpml_spectra = self
        first = next(iter(shown.values())).value
        self._axis = first.axes_manager.signal_axes[0]
        self._from = self._axes.axvline(np.nan, color="0.5", ls=":")
        self._axes.axhline(0, color="k", lw=0.6)
        self._lines = {name: self._axes.plot([], [], label=name)[0] for name in shown}
        self._bands, self._chosen = [], {}
        quantity = first.metadata.get_item("Signal.quantity", "")
        self._axes.set(xlabel=f"Energy ({self._axis.units})", ylabel=quantity)
        if len(shown) > 1:
            self._axes.legend()
        self.show(place)

    @property
    def is_open(self):
        """Whether the figure is still open."""
        return plt.fignum_exists(self.figure.number)

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
        self._scale("x", (energy[0], min(energy[-1], last)))
        self._scale("y", _limits(np.concatenate([one[within] for one in values])))
        self._from.set(xdata=[first, first], visible=bool(np.isfinite(first)))
        self._axes.set_title(title, fontsize=9)
        self.figure.canvas.draw_idle()

    def _scale(self, name, limits):
        """Scale an axis of the figure unless the user did."""
        axis = getattr(self._axes, f"{name}axis")
        if name not in self._chosen or np.allclose(axis.get_view_interval(), self._chosen[name]):
            self._axes.set(**{f"{name}lim": limits})
            # A copy: the interval of an axis changes in place.
            self._chosen[name] = axis.get_view_interval().copy()

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
                self._axes.fill_between(energy, values - width, values + width, **style)
            )
        return values


def _limits(values):
    """Choose what a figure shows: most of the numbers, but no single spikes."""
    if not np.isfinite(values).any():
        return -1.0, 1.0
    low, high = np.nanpercentile(values, [_CUT, 100 - _CUT])
    margin = 0.1 * max(high - low, np.finfo(float).eps * max(abs(low), abs(high), 1.0))
    return low - margin, high + margin
