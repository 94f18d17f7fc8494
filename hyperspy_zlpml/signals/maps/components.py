# SPDX-License-Identifier: GPL-3.0-or-later
"""Between peaks of losses and components of HyperSpy: start values, and what was fitted."""

from dataclasses import dataclass

import numpy as np
from hyperspy.component import Component
from hyperspy.model import BaseModel
from hyperspy.signals import BaseSignal

from hyperspy_zlpml import arguments
from hyperspy_zlpml.physics.kinematics import Beam
from hyperspy_zlpml.physics.peak_shapes import FWHM_OVER_SIGMA, Exciton, Plasmon, drude_area
from hyperspy_zlpml.signals.maps.results import MapRecord

#: Fit of a Lorentzian that is blurred by a Gaussian: its width by both (Olivero, Longbothum, JQSRT 17, 233 (1977)).
_VOIGT = (0.5346, 0.2166)
#: What is taken for a list of peaks, in words.
_EXPECTED = (
    "a Plasmon or an Exciton of hyperspy_zlpml.physics, such as Plasmon(energy=16.7, width=4), a component "
    "or model of these, or a sequence of them"
)


@dataclass(frozen=True, repr=False, eq=False)
class Surroundings(MapRecord):
    """Numbers by which energies from the peak become those of the axis of the data.

    Attributes
    ----------
    centre, fwhm : BaseSignal
        Of the zero-loss peak, in the units of the axis.
    unit : float
        Step of the axis in its units, or 1 where it is binned: HyperSpy then multiplies by the step.
    factor : float
        eV per unit of the axis.
    beam : Beam or None
        Tells the angular logarithm of plasmons.
    """

    centre: BaseSignal
    fwhm: BaseSignal
    unit: float
    factor: float
    beam: Beam | None = None

    @property
    def weight(self):
        """Angular logarithm as a function of the energy in eV (callable or None)."""
        return self.beam.angular_logarithm if self.beam else None


def peaks_of(wanted, removal):
    """Take descriptions of peaks, of components of HyperSpy where these are given.

    Parameters
    ----------
    wanted : Plasmon, Exciton, Component or BaseModel, or a sequence of these
    removal : ZLPRemoval
        By whose zero-loss peak energies of components are counted.

    Returns
    -------
    peaks : list of Plasmon or Exciton
    is_one : bool
        Whether one was given alone.

    Raises
    ------
    ValueError
        If something else is among them, or nothing.
    """
    is_one = isinstance(wanted, (Plasmon, Exciton, Component))
    if not is_one and not arguments.is_sequence(wanted):
        arguments.refuse(wanted, "peaks", _EXPECTED)
    several = [wanted] if is_one else list(wanted)
    if isinstance(wanted, BaseModel):
        several = [one for one in several if one.active and one._id_name in _READERS]
    centre = removal.removed.typical.centre / removal._factor
    peaks = [_peak_of(one, centre) for one in several]
    if not peaks:
        arguments.refuse(wanted, "peaks", _EXPECTED)
    return peaks, is_one


def _peak_of(wanted, centre):
    """Take one description; that of a component counts from the zero-loss peak."""
    if isinstance(wanted, (Plasmon, Exciton)):
        return wanted
    if not isinstance(wanted, Component) or wanted._id_name not in _READERS:
        arguments.refuse(wanted, "peaks", _EXPECTED)
    values = {one.name: one.value for one in wanted.parameters}
    return _READERS[wanted._id_name](values, centre)


#: Descriptions of peaks from the values of components, and the place of the zero-loss peak.
_READERS = {
    "GaussianHF": lambda values, centre: Exciton(values["centre"] - centre, values["fwhm"]),
    "Gaussian": lambda values, centre: Exciton(
        values["centre"] - centre, values["sigma"] * FWHM_OVER_SIGMA
    ),
    "Lorentzian": lambda values, centre: Exciton(
        values["centre"] - centre, 2 * values["gamma"], shape="lorentzian"
    ),
    "VolumePlasmonDrude": lambda values, centre: Plasmon(values["plasmon_energy"], values["fwhm"]),
}


