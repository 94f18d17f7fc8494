# SPDX-License-Identifier: GPL-3.0-or-later
"""Applicability of an ensemble to an image: whether the peak is the same, and how far it lies off.

Distances are counted so that 1 doubles the band: a wider or narrower peak, another dose, other
settings of the microscope, thicknesses never trained on. Beyond the windows of pure ZLP the tail
becomes uncertain in proportion, too. A peak of another shape altogether is refused.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.image.samples import VACUUM
from hyperspy_zlpml.removal.distance import log_intensity_distance
from hyperspy_zlpml.statistics import Range

#: ln(FWHM) may differ from the mean of those seen by this, ...
_WIDTH_ALLOWED = 0.1
#: ... or by this many standard deviations of those seen, ...
_WIDTH_SIGMAS = 3.0
#: ... and doubles the band this much further.
_WIDTH_UNIT = 0.2
#: ln(dose) may differ from that of the ensemble by this ...
_DOSE_ALLOWED = np.log(10.0)
#: ... and doubles the band this much further.
_DOSE_UNIT = 0.5 * np.log(10.0)
#: Logarithms of settings of the microscope may differ by this ...
_SETTING_ALLOWED = 0.02
#: ... and double the band this much further.
_SETTING_UNIT = 0.1
#: Fraction of the spectra outside the thicknesses trained on above which a message says so.
_WORTH_A_MESSAGE = 0.1
#: Energies measured may end this much before those to be predicted, relatively.
_RANGE_ALLOWED = 1.25
#: Flanks on which shapes are compared, in FWHM: of vacuum ...
_FLANKS_OF_VACUUM = Range(-6.0, 6.0)
#: ... and of spectra that may hold losses.
_FLANKS = Range(-4.0, 1.5)
#: Flanks begin this far from the peak, in FWHM.
_FLANK_FROM = 0.6
#: Widths of one instrument agree to this factor.
_SAME_WIDTH = 2.5
#: Energies are compared at which the standard error of the mean ratio is below this.
_LARGEST_ERROR = 0.15
#: Ratios below this count as this.
_LEAST_RATIO = 0.05
#: Shapes of one instrument agree to this in ln(flank) (rms), ...
_SAME_SHAPE = 0.15
#: ... and this many standard deviations of what was seen, ...
_SAME_SIGMAS = 4.0
#: ... of which an ensemble of few spectra knows little: at most this much, in ln(flank).
_SEEN_AT_MOST = 0.15
#: Shapes that are not refused count as distance: ln(flank) may differ by this ...
_SHAPE_ALLOWED = 0.02
#: ... and by this many standard deviations of what was seen, ...
_SHAPE_SIGMAS = 2.0
#: ... and doubles the band this much further.
_SHAPE_UNIT = 0.03
#: Without vacuum the total counts stand for the beam: the axis must hold losses up to this, eV.
_LOSSES_END = 40.0


class OtherZeroLossPeakError(ValueError):
    """Error for peaks of another shape than those that an ensemble was trained on."""


class ShapeDifference(NamedTuple):
    """Difference of a shape from what an ensemble has seen, in ln of the flanks (rms).

    Attributes
    ----------
    off : float
        Difference beyond the noise; NaN where no flank stands out of it.
    seen : float
        Standard deviation of what was seen.
    """

    off: float
    seen: float


@dataclass(frozen=True)
class Applicability:
    """Applicability of an ensemble to an image.

    Attributes
    ----------
    distance : float
        Distance of the image as a whole; thickness is looked at spectrum by spectrum.
    messages : tuple of str
        What is outside, in words.
    asks_for_training : bool
        Whether the image deserves an ensemble of its own.

    Examples
    --------
    >>> from hyperspy_zlpml.removal.applicability import Applicability
    >>> Applicability(0.5, ("the dose is 30 times as high",), True).message
    'the ensemble was trained on other data: the dose is 30 times as high; its band is 1.5 times \
as wide for it. Better train on this image.'
    >>> Applicability(0.0, (), False).message is None
    True
    """

    distance: float
    messages: tuple[str, ...]
    asks_for_training: bool

    @property
    def message(self):
        """Sentence for the user, or None if all is as it was trained."""
        if not self.messages:
            return None
        text = f"the ensemble was trained on other data: {'; '.join(self.messages)}"
        if self.distance:
            text += f"; its band is {1 + self.distance:.2g} times as wide for it"
        advice = " Better train on this image." if self.asks_for_training else ""
        return f"{text}.{advice}"


@dataclass(frozen=True)
class ImageSummary:
    """Properties of an image that are compared with those an ensemble has seen.

    Attributes
    ----------
    log_intensity : ndarray of shape (n_spectra,)
        ln N0 at the dose of the ensemble.
    log_fwhm : float
        Median of ln(FWHM / eV).
    log_dose : float
        Logarithm of the dose over that of the ensemble.
    u_range : Range
        Reduced energies of the axis.
    difference : ShapeDifference
        Difference of the shape of its peaks.
    has_vacuum : bool
        Whether vacuum in view tells the dose; else the total counts do.
    end : float
        Last energy of the axis, eV from the peak.
    microscope : dict of str to float
        Settings that are known.
    """

    log_intensity: np.ndarray
    log_fwhm: float
    log_dose: float
    u_range: Range
    difference: ShapeDifference
    has_vacuum: bool
    end: float
    microscope: dict[str, float]


def compare(ensemble, summary):
    """Compare an image with what an ensemble has seen.

    Parameters
    ----------
    ensemble : Ensemble
    summary : ImageSummary

    Returns
    -------
    Applicability
    """
    seen = ensemble.seen
    microscope = ensemble.origin.microscope
    known = sorted(set(summary.microscope) & set(microscope))
    of_intensity = _compare_intensity(seen, summary.log_intensity)
    found = [
        of_intensity,
        _compare_width(seen.log_fwhm, summary.log_fwhm),
        _compare_dose(summary.log_dose),
        _compare_beam(summary),
        _compare_shape(summary.difference),
        *(_compare_setting(name, summary.microscope[name], microscope[name]) for name in known),
        _compare_conditions(ensemble),
        _compare_reach("before", abs(summary.u_range.low), abs(seen.u_range.low)),
        _compare_reach("behind", summary.u_range.high, seen.u_range.high),
    ]
    distance = float(np.linalg.norm([one.distance for one in found]))
    return Applicability(
        distance=distance,
        messages=tuple(one.message for one in found if one.message),
        asks_for_training=distance > 0 or bool(of_intensity.message),
    )


class _Difference(NamedTuple):
    """One difference of an image: its distance, and its message."""

    distance: float = 0.0
    message: str = ""


def _difference(beyond, unit, message):
    """Make distance and message where something is beyond what is allowed."""
    return _Difference(beyond / unit, message) if beyond else _Difference()


def _compare_intensity(seen, log_intensity):
    low, high = seen.log_intensity_range
    outside = np.mean(log_intensity_distance(log_intensity, low, high) > 0)
    if outside <= _WORTH_A_MESSAGE:
        return _Difference()
    thin = seen.log_beam - high
    thick = seen.log_beam - low
    # Counted spectrum by spectrum: nothing for the image as a whole.
    return _Difference(
        message=f"t/lambda of {outside:.0%} of the spectra is outside {thin:.2f} to {thick:.2f} "
        "(by ln N0)"
    )


def _compare_width(seen, log_fwhm):
    beyond = _beyond(log_fwhm - seen.mean, max(_WIDTH_ALLOWED, _WIDTH_SIGMAS * seen.sigma))
    times = np.exp(log_fwhm - seen.mean)
    fwhm = np.exp(log_fwhm)
    message = f"the peaks are {times:.2f} times as wide (FWHM {fwhm:.3g} eV)"
    return _difference(beyond, _WIDTH_UNIT, message)


def _compare_dose(log_dose):
    message = f"the dose is {np.exp(log_dose):.3g} times as high"
    return _difference(_beyond(log_dose, _DOSE_ALLOWED), _DOSE_UNIT, message)


def _compare_beam(summary):
    if summary.has_vacuum or summary.end >= _LOSSES_END:
        return _Difference()
    return _Difference(
        1.0,
        f"no vacuum is in view and the axis ends at {summary.end:.3g} eV, before the losses do, so "
        "that neither dose nor thickness is known",
    )


def _compare_shape(difference):
    off, seen = difference
    if np.isnan(off):
        return _Difference(message="the flanks are too faint for a look at their shape")
    beyond = max(off - _SHAPE_ALLOWED - _SHAPE_SIGMAS * seen, 0.0)
    message = f"the flanks differ by a factor of {np.exp(off):.2f} (rms)"
    return _difference(beyond, _SHAPE_UNIT, message)


def _compare_setting(name, here, there):
    off = np.log(here / there) if min(here, there) > 0 else float(here != there)
    message = f"{name.replace('_', ' ')} is {here:g} and was {there:g}"
    return _difference(_beyond(off, _SETTING_ALLOWED), _SETTING_UNIT, message)


def _compare_conditions(ensemble):
    if not ensemble.setting or not ensemble.conditions.outside(ensemble.setting):
        return _Difference()
    values = zip(ensemble.conditions.names, ensemble.setting, strict=True)
    listed = ", ".join(f"{name} {value:.4g}" for name, value in values).replace("_", " ")
    # The replicas are spread for it already.
    return _Difference(message=f"the setting ({listed}) lies outside those trained at")


def _compare_reach(side, here, there):
    # Beyond what was trained on the table itself opens.
    if here <= _RANGE_ALLOWED * there:
        return _Difference()
    return _Difference(
        message=f"{side} the peak the axis reaches {here:.3g} FWHM, trained to {there:.3g}"
    )


def _beyond(value, allowed):
    return max(abs(value) - allowed, 0.0)


def check_same_shape(peaks, log_fwhm):
    """Refuse peaks that are not those that an ensemble has seen.

    The mean ratio of the thinnest spectra to the shape of the ensemble is looked at on both
    flanks, where it is pure zero-loss peak. Widths that differ by a factor of some are not of one
    instrument either, though flanks may be alike.

    Parameters
    ----------
    peaks : RegisteredPeaks
        Registered to the shape of the ensemble in the core.
    log_fwhm : float
        Mean ln(FWHM / eV) of the ensemble.

    Returns
    -------
    ShapeDifference

    Raises
    ------
    OtherZeroLossPeakError
        If the peaks are far wider or narrower, or their flanks are too different.
    """
    width = np.median(peaks.matched.fwhm) / np.exp(log_fwhm)
    if not 1 / _SAME_WIDTH < width < _SAME_WIDTH:
        raise OtherZeroLossPeakError(
            f"the zero-loss peaks are {width:.3g} times as wide as those the ensemble was trained "
            f"on, expected at most a factor of {_SAME_WIDTH:g}: this is another instrument or "
            "setting, or a wrong energy scale. Train on this image."
        )
    difference = difference_of_shape(peaks)
    allowed = _SAME_SHAPE + min(_SAME_SIGMAS * difference.seen, _SEEN_AT_MOST)
    # A width that is nearly too far off leaves less room for the shape.
    allowed *= np.sqrt(1 - (np.log(width) / np.log(_SAME_WIDTH)) ** 2)
    if difference.off > allowed:
        raise OtherZeroLossPeakError(
            f"the zero-loss peaks are of another shape than those the ensemble was trained on: "
            f"their flanks differ by a factor of {np.exp(difference.off):.2f} (rms), expected at most "
            f"{np.exp(allowed):.2f} for peaks {width:.2f} times as wide. Train on this image."
        )
    return difference


def difference_of_shape(peaks):
    """Measure how the flanks of the thinnest spectra differ from the reference.

    Parameters
    ----------
    peaks : RegisteredPeaks

    Returns
    -------
    ShapeDifference
    """
    thinnest = peaks.label == peaks.label.min()
    low, high = _FLANKS_OF_VACUUM if peaks.label.min() == VACUUM else _FLANKS
    u = peaks.u[thinnest].mean(0)
    complete = peaks.spectra.complete[thinnest].all(0)
    flank = complete & (np.abs(u) > _FLANK_FROM) & (u > low) & (u < high)
    ratios = peaks.ratios
    weight = 1 / ratios.variance[thinnest]
    mean = ((weight * ratios.ratio[thinnest]).sum(0) / weight.sum(0))[flank]
    error = weight.sum(0)[flank] ** -0.5
    seen = peaks.reference_error(u[flank])
    # By what is expected and not by what was found, or fluctuations would choose themselves.
    known = error < _LARGEST_ERROR
    if not known.any():
        return ShapeDifference(np.nan, np.nan)
    # Each flank counts alike, however many groups of channels it has: channels lie denser inside.
    spacing = np.gradient(np.arcsinh(2 * u))[flank][known]
    off = np.log(np.maximum(mean, _LEAST_RATIO))[known] ** 2 - error[known] ** 2
    off = np.sqrt(max((spacing * off).sum() / spacing.sum(), 0.0))
    seen = np.sqrt((spacing * seen[known] ** 2).sum() / spacing.sum())
    return ShapeDifference(float(off), float(seen))
