# SPDX-License-Identifier: GPL-3.0-or-later
"""Figure of an ensemble trained at several settings: brightness, width and flank of the peak."""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.ensemble.conditions import LAWS, UNITS, Conditions
from hyperspy_zlpml.statistics import interval

#: Points along each condition.
_N_POINTS = 21
#: Length of the axis beyond the settings trained at, in units of half their range.
_BEYOND = 1.0
#: Reduced energies at which the flank is shown.
_FLANK = (2.0, 4.0)
#: Colour of brightness and width.
_COLOUR = "tab:blue"
#: Colours of the flank, one for each reduced energy.
_FLANK_COLOURS = ("tab:orange", "tab:green")


def plot_conditions(ensemble, confidence=0.68):
    """Plot brightness, width and flank of the peak against each condition.

    Parameters
    ----------
    ensemble : Ensemble
        With conditions; where it stands at a setting, the lines run through that setting, else
        through the middle of those trained at.
    confidence : float
        Probability inside the bands.

    Returns
    -------
    list of matplotlib.axes.Axes
        With three rows, and a column for each condition.
    """
    import matplotlib.pyplot as plt

    conditions = ensemble.conditions
    through = np.array(ensemble.setting or conditions.middle)
    n = len(conditions.names)
    figure, axes = plt.subplots(
        3, n, figsize=(4.6 * n, 8), sharex="col", sharey="row", squeeze=False, layout="constrained"
    )
    for column in range(n):
        _plot_line(axes[:, column], _predict_line(ensemble, through, column), confidence)
    _label_rows(axes[:, 0], conditions.time)
    axes[0, 0].legend(fontsize=8)
    axes[2, 0].legend(fontsize=8)
    figure.suptitle(f"{ensemble.n_replicas} networks, grey: beyond the settings trained at")
    return figure.axes


def along(conditions: Conditions, column):
    """Choose values of one condition, from below to above those trained at.

    Parameters
    ----------
    conditions : Conditions
    column : int
        Number of the condition.

    Returns
    -------
    ndarray of shape (n_points,)
        In equal steps, or equal ratios where the condition counts by its logarithm.

    Examples
    --------
    Twice the range on the logarithmic scale, half of it trained at:

    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from hyperspy_zlpml.ensemble.figure import along
    >>> settings = np.array([[0.1], [0.2], [0.4]])
    >>> values = along(SimpleNamespace(settings=settings, logarithmic=(True,)), column=0)
    >>> values[[0, -1]].round(3)
    array([0.05, 0.8 ])
    """
    values = conditions.settings[:, column]
    values = np.log(values) if conditions.logarithmic[column] else values
    margin = _BEYOND * 0.5 * np.ptp(values)
    values = np.linspace(values.min() - margin, values.max() + margin, _N_POINTS)
    return np.exp(values) if conditions.logarithmic[column] else values


