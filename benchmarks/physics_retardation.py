# SPDX-License-Identifier: GPL-3.0-or-later
"""Retardation against its truth: ``python benchmarks/physics_retardation.py``.

First the losses of films alone, and how they are taken off losses without noise; then the whole chain on
simulated images (zero-loss peak removed by the defaults), the median over seeds.
"""

import argparse
import time
import warnings
from pathlib import Path

import hyperspy.api as hs
import numpy as np
from scipy.integrate import quad

import hyperspy_zlpml
from hyperspy_zlpml.data import GLASS, SEMICONDUCTOR, dielectric_phantom
from hyperspy_zlpml.physics import Beam, Reason
from hyperspy_zlpml.physics.kinematics import REST_ENERGY
from hyperspy_zlpml.physics.kramers_kronig import Continuation, LossGrid, invert
from hyperspy_zlpml.physics.loss_probability import volume_factor, volume_loss
from hyperspy_zlpml.physics.retardation import (
    film_excess,
    film_loss,
    retarded_excess,
    retarded_volume_loss,
)

BEAM = Beam(energy=200.0, collection_angle=15.0)
GRID = LossGrid(0.1, 470)
WINDOWS = ((2, 4), (4, 8), (8, 15), (15, 30))
#: Images of the whole chain: arguments of the phantom, and of the method.
CHAINS = {
    "D1": ({}, {}),
    "D3 bulk": ({"retarded": "bulk"}, {"relativistic": True}),
    "D3 film of 60 nm": (
        {"retarded": "slab", "thickness_nm": (60.0, 60.0)},
        {"surface": True, "relativistic": True},
    ),
    "D3 film of 20 to 120 nm": (
        {"retarded": "slab", "thickness_nm": (20.0, 120.0)},
        {"surface": True, "relativistic": True},
    ),
}


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--size", type=int, default=16, help="pixels to a side of the images")
    parser.add_argument("--chains", nargs="*", default=list(CHAINS), choices=list(CHAINS))
    parser.add_argument("--keep", type=Path, help="folder of removals, made once and read again")
    options = parser.parse_args()
    hs.preferences.General.show_progressbar = False
    warnings.simplefilter("ignore")
    print(f"{'bar':<66}{'goal':>14}  found")
    films()
    without_noise()
    for rows_of, kinds in ((chain_rows, options.chains), (flag_rows, kinds_of_flag())):
        for kind in kinds:
            several = [rows_of(kind, options, seed) for seed in options.seeds]
            for name, goal in several[0]:
                row(name, goal, np.median([one[name, goal] for one in several], axis=0))


def row(name, goal, found):
    """Print a figure beside its goal."""
    numbers = " ".join(f"{value:.3g}" for value in np.atleast_1d(found))
    print(f"{name:<66}{goal:>14}  {numbers}", flush=True)


def rms(values):
    """Compute the root of the mean square of those values that are known."""
    return float(np.sqrt(np.nanmean(np.square(values))))


# Films alone


def films():
    """Say how large retardation is, how well angles are integrated, and how fast."""
    true, energy = SEMICONDUCTOR.epsilon(GRID.energy), GRID.energy
    windows = ((1, 2), (2, 3), (3, 5), (5, 10), (10, 30))
    for name, losses in {
        "volume": retarded_volume_loss(energy, true, BEAM),
        **{f"film of {t} nm": film_loss(energy, true, t, BEAM) / t for t in (30, 60, 120)},
    }.items():
        seen = [(energy >= low) & (energy < high) for low, high in windows]
        slow = volume_loss(energy, true, BEAM)
        ratios = [losses[one].sum() / slow[one].sum() for one in seen]
        row(f"losses over Im[-1/eps], 1-2, 2-3, 3-5, 5-10, 10-30 eV, {name}", "", ratios)
    for name, model in (("semiconductor", SEMICONDUCTOR), ("glass", GLASS)):
        errors = [angle_error(model, e, t) for e in (2.0, 5.0, 15.0) for t in (10.0, 60.0)]
        row(f"integral over angles against adaptive quadrature, {name}", "1e-3", max(errors))
    thickness = np.linspace(20.0, 100.0, 16)
    film_loss(energy, true, thickness[:, None][:, 0], BEAM)
    start = time.process_time()
    film_loss(energy, np.broadcast_to(true, (16, energy.size)), thickness, BEAM)
    row("ms of one thread for a film at 470 energies", "", 1e3 * (time.process_time() - start) / 16)


