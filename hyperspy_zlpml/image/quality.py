# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages on peaks of an image that cannot be trusted as they were measured."""

import numpy as np

from hyperspy_zlpml.image.peaks import STATUS_TEXT
from hyperspy_zlpml.image.spectra import FEWEST_CHANNELS
from hyperspy_zlpml.statistics import Range

#: Flat tops must be this many times as frequent as by chance to speak of a saturated detector.
_MORE_THAN_CHANCE = 10.0
#: Peaks of fewer counts than this are not looked at for a flat top.
_FEWEST_COUNTS = 50
#: Peaks narrower than this many channels (FWHM) do not show their shape.
_FEWEST_CHANNELS = 2
#: FWHM between which peaks of electron microscopes lie by a wide margin, eV.
_PLAUSIBLE_FWHM = Range(1e-3, 20.0)


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
    saturated = _flat_tops(image.sample_counts)
    # Few electrons, counted one by one, give three equal channels by chance once in 4 pi N.
    by_chance = (1 / (4 * np.pi * np.maximum(image.sample_counts.max(-1), 1))).sum()
    if saturated.sum() > _MORE_THAN_CHANCE * by_chance:
        messages.append(
            f"{saturated.sum()} of {saturated.size} spectra looked at have a peak that is cut off "
            "flat: the detector was saturated. Their ZLP is not to be trusted; shorten "
            "the exposure."
        )
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


def _flat_tops(counts):
    """Find spectra whose three highest neighbouring channels hold exactly the same counts."""
    channel = np.clip(counts.argmax(-1), 2, counts.shape[-1] - 3)
    around = channel[:, None] + np.arange(-2, 3)
    top = np.take_along_axis(counts, around, -1)
    equal = np.isclose(top, counts.max(-1, keepdims=True), rtol=1e-9, atol=0)
    runs = equal[:, :-2] & equal[:, 1:-1] & equal[:, 2:]
    return runs.any(-1) & (counts.max(-1) > _FEWEST_COUNTS)
