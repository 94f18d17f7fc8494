# SPDX-License-Identifier: GPL-3.0-or-later
"""Temperature from energies lost and gained: electron thermometry by detailed balance.

Both sides are brought to the same energies (:mod:`.detailed_balance`). The temperature is that of
which the differences between the gains and what the losses make expected are least, in units of their
errors. No logarithm is taken, so that weak gains are not biased.
"""

from dataclasses import replace

import numpy as np

from hyperspy_zlpml.physics.detailed_balance import (
    both_sides,
    common_limit,
    filter_sides,
    misfit,
    n_needed,
    window_of,
)
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
#: Temperatures that are tried, K.
_COLDEST = 20.0
_HOTTEST = 20000.0
_TRIED = 48
#: Temperature above which nothing is solid, K, with a margin: carbides melt at some 4200 K. Gains that
#: need more are no heat of a specimen. An error of the ZLP beneath electronic losses looks so: at 2 eV
#: gains of a hundredth of the losses make 5000 K.
_HOTTEST_SOLID = 5000.0
#: Rounds in which filter and temperature improve each other, and Newton steps of each.
_ROUNDS = 2
_STEPS = 2
#: Largest relative change of 1/kT in one step.
_LARGEST_STEP = 0.3
#: Gains, and 1/kT itself, stand out by this many standard errors.
_SIGMAS = 3.0
#: Losses stand out where their chi2 does by this many standard deviations.
_LOSS_SIGMAS = 5.0
#: One-sided 95 % limit of a normal value.
_UPPER_LIMIT = 1.645
#: Relative error of the ZLP beneath gains where no vacuum shows it: that by which images of films of
#: known temperature are wrong, 48 spectra each (root of the mean square).
TAIL_ERROR = 0.02
#: Channels per FWHM below which a tail that no vacuum shows may follow the gains, and by what factor
#: it is less certain then.
_FINE = 5.0
_LESS_CERTAIN = 10.0
#: Reduced chi2 from which detailed balance does not hold.
_LARGEST_CHI2 = 4.0


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
    ...     spilled=np.zeros((1, 401)),
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
    is_limited = np.isfinite(losses.loss_limit) & np.isfinite(losses.gain_limit)
    is_coarse = (tail_error > 0) & (losses.fwhm < _FINE * losses.step)
    columns = np.empty((len(COLUMNS), len(losses.centre)))
    columns[4:8] = *_counts(losses, window, 1), *_counts(losses, window, -1)
    tail_error = tail_error * np.where(is_coarse, _LESS_CERTAIN, 1.0)
    needed = n_needed(losses, window)
    window = window.up_to(needed.max())
    sides = both_sides(losses, window)
    # Each spectrum with the energies that it needs: a short gain side takes many away.
    for n in np.unique(needed):
        rows = np.flatnonzero(needed == n)
        some = window.select(rows).up_to(n)
        filtered, found = _fitted(sides.select(rows).up_to(n, window), some)
        told = _told(
            some,
            filtered,
            found,
            tail_error=tail_error[rows],
            is_coarse=is_coarse[rows],
            is_limited=is_limited[rows],
        )
        for name, values in told.items():
            columns[COLUMNS.index(name), rows] = values
    return columns.T


def _fitted(sides, window):
    """Fit the 1/kT of spectra; filter and temperature improve each other.

    Returns
    -------
    filtered : Filtered
    found : tuple
        1/kT, and its :class:`.Misfit`.
    """
    inverse = _first_guess(filter_sides(sides, window, np.zeros(len(sides.used))))
    for _ in range(_ROUNDS):
        filtered = filter_sides(sides, window, inverse)
        for _ in range(_STEPS):
            inverse = _closer(misfit(filtered, inverse), inverse)
    return filtered, (inverse, misfit(filtered, inverse))


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
    limit = common_limit(losses)
    return replace(cropped(losses, -reach, reach), gain_limit=-limit, loss_limit=limit)


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


