# SPDX-License-Identifier: GPL-3.0-or-later
"""Onset of losses above a band gap: shapes, and templates of them blurred by a peak.

Above the gap the joint density of states rises as ``(E - Eg)^b``, with b = 1/2 for direct and 3/2
for indirect transitions (B. Rafferty and L. M. Brown, Phys. Rev. B 58, 10326 (1998)). A band is of
finite width: what rises also levels off, and a power law alone, fitted over some tenths of an eV,
is off by more than its error. Shapes are therefore::

    A (x / (1 + x / w))^b (1 + g x / Eg),    x = E - Eg > 0

with a width w of the rise and a growth g that are not known either: with g = 1 losses grow in
proportion to the energy besides, as below a plasmon; larger g stand for further bands
close above. They are convolved with the peak of the spectrum itself.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import irfft, next_fast_len, rfft

#: Points in a channel over which a shape is averaged.
_POINTS_PER_CHANNEL = 8
#: Sizes of arrays are rounded up to multiples of this, so that spectra share transforms.
_SHARED_SIZES = 128
#: Widths of the rise that are tried, eV.
WIDTHS = (0.3, 1.0, 3.0)
#: Growths that are tried: none, in proportion to the energy, and more steeply.
GROWTHS = (0.0, 1.0, 2.0)


@dataclass(frozen=True)
class Shapes:
    """Shapes of onsets that are tried; each exponent with each width and each growth.

    Parameters
    ----------
    exponents : tuple of float
        b.
    widths : tuple of float
        w, eV.
    growths : tuple of float
        g.

    Examples
    --------
    >>> from hyperspy_zlpml.physics.onset import Shapes
    >>> shapes = Shapes(exponents=(0.5, 1.5), widths=(1.0, 2.0), growths=(0.0,))
    >>> shapes.size, shapes.table[:, 1]
    (4, array([0.5, 0.5, 1.5, 1.5]))
    """

    exponents: tuple[float, ...]
    widths: tuple[float, ...] = WIDTHS
    growths: tuple[float, ...] = GROWTHS

    @property
    def size(self):
        """Shapes in all."""
        return len(self.growths) * len(self.exponents) * len(self.widths)

    @property
    def table(self):
        """Growth, exponent and width of every shape, (size, 3)."""
        return np.array(list(product(self.growths, self.exponents, self.widths)))


def rise(above, exponent, width):
    """Compute the shape of an onset, sharp as it is before any blur.

    Parameters
    ----------
    above : ndarray
        Energies above the onset, eV.
    exponent, width : float or ndarray
        b, and w in eV.

    Returns
    -------
    ndarray
        ``(x / (1 + x / w))^b``, 0 below the onset.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.onset import rise
    >>> rise(np.array([-1.0, 1.0, 4.0]), exponent=0.5, width=np.inf)
    array([0., 1., 2.])
    """
    above = np.maximum(above, 0)
    return (above / (1 + above / width)) ** exponent


class OnsetGrid(NamedTuple):
    """Onsets that are tried on one spectrum, whole channels or parts of a channel apart.

    Attributes
    ----------
    energy : ndarray of shape (n_onsets,)
        eV from the peak, uniform.
    before : ndarray of int of shape (n_onsets,)
        Parts of a channel from each to the first channel of the bins; negative behind it.
    n_parts : int
        Parts of a channel.
    """

    energy: np.ndarray
    before: np.ndarray
    n_parts: int


def onset_grid(bins, low, high, fineness):
    """Lay out onsets so that their templates are the same but for shifts.

    Parameters
    ----------
    bins : Bins
    low, high : float
        First and last onset, eV from the peak.
    fineness : float
        Largest distance between onsets, eV.

    Returns
    -------
    OnsetGrid

    Examples
    --------
    Onsets half a channel apart:

    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.bins import Bins
    >>> from hyperspy_zlpml.physics.onset import onset_grid
    >>> nothing = np.zeros(20)
    >>> bins = Bins(1 + 0.1 * np.arange(20), nothing, nothing, nothing[None], 0.1, 1)
    >>> onset_grid(bins, 1.2, 1.3, fineness=0.05).energy.round(3)
    array([1.2 , 1.25, 1.3 ])
    """
    channels = max(int(fineness / bins.step), 1)
    n_parts = int(np.ceil(bins.step / fineness)) if fineness < bins.step else 1
    distance = bins.step * channels / n_parts
    numbers = (np.array([low, high]) - bins.first_channel) / distance
    first, last = np.floor(numbers[0] + 1e-6), np.ceil(numbers[1] - 1e-6)
    places = np.arange(int(first), int(last) + 1) * channels
    return OnsetGrid(bins.first_channel + bins.step * places / n_parts, -places, n_parts)


class Templates(NamedTuple):
    """Blurred shapes of onsets in bins: ``level + growth * rising`` for every growth.

    Attributes
    ----------
    level, rising : ndarray of shape (n_rises, n_onsets, n_bins)
        Without growth, for every exponent and width, and the same times x.
    growth : ndarray of shape (n_growths, n_onsets)
        ``g / Eg``, 1/eV.
    """

    level: np.ndarray
    rising: np.ndarray
    growth: np.ndarray

    def of(self, shape, onset):
        """Compute one template.

        Parameters
        ----------
        shape, onset : int

        Returns
        -------
        ndarray of shape (n_bins,)
        """
        growth, kind = divmod(shape, len(self.level))
        factor = self.growth[growth, onset]
        return self.level[kind, onset] + factor * self.rising[kind, onset]


def templates(bins, grid, shapes, response, end=np.inf):
    """Compute the blurred shapes of every onset in every bin.

    Parameters
    ----------
    bins : Bins
    grid : OnsetGrid
    shapes : Shapes
    response : ndarray of shape (n_response,)
        Peak in steps of a channel, of unit sum, centred.
    end : float
        Energy where the shapes end, eV, that of the bins: what lies above is left to
        :func:`.scattered_down`. Infinite for shapes that go on.

    Returns
    -------
    Templates
        In units that are the same for all onsets of a shape.
    """
    margin = response.size // 2 + bins.n_channels
    whole, part = np.divmod(grid.before, grid.n_parts)
    place = whole[:, None] + bins.n_channels * np.arange(bins.energy.size)
    start = _rounded_up(margin - int(place.min()))
    layout = _Layout(
        step=bins.step,
        n_channels=bins.n_channels,
        n_parts=grid.n_parts,
        start=start,
        n_fft=next_fast_len(_rounded_up(start + int(place.max()) + margin + 1), real=True),
    )
    transfer = rfft(np.roll(_padded(response, layout.n_fft), -(response.size // 2)))
    blurred = irfft(_sharp(shapes, layout) * transfer, n=layout.n_fft, axis=-1)
    blurred = np.moveaxis(blurred, 0, 1).reshape(blurred.shape[1], -1)
    found = blurred[:, (part * layout.n_fft)[:, None] + place + start]
    if np.isfinite(end):
        found = found - _from_above(bins, grid, shapes, response=response, end=end)
    level, rising = np.split(found, 2)
    return Templates(level, rising, np.divide.outer(shapes.growths, grid.energy))


def _from_above(bins, grid, shapes, response, end):
    """Compute what shapes bring down into the bins from above their end, (2 n_rises, n_onsets, n_bins).

    Without growth, then times x.
    """
    brought = _brought_down(bins, response)
    middle = bins.step * bins.n_channels * (np.arange(len(brought)) + 0.5)
    above = end + middle - grid.energy[:, None]
    exponents, widths = (np.reshape(one, (-1, 1, 1)) for one in (shapes.exponents, shapes.widths))
    rises = np.concatenate(rise(above, exponents[:, None], widths))
    return np.concatenate([rises, rises * above]) @ brought


def _brought_down(bins, response):
    """Compute the part of losses in bins above that the gain side of the peak brings down, (n_above, n_bins)."""
    reach, n = response.size // 2, bins.n_channels
    n_above = -(-reach // n)
    down = np.arange(n_above * n)[:, None] + np.arange(bins.energy.size * n, 0, -1)
    known = np.append(response[:reach][::-1], 0.0)
    heights = known[np.minimum(down, reach + 1) - 1]
    return heights.reshape(n_above, n, bins.energy.size, n).sum(1).mean(-1)


class _Layout(NamedTuple):
    """Channels on which shapes are blurred; they begin at ``start``, or a part of a channel before."""

    step: float
    n_channels: int
    n_parts: int
    start: int
    n_fft: int


def _rounded_up(size):
    """Round a size up, so that spectra share what depends on it."""
    return -(-size // _SHARED_SIZES) * _SHARED_SIZES


def _padded(values, size):
    return np.concatenate([values, np.zeros(size - values.size)])


@lru_cache(maxsize=64)
def _sharp(shapes, layout):
    """Transform shapes that are averaged over channels and bins, (n_parts, n_shapes, n_frequencies).

    What a bin holds is given for its first channel. First the shapes without growth, then the same
    times x.
    """
    in_channel = (np.arange(_POINTS_PER_CHANNEL) + 0.5) / _POINTS_PER_CHANNEL - 0.5
    # Bins reach beyond the channels that are kept.
    channel = np.arange(layout.n_fft + layout.n_channels - 1)[:, None] - layout.start
    sharp = []
    for part, power in product(range(layout.n_parts), (0, 1)):
        above = layout.step * (channel + part / layout.n_parts + in_channel)
        for exponent, width in product(shapes.exponents, shapes.widths):
            sharp.append((rise(above, exponent, width) * above**power).mean(-1))
    sharp = np.array(sharp)
    boxes = sliding_window_view(sharp, layout.n_channels, axis=-1).mean(-1)
    return rfft(boxes, axis=-1).reshape(layout.n_parts, -1, layout.n_fft // 2 + 1)
