# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages on peaks of an image that cannot be trusted as they were measured."""

from functools import partial

import numpy as np
from scipy.ndimage import uniform_filter1d

from hyperspy_zlpml.compute.blocks import together
from hyperspy_zlpml.image.noise import looked_at
from hyperspy_zlpml.image.padding import FEWEST_CHANNELS
from hyperspy_zlpml.image.peaks import STATUS_TEXT, peak_parameters
from hyperspy_zlpml.image.pedestal import DOES_NOT_GROW
from hyperspy_zlpml.image.saturation import saturated_peaks
from hyperspy_zlpml.statistics import MAD_TO_SIGMA, Range

#: Said by messages on what is wrong with the results and not part of what their errors hold.
NOT_IN_BAND = "not in the error bars"
#: Peaks narrower than this many channels (FWHM) do not show their shape.
_FEWEST_CHANNELS = 2
#: FWHM between which peaks of electron microscopes lie by a wide margin, eV.
_PLAUSIBLE_FWHM = Range(1e-3, 20.0)
#: Bits of integers that counts may have overflowed in.
_INTEGERS = (8, 16, 32)
#: Counts that overflowed reach this fraction of the range.
_FULL = 0.9
#: Channels from the highest within which they are looked for.
_NEIGHBOURHOOD = 64
#: An axis that begins, or a peak that lies, above so many eV, ...
_FAR_FROM_ZERO = 100.0
#: ... and above so many FWHM, does not hold the zero-loss peak.
_FAR_IN_FWHM = 10.0
#: Peaks this many FWHM from zero are doubtful where another one ...
_AWAY_FROM_ZERO = 3.0
#: ... is nearer to it than this part of the way, ...
_NEAR_ZERO = 0.6
#: ... in so many channels at least.
_FEWEST_NEAR_ZERO = 16
#: Parts of the axis, each of which may hold a negative level.
_PARTS = 32
#: Levels before the peak differ that scatter by this many times their noise, ...
_DIFFERENT_LEVELS = 2.0
#: ... in so many spectra at least.
_FEWEST_LEVELS = 20
#: They are looked at farther from the peak than this many FWHM, ...
_LEVEL_FROM = 10.0
#: ... in so many channels at least.
_LEVEL_CHANNELS = 16
#: A level is negative by this many standard errors, ...
_NEGATIVE = 8.0
#: ... by this part of the peak to be told of, ...
_LEAST_NEGATIVE = 1e-5
#: ... and by this to be refused.
_MOST_NEGATIVE = 5e-3
#: Values are cut off where the lowest of all are between these fractions of a channel's, ...
_CUT_OFF = Range(0.3, 0.95)
#: ... in so many channels at least, none but this fraction of all being lower, ...
_FEWEST_CUT = 8
_BELOW_CUT = 0.01
#: ... and where others lie between it and this part of the root mean square above it, ...
_CLOSE = 0.45
#: ... in so many of those channels of their spectrum to either side, where as many are the lowest, ...
_CUT_OVER = 8
#: ... as many as this fraction: none of rare electrons do, whole ones apart, and a third of cut noise.
_MOST_CLOSE = 0.1
#: Counts of whose noise less than this is of single channels were interpolated: no electron is whole.
_LEAST_OWN = 0.9

#: Counts that are squared and divided in single precision stay in floating point between these.
_SCALE = Range(1e-18, 1e18)
#: A vacuum whose peaks are wider or narrower by this factor is of other settings.
_OTHER_WIDTH = 1.3


class NoZeroLossPeakError(ValueError):
    """No spectrum has a usable zero-loss peak."""


def check_zero(energy, parameters):
    """Raise NoZeroLossPeakError where the axis begins far above zero, as those of core losses do.

    Parameters
    ----------
    energy : ndarray of shape (n_energy,)
        eV.
    parameters : PeakParameters

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> from hyperspy_zlpml.image.quality import check_zero
    >>> energy = 350 + 0.25 * np.arange(400)
    >>> white_line = 1e4 * np.exp(-(((energy[None] - 400) / 2) ** 2))
    >>> check_zero(energy, peak_parameters(white_line, energy))
    Traceback (most recent call last):
    hyperspy_zlpml.image.quality.NoZeroLossPeakError: no zero-loss peak found: ...
    """
    fwhm = parameters.fwhm[parameters.usable]
    typical = float(np.median(fwhm)) if fwhm.size else 0.0
    if energy[0] > max(_FAR_FROM_ZERO, _FAR_IN_FWHM * typical):
        raise NoZeroLossPeakError(
            f"no zero-loss peak found: the energy axis runs from {energy[0]:.4g} to "
            f"{energy[-1]:.4g} eV and does not hold zero, as that of core losses; give low-loss "
            "spectra, or calibrate the axis if its offset is wrong."
        )


