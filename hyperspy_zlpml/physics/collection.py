# SPDX-License-Identifier: GPL-3.0-or-later
"""What an aperture collects of electrons that come from within a cone."""

from dataclasses import replace

import numpy as np

#: Angles over which is averaged.
_N_ANGLES = 400


def as_parallel(beam):
    """Find the parallel beam and the aperture that collect losses as a convergent beam is collected.

    An electron that comes at one angle within the probe, and is scattered by theta, is collected where
    it falls into the aperture; of those that are not scattered, some may miss it too. Losses relative
    to the zero-loss peak are those of a parallel beam, averaged over apertures of all sizes by how
    much the overlap of probe and aperture falls as one is moved by theta. As ln(1 + (theta/theta_E)^2) is
    2 ln(theta) but for a constant, a single aperture of the (geometric) mean size does as well, to some
    0.1 %: the effective collection angle of Egerton's book.

    Parameters
    ----------
    beam : Beam

    Returns
    -------
    Beam
        With a convergence angle of 0.

    Examples
    --------
    A probe as wide as the aperture loses much at its rim; a wider one gains from outside of it:

    >>> from hyperspy_zlpml.physics.collection import as_parallel
    >>> from hyperspy_zlpml.physics.kinematics import Beam
    >>> beams = [Beam(200.0, collection_angle=10.0, convergence_angle=a) for a in (1, 10, 30)]
    >>> [round(as_parallel(beam).collection_angle, 1) for beam in beams]
    [10.0, 6.1, 29.1]
    """
    angles = beam.convergence_angle, beam.collection_angle
    if beam.convergence_angle == 0:
        return beam
    edges = np.linspace(abs(angles[0] - angles[1]), sum(angles), _N_ANGLES + 1)
    fall = -np.diff(_overlap(edges, *angles))
    middle = (edges[1:] + edges[:-1]) / 2
    effective = float(np.exp((fall * np.log(middle)).sum() / fall.sum()))
    return replace(beam, collection_angle=effective, convergence_angle=0.0)


def _overlap(distance, first, second):
    """Compute the area that two circles share, in that of the smaller; they touch or intersect."""
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = (
            (distance**2 + one**2 - other**2) / (2 * distance * one)
            for one, other in ((first, second), (second, first))
        )
        halves = [np.arccos(np.clip(np.nan_to_num(cosine), -1, 1)) for cosine in cosines]
    segments = (
        radius**2 * (half - np.sin(2 * half) / 2)
        for radius, half in zip((first, second), halves, strict=True)
    )
    return sum(segments) / (np.pi * min(first, second) ** 2)
