# SPDX-License-Identifier: GPL-3.0-or-later
"""An image as a whole: which spectra are usable, which are vacuum, which belong together.

Between the first pass over the data (peak parameters of all spectra, counts of a sample) and the
second (subtraction) all decisions are taken here, on arrays flattened over navigation.
"""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.image.detector import Detector, describe_detector
from hyperspy_zlpml.image.peaks import NO_PEAK, STATUS_TEXT, PeakParameters
from hyperspy_zlpml.image.vacuum import never_rises, vacuum_candidates

#: Peaks narrower than this many channels have no shape at all.
_NARROWEST_PEAK = 1.0
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


def describe_image(parameters, energy, index, counts, noise=None, vacuum=None):
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
