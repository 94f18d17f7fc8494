# SPDX-License-Identifier: GPL-3.0-or-later
"""Tool without any widgets: what it is asked for is what the method would do, and it can be told so."""

import time

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import assert_same_results
from hyperspy.ui_registry import TOOLKIT_REGISTRY, UI_REGISTRY
from matplotlib.backend_bases import MouseButton, MouseEvent
from traits.api import TraitError

from hyperspy_zlpml import Cancelled
from hyperspy_zlpml.data import ws2_like
from hyperspy_zlpml.signals import toolkits
from hyperspy_zlpml.signals.background import Job
from hyperspy_zlpml.signals.code import removal_code
from hyperspy_zlpml.signals.tools import TOOLKEY, ZLPRemovalTool
from hyperspy_zlpml.statistics import Range

FEW = {"n_clusters": 2, "n_replicas": 4, "random_state": 0}


@pytest.fixture(scope="module")
def signal():
    return ws2_like((4, 3), n_channels=512, offset=-2.0, random_state=2).signal


@pytest.fixture(scope="module")
def trained(signal):
    """A removal that all tools begin from. Not to be modified."""
    return signal.remove_zlp_ml(show_progressbar=False, **FEW)


@pytest.fixture
def tool(signal, trained):
    return ZLPRemovalTool(signal, trained, **FEW)


def carried_out(code, signal, **names):
    """What lines of code give."""
    names |= {"s": signal, "np": np}
    exec(code, names)
    return names["r"]


def test_unknown_options_and_signals_are_refused_at_once(signal):
    with pytest.raises(TypeError, match="n_cluster: no argument of .*mean 'n_clusters'"):
        ZLPRemovalTool(signal, n_cluster=3)
    with pytest.raises(TypeError, match="interactive: no argument"):
        ZLPRemovalTool(signal, interactive=True)
    with pytest.raises(ValueError, match="signal: expected an EELSZLPSpectrum, got ndarray"):
        ZLPRemovalTool(signal.data)


def test_misspelt_attributes_are_refused(tool):
    with pytest.raises(TraitError, match="n_replica"):
        tool.n_replica = 5
    with pytest.raises(TraitError, match="E_1"):
        tool.limits[0].E_1 = 2.0
    for name in ("E_I", "E_1"):
        with pytest.raises(AttributeError, match=rf"limits\[0\].*limits.{name}.*regions ="):
            setattr(tool.limits, name, 2.0)


def test_regions_are_set_as_the_argument_of_the_method_is(tool):
    found = [row.automatic["E_I"] for row in tool.limits]
    tool.regions = {"E_I": 1.2, "E_II": [7.0, 8.0]}
    assert tool.regions == {"E_I": [1.2, 1.2], "E_II": [7.0, 8.0]}
    assert repr(tool.limits[1]).endswith("1: gain_limit -inf, E_I 1.2, E_II 8>")
    for wrong, words in [
        ({"E_1": 2.0}, "mean 'E_I'"),
        ({"E_I": [1.0, 1.1, 1.2]}, "one for each of 2 clusters"),
        ({"E_I": 500.0}, "E_I between"),
    ]:
        with pytest.raises(ValueError, match=words):
            tool.regions = wrong
    assert tool.regions["E_I"] == [1.2, 1.2]  # nothing was taken by halves
    tool.regions = None
    assert tool.regions is None
    assert [row.current("E_I") for row in tool.limits] == found


def test_limits_before_the_clusters_are_known_are_refused(signal):
    with pytest.raises(ValueError, match="Run once to find the clusters"):
        ZLPRemovalTool(signal, n_clusters="auto", regions={"E_I": 1.0})


@pytest.mark.parametrize(
    "name, limit, words",
    [
        ("E_I", -5.0, "positive"),
        ("E_I", 500.0, "E_I between"),
        ("E_I", 1e-3, "E_I between"),
        ("E_I", 9.0, "E_I below E_II"),
        ("E_II", -1.0, "positive"),
        ("gain_limit", 0.5, "negative"),
        ("E_I", "wide", "wide"),
    ],
)
def test_impossible_limits_are_refused_when_they_are_set(tool, name, limit, words):
    row = tool.limits[1]
    if "E_II" in words:
        row.E_II = 8.0
    with pytest.raises(TraitError, match=words) as error:
        setattr(row, name, limit)
    assert isinstance(error.value, ValueError) or limit == "wide"
    assert not row.is_given(name)


