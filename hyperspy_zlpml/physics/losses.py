# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses of a block of spectra: counts, zero-loss peaks, and all that is uncertain of these."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hyperspy_zlpml.compute.records import PerSpectrum


@dataclass(frozen=True)
class Losses(PerSpectrum):
    """Spectra and their zero-loss peaks, as functions of physics take them.

    The ZLP of a spectrum is ``zlp + sum_i xi_i directions_i`` with independent ``xi_i`` of unit
    variance, plus noise of the counts that is independent from channel to channel.

    Attributes
    ----------
    energy : ndarray of shape (n_energy,)
        Uniform axis, eV.
    distance : ndarray of shape (n_response,)
        Energies from a peak at which the responses are given, eV; uniform with the step of the
        axis, zero in the middle.
    counts : ndarray of shape (n_spectra, n_energy)
        As measured, free of pedestal, cosmic rays bridged; double precision.
    zlp : ndarray of shape (n_spectra, n_energy)
        Zero-loss peak, counts.
    variance : ndarray of shape (n_spectra, n_energy)
        Of counting noise, and of what channels of the ZLP have for themselves. Where a detector
        spreads electrons over channels it is what each adds to a sum over one FWHM.
    spilled : ndarray of shape (n_spectra, n_energy)
        Losses between ``gain_limit`` and ``loss_limit`` that the match knew not to be ZLP, counts.
    directions : ndarray of shape (n_spectra, n_directions, n_energy)
        Independent deviations of the ZLP by one standard deviation, counts. The last is the choice
        of ``E_I``.
    centre, fwhm : ndarray of shape (n_spectra,)
        Position and width of the matched peaks, eV.
    gain_limit, loss_limit : ndarray of shape (n_spectra,)
        Energies from the peak between which the ZLP was matched, eV. Beyond them it is a
        prediction, independent of the counts there; infinite where there is no such energy.
    is_vacuum : ndarray of bool of shape (n_spectra,)
        Spectra taken for vacuum by the removal.
    response : ndarray of shape (n_spectra, n_response)
        Peak that each spectrum has, of unit sum.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.losses import Losses
    >>> energy = 0.1 * np.arange(-20, 100)
    >>> peak = np.exp(-((energy / 0.2) ** 2))[None]
    >>> losses = Losses(
    ...     energy=energy,
    ...     distance=energy[:41],
    ...     counts=1e4 * peak + 5.0,
    ...     zlp=1e4 * peak,
    ...     variance=1e4 * peak + 5.0,
    ...     spilled=0.0 * peak,
    ...     directions=1e2 * peak[:, None],
    ...     centre=np.zeros(1),
    ...     fwhm=np.full(1, 0.33),
    ...     gain_limit=np.full(1, -1.0),
    ...     loss_limit=np.full(1, 1.0),
    ...     is_vacuum=np.zeros(1, bool),
    ...     response=peak[:, :41] / peak.sum(),
    ... )
    >>> bool(np.allclose(losses.subtracted, 5.0)), losses.n_directions
    (True, 1)
    """

    shared = ("energy", "distance")

    energy: np.ndarray
    distance: np.ndarray
    counts: np.ndarray
    zlp: np.ndarray
    variance: np.ndarray
    spilled: np.ndarray
    directions: np.ndarray
    centre: np.ndarray
    fwhm: np.ndarray
    gain_limit: np.ndarray
    loss_limit: np.ndarray
    is_vacuum: np.ndarray
    response: np.ndarray

    @property
    def subtracted(self):
        """Counts minus ZLP, with sign, (n_spectra, n_energy)."""
        return self.counts - self.zlp

    @property
    def step(self):
        """Dispersion, eV per channel."""
        return self.energy[1] - self.energy[0]

    @property
    def intensity(self):
        """Counts of the ZLP over the axis, (n_spectra,): the I0 of thickness measurement."""
        return self.zlp.sum(-1)

    @property
    def n_directions(self):
        """Directions in which each ZLP may be wrong."""
        return self.directions.shape[1]

    @property
    def from_peak(self):
        """Energies from the peak of each spectrum, eV, (n_spectra, n_energy)."""
        return self.energy - self.centre[:, None]


def runs_of(values, first, n_channels):
    """Take a run of channels from every spectrum; beyond its axis it goes on as it ends.

    Parameters
    ----------
    values : ndarray of shape (n_spectra, n_energy) or (n_spectra, n, n_energy)
    first : ndarray of int of shape (n_spectra,)
        Where the run of each begins; below 0 before its axis.
    n_channels : int

    Returns
    -------
    ndarray of shape (n_spectra, n_channels) or (n_spectra, n, n_channels)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.losses import runs_of
    >>> runs_of(np.arange(12.0).reshape(2, 6), np.array([1, 4]), 3)
    array([[ 1.,  2.,  3.],
           [10., 11., 11.]])
    """
    n_energy = values.shape[-1]
    if (first >= 0).all() and (first + n_channels <= n_energy).all():
        # Whole runs are taken in a third of the time of single channels.
        runs = sliding_window_view(values, n_channels, axis=-1)
        return runs[np.arange(len(first)), ..., first, :]
    index = np.clip(first[:, None] + np.arange(n_channels), 0, n_energy - 1)
    return np.take_along_axis(values, index if values.ndim == 2 else index[:, None], -1)
