# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts on an energy axis, as every function of arrays takes them."""

from dataclasses import dataclass, field, replace

import dask.array as da
import numpy as np

from hyperspy_zlpml import arguments
from hyperspy_zlpml.compute import as_blocks, compute, take_spectra
from hyperspy_zlpml.image.noise import noise_of_variance
from hyperspy_zlpml.image.padding import FEWEST_CHANNELS

#: Settings of the microscope that shape a zero-loss peak.
SHAPING_SETTINGS = ("beam_energy", "convergence_angle", "collection_angle")
#: Square of the largest number of counts.
LARGEST_VARIANCE = arguments.LARGEST**2
#: Energies of a uniform axis agree with a straight line to this fraction of a step, or to
#: single precision.
_UNIFORM = 1e-3


@dataclass(frozen=True)
class Spectra:
    """Counts of spectra on an energy axis, and what else is known of them.

    Attributes
    ----------
    counts : ndarray or dask array of shape (..., n_energy)
        As measured, NaN where unknown; zero to any number of navigation axes. Lazy counts are cut
        into blocks of whole spectra.
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
        that of the counts; if there are no counts or they are no real numbers; or if the variance
        or a setting of the microscope is not what it must be.

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
        energy = np.asarray(_real_numbers(self.energy, "energy"), float)
        _check_energy(energy)
        counts = _checked_counts(self.counts, energy.size)
        variance = _checked_variance(self.variance, counts.shape)
        _check_values_of(variance, counts)
        arguments.text(self.title, "title")
        object.__setattr__(self, "energy", energy)
        object.__setattr__(self, "counts", as_blocks(counts) if self.is_lazy else counts)
        object.__setattr__(self, "variance", variance)
        object.__setattr__(self, "microscope", _checked_settings(self.microscope))

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

    def repaired(self, channels):
        """Take the recorded channels, bad ones bridged.

        Parameters
        ----------
        channels : Channels

        Returns
        -------
        Spectra
            Lazy where these are.
        """
        counts, recorded = self.counts, channels.recorded
        if self.is_lazy:
            dtype = channels.repair(np.zeros(channels.bad.size, counts.dtype)).dtype
            chunks = counts.chunks[:-1] + ((channels.stop - channels.first,),)
            counts = counts.map_blocks(channels.repair, dtype=dtype, chunks=chunks)
        else:
            counts = channels.repair(counts)
        variance = self.variance
        if np.ndim(variance) and variance.shape[-1] == channels.bad.size:
            variance = variance[..., recorded]
        return replace(self, counts=counts, energy=self.energy[recorded], variance=variance)

    def within(self, region):
        """Take some spectra; nothing is copied.

        Parameters
        ----------
        region : tuple of int or slice
            One for each navigation axis; a number takes the axis away.

        Returns
        -------
        Spectra

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.image.spectra import Spectra
        >>> spectra = Spectra(np.ones((4, 3, 200)), -2 + 0.05 * np.arange(200))
        >>> spectra.within((slice(1, 3), 0)).counts.shape
        (2, 200)
        """
        variance = self.variance
        if np.ndim(variance) > 1:
            library = da if isinstance(variance, da.Array) else np
            variance = library.broadcast_to(variance, self.counts.shape)[region]
        return replace(self, counts=self.counts[region], variance=variance)

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
            If it is of another shape, holds no real numbers, or is not boolean where it must be.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.image.spectra import Spectra
        >>> spectra = Spectra(np.ones((2, 2, 200)), -2 + 0.05 * np.arange(200))
        >>> spectra.flat_map([[1, 2], [3, 4]], "thickness", float)
        array([1., 2., 3., 4.])
        """
        data = np.asarray(
            arguments.array(value, name) if dtype is bool else _real_numbers(value, name, "fiub")
        )
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
    if not (steps > 0).all() or not np.isfinite(steps).all():
        raise ValueError("energy: expected increasing energies (eV), got an axis that is not.")
    deviation = np.abs(energy - np.linspace(energy[0], energy[-1], energy.size)).max()
    rounding = np.finfo(np.float32).eps * np.abs(energy).max()
    if deviation > _UNIFORM * steps.mean() + rounding:
        raise ValueError(
            f"energy: expected a uniform axis, got steps from {steps.min():.6g} to "
            f"{steps.max():.6g} eV; interpolate the counts on a uniform one."
        )


