# SPDX-License-Identifier: GPL-3.0-or-later
"""Band gap of every spectrum of a block, from the onset of its losses.

Losses are first searched for where they rise out of the errors of noise and ZLP. Onsets of all shapes
are then fitted to the bins from ``E_I`` up to several ends above, and the gap is what they say
together: the posterior is the mean over shapes and windows of ``exp(-chi2 / 2)``, with less weight
for windows that no shape fits. Errors therefore hold the noise, the ZLP, the shape and the window.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.integrate import cumulative_trapezoid
from scipy.interpolate import CubicSpline
from scipy.special import gammaincc

from hyperspy_zlpml.physics.onset import (
    GROWTHS,
    Bins,
    Fits,
    Shapes,
    binned,
    channels_of,
    departures,
    fit,
    onset_grid,
    scattered_down,
    templates,
)
from hyperspy_zlpml.physics.reasons import Reason

#: ln of a sum, of the logarithms of its terms.
_log_sum = np.logaddexp.reduce
#: Exponents of direct and of indirect transitions, and one between that is neither.
DIRECT, BETWEEN, INDIRECT = 0.5, 1.0, 1.5
#: Exponents that are tried where none is known.
EXPONENTS = (0.3, 0.65, 1.0, 1.4, 1.75, 2.1, 2.5)
#: Ends of the windows above the onset, in units of the shortest.
_WINDOWS = (1.0, 1.5, 2.0)
#: Shortest window above the onset, FWHM and eV: the longer of both.
_SHORTEST = (2.0, 0.5)
#: Losses have risen where two neighbouring stretches of one FWHM stand out by this many sigma.
_RISEN = 4.0
#: chi2 by which an onset must be better than none. In spectra that hold no losses less than 1 % are.
DETECTED = 16.0
#: Onsets are this far below E_I at most, FWHM: lower ones would have moved E_I.
_BELOW_LIMIT = 1.0
#: Gaps whose 68 % interval reaches below this many FWHM are not told from the peak.
_RESOLVED = 2.0
#: Losses this far below the lower end of a gap are not of its onset, FWHM: blurred it reaches less far.
_CLEAR_OF_ONSET = 1.0
#: Longest stretch below the onset that is fitted along, FWHM.
_LONGEST_BELOW = 20.0
#: Shapes of the search for the onset: any will do.
_SEARCHED = Shapes((0.5, 1.0, 1.5), (1.0, np.inf), (0.0,))
#: Distance of onsets in the search, FWHM.
_COARSE = 0.25
#: Most onsets in the search.
_MOST_COARSE = 200
#: Distance of onsets in the fit, FWHM.
_FINE = 0.1
#: Distance of onsets in the fit that tells the kind of the gap, FWHM.
_MIDDLING = 0.125
#: Distance of the onsets that a curve may have, channels.
_OF_CURVE = 0.125
#: Most onsets in the fit.
_MOST_FINE = 64
#: Relative sizes of departures from any shape that are tried.
_SIZES = (0.1, 0.2, 0.4, 0.8)
#: Logarithm of the evidence that the next size must have more.
_RELUCTANCE = 1.0
#: Departures from a shape that fit into the shortest window.
_DEPARTURES = 3.0
#: Logarithm of the weight by which a window may fit worse than the best, and as well for all that.
_AS_WELL = 0.7
#: Points in the posterior between two onsets of the fit.
_BETWEEN = 8
#: Quantiles of the search, widened by half a FWHM, between which onsets are fitted.
_CONSIDERED = (1e-4, 0.5, 1 - 1e-4)
#: Fewest bins that can be fitted.
_FEWEST_BINS = 6
#: Numbers that are fitted to the bins: onset, height, exponent, width.
_FITTED = 4
#: Logarithm of a density over its maximum below which it is nothing.
_NOTHING = 60.0
#: Probability below which a chi2 is a misfit.
_IMPROBABLE = 1e-3
#: Quantiles that are given: 68 % and the median.
_QUANTILES = (0.16, 0.5, 0.84)


@dataclass(frozen=True)
class GapSettings:
    """Settings of a search for band gaps; energies in eV.

    Attributes
    ----------
    exponents : tuple of float
        Exponents of the onset that are tried.
    left, right : float
        Energies from the peak between which it is fitted, and not below ``E_I``; by default up to
        some ends above the onset.
    own_response : bool
        Whether onsets are blurred by the peak of the spectrum, as the spectrum is.
    n_sharing : int
        Spectra whose evidence of the kind of gap is summed, which share the errors of the ZLP and departures
        of the onset from any shape: what is off in all of them is counted once.
    """

    exponents: tuple[float, ...] = EXPONENTS
    left: float = 0.0
    right: float = np.inf
    own_response: bool = True
    n_sharing: int = 1

    @property
    def ends(self):
        """Whether the end of what is fitted is given."""
        return self.right < np.inf


class Gap(NamedTuple):
    """Band gap of one spectrum, in the order of the columns of :func:`band_gaps`.

    Attributes
    ----------
    gap, std, lower, upper : float
        Median of the posterior; half the width of the central 68 % of that of one window, in
        quadratic mean over the windows; ends of the central 68 % of all windows together, eV.
    systematic : float
        Standard deviation of the medians of the windows, eV.
    exponent, exponent_std : float
        Mean and standard deviation of b.
    ln_indirect : float
        Logarithm of the evidence for b = 1.5 over that for b = 0.5.
    ln_between : float
        Logarithm of the evidence for b = 1 over that for the better of both.
    improvement : float
        chi2 by which an onset is better than none.
    reduced_chi2 : float
        Of the best fit.
    first, last : float
        Window of most weight, eV from the peak.
    height, width, growth : float
        Best fit there: counts per channel, w in eV, and g.
    best : float
        Onset of the best fit, eV.
    best_exponent : float
        Exponent of the best fit.
    reason : float
        A :class:`.Reason`.
    """

    gap: float = np.nan
    std: float = np.nan
    lower: float = np.nan
    upper: float = np.nan
    systematic: float = np.nan
    exponent: float = np.nan
    exponent_std: float = np.nan
    ln_indirect: float = np.nan
    ln_between: float = np.nan
    improvement: float = np.nan
    reduced_chi2: float = np.nan
    first: float = np.nan
    last: float = np.nan
    height: float = np.nan
    width: float = np.nan
    growth: float = np.nan
    best: float = np.nan
    best_exponent: float = np.nan
    reason: float = float(Reason.NONE)


#: Widths of the rise by which direct and indirect gaps are told apart, eV: many spectra know it well.
_WIDTHS_OF_EVIDENCE = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
#: Shapes by which they are told apart; without those of excitons, which would pass for either.
EVIDENCE = Shapes((DIRECT, BETWEEN, INDIRECT), _WIDTHS_OF_EVIDENCE, GROWTHS[:2])
#: Numbers that are found for each spectrum: those of a gap, and the evidence of these shapes.
N_NUMBERS = len(Gap._fields) + EVIDENCE.size


def band_gaps(losses, settings=None):
    """Find the band gap of every spectrum of a block.

    Parameters
    ----------
    losses : Losses
    settings : GapSettings, optional

    Returns
    -------
    ndarray of shape (n_spectra, N_NUMBERS)
        Columns as in :class:`Gap`, then the logarithm of the evidence of every shape of ``EVIDENCE``;
        NaN where a spectrum does not tell, with the reason.
    """
    settings = settings or GapSettings()
    found = np.full((len(losses.centre), N_NUMBERS), np.nan)
    for row, numbers in enumerate(found):
        gap, evidence = _gap_of(losses, row, settings)
        numbers[: len(gap)], numbers[len(gap) :] = gap, evidence
    return found


def ln_indirect(evidence):
    """Compute the logarithm of the evidence for an indirect gap over that for a direct one.

    Spectra that are taken together share the shape of their onset, not the gap itself.

    Parameters
    ----------
    evidence : ndarray of shape (..., n_spectra, n_shapes)
        Of :func:`band_gaps`; spectra that do not tell are NaN.

    Returns
    -------
    float or ndarray
        ``ln(P(b = 1.5) / P(b = 0.5))``; NaN where no spectrum tells.

    Examples
    --------
    Two spectra that each speak a little for an indirect gap speak more clearly together:

    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.band_gap import EVIDENCE, ln_indirect
    >>> evidence = np.where(EVIDENCE.table[:, 1] == 1.5, 1.0, 0.0)
    >>> [float(ln_indirect(np.array([evidence] * n)).round(6)) for n in (1, 2)]
    [1.0, 2.0]
    """
    direct, _, indirect = _log_evidence(evidence)
    return indirect - direct


def ln_between(evidence):
    """Compute the logarithm of the evidence for an exponent of 1 over that for a direct or an indirect gap.

    Onsets whose exponent is between both are nearer to one of them, and :func:`ln_indirect` prefers that
    one as clearly as if it were true: it tells the kind of a gap only where this number is well below 0.

    Parameters
    ----------
    evidence : ndarray of shape (..., n_spectra, n_shapes)
        Of :func:`band_gaps`; spectra that do not tell are NaN.

    Returns
    -------
    float or ndarray
        ``ln(P(b = 1) / max(P(b = 0.5), P(b = 1.5)))``; NaN where no spectrum tells.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.band_gap import EVIDENCE, ln_between
    >>> evidence = np.where(EVIDENCE.table[:, 1] == 1.5, 1.0, 0.0)
    >>> float(ln_between(evidence[None]))
    -1.0
    """
    direct, between, indirect = _log_evidence(evidence)
    return between - np.maximum(direct, indirect)


def _log_evidence(evidence):
    """Compute the logarithm of the evidence of each exponent, of spectra together; NaN where none tells."""
    tells = np.isfinite(evidence[..., 0])
    total = np.where(tells[..., None], evidence, 0).sum(-2)
    exponent, known = EVIDENCE.table[:, 1], tells.any(-1)
    found = (_log_sum(total[..., exponent == one], axis=-1) for one in EVIDENCE.exponents)
    return [np.where(known, one, np.nan) for one in found]


def _gap_of(losses, row, settings):
    """Find the band gap of one spectrum, and the evidence of the shapes that tell its kind."""
    limit = losses.loss_limit[row]
    if not np.isfinite(limit):
        return _none(Reason.NO_LIMIT)
    low = max(settings.left, limit)
    if settings.right <= limit:
        return _none(Reason.NO_LIMIT)
    whole = binned(losses, row, low)
    spectrum = _Spectrum(
        bins=whole.between(low, settings.right),
        fwhm=losses.fwhm[row],
        lowest=low - _BELOW_LIMIT * losses.fwhm[row],
        response=losses.response[row] if settings.own_response else np.ones(1),
    )
    if spectrum.bins.energy.size < _FEWEST_BINS:
        return _none(Reason.AXIS_TOO_SHORT)
    risen = spectrum.bins.energy[-1] if settings.ends else _risen(spectrum)
    if risen is None:
        return _none(Reason.NOT_SIGNIFICANT)
    onsets = _search(spectrum.until(risen + spectrum.shortest), risen + spectrum.fwhm)
    spectrum, ends = _windows(spectrum, onsets.middle, is_given=settings.ends)
    spectrum = spectrum.free_of_losses_above(onsets.middle, whole)
    spectrum, improvement = _with_departures(spectrum, onsets, ends)
    if improvement < DETECTED:
        return _none(Reason.NOT_SIGNIFICANT, improvement)
    found = _fit(spectrum, onsets, ends, settings)
    evidence, shared = _evidence(spectrum, onsets, found, (1, settings.n_sharing))
    gap = _summary(spectrum, found)._replace(
        improvement=improvement,
        ln_indirect=float(ln_indirect(evidence[None])),
        ln_between=float(ln_between(evidence[None])),
    )
    if gap.lower < settings.left:
        # An onset below what was fitted is the continuation of a shape, not one that was seen.
        gap = gap._replace(reason=float(Reason.AT_EDGE))
    elif gap.reason == Reason.NONE and _has_losses_below(spectrum, gap.lower):
        gap = gap._replace(reason=float(Reason.MISFIT))
    return gap, shared


def _has_losses_below(spectrum, lower):
    """Whether losses stand out below an onset, by as much as an onset must by itself.

    A fit may take them for an error of the ZLP by several of its standard deviations where a clearer
    onset lies above.
    """
    below = spectrum.until(lower - _CLEAR_OF_ONSET * spectrum.fwhm)
    if below.bins.energy.size < _FEWEST_BINS:
        return False
    span = below.bins.energy[-1] - spectrum.lowest
    fineness = max(_COARSE * spectrum.fwhm, span / _MOST_COARSE)
    grid = onset_grid(below.bins, spectrum.lowest, below.bins.energy[-1], fineness)
    shapes = replace(below, reach=np.inf).templates(grid, _SEARCHED)
    fits = fit(below.bins, shapes, [below.bins.energy.size])
    return fits.none[0] - fits.chi2.min() > DETECTED


def _none(reason, improvement=np.nan):
    """Say why there is no gap."""
    return Gap(improvement=improvement, reason=float(reason)), np.nan


@dataclass(frozen=True)
class _Spectrum:
    """Bins of a spectrum, its FWHM, and how onsets are tried on it.

    ``lowest`` is the lowest onset, ``reach`` the length of the shapes (eV), ``response`` blurs them,
    ``single`` are departures of which one may be there, (n_single, n_bins).
    """

    bins: Bins
    fwhm: float
    lowest: float
    response: np.ndarray
    reach: float = np.inf
    single: np.ndarray | None = None

    @property
    def shortest(self):
        """Length of the shortest window above an onset, eV."""
        return max(_SHORTEST[0] * self.fwhm, _SHORTEST[1])

    def templates(self, grid, shapes):
        """Compute the blurred shapes of onsets in the bins."""
        return templates(self.bins, grid, shapes, self.response, reach=self.reach)

    def until(self, high, low=-np.inf):
        """Take the bins below an energy."""
        return replace(self, bins=self.bins.between(low, high))

    def free_of_losses_above(self, onset, whole):
        """Take what the peak's tail brings down from above the bins out of them, and the shapes."""
        bins = self.bins
        end = bins.energy[-1] + 0.5 * bins.step * bins.n_channels
        brought, error = scattered_down(bins, whole.between(end, np.inf), self.response)
        directions = np.concatenate([bins.directions, error[None]])
        bins = bins._replace(signal=bins.signal - brought, directions=directions)
        return replace(self, bins=bins, reach=end - onset)


