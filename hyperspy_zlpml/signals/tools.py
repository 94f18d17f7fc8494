# SPDX-License-Identifier: GPL-3.0-or-later
"""Tool that removes the zero-loss peak interactively: options and limits in, result and code out.

The tool knows no toolkit. Widgets for those that HyperSpy knows are in ``hyperspy_zlpml.gui``; without any,
it is used as it is.
"""

import inspect
from dataclasses import replace
from functools import partial

import numpy as np
from hyperspy.ui_registry import add_gui_method
from traits import api as t
from traits.trait_list_object import TraitListObject

from hyperspy_zlpml.arguments import flag, meant, settle_random_state
from hyperspy_zlpml.compute.progress import Cancelled
from hyperspy_zlpml.image.clusters import PROXIES
from hyperspy_zlpml.signals.background import Job
from hyperspy_zlpml.signals.code import removal_code
from hyperspy_zlpml.signals.toolkits import register_widgets
from hyperspy_zlpml.zlp.regions import check_limits, check_reach

#: Name of the tool in ``hyperspy_extension.yaml``.
TOOLKEY = "hyperspy_zlpml.remove_zlp_ml"
#: Limits of the regions of a cluster, as ``regions`` of ``remove_zlp_ml`` calls them.
LIMITS = ("gain_limit", "E_I", "E_II")
#: What is known of the limits of a cluster without the user.
_FOUND = ["number", "reach", "automatic"]
#: Choices for the pixels that see vacuum.
VACUUM = ("auto", "none", "all", "mask")
#: Stands for what was given as an argument and no widget can show: a map, or a signal.
GIVEN = "given"
#: Arguments of a training, without effect where an ensemble is given.
_OF_TRAINING = ("n_replicas", "replica_kind", "device")
#: Arguments of ``remove_zlp_ml`` that are none of a removal.
_NO_OPTIONS = {"self", "interactive", "display", "toolkit"}
#: Values of ``vacuum`` that the choices mean.
_MEANING = {"auto": None, "none": False, "all": True}

register_widgets(TOOLKEY, "removal")


class LimitError(t.TraitError, ValueError):
    """A limit lies where none can be."""


class _Limit(t.BaseFloat):
    """Limit of a region, which is refused at once where it cannot be."""

    default_value = np.nan

    def validate(self, object, name, value):
        """Take a limit; LimitError unless it can be one."""
        value = super().validate(object, name, value)
        try:
            object.check(name, value)
        except ValueError as error:
            raise LimitError(str(error)) from error
        return value


class ClusterLimits(t.HasStrictTraits):
    """Limits of the regions of one cluster, in the units of the axis from the peak.

    Attributes
    ----------
    number : int
        Of the cluster, 0 is the thinnest.
    gain_limit, E_I, E_II : float
        Given by the user; NaN for those found from the data. One that cannot be is refused by
        :class:`LimitError`, a ValueError.
    reach : tuple of float
        FWHM of the peak, within half of which no ``E_I`` lies, and the end of the axis.
    automatic : dict of str to float
        Those found from the data, by their names; empty before the first run.

    Examples
    --------
    >>> from hyperspy_zlpml.signals.tools import ClusterLimits
    >>> limits = ClusterLimits(number=0, automatic={"E_I": 1.7})
    >>> limits.current("E_I")
    1.7
    >>> limits.E_I = 1.2
    >>> limits.current("E_I"), limits.is_given("E_I")
    (1.2, True)
    >>> limits.gain_limit = 0.5
    Traceback (most recent call last):
    hyperspy_zlpml.signals.tools.LimitError: regions: expected gain_limit to be negative (before \
the peak), got 0.5.
    """

    number = t.Int()
    reach = t.Tuple(0.0, np.inf)
    gain_limit = _Limit(label="Gain limit")
    E_I = _Limit(label="E_I")
    E_II = _Limit(label="E_II")
    automatic = t.Dict(t.Str, t.Float)

    def is_given(self, name):
        """Tell whether the user gave a limit.

        Parameters
        ----------
        name : str

        Returns
        -------
        bool
        """
        return not np.isnan(getattr(self, name))

    def check(self, name, value):
        """Raise ValueError for a limit that cannot be, beside those that are given.

        Parameters
        ----------
        name : str
        value : float
            NaN for none.
        """
        if np.isnan(value):
            return
        given = {other: getattr(self, other) for other in LIMITS if self.is_given(other)}
        limits = check_limits({**given, name: value})
        if name == "E_I" and np.isfinite(value):
            check_reach(limits, *self.reach)

    def current(self, name):
        """Take the limit that counts: the user's, else that found; NaN where neither is known.

        Parameters
        ----------
        name : str

        Returns
        -------
        float
        """
        return getattr(self, name) if self.is_given(name) else self.automatic.get(name, np.nan)

    def __repr__(self):
        known = {name: self.current(name) for name in LIMITS}
        told = ", ".join(f"{name} {one:.4g}" for name, one in known.items() if not np.isnan(one))
        return f"<ClusterLimits of cluster {self.number}: {told or 'none yet'}>"


