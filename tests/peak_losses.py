"""Losses with peaks that are known, made without a removal."""

import numpy as np

from hyperspy_zlpml.physics.losses import Losses

STEP = 0.01
FWHM = 0.1


def response_of(fwhm=FWHM, step=STEP):
    """Gaussian peak at distances to 8 FWHM, of unit sum."""
    n = int(np.ceil(8 * fwhm / step))
    distance = step * np.arange(-n, n + 1)
    shape = np.exp(-4 * np.log(2) * (distance / fwhm) ** 2)
    return distance, shape / shape.sum()


def make_losses(expected, n, rng=None, centre=0.0, limit=0.5, directions=(), step=STEP, fwhm=FWHM):
    """Losses of ``n`` spectra whose signal is a function of the energies from the peak.

    ``directions`` are functions of energy, too; the ZLP is off by a draw of each where there is a
    generator.
    """
    energy = step * np.arange(-100, 700)
    centre = np.broadcast_to(centre, n).astype(float)
    from_peak = energy - centre[:, None]
    distance, response = response_of(fwhm, step)
    signal = np.stack([expected(one) for one in from_peak])
    zlp = 1e5 * np.exp(-((from_peak / 0.1) ** 2))
    variance = np.maximum(signal, 0) + 25.0
    counts = signal + zlp
    kinds = np.array([[kind(one) for kind in directions] for one in from_peak])
    kinds = kinds.reshape(n, len(directions), energy.size)
    if rng is not None:
        counts = counts + rng.normal(size=counts.shape) * np.sqrt(variance)
        counts = counts + (rng.normal(size=(n, len(directions), 1)) * kinds).sum(1)
    if not directions:
        kinds = np.zeros((n, 1, energy.size))
    return Losses(
        energy=energy,
        distance=distance,
        counts=counts,
        zlp=zlp,
        variance=variance,
        spilled=np.zeros_like(variance),
        directions=kinds,
        centre=centre,
        fwhm=np.full(n, fwhm),
        gain_limit=np.full(n, -limit),
        loss_limit=np.full(n, limit),
        is_vacuum=np.zeros(n, bool),
        response=np.tile(response, (n, 1)),
    )
