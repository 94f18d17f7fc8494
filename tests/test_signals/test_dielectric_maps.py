# SPDX-License-Identifier: GPL-3.0-or-later
"""Dielectric functions of images of known ones, in native form, with errors that hold."""

import gc
from dataclasses import fields

import dask
import numpy as np
import pytest
from exspy.signals import DielectricFunction

from hyperspy_zlpml.data import GLASS, SEMICONDUCTOR, dielectric_phantom, ws2_like
from hyperspy_zlpml.physics import Reason

N = SEMICONDUCTOR.refractive_index
QUICK = {"n_replicas": 5, "n_clusters": 2, "random_state": 0}


def phantom(shape=(6, 5), **parameters):
    return dielectric_phantom(shape, random_state=7001, n_channels=512, scale=0.1, **parameters)


@pytest.fixture(scope="module")
def sample():
    return phantom()


@pytest.fixture(scope="module")
def removal(sample):
    return sample.signal.deepcopy().remove_zlp_ml(**QUICK)


@pytest.fixture(scope="module")
def found(removal):
    return removal.dielectric_function(n=N, n_error=0.02)


def specimen_of(sample):
    return sample.thickness_nm.data > 0


def all_signals(value):
    """Every signal of a result, with those of records within it."""
    for field in fields(value):
        one = getattr(value, field.name)
        yield from all_signals(one) if hasattr(one, "__dataclass_fields__") else [one]


def test_the_dielectric_function_is_that_of_the_specimen(sample, found):
    specimen = specimen_of(sample)
    energy = found.epsilon.axes_manager.signal_axes[0].axis
    seen = (energy > 2) & (energy < 30)
    true = SEMICONDUCTOR.epsilon(energy)[seen]
    error = found.epsilon.data[specimen][:, seen] - true
    for part in (np.real, np.imag):
        relative = np.sqrt(np.mean(part(error) ** 2) / np.mean(part(true) ** 2))
        assert relative < 0.25
    std, systematic = (
        getattr(found.eps1, kind).data[specimen][:, seen] for kind in ("std", "systematic")
    )
    assert 0.4 < np.mean(np.abs(error.real) < np.hypot(std, systematic)) < 0.95


def test_thickness_and_zeros_are_those_of_the_specimen(sample, found):
    specimen = specimen_of(sample)
    thickness = found.thickness.value.data[specimen] / sample.thickness_nm.data[specimen]
    assert np.median(thickness) == pytest.approx(1.0, abs=0.02)
    rising, falling = found.crossings.rising.position, found.crossings.falling.position
    assert np.median(rising.value.data[specimen]) == pytest.approx(23.88, abs=0.05)
    assert np.median(falling.value.data[specimen]) == pytest.approx(9.63, abs=0.4)
    assert (found.crossings.rising.probability.data[specimen] > 0.5).all()
    assert np.allclose(
        rising.value.get_noise_variance().data[specimen], rising.std.data[specimen] ** 2
    )


@pytest.mark.parametrize("end", [None, 38.0])
def test_thickness_is_that_of_the_sum_rule(sample, removal, end):
    """Two methods that assume the same say the same, on an axis that ends early too."""
    if end is not None:
        removal = sample.signal.isig[:end].remove_zlp_ml(**QUICK)
    by_index = removal.thickness(n=N).by_index
    found = removal.dielectric_function(n=N).thickness
    specimen = specimen_of(sample)
    ratio = (found.value.data / by_index.value.data)[specimen]
    # Beyond the axis losses are continued by other laws, which is a systematic error of both.
    assert np.abs(np.median(ratio) - 1) < (0.004 if end is None else 0.03)
    assert np.abs(ratio / np.median(ratio) - 1).max() < 0.01


