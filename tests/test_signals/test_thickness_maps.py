# SPDX-License-Identifier: GPL-3.0-or-later
"""Single scattering and maps of thickness from the result of a removal."""

import dask
import hyperspy.api as hs
import numpy as np
import pytest
from conftest import QUICK

import hyperspy_zlpml.data
from hyperspy_zlpml.physics import Beam, Reason
from hyperspy_zlpml.physics.deconvolution import with_variance
from hyperspy_zlpml.physics.thickness import mean_free_path

AXIS = {"n_channels": 512, "scale": 0.1}
REUSE = {"random_state": 0, "show_progressbar": False}


def remove(signal):
    with dask.config.set(scheduler="threads"):
        return signal.remove_zlp_ml(n_clusters=2, **QUICK)


@pytest.fixture(scope="module")
def sample():
    return hyperspy_zlpml.data.ws2_like((6, 4), random_state=7020, **AXIS)


@pytest.fixture(scope="module")
def removal(sample):
    return remove(sample.signal.deepcopy())


@pytest.fixture(scope="module")
def thickness(removal):
    return removal.thickness(density=7.5, n=3.0, mean_free_path=120.0)


# --- numbers -------------------------------------------------------------------------------------


def test_thickness_is_that_of_the_specimen(sample, thickness):
    """To better than a part in a hundred, though three in a hundred are lost beyond the axis."""
    truth = sample.thickness.data
    relative = thickness.t_over_lambda
    error = np.abs(relative.value.data - truth)
    assert (error < 2 * relative.std.data + relative.systematic.data).mean() > 0.9
    assert error.max() < 0.01
    limit = thickness.lower_limit.value.data[truth > 0.2]
    assert (limit < 0.98 * truth[truth > 0.2]).all()
    # At n = 3 and 200 keV electrons are faster than light.
    assert (thickness.reason.data[truth > 0] == Reason.RETARDED).all()
    assert (thickness.reason.data[truth == 0] == Reason.NOT_SIGNIFICANT).mean() > 0.8


def test_maps_are_native(sample, thickness):
    value = thickness.t_over_lambda.value
    assert type(value) is hs.signals.BaseSignal
    assert value.axes_manager.navigation_shape == (6, 4)
    assert value.metadata.Signal.quantity == "Thickness (t/lambda)"
    assert thickness.by_density.value.metadata.Signal.quantity == "Thickness (nm)"
    variance = value.get_noise_variance().data
    assert np.allclose(variance, thickness.t_over_lambda.std.data**2)
    assert value.metadata.has_item("ZLP_ML")
    assert thickness.reason.metadata.ZLP_ML.legend.as_dictionary()["3"].startswith("AXIS_TOO_SHORT")


def test_lengths_are_those_of_the_mean_free_paths(thickness):
    relative = thickness.t_over_lambda.value.data
    known = mean_free_path(7.5, Beam(200.0, 15.0, 10.0))
    assert np.allclose(thickness.by_density.value.data, known * relative)
    assert np.allclose(thickness.by_mean_free_path.value.data, 120.0 * relative)
    by_density = thickness.by_density
    share = by_density.systematic.data / np.abs(by_density.value.data)
    assert (share >= 0.2).all()
    ratio = thickness.ratio
    assert np.allclose(
        ratio.value.data, thickness.by_index.value.data / thickness.by_mean_free_path.value.data
    )
    share = [
        one.std.data / one.value.data for one in (thickness.by_index, thickness.by_mean_free_path)
    ]
    assert np.allclose(ratio.std.data, np.hypot(*share) * np.abs(ratio.value.data))
    assert (ratio.systematic.data > 0).all()


def test_errors_of_what_is_given(removal, thickness):
    indices = removal.vacuum.deepcopy()
    indices.data = np.where(np.arange(24).reshape(4, 6) % 6 < 3, 3.0, 2.0)
    found = removal.thickness(
        n=indices,
        n_error=0.1,
        mean_free_path=120.0,
        mean_free_path_error=12.0,
    )
    ratio = found.by_index.value.data / thickness.by_index.value.data
    assert np.allclose(ratio[:, :3], 1.0)
    assert np.allclose(ratio[:, 3:], (1 - 1 / 9) / (1 - 1 / 4))
    value, systematic = found.by_index.value.data, found.by_index.systematic.data
    assert (systematic[:, 3:] > np.abs(value[:, 3:]) * 2 * 0.1 / (2 * 3) * 0.999).all()
    length = found.by_mean_free_path
    assert (length.systematic.data >= 0.1 * np.abs(length.value.data)).all()
    metal = removal.thickness(n=np.inf)
    assert np.allclose(metal.by_index.value.data * 9 / 8, thickness.by_index.value.data)
    assert found.by_density is None
    assert metal.ratio is None


