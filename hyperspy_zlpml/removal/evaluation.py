# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluation of the zero-loss peak of spectra that were matched: counts, errors, band.

The logarithm of the ZLP is known in the middle of every group of channels. It is expanded to
channels by a spline, its errors by straight lines.
"""

from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.compute.compiled import laid_out
from hyperspy_zlpml.removal.distance import log_intensity_distance
from hyperspy_zlpml.zlp import kernels
from hyperspy_zlpml.zlp.kernels import HEIGHT, MODEL_FLOOR, N_PEAK, SHIFT, WIDTH
from hyperspy_zlpml.zlp.tables import Places

#: Results on the axes of the data.
RESULTS = ("subtracted", "zlp", "std", "lower", "upper", "variance")
#: Those that need no counts.
OF_MODEL = ("zlp", "std")
#: Those that no error enters.
_WITHOUT_ERRORS = ("subtracted", "zlp")
#: Power of the energy by which a tail beyond region I may be wrong at a distance of 1.
_OPENING = 0.1


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
    """Independent ways in which ln(ZLP) may be wrong, in the middle of every group; and counts by which ZLPs are.

    Attributes
    ----------
    directions : ndarray of shape (n_spectra, n_directions, n_groups)
        Deviations by one standard deviation, each of all groups together.
    shared : ndarray of shape (n_spectra, n_groups)
        Standard deviation of what neighbouring groups share.
    own, of_group : ndarray of shape (n_spectra, n_groups)
        Standard deviation of what every channel has for itself, and of its mean over a group.
    pedestal : ndarray of shape (n_spectra,)
        Counts per channel by one standard error of the pedestal, of all channels of all spectra together. They may be
        many times the ZLP, and are no deviation of its logarithm.
    """

    directions: np.ndarray
    shared: np.ndarray
    own: np.ndarray
    of_group: np.ndarray
    pedestal: np.ndarray


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
    found = AtGroups(*(np.empty((len(matched.fwhm), model.groups.size)) for _ in AtGroups._fields))
    _evaluate_groups(model, matched, peaks, found)
    return found


def log_zlp_of(model, matched, peaks):
    """Evaluate ln(ZLP per channel) in the middle of every group, without its errors.

    Parameters
    ----------
    model : Subtraction
    matched : Match
    peaks : KnownPeaks
        All usable.

    Returns
    -------
    ndarray of shape (n_spectra, n_groups)
    """
    log_zlp, none = np.empty((len(matched.fwhm), model.groups.size)), np.empty((0, 0))
    _evaluate_groups(model, matched, peaks, AtGroups(log_zlp, none, none, none))
    return log_zlp


def _evaluate_groups(model, matched, peaks, found):
    """Write peaks in the middle of every group, and their errors where there is room for them."""
    n_groups, table = model.groups.size, model.table
    rows = table.rows_of_prediction
    kernels.evaluate_groups(
        matched=_laid_out(model, matched, peaks),
        axis=model.shared.axis,
        rows=kernels.Rows(rows, float(table.grid.start), float(table.log_fwhm)),
        room=kernels.Room.of(n_groups, n_tables=rows.shape[-1], n_modes=table.n_modes),
        peaks=kernels.Peaks(*found),
    )


def _laid_out(model, matched, peaks):
    """Lay out matched spectra for the compiled functions."""
    at = model.table.at(peaks.log_intensity)
    distance = _distance(model, peaks)
    columns = {
        "channel": peaks.channel,
        "log_height": matched.log_height,
        "centre": matched.centre,
        "fwhm": matched.fwhm,
        "coefficients": matched.coefficients,
        "covariance": matched.covariance,
        # Where the match is worse than its noise its errors are larger in proportion.
        "inflation": np.clip(matched.reduced_chi2, 1, None),
        "fraction": at.fraction,
        "wider": 1 + distance,
        "opening": _OPENING * distance,
        "first": peaks.gain_limit / matched.fwhm,
        "last": peaks.loss_limit / matched.fwhm,
    }
    columns = {name: laid_out(values, float) for name, values in columns.items()}
    return kernels.Matched(node=laid_out(at.node, np.int64), **columns)


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
    roots = _roots(matched.covariance) * inflation[:, None]
    opened = np.broadcast_to(opening, found.u.shape)[:, None]
    return Deviations(
        directions=np.concatenate([_of_numbers(found, roots), opened], axis=1),
        shared=np.hypot(found.shared, MODEL_FLOOR) * wider,
        own=found.own * wider,
        of_group=model.table.grains(found.places)[0] * wider,
        pedestal=model.pedestal_error.left_under(peaks.log_intensity),
    )


def common_deviations(model, matched, peaks, found):
    """Find in which ways ln(ZLP) may be wrong in all spectra alike, because an ensemble is.

    Matched numbers are off by what the noise of their counts makes of them, each spectrum by its own;
    and, where counts do not tell the shape, towards the middle of the ensemble: by ``C x`` where C is
    their covariance and x by how much the true shape differs from that middle, in standard
    deviations. It may do so in all spectra alike.

    Parameters
    ----------
    model : Subtraction
    matched : Match
    peaks : KnownPeaks
        All usable.
    found : LookedUp

    Returns
    -------
    ndarray of shape (n_spectra, n_modes, n_groups)
        In the middle of every group, by one standard deviation of each mode.
    """
    wider, _ = _outside_seen(model, found.u, peaks, matched.fwhm)
    return _of_numbers(found, matched.covariance[:, :, N_PEAK:] * wider[:, None])


def _of_numbers(found, changes):
    """Compute how ln(ZLP) changes with the fitted numbers.

    Parameters
    ----------
    found : LookedUp
    changes : ndarray of shape (n_spectra, 3 + n_modes, n)
        Of the numbers, n times.

    Returns
    -------
    ndarray of shape (n_spectra, n, n_groups)
    """
    return np.swapaxes(changes, 1, 2) @ np.moveaxis(_derivatives(found), 0, 1)


def _roots(covariance):
    """Factorise covariances; what rounding has left below zero is nothing."""
    scale = np.sqrt(np.clip(np.einsum("pii->pi", covariance), 0, None))
    known = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(covariance / known[:, :, None] / known[:, None, :])
    return scale[:, :, None] * vectors * np.sqrt(np.clip(values, 0, None))[:, None, :]


# Of the spectra, and of what is known of them beside.
def evaluate(  # noqa: PLR0913
    model, results, posterior, *, rows, counts=None, measured_variance=None, at=None
):
    """Evaluate results of spectra that were matched.

    Parameters
    ----------
    model : Subtraction
    results : dict of str to ndarray of shape (n_all, n_energy)
        By names of ``RESULTS``, of one type, written to.
    posterior : Posterior
        Of n_spectra, all usable.
    rows : ndarray of int of shape (n_spectra,)
        Places of the spectra in results and counts.
    counts : ndarray of shape (n_all, n_energy), optional
        As measured, of the type of the results; only the ZLP and its standard deviation do without.
    measured_variance : ndarray of float of shape (n_all, n_energy), optional
        Variance of the counts where it is known.
    at : AtGroups, optional
        Of the posterior, where it was evaluated before.
    """
    matched = posterior.matched
    if at is None:
        at = _at_groups_for(results, model, posterior)
    dtype = next(iter(results.values())).dtype
    none = np.empty((0, 0), dtype)
    spectra = kernels.Spectra(
        counts=none if counts is None else counts,
        variance=np.empty((0, 0)) if measured_variance is None else measured_variance,
        rows=laid_out(rows, np.int64),
        channel=laid_out(posterior.peaks.channel, float),
        centre=laid_out(matched.centre, float),
        fwhm=laid_out(matched.fwhm, float),
        highest=laid_out(posterior.highest, float),
    )
    kernels.evaluate_channels(
        spectra=spectra,
        peaks=kernels.Peaks(*at),
        shared=model.shared,
        line=kernels.Line.of(model.n_energy, model.groups.size),
        results=kernels.Results(**{name: results.get(name, none) for name in RESULTS}),
    )
    if model.pedestal_error:
        _add_pedestal_error(model, results, posterior, rows=rows, counts=counts, at=at)


def _at_groups_for(results, model, posterior):
    """Evaluate peaks in the middle of every group, with their errors where some of the results need them."""
    if not set(results) <= set(_WITHOUT_ERRORS):
        return at_groups(model, posterior.matched, posterior.peaks)
    none = np.empty((0, 0))
    log_zlp = log_zlp_of(model, posterior.matched, posterior.peaks)
    return AtGroups(log_zlp, sigma=none, below=none, above=none)


def _add_pedestal_error(model, results, posterior, *, rows, counts, at):
    """Add to errors and band what is not known of the pedestal: it is in counts, to either side alike."""
    error = model.pedestal_error.left_under(posterior.peaks.log_intensity)[:, None]
    if "std" in results:
        results["std"][rows] = np.hypot(results["std"][rows], error)
    if "variance" in results:
        results["variance"][rows] += error**2
    sides = [name for name in ("lower", "upper") if name in results]
    if not sides:
        return
    left = model.free_of_dark_level(counts[rows]) - zlp_of(model, posterior, at)
    for name in sides:
        # Ends of the band are so many standard deviations from the middle.
        times = np.median(getattr(model.table, name))
        off = np.hypot(results[name][rows] - left, times * error)
        results[name][rows] = left + off if name == "upper" else left - off


def zlp_of(model, posterior, at=None):
    """Evaluate the counts of peaks that were matched.

    Parameters
    ----------
    model : Subtraction
    posterior : Posterior
        All usable.
    at : AtGroups, optional
        Of the posterior, where it was evaluated before.

    Returns
    -------
    ndarray of shape (n_spectra, n_energy)
        Double precision.
    """
    n_spectra = len(posterior.highest)
    zlp = np.empty((n_spectra, model.n_energy))
    evaluate(model, {"zlp": zlp}, posterior, rows=np.arange(n_spectra), at=at)
    return zlp


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


def _distance(model, peaks):
    """Compute how far spectra lie outside what was seen, (n_spectra,)."""
    nodes = model.table.log_intensity_nodes
    distance = log_intensity_distance(peaks.log_intensity, nodes[0], nodes[-1])
    return np.hypot(distance, model.distance)


def _outside_seen(model, u, peaks, fwhm):
    """Compute how the band widens outside what was seen, and opens beyond the windows.

    Returns
    -------
    wider : ndarray of shape (n_spectra, 1)
        Factor on the standard deviation.
    opening : ndarray of shape (n_spectra, n_groups)
        Standard deviation of ln(ZLP) where the power of the tail is not known.
    """
    distance = _distance(model, peaks)[:, None]
    if not distance.any():
        return np.ones_like(distance), np.zeros(1)
    first = peaks.gain_limit / fwhm
    last = peaks.loss_limit / fwhm
    beyond = np.maximum(u / last[:, None], u / first[:, None])
    return 1 + distance, distance * _OPENING * np.log(np.maximum(beyond, 1.0))


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
