# SPDX-License-Identifier: GPL-3.0-or-later
"""Removal of the ZLP from random images with everything that goes wrong with data.

Each image must give a result or an error of ours that says why: an exception from inside NumPy, SciPy
or torch is a crash, and numbers of used spectra that are not finite or far above their own counts are
absurd. A second part spoils one spectrum of a clean image: the others must be what they are if the
user leaves it out (nothing was learnt from it, whether it has a result or not), or else if it is not
spoilt. Beside the latter stands what noise as large as its own in that one spectrum does to them:
networks are trained on it, and few of them.
"""

import argparse
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperspy_zlpml import TooFewReplicasError
from hyperspy_zlpml.image.describe import describe_image
from hyperspy_zlpml.image.measure import measure
from hyperspy_zlpml.workflow import Spectra, remove_zlp

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from spoilt_images import SPOILERS, random_image, spoilt_image  # noqa: E402

PACKAGE = str(Path(__file__).resolve().parents[1] / "hyperspy_zlpml")
RESULTS = ("subtracted", "zlp", "std", "lower", "upper", "variance")
N_REPLICAS = 4
#: A ZLP or its standard deviation above this many times the largest counts of its spectrum is absurd.
ABSURD = 2.0
#: A change of this many standard deviations of the counting noise is none.
NOTHING = 0.01
#: Other spectra may change by so many standard deviations, ...
MOST = 0.1
#: ... or by this many times what noise does, where the spoilt one is learnt from.
BESIDE_NOISE = 4.0
#: What becomes of a spoilt spectrum.
KINDS = ("left out", "subtracted, nothing learnt from it", "learnt from")
#: An image may take so many seconds of CPU: other programs do not count.
LONGEST = 60.0


@dataclass(frozen=True)
class Change:
    """What a spoilt spectrum does to the others.

    Attributes
    ----------
    size : float
        Largest change of their ZLPs, standard deviations.
    kind : str
        What became of the spoilt one, of KINDS.
    by_noise : float
        What noise as large as its own in it does; 0 where that was not tried.
    words : str
        Seed, spoiler and shape.
    """

    size: float
    kind: str
    by_noise: float
    words: str

    @property
    def allowed(self):
        """Largest change that is as it must be."""
        return max(MOST, BESIDE_NOISE * self.by_noise)

    def __str__(self):
        noise = f"; noise as large as its own in it: {self.by_noise:.2g}" if self.by_noise else ""
        return f"{self.words}, {self.kind}{noise}"


def main():
    """Print the outcomes; 1 if anything is not as it must be."""
    options = arguments()
    start = time.perf_counter()
    outcomes = Counter()
    for seed in range(options.seed, options.seed + options.images):
        kind, words = outcome(seed)
        outcomes[kind] += 1
        if kind not in ("result", "refused") or options.verbose:
            print(f"{seed}: {kind}: {words}", flush=True)
    print(f"{options.images} random images: {dict(outcomes)}, {time.perf_counter() - start:.0f} s")
    seeds = range(options.seed, options.seed + options.spoilt)
    changes = [changed(seed, options.replicas) for seed in seeds]
    changes = [change for change in changes if change is not None]
    for one in sorted(changes, key=lambda one: one.size)[-5:]:
        print(f"one spoilt spectrum changes others by up to {one.size:.2g} std ({one})")
    for kind in KINDS:
        show_changes(kind, [one.size for one in changes if one.kind == kind])
    failed = sum(outcomes.values()) > outcomes["result"] + outcomes["refused"]
    return int(failed or any(one.size > one.allowed for one in changes))


def show_changes(kind, changes):
    """Print how many spoilt spectra of a kind change others, and by how much."""
    if changes:
        n_changing = sum(change > MOST for change in changes)
        print(
            f"{len(changes)} spoilt spectra {kind}: {n_changing} change others by more than {MOST} std, "
            f"median {np.median(changes):.2g}"
        )


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--spoilt", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replicas", type=int, default=N_REPLICAS, help="of the second part")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


def outcome(seed):
    """Remove the ZLP from one random image, and judge what comes back."""
    rng = np.random.default_rng(seed)
    image, names = spoilt_image(rng)
    words = f"{image.shape} x {image.energy.size} {names}"
    start = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            removed = remove_zlp(image.stacked, image.energy, n_replicas=N_REPLICAS, random_state=0)
            removed.compute()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            if is_ours(error):
                return "refused", f"{words}: {error}"
            return "crash", f"{words}: {error!r} at {place(error)}"
    if time.process_time() - start > LONGEST:
        return "slow", words
    foreign = [str(one.message) for one in caught if one.category is RuntimeWarning]
    wrong = absurd(image, removed)
    if wrong:
        return "absurd", f"{words}: {wrong}"
    return ("foreign warning", f"{words}: {foreign[0]}") if foreign else ("result", words)


