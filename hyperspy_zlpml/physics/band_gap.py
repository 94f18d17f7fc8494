# SPDX-License-Identifier: GPL-3.0-or-later
"""Band gap of every spectrum of a block, from the onset of its losses.

Losses are first searched for where they rise out of the errors of noise and ZLP. Onsets of all shapes
are then fitted to the bins from ``E_I`` up to several ends above, and the gap is what they say
together. Errors therefore hold the noise, the ZLP, the shape and the window.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import gammaincc

from hyperspy_zlpml.physics.bins import binned
from hyperspy_zlpml.physics.gap_kind import kind_of
from hyperspy_zlpml.physics.guessed_tail import stands_above_guess
from hyperspy_zlpml.physics.onset import Shapes
from hyperspy_zlpml.physics.onset_fit import fit
from hyperspy_zlpml.physics.onset_posterior import (
    QUANTILES,
    Fitted,
    log_sum,
    mean_exponent,
    n_fitted,
    quantiles,
    weighted,
    within_and_between,
)
from hyperspy_zlpml.physics.onset_products import SHAPES
from hyperspy_zlpml.physics.onset_search import (
    DETECTED,
    FEWEST_BINS,
    OnsetSpectrum,
    fits_of,
    grid_of,
    has_losses_below,
    risen,
    search,
    windows,
    with_departures,
)
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.statistics import Range

#: Exponents that are tried where none is known.
EXPONENTS = (0.3, 0.65, 1.0, 1.4, 1.75, 2.1, 2.5)
#: Onsets are this far below E_I at most, FWHM: lower ones would have moved E_I.
_BELOW_LIMIT = 1.0
#: Gaps whose 68 % interval reaches below this many FWHM are not told from the peak.
_RESOLVED = 2.0
#: Distance of onsets in the fit, FWHM.
_FINE = 0.1
#: Distance of onsets in the fit that tells the kind of the gap, FWHM.
_MIDDLING = 0.125
#: Logarithm of the weight by which a window may fit worse than the best, and as well for all that.
_AS_WELL = 0.7
#: Probability below which a chi2 is a misfit.
_IMPROBABLE = 1e-3


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
    pooled : bool
        Whether each spectrum is the mean of several.
    tail_is_guessed : bool
        Whether nothing shows the tail of the ZLP beyond ``E_I``: no vacuum, nor pixels of differing thickness.
    """

    exponents: tuple[float, ...] = EXPONENTS
    left: float = 0.0
    right: float = np.inf
    own_response: bool = True
    pooled: bool = False
    tail_is_guessed: bool = False

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
    lowest, highest, end : float
        Onsets that were considered, and the end of the longest window, eV from the peak.
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
    lowest: float = np.nan
    highest: float = np.nan
    end: float = np.nan
    best: float = np.nan
    best_exponent: float = np.nan
    reason: float = float(Reason.NONE)


#: Numbers that are found for each spectrum.
N_NUMBERS = len(Gap._fields)


def band_gaps(losses, settings=None):
    """Find the band gap of every spectrum of a block.

    Parameters
    ----------
    losses : Losses
    settings : GapSettings, optional

    Returns
    -------
    ndarray of shape (n_spectra, N_NUMBERS)
        Columns as in :class:`Gap`; NaN where a spectrum does not tell, with the reason.
    """
    settings = settings or GapSettings()
    found = [_gap_of(losses, row, settings) for row in range(len(losses.centre))]
    return np.array(found, float).reshape(-1, N_NUMBERS)


