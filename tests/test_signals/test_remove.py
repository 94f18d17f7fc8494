# SPDX-License-Identifier: GPL-3.0-or-later
"""``s.remove_zlp_ml()``: what comes back, and what it does with every kind of input."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import MAPS, QUICK, REUSE, SPECTRA, assert_same_results

import hyperspy_zlpml.data
from hyperspy_zlpml import EELSZLPSpectrum, Ensemble, Report, ZLPRemoval
from hyperspy_zlpml.removal.applicability import OtherZeroLossPeakError


def finite_everywhere(result):
    return all(np.isfinite(getattr(result, name).data).all() for name in SPECTRA)


def rescaled(signal, factor, units):
    """The same spectra on an energy axis in other units."""
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.offset, axis.units = axis.scale * factor, axis.offset * factor, units
    return signal


# --- what comes back -----------------------------------------------------------------------------


def test_result_attributes(removal, sample):
    assert isinstance(removal, ZLPRemoval)
    assert isinstance(removal.ensemble, Ensemble)
    assert isinstance(removal.report, Report)
    for name in SPECTRA:
        signal = getattr(removal, name)
        assert type(signal) is EELSZLPSpectrum, name
        assert signal.data.shape == sample.signal.data.shape
        for a, b in zip(signal.axes_manager._axes, sample.signal.axes_manager._axes, strict=True):
            assert (a.name, a.units, a.scale, a.offset) == (b.name, b.units, b.scale, b.offset)
        assert signal.metadata.General.title.startswith("WS2-like flake ")
        assert signal.metadata.Acquisition_instrument.TEM.beam_energy == 200.0
    titles = {getattr(removal, name).metadata.General.title for name in SPECTRA + MAPS}
    assert len(titles) == len(SPECTRA + MAPS), "results are told apart by their titles"


def test_maps_are_native(removal, sample):
    for name in MAPS:
        signal = getattr(removal, name)
        assert isinstance(signal, hs.signals.BaseSignal), name
        assert signal.axes_manager.navigation_shape == (8, 8)
        assert signal.axes_manager.signal_dimension == 0
        assert signal.metadata.Signal.signal_type == ""
        assert signal.axes_manager[0].units == "nm"
        assert not signal._lazy
    assert removal.clusters.data.dtype.kind == "i"
    assert removal.vacuum.data.dtype == bool


def test_result_is_frozen(removal):
    with pytest.raises(AttributeError):
        removal.subtracted = None


def test_repr_says_what_it_is(removal):
    assert "ZLPRemoval" in repr(removal)
    assert "(8, 8|1024)" in repr(removal)
    assert f"{removal.report.n_kept} replicas" in repr(removal)


def test_parts_add_up_to_the_data(small, small_removal):
    small.change_dtype("float64")
    result = small.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    whole = result.subtracted.data + result.zlp.data + result.dark_level.data
    np.testing.assert_allclose(whole, small.data, rtol=1e-12, atol=1e-6)


def test_parts_add_up_with_a_pedestal():
    """The pedestal belongs to neither part."""
    image = hyperspy_zlpml.data.low_dose((4, 3), n_channels=1024, offset=-20.0, random_state=0)
    signal = image.signal
    signal.change_dtype("float64")
    signal.data += 500.0
    result = signal.remove_zlp_ml(n_clusters=2, **QUICK)
    assert result.report.pedestal == pytest.approx(500, abs=2)
    assert "500" in result.report.pedestal_note or "499" in result.report.pedestal_note
    whole = result.subtracted.data + result.zlp.data + result.dark_level.data
    np.testing.assert_allclose(whole, signal.data, rtol=1e-12)
    far = result.subtracted.isig[:-15.0].data
    assert abs(far.mean()) < 5 * far.std() / np.sqrt(far.size) + 1


def test_band_holds_the_subtracted_signal(removal):
    subtracted = removal.subtracted.data
    assert (removal.lower.data <= subtracted).all()
    assert (subtracted <= removal.upper.data).all()
    assert (removal.std.data >= 0).all()
    assert (removal.zlp.data > 0).all()


def test_subtraction_is_signed(removal, sample):
    """Noise about zero is not clipped: in vacuum it is below zero as often as above."""
    far = removal.subtracted.isig[:-2.0].data[sample.thickness.data == 0]
    assert 0.2 < (far < 0).mean() < 0.8


def test_noise_variance_is_counting_noise_and_model(small, small_removal):
    variance = small_removal.subtracted.get_noise_variance()
    assert isinstance(variance, EELSZLPSpectrum)
    assert variance.data.shape == small.data.shape
    noise = small_removal.ensemble.seen.noise
    counting = noise.of_measured(small.data.astype(float) - small_removal.report.pedestal)
    expected = counting + small_removal.std.data.astype(float) ** 2
    np.testing.assert_allclose(variance.data, expected, rtol=1e-5)
    # ... and the counting noise is the one that was put in: gain 1, read-out 30.
    assert noise.gain == pytest.approx(1, rel=0.1)
    assert noise.readout == pytest.approx(30, rel=0.15)


@pytest.mark.parametrize("kind", ["number", "signal"])
def test_given_noise_variance_is_used(small, kind):
    if kind == "number":
        given = 2500.0
        small.set_noise_variance(given)
    else:
        given = 4.0 * np.clip(small.data, 1, None) + 100.0
        small.set_noise_variance(small._deepcopy_with_new_data(given))
    result = small.remove_zlp_ml(n_clusters=2, **QUICK)
    variance = result.subtracted.get_noise_variance().data
    np.testing.assert_allclose(variance, given + result.std.data.astype(float) ** 2, rtol=1e-5)
    assert "variance of the signal" in result.report.noise
    if kind == "signal":
        assert result.ensemble.seen.noise.gain == pytest.approx(4, rel=0.1)


def test_zlp_has_no_variance_of_the_data(small, small_removal):
    """The variance of the counts is not that of the predicted peak."""
    small.set_noise_variance(100.0)
    result = small.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    assert result.zlp.get_noise_variance() is None
    assert result.std.get_noise_variance() is None


@pytest.mark.parametrize("read_only", [False, True])
def test_input_is_not_modified(small, read_only):
    small.set_noise_variance(small._deepcopy_with_new_data(np.clip(small.data, 1, None)))
    before = small.deepcopy()
    small.data.setflags(write=not read_only)
    small.remove_zlp_ml(n_clusters=2, vacuum=np.eye(3, 4, dtype=bool), **QUICK)
    np.testing.assert_array_equal(small.data, before.data)
    np.testing.assert_array_equal(small.get_noise_variance().data, before.get_noise_variance().data)
    for node in ("General", "Signal", "Acquisition_instrument"):
        actual, expected = (s.metadata.get_item(node).as_dictionary() for s in (small, before))
        actual.pop("Noise_properties", None), expected.pop("Noise_properties", None)
        assert str(actual) == str(expected)
    assert str(small.axes_manager) == str(before.axes_manager)


def test_arguments_are_not_modified(small):
    mask, thickness = np.zeros((3, 4), bool), np.arange(12.0).reshape(3, 4)
    mask[0, 0] = True
    regions = {"E_I": 1.0}
    copies = mask.copy(), thickness.copy()
    small.remove_zlp_ml(
        n_clusters=2, navigation_mask=mask, cluster_by=thickness, regions=regions, **QUICK
    )
    np.testing.assert_array_equal(mask, copies[0])
    np.testing.assert_array_equal(thickness, copies[1])
    assert regions == {"E_I": 1.0}


def test_result_does_not_share_memory_with_the_input(small, small_removal):
    result = small.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    before = result.subtracted.data.copy()
    small.data[:] = 0
    np.testing.assert_array_equal(result.subtracted.data, before)


def test_no_warning_on_good_data(image, recwarn):
    image.remove_zlp_ml(**QUICK)
    own = [str(w.message) for w in recwarn if issubclass(w.category, UserWarning)]
    assert not own


def test_zlp_is_never_higher_than_the_data():
    """Another random image of the same kind."""
    image = hyperspy_zlpml.data.ws2_like((8, 8), n_channels=1024, random_state=1)
    result = image.signal.remove_zlp_ml(**QUICK)
    height = image.signal.data.max(-1)
    np.testing.assert_allclose(result.zlp.data.max(-1), height, rtol=0.05)
    assert np.isfinite(result.ensemble.seen.regions.E_I).all(), "all clusters hold specimen"


# --- randomness ----------------------------------------------------------------------------------


def test_same_state_same_numbers(small, small_removal):
    again = small.remove_zlp_ml(n_clusters=2, **QUICK)
    assert_same_results(again, small_removal)
    np.testing.assert_array_equal(
        again.ensemble.networks.weights, small_removal.ensemble.networks.weights
    )


def test_same_state_same_numbers_whatever_the_global_state(small, small_removal):
    import torch

    np.random.seed(3)
    torch.manual_seed(3)
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    again = small.remove_zlp_ml(n_clusters=2, **QUICK)
    np.testing.assert_array_equal(
        again.ensemble.networks.weights, small_removal.ensemble.networks.weights
    )
    np.testing.assert_array_equal(np.random.get_state()[1], state[0])
    assert torch.equal(torch.get_rng_state(), state[1])


def test_same_state_same_numbers_whatever_the_threads(small):
    """One machine has two cores, another sixteen; OMP_NUM_THREADS may be set or not."""
    import torch

    before, weights = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            weights.append(
                small.train_zlp_ml(n_clusters=2, n_replicas=4, random_state=0).networks.weights
            )
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*weights)


def test_different_state_different_numbers(small, small_removal):
    other = small.remove_zlp_ml(n_clusters=2, n_replicas=8, random_state=1)
    assert not np.array_equal(
        other.ensemble.networks.weights, small_removal.ensemble.networks.weights
    )
    assert not np.array_equal(other.zlp.data, small_removal.zlp.data)


def test_no_state_is_random(small):
    a, b = (small.remove_zlp_ml(n_clusters=2, n_replicas=4) for _ in range(2))
    assert not np.array_equal(a.ensemble.networks.weights, b.ensemble.networks.weights)


def test_generator_as_state(small):
    a, b = (
        small.remove_zlp_ml(n_clusters=2, n_replicas=4, random_state=np.random.default_rng(5))
        for _ in range(2)
    )
    assert_same_results(a, b)


# --- navigation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (6,), (4, 3), (3, 2, 2)])
def test_navigation_dimensions(shape):
    signal = hyperspy_zlpml.data.ws2_like(shape, n_channels=512, offset=-2.0, random_state=0).signal
    result = signal.remove_zlp_ml(n_clusters=2, n_replicas=2, random_state=0)
    assert finite_everywhere(result)
    for name in SPECTRA:
        assert getattr(result, name).axes_manager.navigation_shape == shape
        assert getattr(result, name).axes_manager.signal_shape == (512,)
    for name in MAPS:
        assert getattr(result, name).data.size == signal.axes_manager.navigation_size or shape == ()
        assert getattr(result, name).axes_manager.navigation_shape == (shape or (1,))


def test_order_of_the_pixels_is_kept(sample, removal):
    """A map and the spectra of the same pixel belong together, x and y not exchanged."""
    centre = removal.centre.data
    assert np.abs(centre - sample.centre.data).max() < 0.025
    highest = sample.signal.axes_manager[-1].axis[removal.zlp.data.argmax(-1)]
    assert np.abs(highest - centre).max() <= 0.025


def test_one_spectrum_against_the_same_in_an_image(sample):
    """A spectrum alone, no vacuum beside it: the core is still the peak's."""
    pixel = np.unravel_index(sample.thickness.data.argmax(), (8, 8))
    signal = sample.signal.inav[pixel[::-1]]
    result = signal.remove_zlp_ml(**QUICK)
    truth = sample.zlp.data[pixel]
    core = truth > 0.1 * truth.max()
    np.testing.assert_allclose(result.zlp.data[core], truth[core], rtol=0.05)


