# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra to train on, and vacuum spectra held out to check the result on."""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.image.peaks import PeakParameters

#: Label of vacuum spectra, which belong to no cluster.
VACUUM = -1

#: Spectra read for training at most, and used per cluster.
LARGEST_SAMPLE = 4096
_PER_CLUSTER = 512
#: A fifth of the vacuum spectra is kept from training to check the result on.
_HELD_OUT = 0.2
FEWEST_TO_HOLD_OUT = 20
_CHECKED_AT_MOST = 256


@dataclass(frozen=True)
class Sample:
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

    counts: np.ndarray
    energy: np.ndarray
    parameters: PeakParameters
    label: np.ndarray

    def select(self, index):
        """Some of the spectra."""
        return Sample(
            self.counts[index], self.energy, self.parameters.select(index), self.label[index]
        )


def log_intensities(samples):
    """ln N0 of every spectrum; a separate vacuum reference counts as the thin end of the image.

    The reference was taken at another time and dose: its own N0 says nothing of thickness.
    """
    image, *references = samples
    logarithm = np.log(image.parameters.intensity)
    thin = np.median(logarithm[image.label == image.label.min()])
    return np.concatenate([logarithm, *(np.full(len(r.label), thin) for r in references)])


def choose_sample(n_spectra, excluded, vacuum, rng):
    """Indices of the spectra whose counts are read for training, increasing.

    Parameters
    ----------
    n_spectra : int
    excluded : ndarray of bool
    vacuum : ndarray of bool or None
        Vacuum pixels given by the user are all wanted, up to what a cluster takes.
    rng : numpy.random.Generator
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


def training_samples(image, labels, reference, rng):
    """Spectra to train on by cluster, and vacuum spectra held out to check the result on.

    Parameters
    ----------
    image : Image
    labels : ndarray of int of shape (n_spectra,)
    reference : Image or None
        A separate vacuum measurement.
    rng : numpy.random.Generator

    Returns
    -------
    samples : list of Sample
    held_out : Sample or None
    """
    label = np.where(image.vacuum, VACUUM, labels)[image.sample_index]
    known = (labels[image.sample_index] >= 0) & image.usable[image.sample_index]
    everything = Sample(
        image.sample_counts, image.energy, image.parameters.select(image.sample_index), label
    )
    chosen, held_out = [], np.zeros(0, int)
    for name in np.unique(label[known]):
        members = rng.permutation(np.flatnonzero(known & (label == name)))
        if name == VACUUM and members.size >= FEWEST_TO_HOLD_OUT:
            n_held = min(int(_HELD_OUT * members.size), _CHECKED_AT_MOST)
            held_out, members = members[:n_held], members[n_held:]
        chosen.append(members[:_PER_CLUSTER])
    samples = [everything.select(np.sort(np.concatenate(chosen)))]
    if reference is not None:
        rows = rng.permutation(reference.sample_index.size)[:_PER_CLUSTER]
        parameters = reference.parameters.select(reference.sample_index[rows])
        vacuum = np.full(rows.size, VACUUM)
        samples.append(Sample(reference.sample_counts[rows], reference.energy, parameters, vacuum))
    return samples, (everything.select(held_out) if held_out.size else None)
