# SPDX-License-Identifier: GPL-3.0-or-later
"""Pixels and regions of results, by ``inav`` as of signals: what they say is what the whole says there."""

import hyperspy.api as hs
import numpy as np
import pytest

from hyperspy_zlpml import load_removal
from hyperspy_zlpml.data import dielectric_phantom, ws2_like
from hyperspy_zlpml.physics import Plasmon
from hyperspy_zlpml.signals.maps.native import Measured

QUIET = {"show_progressbar": False}
N = 2.62
SPECTRA = ("subtracted", "zlp", "std", "lower", "upper")
MAPS = ("clusters", "vacuum", "centre", "fwhm", "intensity")
#: Ways to choose pixels of an image of 5 x 4.
WAYS = {
    "region": (slice(1, 4), slice(0, 2)),
    "pixel": (2, 3),
    "row": (slice(None), 1),
    "column": 0,
    "last": (-1, slice(None, None, 2)),
    "energy of the axis": (slice(1.0, 3.0),),
    "region of interest": hs.roi.RectangularROI(1, 0, 3, 2),
    "ellipsis": (Ellipsis, 1),
}
#: Methods that make maps.
METHODS = {
    "band_gap": {"exponent": 1.0},
    "thickness": {"n": N},
    "dielectric_function": {"n": N},
    "fit_peaks": {"peaks": Plasmon(24.0, 6.0)},
    "temperature": {},
    "retardation": {"n": N},
}
#: What is told of many pixels together.
TOGETHER = {"ln_indirect_clusters", "ln_between_clusters", "ln_indirect_image", "ln_between_image"}


@pytest.fixture(scope="module")
def sample():
    return dielectric_phantom((5, 4), random_state=7001, n_channels=512, scale=0.1)


@pytest.fixture(scope="module")
def removal(sample):
    return sample.signal.remove_zlp_ml(n_replicas=4, n_clusters=2, random_state=0, **QUIET)


@pytest.fixture(scope="module")
def lazy_removal(sample, removal):
    lazy = sample.signal.as_lazy()
    return lazy.remove_zlp_ml(ensemble=removal.ensemble, n_clusters=2, random_state=0, **QUIET)


def assert_same(one, other):
    assert one.axes_manager.shape == other.axes_manager.shape
    np.testing.assert_array_equal(np.asarray(one.data), np.asarray(other.data))


def test_energies_are_those_of_signals(removal):
    with pytest.raises(AttributeError, match=r"r\.subtracted\.isig"):
        removal.isig  # noqa: B018
    assert not hasattr(removal, "isig")


@pytest.mark.parametrize("way", WAYS)
def test_spectra_are_those_of_the_whole(removal, way):
    part = removal.inav[WAYS[way]]
    for name in SPECTRA:
        assert_same(getattr(part, name), getattr(removal, name).inav[WAYS[way]])
    variance = removal.subtracted.inav[WAYS[way]].get_noise_variance()
    assert_same(part.subtracted.get_noise_variance(), variance)
    expected = removal.zlp.inav[WAYS[way]].axes_manager
    for one, other in zip(part.zlp.axes_manager._axes, expected._axes, strict=True):
        np.testing.assert_array_equal(one.axis, other.axis)
    for name in MAPS:
        expected = getattr(removal, name).inav[WAYS[way]].data
        np.testing.assert_array_equal(np.ravel(getattr(part, name).data), np.ravel(expected))


def test_what_was_not_made_is_made_of_the_part_alone(sample, removal):
    fresh = sample.signal.remove_zlp_ml(
        ensemble=removal.ensemble, n_clusters=2, random_state=0, **QUIET
    )
    part = fresh.inav[1:3, 2]
    made = part.subtracted
    assert not fresh._signals
    assert_same(made, fresh.subtracted.inav[1:3, 2])
    assert np.shares_memory(part.removed.spectra.counts, sample.signal.data)


def test_lazy_results_stay_lazy(lazy_removal):
    part = lazy_removal.inav[1:4, 0:2]
    assert part.subtracted._lazy
    assert_same(part.subtracted, lazy_removal.subtracted.inav[1:4, 0:2])
    lazy_removal.compute("zlp", show_progressbar=False)
    assert not lazy_removal.inav[0].zlp._lazy


