# SPDX-License-Identifier: GPL-3.0-or-later
"""Accuracy and honesty of the error bars on sample images whose truth is known.

Run by ``make bench-accuracy``. ``remove_zlp_ml`` with its default arguments is scored beside what
a user would pick instead (``peers``). Errors are of the ZLP, in standard deviations of the noise
of one channel. Tables, goals and pictures are made by ``accuracy_report``.
"""

import argparse
import logging
import subprocess
import time
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import accuracy_report as report
import hyperspy.api as hs
import numpy as np
import peers
from accuracy_report import CONFIDENCES, OURS, WINDOWS, Score
from hyperspy.signals import BaseSignal
from misuse import KINDS, MISUSES
from scipy.stats import norm
from troubles import TROUBLES

from hyperspy_zlpml import ZLPRemoval, data
from hyperspy_zlpml.image.dark_pattern import DarkPattern
from hyperspy_zlpml.image.detector import Detector
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.quality import NoZeroLossPeakError
from hyperspy_zlpml.removal.evaluation import RESULTS
from hyperspy_zlpml.removal.subtract import Subtraction
from hyperspy_zlpml.statistics import Range
from hyperspy_zlpml.zlp.grid import GRID_STEP, beyond_data

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PARTS = ("kinds", "dose", "eelsfitter", "measured", "check", "halves")
#: Spectra of each sort that are scored; that functions are fitted to; given to EELSFitter.
N_SCORED = 300
N_FITTED = 100
N_EELSFITTER = 50
#: Images of few spectra are cheap, and say little each: so many of them for every seed.
REPEATS = {"line_scan": 2, "single_spectrum": 4}
NO_VACUUM = "no_vacuum"
DOSES = (1e3, 1e4, 1e5, 1e6, 1e7)
EPOCHS = 1000
#: Seconds after which EELSFitter is given up.
PATIENCE = 1800
#: Measured line scans that begin with these vacuum spectra.
MEASURED = ("ws2_specimen4.hspy", "ws2_specimen3_mono.hspy")
VACUUM_POSITIONS = (0, 1)
#: Measured vacuum whose tails are followed outward, FWHM they are seen to, and how much farther they
#: are predicted; they are averaged over this part of an energy to both sides.
TAILS = (*((name, position) for name in MEASURED for position in VACUUM_POSITIONS),
         ("gan_zlp_reference.dm3", 0))  # fmt: skip