# --- predictions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    """Predictions of every replica along one condition, at fixed values of the others.

    Attributes
    ----------
    conditions : Conditions
    through : ndarray of shape (n_conditions,)
        Setting that the line runs through.
    column : int
        Number of the condition.
    values : ndarray of shape (n_points,)
        Values of the condition.
    log_rate, log_fwhm : ndarray of shape (n_replicas, n_points)
        ln of N0, per time where there is one, and of FWHM / eV.
    flanks : tuple of ndarray of shape (n_replicas, n_points)
        ln of the ZLP over its peak at some reduced energies.
    """

    conditions: Conditions
    through: np.ndarray
    column: int
    values: np.ndarray
    log_rate: np.ndarray
    log_fwhm: np.ndarray
    flanks: tuple[np.ndarray, ...]

    @property
    def measured_at(self):
        """Values of the condition trained at, shape (n_settings,)."""
        return self.conditions.settings[:, self.column]

    @property
    def is_logarithmic(self):
        """Whether the condition counts by its logarithm."""
        return self.conditions.logarithmic[self.column]


def _predict_line(ensemble, through, column):
    """Predict the peaks of all replicas along one condition."""
    conditions = ensemble.conditions
    values = along(conditions, column)
    points = [_predict_at(ensemble, _with(through, column, value)) for value in values]
    log_n0, log_fwhm, *flanks = (np.array(rows).T for rows in zip(*points, strict=True))
    return _Line(
        conditions=conditions,
        through=through,
        column=column,
        values=values,
        log_rate=log_n0 - np.log(_time(conditions, through, column, values)),
        log_fwhm=log_fwhm,
        flanks=tuple(flanks),
    )


def _predict_at(ensemble, setting):
    """Predict ln N0, ln FWHM and ln of the flank at some energies, for every replica."""
    there = ensemble.at(**dict(zip(ensemble.conditions.names, map(float, setting), strict=True)))
    shapes = there.log_shapes(np.array([there.seen.log_intensity_range.high]))[:, 0]
    flanks = there.grid.interpolate_rows(shapes.T, np.array(_FLANK))
    return (*there.conditions.of_replicas(there.setting), *flanks)


def _with(setting, column, value):
    """Replace the value of one condition."""
    setting = setting.copy()
    setting[column] = value
    return setting


def _time(conditions, through, column, values):
    """Look up the time that counts are in proportion to, along one condition."""
    if conditions.time is None:
        return np.ones(len(values))
    number = conditions.names.index(conditions.time)
    return values if number == column else np.full(len(values), through[number])


def _measured(line, law):
    """Bring the measured values to the line, by the law for the other conditions."""
    conditions = line.conditions
    there = np.tile(line.through, (len(conditions.settings), 1))
    there[:, line.column] = line.measured_at
    scaled = conditions.scaled(np.stack([conditions.settings, there]))
    here, brought = (conditions.laws[law](settings)[0] for settings in scaled)
    return np.exp(conditions.values[:, law] - here + brought)


# --- drawing --------------------------------------------------------------------------------------


def _plot_line(axes, line, confidence):
    """Plot brightness, width and flank along one condition into a column of three axes."""
    top, middle, bottom = axes
    for one, samples, law in (
        (top, line.log_rate, "log_rate"),
        (middle, line.log_fwhm, "log_fwhm"),
    ):
        _plot_band(one, line.values, interval(samples, confidence), colour=_COLOUR)
        one.plot(line.measured_at, _measured(line, LAWS.index(law)), "k.", label="measured")
    for samples, u, colour in zip(line.flanks, _FLANK, _FLANK_COLOURS, strict=True):
        band = interval(samples, confidence)
        _plot_band(bottom, line.values, band, colour=colour, label=f"{u:g} FWHM")
    for one in axes:
        _shade_beyond(one, line)
        _scale_axes(one, line)
    bottom.set_xlabel(_describe_condition(line.conditions.names[line.column]))
    top.set_title(_describe_others(line), fontsize=9)


def _plot_band(axes, x, band, *, colour, label="ensemble"):
    """Plot the median of logarithms as a line, and their interval as a band."""
    middle, lower, upper = np.exp(band)
    axes.plot(x, middle, "-", color=colour, label=label)
    axes.fill_between(x, lower, upper, color=colour, alpha=0.25, lw=0)


def _shade_beyond(axes, line):
    """Shade the axis in grey beyond the settings trained at."""
    measured, first, last = line.measured_at, line.values[0], line.values[-1]
    for low, high in ((first, measured.min()), (measured.max(), last)):
        axes.axvspan(low, high, color="0.9", lw=0, zorder=0)
    axes.set_xlim(first, last)


def _scale_axes(axes, line):
    """Make the ordinate logarithmic, and the abscissa where the condition is."""
    axes.set_yscale("log")
    _write_plain_numbers(axes.yaxis)
    if line.is_logarithmic:
        axes.set_xscale("log")
        _write_plain_numbers(axes.xaxis)


def _write_plain_numbers(axis):
    """Write 0.4 rather than 4 x 10^-1, for ranges of less than a decade too."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _label_rows(axes, time):
    """Label the ordinates of the first column."""
    per_time = f" per {UNITS[time]}" if time else ""
    labels = (f"N0 (counts{per_time})", "FWHM (eV)", "ZLP / peak")
    for one, label in zip(axes, labels, strict=True):
        one.set_ylabel(label)


def _describe_condition(name):
    """Spell out the name of a condition, with its unit."""
    words = name.replace("_", " ")
    return f"{words} ({UNITS[name]})" if name in UNITS else words


def _describe_others(line):
    """Say at which values of the other conditions a line runs."""
    values = zip(line.conditions.names, line.through, strict=True)
    own = line.conditions.names[line.column]
    return ", ".join(f"{name} {value:.4g}" for name, value in values if name != own).replace(
        "_", " "
    )
