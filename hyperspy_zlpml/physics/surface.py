# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses that are none of the loss function of the volume, taken off step by step.

Losses of the two faces of the specimen, and those that retardation adds, follow from the dielectric
function, which follows from the losses without them: they are computed from the last one found and
subtracted from the measured losses until nothing changes (R. F. Egerton, *Electron Energy-Loss
Spectroscopy in the Electron Microscope*, 3rd ed., section 4.2, for the faces; A. Eljarrat and C. T.
Koch, Ultramicroscopy 206, 112825 (2019), for retardation).
"""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.physics.kinematics import Beam
from hyperspy_zlpml.physics.kramers_kronig import smoothed
from hyperspy_zlpml.physics.loss_probability import surface_loss, volume_factor
from hyperspy_zlpml.physics.retardation import film_excess, retarded_excess

#: Most steps of an iteration.
_MOST_STEPS = 30
#: Change of the losses, over their root mean square, at which an iteration has settled.
_SETTLED = 1e-4
#: Excess beyond the losses and their noise, over the root mean square of the losses: what is more belongs
#: to a dielectric function that does not explain them.
_EXPLAINED = 1e-3
#: Part of a step that is taken at first, of losses of faces: whole steps go to and fro.
_OF_FACES = 0.5
#: Part of it that is taken where the change has grown.
_DAMPED = 0.5
#: Part of the measured losses that can be taken off, or added, at most.
_LARGEST_PART = 0.97


@dataclass(frozen=True)
class Excess:
    """Losses beside those of ``Im[-1/eps]``, as factors of loss functions.

    Parameters
    ----------
    beam : Beam
    surface : bool
        Losses of the two faces, as if these were alone.
    relativistic : bool
        Change of the losses of the volume by retardation. With ``surface``, all losses of a film:
        its faces feel each other, and guide light.
    """

    beam: Beam
    surface: bool
    relativistic: bool

    def __bool__(self):
        return self.surface or self.relativistic

    @property
    def is_film(self):
        """Whether it is all of a film, which takes a thousand times the time."""
        return self.surface and self.relativistic

    @property
    def first_part(self):
        """Part of a step that an iteration takes at first."""
        return _OF_FACES if self.surface else 1.0

    def per_thickness(self, energy, epsilon, thickness):
        """Compute the excess in the units of ``Im[-1/eps]``.

        Parameters
        ----------
        energy : ndarray of shape (size,)
            eV.
        epsilon : ndarray of complex of shape (..., size)
        thickness : ndarray of shape (...)
            nm.

        Returns
        -------
        ndarray of shape (..., size)
        """
        if not self:
            return np.zeros(np.shape(epsilon))
        if self.is_film:
            total = film_excess(energy, epsilon, thickness, self.beam)
        elif self.surface:
            total = surface_loss(energy, epsilon, self.beam) / thickness[..., None]
        else:
            total = retarded_excess(energy, epsilon, self.beam)
        return total / (volume_factor(self.beam) * self.beam.angular_logarithm(energy))


def without_excess(losses, invert, excess_of, first_part=1.0, noise=None, window=1):
    """Iterate losses and dielectric function until the excess is that of the function found.

    Parameters
    ----------
    losses : ndarray of shape (..., size)
        Measured.
    invert : callable
        Makes an :class:`.Inverse` of losses.
    excess_of : callable
        Called as ``excess_of(inverse, rows)``, rows a mask of shape (...): makes the excess of the
        chosen spectra of an :class:`.Inverse`, in the units of the losses, (n_chosen, size).
    first_part : float
        Part of a step that is taken at first.
    noise : ndarray of shape (..., size), optional
        By how much the excess may be more than the losses, both averaged over the window. Without it
        losses below zero count as others do.
    window : int
        Nodes, an odd number.

    Returns
    -------
    losses : ndarray of shape (..., size)
        Without the excess.
    settled : ndarray of bool of shape (...)
        Where the iteration came to an end at which the excess explains what was taken off.
    """
    largest = _LARGEST_PART * np.abs(losses)
    limit, noise = (
        (largest, np.zeros_like(losses)) if noise is None else (_LARGEST_PART * losses, noise)
    )
    norm = np.sqrt(np.square(losses).mean(-1))
    excess = np.zeros_like(losses)
    part, last = np.full(norm.shape, first_part), np.full(norm.shape, np.inf)
    moving, explained = np.isfinite(norm), np.ones(norm.shape, bool)
    for _ in range(_MOST_STEPS):
        # Spectra that have settled stay as they are, whatever others still need.
        rows = moving.copy()
        if not rows.any():
            break
        found = excess_of(invert(losses - excess), rows)
        allowed = np.clip(found, -largest[rows], largest[rows])
        most = smoothed(np.where(found == 0, 0.0, limit[rows]), window) + noise[rows]
        beyond = np.abs(smoothed(found, window)) - np.maximum(most, 0.0)
        change, unexplained = (
            np.sqrt(np.square(one).mean(-1)) / norm[rows]
            for one in (allowed - excess[rows], np.maximum(beyond, 0.0))
        )
        part[rows] *= np.where(change > last[rows], _DAMPED, 1.0)
        excess[rows] += part[rows][:, None] * (allowed - excess[rows])
        last[rows] = change
        moving[rows] = ~(change < _SETTLED)
        explained[rows] = unexplained < _EXPLAINED
    return losses - excess, ~moving & explained
