# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark of accuracy found: tables, goals and pictures."""

import csv
import pickle
import shutil
from collections import Counter
from dataclasses import asdict, dataclass, field, fields

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

OURS = "hyperspy_zlpml"
#: Windows in FWHM from the peak, and those that the goals of the error are about.
WINDOWS = ((1.5, 4.0), (2.0, 8.0), (4.0, 12.0))
FAR_WINDOWS = ("2-8", "4-12")
PIXELS = ("vacuum", "specimen")
CONFIDENCES = (0.68, 0.95)
#: Limits that coverage is to stay in, by confidence.
COVERAGE_GOALS = {0.68: (0.58, 0.80), 0.95: (0.88, 0.99)}
#: The same without vacuum in view.
COVERAGE_WITHOUT_VACUUM = {0.68: (0.55, 0.85), 0.95: (0.85, 1.0)}
LARGEST_ERROR = 1.5
LARGEST_PULL = 0.2
LARGEST_IN_GAP = 2.0
#: Error relative to the best other method.
LARGEST_RATIO = 0.8
LARGEST_RATIO_OF = {"very_low_dose": 1.0}
#: Error without vacuum relative to that with vacuum; of EELSFitter relative to ours.
LARGEST_WITHOUT_VACUUM = 3.0
SMALLEST_OF_EELSFITTER = 5.0
LARGEST_PREDICTED = 1.96
#: Images are sorted by the true coverage of their band of 68 %.
COVERAGE_CLASSES = ((0.0, 0.3), (0.3, 0.5), (0.5, 0.6), (0.6, 0.8), (0.8, 1.01))
#: Coverage that the checks are to flag, and that they are not to, and in how many images.
BADLY_COVERED = 0.5
WELL_COVERED = (0.6, 0.8)
LEAST_FLAGGED = 0.9
MOST_FALSE = 0.05
WITHOUT_VACUUM = "no_vacuum"
#: Kinds without vacuum in view, by the end of their names.
NO_VACUUM_IN_VIEW = ("no_vacuum", "vibrational")
#: File of everything that a run found, for runs to be joined.
RESULTS = "results.pickle"
#: Tables that are printed kind by kind, or at the end.
PRINTED_ELSEWHERE = ("table", "goals")

_OURS = "tab:red"
_OTHER = "0.45"
#: Marker, colour and name of the methods in the picture of errors.
_METHODS = (
    ("o", _OURS, "remove_zlp_ml, one per image"),
    ("D", _OTHER, "best other method, chosen for each image with the truth known"),
    ("^", "tab:purple", "EELSFitter"),
)
_WINDOW_COLOURS = ("tab:orange", "tab:red", "tab:blue")
_GOAL = "tab:green"
_GOAL_ALPHA = 0.15


@dataclass(frozen=True)
class Score:
    """A method in one window of one sort of pixels of one image.

    Attributes
    ----------
    kind : str
    seed : int
    pixels, window, method : str
    n_spectra : int
    rms, bias : float
        Error of the ZLP in standard deviations of the noise of one channel.
    signal : float
        Median over the specimen spectra of the error of the integrated losses, relative.
    coverage68, coverage95 : float
        Fraction of the channels whose true ZLP the band contains.
    integral68, integral95 : float
        Fraction of the spectra whose integral over the window the claimed error explains.
    pull : float
        Mean over channels of the error in units of its claimed standard deviation.
    integral_pull : float
        Root mean square of the error of the integral in units of the claimed one.
    width : float
        Mean claimed standard deviation in standard deviations of the noise.
    seconds : float
        For the whole image.
    """

    kind: str
    seed: int
    pixels: str
    window: str
    method: str
    n_spectra: int
    rms: float
    bias: float
    signal: float = np.nan
    coverage68: float = np.nan
    coverage95: float = np.nan
    integral68: float = np.nan
    integral95: float = np.nan
    pull: float = np.nan
    integral_pull: float = np.nan
    width: float = np.nan
    seconds: float = np.nan


@dataclass(frozen=True)
class Comparison:
    """EELSFitter and ``remove_zlp_ml`` with as many replicas on the same spectra of an image."""

    kind: str
    n_replicas: int
    n_kept: int
    n_epochs: int
    seconds_training: float
    seconds_per_pixel: float
    our_seconds: float
    n_spectra: int
    theirs: list
    ours: list


