# SPDX-License-Identifier: GPL-3.0-or-later
"""Dielectric phantoms: what was put in comes out, whatever is added to the losses of the volume."""

import numpy as np
import pytest

from hyperspy_zlpml import data
from hyperspy_zlpml.data import ALUMINIUM, GLASS, SEMICONDUCTOR, DielectricMaterial
from hyperspy_zlpml.physics import Beam
from hyperspy_zlpml.physics.loss_probability import surface_loss, volume_loss
from hyperspy_zlpml.physics.retardation import film_loss, retarded_volume_loss

BEAM = Beam(energy=200.0, collection_angle=15.0)
ENERGY = np.linspace(0.5, 60.0, 120)
#: Ways to add to the losses of the volume.
KINDS = [
    {},
    {"retarded": "bulk"},
    {"retarded": "slab", "thickness_nm": (20.0, 60.0)},
    {"surfaces": True, "thickness_nm": (20.0, 60.0)},
    {"material": ALUMINIUM},
    {"material": (SEMICONDUCTOR, GLASS)},
]


def phantom(shape=(4, 3), **parameters):
    return data.dielectric_phantom(shape, **{"random_state": 0, "n_channels": 512, **parameters})


@pytest.mark.parametrize("parameters", KINDS)
def test_thickness_counts_all_losses(parameters):
    """ln(It/I0) on an axis to 500 eV."""
    sample = phantom(n_channels=5000, offset=-5.0, scale=0.1, fwhm=0.9, **parameters)
    total = (sample.zlp.data + sample.inelastic.data).sum(-1)
    measured = np.log(total / sample.zlp.data.sum(-1))
    np.testing.assert_allclose(measured, sample.thickness.data, atol=3e-3)
    assert not sample.thickness.data[sample.thickness_nm.data == 0].any()


def test_thin_specimens_show_the_loss_function():
    parameters = {"thickness_nm": (0.1, 0.1), "vacuum_fraction": 0.0, "fwhm": 0.05, "scale": 0.05}
    sample = phantom((), n_channels=1024, response=data.Response(9.0, 9.0, 0.0), **parameters)
    energy = sample.inelastic.axes_manager.signal_axes[0].axis
    shown = (energy > 1) & (energy < 30)
    expected = 0.1 * volume_loss(energy[shown], SEMICONDUCTOR.epsilon(energy[shown]), BEAM)
    intensity = sample.zlp.data.sum() * 0.05
    np.testing.assert_allclose(sample.inelastic.data[shown] / intensity, expected, rtol=0.01)


def test_truth_is_that_of_the_closed_form():
    sample = phantom()
    energy = sample.signal.axes_manager.signal_axes[0].axis
    assert sample.epsilon.metadata.Signal.signal_type == "DielectricFunction"
    assert sample.epsilon.data.shape == sample.signal.data.shape
    np.testing.assert_array_equal(sample.epsilon.data[1, 1], SEMICONDUCTOR.epsilon(energy))
    # Thickness is asked for in mean free paths of the volume, of which 500 eV count.
    np.testing.assert_allclose(
        sample.thickness_nm.data / sample.mean_free_path.data, sample.thickness.data, rtol=1e-12
    )


def test_parts_lie_side_by_side():
    sample = phantom((4, 3), material=(SEMICONDUCTOR, GLASS))
    index = sample.refractive_index.data
    np.testing.assert_allclose(index[:, :2], SEMICONDUCTOR.refractive_index)
    np.testing.assert_allclose(index[:, 2:], 2.0)
    assert (sample.mean_free_path.data[:, 2:] > sample.mean_free_path.data[:, :2]).all()
    energy = sample.signal.axes_manager.signal_axes[0].axis
    np.testing.assert_array_equal(sample.epsilon.data[2, 3], GLASS.epsilon(energy))


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 2)])
@pytest.mark.parametrize("parameters", [{}, {"retarded": "slab"}])
def test_shapes(shape, parameters):
    sample = phantom(shape, **parameters)
    assert sample.signal.data.shape == shape[::-1] + (512,)
    assert np.isfinite(sample.signal.data).all()
    assert sample.thickness_nm.data.size == np.prod(shape, dtype=int)


