# SPDX-License-Identifier: GPL-3.0-or-later
"""Specimens whose losses follow from dielectric functions, on arrays alone."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from scipy.interpolate import CubicSpline

from hyperspy_zlpml import arguments
from hyperspy_zlpml.data.forward import TrueSpectra
from hyperspy_zlpml.physics.dielectric_models import OscillatorModel
from hyperspy_zlpml.physics.kinematics import Beam
from hyperspy_zlpml.physics.loss_probability import surface_loss, volume_loss
from hyperspy_zlpml.physics.retardation import face_loss, retarded_volume_loss

#: An insulator of three bands: n = 2.62; epsilon is zero at 9.63 and 23.88 eV.
SEMICONDUCTOR = OscillatorModel(((60.0, 5.0, 2.0), (200.0, 9.0, 4.0), (224.0, 15.0, 8.0)))
#: An insulator of n = 2.0 with its bands at higher energies.
GLASS = OscillatorModel(((270.0, 12.0, 5.0), (225.0, 20.0, 10.0), (36.0, 8.0, 2.0)))
#: Free electrons alone, a plasmon at 15 eV.
ALUMINIUM = OscillatorModel(((15.0**2, 0.0, 0.6),))
#: Ways to reckon with the speed of the electron.
_RETARDED = ("bulk", "slab")
#: Energies over which all losses are counted, eV.
_ALL_LOSSES = np.arange(0.05, 500.0, 0.1)
#: Energies at which the losses of faces are worked out, eV; in between they are interpolated.
_FACE_ENERGIES = np.concatenate(
    [[0.01, 0.025, 0.05], np.arange(0.1, 50.0, 0.1), np.geomspace(50.0, 500.0, 60)]
)
#: Thicknesses at which they are.
_FACE_THICKNESSES = 32


@dataclass(frozen=True)
class DielectricSpectra(TrueSpectra):
    """True numbers of spectra of specimens that have a thickness in nm.

    Attributes
    ----------
    thickness_nm : ndarray of shape (n_spectra,)
        nm; 0 in vacuum.
    part : ndarray of int of shape (n_spectra,)
        Which of the models the specimen is of.
    """

    thickness_nm: np.ndarray
    part: np.ndarray


@dataclass(frozen=True)
class DielectricMaterial:
    """Losses of energy that follow from dielectric functions.

    Parameters
    ----------
    models : OscillatorModel or tuple of OscillatorModel
        One, or those of parts of the image that lie side by side.
    beam : Beam
    retarded : None, "bulk" or "slab"
        None: the speed of light is infinite. "bulk": Cherenkov losses of an infinite specimen
        (:func:`.retarded_volume_loss`). "slab": all losses of a film (:func:`.film_loss`), those of
        its faces among them.
    surfaces : bool
        Add the losses of two surfaces that do not feel each other (:func:`.surface_loss`).
    nm_per_thickness : float, optional
        A thickness of 1 that is asked for, in nm; default one mean free path of the volume.
    """

    models: tuple[OscillatorModel, ...]
    beam: Beam
    retarded: str | None = None
    surfaces: bool = False
    nm_per_thickness: float | None = None

    #: No losses have an onset, and no energy is gained.
    band_gap = 0.0
    gains = ()
    phonons = ()

    def __post_init__(self):
        models = (self.models,) if isinstance(self.models, OscillatorModel) else self.models
        if not arguments.is_sequence(models) or not len(models):
            arguments.refuse(models, "material", "an OscillatorModel or a sequence of them")
        models = tuple(arguments.instance(one, "material", OscillatorModel) for one in models)
        object.__setattr__(self, "models", models)
        arguments.instance(self.beam, "beam", Beam)
        if self.retarded is not None:
            arguments.choice(self.retarded, "retarded", _RETARDED, " or None")
        arguments.flag(self.surfaces, "surfaces")
        if self.nm_per_thickness is not None:
            arguments.positive(self.nm_per_thickness, "nm_per_thickness", "nm")
        if self.surfaces and self.retarded == "slab":
            raise ValueError(
                "surfaces: expected False with retarded='slab', which has surfaces, got True."
            )

    @cached_property
    def mean_free_paths(self):
        """Mean free paths of losses in the volume up to 500 eV, without retardation, nm."""
        step = _ALL_LOSSES[1] - _ALL_LOSSES[0]
        losses = [
            volume_loss(_ALL_LOSSES, one.epsilon(_ALL_LOSSES), self.beam) for one in self.models
        ]
        return np.array([1 / (one.sum() * step) for one in losses])

    def true_spectra(self, truth, shape):
        """Give spectra a thickness in nm and t/lambda that counts all their losses up to 500 eV.

        Parameters
        ----------
        truth : TrueSpectra
            Their thickness is the volume's t/lambda, or see ``nm_per_thickness``.
        shape : tuple of int
            Of the navigation space, in the order of arrays; parts lie side by side along its last
            axis.

        Returns
        -------
        DielectricSpectra
        """
        n_x = shape[-1] if shape else 1
        part = np.arange(n_x) * len(self.models) // n_x
        part = np.broadcast_to(part, shape or (1,)).ravel()
        thickness_nm = truth.thickness * (self.nm_per_thickness or self.mean_free_paths[part])
        known = {field.name: getattr(truth, field.name) for field in fields(truth)}
        known["band_gap"] = np.zeros(thickness_nm.shape)
        known["thickness"] = self._all_losses(thickness_nm, part)
        return DielectricSpectra(**known, thickness_nm=thickness_nm, part=part)

    def distribution(self, energy, truth):
        """Compute the probability per eV of one loss, over t/lambda.

        Parameters
        ----------
        energy : ndarray of shape (n_energy,)
            Energies lost, eV.
        truth : DielectricSpectra

        Returns
        -------
        ndarray of shape (n_spectra, n_energy)
            Of unit area up to 500 eV; 0 in vacuum.
        """
        losses = self.loss_probability(energy, truth.thickness_nm, truth.part)
        return losses / np.where(truth.thickness > 0, truth.thickness, 1)[:, None]

    def loss_probability(self, energy, thickness_nm, part):
        """Compute the probability per eV of one loss.

        Parameters
        ----------
        energy : ndarray of shape (n_energy,)
            Energies lost, eV; nothing is lost at zero and below.
        thickness_nm : ndarray of shape (n_spectra,)
            nm.
        part : ndarray of int of shape (n_spectra,)
            Which of the models the specimen is of.

        Returns
        -------
        ndarray of shape (n_spectra, n_energy)
        """
        losses = np.zeros((thickness_nm.size, energy.size))
        positive = energy > 0
        for number in range(len(self.models)):
            rows = (part == number) & (thickness_nm > 0)
            if rows.any():
                found = self._losses(energy[positive], thickness_nm[rows], number)
                losses[np.ix_(rows, positive)] = np.clip(found, 0, None)
        return losses

    def _losses(self, energy, thickness, number):
        """Compute the losses in one of the models, (n_spectra, n_energy)."""
        epsilon = self.models[number].epsilon(energy)
        volume = retarded_volume_loss if self.retarded else volume_loss
        losses = thickness[:, None] * volume(energy, epsilon, self.beam)
        if self.surfaces:
            losses = losses + surface_loss(energy, epsilon, self.beam)
        if self.retarded == "slab":
            losses = losses + self._face_losses(energy, thickness, number)
        return losses

    def _face_losses(self, energy, thickness, number):
        """Interpolate the losses at faces from some thicknesses and energies."""
        several = np.unique(thickness)
        if several.size > _FACE_THICKNESSES:
            several = np.linspace(several[0], several[-1], _FACE_THICKNESSES)
        epsilon = self.models[number].epsilon(_FACE_ENERGIES)
        table = face_loss(_FACE_ENERGIES, epsilon, several, self.beam)
        if several.size > 1:
            table = CubicSpline(several, table)(thickness)
        inside = energy < _FACE_ENERGIES[-1]
        losses = np.zeros((thickness.size, energy.size))
        losses[:, inside] = CubicSpline(_FACE_ENERGIES, table, axis=-1)(energy[inside])
        return losses

    def _all_losses(self, thickness, part):
        """Compute t/lambda of all losses up to 500 eV, (n_spectra,)."""
        step = _ALL_LOSSES[1] - _ALL_LOSSES[0]
        return self.loss_probability(_ALL_LOSSES, thickness, part).sum(-1) * step
