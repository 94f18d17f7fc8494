# SPDX-License-Identifier: GPL-3.0-or-later
"""Application of an ensemble to an image, kept for integrals and scans afterwards."""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.removal.checks import ScannedSpectra, scan_regions
from hyperspy_zlpml.removal.subtract import Integrals, Subtraction
from hyperspy_zlpml.zlp.matching import KnownPeaks
from hyperspy_zlpml.zlp.regions import Regions


@dataclass(frozen=True)
class Application:
    """Ensemble as it was applied to the spectra of an image.

    Attributes
    ----------
    subtraction : Subtraction
        What was applied to every spectrum.
    peaks : KnownPeaks
        Of all spectra, in flattened navigation order.
    regions : Regions
        Limits of the clusters.
    scanned : ScannedSpectra
        Spectra to try other limits on.
    """

    subtraction: Subtraction
    peaks: KnownPeaks
    regions: Regions
    scanned: ScannedSpectra

    def integrate(self, counts, window):
        """Integrate the subtracted signal of all spectra between two energies.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
            As measured.
        window : Range
            Energies from the peak of each spectrum, eV.

        Returns
        -------
        Integrals
            NaN where a spectrum is not used, or its axis does not hold the window.

        Raises
        ------
        ValueError
            If no axis holds the window.
        """
        usable = self.peaks.usable
        energy = self.subtraction.energy
        low = self.peaks.centre + window.low
        high = self.peaks.centre + window.high
        on_axis = (energy[0] <= low) & (high <= energy[-1])
        if not on_axis[usable].any():
            raise ValueError(
                "left, right: expected energies on the axis, "
                f"got {window.low:g} to {window.high:g} eV from the peak."
            )
        found = self.subtraction.integrate(counts[usable], self.peaks.select(usable), window)
        everywhere = np.full((4, len(usable)), np.nan)
        everywhere[:, usable] = found.stack().T
        everywhere[:, ~on_axis] = np.nan
        return Integrals.unstack(everywhere.T)

    def scan(self, window):
        """Integrate the subtracted signal over a window against ``E_I``.

        Parameters
        ----------
        window : Range
            Energies from the peak, eV.

        Returns
        -------
        RegionScan or None
            None where the axis does not hold the window.
        """
        return scan_regions(self.subtraction, self.scanned, self.regions, window)
