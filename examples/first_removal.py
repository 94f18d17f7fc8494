# SPDX-License-Identifier: GPL-3.0-or-later
"""
A first removal
===============

The zero-loss peak of a spectrum image is removed, looked at, and held against what is known to be true.
"""

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np

import hyperspy_zlpml.data

hs.preferences.General.show_progressbar = False

# %%
# A simulated flake with vacuum around it stands for a file here; yours is loaded with
# ``hs.load("image.dm4", signal_type="EELS_ZLPML")``.
sample = hyperspy_zlpml.data.ws2_like((24, 24), random_state=0)
s = sample.signal
print(s)

# %%
# One call. The report says what was found and done; read the checks first.
r = s.remove_zlp_ml(n_replicas=50, random_state=0)
print(r.report)

# %%
# One pixel: data and ZLP above, what is left below. In a session the figure follows the navigator.
r.plot((14, 12))

# %%
# Results are signals. The integral between two energies comes with an error that knows how channels
# are correlated.
integral, error = r.integrate(1.8, 3.0)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for one, values, title in zip(
    axes,
    (integral.data, error.data / integral.data),
    ("Counts, 1.8 to 3 eV", "Relative error"),
    strict=True,
):
    limits = {} if title.startswith("Counts") else {"vmin": 0, "vmax": 0.2}
    figure.colorbar(one.imshow(values, **limits), ax=one)
    one.set_title(title)

# %%
# The truth is known here. Two thirds of it should lie within one standard deviation; pixels share much of
# their error, so that one image says little: the page on accuracy counts over many.
difference = sample.zlp.data - r.zlp.data
beyond = s.axes_manager.signal_axes[0].axis > 1.8
inside = np.abs(difference) < r.std.data
print(f"within one standard deviation: {inside[..., beyond].mean():.2f}")
