# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps beside their errors, whatever the number of navigation axes; and what is said of them."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hyperspy.signals import BaseSignal, Signal1D

from hyperspy_zlpml.physics import Reason
from hyperspy_zlpml.physics.reasons import legend
from hyperspy_zlpml.signals.maps import files
from hyperspy_zlpml.signals.maps.figure import plot_maps
from hyperspy_zlpml.signals.maps.native import Measured
from hyperspy_zlpml.signals.maps.results import MapResult
from hyperspy_zlpml.signals.wrapping import Slicer


@dataclass(frozen=True, repr=False, eq=False)
class Thickness(MapResult):
    """A result of one quantity."""

    _first: ClassVar[str] = "gap"
    _plotted: ClassVar[tuple[str, ...]] = ("gap",)
    gap: Measured
    reason: BaseSignal


def map_of(values):
    values = np.asarray(values)
    signal = BaseSignal(values if values.ndim else values[None]).transpose(signal_axes=[])
    signal.metadata.set_item("Signal.quantity", "Energy (eV)")
    return signal if values.ndim else signal.inav[0]


def measured(shape=(3, 4), value=2.0, std=0.1):
    return Measured(*(map_of(np.full(shape, one)) for one in (value, std, 0.0)))


def reasons(shape=(3, 4), **places):
    codes = np.zeros(shape, np.int16)
    for name, place in places.items():
        codes[place] = Reason[name]
    found = map_of(codes)
    found.metadata.set_item("ZLP_ML.checks", "no check was made")
    found.metadata.set_item("ZLP_ML.legend", legend({Reason.MISFIT: "no onset fits"}))
    return found


def test_an_image_has_its_relative_error_beside():
    gap = measured()
    gap.value.data[0, 0] = np.nan
    axes = plot_maps({"gap": gap})
    values, errors = (one.images[0].get_array() for one in axes[:2])
    assert values.mask[0, 0]
    assert errors.mask[0, 0]
    np.testing.assert_allclose(errors.compressed(), 5.0)


def test_every_map_has_a_row():
    axes = plot_maps({"gap": measured(), "other": measured()})
    assert len([one for one in axes if one.images]) == 4


@pytest.mark.parametrize("shape", [(5,), ()])
def test_a_line_and_a_single_number_have_error_bars(shape):
    axes = plot_maps({"gap": measured(shape)})
    assert len(axes) == 1
    assert axes[0].containers[0].has_yerr
    assert axes[0].get_ylabel() == "Energy (eV)"


def test_a_map_without_numbers_is_grey_and_says_so():
    """A colour bar would show a scale of nothing."""
    axes = plot_maps({"gap": measured(value=np.nan)})
    assert axes[0].images[0].get_array().mask.all()
    assert [[text.get_text() for text in one.texts] for one in axes] == [["no number"]] * 2


@pytest.mark.parametrize("shape", [(3, 4), (5,)])
def test_maps_without_numbers_say_why(shape):
    codes = np.full(shape, Reason.NOT_SIGNIFICANT)
    codes.flat[0] = Reason.MISFIT
    found = reasons(shape)
    found.data = codes
    (said,) = plot_maps({"gap": measured(shape, np.nan)}, found)[0].texts
    assert said.get_text().replace("\n", " ") == f"no number: {Reason.NOT_SIGNIFICANT.text}"


@pytest.mark.parametrize("how", [{"cmap": "no such"}, {"nothing": 1}, {"title": 3}, {"ax": "here"}])
def test_what_is_refused_leaves_no_figure(how):
    other, spectra = plt.figure(), Signal1D(np.ones((3, 8)))
    for one in (measured(), Measured(spectra, spectra, spectra)):
        with pytest.raises((ValueError, TypeError, AttributeError)):
            one.plot(**how)
    assert plt.get_fignums() == [other.number]


def test_a_single_number_has_no_place():
    for value, said, ticks in ((2.0, [], True), (np.nan, ["no number"], False)):
        (axes,) = plot_maps({"gap": measured((), value)})
        assert not axes.get_xlabel()
        assert not len(axes.get_xticks())
        assert bool(len(axes.get_yticks())) == ticks
        assert [text.get_text() for text in axes.texts] == said


