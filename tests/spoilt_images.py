# SPDX-License-Identifier: GPL-3.0-or-later
"""Random images with what goes wrong with data, for the tests and ``benchmarks/fuzz_images.py``.

A trouble is a function ``(counts, energy, rng) -> counts`` of whole images of shape (n, n_energy); a
spoiler is one of single spectra, ``(counts, row, energy, rng) -> counts``.
"""

from dataclasses import dataclass
from math import factorial

import numpy as np


@dataclass(frozen=True)
class RandomImage:
    """Simulated spectra.

    Attributes
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    energy : ndarray of shape (n_energy,)
        eV.
    shape : tuple of int
        Navigation shape.
    """

    counts: np.ndarray
    energy: np.ndarray
    shape: tuple[int, ...]

    @property
    def stacked(self):
        """Counts of the navigation shape."""
        return self.counts.reshape(self.shape + self.counts.shape[-1:])


def random_image(rng, most_counts=9.0):
    """Draw an image: axis, peak, dose, thickness and detector."""
    shape = tuple(rng.integers(1, 7, size=rng.integers(1, 4)))
    n_spectra = int(np.prod(shape))
    n_energy = int(rng.choice([64, 100, 256, 512, 900]))
    width = float(np.exp(rng.uniform(np.log(1.5), np.log(min(25, n_energy / 8)))))
    step = float(10 ** rng.uniform(-3, -0.5))
    first = width * rng.uniform(1.5, 14)
    energy = step * (np.arange(n_energy) - min(first, n_energy / 2))
    height = 10 ** rng.uniform(1, most_counts)
    centre = step * rng.uniform(-1, 1, n_spectra) * rng.choice([0, 0.5, width])
    thickness = rng.uniform(0, rng.choice([0.0, 0.5, 2.0]), n_spectra)
    thickness[rng.random(n_spectra) < rng.choice([0.0, 0.3])] = 0
    expected = height * spectra(energy, step * width, centre, thickness, rng)
    gain = rng.choice([1.0, 1.0, 5.0])
    counts = gain * rng.poisson(np.minimum(expected / gain, 1e15)).astype(float)
    counts += rng.choice([0.0, 0.0, 100.0])
    counts += rng.normal(0, rng.choice([0.0, 3.0]), counts.shape)
    return RandomImage(counts, energy, shape)


def spectra(energy, fwhm, centre, thickness, rng):
    """Make the expected spectra, the zero-loss peak of vacuum having the height 1."""
    u = (energy - centre[:, None]) / fwhm
    tail = 10 ** rng.uniform(-4, -1.5)
    peak = np.exp(-4 * np.log(2) * u**2) + tail / (1 + (u / 0.7) ** 2)
    t = thickness[:, None]
    distance = energy - centre[:, None]
    plasmon = fwhm * rng.uniform(5, 40)
    losses = 0.0
    for n in range(1, 5):
        width = np.hypot(fwhm / 2.35, 0.1 * plasmon * n)
        losses += t**n / factorial(n) * np.exp(-0.5 * ((distance - n * plasmon) / width) ** 2)
    onset = np.sqrt(np.clip(distance / fwhm - rng.uniform(2, 8), 0, None)) * t * 0.003
    return np.exp(-t) * (peak + rng.uniform(0.05, 1) * losses) + onset


# --- what happens to whole images ------------------------------------------------------------------


def dead_channel(counts, energy, rng):
    """A channel that counts nothing."""
    counts[:, rng.integers(energy.size)] = 0
    return counts


def hot_channel(counts, energy, rng):
    """A channel that counts too much."""
    counts[:, rng.integers(energy.size)] += counts.max() * 10 ** rng.uniform(-3, 1)
    return counts


def missing_value(counts, energy, rng):
    """A channel of the lowest integer."""
    counts[:, rng.integers(energy.size)] = -(2.0**31)
    return counts


def padded(counts, energy, rng):
    """Zeros at the edges."""
    n = energy.size // 10
    counts[:, : rng.integers(n)] = 0
    counts[:, counts.shape[1] - rng.integers(n) :] = 0
    return counts


def shifted_down(counts, energy, rng):
    """A baseline that is too low."""
    return counts - counts.max() * 10 ** rng.uniform(-4, -0.3)


def centred(counts, energy, rng):
    """Spectra free of their mean."""
    return counts - counts.mean(-1, keepdims=True)


def saturated(counts, energy, rng):
    """Counts above a level are lost."""
    return np.minimum(counts, counts.max() * rng.uniform(0.05, 0.9))


def saturated_behind_noise(counts, energy, rng):
    """Counts above a level are lost before noise is added."""
    return saturated(counts, energy, rng) * rng.normal(1, 0.003, counts.shape)


def overflowed(counts, energy, rng):
    """Integers of 16 bits."""
    return np.floor(np.abs(counts)) % 2**16


