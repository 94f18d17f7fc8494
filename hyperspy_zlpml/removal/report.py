# SPDX-License-Identifier: GPL-3.0-or-later
"""Report of a removal: what was done and how well, printed as a short table."""

from dataclasses import asdict, dataclass, field, replace

import numpy as np

from hyperspy_zlpml.compute.user_warnings import counted
from hyperspy_zlpml.ensemble import html
from hyperspy_zlpml.image.clusters import WORDS
from hyperspy_zlpml.image.quality import NOT_IN_BAND
from hyperspy_zlpml.registration.find_regions import GUESS
from hyperspy_zlpml.removal.checks import (
    RegionScan,
    VacuumCheck,
    at_least,
    describe_ratio,
    verdict,
)
from hyperspy_zlpml.removal.shared_errors import SharedErrors
from hyperspy_zlpml.training.summary import TrainingSummary

#: Smallest correlation of channels that is worth a word.
_SHOWN = 0.005
#: Median chi2 above which a message says that the networks miss the spectra.
_LARGEST_CHI2 = 100.0
#: What stands for the check on region I where nothing is claimed of the specimen's own peaks.
_NO_PURE = "not made: no spectra of the specimen were looked at that are pure ZLP below an E_I"
#: Columns of the limits in a table.
_LIMITS = ("gain limit", "E_I", "E_II (limits: eV from the peak)")


