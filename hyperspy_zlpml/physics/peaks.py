# SPDX-License-Identifier: GPL-3.0-or-later
"""Plasmons and excitons of blocks of spectra: position, width and area, each with two errors.

``std`` is what noise and zero-loss peak make of a number if the model holds; ``systematic`` is what
other windows make of it, and the misfit of the model.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.physics.deconvolution import channels_to_sum, rebinned, single_scattering
from hyperspy_zlpml.physics.peak_fits import N_NUMBERS, Model, Prior, least_squares
from hyperspy_zlpml.physics.peak_search import FARTHEST, search
from hyperspy_zlpml.physics.peak_shapes import drude_area, drude_maximum
from hyperspy_zlpml.physics.peak_windows import Window, mirrored, take_window
from hyperspy_zlpml.physics.pooling import cropped
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.statistics import inverted

#: Numbers of a peak, each with its value, standard deviation and systematic error.
QUANTITIES = ("position", "maximum", "width", "area", "top")
#: What is told of a fit beside.
TOLD = ("chi2", "significance", "reason")
#: Columns of a peak in the result of :func:`fit_peaks`.
WIDTH = 3 * len(QUANTITIES) + len(TOLD)

#: Least half window in FWHM of the zero-loss peak.
_LEAST_REACH = 1.0
#: Windows that are fitted besides, in units of that asked for.
_OTHER_WINDOWS = (0.8, 1.25)
#: Fraction of a window that must be on the axis and above the limit of losses.
_LEAST_USED = 0.6
#: Largest error of a position, in units of how far a peak is looked for, that tells where it is.
_LARGEST_ERROR = 0.5
#: Factor by which a width may be off what was asked for.
_ANOTHER_WIDTH = 2.5
#: Standard deviations of ln amplitude and ln width about what is expected; that of the position is how
#: far it is looked for.
_AMPLITUDE, _WIDTH = 3.0, {"drude": 1.0, "gaussian": 0.3, "lorentzian": 0.3}
#: Half ranges about the maximum of a plasmon that is taken without a model, in its width.
_TOPS = (0.3, 0.4)
#: Order of the polynomial through a top; bins there are so many times finer; steps to its maximum.
_TOP_ORDER, _FINER, _NEWTON_STEPS = 4, 3, 8
#: Error of the zero of energies, the place of the zero-loss peak, that all spectra share; in its FWHM.
_ZERO = 0.002
#: Reduced chi2 above which a model does not fit, ...
_MISFIT_CHI2 = 4.0
#: ... if it matters: systematic error of the position in widths, what is missed in heights of the peak.
_MATTERS, _MISSED = 0.1, 0.05


class _Found(NamedTuple):
    """Values and standard deviations, (n, n_peaks, n_quantities), and what is told of the fit.

    ``missed`` is the root of the mean square of what the model misses beside noise, in units of the
    height of each peak, (n, n_peaks).
    """

    parameters: np.ndarray
    values: np.ndarray
    std: np.ndarray
    chi2: np.ndarray
    missed: np.ndarray
    converged: np.ndarray


def fit_peaks(losses, peaks, weight=None, threshold=3.0, is_single=True, is_gain=False):
    """Fit peaks to every spectrum; those whose windows overlap together.

    Parameters
    ----------
    losses : Losses
        Of n spectra.
    peaks : sequence of Plasmon or Exciton
        Energies in eV.
    weight : callable, optional
        Of the energy: the angular logarithm, by which the loss function of plasmons is multiplied.
    threshold : float
        Standard deviations by which a peak must be there to be fitted.
    is_single : bool
        Whether plasmons are fitted to single scattering.
    is_gain : bool
        Whether energies are those that electrons gained.

    Returns
    -------
    ndarray of shape (n, n_peaks * WIDTH)
        For each peak value, standard deviation and systematic error of position, maximum, width,
        area and top; then reduced chi2, significance and reason.
    """
    columns = np.full((len(losses.centre), len(peaks), WIDTH), np.nan)
    for group in groups_of(peaks):
        some = [peaks[k] for k in group]
        piece = prepared(losses, some, is_single=is_single, is_gain=is_gain)
        columns[:, group] = fit_group(piece, some, weight, threshold)
    return columns.reshape(len(columns), -1)


def prepared(losses, peaks, is_single=True, is_gain=False):
    """Take losses as peaks of one window are fitted to them.

    Parameters
    ----------
    losses : Losses
    peaks : sequence of Plasmon or Exciton
    is_single, is_gain : bool
        See :func:`fit_peaks`.

    Returns
    -------
    Losses
        Of single scattering where there are plasmons, and turned round for gains.
    """
    losses = mirrored(losses) if is_gain else losses
    has_plasmon = any(peak.background is None for peak in peaks)
    return _single(losses, peaks) if is_single and has_plasmon else losses


def piece_of(losses, peaks, is_single=True, is_gain=False):
    """Cut from every spectrum what a fit of one window needs.

    Parameters
    ----------
    losses : Losses
    peaks : sequence of Plasmon or Exciton
    is_single, is_gain : bool
        See :func:`fit_peaks`.

    Returns
    -------
    Losses
        On one axis of energies from the peaks.
    """
    losses = prepared(losses, peaks, is_single, is_gain)
    low, high = _ends(losses, peaks)[-1]
    margin = max(FARTHEST[peak.shape] * peak.width for peak in peaks) + losses.step
    return cropped(losses, max(low - margin, 0.0), high + margin)


def groups_of(peaks):
    """Sort peaks into groups whose windows overlap.

    Parameters
    ----------
    peaks : sequence of Plasmon or Exciton

    Returns
    -------
    list of list of int

    Examples
    --------
    >>> from hyperspy_zlpml.physics.peak_shapes import Exciton, Plasmon
    >>> from hyperspy_zlpml.physics.peaks import groups_of
    >>> groups_of([Exciton(2.0, 0.2), Plasmon(22.0, 6.0), Exciton(2.4, 0.3)])
    [[0, 2], [1]]
    """
    groups, end = [], -np.inf
    for k in sorted(range(len(peaks)), key=lambda k: peaks[k].window()):
        low, high = peaks[k].window()
        if low < end:
            groups[-1].append(k)
        else:
            groups.append([k])
        end = max(end, high)
    return groups


def _single(losses, peaks):
    """Take losses of single scattering, in bins no wider than the peaks or the resolution need."""
    finest = _narrowest(peaks) / 20
    n_together = min(
        channels_to_sum(_fwhm_of(losses), losses.step), max(int(finest / losses.step), 1)
    )
    losses = rebinned(losses, n_together)
    found = single_scattering(losses)
    return replace(
        losses,
        counts=found.counts + losses.zlp,
        variance=found.variance,
        directions=found.directions,
    )


def _fwhm_of(losses):
    """Resolution of all spectra, by the axis of their responses."""
    return losses.distance[-1] / 8.0


def fit_group(losses, peaks, weight=None, threshold=3.0):
    """Fit peaks of one window to every spectrum, as it is.

    Parameters
    ----------
    losses : Losses
        Of :func:`prepared`, or of :func:`piece_of` and pooled.
    peaks : sequence of Plasmon or Exciton
    weight : callable, optional
    threshold : float
        See :func:`fit_peaks`.

    Returns
    -------
    ndarray of shape (n, n_peaks, WIDTH)
    """
    model, narrowest = _model_of(losses, peaks, weight), _narrowest(peaks)
    ends = _ends(losses, peaks)
    columns = np.full((len(losses.centre), len(peaks), WIDTH), np.nan)
    asked = take_window(losses, *ends[0], narrowest)
    reasons = _why_not(losses, peaks, asked)
    columns[..., -1] = reasons
    rows = np.flatnonzero((reasons == Reason.NONE).any(-1))
    if rows.size:
        some = losses.select(rows)
        others = [take_window(some, *both, narrowest) for both in ends[1:]]
        windows = [one.doubting(model.order) for one in (asked.select(rows), *others)]
        columns[rows] = _fit_rows(model, some, windows, threshold=threshold, reasons=reasons[rows])
    return columns


def _ends(losses, peaks):
    """List the windows of some peaks together: that asked for, and those fitted besides."""
    least = _LEAST_REACH * _fwhm_of(losses)
    windows = [peak.window(least) for peak in peaks]
    low, high = min(low for low, _ in windows), max(high for _, high in windows)
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    factors = (1.0, *_OTHER_WINDOWS)
    return [(max(middle - one * half, 0.0), middle + one * half) for one in factors]


def _why_not(losses, peaks, window):
    """Reasons why peaks of spectra cannot be fitted, (n, n_peaks)."""
    position = np.array([peak.energy for peak in peaks])
    half = 0.5 * np.array([peak.width for peak in peaks])
    limit = losses.loss_limit[:, None]
    inside = window.energy >= 0
    most_missing = (1 - _LEAST_USED) * np.maximum(inside.sum(-1), 1)
    is_short = inside.sum(-1) - window.n_used > most_missing
    is_hidden = (inside & (window.energy < limit)).sum(-1) > most_missing
    end = losses.energy[-1] - losses.centre
    found = np.full((len(limit), len(peaks)), float(Reason.NONE))
    found[is_short[:, None] | (position + half > end[:, None])] = Reason.AXIS_TOO_SHORT
    found[is_hidden[:, None] | (position - half < limit)] = Reason.BELOW_RESOLUTION
    found[~np.isfinite(losses.counts).any(-1)] = Reason.TOO_THICK
    found[~np.isfinite(losses.loss_limit)] = Reason.NO_LIMIT
    return found


class Attempt(NamedTuple):
    """Fit of the peaks of one window to spectra, whether they stand out or not.

    Attributes
    ----------
    model : Model
    window : Window
    parameters : ndarray of shape (n, n_parameters)
    """

    model: Model
    window: Window
    parameters: np.ndarray


def attempt(losses, peaks, weight=None):
    """Fit peaks of one window to every spectrum, where they are clearest.

    Parameters
    ----------
    losses : Losses
        See :func:`fit_group`.
    peaks : sequence of Plasmon or Exciton
    weight : callable, optional
        See :func:`fit_peaks`.

    Returns
    -------
    Attempt
    """
    model = _model_of(losses, peaks, weight)
    ends = _ends(losses, peaks)[0]
    window = take_window(losses, *ends, _narrowest(peaks)).doubting(model.order)
    fit = least_squares(model, window, *_start(model, search(model, window)))
    return Attempt(model, window, fit.parameters)


def _model_of(losses, peaks, weight):
    """Make the model of the peaks of one window, over the highest order of background of any."""
    order = max(-1 if peak.background is None else peak.background for peak in peaks)
    return Model(peaks, order, losses.step, weight)


def _narrowest(peaks):
    """Find the least width of some peaks."""
    return min(peak.width for peak in peaks)


def _fit_rows(model, losses, windows, threshold, reasons):
    """Look for peaks, fit them, and vary the window; (n, n_peaks, WIDTH)."""
    window, peaks = windows[0], model.peaks
    looked = search(model, window)
    columns = np.full(reasons.shape + (WIDTH,), np.nan)
    columns[..., -2] = looked.significance
    is_there = (looked.significance >= threshold) & (reasons == Reason.NONE)
    reasons = np.where(is_there | (reasons != Reason.NONE), reasons, Reason.NOT_SIGNIFICANT)
    rows = np.flatnonzero(is_there.any(-1))
    if rows.size:
        start, prior = _start(model, looked)
        start, prior = start[rows], prior._replace(mean=prior.mean[rows])
        found = [_fitted(model, window.select(rows), start, prior)]
        for other in windows[1:]:
            found.append(_fitted(model, other.select(rows), found[0].parameters, prior))
        zero = _ZERO * _fwhm_of(losses)
        fitted = _with_errors(found, zero, looked.widening[rows])
        tops = _tops(losses, peaks, rows, fitted)
        columns[rows, :, :-2] = np.concatenate([fitted[..., :-1], tops, fitted[..., -1:]], -1)
        reasons[rows] = np.where(
            is_there[rows], _doubts(model, found[0], columns[rows], is_there[rows]), reasons[rows]
        )
    columns[..., -1] = reasons
    missing = ~np.isin(reasons, (Reason.NONE, Reason.MISFIT))
    columns[..., :-2][missing] = np.nan
    return columns


def _start(model, looked):
    """Start values of fits, and what is known before."""
    amplitude = np.maximum(looked.amplitude, looked.sigma)
    expected, width = (
        np.broadcast_to([getattr(peak, name) for peak in model.peaks], amplitude.shape)
        for name in ("energy", "width")
    )
    start, mean = (
        np.log(np.stack([amplitude, place, width], -1)).reshape(-1, model.n_parameters)
        for place in (looked.position, expected)
    )
    sigma = [
        (_AMPLITUDE, FARTHEST[peak.shape] * peak.width / peak.energy, _WIDTH[peak.shape])
        for peak in model.peaks
    ]
    return start, Prior(mean, np.ravel(sigma) ** -2)


def _fitted(model, window, start, prior):
    """Fit, and say what the parameters mean."""
    fit = least_squares(model, window, start, prior)
    values, std = [], []
    for k, peak in enumerate(model.peaks):
        own = slice(N_NUMBERS * k, N_NUMBERS * (k + 1))
        meant = _meaning(peak, model, fit.parameters[:, own], fit.covariance[:, own, own])
        values.append(np.stack(meant[0], -1))
        std.append(np.stack(meant[1], -1))
    return _Found(
        parameters=fit.parameters,
        values=np.stack(values, 1),
        std=np.stack(std, 1),
        chi2=fit.chi2,
        missed=_missed(model, window, fit),
        converged=fit.converged,
    )


def _missed(model, window, fit):
    """Compute what a fit misses beside noise, in units of the height of each peak, (n, n_peaks)."""
    peaks = model.evaluate(window, fit.parameters)[1][:, ::N_NUMBERS]
    heights = (peaks * window.weight[:, None]).max(-1)
    return np.sqrt(np.maximum(fit.chi2 - 1, 0))[:, None] / np.maximum(heights, 1e-300)


def _meaning(peak, model, parameters, covariance):
    """Position, maximum, width and area of one peak, and their standard deviations."""
    amplitude, position, width = np.exp(parameters).T
    nothing = np.zeros_like(position)
    if peak.shape == "drude":
        maximum = drude_maximum(position, width)
        area = np.array(drude_area(position, width, model.weight)) * amplitude / model.channel
    else:
        maximum, area = (position, position, nothing), (amplitude, nothing, nothing)
    values = (position, maximum[0], width, area[0])
    gradients = np.array(
        [
            [nothing, position, nothing],
            [nothing, maximum[1], maximum[2]],
            [nothing, nothing, width],
            list(area),
        ]
    )
    variance = np.einsum("qpn,npr,qrn->qn", gradients, covariance, gradients)
    return values, np.sqrt(np.maximum(variance, 0))


def _tops(losses, peaks, rows, fitted):
    """Maxima of plasmons without a model, (n, n_peaks, 3): value, std, systematic."""
    found = np.full((len(rows), len(peaks), 3), np.nan)
    for k, peak in enumerate(peaks):
        if peak.shape == "drude":
            about, width = fitted[:, k, 3], np.hypot(fitted[:, k, 6], _fwhm_of(losses))
            reach = peak.width * (FARTHEST["drude"] + max(_TOPS))
            ends = max(peak.energy - reach, 0.0), peak.energy + reach
            window = take_window(losses.select(rows), *ends, peak.width / _FINER)
            (place, std), (other, _) = (top(window, about, one * width) for one in _TOPS)
            systematic = np.hypot(other - place, _ZERO * _fwhm_of(losses))
            found[:, k] = np.stack([place, std, systematic], -1)
    return found


def top(window, about, reach):
    """Find the maximum of every spectrum without a model: of a quartic through its top.

    A parabola is off by some hundredths of the width where the top is not symmetric.

    Parameters
    ----------
    window : Window
    about : ndarray of shape (n,)
        Where it is, about; eV.
    reach : ndarray of shape (n,)
        Half of the range of the quartic, eV.

    Returns
    -------
    place, std : ndarray of shape (n,)
        eV; NaN where there is no maximum in the range.
    """
    about, reach = np.nan_to_num(about), np.nan_to_num(reach)
    window = window.within(about - reach, about + reach)
    enough = window.n_used > 2 * _TOP_ORDER
    x = (window.energy - about[:, None]) / np.where(reach > 0, reach, 1.0)[:, None]
    powers = np.where(window.weight > 0, x, 0.0)[:, None] ** np.arange(_TOP_ORDER + 1)[:, None]
    rows = window.whiten(np.concatenate([window.values[:, None], powers], 1))
    normal = rows[:, 1:] @ rows[:, 1:].swapaxes(-1, -2)
    covariance = inverted(np.where(enough[:, None, None], normal, np.eye(_TOP_ORDER + 1)))
    with np.errstate(invalid="ignore"):  # of spectra that do not tell all of the quartic
        quartic = (covariance @ (rows[:, 1:] @ rows[:, 0][..., None]))[..., 0]
        place, slope, bend = _maximum_of(quartic)
        std = np.sqrt(np.einsum("np,npq,nq->n", slope, covariance, slope)) / np.abs(bend)
    found = enough & (bend < 0) & (np.abs(place) < 1)
    return np.where(found, about + reach * place, np.nan), np.where(found, reach * std, np.nan)


def _maximum_of(polynomial):
    """Maximum nearest to 0 by Newton's method; derivatives of the slope there, and its bend."""
    power = np.arange(polynomial.shape[-1])
    place = np.zeros(len(polynomial))
    for _ in range(_NEWTON_STEPS + 1):
        slope = power * place[:, None] ** np.maximum(power - 1, 0)
        curve = power * (power - 1) * place[:, None] ** np.maximum(power - 2, 0)
        bend = (curve * polynomial).sum(-1)
        bend = np.where(bend == 0, np.inf, bend)
        step = (slope * polynomial).sum(-1) / bend
        last, place = place, np.clip(place - step, -2, 2)
    return last, slope, bend


