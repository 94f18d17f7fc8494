# SPDX-License-Identifier: GPL-3.0-or-later
"""Noise of sums of channels: what differs between spectra beyond what they share.

A detector spreads an electron over neighbouring channels. These scatter less among themselves than
electrons do, and sums of 2, 3, 4 ... channels more and more; how fast the scatter grows with the
length of the sums and with their level tells gain, read-out noise and the correlation of the noise.
"""

from dataclasses import dataclass
from functools import cache, reduce
from itertools import pairwise
from math import comb
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.optimize import minimize_scalar, nnls

#: Fewest spectra from which what they share can be told from their noise.
FEW_SPECTRA = 16
#: Lengths of the sums, in channels.
_LENGTHS = (1, 2, 3, 4, 6, 8)
#: Lengths where a single spectrum must be told from its noise by its smoothness.
_LENGTHS_OF_FEW = (1, 2, 3, 4)
#: Channels over which noise is correlated, at most.
_MOST_LAGS = 5
#: The same where spectra are few.
_MOST_LAGS_OF_FEW = 3
#: Differences of this order remove what is smooth.
_ORDER = 3
#: The same where nothing else was taken off.
_ORDER_OF_FEW = 4
#: Spectra for each number by which they may differ in shape.
_SPECTRA_PER_SHAPE = 3
#: Numbers by which spectra may differ in shape, at most.
_MOST_SHAPES = 40
#: Channels of a stretch; what spectra share there is found in the neighbouring stretches.
_STRETCH = 32
#: Channels summed up before shapes are sought.
_SHAPES_BIN = 4
#: Least part of the noise that is left beside the shapes.
_LEAST_LEFT = 0.2
#: Robust standard deviations by which spikes stand out of their stretch, ...
_SPIKE = 8.0
#: ... as long as they are no more than this fraction of it, ...
_MOST_SPIKES = 0.005
#: ... or two; more are rare electrons.
_FEW_SPIKES = 2
#: Robust standard deviations beyond which deviations of shapes are drawn in.
_CLIPPED = 6.0
#: Parts of the axis, and in each of them classes of equal level, whose scatter is one number.
_N_PARTS = 24
#: Parts of the axis of few spectra.
_N_PARTS_OF_FEW = 8
#: Classes of equal level in each part.
_N_LEVELS = 3
#: Neighbouring differences by whose levels they are sorted: their own noise would choose them.
_AROUND = 9
#: Fewest deviations for a number ...
_FEWEST = 40
#: ... and for classes of equal level.
_FEWEST_IN_LEVELS = 300
#: Scatter is reproduced to this fraction at best.
_ACCURACY = 0.02
#: Least scatter that contributions may add up to, as a fraction of the largest found.
_LEAST_FITTED = 1e-6
#: Scatter that exceeds the model by more than some standard errors is structure, no noise.
_OUTLYING = 3.0
#: ... more so than scatter that falls short of it.
_STRUCTURE = 1.3
#: Share of an electron that the next channel holds, at most: as much as its own, ...
_MOST_SHARE = 1 / 3
#: ... found to so much.
_SHARE_ACCURACY = 2e-3
#: Sums of all lengths hold the same channels: the gain scatters by so many times more than if they did not. Covariances
#: of each lag, which are told by sums of few lengths, do by 1.0 to 1.15.
_CHANNELS_SHARED = 1.5
#: A lag is needed where the misfit falls by more than this.
_SIGNIFICANT_LAG = 6.0
#: Noise is correlated where the misfit falls by more than this: noise of few spectra falls by chance, ...
_SIGNIFICANT = 12.0
#: ... and by more than this fraction: by up to 0.05 it does of many spectra whose noise is not, peaks that
#: differ included; by 0.12 and more behind a point spread that leaves a tenth of an electron to neighbours, ...
_SIGNIFICANT_SHARE = 0.075
#: ... and what is left of it is no more than this, by number of sums: 2.2 behind a point spread, 20 and more where
#: spikes or steps scatter, ...
_DESCRIBED = 3.0
#: ... or than the misfit without correlation over this, where spectra are many and sums told to a hundredth, ...
_MOSTLY = 2.0
#: ... and neighbours miss at least this part of the variance.
_LEAST_CORRELATION = 0.1
#: ... and beyond the last lag it is less than this fraction of it: behind the widest point spread that was tried, a Gaussian
#: of 1.8 channels, it is 0.2.
_ENDS_AT = 0.3
#: The electrons' noise is looked at in levels as high as this quantile, ...
_BRIGHT = 0.99
#: ... where it is at least this fraction of the variance of the read-out.
_STANDS_OUT = 0.3
#: Values nearer than this part of the largest are equal: running sums of thousands round by less.
_ROUNDING = 1e-10
#: Rounds of weighting by the fit itself.
_N_ROUNDS = 20