class _OneForEachCluster(TraitListObject):
    """Limits of all clusters: a list, whose attributes are none of the limits."""

    def __setattr__(self, name, value):
        if name in LIMITS or meant(name, LIMITS):
            raise AttributeError(
                f"limits: expected a cluster, as in limits[0].E_I, got limits.{name}; "
                'regions = {"E_I": 1.2} sets those of all clusters.'
            )
        super().__setattr__(name, value)


class _Rows(t.List):
    """List of the limits of all clusters."""

    def validate(self, object, name, value):
        """Take a list of them."""
        return _OneForEachCluster(self, object, name, super().validate(object, name, value))


@add_gui_method(TOOLKEY)
class ZLPRemovalTool(t.HasStrictTraits):
    """Tool that removes the zero-loss peak of a signal, interactively.

    ``run`` trains, ``rematch`` applies other limits with the ensemble that was trained; both work
    beside and can be cancelled. The signal is not changed: what was found is ``result``, and
    ``line_of_code`` gives the same numbers.

    Parameters
    ----------
    signal : EELSZLPSpectrum
    result : ZLPRemoval, optional
        Of an earlier removal from the signal: to look at, and to match anew.
    **arguments
        Of :meth:`~hyperspy_zlpml.EELSZLPSpectrum.remove_zlp_ml`, to begin with.

    Raises
    ------
    TypeError
        If an argument is none of these.
    ValueError
        If the signal is none that a zero-loss peak can be removed from.

    Attributes
    ----------
    n_clusters, cluster_by, n_replicas, confidence, random_state
        As the arguments of :meth:`~hyperspy_zlpml.EELSZLPSpectrum.remove_zlp_ml`.
    auto_clusters : bool
        Whether the number of clusters is found from the data.
    vacuum : "auto", "none", "all" or "mask"
        Pixels that see vacuum: looked for, none, all, or those of ``vacuum_mask``.
    vacuum_mask : ndarray of bool of the navigation shape
    limits : list of ClusterLimits
        One for each cluster.
    result : ZLPRemoval or None
    line_of_code : str
        Gives the result, bit for bit, where ``s`` is the signal.
    is_running : bool
        Until the end of the work was seen to: by widgets, or by ``wait``.
    progress : float
        Part that is done of the pass over the data, or of the training, from 0 to 1.
    message : str
        What is being done, or how it ended.

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> from hyperspy_zlpml.signals.tools import ZLPRemovalTool
    >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
    >>> tool = ZLPRemovalTool(s, n_clusters=2, n_replicas=4, random_state=0)
    >>> tool.run()
    >>> tool.wait()
    <ZLPRemoval, dimensions: (4, 4|512), 4 replicas, 2 clusters>
    >>> print(tool.line_of_code)
    r = s.remove_zlp_ml(n_clusters=2, n_replicas=4, random_state=0)
    >>> for limits in tool.limits:
    ...     limits.E_I = 1.2
    >>> tool.rematch()
    >>> r = tool.wait()
    >>> r.report.clusters[0].E_I
    1.2
    """

    n_clusters = t.Range(1, 50, 5, label="Clusters", desc="clusters of equal thickness")
    auto_clusters = t.Bool(False, label="Find their number")
    cluster_by = t.Enum(values="proxies", label="Cluster by", desc="the proxy of thickness")
    n_replicas = t.Range(2, 10_000, 100, label="Replicas", desc="networks to train")
    confidence = t.Range(
        0.0,
        1.0,
        0.68,
        exclude_low=True,
        exclude_high=True,
        label="Confidence",
        desc="the probability inside the band",
    )
    random_state = t.Range(0, 2**63 - 1, label="Random state", desc="same state, same numbers")
    vacuum = t.Enum(values="vacuum_choices", label="Vacuum", desc="the pixels that see vacuum")
    vacuum_mask = t.Array(bool)
    limits = _Rows(t.Instance(ClusterLimits))
    limits_moved = t.Event()
    result = t.Any()
    line_of_code = t.Str(label="Line of code")
    is_running = t.Bool(False)
    progress = t.Range(0.0, 1.0, 0.0, label="Progress")
    message = t.Str("Ready.")
    proxies = t.List(t.Str)
    vacuum_choices = t.List(t.Str)
    signal = t.Any()
    #: Calls a function in the thread that may draw; widgets set it where there is one.
    call_in_main_thread = t.Any()
    #: Window that is open; widgets keep it here.
    window = t.Any()
    _job = t.Any()
    _figure = t.Any()
    #: How the ensemble is made, as code, and the ensemble.
    _trained = t.Any()
    #: Arguments of the work that is going on, and how its ensemble was made.
    _asked = t.Any(({}, ""))
    #: Arguments that no widget shows, and those given in the place of a choice.
    _others = t.Dict()
    _given = t.Dict()

    def __init__(self, signal, result=None, **arguments):
        _check_options(signal, arguments)
        super().__init__(
            signal=signal,
            _trained=("", arguments.get("ensemble")),
            _others=dict(arguments),
            proxies=sorted(PROXIES),
            vacuum_choices=list(VACUUM),
            vacuum_mask=np.zeros(signal.axes_manager._navigation_shape_in_array, bool),
        )
        self._take_options()
        self._make_rows()
        self._take_limits(self._others.pop("regions", None) or {})
        if result is not None:
            self._trained = ("ensemble = r.ensemble", result.ensemble)
            self._keep(result, {})

    @property
    def units(self):
        """Units of the energy axis, and of the limits."""
        return self.signal.axes_manager.signal_axes[0].units

    # --- what is asked for ------------------------------------------------------------------------

    def _take_options(self):
        """Take those arguments that widgets show; the others stay as they are."""
        take = self._others.pop
        settings, clusters = self._others.get("settings"), take("n_clusters", self.n_clusters)
        if settings is not None:
            clusters = settings.n_clusters
        self.auto_clusters = isinstance(clusters, str)
        if not self.auto_clusters:
            self.n_clusters = clusters
        seed = take("random_state", None)
        self.random_state = _new_seed() if seed is None else settle_random_state(seed)
        self.n_replicas = take("n_replicas", self.n_replicas)
        self.confidence = take("confidence", self.confidence)
        self._take_choice("cluster_by", take("cluster_by", "zlp"), self.proxies)
        vacuum = take("vacuum", None)
        words = [word for word, meant in _MEANING.items() if meant is vacuum]
        self._take_choice("vacuum", words[0] if words else vacuum, self.vacuum_choices)

    def _take_choice(self, name, value, choices):
        """Take a choice, or the map or signal that is given instead."""
        if not isinstance(value, str):
            self._given[name] = value
            choices.append(GIVEN)
            value = GIVEN
        setattr(self, name, value)

    def _make_rows(self, n=None):
        """Make a row of limits for each cluster, unless there are as many."""
        n = n or (0 if self.auto_clusters else self.n_clusters)
        if len(self.limits) != n:
            self.limits = [ClusterLimits(number=number) for number in range(n)]
        for row in self.limits:
            row.reach = self._reach(self.result)

    def _take_limits(self, regions):
        """Give limits to new rows, which take the place of the old where none is wrong."""
        check_limits(regions)
        rows = [ClusterLimits(**row.trait_get(_FOUND)) for row in self.limits]
        n = len(rows)
        for name, value in regions.items():
            if not n or np.size(value) not in (1, n):
                raise ValueError(
                    f"regions: expected one {name}, or one for each of {n} clusters, got {value!r}."
                    + ("" if n else " Run once to find the clusters, then give limits.")
                )
            values = np.broadcast_to(np.asarray(value, float), n)
            for row, limit in zip(rows, values.tolist(), strict=True):
                setattr(row, name, limit)
        self.limits = rows

    @property
    def arguments(self):
        """Arguments of the removal as they are asked for (dict)."""
        vacuum = self.vacuum_mask.copy() if self.vacuum == "mask" else _MEANING.get(self.vacuum)
        asked = {
            "n_clusters": "auto" if self.auto_clusters else self.n_clusters,
            "cluster_by": self.cluster_by,
            "n_replicas": self.n_replicas,
            "regions": self.regions,
            "vacuum": vacuum,
            "confidence": self.confidence,
            "random_state": self.random_state,
        }
        given = {name: value for name, value in self._given.items() if self._is_given(name)}
        others = dict(self._others)
        if others.get("settings") is not None:
            # The widget is what counts, and settings hold a number of clusters of their own.
            clusters = asked.pop("n_clusters")
            others["settings"] = replace(others["settings"], n_clusters=clusters)
        return {**asked, **given, **others}

    def _is_given(self, name):
        return getattr(self, name) == GIVEN

    @property
    def regions(self):
        """Limits as ``regions`` of ``remove_zlp_ml``: for all clusters where one has its own.

        Set like that argument, ``tool.regions = {"E_I": 1.2}``, they are given to the clusters; others are
        found from the data, all by None.

        Raises
        ------
        ValueError
            If one is given and that of another cluster is not known.
        """
        return {name: self._limits(name) for name in LIMITS if self._any_given(name)} or None

    @regions.setter
    def regions(self, regions):
        """Give limits to the clusters, these and no others."""
        self._take_limits({} if regions is None else regions)

    def _any_given(self, name):
        return any(row.is_given(name) for row in self.limits)

    def _limits(self, name):
        values = [row.current(name) for row in self.limits]
        if np.isnan(values).any():
            raise ValueError(
                f"{name}: expected a limit for every cluster, or none, got {values}; run once without "
                "to find those that are automatic."
            )
        # No limit at all is one at the end of the axis, for who gives one for each cluster.
        end = self._last_energy if name == "E_I" else np.inf
        return [end if value == np.inf else value for value in values]

    def _reach(self, result):
        """FWHM of the peak, where it is known, and the energy from it at which the axis ends."""
        axis = self.signal.axes_manager.signal_axes[0].axis
        if result is None:
            return 0.0, float(axis[-1] - axis[0])
        typical = result.removed.typical
        fwhm, centre = (one / result._factor for one in (typical.fwhm, typical.centre))
        return fwhm, float(axis[-1] - centre)

    @property
    def _last_energy(self):
        """Last energy but one, from the peak that lies furthest."""
        if self.result is None:
            return np.inf
        axis = self.signal.axes_manager.signal_axes[0].axis
        return float(axis[-2] - np.nanmax(self.result.centre.data))

    # --- the work ---------------------------------------------------------------------------------

    def run(self):
        """Begin to train and to remove with the options and limits as they are.

        Raises
        ------
        RuntimeError
            If the tool is at work already.
        ValueError
            If limits are given for some clusters, and those of the others are not known.
        """
        self._begin(self.arguments)

    def rematch(self):
        """Begin to remove with the limits as they are and the ensemble of the result, without training.

        Raises
        ------
        RuntimeError
            If the tool is at work already.
        ValueError
            If there is no ensemble yet.
        """
        made, ensemble = self._trained
        if ensemble is None:
            raise ValueError("rematch: expected a result to begin with, got none; run first.")
        asked = self.arguments
        kept = {name: value for name, value in asked.items() if name not in _OF_TRAINING}
        self._begin({**kept, "ensemble": ensemble}, made)

    def cancel(self):
        """Ask the work that is going on to end; the result stays what it was."""
        if self._job is not None:
            self.message = "Cancelling..."
            self._job.cancel()

    def wait(self, timeout=None):
        """Wait for the work to end, and take its result.

        Parameters
        ----------
        timeout : float, optional
            Longest time to wait, s.

        Returns
        -------
        ZLPRemoval or None
            That of before where the work was cancelled.

        Raises
        ------
        TimeoutError
            If it has not ended then.
        Exception
            Whatever ended it.
        """
        job = self._job
        if job is not None:
            job.result(timeout)
            self._finish(job)
            if job.error is not None and not isinstance(job.error, Cancelled):
                raise job.error
        return self.result

    def _begin(self, arguments, made=""):
        """Begin a removal beside."""
        if self._job is not None:
            raise RuntimeError("the tool is at work: wait for its end, or cancel it.")
        self.trait_set(is_running=True, progress=0.0, message="Starting...")
        work = partial(self.signal.remove_zlp_ml, **{**arguments, "show_progressbar": False})
        self._asked = arguments, made
        self._job = Job(work, tell=self._advance, done=self._ended)

    def _advance(self, title, done, total):
        """Show progress; in a thread that works."""
        part = round(min(done / max(total, 1), 1.0), 2)
        if part != self.progress or title != self.message:
            self.trait_set(message=title, progress=part)

    def _ended(self, job):
        """Have the end of the work seen to by the thread that may draw, where it is known."""
        if self.call_in_main_thread is not None:
            self.call_in_main_thread(partial(self._finish, job))

    def _finish(self, job):
        """See to the end of the work."""
        if job is not self._job:
            return  # somebody has waited for it
        self._job = None
        self.trait_set(is_running=False, progress=0.0)
        if isinstance(job.error, Cancelled):
            self.message = "Cancelled; the result is that of before."
        elif job.error is not None:
            self.message = f"{type(job.error).__name__}: {job.error}"
        else:
            self._keep_removal(job.result())
            self.message = "Done."

    def _keep_removal(self, result):
        """Keep a result with the code that gives it."""
        arguments, made = self._asked
        method = type(self.signal).remove_zlp_ml
        self.line_of_code = "\n".join(filter(None, [made, removal_code(method, arguments)]))
        if arguments.get("ensemble") is None:
            code = removal_code(method, arguments, "ensemble", ".ensemble")
            self._trained = (code, result.ensemble)
        self._keep(result, arguments.get("regions") or {})

    def _keep(self, result, given):
        """Keep a result, and the limits that it found."""
        regions = result._application.regions
        self._make_rows(regions.E_I.size)
        for row in self.limits:
            found = {
                name: float(getattr(regions, name)[row.number] / result._factor)
                for name in LIMITS
                if name not in given
            }
            row.automatic = {**row.automatic, **found}
            row.reach = self._reach(result)
        self.result = result

    @t.observe("n_clusters, auto_clusters")
    def _options_changed(self, _):
        self._make_rows()

    @t.observe("limits.items.[gain_limit, E_I, E_II]")
    def _limits_changed(self, _):
        self.limits_moved = True

    # --- the figure -------------------------------------------------------------------------------

    @property
    def figure(self):
        """Figure of the tool (matplotlib.figure.Figure), made at first access."""
        from hyperspy_zlpml.signals.tool_figure import ToolFigure

        if self._figure is None or not self._figure.is_open:
            self._figure = ToolFigure(self)
        return self._figure.figure

    def plot(self):
        """Plot a pixel of the result with limits that can be dragged; before, a map of the counts.

        A drag shows what the pixel would be; :meth:`rematch` applies the limits to all. Clicks on
        the map choose the pixel, or those of vacuum where ``vacuum`` is "mask".

        Returns
        -------
        list of matplotlib.axes.Axes
        """
        figure = self.figure
        if figure.canvas.required_interactive_framework is not None:
            figure.canvas.manager.show()
        return figure.axes

    def __repr__(self):
        return f"<ZLPRemovalTool of {self.signal!r}: {self.message}>"