def check_scale(counts):
    """Raise ValueError where counts are so large or so small that arithmetic loses them.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        As measured.

    Raises
    ------
    ValueError
        If the median spectrum is.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.quality import check_scale
    >>> check_scale(np.full((2, 100), 1e-12))
    >>> check_scale(np.full((2, 100), 1e200))
    Traceback (most recent call last):
    ValueError: counts: expected spectra whose highest counts lie between 1e-18 and 1e+18, got \
    1e+200; scale them, nothing else depends on it.
    """
    highest = np.maximum(counts.max(-1), -counts.min(-1).astype(float))
    highest = highest[np.isfinite(highest)]
    typical = np.median(highest[highest > 0]) if (highest > 0).any() else 1.0
    if not _SCALE.low < typical < _SCALE.high:
        raise ValueError(
            f"counts: expected spectra whose highest counts lie between {_SCALE.low:g} and "
            f"{_SCALE.high:g}, got {typical:.3g}; scale them, nothing else depends on it."
        )


def check_baseline(counts, energy, noise):
    """Raise ValueError where counts are negative on average.

    A dark reference that was too bright, or a mean that was subtracted, leaves the tail of the peak
    without its level: nothing tells what part of it is missing.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Of usable peaks, free of pedestal.
    energy : ndarray of shape (n_energy,)
        eV.
    noise : NoiseModel

    Raises
    ------
    ValueError
        If they are, by a visible part of the peak.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.noise import NoiseModel
    >>> from hyperspy_zlpml.image.quality import check_baseline
    >>> energy = 0.05 * np.arange(-40, 200)
    >>> counts = 1e5 * np.exp(-4 * np.log(2) * (energy[None] / 0.5) ** 2) - 5e3
    >>> check_baseline(counts, energy, NoiseModel(gain=1.0, readout=0.0))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: counts: -5e+03 per channel on average near 2.05 eV, -5.3 % of the peak: ...
    """
    part, message = _below_zero(counts, energy, noise)
    if part < -_MOST_NEGATIVE:
        raise ValueError(
            f"{message} Add it back, or record from ten FWHM before the peak on, where the level shows."
        )


