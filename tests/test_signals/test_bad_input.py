# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: an error or one warning that names the argument, what was expected, what was got."""

import warnings

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import QUICK, SPECTRA

import hyperspy_zlpml.data
from hyperspy_zlpml import EELSZLPSpectrum, NoZeroLossPeakError


def energy(signal):
    return signal.axes_manager.signal_axes[0]


def own_warnings(caught):
    """Messages of the package: it warns with UserWarning itself, at the line that called it."""
    own = [w for w in caught if w.category is UserWarning]
    assert all(w.filename == __file__ for w in own), [w.filename for w in own]
    return [str(w.message) for w in own]


METHODS = {
    "remove": lambda s, **kw: s.remove_zlp_ml(**{**QUICK, **kw}),
    "train": lambda s, **kw: s.train_zlp_ml(**{**QUICK, **kw}),
}


@pytest.fixture(params=METHODS)
def method(request):
    """Both methods that check their input."""
    return METHODS[request.param]


# --- no peak -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
def test_no_peak_anywhere(method, lazy):
    counts = np.random.default_rng(0).normal(100, 4.2, (3, 4, 512))
    signal = EELSZLPSpectrum(counts)
    energy(signal).units, energy(signal).scale = "eV", 0.1
    if lazy:
        signal = signal.as_lazy()
    with pytest.raises(NoZeroLossPeakError, match="no zero-loss peak found in any of 12 spectra"):
        method(signal)


def test_no_peak_error_is_a_value_error():
    assert issubclass(NoZeroLossPeakError, ValueError)


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan, np.inf])
def test_constant_spectra(small, method, value):
    small.data[:] = value
    with pytest.raises(NoZeroLossPeakError, match="no zero-loss peak found"):
        method(small)


def test_core_loss(small, method):
    """Counts that only fall, from the first channel on."""
    axis = energy(small)
    axis.offset = 400.0
    small.data[:] = 1e5 * (axis.axis / 400) ** -3
    with pytest.raises(NoZeroLossPeakError, match="no zero-loss peak found"):
        method(small)


def test_everything_masked(small, method):
    with pytest.raises(ValueError, match="navigation_mask"):
        method(small, navigation_mask=np.ones((3, 4), bool))


BAD_PIXELS = {
    "nan": lambda spectrum: np.put(spectrum, [40], np.nan),
    "all nan": lambda spectrum: spectrum.fill(np.nan),
    "inf": lambda spectrum: np.put(spectrum, [400], np.inf),
    "minus inf": lambda spectrum: np.put(spectrum, [3], -np.inf),
    "zero": lambda spectrum: spectrum.fill(0.0),
    "noise": lambda spectrum: np.copyto(
        spectrum, np.random.default_rng(1).normal(0, 30, spectrum.size)
    ),
}


@pytest.fixture(scope="module")
def without_two(_small):
    """The map of two pixels, and what comes of ``small`` where they are masked."""
    bad = np.zeros((3, 4), bool)
    bad[0, 1] = bad[2, 2] = True
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        alone = _small.deepcopy().remove_zlp_ml(n_clusters=2, navigation_mask=bad, **QUICK)
    assert not own_warnings(caught)
    return bad, alone


@pytest.mark.parametrize("kind", BAD_PIXELS)
def test_pixels_without_a_usable_peak(small, without_two, recwarn, kind):
    """NaN in every output, counted in one warning, and the others as if it were not there."""
    bad, alone = without_two
    for position in np.argwhere(bad):
        BAD_PIXELS[kind](small.data[tuple(position)])
    result = small.remove_zlp_ml(n_clusters=2, **QUICK)

    messages = own_warnings(recwarn)
    assert len(messages) == 1, messages
    assert "2 of 12 spectra are left out and NaN in every result" in messages[0]
    expected = "NaN or infinite" if kind in ("nan", "all nan", "inf", "minus inf") else "without a"
    assert f"2 with{'out' if expected == 'without a' else ''}" in messages[0]
    assert expected in messages[0]

    for name in SPECTRA:
        actual, reference = getattr(result, name).data, getattr(alone, name).data
        assert np.isnan(actual[bad]).all(), name
        np.testing.assert_array_equal(actual[~bad], reference[~bad], name)
    assert np.isnan(result.subtracted.get_noise_variance().data[bad]).all()
    for name in ("centre", "fwhm", "intensity"):
        np.testing.assert_array_equal(np.isnan(getattr(result, name).data), bad, name)
    assert (result.clusters.data[bad] == -1).all()
    assert not result.vacuum.data[bad].any()
    assert result.report.n_unusable == 2


