# SPDX-License-Identifier: GPL-3.0-or-later
"""An image as a whole: which spectra are usable, which are vacuum, which belong together.

Between the first pass over the data (peak parameters of all spectra, counts of a sample) and the
second (subtraction) all decisions are taken here, on arrays flattened over navigation.
"""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.zlp.clustering import PROXIES, cluster
from hyperspy_zlpml.zlp.noise import Detector, describe_detector
from hyperspy_zlpml.zlp.peaks import NO_PEAK, STATUS_TEXT, PeakParameters
from hyperspy_zlpml.zlp.registration import VACUUM, Sample
from hyperspy_zlpml.zlp.vacuum import never_rises, vacuum_candidates

#: Spectra read for training at most, and used per cluster.
LARGEST_SAMPLE = 4096
_PER_CLUSTER = 512
#: A fifth of the vacuum spectra is kept from training to check the result on.
_HELD_OUT = 0.2
FEWEST_TO_HOLD_OUT = 20
_CHECKED_AT_MOST = 256
#: Peaks narrower than this many channels have no shape at all.
_NARROWEST_PEAK = 1.0
#: Flat tops must be this many times as frequent as by chance to speak of a saturated detector.
_MORE_THAN_CHANCE = 10.0
#: Status of spectra that the user left out, beside those of ``zlp.peaks``.
EXCLUDED = -1


class NoZeroLossPeakError(ValueError):
    """No spectrum has a usable zero-loss peak."""


@dataclass(frozen=True)
class Image:
    """What the first pass says of an image; spectra on the first axis.

    Attributes
    ----------
    energy : ndarray of shape (n_energy,)
        eV.
    parameters : PeakParameters
        Of all spectra, sums free of pedestal.
    detector : Detector
    sample_index : ndarray of int
        Usable spectra whose counts were read.
    sample_counts : ndarray of shape (n_sample, n_energy)
        Free of pedestal.
    vacuum : ndarray of bool
    messages : tuple of str
    """

    energy: np.ndarray
    parameters: PeakParameters
    detector: Detector
    sample_index: np.ndarray
    sample_counts: np.ndarray
    vacuum: np.ndarray
    messages: tuple = ()

    @property
    def usable(self):
        """Spectra with a peak and positive intensity."""
        with np.errstate(invalid="ignore"):
            return self.parameters.usable & (self.parameters.intensity > 0)

    @property
    def log_intensity(self):
        """ln N0, NaN where not usable."""
        return np.log(np.where(self.usable, self.parameters.intensity, np.nan))


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


def describe(parameters, energy, index, counts, noise=None, vacuum=None):
    """Detector, usable spectra and vacuum pixels of an image.

    Parameters
    ----------
    parameters : PeakParameters
        Of all spectra, shape (n_spectra,); excluded ones have a status.
    energy : ndarray of shape (n_energy,)
    index : ndarray of int
        Spectra of the sample.
    counts : ndarray of shape (n_sample, n_energy)
    noise : NoiseModel, optional
        Where the signal carries its own.
    vacuum : ndarray of bool, optional
        Given by the user; otherwise found.

    Returns
    -------
    Image

    Raises
    ------
    NoZeroLossPeakError
    """
    good = parameters.usable[index]
    if not good.any():
        raise NoZeroLossPeakError(_why_no_peak(parameters))
    index, counts = index[good], np.asarray(counts[good], float)
    sampled = parameters.select(index)
    width = np.median(sampled.fwhm) / (energy[1] - energy[0])
    if width < _NARROWEST_PEAK:
        raise ValueError(
            f"the zero-loss peaks are {width:.2g} channels wide (median), expected at least "
            f"{_NARROWEST_PEAK:g}, better 2: use a finer dispersion, or check that the peak is not a spike."
        )
    detector = describe_detector(counts, energy, sampled, noise)
    counts = counts - detector.pedestal
    clean = parameters.without_pedestal(detector.pedestal, energy)
    if vacuum is None:
        vacuum = _find_vacuum(clean, detector.noise, energy, index, counts)
    image = Image(energy, clean, detector, index, counts, vacuum & clean.usable)
    return image


def _why_no_peak(parameters):
    status = parameters.status
    reasons = [
        f"{(status == code).sum()} {text}"
        for code, text in STATUS_TEXT.items()
        if (status == code).any()
    ]
    advice = (
        "remove_zlp_ml needs low-loss spectra with the whole zero-loss peak on the energy axis"
        if (status == NO_PEAK).any()
        else "check the data, the navigation_mask and that the whole peak is on the energy axis"
    )
    return (
        f"no zero-loss peak found in any of {status.size} spectra ({', '.join(reasons)}); {advice}."
    )


def _find_vacuum(parameters, noise, energy, index, counts):
    vacuum = vacuum_candidates(parameters, noise, energy)
    seen = vacuum[index]
    if not seen.any():
        return np.zeros_like(vacuum)
    sampled = parameters.select(index[seen])
    alone = never_rises(counts[seen], energy, sampled.centre, sampled.fwhm, noise)
    return vacuum if alone else np.zeros_like(vacuum)


