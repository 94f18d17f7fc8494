# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for the onset of the losses in a spectrum: where it may be, and in which windows it is fitted."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hyperspy_zlpml.physics.bins import Bins
from hyperspy_zlpml.physics.onset import Shapes, onset_grid, templates
from hyperspy_zlpml.physics.onset_fit import DEPARTURE_SIZES, RELUCTANCE, departures, fit
from hyperspy_zlpml.physics.onset_posterior import log_sum, quantiles, weighted
from hyperspy_zlpml.physics.scattered_down import scattered_down

#: Ends of the windows above the onset, in units of the shortest.
_WINDOWS = (1.0, 1.5, 2.0)
#: Shortest window above the onset, FWHM and eV: the longer of both.
_SHORTEST = (2.0, 0.5)
#: Losses have risen where two neighbouring stretches of one FWHM stand out by this many sigma.
_RISEN = 4.0
#: chi2 by which an onset must be better than none. In spectra that hold no losses less than 1 % are.
DETECTED = 16.0
#: Losses this far below the lower end of a gap are not of its onset, FWHM: blurred it reaches less far.
_CLEAR_OF_ONSET = 1.0
#: Counts below an onset are many that are more than this part of those above.
_MANY_BELOW = 0.25
#: An error of the ZLP by more than this many standard deviations is doubtful: one in twenty by chance.
_DOUBTFUL = 1.64
#: One by less than this is not excluded: 95 %.
_NOT_EXCLUDED = 2.0
#: Longest stretch below the onset that is fitted along, FWHM.
_LONGEST_BELOW = 20.0
#: Shapes of the search for the onset: any will do.
_SEARCHED = Shapes((0.5, 1.0, 1.5), (1.0, np.inf), (0.0,))
#: Distance of onsets in the search, FWHM.
COARSE = 0.25
#: Most onsets in the search.
_MOST_COARSE = 200
#: Most onsets in the fit.
_MOST_FINE = 64
#: Departures from a shape that fit into the shortest window.
_DEPARTURES = 3.0
#: Quantiles of the search, widened by half a FWHM, between which onsets are fitted.
_CONSIDERED = (1e-4, 0.5, 1 - 1e-4)
#: Fewest bins that can be fitted.
FEWEST_BINS = 6


@dataclass(frozen=True)
class OnsetSpectrum:
    """Bins of a spectrum, and how onsets are tried on it.

    Attributes
    ----------
    bins : Bins
    fwhm : float
        eV.
    lowest : float
        Lowest onset, eV from the peak.
    response : ndarray of shape (n_response,)
        Blurs the shapes.
    end : float
        Energy where the shapes end, eV.
    single : ndarray of shape (n_single, n_bins), optional
        Departures of which one may be there.
    pooled : bool
        It is the sum of many.
    """

    bins: Bins
    fwhm: float
    lowest: float
    response: np.ndarray
    end: float = np.inf
    single: np.ndarray | None = None
    pooled: bool = False

    @property
    def shortest(self):
        """Length of the shortest window above an onset, eV."""
        return shortest_window(self.fwhm)

    def templates(self, grid, shapes):
        """Compute the blurred shapes of onsets in the bins.

        Parameters
        ----------
        grid : OnsetGrid
        shapes : Shapes

        Returns
        -------
        Templates
        """
        return templates(self.bins, grid, shapes, self.response, end=self.end)

    def until(self, high, low=-np.inf):
        """Take the bins below an energy.

        Parameters
        ----------
        high, low : float
            eV from the peak.

        Returns
        -------
        OnsetSpectrum
        """
        return replace(self, bins=self.bins.between(low, high))

    def free_of_losses_above(self, whole):
        """Take what the peak's tail brings down from above the bins out of them, and out of the shapes.

        Parameters
        ----------
        whole : Bins
            Of the same spectrum up to the end of its axis.

        Returns
        -------
        OnsetSpectrum
        """
        bins = self.bins
        end = bins.energy[-1] + 0.5 * bins.step * bins.n_channels
        brought, error = scattered_down(bins, whole.between(end, np.inf), self.response)
        directions = np.concatenate([bins.directions, error[None]])
        bins = bins._replace(signal=bins.signal - brought, directions=directions)
        return replace(self, bins=bins, end=end)


