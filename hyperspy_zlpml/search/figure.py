# SPDX-License-Identifier: GPL-3.0-or-later
"""Figure of a search: the front of score against work, and which settings the score depends on."""

import numpy as np

from hyperspy_zlpml.training.settings import TrainingSettings

#: Ticks of every decade of the work.
_TICKS = (1.0, 2.0, 5.0)
#: Scores lower than the best by more than this many times the median are drawn at the edge.
_FAR = 4.0


def draw(found):
    """Draw the result of a search.

    Parameters
    ----------
    found : SettingsSearch

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_front(left, found)
    if found.importance:
        _draw_importance(right, found.importance)
    else:
        right.set_axis_off()
        words = "importance of settings:\ntoo few evaluations to tell"
        right.text(0.5, 0.5, words, ha="center", transform=right.transAxes)
    return figure


def _draw_front(axes, found):
    """Draw every set of settings, those that nothing beats joined by a line."""
    from matplotlib.ticker import LogLocator, NullFormatter

    trained = [one for one in found.history if not one.note]
    score = np.array([one.score for one in trained])
    lowest = score.max() - _FAR * max(score.max() - np.median(score), 1e-3)
    work = np.array([one.work for one in trained])
    axes.plot(work, np.maximum(score, lowest), ".", color="0.6", label="settings")
    front = found.front
    axes.plot(
        [one.work for one in front],
        np.maximum([one.score for one in front], lowest),
        "o-",
        color="C0",
        drawstyle="steps-post",
        label="front",
    )
    _mark(axes, trained, TrainingSettings(), color="C1", marker="s", label="defaults")
    _mark(axes, trained, found.best, color="C3", marker="*", label="best when trained again")
    axes.set(
        xscale="log",
        xlabel="work of the training / 10$^9$ multiply-adds",
        ylabel="log score / nats per window",
        title="Score against work",
    )
    axes.xaxis.set_major_locator(LogLocator(subs=_TICKS))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize="small")


def _mark(axes, trained, settings, **style):
    """Mark the first evaluation of some settings, if there is one."""
    of_them = [one for one in trained if one.settings == settings]
    for one in of_them[:1]:
        axes.plot(one.work, one.score, linestyle="", markersize=10, **style)


def _draw_importance(axes, importance):
    """Draw which settings the score depends on."""
    names = list(importance)[::-1]
    axes.barh(names, [importance[name] for name in names], color="C0")
    axes.set(xlabel="share of the variance of the score", title="Importance")
