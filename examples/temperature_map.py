# SPDX-License-Identifier: GPL-3.0-or-later
"""
Temperature from energy gain
============================

Electrons gain less energy from a specimen than they lose to it, by exp(-E / kT): a thermometer.
"""

import hyperspy.api as hs
import numpy as np

from hyperspy_zlpml.data import phonons

hs.preferences.General.show_progressbar = False

# %%
# A simulated film at 600 K with a phonon at 100 meV, measured at 12 meV resolution.
s = phonons((16, 16), temperature=600.0, random_state=0).signal
r = s.remove_zlp_ml(n_replicas=50, random_state=0)

# %%
# Losses and gains about the phonon, after the zero-loss peak was removed from both sides.
found = r.temperature(left=0.07, right=0.13)
print(found)
values, std = found.temperature.value.data, found.temperature.std.data
print(
    f"mean {np.nanmean(values):.1f} K, scatter {np.nanstd(values):.1f} K, claimed {np.nanmedian(std):.1f} K"
)

# %%
# Pixels with weak gains have larger errors.
found.plot()