@pytest.mark.parametrize("name, limit", [("E_I", np.nan), ("E_I", np.inf), ("gain_limit", -np.inf)])
def test_no_limit_is_one(tool, name, limit):
    setattr(tool.limits[0], name, limit)
    assert tool.limits[0].is_given(name) == (not np.isnan(limit))


def test_limits_beyond_the_axis_are_refused_before_there_is_a_result(signal):
    tool = ZLPRemovalTool(signal, **FEW)
    with pytest.raises(ValueError, match="E_I between 0"):
        tool.limits[0].E_I = 500.0
    with pytest.raises(ValueError, match="E_I to be positive"):
        ZLPRemovalTool(signal, regions={"E_I": -1.0}, **FEW)


# --- numbers --------------------------------------------------------------------------------------


def test_a_run_is_the_method_and_its_code_gives_the_same(signal, trained):
    tool = ZLPRemovalTool(signal, **FEW)
    tool.run()
    result = tool.wait()
    assert result is tool.result
    assert not tool.is_running
    assert_same_results(result, trained)
    assert tool.line_of_code == "r = s.remove_zlp_ml(n_clusters=2, n_replicas=4, random_state=0)"


def test_limits_are_matched_anew_without_training_and_the_code_gives_the_same(signal):
    tool = ZLPRemovalTool(signal, **FEW)
    tool.run()
    ensemble = tool.wait().ensemble
    tool.limits[1].E_I = 1.05
    tool.rematch()
    result = tool.wait()
    assert result.ensemble is ensemble
    assert result.report.clusters[1].E_I == 1.05
    assert_same_results(result, carried_out(tool.line_of_code, signal))


def test_a_mask_is_written_as_code(signal, trained, tool):
    tool.vacuum = "mask"
    tool.vacuum_mask = np.asarray(trained.vacuum.data)
    tool.rematch()
    result = tool.wait()
    assert_same_results(result, carried_out(tool.line_of_code, signal, r=trained))


def test_no_seed_means_one_that_is_written(signal):
    seeds = {ZLPRemovalTool(signal).random_state for _ in range(2)}
    assert len(seeds) == 2
    assert f"random_state={max(seeds)}" in removal_code(
        type(signal).remove_zlp_ml, ZLPRemovalTool(signal, random_state=max(seeds)).arguments
    )


def test_lazy_data_give_a_lazy_result(signal, trained):
    tool = ZLPRemovalTool(signal.as_lazy(), ensemble=trained.ensemble, **FEW)
    assert tool.plot()[0].images
    tool.run()
    result = tool.wait()
    assert result.removed.is_lazy
    assert len(tool.figure.axes) == 4
    again = result.gui if TOOLKIT_REGISTRY else None
    assert again is None or again(display=False)


def test_large_seeds_are_kept(signal):
    seed = 2**62 + 1
    assert ZLPRemovalTool(signal, random_state=seed).arguments["random_state"] == seed


def test_arguments_that_no_widget_shows_are_kept(signal):
    mask = np.zeros((3, 4), bool)
    mask[0, 0] = True
    thickness = hs.signals.BaseSignal(np.arange(12.0).reshape(3, 4)).T
    tool = ZLPRemovalTool(
        signal, navigation_mask=mask, cluster_by=thickness, vacuum=False, lazy_output=True, **FEW
    )
    assert tool.arguments["navigation_mask"] is mask
    assert tool.arguments["cluster_by"] is thickness
    assert (tool.cluster_by, tool.vacuum) == ("given", "none")
    tool.cluster_by = "total"
    assert tool.arguments["cluster_by"] == "total"
    assert tool.arguments["vacuum"] is False


# --- limits ---------------------------------------------------------------------------------------


def test_limits_that_were_found_are_shown_and_not_given(tool, trained):
    found = trained._application.regions
    assert [row.automatic["E_I"] for row in tool.limits] == found.E_I.tolist()
    assert tool.regions is None


def test_one_limit_that_is_given_takes_those_found_beside(tool, trained):
    tool.limits[0].E_I = 1.0
    assert tool.regions == {"E_I": [1.0, float(trained._application.regions.E_I[1])]}


