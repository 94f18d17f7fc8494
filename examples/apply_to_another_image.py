# SPDX-License-Identifier: GPL-3.0-or-later
"""
Apply an ensemble to another image
==================================

An ensemble trained on one image, applied to the next, and where it says no.
"""

import warnings

import hyperspy.api as hs
import numpy as np

import hyperspy_zlpml
import hyperspy_zlpml.data

hs.preferences.General.show_progressbar = False
ensemble = hyperspy_zlpml.data.ws2_like((32, 32), random_state=0).signal.train_zlp_ml(
    n_replicas=50, random_state=0
)


def error(result, sample):
    """Of the ZLP in units of the counting noise, at 2 to 8 FWHM from the peak, in specimen."""
    energy = sample.signal.axes_manager[-1].axis
    u = (energy - sample.centre.data[..., None]) / sample.fwhm.data[..., None]
    where = (u > 2) & (u < 8) & (sample.thickness.data > 0)[..., None]
    noise = np.sqrt(sample.zlp.data + sample.inelastic.data + sample.readout**2)
    return np.sqrt(np.mean(((result.zlp.data - sample.zlp.data) / noise)[where] ** 2))


# Apply: four times the dose, half the dispersion, another offset.
sample = hyperspy_zlpml.data.ws2_like(
    (16, 16), random_state=3, peak_counts=1.2e7, scale=0.0125, offset=-2.5
)
s2 = sample.signal
r = s2.remove_zlp_ml(ensemble=ensemble, random_state=0)
own = s2.remove_zlp_ml(n_replicas=50, random_state=0)
print(
    f"error with the ensemble {error(r, sample):.2f}, trained on the image {error(own, sample):.2f}"
)

# Outside: it says so, and the band is wider.
wide = hyperspy_zlpml.data.ws2_like((16, 16), random_state=6, fwhm=0.675).signal
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    r = wide.remove_zlp_ml(ensemble=ensemble, random_state=0)
print(*(str(w.message) for w in caught if w.category is UserWarning), sep="\n")

# Another instrument: refused.
other = hyperspy_zlpml.data.monochromated((8, 8), random_state=0).signal
try:
    other.remove_zlp_ml(ensemble=ensemble)
except hyperspy_zlpml.OtherZeroLossPeakError as refused:
    print("refused:", refused)
