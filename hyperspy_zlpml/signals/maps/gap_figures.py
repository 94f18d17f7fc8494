# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw onsets of losses: the fit of a pixel, and spectra along a line with their gaps."""

import matplotlib.pyplot as plt
import numpy as np

from hyperspy_zlpml.physics.bins import binned
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.signals.maps.figure import label_of, write_title
from hyperspy_zlpml.signals.maps.pixels import at_pixel
from hyperspy_zlpml.signals.maps.words import rounded_alike, title_of

#: Colour of what is left of a spectrum.
_LEFT = "tab:blue"
#: Colour of the onset.
_ONSET = "tab:orange"
#: Colour of the gap and its interval.
_GAP = "tab:red"
#: What is fitted: what the legend calls it, and its line. The gap is what all shapes say, not the onset of this one.
_CURVES = {
    "rise": ("onset: best single shape", {"color": _ONSET, "lw": 1.8}),
    "tail": ("brought down from above", {"color": "tab:green", "ls": "--"}),
    "zlp": ("correction of the ZLP", {"color": "tab:purple", "ls": ":"}),
    "total": ("sum of what is fitted", {"color": "k", "lw": 0.8}),
}
#: Energy shown on both sides of the fitted window, as a part of it.
_BESIDE = 0.3
#: Room above and below what is shown, as a part of it.
_ROOM = 0.1
#: Spectra along a line that are drawn at most.
_MOST_SPECTRA = 24
#: Standard deviations of its noise that a spectrum is high at the least: what is noise alone looks flat.
_NOISE = 8.0
#: Distance of two spectra along a line, in their heights.
_APART = 0.6


def plot_fit(found, place, indices):
    """Plot the losses of a pixel, its onset with what is fitted along, the window and the gap.

    Parameters
    ----------
    found : BandGap
    place : int
        Number of the spectrum.
    indices : tuple of int
        Its navigation indices, for the title.

    Returns
    -------
    list of matplotlib.axes.Axes
    """
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    losses, onset = found._pooled_fit_of(place)
    axes.set_title(_title(found, place, indices), fontsize=9)
    if losses is None:
        return list(figure.axes)
    gap, factor = found._gap_of(place), found._removal._factor
    energy = losses.from_peak[0] / factor
    first, last = _shown(losses, gap)
    shown = (energy * factor > first) & (energy * factor < last)
    std = np.sqrt((losses.directions[0] ** 2).sum(0))
    left = losses.subtracted[0]
    axes.plot(energy[shown], left[shown], color=_LEFT, lw=0.5, alpha=0.6, label="losses")
    _draw_noise(axes, binned(losses, 0, first).between(first, last), factor)
    band = {"color": _LEFT, "alpha": 0.25, "lw": 0, "label": "error of the ZLP"}
    axes.fill_between(energy[shown], (left - std)[shown], (left + std)[shown], **band)
    units = found._removal._units
    for name, (words, style) in _CURVES.items():
        curve = getattr(onset, name)[shown]
        if np.isfinite(curve).any():  # a pixel without a gap has none
            axes.plot(energy[shown], curve, label=words, **style)
    _draw_gap(axes, gap, factor)
    beyond = shown & (losses.from_peak[0] > losses.loss_limit[0])
    if beyond.any():  # closer to the peak its noise would decide
        axes.set_ylim(*_scale(np.concatenate([left[beyond], onset.total[beyond], [0.0]])))
    axes.axhline(0, color="k", lw=0.6)
    axes.set(xlabel=f"Energy from the peak ({units})", ylabel="Counts, ZLP removed")
    figure.legend(loc="outside right upper", fontsize=8)
    return list(figure.axes)


def _title(found, place, indices):
    """Say what was found at a pixel, or why nothing was."""
    reason = Reason(int(np.ravel(found.reason.data)[place]))
    maps = (found.lower, found.gap.value, found.upper)
    lower, gap, upper = (float(np.ravel(one.data)[place]) for one in maps)
    units = found._removal._units
    middle, above, below = rounded_alike(gap, upper - gap, gap - lower)
    ends = f"+{above} -{below} {units} (68 %)"
    number = f"gap {middle} {ends}" if np.isfinite(gap) else "no gap"
    return at_pixel(indices, number) + (f"\n{reason.text}" if reason else "")