def test_one_limit_alone_is_not_enough_before_the_first_run(signal):
    tool = ZLPRemovalTool(signal, **FEW)
    tool.limits[0].E_I = 1.0
    with pytest.raises(ValueError, match="E_I: expected a limit for every cluster"):
        tool.run()
    tool.limits[1].E_I = 1.2
    assert tool.regions == {"E_I": [1.0, 1.2]}


def test_limits_that_were_asked_for_are_there(signal):
    tool = ZLPRemovalTool(signal, regions={"E_I": [1.0, 1.2], "gain_limit": -1.5}, **FEW)
    assert tool.regions == {"gain_limit": [-1.5, -1.5], "E_I": [1.0, 1.2]}


def test_no_limit_becomes_the_end_of_the_axis_beside_others(signal, tool):
    tool.limits[0].automatic = {"E_I": np.inf, "E_II": np.inf, "gain_limit": -np.inf}
    tool.limits[1].E_I = 1.0
    tool.rematch()
    assert tool.wait().report.clusters[1].E_I == 1.0


def test_there_are_as_many_rows_as_clusters(tool):
    tool.n_clusters = 3
    assert [row.number for row in tool.limits] == [0, 1, 2]
    tool.auto_clusters = True
    assert not tool.limits
    assert tool.arguments["n_clusters"] == "auto"


def test_energies_in_the_units_of_the_axis(signal, trained):
    milli = signal.deepcopy()
    axis = milli.axes_manager.signal_axes[0]
    axis.scale, axis.offset, axis.units = axis.scale * 1e3, axis.offset * 1e3, "meV"
    tool = ZLPRemovalTool(milli, ensemble=trained.ensemble, **FEW)
    tool.run()
    tool.wait()
    assert tool.units == "meV"
    for row in tool.limits:
        row.E_I = 1100.0
    tool.run()
    assert tool.wait().report.clusters[0].E_I == pytest.approx(1.1)
    assert "ensemble=ensemble" in tool.line_of_code


# --- the work beside ------------------------------------------------------------------------------


def test_cancelled_work_leaves_the_result_of_before(signal, tool, trained):
    tool.n_replicas = 400
    tool.run()
    with pytest.raises(RuntimeError, match="at work"):
        tool.run()
    tool.cancel()
    assert tool.wait(60) is trained
    assert tool.message.startswith("Cancelled")
    assert not tool.is_running


def test_an_error_is_told(tool, monkeypatch):
    def fail(**_):
        raise ValueError("regions: expected otherwise")

    monkeypatch.setattr(tool.signal, "remove_zlp_ml", fail)
    tool.rematch()
    with pytest.raises(ValueError, match="regions: expected otherwise"):
        tool.wait()
    assert tool.message.startswith("ValueError: regions")
    assert not tool.is_running


def test_nothing_to_match_with(signal):
    with pytest.raises(ValueError, match="run first"):
        ZLPRemovalTool(signal, **FEW).rematch()


def test_progress_is_shown_and_the_loop_is_asked_to_finish(signal, trained):
    tool = ZLPRemovalTool(signal, ensemble=trained.ensemble, **FEW)
    seen, later = set(), []
    tool.observe(lambda event: seen.add(event.new), "message")
    tool.call_in_main_thread = later.append
    tool.run()
    job = tool._job
    job.result()
    for _ in range(100):
        if later:
            break
        time.sleep(0.01)
    assert tool.is_running  # until the loop gets to it
    later[0]()
    assert not tool.is_running
    assert {"Measuring peaks", "Matching the ZLP", "Done."} <= seen
    later[0]()  # a second time does nothing
    assert tool.result is not None


def test_a_job_is_waited_for_no_longer_than_asked():
    def stop(*_):
        raise Cancelled

    job = Job(lambda: time.sleep(0.3), tell=stop, done=lambda job: None)
    with pytest.raises(TimeoutError, match="timeout: the work has not ended"):
        job.result(0.01)
    job.result()


# --- figure ---------------------------------------------------------------------------------------


def mouse(figure, kind, axes, place, button=MouseButton.LEFT):
    """Let the mouse do something at a place of the data of some axes."""
    x, y = axes.transData.transform(place)
    name = {"move": "motion_notify_event"}.get(kind, f"button_{kind}_event")
    event = MouseEvent(name, figure.canvas, x, y, None if kind == "move" else button)
    figure.canvas.callbacks.process(name, event)


def drag(figure, axes, begin, end, button=MouseButton.LEFT):
    mouse(figure, "press", axes, begin, button)
    mouse(figure, "move", axes, end, button)
    mouse(figure, "release", axes, end, button)


