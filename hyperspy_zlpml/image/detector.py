# SPDX-License-Identifier: GPL-3.0-or-later
"""Detector of an image: its noise, and the dark level that its counts stand on."""

from dataclasses import dataclass, field, replace

import numpy as np

from hyperspy_zlpml.image.dark_pattern import DarkPattern, find_dark_pattern
from hyperspy_zlpml.image.noise import NoiseModel, estimate_noise, looked_at
from hyperspy_zlpml.image.pedestal import (
    DOES_NOT_GROW,
    dark_level,
    estimate_pedestal,
    pedestal_by_intensity,
)


@dataclass(frozen=True)
class Detector:
    """Dark level and noise of the counts.

    Attributes
    ----------
    pedestal : float
        Counts per channel.
    pedestal_note : str
        How it was found, for the report.
    noise : NoiseModel
        Read-out noise holds what is left of the dark pattern.
    dark_pattern : DarkPattern
        What the levels of channels differ by.
    pedestal_error : float
        Standard error of the pedestal, the same in all channels and spectra; 0 where none was found.
    """

    pedestal: float
    pedestal_note: str
    noise: NoiseModel
    dark_pattern: DarkPattern = field(default_factory=DarkPattern)
    pedestal_error: float = 0.0

    @property
    def dark_level(self):
        """Counts of a channel that no electron reaches, shape (n_energy,) or (1,) where all are equal."""
        return self.pedestal + self.dark_pattern.levels

    def without_level(self):
        """Describe the same detector for counts that are free of the dark level.

        Returns
        -------
        Detector
        """
        return replace(self, pedestal=0.0, dark_pattern=DarkPattern(), pedestal_error=0.0)


def describe_detector(counts, energy, parameters, noise=None):
    """Estimate dark level and noise from a sample of spectra.

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
    step = energy[1] - energy[0]
    dark_pattern = find_dark_pattern(counts, channels_per_fwhm=float(np.median(fwhm)) / step)
    if dark_pattern.rms:
        counts = counts - dark_pattern.levels
    (pedestal, error), note = estimate_pedestal(counts, energy, centre, fwhm)
    if not pedestal:
        pedestal, error = pedestal_by_intensity(counts, energy, parameters)
        if pedestal:
            note = f"{pedestal:.4g} counts per channel, {DOES_NOT_GROW}"
    if not pedestal and noise is None:
        pedestal, error = dark_level(counts, energy, centre, fwhm)
        if pedestal:
            note = f"{pedestal:.4g} counts per channel, from how the noise grows with the counts"
    if noise is None:
        some = looked_at(len(counts))
        noise = estimate_noise(counts[some] - pedestal, energy, centre[some], fwhm[some])
    if not max(noise.gain, noise.readout) > 0:
        # Counts without noise are taken for electrons.
        noise = replace(noise, gain=1.0)
    if dark_pattern.rms:
        note += f"; {dark_pattern.note}"
        noise = _with_dark_pattern(noise, dark_pattern)
    return Detector(pedestal, note, noise, dark_pattern, pedestal_error=error)


def _with_dark_pattern(noise, dark_pattern):
    """Add to the noise what is left of a dark pattern, as far as neighbouring channels did not show it."""
    return replace(
        noise,
        readout=float(np.hypot(noise.readout, dark_pattern.slow)),
        dark=(dark_pattern.unknown, dark_pattern.rms),
    )