@pytest.mark.parametrize(
    "method, is_lazy", [*((name, False) for name in METHODS), ("dielectric_function", True)]
)
def test_maps_of_a_part_are_the_part_of_the_maps(removal, lazy_removal, method, is_lazy):
    removal = lazy_removal if is_lazy else removal
    whole = getattr(removal, method)(**METHODS[method], **QUIET)
    for way in ("region", "pixel"):
        own = getattr(removal.inav[WAYS[way]], method)(**METHODS[method], **QUIET)
        cut = whole.inav[WAYS[way]]
        for name, part in own._parts().items():
            one, other = (getattr(each, "value", each) for each in (part, cut._parts()[name]))
            if name in TOGETHER or not isinstance(one, hs.signals.BaseSignal):
                continue
            assert one.axes_manager.shape == other.axes_manager.shape
            np.testing.assert_allclose(np.asarray(one.data), np.asarray(other.data), rtol=1e-9)


def test_a_part_of_a_part(removal):
    assert_same(removal.inav[1:4].inav[1, 0:2].zlp, removal.zlp.inav[2, 0:2])


def test_integrals_figures_and_draws_of_a_part(removal):
    part = removal.inav[1:3, 1:4]
    for one, other in zip(part.integrate(3.0, 9.0), removal.integrate(3.0, 9.0), strict=True):
        assert_same(one, other.inav[1:3, 1:4])
    assert part.draw(2, random_state=0).data.shape == (2, 3, 2, 512)
    assert part.plot()
    assert part.plot((0, 1))
    assert removal.inav[2, 3].plot()


def test_the_figure_of_a_part_follows_the_part(removal):
    part = removal.inav[1:3]
    axes = part.plot()
    part.subtracted.axes_manager.indices = (1, 2)
    assert axes[0].get_title().startswith("(1, 2)")
    removal.subtracted.axes_manager.indices = (3, 3)
    assert axes[0].get_title().startswith("(1, 2)")


def test_settings_of_the_signal_count_for_its_parts(sample, removal):
    part, microscope = removal.inav[0], sample.signal.metadata.Acquisition_instrument.TEM
    before = part.thickness(density=3.0, **QUIET).by_density.value.data
    angle = microscope.Detector.EELS.collection_angle
    try:
        sample.signal.set_microscope_parameters(collection_angle=2 * angle)
        after = part.thickness(density=3.0, **QUIET).by_density.value.data
    finally:
        sample.signal.set_microscope_parameters(collection_angle=angle)
    assert not np.allclose(before, after, equal_nan=True)


def test_pixels_that_were_left_out_have_no_numbers_and_no_error(sample, removal):
    mask = np.zeros((4, 5), bool)
    mask[0] = True
    masked = sample.signal.remove_zlp_ml(
        ensemble=removal.ensemble, n_clusters=2, navigation_mask=mask, random_state=0, **QUIET
    )
    part = masked.inav[:, 0]
    assert np.isnan(part.subtracted.data).all()
    found = part.maps(**{name: METHODS[name] for name in METHODS if name != "retardation"}, **QUIET)
    for one in found._members().values():
        assert np.isnan(getattr(one, one._first).value.data).all()
        assert "LEFT_OUT 5" in one.summary
    assert part.plot()


@pytest.mark.parametrize("lazy", [False, True])
def test_a_part_is_saved_and_read(sample, removal, lazy_removal, tmp_path, lazy):
    part = (lazy_removal if lazy else removal).inav[1:4, 0:2]
    part.save(tmp_path / "part")
    image = sample.signal.as_lazy() if lazy else sample.signal
    again = load_removal(tmp_path / "part", signal=image.inav[1:4, 0:2])
    np.testing.assert_allclose(again.zlp.data, part.zlp.data, rtol=5e-6)
    # The image that it was a part of is not forgotten.
    one, other = (each.thickness(**QUIET).t_over_lambda.value.data for each in (again, part))
    np.testing.assert_allclose(one, other, rtol=1e-3)
    assert again.removed.typical == removal.removed.typical


