# SPDX-License-Identifier: GPL-3.0-or-later
"""
Thickness, by three methods
===========================

In mean free paths and in nm, with what is random and what is common to all pixels kept apart.
"""

import hyperspy.api as hs
import numpy as np

from hyperspy_zlpml.data import dielectric_phantom

hs.preferences.General.show_progressbar = False

# %%
# A simulated wedge whose dielectric function is known in closed form, and with it its thickness in nm.
sample = dielectric_phantom((20, 20), random_state=0)
r = sample.signal.remove_zlp_ml(n_replicas=50, random_state=0)

# %%
# The refractive index is enough for nm: the Kramers-Kronig sum rule. A mean free path does it, too.
path = float(sample.mean_free_path.data.max())
found = r.thickness(n=2.62, n_error=0.05, mean_free_path=path)
found.plot()

# %%
# ``std`` differs from pixel to pixel; ``systematic`` holds what was assumed or given: the error of n, the losses
# beyond the end of the axis.
place = (14, 14)
truth = sample.thickness_nm.data[place]
for name, one in (("sum rule", found.by_index), ("mean free path", found.by_mean_free_path)):
    value, std, systematic = (part.data[place] for part in (one.value, one.std, one.systematic))
    print(
        f"{name}: {value:.1f} +- {std:.1f} (random) +- {systematic:.1f} (common) nm, true {truth:.1f}"
    )

# %%
# The single-scattering distribution is a signal like any other, with variance.
single = r.single_scattering()
print(single)
energy = single.axes_manager.signal_axes[0].axis
print(
    f"maximum of single scattering: {energy[np.nanargmax(single.data[place] * (energy > 5))]:.1f} eV"
)