def _draw_noise(axes, bins, factor):
    """Draw bins as they are fitted, with their noise."""
    label = "means of bins, with their noise"
    style = {"fmt": ".", "ms": 4, "lw": 0.8, "color": _LEFT}
    axes.errorbar(
        bins.energy / factor, bins.signal, yerr=np.sqrt(bins.variance), label=label, **style
    )


def _scale(values):
    """Find limits that show values with room above and below."""
    low, high = np.nanmin(values), np.nanmax(values)
    room = _ROOM * max(high - low, 1e-9)
    return low - room, high + room


def _shown(losses, gap):
    """Choose the energies that are shown, eV: about window and gap, or where they would be."""
    if np.isfinite(gap.last):
        beside = _BESIDE * (gap.last - gap.first)
        return min(gap.first, gap.lower) - beside, gap.last + beside
    limit = losses.loss_limit[0]
    return (0.5 * limit, 2.5 * limit) if np.isfinite(limit) else (2 * losses.fwhm[0], np.inf)


def _draw_gap(axes, gap, factor):
    """Draw the gap with its interval, and the ends of the window."""
    if not np.isfinite(gap.gap):
        return
    axes.axvline(gap.gap / factor, color=_GAP, lw=1.2, label="gap, 68 %")
    axes.axvspan(gap.lower / factor, gap.upper / factor, color=_GAP, alpha=0.15, lw=0)
    for end in (gap.first, gap.last):
        axes.axvline(end / factor, color="0.5", lw=0.8, ls=":")


def plot_line(found, places, axis, name):
    """Plot spectra one above the other, each with its gap, at its place along the line.

    Parameters
    ----------
    found : BandGap
    places : ndarray of int
        Numbers of the spectra along a line.
    axis : int
        Navigation axis of the line.
    name : str
        Of the line, for the title.

    Returns
    -------
    list of matplotlib.axes.Axes
    """
    figure, axes = plt.subplots(figsize=(6, 7), layout="constrained")
    number = np.unique(np.linspace(0, places.size - 1, _MOST_SPECTRA).astype(int))
    known = np.isfinite(np.ravel(found._removal.removed.centre)[places[number]])
    for level, position in enumerate(number[known]):
        _draw_at(axes, found, places[position], level * _APART)
    along = found._removal._like.axes_manager.navigation_axes[axis]
    axes.set_yticks(
        _APART * np.arange(known.sum()), [f"{x:.4g}" for x in along.axis[number[known]]], fontsize=8
    )
    write_title(axes, ", ".join(filter(None, (title_of(found.gap.value), name))))
    axes.set(xlabel=f"Energy from the peak ({found._removal._units})", ylabel=label_of(along))
    return list(figure.axes)


def _draw_at(axes, found, place, level):
    """Draw one spectrum at a height, in units of its largest value in view or of its noise, with its gap."""
    losses, onset = found._fit_of(place)
    gap, factor = found._gap_of(place), found._removal._factor
    first, last = _shown(losses, gap)
    bins = binned(losses, 0, first).between(first, last)
    if not bins.energy.size:
        return
    height = max(np.abs(bins.signal).max(), _NOISE * np.sqrt(bins.variance.mean()))
    axes.plot(bins.energy / factor, level + bins.signal / height, color=_LEFT, lw=0.8)
    energy = losses.from_peak[0]
    shown = (energy > first) & (energy < last)
    axes.plot(energy[shown] / factor, level + onset.total[shown] / height, color=_ONSET, lw=1)
    if np.isfinite(gap.gap):
        interval = np.array([[gap.gap - gap.lower], [gap.upper - gap.gap]]) / factor
        axes.errorbar(gap.gap / factor, level, xerr=interval, fmt=".", color=_GAP, capsize=2)
