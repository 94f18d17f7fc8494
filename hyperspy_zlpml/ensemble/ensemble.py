# SPDX-License-Identifier: GPL-3.0-or-later
"""Ensemble: networks, reference, spectra seen and origin of a trained model, frozen.

Use :meth:`~hyperspy_zlpml.Ensemble.predict` for whole replicas, :meth:`~hyperspy_zlpml.Ensemble.tabulate` for the application to
an image: the median, the band and the principal modes of the replicas on a grid, so that the cost
per pixel does not depend on their number. NumPy alone predicts.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.integrate import trapezoid

from hyperspy_zlpml import arguments
from hyperspy_zlpml.ensemble import file, html, tabulation
from hyperspy_zlpml.ensemble.conditions import Conditions
from hyperspy_zlpml.ensemble.parts import fingerprint
from hyperspy_zlpml.ensemble.records import Beside, Networks, Origin, Reference, SeenSpectra
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.zlp.residual import CoherentResidual
from hyperspy_zlpml.zlp.tails import level_ripples

#: ln N0 that spectra can have, whatever their counts mean.
_LOG_INTENSITIES = (-100.0, 100.0)
#: How conditions come into an ensemble.
_TRAIN_WITH_CONDITIONS = (
    "hyperspy_zlpml.train_zlp_ml(signals, conditions={'beam_energy': [60, 200]}), for two signals."
)


@dataclass(frozen=True)
class Ensemble:
    """Trained ensemble of networks for the shape of the zero-loss peak.

    The ZLP of replica ``k`` at reduced energy ``u = (E - E0) / FWHM`` in a spectrum of peak
    intensity ``N0`` is ``height * exp(log_reference_k(u) + network_k(u, ln N0))``, where the
    reference of each replica is drawn within the errors of the common one: where the data teach a
    network nothing, it stays as uncertain as the reference is.

    Attributes
    ----------
    networks : Networks
    reference : Reference
    seen : SeenSpectra
        Spectra trained on; at a setting, as they would be there.
    origin : Origin
    conditions : Conditions or None
        Settings of the microscope that are inputs of the networks, and the laws that width and
        brightness follow.
    setting : tuple of float
        Values of the conditions that it stands at, see :meth:`at`.

    Examples
    --------
    >>> import hyperspy_zlpml.data
    >>> s = hyperspy_zlpml.data.ws2_like((6, 6), random_state=0).signal
    >>> ensemble = s.train_zlp_ml(n_replicas=4, random_state=0, show_progressbar=False)
    >>> ensemble.n_replicas
    4
    >>> ensemble.predict([-0.1, 0.0, 0.1]).shape
    (4, 3)

    Thicker specimens have the smaller N0; networks tell how the shape of the peak follows it:

    >>> low, high = ensemble.seen.log_intensity_range
    >>> thick, thin = ensemble.log_shapes([low, high]).swapaxes(0, 1)
    >>> thick.shape == (4, ensemble.grid.n), bool((thick == thin).all())
    (True, False)
    """

    networks: Networks
    reference: Reference
    seen: SeenSpectra
    origin: Origin = field(default_factory=Origin)
    conditions: Conditions | None = None
    setting: tuple[float, ...] = ()

    def __repr__(self):
        low, high = self.seen.log_intensity_range
        return (
            f"<Ensemble of {self.n_replicas} networks {list(self.networks.layers)}, "
            f"FWHM {np.exp(self.seen.log_fwhm.mean):.3g} eV, ln N0 {low:.2f} to {high:.2f}"
            f"{self._described_setting()}>"
        )

    def _repr_html_(self):
        """Write what it is and what it has seen as a table of HTML."""
        seen = self.seen
        low, high = seen.log_intensity_range
        limits = ", ".join(f"{value:.3g}" for value in seen.regions.E_I)
        rows = {
            "networks": f"{self.n_replicas}, layers {list(self.networks.layers)}",
            "trained on": str(self.origin.provenance.get("title") or ""),
            "microscope": ", ".join(f"{k} {v:.4g}" for k, v in self.origin.microscope.items()),
            "conditions": self._described_setting().removeprefix(", "),
            "FWHM": f"{np.exp(seen.log_fwhm.mean):.3g} eV",
            "ln N0": f"{low:.2f} to {high:.2f}",
            "E_I": f"{limits} eV from the peak, thinnest cluster first",
            "tail": seen.tail,
        }
        said = [(name, html.text(value)) for name, value in rows.items() if value]
        return html.table(said, "Ensemble of zero-loss peaks")

    def _described_setting(self):
        """Say in words which conditions it was trained with, and where it stands."""
        if self.conditions is None:
            return ""
        names = self.conditions.names
        n_settings = f" ({len(self.conditions.settings)} settings)"
        if not self.setting:
            return f", with {', '.join(names)}{n_settings}"
        values = zip(names, self.setting, strict=True)
        return f", at {', '.join(f'{name} {value:.4g}' for name, value in values)}{n_settings}"

    def at(self, **setting):
        """Take the ensemble to a setting of the microscope, measured or not.

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

        Examples
        --------
        Trained at 0.1 s and 0.4 s, taken to 0.2 s, where the counts are half of those at 0.4 s:

        >>> import numpy as np
        >>> from hyperspy_zlpml import train_zlp_ml
        >>> from hyperspy_zlpml.data import vacuum_at_settings
        >>> samples = vacuum_at_settings((200.0,), (0.1, 0.4), (3, 3), random_state=0)
        >>> ensemble = train_zlp_ml(
        ...     [sample.signal for sample in samples],
        ...     conditions=["exposure"],
        ...     n_replicas=4,
        ...     random_state=0,
        ...     show_progressbar=False,
        ... )
        >>> log_beams = [ensemble.at(exposure=time).seen.log_beam for time in (0.2, 0.4)]
        >>> round(float(np.exp(np.diff(log_beams)[0])), 1)
        2.0
        """
        if self.conditions is None:
            raise ValueError(
                f"at: expected an ensemble trained with conditions, got one without; it knows no "
                f"{', '.join(setting) or 'settings'}. Train with {_TRAIN_WITH_CONDITIONS}"
            )
        values = self.conditions.checked(setting)
        mean, sigma = self.conditions.predicted(values)
        log_beam, log_fwhm = mean
        shift = float(log_beam - self.seen.log_beam)
        low, high = self.seen.log_intensity_range
        scaling = self.networks.scaling
        scaling = replace(scaling, log_intensity_mean=scaling.log_intensity_mean + shift)
        return replace(
            self,
            networks=replace(self.networks, scaling=scaling),
            reference=replace(self.reference, spill=self.reference.spill.shifted(shift)),
            seen=replace(
                self.seen,
                log_beam=self.seen.log_beam + shift,
                log_fwhm=Normal(float(log_fwhm), float(sigma[1])),
                log_intensity_range=Range(low + shift, high + shift),
            ),
            origin=replace(self.origin, fingerprint=self.fingerprint),
            setting=values,
        )

    @cached_property
    def _scaled_setting(self):
        """Values of the conditions between -1 and 1, empty where there are none."""
        if self.conditions is None:
            return ()
        return tuple(self.conditions.scaled(np.array(self.setting)))

    @property
    def n_replicas(self):
        """Number of networks."""
        return len(self.networks.weights)

    @property
    def grid(self):
        """Grid on which the reference and the tables live."""
        return self.reference.grid

    def log_ratio(self, u, log_intensity):
        """Compute the logarithm of the ratio to the common reference, for every replica.

        It is the output of the replica's network, plus how its own reference differs from the
        common one.

        Parameters
        ----------
        u, log_intensity : ndarray of shape (...)
            Reduced energies and ln N0; they broadcast.

        Returns
        -------
        ndarray of shape (n_replicas, ...)
        """
        u = arguments.finite_array(u, "u")
        log_intensity = arguments.finite_array(log_intensity, "log_intensity")
        u, log_intensity = arguments.broadcast({"u": u, "log_intensity": log_intensity})
        values = self.reference.deviations(u.ravel())
        self.networks.add_outputs(values, u.ravel(), log_intensity.ravel(), self._scaled_setting)
        return values.reshape((self.n_replicas,) + u.shape)

    def predict(self, energy, centre=0.0, fwhm=None, log_intensity=None, height=None, **setting):
        """Predict the zero-loss peaks of all replicas.

        Parameters
        ----------
        energy : ndarray of shape (n_energy,)
            Energies of the channels, eV.
        centre : float
            Position of the peak, eV.
        fwhm : float, optional
            Full width at half maximum, eV; default the mean of the spectra trained on, or what each
            replica takes it to be at the setting.
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
        arguments.number(centre, "centre")
        if fwhm is not None:
            arguments.positive(fwhm, "fwhm", "eV")
        if log_intensity is not None:
            arguments.within(log_intensity, "log_intensity", *_LOG_INTENSITIES)
        if height is not None:
            arguments.positive(height, "height", "counts per channel")
        one = self.at(**setting) if setting else self
        if log_intensity is None:
            log_intensity = one.seen.log_intensity_range.high
        shapes = one.log_shapes(np.array([log_intensity]))[:, 0]
        if one.setting:
            height, widths = one._heights_and_widths(
                energy, shapes, fwhm=fwhm, log_intensity=log_intensity, height=height
            )
            u = (energy - centre) / widths
            rows = [one.grid.interpolate(row, at) for row, at in zip(shapes, u, strict=True)]
            return height * np.exp(np.array(rows))
        fwhm = np.exp(one.seen.log_fwhm.mean) if fwhm is None else fwhm
        height = 1.0 if height is None else height
        u = (energy - centre) / fwhm
        return height * np.exp(one.grid.interpolate_rows(shapes.T, u).T)

    def _heights_and_widths(self, energy, shapes, *, fwhm, log_intensity, height):
        """Find height, a number or of shape (n_replicas, n_energy), and FWHM (n_replicas, 1)."""
        log_n0, log_fwhm = self.conditions.of_replicas(self.setting)
        width = np.exp(log_fwhm) if fwhm is None else np.full(self.n_replicas, fwhm)
        if height is None:
            core = np.abs(self.grid.u) < 1
            area = trapezoid(np.exp(shapes[:, core]), self.grid.u[core], axis=1)
            channel = np.gradient(energy)
            log_n0 = log_n0 + log_intensity - self.seen.log_beam
            height = np.exp(log_n0)[:, None] * channel / (area * width)[:, None]
        return height, width[:, None]

    def check_setting(self):
        """Raise ValueError if it was trained with conditions and none are chosen.

        Raises
        ------
        ValueError
            If it stands at no setting; the message names the conditions.
        """
        if self.conditions is not None and not self.setting:
            names = ", ".join(f"{name}=..." for name in self.conditions.names)
            raise ValueError(
                f"setting: expected values of {list(self.conditions.names)}, which this ensemble "
                f"was trained with, got none; choose them with ensemble.at({names})."
            )

    def log_shapes(self, log_intensities):
        """Compute the logarithm of the peaks of all replicas on the grid, with falling tails.

        Parameters
        ----------
        log_intensities : array_like of shape (n,)
            ln N0.

        Returns
        -------
        ndarray of shape (n_replicas, n, grid.n)

        Raises
        ------
        ValueError
            If it was trained with conditions, and none are chosen.
        """
        log_intensities = arguments.finite_array(log_intensities, "log_intensities")
        if log_intensities.ndim != 1:
            arguments.refuse(log_intensities, "log_intensities", "numbers in one dimension")
        self.check_setting()
        ratio = self.log_ratio(self.grid.u[None, :], log_intensities[:, None])
        shapes = level_ripples(self.reference.log_shape + ratio, self.grid.u)
        outside = self.conditions.outside(self.setting) if self.setting else 0.0
        if not outside:
            return shapes
        middle = np.median(shapes, axis=0)
        return middle + (1 + outside) * (shapes - middle)

    def tabulate(self, confidence=0.68):
        """Tabulate median, band and modes of the replicas on a grid of u times ln N0.

        Parameters
        ----------
        confidence : float
            Probability inside the band.

        Returns
        -------
        ShapeTable

        Raises
        ------
        ValueError
            If it was trained with conditions, and none are chosen.
        """
        confidence = float(arguments.probability(confidence, "confidence"))
        if confidence not in self._replicas:
            self._replicas[confidence] = tabulation.of_replicas(self, confidence)
        kept = self._replicas[confidence]
        # Tables are the caller's own.
        return tabulation.tabulate(self, kept._make(values.copy() for values in kept))

    @cached_property
    def _replicas(self):
        """Median, band and modes of the replicas by their confidence, as they were asked for."""
        return {}

    def with_scatter(self, scatter, residual=None, beside=None):
        """Take another scatter of measured spectra about their shapes.

        Parameters
        ----------
        scatter : ndarray of shape (grid.n,)
            Relative standard deviation.
        residual : CoherentResidual, optional
            What all of them share beside the shapes; by default what it was.
        beside : Beside, optional
            What single spectra show beside; by default what it was.

        Returns
        -------
        Ensemble
        """
        scatter = arguments.finite_array(scatter, "scatter", (self.grid.n,))
        if (scatter < 0).any():
            arguments.refuse(scatter, "scatter", "relative standard deviations of at least 0")
        if residual is not None:
            arguments.instance(residual, "residual", CoherentResidual)
        if beside is not None:
            arguments.instance(beside, "beside", Beside)
        reference = replace(
            self.reference,
            scatter=scatter,
            residual=residual or self.reference.residual,
            beside=beside or self.reference.beside,
        )
        return self._with(reference=reference)

    def with_origin(self, origin):
        """Take another account of what the ensemble was trained on.

        Parameters
        ----------
        origin : Origin

        Returns
        -------
        Ensemble
        """
        return self._with(origin=arguments.instance(origin, "origin", Origin))

    def _with(self, **changes):
        """Change what is known beside the replicas, which stay what they are, and what was computed of them."""
        other = replace(self, **changes)
        vars(other)["_replicas"] = self._replicas
        return other

    def __getstate__(self):
        """Leave out what can be computed again: other processes are sent a quarter of the bytes."""
        return {name: value for name, value in vars(self).items() if name != "_replicas"}

    @cached_property
    def fingerprint(self):
        """SHA-256 of all that predictions depend on: equal for equal models.

        :meth:`at` leaves it as it is: the setting is named beside it.
        """
        return self.origin.fingerprint or fingerprint(self)

    def plot_conditions(self, confidence=0.68):
        """Plot brightness, width and flank of the peak against each condition trained with.

        Points are measured, brought to the line by the law for the other conditions; grey is
        beyond the settings trained at.

        Parameters
        ----------
        confidence : float
            Probability inside the bands.

        Returns
        -------
        list of matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If it was not trained with conditions.
        """
        from hyperspy_zlpml.ensemble.figure import plot_conditions

        arguments.probability(confidence, "confidence")
        if self.conditions is None:
            raise ValueError(
                "plot_conditions: expected an ensemble trained with conditions, got one without; "
                f"train with {_TRAIN_WITH_CONDITIONS}"
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

        Raises
        ------
        EnsembleFileError
            If it is larger than :func:`hyperspy_zlpml.load` reads, or no ensemble that predicts.
        OSError
            If the file cannot be written.
        """
        file.save(self, arguments.path(path, "path"))


def _checked_energy(energy):
    """Convert energies to an array; raise ValueError unless they are two or more and increase."""
    energy = arguments.finite_array(energy, "energy")
    if energy.ndim == 1 and energy.size >= 2 and (np.diff(energy) > 0).all():
        return energy
    found = f"an array of shape {energy.shape}"
    if energy.ndim == 1:
        found += " that is not increasing"
    raise ValueError(
        f"energy: expected at least two increasing energies (eV) in one dimension, got {found}."
    )
