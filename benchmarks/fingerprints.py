# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints of results: whether a change of the code changed a number; ``make fingerprints``.

One line for each kind of sample image and way of calling: the SHA-256 of every array of the result.
Run it before and after a change that must not move a bit, on the same machine, and compare::

    python benchmarks/fingerprints.py > before.txt
    python benchmarks/fingerprints.py --against before.txt
"""

import argparse
import hashlib
import sys
import warnings
from pathlib import Path

import hyperspy.api as hs
import numpy as np

import hyperspy_zlpml
from hyperspy_zlpml import data

#: Enough of everything: several clusters, vacuum, networks of more than one block.
REPLICAS = 20
SHAPES = {"line_scan": (24,), "single_spectrum": ()}
SPECTRA = ("subtracted", "zlp", "std", "lower", "upper")
MAPS = ("clusters", "vacuum", "centre", "fwhm", "intensity")
SEED = 11


def main():
    """Print all fingerprints, or those that differ from a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="*", default=list(data.SAMPLE_KINDS))
    parser.add_argument("--against", type=Path, help="what the command printed before the change")
    options = parser.parse_args()
    hs.preferences.General.show_progressbar = False
    warnings.simplefilter("ignore")
    lines = []
    for line in fingerprints(options.kinds):
        lines.append(line)
        if options.against is None:
            print(line, flush=True)
    if options.against is None:
        return 0
    before = set(options.against.read_text(encoding="utf-8").splitlines())
    changed = [line for line in lines if line not in before]
    for line in changed:
        print(f"changed: {line}")
    print(f"{len(lines) - len(changed)} of {len(lines)} results are bit for bit as before")
    return int(bool(changed))


def fingerprints(kinds):
    """Lines of all kinds, as they are found."""
    for kind in kinds:
        signal = data.SAMPLE_KINDS[kind](SHAPES.get(kind, (10, 9)), random_state=SEED).signal
        result = signal.remove_zlp_ml(n_replicas=REPLICAS, random_state=SEED)
        yield from lines_of(f"{kind} eager", result)
        lazy = signal.as_lazy()
        if signal.data.ndim == 3:
            lazy.data = lazy.data.rechunk((4, 5, -1))
        result = lazy.remove_zlp_ml(n_replicas=REPLICAS, random_state=SEED)
        result.compute()
        yield from lines_of(f"{kind} lazy", result)
        other = data.SAMPLE_KINDS[kind](SHAPES.get(kind, (10, 9)), random_state=SEED + 1).signal
        reused = other.remove_zlp_ml(ensemble=result.ensemble, random_state=SEED)
        yield from lines_of(f"{kind} reused", reused)
    yield from others()


def others():
    """Lines of what needs arguments of its own."""
    sample = data.ws2_like((10, 9), random_state=SEED)
    reference = data.vacuum_reference((4, 4), random_state=SEED).signal
    options = {"n_replicas": REPLICAS, "random_state": SEED}
    for name, arguments in {
        "spectra": {"replica_kind": "spectra"},
        "vacuum signal": {"vacuum": reference},
        "vacuum map": {"vacuum": sample.thickness.data == 0},
        "mask": {"navigation_mask": sample.thickness.data > 0.8},
        "map of thickness": {"cluster_by": sample.thickness, "n_clusters": 3},
        "regions": {"regions": {"E_I": 1.2, "E_II": 9.0}, "n_clusters": "auto"},
    }.items():
        yield from lines_of(f"ws2_like {name}", sample.signal.remove_zlp_ml(**options, **arguments))
    images = data.vacuum_at_settings((60, 120, 200), (0.1, 0.4), (4, 4), random_state=SEED)
    ensemble = hyperspy_zlpml.train_zlp_ml(
        [image.signal for image in images], conditions=["beam_energy", "exposure"], **options
    )
    energy = np.linspace(-3, 20, 400)
    zlps = ensemble.predict(energy, beam_energy=90.0, exposure=0.3)
    yield f"settings prediction {digest(zlps)}"
    yield f"settings ensemble {ensemble.fingerprint}"


def lines_of(name, result):
    """One line for each array of a result."""
    for one in (*SPECTRA, *MAPS):
        yield f"{name} {one} {digest(getattr(result, one).data)}"
    yield f"{name} variance {digest(result.subtracted.get_noise_variance().data)}"
    yield f"{name} ensemble {result.ensemble.fingerprint}"
    if np.isfinite(result.subtracted.data).any():
        axis = result.subtracted.axes_manager.signal_axes[0]
        integral, error = result.integrate(0.1 * axis.high_value, 0.5 * axis.high_value)
        yield f"{name} integral {digest(integral.data)} {digest(error.data)}"
    yield f"{name} report {hashlib.sha256(str(result.report).encode()).hexdigest()}"


def digest(array):
    """SHA-256 of the values of an array, as their own type."""
    array = np.ascontiguousarray(array)
    return hashlib.sha256(array.dtype.str.encode() + array.tobytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
