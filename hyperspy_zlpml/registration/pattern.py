# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixed pattern of a detector: the sensitivity of its channels, as residuals of many spectra show it.

Dark levels of channels add to the counts (:mod:`~hyperspy_zlpml.image.dark_pattern`). What is left of them moves
the learnt shape of the peak.
"""

from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.registration.cells import LARGEST, LEAST_WEIGHT
from hyperspy_zlpml.zlp.grid import SHARED_OVER

#: Channels differ in sensitivity if their variance exceeds its error by this factor.
_PATTERN_SIGNIFICANT = 5.0
#: Standard deviation of the sensitivities of the channels of a detector, at most ...
_LARGEST_PATTERN = 0.03
#: ... and correlation of those of neighbours: more is no pattern, but a peak of another shape.
_ALIKE = 0.5
#: Learnt shapes follow dark levels averaged over this width in x: of four pairs of images of 48 x 48 spectra, with and
#: without levels that differ by half of the read-out noise, they differed by 0.9 to 1.2 times what these averages do,
#: between 2 and 16 FWHM.
_FOLLOWED_OVER = 0.12
#: An error that neighbours share over a normal distribution of standard deviation one is as wide as this.
_NORMAL_WIDTH = np.sqrt(2 * np.pi)


class ErrorOfDarkLevels(NamedTuple):
    """Relative errors that dark levels make in the shape of the peak, on its grid.

    Attributes
    ----------
    shared : ndarray of shape (grid.n,)
        Standard deviation of what neighbouring groups share: of dark levels their integrals hold no more.
    own : ndarray of shape (grid.n,)
        That of the rest, which averages out in integrals.
    """

    shared: np.ndarray
    own: np.ndarray


def error_of_dark_levels(log_zlp, grid, noise, per_fwhm):
    """Compute by how much dark levels may move the shape that is learnt of a peak.

    No mean of spectra loses them. A shape is smooth: it follows what neighbouring channels have in common. Of that
    nothing may be known, though what single channels differ by is off the counts. In integrals over wide
    windows dark levels add up as independent ones do, and there shared errors would count too much: they are given the part that
    makes integrals right.

    Parameters
    ----------
    log_zlp : ndarray of shape (grid.n,)
        ln(counts per channel) of the spectra that tell the shape.
    grid : Grid
    noise : NoiseModel
    per_fwhm : float
        Channels per FWHM.

    Returns
    -------
    ErrorOfDarkLevels

    Examples
    --------
    Where a channel holds 1000 counts a level of 10 is a hundredth; far from the peak many channels are averaged:

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.noise import NoiseModel
    >>> from hyperspy_zlpml.registration.pattern import error_of_dark_levels
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> grid, noise = Grid.covering(-8, 8), NoiseModel(1.0, 10.0, dark=(10.0, 10.0))
    >>> found = error_of_dark_levels(np.full(grid.n, np.log(1e3)), grid, noise, per_fwhm=16.0)
    >>> np.interp([0.0, 8.0], grid.u, np.hypot(*found)).round(4)
    array([0.01  , 0.0025])
    """
    relative = np.exp(-log_zlp)
    per_x = per_fwhm * np.hypot(grid.u, 0.5)

    def of_means(width):
        """Compute the variance of dark levels averaged over a width in x."""
        n_channels = np.maximum(width * per_x, 1.0)
        return noise.of_dark_levels(n_channels) / n_channels**2

    followed, in_integrals = of_means(_FOLLOWED_OVER), of_means(_NORMAL_WIDTH * SHARED_OVER)
    shared = np.minimum(in_integrals, followed)
    return ErrorOfDarkLevels(
        shared=np.minimum(np.sqrt(shared) * relative, 1.0),
        own=np.minimum(np.sqrt(followed - shared) * relative, 1.0),
    )


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