def is_pure(image):
    """Whether the mean of the sampled spectra only falls behind the peak."""
    sampled = image.parameters.select(image.sample_index)
    return never_rises(
        image.sample_counts, image.energy, sampled.centre, sampled.fwhm, image.detector.noise
    )


def excluded_parameters(parameters, excluded):
    """Parameters with the excluded spectra marked as unusable, and NaN."""
    values = {name: getattr(parameters, name) for name in PeakParameters.__dataclass_fields__}
    for name in ("centre", "fwhm", "intensity", "total", "scattered"):
        values[name] = np.where(excluded, np.nan, values[name])
    values["status"] = np.where(excluded, EXCLUDED, parameters.status)
    return PeakParameters(**values)


def unusable_message(parameters):
    """One sentence that counts the spectra left out, or None."""
    counts = {text: int((parameters.status == code).sum()) for code, text in STATUS_TEXT.items()}
    counts = {text: count for text, count in counts.items() if count}
    if not counts:
        return None
    listed = ", ".join(f"{count} {text}" for text, count in counts.items())
    return (
        f"{sum(counts.values())} of {parameters.status.size} spectra are left out "
        f"and NaN in every result: {listed}."
    )


def measurement_messages(image):
    """Warnings about peaks that cannot be trusted as they are."""
    messages = []
    saturated = _flat_tops(image.sample_counts)
    # Few electrons, counted one by one, give three equal channels by chance once in 4 pi N.
    by_chance = (1 / (4 * np.pi * np.maximum(image.sample_counts.max(-1), 1))).sum()
    if saturated.sum() > _MORE_THAN_CHANCE * by_chance:
        messages.append(
            f"{saturated.sum()} of {saturated.size} spectra looked at have a peak that is cut off "
            "flat: the detector was saturated. Their ZLP is not to be trusted; shorten the exposure."
        )
    step = image.energy[1] - image.energy[0]
    width = np.nanmedian(image.parameters.fwhm[image.usable]) / step
    if width < 2:
        messages.append(
            f"the peaks are {width:.1f} channels wide: fewer than 2 channels cannot tell their "
            "shape; expect systematic residuals in the core and use a finer dispersion."
        )
    return messages


def _flat_tops(counts):
    """Spectra whose three highest neighbouring channels hold exactly the same counts."""
    channel = np.clip(counts.argmax(-1), 2, counts.shape[-1] - 3)
    around = channel[:, None] + np.arange(-2, 3)
    top = np.take_along_axis(counts, around, -1)
    equal = np.isclose(top, counts.max(-1, keepdims=True), rtol=1e-9, atol=0)
    runs = equal[:, :-2] & equal[:, 1:-1] & equal[:, 2:]
    return runs.any(-1) & (counts.max(-1) > 50)


def clusters_of(image, cluster_by, n_clusters, random_state):
    """Clusters of the usable spectra.

    Parameters
    ----------
    image : Image
    cluster_by : str or ndarray of shape (n_spectra,)
        Name of a proxy, or a map that grows with thickness.
    n_clusters : int or "auto"
    random_state : int or None

    Returns
    -------
    clusters : Clusters
    name : str
    """
    if isinstance(cluster_by, str):
        function, sign = PROXIES[cluster_by]
        proxy, name = function(image.parameters), cluster_by
    else:
        proxy, sign, name = np.asarray(cluster_by, float), 1, "map"
    proxy = np.where(image.usable, proxy, np.nan)
    return cluster(proxy, n_clusters, sign, random_state=random_state), name


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


def peaks_to_apply(image, labels, regions, log_dose=0.0):
    """What :meth:`Removal.apply` needs to know of every spectrum, shape (n_spectra, 6).

    ``log_dose`` is the logarithm of the dose over that of the ensemble, to which ln N0 is brought.
    """
    parameters = image.parameters
    known = np.clip(labels, 0, None)
    gain = np.where(image.vacuum, -np.inf, regions.gain[known])
    loss = np.where(image.vacuum, np.inf, regions.E_I[known])
    columns = (
        parameters.channel,
        parameters.centre,
        parameters.fwhm,
        image.log_intensity - log_dose,
        gain,
        loss,
    )
    peaks = np.stack(columns, axis=-1).astype(float)
    peaks[~image.usable | (labels < 0)] = np.nan
    return peaks


def channel_range(image):
    """First and last channel that holds a peak."""
    channels = image.parameters.channel[image.usable]
    return int(channels.min()), int(channels.max())


__all__ = [
    "Image",
    "NoZeroLossPeakError",
    "channel_range",
    "choose_sample",
    "clusters_of",
    "describe",
    "excluded_parameters",
    "is_pure",
    "measurement_messages",
    "peaks_to_apply",
    "training_samples",
    "unusable_message",
]
