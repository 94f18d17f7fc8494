# SPDX-License-Identifier: GPL-3.0-or-later
"""
Arrays without HyperSpy
=======================

The whole method on arrays of NumPy and dask, in a process that never loads HyperSpy.
"""

import sys

import dask
import dask.array as da
import numpy as np

from hyperspy_zlpml.workflow import Spectra, remove_zlp, train_zlp


def peak(energy):
    """ZLP of 0.4 eV with tails, of height one."""
    u = energy / 0.4
    return (1 + 1.66 * u**2) ** -2 + 5e-4 / (1 + (u / 6) ** 2)


# A wedge beside vacuum: losses from 1.8 eV on, as broad as the peak is.
rng = np.random.default_rng(0)
energy = -3 + 0.025 * np.arange(800)  # eV, uniform and increasing
thickness = np.tile(np.linspace(-0.2, 0.6, 16).clip(0), (16, 1))  # t/lambda
response = peak(0.025 * np.arange(-799, 800))
losses = np.convolve(response / response.sum(), np.clip(energy - 1.8, 0, None) ** 0.5, "valid")
beam = 1e6 * np.exp(-thickness)[..., None]
inelastic = beam * 3e-3 * thickness[..., None] * losses
counts = rng.poisson(beam * peak(energy) + inelastic)  # (16, 16, 800)

# Remove.
removed = remove_zlp(counts, energy, n_clusters=3, n_replicas=30, random_state=0)
print(removed)
print(removed.report)

# Integrate.
found = removed.integrate(2.5, 4.0)  # eV from each peak; maps of shape (16, 16)
error = np.hypot(found.model_std, found.counting_std)

# Compare.
true = inelastic[..., (energy >= 2.5) & (energy < 4.0)].sum(-1)
rms = np.sqrt(np.mean(((found.integral - true) / error) ** 2))
print(f"2.5 to 4 eV: rms of (found - true) / error {rms:.2f}")

# Vacuum.
mask = thickness == 0
in_view = remove_zlp(counts, energy, vacuum=mask, n_replicas=30, random_state=0)
elsewhere = Spectra(rng.poisson(1e6 * peak(energy), (100, 800)), energy)
apart = remove_zlp(counts[:, 8:], energy, vacuum=elsewhere, n_replicas=30, random_state=0)
print(in_view.report.n_vacuum, "in view,", apart.report.n_reference, "measured separately")

# Train once.
ensemble = train_zlp(counts, energy, n_clusters=3, n_replicas=30, random_state=0)
again = remove_zlp(counts, energy, ensemble=ensemble, n_clusters=3, random_state=0)
print(again)

# Lazy.
chunked = da.from_array(counts, chunks=(4, 16, 800))
lazy = remove_zlp(chunked, energy, n_clusters=3, n_replicas=30, random_state=0)
subtracted, std = dask.compute(lazy.subtracted, lazy.std)  # one pass over the data
whole = dask.compute(lazy)[0]  # all results, in one pass too

# The same numbers, and no HyperSpy.
assert lazy.ensemble.fingerprint == removed.ensemble.fingerprint == ensemble.fingerprint
assert np.allclose(subtracted, removed.subtracted, rtol=1e-6, atol=1e-6 * counts.max())
assert np.allclose(std, removed.std, rtol=1e-6)
assert np.array_equal(whole.std, std)
assert "hyperspy" not in sys.modules
