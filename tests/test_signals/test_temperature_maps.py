# SPDX-License-Identifier: GPL-3.0-or-later
"""``r.temperature()``: maps in native form, every kind of image, and what is refused."""

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import QUICK

from hyperspy_zlpml.data import phonons, ws2_like
from hyperspy_zlpml.physics import Reason
from hyperspy_zlpml.signals.maps.temperature import Temperature

WITH_ERRORS = ("temperature", "loss", "gain")
PLAIN = ("highest", "energy", "reduced_chi2", "reason")
SMALL = {"temperature": 600.0, "n_channels": 601, "scale": 1e-3, "random_state": 7001}
LEFT_OUT = (2, 3)
MASK = np.zeros((6, 6), bool)
MASK[LEFT_OUT] = True
REMOVE = {**QUICK, "navigation_mask": MASK}


def maps_of(found):
    """All maps of a result, those with errors first."""
    return [getattr(found, name).value for name in WITH_ERRORS] + [
        getattr(found, name) for name in PLAIN
    ]


@pytest.fixture(scope="module")
def film():
    return phonons((6, 6), **SMALL)


@pytest.fixture(scope="module")
def removal(film):
    return film.signal.deepcopy().remove_zlp_ml(**REMOVE)


@pytest.fixture(scope="module")
def found(removal):
    return removal.temperature()


def test_temperatures_of_the_specimen_and_none_of_vacuum(found, film):
    specimen = film.thickness.data > 0
    specimen[LEFT_OUT] = False
    temperature, reason = found.temperature.value.data, found.reason.data
    std = found.temperature.std.data
    assert (reason[specimen] == Reason.NONE).mean() > 0.95
    has = specimen & (reason == Reason.NONE)
    pull = (temperature[has] - 600.0) / std[has]
    assert np.sqrt((pull**2).mean()) < 1.6
    vacuum = film.thickness.data == 0
    assert np.isnan(temperature[vacuum]).all()
    assert not (reason[vacuum] == Reason.NONE).any()
    assert reason[LEFT_OUT] == Reason.LEFT_OUT
    for one in maps_of(found)[:-1]:
        assert np.isnan(one.data[LEFT_OUT]), one


def test_maps_are_native(found, tmp_path):
    assert isinstance(found, Temperature)
    for signal in maps_of(found):
        assert signal.axes_manager.navigation_shape == (6, 6)
        assert signal.axes_manager.signal_dimension == 0
        assert signal.metadata.General.title.startswith("Phonons at 600 K ")
        assert "ZLP_ML" in signal.metadata
    for name in WITH_ERRORS:
        measured = getattr(found, name)
        variance = measured.value.get_noise_variance().data
        np.testing.assert_allclose(variance, measured.std.data**2)
    assert len({signal.metadata.General.title for signal in maps_of(found)}) == 7
    assert found.temperature.value.metadata.Signal.quantity == "Temperature (K)"
    assert found.energy.metadata.Signal.quantity == "Energy (eV)"
    assert found.reason.metadata.ZLP_ML.legend.as_dictionary()["5"].startswith("NOT_SIGNIFICANT")
    found.temperature.value.save(tmp_path / "temperature.zspy")
    loaded = hs.load(tmp_path / "temperature.zspy")
    np.testing.assert_array_equal(loaded.data, found.temperature.value.data)
    np.testing.assert_array_equal(
        loaded.get_noise_variance().data, found.temperature.value.get_noise_variance().data
    )


def assert_same_maps(one, other, rtol=1e-9):
    for mine, theirs in zip(maps_of(one), maps_of(other), strict=True):
        np.testing.assert_allclose(mine.data, theirs.data, rtol=rtol)


def test_lazy_maps_are_those_in_memory(film, found):
    lazy = film.signal.as_lazy().remove_zlp_ml(**REMOVE)
    assert_same_maps(found, lazy.temperature(), rtol=1e-6)
    assert lazy.subtracted._lazy


def test_mev_give_the_same_temperatures(film, removal):
    signal = film.signal.deepcopy()
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.offset, axis.units = axis.scale * 1e3, axis.offset * 1e3, "meV"
    in_mev = signal.remove_zlp_ml(**REMOVE).temperature(left=70.0, right=130.0)
    in_ev = removal.temperature(left=0.07, right=0.13)
    np.testing.assert_allclose(
        in_mev.temperature.value.data, in_ev.temperature.value.data, rtol=1e-3, equal_nan=True
    )
    np.testing.assert_allclose(in_mev.energy.data, 1e3 * in_ev.energy.data, rtol=1e-3)
    assert in_mev.energy.metadata.Signal.quantity == "Energy (meV)"


@pytest.mark.parametrize("shape", [(), (5,), (2, 2, 2)])
def test_any_number_of_navigation_axes(shape, removal):
    sample = phonons(shape, vacuum_fraction=0.0, **SMALL)
    regions = {"E_I": 0.04, "gain_limit": -0.04}
    other = sample.signal.remove_zlp_ml(ensemble=removal.ensemble, regions=regions, **QUICK)
    found = other.temperature(left=0.07, right=0.13)
    assert found.temperature.value.axes_manager.navigation_shape == (shape or (1,))
    assert np.nanmedian(found.temperature.value.data) == pytest.approx(600.0, abs=30.0)