class ToolMethods:
    """Methods of the result of a removal that open a window."""

    def gui(self, display=True, toolkit=None):
        """Show the result in a window, where its limits are dragged and matched anew.

        Parameters
        ----------
        display : bool
            Whether to show the widgets; otherwise they are returned in a dictionary.
        toolkit : str, sequence of str or None
            Toolkits of widgets; default all that are installed and enabled.

        Returns
        -------
        ZLPRemovalTool or dict
            The tool, whose ``result`` is this one until limits are matched anew; with
            ``display=False`` the widgets of each toolkit.
        """
        tool = ZLPRemovalTool(_signal_of(self), self, **_options_of(self))
        return shown(tool, display, toolkit)


def is_wanted(interactive, display):
    """Check the flags of a method, and tell whether it is to open a window.

    Parameters
    ----------
    interactive, display : bool

    Returns
    -------
    bool
    """
    flag(display, "display")
    return flag(interactive, "interactive")


def open_tool(signal, options, *, more, display, toolkit):
    """Open a window for a signal.

    Parameters
    ----------
    signal : EELSZLPSpectrum
    options : Options
        To begin with.
    more : dict of str to anything
        Arguments of a removal beside them.
    display : bool
    toolkit : str, sequence of str or None

    Returns
    -------
    ZLPRemovalTool or dict
    """
    known = inspect.signature(type(signal).remove_zlp_ml).parameters
    asked = {name: value for name, value in vars(options).items() if name in known}
    asked.pop("show_progressbar")
    return shown(ZLPRemovalTool(signal, **asked, **more), display, toolkit)