def is_ours(error):
    """Tell whether an error was raised by a line of the package that says so."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return last.filename.startswith(PACKAGE) and last.line.startswith("raise")


def place(error):
    """Say where in the package an error comes from."""
    own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(PACKAGE)]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}"


def absurd(image, removed):
    """Say what is wrong with the numbers of used spectra; empty where nothing is."""
    used = removed.clusters.ravel() >= 0
    counts = np.asarray(image.counts, float)[used]
    for name in RESULTS:
        values = getattr(removed, name).reshape(len(used), -1)
        if not np.isfinite(values[used]).all():
            return f"{name} is not finite in used spectra"
        if not np.isnan(values[~used]).all():
            return f"{name} is not NaN in spectra that are not used"
    largest = ABSURD * np.abs(counts).max(-1, initial=0)
    for name in ("zlp", "std"):
        values = getattr(removed, name).reshape(len(used), -1)[used]
        if (values.max(-1, initial=0) > largest).any():
            worst = (values.max(-1) / largest).max() * ABSURD
            return f"{name} is {worst:.2g} times the largest counts"
        if (values < 0).any():
            return f"{name} is negative"
    return ""


def changed(seed, n_replicas=N_REPLICAS):
    """Spoil one spectrum, and find by how many standard deviations others change.

    Returns
    -------
    Change, or None where the image is refused anyway.
    """
    rng = np.random.default_rng(seed)
    image = random_image(rng, most_counts=7.0)
    row = int(rng.integers(len(image.counts)))
    spoiler = SPOILERS[seed % len(SPOILERS)]
    spoilt = spoiler(image.counts.copy(), row, image.energy, rng)
    left_out = np.zeros(len(image.counts), bool)
    left_out[row] = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = removed_from(spoilt, image, n_replicas)
            right = removed_from(image.counts, image, n_replicas, left_out.reshape(image.shape))
            others = (right.clusters.ravel() >= 0) & ~left_out
            if not others.any():
                return None
            kind, by_noise = kind_of(got, spoilt, image.energy, row), 0.0
            size = change_of(got, right, others)
            if kind == KINDS[2]:
                right = removed_from(image.counts, image, n_replicas)
                size = change_of(got, right, others)
            if kind == KINDS[2] and size > MOST:
                noisy = with_more_noise(image.counts, row, right, rng)
                by_noise = change_of(removed_from(noisy, image, n_replicas), right, others)
    except (ValueError, TooFewReplicasError):
        return None
    shape = " x ".join(str(int(n)) for n in (*image.shape, image.energy.size))
    return Change(size, kind, by_noise, f"{seed}: {spoiler.__name__}, {shape}")


def kind_of(got, counts, energy, row):
    """Tell what became of a spoilt spectrum of an image, by its removal and its description."""
    if got.clusters.ravel()[row] < 0:
        return KINDS[0]
    measured = measure(Spectra(counts, energy), np.arange(len(counts)))
    found = describe_image(
        measured.parameters, measured.spectra.energy, measured.index, measured.counts
    )
    return KINDS[1 if found.set_aside[row] else 2]


def with_more_noise(counts, row, right, rng):
    """Add noise to one spectrum, as large as that of its counts."""
    variance, std = (values.reshape(counts.shape)[row] for values in (right.variance, right.std))
    counts = counts.copy()
    counts[row] += rng.standard_normal(std.size) * np.sqrt(np.clip(variance - std**2, 0, None))
    return counts


def change_of(got, right, others):
    """Find by how many standard deviations the ZLPs of some spectra differ at most."""
    zlp, expected, std, variance = (
        values.reshape(len(others), -1)[others]
        for values in (got.zlp, right.zlp, right.std, right.variance)
    )
    # Where the ZLP is nothing beside the noise, so is its error.
    std = np.hypot(std, NOTHING * np.sqrt(variance))
    return float(np.nan_to_num(np.abs(zlp - expected) / std, nan=np.inf).max())


def removed_from(counts, image, n_replicas, mask=None):
    """Remove the ZLP from the counts of an image."""
    return remove_zlp(
        counts.reshape(image.shape + counts.shape[-1:]),
        image.energy,
        n_replicas=n_replicas,
        random_state=0,
        navigation_mask=mask,
    )


if __name__ == "__main__":
    sys.exit(main())
