# SPDX-License-Identifier: GPL-3.0-or-later
"""Accuracy and honesty of the error bars on sample images whose truth is known.

Run by ``make bench-accuracy``. ``remove_zlp_ml`` with its default arguments is scored beside what
a user would pick instead. Errors are of the ZLP, in standard deviations of the noise of one
channel. Written as text, Markdown and CSV, with pictures.
"""

import argparse
import csv
import logging
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import hyperspy.api as hs
import numpy as np
from scipy.stats import norm

from hyperspy_zlpml import data
from hyperspy_zlpml.removal import Removal

#: Windows in FWHM from the peak.
WINDOWS = ((1.5, 4.0), (2.0, 8.0), (4.0, 12.0))
CONFIDENCES = (0.68, 0.95)
#: Spectra over which coverage is counted, and the fits of HyperSpy are made, of each sort.
N_SCORED = 300
SMALL_KINDS = ("line_scan", "single_spectrum")


@dataclass(frozen=True)
class Score:
    """One line of the table: one image, sort of pixels, window and method."""

    kind: str
    seed: int
    pixels: str
    window: str
    method: str
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


@dataclass(frozen=True)
class Scene:
    """A sample image as arrays, spectra on the first axis."""

    kind: str
    seed: int
    sample: object
    vacuum: object
    energy: np.ndarray
    counts: np.ndarray
    truth: np.ndarray
    inelastic: np.ndarray
    sigma: np.ndarray
    u: np.ndarray
    fwhm: np.ndarray
    centre: np.ndarray
    gap: np.ndarray
    is_vacuum: np.ndarray

    @classmethod
    def make(cls, kind, seed, size):
        """Simulate an image of a kind; images are ``size`` pixels wide and high."""
        shape = {} if kind in SMALL_KINDS else {"navigation_shape": (size, size)}
        sample = data.SAMPLE_KINDS[kind](random_state=seed, **shape)
        vacuum = None
        if kind == "single_spectrum":
            vacuum = data.vacuum_reference(random_state=seed + 1000).signal
        energy = sample.signal.axes_manager.signal_axes[0].axis
        counts, truth, inelastic = (
            s.data.reshape(-1, energy.size).astype(float)
            for s in (sample.signal, sample.zlp, sample.inelastic)
        )
        centre, fwhm, gap, thickness = (
            m.data.reshape(-1).astype(float)
            for m in (sample.centre, sample.fwhm, sample.band_gap, sample.thickness)
        )
        return cls(
            kind, seed, sample, vacuum, energy, counts, truth, inelastic,
            np.sqrt(sample.gain * (truth + inelastic) + sample.readout**2),
            (energy - centre[:, None]) / fwhm[:, None], fwhm, centre, gap, thickness == 0,
        )  # fmt: skip

    def groups(self, rng):
        """Some vacuum and some specimen pixels, as (name, indices)."""
        for name, chosen in (("vacuum", self.is_vacuum), ("specimen", ~self.is_vacuum)):
            index = np.flatnonzero(chosen)
            if index.size:
                yield name, np.sort(rng.permutation(index)[:N_SCORED])


def ours(scene, n_replicas):
    """Scores of ``remove_zlp_ml`` with default arguments, its result and its seconds."""
    start = time.perf_counter()
    result = scene.sample.signal.remove_zlp_ml(
        vacuum=scene.vacuum, n_replicas=n_replicas, random_state=scene.seed
    )
    seconds = time.perf_counter() - start
    flat = {
        name: getattr(result, name).data.reshape(scene.counts.shape).astype(float)
        for name in ("zlp", "std", "subtracted", "lower", "upper")
    }
    wide = _wide_band(result, scene)
    scores = []
    for name, rows in scene.groups(np.random.default_rng(scene.seed)):
        error = flat["zlp"][rows] - scene.truth[rows]
        counts = scene.counts[rows]
        bands = {
            0.68: (counts - flat["upper"][rows], counts - flat["lower"][rows]),
            0.95: tuple(counts - side for side in wide(rows)[::-1]),
        }
        for window in WINDOWS:
            inside = (scene.u[rows] > window[0]) & (scene.u[rows] < window[1])
            scores.append(
                _score(scene, result, name, rows, window, inside, error, flat["std"][rows], bands)
            )
    return scores, result, seconds