class _Onsets(NamedTuple):
    """Onsets that the data allow: the range of them, and one in the middle, eV."""

    low: float
    middle: float
    high: float


def _risen(spectrum):
    """Find where the losses have risen out of the errors: where two neighbouring FWHM stand out."""
    bins = spectrum.bins
    n = max(round(spectrum.fwhm / (bins.step * bins.n_channels)), 1)
    if bins.energy.size < 2 * n:
        return None

    def stretches(values):
        return sliding_window_view(values, n, axis=-1).sum(-1)

    variance = stretches(bins.variance) + (stretches(bins.directions) ** 2).sum(0)
    stands_out = stretches(bins.signal) > _RISEN * np.sqrt(variance)
    both = np.flatnonzero(stands_out[:-n] & stands_out[n:])
    return bins.energy[both[0] + n - 1] if both.size else None


def _search(spectrum, highest):
    """Find the onsets that the data allow, on a coarse grid up to the highest."""
    highest = max(highest, spectrum.lowest + spectrum.fwhm)
    fineness = max(_COARSE * spectrum.fwhm, (highest - spectrum.lowest) / _MOST_COARSE)
    grid = onset_grid(spectrum.bins, spectrum.lowest, highest, fineness)
    fits = _fits(spectrum, _SEARCHED, grid, [spectrum.bins.energy.size])
    log_likelihood = _log_sum(_weighted(fits)[0][0], axis=0)
    low, middle, high = _quantiles(grid.energy, log_likelihood, _CONSIDERED)
    return _Onsets(low - spectrum.fwhm / 2, middle, high + spectrum.fwhm / 2)


