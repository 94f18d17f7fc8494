# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of an image: spectra to train on, and vacuum spectra to check the result on."""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.compute.records import PerSpectrum

#: Label of vacuum spectra, which belong to no cluster.
VACUUM = -1
#: Fewer spectra in a cluster than this may hide where their losses begin, or differ in their tails.
FEW_SPECTRA = 30
#: Spectra read for training at most.
LARGEST_SAMPLE = 4096
#: Spectra of one cluster trained on at most.
_PER_CLUSTER = 512
#: Spectra of one cluster that an ensemble is adapted to at most: they correct shapes that are known.
#: Half of what shapes are learnt from moves them by a quarter of their errors, at half of the cost.
_ADAPTED_TO = 256
#: This fraction of the vacuum spectra is kept from training to check the result on.
_HELD_OUT = 0.2
#: Fewer vacuum spectra than this are all trained on.
FEWEST_TO_HOLD_OUT = 20
#: Vacuum spectra kept from training at most.
_CHECKED_AT_MOST = 256


@dataclass(frozen=True)
class Sample(PerSpectrum):
    """Spectra to train on, of one image or of one vacuum reference.

    Attributes
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Free of pedestal.
    energy : ndarray of shape (n_energy,)
        Uniform, eV.
    parameters : PeakParameters
        All usable.
    label : ndarray of int of shape (n_spectra,)
        Cluster of each spectrum, or VACUUM.
    """

    shared = ("energy",)

    counts: np.ndarray
    energy: np.ndarray
    parameters: PerSpectrum
    label: np.ndarray


def log_intensities(samples):
    """Take ln N0 of every spectrum of some samples.

    A separate vacuum measurement counts as the thin end of the image: it was taken at another time
    and dose, and its own N0 says nothing of thickness.

    Parameters
    ----------
    samples : sequence of Sample
        The image's first.

    Returns
    -------
    ndarray of shape (n_spectra,)
        Of all samples, one after the other.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.samples import VACUUM, Sample, log_intensities
    >>> def sample(intensity, label):
    ...     parameters = SimpleNamespace(intensity=np.exp(intensity))
    ...     return Sample(np.zeros((2, 9)), np.arange(9.0), parameters, np.array(label))
    >>> image, vacuum = sample([12.0, 11.0], [0, 1]), sample([15.0, 15.0], [VACUUM, VACUUM])
    >>> log_intensities([image, vacuum])
    array([12., 11., 12., 12.])
    """
    image, *references = samples
    logarithm = np.log(image.parameters.intensity)
    thin = np.median(logarithm[image.label == image.label.min()])
    return np.concatenate([logarithm, *(np.full(len(r.label), thin) for r in references)])


@dataclass(frozen=True)
class Samples:
    """Spectra chosen from an image, and from a separate vacuum measurement if there is one.

    Attributes
    ----------
    training : tuple of Sample
        To train on, or to adapt an ensemble to; the image's first.
    held_out : Sample or None
        Vacuum spectra of the image to check the result on.
    """

    training: tuple[Sample, ...]
    held_out: Sample | None


def choose_sample(n_spectra, excluded, vacuum, rng):
    """Choose the spectra whose counts are read for training.

    Parameters
    ----------
    n_spectra : int
    excluded : ndarray of bool of shape (n_spectra,)
        Spectra that the user left out.
    vacuum : ndarray of bool of shape (n_spectra,), or None
        Vacuum pixels given by the user are all wanted, up to what a cluster takes.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int
        Increasing indices, some thousands at most.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.samples import choose_sample
    >>> excluded = np.array([False, True, False])
    >>> choose_sample(3, excluded, None, np.random.default_rng(0))
    array([0, 2])
    """
    allowed = np.flatnonzero(~excluded)
    if allowed.size > LARGEST_SAMPLE:
        chosen = rng.choice(allowed, LARGEST_SAMPLE, replace=False)
        if vacuum is not None:
            marked = np.flatnonzero(vacuum & ~excluded)
            marked = rng.permutation(marked)[:_PER_CLUSTER]
            chosen = np.union1d(chosen, marked)
        allowed = chosen
    return np.sort(allowed)


