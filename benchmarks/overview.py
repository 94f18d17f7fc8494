# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the figure at the top of the README: an image, a spectrum before and after, a map with its error.

``make overview`` writes ``docs/_static/overview.png``; some minutes. The image is simulated, its gaps are known.
"""

import argparse
from pathlib import Path

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np

from hyperspy_zlpml.data import Material, monochromated

#: Where the README and the documentation look for it.
FIGURE = Path(__file__).resolve().parents[1] / "docs" / "_static" / "overview.png"
#: Pixels along a side of the image.
SIDE = 40
#: Counts of the highest channel in vacuum.
PEAK_COUNTS = 4e7
#: Pixel whose spectrum is shown, x and y.
PLACE = (24, 26)
#: Energies shown, eV from the peak.
SHOWN = (-0.4, 2.6)
#: Energy from which the scale of what is left is taken, eV from the peak.
SCALED_FROM = 0.6
#: Gaps that the colours span, eV.
GAPS = (1.45, 1.7)
#: Errors of gaps that the colours span, eV.
ERRORS = (0.0, 0.05)


def main():
    """Remove the peak of a simulated image, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=FIGURE)
    parser.add_argument("--side", type=int, default=SIDE, help="pixels along a side")
    options = parser.parse_args()
    hs.preferences.General.show_progressbar = False
    material = Material(band_gap=1.6, onset_exponent=0.5, excitons=())
    sample = monochromated(
        (options.side, options.side), peak_counts=PEAK_COUNTS, material=material, random_state=0
    )
    result = sample.signal.remove_zlp_ml(random_state=0)
    gap = result.band_gap(pool=3)
    figure = draw(sample.signal, result, gap)
    figure.savefig(options.output, dpi=110)
    known = np.isfinite(gap.gap.value.data) & (sample.thickness.data > 0.1)
    off = np.abs(gap.gap.value.data - sample.band_gap.data)[known]
    print(
        f"{options.output}: gap of {known.sum()} pixels, {1e3 * np.sqrt((off**2).mean()):.0f} meV off (rms), "
        f"{100 * (off < gap.gap.error[known]).mean():.0f} % within one standard deviation"
    )


def draw(signal, result, gap):
    """Draw all panels.

    Parameters
    ----------
    signal : EELSZLPSpectrum
    result : ZLPRemoval
    gap : BandGap

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = plt.figure(figsize=(12, 4.4), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=(1.15, 1.6, 0.75))
    draw_image(figure.add_subplot(grid[:, 0]), signal)
    top, bottom = (figure.add_subplot(grid[row, 1]) for row in (0, 1))
    draw_spectrum(top, bottom, signal, result)
    maps = ((gap.gap.value.data, GAPS, "Band gap (eV)"), (gap.gap.error, ERRORS, "Its error (eV)"))
    for row, (values, limits, title) in enumerate(maps):
        axes = figure.add_subplot(grid[row, 2])
        picture = axes.imshow(values, vmin=limits[0], vmax=limits[1])
        figure.colorbar(picture, ax=axes)
        axes.set(title=title, xticks=[], yticks=[])
        axes.set_facecolor("0.85")
    return figure


def draw_image(axes, signal):
    """Draw all counts of the pixels, and mark the one whose spectrum is shown.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    signal : EELSZLPSpectrum
    """
    axes.imshow(signal.data.sum(-1), cmap="gray")
    axes.plot(*PLACE, "s", mfc="none", mec="tab:red", mew=2, ms=9)
    axes.set(title="A spectrum image", xticks=[], yticks=[])


def draw_spectrum(top, bottom, signal, result):
    """Draw one spectrum before, with its zero-loss peak, and after, with the band of the model.

    Parameters
    ----------
    top, bottom : matplotlib.axes.Axes
    signal : EELSZLPSpectrum
    result : ZLPRemoval
    """
    at = PLACE[::-1]
    energy = signal.axes_manager.signal_axes[0].axis - result.centre.data[at]
    data, zlp, left = (one.data[at] for one in (signal, result.zlp, result.subtracted))
    lower, upper = result.lower.data[at], result.upper.data[at]
    top.semilogy(energy, data, color="0.35", lw=0.8, label="data")
    top.semilogy(energy, zlp, color="tab:red", lw=1.2, label="zero-loss peak, 68 % band")
    top.fill_between(energy, data - upper, data - lower, color="tab:red", alpha=0.3, lw=0)
    scaled = left[(energy > SCALED_FROM) & (energy < SHOWN[1])]
    bottom.axhline(0, color="k", lw=0.6)
    bottom.plot(energy, left, color="tab:blue", lw=0.8, label="what is left, 68 % band")
    bottom.fill_between(energy, lower, upper, color="tab:red", alpha=0.4, lw=0, zorder=3)
    top.set(
        xlim=SHOWN, ylim=(zlp[energy < SHOWN[1]][-1] / 3, 3 * data.max()), title="One pixel, before"
    )
    top.set_ylabel("Counts")
    bottom.set(xlim=SHOWN, ylim=(-0.25 * scaled.max(), 1.2 * scaled.max()), title="and after")
    bottom.set(xlabel="Energy from the peak (eV)", ylabel="Counts")
    for axes in (top, bottom):
        axes.legend(loc="best", fontsize=8)


if __name__ == "__main__":
    main()