@dataclass(frozen=True)
class Predicted:
    """What is left of a measured vacuum spectrum, and its total error: relative to the ZLP."""

    name: str
    position: int
    window: str
    left: float
    error: float

    @property
    def pull(self):
        """What is left in units of its error."""
        return self.left / self.error


@dataclass(frozen=True)
class Verdict:
    """What the report says of an image, and whether it is right.

    Attributes
    ----------
    kind : str
    seed : int
    case : str
        What was done wrong; empty for default arguments.
    coverage : float
        Fraction of the channels that the band of 68 % holds, all windows and sorts of pixels alike;
        NaN where the removal was refused.
    said : tuple of str
        Beginnings of the sentences of the report that say that bands do not hold, or that it was refused.
    checked : bool
        Whether any energy was looked at beyond ``E_I``: not without vacuum in view.
    """

    kind: str
    seed: int
    case: str
    coverage: float
    said: tuple[str, ...]
    checked: bool = False

    @property
    def flagged(self):
        """Whether a check of the report failed, or the removal was refused."""
        return bool(self.said)


@dataclass(frozen=True)
class Halves:
    """Zero-loss peaks by ensembles of two halves of a measured set, 2 to 8 FWHM behind the peak.

    Attributes
    ----------
    name : str
    n_spectra : int
    difference, claimed : float
        Root mean squares of their difference, and of what both claim, relative to the peak.
    coverage : float
        Fraction of the channels whose difference the claims of 68 % hold.
    chi2 : float
        Of the mean of the spectra in region I, by channel: what the spectra share beyond what is
        claimed and its counting noise.
    """

    name: str
    n_spectra: int
    difference: float
    claimed: float
    coverage: float
    chi2: float


@dataclass(frozen=True)
class Example:
    """One spectrum; energies in eV from its peak, bands of the ZLP by confidence."""

    title: str
    energy: np.ndarray
    fwhm: float
    limit: float
    counts: np.ndarray
    truth: np.ndarray
    zlp: np.ndarray
    bands: dict


@dataclass
class Results:
    """Everything that was found; what was not run stays empty."""

    scores: list = field(default_factory=list)
    gaps: dict = field(default_factory=dict)
    with_vacuum: list = field(default_factory=list)
    example: Example | None = None
    doses: dict = field(default_factory=dict)
    comparisons: list = field(default_factory=list)
    predicted: list = field(default_factory=list)
    verdicts: list = field(default_factory=list)
    halves: list = field(default_factory=list)

    @property
    def kinds(self):
        """Kinds of sample images, in the order they were run."""
        return list(self.gaps)

    def kind_line(self, kind):
        """Time of an image of a kind, and signal in the gap of every one."""
        listed = ", ".join(f"{part:+.2%} ({pull:+.1f})" for part, pull in self.gaps[kind])
        seconds = mean(select(self.scores, kind=kind, method=OURS), "seconds")
        return f"{seconds:.1f} s per image; in-gap signal of the ZLP (in errors): {listed}"

    def add(self, other):
        """Append what another run found."""
        for name in ("scores", "with_vacuum", "comparisons", "predicted", "verdicts", "halves"):
            getattr(self, name).extend(getattr(other, name))
        for kind, gaps in other.gaps.items():
            self.gaps.setdefault(kind, []).extend(gaps)
        self.doses.update(other.doses)
        self.example = self.example or other.example