def shortest_window(fwhm):
    """Choose the length of the shortest window above an onset.

    Parameters
    ----------
    fwhm : float
        Of the peak, eV.

    Returns
    -------
    float
        eV.
    """
    return max(_SHORTEST[0] * fwhm, _SHORTEST[1])


class Onsets(NamedTuple):
    """Onsets that the data allow, eV from the peak.

    Attributes
    ----------
    low, middle, high : float
        Their range, and one in the middle.
    """

    low: float
    middle: float
    high: float


def risen(spectrum):
    """Find where the losses have risen out of the errors: where two neighbouring FWHM stand out.

    Parameters
    ----------
    spectrum : OnsetSpectrum

    Returns
    -------
    float or None
        eV from the peak; None where they have not.
    """
    bins = spectrum.bins
    n = max(round(spectrum.fwhm / (bins.step * bins.n_channels)), 1)
    if bins.energy.size < 2 * n:
        return None

    def stretches(values):
        """Sum over stretches of neighbouring bins."""
        return sliding_window_view(values, n, axis=-1).sum(-1)

    variance = stretches(bins.variance) + (stretches(bins.directions) ** 2).sum(0)
    stands_out = stretches(bins.signal) > _RISEN * np.sqrt(variance)
    both = np.flatnonzero(stands_out[:-n] & stands_out[n:])
    return bins.energy[both[0] + n - 1] if both.size else None


def search(spectrum, highest):
    """Find the onsets that the data allow, on a coarse grid up to the highest.

    Parameters
    ----------
    spectrum : OnsetSpectrum
    highest : float
        eV from the peak.

    Returns
    -------
    Onsets
    """
    highest = max(highest, spectrum.lowest + spectrum.fwhm)
    fineness = max(COARSE * spectrum.fwhm, (highest - spectrum.lowest) / _MOST_COARSE)
    grid = onset_grid(spectrum.bins, spectrum.lowest, highest, fineness)
    fits = fits_of(spectrum, _SEARCHED, grid, [spectrum.bins.energy.size])
    # One range for all: of pools, too, as if of one spectrum. It is wider than errors are.
    log_likelihood = log_sum(weighted(fits)[0][0], axis=0)
    low, middle, high = quantiles(grid.energy, log_likelihood, _CONSIDERED)
    return Onsets(low - spectrum.fwhm / 2, middle, high + spectrum.fwhm / 2)


def has_losses_below(spectrum, lower):
    """Whether losses stand out below an onset, or may be what the onset is taken to be free of.

    A fit may take them for an error of the ZLP by several of its standard deviations where a clearer
    onset lies above. They stand out by as much as an onset must by itself; or the counts there are doubtful
    and a good part of those just above, so that the onset is where the ZLP is said to be wrong; or they are
    no noise, and losses as large as those are not excluded by the error of the ZLP.

    Parameters
    ----------
    spectrum : OnsetSpectrum
    lower : float
        Lower end of the gap, eV from the peak.

    Returns
    -------
    bool
    """
    below = spectrum.until(lower - _CLEAR_OF_ONSET * spectrum.fwhm)
    # Losses grow towards a plasmon: those of the shortest window are of the onset.
    above = spectrum.bins.between(lower, lower + spectrum.shortest)
    return _are_doubtful(below.bins, above) or _stand_out(below)


def _are_doubtful(below, above):
    """Whether counts below an onset are no noise, and many by those above and their error, or may be as many."""
    if not (below.energy.size and above.energy.size):
        return False
    counts, noise = below.signal.sum(), below.variance.sum()
    error = np.sqrt(noise + (below.directions.sum(1) ** 2).sum())
    as_above = above.signal.mean() * below.energy.size
    are_many = counts > max(_MANY_BELOW * as_above, _DOUBTFUL * error)
    may_be_as_many = counts + _NOT_EXCLUDED * error > as_above
    return counts > _RISEN * np.sqrt(noise) and (are_many or may_be_as_many)


def _stand_out(below):
    """Whether an onset among the bins is better than none by as much as it must be."""
    if below.bins.energy.size < FEWEST_BINS:
        return False
    span = below.bins.energy[-1] - below.lowest
    fineness = max(COARSE * below.fwhm, span / _MOST_COARSE)
    grid = onset_grid(below.bins, below.lowest, below.bins.energy[-1], fineness)
    shapes = replace(below, end=np.inf).templates(grid, _SEARCHED)
    fits = fit(below.bins, shapes, [below.bins.energy.size])
    return fits.none[0] - fits.chi2.min() > DETECTED


