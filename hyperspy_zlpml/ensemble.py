# SPDX-License-Identifier: GPL-3.0-or-later
"""The trained model: networks, scalings, reference shape and regions, frozen.

Use :meth:`Ensemble.predict` for whole replicas, :meth:`Ensemble.tabulate` for what the
application to an image needs: the median, the band and the principal modes of the replicas on a
grid, so that the cost per pixel does not depend on their number. NumPy alone predicts.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.integrate import trapezoid
from scipy.stats import norm

from hyperspy_zlpml.conditions import Conditions
from hyperspy_zlpml.image.detector import NoiseModel
from hyperspy_zlpml.network.weights import outputs_of
from hyperspy_zlpml.statistics import interval, principal_modes, without_strays
from hyperspy_zlpml.zlp.grid import Grid, to_grid
from hyperspy_zlpml.zlp.regions import Regions
from hyperspy_zlpml.zlp.tables import ShapeTable, interpolate_rows
from hyperspy_zlpml.zlp.tails import level_ripples

#: Conditions enter the networks this much smaller than between -1 and 1: weights of the size that
#: their prior allows then bend little over the settings, as the laws of instruments do.
_CONDITION_SCALE = 0.3
_N_THICKNESS_NODES = 9
_MOST_MODES = 8
#: Spread of ln(ZLP) that is not worth a mode.
_MODE_FLOOR = 1e-4
#: Sample quantiles of n values are narrower by a factor of about 1 + 1.5 / n.
_FEW_REPLICAS = 1.5
#: Fewer replicas do not tell which of them has run astray.
_FEWEST_FOR_STRAYS = 20
#: Networks evaluated at once, for the cache and for the memory of many replicas.
_REPLICAS_AT_ONCE = 4


@dataclass(frozen=True)
class InputScaling:
    """Scaling of (u, ln N0) to the inputs of the networks, both of order one."""

    log_intensity_mean: float
    log_intensity_scale: float
    x_scale: float
    condition_scale: float = _CONDITION_SCALE

    def __call__(self, u, log_intensity, setting=()):
        """Inputs of shape (..., 2 + n_conditions) for ``u`` and ``log_intensity`` of equal shape.

        ``setting`` holds the conditions, between -1 and 1 where it was trained, the same for all.
        """
        thickness = (log_intensity - self.log_intensity_mean) / self.log_intensity_scale
        conditions = (np.full(np.shape(u), self.condition_scale * value) for value in setting)
        return np.stack([to_grid(u) / self.x_scale, thickness, *conditions], axis=-1)


@dataclass(frozen=True)
class Ensemble:
    """A trained ensemble of networks for the shape of the zero-loss peak.

    The ZLP of replica ``k`` at reduced energy ``u = (E - E0) / FWHM`` in a spectrum of peak
    intensity ``N0`` is ``height * exp(log_reference_k(u) + network_k(u, ln N0))``, where the
    reference of each replica is drawn within the errors of the common one: what the data do not
    tell a network stays as uncertain as the reference is.

    Attributes
    ----------
    weights : ndarray of shape (n_replicas, n_weights)
    layers : tuple of int
    scaling : InputScaling
    grid : Grid
        On which reference and tables live.
    log_reference : ndarray of shape (grid.n,)
    scatter : ndarray of shape (grid.n,)
        Relative scatter of measured spectra about their matched shapes.
    spill : tuple of two ndarrays
        ln N0 of the sets of spectra trained on, increasing, shape (n_sets,); and the losses
        spilled into region I relative to the ZLP, shape (n_sets, grid.n).
    reference_modes : ndarray of shape (n_modes, grid.n)
        Deviations by which the reference is uncertain.
    reference_scores : ndarray of shape (n_replicas, n_modes)
        How much of each the reference of a replica has.
    log_intensity_range : tuple of float
        ln N0 of the thickest and the thinnest spectra trained on.
    log_fwhm : tuple of float
        Mean and standard deviation of ln(FWHM / eV) over the spectra trained on.
    log_beam : float
        ln N0 of the spectrum that no specimen has weakened: thickness in mean free paths is this
        minus ln N0, whatever the dose.
    u_range : tuple of float
        Reduced energies measured.
    regions : Regions
        Per cluster.
    cluster_centres : ndarray of shape (n_clusters,)
        Of ``cluster_by``.
    cluster_by : str
    noise : NoiseModel
    tail : str
        How the tail was found where there was no vacuum, for the report.
    microscope : dict of str to float
        Settings at which it was trained, where the data say: beam energy (keV), convergence and
        collection angle (mrad).
    provenance : dict
        Where it comes from: versions, title of the data, arguments. Text and numbers alone.
    conditions : Conditions or None
        Settings of the microscope that are inputs of the networks, and the laws that width and
        brightness follow.
    setting : tuple of float
        Values of the conditions that it stands at, see :meth:`at`.
    origin : str
        Fingerprint of the ensemble that it was before :meth:`at`.
    """

    weights: np.ndarray
    layers: tuple
    scaling: InputScaling
    grid: Grid
    log_reference: np.ndarray
    scatter: np.ndarray
    spill: tuple
    reference_modes: np.ndarray
    reference_scores: np.ndarray
    log_intensity_range: tuple
    log_fwhm: tuple
    log_beam: float
    u_range: tuple
    regions: Regions
    cluster_centres: np.ndarray
    cluster_by: str
    noise: NoiseModel
    tail: str = ""
    microscope: dict = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)
    conditions: Conditions | None = None
    setting: tuple = ()
    origin: str = ""

    def __repr__(self):
        low, high = self.log_intensity_range
        at = ""
        if self.conditions is not None:
            at = ", with " + ", ".join(self.conditions.names)
            if self.setting:
                values = zip(self.conditions.names, self.setting, strict=True)
                at = ", at " + ", ".join(f"{name} {value:.4g}" for name, value in values)
            at += f" ({len(self.conditions.settings)} settings)"
        return (
            f"<Ensemble of {self.n_replicas} networks {list(self.layers)}, "
            f"FWHM {np.exp(self.log_fwhm[0]):.3g} eV, ln N0 {low:.2f} to {high:.2f}{at}>"
        )

    def at(self, **setting):
        """The same ensemble at a setting of the microscope, measured or not.

        Parameters
        ----------
        **setting : float
            A value for each condition that it was trained with, for example ``beam_energy=120``
            (keV) and ``exposure=0.5`` (s).

        Returns
        -------
        Ensemble
            Predicts, removes and fits as one that was trained there. Beyond the settings trained
            at its replicas are spread by a factor of one plus the distance, in units of half the
            range of the settings.

        Raises
        ------
        ValueError
            If it was not trained with conditions, or a value is missing or impossible.
        """
        if self.conditions is None:
            raise ValueError(
                f"at: expected an ensemble trained with conditions, got one without; it knows no "
                f"{', '.join(setting) or 'settings'}. Train with hyperspy_zlpml.train_zlp_ml([...], "
                "conditions=[...])."
            )
        values = self.conditions.checked(setting)
        (log_beam, log_fwhm), (_, sigma) = self.conditions.predicted(values)
        shift = float(log_beam - self.log_beam)
        mean = self.scaling.log_intensity_mean + shift
        low, high = self.log_intensity_range
        return replace(
            self, setting=values, origin=self.fingerprint, log_beam=self.log_beam + shift,
            log_fwhm=(float(log_fwhm), float(sigma)),
            scaling=replace(self.scaling, log_intensity_mean=mean),
            log_intensity_range=(low + shift, high + shift),
            spill=(self.spill[0] + shift, self.spill[1]),
        )  # fmt: skip

    @cached_property
    def _scaled_setting(self):
        """Of the conditions, where there are some."""
        if self.conditions is None:
            return ()
        return tuple(self.conditions.scaled(np.array(self.setting)))

    @property
    def n_replicas(self):
        """Number of networks."""
        return len(self.weights)

    def log_ratio(self, u, log_intensity):
        """Logarithm of the ratio to the common reference, for every replica.

        The output of its network, plus how its own reference differs from the common one.

        Parameters
        ----------
        u, log_intensity : ndarray of equal shape

        Returns
        -------
        ndarray of shape (n_replicas, ...)
        """
        u, log_intensity = np.broadcast_arrays(u, log_intensity)
        inputs = self.scaling(u.ravel(), log_intensity.ravel(), self._scaled_setting)
        inputs = inputs.astype(self.weights.dtype)
        own = self.grid.interpolate_rows(self.reference_modes.T.astype(float), u.ravel())
        values = self.reference_scores @ own.T
        for start in range(0, self.n_replicas, _REPLICAS_AT_ONCE):
            rows = slice(start, start + _REPLICAS_AT_ONCE)
            values[rows] += outputs_of(self.weights[rows], self.layers, inputs)
        return values.reshape((self.n_replicas,) + u.shape)

    def predict(self, energy, centre=0.0, fwhm=None, log_intensity=None, height=None, **setting):
        """Zero-loss peaks of all replicas.

        Parameters
        ----------
        energy : ndarray of shape (n_energy,)
            eV.
        centre : float
            Position of the peak, eV.
        fwhm : float, optional
            eV; default the mean of the spectra trained on, or what each replica takes the FWHM to
            be at the setting.
        log_intensity : float, optional
            ln N0; default that of the thinnest spectra trained on.
        height : float, optional
            Height of the reference peak, counts per channel. Default 1; at a setting, what each
            replica takes the beam to hold in channels as wide as those of ``energy``.
        **setting : float
            A value for each condition that it was trained with, see :meth:`at`. Where a time is
            among them (``exposure``, ``dwell_time``), counts are in proportion to it.

        Returns
        -------
        ndarray of shape (n_replicas, n_energy)
            Counts per channel.

        Raises
        ------
        ValueError
            If the energies are not at least two increasing numbers, the width is not positive, or
            a condition is missing or impossible.
        """
        energy = _checked_energy(energy)
        if fwhm is not None and not fwhm > 0:
            raise ValueError(f"fwhm: expected a positive number (eV), got {fwhm!r}.")
        one = self.at(**setting) if setting else self
        return one._predict(energy, centre, fwhm, log_intensity, height)

    def _predict(self, energy, centre, fwhm, log_intensity, height):
        log_intensity = self.log_intensity_range[1] if log_intensity is None else log_intensity
        shapes = self.log_shapes(np.array([log_intensity]))[:, 0]
        if not self.setting:
            fwhm = np.exp(self.log_fwhm[0]) if fwhm is None else fwhm
            u = (energy - centre) / fwhm
            height = 1.0 if height is None else height
            return height * np.exp(self.grid.interpolate_rows(shapes.T, u).T)
        log_n0, log_fwhm = self.conditions.of_replicas(self.setting)
        width = np.exp(log_fwhm) if fwhm is None else np.full(self.n_replicas, fwhm)
        if height is None:
            core = np.abs(self.grid.u) < 1
            area = trapezoid(np.exp(shapes[:, core]), self.grid.u[core], axis=1)
            channel = np.gradient(energy)
            log_n0 = log_n0 + log_intensity - self.log_beam
            height = np.exp(log_n0)[:, None] * channel / (area * width)[:, None]
        u = (energy - centre) / width[:, None]
        rows = [self.grid.interpolate(s, at) for s, at in zip(shapes, u, strict=True)]
        return height * np.exp(np.array(rows))

    def log_shapes(self, log_intensities):
        """Logarithm of the peaks of all replicas on the grid, with falling tails.

        Parameters
        ----------
        log_intensities : ndarray of shape (n,)
            ln N0.

        Returns
        -------
        ndarray of shape (n_replicas, n, grid.n)

        Raises
        ------
        ValueError
            If it was trained with conditions, and none are chosen.
        """
        if self.conditions is not None and not self.setting:
            names = ", ".join(f"{name}=..." for name in self.conditions.names)
            raise ValueError(
                f"setting: expected values of {list(self.conditions.names)}, which this ensemble was "
                f"trained with, got none; choose them with ensemble.at({names})."
            )
        ratio = self.log_ratio(self.grid.u[None, :], np.asarray(log_intensities)[:, None])
        shapes = level_ripples(self.log_reference + ratio, self.grid.u)
        if not self.setting:
            return shapes
        outside = self.conditions.outside(self.setting)
        if not outside:
            return shapes
        middle = np.median(shapes, axis=0)
        return middle + (1 + outside) * (shapes - middle)

    def tabulate(self, confidence=0.68):
        """Median, band and modes of the replicas on a grid of u times ln N0.

        Parameters
        ----------
        confidence : float
            Probability inside the band.

        Returns
        -------
        ShapeTable
        """
        low, high = self.log_intensity_range
        n_nodes = _N_THICKNESS_NODES if high > low else 1
        nodes = np.linspace(low, high, n_nodes)
        samples = self.log_shapes(nodes).reshape(self.n_replicas, -1)
        median, lower, upper = interval(samples, confidence)
        if self.n_replicas >= _FEWEST_FOR_STRAYS:
            samples = without_strays(samples)
        modes, rest = principal_modes(samples, _MODE_FLOOR, _MOST_MODES)
        lower, upper = self._quantiles(samples, confidence, lower, median, upper)
        shape = (n_nodes, self.grid.n)
        return ShapeTable(
            grid=self.grid,
            thickness_nodes=nodes,
            log_shape=median.reshape(shape),
            modes=modes.reshape((-1,) + shape),
            rest=rest.reshape(shape),
            scatter=self.scatter.astype(float),
            lower=lower.reshape(shape),
            upper=upper.reshape(shape),
            spill=np.stack([interpolate_rows(node, *self.spill) for node in nodes]),
        )

    def _quantiles(self, samples, confidence, lower, median, upper):
        """Quantiles in units of the standard deviation, from the median.

        Those of a normal distribution where the replicas agree, and on average for few replicas,
        whose sample quantiles lie too far inside.
        """
        normal = norm.ppf(0.5 + confidence / 2)
        spread = samples.std(0, ddof=min(1, self.n_replicas - 1))
        agree = spread < _MODE_FLOOR
        scale = np.where(agree, 1.0, spread)
        few = 1 + _FEW_REPLICAS / self.n_replicas
        below = np.where(agree, -normal, few * (lower - median) / scale)
        above = np.where(agree, normal, few * (upper - median) / scale)
        return below, above

    def with_scatter(self, scatter):
        """The same ensemble with another scatter of measured spectra."""
        return replace(self, scatter=scatter)

    @cached_property
    def fingerprint(self):
        """SHA-256 of all that predictions depend on: equal for equal models.

        :meth:`at` leaves it as it is: the setting is told beside.
        """
        from hyperspy_zlpml.ensemble_parts import fingerprint

        return self.origin or fingerprint(self)

    def plot_conditions(self, confidence=0.68):
        """Brightness, width and flank of the peak against each condition trained with.

        Points are what was measured, brought to the line by the law for the other conditions;
        grey is beyond the settings trained at.

        Parameters
        ----------
        confidence : float
            Probability inside the bands.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ValueError
            If it was not trained with conditions.
        """
        from hyperspy_zlpml.plot_ensemble import plot_conditions

        if not 0 < confidence < 1:
            raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence!r}.")
        if self.conditions is None:
            raise ValueError(
                "plot_conditions: expected an ensemble trained with conditions, got one without; "
                "train with hyperspy_zlpml.train_zlp_ml([...], conditions=[...])."
            )
        return plot_conditions(self, confidence)

    def save(self, path):
        """Write the ensemble to a file, for :func:`hyperspy_zlpml.load`.

        Arrays are stored by safetensors, everything else as JSON in its header; nothing in the
        file can run. A file of that name is replaced, and only when the new one is complete.

        Parameters
        ----------
        path : str or Path
            For example ``"ws2.zlp"``.
        """
        from hyperspy_zlpml.ensemble_file import save

        save(self, path)


def _checked_energy(energy):
    energy = np.asarray(energy, float)
    if energy.ndim != 1 or energy.size < 2 or not (np.diff(energy) > 0).all():
        raise ValueError(
            "energy: expected at least two increasing energies (eV) in one dimension, got an array "
            f"of shape {energy.shape}{' that is not increasing' * (energy.ndim == 1)}."
        )
    return energy