def test_few_pixels_are_named_each():
    axes = plot_maps({"gap": measured((1, 9))})[0]
    assert list(axes.get_yticks()) == [0.0]
    assert len(axes.get_xticks()) > 1


# --- keywords ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plot", [Measured.plot, lambda gap, **how: Thickness(gap, reasons()).plot(**how)]
)
def test_maps_take_the_keywords_of_matplotlib(plot):
    axes = plot(measured(), cmap="magma", vmin=1.0, vmax=3.0, title="of mine")
    value, error = (one.images[0] for one in axes[:2])
    assert (value.cmap.name, value.get_clim()) == ("magma", (1.0, 3.0))
    assert error.cmap.name == "viridis"
    assert [one.get_title() for one in axes[:2]] == ["of mine", "Error (%)"]
    assert tuple(value.cmap.get_bad()) == tuple(error.cmap.get_bad())


def test_a_norm_stands_for_the_limits():
    axes = measured().plot(norm="log")
    assert type(axes[0].images[0].norm).__name__ == "LogNorm"


def test_maps_are_drawn_where_the_user_wants_them():
    figure, places = plt.subplots(1, 4)
    gap = measured()
    assert gap.plot(ax=places[0]) == [places[0]]
    assert Thickness(gap, reasons(RETARDED=0)).plot(ax=places[1:3]) == list(places[1:3])
    assert [len(one.images) for one in places] == [1, 1, 1, 0]
    assert places[1].collections
    assert not figure.legends
    assert measured((5,)).plot(ax=places[3], color="k") == [places[3]]
    assert places[3].lines[0].get_color() == "k"


@pytest.mark.parametrize("ax", ["here", 3, [], [None, None]])
def test_what_is_no_place_is_refused(ax):
    with pytest.raises(ValueError, match="ax: expected matplotlib axes, 1 or 2 of them, got"):
        measured().plot(ax=ax)
    with pytest.raises(ValueError, match="ax: expected matplotlib axes, 1 of them, got"):
        spectra().plot(ax=ax)
    assert not plt.get_fignums()


def test_images_with_sliders_have_a_figure_of_their_own():
    axes = plt.figure().add_subplot()
    with pytest.raises(ValueError, match=r"ax: expected none for maps of three axes.*\.inav"):
        measured((3, 4, 5)).plot(ax=axes)


def test_spectra_in_one_figure_follow_their_own_navigators():
    one, other = spectra(), spectra()
    places = plt.subplots(1, 2)[1]
    for found, ax in zip((one, other), places, strict=True):
        assert found.plot(ax=ax, title="eps", color="k") == [ax]
    one.value.axes_manager.indices = (2, 1)
    assert [ax.get_title() for ax in places] == ["eps (2, 1)", "eps (0, 0)"]
    assert places[0].lines[-1].get_color() == "k"


def test_spectra_in_one_place_all_follow_and_all_are_in_view():
    one, other = spectra(), spectra() + 10
    ax = plt.subplots()[1]
    for found, name in ((one, "one"), (other, "other")):
        found.plot(ax=ax, title=name)
    one.value.axes_manager.indices = (2, 1)
    other.value.axes_manager.indices = (1, 0)
    assert ax.get_title() == "one (2, 1); other (1, 0)"
    assert {line.get_ydata()[0] for line in ax.lines if len(line.get_ydata()) == 10} == {5.0, 11.0}
    low, high = ax.get_ylim()
    assert low < 5.0
    assert high > 11.0
    ax.set_ylim(-1.0, 20.0)
    one.value.axes_manager.indices = (0, 0)
    assert ax.get_ylim() == (-1.0, 20.0)
    ax.clear()
    other.plot(ax=ax)
    assert ax.get_ylim()[0] > 5.0
    for found, n_followers in ((one, 0), (other, 1)):
        found.value.axes_manager.indices = (1, 1)
        assert len(found.value.axes_manager.events.indices_changed.connected) == n_followers


def test_spectra_that_the_user_cleared_are_shared_with_no_more():
    """A line of the user's own does not bring them back."""
    one, other = spectra() + 1000, spectra()
    ax = plt.subplots()[1]
    one.plot(ax=ax, title="one")
    ax.clear()
    ax.plot([0, 1], [0, 1])
    other.plot(ax=ax, title="other")
    assert ax.get_title() == "other (0, 0)"
    assert ax.get_ylim()[1] < 10.0
    for found, n_followers in ((one, 0), (other, 1)):
        found.value.axes_manager.indices = (1, 1)
        assert len(found.value.axes_manager.events.indices_changed.connected) == n_followers
    assert ax.get_title() == "other (1, 1)"


