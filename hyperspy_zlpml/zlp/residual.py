# SPDX-License-Identifier: GPL-3.0-or-later
"""Coherent residual: what the smooth shapes do not follow, but the means of many spectra show.

Measured peaks have a fine structure of some tenths of a per cent that no smooth curve follows, the
same in all spectra at the same distance from the peak; and the channels of a detector differ in
sensitivity, the same in all spectra at the same channel. Both drown in the noise of one spectrum
and stand out in the mean of a thousand. They belong to the peak that is subtracted.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class CoherentResidual:
    """Relative deviation of all peaks from their smooth shapes.

    Attributes
    ----------
    start, step : float
        First node in reduced energy and distance of the nodes, FWHM.
    curve : ndarray of shape (n,)
        Deviation at the nodes: counts over the smooth shape, less one.
    pattern : ndarray of shape (n_channels,)
        Deviation of each channel of the detector; a single zero where none stands out of the noise.
    pattern_error : ndarray of shape (n_channels,)
        Its standard error.

    Examples
    --------
    A ripple of 1 % between -2 and 2 FWHM:

    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.residual import CoherentResidual
    >>> ripple = CoherentResidual(-2.0, 0.025, 0.01 * np.sin(9 * np.linspace(-2, 2, 161)))
    >>> ripple.at(np.array([0.0, np.pi / 18, 5.0])).round(4)
    array([0.  , 0.01, 0.  ])
    """

    start: float
    step: float
    curve: np.ndarray
    pattern: np.ndarray = field(default_factory=lambda: np.zeros(1))
    pattern_error: np.ndarray = field(default_factory=lambda: np.zeros(1))

    @classmethod
    def none(cls):
        """Make the residual of peaks that follow their smooth shapes exactly.

        Returns
        -------
        CoherentResidual
        """
        return cls(0.0, 1.0, np.zeros(2))

    @property
    def u(self):
        """Nodes in reduced energy, shape (n,)."""
        return self.start + self.step * np.arange(self.curve.size)

    @property
    def has_curve(self):
        """Whether the deviation differs from zero anywhere."""
        return bool(self.curve.any())

    @property
    def has_pattern(self):
        """Whether channels differ in sensitivity."""
        return bool(self.pattern.any())

    def at(self, u):
        """Look up the deviation; zero beyond the nodes.

        Parameters
        ----------
        u : ndarray of any shape
            Reduced energies, FWHM.

        Returns
        -------
        ndarray of the shape of ``u``
        """
        return np.interp(u, self.u, self.curve, left=0.0, right=0.0)

    def averaged(self, u, half_width):
        """Average the deviation about reduced energies.

        Parameters
        ----------
        u, half_width : ndarray of shape (n,)
            Middles and half widths of the averages, FWHM.

        Returns
        -------
        ndarray of shape (n,)
        """
        if not self.has_curve:
            return np.zeros(u.shape)
        half = np.maximum(half_width, 0.25 * self.step)
        total = np.concatenate([[0.0], np.cumsum(0.5 * (self.curve[1:] + self.curve[:-1]))])

        def integral(u):
            return np.interp(u, self.u, total * self.step)

        return (integral(u + half) - integral(u - half)) / (2 * half)
