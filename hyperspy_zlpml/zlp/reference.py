# SPDX-License-Identifier: GPL-3.0-or-later
"""Reference: a smooth shape with falling tails, which the networks correct.

As NNPDF multiplies its networks by a preprocessing function, a network here learns the logarithm
of the ratio of a peak to the mean shape of the vacuum pixels (or of the brightest cluster), and
so carries only what differs. Shapes live on a uniform grid of ``x = asinh(2 u)``: linear in the
core, logarithmic in the tails, where a straight line is a power law.
"""

from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline
from scipy.linalg import cho_solve_banded, cholesky_banded

from hyperspy_zlpml.statistics import Range
from hyperspy_zlpml.zlp.grid import from_grid, to_grid
from hyperspy_zlpml.zlp.tails import falling_tails, outer_slope_error

#: Distance of the knots of the spline, in x.
_KNOT_STEP = 0.12
#: Bands of the normal matrix of a cubic spline, on and above its diagonal.
_BANDS = 4
#: Width of the cells in which the counts are pooled before the fit, in x.
_CELL = 0.03
#: Relative error added to every cell: no measured shape is known better.
_FLOOR = 3e-4
#: Strengths of the smoothing that are tried.
_PENALTIES = 10.0 ** np.arange(-3, 6, 0.5)
#: Directions in which the reference is uncertain that are kept at most.
_MOST_DIRECTIONS = 24
#: Largest error of the logarithm of the shape that they hold.
_LARGEST_ERROR = 1.0
#: Largest absolute value of the logarithm of the shape during the fit.
_LARGEST_LOG = 50.0
#: A tail is above its noise where its mean over this distance in x ...
_SEEN_OVER = 0.25
#: ... exceeds its error by this factor.
_SEEN_ERRORS = 3.0
#: Half of the FWHM, in x: no nearer than this a peak is lost in its noise.
_TOP = float(to_grid(0.5))
#: A misfit is certain that exceeds this many standard errors.
_CERTAIN = 3.0


class Reference(NamedTuple):
    """Smooth shape of the peak.

    Attributes
    ----------
    log_shape : ndarray of shape (n_grid,)
        0 at u = 0.
    modes : ndarray of shape (n_modes, n_grid)
        Independent deviations of one standard error by which the data leave it uncertain.
    seen : Range
        Reduced energies between which the data show it above their noise.
    slope_errors : Range
        Standard errors of the slopes in x before these two.
    noise_share : ndarray of shape (n_grid,)
        Part of its error that noise makes, between 0 and 1: the rest is fine structure that no smooth shape
        follows. 1 beyond what the data show.
    """

    log_shape: np.ndarray
    modes: np.ndarray
    seen: Range
    slope_errors: Range
    noise_share: np.ndarray


def fit_reference(u, counts, expected_scale, variance, grid):
    """Fit a smooth log-shape to many spectra.

    A penalised spline in x with a logarithmic link, fitted to the counts themselves (which may
    be negative) by iterated least squares; the smoothing is the one that the data
    make most likely. Beyond what stands above the noise the tails go on and flatten.

    Parameters
    ----------
    u : ndarray of shape (n_spectra, n_groups), or any other
        Reduced energies of the groups of channels, FWHM.
    counts : ndarray of the same shape
        Their counts.
    expected_scale : ndarray of the same shape
        Counts a group would hold if the shape were 1 (amplitude times channels); 0 leaves out.
    variance : ndarray of the same shape
        Of the counts.
    grid : Grid

    Returns
    -------
    Reference

    Examples
    --------
    Ten spectra of one shape give it back.

    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.reference import fit_reference
    >>> u = np.tile(np.linspace(-4, 4, 161), (10, 1))
    >>> counts = np.random.default_rng(0).poisson(1e5 / (1 + 4 * u**2)).astype(float)
    >>> grid = Grid.covering(-4, 4)
    >>> found = fit_reference(u, counts, np.full(u.shape, 1e5), counts + 1, grid)
    >>> bool(np.abs(found.log_shape + np.log1p(4 * grid.u**2)).max() < 0.02)
    True
    """
    covered = (u >= grid.u[0]) & (u <= grid.u[-1])
    expected_scale = np.where(covered, expected_scale, 0.0)
    x, ratio, sigma = _pool(to_grid(u), counts, expected_scale, variance)
    knots_from, knots_to = grid.x[0] - 4 * _KNOT_STEP, grid.x[-1] + 4 * _KNOT_STEP
    knots = np.arange(knots_from, knots_to + _KNOT_STEP, _KNOT_STEP)
    n_basis = knots.size - 4
    basis = BSpline.design_matrix(x, knots, 3).toarray()
    difference = np.diff(np.eye(n_basis), 2, axis=0)
    roughness = difference.T @ difference

    best, information = _most_likely(basis, ratio, sigma, roughness)
    fitted = np.exp(np.clip(basis @ best, -_LARGEST_LOG, _LARGEST_LOG))
    misfit, of_noise = _misfit(x, ratio, sigma, fitted), information
    if misfit.any():
        best, information = _most_likely(basis, ratio, np.hypot(sigma, misfit), roughness)
    on_grid = BSpline.design_matrix(grid.x, knots, 3).toarray()
    on_grid -= grid.interpolate_rows(on_grid, np.zeros(1))
    factor = _factor(information)
    first, last = _above_noise(x, np.linalg.norm(np.linalg.solve(factor, basis.T), axis=0))
    slope_errors = Range(
        low=outer_slope_error(on_grid, grid, first, factor),
        high=outer_slope_error(on_grid, grid, last, factor),
    )
    share = _standard_error(on_grid, _factor(of_noise)) / _standard_error(on_grid, factor)
    shown = (grid.x >= first) & (grid.x <= last)
    return Reference(
        log_shape=falling_tails(
            on_grid @ best, grid, x_first=first, x_last=last, slope_errors=slope_errors
        ),
        modes=_errors(on_grid, factor),
        seen=Range(float(from_grid(first)), float(from_grid(last))),
        slope_errors=slope_errors,
        noise_share=np.where(shown, np.minimum(share, 1.0), 1.0),
    )