def _below_zero(counts, energy, noise):
    """Find how far counts are negative on average: as part of the peak, and in words.

    Returns
    -------
    float and str
        0 and nothing where they are not.
    """
    counts = counts[looked_at(len(counts))]
    n_together = max(energy.size // _PARTS, 1)
    mean = np.median(counts, axis=0)
    smooth = uniform_filter1d(mean, n_together, mode="nearest")
    lowest = int(smooth.argmin())
    around = mean[max(lowest - n_together, 0) : lowest + n_together + 2]
    scatter = MAD_TO_SIGMA * np.median(np.abs(np.diff(around))) / np.sqrt(2)
    single = np.sqrt(noise.variance(0.0, 1) / len(counts))
    error = max(scatter, single) / np.sqrt(n_together)
    part = smooth[lowest] / mean.max()
    if smooth[lowest] > -_NEGATIVE * error or part > -_LEAST_NEGATIVE:
        return 0.0, ""
    return part, (
        f"counts: {smooth[lowest]:.3g} per channel on average near {energy[lowest]:.3g} eV, "
        f"{100 * part:.2g} % of the peak: what was subtracted from them was too much."
    )


def measurement_messages(image):
    """Describe what is wrong with peaks that cannot be trusted as they are.

    Parameters
    ----------
    image : Image

    Returns
    -------
    list of str
        Empty where nothing is wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.describe import describe_image
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> from hyperspy_zlpml.image.quality import measurement_messages
    >>> energy = 0.05 * np.arange(-100, 200)
    >>> peaks = 1e5 * np.exp(-4 * np.log(2) * (np.tile(energy, (9, 1)) / 0.5) ** 2)
    >>> cut = np.minimum(peaks, 6e4)
    >>> image = describe_image(peak_parameters(cut, energy), energy, np.arange(9), cut)
    >>> measurement_messages(image)[0][:70]
    '9 of 9 spectra looked at have a peak that is cut off flat: the detecto'
    """
    messages = []
    sampled = image.parameters.select(image.sample_index)
    unit = image.detector.noise.unit
    (saturated, flat), (part, words), *of_counts = together(
        partial(saturated_peaks, image.sample_counts, sampled, image.energy, unit=unit),
        partial(_below_zero, image.sample_counts, image.energy, image.detector.noise),
        partial(_differing_levels, image),
        partial(_cut_off, image),
    )
    if saturated.any():
        messages.append(
            f"{saturated.sum()} of {saturated.size} spectra looked at have a peak that is cut off "
            "flat: the detector was saturated. Their ZLP is not to be trusted; shorten "
            "the exposure."
        )
    if flat.any():
        messages.append(
            f"{flat.sum()} of {flat.size} spectra looked at have a peak that is flatter at its top "
            "than electron sources make it: the detector was saturated, or did not count all. "
            "Their ZLP is not to be trusted; shorten the exposure."
        )
    if part:
        pedestal = image.detector.pedestal
        own = (
            f" Here a pedestal of {pedestal:.4g}, found before the peak, was subtracted."
            if pedestal
            else ""
        )
        messages.append(
            f"{words}{own} The tail of the ZLP is too low by as much, which is {NOT_IN_BAND}."
        )
    centre = float(np.median(sampled.centre))
    others = (_added_back(image.detector), _far_from_zero(image, centre), *of_counts)
    messages += [told for told in others if told]
    width = image.fwhm / (image.energy[1] - image.energy[0])
    if width < _FEWEST_CHANNELS:
        messages.append(
            f"the peaks are {width:.1f} channels wide: fewer than {_FEWEST_CHANNELS} channels cannot "
            "tell their shape; expect systematic residuals in the core and use a finer dispersion."
        )
    if not _PLAUSIBLE_FWHM.low < image.fwhm < _PLAUSIBLE_FWHM.high:
        messages.append(
            f"the peaks are {image.fwhm:.3g} eV wide, which no electron microscope makes them: "
            "is the energy axis in eV?"
        )
    return messages


def _far_from_zero(image, centre):
    """Say that the peaks are not at the zero of the axis where that makes them doubtful; empty where they are not."""
    energy = image.energy
    where = f"the energy axis, from {energy[0]:.4g} to {energy[-1]:.4g} eV,"
    taken = f"the first peak on it, at {centre:.4g} eV, was taken for the zero-loss peak."
    holds_zero = energy[0] <= 0 < energy[-1]
    if not holds_zero or abs(centre) > _FAR_FROM_ZERO:
        holds = "holds no peak near zero" if holds_zero else "does not hold zero"
        return (
            f"{where} {holds}: {taken} If it is, calibrate the offset of the axis; if it is a loss, no number "
            "of the result means anything."
        )
    near = np.abs(energy) < _NEAR_ZERO * abs(centre)
    if abs(centre) < _AWAY_FROM_ZERO * image.fwhm or near.sum() < _FEWEST_NEAR_ZERO:
        return ""
    typical = np.median(image.sample_counts[looked_at(len(image.sample_counts))], axis=0)
    other = peak_parameters(typical[None, near], energy[near])
    if not other.usable[0]:
        return ""
    step = energy[1] - energy[0]
    at = step * np.round(other.centre[0] / step) + 0.0
    # A float, for integers are channels.
    middle = float(f"{(centre + at) / 2:.3g}")
    crop = f"s.isig[:{middle}]" if centre > 0 else f"s.isig[{middle}:]"
    return (
        f"{where} holds another peak nearer to its zero, at {at:.3g} eV: the first with a tenth of the "
        f"height of the highest, at {centre:.4g} eV, was taken for the zero-loss peak. If it is the other, no number of "
        f"the result means anything: crop the axis between them, {crop} in eV."
    )


def _added_back(detector):
    """Say that a level below zero was found by the heights of peaks; empty where none was."""
    if detector.pedestal >= 0 or DOES_NOT_GROW not in detector.pedestal_note:
        return ""
    return (
        f"counts: {detector.pedestal:.3g} per channel do not grow with the peak: what was subtracted from them was too much, and is "
        f"added back. If it was not the same in all spectra the ZLP is wrong, which is {NOT_IN_BAND}: use the counts as they were before."
    )


def _differing_levels(image):
    """Say that the level before the peak differs from spectrum to spectrum; empty where it does not.

    Tails of the peak that lie there grow with it: what follows the intensity is no level.
    """
    sampled = image.parameters.select(image.sample_index)
    until = sampled.centre.min() - _LEVEL_FROM * np.median(sampled.fwhm)
    n_channels = int((image.energy < until).sum())
    is_seen = image.detector.pedestal and n_channels >= _LEVEL_CHANNELS
    if not is_seen or sampled.centre.size < _FEWEST_LEVELS:
        return ""
    scatter, allowed = _scatter_of_levels(
        image.sample_counts[:, :n_channels], sampled.intensity, image.detector.noise
    )
    if scatter < _DIFFERENT_LEVELS * allowed:
        return ""
    return (
        f"counts: the level before the peak differs from spectrum to spectrum by {scatter:.3g} per channel, where "
        f"noise allows {allowed:.2g}. One level is taken from all, and what differs is in the losses and "
        f"{NOT_IN_BAND}: subtract the level of each spectrum before, by its channels before the peak."
    )


def _cut_off(image):
    """Say that counts below a level were set to it, as those below zero of a dark-subtracted image often are."""
    if image.detector.noise.correlation[0] < _LEAST_OWN:
        return ""
    counts = image.sample_counts
    # Where channels or spikes were bridged a few may be lower.
    floors, n_channels = np.unique(counts.min(0), return_counts=True)
    lowest = floors[n_channels.argmax()]
    if (counts < lowest).mean() > _BELOW_CUT:
        return ""
    share = (counts == lowest).mean(0)
    cut = (share > _CUT_OFF.low) & (share < _CUT_OFF.high)
    if cut.sum() < _FEWEST_CUT:
        return ""
    if _part_close(np.maximum(counts[:, cut] - lowest, 0)) < _MOST_CLOSE:
        return ""
    return (
        f"counts: {100 * share[cut].mean():.0f} % of the values in {cut.sum()} channels equal the lowest of all, "
        f"{lowest + image.detector.pedestal:.3g}, and others come as close to it as noise does: lower ones were set to "
        f"it. What is left is too high where little is counted, which is {NOT_IN_BAND}: use the counts as they were before."
    )


def _part_close(above):
    """Tell which part of the values above the lowest lie close to it, beside what their spectrum holds about them.

    Spectra and ranges of losses differ in how much they count: rare electrons of some are no low values of others.
    """
    is_lowest, sides = (above == 0).astype(float), ((_CUT_OVER - 1) // 2, -(_CUT_OVER // 2))
    before, after = (uniform_filter1d(is_lowest, _CUT_OVER, origin=side) for side in sides)
    among = above > 0
    for share in (before, after):
        among &= (share > _CUT_OFF.low) & (share < _CUT_OFF.high)
    if not among.any():
        return 0.0
    total = sum(uniform_filter1d(above**2, _CUT_OVER, origin=side)[among] for side in sides)
    typical = np.sqrt(total / (2 - before[among] - after[among]))
    return (above[among] < _CLOSE * typical).mean()


def _scatter_of_levels(counts, intensity, noise):
    """Measure by how much the means of spectra scatter beside what follows the intensity, and may by noise."""
    level, n_channels = counts.mean(-1), counts.shape[1]
    line = np.polynomial.Polynomial.fit(intensity, level, 1)
    claimed = np.sqrt(noise.variance(n_channels * np.median(level), n_channels)) / n_channels
    # Means of every other channel have twice the variance each.
    halves = counts[:, ::2].mean(-1) - counts[:, 1::2].mean(-1)
    return _robust_scatter(level - line(intensity)), max(claimed, _robust_scatter(halves) / 2)


def _robust_scatter(values):
    return MAD_TO_SIGMA * np.median(np.abs(values))


def width_messages(reference, image):
    """Say where a separate vacuum has peaks of another width than the spectra it is for.

    Parameters
    ----------
    reference : Image or None
    image : Image

    Returns
    -------
    tuple of str
        Empty where the widths agree.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from hyperspy_zlpml.image.quality import width_messages
    >>> width_messages(SimpleNamespace(fwhm=0.17), SimpleNamespace(fwhm=0.10))[0][:61]
    'vacuum: its peaks are 1.7 times as wide as those of the spect'
    """
    ratio = 1.0 if reference is None else reference.fwhm / image.fwhm
    if 1 / _OTHER_WIDTH < ratio < _OTHER_WIDTH:
        return ()
    return (
        f"vacuum: its peaks are {ratio:.2g} times as wide as those of the spectra, as at other settings "
        "of the microscope: that their tails are alike is a guess. Record it as the spectra were.",
    )


def edges_message(counts):
    """Say which channels to crop where counts at the edges are NaN, as after a shift.

    Parameters
    ----------
    counts : ndarray of shape (n, n_energy)

    Returns
    -------
    str or None
        None where no edges are NaN, or cropping would not help.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.quality import edges_message
    >>> counts = np.ones((2, 100))
    >>> counts[0, :3] = counts[1, 98:] = np.nan
    >>> edges_message(counts)[:59]
    'counts are NaN at the edges of the axis in 2 of 2 spectra l'
    """
    finite = np.isfinite(counts)
    if finite.all():
        return None
    first, n_right = finite.argmax(-1), finite[:, ::-1].argmax(-1)
    whole = finite.sum(-1) == counts.shape[-1] - first - n_right  # nothing else is missing
    cut = finite.any(-1) & whole & (first + n_right > 0)
    if not cut.any():
        return None
    start, stop = int(first[cut].max()), counts.shape[-1] - int(n_right[cut].max())
    if stop - start < FEWEST_CHANNELS:
        return None
    return (
        f"counts are NaN at the edges of the axis in {cut.sum()} of {cut.size} spectra looked at, "
        f"as after a shift; keep channels {start} to {stop - 1} with s.isig[{start}:{stop}]."
    )


def unusable_message(parameters):
    """Count the spectra left out in one sentence.

    Parameters
    ----------
    parameters : PeakParameters

    Returns
    -------
    str or None
        None where all are usable.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> from hyperspy_zlpml.image.quality import unusable_message
    >>> energy = 0.05 * np.arange(-100, 200)
    >>> counts = 1e5 * np.exp(-4 * np.log(2) * (np.tile(energy, (3, 1)) / 0.5) ** 2)
    >>> counts[1, 7] = np.nan
    >>> unusable_message(peak_parameters(counts, energy))[:32]
    '1 of 3 spectra are left out and '
    """
    counts = {text: int((parameters.status == code).sum()) for code, text in STATUS_TEXT.items()}
    counts = {text: count for text, count in counts.items() if count}
    if not counts:
        return None
    listed = ", ".join(f"{count} {text}" for text, count in counts.items())
    return (
        f"{sum(counts.values())} of {parameters.status.size} spectra are left out "
        f"and NaN in every result: {listed}."
    )


def overflowed(counts, channel):
    """Find spectra that fall and rise by half of the range of an integer within their peak.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        As measured.
    channel : ndarray of int of shape (n_spectra,)
        Highest channel of each.

    Returns
    -------
    ndarray of bool of shape (n_spectra,)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.quality import overflowed
    >>> peak = np.round(9e4 * np.exp(-(((np.arange(200) - 100) / 10) ** 2)))[None]
    >>> overflowed(peak, np.array([100])), overflowed(peak % 2**16, np.array([94]))
    (array([False]), array([ True]))
    """
    highest, lowest = float(counts.max(initial=0)), float(counts.min(initial=0))
    found = np.zeros(len(counts), bool)
    for bits in _INTEGERS:
        whole = 2.0**bits
        signed = lowest < -whole / 4 and highest < whole / 2
        if not (_FULL * whole <= highest < whole or (signed and highest > _FULL * whole / 2)):
            continue
        around = channel[:, None] + np.arange(-_NEIGHBOURHOOD, _NEIGHBOURHOOD + 1)
        near = np.take_along_axis(counts, np.clip(around, 0, counts.shape[1] - 1), -1)
        difference = np.diff(np.asarray(near, float), axis=-1)
        falls, rises = difference < -whole / 2, difference > whole / 2
        last = difference.shape[1] - 1 - rises[:, ::-1].argmax(-1)
        found |= falls.any(-1) & rises.any(-1) & (falls.argmax(-1) < last)
    return found
