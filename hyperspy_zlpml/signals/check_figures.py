# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the checks of a removal: errors found against errors claimed, and the signal against ``E_I``."""

import matplotlib.pyplot as plt
import numpy as np

#: Colour of what was found, and of what is claimed.
_FOUND = "tab:blue"
_CLAIMED = "tab:red"
#: Fraction of spectra within one standard deviation.
_EXPECTED = 0.68
#: Points that are drawn at most.
_MOST_POINTS = 120
#: Part of the claims that decides the scale.
_SCALED_BY = 0.95


def plot_checks(checks, factor, units):
    """Plot errors that pure zero-loss peaks share over those claimed, one column for each check.

    Above, the mean of what is left with its counting noise over the band that is claimed for a
    spectrum; below, the fraction of spectra that one standard deviation holds.

    Parameters
    ----------
    checks : dict of str to SharedErrors
        Under their titles.
    factor : float
        eV per unit of the axis.
    units : str

    Returns
    -------
    list of matplotlib.axes.Axes
    """
    figure, axes = plt.subplots(
        2,
        len(checks),
        figsize=(1 + 5 * len(checks), 5.5),
        sharex="col",
        squeeze=False,
        height_ratios=(2, 1),
        layout="constrained",
    )
    for (top, bottom), (title, errors) in zip(axes.T, checks.items(), strict=True):
        distance, residual, noise, claimed, inside = _binned(errors)
        energy = distance / factor
        _draw_residual(top, energy, residual=residual, noise=noise, claimed=claimed)
        bottom.plot(energy, inside, ".-", color=_FOUND, lw=0.8)
        bottom.axhline(_EXPECTED, color=_CLAIMED, lw=0.8)
        bottom.set(ylim=(0, 1.05), xlabel=f"Energy from the peak ({units})")
        top.set_title(title)
    axes[0, 0].set_ylabel("Left of the ZLP (%)")
    axes[1, 0].set_ylabel("Within 1 std")
    axes[0, 0].legend(loc="best", fontsize=8)
    return figure.axes


def _binned(errors):
    """Average channels until they can be told apart in a figure."""
    n = max(errors.distance.size // _MOST_POINTS, 1)
    starts = np.arange(0, errors.distance.size, n)
    counts = np.diff(np.append(starts, errors.distance.size))
    columns = (errors.distance, errors.residual, errors.noise**2, errors.claimed, errors.inside)
    means = [np.add.reduceat(column, starts) / counts for column in columns]
    means[2] = np.sqrt(means[2] / counts)
    return means


def _draw_residual(axes, energy, *, residual, noise, claimed):
    """Draw a mean residual with its noise over the band that is claimed, in per cent."""
    band = 100 * claimed
    axes.fill_between(
        energy, -band, band, color=_CLAIMED, alpha=0.25, lw=0, label="claimed (1 std)"
    )
    axes.errorbar(
        energy,
        100 * residual,
        yerr=100 * noise,
        fmt=".",
        ms=3,
        lw=0.6,
        color=_FOUND,
        label="mean of the spectra",
    )
    axes.axhline(0, color="k", lw=0.6)
    shown = 3 * np.quantile(band, _SCALED_BY)
    largest = 1.2 * np.quantile(np.abs(100 * residual), _SCALED_BY)
    axes.set_ylim(-max(shown, largest), max(shown, largest))


def plot_regions(scan, factor, units, window=None):
    """Plot the signal above ``E_I`` of each cluster against the limit of matching.

    Lines are thick where the signal is level.

    Parameters
    ----------
    scan : RegionScan
    factor : float
        eV per unit of the axis.
    units : str
    window : Range, optional
        Energies integrated over, in the units of the axis, where they are the same for all.

    Returns
    -------
    list of matplotlib.axes.Axes
    """
    figure, axes = plt.subplots(figsize=(9, 4.8), layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(scan.clusters)))
    here = np.abs(scan.factors - 1).argmin()
    for number, (name, colour) in enumerate(zip(scan.clusters, colours, strict=True)):
        limits = scan.factors * scan.E_I[number] / factor
        integral = scan.integral[number]
        error = scan.error[number]
        up_to = scan.level_up_to[number] / factor
        label = f"cluster {name}: level up to {up_to:.4g} {units}"
        axes.plot(limits, integral, "-", color=colour, lw=1, label=label)
        axes.fill_between(limits, integral - error, integral + error, color=colour, alpha=0.2, lw=0)
        level = limits <= up_to * (1 + 1e-9)
        axes.plot(limits[level], integral[level], "-", color=colour, lw=3)
        axes.plot(limits[here], integral[here], "o", color=colour, mec="k")
    axes.axhline(0, color="k", lw=0.6)
    where = "2 FWHM above E_I" if window is None else f"{window.low:g} to {window.high:g} {units}"
    axes.set(
        xlabel=f"Limit of matching, from the peak ({units}); circle: E_I",
        ylabel=f"Subtracted signal, {where} (ZLP there = 1)",
        title="Does the result depend on E_I?",
    )
    figure.legend(loc="outside right upper", fontsize=8)
    return figure.axes
