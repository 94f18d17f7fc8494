# SPDX-License-Identifier: GPL-3.0-or-later
"""What was done and how well: the report of a removal, printed as a short table."""

from dataclasses import dataclass

import numpy as np

#: Median chi2 above which the fits deserve a word.
_LARGEST_CHI2 = 100.0
#: A signal that changes by less than this many errors plus this part of itself is level.
_LEVEL_ERRORS, _LEVEL_PART = 1.5, 0.02
#: Said of a tail that nothing measured tells.
_GUESS = "a guess"


def describe_tail(limit, n_spectra):
    """How the tail of the ZLP was found without vacuum.

    Parameters
    ----------
    limit : float
        eV from the peak, beyond which no spectrum shows it by itself.
    n_spectra : int or None
        Spectra extrapolated to zero thickness; None where they do not tell.
    """
    if n_spectra is None:
        return f"beyond {limit:.3g} eV the gain side, raised to join the loss side: {_GUESS}"
    return f"beyond {limit:.3g} eV extrapolated to zero thickness from {n_spectra} spectra"


@dataclass(frozen=True)
class ClusterReport:
    """One line of the table of clusters; energies in eV from the peak."""

    name: str
    centre: float
    size: int
    gain_limit: float
    E_I: float
    E_II: float


@dataclass(frozen=True)
class VacuumCheck:
    """Vacuum pixels subtracted as if they were specimen, matched below ``E_I`` only.

    Attributes
    ----------
    n_spectra : int
    residual : float
        Mean subtracted integral over ``window`` divided by the ZLP's own.
    pull : float
        Root mean square of that integral in units of its claimed error.
    coverage : float
        Fraction of the spectra whose integral the band contains.
    confidence : float
        What the coverage should be.
    window : tuple of float
        eV from the peak.
    """

    n_spectra: int
    residual: float
    pull: float
    coverage: float
    confidence: float
    window: tuple

    @property
    def passed(self):
        """Whether the errors found agree with the errors claimed within a factor of two."""
        return bool(self.pull < 2.0)

    def __str__(self):
        verdict = "passed" if self.passed else "FAILED"
        return (
            f"{verdict}: {self.n_spectra} vacuum spectra predicted from below {self.window[0]:.3g} eV "
            f"over {self.window[0]:.3g}-{self.window[1]:.3g} eV: mean residual {self.residual:+.2%} "
            f"of the ZLP, rms pull {self.pull:.2f}, {self.coverage:.0%} inside the "
            f"{self.confidence:.0%} band"
        )


@dataclass(frozen=True)
class RegionScan:
    """Signal above ``E_I`` against the limit below which spectra are matched; see ``plot_regions``.

    Attributes
    ----------
    clusters : tuple of int
        Those looked at; a cluster of vacuum alone, or without ``E_I``, is missing.
    E_I : ndarray of shape (n_clusters,)
        eV from the peak.
    factors : ndarray of shape (n_factors,)
        Limits tried, in units of ``E_I``, increasing.
    windows : ndarray of shape (n_clusters, 2)
        Energies integrated over, eV from the peak.
    integral, error : ndarray of shape (n_clusters, n_factors)
        Mean subtracted signal over the window, and the error that the ZLP model makes in it, in
        units of the ZLP found there with ``E_I`` as it is.
    """

    clusters: tuple
    E_I: np.ndarray
    factors: np.ndarray
    windows: np.ndarray
    integral: np.ndarray
    error: np.ndarray

    @classmethod
    def of(cls, rows, factors):
        """From (cluster, E_I, window, integrals, errors) of each cluster."""
        names, *columns = zip(*rows, strict=True)
        limits, windows, integrals, errors = (np.array(values) for values in columns)
        return cls(names, limits, factors, windows, integrals, errors)

    @property
    def level_up_to(self):
        """Highest limit, in eV, up to which the signal is that of the lowest limit; (n_clusters,).

        It may change by one and a half times the larger of the two errors and by 2 %.
        """
        larger = np.maximum(self.error, self.error[:, :1])
        allowed = _LEVEL_ERRORS * larger + _LEVEL_PART * np.abs(self.integral[:, :1])
        level = np.abs(self.integral - self.integral[:, :1]) <= allowed
        last = np.array([np.append(row, False).argmin() - 1 for row in level])
        return self.factors[np.maximum(last, 0)] * self.E_I

    @property
    def stable(self):
        """Whether ``E_I`` of each cluster lies where the signal does not depend on it yet."""
        return self.level_up_to >= (1 - 1e-9) * self.E_I

    def __str__(self):
        found = zip(self.clusters, self.level_up_to, strict=True)
        return "signal level up to " + ", ".join(f"{limit:.3g} ({n})" for n, limit in found)


