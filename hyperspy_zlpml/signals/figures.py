# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw figures of a removal.

:func:`plot_removal` shows one pixel and follows the navigator; :func:`plot_overview` shows three
pixels from thin to thick beside the map of clusters.
"""

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.ticker import NullLocator

from hyperspy_zlpml.arguments import integers
from hyperspy_zlpml.signals.following import PixelsFigure
from hyperspy_zlpml.signals.maps.figure import edges_of, label_of
from hyperspy_zlpml.signals.maps.pixels import at_pixel
from hyperspy_zlpml.statistics import Range

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
#: Height of the names of limits, in parts of the axes.
_NAME_AT = 0.03
#: Height of titles, in parts of the axes: a place that is given need not be sought at every step.
_TITLE = 1.0


def plot_removal(result, indices=None):
    """Plot data, ZLP with its band and subtracted signal at one pixel.

    Parameters
    ----------
    result : ZLPRemoval
    indices : tuple of int, optional
        Navigation indices (x, y, ...); by default the figure follows the navigators.

    Returns
    -------
    list of matplotlib.axes.Axes
    """
    manager = result._like.axes_manager
    if indices is not None:
        return PixelFigure(result, _checked(indices, manager)).figure.axes
    follower = result._follower
    pixel = PixelFigure(result, first_place(result))
    if manager.navigation_dimension:
        follower.follow(pixel)
        pixel.let_clicks_move(follower)
    return pixel.figure.axes


def first_place(result):
    """Find where a navigator was moved to, or choose a pixel of middling thickness.

    Parameters
    ----------
    result : ZLPRemoval

    Returns
    -------
    tuple of int
        Navigation indices (x, y, ...).
    """
    if result._follower.place:
        return result._follower.place
    places = representative_pixels(result)
    return places[len(places) // 2] if places else (0,) * result.clusters.data.ndim


class PixelFigure(PixelsFigure):
    """Figure of one pixel: map of the clusters, data with ZLP, and what is left.

    Lines are moved from pixel to pixel, not drawn anew; limits that the user chose stay.

    Parameters
    ----------
    result : ZLPRemoval
    place : tuple of int
        Navigation indices (x, y, ...) of the pixel shown first.
    figure : matplotlib.figure.Figure, optional
        An empty one to draw in; default a new one.
    """

    def __init__(self, result, place, figure=None):
        self._result = result
        self._place = None
        figure = figure or plt.figure(figsize=(11, 5.5))
        figure.set_layout_engine("constrained")
        has_map = result._like.axes_manager.navigation_dimension in (1, 2)
        ratios = (1, 1.6) if has_map else None
        grid = figure.add_gridspec(2, 2 if has_map else 1, width_ratios=ratios)
        top = figure.add_subplot(grid[0, -1])
        bottom = figure.add_subplot(grid[1, -1], sharex=top)
        super().__init__(top)
        self._panels = SpectrumPanels(top, bottom, result._units, scale=self.scale)
        self.drawn = list(top.lines)
        self._map = figure.add_subplot(grid[:, 0]) if has_map else None
        if has_map:
            _draw_clusters(self._map, result)
            (self._marker,) = self._map.plot([], [], "s", mfc="none", mec="tab:red", mew=2, ms=9)
        self.show(place)
        # Laid out once: at every step it would take longer than all drawing.
        self.figure.canvas.draw()
        self.figure.set_layout_engine("none")

    def show(self, place):
        """Show another pixel.

        Parameters
        ----------
        place : tuple of int
            Navigation indices (x, y, ...).
        """
        if place == self._place:
            return
        self._place = place
        self.draw()

    @property
    def panels(self):
        """Axes of the spectrum, and of what is left of it."""
        return self.figure.axes[:2]

    @property
    def map(self):
        """Axes of the clusters, or None."""
        return self._map

    def draw(self, limits=None):
        """Draw the pixel as it was matched, or as it would be between other limits.

        Parameters
        ----------
        limits : Range, optional
            Energies from the peak, in the units of the axis.
        """
        place = self._place
        self._panels.show(*_spectrum_of(self._result, place, limits))
        if self._map is not None:
            self._marker.set_data(*_marker_position(self._result, place))
        self.figure.canvas.draw_idle()

    def let_clicks_move(self, follower):
        """Let clicks on the map move the navigators of a follower, and with them this figure.

        Parameters
        ----------
        follower : Follower
        """

        def clicked(event):
            if event.inaxes is self._map and not is_in_use(self.figure.canvas.toolbar):
                place = pixel_at(self._result._like.axes_manager, event.xdata, event.ydata)
                follower.move(place)
                self.show(place)

        if self._map is not None:
            self.figure.canvas.mpl_connect("button_press_event", clicked)


def is_in_use(toolbar):
    """Tell whether the mouse belongs to the toolbar of a figure, which zooms or pans.

    Parameters
    ----------
    toolbar : NavigationToolbar2 or None

    Returns
    -------
    bool
    """
    return bool(toolbar is not None and toolbar.mode)


class SpectrumPanels:
    """Two panels of one spectrum: data with the ZLP above, what is left of it below.

    Parameters
    ----------
    top, bottom : matplotlib.axes.Axes
    units : str
        Of the energy axis.
    scale : callable
        Of axes, the name of an axis and limits: :meth:`.PixelsFigure.scale`.
    legend : bool
        Whether to explain the lines.
    """

    def __init__(self, top, bottom, units, *, scale, legend=True):
        self._top, self._bottom, self._set = top, bottom, scale
        (self._data,) = top.semilogy([], [], color=_DATA, lw=0.8, label="data")
        (self._zlp,) = top.semilogy([], [], color=_ZLP, lw=1.2, label="ZLP")
        self._band = _empty_band(top, alpha=0.3, label="band")
        bottom.axhline(0, color="k", lw=0.6)
        (self._left,) = bottom.plot([], [], color=_LEFT, lw=0.8, label="subtracted")
        self._band_left = _empty_band(bottom, alpha=0.35, label="band (ZLP model)")
        self._limits = []
        # What is drawn anew at every step is kept small.
        top.yaxis.set_minor_locator(NullLocator())
        top.tick_params(labelbottom=False)
        top.set_ylabel("Counts")
        bottom.set(xlabel=f"Energy from the peak ({units})", ylabel="Counts, ZLP removed")
        if legend:
            top.legend(loc="upper right", fontsize=8)
            bottom.legend(loc="upper left", fontsize=8)

    def show(self, spectrum, title):
        """Show a spectrum.

        Parameters
        ----------
        spectrum : PixelSpectrum or None
            None where a pixel was left out.
        title : str
        """
        for artist in self._limits:
            artist.remove()
        self._limits = []
        if spectrum is None:
            self._show_nothing(title)
            return
        energy, left = spectrum.energy, spectrum.left
        data = left + spectrum.zlp
        self._data.set_data(energy, np.where(data > 0, data, np.nan))
        self._zlp.set_data(energy, spectrum.zlp)
        self._left.set_data(energy, left)
        _set_band(self._band, energy, data - spectrum.upper, data - spectrum.lower)
        _set_band(self._band_left, energy, spectrum.lower, spectrum.upper)
        self._limits = _draw_limits(self._top, self._bottom, spectrum.limits, spectrum.fwhm)
        self._scale(spectrum, data)
        self._top.set_title(title, y=_TITLE)

    def _show_nothing(self, title):
        for line in (self._data, self._zlp, self._left):
            line.set_data([], [])
        for band in (self._band, self._band_left):
            band.set_verts([])
        self._top.set_title(f"{title}: left out", y=_TITLE)

    def _scale(self, spectrum, data):
        """Scale the axes to a spectrum, but for those that the user scaled."""
        energy, fwhm = spectrum.energy, spectrum.fwhm
        within = (max(_FROM * fwhm, energy[0]), min(_TO * fwhm, energy[-1]))
        shown = spectrum.left[(energy > _SCALE_FROM * fwhm) & (energy < _TO * fwhm)]
        self._set(self._top, "x", within)
        largest = np.nanmax(data)
        self._set(self._top, "y", (max(largest * 1e-6, 0.5), largest * 2))
        if shown.size:
            self._set(self._bottom, "y", _scale_of(shown))


class PixelSpectrum(NamedTuple):
    """Spectrum of one pixel as it is drawn.

    Attributes
    ----------
    energy : ndarray of shape (n_energy,)
        From the peak, in the units of the axis.
    left, zlp, lower, upper : ndarray of shape (n_energy,)
        Counts.
    limits : dict of str to float
        Limits of the regions, in the units of the axis.
    fwhm : float
    """

    energy: np.ndarray
    left: np.ndarray
    zlp: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    limits: dict
    fwhm: float


def _spectrum_of(result, place, limits=None):
    """Evaluate the spectrum of a pixel, and name it.

    Parameters
    ----------
    result : ZLPRemoval
    place : tuple of int
    limits : Range, optional
        Energies from the peak between which it is matched anew, in the units of the axis.

    Returns
    -------
    spectrum : PixelSpectrum or None
    name : str
    """
    manager = result._like.axes_manager
    position = position_of(result, place)
    name = _name_of(result, place, position)
    limits = limits and Range(*(limit * result._factor for limit in limits))
    found = result.removed.of_spectra([position], ("subtracted", "zlp", "lower", "upper"), limits)
    left, zlp, lower, upper = (np.asarray(values[0], float) for values in found.values())
    if not np.isfinite(left).any():
        return None, name
    spectrum = PixelSpectrum(
        energy=manager.signal_axes[0].axis - float(_value_of(result.centre, position)),
        left=left,
        zlp=zlp,
        lower=lower,
        upper=upper,
        limits=result._limits(position),
        fwhm=float(_value_of(result.fwhm, position)),
    )
    return spectrum, name


def position_of(result, place):
    """Find the number of a pixel in flattened order.

    Parameters
    ----------
    result : ZLPRemoval
    place : tuple of int
        Navigation indices (x, y, ...).

    Returns
    -------
    int
    """
    shape = result._like.axes_manager._navigation_shape_in_array
    return int(np.ravel_multi_index(tuple(place)[::-1], shape)) if shape else 0


def _empty_band(axes, alpha, label):
    """Make a band that shows nothing yet."""
    band = PolyCollection([], facecolors=_ZLP, alpha=alpha, lw=0, label=label)
    axes.add_collection(band, autolim=False)
    return band


def _set_band(band, x, lower, upper):
    """Let a band lie between two lines."""
    known = np.isfinite(lower) & np.isfinite(upper)
    up = np.stack([x, lower], -1)[known]
    down = np.stack([x, upper], -1)[known][::-1]
    band.set_verts([np.concatenate([up, down])])


def plot_overview(result):
    """Plot the map of clusters, and a thin, a middling and a thick pixel.

    Parameters
    ----------
    result : ZLPRemoval

    Returns
    -------
    matplotlib.figure.Figure
    """
    places = representative_pixels(result)
    has_map = result._like.axes_manager.navigation_dimension in (1, 2)
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
        panels = SpectrumPanels(
            top, bottom, result._units, scale=PixelsFigure(top).scale, legend=number == 0
        )
        spectrum, name = _spectrum_of(result, place)
        panels.show(spectrum, f"{'abc'[number]}: {name}")
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
    if not order.size:
        return []
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
        xlabel=label_of(axis),
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
        extent=(*edges_of(x), *edges_of(y)[::-1]),
    )
    bar = axes.figure.colorbar(picture, ax=axes, ticks=range(n_clusters), shrink=0.6)
    bar.set_label("Cluster (0: thinnest)")
    title = "Clusters"
    vacuum = np.asarray(result.vacuum.data)
    if vacuum.any() and not vacuum.all():
        title += ", vacuum dashed"
        axes.contour(x.axis, y.axis, vacuum, [0.5], colors="w", linewidths=1, linestyles="--")
    axes.set(xlabel=label_of(x), ylabel=label_of(y))
    axes.set_title(title, y=_TITLE)


def draw_image(figure, signal):
    """Draw the total counts of an image as a map, or as a profile along a line.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        An empty one.
    signal : Signal1D

    Returns
    -------
    matplotlib.axes.Axes or None
        None where there are no or three navigation dimensions.
    """
    navigation = signal.axes_manager.navigation_axes
    if len(navigation) not in (1, 2):
        return None
    axes = figure.subplots()
    total = np.asarray(signal.sum(axis=signal.axes_manager.signal_axes[0].name).data, float)
    axes.set(xlabel=label_of(navigation[0]), title="Total counts")
    if len(navigation) == 1:
        axes.step(navigation[0].axis, total, where="mid", color="0.3")
    else:
        x, y = navigation
        axes.imshow(total, cmap="gray", extent=(*edges_of(x), *edges_of(y)[::-1]))
        axes.set_ylabel(label_of(y))
    return axes


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


def pixel_at(manager, x, y):
    """Find the pixel at a place on a map, or on a profile, of an image.

    Parameters
    ----------
    manager : hyperspy.axes.AxesManager
    x, y : float
        In the units of the navigation axes.

    Returns
    -------
    tuple of int
        Navigation indices.
    """
    return tuple(
        int(np.abs(axis.axis - at).argmin())
        for axis, at in zip(manager.navigation_axes, (x, y), strict=False)
    )


def _value_of(signal, position):
    """Take the value of a map at one pixel, by its number in flattened order."""
    return np.asarray(signal.data).ravel()[position]


def _scale_of(shown):
    """Find limits that show the subtracted signal of the flank and behind."""
    low, high = np.nanpercentile(shown, [0.5, 99.5])
    margin = 0.15 * max(high - low, 1e-9)
    return min(low, 0) - margin, max(high, 0) + margin


def _draw_limits(top, bottom, limits, fwhm):
    """Draw the limits of the regions that are in view, their names above; return what was drawn."""
    drawn = []
    for name, limit in limits.items():
        if np.isfinite(limit) and _FROM * fwhm < limit < _TO * fwhm:
            drawn += [axes.axvline(limit, color="0.5", lw=0.8, ls="--") for axes in (top, bottom)]
            drawn.append(_name_limit(top, name, limit))
    return drawn


def _name_limit(axes, name, limit):
    """Write the name of a limit beside its line, on the side away from the peak, where no legend is."""
    place = {"transform": axes.get_xaxis_transform(), "va": "bottom", "size": 8, "clip_on": True}
    if limit < 0:
        # Upright: few channels are in view beyond the limit on the gain side.
        return axes.text(limit, _NAME_AT, name, ha="right", rotation=90, **place)
    return axes.text(limit, _NAME_AT, f" {name}", ha="left", **place)


def _name_of(result, place, position):
    """Name a pixel by its indices and its cluster."""
    name = f"cluster {int(_value_of(result.clusters, position))}"
    if _value_of(result.vacuum, position):
        name = "vacuum"
    return at_pixel(place, name)
