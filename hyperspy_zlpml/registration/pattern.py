# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixed pattern of a detector: the sensitivity of its channels, as residuals of many spectra show it."""

import numpy as np

from hyperspy_zlpml.registration.cells import LARGEST, LEAST_WEIGHT

#: Channels differ in sensitivity if their variance exceeds its error by this factor.
_PATTERN_SIGNIFICANT = 5.0
#: Standard deviation of the sensitivities of the channels of a detector, at most ...
_LARGEST_PATTERN = 0.03
#: ... and correlation of those of neighbours: more is no pattern, but a peak of another shape.
_ALIKE = 0.5


def learn_pattern(points, n_channels):
    """Learn the sensitivity of the channels.

    Parameters
    ----------
    points : Points
        Residuals, the curve taken off. Spectra of another axis see other channels: they are counted
        in the last channel.
    n_channels : int

    Returns
    -------
    pattern, pattern_error : ndarray of shape (n_channels,)
        Relative sensitivities and their standard errors; zeros where channels do not differ.
    """
    weight = np.bincount(points.channel, points.weight, minlength=n_channels)
    mean = np.bincount(points.channel, points.weight * points.residual, minlength=n_channels)
    known = np.maximum(weight, LEAST_WEIGHT)
    mean = mean / known
    squared = points.weight * (points.residual - mean[points.channel]) ** 2
    variance = max(squared.mean(), 1.0) / known
    own = (weight > 0) & (np.arange(n_channels) < n_channels - 1)
    # A sensitivity is a relative one: the best known channels tell how far it varies.
    precision = np.where(own, variance**-2.0, 0.0)
    total = max(precision.sum(), 1e-300)
    true, unsure = (precision * (mean**2 - variance)).sum() / total, np.sqrt(2 / total)
    # Sensitivities of neighbours have little to do with each other, and differ by some per cent.
    pairs = np.sqrt(precision[1:] * precision[:-1])
    alike = (pairs * mean[1:] * mean[:-1]).sum() / max(pairs.sum(), 1e-300) > _ALIKE * true
    if true < _PATTERN_SIGNIFICANT * unsure or true > _LARGEST_PATTERN**2 or alike:
        return np.zeros(n_channels), np.zeros(n_channels)
    share = np.where(own, true / (true + variance), 0.0)
    pattern = np.clip(share * mean, -LARGEST, LARGEST)
    return pattern, np.sqrt(true * np.where(own, 1 - share, 1.0))
