# SPDX-License-Identifier: GPL-3.0-or-later
"""The signal type survives what HyperSpy does to signals, and eXSpy's methods work on it."""

import exspy.models
import hyperspy.api as hs
import numpy as np
import pytest
from exspy.signals import EELSSpectrum, LazyEELSSpectrum

from hyperspy_zlpml import EELSZLPSpectrum, LazyEELSZLPSpectrum

FORMATS = ("hspy", "zspy")


@pytest.fixture(autouse=True)
def distinct_metadata(small):
    """Axes and metadata that no default would give by chance."""
    small.axes_manager[0].scale = 0.7
    small.axes_manager[1].offset = 3.0
    small.metadata.General.title = "a title of its own"
    small.metadata.General.notes = "by hand"
    return small


def assert_same_description(new, old, axes=True):
    """Type, metadata and (unless a test changed them) title and axes."""
    assert isinstance(new, EELSZLPSpectrum)
    assert new._lazy == isinstance(new, LazyEELSZLPSpectrum)
    assert new.metadata.Signal.signal_type == "EELS_ZLPML"
    assert new.metadata.General.notes == "by hand"
    for item in ("beam_energy", "convergence_angle", "Detector.EELS.collection_angle"):
        item = f"Acquisition_instrument.TEM.{item}"
        assert new.metadata.get_item(item) == old.metadata.get_item(item)
    if axes:
        assert old.metadata.General.title in new.metadata.General.title
        for a, b in zip(new.axes_manager._axes, old.axes_manager._axes, strict=True):
            assert (a.name, a.units, a.size, a.navigate) == (b.name, b.units, b.size, b.navigate)
            assert (a.scale, a.offset) == pytest.approx((b.scale, b.offset))


def as_eels(signal):
    """The same data as eXSpy's own type."""
    plain = signal.deepcopy()
    plain.set_signal_type("EELS")
    assert type(plain) in (EELSSpectrum, LazyEELSSpectrum)
    return plain


# --- making one ----------------------------------------------------------------------------------


def test_set_signal_type(small):
    signal = as_eels(small)
    signal.set_signal_type("EELS_ZLPML")
    assert type(signal) is EELSZLPSpectrum
    assert_same_description(signal, small)
    np.testing.assert_array_equal(signal.data, small.data)


def test_set_signal_type_lazy(small):
    signal = as_eels(small).as_lazy()
    signal.set_signal_type("EELS_ZLPML")
    assert type(signal) is LazyEELSZLPSpectrum
    assert isinstance(signal, LazyEELSSpectrum)
    assert_same_description(signal, small)


def test_back_to_eels(small):
    plain = as_eels(small)
    assert not hasattr(plain, "remove_zlp_ml")
    assert plain.metadata.Signal.signal_type == "EELS"


def test_cast_of_a_plain_signal1d(small):
    signal = hs.signals.Signal1D(small.data)
    signal.set_signal_type("EELS_ZLPML")
    assert type(signal) is EELSZLPSpectrum


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("extension", FORMATS)
def test_load_with_signal_type(small, tmp_path, extension, lazy):
    file = tmp_path / f"plain.{extension}"
    as_eels(small).save(file)
    signal = hs.load(file, signal_type="EELS_ZLPML", lazy=lazy)
    assert signal._lazy is lazy
    assert_same_description(signal, small)


def test_load_vendor_file(data_dir):
    signal = hs.load(data_dir / "si_16x16_200kV.dm3", signal_type="EELS_ZLPML")
    assert type(signal) is EELSZLPSpectrum
    plain = hs.load(data_dir / "si_16x16_200kV.dm3")
    assert signal.axes_manager[-1].scale == plain.axes_manager[-1].scale
    assert signal.metadata.General.title == plain.metadata.General.title
    lazy = hs.load(data_dir / "si_16x16_200kV.dm3", signal_type="EELS_ZLPML", lazy=True)
    assert type(lazy) is LazyEELSZLPSpectrum


# --- keeping it ----------------------------------------------------------------------------------

OPERATIONS = {
    "deepcopy": lambda s: s.deepcopy(),
    "copy": lambda s: s.copy(),
    "as_lazy": lambda s: s.as_lazy(),
    "lazy chunks": lambda s: s.as_lazy(chunks=(1, 2, 100)),
    "float64": lambda s: s.change_dtype("float64") or s,
    "float16 to int32": lambda s: s.change_dtype("int32") or s,
    "transpose twice": lambda s: s.T.T,
    "add": lambda s: s + s,
    "subtract number": lambda s: s - 3.0,
    "multiply": lambda s: s * 2,
    "divide": lambda s: s / 2,
    "negative": lambda s: -s,
    "less plain": lambda s: s - as_eels(s),
    "ufunc": lambda s: np.abs(s),
}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", OPERATIONS)
def test_description_survives(small, name, lazy):
    signal = small.as_lazy() if lazy else small.deepcopy()
    assert_same_description(OPERATIONS[name](signal), small)


