# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels grouped around the peak.

Groups are counted in channels from each spectrum's own highest channel, so that all spectra
share them whatever their drift, and nothing is interpolated: single channels in the core,
groups that grow with the distance in the tails. 2000 channels become 110 to 200 groups.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.compute.compiled import laid_out
from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.zlp import kernels
from hyperspy_zlpml.zlp.grid import CORE_WIDTH, GROWTH, WIDTH_STEP

#: Widths of which the curvature is tabulated beside the typical one, on either side: those of all peaks that are
#: usable (:data:`~hyperspy_zlpml.image.odd_peaks.FAR_WIDTH`).
_WIDTHS_BESIDE = 10


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

    def collect(self, counts, channel, dark_level=None, pattern=None):
        """Sum the channels of each group.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        channel : ndarray of int of shape (n_spectra,)
            Highest channel of each spectrum.
        dark_level : ndarray of float of shape (n_energy,), optional
            Taken off the counts.
        pattern : ndarray of float of shape (n_energy,), optional
            Deviations of the sensitivities of channels, that the counts are divided by; may be empty.

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
        channel = laid_out(channel, np.int64)
        sums = np.empty((len(counts), self.size))
        kernels.collect_groups(
            laid_out(counts, np.float32 if counts.dtype == np.float32 else float),
            channel=channel,
            dark_level=np.zeros(n_energy) if dark_level is None else dark_level,
            pattern=np.zeros(0) if pattern is None else pattern,
            edges=laid_out(self.edges, np.int64),
            sums=sums,
        )
        return sums, self.complete(channel, n_energy)

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

    A wider peak bends less within a group: tables of several widths are interpolated.

    Attributes
    ----------
    values : ndarray of shape (n_widths, n_groups)
    log_fwhm : float
        ln FWHM of the first width, eV; from one to the next it grows by ``WIDTH_STEP``.
    """

    values: np.ndarray
    log_fwhm: float = 0.0

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
        return cls(np.ones((1, n_groups)))

    def at(self, fwhm):
        """Look up the curvature of peaks; beyond the table it is that at its end.

        ``_bend`` of :mod:`hyperspy_zlpml.zlp.kernels` does the same, compiled, in the steps of a match.

        Parameters
        ----------
        fwhm : ndarray of shape (n_spectra,)
            eV; any number where there is no peak.

        Returns
        -------
        ndarray of shape (n_spectra, n_groups)
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            place = np.nan_to_num((np.log(fwhm) - self.log_fwhm) / WIDTH_STEP)
        last = len(self.values) - 1
        place = np.clip(place, 0, last)
        below = place.astype(int)
        above = np.minimum(below + 1, last)
        fraction = (place - below)[:, None]
        return (1 - fraction) * self.values[below] + fraction * self.values[above]

    def of_groups(self, groups):
        """Take that of some groups.

        Parameters
        ----------
        groups : slice

        Returns
        -------
        Curvature
        """
        return self._replace(values=self.values[:, groups])


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
        return self.n_channels * self.curvature.at(fwhm)

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
            curvature=self.curvature.of_groups(groups),
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


def group_curvature(grid, log_shape, groups, channels_per_fwhm, step):
    """Divide the mean of a shape over each group by its value in the middle, for peaks of several widths.

    Parameters
    ----------
    grid : Grid
    log_shape : ndarray of shape (n_grid,)
        Logarithm of the shape.
    groups : ChannelGroups
    channels_per_fwhm : float
        Typical FWHM of the peaks, channels.
    step : float
        Energy of a channel, eV.

    Returns
    -------
    Curvature
        Of peaks up to 2.7 times as wide and as narrow.

    Examples
    --------
    The mean over three channels about the peak is smaller than the peak, but less so in a wider one.

    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.groups import ChannelGroups, group_curvature
    >>> grid = Grid.covering(-5, 5)
    >>> groups = ChannelGroups(np.array([-3, -2, -1, 2, 3]))
    >>> found = group_curvature(
    ...     grid, -np.log1p(4 * grid.u**2), groups, channels_per_fwhm=6.0, step=0.1
    ... )
    >>> found.at(np.array([0.6, 1.2])).round(3)
    array([[1.   , 1.   , 0.933, 1.   ],
           [1.   , 1.   , 0.982, 1.   ]])
    """
    wider = WIDTH_STEP * np.arange(-_WIDTHS_BESIDE, _WIDTHS_BESIDE + 1)
    width = channels_per_fwhm * np.exp(wider)[:, None]
    middle = np.exp(grid.interpolate(log_shape, groups.middle / width))
    channels = np.arange(groups.edges[0], groups.edges[-1])
    shape = np.exp(grid.interpolate(log_shape, channels / width))
    sums = np.add.reduceat(shape, groups.edges[:-1] - groups.edges[0], axis=-1)
    return Curvature(
        values=sums / groups.n_channels / np.maximum(middle, 1e-300),
        log_fwhm=float(np.log(channels_per_fwhm * step) + wider[0]),
    )