def _with_departures(spectrum, onsets, ends):
    """Take departures from any shape for errors.

    Everywhere by some part of the losses, as large as the data want it; and at one place or another by
    as much as the losses are, as where an exciton is.

    Returns
    -------
    spectrum : _Spectrum
    improvement : float
        chi2 by which an onset is better than none in the shortest window, without departures.
    """
    bins = spectrum.bins
    grid = _grid(spectrum, onsets, ends, _COARSE)
    found = spectrum.templates(grid, _SEARCHED)
    exact = fit(bins, found, [ends[0], bins.energy.size])
    best = np.unravel_index(exact.chi2[1].argmin(), exact.chi2[1].shape)
    model, distance = exact.height[1][best] * found.of(*best), spectrum.shortest / _DEPARTURES
    everywhere = departures(bins, model, onsets.middle, distance)
    tried = [bins.beside(size * everywhere) for size in _SIZES]
    fits = [fit(one, found, [bins.energy.size]) for one in tried]
    evidence = [-0.5 * (one.chi2.min() + one.log_determinant[0]) for one in fits]
    chosen = int(np.argmax(evidence - np.arange(len(tried)) * _RELUCTANCE))
    single = departures(bins, model, onsets.middle + distance, distance)
    spectrum = replace(spectrum, bins=tried[chosen], single=single)
    return spectrum, exact.none[0] - exact.chi2[0].min()


