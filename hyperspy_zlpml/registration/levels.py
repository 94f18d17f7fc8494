# SPDX-License-Identifier: GPL-3.0-or-later
"""Levels: the curve that residuals of all spectra share, learnt from coarse cells to fine ones.

Residuals are averaged in cells of the reduced energy that grow finer from level to level, and what
one level finds is taken off before the next. Each mean is drawn towards zero by
``V / (V + s**2)``, where ``s`` is its standard error and ``V`` the variance of the means around it
beyond theirs; what remains unknown, ``V s**2 / (V + s**2)``, is the variance that goes into the band.
Farther from the peak, where noise hides it, there is taken to be as much fine structure as is found nearer to it.
"""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.registration.cells import (
    CAUTION,
    LEAST_WEIGHT,
    SIGNIFICANT,
    lay_cells,
    sum_neighbours,
)
from hyperspy_zlpml.zlp.grid import to_grid

#: Width in x of the cells of the first level.
_COARSE_CELL = 0.06
#: Widths in x of the cells of the next levels.
_FINE_CELLS = (0.03, 0.015)
#: Nodes that are taken together at the last levels.
_NODES_TOGETHER = (4, 2, 1)
#: Nodes of the curve for each channel.
_NODES_PER_CHANNEL = 4.0
#: Channels over which the curve runs out at its ends.
_RUNS_OUT_OVER = 4
#: The curve ends at this many FWHM at the latest.
FURTHEST = 40.0
#: Distance in x over which the curve fades beyond what is known.
_FADES_OVER = 0.3
#: The structure grows with the variance of the noise up to this many times that of neighbours. At less it is
#: missed where region I ends, of images without vacuum.
_GROWS_WITH_NOISE = 50.0
#: Fine structure goes on outward from here, in FWHM: nearer to the peak, flanks are finer than smooth curves.
_TAIL_FROM = 2.0
#: Variances up to so many standard errors are found by chance. Of the noise of means a band then claims a fifth where there is
#: no structure, and two thirds where there is twice as much of it as noise and this is what it is wrong by; without, 0.43 and three
#: quarters.
_BY_CHANCE = 1.0
#: Residuals depend on the width where the variance of their slopes exceeds its error by this factor.
_SLOPE_SIGNIFICANT = 5.0


@dataclass(frozen=True)
class Prior:
    """Residual known from other spectra, at the nodes of the curve.

    Attributes
    ----------
    curve, widening : ndarray of shape (n_nodes,)
    group_variance, channel_variance : ndarray of shape (n_nodes,)
        Squared standard errors.
    """

    curve: np.ndarray
    widening: np.ndarray
    group_variance: np.ndarray
    channel_variance: np.ndarray

    @classmethod
    def none(cls, n_nodes):
        """Know nothing.

        Parameters
        ----------
        n_nodes : int

        Returns
        -------
        Prior
        """
        return cls(*(np.zeros(n_nodes) for _ in range(4)))

    @classmethod
    def of(cls, table, nodes):
        """Look up what a table of shapes holds.

        Parameters
        ----------
        table : ShapeTable
        nodes : ndarray of shape (n_nodes,)
            Reduced energies, FWHM.

        Returns
        -------
        Prior
        """
        on_grid = (table.widening, table.group_error**2, table.channel_error**2)
        values = (np.interp(nodes, table.grid.u, one) for one in on_grid)
        return cls(table.residual.at(nodes), *values)


@dataclass(frozen=True)
class LearntCurve:
    """Deviation that spectra share, at the nodes of the curve.

    Attributes
    ----------
    curve : ndarray of shape (n_nodes,)
        Relative deviation of a spectrum of mean width.
    widening : ndarray of shape (n_nodes,)
        Its change per ln(FWHM).
    group_error, channel_error : ndarray of shape (n_nodes,)
        Standard errors of the first level, and of the others.
    """

    curve: np.ndarray
    widening: np.ndarray
    group_error: np.ndarray
    channel_error: np.ndarray


def lay_nodes(u_range, per_fwhm):
    """Lay the nodes of the curve, as far as some spectrum is pure.

    Parameters
    ----------
    u_range : Range
        Reduced energies that spectra are pure between, FWHM.
    per_fwhm : float
        Channels per FWHM.

    Returns
    -------
    ndarray of shape (n_nodes,)
        Reduced energies, equally spaced.

    Examples
    --------
    >>> from hyperspy_zlpml.registration.levels import lay_nodes
    >>> from hyperspy_zlpml.statistics import Range
    >>> lay_nodes(Range(-0.5, 0.5), per_fwhm=1.0)
    array([-1.  , -0.75, -0.5 , -0.25,  0.  ,  0.25,  0.5 ,  0.75,  1.  ])
    """
    low, high = u_range
    low, high = max(low, -FURTHEST), min(high, FURTHEST)
    step = 1 / (_NODES_PER_CHANNEL * per_fwhm)
    # No channel lies at an end, where rounding would decide whether it is on the curve.
    return step * np.arange(np.floor(low / step) - 2, np.ceil(high / step) + 3)