def test_all_spectra_equal(small):
    small.data[:] = small.data[0, 0]
    result = small.remove_zlp_ml(**QUICK)
    assert finite_everywhere(result)
    assert np.ptp(result.subtracted.data, axis=(0, 1)).max() == 0
    assert (result.clusters.data == 0).all()


@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_more_clusters_than_spectra(shape):
    signal = hyperspy_zlpml.data.ws2_like(shape, n_channels=512, offset=-2.0, random_state=0).signal
    result = signal.remove_zlp_ml(n_clusters=10, **QUICK)
    assert finite_everywhere(result)
    assert any("n_clusters" in message for message in result.report.messages)


# --- units and number types ----------------------------------------------------------------------


@pytest.mark.parametrize("factor, units", [(1e3, "meV"), (1e-3, "keV")])
def test_other_units_same_result(small, small_removal, factor, units):
    result = rescaled(small, factor, units).remove_zlp_ml(n_clusters=2, **QUICK)
    assert_same_results(result, small_removal, rtol=1e-4)
    for name in ("centre", "fwhm"):
        np.testing.assert_allclose(
            getattr(result, name).data, factor * getattr(small_removal, name).data,
            rtol=1e-6, atol=1e-7 * factor,
        )  # fmt: skip
        assert units in getattr(result, name).metadata.Signal.quantity
    assert result.subtracted.axes_manager[-1].units == units


