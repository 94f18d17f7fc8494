# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a spectrum is pure zero-loss peak.

Region I, from the gain-side limit to ``E_I``, holds the ZLP alone and is trained on; between
``E_I`` and ``E_II`` the ZLP lies under the signal and is predicted; beyond ``E_II`` it has
fallen below the noise of a spectrum. All are energies from the peak, in eV.

The published rule compares derivatives with those of the vacuum spectrum (Roest 2021, eq. 3.14).
Here the ratio to the reference shape is watched: pure ZLP keeps it level or lets it wander
slowly, inelastic signal makes it rise from some energy on and for good.
"""

from dataclasses import dataclass

import numpy as np

#: No onset is looked for closer to the peak than this many FWHM.
_NEAREST = 1.0
#: Mean ratios in windows of this relative width below and above a candidate are compared.
_WINDOW = 0.25
#: The rise must exceed this many standard errors and this fraction of the ZLP.
_SIGMAS = 4.0
SMALLEST_RISE = 0.005
#: Without vacuum a late limit costs a little purity, an early one a long extrapolation.
SMALLEST_RISE_WITHOUT_VACUUM = 0.03
#: Against a reference that is itself extrapolated only a rise like this tells.
EXTRAPOLATED_RISE = 0.1
NO_LIMIT = np.inf


@dataclass(frozen=True)
class Regions:
    """Limits of each cluster in eV from the peak; arrays of shape (n_clusters,).

    Attributes
    ----------
    gain_limit : ndarray
        Gain-side limit of the pure ZLP, negative; minus infinity where there is none.
    E_I : ndarray
        End of region I; infinity where the cluster shows no inelastic signal.
    E_II : ndarray
        Energy at which the ZLP falls below the noise of one spectrum.
    """

    gain_limit: np.ndarray
    E_I: np.ndarray
    E_II: np.ndarray

    def overridden(self, given, n_clusters):
        """The same with what the user gave, one number or one per cluster."""
        values = {"gain_limit": self.gain_limit, "E_I": self.E_I, "E_II": self.E_II}
        for name, value in given.items():
            values[name] = np.broadcast_to(np.asarray(value, float), (n_clusters,)).copy()
        return Regions(**values)


def onset(u, ratio, sigma, smallest_rise=SMALLEST_RISE):
    """Reduced energy from which a ratio to the reference rises for good.

    Parameters
    ----------
    u : ndarray of shape (n,)
        Distance from the peak, positive and increasing.
    ratio, sigma : ndarray of shape (n,)
        Ratio to the reference and its standard error.
    smallest_rise : float
        Relative rise that is taken for inelastic signal.

    Returns
    -------
    float
        Infinity where it does not rise.
    """
    mean = _window_mean(u, ratio, sigma)
    grow = 1 + _WINDOW
    for here in u[u >= _NEAREST]:
        before, error_before = mean(here / grow, here)
        after, error_after = mean(here, here * grow)
        rise = after - before
        needed = max(_SIGMAS * np.hypot(error_before, error_after), smallest_rise * before)
        if not rise > needed:
            continue
        later, error_later = mean(here * grow, here * grow**2)
        if later - before > _SIGMAS * np.hypot(error_before, error_later) and not any(
            value < before - _SIGMAS * np.hypot(error_before, error)
            for value, error in (mean(low, low * grow) for low in here * grow ** np.arange(2, 24))
        ):
            return float(here)
    return NO_LIMIT


def _window_mean(u, ratio, sigma):
    """Function that gives the weighted mean ratio of a window and its error."""
    weight = np.where(sigma > 0, 1 / np.maximum(sigma, 1e-12) ** 2, 0.0)
    total_weight = np.concatenate([[0], np.cumsum(weight)])
    total = np.concatenate([[0], np.cumsum(weight * ratio)])

    def mean(low, high):
        first, last = np.searchsorted(u, [low, high])
        amount = total_weight[last] - total_weight[first]
        if amount <= 0:
            return np.nan, np.inf
        return (total[last] - total[first]) / amount, amount**-0.5

    return mean


def flattening(u, log_shape):
    """Reduced energy at which the flank of a spectrum has lost half of its steepness.

    Slopes are of ln(counts) against ln(E), so that a power law has the same everywhere. No tail
    of a ZLP flattens like this; inelastic signal does it even where its onset is too gentle for
    :func:`onset`.

    Parameters
    ----------
    u : ndarray of shape (n,)
        Increasing.
    log_shape : ndarray of shape (n,)
        Smooth.

    Returns
    -------
    float
        Infinity where the tail never flattens.
    """
    flank = u >= _NEAREST
    slope = np.gradient(log_shape[flank], np.log(u[flank]))
    flat = slope > 0.5 * np.minimum.accumulate(slope)
    return float(u[flank][flat][0]) if flat.any() else NO_LIMIT


def below_noise(u, expected, noise_sigma):
    """First reduced energy at which the ZLP is smaller than the noise of a channel.

    Parameters
    ----------
    u : ndarray of shape (n,)
        Distance from the peak, positive and increasing.
    expected, noise_sigma : ndarray of shape (n,)
        Counts of the ZLP in one channel of one spectrum, and their noise.

    Returns
    -------
    float
        Infinity where the axis ends first.
    """
    below = (u > _NEAREST) & (expected < noise_sigma)
    return float(u[below][0]) if below.any() else NO_LIMIT
