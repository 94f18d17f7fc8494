# SPDX-License-Identifier: GPL-3.0-or-later
"""Scatter of training spectra about their matched shapes, beyond their noise and all modes."""

import numpy as np

from hyperspy_zlpml.zlp.grid import to_grid
from hyperspy_zlpml.zlp.matching import MatchStart, inside_window, match

#: Width in x of the cells within which the scatter is one number.
_SCATTER_CELL = 0.25
#: About this many spectra are enough to measure it.
_SCATTER_SPECTRA = 768


def unexplained_scatter(table, peaks, log_fwhm):
    """Measure the relative scatter of spectra about their matched shapes beyond their noise.

    Parameters
    ----------
    table : ShapeTable
        Shapes and modes of the trained ensemble.
    peaks : RegisteredPeaks
        Spectra that it was trained on, and where they are pure.
    log_fwhm : Normal
        Mean and standard deviation of ln(FWHM / eV).

    Returns
    -------
    ndarray of shape (grid.n,)
        Beyond the last measured energy the last value is kept.
    """
    peaks = peaks.select(slice(None, None, max(len(peaks.label) // _SCATTER_SPECTRA, 1)))
    weights_of = table.at(peaks.log_intensity)
    start = MatchStart(peaks.matched.centre, peaks.matched.fwhm, peaks.log_intensity, peaks.window)
    matched = match(peaks.spectra, start, table, peaks.noise, width_prior=log_fwhm)
    u = (peaks.spectra.energy - matched.centre[:, None]) / matched.fwhm[:, None]
    log_seen = table.log_shape + np.log1p(table.spill)
    values = table.evaluate(u, weights_of, np.concatenate([log_seen[None], table.modes]))
    log_shape = values[0] + np.einsum("pj,jpg->pg", matched.coefficients, values[1:])
    scale = peaks.spectra.n_channels * peaks.spectra.curvature
    expected = scale * np.exp(matched.log_height[:, None] + log_shape)
    variance = peaks.noise.of_sum(expected, peaks.spectra.n_channels) / expected**2
    inside = peaks.spectra.complete & inside_window(u, peaks.window)
    excess = (peaks.spectra.sums / expected - 1) ** 2 - variance

    cell = np.round(to_grid(u[inside]) / _SCATTER_CELL).astype(int)
    names, index = np.unique(cell, return_inverse=True)
    weight = variance[inside] ** -2.0
    total = np.bincount(index, weight)
    mean = np.bincount(index, weight * excess[inside]) / total
    error = np.sqrt(2 / total)
    scatter = np.where(mean > 3 * error, np.sqrt(np.clip(mean, 0, None)), 0.0)
    seen = np.bincount(index, variance[inside]) / np.bincount(index) < 1
    names, scatter = names[seen], np.minimum(scatter[seen], 1.0)
    return np.interp(table.grid.x, names * _SCATTER_CELL, scatter)
