# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw maps with their errors beside: images, profiles along a line, or a single number."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.widgets import Slider

from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.signals.maps.words import count_reasons, title_of

#: Colour of pixels without a number.
_NOTHING = "0.85"
#: Numbers that differ by less than this part of them differ by rounding.
_ROUNDING = 1e-9
#: Percentiles of the numbers that the colours span.
_SHOWN = (1, 99)
#: Largest relative error that the colours of errors span, per cent.
_LARGEST_ERROR = 100.0
#: Hatches and colours of pixels that are to be read with care, and of those without a number.
_WITH_CARE = {"hatch": "////", "edgecolor": "white"}
_WITHOUT = {"hatch": "xxx", "edgecolor": "0.6"}
#: Height of a slider, as a part of the figure.
_SLIDER = 0.04
#: The same along a line: markers.
_MARK_WITH_CARE = {"marker": "o", "mfc": "white", "mec": "tab:red", "ls": "none"}
_MARK_WITHOUT = {"marker": "x", "mec": "0.5", "ls": "none"}


def plot_maps(shown, reasons=None):
    """Plot maps and their relative errors side by side, one row for each; grey has no number.

    Along a line numbers are drawn with error bars. Of maps with more than two axes the images of the
    first two are drawn, and a slider for each of the others chooses them; colours span all images.
    Pixels with a reason are hatched or marked, and the legend counts the reasons. The colours of errors
    span those of the pixels that hold.

    Parameters
    ----------
    shown : dict of str to Measured
        Maps of the same axes, by the names of the attributes that hold them.
    reasons : BaseSignal, optional
        Of :class:`~hyperspy_zlpml.physics.reasons.Reason`.

    Returns
    -------
    list of matplotlib.axes.Axes
        Those of sliders last.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy.signals import BaseSignal
    >>> from hyperspy_zlpml.signals.maps.figure import plot_maps
    >>> from hyperspy_zlpml.signals.maps.native import Measured
    >>> gap, std = (BaseSignal(np.full((3, 4), one)).transpose(signal_axes=[]) for one in (1.6, 0.1))
    >>> [axes.get_title() for axes in plot_maps({"gap": Measured(gap, std, std)})[:2]]
    ['', 'Error (%)']
    """
    n_dimensions = next(iter(shown.values())).value.axes_manager.navigation_dimension
    codes = None if reasons is None else np.asarray(reasons.data)
    draw = _Images if n_dimensions >= 2 else _Profiles
    return draw(shown, codes).figure.axes


def _rows(shown, n_columns):
    """Make a figure with a row of axes for each quantity."""
    return plt.subplots(
        len(shown),
        n_columns,
        figsize=(5 * n_columns, 3.8 * len(shown)),
        squeeze=False,
        layout="constrained",
    )


def _explain(figure, marks, side="lower"):
    """Explain marks in the legend of a figure, each once."""
    named = {mark.get_label(): mark for mark in marks}
    for legend in figure.legends:
        legend.remove()
    if named:
        figure.legend(handles=list(named.values()), loc=f"outside {side} left", fontsize=8)


class _Images:
    """Figure of maps beside their errors, and of one image at a time where they have more axes."""

    def __init__(self, shown, codes):
        self._codes = codes
        self.figure, axes = _rows(shown, 2)
        # Lives as long as the figure does, without which nobody holds it.
        self.figure.zlpml_images = self
        manager = next(iter(shown.values())).value.axes_manager
        self._others = manager.navigation_axes[2:][::-1]
        self._rows = [_Row(*one, codes) for one in zip(axes, shown.values(), strict=True)]
        self.show((0,) * len(self._others))
        self._sliders = [
            _slider(self.figure, axis, number, self._moved)
            for number, axis in enumerate(self._others)
        ]

    def show(self, place):
        """Show the images at a place on the axes beyond the first two, given as in the data."""
        codes = None if self._codes is None else self._codes[place]
        marks = [mark for row in self._rows for mark in row.show(place, codes)]
        _explain(self.figure, marks, "upper" if self._others else "lower")
        self.figure.canvas.draw_idle()

    def _moved(self, _):
        moved = zip(self._others, self._sliders, strict=True)
        self.show(tuple(int(np.abs(axis.axis - one.val).argmin()) for axis, one in moved))


def _slider(figure, axis, number, moved):
    """Make a slider along an axis below the images, and below those before it."""
    axes = figure.add_axes((0.2, number * _SLIDER, 0.6, _SLIDER))
    room = (number + 1.5) * _SLIDER
    figure.get_layout_engine().set(rect=(0, room, 1, 1 - room))
    slider = Slider(
        axes,
        label_of(axis),
        *sorted(edges_of(axis)),
        valinit=axis.axis[0],
        valstep=axis.axis,
        valfmt="%.4g",
    )
    slider.on_changed(moved)
    return slider


