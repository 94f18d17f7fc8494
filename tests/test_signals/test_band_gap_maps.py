# SPDX-License-Identifier: GPL-3.0-or-later
"""Band gap maps of signals: native form, laziness, pooling, units, what is refused."""

import warnings
from dataclasses import replace
from operator import attrgetter
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from hyperspy_zlpml.data import Material, Response, make_sample, ws2_like
from hyperspy_zlpml.physics import Reason
from hyperspy_zlpml.physics.band_gap import Gap, band_gaps
from hyperspy_zlpml.physics.bins import binned
from hyperspy_zlpml.removal.removed import RemovedZLP
from hyperspy_zlpml.removal.subtract import Subtraction
from hyperspy_zlpml.signals.maps import gap_kinds
from hyperspy_zlpml.signals.maps.band_gap import BandGap
from hyperspy_zlpml.signals.maps.gap_figures import _shown

QUIET = {"show_progressbar": False}
REMOVE = {"n_clusters": 2, "n_replicas": 6, "random_state": 0, **QUIET}

#: Spectra by which kinds of gaps are told here.
FEW_SPECTRA = 4


@pytest.fixture(scope="module", autouse=True)
def few_tell_kinds():
    """Kinds of gaps are told by a few spectra: most of the time of a small image goes there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gap_kinds, "_MOST_SPECTRA", FEW_SPECTRA)
        yield


def image(navigation_shape=(6, 5), **parameters):
    return ws2_like(navigation_shape, n_channels=1024, random_state=3, **parameters)


@pytest.fixture(scope="module")
def sample():
    return image()


@pytest.fixture(scope="module")
def removal(sample):
    return sample.signal.remove_zlp_ml(**REMOVE)


@pytest.fixture(scope="module")
def found(removal):
    return removal.band_gap(exponent=1.0, **QUIET)


def test_gaps_are_where_they_are(found, sample):
    known = sample.thickness.data > 0.1
    assert np.isfinite(found.gap.value.data[known]).mean() > 0.9
    assert np.isnan(found.gap.value.data[sample.thickness.data == 0]).all()
    off = (found.gap.value.data - sample.band_gap.data)[known]
    assert np.sqrt(np.nanmean(off**2)) < 0.2
    inside = (found.lower.data < sample.band_gap.data) & (found.upper.data > sample.band_gap.data)
    assert inside[known].mean() > 0.5


def test_maps_are_native(found):
    for name in ("gap.value", "gap.systematic", "lower", "exponent.std", "ln_indirect", "reason"):
        signal = attrgetter(name)(found)
        assert signal.axes_manager.navigation_shape == (6, 5)
        assert signal.axes_manager.signal_dimension == 0
    gap = found.gap.value
    np.testing.assert_allclose(gap.get_noise_variance().data, found.gap.std.data**2)
    assert gap.metadata.Signal.quantity == "Energy (eV)"
    assert gap.metadata.General.title == "WS2-like flake band gap"
    assert "NOT_SIGNIFICANT" in found.reason.metadata.ZLP_ML.legend.as_dictionary()["5"]
    np.testing.assert_allclose(found.exponent.value.data[np.isfinite(found.gap.value.data)], 1.0)
    assert np.isfinite(found.ln_indirect_image)
    assert repr(found).startswith("<BandGap, WS2-like flake band gap, gap: median 1.")


@pytest.mark.parametrize(
    "indirect, between, kind",
    [(9.0, -9.0, "indirect"), (-9.0, -9.0, "direct"), (9.0, 0.0, "cannot tell")]
    + [(4.0, -9.0, "cannot tell"), (np.nan, np.nan, "cannot tell")],
)
def test_kinds_are_told_where_both_are_clear(found, indirect, between, kind):
    assert replace(found, ln_indirect_image=indirect, ln_between_image=between).kind == kind


def test_a_vacuum_of_another_microscope_is_told():
    """The peak of the specimen has a higher halo than the vacuum that was given."""
    film = image((4, 4), vacuum_fraction=0.0, thickness_range=(0.3, 0.8))
    alike, other = (
        image((4, 4), vacuum_fraction=1.0, thickness_range=(0, 0), response=response)
        for response in (None, Response(halo=3e-3))
    )
    for vacuum, is_other in ((alike, False), (other, True)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            removal = film.signal.remove_zlp_ml(vacuum=vacuum.signal, **REMOVE)
        found = removal.band_gap(exponent=1.0, **QUIET)
        removed = removal.removed
        assert removed.in_doubt(removed.missed).all() == is_other
        assert (found.reason.data == Reason.OTHER_PEAK).any() == is_other


def test_one_pixel_that_is_missed_does_not_condemn_a_small_image():
    """Nor does a tenth of a large one."""
    for n_usable, n_missed, all_doubted in (
        (5, 1, False),
        (5, 2, True),
        (30, 3, False),
        (30, 4, True),
    ):
        removed = SimpleNamespace(centre=np.where(np.arange(32) < n_usable, 0.0, np.nan))
        doubted = RemovedZLP.in_doubt(removed, np.arange(32) < n_missed)
        assert doubted.sum() == (n_usable if all_doubted else n_missed)


def test_the_peaks_of_lazy_spectra_are_matched_once(lazy_removal, monkeypatch):
    """Whether a peak misses its spectrum is read off in the pass that fits onsets; those that tell the kind once more."""
    blocks = []
    matched = Subtraction._packed

    def counted(self, counts, *arguments, **options):
        blocks.append(len(counts))
        return matched(self, counts, *arguments, **options)

    monkeypatch.setattr(Subtraction, "_packed", counted)
    lazy_removal.thickness(**QUIET)
    in_one_pass = sum(blocks)
    assert in_one_pass >= lazy_removal.removed.centre.size
    blocks.clear()
    found = lazy_removal.band_gap(exponent=1.0, **QUIET)
    assert (found.reason.data == Reason.NONE).sum() > FEW_SPECTRA
    assert sum(blocks) == in_one_pass + 2 * FEW_SPECTRA


def test_an_end_below_the_losses_is_named(removal):
    lowest = removal.removed.application.regions.E_I.min()
    with pytest.raises(ValueError, match=r"right: expected an energy above the lowest E_I"):
        removal.band_gap(right=0.9 * lowest, **QUIET)


def test_pixels_without_a_number_have_a_reason(found):
    missing = np.isnan(found.gap.value.data)
    assert (found.reason.data[missing] > 0).all()
    assert (found.lower.data <= found.upper.data)[~missing].all()
    half = 0.5 * (found.upper.data - found.lower.data)
    np.testing.assert_allclose(found.gap.error[~missing], half[~missing], rtol=0.5)


@pytest.fixture(scope="module")
def lazy_removal(sample):
    lazy = sample.signal.as_lazy()
    lazy.data = lazy.data.rechunk((2, 4, -1))
    return lazy.remove_zlp_ml(**REMOVE)


def test_pooled_pixels_have_smaller_errors(removal, found):
    near = removal.band_gap(exponent=1.0, pool=3, **QUIET)
    both = np.isfinite(near.gap.value.data) & np.isfinite(found.gap.value.data)
    assert np.median(near.gap.std.data[both]) < np.median(found.gap.std.data[both])


def test_a_cluster_has_one_gap(removal):
    found = removal.band_gap(exponent=1.0, pool="clusters", **QUIET)
    for label in np.unique(removal.clusters.data):
        specimen = (removal.clusters.data == label) & ~removal.vacuum.data
        assert np.unique(found.gap.value.data[specimen]).size <= 1


def test_the_unit_of_the_axis_changes_nothing(found, sample):
    """Energies are the same to the last digit, and so are the networks that are trained on them."""
    signal = sample.signal.deepcopy()
    signal.axes_manager.signal_axes[0].convert_to_units("meV")
    other = signal.remove_zlp_ml(**REMOVE).band_gap(exponent=1.0, **QUIET)
    np.testing.assert_allclose(1e-3 * other.gap.value.data, found.gap.value.data, rtol=1e-12)
    np.testing.assert_allclose(1e-3 * other.gap.error, found.gap.error, rtol=1e-12)


def test_vacuum_alone_has_no_gap():
    vacuum = make_sample((5, 4), n_channels=1024, vacuum_fraction=1.0, random_state=0).signal
    removal = vacuum.remove_zlp_ml(vacuum=True, **REMOVE)
    for pool in (None, 2, "clusters"):
        found = removal.band_gap(pool=pool, **QUIET)
        assert np.isnan(found.gap.value.data).all()
        assert (found.reason.data > 0).all()
        assert np.isnan(found.ln_indirect_image)


def test_metals_without_vacuum_have_no_gap():
    """Of one thickness, so that the tail is a guess: all pixels are marked, most of them for that."""
    metal = Material(band_gap=0.0, onset_exponent=0.5, interband=0.6, excitons=())
    sample = image(material=metal, thickness_range=(0.5, 0.5), vacuum_fraction=0.0)
    found = sample.signal.remove_zlp_ml(**REMOVE).band_gap(**QUIET)
    reasons = found.reason.data
    assert not (reasons == Reason.NONE).any()
    assert (reasons == Reason.TAIL_GUESSED).mean() > 0.5
    legend = found.reason.metadata.ZLP_ML.legend.as_dictionary()
    assert "as of a metal" in legend[str(int(Reason.TAIL_GUESSED))]


def test_cherenkov_losses_are_told(removal):
    slow = removal.band_gap(exponent=1.0, n=1.2, **QUIET)
    fast = removal.band_gap(exponent=1.0, n=np.full((5, 6), 2.6), **QUIET)
    assert not (slow.reason.data == Reason.RETARDED).any()
    good = slow.reason.data == Reason.NONE
    assert (fast.reason.data[good] == Reason.RETARDED).all()
    np.testing.assert_array_equal(fast.gap.value.data, slow.gap.value.data)


def test_curve_and_figures(found):
    place = tuple(int(i) for i in np.argwhere(np.isfinite(found.gap.value.data))[-1][::-1])
    curve = found.curve(place)
    assert curve.metadata.Signal.signal_type == "EELS_ZLPML"
    assert np.nanmax(curve.data) > 0
    vacuum = tuple(int(i) for i in np.argwhere(np.isnan(found.gap.value.data))[0][::-1])
    assert np.isnan(found.curve(vacuum).data).all()
    assert len(found.plot()) > 1
    (axes,) = found.plot_fit(place)
    assert "gap" in axes.get_title()
    assert "eV (68 %)" in axes.get_title()
    legend = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert not [
        text for text in legend if "eV" in text
    ]  # the title gives the gap, and no other number
    assert {"onset: best single shape", "gap, 68 %", "means of bins, with their noise"} <= set(
        legend
    )
    number = np.ravel_multi_index(place[::-1], found.gap.value.data.shape)
    losses, _ = found._fit_of(number)
    ends = _shown(losses, found._gap_of(number))
    bars = np.array(axes.containers[0].lines[2][0].get_segments())[:, :, 1]
    noise = np.sqrt(binned(losses, 0, ends[0]).between(*ends).variance)
    np.testing.assert_allclose(np.diff(bars)[:, 0], 2 * noise)
    assert "no gap" in found.plot_fit(vacuum)[0].get_title()
    (line,) = found.plot_line(4)
    assert line.lines
    assert line.get_title().endswith("band gap, row 4")
    (line,) = found.plot_line(column=5)
    assert line.get_title().endswith("band gap, column 5")
    assert len(line.get_yticks()) == 5
    plt.close("all")


def test_the_line_of_a_part_is_what_is_left_of_it(found):
    """A column that is left is a line; one that is left of a row by HyperSpy's rules is one, too."""
    (column,) = found.inav[5:6].plot_line()
    (same,) = found.plot_line(column=5)
    (cut,) = found.inav[5].plot_line()
    for one in (column, cut):
        for line, other in zip(one.lines, same.lines, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), other.get_ydata())
        assert one.get_ylabel() == same.get_ylabel()
    plt.close("all")