def with_departures(spectrum, onsets, ends):
    """Take departures from any shape for errors.

    Everywhere by some part of the losses, as large as the data want it; and at one place or another by
    as much as the losses are, as where an exciton is.

    Parameters
    ----------
    spectrum : OnsetSpectrum
    onsets : Onsets
    ends : ndarray of int of shape (n_windows,)
        Bins of each window.

    Returns
    -------
    spectrum : OnsetSpectrum
    improvement : float
        chi2 by which an onset is better than none in the shortest window, without departures.
    """
    bins = spectrum.bins
    grid = grid_of(spectrum, onsets, ends, COARSE)
    found = spectrum.templates(grid, _SEARCHED)
    exact = fit(bins, found, [ends[0], bins.energy.size])
    best = np.unravel_index(exact.chi2[1].argmin(), exact.chi2[1].shape)
    model, distance = exact.height[1][best] * found.of(*best), spectrum.shortest / _DEPARTURES
    everywhere = departures(bins, model, onsets.middle, distance)
    tried = [bins.beside(size * everywhere) for size in DEPARTURE_SIZES]
    fits = [fit(one, found, [bins.energy.size]) for one in tried]
    evidence = [-0.5 * (one.chi2.min() + one.log_determinant[0]) for one in fits]
    chosen = int(np.argmax(evidence - np.arange(len(tried)) * RELUCTANCE))
    single = departures(bins, model, onsets.middle + distance, distance)
    spectrum = replace(spectrum, bins=tried[chosen], single=single)
    return spectrum, exact.none[0] - exact.chi2[0].min()


def improvement_on(spectrum, more, onsets, ends):
    """Compute by how much an onset is better than none where the ZLP may be wrong in more ways than it is said to be.

    Parameters
    ----------
    spectrum : OnsetSpectrum
        Without departures.
    more : ndarray of shape (n_more, n_bins)
        Deviations of the ZLP by one standard deviation, beside those of the bins.
    onsets : Onsets
    ends : ndarray of int of shape (n_windows,)
        Bins of each window.

    Returns
    -------
    float
        chi2 in the shortest window.
    """
    grid = grid_of(spectrum, onsets, ends, COARSE)
    fits = fit(spectrum.bins.beside(more), spectrum.templates(grid, _SEARCHED), ends[:1])
    return fits.none[0] - fits.chi2.min()


def grid_of(spectrum, onsets, ends, fineness):
    """Lay out onsets within those that are considered.

    Parameters
    ----------
    spectrum : OnsetSpectrum
    onsets : Onsets
    ends : ndarray of int of shape (n_windows,)
    fineness : float
        Their distance, FWHM.

    Returns
    -------
    OnsetGrid
    """
    low = max(onsets.low, spectrum.lowest)
    high = max(min(onsets.high, spectrum.bins.energy[ends[0] - 1]), low + spectrum.fwhm)
    fineness = max(fineness * spectrum.fwhm, (high - low) / _MOST_FINE)
    return onset_grid(spectrum.bins, low, high, fineness)


def fits_of(spectrum, shapes, grid, n_bins):
    """Fit shapes to the first bins of a spectrum.

    Parameters
    ----------
    spectrum : OnsetSpectrum
    shapes : Shapes
    grid : OnsetGrid
    n_bins : sequence of int
        Bins of each window.

    Returns
    -------
    Fits
    """
    found = spectrum.templates(grid, shapes)
    return fit(spectrum.bins, found, n_bins, spectrum.single)


def windows(spectrum, onset, is_given):
    """Choose the windows about an onset.

    Parameters
    ----------
    spectrum : OnsetSpectrum
    onset : float
        eV from the peak.
    is_given : bool
        Whether the end of what is fitted is given: there is one window then.

    Returns
    -------
    spectrum : OnsetSpectrum
        Of the longest.
    ends : ndarray of int of shape (n_windows,)
        Bins of each.
    """
    if is_given:
        return spectrum, np.array([spectrum.bins.energy.size])
    ends = onset + spectrum.shortest * np.array(_WINDOWS)
    spectrum = spectrum.until(ends[-1], low=onset - _LONGEST_BELOW * spectrum.fwhm)
    n_bins = np.searchsorted(spectrum.bins.energy, ends)
    return spectrum, np.unique(n_bins[n_bins > 0])
