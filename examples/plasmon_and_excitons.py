# SPDX-License-Identifier: GPL-3.0-or-later
"""
Plasmons and excitons
=====================

Position, width and area of peaks in every pixel, with what is random and what depends on the background apart.
"""

import hyperspy.api as hs
import numpy as np

from hyperspy_zlpml.data import monochromated, ws2_like
from hyperspy_zlpml.physics import Exciton, Plasmon

hs.preferences.General.show_progressbar = False

# %%
# A plasmon at 22.5 eV, fitted to single scattering so that the second plasmon does not pull.
r = ws2_like((20, 20), random_state=0).signal.remove_zlp_ml(n_replicas=50, random_state=0)
plasmon = r.fit_peaks(Plasmon(energy=22.0, width=6.0))
print(plasmon)
plasmon.plot()

# %%
# Ep of the free-electron model, the maximum of the fitted peak and the maximum without a model are three things.
for name in ("position", "maximum", "top"):
    print(f"{name}: {np.nanmedian(getattr(plasmon, name).value.data):.3f} eV")

# %%
# Faint excitons above the gap, at 80 meV resolution. Single pixels hardly show them; clusters do.
r = monochromated((20, 20), random_state=0).signal.remove_zlp_ml(n_replicas=50, random_state=0)
first, second = r.fit_peaks(
    [Exciton(energy=2.0, width=0.25), Exciton(energy=2.4, width=0.35)], pool="clusters"
)
for exciton in (first, second):
    print(exciton, "clearest:", np.nanmax(exciton.significance.data).round(1), "sigma")

# %%
# The way into a model of HyperSpy: components with start values for every pixel.
s = r.subtracted
m = s.create_model(auto_background=False)
component = first.append_to(m)
print(component, m)