def _most_likely(basis, ratio, sigma, roughness):
    """Fit a spline at the smoothing that the data make most likely; inverse covariance too."""
    n = basis.shape[1]
    products = np.zeros((len(basis), _BANDS, n))
    for k in range(_BANDS):
        products[:, _BANDS - 1 - k, k:] = basis[:, : n - k] * basis[:, k:]
    best_score = np.inf
    for strength in _PENALTIES:
        score, coefficient, weight = _fit_spline(
            basis,
            products.reshape(len(basis), -1),
            ratio=ratio,
            sigma=sigma,
            penalty=strength * roughness,
        )
        # Straight lines are not penalised: the penalty has two eigenvalues of zero.
        score -= (n - 2) * np.log(strength)
        if score < best_score:
            best_score, best = score, coefficient
            information = basis.T @ (weight[:, None] * basis) + strength * roughness
    return best, information


def _misfit(x, ratio, sigma, fitted):
    """Find how far cells lie from a smooth fit for certain beyond their errors, near each x.

    A fine structure that no spline follows would pull it about, most where the data end.
    """
    known = np.maximum(sigma / fitted, _FLOOR)
    weight = known**-4.0
    relative = np.clip(np.abs(ratio / fitted - 1), 0, 1) ** 2 - known**2
    near = np.abs(x[:, None] - x) < _SEEN_OVER
    total = near @ weight
    excess = near @ (weight * relative) / total - _CERTAIN * np.sqrt(2 / total)
    return fitted * np.sqrt(np.clip(excess, 0, None))


def _above_noise(x, errors):
    """Find the first and the last cell up to which, from the peak on, the shape is known.

    Asked where something was measured: what is unknown between two channels is not lost in noise.
    """
    lost = x[(errors > 1 / _SEEN_ERRORS) & (np.abs(x) > _TOP)]
    return max(lost[lost < 0], default=x[0]), min(lost[lost > 0], default=x[-1])


def _factor(information):
    """Factorise an inverse covariance."""
    ridge = 1e-10 * np.trace(information) / len(information)
    return np.linalg.cholesky(information + ridge * np.eye(len(information)))


def _standard_error(on_grid, factor):
    """Compute the standard error of a spline from the factor of its information."""
    return np.maximum(np.linalg.norm(np.linalg.solve(factor, on_grid.T), axis=0), 1e-300)


def _errors(on_grid, factor):
    """Find independent errors of a spline from the factor of its information.

    Of them is kept what lies along the principal directions, but not these themselves: their signs are
    arbitrary, and nearly equal data would give other replicas.
    """
    errors = np.linalg.solve(factor, on_grid.T)
    sigma = np.maximum(np.linalg.norm(errors, axis=0), 1e-300)
    errors *= np.minimum(1.0, _LARGEST_ERROR / sigma)
    # Compared in units of the error, or the far tails would take all the directions.
    scale = np.minimum(sigma, _LARGEST_ERROR) + _FLOOR
    _, _, directions = np.linalg.svd(errors / scale, full_matrices=False)
    directions = directions[:_MOST_DIRECTIONS]
    return (errors / scale) @ directions.T @ directions * scale


def _pool(x, counts, scale, variance):
    """Average the ratio in narrow cells of x; positions, means and their errors."""
    use = scale > 0
    cell = np.round(x[use] / _CELL).astype(int)
    cell, index = np.unique(cell, return_inverse=True)
    weight = scale[use]
    total = np.bincount(index, weight)
    ratio = np.bincount(index, counts[use]) / total
    position = np.bincount(index, x[use] * weight) / total
    sigma = np.sqrt(np.bincount(index, variance[use])) / total
    sigma = np.hypot(sigma, _FLOOR * np.abs(ratio))
    return position, ratio, np.maximum(sigma, _FLOOR * sigma.max())


def _fit_spline(basis, products, ratio, sigma, penalty):
    """Fit a spline at one strength of smoothing; score, coefficients, weights of the cells.

    The score is minus twice the logarithm of the marginal likelihood, but for what the strength alone
    tells: the noise is known, and cross-validation smooths too much where there is little data.
    ``products`` are the bands of the normal matrix that every cell has.
    """
    bands_of_penalty = np.zeros((_BANDS, len(penalty)))
    for k in range(_BANDS):
        bands_of_penalty[_BANDS - 1 - k, k:] = np.diagonal(penalty, k)
    significant = ratio > 2 * sigma
    value = np.log(np.where(significant, ratio, np.maximum(2 * sigma, 1e-12)))
    for _ in range(12):
        mean = np.exp(value)
        weight = (mean / sigma) ** 2
        target = value + np.clip((ratio - mean) / mean, -1.0, 1.0)
        bands = (weight @ products).reshape(_BANDS, -1) + bands_of_penalty
        bands[-1] += 1e-10 * bands[-1].max()
        factor = cholesky_banded(bands)
        coefficient = cho_solve_banded((factor, False), basis.T @ (weight * target))
        new = np.clip(basis @ coefficient, -_LARGEST_LOG, _LARGEST_LOG)
        done = np.abs(new - value).max() < 1e-6
        value = new
        if done:
            break
    misfit = (((ratio - np.exp(value)) / sigma) ** 2).sum()
    rough = coefficient @ penalty @ coefficient
    spread = 2 * np.log(factor[-1]).sum()
    return misfit + rough + spread, coefficient, weight