@dataclass(frozen=True)
class ClusterReport:
    """Line of the table of clusters; energies in eV from the peak.

    Attributes
    ----------
    name : str
    centre : float
        Mean of the proxy of thickness, ``cluster_by``; no energy.
    size : int
        Spectra in the cluster.
    gain_limit, E_I, E_II : float
        Limits of its regions.
    """

    name: str
    centre: float
    size: int
    gain_limit: float
    E_I: float
    E_II: float


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
    pure : SharedErrors
        Errors where spectra of the specimen are pure ZLP.
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
    n_set_aside : int
        Spectra with spikes, of those that were looked at: subtracted, but nothing is learnt from them.
    messages : tuple of str
        Warnings and decisions.
    proxy : "zlp", "total", "log_ratio" or "map"
        What the spectra were clustered by.

    Examples
    --------
    >>> from hyperspy_zlpml.removal.report import Report
    >>> report = Report(
    ...     noise="gain 1, read-out 30 counts (fitted)",
    ...     pedestal=0.0,
    ...     pedestal_note="none",
    ...     clusters=(),
    ...     n_replicas=100,
    ...     n_kept=97,
    ...     dropped={"not finite": 3},
    ...     chi2=400.0,
    ...     chi2_validation=420.0,
    ... )
    >>> report.complaints()[0][:54]
    'the networks miss the training spectra by 20 standard '
    """

    noise: str
    pedestal: float
    pedestal_note: str
    clusters: tuple[ClusterReport, ...]
    n_replicas: int
    n_kept: int
    dropped: dict[str, int]
    chi2: float
    chi2_validation: float
    vacuum: VacuumCheck | None = None
    scan: RegionScan | None = None
    pure: SharedErrors = field(default_factory=SharedErrors.none)
    tail: str = ""
    n_vacuum: int = 0
    n_reference: int = 0
    check_note: str = ""
    n_unusable: int = 0
    n_set_aside: int = 0
    messages: tuple[str, ...] = ()
    proxy: str = "zlp"

    @property
    def pure_ratio(self):
        """Errors that spectra of the specimen share in region I over those claimed, at the least."""
        return at_least(self.pure.ratio)

    @property
    def shared_errors(self):
        """Errors that spectra share, of the checks that were made, under their names (dict)."""
        found = {"region I of the specimen": self.pure}
        if self.vacuum is not None:
            found = {"vacuum kept from training": self.vacuum.shared, **found}
        return {name: errors for name, errors in found.items() if errors.distance.size}

    @property
    def verdicts(self):
        """Verdicts of the checks that were made, "passed", "doubtful" or "FAILED", by their names (dict)."""
        found = {}
        if self.vacuum is not None:
            found["check on vacuum"] = verdict(self.vacuum.error_ratio, self.vacuum.passed)
        if self.pure.distance.size:
            found["check on region I"] = verdict(self.pure_ratio)
        if self.scan is not None:
            found["E_I scan"] = "passed" if self.scan.stable.all() else "FAILED"
        return found

    @property
    def said_of_checks(self):
        """Line that says how the checks went, for maps of the removal (str)."""
        said = [f"{name} {word}" for name, word in self.verdicts.items()]
        if self.vacuum is None:
            said.append("no check on vacuum")
        if GUESS in self.tail:
            said.append("the tail is a guess")
        # The first words of a message say what is wrong, the others by how much and what to do.
        missing = [one.split(", ")[0] for one in self.messages if NOT_IN_BAND in one]
        return "; ".join([", ".join(said), *(f"{NOT_IN_BAND}: {one}" for one in missing)])

    def complaints(self):
        """Say what is wrong with the result.

        Returns
        -------
        list of str
            Sentences for the user.
        """
        found = []
        if self.chi2 > _LARGEST_CHI2:
            found.append(
                f"the networks miss the training spectra by {np.sqrt(self.chi2):.0f} standard errors "
                "of the cluster means: the peaks of a cluster differ in shape by more than its "
                "members share. Bands hold this scatter; look at the core before trusting the flank."
            )
        if self.vacuum is not None and not self.vacuum.passed:
            found.append(
                f"the check on vacuum spectra failed ({self.vacuum}). The error bars are too small: "
                "look at r.plot_checks(), at regions and at the spectra taken for vacuum."
            )
        if verdict(self.pure_ratio) == "FAILED":
            found.append(
                "the check on region I failed: below E_I, where specimen spectra are pure ZLP, errors "
                f"that they share are {self.pure_ratio:.2g} times as large as claimed. The error bars "
                "are too small: look at r.plot_checks(), at E_I, and at what the spectra have in common."
            )
        if self.scan is not None and not self.scan.stable.all():
            found_stable = zip(self.scan.clusters, self.scan.stable, strict=True)
            unsure = ", ".join(str(name) for name, stable in found_stable if not stable)
            found.append(
                f"E_I of cluster(s) {unsure} lies where the signal depends on it: spectra matched "
                "below lower limits leave more. Look at r.plot_regions(), and lower E_I by "
                "regions=dict(E_I=...) until the curve before it is level."
            )
        if GUESS in self.tail:
            found.append(
                f"no vacuum is known and the spectra do not tell the tail of the ZLP: {self.tail}. "
                "It can be wrong by a factor of two, and the band is as wide as measured peaks differ; "
                "give vacuum=... if you can (True where every pixel is vacuum), or regions=dict(E_I=...)."
            )
        return found

    def __str__(self):
        lines = [
            "Zero-loss peak removal",
            f"  noise       {self.noise}",
            f"  pedestal    {self.pedestal_note}",
            *self._cluster_lines(),
            *self._training_lines(),
            *self._vacuum_lines(),
        ]
        lines.append(f"  region I    check {self._pure_check() or _NO_PURE}")
        if self.scan is not None:
            lines.append(f"  E_I scan    {self.scan} eV (cluster)")
        lines += [f"  {name:12}{count}" for name, count in self._counts()]
        lines += [f"  note        {message}" for message in self.messages]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self):
        """Write the report as a table of HTML, with the verdicts of the checks in colour."""
        rows = [
            ("noise", html.text(self.noise)),
            ("pedestal", html.text(self.pedestal_note)),
            ("clusters", self._cluster_grid()),
            *_named_once(line for line in self._training_lines()),
            *self._vacuum_rows(),
        ]
        checked = self._pure_check()
        said = _verdict(checked) if checked else html.coloured(_NO_PURE, "note")
        rows.append(("region I", f"check {said}"))
        if self.scan is not None:
            rows.append(("E_I scan", html.text(f"{self.scan} eV (cluster)")))
        rows += [(name, html.text(count)) for name, count in self._counts()]
        rows += [("note", html.coloured(message, "note")) for message in self.messages]
        return html.table(rows, "Zero-loss peak removal")

    def _counts(self):
        """Count the spectra that are not as the others, by what became of them."""
        rows = (
            ("left out", self.n_unusable, ", NaN in every result"),
            ("set aside", self.n_set_aside, " with spikes: nothing is learnt from them"),
        )
        return [(name, f"{_spectra(count)}{what}") for name, count, what in rows if count]

    def _pure_check(self):
        """Say how the check on region I went; empty where none was made."""
        if not self.pure.distance.size:
            return ""
        said = describe_ratio(self.pure_ratio)
        return f"{verdict(self.pure_ratio)}: ZLPs of the specimen below E_I, {said}"

    def _cluster_grid(self):
        name, meaning = WORDS[self.proxy]
        header = ("cluster", "spectra", f"mean {name} ({meaning})", *_LIMITS)
        return html.grid(
            header,
            [
                (c.name, str(c.size), f"{c.centre:.3g}", *map(_energy, _limits_of(c)))
                for c in self.clusters
            ],
        )

    def _vacuum_rows(self):
        """Write the lines about vacuum, the verdict of its check in colour."""
        rows = _named_once(line for line in self._vacuum_lines() if " check " not in line)
        if self.vacuum is not None:
            rows.append(("", f"check {_verdict(str(self.vacuum))}"))
        elif self.check_note:
            rows.append(("", html.coloured(f"check not made: {self.check_note}", "note")))
        return rows

    def _cluster_lines(self):
        name, meaning = WORDS[self.proxy]
        lines = [
            f"  clusters    name      spectra   {name:<9} gain limit   E_I      E_II   "
            f"({meaning}; limits: eV from the peak)"
        ]
        for c in self.clusters:
            limits = "  ".join(_energy(value) for value in _limits_of(c))
            lines.append(f"              {c.name:<9} {c.size:>7}   {c.centre:>6.3g}    {limits}")
        return lines

    def _training_lines(self):
        lines = [f"  replicas    {self.n_kept} of {self.n_replicas} kept"]
        lines += [f"              {n} dropped: {reason}" for reason, n in self.dropped.items()]
        if np.isfinite(self.chi2):
            lines.append(
                f"  chi2        {self.chi2:.3g} on training points, "
                f"{self.chi2_validation:.3g} on validation points"
            )
        return lines

    def _vacuum_lines(self):
        vacuum = "no vacuum in view"
        if self.n_vacuum:
            vacuum = f"{counted(self.n_vacuum, 'pixel', 'pixels')} taken for vacuum"
        if self.n_reference:
            vacuum += f", {_spectra(self.n_reference)} measured separately"
        lines = [f"  vacuum      {vacuum}"]
        if self.tail:
            lines.append(f"  tail        {self.tail}")
        if self.vacuum is not None:
            lines.append(f"              check {self.vacuum}")
        elif self.check_note:
            lines.append(f"              check not made: {self.check_note}")
        return lines


def build_report(image, clusters, fitted, checks, *, n_reference, messages):
    """Build the report of a removal.

    Parameters
    ----------
    image : Image
    clusters : Clusters
    fitted : Fitted
    checks : Checks
    n_reference : int
        Spectra of a separate vacuum measurement.
    messages : sequence of str
        What was noticed on the way.

    Returns
    -------
    Report
        Its complaints are among its messages.
    """
    n = fitted.ensemble.n_replicas
    before = TrainingSummary(n, n, dropped={}, chi2=np.nan, chi2_validation=np.nan)
    detector = image.detector
    report = Report(
        noise=_describe_noise(detector.noise),
        pedestal=detector.pedestal,
        pedestal_note=detector.pedestal_note,
        clusters=_cluster_rows(clusters, fitted.adapted.regions),
        **asdict(fitted.training or before),
        vacuum=checks.vacuum,
        scan=checks.scan,
        pure=checks.pure,
        tail=fitted.ensemble.seen.tail,
        n_vacuum=int(image.vacuum.sum()),
        n_reference=n_reference,
        check_note=checks.note,
        n_unusable=int((~image.usable).sum()),
        n_set_aside=int(image.set_aside.sum()),
        messages=tuple(messages),
        proxy=clusters.proxy,
    )
    return replace(report, messages=(*report.messages, *report.complaints()))


def _describe_noise(noise):
    text = f"gain {noise.gain:.3g}, read-out {noise.readout:.3g} counts ({noise.source})"
    if len(noise.correlation) > 1:
        own, *beside = (f"{value:.2f}" for value in noise.correlation if value > _SHOWN)
        text += (
            f"; each channel keeps {own} of its noise, those beside have {', '.join(beside)} of it"
        )
    return text


def _cluster_rows(clusters, regions):
    return tuple(
        ClusterReport(
            name=str(number),
            centre=float(clusters.centres[number]),
            size=int(clusters.sizes[number]),
            gain_limit=float(regions.gain_limit[number]),
            E_I=float(regions.E_I[number]),
            E_II=float(regions.E_II[number]),
        )
        for number in range(len(clusters.centres))
    )


def _spectra(number):
    return counted(number, "spectrum", "spectra")


def _limits_of(cluster):
    return cluster.gain_limit, cluster.E_I, cluster.E_II


def _named_once(lines):
    """Split lines of the report into their names and what they say, as HTML."""
    return [(line[:14].strip(), html.text(line[14:])) for line in lines]


def _verdict(sentence):
    """Write a sentence whose first word is a verdict, that in colour."""
    word, rest = sentence.split(":", 1)
    return html.coloured(word, word.lower()) + html.text(f":{rest}")


def _energy(value):
    return f"{value:>9.3g}" if np.isfinite(value) else "     none"
