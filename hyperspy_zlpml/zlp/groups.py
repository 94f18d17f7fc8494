# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels grouped around the peak.

Groups are counted in channels from each spectrum's own highest channel, so that all spectra
share them whatever their drift, and nothing is interpolated: single channels in the core,
groups that grow with the distance in the tails. 2000 channels become 150 to 200 groups.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.zlp.grid import CORE_WIDTH, GROWTH


@dataclass(frozen=True)
class ChannelGroups:
    """Groups of neighbouring channels around a peak.

    Attributes
    ----------
    edges : ndarray of int of shape (n_groups + 1,)
        In channels from the peak, increasing; group ``g`` is ``edges[g]:edges[g + 1]``.
    """

    edges: np.ndarray

    @property
    def size(self):
        """Number of groups."""
        return self.edges.size - 1

    @property
    def n_channels(self):
        """Channels in each group, shape (n_groups,)."""
        return np.diff(self.edges)

    @property
    def middle(self):
        """Mean channel of each group, counted from the peak; shape (n_groups,)."""
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
        complete : ndarray of bool of the same shape
            Groups that lie on the axis; the sums of others are zero.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.zlp.groups import ChannelGroups
        >>> groups = ChannelGroups(np.array([-3, -1, 2]))
        >>> groups.collect(np.array([[1, 2, 4, 8, 16, 32]]), np.array([3]))
        (array([[ 3., 28.]]), array([[ True,  True]]))
        >>> groups.collect(np.array([[1, 2, 4, 8, 16, 32]]), np.array([1]))
        (array([[0., 7.]]), array([[False,  True]]))
        """
        n_energy = counts.shape[-1]
        start = channel[:, None] + self.edges[:-1]
        stop = channel[:, None] + self.edges[1:]
        complete = self.complete(channel, n_energy)
        cumulative = np.zeros((len(counts), n_energy + 1))
        np.cumsum(counts, -1, dtype=float, out=cumulative[:, 1:])
        sums = np.take_along_axis(cumulative, np.clip(stop, 0, n_energy), -1)
        sums -= np.take_along_axis(cumulative, np.clip(start, 0, n_energy), -1)
        return np.where(complete, sums, 0.0), complete

    def collect_aligned(self, aligned, channel, n_energy):
        """Sum the channels of each group of spectra that are already cut about their peaks.

        Parameters
        ----------
        aligned : ndarray of shape (n_spectra, edges[-1] - edges[0])
            Counts, from the first edge of the groups to the last.
        channel : ndarray of int of shape (n_spectra,)
            Highest channel of each spectrum on its axis.
        n_energy : int
            Channels of that axis.

        Returns
        -------
        sums : ndarray of shape (n_spectra, n_groups)
        complete : ndarray of bool of the same shape
        """
        starts = self.edges[:-1] - self.edges[0]
        sums = np.add.reduceat(aligned, starts, axis=-1, dtype=float)
        complete = self.complete(channel, n_energy)
        sums[~complete] = 0.0
        return sums, complete

    def complete(self, channel, n_energy):
        """Tell which groups lie on the axis.

        Parameters
        ----------
        channel : ndarray of int of shape (n_spectra,)
            Highest channel of each spectrum.
        n_energy : int
            Channels of the axis.

        Returns
        -------
        ndarray of bool of shape (n_spectra, n_groups)
        """
        start = channel[:, None] + self.edges[:-1]
        stop = channel[:, None] + self.edges[1:]
        return (start >= 0) & (stop <= n_energy)


def make_groups(channels_per_fwhm, n_before, n_after):
    """Make groups that are fine in the core and grow with the distance from the peak.

    Parameters
    ----------
    channels_per_fwhm : float
        FWHM of the peaks, channels.
    n_before, n_after : int
        Channels to cover before the peak, and from it on.

    Returns
    -------
    ChannelGroups

    Examples
    --------
    Two thousand channels become a few hundred groups at most, the widest far out.

    >>> from hyperspy_zlpml.zlp.groups import make_groups
    >>> groups = make_groups(channels_per_fwhm=18.0, n_before=160, n_after=1890)
    >>> groups.size, int(groups.n_channels.min()), int(groups.n_channels.max())
    (157, 2, 90)
    """
    smallest = max(1, int(round(channels_per_fwhm * CORE_WIDTH)))

    def outward(n_channels):
        edges = [0]
        while edges[-1] < n_channels:
            edges.append(edges[-1] + max(smallest, int(GROWTH * edges[-1])))
        return np.array(edges)

    # The group that holds the peak is centred on it.
    half = smallest // 2
    after = outward(max(n_after - (smallest - half), 1)) + smallest - half
    before = -(outward(max(n_before - half, 1)) + half)
    return ChannelGroups(np.concatenate([before[::-1], after]))


class Curvature(NamedTuple):
    """Mean of the peak over each group of channels, divided by its value in the middle.

    Attributes
    ----------
    mean : ndarray of shape (n_groups,)
        Of a peak of mean width.
    change : ndarray of shape (n_groups,)
        Its change per ln(FWHM): a wider peak bends less within its groups.
    channels_per_fwhm : float
        The mean width.
    """

    mean: np.ndarray
    change: np.ndarray
    channels_per_fwhm: float

    @classmethod
    def of(cls, groups, mean, channels_per_fwhm):
        """Add to the curvature of a peak of mean width how it changes with the width.

        Over ``n`` channels the mean differs by ``(n**2 - 1) / 24`` times the second derivative. In
        channels that is ``q(u) / FWHM**2``, of which the logarithm of the FWHM takes
        ``-(2 q + u dq/du) / FWHM**2``: twice the difference in the core, nothing on a power law.

        Parameters
        ----------
        groups : ChannelGroups
        mean : ndarray of shape (n_groups,)
        channels_per_fwhm : float

        Returns
        -------
        Curvature

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.zlp.groups import ChannelGroups, Curvature
        >>> groups = ChannelGroups(np.array([-5, -2, 1, 4, 7]))
        >>> parabola = np.full(4, 0.9)
        >>> Curvature.of(groups, parabola, channels_per_fwhm=9.0).change.round(3)
        array([0.2, 0.2, 0.2, 0.2])
        """
        spread = groups.n_channels**2 - 1.0
        second = np.divide(mean - 1, spread, out=np.zeros(groups.size), where=spread > 0)
        slope = np.gradient(second, groups.middle) if groups.size > 1 else 0.0
        change = -spread * (2 * second + groups.middle * slope)
        return cls(mean, change, channels_per_fwhm)

    @classmethod
    def none(cls, n_groups):
        """Make that of straight lines.

        Parameters
        ----------
        n_groups : int

        Returns
        -------
        Curvature
        """
        return cls(np.ones(n_groups), np.zeros(n_groups), 1.0)

    def at(self, channels_per_fwhm):
        """Compute the curvature of peaks of other widths.

        Parameters
        ----------
        channels_per_fwhm : ndarray of shape (n_spectra,)

        Returns
        -------
        ndarray of shape (n_spectra, n_groups)
        """
        wider = np.log(channels_per_fwhm / self.channels_per_fwhm)
        return self.mean + wider[:, None] * self.change


@dataclass(frozen=True)
class GroupedSpectra(PerSpectrum):
    """Counts of spectra in groups of channels around their peaks.

    Attributes
    ----------
    sums : ndarray of shape (n_spectra, n_groups)
        Counts, free of pedestal.
    n_channels : ndarray of int of shape (n_groups,)
        Channels in each group.
    curvature : Curvature
        Mean of the peak over a group divided by its value in the middle.
    energy : ndarray of shape (n_spectra, n_groups)
        Energy of the middle of each group, eV.
    complete : ndarray of bool of shape (n_spectra, n_groups)
        Groups that lie on the axis.
    """

    shared = ("n_channels", "curvature")

    sums: np.ndarray
    n_channels: np.ndarray
    curvature: Curvature
    energy: np.ndarray
    complete: np.ndarray

    def scale(self, fwhm):
        """Compute the counts of each group that peaks of unit height hold where their shape is 1.

        Parameters
        ----------
        fwhm : ndarray of shape (n_spectra,)
            eV.

        Returns
        -------
        ndarray of shape (n_spectra, n_groups)
        """
        between = 0.5 * (self.n_channels[0] + self.n_channels[1])
        step = (self.energy[:, 1] - self.energy[:, 0]) / between
        return self.n_channels * self.curvature.at(fwhm / step)

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
            curvature=self.curvature._replace(
                mean=self.curvature.mean[groups], change=self.curvature.change[groups]
            ),
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
        eV.
    channel : ndarray of int of shape (n_spectra,)
        Highest channel of each spectrum.
    groups : ChannelGroups
    curvature : Curvature
        Of :func:`group_curvature`.

    Returns
    -------
    GroupedSpectra
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


def group_samples(samples, groups, curvature):
    """Collect the counts of several samples in the same groups.

    Parameters
    ----------
    samples : sequence of Sample
    groups : ChannelGroups
    curvature : Curvature
        See :func:`~hyperspy_zlpml.zlp.groups.group_curvature`.

    Returns
    -------
    GroupedSpectra
        Of all samples, one after the other.
    """
    return GroupedSpectra.join(
        [
            group_spectra(
                counts=sample.counts,
                energy=sample.energy,
                channel=sample.parameters.channel,
                groups=groups,
                curvature=curvature,
            )
            for sample in samples
        ]
    )


def group_curvature(grid, log_shape, groups, channels_per_fwhm):
    """Divide the mean of a shape over each group by its value in the middle.

    Parameters
    ----------
    grid : Grid
    log_shape : ndarray of shape (n_grid,)
        Logarithm of the shape.
    groups : ChannelGroups
    channels_per_fwhm : float
        FWHM of the peaks, channels.

    Returns
    -------
    Curvature

    Examples
    --------
    The mean over three channels about the peak is smaller than the peak.

    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.groups import ChannelGroups, group_curvature
    >>> grid = Grid.covering(-5, 5)
    >>> groups = ChannelGroups(np.array([-3, -2, -1, 2, 3]))
    >>> found = group_curvature(grid, -np.log1p(4 * grid.u**2), groups, channels_per_fwhm=6.0)
    >>> found.mean.round(3)
    array([1.   , 1.   , 0.933, 1.   ])
    """
    middle = np.exp(grid.interpolate(log_shape, groups.middle / channels_per_fwhm))
    channels = np.arange(groups.edges[0], groups.edges[-1])
    shape = np.exp(grid.interpolate(log_shape, channels / channels_per_fwhm))
    means = np.add.reduceat(shape, groups.edges[:-1] - groups.edges[0]) / groups.n_channels
    return Curvature.of(groups, means / np.maximum(middle, 1e-300), channels_per_fwhm)
