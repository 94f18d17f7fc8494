# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses that the tails of the response carry into region I, where only the peak should be."""

import numpy as np
from scipy.integrate import trapezoid

from hyperspy_zlpml.image.samples import VACUUM

#: Closer to a loss than this many FWHM the measured losses already hold their own broadening.
_SPILL_FROM = 1.0


def spilled_losses(peaks, regions):
    """Estimate the losses that the tails of the response carry into region I.

    Every electron that lost energy is recorded with the same response as the ZLP, whose tails
    reach below the onset and to the gain side. The mean losses of each cluster beyond ``E_I``,
    spread by the tails of the reference, give these counts in region I, which are not ZLP
    although nothing in their shape shows it.

    Parameters
    ----------
    peaks : RegisteredPeaks
    regions : Regions

    Returns
    -------
    dict of int to ndarray of shape (grid.n,)
        Spilled counts over the ZLP, by label; the vacuum has none.
    """
    grid = peaks.grid
    response = np.exp(peaks.log_reference)
    kernel_shape = _whole_response(peaks)
    area = trapezoid(np.exp(kernel_shape), grid.u)
    tables = {}
    for name in peaks.labels[peaks.labels != VACUUM]:
        rows = peaks.label == name
        fwhm = np.median(peaks.matched.fwhm[rows])
        u = peaks.u[rows].mean(0)
        height = np.exp(peaks.matched.log_height[rows]).sum()
        width = np.gradient(u)
        channels = peaks.spectra.n_channels * peaks.spectra.complete[rows].any(0)
        zlp = np.exp(grid.interpolate(peaks.log_reference, u))
        losses = peaks.spectra.sums[rows].sum(0) / np.maximum(channels, 1) / height - zlp
        losses = np.where((u > regions.E_I[name] / fwhm) & (channels > 0), losses, 0.0)
        distance = grid.u[:, None] - u
        kernel = np.exp(grid.interpolate(kernel_shape, distance)) / area
        kernel = np.where(np.abs(distance) > _SPILL_FROM, kernel, 0.0)
        spilled = np.clip(kernel @ (losses * width), 0, None)
        inside = grid.u < regions.E_I[name] / fwhm
        tables[int(name)] = np.where(inside, spilled / response, 0.0)
    return tables


def _whole_response(peaks):
    """Continue the log-shape of the response beyond the axis: the gain side like the loss side.

    Axes begin a few FWHM before the peak; a power law from there on misses how the far tail bends.
    What the sides differ by fades: far out, both are electrons scattered behind the specimen.
    """
    grid = peaks.grid
    seen = peaks.spectra.complete.any(0)
    first = peaks.u.mean(0)[seen].min()
    mirrored = grid.interpolate(peaks.log_reference, -grid.u)
    here, there = grid.interpolate(peaks.log_reference, np.array([first, -first]))
    fading = first / np.minimum(grid.u, first)
    return np.where(grid.u < first, mirrored + (here - there) * fading, peaks.log_reference)