def cluster_at(tool, place):
    return int(tool.result.clusters.data[place[::-1]])


def specimen(result):
    """Navigation indices of a pixel that is no vacuum."""
    rows, columns = np.nonzero(~np.asarray(result.vacuum.data))
    return int(columns[0]), int(rows[0])


def test_a_line_is_dragged_and_the_pixel_shows_what_it_would_be(signal, tool, trained):
    place = specimen(trained)
    axes = tool.plot()
    tool._figure._pixel.show(place)
    row = tool.limits[cluster_at(tool, place)]
    before = axes[1].get_lines()[1].get_ydata().copy()
    drag(tool.figure, axes[1], (row.current("E_I"), 10), (1.0, 10))
    assert row.E_I == pytest.approx(1.0, abs=0.03)
    others = [one for one in tool.limits if one is not row]
    assert not any(one.is_given("E_I") for one in others)
    after = axes[1].get_lines()[1].get_ydata().copy()
    assert not np.array_equal(after, before)
    # Let go of, it stays where it is; without a limit the pixel is what it was.
    mouse(tool.figure, "move", axes[1], (2.0, 10))
    assert row.E_I == pytest.approx(1.0, abs=0.03)
    row.E_I = np.nan
    np.testing.assert_array_equal(axes[1].get_lines()[1].get_ydata(), before)


def test_a_pixel_between_its_own_limits_is_what_it_was(trained):
    removed = trained.removed
    for position in range(12):
        peaks = removed.application.peaks
        own = Range(peaks.gain_limit[position], peaks.loss_limit[position])
        tried = removed.of_spectra([position], limits=own)
        found = removed.of_spectra([position])
        for name, values in found.items():
            np.testing.assert_array_equal(tried[name], values, err_msg=name)


def test_a_pixel_tried_is_as_the_image_would_be(signal, trained):
    """To within its error: the image finds out more about its peaks than one pixel does."""
    tool = ZLPRemovalTool(signal, ensemble=trained.ensemble, **FEW)
    tool.run()
    result = tool.wait()
    place = specimen(result)
    axes = tool.plot()
    tool._figure._pixel.show(place)
    for row in tool.limits:
        row.E_I = 1.1
    tried = axes[1].get_lines()[1].get_ydata().copy()
    tool.run()
    found = tool.wait().subtracted.inav[place].data
    error = tool.result.std.inav[place].data
    assert np.sqrt(np.nanmean(((tried - found) / error) ** 2)) < 0.5


def test_limits_stay_on_their_side(tool, trained):
    axes = tool.plot()
    row = tool._figure._pixel.limits
    drag(tool.figure, axes[1], (row.current("E_I"), 10), (-1.0, 10))
    fwhm = float(np.nanmedian(trained.fwhm.data))
    assert row.E_I == pytest.approx(0.55 * fwhm)
    row.automatic = {**row.automatic, "E_II": np.inf}
    axes[1].set_xlim(-50, 50)
    drag(tool.figure, axes[1], (row.E_I, 10), (49.0, 10))
    assert row.E_I == pytest.approx(0.99 * row.reach[1])


def test_a_limit_that_there_is_none_of_waits_at_the_edge(tool):
    row = tool.limits[cluster_at(tool, (1, 1))]
    row.automatic = {**row.automatic, "gain_limit": -np.inf}
    axes = tool.plot()
    tool._figure._pixel.show((1, 1))
    low, high = axes[1].get_xlim()
    drag(tool.figure, axes[1], (low + 0.015 * (high - low), 10), (-1.0, 10))
    assert row.gain_limit == pytest.approx(-1.0, abs=0.03)


def test_other_pixels_are_chosen_on_the_map(signal, tool):
    axes = tool.plot()
    mouse(tool.figure, "press", axes[2], (3, 1))
    assert tool.figure.axes[0].get_title().startswith("(3, 1)")


