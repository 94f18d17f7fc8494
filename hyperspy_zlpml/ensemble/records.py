# SPDX-License-Identifier: GPL-3.0-or-later
"""Records that an ensemble consists of: networks, reference, spectra seen, origin."""

from dataclasses import dataclass, field

import numpy as np

from hyperspy_zlpml.ensemble.inputs import InputScaling
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.network.weights import outputs_of
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.zlp.grid import Grid
from hyperspy_zlpml.zlp.regions import Regions
from hyperspy_zlpml.zlp.residual import CoherentResidual
from hyperspy_zlpml.zlp.tables import SpillTables

#: Networks evaluated at once, for the cache and for the memory of many replicas.
_REPLICAS_AT_ONCE = 4
#: Values that JSON can hold.
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class Networks:
    """Trained networks, one for each replica.

    Attributes
    ----------
    weights : ndarray of shape (n_replicas, n_weights)
        See :func:`~hyperspy_zlpml.network.weights.split_weights`.
    layers : tuple of int
        Units of each layer, inputs first.
    scaling : InputScaling
    activation : str
        Name of the function of the hidden units, of
        :data:`~hyperspy_zlpml.network.weights.ACTIVATIONS`.
    """

    weights: np.ndarray
    layers: tuple[int, ...]
    scaling: InputScaling
    activation: str = "tanh"

    def add_outputs(self, values, u, log_intensity, setting):
        """Add the outputs of the networks to some values, in place.

        Parameters
        ----------
        values : ndarray of shape (n_replicas, n)
            Logarithms of the ratio to the common reference.
        u, log_intensity : ndarray of shape (n,)
            Reduced energies and ln N0.
        setting : tuple of float
            Scaled conditions.

        Examples
        --------
        One network without hidden units, ``2 x + 0.5`` where ``x`` is the scaled ln N0:

        >>> import numpy as np
        >>> from hyperspy_zlpml.ensemble.inputs import InputScaling
        >>> from hyperspy_zlpml.ensemble.records import Networks
        >>> scaling = InputScaling(log_intensity_mean=15.0, log_intensity_scale=0.5, x_scale=2.0)
        >>> networks = Networks(np.array([[0.0, 2.0, 0.5]]), layers=(2, 1), scaling=scaling)
        >>> values, log_intensity = np.full((1, 2), 10.0), np.array([15.0, 15.5])
        >>> networks.add_outputs(values, np.zeros(2), log_intensity, setting=())
        >>> values
        array([[10.5, 12.5]])
        """
        inputs = self.scaling(u, log_intensity, setting).astype(self.weights.dtype)
        for start in range(0, len(self.weights), _REPLICAS_AT_ONCE):
            rows = slice(start, start + _REPLICAS_AT_ONCE)
            values[rows] += outputs_of(self.weights[rows], self.layers, inputs, self.activation)


@dataclass(frozen=True)
class Beside:
    """Scatter, errors and scales that single spectra show beside their shapes.

    Attributes
    ----------
    widening : ndarray of shape (grid.n,)
        Change of the logarithm of the shape where a peak is wider than the mean, per ln(FWHM).
    group_error : ndarray of shape (grid.n,)
        Standard error of the residual that neighbouring groups of channels share.
    channel_error : ndarray of shape (grid.n,)
        Standard error of the residual, and scatter of single spectra about it, that neighbouring
        channels do not share.
    rest_share : ndarray of shape (grid.n,)
        Share that spectra allow of the spread of the replicas beside their modes.
    mode_scale : ndarray of shape (n_modes,)
        Standard deviation of the modes in spectra, in units of that over the replicas.
    """

    widening: np.ndarray
    group_error: np.ndarray
    channel_error: np.ndarray
    rest_share: np.ndarray
    mode_scale: np.ndarray

    @classmethod
    def none(cls, n_grid):
        """Make what is known where nobody looked.

        Parameters
        ----------
        n_grid : int

        Returns
        -------
        Beside
        """
        none = np.zeros(n_grid)
        return cls(none, none, none, rest_share=np.ones(n_grid), mode_scale=np.ones(1))


@dataclass(frozen=True)
class Reference:
    """Shape that the networks correct, and how well it is known.

    Attributes
    ----------
    grid : Grid
        Nodes of this shape and of the tables of the ensemble.
    log_shape : ndarray of shape (grid.n,)
        Logarithm of the shape, 0 at u = 0.
    modes : ndarray of shape (n_modes, grid.n)
        Deviations of the references of replicas: errors of this shape, of one standard error each,
        then variations from spectrum to spectrum, of one standard deviation each.
    scores : ndarray of shape (n_replicas, n_modes)
        How much of each mode the reference of a replica has.
    scatter : ndarray of shape (grid.n,)
        Relative scatter of measured spectra about their matched shapes.
    spill : SpillTables
        Losses that the response carried into region I of the spectra trained on.
    residual : CoherentResidual
        What the smooth shapes do not follow, but all spectra trained on share.
    beside : Beside or None
        What single spectra show beside shapes and residual; None where nobody looked.
    n_errors : int or None
        How many of the modes are errors; None where all are.
    """

    grid: Grid
    log_shape: np.ndarray
    modes: np.ndarray
    scores: np.ndarray
    scatter: np.ndarray
    spill: SpillTables
    residual: CoherentResidual = field(default_factory=CoherentResidual.none)
    beside: Beside | None = None
    n_errors: int | None = None

    @property
    def errors(self):
        """Modes by which this shape is uncertain, shape (n_errors, grid.n)."""
        return self.modes[: self.n_errors]

    def deviations(self, u):
        """Look up how the reference of every replica differs from the common one.

        Parameters
        ----------
        u : ndarray of shape (n,)
            Reduced energies.

        Returns
        -------
        ndarray of shape (n_replicas, n)
            Differences of the logarithm.
        """
        return self.scores @ self.grid.interpolate_rows(self.modes.T.astype(float), u).T


@dataclass(frozen=True)
class SeenSpectra:
    """Summary of the spectra that an ensemble was trained on, or would see at its setting.

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
        Limits of each cluster, eV.
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
    """Origin of an ensemble: microscope, data and versions.

    Attributes
    ----------
    microscope : dict of str to float
        Settings at which it was trained, where the data say: beam energy (keV), convergence and
        collection angle (mrad).
    provenance : dict of str to JSON
        Versions, title of the data, arguments. Text and numbers alone.
    fingerprint : str
        Fingerprint of the ensemble that it was before :meth:`~hyperspy_zlpml.Ensemble.at`; empty where it is that.
    """

    microscope: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Json] = field(default_factory=dict)
    fingerprint: str = ""
