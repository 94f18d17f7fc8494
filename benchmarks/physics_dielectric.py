# SPDX-License-Identifier: GPL-3.0-or-later
"""Dielectric functions against their truth: ``python benchmarks/physics_dielectric.py``.

First the relation alone, on losses without noise, beside that of eXSpy; then the whole chain on simulated
images (zero-loss peak removed by the defaults), the median over seeds. Truth at the resolution is the
true loss function, convolved with the response.
"""

import argparse
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import hyperspy.api as hs
import numpy as np
from exspy.signals import EELSSpectrum
from scipy.signal import fftconvolve

import hyperspy_zlpml
from hyperspy_zlpml.data import (
    ALUMINIUM,
    GLASS,
    SEMICONDUCTOR,
    Response,
    dielectric_phantom,
)
from hyperspy_zlpml.physics import Beam
from hyperspy_zlpml.physics.kramers_kronig import (
    Continuation,
    LossGrid,
    changes_of_epsilon,
    invert,
    noise_of_epsilon,
)
from hyperspy_zlpml.physics.loss_probability import surface_loss, volume_factor, volume_loss
from hyperspy_zlpml.physics.retardation import film_loss, retarded_excess
from hyperspy_zlpml.physics.surface import Excess, without_excess

BEAM = Beam(energy=200.0, collection_angle=15.0)
#: Energies at which responses and losses are convolved, eV.
FINE = 0.0125
FWHM = 0.45
#: Spectra whose relation is timed.
N_SPECTRA = 64
WINDOWS = ((2, 4), (4, 8), (8, 15), (15, 30))
#: Axis to 97 eV.
LONG = {"offset": -5.0, "scale": 0.05}
#: Images: arguments of the phantom, and of the method.
IMAGES = {
    "D1": ({}, {}),
    "D2": (LONG, {}),
    "D3 bulk": ({"retarded": "bulk"}, {"relativistic": True}),
    "D3 slab": (
        {"retarded": "slab", "thickness_nm": (30.0, 120.0)},
        {"relativistic": True, "surface": True},
    ),
    "D4": ({"surfaces": True, "thickness_nm": (20.0, 60.0)}, {"surface": True}),
    "D5": ({"material": ALUMINIUM}, {}),
    "D6": ({"material": (SEMICONDUCTOR, GLASS)}, {}),
}


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--size", type=int, default=32, help="pixels to a side of the images")
    parser.add_argument("--images", nargs="*", default=list(IMAGES), choices=list(IMAGES))
    parser.add_argument("--keep", type=Path, help="folder of removals, made once and read again")
    options = parser.parse_args()
    hs.preferences.General.show_progressbar = False
    warnings.simplefilter("ignore")
    print(f"{'bar':<82}{'goal':>10}  found")
    without_noise()
    for kind in options.images:
        several = [measure(kind, options.size, seed, options.keep) for seed in options.seeds]
        for name, goal in several[0]:
            found = [dict_of(one)[name] for one in several]
            row(name, goal, np.median(found, axis=0))


def dict_of(rows):
    """Take the goals out of the names of figures."""
    return {name: value for (name, _), value in rows.items()}


def row(name, goal, found):
    """Print a figure beside its goal."""
    numbers = " ".join(f"{value:.4g}" for value in np.atleast_1d(found))
    print(f"{name:<82}{goal:>10}  {numbers}", flush=True)


def rms(values):
    """Compute the root of the mean square of those values that are known."""
    return float(np.sqrt(np.nanmean(np.square(values))))


# The relation alone


def without_noise():
    """Compare what is found of exact losses with the truth, and with eXSpy."""
    for end in (47.0, 100.0):
        grid = LossGrid(0.025, round(end / 0.025))
        true = SEMICONDUCTOR.epsilon(grid.energy)
        ours = found_of((-1 / true).imag, grid).epsilon
        goal = {47.0: "0.01", 100.0: "0.002"}[end]
        others = {"ours": ours, "eXSpy": exspy_epsilon(true, grid)}
        others["eXSpy, extrapolated to 200 eV"] = exspy_epsilon(true, grid, extrapolated=True)
        for name, epsilon in others.items():
            row(
                f"K1 {name}: relative rms of e1, e2, axis to {end:g} eV",
                goal,
                errors(epsilon, true, grid),
            )
        for name, epsilon in others.items():
            zeros = crossings(grid.energy, epsilon.real)
            row(f"K2 {name}: zeros of e1 (9.63, 23.88), axis to {end:g} eV", "+-0.03", zeros)
    f_sum(found_of((-1 / true_on(47.0)[1]).imag, true_on(47.0)[0]).epsilon)
    faces()
    retardation()
    times()


