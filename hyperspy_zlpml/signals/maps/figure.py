# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw maps with their errors beside: images, profiles along a line, or a single number."""

import matplotlib.pyplot as plt
import numpy as np

#: Colour of pixels without a number.
_NOTHING = "0.85"
#: Percentiles of the numbers that the colours span.
_SHOWN = (1, 99)
#: Largest relative error that the colours of errors span, per cent.
_LARGEST_ERROR = 100.0


def plot_maps(shown):
    """Plot maps and their relative errors side by side, one row for each; grey has no number.

    Along a line numbers are drawn with error bars.

    Parameters
    ----------
    shown : list of (BaseSignal, ndarray)
        Maps of (x, y|), (x|) or no navigation axes, and the standard deviations of their numbers.

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
    >>> gap = BaseSignal(np.full((3, 4), 1.6)).transpose(signal_axes=[])
    >>> [axes.get_title() for axes in plot_maps([(gap, np.full((3, 4), 0.1))])[:2]]
    ['', 'Error (%)']
    """
    n_dimensions = shown[0][0].axes_manager.navigation_dimension
    if n_dimensions > 2:
        raise ValueError(
            f"plot: expected maps of at most two dimensions, got {n_dimensions}; take a part of them "
            "with inav."
        )
    draw, n_columns = (_draw_images, 2) if n_dimensions == 2 else (_draw_profile, 1)
    figure, axes = plt.subplots(
        len(shown),
        n_columns,
        figsize=(5 * n_columns, 3.8 * len(shown)),
        squeeze=False,
        layout="constrained",
    )
    for row, (signal, error) in zip(axes, shown, strict=True):
        draw(row, signal, np.asarray(error, float))
    return list(figure.axes)


def _draw_images(row, signal, error):
    """Draw a map, and its relative error beside."""
    values = np.asarray(signal.data, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = 100 * error / np.abs(values)
    quantity = signal.metadata.get_item("Signal.quantity", "")
    _draw_image(row[0], signal, values, _range_of(values), quantity)
    row[0].set_title(signal.metadata.get_item("General.title", ""), fontsize=9)
    largest = min(_range_of(relative)[1], _LARGEST_ERROR)
    _draw_image(row[1], signal, relative, (0, largest), "Error (%)")
    row[1].set_title("Error (%)", fontsize=9)


def _draw_image(axes, signal, values, limits, label):
    x, y = signal.axes_manager.navigation_axes
    colours = plt.get_cmap("viridis").with_extremes(bad=_NOTHING)
    picture = axes.imshow(
        np.ma.masked_invalid(values),
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        extent=(*edges_of(x), *edges_of(y)[::-1]),
    )
    axes.figure.colorbar(picture, ax=axes, label=label, shrink=0.85)
    axes.set(xlabel=label_of(x), ylabel=label_of(y))


def _draw_profile(row, signal, error):
    """Draw numbers along a line, or a single one, with error bars."""
    values = np.atleast_1d(np.asarray(signal.data, float))
    along = signal.axes_manager.navigation_axes
    places = along[0].axis if along else np.zeros(1)
    (axes,) = row
    axes.errorbar(places, values, yerr=np.atleast_1d(error), fmt=".-", lw=0.8, capsize=2)
    axes.set_ylabel(signal.metadata.get_item("Signal.quantity", ""))
    axes.set_xlabel(label_of(along[0]) if along else "")
    axes.set_title(signal.metadata.get_item("General.title", ""), fontsize=9)


def _range_of(values):
    """Find the range of the numbers that colours span."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known, _SHOWN)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


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