def ending_at_zero(curve):
    """Let a curve run out at its ends: no channel may depend on which side of a step it lies.

    Parameters
    ----------
    curve : ndarray of shape (n_nodes,)

    Returns
    -------
    ndarray of shape (n_nodes,)
    """
    rise = np.minimum(np.arange(curve.size) / (_NODES_PER_CHANNEL * _RUNS_OUT_OVER), 1.0)
    return curve * rise * rise[::-1]


def learn_curve(points, nodes, log_width, prior):
    """Learn the curve from coarse to fine cells.

    Parameters
    ----------
    points : Points
        Residuals, what was known before taken off.
    nodes : ndarray of shape (n_nodes,)
        Those of the curve, FWHM.
    log_width : ndarray of shape (n_spectra,)
        ln(FWHM) of each spectrum, less the mean.
    prior : Prior
        How well they were known before.

    Returns
    -------
    LearntCurve
    """
    x, x_nodes = to_grid(points.u), to_grid(nodes)
    centres, cell = lay_cells(x_nodes, x, _COARSE_CELL)
    known = np.interp(centres, x_nodes, prior.group_variance)
    means = _shrunk(*_means_over_spectra(points, cell, centres.size), centres, known)
    points = points.without(np.interp(x, centres, means.value))
    slope = _shrunk(*_means_over_spectra(points, cell, centres.size, by=log_width), centres)
    widening = np.zeros(nodes.size)
    if slope.significance > _SLOPE_SIGNIFICANT:
        widening = np.interp(x_nodes, centres, slope.value)
        points = points.without(log_width[points.spectrum] * np.interp(x, centres, slope.value))
    curve, error = (np.interp(x_nodes, centres, values) for values in (means.value, means.error))
    finer, fine_error = _fine_curve(points, nodes, prior)
    return LearntCurve(curve + finer, widening, group_error=error, channel_error=fine_error)


@dataclass(frozen=True)
class _Means:
    """Means of residuals in cells, drawn towards zero.

    Attributes
    ----------
    value, error : ndarray of shape (n_cells,)
        Best guess of the true mean, and its standard error.
    significance : float
        Of their variance beyond their errors, all cells together.
    """

    value: np.ndarray
    error: np.ndarray
    significance: float


