# SPDX-License-Identifier: GPL-3.0-or-later
"""Description of an image as a whole: its usable spectra, its detector and its vacuum.

Between the first pass over the data (peak parameters of all spectra, counts of a sample) and the
second (subtraction) all decisions are taken here, on arrays flattened over navigation.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from hyperspy_zlpml.compute.blocks import join_blocks, together
from hyperspy_zlpml.compute.user_warnings import warn_of_all, warn_user
from hyperspy_zlpml.image.channels import find_spikes, without_spikes
from hyperspy_zlpml.image.detector import Detector, describe_detector
from hyperspy_zlpml.image.falling import never_rises
from hyperspy_zlpml.image.measure import measure
from hyperspy_zlpml.image.noise import NoiseModel, looked_at, rough_noise
from hyperspy_zlpml.image.odd_peaks import of_other_shape
from hyperspy_zlpml.image.padding import padded_unlike_others
from hyperspy_zlpml.image.peaks import (
    EXCLUDED,
    MISSHAPEN,
    NO_PEAK,
    OK,
    OVERFLOWED,
    SATURATED,
    STATUS_TEXT,
    PeakParameters,
    peak_parameters,
)
from hyperspy_zlpml.image.quality import (
    NoZeroLossPeakError,
    check_baseline,
    check_zero,
    edges_message,
    measurement_messages,
    unusable_message,
)
from hyperspy_zlpml.image.samples import LARGEST_SAMPLE
from hyperspy_zlpml.image.saturation import saturated_peaks
from hyperspy_zlpml.image.second_peaks import second_peak_messages
from hyperspy_zlpml.image.vacuum import ALIKE, find_vacuum, vacuum_candidates
from hyperspy_zlpml.statistics import Range

#: Peaks narrower than this many channels (FWHM) have no shape at all.
_NARROWEST_PEAK = 1.0
#: Dispersions of a vacuum measurement and of the data agree to this fraction.
_SAME_DISPERSION = 1e-3
#: Electrons count the same in an image and in a vacuum measurement, as far as noise tells.
_SAME_COUNTS = Range(0.5, 2.0)
#: Fewer channels than this fraction hold spikes.
_MOST_SPIKES = 0.01
#: Nothing is learnt from spectra that held rays, unless these are more than this fraction of all.
_MOST_SET_ASIDE = 0.5
#: An image is described anew without the spectra that are odd in it, so many times at most, ...
_DESCRIBED_ANEW = 3
#: ... and no more once these are more than this fraction: they are of another kind than single bad ones.
_MOST_LOST = 0.2
#: Rays hit one channel in no more spectra than this, by chance, ...
_MOST_RAYS = 3
#: ... nor in more than one of this many: what more spectra hold there is the detector's.
_RAY_OF = 32


@dataclass(frozen=True)
class Image:
    """Description of an image after the first pass over it; spectra on the first axis.

    Attributes
    ----------
    energy : ndarray of shape (n_energy,)
        eV.
    parameters : PeakParameters
        Of all spectra, shape (n_spectra,); sums free of pedestal.
    detector : Detector
    sample_index : ndarray of int of shape (n_sample,)
        Usable spectra whose counts were read, but for those set aside.
    sample_counts : ndarray of shape (n_sample, n_energy)
        Free of pedestal, spikes bridged.
    spiked : ndarray of int of shape (n_spiked,)
        Usable spectra that held spikes.
    spiked_counts : ndarray of shape (n_spiked, n_energy)
        Those with their spikes, free of pedestal.
    set_aside : ndarray of bool of shape (n_spectra,)
        Spectra of the sample that held rays and that nothing is learnt from: no other is moved by them.
    vacuum : ndarray of bool of shape (n_spectra,)
        Spectra that see no specimen.
    vacuum_note : str
        What was assumed of vacuum without evidence; empty where it was found or given.
    """

    energy: np.ndarray
    parameters: PeakParameters
    detector: Detector
    sample_index: np.ndarray
    sample_counts: np.ndarray
    spiked: np.ndarray
    spiked_counts: np.ndarray
    set_aside: np.ndarray
    vacuum: np.ndarray
    vacuum_note: str = ""

    @property
    def usable(self):
        """Spectra with a peak and positive intensity, as a boolean array."""
        with np.errstate(invalid="ignore"):
            return self.parameters.usable & (self.parameters.intensity > 0)

    @property
    def teaches(self):
        """Usable spectra that something is learnt from, as a boolean array."""
        return self.usable & ~self.set_aside

    @property
    def fwhm(self):
        """Median FWHM of the spectra that are learnt from, eV."""
        return float(np.nanmedian(self.parameters.fwhm[self.teaches]))

    @property
    def end(self):
        """Last energy of the axis, counted from the median peak of the spectra learnt from, eV."""
        return float(self.energy[-1] - np.nanmedian(self.parameters.centre[self.teaches]))

    @property
    def log_intensity(self):
        """Logarithm of N0, NaN where not usable."""
        return np.log(np.where(self.usable, self.parameters.intensity, np.nan))


# Of an image, of its sample, and what is known of them.
def describe_image(  # noqa: PLR0913
    parameters, energy, index, counts, *, noise=None, vacuum=None, alike_is_vacuum=False
):
    """Find detector, usable spectra and vacuum pixels of an image.

    Parameters
    ----------
    parameters : PeakParameters
        Of all spectra, shape (n_spectra,); excluded ones have a status.
    energy : ndarray of shape (n_energy,)
        Uniform axis, eV.
    index : ndarray of int of shape (n_sample,)
        Spectra of the sample.
    counts : ndarray of shape (n_sample, n_energy)
        As measured.
    noise : NoiseModel, optional
        Where the signal carries its own.
    vacuum : ndarray of bool of shape (n_spectra,), optional
        Given by the user, then no others are looked for; otherwise found.
    alike_is_vacuum : bool
        Whether pixels that look like vacuum are, where no others scatter clearly more.

    Returns
    -------
    Image

    Raises
    ------
    NoZeroLossPeakError
        If no spectrum of the sample has a usable peak.
    ValueError
        If the peaks are narrower than a channel.

    Examples
    --------
    Spectra of peaks alone are vacuum if somebody says so; one without a peak is not.

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.describe import describe_image
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> energy = 0.05 * np.arange(-100, 200)
    >>> height = np.array([9e4, 0.0, 1e5])
    >>> counts = height[:, None] * np.exp(-4 * np.log(2) * (energy / 0.5) ** 2)
    >>> spectra = (peak_parameters(counts, energy), energy, np.arange(3), counts)
    >>> image = describe_image(*spectra, vacuum=np.ones(3, bool))
    >>> image.vacuum, image.sample_index
    (array([ True, False,  True]), array([0, 2]))
    >>> describe_image(*spectra).vacuum_note[:44]
    '2 pixels could be vacuum or a thin film: no '
    """
    check_zero(energy, parameters)
    counts = np.asarray(counts)
    most_lost = max(1, _MOST_LOST * parameters.usable[index].sum())
    n_lost = 0
    for _ in range(1 + _DESCRIBED_ANEW):
        sample = _Sample(parameters, index, counts, np.zeros(counts.shape, bool)).usable()
        _check_width(sample.peaks, energy)
        image = _looked_at(
            _Known(sample, energy, noise=noise, vacuum=vacuum, alike_is_vacuum=alike_is_vacuum)
        )
        lost = sample.index[~image.parameters.usable[sample.index]]
        n_lost += lost.size
        if not lost.size or n_lost > most_lost:
            break
        # As if they had been left out from the start: noise that they were part of bridged others.
        parameters = _marked_alike(parameters, image.parameters, lost)
    return image


def measure_and_describe(spectra, index, describe, excluded=None, show_progressbar=False):
    """Measure the peaks of an image and describe it; odd spectra do not tell which channels are bad.

    Which spectra are odd shows when the channels were inspected: if others say something else of these,
    the image is measured and described once more.

    Parameters
    ----------
    spectra : Spectra
    index : ndarray of int of shape (n_sample,)
        Spectra of the sample, in flattened navigation order.
    describe : callable
        Makes an Image of MeasuredPeaks.
    excluded : ndarray of bool of shape (n_spectra,), optional
        Spectra that the user left out.
    show_progressbar : bool

    Returns
    -------
    MeasuredPeaks and Image
    """
    measured = measure(spectra, index, excluded, show_progressbar)
    image = describe(measured)
    odd = ~image.teaches
    looked_like_others = np.isin(measured.parameters.status, (OK, MISSHAPEN, OVERFLOWED))
    if not (odd & looked_like_others)[measured.index].any():
        return measured, image
    channels = measured.channels_without(odd)
    if channels.same_as(measured.channels):
        return measured, image
    measured = measure(
        spectra, index, excluded=excluded, show_progressbar=show_progressbar, channels=channels
    )
    return measured, describe(measured)


def _marked_alike(parameters, others, rows):
    """Mark some spectra as others of these numbers are marked."""
    for status in np.unique(others.status[rows]):
        parameters = parameters.marked(rows[others.status[rows] == status], status)
    return parameters


def _looked_at(known):
    """Describe an image by all usable spectra of its sample, at once."""
    sample, energy, noise = known.sample, known.energy, known.noise
    mended, detector = _mended(sample, energy, noise)
    check_baseline(mended.above(detector.dark_level), energy, detector.noise)
    aside = _set_aside(mended, known.vacuum)
    if not aside.any():
        return _described(mended, detector, known)
    image = _without_those_aside(mended, aside, known)
    if known.vacuum is not None or image.vacuum.any():
        return image
    # Rays may have hit all vacuum pixels, or all that show that others are vacuum: what is bridged tells it then.
    whole = _described(mended, detector, known)
    return whole if whole.vacuum.any() else image


@dataclass(frozen=True)
class _Sample:
    """Spectra of an image whose counts were read.

    Attributes
    ----------
    parameters : PeakParameters
        Of all spectra of the image.
    index : ndarray of int of shape (n_sample,)
    counts : ndarray of shape (n_sample, n_energy)
        As measured.
    spikes : ndarray of bool of shape (n_sample, n_energy)
        What was bridged.
    """

    parameters: PeakParameters
    index: np.ndarray
    counts: np.ndarray
    spikes: np.ndarray

    @property
    def peaks(self):
        """Parameters of the spectra of the sample."""
        return self.parameters.select(self.index)

    @property
    def spiked(self):
        """Spectra whose spikes were bridged, as a boolean array."""
        return self.spikes.any(-1)

    def usable(self):
        """Leave out spectra without a usable peak; NoZeroLossPeakError where none has one."""
        good = self.peaks.usable
        if not good.any():
            raise NoZeroLossPeakError(_why_no_peak(self.parameters, edges_message(self.counts)))
        if good.all():
            return replace(self, counts=np.asarray(self.counts, float))
        return replace(
            self,
            index=self.index[good],
            counts=np.asarray(self.counts[good], float),
            spikes=self.spikes[good],
        )

    def above(self, dark_level):
        """Take the dark level off the counts: a copy only where there is one, for a sample is large."""
        return self.counts - dark_level if dark_level.any() else self.counts


@dataclass(frozen=True)
class _Known:
    """Hold what is known of an image before it is described.

    Attributes
    ----------
    sample : _Sample
        Its usable spectra, as measured.
    energy : ndarray of shape (n_energy,)
        eV.
    noise : NoiseModel or None
        Where the signal carries its own.
    vacuum : ndarray of bool of shape (n_spectra,), or None
        As the user gave it.
    alike_is_vacuum : bool
        Whether pixels that look like vacuum are.
    """

    sample: _Sample
    energy: np.ndarray
    noise: NoiseModel | None
    vacuum: np.ndarray | None
    alike_is_vacuum: bool

    def as_measured(self, index, dark_level):
        """Take counts of some spectra of the sample with their spikes, free of the dark level."""
        return self.sample.counts[np.isin(self.sample.index, index)] - dark_level


def _channels_per_fwhm(peaks, energy):
    """Compute the median width of peaks, in channels."""
    return np.median(peaks.fwhm) / (energy[1] - energy[0])


def _check_width(peaks, energy):
    """Raise ValueError where peaks are narrower than a channel."""
    width = _channels_per_fwhm(peaks, energy)
    if width < _NARROWEST_PEAK:
        raise ValueError(
            f"the zero-loss peaks are {width:.2g} channels wide (median), expected at least "
            f"{_NARROWEST_PEAK:g}, better 2: use a finer dispersion, or check that the peak is "
            "not a spike."
        )


def _mended(sample, energy, noise):
    """Bridge the spikes of a sample, and describe the detector by what they leave.

    One spike in a dark spectrum moves pedestal and noise, by which spikes and odd spectra are found: what
    it leaves tells both, and the spikes are found once more by them.

    Returns
    -------
    sample : _Sample
    detector : Detector
    """
    detector = describe_detector(sample.counts, energy, sample.peaks, noise)
    mended = _without_spikes(sample, energy, detector)
    if mended is sample:
        return sample, detector
    detector = describe_detector(mended.counts, energy, mended.peaks, noise)
    again = _without_spikes(sample, energy, detector)
    if not np.array_equal(again.counts, mended.counts):
        detector = describe_detector(again.counts, energy, again.peaks, noise)
    return again, detector


def _set_aside(sample, vacuum):
    """Tell which spectra of a sample nothing is learnt from: those whose rays were bridged.

    What was bridged is a guess. Unless they are many, or all that was said to be vacuum, the others tell
    as much without them, and are not moved by them. A spike that many spectra hold in one channel is no
    ray but the detector's: without them a specimen, or the vacuum, would be lost.
    """
    n_spiked = sample.spikes.sum(0)
    in_few = n_spiked <= max(_MOST_RAYS, len(sample.spikes) // _RAY_OF)
    hit = (sample.spikes & in_few).any(-1)
    given = np.zeros_like(hit) if vacuum is None else vacuum[sample.index]
    if given.any() and hit[given].all():
        hit = hit & ~given
    return hit if hit.mean() <= _MOST_SET_ASIDE else np.zeros_like(hit)


def _described(sample, detector, known):
    """Describe an image by a sample whose spikes were bridged, all of which is learnt from."""
    energy = known.energy
    clean, detector = _alike(sample, detector, known)
    counts, index = clean.above(detector.dark_level), clean.index
    parameters = clean.parameters.without_pedestal(detector.pedestal, energy)
    if not (parameters.intensity[index] > 0).any():
        raise NoZeroLossPeakError(
            f"no zero-loss peak found in any of {parameters.status.size} spectra: none holds counts "
            f"above the level before its peak, {detector.pedestal:.4g}."
        )
    vacuum, note = known.vacuum, ""
    if vacuum is None:
        found = find_vacuum(parameters, detector.noise, energy, index=index, counts=counts)
        vacuum, note = _settled(*found, known.alike_is_vacuum)
    return Image(
        energy=energy,
        parameters=parameters,
        detector=detector,
        sample_index=index,
        sample_counts=counts,
        spiked=index[clean.spiked],
        spiked_counts=known.as_measured(index[clean.spiked], detector.dark_level),
        set_aside=np.zeros(parameters.status.size, bool),
        vacuum=vacuum & parameters.usable,
        vacuum_note=note,
    )


def _alike(sample, detector, known):
    """Leave out the spectra of a sample whose peak differs from that of most others, and describe the detector without.

    One of them may hold more scatter than all the others, and what is noise by it hides it: they are sought by a
    noise that few spectra do not move, and those that stay out are odd by the noise of the others, too.

    Returns
    -------
    sample : _Sample
    detector : Detector
    """
    energy = known.energy
    counts = sample.above(detector.dark_level)
    rough = rough_noise(counts, detector.noise) if known.noise is None else detector.noise
    clean = _without_odd(sample, counts, energy, rough)
    if clean is sample:
        return sample, detector
    without = describe_detector(clean.counts, energy, clean.peaks, known.noise)
    if rough is detector.noise:
        return clean, without
    confirmed = _without_odd(sample, counts, energy, without.noise)
    if confirmed is sample:
        return sample, detector
    if np.array_equal(confirmed.index, clean.index):
        return clean, without
    return confirmed, describe_detector(confirmed.counts, energy, confirmed.peaks, known.noise)


def _without_those_aside(sample, aside, known):
    """Describe an image by a sample of which some spectra are set aside: these are subtracted as the others are."""
    aside, learnt, detector = _all_aside(aside, known)
    image = _described(learnt, detector, known)
    detector, rows = image.detector, sample.index[aside]
    counts = sample.above(detector.dark_level)
    checked = _without_odd(sample, counts, known.energy, detector.noise).parameters
    whole = checked.without_pedestal(detector.pedestal, known.energy)
    parameters = image.parameters.with_rows(rows, whole.select(rows))
    vacuum = known.vacuum
    if vacuum is None and image.vacuum.any():
        vacuum = vacuum_candidates(parameters, detector.noise, known.energy)
    is_vacuum = image.vacuum.copy()
    is_vacuum[rows] = vacuum is not None and (vacuum & parameters.usable)[rows]
    rows = rows[parameters.usable[rows]]
    set_aside = image.set_aside.copy()
    set_aside[rows] = True
    return replace(
        image,
        parameters=parameters,
        spiked=np.concatenate([image.spiked, rows]),
        spiked_counts=np.concatenate(
            [image.spiked_counts, known.as_measured(rows, detector.dark_level)]
        ),
        set_aside=set_aside,
        vacuum=is_vacuum,
    )


def _all_aside(aside, known):
    """Set spectra aside, and those whose spikes only show without them: as if the former were left out.

    Returns
    -------
    aside : ndarray of bool of shape (n_sample,)
    learnt : _Sample
        The others, their spikes bridged.
    detector : Detector
    """
    more = aside
    while more.any():
        # As measured: noise that spikes were part of may have bridged what is none.
        given = _left_out(known.sample, aside, EXCLUDED)
        learnt, detector = _mended(given, known.energy, known.noise)
        more = _set_aside(learnt, known.vacuum)
        aside = aside.copy()
        aside[np.flatnonzero(~aside)[more]] = True
    return aside, learnt, detector


def _without_spikes(sample, energy, detector):
    """Bridge the spikes of a sample, and measure the peaks that held them once more."""
    width = _channels_per_fwhm(sample.peaks, energy)
    spikes = _spikes(sample.counts, width, detector)
    spiked = spikes.any(-1)
    if not spiked.any():
        return sample
    counts = without_spikes(sample.counts, spikes)
    again = peak_parameters(counts[spiked], energy)
    rows, again = sample.index[spiked][again.usable], again.select(again.usable)
    parameters = sample.parameters.with_rows(rows, again)
    return replace(sample, parameters=parameters, counts=counts, spikes=sample.spikes | spikes)


def _spikes(counts, width, detector):
    """Find spikes of single spectra, also where they are what the noise was taken from."""

    def found_by(noise):
        """Find those that stand out of some noise, block by block."""
        return join_blocks(
            lambda some: find_spikes(some - detector.dark_level, width, noise), counts
        )

    some = counts[looked_at(len(counts))] - detector.dark_level
    rough = rough_noise(some, detector.noise)
    spikes = found_by(rough)
    # So many are no spikes: electrons are rare, or the spectra have lines.
    return spikes if spikes.mean() < _MOST_SPIKES else found_by(detector.noise)


def _without_odd(sample, counts, energy, noise):
    """Leave out the spectra of a sample whose peak differs from that of most others.

    ``counts`` are theirs, free of pedestal.
    """
    saturated, _ = saturated_peaks(counts, sample.peaks, energy, noise.unit)
    if 0 < saturated.mean() < 0.5:
        sample, counts = _left_out(sample, saturated, SATURATED), counts[~saturated]
    peaks = sample.peaks
    of_other, padded = together(
        partial(of_other_shape, counts, energy, peaks, noise=noise),
        # As measured: levels of channels that were taken off differ.
        partial(
            padded_unlike_others, sample.counts, peaks.channel, _channels_per_fwhm(peaks, energy)
        ),
    )
    return _left_out(sample, of_other | padded, MISSHAPEN)


def _left_out(sample, bad, status):
    """Leave out spectra of a sample, and mark them; the sample itself where there are none."""
    if not bad.any():
        return sample
    return _Sample(
        parameters=sample.parameters.marked(sample.index[bad], status),
        index=sample.index[~bad],
        counts=sample.counts[~bad],
        spikes=sample.spikes[~bad],
    )


def _settled(candidates, doubt, alike_is_vacuum):
    """Decide which candidates are vacuum, and say what was assumed."""
    if not candidates.any() or not doubt or (alike_is_vacuum and doubt == ALIKE):
        return candidates, ""
    return np.zeros_like(candidates), doubt.format(n=candidates.sum())


def _why_no_peak(parameters, edges):
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
        f"no zero-loss peak found in any of {status.size} spectra ({', '.join(reasons)}); "
        f"{edges or advice + '.'}"
    )


def is_pure(image, chosen=slice(None)):
    """Tell whether the mean of the sampled spectra only falls behind the peak.

    Parameters
    ----------
    image : Image
    chosen : ndarray of bool of shape (n_sample,), optional
        Those of the sampled spectra that are meant; default all.

    Returns
    -------
    bool
    """
    sampled = image.parameters.select(image.sample_index[chosen])
    return never_rises(
        counts=image.sample_counts[chosen],
        energy=image.energy,
        centre=sampled.centre,
        fwhm=sampled.fwhm,
        noise=image.detector.noise,
    )


def vacuum_messages(image, given, limits):
    """Say what is doubtful about the vacuum of an image.

    Parameters
    ----------
    image : Image
    given : ndarray of bool of shape (n_spectra,), or None
        Vacuum pixels as the user gave them.
    limits : dict
        Limits of the regions given by the user: an ``E_I`` says where losses begin.

    Returns
    -------
    tuple of str
        Empty where nothing is doubtful.

    Examples
    --------
    Spectra with losses, of which the user says that they are vacuum:

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.describe import describe_image, vacuum_messages
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> energy = 0.05 * np.arange(-100, 600)
    >>> counts = 1e5 / (1 + (energy / 0.25) ** 2) + 5e3 * np.exp(-(((energy - 20) / 5) ** 2))
    >>> counts, mask = np.tile(counts, (4, 1)), np.ones(4, bool)
    >>> spectra = (peak_parameters(counts, energy), energy, np.arange(4), counts)
    >>> image = describe_image(*spectra, vacuum=mask)
    >>> vacuum_messages(image, mask, {})[0][:54]
    'vacuum: the 4 pixels given rise again behind the peak '
    """
    messages = []
    marked = image.vacuum[image.sample_index]
    if given is not None and marked.any() and not is_pure(image, marked):
        messages.append(
            f"vacuum: the {image.vacuum.sum()} pixels given rise again behind the peak or have a "
            "hump there, as spectra of a specimen do; what they lose is taken for zero-loss peak. "
            "Is the map inverted? True is vacuum."
        )
    if image.vacuum_note and "E_I" not in limits:
        messages.append(image.vacuum_note)
    return tuple(messages)


def in_counts_of(reference, image):
    """Bring a separate measurement to the scale of the counts of an image.

    Counts may have been divided by a mean or a maximum, or summed over many exposures: what an
    electron counts in them is told by their noise.

    Parameters
    ----------
    reference, image : Image

    Returns
    -------
    Image
        The reference, its electrons counted as in the image; as it is where that is nearly so.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.describe import describe_image, in_counts_of
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> energy = 0.05 * np.arange(-100, 200)
    >>> peak = 1e5 * np.exp(-4 * np.log(2) * (np.tile(energy, (9, 1)) / 0.5) ** 2) + 100
    >>> counts = np.random.default_rng(0).poisson(peak).astype(float)
    >>> def image(counts):
    ...     return describe_image(peak_parameters(counts, energy), energy, np.arange(9), counts)
    >>> scaled = in_counts_of(image(counts / 1e5), image(counts))
    >>> bool(0.8 < scaled.sample_counts.max() / 1e5 < 1.2)
    True
    """
    own, noise = reference.detector.noise, image.detector.noise
    ratio = noise.gain / own.gain if own.gain > 0 and noise.gain > 0 else 0.0
    if _SAME_COUNTS.low < ratio < _SAME_COUNTS.high:
        return reference
    if not ratio:
        # Noise that electrons did not make says nothing of them.
        ratio = float(np.nanmedian(image.parameters.intensity[image.teaches]))
        ratio /= float(np.nanmedian(reference.parameters.intensity[reference.teaches]))
    scaled = {
        name: ratio * getattr(reference.parameters, name)
        for name in ("intensity", "total", "scattered")
    }
    return replace(
        reference,
        parameters=replace(reference.parameters, **scaled),
        sample_counts=ratio * reference.sample_counts,
        spiked_counts=ratio * reference.spiked_counts,
        detector=image.detector.without_level(),
    )


def describe_vacuum(vacuum, step):
    """Describe a separate measurement of vacuum as an image.

    Parameters
    ----------
    vacuum : Spectra
    step : float
        Dispersion of the data that it is for, eV per channel.

    Returns
    -------
    Image
        All its usable spectra are vacuum.

    Raises
    ------
    NoZeroLossPeakError
        If no spectrum has a usable peak.
    ValueError
        If the dispersion is another.

    Warns
    -----
    UserWarning
        If the spectra rise again behind the peak, or have a hump there.
    """
    if abs(vacuum.step / step - 1) > _SAME_DISPERSION:
        raise ValueError(
            f"vacuum: expected the dispersion of the spectra, {step:.6g} eV per channel, "
            f"got {vacuum.step:.6g}; measure or interpolate the vacuum at the same dispersion."
        )
    index = np.arange(vacuum.n_spectra)[:LARGEST_SAMPLE]

    def described(measured):
        """Describe spectra all of which are vacuum."""
        parameters, energy = measured.parameters, measured.spectra.energy
        try:
            return describe_image(
                parameters, energy, index, measured.counts, vacuum=parameters.usable
            )
        except ValueError as error:
            raise type(error)(f"vacuum: {error}") from error

    measured, image = measure_and_describe(vacuum, index, described)
    doubts = (*measurement_messages(image), *second_peak_messages(image))
    messages = (*measured.channels.describe(vacuum.energy), *doubts)
    warn_of_all((*messages, unusable_message(image.parameters)), "vacuum: ")
    if not is_pure(image):
        warn_user(
            "vacuum: the spectra given rise again behind the peak or have a hump there, as spectra "
            "of a specimen do; what they lose is taken for zero-loss peak."
        )
    return image
