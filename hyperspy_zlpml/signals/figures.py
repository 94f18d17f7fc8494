# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of a removal.

:func:`plot_removal` shows one pixel and follows the navigator; :func:`plot_overview` shows three
pixels from thin to thick beside the map of clusters.
"""

import matplotlib.pyplot as plt
import numpy as np

from hyperspy_zlpml.compute import compute

#: Colours of the measured spectrum, of the ZLP, and of what is left.
_DATA = "0.35"
_ZLP = "tab:red"
_LEFT = "tab:blue"
#: Energies shown, in FWHM from the peak: from ...
_FROM = -6.0
#: ... and to.
_TO = 30.0
#: The flank decides the scale of the subtracted signal; closer than this the peak's noise rules.
_SCALE_FROM = 2.0


def plot_removal(result, indices=None):
    """Data, ZLP with its band and subtracted signal at one pixel.

    Parameters
    ----------
    result : ZLPRemoval
    indices : tuple of int, optional
        Navigation indices (x, y, ...); default those of the navigator, which is then followed.

    Returns
    -------
    matplotlib.figure.Figure
    """
    manager = result.subtracted.axes_manager
    figure = plt.figure(figsize=(11, 5.5), layout="constrained")
    has_map = manager.navigation_dimension in (1, 2)
    grid = figure.add_gridspec(2, 2 if has_map else 1, width_ratios=(1, 1.6) if has_map else None)
    top = figure.add_subplot(grid[0, -1])
    bottom = figure.add_subplot(grid[1, -1], sharex=top)
    marker = None
    if has_map:
        marker = _draw_clusters(figure.add_subplot(grid[:, 0]), result)

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
    """Map of clusters, and a thin, a middling and a thick pixel with the ZLP and what it leaves.

    Parameters
    ----------
    result : ZLPRemoval

    Returns
    -------
    matplotlib.figure.Figure
    """
    manager = result.subtracted.axes_manager
    places = representative_pixels(result)
    has_map = manager.navigation_dimension in (1, 2)
    n_columns = len(places) + has_map
    figure = plt.figure(figsize=(4.2 * n_columns, 6.5), layout="constrained")
    grid = figure.add_gridspec(2, n_columns)
    if has_map:
        axes = figure.add_subplot(grid[:, 0])
        _draw_clusters(axes, result, marked=False)
        for number, place in enumerate(places):
            x, y = _marker_position(result, place)
            axes.plot(x, y, "s", mfc="none", mec="k", mew=1.5)
            axes.annotate(
                "abc"[number], (x[0], y[0]), (6, 6), textcoords="offset points", weight="bold"
            )
    for number, place in enumerate(places):
        top = figure.add_subplot(grid[0, number + has_map])
        bottom = figure.add_subplot(grid[1, number + has_map], sharex=top)
        _draw_spectrum(top, bottom, result, place, title=f"{'abc'[number]}: ", legend=number == 0)
    figure.suptitle(result.subtracted.metadata.General.title)
    return figure


def plot_regions(scan, factor, units, window=None):
    """Signal above ``E_I`` of each cluster against the limit of matching, thick where level.

    Parameters
    ----------
    scan : RegionScan
    factor : float
        eV per unit of the axis.
    units : str
    window : tuple of float, optional
        Energies integrated over, in the units of the axis, where they are the same for all.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(figsize=(9, 4.8), layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(scan.clusters)))
    here = np.abs(scan.factors - 1).argmin()
    for number, (name, colour) in enumerate(zip(scan.clusters, colours, strict=True)):
        limits = scan.factors * scan.E_I[number] / factor
        integral, error = scan.integral[number], scan.error[number]
        up_to = scan.level_up_to[number] / factor
        label = f"cluster {name}: level up to {up_to:.4g} {units}"
        axes.plot(limits, integral, "-", color=colour, lw=1, label=label)
        axes.fill_between(limits, integral - error, integral + error, color=colour, alpha=0.2, lw=0)
        level = limits <= up_to * (1 + 1e-9)
        axes.plot(limits[level], integral[level], "-", color=colour, lw=3)
        axes.plot(limits[here], integral[here], "o", color=colour, mec="k")
    axes.axhline(0, color="k", lw=0.6)
    where = "2 FWHM above E_I" if window is None else f"{window[0]:g} to {window[1]:g} {units}"
    axes.set(
        xlabel=f"Limit of matching, from the peak ({units}); circle: E_I",
        ylabel=f"Subtracted signal, {where} (ZLP there = 1)",
        title="Does the result depend on E_I?",
    )
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def representative_pixels(result):
    """Navigation indices of a bright, a middling and a dark usable pixel (fewer if there are)."""
    intensity = np.asarray(result.intensity.data, float).ravel()
    usable = np.flatnonzero(result._application.peaks.usable)
    order = usable[np.argsort(-intensity[usable], kind="stable")]
    ranks = np.unique(np.round(np.array([0.05, 0.5, 0.95]) * (order.size - 1)).astype(int))
    shape = result.subtracted.axes_manager._navigation_shape_in_array
    return [tuple(int(i) for i in np.unravel_index(order[rank], shape)[::-1]) for rank in ranks]


def _checked(indices, manager):
    shape = manager.navigation_shape
    indices = np.atleast_1d(indices)
    if len(indices) != len(shape) or any(
        not -n <= i < n for i, n in zip(indices, shape, strict=True)
    ):
        raise ValueError(f"indices: expected one within each of {shape}, got {tuple(indices)}.")
    return tuple(int(i) % n for i, n in zip(indices, shape, strict=True))


