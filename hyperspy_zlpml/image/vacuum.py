# SPDX-License-Identifier: GPL-3.0-or-later
"""Vacuum: the pixels of an image that see no specimen.

In vacuum hardly any electron lies beyond 8 FWHM, the fraction is the same in all pixels, and the
counts never rise again behind the peak. All three are asked for: a thin specimen fails the
second where there is vacuum beside it, and the third where there is none.
"""

import numpy as np

#: At most this fraction of a vacuum pixel's electrons lies beyond 8 FWHM.
_LARGEST_FRACTION = 0.02
#: Vacuum pixels agree on that fraction to this fraction of it, beside their noise.
_TOLERANCE = 0.5
#: Deviations up to this many standard errors are noise.
_SIGMAS = 4.0
#: Windows behind the peak are compared from this many FWHM on.
_WINDOWS_FROM = 2.0


def vacuum_candidates(parameters, noise, energy):
    """Find pixels whose scattered fraction is the smallest of the image, and small.

    Parameters
    ----------
    parameters : PeakParameters
        Free of pedestal.
    noise : NoiseModel
    energy : ndarray of shape (n_energy,)
        eV.

    Returns
    -------
    ndarray of bool of the navigation shape

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.detector import NoiseModel
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> from hyperspy_zlpml.image.vacuum import vacuum_candidates
    >>> energy = 0.05 * np.arange(-100, 600)
    >>> plasmon = np.array([[0.0], [0.0], [2e3]]) * np.exp(-(((energy - 20) / 5) ** 2))
    >>> counts = 1e5 * np.exp(-4 * np.log(2) * (energy / 0.5) ** 2) + plasmon
    >>> vacuum_candidates(peak_parameters(counts, energy), NoiseModel(1.0, 1.0), energy)
    array([ True,  True, False])
    """
    n_beyond = parameters.n_scattered(energy)
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
    """Tell whether the mean of some spectra only falls behind the peak, within its noise.

    Compares the counts per channel in windows from 2 FWHM on, two for each doubling of the
    distance.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Free of pedestal.
    energy : ndarray of shape (n_energy,)
        eV.
    centre, fwhm : ndarray of shape (n_spectra,)
        Position and width of the peaks, eV.
    noise : NoiseModel

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.detector import NoiseModel
    >>> from hyperspy_zlpml.image.vacuum import never_rises
    >>> energy = 0.05 * np.arange(-100, 600)
    >>> tail = 1e5 / (1 + (energy[None] / 0.25) ** 2)
    >>> of_peaks = {"centre": np.zeros(1), "fwhm": np.full(1, 0.5), "noise": NoiseModel(1.0, 1.0)}
    >>> never_rises(tail, energy, **of_peaks)
    True
    >>> never_rises(tail + 500 * np.exp(-((energy - 20) / 5) ** 2), energy, **of_peaks)
    False
    """
    u = (energy - np.median(centre)) / np.median(fwhm)
    mean = counts.mean(0)
    error = np.sqrt(noise.variance(mean) / len(counts))
    edges = _WINDOWS_FROM * np.sqrt(2.0) ** np.arange(24)
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
