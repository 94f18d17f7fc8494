# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps of physics of random images with everything that goes wrong with data.

Where the removal gives a result, every map must give numbers with errors, reasons why there is none,
or an error of ours; numbers that hold must be ones that can be. An exception or a warning from inside
NumPy, SciPy or torch fails, and so does a number beyond all belief, or one without an error.
"""

import argparse
import sys
import time
import warnings
from collections import Counter

import hyperspy.api as hs
import numpy as np
from fuzz_images import is_ours, place, spoilt_image

from hyperspy_zlpml.physics import Exciton, Plasmon, Reason

#: Numbers that hold lie within these: t/lambda, nm, K, eV are as wide as anything that is measured.
BELIEVED = {"t_over_lambda": (-1.0, 20.0), "temperature": (0.0, 1e5)}
N_REPLICAS = 4


def main():
    """Print the outcomes; 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    hs.preferences.General.show_progressbar = False
    start = time.process_time()
    outcomes = {name: Counter() for name in ("removal", *MAPS)}
    for seed in range(options.seed, options.seed + options.images):
        for name, kind, words in outcomes_of(seed):
            outcomes[name][kind] += 1
            if kind not in ("result", "refused"):
                print(f"{seed}: {name}: {kind}: {words}", flush=True)
    for name, kinds in outcomes.items():
        print(f"{name:20s} {dict(kinds)}")
    print(f"{options.images} random images, {time.process_time() - start:.0f} s of CPU")
    wrong = sum(kinds.total() - kinds["result"] - kinds["refused"] for kinds in outcomes.values())
    print("passed" if not wrong else "FAILED")
    return int(wrong > 0)


def outcomes_of(seed):
    """Give name, outcome and words of the removal of one random image, and of all of its maps."""
    image, names = spoilt_image(np.random.default_rng(seed))
    words = f"{image.shape} x {image.energy.size} {names}"
    removal, *outcome = tried(removal_of, image, words)
    yield "removal", *outcome
    if removal is None:
        return
    for name, function in MAPS.items():
        found, *outcome = tried(function, removal, words)
        wrong = "" if found is None else wrong_numbers(found, removal)
        yield (name, "absurd", f"{words}: {wrong}") if wrong else (name, *outcome)


def removal_of(image):
    """Remove the ZLP from a signal of an image."""
    signal = hs.signals.Signal1D(image.stacked)
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.offset = image.energy[1] - image.energy[0], image.energy[0]
    axis.units = "eV"
    signal.set_signal_type("EELS_ZLPML")
    signal.set_microscope_parameters(beam_energy=60.0, convergence_angle=5.0, collection_angle=15.0)
    return signal.remove_zlp_ml(n_replicas=N_REPLICAS, random_state=0)


def tried(function, given, words):
    """Call a function; give what it returns, None where it fails, the outcome and words."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = function(given)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            if is_ours(error):
                return None, "refused", f"{words}: {error}"
            return None, "crash", f"{words}: {error!r} at {place(error)}"
    foreign = [str(one.message) for one in caught if one.category is RuntimeWarning]
    if foreign:
        return None, "foreign warning", f"{words}: {foreign[0]}"
    return found, "result", words


def peaks_wanted(removal):
    """Look for a plasmon and an exciton at energies that the axis has."""
    last = removal.removed.spectra.energy[-1]
    return [Plasmon(0.6 * last, 0.1 * last), Exciton(0.3 * last, 0.05 * last)]


#: Maps by name, each a function of the removal.
MAPS = {
    "thickness": lambda r: r.thickness(density=3.0, n=2.0, n_error=0.1, mean_free_path=50.0),
    "band_gap": lambda r: r.band_gap(),
    "band_gap of clusters": lambda r: r.band_gap(pool="clusters"),
    "dielectric_function": lambda r: r.dielectric_function(n=2.0, n_error=0.1),
    "temperature": lambda r: r.temperature(),
    "fit_peaks": lambda r: r.fit_peaks(peaks_wanted(r)),
    "single_scattering": lambda r: r.single_scattering(),
    "retardation": lambda r: r.retardation(n=2.0),
    "integrate": lambda r: r.integrate(0.0, 0.5 * r.removed.spectra.energy[-1]),
    "draw": lambda r: r.draw(3, random_state=0),
}


def wrong_numbers(found, removal):
    """Say what is wrong with the numbers of maps; empty where nothing is."""
    left_out = removal.removed.clusters < 0
    for one in found if isinstance(found, list | tuple) else [found]:
        if not hasattr(one, "reason"):
            continue
        reason = one.reason.data
        if not (reason[left_out] == Reason.LEFT_OUT).all():
            return "spectra that were left out have another reason"
        holds = reason == Reason.NONE
        for name, value, std, error in numbers_of(one):
            wrong = wrong_number(name, value, std, error, holds=holds, left_out=left_out)
            if wrong:
                return wrong
    return ""


def wrong_number(name, value, std, error, *, holds, left_out):
    """Say what is wrong with one map and its errors; empty where nothing is."""
    known = np.isfinite(value)
    if known[left_out].any():
        return f"{name} has numbers where spectra were left out"
    if not (np.isfinite(std) & (std >= 0))[known].all():
        return f"{name} has numbers without an error: {value[known][:3]} +- {std[known][:3]}"
    if name in FIRST and not known[holds].all():
        return f"{name} is missing without a reason"
    low, high = BELIEVED.get(name, (-np.inf, np.inf))
    # A number that is as wrong as it says is an honest one.
    reach = 3 * error
    if ((value + reach < low) | (value - reach > high))[known & holds].any():
        return f"{name} of {value[known & holds]} holds"
    return ""


#: Maps that have a number wherever there is no reason against it.
FIRST = ("t_over_lambda", "gap", "temperature", "position", "thickness")


def numbers_of(found):
    """Give name, values, standard deviations and whole errors of the maps of one result that have errors."""
    for name in (*FIRST, "maximum", "width", "area", "top", "by_density", "by_index", "n"):
        one = getattr(found, name, None)
        if one is None:
            continue
        if hasattr(one, "value"):
            yield name, one.value.data, one.std.data, one.error
        else:
            yield name, one.data, found.std.data, found.std.data


if __name__ == "__main__":
    sys.exit(main())