@pytest.mark.parametrize("pool", [2, 3, "clusters"])
def test_what_is_drawn_of_a_pool_is_what_was_fitted(removal, pool):
    """Fitted once more, it gives the gap of the map."""
    found = removal.band_gap(exponent=1.0, pool=pool, **QUIET)
    number = int(np.flatnonzero(np.isfinite(found.gap.value.data))[-1])
    y, x = np.unravel_index(number, found.gap.value.data.shape)
    losses, onset = found._pooled_fit_of(number)
    again = Gap(*band_gaps(losses, found._settings)[0])
    assert again.gap == pytest.approx(found.gap.value.data[y, x], rel=1e-6)
    (axes,) = found.plot_fit((int(x), int(y)))
    drawn = axes.lines[0].get_ydata()
    assert np.isin(drawn, losses.subtracted[0]).all()
    assert drawn.size > np.isfinite(onset.rise).sum() > 5
    plt.close("all")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"exponent": 0}, "exponent: expected a number from 0.1 to 5, as 0.5 .*, got 0"),
        ({"exponent": -0.5}, "exponent: expected a number"),
        ({"exponent": "direct"}, "exponent: expected a number"),
        ({"left": 2.5, "right": 1.5}, "right: expected more than left = 2.5 by at least 0.9"),
        (
            {"right": 500},
            "right: expected an energy on the axis, up to .* eV from the peak, got 500",
        ),
        ({"left": 1.5, "right": 1.6}, "right: expected more than left = 1.5 by at least 0.9"),
        ({"left": (1.5, 2.0)}, "left: expected a positive number"),
        ({"left": 1.5, "right": np.nan}, "right: expected a positive number"),
        ({"n_error": 0.1}, "n_error: expected together with n"),
        ({"pool": 1}, "pool: expected an integer from 2 to 64"),
        ({"pool": "neighbours"}, "\"clusters\" or None, got 'neighbours'"),
        ({"pool": 2.5}, "pool: expected an integer"),
        ({"own_response": "yes"}, "own_response: expected True or False"),
        ({"n": -1.0}, "n: expected refractive indices of at least 1"),
        ({"n": np.ones((2, 2))}, "n: expected a number or a map"),
        ({"show_progressbar": "no"}, "show_progressbar: expected True, False or None"),
    ],
)
def test_what_is_refused(removal, arguments, message):
    with pytest.raises(ValueError, match=message):
        removal.band_gap(**{**QUIET, **arguments})


