# SPDX-License-Identifier: GPL-3.0-or-later
"""Pedestal of a detector where the axis begins close to the peak.

Nothing but the tail of the peak lies there, and a constant under it looks like more tail. But the
tail is as high as the peak, thinner or thicker the specimen, and the constant is not: against the
intensity of the peaks the counts of the gain side lie on a straight line that misses the origin.
Nor is the constant more than the lowest level behind the peak, which is sharper where it agrees.
"""

import numpy as np

#: Gain sides are looked at between these distances from the peak, FWHM.
_FROM, _TO = 4.0, 2.0
#: Peaks differ in intensity by at least this factor, 5th to 95th percentile.
_LEAST_RANGE = 1.3
#: Fewer spectra show no pedestal.
_FEWEST = 48
#: Blocks of neighbouring spectra, each of which is left out in turn.
_BLOCKS = 8
#: A pedestal exceeds this many standard errors, ...
_SIGNIFICANCE = 5.0
#: ... and this fraction of the counts that it lies under: losses spilled there may be some per cent.
_LEAST_SHARE = 0.1
#: Levels agree that differ by so many standard errors, or by this fraction.
_AGREE, _AGREE_TO = 2.0, 0.1
#: The lowest level is looked for in so many parts of the axis behind the peak, ...
_PARTS = 8
#: ... of the spectra whose intensity exceeds this percentile.
_BRIGHTEST = 90


def pedestal_by_intensity(counts, energy, parameters):
    """Find the counts before the peak that do not grow with it.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    energy : ndarray of shape (n_energy,)
        eV.
    parameters : PeakParameters
        All usable, shape (n_spectra,).

    Returns
    -------
    float
        Counts per channel; 0 where nothing stands out, or the peaks are too alike to tell.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> from hyperspy_zlpml.image.pedestal import pedestal_by_intensity
    >>> energy, height = 0.05 * np.arange(-30, 200), np.linspace(1e4, 3e4, 60)[:, None]
    >>> counts = 25.0 + height / (1 + (energy / 0.25) ** 2) ** 2
    >>> round(pedestal_by_intensity(counts, energy, peak_parameters(counts, energy)), 1)
    25.0
    """
    intensity = parameters.intensity
    low, high = np.percentile(intensity, [5, 95])
    u = (energy - parameters.centre[:, None]) / parameters.fwhm[:, None]
    inside = (u > -_FROM) & (u < -_TO)
    n_channels = inside.sum(-1)
    if len(counts) < _FEWEST or not 0 < low * _LEAST_RANGE < high or not n_channels.all():
        return 0.0
    level = np.where(inside, counts, 0.0).sum(-1) / n_channels
    if not np.median(level) > 0:
        return 0.0
    # Their noise grows with the counts.
    weight = 1 / np.maximum(level, np.median(level) / 4)
    blocks = np.arange(len(level)) * _BLOCKS // len(level)
    sums = np.stack(
        [_moments(*(v[blocks == b] for v in (weight, intensity, level))) for b in range(_BLOCKS)]
    )
    # The measured intensity holds some of the pedestal too.
    held = 2 * np.median(parameters.fwhm) / (energy[1] - energy[0])
    pedestal = _intercept(sums.sum(0), held)
    without = np.array([_intercept(sums.sum(0) - one, held) for one in sums])
    error = np.sqrt((_BLOCKS - 1) * without.var())
    if pedestal < max(_SIGNIFICANCE * error, _LEAST_SHARE * np.median(level)):
        return 0.0
    lowest = _lowest_level(counts, u, intensity)
    agrees = lowest - pedestal < max(_AGREE * error, _AGREE_TO * pedestal)
    return float(lowest if agrees else pedestal)


def _lowest_level(counts, u, intensity):
    """Find the lowest mean level of the brightest spectra behind the peak, in parts of the axis."""
    bright = intensity >= np.percentile(intensity, _BRIGHTEST)
    spectrum = counts[bright].mean(0)[u[bright].mean(0) > _FROM]
    if spectrum.size < _PARTS:
        return np.inf
    return min(part.mean() for part in np.array_split(spectrum, _PARTS))


def _moments(weight, x, y):
    """Compute the weighted sums that a straight line follows from."""
    return np.array([(weight * one).sum() for one in (np.ones_like(x), x, y, x * x, x * y)])


def _intercept(moments, held):
    """Compute where a line meets the origin, if each x holds that value ``held`` times too."""
    n, x, y, xx, xy = moments
    slope = (n * xy - x * y) / max(n * xx - x * x, 1e-300)
    return (y - slope * x) / n / (1 - slope * held)
