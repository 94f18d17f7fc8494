# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a registered spectrum is zero-loss peak: regions, and losses spilled into them.

The regions of a cluster follow from its mean ratio to the reference. The response that broadens
the ZLP also carries a part of the losses below their onset; that part is estimated and taken off.
"""

import numpy as np
from scipy.integrate import trapezoid

from hyperspy_zlpml.image.samples import VACUUM
from hyperspy_zlpml.zlp.regions import NO_LIMIT, Regions, below_noise, onset
from hyperspy_zlpml.zlp.registration import mean_ratio

#: Up to this many FWHM the loss side, too, is taken to tell variations of the peak.
_PURE_FOR_CERTAIN = 1.5


def find_regions(peaks, n_clusters, given, modes=None, gain=None):
    """Regions of every cluster, found from the data where the user gives none.

    Parameters
    ----------
    peaks : RegisteredPeaks
    n_clusters : int
    given : dict
        ``E_I``, ``E_II``, ``gain`` in eV, one number or one per cluster.
    modes : ndarray of shape (n_modes, n_groups), optional
        Variations of the shape, which are no onset.
    gain : ndarray of shape (n_clusters,), optional
        Gain-side limits known so far: the gain side above them tells the modes.

    Returns
    -------
    Regions
    """
    before = np.full(n_clusters, -NO_LIMIT) if gain is None else gain
    gain, first, second = (np.full(n_clusters, np.nan) for _ in range(3))
    for name in peaks.labels[peaks.labels != VACUUM]:
        chosen = peaks.label == name
        fwhm = np.median(peaks.matched.fwhm[chosen])
        pure = before[name] / fwhm, _PURE_FOR_CERTAIN
        if peaks.tail_is_known:
            found = onset(*mean_ratio(peaks, chosen, 1, modes, pure))
            # A tail read off under losses does not prove that there are none.
            first[name] = min(found, peaks.extrapolated_from) * fwhm
        else:
            first[name] = peaks.extrapolated_from * fwhm
        gain[name] = -onset(*mean_ratio(peaks, chosen, side=-1)) * fwhm
        second[name] = _below_noise_of(peaks, chosen) * fwhm
    regions = Regions(
        gain=_filled(gain, -NO_LIMIT),
        # A cluster too thin or too small to show its losses has them nevertheless.
        E_I=_filled(np.where(np.isinf(first), np.nan, first), NO_LIMIT),
        E_II=_filled(second, NO_LIMIT),
    )
    return regions.overridden(given, n_clusters)


def _filled(values, default):
    """Clusters without spectra of their own take the value of the next thicker one."""
    known = np.flatnonzero(~np.isnan(values))
    if not known.size:
        return np.full(values.shape, default)
    after = np.minimum(np.searchsorted(known, np.arange(values.size)), known.size - 1)
    return values[known[after]]


def _below_noise_of(peaks, chosen):
    u = np.linspace(1, peaks.grid.u[-1], 4000)
    height = np.median(np.exp(peaks.matched.log_height[chosen]))
    expected = height * np.exp(peaks.grid.interpolate(peaks.log_reference, u))
    return below_noise(u, expected, np.sqrt(peaks.noise.variance(expected)))


#: Closer to a loss than this many FWHM the measured losses already hold their own broadening.
_SPILL_FROM = 1.0


def spilled_losses(peaks, regions):
    """What the tails of the response carry from the losses into region I, relative to the ZLP.

    Every electron that lost energy is recorded with the same response as the ZLP, whose tails
    reach below the onset and to the gain side. The mean losses of each cluster beyond ``E_I``,
    spread by the tails of the reference, give this part of the counts in region I, which is not
    ZLP although nothing in its shape tells so.

    Parameters
    ----------
    peaks : RegisteredPeaks
    regions : Regions

    Returns
    -------
    dict of int to ndarray of shape (grid.n,)
        By label; the vacuum has none.
    """
    grid = peaks.grid
    response = np.exp(peaks.log_reference)
    kernel_shape = _whole_response(peaks)
    area = trapezoid(np.exp(kernel_shape), grid.u)
    tables = {}
    for name in peaks.labels[peaks.labels != VACUUM]:
        rows = peaks.label == name
        fwhm = np.median(peaks.matched.fwhm[rows])
        u, height = peaks.u[rows].mean(0), np.exp(peaks.matched.log_height[rows]).sum()
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
    """Log-shape of the response, whose gain side goes on like the loss side where the axis ends.

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
