# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences that hold noise alone, and the counts that it is the noise of.

Third differences of neighbouring channels remove what is smooth. The core of the peak is not: there, the
few shapes by which spectra differ are taken off, as found in the other half of the spectra. A straight line through mean
squares and mean counts tells gain and read-out noise. Classes are formed by what is around a channel and in other
spectra: had channels been chosen for their own counts, the mean of these would not be what was expected of them.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.optimize import nnls

#: Classes of equal level, at most, whose scatter a line is fitted to.
N_LEVELS = 24
#: The same within the core, which is followed up to where it shows more than noise.
_N_LEVELS_OF_CORE = 8
#: Fewest differences in a class.
_FEWEST = 20
#: Coefficients of the third difference of four channels, of unit variance.
_COEFFICIENTS = np.array([-1.0, 3.0, -3.0, 1.0]) / np.sqrt(20)
#: Channels around a difference that tell how much a spectrum holds there.
_AROUND = 33
#: Columns that hold less than this fraction of the mean tell no share.
_LEAST_HELD = 1e-3
#: Shapes by which the cores of peaks differ: after seven of them, peaks of 4 channels that drift by one are left with
#: noise to a tenth, whose height is 30 000 electrons; peaks that only widen need three.
_N_SHAPES = 7
#: Channels that vary by more than this many times the read-out noise, squared, differ between spectra.
_DIFFER = 2.0
#: Spectra for each shape.
_SPECTRA_PER_SHAPE = 8
#: Channels whose noise is less than this part of the largest weigh no more.
_LEAST_VARIANCE = 1e-3
#: Channels of which shapes leave less than this part tell nothing.
_LEAST_LEFT = 0.15
#: Shapes smaller than this are none; its inverse squared is finite.
_LEAST_SIZE = 1e-150
#: Differences share channels and spectra with their neighbours: mean squares of them vary as those of so
#: many times fewer independent ones.
_SQUARES_SHARED = 3.5
#: Levels of neighbouring differences share channels: means of them vary as those of so many times fewer.
_LEVELS_SHARED = 1 / (_COEFFICIENTS**4).sum()
#: Classes whose levels differ by less than so many times their own noise, squared, tell no slope.
_APART = 3.0
#: Quantile of squares that few spikes do not move, ...
_HIGH = 0.9
#: ... of the square of a normal number.
_HIGH_SQUARE = 2.706
#: Differences beyond this many standard deviations, ...
_FAR_OFF = 6.0
#: ... and as many electrons, are no noise.
_ELECTRONS_OFF = 3.0
#: Classes of the core that exceed the line by more than this many standard errors hold structure.
_STRUCTURE = 3.0
#: Fewest classes of the core that agree with others before it tells the gain alone.
_FEWEST_THAT_AGREE = 2
#: The core moves the gain by as many of its standard errors by chance.
_BY_CHANCE = 2.0
#: Mean squares are those of noise to this fraction at best.
_ACCURACY = 0.02
#: Rounds of weighting, and of clipping what is no noise, by the fit itself, ...
_N_ROUNDS = 8
#: ... of which in the last ones it is left out.
_N_ROUNDS_WITHOUT = 3
#: Rounds in which the core is weighted by the noise that it shows.
_N_ROUNDS_OF_CORE = 2
#: Expected counts that differ by less than this part of the largest are equal.
_ALIKE = 1e-10
#: Levels that differ by less than this part of them, squared, are equal.
_ROUNDING = 1e-12


class Differences(NamedTuple):
    """Squared differences, and what they are the noise of.

    Attributes
    ----------
    squared : ndarray
        Their mean is the variance of a channel that holds ``level``.
    level : ndarray
        Counts of such a channel.
    expected : ndarray
        About as much, from other channels and spectra: by it differences may be sorted.
    """

    squared: np.ndarray
    level: np.ndarray
    expected: np.ndarray

    def where(self, chosen):
        """Select some.

        Parameters
        ----------
        chosen : ndarray of bool

        Returns
        -------
        Differences
        """
        return Differences(*(values[chosen] for values in self))