def _grid(spectrum, onsets, ends, fineness):
    """Lay out onsets within those that are considered, some parts of the FWHM apart."""
    low = max(onsets.low, spectrum.lowest)
    high = max(min(onsets.high, spectrum.bins.energy[ends[0] - 1]), low + spectrum.fwhm)
    fineness = max(fineness * spectrum.fwhm, (high - low) / _MOST_FINE)
    return onset_grid(spectrum.bins, low, high, fineness)


def _fits(spectrum, shapes, grid, n_bins):
    """Fit shapes to the first bins of a spectrum."""
    found = spectrum.templates(grid, shapes)
    return fit(spectrum.bins, found, n_bins, spectrum.single)


def _windows(spectrum, onset, is_given):
    """Choose the windows about an onset: the bins of the longest, and the number of bins of each."""
    if is_given:
        return spectrum, np.array([spectrum.bins.energy.size])
    ends = onset + spectrum.shortest * np.array(_WINDOWS)
    spectrum = spectrum.until(ends[-1], low=onset - _LONGEST_BELOW * spectrum.fwhm)
    n_bins = np.searchsorted(spectrum.bins.energy, ends)
    return spectrum, np.unique(n_bins[n_bins > 0])


class _Fitted(NamedTuple):
    """Fits of one spectrum, and what they say of its onset.

    Attributes
    ----------
    fits : Fits
    onset : ndarray of shape (n_onsets,)
        eV from the peak.
    shapes : Shapes
    log_likelihood : ndarray of shape (n_windows, n_shapes, n_onsets)
        Of every window by itself.
    log_window : ndarray of shape (n_windows,)
        Logarithm of the weight of each window.
    """

    fits: Fits
    onset: np.ndarray
    shapes: Shapes
    log_likelihood: np.ndarray
    log_window: np.ndarray

    @property
    def log_density(self):
        """Logarithm of the posterior of onsets in every window, (n_windows, n_onsets)."""
        density = _log_sum(self.log_likelihood, axis=1)
        return density - _log_sum(density, axis=1, keepdims=True) + self.log_window[:, None]