def test_a_thickness_holds_what_films_lose_in_both_ways(sample, removal):
    """Less of it where the part of faces is taken off: that of retardation is left."""
    specimen = specimen_of(sample)
    by_index = removal.thickness(n=N).by_index
    found = removal.dielectric_function(n=N).thickness
    shares = [
        np.median((one.systematic.data / one.value.data)[specimen]) for one in (found, by_index)
    ]
    assert shares[1] > 0.05
    assert shares[0] == pytest.approx(shares[1], rel=0.15)
    # 1 - 1/n^2 of a given thickness is wrong by the same share as the thickness of a given n.
    index = removal.dielectric_function(thickness=found.value.data).n
    n = index.value.data[specimen]
    np.testing.assert_allclose(n, N, rtol=1e-6)
    share = np.median(index.systematic.data[specimen] / (n * (n**2 - 1) / 2))
    assert share == pytest.approx(shares[0], rel=0.05)
    off = removal.dielectric_function(n=N, surface=True).thickness
    known = specimen & np.isfinite(off.value.data)
    left = np.median((off.systematic.data / off.value.data)[known])
    assert 0.05 < left < shares[0]


def test_vacuum_has_no_dielectric_function(sample, found):
    vacuum = ~specimen_of(sample)
    assert np.isnan(found.epsilon.data[vacuum]).all()
    assert (found.reason.data[vacuum] == Reason.NOT_SIGNIFICANT).all()
    assert np.isnan(found.thickness.value.data[vacuum]).all()


def test_signals_are_native(sample, found):
    assert isinstance(found.epsilon, DielectricFunction)
    assert found.epsilon.metadata.General.title == "Dielectric phantom dielectric function"
    axis = found.epsilon.axes_manager.signal_axes[0]
    assert axis.units == "eV"
    assert axis.offset == pytest.approx(axis.scale)
    for signal in all_signals(found):
        assert signal.axes_manager.navigation_shape == (6, 5)
        assert "ZLP_ML" in signal.metadata
    bulk, free = found.epsilon.get_number_of_effective_electrons(nat=50e27, cumulative=False)
    specimen = specimen_of(sample)
    assert np.isfinite(bulk.data[specimen]).all()
    assert np.isfinite(free.data[specimen]).all()


def test_the_error_of_n_is_systematic(removal, found):
    exact = removal.dielectric_function(n=N)
    known = np.isfinite(exact.epsilon.data)
    assert np.array_equal(exact.epsilon.data[known], found.epsilon.data[known])
    assert (found.eps1.systematic.data >= exact.eps1.systematic.data)[known].all()
    moved = removal.dielectric_function(n=N + 0.02)
    change = moved.thickness.value.data - exact.thickness.value.data
    own = np.sqrt(found.thickness.systematic.data**2 - exact.thickness.systematic.data**2)
    assert np.allclose(own, np.abs(change), rtol=1e-4, equal_nan=True)


def test_normalised_by_thickness(sample, removal, found):
    specimen = specimen_of(sample)
    thickness = found.thickness.value.data  # without the error that the map brings
    by_thickness = removal.dielectric_function(thickness=thickness)
    assert np.allclose(by_thickness.epsilon.data, found.epsilon.data, rtol=1e-9, equal_nan=True)
    assert np.allclose(by_thickness.n.value.data[specimen], N)
    assert (by_thickness.n.std.data[specimen] > 0).all()
    assert np.array_equal(np.isnan(by_thickness.n.value.data), ~specimen)
    with_error = removal.dielectric_function(thickness=thickness, thickness_error=2.0)
    assert (with_error.n.systematic.data > by_thickness.n.systematic.data)[specimen].all()


def test_lazy_data_are_worked_on_once(sample, monkeypatch, tmp_path):
    """Spectra come from files that the pass for the maps has written, and that go with them."""
    removal = sample.signal.deepcopy().as_lazy().remove_zlp_ml(**QUICK)
    passes = []
    inner = removal.removed.application.map_losses
    monkeypatch.setattr(
        type(removal.removed.application),
        "map_losses",
        lambda self, *args, **options: passes.append(1) or inner(*args, **options),
    )
    with dask.config.set(temporary_directory=str(tmp_path)):
        result = removal.dielectric_function(n=N)
        assert list(tmp_path.iterdir())
        result.eps1.value.data.compute(), result.epsilon.data.compute()
    assert len(passes) == 1
    del result
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_an_axis_that_ends_below_the_plasmon_has_no_answer():
    sample = ws2_like((3, 3), n_channels=512, scale=0.04, random_state=7001)
    removal = sample.signal.remove_zlp_ml(n_clusters=2, n_replicas=4, random_state=0)
    result = removal.dielectric_function(n=4.0)
    specimen = sample.thickness.data > 0
    assert np.isnan(result.epsilon.data).all()
    assert (result.reason.data[specimen] == Reason.AXIS_TOO_SHORT).all()


