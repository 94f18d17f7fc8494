# SPDX-License-Identifier: GPL-3.0-or-later
"""Ensemble files and stored models: size, time to load, and what becomes of tampered ones.

A damaged file must be refused by an ``EnsembleFileError``, or hold the same model; a forged one,
whose checksum is right, must be refused or predict numbers; so must a stored model, which has no
checksum, and is refused by a ``ValueError``. Everything else, a load of more than a second of CPU
and memory of more than 200 MB fail. Files are read in a process of its own, whose peak memory is
compared with that after loading the intact file: memory of the parser, which is no Python, counts.
"""

import argparse
import json
import resource
import signal as signals
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from hyperspy_zlpml import EnsembleFileError, load
from hyperspy_zlpml.components import ZLPNet
from hyperspy_zlpml.ensemble.inputs import InputScaling
from hyperspy_zlpml.ensemble.parts import to_parts
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.zlp.grid import Grid
from hyperspy_zlpml.zlp.regions import Regions
from hyperspy_zlpml.zlp.tables import SpillTables

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from ensemble_mutations import damaged, forged, tampered  # noqa: E402
from ensembles import make_ensemble  # noqa: E402

LAYERS = (2, 10, 15, 5, 1)
N_GRID = 1245
N_MODES = 24
N_SETS = 6
#: What a load may take at most, of CPU time: others may be at work.
MOST_SECONDS = 1.0
MOST_MEGABYTES = 200.0
#: Seconds after which reading a model and predicting ends the process: it hangs.
MOST_MODEL_SECONDS = 20
#: Networks of the ensemble of a model.
FEW_REPLICAS = 6
N_TIMED = 50
#: What is read.
READ = {"damaged": "damaged files", "forged": "forged files", "stored": "stored models, tampered"}
ENERGY = np.linspace(-3, 12, 2048)
#: What errors say, from the first that fits.
KINDS = (
    "not an ensemble", "cut short", "newer version", "its checksum", "are expected",
    "no format version", "parts of an ensemble", "altered",
)  # fmt: skip


