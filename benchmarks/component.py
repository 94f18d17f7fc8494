# SPDX-License-Identifier: GPL-3.0-or-later
"""Time of the component ``ZLPNet``, and agreement of fits with both kinds of gradient.

``python benchmarks/component.py`` trains on a small sample image first.
"""

import argparse
import logging
import time
import warnings

import hyperspy.api as hs
import numpy as np
from exspy.signals import EELSSpectrum

import hyperspy_zlpml.data
from hyperspy_zlpml.components import ZLPNet

SCALE = 0.025
OFFSET = -2.0
#: Numbers of spectra and channels of the image that is fitted linearly.
SPECTRA = 4096
CHANNELS = 512
FITTED = 256
FEW = 24


def main():
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ensemble", help="file of an ensemble, instead of training one")
    options = parser.parse_args()
    hs.preferences.General.show_progressbar = False
    logging.getLogger("hyperspy").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    if options.ensemble:
        ensemble = hyperspy_zlpml.load(options.ensemble)
    else:
        sample = hyperspy_zlpml.data.ws2_like((16, 16), n_channels=1024, random_state=0)
        ensemble = sample.signal.train_zlp_ml(random_state=0)
    print(ensemble)
    one_spectrum(ensemble)
    linear(ensemble, drift=False)
    linear(ensemble, drift=True)
    whole_image(ensemble)
    gradients(ensemble)


def noisy_image(ensemble, n_spectra, drift, random_state=0):
    """Signal of peaks with Poisson noise; they drift by a tenth of the FWHM, or stand still."""
    rng = np.random.default_rng(random_state)
    energy = OFFSET + SCALE * np.arange(CHANNELS)
    zlp, counts = ZLPNet(ensemble), np.empty((n_spectra, CHANNELS))
    for row in counts:
        zlp.intensity.value = 2e7 * rng.uniform(0.5, 1.0)
        zlp.centre.value = drift * rng.normal(0.0, 0.1 * zlp.fwhm)
        row[:] = rng.poisson(zlp.function(energy) * SCALE)
    signal = EELSSpectrum(counts)
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.offset, axis.units = SCALE, OFFSET, "eV"
    return signal


def model_of(signal, ensemble):
    """Model of the peak alone, with its parameters estimated, and the time that took."""
    model = signal.create_model(auto_background=False, auto_add_edges=False)
    model.append(ZLPNet(ensemble))
    start = time.perf_counter()
    model[0].estimate_parameters(signal)
    return model, time.perf_counter() - start


def one_spectrum(ensemble):
    """Time of the function and its gradients on 2048 channels."""
    energy = -4.0 + SCALE * np.arange(2048)
    zlp = ZLPNet(ensemble)
    zlp.function(energy)
    for name in ("function", "grad_intensity", "grad_centre", "grad_width", "grad_mode"):
        call, n_calls = getattr(zlp, name), 500
        start = time.perf_counter()
        for _ in range(n_calls):
            call(energy)
        print(f"{name}: {1e6 * (time.perf_counter() - start) / n_calls:.0f} us of 2048 channels")


def linear(ensemble, drift):
    """Time of ``multifit(optimizer="lstsq")`` with all but the intensity fixed."""
    signal = noisy_image(ensemble, SPECTRA, drift)
    model, estimating = model_of(signal, ensemble)
    if not drift:
        for parameter in (model[0].centre, model[0].width):
            parameter.value = np.median(parameter.map["values"])
            parameter.assign_current_value_to_all()
    model.set_parameters_not_free(only_nonlinear=True)
    start = time.perf_counter()
    model.multifit(optimizer="lstsq")
    seconds = time.perf_counter() - start
    fixed = "different at each position" if drift else "equal everywhere"
    print(
        f"lstsq of {SPECTRA} spectra of {CHANNELS} channels, fixed parameters {fixed}: "
        f"{seconds:.3f} s (estimate_parameters {estimating:.2f} s)"
    )


def whole_image(ensemble):
    """Time of ``as_signal``."""
    signal = noisy_image(ensemble, SPECTRA, drift=True)
    model, _ = model_of(signal, ensemble)
    start = time.perf_counter()
    model.as_signal()
    print(f"as_signal of {SPECTRA} x {CHANNELS}: {time.perf_counter() - start:.2f} s")


def gradients(ensemble):
    """Time and agreement of non-linear fits with analytical and with numerical gradients."""
    signal = noisy_image(ensemble, FITTED, drift=True)
    signal.set_noise_variance(hs.signals.Signal1D(np.maximum(signal.data, 1.0)))
    maps = {}
    for grad in ("fd", "analytical"):
        model, _ = model_of(signal, ensemble)
        start = time.perf_counter()
        model.multifit(grad=grad)
        each = 1e3 * (time.perf_counter() - start) / FITTED
        print(f"multifit(grad={grad!r}) of {FITTED} spectra: {each:.2f} ms each")
    tight = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15}
    for grad in ("fd", "analytical"):
        model, _ = model_of(signal.inav[:FEW], ensemble)
        model.multifit(grad=grad, **tight)
        maps[grad] = {p.name: p.map.copy() for p in model[0].free_parameters}
    for name, numerical in maps["fd"].items():
        analytical = maps["analytical"][name]
        apart = np.abs(analytical["values"] - numerical["values"])
        print(
            f"{name}: fits differ by {apart.max():.1e}, "
            f"{(apart / numerical['std']).max():.1e} of the standard error"
        )


if __name__ == "__main__":
    main()
