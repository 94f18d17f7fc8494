# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a removal on the user's own data: held-out vacuum, and stability against ``E_I``."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from hyperspy_zlpml.compute.blocks import side_by_side, together
from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.image.samples import FEWEST_TO_HOLD_OUT
from hyperspy_zlpml.removal.shared_errors import SharedErrors, shared_errors
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.zlp.matching import KnownPeaks

#: Vacuum spectra are predicted from E_I up to this many FWHM ...
_CHECK_UP_TO = 8.0
#: ... or this many times E_I.
_CHECK_AT_LEAST_TO = 1.5
#: Limits tried, in units of ``E_I``.
FACTORS = np.linspace(0.6, 1.5, 10)
#: Spectra looked at in each cluster.
_SPECTRA_SCANNED = 24
#: Clusters of fewer spectra are left out beside larger ones: what a spectrum's own counts do to its match
#: does not average out in them, and changes the signal by 1.5 errors one time in eight.
_FEWEST_SCANNED = 4
#: The signal looked at lies above ``E_I``, this many FWHM wide.
_SCANNED_WIDTH = 2.0
#: A signal that changes by less than this many errors ...
_LEVEL_ERRORS = 1.5
#: ... plus this fraction of itself is level.
_LEVEL_FRACTION = 0.02
#: Errors found are smaller than this many errors claimed where the check is passed.
_LARGEST_PULL = 2.0
#: The same for errors free of counting noise.
_LARGEST_RATIO = 1.5


@dataclass(frozen=True)
class VacuumCheck:
    """Result of subtracting vacuum pixels as if they were specimen, matched below ``E_I`` only.

    Attributes
    ----------
    n_spectra : int
        Vacuum spectra held out.
    residual : float
        Mean subtracted integral over ``window`` divided by the ZLP's own.
    pull : float
        Root mean square of that integral in units of its claimed error.
    coverage : float
        Fraction of the spectra whose integral the band contains.
    confidence : float
        What the coverage should be.
    window : Range
        Energies from the peak, eV.
    error_ratio : float
        Errors of the ZLP found, over those claimed, at the least: of single channels in the mean of
        the spectra, or of the integrals.
    shared : SharedErrors, optional
        Those of the single channels.

    Examples
    --------
    Errors twice as large as claimed are not accepted:

    >>> from hyperspy_zlpml.removal.checks import VacuumCheck
    >>> from hyperspy_zlpml.statistics import Normal, Range
    >>> check = VacuumCheck(
    ...     n_spectra=20,
    ...     residual=0.003,
    ...     pull=2.4,
    ...     coverage=0.3,
    ...     confidence=0.68,
    ...     window=Range(1.2, 3.6),
    ... )
    >>> check.passed
    False
    """

    n_spectra: int
    residual: float
    pull: float
    coverage: float
    confidence: float
    window: Range
    error_ratio: float = 0.0
    shared: SharedErrors = field(default_factory=SharedErrors.none, repr=False)

    @property
    def passed(self):
        """Whether the errors found agree with those claimed: pull below 2, ratio below 1.5."""
        return bool(self.pull < _LARGEST_PULL and self.error_ratio < _LARGEST_RATIO)

    def __str__(self):
        low, high = self.window
        return (
            f"{verdict(self.error_ratio, self.passed)}: {self.n_spectra} vacuum spectra predicted from below {low:.3g} eV "
            f"over {low:.3g}-{high:.3g} eV: mean residual {self.residual:+.2%} "
            f"of the ZLP, rms pull {self.pull:.2f}, {self.coverage:.0%} inside the "
            f"{self.confidence:.0%} band; {describe_ratio(self.error_ratio)}"
        )


