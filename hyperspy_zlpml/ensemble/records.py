# SPDX-License-Identifier: GPL-3.0-or-later
"""What an ensemble holds, in four records: networks, reference, spectra seen, origin."""

from dataclasses import dataclass, field

import numpy as np

from hyperspy_zlpml.ensemble.inputs import InputScaling
from hyperspy_zlpml.image.detector import NoiseModel
from hyperspy_zlpml.network.weights import outputs_of
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.zlp.grid import Grid
from hyperspy_zlpml.zlp.regions import Regions
from hyperspy_zlpml.zlp.tables import SpillTables

#: Networks evaluated at once, for the cache and for the memory of many replicas.
_REPLICAS_AT_ONCE = 4


@dataclass(frozen=True)
class Networks:
    """Trained networks, one for each replica.

    Attributes
    ----------
    weights : ndarray of shape (n_replicas, n_weights)
    layers : tuple of int
        Units of each layer, inputs first.
    scaling : InputScaling
    """

    weights: np.ndarray
    layers: tuple[int, ...]
    scaling: InputScaling

    def add_outputs(self, values, u, log_intensity, setting):
        """Add what the networks answer.

        Parameters
        ----------
        values : ndarray of shape (n_replicas, n)
            Added to in place.
        u, log_intensity : ndarray of shape (n,)
        setting : tuple of float
            Scaled conditions.
        """
        inputs = self.scaling(u, log_intensity, setting).astype(self.weights.dtype)
        for start in range(0, len(self.weights), _REPLICAS_AT_ONCE):
            rows = slice(start, start + _REPLICAS_AT_ONCE)
            values[rows] += outputs_of(self.weights[rows], self.layers, inputs)


@dataclass(frozen=True)
class Reference:
    """The shape that the networks correct, and how well it is known.

    Attributes
    ----------
    grid : Grid
        On which this shape and the tables of the ensemble live.
    log_shape : ndarray of shape (grid.n,)
        Logarithm of the shape, 0 at u = 0.
    modes : ndarray of shape (n_modes, grid.n)
        Deviations by which it is uncertain, of one standard error each.
    scores : ndarray of shape (n_replicas, n_modes)
        How much of each mode the reference of a replica has.
    scatter : ndarray of shape (grid.n,)
        Relative scatter of measured spectra about their matched shapes.
    spill : SpillTables
        Losses that the response carried into region I of the spectra trained on.
    """

    grid: Grid
    log_shape: np.ndarray
    modes: np.ndarray
    scores: np.ndarray
    scatter: np.ndarray
    spill: SpillTables

    def deviations(self, u):
        """Look up how the reference of every replica differs from the common one.

        Parameters
        ----------
        u : ndarray of shape (n,)

        Returns
        -------
        ndarray of shape (n_replicas, n)
            Differences of the logarithm.
        """
        return self.scores @ self.grid.interpolate_rows(self.modes.T.astype(float), u).T


@dataclass(frozen=True)
class SeenSpectra:
    """The spectra that an ensemble was trained on, or would see at the setting it stands at.

    Attributes
    ----------
    log_intensity_range : Range
        ln N0 of the thickest and the thinnest spectra.
    log_fwhm : Normal
        Mean and standard deviation of ln(FWHM / eV).
    log_beam : float
        ln N0 of the spectrum that no specimen has weakened: thickness in mean free paths is this
        minus ln N0, whatever the dose.
    u_range : Range
        Reduced energies measured.
    regions : Regions
        Limits of each cluster.
    cluster_centres : ndarray of shape (n_clusters,)
        Means of ``cluster_by``.
    cluster_by : str
        Name of the proxy of thickness.
    noise : NoiseModel
    tail : str
        How the tail was found where there was no vacuum, for the report.
    """

    log_intensity_range: Range
    log_fwhm: Normal
    log_beam: float
    u_range: Range
    regions: Regions
    cluster_centres: np.ndarray
    cluster_by: str
    noise: NoiseModel
    tail: str = ""


@dataclass(frozen=True)
class Origin:
    """Where an ensemble comes from.

    Attributes
    ----------
    microscope : dict of str to float
        Settings at which it was trained, where the data say: beam energy (keV), convergence and
        collection angle (mrad).
    provenance : dict
        Versions, title of the data, arguments. Text and numbers alone.
    fingerprint : str
        Fingerprint of the ensemble that it was before :meth:`Ensemble.at`; empty where it is that.
    """

    microscope: dict[str, float] = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)
    fingerprint: str = ""