def test_regions_and_integrals_in_the_units_of_the_axis(small):
    expected = small.remove_zlp_ml(n_clusters=2, regions={"E_I": 1.0, "gain_limit": -1.2}, **QUICK)
    result = rescaled(small, 1e3, "meV").remove_zlp_ml(
        n_clusters=2, regions={"E_I": 1000.0, "gain_limit": -1200.0}, **QUICK
    )
    np.testing.assert_allclose(result.ensemble.seen.regions.E_I, 1.0)
    assert_same_results(result, expected, rtol=1e-4)
    for new, old in zip(result.integrate(2500, 4000), expected.integrate(2.5, 4), strict=True):
        np.testing.assert_allclose(new.data, old.data, rtol=1e-3)


@pytest.mark.parametrize(
    "dtype, expected",
    [
        ("float32", "float32"), ("float64", "float64"), ("float16", "float32"), ("int32", "float32"),
        ("uint16", "float32"), ("int64", "float32"), (">f4", "float32"),
    ],
)  # fmt: skip
def test_dtype_of_the_results(small, small_removal, dtype, expected):
    small.data = np.round(small.data / 100).astype(dtype)
    result = small.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    assert finite_everywhere(result)
    for name in SPECTRA:
        assert getattr(result, name).data.dtype == expected, name
    assert result.subtracted.get_noise_variance().data.dtype == expected


def test_integers_give_what_the_same_floats_give(small):
    small.data = np.round(small.data)
    expected = small.remove_zlp_ml(n_clusters=2, **QUICK)
    small.data = small.data.astype(np.int32)
    assert_same_results(small.remove_zlp_ml(n_clusters=2, **QUICK), expected, rtol=1e-6)


def test_unsigned_integers_do_not_wrap(small, small_removal):
    """Where the ZLP is above the counts the result is negative, not 65535."""
    small.data = np.clip(np.round(small.data / 100), 0, None).astype(np.uint16)
    result = small.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    assert (result.subtracted.data < 0).any()
    assert result.subtracted.data.max() < 1e4


def test_negative_counts():
    """Read-out noise makes negative counts; they are data."""
    signal = hyperspy_zlpml.data.low_dose(
        (4, 3), n_channels=512, random_state=0, readout=60.0
    ).signal
    assert (signal.data < 0).mean() > 0.05
    result = signal.remove_zlp_ml(n_clusters=2, **QUICK)
    assert finite_everywhere(result)
    negative = signal.data < 0
    assert (result.subtracted.data[negative] < 0).all()


@pytest.mark.parametrize(
    "peak_counts",
    [
        *(pytest.param(n) for n in (100, 300)),
        1000,
        10_000,
    ],
)
def test_counting_detector(peak_counts):
    """Integers, most of them zero, no read-out noise."""
    signal = hyperspy_zlpml.data.ws2_like(
        (6, 5), n_channels=512, offset=-2.0, peak_counts=peak_counts, readout=0.0, integer=True,
        random_state=0,
    ).signal  # fmt: skip
    result = signal.remove_zlp_ml(n_clusters=2, **QUICK)
    assert finite_everywhere(result)
    assert (result.subtracted.get_noise_variance().data > 0).all()


