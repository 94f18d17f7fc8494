# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a figure follow the navigators of several signals, until it is closed."""

from weakref import WeakSet, ref

import matplotlib.pyplot as plt
import numpy as np


class PixelsFigure:
    """Figure that shows one pixel after the other, and is scaled to each unless the user scaled it.

    Several may share axes, which are then scaled to what all of them show.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Of the figure. It lives as long as they do, and needs nobody else to hold it.
    """

    def __init__(self, axes):
        #: Figure of the axes, which may lie in a part of it.
        self.figure = axes.figure.figure
        #: Lines in the axes that are of this figure, which is gone with them.
        self.drawn = []
        self._axes, self._wanted = axes, {}
        earlier = [one for one in getattr(axes, "zlpml_pixels", []) if one.is_drawn]
        self._chosen = earlier[0]._chosen if earlier else {}
        axes.zlpml_pixels = [*earlier, self]

    @property
    def is_drawn(self):
        """Whether any of its lines is still in the axes, which may have been cleared."""
        return any(line in self._axes.lines for line in self.drawn)

    @property
    def is_open(self):
        """Whether it is drawn in an open figure; one that pyplot does not know is, as long as it lives."""
        is_there = not hasattr(self.figure, "number") or plt.fignum_exists(self.figure.number)
        return is_there and self.is_drawn

    @property
    def sharing(self):
        """All that share the axes (list of PixelsFigure)."""
        return [one for one in self._axes.zlpml_pixels if one is self or one.is_drawn]

    def scale(self, axes, name, limits):
        """Scale an axis of the figure unless it has other limits than were set last.

        Parameters
        ----------
        axes : matplotlib.axes.Axes
        name : {"x", "y"}
        limits : tuple of float
        """
        axis, key = getattr(axes, f"{name}axis"), (axes, name)
        self._wanted[key] = limits
        low, high = zip(*(one._wanted.get(key, limits) for one in self.sharing), strict=True)
        if key not in self._chosen or np.allclose(axis.get_view_interval(), self._chosen[key]):
            axes.set(**{f"{name}lim": (min(low), max(high))})
            # A copy: the interval of an axis changes in place.
            self._chosen[key] = axis.get_view_interval().copy()


class Follower:
    """Connection of one open figure with all signals whose navigators move it.

    Signals and figure are held weakly. Canvases that live in notebooks do not say when they are
    closed: a figure that is gone is let go of at the next move of a navigator at the latest. Copies
    and pickles follow nobody.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from hyperspy.signals import Signal1D
    >>> from hyperspy_zlpml.signals.following import Follower
    >>> class Figure:
    ...     is_open, shown = True, []
    ...     def show(self, place):
    ...         self.shown.append(place)
    >>> signal, figure, follower = Signal1D([[1.0, 2.0], [3.0, 4.0]]), Figure(), Follower()
    >>> follower.watch(signal.axes_manager)
    >>> follower.follow(figure)
    >>> signal.axes_manager.indices = (1,)
    >>> figure.shown
    [(1,)]
    >>> figure.is_open = False
    >>> signal.axes_manager.indices = (0,)
    >>> figure.shown, follower.is_following
    ([(1,)], False)
    """

    def __init__(self):
        self._managers = WeakSet()
        self._figure = None

    def __reduce__(self):
        return (Follower, ())

    @property
    def is_following(self):
        """Whether a figure is moved by navigators."""
        return self._figure is not None and self._figure() is not None

    @property
    def place(self):
        """Navigation indices of a navigator that was moved away from the first pixel, or None."""
        places = [tuple(manager.indices) for manager in self._managers]
        return next((place for place in places if any(place)), None)

    def watch(self, manager):
        """Watch the navigator of one more signal.

        Parameters
        ----------
        manager : hyperspy.axes.AxesManager
            Held weakly.
        """
        if manager.navigation_dimension and manager not in self._managers:
            self._managers.add(manager)
            if self.is_following:
                self._connect(manager)

    def follow(self, figure):
        """Let a figure follow, and none other.

        Parameters
        ----------
        figure : object
            With ``is_open`` and ``show(indices)``. Held weakly.
        """
        self.let_go()
        self._figure = ref(figure, self._gone)
        for manager in self._managers:
            self._connect(manager)

    def let_go(self, figure=None):
        """Disconnect the figure from all signals.

        Parameters
        ----------
        figure : object, optional
            Only if it is this one that follows.
        """
        if figure is not None and not (self.is_following and self._figure() is figure):
            return
        self._figure = None
        for manager in self._managers:
            event = manager.events.indices_changed
            if self._moved in event.connected:
                event.disconnect(self._moved)

    def move(self, place):
        """Move the navigators of all signals.

        Parameters
        ----------
        place : tuple of int
            Navigation indices (x, y, ...).
        """
        for manager in list(self._managers):
            if tuple(manager.indices) != place:
                manager.indices = place

    def _connect(self, manager):
        manager.events.indices_changed.connect(self._moved, ["obj"])

    def _gone(self, _):
        self.let_go()

    def _moved(self, obj):
        figure = self._figure and self._figure()
        if figure is None or not figure.is_open:
            self.let_go()
        else:
            figure.show(tuple(obj.indices))
