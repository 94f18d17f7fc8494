# SPDX-License-Identifier: GPL-3.0-or-later
"""Pedestal of a detector: the level of a channel that no electron reaches.

It is looked for in three ways. Far before the peak nothing else is seen. Where the axis begins
close to the peak the tail of the peak lies there, and a constant under it looks like more tail; but
the tail is as high as the peak, thinner or thicker the specimen, and the constant is not: against
the height of the peaks the counts of the gain side lie on a straight line that misses the origin, once what
the widths of the peaks change is told apart, and what thick specimens spill there: losses are recorded with the same tail.
Nor is the constant more than the lowest level behind the peak.
Last, electrons bring noise, and a pedestal brings none. Each says how far it may be wrong: by chance, and by what it
cannot tell from a pedestal.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d

from hyperspy_zlpml.image.differences import N_LEVELS
from hyperspy_zlpml.image.noise import CURVED_WITHIN, looked_at, mean_levels
from hyperspy_zlpml.image.sums import without_spikes
from hyperspy_zlpml.statistics import Normal, Range, inverted, solved

#: A pedestal stands out of the peak's tail where the axis starts this many FWHM before the
#: peak. It is looked for in the outer half of those channels: a tail would double across them.
_PEDESTAL_FROM = 10.0
#: Fewest channels in that outer half.
_PEDESTAL_CHANNELS = 16
#: The tail that may be left in the outer half is this many times what it falls by to there from the inner one: as one
#: does that falls by a power of the energy between the first and the second.
_LEFT = 1.5
#: Levels up to this many times the lowest tell the pedestal from the noise.
_DARK_UP_TO = 3.0
#: Channels that scatter less than this fraction of others hold no electrons.
_SILENT = 1e-6
#: Variance of a mean of squared third differences, over that of independent ones.
_SHARED = 4.0
#: Rounds in which weights and a line improve each other.
_N_ROUNDS = 10
#: Gain sides are looked at from where the axes of all but this percentage of the spectra begin, ...
_BEGIN_LATER = 5
#: ... to half as far from the peak, and no nearer than so many FWHM.
_TO = 2.0
#: Spectra whose height is below this fraction of that of the thinnest are thick.
_THICK = 0.3
#: Peaks differ in height by at least this factor, 5th to 95th percentile.
_LEAST_RANGE = 1.3
#: Fewer spectra show no pedestal.
_FEWEST = 24
#: Blocks of neighbouring spectra, each of which is left out in turn.
_BLOCKS = 8
#: A pedestal exceeds this many standard errors, ...
_SIGNIFICANCE = 5.0
#: ... to which the tail that it lies under adds this part of itself: electrons that gained energy twice follow no straight line, ...
_OF_TAIL = 0.03
#: ... and this fraction of the counts there.
_LEAST_SHARE = 0.1
#: Losses are of about this energy, eV: they lie there as high as the tail of the peak is so much farther out, ...
_LOST = 10.0
#: ... which falls with a power of the energy between these.
_POWERS = Range(0.0, 4.0)
#: Levels that tell otherwise by so many standard errors are believed.
_OTHERWISE = 3.0
#: Where that is not seen it is this: more losses are expected than of most tails.
_POWER = 1.0
#: Their part of the tail is known no better than to this.
_LEAST = 0.01
#: Levels that are lower than this part of the peak differ from spectrum to spectrum, as means that were taken off do.
_MOST_ADDED = 5e-3
#: A lowest level that is no larger than this many of its errors is none.
_AGREE = 2.0
#: Behind the peak levels are looked at from this many FWHM on, ...
_BEHIND = 4.0
#: ... in so many parts of the axis, ...
_PARTS = 8
#: ... of the spectra whose height exceeds this percentile.
_BRIGHTEST = 90
#: A tail of inverse squares holds in the last part so many times what it falls by from the last but one.
_FALLS_ON = 3.0

#: Where none is found, or known to be uncertain.
_NONE = Normal(0.0, 0.0)

#: Said of a pedestal that the heights of peaks tell.
DOES_NOT_GROW = "which do not grow with the peak"


def estimate_pedestal(counts, energy, centre, fwhm):
    """Estimate the constant level of the detector from the channels far before the peak.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    energy : ndarray of shape (n_energy,)
        eV.
    centre, fwhm : ndarray of shape (n_spectra,)
        Position and width of the peaks, eV.

    Returns
    -------
    pedestal : Normal
        Counts per channel, and the error: by chance, and by the tail that may lie there, as high as what it still
        falls by. 0 where none can be told from the tail of the peak.
    note : str
        How it was found, for the report.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.pedestal import estimate_pedestal
    >>> energy = 0.05 * np.arange(-200, 200)
    >>> counts = 70.0 + 1e5 * np.exp(-4 * np.log(2) * (energy[None] / 0.5) ** 2)
    >>> estimate_pedestal(counts, energy, centre=np.zeros(1), fwhm=np.full(1, 0.5))
    (Normal(mean=70.0, sigma=0.0), '70 counts per channel, from 50 channels before the peak')

    An axis that starts too close to the peak shows only its tail.

    >>> near = energy > -2
    >>> estimate_pedestal(counts[:, near], energy[near], np.zeros(1), np.full(1, 0.5))[0].mean
    0.0
    """
    furthest = (np.median(centre) - energy[0]) / np.median(fwhm)
    n_before = int((energy - energy[0] < 0.5 * furthest * np.median(fwhm)).sum())
    if furthest < _PEDESTAL_FROM or n_before < _PEDESTAL_CHANNELS:
        return _NONE, "none subtracted: the axis starts too close to the peak to see one"
    profile = counts[:, :n_before].mean(0)
    far, near = profile[: n_before // 2], profile[n_before // 2 :]
    error_far, error_near = (half.std(ddof=1) / np.sqrt(half.size) for half in (far, near))
    rise = near.mean() - far.mean()
    uncertain = 3 * np.hypot(error_far, error_near)
    falls = rise > uncertain and rise > 0.1 * abs(far.mean())
    # Where noise could hide that even all of it is tail, nothing is known of a pedestal.
    if falls or rise + uncertain > abs(far.mean()):
        return _NONE, "none subtracted: the counts before the peak still fall towards the edge"
    if abs(far.mean()) <= _SIGNIFICANCE * error_far:
        return _NONE, "none found before the peak"
    note = f"{far.mean():.4g} counts per channel, from {n_before // 2} channels before the peak"
    error = np.sqrt(error_far**2 + error_near**2 + (_LEFT * max(rise, 0.0)) ** 2)
    return Normal(float(far.mean()), float(error)), note


def pedestal_by_intensity(counts, energy, parameters):
    """Find the counts before the peak that do not grow with it.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    energy : ndarray of shape (n_energy,)
        eV.
    parameters : PeakParameters
        All usable, shape (n_spectra,).

    Returns
    -------
    Normal
        Counts per channel, below zero where too much was subtracted, and their error; 0 where nothing stands out, or
        the peaks are too alike to tell.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> from hyperspy_zlpml.image.pedestal import pedestal_by_intensity
    >>> energy, height = 0.05 * np.arange(-30, 200), np.linspace(1e4, 3e4, 60)[:, None]
    >>> counts = 25.0 + height / (1 + (energy / 0.25) ** 2) ** 2
    >>> round(pedestal_by_intensity(counts, energy, peak_parameters(counts, energy)).mean, 1)
    25.0
    """
    reach = (parameters.centre - energy[0]) / parameters.fwhm
    # The same reduced energies of all, far from the peak: there is less tail.
    furthest = np.percentile(reach, _BEGIN_LATER)
    nearest = max(furthest / 2, _TO)
    rows = np.flatnonzero(reach >= furthest)
    parameters = parameters.select(rows)
    # At equal reduced energies channels of a wide peak hold no more than those of a narrow one as high.
    width = np.median(parameters.fwhm)
    height = parameters.intensity * width / parameters.fwhm
    low, high = np.percentile(height, [5, 95])
    # Up to some channel, for energies increase.
    before = slice((energy < (parameters.centre - nearest * parameters.fwhm).max()).sum())
    u = _reduced(energy[before], parameters)
    inside = (u >= -furthest) & (u < -nearest)
    differ = rows.size >= _FEWEST and 0 < low * _LEAST_RANGE < high
    if not differ or not inside.any(-1).all():
        return _NONE
    shown = counts[rows, before]
    level = shown.mean(-1, where=inside)
    if not (typical := np.median(np.abs(level))) > 0:
        return _NONE
    # What thick specimens spill is no straight line of anything.
    thin = height > _THICK * high
    thin = np.flatnonzero(thin if thin.sum() >= _FEWEST else height > 0)
    rows, level, parameters = rows[thin], level[thin], parameters.select(thin)
    height, broadening = height[thin] / high, np.log(parameters.fwhm / width)
    if not np.percentile(height, 5) * _LEAST_RANGE < np.percentile(height, 95):
        return _NONE
    # The measured intensity holds some of the pedestal too: that of the channels within a FWHM.
    held = 2 * width / (energy[1] - energy[0]) / high
    middle = np.sqrt(furthest * nearest)
    power = _power_of_tail(shown[thin], u[thin], height, ends=(furthest, middle, nearest))
    pedestal = _level_at_no_height(
        level,
        height,
        broadening,
        typical=typical,
        held=held,
        spilled=(1 + _LOST / (middle * width)) ** -power,
    )
    highest = np.median(counts.max(-1)[rows])
    under = _OF_TAIL * np.median(np.abs(level - pedestal.mean))
    least = max(_SIGNIFICANCE * np.hypot(pedestal.sigma, under), _LEAST_SHARE * typical)
    if abs(pedestal.mean) < least or pedestal.mean < -_MOST_ADDED * highest:
        return _NONE
    bright = np.flatnonzero(height >= np.percentile(height, _BRIGHTEST))
    lowest = _lowest_level(counts[rows[bright]], _reduced(energy, parameters.select(bright)))
    return _bounded(pedestal, lowest)


def _bounded(pedestal, lowest):
    """Keep a pedestal from being above the lowest level; the lowest of several is below zero by chance, and then is none."""
    if not 0 < pedestal.mean > lowest.mean:
        return pedestal
    return lowest if lowest.mean > _AGREE * lowest.sigma else _NONE


def _power_of_tail(counts, u, height, ends):
    """Find the power of the energy with which counts that grow with the peak fall away from it.

    Parameters
    ----------
    counts, u : ndarray of shape (n_spectra, n_channels)
        Before the peak, and their reduced energies.
    height : ndarray of shape (n_spectra,)
    ends : tuple of three float
        Distances from the peak between which two parts are compared, FWHM, the largest first.

    Returns
    -------
    float
    """
    slopes = []
    for far, near in pairwise(ends):
        inside = (u >= -far) & (u < -near)
        level = np.where(inside, counts, 0.0).sum(-1) / np.maximum(inside.sum(-1), 1)
        slopes.append(((height - height.mean()) * level).sum())
    outer, inner = slopes
    if not outer > 0 or not inner > 0:
        return _POWER
    power = np.log(inner / outer) / np.log(ends[0] / ends[1])
    return float(np.clip(power, *_POWERS))


def _level_at_no_height(level, height, broadening, typical, held, spilled):
    """Fit levels before peaks, and read them off where there is no peak.

    Tails are as high as the peak. They may be as wide in narrow peaks as in wide ones: then those of wide peaks are lower at
    equal reduced energies. And losses are recorded with the same tails, in proportion to thickness, which is the logarithm of the
    height: how many there are is known about, and better where the levels tell.

    Parameters
    ----------
    level, height, broadening : ndarray of shape (n_spectra,)
        Counts per channel before the peak; height of the peak over that of the thinnest; ln FWHM from its mean.
    typical : float
        Counts per channel.
    held : float
        Heights that one count per channel pretends.
    spilled : float
        Losses of a mean free path that are expected there, over the tail of the peak.

    Returns
    -------
    Normal
        Its error is by leaving out neighbouring spectra, and what is not known of the losses.
    """
    # Noise grows with the counts: those expected, for weights by their own noise favour what came out low.
    weight = 1 / np.maximum(typical * height / np.median(height), typical / 4)
    by_thickness = height * -np.log(height)
    columns = [np.ones_like(height), height, height * broadening, by_thickness, level]
    columns = np.stack(columns, axis=-1)
    blocks = np.array_split(columns * np.sqrt(weight)[:, None], _BLOCKS)
    sums = np.stack([block.T @ block for block in blocks])
    whole = sums.sum(0)
    fits = np.stack([_Plane.of(moments) for moments in [whole, *(whole - one for one in sums)]])
    constant, by_spill, slope, spill = fits.T
    tail, error = max(slope[0], 0.0), np.sqrt((_BLOCKS - 1) * spill[1:].var())
    if not tail:
        share = Normal(0.0, 0.0)
    else:
        errors = np.array([spilled + _LEAST, max(error / tail, _LEAST)])
        values = np.array([spilled, spill[0] / tail])
        information = errors**-2
        # What gained energy lies there, too, in proportion to thickness, and is no part of the tail.
        if abs(values[1] - values[0]) > _OTHERWISE * np.hypot(*errors):
            information[0] = 0.0
        found = (information @ values) / information.sum()
        share = Normal(max(found, 0.0), information.sum() ** -0.5)
    pedestal = (constant - share.mean * tail * by_spill) / (1 - slope * held)
    error = np.sqrt((_BLOCKS - 1) * pedestal[1:].var())
    return Normal(float(pedestal[0]), float(np.hypot(error, share.sigma * tail * by_spill[0])))


class _Plane(NamedTuple):
    """Levels against height and broadening; and spilled losses, with and without which they are fitted.

    ``by_spill`` is by how much spilled losses of one move the constant.
    """

    constant: float
    by_spill: float
    slope: float
    spill: float

    @classmethod
    def of(cls, moments):
        """Solve for it from moments of constant, height, broadening, spilled losses and level."""
        plane = solved(moments[:3, :3], moments[:3, 4])
        spilled = solved(moments[:3, :3], moments[:3, 3])
        with_spill = solved(moments[:4, :4], moments[:4, 4])
        return cls(plane[0], spilled[0], plane[1], with_spill[3])


def _reduced(energy, parameters):
    """Compute reduced energies, (n_spectra, n_energy)."""
    return (energy - parameters.centre[:, None]) / parameters.fwhm[:, None]


def _lowest_level(counts, u):
    """Find the lowest mean level of spectra behind the peak, in parts of the axis, and its error (Normal)."""
    spectrum = counts.mean(0)[u.mean(0) > _BEHIND]
    if spectrum.size < 2 * _PARTS:
        return Normal(np.inf, np.inf)
    parts = sorted(np.array_split(spectrum, _PARTS), key=np.mean)
    lowest, following = parts[0].mean(), parts[1].mean()
    noise = parts[0].std(ddof=1) / np.sqrt(parts[0].size)
    return Normal(float(lowest), float(np.hypot(noise, _FALLS_ON * (following - lowest))))


def dark_level(counts, energy, centre, fwhm):
    """Estimate the level of a detector at which its noise vanishes.

    Electrons bring noise, a pedestal brings none: the variance of channels grows in proportion to
    their counts above the pedestal. Read-out noise makes the pedestal look smaller than it is.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    energy : ndarray of shape (n_energy,)
        eV.
    centre, fwhm : ndarray of shape (n_spectra,)
        Position and width of the peaks, eV.

    Returns
    -------
    Normal
        Counts per channel, and their error; 0 where the noise does not tell that there is one. Read-out noise hides
        any level up to the lowest counts.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.pedestal import dark_level
    >>> energy = 0.05 * np.arange(-20, 400)
    >>> electrons = 1e5 / (1 + (energy / 0.25) ** 2)
    >>> counts = 100 + np.random.default_rng(0).poisson(electrons, (50, 420))
    >>> level = dark_level(counts, energy, centre=np.zeros(50), fwhm=np.full(50, 0.5))
    >>> bool(abs(level.mean - 100) < 10)
    True
    """
    some = looked_at(len(counts))
    counts, _ = without_spikes(counts[some])
    used = np.abs((energy - centre[some, None]) / fwhm[some, None]) > CURVED_WITHIN
    used = used[:, 1:-2]
    if used.sum() < 20 * N_LEVELS:
        return _NONE
    squared = (np.diff(counts, 3, axis=-1) ** 2 / 20)[used]
    level = uniform_filter1d(counts, 9, axis=-1, mode="nearest")[:, 1:-2][used]
    x, y, n = mean_levels(level, squared)
    # Where a pattern of sensitivity shows the variance grows faster than the counts.
    low = x < max(np.median(x), _DARK_UP_TO * x[0])
    return _where_it_vanishes(x[low], y[low], n[low])


def _where_it_vanishes(x, y, n):
    """Find where a straight line through variances goes through zero; 0 where it need not."""
    if x.size < 4 or x[0] <= 0 or not y.max() > 0:
        return _NONE
    silent = y < _SILENT * y.max()
    if silent.any():
        return Normal(float(x[silent].max()), 0.0)
    fitted = np.maximum(y, y.mean() * 1e-3)
    for _ in range(_N_ROUNDS):
        # A mean of n squares of normal numbers; third differences of neighbours have much in common.
        weight = np.sqrt(n / _SHARED) / fitted
        design = np.stack([x, np.ones_like(x)], -1) * weight[:, None]
        (gain, offset), *_ = np.linalg.lstsq(design, y * weight, rcond=None)
        fitted = np.maximum(gain * x + offset, y.mean() * 1e-3)
    covariance = inverted(design.T @ design)
    misfit = (((y - fitted) * weight) ** 2).mean()
    error = np.sqrt(covariance[1, 1] * max(misfit, 1.0))
    if not (gain > 0 and offset < -_SIGNIFICANCE * error):
        return _NONE
    level = min(-offset / gain, x[0])
    return Normal(float(level), float(np.hypot(error / gain, x[0] - level)))
