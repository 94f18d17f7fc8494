# SPDX-License-Identifier: GPL-3.0-or-later
"""Vacuum: the pixels of an image that see no specimen, where the image itself shows it.

In vacuum hardly any electron lies far behind the peak, the fraction is the same in all pixels, and
the counts never rise again, nor is there a hump. All of that is true of many a film too: what shows
that pixels are vacuum is that others of the same image scatter clearly more. Where all pixels are
alike, nothing does.

Where the axis ends within some FWHM, or below the losses that electrons make, a specimen scatters hardly more
there than the tail of the peak is high. There vacuum pixels are also the brightest: many of one :math:`N_0`, with
few below it, and pixels that are darker scatter more on average.

Of few electrons few are scattered, and noise hides them: behind a holder, at the edge of an aperture, or where the
specimen is very thick. Pixels that are far darker than others are vacuum only where their own counts show that
hardly any electron was scattered.
"""

import numpy as np

from hyperspy_zlpml.image.falling import never_rises
from hyperspy_zlpml.image.peaks import SCATTERED_FROM
from hyperspy_zlpml.statistics import MAD_TO_SIGMA

#: At most this fraction of a vacuum pixel's electrons lies beyond 8 FWHM.
_LARGEST_FRACTION = 0.02
#: Vacuum pixels agree on that fraction to this fraction of it, beside their noise.
_TOLERANCE = 0.5
#: Pixels that scatter clearly more differ by this many times the tolerance, beside their noise.
_CLEARLY = 2.0
#: Deviations up to this many standard errors are noise.
_SIGMAS = 4.0
#: Pixels of less than this part of the intensity of the brightest are dark: a beam fluctuates by less.
_DARK = 0.5
#: The brightest are those at this percentile: higher ones may hold what a detector adds.
_BRIGHTEST = 95
#: Losses nearer to the peak than this many FWHM tell nothing of vacuum.
_NEAREST = 2.0
#: Losses by electrons of a solid lie above this, but for some in small gaps, eV: an axis that ends below holds those
#: of phonons alone, which are few, while all others are missing from the peak.
_ELECTRONIC = 1.0
#: Vacuum pixels agree in ln N0 to this, where the axis ends early.
_SAME_BEAM = 0.05
#: They are this many times as many as the pixels that are a little darker.
_MANY = 2.0
#: The median of the darker pixels scatters more by at least this fraction.
_LEAST_EXCESS = 0.05
#: So many pixels that scatter clearly more are evidence, ...
_FEWEST_OTHERS = 3
#: ... or this fraction of the pixels of a small image.
_LEAST_SHARE = 0.1
#: Message where pixels look like vacuum and no other is there to compare them with.
ALIKE = (
    "{n} pixels could be vacuum or a thin film: no other pixels scatter clearly more, so nothing "
    "in the image tells. None is taken for vacuum, and what lies on their tails for losses where it "
    "stands out. If you know better, say so: vacuum=True where every pixel is vacuum, "
    "vacuum=False where none is, a map, vacuum spectra, or regions=dict(E_I=...)."
)

#: Message where pixels scatter least by far, but do not only fall behind the peak.
HUMP = (
    "the vacuum is in doubt: {n} pixels scatter clearly less than the others, but their mean rises again "
    "or has a hump behind the peak, as that of a thin film does, and a peak may. None is taken for vacuum, "
    "so the tail of the zero-loss peak is extrapolated, and the error bars may not hold. If these see no "
    "specimen, mark them in vacuum=; if they do, vacuum=False says so."
)