def component_of(fit):
    """Make the component of HyperSpy that comes closest to a fit, with the medians over the image.

    Parameters
    ----------
    fit : PeakFit

    Returns
    -------
    Component
    """
    from exspy.components import VolumePlasmonDrude
    from hyperspy.api import model

    kinds = {
        "drude": VolumePlasmonDrude,
        "gaussian": model.components1D.GaussianHF,
        "lorentzian": model.components1D.Lorentzian,
    }
    component = kinds[fit.peak.shape]()
    component.name = f"{type(fit.peak).__name__} {fit.peak.energy:g}"
    for parameter, (values, _) in _parameters(fit).items():
        found = values[np.isfinite(values)]
        if found.size:
            getattr(component, parameter).value = float(np.median(found))
    return component


def store(fit, model):
    """Append the component that comes closest to a fit to a model, with the values of every pixel.

    Parameters
    ----------
    fit : PeakFit
    model : BaseModel

    Returns
    -------
    Component

    Raises
    ------
    ValueError
        If it is no model, or one of a signal of another navigation shape.
    """
    arguments.instance(model, "model", BaseModel, ", as r.subtracted.create_model() makes it")
    shape = fit.position.value.data.shape
    if (model.axes_manager._navigation_shape_in_array or (1,)) != shape:
        raise ValueError(
            f"model: expected one of a signal with the navigation shape {shape}, got "
            f"{model.axes_manager._navigation_shape_in_array}."
        )
    component = component_of(fit)
    model.append(component)
    for name, (values, std) in _parameters(fit).items():
        parameter = getattr(component, name)
        is_known = np.isfinite(values)
        parameter.map["values"] = np.where(is_known, values, parameter.value)
        parameter.map["std"] = std
        parameter.map["is_set"] = True
        parameter.fetch()
    return component


def _parameters(fit):
    """Values and standard deviations of the parameters of the component, by name."""
    around = fit._around
    position, width, area = fit.position.value.data, fit.width.value.data, fit.area.value.data
    if not np.isfinite(position).any():  # what was looked for, of no area
        position, width = (np.full(area.shape, one) for one in (fit.peak.energy, fit.peak.width))
        area = np.zeros(area.shape)
    centre, blur = (np.reshape(one.data, position.shape) for one in (around.centre, around.fwhm))
    place = position + centre, fit.position.std.data
    relative = fit.area.std.data / np.where(area > 0, area, np.nan)
    if fit.peak.shape == "drude":
        intensity = _intensity(around, position, width, area)
        return {
            "plasmon_energy": (position, fit.position.std.data),
            "fwhm": (width, fit.width.std.data),
            "intensity": (intensity, intensity * relative),
        }
    if fit.peak.shape == "lorentzian":
        blurred = _VOIGT[0] * width + np.sqrt(_VOIGT[1] * width**2 + blur**2)
        return {
            "centre": place,
            "gamma": (0.5 * blurred, 0.5 * fit.width.std.data),
            "A": (area * around.unit, fit.area.std.data * around.unit),
        }
    blurred = np.hypot(width, blur)
    height = area * around.unit * FWHM_OVER_SIGMA / (blurred * np.sqrt(2 * np.pi))
    return {
        "centre": place,
        "fwhm": (blurred, fit.width.std.data * width / blurred),
        "height": (height, height * relative),
    }


def _intensity(around, position, width, area):
    """Factor of the Drude form that makes the maximum as high as it was fitted."""
    known = np.isfinite(position)
    ep, g = (np.where(known, one, 1.0).ravel() * around.factor for one in (position, width))
    whole = drude_area(ep, g, around.weight)[0]
    weight = 1.0 if around.weight is None else around.weight(ep)
    factor = around.unit * around.factor
    return np.where(known, area * factor * (weight / whole).reshape(area.shape), np.nan)
