# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions of a spectrum: where it is pure zero-loss peak.

Region I, from the gain-side limit to ``E_I``, holds the ZLP alone and is trained on; between
``E_I`` and ``E_II`` the ZLP lies under the signal and is predicted; beyond ``E_II`` it has
fallen below the noise of a spectrum. All are energies from the peak, in eV.

The published rule compares derivatives with those of the vacuum spectrum (Roest 2021, eq. 3.14).
Here the ratio to the reference shape is watched: pure ZLP keeps it level or lets it wander
slowly, inelastic signal makes it rise from some energy on and for good.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from hyperspy_zlpml import arguments

#: No onset is looked for closer to the peak than this many FWHM.
_NEAREST = 1.0
#: Mean ratios in windows of this relative width below and above a candidate are compared.
_WINDOW = 0.25
#: A rise exceeds this many standard errors.
_SIGMAS = 4.0
#: A rise exceeds this fraction of the ZLP.
SMALLEST_RISE = 0.005
#: The fraction where there is no vacuum: a late limit then costs a little purity, an early one a
#: long extrapolation.
SMALLEST_RISE_WITHOUT_VACUUM = 0.03
#: The fraction against a reference that is itself extrapolated.
EXTRAPOLATED_RISE = 0.1
#: A flank is straight on double-logarithmic axes where its slope is the steepest to this.
_STEEPEST = 0.05
#: A hump stands out of the straight flank by this fraction at its top, ...
_HUMP = 0.1
#: ... comes back to this, ...
_BACK = 0.05
#: ... before so many times the energy at which it begins.
_HUMP_WITHIN = 4.0
#: Nearer than this many FWHM a flank bends the other way.
_TAIL_FROM = 3.0
#: A bulge stands above a chord of the tail by this fraction.
_BULGE = 0.03
#: A bulge ends where it stands above a chord of the tail by no more than this fraction.
_ON_CHORD = 0.005
#: A tail has begun to flatten where its slope is gentler than the steepest before by this fraction.
_GENTLER = 0.15
#: ``E_I`` given by the user lies at least this many FWHM behind the peak.
_OUTSIDE_THE_CORE = 0.5
#: Stands for a limit where there is none, eV or FWHM.
NO_LIMIT = np.inf
#: Names of the limits that a user may give.
_LIMIT_NAMES = ("E_I", "E_II", "gain_limit")


@dataclass(frozen=True)
class Regions:
    """Limits of each cluster in eV from the peak; arrays of shape (n_clusters,).

    Attributes
    ----------
    gain_limit : ndarray
        Gain-side limit of the pure ZLP, negative; minus infinity where there is none.
    E_I : ndarray
        End of region I; infinity where the cluster shows no inelastic signal.
    E_II : ndarray
        Energy at which the ZLP falls below the noise of one spectrum.
    """

    gain_limit: np.ndarray
    E_I: np.ndarray
    E_II: np.ndarray

    @classmethod
    def endless(cls, n_clusters):
        """Make those of clusters that are pure zero-loss peak everywhere.

        Parameters
        ----------
        n_clusters : int

        Returns
        -------
        Regions
        """
        none = np.full(n_clusters, NO_LIMIT)
        return cls(gain_limit=-none, E_I=none, E_II=none)

    def overridden(self, given, n_clusters):
        """Replace limits by those that the user gave.

        Parameters
        ----------
        given : dict of str to array
            By the names of the attributes, eV; one number, or one for each cluster.
        n_clusters : int

        Returns
        -------
        Regions

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.zlp.regions import Regions
        >>> found = Regions(gain_limit=np.full(2, -2.0), E_I=np.full(2, 1.5), E_II=np.full(2, 8.0))
        >>> found.overridden({"E_I": 1.2}, n_clusters=2).E_I
        array([1.2, 1.2])
        """
        values = {"gain_limit": self.gain_limit, "E_I": self.E_I, "E_II": self.E_II}
        for name, value in given.items():
            values[name] = np.broadcast_to(np.asarray(value, float), (n_clusters,)).copy()
        return Regions(**values)