def of_channels(left, level, counts):
    """Compute third differences of neighbouring channels.

    Parameters
    ----------
    left : ndarray of shape (n_spectra, n_energy)
        Counts, or what they do not share with other spectra.
    level : ndarray of shape (n_spectra, n_energy)
        Expected counts, whose noise that is.
    counts : ndarray of shape (n_spectra, n_energy)

    Returns
    -------
    Differences
        Of shape (n_spectra, n_energy - 3).

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.differences import of_channels
    >>> counts = np.random.default_rng(0).poisson(np.linspace(100.0, 200.0, 500), (20, 500))
    >>> found = of_channels(counts, counts, counts)
    >>> bool(abs(found.squared.mean() / found.level.mean() - 1) < 0.05)
    True
    """
    n = counts.shape[-1] - 3
    start = range(4)
    bent = sum(c * left[:, k : k + n] for k, c in zip(start, _COEFFICIENTS, strict=True))
    held = sum(c**2 * level[:, k : k + n] for k, c in zip(start, _COEFFICIENTS, strict=True))
    own = sum(counts[:, k : k + n] for k in start)
    around = _AROUND * uniform_filter1d(counts, _AROUND, axis=-1, mode="nearest")[:, 1:-2] - own
    around = np.clip(around, 0, None)
    if len(counts) == 1:
        return Differences(bent**2, held, around)
    # Channels hold the same share of what is around them as they do in the other spectra.
    least = _LEAST_HELD * around.sum(0).mean() or 1.0
    share = np.clip(own.sum(0) - own, 0, None) + least
    share /= around.sum(0) - around + least
    return Differences(bent**2, held, around * share)


