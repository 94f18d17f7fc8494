# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra with a known onset, blurred plainly, and with known errors of their zero-loss peaks."""

import numpy as np

from hyperspy_zlpml.physics.losses import Losses

#: FWHM of the peak, eV.
FWHM = 0.3


def peak(distance, fwhm=FWHM):
    """A peak with tails: a Gaussian over a weak Lorentzian."""
    tail = 1 / (1 + (distance / (5 * fwhm)) ** 2)
    return np.exp(-4 * np.log(2) * (distance / fwhm) ** 2) + 1e-3 * tail


def blurred(energy, losses_at, step, fwhm=FWHM):
    """Convolve losses (a function of the energy) with the peak, on a grid that is five times finer."""
    fine = step / 5
    wide = np.arange(-40.0, energy[-1] + 10, fine)
    shape = peak(fine * np.arange(-3000, 3001), fwhm)
    return np.interp(energy, wide, np.convolve(losses_at(wide), shape / shape.sum(), "same"))


def onset(gap, exponent, height=500.0, width=0.7):
    """Losses above a gap, with a plasmon far above."""

    def losses_at(energy):
        above = np.clip(energy - gap, 0, None)
        plasmon = 30 * np.exp(-0.5 * ((energy - 15) / 2) ** 2) * (above > 0)
        return height * ((above / (above + width)) ** exponent + plasmon)

    return losses_at


def make_losses(
    expected, step=0.05, zlp_error=0.0, noise=20.0, seed=0, n=1, offset=0.0, shared=True
):
    """Losses of n spectra: noise about what is expected, and a ZLP that is off along one direction.

    The error of the ZLP is the same for all spectra where it is shared; None is no noise at all.
    """
    rng = np.random.default_rng(seed)
    energy = step * np.arange(-40, expected.size - 40)
    zlp = 1e6 * peak(energy)[None] * np.ones((n, 1))
    direction = zlp_error * zlp / np.maximum(1, energy / 0.3) ** 2
    off = rng.standard_normal((1 if shared else n, 1)) * direction
    variance = (noise or 20.0) ** 2 + np.clip(expected, 0, None) * np.ones((n, 1))
    scatter = 0 if noise is None else rng.standard_normal(zlp.shape)
    counts = zlp + off + expected + np.sqrt(variance) * scatter
    reach = int(8 * FWHM / step)
    distance = step * np.arange(-reach, reach + 1)
    response = peak(distance)[None] * np.ones((n, 1))
    return Losses(
        energy=energy + offset,
        distance=distance,
        counts=counts,
        zlp=zlp,
        variance=variance,
        spilled=np.zeros_like(variance),
        directions=direction[:, None],
        centre=np.full(n, offset),
        fwhm=np.full(n, FWHM),
        gain_limit=np.full(n, -1.5),
        loss_limit=np.full(n, 1.5),
        is_vacuum=np.zeros(n, bool),
        response=response / response.sum(-1, keepdims=True),
    )


def axis(n_energy=500, step=0.05):
    """Energies from the peak of spectra of :func:`make_losses`."""
    return step * np.arange(-40, n_energy - 40)
