# SPDX-License-Identifier: GPL-3.0-or-later
"""How well a trained ensemble serves elsewhere: other images, other settings, where it must refuse.

Run by ``make bench-reuse``. All images are samples with known truth; errors are of the ZLP in units
of the counting noise of a channel, over specimen pixels at 2 to 8 FWHM, as in the other benchmarks.
"""

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

PARTS = ("files", "reuse", "outside", "refused", "settings", "beyond")
REPLICAS = 100
#: Random states: trained on, applied to.
TRAINED_ON = (10, 11, 12)
APPLIED_TO = (20, 21)
#: Another session at the same instrument: four times the dose, half the dispersion, another offset.
OTHER = {"peak_counts": 1.2e7, "scale": 0.0125, "offset": -2.5}
CONDITIONS = ("beam_energy", "exposure")
BEAM_ENERGIES = (60.0, 80.0, 120.0, 200.0)
EXPOSURES = (0.05, 0.1, 0.2, 0.4)
STEPS = (1, 2, 4)


def main():
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    import hyperspy.api as hs

    hs.preferences.General.show_progressbar = False
    for part in options.parts:
        print(f"--- {part}", flush=True)
        globals()[f"measure_{part}"]()


# --- one instrument -------------------------------------------------------------------------------

_ENSEMBLES = {}


def trained(seed):
    """Ensemble trained on a WS2-like image."""
    from hyperspy_zlpml.data import ws2_like

    if seed not in _ENSEMBLES:
        signal = ws2_like(random_state=seed).signal
        _ENSEMBLES[seed] = signal.train_zlp_ml(n_replicas=REPLICAS, random_state=0)
    return _ENSEMBLES[seed]


def score(result, sample):
    """Error, coverage of the band and relative width of the band over 2 to 8 FWHM."""
    energy = sample.signal.axes_manager[-1].axis
    u = (energy - sample.centre.data[..., None]) / sample.fwhm.data[..., None]
    where = (sample.thickness.data > 0)[..., None] & (u > 2) & (u < 8)
    zlp = sample.zlp.data.astype(float)
    variance = sample.gain * (zlp + sample.inelastic.data) + sample.readout**2
    left = sample.signal.data - zlp
    error = np.sqrt(((result.zlp.data - zlp)[where] ** 2 / variance[where]).mean())
    covered = ((left >= result.lower.data) & (left <= result.upper.data))[where].mean()
    return error, covered, np.median((result.std.data / zlp)[where])