def test_train_counts_bad_pixels_once(small, recwarn):
    small.data[0, 0] = np.nan
    small.train_zlp_ml(n_clusters=2, **QUICK)
    messages = own_warnings(recwarn)
    assert len(messages) == 1, messages
    assert "1 of 12 spectra are left out" in messages[0]


def test_only_one_good_pixel(small):
    small.data[1:] = 0.0
    small.data[0, 1:] = np.nan
    with pytest.warns(UserWarning, match="11 of 12 spectra are left out"):
        result = small.remove_zlp_ml(**QUICK)
    assert np.isfinite(result.subtracted.data[0, 0]).all()


def test_peak_parameters_of_bad_pixels_are_nan(small):
    small.data[0, 0] = np.nan
    small.data[1, 1] = 0.0
    for signal in small.estimate_zlp_parameters():
        np.testing.assert_array_equal(np.argwhere(np.isnan(signal.data)), [[0, 0], [1, 1]])


# --- energy axis ---------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [None, "", " "])
def test_axis_without_units(small, method, units):
    if units is not None:
        energy(small).units = units
    else:
        from traits.api import Undefined

        energy(small).units = Undefined
    with pytest.raises(ValueError, match=r"no units, expected eV.*units = 'eV'"):
        method(small)


@pytest.mark.parametrize("units", ["nm", "1/nm", "s", "channels", "counts", "ev"])
def test_units_not_of_energy(small, method, units):
    energy(small).units = units
    with pytest.raises(
        ValueError, match=rf"'{units}', expected eV, meV or keV; set it.*units = 'eV'"
    ):
        method(small)


def test_non_uniform_axis(small, method):
    energy(small).convert_to_non_uniform_axis()
    with pytest.raises(ValueError, match="uniform energy axis.*interpolate_on_axis"):
        method(small)


def test_decreasing_axis(small, method):
    energy(small).scale = -0.025
    with pytest.raises(ValueError, match=r"increasing energy axis.*-0\.025.*isig\[::-1\]"):
        method(small)


def test_way_out_of_a_decreasing_axis(small, small_removal):
    """What the error advises works."""
    axis = energy(small)
    small.data = small.data[..., ::-1].copy()
    axis.offset, axis.scale = axis.axis[-1], -axis.scale
    result = small.isig[::-1].remove_zlp_ml(n_clusters=2, **QUICK)
    assert np.isfinite(result.subtracted.data).all()


def test_way_out_of_a_non_uniform_axis(small):
    energy(small).convert_to_non_uniform_axis()
    fixed = small.interpolate_on_axis("uniform", -1, inplace=False)
    assert np.isfinite(fixed.remove_zlp_ml(n_clusters=2, **QUICK).zlp.data).all()


@pytest.mark.parametrize("n_channels", [2, 16, 63])
def test_fewer_than_64_channels(small, method, n_channels):
    with pytest.raises(ValueError, match=f"at least 64 channels of energy, got {n_channels}"):
        method(small.isig[:n_channels])


def test_peak_parameters_check_the_axis(small):
    energy(small).units = "nm"
    with pytest.raises(ValueError, match="'nm', expected eV"):
        small.estimate_zlp_parameters()


# --- the peak itself -----------------------------------------------------------------------------


def test_saturated_peak(small, recwarn):
    small.data = np.minimum(small.data, 0.6 * small.data.max(-1, keepdims=True))
    result = small.remove_zlp_ml(n_clusters=2, **QUICK)
    messages = [m for m in own_warnings(recwarn) if "saturated" in m]
    assert len(messages) == 1
    assert "12 of 12" in messages[0]
    assert any("saturated" in message for message in result.report.messages)
    assert "saturated" in str(result.report)


def test_saturated_integers(small, recwarn):
    """A 16-bit camera that ran into its end."""
    small.data = np.clip(np.round(small.data / 10), 0, 65535).astype(np.uint16)
    small.remove_zlp_ml(n_clusters=2, **QUICK)
    assert any("saturated" in message for message in own_warnings(recwarn))


def test_a_flat_top_is_not_saturation_by_itself(small, recwarn):
    """Rounded low counts have equal neighbours too."""
    small.data = np.round(small.data / 1e5)
    small.remove_zlp_ml(n_clusters=2, **QUICK)
    assert not [m for m in own_warnings(recwarn) if "saturated" in m]