@dataclass(frozen=True)
class ScatterOfSums:
    """Scatter of sums of channels in classes of equal length and level.

    Attributes
    ----------
    length : ndarray of shape (n,)
        Channels in a sum.
    level : ndarray of shape (n,)
        Counts per channel.
    squared : ndarray of shape (n,)
        Mean square of normalised differences of sums, counts squared.
    error : ndarray of shape (n,)
        Its relative standard error.
    order : int
        Order of the differences.
    """

    length: np.ndarray
    level: np.ndarray
    squared: np.ndarray
    error: np.ndarray
    order: int

    @property
    def most_lags(self):
        """Channels over which correlation is looked for."""
        return _MOST_LAGS if self.order == _ORDER else _MOST_LAGS_OF_FEW


@dataclass(frozen=True)
class FittedNoise:
    """Noise that describes the scatter of sums.

    Attributes
    ----------
    gain : float
    readout : float
    correlation : tuple of float
    gain_error : float
        Standard error of ``gain``.
    """

    gain: float
    readout: float
    correlation: tuple[float, ...]
    gain_error: float


def without_spikes(counts):
    """Find spikes and dead channels, and put the counts beside them in their place.

    Used before the noise is known, which :func:`~hyperspy_zlpml.image.channels.find_spikes` needs: a
    channel is compared with how all channels of its stretch differ from those beside them. As that
    is no test of single spectra, a stretch of many such channels is left as it is.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)

    Returns
    -------
    clean : ndarray of shape (n_spectra, n_energy)
    spiked : ndarray of bool of shape (n_spectra, n_energy)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.sums import without_spikes
    >>> counts = np.random.default_rng(0).normal(100.0, 10.0, (50, 200))
    >>> counts[7, 120] += 1e4
    >>> clean, spiked = without_spikes(counts)
    >>> np.argwhere(spiked), bool(clean[7, 120] < 150)
    (array([[  7, 120]]), True)
    """
    n = counts.shape[-1]
    padded = np.pad(counts, ((0, 0), (3, 3)), mode="edge")
    # Two and three channels away: spikes may be three channels wide.
    a, b, c, d = (padded[:, first : first + n] for first in (0, 1, 5, 6))
    highest = np.maximum(np.maximum(a, b), np.maximum(c, d))
    lowest = np.minimum(np.minimum(a, b), np.minimum(c, d))
    beside = (a + b + c + d - highest - lowest) / 2
    squared = (counts - beside) ** 2
    spiked = np.zeros(counts.shape, bool)
    for stretch in _parts(n, max(n // _STRETCH, 1)):
        spiked[:, stretch] = _spikes_of(squared[:, stretch])
    if len(counts) > 1:
        spiked |= np.ptp(counts, axis=0) == 0
    return np.where(spiked, beside, counts), spiked


def _spikes_of(squared):
    """Find the few deviations of a stretch that are much larger than the others."""
    n = int(0.99 * squared.size)
    # For normal noise the largest 1 % of the squares hold 7.7 % of their sum.
    variance = np.partition(squared, n, axis=None)[:n].mean() / 0.923
    spiked = squared > _SPIKE**2 * variance
    few = spiked.sum() <= max(_MOST_SPIKES * spiked.size, _FEW_SPIKES)
    return spiked if few else np.zeros_like(spiked)


class Deviations(NamedTuple):
    """Counts that some spectra do not share with the others, and whose noise they hold.

    Attributes
    ----------
    left : ndarray of shape (n_spectra, n_energy)
        Its noise is that of ``level``.
    level : ndarray of shape (n_spectra, n_energy)
        Expected counts of the channels whose noise it holds: a fit over spectra leaves in each some
        of the noise of the others, which may be brighter.
    """

    left: np.ndarray
    level: np.ndarray


def deviations(counts, u, centre):
    """Take off what spectra share, whatever their intensity, thickness and drift.

    Spectra of an image differ by few numbers. In alternate stretches of channels these are found
    as the principal components of the other stretches and of the core, whose noise is not theirs,
    and their share in every channel is fitted and taken off: with it goes a fixed pattern.
    A fit over the spectra leaves the correlation between channels as it is.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    u : ndarray of shape (n_spectra, n_energy)
        Distance from the peak, FWHM.
    centre : ndarray of shape (n_spectra,)
        Position of the peak.

    Returns
    -------
    Deviations
        Of the variance of the noise: what the fit takes of it is put back.

    Examples
    --------
    Beyond the core nothing is left but noise of standard deviation 1.

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.sums import deviations
    >>> rng, u = np.random.default_rng(0), np.linspace(-5, 20, 500)
    >>> shape = 1e5 * np.exp(-(u**2)) + np.outer(np.linspace(1, 2, 90), 1e3 / (1 + u**2))
    >>> counts = shape * (1 + 0.01 * rng.standard_normal(500)) + rng.standard_normal((90, 500))
    >>> left, level = deviations(counts, np.tile(u, (90, 1)), np.zeros(90))
    >>> bool(abs(left[:, 200:].std() - 1) < 0.02)
    True
    """
    scaled = _scaled(counts)
    core = np.abs(np.median(u, axis=0)) < 3
    stretch = np.arange(counts.shape[-1]) // _STRETCH % 2
    offset = centre - centre.mean()
    known = np.stack([np.ones(len(counts)), offset / (np.abs(offset).max() + 1e-300)], -1)
    left, level = np.empty(counts.shape), np.empty(counts.shape)
    for half in (0, 1):
        elsewhere = (stretch != half) | core if not core.all() else stretch != half
        shapes = _shapes(scaled[:, elsewhere], np.linalg.qr(known)[0])
        here = counts[:, stretch == half]
        projector = np.eye(len(counts)) - shapes @ shapes.T
        kept = np.maximum(np.diag(projector)[:, None], _LEAST_LEFT)
        rest = projector @ here
        left[:, stretch == half] = rest / np.sqrt(kept)
        level[:, stretch == half] = projector**2 @ (here - rest) / kept
    return Deviations(left, level)


def _scaled(counts):
    """Scale channels to about equal noise, and draw in what lies far out in each."""
    typical = uniform_filter1d(np.median(counts, axis=0), 9)
    # Where most channels hold nothing in most spectra, any scale is as good.
    least = max(1e-5 * np.abs(typical).max(), _electron(counts)) or 1.0
    scaled = counts / np.sqrt(np.maximum(typical, least))
    median = np.median(scaled, axis=0)
    reach = _CLIPPED * 1.4826 * np.median(np.abs(scaled - median), axis=0) + 1e-9
    return np.clip(scaled, median - reach, median + reach)


def _electron(counts):
    """Estimate roughly what an electron counts, from how neighbouring channels differ."""
    squared = (np.diff(counts, 3, axis=-1) ** 2).mean(0) / 20
    return np.median(squared) / max(np.abs(counts).mean(), np.finfo(float).tiny)


def _shapes(scaled, known):
    """Find the numbers by which spectra differ, orthonormal, shape (n_spectra, n_shapes)."""
    n_spectra, n = len(scaled), scaled.shape[-1] // _SHAPES_BIN
    binned = scaled[:, : n * _SHAPES_BIN].reshape(n_spectra, n, _SHAPES_BIN).sum(-1)
    binned = binned - known @ (known.T @ binned)
    found, size, _ = np.linalg.svd(binned, full_matrices=False)
    # Those of no size are any numbers, and may be the known ones once more.
    n_found = (size > _ROUNDING * size.max(initial=0.0)).sum()
    n_shapes = min(_MOST_SHAPES, n_spectra // _SPECTRA_PER_SHAPE) - known.shape[-1]
    n_shapes = min(n_shapes, n_found)
    return np.concatenate([known, found[:, : max(n_shapes, 0)]], axis=-1)


def classes_of(values, n):
    """Sort the indices of values into classes of equal size, in ascending order.

    Values that differ by rounding alone are equal, and stay in their order: whole counts are, in any units.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
    n : int
        Classes.

    Returns
    -------
    list of ndarray of int

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.sums import classes_of
    >>> classes_of(np.array([0.3, 7.0, 0.1 + 0.2, 0.3, 0.1, 8.0]), 3)
    [array([4, 0]), array([2, 3]), array([1, 5])]
    """
    unit = _ROUNDING * np.abs(values).max(initial=0.0) or 1.0
    # Whole numbers with the place behind: all differ, and those are sorted fastest.
    place = np.arange(values.size)
    bits = int(values.size).bit_length()
    keys = np.sort((np.round(values / unit).astype(np.int64) << bits) | place)
    return np.array_split(keys & ((1 << bits) - 1), n)


def scatter_of_sums(left, level, used):
    """Measure how sums of channels scatter, in classes of equal length and level.

    Third differences of neighbouring sums, fourth ones of few spectra, remove what is smooth.

    Parameters
    ----------
    left : ndarray of shape (n_spectra, n_energy)
        Counts, or what :func:`deviations` leaves of them.
    level : ndarray of shape (n_spectra, n_energy)
        Expected counts.
    used : ndarray of bool of shape (n_spectra, n_energy)
        Channels to look at.

    Returns
    -------
    ScatterOfSums
    """
    few = len(left) < FEW_SPECTRA
    order = _ORDER_OF_FEW if few else _ORDER
    n_parts = _N_PARTS_OF_FEW if few else _N_PARTS
    classes = []
    for length in _LENGTHS_OF_FEW if few else _LENGTHS:
        for first in sorted({0, length // 2}):
            sums = _Sums(length, first, order)
            classes += sums.classes(left, level, used, n_parts)
    # Where electrons are so rare that all were taken for spikes nothing scatters, and nothing is known.
    classes = [one for one in classes if one[2] > 0]
    length, levels, squared, size = np.reshape(classes, (-1, 4)).T
    # Differences share their sums with their neighbours, sums half a length apart their channels.
    error = np.sqrt(2 * np.where(length > 1, 4, 3) / np.maximum(size, 1) + _ACCURACY**2)
    level = np.clip(levels, 0, None)
    return ScatterOfSums(length=length, level=level, squared=squared, error=error, order=order)


@dataclass(frozen=True)
class _Sums:
    """Sums of some channels, and their differences.

    Attributes
    ----------
    length : int
        Channels in a sum.
    first : int
        First channel of the first sum.
    order : int
        Order of the differences.
    """

    length: int
    first: int
    order: int

    def classes(self, left, level, used, n_parts):
        """Collect length, level, mean square and number of differences, part by part."""
        if left.shape[-1] - self.first < 2 * (self.order + 1) * self.length:
            return []
        squared = np.diff(self.of(left), self.order, axis=-1) ** 2 / _weight(self.order)
        # Each sum counts as often as its noise does: beside narrow peaks they differ by much.
        held = self.running(level, [c**2 / _weight(self.order) for c in _signs(self.order)])
        around = uniform_filter1d(held, _AROUND, axis=-1)
        whole = self._all_used(used)
        n, found = squared.shape[-1], []
        held /= self.length
        for part in _parts(n, max(min(n_parts, n // 8), 1)):
            inside = whole[:, part]
            found += self._levels(*(values[:, part][inside] for values in (squared, held, around)))
        return found

    def _all_used(self, used):
        """Tell which differences take used channels alone."""
        n = (used.shape[-1] - self.first) // self.length
        cut = used[:, self.first : self.first + n * self.length]
        sums = reduce(
            np.logical_and, (cut[:, start :: self.length] for start in range(self.length))
        )
        n -= self.order
        return reduce(np.logical_and, (sums[:, k : k + n] for k in range(self.order + 1)))

    def _levels(self, squared, level, around):
        """Average where about as much is around, unless there is too little."""
        if squared.size < _FEWEST:
            return []
        n_levels = _N_LEVELS if squared.size > _FEWEST_IN_LEVELS else 1
        return [
            (self.length, level[chosen].mean(), squared[chosen].mean(), chosen.size)
            for chosen in classes_of(around, n_levels)
        ]

    def of(self, values):
        """Compute the sums."""
        n = (values.shape[-1] - self.first) // self.length
        cut = values[:, self.first : self.first + n * self.length]
        return sum(cut[:, start :: self.length] for start in range(self.length))

    def running(self, values, factors):
        """Add up the sums that a difference takes, times some factors."""
        sums = self.of(values)
        n = sums.shape[-1] - self.order
        return sum(factor * sums[:, first : first + n] for first, factor in enumerate(factors))


def _parts(n_channels, n):
    """Cut channels into parts of nearly equal length, as slices."""
    ends = np.cumsum([part.size for part in np.array_split(np.arange(n_channels), n)])
    return [slice(first, last) for first, last in pairwise([0, *ends.tolist()])]


def _signs(order):
    """List the coefficients of a difference."""
    return [(-1) ** i * comb(order, i) for i in range(order + 1)]


def _weight(order):
    """Add up the squares of the coefficients of a difference."""
    return comb(2 * order, order)


def fit_correlation(scatter):
    """Fit gain, read-out noise and correlation to the scatter of sums.

    The covariance of the electrons' noise falls with the distance of the channels and ends after
    as few as are significant, and one more.

    Parameters
    ----------
    scatter : ScatterOfSums

    Returns
    -------
    FittedNoise or None
        None where no correlation is significant.

    Examples
    --------
    Third differences of single channels and of pairs, the noise of neighbours being correlated.

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.sums import fit_correlation, scatter_of_sums
    >>> level = np.tile(np.linspace(100, 1e4, 900), (300, 1))
    >>> noise = 2 * (np.random.default_rng(0).poisson(level / 2) - level / 2)
    >>> spread = 0.6 * noise + 0.2 * (np.roll(noise, 1, -1) + np.roll(noise, -1, -1))
    >>> found = fit_correlation(scatter_of_sums(spread, level, level > 110))
    >>> round(found.gain), [round(value, 2) for value in found.correlation[:2]]
    (2, [0.44, 0.24])
    """
    if not scatter.squared.size or not scatter.squared.max() > 0:
        return None
    weights = _weights_of(scatter)
    white, misfit = _fit(_stacked(weights[:, 0], scatter.level * weights[:, 0]), scatter)
    found = _fit_lags(weights, scatter, misfit)
    narrow = _fit_narrow(weights, scatter)
    # Free covariances of what has none add up to more than the gain: a spread into the next channels has one share alone.
    if narrow.misfit < found.misfit + _SIGNIFICANT_LAG * (found.covariance.size - 2):
        found = narrow
    if not misfit - found.misfit > max(_SIGNIFICANT, _SIGNIFICANT_SHARE * found.misfit):
        return None
    # Where nothing describes the scatter it is that of structure, unless most of it is described.
    if found.misfit > max(_DESCRIBED * scatter.squared.size, misfit / _MOSTLY):
        return None
    covariance, offset = found.covariance, found.solution[0]
    gain = covariance[0] + 2 * covariance[1:].sum()
    if not 1 - covariance[0] / max(gain, 1e-300) > _LEAST_CORRELATION:
        return None
    # Under read-out noise the electrons' own shows too little to tell how it is correlated.
    if not covariance[0] * np.quantile(scatter.level, _BRIGHT) > _STANDS_OUT * offset:
        return None
    correlation = np.trim_zeros(covariance / gain, "b")
    # A point spread ends within the lags: what does not is structure that spectra do not share.
    if correlation[-1] > _ENDS_AT * correlation[0] and correlation.size > scatter.most_lags:
        return None
    return FittedNoise(
        gain=float(gain),
        readout=float(np.sqrt(offset)),
        correlation=tuple(correlation.tolist()),
        gain_error=_error_of(found.factors, found.design, scatter, found.solution),
    )


class _Fitted(NamedTuple):
    """Contributions to the scatter of sums.

    Attributes
    ----------
    design : ndarray of shape (n, n_contributions)
    solution : ndarray of shape (n_contributions,)
        The first is the square of the read-out noise.
    misfit : float
    covariance : ndarray of shape (1 + n_lags,)
        Of the electrons' noise between channels 0, 1, 2, ... apart, over their level.
    factors : ndarray of shape (n_contributions,)
        By how much each contribution moves the gain.
    """

    design: np.ndarray
    solution: np.ndarray
    misfit: float
    covariance: np.ndarray
    factors: np.ndarray


def _fit_lags(weights, scatter, misfit):
    """Fit covariances that fall with the distance, of as few lags as are significant, and one more.

    ``misfit`` is that without any.
    """
    # No covariance is larger than that of channels that are closer.
    design = _stacked(weights[:, 0], *(scatter.level[:, None] * np.cumsum(weights, axis=-1)).T)
    solutions, n_lags = [], 0
    for lag in range(1, scatter.most_lags + 1):
        solutions.append(_fit(design[:, : lag + 2], scatter))
        if solutions[-1][1] < misfit - _SIGNIFICANT_LAG * (lag - n_lags):
            misfit, n_lags = solutions[-1][1], lag
    solution = solutions[min(n_lags + 1, scatter.most_lags) - 1][0]
    return _Fitted(
        design=design[:, : solution.size],
        solution=solution,
        misfit=misfit,
        covariance=np.cumsum(solution[:0:-1])[::-1],
        # The gain is the sum of all covariances: each step of them counts for channels on both sides.
        factors=np.append(0.0, 1.0 + 2.0 * np.arange(solution.size - 1)),
    )


def _fit_narrow(weights, scatter):
    """Fit a spread of electrons that leaves one share to each of the next channels."""
    weights, level = weights[:, :3], scatter.level

    def fit(share):
        """Fit gain and read-out noise behind some spread."""
        return _fit(_stacked(weights[:, 0], level * (weights @ _of_share(share))), scatter)

    share = minimize_scalar(
        lambda share: fit(share)[1],
        bounds=(0.0, _MOST_SHARE),
        method="bounded",
        options={"xatol": _SHARE_ACCURACY},
    ).x
    (offset, gain), misfit = fit(share)
    slope = np.array([12 * share - 4, 2 - 8 * share, 2 * share])
    correlation = _of_share(share)
    columns = (weights[:, 0], level * (weights @ correlation), gain * level * (weights @ slope))
    return _Fitted(
        design=_stacked(*columns),
        solution=np.array([offset, gain, 0.0]),
        misfit=misfit,
        covariance=gain * correlation,
        factors=np.array([0.0, _CHANNELS_SHARED, 0.0]),
    )


def _of_share(share):
    """Compute the correlation of the noise of electrons that leave a share to each of the next channels."""
    return np.array([1 - 4 * share + 6 * share**2, 2 * share * (1 - 2 * share), share**2])


def _stacked(*columns):
    """Put contributions side by side."""
    return np.stack(columns, axis=-1)


def _weights_of(scatter):
    """Compute how often each covariance occurs in sums, shape (n, 1 + most_lags)."""
    lengths = scatter.length.astype(int)
    return np.array([_weights(length, scatter.order, scatter.most_lags) for length in lengths])


@cache
def _weights(length, order, n_lags):
    """Compute how often each covariance occurs in the difference of sums."""
    taken = np.repeat(np.array(_signs(order), float), length)
    weights = np.correlate(taken, taken, "full")[taken.size - 1 :] / _weight(order)
    weights = np.pad(weights, (0, n_lags + 1))[: n_lags + 1]
    return weights * np.where(np.arange(n_lags + 1) > 0, 2, 1)


def _fit(design, scatter):
    """Fit contributions of at least 0, in which outliers count little; solution and misfit."""
    squared, error = scatter.squared, scatter.error
    least = _LEAST_FITTED * squared.max()
    fitted, weight = np.maximum(squared, least), np.ones(squared.size)
    for _ in range(_N_ROUNDS):
        scale = np.sqrt(weight) / (error * fitted)
        scaled = design * scale[:, None]
        norm = np.linalg.norm(scaled, axis=0)
        norm[norm == 0] = 1.0
        solution = nnls(scaled / norm, squared * scale)[0] / norm
        fitted = np.maximum(design @ solution, least)
        deviation = (squared / fitted - 1) / error / _OUTLYING
        deviation[deviation > 0] *= _STRUCTURE
        weight = 1 / (1 + deviation**2)
    return solution, _OUTLYING**2 * np.log1p(deviation**2).sum()


def _error_of(factors, design, scatter, solution):
    """Compute the standard error of a sum of contributions with some factors, all being fitted."""
    fitted = np.maximum(design @ solution, _LEAST_FITTED * scatter.squared.max())
    scaled = design / (scatter.error * fitted)[:, None]
    return float(np.linalg.norm(np.linalg.pinv(scaled).T @ factors))
