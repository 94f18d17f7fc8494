# SPDX-License-Identifier: GPL-3.0-or-later
"""Removal of the ZLP from random parts of measured images: some spectra, a shorter axis, binned, scaled.

Part of an image holds the peaks of the whole: those that come back must be as high as in the removal of
the whole file, and no spectrum that was used there may be lost. Measured spectra lie in ``shared/data``
beside the project; where they do not, nothing is tried.
"""

import argparse
import logging
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fuzz_images import is_ours, place

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = (
    "cr_lowloss_200kV.hspy",
    "fecr_linescan_300kV_lowdose.dm3",
    "ice_pedestal.msa",
    "lsmo_linescan_80kV.hspy",
    "si_16x16_200kV.dm3",
    "ws2_specimen3_mono.hspy",
    "ws2_specimen4.hspy",
)
N_REPLICAS = 8
#: Spectra of a part at most.
MOST_SPECTRA = 120
#: Channels that are kept at least before the peak of the mean spectrum, and behind it.
BEFORE, BEHIND = 15, 60
#: Peaks of a part are as high as those of the whole to this fraction.
SAME_HEIGHT = 0.1
#: This fraction of the spectra of a part may be left out that are used in the whole.
MOST_LOST = 0.1
#: Words of a report, any of which says that the peak may be another.
TOLD = ("FAILED", "ZLP is not to be trusted")
#: Outcomes that may be.
FINE = ("same peak", "refused", "other peak, told of")


def main():
    """Print what is not as it must be, and the outcomes; 1 if anything is not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    if not DATA.is_dir():
        print(f"no measured spectra in {DATA}")
        return 0
    wholes, outcomes = {}, Counter()
    for seed in range(options.seed, options.seed + options.parts):
        rng = np.random.default_rng(seed)
        name = str(rng.choice(FILES))
        if name not in wholes:
            wholes[name] = Whole.of(name)
        part = wholes[name].part(rng)
        outcome, words = judged(part)
        outcomes[outcome] += 1
        if outcome not in FINE[:2]:
            print(f"{seed}: {outcome}: {name}, {part.words}: {words}", flush=True)
    print(f"{options.parts} parts of measured images: {dict(outcomes)}")
    return int(any(outcome not in FINE for outcome in outcomes))


@dataclass(frozen=True)
class Part:
    """Part of a measured image.

    Attributes
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    energy : ndarray of shape (n_energy,)
    height : ndarray of shape (n_spectra,)
        Of the peaks, as the removal of the whole file tells it; NaN where that left them out.
    words : str
        What was done.
    """

    counts: np.ndarray
    energy: np.ndarray
    height: np.ndarray
    words: str


@dataclass(frozen=True)
class Whole:
    """Measured image, and the peaks that its removal finds.

    Attributes
    ----------
    counts, zlp : ndarray of shape (n_spectra, n_energy)
    energy : ndarray of shape (n_energy,)
    """

    counts: np.ndarray
    zlp: np.ndarray
    energy: np.ndarray

    @classmethod
    def of(cls, name):
        """Load a file, and remove its peaks."""
        import hyperspy.api as hs

        hs.preferences.General.show_progressbar = False
        signal = hs.load(DATA / name, signal_type="EELS_ZLPML")
        zlp = removed(signal).zlp.data
        counts = np.asarray(signal.data, float)
        energy = signal.axes_manager.signal_axes[0].axis
        return cls(*(data.reshape(-1, energy.size) for data in (counts, zlp)), energy)

    def part(self, rng):
        """Cut out, bin and scale at random."""
        rows, words = self._rows(rng)
        top = int(self.counts.sum(0).argmax())
        first = int(rng.integers(0, max(top - BEFORE, 1))) if rng.random() < 0.3 else 0
        stop = self.energy.size
        if rng.random() < 0.5:
            stop = int(rng.integers(min(top + BEHIND, stop - 1), stop))
        width = 2 if rng.random() < 0.25 else 1
        scale = 10 ** rng.uniform(-6, 6) if rng.random() < 0.2 else 1.0
        stop -= (stop - first) % width

        def binned(data):
            return data[..., first:stop].reshape(*data.shape[:-1], -1, width)

        counts, zlp = (scale * binned(data[rows]).sum(-1) for data in (self.counts, self.zlp))
        energy = binned(self.energy).mean(-1)
        words += f", {energy[0]:.4g} to {energy[-1]:.4g} eV, binned by {width}, times {scale:.2g}"
        return Part(counts, energy, zlp.max(-1), words)

    def _rows(self, rng):
        """Choose spectra: neighbours, or any."""
        n_spectra = len(self.counts)
        n = int(rng.integers(3, min(n_spectra, MOST_SPECTRA) + 1)) if n_spectra > 8 else n_spectra
        if rng.random() < 0.4:
            first = int(rng.integers(0, n_spectra - n + 1))
            return np.arange(first, first + n), f"{n} neighbours"
        return np.sort(rng.permutation(n_spectra)[:n]), f"any {n} spectra"


def judged(part):
    """Remove the peaks of a part, and compare them with those of the whole."""
    try:
        result = removed(signal_of(part))
        zlp = result.zlp.data
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
        if is_ours(error):
            return "refused", str(error)
        return "crash", f"{error!r} at {place(error)}"
    height = zlp.reshape(part.counts.shape).max(-1)
    known = np.isfinite(part.height)
    lost = known & ~np.isfinite(height)
    if lost.sum() > MOST_LOST * known.sum():
        return "lost", f"{lost.sum()} of {known.sum()} spectra"
    ratio = np.nanmedian(height / part.height)
    if abs(ratio - 1) > SAME_HEIGHT:
        is_told = any(words in str(result.report) for words in TOLD)
        kind = "other peak, told of" if is_told else "other peak"
        return kind, f"{ratio:.3g} times as high"
    return "same peak", ""


def signal_of(part):
    """Make a signal of a part."""
    import hyperspy.api as hs

    signal = hs.signals.Signal1D(part.counts)
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale, axis.units = part.energy[0], np.diff(part.energy).mean(), "eV"
    signal.set_signal_type("EELS_ZLPML")
    return signal


def removed(signal):
    """Remove the peaks of a signal with few networks."""
    return signal.remove_zlp_ml(n_replicas=N_REPLICAS, random_state=0)


if __name__ == "__main__":
    sys.exit(main())
