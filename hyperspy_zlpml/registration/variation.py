# SPDX-License-Identifier: GPL-3.0-or-later
"""Variations of the shape of the peak from one spectrum to the next: modes above the noise."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import BSpline
from scipy.stats import norm

from hyperspy_zlpml.image.samples import VACUUM
from hyperspy_zlpml.statistics import factorised, inverted, solved
from hyperspy_zlpml.zlp.grid import to_grid

#: Most modes that are kept, unless asked otherwise.
MOST_MODES = 4
#: Knots of the functions that describe modes, in x.
_MODE_KNOTS = 0.6
#: From knot to knot a mode, a deviation of the ratio, changes by about this much.
_MODE_STEP = 0.05
#: A mode is no larger than about this: what little data say of a function is no more than that.
_MODE_SIZE = 1.0
#: What deviates by that and this many standard errors is no noise.
_CERTAIN = 4.0
#: Eigenvalues must exceed those of noise by this factor.
_ABOVE_NOISE = 1.2
#: Tails are not taken to vary by more than this where nothing shows it.
_LARGEST_UNSEEN = 0.1
#: Tails of vacuum peaks taken one after the other differ by 3 to 15 %, in steps from octave to octave of the energy
#: (two pairs of WS2 data of Roest 2021): the relative standard deviation is this at the median, ...
_TAILS_DIFFER = 0.06
#: ... and its natural logarithm known to this.
_TAILS_DIFFER_BY = 0.9
#: They do so from each of these distances on, FWHM, in a way of its own.
_TAILS_WITHIN = (1.0, 2.0, 6.0)
#: Standard deviations that are tried.
_SIZES = (2e-3, 0.5)
_N_SIZES = 60
#: Fewer repeated spectra than this show no modes but how far they differ: a mode would be what one of them happens to be.
_FEWEST_SHOWN = 5
#: With fewer repeated spectra than this, modes are sought in all clusters as one.
_FEWEST_REPETITIONS = 10
#: Fewer repeated spectra than this do not tell all of how tails vary that vacuum shows: what is expected of them is added.
_FEWEST_TOLD = 25
#: Steps of expectation maximisation.
_EM_STEPS = 30
#: Fraction of its mean diagonal that is added to an information matrix.
_RIDGE = 1e-9
#: Information that is none: a coefficient known to a factor of a thousand.
_LEAST_INFORMATION = 1e-6


@dataclass(frozen=True)
class ClusterSpectra:
    """Spectra of one cluster as ratios to the matched reference, group by group.

    Attributes
    ----------
    ratio, variance : ndarray of shape (n_spectra, n_groups)
    used : ndarray of bool of shape (n_spectra, n_groups)
        Groups on the axis and in region I.
    u : ndarray of shape (n_groups,)
        Mean reduced energy of each group.
    log_intensity : float
        Median ln N0.
    is_reference : bool
        Whether the reference is the mean of these spectra. Its errors are then those of the
        reference, which every replica draws anyway: they must not be drawn twice.
    fitted : ndarray of shape (n_fitted, n_groups), optional
        What registration fitted to each spectrum (height, shift, width), as deviations of the
        ratio: nothing of it is left in the spectra.
    about_reference : bool
        Whether spectra deviate from the reference, not from their own mean: where region I ends for some of them,
        that would be another mean.

    Examples
    --------
    Of two spectra the better known one counts more, and unused groups do not count:

    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.variation import ClusterSpectra
    >>> cluster = ClusterSpectra(
    ...     ratio=np.array([[1.0, 9.0], [1.5, 9.0]]),
    ...     variance=np.array([[0.01, 0.01], [0.04, 0.04]]),
    ...     used=np.array([[True, False], [True, False]]),
    ...     u=np.array([0.0, 5.0]),
    ...     log_intensity=15.0,
    ... )
    >>> mean, error = cluster.mean
    >>> mean.round(3), error.round(3)
    (array([1.1, 1. ]), array([0.089,   inf]))
    """

    ratio: np.ndarray
    variance: np.ndarray
    used: np.ndarray
    u: np.ndarray
    log_intensity: float
    is_reference: bool = False
    fitted: np.ndarray | None = None
    about_reference: bool = False

    @property
    def mean(self):
        """Weighted mean ratio of each group and its statistical error (infinite if unused)."""
        weight = np.where(self.used, 1 / self.variance, 0.0)
        total = weight.sum(0)
        seen = total > 0
        known = np.where(seen, total, 1)
        mean = (weight * np.where(self.used, self.ratio, 0)).sum(0) / known
        return np.where(seen, mean, 1.0), np.where(seen, known**-0.5, np.inf)

    @property
    def deviation(self):
        """Deviation of each spectrum from what they have in common, 0 if unused."""
        middle = 1.0 if self.about_reference else self.mean[0]
        return np.where(self.used, self.ratio - middle, 0.0)


def shape_modes(clusters, most=MOST_MODES):
    """Find the modes in which the shape of the peaks varies from spectrum to spectrum.

    Deviations from the cluster means are described by smooth functions of ``asinh(2 u)``, their
    coefficients whitened by the noise and pooled over all clusters; principal components above
    what noise alone would give (Marchenko-Pastur) are the modes. Few functions instead of many
    groups is what shows a variation of the tails that no single spectrum at low dose does.
    Groups that lie beyond region I in some clusters are missing data: the modes are completed
    by expectation maximisation (factor analysis with known noise).

    Parameters
    ----------
    clusters : sequence of ClusterSpectra
    most : int
        Most modes that are kept of those that stand out of the noise.

    Returns
    -------
    ndarray of shape (n_modes, n_groups)
        Standard deviations of the ratio; the sign of a mode is arbitrary.

    Examples
    --------
    Tails of 200 spectra that vary by 20 %, in noise of 5 %:

    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.variation import ClusterSpectra, shape_modes
    >>> rng, u = np.random.default_rng(0), np.linspace(-5, 10, 40)
    >>> tails = 0.2 * np.tanh(u / 2) ** 2
    >>> noise = 0.05 * rng.standard_normal((200, 40))
    >>> ratio = 1 + rng.standard_normal((200, 1)) * tails + noise
    >>> variance = np.full(ratio.shape, 0.05**2)
    >>> modes = shape_modes([ClusterSpectra(ratio, variance, variance > 0, u, 15.0)])
    >>> modes.shape, bool(np.allclose(np.abs(modes[0]), tails, atol=0.03))
    ((1, 40), True)
    """
    several = _with_repetition(clusters)
    freedom = sum(len(cluster.ratio) - 1 for cluster in several)
    shown = freedom >= _FEWEST_SHOWN
    found = _seen_modes(several, freedom, most) if shown else np.zeros((0, clusters[0].u.size))
    has_vacuum = any(cluster.is_reference for cluster in clusters)
    if freedom < (_FEWEST_TOLD if has_vacuum else _FEWEST_REPETITIONS):
        return np.concatenate([found, _expected_modes(clusters)])
    return found if len(found) else _unseen_mode(several, freedom)


def _seen_modes(several, freedom, most):
    """Find the modes that stand out of the noise, shape (n_modes, n_groups)."""
    basis = _smooth_basis(several[0].u)
    # Components are sought where all spectra are seen, and where most are if that is little.
    used = np.concatenate([cluster.used for cluster in several])
    everywhere = used.all(0) if used.all(0).sum() >= 8 else used.mean(0) > 0.5
    coefficients = _coefficients(several, basis * everywhere[:, None])
    loadings = _first_loadings(*coefficients, freedom, most)
    if loadings.shape[1]:
        loadings = _maximised_loadings(loadings, *_coefficients(several, basis), freedom)
    return _beside_fitted(several, (basis @ loadings).T)


def _beside_fitted(clusters, modes):
    """Take off modes what height, shift and width of each spectrum follow: they are fitted beside."""
    fitted = clusters[0].fitted
    if fitted is None or not len(modes):
        return modes
    weight = sum(np.where(cluster.used, 1 / cluster.variance, 0.0).sum(0) for cluster in clusters)
    normal, right = (fitted * weight) @ fitted.T, (modes * weight) @ fitted.T
    return modes - solved(normal, right, _RIDGE) @ fitted


def _expected_modes(clusters):
    """Assume how the tails of a peak vary, as long as the spectra are too few to show it.

    Each side does so in its own way, and farther out in other ways than close to the peak: what
    region I shows of a tail does not tell all of what lies under the losses. By how much is told by the few spectra that
    there are.
    """
    u = clusters[0].u
    sides = [np.where(side * u > 0, 1.0, 0.0) for side in (1, -1)]
    shapes = np.stack([side * _tails(u, within) for side in sides for within in _TAILS_WITHIN])
    return _typical_size(clusters, shapes) * shapes


def _typical_size(clusters, shapes):
    """Estimate by how much of each of some shapes spectra typically differ from the reference.

    Parameters
    ----------
    clusters : sequence of ClusterSpectra
    shapes : ndarray of shape (n_shapes, n_groups)

    Returns
    -------
    float
        Root of the mean square over the posterior of the standard deviation, which is alike for all shapes and spectra:
        nearly twice the median where nothing is told.
    """
    size = np.geomspace(*_SIZES, _N_SIZES)[:, None]
    log_likelihood = -0.5 * (np.log(size[:, 0] / _TAILS_DIFFER) / _TAILS_DIFFER_BY) ** 2
    for cluster in clusters:
        # The mean of several vacuum spectra lies between them, and one alone is its own. Without vacuum the reference is that
        # of the thinnest only where these are pure: what they show beside it counts.
        share = 1 - cluster.is_reference / len(cluster.ratio)
        information, score = _coefficients([replace(cluster, about_reference=True)], shapes.T)
        values, vectors = np.linalg.eigh(information)
        values = np.clip(values, 0, None)[:, None]
        along = np.einsum("pij,pi->pj", vectors, score)[:, None]
        told = size**2 / (1 + size**2 * values)
        each = 0.5 * (along**2 * told - np.log1p(size**2 * values)).sum(-1)
        log_likelihood += share * each.sum(0)
    weight = np.exp(log_likelihood - log_likelihood.max())
    return np.sqrt((weight @ size[:, 0] ** 2) / weight.sum())


def _with_repetition(clusters):
    """Choose the clusters of more than one spectrum; join all where those are too few.

    Differences between clusters then count as variation too: of what vacuum shows farther out than specimens do, nothing
    is told by how far it deviates from itself.
    """
    several = [cluster for cluster in clusters if len(cluster.ratio) > 1]
    if sum(len(cluster.ratio) - 1 for cluster in several) >= _FEWEST_REPETITIONS:
        return several
    names = ("ratio", "variance", "used")
    joined = {name: np.concatenate([getattr(c, name) for c in clusters]) for name in names}
    return [replace(clusters[0], is_reference=False, about_reference=True, **joined)]


def _unseen_mode(clusters, freedom):
    """Estimate the variation of the tails that the noise could hide, shape (1, n_groups).

    Where no mode stands out of the noise, shapes still differ. Measured peaks do so by their
    tails; the height of all tails together has this standard deviation, found as the
    scatter of the spectra beyond their noise.
    """
    tails = _tails(clusters[0].u)
    information, score = _tail_heights(clusters, tails)
    total = (information**2).sum() * freedom / len(score)
    if not total > 0:
        return np.zeros((0, tails.size))
    variance = ((score**2).sum() - information.sum() * freedom / len(score)) / total
    # Its mean given the estimate and that no variance is negative.
    sigma = np.sqrt(2 / total)
    variance += sigma * np.exp(norm.logpdf(variance / sigma) - norm.logcdf(variance / sigma))
    return np.sqrt(min(variance, _LARGEST_UNSEEN**2)) * tails[None]


def _tails(u, within=2.0):
    """Weigh the tails: 0 at the peak, 1 well beyond so many FWHM."""
    return np.tanh(u / within) ** 2


def _tail_heights(clusters, tails):
    """Compute information and score of the height of the tails that registration has left."""
    information, score = [], []
    for cluster in clusters:
        weight = np.where(cluster.used, 1 / cluster.variance, 0.0)
        template = np.broadcast_to(tails, weight.shape)
        if cluster.fitted is not None:
            normal = np.einsum("ig,pg,jg->pij", cluster.fitted, weight, cluster.fitted)
            right = np.einsum("ig,pg,g->pi", cluster.fitted, weight, tails)
            template = template - solved(normal, right) @ cluster.fitted
        information.append((weight * template**2).sum(-1))
        score.append((weight * template * cluster.deviation).sum(-1))
    return np.concatenate(information), np.concatenate(score)


def _smooth_basis(u):
    """Evaluate B-splines in x at the groups, shape (n_groups, n_functions)."""
    x = to_grid(u)
    n_inner = max(int(np.ptp(x) / _MODE_KNOTS), 1)
    inner = np.linspace(x.min(), x.max(), n_inner + 1)
    step = inner[1] - inner[0] or 1.0
    outer = step * np.arange(1, 4)
    knots = np.concatenate([inner[0] - outer[::-1], inner, inner[-1] + outer])
    return BSpline.design_matrix(np.clip(x, inner[0], inner[-1]), knots, 3).toarray()


def _coefficients(clusters, basis):
    """Compute information matrix and score vector of the smooth deviation of every spectrum.

    Registration has taken off what height, shift and width can follow, in region I of specimen and
    everywhere in vacuum: another part of a mode in either. They are left free, so that both tell of the same mode.
    """
    information, score = [], []
    n = basis.shape[1]
    for cluster in clusters:
        weight = np.where(cluster.used, 1 / cluster.variance, 0.0)
        largest = _MODE_SIZE + _CERTAIN * np.sqrt(cluster.variance)
        deviation = np.clip(cluster.deviation, -largest, largest)
        functions = basis if cluster.fitted is None else np.hstack([basis, cluster.fitted.T])
        normal = _normal_matrices(weight, functions)
        right = (weight * deviation) @ functions
        left, told = _not_followed(normal, right, n)
        information.append(left)
        score.append(told)
    return np.concatenate(information), np.concatenate(score)


def _normal_matrices(weight, functions):
    """Compute the normal matrices of functions, shape (n_groups, n), with the weights of every spectrum.

    One product of matrices: functions that share no group, as most of the splines, take no part in it.
    """
    n = functions.shape[1]
    matrices = np.zeros((len(weight), n, n))
    first, second = np.triu_indices(n)
    products = functions[:, first] * functions[:, second]
    some = products.any(0)
    first, second = first[some], second[some]
    matrices[:, first, second] = matrices[:, second, first] = weight @ products[:, some]
    return matrices


def _not_followed(normal, right, n):
    """Take off normal equations what the functions after the first ``n`` can follow: these are left free.

    A Schur complement by way of a Cholesky factor has no negative eigenvalue beyond rounding, as that of an
    inverse has where the functions are nearly dependent.

    Parameters
    ----------
    normal : ndarray of shape (n_spectra, n + n_fitted, n + n_fitted)
    right : ndarray of shape (n_spectra, n + n_fitted)
    n : int

    Returns
    -------
    information : ndarray of shape (n_spectra, n, n)
    score : ndarray of shape (n_spectra, n)
    """
    factor = factorised(normal[:, n:, n:], _RIDGE)
    # A function without data follows nothing.
    diagonal = np.diagonal(factor, axis1=1, axis2=2)
    factor = factor + np.eye(factor.shape[-1]) * (diagonal == 0)[:, None]
    beside = np.concatenate([normal[:, n:, :n], right[:, n:, None]], axis=2)
    beside = np.linalg.solve(factor, beside)
    follows, told = beside[:, :, :n], beside[:, :, n:]
    free = normal[:, :n, :n]
    left = free - follows.swapaxes(1, 2) @ follows
    # Of what they follow altogether rounding is left, of either sign.
    left += _RIDGE * np.eye(n) * free
    return left, right[:, :n] - (follows.swapaxes(1, 2) @ told)[..., 0]


def _first_loadings(information, score, freedom, most):
    """Find the significant principal components of the whitened coefficients."""
    n_functions = score.shape[1]
    size = max(np.trace(information.mean(0)) / n_functions, _LEAST_INFORMATION)
    ridge = _RIDGE * size * np.eye(n_functions)
    factor = factorised(information + ridge)
    whitened = np.linalg.solve(factor, score[..., None])[..., 0]
    values, vectors = np.linalg.eigh(whitened.T @ whitened / freedom)
    values = values[::-1]
    vectors = vectors[:, ::-1]
    # Functions beyond region I hold no data: they do not count.
    seen = np.trace(np.linalg.solve(information.mean(0) + ridge, information.mean(0)))
    edge = (1 + np.sqrt(seen / freedom)) ** 2
    n_modes = min(int((values > _ABOVE_NOISE * edge).sum()), most, freedom)
    amplitude = np.sqrt(np.clip(values[:n_modes] - 1, 0, None))
    # Beyond what all spectra show the modes start at zero.
    known = information.mean(0) + np.eye(n_functions) / _MODE_SIZE**2
    typical = np.linalg.pinv(known, rcond=1e-6, hermitian=True)
    return typical @ factorised(information.mean(0) + ridge) @ vectors[:, :n_modes] * amplitude


def _maximised_loadings(loadings, information, score, freedom):
    """Maximise the expectation: scores given the loadings, loadings given the scores.

    Beyond the last groups that spectra show, a mode keeps the value that it has there.
    """
    n_functions, n_modes = loadings.shape
    difference = np.diff(np.eye(n_functions), axis=0) / _MODE_STEP
    prior = np.kron(np.eye(n_modes), difference.T @ difference)
    size = max(np.trace(information.sum(0)) / n_functions, _LEAST_INFORMATION)
    prior += (_RIDGE * size + _MODE_SIZE**-2) * np.eye(len(prior))
    # Symmetric matrices as rows of one triangle: sums over spectra are then products of two matrices.
    first, second = np.triu_indices(n_functions)
    beside = first != second
    rows = information[:, first, second]
    for _ in range(_EM_STEPS):
        pairs = loadings[first, :, None] * loadings[second, None, :]
        pairs[beside] += pairs[beside].swapaxes(1, 2)
        told = (rows @ pairs.reshape(len(pairs), -1)).reshape(-1, n_modes, n_modes)
        covariance = inverted(np.eye(n_modes) + told)
        scores = (covariance @ (score @ loadings)[..., None])[..., 0]
        moments = covariance + scores[:, :, None] * scores[:, None, :]
        found = (moments.reshape(len(rows), -1).T @ rows).reshape(n_modes, n_modes, -1)
        left = np.empty((n_modes, n_functions, n_modes, n_functions))
        left[:, first, :, second] = left[:, second, :, first] = found.transpose(2, 0, 1)
        left = left.reshape(n_modes * n_functions, -1) + prior
        right = (scores.T @ score).ravel()
        loadings = solved(left, right).reshape(n_modes, n_functions).T
        # Scores have unit variance by definition of the modes.
        loadings = loadings @ factorised(moments.sum(0) / freedom)
    return loadings


def cluster_spectra(peaks):
    """Sort registered spectra by cluster, as ratios to the reference.

    Parameters
    ----------
    peaks : RegisteredPeaks

    Returns
    -------
    list of ClusterSpectra
        Vacuum first.
    """
    ratios = peaks.ratios
    u = peaks.u
    clusters = []
    for name in peaks.labels:
        chosen = peaks.label == name
        mean_u = u[chosen].mean(0)
        clusters.append(
            ClusterSpectra(
                ratio=ratios.ratio[chosen],
                variance=ratios.variance[chosen],
                used=ratios.inside[chosen],
                u=mean_u,
                log_intensity=float(np.median(peaks.log_intensity[chosen])),
                is_reference=name == VACUUM,
                fitted=fitted_shapes(peaks, mean_u),
            )
        )
    return clusters


def fitted_shapes(peaks, u):
    """Compute what registration fits to spectra, as deviations of the ratio: height, shift, width.

    Parameters
    ----------
    peaks : RegisteredPeaks
    u : ndarray of shape (n,)
        Reduced energies.

    Returns
    -------
    ndarray of shape (3, n)
    """
    slopes = peaks.grid.interpolate(np.gradient(peaks.log_reference, peaks.grid.u), u)
    return np.stack([np.ones(u.size), -slopes, -u * slopes])