def negative(counts, energy, rng):
    """The wrong sign."""
    return -counts


def empty(counts, energy, rng):
    """Nothing at all."""
    return np.zeros_like(counts)


def constant(counts, energy, rng):
    """One value everywhere."""
    return np.full_like(counts, rng.choice([-1.0, 1.0, 1e6]))


def noise_only(counts, energy, rng):
    """No signal."""
    return rng.normal(0, 10, counts.shape)


def rescaled(counts, energy, rng):
    """Counts in other units."""
    return counts * 10 ** rng.uniform(-12, 12)


def averaged(counts, energy, rng):
    """Nearly no noise: all spectra are the mean of all."""
    return np.repeat(counts.mean(0, keepdims=True), len(counts), axis=0)


def background(counts, energy, rng):
    """A falling background, as core losses have."""
    return counts + counts.max() * rng.uniform(0.1, 10) * np.exp(
        -np.linspace(0, rng.uniform(1, 6), energy.size)
    )


def correlated(counts, energy, rng):
    """A point spread over three channels."""
    padded_counts = np.pad(counts, ((0, 0), (1, 1)), mode="edge")
    return 0.2 * padded_counts[:, :-2] + 0.6 * counts + 0.2 * padded_counts[:, 2:]


def patterned(counts, energy, rng):
    """Channels of unequal sensitivity."""
    return counts * (1 + 10 ** rng.uniform(-3, -1) * rng.standard_normal(energy.size))


def rays(counts, energy, rng):
    """Cosmic rays in a thousandth of the channels."""
    hit = rng.random(counts.shape) < 1e-3
    return counts + hit * rng.exponential(
        np.abs(counts).max() * 10 ** rng.uniform(-3, 1), counts.shape
    )


def integers(counts, energy, rng):
    """Integers of 32 bits."""
    return np.clip(np.round(counts), -(2**31), 2**31 - 1).astype(np.int32)


def single_precision(counts, energy, rng):
    """Floating-point numbers of 32 bits."""
    return counts.astype(np.float32)


#: By name; those that change the type of the counts come last.
TROUBLES = (
    dead_channel, hot_channel, missing_value, padded, shifted_down, centred, saturated,
    saturated_behind_noise, overflowed, negative, empty, constant, noise_only, rescaled, averaged,
    background, correlated, patterned, rays,
)  # fmt: skip
TYPES = (integers, single_precision)


# --- what happens to a single spectrum ----------------------------------------------------------------


def spike(counts, row, energy, rng):
    """A cosmic ray of one or two channels."""
    place = rng.integers(energy.size - 1)
    counts[row, place] += counts.max() * 10 ** rng.uniform(-2, 3)
    counts[row, place + 1] += counts.max() * rng.choice([0.0, 0.4])
    return counts


def hole(counts, row, energy, rng):
    """A channel without a value."""
    counts[row, rng.integers(energy.size)] = rng.choice([0.0, -(2.0**31)])
    return counts


def jumped(counts, row, energy, rng):
    """The beam jumped while the spectrum was taken."""
    counts[row] = (counts[row] + np.roll(counts[row], rng.integers(20, 80))) / 2
    return counts


def dark(counts, row, energy, rng):
    """No beam."""
    counts[row] = 0
    return counts


def not_finite(counts, row, energy, rng):
    """Channels that are NaN or infinite."""
    counts[row, rng.integers(energy.size)] = rng.choice([np.nan, np.inf, -np.inf])
    return counts


def wrong_sign(counts, row, energy, rng):
    """Negative counts."""
    counts[row] = -counts[row]
    return counts


def too_bright(counts, row, energy, rng):
    """A thousand times the counts of the others."""
    counts[row] *= 1e3
    return counts


def structureless(counts, row, energy, rng):
    """Equal counts everywhere."""
    counts[row] = counts.max()
    return counts


SPOILERS = (spike, hole, jumped, dark, not_finite, wrong_sign, too_bright, structureless)


def spoilt_image(rng):
    """Draw an image with up to three troubles and up to three spoilt spectra.

    Returns
    -------
    RandomImage, and the names of what was done to it.
    """
    image = random_image(rng)
    counts, names = image.counts, []
    for trouble in rng.choice(len(TROUBLES), rng.integers(0, 4), replace=False):
        counts = TROUBLES[trouble](counts, image.energy, rng)
        names.append(TROUBLES[trouble].__name__)
    for _ in range(rng.integers(0, 4)):
        spoiler = SPOILERS[rng.integers(len(SPOILERS))]
        counts = spoiler(counts, rng.integers(len(counts)), image.energy, rng)
        names.append(spoiler.__name__)
    if rng.random() < 0.3:
        with np.errstate(invalid="ignore"):
            kind = TYPES[rng.integers(len(TYPES))]
            counts = kind(counts, image.energy, rng)
        names.append(kind.__name__)
    return RandomImage(counts, image.energy, image.shape), names