# --- which pixels --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def masked(_small):
    """The mask of two pixels, and what comes of ``small`` without them."""
    mask = np.zeros((3, 4), bool)
    mask[0, 1] = mask[2, 3] = True
    return mask, _small.deepcopy().remove_zlp_ml(n_clusters=2, navigation_mask=mask, **QUICK)


def test_navigation_mask_leaves_pixels_out(masked):
    mask, result = masked
    for name in SPECTRA:
        nan = np.isnan(getattr(result, name).data)
        np.testing.assert_array_equal(nan, np.broadcast_to(mask[..., None], nan.shape), name)
    variance = result.subtracted.get_noise_variance().data
    np.testing.assert_array_equal(np.isnan(variance).all(-1), mask)
    np.testing.assert_array_equal(result.clusters.data == -1, mask)
    assert not result.vacuum.data[mask].any()


def test_navigation_mask_is_nan_in_the_maps_too(masked):
    mask, result = masked
    for name in ("centre", "fwhm", "intensity"):
        np.testing.assert_array_equal(np.isnan(getattr(result, name).data), mask, name)


def test_masked_pixels_are_not_trained_on(small):
    """Whatever a masked pixel holds, the others get the same numbers."""
    mask = np.zeros((3, 4), bool)
    mask[1, 1] = True
    expected = small.remove_zlp_ml(n_clusters=2, navigation_mask=mask, **QUICK)
    small.data[1, 1] *= 3
    assert_same_results(small.remove_zlp_ml(n_clusters=2, navigation_mask=mask, **QUICK), expected)


@pytest.mark.parametrize("kind", ["signal", "lazy signal"])
def test_boolean_maps_may_be_signals(small, small_removal, kind):
    mask = np.zeros((3, 4), bool)
    mask[0, 1] = True
    expected = small.remove_zlp_ml(navigation_mask=mask, ensemble=small_removal.ensemble, **REUSE)
    value = hs.signals.BaseSignal(mask).T
    if kind == "lazy signal":
        value = value.as_lazy()
    result = small.remove_zlp_ml(navigation_mask=value, ensemble=small_removal.ensemble, **REUSE)
    assert_same_results(result, expected)


def test_vacuum_is_found(sample, removal):
    np.testing.assert_array_equal(removal.vacuum.data, sample.thickness.data == 0)
    assert removal.report.n_vacuum == (sample.thickness.data == 0).sum()


@pytest.mark.parametrize("kind", ["array", "signal"])
def test_vacuum_as_a_boolean_map(sample, image, removal, kind):
    vacuum = sample.thickness.data == 0
    vacuum[0, 0] = False
    given = vacuum if kind == "array" else hs.signals.BaseSignal(vacuum).T
    result = image.remove_zlp_ml(vacuum=given, ensemble=removal.ensemble, random_state=0)
    np.testing.assert_array_equal(result.vacuum.data, vacuum)
    assert result.report.n_vacuum == vacuum.sum()


@pytest.mark.parametrize("lazy", [False, True])
def test_vacuum_as_a_signal(lazy):
    """A vacuum measured elsewhere, at its own offset and dose, tells the tail of the peak."""
    specimen = hyperspy_zlpml.data.no_vacuum((5, 4), n_channels=1024, random_state=3)
    vacuum = hyperspy_zlpml.data.ws2_like(
        (4,), n_channels=900, offset=-6.0, thickness_range=(0, 0), peak_counts=1e6, random_state=4
    ).signal
    if lazy:
        vacuum = vacuum.as_lazy()
    result = specimen.signal.remove_zlp_ml(n_clusters=2, vacuum=vacuum, **QUICK)
    assert finite_everywhere(result)
    assert not result.vacuum.data.any()
    energy = specimen.signal.axes_manager[-1].axis
    tail = (energy > 2) & (energy < 3.5)
    ratio = result.zlp.data[..., tail].sum() / specimen.zlp.data[..., tail].sum()
    assert ratio == pytest.approx(1, abs=0.1)


def test_vacuum_of_one_spectrum(small):
    vacuum = hyperspy_zlpml.data.ws2_like(
        (), n_channels=512, offset=-2.0, thickness_range=(0, 0), random_state=4
    ).signal
    assert finite_everywhere(small.remove_zlp_ml(n_clusters=2, vacuum=vacuum, **QUICK))


# --- clusters and regions ------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["zlp", "total", "log_ratio", "map", "map signal"])
def test_clusters_are_ordered_by_thickness(sample, image, removal, by):
    thickness = sample.thickness.data
    value = {"map": thickness, "map signal": sample.thickness}.get(by, by)
    result = image.remove_zlp_ml(
        n_clusters=3, cluster_by=value, ensemble=removal.ensemble, random_state=0
    )
    assert set(np.unique(result.clusters.data)) == {0, 1, 2}
    means = [thickness[result.clusters.data == i].mean() for i in range(3)]
    assert means == sorted(means)
    sizes = [row.size for row in result.report.clusters]
    assert sizes == [(result.clusters.data == i).sum() for i in range(3)]


def test_automatic_number_of_clusters(image, removal):
    result = image.remove_zlp_ml(n_clusters="auto", ensemble=removal.ensemble, random_state=0)
    # t/lambda runs from 0 to 1, in clusters of about a quarter.
    assert 3 <= len(result.report.clusters) <= 6