def test_cleared_spectra_stay_cleared():
    found = spectra()
    (ax,) = found.plot()
    ax.clear()
    found.value.axes_manager.indices = (1, 1)
    assert not ax.collections
    assert not ax.get_title()


def test_a_flat_spectrum_is_in_view_with_its_band():
    found = spectra()
    (axes,) = found.plot((2, 1))
    np.testing.assert_allclose(axes.get_ylim(), (4.4, 5.6))
    bands = [one.get_paths()[0].vertices[:, 1] for one in axes.collections]
    assert 4.4 < min(band.min() for band in bands) < max(band.max() for band in bands) < 5.6


def test_spectra_without_numbers_say_so_and_are_not_shown_first():
    found = spectra()
    found.value.data[0, 0] = np.nan
    (axes,) = found.plot()
    assert axes.get_title() == "(0, 1)"
    found.value.axes_manager.indices = (1, 0)
    found.value.axes_manager.indices = (0, 0)
    assert axes.get_title() == "(0, 0) no number"


def test_long_titles_are_broken():
    title = "EELS of a flake of WS2 recorded on Monday at 60 kV, aligned band gap"
    lines = measured().plot(title=title)[0].get_title().splitlines()
    assert " ".join(lines) == title
    assert len(lines) == 2


@pytest.mark.parametrize(
    "title",
    [
        "line one\nline two",
        "loss of a film, all of it, at energies of $E = a + b\\, c$ eV at most",
        "",
    ],
)
def test_lines_of_the_user_and_formulas_stay(title):
    (axes,) = spectra().plot(title=title)
    assert axes.get_title() == f"{title} (0, 0)".strip()
    axes.figure.canvas.draw()


@pytest.mark.parametrize("shape", [(3, 4), (5,)])
def test_numbers_of_colours_and_axes_are_whole(shape):
    """Not what is to be added to a number at the end of the axis."""
    gap = measured(shape, 1234.5)
    gap.value.data.flat[0] += 1e-3
    axes = plot_maps({"gap": gap})
    axes[0].figure.canvas.draw()
    named = axes[0].images[0].colorbar.ax.yaxis if len(shape) == 2 else axes[0].yaxis
    assert not named.get_major_formatter().get_offset()
    assert any(text.get_text().startswith("1234.5") for text in named.get_ticklabels())


def test_colours_of_one_number_lie_about_it():
    low, high = plot_maps({"gap": measured(value=0.002)})[0].images[0].get_clim()
    assert 0.001 < low < 0.002 < high < 0.003


def test_a_few_pixels_that_hold_do_not_choose_the_colours():
    gap = measured((12, 12))
    gap.value.data[:] = np.linspace(1.0, 2.0, 144).reshape(12, 12)
    codes = reasons((12, 12), RETARDED=slice(None))
    codes.data[0, :2] = Reason.NONE
    low, high = plot_maps({"gap": gap}, codes)[0].images[0].get_clim()
    assert low == pytest.approx(1.0, abs=0.02)
    assert high == pytest.approx(2.0, abs=0.02)


def test_colours_span_the_bulk_of_numbers_where_none_holds():
    gap = measured((12, 12))
    gap.value.data[:] = np.linspace(2.0, 2.4, 144).reshape(12, 12)
    gap.value.data[:2] = 8.0
    picture = plot_maps({"gap": gap}, reasons((12, 12), BELOW_RESOLUTION=slice(None)))[0].images[0]
    assert picture.get_clim()[1] < 3.0
    assert picture.colorbar.extend in ("max", "both")
    # Where numbers hold, those of another material count as well.
    assert plot_maps({"gap": gap}, reasons((12, 12)))[0].images[0].get_clim()[1] == 8.0


