# SPDX-License-Identifier: GPL-3.0-or-later
"""
Getting started: from a file to maps
====================================

How do I remove the zero-loss peak of my image, and how do I see whether it went well? Here is the whole way, with what
every step gives: load, remove, read the report, look at pixels, take maps with their errors, keep the result.
"""

import tempfile
from pathlib import Path

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np

import hyperspy_zlpml.data

hs.preferences.General.show_progressbar = False

# %%
# Load
# ----
# ``hs.load("image.dm4", signal_type="EELS_ZLPML")`` casts a file on the way in, and
# ``s.set_signal_type("EELS_ZLPML")`` a signal that is there already; everything of eXSpy still works. The energy axis must
# be uniform and in eV, meV or keV. Nothing needs to be aligned, cropped or calibrated: each spectrum gets its own
# centre and width. ``AttributeError: 'EELSSpectrum' object has no attribute 'remove_zlp_ml'`` means that a signal was not cast.
#
# A simulated flake of 80 meV resolution, with vacuum around it, stands for a file here: its truth is known.
sample = hyperspy_zlpml.data.monochromated((20, 20), random_state=0)
s = sample.signal
print(s)

# %%
# Remove
# ------
# One call, the same numbers for the same ``random_state``. The signal itself is not changed. The very first call after
# installing takes half a minute longer: functions are compiled then, and kept.
r = s.remove_zlp_ml(n_replicas=50, random_state=0)

# %%
# Read the report first: the noise of the detector, the clusters with the end ``E_I`` of what is zero-loss peak alone, how many
# networks were kept and how well they fit (chi2 of one to two), and the checks: some vacuum pixels were kept from training and
# predicted as if they were specimen.
print(r.report)

# %%
# Look
# ----
# One pixel: data and zero-loss peak above, what is left below, each with the 68 % band of the model. In a session
# ``r.plot()`` follows the navigator, and a click on the map moves it.
r.plot((14, 12))

# %%
# Use
# ---
# Results are signals of HyperSpy, made when they are first asked for: ``r.subtracted``, ``r.zlp``, ``r.std``, ``r.lower`` and
# ``r.upper``. The noise variance of ``r.subtracted`` is set, so that fits weigh channels by it.
print(r.subtracted)

# %%
# The integral between two energies comes with an error that knows how channels are correlated.
integral, error = r.integrate(1.8, 3.0)
hs.plot.plot_images(
    [integral, error],
    label=["Counts, 1.8 to 3 eV", "Their error"],
    per_row=2,
    colorbar="multi",
    cmap="viridis",
    axes_decor="off",
    padding={"wspace": 0.4},
)

# %%
# Physics of every pixel is one call each, :doc:`told here </physics>`: the band gap with its relative error. Grey
# pixels cannot tell, and say why.
gap = r.band_gap()
gap.plot()

# %%
# How do you know?
# ----------------
# The truth is known here. Two thirds of it should lie within one standard deviation; pixels share much of
# their error, so that one image says little: the page on :doc:`accuracy </accuracy>` counts over many.
difference = sample.zlp.data - r.zlp.data
beyond = s.axes_manager.signal_axes[0].axis > 1.0
inside = np.abs(difference) < r.std.data
print(f"within one standard deviation: {inside[..., beyond].mean():.2f}")

# %%
# On your own data ``E_I`` is the choice that matters most. Where the signal does not depend on it, it is a result.
r.plot_regions()

# %%
# Keep
# ----
# What cannot be made again is some numbers for each pixel and the ensemble of networks: a small folder, from which another
# session goes on without training.
folder = Path(tempfile.mkdtemp())
r.save(folder / "result")
again = hyperspy_zlpml.load_removal(folder / "result", signal=s)
print(again)
plt.close("all")

# %%
# Where to go next: :doc:`vacuum, limits and the detector </choices>` are what you may know better than the method does;
# :doc:`files of vendors </files>`; :doc:`images larger than memory </large_images>`;
# :doc:`what the error bars mean </uncertainty>`, and when not to trust them.