def of_shapes(counts, gain, readout, known=True):
    """Compute what the shapes that spectra share leave of their channels.

    Those of the one half of the spectra are principal components of the other half: none of a spectrum's own noise is in them.
    What is left of a channel holds known parts of the noise of all channels.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Of the core of the peaks.
    gain, readout : float
        About the noise, by which channels are weighted.
    known : bool
        They are no mere weights: scores of noise alone are known.

    Returns
    -------
    Differences
        Of the same shape; not a number where next to nothing is left.

    Examples
    --------
    Peaks that move by a tenth of their width, of 10 000 electrons:

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.differences import of_shapes
    >>> rng = np.random.default_rng(0)
    >>> u = (np.arange(-12, 13) - 0.4 * rng.standard_normal((100, 1))) / 4
    >>> found = of_shapes(2.0 * rng.poisson(1e4 * np.exp(-2.77 * u**2)), gain=1.0, readout=1.0)
    >>> known = np.isfinite(found.squared) & (found.expected > 100)
    >>> bool(abs(found.squared[known].mean() / found.level[known].mean() - 2) < 0.2)
    True
    """
    variance = gain * np.clip(counts.mean(0), 0, None) + readout**2
    sigma = np.sqrt(np.maximum(variance, _LEAST_VARIANCE * variance.max(initial=0.0)))
    sigma[sigma == 0] = 1.0
    scaled = counts / sigma
    height = np.clip(scaled.sum(-1), 0, None)
    # Shapes of all channels that differ leave nothing of them.
    n_differ = (counts.var(0) > _DIFFER * readout**2).sum()
    n_shapes = min(_N_SHAPES, len(counts) // _SPECTRA_PER_SHAPE, n_differ // 2)
    squared, level, expected = (np.empty(counts.shape) for _ in range(3))
    # Neighbours stay together: copies of one spectrum would lend each other their noise.
    first = np.arange(len(counts)) // 2 % 2 == 0
    for half, other in ((first, ~first), (~first, first)):
        _, size, shapes = np.linalg.svd(scaled[other], full_matrices=False)
        size, shapes = np.maximum(size[:n_shapes], _LEAST_SIZE), shapes[:n_shapes]
        taken = np.eye(sigma.size) - shapes.T @ shapes
        parts = (taken * sigma[:, None] / sigma) ** 2
        left = np.where(np.diag(taken) > _LEAST_LEFT, parts.sum(-1), np.nan)
        # The shapes have noise of their own, more so those of few spectra. Scores are in standard deviations: by
        # chance their square is 1, or what it is in the spectra of the shapes.
        score = scaled[half] @ shapes.T
        by_chance = np.minimum(1 / size**2, 1 / other.sum()) if known else 0.0
        noisy = 1 + ((score / size) ** 2 - by_chance).sum(-1, keepdims=True)
        squared[half] = (scaled[half] @ taken * sigma) ** 2 / (noisy * left)
        level[half] = counts[half] @ parts.T / left
        usual = counts[other].mean(0) / (height[other].mean() or 1.0)
        expected[half] = np.outer(height[half], parts @ usual / left)
    return Differences(squared, level, expected)


def all_of(used):
    """Tell which third differences are of channels that are all used.

    Parameters
    ----------
    used : ndarray of bool of shape (n_spectra, n_energy)

    Returns
    -------
    ndarray of bool of shape (n_spectra, n_energy - 3)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.differences import all_of
    >>> all_of(np.array([[True, True, True, True, False]]))
    array([[ True, False]])
    """
    return used[:, :-3] & used[:, 1:-2] & used[:, 2:-1] & used[:, 3:]


class Line(NamedTuple):
    """Line through variances over levels.

    Attributes
    ----------
    gain : float
        Its slope.
    readout : float
        The root of its offset.
    gain_error : float
        Standard error of the slope; infinite where nothing tells it.
    """

    gain: float
    readout: float
    gain_error: float

    def variance(self, level):
        """Compute the variance of channels.

        Parameters
        ----------
        level : float or ndarray
            Counts expected; negative ones count as none.

        Returns
        -------
        float or ndarray
        """
        return self.gain * np.clip(level, 0, None) + self.readout**2


class _Class:
    """Differences where about as much is expected."""

    def __init__(self, squared, level):
        order = np.argsort(squared)
        self.squared = squared[order]
        self.level = level.mean()
        self.level_variance = _LEVELS_SHARED * level.var() / level.size
        self._sums = np.append(0.0, np.cumsum(self.squared))
        self._levels = np.append(0.0, np.cumsum(level[order]))

    def high(self):
        """Find the variance of normal noise with the same high quantile."""
        return self.squared[int(_HIGH * self.squared.size)] / _HIGH_SQUARE

    def mean_square(self, farthest=np.inf):
        """Average the squares, none counting for more than the farthest."""
        n = self.squared.searchsorted(farthest, side="right")
        beyond = self.squared.size - n
        return (self._sums[n] + (beyond * farthest if beyond else 0.0)) / self.squared.size

    def inside(self, farthest):
        """Average levels, and squares, of those that are no larger than the farthest."""
        n = self.squared.searchsorted(farthest, side="right")
        return self._levels[n] / max(n, 1), self._sums[n] / max(n, 1)


class Beside:
    """Differences beside the peak, without structure but for spikes: sorted once, whatever is fitted to them.

    Parameters
    ----------
    found : Differences
    """

    def __init__(self, found):
        self.found = found

    @cached_property
    def _of_levels(self):
        """Classes of equal level."""
        return _classes(self.found, N_LEVELS)

    @cached_property
    def line(self):
        """Line through all classes of equal level, a :class:`Line`; None where nothing scatters."""
        return _line(self._of_levels)

    @cached_property
    def classes(self):
        """Classes of equal level; those whose levels differ by their noise alone, all in one."""
        alike = self.line is not None and not _is_known(self.line)
        return _classes(self.found, 1) if alike else self._of_levels

    @cached_property
    def line_of_classes(self):
        """Line through :attr:`classes`, a :class:`Line`; None where nothing scatters."""
        return self.line if self.classes is self._of_levels else _line(self.classes)


def fit_with_core(beside, core):
    """Fit a line to differences beside the peak, and to those within it as far as these show no more than noise.

    Parameters
    ----------
    beside : Beside
    core : Differences

    Returns
    -------
    Line or None
        None where nothing scatters. How far the core moves the gain is part of its error. Where all that is
        known of the gain is how large it may be, that is its error.
    """
    return _join(beside, core)


def _join(beside, core):
    """Join classes of the core, as long as they are noise, to the line through others."""
    first = beside.line_of_classes
    classes, fitted, structure, known = list(beside.classes), first, [], []
    of_core = _classes(core, _N_LEVELS_OF_CORE)
    for one in of_core:
        if structure or not _is_noise(one, fitted):
            structure.append(one)
            continue
        classes.append(one)
        fitted = _line(classes, fitted) or fitted
        known += [fitted] if _is_known(fitted) else []
    if fitted is None:
        return None
    bounds = [
        (one.mean_square() - fitted.readout**2) / one.level for one in structure if one.level > 0
    ]
    bound = min(bounds, default=np.inf)
    if not np.isfinite(fitted.gain_error):
        # One level: all of its variance may be that of electrons.
        level = max(one.level for one in classes)
        most = fitted.variance(level) / level if level > 0 else fitted.readout
        return fitted._replace(gain_error=float(max(most, fitted.gain)))
    if fitted.gain_error > fitted.gain and np.isfinite(bound):
        gain = float(max(fitted.gain, bound))
        return fitted._replace(gain=gain, gain_error=max(gain, fitted.gain_error))
    if not _is_known(first):
        return _of_core_alone(known, of_core)
    # By chance it moves by the error that it had.
    moved = max(abs(fitted.gain - first.gain) - _BY_CHANCE * first.gain_error, 0.0)
    return fitted._replace(gain_error=float(np.hypot(fitted.gain_error, moved)))


def _is_known(fitted):
    """Tell whether a line tells the gain."""
    return fitted is not None and np.isfinite(fitted.gain_error)


def _of_core_alone(lines, classes):
    """Doubt the last of the lines through more and more classes of the core.

    Structure only adds to what a class shows: none shows less than the noise of its electrons, and
    the brighter ones do not raise the gain.
    """
    fitted = lines[-1]
    gain = fitted.gain
    risen = max(gain - lines[len(lines) // 2].gain, 0.0)
    gain_error = float(np.hypot(fitted.gain_error, risen))
    for one in classes:
        square = one.mean_square()
        if one.level > 0 and square > 0:
            shown = square / one.level
            error = _relative_error(shown, one.level, square, one.squared.size)
            gain = min(gain, float(shown * (1 + _STRUCTURE * error)))
    if gain < fitted.gain:
        gain_error = gain
    elif len(lines) <= _FEWEST_THAT_AGREE:
        gain_error = max(gain, gain_error)
    return fitted._replace(gain=gain, gain_error=gain_error)


def fit_core(beside, counts, used):
    """Fit gain and read-out noise to differences beside the peak, and to what shapes leave of its core.

    Parameters
    ----------
    beside : Beside
    counts : ndarray of shape (n_spectra, n_energy)
        Of the core.
    used : ndarray of bool of shape (n_spectra, n_energy)

    Returns
    -------
    Line or None
    """
    fitted = beside.line_of_classes
    for _ in range(_N_ROUNDS_OF_CORE):
        known = fitted is not None and max(fitted.gain - fitted.gain_error, fitted.readout) > 0
        gain, readout = (fitted.gain, fitted.readout) if known else (1.0, 0.0)
        core = of_shapes(counts, gain, readout, known)
        fitted = _join(beside, core.where(used & np.isfinite(core.squared)))
    return fitted


def _classes(found, n):
    """Sort differences by what is expected of them."""
    if not found.squared.size:
        return []
    order = _in_order(found.expected)
    parts = np.array_split(order, min(n, max(order.size // _FEWEST, 1)))
    return [_Class(found.squared[part], found.level[part]) for part in parts]


def _in_order(expected):
    """Find the order of expected counts; those that differ by rounding alone are equal, in any units.

    Whole numbers with the place behind are sorted several times faster than numbers whose order must be kept.
    """
    unit = _ALIKE * np.abs(expected).max() or 1.0
    bits = int(expected.size).bit_length()
    keys = np.round(expected / unit).astype(np.int64) << bits
    return np.sort(keys | np.arange(expected.size)) & ((1 << bits) - 1)


def _is_noise(one, fitted):
    """Tell whether a class shows no more than noise, as far as that is known."""
    if not _is_known(fitted):
        return True
    expected = fitted.variance(one.level)
    by_chance = _relative_error(fitted.gain, one.level, expected, one.squared.size) * expected
    unknown = np.hypot(by_chance, fitted.gain_error * one.level)
    return one.mean_square() < expected + _STRUCTURE * unknown


def _relative_error(gain, level, variance, n):
    """Compute the relative error of a mean square: that of normal noise, and of a number of electrons."""
    variance = np.maximum(variance, max(_ROUNDING * gain**2, np.finfo(float).tiny))
    electrons = gain * np.clip(level, 0, None) / variance * (gain / variance * gain)
    return np.sqrt((2 * _SQUARES_SHARED + np.minimum(electrons, n)) / n + _ACCURACY**2)


def _line(classes, before=None):
    """Fit a line to mean squares over levels; what is far off it is no noise and counts for no more.

    ``before`` is the line through most of them.
    """
    x = np.array([one.level for one in classes])
    y = np.array([one.mean_square() for one in classes])
    n = np.array([one.squared.size for one in classes])
    noise = np.array([one.level_variance for one in classes])
    if not y.max(initial=0.0) > 0:
        return None
    if before is None:
        gain, offset = _robust_start(classes, x, y)
    else:
        gain, offset = before.gain, before.readout**2
    for n_left in reversed(range(_N_ROUNDS)):
        farthest = _farthest(x, gain, offset)
        pairs = list(zip(classes, farthest**2, strict=True))
        if n_left < _N_ROUNDS_WITHOUT:
            x, y = np.array([one.inside(far) for one, far in pairs]).T
        else:
            y = np.array([one.mean_square(far) for one, far in pairs])
        if not y.max() > 0:
            # All that differed is too far off to be noise.
            return None
        variance = np.maximum(gain * x + offset, 1e-6 * y.max())
        error = _relative_error(gain, x, variance, n) * variance
        gain, offset = _non_negative(x, y, 1 / error)
    return Line(float(gain), float(np.sqrt(offset)), _error_of_slope(x, 1 / error, noise))


def _robust_start(classes, x, y):
    """Fit a line to quantiles that spikes do not move; where these hold no electron, to means."""
    high = np.array([one.high() for one in classes])
    return non_negative_line(x, np.where(high > 0, np.minimum(high, y), y))


def _farthest(level, gain, offset):
    """Compute how far off noise may be."""
    return _FAR_OFF * np.sqrt(np.maximum(gain * level + offset, 0.0)) + _ELECTRONS_OFF * gain


def non_negative_line(x, y):
    """Fit ``y = gain * x + offset`` with relative errors on ``y``, both at least 0.

    Parameters
    ----------
    x, y : ndarray of shape (n,)

    Returns
    -------
    gain, offset : float

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.differences import non_negative_line
    >>> x = np.linspace(0.0, 10.0, 20)
    >>> np.round(non_negative_line(x, 2 * x + 3), 6)
    array([2., 3.])
    """
    if not y.max(initial=0.0) > 0:
        return 0.0, 0.0
    least = 1e-6 * y.max()
    positive = x > 0
    typical = np.median(y[positive] / x[positive]) if positive.any() else 0.0
    fitted = np.maximum(typical * np.clip(x, 0, None), max(y.min(), least))
    gain = offset = 0.0
    for _ in range(20):
        # No class counts for more than twice what is expected of it: one may hold an edge.
        gain, offset = _non_negative(np.clip(x, 0, None), y, 1 / np.maximum(fitted, y / 2))
        fitted = np.maximum(gain * np.clip(x, 0, None) + offset, least)
    return gain, offset


def _non_negative(x, y, scale):
    """Fit ``y = gain * x + offset``, both at least 0, to values of some accuracy."""
    design = np.stack([x, np.ones_like(x)], axis=-1) * scale[:, None]
    norm = np.linalg.norm(design, axis=0)
    norm[norm == 0] = 1.0
    return nnls(design / norm, y * scale)[0] / norm


def _error_of_slope(x, scale, noise):
    """Compute the standard error of the slope of a line; infinite where values differ by their noise alone."""
    weight = scale**2
    information = (weight * (x - (weight * x).sum() / weight.sum()) ** 2).sum()
    information -= _APART * (weight * noise).sum()
    return float(information**-0.5) if information > _ROUNDING * (weight * x**2).sum() else np.inf