@pytest.mark.parametrize("value", [0.9, [0.9, 1.1]])
def test_regions_override_those_found(small, value):
    result = small.remove_zlp_ml(
        n_clusters=2, regions={"E_I": value, "E_II": 6.0, "gain_limit": -1.0}, **QUICK
    )
    regions = result.ensemble.seen.regions
    np.testing.assert_allclose(regions.E_I, np.broadcast_to(value, 2))
    np.testing.assert_allclose(regions.E_II, 6.0)
    np.testing.assert_allclose(regions.gain_limit, -1.0)
    assert [row.E_I for row in result.report.clusters] == list(np.broadcast_to(value, 2))


def test_regions_given_for_one_limit_keep_the_others(small, small_removal):
    result = small.remove_zlp_ml(n_clusters=2, regions={"E_II": 6.0}, **QUICK)
    np.testing.assert_allclose(
        result.ensemble.seen.regions.E_I, small_removal.ensemble.seen.regions.E_I
    )


# --- ensembles -----------------------------------------------------------------------------------


def test_train_then_apply_is_remove(small, small_removal):
    """Regions and scatter are found anew, from the same spectra: the same within the errors."""
    ensemble = small.train_zlp_ml(n_clusters=2, **QUICK)
    assert isinstance(ensemble, Ensemble)
    np.testing.assert_array_equal(
        ensemble.networks.weights, small_removal.ensemble.networks.weights
    )
    assert ensemble.fingerprint == small_removal.ensemble.fingerprint
    result = small.remove_zlp_ml(ensemble=ensemble, **REUSE)
    assert result.ensemble is ensemble
    np.testing.assert_array_equal(result.clusters.data, small_removal.clusters.data)
    found, expected = (
        [(row.size, row.centre, row.E_I) for row in r.report.clusters]
        for r in (result, small_removal)
    )
    np.testing.assert_allclose(found, expected, rtol=0.1)
    # Limits of the match are found anew, too: beyond the nearer of two the error is that of its own tail.
    error = np.hypot(result.std.data, small_removal.std.data)
    pull = (result.zlp.data - small_removal.zlp.data) / error
    # Modes are as wide as the replicas again: other images vary in ways of their own.
    assert np.sqrt(np.mean(pull**2)) < 0.5
    assert np.abs(pull).max() < 2.5
    assert 0.9 < np.median(result.std.data / small_removal.std.data) < 1.6


def test_a_given_ensemble_is_not_modified(small, small_removal):
    before = small_removal.ensemble.fingerprint, small_removal.ensemble.seen.regions.E_I.copy()
    small.data *= 2
    small.remove_zlp_ml(ensemble=small_removal.ensemble, n_clusters=1, regions={"E_I": 1.0})
    ensemble = replace(small_removal.ensemble)  # what is cached is left behind
    assert ensemble.fingerprint == before[0]
    np.testing.assert_array_equal(ensemble.seen.regions.E_I, before[1])


@pytest.mark.parametrize("n_clusters", [1, 2, 3])
def test_clusters_are_those_of_the_image_and_not_of_the_ensemble(small, small_removal, n_clusters):
    result = small.remove_zlp_ml(
        ensemble=small_removal.ensemble, n_clusters=n_clusters, random_state=0
    )
    expected = small.remove_zlp_ml(n_clusters=n_clusters, **QUICK)
    np.testing.assert_array_equal(result.clusters.data, expected.clusters.data)
    assert len(result.report.clusters) == n_clusters
    assert [row.size for row in result.report.clusters] == [
        row.size for row in expected.report.clusters
    ]


def test_regions_count_with_a_given_ensemble(small, small_removal):
    given = {"E_I": [1.1, 1.3], "gain_limit": -1.2}
    result = small.remove_zlp_ml(ensemble=small_removal.ensemble, regions=given, **REUSE)
    assert [row.E_I for row in result.report.clusters] == [1.1, 1.3]
    assert [row.gain_limit for row in result.report.clusters] == [-1.2, -1.2]
    labels, vacuum = result.clusters.data.ravel(), result.vacuum.data.ravel()
    np.testing.assert_array_equal(
        result._application.peaks.loss_limit[~vacuum],
        np.array([1.1, 1.3])[labels[~vacuum]],
        "where they are matched",
    )
    with pytest.raises(ValueError, match="regions: expected one E_I or one for each of 2 clusters"):
        small.remove_zlp_ml(ensemble=small_removal.ensemble, regions={"E_I": [1.0] * 3}, **REUSE)


def test_the_dose_does_not_matter_to_a_given_ensemble(small, small_removal, small_reused):
    """Electrons counted three times over: everything is three times as large."""
    small.change_dtype("float64")
    small.data *= 3
    result = small.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    assert result.ensemble.seen.noise.gain == pytest.approx(
        result._application.subtraction.noise.gain / 3,
        rel=0.01,  # noise is estimated to three digits
    )
    assert not any("other data" in message for message in result.report.messages)
    for name in ("zlp", "std", "lower", "upper"):
        expected = 3 * getattr(small_reused, name).data.astype(float)
        error = np.abs(getattr(result, name).data - expected)
        assert (error <= 1e-3 * np.abs(expected) + 0.05 * 3 * small_reused.std.data).all(), name


def test_peaks_of_another_shape_are_refused(small, small_removal):
    """Tails of another power law: no width makes the flanks of one the other's."""
    axis = small.axes_manager[-1].axis
    small.data = small.data * (1 + (axis / 0.6) ** 2)
    with pytest.raises(OtherZeroLossPeakError, match="another shape.*Train on this image"):
        small.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)