SEEN_TO = (3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
TIMES_FARTHER = (1.5, 2.0, 3.0, 4.0)
TAIL_WIDTH = 0.06
#: So begin the sentences of the report that say that error bars do not hold.
VERDICTS = ("the check on", "E_I of cluster", "the vacuum")
#: Measured sets of many spectra.
SETS = ("si_16x16_200kV.dm3", "fecr_linescan_300kV_lowdose.dm3", "lsmo_linescan_80kV.hspy")


@dataclass(frozen=True)
class Scene:
    """A sample image as arrays, spectra on the first axis.

    Attributes
    ----------
    kind : str
    seed : int
    sample : SampleImage
    vacuum : EELSZLPSpectrum or None
        A separate vacuum measurement, where the kind comes with one.
    """

    kind: str
    seed: int
    sample: data.SampleImage
    vacuum: BaseSignal | None = None

    @classmethod
    def make(cls, kind, seed, size):
        """Simulate an image of a kind; images are ``size`` pixels wide and high."""
        shape = {} if kind in REPEATS else {"navigation_shape": (size, size)}
        if kind in TROUBLES:
            return cls(kind, seed, TROUBLES[kind]((size, size), seed))
        sample = data.SAMPLE_KINDS[kind](random_state=seed, **shape)
        vacuum = None
        if kind == "single_spectrum":
            vacuum = data.vacuum_reference(random_state=seed + 1000).signal
        return cls(kind, seed, sample, vacuum)

    @cached_property
    def energy(self):
        """Energy axis in eV."""
        return self.sample.signal.axes_manager.signal_axes[0].axis

    @cached_property
    def counts(self):
        """What was measured."""
        return self._spectra("signal")

    @cached_property
    def truth(self):
        """Expected counts of the ZLP."""
        return self._spectra("zlp")

    @cached_property
    def inelastic(self):
        """Expected counts of the losses."""
        return self._spectra("inelastic")

    @cached_property
    def sigma(self):
        """Standard deviation of the noise."""
        sample = self.sample
        return np.sqrt(sample.gain * (self.truth + self.inelastic) + sample.readout**2)

    @cached_property
    def centre(self):
        """True position of the peaks in eV, one per spectrum."""
        return self._map("centre")

    @cached_property
    def fwhm(self):
        """True width of the peaks in eV, one per spectrum."""
        return self._map("fwhm")

    @cached_property
    def gap(self):
        """Onset of the losses in eV, one per spectrum."""
        return self._map("band_gap")

    @cached_property
    def thickness(self):
        """t/lambda, one per spectrum."""
        return self._map("thickness")

    @property
    def is_vacuum(self):
        """Spectra that see no specimen."""
        return self.thickness == 0

    def _spectra(self, name):
        return getattr(self.sample, name).data.reshape(-1, self.energy.size).astype(float)

    def _map(self, name):
        return getattr(self.sample, name).data.reshape(-1).astype(float)

    def groups(self, limit):
        """At most ``limit`` vacuum and as many specimen spectra, as (name, indices).

        Those of a smaller limit are among those of a larger one.
        """
        rng = np.random.default_rng(self.seed)
        for name, chosen in (("vacuum", self.is_vacuum), ("specimen", ~self.is_vacuum)):
            index = rng.permutation(np.flatnonzero(chosen))[:limit]
            if index.size:
                yield name, np.sort(index)

    def chosen(self, limit):
        """Indices of all spectra in ``groups``."""
        return np.concatenate([rows for _, rows in self.groups(limit)])

    def channels(self, rows, window):
        """Channels of some spectra inside a window in FWHM from the true peak."""
        u = (self.energy - self.centre[rows, None]) / self.fwhm[rows, None]
        low, high = window
        return (u > low) & (u < high)

    def part(self, index=slice(None)):
        """Some spectra as the other methods take them."""
        reference = self.vacuum
        if reference is not None:
            reference = reference.data.reshape(-1, self.energy.size)
        return peers.Measurement(self.energy, self.counts[index], self.is_vacuum[index], reference)


@dataclass(frozen=True)
class Selection:
    """Error of a method in one window of one sort of pixels; spectra on the first axis."""

    scene: Scene
    pixels: str
    window: tuple
    rows: np.ndarray
    error: np.ndarray
    inside: np.ndarray

    @property
    def integral(self):
        """Error of the integral over the window, one per spectrum."""
        return (self.error * self.inside).sum(-1)

    def covered(self, low, high):
        """Fraction of the channels whose true ZLP lies between two bounds."""
        truth = self.scene.truth[self.rows]
        return float(((low <= truth) & (truth <= high))[self.inside].mean())

    def score(self, method, **claims):
        """Score of the error, with what else is known about it."""
        scene, rows = self.scene, self.rows
        scaled = (self.error / scene.sigma[rows])[self.inside]
        signal = np.nan
        if self.pixels == "specimen":
            losses = (scene.inelastic[rows] * self.inside).sum(-1)
            signal = float(np.median(np.abs(self.integral) / losses))
        return Score(
            kind=scene.kind, seed=scene.seed, pixels=self.pixels,
            window=report.window_name(self.window), method=method, n_spectra=rows.size,
            rms=float(np.sqrt((scaled**2).mean())), bias=float(scaled.mean()), signal=signal,
            **claims,
        )  # fmt: skip


def selections(scene, zlp, limit):
    """All windows of both sorts of pixels, of the spectra whose ZLP is known."""
    for pixels, rows in scene.groups(limit):
        error = zlp[rows] - scene.truth[rows]
        known = np.isfinite(error).all(-1)
        rows, error = rows[known], error[known]
        for window in WINDOWS if rows.size else ():
            yield Selection(scene, pixels, window, rows, error, scene.channels(rows, window))


@dataclass(frozen=True)
class Removed:
    """What ``remove_zlp_ml`` takes off the spectra of a scene, and what it claims of that."""

    scene: Scene
    result: ZLPRemoval
    seconds: float

    @classmethod
    def make(cls, scene, n_replicas, **arguments):
        """Run it with default arguments, but for those given."""
        start = time.perf_counter()
        arguments = {"vacuum": scene.vacuum, "n_replicas": n_replicas, **arguments}
        result = scene.sample.signal.remove_zlp_ml(random_state=scene.seed, **arguments)
        return cls(scene, result, time.perf_counter() - start)

    @cached_property
    def zlp(self):
        """Everything taken off: ZLP and pedestal."""
        return self._spectra("zlp") + self.result.report.pedestal

    @cached_property
    def std(self):
        """Its standard deviation as claimed."""
        return self._spectra("std")

    @cached_property
    def usable(self):
        """Spectra that were not left out."""
        return self.result._application.peaks.usable

    def _spectra(self, name):
        return getattr(self.result, name).data.reshape(self.scene.counts.shape).astype(float)

    def bands(self, rows):
        """Bounds of what is taken off, by confidence: those of the result, and wider ones.

        Levels of single channels are no part of it, as they are no part of the truth.
        """
        applied = self.result._application
        found = self._wide.apply(self._recorded(rows), applied.peaks.select(rows))
        names = ("subtracted", "lower", "upper")
        own = [self._spectra(name)[rows] for name in names]
        wide = [applied.on_all_channels(found[RESULTS.index(name)]) for name in names]
        bounds = {}
        beyond = norm.ppf(0.5 + CONFIDENCES[1] / 2) * self._pedestal_error(rows)
        wide[1:] = [
            wide[0] + np.sign(end - wide[0]) * np.hypot(end - wide[0], beyond) for end in wide[1:]
        ]
        for confidence, (left, below, above) in zip(CONFIDENCES, (own, wide), strict=True):
            bounds[confidence] = (self.zlp[rows] + left - above, self.zlp[rows] + left - below)
        return bounds

    def _pedestal_error(self, rows):
        """Counts by one standard error of the pedestal, which wider tables do not hold, (n_spectra, 1)."""
        applied = self.result._application
        peaks = applied.peaks.select(rows)
        return applied.subtraction.pedestal_error.left_under(peaks.log_intensity)[:, None]

    @cached_property
    def _wide(self):
        old = self.result._application.subtraction
        channels = self.result._application.peaks.channel[self.usable].astype(int)
        return Subtraction.prepare(
            self.result.ensemble.tabulate(CONFIDENCES[1]),
            old.log_fwhm,
            old.energy,
            Detector(0.0, "", old.noise, DarkPattern(old.dark_level)),
            channels=Range(channels.min(), channels.max()),
            distance=old.distance,
        )

    def integrate(self, rows, limits):
        """Integrals between limits for each spectrum, with all errors."""
        applied = self.result._application
        return applied.subtraction.integrate(
            self._recorded(rows), applied.peaks.select(rows), Range(*limits)
        )

    def _recorded(self, rows):
        """Counts of the channels that were recorded, bad ones bridged."""
        counts, channels = self.scene.counts[rows], self.result._application.channels
        return counts if channels is None else channels.repair(counts)

    def scores(self, limit=N_SCORED):
        """Scores with all that is claimed."""
        found = []
        for chosen in selections(self.scene, self.zlp, limit):
            limits = tuple(edge * self.scene.fwhm[chosen.rows] for edge in chosen.window)
            pulls = chosen.integral / self.integrate(chosen.rows, limits).model_std
            within = [float(np.mean(np.abs(pulls) < norm.ppf(0.5 + c / 2))) for c in CONFIDENCES]
            covered = [chosen.covered(*band) for band in self.bands(chosen.rows).values()]
            std, sigma = self.std[chosen.rows], self.scene.sigma[chosen.rows]
            claims = {
                "coverage68": covered[0], "coverage95": covered[1],
                "integral68": within[0], "integral95": within[1],
                "pull": float((chosen.error / std)[chosen.inside].mean()),
                "integral_pull": float(np.sqrt(np.mean(pulls**2))),
                "width": float((std / sigma)[chosen.inside].mean()),
                "seconds": self.seconds,
            }  # fmt: skip
            found.append(chosen.score(OURS, **claims))
        return found

    def verdict(self, scores, case=""):
        """Say what the checks of the report make of it, and what is true."""
        coverage = float(np.mean([score.coverage68 for score in scores]))
        told = self.result.report
        said = tuple(text[:40] for text in told.messages if text.startswith(VERDICTS))
        checked = told.vacuum is not None
        return report.Verdict(self.scene.kind, self.scene.seed, case, coverage, said, checked)

    def in_gap(self):
        """Signal between core and onset, free of what truly is there: of the ZLP, and in errors.

        The mean over the specimen pixels; its error holds the counting noise of all of them and
        the model's, taken as common to all.
        """
        scene = self.scene
        rows = np.flatnonzero(~scene.is_vacuum & self.usable)
        left = 1.5 * scene.fwhm[rows]
        limits = left, np.maximum(scene.gap[rows], left + 0.5 * scene.fwhm[rows])
        integral, model, counting, zlp = self.integrate(rows, limits).stack().T
        distance = scene.energy - scene.centre[rows, None]
        inside = (distance >= limits[0][:, None]) & (distance < limits[1][:, None])
        excess = integral - (scene.inelastic[rows] * inside).sum(-1)
        error = np.hypot(model.mean(), np.sqrt((counting**2).sum()) / len(rows))
        return excess.mean() / zlp.mean(), excess.mean() / error

    def example(self):
        """The specimen pixel of median thickness, for a picture."""
        thickness = np.where(self.scene.is_vacuum, np.nan, self.scene.thickness)
        row = int(np.nanargmin(np.abs(thickness - np.nanmedian(thickness))))
        bands = {c: (low[0], high[0]) for c, (low, high) in self.bands([row]).items()}
        return report.Example(
            f"{self.scene.kind}, seed {self.scene.seed}, t/λ = {thickness[row]:.2f}",
            self.scene.energy - self.scene.centre[row], self.scene.fwhm[row],
            self.result._application.peaks.loss_limit[row], self.scene.counts[row], self.scene.truth[row],
            self.zlp[row], bands,
        )  # fmt: skip


def others(scene):
    """Scores of the other methods but EELSFitter."""
    scores = []
    fitted = scene.chosen(N_FITTED)
    for method, function in peers.METHODS.items():
        index, limit = (fitted, N_FITTED) if method in peers.SLOW else (slice(None), N_SCORED)
        found = function(scene.part(index))
        if found is None:
            continue
        zlp = np.full(scene.counts.shape, np.nan)
        zlp[index] = found
        scores += [chosen.score(method) for chosen in selections(scene, zlp, limit)]
    return scores


def eelsfitter(scene, n_replicas):
    """Both methods with the same number of replicas on the same spectra.

    Returns
    -------
    Comparison or str
        Or why there is none.
    """
    chosen = scene.chosen(N_EELSFITTER)
    counts = scene.sample.signal.data
    image = counts.reshape((1,) * (3 - counts.ndim) + counts.shape).astype(float)
    try:
        theirs = peers.eelsfitter(
            image, scene.energy, n_replicas, EPOCHS, pixels=chosen, n_threads=1, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return f"no result after {PATIENCE} s"
    except RuntimeError as error:
        return f"failed, {str(error).strip().splitlines()[-1]}"
    if theirs is None:
        return "skipped, run make bench-peers"
    if not theirs.n_kept:
        return "discarded all of its replicas"
    zlp, lower, upper = (np.full(scene.counts.shape, np.nan) for _ in range(3))
    zlp[chosen], lower[chosen], upper[chosen] = theirs.zlp, theirs.lower, theirs.upper
    scores = [
        s.score("EELSFitter", coverage68=s.covered(lower[s.rows], upper[s.rows]))
        for s in selections(scene, zlp, N_EELSFITTER)
    ]
    mine = Removed.make(scene, n_replicas)
    return report.Comparison(
        scene.kind, n_replicas, int(theirs.n_kept), EPOCHS, float(theirs.seconds_training),
        float(theirs.seconds_per_pixel), mine.seconds, len(scene.counts), scores,
        mine.scores(N_EELSFITTER),
    )  # fmt: skip


def leave_one_out():
    """Every vacuum spectrum of the measured line scans, predicted from all the others.

    Returns
    -------
    list of Predicted
        Empty where the files are not there.
    """
    if not DATA.is_dir():
        return []
    signals = {name: hs.load(DATA / name, signal_type="EELS_ZLPML") for name in MEASURED}
    return [
        predicted(signal, name, position)
        for name, signal in signals.items()
        for position in VACUUM_POSITIONS
    ]


def predicted(signal, name, position, window=(2.0, 8.0)):
    """What is left of a vacuum spectrum that was not trained on and is treated as specimen."""
    positions = np.arange(signal.axes_manager.navigation_size)
    left_out = positions == position
    vacuum = np.isin(positions, VACUUM_POSITIONS) & ~left_out
    ensemble = signal.train_zlp_ml(vacuum=vacuum, navigation_mask=left_out, random_state=0)
    result = signal.remove_zlp_ml(ensemble=ensemble, vacuum=vacuum, random_state=0)
    limits = (edge * result.fwhm.data[position] for edge in window)
    integral, model, counting, zlp = result._integrals(*limits).stack()[position]
    return report.Predicted(
        name, position, report.window_name(window), integral / zlp,
        np.hypot(model, counting) / zlp,
    )  # fmt: skip


def run_kinds(options, results):
    """Every kind of sample image with every seed; prints as it goes."""
    for kind in options.kinds:
        for seed in seeds_of(kind, options.seeds):
            scene = Scene.make(kind, seed, options.size)
            mine = Removed.make(scene, options.replicas)
            scores = mine.scores()
            results.scores += scores
            results.verdicts.append(mine.verdict(scores))
            results.gaps.setdefault(kind, []).append(mine.in_gap())
            if not options.no_peers:
                results.scores += others(scene)
            if kind == NO_VACUUM:
                results.with_vacuum += with_vacuum(options, seed)
                results.example = results.example or mine.example()
        show_kind(results, kind)


def show_kind(results, kind):
    """Print what was found of a kind."""
    print(f"\n{kind}: {results.kind_line(kind)}")
    show(report.kind_table(results.scores, [kind]))


def seeds_of(kind, seeds):
    """Seeds of the images of a kind."""
    return [seed + 1000 * k for seed in seeds for k in range(REPEATS.get(kind, 1))]


def with_vacuum(options, seed):
    """Scores on the image of ``no_vacuum`` with a corner of vacuum in view."""
    shape = (options.size, options.size)
    sample = data.ws2_like(shape, thickness_range=(0.2, 1.0), random_state=seed)
    scene = Scene(f"{NO_VACUUM}, with vacuum", seed, sample)
    return Removed.make(scene, options.replicas).scores()


def run_dose(options, results):
    """Error against dose."""
    seed, shape = options.seeds[0], (options.dose_size, options.dose_size)
    for dose in DOSES:
        sample = data.ws2_like(shape, peak_counts=dose, random_state=seed)
        scene = Scene(f"ws2_like, {dose:.0e} counts", seed, sample)
        scores = Removed.make(scene, options.replicas).scores()
        if not options.no_peers:
            scores += others(scene)
        results.doses[dose] = scores
        print(f"\n{scene.kind}")
        show(report.kind_table(scores, [scene.kind]))


def run_eelsfitter(options, results):
    """EELSFitter beside ours."""
    if options.no_peers:
        return
    for kind in options.eelsfitter:
        found = eelsfitter(
            Scene.make(kind, options.seeds[0], options.size), options.eelsfitter_replicas
        )
        if isinstance(found, str):
            print(f"\nEELSFitter on {kind}: {found}", flush=True)
            continue
        results.comparisons.append(found)
    for table in (report.comparison_table, report.time_table) if results.comparisons else ():
        show_titled(table(results.comparisons))


def run_check(options, results):
    """Misuse, and what the checks of the report say."""
    for kind in options.check_kinds:
        for seed in options.seeds:
            scene = Scene.make(kind, seed, options.check_size)
            for name, misuse in MISUSES.items():
                found = misused(scene, name, misuse, options.replicas)
                results.verdicts.append(found)
                said = "; ".join(found.said) or "nothing"
                print(f"{kind}, {seed}, {name}: {found.coverage:.2f}, said: {said}", flush=True)
    for table in (report.verdict_table, report.missed_table):
        show_titled(table(results.verdicts))


def misused(scene, name, misuse, n_replicas):
    """Remove the zero-loss peak with wrong arguments."""
    try:
        mine = Removed.make(scene, n_replicas, **misuse(scene))
    except ValueError:
        return report.Verdict(scene.kind, scene.seed, name, np.nan, ("refused",))
    return mine.verdict(mine.scores(), name)


def run_halves(_options, results):
    """Halves of measured sets."""
    for name in SETS:
        if not (DATA / name).is_file():
            continue
        try:
            results.halves.append(in_halves(name))
        except NoZeroLossPeakError as error:
            print(f"\n{name}: {error}")
    if results.halves:
        show_titled(report.halves_table(results.halves))


def in_halves(name, window=(2.0, 8.0)):
    """Subtract all spectra of a measured set by ensembles of either half of them."""
    signal = hs.load(DATA / name, signal_type="EELS_ZLPML")
    shape = signal.axes_manager.navigation_shape[::-1]
    odd = np.indices(shape).sum(0) % 2 == 1
    first, second = (
        signal.remove_zlp_ml(
            ensemble=signal.train_zlp_ml(navigation_mask=half, random_state=0), random_state=0
        )
        for half in (odd, ~odd)
    )
    whole = signal.remove_zlp_ml(random_state=0)
    energy = signal.axes_manager.signal_axes[0].axis
    u = (energy - whole.centre.data[..., None]) / whole.fwhm.data[..., None]
    inside = (u > window[0]) & (u < window[1]) & np.isfinite(first.zlp.data + second.zlp.data)
    zlp = 0.5 * (first.zlp.data + second.zlp.data)[inside]
    off = (first.zlp.data - second.zlp.data)[inside] / zlp
    claimed = np.hypot(first.std.data, second.std.data)[inside] / zlp
    return report.Halves(
        name, int(odd.size), float(np.sqrt(np.mean(off**2))), float(np.sqrt(np.mean(claimed**2))),
        float(np.mean(np.abs(off) < claimed)), chi2_of_mean(whole.report.pure),
    )  # fmt: skip


def chi2_of_mean(pure):
    """Mean square of what is left in the mean of pure spectra, in its noise and what is claimed.

    About one where the mean holds no more than that; NaN of no channels.
    """
    if not pure.distance.size:
        return np.nan
    return float((pure.residual**2 / (pure.noise**2 + pure.claimed**2)).mean())


def run_measured(_options, results):
    """Measured vacuum spectra."""
    results.predicted = leave_one_out()
    if not results.predicted:
        print("\nmeasured spectra: skipped, ../shared/data is not there")
        return
    show_titled(report.predicted_table(results.predicted))
    show_titled(report.tails_table(tails_of_vacuum()))


def tails_of_vacuum():
    """Errors of ln(ZLP) of measured vacuum tails that are seen up to some energy, farther out.

    Returns
    -------
    dict of float to ndarray of shape (2, n_tails)
        By how many times farther: of a power law, and of a tail that flattens.
    """
    tails = [measured_tail(name, position) for name, position in TAILS]
    found = {}
    for times in TIMES_FARTHER:
        steps = round(np.log(times) / GRID_STEP)
        missed = []
        for tail in tails:
            for end in SEEN_TO:
                inner, here, there = (tail(u) for u in (end / 2, end, end * times))
                power = (here - inner) / np.log(2)
                falls = power * np.log(times), beyond_data(power, steps)[-1]
                missed.append([there - here - fall for fall in falls])
        found[times] = np.array(missed).T
    return found


def measured_tail(name, position):
    """Make a function that averages a vacuum spectrum about a reduced energy: ln over the maximum."""
    signal = hs.load(DATA / name, signal_type="EELS_ZLPML")
    energy = signal.axes_manager.signal_axes[0].axis
    counts = np.asarray(signal.data, float).reshape(-1, energy.size)[position]
    peak = peak_parameters(counts[None], energy)
    u = (energy - peak.centre[0]) / peak.fwhm[0]

    def tail(at):
        near = np.abs(u / at - 1) < TAIL_WIDTH
        if not near.any() or u[-1] < at * (1 + TAIL_WIDTH):
            return np.nan
        return np.log(max(counts[near].mean() / counts.max(), 1e-9))

    return tail


def joined(directory):
    """Join what was written below a directory and print it as the runs themselves did.

    Returns
    -------
    Results
    """
    results = report.join(directory, [*data.SAMPLE_KINDS, *TROUBLES])
    for kind in results.kinds:
        show_kind(results, kind)
    for table in report.tables(results):
        if table.name not in report.PRINTED_ELSEWHERE:
            show_titled(table)
    return results


def measured_now(options):
    """Run the parts that are asked for.

    Returns
    -------
    Results
    """
    results = report.Results()
    runs = (run_kinds, run_dose, run_eelsfitter, run_measured, run_check, run_halves)
    for part, run in zip(PARTS, runs, strict=True):
        if part in options.parts:
            run(options, results)
    return results


def show(table):
    """Print a table at once."""
    print(table.text(), flush=True)


def show_titled(table):
    """Print a table under its title."""
    print(f"\n{table.title}")
    show(table)


def arguments():
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--parts", nargs="*", default=PARTS, choices=PARTS, metavar="PART", help=", ".join(PARTS))
    add("--kinds", nargs="*", default=[*data.SAMPLE_KINDS, *TROUBLES])
    add("--seeds", nargs="*", type=int, default=[101, 102, 103])
    add("--size", type=int, default=48, help="pixels along an edge of the images")
    add("--dose-size", type=int, default=24, help="the same for the images of different dose")
    add("--replicas", type=int, default=100)
    add("--check-kinds", nargs="*", metavar="KIND", default=KINDS, help="that are misused")
    add("--check-size", type=int, default=24, help="pixels along an edge of these")
    add("--no-peers", action="store_true", help="score our own method only")
    add("--eelsfitter", nargs="*", metavar="KIND", default=["ws2_like"])
    add("--eelsfitter-replicas", type=int, default=20)
    add("--output", type=Path, default=Path("benchmarks/output"))
    add(
        "--join", type=Path, metavar="FOLDER", help="run nothing: join the outputs of runs below it"
    )
    add("--docs", type=Path, help="copy tables and pictures into this directory of the pages")
    return parser.parse_args()


def main():
    """Print the tables and the goals, write them, draw the pictures."""
    options = arguments()
    hs.preferences.General.show_progressbar = False
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    if options.join is None:
        results = measured_now(options)
        report.keep(results, options.output)
    else:
        results = joined(options.join)
    show_titled(report.goal_table(results))
    written = report.write(results, options.output)
    if options.docs is not None:
        report.copy_to_docs(written, options.docs)
    print(f"\n{(time.perf_counter() - start) / 60:.0f} min; written to {options.output}")


if __name__ == "__main__":
    main()