@pytest.mark.parametrize("lazy", [False, True])
def test_spectra_in_files_are_read_for_the_part(removal, lazy_removal, tmp_path, lazy):
    whole = lazy_removal if lazy else removal
    whole.save(tmp_path / "whole")
    part = load_removal(tmp_path / "whole").inav[1:4].inav[0, 1:3]
    assert part.subtracted._lazy == lazy
    np.testing.assert_allclose(part.subtracted.data, whole.subtracted.inav[1, 1:3].data, rtol=1e-6)


@pytest.mark.parametrize(
    "slices, error, match",
    [
        ((9, 0), IndexError, r"expected pixels 0 to 4 of axis 0 \(x\), got 9"),
        ((0, 0, 0), IndexError, r"expected at most one for each axis \(x, y\), got 3"),
        ((slice(2, 2),), ValueError, "expected at least one spectrum, got none"),
        ((99.0,), ValueError, "out of"),
    ],
)
def test_pixels_that_there_are_none_of(removal, slices, error, match):
    with pytest.raises(error, match=match):
        removal.inav[slices]


def test_a_measured_quantity_is_cut_with_its_errors(removal):
    found = removal.thickness(n=N, **QUIET).by_index
    part = found.inav[1:3, 2]
    assert isinstance(part, Measured)
    for name in ("value", "std", "systematic"):
        assert_same(getattr(part, name), getattr(found, name).inav[1:3, 2])
    assert_same(part.value.get_noise_variance(), found.value.get_noise_variance().inav[1:3, 2])
    # It serves the part of the result as an argument.
    cut = removal.inav[1:3, 2].dielectric_function(thickness=part, **QUIET)
    whole = removal.dielectric_function(thickness=found, **QUIET)
    np.testing.assert_allclose(cut.n.value.data, whole.n.inav[1:3, 2].value.data, rtol=1e-9)


def test_gaps_of_a_part_draw_their_own_pixels(removal):
    whole = removal.band_gap(exponent=1.0, **QUIET)
    part = whole.inav[1:3, 2:4]
    for indices, same in (((0, 0), (1, 2)), ((1, 1), (2, 3))):
        np.testing.assert_array_equal(part.curve(indices).data, whole.curve(same).data)


def test_peaks_of_a_part_go_into_models_of_the_part(removal):
    fit = removal.fit_peaks(Plasmon(24.0, 6.0), **QUIET).inav[1:3, 0:2]
    component = fit.append_to(removal.inav[1:3, 0:2].subtracted.create_model())
    known = np.isfinite(fit.position.value.data)
    found = component.plasmon_energy.map["values"][known]
    np.testing.assert_array_equal(found, fit.position.value.data[known])


def removal_of(shape, units="eV"):
    """Result of a small image; of a meV axis where asked for."""
    signal = ws2_like(shape or (1,), n_channels=512, random_state=0).signal
    signal = signal if shape else signal.inav[0]
    axis = signal.axes_manager.signal_axes[0]
    if units == "meV":
        axis.scale, axis.offset, axis.units = 1e3 * axis.scale, 1e3 * axis.offset, "meV"
    return signal.remove_zlp_ml(n_replicas=4, n_clusters=2, random_state=0, **QUIET)


@pytest.mark.parametrize(
    "shape, units, slices",
    [((5,), "meV", 2), ((5,), "eV", slice(1, 3)), ((3, 2, 2), "eV", (Ellipsis, 1))],
)
def test_other_shapes_and_units(shape, units, slices):
    whole = removal_of(shape, units)
    part = whole.inav[slices]
    for name in SPECTRA:
        assert_same(getattr(part, name), getattr(whole, name).inav[slices])
    own, cut = part.thickness(**QUIET), whole.thickness(**QUIET).inav[slices]
    np.testing.assert_allclose(own.lower_limit.value.data, cut.lower_limit.value.data, rtol=1e-9)
    assert own.reason.axes_manager.shape == cut.reason.axes_manager.shape


def test_a_single_spectrum_has_no_parts():
    with pytest.raises(IndexError, match="for it is a single spectrum"):
        removal_of(()).inav[0]
