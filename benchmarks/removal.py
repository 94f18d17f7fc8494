# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of accuracy and time of ``remove_zlp_ml``; run by ``make bench``.

Measured spectra (looked for in ``../shared/data`` beside the repository) are judged by what must
hold for them; a sample image, for the time it takes, against its truth. Default arguments
throughout. How accurate the method is on many kinds of images ``accuracy.py`` tells.
"""

import argparse
import logging
import time
import warnings
from pathlib import Path

import hyperspy.api as hs
import numpy as np

from hyperspy_zlpml import data

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
#: Windows of the error of the ZLP, in FWHM from the peak.
WINDOWS = ((-1, 1), (1.5, 4), (2, 8), (4, 12))
LINE_SCANS = ("lsmo_linescan_80kV.hspy", "fecr_linescan_300kV_lowdose.dm3", "cr_lowloss_200kV.hspy")


def main():
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=["ws2_like"])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--figures", help="directory for pictures of the measured spectra")
    options = parser.parse_args()
    hs.preferences.General.show_progressbar = False
    logging.getLogger("hyperspy").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    for kind in options.kinds:
        sample_image(kind, options.seed)
    if not DATA.is_dir():
        print("measured spectra: skipped, ../shared/data is not there")
        return
    ws2_specimen4()
    silicon(options.figures)
    for name in LINE_SCANS:
        runs(name, options.figures)


def sample_image(kind, seed):
    """Error of the ZLP in Poisson sigma, coverage and time on one sample image."""
    sample = data.SAMPLE_KINDS[kind](random_state=seed)
    start = time.perf_counter()
    result = sample.signal.remove_zlp_ml(random_state=0)
    seconds = time.perf_counter() - start
    report = result.report
    print(
        f"\n{kind} {sample.signal.data.shape}: {seconds:.1f} s, {report.n_kept} of {report.n_replicas} kept"
    )
    print(
        "  pixels    window/FWHM  error/sigma  bias/sigma  relative  coverage(68)  mean pull  integral pull rms"
    )
    truth, counts = sample.zlp.data.astype(float), sample.signal.data.astype(float)
    sigma = np.sqrt(result._application.subtraction.noise.variance(truth + sample.inelastic.data))
    energy = sample.signal.axes_manager.signal_axes[0].axis
    centre, fwhm = (np.reshape(m.data, truth.shape[:-1]) for m in (sample.centre, sample.fwhm))
    u = (energy - centre[..., None]) / fwhm[..., None]
    thickness = np.reshape(sample.thickness.data, truth.shape[:-1])
    error = result.zlp.data - truth
    low, high = counts - result.upper.data, counts - result.lower.data
    for name, pixels in (("vacuum", thickness == 0), ("specimen", thickness > 0)):
        for left, right in WINDOWS:
            use = (u > left) & (u < right) & pixels[..., None]
            if not use.any():
                continue
            scaled = error[use] / sigma[use]
            inside = ((low <= truth) & (truth <= high))[use].mean()
            pull = (error[use] / result.std.data[use]).mean()
            width = np.median(fwhm)
            model = np.reshape(
                result._integrals(left * width, right * width).model_std, pixels.shape
            )
            summed = np.where((u > left) & (u < right), error, 0).sum(-1)[pixels] / model[pixels]
            print(
                f"  {name:<9} {left:>5} to {right:<4} {np.sqrt((scaled**2).mean()):>9.3f} {scaled.mean():>11.3f} "
                f"{np.sqrt(((error[use] / truth[use]) ** 2).mean()):>10.2%} {inside:>10.2f} {pull:>13.2f} "
                f"{np.sqrt((summed**2).mean()):>12.2f}"
            )


def load(name):
    """A measured file as EELS_ZLPML."""
    return hs.load(DATA / name, signal_type="EELS_ZLPML")


def ws2_specimen4():
    """Vacuum must vanish, the gap must be empty, the losses must show."""
    signal = load("ws2_specimen4.hspy")
    result = signal.remove_zlp_ml(random_state=0)
    print(
        f"\nws2_specimen4: {result.report.n_kept} of {result.report.n_replicas} kept, E_I", end=" "
    )
    print(", ".join(f"{row.E_I:.2f}" for row in result.report.clusters), "eV")
    fwhm = result.fwhm.data
    for position in range(5):
        windows = (
            [(2 * fwhm[position], 8 * fwhm[position])] if position < 2 else [(1.0, 1.4), (2.5, 4.0)]
        )
        for left, right in windows:
            integral, model, counting, zlp = result._integrals(left, right).stack()[position]
            kind = "vacuum" if position < 2 else "specimen"
            print(
                f"  position {position + 1} {kind:<9} {left:.2f}-{right:.2f} eV: {integral / zlp:+8.2%} of the ZLP, "
                f"{integral / model:+7.2f} standard errors of the ZLP model, "
                f"{integral / np.hypot(model, counting):+7.2f} with counting noise"
            )


def silicon(figures):
    """Plasmon position above each pixel's own peak, eager against lazy."""
    signal = load("si_16x16_200kV.dm3")
    eager = signal.remove_zlp_ml(random_state=0)
    lazy = signal.as_lazy(chunks=(5, 7, 300)).remove_zlp_ml(random_state=0)
    lazy.compute()
    position = plasmon(eager).ravel()
    median = np.median(position)
    difference = max(
        np.abs(a.data - b.data).max() / np.abs(a.data).max()
        for a, b in (
            (getattr(eager, n), getattr(lazy, n))
            for n in ("subtracted", "zlp", "std", "lower", "upper")
        )
    )
    near = (np.abs(position - median) < 0.6).mean()
    print(
        f"\nsi_16x16_200kV: plasmon at {median:.2f} eV (median), {near:.1%} of the pixels within 0.6 eV of it, "
        f"{(np.abs(position - 16.7) < 0.6).mean():.1%} within 0.6 eV of 16.7; lazy - eager {difference:.1e} relative"
    )
    picture(eager, "si_16x16_200kV", figures)


def plasmon(result, left=12.0, right=22.0, reach=1.5):
    """Vertex of a parabola around the maximum of the subtracted signal, eV from the peak."""
    energy = result.subtracted.axes_manager.signal_axes[0].axis
    distance = energy - result.centre.data[..., None]
    inside = (distance > left) & (distance < right)
    highest = np.where(inside, result.subtracted.data, -np.inf).argmax(-1)
    positions = np.empty(highest.shape)
    for index in np.ndindex(highest.shape):
        near = np.abs(distance[index] - distance[index][highest[index]]) <= reach
        square, slope, _ = np.polyfit(distance[index][near], result.subtracted.data[index][near], 2)
        positions[index] = -slope / (2 * square)
    return positions


def runs(name, figures):
    """A measurement that must go through without special arguments."""
    result = load(name).remove_zlp_ml(random_state=0)
    print(f"\n{name}\n{result.report}")
    picture(result, Path(name).stem, figures)


def picture(result, name, figures):
    """Overview figure, if a directory was given."""
    if figures is None:
        return
    import matplotlib

    matplotlib.use("agg")
    from hyperspy_zlpml.signals.figures import plot_overview

    Path(figures).mkdir(parents=True, exist_ok=True)
    plot_overview(result).savefig(Path(figures) / f"{name}.png", dpi=80)


if __name__ == "__main__":
    main()
