# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluation of the zero-loss peak of spectra that were matched: counts, errors, band.

The logarithm of the ZLP is known in the middle of every group of channels. It is expanded to
channels by a spline, its errors by straight lines.
"""

from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.removal.distance import log_intensity_distance
from hyperspy_zlpml.removal.geometry import cut
from hyperspy_zlpml.zlp.kernels import HEIGHT, N_PEAK, SHIFT, WIDTH
from hyperspy_zlpml.zlp.tables import Places
from hyperspy_zlpml.zlp.tails import level_ripples

#: Results on the axes of the data.
RESULTS = ("subtracted", "zlp", "std", "lower", "upper", "variance")
#: Those that need no counts.
OF_MODEL = ("zlp", "std")
#: ln(counts) of the ZLP is kept within plus and minus this, ...
_LARGEST_LOG = 80.0
#: ... its standard deviation below this.
_LARGEST_SIGMA = 5.0
#: Power of the energy by which a tail beyond region I may be wrong at a distance of 1.
_OPENING = 0.1
#: No ZLP is claimed to be known better than this, relatively.
MODEL_FLOOR = 1e-4
#: Results that hold the error of the ZLP.
_WITH_ERROR = {"std", "lower", "upper", "variance"}


class AtGroups(NamedTuple):
    """Zero-loss peaks in the middle of every group of channels.

    Attributes
    ----------
    log_zlp : ndarray of shape (n_spectra, n_groups)
        ln(counts per channel).
    sigma : ndarray of shape (n_spectra, n_groups)
        Its standard deviation.
    below, above : ndarray of shape (n_spectra, n_groups)
        From it down and up to the ends of the band.
    """

    log_zlp: np.ndarray
    sigma: np.ndarray
    below: np.ndarray
    above: np.ndarray


class Deviations(NamedTuple):
    """Independent ways in which ln(ZLP) may be wrong, in the middle of every group.

    Attributes
    ----------
    directions : ndarray of shape (n_directions, n_spectra, n_groups)
        Deviations by one standard deviation, each of all groups together.
    shared : ndarray of shape (n_spectra, n_groups)
        Standard deviation of what neighbouring groups share.
    own, of_group : ndarray of shape (n_spectra, n_groups)
        Standard deviation of what every channel has for itself, and of its mean over a group.
    """

    directions: np.ndarray
    shared: np.ndarray
    own: np.ndarray
    of_group: np.ndarray


class LookedUp(NamedTuple):
    """Tables of an ensemble at the groups of matched spectra.

    Attributes
    ----------
    u : ndarray of shape (n_spectra, n_groups)
        Reduced energies.
    log_shape, slope : ndarray of shape (n_spectra, n_groups)
        Logarithm of the shape, and its slope.
    lower, upper : ndarray of shape (n_spectra, n_groups)
        Ends of the band in standard deviations.
    shared, own : ndarray of shape (n_spectra, n_groups)
        Errors that no mode holds: of neighbouring groups together, and of single channels.
    widening : list of ndarray of shape (n_spectra, n_groups)
        Changes of the logarithm with ln FWHM; none, or one.
    modes : ndarray of shape (n_modes, n_spectra, n_groups)
    places : Places
        Where they were looked up.
    """

    u: np.ndarray
    log_shape: np.ndarray
    slope: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    shared: np.ndarray
    own: np.ndarray
    widening: list
    modes: np.ndarray
    places: Places


def at_groups(model, matched, peaks):
    """Evaluate ln(ZLP per channel) in the middle of every group, its spread and its band.

    Parameters
    ----------
    model : Subtraction
    matched : Match
    peaks : KnownPeaks
        All usable.

    Returns
    -------
    AtGroups
    """
    found = look_up(model, matched, peaks)
    log_zlp = log_zlp_of(model, matched, found)
    sigma = _sigma(model, matched, peaks, found).astype(log_zlp.dtype, copy=False)
    return AtGroups(log_zlp, sigma, sigma * found.lower, sigma * found.upper)


def deviations(model, matched, peaks, found):
    """Find the independent ways in which ln(ZLP) may be wrong, in the middle of every group.

    Parameters
    ----------
    model : Subtraction
    matched : Match
    peaks : KnownPeaks
        All usable.
    found : LookedUp

    Returns
    -------
    Deviations
        One direction for each fitted number, and one in which tails open beyond what was seen.
    """
    wider, opening = _outside_seen(model, found.u, peaks, matched.fwhm)
    # Where the match is worse than its noise its errors are larger in proportion.
    inflation = np.sqrt(np.clip(matched.reduced_chi2, 1, None))[:, None] * wider
    factor = np.linalg.cholesky(_positive(matched.covariance))
    directions = np.einsum("pij,ipg->jpg", factor, _derivatives(found)) * inflation
    opened = np.broadcast_to(opening, found.u.shape)[None]
    return Deviations(
        directions=np.concatenate([directions, opened]),
        shared=np.hypot(found.shared, MODEL_FLOOR) * wider,
        own=found.own * wider,
        of_group=model.table.grains(found.places)[0] * wider,
    )


def _positive(covariance):
    """Make covariances positive definite that rounding has left a little short of it."""
    diagonal = np.einsum("pii->pi", covariance)
    extra = 1e-12 * diagonal.max(-1)[:, None, None] * np.eye(covariance.shape[-1])
    return covariance + extra


def evaluate(model, names, posterior, counts=None, measured_variance=None):
    """Evaluate results of spectra that were matched.

    Parameters
    ----------
    model : Subtraction
        Of the precision that is wanted.
    names : sequence of str
        Of ``RESULTS``.
    posterior : Posterior
        All usable.
    counts : ndarray of shape (n_spectra, n_energy), optional
        As measured; only the ZLP and its standard deviation do without.
    measured_variance : ndarray of shape (n_spectra, n_energy), or float, optional
        Variance of the counts where it is known.

    Returns
    -------
    list of ndarray of shape (n_spectra, n_energy)
        One for each name.
    """
    peaks, matched = posterior.peaks, posterior.matched
    dtype, start = model.dtype, model.start(peaks)
    found = look_up(model, matched, peaks)
    log_zlp = log_zlp_of(model, matched, found)
    zlp = expanded(model, log_zlp, posterior)
    results = {"zlp": cut(zlp, start, model.n_energy)}
    if _WITH_ERROR & set(names):
        sigma = limited(model, _sigma(model, matched, peaks, found), log_zlp, posterior.highest)
        errors = _relative_errors(model, sigma, found, names)
        if errors["std"] is not None:
            _add_pattern_error(model, errors, peaks)
        for name, error in errors.items():
            if error is not None:
                results[name] = cut(error * zlp, start, model.n_energy)
    if counts is not None:
        data = model.free_of_pedestal(counts).astype(dtype, copy=False)
        results["subtracted"] = data - results["zlp"]
        for name in {"lower", "upper"} & set(names):
            results[name] = results["subtracted"] - results[name]
        if "variance" in names:
            own = model.noise.of_measured(data) if measured_variance is None else measured_variance
            results["variance"] = results["std"] ** 2 + own
    return [results[name] for name in names]


def expanded(model, log_zlp, posterior):
    """Expand ln(ZLP) of groups to counts of channels, with coherent residual and sensitivity.

    Parameters
    ----------
    model : Subtraction
    log_zlp : ndarray of shape (n_spectra, n_groups)
    posterior : Posterior
        All usable.

    Returns
    -------
    ndarray of shape (n_spectra, n_relative)
        In channels from the peaks.
    """
    peaks, matched = posterior.peaks, posterior.matched
    # In double precision: that of a logarithm is ten times worse than that of the counts.
    zlp = model.cubic(log_zlp, out=np.empty((len(log_zlp), model.cubic.n_channels)))
    zlp = np.exp(zlp, out=zlp).astype(model.dtype, copy=False)
    if model.table.residual.has_curve:
        _add_residual(model, zlp, matched, peaks)
    sensitivity = model.sensitivity(peaks, zlp.dtype)
    return zlp if sensitivity is None else zlp * sensitivity


def _add_residual(model, zlp, matched, peaks):
    """Multiply peaks by the coherent residual of the ensemble, in place."""
    residual = model.table.residual
    per_channel = model.step / matched.fwhm / residual.step
    first = model.energy[0] + model.step * (peaks.channel + model.groups.edges[0]) - matched.centre
    position = (first / matched.fwhm - residual.start) / residual.step
    last = residual.curve.size - 1
    # Channels that the curve reaches in no spectrum are left as they are.
    low = max(int((-position / per_channel).min()), 0)
    high = min(int(((last - position) / per_channel).max()) + 1, zlp.shape[1])
    if low < high:
        places = position[:, None] + per_channel[:, None] * np.arange(low, high)
        zlp[:, low:high] *= 1 + _interpolated(residual.curve.astype(zlp.dtype), places)


def look_up(model, matched, peaks):
    """Look up the tables at the groups of matched spectra.

    Parameters
    ----------
    model : Subtraction
    matched : Match
    peaks : KnownPeaks
        All usable.

    Returns
    -------
    LookedUp
    """
    u = (model.middle(peaks) - matched.centre[:, None]) / matched.fwhm[:, None]
    table = model.table
    places = table.places(u, table.at(peaks.log_intensity))
    log_shape, slope, lower, upper, shared, own, *widening = table.prediction(places)
    return LookedUp(
        u=u,
        log_shape=log_shape,
        slope=slope,
        lower=lower,
        upper=upper,
        shared=shared,
        own=own,
        widening=widening,
        modes=table.shape_modes(places),
        places=places,
    )


def log_zlp_of(model, matched, found):
    """Compute ln(ZLP per channel) in the middle of every group.

    Parameters
    ----------
    model : Subtraction
    matched : Match
    found : LookedUp

    Returns
    -------
    ndarray of shape (n_spectra, n_groups)
    """
    coefficients = matched.coefficients.astype(model.table.dtype, copy=False)
    log_zlp = found.log_shape + matched.log_height[:, None]
    log_zlp += np.einsum("pj,jpg->pg", coefficients, found.modes)
    for change in found.widening:
        log_zlp += (np.log(matched.fwhm) - model.table.log_fwhm)[:, None] * change
    return np.clip(level_ripples(log_zlp, found.u), -_LARGEST_LOG, _LARGEST_LOG)


def _sigma(model, matched, peaks, found):
    """Compute the standard deviation of ln(ZLP) at the groups."""
    # Where the match is worse than its noise its errors are larger in proportion.
    inflation = np.clip(matched.reduced_chi2, 1, None)[:, None]
    derivatives = _derivatives(found)
    covariance = matched.covariance.astype(model.table.dtype, copy=False)
    moved = covariance @ derivatives.transpose(1, 0, 2)
    spread = np.einsum("ipg,pig->pg", derivatives, moved)
    variance = np.clip(spread * inflation, 0, None)
    variance += found.shared**2 + found.own**2 + MODEL_FLOOR**2
    wider, opening = _outside_seen(model, found.u, peaks, matched.fwhm)
    return np.minimum(np.hypot(np.sqrt(variance) * wider, opening), _LARGEST_SIGMA)


def limited(model, sigma, log_zlp, highest):
    """Keep errors of ln(ZLP) below those of a ZLP as high as its peak: it is no higher.

    Parameters
    ----------
    model : Subtraction
    sigma, log_zlp : ndarray of shape (n_spectra, n_groups)
    highest : ndarray of shape (n_spectra,)
        Highest counts per channel.

    Returns
    -------
    ndarray of shape (n_spectra, n_groups)
    """
    highest = np.maximum(highest, model.noise.unit)[:, None]
    most = np.arcsinh(highest * np.exp(-log_zlp))
    return np.minimum(sigma, most)


def _relative_errors(model, sigma, found, names):
    """Expand errors of ln(ZLP) to channels, as fractions of the ZLP; None for what is not asked."""
    # A ZLP that is too high leaves a subtracted signal that is too low.
    at = {
        "std": lambda: np.sinh(sigma),
        "lower": lambda: np.expm1(sigma * found.upper),
        "upper": lambda: np.expm1(sigma * found.lower),
    }
    needed = {name for name in at if name in names}
    needed |= {"std"} if "variance" in names or model.table.residual.pattern_error.any() else set()
    return {
        name: on_channels(model, value()) if name in needed else None for name, value in at.items()
    }


def on_channels(model, values):
    """Expand values of groups to channels by straight lines.

    Parameters
    ----------
    model : Subtraction
    values : ndarray of shape (n_spectra, n_groups)

    Returns
    -------
    ndarray of shape (n_spectra, n_relative)
        In channels from the peaks.
    """
    dtype = model.dtype
    out = np.empty((len(values), model.linear.n_channels), dtype)
    return model.linear(values.astype(dtype, copy=False), out=out)


def _add_pattern_error(model, errors, peaks):
    """Add the error of the sensitivities to relative errors, in place."""
    error = model.table.residual.pattern_error
    if error.size != model.n_energy or not error.any():
        return
    error = np.broadcast_to(error, (len(peaks.channel), error.size))
    wider = np.hypot(errors["std"], model.aligned(error, peaks, errors["std"].dtype))
    for name in ("lower", "upper"):
        if errors[name] is not None:
            errors[name] *= wider / errors["std"]
    errors["std"] = wider


def _outside_seen(model, u, peaks, fwhm):
    """Compute how the band widens outside what was seen, and opens beyond the windows.

    Returns
    -------
    wider : ndarray of shape (n_spectra, 1)
        Factor on the standard deviation.
    opening : ndarray of shape (n_spectra, n_groups)
        Standard deviation of ln(ZLP) where the power of the tail is not known.
    """
    nodes = model.table.log_intensity_nodes
    distance = log_intensity_distance(peaks.log_intensity, nodes[0], nodes[-1])[:, None]
    distance = np.hypot(distance, model.distance)
    if not distance.any():
        return np.ones_like(distance), np.zeros(1)
    first = peaks.gain_limit / fwhm
    last = peaks.loss_limit / fwhm
    beyond = np.maximum(u / last[:, None], u / first[:, None])
    return 1 + distance, distance * _OPENING * np.log(np.maximum(beyond, 1.0))


def _interpolated(values, places):
    """Interpolate linearly at places counted in nodes; zero beyond the first and the last."""
    last = values.size - 1
    node = places.astype(np.intp)
    outside = (places < 0) | (places > last)
    node[outside] = 0
    fraction = (places - node).astype(values.dtype)
    found = np.take(np.diff(values, append=values[-1:]), node)
    found *= fraction
    found += np.take(values, node)
    found[outside] = 0.0
    return found


def _derivatives(found):
    """Stack derivatives of ln(ZLP) by the fitted numbers, (3 + n_modes, n_spectra, n_groups)."""
    modes = found.modes
    derivatives = np.empty((N_PEAK + len(modes),) + found.u.shape, modes.dtype)
    derivatives[HEIGHT] = 1.0
    derivatives[SHIFT] = -found.slope
    derivatives[WIDTH] = -found.u * found.slope
    for change in found.widening:
        derivatives[WIDTH] += change
    derivatives[N_PEAK:] = modes
    return derivatives