@pytest.mark.parametrize("first", [75, 80])
def test_peak_at_the_left_edge(small, method, first):
    """The axis starts at or within the half height of the peak."""
    with pytest.raises(NoZeroLossPeakError, match="cut by the edge"):
        method(small.isig[first:])


def test_peak_at_the_right_edge(small, method):
    with pytest.raises(NoZeroLossPeakError, match="cut by the edge"):
        method(small.isig[:82])


def test_one_peak_at_the_edge(small, recwarn):
    small.data[1, 1] = np.roll(small.data[1, 1], -80)
    result = small.remove_zlp_ml(n_clusters=2, **QUICK)
    messages = [m for m in own_warnings(recwarn) if "left out" in m]
    assert len(messages) == 1, messages
    assert "1 with the peak cut by the edge" in messages[0]
    assert np.isnan(result.zlp.data[1, 1]).all()


def test_peak_narrower_than_two_channels(recwarn):
    signal = hyperspy_zlpml.data.ws2_like(
        (4, 3), n_channels=256, scale=0.3, offset=-20.0, random_state=0
    ).signal
    result = signal.remove_zlp_ml(n_clusters=2, **QUICK)
    messages = [m for m in own_warnings(recwarn) if "channels wide" in m]
    assert len(messages) == 1
    assert any("channels wide" in message for message in result.report.messages)


def test_single_channel_peak(small):
    """A delta: no width, no shape, a hot channel. Not a number in silence."""
    small.data[:] = np.random.default_rng(0).normal(0, 1, small.data.shape)
    small.data[..., 80] = 1e5
    with pytest.raises(ValueError, match="no zero-loss peak found beside channels .* 80 "):
        small.remove_zlp_ml(n_clusters=2, **QUICK)


def test_pedestal_that_cannot_be_seen_is_reported(small):
    report = small.remove_zlp_ml(n_clusters=2, **QUICK).report
    assert report.pedestal == 0
    assert "too close to the peak" in report.pedestal_note
    assert report.pedestal_note in str(report)


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.05, 0.0251])
def test_vacuum_with_another_dispersion(small, method, scale):
    vacuum = hyperspy_zlpml.data.ws2_like((3,), n_channels=512, scale=scale, random_state=0).signal
    with pytest.raises(ValueError, match=rf"vacuum: expected the dispersion.*0\.025.*got {scale}"):
        method(small, vacuum=vacuum)


def test_vacuum_in_other_units_is_fine(small):
    vacuum = hyperspy_zlpml.data.ws2_like(
        (3,), n_channels=512, offset=-2.0, thickness_range=(0, 0), random_state=0
    ).signal
    expected = small.remove_zlp_ml(n_clusters=2, vacuum=vacuum, **QUICK)
    axis = energy(vacuum)
    axis.offset, axis.scale, axis.units = axis.offset * 1e3, axis.scale * 1e3, "meV"
    result = small.remove_zlp_ml(n_clusters=2, vacuum=vacuum, **QUICK)
    np.testing.assert_allclose(result.zlp.data, expected.zlp.data, rtol=1e-3)


def test_vacuum_without_units(small, method):
    vacuum = small.deepcopy()
    energy(vacuum).units = ""
    with pytest.raises(ValueError, match="vacuum: the energy axis has no units"):
        method(small, vacuum=vacuum)


def test_vacuum_without_a_peak(small, method):
    vacuum = small.deepcopy()
    vacuum.data[:] = 0
    with pytest.raises(NoZeroLossPeakError, match="vacuum: no zero-loss peak"):
        method(small, vacuum=vacuum)


@pytest.mark.parametrize("argument", ["vacuum", "navigation_mask"])
@pytest.mark.parametrize("shape", [(4, 3), (3,), (3, 4, 512), ()])
def test_boolean_map_of_the_wrong_shape(small, method, argument, shape):
    with pytest.raises(ValueError, match=rf"{argument}: expected a map of shape \(3, 4\)"):
        method(small, **{argument: np.ones(shape, bool)})


@pytest.mark.parametrize("argument", ["vacuum", "navigation_mask"])
@pytest.mark.parametrize("dtype", [int, float])
def test_map_that_is_not_boolean(small, method, argument, dtype):
    with pytest.raises(ValueError, match=f"{argument}: expected a boolean map, got dtype"):
        method(small, **{argument: np.ones((3, 4), dtype)})