def test_colours_are_not_stretched_by_pixels_that_do_not_hold():
    gap = measured()
    gap.value.data[:] = np.linspace(1.0, 2.0, 12).reshape(3, 4)
    gap.value.data[0, 0] = 8800.0
    codes = reasons(RETARDED=(0, 0))
    axes = plot_maps({"gap": gap}, codes)
    low, high = axes[0].images[0].get_clim()
    assert 1.0 < low
    assert high < 4.0
    assert axes[0].images[0].colorbar.extend in ("max", "both")
    # Within reach of the others it counts.
    gap.value.data[0, 0] = 2.5
    assert plot_maps({"gap": gap}, codes)[0].images[0].get_clim()[1] > 2.4


# --- arithmetic, and energies -----------------------------------------------------------------------


def numbers_of(found):
    variance = found.value.get_noise_variance().data
    np.testing.assert_allclose(variance, found.std.data**2)
    return [np.asarray(one.data) for one in (found.value, found.std, found.systematic)]


@pytest.mark.parametrize("make", [measured, lambda: spectra()])
def test_exact_numbers_change_errors_as_they_should(make):
    found = make()
    value, std, systematic = (
        np.asarray(one.data) for one in (found.value, found.std, found.systematic)
    )
    for changed, factor, shift in (
        (found * -2, -2, 0),
        (np.float64(3) * found, 3, 0),
        (found / 4, 0.25, 0),
        (found + 1, 1, 1),
        (5 - found, -1, 5),
        (found - 5, 1, -5),
        (-found, -1, 0),
        (np.array(2.0) * found - np.float32(1), 2, -1),
        ((2 * found + 1) / 2, 1, 0.5),
    ):
        expected = factor * value + shift, abs(factor) * std, abs(factor) * systematic
        for one, other in zip(numbers_of(changed), expected, strict=True):
            np.testing.assert_allclose(one, other)


def test_a_multiple_is_no_quantity_of_those_units():
    gap = measured()
    quantity = (gap * 1000).value.metadata.Signal.quantity
    assert quantity == "Energy (eV) x 1000"
    assert (gap - 1).value.metadata.Signal.quantity == "Energy (eV)"
    assert gap.value.metadata.Signal.quantity == "Energy (eV)"


def test_the_variance_of_a_multiple_is_called_one():
    gap = measured()
    gap.value.metadata.General.title = "band gap"
    variance = (gap * 1000).value.get_noise_variance()
    assert variance.metadata.General.title == "variance of band gap"


@pytest.mark.parametrize(
    "combine",
    [
        lambda gap: gap * gap,
        lambda gap: gap - gap.value,
        lambda gap: gap.value / gap,
    ],
)
def test_quantities_of_one_image_are_not_combined(combine):
    with pytest.raises(TypeError, match="Measured: expected an exact number.*map_losses"):
        combine(measured())


def test_what_is_no_exact_number_is_refused_with_a_way_out():
    for array in (np.ones((3, 4)), np.ones(2)):
        with pytest.raises(TypeError, match=r"exact number, got .*array.* m.std.data \* abs\(a\)"):
            array * measured()
    for number in (np.nan, True, "2", 1j):
        with pytest.raises(TypeError, match=r"expected an exact number, got [^.]*\.$"):
            measured() + number


def test_other_functions_are_told_how():
    for combine in (
        lambda gap: 1 / gap,
        lambda gap: gap**2,
        np.sqrt,
        np.mean,
        np.add.reduce,
        lambda gap: np.add.outer(gap, 2),
        lambda gap: np.multiply(gap, 2, where=False),
        lambda gap: np.add(2, gap, out=np.zeros(())),
    ):
        with pytest.raises(TypeError, match="Measured: expected sums with exact numbers"):
            combine(measured())
    with pytest.raises(ValueError, match="Measured: expected a number other than 0"):
        measured() / 0


def test_energies_are_cut_with_the_errors():
    found = spectra()
    found.value.set_noise_variance(found.std**2)
    part = found.isig[2:5]
    assert [one.shape for one in numbers_of(part)] == [(2, 3, 3)] * 3
    np.testing.assert_array_equal(part.value.data, found.value.isig[2:5].data)


