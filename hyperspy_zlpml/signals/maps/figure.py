# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw maps with their errors beside: images, profiles along a line, or a single number."""

from contextlib import contextmanager
from copy import copy
from textwrap import fill
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import ScalarFormatter
from matplotlib.widgets import Slider

from hyperspy_zlpml import arguments
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.signals.maps.words import count_reasons, explained, has_legend, title_of

#: Colour of pixels without a number.
_NOTHING = "0.85"
#: Numbers that differ by less than this part of them differ by rounding.
_ROUNDING = 1e-9
#: Percentiles of the numbers that colours and axes span.
_SHOWN = (1, 99)
#: Pixels that hold which are enough to tell what the colours span, or half of those with a number.
_ENOUGH = 10
#: Distance from the middle half of numbers that do not hold at which others are far, in widths of it: J. W. Tukey's "far out".
_FAR = 3.0
#: Part of a number, on both sides of it, that they span where there is no other.
_AROUND = 0.1
#: Letters of a title in a line: those that are as wide as a map.
_TITLE_LETTERS = 50
#: The same of the reason why a map is empty, which is written within it.
_REASON_LETTERS = 34
#: Largest relative error that the colours of errors span, per cent.
_LARGEST_ERROR = 100.0
#: Colours of maps, and lines with error bars.
_COLOURS = "viridis"
_BARS = {"fmt": ".-", "lw": 0.8, "capsize": 2}
#: Ends of a colour bar that point to numbers beyond: below, above.
_ENDS = {
    (False, False): "neither",
    (True, False): "min",
    (False, True): "max",
    (True, True): "both",
}
#: Pixels along an axis that are few enough to name each.
_FEW_PIXELS = 5
#: Hatches and colours of pixels that are to be read with care, and of those without a number.
_WITH_CARE = {"hatch": "////", "edgecolor": "white"}
_WITHOUT = {"hatch": "xxx", "edgecolor": "0.6"}
#: Height of a slider, as a part of the figure.
_SLIDER = 0.04
#: The same along a line: markers.
_MARK_WITH_CARE = {"marker": "o", "mfc": "white", "mec": "tab:red", "ls": "none"}
_MARK_WITHOUT = {"marker": "x", "mec": "0.5", "ls": "none"}


@contextmanager
def no_figure_if_refused():
    """Close the figures that were opened within where something is refused, and leave those of others."""
    before = set(plt.get_fignums())
    try:
        yield
    except Exception:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)
        raise


@no_figure_if_refused()
def plot_maps(shown, reasons=None, *, ax=None, title=None, **style):
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
    ax : matplotlib.axes.Axes or sequence of these, optional
        To draw in: one for each map, or two, of which the second is for its error. There is no legend of the
        reasons then. Default a figure of its own.
    title : str, optional
        Of the maps; default that of their signals.
    **style
        Of the maps, as ``matplotlib.axes.Axes.imshow`` takes it: ``cmap``, ``vmin``, ``vmax``, ``norm``; of
        numbers along a line, as ``errorbar`` does.

    Returns
    -------
    list of matplotlib.axes.Axes
        Those of sliders last.

    Raises
    ------
    ValueError
        If ``ax`` are no axes, too few or too many, or given for maps of more than two axes; or the title is no
        text.

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
    n_columns = 2 if n_dimensions >= 2 else 1
    if title is not None:
        arguments.text(title, "title")
    if ax is not None and n_dimensions > 2:
        arguments.refuse(
            ax, "ax", "none for maps of three axes, which a slider chooses: take .inav"
        )
    axes = given_axes(ax, {len(shown), n_columns * len(shown)})
    rows = _new_rows(len(shown), n_columns) if axes is None else np.reshape(axes, (len(shown), -1))
    look = _Look(title, style, explains=axes is None, why=_most_frequent(reasons))
    draw = _Images if n_dimensions >= 2 else _draw_profiles
    draw(rows, shown, codes, look)
    return rows[0, 0].figure.axes if axes is None else axes


class _Look(NamedTuple):
    """Title and style that the user chose of a figure; a legend of the marks in figures of our own; why it is empty."""

    title: str | None
    style: dict
    explains: bool
    why: str


def given_axes(ax, numbers):
    """Take axes to draw in; ValueError unless there are as many as are needed.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, sequence of these, or None
    numbers : collection of int
        How many there may be.

    Returns
    -------
    list of matplotlib.axes.Axes, or None

    Examples
    --------
    >>> from hyperspy_zlpml.signals.maps.figure import given_axes
    >>> given_axes("here", {1, 2})
    Traceback (most recent call last):
    ValueError: ax: expected matplotlib axes, 1 or 2 of them, got 'here'.
    """
    if ax is None:
        return None
    found = list(np.ravel(np.asarray(ax, object)))
    if len(found) not in numbers or not all(isinstance(one, Axes) for one in found):
        how_many = " or ".join(str(number) for number in sorted(numbers))
        arguments.refuse(ax, "ax", f"matplotlib axes, {how_many} of them")
    return found