def test_the_microscope_is_in_the_metadata():
    sample = phantom(beam_energy=60.0, collection_angle=20.0)
    for signal in (sample.signal, sample.zlp, sample.inelastic):
        assert signal.metadata.Acquisition_instrument.TEM.beam_energy == 60.0
        assert signal.metadata.Acquisition_instrument.TEM.Detector.EELS.collection_angle == 20.0
    # Slower electrons lose energy more often.
    assert (sample.mean_free_path.data < phantom().mean_free_path.data).all()


def test_losses_of_each_kind():
    thickness, part = np.array([0.0, 20.0, 33.0, 60.0]), np.zeros(4, int)
    epsilon = SEMICONDUCTOR.epsilon(ENERGY)
    t = thickness[:, None]
    expected = {
        (None, False): t * volume_loss(ENERGY, epsilon, BEAM),
        (None, True): t * volume_loss(ENERGY, epsilon, BEAM) + surface_loss(ENERGY, epsilon, BEAM),
        ("bulk", False): t * retarded_volume_loss(ENERGY, epsilon, BEAM),
        ("slab", False): film_loss(ENERGY, epsilon, thickness, BEAM),
    }
    for (retarded, surfaces), losses in expected.items():
        material = DielectricMaterial(SEMICONDUCTOR, BEAM, retarded, surfaces)
        found = material.loss_probability(ENERGY, thickness, part)
        assert not found[0].any()
        scale = losses[1:].max()
        np.testing.assert_allclose(found[1:], losses[1:], rtol=1e-3, atol=1e-5 * scale)


def test_films_of_many_thicknesses_are_interpolated():
    thickness = np.linspace(5.0, 140.0, 100)
    material = DielectricMaterial(SEMICONDUCTOR, BEAM, "slab")
    found = material.loss_probability(ENERGY, thickness, np.zeros(100, int))[::9]
    expected = film_loss(ENERGY, SEMICONDUCTOR.epsilon(ENERGY), thickness[::9], BEAM)
    np.testing.assert_allclose(found, expected, rtol=5e-3)


def test_light_makes_losses_in_the_gap():
    """Facts of the design: 200 kV electrons lose several times as much below 3 eV."""
    energy = np.linspace(1.0, 2.0, 20)
    slow, fast = (
        DielectricMaterial(SEMICONDUCTOR, BEAM, kind).loss_probability(
            energy, np.array([60.0]), np.zeros(1, int)
        )
        for kind in (None, "bulk")
    )
    assert 5 < fast.sum() / slow.sum() < 8


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"material": data.Material()}, "material: expected an OscillatorModel"),
        ({"material": ()}, "material: expected an OscillatorModel or a sequence"),
        ({"retarded": "film"}, "retarded: expected one of"),
        ({"retarded": True}, "retarded: expected one of"),
        ({"surfaces": "no"}, "surfaces: expected True or False"),
        ({"surfaces": True, "retarded": "slab"}, "surfaces: expected False with retarded='slab'"),
        ({"thickness_nm": (-1.0, 5.0)}, "thickness_nm: expected two numbers"),
        ({"thickness_nm": (9.0, 5.0)}, "thickness_nm: expected two numbers"),
        ({"thickness_nm": (1.0, 5.0), "thickness_range": (0, 1)}, "got both"),
        ({"beam_energy": 0.0}, "beam_energy: expected"),
        ({"collection_angle": 0.0}, "collection_angle: expected"),
    ],
)
def test_wrong_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        phantom(**parameters)


def test_the_same_state_gives_the_same_image():
    one, same, other = (phantom(random_state=state) for state in (1, 1, 2))
    np.testing.assert_array_equal(one.signal.data, same.signal.data)
    assert (one.signal.data != other.signal.data).any()
