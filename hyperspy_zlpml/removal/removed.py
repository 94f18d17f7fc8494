# SPDX-License-Identifier: GPL-3.0-or-later
"""Result of a removal as arrays."""

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np

from hyperspy_zlpml.compute import compute
from hyperspy_zlpml.ensemble.ensemble import Ensemble
from hyperspy_zlpml.removal.application import Application
from hyperspy_zlpml.removal.report import Report
from hyperspy_zlpml.removal.subtract import Integrals
from hyperspy_zlpml.statistics import Range


@dataclass(frozen=True)
class RemovedZLP:
    """Result of :func:`hyperspy_zlpml.workflow.remove_zlp`: arrays, in memory or of dask.

    Attributes
    ----------
    subtracted : array of shape (..., n_energy)
        Counts minus pedestal and ZLP, with sign.
    zlp : array of shape (..., n_energy)
        The zero-loss peak: median over the replicas, matched to each spectrum.
    std : array of shape (..., n_energy)
        Standard deviation of the ZLP model.
    lower, upper : array of shape (..., n_energy)
        Band of ``subtracted`` that follows from the ZLP model.
    variance : array of shape (..., n_energy)
        Total variance of ``subtracted``: counting noise and ZLP model.
    clusters : ndarray of int of the navigation shape
        Cluster of each spectrum, 0 is the thinnest; -1 where it was left out.
    vacuum : ndarray of bool of the navigation shape
        Spectra taken for vacuum.
    centre, fwhm, intensity : ndarray of the navigation shape
        Peak parameters, eV and counts; NaN where a spectrum has no usable peak.
    ensemble : Ensemble
        The trained model.
    report : Report
        What was done and how well; print it.
    application : Application
        How the ensemble was applied.
    record : dict of str to anything
        What was done, as text, numbers and short arrays.
    """

    subtracted: np.ndarray | da.Array
    zlp: np.ndarray | da.Array
    std: np.ndarray | da.Array
    lower: np.ndarray | da.Array
    upper: np.ndarray | da.Array
    variance: np.ndarray | da.Array
    clusters: np.ndarray
    vacuum: np.ndarray
    centre: np.ndarray
    fwhm: np.ndarray
    intensity: np.ndarray
    ensemble: Ensemble
    report: Report
    application: Application
    record: dict[str, Any]

    def integrate(self, left, right):
        """Integrate the subtracted signal between two energies above each spectrum's own peak.

        Parameters
        ----------
        left, right : float
            From the peak of each spectrum (not from the zero of the axis), eV.

        Returns
        -------
        Integrals
            Maps of the navigation shape. The error of the ZLP model is correlated between channels
            as it is, which a sum of ``variance`` is not.

        Raises
        ------
        ValueError
            If ``left`` is not below ``right``, or the axis holds them for no spectrum; spectra
            whose axis does not hold them are NaN.

        Notes
        -----
        Reads whole spectra: lazy results are computed for it, in a pass of its own.
        """
        counts = measured_counts(self.subtracted, self.zlp, self.application.subtraction.pedestal)
        found = self.application.integrate(counts, Range(left, right))
        stacked = found.stack()
        return Integrals.unstack(stacked.reshape(self.centre.shape + stacked.shape[-1:]))

    def __repr__(self):
        lazy = "lazy, " if isinstance(self.subtracted, da.Array) else ""
        return (
            f"<RemovedZLP, {lazy}shape {self.subtracted.shape}, {self.report.n_kept} replicas, "
            f"{len(self.report.clusters)} clusters>"
        )


def measured_counts(subtracted, zlp, pedestal):
    """Put the counts together again as they were measured.

    Parameters
    ----------
    subtracted, zlp : ndarray or dask array of shape (..., n_energy)
        Of a removal.
    pedestal : float

    Returns
    -------
    ndarray of shape (n_spectra, n_energy)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.removed import measured_counts
    >>> measured_counts(np.ones((2, 2, 3)), zlp=np.full((2, 2, 3), 5.0), pedestal=1.0).shape
    (4, 3)
    """
    subtracted, zlp = compute(subtracted, zlp, show_progressbar=False, title="")
    counts = subtracted + zlp + pedestal
    return counts.reshape(-1, counts.shape[-1])


def maps_of(image, application, labels, shape):
    """Collect the maps of a removal.

    Parameters
    ----------
    image : Image
    application : Application
    labels : ndarray of int of shape (n_spectra,)
        Cluster of each spectrum.
    shape : tuple of int
        Navigation shape.

    Returns
    -------
    dict of str to ndarray of the navigation shape
        Clusters, vacuum, centre, FWHM and intensity.
    """
    parameters = image.parameters
    maps = {
        "clusters": np.where(application.peaks.usable, labels, -1),
        "vacuum": image.vacuum,
        "centre": parameters.centre,
        "fwhm": parameters.fwhm,
        "intensity": parameters.intensity,
    }
    return {name: values.reshape(shape) for name, values in maps.items()}
