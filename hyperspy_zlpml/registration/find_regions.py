# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a registered spectrum is zero-loss peak: regions, and losses spilled into them.

The regions of a cluster follow from its mean ratio to the reference. The response that broadens
the ZLP also carries a part of the losses below their onset; that part is estimated and taken off.
"""

from dataclasses import replace

import numpy as np

from hyperspy_zlpml.image.samples import VACUUM
from hyperspy_zlpml.registration.registered_peaks import mean_ratio
from hyperspy_zlpml.registration.spill import spilled_losses
from hyperspy_zlpml.registration.variation import cluster_spectra, shape_modes
from hyperspy_zlpml.zlp.regions import NO_LIMIT, Regions, below_noise, onset

#: Up to this many FWHM the loss side, too, is taken to tell variations of the peak.
_PURE_FOR_CERTAIN = 1.5

#: Regions and the losses spilled into them depend on each other.
_REGION_ROUNDS = 2


def find_regions(peaks, n_clusters, given, modes=None, gain=None):
    """Regions of every cluster, found from the data where the user gives none.

    Parameters
    ----------
    peaks : RegisteredPeaks
    n_clusters : int
    given : dict
        ``E_I``, ``E_II``, ``gain_limit`` in eV, one number or one per cluster.
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
        gain_limit=_filled(gain, -NO_LIMIT),
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


def separated(peaks, n_clusters, given, latest=None):
    """Regions, the losses spilled into them and the variations of the shape, found together.

    Parameters
    ----------
    peaks : RegisteredPeaks
    n_clusters : int
    given : dict
        Limits given by the user, eV.
    latest : callable, optional
        Called with ``E_I`` of the clusters as found, eV; what it gives counts.

    Returns
    -------
    peaks : RegisteredPeaks
        Matched within the regions, with their spill tables.
    regions : Regions
    modes : ndarray of shape (n_modes, n_groups)
    """
    modes, gain = None, None
    for _ in range(_REGION_ROUNDS):
        regions = find_regions(peaks, n_clusters, given, modes, gain)
        if latest is not None and "E_I" not in given:
            regions = replace(regions, E_I=latest(regions.E_I))
        peaks = replace(peaks, spill_tables=spilled_losses(peaks, regions)).within(regions)
        modes, gain = shape_modes(cluster_spectra(peaks)), regions.gain_limit
    return peaks, regions, modes
