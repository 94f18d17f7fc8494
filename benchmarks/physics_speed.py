# SPDX-License-Identifier: GPL-3.0-or-later
"""Time and memory of all maps, one by one and in one pass: ``python benchmarks/physics_speed.py``.

An image of a phantom of 2048 channels is tiled, each tile with noise of its own, written to a file and read
lazily, and its zero-loss peak is removed by an ensemble that was trained on a tile. Each size is worked on in
a process of its own, whose largest memory is printed, removal included. With ``--workers 1 2`` the same pass runs on
clusters of so many workers of one thread. Temperatures are measured on an image of phonons of the same
size, for the phantom has no gains to measure them from; what it takes to find none is in the one pass.
Times are CPU time of one thread, so that other work on the machine does not count.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import dask
import hyperspy.api as hs
import numpy as np
from distributed import Client, LocalCluster

from hyperspy_zlpml.data import SEMICONDUCTOR, dielectric_phantom, phonons
from hyperspy_zlpml.data.forward import Camera, add_noise
from hyperspy_zlpml.physics import Plasmon

#: Pixels on a side of the tile, and of the blocks of the lazy image.
TILE = 16
BLOCK = 32
#: Where images are.
FOLDER = tempfile.TemporaryDirectory()
#: Channels of a spectrum.
N_CHANNELS = 2048
INDEX = {"n": SEMICONDUCTOR.refractive_index}
METHODS = {
    "thickness": INDEX,
    "dielectric_function": INDEX,
    "band_gap": {"exponent": 0.5},
    "fit_peaks": {"peaks": Plasmon(energy=24.0, width=6.0)},
    "temperature": {},
}
#: The gap with any exponent, by itself.
FREE = "band_gap, exponent free"
#: Goals of single rows; of methods ms per spectrum, with all errors.
GOALS = {
    "thickness": 0.7,
    "dielectric_function": 3.0,
    "band_gap": 8.0,
    FREE: 8.0,
    "temperature": 0.7,
    "zero-loss peaks and their errors": 0.5,
    "memory at most, removal and all maps, GB": 1.5,
}


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 100], help="pixels to a side")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--together", action="store_true", help="all methods in one pass alone")
    parser.add_argument("--workers", type=int, nargs="+", help="time clusters of so many instead")
    parser.add_argument("--job", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(measure(options.job, options.methods, options.together)))
        return
    if options.workers:
        compare_clusters(options)
        return
    print(f"{'CPU ms per spectrum, 2048 channels':<48}{'goal':>8}  {'of so many spectra'}")
    print(" " * 58 + "".join(f"{side**2:>8}" for side in options.sides))
    found = [in_process(side, options) for side in options.sides]
    for name in found[0]:
        numbers = "".join(f"{one[name]:>8.3g}" for one in found)
        print(f"{name:<48}{GOALS.get(name, ''):>8}  {numbers}", flush=True)


def in_process(side, options):
    """Measure one size in a process of its own."""
    command = [sys.executable, __file__, "--job", str(side), "--methods", *options.methods]
    command += ["--together"] * options.together
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(side, methods, together=False):
    """Time methods one by one, unless only together, and in one pass."""
    hs.preferences.General.show_progressbar = False
    warnings.simplefilter("ignore")
    with dask.config.set(scheduler="synchronous"):
        tile = dielectric_phantom((TILE, TILE), random_state=7001)
        trained = tile.signal.remove_zlp_ml(random_state=0)
        several = {name: METHODS[name] for name in methods}
        trained.maps(**several)  # what is compiled or imported at first does not count
        removal = removed(tile, trained.ensemble, side)
        times = {} if together else {name: timed_method(name, removal, side) for name in methods}
        found = {} if together else {"one by one": sum(times.values())}
        if not together and "band_gap" in methods:
            found[FREE] = timed(removal, removal.band_gap)
        found["in one pass"] = timed(removal, lambda: removal.maps(**several))
        found["zero-loss peaks and their errors"] = timed(
            removal, lambda: removal.removed.map_losses(nothing, 1, lazy=False)
        )
    seconds = 1e-3 * found["in one pass"] * side**2
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        **times,
        **found,
        "all in one pass, CPU s": seconds,
        "memory at most, removal and all maps, GB": largest * unit / 1e9,
    }


def timed_method(name, removal, side):
    """Time a method: of the phantom, but for temperatures."""
    if name == "temperature":
        tile = phonons((TILE, TILE), n_channels=N_CHANNELS, random_state=7001)
        trained = tile.signal.remove_zlp_ml(random_state=0)
        trained.temperature()  # what is compiled at first does not count
        removal = removed(tile, trained.ensemble, side)
    return timed(removal, lambda: getattr(removal, name)(**METHODS[name]))


def compare_clusters(options):
    """Print the wall time of one pass on clusters of several sizes, and its ratio to that on the smallest."""
    side = max(options.sides)
    print(f"one pass, {side**2} spectra, {os.cpu_count()} cores{'':<20}goal  s, ratio to the first")
    first = None
    for n_workers in sorted(options.workers):
        seconds = time_on_cluster(n_workers, side, options.methods)
        first = first or seconds
        goal = 1.7 if n_workers == 2 * min(options.workers) else ""
        label = f"{n_workers} workers of one thread"
        print(f"{label:<48}{goal:>8}  {seconds:>8.3g}{first / seconds:>8.3g}", flush=True)


def time_on_cluster(n_workers, side, methods):
    """Measure the wall time of all methods in one pass on a local cluster, s."""
    hs.preferences.General.show_progressbar = False
    warnings.simplefilter("ignore")
    tile = dielectric_phantom((TILE, TILE), random_state=7001)
    ensemble = tile.signal.train_zlp_ml(random_state=0)
    several = {name: METHODS[name] for name in methods}
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        # Every worker compiles and imports.
        removed(tile, ensemble, BLOCK * n_workers).maps(**several)
        removal = removed(tile, ensemble, side)
        start = time.perf_counter()
        removal.maps(**several)
        return time.perf_counter() - start


def nothing(losses):
    """Take nothing of the losses: what remains is the time to make them."""
    return losses.centre[:, None]


def removed(tile, ensemble, side):
    """Remove the zero-loss peak of a tiled image; tiles alike to the last count would have no noise."""
    n_tiles = -(-side // TILE)
    camera, rng = Camera(gain=tile.gain, readout=tile.readout), np.random.default_rng(7001)
    expected = tile.zlp.data + tile.inelastic.data
    counts = np.empty((n_tiles * TILE, n_tiles * TILE, N_CHANNELS), np.float32)
    for row, column in np.ndindex(n_tiles, n_tiles):
        rows, columns = (slice(TILE * one, TILE * (one + 1)) for one in (row, column))
        counts[rows, columns] = add_noise(expected, camera, rng)
    image = tile.signal.inav[:1, :1]._deepcopy_with_new_data(counts[:side, :side])
    for axis in image.axes_manager.navigation_axes:
        axis.size = side
    path = Path(FOLDER.name) / f"{side}_{id(tile)}.zspy"
    chunks = (BLOCK, BLOCK, N_CHANNELS)
    image.save(path, chunks=chunks, overwrite=True, show_progressbar=False)
    return hs.load(path, lazy=True).remove_zlp_ml(ensemble=ensemble, random_state=0)


def timed(removal, work):
    """Measure the CPU time of some work, ms per spectrum."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start) / removal.removed.centre.size


if __name__ == "__main__":
    main()
