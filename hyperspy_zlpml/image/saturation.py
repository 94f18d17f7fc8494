# SPDX-License-Identifier: GPL-3.0-or-later
"""Peaks that a saturated detector cut off, told from those that the instrument makes flat.

A saturated detector cuts all channels of all spectra off at one level: flanks end in it with a corner, whatever
noise a gain correction laid over it. The top of a flat response is rounded, grows with the dose, and counts
as electrons do.
"""

from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.image.noise import looked_at, smallest_step
from hyperspy_zlpml.statistics import MAD_TO_SIGMA

#: Flat tops must be this many times as frequent as by chance to speak of a saturated detector.
_MORE_THAN_CHANCE = 10.0
#: Peaks of fewer electrons than this are not looked at for a flat top.
_FEWEST_ELECTRONS = 50
#: Fraction of the height above which the top of a peak is looked at, ...
_TOP_FROM = 0.8
#: ... the height being that of the channel of this rank, in FWHM.
_HEIGHT_RANK = 0.1
#: Fewer electrons in a channel do not show what a top is like.
_SHOWN_BY = 1e3
#: Channels of the top, in FWHM, from which on a peak is flat: no Gaussian or Lorentzian has so many.
_FLAT_FROM = 0.75
#: Peaks of fewer channels (FWHM) do not show their top.
_RESOLVED = 5.0
#: More than this fraction of spectra with a flat top is worth a word.
_MOST_FLAT = 0.05
#: Levels of this many spectra or more are compared; they ...
_FEWEST_COMPARED = 4
#: ... differ by more than this fraction where none cut them off, or each was scaled after, ...
_ONE_LEVEL = 0.02
#: ... and by less than this part of what the widths do where one did, ...
_LESS_THAN_WIDTHS = 0.1
#: ... if those differ by this fraction at least.
_WIDTHS_DIFFER = 0.05
#: Parts of the level that a flank falls through: the first two at its shoulder, the others half way down.
_FALL = (0.95, 0.8, 0.6, 0.4)
#: Channels from the first to the last of them, at least, that show how it falls.
_SHOWN = 1.5
#: A flank that is as steep at its shoulder as this part of half way down ends in a corner: 0.5 is that of an edge that
#: a Gaussian blurred, 1.2 or more that of a Gaussian that was cut off.
_CORNER = 0.8
#: From here on it does whatever the levels are, as of data that were normalised: 1 is that of a straight edge.
_CORNER_AT_ANY_LEVEL = 1.1
#: So many electrons in the channels at corners together show them.
_CLEAR = 1e4
#: Where too few channels show a corner, flanks go on inwards above this part of the level, ...
_GOES_ON = 1.3
#: ... as three channels tell that hold this part of it at least, ...
_LEAST_OF_LEVEL = 0.05
#: ... and so many electrons.
_CLEAR_INWARDS = 1e5
#: Second difference of three numbers, and the value of the parabola through them two steps before the first.
_BEND_AND_INWARDS = np.array([[1, 6], [-2, -8], [1, 3]])
#: Spectra blurred by this part of the FWHM have flanks that can be matched.
_BLURRED_BY = 0.3
#: Part of a flat top, about its middle, whose noise is looked at.
_MIDDLE = 0.6
#: Noise of less than this part of the variance of electrons is none of theirs, ...
_NO_ELECTRONS = 0.25
#: ... where so many numbers tell it.
_FEWEST_TOLD = 30
#: Median of the square of a normal number, and the variance of a second difference of three.
_MEDIAN_OF_SQUARES, _OF_SECOND_DIFFERENCE = 0.455, 6.0


def saturated_peaks(counts, parameters, energy, unit):
    """Find peaks that are cut off, and peaks that are cut off behind noise.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Free of pedestal.
    parameters : PeakParameters
        All usable.
    energy : ndarray of shape (n_energy,)
        eV.
    unit : float
        Counts of an electron.

    Returns
    -------
    saturated, flat : ndarray of bool of shape (n_spectra,)
        None where no more are found than chance makes, or where the instrument makes them.

    Examples
    --------
    A response that is flat at its top, and a peak that a detector cut off before its gain was corrected:

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> from hyperspy_zlpml.image.saturation import saturated_peaks
    >>> rng, energy = np.random.default_rng(0), 0.02 * np.arange(-100, 200)
    >>> flat = rng.poisson(1e5 * np.exp(-np.log(2) * np.tile(energy / 0.25, (9, 1)) ** 8)) + 0.0
    >>> peak = rng.poisson(1e6 * np.exp(-np.log(2) * np.tile(energy / 0.25, (9, 1)) ** 2))
    >>> cut = np.minimum(peak, 2e5) * rng.normal(1, 0.003, peak.shape)
    >>> [int(saturated_peaks(c, peak_parameters(c, energy), energy, 1.0)[1].sum()) for c in (flat, cut)]
    [0, 9]
    """
    # Numbers that were rounded are equal by chance, too, whatever their noise.
    step = smallest_step(np.abs(np.diff(counts[looked_at(len(counts))])))
    saturated, highest = _equal_tops(counts, max(unit, step))
    # Few electrons, counted one by one, give three equal channels by chance once in 4 pi N.
    by_chance = (1 / (4 * np.pi * np.maximum(highest / max(unit, step), 1))).sum()
    saturated &= saturated.sum() > _MORE_THAN_CHANCE * by_chance
    tops = _Tops.of(counts, parameters, energy)
    flat = tops.are_flat(max(unit, step)) & ~saturated
    if flat.mean() <= _MOST_FLAT or not tops.select(flat).are_cut(unit):
        flat[:] = False
    return saturated, flat