def test_retardation_is_told_and_taken_off(sample, found, removal):
    specimen = specimen_of(sample)
    assert (found.reason.data[specimen] == Reason.RETARDED).all()
    corrected = removal.dielectric_function(n=N, surface=True, relativistic=True)
    assert (corrected.reason.data[specimen] != Reason.RETARDED).all()


def test_a_film_of_which_the_volume_alone_is_taken_off_is_told():
    """Too thick by a few per cent: RETARDED, and the systematic error holds it."""
    sample = phantom((6, 6), retarded="slab", thickness_nm=(25.0, 40.0), peak_counts=3e5)
    removal = sample.signal.remove_zlp_ml(**QUICK)
    found = removal.dielectric_function(n=N, relativistic=True)
    known = np.isfinite(found.thickness.value.data)
    assert known.sum() > 10
    assert (found.reason.data[known] == Reason.RETARDED).all()
    error = (found.thickness.value.data - sample.thickness_nm.data)[known]
    assert error.mean() > 10 * found.thickness.std.data[known].mean()
    assert (np.abs(error) < 1.5 * found.thickness.systematic.data[known]).all()


def test_faces_are_taken_off():
    sample = phantom((4, 4), surfaces=True, thickness_nm=(25.0, 60.0))
    removal = sample.signal.remove_zlp_ml(**QUICK)
    plain, corrected = (removal.dielectric_function(n=N, surface=one) for one in (False, True))
    specimen = specimen_of(sample) & np.isfinite(corrected.thickness.value.data)
    errors = [
        np.abs(r.thickness.value.data / sample.thickness_nm.data - 1)[specimen]
        for r in (plain, corrected)
    ]
    assert specimen.sum() > 0.8 * specimen_of(sample).sum()
    assert np.median(errors[1]) < 0.3 * np.median(errors[0])


def test_all_of_a_film_is_taken_off():
    sample = phantom((4, 4), retarded="slab", thickness_nm=(40.0, 90.0))
    removal = sample.signal.remove_zlp_ml(**QUICK)
    plain = removal.dielectric_function(n=N)
    both = [
        removal.dielectric_function(n=N, surface=True, relativistic=True, film=one)
        for one in ("clusters", "pixels")
    ]
    energy = plain.epsilon.axes_manager.signal_axes[0].axis
    seen = (energy > 2) & (energy < 30)
    true = SEMICONDUCTOR.epsilon(energy)[seen]
    specimen = specimen_of(sample)
    for one in both:
        specimen &= np.isfinite(one.thickness.value.data)
    assert specimen.sum() > 0.8 * specimen_of(sample).sum()
    before, *after = (
        np.abs(one.epsilon.data[specimen][:, seen] - true).mean() for one in (plain, *both)
    )
    assert max(after) < 0.3 * before
    apart = both[0].eps1.value.data - both[1].eps1.value.data
    assert np.median(np.abs(apart / both[1].eps1.error)[specimen][:, seen]) < 0.5
    assert_films_of_a_part(removal, *(one.eps1 for one in both))


def assert_films_of_a_part(removal, by_clusters, by_pixels):
    """Made by clusters they change with the pixels that are left, within errors; by pixels they do not."""
    part = removal.inav[1:3, 1:3]
    clusters, pixels = (
        part.dielectric_function(n=N, surface=True, relativistic=True, film=one).eps1
        for one in ("clusters", "pixels")
    )
    assert np.isfinite(pixels.value.data).any()
    np.testing.assert_allclose(
        pixels.value.data, by_pixels.value.inav[1:3, 1:3].data, rtol=1e-9, equal_nan=True
    )
    change = np.abs(clusters.value.data - by_clusters.value.inav[1:3, 1:3].data)
    assert np.nanmax(change) > 0
    assert np.nanmedian(change / clusters.error.data) < 0.5