SLICES = {
    "inav": (lambda s: s.inav[1:3, ::2], (2, 2), 512),
    "one pixel": (lambda s: s.inav[0, 0], (), 512),
    "inav float": (lambda s: s.inav[0.7:, 4.0], (3,), 512),
    "isig": (lambda s: s.isig[100:300], (4, 3), 200),
    "isig float": (lambda s: s.isig[0.0:5.0], (4, 3), 200),
    "both": (lambda s: s.inav[1].isig[::2], (3,), 256),
    "sum over x": (lambda s: s.sum(0), (3,), 512),
    "mean": (lambda s: s.mean(), (), 512),
    "rebin": (lambda s: s.rebin(scale=(2, 1, 4)), (2, 3), 128),
    "crop": (lambda s: s.crop_signal(0.0, 5.0) or s, (4, 3), 200),
}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", SLICES)
def test_slices_survive(small, name, lazy):
    function, navigation, n_channels = SLICES[name]
    signal = small.as_lazy() if lazy else small.deepcopy()
    new = function(signal)
    assert_same_description(new, small, axes=False)
    assert new.axes_manager.navigation_shape == navigation
    assert new.axes_manager.signal_shape == (n_channels,)
    assert new.axes_manager[-1].units == "eV"
    assert new._lazy is lazy


def test_isig_moves_the_offset(small):
    axis = small.isig[100:].axes_manager[-1]
    assert axis.offset == pytest.approx(-2.0 + 100 * 0.025)
    assert axis.scale == pytest.approx(0.025)


def test_as_lazy_and_compute_round_trip(small):
    lazy = small.as_lazy()
    assert type(lazy) is LazyEELSZLPSpectrum
    lazy.compute()
    assert type(lazy) is EELSZLPSpectrum
    assert_same_description(lazy, small)
    np.testing.assert_array_equal(lazy.data, small.data)


def test_stack(small):
    stacked = hs.stack([small, small])
    assert isinstance(stacked, EELSZLPSpectrum)
    assert stacked.data.shape == (2, *small.data.shape)


@pytest.mark.parametrize("lazy_load", [False, True])
@pytest.mark.parametrize("lazy_save", [False, True])
@pytest.mark.parametrize("extension", FORMATS)
def test_save_and_load(small, tmp_path, extension, lazy_save, lazy_load):
    file = tmp_path / f"spectra.{extension}"
    (small.as_lazy() if lazy_save else small).save(file)
    signal = hs.load(file, lazy=lazy_load)
    assert type(signal) is (LazyEELSZLPSpectrum if lazy_load else EELSZLPSpectrum)
    assert_same_description(signal, small)
    np.testing.assert_array_equal(np.asarray(signal.data), small.data)


# --- noise variance ------------------------------------------------------------------------------


def with_variance(signal):
    variance = signal.deepcopy()
    variance.data = np.abs(signal.data) + 7.0
    signal.set_noise_variance(variance)
    return variance.data


@pytest.mark.parametrize("name", ["deepcopy", "as_lazy", "slice", "transpose"])
def test_variance_survives(small, name):
    expected = with_variance(small)
    function = {
        "deepcopy": lambda s: s.deepcopy(),
        "as_lazy": lambda s: s.as_lazy(),
        "slice": lambda s: s.inav[1:3].isig[:100],
        "transpose": lambda s: s.T.T,
    }[name]
    if name == "slice":
        expected = expected[:, 1:3, :100]
    np.testing.assert_array_equal(np.asarray(function(small).get_noise_variance().data), expected)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("extension", FORMATS)
def test_variance_survives_saving(small, tmp_path, extension, lazy):
    expected = with_variance(small)
    file = tmp_path / f"spectra.{extension}"
    small.save(file)
    variance = hs.load(file, lazy=lazy).get_noise_variance()
    np.testing.assert_array_equal(np.asarray(variance.data), expected)


def test_compute_computes_a_lazy_variance(small):
    lazy = small.as_lazy()
    lazy.estimate_poissonian_noise_variance()
    assert lazy.get_noise_variance()._lazy
    lazy.compute()
    assert not lazy.get_noise_variance()._lazy
    assert isinstance(lazy.get_noise_variance().data, np.ndarray)


