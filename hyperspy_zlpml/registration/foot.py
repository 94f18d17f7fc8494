# SPDX-License-Identifier: GPL-3.0-or-later
"""Foot of the losses: what lies below ``E_I``, too little to be noticed.

``E_I`` is where losses are seen to rise. Where they begin gently (at a gap that is small, or none) some
tenths of a per cent of the peak lie below it: they are taken for peak, and under the losses the
whole tail of thick spectra would be higher by as much.
"""

from typing import NamedTuple

import numpy as np

#: Losses begin, behind ``E_I``, within this factor of it: enough groups to show a power, and where further edges
#: do not count yet, ...
_BEGIN_WITHIN = 2.5
#: ... where they exceed so many standard errors, the logarithm of weaker ones has no normal error, ...
_CERTAIN = 2.0
#: ... in at least so many groups, twice as many as a parabola has coefficients, ...
_FEWEST_GROUPS = 6
#: ... of which none counts for more standard errors: a parabola follows losses to some 3 %.
_LARGEST_WEIGHT = 30.0
#: Least power with which losses over the peak fall below ``E_I``. Losses are odd in the energy, and fall at
#: least like it towards zero; the tail of the peak falls at least like its inverse.
_LEAST_POWER = 2.0
#: Standard errors by which the foot may exceed what is measured below ``E_I``: as is usual, 95 %.
_ALLOWED = 2.0


class LossRatio(NamedTuple):
    """Losses of a cluster over its peak; energies in FWHM from the peak.

    Attributes
    ----------
    limit : float
        ``E_I``.
    u : ndarray of shape (n,)
        Increasing.
    ratio, error : ndarray of shape (n,)
        Losses over the peak, and their standard error.
    """

    limit: float
    u: np.ndarray
    ratio: np.ndarray
    error: np.ndarray

    @property
    def begin(self):
        """Tell where they are taken to begin."""
        return (self.u > self.limit) & (self.u < _BEGIN_WITHIN * self.limit)

    def doubt(self, u, foot):
        """Compute how uncertain a foot of this shape is by what is measured there: its relative variance."""
        below = (self.u > 0) & (self.u < self.limit)
        seen = ((np.interp(self.u[below], u, foot) / self.error[below]) ** 2).sum()
        return 1 / seen if seen > 0 else 0.0

    def most(self, u):
        """Look up the largest losses that what is measured allows."""
        return np.interp(u, self.u, np.maximum(self.ratio, 0) + _ALLOWED * self.error)


def foot_of_losses(u, clusters):
    """Continue the losses of clusters below their ``E_I``.

    Those of the thickest cluster are seen to lower energies than others. A parabola on
    double-logarithmic axes continues them over the peak; thinner clusters hold them in proportion. No
    cluster has more than its own spectra allow, and all have the less, the less those of the thickest
    show of it.

    Parameters
    ----------
    u : ndarray of shape (n_grid,)
        Reduced energies, FWHM.
    clusters : sequence of LossRatio
        The thickest last.

    Returns
    -------
    ndarray of shape (n_clusters, n_grid)
        Losses over the peak below ``E_I``; 0 where the thickest cluster does not show how they begin.

    Examples
    --------
    They rise like the third power of the energy, and one cluster is half as thick as the other:

    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.foot import LossRatio, foot_of_losses
    >>> u = np.linspace(0.1, 10, 100)
    >>> thick = LossRatio(limit=2.0, u=u, ratio=0.001 * u**3, error=np.full(u.size, 1e-4))
    >>> thin = thick._replace(limit=2.5, ratio=0.5 * thick.ratio)
    >>> foot_of_losses(np.array([0.0, 1.0, 2.25, 3.0]), [thin, thick]).round(4)
    array([[0.    , 0.0005, 0.0057, 0.    ],
           [0.    , 0.001 , 0.    , 0.    ]])
    """
    thickest = _Foot.of(clusters[-1]) if clusters else None
    if thickest is None:
        return np.zeros((len(clusters), u.size))
    feet = np.stack([_foot_of(one, thickest, u) for one in clusters])
    return feet / (1 + clusters[-1].doubt(u, feet[-1]))


def _foot_of(losses, thickest, u):
    """Continue the losses of a cluster like those of the thickest one; there are none without energy."""
    foot = np.zeros(u.size)
    below = (u > 0) & (u < losses.limit)
    held = thickest.share_in(losses) * thickest(u[below])
    foot[below] = np.minimum(held, losses.most(u[below]))
    return foot


class _Foot(NamedTuple):
    """Losses of the thickest cluster: a parabola up to some energy, and as measured beyond.

    The parabola is of their logarithm against that of the energy in units of ``E_I``.
    """

    losses: LossRatio
    parabola: np.ndarray

    @classmethod
    def of(cls, losses):
        """Fit the parabola; None where losses do not show how they begin."""
        certain = losses.begin & (losses.ratio > _CERTAIN * losses.error)
        if certain.sum() < _FEWEST_GROUPS:
            return None
        ratio, error = losses.ratio[certain], losses.error[certain]
        distance = np.log(losses.u[certain] / losses.limit)
        weight = np.minimum(ratio / error, _LARGEST_WEIGHT)
        parabola = np.polyfit(distance, np.log(ratio), 2, w=weight)
        if parabola[0] > 0:
            # Losses fall ever more steeply towards their onset.
            parabola = np.append(0.0, np.polyfit(distance, np.log(ratio), 1, w=weight))
        return cls(losses, parabola) if parabola[1] > 0 else None

    def share_in(self, other):
        """Fit the part of these losses that another cluster holds."""
        here = self(other.u[other.begin])
        measured, weight = other.ratio[other.begin], other.error[other.begin] ** -2.0
        square = (weight * here**2).sum()
        return max((weight * here * measured).sum(), 0.0) / square if square > 0 else 0.0

    def __call__(self, u):
        """Look them up at positive reduced energies."""
        losses = self.losses
        distance = np.log(u / losses.limit)
        fitted = np.polyval(self.parabola, np.minimum(distance, np.log(_BEGIN_WITHIN)))
        steeper = max(_LEAST_POWER - self.parabola[1], 0.0) * np.minimum(distance, 0.0)
        measured = np.interp(u, losses.u, losses.ratio)
        return np.where(distance < np.log(_BEGIN_WITHIN), np.exp(fitted + steeper), measured)