def test_boolean_signal_of_the_wrong_shape(small, method):
    mask = hs.signals.BaseSignal(np.zeros((4, 3), bool)).T
    with pytest.raises(ValueError, match=r"navigation_mask: expected a map of shape \(3, 4\)"):
        method(small, navigation_mask=mask)


def test_cluster_map_of_the_wrong_shape(small, method):
    with pytest.raises(ValueError, match=r"cluster_by: expected a map of shape \(3, 4\).*\(4, 3\)"):
        method(small, cluster_by=np.zeros((4, 3)))


def test_cluster_map_with_nan_leaves_pixels_out(small):
    """A thickness map often has holes. They must be told of, like any pixel left out."""
    thickness = np.arange(12.0).reshape(3, 4)
    thickness[1, 1] = np.nan
    with pytest.warns(UserWarning, match="1 of 12 spectra"):
        result = small.remove_zlp_ml(n_clusters=2, cluster_by=thickness, **QUICK)
    assert np.isnan(result.zlp.data[1, 1]).all()
    assert result.clusters.data[1, 1] == -1
    assert result.report.n_unusable == 1


def test_cluster_map_of_nan_only(small, method):
    with pytest.raises(ValueError, match="cluster_by"):
        method(small, cluster_by=np.full((3, 4), np.nan))


OPTIONS = {
    "n_clusters": (0, -1, 2.5, "many", None, True),
    "cluster_by": ("thickness", "", "ZLP"),
    "n_replicas": (0, 1, -5, 2.5, "100", None),
    "replica_kind": ("bootstrap", None, "Gaussian"),
    "random_state": ("seed", 1.5, -1),
    "regions": (
        (1, 2),
        {"E_1": 1.0},
        {"E_I": -1.0},
        {"gain_limit": 1.0},
        {"E_I": np.nan},
        {"E_I": 0},
    ),
}
EXPECTED = {
    "n_clusters": "expected an integer from 1 to 50 or 'auto'",
    "cluster_by": r"expected one of \['log_ratio', 'total', 'zlp'\] or a map",
    "n_replicas": "expected an integer from 2 to 10000",
    "replica_kind": r"expected one of \['gaussian', 'spectra'\]",
    "random_state": "expected an int",
    "regions": "expected",
}


@pytest.mark.parametrize(
    "argument, value", [(name, value) for name, values in OPTIONS.items() for value in values]
)
def test_unknown_option_values(small, method, argument, value):
    options = {**QUICK, "n_clusters": 2, argument: value}
    with pytest.raises(ValueError, match=f"{argument}: {EXPECTED[argument]}") as caught:
        method(small, **options)
    if not isinstance(value, (tuple, dict)):
        assert repr(value) in str(caught.value)


def test_wrong_number_of_regions(small, method):
    with pytest.raises(ValueError, match="regions: expected one E_I or one for each of 2 clusters"):
        method(small, n_clusters=2, regions={"E_I": [1.0, 1.1, 1.2]})


@pytest.mark.parametrize("value", ["1 eV", "1", True, None, [], [[1.0]], {}])
def test_regions_that_are_not_numbers(small, method, value):
    with pytest.raises(ValueError, match="regions: E_I: expected"):
        method(small, n_clusters=2, regions={"E_I": value})


def test_regions_in_the_wrong_order(small, method):
    with pytest.raises(ValueError, match="regions: expected"):
        method(small, n_clusters=2, regions={"E_I": 3.0, "E_II": 2.0})


@pytest.mark.parametrize("value", ["ws2.zlp", 3, {}])
def test_ensemble_that_is_none(small, value):
    with pytest.raises(
        ValueError,
        match="ensemble: expected an Ensemble, as a training and hyperspy_zlpml.load return",
    ):
        small.remove_zlp_ml(ensemble=value)


def test_bad_arguments_are_refused_before_any_work(small):
    """A lazy signal is not read for a typing error."""
    import dask.array as da

    def never(block):
        raise AssertionError("the data were read")

    lazy = small.as_lazy()
    lazy.data = da.map_blocks(never, lazy.data, dtype=lazy.data.dtype, meta=np.empty((0, 0, 0)))
    for options in (
        {"n_clusters": 0}, {"confidence": 2}, {"regions": {"E_1": 1}}, {"random_state": "x"},
        {"cluster_by": "x"}, {"vacuum": np.ones(3, bool)}, {"ensemble": 3},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(options))):
            lazy.remove_zlp_ml(**options)
