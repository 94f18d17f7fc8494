# SPDX-License-Identifier: GPL-3.0-or-later
"""Extrapolation to zero thickness: the tail of the zero-loss peak where no pixel is vacuum.

Divided by its zero-loss peak, a spectrum is ``Z(E) + (t/l) S(E) + (t/l)^2 / 2 S*S(E) + ...``
convolved with the response (Egerton, *EELS in the Electron Microscope*, 3rd ed., eq. 4.8): at
every energy a smooth function of thickness whose value at zero thickness is the zero-loss peak
itself. The losses far beyond the peak, where the peak no longer counts, vanish with the thickness
and measure it. So at every energy a parabola in the far losses is fitted over the pixels and read
off at zero; pixels of differing thickness take the place of vacuum.

Variations of the peak that the spectra show where they are pure enter as further regressors: their
coefficients are how the tail follows them. Errors come from leaving out blocks of neighbouring
pixels, as pixels differ (in their band gap) smoothly.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.stats import t as student_t

from hyperspy_zlpml.statistics import MAD_TO_SIGMA
from hyperspy_zlpml.zlp.grid import GAIN_SIDE_POWER_SIGMA
from hyperspy_zlpml.zlp.reference import fit_reference

#: Fewer spectra show nothing.
_FEWEST = 12
#: Far losses are measured in at least this many groups.
_FEWEST_GROUPS = 5
#: Far losses of thick pixels (95th percentile) over those of thin ones (5th), at least.
_LEAST_RANGE = 1.3
#: Far losses begin at this many times the limit of the pure peak.
_FAR = 3.1
#: Far losses hold at least this many times the counts of the peak's own tail.
_LEAST_FAR_LOSSES = 3.0
#: Largest error of the logarithm of the tail under them.
_LARGEST_TAIL_ERROR = 0.5
#: The tail is read off from this fraction of the limit of the pure peak on: nearer to the limit
#: there are losses already, which no single spectrum shows.
PURE_FRACTION = 0.75
#: Most blocks of neighbouring pixels, which are left out in turn.
_MOST_BLOCKS = 6
#: Probability that a normal value lies below one standard deviation.
_WITHIN_SIGMA = 0.8413
#: Rounds in which weights and scatter beyond noise improve each other.
_WEIGHT_STEPS = 5
#: A spectrum is left out where it misses the fit by so many times its noise, and what others miss.
_SPOILT = 8.0
#: Error of the parabola as a fraction of its difference from a straight line.
_HIGHER_POWERS = 0.2
#: Deviations of the blocks are smoothed over this many groups.
_SMOOTHING = 4.0
#: Smallest ratio to the reference to which the tail may fall.
_SMALLEST_RATIO = 0.05
#: Relative error of the reference nearer to the peak than the tail that is read off.
_CORE_ERROR = 3e-4


@dataclass(frozen=True)
class ZeroThickness:
    """Peak at zero thickness, as a ratio to the reference; one value for each group.

    Attributes
    ----------
    ratio : ndarray of shape (n_groups,)
    deviations : ndarray of shape (n_deviations, n_groups)
        Independent errors of ``ratio``, of one standard deviation each.
    responses : ndarray of shape (n_modes, n_groups)
        Change of the ratio by a score of one of each mode.
    """

    ratio: np.ndarray
    deviations: np.ndarray
    responses: np.ndarray


def far_losses(peaks, tail_errors=0.0):
    """Sum the counts far beyond the peak over its height, free of its own tail.

    Parameters
    ----------
    peaks : RegisteredPeaks
    tail_errors : float
        Standard errors by which the tail is taken to be higher.

    Returns
    -------
    ndarray of shape (n_spectra,) or None
        Of mean 1; None where the losses are too few or too equal to measure thickness.
    """
    u = peaks.u.mean(0)
    far = (u > _FAR * peaks.extrapolated_from) & peaks.spectra.complete.all(0)
    if far.sum() < _FEWEST_GROUPS or len(peaks.label) < _FEWEST:
        return None
    error = np.minimum(peaks.reference_error(u[far]), _LARGEST_TAIL_ERROR)
    tail = np.exp(peaks.grid.interpolate(peaks.log_reference, u[far]) + tail_errors * error)
    tail = (tail * peaks.spectra.n_channels[far]).sum()
    counts = peaks.spectra.sums[:, far].sum(-1) / np.exp(peaks.matched.log_height)
    losses = counts - tail
    if np.median(losses) < _LEAST_FAR_LOSSES * tail:
        return None
    low, high = np.percentile(losses, [5, 95])
    if not 0 < low * _LEAST_RANGE < high:
        return None
    return losses / losses.mean()


def extrapolate(ratios, complete, losses, scores):
    """Fit a parabola in the losses, and the modes, at every energy.

    Parameters
    ----------
    ratios : Ratios
        Of shape (n_spectra, n_groups).
    complete : ndarray of bool of shape (n_spectra, n_groups)
        Groups on the axis.
    losses : ndarray of shape (n_spectra,)
        Far losses, a measure of thickness: 0 at zero thickness.
    scores : ndarray of shape (n_modes, n_spectra)
        Of the modes in every spectrum.

    Returns
    -------
    ZeroThickness

    Examples
    --------
    Ratios that rise with thickness, in one group straight and in one bent:

    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.registered_peaks import Ratios
    >>> from hyperspy_zlpml.registration.zero_thickness import extrapolate
    >>> losses = np.linspace(0.4, 1.6, 30)
    >>> ratio = np.stack([1.1 + 2 * losses, 0.9 + losses + 0.5 * losses**2], axis=-1)
    >>> everywhere = np.ones(ratio.shape, bool)
    >>> ratios = Ratios(ratio, np.full(ratio.shape, 1e-4), everywhere)
    >>> found = extrapolate(ratios, everywhere, losses, scores=np.zeros((0, 30)))
    >>> found.ratio.round(3)
    array([1.1, 0.9])
    """
    ratio, variance, _ = ratios
    design = np.stack([np.ones_like(losses), losses, losses**2, *scores])
    n_terms, n_spectra = design.shape
    n_blocks = min(_MOST_BLOCKS, n_spectra // 3)
    block = np.arange(n_spectra) * n_blocks // n_spectra
    used, excess = complete, np.zeros(ratio.shape[1])
    for _ in range(_WEIGHT_STEPS):
        # Differences of pixels beyond noise grow with thickness.
        weight = np.where(used, 1 / (variance + excess * losses[:, None] ** 2), 0.0)
        outer = design[:, None] * design[None]
        normal = np.stack(
            [
                np.einsum("klp,pg->gkl", outer[..., block == b], weight[block == b])
                for b in range(n_blocks)
            ]
        )
        right = np.stack(
            [(design[:, block == b] @ (weight * ratio)[block == b]).T for b in range(n_blocks)]
        )
        solution = _solve(normal.sum(0), right.sum(0))
        residual = ratio - design.T @ solution.T
        used = complete & _like_others(residual, variance, losses)
        over = np.where(used, residual**2 - variance, 0.0) / losses[:, None] ** 2
        excess = np.clip(over.sum(0) / np.maximum(used.sum(0), 1), 0, None)
    without = np.stack(
        [_solve(normal.sum(0) - n, right.sum(0) - r) for n, r in zip(normal, right, strict=True)]
    )
    deviations = (without[..., 0] - without[..., 0].mean(0)) * np.sqrt((n_blocks - 1) / n_blocks)
    # Few blocks: as much wider as Student's distribution is for their degrees of freedom.
    deviations *= student_t.ppf(_WITHIN_SIGMA, max(n_blocks - 1, 1))
    # Higher powers are taken to add a fraction of what the parabola adds to a straight line.
    straight = [0, 1, *range(3, n_terms)]
    line = _solve(normal.sum(0)[:, straight][:, :, straight], right.sum(0)[:, straight])
    bent = _HIGHER_POWERS * (solution[:, 0] - line[:, 0])
    return ZeroThickness(solution[:, 0], np.vstack([deviations, bent]), solution[:, 3:].T)


def _like_others(residual, variance, losses):
    """Tell where spectra are left by a fit as others are, scaled by noise or by thickness."""
    noise = np.abs(residual) / np.sqrt(variance)
    relative = np.abs(residual) / losses[:, None]
    spoilt = noise > _SPOILT
    spoilt &= relative > _SPOILT * MAD_TO_SIGMA * np.median(relative, axis=0)
    return ~spoilt


def _solve(normal, right):
    """Solve normal equations of every group, scaled and steadied."""
    scale = np.sqrt(np.maximum(np.einsum("gkk->gk", normal), 1e-300))
    scaled = normal / scale[:, :, None] / scale[:, None, :] + 1e-9 * np.eye(normal.shape[-1])
    return np.linalg.solve(scaled, (right / scale)[..., None])[..., 0] / scale


def mode_scores(ratios, modes):
    """Fit the scores of the modes in every spectrum, where it is pure.

    Parameters
    ----------
    ratios : Ratios
        Of shape (n_spectra, n_groups).
    modes : ndarray of shape (n_modes, n_groups)

    Returns
    -------
    ndarray of shape (n_modes, n_spectra)
        Of mean 0 over the spectra.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.registered_peaks import Ratios
    >>> from hyperspy_zlpml.registration.zero_thickness import mode_scores
    >>> mode, scores = np.linspace(-0.1, 0.1, 20), np.array([-1.0, 0.0, 1.0])
    >>> ratio = 1 + scores[:, None] * mode
    >>> ratios = Ratios(ratio, np.full(ratio.shape, 1e-6), np.ones(ratio.shape, bool))
    >>> mode_scores(ratios, mode[None]).round(2) + 0.0
    array([[-1.,  0.,  1.]])
    """
    ratio, variance, inside = ratios
    weight = np.where(inside, 1 / variance, 0.0)
    deviation = ratio - (weight * ratio).sum(0) / np.maximum(weight.sum(0), 1e-300)
    normal = np.einsum("jg,pg,kg->pjk", modes, weight, modes) + np.eye(len(modes))
    right = np.einsum("jg,pg,pg->pj", modes, weight, deviation)
    scores = np.linalg.solve(normal, right[..., None])[..., 0].T
    return scores - scores.mean(1, keepdims=True)


def at_zero_thickness(peaks, modes):
    """Extrapolate registered peaks to zero thickness.

    Parameters
    ----------
    peaks : RegisteredPeaks
        Without vacuum, their windows those of the pure peak.
    modes : ndarray of shape (n_modes, n_groups)
        Variations of the shape from spectrum to spectrum.

    Returns
    -------
    ZeroThickness or None
        None where the spectra do not show it.
    """
    losses = far_losses(peaks)
    if losses is None:
        return None
    ratios = peaks.ratios
    scores = mode_scores(ratios, modes)
    found = extrapolate(ratios, peaks.spectra.complete, losses, scores)
    # Another tail under the far losses moves what counts as zero thickness.
    others = [far_losses(peaks, tail_errors) for tail_errors in (-1.0, 1.0)]
    if any(other is None for other in others):
        return None
    low, high = (extrapolate(ratios, peaks.spectra.complete, one, scores) for one in others)
    moved = (high.ratio - low.ratio) / 2
    return replace(found, deviations=np.vstack([found.deviations, moved]))


def tail_from(peaks, found):
    """Build a reference whose tail is the peak at zero thickness, and its errors.

    The gain side, raised to join the loss side, was known before, to a power of the energy; both
    are weighed by their errors.

    Parameters
    ----------
    peaks : RegisteredPeaks
        Against a reference that goes on like the gain side.
    found : ZeroThickness

    Returns
    -------
    log_reference : ndarray of shape (grid.n,)
    modes : ndarray of shape (n_modes, grid.n)
        Deviations of one standard error by which it is uncertain.
    """
    grid, u = peaks.grid, peaks.u.mean(0)
    start = PURE_FRACTION * peaks.extrapolated_from
    beyond = np.log(np.clip(u, start, peaks.extrapolated_from) / start)
    prior = np.hypot(GAIN_SIDE_POWER_SIGMA * beyond, peaks.reference_error(u))
    prior = np.maximum(prior, _CORE_ERROR)
    seen = peaks.spectra.complete.any(0)
    variance = np.where(seen, gaussian_filter1d((found.deviations**2).sum(0), _SMOOTHING), np.inf)
    variance = np.maximum(variance, 1e-12)
    weight = np.where(u > start, prior**2 / (prior**2 + variance), 0.0)
    ratio = np.where(weight > 0, 1 + weight * (found.ratio - 1), 1.0)
    ratio = np.maximum(ratio, _SMALLEST_RATIO)
    known = np.where(weight > 0, variance, 0.0)
    error = np.where(weight > 0, np.sqrt(weight * known), _CORE_ERROR)
    shape = np.exp(grid.interpolate(peaks.log_reference, u))
    log_reference, *_ = fit_reference(
        u=u,
        counts=shape * ratio,
        expected_scale=np.ones_like(u),
        variance=(shape * error) ** 2,
        grid=grid,
    )

    def on_grid(values):
        return np.interp(grid.u, u, values)

    smooth = gaussian_filter1d(found.deviations, _SMOOTHING, axis=-1)
    modes = [on_grid(np.clip(weight * deviation / ratio, -1, 1)) for deviation in smooth]
    modes.append(on_grid((1 - weight) * np.where(u > start, prior, 0.0)))
    old = np.where(grid.u > start, 0.0, peaks.reference_modes)
    return log_reference, np.concatenate([old, np.stack(modes)])