def test_ensemble_on_other_data(sample, removal):
    """The same microscope setting, another place: the vacuum there vanishes."""
    other = hyperspy_zlpml.data.ws2_like((6, 5), n_channels=1024, random_state=9)
    result = other.signal.remove_zlp_ml(ensemble=removal.ensemble)
    assert finite_everywhere(result)
    integral, _ = result.integrate(1.0, 3.5)
    vacuum = other.thickness.data == 0
    energy = other.signal.axes_manager[-1].axis
    zlp = other.zlp.data[..., (energy > 1) & (energy < 3.5)].sum(-1)
    assert np.abs(integral.data[vacuum] / zlp[vacuum]).max() < 0.03


def test_ensemble_on_a_single_spectrum(sample, removal):
    result = sample.signal.inav[3, 4].remove_zlp_ml(ensemble=removal.ensemble)
    np.testing.assert_allclose(
        result.zlp.data, removal.zlp.data[4, 3], rtol=0.05, atol=1e-4 * removal.zlp.data.max()
    )


def test_ensemble_on_another_axis(removal, image):
    """Another offset and range of the same dispersion."""
    cropped = image.isig[40:800]
    result = cropped.remove_zlp_ml(ensemble=removal.ensemble)
    expected = removal.zlp.data[..., 40:800]
    np.testing.assert_allclose(result.zlp.data, expected, rtol=0.05, atol=1e-4 * expected.max())


def test_ensemble_of_other_data_warns(small, removal):
    small.data /= 100
    with pytest.warns(UserWarning, match="trained on other data.*the dose is 0.0") as caught:
        result = small.remove_zlp_ml(ensemble=removal.ensemble)
    assert len([w for w in caught if "other data" in str(w.message)]) == 1
    assert any("other data" in message for message in result.report.messages)
    # Ten times is allowed, the square root of ten more doubles the band: a hundredth, three times.
    assert result.subtracted.metadata.ZLP_ML.distance == pytest.approx(2, abs=0.1)


def test_ensemble_trained_with_a_map_needs_none_of_another_image(small):
    """Clusters and their regions are those of the image, by whatever proxy is asked for."""
    thickness = np.arange(12.0).reshape(3, 4)
    ensemble = small.train_zlp_ml(n_clusters=2, cluster_by=thickness, **QUICK)
    by_zlp = small.remove_zlp_ml(ensemble=ensemble, **REUSE)
    by_map = small.remove_zlp_ml(ensemble=ensemble, cluster_by=thickness, **REUSE)
    assert finite_everywhere(by_zlp)
    assert finite_everywhere(by_map)
    np.testing.assert_array_equal(by_map.clusters.data, thickness > 5.5)
    assert not np.array_equal(by_zlp.clusters.data, by_map.clusters.data)


@pytest.mark.parametrize("kind", ["gaussian", "spectra"])
def test_both_kinds_of_replicas(sample, image, kind):
    result = image.remove_zlp_ml(replica_kind=kind, **QUICK)
    assert result.report.n_replicas == 8
    vacuum = sample.thickness.data == 0
    energy = sample.signal.axes_manager[-1].axis
    window = (energy > 1) & (energy < 3.5)
    residual = result.subtracted.data[vacuum][:, window].sum()
    assert abs(residual / sample.zlp.data[vacuum][:, window].sum()) < 0.02


def test_kinds_of_replicas_differ(small, small_removal):
    other = small.remove_zlp_ml(n_clusters=2, replica_kind="spectra", **QUICK)
    assert not np.array_equal(
        other.ensemble.networks.weights, small_removal.ensemble.networks.weights
    )


# --- uncertainty ---------------------------------------------------------------------------------


def test_confidence_widens_the_band(small, small_removal):
    widths = [
        (lambda r: r.upper.data - r.lower.data)(
            small.remove_zlp_ml(ensemble=small_removal.ensemble, confidence=confidence)
        )
        for confidence in (0.3, 0.68, 0.95)
    ]
    assert (widths[0] > 0).all()
    # Far tails of single precision: the band may be equal, never narrower.
    for narrow, wide in zip(widths[:-1], widths[1:], strict=True):
        assert (wide >= narrow * (1 - 1e-4)).all()
        assert np.median(wide / narrow) > 1.2


def test_confidence_leaves_the_rest_alone(small, small_reused):
    wide = small.remove_zlp_ml(confidence=0.95, ensemble=small_reused.ensemble, **REUSE)
    assert_same_results(wide, small_reused, names=("subtracted", "zlp", "std"))


def test_band_holds_the_truth(sample, image):
    """At the stated confidence, between E_I and E_II where the ZLP is predicted."""
    removal = image.remove_zlp_ml(n_replicas=50, random_state=0)
    data = sample.signal.data
    low, high = data - removal.upper.data, data - removal.lower.data
    energy = sample.signal.axes_manager[-1].axis
    window = (energy > 1.2) & (energy < 4)
    truth = sample.zlp.data
    specimen = sample.thickness.data > 0
    inside = ((low <= truth) & (truth <= high))[specimen][:, window].mean()
    assert inside > 0.4


