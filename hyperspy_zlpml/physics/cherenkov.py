# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether electrons were faster than light in the specimen, from a dielectric function or an index."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from hyperspy_zlpml.physics.kinematics import REST_ENERGY
from hyperspy_zlpml.physics.loss_probability import volume_loss
from hyperspy_zlpml.physics.reasons import Reason, most_serious
from hyperspy_zlpml.physics.retardation import cherenkov_threshold, retarded_volume_loss

#: Probability above which electrons are said to be faster than light.
CONFIDENCE = 0.95


class Excess(NamedTuple):
    """Excess of eps1 over ``(c/v)^2``, arrays of shape (n_spectra,).

    Attributes
    ----------
    probability : ndarray
        That it does at all.
    excess, std, systematic : ndarray
        Largest difference to ``(c/v)^2``, negative where it is nowhere exceeded, and its errors.
    energy : ndarray
        Where that is, eV; NaN where only an index is known.
    ratio : ndarray
        Losses of the volume, retarded over not retarded; NaN where only an index is known.
    """

    probability: np.ndarray
    excess: np.ndarray
    std: np.ndarray
    systematic: np.ndarray
    energy: np.ndarray
    ratio: np.ndarray


def excess_of_epsilon(energy, epsilon, errors, beam, window):
    """Compute how far eps1 exceeds ``(c/v)^2`` between two energies.

    The probability is the largest, over energies, of that at one energy: what all errors together
    give where they move a whole dielectric function up and down, as those of the ZLP and of the
    normalisation do, and a little less where they are independent.

    Parameters
    ----------
    energy : ndarray of shape (n_energy,)
        eV, positive.
    epsilon : ndarray of complex of shape (n_spectra, n_energy)
    errors : tuple of two ndarray of shape (n_spectra, n_energy)
        Standard deviation of eps1, and its systematic error.
    beam : Beam
    window : tuple of ndarray of shape (n_spectra,)
        Lowest and highest energy that count, eV.

    Returns
    -------
    Excess
        NaN where there is no dielectric function between the two.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics import Beam
    >>> from hyperspy_zlpml.physics.cherenkov import excess_of_epsilon
    >>> from hyperspy_zlpml.physics.dielectric_models import OscillatorModel
    >>> energy = 0.1 * np.arange(1, 400)
    >>> epsilon = OscillatorModel(((300.0, 10.0, 2.0),)).epsilon(energy)[None]
    >>> window = np.array([1.0]), np.array([5.0])
    >>> for kilovolts in (80.0, 200.0):
    ...     beam = Beam(energy=kilovolts, collection_angle=15.0)
    ...     found = excess_of_epsilon(
    ...         energy, epsilon, errors=np.full((2, 1, 399), 0.21), beam=beam, window=window
    ...     )
    ...     print(found.probability.round(3), found.ratio.round(1))
    [0.999] [1.5]
    [1.] [5.3]
    """
    low, high = (np.asarray(one)[:, None] for one in window)
    counts = (energy >= low) & (energy <= high) & np.isfinite(epsilon)
    above = np.where(counts, epsilon.real - cherenkov_threshold(beam), -np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):  # of spectra without an answer
        probability = np.where(counts, ndtr(above / np.hypot(*errors)), 0.0).max(-1)
        slow, fast = (
            np.where(counts, loss(energy, epsilon, beam), 0.0).sum(-1)
            for loss in (volume_loss, retarded_volume_loss)
        )
        ratio = fast / slow
    place = above.argmax(-1)[:, None]
    excess, std, systematic = (np.take_along_axis(one, place, -1)[:, 0] for one in (above, *errors))
    found = Excess(
        probability=probability,
        excess=excess,
        std=std,
        systematic=systematic,
        energy=energy[place[:, 0]],
        ratio=ratio,
    )
    return Excess(*(np.where(counts.any(-1), one, np.nan) for one in found))


