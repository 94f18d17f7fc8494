# SPDX-License-Identifier: GPL-3.0-or-later
"""Reductions over the replica axis, and the measures by which error bars are judged.

Use :func:`interval` for a band, :func:`principal_modes` for the correlations behind it, and
:func:`coverage` and :func:`pull` to hold both against a known truth. Moments and normal equations of
few data are singular: :func:`factorised`, :func:`inverted` and :func:`solved` take them as they come,
and give NaN for those that are not finite.
"""

from typing import NamedTuple

import numpy as np

#: Standard deviation of a normal distribution over its median absolute deviation.
MAD_TO_SIGMA = 1.4826
#: Added to the diagonal of scaled moments, far above rounding: no matrix of moments is singular then.
_RIDGE = 1e-12
#: Moments below this are none.
_LEAST = 1e-300


class Normal(NamedTuple):
    """Mean and standard deviation of a quantity that is taken to be normally distributed."""

    mean: float
    sigma: float


class Range(NamedTuple):
    """Lower and upper end of a range; numbers, or arrays of one value for each spectrum."""

    low: float | np.ndarray
    high: float | np.ndarray


def interval(samples, confidence=0.68):
    """Find the median and the central interval over the first axis.

    Parameters
    ----------
    samples : ndarray of shape (n_replicas, ...)
    confidence : float
        Probability inside, between 0 and 1.

    Returns
    -------
    median, lower, upper : ndarray
        Of the shape of one replica.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.statistics import interval
    >>> samples = np.arange(101.0)
    >>> [round(float(end), 6) for end in interval(samples, confidence=0.9)]
    [50.0, 5.0, 95.0]
    """
    tail = 0.5 * (1 - confidence)
    lower, median, upper = np.quantile(samples, [tail, 0.5, 1 - tail], axis=0)
    return median, lower, upper


def without_outliers(samples, limit=3.0):
    """Draw outliers in to within some robust standard deviations of the median.

    A single network that goes wrong where nothing holds it, as between two thicknesses, would
    otherwise set the spread of all.

    Parameters
    ----------
    samples : ndarray of shape (n_replicas, ...)
    limit : float
        In units of the median absolute deviation times 1.4826.

    Returns
    -------
    ndarray of shape (n_replicas, ...)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.statistics import without_outliers
    >>> samples = np.array([1.0, 2.0, 3.0, 4.0, 1e6])
    >>> without_outliers(samples).round(4)
    array([1.    , 2.    , 3.    , 4.    , 7.4478])
    """
    median = np.median(samples, axis=0)
    deviation = samples - median
    reach = limit * MAD_TO_SIGMA * np.median(np.abs(deviation), axis=0)
    return median + np.clip(deviation, -reach, reach)


def principal_modes(samples, floor, most, explained=0.995):
    """Find the principal deviations over the first axis, and what they leave out.

    Deviations are compared in units of their own spread (at least ``floor``), so that a precise
    core counts as much as a wide tail.

    Parameters
    ----------
    samples : ndarray of shape (n_replicas, n_points)
    floor : float
        Spread below which a point does not count.
    most : int
        Largest number of modes.
    explained : float
        Fraction of the standardised variance to explain.

    Returns
    -------
    modes : ndarray of shape (n_modes, n_points)
        Deviations whose scores have unit variance over replicas.
    rest : ndarray of shape (n_points,)
        Standard deviation left out.

    Examples
    --------
    Modes and rest together hold the whole variance:

    >>> import numpy as np
    >>> from hyperspy_zlpml.statistics import principal_modes
    >>> samples = np.random.default_rng(0).normal(size=(50, 6))
    >>> modes, rest = principal_modes(samples, floor=1e-6, most=2)
    >>> modes.shape
    (2, 6)
    >>> np.allclose((modes**2).sum(0) + rest**2, samples.var(0, ddof=1))
    True
    """
    n = len(samples)
    if n < 2:
        return np.zeros((0, samples.shape[1])), np.zeros(samples.shape[1])
    deviation = samples - samples.mean(0)
    variance = (deviation**2).sum(0) / (n - 1)
    scale = np.sqrt(variance + floor**2)
    gram = (deviation / scale) @ (deviation / scale).T
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
    if values[0] <= 1e-20:
        return np.zeros((0, samples.shape[1])), np.sqrt(variance)
    fraction = np.cumsum(values) / values.sum()
    n_modes = min(int(np.searchsorted(fraction, explained)) + 1, most, n - 1)
    modes = vectors[:, :n_modes].T @ deviation / np.sqrt(n - 1)
    rest = np.sqrt(np.clip(variance - (modes**2).sum(0), 0, None))
    return modes, rest


def factorised(moments, ridge=_RIDGE):
    """Factorise matrices of second moments, singular ones too (Cholesky).

    Parameters
    ----------
    moments : ndarray of shape (..., n, n)
        Symmetric, no eigenvalue negative but for rounding.
    ridge : float
        Added to the diagonal of the matrices, scaled to ones there.

    Returns
    -------
    ndarray of shape (..., n, n)
        Lower triangular; times its transpose it is the moments.

    Examples
    --------
    Moments of two numbers that are always equal, which a plain factorisation refuses:

    >>> import numpy as np
    >>> from hyperspy_zlpml.statistics import factorised
    >>> factorised(np.full((2, 2), 4e20)).round(-9) + 0.0
    array([[2.e+10, 0.e+00],
           [2.e+10, 0.e+00]])
    """
    scaled = _Scaled.of(moments, ridge)
    size = np.sqrt(np.maximum(np.diagonal(moments, axis1=-2, axis2=-1), 0.0))
    return size[..., None] * np.linalg.cholesky(scaled.matrix) * scaled.one_or_nan