def shown(tool, display, toolkit):
    """Show a tool in a window.

    Parameters
    ----------
    tool : ZLPRemovalTool
    display : bool
    toolkit : str, sequence of str or None

    Returns
    -------
    ZLPRemovalTool or dict
        The tool; with ``display=False`` the widgets of each toolkit.
    """
    widgets = tool.gui(display=display, toolkit=toolkit)
    return tool if display else widgets


def _check_options(signal, options):
    """Raise an error unless a signal has a zero-loss peak to remove, and options are those of that."""
    if not hasattr(signal, "remove_zlp_ml"):
        raise ValueError(
            f"signal: expected an EELSZLPSpectrum, got {type(signal).__name__}; "
            'hs.load(..., signal_type="EELS_ZLPML") and s.set_signal_type("EELS_ZLPML") give one.'
        )
    known = set(inspect.signature(type(signal).remove_zlp_ml).parameters) - _NO_OPTIONS
    for name in options.keys() - known:
        asked = meant(name, known) or f" Expected some of {', '.join(sorted(known))}."
        raise TypeError(f"{name}: no argument of remove_zlp_ml.{asked}")


def _new_seed():
    """Draw a seed that is short enough for a widget, and for a line of code."""
    return int(np.random.SeedSequence().generate_state(1)[0])


def _signal_of(result):
    """Make a signal of the counts that a result was removed from."""
    counts = result.removed.spectra.counts
    if not result.removed.has_counts or counts.shape != result._like.data.shape:
        raise ValueError(
            "gui: expected a result with its spectra, on all channels of the axis, got one without; "
            "use s.remove_zlp_ml(ensemble=r.ensemble, interactive=True)."
        )
    return result._like._deepcopy_with_new_data(counts)


def _options_of(result):
    """Take the options of a removal from its record; maps that were given are those of the result."""
    recorded = result.removed.record["arguments"]
    named = {"n_clusters": len(result.report.clusters), "random_state": recorded["random_state"]}
    if recorded["cluster_by"] in PROXIES:
        named["cluster_by"] = recorded["cluster_by"]
    if recorded["vacuum"] is not None:
        named["vacuum"] = np.asarray(result.vacuum.data, bool)
    left_out = np.asarray(result.clusters.data) < 0
    if recorded["navigation_mask"] is not None:
        named["navigation_mask"] = left_out
    return {**named, "confidence": float(result.removed.record["confidence"])}
