# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast training and application are, and what that is measured against.

Run by ``make bench-speed``; with ``make bench-peers`` run before, EELSFitter's time is taken in the same
run on the same image. Every ratio is of times taken one after the other in one run: absolute
times are of whatever machine this is, shared with whatever else it does.
"""

import argparse
import itertools
import json
import logging
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

PARTS = ("imports", "training", "devices", "starts", "laws", "whole")
#: Replicas that are published; EELSFitter's own default of epochs.
FEW = 100
MANY = 1000
EPOCHS = 1000
#: Spectra that EELSFitter's subtraction is timed on and scaled up from.
N_TIMED = 50
SEED = 101
REPEATS = 11


def main():
    """Print all figures and draw the pictures."""
    options = arguments()
    quiet()
    if options.job:
        print(JOBS[options.job](*options.values))
        return
    laws = {}
    for part in options.parts:
        print(f"--- {part}", flush=True)
        laws[part] = globals()[f"measure_{part}"]()
    if options.output and "laws" in laws:
        draw(laws["laws"], Path(options.output))


def arguments():
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--output", help="directory of the pictures")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("values", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def quiet():
    """HyperSpy without bars and warnings."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def image(shape=(48, 48), n_channels=2048, dtype=None):
    """A sample image with known truth."""
    import hyperspy.api as hs

    from hyperspy_zlpml import data

    hs.preferences.General.show_progressbar = False
    sample = data.ws2_like(shape, n_channels=n_channels, random_state=SEED)
    if dtype is not None:
        sample.signal.change_dtype(dtype)
    return sample


def timed(function):
    """Result and seconds."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def say(text):
    """One line of the report."""
    print(text, flush=True)


# --- imports -------------------------------------------------------------------------------------

#: Hides the entry point, as if the package were not installed.
HIDE = (
    "import importlib.metadata as m; found = m.entry_points; "
    "m.entry_points = lambda **k: m.EntryPoints(e for e in found(**k) if e.name != 'hyperspy_zlpml'); "
)


def measure_imports():
    """What the package costs those who do not use it."""
    loaded = python(
        "import hyperspy_zlpml, sys; print('torch' in sys.modules, 'hyperspy' in sys.modules)"
    )
    say(f"import hyperspy_zlpml loads torch, hyperspy: {loaded}")
    times = {"with": [], "without": []}
    for _ in range(7):
        for name, before in (("with", "import importlib.metadata; "), ("without", HIDE)):
            code = (
                before
                + "import time; t = time.perf_counter(); import hyperspy.api; print(time.perf_counter() - t)"
            )
            times[name].append(float(python(code).split()[-1]))
    with_it, without = (1e3 * np.median(times[name]) for name in ("with", "without"))
    say(f"import hyperspy.api: {with_it:.0f} ms with the extension, {without:.0f} ms without "
        f"(goal: at most 50 ms more), medians of 7")  # fmt: skip


def python(code):
    """What a fresh Python prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


# --- training ------------------------------------------------------------------------------------


def measure_training():
    """Time and memory of many replicas, and the share of the machine's own matrix products."""
    found = {}
    for n_replicas in (FEW, MANY):
        out = python_job("training", n_replicas).split()
        seconds, whole, peak = (float(value) for value in out[:3])
        found[n_replicas] = seconds
        say(f"{n_replicas} replicas: training {seconds:.2f} s, whole call {whole:.2f} s, "
            f"peak memory {peak:.2f} GB")  # fmt: skip
    say(f"{MANY} replicas take {found[MANY] / found[FEW]:.1f} times as long as {FEW} (goal 9)")
    say(python_job("share"))


def measure_devices():
    """Time of the training on a GPU beside that on the cores, where there is one."""
    import torch

    if not torch.cuda.is_available():
        say("no CUDA device here")
        return
    for n_replicas in (FEW, MANY):
        on_cores, on_gpu = (
            float(python_job("training", n_replicas, device).split()[0])
            for device in ("cpu", "cuda")
        )
        say(f"{n_replicas} replicas: {on_cores:.2f} s on {os.cpu_count()} cores, {on_gpu:.2f} s on "
            f"{torch.cuda.get_device_name()}, ratio {on_cores / on_gpu:.1f}")  # fmt: skip


