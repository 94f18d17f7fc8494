# SPDX-License-Identifier: GPL-3.0-or-later
"""Plasmons and excitons of blocks of spectra: position, width and area, each with two errors.

``std`` is what noise and zero-loss peak make of a number if the model holds; ``systematic`` is what
other windows make of it, and the misfit of the model.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.physics.deconvolution import channels_to_sum, rebinned, single_scattering
from hyperspy_zlpml.physics.peak_fits import N_NUMBERS, Model, Prior, least_squares, scan
from hyperspy_zlpml.physics.peak_shapes import drude_area, drude_maximum
from hyperspy_zlpml.physics.peak_windows import take_window
from hyperspy_zlpml.physics.reasons import Reason

#: Numbers of a peak, each with its value, standard deviation and systematic error.
QUANTITIES = ("position", "maximum", "width", "area", "top")
#: What is told of a fit beside.
TOLD = ("chi2", "significance", "reason")
#: Columns of a peak in the result of :func:`fit_peaks`.
WIDTH = 3 * len(QUANTITIES) + len(TOLD)

#: Least half window in FWHM of the zero-loss peak.
_LEAST_REACH = 2.0
#: Windows that are fitted besides, in units of that asked for.
_OTHER_WINDOWS = (0.8, 1.25)
#: Fraction of a window that must be on the axis and above the limit of losses.
_LEAST_USED = 0.6
#: Places where a peak is looked for, and how far in widths from where it is expected.
_N_PLACES, _FARTHEST = 17, {"drude": 0.5, "gaussian": 1.0, "lorentzian": 1.0}
#: Standard deviations of ln amplitude, ln position and ln width about where they are expected.
_EXPECTED = {"drude": (3.0, 1.0, 1.0), "gaussian": (3.0, 1.0, 0.3), "lorentzian": (3.0, 1.0, 0.3)}
#: Half window about the maximum of a plasmon that is taken without a model, in its width.
_TOP = 0.35
#: Reduced chi2, and residual in units of the peaks, above which a model does not fit.
_MISFIT_CHI2, _MISFIT = 4.0, 0.1


class _Found(NamedTuple):
    """Values and standard deviations, (n, n_peaks, n_quantities), and what is told of the fit."""

    values: np.ndarray
    std: np.ndarray
    chi2: np.ndarray
    converged: np.ndarray


def fit_peaks(losses, peaks, weight=None, threshold=3.0, is_single=True):
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

    Returns
    -------
    ndarray of shape (n, n_peaks * WIDTH)
        For each peak value, standard deviation and systematic error of position, maximum, width,
        area and top; then reduced chi2, significance and reason.
    """
    columns = np.full((len(losses.centre), len(peaks), WIDTH), np.nan)
    for group in groups_of(peaks):
        some = [peaks[k] for k in group]
        has_plasmon = any(peak.background is None for peak in some)
        single = _single(losses, some) if is_single and has_plasmon else losses
        columns[:, group] = _fit_group(single, some, weight, threshold)
    return columns.reshape(len(columns), -1)


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
    for k in sorted(range(len(peaks)), key=lambda k: peaks[k].left):
        if peaks[k].left < end:
            groups[-1].append(k)
        else:
            groups.append([k])
        end = max(end, peaks[k].right)
    return groups


def _single(losses, peaks):
    """Take losses of single scattering, in bins no wider than the peaks or the resolution need."""
    finest = min(peak.width for peak in peaks) / 20
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


