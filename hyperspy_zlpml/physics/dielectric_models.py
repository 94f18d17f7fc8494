# SPDX-License-Identifier: GPL-3.0-or-later
"""Dielectric functions in closed form: bound and free electrons as oscillators."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from hyperspy_zlpml import arguments

#: Energy at which a function that diverges at zero is given there, eV.
_NEXT_TO_ZERO = 1e-6
#: Widest range of energies of oscillators, eV.
_ENERGIES = (0.0, 1e4)
#: Spacing at which crossings are looked for, eV.
_CROSSING_STEP = 0.01


class Oscillator(NamedTuple):
    """Electrons bound alike.

    Attributes
    ----------
    strength : float
        Square of the plasma energy of these electrons alone, eV^2.
    energy : float
        Resonance, eV; 0 for free electrons.
    width : float
        Damping, eV.
    """

    strength: float
    energy: float
    width: float


@dataclass(frozen=True)
class OscillatorModel:
    """Dielectric function of Lorentz oscillators, those at zero energy being Drude's free electrons.

    ``eps(E) = 1 + sum_j A_j / (E_j^2 - E^2 - i E G_j)``. It obeys the Kramers-Kronig relations and
    the f-sum rule exactly.

    Parameters
    ----------
    oscillators : tuple of (strength, energy, width)
        In eV^2, eV and eV, see :class:`Oscillator`.

    Examples
    --------
    Free electrons: losses peak at the plasma energy, above which the metal is transparent.

    >>> from hyperspy_zlpml.physics.dielectric_models import OscillatorModel
    >>> metal = OscillatorModel(((15.0**2, 0.0, 0.6),))
    >>> metal.refractive_index, metal.zero_crossings(1.0, 40.0).round(2)
    (inf, array([14.99]))
    """

    oscillators: tuple[Oscillator, ...]

    def __post_init__(self):
        if not arguments.is_sequence(self.oscillators) or not len(self.oscillators):
            arguments.refuse(
                self.oscillators, "oscillators", "a sequence of (strength, energy, width)"
            )
        object.__setattr__(self, "oscillators", tuple(map(_checked, self.oscillators)))

    def epsilon(self, energy):
        """Compute the dielectric function.

        Parameters
        ----------
        energy : ndarray
            eV; at negative ones it is the complex conjugate. Where it diverges, at zero energy of a
            metal, it is that at 1 micro-eV.

        Returns
        -------
        ndarray of complex of the shape of ``energy``
        """
        energy = arguments.finite_array(energy, "energy")
        if self.is_metal:
            energy = np.where(energy == 0, _NEXT_TO_ZERO, energy)
        total = np.ones(energy.shape, complex)
        for strength, position, width in self.oscillators:
            total += strength / (position**2 - energy**2 - 1j * energy * width)
        return total

    def loss_function(self, energy):
        """Compute ``Im[-1 / eps(E)]``.

        Parameters
        ----------
        energy : ndarray
            eV.

        Returns
        -------
        ndarray of float of the shape of ``energy``
        """
        return (-1 / self.epsilon(energy)).imag

    @property
    def is_metal(self):
        """Whether some electrons are free."""
        return any(one.energy == 0 for one in self.oscillators)

    @property
    def refractive_index(self):
        """Refractive index at zero energy; infinite for a metal."""
        return np.inf if self.is_metal else float(np.sqrt(self.epsilon(0.0).real))

    @property
    def plasma_energy(self):
        """Plasma energy of all electrons, eV: square root of the sum of the strengths."""
        return float(np.sqrt(sum(one.strength for one in self.oscillators)))

    def zero_crossings(self, left, right):
        """Find the energies at which the real part is zero.

        Parameters
        ----------
        left, right : float
            Energies between which to look, eV.

        Returns
        -------
        ndarray of shape (n_crossings,)
            eV, in order; crossings closer than 0.01 eV are not told apart.
        """
        energy = np.arange(left, right, _CROSSING_STEP)
        is_above = self.epsilon(energy).real > 0
        found = [
            brentq(lambda one: self.epsilon(one).real, energy[i], energy[i + 1])
            for i in np.flatnonzero(np.diff(is_above))
        ]
        return np.array(found)


def _checked(oscillator):
    """Take an oscillator; raise ValueError unless it is one of a passive medium."""
    strength, energy, width = arguments.finite_array(oscillator, "oscillators", (3,)).tolist()
    if strength <= 0 or width <= 0 or not _ENERGIES[0] <= energy <= _ENERGIES[1]:
        arguments.refuse(oscillator, "oscillators", "positive strengths and widths, energies >= 0")
    return Oscillator(strength, energy, width)