def true_on(end):
    """Make a grid of losses up to an energy, eV, and the dielectric function of the semiconductor on it."""
    grid = LossGrid(0.1, round(end / 0.1))
    return grid, SEMICONDUCTOR.epsilon(grid.energy)


def found_of(losses, grid, material=SEMICONDUCTOR):
    """Invert a loss function without noise, the refractive index of its material being known."""
    index = np.array([material.refractive_index])
    inverse = invert(losses[None], known(losses, grid), index=index)
    return inverse.select(0)


def known(losses, grid):
    """Continue losses behind the axis from their highest channel on."""
    return Continuation(grid, np.zeros(1, int), np.array([(losses.argmax() + 1) / grid.size]))


def errors(epsilon, true, grid, low=1.0, high=30.0):
    """Compute the relative errors of the real and the imaginary part between two energies, eV."""
    seen = (grid.energy >= low) & (grid.energy <= high)
    return [rms(part(epsilon - true)[seen]) / rms(part(true)[seen]) for part in (np.real, np.imag)]


def crossings(energy, values):
    """Find the energies at which values cross zero, between channels by a line."""
    at = np.flatnonzero(np.diff(np.sign(values)))
    return energy[at] + values[at] * np.diff(energy)[at] / -np.diff(values)[at]


def exspy_epsilon(true, grid, extrapolated=False):
    """Dielectric function by eXSpy of exact single scattering of 100 nm."""
    counts = 100 * 1e8 * grid.step * volume_loss(grid.energy, true, BEAM)
    axis = {"size": grid.size, "offset": grid.step, "scale": grid.step, "units": "eV"}
    spectrum = EELSSpectrum(counts, axes=[axis])
    spectrum.set_microscope_parameters(200.0, 10.0, 15.0)
    if extrapolated:
        n_more = round((200.0 - grid.energy[-1]) / grid.step)
        spectrum = spectrum.power_law_extrapolation(extrapolation_size=n_more)
    index = SEMICONDUCTOR.refractive_index
    found = spectrum.kramers_kronig_analysis(zlp=1e8, n=index, iterations=1)
    return found.data[: grid.size]


def times():
    """CPU time of the relation for one of many spectra of 2048 channels, one thread; eXSpy beside it."""
    fine, coarse = (LossGrid(step, round(51.2 / step)) for step in (0.025, 0.1))
    counts = [stack_of(grid) for grid in (fine, coarse)]
    spectra = EELSSpectrum(counts[0], axes=navigated(fine))
    spectra.set_microscope_parameters(200.0, 10.0, 15.0)
    index = np.full(N_SPECTRA, SEMICONDUCTOR.refractive_index)
    works = {
        "values, every channel": ("0.6", lambda: invert(counts[0], many(fine), index=index)),
        "values, 4 channels summed": ("0.6", lambda: invert(counts[1], many(coarse), index=index)),
        "values and errors, 4 channels summed": (
            "3",
            lambda: with_errors(counts[1], many(coarse), index),
        ),
        "values, eXSpy": (
            "",
            lambda: spectra.kramers_kronig_analysis(zlp=1e8, n=index[0], iterations=1),
        ),
    }
    for name, (goal, work) in works.items():
        spent = []
        for _ in range(5):
            start = time.process_time()
            work()
            spent.append(time.process_time() - start)
        row(f"CPU ms per spectrum: Kramers-Kronig, {name}", goal, 1e3 * min(spent) / N_SPECTRA)


def stack_of(grid):
    """Losses of many spectra, which differ in thickness."""
    losses = grid.step * volume_loss(grid.energy, SEMICONDUCTOR.epsilon(grid.energy), BEAM)
    return 1e8 * np.linspace(50.0, 150.0, N_SPECTRA)[:, None] * losses


def navigated(grid):
    """Describe the axes of a signal of many spectra, for HyperSpy."""
    first = {"size": N_SPECTRA, "navigate": True}
    return [first, {"size": grid.size, "offset": grid.step, "scale": grid.step, "units": "eV"}]