def _fit_group(losses, peaks, weight, threshold):
    """Fit peaks of one window to every spectrum; (n, n_peaks, WIDTH)."""
    order = max(-1 if peak.background is None else peak.background for peak in peaks)
    model = Model(peaks, order, losses.step, weight)
    low, high = _span(losses, peaks)
    middle, half = 0.5 * (low + high), 0.5 * (high - low) * np.array([1.0, *_OTHER_WINDOWS])
    narrowest = min(peak.width for peak in peaks)
    ends = [(max(middle - one, 0.0), middle + one) for one in half]
    columns = np.full((len(losses.centre), len(peaks), WIDTH), np.nan)
    reasons = _why_not(losses, peaks, take_window(losses, *ends[0], narrowest))
    columns[..., -1] = reasons
    rows = np.flatnonzero((reasons == Reason.NONE).any(-1))
    if rows.size:
        some = losses.select(rows)
        windows = [take_window(some, *both, narrowest).doubting(order) for both in ends]
        columns[rows] = _fit_rows(model, windows, threshold, reasons[rows])
    return columns


def _span(losses, peaks):
    """Ends of the window of some peaks together."""
    least = _LEAST_REACH * _fwhm_of(losses)
    low = min(min(peak.left, peak.energy - least) if peak.window is None else peak.left for peak in peaks)
    high = max(
        max(peak.right, peak.energy + least) if peak.window is None else peak.right for peak in peaks
    )
    return max(low, 0.0), high


def _why_not(losses, peaks, window):
    """Reasons why peaks of spectra cannot be fitted, (n, n_peaks)."""
    position = np.array([peak.energy for peak in peaks])
    half = 0.5 * np.array([peak.width for peak in peaks])
    limit = losses.loss_limit[:, None]
    n_inside = np.maximum((window.energy >= 0).sum(-1), 1)
    conditions = [
        ~np.isfinite(limit) | np.zeros(position.shape, bool),
        ~np.isfinite(window.values).all(-1)[:, None] | np.zeros(position.shape, bool),
        position - half < limit,
        position + half > (losses.energy[-1] - losses.centre)[:, None],
        (window.n_used < _LEAST_USED * n_inside)[:, None] | np.zeros(position.shape, bool),
    ]
    why = (
        Reason.NO_LIMIT,
        Reason.TOO_THICK,
        Reason.BELOW_RESOLUTION,
        Reason.AXIS_TOO_SHORT,
        Reason.AXIS_TOO_SHORT,
    )
    return np.select(conditions, why, Reason.NONE).astype(float)


def _fit_rows(model, windows, threshold, reasons):
    """Look for peaks, fit them, and vary the window; (n, n_peaks, WIDTH)."""
    window, peaks = windows[0], model.peaks
    scans = [scan(model, k, window, _places(peak)) for k, peak in enumerate(peaks)]
    significance = np.stack([one.significance for one in scans], -1)
    columns = np.full(significance.shape + (WIDTH,), np.nan)
    columns[..., -2] = significance
    is_there = (significance >= threshold) & (reasons == Reason.NONE)
    reasons = np.where(is_there | (reasons != Reason.NONE), reasons, Reason.NOT_SIGNIFICANT)
    rows = np.flatnonzero(is_there.any(-1))
    if rows.size:
        start, prior = _start(model, scans, rows)
        found = [_fitted(model, one.select(rows), start, prior) for one in windows]
        columns[rows, :, :-2] = _with_errors(found)
        reasons[rows] = np.where(is_there[rows], _doubts(model, found[0], columns[rows]), reasons[rows])
    columns[..., -1] = reasons
    missing = ~np.isin(reasons, (Reason.NONE, Reason.MISFIT))
    columns[..., :-2][missing] = np.nan
    return columns


def _places(peak):
    """Energies at which a peak is looked for."""
    reach = _FARTHEST[peak.shape] * peak.width
    return np.linspace(max(peak.energy - reach, 0.1 * peak.energy), peak.energy + reach, _N_PLACES)


def _start(model, scans, rows):
    """Start values of fits, and what is known before."""
    start = np.zeros((len(rows), model.n_parameters))
    precision = np.zeros(model.n_parameters)
    mean = start.copy()
    for k, (peak, found) in enumerate(zip(model.peaks, scans, strict=True)):
        own = slice(N_NUMBERS * k, N_NUMBERS * (k + 1))
        amplitude = np.maximum(found.amplitude, found.sigma)[rows]
        width = np.full(len(rows), peak.width)
        start[:, own] = np.log(np.stack([amplitude, found.position[rows], width], -1))
        mean[:, own] = start[:, own]
        mean[:, N_NUMBERS * k + 1] = np.log(peak.energy)
        precision[own] = np.array(_EXPECTED[peak.shape]) ** -2
    return start, Prior(mean, precision)


