# SPDX-License-Identifier: GPL-3.0-or-later
"""Dark pattern of a detector: levels of channels that no electron reaches differ, and are the same in all spectra.

Cameras take the mean of some dark frames off every spectrum, and with it the noise that this mean has: what
is left differs from channel to channel by some tenths of the read-out noise, or by as much where one
frame was all, and the mean of no number of spectra loses it. It adds to the counts, however many they are; a pattern of
sensitivity grows with them (:mod:`~hyperspy_zlpml.registration.pattern`).

The detector blurs no dark level. All that electrons bring is as wide as the peak at least: in the
mean of many spectra, what changes faster along the channels than a peak can is the pattern, or noise, which two
halves of the spectra do not share.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.optimize import nnls
from scipy.signal import firwin

#: A peak has next to no part in frequencies above this, cycles per FWHM: a hundredth if it were a Lorentzian.
_FASTEST = 1.5
#: Half length of the filter that takes them off, FWHM, ...
_HALF_LENGTH = 2.0
#: ... and what it lets through, as the parameter of its window: less than 1e-4 of the core of a peak.
_WINDOW = ("kaiser", 9.0)
#: A filter that keeps less of a pattern than this shows none: peaks are too few channels wide.
_LEAST_KEPT = 0.05
#: Fewer spectra do not tell a pattern from their noise.
_FEWEST = 16
#: Fewer channels, in lengths of the filter, show nothing.
_FEWEST_LENGTHS = 4
#: Classes of channels by their level.
_N_CLASSES = 12
#: Products of the halves beyond this many times their median are those of bad channels.
_FAR_OFF = 25.0
#: A pattern exceeds so many standard errors.
_SIGNIFICANCE = 5.0
#: Electrons have this part in what the filter keeps, over the highest level within its reach.
_LEAK = 5e-4
#: What is less than this fraction of the counts is rounding.
_ROUNDING = 1e-9
#: Fewer channels with noise in a class do not tell its variance.
_FEWEST_IN_CLASS = 16
#: Noise is averaged over so many lengths of the filter.
_NOISE_LENGTHS = 4


@dataclass(frozen=True)
class DarkPattern:
    """Levels of channels about their mean, the same in all spectra.

    Attributes
    ----------
    levels : ndarray of shape (n_energy,)
        Counts, as far as they are known; a single zero where none stands out of the noise.
    rms : float
        Standard deviation of the levels, counts.
    unknown : float
        Standard deviation of what ``levels`` misses, counts.
    slow : float
        That of the part of it that neighbouring channels share: their differences do not show it.
    """

    levels: np.ndarray = field(default_factory=lambda: np.zeros(1))
    rms: float = 0.0
    unknown: float = 0.0
    slow: float = 0.0

    @property
    def note(self):
        """Words on it for the report."""
        return (
            f"channels differ by {self.rms:.3g} (rms), all spectra alike: taken off but for "
            f"{self.unknown:.3g}"
        )


def find_dark_pattern(counts, channels_per_fwhm):
    """Find the dark pattern in spectra of one detector.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        As measured, spikes bridged.
    channels_per_fwhm : float
        Width of the peaks.

    Returns
    -------
    DarkPattern

    Examples
    --------
    Levels that differ by 3 counts stand out of read-out noise of 10, in the mean of 400 spectra:

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.dark_pattern import find_dark_pattern
    >>> rng = np.random.default_rng(0)
    >>> levels = 3 * rng.standard_normal(1000)
    >>> noise = 10 * rng.standard_normal((400, 1000))
    >>> spectrum = 1e5 / (1 + (np.arange(-100, 900) / 8) ** 2)
    >>> found = find_dark_pattern(spectrum + levels + noise, channels_per_fwhm=16.0)
    >>> np.round([found.rms, found.unknown, np.std(levels - found.levels)], 1)
    array([2.8, 1.3, 1.6])

    >>> find_dark_pattern(spectrum + noise, channels_per_fwhm=16.0).rms
    0.0
    """
    n_spectra, n_energy = counts.shape
    fastest = 2 * _FASTEST / channels_per_fwhm
    length = 2 * int(np.ceil(_HALF_LENGTH * channels_per_fwhm)) + 1
    if n_spectra < _FEWEST or n_energy < _FEWEST_LENGTHS * length or fastest >= 1:
        return DarkPattern()
    smooth = firwin(length, fastest, window=_WINDOW)
    kept = 1 - 2 * smooth[length // 2] + np.sum(smooth**2)
    if kept < _LEAST_KEPT:
        return DarkPattern()
    halves = [counts[half::2].mean(0) for half in (0, 1)]
    level = _level(0.5 * (halves[0] + halves[1]), length)
    first, second = (_fast(mean, smooth) for mean in halves)
    noise = uniform_filter1d(0.25 * (first - second) ** 2, _NOISE_LENGTHS * length) / kept
    # Channels without any noise hold nothing, or what was put there.
    seen = np.abs(first - second) > _ROUNDING * level
    variance, relative = _variances(first[seen] * second[seen] / kept, level[seen])
    if not variance:
        return DarkPattern()
    others = noise + (relative + _LEAK**2) * level**2
    share = variance / (variance + others)
    levels = share * 0.5 * (first + second)
    # Bad channels are no pattern: they are found as such.
    levels[np.abs(levels) > _SIGNIFICANCE * np.sqrt(variance)] = 0.0
    return DarkPattern(
        levels=levels - levels.mean(),
        rms=float(np.sqrt(variance)),
        slow=float(np.sqrt(variance * (1 - kept))),
        unknown=float(np.sqrt(variance * (1 - kept * np.median(share)))),
    )


def _level(mean, length):
    """Find the highest counts within reach of the filter; no less than what channels scatter by."""
    least = np.median(np.abs(np.diff(mean)))
    return np.maximum(maximum_filter1d(mean, length), max(least, np.finfo(float).tiny))


def _fast(mean, smooth):
    """Take off what changes slowly along the channels; the ends go on as their mirror images, turned over."""
    padded = np.pad(mean, smooth.size // 2, mode="reflect", reflect_type="odd")
    return mean - np.convolve(padded, smooth, mode="valid")


def _variances(products, level):
    """Fit products of halves by a variance that all channels share, and one that grows with their level.

    Returns
    -------
    variance : float
        Of the levels, counts squared; zero where it is not significant.
    relative : float
        What channels differ by in proportion to their level, squared.
    """
    if level.size < _FEWEST_IN_CLASS * _N_CLASSES:
        return 0.0, 0.0
    classes = np.array_split(np.argsort(level), _N_CLASSES)
    products = np.minimum(products, _FAR_OFF * np.median(np.abs(products)))
    middle = np.array([np.median(level[one]) for one in classes])
    mean = np.array([products[one].mean() for one in classes])
    error = np.array([products[one].std() / np.sqrt(one.size) for one in classes])
    if not (error > _ROUNDING * error.max()).all():
        return 0.0, 0.0
    design = np.stack([np.ones(middle.size), middle**2], axis=-1) / error[:, None]
    (variance, relative), _ = nnls(design, mean / error)
    flat, rising = np.linalg.norm(design, axis=0)
    alike = (design[:, 0] @ design[:, 1] / (flat * rising)) ** 2
    sigma = 1 / (flat * np.sqrt(max(1 - alike, np.finfo(float).eps)))
    return (variance, relative) if variance > _SIGNIFICANCE * sigma else (0.0, relative)