def _wide_band(result, scene):
    """Function of rows that gives the 95 % band of the subtracted signal."""
    old, peaks = result._removal, result._peaks
    channels = peaks[np.isfinite(peaks[:, 0]), 0].astype(int)
    removal = Removal.prepare(
        result.ensemble, old.energy, old.noise, old.pedestal, 0.95, (channels.min(), channels.max())
    )

    def band(rows):
        applied = removal.apply(scene.counts[rows], peaks[rows])
        return applied[3], applied[4]

    return band


def _score(scene, result, name, rows, window, inside, error, std, bands):
    sigma, truth = scene.sigma[rows], scene.truth[rows]
    covered = {
        confidence: np.mean(((low <= truth) & (truth <= high))[inside])
        for confidence, (low, high) in bands.items()
    }
    pulls = _integral_pulls(scene, result, rows, window, inside, error)
    within = {c: np.mean(np.abs(pulls) < norm.ppf(0.5 + c / 2)) for c in CONFIDENCES}
    scaled = (error / sigma)[inside]
    return Score(
        scene.kind, scene.seed, name, _name(window), "hyperspy_zlpml",
        float(np.sqrt((scaled**2).mean())), float(scaled.mean()),
        _signal_error(scene, rows, inside, error),
        covered[0.68], covered[0.95], within[0.68], within[0.95],
        float((error[inside] / std[inside]).mean()), float(np.sqrt(np.mean(pulls**2))),
        float((std / sigma)[inside].mean()),
    )  # fmt: skip


def _integral_pulls(scene, result, rows, window, inside, error):
    """Error of the ZLP's integral over a window in units of its claimed error."""
    peaks = result._peaks[rows]
    limits = tuple(edge * scene.fwhm[rows] for edge in window)
    _, model, _, _ = result._removal.integrate(scene.counts[rows], peaks, limits)
    return (error * inside).sum(-1) / model


def _signal_error(scene, rows, inside, error):
    """Median relative error that the ZLP makes in the integrated inelastic signal."""
    signal = (scene.inelastic[rows] * inside).sum(-1)
    if scene.is_vacuum[rows].any():
        return np.nan
    return float(np.median(np.abs((error * inside).sum(-1)) / signal))


def _name(window):
    return f"{window[0]:g}-{window[1]:g}"


def in_gap(scene, result):
    """Signal between core and onset, free of what truly is there: of the ZLP, and in errors.

    The mean over the specimen pixels; its error holds the counting noise of all of them and the
    model's, taken as common to all.
    """
    rows = np.flatnonzero(~scene.is_vacuum & np.isfinite(result._peaks[:, 0]))
    left = 1.5 * scene.fwhm[rows]
    limits = left, np.maximum(scene.gap[rows], left + 0.5 * scene.fwhm[rows])
    integral, model, counting, zlp = result._removal.integrate(
        scene.counts[rows], result._peaks[rows], limits
    )
    distance = scene.energy - scene.centre[rows][:, None]
    inside = (distance >= limits[0][:, None]) & (distance < limits[1][:, None])
    excess = integral - (scene.inelastic[rows] * inside).sum(-1)
    error = np.hypot(model.mean(), np.sqrt((counting**2).sum()) / len(rows))
    return excess.mean() / zlp.mean(), excess.mean() / error


def others(scene):
    """Scores of the other methods."""
    import peers

    everything = [rows for _, rows in scene.groups(np.random.default_rng(scene.seed))]
    chosen = np.concatenate(everything)
    reference = None if scene.vacuum is None else scene.vacuum.data.reshape(-1, scene.energy.size)
    scores = []
    for method, function in peers.METHODS.items():
        measurement = peers.Measurement(scene.energy, scene.counts, scene.is_vacuum, reference)
        if method in peers.SLOW:
            measurement = peers.Measurement(
                scene.energy, scene.counts[chosen], scene.is_vacuum[chosen], reference
            )
        zlp = function(measurement)
        if zlp is None:
            continue
        if method in peers.SLOW:
            full = np.full(scene.counts.shape, np.nan)
            full[chosen] = zlp
            zlp = full
        scores += plain_scores(scene, method, zlp)
    return scores


