# SPDX-License-Identifier: GPL-3.0-or-later
"""Figure of an ensemble trained at several settings: what follows from each condition."""

import numpy as np

from hyperspy_zlpml.ensemble.conditions import UNITS, Conditions
from hyperspy_zlpml.statistics import interval

#: Points along each condition, and how far beyond the settings, in units of half their range.
_N_POINTS, _BEYOND = 21, 1.0
#: Reduced energies at which the flank is shown.
_FLANK = (2.0, 4.0)
_COLOUR, _FLANK_COLOURS = "tab:blue", ("tab:orange", "tab:green")


def plot_conditions(ensemble, confidence=0.68):
    """Brightness, width and flank of the peak against each condition.

    Parameters
    ----------
    ensemble : Ensemble
        With conditions; where it stands at a setting, the lines run through that setting, else
        through the middle of those trained at.
    confidence : float
        Probability inside the bands.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    conditions = ensemble.conditions
    through = np.array(ensemble.setting or conditions.middle)
    n = len(conditions.names)
    figure, axes = plt.subplots(
        3, n, figsize=(4.6 * n, 8), sharex="col", sharey="row", squeeze=False, layout="constrained"
    )
    for column, name in enumerate(conditions.names):
        values = along(conditions, column)
        lines = [_at(ensemble, _with(through, column, value)) for value in values]
        log_n0, log_fwhm, *flanks = (np.array(rows).T for rows in zip(*lines, strict=True))
        log_rate = log_n0 - np.log(_time(conditions, through, column, values))
        top, middle, bottom = axes[:, column]
        for one, samples, row in ((top, log_rate, 0), (middle, log_fwhm, 1)):
            _band(one, values, samples, confidence, _COLOUR, "ensemble")
            _measured(one, conditions, through, column, row)
        for samples, u, colour in zip(flanks, _FLANK, _FLANK_COLOURS, strict=True):
            _band(bottom, values, samples, confidence, colour, f"{u:g} FWHM")
        for one in (top, middle, bottom):
            _shade_beyond(one, conditions.settings[:, column], values)
            one.set_yscale("log")
            _plain_numbers(one.yaxis)
            if conditions.logarithmic[column]:
                one.set_xscale("log")
                _plain_numbers(one.xaxis)
        bottom.set_xlabel(_labelled(name))
        others = [
            f"{o} {v:.4g}" for o, v in zip(conditions.names, through, strict=True) if o != name
        ]
        top.set_title(", ".join(others).replace("_", " "), fontsize=9)
    per_time = f" per {UNITS[conditions.time]}" if conditions.time else ""
    for one, label in zip(
        axes[:, 0], (f"N0 (counts{per_time})", "FWHM (eV)", "ZLP / peak"), strict=True
    ):
        one.set_ylabel(label)
    axes[0, 0].legend(fontsize=8)
    axes[2, 0].legend(fontsize=8)
    figure.suptitle(f"{ensemble.n_replicas} networks, grey: beyond the settings trained at")
    return figure


def _labelled(name):
    """Words and unit of a condition."""
    units = UNITS.get(name)
    return name.replace("_", " ") + (f" ({units})" if units else "")


def _plain_numbers(axis):
    """0.4 rather than 4 x 10^-1, for ranges of less than a decade too."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def along(conditions: Conditions, column):
    """Values of one condition, from below to above those trained at."""
    values = conditions.settings[:, column]
    values = np.log(values) if conditions.logarithmic[column] else values
    margin = _BEYOND * 0.5 * np.ptp(values)
    values = np.linspace(values.min() - margin, values.max() + margin, _N_POINTS)
    return np.exp(values) if conditions.logarithmic[column] else values


def _with(setting, column, value):
    setting = setting.copy()
    setting[column] = value
    return setting


def _at(ensemble, setting):
    """Ln N0, ln FWHM and ln of the flank at some energies, of every replica."""
    there = ensemble.at(**dict(zip(ensemble.conditions.names, map(float, setting), strict=True)))
    shapes = there.log_shapes(np.array([there.seen.log_intensity_range[1]]))[:, 0]
    flanks = there.grid.interpolate_rows(shapes.T, np.array(_FLANK))
    return (*there.conditions.of_replicas(there.setting), *flanks)


def _time(conditions, through, column, values):
    """The time that counts are in proportion to, along one condition."""
    if conditions.time is None:
        return np.ones(len(values))
    number = conditions.names.index(conditions.time)
    return values if number == column else np.full(len(values), through[number])


def _band(axes, x, samples, confidence, colour, label):
    middle, lower, upper = np.exp(interval(samples, confidence))
    axes.plot(x, middle, "-", color=colour, label=label)
    axes.fill_between(x, lower, upper, color=colour, alpha=0.25, lw=0)


def _measured(axes, conditions, through, column, law):
    """What was measured, brought to the line by the law for the other conditions."""
    there = np.tile(through, (len(conditions.settings), 1))
    there[:, column] = conditions.settings[:, column]
    scaled = conditions.scaled(np.stack([conditions.settings, there]))
    here, brought = (conditions.laws[law](settings)[0] for settings in scaled)
    values = np.exp(conditions.values[:, law] - here + brought)
    axes.plot(conditions.settings[:, column], values, "k.", label="measured")


def _shade_beyond(axes, settings, values):
    for low, high in ((values[0], settings.min()), (settings.max(), values[-1])):
        axes.axvspan(low, high, color="0.9", lw=0, zorder=0)
    axes.set_xlim(values[0], values[-1])