def main():
    """Print size, times and outcomes; 1 if anything is not as it must be."""
    options = arguments()
    if options.job:
        print(json.dumps(fuzz(Path(options.job), options)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ensemble.zlp"
        is_equal = measure(file, options.replicas)
        command = [
            sys.executable, __file__, "--job", str(file), "--mutations", str(options.mutations),
            "--forged", str(options.forged), "--models", str(options.models),
            "--seed", str(options.seed),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"the process that read the files died ({done.returncode})\n{done.stderr[-2000:]}")
        return 1
    found = json.loads(done.stdout.splitlines()[-1])
    return int(not (show(found) and is_equal))


def arguments():
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=10_000, help="damaged files")
    parser.add_argument("--forged", type=int, default=2_000, help="files with a right checksum")
    parser.add_argument("--models", type=int, default=20_000, help="models tampered with")
    parser.add_argument("--replicas", type=int, default=100, help="networks of the ensemble")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def random_ensemble(n_replicas, seed=0):
    """An ensemble of the usual sizes that nobody trained."""
    rng = np.random.default_rng(seed)
    grid = Grid(-3.5, N_GRID)
    n_weights = sum((a + 1) * b for a, b in zip(LAYERS[:-1], LAYERS[1:], strict=True))

    def single(*shape):
        return 0.1 * rng.standard_normal(shape).astype(np.float32)

    return make_ensemble(
        weights=single(n_replicas, n_weights),
        layers=LAYERS,
        scaling=InputScaling(15.0, 0.5, float(grid.x[-1] / 2)),
        grid=grid,
        log_reference=-2.0 * np.log1p(1.66 * grid.u**2),
        scatter=np.abs(single(grid.n)),
        spill=SpillTables(np.linspace(14.5, 15.5, N_SETS), np.abs(single(N_SETS, grid.n))),
        reference_modes=single(N_MODES, grid.n),
        reference_scores=single(n_replicas, N_MODES),
        log_intensity_range=Range(14.5, 15.5),
        log_fwhm=Normal(-0.8, 0.02),
        log_beam=15.5,
        u_range=Range(float(grid.u[0]), float(grid.u[-1])),
        regions=Regions(np.full(5, -np.inf), np.linspace(1, 2, 5), np.full(5, np.inf)),
        cluster_centres=np.linspace(15.5, 14.5, 5),
        cluster_by="zlp",
        noise=NoiseModel(1.0, 30.0),
        microscope={"beam_energy": 200.0},
        provenance={"title": "random weights"},
    )


def measure(file, n_replicas):
    """Size, times, and whether what is loaded predicts the same."""
    one = random_ensemble(n_replicas)
    times = {"save": [], "load": []}
    for _ in range(N_TIMED):
        start = time.perf_counter()
        one.save(file)
        middle = time.perf_counter()
        back = load(file)
        times["save"].append(middle - start)
        times["load"].append(time.perf_counter() - middle)
    is_equal = bool((back.predict(ENERGY) == one.predict(ENERGY)).all())
    print(f"{n_replicas} networks {list(LAYERS)}, {N_GRID} nodes, {N_MODES} modes")
    print(f"  size              {file.stat().st_size / 1e3:8.1f} kB")
    for name, values in times.items():
        print(f"  {name}              {1e3 * np.median(values):8.2f} ms (median of {N_TIMED})")
    print(f"  predicts the same {'yes, to the last bit' if is_equal else 'NO':>8}")
    return is_equal


# --- damage ---------------------------------------------------------------------------------------


def megabytes():
    """Largest memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells may be that of the process that started this one
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def fuzz(file, options):
    """Outcomes of reading damaged and forged files and models, longest time and memory."""
    rng = np.random.default_rng(options.seed)
    one, data = load(file), file.read_bytes()
    baseline = megabytes()
    expected, parts = one.fingerprint, to_parts(one)
    other = file.with_name("other.zlp")
    outcomes, longest, wrong = {kind: Counter() for kind in READ}, 0.0, []
    for number in range(options.mutations):
        content, kinds = damaged(data, rng)
        outcome, found, seconds = outcome_of(other, content)
        longest = max(longest, seconds)
        if found is not None:
            outcome = "equal model" if found.fingerprint == expected else "ANOTHER MODEL"
        outcomes["damaged"][outcome] += 1
        if outcome.isupper():
            wrong.append(f"damaged {number} ({kinds}): {outcome}")
    memory = {"damaged": megabytes() - baseline}
    for number in range(options.forged):
        outcome, found, seconds = outcome_of(other, forged(*parts, rng))
        longest = max(longest, seconds)
        if found is not None:
            outcome = predicts(found)
        outcomes["forged"][outcome] += 1
        if outcome.isupper():
            wrong.append(f"forged {number}: {outcome}")
    parts = to_parts(random_ensemble(FEW_REPLICAS))
    for number in range(options.models):
        outcome, seconds = outcome_of_model(*tampered(*parts, rng))
        longest = max(longest, seconds)
        outcomes["stored"][outcome] += 1
        if outcome.isupper():
            wrong.append(f"stored {number}: {outcome}")
    memory["forged"] = megabytes() - baseline  # predictions included
    return {"outcomes": outcomes, "seconds": longest, "megabytes": memory, "wrong": wrong}


def outcome_of(file, content):
    """In words, in capitals if it is none that may be; the ensemble loaded; seconds."""
    file.write_bytes(content)
    start = time.process_time()
    found = None
    try:
        found = load(file)
        outcome = ""
    except EnsembleFileError as error:
        text = str(error).removeprefix(str(file))
        outcome = next((kind for kind in KINDS if kind in text), "other reasons")
    except Exception as error:
        outcome = repr(error)[:100].upper()
    return outcome, found, time.process_time() - start


def outcome_of_model(stored, thickness):
    """In words, in capitals if it is none that may be; seconds of reading."""
    signals.alarm(MOST_MODEL_SECONDS)
    start = time.process_time()
    try:
        component = ZLPNet(stored, thickness)
        seconds = time.process_time() - start
        outcome = predicts(component.ensemble)
        with np.errstate(all="ignore"):
            values = [component.function(ENERGY), component.grad_centre(ENERGY), component.fwhm]
        if not np.isfinite(np.hstack(values)).all():
            outcome = "A COMPONENT THAT IS NO NUMBER"
    except ValueError as error:
        seconds = time.process_time() - start
        by_name = str(error).startswith(("ensemble: expected", "thickness: expected"))
        outcome = str(error).split(":")[0] if by_name else repr(error)[:100].upper()
    except Exception as error:
        seconds, outcome = time.process_time() - start, repr(error)[:100].upper()
    signals.alarm(0)
    return outcome, seconds


def predicts(found):
    """Whether an ensemble that was loaded predicts numbers."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            predicted = found.predict(ENERGY)
            table = found.tabulate()
    except Exception as error:
        return repr(error)[:100].upper()
    if predicted.shape != (found.n_replicas, ENERGY.size):
        return "WRONG SHAPE"
    numbers = np.isfinite(predicted).all() and np.isfinite(table.log_shape).all()
    return "a model that predicts" if numbers else "PREDICTS WHAT IS NO NUMBER"


def show(found):
    """Print the outcomes; whether all are as they must be."""
    for name, outcomes in found["outcomes"].items():
        print(f"{sum(outcomes.values())} {READ[name]}")
        for outcome, n in sorted(outcomes.items(), key=lambda item: -item[1]):
            refused = "" if outcome in ("equal model", "a model that predicts") else "refused: "
            print(f"  {n:6d}  {'WRONG: ' if outcome.isupper() else refused}{outcome}")
    print(f"  longest load      {found['seconds']:8.3f} s of CPU")
    for name, memory in found["megabytes"].items():
        print(f"  peak memory       {memory:8.1f} MB above that of an intact file ({name})")
    for sentence in found["wrong"][:20]:
        print(sentence)
    is_quick = found["seconds"] < MOST_SECONDS
    is_quick &= max(found["megabytes"].values()) < MOST_MEGABYTES
    passed = is_quick and not found["wrong"]
    print("passed" if passed else "FAILED")
    return passed


if __name__ == "__main__":
    sys.exit(main())
