# SPDX-License-Identifier: GPL-3.0-or-later
"""Extrapolation to zero thickness: the tail of the zero-loss peak where no pixel is vacuum.

Divided by its zero-loss electrons, a spectrum is at every energy the peak and the losses, and those
of electrons that were scattered once are in proportion to thickness. Thickness is measured, and plural
scattering taken off, by :mod:`~hyperspy_zlpml.registration.thickness`. So at every energy a straight
line in the thickness is fitted over the pixels and read off at zero; pixels of differing thickness take
the place of vacuum. What differs between pixels in step with thickness bends the line: as far as the
pixels show it, a parabola takes its place.

Losses near their onset follow the width of the peak, which broadens them too: the part of the losses that
does is a further regressor. So are variations of the peak that the spectra show where they are
pure: their coefficients are how the tail follows them. Errors come from leaving out thirds of the
pixels, neighbours together, as pixels differ (in their band gap) smoothly: over much of the view.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d, minimum_filter1d
from scipy.stats import t as student_t

from hyperspy_zlpml.registration.cells import LARGEST
from hyperspy_zlpml.registration.positive_ratio import positive_ratio
from hyperspy_zlpml.registration.thickness import relative_thickness
from hyperspy_zlpml.statistics import MAD_TO_SIGMA, solved
from hyperspy_zlpml.zlp.grid import GAIN_SIDE_POWER_SIGMA
from hyperspy_zlpml.zlp.reference import fit_reference

#: Fewer spectra do not show how losses follow the width of the peak.
_FEWEST_FOR_WIDTH = 30
#: The tail is read off from this fraction of the limit of the pure peak on: nearer to the limit
#: there are losses already, which no single spectrum shows.
PURE_FRACTION = 0.75
#: Most blocks of neighbouring pixels, of which each two that follow one another are left out in turn.
#: Single ones left out gave .6 of the error on images whose band gap varies over a third of the view.
_MOST_BLOCKS = 6
#: Probability that a normal value lies below one standard deviation.
_WITHIN_SIGMA = 0.8413
#: Rounds in which weights and scatter beyond noise improve each other.
_WEIGHT_STEPS = 5
#: A spectrum is left out where it misses the fit by so many times its noise, and what others miss.
_SPOILT = 8.0
#: Parabola and line that are nearly the same are steadied by this.
_RIDGE = 1e-9
#: A thickness is apart from the others that differs from the median by so many robust standard
#: deviations ...
_FAR_APART = 6.0
#: ... in no more than this fraction of the spectra.
_FEW = 0.02
#: Differences between pixels are those of at least this relative thickness.
_THINNEST = 0.05
#: Error of the parabola as a fraction of its difference from a straight line.
_HIGHER_POWERS = 0.2
#: Variances are averaged over this many groups (standard deviation).
_SMOOTHING = 4.0
#: Deviations of the blocks are smoothed over this many groups, about as the reference is: what follows
#: from an onset that moves changes its sign within ten.
_DEVIATION_SMOOTHING = 1.5
#: A mode whose score is one changes a ratio by about this much at most: what spectra say of it is
#: little where their scores are hardly known.
_LARGEST_RESPONSE = 1.0
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


class Tail(NamedTuple):
    """Reference whose tail is the peak at zero thickness.

    Attributes
    ----------
    log_reference : ndarray of shape (grid.n,)
    modes : ndarray of shape (n_modes, grid.n)
        Deviations of one standard error by which it is uncertain.
    structure : ndarray of shape (grid.n,)
        Relative deviation of the tail from it, that a smooth curve does not follow.
    roughness : ndarray of shape (grid.n,)
        Standard deviation of ln(tail) of single channels about both.
    """

    log_reference: np.ndarray
    modes: np.ndarray
    structure: np.ndarray
    roughness: np.ndarray


def extrapolate(ratios, complete, thickness, scores):
    """Fit a straight line in the thickness, and the modes, at every energy; a parabola where it bends.

    Parameters
    ----------
    ratios : Ratios
        Of shape (n_spectra, n_groups).
    complete : ndarray of bool of shape (n_spectra, n_groups)
        Groups on the axis.
    thickness : RelativeThickness
        Of the spectra.
    scores : ndarray of shape (n_modes, n_spectra)
        Of the modes in every spectrum.

    Returns
    -------
    ZeroThickness

    Examples
    --------
    Ratios that rise with thickness, in one half of the groups straight and in the other bent:

    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.registered_peaks import Ratios
    >>> from hyperspy_zlpml.registration.thickness import RelativeThickness
    >>> from hyperspy_zlpml.registration.zero_thickness import extrapolate
    >>> relative = np.linspace(0.4, 1.6, 30)
    >>> straight, bent = 1.1 + 2 * relative, 0.9 + relative + 0.5 * relative**2
    >>> ratio = np.repeat(np.stack([straight, bent], axis=-1), 40, axis=-1)
    >>> everywhere = np.ones(ratio.shape, bool)
    >>> ratios = Ratios(ratio, np.full(ratio.shape, 1e-4), everywhere)
    >>> thickness = RelativeThickness.of_equal_peaks(relative)
    >>> found = extrapolate(ratios, everywhere, thickness, scores=np.zeros((0, 30)))
    >>> found.ratio[[0, -1]].round(3)
    array([1.1, 0.9])
    """
    ratio, variance = ratios.ratio - thickness.plural, ratios.variance
    losses = np.broadcast_to(thickness.relative[:, None] * thickness.over_zlp, ratio.shape)
    design = _design(losses, thickness, scores)
    n_spectra = len(ratio)
    blocks = np.arange(n_spectra) * min(_MOST_BLOCKS, n_spectra // 3) // n_spectra
    used, excess = complete, np.zeros(ratio.shape[1])
    size = np.maximum(losses, _THINNEST)
    of_scores = slice(len(design) - 1 - len(scores), -1)
    prior = np.zeros(len(design))
    prior[of_scores] = _LARGEST_RESPONSE**-2
    for _ in range(_WEIGHT_STEPS):
        # Differences of pixels beyond noise grow with thickness.
        weight = np.where(used, 1 / (variance + excess * size**2), 0.0)
        equations = _Equations.of(design, ratio, weight, blocks).with_prior(prior)
        solution = equations.solve()
        residual = ratio - np.einsum("kpg,gk->pg", design, solution)
        used = complete & _like_others(residual, variance, size)
        over = np.where(used, residual**2 - variance, 0.0) / size**2
        excess = np.clip(over.sum(0) / np.maximum(used.sum(0), 1), 0, None)
    parabola, line = _ReadOff.of(equations), _ReadOff.of(equations.without_last())
    bend = _Bend.between(line, parabola)
    deviations = line.deviations + bend.share * (parabola.deviations - line.deviations)
    return ZeroThickness(
        ratio=line.ratio + bend.share * (parabola.ratio - line.ratio),
        deviations=np.vstack([deviations, bend.error]),
        responses=solution[:, of_scores].T,
    )


def _design(losses, thickness, scores):
    """Make the regressors, (n_terms, n_spectra, n_groups): the peak first, the bend last."""
    terms = [np.ones_like(losses), losses]
    if len(losses) >= _FEWEST_FOR_WIDTH and thickness.broadening.any():
        terms.append(losses * thickness.broadening[:, None])
    terms += [np.broadcast_to(score[:, None], losses.shape) for score in scores]
    return np.stack([*terms, losses * thickness.relative[:, None]])


class _Equations(NamedTuple):
    """Normal equations of every group, of blocks of spectra."""

    normal: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, design, ratio, weight, blocks):
        """Add up those of neighbouring spectra."""
        normal, right = [], []
        for block in range(blocks[-1] + 1):
            rows = blocks == block
            weighted = design[:, rows] * weight[rows]
            normal.append(np.einsum("kpg,lpg->gkl", weighted, design[:, rows], optimize=True))
            right.append(np.einsum("kpg,pg->gk", weighted, ratio[rows]))
        return cls(np.stack(normal), np.stack(right))

    def with_prior(self, information):
        """Add what is known of the terms before, shared out to the blocks."""
        return self._replace(normal=self.normal + np.diag(information) / len(self.normal))

    def without_last(self):
        """Leave out the last term."""
        return _Equations(self.normal[..., :-1, :-1], self.right[..., :-1])

    def solve(self):
        """Solve them with all blocks, (n_groups, n_terms)."""
        return solved(self.normal.sum(0), self.right.sum(0), _RIDGE)

    def solve_without_pairs(self):
        """Solve them without two blocks after one another, (n_blocks, n_groups, n_terms).

        The first follows the last, so that all are left out equally often.
        """
        total = _Equations(self.normal.sum(0), self.right.sum(0))
        normal = self.normal + np.roll(self.normal, -1, axis=0)
        right = self.right + np.roll(self.right, -1, axis=0)
        pairs = zip(normal, right, strict=True)
        return np.stack([solved(total.normal - n, total.right - r, _RIDGE) for n, r in pairs])


class _ReadOff(NamedTuple):
    """Ratio at zero thickness, and its deviations by the blocks: a jackknife."""

    ratio: np.ndarray
    deviations: np.ndarray

    @classmethod
    def of(cls, equations):
        """Take the first term of the solution."""
        without = equations.solve_without_pairs()[..., 0]
        n_blocks, n_apart = len(without), len(without) / 2
        deviations = (without - without.mean(0)) * np.sqrt((n_apart - 1) / n_blocks)
        # Few blocks: as much wider as Student's distribution is for their degrees of freedom, of
        # which pairs that overlap have about as many as there are pairs apart.
        deviations *= student_t.ppf(_WITHIN_SIGMA, n_apart)
        return cls(equations.solve()[:, 0], deviations)


class _Bend(NamedTuple):
    """Share of a parabola in place of a straight line, and what that leaves uncertain."""

    share: np.ndarray
    error: np.ndarray

    @classmethod
    def between(cls, line, parabola):
        """Compare their difference, over neighbouring energies, with the parabola's error."""
        found = parabola.ratio - line.ratio
        noise = gaussian_filter1d((parabola.deviations**2).sum(0), _SMOOTHING)
        bend = np.clip(gaussian_filter1d(found**2, _SMOOTHING) - noise, 0, None)
        share = bend / np.maximum(bend + noise, 1e-300)
        # Higher powers are taken to add a fraction of what the parabola adds to a straight line.
        left = np.maximum((1 - share) * np.sqrt(bend), _HIGHER_POWERS * np.abs(found))
        return cls(share, np.sign(found) * left)


