# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra of plural scattering with known single scattering, for the tests of deconvolution and thickness.

The scattering is summed term by term with plain convolutions not by the transforms that are tested.
"""

import numpy as np
from scipy.signal import fftconvolve

from hyperspy_zlpml.physics.losses import Losses

#: Orders of scattering that are summed.
N_ORDERS = 24


def drude(energy, plasmon=16.0, width=4.0):
    """Plasmon per eV, of an area of nearly 1 over all energies."""
    peak = energy * width * plasmon**2 / ((energy**2 - plasmon**2) ** 2 + (energy * width) ** 2)
    return peak * 2 / (np.pi * plasmon)


def peak_shape(distance, fwhm):
    """Gaussian, so that none of it lies beyond the view."""
    return np.exp(-4 * np.log(2) * (distance / fwhm) ** 2)


def make_losses(
    thickness,
    single=drude,
    seed=None,
    centre=0.0,
    offset=-4.0,
    n_energy=500,
    step=0.1,
    fwhm=0.5,
    electrons=3e7,
):
    """Losses with true single scattering (counts) of each t/lambda; noise where a seed is given.

    The ZLP then deviates as its directions say.
    """
    thickness = np.atleast_1d(np.asarray(thickness, float))
    n = thickness.size
    centre = np.broadcast_to(centre, n).astype(float)
    energy = offset + step * np.arange(n_energy)
    zlp = peak_shape(energy - centre[:, None], fwhm)
    zlp *= (electrons * np.exp(-thickness) / zlp.sum(-1))[:, None]
    loss = step * np.arange(n_energy)
    chance = thickness[:, None] * step * single(loss)
    counts, order = zlp.copy(), zlp
    for number in range(1, N_ORDERS + 1):
        order = fftconvolve(order, chance, axes=-1)[:, :n_energy] / number
        if number == 1:
            once = order
        counts += order
    directions = np.stack([1e-3 * zlp, 2e-3 * np.gradient(zlp, axis=-1)], 1)
    variance = counts + 20.0**2
    found = zlp
    if seed is not None:
        rng = np.random.default_rng(seed)
        counts = counts + np.sqrt(variance) * rng.normal(size=counts.shape)
        found = zlp + np.einsum("nq,nqe->ne", rng.normal(size=directions.shape[:2]), directions)
    n_half = int(8 * fwhm / step)
    distance = step * np.arange(-n_half, n_half + 1)
    response = np.tile(peak_shape(distance, fwhm), (n, 1))
    losses = Losses(
        energy=energy,
        counts=counts,
        zlp=found,
        variance=variance,
        spilled=np.zeros_like(variance),
        directions=directions,
        centre=centre.copy(),
        fwhm=np.full(n, fwhm),
        gain_limit=np.full(n, -1.0),
        loss_limit=np.full(n, 2.0),
        is_vacuum=thickness == 0,
        distance=distance,
        response=response / response.sum(-1, keepdims=True),
    )
    return losses, once