def _fit(spectrum, onsets, ends, settings):
    """Fit the shapes of all exponents to the windows, at the onsets that are considered."""
    shapes = Shapes(settings.exponents)
    grid = _grid(spectrum, onsets, ends, _FINE)
    fits = _fits(spectrum, shapes, grid, ends)
    return _Fitted(fits, grid.energy, shapes, *_weighted(fits))


def _weighted(fits):
    """Weigh shapes and onsets within a window by chi2, and windows by how well any of them fits."""
    best = fits.chi2.min((1, 2))
    freedom = np.maximum(fits.n_bins - _FITTED, 1)
    # Where no shape fits, errors are larger in proportion.
    temper = np.maximum(best / freedom, 1)[:, None, None]
    log_likelihood = -0.5 * (fits.chi2 - best[:, None, None]) / temper
    log_window = -0.5 * np.maximum(best - freedom - np.sqrt(2 * freedom), 0)
    return log_likelihood, log_window - _log_sum(log_window)


def _summary(spectrum, found):
    """Put into numbers what the fits of a spectrum say."""
    fits, window = found.fits, int(found.log_window.argmax())
    chi2, freedom = fits.chi2[window], max(int(fits.n_bins[window]) - _FITTED, 1)
    shape, place = np.unravel_index(chi2.argmin(), chi2.shape)
    log_density = found.log_density
    lower, gap, upper = _quantiles(found.onset, _log_sum(log_density, axis=0), _QUANTILES)
    std, systematic = _within_and_between(found, log_density)
    exponent, exponent_std = _exponent(found)
    growth, best_exponent, width = found.shapes.table[shape]
    return Gap(
        gap=gap,
        std=std,
        lower=lower,
        upper=upper,
        systematic=systematic,
        exponent=exponent,
        exponent_std=exponent_std,
        reduced_chi2=chi2.min() / freedom,
        first=spectrum.bins.energy[0],
        last=spectrum.bins.energy[fits.n_bins[window] - 1],
        height=fits.height[window, shape, place],
        width=width,
        growth=growth,
        best=found.onset[place],
        best_exponent=best_exponent,
        reason=_reason(
            spectrum, log_density, lower, improbable=gammaincc(freedom / 2, chi2.min() / 2)
        ),
    )


