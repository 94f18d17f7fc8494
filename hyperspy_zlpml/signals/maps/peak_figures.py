# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw fits of peaks: what is left of a pixel, and all that is fitted to it."""

import matplotlib.pyplot as plt
import numpy as np

from hyperspy_zlpml.physics.peak_curves import curves_of
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.signals.maps.pixels import at_pixel
from hyperspy_zlpml.signals.maps.words import rounded_alike

#: Colour of what is left of a spectrum.
_LEFT = "tab:blue"
#: Colour of the peak, and of those fitted along.
_PEAK, _OTHERS = "tab:orange", "tab:brown"
#: Colour of the position and its error.
_POSITION = "tab:red"
#: What is fitted along with the peaks: what the legend calls it, and its line.
_ALONG = {
    "background": ("background", {"color": "tab:green", "ls": "--"}),
    "zlp": ("correction of the ZLP", {"color": "tab:purple", "ls": ":"}),
    "total": ("sum of what is fitted", {"color": "k", "lw": 0.8}),
}
#: Part of the losses below which what is fitted along is not drawn.
_SHOWN = 0.005
#: Name of the position of a plasmon, whose maximum lies lower.
_NAMES = {"drude": "Ep"}
#: Heights of what is fitted and of what is left of it.
_HEIGHTS = (3, 1)


def plot_fit(fit, losses, indices):
    """Plot what is left of a pixel with the peaks and all that is fitted along, and the residual.

    Parameters
    ----------
    fit : PeakFit
    losses : Losses or None
        Of the pixel, as the peaks were fitted to it; None where it has no zero-loss peak.
    indices : tuple of int
        Its navigation indices, for the title.

    Returns
    -------
    list of matplotlib.axes.Axes
    """
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(8.5, 5), height_ratios=_HEIGHTS, layout="constrained"
    )
    title, together = _title(fit, indices), fit._together
    if losses is not None:
        curves = curves_of(losses, together.peaks, fit._around.weight)
        if curves.energy.size:
            title += _tried(fit, curves, indices)
            _draw_fit(above, fit, curves)
            _draw_residual(below, curves, fit._around.factor)
            _draw_position(above, fit, indices)
            figure.legend(loc="outside right upper", fontsize=8)
    above.set_title(title, fontsize=9)
    above.set_ylabel(_label_of(together))
    side = "gained" if together.is_gain else "from the peak"
    below.set(xlabel=f"Energy {side} ({fit._units})", ylabel="Residual / noise")
    return list(figure.axes)


def _label_of(together):
    """Name what the peaks were fitted to."""
    is_single = together.is_single and any(peak.background is None for peak in together.peaks)
    return "Counts, single scattering" if is_single else "Counts, ZLP removed"


def _at(signal, indices):
    """Take a number of a map at navigation indices."""
    values = np.asarray(signal.data)
    return values[indices[::-1]] if indices else values.ravel()[0]


def _title(fit, indices):
    """Say what was found at a pixel, or why nothing was."""
    position, std, systematic = (
        float(_at(getattr(fit.position, kind), indices)) for kind in ("value", "std", "systematic")
    )
    significance = float(_at(fit.significance, indices))
    reason = Reason(int(_at(fit.reason, indices)))
    kind = type(fit.peak).__name__.lower()
    number = f"no {kind} near {fit.peak.energy:g}"
    if np.isfinite(position):
        found, error = rounded_alike(position, np.hypot(std, systematic))
        number = f"{kind}{_symbol(fit.peak, ' ')} {found} +- {error}"
    told = f", {significance:.2g} sigma" if np.isfinite(significance) else ""
    words = at_pixel(indices, f"{number} {fit._units}{told}")
    return words + (f"\n{reason.text}" if reason else "")


def _tried(fit, curves, indices):
    """Say what was tried at a pixel without a number."""
    together = fit._together
    if np.isfinite(_at(fit.position.value, indices)):
        return ""
    position, width = (
        one[together.number] / fit._around.factor for one in (curves.position, curves.width)
    )
    name = _symbol(fit.peak) or "position"
    return f"\n{name} {position:.4g}, width {width:.3g} {fit._units} are drawn"


def _symbol(peak, before=""):
    """Name the position of a peak where it is not its maximum."""
    return before + _NAMES[peak.shape] if peak.shape in _NAMES else ""


def _draw_fit(axes, fit, curves):
    """Draw the losses with their errors, the peaks upon the background, and what is fitted along."""
    together = fit._together
    energy = curves.energy / fit._around.factor
    line = {"color": _LEFT, "fmt": ".", "ms": 3, "lw": 0.6, "label": "losses"}
    axes.errorbar(energy, curves.losses, yerr=curves.noise, **line)
    ends = (curves.losses + sign * curves.zlp_error for sign in (-1, 1))
    axes.fill_between(energy, *ends, color=_LEFT, alpha=0.2, lw=0, label="error of the ZLP")
    for k, peak in enumerate(curves.peaks):
        is_own = k == together.number
        style = {"color": _PEAK if is_own else _OTHERS, "lw": 1.8 if is_own else 1.0}
        name = f"{together.peaks[k].energy / fit._around.factor:.4g} {fit._units}"
        axes.plot(energy, curves.background + peak, label=f"peak looked for at {name}", **style)
    for name, (words, style) in _ALONG.items():
        values = getattr(curves, name)
        if np.abs(values).max() > _SHOWN * np.abs(curves.losses).max():
            axes.plot(energy, values, label=words, **style)
    low, high = np.nanmin(curves.losses), np.nanmax(curves.losses)
    height = max(high - low, np.finfo(float).tiny)
    room = 0.1 * height
    # Peaks that cancel each other may stand on a background far below all losses.
    below = max(min(low, np.min(curves.background)), low - height)
    axes.set_ylim(below - room, high + room)


def _draw_position(axes, fit, indices):
    """Draw the position with its error."""
    position, error = (
        float(one)
        for one in (
            _at(fit.position.value, indices),
            np.hypot(_at(fit.position.std, indices), _at(fit.position.systematic, indices)),
        )
    )
    if np.isfinite(position):
        axes.axvline(
            position, color=_POSITION, lw=1.2, label=f"{_symbol(fit.peak) or 'position'}, 68 %"
        )
        axes.axvspan(position - error, position + error, color=_POSITION, alpha=0.15, lw=0)


def _draw_residual(axes, curves, factor):
    """Draw what is left when all that is fitted is taken off, in units of the noise."""
    residual = (curves.losses - curves.total) / curves.noise
    axes.plot(curves.energy / factor, residual, ".", ms=3, color=_LEFT)
    axes.axhline(0, color="k", lw=0.6)
