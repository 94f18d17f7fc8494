# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw maps with their errors beside: images, profiles along a line, or a single number."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.signals.maps.native import count_reasons, title_of

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
#: The same along a line: markers.
_MARK_WITH_CARE = {"marker": "o", "mfc": "white", "mec": "tab:red", "ls": "none"}
_MARK_WITHOUT = {"marker": "x", "mec": "0.5", "ls": "none"}


def plot_maps(shown, reasons=None):
    """Plot maps and their relative errors side by side, one row for each; grey has no number.

    Along a line numbers are drawn with error bars. Pixels with a reason are hatched or marked, and
    the legend counts the reasons. The colours of errors span those of the pixels that hold.

    Parameters
    ----------
    shown : dict of str to Measured
        Of (x, y|), (x|) or no navigation axes, by the names of the attributes that hold them.
    reasons : BaseSignal, optional
        Of :class:`~hyperspy_zlpml.physics.reasons.Reason`.

    Returns
    -------
    list of matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the maps have more than two dimensions.

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
    name, first = next(iter(shown.items()))
    n_dimensions = first.value.axes_manager.navigation_dimension
    if n_dimensions > 2:
        raise ValueError(
            f"plot: expected maps of at most two dimensions, got {n_dimensions}; plot a part of "
            f"one of them, found.{name}.value.inav[..., 0], where found is this result."
        )
    draw, n_columns = (_draw_images, 2) if n_dimensions == 2 else (_draw_profile, 1)
    figure, axes = plt.subplots(
        len(shown),
        n_columns,
        figsize=(5 * n_columns, 3.8 * len(shown)),
        squeeze=False,
        layout="constrained",
    )
    marks = [
        draw(row, one, None if reasons is None else np.asarray(reasons.data))
        for row, one in zip(axes, shown.values(), strict=True)
    ]
    named = {mark.get_label(): mark for several in marks for mark in several}
    if named:
        figure.legend(handles=list(named.values()), loc="outside lower left", fontsize=8)
    return list(figure.axes)


def _draw_images(row, measured, codes):
    """Draw a map, and its relative error beside; return what the legend names."""
    signal = measured.value
    values = np.asarray(signal.data, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = 100 * measured.error / np.abs(values)
    quantity = signal.metadata.get_item("Signal.quantity", "")
    _draw_image(row[0], signal, values, _range_of(values), quantity)
    row[0].set_title(title_of(signal), fontsize=9)
    largest = min(_range_of(relative[_to_span(relative, codes)])[1], _LARGEST_ERROR)
    _draw_image(row[1], signal, relative, (0, largest), "Error (%)")
    row[1].set_title("Error (%)", fontsize=9)
    marks = []
    for is_there, words, style in _marked(values, codes):
        for axes in row:
            axes.add_collection(_hatched(signal, is_there, style))
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
    x, y = signal.axes_manager.navigation_axes
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


def _draw_image(axes, signal, values, limits, label):
    x, y = signal.axes_manager.navigation_axes
    picture = axes.imshow(
        np.ma.masked_invalid(values),
        cmap=_colours(),
        vmin=limits[0],
        vmax=limits[1],
        extent=(*edges_of(x), *edges_of(y)[::-1]),
    )
    axes.figure.colorbar(picture, ax=axes, label=label, shrink=0.85)
    axes.set(xlabel=label_of(x), ylabel=label_of(y))


def _draw_profile(row, measured, codes):
    """Draw numbers along a line, or a single one, with error bars; return what the legend names."""
    signal = measured.value
    values = np.atleast_1d(np.asarray(signal.data, float))
    along = signal.axes_manager.navigation_axes
    places = along[0].axis if along else np.zeros(1)
    (axes,) = row
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
    low, high : float
    """
    half = 0.5 * axis.scale
    return axis.low_value - half, axis.high_value + half


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