def test_refused_without_the_microscope(sample):
    signal = sample.signal.deepcopy()
    del signal.metadata.Acquisition_instrument.TEM.beam_energy
    removal = signal.remove_zlp_ml(**REMOVE)
    with pytest.raises(ValueError, match="set_microscope_parameters"):
        removal.band_gap(n=2.0, **QUIET)


def test_refused_places(found):
    with pytest.raises(ValueError, match=r"indices: expected one within each of \(6, 5\)"):
        found.curve((6, 0))
    with pytest.raises(ValueError, match="indices: expected one within"):
        found.plot_fit((1,))
    with pytest.raises(ValueError, match="row: expected an integer from 0 to 4"):
        found.plot_line(5)
    with pytest.raises(ValueError, match="column: expected an integer from 0 to 5"):
        found.plot_line(column=6)
    with pytest.raises(ValueError, match="column: expected none for a line scan, or beside a row"):
        found.plot_line(0, 0)


def test_one_spectrum_has_no_neighbours():
    removal = image((), thickness_range=(0.5, 0.5)).signal.remove_zlp_ml(**REMOVE)
    with pytest.raises(ValueError, match="pool: expected None for a single spectrum"):
        removal.band_gap(pool=3, **QUIET)


def test_an_onset_below_the_window_was_not_seen(removal, found):
    gap = float(np.nanmedian(found.gap.value.data))
    above = removal.band_gap(exponent=1.0, left=gap + 0.7, right=gap + 2.5, **QUIET)
    known = np.isfinite(above.gap.value.data)
    below = known & (above.lower.data < gap + 0.7)
    assert below.any()
    assert (above.reason.data[below] == Reason.AT_LOWER_END).all()