def _new_rows(n_rows, n_columns):
    """Make a figure with a row of axes for each quantity."""
    size = (5 * n_columns, 3.8 * n_rows)
    return plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")[1]


def _explain(figure, marks, side="lower"):
    """Explain marks in the legend of a figure, each once."""
    named = {mark.get_label(): mark for mark in marks}
    for legend in figure.legends:
        legend.remove()
    if named:
        figure.legend(handles=list(named.values()), loc=f"outside {side} left", fontsize=8)


class _Images:
    """Figure of maps beside their errors, and of one image at a time where they have more axes."""

    def __init__(self, rows, shown, codes, look):
        self._codes, self._explains = codes, look.explains
        self.figure = rows[0, 0].figure
        # Lives as long as the figure does, without which nobody holds it.
        self.figure.zlpml_images = self
        manager = next(iter(shown.values())).value.axes_manager
        self._others = manager.navigation_axes[2:][::-1]
        self._rows = [_Row(*one, codes, look) for one in zip(rows, shown.values(), strict=True)]
        self.show((0,) * len(self._others))
        self._sliders = [
            _slider(self.figure, axis, number, self._moved)
            for number, axis in enumerate(self._others)
        ]

    def show(self, place):
        """Show the images at a place on the axes beyond the first two, given as in the data."""
        codes = None if self._codes is None else self._codes[place]
        marks = [mark for row in self._rows for mark in row.show(place, codes)]
        if self._explains:
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
    """Map, and, where there are axes for it, its relative error beside."""

    def __init__(self, row, measured, codes, look):
        self._axes, self._signal, self._hatches = row, measured.value, []
        values = np.asarray(self._signal.data, float)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = 100 * measured.error / np.abs(values)
        largest = min(range_of(relative[_to_span(relative, codes)])[1], _LARGEST_ERROR)
        quantity = self._signal.metadata.get_item("Signal.quantity", "")
        title = title_of(self._signal) if look.title is None else look.title
        drawn = (
            (values, _span_of(values, codes), quantity, title, look.style),
            (relative, (0.0, largest), "Error (%)", "Error (%)", {}),
        )
        self._numbers, self._pictures = [], []
        for axes, (numbers, limits, label, name, style) in zip(row, drawn, strict=False):
            write_title(axes, name)
            self._numbers.append(numbers)
            self._pictures.append(
                _new_image(axes, self._signal, numbers, limits=limits, style=style)
            )
            # A reason is one for a value that is missing; an error may be without.
            why = "" if np.isfinite(values).any() else look.why
            _explain_colours(self._pictures[-1], numbers, label, why)

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
            ground = self._pictures[0].cmap(0.5) if style is _WITH_CARE else _NOTHING
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
    """Choose the pixels that the colours span: those that hold, where few do the bulk of those that tell anything."""
    known = np.isfinite(values)
    if codes is None:
        return known
    holds, tells = known & (codes == Reason.NONE), known & (codes != Reason.NOT_SIGNIFICANT)
    if holds.any() and holds.sum() >= min(_ENOUGH, 0.5 * tells.sum()):
        return holds
    return _without_outliers(values, tells if tells.any() else known)


def _without_outliers(values, known):
    """Leave those out of numbers, none of which holds, that lie far outside of the middle half."""
    if not known.any():
        return known
    low, high = np.percentile(values[known], (25, 75))
    far = _FAR * (high - low)
    return known & (values >= low - far) & (values <= high + far)


def _span_of(values, codes):
    """Find the range of a map, which others than pixels that hold make three times as wide at most."""
    low, high = range_of(values[_to_span(values, codes)])
    lowest, highest = range_of(values)
    beside = high - low
    return min(low, max(lowest, low - beside)), max(high, min(highest, high + beside))


def _new_image(axes, signal, numbers, *, limits, style):
    """Make an image of the first two axes of a signal, which is to show some of the numbers; grey is none."""
    x, y = signal.axes_manager.navigation_axes[:2]
    spanned = {} if "norm" in style else {"vmin": limits[0], "vmax": limits[1]}
    extent = (*edges_of(x), *edges_of(y)[::-1])
    known = numbers[np.isfinite(numbers)]
    all_of_them = known if known.size else np.full(1, np.nan)  # by which a norm is scaled
    # Several maps may be given one norm, which each scales for itself.
    own = {"norm": copy(style["norm"])} if "norm" in style else {}
    how = {"cmap": _COLOURS, "extent": extent, "aspect": "equal"} | spanned | style | own
    picture = axes.imshow(all_of_them[None], **how)
    picture.set_cmap(picture.cmap.with_extremes(bad=_NOTHING))
    axes.set(xlabel=label_of(x), ylabel=label_of(y))
    for axis, of in ((axes.xaxis, x), (axes.yaxis, y)):
        if of.size <= _FEW_PIXELS:  # between pixels there is nothing to name
            axis.set_ticks(of.axis)
    return picture