def onset(u, ratio, sigma, smallest_rise=SMALLEST_RISE):
    """Find the reduced energy from which a ratio to the reference rises for good.

    Parameters
    ----------
    u : ndarray of shape (n,)
        Distance from the peak, FWHM, positive and increasing.
    ratio, sigma : ndarray of shape (n,)
        Ratio to the reference and its standard error.
    smallest_rise : float
        Relative rise that is taken for inelastic signal.

    Returns
    -------
    float
        FWHM; infinity where it does not rise.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.regions import onset
    >>> u = np.geomspace(0.3, 30, 160)
    >>> sigma = np.full(u.size, 1e-3)
    >>> signal = np.clip(u - 3, 0, None)
    >>> bool(2.4 < onset(u, 1 + signal, sigma) < 3.6)
    True
    >>> onset(u, 1 - 0.1 * np.log(u), sigma)
    inf
    """
    mean = window_mean(u, ratio, sigma)
    grow = 1 + _WINDOW
    for here in u[u >= _NEAREST]:
        before, error_before = mean(here / grow, here)
        after, error_after = mean(here, here * grow)
        rise = after - before
        needed = max(_SIGMAS * np.hypot(error_before, error_after), smallest_rise * before)
        if not rise > needed:
            continue
        later, error_later = mean(here * grow, here * grow**2)
        if later - before > _SIGMAS * np.hypot(error_before, error_later) and not any(
            value < before - _SIGMAS * np.hypot(error_before, error)
            for value, error in (mean(low, low * grow) for low in here * grow ** np.arange(2, 24))
        ):
            return float(here)
    return NO_LIMIT


def first_rise(u, ratio, sigma, smallest_rise=EXTRAPOLATED_RISE):
    """Find the reduced energy from which a ratio to the reference first rises, if not for good.

    Parameters
    ----------
    u, ratio, sigma : ndarray of shape (n,)
        As of :func:`onset`.
    smallest_rise : float
        Relative rise that is taken for signal.

    Returns
    -------
    float
        FWHM; infinity where it does not rise.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.regions import first_rise
    >>> u = np.geomspace(0.3, 30, 160)
    >>> sigma = np.full(u.size, 1e-3)
    >>> line = 1 + np.exp(-((u - 8) ** 2))
    >>> bool(5 < first_rise(u, line, sigma) < 8), first_rise(u, np.ones(u.size), sigma)
    (True, inf)
    """
    mean = window_mean(u, ratio, sigma)
    grow = 1 + _WINDOW
    for here in u[u >= _TAIL_FROM]:
        before, error_before = mean(here / grow, here)
        after, error_after = mean(here, here * grow)
        if after - before > max(
            _SIGMAS * np.hypot(error_before, error_after), smallest_rise * before
        ):
            return float(here)
    return NO_LIMIT


def window_mean(u, ratio, sigma):
    """Make a function that gives the weighted mean ratio of a window and its error.

    Parameters
    ----------
    u : ndarray of shape (n,)
        Distance from the peak, FWHM, increasing.
    ratio, sigma : ndarray of shape (n,)
        Ratio to the reference and its standard error.

    Returns
    -------
    callable
        Called with the two ends of a window; NaN and an infinite error where it holds nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.regions import window_mean
    >>> mean = window_mean(np.arange(4.0), np.array([1.0, 1.2, 1.4, 9.0]), np.full(4, 0.1))
    >>> [round(float(value), 3) for value in mean(0.5, 2.5)]
    [1.3, 0.071]
    """
    weight = np.where(sigma > 0, 1 / np.maximum(sigma, 1e-12) ** 2, 0.0)
    total_weight = np.concatenate([[0], np.cumsum(weight)])
    total = np.concatenate([[0], np.cumsum(weight * ratio)])

    def mean(low, high):
        first, last = np.searchsorted(u, [low, high])
        amount = total_weight[last] - total_weight[first]
        if amount <= 0:
            return np.nan, np.inf
        return (total[last] - total[first]) / amount, amount**-0.5

    return mean


def flattening(u, log_shape):
    """Find the reduced energy at which the flank of a spectrum has lost half of its steepness.

    Slopes are of ln(counts) against ln(E), so that a power law has the same everywhere. No tail
    of a ZLP flattens like this; inelastic signal does it even where its onset is too gentle for
    :func:`onset`.

    Parameters
    ----------
    u : ndarray of shape (n,)
        Distance from the peak, FWHM, positive and increasing.
    log_shape : ndarray of shape (n,)
        Smooth.

    Returns
    -------
    float
        FWHM; infinity where the tail never flattens.

    Examples
    --------
    ``u**-4 + c`` has half of the steepness of ``u**-4`` where both terms are equal.

    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.regions import flattening
    >>> u = np.geomspace(0.5, 50, 2000)
    >>> round(flattening(u, np.log(u**-4 + 6.0**-4)), 1)
    6.0
    >>> flattening(u, np.log(u**-4))
    inf
    """
    flank = u >= _NEAREST
    slope = np.gradient(log_shape[flank], np.log(u[flank]))
    flat = slope > 0.5 * np.minimum.accumulate(slope)
    return float(u[flank][flat][0]) if flat.any() else NO_LIMIT


class Hump(NamedTuple):
    """Signal that stands on a tail and ends again.

    Attributes
    ----------
    low, top, high : float
        Distances from the peak, FWHM, at which it begins, stands highest, and has ended; infinite
        where there is none.
    height : float
        How far it stands above the tail at its top, as a fraction of that.
    """

    low: float = NO_LIMIT
    top: float = NO_LIMIT
    high: float = NO_LIMIT
    height: float = 0.0