def _like_others(residual, variance, losses):
    """Tell where spectra are left by a fit as others are, scaled by noise or by thickness."""
    noise = np.abs(residual) / np.sqrt(variance)
    relative = np.abs(residual) / losses
    spoilt = noise > _SPOILT
    spoilt &= relative > _SPOILT * MAD_TO_SIGMA * np.median(relative, axis=0)
    return ~spoilt


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
    thickness = relative_thickness(peaks)
    if thickness is None:
        return None
    ratios = peaks.ratios
    scores = mode_scores(ratios, modes)
    # The reference is the mean of the thinnest: the tail that belongs to it.
    thinnest = peaks.label == peaks.label.min()
    scores = scores - scores[:, thinnest].mean(1, keepdims=True)
    complete = peaks.spectra.complete & ~_apart(thickness.relative)[:, None]
    found = extrapolate(ratios, complete, thickness, scores)
    # Another tail under the far losses moves what counts as zero thickness.
    higher = relative_thickness(peaks, tail_errors=1.0)
    if higher is None:
        return None
    moved = extrapolate(ratios, complete, higher, scores).ratio - found.ratio
    return replace(found, deviations=np.vstack([found.deviations, moved]))


def _apart(thickness):
    """Tell the few spectra whose thickness lies far from all others: lines would hang on them."""
    distance = np.abs(thickness - np.median(thickness))
    apart = distance > _FAR_APART * MAD_TO_SIGMA * np.median(distance)
    return apart & (apart.mean() <= _FEW)


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
    Tail
    """
    grid, u = peaks.grid, peaks.u.mean(0)
    start = PURE_FRACTION * peaks.extrapolated_from
    shape = np.exp(grid.interpolate(peaks.log_reference, u))
    smooth, own = _errors_of(found.deviations, shape)
    tail = np.flatnonzero(u > start)
    prior = _prior(peaks, u[tail], start)
    seen = peaks.spectra.complete.any(0)
    weighed = positive_ratio(
        u[tail],
        start=start,
        found=found.ratio[tail],
        deviations=smooth[:, tail],
        variance=np.where(seen, own, np.inf)[tail],
        prior=prior,
    )
    ratio = np.ones(u.size)
    ratio[tail] = weighed.ratio
    errors = np.zeros((len(smooth) + len(weighed.directions), u.size))
    errors[:, tail] = np.vstack([weighed.follow(smooth[:, tail]), weighed.directions])
    error = np.maximum(np.sqrt((errors**2).sum(0)), _CORE_ERROR)
    reference = fit_reference(
        u=u,
        counts=shape * ratio,
        expected_scale=np.ones_like(u),
        variance=(shape * ratio * error) ** 2,
        grid=grid,
    )

    def on_grid(values):
        return np.interp(grid.u, u, values)

    # A smooth curve takes what neighbours are wrong by together.
    smooth_shape = np.exp(grid.interpolate(reference.log_shape, u))
    shown = np.zeros(u.size)
    variance = own[tail] + (smooth[:, tail] ** 2).sum(0)
    shown[tail] = prior**2 / (prior**2 + variance / ratio[tail] ** 2)
    points = shape * (ratio + shown * (found.ratio - ratio))
    left = np.where(u > start, points / smooth_shape - 1, 0.0)
    # Not where the curve passes from the gain side to these points, nor at its end.
    inside = minimum_filter1d(u <= reference.seen.high, 2 * round(_SMOOTHING) + 1, mode="constant")
    structure = _Structure.of(left, own * (shown / ratio) ** 2, shown=shown**2 * inside)
    old = np.where(grid.u > start, 0.0, peaks.reference_modes)
    return Tail(
        log_reference=reference.log_shape,
        modes=np.concatenate([old, np.stack([on_grid(np.clip(one, -1, 1)) for one in errors])]),
        structure=on_grid(structure.value),
        roughness=on_grid(np.where(u > start, structure.roughness, 0.0)),
    )


def _errors_of(deviations, shape):
    """Divide errors into deviations that neighbouring groups share, and variances of each group by itself."""
    # In the units of the peak: over a reference that falls off they rise by half from group to group.
    smooth = gaussian_filter1d(deviations * shape, _DEVIATION_SMOOTHING, axis=-1) / shape
    own = (((deviations - smooth) * shape) ** 2).sum(0)
    return smooth, gaussian_filter1d(own, _SMOOTHING) / shape**2


def _prior(peaks, u, start):
    """Tell how well the tail is known from the gain side: to a power of the energy, and to its own errors."""
    beyond = np.log(np.minimum(u, peaks.extrapolated_from) / start)
    prior = np.hypot(GAIN_SIDE_POWER_SIGMA * beyond, peaks.reference_error(u))
    return np.maximum(prior, _CORE_ERROR)


class _Structure(NamedTuple):
    """Deviation of points at zero thickness from a smooth curve, and scatter of channels about both."""

    value: np.ndarray
    roughness: np.ndarray

    @classmethod
    def of(cls, left, variance, shown):
        """Draw what a smooth curve misses to zero as far as it is noise, and keep the rest as scatter.

        Where the points do not show the curve, from 1 down to 0, all is scatter. Structure that is finer than a
        group of channels averages out in it. It is taken to be as much as the points change over the
        width of a group.
        """
        true = np.clip(gaussian_filter1d(left**2 - variance, _SMOOTHING), 0, None)
        share = shown * true / np.maximum(true + variance, 1e-300)
        change = gaussian_filter1d(np.gradient(left) ** 2 - variance / 2, _SMOOTHING)
        value = np.clip(share * left, -LARGEST, LARGEST)
        return cls(value, np.sqrt((1 - share) * true + np.clip(change, 0, None)))