def test_a_slider_chooses_the_image_of_three_axes():
    """It stands at energies of the axis; reasons, marks and legend are those of the image shown."""
    gap = measured((3, 4, 5))
    gap.value.data[:] = np.arange(3).reshape(-1, 1, 1) + 1.0
    gap.value.data[1, 0, :2] = np.nan
    gap.value.axes_manager[2].scale = 0.5
    codes = reasons((3, 4, 5), RETARDED=2)
    codes.data[1, 0, :2] = Reason.NOT_SIGNIFICANT
    figure = plot_maps({"gap": gap}, codes)[0].figure
    (slider,) = figure.zlpml_images._sliders

    def shown():
        image = figure.axes[0].images[0].get_array()
        legends = [text.get_text() for one in figure.legends for text in one.get_texts()]
        return image, legends, [len(one.get_paths()) for one in figure.axes[0].collections]

    image, legends, marks = shown()
    assert (image == 1.0).all()
    assert (legends, marks) == ([], [])
    slider.set_val(0.5)
    image, legends, marks = shown()
    assert image.mask.sum() == 2
    assert (image.compressed() == 2.0).all()
    assert (legends, marks) == (["no number: NOT_SIGNIFICANT 2"], [2])
    slider.set_val(1.0)
    image, legends, marks = shown()
    assert (image == 3.0).all()
    assert (legends, marks) == (["to be read with care: RETARDED 20"], [20])
    assert figure.axes[0].images[0].get_clim() == (1.0, 3.0)


def test_axes_that_descend_are_drawn_in_the_order_of_the_data():
    """Every pixel lies where its axes say: its number, and its hatches."""
    gap = Measured(*(map_of(np.arange(24.0).reshape(2, 3, 4) + one) for one in range(3)))
    for axis, scale in zip(gap.value.axes_manager.navigation_axes, (-2.0, -0.5, -1.0), strict=True):
        axis.scale = scale
    figure = plot_maps({"gap": gap}, reasons((2, 3, 4), RETARDED=(1, 2, 3)))[0].figure
    picture, slider = figure.axes[0].images[0], figure.zlpml_images._sliders[0]
    assert (slider.valmin, slider.valmax, slider.val) == (-1.5, 0.5, 0.0)
    slider.set_val(-1.0)
    np.testing.assert_array_equal(picture.get_array(), gap.value.data[1])
    left, right, bottom, top = picture.get_extent()
    assert (left, right, bottom, top) == (1.0, -7.0, -1.25, 0.25)
    (hatch,) = figure.axes[0].collections[0].get_paths()
    ends = hatch.vertices.min(0), hatch.vertices.max(0)
    np.testing.assert_allclose(ends, [(-7.0, -1.25), (-5.0, -0.75)])


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 5), (5,)])
def test_a_measured_map_plots_itself(shape):
    gap = measured(shape)
    assert gap.plot()[0].get_figure() is plt.gcf()
    with pytest.raises(ValueError, match="indices: expected none for a map"):
        gap.plot((0, 0))


def spectra():
    """Spectra of 2 x 3 pixels whose numbers are those of the pixel, with errors of 0.1 and 0.2."""
    values = np.repeat(np.arange(6.0).reshape(2, 3, 1), 10, -1)
    return Measured(*(Signal1D(one) for one in (values, 0 * values + 0.1, 0 * values + 0.2)))


def test_spectra_have_bands_and_follow_their_navigator():
    found = spectra()
    (axes,) = found.plot()
    for place, number in ((0, 0), 0.0), ((2, 1), 5.0):
        found.value.axes_manager.indices = place
        assert axes.get_title() == f"({place[0]}, {place[1]})"
        assert (axes.lines[-1].get_ydata() == number).all()
        ends = [np.ptp(one.get_paths()[0].vertices[:, 1]) / 2 for one in axes.collections]
        np.testing.assert_allclose(ends, [np.hypot(0.1, 0.2), 0.1])
    plt.close(axes.figure)
    found.value.axes_manager.indices = (0, 0)
    assert not found.value.axes_manager.events.indices_changed.connected


def test_a_pixel_that_is_asked_for_stays():
    found = spectra()
    (axes,) = found.plot((1, 1))
    found.value.axes_manager.indices = (2, 0)
    assert axes.get_title() == "(1, 1)"
    with pytest.raises(ValueError, match="indices: expected one within"):
        found.plot((3, 0))