def _gap_of(losses, row, settings):
    """Find the band gap of one spectrum."""
    limit = losses.loss_limit[row]
    if not np.isfinite(limit) or settings.right <= limit:
        return _none(Reason.NO_LIMIT)
    low = max(settings.left, limit)
    whole = binned(losses, row, low)
    spectrum = OnsetSpectrum(
        bins=whole.between(low, settings.right),
        fwhm=losses.fwhm[row],
        lowest=low - _BELOW_LIMIT * losses.fwhm[row],
        response=losses.response[row] if settings.own_response else np.ones(1),
        pooled=settings.pooled,
    )
    if spectrum.bins.energy.size < FEWEST_BINS:
        return _none(Reason.AXIS_TOO_SHORT)
    above = spectrum.bins.energy[-1] if settings.ends else risen(spectrum)
    if above is None:
        return _none(Reason.NOT_SIGNIFICANT)
    onsets = search(spectrum.until(above + spectrum.shortest), above + spectrum.fwhm)
    spectrum, ends = windows(spectrum, onsets.middle, is_given=settings.ends)
    plain = spectrum.free_of_losses_above(whole)
    spectrum, improvement = with_departures(plain, onsets, ends)
    if improvement < DETECTED:
        return _none(Reason.NOT_SIGNIFICANT, improvement)
    shapes, grid = Shapes(settings.exponents), grid_of(spectrum, onsets, ends, _FINE)
    fits = fits_of(spectrum, shapes, grid, ends)
    found = Fitted(fits, grid.energy, shapes, *weighted(fits, spectrum.pooled))
    gap = _summary(spectrum, found)._replace(
        improvement=improvement,
        lowest=onsets.low,
        highest=onsets.high,
        **_kind_of_one(spectrum, onsets, found)._asdict(),
    )
    reason = _reason_of(spectrum, gap, settings)
    if reason == Reason.NONE and settings.tail_is_guessed:
        is_told = stands_above_guess(losses, row, plain, found=(onsets, ends), lower=gap.lower)
        reason = Reason.NONE if is_told else Reason.TAIL_GUESSED
    return gap._replace(reason=float(reason))


def _none(reason, improvement=np.nan):
    """Say why there is no gap."""
    return Gap(improvement=improvement, reason=float(reason))


def _reason_of(spectrum, gap, settings):
    """Say what is to be minded of a gap, by what lies beside the window."""
    if gap.lower < settings.left:
        # An onset below what was fitted is the continuation of a shape, not one that was seen.
        return Reason.AT_LOWER_END
    if gap.reason == Reason.NONE and has_losses_below(spectrum, gap.lower):
        return Reason.MISFIT
    return gap.reason


def _summary(spectrum, found):
    """Put into numbers what the fits of a spectrum say."""
    fits, window = found.fits, int(found.log_window.argmax())
    chi2, freedom = fits.chi2[window], max(int(fits.n_bins[window]) - n_fitted(spectrum.pooled), 1)
    shape, place = np.unravel_index(chi2.argmin(), chi2.shape)
    log_density = log_sum(found.log_density, axis=0)
    lower, gap, upper = quantiles(found.onset, log_density, QUANTILES)
    std, systematic = within_and_between(found)
    exponent, exponent_std = mean_exponent(found)
    growth, best_exponent, width = found.shapes.table[shape]
    improbable = gammaincc(freedom / 2, chi2.min() / 2)
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
        end=spectrum.bins.energy[-1],
        best=found.onset[place],
        best_exponent=best_exponent,
        reason=_reason(spectrum, log_density, Range(lower, upper), improbable),
    )


def _kind_of_one(spectrum, onsets, found):
    """Tell the kind of the gap by one spectrum.

    In the longest window that fits as well as any, for evidence of different windows is of different
    data; at the best onset of each shape, for the range of onsets that are tried says nothing of it.
    """
    window = np.flatnonzero(found.log_window > found.log_window.max() - _AS_WELL)[-1]
    ends = found.fits.n_bins[window : window + 1]
    shapes = spectrum.templates(grid_of(spectrum, onsets, ends, _MIDDLING), SHAPES)
    fits = fit(spectrum.bins, shapes, ends, spectrum.single)
    log_likelihood, _ = weighted(fits, spectrum.pooled)
    return kind_of(log_likelihood[0].max(-1))


def _reason(spectrum, log_density, interval, improbable):
    """Say what is to be minded of a gap, by its posterior."""
    ends = {0: Reason.AT_LOWER_END, log_density.size - 1: Reason.AT_UPPER_END}
    if int(log_density.argmax()) in ends:
        return ends[int(log_density.argmax())]
    if interval.low < _RESOLVED * spectrum.fwhm:
        return Reason.BELOW_RESOLUTION
    # Windows above one end of a longer interval do not hold the other.
    is_settled = interval.high - interval.low < spectrum.shortest
    return Reason.NONE if is_settled and improbable >= _IMPROBABLE else Reason.MISFIT
