# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw figures of a removal.

:func:`plot_removal` shows one pixel and follows the navigator; :func:`plot_overview` shows three
pixels from thin to thick beside the map of clusters.
"""

import matplotlib.pyplot as plt
import numpy as np

from hyperspy_zlpml.arguments import integers

#: Colour of the measured spectrum.
_DATA = "0.35"
#: Colour of the ZLP and its band.
_ZLP = "tab:red"
#: Colour of the subtracted signal.
_LEFT = "tab:blue"
#: First energy shown, in FWHM from the peak.
_FROM = -6.0
#: Last energy shown, in FWHM from the peak.
_TO = 30.0
#: Energy, in FWHM from the peak, from which the subtracted signal decides the scale: closer to the
#: peak its noise would.
_SCALE_FROM = 2.0


def plot_removal(result, indices=None):
    """Plot data, ZLP with its band and subtracted signal at one pixel.

    Parameters
    ----------
    result : ZLPRemoval
    indices : tuple of int, optional
        Navigation indices (x, y, ...); default those of the navigator, which is then followed.

    Returns
    -------
    matplotlib.figure.Figure
    """
    # Whoever gives a pixel needs no signal of all of them.
    manager = (result.subtracted if indices is None else result._like).axes_manager
    figure = plt.figure(figsize=(11, 5.5), layout="constrained")
    has_map = manager.navigation_dimension in (1, 2)
    grid = figure.add_gridspec(2, 2 if has_map else 1, width_ratios=(1, 1.6) if has_map else None)
    top = figure.add_subplot(grid[0, -1])
    bottom = figure.add_subplot(grid[1, -1], sharex=top)
    marker = None
    if has_map:
        axes = figure.add_subplot(grid[:, 0])
        _draw_clusters(axes, result)
        (marker,) = axes.plot([], [], "s", mfc="none", mec="tab:red", mew=2, ms=9)

    def draw(where):
        for axes in (top, bottom):
            axes.clear()
        _draw_spectrum(top, bottom, result, where)
        if marker is not None:
            marker.set_data(*_marker_position(result, where))
        figure.canvas.draw_idle()

    draw(tuple(manager.indices) if indices is None else _checked(indices, manager))
    if indices is None and manager.navigation_dimension:

        def follow(obj=None):
            draw(tuple(manager.indices))

        manager.events.indices_changed.connect(follow, [])
        figure.canvas.mpl_connect(
            "close_event", lambda event: manager.events.indices_changed.disconnect(follow)
        )
    return figure


def plot_overview(result):
    """Plot the map of clusters, and a thin, a middling and a thick pixel.

    Parameters
    ----------
    result : ZLPRemoval

    Returns
    -------
    matplotlib.figure.Figure
    """
    manager = result._like.axes_manager
    places = representative_pixels(result)
    has_map = manager.navigation_dimension in (1, 2)
    n_columns = len(places) + has_map
    figure = plt.figure(figsize=(4.2 * n_columns, 6.5), layout="constrained")
    grid = figure.add_gridspec(2, n_columns)
    if has_map:
        axes = figure.add_subplot(grid[:, 0])
        _draw_clusters(axes, result)
        _draw_places(axes, result, places)
    for number, place in enumerate(places):
        top = figure.add_subplot(grid[0, number + has_map])
        bottom = figure.add_subplot(grid[1, number + has_map], sharex=top)
        _draw_spectrum(top, bottom, result, place, title=f"{'abc'[number]}: ", legend=number == 0)
    figure.suptitle(f"{result._like.metadata.get_item('General.title', '')} ZLP removed".strip())
    return figure


def representative_pixels(result):
    """Choose a bright, a middling and a dark usable pixel, by the intensity of the ZLP.

    Parameters
    ----------
    result : ZLPRemoval

    Returns
    -------
    list of tuple of int
        Navigation indices (x, y, ...); fewer than three where fewer are usable.
    """
    intensity = np.asarray(result.intensity.data, float).ravel()
    usable = np.flatnonzero(result._application.peaks.usable)
    order = usable[np.argsort(-intensity[usable], kind="stable")]
    ranks = np.unique(np.round(np.array([0.05, 0.5, 0.95]) * (order.size - 1)).astype(int))
    shape = result._like.axes_manager._navigation_shape_in_array
    return [tuple(int(i) for i in np.unravel_index(order[rank], shape)[::-1]) for rank in ranks]


def _checked(indices, manager):
    """Check navigation indices; negative ones count from the end."""
    shape = manager.navigation_shape
    indices = integers(indices, "indices")
    if len(indices) != len(shape) or any(
        not -n <= i < n for i, n in zip(indices, shape, strict=True)
    ):
        raise ValueError(f"indices: expected one within each of {shape}, got {indices}.")
    return tuple(i % n for i, n in zip(indices, shape, strict=True))


def _draw_clusters(axes, result):
    """Draw the map of the clusters, or their profile along a line."""
    labels = np.ma.masked_less(np.asarray(result.clusters.data), 0)
    n_clusters = max(len(result.report.clusters), 1)
    if result._like.axes_manager.navigation_dimension == 1:
        _draw_profile(axes, result, labels, n_clusters)
    else:
        _draw_map(axes, result, labels, n_clusters)


def _draw_profile(axes, result, labels, n_clusters):
    axis = result._like.axes_manager.navigation_axes[0]
    axes.step(axis.axis, labels, where="mid", color="0.3")
    axes.set(
        xlabel=_label(axis),
        ylabel="Cluster (0: thinnest)",
        yticks=range(n_clusters),
        title="Clusters",
    )


def _draw_map(axes, result, labels, n_clusters):
    x, y = result._like.axes_manager.navigation_axes
    colours = plt.get_cmap("viridis", n_clusters)
    picture = axes.imshow(
        labels,
        cmap=colours,
        vmin=-0.5,
        vmax=n_clusters - 0.5,
        extent=(*_edges(x), *_edges(y)[::-1]),
    )
    bar = axes.figure.colorbar(picture, ax=axes, ticks=range(n_clusters), shrink=0.6)
    bar.set_label("Cluster (0: thinnest)")
    title = "Clusters"
    vacuum = np.asarray(result.vacuum.data)
    if vacuum.any() and not vacuum.all():
        title += ", vacuum dashed"
        axes.contour(x.axis, y.axis, vacuum, [0.5], colors="w", linewidths=1, linestyles="--")
    axes.set(xlabel=_label(x), ylabel=_label(y), title=title)


def _edges(axis):
    """Find the outer edges of the first and the last pixel of an axis."""
    half = 0.5 * axis.scale
    return axis.low_value - half, axis.high_value + half


def _draw_places(axes, result, places):
    """Mark pixels on the map of the clusters by letters."""
    for letter, place in zip("abc", places, strict=False):
        x, y = _marker_position(result, place)
        axes.plot(x, y, "s", mfc="none", mec="k", mew=1.5)
        axes.annotate(letter, (x[0], y[0]), (6, 6), textcoords="offset points", weight="bold")


def _marker_position(result, place):
    """Find where a pixel lies on the map, or on the profile, of the clusters."""
    axes = result._like.axes_manager.navigation_axes
    values = [axis.axis[i] for axis, i in zip(axes, place, strict=True)]
    if len(values) == 1:
        values.append(np.asarray(result.clusters.data)[place[0]])
    return [values[0]], [values[1]]


def _label(axis):
    name = axis.name if isinstance(axis.name, str) else "Position"
    units = axis.units if isinstance(axis.units, str) and axis.units else "px"
    return f"{name} ({units})"


def _value_of(signal, position):
    """Take the value of a map at one pixel, by its number in flattened order."""
    return np.asarray(signal.data).ravel()[position]


def _draw_spectrum(top, bottom, result, place, title="", legend=True):
    """Draw the spectrum over the ZLP, and what is left, against energy from the peak."""
    manager = result._like.axes_manager
    shape = manager._navigation_shape_in_array
    position = int(np.ravel_multi_index(tuple(place)[::-1], shape)) if shape else 0
    axis = manager.signal_axes[0]
    found = result.removed.of_spectra([position], ("subtracted", "zlp", "lower", "upper"))
    left, zlp, lower, upper = (np.asarray(values[0], float) for values in found.values())
    if not np.isfinite(left).any():
        top.set_title(f"{title}left out")
        return
    energy = axis.axis - float(_value_of(result.centre, position))
    fwhm = float(_value_of(result.fwhm, position))
    _draw_peak(top, energy, data=left + zlp, zlp=zlp, band=(lower, upper))
    _draw_left(bottom, energy, left, band=(lower, upper))
    _draw_limits(top, bottom, result._limits(position), fwhm)
    top.set_xlim(max(_FROM * fwhm, energy[0]), min(_TO * fwhm, energy[-1]))
    _scale_left(bottom, left[(energy > _SCALE_FROM * fwhm) & (energy < _TO * fwhm)])
    top.set_title(f"{title}{_name_of(result, place, position)}")
    top.set_ylabel("Counts")
    bottom.set(xlabel=f"Energy from the peak ({axis.units})", ylabel="Counts, ZLP removed")
    if legend:
        top.legend(loc="upper right", fontsize=8)
        bottom.legend(loc="best", fontsize=8)


def _draw_peak(axes, energy, data, zlp, band):
    """Draw the measured spectrum over the ZLP with its band, on a logarithmic scale."""
    lower, upper = band
    axes.semilogy(energy, np.where(data > 0, data, np.nan), color=_DATA, lw=0.8, label="data")
    axes.semilogy(energy, zlp, color=_ZLP, lw=1.2, label="ZLP")
    axes.fill_between(energy, data - upper, data - lower, color=_ZLP, alpha=0.3, lw=0, label="band")
    axes.set_ylim(max(np.nanmax(data) * 1e-6, 0.5), np.nanmax(data) * 2)


def _draw_left(axes, energy, left, band):
    """Draw the subtracted signal with its band."""
    axes.axhline(0, color="k", lw=0.6)
    axes.plot(energy, left, color=_LEFT, lw=0.8, label="subtracted")
    axes.fill_between(energy, *band, color=_ZLP, alpha=0.35, lw=0, label="band (ZLP model)")


def _scale_left(axes, shown):
    """Scale the axes to the subtracted signal of the flank and behind."""
    if shown.size:
        low, high = np.nanpercentile(shown, [0.5, 99.5])
        margin = 0.15 * max(high - low, 1e-9)
        axes.set_ylim(min(low, 0) - margin, max(high, 0) + margin)


def _draw_limits(top, bottom, limits, fwhm):
    """Draw the limits of the regions that are in view; their names above."""
    for name, limit in limits.items():
        if np.isfinite(limit) and _FROM * fwhm < limit < _TO * fwhm:
            for axes in (top, bottom):
                axes.axvline(limit, color="0.5", lw=0.8, ls="--")
            _name_limit(top, name, limit)


def _name_limit(axes, name, limit):
    """Write the name of a limit beside its line, on the side away from the peak."""
    place = {"transform": axes.get_xaxis_transform(), "va": "top", "size": 8, "clip_on": True}
    if limit < 0:
        # Upright: few channels are in view beyond the limit on the gain side.
        axes.text(limit, 0.97, name, ha="right", rotation=90, **place)
    else:
        axes.text(limit, 0.98, f" {name}", ha="left", **place)


def _name_of(result, place, position):
    """Name a pixel by its indices and its cluster."""
    name = f"cluster {int(_value_of(result.clusters, position))}"
    if _value_of(result.vacuum, position):
        name = "vacuum"
    return f"({', '.join(map(str, place))}) {name}" if place else name