def _explain_colours(picture, numbers, label, why):
    """Draw the colour bar of all numbers that an image may show, with arrows where some lie beyond."""
    known, axes = numbers[np.isfinite(numbers)], picture.axes
    if not known.size:
        _say_no_number(axes, why)
        return
    low, high = known.min() < picture.norm.vmin, known.max() > picture.norm.vmax
    extend = _ENDS[low, high]
    bar = axes.figure.colorbar(picture, ax=axes, label=label, shrink=0.85, extend=extend)
    write_whole_numbers(bar.ax.yaxis)


def _most_frequent(reasons):
    """Say what the reason of most pixels means; empty where there is none."""
    if reasons is None or not has_legend(reasons):
        return ""
    said = list(explained(reasons).values())
    return fill(said[0], _REASON_LETTERS) if said else ""


def _say_no_number(axes, why):
    """Write in the place of numbers that there are none, and why."""
    words = f"no number:\n{why}" if why else "no number"
    # Pixels without a number are hatched.
    beneath = {"facecolor": "white", "alpha": 0.8, "lw": 0}
    style = {"ha": "center", "va": "center", "fontsize": 8, "bbox": beneath}
    axes.text(0.5, 0.5, words, transform=axes.transAxes, **style)


def _draw_profiles(rows, shown, codes, look):
    """Draw numbers along a line, or single ones, with error bars, each quantity in its axes."""
    drawn = zip(rows[:, 0], shown.values(), strict=True)
    marks = [mark for axes, one in drawn for mark in _draw_profile(axes, one, codes, look)]
    if look.explains:
        _explain(rows[0, 0].figure, marks)


def _draw_profile(axes, measured, codes, look):
    """Draw numbers along a line, or a single one, with error bars; return what the legend names."""
    signal = measured.value
    values = np.atleast_1d(np.asarray(signal.data, float))
    along = signal.axes_manager.navigation_axes if values.size > 1 else ()
    places = along[0].axis if along else np.zeros(1)
    axes.errorbar(places, values, yerr=np.atleast_1d(measured.error), **_BARS | look.style)
    axes.set_ylabel(signal.metadata.get_item("Signal.quantity", ""))
    axes.set_xlabel(label_of(along[0]) if along else "")
    write_title(axes, title_of(signal) if look.title is None else look.title)
    write_whole_numbers(axes.yaxis)
    if not along:
        axes.set_xticks([])
    if not np.isfinite(values).any():
        axes.set_yticks([])
        _say_no_number(axes, look.why)
    marks = []
    for is_there, words, style in _marked(values, codes, (_MARK_WITH_CARE, _MARK_WITHOUT)):
        at_bottom = style is _MARK_WITHOUT
        heights = np.zeros(is_there.sum()) if at_bottom else values[is_there]
        transform = axes.get_xaxis_transform() if at_bottom else axes.transData
        axes.plot(places[is_there], heights, transform=transform, clip_on=False, **style)
        marks.append(Line2D([], [], label=words, **style))
    return marks


def range_of(values):
    """Find the range of most numbers, which colours and axes span: no single spikes.

    Parameters
    ----------
    values : ndarray

    Returns
    -------
    low, high : float
        A part of the number about it where there is no other; 0 and 1 where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.signals.maps.figure import range_of
    >>> [float(end) for end in range_of(np.array([np.nan, 10.0, 10.0]))]
    [9.0, 11.0]
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known, _SHOWN)
    size = max(abs(low), abs(high))
    around = (_AROUND * size or 1.0) if high - low <= _ROUNDING * size else 0.0
    return low - around, high + around


def write_title(axes, title):
    """Write the title of maps and spectra in as many lines as it needs; those with formulas stay as they are.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    title : str
    """
    lines = title.split("\n")
    broken = (line if "$" in line else fill(line, _TITLE_LETTERS) for line in lines)
    axes.set_title("\n".join(broken), fontsize=9)


def write_whole_numbers(axis):
    """Write the numbers along an axis whole, not as what is to be added to one at its end.

    Parameters
    ----------
    axis : matplotlib.axis.Axis
    """
    if isinstance(axis.get_major_formatter(), ScalarFormatter):
        axis.get_major_formatter().set_useOffset(False)


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