@dataclass(frozen=True)
class Report:
    """Report of a training and of its application.

    Attributes
    ----------
    noise : str
    pedestal : float
        Counts per channel taken off before anything else.
    pedestal_note : str
    clusters : tuple of ClusterReport
    n_replicas, n_kept : int
    dropped : dict of str to int
        Replicas dropped, by reason.
    chi2, chi2_validation : float
        Medians over the replicas kept.
    vacuum : VacuumCheck or None
        Not made without vacuum pixels to spare.
    scan : RegionScan or None
        Stability against ``E_I``; None where no cluster has one.
    tail : str
        How the tail of the ZLP was found without vacuum.
    n_vacuum : int
        Pixels taken for vacuum.
    n_reference : int
        Spectra of a separate vacuum measurement.
    check_note : str
        Why no check on vacuum was made.
    n_unusable : int
        Spectra without a usable peak, NaN in every result.
    messages : tuple of str
        Warnings and decisions.
    """

    noise: str
    pedestal: float
    pedestal_note: str
    clusters: tuple
    n_replicas: int
    n_kept: int
    dropped: dict
    chi2: float
    chi2_validation: float
    vacuum: VacuumCheck | None = None
    scan: RegionScan | None = None
    tail: str = ""
    n_vacuum: int = 0
    n_reference: int = 0
    check_note: str = ""
    n_unusable: int = 0
    messages: tuple = ()

    @classmethod
    def of_given_ensemble(cls, ensemble, detector, clusters, regions, messages=()):
        """Report of applying an ensemble that was trained before."""
        return cls(
            noise=describe_noise(detector.noise),
            pedestal=detector.pedestal,
            pedestal_note=detector.pedestal_note,
            clusters=cluster_rows(clusters.centres, clusters.sizes, regions),
            n_replicas=ensemble.n_replicas,
            n_kept=ensemble.n_replicas,
            dropped={},
            chi2=np.nan,
            chi2_validation=np.nan,
            tail=ensemble.seen.tail,
            messages=clusters.messages + messages,
        )

    def complaints(self):
        """What is wrong with the result, as sentences."""
        told = []
        if self.chi2 > _LARGEST_CHI2:
            told.append(
                f"the networks miss the training spectra by {np.sqrt(self.chi2):.0f} standard errors "
                "of the cluster means: the peaks of a cluster differ in shape by more than its "
                "members share. Bands hold this scatter; look at the core before trusting the flank."
            )
        if self.vacuum is not None and not self.vacuum.passed:
            told.append(
                f"the check on vacuum spectra failed ({self.vacuum}). The error bars are too small: "
                "look at regions and at the spectra taken for vacuum."
            )
        if self.scan is not None and not self.scan.stable.all():
            unsure = zip(self.scan.clusters, self.scan.stable, strict=True)
            unsure = ", ".join(str(name) for name, stable in unsure if not stable)
            told.append(
                f"E_I of cluster(s) {unsure} lies where the signal depends on it: spectra matched "
                "below lower limits leave more. Look at r.plot_regions(), and lower E_I by "
                "regions=dict(E_I=...) until the curve before it is level."
            )
        if _GUESS in self.tail:
            told.append(
                f"no vacuum is known and the spectra do not tell the tail of the ZLP: {self.tail}. "
                "It can be wrong by a factor of two; give vacuum=... if you can."
            )
        return told

    def __str__(self):
        lines = [
            "Zero-loss peak removal",
            f"  noise       {self.noise}",
            f"  pedestal    {self.pedestal_note}",
            "  clusters    name      spectra   centre    gain limit   E_I      E_II   (eV from the peak)",
        ]
        for c in self.clusters:
            limits = "  ".join(_energy(value) for value in (c.gain_limit, c.E_I, c.E_II))
            lines.append(f"              {c.name:<9} {c.size:>7}   {c.centre:>6.3g}    {limits}")
        lines.append(f"  replicas    {self.n_kept} of {self.n_replicas} kept")
        lines += [f"              {n} dropped: {reason}" for reason, n in self.dropped.items()]
        if np.isfinite(self.chi2):
            lines.append(
                f"  chi2        {self.chi2:.3g} on training points, "
                f"{self.chi2_validation:.3g} on validation points"
            )
        found = f"{self.n_vacuum} pixels taken for vacuum" if self.n_vacuum else "no vacuum in view"
        if self.n_reference:
            found += f", {self.n_reference} spectra measured separately"
        lines.append(f"  vacuum      {found}")
        if self.tail:
            lines.append(f"  tail        {self.tail}")
        if self.vacuum is not None:
            lines.append(f"              check {self.vacuum}")
        elif self.check_note:
            lines.append(f"              check not made: {self.check_note}")
        if self.scan is not None:
            lines.append(f"  E_I scan    {self.scan} eV (cluster)")
        if self.n_unusable:
            lines.append(f"  left out    {self.n_unusable} spectra, NaN in every result")
        lines += [f"  note        {message}" for message in self.messages]
        return "\n".join(lines)

    __repr__ = __str__


def describe_noise(noise):
    """One line about a noise model."""
    return f"gain {noise.gain:.3g}, read-out {noise.readout:.3g} counts ({noise.source})"


def cluster_rows(centres, sizes, regions):
    """The table of clusters."""
    return tuple(
        ClusterReport(
            str(i),
            float(centres[i]),
            int(sizes[i]),
            *(float(getattr(regions, name)[i]) for name in ("gain_limit", "E_I", "E_II")),
        )
        for i in range(len(centres))
    )


def _energy(value):
    return f"{value:>9.3g}" if np.isfinite(value) else "     none"
