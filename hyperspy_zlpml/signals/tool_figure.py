# SPDX-License-Identifier: GPL-3.0-or-later
"""Figure of the tool: limits are dragged in the spectrum of a pixel, vacuum is chosen on the map."""

import matplotlib.pyplot as plt
import numpy as np

from hyperspy_zlpml.signals.figures import (
    PixelFigure,
    draw_image,
    first_place,
    is_in_use,
    pixel_at,
    position_of,
)
from hyperspy_zlpml.statistics import Range

#: Colours of the limits.
_COLOURS = {"gain_limit": "tab:orange", "E_I": "tab:green", "E_II": "tab:purple"}
#: Size of the figure, inches: a notebook beside its list of files is no wider.
_SIZE = (9.5, 5.0)
#: A limit is taken hold of within so many points on the screen.
_REACH = 7
#: E_I that is dragged stays outside of the core of the peak, FWHM.
_NEAREST = 0.55
#: And before the end of the axis, as a part of it.
_LAST = 0.99
#: The gain limit that is dragged stays so far before the peak, FWHM.
_BEFORE = 0.1
#: Where a limit that there is none of lies, as part of the view from its edge.
_EDGE = 0.015


class ToolFigure:
    """Figure of a tool: before its first result a map of the counts, then a pixel of the result.

    Parameters
    ----------
    tool : ZLPRemovalTool
    """

    def __init__(self, tool):
        self._tool = tool
        self._pixel = None
        self._picker = None
        # A notebook shows it among the widgets, not below the cell.
        with plt.ioff():
            self.figure = plt.figure(figsize=_SIZE)
        self.figure.zlpml_tool = self
        self._mouse = _Mouse(self.figure)
        self.draw()
        tool.observe(self._renew, "result")
        tool.observe(self._follow, "limits_moved")
        tool.observe(self._follow_vacuum, "vacuum, vacuum_mask")

    @property
    def is_open(self):
        """Whether the figure is still open."""
        return plt.fignum_exists(self.figure.number)

    def draw(self):
        """Draw everything anew, for another result."""
        result, figure = self._tool.result, self.figure
        place = None
        if self._pixel is not None:
            place = self._pixel.place
            self._pixel.let_go()
        figure.clear()
        if result is None:
            navigation = draw_image(figure, self._tool.signal)
        else:
            self._pixel = DraggedPixel(self._tool, place or first_place(result), figure)
            navigation = self._pixel.map
            self._pixel.follow()
        self._picker = navigation and VacuumPicker(self._tool, navigation)
        self._mouse.targets = [one for one in (self._picker, self._pixel) if one is not None]
        figure.canvas.draw_idle()

    def _renew(self, _):
        if self.is_open:
            self.draw()

    def _follow(self, _):
        if self._pixel is not None and self.is_open:
            self._pixel.draw()

    def _follow_vacuum(self, _):
        if self._picker is not None and self.is_open:
            self._picker.show()


class DraggedPixel(PixelFigure):
    """Figure of a pixel whose limits can be dragged, and whose map is clicked on.

    Parameters
    ----------
    tool : ZLPRemovalTool
        With a result.
    place : tuple of int
    figure : matplotlib.figure.Figure
    """

    def __init__(self, tool, place, figure):
        self._tool = tool
        self._lines = {}
        self._held = None
        super().__init__(tool.result, place, figure)
        self._lines = {name: self._new_lines(colour) for name, colour in _COLOURS.items()}
        self._place_lines()

    def follow(self):
        """Follow the navigators of the result."""
        self._result._follower.follow(self)

    def let_go(self):
        """Follow nobody any more."""
        self._result._follower.let_go(self)

    @property
    def place(self):
        """Navigation indices of the pixel that is shown."""
        return self._place

    @property
    def limits(self):
        """Limits of the cluster of the pixel (ClusterLimits), or None where it was left out."""
        clusters = np.asarray(self._result.clusters.data).ravel()
        number = int(clusters[position_of(self._result, self._place)])
        rows = self._tool.limits
        return rows[number] if 0 <= number < len(rows) else None

    def draw(self, limits=None):
        """Draw the pixel between the limits that are asked for, with lines to drag.

        Parameters
        ----------
        limits : Range, optional
            Others, energies from the peak in the units of the axis.
        """
        super().draw(limits or self._asked())
        self._place_lines()

    def _asked(self):
        """Take the limits that are asked for, or None where the pixel was matched with them."""
        limits = self.limits
        asked = [] if limits is None else [n for n in ("gain_limit", "E_I") if limits.is_given(n)]
        if not asked:
            return None
        had = self._result._limits(position_of(self._result, self._place))
        gain = limits.gain_limit if "gain_limit" in asked else had["gain limit"]
        return Range(gain, limits.E_I if "E_I" in asked else had["E_I"])

    def _place_lines(self):
        limits = self.limits
        for name, lines in self._lines.items():
            at = np.nan if limits is None else self._in_view(name, limits.current(name))
            style = "-" if limits is not None and limits.is_given(name) else ":"
            for line in lines:
                line.set(xdata=[at, at], linestyle=style, visible=bool(np.isfinite(at)))

    def _new_lines(self, colour):
        return [axes.axvline(np.nan, color=colour, lw=1.6) for axes in self.panels]

    def _in_view(self, name, limit):
        """Place a limit that there is none of at the edge of the view, where it can be taken hold of."""
        if name == "E_II" or np.isfinite(limit) or np.isnan(limit):
            return limit
        low, high = self.panels[0].get_xlim()
        margin = _EDGE * (high - low)
        return low + margin if name == "gain_limit" else high - margin

    # --- the mouse --------------------------------------------------------------------------------

    def press(self, event):
        """Take hold of the limit at the mouse, or go to the pixel on the map.

        Parameters
        ----------
        event : matplotlib.backend_bases.MouseEvent

        Returns
        -------
        bool
            Whether there was something there.
        """
        if self.map is not None and event.inaxes is self.map:
            place = pixel_at(self._result._like.axes_manager, event.xdata, event.ydata)
            self._result._follower.move(place)
            self.show(place)
            return True
        self._held = self._limit_at(event)
        return self._held is not None

    def move(self, event):
        """Drag the limit that is held.

        Parameters
        ----------
        event : matplotlib.backend_bases.MouseEvent
        """
        if self._held is not None and event.xdata is not None and event.inaxes in self.panels:
            setattr(self.limits, self._held, self._allowed(self._held, event.xdata))

    def release(self, event):
        """Let go of the limit.

        Parameters
        ----------
        event : matplotlib.backend_bases.MouseEvent
        """
        self._held = None

    def _limit_at(self, event):
        if event.inaxes not in self.panels or self.limits is None:
            return None
        shown = {name: lines[0] for name, lines in self._lines.items() if lines[0].get_visible()}
        away = {
            name: abs(event.inaxes.transData.transform((line.get_xdata()[0], 0))[0] - event.x)
            for name, line in shown.items()
        }
        nearest = min(away, key=away.get, default=None)
        reach = _REACH * self.figure.dpi / 72
        return nearest if nearest is not None and away[nearest] <= reach else None

    def _allowed(self, name, energy):
        """Keep a limit on its side of the peak, and E_I below E_II."""
        fwhm = self.limits.reach[0]
        if name == "gain_limit":
            return float(min(energy, -_BEFORE * fwhm))
        if name == "E_I":
            end = min(self.limits.current("E_II"), _LAST * self.limits.reach[1])
            return float(np.clip(energy, _NEAREST * fwhm, end))
        return float(max(energy, self.limits.current("E_I")))


