# SPDX-License-Identifier: GPL-3.0-or-later
"""Images larger than memory and dask clusters: memory, time against pixels, workers that die.

Run by ``make bench-scale``. Every measurement runs in a process of its own, whose memory, with that of
all its children, is looked at twenty times a second. The image is a sample image tiled: what is
measured depends on the number of pixels, not on what is in them.
"""

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import psutil

HERE = Path(__file__).resolve().parent
#: Pixels along both sides of the images of the scaling law; the last is the one that must stream.
SIZES = (64, 128, 256, 512)
N_REPLICAS = 100
TILE = 64
N_CHANNELS = 2048
#: Seconds after which a worker is killed.
KILLED_AFTER = 1.0
PARTS = ("pixels", "memory", "cluster", "death")


def main():
    """Print all figures and draw the picture of time against pixels."""
    options = arguments()
    if options.job:
        print(json.dumps(JOBS[options.job](*options.values)))
        return
    folder = Path(tempfile.mkdtemp(dir=options.scratch))
    results = {}
    try:
        make_images(folder, options.sizes)
        for part in options.parts:
            results[part] = globals()[f"measure_{part}"](folder, options.sizes)
    finally:
        shutil.rmtree(folder)
    if options.output and "pixels" in results:
        draw(results["pixels"], Path(options.output))


