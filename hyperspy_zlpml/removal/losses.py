# SPDX-License-Identifier: GPL-3.0-or-later
"""From matched spectra to what functions of physics take: losses and the errors of their ZLPs.

The errors of a ZLP are many: those of every fitted number, what neighbouring channels share
beside, and the choice of ``E_I``. Few of them stand above the noise of the counts. These are kept
as directions; what is left of the others is added to the variance of the channels.
"""

from dataclasses import replace

import numpy as np

from hyperspy_zlpml.compute.compiled import laid_out
from hyperspy_zlpml.image.channels import find_spikes, without_spikes
from hyperspy_zlpml.physics.losses import Losses
from hyperspy_zlpml.removal.draws import response
from hyperspy_zlpml.removal.evaluation import (
    at_groups,
    common_deviations,
    deviations,
    limited,
    log_zlp_of,
    look_up,
    on_channels,
    zlp_of,
)
from hyperspy_zlpml.removal.geometry import cut
from hyperspy_zlpml.removal.posterior import Posterior, check_unchanged
from hyperspy_zlpml.removal.shared_errors import losses_in_region_one
from hyperspy_zlpml.zlp import kernels
from hyperspy_zlpml.zlp.matching import KnownPeaks

#: Spectra that a function of physics is given at once: their directions stay in the cache.
SPECTRA_AT_ONCE = 64
#: Directions that are kept beside that of ``E_I``.
_MOST_DIRECTIONS = 16
#: Rounds in which they are turned towards the clearest: what they leave out is then, in images of
#: phantoms and of phonons, a tenth more than the best that as many could leave out.
_ROUNDS = 2
#: Part of the variance that neighbouring groups share which is taken for their own.
_LEFT_OUT = 0.03
#: Other choices of ``E_I`` that are tried, in units of it.
_OTHER_LIMITS = (0.8, 1.25)
#: Responses reach this many FWHM from the peak.
_REACH = 8.0
#: Change of ln(ZLP) with the choice of ``E_I`` that counts at most, a factor of e.
_LARGEST_CHANGE = 1.0


def map_block(counts, packed, measured_variance, *others, model, function, limits, out):
    """Apply a function of physics to a block, for :func:`~hyperspy_zlpml.compute.mapping.map_spectra`.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        As measured.
    packed : ndarray of shape (n_spectra, n_numbers)
        Of :meth:`.Posterior.pack`.
    measured_variance : ndarray of shape (n_spectra, n_energy), float or None
        Variance of the counts where it is known.
    *others : ndarray of shape (n_spectra, 1)
        Handed on to the function.
    model : Subtraction
    function : callable
        Called as ``function(losses, *others)``; returns an array of shape (n, width).
    limits : Range
        Limits below and above which pure ZLP ends in the thinnest cluster, for vacuum.
    out : list of one ndarray of shape (n_spectra, width)
        Written to; NaN where a spectrum has no ZLP.
    """
    posterior = Posterior.unpack(packed, model.table.n_modes)
    out[0][:] = np.nan
    usable = np.flatnonzero(posterior.usable)
    for first in range(0, usable.size, SPECTRA_AT_ONCE):
        rows = usable[first : first + SPECTRA_AT_ONCE]
        own = posterior.select(rows)
        check_unchanged(counts, own, rows=rows)
        known = measured_variance[rows] if np.ndim(measured_variance) else measured_variance
        losses = losses_of(
            model, own, counts[rows].astype(float), limits=limits, measured_variance=known
        )
        out[0][rows] = _numbers_of(
            function, losses, *(other[rows, 0] for other in others), out=out[0]
        )


def _numbers_of(function, losses, *others, out):
    """Apply a function to losses; ValueError unless it gives as many numbers as were said."""
    found = np.asarray(function(losses, *others))
    expected = (losses.centre.size, out.shape[1])
    if found.shape != expected:
        raise ValueError(
            f"function, width: expected an array of shape {expected}, width numbers for each "
            f"spectrum, got one of shape {found.shape}."
        )
    return found


def losses_of(model, posterior, counts, limits, measured_variance=None):
    """Collect the losses of matched spectra, and in which ways their ZLPs may be wrong.

    Parameters
    ----------
    model : Subtraction
    posterior : Posterior
        All usable.
    counts : ndarray of shape (n_spectra, n_energy)
        As measured, double precision.
    limits : Range
        Limits of pure ZLP that spectra without any are given: who takes the whole of a spectrum for
        ZLP finds nothing in it, and no error of that.
    measured_variance : float or ndarray, optional
        Variance of the counts where it is known.

    Returns
    -------
    Losses
    """
    is_vacuum = np.isinf(posterior.peaks.loss_limit)
    posterior = _with_limits(model, posterior, counts, limits)
    peaks, matched = posterior.peaks, posterior.matched
    at = at_groups(model, matched, peaks)
    zlp, data = zlp_of(model, posterior, at), _clean(model, counts)
    directions, own = _directions(model, posterior, counts, at)
    if measured_variance is None:
        per_fwhm = np.maximum(matched.fwhm / model.step, 1.0)
        measured_variance = model.noise.of_measured(data, per_fwhm[:, None])
    distance = _distances(model)
    shapes = response(model, posterior, at, distance)
    return Losses(
        energy=model.energy,
        distance=distance,
        counts=data,
        zlp=zlp,
        variance=measured_variance + (own * zlp) ** 2,
        spilled=zlp
        * losses_in_region_one(model.table, model.energy - matched.centre[:, None], peaks),
        directions=_on_channels(model, peaks, directions, zlp),
        centre=matched.centre,
        fwhm=matched.fwhm,
        gain_limit=peaks.gain_limit,
        loss_limit=peaks.loss_limit,
        is_vacuum=is_vacuum,
        response=shapes / shapes.sum(-1, keepdims=True),
    )