class VacuumPicker:
    """Choice of the pixels that see vacuum on a map: a click on one turns it, a drag adds many.

    With the right button a drag takes pixels away.

    Parameters
    ----------
    tool : ZLPRemovalTool
    axes : matplotlib.axes.Axes
        Of a map, or of a profile along a line.
    """

    def __init__(self, tool, axes):
        self._tool, self._axes = tool, axes
        self._from = None
        (self._marks,) = axes.plot([], [], "x", color="tab:red", mew=1.5, ls="none")
        self.show()

    @property
    def is_on(self):
        """Whether pixels are chosen."""
        return self._tool.vacuum == "mask"

    def show(self):
        """Mark the pixels that are chosen."""
        mask = self._tool.vacuum_mask & self.is_on
        x, *y = [
            axis.axis[index]
            for axis, index in zip(
                self._manager.navigation_axes, np.nonzero(mask)[::-1], strict=True
            )
        ]
        low = self._axes.get_ylim()[0]
        self._marks.set_data(x, y[0] if y else np.full(len(x), low))
        self._axes.figure.canvas.draw_idle()

    @property
    def _manager(self):
        return self._tool.signal.axes_manager

    def press(self, event):
        """Begin at the pixel at the mouse.

        Parameters
        ----------
        event : matplotlib.backend_bases.MouseEvent

        Returns
        -------
        bool
            Whether pixels are chosen there.
        """
        if not self.is_on or event.inaxes is not self._axes:
            return False
        self._from = pixel_at(self._manager, event.xdata, event.ydata)
        return True

    def move(self, event):
        """Do nothing before the end of a drag.

        Parameters
        ----------
        event : matplotlib.backend_bases.MouseEvent
        """

    def release(self, event):
        """Turn the pixel, or choose all up to the one at the mouse.

        Parameters
        ----------
        event : matplotlib.backend_bases.MouseEvent
        """
        begin, self._from = self._from, None
        if begin is None or event.inaxes is not self._axes:
            return
        end = pixel_at(self._manager, event.xdata, event.ydata)
        mask = self._tool.vacuum_mask.copy()
        within = tuple(slice(min(pair), max(pair) + 1) for pair in zip(begin, end, strict=True))[
            ::-1
        ]
        mask[within] = not mask[within].all() if begin == end else event.button != 3
        self._tool.vacuum_mask = mask


class _Mouse:
    """Events of the mouse, handed to the first of some targets that wants them."""

    def __init__(self, figure):
        self.targets = []
        self._toolbar = figure.canvas.toolbar
        self._target = None
        for name in ("press", "move", "release"):
            event = {"move": "motion_notify_event"}.get(name, f"button_{name}_event")
            figure.canvas.mpl_connect(event, getattr(self, f"_{name}"))

    def _press(self, event):
        if event.inaxes is not None and not is_in_use(self._toolbar):
            self._target = next((one for one in self.targets if one.press(event)), None)

    def _move(self, event):
        if self._target is not None:
            self._target.move(event)

    def _release(self, event):
        target, self._target = self._target, None
        if target is not None:
            target.release(event)
