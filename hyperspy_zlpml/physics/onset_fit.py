# SPDX-License-Identifier: GPL-3.0-or-later
"""Fit of onsets to a spectrum on a grid, by generalised least squares.

Everything enters linearly but the onset and the numbers of its shape, which are tried on a grid: a
fit by derivatives fails where the shape is singular, at the gap itself. No shape is that of a specimen:
departures are allowed for as errors in proportion to the losses (:func:`departures`).
"""

from typing import NamedTuple

import numpy as np

#: Directions smaller than this part of the counting noise everywhere change nothing.
_NEGLIGIBLE = 0.03
#: Least product of a shape with itself that is divided by.
_TINY = np.finfo(float).tiny
#: Largest argument of an exponential.
_LARGEST_EXPONENT = 600.0
#: Relative sizes that departures from a shape may have: that of a specimen is told by its misfit.
DEPARTURE_SIZES = (0.025, 0.1, 0.4)
#: Logarithm of the evidence that each size must have more than that before.
RELUCTANCE = 2.0
#: Width of a departure in units of the distance between two.
_DEPARTURE_WIDTH = 0.6
#: Departures on both sides that overlap with one.
_REACH = 9


def bumps(off, distance):
    """Compute overlapping bumps by which losses may depart from a shape, relative to it.

    Parameters
    ----------
    off : ndarray
        Energies from the middle of a bump, eV.
    distance : float
        Between two bumps, eV.

    Returns
    -------
    ndarray of the shape of ``off``
        Of such a height that the squares of all that overlap sum up to 1 in the middle of one.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.onset_fit import bumps
    >>> places = 0.5 * np.arange(-9, 10)
    >>> float((bumps(0.0 - places, distance=0.5) ** 2).sum().round(6))
    1.0
    """
    overlap = np.exp(-((np.arange(-_REACH, _REACH + 1) / _DEPARTURE_WIDTH) ** 2)).sum()
    return np.exp(-0.5 * (off / (_DEPARTURE_WIDTH * distance)) ** 2) / np.sqrt(overlap)


def departures(bins, model, onset, distance):
    """Compute in which ways losses may depart from a shape above an onset.

    Parameters
    ----------
    bins : Bins
    model : ndarray of shape (n_bins,)
        Losses as a smooth shape has them.
    onset : float
        Energy from which they depart, eV.
    distance : float
        Between two departures, eV.

    Returns
    -------
    ndarray of shape (n_departures, n_bins)
        Independent bumps as high as the losses.
    """
    places = np.arange(onset, bins.energy[-1] + distance, distance)
    return model * bumps(bins.energy - places[:, None], distance)


class Fits(NamedTuple):
    """Fits of every template to the bins below some ends.

    Attributes
    ----------
    chi2 : ndarray of shape (n_ends, n_shapes, n_onsets)
        With the best height that is not negative, ZLP as uncertain as it is.
    none : ndarray of shape (n_ends,)
        chi2 where there is no onset.
    height : ndarray of shape (n_ends, n_shapes, n_onsets)
        Best factor on the template.
    log_determinant : ndarray of shape (n_ends,)
        Logarithm of the determinant of the covariance over that of the noise alone.
    n_bins : ndarray of int of shape (n_ends,)
    """

    chi2: np.ndarray
    none: np.ndarray
    height: np.ndarray
    log_determinant: np.ndarray
    n_bins: np.ndarray


def fit(bins, shapes, n_bins, single=None):
    """Fit templates by generalised least squares; what the ZLP may be is fitted along.

    With the directions D as nuisance parameters of unit variance the covariance of the bins is
    ``V = diag(variance) + D^T D``, inverted by Woodbury's identity; the height of a template enters
    linearly.

    Parameters
    ----------
    bins : Bins
    shapes : Templates
    n_bins : sequence of int
        Bins that are used, from the first; one or several numbers of them.
    single : ndarray of shape (n_single, n_bins), optional
        Directions of which one may be there, as likely as none. chi2 is then -2 ln of the likelihood
        of all cases together, in units of that of a perfect fit: never negative.

    Returns
    -------
    Fits
    """
    noise = np.sqrt(bins.variance)
    data, directions = bins.signal / noise, relevant(bins.directions / noise)
    model = np.stack([shapes.level, shapes.rising]) / noise
    single = np.empty((0, noise.size)) if single is None else single / noise
    found = [
        _fit_first(
            data[:n],
            model[..., :n],
            directions[:, :n],
            growth=shapes.growth,
            single=single[:, :n],
        )
        for n in np.asarray(n_bins).tolist()
    ]
    chi2, none, height, log_determinant = (np.array(values) for values in zip(*found, strict=True))
    return Fits(
        chi2=chi2,
        none=none,
        height=height,
        log_determinant=log_determinant,
        n_bins=np.asarray(n_bins),
    )