def _quantiles(onset, log_density, probabilities):
    """Find quantiles of a posterior that is given by its logarithm on a grid."""
    fine = np.linspace(onset[0], onset[-1], _BETWEEN * (onset.size - 1) + 1)
    floor = log_density.max() - _NOTHING
    log_fine = CubicSpline(onset, np.maximum(log_density, floor))(fine)
    density = np.exp(log_fine - log_fine.max())
    below = cumulative_trapezoid(density, initial=0)
    return np.interp(probabilities, below / below[-1], fine)


def _within_and_between(found, log_density):
    """Compute the error of the onset that one window gives, and the spread over windows, by their weights."""
    ends = np.array([_quantiles(found.onset, one, _QUANTILES) for one in log_density])
    weights, medians = np.exp(found.log_window), ends[:, 1]
    mean = weights @ medians
    within = weights @ ((ends[:, 2] - ends[:, 0]) / 2) ** 2
    return np.sqrt(within), np.sqrt(weights @ (medians - mean) ** 2)


def _exponent(found):
    """Compute mean and standard deviation of the exponents that are tried."""
    evidence = _log_sum(found.log_likelihood, axis=2) + found.log_window[:, None]
    evidence = _log_sum(evidence, axis=0)
    weights = np.exp(evidence - _log_sum(evidence))
    exponent = found.shapes.table[:, 1]
    mean = weights @ exponent
    return mean, np.sqrt(weights @ (exponent - mean) ** 2)