def test_a_zoom_is_kept():
    found = spectra()
    (axes,) = found.plot()
    axes.set_ylim(1.0, 2.0)
    found.value.axes_manager.indices = (2, 1)
    assert axes.get_ylim() == (1.0, 2.0)


def test_colours_of_errors_span_those_that_hold():
    gap = measured()
    gap.std.data[0] = 1.9  # 95 %, where nothing is significant
    limit = plot_maps({"gap": gap}, reasons(NOT_SIGNIFICANT=0))[1].images[0].get_clim()[1]
    assert 5.0 <= limit < 6.0
    gap.std.data[1:] = 0.4  # none holds: those that are to be read with care tell, still
    codes = reasons(NOT_SIGNIFICANT=0, RETARDED=slice(1, None))
    assert 20.0 <= plot_maps({"gap": gap}, codes)[1].images[0].get_clim()[1] < 23.0


def test_both_maps_are_hatched_and_the_legend_has_a_colour_of_the_map():
    axes = plot_maps({"gap": measured()}, reasons(RETARDED=0))
    assert [len(one.collections[0].get_paths()) for one in axes[:2]] == [4, 4]
    (patch,) = axes[0].figure.legends[0].get_patches()
    assert patch.get_facecolor() == plt.get_cmap("viridis")(0.5)


def test_medians_are_those_of_pixels_that_hold():
    gap = measured()
    gap.value.data[0] = 0.0
    said = Thickness(gap, reasons(MISFIT=0)).summary
    assert "median 2.00 +- 0.10 (std) eV in 8 of 12 pixels, 4 more to be read with care" in said
    assert "8 of 12 pixels hold, MISFIT 4" in said
    assert said.splitlines()[-1].split() == ["MISFIT", "no", "onset", "fits"]
    said = Thickness(gap, reasons()).summary
    assert "median 2.00 +- 0.10 (std) eV in 12 of 12 pixels\n" in said
    assert "MISFIT" not in said


def test_where_no_pixel_holds_medians_say_so():
    gap = measured()
    gap.value.data[0] = 0.0
    said = Thickness(gap, reasons(NOT_SIGNIFICANT=0, RETARDED=slice(1, None))).summary
    assert "median 2.00 +- 0.10 (std) eV in 8 of 12 pixels, all to be read with care" in said


def test_a_check_that_the_removal_failed_is_told_of_with_its_maps():
    """Errors of maps are those of the removal: who looks at a map alone must hear of it."""
    reason = reasons()
    found = Thickness(measured(), reason)
    for text in (repr(found), found._repr_html_()):
        assert "FAILED" not in text
    reason.metadata.ZLP_ML.checks = "check on region I FAILED"
    assert found.summary.endswith("check on region I FAILED")
    assert "check on region I FAILED" in repr(found)
    assert "FAILED" in found._repr_html_()


class Beside(NamedTuple):
    """What a result may hold beside its maps."""

    removal: object
    number: int


@dataclass(frozen=True, repr=False, eq=False)
class WithRemoval(MapResult):
    """A result that holds the removal that it is of within something else."""

    _first: ClassVar[str] = "gap"
    gap: Measured
    reason: BaseSignal
    _beside: Beside | None = None


class Removal:
    """Stands for the result of a removal."""

    removed = None

    def __init__(self, pixels="all"):
        self.pixels = pixels

    @property
    def inav(self):
        return Slicer(Removal)


def test_the_removal_is_cut_with_the_maps_and_not_saved(tmp_path):
    found = WithRemoval(measured(), reasons(), Beside(Removal(), 3))
    part = found.inav[1:3]
    assert (part._beside.removal.pixels, part._beside.number) == (slice(1, 3), 3)
    assert found._alone()._beside is None
    assert found._beside.number == 3
    found.save(tmp_path / "maps")
    again, of = files.read(tmp_path / "maps", [WithRemoval, Measured])
    assert of is None
    assert again.summary == found.summary


@pytest.mark.parametrize(
    "title, said",
    [
        ("thickness", "Thickness"),
        ("WS2 thickness", "Thickness, WS2 thickness"),
        ("gap", "Thickness, gap"),
    ],
)
def test_titles_double_no_words(title, said):
    reason = reasons()
    reason.metadata.General.title = f"reasons of {title}"
    assert Thickness(measured(), reason).summary.splitlines()[0] == said
