# SPDX-License-Identifier: GPL-3.0-or-later
"""The forward model behind the sample images, on arrays alone.

A spectrum is the instrument's response convolved with the plural-scattering series of the
specimen's single-scattering distribution (Egerton, *EELS in the Electron Microscope*, 3rd ed.,
sections 4.1 and 4.2): with ``Z`` the response of unit area and ``S`` the distribution of unit
area, ``I = N exp(-t/l) [Z + Z * (exp((t/l) S) - delta)]`` where ``*`` is a convolution.
"""

from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import fftconvolve

#: What is left of losses that wrap around.
_WRAPPED = 1e-7
_ALL_LOSSES = np.arange(0.0, 500.0, 0.1)


@dataclass(frozen=True)
class Response:
    """Shape of the zero-loss peak in the reduced energy ``u = (E - E0) / FWHM``.

    Two halves of Pearson VII profiles with a common maximum, over a weak Lorentzian for the
    electrons that the spectrometer and the camera scatter far.

    Parameters
    ----------
    exponent_gain, exponent_loss : float
        Pearson VII exponents; 1 is a Lorentzian, infinity a Gaussian.
    halo : float
        Height of the far-scattered Lorentzian relative to the peak.
    halo_width : float
        Its half width at half maximum in units of the FWHM.
    """

    exponent_gain: float = 2.5
    exponent_loss: float = 2.0
    halo: float = 5e-4
    halo_width: float = 6.0

    def __call__(self, u, tail=0.0):
        """Height relative to the maximum; ``tail`` multiplies the flanks by ``exp(tail * g(u))``.

        ``g`` vanishes in the core and tends to 1 beyond some FWHM: the slow variation from one
        acquisition to the next that measured vacuum peaks show.
        """
        exponent = np.where(u < 0, self.exponent_gain, self.exponent_loss)
        width = 4 * (2 ** (1 / exponent) - 1)
        peak = (1 + width * u**2) ** -exponent
        shape = peak + self.halo / (1 + (u / self.halo_width) ** 2)
        return shape * np.exp(tail * u**2 / (u**2 + 2.0**2))


@dataclass(frozen=True)
class Material:
    """What the specimen does to the beam; energies in eV.

    Parameters
    ----------
    band_gap : float
        Onset of the inelastic signal.
    onset_exponent : float
        ``b`` in ``(E - band_gap)**b`` just above the onset (0.5 direct, 1.5 indirect).
    plasmon_energy, plasmon_width : float
        Drude plasmon.
    interband : float
        Fraction of the single scattering in a broad band of interband transitions.
    excitons : tuple of (energy, fwhm, fraction)
        Gaussian peaks, energies relative to ``band_gap``.
    gains : tuple of (energy, fwhm, fraction)
        Gaussian peaks of electrons that gained ``energy``; ``fraction`` is of the electrons
        that lost nothing, per unit of t/lambda.
    """

    band_gap: float = 1.6
    onset_exponent: float = 1.0
    plasmon_energy: float = 22.5
    plasmon_width: float = 6.0
    interband: float = 0.15
    excitons: tuple = ((0.4, 0.25, 0.004), (0.8, 0.35, 0.006))
    gains: tuple = ()

    def single_scattering(self, energy, band_gap):
        """Probability per eV of one loss; arrays ``energy`` (n,) and ``band_gap`` (..., 1).

        Of unit area up to 500 eV, wherever ``energy`` ends: t/lambda counts all losses.
        """
        area = self._losses(_ALL_LOSSES, band_gap).sum(-1, keepdims=True)
        return self._losses(energy, band_gap) / (area * (_ALL_LOSSES[1] - _ALL_LOSSES[0]))

    def energy_gain(self, energy):
        """Probability per eV of an energy gain in a thickness of one mean free path."""
        density = np.zeros(energy.shape)
        for position, fwhm, fraction in self.gains:
            sigma = fwhm / 2.3548
            gaussian = np.exp(-0.5 * ((energy + position) / sigma) ** 2)
            density += fraction * gaussian / (sigma * np.sqrt(2 * np.pi))
        return density

    def _losses(self, energy, band_gap):
        squared = energy**2 - self.plasmon_energy**2
        width = energy * self.plasmon_width
        # Areas over all positive energies: pi / (2 Ep^2) of the Drude term (Egerton, eq. 3.43).
        drude = width / (squared**2 + width**2 + 1e-12) * 2 * self.plasmon_energy**2 / np.pi
        band = energy / (energy + 3.0) * np.exp(-energy / 12.0) / 9.0
        losses = (1 - self.interband) * drude + self.interband * band
        above = np.clip(energy - band_gap, 0, None)
        for position, fwhm, fraction in self.excitons:
            sigma = fwhm / 2.3548
            gaussian = np.exp(-0.5 * ((energy - band_gap - position) / sigma) ** 2)
            losses = losses + fraction * gaussian / (sigma * np.sqrt(2 * np.pi))
        onset = (above / (above + 0.5)) ** self.onset_exponent
        return losses * onset


def _unit_area(density, energy):
    return density / (density.sum(-1, keepdims=True) * (energy[1] - energy[0]))


def zlp_and_inelastic(
    energy, centre, fwhm, electrons, thickness, band_gap, response, material, tail
):
    """Expected counts of the zero-loss peak and of the inelastic part.

    Parameters
    ----------
    energy : ndarray of shape (n_energy,)
        Uniform axis in eV.
    centre, fwhm, electrons, thickness, band_gap, tail : ndarray of shape (n_spectra,)
        Per spectrum; ``thickness`` is t/lambda, ``electrons`` the beam before the specimen.
    response : Response
    material : Material

    Returns
    -------
    zlp, inelastic : ndarray of shape (n_spectra, n_energy)
    """
    step = energy[1] - energy[0]
    n_energy = energy.size
    # Room on both sides of the view, and a damping that is undone afterwards: what plural
    # scattering carries beyond the end would otherwise come back on the other side.
    n_pad = next_fast_len(3 * n_energy, real=True)
    damping = _WRAPPED ** (np.arange(n_pad) / n_pad)
    wide = energy[0] + step * (np.arange(n_pad) - n_energy)
    u = (wide - centre[:, None]) / fwhm[:, None]
    peak = _unit_area(response(u, tail[:, None]), wide)
    loss = step * np.arange(n_pad)
    single = material.single_scattering(loss, band_gap[:, None])
    probability = thickness[:, None] * rfft(single * step * damping, axis=-1)
    spread = rfft(peak * damping, axis=-1)
    plural = irfft(spread * np.expm1(probability), n=n_pad, axis=-1) / damping
    if material.gains:
        gained = thickness[:, None] * material.energy_gain(step * np.arange(-n_energy, n_energy))
        plural = plural + fftconvolve(peak, gained * step, axes=-1)[:, n_energy : n_energy + n_pad]
    unscattered = (electrons * np.exp(-thickness) * step)[:, None]
    view = slice(n_energy, 2 * n_energy)
    return unscattered * peak[:, view], unscattered * np.clip(plural[:, view], 0, None)


def add_noise(expected, gain, readout, integer, rng):
    """Counts a camera would record: ``gain * Poisson(expected / gain) + readout * normal``."""
    counts = gain * rng.poisson(expected / gain).astype(float)
    if readout:
        counts += rng.normal(0.0, readout, expected.shape)
    return np.round(counts) if integer else counts