def many(grid):
    """Continue the losses of many spectra behind the axis."""
    plasmon = np.full(N_SPECTRA, 22.0 / grid.energy[-1])
    return Continuation(grid, np.full(N_SPECTRA, round(1.0 / grid.step)), plasmon)


def with_errors(counts, continuation, index):
    """Dielectric functions, the variances that noise makes, and the changes by errors of the ZLP."""
    inverse = invert(counts, continuation, index=index)
    noise = noise_of_epsilon(inverse, counts, continuation, fixed_scale=False)
    changed = counts[:, None] * (1 + 1e-3 * np.arange(17.0)[:, None])
    directions = np.broadcast_to(index[:, None], changed.shape[:2])
    return noise, changes_of_epsilon(inverse, invert(changed, continuation, index=directions))


def f_sum(epsilon):
    """Compare the sums of E eps2 and E Im[-1/eps] on the axis with those of the truth."""
    grid, true = true_on(47.0)
    for name, one, other in (
        ("eps2", epsilon.imag, true.imag),
        ("Im[-1/eps]", (-1 / epsilon).imag, (-1 / true).imag),
    ):
        ratio = (one * grid.energy).sum() / (other * grid.energy).sum()
        row(f"K11 electrons by {name} up to 47 eV over the truth - 1", "0.05", ratio - 1)


def faces():
    """Take off the losses of two faces, without noise, normalised by the thickness."""
    grid, true = true_on(47.0)
    for thickness in (20.0, 30.0, 60.0):
        volume = thickness * volume_loss(grid.energy, true, BEAM)
        counts = volume + surface_loss(grid.energy, true, BEAM)
        excess = Excess(BEAM, surface=True, relativistic=False)
        before, after, settled = iterated(counts, grid, excess)
        row(
            f"K7 faces of {thickness:g} nm: e1 without, with, settled",
            "half",
            [before, after, settled],
        )


def retardation():
    """Take off what retardation adds, without noise."""
    grid, true = true_on(47.0)
    counts = 100 * (volume_loss(grid.energy, true, BEAM) + retarded_excess(grid.energy, true, BEAM))
    before, after, settled = iterated(counts, grid, Excess(BEAM, surface=False, relativistic=True))
    row("K8 retarded bulk: e1 without, with, settled", "0.02", [before, after, settled])
    for thickness in (30.0, 60.0, 120.0):
        counts = film_loss(grid.energy, true, thickness, BEAM)
        for name, surface in (("bulk", False), ("film", True)):
            excess = Excess(BEAM, surface=surface, relativistic=True)
            before, after, settled = iterated(counts, grid, excess)
            label = f"K9 film of {thickness:g} nm, {name} taken off: e1 without, with, settled"
            row(label, "0.12", [before, after, settled])


def iterated(counts, grid, excess):
    """Errors of e1 without and with the iteration, and whether that settled."""
    true = SEMICONDUCTOR.epsilon(grid.energy)
    per_thickness = volume_factor(BEAM)
    losses = counts / BEAM.angular_logarithm(grid.energy)
    index, continuation = np.array([SEMICONDUCTOR.refractive_index]), known(losses, grid)

    def inverse_of(one):
        return invert(one, continuation, index=index)

    def excess_of(inverse, rows):
        thickness = inverse.scale[rows] / per_thickness
        of_thickness = excess.per_thickness(grid.energy, inverse.epsilon[rows], thickness)
        return inverse.scale[rows][:, None] * of_thickness

    free, settled = without_excess(losses[None], inverse_of, excess_of, excess.first_part)
    return (
        errors(inverse_of(losses[None]).epsilon[0], true, grid)[0],
        errors(inverse_of(free).epsilon[0], true, grid)[0],
        settled[0],
    )


# The whole chain


@dataclass(frozen=True)
class Found:
    """What was found of the specimen pixels of an image, and their truth."""

    energy: np.ndarray
    result: object
    shown: np.ndarray
    true: np.ndarray
    blurred: np.ndarray

    def of(self, signal):
        """Take the spectra of a signal that are shown."""
        return np.asarray(signal.data)[self.shown]

    @property
    def epsilon(self):
        """Dielectric function as it was found, of the spectra that are shown."""
        return self.of(self.result.epsilon)


