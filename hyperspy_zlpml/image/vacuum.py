# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pixels see no specimen.

In vacuum hardly any electron lies beyond 8 FWHM, the fraction is the same in all pixels, and the
counts never rise again behind the peak. All three are asked for: a thin specimen fails the
second where there is vacuum beside it, and the third where there is none.
"""

import numpy as np

#: At most this fraction of a vacuum pixel's electrons lies beyond 8 FWHM.
_LARGEST_FRACTION = 0.02
#: Vacuum pixels agree on the fraction to this relative accuracy, and to their noise.
_TOLERANCE = 0.5
_SIGMAS = 4.0


def vacuum_candidates(parameters, noise, energy):
    """Pixels whose scattered fraction is the smallest of the image, and small.

    Parameters
    ----------
    parameters : PeakParameters
        Free of pedestal.
    noise : NoiseModel
    energy : ndarray of shape (n_energy,)

    Returns
    -------
    ndarray of bool, navigation shape
    """
    step = energy[1] - energy[0]
    n_beyond = np.clip(
        (energy[-1] - parameters.centre) / step - 8 * parameters.fwhm / step, 0, None
    )
    sigma = np.sqrt(noise.variance(parameters.scattered, n_beyond)) / parameters.intensity
    fraction = parameters.scattered / parameters.intensity
    usable = parameters.usable & (n_beyond > 0) & (fraction < _LARGEST_FRACTION + _SIGMAS * sigma)
    if not usable.any():
        return usable
    lowest = np.percentile(fraction[usable], 5)
    for _ in range(3):
        allowed = _TOLERANCE * abs(lowest) + _SIGMAS * sigma
        chosen = usable & (np.abs(fraction - lowest) <= allowed)
        if not chosen.any():
            return chosen
        lowest = np.median(fraction[chosen])
    return chosen & (lowest < _LARGEST_FRACTION)


def never_rises(counts, energy, centre, fwhm, noise):
    """Whether the mean of some spectra only falls behind the peak, within its noise.

    Compares the counts per channel in windows that double in distance from 2 FWHM on.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    energy : ndarray of shape (n_energy,)
    centre, fwhm : ndarray of shape (n_spectra,)
    noise : NoiseModel

    Returns
    -------
    bool
    """
    u = (energy - np.median(centre)) / np.median(fwhm)
    mean = counts.mean(0)
    error = np.sqrt(noise.variance(mean) / len(counts))
    edges = 2.0 * np.sqrt(2.0) ** np.arange(24)
    previous = None
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        window = (u >= low) & (u < high)
        if window.sum() < 2:
            continue
        density, sigma = mean[window].mean(), np.sqrt((error[window] ** 2).sum()) / window.sum()
        if previous is not None and density - previous[0] > _SIGMAS * np.hypot(sigma, previous[1]):
            return False
        previous = density, sigma
    return True