def measure_files():
    """Size, load time, and whether the loaded ensemble predicts the same bits."""
    import hyperspy_zlpml

    one = trained(TRAINED_ON[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ws2.zlp"
        one.save(path)
        back = hyperspy_zlpml.load(path)
        seconds = []
        for _ in range(50):
            start = time.perf_counter()
            hyperspy_zlpml.load(path)
            seconds.append(time.perf_counter() - start)
        size = path.stat().st_size
    energy = np.linspace(-4, 40, 2000)
    same = np.array_equal(one.predict(energy), back.predict(energy))
    same &= np.array_equal(one.tabulate().modes, back.tabulate().modes)
    print(
        f"{one.n_replicas} networks: {size} bytes, loaded in {1e3 * np.median(seconds):.2f} ms, "
        f"predictions bitwise equal: {same}"
    )


def measure_reuse():
    """Against training on the image itself."""
    from hyperspy_zlpml.data import ws2_like

    rows = []
    for seed in APPLIED_TO:
        sample = ws2_like(random_state=seed, **OTHER)
        own = score(sample.signal.remove_zlp_ml(n_replicas=REPLICAS, random_state=1), sample)
        for other in TRAINED_ON:
            result = sample.signal.remove_zlp_ml(ensemble=trained(other), random_state=1)
            reused = score(result, sample)
            rows.append((reused[0] / own[0], reused[1], own[1]))
            print(
                f"image {seed}, ensemble {other}: error {reused[0]:.3f}, own {own[0]:.3f}, ratio "
                f"{rows[-1][0]:.2f}; coverage {reused[1]:.2f}, own {own[1]:.2f}",
                flush=True,
            )
    ratio, coverage, own = np.mean(rows, 0)
    print(
        f"mean: ratio {ratio:.2f} (goal at most 1.3), coverage {coverage:.2f} (goal 0.55 to 0.8; "
        f"own {own:.2f}); largest ratio {max(r[0] for r in rows):.2f}"
    )


def measure_outside():
    """Whether it is said, and how much wider the band is than on an image as trained."""
    from hyperspy_zlpml.data import ws2_like

    one = trained(TRAINED_ON[0])
    as_trained = ws2_like((32, 32), random_state=30)
    usual = score(as_trained.signal.remove_zlp_ml(ensemble=one, random_state=0), as_trained)[2]
    print(f"as trained: standard deviation of the ZLP {usual:.4f} of it")
    for name, changed in (("dose x 100", {"peak_counts": 3e8}), ("FWHM x 1.5", {"fwhm": 0.675})):
        sample = ws2_like((32, 32), random_state=31, **changed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = sample.signal.remove_zlp_ml(ensemble=one, random_state=0)
        said = [str(w.message) for w in caught if "trained on other data" in str(w.message)]
        error, covered, spread = score(result, sample)
        print(
            f"{name}: warned {bool(said)}, band {spread / usual:.1f} x as wide (goal 2), error "
            f"{error:.2f}, coverage {covered:.2f}\n  {said[0] if said else ''}"
        )


def measure_refused():
    """Peaks of other instruments."""
    import hyperspy_zlpml
    from hyperspy_zlpml import data

    one = trained(TRAINED_ON[0])
    instruments = {
        "monochromated": data.monochromated((16, 16), random_state=0),
        "Lorentzian flanks": data.ws2_like(
            (16, 16), random_state=0, response=data.Response(1.3, 1.2)
        ),
        "Gaussian flanks": data.ws2_like((16, 16), random_state=0, response=data.Response(8, 8)),
        "flanks of 2.2, 1.8 for 2.5, 2": data.ws2_like(
            (16, 16), random_state=0, response=data.Response(2.2, 1.8)
        ),
        "the same": data.ws2_like((16, 16), random_state=0),
    }
    for name, sample in instruments.items():
        try:
            sample.signal.remove_zlp_ml(ensemble=one, random_state=0)
            print(f"{name}: taken")
        except hyperspy_zlpml.OtherZeroLossPeakError as error:
            print(f"{name}: refused: {error}")


# --- several settings -----------------------------------------------------------------------------


def setting_of(image):
    """Conditions of a sample image."""
    microscope = image.signal.metadata.Acquisition_instrument.TEM
    return {
        "beam_energy": microscope.beam_energy,
        "exposure": microscope.Detector.EELS.exposure,
    }


def trained_at(images):
    """Ensemble with conditions."""
    import hyperspy_zlpml

    return hyperspy_zlpml.train_zlp_ml(
        [image.signal for image in images], CONDITIONS, n_replicas=REPLICAS, random_state=0
    )


def predicted(ensemble, image):
    """Coverage of ln I of single spectra over 1 to 8 FWHM, error and spread.

    Returns
    -------
    coverage_68, coverage_95, rms error, mean standard deviation
    """
    energy = image.signal.axes_manager[-1].axis
    truth = image.zlp.data.reshape(-1, energy.size).astype(float)
    centre, fwhm = image.centre.data.ravel(), image.fwhm.data.ravel()
    rows = []
    for zlp, at, width in list(zip(truth, centre, fwhm, strict=True))[::3]:
        u = (energy - at) / width
        where = (u > 1) & (u < 8)
        replicas = np.log(ensemble.predict(energy, centre=at, **setting_of(image))[:, where])
        bounds = np.quantile(replicas, [0.16, 0.84, 0.025, 0.975, 0.5], axis=0)
        log_zlp = np.log(zlp[where])
        inside = [((log_zlp >= bounds[k]) & (log_zlp <= bounds[k + 1])).mean() for k in (0, 2)]
        off = np.sqrt(((log_zlp - bounds[4]) ** 2).mean())
        rows.append((*inside, off, replicas.std(0).mean()))
    return np.mean(rows, 0)


def measure_settings():
    """Leave one setting out, of those between others."""
    from hyperspy_zlpml.data import vacuum_at_settings

    rows = []
    for seed in (0, 1, 2):
        images = vacuum_at_settings(BEAM_ENERGIES, EXPOSURES, random_state=seed)
        for number, image in enumerate(images):
            setting = setting_of(image)
            inner = (BEAM_ENERGIES[1:-1], EXPOSURES[1:-1])
            if not all(v in known for v, known in zip(setting.values(), inner, strict=True)):
                continue
            start = time.perf_counter()
            ensemble = trained_at(images[:number] + images[number + 1 :])
            seconds = time.perf_counter() - start
            rows.append(predicted(ensemble, image))
            print(
                f"grid {seed}, {setting}: coverage {rows[-1][0]:.2f} / {rows[-1][1]:.2f} (68 / 95 %), "
                f"error of ln I {rows[-1][2]:.3f}, claimed {rows[-1][3]:.3f}; {seconds:.0f} s",
                flush=True,
            )
    inside, wide, off, claimed = np.mean(rows, 0)
    print(
        f"mean of {len(rows)}: coverage {inside:.2f} (goal 0.55 to 0.8), of 95 % {wide:.2f}, error "
        f"{off:.3f}, claimed {claimed:.3f}"
    )


def measure_beyond():
    """Beyond the settings trained at, in steps of the grid."""
    from hyperspy_zlpml.data import vacuum_at_settings

    ratio = (BEAM_ENERGIES[-1] / BEAM_ENERGIES[0]) ** (1 / 3)
    ways = {
        "beam energy up": lambda n: (BEAM_ENERGIES[-1] * ratio**n, 0.15),
        "beam energy down": lambda n: (BEAM_ENERGIES[0] / ratio**n, 0.15),
        "exposure up": lambda n: (110.0, EXPOSURES[-1] * 2**n),
        "exposure down": lambda n: (110.0, EXPOSURES[0] / 2**n),
    }
    for seed in (0, 1):
        ensemble = trained_at(vacuum_at_settings(BEAM_ENERGIES, EXPOSURES, random_state=seed))
        for way, at in ways.items():
            rows = []
            for n in (0, *STEPS):
                beam_energy, exposure = at(n)
                (image,) = vacuum_at_settings((beam_energy,), (exposure,), random_state=99)
                rows.append(predicted(ensemble, image))
            spreads = [row[3] for row in rows]
            grows = bool((np.diff(spreads) > 0).all())
            text = ", ".join(f"{row[3]:.3f} ({row[1]:.2f})" for row in rows)
            print(
                f"grid {seed}, {way} by 0, 1, 2, 4 steps: standard deviation of ln I (coverage of "
                f"95 %) {text}; grows every step: {grows}",
                flush=True,
            )


if __name__ == "__main__":
    main()