def _fine_curve(points, nodes, prior):
    """Learn what is left by the first level from the means of all spectra at the nodes."""
    step, x_nodes = nodes[1] - nodes[0], to_grid(nodes)
    node = np.clip(np.round((points.u - nodes[0]) / step).astype(int), 0, nodes.size - 1)
    weight = np.bincount(node, points.weight, minlength=nodes.size)
    score = np.bincount(node, points.weight * points.residual, minlength=nodes.size)
    # Where spectra scatter beyond their noise the means do so too.
    larger = max(float((points.weight * points.residual**2).mean()), 1.0)
    curve, variance = np.zeros(nodes.size), np.zeros(nodes.size)
    levels = [lay_cells(x_nodes, x_nodes, width) for width in _FINE_CELLS]
    for together in _NODES_TOGETHER:
        centres = to_grid(nodes[0] + step * together * np.arange(nodes.size // together + 2))
        levels.append((centres, np.round(np.arange(nodes.size) / together).astype(int)))
    for centres, cell in levels:
        total = np.bincount(cell, weight, minlength=centres.size)
        known = np.maximum(total, LEAST_WEIGHT)
        mean = np.bincount(cell, score, minlength=centres.size) / known
        n_channels = np.bincount(cell, minlength=centres.size) / _NODES_PER_CHANNEL
        error = np.where(total > 0, larger * points.by_channels(n_channels) / known, np.inf)
        before = np.interp(centres, x_nodes, prior.channel_variance) / len(levels)
        means = _shrunk(mean, error, centres, before)
        add = np.interp(x_nodes, centres, means.value)
        score = score - weight * add
        curve += add
        variance += np.interp(x_nodes, centres, means.error) ** 2
    return curve, np.sqrt(variance + hidden_structure(curve**2 + variance, nodes))


def hidden_structure(structure, nodes):
    """Compute the variance of fine structure that noise hides: less is found than nearer to the peak.

    Parameters
    ----------
    structure : ndarray of shape (n_nodes,)
        Variance of what is found, and of its error.
    nodes : ndarray of shape (n_nodes,)
        Reduced energies, FWHM.

    Returns
    -------
    ndarray of shape (n_nodes,)

    Examples
    --------
    Structure of a thousandth that is found up to 5 FWHM is hidden beyond:

    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.levels import hidden_structure
    >>> nodes = np.linspace(-20, 20, 401)
    >>> found = np.where(np.abs(nodes) < 5, 1e-6, 0.0)
    >>> np.sqrt(hidden_structure(found, nodes)[[0, 200, 400]]).round(4)
    array([0.001, 0.   , 0.001])
    """
    x = to_grid(nodes)
    found = sum_neighbours(structure, x) / sum_neighbours(np.ones(x.size), x)
    missing = np.zeros(x.size)
    for side in (1, -1):
        outward = np.flatnonzero(side * nodes > _TAIL_FROM)[::side]
        missing[outward] = np.maximum.accumulate(found[outward]) - found[outward]
    return missing


def _means_over_spectra(points, cell, n, by=None):
    """Average residuals in cells, with the errors that spectra differing as a whole make.

    ``by`` holds a regressor of each spectrum, of which the slope is found instead of the mean.

    Returns
    -------
    mean, variance : ndarray of shape (n,)
    """
    n_spectra = int(points.spectrum.max(initial=0)) + 1
    place = points.spectrum * n + cell
    size = n_spectra * n
    weight = np.bincount(place, points.weight, minlength=size).reshape(n_spectra, n)
    score = np.bincount(place, points.weight * points.residual, minlength=size)
    score = score.reshape(n_spectra, n)
    factor = np.ones((n_spectra, 1)) if by is None else by[:n_spectra, None]
    information = (factor**2 * weight).sum(0)
    known = np.maximum(information, LEAST_WEIGHT)
    mean = (factor * score).sum(0) / known
    left = score - weight * factor * mean
    count = np.maximum((weight > 0).sum(0), 1)
    few = count / np.maximum(count - 1, 1)
    variance = np.maximum((factor**2 * left**2).sum(0) * few / known / known, 1 / known)
    return mean, np.where(information > 0, variance, np.inf)


def _shrunk(mean, variance, x, prior=0.0):
    """Draw means at places in x towards zero by ``V / (V + s**2)``.

    ``V / s**2`` of neighbours is averaged: the structure of measured peaks grows outward with their
    errors, and the best known means must not speak for all. It grows no further where errors do because the
    spectra end. ``V`` is at least ``prior``.
    """
    known = np.isfinite(variance)
    noise = np.where(known, variance, 1.0)
    excess = np.where(known, mean**2 / noise - 1, 0.0)
    true, certain, significance = _excess_variance(excess, known, x)
    count = np.maximum(sum_neighbours(known.astype(float), x), 1.0)
    of_neighbours = count / np.maximum(sum_neighbours(known / noise, x), 1 / noise.max())
    grown = np.minimum(_GROWS_WITH_NOISE * of_neighbours / noise, 1.0)
    true, certain = grown * true, grown * certain
    if np.any(prior):
        # What was known before was known to that: more only where these spectra say so.
        true = certain = np.maximum(certain, prior / noise)
    share = np.where(known, certain / (certain + 1), 0.0)
    error = np.sqrt(noise * ((1 - share) ** 2 * true + share**2 * known))
    # Beyond the last known cell the deviation fades: a step there were no better.
    places = x[known] if known.any() else np.zeros(1)
    distance = np.abs(x - np.clip(x, places.min(), places.max()))
    value = _held(share * mean, known) * np.exp(-distance / _FADES_OVER)
    return _Means(value, _held(error, known), float(significance))


def _excess_variance(excess, known, x):
    """Estimate the variance of true means over that of their noise, from that of neighbours.

    Returns
    -------
    true, certain : ndarray of the shape of ``x``
        Most likely, and as far as it is certain.
    significance : float
        Of all together.
    """
    n = max(known.sum(), 1)
    ratio, unsure = excess.sum() / n, np.sqrt(2 / n)
    count = np.maximum(sum_neighbours(known.astype(float), x), 1.0)
    here, unsure_here = sum_neighbours(excess, x) / count, np.sqrt(2 / count)
    # Neighbours that differ from the rest speak for themselves.
    differ = np.abs(here - ratio) > SIGNIFICANT * unsure_here
    found = np.where(differ, here, ratio)
    error = np.where(differ, unsure_here, unsure)
    true, certain = beyond_chance(found, error), np.clip(found - CAUTION * error, 0, None)
    return np.maximum(true, certain), certain, ratio / unsure


def beyond_chance(found, error):
    """Keep of variances what is no chance: those of noise alone come out positive every other time.

    Parameters
    ----------
    found, error : ndarray of shape (n,)
        Variances beyond that of noise, and their standard errors.

    Returns
    -------
    ndarray of shape (n,)
        Next to all of what is certain, nothing of what is not.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.levels import beyond_chance
    >>> beyond_chance(np.array([-1.0, 0.5, 2.0, 10.0]), np.ones(4))
    array([0. , 0. , 1.5, 9.9])
    """
    chance = _BY_CHANCE * error
    certain = np.maximum(found, chance)
    return certain - chance**2 / np.maximum(certain, np.finfo(float).tiny)


def _held(values, known):
    """Continue values from known cells into the others."""
    if not known.any():
        return np.zeros(values.size)
    places = np.flatnonzero(known)
    return np.interp(np.arange(values.size), places, values[places])