def arguments():
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--scratch", help="directory for 30 GB of images and results")
    parser.add_argument("--output", help="directory of the picture")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("values", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


# --- what is measured, each in a process of its own ----------------------------------------------


def quiet():
    """HyperSpy without bars and warnings."""
    import hyperspy.api as hs

    hs.preferences.General.show_progressbar = False
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    return hs


def train(source, target):
    """Train on an image and keep the ensemble."""
    import pickle

    ensemble = quiet().load(source, lazy=True).train_zlp_ml(n_replicas=N_REPLICAS, random_state=0)
    Path(target).write_bytes(pickle.dumps(ensemble))
    return {}


def stream(source, target, ensemble=""):
    """From ``.zspy`` to ``.zspy``, lazily; with a given ensemble only applied."""
    import pickle

    given = pickle.loads(Path(ensemble).read_bytes()) if ensemble else None
    hs = quiet()
    if given is not None:  # imports and first calls are no part of the law
        hs.load(source, lazy=True).inav[:8, :8].remove_zlp_ml(ensemble=given).compute()
    start = time.perf_counter()
    result = hs.load(source, lazy=True).remove_zlp_ml(
        ensemble=given, n_replicas=N_REPLICAS, random_state=0
    )
    looked = time.perf_counter()
    result.save(target, overwrite=True)
    return {"first": looked - start, "second": time.perf_counter() - looked}


def copy(source, target):
    """The same bytes read and written without any work: the counts, and a variance as large."""
    signal = quiet().load(source, lazy=True)
    start = time.perf_counter()
    signal.set_noise_variance(signal.deepcopy())
    signal.save(Path(target) / "copy.zspy", overwrite=True)
    return {"copy": time.perf_counter() - start}


def on_cluster(source, ensemble, n_workers, kill=""):
    """Training and application on a local cluster of workers of one thread."""
    import pickle
    import threading

    from distributed import Client, LocalCluster

    hs = quiet()
    given = pickle.loads(Path(ensemble).read_bytes())
    signal = hs.load(source, lazy=True)
    found = {}
    with (
        LocalCluster(
            n_workers=int(n_workers), threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        signal.inav[:8, :8].train_zlp_ml(n_clusters=1, n_replicas=50, random_state=0)
        for name in ("training", "application"):
            victim = next(iter(client.run(os.getpid).values()))
            timer = threading.Timer(KILLED_AFTER, os.kill, (victim, 9))
            if kill == name:
                timer.start()
            start = time.perf_counter()
            if name == "training":
                trained, found["networks"] = trained_on(signal)
                found["weights"] = float(np.abs(trained.networks.weights).sum())
            else:
                result = signal.remove_zlp_ml(ensemble=given)
                with tempfile.TemporaryDirectory(dir=Path(source).parent) as folder:
                    result.save(folder, overwrite=True)
                    found["sum"] = float(np.abs(hs.load(f"{folder}/subtracted.zspy").data).sum())
            found[name] = time.perf_counter() - start
            if kill == name and (found[name] < KILLED_AFTER or psutil.pid_exists(victim)):
                raise RuntimeError(f"{name} was over before the worker was killed")
    return found


def trained_on(signal):
    """Ensemble, and the seconds that its networks alone were trained for."""
    from hyperspy_zlpml.network import training

    train, seconds = training.train_networks, []

    def stopwatch(*args, **kwargs):
        start = time.perf_counter()
        result = train(*args, **kwargs)
        seconds.append(time.perf_counter() - start)
        return result

    training.train_networks = stopwatch
    try:
        ensemble = signal.train_zlp_ml(n_replicas=N_REPLICAS, random_state=0)
    finally:
        training.train_networks = train
    return ensemble, seconds[0]


JOBS = {"train": train, "stream": stream, "copy": copy, "on_cluster": on_cluster}


def run(job, *values):
    """A job in a process of its own; its results and the peak memory of the process tree in GB."""
    command = [sys.executable, __file__, "--job", job, *map(str, values)]
    # Files, not pipes: workers may say more than a pipe holds.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
        process = subprocess.Popen(command, stdout=out, stderr=error, text=True)
        peak, tree = 0, psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, memory_of(tree))
            time.sleep(0.05)
        out.seek(0)
        error.seek(0)
        if process.returncode:
            raise RuntimeError(f"{job} failed:\n{error.read()[-2000:]}")
        return {**json.loads(out.read().strip().splitlines()[-1]), "peak": peak / 1e9}


def memory_of(process):
    """Resident memory of a process and its children."""
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            try:
                total += one.memory_info().rss
            except psutil.Error:
                continue
    except psutil.Error:
        return total
    return total


# --- images --------------------------------------------------------------------------------------


def make_images(folder, sizes):
    """Tiled sample images as ``.zspy`` with HyperSpy's own chunks, and an ensemble."""
    import dask.array as da

    hs = quiet()
    from hyperspy_zlpml import data

    sample = data.ws2_like((TILE, TILE), n_channels=N_CHANNELS, random_state=101).signal
    counts = sample.data.astype(np.float32)
    side = 11  # HyperSpy's chunks of 1 MB
    for size in sizes:
        times = -(-size // TILE)
        tiled = da.tile(da.from_array(counts), (times, times, 1))[:size, :size]
        signal = sample._deepcopy_with_new_data(tiled.rechunk((side, side, -1)))
        signal._lazy = True
        signal._assign_subclass()
        signal.save(folder / f"{size}.zspy", show_progressbar=False)
    hs.load(folder / f"{sizes[0]}.zspy")
    run("train", folder / f"{sizes[0]}.zspy", folder / "ensemble.pickle")


# --- parts ---------------------------------------------------------------------------------------


def measure_pixels(folder, sizes):
    """Time of the application against pixels, and its power."""
    rows = []
    for size in sizes:
        found = run("stream", folder / f"{size}.zspy", folder / "out", folder / "ensemble.pickle")
        seconds = found["first"] + found["second"]
        rows.append((size**2, seconds))
        shutil.rmtree(folder / "out")
        print(f"pixels {size:>3}^2: {seconds:7.2f} s, {1e6 * seconds / size**2:6.1f} us per pixel,"
              f" {found['peak']:.2f} GB", flush=True)  # fmt: skip
    powers = [np.polyfit(*np.log(np.array(rows[first:])).T, 1)[0] for first in (0, 1)]
    print(f"exponent of time against pixels: {powers[0]:.2f} (goal 0.9 to 1.1); "
          f"without the smallest {powers[1]:.2f}", flush=True)  # fmt: skip
    return rows


def measure_memory(folder, sizes):
    """The largest image from file to file, with training, against a plain copy of the same bytes."""
    size = max(sizes)
    found = run("stream", folder / f"{size}.zspy", folder / "out")
    shutil.rmtree(folder / "out")
    copied = run("copy", folder / f"{size}.zspy", folder / "out")["copy"]
    shutil.rmtree(folder / "out")
    whole = found["first"] + found["second"]
    print(f"file to file {size}x{size}x{N_CHANNELS}, training included: first pass and training"
          f" {found['first']:.1f} s, second pass {found['second']:.1f} s; plain copy {copied:.1f} s,"
          f" ratio {whole / copied:.2f} (goal 1.5);"
          f" peak memory {found['peak']:.2f} GB (goal 1)", flush=True)  # fmt: skip


def measure_cluster(folder, sizes):
    """One and two workers of one thread."""
    source = folder / f"{sorted(sizes)[min(1, len(sizes) - 1)]}.zspy"
    one, two = (run("on_cluster", source, folder / "ensemble.pickle", n) for n in (1, 2))
    for name, goal in (("networks", 1.7), ("training", 1.7), ("application", 1.7)):
        what = {"networks": "training networks", "training": "whole call that trains"}.get(
            name, name
        )
        print(f"{what} on a cluster: {one[name]:.1f} s with 1 worker, {two[name]:.1f} s with 2,"
              f" ratio {one[name] / two[name]:.2f} (goal {goal})", flush=True)  # fmt: skip


def measure_death(folder, sizes):
    """A worker killed while the others work."""
    source = folder / f"{sizes[0]}.zspy"
    expected = run("on_cluster", source, folder / "ensemble.pickle", 2)
    checked = (
        ("training", "weights", "sum of the weights"),
        ("application", "sum", "sum of what is left"),
    )
    for name, value, what in checked:
        found = run("on_cluster", source, folder / "ensemble.pickle", 2, name)
        difference = abs(found[value] / expected[value] - 1)
        print(f"a worker killed during {name}: ended in {found[name]:.1f} s instead of "
              f"{expected[name]:.1f} s, {what} differs by {difference:.1e}", flush=True)  # fmt: skip


def draw(rows, folder):
    """Time against pixels."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    pixels, seconds = np.array(rows).T
    figure, axes = plt.subplots(figsize=(5, 3.6), layout="constrained")
    axes.loglog(pixels, seconds, "o-", label="lazily, file to file, ensemble given")
    axes.loglog(pixels, seconds[-1] * pixels / pixels[-1], ":", color="0.5", label="linear")
    axes.set(xlabel="pixels (2048 channels each)", ylabel="time (s)")
    axes.legend(frameon=False)
    figure.savefig(folder / "scale_pixels.png", dpi=120)


if __name__ == "__main__":
    main()
