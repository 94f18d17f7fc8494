# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts on an energy axis, as every function of arrays takes them."""

from dataclasses import dataclass, field

import dask.array as da
import numpy as np

from hyperspy_zlpml.compute import as_blocks
from hyperspy_zlpml.image.detector import noise_of_variance

#: Fewer channels than this cannot hold a peak and its tails.
FEWEST_CHANNELS = 64
#: Steps of a uniform axis agree to this fraction of a step.
_UNIFORM = 1e-3


@dataclass(frozen=True)
class Spectra:
    """Counts of spectra on an energy axis, and what else is known of them.

    Attributes
    ----------
    counts : ndarray or dask array of shape (..., n_energy)
        As measured; zero to any number of navigation axes. Lazy counts are cut into blocks of whole
        spectra.
    energy : ndarray of shape (n_energy,)
        Uniform increasing axis, eV.
    variance : array that broadcasts with ``counts``, or float, optional
        Variance of the counts (counts squared) where it is known; otherwise it is estimated.
    microscope : dict of str to float
        Settings of the microscope that are known: ``beam_energy`` (keV), ``convergence_angle`` and
        ``collection_angle`` (mrad).
    title : str
        Their name in records.

    Raises
    ------
    ValueError
        If the axis is not one of uniform increasing energies, holds too few channels, or is not
        that of the counts.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.spectra import Spectra
    >>> spectra = Spectra(np.ones((4, 3, 200)), -2 + 0.05 * np.arange(200))
    >>> spectra.n_spectra, spectra.navigation_shape
    (12, (4, 3))
    """

    counts: np.ndarray | da.Array
    energy: np.ndarray
    variance: np.ndarray | da.Array | float | None = None
    microscope: dict[str, float] = field(default_factory=dict)
    title: str = ""

    def __post_init__(self):
        energy = np.asarray(self.energy, float)
        counts = self.counts if self.is_lazy else np.asarray(self.counts)
        _check_energy(energy)
        if not counts.ndim or counts.shape[-1] != energy.size:
            raise ValueError(
                f"counts: expected {energy.size} channels on the last axis, as energy has, "
                f"got an array of shape {counts.shape}."
            )
        object.__setattr__(self, "energy", energy)
        object.__setattr__(self, "counts", as_blocks(counts) if self.is_lazy else counts)

    @property
    def is_lazy(self):
        """Whether the counts are a dask array."""
        return isinstance(self.counts, da.Array)

    @property
    def navigation_shape(self):
        """Shape without the energy axis; empty for a single spectrum."""
        return self.counts.shape[:-1]

    @property
    def n_spectra(self):
        """Number of spectra; one where there is no navigation axis."""
        return int(np.prod(self.navigation_shape, dtype=int))

    @property
    def step(self):
        """Dispersion, eV per channel."""
        return self.energy[1] - self.energy[0]

    def flat_map(self, value, name, dtype):
        """Check that a map has the navigation shape, and flatten it.

        Parameters
        ----------
        value : array of the navigation shape
        name : str
            What to call it in errors.
        dtype : type
            bool or float.

        Returns
        -------
        ndarray of shape (n_spectra,)

        Raises
        ------
        ValueError
            If it is of another shape, or not boolean where it must be.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.image.spectra import Spectra
        >>> spectra = Spectra(np.ones((2, 2, 200)), -2 + 0.05 * np.arange(200))
        >>> spectra.flat_map([[1, 2], [3, 4]], "thickness", float)
        array([1., 2., 3., 4.])
        """
        data = np.asarray(value)
        shape = self.navigation_shape
        if not shape and data.size == 1:
            data = data.reshape(())
        if data.shape != shape:
            raise ValueError(
                f"{name}: expected a map of shape {shape} (the navigation shape as an array), "
                f"got {data.shape}."
            )
        if dtype is bool and data.dtype != bool:
            raise ValueError(
                f"{name}: expected a boolean map, got dtype {data.dtype}; compare it first."
            )
        return data.astype(dtype).ravel()


def _check_energy(energy):
    """Raise ValueError unless an axis is uniform, increasing and long enough."""
    if energy.ndim != 1 or energy.size < FEWEST_CHANNELS:
        raise ValueError(
            f"energy: expected at least {FEWEST_CHANNELS} channels of energy in one dimension, "
            f"got an array of shape {energy.shape}."
        )
    steps = np.diff(energy)
    if not (steps > 0).all():
        raise ValueError("energy: expected increasing energies (eV), got an axis that is not.")
    if np.ptp(steps) > _UNIFORM * steps.mean():
        raise ValueError(
            f"energy: expected a uniform axis, got steps from {steps.min():.6g} to "
            f"{steps.max():.6g} eV; interpolate the counts on a uniform one."
        )


def known_noise(spectra, index, counts):
    """Describe the variance that came with spectra by a noise model.

    Parameters
    ----------
    spectra : Spectra
    index : ndarray of int of shape (n,)
        Spectra looked at, in flattened navigation order.
    counts : ndarray of shape (n, n_energy)
        Their counts.

    Returns
    -------
    NoiseModel or None
        None where no variance is known.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.spectra import Spectra, known_noise
    >>> counts = np.tile(np.linspace(0, 1e4, 200), (3, 1))
    >>> spectra = Spectra(counts, -2 + 0.05 * np.arange(200), variance=2 * counts + 9)
    >>> noise = known_noise(spectra, np.array([1]), counts[[1]])
    >>> round(noise.gain, 6), round(noise.readout, 6)
    (2.0, 3.0)
    """
    variance = spectra.variance
    if variance is None:
        return None
    if np.ndim(variance):
        whole = da.broadcast_to(da.asarray(variance), spectra.counts.shape)
        variance = whole.reshape(-1, spectra.energy.size)[index].compute()
    return noise_of_variance(variance, counts)
