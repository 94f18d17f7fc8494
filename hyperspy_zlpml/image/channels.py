# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels that do not count what arrives: dead and hot ones, those never recorded, and spikes.

A channel of the detector that is wrong is wrong in all spectra; a cosmic ray hits a channel of one.
Both are narrower than anything that an energy loss makes, and are bridged by their neighbours before
a peak is looked at. Nothing of this changes the counts that the user holds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import maximum_filter1d, median_filter, uniform_filter1d

from hyperspy_zlpml.compute.compiled import laid_out
from hyperspy_zlpml.image.kernels import mark_apart, running_median
from hyperspy_zlpml.image.padding import FEWEST_CHANNELS, find_recorded, find_stretches
from hyperspy_zlpml.statistics import MAD_TO_SIGMA

#: More spectra than about this many tell nothing new of the channels.
SPECTRA_LOOKED_AT = 256
#: Channels are compared with the median of this many about them: three of those may be wrong.
_COMPARED_WITH = 7
#: Fewer spectra do not tell how they scatter.
_FEWEST_TO_SCATTER = 8
#: A wrong channel differs by this many standard errors, ...
_SIGNIFICANT = 8.0
#: ... and by this fraction of the counts beside it: patterns of sensitivity are smaller.
_DIFFERENT = 0.25
#: ... and by this factor more than the top of a Gaussian as wide as the peak.
_TOPS = 1.5
#: ... and by as many of the standard deviations with which this many channels about it do.
_PATTERN_OVER = 51
#: Fewer than this fraction of the channels of a detector are bad.
_MOST_BAD = 0.03
#: Channels of one value among so many about them ...
_CONSTANT_OVER = 51
#: ... and so many of the next to either side, which count about what they would, ...
_NEAR = 3
#: ... are stuck where those hold this many electrons in all spectra.
_CONSTANT_FOR = 30.0
#: ... and where fewer channels of an axis than this hold one value by chance.
_BY_CHANCE = 0.01
#: Channels that share the highest counts of a spectrum are those of a saturated detector.
_CLIPPED_TOP = 3
#: Nearer to a peak than this many FWHM its top is told from a wrong channel only ...
_CORE = 1.5
#: ... where counts are lower than this fraction of the channels beside it, or higher than one over it.
_DIFFERENT_IN_CORE = 0.3
#: Peaks less than two channels wide fall to less than this from one channel beside the highest to the
#: next, Lorentzian ones too. Those of more than three do not, and a channel that is hot shows; on the very
#: top of others it does not.
_FALLS_OFF = 0.4
#: Percentile of the counts that is taken for their level without electrons.
_LEVEL = 10
#: Fewer spectra cannot tell a wrong channel from a spike.
_FEWEST_SPECTRA = 3
#: A spike exceeds what is two channels beside it by this many standard deviations of the noise.
_SPIKE = 10.0
#: Good channels on each side of a bad one that bridge it.
_BRIDGED_BY = 2
#: More bad channels than this side by side are bridged by a line: a cubic makes much of the noise beside them.
_BRIDGED_BY_CUBIC = 4
#: What bridges more than so many is a guess.
_BRIDGED_WELL = 8
#: What bridges a channel exceeds the range of those beside it by this fraction of that.
_OVERSHOOT = 0.25