def angle_error(model, energy, thickness):
    """Relative error of a film whose angles are integrated one by one, as Kroeger wrote them."""
    beam, eps = BEAM, model.epsilon(energy).conj()
    speed2, theta = beam.speed_squared, beam.characteristic_angle(energy)
    length = np.sqrt(speed2) * 197.3269804 / energy
    phase = thickness / (2 * length)

    def density(angle):
        k, k0 = np.sqrt(angle**2 - eps * speed2), np.sqrt(angle**2 - speed2 + 1e-30j)
        fields, vacuum, both = k**2 + 1, k0**2 + 1, angle**2 + 1 - (eps + 1) * speed2
        tanh = np.tanh(k * phase)
        even, odd = k0 * eps + k * tanh, k0 * eps + k / tanh
        faces = both**2 / eps * (np.sin(phase) ** 2 / even + np.cos(phase) ** 2 / odd)
        faces += speed2 * k0 * both * (1 / even - 1 / odd) * np.sin(2 * phase)
        inner = np.cos(phase) ** 2 * tanh / even + np.sin(phase) ** 2 / tanh / odd
        faces -= speed2**2 * k0 * k * inner
        faces *= 2 * angle**2 * (eps - 1) ** 2 * length / (vacuum**2 * fields**2)
        return 2 * angle * (thickness * (1 - eps * speed2) / (eps * fields) - faces).imag

    largest = 1e-3 * beam.collection_angle / theta
    ends = [0, *(np.sqrt(speed2) * np.array([0.5, 1, 1.3, 1.7, 2.2, 3, 5, 10])), 50, largest]
    pieces = zip(ends[:-1], ends[1:], strict=True)
    slow = volume_factor(beam) * sum(quad(density, *piece, limit=500)[0] for piece in pieces)
    return abs(film_loss(energy, model.epsilon(energy), thickness, beam) / slow - 1)


# Taken off losses without noise


def without_noise():
    """Print errors of eps1 by the number of steps, and where these have settled."""
    volume = retarded_excess(GRID.energy, SEMICONDUCTOR.epsilon(GRID.energy), BEAM)
    errors = [off_losses(volume, steps(n), volume_excess_at)[0] for n in (0, 1, 2, 4)]
    row("K8 volume: error of e1 after 0, 1, 2, 4 steps", "0.02 (last)", errors)
    for thickness in (10.0, 20.0, 30.0, 60.0, 120.0, 400.0):
        film = film_excess(GRID.energy, SEMICONDUCTOR.epsilon(GRID.energy), thickness, BEAM)
        for by_index in (False, True):
            given = {"thickness": thickness, "by_index": by_index}
            before, _ = off_losses(film, steps(0), None, **given)
            alone, _ = off_losses(film, steps(6), volume_excess_at, **given)
            after, off = off_losses(film, steps(25, 0.5), film_excess_at, **given)
            known = "n" if by_index else "t"
            name = (
                f"K9 film of {thickness:g} nm, {known} known: e1 as is, volume off, film off; t - 1"
            )
            row(name, "0.12 (third)", [before, alone, after, off])


def volume_excess_at(energy, epsilon, thickness):
    """Compute what retardation adds in a volume; its thickness does not matter."""
    return retarded_excess(energy, epsilon, BEAM)


def film_excess_at(energy, epsilon, thickness):
    """Compute what retardation adds in a film of a thickness, nm."""
    return film_excess(energy, epsilon, thickness, BEAM)


def steps(number, part=1.0):
    """Iterate a number of times, whatever comes out; parts of a step go to and fro less."""

    def solve(losses, inverse_of, excess_of):
        excess = np.zeros_like(losses)
        for _ in range(number):
            found = excess_of(inverse_of(losses - excess))
            excess += part * (np.clip(found, -0.97 * losses, 0.97 * losses) - excess)
        return losses - excess

    return solve


def off_losses(excess, solve, excess_at, thickness=100.0, by_index=False):
    """Relative error of eps1 in 1 to 30 eV, and of the thickness, when an excess is taken off."""
    true = SEMICONDUCTOR.epsilon(GRID.energy)
    unit = volume_factor(BEAM) * BEAM.angular_logarithm(GRID.energy)
    losses = ((volume_loss(GRID.energy, true, BEAM) + excess) / unit)[None]
    known = Continuation(GRID, np.zeros(1, int), np.array([(losses.argmax() + 1) / GRID.size]))
    given = {"scale": np.ones(1)}
    if by_index:
        given = {"index": np.array([SEMICONDUCTOR.refractive_index])}

    def inverse_of(free):
        return invert(free, known, **given)

    def excess_of(inverse):
        scale = inverse.scale
        return scale[:, None] * excess_at(GRID.energy, inverse.epsilon, scale * thickness) / unit

    inverse = inverse_of(solve(losses, inverse_of, excess_of))
    seen = (GRID.energy >= 1) & (GRID.energy <= 30)
    error = rms((inverse.epsilon[0] - true).real[seen]) / rms(true.real[seen])
    return error, inverse.scale[0] - 1


# The whole chain