def test_integrate_is_the_sum(removal, sample):
    integral, error = removal.integrate(2.5, 4.0)
    for signal in (integral, error):
        assert signal.axes_manager.navigation_shape == (8, 8)
        assert signal.axes_manager.signal_dimension == 0
    energy = sample.signal.axes_manager[-1].axis
    distance = energy - removal.centre.data[..., None]
    by_hand = np.where((distance >= 2.5) & (distance < 4), removal.subtracted.data, 0).sum(-1)
    # The peak's fitted centre decides on the outermost channels.
    edge = np.abs(removal.subtracted.data[..., (energy > 2.3) & (energy < 4.2)]).max(-1)
    assert (np.abs(integral.data - by_hand) <= 2 * edge + 1).all()
    # Correlated errors of the model add up to more than the counting noise alone.
    n_channels = round(1.5 / 0.025)
    assert (error.data > 30 * np.sqrt(n_channels) * 0.8).all()


def test_integrate_finds_the_losses(removal, sample):
    integral, error = removal.integrate(2.5, 4.0)
    thickness = sample.thickness.data
    assert (integral.data[thickness > 0.3] > 5 * error.data[thickness > 0.3]).all()
    pull = integral.data[thickness == 0] / error.data[thickness == 0]
    assert np.sqrt((pull**2).mean()) < 2


def test_integrate_of_nan_pixels(masked):
    mask, result = masked
    for signal in result.integrate(2.5, 4.0):
        np.testing.assert_array_equal(np.isnan(signal.data), mask)


def test_integrate_of_a_single_spectrum(sample, removal):
    result = sample.signal.inav[3, 4].remove_zlp_ml(ensemble=removal.ensemble)
    integral, error = result.integrate(2.5, 4.0)
    assert integral.data.size == error.data.size == 1


def test_integrate_refuses_limits_in_the_wrong_order(removal):
    with pytest.raises(ValueError, match="left: expected less than right = 1.0, got 3.0"):
        removal.integrate(3.0, 1.0)


def test_integrate_refuses_a_window_narrower_than_a_channel(removal):
    with pytest.raises(ValueError, match=r"at least a channel \(0.025 eV\) apart, got 0.0001 eV"):
        removal.integrate(2.5, 2.5001)
    integral, _ = removal.integrate(2.5, 2.525)
    assert (integral.data != 0).all()


def test_integrate_names_the_units_of_the_axis(sample, removal):
    signal = sample.signal.deepcopy()
    axis = signal.axes_manager.signal_axes[0]
    axis.units, axis.scale, axis.offset = "meV", 1e3 * axis.scale, 1e3 * axis.offset
    result = signal.inav[:3, :1].remove_zlp_ml(ensemble=removal.ensemble)
    with pytest.raises(ValueError, match=r"at least a channel \(25 meV\) apart, got 2 meV\."):
        result.integrate(2, 4)
    with pytest.raises(ValueError, match="on the axis, got 200000 to 300000 meV from the peak"):
        result.integrate(200_000, 300_000)
    with pytest.raises(ValueError, match="E_I between .* the axis.*, in the units of the axis"):
        signal.inav[:3, :1].remove_zlp_ml(ensemble=removal.ensemble, regions={"E_I": 1.2})


@pytest.mark.parametrize(
    "place, said",
    [
        ((0, 50), r"pixels 0 to \d+ of axis 1 \(y\), got 50"),
        ((50, 0), r"pixels 0 to \d+ of axis 0 \(x\), got 50"),
        ((..., -51), r"of axis 1 \(y\), got -51"),
        ((0, 0, 0), r"at most one for each axis \(x, y\), got 3"),
    ],
)
def test_pixels_that_are_not_there_are_named_as_hyperspy_counts_them(removal, place, said):
    with pytest.raises(IndexError, match=said):
        removal.inav[place]
    assert removal.inav[..., -1].clusters.data.shape == removal.clusters.inav[..., -1].data.shape


@pytest.mark.parametrize("exponent", ["direct", 7])
def test_exponents_of_gaps_are_named(removal, exponent):
    with pytest.raises(ValueError, match=r"exponent: .* 0.5 \(direct gap\) or 1.5 \(indirect\)"):
        removal.band_gap(exponent=exponent)


def test_retardation_is_asked_for_by_itself(removal):
    with pytest.raises(ValueError, match=r"retardation: .* by itself: r.retardation\(...\)"):
        removal.maps(retardation={})


# --- what one does with the parts ----------------------------------------------------------------


def test_zlp_feeds_exspy(sample, removal):
    """The removed peak is what eXSpy's thickness and deconvolution ask for."""
    thickness = sample.signal.estimate_thickness(zlp=removal.zlp)
    truth = sample.thickness.data
    # Losses beyond the end of the axis are missing from the total.
    assert np.corrcoef(thickness.data.ravel(), truth.ravel())[0, 1] > 0.99
    assert np.abs(thickness.data[truth == 0]).max() < 0.03
    deconvolved = sample.signal.fourier_log_deconvolution(removal.zlp)
    assert isinstance(deconvolved, EELSZLPSpectrum)
    assert np.isfinite(deconvolved.data).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_subtracted_feeds_kramers_kronig(removal):
    epsilon = removal.subtracted.isig[0.5:].kramers_kronig_analysis(
        zlp=removal.zlp.integrate1D(-1), iterations=1, n=2.0
    )
    assert np.isfinite(epsilon.data).mean() > 0.99


def test_noise_variance_weights_a_fit(small_removal):
    spectrum = small_removal.subtracted.inav[3, 2].isig[7.0:9.0]
    model = spectrum.create_model(auto_background=False, auto_add_edges=False)
    model.append(hs.model.components1D.Polynomial(order=2))
    model.fit()
    assert 0.3 < model.red_chisq.data.item() < 3


# --- report, plot, saving ------------------------------------------------------------------------