def hump(u, log_shape, sigma):
    """Find the reduced energies between which a hump stands: signal that ends again behind it.

    A phonon or an exciton in a gap stands on the tail, which goes on below and behind it. It is
    no :func:`onset`, for it does not rise for good, and need not flatten the flank by half. On
    double-logarithmic axes it stands above the straight continuation of the flank and comes back
    to it; tails of a ZLP that flatten never do.

    Parameters
    ----------
    u : ndarray of shape (n,)
        Distance from the peak, FWHM, positive and increasing.
    log_shape, sigma : ndarray of shape (n,)
        Smooth, and its standard error.

    Returns
    -------
    Hump
        It begins where the flank is steepest before it.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.regions import hump
    >>> u, known = np.geomspace(0.5, 50, 2000), np.zeros(2000)
    >>> flank = (1 + 4 * u**2) ** -1.3
    >>> phonon = 1e-3 * np.exp(-(((u - 7) / 1.5) ** 2))
    >>> found = hump(u, np.log(flank + phonon), known)
    >>> bool(3 < found.low < 5 < found.top < 9)
    True
    >>> hump(u, np.log(flank + 1e-3 / (1 + (u / 6) ** 2)), known).low
    inf
    """
    flank = u >= _NEAREST
    x, log_shape, sigma = np.log(u[flank]), log_shape[flank], sigma[flank]
    slope = np.gradient(log_shape, x)
    for i in np.flatnonzero(slope <= np.minimum.accumulate(slope) + _STEEPEST):
        near = slice(i, np.searchsorted(x, x[i] + np.log(_HUMP_WITHIN)))
        excess = log_shape[near] - log_shape[i] - slope[i] * (x[near] - x[i])
        above = excess > _HUMP + _SIGMAS * sigma[near]
        first = above.argmax()
        back = excess[first:] < _BACK
        if above.any() and back.any():
            last = first + back.argmax()
            start = slope[i : i + first + 1].argmin()
            top = first + excess[first:last].argmax()
            places = np.exp(x[[i + start, i + top, i + last]])
            return Hump(*places.tolist(), float(np.expm1(excess[top])))
    return Hump()


def bulge(u, log_shape, sigma):
    """Find the reduced energies between which a tail bulges: signal that ends again.

    On double-logarithmic axes tails of a ZLP flatten outward, and where something that was scattered
    far makes a shelf, they fall behind it less steeply than before. Signal that ends again stands
    above a chord of the tail, and falls more steeply. Unlike :func:`hump` this takes no flank
    for straight, and finds humps that were levelled.

    Parameters
    ----------
    u : ndarray of shape (n,)
        Distance from the peak, FWHM, positive and increasing.
    log_shape, sigma : ndarray of shape (n,)
        Smooth, and its standard error.

    Returns
    -------
    Hump
        From where the tail leaves the chord to where it comes back to it.

    Examples
    --------
    A gain on a tail that goes on with another power:

    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.regions import bulge
    >>> u, known = np.geomspace(0.5, 50, 2000), np.zeros(2000)
    >>> flank = (1 + 4 * u**2) ** -1.8 + 1e-4 / (1 + (u / 15) ** 2)
    >>> gain = 1e-4 * np.exp(-(((u - 8) / 1.0) ** 2))
    >>> found = bulge(u, np.log(flank + gain), known)
    >>> bool(5 < found.low < 8 < found.high < 11)
    True
    >>> bulge(u, np.log(flank), known).low
    inf
    """
    flank = u >= _NEAREST
    x, log_shape, sigma = np.log(u[flank]), log_shape[flank], sigma[flank]
    slope = np.gradient(log_shape, x)
    gentle = (slope > (1 - _GENTLER) * np.minimum.accumulate(slope)) & (x > np.log(_TAIL_FROM))
    if not gentle.any():
        return Hump()
    start = gentle.argmax()
    excess = log_shape[start:] - _lower_hull(x[start:], log_shape[start:])
    clear = excess > _BULGE + _SIGMAS * sigma[start:]
    falls = slope[start + clear.argmax() :].min() < slope[: start + 1].min()
    if not (clear.any() and falls):
        return Hump()
    top = excess.argmax()
    on_chord = np.flatnonzero(excess <= _ON_CHORD)
    low, high = on_chord[on_chord < top][-1], on_chord[on_chord > top][0]
    places = np.exp(x[[start + low, start + top, start + high]])
    return Hump(*places.tolist(), float(np.expm1(excess[top])))


def _lower_hull(x, y):
    """Compute the largest convex function that is nowhere above some points, at their places.

    Its slopes are the isotonic regression of those between the points.
    """
    steps = np.diff(x)
    slopes = isotonic_regression(np.diff(y) / steps, weights=steps).x
    return y[0] + np.concatenate([[0.0], np.cumsum(slopes * steps)])


