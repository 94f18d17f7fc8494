# SPDX-License-Identifier: GPL-3.0-or-later
"""Foot of the losses: what lies below ``E_I``, too little to be noticed.

It is found by :mod:`~hyperspy_zlpml.registration.find_foot`.
"""

from typing import NamedTuple

import numpy as np

#: Below ``E_I``, where it is continued, it holds to this: 8 to 15 % on simulated oscillators.
_CONTINUED_TO = 0.2
#: Its power bends from ``E_I`` inward over this much of the logarithm, to half of ``E_I``; from there it is one power,
#: for a parabola that bends upwards would rise again and be largest at the peak.
_BENT_TO = np.log(2)


class Foot(NamedTuple):
    """Losses as parts of the height of the peak, as they go on below ``E_I``.

    Attributes
    ----------
    limit : float
        Reduced energy from which they are seen in the thickest spectra.
    parabola : ndarray of shape (3,)
        Their logarithm, in spectra of one mean free path, against ``ln(u / limit)``; the constant first.
    covariance : ndarray of shape (3, 3)
        Of its errors.
    thickness : dict of int to float
        Mean free paths of the clusters, by label.
    share : float
        Part of it that is taken off: all where its power is gentle, none where it is steep.
    """

    limit: float
    parabola: np.ndarray
    covariance: np.ndarray
    thickness: dict[int, float]
    share: float = 1.0

    @property
    def falls(self):
        """Whether it falls from ``E_I`` to the peak."""
        return bool(min(self.parabola[1], _power_inward(self.parabola)) > 0)

    def at(self, u, parabola=None):
        """Look up losses of spectra of one mean free path; none before the peak.

        Parameters
        ----------
        u : ndarray of shape (n,)
            Reduced energies.
        parabola : ndarray of shape (..., 3), optional
            Other ones.

        Returns
        -------
        ndarray of shape (..., n)

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.registration.foot import Foot
        >>> cubic = np.array([np.log(0.01), 3.0, 0.0])
        >>> foot = Foot(limit=2.0, parabola=cubic, covariance=np.zeros((3, 3)), thickness={0: 0.5})
        >>> foot.at(np.array([-1.0, 1.0, 2.0])).round(5)
        array([0.     , 0.00125, 0.01   ])
        """
        parabola = self.parabola if parabola is None else parabola
        logarithm = parabola @ powers_of_distance(u, self.limit)
        # None is higher than the peak.
        return self.share * np.where(u > 0, np.exp(np.minimum(logarithm, 0.0)), 0.0)

    def deviations(self, n_replicas, rng):
        """Draw how the feet of replicas differ from this one.

        Parameters
        ----------
        n_replicas : int
        rng : numpy.random.Generator

        Returns
        -------
        callable
            Called with reduced energies (n,): losses of spectra of one mean free path less those of this
            foot, (n_replicas, n).
        """
        drawn = rng.multivariate_normal(self.parabola, self.covariance, n_replicas)
        drawn[:, 0] += _CONTINUED_TO * rng.standard_normal(n_replicas)
        # None rises towards the peak.
        drawn[:, 1] = np.maximum(drawn[:, 1], 0.0)
        drawn[:, 2] -= np.maximum(-_power_inward(drawn), 0.0) / (2 * _BENT_TO)
        return lambda u: self.at(u, drawn) - self.at(u)


def powers_of_distance(u, limit):
    """Compute the powers of ln(u / limit) that a parabola consists of; far inward the square goes on straight.

    Parameters
    ----------
    u : ndarray of shape (n,)
    limit : float

    Returns
    -------
    ndarray of shape (3, n)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.foot import powers_of_distance
    >>> powers_of_distance(np.array([0.25, 0.5, 1.0, 2.0]), limit=1.0).round(2)
    array([[ 1.  ,  1.  ,  1.  ,  1.  ],
           [-1.39, -0.69,  0.  ,  0.69],
           [ 1.44,  0.48,  0.  ,  0.48]])
    """
    logarithm = np.log(np.maximum(u, 1e-3 * limit) / limit)
    inside = np.minimum(logarithm, -_BENT_TO)
    square = np.where(logarithm > -_BENT_TO, logarithm**2, -_BENT_TO * (2 * inside + _BENT_TO))
    return np.stack([np.ones(u.size), logarithm, square])


def _power_inward(parabola):
    """Compute the power with which losses go on to the peak, inside of where they bend."""
    return parabola[..., 1] - 2 * _BENT_TO * parabola[..., 2]
