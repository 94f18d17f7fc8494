# SPDX-License-Identifier: GPL-3.0-or-later
r"""Temperature from energies lost and gained: electron thermometry by detailed balance.

A specimen at temperature :math:`T` gives energy :math:`E` to electrons less often than it takes it
from them, by a factor that knows nothing of the specimen but its temperature:
:math:`S(-E) = e^{-E/kT} S(E)` (principle of detailed balance; applied to phonons in the electron
microscope by J. C. Idrobo et al., Phys. Rev. Lett. 120, 095901 (2018), and M. J. Lagos and
P. E. Batson, Nano Lett. 18, 4556 (2018)).

A measured spectrum :math:`M = R * S` does not obey it: the response :math:`R` carries more of the
strong side towards the weak one than back. Where losses are level, a Gaussian of standard deviation
:math:`\sigma` makes :math:`\ln M(E)/M(-E)` too small by :math:`\sigma^2/2(kT)^2`. Here nothing is
expanded: the spectrum filtered by its own response,

.. math:: N(E) = \int R(x)\, e^{-x/kT} M(E + x)\, dx,

obeys :math:`N(-E) = e^{-E/kT} N(E)` exactly, whatever the response and the spectrum are. A shift of
the zero that the response shares drops out too. The filter is narrow, so both sides are compared
at energies some half FWHM apart, and the temperature is that of which the differences
:math:`N(-E) - e^{-E/kT} N(E)` are least, in units of their errors. No logarithm is taken, so that
weak gains are not biased.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.physics.kinematics import BOLTZMANN
from hyperspy_zlpml.physics.pooling import cropped
from hyperspy_zlpml.physics.reasons import Reason

#: Columns of :func:`temperatures`, in order.
COLUMNS = (
    "temperature",
    "std",
    "systematic",
    "highest",
    "loss",
    "loss_std",
    "gain",
    "gain_std",
    "energy",
    "chi2",
    "reason",
)
#: Responses are given to this many FWHM from the peak.
_GIVEN_TO = 8.0
#: The filter reaches this many FWHM from its middle: farther out it finds little but noise.
_FILTER_REACH = 3.0
#: Bins per FWHM, at least.
_BINS_PER_FWHM = 4.0
#: Energies that are compared lie this many FWHM apart: nearer ones tell the same.
_APART = 0.6
#: Energies that are compared at most.
_MOST_ENERGIES = 32
#: Nothing is compared nearer to the peak than this many FWHM, or to the limits of pure ZLP.
_NEAREST = 2.0
_FROM_LIMIT = 0.5
#: Temperatures that are tried, K.
_COLDEST = 20.0
_HOTTEST = 20000.0
_TRIED = 48
#: The filter is made for no 1/kT of more than this over the FWHM: it would reach out of its window.
_STEEPEST_FILTER = 3.0
#: Rounds in which filter and temperature improve each other, and Newton steps of each.
_ROUNDS = 4
_STEPS = 2
#: Relative step of 1/kT for derivatives, and largest change in one step.
_DIFFERENCE = 0.003
_LARGEST_STEP = 0.3
#: Gains, and 1/kT itself, stand out by this many standard errors.
_SIGMAS = 3.0
#: Losses stand out where their chi2 does by this many standard deviations.
_LOSS_SIGMAS = 5.0
#: One-sided 95 % limit of a normal value.
_UPPER_LIMIT = 1.645
#: Added to variances, in units of the largest, so that matrices of counts without noise are regular.
_JITTER = 1e-10
#: Relative error of the ZLP beneath gains where no vacuum shows it: that by which images of films of
#: known temperature are wrong, 48 spectra each (root of the mean square).
TAIL_ERROR = 0.02
#: Channels per FWHM below which a tail that no vacuum shows may follow the gains, and by what factor
#: it is less certain then.
_FINE = 5.0
_LESS_CERTAIN = 10.0
#: Reduced chi2 from which detailed balance does not hold.
_LARGEST_CHI2 = 4.0


@dataclass(frozen=True)
class BothSides(PerSpectrum):
    """Loss and gain side of spectra in bins that are counted from their own peaks.

    Attributes
    ----------
    signal, variance : ndarray of shape (n_spectra, n_bins)
        Counts free of ZLP, and their variance; the channel of the peak is in the middle.
    directions : ndarray of shape (n_spectra, n_directions, n_bins)
        Deviations of one standard deviation that bins share.
    zlp : ndarray of shape (n_spectra, n_bins)
        Counts of the ZLP that were taken off.
    inside : ndarray of bool of shape (n_spectra, n_bins)
        Bins on the axis.
    distance : ndarray of shape (n_spectra, n_filter)
        Energies from a peak of the middles of bins, counted from the bin it is in, eV.
    response : ndarray of shape (n_spectra, n_filter)
        Peak there.
    """

    signal: np.ndarray
    variance: np.ndarray
    directions: np.ndarray
    zlp: np.ndarray
    inside: np.ndarray
    distance: np.ndarray
    response: np.ndarray


@dataclass(frozen=True)
class Filtered(PerSpectrum):
    """Losses and gains at the same energies, after the filter that restores detailed balance.

    Attributes
    ----------
    energy : ndarray of shape (n_energies,)
        eV, positive.
    loss, gain : ndarray of shape (n_spectra, n_energies)
        0 where ``used`` is not.
    tail : ndarray of shape (n_spectra, n_energies)
        ZLP that was taken off beneath the gains, filtered alike.
    of_loss, of_gain, of_both : ndarray of shape (n_spectra, n_energies, n_energies)
        Covariance of the losses, of the gains, and of gains (rows) and losses (columns).
    used : ndarray of bool of shape (n_spectra, n_energies)
        Energies beyond the limits of pure ZLP on both sides, and on the axis.
    """

    shared = ("energy",)

    energy: np.ndarray
    loss: np.ndarray
    gain: np.ndarray
    tail: np.ndarray
    of_loss: np.ndarray
    of_gain: np.ndarray
    of_both: np.ndarray
    used: np.ndarray


def temperatures(losses, left=None, right=None, tail_error=0.0):
    """Measure the temperature of a block of spectra from the energies lost and gained.

    Parameters
    ----------
    losses : Losses
    left, right : float, optional
        Energies from the peak between which both sides are compared, eV; default from 2 FWHM over
        as many energies as are compared at most. What lies within the limits of pure ZLP, or beyond
        the axis, on either side, is not used.
    tail_error : float
        Relative error of the ZLP beneath the gains beyond what the directions hold: :data:`TAIL_ERROR`
        where no vacuum shows it. Ten times as much, and ``TAIL_GUESSED``, below five
        channels per FWHM, where the tail may follow the gains: none that are seen mean nothing then.

    Returns
    -------
    ndarray of shape (n_spectra, 11)
        ``COLUMNS``: temperature, its standard deviation and what ``tail_error`` makes of it (K),
        highest temperature that is allowed with 95 % probability (K), counts lost and gained within
        the window with their standard deviations, energy that tells the temperature (eV), reduced
        chi2, and :class:`.Reason`.

    Examples
    --------
    Losses and gains of a narrow line at 0.1 eV, of a ratio of e:

    >>> import numpy as np
    >>> from hyperspy_zlpml.physics import Losses
    >>> from hyperspy_zlpml.physics.thermometry import temperatures
    >>> energy = 0.001 * np.arange(-200, 201)
    >>> line = lambda at: np.exp(-0.5 * ((energy - at) / 0.004) ** 2)[None]
    >>> losses = Losses(
    ...     energy=energy,
    ...     distance=energy[104:297],
    ...     counts=1e6 * line(0) + 1e4 * (np.e * line(0.1) + line(-0.1)),
    ...     zlp=1e6 * line(0),
    ...     variance=np.full((1, 401), 100.0),
    ...     directions=np.zeros((1, 1, 401)),
    ...     centre=np.zeros(1),
    ...     fwhm=np.full(1, 0.012),
    ...     gain_limit=np.full(1, -0.04),
    ...     loss_limit=np.full(1, 0.04),
    ...     is_vacuum=np.zeros(1, bool),
    ...     response=line(0)[:, 104:297] / line(0).sum(),
    ... )
    >>> temperature, std, *_ = temperatures(losses)[0]
    >>> bool(1100 < temperature < 1220), bool(std < 10)
    (True, True)
    """
    window = window_of(losses, left, right)
    sides = both_sides(losses, window)
    inverse = np.zeros(losses.centre.shape)
    for turn in range(_ROUNDS):
        filtered = filter_sides(sides, window, inverse)
        if not turn:
            inverse = _first_guess(filtered)
        for _ in range(_STEPS):
            inverse, curvature = _closer(filtered, inverse)
    return np.stack(_columns(losses, window, filtered, (inverse, curvature), tail_error), -1)


def piece_of(losses, left=None, right=None):
    """Cut both sides of the peak out of spectra, as far as temperatures need them.

    Parameters
    ----------
    losses : Losses
    left, right : float, optional
        eV from the peak; see :func:`temperatures`.

    Returns
    -------
    Losses
        On one axis of energies from the peaks, with limits of pure ZLP that are the same on both sides.
    """
    window = window_of(losses, left, right)
    reach = (window.bins[-1] + 1) * window.n_together * window.step
    limit = np.maximum(np.abs(losses.gain_limit), losses.loss_limit)
    return replace(cropped(losses, -reach, reach), gain_limit=-limit, loss_limit=limit)


@dataclass(frozen=True)
class Window(PerSpectrum):
    """Energies at which both sides of spectra are compared.

    Attributes
    ----------
    step : float
        Dispersion of the axis, eV.
    n_together : int
        Channels of a bin, an odd number.
    numbers : ndarray of int of shape (n_energies,)
        Energies from the peak that are compared, in bins.
    reach : int
        Bins on each side that a filter takes in.
    low, high : ndarray of shape (n_spectra,)
        What is used of each spectrum, eV from the peak.
    """

    shared = ("step", "n_together", "numbers", "reach")

    step: float
    n_together: int
    numbers: np.ndarray
    reach: int
    low: np.ndarray
    high: np.ndarray

    @property
    def energy(self):
        """Energies from the peak that are compared, eV."""
        return self.numbers * self.n_together * self.step

    @property
    def bins(self):
        """Numbers of the bins that are needed, from the peak."""
        most = int(self.numbers[-1]) + self.reach
        return np.arange(-most, most + 1)


def window_of(losses, left=None, right=None):
    """Choose the energies at which both sides are compared; the same for all spectra of an image.

    Parameters
    ----------
    losses : Losses
    left, right : float, optional
        eV from the peak; see :func:`temperatures`.

    Returns
    -------
    Window
    """
    resolution = losses.distance[-1] / _GIVEN_TO
    step, n_energy = losses.step, losses.energy.size
    n = int(resolution / (_BINS_PER_FWHM * step))
    n_together = max(n - 1 + n % 2, 1)
    width = n_together * step
    first = _NEAREST * resolution if left is None else left
    last = min(np.inf if right is None else right, n_energy * step / 2)
    apart = max(round(_APART * resolution / width), 1)
    if right is not None:
        apart *= max(int(np.ceil((last - first) / (_MOST_ENERGIES * apart * width))), 1)
    numbers = np.arange(int(np.ceil(first / width)), int(last / width) + 1, apart)
    nearest = np.maximum(np.abs(losses.gain_limit), losses.loss_limit) + _FROM_LIMIT * resolution
    return Window(
        step=step,
        n_together=n_together,
        numbers=numbers[:_MOST_ENERGIES] if numbers.size else np.array([1]),
        reach=max(round(_FILTER_REACH * resolution / width), 1),
        low=np.maximum(first, nearest),
        high=np.full(nearest.shape, np.inf if right is None else right),
    )


def both_sides(losses, window):
    """Bring spectra to bins that are counted from their own peaks.

    Parameters
    ----------
    losses : Losses
    window : Window

    Returns
    -------
    BothSides
    """
    place = (losses.centre - losses.energy[0]) / losses.step
    nearest = np.rint(place).astype(int)
    half = window.n_together // 2
    channel = (window.bins[:, None] * window.n_together + np.arange(-half, half + 1)).ravel()
    index = nearest[:, None] + channel
    inside = (index >= 0) & (index < losses.energy.size)
    index = np.clip(index, 0, losses.energy.size - 1)

    inside &= np.isfinite(np.take_along_axis(losses.variance, index, -1))

    def binned(values):
        where, at = (inside, index) if values.ndim == 2 else (inside[:, None], index[:, None])
        taken = np.where(where, np.take_along_axis(values, at, -1), 0.0)
        return taken.reshape(*taken.shape[:-1], -1, window.n_together).sum(-1)

    distance, response = _binned_response(losses, window, place - nearest)
    return BothSides(
        signal=binned(losses.subtracted),
        variance=binned(losses.variance),
        directions=binned(losses.directions),
        zlp=binned(losses.zlp),
        inside=inside.reshape(len(inside), -1, window.n_together).all(-1),
        distance=distance,
        response=response,
    )


def _binned_response(losses, window, fraction):
    """Evaluate the peak of each spectrum in bins around a channel that is not quite its middle."""
    n = window.reach * window.n_together + window.n_together // 2
    channel = np.arange(-n, n + 1)
    distance = losses.step * (channel - fraction[:, None])
    # Pieces of the spline between channels: all distances of a spectrum lie at one place in theirs.
    pieces = CubicSpline(losses.distance, losses.response, axis=-1).c
    before = (fraction > 0).astype(int)
    piece = losses.distance.size // 2 + channel - before[:, None]
    place = losses.step * (before - fraction)[:, None]
    response = np.polyval(pieces[:, piece, np.arange(len(fraction))[:, None]], place)
    shape = (len(fraction), -1, window.n_together)
    return distance.reshape(shape).mean(-1), response.reshape(shape).sum(-1)


def filter_sides(sides, window, inverse):
    """Filter both sides so that detailed balance holds for what is measured.

    Parameters
    ----------
    sides : BothSides
    window : Window
    inverse : ndarray of shape (n_spectra,)
        1/kT that the filter is made for, 1/eV.

    Returns
    -------
    Filtered
    """
    fwhm = window.reach * window.n_together * window.step / _FILTER_REACH
    inverse = np.clip(inverse, 0, _STEEPEST_FILTER / fwhm)
    kernel = sides.response * np.exp(-sides.distance * inverse[:, None])
    kernel /= kernel.sum(-1, keepdims=True)
    n = window.numbers.size
    at = window.bins.size // 2 + np.concatenate([window.numbers, -window.numbers])
    rows = at[:, None] + np.arange(-window.reach, window.reach + 1)
    matrix = np.zeros((len(kernel), 2 * n, window.bins.size))
    matrix[:, np.arange(2 * n)[:, None], rows] = kernel[:, None]
    complete = sides.inside[:, rows].all(-1)
    energy = window.energy
    used = complete[:, :n] & complete[:, n:] & (energy >= window.low[:, None])
    return _filtered(sides, matrix, energy, used & (energy <= window.high[:, None] + 1e-9))


def _filtered(sides, matrix, energy, used):
    """Apply filters to signals and to their covariances; what is not used is 0 of unit variance."""
    n = energy.size
    signal = (matrix @ sides.signal[..., None])[..., 0]
    directions = matrix @ np.swapaxes(sides.directions, 1, 2)
    covariance = (matrix * sides.variance[:, None]) @ np.swapaxes(matrix, 1, 2)
    covariance += directions @ np.swapaxes(directions, 1, 2)
    both = np.concatenate([used, used], -1)
    covariance = np.where(both[:, :, None] & both[:, None], covariance, 0.0)
    diagonal = np.einsum("nii->ni", covariance)
    diagonal += _JITTER * diagonal.max(-1, keepdims=True) + np.finfo(float).tiny
    diagonal[~both] = 1.0
    signal = np.where(both, signal, 0.0)
    return Filtered(
        energy=energy,
        loss=signal[:, :n],
        gain=signal[:, n:],
        tail=np.where(used, (matrix[:, n:] @ sides.zlp[..., None])[..., 0], 0.0),
        of_loss=covariance[:, :n, :n],
        of_gain=covariance[:, n:, n:],
        of_both=covariance[:, n:, :n],
        used=used,
    )


def misfit(filtered, inverse):
    """Compute chi2 of detailed balance at a temperature.

    Losses are free at every energy: this is their profile likelihood, as for a straight line whose
    both coordinates have errors.

    Parameters
    ----------
    filtered : Filtered
    inverse : ndarray of shape (n_spectra,)
        1/kT, 1/eV.

    Returns
    -------
    ndarray of shape (n_spectra,)
    """
    ratio = np.exp(-inverse[:, None] * filtered.energy)
    difference = filtered.gain - ratio * filtered.loss
    crossed = filtered.of_both * ratio[:, None]
    covariance = filtered.of_gain + ratio[:, :, None] * filtered.of_loss * ratio[:, None]
    covariance = covariance - crossed - np.swapaxes(crossed, 1, 2)
    solved = np.linalg.solve(covariance, difference[..., None])[..., 0]
    return (difference * solved).sum(-1)


def _first_guess(filtered):
    """Try temperatures, energies being taken for independent."""
    of_gain, of_loss, of_both = (
        np.einsum("nii->ni", one)[:, None]
        for one in (filtered.of_gain, filtered.of_loss, filtered.of_both)
    )
    tried = _tried()
    ratio = np.exp(-tried[:, None] * filtered.energy)
    difference = filtered.gain[:, None] - ratio * filtered.loss[:, None]
    variance = of_gain + ratio**2 * of_loss - 2 * ratio * of_both
    return tried[(difference**2 / variance).sum(-1).argmin(-1)]


def _tried():
    """List the 1/kT that are tried, 1/eV, the coldest first."""
    return 1 / (BOLTZMANN * np.geomspace(_COLDEST, _HOTTEST, _TRIED))


def _closer(filtered, inverse):
    """Take a Newton step towards the least misfit; also the curvature of the misfit."""
    step = _DIFFERENCE * inverse
    below, here, above = (misfit(filtered, inverse + k * step) for k in (-1, 0, 1))
    curvature = (above - 2 * here + below) / step**2
    slope = (above - below) / (2 * step)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.where(curvature > 0, -slope / curvature, -np.sign(slope) * inverse)
    largest = _LARGEST_STEP * inverse
    ends = _tried()[[-1, 0]]
    return np.clip(inverse + np.clip(change, -largest, largest), *ends), curvature


def _columns(losses, window, filtered, fitted, tail_error):
    """Collect the numbers of every spectrum, in the order of ``COLUMNS``."""
    inverse, curvature = fitted
    is_coarse = (tail_error > 0) & (losses.fwhm < _FINE * losses.step)
    tail_error = tail_error * np.where(is_coarse, _LESS_CERTAIN, 1.0)
    n_used = filtered.used.sum(-1)
    chi2 = misfit(filtered, inverse) / np.maximum(n_used - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(2 / curvature * np.where(chi2 > _expected(n_used), chi2, 1.0))
        gains, highest, energy, missing = _gains(filtered, inverse, tail_error)
        of_tail = missing / energy
        total = np.hypot(error, of_tail)
        kelvin = 1 / (BOLTZMANN * inverse)
        warmest = 1 / (BOLTZMANN * np.maximum(inverse - _UPPER_LIMIT * total, _tried()[-1]))
        highest = np.where(_has_losses(filtered), highest, np.nan)
    reason = np.where(
        window.low > window.high,
        Reason.BELOW_RESOLUTION,
        _reasons(filtered, (inverse, error, chi2), gains),
    )
    is_limited = np.isfinite(losses.loss_limit) & np.isfinite(losses.gain_limit)
    reason = np.where(is_limited, reason, Reason.NO_LIMIT)
    holds = reason == Reason.NONE
    told = np.isin(reason, (Reason.NONE, Reason.NOT_SIGNIFICANT)) & ~is_coarse
    return (
        np.where(holds, kelvin, np.nan),
        np.where(holds, kelvin * error / inverse, np.nan),
        np.where(holds, kelvin * of_tail / inverse, np.nan),
        np.where(holds, warmest, np.where(told, highest, np.nan)),
        *_counts(losses, window, 1),
        *_counts(losses, window, -1),
        np.where(holds, energy, np.nan),
        np.where(reason == Reason.NOT_SIGNIFICANT, np.nan, np.where(n_used > 1, chi2, np.nan)),
        np.where(holds & is_coarse, Reason.TAIL_GUESSED, reason).astype(float),
    )


def _expected(n_used):
    """Compute the reduced chi2 that noise may well make."""
    return 1 + np.sqrt(8 / np.maximum(n_used - 1, 1))


def _gains(filtered, inverse, tail_error):
    """Compute in how many standard errors gains follow the losses, and the highest temperature.

    Returns
    -------
    gains : ndarray of shape (n_spectra,)
        Standard errors.
    highest : ndarray of shape (n_spectra,)
        K; of which fewer gains than expected are found in 5 % of cases.
    energy : ndarray of shape (n_spectra,)
        At which gains tell the temperature, eV.
    missing : ndarray of shape (n_spectra,)
        Part of the gains there that counts as ZLP where the tail is too high by its error.
    """
    own = np.einsum("nii->ni", filtered.of_loss)
    shrunk = filtered.loss * np.clip(1 - own / np.maximum(filtered.loss**2, own), 0, None)
    weight = np.linalg.inv(filtered.of_gain)
    tried = _tried()

    def amplitude(inverse):
        expected = np.exp(-inverse[..., None] * filtered.energy) * shrunk[:, None]
        weighted = expected @ weight
        norm = (weighted * expected).sum(-1)
        return (weighted * filtered.gain[:, None]).sum(-1) / norm, norm**-0.5, expected

    found, error, expected = amplitude(inverse[:, None])
    every, errors, shapes = amplitude(np.broadcast_to(tried, (len(inverse), tried.size)))
    of_tail = tail_error[:, None] * _tail_per_gain(filtered, shapes)
    highest = _highest((1 - every) / np.hypot(errors, of_tail))
    tells = (expected[:, 0] * filtered.energy) ** 2 / np.einsum("nii->ni", filtered.of_gain)
    energy = (tells * filtered.energy).sum(-1) / tells.sum(-1)
    missing = tail_error * _tail_per_gain(filtered, expected)[:, 0]
    return (found / error)[:, 0], highest, energy, missing


def _tail_per_gain(filtered, expected):
    """Compute the ZLP over the gains that are expected, where these tell the temperature.

    Parameters
    ----------
    filtered : Filtered
    expected : ndarray of shape (n_spectra, n_tried, n_energies)

    Returns
    -------
    ndarray of shape (n_spectra, n_tried)
    """
    variance = np.einsum("nii->ni", filtered.of_gain)[:, None]
    tells = expected * filtered.energy**2 / variance
    return (tells * filtered.tail[:, None]).sum(-1) / (tells * expected).sum(-1)


def _has_losses(filtered):
    """Tell whether losses stand out of noise and the error of the ZLP."""
    n_used = filtered.used.sum(-1)
    solved = np.linalg.solve(filtered.of_loss, filtered.loss[..., None])[..., 0]
    return (filtered.loss * solved).sum(-1) > n_used + _LOSS_SIGMAS * np.sqrt(2 * n_used)


def _highest(missing):
    """Find the highest temperature of which gains are not missed by more than errors allow, K."""
    tried = np.log(np.geomspace(_COLDEST, _HOTTEST, _TRIED))
    allowed = missing < _UPPER_LIMIT
    last = np.where(allowed.any(-1), tried.size - 1 - allowed[:, ::-1].argmax(-1), 0)
    after = np.minimum(last + 1, tried.size - 1)
    rows = np.arange(len(missing))
    here, there = missing[rows, last], missing[rows, after]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip(np.nan_to_num((_UPPER_LIMIT - here) / (there - here)), 0, 1)
    return np.exp(tried[last] + share * (tried[after] - tried[last]))


def _reasons(filtered, fitted, gains):
    """Find why spectra have no temperature."""
    inverse, error, chi2 = fitted
    ends = _tried()[[-1, 0]]
    reason = np.full(inverse.shape, int(Reason.NONE))

    def because(which, code):
        reason[which & (reason == Reason.NONE)] = code

    because(filtered.used.sum(-1) < 2, Reason.AXIS_TOO_SHORT)
    because(chi2 > _LARGEST_CHI2, Reason.MISFIT)
    because(~(gains >= _SIGMAS), Reason.NOT_SIGNIFICANT)
    because(~(inverse >= _SIGMAS * error), Reason.NOT_SIGNIFICANT)
    because((inverse <= ends[0] * 1.01) | (inverse >= ends[1] * 0.99), Reason.AT_EDGE)
    return reason


def _counts(losses, window, side):
    """Sum the counts of one side within the window; with their standard deviation."""
    energy = side * losses.from_peak
    high = np.minimum(window.high, window.energy[-1])
    inside = (energy >= window.low[:, None]) & (energy <= high[:, None])
    inside &= ~np.isnan(losses.variance)
    any_there = inside.any(-1)
    shared = np.where(inside[:, None], losses.directions, 0).sum(-1)
    variance = np.where(inside, losses.variance, 0).sum(-1) + (shared**2).sum(-1)
    total = np.where(inside, losses.subtracted, 0).sum(-1)
    return np.where(any_there, total, np.nan), np.where(any_there, np.sqrt(variance), np.nan)