def below_noise(u, expected, noise_sigma):
    """Find the first reduced energy at which the ZLP is smaller than the noise of a channel.

    Parameters
    ----------
    u : ndarray of shape (n,)
        Distance from the peak, FWHM, positive and increasing.
    expected, noise_sigma : ndarray of shape (n,)
        Counts of the ZLP in one channel of one spectrum, and their noise.

    Returns
    -------
    float
        FWHM; infinity where the axis ends first.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.regions import below_noise
    >>> u = np.arange(1.0, 10.0)
    >>> below_noise(u, expected=1000 * u**-2, noise_sigma=np.full(9, 30.0))
    6.0
    """
    below = (u > _NEAREST) & (expected < noise_sigma)
    return float(u[below][0]) if below.any() else NO_LIMIT


def check_limits(regions, ev_per_unit=1.0):
    """Check limits given by the user, and bring them to eV.

    Parameters
    ----------
    regions : dict or None
        ``E_I``, ``E_II``, ``gain_limit``: one number each, or one for each cluster.
    ev_per_unit : float
        eV in one unit of the numbers given.

    Returns
    -------
    dict of str to ndarray or NumPy number
        In eV; empty for None.

    Raises
    ------
    ValueError
        If a name is not one of these, a value is no number, or on the wrong side of the peak.

    Examples
    --------
    >>> from hyperspy_zlpml.zlp.regions import check_limits
    >>> limits = check_limits({"E_I": 1500.0, "gain_limit": [-800.0, -900.0]}, ev_per_unit=1e-3)
    >>> float(limits["E_I"]), limits["gain_limit"]
    (1.5, array([-0.8, -0.9]))
    """
    if regions is None:
        return {}
    arguments.keys(regions, "regions", _LIMIT_NAMES)
    limits = {
        name: arguments.real_array(value, f"regions: {name}") * ev_per_unit
        for name, value in regions.items()
    }
    for name, value in limits.items():
        if value.ndim > 1 or not value.size:
            arguments.refuse(regions[name], f"regions: {name}", "one number or one per cluster")
        before = name == "gain_limit"
        wrong = value >= 0 if before else value <= 0
        if np.isnan(value).any() or wrong.any():
            side = "negative (before the peak)" if before else "positive (after the peak)"
            raise ValueError(f"regions: expected {name} to be {side}, got {regions[name]!r}.")
    _check_same_number(limits)
    if "E_I" in limits and "E_II" in limits and (limits["E_I"] > limits["E_II"]).any():
        raise ValueError(
            f"regions: expected E_I below E_II, got {regions['E_I']!r} and {regions['E_II']!r}."
        )
    return limits


def _check_same_number(limits):
    """Raise ValueError unless all limits with a value per cluster are of as many clusters."""
    sizes = {name: value.size for name, value in limits.items() if value.ndim}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"regions: expected limits of equally many clusters, got {sizes}.")


def check_number_of_limits(limits, n_clusters):
    """Raise ValueError unless there is one limit of each kind, or one for each cluster.

    Parameters
    ----------
    limits : dict of str to ndarray or NumPy number
        Of :func:`check_limits`.
    n_clusters : int

    Raises
    ------
    ValueError
        If a limit has another number of values.
    """
    for name, value in limits.items():
        if value.ndim and value.shape != (n_clusters,):
            raise ValueError(
                f"regions: expected one {name} or one for each of {n_clusters} clusters, "
                f"got {value.size}."
            )


def check_reach(limits, fwhm, end, ev_per_unit=1.0):
    """Raise ValueError unless ``E_I`` lies outside the core and on the axis.

    Parameters
    ----------
    limits : dict of str to ndarray or NumPy number
        Of :func:`check_limits`, eV.
    fwhm : float
        Width of the peaks, eV.
    end : float
        Last energy of the axis, counted from the peaks, eV.
    ev_per_unit : float
        eV in one unit of the energies in the error.

    Raises
    ------
    ValueError
        If an ``E_I`` lies elsewhere.

    Examples
    --------
    >>> from hyperspy_zlpml.zlp.regions import check_limits, check_reach
    >>> check_reach(check_limits({"E_I": 0.2}), fwhm=0.5, end=9.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: regions: expected E_I between 0.25 (half the FWHM) and 9 ...
    """
    nearest = _OUTSIDE_THE_CORE * fwhm
    for value in np.atleast_1d(limits.get("E_I", [])):
        if not nearest < value < end:
            raise ValueError(
                f"regions: expected E_I between {nearest / ev_per_unit:.4g} (half the FWHM) "
                f"and {end / ev_per_unit:.4g} (the end of the axis), "
                f"got {value / ev_per_unit:.4g}, in the units of the axis from the peak."
            )
