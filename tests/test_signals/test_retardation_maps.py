# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps of retardation from the result of a removal."""

from operator import attrgetter

import dask
import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import QUICK

from hyperspy_zlpml.data import SEMICONDUCTOR, dielectric_phantom
from hyperspy_zlpml.physics import Reason

AXIS = {"n_channels": 512, "scale": 0.1, "offset": -4.0}
KNOWN = {"n": SEMICONDUCTOR.refractive_index, "n_error": 0.02, "show_progressbar": False}
REUSE = {"random_state": 0, "show_progressbar": False}
MAPS = ("probability", "excess.value", "energy", "ratio", "reason")


def remove(signal, **parameters):
    with dask.config.set(scheduler="threads"):
        return signal.remove_zlp_ml(n_clusters=2, **{**QUICK, **parameters})


def found_in(removal, **parameters):
    return removal.retardation(dielectric=removal.dielectric_function(**KNOWN), **parameters)


@pytest.fixture(scope="module")
def sample():
    return dielectric_phantom((6, 4), random_state=7020, **AXIS)


@pytest.fixture(scope="module")
def removal(sample):
    return remove(sample.signal.deepcopy())


@pytest.fixture(scope="module")
def dielectric(removal):
    return removal.dielectric_function(**KNOWN)


@pytest.fixture(scope="module")
def retardation(removal, dielectric):
    return removal.retardation(dielectric=dielectric)


# --- numbers --------------------------------------------------------------------------------------


def test_a_semiconductor_is_retarded_at_200_kilovolts(sample, retardation):
    specimen = sample.thickness.data > 0.1
    assert (retardation.probability.data[specimen] > 0.99).all()
    assert (retardation.reason.data[specimen] == Reason.RETARDED).all()
    std = retardation.excess.error
    true = SEMICONDUCTOR.epsilon(np.linspace(2, 6, 500)).real.max() - retardation.threshold
    # At the resolution the top is a little lower.
    assert (np.abs(retardation.excess.value.data - true)[specimen] < 3 * std[specimen] + 0.2).all()
    np.testing.assert_allclose(retardation.energy.data[specimen], 3.9, atol=0.4)


def test_nothing_is_said_of_vacuum(sample, dielectric, retardation):
    unknown = ~np.isfinite(dielectric.epsilon.data).all(-1)
    assert unknown[sample.thickness.data == 0].mean() > 0.8
    np.testing.assert_array_equal(np.isnan(retardation.probability.data), unknown)
    np.testing.assert_array_equal(retardation.reason.data[unknown], dielectric.reason.data[unknown])


def test_slow_electrons_are_not_retarded():
    """The same material at 20 kV: eps1 is 8.7 at most, (c/v)^2 is 13.5."""
    slow = dielectric_phantom((6, 4), random_state=7020, beam_energy=20.0, **AXIS)
    found = found_in(remove(slow.signal))
    known = np.isfinite(found.probability.data)
    assert known[slow.thickness.data > 0.4].all()
    assert np.median(found.probability.data[known]) < 0.01
    assert (found.reason.data[known] == Reason.NONE).all()
    assert (found.excess.value.data[known] < 0).all()


def test_only_energies_up_to_the_right_count(sample, removal, dielectric, retardation):
    specimen = sample.thickness.data > 0.1
    found = removal.retardation(dielectric=dielectric, right=2.5)
    assert (found.energy.data[specimen] <= 2.5).all()
    assert (found.ratio.data > retardation.ratio.data)[specimen].all()
    # A map that knows no onset in some pixels leaves these their whole axis.
    onset = hs.signals.BaseSignal(np.where(np.eye(4, 6), np.nan, 2.5)).transpose(signal_axes=[])
    partly = removal.retardation(dielectric=dielectric, right=onset)
    expected = np.where(np.eye(4, 6), retardation.ratio.data, found.ratio.data)
    np.testing.assert_array_equal(partly.ratio.data, expected)


def test_an_index_alone_warns(sample, removal):
    specimen = sample.thickness.data > 0.1
    found = removal.retardation(n=1.45, n_error=0.01)
    np.testing.assert_allclose(found.probability.data[specimen], 0.88, atol=0.01)
    assert (found.reason.data[specimen] == Reason.NONE).all()
    doubtful = removal.retardation(n=1.45, n_error=0.01, confidence=0.8)
    assert (doubtful.reason.data[specimen] == Reason.RETARDED).all()
    assert np.isnan(found.energy.data).all()
    index = np.linspace(1.2, 3.0, 24).reshape(4, 6)
    found = removal.retardation(n=index)
    is_fast = index > np.sqrt(found.threshold)
    np.testing.assert_array_equal(found.probability.data[specimen], is_fast[specimen])