def _draw_clusters(axes, result, marked=True):
    """Map or profile of the clusters; returns the marker of the pixel shown."""
    manager = result.subtracted.axes_manager
    labels = np.ma.masked_less(np.asarray(result.clusters.data), 0)
    n_clusters = max(len(result.report.clusters), 1)
    navigation = manager.navigation_axes
    title = "Clusters"
    if manager.navigation_dimension == 1:
        axis = navigation[0]
        axes.step(axis.axis, labels, where="mid", color="0.3")
        axes.set(xlabel=_label(axis), ylabel="Cluster (0: thinnest)", yticks=range(n_clusters))
    else:
        x, y = navigation
        half = 0.5 * x.scale, 0.5 * y.scale
        extent = (
            x.low_value - half[0],
            x.high_value + half[0],
            y.high_value + half[1],
            y.low_value - half[1],
        )
        colours = plt.get_cmap("viridis", n_clusters)
        picture = axes.imshow(labels, cmap=colours, vmin=-0.5, vmax=n_clusters - 0.5, extent=extent)
        bar = axes.figure.colorbar(picture, ax=axes, ticks=range(n_clusters), shrink=0.6)
        bar.set_label("Cluster (0: thinnest)")
        vacuum = np.asarray(result.vacuum.data)
        if vacuum.any() and not vacuum.all():
            title += ", vacuum dashed"
            axes.contour(x.axis, y.axis, vacuum, [0.5], colors="w", linewidths=1, linestyles="--")
        axes.set(xlabel=_label(x), ylabel=_label(y))
    axes.set_title(title)
    if not marked:
        return None
    return axes.plot([], [], "s", mfc="none", mec="tab:red", mew=2, ms=9)[0]


def _marker_position(result, place):
    """Where a pixel lies on the map, or on the profile, of the clusters."""
    axes = result.subtracted.axes_manager.navigation_axes
    values = [axis.axis[i] for axis, i in zip(axes, place, strict=True)]
    if len(values) == 1:
        values.append(np.asarray(result.clusters.data)[place[0]])
    return [values[0]], [values[1]]


def _label(axis):
    name = axis.name if isinstance(axis.name, str) else "Position"
    units = axis.units if isinstance(axis.units, str) and axis.units else "px"
    return f"{name} ({units})"


def _at(signals, place):
    """Spectra of several signals at one pixel, computed together where they are lazy."""
    pixels = (signal.data[tuple(place)[::-1]] for signal in signals)
    spectra = compute(*pixels, show_progressbar=False, title="")
    return [np.asarray(spectrum, float) for spectrum in spectra]


def _draw_spectrum(top, bottom, result, place, title="", legend=True):
    """The measured spectrum over the ZLP, and what is left, against energy from the peak."""
    manager = result.subtracted.axes_manager
    shape = manager._navigation_shape_in_array
    position = int(np.ravel_multi_index(tuple(place)[::-1], shape)) if shape else 0
    axis = manager.signal_axes[0]
    left, zlp, lower, upper = _at(
        [getattr(result, name) for name in ("subtracted", "zlp", "lower", "upper")], place
    )
    if not np.isfinite(left).any():
        top.set_title(f"{title}left out")
        return
    centre = float(np.asarray(result.centre.data).ravel()[position])
    fwhm = float(np.asarray(result.fwhm.data).ravel()[position])
    energy = axis.axis - centre
    data = left + zlp
    limits = result._limits(position)

    top.semilogy(energy, np.where(data > 0, data, np.nan), color=_DATA, lw=0.8, label="data")
    top.semilogy(energy, zlp, color=_ZLP, lw=1.2, label="ZLP")
    top.fill_between(energy, data - upper, data - lower, color=_ZLP, alpha=0.3, lw=0, label="band")
    bottom.axhline(0, color="k", lw=0.6)
    bottom.plot(energy, left, color=_LEFT, lw=0.8, label="subtracted")
    bottom.fill_between(
        energy, lower, upper, color=_ZLP, alpha=0.35, lw=0, label="band (ZLP model)"
    )
    for axes in (top, bottom):
        for name, limit in limits.items():
            if np.isfinite(limit) and _FROM * fwhm < limit < _TO * fwhm:
                axes.axvline(limit, color="0.5", lw=0.8, ls="--")
                if axes is top:
                    _name_limit(axes, name, limit)
    top.set_xlim(max(_FROM * fwhm, energy[0]), min(_TO * fwhm, energy[-1]))
    top.set_ylim(max(np.nanmax(data) * 1e-6, 0.5), np.nanmax(data) * 2)
    shown = (energy > _SCALE_FROM * fwhm) & (energy < _TO * fwhm)
    if shown.any():
        low, high = np.nanpercentile(left[shown], [0.5, 99.5])
        margin = 0.15 * max(high - low, 1e-9)
        bottom.set_ylim(min(low, 0) - margin, max(high, 0) + margin)
    kind = (
        "vacuum"
        if np.asarray(result.vacuum.data).ravel()[position]
        else _cluster_name(result, position)
    )
    where = f"({', '.join(map(str, place))}) " if place else ""
    top.set_title(f"{title}{where}{kind}")
    top.set_ylabel("Counts")
    bottom.set(xlabel=f"Energy from the peak ({axis.units})", ylabel="Counts, ZLP removed")
    if legend:
        top.legend(loc="upper right", fontsize=8)
        bottom.legend(loc="best", fontsize=8)


def _name_limit(axes, name, limit):
    """Write the name of a limit beside its line, on the side away from the peak."""
    side = "right" if limit < 0 else "left"
    text = f"{name} " if limit < 0 else f" {name}"
    place = {"transform": axes.get_xaxis_transform(), "va": "top", "ha": side}
    axes.text(limit, 0.98, text, size=8, clip_on=True, **place)


def _cluster_name(result, position):
    return f"cluster {int(np.asarray(result.clusters.data).ravel()[position])}"