def _fitted(model, window, start, prior):
    """Fit, and say what the parameters mean."""
    fit = least_squares(model, window, start, prior)
    values, std = [], []
    for k, peak in enumerate(model.peaks):
        own = slice(N_NUMBERS * k, N_NUMBERS * (k + 1))
        meant = _meaning(peak, model, fit.parameters[:, own], fit.covariance[:, own, own])
        top = _top(window, peak, meant)
        values.append(np.stack([*meant[0], top[0]], -1))
        std.append(np.stack([*meant[1], top[1]], -1))
    return _Found(np.stack(values, 1), np.stack(std, 1), fit.chi2, fit.converged)


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


def _top(window, peak, meant):
    """Maximum of a plasmon without a model: a cubic through its top, and its standard deviation."""
    nothing = np.full(len(window.energy), np.nan)
    if peak.shape != "drude":
        return nothing, nothing
    about, reach = meant[0][1], _TOP * meant[0][2]
    window = window.within(about - reach, about + reach)
    x = (window.energy - about[:, None]) / reach[:, None]
    powers = np.moveaxis(x[..., None] ** np.arange(4), -1, 1)
    rows = window.whiten(np.concatenate([window.values[:, None], powers], 1))
    data, powers = rows[:, 0], rows[:, 1:]
    enough = (window.n_used >= 6) & np.isfinite(about)
    normal = np.where(enough[:, None, None], powers @ powers.mT, np.eye(4))
    covariance = np.linalg.inv(normal)
    _, one, two, three = (covariance @ (powers @ data[..., None]))[..., 0].T
    with np.errstate(invalid="ignore", divide="ignore"):
        place = -one / (two - np.sqrt(two**2 - 3 * one * three))
        place = np.where(enough & (two < 0) & (np.abs(place) < 1), place, np.nan)
        bend = 2 * two + 6 * three * place
        gradient = np.stack([nothing * 0 + 0, -1 / bend, -2 * place / bend, -3 * place**2 / bend], -1)
    gradient[:, 0] = 0.0
    std = np.sqrt(np.einsum("np,npq,nq->n", gradient, covariance, gradient))
    return about + reach * place, reach * std


def _with_errors(found):
    """Columns of values, standard deviations, systematic errors and chi2."""
    first = found[0]
    values = np.stack([one.values for one in found])
    spread = 0.5 * (values.max(0) - values.min(0))
    misfit = np.sqrt(np.maximum(first.chi2 - 1, 0))[:, None, None] * first.std
    columns = np.stack([first.values, first.std, np.hypot(spread, misfit)], -1)
    chi2 = np.broadcast_to(first.chi2[:, None, None], columns.shape[:2] + (1,))
    return np.concatenate([columns.reshape(columns.shape[:2] + (-1,)), chi2], -1)


def _doubts(model, found, columns):
    """Reasons why what was fitted does not hold, (n, n_peaks)."""
    position = found.values[..., 0]
    expected = np.array([peak.energy for peak in model.peaks])
    reach = np.array([_FARTHEST[peak.shape] * peak.width for peak in model.peaks])
    finite = np.isfinite(columns[..., : 3 * 4]).all(-1)
    conditions = [
        ~found.converged[:, None] | ~finite,
        np.abs(position - expected) > reach,
        (found.chi2 > _MISFIT_CHI2)[:, None] & (columns[..., 2] > _MISFIT * columns[..., 6]),
    ]
    why = (Reason.NOT_CONVERGED, Reason.AT_EDGE, Reason.MISFIT)
    return np.select(conditions, why, Reason.NONE)