@dataclass(frozen=True)
class Channels:
    """Channels of a detector that can be trusted.

    Attributes
    ----------
    bad : ndarray of bool of shape (n_energy,)
        Dead or hot in all spectra.
    first, stop : int
        Those recorded; others are padding.
    """

    bad: np.ndarray
    first: int
    stop: int

    @property
    def all_good(self):
        """Whether nothing is wrong with any."""
        return not self.bad.any() and self.all_recorded

    @property
    def all_recorded(self):
        """Whether none is padding."""
        return self.stop - self.first == self.bad.size

    def same_as(self, other):
        """Tell whether the same channels can be trusted as of others.

        Parameters
        ----------
        other : Channels

        Returns
        -------
        bool
        """
        ends = self.not_recorded == other.not_recorded
        return ends and np.array_equal(self.bad, other.bad)

    @property
    def not_recorded(self):
        """Numbers of channels of padding before and behind the others."""
        return self.first, self.bad.size - self.stop

    @property
    def recorded(self):
        """Slice the recorded channels out of all."""
        return slice(self.first, self.stop)

    def repair(self, counts):
        """Bridge the bad channels, and take the recorded ones.

        Parameters
        ----------
        counts : ndarray of shape (..., n_energy)

        Returns
        -------
        ndarray of shape (..., stop - first)

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.image.channels import Channels
        >>> bad = np.array([False, False, False, True, False, False])
        >>> Channels(bad, first=1, stop=6).repair(np.array([0.0, 1.0, 2.0, 99.0, 4.0, 5.0]))
        array([1., 2., 3., 4., 5.])
        """
        counts = np.asarray(counts)[..., self.recorded]
        bad = self.bad[self.recorded]
        if not bad.any():
            return counts
        counts = counts.astype(np.result_type(counts.dtype, np.float32))
        for channel in np.flatnonzero(bad):
            counts[..., channel] = _bridged(counts, channel, bad)
        return counts

    def describe(self, energy):
        """Say which channels are not used.

        Parameters
        ----------
        energy : ndarray of shape (n_energy,)
            Of all channels, eV.

        Returns
        -------
        tuple of str
        """
        messages = []
        bad = np.flatnonzero(self.bad)
        if bad.size:
            listed = ", ".join(f"{channel} ({energy[channel]:.4g} eV)" for channel in bad[:8])
            more = f" and {bad.size - 8} more" if bad.size > 8 else ""
            most = max(part.size for part in np.split(bad, np.flatnonzero(np.diff(bad) > 1) + 1))
            guessed = (
                f" Of {most} side by side that is a guess, which is not in the error bars: crop the axis before or "
                "behind them, or trust no number near them."
                if most > _BRIDGED_WELL
                else ""
            )
            messages.append(
                f"{bad.size} of {self.bad.size} channels are dead or hot in all or most spectra: {listed}{more}; "
                f"they are bridged by their neighbours in every result.{guessed}"
            )
        if self.stop - self.first < self.bad.size:
            before, behind = self.not_recorded
            parts = [f"{before} channels before {energy[self.first]:.4g} eV"] if before else []
            parts += [f"{behind} channels behind {energy[self.stop - 1]:.4g} eV"] if behind else []
            messages.append(
                f"{' and '.join(parts)} hold one value, as padding does: nothing is learnt from them, "
                "and results there mean nothing."
            )
        return tuple(messages)


def _bridged(counts, channel, bad):
    """Bridge a channel of spectra; beside a step no cubic overshoots."""
    place, weight = _bridge_of(channel, bad)
    beside = counts[..., place]
    low, high = beside.min(-1), beside.max(-1)
    inside = place[0] < channel < place[-1]
    with np.errstate(invalid="ignore"):
        further = (_OVERSHOOT if inside else 1.0) * (high - low)
        return np.clip(beside @ weight.astype(counts.dtype), low - further, high + further)


def _bridge_of(channel, bad):
    """Find the good channels that bridge a bad one, and their weights: a cubic or a line through them."""
    good = np.flatnonzero(~bad)
    at = np.searchsorted(good, channel)
    n_bad = good[min(at, good.size - 1)] - good[max(at - 1, 0)] - 1
    each = _BRIDGED_BY if n_bad <= _BRIDGED_BY_CUBIC else 1
    place = good[max(at - each, 0) : at + each]
    if at < _BRIDGED_BY or place.size < 2 * _BRIDGED_BY:
        place = place[np.abs(place - channel).argsort(kind="stable")[:2]]
    distance = (channel - place).astype(float)
    between = place[:, None] - place.astype(float)
    np.fill_diagonal(between, 1.0)
    others = np.where(np.eye(place.size, dtype=bool), 1.0, distance[None, :])
    return place, (others / between).prod(-1)


