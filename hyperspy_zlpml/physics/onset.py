# SPDX-License-Identifier: GPL-3.0-or-later
"""Onset of losses above a band gap: shapes, templates blurred by a peak, and their fit on a grid.

Above the gap the joint density of states rises as ``(E - Eg)^b``, with b = 1/2 for direct and 3/2
for indirect transitions (B. Rafferty and L. M. Brown, Phys. Rev. B 58, 10326 (1998)). A band is of
finite width: what rises also levels off, and a power law alone, fitted over some tenths of an eV,
is off by more than its error. Shapes are therefore::

    A (x / (1 + x / w))^b (1 + g x / Eg),    x = E - Eg > 0

with a width w of the rise and a growth g that are not known either: with g = 1 losses grow in
proportion to the energy besides, as below a plasmon; larger g stand for further bands
close above. They are convolved with the peak of the spectrum itself. Everything enters linearly but
Eg, b, w and g, which are tried on a grid: a fit by derivatives fails where the shape is singular, at
the gap itself.

Two things beside decide how good a gap is. The tail of the peak of every loss reaches below it: what
it brings down from the plasmon into the gap is of the size of an onset there, and is known from the
spectrum (:func:`scattered_down`). And no shape is that of a specimen: departures are allowed for as
errors in proportion to the losses (:func:`departures`).
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import irfft, next_fast_len, rfft
from scipy.linalg import solve_triangular

from hyperspy_zlpml.physics.pooling import cropped

#: Bins of the data in one FWHM of the peak: finer ones hold nothing more.
BINS_PER_FWHM = 4
#: Points in a channel over which a shape is averaged.
_POINTS_PER_CHANNEL = 8
#: Directions smaller than this part of the counting noise everywhere change nothing.
_NEGLIGIBLE = 0.03
#: Sizes of arrays are rounded up to multiples of this, so that spectra share transforms.
_SHARED_SIZES = 128
#: Channels that no axis is longer than.
_LONGEST = 2**24
#: Outer part of the response, in units of its reach, whose slope goes on beyond.
_OUTER = 0.7
#: Responses of fewer channels have no tail.
_SHORTEST_RESPONSE = 9
#: Powers that a tail may have.
_SLOPES = (-4.0, -0.5)
#: Relative errors of a peak's tail, within the response and beyond it.
_TAIL_ERRORS = (0.1, 0.5)
#: Largest argument of an exponential.
_LARGEST_EXPONENT = 600.0
#: Width of a departure in units of the distance between two.
_DEPARTURE_WIDTH = 0.6
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
    exponent, width : float
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
    above = np.clip(above, 0, None)
    return (above / (1 + above / width)) ** exponent


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
    >>> from hyperspy_zlpml.physics.onset import Bins, onset_grid
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


def templates(bins, grid, shapes, response, reach=np.inf):
    """Compute the blurred shapes of every onset in every bin.

    Parameters
    ----------
    bins : Bins
    grid : OnsetGrid
    shapes : Shapes
    response : ndarray of shape (n_response,)
        Peak in steps of a channel, of unit sum, centred.
    reach : float
        Length of the shapes, eV: what lies above is left to :func:`scattered_down`.

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
        n_above=int(min(reach / bins.step, _LONGEST)),
        n_fft=next_fast_len(_rounded_up(start + int(place.max()) + margin + 1), real=True),
    )
    transfer = rfft(np.roll(_padded(response, layout.n_fft), -(response.size // 2)))
    blurred = irfft(_sharp(shapes, layout) * transfer, n=layout.n_fft, axis=-1)
    blurred = np.moveaxis(blurred, 0, 1).reshape(blurred.shape[1], -1)
    found = blurred[:, (part * layout.n_fft)[:, None] + place + start]
    level, rising = np.split(found, 2)
    return Templates(level, rising, np.divide.outer(shapes.growths, grid.energy))


class _Layout(NamedTuple):
    """Channels on which shapes are blurred.

    They begin at ``start``, or a part of a channel before, and end ``n_above`` channels later.
    """

    step: float
    n_channels: int
    n_parts: int
    start: int
    n_above: int
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
    sharp[:, layout.start + layout.n_above :] = 0
    boxes = sliding_window_view(sharp, layout.n_channels, axis=-1).mean(-1)
    return rfft(boxes, axis=-1).reshape(layout.n_parts, -1, layout.n_fft // 2 + 1)


def scattered_down(bins, above, response):
    """Compute what the gain side of the peak brings down of losses above.

    The tail of the peak of every higher loss, the plasmon with it, lies in the gap; these losses are
    measured.

    Parameters
    ----------
    bins : Bins
        Whose share is computed.
    above : Bins
        The losses above, of the same spectrum and the same width.
    response : ndarray of shape (n_response,)
        Peak in steps of a channel, of unit sum, centred.

    Returns
    -------
    brought : ndarray of shape (n_bins,)
        Mean counts per channel.
    error : ndarray of shape (n_bins,)
        Its standard deviation, of all bins together: a tenth of what the response holds, half of
        what its tail brings from further away, where it is continued.
    """
    n_bins, n_above = bins.energy.size, above.energy.size
    if not n_above or response.size < _SHORTEST_RESPONSE:
        return np.zeros((2, n_bins))
    width = bins.step * bins.n_channels
    distance = above.energy[0] - bins.energy[-1] + width * np.arange(n_bins + n_above - 1)
    tail = bins.n_channels * _gain_tail(response, distance / bins.step)
    near = distance / bins.step <= response.size // 2
    found = [np.correlate(one, above.signal, "valid")[::-1] for one in (tail * near, tail * ~near)]
    return sum(found), np.abs(_TAIL_ERRORS @ np.array(found))


def piece_of(losses, low, high):
    """Cut out of spectra the energies where onsets may be, so that nothing from above reaches in.

    Parameters
    ----------
    losses : Losses
    low, high : float
        From the peak, eV.

    Returns
    -------
    Losses
        On one axis of energies from the peaks.
    """
    return cropped(without_losses_above(losses, high), low, high)


def without_losses_above(losses, high):
    """Count as zero-loss peak what the gain side of it brings down from losses above an energy.

    What is left of spectra needs nothing above that energy any more: they can be cropped there.

    Parameters
    ----------
    losses : Losses
    high : float
        From the peak, eV.

    Returns
    -------
    Losses
        With one direction more: the error of what was brought down.
    """
    zlp, errors = losses.zlp.copy(), np.zeros_like(losses.zlp)
    for row, energy in enumerate(losses.from_peak):
        first = int(np.searchsorted(energy, high))
        parts = np.split(np.arange(energy.size), [first])
        below, above = (channels_of(losses, row, part) for part in parts)
        brought, errors[row, :first] = scattered_down(below, above, losses.response[row])
        zlp[row, :first] += brought
    directions = np.concatenate([losses.directions, errors[:, None]], axis=1)
    return replace(losses, zlp=zlp, directions=directions)


def _gain_tail(response, channels):
    """Evaluate a peak at channels below its centre, beyond its reach by the slope that it has there.

    Tails that fall more slowly than a Lorentzian are not yet where its power of -2 begins: they go on
    as the Lorentzian of their slope; others as a power law.
    """
    reach = response.size // 2
    known = np.arange(1, reach + 1)
    heights = np.log(np.maximum(response[reach - known], np.finfo(float).tiny))
    outer = known > _OUTER * reach
    slope = np.clip(np.polyfit(np.log(known[outer]), heights[outer], 1)[0], *_SLOPES)
    beyond = np.maximum(channels / reach, 1)
    if slope > -2:
        far = -slope / (2 + slope)
        fall = np.log((1 + far) / (1 + far * beyond**2))
    else:
        fall = slope * np.log(beyond)
    return np.exp(np.interp(channels, known, heights) + fall)


def departures(bins, model, onset, distance):
    """Compute in which ways losses may depart from a shape above an onset.

    Parameters
    ----------
    bins : Bins
    model : ndarray of shape (n_bins,)
        Losses as a smooth shape has them.
    onset : float
        Energy from which they depart, eV.
    distance : float
        Between two departures, eV.

    Returns
    -------
    ndarray of shape (n_departures, n_bins)
        Independent bumps as high as the losses.
    """
    places = np.arange(onset, bins.energy[-1] + distance, distance)
    off = (bins.energy - places[:, None]) / (_DEPARTURE_WIDTH * distance)
    bumps = np.exp(-0.5 * off**2)
    return model * bumps / np.sqrt((bumps**2).sum(0).max())


class Fits(NamedTuple):
    """Fits of every template to the bins below some ends.

    Attributes
    ----------
    chi2 : ndarray of shape (n_ends, n_shapes, n_onsets)
        With the best height that is not negative, ZLP as uncertain as it is.
    none : ndarray of shape (n_ends,)
        chi2 where there is no onset.
    height : ndarray of shape (n_ends, n_shapes, n_onsets)
        Best factor on the template.
    log_determinant : ndarray of shape (n_ends,)
        Logarithm of the determinant of the covariance over that of the noise alone.
    n_bins : ndarray of int of shape (n_ends,)
    """

    chi2: np.ndarray
    none: np.ndarray
    height: np.ndarray
    log_determinant: np.ndarray
    n_bins: np.ndarray


def fit(bins, shapes, n_bins, single=None):
    """Fit templates by generalised least squares; what the ZLP may be is fitted along.

    With the directions D as nuisance parameters of unit variance the covariance of the bins is
    ``V = diag(variance) + D^T D``, inverted by Woodbury's identity; the height of a template enters
    linearly.

    Parameters
    ----------
    bins : Bins
    shapes : Templates
    n_bins : sequence of int
        Bins that are used, from the first; one or several numbers of them.
    single : ndarray of shape (n_single, n_bins), optional
        Directions of which one may be there, as likely as none. chi2 is then -2 ln of the likelihood
        of all cases together, in units of that of a perfect fit: never negative.

    Returns
    -------
    Fits
    """
    noise = np.sqrt(bins.variance)
    data, directions = bins.signal / noise, _relevant(bins.directions / noise)
    model = np.stack([shapes.level, shapes.rising]) / noise
    single = np.empty((0, noise.size)) if single is None else single / noise
    found = [
        _fit_first(data[:n], model[..., :n], directions[:, :n], shapes.growth, single[:, :n])
        for n in np.asarray(n_bins).tolist()
    ]
    chi2, none, height, log_determinant = (np.array(values) for values in zip(*found, strict=True))
    return Fits(
        chi2=chi2,
        none=none,
        height=height,
        log_determinant=log_determinant,
        n_bins=np.asarray(n_bins),
    )


def _relevant(directions):
    """Combine directions, in units of the noise, to the few that change anything."""
    values, vectors = np.linalg.eigh(directions @ directions.T)
    return vectors[:, values > _NEGLIGIBLE**2].T @ directions


def _fit_first(data, model, directions, growth, single):
    """Fit templates to bins in units of their noise: what :class:`Fits` holds of one end."""
    root = np.linalg.cholesky(np.eye(len(directions)) + directions @ directions.T)
    directions = solve_triangular(root, directions, lower=True)
    data_along, model_along = directions @ data, model @ directions.T

    def product_of(one, other):
        along = np.einsum("koq,koq->ko", model_along[one], model_along[other])
        return np.einsum("kob,kob->ko", model[one], model[other]) - along

    growth = growth[:, None]
    squared = product_of(0, 0) + growth * (2 * product_of(0, 1) + growth * product_of(1, 1))
    level, rising = model @ data - model_along @ data_along
    overlap = (level + growth * rising).reshape(-1, level.shape[-1])
    squared = squared.reshape(overlap.shape)
    none = data @ data - data_along @ data_along
    log_determinant = 2 * np.log(np.diag(root)).sum()
    products = _Products(none, overlap, squared)
    if len(single):
        along = single - single @ directions.T @ directions
        level, rising = np.moveaxis(model @ along.T, -1, 1)[:, :, None]
        of_shape = (level + growth * rising).reshape(len(single), *overlap.shape)
        chi2, height = _with_single(products, along @ data, of_shape, (single * along).sum(-1))
    else:
        chi2, height = _with_height(products)
    return chi2, none, height, log_determinant


class _Products(NamedTuple):
    """Products with the inverse covariance: of the data, of data and shapes, of shapes."""

    none: float
    overlap: np.ndarray
    squared: np.ndarray


def _with_height(products):
    """Compute chi2 with the best height that is not negative, and this height."""
    none, overlap, squared = products
    height = np.clip(overlap, 0, None) / np.maximum(squared, np.finfo(float).tiny)
    return none - height * overlap, height


def _with_single(products, of_data, of_shape, size):
    """Compute chi2 where one direction of some may be there besides, and the height where it is best.

    Parameters
    ----------
    products : _Products
        Without.
    of_data, of_shape : ndarray of shape (n_single,) and (n_single, n_shapes, n_onsets)
        Products of the directions with the data and the shapes.
    size : ndarray of shape (n_single,)
        Products with themselves.
    """
    chi2, height = _with_height(products)
    least, total = chi2, np.zeros(chi2.shape)
    for data, shape, more in zip(of_data, of_shape, 1 + size, strict=True):
        beside = _Products(
            none=products.none - data**2 / more,
            overlap=products.overlap - data * shape / more,
            squared=products.squared - shape**2 / more,
        )
        one, own_height = _with_height(beside)
        one = one + np.log(more)
        height = np.where(one < least, own_height, height)
        least = np.minimum(one, least)
        total += np.exp(np.clip(0.5 * (chi2 - one), None, _LARGEST_EXPONENT))
    return chi2 - 2 * np.log(0.5 * (1 + total / len(size))), height