def test_an_index_says_nothing_of_vacuum(sample, removal):
    found = removal.retardation(n=2.62)
    empty = sample.thickness.data == 0
    assert empty.any()
    assert (found.reason.data[empty] == Reason.NOT_SIGNIFICANT).all()
    for name in ("probability", "excess.value"):
        assert np.isnan(attrgetter(name)(found).data[empty]).all()
    # Unless it is not taken for vacuum, and has no losses all the same.
    kept = sample.signal.remove_zlp_ml(ensemble=removal.ensemble, vacuum=False, **REUSE)
    again = kept.retardation(n=2.62)
    assert not kept.vacuum.data.any()
    assert (again.reason.data[empty] == Reason.NOT_SIGNIFICANT).mean() > 0.8


def test_an_index_without_error_has_no_error_to_show(removal):
    found = removal.retardation(n=2.62)
    assert np.isfinite(found.excess.value.data).any()
    assert np.isnan(found.excess.error).all()
    assert "+-" not in found.excess.summary
    assert len(found.plot()) >= 2
    plt.close("all")


def test_maps_are_native(retardation):
    for name in MAPS:
        signal = attrgetter(name)(retardation)
        assert type(signal) is hs.signals.BaseSignal
        assert signal.axes_manager.navigation_shape == (6, 4)
        assert signal.metadata.has_item("ZLP_ML")
    assert retardation.energy.metadata.Signal.quantity == "Energy (eV)"
    assert retardation.reason.metadata.ZLP_ML.legend.as_dictionary()["9"].startswith("RETARDED")
    assert len(retardation.plot()) >= 2
    plt.close("all")


def test_what_a_film_adds_is_taken_off(removal):
    """With noise, and a ZLP removed: guided light and losses of faces, thickness found along."""
    film = dielectric_phantom(
        (3, 2), random_state=7021, retarded="slab", thickness_nm=(60.0, 60.0),
        vacuum_fraction=0.0, **AXIS,
    )  # fmt: skip
    r = film.signal.remove_zlp_ml(ensemble=removal.ensemble, **REUSE)
    as_is = r.dielectric_function(**KNOWN)
    off = r.dielectric_function(surface=True, relativistic=True, **KNOWN)
    energy = off.epsilon.axes_manager.signal_axes[0].axis
    seen = (energy > 3) & (energy < 30)
    true = SEMICONDUCTOR.epsilon(energy[seen]).real
    wrong, right = (
        np.sqrt(np.mean((one.epsilon.data.real[..., seen] - true) ** 2) / np.mean(true**2))
        for one in (as_is, off)
    )
    assert right < 0.4 * wrong
    np.testing.assert_allclose(off.thickness.value.data, 60.0, rtol=0.06)
    assert (as_is.thickness.value.data > 66).all()
    assert (r.retardation(dielectric=off).probability.data > 0.99).all()


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "dielectric, n: expected either .* got none"),
        ({"n": 2.0, "dielectric": "found"}, "dielectric, n: expected either .* got both"),
        ({"n": 0.9}, "n: expected refractive indices of at least 1, got 0.9"),
        ({"n": np.full((2, 2), 2.0)}, "n: expected a number or a map of the navigation shape"),
        ({"n": 2.0, "n_error": -0.1}, "n_error: expected errors that are not negative"),
        ({"n": 2.0, "n_error": np.nan}, "n_error: expected errors that are not negative"),
        ({"n": 2.0, "right": 3.0}, "right: expected together with dielectric"),
        ({"dielectric": "found", "n_error": 0.1}, "n_error: expected together with n"),
        ({"dielectric": "found", "right": 0.1}, "right: expected an energy above those"),
        ({"dielectric": "found", "right": "all"}, "right: expected real numbers"),
        (
            {"dielectric": SEMICONDUCTOR},
            "dielectric: expected the result of r.dielectric_function",
        ),
        ({"n": 2.0, "confidence": 95}, "confidence: expected a number between 0 and 1"),
    ],
)
def test_wrong_arguments_are_named(removal, dielectric, arguments, message):
    if arguments.get("dielectric") == "found":
        arguments = {**arguments, "dielectric": dielectric}
    with pytest.raises(ValueError, match=message):
        removal.retardation(**arguments)


def test_dielectric_function_of_another_image(sample, removal, dielectric):
    other = sample.signal.inav[:3].remove_zlp_ml(ensemble=removal.ensemble, **REUSE)
    with pytest.raises(ValueError, match="dielectric: expected that of an image of shape"):
        other.retardation(dielectric=dielectric)


def test_missing_beam_energy_is_named_before_any_work(sample, removal):
    signal = sample.signal.deepcopy()
    del signal.metadata.Acquisition_instrument.TEM.beam_energy
    blank = signal.remove_zlp_ml(ensemble=removal.ensemble, **REUSE)
    with pytest.raises(ValueError, match="retardation: expected beam_energy.*set_microscope"):
        blank.retardation(n=2.0)
