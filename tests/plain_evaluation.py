# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluation of results in plain NumPy, which the compiled one is held to."""

import numpy as np

from hyperspy_zlpml.removal.evaluation import (
    _derivatives,
    _outside_seen,
    limited,
    look_up,
    on_channels,
)
from hyperspy_zlpml.removal.geometry import cut
from hyperspy_zlpml.zlp.expansion import Expansion
from hyperspy_zlpml.zlp.kernels import MODEL_FLOOR
from hyperspy_zlpml.zlp.tails import level_ripples

#: ln(counts) of the ZLP is kept within plus and minus this.
_LARGEST_LOG = 80.0
#: Largest standard deviation of ln(counts) of the ZLP.
_LARGEST_SIGMA = 5.0


def evaluate(model, posterior, counts, measured_variance=None):
    """All results by their names, of spectra that are all usable."""
    peaks, matched, start = posterior.peaks, posterior.matched, model.start(posterior.peaks)
    found = look_up(model, matched, peaks)
    log_zlp = log_zlp_of(model, matched, found)
    zlp = expanded(model, log_zlp, posterior)
    sigma = limited(model, sigma_of(model, matched, peaks, found), log_zlp, posterior.highest)
    # A ZLP that is too high leaves a subtracted signal that is too low.
    errors = {
        "std": on_channels(model, np.sinh(sigma)),
        "lower": on_channels(model, np.expm1(sigma * found.upper)),
        "upper": on_channels(model, np.expm1(sigma * found.lower)),
    }
    add_pattern_error(model, errors, peaks)
    results = {name: cut(error * zlp, start, model.n_energy) for name, error in errors.items()}
    results["zlp"] = cut(zlp, start, model.n_energy)
    data = model.free_of_dark_level(counts)
    results["subtracted"] = data - results["zlp"]
    for name in ("lower", "upper"):
        results[name] = results["subtracted"] - results[name]
    own = model.noise.of_measured(data) if measured_variance is None else measured_variance
    return results | {"variance": results["std"] ** 2 + own}


def log_zlp_of(model, matched, found):
    """Compute ln(ZLP per channel) in the middle of every group, (n_spectra, n_groups)."""
    coefficients = matched.coefficients.astype(model.table.dtype, copy=False)
    log_zlp = found.log_shape + matched.log_height[:, None]
    log_zlp += np.einsum("pj,jpg->pg", coefficients, found.modes)
    for change in found.widening:
        log_zlp += (np.log(matched.fwhm) - model.table.log_fwhm)[:, None] * change
    return np.clip(level_ripples(log_zlp, found.u), -_LARGEST_LOG, _LARGEST_LOG)


def expanded(model, log_zlp, posterior):
    """Counts of channels from the peaks, with coherent residual and sensitivity."""
    peaks, matched = posterior.peaks, posterior.matched
    # In double precision: that of a logarithm is ten times worse than that of the counts.
    cubic = Expansion.cubic(model.groups)
    zlp = cubic(log_zlp, out=np.empty((len(log_zlp), cubic.n_channels)))
    zlp = np.exp(zlp, out=zlp).astype(model.dtype, copy=False)
    if model.table.residual.has_curve:
        add_residual(model, zlp, matched, peaks)
    sensitivity = model.sensitivity(peaks, zlp.dtype)
    return zlp if sensitivity is None else zlp * sensitivity


def add_residual(model, zlp, matched, peaks):
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
        zlp[:, low:high] *= 1 + interpolated(residual.curve.astype(zlp.dtype), places)


def sigma_of(model, matched, peaks, found):
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


def add_pattern_error(model, errors, peaks):
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


def interpolated(values, places):
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