def test_kinds_are_told_by_gaps_that_hold_alone(removal):
    fast = removal.band_gap(exponent=1.0, n=2.6, **QUIET)
    assert (fast.reason.data != Reason.NONE).all()
    assert np.isnan(fast.ln_indirect_image)


@pytest.mark.parametrize("part, is_told", [(0.25, False), (0.5, True)])
def test_kinds_are_told_by_a_fair_part_of_the_specimen(removal, found, part, is_told):
    numbers = found._numbers.data.copy()
    places = np.argwhere(~removal.vacuum.data)
    reasons = numbers[..., Gap._fields.index("reason")]
    for k, place in enumerate(places):
        holds = k < part * len(places)
        reasons[tuple(place)] = Reason.NONE if holds else Reason.MISFIT
    some = BandGap.wrap(removal, numbers, found._settings, None)
    assert np.isfinite(some.ln_indirect_image) == is_told
    assert np.isfinite(some.ln_between_image) == is_told


def test_unknown_retardation_is_told_with_the_index_that_makes_it(sample, removal, found):
    """Of electrons of 200 keV: v = 0.695 c."""
    assert "at 200 kV Cherenkov losses fill the gap of what has n > 1.44" in str(found)
    assert "\n  retardation" not in str(removal.band_gap(exponent=1.0, n=1.2, **QUIET))
    unset = removal.inav[:2, :2]
    metadata = sample.signal.metadata
    kilovolts = metadata.Acquisition_instrument.TEM.beam_energy
    del metadata.Acquisition_instrument.TEM.beam_energy
    try:
        words = str(unset.band_gap(exponent=1.0, **QUIET))
    finally:
        metadata.Acquisition_instrument.TEM.beam_energy = kilovolts
    assert "not looked at without n=\n" in words


def test_the_kind_is_printed_with_why_it_is_not_told(found):
    words = {
        (np.nan, np.nan): "cannot tell: too few gaps hold",
        (9.0, 0.0): "cannot tell: for that ln_between_image must be below -5",
        (9.0, -9.0): "indirect\n",
    }
    for (indirect, between), said in words.items():
        told = replace(found, ln_indirect_image=indirect, ln_between_image=between)
        assert f"kind                  {said}" in str(told)
    assert found.kind in found._repr_html_()
