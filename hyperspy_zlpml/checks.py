# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user's own data say of a removal: held-out vacuum, and stability against ``E_I``."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from hyperspy_zlpml.report import RegionScan, VacuumCheck

#: Vacuum spectra are predicted from E_I up to this many FWHM, or this many times E_I.
_CHECK_UP_TO, _CHECK_AT_LEAST_TO = 8.0, 1.5
#: Limits tried, in units of ``E_I``, and spectra looked at in each cluster.
FACTORS = np.linspace(0.6, 1.5, 10)
_SPECTRA_SCANNED = 24
#: The signal looked at lies above ``E_I``, this many FWHM wide.
_SCANNED_WIDTH = 2.0


def check_on_vacuum(removal, sample, regions, confidence, log_dose=0.0):
    """Subtract held-out vacuum spectra as if they were specimen.

    They are matched below the lowest ``E_I`` of all clusters only, so that their tails are
    predicted, and the tails are then compared with what was measured.

    Parameters
    ----------
    removal : Removal
    sample : Sample
    regions : Regions
    confidence : float
    log_dose : float
        Logarithm of the dose over that of the ensemble.

    Returns
    -------
    VacuumCheck or None
        None where no cluster has a finite ``E_I`` on the axis.
    """
    n, parameters = len(sample.label), sample.parameters
    finite = regions.E_I[np.isfinite(regions.E_I)]
    on_axis = sample.energy[-1] - parameters.centre.max()
    if not finite.size or finite.min() >= on_axis:
        return None
    limit = finite.min()
    end = max(_CHECK_UP_TO * np.median(parameters.fwhm), _CHECK_AT_LEAST_TO * limit)
    columns = (
        parameters.channel, parameters.centre, parameters.fwhm,
        np.log(parameters.intensity) - log_dose,
        np.full(n, regions.gain_limit[0]), np.full(n, limit),
    )  # fmt: skip
    peaks = np.stack(columns, -1).astype(float)
    end = min(end, on_axis)
    counts = sample.counts + removal.pedestal
    integral, model, counting, zlp = removal.integrate(
        counts, peaks, (np.full(n, limit), np.full(n, end))
    )
    pull = integral / np.hypot(model, counting)
    inside = np.abs(pull) <= norm.ppf(0.5 + confidence / 2)
    return VacuumCheck(
        n, float(integral.sum() / zlp.sum()), float(np.sqrt((pull**2).mean())), float(inside.mean()),
        confidence, (float(limit), float(end)),
    )  # fmt: skip


@dataclass(frozen=True)
class ScannedSpectra:
    """Some spectra of every cluster, as measured, to try other limits on.

    Attributes
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    peaks : ndarray of shape (n_spectra, 6)
        As :meth:`Removal.apply` takes them, all usable.
    labels : ndarray of int of shape (n_spectra,)
        Cluster of each; none is vacuum.
    """

    counts: np.ndarray
    peaks: np.ndarray
    labels: np.ndarray

    @classmethod
    def chosen(cls, counts, peaks, labels):
        """At most 24 spectra of each cluster, evenly from first to last."""
        rows = []
        for name in np.unique(labels):
            members = np.flatnonzero(labels == name)
            few = min(members.size, _SPECTRA_SCANNED)
            rows.append(members[np.linspace(0, members.size - 1, few).astype(int)])
        rows = np.concatenate(rows) if rows else np.zeros(0, int)
        return cls(counts[rows], peaks[rows], labels[rows])


def scan_regions(removal, spectra, regions, window=None):
    """Integral of the subtracted signal against ``E_I``.

    Spectra are matched below other limits than ``E_I``. A limit within region I leaves the
    signal as it is; beyond it, losses are taken for zero-loss peak and the signal shrinks.

    Parameters
    ----------
    removal : Removal
    spectra : ScannedSpectra
    regions : Regions
    window : tuple of float, optional
        Energies integrated over, eV from the peak; default from ``E_I`` of each cluster over two
        FWHM.

    Returns
    -------
    RegionScan or None
        None where no cluster has a finite ``E_I``, or the axis does not hold the window. A
        cluster for which that is so is left out.
    """
    rows = []
    for name in np.unique(spectra.labels):
        if np.isfinite(regions.E_I[name]):
            of = spectra.labels == name
            row = _scan_cluster(removal, spectra.counts[of], spectra.peaks[of], window)
            if row is not None:
                rows.append((int(name), *row))
    return RegionScan.of(rows, FACTORS) if rows else None


def _scan_cluster(removal, counts, peaks, window):
    """E_I, window, integrals and their errors for every limit; None if the axis ends before."""
    limit, fwhm = np.median(peaks[:, 5]), np.median(peaks[:, 2])
    left, right = window or (limit, limit + _SCANNED_WIDTH * fwhm)
    first = (removal.energy[0] - peaks[:, 1]).max()
    last = (removal.energy[-1] - peaks[:, 1]).min()
    if left < first or right > last:
        return None
    limits = tuple(np.full(len(counts), edge) for edge in (left, right))
    found = []
    for factor in FACTORS:
        tried = peaks.copy()
        tried[:, 5] *= factor
        # The counting noise is the same for every limit: it is no error of the comparison.
        integral, model, _, zlp = removal.integrate(counts, tried, limits)
        found.append((integral.mean(), model.mean(), zlp.mean()))
    integral, model, zlp = np.array(found).T
    unit = zlp[np.abs(FACTORS - 1).argmin()]
    return float(limit), (float(left), float(right)), integral / unit, model / unit


__all__ = ["ScannedSpectra", "check_on_vacuum", "scan_regions"]