def find_vacuum(parameters, noise, energy, index, counts):
    """Find the vacuum pixels of an image, and tell what shows that they are.

    Parameters
    ----------
    parameters : PeakParameters
        Of all spectra, free of pedestal.
    noise : NoiseModel
    energy : ndarray of shape (n_energy,)
        eV.
    index : ndarray of int of shape (n_sample,)
        Usable spectra whose counts were read.
    counts : ndarray of shape (n_sample, n_energy)
        Free of pedestal and spikes.

    Returns
    -------
    candidates : ndarray of bool of shape (n_spectra,)
        Pixels that look like vacuum.
    doubt : str
        Why they may be none: ``ALIKE`` where no others of the image scatter clearly more, ``HUMP``
        where others do, but the mean of the candidates rises again or has a hump; empty where nothing
        speaks against them. Where both do, there are no candidates.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.noise import NoiseModel
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> from hyperspy_zlpml.image.vacuum import find_vacuum
    >>> energy = 0.05 * np.arange(-100, 600)
    >>> plasmon = np.array([[0.0], [0.0], [2e3]]) * np.exp(-(((energy - 20) / 5) ** 2))
    >>> counts = 1e5 * np.exp(-4 * np.log(2) * (energy / 0.5) ** 2) + plasmon
    >>> parameters, noise = peak_parameters(counts, energy), NoiseModel(1.0, 1.0)
    >>> find_vacuum(parameters, noise, energy, np.arange(3), counts)
    (array([ True,  True, False]), '')

    Without the third pixel nothing tells whether the first two are vacuum:

    >>> from hyperspy_zlpml.image.vacuum import ALIKE
    >>> find_vacuum(parameters.select(slice(2)), noise, energy, np.arange(2), counts[:2])[1] == ALIKE
    True
    """
    candidates = vacuum_candidates(parameters, noise, energy)
    known = {"parameters": parameters, "noise": noise, "energy": energy, "index": index}
    by_brightness = _ends_early(parameters, energy)
    falls, has_others = _evidence(candidates, counts, by_brightness=by_brightness, **known)
    if not has_others and _holds_phonons_alone(parameters, energy):
        # Who is brightest shows nothing: all that scatter least may be vacuum, and none is known to be.
        candidates = _least_scattered(parameters, noise, energy)
        falls, has_others = _evidence(candidates, counts, by_brightness=False, **known)
        has_others &= not falls
    if falls:
        return candidates, "" if has_others else ALIKE
    return (candidates, HUMP) if has_others else (np.zeros_like(candidates), ALIKE)


def _evidence(candidates, counts, *, parameters, noise, energy, index, by_brightness):
    """Tell whether the mean of the candidates only falls behind the peak, and whether others scatter clearly more."""
    seen, sampled = candidates[index], parameters.select(index)
    if not seen.any():
        return False, False
    falls = never_rises(
        counts=counts[seen],
        energy=energy,
        centre=sampled.centre[seen],
        fwhm=sampled.fwhm[seen],
        noise=noise,
    )
    if by_brightness:
        return falls, _darker_scatter_more(sampled, seen)
    return falls, _others_scatter_more(sampled, seen, energy, noise)


def vacuum_candidates(parameters, noise, energy):
    """Find pixels whose scattered fraction is the smallest of the image, and small.

    Parameters
    ----------
    parameters : PeakParameters
        Free of pedestal.
    noise : NoiseModel
    energy : ndarray of shape (n_energy,)
        eV.

    Returns
    -------
    ndarray of bool of the navigation shape

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.noise import NoiseModel
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> from hyperspy_zlpml.image.vacuum import vacuum_candidates
    >>> energy = 0.05 * np.arange(-100, 600)
    >>> plasmon = np.array([[0.0], [0.0], [2e3]]) * np.exp(-(((energy - 20) / 5) ** 2))
    >>> counts = 1e5 * np.exp(-4 * np.log(2) * (energy / 0.5) ** 2) + plasmon
    >>> vacuum_candidates(peak_parameters(counts, energy), NoiseModel(1.0, 1.0), energy)
    array([ True,  True, False])
    """
    chosen = _least_scattered(parameters, noise, energy)
    if _ends_early(parameters, energy) and chosen.any():
        return _of_one_beam(parameters, noise, energy, chosen)
    return chosen


def _least_scattered(parameters, noise, energy):
    """Find pixels that agree with the smallest scattered fraction of the image, where that is small."""
    fraction, sigma = _fractions(parameters, noise, energy)
    start = parameters.scattered_from(energy)
    largest = _LARGEST_FRACTION * SCATTERED_FROM / start
    dark = _are_dark(parameters)
    usable = parameters.usable & (start >= _NEAREST) & (fraction < largest + _SIGMAS * sigma)
    usable &= ~dark | _tell_alone(parameters, noise, sigma, largest)
    if not usable.any():
        return usable
    # Dark pixels tell least: they follow the others where there are any.
    telling = usable & ~dark if (usable & ~dark).any() else usable
    lowest = np.percentile(fraction[telling], 5)
    for _ in range(3):
        allowed = _tolerance(parameters, energy) * abs(lowest) + _SIGMAS * sigma
        chosen = usable & (np.abs(fraction - lowest) <= allowed)
        if not (chosen & telling).any():
            return chosen & telling
        lowest = np.median(fraction[chosen & telling])
    return chosen & (lowest < largest)