def python_job(name, *values):
    """One of the jobs below in a process of its own."""
    command = [sys.executable, __file__, "--job", name, *map(str, values)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()[-1]


def training_job(n_replicas, device="auto"):
    """Seconds of the training and of the whole call, peak memory in GB."""
    from hyperspy_zlpml.network import training

    signal = image().signal
    signal.inav[:16, :16].train_zlp_ml(n_clusters=2, n_replicas=2)
    seconds, train = [], training.train_networks

    def stopwatch(*args, **kwargs):
        result, took = timed(lambda: train(*args, **kwargs))
        seconds.append(took)
        return result

    training.train_networks = stopwatch
    options = {"n_replicas": int(n_replicas), "random_state": 0, "device": device}
    _, whole = timed(lambda: signal.train_zlp_ml(**options))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return f"{seconds[0]} {whole} {peak}"


def share_job():
    """Operations of a training against those that the machine's own batched products would do."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    from hyperspy_zlpml.network import levenberg_marquardt as lm
    from hyperspy_zlpml.network import training

    normal, factor, shapes, seconds = [], [], [], []
    linearised, propose, train = lm.linearised, lm.propose, training.train_networks

    def counted_linearised(weights, jacobian, *rest, **options):
        n_replicas, n, rows = jacobian.shape
        normal.append(n_replicas * rows * n * (n + 1))
        shapes.append(jacobian.shape)
        return linearised(weights, jacobian, *rest, **options)

    def counted_propose(fit, *rest, **options):
        n_replicas, n = fit.gradient.shape
        factor.append(n_replicas * (n**3 / 3 + 4 * n**2))
        return propose(fit, *rest, **options)

    def stopwatch(*args, **kwargs):
        result, took = timed(lambda: train(*args, **kwargs))
        seconds.append(took)
        return result

    signal = image().signal
    signal.inav[:16, :16].train_zlp_ml(n_clusters=2, n_replicas=2)
    lm.linearised, lm.propose = counted_linearised, counted_propose
    training.train_networks = stopwatch
    signal.train_zlp_ml(n_replicas=FEW, random_state=0)

    n_threads, (n_replicas, n, rows) = training.n_threads(), shapes[0]
    torch.set_num_threads(1)
    jacobians = [torch.randn(n_replicas, n, rows) for _ in range(n_threads)]

    def products(jacobian):
        torch.set_num_threads(1)
        for _ in range(200):
            torch.bmm(jacobian, jacobian.mT)

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(products, jacobians))
        _, took = timed(lambda: list(pool.map(products, jacobians)))
    rate = n_threads * 200 * 2 * n_replicas * rows * n**2 / took
    done = sum(normal) + sum(factor)
    return (
        f"{n_threads} threads: {done / 1e9:.0f} GFLOP in {seconds[0]:.2f} s, {sum(normal) / done:.0%} "
        f"of them normal matrices (one triangle); torch.bmm does {rate / 1e9:.0f} GFLOP/s: "
        f"share {done / seconds[0] / rate:.0%} (goal 25 %)"
    )


# --- starts --------------------------------------------------------------------------------------

#: Kinds of images, and limits of |u| within which log-ratios are compared.
STARTED = ("ws2_like", "low_dose", "monochromated")
DISTANCES = (0.05, 1.5, 4, 12, 40)


def measure_starts():
    """Networks that start from founders against networks that all start from random weights."""
    for kind in STARTED:
        anew, founded = (np.array(json.loads(python_job("starts", kind, n))) for n in (200, 20))
        ratios = " ".join(f"{ratio:.2f}" for ratio in founded[2:] / anew[2:])
        say(f"{kind}: all anew {anew[0]:.1f} s of cores, {anew[1]:.1f} linearisations a network; 20 founders "
            f"{founded[0]:.1f} s, {founded[1]:.1f}; band of log-ratios against all anew at |u| below "
            f"1.5, 4, 12, 40: {ratios}")  # fmt: skip


def starts_job(kind, n_founders):
    """Seconds of cores, linearisations a network, and half the 68 % band of log-ratios by distance."""
    import hyperspy.api as hs

    from hyperspy_zlpml import data
    from hyperspy_zlpml.network import levenberg_marquardt as lm
    from hyperspy_zlpml.network import training
    from hyperspy_zlpml.network.weights import outputs_of

    hs.preferences.General.show_progressbar = False
    training._FOUNDERS = int(n_founders)
    linearised, train, seconds, counts = lm.linearised, training.train_networks, [], []

    def counted(weights, *rest, **options):
        counts.append(len(weights))
        return linearised(weights, *rest, **options)

    def stopwatch(*args, **kwargs):
        start = time.process_time()
        trained = train(*args, **kwargs)
        seconds.append(time.process_time() - start)
        return trained

    lm.linearised, training.train_networks = counted, stopwatch
    signal = getattr(data, kind)((32, 32), random_state=7001).signal
    networks = signal.train_zlp_ml(n_replicas=200, random_state=0).networks
    bands = []
    for low, high in itertools.pairwise(DISTANCES):
        u = np.geomspace(low, high, 12) * [[-1], [1]]
        inputs = networks.scaling(u.ravel(), np.full(u.size, networks.scaling.log_intensity_mean))
        outputs = outputs_of(networks.weights, networks.layers, inputs)
        bands.append(float(np.ptp(np.quantile(outputs, (0.16, 0.84), axis=0), axis=0).mean() / 2))
    return json.dumps([seconds[0], sum(counts) / 200, *bands])


# --- application ---------------------------------------------------------------------------------


def copies(data, results=None):
    """Five results and the variance of the subtracted signal, each a copy, by all threads."""
    from hyperspy_zlpml.compute.blocks import run_in_threads

    results = [np.empty_like(data) for _ in range(6)] if results is None else results
    flat = [result.reshape(-1, data.shape[-1]) for result in results]
    spectra = data.reshape(-1, data.shape[-1])

    def copy(rows):
        for result in flat:
            np.copyto(result[rows], spectra[rows])

    run_in_threads(copy, len(spectra), show_progressbar=False, title="")


# --- laws ----------------------------------------------------------------------------------------


def measure_laws():
    """Time of the whole call against pixels, channels, replicas and clusters."""
    signal = image((64, 64)).signal
    signal.inav[:16, :16].remove_zlp_ml(n_clusters=2, n_replicas=2)
    cases = {
        "pixels": [(n * n, signal.inav[:n, :n], {}) for n in (16, 32, 48, 64)],
        "channels": [(n, image((32, 32), n).signal, {}) for n in (512, 1024, 2048, 4096)],
        "replicas": [
            (n, signal.inav[:32, :32], {"n_replicas": n}) for n in (25, 50, 100, 200, 400)
        ],
        "clusters": [(n, signal.inav[:32, :32], {"n_clusters": n}) for n in (1, 2, 5, 10)],
    }
    laws = {}
    for name, rows in cases.items():
        laws[name] = [
            (x, timed(lambda: of.remove_zlp_ml(random_state=0, **changes))[1])  # noqa: B023
            for x, of, changes in rows
        ]
        listed = ", ".join(f"{x}: {seconds:.2f} s" for x, seconds in laws[name])
        say(f"whole call against {name}: {listed}")
    return laws


def draw(laws, folder):
    """Time of the whole call against what it depends on."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(laws), figsize=(10, 2.8), sharey=True, layout="constrained"
    )
    for axes, (name, rows) in zip(panels, laws.items(), strict=True):
        axes.plot(*np.array(rows).T, "o-")
        axes.set_xlabel(name)
        axes.set_xlim(0, None)
        axes.locator_params(axis="x", nbins=5)
    panels[0].set_ylim(0, None)
    panels[0].set_ylabel("time of the whole call (s)")
    figure.savefig(folder / "speed_laws.png", dpi=120)


