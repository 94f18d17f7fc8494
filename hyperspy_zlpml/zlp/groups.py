# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels grouped around the peak.

Groups are counted in channels from each spectrum's own highest channel, so that all spectra
share them whatever their drift, and nothing is interpolated: single channels in the core,
groups that grow with the distance in the tails. 2000 channels become 150 to 200 groups.
"""

from dataclasses import dataclass, replace

import numpy as np

#: A group is this fraction of its distance from the peak wide ...
_GROWTH = 0.05
#: ... and at least this fraction of the FWHM.
_CORE_WIDTH = 1 / 12


@dataclass(frozen=True)
class ChannelGroups:
    """Edges of the groups, in channels from the peak; group ``g`` is ``edges[g]:edges[g + 1]``."""

    edges: np.ndarray

    @property
    def size(self):
        """Number of groups."""
        return self.edges.size - 1

    @property
    def n_channels(self):
        """Channels in each group."""
        return np.diff(self.edges)

    @property
    def middle(self):
        """Mean channel of each group, from the peak."""
        return 0.5 * (self.edges[:-1] + self.edges[1:] - 1)

    def collect(self, counts, channel):
        """Sum the channels of each group.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        channel : ndarray of int of shape (n_spectra,)
            Highest channel of each spectrum.

        Returns
        -------
        sums : ndarray of shape (n_spectra, n_groups)
        complete : ndarray of bool, same shape
            Groups that lie on the axis; the sums of others are zero.
        """
        n_energy = counts.shape[-1]
        start = channel[:, None] + self.edges[:-1]
        stop = channel[:, None] + self.edges[1:]
        complete = self.complete(channel, n_energy)
        zero = np.zeros((len(counts), 1))
        cumulative = np.concatenate([zero, np.cumsum(counts, -1, dtype=float)], -1)
        sums = np.take_along_axis(cumulative, np.clip(stop, 0, n_energy), -1)
        sums -= np.take_along_axis(cumulative, np.clip(start, 0, n_energy), -1)
        return np.where(complete, sums, 0.0), complete

    def collect_aligned(self, aligned, channel, n_energy):
        """The same for spectra (n_spectra, edges[-1] - edges[0]) already cut about their peaks."""
        starts = self.edges[:-1] - self.edges[0]
        sums = np.add.reduceat(aligned, starts, axis=-1, dtype=float)
        complete = self.complete(channel, n_energy)
        sums[~complete] = 0.0
        return sums, complete

    def complete(self, channel, n_energy):
        """Groups that lie on the axis, shape (n_spectra, n_groups)."""
        start = channel[:, None] + self.edges[:-1]
        stop = channel[:, None] + self.edges[1:]
        return (start >= 0) & (stop <= n_energy)


def make_groups(channels_per_fwhm, n_before, n_after):
    """Groups that cover ``n_before`` channels before the peak and ``n_after`` from it on."""
    smallest = max(1, int(round(channels_per_fwhm * _CORE_WIDTH)))

    def outward(n_channels):
        edges = [0]
        while edges[-1] < n_channels:
            edges.append(edges[-1] + max(smallest, int(_GROWTH * edges[-1])))
        return np.array(edges)

    # The group that holds the peak is centred on it.
    half = smallest // 2
    after = outward(max(n_after - (smallest - half), 1)) + smallest - half
    before = -(outward(max(n_before - half, 1)) + half)
    return ChannelGroups(np.concatenate([before[::-1], after]))


@dataclass(frozen=True)
class GroupedSpectra:
    """Counts of spectra in groups of channels around their peaks.

    Attributes
    ----------
    sums : ndarray of shape (n_spectra, n_groups)
        Counts, free of pedestal.
    n_channels : ndarray of shape (n_groups,)
    curvature : ndarray of shape (n_groups,)
        Mean of the peak over a group divided by its value in the middle.
    energy : ndarray of shape (n_spectra, n_groups)
        Energy of the middle of each group, eV.
    complete : ndarray of bool, shape (n_spectra, n_groups)
    """

    sums: np.ndarray
    n_channels: np.ndarray
    curvature: np.ndarray
    energy: np.ndarray
    complete: np.ndarray

    def select(self, index):
        """Take some of the spectra.

        Parameters
        ----------
        index : any index of NumPy

        Returns
        -------
        GroupedSpectra
        """
        return replace(
            self,
            sums=self.sums[index],
            energy=self.energy[index],
            complete=self.complete[index],
        )

    def of_groups(self, groups):
        """Take some neighbouring groups of all spectra.

        Parameters
        ----------
        groups : slice

        Returns
        -------
        GroupedSpectra
        """
        return GroupedSpectra(
            sums=self.sums[:, groups],
            n_channels=self.n_channels[groups],
            curvature=self.curvature[groups],
            energy=self.energy[:, groups],
            complete=self.complete[:, groups],
        )


def group_spectra(counts, energy, channel, groups, curvature):
    """Collect the counts of spectra in groups around their peaks.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Free of pedestal.
    energy : ndarray of shape (n_energy,)
    channel : ndarray of int, shape (n_spectra,)
    groups : ChannelGroups
    curvature : ndarray of shape (n_groups,)
    """
    sums, complete = groups.collect(counts, channel)
    step = energy[1] - energy[0]
    middle = energy[0] + step * (channel[:, None] + groups.middle)
    return GroupedSpectra(
        sums=sums,
        n_channels=groups.n_channels,
        curvature=curvature,
        energy=middle,
        complete=complete,
    )


def join_spectra(parts):
    """One set of grouped spectra from several with the same groups."""
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("sums", "energy", "complete")
    }
    return replace(parts[0], **joined)


def group_curvature(grid, log_shape, groups, channels_per_fwhm):
    """Mean of the shape over each group divided by its value in the middle."""
    middle = np.exp(grid.interpolate(log_shape, groups.middle / channels_per_fwhm))
    channels = np.arange(groups.edges[0], groups.edges[-1])
    shape = np.exp(grid.interpolate(log_shape, channels / channels_per_fwhm))
    means = np.add.reduceat(shape, groups.edges[:-1] - groups.edges[0]) / groups.n_channels
    return means / np.maximum(middle, 1e-300)
