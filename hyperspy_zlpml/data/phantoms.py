# SPDX-License-Identifier: GPL-3.0-or-later
"""Sample images whose losses follow from a known dielectric function."""

from dataclasses import dataclass

import numpy as np
from hyperspy.signals import BaseSignal, ComplexSignal1D

from hyperspy_zlpml import arguments
from hyperspy_zlpml.data.dielectric import SEMICONDUCTOR, DielectricMaterial
from hyperspy_zlpml.data.samples import SampleImage, make_sample
from hyperspy_zlpml.physics.dielectric_models import OscillatorModel
from hyperspy_zlpml.physics.kinematics import Beam

#: Thickness in nm that make_sample is asked for as 1.
_UNIT = 100.0
#: Thickest film, nm.
_THICKEST = 3000.0


@dataclass(frozen=True, repr=False)
class DielectricImage(SampleImage):
    """Simulated measurement of a specimen of known dielectric function, with its truth.

    What depends on the material is given in vacuum, too: that of the part of the image. The map
    ``thickness`` of the sample images counts all losses up to 500 eV, those of surfaces among them.

    Attributes
    ----------
    epsilon : exspy.signals.DielectricFunction
        On the axes of the signal.
    thickness_nm : BaseSignal
        Map of the thickness in nm; 0 in vacuum.
    refractive_index : BaseSignal
        Map of n; infinite for metals.
    mean_free_path : BaseSignal
        Map of that of losses in the volume up to 500 eV, without retardation, in nm.
    models : tuple of OscillatorModel
        Closed forms of the parts, side by side along x.
    beam : Beam
    """

    epsilon: ComplexSignal1D
    thickness_nm: BaseSignal
    refractive_index: BaseSignal
    mean_free_path: BaseSignal
    models: tuple[OscillatorModel, ...]
    beam: Beam


# Every keyword is a property of the measurement that may be chosen.
def dielectric_phantom(  # noqa: PLR0913
    navigation_shape=(32, 32),
    random_state=None,
    material=SEMICONDUCTOR,
    retarded=None,
    surfaces=False,
    thickness_nm=None,
    beam_energy=200.0,
    collection_angle=15.0,
    **parameters,
):
    """Simulate a specimen whose losses follow from a dielectric function in closed form.

    Single losses are ``t Im[-1/eps] ln(1 + (beta/theta_E)^2) / (2 pi a0 T)``, of a parallel beam, and
    are repeated as in :func:`make_sample`; at 0.45 eV resolution, on an axis from -4 to 47.2 eV.

    Parameters
    ----------
    navigation_shape : tuple of int
        HyperSpy order (x, y, ...), of zero to three dimensions.
    random_state : int or numpy.random.Generator, optional
        Same state, same image.
    material : OscillatorModel or sequence of OscillatorModel, optional
        One, or those of parts that lie side by side along x. Default ``SEMICONDUCTOR``; others
        at hand are ``GLASS`` and ``ALUMINIUM``.
    retarded : None, "bulk" or "slab"
        Reckon with the speed of the electron: "bulk" adds Cherenkov losses, "slab" all that a film
        in vacuum does, the losses of its faces among them.
    surfaces : bool
        Add the losses of two surfaces, without retardation.
    thickness_nm : tuple of float, optional
        Smallest and largest thickness of the specimen in nm. Default: ``thickness_range``, 0 to 1
        mean free path of the losses in the volume.
    beam_energy, collection_angle : float
        keV and mrad.
    **parameters
        Others of :func:`make_sample`.

    Returns
    -------
    DielectricImage

    Examples
    --------
    The real part of epsilon is zero where the truth says so:

    >>> from hyperspy_zlpml.data import dielectric_phantom
    >>> sample = dielectric_phantom((4, 4), random_state=0, n_channels=512, scale=0.1)
    >>> sample.epsilon
    <DielectricFunction, title: True dielectric function, dimensions: (4, 4|512)>
    >>> sample.models[0].zero_crossings(1, 47).round(2)
    array([ 9.63, 23.88])
    >>> float(sample.refractive_index.data[0, 0].round(2))
    2.62
    """
    beam = Beam(energy=beam_energy, collection_angle=collection_angle)
    thickness = _checked_thickness(thickness_nm, parameters)
    material = DielectricMaterial(
        models=material,
        beam=beam,
        retarded=retarded,
        surfaces=surfaces,
        nm_per_thickness=None if thickness_nm is None else _UNIT,
    )
    parameters = {"title": "Dielectric phantom", **parameters, **thickness}
    image = make_sample(
        navigation_shape, material=material, random_state=random_state, **parameters
    )
    for signal in (image.signal, image.zlp, image.inelastic):
        signal.set_microscope_parameters(
            beam_energy=float(beam_energy),
            convergence_angle=0.0,
            collection_angle=float(collection_angle),
        )
    return _with_dielectric_truth(image, material)


def _checked_thickness(thickness_nm, parameters):
    """Take a range in nm as one of t/lambda at the unit of thickness."""
    if thickness_nm is None:
        return {}
    if "thickness_range" in parameters:
        raise ValueError(
            "thickness_nm: expected it or thickness_range, in mean free paths, got both."
        )
    low, high = arguments.pair(thickness_nm, "thickness_nm", 0, _THICKEST)
    return {"thickness_range": (low / _UNIT, high / _UNIT)}


def _with_dielectric_truth(image, material):
    """Add the truth of the dielectric function to a sample image."""
    truth = image.truth
    energy = image.signal.axes_manager.signal_axes[0].axis
    epsilon = np.array([model.epsilon(energy) for model in material.models])
    index = np.array([model.refractive_index for model in material.models])
    return DielectricImage(
        **vars(image),
        epsilon=_dielectric_function(image.signal, epsilon[truth.part]),
        thickness_nm=_map_like(image.thickness, truth.thickness_nm, "Thickness (nm)"),
        refractive_index=_map_like(image.thickness, index[truth.part], "Refractive index"),
        mean_free_path=_map_like(
            image.thickness, material.mean_free_paths[truth.part], "Mean free path (nm)"
        ),
        models=material.models,
        beam=material.beam,
    )


def _dielectric_function(signal, epsilon):
    """Make the signal of the dielectric function on the axes of a signal."""
    axes = list(signal.axes_manager.as_dictionary().values())
    made = ComplexSignal1D(epsilon.reshape(signal.data.shape), axes=axes)
    made.set_signal_type("DielectricFunction")
    made.metadata.General.title = "True dielectric function"
    return made


def _map_like(other, values, title):
    """Make a map on the axes of another."""
    made = other._deepcopy_with_new_data(np.asarray(values, float).reshape(other.data.shape))
    made.metadata.General.title = title
    return made