@pytest.mark.parametrize("pool", [2, 3, "clusters"])
def test_pooled_temperatures_are_lazy_or_not_and_better(film, removal, found, pool):
    pooled = removal.temperature(pool=pool)
    signal = film.signal.as_lazy()
    signal.data = signal.data.rechunk((2, 3, -1))
    assert_same_maps(pooled, signal.remove_zlp_ml(**REMOVE).temperature(pool=pool), rtol=1e-6)
    single, better = found.temperature.std.data, pooled.temperature.std.data
    has = np.isfinite(single) & np.isfinite(better)
    assert has.sum() > 15
    assert np.median(better[has]) < 0.8 * np.median(single[has])
    assert np.nanmedian(pooled.temperature.value.data) == pytest.approx(600.0, abs=5.0)
    vacuum = film.thickness.data == 0
    assert np.isnan(pooled.temperature.value.data[vacuum]).all()
    assert pooled.reason.data[LEFT_OUT] == Reason.LEFT_OUT


def test_pools_of_nothing(removal):
    with pytest.raises(ValueError, match="pool: expected an integer from 2 to 64, .clusters. or N"):
        removal.temperature(pool=1)


# --- whether vacuum shows the tail ----------------------------------------------------------------


@pytest.fixture(scope="module")
def full():
    """A film that fills the view, its channels 2 meV wide; and its removal."""
    parameters = {**SMALL, "n_channels": 400, "scale": 2e-3}
    film = phonons((6, 6), vacuum_fraction=0.0, **parameters)
    return film, film.signal.remove_zlp_ml(vacuum=False, **QUICK)


def errors_hold(temperature, truth):
    """Whether two thirds or more of pixels lie within twice the total error."""
    total = np.hypot(temperature.std.data, temperature.systematic.data)
    return (np.abs(temperature.value.data - truth) < 2 * total).mean() > 0.66


def test_films_without_vacuum_have_a_systematic_error(full):
    found = full[1].temperature()
    assert (found.temperature.systematic.data > 0).all()
    assert (found.reason.data == Reason.NONE).all()
    assert errors_hold(found.temperature, 600.0)


def test_the_ensemble_tells_whether_the_tail_is_a_guess(full, film, removal):
    # Trained with vacuum and applied to a film; trained without and applied where there is vacuum.
    other = full[0].signal.remove_zlp_ml(ensemble=removal.ensemble, vacuum=False, **QUICK)
    regions = {"E_I": 0.04, "gain_limit": -0.04}
    signal = film.signal.deepcopy()
    guessed = signal.remove_zlp_ml(ensemble=full[1].ensemble, regions=regions, **QUICK)
    for one, is_guess in ((other, False), (guessed, True), (removal, False)):
        systematic = one.temperature(left=0.07, right=0.13).temperature.systematic.data
        assert np.isfinite(systematic).any()
        assert (systematic[np.isfinite(systematic)] > 0).all() == is_guess


def test_coarse_channels_without_vacuum_are_marked():
    options = {**SMALL, "n_channels": 300, "scale": 4e-3}
    coarse = phonons((6, 6), vacuum_fraction=0.0, **options)
    found = coarse.signal.remove_zlp_ml(vacuum=False, **QUICK).temperature()
    has = np.isfinite(found.temperature.value.data)
    assert has.any()
    assert (found.reason.data[has] == Reason.TAIL_GUESSED).all()
    assert np.isnan(found.highest.data[~has]).all()


# --- what there is no temperature of, and what is refused -----------------------------------------


def test_electronic_losses_have_no_temperature(removal_of_losses):
    found = removal_of_losses.temperature()
    assert np.isnan(found.temperature.value.data).all()
    assert not (found.reason.data == Reason.NONE).any()


@pytest.fixture(scope="module")
def removal_of_losses():
    sample = ws2_like((6, 6), n_channels=1024, random_state=0)
    regions = {"E_I": 1.2, "gain_limit": -1.2}
    return sample.signal.remove_zlp_ml(regions=regions, **QUICK)


def test_a_window_within_the_limits_tells_nothing(removal):
    found = removal.temperature(left=0.005, right=0.03)
    kept = found.reason.data[found.reason.data != Reason.LEFT_OUT]
    assert set(kept) <= {Reason.BELOW_RESOLUTION, Reason.NO_LIMIT}
    assert np.isnan(found.temperature.value.data).all()


@pytest.mark.parametrize(
    "window, message",
    [
        ((0.2, 0.1), r"right: expected more than left = 0\.2 by at least .*, two FWHM, got 0\.1"),
        ((-0.1, 0.1), "left: expected a positive number"),
        ((0.1, 0.0), "right: expected a positive number"),
        (("low", None), "left: expected a positive number"),
        ((5.0, 6.0), "left: expected an energy on the axis, up to .* eV from the peak, got 5.0"),
    ],
)
def test_windows_that_are_none(removal, window, message):
    with pytest.raises(ValueError, match=message):
        removal.temperature(left=window[0], right=window[1])


def test_an_axis_without_gain_side(film):
    signal = film.signal.isig[-0.02:]
    removal = signal.remove_zlp_ml(**QUICK)
    with pytest.raises(ValueError, match="left: expected an energy axis that reaches .* below"):
        removal.temperature()
