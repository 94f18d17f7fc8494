# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs of the networks: reduced energy, ln N0 and conditions, all of order one."""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.zlp.grid import to_grid

#: Conditions enter the networks this much smaller than between -1 and 1: weights of the size that
#: their prior allows then bend little over the settings, as the laws of instruments do.
_CONDITION_SCALE = 0.3


@dataclass(frozen=True)
class InputScaling:
    """Scaling of reduced energy, ln N0 and conditions to inputs of order one.

    Attributes
    ----------
    log_intensity_mean, log_intensity_scale : float
        Middle and half range of ln N0, which become 0 and 1.
    x_scale : float
        ``x = asinh(2 u)`` that becomes 1.
    condition_scale : float
        Input for a condition at the upper end of those trained at.

    Examples
    --------
    The far tail of the thinnest spectra, at the end of the range of a condition:

    >>> import numpy as np
    >>> from hyperspy_zlpml.ensemble.inputs import InputScaling
    >>> scaling = InputScaling(log_intensity_mean=15.0, log_intensity_scale=0.5, x_scale=2.0)
    >>> scaling(np.sinh(4.0) / 2, 15.5, setting=(1.0,)).round(6)
    array([2. , 1. , 0.3])
    """

    log_intensity_mean: float
    log_intensity_scale: float
    x_scale: float
    condition_scale: float = _CONDITION_SCALE

    def __call__(self, u, log_intensity, setting=()):
        """Scale reduced energies and ln N0.

        Parameters
        ----------
        u, log_intensity : ndarray of equal shape
            Reduced energies and ln N0.
        setting : sequence of float
            Scaled conditions, between -1 and 1 where it was trained, the same for all.

        Returns
        -------
        ndarray of shape (..., 2 + n_conditions)
        """
        intensity = (log_intensity - self.log_intensity_mean) / self.log_intensity_scale
        conditions = (np.full(np.shape(u), self.condition_scale * value) for value in setting)
        return np.stack([to_grid(u) / self.x_scale, intensity, *conditions], axis=-1)
