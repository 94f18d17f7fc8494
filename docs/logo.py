# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the logo, in dark and in light ink: a peak, its band, and what is left of the losses beside it.

``python docs/logo.py`` writes ``docs/_static/logo.svg`` and ``docs/_static/logo_dark.svg``.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath

FOLDER = Path(__file__).parent / "_static"
#: Ink of words and axis, by the name of the file.
INKS = {"logo": "#1f2430", "logo_dark": "#e8eaf0"}
PEAK = "#d62728"
LOSSES = "#1f77b4"


def main():
    """Write both files."""
    # Names of parts of the picture would otherwise be drawn at random.
    plt.rcParams["svg.hashsalt"] = "logo"
    for name, ink in INKS.items():
        figure = draw(ink)
        figure.savefig(FOLDER / f"{name}.svg", transparent=True, metadata={"Date": None})
        plt.close(figure)


def draw(ink):
    """Draw the logo.

    Parameters
    ----------
    ink : str
        Colour of the words.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = plt.figure(figsize=(4.7, 0.9))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 4.7), ylim=(-0.1, 0.8))
    axes.axis("off")
    x = np.linspace(-0.6, 0.7, 300)
    peak = 0.62 / (1 + (x / 0.11) ** 2)
    losses = 0.3 * np.clip(x - 0.16, 0, None) ** 0.5
    axes.fill_between(x + 0.7, 0.85 * peak, 1.15 * peak, color=PEAK, alpha=0.3, lw=0)
    axes.plot(x + 0.7, peak, color=PEAK, lw=2)
    axes.fill_between(x + 0.7, 0, losses, color=LOSSES, alpha=0.85, lw=0)
    axes.plot([0.08, 1.42], [0, 0], color=ink, lw=1.2)
    words = TextPath((1.58, 0.17), "hyperspy_zlpml", size=0.36)
    axes.add_patch(PathPatch(words, color=ink, lw=0))
    return figure


if __name__ == "__main__":
    main()