def _clean(model, counts):
    """Take off the dark level, and bridge cosmic rays: a loss as narrow would be none."""
    data = model.free_of_dark_level(counts)
    width = np.exp(model.log_fwhm.mean) / model.step
    return without_spikes(data, find_spikes(data, width=width, noise=model.noise))


def _with_limits(model, posterior, counts, limits):
    """Match spectra anew that have no limits of pure ZLP, within those of others."""
    peaks = posterior.peaks
    free = np.isinf(peaks.loss_limit)
    if not free.any() or not np.isfinite(limits.high):
        return posterior
    peaks = replace(
        peaks,
        loss_limit=np.where(free, limits.high, peaks.loss_limit),
        gain_limit=np.where(np.isinf(peaks.gain_limit), limits.low, peaks.gain_limit),
    )
    rows = np.flatnonzero(free)
    anew = model.match_rows(counts[rows], peaks.select(rows))
    return replace(posterior, peaks=peaks, matched=posterior.matched.with_rows(rows, anew))


def _directions(model, posterior, counts, at):
    """Find the directions in which ln(ZLP) may be wrong, and what channels have for themselves.

    Returns
    -------
    directions : ndarray of shape (n_spectra, n_directions, n_groups)
    own : ndarray of shape (n_spectra, n_energy)
    """
    peaks, matched = posterior.peaks, posterior.matched
    found = deviations(model, matched, peaks, look_up(model, matched, peaks))
    # Errors are limited by a ZLP that is no higher than its peak.
    share = limited(model, at.sigma, at.log_zlp, posterior.highest) / at.sigma
    root, left = _shared_root(model)
    n_fitted = found.directions.shape[1]
    every = np.empty((len(counts), n_fitted + len(root) + 1, model.groups.size))
    np.multiply(found.directions, share[:, None], out=every[:, :n_fitted])
    np.multiply((found.shared * share)[:, None], root, out=every[:, n_fitted:-1])
    every[:, -1] = _relative(found.pedestal, at.log_zlp)
    kept, rest = _most_significant(every, _significance(model, at.log_zlp))
    kept = np.concatenate([kept, _of_limit(model, posterior, counts)[:, None]], axis=1)
    own = np.sqrt((np.hypot(found.own, found.shared * left) * share) ** 2 + rest**2)
    own = cut(on_channels(model, own), model.start(peaks), model.n_energy)
    return kept, np.hypot(own, _pattern_error(model))


def _relative(counts, log_zlp):
    """Express counts that all channels of a spectrum are off by as deviations of ln(ZLP), (n_spectra, n_groups)."""
    return counts[:, None] * np.exp(-log_zlp)


def _on_channels(model, peaks, directions, zlp):
    """Expand deviations of ln(ZLP) to counts of channels, each direction by itself.

    Parameters
    ----------
    model : Subtraction
    peaks : KnownPeaks
    directions : ndarray of shape (n_spectra, n_directions, n_groups)
    zlp : ndarray of shape (n_spectra, n_energy)

    Returns
    -------
    ndarray of shape (n_spectra, n_directions, n_energy)
    """
    out = np.empty((*directions.shape[:2], model.n_energy))
    kernels.draw_directions(
        laid_out(directions),
        channel=laid_out(peaks.channel, np.int64),
        spline=model.shared.spline,
        zlp=laid_out(zlp),
        out=out,
    )
    return out