def test_materials_of_an_image_have_films_of_their_own():
    """Two materials side by side, which a cluster does not tell apart: n does."""
    sample = phantom(
        (6, 4), material=(SEMICONDUCTOR, GLASS), retarded="slab", thickness_nm=(60.0, 90.0)
    )
    removal = sample.signal.remove_zlp_ml(**{**QUICK, "n_clusters": 1})
    films = {"surface": True, "relativistic": True}
    found = removal.dielectric_function(n=sample.refractive_index, **films).thickness.value.data
    specimen = specimen_of(sample) & np.isfinite(found)
    assert specimen.sum() > 0.8 * specimen_of(sample).sum()
    assert np.abs(found / sample.thickness_nm.data - 1)[specimen].max() < 0.05


def test_the_figure_shows_a_pixel(found):
    (axes,) = found.plot((2, 1))
    assert axes.get_xlabel() == "Energy (eV)"
    assert len(axes.collections) == 4
    with pytest.raises(ValueError, match="indices: expected one within each of"):
        found.plot((9, 9))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_the_figure_shows_a_pixel_without_an_answer(sample, found):
    row, column = np.argwhere(~np.isfinite(found.thickness.value.data))[0]
    (axes,) = found.plot((int(column), int(row)))
    energy = found.epsilon.axes_manager.signal_axes[0].axis
    assert axes.get_xlim() == pytest.approx((energy[0], energy[-1]))
    assert "nothing stands clearly above noise" in axes.get_title()


BAD = [
    ({}, "n, thickness: expected either .* got none"),
    ({"n": 2.0, "thickness": 30.0}, "n, thickness: .* got both"),
    ({"n": 1.0}, "n: expected refractive indices above 1 .*got 1.0"),
    ({"n": -2.0}, "n: expected refractive indices above 1"),
    ({"n": "2"}, "n: expected real numbers"),
    ({"n": np.full((3, 3), 2.0)}, "n: expected a number or a map of the navigation shape"),
    ({"thickness": -5.0}, "thickness: expected a positive number"),
    ({"thickness": np.nan}, "thickness: expected a positive number"),
    ({"thickness": np.ones(7)}, "thickness: expected a number or a map"),
    ({"n": 2.0, "n_error": -0.1}, "n_error: expected errors that are not negative"),
    ({"n": 2.0, "thickness_error": 1.0}, "thickness_error: expected together with thickness"),
    ({"thickness": 9.0, "n_error": 1.0}, "n_error: expected together with n"),
    ({"n": 2.0, "metal": True}, "n: expected no finite refractive index of a metal"),
    ({"n": 2.0, "surface": "yes"}, "surface: expected True or False"),
    ({"n": 2.0, "relativistic": 1}, "relativistic: expected True or False"),
    ({"metal": 1}, "metal: expected True or False"),
    ({"n": 2.0, "film": "layers"}, "film: expected .*clusters.*pixels.* got .layers"),
]


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_arguments_are_named(removal, arguments, message):
    with pytest.raises(ValueError, match=message):
        removal.dielectric_function(**arguments)


def test_a_missing_angle_is_named(sample, removal):
    signal = sample.signal.deepcopy()
    del signal.metadata.Acquisition_instrument.TEM.Detector.EELS.collection_angle
    removal = signal.remove_zlp_ml(ensemble=removal.ensemble, n_clusters=2)
    with pytest.raises(ValueError, match=r"collection_angle .*set_microscope_parameters"):
        removal.dielectric_function(n=N)


def test_a_metal_is_an_infinite_index(removal):
    one, other = (removal.dielectric_function(**a) for a in ({"metal": True}, {"n": np.inf}))
    assert np.array_equal(one.epsilon.data, other.epsilon.data, equal_nan=True)


@pytest.mark.parametrize("offset", [-0.5, -7.0, 7.0])
def test_peaks_may_lie_anywhere_on_the_axis(sample, found, offset):
    signal = sample.signal.deepcopy()
    signal.axes_manager.signal_axes[0].offset += offset
    moved = signal.remove_zlp_ml(**QUICK).dielectric_function(n=2.62)
    n_energy = min(moved.epsilon.data.shape[-1], found.epsilon.data.shape[-1])
    one, other = (each.thickness.value.data for each in (moved, found))
    np.testing.assert_allclose(one, other, rtol=0.01)
    specimen = specimen_of(sample)
    one, other = (each.epsilon.data[specimen][:, 40:n_energy] for each in (moved, found))
    assert np.abs(one - other).max() < 0.05 * np.abs(other).max()