def _evidence(spectrum, onsets, found, n_sharing):
    """Compute the logarithm of the evidence of the shapes that tell the kind of the gap.

    For all numbers of spectra that share their deviations: where n share one, a standard normal number, the
    sum of their logarithms is that of spectra of which each has its own with n times the variance.

    In the longest window that fits as well as any, for evidence of different windows is of different
    data; at the best onset of each shape, for the range of onsets that are tried says nothing of it.
    """
    window = np.flatnonzero(found.log_window > found.log_window.max() - _AS_WELL)[-1]
    ends = found.fits.n_bins[window : window + 1]
    shapes = spectrum.templates(_grid(spectrum, onsets, ends, _MIDDLING), EVIDENCE)
    found = {}
    for n in set(n_sharing):
        bins = spectrum.bins._replace(directions=spectrum.bins.directions * np.sqrt(n))
        log_likelihood, _ = _weighted(fit(bins, shapes, ends, spectrum.single))
        found[n] = log_likelihood[0].max(-1)
    return [found[n] for n in n_sharing]


def _reason(spectrum, log_density, lower, improbable):
    """Say what is to be minded of a gap."""
    total = _log_sum(log_density, axis=0)
    if total.argmax() == 0 or total.argmax() == total.size - 1:
        return Reason.AT_EDGE
    if lower < _RESOLVED * spectrum.fwhm:
        return Reason.BELOW_RESOLUTION
    return Reason.MISFIT if improbable < _IMPROBABLE else Reason.NONE


class Onset(NamedTuple):
    """Best onset of one spectrum and what is fitted along, counts in each channel.

    Attributes
    ----------
    rise : ndarray of shape (n_energy,)
        Onset by itself, blurred.
    tail : ndarray of shape (n_energy,)
        What the tail of the peak brings down from above the window.
    zlp : ndarray of shape (n_energy,)
        By how much the ZLP is taken to be higher than it was matched, within its errors.
    """

    rise: np.ndarray
    tail: np.ndarray
    zlp: np.ndarray

    @property
    def total(self):
        """Sum of all of these, (n_energy,)."""
        return self.rise + self.tail + self.zlp


def onset_curve(losses, gap):
    """Compute the best onset of one spectrum, channel by channel.

    Parameters
    ----------
    losses : Losses
        Of one spectrum.
    gap : Gap
        What was found in it, or in it and its neighbours: the height is fitted anew.

    Returns
    -------
    Onset
        NaN outside of the window.
    """
    curves = Onset(*np.full((3, losses.energy.size), np.nan))
    if not np.isfinite(gap.best):
        return curves
    parts = np.searchsorted(losses.from_peak[0], [gap.first, gap.last])
    inside, above = np.arange(*parts), np.arange(parts[1], losses.energy.size)
    bins, response = channels_of(losses, 0, inside), losses.response[0]
    grid = onset_grid(bins, gap.best, gap.best, _OF_CURVE * losses.step)
    nearest = [int(np.abs(grid.energy - gap.best).argmin())]
    grid = grid._replace(energy=grid.energy[nearest], before=grid.before[nearest])
    shapes = Shapes((gap.best_exponent,), (gap.width,), (gap.growth,))
    found = templates(bins, grid, shapes, response, reach=bins.energy[-1] - gap.best)
    brought, _ = scattered_down(bins, channels_of(losses, 0, above), response)
    bins = bins._replace(signal=bins.signal - brought)
    rise = fit(bins, found, [inside.size]).height.item() * found.of(0, 0)
    for curve, part in zip(curves, (rise, brought, _fitted_along(bins, rise)), strict=True):
        curve[inside] = part
    return curves


def _fitted_along(bins, model):
    """Find by how much the ZLP is wrong if a model is right: directions within their errors."""
    of_noise = bins.directions / bins.variance
    normal = np.eye(len(of_noise)) + of_noise @ bins.directions.T
    return np.linalg.solve(normal, of_noise @ (bins.signal - model)) @ bins.directions