def relevant(directions):
    """Combine directions, in units of the noise, to the few that change anything.

    Parameters
    ----------
    directions : ndarray of shape (n_directions, n_bins)

    Returns
    -------
    ndarray of shape (n_kept, n_bins)
        With the same covariance, but for what is far below the noise.
    """
    values, vectors = np.linalg.eigh(directions @ directions.T)
    return vectors[:, values > _NEGLIGIBLE**2].T @ directions


def _fit_first(data, model, directions, growth, single):
    """Fit templates to bins in units of their noise: what :class:`Fits` holds of one end."""
    root = np.linalg.cholesky(np.eye(len(directions)) + directions @ directions.T)
    directions = np.linalg.solve(root, directions)
    data_along, model_along = directions @ data, model @ directions.T

    def product_of(one, other):
        """Multiply two shapes, free of what the directions explain."""
        along = np.einsum("koq,koq->ko", model_along[one], model_along[other])
        return np.einsum("kob,kob->ko", model[one], model[other]) - along

    growth = growth[:, None]
    squared = product_of(0, 0) + growth * (2 * product_of(0, 1) + growth * product_of(1, 1))
    level, rising = model @ data - model_along @ data_along
    overlap = (level + growth * rising).reshape(-1, level.shape[-1])
    squared = squared.reshape(overlap.shape)
    none = data @ data - data_along @ data_along
    log_determinant = 2 * np.log(np.diag(root)).sum()
    products = _Products(none, overlap, squared)
    if len(single):
        along = single - single @ directions.T @ directions
        level, rising = np.moveaxis(model @ along.T, -1, 1)[:, :, None]
        of_shape = (level + growth * rising).reshape(len(single), *overlap.shape)
        chi2, height = _with_single(products, along @ data, of_shape, (single * along).sum(-1))
    else:
        chi2, height = _with_height(products)
    return chi2, none, height, log_determinant


class _Products(NamedTuple):
    """Products with the inverse covariance: of the data, of data and shapes, of shapes."""

    none: float
    overlap: np.ndarray
    squared: np.ndarray


def _with_height(products):
    """Compute chi2 with the best height that is not negative, and this height."""
    none, overlap, squared = products
    height = np.maximum(overlap, 0) / np.maximum(squared, _TINY)
    return none - height * overlap, height


def _with_single(products, of_data, of_shape, size):
    """Compute chi2 where one direction of some may be there besides, and the height where it is best.

    Parameters
    ----------
    products : _Products
        Without.
    of_data, of_shape : ndarray of shape (n_single,) and (n_single, n_shapes, n_onsets)
        Products of the directions with the data and the shapes.
    size : ndarray of shape (n_single,)
        Products with themselves.
    """
    chi2, height = _with_height(products)
    of_data, more = of_data[:, None, None], (1 + size)[:, None, None]
    beside = _Products(
        none=products.none - of_data**2 / more,
        overlap=products.overlap - of_data * of_shape / more,
        squared=products.squared - of_shape**2 / more,
    )
    one, own_height = _with_height(beside)
    one += np.log(more)
    total = np.exp(np.minimum(0.5 * (chi2 - one), _LARGEST_EXPONENT)).sum(0)
    best = one.argmin(0)[None]
    least, of_best = (np.take_along_axis(values, best, 0)[0] for values in (one, own_height))
    height = np.where(least < chi2, of_best, height)
    return chi2 - 2 * np.log(0.5 * (1 + total / len(size))), height