def _are_dark(parameters):
    """Tell which pixels are far darker than the brightest, whatever the beam fluctuates by."""
    usable = parameters.usable
    if not usable.any():
        return ~usable
    return parameters.intensity < _DARK * np.percentile(parameters.intensity[usable], _BRIGHTEST)


def _tell_alone(parameters, noise, sigma, largest):
    """Tell which pixels show by their own counts that hardly any electron was scattered."""
    # An electron more or less is noise, too, where none was scattered.
    sigma = np.hypot(sigma, noise.unit / parameters.intensity)
    return largest > _SIGMAS * sigma


def _ends_early(parameters, energy):
    """Tell whether the axis ends so early that scattered electrons lie on the tail of the peak, or beyond the axis."""
    start = np.median(parameters.scattered_from(energy)[parameters.usable])
    return start < SCATTERED_FROM or _holds_phonons_alone(parameters, energy)


def _holds_phonons_alone(parameters, energy):
    """Tell whether the axis ends below the losses that electrons make."""
    return energy[-1] - np.median(parameters.centre[parameters.usable]) < _ELECTRONIC


def _of_one_beam(parameters, noise, energy, chosen):
    """Choose the brightest pixels: none where they fade into darker ones, as on a wedge."""
    with np.errstate(invalid="ignore", divide="ignore"):
        brightness = np.log(np.where(parameters.usable, parameters.intensity, np.nan))
    n_channels = 2 * parameters.fwhm / (energy[1] - energy[0])
    sigma = np.sqrt(noise.variance(parameters.intensity, n_channels)) / parameters.intensity
    allowed = _SAME_BEAM + _SIGMAS * sigma
    level = np.percentile(brightness[chosen], 95)
    for _ in range(3):
        bright = chosen & (np.abs(brightness - level) <= allowed)
        if not bright.any():
            return bright
        level = np.median(brightness[bright])
    darker = (brightness < level - allowed) & (brightness > level - 3 * allowed)
    return bright & (bright.sum() >= _MANY * darker.sum())


def _darker_scatter_more(sampled, candidates):
    """Tell whether darker spectra, and those with clear losses, scatter more on the whole."""
    fraction = sampled.scattered / sampled.intensity
    level = np.median(sampled.intensity[candidates])
    clearly = fraction > np.median(fraction[candidates]) * (1 + _CLEARLY * _TOLERANCE)
    darker = sampled.intensity < level * np.exp(-2 * _SAME_BEAM)
    others = ~candidates & (darker | clearly)
    if others.sum() < min(_FEWEST_OTHERS, _LEAST_SHARE * candidates.size):
        return False
    (lowest, error), (median, uncertain) = (
        _median_and_error(fraction[which]) for which in (candidates, others)
    )
    return bool(median - lowest > max(_LEAST_EXCESS * lowest, _SIGMAS * np.hypot(error, uncertain)))


def _median_and_error(values):
    """Compute a median and its standard error from the spread of the values."""
    median = np.median(values)
    spread = MAD_TO_SIGMA * np.median(np.abs(values - median))
    return median, np.sqrt(np.pi / 2) * spread / np.sqrt(values.size)


def _fractions(parameters, noise, energy):
    """Compute the scattered fraction of every pixel and its standard error."""
    n_beyond = parameters.n_scattered(energy)
    sigma = np.sqrt(noise.variance(parameters.scattered, n_beyond)) / parameters.intensity
    return parameters.scattered / parameters.intensity, sigma


def _tolerance(parameters, energy):
    """Tell to what fraction of it scattered fractions agree: losses are fewer nearer to the peak."""
    return _TOLERANCE * parameters.scattered_from(energy) / SCATTERED_FROM


def _others_scatter_more(sampled, candidates, energy, noise):
    """Tell whether enough spectra scatter clearly more than the candidates."""
    fraction, sigma = _fractions(sampled, noise, energy)
    lowest = np.median(fraction[candidates])
    clearly = _CLEARLY * _tolerance(sampled, energy) * abs(lowest) + _SIGMAS * sigma
    n_others = (~candidates & (fraction - lowest > clearly)).sum()
    needed = min(_FEWEST_OTHERS, _LEAST_SHARE * candidates.size)
    return bool(n_others and n_others >= needed)
