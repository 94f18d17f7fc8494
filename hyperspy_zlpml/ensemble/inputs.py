# SPDX-License-Identifier: GPL-3.0-or-later
"""What the networks are given: reduced energy, ln N0 and conditions, all of order one."""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.zlp.grid import to_grid

#: Conditions enter the networks this much smaller than between -1 and 1: weights of the size that
#: their prior allows then bend little over the settings, as the laws of instruments do.
_CONDITION_SCALE = 0.3


@dataclass(frozen=True)
class InputScaling:
    """Scaling of (u, ln N0) to the inputs of the networks, both of order one."""

    log_intensity_mean: float
    log_intensity_scale: float
    x_scale: float
    condition_scale: float = _CONDITION_SCALE

    def __call__(self, u, log_intensity, setting=()):
        """Scale reduced energies and ln N0.

        Parameters
        ----------
        u, log_intensity : ndarray of equal shape
        setting : sequence of float
            Conditions, between -1 and 1 where it was trained, the same for all.

        Returns
        -------
        ndarray of shape (..., 2 + n_conditions)
        """
        intensity = (log_intensity - self.log_intensity_mean) / self.log_intensity_scale
        conditions = (np.full(np.shape(u), self.condition_scale * value) for value in setting)
        return np.stack([to_grid(u) / self.x_scale, intensity, *conditions], axis=-1)