# --- eXSpy's methods -----------------------------------------------------------------------------

EXSPY = {
    "estimate_zero_loss_peak_centre": lambda s: s.estimate_zero_loss_peak_centre(),
    "estimate_elastic_scattering_threshold": lambda s: s.estimate_elastic_scattering_threshold(
        window=3.0
    ),
    "estimate_elastic_scattering_intensity": lambda s: s.estimate_elastic_scattering_intensity(
        threshold=1.5
    ),
    "estimate_thickness": lambda s: s.estimate_thickness(threshold=1.5),
    "align_zero_loss_peak": lambda s: s.align_zero_loss_peak(subpixel=True) or s,
    "get_zero_loss_peak_mask": lambda s: s.get_zero_loss_peak_mask(2.0),
    "vacuum_mask": lambda s: s.vacuum_mask(start_energy=3.0, threshold=1e4),
    "power_law_extrapolation": lambda s: s.power_law_extrapolation(extrapolation_size=64),
    "fourier_log_deconvolution": lambda s: s.fourier_log_deconvolution(zlp_of(s)),
    "richardson_lucy_deconvolution": lambda s: s.richardson_lucy_deconvolution(
        zlp_of(s).inav[0, 0], iterations=2
    ),
    "kramers_kronig_analysis": lambda s: s.isig[1.0:].kramers_kronig_analysis(
        zlp=1e8, iterations=1, n=2.0
    ),
    "print_edges_near_energy": lambda s: s.print_edges_near_energy(99.0),
}


def zlp_of(signal):
    zlp = signal.deepcopy()
    zlp.data = np.where(signal.axes_manager[-1].axis < 1.5, signal.data, 0.0)
    return zlp


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", EXSPY)
def test_exspy_methods_give_the_same(small, name):
    """What eXSpy computes from its own type it computes from the derived one."""
    actual, expected = (EXSPY[name](s) for s in (small.deepcopy(), as_eels(small)))
    if isinstance(expected, hs.signals.BaseSignal):
        assert type(actual).__name__.replace("ZLP", "") == type(expected).__name__.replace(
            "ZLP", ""
        )
        assert isinstance(actual, EELSZLPSpectrum) or not isinstance(expected, EELSSpectrum)
        actual, expected = actual.data, expected.data
    if expected is not None:
        np.testing.assert_array_equal(actual, expected)


def test_elements_and_microscope_parameters(small):
    small.add_elements(["W", "S"])
    small.set_microscope_parameters(beam_energy=80.0)
    assert small.metadata.Sample.elements in (["S", "W"], ["W", "S"])
    assert small.metadata.Acquisition_instrument.TEM.beam_energy == 80.0


def test_model_is_an_eels_model(small):
    model = small.create_model(auto_background=False, auto_add_edges=False)
    assert isinstance(model, exspy.models.EELSModel)


def test_isinstance_of_both_parents(small):
    lazy = small.as_lazy()
    assert isinstance(lazy, LazyEELSSpectrum)
    assert isinstance(lazy, EELSZLPSpectrum)


# --- peak parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
def test_estimate_zlp_parameters_against_the_truth(sample, lazy):
    signal = sample.signal.as_lazy(chunks=(3, 8, 100)) if lazy else sample.signal
    centre, fwhm, intensity = signal.estimate_zlp_parameters()
    assert centre.axes_manager.navigation_shape == (8, 8)
    assert not any(m._lazy for m in (centre, fwhm, intensity))
    # The peak is skewed: its half-height middle and its maximum differ, but not by a channel.
    assert np.abs(centre.data - sample.centre.data).max() < 0.025
    np.testing.assert_allclose(fwhm.data, sample.fwhm.data, rtol=0.02)
    # Losses take electrons out of the peak as exp(-t/lambda).
    slope = np.polyfit(sample.thickness.data.ravel(), np.log(intensity.data).ravel(), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)


def test_estimate_zlp_parameters_in_the_units_of_the_axis(small):
    expected = small.estimate_zlp_parameters()
    axis = small.axes_manager.signal_axes[0]
    axis.scale, axis.offset, axis.units = axis.scale * 1e3, axis.offset * 1e3, "meV"
    actual = small.estimate_zlp_parameters()
    for new, old, factor in zip(actual, expected, (1e3, 1e3, 1), strict=True):
        np.testing.assert_allclose(new.data, factor * old.data, rtol=1e-6, atol=1e-6)
    assert "meV" in actual[0].metadata.Signal.quantity