def _closer(found, inverse):
    """Take a Newton step towards the least misfit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        newton = -found.slope / found.curvature
        change = np.where(found.curvature > 0, newton, -np.sign(found.slope) * inverse)
    largest = _LARGEST_STEP * inverse
    ends = 1 / (BOLTZMANN * np.array([_HOTTEST, _COLDEST]))
    return np.clip(inverse + np.clip(change, -largest, largest), *ends)


# Of the spectra, of what was fitted to them, and what is known of them beside.
def _told(window, filtered, fitted, *, tail_error, is_coarse, is_limited):  # noqa: PLR0913
    """Collect what a fit tells of every spectrum, by the names of ``COLUMNS``."""
    inverse, least = fitted
    n_used = filtered.used.sum(-1)
    chi2 = least.chi2 / np.maximum(n_used - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(2 / least.curvature * np.where(chi2 > _expected(n_used), chi2, 1.0))
        gains, energy, missing = _gains(filtered, inverse, tail_error)
        of_tail = missing / energy
        total = np.hypot(error, of_tail)
        kelvin = 1 / (BOLTZMANN * inverse)
        warmest = 1 / (BOLTZMANN * np.maximum(inverse - _UPPER_LIMIT * total, _tried()[-1]))
    reason = np.where(
        window.low > window.high,
        Reason.BELOW_RESOLUTION,
        _reasons(filtered, (inverse, error, chi2), gains),
    )
    reason = np.where(is_limited, reason, Reason.NO_LIMIT)
    holds = reason == Reason.NONE
    is_faint = reason == Reason.NOT_SIGNIFICANT
    highest = np.where(holds, warmest, np.nan)
    rows = np.flatnonzero(is_faint & ~is_coarse)
    if rows.size:
        highest[rows] = _highest(filtered.select(rows), tail_error[rows])
    return {
        "temperature": np.where(holds, kelvin, np.nan),
        "std": np.where(holds, kelvin * error / inverse, np.nan),
        "systematic": np.where(holds, kelvin * of_tail / inverse, np.nan),
        "highest": highest,
        "energy": np.where(holds, energy, np.nan),
        "chi2": np.where(is_faint | (n_used <= 1), np.nan, chi2),
        "reason": np.where(holds & is_coarse, Reason.TAIL_GUESSED, reason),
    }


def _expected(n_used):
    """Compute the reduced chi2 that noise may well make."""
    return 1 + np.sqrt(8 / np.maximum(n_used - 1, 1))


def _gains(filtered, inverse, tail_error):
    """Compute in how many standard errors gains follow the losses, and where they tell the temperature.

    Returns
    -------
    gains : ndarray of shape (n_spectra,)
        Standard errors.
    energy : ndarray of shape (n_spectra,)
        At which gains tell the temperature, eV.
    missing : ndarray of shape (n_spectra,)
        Part of the gains there that counts as ZLP where the tail is too high by its error.
    """
    expected = np.exp(-inverse[:, None] * filtered.energy) * _shrunk_losses(filtered)
    weighted = np.linalg.solve(filtered.of_gain, expected[..., None])[..., 0]
    gains = (weighted * filtered.gain).sum(-1) / np.sqrt((weighted * expected).sum(-1))
    tells = (expected * filtered.energy) ** 2 / np.einsum("nii->ni", filtered.of_gain)
    energy = (tells * filtered.energy).sum(-1) / tells.sum(-1)
    return gains, energy, tail_error * _tail_per_gain(filtered, expected[:, None])[:, 0]


def _shrunk_losses(filtered):
    """Shrink the losses of each spectrum towards 0 where they are no more than their error."""
    own = np.einsum("nii->ni", filtered.of_loss)
    return filtered.loss * np.clip(1 - own / np.maximum(filtered.loss**2, own), 0, None)


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


def _highest(filtered, tail_error):
    """Find the highest temperature of which gains are not missed by more than errors allow, K.

    Fewer gains than it makes expected are found in 5 % of cases. NaN without losses.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = _missed(filtered, tail_error)
    tried = np.log(np.geomspace(_COLDEST, _HOTTEST, _TRIED))
    allowed = missed < _UPPER_LIMIT
    last = np.where(allowed.any(-1), tried.size - 1 - allowed[:, ::-1].argmax(-1), 0)
    after = np.minimum(last + 1, tried.size - 1)
    rows = np.arange(len(missed))
    here, there = missed[rows, last], missed[rows, after]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip(np.nan_to_num((_UPPER_LIMIT - here) / (there - here)), 0, 1)
    found = np.exp(tried[last] + share * (tried[after] - tried[last]))
    return np.where(_has_losses(filtered), found, np.nan)


def _missed(filtered, tail_error):
    """Compute by how many errors the gains that temperatures make expected are missed."""
    expected = np.exp(-_tried()[:, None] * filtered.energy) * _shrunk_losses(filtered)[:, None]
    weighted = expected @ np.linalg.inv(filtered.of_gain)
    norm = (weighted * expected).sum(-1)
    found = (weighted * filtered.gain[:, None]).sum(-1) / norm
    of_tail = tail_error[:, None] * _tail_per_gain(filtered, expected)
    return (1 - found) / np.hypot(norm**-0.5, of_tail)


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
    too_hot = inverse <= max(ends[0] * 1.01, 1 / (BOLTZMANN * _HOTTEST_SOLID))
    because(too_hot, Reason.AT_UPPER_END)
    because(inverse >= ends[1] * 0.99, Reason.AT_LOWER_END)
    return reason


def _counts(losses, window, side):
    """Sum the counts of one side within the window; with their standard deviation."""
    energy = side * losses.from_peak
    high = np.minimum(window.high, window.energy[-1])
    inside = (energy >= window.low[:, None]) & (energy <= high[:, None])
    known = ~np.isnan(losses.variance)
    inside &= known
    any_there = inside.any(-1)
    used = np.flatnonzero(inside.any(0))
    some = slice(used[0], used[-1] + 1) if used.size else slice(0)
    chosen, all_known = inside[:, some, None].astype(float), known[:, some].all()

    def summed(values):
        values = values[..., some]
        return (values if all_known else np.where(known[:, None, some], values, 0.0)) @ chosen

    variance = summed(losses.variance[:, None]) + (summed(losses.directions) ** 2).sum(
        1, keepdims=True
    )
    total, variance = summed(losses.subtracted[:, None])[:, 0, 0], variance[:, 0, 0]
    return np.where(any_there, total, np.nan), np.where(any_there, np.sqrt(variance), np.nan)