@dataclass(frozen=True)
class RegionScan:
    """Signal above ``E_I`` against the limit below which spectra are matched.

    ``plot_regions`` of a removal draws it.

    Attributes
    ----------
    clusters : tuple of int
        Those looked at; a cluster of vacuum alone, without ``E_I``, or of fewer than four spectra of
        the specimen beside larger ones, is missing.
    E_I : ndarray of shape (n_clusters,)
        End of region I, eV from the peak.
    factors : ndarray of shape (n_factors,)
        Limits tried, in units of ``E_I``, increasing.
    windows : ndarray of shape (n_clusters, 2)
        Energies integrated over, eV from the peak.
    integral, error : ndarray of shape (n_clusters, n_factors)
        Mean subtracted signal over the window, and the error that the ZLP model makes in it, in
        units of the ZLP found there with ``E_I`` as it is.

    Examples
    --------
    Below 1 eV the signal is level; a limit of 1.4 eV takes half of it for zero-loss peak:

    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.checks import RegionScan
    >>> scan = RegionScan(
    ...     clusters=(0,),
    ...     E_I=np.array([1.0]),
    ...     factors=np.array([0.6, 1.0, 1.4]),
    ...     windows=np.array([[1.0, 2.0]]),
    ...     integral=np.array([[2.00, 2.01, 1.00]]),
    ...     error=np.array([[0.05, 0.03, 0.02]]),
    ... )
    >>> print(scan)
    signal level up to 1 (0)
    >>> scan.stable
    array([ True])
    """

    clusters: tuple[int, ...]
    E_I: np.ndarray
    factors: np.ndarray
    windows: np.ndarray
    integral: np.ndarray
    error: np.ndarray

    @property
    def level_up_to(self):
        """Highest limit up to which the signal is that of the lowest limit, eV; (n_clusters,).

        It may change by one and a half times the larger of the two errors and by 2 %.
        """
        larger = np.maximum(self.error, self.error[:, :1])
        allowed = _LEVEL_ERRORS * larger + _LEVEL_FRACTION * np.abs(self.integral[:, :1])
        level = np.abs(self.integral - self.integral[:, :1]) <= allowed
        last = np.array([np.append(row, False).argmin() - 1 for row in level])
        return self.factors[np.maximum(last, 0)] * self.E_I

    @property
    def stable(self):
        """Whether ``E_I`` of each cluster lies where the signal is level; (n_clusters,)."""
        return self.level_up_to >= (1 - 1e-9) * self.E_I

    def __str__(self):
        found = zip(self.clusters, self.level_up_to, strict=True)
        return "signal level up to " + ", ".join(f"{limit:.3g} ({n})" for n, limit in found)


@dataclass(frozen=True)
class ScannedSpectra(PerSpectrum):
    """Some spectra of every cluster, as measured, to try other limits on.

    Attributes
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    peaks : KnownPeaks
        All usable.
    labels : ndarray of int of shape (n_spectra,)
        Cluster of each; none is vacuum.
    """

    counts: np.ndarray
    peaks: KnownPeaks
    labels: np.ndarray

    @classmethod
    def choose(cls, counts, peaks, labels, use):
        """Choose at most 24 spectra of each cluster, evenly from first to last.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
        peaks : KnownPeaks
        labels : ndarray of int of shape (n_spectra,)
        use : ndarray of bool of shape (n_spectra,)
            Those to choose from.

        Returns
        -------
        ScannedSpectra
        """
        rows = []
        for name in np.unique(labels[use]):
            members = np.flatnonzero(use & (labels == name))
            few = min(members.size, _SPECTRA_SCANNED)
            rows.append(members[np.linspace(0, members.size - 1, few).astype(int)])
        rows = np.concatenate(rows) if rows else np.zeros(0, int)
        return cls(counts, peaks, labels).select(rows)

    def of_cluster(self, name):
        """Take the spectra of one cluster.

        Parameters
        ----------
        name : int

        Returns
        -------
        ScannedSpectra
        """
        return self.select(self.labels == name)


@dataclass(frozen=True)
class Checks:
    """Checks of a removal on the data themselves.

    Attributes
    ----------
    vacuum : VacuumCheck or None
        None without vacuum pixels to spare.
    note : str
        Why no check on vacuum was made, where there is vacuum.
    scan : RegionScan or None
        Stability against ``E_I``; None where no cluster has one.
    pure : SharedErrors
        Errors where spectra of the specimen are pure ZLP.
    """

    vacuum: VacuumCheck | None
    note: str
    scan: RegionScan | None
    pure: SharedErrors