def inspect_channels(counts, channel, width):
    """Find the channels of a detector that cannot be trusted in any spectrum.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        As measured.
    channel : ndarray of int of shape (n_spectra,)
        Highest channel of each peak.
    width : float
        FWHM of the peaks, channels.

    Returns
    -------
    Channels

    Raises
    ------
    ValueError
        If too few were recorded.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.channels import inspect_channels
    >>> rng = np.random.default_rng(0)
    >>> peak = 1e5 / (1 + ((np.arange(400) - 100) / 5) ** 2)
    >>> counts = rng.poisson(peak, (20, 400)).astype(float)
    >>> counts[:, 300] = 0
    >>> counts[:, -20:] = 0
    >>> found = inspect_channels(counts, np.full(20, 100), width=10.0)
    >>> np.flatnonzero(found.bad), found.first, found.stop
    (array([300]), 0, 380)
    """
    some = slice(None, None, max(len(counts) // SPECTRA_LOOKED_AT, 1))
    counts, channel = np.asarray(counts[some], float), channel[some]
    first, stop = find_recorded(counts, channel, width)
    if stop - first < FEWEST_CHANNELS:
        raise ValueError(
            f"counts: expected at least {FEWEST_CHANNELS} channels that were recorded, got "
            f"{stop - first}: {first} before and {counts.shape[1] - stop} behind them hold one value."
        )
    bad = np.zeros(counts.shape[1], bool)
    recorded = counts[:, first:stop]
    bad[first:stop] = _in_stretches(recorded, width)
    if len(counts) >= _FEWEST_SPECTRA:
        bad[first:stop] |= _wrong_in_all(recorded, channel - first, width)
    return Channels(bad, first, stop)


def never_finite(counts):
    """Find channels that hold a number in no spectrum, within those that do.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        As measured.

    Returns
    -------
    ndarray of bool of shape (n_energy,)
        None where they are many: no detector is like that.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.channels import never_finite
    >>> counts = np.ones((3, 200))
    >>> counts[:, [0, 90]] = counts[1, 50] = np.nan
    >>> np.flatnonzero(never_finite(counts))
    array([90])
    """
    missing = ~np.isfinite(counts).any(0)
    known = np.flatnonzero(~missing)
    if not known.size or missing.mean() > _MOST_BAD:
        return np.zeros_like(missing)
    missing[: known[0]] = missing[known[-1] :] = False
    return missing


def _wrong_in_all(counts, channel, width):
    """Find channels that differ from those beside them in nearly all spectra."""
    beside = running_median(counts, _COMPARED_WITH, mode="reflect")
    away = np.abs(np.arange(counts.shape[1]) - channel[:, None]) > _CORE * width
    differing = _differ(
        counts - beside, beside, used=away, least=_most_different(width), electron=_electron(counts)
    )
    differing &= away.sum(0) >= _FEWEST_SPECTRA
    core = ~away.any(0)
    if core.any():
        silence = np.median(np.abs(counts - beside)[away]) if away.any() else 0.0
        differing |= core & _wrong_in_core(counts, (MAD_TO_SIGMA * silence) ** 2, width)
    # A detector has few bad channels: where there are many, it is something else.
    if differing.mean() > _MOST_BAD:
        differing = np.zeros_like(differing)
    return differing | _constant(counts)


def _in_stretches(counts, width):
    """Find channels that most spectra hold one value in, however many lie side by side."""
    # What all have shows in their sum where that of each would be lost in its noise.
    together = np.concatenate([counts, counts.sum(0, keepdims=True)])
    n_spectra = np.zeros(counts.shape[1])
    for row, start, stop in zip(*find_stretches(together, width), strict=True):
        n_spectra[start:stop] += 1 if row < len(counts) else len(counts)
    return n_spectra > len(counts) / 2


def _wrong_in_core(counts, variance, width):
    """Find channels far from both beside them in most spectra, and beyond the noise of their mean."""
    low, high = _beside(counts)
    below = (counts < _DIFFERENT_IN_CORE * low).mean(0) > 0.5
    above = (counts > np.maximum(high, 0) / _DIFFERENT_IN_CORE).mean(0) > 0.5
    on_top = (counts > high).mean(0) > 0.5
    here, low, high = (values.mean(0) for values in (counts, low, high))
    most = np.maximum(np.maximum(here, low), 0)
    noise = np.sqrt((variance + _electron(counts) * most) / len(counts))
    below &= low - here > _SIGNIFICANT * noise
    above &= here - high > _SIGNIFICANT * noise
    above &= ~_is_narrow_peak(counts)
    above |= on_top & _stands_on_flank(here, _SIGNIFICANT * noise, width)
    # Beside a channel that is too high those on a slope look too low.
    return above | (below & ~np.convolve(above, [True, False, True], mode="same"))


def _is_narrow_peak(counts):
    """Tell which channels may be a peak of one or two channels: beside them counts go on falling."""
    mean = counts.mean(0)
    _, high, beyond = _beside_and_beyond(mean - np.percentile(mean, _LEVEL))
    return beyond < _FALLS_OFF * high


def _stands_on_flank(mean, noise, width):
    """Tell which channels are a top of their own on the flank of another, and fall off as no peak of that width does.

    What differs by less than ``noise`` is equal.
    """
    low, high, beyond = _beside_and_beyond(mean)
    # Half of what a Gaussian falls to beside its highest channel, that being off its centre by half a channel.
    steep = low < 0.5 * np.exp(-8 * np.log(2) / width**2) * mean
    return steep & (mean > high + noise) & (beyond > high + noise)


def _beside_and_beyond(mean):
    """Find the lower and the higher of the two channels beside each, and the next beyond the higher."""
    padded = np.pad(mean, 2, mode="edge")
    left, right = padded[1:-3], padded[3:-1]
    beyond = np.where(left > right, padded[:-4], padded[4:])
    return np.minimum(left, right), np.maximum(left, right), beyond


def _electron(counts):
    """Find what an electron counts where counts of few differ by one at least; 0 for equal ones."""
    difference = np.abs(np.diff(counts, axis=0))
    return difference.min(where=difference > 0, initial=np.inf) if difference.any() else 0.0


def _constant(counts):
    """Find channels that hold one value in all spectra where others would scatter."""
    same = (counts == counts[:1]).all(0) & ~_clipped(counts)
    if not same.any() or same.mean() > 0.5:
        return np.zeros_like(same)
    n_differences, electron = len(counts) - 1, _electron(counts)
    scatter = np.abs(np.diff(counts, axis=0)).sum(0)
    around = _beside_each(scatter, same)
    scattering = uniform_filter1d((~same).astype(float), _CONSTANT_OVER, mode="mirror")
    stuck = same & (scattering > 0.5) & (around > _CONSTANT_FOR * electron)
    # Counts of a few spectra are equal by chance where they scatter by few electrons.
    apart = np.maximum(np.pi * around / (electron * n_differences), 1.0)
    return stuck & (apart**-n_differences * same.size < _BY_CHANCE)


def _beside_each(scatter, same):
    """Tell how much channels to either side of each scatter: the lowest of what near and far ones do."""
    sides = [-(_CONSTANT_OVER // 4), _CONSTANT_OVER // 4]
    far = [
        uniform_filter1d(scatter, _CONSTANT_OVER // 2, mode="mirror", origin=side) for side in sides
    ]
    others = np.flatnonzero(~same)
    after = np.searchsorted(others, np.arange(same.size))[:, None]
    nearest = np.arange(_NEAR)
    near = [
        np.median(scatter[others[np.clip(place, 0, others.size - 1)]], axis=1)
        for place in (after - 1 - nearest, after + nearest)
    ]
    return np.min([*near, *far], axis=0)


def _clipped(counts):
    """Find channels that hold the highest counts of every spectrum, as several others do."""
    highest = counts == counts.max(-1, keepdims=True)
    return highest.all(0) & (highest.sum(-1).min() >= _CLIPPED_TOP)


def _most_different(width):
    """Tell by which fraction a channel may exceed those two beside it, as tops of peaks do.

    Nothing is narrower than the zero-loss peak: every loss is spread as it is.
    """
    return max(_DIFFERENT, _TOPS * np.expm1(16 * np.log(2) / width**2))


def _differ(difference, beside, used, least, electron):
    """Tell in which channels the median difference is neither noise nor a pattern.

    Medians of whole electrons go by steps of one ``electron``, and need not scatter.
    """
    difference = np.where(used, difference, np.nan)
    n = np.maximum(used.sum(0), 1)
    known = used.any(0)
    median, spread = np.zeros((2, difference.shape[1]))
    median[known] = _median_of_numbers(difference[:, known])
    spread[known] = MAD_TO_SIGMA * _median_of_numbers(np.abs(difference[:, known] - median[known]))
    # Where counts change sign, or rise steeply, the level is that of the channels about.
    level = maximum_filter1d(np.median(np.abs(beside), axis=0), _COMPARED_WITH, mode="nearest")
    # A stuck channel does not scatter: its neighbours tell what noise there is.
    spread = np.maximum(spread, median_filter(spread, size=_COMPARED_WITH, mode="mirror"))
    noise = np.maximum(spread, electron) / np.sqrt(n)
    significant = np.abs(median) > _SIGNIFICANT * 1.25 * noise + electron
    # What all spectra share may be the noise of an average, or a pattern: most channels have it.
    significant &= np.abs(median) > _SIGNIFICANT * _typical(np.abs(median), known)
    if len(difference) < _FEWEST_TO_SCATTER:
        significant &= _all_differ(difference, used)
    return significant & (np.abs(median) > np.maximum(least * level, spread / 2))


def _median_of_numbers(values):
    """Compute the median over spectra of what is a number; each channel has one."""
    # What is none comes last.
    ordered = np.sort(values, axis=0)
    last = np.isfinite(values).sum(0) - 1
    middle = np.stack([last // 2, (last + 1) // 2])
    return np.take_along_axis(ordered, middle, axis=0).mean(0)


def _all_differ(difference, used):
    """Tell in which channels every spectrum differs, and to the same side: a few agree by chance."""
    typical = _typical(np.nan_to_num(np.abs(difference)).max(0), used.any(0))
    same_side = np.abs(np.nansum(np.sign(difference), axis=0)) == used.sum(0)
    smallest = np.where(used, np.abs(difference), np.inf).min(0)
    return same_side & (smallest > _SIGNIFICANT / 2 * typical)


def _typical(values, known):
    """Take the median of the known channels about each; infinite where there are none."""
    half = _PATTERN_OVER // 2
    padded = np.pad(np.where(known, values, np.nan), half, mode="reflect")
    windows = np.sort(sliding_window_view(padded, _PATTERN_OVER), axis=-1)
    n_known = np.isfinite(windows).sum(-1)
    middle = (np.maximum(n_known, 1) - 1) // 2
    median = np.take_along_axis(windows, middle[:, None], -1)[:, 0]
    return MAD_TO_SIGMA * np.where(n_known > 0, median, np.inf)


def _beside(counts):
    """Find the lower and the higher of the two channels two steps beside each, and next to it."""
    padded = np.pad(counts, ((0, 0), (1, 1)), mode="edge")
    left, right = padded[:, :-2], padded[:, 2:]
    return np.minimum(left, right), np.maximum(left, right)


def _two_steps_beside(counts, rows, places):
    """Find the lower and the higher of the channels two steps beside some; at edges the only one."""
    n = counts.shape[-1]
    left = counts[rows, np.where(places >= 2, places - 2, places + 2)]
    right = counts[rows, np.where(places + 2 < n, places + 2, places - 2)]
    return np.minimum(left, right), np.maximum(left, right)


def _flank(counts, rows, places, high, least):
    """Tell by which factor counts rise towards an edge of the axis before the last two channels; 1 elsewhere.

    A peak that the axis cuts ends in a flank, which rises as it did before.
    """
    n = counts.shape[-1]
    inwards = np.where(places < 2, 4, np.where(places >= n - 2, -4, 0))
    further = counts[rows, np.clip(places + inwards, 0, n - 1)]
    rise = np.maximum(high, least) / np.maximum(further, least)
    return np.where(inwards == 0, 1.0, np.maximum(rise, 1.0))


def find_spikes(counts, width, noise):
    """Find channels of single spectra that stand out of those beside them as no loss does.

    Whatever else looks for spikes looks at what these leave, or knows less or more than noise and
    width of the peaks: nothing at all (:func:`hyperspy_zlpml.image.sums.without_spikes`), other
    spectra (:func:`~hyperspy_zlpml.registration.register.register_peaks`), or the shape of the peak
    (:func:`~hyperspy_zlpml.registration.points.collect_points`,
    :func:`~hyperspy_zlpml.zlp.matching.match`), against which smaller ones stand out.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Free of pedestal.
    width : float
        FWHM of the peaks, channels.
    noise : NoiseModel

    Returns
    -------
    ndarray of bool of shape (n_spectra, n_energy)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.channels import find_spikes
    >>> from hyperspy_zlpml.image.noise import NoiseModel
    >>> counts = 1e5 / (1 + ((np.arange(400) - 100) / 5) ** 2)
    >>> counts[[300, 301]] += 9e4
    >>> spikes = find_spikes(counts[None], width=10.0, noise=NoiseModel(1.0, 0.0))
    >>> np.flatnonzero(spikes[0])
    array([300, 301])
    """
    spikes = np.zeros(counts.shape, bool)
    # Where counts are higher by ten deviations of the noise their own noise is larger still.
    mark_apart(
        laid_out(counts, float),
        sigmas=_SPIKE,
        gain=float(noise.gain * noise.seen_by_sums(1)),
        least=float(noise.gain),
        variance=float(noise.readout**2),
        marked=spikes,
    )
    rows, places = np.nonzero(spikes)
    spikes[:] = False
    if not rows.size:
        return spikes
    value = counts[rows, places]
    low, high = _two_steps_beside(counts, rows, places)
    allowed = 1 + _most_different(width)
    above, below = value - high, low - value
    # Where the electrons are not known, whatever is above zero counts as one.
    electron = max(noise.gain, np.finfo(float).eps * high.max(), np.finfo(float).tiny)
    steep = _flank(counts, rows, places, high, least=electron)
    stands_out = above > (allowed * steep - 1) * np.maximum(high, 0)
    # Of a channel at an edge nothing tells a hole from the flank of a peak, but that none falls below zero.
    told = (places >= 2) & (places < counts.shape[-1] - 2)
    told |= value < -_SPIKE * np.hypot(noise.gain, noise.readout)
    stands_out |= told & (below > (1 - 1 / allowed) * np.maximum(low, 0))
    rows, places = rows[stands_out], places[stands_out]
    size = np.zeros(counts.shape)
    size[rows, places] = np.maximum(above, below)[stands_out]
    # Beside a spike others seem to stand out the other way.
    padded = np.pad(size, ((0, 0), (2, 2)))
    larger = np.maximum(padded[rows, places], padded[rows, places + 4])
    kept = size[rows, places] >= larger
    spikes[rows[kept], places[kept]] = True
    return spikes


def without_spikes(counts, spikes):
    """Bridge the spikes of spectra by the channels beside them.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    spikes : ndarray of bool of the same shape

    Returns
    -------
    ndarray
        The counts themselves where there is no spike.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.channels import without_spikes
    >>> counts = np.array([[1.0, 2.0, 90.0, 4.0, 5.0]])
    >>> without_spikes(counts, counts > 50)
    array([[1., 2., 3., 4., 5.]])
    """
    rows = np.flatnonzero(spikes.any(-1))
    if not rows.size:
        return counts
    counts = counts.copy()
    for row in rows:
        for channel in np.flatnonzero(spikes[row]):
            counts[row, channel] = _bridged(counts[row], channel, spikes[row])
    return counts
