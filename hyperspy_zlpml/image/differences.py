# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences of channels and of spectra, which hold noise alone, and the counts that it is the noise of.

Third differences of neighbouring channels remove what is smooth, those of neighbouring spectra what these share:
the core of the peak, and patterns of the detector. A straight line through mean squares and mean counts
tells gain and read-out noise. No mean leans on the counts that it is of: classes are formed by what is around a channel, for
of channels that were chosen for their counts these are no measure of what was expected.
"""

from dataclasses import dataclass
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
#: Channels around a difference that tell how much two spectra hold there.
_AROUND = 33
#: Columns that hold less than this fraction of the mean tell no shape.
_LEAST_HELD = 1e-3
#: Differences share channels and spectra with their neighbours: mean squares of them vary as those of so
#: many times fewer independent ones.
_SQUARES_SHARED = 3.5
#: Differences beyond this many standard deviations, ...
_FAR_OFF = 6.0
#: ... and as many electrons, are no noise.
_ELECTRONS_OFF = 3.0
#: Classes of the core that exceed the line by more than this many standard errors hold structure.
_STRUCTURE = 3.0
#: Mean squares are those of noise to this fraction at best.
_ACCURACY = 0.02
#: Rounds of weighting, and of leaving out what is no noise, by the fit itself.
_N_ROUNDS = 8
#: Pairs that exceed what is expected by this factor more than most do hold an odd spectrum: those of five electrons
#: do not by chance.
_ODD = 8.0
#: Expected counts that differ by less than this part of the largest are equal.
_ALIKE = 1e-10
#: Levels that differ by less than this part of them, squared, are equal.
_ROUNDING = 1e-12


class Differences(NamedTuple):
    """Squared differences, and what they are the noise of.

    Attributes
    ----------
    squared : ndarray of shape (n, n_energy - 3)
        Their mean is the variance of a channel that holds ``level``.
    level : ndarray of shape (n, n_energy - 3)
        Mean counts of the channels, weighted as in the difference.
    expected : ndarray of shape (n, n_energy - 3)
        About as much, from other channels and spectra: by it differences may be sorted.
    """

    squared: np.ndarray
    level: np.ndarray
    expected: np.ndarray


def differences(counts, core):
    """Compute third differences of neighbouring channels, and of neighbouring spectra where there are several.

    Two spectra are weighted by what both hold: in the core of the peak, and around the channels but for
    these, for noise that decides on its own weight is biased.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    core : ndarray of bool of shape (n_spectra, n_energy)
        Channels of the core of the peak.

    Returns
    -------
    Differences
        One row for each pair of neighbours; of a single spectrum one row.

    Examples
    --------
    Spectra that differ in intensity alone differ by noise alone:

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.differences import differences
    >>> u = np.arange(-100, 100) / 6
    >>> counts = np.array([[1.0], [2.0], [1.5]]) * 1e6 / (1 + u**2)
    >>> found = differences(counts, np.tile(np.abs(u) < 1, (3, 1)))
    >>> bool(found.squared.max() < 1e-9 * found.level.max())
    True
    """
    n = counts.shape[-1] - 3
    parts = [counts[:, first : first + n] for first in range(4)]
    bent = sum(c * part for c, part in zip(_COEFFICIENTS, parts, strict=True))
    level = sum(c**2 * part for c, part in zip(_COEFFICIENTS, parts, strict=True))
    own = sum(parts)
    around = _AROUND * uniform_filter1d(counts, _AROUND, axis=-1, mode="nearest")[:, 1:-2] - own
    if len(counts) == 1:
        return Differences(bent**2, level, around)
    height = np.clip(np.where(core, counts, 0.0).sum(-1), 0, None)
    # As much as all spectra hold for the height of theirs.
    share = np.maximum(np.maximum(around.sum(0), own.sum(0)), 0.0) / (height.sum() or 1.0)
    held = np.clip(around, 0, None) + np.outer(height, share)
    first, second = _weights(held[1:], held[:-1])
    return Differences(
        squared=(first * bent[:-1] - second * bent[1:]) ** 2,
        level=first**2 * level[:-1] + second**2 * level[1:],
        expected=(first**2 * held[:-1] + second**2 * held[1:]) * _shape(level, held),
    )


def _weights(first, second):
    """Scale weights to a sum of squares of 1; those of two zeros are equal."""
    norm = np.hypot(first, second)
    nothing = norm == 0
    norm[nothing] = 1.0
    return tuple(np.where(nothing, np.sqrt(0.5), one / norm) for one in (first, second))


def _shape(level, held):
    """Compute the counts of channels over those around them, from all spectra but the two of a pair."""
    others = [one.sum(0) - one[:-1] - one[1:] for one in (level, held)]
    least = _LEAST_HELD * held.sum(0).mean() or 1.0
    return (np.clip(others[0], 0, None) + least) / (np.clip(others[1], 0, None) + least)


def all_of(used, n_channels=4):
    """Tell which differences are of channels, and of spectra, that are all used.

    Parameters
    ----------
    used : ndarray of bool of shape (n_spectra, n_energy)
    n_channels : int
        Channels of a difference.

    Returns
    -------
    ndarray of bool
        As :func:`differences`.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.differences import all_of
    >>> all_of(np.array([[True, True, True, True, False], [True] * 5]))
    array([[ True, False]])
    """
    n = used.shape[-1] - n_channels + 1
    whole = np.all([used[:, first : first + n] for first in range(n_channels)], axis=0)
    return whole if len(used) == 1 else whole[:-1] & whole[1:]


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


@dataclass(frozen=True)
class _Class:
    """Differences where about as much is around."""

    squared: np.ndarray
    level: float

    def mean_square(self, farthest=np.inf):
        """Average the squares, none counting for more than the farthest."""
        return np.minimum(self.squared, farthest).mean()


def fit_differences(found, far, core):
    """Fit gain and read-out noise to squared differences.

    Parameters
    ----------
    found : Differences
    far : ndarray of bool
        Those to look at first.
    core : ndarray of bool
        Those to look at as far as they show no more than noise.

    Returns
    -------
    Line or None
        None where nothing scatters.
    """
    fitted = _fit(found, far, core)
    if fitted is None:
        return None
    usual = ~_odd(found, far | core, fitted)[:, None]
    return fitted if usual.all() else _fit(found, far & usual, core & usual)


def _odd(found, chosen, fitted):
    """Find pairs that differ by far more than others do: one of the two is no spectrum like the rest."""
    squared = np.where(chosen, found.squared, 0.0).sum(-1)
    electrons = np.where(chosen, np.clip(found.expected, 0, None), 0.0).sum(-1)
    variance = fitted.gain * electrons + fitted.readout**2 * chosen.sum(-1)
    ratio = np.divide(squared, variance, out=np.zeros_like(squared), where=variance > 0)
    typical = np.median(ratio)
    return (ratio > _ODD * typical) & (typical > 0)


def _fit(found, far, core):
    """Fit a line to all pairs."""
    classes = _classes(found, far, N_LEVELS)
    fitted = _line(classes)
    for one in _classes(found, core, _N_LEVELS_OF_CORE):
        if not _is_noise(one, fitted):
            break
        classes.append(one)
        fitted = _line(classes, fitted)
    return fitted


def _classes(found, chosen, n):
    """Sort differences by what is around them."""
    squared, level, expected = (values[chosen] for values in found)
    if not squared.size:
        return []
    # Sums that differ by rounding alone are equal, in any units.
    order = np.argsort(np.round(expected / (_ALIKE * expected.max() or 1.0)), kind="stable")
    parts = np.array_split(order, min(n, max(squared.size // _FEWEST, 1)))
    return [_Class(squared[part], level[part].mean()) for part in parts]


def _is_noise(one, fitted):
    """Tell whether a class shows no more than noise, as far as that is known."""
    if fitted is None or not np.isfinite(fitted.gain_error):
        return True
    expected = max(fitted.gain * one.level, 0.0) + fitted.readout**2
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
    if not y.max(initial=0.0) > 0:
        return None
    gain, offset = (0.0, y.mean()) if before is None else (before.gain, before.readout**2)
    least = 1e-6 * y.max()
    for _ in range(_N_ROUNDS):
        variance = np.maximum(gain * x + offset, least)
        error = _relative_error(gain, x, variance, n) * variance
        gain, offset = _non_negative(x, y, 1 / error)
        farthest = _FAR_OFF * np.sqrt(np.maximum(gain * x + offset, 0.0)) + _ELECTRONS_OFF * gain
        y = np.array([one.mean_square(far**2) for one, far in zip(classes, farthest, strict=True)])
    return Line(float(gain), float(np.sqrt(offset)), _error_of_slope(x, 1 / error))


def _non_negative(x, y, scale):
    """Fit ``y = gain * x + offset``, both at least 0, to values of some accuracy."""
    design = np.stack([x, np.ones_like(x)], axis=-1) * scale[:, None]
    norm = np.linalg.norm(design, axis=0)
    norm[norm == 0] = 1.0
    return nnls(design / norm, y * scale)[0] / norm


def _error_of_slope(x, scale):
    """Compute the standard error of the slope of a line; infinite where all values are at one place."""
    weight = scale**2
    information = (weight * (x - (weight * x).sum() / weight.sum()) ** 2).sum()
    return float(information**-0.5) if information > _ROUNDING * (weight * x**2).sum() else np.inf