def inverted(moments, ridge=_RIDGE):
    """Invert matrices of second moments, singular ones as far as they tell.

    Parameters
    ----------
    moments : ndarray of shape (..., n, n)
        Symmetric, no eigenvalue negative but for rounding.
    ridge : float
        Added to the diagonal of the matrices, scaled to ones there.

    Returns
    -------
    ndarray of shape (..., n, n)
        What has no moment has an infinite variance, and shares nothing with the others.

    Examples
    --------
    Whatever the units of the numbers are:

    >>> import numpy as np
    >>> from hyperspy_zlpml.statistics import inverted
    >>> inverted(np.diag([4e20, 1e-10]))
    array([[2.5e-21, 0.0e+00],
           [0.0e+00, 1.0e+10]])
    """
    scaled = _Scaled.of(moments, ridge)
    scale, one = scaled.scale, np.eye(moments.shape[-1], dtype=bool)
    inverse = np.linalg.inv(scaled.matrix)
    inverse /= scale[..., None]
    inverse /= scale[..., None, :]
    inverse *= scaled.one_or_nan
    if not scaled.known.all():
        inverse[one & ~scaled.known[..., None]] = np.inf
    return inverse


def solved(moments, right, ridge=_RIDGE):
    """Solve normal equations, of few data too.

    Parameters
    ----------
    moments : ndarray of shape (..., n, n)
        Symmetric, no eigenvalue negative but for rounding.
    right : ndarray of shape (..., n)
    ridge : float
        Added to the diagonal of the matrices, scaled to ones there.

    Returns
    -------
    ndarray of shape (..., n)
        0 for what has no moment.

    Examples
    --------
    A straight line through one point: of all lines the one of the smallest coefficients.

    >>> import numpy as np
    >>> from hyperspy_zlpml.statistics import solved
    >>> design = np.array([[1.0, 1.0]])
    >>> solved(design.T @ design, design.T @ np.array([3.0])).round(3)
    array([1.5, 1.5])
    """
    scaled = _Scaled.of(moments, ridge)
    found = np.linalg.solve(scaled.matrix, (right / scaled.scale)[..., None])[..., 0] / scaled.scale
    return np.where(scaled.known, found, 0.0) * scaled.one_or_nan[..., 0]


class _Scaled(NamedTuple):
    """Matrices scaled to ones on the diagonal, with the ridge; what has no moment stands alone.

    Attributes
    ----------
    matrix : ndarray of shape (..., n, n)
        Finite and not singular.
    scale : ndarray of shape (..., n)
    known : ndarray of bool of shape (..., n)
        What has a moment.
    one_or_nan : ndarray of shape (..., 1, 1)
        1 where all moments are finite, else NaN.
    """

    matrix: np.ndarray
    scale: np.ndarray
    known: np.ndarray
    one_or_nan: np.ndarray

    @classmethod
    def of(cls, moments, ridge):
        """Scale moments; the identity stands in for those that are not finite.

        Parameters
        ----------
        moments : ndarray of shape (..., n, n)
        ridge : float

        Returns
        -------
        _Scaled
        """
        one, finite = np.eye(moments.shape[-1]), np.isfinite(moments).all((-2, -1), keepdims=True)
        if not finite.all():
            moments = np.where(finite, moments, one)
        diagonal = np.diagonal(moments, axis1=-2, axis2=-1)
        known = diagonal > _LEAST
        scale = np.sqrt(np.where(known, diagonal, 1.0))
        scaled = moments / scale[..., None]
        scaled /= scale[..., None, :]
        if not known.all():
            scaled = np.where(known[..., None] & known[..., None, :], scaled, one)
        scaled += ridge * one
        return cls(scaled, scale, known, np.where(finite, 1.0, np.nan))


def pull(estimate, truth, sigma):
    """Compute the deviation from the truth in units of the claimed error.

    Parameters
    ----------
    estimate, truth, sigma : float or ndarray
        Of shapes that broadcast.

    Returns
    -------
    float or ndarray
        Standard normal where errors are normal and as large as claimed.

    Examples
    --------
    >>> from hyperspy_zlpml.statistics import pull
    >>> pull(estimate=5.0, truth=3.0, sigma=2.0)
    1.0
    """
    return (estimate - truth) / sigma


def coverage(lower, upper, truth):
    """Compute the fraction of values whose truth lies between ``lower`` and ``upper``.

    Parameters
    ----------
    lower, upper, truth : float or ndarray
        Of shapes that broadcast; what is not finite is left out.

    Returns
    -------
    float
        NaN where nothing is left.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.statistics import coverage
    >>> truth = np.array([0.2, 0.7, 1.5, np.nan])
    >>> round(coverage(lower=0.0, upper=1.0, truth=truth), 3)
    0.667
    """
    known = np.isfinite(lower) & np.isfinite(upper) & np.isfinite(truth)
    inside = (lower <= truth) & (truth <= upper)
    return float(inside[known].mean()) if known.any() else np.nan
