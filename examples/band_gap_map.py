# SPDX-License-Identifier: GPL-3.0-or-later
"""
A band gap map from a spectrum image
====================================

The gap of every pixel, with an error that holds the shape of the onset, the windows, the response of the
instrument and the zero-loss peak; and the pixels that cannot tell.
"""

import hyperspy.api as hs
import numpy as np

from hyperspy_zlpml.data import Material, monochromated

hs.preferences.General.show_progressbar = False

# %%
# A simulated flake at 80 meV resolution, with a direct gap of 1.6 eV that differs by 50 meV over the image.
material = Material(band_gap=1.6, onset_exponent=0.5, excitons=())
sample = monochromated((20, 20), material=material, random_state=0)
r = sample.signal.remove_zlp_ml(n_replicas=50, random_state=0)

# %%
# One call. Nothing is assumed about the onset: exponents from 0.3 to 2.5, several ways in which it bends over
# and several windows are tried, and the error holds what they disagree about.
gap = r.band_gap()
print(gap)
gap.plot()

# %%
# One pixel: what is left of the spectrum, and the onset that fits it best.
gap.plot_fit((14, 14))

# %%
# Direct or indirect? One pixel seldom decides; all of them together do. Negative numbers speak for a direct gap.
print(f"ln(evidence indirect / direct) of the image: {gap.ln_indirect_image:.0f}")

# %%
# Who knows the exponent has a smaller error, who sums neighbours a still smaller one. The error of the
# zero-loss peak that neighbours share does not average out, and is kept.
truth = sample.band_gap.data
for name, found in (
    ("exponent unknown", gap),
    ("exponent 0.5", r.band_gap(exponent=0.5)),
    ("exponent 0.5, 3 x 3 pixels", r.band_gap(exponent=0.5, pool=3)),
):
    known = np.isfinite(found.gap.value.data) & (sample.thickness.data > 0.1)
    off = (found.gap.value.data - truth)[known]
    error = found.gap.error[known]
    print(
        f"{name}: rms error {1e3 * off.std():.0f} meV, claimed {1e3 * np.median(error):.0f} meV, "
        f"{100 * (np.abs(off) < error).mean():.0f} % within one standard deviation"
    )