def run_checks(application, image, held_out, adapted, confidence):
    """Check a removal on the data themselves.

    Parameters
    ----------
    application : Application
    image : Image
    held_out : Sample or None
        Vacuum spectra that nothing was trained on.
    adapted : Adapted
    confidence : float
        Probability inside the band.

    Returns
    -------
    Checks
    """
    subtraction, scanned = application.subtraction, application.scanned

    def on_vacuum():
        if held_out is None:
            return None
        return check_on_vacuum(subtraction, held_out, adapted, confidence)

    vacuum, scan, pure = together(
        on_vacuum,
        partial(scan_regions, subtraction, scanned, adapted.regions),
        partial(_errors_in_region_one, subtraction, scanned),
    )
    return Checks(vacuum=vacuum, note=_why_no_check(image, held_out), scan=scan, pure=pure)


def _errors_in_region_one(subtraction, scanned):
    """Hold the errors claimed in region I of some spectra against what is left there."""
    if not len(scanned.labels):
        return SharedErrors.none()
    peaks = scanned.peaks
    window = Range(peaks.gain_limit, peaks.loss_limit)
    return shared_errors(subtraction, scanned.counts, peaks, window)


def _why_no_check(image, held_out):
    """Say why no check on vacuum was made, where there is vacuum."""
    if not image.vacuum.any():
        return ""
    if held_out is None:
        return f"fewer than {FEWEST_TO_HOLD_OUT} vacuum pixels to spare"
    return "no losses were found, so there is no E_I to predict tails from"


def check_on_vacuum(subtraction, sample, adapted, confidence):
    """Subtract held-out vacuum spectra as if they were specimen.

    They are matched below the lowest ``E_I`` of all clusters only, so that their tails are
    predicted, and the tails are then compared with what was measured.

    Parameters
    ----------
    subtraction : Subtraction
    sample : Sample
        Vacuum spectra that nothing was trained on.
    adapted : Adapted
    confidence : float
        Probability inside the band.

    Returns
    -------
    VacuumCheck or None
        None where no cluster has a finite ``E_I`` on the axis.
    """
    n = len(sample.label)
    parameters = sample.parameters
    regions = adapted.regions
    finite = regions.E_I[np.isfinite(regions.E_I)]
    on_axis = sample.energy[-1] - parameters.centre.max()
    if not finite.size or finite.min() >= on_axis:
        return None
    limit = finite.min()
    end = max(_CHECK_UP_TO * np.median(parameters.fwhm), _CHECK_AT_LEAST_TO * limit)
    window = Range(float(limit), float(min(end, on_axis)))
    peaks = KnownPeaks(
        channel=parameters.channel.astype(float),
        centre=parameters.centre,
        fwhm=parameters.fwhm,
        log_intensity=np.log(parameters.intensity) - adapted.log_dose,
        gain_limit=np.full(n, regions.gain_limit[0]),
        loss_limit=np.full(n, limit),
    )
    counts = sample.counts + subtraction.dark_level
    found = subtraction.integrate(counts, peaks, window)
    channels = shared_errors(subtraction, counts, peaks, Range(-np.inf, np.inf))
    integrals = _integrals_over_claims(found)
    pull = found.integral / np.hypot(found.model_std, found.counting_std)
    inside = np.abs(pull) <= norm.ppf(0.5 + confidence / 2)
    return VacuumCheck(
        n_spectra=n,
        residual=float(found.integral.sum() / found.zlp.sum()),
        pull=float(np.sqrt((pull**2).mean())),
        coverage=float(inside.mean()),
        confidence=confidence,
        window=window,
        error_ratio=at_least(channels.ratio, integrals),
        shared=channels,
    )


def _integrals_over_claims(found):
    """Compare squared errors of integrals, free of counting noise, with those claimed."""
    claimed = max((found.model_std**2).mean(), 1e-300)
    square = found.integral**2
    n = len(square)
    ratio = (square - found.counting_std**2).mean() / claimed
    return Normal(float(ratio), float(np.sqrt(2 / n) * square.mean() / claimed))


def at_least(*ratios):
    """Find the largest root of some ratios, each less its standard error.

    Parameters
    ----------
    *ratios : Normal
        Of squares.

    Returns
    -------
    float

    Examples
    --------
    >>> from hyperspy_zlpml.removal.checks import at_least
    >>> from hyperspy_zlpml.statistics import Normal
    >>> at_least(Normal(5.0, 1.0), Normal(1.0, 0.5))
    2.0
    """
    return float(np.sqrt(max(0.0, *(one.mean - one.sigma for one in ratios))))