def common_directions(model, posterior, counts, limits):
    """Find the directions in which the ZLPs of all spectra may be wrong alike.

    Those that an ensemble leaves open, not those of the noise of single spectra: its spread as far as counts do not
    tell the shape, what neighbouring channels share beside, the pedestal, and the choice of ``E_I``.

    Parameters
    ----------
    model : Subtraction
    posterior : Posterior
        All usable.
    counts : ndarray of shape (n_spectra, n_energy)
        As measured, double precision.
    limits : Range
        Limits of pure ZLP that spectra without any are given.

    Returns
    -------
    ndarray of shape (n_spectra, n_common, n_energy)
        Counts, by one standard deviation; each direction means the same in all spectra.
    """
    posterior = _with_limits(model, posterior, counts, limits)
    peaks, matched = posterior.peaks, posterior.matched
    found, at = look_up(model, matched, peaks), at_groups(model, matched, peaks)
    root, _ = _shared_root(model)
    errors = deviations(model, matched, peaks, found)
    shared = errors.shared[:, None] * root
    pedestal = _relative(errors.pedestal, at.log_zlp)[:, None]
    modes = common_deviations(model, matched, peaks, found)
    share = limited(model, at.sigma, at.log_zlp, posterior.highest) / at.sigma
    every = np.concatenate([modes, shared], axis=1) * share[:, None]
    every = np.concatenate([every, pedestal], axis=1)
    every = np.concatenate([every, _of_limit(model, posterior, counts)[:, None]], axis=1)
    return _on_channels(model, peaks, every, zlp_of(model, posterior, at))


def _pattern_error(model):
    """Take the error of the sensitivity of channels, where there is one."""
    error = model.table.residual.pattern_error
    return error if error.size == model.n_energy else 0.0


def _shared_root(model):
    """Take what neighbouring groups share as directions, and what the smallest of these hold.

    Returns
    -------
    root : ndarray of shape (n_shared, n_groups)
        In units of the standard deviation of each group.
    left : ndarray of shape (n_groups,)
        Standard deviation, in the same units.
    """
    variance = np.cumsum((model.shared_root**2).sum(0)) / model.groups.size
    root = model.shared_root.T[: np.searchsorted(variance, 1 - _LEFT_OUT) + 1].copy()
    return root, np.sqrt(np.clip(1 - (root**2).sum(0), 0, None))


def _significance(model, log_zlp):
    """Compute by what number of standard deviations of noise groups show a change of ln(ZLP)."""
    n_channels = model.groups.n_channels
    zlp = np.exp(log_zlp) * n_channels
    return zlp / np.sqrt(model.noise.variance(zlp, n_channels) + model.noise.unit**2)


def _most_significant(directions, significance):
    """Turn directions into as many that are independent, and keep those that are clear.

    Parameters
    ----------
    directions : ndarray of shape (n_spectra, n_directions, n_groups)
    significance : ndarray of shape (n_spectra, n_groups)

    Returns
    -------
    kept : ndarray of shape (n_spectra, n_kept, n_groups)
    rest : ndarray of shape (n_spectra, n_groups)
        Standard deviation of what was not kept.
    """
    weighted = directions * significance[:, None]
    kept = _clearest(weighted @ np.swapaxes(weighted, 1, 2)) @ directions
    # Turning leaves the sum of the squares as it was.
    rest, of_kept = (np.einsum("ndg,ndg->ng", one, one) for one in (directions, kept))
    rest -= of_kept
    return kept, np.sqrt(np.clip(rest, 0.0, None))


def _clearest(products):
    """Find turns of directions to the clearest: nearly eigenvectors, in a third of their time.

    Subspace iteration from the directions that are clearest by themselves.

    Parameters
    ----------
    products : ndarray of shape (n_spectra, n_directions, n_directions)
        Scalar products of the directions.

    Returns
    -------
    ndarray of shape (n_spectra, n_kept, n_directions)
        Orthonormal rows.
    """
    clarity = np.einsum("nii->ni", products)
    order = np.argsort(-clarity, axis=-1, kind="stable")[:, None, :_MOST_DIRECTIONS]
    turned = np.take_along_axis(products, order, -1)
    for _ in range(_ROUNDS):
        turned = np.linalg.qr(products @ turned).Q
        turned = products @ turned
    return np.swapaxes(np.linalg.qr(turned).Q, 1, 2)


def _of_limit(model, posterior, counts):
    """Compute how ln(ZLP) changes with the choice of ``E_I``, as a standard deviation."""
    peaks = posterior.peaks
    rows = np.flatnonzero(np.isfinite(peaks.loss_limit))
    change = np.zeros((len(counts), model.groups.size))
    if not rows.size:
        return change
    some = peaks.select(rows)
    moved = [replace(some, loss_limit=some.loss_limit * factor) for factor in _OTHER_LIMITS]
    moved = KnownPeaks.join(moved)
    # All at once: it is the calls that take the time.
    matched = model.match_rows(counts[np.tile(rows, len(_OTHER_LIMITS))], moved)
    earlier, later = np.split(log_zlp_of(model, matched, moved), len(_OTHER_LIMITS))
    with np.errstate(invalid="ignore"):
        half = (later - earlier) / 2
    change[rows] = np.clip(np.nan_to_num(half), -_LARGEST_CHANGE, _LARGEST_CHANGE)
    return change


def _distances(model):
    """Choose the energies from a peak at which responses are given."""
    n = int(np.ceil(_REACH * np.exp(model.log_fwhm.mean) / model.step))
    return model.step * np.arange(-n, n + 1)