def draw_samples(image, labels, reference, rng):
    """Draw spectra of each cluster to train on, and vacuum spectra to check the result on.

    Parameters
    ----------
    image : Image
    labels : ndarray of int of shape (n_spectra,)
        Cluster of each spectrum.
    reference : Image or None
        A separate vacuum measurement.
    rng : numpy.random.Generator

    Returns
    -------
    Samples

    Examples
    --------
    A fifth of 50 vacuum spectra is kept to check the result on.

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.describe import describe_image
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> from hyperspy_zlpml.image.samples import draw_samples
    >>> energy = 0.05 * np.arange(-100, 200)
    >>> counts = 1e5 * np.exp(-4 * np.log(2) * (np.tile(energy, (50, 1)) / 0.5) ** 2)
    >>> vacuum = np.ones(50, bool)
    >>> spectra = (peak_parameters(counts, energy), energy, np.arange(50), counts)
    >>> image = describe_image(*spectra, vacuum=vacuum)
    >>> samples = draw_samples(image, np.zeros(50, int), None, np.random.default_rng(0))
    >>> len(samples.training[0].label), len(samples.held_out.label)
    (40, 10)
    """
    label = np.where(image.vacuum, VACUUM, labels)[image.sample_index]
    known = (labels[image.sample_index] >= 0) & image.usable[image.sample_index]
    everything = Sample(
        counts=image.sample_counts,
        energy=image.energy,
        parameters=image.parameters.select(image.sample_index),
        label=label,
    )
    chosen = []
    held_out = np.zeros(0, int)
    for name in np.unique(label[known]):
        members = rng.permutation(np.flatnonzero(known & (label == name)))
        if name == VACUUM and members.size >= FEWEST_TO_HOLD_OUT:
            n_held = min(int(_HELD_OUT * members.size), _CHECKED_AT_MOST)
            held_out, members = members[:n_held], members[n_held:]
        chosen.append(members[:_PER_CLUSTER])
    training = [everything.select(np.sort(np.concatenate(chosen)))]
    if reference is not None:
        training.append(_vacuum_sample(reference, rng))
    return Samples(tuple(training), everything.select(held_out) if held_out.size else None)


def enough_to_adapt(sample):
    """Take as many spectra of each cluster as an ensemble is adapted to, evenly from first to last.

    Parameters
    ----------
    sample : Sample

    Returns
    -------
    Sample
        As it was where clusters are small.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.peaks import PeakParameters
    >>> from hyperspy_zlpml.image.samples import Sample, enough_to_adapt
    >>> label, energy = np.repeat([0, 1], [400, 100]), np.arange(9.0)
    >>> sample = Sample(np.zeros((500, 9)), energy, PeakParameters(*np.zeros((7, 500))), label)
    >>> np.bincount(enough_to_adapt(sample).label)
    array([256, 100])
    """
    names, sizes = np.unique(sample.label, return_counts=True)
    if sizes.max() <= _ADAPTED_TO:
        return sample
    chosen = []
    for name in names:
        members = np.flatnonzero(sample.label == name)
        number = min(members.size, _ADAPTED_TO)
        chosen.append(members[np.linspace(0, members.size - 1, number).astype(int)])
    return sample.select(np.sort(np.concatenate(chosen)))


def _vacuum_sample(reference, rng):
    """Draw spectra of a separate vacuum measurement."""
    rows = rng.permutation(reference.sample_index.size)[:_PER_CLUSTER]
    return Sample(
        counts=reference.sample_counts[rows],
        energy=reference.energy,
        parameters=reference.parameters.select(reference.sample_index[rows]),
        label=np.full(rows.size, VACUUM),
    )
