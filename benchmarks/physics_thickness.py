# SPDX-License-Identifier: GPL-3.0-or-later
"""Single scattering and thickness against known truth: found figures beside their goals.

Every figure is the median over the seeds. ``python benchmarks/physics_thickness.py --seeds 101 102 103``;
parts: ``--parts simulated measured speed``.
"""

import argparse
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import hyperspy.api as hs
import numpy as np
from scipy.signal import fftconvolve

from hyperspy_zlpml import data
from hyperspy_zlpml.physics import Beam, Losses, Reason
from hyperspy_zlpml.physics.collection import as_parallel
from hyperspy_zlpml.physics.deconvolution import single_scattering, up_to
from hyperspy_zlpml.physics.extrapolation import fit_tail
from hyperspy_zlpml.physics.hidden_losses import hidden_losses
from hyperspy_zlpml.physics.thickness import (
    COLUMNS,
    LAST_ENERGY,
    log_ratio,
    measure_thickness,
    sum_rule,
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PARTS = ("simulated", "measured", "speed")
#: Thinner specimens have no relative error worth the name.
THIN = 0.1
WINDOWS = ((3, 8), (8, 20), (20, 40), (40, 45))
LOW = (1.5, 3)
NOISE_FREE = ((1, 5), (5, 20), (20, 40), (40, 46), (46, 47))
#: Images with losses that the volume does not have without retardation.
MORE_LOSSES = {
    "film": {"retarded": "slab", "thickness_nm": (20.0, 120.0)},
    "retarded volume": {"retarded": "bulk"},
    "faces": {"surfaces": True, "thickness_nm": (20.0, 60.0)},
}
#: Of the measured silicon.
SILICON = as_parallel(Beam(energy=200.0, collection_angle=15.0, convergence_angle=10.0))
#: First positions of the measured WS2 that are vacuum.
WS2_VACUUM = 2
#: Other measured specimens: line scans, one of few counts, and single spectra, one with a pedestal.
WITH_THICKNESS = (
    "lsmo_linescan_80kV.hspy",
    "cr_lowloss_200kV.hspy",
    "ice_pedestal.msa",
    "fecr_linescan_300kV_lowdose.dm3",
)
WIDE_AXIS = {"offset": -5.0, "scale": 0.05}


class Table:
    """Figures by bar, in the order in which they come."""

    def __init__(self):
        self.goals, self.found = {}, {}

    def add(self, bar, goal, value):
        """Add what was found in an image to the figures of a bar."""
        self.goals[bar] = goal
        self.found.setdefault(bar, []).append(float(value))

    def show(self):
        """Print the median of every bar beside its goal."""
        width = max(map(len, self.goals), default=0)
        goals = max(map(len, self.goals.values()), default=0)
        for bar, goal in self.goals.items():
            print(
                f"{bar:{width}} | {goal:{goals}} | {np.nanmedian(self.found[bar]):.3g}", flush=True
            )


def covered(error, std):
    """Tell which part of errors is smaller than claimed."""
    return (np.abs(error) < std).mean()


def removed(sample, **options):
    """Remove the zero-loss peak from a sample image without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sample.signal.remove_zlp_ml(random_state=0, **options)


def score_on_axis(table, name, sample, result, goal):
    """H1: the logarithmic ratio against that of the true counts on the axis."""
    limit = result.thickness().lower_limit
    inside = sample.thickness.data > 0
    ratio = sample.inelastic.data.astype(float).sum(-1) / sample.zlp.data.astype(float).sum(-1)
    error = (limit.value.data - np.log1p(ratio))[inside]
    std = limit.std.data[inside]
    table.add(f"H1 {name} ln(It/I0) on the axis: rms", f"<= {goal:g}", np.sqrt((error**2).mean()))
    table.add(f"H1 {name} coverage", "0.60-0.85", covered(error, std))


def score_vacuum(table, name, sample, result):
    """False alarms: vacuum whose losses are called significant."""
    vacuum = sample.thickness.data == 0
    reasons = result.thickness().reason.data[vacuum]
    table.add(
        f"N  {name} vacuum with significant losses", "<= 0.01", (reasons == Reason.NONE).mean()
    )


def score_total(table, name, sample, result, goals):
    """H2, H3, H6: all losses, the sum rule, and one by the other, on the dielectric phantom."""
    found = result.thickness(
        n=sample.refractive_index, mean_free_path=sample.mean_free_path.data.mean()
    )
    truth = sample.thickness.data
    inside = truth > THIN
    relative = found.t_over_lambda
    error = (relative.value.data - truth)[inside]
    share = error / truth[inside]
    both = (relative.std.data + relative.systematic.data)[inside]
    table.add(
        f"H2 {name} t/lambda of all losses: bias, %", f"|.| <= {goals[0]}", 100 * share.mean()
    )
    table.add(f"H2 {name} within std and systematic", ">= 0.90", covered(error, both))
    nm = found.by_index
    ratio = (nm.value.data / sample.thickness_nm.data)[inside]
    std = (nm.std.data / sample.thickness_nm.data)[inside]
    systematic = (nm.systematic.data / sample.thickness_nm.data)[inside]
    table.add(f"H3 {name} sum rule: bias, %", f"|.| <= {goals[1]}", 100 * (ratio.mean() - 1))
    table.add(f"H3 {name} scatter, %", "", 100 * ratio.std())
    table.add(f"H3 {name} claimed scatter, %", "", 100 * std.mean())
    table.add(f"H3 {name} coverage of the scatter", "0.60-0.85", covered(ratio - ratio.mean(), std))
    table.add(
        f"H3 {name} within std and systematic", ">= 0.90", covered(ratio - 1, std + systematic)
    )
    other = found.ratio.value.data[inside]
    table.add(
        f"H6 {name} sum rule over given mean free path: - 1, %",
        "|.| <= 3",
        100 * (other.mean() - 1),
    )
    error = (found.ratio.std.data + found.ratio.systematic.data)[inside]
    table.add(f"H6 {name} within its error", ">= 0.90", covered(other - 1, error))
    score_same(table, name, nm, result.dielectric_function(n=sample.refractive_index))


def score_same(table, name, by_index, dielectric):
    """H7: the sum rule against the thickness of the dielectric function, which assumes the same."""
    ratio = dielectric.thickness.value.data / by_index.value.data
    table.add(
        f"H7 {name} dielectric function over sum rule: - 1, %", "", 100 * (np.nanmedian(ratio) - 1)
    )


def score_more_losses(table, name, sample, result):
    """H8: what retardation and faces add, and whether the systematic errors hold it."""
    found = result.thickness(n=sample.refractive_index)
    nm = sample.thickness_nm.data
    inside = nm > 0
    relative = nm / sample.mean_free_path.data.mean()
    for what, one, truth in (
        ("t/lambda", found.t_over_lambda, relative),
        ("nm", found.by_index, nm),
    ):
        share = one.value.data[inside] / truth[inside] - 1
        claimed = one.systematic.data[inside] / truth[inside]
        table.add(f"H8 {name} {what}: bias, %", "", 100 * np.nanmedian(share))
        table.add(f"H8 {name} {what}: systematic, %", "", 100 * np.nanmedian(claimed))
        table.add(
            f"H8 {name} {what}: within",
            ">= 0.90",
            covered(share, one.error[inside] / truth[inside]),
        )


def true_single(sample):
    """True single scattering in counts: the true ZLP with the chance of one loss."""
    energy = sample.signal.axes_manager.signal_axes[0].axis
    step = energy[1] - energy[0]
    loss = step * np.arange(energy.size)
    truth = sample.truth
    chance = np.zeros((truth.thickness.size, energy.size))
    model, beam = sample.models[0], sample.beam
    positive = loss > 0
    lost = beam.angular_logarithm(loss[positive]) * np.imag(-1 / model.epsilon(loss[positive]))
    chance[:, positive] = lost
    scale = truth.thickness_nm / (2 * np.pi * 0.0529177 * beam.kinetic) * step
    zlp = sample.zlp.data.reshape(chance.shape).astype(float)
    return fftconvolve(zlp, chance * scale[:, None], axes=-1)[:, : energy.size]


def score_noise_free(table, sample):
    """F1: the deconvolution alone."""
    zlp = sample.zlp.data.reshape(-1, sample.zlp.data.shape[-1]).astype(float)
    counts = zlp + sample.inelastic.data.reshape(zlp.shape)
    once = true_single(sample)
    thick = sample.truth.thickness > THIN
    energy = sample.signal.axes_manager.signal_axes[0].axis
    found = single_scattering(losses_like(energy, counts[thick], zlp[thick]))
    error = np.abs(found.counts - once[thick]) / once[thick].max(-1, keepdims=True)
    expected = sample.zlp + sample.inelastic
    other = expected.fourier_log_deconvolution(sample.zlp).data[..., : energy.size]
    other = other.reshape(zlp.shape)[thick] - once[thick]
    other = np.abs(other) / once[thick].max(-1, keepdims=True)
    for low, high in NOISE_FREE:
        goal = "<= 0.001" if high <= 46 else "<= 0.003"
        inside = (energy >= low) & (energy < high)
        name = f"F1 noise-free error / maximum, {low}-{high} eV"
        table.add(name, goal, error[:, inside].max(-1).mean())
        table.add(f"{name}, eXSpy", "", other[:, inside].max(-1).mean())


def losses_like(energy, counts, zlp, n_directions=1):
    """Losses of given counts and ZLPs; what deconvolution does not use is left empty."""
    n = len(counts)
    return Losses(
        energy=energy,
        distance=(energy[1] - energy[0]) * np.arange(-20.0, 21.0),
        counts=counts,
        zlp=zlp,
        variance=counts + 900.0,
        spilled=np.zeros_like(counts),
        directions=np.repeat(1e-3 * zlp[:, None], n_directions, axis=1),
        centre=np.zeros(n),
        fwhm=np.full(n, 0.45),
        gain_limit=np.full(n, -1.0),
        loss_limit=np.full(n, 1.5),
        is_vacuum=np.zeros(n, bool),
        response=np.full((n, 41), 1 / 41),
    )


def score_single(table, name, sample, result):
    """F2, F3, F6: pulls of single scattering with all its errors."""
    single = result.single_scattering()
    energy = single.axes_manager.signal_axes[0].axis
    once = true_single(sample)
    thick = sample.truth.thickness > THIN
    std = np.sqrt(single.get_noise_variance().data.reshape(once.shape))[thick]
    error = single.data.reshape(once.shape)[thick] - once[thick]
    for low, high in WINDOWS:
        inside = (energy >= low) & (energy < high)
        pull = (error / std)[:, inside]
        table.add(f"F2 {name} pull, {low}-{high} eV", "0.9-1.15", pull.std())
        table.add(f"F2 {name} coverage, {low}-{high} eV", "0.60-0.75", covered(pull, 1))
    inside = (energy >= LOW[0]) & (energy < LOW[1])
    bias = error[:, inside].sum() / once[thick][:, inside].sum()
    table.add(f"F3 {name} coverage, 1.5-3 eV", ">= 0.55", covered((error / std)[:, inside], 1))
    table.add(f"F3 {name} bias, 1.5-3 eV, %", "|.| <= 10", 100 * bias)


def score_simulated(table, seed, size):
    """Score the thickness of sample images of a size and a seed."""
    shape = (size, size)
    goals = {"ws2_like": 3e-4, "thick_small_gap": 6e-4, "monochromated": 3e-4}
    for name, goal in goals.items():
        sample = getattr(data, name)(shape, random_state=seed)
        result = removed(sample)
        score_on_axis(table, name, sample, result, goal)
        found = result.thickness()
        truth = sample.thickness.data
        if name == "monochromated":
            refused = found.reason.data[truth > 0] == Reason.AXIS_TOO_SHORT
            table.add("H5 axis to 9 eV: lower limit, said so", "1", refused.mean())
            continue
        score_vacuum(table, name, sample, result)
        thick = truth > 0.7
        error = (found.t_over_lambda.value.data - truth)[thick]
        table.add(f"H4 {name} t/lambda above 0.7: bias", "|.| <= 0.03", error.mean())
    phantoms = {
        "D1": ({}, (2, 1.5)),
        "D2": (WIDE_AXIS, (0.5, 0.6)),
        "D1 to t/lambda 2": ({"thickness_range": (0, 2)}, (2, 1.5)),
    }
    for name, (parameters, goals) in phantoms.items():
        sample = data.dielectric_phantom(shape, random_state=seed, **parameters)
        sample.signal.set_microscope_parameters(convergence_angle=0)  # what is simulated
        result = removed(sample)
        score_total(table, name, sample, result, goals)
        score_vacuum(table, name, sample, result)
        if name != "D2":
            score_single(table, name, sample, result)
        if name == "D1":
            score_noise_free(table, sample)
    for name, parameters in MORE_LOSSES.items():
        sample = data.dielectric_phantom(shape, random_state=seed, **parameters)
        sample.signal.set_microscope_parameters(convergence_angle=0)
        score_more_losses(table, name, sample, removed(sample))


def score_measured(table):
    """F4, R3, R5, R7: measured spectra, where they are there."""
    silicon = hs.load(DATA / "si_16x16_200kV.dm3", signal_type="EELS_ZLPML")
    silicon.set_microscope_parameters(beam_energy=200, convergence_angle=10, collection_angle=15)
    result = silicon.remove_zlp_ml(random_state=0)
    found = result.thickness(density=2.33, n=3.45)
    sums = result.removed.map_losses(sums_on_axis, 2, lazy=False)
    print(
        "silicon: t/lambda", np.nanpercentile(found.t_over_lambda.value.data, (0, 50, 100)).round(3)
    )
    print("silicon: exponent", np.nanmedian(found.tail_exponent.data).round(2), reasons(found))
    for name in ("by_density", "by_index"):
        one = getattr(found, name)
        print(
            f"silicon: nm {name}",
            *(f"{np.nanmedian(part.data):.3g}" for part in numbers_of(one)),
        )
    table.add(
        "F4 silicon: sum of J1 / I0 over ln(It/I0)",
        "0.98-1.00",
        np.nanmedian(sums[..., 0] / sums[..., 1]),
    )
    ratio = found.by_index.value.data / found.by_density.value.data
    table.add("R5 silicon: sum rule over Iakoubovskii", "0.75-1.25", np.nanmedian(ratio))
    sums = result.removed.map_losses(partial(sum_rules, beam=SILICON), 2, lazy=False)
    table.add(
        "R5 silicon: the same, nothing given back below E_I",
        "",
        np.nanmedian(ratio * sums[..., 0] / sums[..., 1]),
    )
    score_same(table, "silicon", found.by_index, result.dielectric_function(n=3.45))
    rough = found.t_over_lambda.value.data
    smooth = np.abs(np.diff(rough, axis=-1)) / rough[..., 1:]
    table.add("R5 silicon: neighbours differ by, %", "", 100 * np.nanmedian(smooth))
    retarded = found.reason.data == Reason.RETARDED
    table.add("R5 silicon: spectra that say RETARDED", "1", retarded.mean())
    vacuum = report_measured("ws2_specimen4.hspy").t_over_lambda
    nothing = np.abs(vacuum.value.data / vacuum.std.data)[:WS2_VACUUM].max()
    table.add("R3 WS2, vacuum positions: t/lambda over its std, at most", "<= 3", nothing)
    for name in WITH_THICKNESS:
        relative = report_measured(name).t_over_lambda
        known = (relative.value.data > 0) & (relative.systematic.data > 0)
        table.add(f"R7 {name}: spectra with t/lambda and systematic", "1", known.mean())


def sums_on_axis(losses):
    """Single scattering above E_I over the peak, and the logarithmic ratio."""
    single = single_scattering(losses)
    above = losses.from_peak > losses.loss_limit[:, None]
    return np.stack(
        [(single.counts * above).sum(-1) / single.intensity, log_ratio(losses)[0]], axis=-1
    )


def sum_rules(losses, beam):
    """Sum over single scattering, as it is and with losses given back that were taken for ZLP."""
    losses = up_to(losses, LAST_ENERGY)
    single = single_scattering(losses)
    collected = beam.angular_logarithm(np.maximum(single.distance, single.step))
    tail = fit_tail(single.counts / collected, single.variance / collected**2, single.distance)
    full = single.given_back(hidden_losses(losses, beam))
    return np.stack([sum_rule(one, collected, tail).value for one in (single, full)], axis=-1)


def report_measured(name):
    """Print what is said of other measured spectra."""
    signal = hs.load(DATA / name)
    signal.set_signal_type("EELS_ZLPML")
    found = signal.remove_zlp_ml(random_state=0).thickness()
    numbers = (
        np.array2string(part.data.ravel()[:6], precision=4)
        for part in numbers_of(found.t_over_lambda)
    )
    print(f"{name}: t/lambda, std, systematic of the first:", *numbers)
    print(
        f"{name}: lower limits {found.lower_limit.value.data.ravel()[:6].round(4)}", reasons(found)
    )
    return found


def numbers_of(measured):
    """List a measured value, its standard deviation and its systematic error."""
    return measured.value, measured.std, measured.systematic


def reasons(found):
    """Count the reasons of the pixels of a map by their names."""
    codes, counts = np.unique(found.reason.data, return_counts=True)
    return {Reason(code).name: int(n) for code, n in zip(codes, counts, strict=True)}


def score_speed(table):
    """CPU time for a spectrum of 2048 channels, with 17 directions, one thread; eXSpy beside it."""
    sample = data.ws2_like((8, 8), random_state=0)
    zlp = sample.zlp.data.reshape(64, -1).astype(float)
    energy = sample.signal.axes_manager.signal_axes[0].axis
    losses = losses_like(energy, sample.signal.data.reshape(64, -1).astype(float), zlp, 17)
    of_one = replace(losses, directions=losses.directions[:, :1])
    works = {
        "thickness, rebinned by 4": (
            "<= 0.7",
            lambda: measure_thickness(losses, sample_beam(), rebin=4),
        ),
        "Fourier-log, values and noise": ("", lambda: single_scattering(of_one)),
        "Fourier-log, values and errors": ("<= 3", lambda: single_scattering(losses)),
        "Fourier-log of eXSpy, values": (
            "",
            lambda: sample.signal.fourier_log_deconvolution(sample.zlp, crop=True),
        ),
    }
    for name, (goal, work) in works.items():
        times = []
        for _ in range(5):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        table.add(f"CPU ms per spectrum: {name}", goal, 1e3 * min(times) / 64)
    assert measure_thickness(losses).shape == (64, len(COLUMNS))


def sample_beam():
    """Make the beam of the sample images."""

    from hyperspy_zlpml.physics import Beam

    return Beam(energy=200.0, collection_angle=15.0)


def main():
    """Print the tables of the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--size", type=int, default=24, help="pixels to a side of the images")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    hs.preferences.General.show_progressbar = False
    warnings.simplefilter("ignore")
    for part in arguments.parts:
        table = Table()
        if part == "simulated":
            for seed in arguments.seeds:
                score_simulated(table, seed, arguments.size)
        elif part == "speed":
            score_speed(table)
        elif DATA.is_dir():
            score_measured(table)
        table.show()


if __name__ == "__main__":
    main()
