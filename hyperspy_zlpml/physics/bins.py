# SPDX-License-Identifier: GPL-3.0-or-later
"""One spectrum in bins of whole channels, as onsets are fitted to it."""

from typing import NamedTuple

import numpy as np

#: Bins of the data in one FWHM of the peak: finer ones hold nothing more.
BINS_PER_FWHM = 4


class Bins(NamedTuple):
    """One spectrum in bins of whole channels above a limit.

    Attributes
    ----------
    energy : ndarray of shape (n_bins,)
        Middle of each bin, from the peak, eV.
    signal, variance : ndarray of shape (n_bins,)
        Mean counts per channel free of ZLP, and their noise.
    directions : ndarray of shape (n_directions, n_bins)
        Deviations of the ZLP by one standard deviation.
    step : float
        eV per channel.
    n_channels : int
        Channels in a bin.
    """

    energy: np.ndarray
    signal: np.ndarray
    variance: np.ndarray
    directions: np.ndarray
    step: float
    n_channels: int

    @property
    def first_channel(self):
        """Energy of the first channel of the first bin, eV."""
        return self.energy[0] - 0.5 * (self.n_channels - 1) * self.step

    def beside(self, directions):
        """Let the bins be wrong in more directions.

        Parameters
        ----------
        directions : ndarray of shape (n_more, n_bins)

        Returns
        -------
        Bins
        """
        return self._replace(directions=np.concatenate([self.directions, directions]))

    def between(self, low, high):
        """Take the bins whose middle lies between two energies.

        Parameters
        ----------
        low, high : float
            eV from the peak.

        Returns
        -------
        Bins
        """
        inside = slice(*np.searchsorted(self.energy, [low, high]))
        return self._replace(
            energy=self.energy[inside],
            signal=self.signal[inside],
            variance=self.variance[inside],
            directions=self.directions[:, inside],
        )


def binned(losses, row, low):
    """Take one spectrum in bins, from an energy up to the end of its axis.

    Parameters
    ----------
    losses : Losses
    row : int
    low : float
        From the peak, eV.

    Returns
    -------
    Bins
        Of at most a quarter of the FWHM, or of one channel.
    """
    energy = losses.energy - losses.centre[row]
    n_channels = max(int(losses.fwhm[row] / (BINS_PER_FWHM * losses.step)), 1)
    first = int(np.searchsorted(energy, low))
    n_bins = (energy.size - first) // n_channels
    used = slice(first, first + n_bins * n_channels)

    def mean(values):
        """Average over the channels of each bin."""
        return values[..., used].reshape(values.shape[:-1] + (n_bins, n_channels)).mean(-1)

    return Bins(
        energy=mean(energy),
        signal=mean(losses.counts[row] - losses.zlp[row]),
        variance=mean(losses.variance[row]) / n_channels,
        directions=mean(losses.directions[row]),
        step=losses.step,
        n_channels=n_channels,
    )


def channels_of(losses, row, part):
    """Take some channels of one spectrum as bins.

    Parameters
    ----------
    losses : Losses
    row : int
    part : ndarray of int
        Channels that follow each other.

    Returns
    -------
    Bins
    """
    return Bins(
        energy=losses.energy[part] - losses.centre[row],
        signal=losses.counts[row, part] - losses.zlp[row, part],
        variance=losses.variance[row, part],
        directions=losses.directions[row][:, part],
        step=losses.step,
        n_channels=1,
    )
