# SPDX-License-Identifier: GPL-3.0-or-later
"""
Fit the peak together with losses
=================================

Fit the zero-loss peak, a plasmon and an exciton together, beside subtracting it first.
"""

import sys

import exspy
import hyperspy.api as hs
import numpy as np

import hyperspy_zlpml.data
from hyperspy_zlpml.components import ZLPNet

hs.preferences.General.show_progressbar = False
seed = int(sys.argv[1]) if sys.argv[1:] else 0

# An image with one exciton, 0.8 eV above the gap of 1.6 eV.
material = hyperspy_zlpml.data.Material(excitons=((0.8, 0.3, 0.03),))
sample = hyperspy_zlpml.data.ws2_like((12, 12), seed, n_channels=1024, material=material)
s, specimen = sample.signal, sample.thickness.data > 0.15

# Train.
s.estimate_poissonian_noise_variance(gain_factor=sample.gain, gain_offset=sample.readout**2)
r = s.remove_zlp_ml(n_replicas=30, random_state=0)
ensemble = r.ensemble
thickness = ensemble.seen.log_beam - np.log(np.median(r.intensity.data[specimen]))


# Model.
def fit(signal, reach=None):
    """Fit a plasmon and an exciton; from `reach` eV to either side on together with the peak."""
    m = signal.create_model(auto_background=False, auto_add_edges=False)
    plasmon = exspy.components.VolumePlasmonDrude(intensity=2e6, plasmon_energy=22.5, fwhm=6.0)
    plasmon.set_parameters_not_free(["plasmon_energy", "fwhm"])
    exciton = hs.model.components1D.Gaussian(A=4e5, centre=2.4, sigma=0.22)
    m.extend([plasmon, exciton, hs.model.components1D.Offset(offset=1.0)])
    m.assign_current_values_to_all()
    m.set_signal_range(1.9, 4.0)
    if reach:
        zlp = ZLPNet(ensemble, thickness)
        m.append(zlp)
        zlp.estimate_parameters(signal)
        m.add_signal_range(-reach, reach)
    m.multifit(mask=~specimen)
    return m


# Fit.
sample.inelastic.set_noise_variance(s.get_noise_variance())
truth = fit(sample.inelastic)  # the same model on the true losses, without noise
subtracted, near, far = fit(r.subtracted), fit(s, reach=0.6), fit(s, reach=1.0)

# Compare: the error of the exciton, and the error that the fit claims.
ways = {"subtract, then fit": subtracted, "together, to 0.6 eV": near, "together, to 1.0 eV": far}
for name in ("centre", "A"):
    true = getattr(truth["Gaussian"], name).map["values"][specimen]
    unit, symbol = (1e-3, "meV") if name == "centre" else (true / 100, "%")
    for way, m in ways.items():
        found = getattr(m["Gaussian"], name).map[specimen]
        error, claimed = (found["values"] - true) / unit, found["std"] / unit
        rms, mean, said = np.sqrt(np.mean(error**2)), error.mean(), np.sqrt(np.mean(claimed**2))
        print(f"{name:6s} {way:20s} rms {rms:5.1f} mean {mean:5.1f} claimed {said:4.1f} {symbol}")

# Store.
near.store("together")
restored = s.models.restore("together")
print("restored:", np.nanmax(np.abs(restored.as_signal().data / near.as_signal().data - 1)))
