# SPDX-License-Identifier: GPL-3.0-or-later
"""
Dielectric function of every pixel
==================================

By Kramers-Kronig analysis of single scattering, with the errors of both parts, and where eps1 crosses zero.
"""

import hyperspy.api as hs

from hyperspy_zlpml.data import dielectric_phantom

hs.preferences.General.show_progressbar = False

# %%
# A simulated specimen of known dielectric function.
sample = dielectric_phantom((16, 16), random_state=0)
r = sample.signal.remove_zlp_ml(n_replicas=50, random_state=0)

# %%
# Normalised by the refractive index; ``thickness=`` does it by the thickness instead. The result is
# eXSpy's ``DielectricFunction``, with errors beside.
found = r.dielectric_function(n=2.62, n_error=0.05)
print(found.epsilon)

# %%
# One pixel with its bands, over the truth.
axes = found.plot((12, 12))
energy = sample.epsilon.axes_manager.signal_axes[0].axis
shown = energy > 1
epsilon = sample.epsilon.data[12, 12]
axes[0].plot(energy[shown], epsilon.real[shown], "k--", lw=0.8, label="truth")
axes[0].plot(energy[shown], epsilon.imag[shown], "k--", lw=0.8)
axes[0].set(xlim=(0, 40), ylim=(-4, 12))
axes[0].legend()

# %%
# Zero crossings of eps1: a rising one is what is called a plasmon. With its error, and with the probability that
# there is one at all.
rising = found.crossings.rising
value, std = rising.position.value.data[12, 12], rising.position.std.data[12, 12]
print(
    f"eps1 rises through zero at {value:.2f} +- {std:.2f} eV, true {sample.models[0].zero_crossings(1, 47)[-1]:.2f}"
)
print(f"probability that it does: {rising.probability.data[12, 12]:.2f}")

# %%
# Was the electron faster than light in the specimen? Then losses below the gap are no electronic losses.
retardation = r.retardation(n=2.62)
print(f"threshold of eps1: {retardation.threshold:.2f}")