def steep_flanks_message(counts, parameters, energy):
    """Say how flat peaks, whose flanks are too steep to be matched, can be worked on.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    parameters : PeakParameters
        All usable.
    energy : ndarray of shape (n_energy,)
        eV.

    Returns
    -------
    str
        Empty where most of them are not flat.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> from hyperspy_zlpml.image.saturation import steep_flanks_message
    >>> energy = 0.02 * np.arange(-100, 200)
    >>> box = 1e5 * np.exp(-np.log(2) * (energy[None] / 0.25) ** 16)
    >>> steep_flanks_message(box, peak_parameters(box, energy), energy).split("before, ")[1]
    'by 0.15 eV: s.gaussian_filter(7.4 * s.axes_manager.signal_axes[0].scale)'
    """
    tops = _Tops.of(counts, parameters, energy)
    if not tops.are_flat(0.0).mean() > 1 / 2:
        return ""
    blur = _BLURRED_BY * np.median(parameters.fwhm)
    # HyperSpy takes it in units of the axis, which are not known here: meV as well as eV.
    return (
        f"flat at the top, with flanks too steep to be matched: blur the spectra before, by {blur:.2g} eV: "
        f"s.gaussian_filter({blur / (energy[1] - energy[0]):.3g} * s.axes_manager.signal_axes[0].scale)"
    )


def _equal_tops(counts, unit):
    """Find spectra whose three highest neighbouring channels hold exactly the same counts; and these."""
    place = counts.argmax(-1)
    highest = np.take_along_axis(counts, place[:, None], -1)
    around = np.clip(place, 2, counts.shape[-1] - 3)[:, None] + np.arange(-2, 3)
    equal = np.isclose(np.take_along_axis(counts, around, -1), highest, rtol=1e-9, atol=0)
    runs = equal[:, :-2] & equal[:, 1:-1] & equal[:, 2:]
    return runs.any(-1) & (highest[:, 0] > _FEWEST_ELECTRONS * unit), highest[:, 0]