def _with_errors(found, zero, widening):
    """Columns of values, standard deviations, systematic errors and chi2."""
    first = found[0]
    std = first.std.copy()
    std[..., :2] *= widening[..., None]
    values = np.stack([one.values for one in found])
    spread = 0.5 * (values.max(0) - values.min(0))
    misfit = np.sqrt(np.maximum(first.chi2 - 1, 0))[:, None, None] * std
    systematic = np.hypot(spread, misfit)
    systematic[..., :2] = np.hypot(systematic[..., :2], zero)
    columns = np.stack([first.values, std, systematic], -1)
    chi2 = np.broadcast_to(first.chi2[:, None, None], columns.shape[:2] + (1,))
    return np.concatenate([columns.reshape(columns.shape[:2] + (-1,)), chi2], -1)


def _doubts(model, found, columns, is_there):
    """Reasons why what was fitted does not hold, (n, n_peaks)."""
    position, width = found.values[..., 0], found.values[..., 2]
    expected, asked = np.array([(peak.energy, peak.width) for peak in model.peaks]).T
    reach = np.array([FARTHEST[peak.shape] for peak in model.peaks]) * asked
    is_another = np.abs(np.log(width / asked)) > np.log(_ANOTHER_WIDTH)
    finite = np.isfinite(columns[..., : 3 * 4]).all(-1)
    order = np.argsort(expected)
    is_crossed = np.diff(position[:, order]) <= 0
    is_crossed &= is_there[:, order][:, 1:] & is_there[:, order][:, :-1]
    is_crossed = is_crossed.any(-1, keepdims=True)
    matters = (columns[..., 2] > _MATTERS * width) | (found.missed > _MISSED)
    doubts = [
        (~found.converged[:, None] | ~finite | is_crossed, Reason.NOT_CONVERGED),
        (position < expected - reach, Reason.AT_LOWER_END),
        (position > expected + reach, Reason.AT_UPPER_END),
        (is_another, Reason.OTHER_WIDTH),
        ((found.chi2 > _MISFIT_CHI2)[:, None] & matters, Reason.MISFIT),
        (np.hypot(columns[..., 1], columns[..., 2]) > _LARGEST_ERROR * reach, Reason.NOT_CONVERGED),
    ]
    conditions, why = zip(*doubts, strict=True)
    return np.select(conditions, why, Reason.NONE)