def test_pixels_without_an_index_keep_the_error_of_their_mean_free_paths(removal):
    without = removal.thickness().t_over_lambda.systematic.data
    indices = np.full((4, 6), 3.0)
    indices[:, :3] = np.nan
    found = removal.thickness(n=indices).t_over_lambda.systematic.data
    np.testing.assert_array_equal(found[:, :3], without[:, :3])
    assert (found[:, 3:] >= without[:, 3:]).all()


def test_index_next_to_one(removal):
    assert np.isfinite(removal.thickness(n=1.0005).by_index.systematic.data).any()


def test_tail_exponent_is_a_systematic_error(removal):
    found = removal.thickness(tail_exponent=3.0, tail_exponent_error=0.5)
    exact = removal.thickness(tail_exponent=3.0, tail_exponent_error=0.0)
    assert (found.tail_exponent.data == 3.0).all()
    assert (exact.t_over_lambda.systematic.data < 1e-3).all()
    slow, fast = (removal.thickness(tail_exponent=r).t_over_lambda.value.data for r in (2.5, 3.5))
    half = (slow - fast) / 2
    thick = half > 1e-3
    assert np.allclose(half[thick], found.t_over_lambda.systematic.data[thick], rtol=0.6)


def test_losses_that_are_not_summed_are_continued(removal, thickness):
    near = removal.thickness(right=38.0)
    thick = thickness.t_over_lambda.value.data > 0.2
    relative, whole = (one.t_over_lambda.value.data[thick] for one in (near, thickness))
    assert np.allclose(relative, whole, rtol=0.02)
    assert (near.lower_limit.value.data < thickness.lower_limit.value.data)[thick].all()


def test_single_scattering_sums_to_the_thickness(removal, sample):
    single = removal.single_scattering(normalised=True)
    energy = single.axes_manager.signal_axes[0].axis
    total = single.data[..., energy > 2].sum(-1)
    assert np.allclose(total, sample.thickness.data, rtol=0.04, atol=1e-3)
    counts = removal.single_scattering()
    assert np.allclose(counts.data / single.data, sample.zlp.data.sum(-1)[..., None], rtol=0.02)


def test_variance_of_single_scattering(removal):
    both = removal.single_scattering()
    of_zlp = removal.single_scattering(counting_noise=False)
    assert type(both) is type(removal.subtracted)
    noise, only = (one.get_noise_variance().data for one in (both, of_zlp))
    assert (only <= noise).all()
    # Far from the peak all noise is that of counting, and stays in its channel.
    measured = removal.subtracted.get_noise_variance().data
    far = slice(300, 490)
    assert np.allclose(noise[..., far], measured[..., far], rtol=0.1)
    normalised = removal.single_scattering(normalised=True)
    relative = noise / both.data**2
    expected = normalised.get_noise_variance().data / normalised.data**2
    bright = slice(200, 300)
    assert np.allclose(relative[..., bright], expected[..., bright], rtol=0.2)
    assert normalised.metadata.Signal.quantity == "Probability"


# --- all sorts of data ---------------------------------------------------------------------------


def reuse(signal, removal):
    return signal.remove_zlp_ml(ensemble=removal.ensemble, **REUSE)