def verdict(error_ratio, passed=True):
    """Say in a word how the errors found agree with those claimed.

    Parameters
    ----------
    error_ratio : float
        Errors of the ZLP found, over those claimed, at the least.
    passed : bool
        Whether all else that is looked at agrees.

    Returns
    -------
    str
        "passed", "doubtful" where errors are larger than claimed, but not by half, or "FAILED".

    Examples
    --------
    >>> from hyperspy_zlpml.removal.checks import verdict
    >>> verdict(0.0), verdict(1.3), verdict(1.7)
    ('passed', 'doubtful', 'FAILED')
    """
    if not (passed and error_ratio < _LARGEST_RATIO):
        return "FAILED"
    return "passed" if error_ratio <= 1 else "doubtful"


def describe_ratio(ratio):
    """Say what the least ratio of errors found to those claimed tells.

    Parameters
    ----------
    ratio : float
        Of :func:`at_least`.

    Returns
    -------
    str

    Examples
    --------
    >>> from hyperspy_zlpml.removal.checks import describe_ratio
    >>> describe_ratio(1.3)
    'errors at least 1.30 times as large as claimed'

    What is at least none or half of what is claimed may well be what is claimed:

    >>> describe_ratio(0.0)
    'errors may well be as large as claimed'
    """
    if ratio <= 1:
        return "errors may well be as large as claimed"
    return f"errors at least {ratio:.2f} times as large as claimed"


class _ScannedCluster(NamedTuple):
    """Signal of one cluster against the limit of matching."""

    name: int
    E_I: float
    window: Range
    integral: np.ndarray
    error: np.ndarray


def scan_regions(subtraction, spectra, regions, window=None):
    """Integrate the subtracted signal against ``E_I``.

    Spectra are matched below other limits than ``E_I``. A limit within region I leaves the
    signal as it is; beyond it, losses are taken for zero-loss peak and the signal shrinks.

    Parameters
    ----------
    subtraction : Subtraction
    spectra : ScannedSpectra
    regions : Regions
    window : Range, optional
        Energies integrated over, eV from the peak; default from ``E_I`` of each cluster over two
        FWHM.

    Returns
    -------
    RegionScan or None
        None where no cluster has a finite ``E_I``, or the axis does not hold the window. A
        cluster for which that is so is left out.
    """
    limited = np.isfinite(regions.E_I[spectra.labels])
    found, sizes = np.unique(spectra.labels[limited], return_counts=True)
    names = found[sizes >= min(_FEWEST_SCANNED, sizes.max(initial=0))].tolist()
    scanned = side_by_side(lambda name: _scan_cluster(subtraction, spectra, name, window), names)
    scanned = [one for one in scanned if one is not None]
    if not scanned:
        return None
    return RegionScan(
        clusters=tuple(one.name for one in scanned),
        E_I=np.array([one.E_I for one in scanned]),
        factors=FACTORS,
        windows=np.array([one.window for one in scanned]),
        integral=np.array([one.integral for one in scanned]),
        error=np.array([one.error for one in scanned]),
    )


def _scan_cluster(subtraction, spectra, name, window):
    """Integrate the signal of one cluster for every limit; None off the axis."""
    one = spectra.of_cluster(name)
    peaks = one.peaks
    limit = np.median(peaks.loss_limit)
    window = window or Range(limit, limit + _SCANNED_WIDTH * np.median(peaks.fwhm))
    first = (subtraction.energy[0] - peaks.centre).max()
    last = (subtraction.energy[-1] - peaks.centre).min()
    if window.low < first or window.high > last:
        return None
    # Every spectrum once for each limit, in one call.
    n_spectra = len(one.labels)
    repeated = one.select(np.tile(np.arange(n_spectra), FACTORS.size))
    tried = repeated.peaks.loss_limit * np.repeat(FACTORS, n_spectra)
    tried = replace(repeated.peaks, loss_limit=tried)
    found = subtraction.integrate(repeated.counts, tried, window)
    # The counting noise is the same for every limit: it is no error of the comparison.
    integral, model, zlp = (
        values.reshape(FACTORS.size, n_spectra).mean(-1)
        for values in (found.integral, found.model_std, found.zlp)
    )
    unit = zlp[np.abs(FACTORS - 1).argmin()]
    return _ScannedCluster(
        name=name,
        E_I=float(limit),
        window=Range(float(window.low), float(window.high)),
        integral=integral / unit,
        error=model / unit,
    )
