# SPDX-License-Identifier: GPL-3.0-or-later
"""Detector of an image: its noise, and the pedestal that its counts stand on."""

from dataclasses import dataclass, replace

from hyperspy_zlpml.image.noise import NoiseModel, estimate_noise, looked_at
from hyperspy_zlpml.image.pedestal import dark_level, estimate_pedestal, pedestal_by_intensity


@dataclass(frozen=True)
class Detector:
    """Pedestal and noise of the counts.

    Attributes
    ----------
    pedestal : float
        Counts per channel.
    pedestal_note : str
        How it was found, for the report.
    noise : NoiseModel
    """

    pedestal: float
    pedestal_note: str
    noise: NoiseModel


def describe_detector(counts, energy, parameters, noise=None):
    """Estimate pedestal and noise from a sample of spectra.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        As measured.
    energy : ndarray of shape (n_energy,)
        eV.
    parameters : PeakParameters
        All usable, shape (n_spectra,).
    noise : NoiseModel, optional
        Where the signal carries its own.

    Returns
    -------
    Detector
    """
    centre, fwhm = parameters.centre, parameters.fwhm
    pedestal, note = estimate_pedestal(counts, energy, centre, fwhm)
    if not pedestal:
        pedestal = pedestal_by_intensity(counts, energy, parameters)
        if pedestal:
            note = f"{pedestal:.4g} counts per channel, which do not grow with the peak"
    if not pedestal and noise is None:
        pedestal = dark_level(counts, energy, centre, fwhm)
        if pedestal:
            note = f"{pedestal:.4g} counts per channel, from how the noise grows with the counts"
    if noise is None:
        some = looked_at(len(counts))
        noise = estimate_noise(counts[some] - pedestal, energy, centre[some], fwhm[some])
    if not max(noise.gain, noise.readout) > 0:
        # Counts without noise are taken for electrons.
        noise = replace(noise, gain=1.0)
    return Detector(pedestal, note, noise)
