# SPDX-License-Identifier: GPL-3.0-or-later
"""What films of some materials add to the losses of their volume, in tables over the thickness.

All losses of a film (:mod:`hyperspy_zlpml.physics.retardation`) take some milliseconds to compute, and an iteration needs them
ten times. They follow from the dielectric function and the thickness: where pixels are of one
material they differ by their thickness alone.
"""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.physics.loss_probability import volume_factor
from hyperspy_zlpml.physics.retardation import face_loss, retarded_excess

#: Thicknesses at which losses are computed.
_N_THICKNESSES = 32


@dataclass(frozen=True)
class FilmTables(PerSpectrum):
    """Losses that films add, of some materials.

    Attributes
    ----------
    thickness : ndarray of shape (n_materials, n_thicknesses)
        Their natural logarithms are uniform, nm.
    faces : ndarray of shape (n_materials, n_thicknesses, size)
        What faces change, of a whole film, in units of ``Im[-1/eps]`` times nm.
    volume : ndarray of shape (n_materials, size)
        What retardation adds in the volume, in units of ``Im[-1/eps]``.
    settled : ndarray of bool of shape (n_materials,)
        Where the dielectric function of the material was found.
    """

    thickness: np.ndarray
    faces: np.ndarray
    volume: np.ndarray
    settled: np.ndarray

    @classmethod
    def of(cls, energy, epsilon, ends, beam):
        """Compute the table of one material.

        Parameters
        ----------
        energy : ndarray of shape (size,)
            eV.
        epsilon : ndarray of complex of shape (size,)
            Its dielectric function, NaN where it was not found.
        ends : tuple of float
            Smallest and largest thickness, nm; NaN where there is none.
        beam : Beam

        Returns
        -------
        FilmTables

        Examples
        --------
        At 20 eV, in the main losses, faces take from the volume, the more the thinner a film is:

        >>> import numpy as np
        >>> from hyperspy_zlpml.physics import Beam
        >>> from hyperspy_zlpml.physics.dielectric_models import OscillatorModel
        >>> from hyperspy_zlpml.physics.film_tables import FilmTables
        >>> energy, beam = np.array([3.0, 20.0]), Beam(200.0, 15.0)
        >>> epsilon = OscillatorModel(((300.0, 10.0, 2.0),)).epsilon(energy)
        >>> films = FilmTables.of(energy, epsilon, (20.0, 200.0), beam)
        >>> films.per_thickness(np.zeros(2, int), np.array([30.0, 150.0])).round(3)
        array([[ 0.024, -0.452],
               [ 0.023, -0.089]])
        """
        thickness = np.geomspace(*ends, _N_THICKNESSES)
        unit = volume_factor(beam) * beam.angular_logarithm(energy)
        return cls(
            thickness=thickness[None],
            faces=face_loss(energy, epsilon, thickness, beam)[None] / unit,
            volume=retarded_excess(energy, epsilon, beam)[None] / unit,
            settled=np.array([np.isfinite(epsilon).all() and np.isfinite(thickness).all()]),
        )

    @classmethod
    def unknown(cls, size):
        """Make the table of a material of which nothing is known.

        Parameters
        ----------
        size : int
            Energies.

        Returns
        -------
        FilmTables
        """
        faces = np.full((1, _N_THICKNESSES, size), np.nan)
        return cls(faces[..., 0], faces, faces[:, 0], np.zeros(1, bool))

    def per_thickness(self, kind, thickness):
        """Compute what films add in units of ``Im[-1/eps]``: :func:`.film_excess` from the tables.

        Parameters
        ----------
        kind : ndarray of int of shape (n,)
            Material of each film.
        thickness : ndarray of shape (n,)
            nm; beyond the ends of a table faces are those of the end.

        Returns
        -------
        ndarray of shape (n, size)
        """
        first, last = (np.log(self.thickness[kind, end]) for end in (0, -1))
        n_steps = self.thickness.shape[1] - 1
        place = np.clip((np.log(thickness) - first) / (last - first), 0, 1) * n_steps
        place = np.nan_to_num(place)
        below = np.minimum(place.astype(int), n_steps - 1)
        part = (place - below)[:, None]
        faces = (1 - part) * self.faces[kind, below] + part * self.faces[kind, below + 1]
        return self.volume[kind] + faces / thickness[:, None]
