# SPDX-License-Identifier: GPL-3.0-or-later
"""
Predict the peak at other settings
==================================

One ensemble from vacuum at several beam energies and exposures; the ZLP at others.
"""

import tempfile
from pathlib import Path

import hyperspy.api as hs
import numpy as np

import hyperspy_zlpml
from hyperspy_zlpml.data import vacuum_at_settings

hs.preferences.General.show_progressbar = False
images = vacuum_at_settings(beam_energies=(60, 100, 200), exposures=(0.1, 0.2, 0.4), random_state=0)
signals = [image.signal for image in images]

# Train.
ensemble = hyperspy_zlpml.train_zlp_ml(
    signals, conditions=["beam_energy", "exposure"], n_replicas=30, random_state=0
)
print(ensemble)

# Predict.
energy = np.linspace(-2, 6, 800)
zlp = ensemble.predict(energy, beam_energy=80, exposure=0.3)  # (n_replicas, n_energy), counts
median, low, high = np.quantile(zlp, [0.5, 0.16, 0.84], axis=0)
at = np.abs(energy - 1.0).argmin()
print(f"ZLP 1 eV above the peak: {median[at]:.0f} counts, 68 % {low[at]:.0f} to {high[at]:.0f}")

# The truth there.
(truth,) = vacuum_at_settings((80,), (0.3,), random_state=1)
channel = energy[1] - energy[0]
there = truth.zlp.data / truth.zlp.axes_manager[-1].scale * channel
axis, centre = truth.zlp.axes_manager[-1].axis, truth.centre.data
spectra = zip(centre.ravel(), there.reshape(-1, axis.size), strict=True)
values = [np.interp(1.0, axis - c, spectrum) for c, spectrum in spectra]
print(f"simulated: {np.mean(values):.0f} counts, {np.std(values):.0f} from spectrum to spectrum")

# Beyond what was measured the band widens.
for beam_energy in (150, 200, 300, 450):
    zlp = np.log(ensemble.predict(energy, beam_energy=beam_energy, exposure=0.3)[:, at])
    print(f"{beam_energy} keV: standard deviation of ln(ZLP) at 1 eV {zlp.std():.2f}")

# Use.
there = ensemble.at(beam_energy=80, exposure=0.3)
r = truth.signal.remove_zlp_ml(ensemble=there, vacuum=True, random_state=0)
axes = ensemble.plot_conditions()
axes[0].figure.savefig(Path(tempfile.mkdtemp()) / "conditions.png")