def measure(kind, size, seed, keep):
    """Figures of one image, by name and goal."""
    phantom, arguments = IMAGES[kind]
    sample = dielectric_phantom((size, size), random_state=seed, **phantom)
    removal = removed(sample, f"{kind}_{size}_{seed}".replace(" ", "_"), keep, seed)
    index = sample.refractive_index
    found = found_in(sample, removal.dielectric_function(n=index, **arguments))
    rows = spectra_rows(kind, found)
    if kind in ("D1", "D2"):
        rows |= coverage_rows(kind, found) | crossing_rows(kind, sample, found)
    rows |= number_rows(kind, sample, found)
    if kind == "D1":
        rows |= by_thickness(kind, sample, removal, seed)
    if kind == "D3 slab":
        rows |= film_rows(sample, removal, index, arguments)
    if arguments:
        plain = found_in(sample, removal.dielectric_function(n=index))
        rows |= spectra_rows(f"{kind}, not corrected", plain)
    return rows


def film_rows(sample, removal, index, arguments):
    """What films add, by clusters and by pixels: errors, and the CPU time of a spectrum."""
    rows, results = {}, {}
    for film in ("clusters", "pixels"):
        start = time.process_time()
        results[film] = removal.dielectric_function(n=index, film=film, **arguments)
        spent = 1e3 * (time.process_time() - start) / sample.truth.thickness.size
        found = found_in(sample, results[film])
        rows |= spectra_rows(f"D3 slab, by {film}", found) | coverage_rows(
            f"D3 slab, by {film}", found
        )
        rows[f"D3 slab, by {film}: CPU ms per spectrum", ""] = spent
    one, other = (results[film].eps1.value.data for film in results)
    energy = results["pixels"].epsilon.axes_manager.signal_axes[0].axis
    apart = (one - other) / results["pixels"].eps1.error
    rows["K9 D3 slab: clusters less pixels over error of e1, rms", "1"] = [
        rms(apart[..., (energy >= low) & (energy < high)]) for low, high in WINDOWS
    ]
    return rows


def removed(sample, name, keep, seed):
    """The removal; from a folder where there is one."""
    folder = None if keep is None else keep / name
    if folder is not None and folder.exists():
        return hyperspy_zlpml.load_removal(folder, sample.signal)
    removal = sample.signal.remove_zlp_ml(random_state=seed)
    if folder is not None:
        removal.save(folder)
    return removal


def found_in(sample, result):
    """Lay what was found of an image beside its truth."""
    energy = result.epsilon.axes_manager.signal_axes[0].axis
    specimen = sample.thickness_nm.data > 0
    shown = specimen & np.isfinite(result.epsilon.data).all(-1)
    step = energy[1] - energy[0]
    true = np.array([one.epsilon(energy) for one in sample.models])
    blurred = np.array([at_resolution(one, step, energy.size) for one in sample.models])
    part = sample.truth.part.reshape(shown.shape)[shown]
    return Found(energy, result, shown, true[part], blurred[part])


def at_resolution(model, step, size):
    """Dielectric function of the true losses, convolved with the response."""
    energy = FINE * np.arange(1, round(400 / FINE))
    logarithm = BEAM.angular_logarithm(energy)
    losses = (-1 / model.epsilon(energy)).imag * logarithm
    distance = FINE * np.arange(-round(20 * FWHM / FINE), round(20 * FWHM / FINE) + 1)
    response = Response()(distance / FWHM)
    both = np.r_[np.zeros(losses.size + 1), losses]
    blurred = fftconvolve(both, response / response.sum(), mode="same")[losses.size + 1 :]
    every = round(step / FINE)
    losses = (blurred / logarithm)[every - 1 :: every]
    grid = LossGrid(step, losses.size)
    return found_of(losses, grid, model).epsilon[:size]


def spectra_rows(kind, found):
    """Relative errors of eps between 2 and 30 eV."""
    seen = (found.energy >= 2) & (found.energy <= 30)
    rows = {}
    for truth, name in ((found.true, "truth"), (found.blurred, "truth at the resolution")):
        per_pixel, of_mean = [], []
        for part in (np.real, np.imag):
            error, size = part(found.epsilon - truth)[:, seen], rms(part(truth)[:, seen])
            per_pixel.append(rms(error) / size)
            of_mean.append(rms(error.mean(0)) / size)
        rows[f"K3 {kind}: e1, e2 per pixel, {name}", "0.05"] = per_pixel
        rows[f"K3 {kind}: e1, e2 of the mean, {name}", "0.035"] = of_mean
    return rows