def with_retardation(reasons, index, error, beam):
    """Mark spectra in which electrons are faster than light, unless something worse is the matter.

    Parameters
    ----------
    reasons : ndarray
        Of :class:`.Reason`.
    index, error : ndarray of the same shape
        Refractive index; that of a metal, infinite, is that of no light, and NaN is not known. Its
        standard deviation.
    beam : Beam

    Returns
    -------
    ndarray
        RETARDED where the square of the index exceeds ``(c/v)^2`` with a probability above
        :data:`CONFIDENCE` and no reason of :data:`.reasons.BY_WEIGHT` comes before.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics import Beam
    >>> from hyperspy_zlpml.physics.cherenkov import with_retardation
    >>> beam = Beam(energy=200.0, collection_angle=15.0)
    >>> index, reasons = np.array([1.3, 2.6, 2.6, np.inf]), np.array([0.0, 0.0, 5.0, 0.0])
    >>> with_retardation(reasons, index, 0.01 * np.ones(4), beam)
    array([0., 9., 5., 0.])
    """
    probability = excess_of_index(index, (0.0, error), beam).probability
    is_fast = probability > CONFIDENCE
    return most_serious(reasons, np.where(is_fast, Reason.RETARDED, Reason.NONE))


def index_of_light(beam_energy):
    """Compute the refractive index in which light is as fast as the electrons of a microscope: c/v.

    Parameters
    ----------
    beam_energy : float
        keV.

    Returns
    -------
    float

    Examples
    --------
    >>> from hyperspy_zlpml.physics.cherenkov import index_of_light
    >>> [round(index_of_light(energy), 2) for energy in (60.0, 200.0)]
    [2.24, 1.44]
    """
    return (1 - (1 + beam_energy / REST_ENERGY) ** -2) ** -0.5


def with_index(found, of_index):
    """Take the excess of the refractive index where it is the clearer one.

    Energies below those of known losses are looked at by the index alone.

    Parameters
    ----------
    found, of_index : Excess
        By eps1 where it is known, and by the index.

    Returns
    -------
    Excess

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.cherenkov import Excess, with_index
    >>> by_eps1 = Excess(*np.array([[0.3, 0.3], [-1, -1], [1, 1], [0, 0], [4, 4], [1.1, 1.1]]))
    >>> by_index = Excess(*np.array([[1, 0], [9.8, np.nan], *[[0.1, 0.1]] * 4]))
    >>> with_index(by_eps1, by_index).probability
    array([1. , 0.3])
    """
    clearer = of_index.probability > found.probability
    names = ("probability", "excess", "std", "systematic")
    taken = {
        name: np.where(clearer, getattr(of_index, name), getattr(found, name)) for name in names
    }
    return found._replace(**taken)


def excess_of_index(index, errors, beam):
    """Compute how far the square of a refractive index exceeds ``(c/v)^2``.

    Below all losses eps1 rises from ``n^2``: where this exceeds it, eps1 does. That of a metal falls
    to minus infinity instead, and no light goes with its electrons.

    Parameters
    ----------
    index : ndarray of shape (n_spectra,)
        Refractive index far below the losses; infinite for a metal.
    errors : tuple of two ndarray of shape (n_spectra,)
        Standard deviation of the index, and its systematic error.
    beam : Beam

    Returns
    -------
    Excess
        NaN where no index is known; of a metal the probability is 0 and the rest NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics import Beam
    >>> from hyperspy_zlpml.physics.cherenkov import excess_of_index
    >>> beam = Beam(energy=200.0, collection_angle=15.0)
    >>> index, errors = np.array([1.3, 1.45, 2.6, np.inf]), (np.full(4, 0.012), np.full(4, 0.016))
    >>> excess_of_index(index, errors, beam).probability.round(2)
    array([0.  , 0.72, 1.  , 0.  ])
    """
    is_metal = np.isinf(index)
    index, error = np.where(is_metal, np.nan, index), np.hypot(*errors)
    above = index - np.sqrt(cherenkov_threshold(beam))
    with np.errstate(invalid="ignore", divide="ignore"):  # of errors that are zero
        probability = np.where(error > 0, ndtr(above / error), 1.0 * (above > 0))
    probability = np.where(np.isnan(index), np.nan, probability)
    std, systematic = (2 * index * one for one in errors)
    return Excess(
        probability=np.where(is_metal, 0.0, probability),
        excess=index**2 - cherenkov_threshold(beam),
        std=std,
        systematic=systematic,
        energy=np.full(index.shape, np.nan),
        ratio=np.full(index.shape, np.nan),
    )