def plain_scores(scene, method, zlp):
    """Scores of a method without error bars; NaN rows of ``zlp`` are left out."""
    scores = []
    for name, rows in scene.groups(np.random.default_rng(scene.seed)):
        error = zlp[rows] - scene.truth[rows]
        known = np.isfinite(error).all(-1)
        rows, error = rows[known], error[known]
        for window in WINDOWS:
            inside = (scene.u[rows] > window[0]) & (scene.u[rows] < window[1])
            scaled = (error / scene.sigma[rows])[inside]
            if scaled.size:
                scores.append(
                    Score(
                        scene.kind, scene.seed, name, _name(window), method,
                        float(np.sqrt((scaled**2).mean())), float(scaled.mean()),
                        _signal_error(scene, rows, inside, error),
                    )  # fmt: skip
                )
    return scores


def main():
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=list(data.SAMPLE_KINDS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[101, 102, 103])
    parser.add_argument("--size", type=int, default=48, help="pixels along an edge of the images")
    parser.add_argument("--replicas", type=int, default=100)
    parser.add_argument("--no-peers", action="store_true", help="score our own method only")
    parser.add_argument("--output", default="benchmarks/output")
    options = parser.parse_args()
    hs.preferences.General.show_progressbar = False
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    scores = []
    for kind in options.kinds:
        seeds = options.seeds
        if kind in SMALL_KINDS:
            seeds = [seed + 1000 * k for seed in seeds for k in range(4)]
        gaps, seconds, here = [], [], []
        for seed in seeds:
            scene = Scene.make(kind, seed, options.size)
            mine, result, used = ours(scene, options.replicas)
            here += mine
            seconds.append(used)
            gaps.append(in_gap(scene, result))
            if not options.no_peers:
                here += others(scene)
        print_kind(kind, here, gaps, seconds)
        scores += here
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    with open(output / "accuracy.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(asdict(scores[0])))
        writer.writeheader()
        writer.writerows(asdict(score) for score in scores)


def print_kind(kind, scores, gaps, seconds):
    """Means over the seeds."""
    print(f"\n{kind}: {np.mean(seconds):.1f} s per image; in-gap signal of the ZLP, in errors:", end=" ")
    print(", ".join(f"{part:+.2%} ({z:+.1f})" for part, z in gaps))
    print("  pixels   window  rms    bias    | best other         | cov68 cov95 int68 int95 pull  ipull width")
    mine = [s for s in scores if s.method == "hyperspy_zlpml"]
    for pixels in ("vacuum", "specimen"):
        for window in map(_name, WINDOWS):
            rows = [s for s in mine if (s.pixels, s.window) == (pixels, window)]
            if not rows:
                continue
            best = best_other(scores, pixels, window)
            mean = {n: np.nanmean([getattr(s, n) for s in rows]) for n in asdict(rows[0]) if n not in ("kind", "pixels", "window", "method")}
            print(
                f"  {pixels:<8} {window:<7} {mean['rms']:<6.3f} {mean['bias']:+.3f}  | {best:<18} | "
                f"{mean['coverage68']:.2f}  {mean['coverage95']:.2f}  {mean['integral68']:.2f}  {mean['integral95']:.2f}  "
                f"{mean['pull']:+.2f} {mean['integral_pull']:.2f}  {mean['width']:.3f}", flush=True
            )


def best_other(scores, pixels, window):
    """The least error of another method, picked for each image with hindsight, and its name."""
    found = {}
    for s in scores:
        if s.method != "hyperspy_zlpml" and (s.pixels, s.window) == (pixels, window):
            found.setdefault(s.seed, []).append((s.rms, s.method))
    if not found:
        return "-"
    best = [min(values) for values in found.values()]
    return f"{np.mean([b[0] for b in best]):.3g} {best[0][1]}"


if __name__ == "__main__":
    main()
