# SPDX-License-Identifier: GPL-3.0-or-later
"""Distance of the brightness of spectra from what an ensemble has seen."""

import numpy as np

#: ln N0 may lie this far outside the range trained on (in mean free paths) ...
_INTENSITY_ALLOWED = 0.5
#: ... and doubles the band this much further.
_INTENSITY_UNIT = 1.0


def log_intensity_distance(log_intensity, low, high):
    """Compute how far ln N0 lies outside a range, beyond what is allowed.

    Parameters
    ----------
    log_intensity : ndarray of shape (...)
    low, high : float
        Range of ln N0 trained on.

    Returns
    -------
    ndarray of shape (...)
        1 doubles the band.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.distance import log_intensity_distance
    >>> log_intensity_distance(np.array([12.0, 14.0, 15.4]), 13.5, 15.0)
    array([1., 0., 0.])
    """
    beyond = np.maximum(low - log_intensity, log_intensity - high) - _INTENSITY_ALLOWED
    return np.clip(beyond, 0, None) / _INTENSITY_UNIT