def _checked_counts(counts, n_energy):
    """Take counts as an array; raise ValueError unless they are real numbers on the energy axis."""
    counts = _real_numbers(counts, "counts")
    if np.isnan(counts.shape).any():
        raise ValueError(
            f"counts: expected a dask array of known shape, got {counts.shape}; call "
            "counts.compute_chunk_sizes() first."
        )
    if not counts.ndim or counts.shape[-1] != n_energy:
        raise ValueError(
            f"counts: expected {n_energy} channels on the last axis, as energy has, "
            f"got an array of shape {counts.shape}."
        )
    if not counts.size:
        raise ValueError(f"counts: expected at least one spectrum, got shape {counts.shape}.")
    return counts


def _checked_variance(variance, shape):
    """Take a variance as a number or an array; raise ValueError unless it fits the counts."""
    if variance is None:
        return None
    variance = _real_numbers(variance, "variance")
    if not variance.ndim:
        return arguments.positive(float(variance), "variance", largest=LARGEST_VARIANCE)
    if not _broadcasts(variance.shape, shape):
        raise ValueError(
            f"variance: expected a number or an array that broadcasts with the counts, of "
            f"shape {shape}, got shape {variance.shape}."
        )
    return variance


def _check_values_of(variance, counts):
    """Raise ValueError unless variances in memory are known and not negative where counts are."""
    if not isinstance(variance, np.ndarray) or not isinstance(counts, np.ndarray):
        return  # those that are read later are looked at in a sample
    if (variance < 0).any():
        raise ValueError(
            f"variance: expected at least 0 in every channel, got {np.nanmin(variance):g}; clip it."
        )
    n_unknown = int((~np.isfinite(variance) & np.isfinite(counts)).sum())
    if n_unknown:
        raise ValueError(
            f"variance: expected finite values where counts are, got {n_unknown} that are not; "
            "leave it out, or mark these counts by NaN."
        )


def _real_numbers(values, name, kinds="fiu"):
    """Take values as an array; raise ValueError unless they are real numbers without a mask."""
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(
            f"{name}: expected an array without a mask, got a masked one; mark what is unknown by "
            f"NaN, with {name}.astype(float).filled(np.nan)."
        )
    values = values if isinstance(values, da.Array) else arguments.array(values, name)
    if values.dtype.kind not in kinds:
        raise ValueError(f"{name}: expected real numbers, got dtype {values.dtype}.")
    return values


def _broadcasts(own, shape):
    """Tell whether an array of one shape broadcasts to another."""
    pairs = zip(own[::-1], shape[::-1], strict=False)
    return len(own) <= len(shape) and all(n in (1, whole) for n, whole in pairs)


def _checked_settings(settings):
    """Take settings of the microscope as numbers; raise ValueError unless we know their names."""
    if settings is None:
        return {}
    arguments.keys(settings, "microscope", SHAPING_SETTINGS)
    for name, value in settings.items():
        if not arguments.is_number(value) or value <= 0:
            raise ValueError(
                f"microscope: expected a positive number for {name}, got {value!r}; leave it out "
                "where it is not known."
            )
    return {name: float(value) for name, value in settings.items()}


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

    Raises
    ------
    ValueError
        If a variance is negative.

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
        library = da if isinstance(variance, da.Array) else np
        whole = library.broadcast_to(variance, spectra.counts.shape)
        (variance,) = compute(take_spectra(whole, index), show_progressbar=False, title="")
    return noise_of_variance(variance, counts)
