# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinematics of fast electrons that lose little energy.

Formulas: R. F. Egerton, *Electron Energy-Loss Spectroscopy in the Electron Microscope*, 3rd ed.
(Springer, 2011), chapter 3 and appendix E.
"""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml import arguments

#: Rest energy of the electron, keV.
REST_ENERGY = 510.99895
#: Bohr radius, nm.
BOHR_RADIUS = 0.0529177211
#: Boltzmann's constant, eV per K.
BOLTZMANN = 8.617333262e-5
#: Largest angle that a spectrometer may collect, mrad.
_WIDEST = 1000.0
#: Beam energies of electron microscopes, keV.
_BEAM_ENERGIES = (1.0, 3000.0)


@dataclass(frozen=True)
class Beam:
    """Beam of an electron microscope, and the angles at which it is used.

    Parameters
    ----------
    energy : float
        keV.
    collection_angle : float
        Semi-angle of the spectrometer's entrance, mrad.
    convergence_angle : float
        Semi-angle of the probe, mrad; 0 for a parallel beam.

    Raises
    ------
    ValueError
        If a number is not possible.

    Examples
    --------
    >>> from hyperspy_zlpml.physics.kinematics import Beam
    >>> beam = Beam(energy=200.0, collection_angle=15.0)
    >>> round(beam.gamma, 3), round(beam.speed_squared, 3), round(beam.kinetic, -1)
    (1.391, 0.483, 123520.0)
    """

    energy: float
    collection_angle: float
    convergence_angle: float = 0.0

    def __post_init__(self):
        arguments.within(self.energy, "beam_energy", *_BEAM_ENERGIES)
        arguments.within(self.collection_angle, "collection_angle", 1e-6, _WIDEST)
        arguments.within(self.convergence_angle, "convergence_angle", 0, _WIDEST)

    @property
    def gamma(self):
        """Energy of the electrons over their rest energy."""
        return 1 + self.energy / REST_ENERGY

    @property
    def speed_squared(self):
        """Square of the speed of the electrons over that of light."""
        return 1 - self.gamma**-2

    @property
    def kinetic(self):
        """Kinetic energy that electrons of this speed would have without relativity, eV: Egerton's T."""
        return 1e3 * REST_ENERGY * self.speed_squared / 2

    def characteristic_angle(self, energy):
        """Compute the angle ``E / (2 gamma T)`` of the scattering by a loss.

        Parameters
        ----------
        energy : float or ndarray
            Energy lost, eV.

        Returns
        -------
        float or ndarray
            rad.
        """
        return energy / (2 * self.gamma * self.kinetic)

    def angular_logarithm(self, energy):
        """Compute ``ln(1 + (beta / theta_E)^2)``, what an aperture lets through of a loss.

        Parameters
        ----------
        energy : ndarray
            Energy lost, eV; positive.

        Returns
        -------
        ndarray

        Examples
        --------
        Losses of higher energy are scattered wider, so that the aperture takes less of them:

        >>> import numpy as np
        >>> from hyperspy_zlpml.physics.kinematics import Beam
        >>> Beam(energy=200.0, collection_angle=15.0).angular_logarithm(np.array([5.0, 50.0])).round(2)
        array([13.88,  9.27])
        """
        angle = 1e-3 * self.collection_angle
        return np.log1p((angle / self.characteristic_angle(energy)) ** 2)