@dataclass(frozen=True)
class Table:
    """Cells of text, written as text, Markdown or CSV."""

    name: str
    title: str
    header: tuple
    rows: list

    def text(self):
        """Aligned columns."""
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = (
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        )
        return "\n".join(f"  {line}".rstrip() for line in aligned)

    def markdown(self):
        """A section with the table."""
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        return "\n".join([f"## {self.title}", "", *(f"| {' | '.join(line)} |" for line in lines)])

    def write_csv(self, path):
        """The header and the rows."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([self.header, *self.rows])


def _percent(confidence):
    return f"{100 * confidence:.0f} %"


def window_name(window):
    """``2-8`` for ``(2.0, 8.0)``."""
    return "-".join(f"{edge:g}" for edge in window)


def select(scores, **wanted):
    """Scores whose attributes have the given values."""
    return [s for s in scores if all(getattr(s, name) == v for name, v in wanted.items())]


def mean(scores, name):
    """Mean over the images, NaN where there is none."""
    values = [getattr(s, name) for s in scores if np.isfinite(getattr(s, name))]
    return float(np.mean(values)) if values else np.nan


def best_others(scores, **wanted):
    """Least error of the other methods with the truth known: by seed, (error, method)."""
    found = {}
    for s in select(scores, **wanted):
        if s.method != OURS and np.isfinite(s.rms):
            found[s.seed] = min(found.get(s.seed, (np.inf, "")), (s.rms, s.method))
    return found


def places(scores, kind):
    """Sorts of pixels and windows that ours has scores of, with these scores."""
    for pixels in PIXELS:
        for window in map(window_name, WINDOWS):
            found = select(scores, kind=kind, pixels=pixels, window=window, method=OURS)
            if found:
                yield pixels, window, found


# Tables


def kind_table(scores, kinds):
    """Ours beside the best other, means over the images."""
    header = (
        "kind", "pixels", "window", "error", "bias", "claimed", "best other", "its error",
        "68 %", "95 %", "pull",
    )  # fmt: skip
    rows = []
    for kind in kinds:
        for pixels, window, ours in places(scores, kind):
            best = best_others(scores, kind=kind, pixels=pixels, window=window)
            name = Counter(method for _, method in best.values()).most_common(1)
            rows.append((
                kind, pixels, window, f"{mean(ours, 'rms'):.3f}", f"{mean(ours, 'bias'):+.3f}",
                f"{mean(ours, 'width'):.3f}", name[0][0] if best else "none",
                f"{np.mean([error for error, _ in best.values()]):.3g}" if best else "none",
                f"{mean(ours, 'coverage68'):.2f} / {mean(ours, 'integral68'):.2f}",
                f"{mean(ours, 'coverage95'):.2f} / {mean(ours, 'integral95'):.2f}",
                f"{mean(ours, 'pull'):+.2f}",
            ))  # fmt: skip
    return Table("table", "Sample images (errors in sigma of the noise)", header, rows)


def comparison_table(comparisons):
    """EELSFitter beside ours with as many replicas."""
    header = (
        "kind", "pixels", "window", "error of EELSFitter", "ours", "68 % of EELSFitter", "ours",
    )  # fmt: skip
    rows = []
    for found in comparisons:
        for theirs in found.theirs:
            (ours,) = select(found.ours, pixels=theirs.pixels, window=theirs.window)
            rows.append((
                found.kind, theirs.pixels, theirs.window, f"{theirs.rms:.3g}", f"{ours.rms:.3g}",
                f"{theirs.coverage68:.2f}", f"{ours.coverage68:.2f}",
            ))  # fmt: skip
    return Table("eelsfitter", "EELSFitter", header, rows)


def time_table(comparisons):
    """What EELSFitter and ours cost."""
    header = (
        "kind", "spectra", "replicas", "kept", "epochs", "training of EELSFitter", "per spectrum",
        "ours, all in all",
    )  # fmt: skip
    rows = [
        (
            c.kind, str(c.n_spectra), str(c.n_replicas), str(c.n_kept), str(c.n_epochs),
            f"{c.seconds_training:.0f} s", f"{1e3 * c.seconds_per_pixel:.0f} ms",
            f"{c.our_seconds:.0f} s",
        )
        for c in comparisons
    ]  # fmt: skip
    return Table("time", "Time of EELSFitter", header, rows)


def predicted_table(predicted):
    """Measured vacuum spectra."""
    header = ("file", "position", "window", "left of the ZLP", "claimed error", "in errors")
    rows = [
        (p.name, str(p.position), p.window, f"{p.left:+.2%}", f"{p.error:.2%}", f"{p.pull:+.2f}")
        for p in predicted
    ]
    return Table("measured", "Measured vacuum predicted from the other spectra", header, rows)


def tails_table(missed):
    """Tails of measured vacuum beyond where they are seen."""
    header = ("times farther", "tails", "power law: mean", "rms", "flattening: mean", "rms")
    rows = []
    for times, both in missed.items():
        known = both[:, np.isfinite(both).all(0)]
        numbers = [f(one) for one in known for f in (np.mean, lambda v: np.sqrt(np.mean(v**2)))]
        rows.append((f"{times:g}", str(known.shape[1]), *(f"{value:+.2f}" for value in numbers)))
    return Table("tails", "Errors of ln(ZLP) of measured tails beyond what is seen", header, rows)


def verdict_table(verdicts):
    """Images that the checks of the report flag, by what their bands truly hold."""
    header = (
        "true coverage of the 68 % band", "used", "images", "flagged", "of these", "unflagged, without vacuum"
    )  # fmt: skip
    rows = []
    for low, high in COVERAGE_CLASSES:
        for use, misused in (("as meant", False), ("wrongly", True)):
            found = [v for v in verdicts if low <= v.coverage < high and bool(v.case) == misused]
            if not found:
                continue
            flagged = [v for v in found if v.flagged]
            named = Counter(v.case or v.kind for v in flagged)
            listed = ", ".join(f"{name} {n}" for name, n in named.most_common()) or "none"
            unseen = str(sum(not v.flagged and not v.checked for v in found))
            rows.append(
                (
                    f"{low:g} to {high:g}",
                    use,
                    str(len(found)),
                    _part(flagged, found),
                    listed,
                    unseen,
                )
            )
    refused = [v for v in verdicts if np.isnan(v.coverage)]
    if refused:
        named = Counter(v.case for v in refused).most_common()
        listed = ", ".join(f"{c} {n}" for c, n in named)
        rows.append(("refused", "wrongly", str(len(refused)), "", listed, ""))
    return Table("check", "What the checks of the report flag", header, rows)


def _part(some, of_all):
    return f"{len(some)} ({len(some) / len(of_all):.0%})"


def missed_table(verdicts):
    """Images whose bands do not hold, and that no check flags; and false alarms."""
    header = ("kind", "seed", "case", "true coverage", "", "said")
    low, high = WELL_COVERED
    rows = [
        (v.kind, str(v.seed), v.case or "default", f"{v.coverage:.2f}", what, "; ".join(v.said))
        for v in verdicts
        for what in (
            ["missed"] * (v.coverage < BADLY_COVERED and not v.flagged)
            + ["false alarm"] * (low <= v.coverage < high and v.flagged)
        )
    ]
    return Table("check_wrong", "Where the checks of the report are wrong", header, rows)


def halves_table(halves):
    """Halves of measured sets."""
    header = ("file", "spectra", "rms difference", "claimed", "68 %", "chi2 of the mean")
    rows = [
        (
            h.name, str(h.n_spectra), f"{h.difference:.2%}", f"{h.claimed:.2%}",
            f"{h.coverage:.2f}", f"{h.chi2:.2f}",
        )
        for h in halves
    ]  # fmt: skip
    return Table("halves", "Measured sets, each half by its own ensemble", header, rows)


def tables(results):
    """All that have rows."""
    found = (
        kind_table(results.scores, results.kinds),
        comparison_table(results.comparisons),
        time_table(results.comparisons),
        predicted_table(results.predicted),
        verdict_table(results.verdicts),
        missed_table(results.verdicts),
        halves_table(results.halves),
        goal_table(results),
    )
    return [table for table in found if table.rows]


# Goals


@dataclass(frozen=True)
class Goal:
    """One line of the checklist."""

    subject: str
    goal: str
    measured: str
    met: bool


@dataclass(frozen=True)
class Measured:
    """A number, its standard error and where it was found."""

    value: float
    where: str
    error: float = np.nan

    @classmethod
    def mean_of(cls, scores, name, where):
        """Mean over the images; the standard error is from their scatter."""
        values = np.array([getattr(s, name) for s in scores])
        error = values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else np.nan
        return cls(float(values.mean()), where, float(error))

    def __str__(self):
        error = f" ± {self.error:.2g}" if np.isfinite(self.error) else ""
        return f"{self.value:.3g}{error} ({self.where})"


def goals(results):
    """All goals that something was measured for.

    Returns
    -------
    list of Goal
    """
    found = []
    for kind in results.kinds:
        found += error_goals(results.scores, kind)
        found += [coverage_goal(results.scores, kind, c) for c in CONFIDENCES]
        found += [pull_goal(results.scores, kind), gap_goal(results.gaps[kind], kind)]
    if results.with_vacuum:
        found.append(vacuum_goal(results))
    found += [eelsfitter_goal(comparison) for comparison in results.comparisons]
    found += list(check_goals(results.verdicts))
    return found + [predicted_goal(p) for p in results.predicted]


def goal_table(results):
    """The checklist."""
    header = ("subject", "goal", "found", "verdict")
    rows = [(g.subject, g.goal, g.measured, "met" if g.met else "SHORT") for g in goals(results)]
    return Table("goals", "Goals (the worst place of each kind)", header, rows)


def far_errors(scores, kind):
    """Mean error on specimen pixels by window of the goals."""
    return {
        window: mean(found, "rms")
        for pixels, window, found in places(scores, kind)
        if pixels == "specimen" and window in FAR_WINDOWS
    }


def largest(kind, values, goal, limit):
    """The goal that the largest of some numbers by place stays below a limit."""
    where = max(values, key=values.get)
    return Goal(kind, f"{goal} <= {limit:g}", str(Measured(values[where], where)),
                values[where] <= limit)  # fmt: skip


def error_goals(scores, kind):
    """Error against the best other, and in itself."""
    errors, ratios = far_errors(scores, kind), {}
    for window, error in errors.items():
        best = best_others(scores, kind=kind, pixels="specimen", window=window)
        if best:
            ratios[window] = error / np.mean([value for value, _ in best.values()])
    if ratios:
        limit = LARGEST_RATIO_OF.get(kind, LARGEST_RATIO)
        yield largest(kind, ratios, "error / best other", limit)
    if errors and kind != WITHOUT_VACUUM:
        yield largest(kind, errors, "error in sigma", LARGEST_ERROR)


def coverage_goal(scores, kind, confidence):
    """Coverage per channel and of integrals, in all windows and both sorts of pixels."""
    goals_ = COVERAGE_WITHOUT_VACUUM if kind.endswith(NO_VACUUM_IN_VIEW) else COVERAGE_GOALS
    low, high = goals_[confidence]
    found = [
        Measured.mean_of(images, f"{name}{100 * confidence:.0f}", f"{pixels} {window} {what}")
        for pixels, window, images in places(scores, kind)
        for name, what in (("coverage", "channels"), ("integral", "integral"))
    ]
    outside = sum(not low <= m.value <= high for m in found)
    worst = max(found, key=lambda m: abs(m.value - (low + high) / 2))
    return Goal(
        kind, f"{_percent(confidence)} coverage {low:g} to {high:g}",
        f"{worst}, {outside} of {len(found)} outside", not outside,
    )  # fmt: skip


def pull_goal(scores, kind):
    """Mean pull of the channels."""
    found = [Measured.mean_of(s, "pull", f"{p} {w}") for p, w, s in places(scores, kind)]
    worst = max(found, key=lambda m: abs(m.value))
    met = abs(worst.value) <= LARGEST_PULL
    return Goal(kind, f"mean pull within {LARGEST_PULL:g}", str(worst), met)


def gap_goal(gaps, kind):
    """Signal in the gap in units of its error, of every image."""
    pulls = [pull for _, pull in gaps]
    outside = sum(not abs(pull) <= LARGEST_IN_GAP for pull in pulls)
    worst = max(pulls, key=abs)
    return Goal(
        kind, f"in-gap signal within {LARGEST_IN_GAP:g} errors",
        f"{worst:+.2f}, {outside} of {len(pulls)} images outside", not outside,
    )  # fmt: skip


def vacuum_goal(results):
    """Error without vacuum against that of the same image with vacuum."""
    without = far_errors(results.scores, WITHOUT_VACUUM)
    with_vacuum = far_errors(results.with_vacuum, results.with_vacuum[0].kind)
    ratios = {window: without[window] / with_vacuum[window] for window in without}
    return largest(WITHOUT_VACUUM, ratios, "error / that with vacuum", LARGEST_WITHOUT_VACUUM)


def check_goals(verdicts):
    """Images that the checks are to flag, and not to."""
    low, high = WELL_COVERED
    bad = [v.flagged for v in verdicts if v.coverage < BADLY_COVERED]
    good = [v for v in verdicts if low <= v.coverage < high]
    if bad:
        text = f"{np.mean(bad):.0%} of {len(bad)} images"
        yield Goal("checks", f"flag {LEAST_FLAGGED:.0%} of images covered below {BADLY_COVERED:g}",
                   text, np.mean(bad) >= LEAST_FLAGGED)  # fmt: skip
    for use, some in (("", good), (" and used as meant", [v for v in good if not v.case])):
        if not some:
            continue
        false = np.mean([v.flagged for v in some])
        yield Goal("checks",
                   f"flag at most {MOST_FALSE:.0%} of images covered {low:g} to {high:g}{use}",
                   f"{false:.0%} of {len(some)} images", false <= MOST_FALSE)  # fmt: skip


def eelsfitter_goal(comparison):
    """Error of EELSFitter against ours."""
    ratios = {}
    for theirs in select(comparison.theirs, pixels="specimen"):
        if theirs.window in FAR_WINDOWS:
            (ours,) = select(comparison.ours, pixels="specimen", window=theirs.window)
            ratios[theirs.window] = theirs.rms / ours.rms
    where = min(ratios, key=ratios.get)
    return Goal(
        comparison.kind, f"error of EELSFitter / ours >= {SMALLEST_OF_EELSFITTER:g}",
        str(Measured(ratios[where], where)), ratios[where] >= SMALLEST_OF_EELSFITTER,
    )  # fmt: skip


def predicted_goal(found):
    """What is left of a measured vacuum spectrum."""
    return Goal(
        found.name, f"vacuum vanishes within {LARGEST_PREDICTED:g} errors",
        f"{found.pull:+.2f} (position {found.position})", abs(found.pull) < LARGEST_PREDICTED,
    )  # fmt: skip


# Files


def write(results, directory):
    """Scores, tables and pictures.

    Parameters
    ----------
    results : Results
    directory : Path
        Made if it does not exist.

    Returns
    -------
    tables, pictures : list of Path
        What the pages of the documentation show.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_scores(results, directory / "accuracy.csv")
    found = tables(results)
    text = "\n\n".join(table.markdown() for table in found)
    (directory / "accuracy.md").write_text(f"# Accuracy\n\n{text}\n", encoding="utf-8")
    paths = [directory / f"accuracy_{table.name}.csv" for table in found]
    for table, path in zip(found, paths, strict=True):
        table.write_csv(path)
    return paths, draw(results, directory)


