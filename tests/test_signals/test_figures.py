# SPDX-License-Identifier: GPL-3.0-or-later
"""Figure of a pixel: it follows whoever moves, keeps what the user chose, and lets go when it is gone."""

import copy
import gc
import pickle

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backend_bases import MouseButton, MouseEvent

from hyperspy_zlpml.data import ws2_like

FEW = {"n_clusters": 2, "n_replicas": 4, "random_state": 0, "show_progressbar": False}
REUSE = {"random_state": 0, "show_progressbar": False}


@pytest.fixture(scope="module")
def signal():
    return ws2_like((4, 3), n_channels=512, random_state=0).signal


@pytest.fixture(scope="module")
def ensemble(signal):
    return signal.remove_zlp_ml(**FEW).ensemble


@pytest.fixture
def own(signal):
    return signal.deepcopy()


@pytest.fixture
def result(own, ensemble):
    return own.remove_zlp_ml(ensemble=ensemble, **REUSE)


def drawn(axes):
    """Counts of the lines of the panels."""
    lines = [line for panel in axes[:2] for line in panel.get_lines() if line.get_label() == "data"]
    return np.array(lines[0].get_ydata())


def expected(result, place):
    data = result.removed.of_spectra(
        [np.ravel_multi_index(place[::-1], (3, 4))], ("subtracted", "zlp")
    )
    total = data["subtracted"][0].astype(float) + data["zlp"][0]
    return np.where(total > 0, total, np.nan)


def followers(*signals):
    return sum(
        len([one for one in signal.axes_manager.events.indices_changed.connected
             if type(getattr(one, "__self__", None)).__name__ == "Follower"])
        for signal in signals
    )  # fmt: skip


def test_nothing_is_evaluated_but_the_pixel(result):
    result.plot()
    assert not result.removed.made


def test_first_pixel_shows_something(result):
    title = result.plot()[0].get_title()
    assert "cluster" in title


def test_axes_are_returned_and_no_figure(result):
    axes = result.plot()
    assert [type(one).__name__ for one in axes] == ["Axes"] * 4
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("mover", ["signal", "subtracted", "zlp"])
def test_every_navigator_moves_the_figure(own, result, mover):
    before_the_figure = result.zlp
    axes = result.plot()
    # One that is made when the figure is there already moves it too.
    moved = {"signal": own, "subtracted": result.subtracted, "zlp": before_the_figure}[mover]
    for place in ((3, 2), (0, 1)):
        moved.axes_manager.indices = place
        np.testing.assert_array_equal(drawn(axes), expected(result, place))
        assert axes[0].get_title().startswith(f"({place[0]}, {place[1]})")


def test_a_click_on_the_map_moves_figure_and_navigators(own, result):
    axes = result.plot()
    subtracted = result.subtracted
    figure = axes[0].figure
    figure.canvas.draw()
    x, y = axes[2].transData.transform((2, 1))
    event = MouseEvent("button_press_event", figure.canvas, x, y, MouseButton.LEFT)
    figure.canvas.callbacks.process("button_press_event", event)
    assert axes[0].get_title().startswith("(2, 1)")
    assert tuple(subtracted.axes_manager.indices) == tuple(own.axes_manager.indices) == (2, 1)


def test_a_figure_begins_where_the_navigator_is(own, result):
    own.axes_manager.indices = (1, 2)
    assert result.plot()[0].get_title().startswith("(1, 2)")


def test_artists_are_moved_not_drawn_anew(own, result):
    axes = result.plot()
    before = [line for panel in axes for line in panel.get_lines() if len(line.get_xdata()) > 2]
    own.axes_manager.indices = (3, 2)
    after = [line for panel in axes for line in panel.get_lines() if len(line.get_xdata()) > 2]
    assert before == after
    assert len(axes[0].figure.axes) == 4


def test_a_zoom_is_kept_and_scales_that_were_not_chosen_follow(own, result):
    top, bottom, *_ = result.plot()
    own.axes_manager.indices = (3, 2)
    top.set_xlim(0, 3)
    scale = bottom.get_ylim()
    own.axes_manager.indices = (0, 1)
    assert top.get_xlim() == (0, 3)
    assert bottom.get_ylim() != scale


def test_pixels_left_out_say_so(own, ensemble):
    mask = np.zeros((3, 4), bool)
    mask[0, 2] = True
    result = own.remove_zlp_ml(ensemble=ensemble, navigation_mask=mask, **REUSE)
    axes = result.plot()
    own.axes_manager.indices = (2, 0)
    assert axes[0].get_title().endswith("left out")
    assert not drawn(axes).size
    own.axes_manager.indices = (3, 2)
    assert drawn(axes).size


def test_one_figure_follows_and_lets_go_when_it_is_gone(own, result):
    subtracted = result.subtracted
    for _ in range(3):
        result.plot()
    assert followers(own, subtracted) == 2
    plt.close("all")
    own.axes_manager.indices = (1, 1)
    assert followers(own, subtracted) == 0


def test_a_figure_that_nobody_holds_is_forgotten(own, result):
    result.plot()
    plt.close("all")
    gc.collect()
    assert followers(own) == 0


def test_copies_follow_nobody(own, result):
    result.plot()
    other = copy.deepcopy(result)
    assert not other._follower.is_following
    assert not pickle.loads(pickle.dumps(result._follower)).is_following
    other.plot()
    assert followers(own) == 1


def test_a_given_pixel_stays(own, result):
    axes = result.plot((1, 1))
    own.axes_manager.indices = (3, 2)
    assert axes[0].get_title().startswith("(1, 1)")
    with pytest.raises(ValueError, match="indices: expected one within each of"):
        result.plot((4, 0))


def test_a_line_and_a_single_spectrum(own, result):
    line = own.inav[:, 1].remove_zlp_ml(ensemble=result.ensemble, **REUSE)
    assert len(line.plot()) == 3
    single = own.inav[3, 2].remove_zlp_ml(ensemble=result.ensemble, **REUSE)
    axes = single.plot()
    assert len(axes) == 2
    axes[0].figure.canvas.draw()