class _Tops(NamedTuple):
    """Tops of peaks.

    Attributes
    ----------
    near : ndarray of shape (n_spectra, 2 n + 1)
        Counts about the highest channel, one FWHM to both sides at least.
    width : ndarray of shape (n_spectra,)
        FWHM as it was measured, channels.
    height : ndarray of shape (n_spectra,)
        Mean counts of the highest channels: the height of a flat top, whatever its noise is.
    """

    near: np.ndarray
    width: np.ndarray
    height: np.ndarray

    @classmethod
    def of(cls, counts, parameters, energy):
        """Cut them out of spectra."""
        width = parameters.fwhm / (energy[1] - energy[0])
        n = max(int(np.ceil(width.max(initial=0.0))), 2)
        around = parameters.channel[:, None] + np.arange(-n, n + 1)
        near = np.take_along_axis(counts, np.clip(around, 0, energy.size - 1), -1)
        rank = np.clip((_HEIGHT_RANK * width).astype(int), 1, n)
        ordered = np.sort(near, axis=-1)
        height = np.take_along_axis(ordered, 2 * n + 1 - rank[:, None], -1)[:, 0]
        return cls(near, width, height)

    def select(self, rows):
        """Select those of some spectra."""
        return _Tops(*(values[rows] for values in self))

    @property
    def is_top(self):
        """Channels that are nearly as high as the highest, of the shape of ``near``."""
        return self.near > _TOP_FROM * self.height[:, None]

    def are_flat(self, unit):
        """Find peaks whose width near the top is too near to that at half of their height.

        The ratio is 0.57 for a Gaussian, 0.5 for a Lorentzian, and 1 for a box.
        """
        counted = self.height > _SHOWN_BY * unit
        return counted & (self.width > _RESOLVED) & (self.is_top.sum(-1) > _FLAT_FROM * self.width)

    def are_cut(self, unit):
        """Tell whether a detector cut flat tops off, rather than that the instrument makes them so.

        Sharp corners tell it alone: of spectra that were scaled after, each by its own factor, levels differ.
        """
        some = self.select(looked_at(len(self.near)))
        level = some.levels()
        flanks = np.concatenate([flank / level[:, None] for flank in some.flanks()])
        falls = _falls(flanks)
        electrons = np.median(level) / unit
        corner = _corner(falls, electrons)
        if corner > _CORNER_AT_ANY_LEVEL or _go_on_inwards(flanks, electrons):
            return True
        if level.size >= _FEWEST_COMPARED:
            differ = _relative_scatter(level)
            if differ > _ONE_LEVEL:
                return False
            widths = np.mean(falls[2:], axis=0).reshape(2, -1).sum(0)
            if _relative_scatter(widths) > max(_WIDTHS_DIFFER, differ / _LESS_THAN_WIDTHS):
                return True
        return corner > _CORNER or some.count_nothing(unit)

    def levels(self):
        """Find the level of flat tops, as the median of their channels."""
        return np.nanmedian(np.where(self.is_top, self.near, np.nan), axis=-1)

    def flanks(self):
        """Cut the tops in two, each part from the highest channel outwards."""
        middle = self.near.shape[1] // 2
        return self.near[:, middle::-1], self.near[:, middle:]

    def count_nothing(self, unit):
        """Tell whether tops scatter by so much less than electrons do that none are counted there."""
        n = self.near.shape[1]
        first, last = self.is_top.argmax(-1), n - 1 - self.is_top[:, ::-1].argmax(-1)
        away = np.abs(np.arange(n) - (first + last)[:, None] / 2)
        inside = away <= _MIDDLE * (last - first + 1)[:, None] / 2
        told = inside[:, :-2] & inside[:, 1:-1] & inside[:, 2:]
        of_electrons = _OF_SECOND_DIFFERENCE * unit * self.levels()[:, None]
        relative = (np.diff(self.near, 2) ** 2 / of_electrons)[told]
        few = relative.size < _FEWEST_TOLD
        return not few and np.median(relative) < _MEDIAN_OF_SQUARES * _NO_ELECTRONS


def _falls(flank):
    """Find where flanks fall through parts of the level of their top, channels from the highest.

    Parameters
    ----------
    flank : ndarray of shape (n_spectra, n)
        From the highest channel outwards, in units of the level.

    Returns
    -------
    list of ndarray of shape (n_spectra,)
        NaN where a flank does not fall.
    """
    n, places = flank.shape[1], []
    for part in _FALL:
        last = n - 1 - (flank[:, ::-1] >= part).argmax(-1)
        at = np.minimum(last, n - 2)[:, None]
        above, below = (np.take_along_axis(flank, at + k, -1)[:, 0] for k in (0, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            place = last + (above - part) / (above - below)
        places.append(np.where(last < n - 1, place, np.nan))
    return places


def _steepness(places):
    """Compare how steep flanks are at their shoulder and half way down; NaN where too few channels show it."""
    first, second, third, last = places
    with np.errstate(divide="ignore", invalid="ignore"):
        shoulder = (_FALL[0] - _FALL[1]) / (second - first)
        half_way = (_FALL[2] - _FALL[3]) / (last - third)
        return np.where(last - first > _SHOWN, shoulder / half_way, np.nan)


def _corner(falls, electrons):
    """Tell how sharp the corners are that most flanks end in, from where they fall; 0 where few electrons show it.

    ``electrons`` is the number in a channel at the level.
    """
    steepness = _steepness(falls)
    steepness = steepness[np.isfinite(steepness)]
    return np.median(steepness) if steepness.size * electrons > _CLEAR else 0.0


def _go_on_inwards(flanks, electrons):
    """Tell whether most flanks, as Gaussians through their first three channels below the level, go on above it.

    Those of a flat response bend to its level before they reach it. ``electrons`` is the number in a channel there.
    """
    n = flanks.shape[1]
    last = n - 1 - (flanks[:, ::-1] >= _FALL[0]).argmax(-1)
    three = np.take_along_axis(flanks, np.minimum(last[:, None] + [1, 2, 3], n - 1), -1)
    three = three[(last < n - 3) & (three.min(-1) > _LEAST_OF_LEVEL)]
    if len(three) * electrons < _CLEAR_INWARDS:
        return False
    # A Gaussian is a parabola in the logarithm: its bend, and its value two channels farther in.
    bend, inwards = (np.log(three) @ _BEND_AND_INWARDS).T
    return ((bend < 0) & (inwards > np.log(_GOES_ON))).mean() > 1 / 2


def _relative_scatter(values):
    """Measure by which fraction of their median values scatter, those that are known; 0 where none is."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0
    return MAD_TO_SIGMA * np.median(np.abs(known / np.median(known) - 1))