@pytest.mark.parametrize("with_result", [True, False])
def test_vacuum_is_chosen_on_the_map(signal, tool, with_result):
    tool = tool if with_result else ZLPRemovalTool(signal, **FEW)
    tool.vacuum = "mask"
    axes = tool.plot()[2 if with_result else 0]
    drag(tool.figure, axes, (0, 0), (2, 1))
    expected = np.zeros((3, 4), bool)
    expected[:2, :3] = True
    np.testing.assert_array_equal(tool.vacuum_mask, expected)
    drag(tool.figure, axes, (1, 1), (1, 1))
    expected[1, 1] = False
    np.testing.assert_array_equal(tool.vacuum_mask, expected)
    drag(tool.figure, axes, (0, 0), (3, 0), MouseButton.RIGHT)
    expected[0] = False
    np.testing.assert_array_equal(tool.vacuum_mask, expected)
    np.testing.assert_array_equal(tool.arguments["vacuum"], expected)


def test_the_figure_shows_the_new_result_and_is_one(signal, tool):
    tool.plot()
    tool.limits[0].E_I = tool.limits[1].E_I = 1.1
    tool.rematch()
    tool.wait()
    assert len(plt.get_fignums()) == 1
    assert tool._figure._pixel._result is tool.result
    signal.axes_manager.indices = (2, 2)
    assert tool.figure.axes[0].get_title().startswith("(2, 2)")
    signal.axes_manager.indices = (0, 0)


def test_a_closed_figure_is_made_anew(tool):
    first = tool.figure
    plt.close(first)
    tool.limits[0].E_I = 1.0
    assert tool.figure is not first


def test_a_line_and_a_single_spectrum(signal, trained):
    for part in (signal.inav[:, 1], signal.inav[3, 2]):
        part = part.deepcopy()
        tool = ZLPRemovalTool(part, ensemble=trained.ensemble, **FEW)
        tool.vacuum = "mask"
        tool.plot()
        tool.vacuum = "auto"
        tool.run()
        tool.wait()
        assert tool.plot()


# --- registration ---------------------------------------------------------------------------------


def test_three_navigation_axes(signal, trained):
    several = hs.stack([signal, signal], show_progressbar=False)
    tool = ZLPRemovalTool(several, ensemble=trained.ensemble, n_clusters=2, random_state=0)
    tool.run()
    assert tool.wait().zlp.axes_manager.navigation_shape == (4, 3, 2)
    tool.plot()
    tool.result.zlp.axes_manager.indices = (2, 1, 1)
    assert tool.figure.axes[0].get_title().startswith("(2, 1, 1)")
    tool.limits[0].E_I = 1.1
    tool.rematch()
    matched = tool.wait()
    again = carried_out(tool.line_of_code, several, ensemble=trained.ensemble)
    np.testing.assert_array_equal(again.zlp.data, matched.zlp.data)


def test_only_toolkits_that_are_installed_are_named():
    before = dict(UI_REGISTRY[TOOLKEY])
    try:
        UI_REGISTRY[TOOLKEY].clear()
        assert toolkits.register_widgets(TOOLKEY, "removal", find=lambda name: None) == []
        assert not UI_REGISTRY[TOOLKEY]
        found = toolkits.register_widgets(TOOLKEY, "removal", find=lambda name: "ipy" in name)
        assert found == ["ipywidgets"]
        assert UI_REGISTRY[TOOLKEY]["ipywidgets"]["function"] == "removal_ipywidgets"
    finally:
        UI_REGISTRY[TOOLKEY].clear()
        UI_REGISTRY[TOOLKEY].update(before)


def test_without_widgets_hyperspy_says_what_to_install(signal, trained, monkeypatch):
    monkeypatch.setattr("hyperspy.ui_registry.TOOLKIT_REGISTRY", set())
    for open_it in (lambda: signal.remove_zlp_ml(interactive=True), trained.gui):
        with pytest.raises(ImportError, match="Install hyperspy_gui_ipywidgets"):
            open_it()


@pytest.mark.parametrize("name", ["interactive", "display"])
def test_flags_are_checked(signal, name):
    with pytest.raises(ValueError, match=f"{name}: expected True or False, got 'no'"):
        signal.remove_zlp_ml(**{name: "no"})


def test_options_are_checked_before_a_window_opens(signal):
    with pytest.raises(ValueError, match="n_replicas: expected"):
        signal.remove_zlp_ml(interactive=True, n_replicas=1)


def test_a_result_without_spectra_has_no_window(trained, tmp_path):
    import hyperspy_zlpml

    trained.save(tmp_path / "r", signals=[], show_progressbar=False)
    loaded = hyperspy_zlpml.load_removal(tmp_path / "r")
    with pytest.raises(ValueError, match="gui: expected a result with its spectra"):
        loaded.gui()
