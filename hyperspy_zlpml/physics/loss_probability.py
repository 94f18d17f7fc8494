# SPDX-License-Identifier: GPL-3.0-or-later
"""Probability that a fast electron loses energy, from a dielectric function, without retardation.

Formulas: R. F. Egerton, *Electron Energy-Loss Spectroscopy in the Electron Microscope*, 3rd ed.
(Springer, 2011), chapter 3; R. H. Ritchie, Phys. Rev. 106, 874 (1957). Angles are integrated from
zero to the collection semi-angle, in the approximation of small angles, for a parallel beam.
"""

import numpy as np

from hyperspy_zlpml.physics.kinematics import BOHR_RADIUS

#: Planck's constant times the speed of light, eV nm.
HBAR_C = 197.3269804


def volume_factor(beam):
    """Compute ``1 / (2 pi a0 T)``, the losses per nm and eV of a unit loss function and logarithm.

    Parameters
    ----------
    beam : Beam

    Returns
    -------
    float
        1 / (nm eV).
    """
    return 1 / (2 * np.pi * BOHR_RADIUS * beam.kinetic)


def volume_loss(energy, epsilon, beam):
    """Compute the losses in the volume, ``Im[-1/eps] ln(1 + (beta/theta_E)^2) / (2 pi a0 T)``.

    Parameters
    ----------
    energy : ndarray of shape (n_energy,)
        eV; positive.
    epsilon : ndarray of complex of shape (..., n_energy)
        Dielectric function, positive imaginary part.
    beam : Beam

    Returns
    -------
    ndarray of shape (..., n_energy)
        Probability per eV and nm of thickness.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics import Beam
    >>> from hyperspy_zlpml.physics.dielectric_models import OscillatorModel
    >>> from hyperspy_zlpml.physics.loss_probability import volume_loss
    >>> energy = 0.05 * np.arange(1, 4000)
    >>> aluminium = OscillatorModel(((15.0**2, 0.0, 0.6),)).epsilon(energy)
    >>> loss = volume_loss(energy, aluminium, Beam(energy=200.0, collection_angle=15.0))
    >>> round(float(1 / (loss.sum() * 0.05)))  # mean free path, nm
    151
    """
    with np.errstate(invalid="ignore"):  # NaN where nothing is known
        return volume_factor(beam) * beam.angular_logarithm(energy) * (-1 / epsilon).imag


def surface_loss(energy, epsilon, beam):
    """Compute what two surfaces that do not feel each other add to the losses of the volume.

    ``(arctan(beta/theta_E)/theta_E - beta/(beta^2 + theta_E^2)) / (pi a0 k0 T)
    (4 eps2 / ((eps1 + 1)^2 + eps2^2) - Im[-1/eps])`` at normal incidence; negative where losses of
    the surfaces are at the expense of those of the volume.

    Parameters
    ----------
    energy : ndarray of shape (n_energy,)
        eV; positive.
    epsilon : ndarray of complex of shape (..., n_energy)
        Dielectric function, positive imaginary part.
    beam : Beam

    Returns
    -------
    ndarray of shape (..., n_energy)
        Probability per eV, whatever the thickness.
    """
    ratio = 1e-3 * beam.collection_angle / beam.characteristic_angle(energy)
    angular = np.arctan(ratio) - ratio / (1 + ratio**2)
    excess = 4 * (-1 / (epsilon + 1)).imag - (-1 / epsilon).imag
    return 2 * volume_factor(beam) * distance_per_radian(energy, beam) * angular * excess


def distance_per_radian(energy, beam):
    """Compute ``hbar v / E``, the way of the electron in one radian of the field of a loss.

    Parameters
    ----------
    energy : float or ndarray
        eV; positive.
    beam : Beam

    Returns
    -------
    float or ndarray
        nm.
    """
    return np.sqrt(beam.speed_squared) * HBAR_C / energy