@pytest.mark.parametrize("chunks", [(4, 6, 512), (1, 1, 512), (3, 2, 100)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_blocks_do_not_count(sample, removal, chunks, dtype):
    """Numbers are the same whatever the chunks of a lazy image: bit for bit, but for products of matrices of one row."""
    signal = sample.signal.deepcopy()
    signal.change_dtype(dtype)
    expected = reuse(signal, removal).removed.map_losses(with_variance, 1024)
    lazy = reuse(signal.as_lazy(chunks=chunks), removal).removed
    found = lazy.map_losses(with_variance, 1024).compute()
    if chunks[:2] == (1, 1):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())
    else:
        assert np.array_equal(found, expected)


def test_short_axis_has_a_lower_limit_only():
    signal = hyperspy_zlpml.data.ws2_like((4, 3), n_channels=512, random_state=7022).signal
    found = remove(signal).thickness(mean_free_path=100.0)
    assert (found.reason.data == Reason.AXIS_TOO_SHORT).all()
    assert np.isnan(found.t_over_lambda.value.data).all()
    assert (found.lower_limit.value.data[~np.isnan(found.lower_limit.value.data)] > -0.01).all()
    assert "the energy axis ends too early" in found.summary
    text = found.plot()[0].texts[0].get_text().replace("\n", " ")
    assert text.startswith("no number: the energy axis ends too early")


def test_where_losses_are_cut_short_that_is_said_and_not_the_axis(removal):
    found = removal.thickness(right=12.0)
    assert Reason.AXIS_TOO_SHORT in found.reason.data
    assert "right = 12 eV from the peak ends too early" in found.summary
    assert "axis" not in found.summary


def test_image_of_vacuum_alone():
    signal = hyperspy_zlpml.data.vacuum_reference(
        (4, 3), n_channels=512, scale=0.1, random_state=7023
    ).signal
    found = signal.remove_zlp_ml(**QUICK).thickness(density=2.0)
    assert (found.reason.data == Reason.NOT_SIGNIFICANT).mean() > 0.8
    value, std = found.t_over_lambda.value.data, found.t_over_lambda.std.data
    # Of few spectra and replicas one may be known too badly for a number, and says so.
    known = np.isfinite(value)
    assert (found.reason.data[~known] == Reason.MISFIT).all()
    assert known.mean() > 0.8
    assert (np.abs(value) < 5 * std)[known].all()
    assert (std < 5e-3)[known].all()


def test_saved_and_loaded(thickness, tmp_path):
    value = thickness.t_over_lambda.value
    value.save(tmp_path / "map.zspy")
    loaded = hs.load(tmp_path / "map.zspy")
    assert np.array_equal(loaded.data, value.data, equal_nan=True)
    variance = loaded.get_noise_variance().data
    assert np.array_equal(variance, value.get_noise_variance().data, equal_nan=True)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, message",
    [
        ({"density": -2.3}, "density: expected a number from 0.05 to 25, got -2.3"),
        ({"density": 2330}, "density: expected a number from 0.05 to 25, got 2330"),
        ({"n": 1}, "n: expected refractive indices above 1 .*got 1"),
        ({"n": 0.5}, "n: expected refractive indices above 1"),
        ({"n": np.nan}, "n: expected refractive indices above 1"),
        ({"n": "high"}, "n: expected real numbers"),
        ({"n": np.full((3, 3), 2.0)}, r"n: .*shape \(4, 6\)"),
        (
            {"n": 2.0, "n_error": -0.1},
            "n_error: expected errors that are not negative",
        ),
        ({"mean_free_path": 0}, "mean_free_path: expected numbers from"),
        (
            {"mean_free_path": 100.0, "mean_free_path_error": 200.0},
            "mean_free_path_error: expected no more than the mean free path",
        ),
        ({"right": -20}, r"right: expected a positive number \(eV\), got -20"),
        ({"tail_exponent": 1.0}, "tail_exponent: expected a number from 2 to 10"),
        ({"tail_exponent_error": 2.0}, "tail_exponent_error: expected a number from 0 to 0.9"),
        ({"show_progressbar": "no"}, "show_progressbar: expected"),
    ],
)
def test_bad_arguments(removal, given, message):
    with pytest.raises(ValueError, match=message):
        removal.thickness(**given)


def test_flags(removal):
    with pytest.raises(ValueError, match="normalised: expected True or False"):
        removal.single_scattering(normalised="no")
    with pytest.raises(ValueError, match="counting_noise: expected True or False"):
        removal.single_scattering(counting_noise=1)


@pytest.mark.parametrize("needing", ["density", "n"])
def test_angles_are_asked_for_where_they_are_needed(sample, needing):
    signal = sample.signal.deepcopy()
    del signal.metadata.Acquisition_instrument.TEM.Detector.EELS.collection_angle
    removal = remove(signal)
    with pytest.raises(ValueError, match="collection_angle.*set_microscope_parameters"):
        removal.thickness(**{needing: 3.0})
    found = removal.thickness(mean_free_path=100.0)
    assert np.isfinite(found.by_mean_free_path.value.data).all()


# --- figures -------------------------------------------------------------------------------------


def test_plot(thickness):
    axes = thickness.plot()
    shown = axes[0].images[0].get_array()
    assert np.allclose(shown, thickness.t_over_lambda.value.data)
    assert sum(bool(one.images) for one in axes) >= 8


def test_plot_of_a_line():
    signal = hyperspy_zlpml.data.ws2_like((5,), random_state=7024, **AXIS).signal
    assert len(remove(signal).thickness().plot()) == 1


def test_slow_electrons_and_metals_are_not_marked(removal, sample):
    thick = sample.thickness.data > 0
    for n in (1.3, np.inf):
        assert (removal.thickness(n=n).reason.data[thick] == Reason.NONE).all()


def test_settings_that_are_set_right_afterwards_count(sample):
    signal = sample.signal.deepcopy()
    removal = signal.remove_zlp_ml(**QUICK)
    before = removal.thickness(density=7.5).by_density.value.data
    signal.set_microscope_parameters(collection_angle=40.0)
    wider = removal.thickness(density=7.5).by_density.value.data
    again = signal.remove_zlp_ml(**QUICK).thickness(density=7.5).by_density.value.data
    np.testing.assert_allclose(wider, again, rtol=1e-6, atol=1e-9)
    assert np.nanmax(np.abs(wider - before)) > 0.01 * np.nanmax(before)