# --- against EELSFitter --------------------------------------------------------------------------


def measure_whole():
    """The whole job by both methods on one image."""
    import peers

    sample = image()
    signal, truth = sample.signal, sample.zlp.data.astype(float)
    image((16, 16)).signal.remove_zlp_ml(n_clusters=2, n_replicas=2)
    found = [timed(lambda: signal.remove_zlp_ml(n_replicas=FEW, random_state=0)) for _ in range(3)]
    ours = float(np.median([seconds for _, seconds in found]))
    result = found[-1][0]
    specimen = np.flatnonzero(sample.thickness.data.ravel() > 0)
    pixels = np.random.default_rng(0).choice(specimen, N_TIMED, replace=False)
    error = errors(sample, pixels)
    say(f"ours: {ours:.2f} s (median of 3), error 2-8 FWHM "
        f"{error(result.zlp.data.reshape(-1, truth.shape[-1])[pixels]):.3f} sigma")  # fmt: skip
    energy = signal.axes_manager.signal_axes[0].axis
    theirs = peers.eelsfitter(signal.data.astype(float), energy, FEW, EPOCHS, pixels=pixels)
    if theirs is None:
        say("EELSFitter: skipped, run make bench-peers")
        return
    n_spectra = truth[..., 0].size
    whole = float(theirs.seconds_training + n_spectra * theirs.seconds_per_pixel)
    say(f"EELSFitter, {FEW} replicas of {EPOCHS} epochs: training {float(theirs.seconds_training):.0f} s, "
        f"{1e3 * float(theirs.seconds_per_pixel):.1f} ms per spectrum (of {N_TIMED}, scaled up to "
        f"{n_spectra}): {whole:.0f} s, error {error(theirs.zlp):.3f} sigma")  # fmt: skip
    say(f"EELSFitter takes {whole / ours:.0f} times as long (goal 200)")


def errors(sample, pixels):
    """Function of the ZLP of some spectra: rms error at 2-8 FWHM in sigma of a channel's noise."""
    energy = sample.signal.axes_manager.signal_axes[0].axis
    n_energy = energy.size
    truth, losses = (
        part.data.reshape(-1, n_energy)[pixels].astype(float)
        for part in (sample.zlp, sample.inelastic)
    )
    centre, fwhm = (part.data.ravel()[pixels, None] for part in (sample.centre, sample.fwhm))
    u = (energy - centre) / fwhm
    use = (u > 2) & (u < 8)
    sigma = np.sqrt(sample.gain * (truth + losses) + sample.readout**2)
    return lambda zlp: float(np.sqrt(np.nanmean(((zlp - truth) / sigma)[use] ** 2)))


JOBS = {"training": training_job, "share": share_job, "starts": starts_job}


if __name__ == "__main__":
    main()