def coverage_rows(kind, found):
    """Parts of the claimed intervals that hold the truth, in windows of energy."""
    rows = {}
    for number, part in ((1, np.real), (2, np.imag)):
        measured = getattr(found.result, f"eps{number}")
        std, systematic = found.of(measured.std), found.of(measured.systematic)
        for name, truth, width in (
            ("truth at the resolution in std", found.blurred, std),
            ("truth in std and systematic", found.true, np.hypot(std, systematic)),
        ):
            holds = np.abs(part(found.epsilon - truth)) < width
            rows[f"K4 {kind}: e{number}, {name}", "0.50-0.80"] = [
                holds[:, (found.energy >= low) & (found.energy < high)].mean()
                for low, high in WINDOWS
            ]
    return rows


def crossing_rows(kind, sample, found):
    """Errors of the zeros of eps1."""
    rows = {}
    true = sample.models[0].zero_crossings(1.0, 47.0)
    blurred = crossings(found.energy, found.blurred[0].real)
    for name, number, goal in (("falling", 0, "0.12 0.5"), ("rising", -1, "0.03 0.5")):
        zero = getattr(found.result.crossings, name)
        position, std, systematic = (
            found.of(getattr(zero.position, one)) for one in ("value", "std", "systematic")
        )
        rows[f"K5 {kind}: {name}, truth: rms, in std and systematic", goal] = [
            rms(position - true[number]),
            np.mean(np.abs(position - true[number]) < np.hypot(std, systematic)),
        ]
        rows[f"K5 {kind}: {name}, at the resolution: rms, in std; claimed rms", goal] = [
            rms(position - blurred[number]),
            np.mean(np.abs(position - blurred[number]) < std),
            rms(std),
        ]
        rows[f"K5 {kind}: {name}, found, probability", ""] = [
            np.mean(np.isfinite(position)),
            np.median(found.of(zero.probability)),
        ]
    return rows


def number_rows(kind, sample, found):
    """Errors of the thickness, relative, and pixels that have an answer."""
    truth = sample.thickness_nm.data[found.shown]
    value, std, systematic = (
        found.of(getattr(found.result.thickness, one)) / truth
        for one in ("value", "std", "systematic")
    )
    specimen = sample.thickness_nm.data > 0
    return {
        (f"{kind}: thickness - 1: median, in std and systematic", ""): [
            np.median(value - 1),
            np.mean(np.abs(value - 1) < np.hypot(std, systematic)),
        ],
        (f"{kind}: answers in specimen, in vacuum", "1 0"): [
            found.shown.sum() / specimen.sum(),
            np.isfinite(np.asarray(found.result.epsilon.data)[~specimen]).all(-1).mean(),
        ],
    }


def by_thickness(kind, sample, removal, seed):
    """Normalise by the true thickness, and by thicknesses that are off by an error of 2 %."""
    rows, true = {}, sample.models[0].refractive_index
    thickness = sample.thickness_nm.data
    exact = found_in(sample, removal.dielectric_function(thickness=thickness))
    error = exact.of(exact.result.n.value) / true - 1
    rows[f"K6 {kind}: n by the exact thickness - 1", "0.03"] = np.median(error)
    rows |= spectra_rows(f"{kind} by the exact thickness", exact)
    rows |= crossing_rows(f"{kind} by the exact thickness", sample, exact)
    off = thickness * np.random.default_rng(seed).normal(1.0, 0.02, thickness.shape)
    found = found_in(
        sample, removal.dielectric_function(thickness=off, thickness_error=0.02 * thickness)
    )
    value, std, systematic = (
        found.of(getattr(found.result.n, one)) for one in ("value", "std", "systematic")
    )
    rows[f"K6 {kind}: n by thicknesses 2 % off, in std and systematic", "0.5"] = [
        np.mean(np.abs(value - true) < np.hypot(std, systematic)),
    ]
    return rows


if __name__ == "__main__":
    main()
