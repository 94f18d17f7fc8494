# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user's own data say of a removal: held-out vacuum, and stability against ``E_I``."""

import numpy as np
from scipy.stats import norm

from hyperspy_zlpml.report import RegionScan, VacuumCheck

#: Vacuum spectra are predicted from E_I up to this many FWHM.
_CHECK_UP_TO = 8.0
#: Limits tried, in units of ``E_I``, and spectra looked at in each cluster.
_FACTORS = np.linspace(0.6, 1.5, 10)
_SPECTRA_SCANNED = 24
#: The signal looked at lies above ``E_I``, this many FWHM wide.
_SCANNED_WIDTH = 2.0


def check_on_vacuum(removal, sample, regions, confidence):
    """Subtract held-out vacuum spectra as if they were specimen.

    They are matched below ``E_I`` of the thinnest cluster only, so that their tails are
    predicted, and the tails are then compared with what was measured.

    Parameters
    ----------
    removal : Removal
    sample : Sample
    regions : Regions
    confidence : float

    Returns
    -------
    VacuumCheck or None
    """
    limit = regions.E_I[np.isfinite(regions.E_I)]
    end = _CHECK_UP_TO * np.median(sample.parameters.fwhm)
    if not limit.size or limit[0] >= end:
        return None
    n = len(sample.label)
    parameters = sample.parameters
    columns = (
        parameters.channel, parameters.centre, parameters.fwhm, np.log(parameters.intensity),
        np.full(n, regions.gain[0]), np.full(n, limit[0]),
    )  # fmt: skip
    peaks = np.stack(columns, -1).astype(float)
    window = np.full(n, limit[0]), np.full(n, end)
    counts = sample.counts + removal.pedestal
    integral, model, counting, zlp = removal.integrate(counts, peaks, window)
    pull = integral / np.hypot(model, counting)
    inside = np.abs(pull) <= norm.ppf(0.5 + confidence / 2)
    return VacuumCheck(
        n, float(integral.sum() / zlp.sum()), float(np.sqrt((pull**2).mean())), float(inside.mean()),
        confidence, (float(limit[0]), float(end)),
    )  # fmt: skip


def scan_regions(removal, counts, peaks, labels, regions, window=None):
    """Integral of the subtracted signal against ``E_I``.

    Spectra are matched below other limits than ``E_I``. A limit within region I leaves the
    signal as it is; beyond it, losses are taken for zero-loss peak and the signal shrinks.

    Parameters
    ----------
    removal : Removal
    counts : ndarray of shape (n_spectra, n_energy)
        As measured.
    peaks : ndarray of shape (n_spectra, 6)
        As :meth:`Removal.apply` takes them, all usable, no vacuum.
    labels : ndarray of int of shape (n_spectra,)
    regions : Regions
    window : tuple of float, optional
        Energies integrated over, eV from the peak; default from ``E_I`` of each cluster over two
        FWHM.

    Returns
    -------
    RegionScan or None
        None where no cluster has a finite ``E_I``.
    """
    rows = []
    for name in np.unique(labels):
        if np.isfinite(regions.E_I[name]):
            members = np.flatnonzero(labels == name)
            chosen = members[:: max(members.size // _SPECTRA_SCANNED, 1)][:_SPECTRA_SCANNED]
            rows.append(_scan_cluster(removal, counts[chosen], peaks[chosen], window, name))
    return RegionScan.of(rows, _FACTORS) if rows else None


def _scan_cluster(removal, counts, peaks, window, name):
    limit, fwhm = np.median(peaks[:, 5]), np.median(peaks[:, 2])
    left, right = window or (limit, limit + _SCANNED_WIDTH * fwhm)
    limits = tuple(np.full(len(counts), edge) for edge in (left, right))
    integrals, errors = [], []
    for factor in _FACTORS:
        tried = peaks.copy()
        tried[:, 5] *= factor
        integral, model, counting, zlp = removal.integrate(counts, tried, limits)
        integrals.append(integral.mean() / zlp.mean())
        noise = np.sqrt((counting**2).sum()) / len(counts)
        errors.append(np.hypot(model.mean(), noise) / zlp.mean())
    return int(name), float(limit), (float(left), float(right)), integrals, errors


def rows_to_scan(labels, vacuum, usable):
    """Spectra whose counts :func:`scan_regions` needs, increasing."""
    chosen = []
    for name in np.unique(labels[labels >= 0]):
        members = np.flatnonzero((labels == name) & usable & ~vacuum)
        chosen.append(members[:: max(members.size // _SPECTRA_SCANNED, 1)][:_SPECTRA_SCANNED])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, int)


__all__ = ["check_on_vacuum", "rows_to_scan", "scan_regions"]
