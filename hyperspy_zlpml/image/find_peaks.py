# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of its features is the zero-loss peak of a spectrum, before it is measured.

The zero-loss peak is the first peak of a spectrum: no electron gains much energy. It need not be the
highest, plasmons of thick specimens are higher; and what is narrower than any peak is a cosmic ray or
a bad channel. Each spectrum is looked at alone.
"""

from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.image import kernels

#: Channels whose scatter is looked at for the noise.
_CHANNELS_LOOKED_AT = 256
#: The noise is told by differences of so many channels.
_FEWEST_CHANNELS = 4


class FoundPeaks(NamedTuple):
    """Peaks as they were found, not measured yet; arrays of shape (n_spectra,).

    Attributes
    ----------
    channel : ndarray of int
        Highest channel of the peak.
    height : ndarray
        Mean of its three highest neighbouring channels above ``level``, counts.
    level : ndarray
        Rough baseline before the peak, counts.
    stands_out : ndarray of bool
        Whether it stands out of the noise.
    """

    channel: np.ndarray
    height: np.ndarray
    level: np.ndarray
    stands_out: np.ndarray


def find_peaks(spectra):
    """Find the first peak of every spectrum.

    Parameters
    ----------
    spectra : ndarray of float of shape (n_spectra, n_energy)
        Finite counts. Spikes higher than the peak are taken off, in place.

    Returns
    -------
    FoundPeaks

    Raises
    ------
    ValueError
        If there are fewer than four channels.

    Examples
    --------
    A plasmon higher than the zero-loss peak, and a spike higher than both:

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.find_peaks import find_peaks
    >>> energy = np.arange(-10, 40, 0.1)
    >>> counts = 1e4 * np.exp(-(energy**2)) + 2e4 * np.exp(-(((energy - 15) / 3) ** 2))
    >>> counts[300] = 1e6
    >>> found = find_peaks(counts[None])
    >>> bool(abs(energy[found.channel[0]]) < 0.1), bool(counts[300] == 1e6)
    (True, False)
    """
    n_spectra, n_energy = spectra.shape
    if n_energy < _FEWEST_CHANNELS:
        raise ValueError(
            f"counts: expected at least {_FEWEST_CHANNELS} channels to find a peak, got {n_energy}."
        )
    found = FoundPeaks(
        channel=np.empty(n_spectra, np.int64),
        height=np.empty(n_spectra),
        level=np.empty(n_spectra),
        stands_out=np.empty(n_spectra, bool),
    )
    step = max(n_energy // _CHANNELS_LOOKED_AT, 1)
    kernels.find_first_peaks(spectra, step, np.empty((2, n_energy)), found)
    return found