def test_report_prints_what_was_done(removal):
    text = str(removal.report)
    for word in ("noise", "pedestal", "clusters", "E_I", "E_II", "replicas", "chi2", "vacuum"):
        assert word in text
    assert "of 8 kept" in text
    assert len(text.splitlines()) < 40
    assert repr(removal.report) == text


def test_report_accounts_for_every_replica(removal):
    report = removal.report
    assert report.n_kept + sum(report.dropped.values()) == report.n_replicas == 8
    assert removal.ensemble.n_replicas == report.n_kept
    assert np.isfinite([report.chi2, report.chi2_validation]).all()


def test_report_checks_held_out_vacuum():
    """With vacuum to spare some of it is kept from training and predicted."""
    image = hyperspy_zlpml.data.ws2_like((12, 10), n_channels=512, offset=-2.0, random_state=5)
    report = image.signal.remove_zlp_ml(n_clusters=3, **QUICK).report
    assert report.n_vacuum >= 20
    assert report.vacuum is not None
    assert report.vacuum.n_spectra >= 4
    assert abs(report.vacuum.residual) < 0.2
    assert "check" in str(report)


def test_report_counts_left_out_pixels(masked):
    _, result = masked
    assert result.report.n_unusable == 2
    assert "2 spectra, NaN" in str(result.report)


def test_progressbar(small, small_removal, capsys):
    small.remove_zlp_ml(n_clusters=2, show_progressbar=False, **QUICK)
    out, err = capsys.readouterr()
    assert out == err == ""
    small.remove_zlp_ml(n_clusters=2, show_progressbar=True, **QUICK)
    out, err = capsys.readouterr()
    assert "Training networks" in out + err
    assert "100%" in out + err


def test_progressbar_follows_the_preferences(small, small_removal, capsys):
    hs.preferences.General.show_progressbar = True
    try:
        small.remove_zlp_ml(ensemble=small_removal.ensemble)
    finally:
        hs.preferences.General.show_progressbar = False
    assert "%" in "".join(capsys.readouterr())


def test_compute_of_an_eager_result_does_nothing(removal):
    before = removal.subtracted.data
    removal.compute()
    assert removal.subtracted.data is before


def test_save(small_removal, tmp_path):
    small_removal.save(tmp_path / "new" / "results", signals=SPECTRA)
    directory = tmp_path / "new" / "results"
    names = {path.name for path in directory.iterdir()}
    files = {"report.txt", "ensemble.zlp", "model.safetensors", "posterior.zspy"}
    assert names == {f"{name}.zspy" for name in SPECTRA + MAPS} | files
    for name in SPECTRA + MAPS:
        loaded = hs.load(directory / f"{name}.zspy")
        expected = getattr(small_removal, name)
        np.testing.assert_array_equal(loaded.data, expected.data, name)
        assert type(loaded) is type(expected)
        assert loaded.axes_manager.navigation_shape == expected.axes_manager.navigation_shape
    variance = hs.load(directory / "subtracted.zspy").get_noise_variance()
    np.testing.assert_array_equal(variance.data, small_removal.subtracted.get_noise_variance().data)
    assert (directory / "report.txt").read_text(encoding="utf-8") == f"{small_removal.report}\n"


def test_save_again_overwrites_if_told(small_removal, tmp_path):
    small_removal.save(tmp_path)
    (tmp_path / "report.txt").write_text("old")
    small_removal.save(tmp_path, overwrite=True)
    assert (tmp_path / "report.txt").read_text(encoding="utf-8") != "old"


def test_save_does_not_overwrite_if_told_not_to(small_removal, tmp_path):
    small_removal.save(tmp_path)
    (tmp_path / "report.txt").write_text("old")
    small_removal.save(tmp_path, overwrite=False)
    assert (tmp_path / "report.txt").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("extension", ["hspy", "zspy"])
def test_results_save_like_any_signal(small_removal, tmp_path, extension):
    file = tmp_path / f"subtracted.{extension}"
    small_removal.subtracted.save(file)
    loaded = hs.load(file)
    assert type(loaded) is EELSZLPSpectrum
    np.testing.assert_array_equal(
        loaded.get_noise_variance().data, small_removal.subtracted.get_noise_variance().data
    )


# --- device --------------------------------------------------------------------------------------


def test_a_device_that_is_not_there_is_refused_before_the_data_are_read(small, monkeypatch):
    def read(*args):
        raise AssertionError("the data were read")

    monkeypatch.setattr("hyperspy_zlpml.workflow.measure_and_describe", read)
    for device in ("nonsense", "cuda:99", 7):
        with pytest.raises(ValueError, match="device: expected a device of torch"):
            small.remove_zlp_ml(device=device, **QUICK)
        with pytest.raises(ValueError, match="device: expected a device of torch"):
            small.train_zlp_ml(device=device, **QUICK)


def test_the_cpu_is_the_default_where_there_is_no_gpu(small, small_removal):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU: numbers agree within rounding only")
    ensemble = small.train_zlp_ml(n_clusters=2, device="cpu", **QUICK)
    np.testing.assert_array_equal(
        ensemble.networks.weights, small_removal.ensemble.networks.weights
    )


def test_four_calls_on_one_signal_at_once_give_what_one_gives(small, small_removal):
    before = small.data.copy()
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(small.remove_zlp_ml, n_clusters=2, **QUICK) for _ in range(4)]
    for call in calls:
        assert_same_results(call.result(), small_removal)
    np.testing.assert_array_equal(small.data, before)