def removed(sample, name, options, seed):
    """The removal; from a folder where there is one."""
    folder = None if options.keep is None else options.keep / f"{name}_{options.size}_{seed}"
    if folder is not None and folder.exists():
        return hyperspy_zlpml.load_removal(folder, sample.signal)
    removal = sample.signal.remove_zlp_ml(random_state=seed)
    if folder is not None:
        removal.save(folder)
    return removal


def chain_rows(kind, options, seed):
    """Errors of eps and of the thickness of one image, corrected and not."""
    phantom, flags = CHAINS[kind]
    sample = dielectric_phantom((options.size, options.size), random_state=seed, **phantom)
    removal = removed(sample, kind.replace(" ", "_"), options, seed)
    ways = {"": flags, ", volume alone": {"relativistic": True}, ", not corrected": {}}
    rows = {}
    for way, arguments in ways.items():
        if (way and arguments == flags) or (way and not flags):
            continue
        result = removal.dielectric_function(n=sample.models[0].refractive_index, **arguments)
        rows |= dielectric_rows(f"{kind}{way}", sample, result, goal=way == "")
    return rows


def dielectric_rows(name, sample, result, goal):
    """Relative errors, and the parts of claimed intervals that hold the truth."""
    energy = result.epsilon.axes_manager.signal_axes[0].axis
    specimen = sample.thickness_nm.data > 0
    shown = specimen & np.isfinite(result.epsilon.data).all(-1)
    true = SEMICONDUCTOR.epsilon(energy)
    seen = (energy >= 2) & (energy <= 30)
    errors = (np.asarray(result.epsilon.data) - true)[shown]
    sizes = [rms(part(true)[seen]) for part in (np.real, np.imag)]
    width = result.eps1.error[shown]
    holds = np.abs(errors.real) < width
    off = result.thickness.value.data[shown] / sample.thickness_nm.data[shown] - 1
    relative = [rms(part(errors)[:, seen]) / size
                for part, size in zip((np.real, np.imag), sizes, strict=True)]  # fmt: skip
    return {
        (f"{name}: e1, e2 per pixel, 2-30 eV", "1.5 x D1" if goal else ""): relative,
        (f"{name}: e1 in std and systematic, 2-4, 4-8, 8-15, 15-30 eV", ""): [
            holds[:, (energy >= low) & (energy < high)].mean() for low, high in WINDOWS
        ],
        (f"{name}: thickness - 1, answers in specimen", ""): [
            np.median(off),
            shown.sum() / specimen.sum(),
        ],
    }


# The flag


def kinds_of_flag():
    """Beam energies (keV) at which a threshold is far below, just below, above the largest eps1."""
    largest = SEMICONDUCTOR.epsilon(GRID.energy[GRID.energy > 1]).real.max()
    return {
        "200 kV": 200.0,
        "60 kV": 60.0,
        "20 kV": 20.0,
        "(c/v)^2 10 % below the largest eps1": beam_energy(0.9 * largest),
        "(c/v)^2 at the largest eps1": beam_energy(largest),
        "(c/v)^2 5 % above the largest eps1": beam_energy(1.05 * largest),
    }


def beam_energy(threshold):
    """Beam energy at which ``(c/v)^2`` is a number, keV."""
    return REST_ENERGY * (1 / np.sqrt(1 - 1 / threshold) - 1)


#: What is asked of the probability at each beam energy.
GOALS = {"200 kV": ">= 0.99", "60 kV": ">= 0.99", "20 kV": "<= 0.01"}


def flag_rows(kind, options, seed):
    """Probabilities in the specimen, and pixels said to be RETARDED, in the specimen and in vacuum."""
    energy = kinds_of_flag()[kind]
    size = (options.size, options.size)
    sample = dielectric_phantom(size, random_state=seed, beam_energy=energy)
    removal = removed(sample, f"flag_{energy:.0f}", options, seed)
    result = removal.dielectric_function(n=SEMICONDUCTOR.refractive_index)
    found = removal.retardation(dielectric=result)
    specimen = sample.thickness_nm.data > 0
    known = specimen & np.isfinite(found.probability.data)
    flagged = found.reason.data == Reason.RETARDED
    return {
        (f"K10 {kind}: median probability", GOALS.get(kind, "")): np.median(
            found.probability.data[known]
        ),
        (f"K10 {kind}: RETARDED among answers, in vacuum", ""): [
            flagged[known].mean(),
            flagged[~specimen].mean(),
        ],
        (f"K10 {kind}: largest eps1 - truth, rms, claimed", ""): excess_error(found, known),
    }


def excess_error(found, known):
    """Compute the error of the largest eps1 over its threshold, rms, and the median of what is claimed."""
    largest = SEMICONDUCTOR.epsilon(GRID.energy[GRID.energy > 1]).real.max() - found.threshold
    value, std = (one.data[known] for one in (found.excess.value, found.excess.std))
    return [rms(value - largest), np.median(std)]


if __name__ == "__main__":
    main()