def keep(results, directory):
    """Write what a run found, to be joined; what is joined is not kept, or it would count twice."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RESULTS).write_bytes(pickle.dumps(results))


def join(directory, kinds):
    """Read what several runs kept below a directory.

    Parameters
    ----------
    directory : Path
    kinds : sequence of str
        In their order; other kinds come after them.

    Returns
    -------
    Results
        Of all of them, seeds in the order of the names of their directories.
    """
    results = Results()
    for path in sorted(directory.rglob(RESULTS)):
        results.add(pickle.loads(path.read_bytes()))
    order = [*(kind for kind in kinds if kind in results.gaps), *results.gaps]
    results.gaps = {kind: results.gaps[kind] for kind in order}
    return results


def write_scores(results, path):
    """All scores; ``part`` says what they are of."""
    parts = {"kinds": results.scores, "with vacuum": results.with_vacuum}
    parts["dose"] = [score for scores in results.doses.values() for score in scores]
    parts["eelsfitter"] = [s for c in results.comparisons for s in (*c.theirs, *c.ours)]
    with open(path, "w", newline="", encoding="utf-8") as file:
        names = ["part", *(f.name for f in fields(Score))]
        writer = csv.DictWriter(file, fieldnames=names, lineterminator="\n")
        writer.writeheader()
        for part, scores in parts.items():
            writer.writerows({"part": part, **asdict(score)} for score in scores)


def copy_to_docs(written, docs):
    """Put tables into the directory of the pages and pictures into its ``_static``."""
    found, pictures = written
    for path in found:
        shutil.copy(path, docs / path.name)
    for path in pictures:
        shutil.copy(path, docs / "_static" / path.name)


# Pictures


def draw(results, directory):
    """All pictures that there is something for."""
    figures = {}
    if results.scores:
        figures["coverage"] = coverage_figure(results)
        figures["error"] = error_figure(results)
    if results.doses:
        figures["dose"] = dose_figure(results.doses)
    if results.example is not None:
        figures["limit"] = example_figure(results.example)
    paths = []
    for name, figure in figures.items():
        paths.append(directory / f"accuracy_{name}.png")
        figure.savefig(paths[-1], dpi=110)
        plt.close(figure)
    return paths


def coverage_figure(results):
    """Claimed against found coverage."""
    kinds = results.kinds
    figure, panels = plt.subplots(
        1, 4, sharey=True, figsize=(12, 1.8 + 0.6 * len(kinds)), layout="constrained"
    )
    columns = [(c, pixels) for c in CONFIDENCES for pixels in PIXELS]
    for axes, (confidence, pixels) in zip(panels, columns, strict=True):
        found = [p for kind in kinds for p in coverage_points(results, kind, confidence, pixels)]
        for value, row, colour, marker in found:
            axes.plot(value, row, marker, color=colour, mfc=_filling(marker, colour), ms=6)
        axes.axvspan(*COVERAGE_GOALS[confidence], color=_GOAL, alpha=_GOAL_ALPHA, lw=0)
        axes.axvline(confidence, color=_GOAL, lw=1)
        axes.set_title(f"{_percent(confidence)} band, {pixels} pixels", fontsize=11)
        axes.set_xlabel("found coverage")
        axes.set_xlim(0, 1.03)
    _rows_of_kinds(panels[0], kinds)
    handles = [_handle("o", colour, f"{window_name(w)} FWHM") for w, colour in _windows()]
    handles += [_handle("o", "k", "channels"), _handle("s", "k", "integral over the window")]
    handles.append(_band_handle("goal; line: claimed"))
    figure.legend(handles=handles, loc="outside upper center", ncols=6, frameon=False)
    return figure


def coverage_points(results, kind, confidence, pixels):
    """Mean coverage by window: value, height in the picture, colour, marker."""
    for number, (window, colour) in enumerate(_windows()):
        found = select(
            results.scores, kind=kind, pixels=pixels, window=window_name(window), method=OURS
        )
        if not found:
            continue
        row = results.kinds.index(kind) + 0.27 * (number - 1)
        for name, marker, side in (("coverage", "o", -0.05), ("integral", "s", 0.05)):
            yield mean(found, f"{name}{100 * confidence:.0f}"), row + side, colour, marker


def error_figure(results):
    """Error of ours and of the best other on specimen pixels."""
    kinds = results.kinds
    figure, panels = plt.subplots(
        1, len(WINDOWS), sharey=True, sharex=True, figsize=(12, 1.8 + 0.4 * len(kinds)),
        layout="constrained",
    )  # fmt: skip
    for axes, window in zip(panels, map(window_name, WINDOWS), strict=True):
        for row, kind in enumerate(kinds):
            where = {"kind": kind, "pixels": "specimen", "window": window}
            for number, errors in enumerate(_errors(results, where)):
                marker, colour, _ = _METHODS[number]
                height = np.full(len(errors), row + 0.25 * (number - 1))
                axes.plot(errors, height, marker, color=colour, ms=5, alpha=0.7)
        axes.axvline(LARGEST_ERROR, color=_GOAL, lw=1)
        axes.set_xscale("log")
        axes.set_title(f"{window} FWHM from the peak", fontsize=11)
        axes.set_xlabel("rms error of the ZLP (σ of the noise of a channel)")
        axes.grid(axis="x", alpha=0.3)
    _rows_of_kinds(panels[0], kinds)
    used = _METHODS if results.comparisons else _METHODS[:2]
    handles = [_handle(*method) for method in used]
    handles.append(Line2D([], [], color=_GOAL, label=f"{LARGEST_ERROR:g} σ"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    return figure


def _errors(results, where):
    """Errors in one place of ours, of the best other and of EELSFitter, one per image."""
    yield [s.rms for s in select(results.scores, method=OURS, **where)]
    yield [error for error, _ in best_others(results.scores, **where).values()]
    yield [s.rms for found in results.comparisons for s in select(found.theirs, **where)]


def dose_figure(doses):
    """Error and coverage on specimen pixels against dose."""
    figure, grid = plt.subplots(
        2, 2, sharex=True, sharey="row", figsize=(9, 6.5), layout="constrained"
    )
    for (top, bottom), window in zip(grid.T, FAR_WINDOWS, strict=True):
        _draw_errors_of_doses(top, doses, window)
        _draw_coverage_of_doses(bottom, doses, window)
        top.set_title(f"{window} FWHM from the peak", fontsize=11)
        bottom.set_xlabel("counts in the highest channel")
    grid[0, 0].set_ylabel("rms error of the ZLP\n(σ of the noise of a channel)")
    grid[1, 0].set_ylabel("found coverage")
    grid[0, 0].legend(loc="lower right", fontsize=9)
    handles = grid[1, 0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_errors_of_doses(axes, doses, window):
    where = {"pixels": "specimen", "window": window}
    ours = [mean(select(scores, method=OURS, **where), "rms") for scores in doses.values()]
    axes.plot(list(doses), ours, "o-", color=_OURS, label="remove_zlp_ml")
    best = {
        dose: error
        for dose, scores in doses.items()
        for error, _ in best_others(scores, **where).values()
    }
    axes.plot(list(best), list(best.values()), "D-", color=_OTHER, label="best other, truth known")
    axes.axhline(LARGEST_ERROR, color=_GOAL, lw=1, label=f"{LARGEST_ERROR:g} σ")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)


def _draw_coverage_of_doses(axes, doses, window):
    where = {"pixels": "specimen", "window": window, "method": OURS}
    for confidence, colour in zip(CONFIDENCES, ("tab:blue", "tab:orange"), strict=True):
        for name, marker, what in (("coverage", "o-", "channels"), ("integral", "s--", "integral")):
            values = [
                mean(select(scores, **where), f"{name}{100 * confidence:.0f}")
                for scores in doses.values()
            ]
            filling = _filling(marker[0], colour)
            label = f"{_percent(confidence)}, {what}"
            axes.plot(list(doses), values, marker, color=colour, mfc=filling, label=label)
        axes.axhspan(*COVERAGE_GOALS[confidence], color=colour, alpha=_GOAL_ALPHA, lw=0)
        axes.axhline(confidence, color=colour, lw=0.7)
    axes.set_ylim(0, 1.03)


def example_figure(example):
    """Data, true ZLP and ours; their ratio."""
    figure, (top, bottom) = plt.subplots(
        2, 1, sharex=True, figsize=(8, 6.5), height_ratios=(1.4, 1), layout="constrained"
    )
    shown = (example.energy > 0.5 * example.fwhm) & (example.energy < 14 * example.fwhm)
    energy, truth, zlp = (a[shown] for a in (example.energy, example.truth, example.zlp))
    top.plot(energy, example.counts[shown], color="0.6", lw=1, label="data")
    for axes, scale in ((top, 1.0), (bottom, truth)):
        for (confidence, (low, high)), alpha in zip(example.bands.items(), (0.4, 0.2), strict=True):
            axes.fill_between(
                energy, low[shown] / scale, high[shown] / scale, color=_OURS, alpha=alpha, lw=0,
                label=f"{_percent(confidence)} band",
            )  # fmt: skip
        axes.plot(energy, zlp / scale, color=_OURS, lw=1.5, label="ZLP of remove_zlp_ml")
        axes.plot(energy, truth / scale, color="k", lw=1, ls="--", label="true ZLP")
        axes.axvline(example.limit, color=_GOAL, lw=1, label="end of what is matched")
    top.set_yscale("log")
    top.set_ylim(0.3 * truth.min(), None)
    top.set_ylabel("counts")
    top.set_title(example.title, fontsize=11)
    top.legend(ncols=2, fontsize=9)
    bottom.set_ylim(*_ratio_limits(example.bands, truth, shown))
    bottom.set_ylabel("ratio to the true ZLP")
    bottom.set_xlabel("energy from the peak (eV)")
    return figure


def _ratio_limits(bands, truth, shown):
    """Limits that show the narrow band whole and what fits of the wide one."""
    low, high = (side[shown] / truth for side in bands[CONFIDENCES[0]])
    margin = 0.5 * max(high.max() - 1, 1 - low.min(), 0.02)
    return max(low.min() - margin, 0), high.max() + margin


def _rows_of_kinds(axes, kinds):
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    for panel in axes.figure.axes:
        for row in range(1, len(kinds)):
            panel.axhline(row - 0.5, color="0.85", lw=0.8, zorder=0)


def _windows():
    return list(zip(WINDOWS, _WINDOW_COLOURS, strict=True))


def _filling(marker, colour):
    return "none" if marker == "s" else colour


def _handle(marker, colour, label):
    filling = _filling(marker, colour)
    return Line2D([], [], ls="", marker=marker, color=colour, mfc=filling, label=label)


def _band_handle(label):
    return Line2D([], [], color=_GOAL, lw=8, alpha=0.4, label=label)
