# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors that many spectra share, held against those that are claimed."""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.statistics import Normal

#: A relative variance of less than this is no claim.
_CLAIMED = 1e-12
#: Single channels are looked at up to this many FWHM on both sides.
_CHANNELS_UP_TO = 12.0
#: Channels that are off by more than this many standard deviations hold spikes.
_SPIKE = 6.0


@dataclass(frozen=True)
class SharedErrors:
    """Errors that pure zero-loss peaks share: what is left in the mean of many, by channel.

    Attributes
    ----------
    distance : ndarray of shape (n_channels,)
        Energy from the peak, eV; increasing, channels of which nothing is claimed are missing.
    residual : ndarray of shape (n_channels,)
        Mean of what is left, relative to the zero-loss peak.
    noise : ndarray of shape (n_channels,)
        Its counting noise: one standard deviation.
    claimed : ndarray of shape (n_channels,)
        Standard deviation that the model claims for a spectrum.
    inside : ndarray of shape (n_channels,)
        Fraction of the spectra that one standard deviation of both holds: 0.68 if all is right.

    Examples
    --------
    Residuals that are twice as large as claimed, beside which the noise of the mean is small:

    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.shared_errors import SharedErrors
    >>> errors = SharedErrors(
    ...     distance=np.array([1.0, 1.1]),
    ...     residual=np.array([0.02, -0.02]),
    ...     noise=np.array([0.001, 0.001]),
    ...     claimed=np.array([0.01, 0.01]),
    ...     inside=np.array([0.1, 0.1]),
    ... )
    >>> round(errors.ratio.mean, 2)
    3.99
    """

    distance: np.ndarray
    residual: np.ndarray
    noise: np.ndarray
    claimed: np.ndarray
    inside: np.ndarray

    @classmethod
    def none(cls):
        """Make errors of no channels."""
        return cls(*(np.zeros(0) for _ in range(5)))

    @property
    def ratio(self):
        """Squared errors that spectra share over those claimed, and the standard error (Normal)."""
        if not self.distance.size:
            return Normal(0.0, 0.0)
        claimed, noise = self.claimed**2, self.noise**2
        excess = (self.residual**2 - noise) / claimed
        error = np.sqrt(2) * noise / claimed
        # Channels whose noise hides what is claimed count little.
        share = 1 / (1 + error**2)
        ratio = (share * excess).sum() / share.sum()
        return Normal(float(ratio), float(np.sqrt((share**2 * error**2).sum()) / share.sum()))


def shared_errors(subtraction, counts, peaks, window):
    """Average what is left of pure spectra in bins of one channel about the peak.

    Its square beyond the noise of the mean is the squared error that all spectra share; where it
    exceeds the squared error that is claimed, bands are too narrow, however little a single spectrum
    shows.

    Parameters
    ----------
    subtraction : Subtraction
    counts : ndarray of shape (n_spectra, n_energy)
        As measured.
    peaks : KnownPeaks
        All usable; what they are matched in.
    window : Range
        Energies from the peak that are pure zero-loss peak, eV; numbers, or one for each spectrum.

    Returns
    -------
    SharedErrors
    """
    subtracted, zlp, std, _, _, variance = subtraction.apply(counts.astype(float), peaks)
    step = subtraction.energy[1] - subtraction.energy[0]
    distance = subtraction.energy - peaks.centre[:, None]
    losses = zlp * losses_in_region_one(subtraction.table, distance, peaks)
    subtracted = subtracted - losses
    low, high = (np.reshape(limit, (-1, 1)) for limit in window)
    reach = _CHANNELS_UP_TO * peaks.fwhm[:, None]
    # Of what is expected: counts that happen to be few would seem to be known better, and means be low.
    noise = subtraction.noise.of_sum(zlp + losses)
    used = (distance > low) & (distance < high) & (np.abs(distance) < reach)
    used &= (zlp > 0) & (noise > 0)
    used &= subtracted**2 < _SPIKE**2 * np.maximum(variance, noise + std**2)
    if not used.any():
        return SharedErrors.none()
    channel = np.round(distance[used] / step).astype(int)
    first = channel.min()
    channel -= first
    weight = zlp[used] ** 2 / noise[used]
    total = np.maximum(np.bincount(channel, weight), 1e-300)
    claimed = np.bincount(channel, weight * ((std / zlp) ** 2)[used]) / total
    seen = claimed > _CLAIMED
    inside = (np.abs(subtracted) < np.sqrt(variance))[used]
    return SharedErrors(
        distance=step * (first + np.flatnonzero(seen)),
        residual=(np.bincount(channel, weight * (subtracted / zlp)[used]) / total)[seen],
        noise=total[seen] ** -0.5,
        claimed=np.sqrt(claimed[seen]),
        inside=(np.bincount(channel, inside) / np.maximum(np.bincount(channel), 1))[seen],
    )


def losses_in_region_one(table, distance, peaks):
    """Look up the losses that are known to lie in region I, relative to the ZLP, of each channel.

    They are spilled there by the response, or the foot of losses that begin gently: no error.

    Parameters
    ----------
    table : ShapeTable
    distance : ndarray of shape (n_spectra, n_energy)
        Of the channels from the peaks, eV.
    peaks : KnownPeaks

    Returns
    -------
    ndarray of shape (n_spectra, n_energy)
        Zero beyond region I.
    """
    limits = (peaks.gain_limit, peaks.loss_limit)
    low, high = (np.reshape(limit, (-1, 1)) for limit in limits)
    inside = (distance > low) & (distance < high)
    channels = np.flatnonzero(inside.any(0))
    found = np.zeros(distance.shape)
    if channels.size:
        region = slice(channels[0], channels[-1] + 1)
        u = distance[:, region] / peaks.fwhm[:, None]
        relative = table.evaluate(u, table.at(peaks.log_intensity), table.spill)
        found[:, region] = np.where(inside[:, region], relative, 0.0)
    return found