class _Row:
    """Map, and its relative error beside."""

    def __init__(self, row, measured, codes):
        self._axes, self._signal = row, measured.value
        values = np.asarray(self._signal.data, float)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = 100 * measured.error / np.abs(values)
        self._numbers = values, relative
        largest = min(_range_of(relative[_to_span(relative, codes)])[1], _LARGEST_ERROR)
        quantity = self._signal.metadata.get_item("Signal.quantity", "")
        self._pictures = [
            _new_image(row[0], self._signal, _range_of(values), quantity),
            _new_image(row[1], self._signal, (0, largest), "Error (%)"),
        ]
        row[0].set_title(title_of(self._signal), fontsize=9)
        row[1].set_title("Error (%)", fontsize=9)
        self._hatches = []

    def show(self, place, codes):
        """Show the images at a place; return what the legend names."""
        for picture, numbers in zip(self._pictures, self._numbers, strict=True):
            picture.set_data(np.ma.masked_invalid(numbers[place]))
        for hatch in self._hatches:
            hatch.remove()
        self._hatches, marks = [], []
        for is_there, words, style in _marked(self._numbers[0][place], codes):
            for axes in self._axes:
                self._hatches.append(axes.add_collection(_hatched(self._signal, is_there, style)))
            ground = _colours()(0.5) if style is _WITH_CARE else _NOTHING
            marks.append(Patch(facecolor=ground, lw=0, label=words, **style))
        return marks


def _marked(values, codes, styles=(_WITH_CARE, _WITHOUT)):
    """List the pixels with a reason: those with a number, and those without; with words."""
    if codes is None:
        return []
    known, has_reason = np.isfinite(values), codes != Reason.NONE
    found = []
    for is_there, name, style in zip(
        (known & has_reason, ~known & has_reason),
        ("to be read with care", "no number"),
        styles,
        strict=True,
    ):
        counted = [f"{reason.name} {n}" for reason, n in count_reasons(codes[is_there]).items()]
        if counted:
            found.append((is_there, f"{name}: {', '.join(counted)}", style))
    return found


def _hatched(signal, is_there, style):
    """Make hatched squares of the pixels that are chosen."""
    x, y = signal.axes_manager.navigation_axes[:2]
    corner = 0.5 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [x.scale, y.scale]
    rows, columns = np.nonzero(is_there)
    middle = np.stack([x.axis[columns], y.axis[rows]], -1)
    return PolyCollection(middle[:, None] + corner, facecolor="none", lw=0, **style)


def _to_span(values, codes):
    """Choose the pixels whose errors the colours span: those that hold, else those that tell anything."""
    known = np.isfinite(values)
    if codes is not None:
        for chosen in (codes == Reason.NONE, codes != Reason.NOT_SIGNIFICANT):
            if (known & chosen).any():
                return known & chosen
    return known


def _colours():
    """Make the colours of maps, grey where there is no number."""
    return plt.get_cmap("viridis").with_extremes(bad=_NOTHING)


def _new_image(axes, signal, limits, label):
    """Make an image of the first two axes of a signal, which shows nothing yet."""
    x, y = signal.axes_manager.navigation_axes[:2]
    picture = axes.imshow(
        np.full((y.size, x.size), np.nan),
        cmap=_colours(),
        vmin=limits[0],
        vmax=limits[1],
        extent=(*edges_of(x), *edges_of(y)[::-1]),
    )
    axes.figure.colorbar(picture, ax=axes, label=label, shrink=0.85)
    axes.set(xlabel=label_of(x), ylabel=label_of(y))
    return picture


class _Profiles:
    """Figure of numbers along a line, or of single ones, with error bars."""

    def __init__(self, shown, codes):
        self.figure, axes = _rows(shown, 1)
        drawn = zip(axes[:, 0], shown.values(), strict=True)
        _explain(
            self.figure, [mark for row, one in drawn for mark in _draw_profile(row, one, codes)]
        )


def _draw_profile(axes, measured, codes):
    """Draw numbers along a line, or a single one, with error bars; return what the legend names."""
    signal = measured.value
    values = np.atleast_1d(np.asarray(signal.data, float))
    along = signal.axes_manager.navigation_axes
    places = along[0].axis if along else np.zeros(1)
    axes.errorbar(places, values, yerr=np.atleast_1d(measured.error), fmt=".-", lw=0.8, capsize=2)
    axes.set_ylabel(signal.metadata.get_item("Signal.quantity", ""))
    axes.set_xlabel(label_of(along[0]) if along else "")
    axes.set_title(title_of(signal), fontsize=9)
    marks = []
    for is_there, words, style in _marked(values, codes, (_MARK_WITH_CARE, _MARK_WITHOUT)):
        at_bottom = style is _MARK_WITHOUT
        heights = np.zeros(is_there.sum()) if at_bottom else values[is_there]
        transform = axes.get_xaxis_transform() if at_bottom else axes.transData
        axes.plot(places[is_there], heights, transform=transform, clip_on=False, **style)
        marks.append(Line2D([], [], label=words, **style))
    return marks


def _range_of(values):
    """Find the range of the numbers that colours span."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known, _SHOWN)
    is_one = high - low <= _ROUNDING * max(abs(low), abs(high))
    return (low - 0.5, high + 0.5) if is_one else (low, high)


def edges_of(axis):
    """Find the outer edges of the first and the last pixel of an axis.

    Parameters
    ----------
    axis : hyperspy.axes.UniformDataAxis

    Returns
    -------
    first, last : float
        The first is the larger one where the axis descends.
    """
    half = 0.5 * axis.scale
    return axis.axis[0] - half, axis.axis[-1] + half


def label_of(axis):
    """Name an axis with its units.

    Parameters
    ----------
    axis : hyperspy.axes.UniformDataAxis

    Returns
    -------
    str
    """
    name = axis.name if isinstance(axis.name, str) else "Position"
    units = axis.units if isinstance(axis.units, str) and axis.units else "px"
    return f"{name} ({units})"
