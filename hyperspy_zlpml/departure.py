# SPDX-License-Identifier: GPL-3.0-or-later
"""How far an image lies outside what an ensemble has seen, and whether its peak is the same.

Distances are counted so that 1 doubles the band: a wider or narrower peak, another dose, other
settings of the microscope, thicknesses never trained on. Beyond the windows of pure ZLP the tail
becomes uncertain in proportion, too. A peak of another shape altogether is refused.
"""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.image.samples import VACUUM

#: ln N0 may lie this far outside the range trained on (in mean free paths), and doubles the band
#: this much further.
_THICKNESS_ALLOWED, _THICKNESS_UNIT = 0.5, 1.0
#: The same for ln(FWHM) (or so many standard deviations of what was seen) ...
_WIDTH_ALLOWED, _WIDTH_SIGMAS, _WIDTH_UNIT = 0.1, 3.0, 0.2
#: ... for ln(dose) ...
_DOSE_ALLOWED, _DOSE_UNIT = np.log(10.0), 0.5 * np.log(10.0)
#: ... and for the logarithm of settings of the microscope.
_SETTING_ALLOWED, _SETTING_UNIT = 0.02, 0.1
#: Fraction of the spectra outside the thicknesses trained on that is worth a word.
_WORTH_A_WORD = 0.1
#: Energies measured may end this much before those to be predicted, relatively.
_RANGE_ALLOWED = 1.25
#: Flanks, in FWHM, on which shapes are compared: of vacuum, and of spectra that may hold losses.
_FLANKS_OF_VACUUM, _FLANKS = (-6.0, 6.0), (-4.0, 1.5)
_FLANK_FROM = 0.6
#: Widths of one instrument agree to this factor.
_SAME_WIDTH = 2.5
#: Energies at which the mean ratio is known to this are compared; ratios below count as this.
_TELLS, _LEAST_RATIO = 0.15, 0.05
#: Shapes of one instrument agree to this, and to so many standard deviations of what was seen, of
#: which an ensemble of few spectra knows little: at most this much.
_SAME_SHAPE, _SAME_SIGMAS, _SEEN_AT_MOST = 0.15, 4.0, 0.15
#: Below, they count as distance: ln(flank) may differ by this and by two standard deviations of what
#: was seen, and doubles the band this much further.
_SHAPE_ALLOWED, _SHAPE_SIGMAS, _SHAPE_UNIT = 0.02, 2.0, 0.03
#: Without vacuum the total counts stand for the beam: the axis must hold the losses, up to this, eV.
_LOSSES_END = 40.0


class OtherZeroLossPeakError(ValueError):
    """The peaks are of another shape than those that an ensemble was trained on."""


def thickness_distance(log_intensity, low, high):
    """Distance of ln N0 from a range, beyond what is allowed."""
    beyond = np.maximum(low - log_intensity, log_intensity - high) - _THICKNESS_ALLOWED
    return np.clip(beyond, 0, None) / _THICKNESS_UNIT


@dataclass(frozen=True)
class Departure:
    """How far an image lies outside what an ensemble has seen.

    Attributes
    ----------
    distance : float
        Of the image as a whole; thickness is looked at spectrum by spectrum.
    told : tuple of str
        What is outside, in words.
    asks_for_training : bool
        Whether the image deserves an ensemble of its own.
    """

    distance: float
    told: tuple
    asks_for_training: bool

    @property
    def message(self):
        """One sentence, or None if all is as it was trained."""
        if not self.told:
            return None
        wider = f"; its band is {1 + self.distance:.2g} times as wide for it" * bool(self.distance)
        advice = " Better train on this image." * self.asks_for_training
        return f"the ensemble was trained on other data: {'; '.join(self.told)}{wider}.{advice}"


@dataclass(frozen=True)
class Seen:
    """What an image shows of itself, to be compared with an ensemble.

    Attributes
    ----------
    log_intensity : ndarray of shape (n_spectra,)
        ln N0 at the dose of the ensemble.
    log_fwhm : float
        Median of ln(FWHM / eV).
    log_dose : float
        Logarithm of the dose over that of the ensemble.
    u_range : tuple of float
        Reduced energies of the axis.
    shape : tuple of float
        See :func:`difference_of_shape`.
    has_vacuum : bool
        Whether vacuum in view tells the dose; else the total counts do.
    end : float
        Of the axis, eV from the peak.
    microscope : dict of str to float
        Settings that are known.
    """

    log_intensity: np.ndarray
    log_fwhm: float
    log_dose: float
    u_range: tuple
    shape: tuple
    has_vacuum: bool
    end: float
    microscope: dict


def departure(ensemble, seen):
    """Compare an image with what an ensemble has seen.

    Parameters
    ----------
    ensemble : Ensemble
    seen : Seen

    Returns
    -------
    Departure
    """
    known = sorted(set(seen.microscope) & set(ensemble.origin.microscope))
    found = [
        _of_thickness(ensemble, seen.log_intensity),
        _of_width(ensemble, seen.log_fwhm),
        _of_dose(seen.log_dose),
        _of_beam(seen),
        _of_shape(*seen.shape),
        *(
            _of_setting(name, seen.microscope[name], ensemble.origin.microscope[name])
            for name in known
        ),
        _of_conditions(ensemble),
        _of_range("before", abs(seen.u_range[0]), abs(ensemble.seen.u_range[0])),
        _of_range("behind", seen.u_range[1], ensemble.seen.u_range[1]),
    ]
    distance = float(np.linalg.norm([distance for distance, _ in found]))
    is_thick = bool(found[0][1])
    return Departure(distance, tuple(text for _, text in found if text), distance > 0 or is_thick)


def _of_thickness(ensemble, log_intensity):
    low, high = ensemble.seen.log_intensity_range
    outside = np.mean(thickness_distance(log_intensity, low, high) > 0)
    if outside <= _WORTH_A_WORD:
        return 0.0, ""
    thin, thick = ensemble.seen.log_beam - high, ensemble.seen.log_beam - low
    # Counted spectrum by spectrum: nothing for the image as a whole.
    return 0.0, (
        f"t/lambda of {outside:.0%} of the spectra is outside {thin:.2f} to {thick:.2f} (by ln N0)"
    )


def _of_width(ensemble, log_fwhm):
    mean, sigma = ensemble.seen.log_fwhm
    beyond = _beyond(log_fwhm - mean, max(_WIDTH_ALLOWED, _WIDTH_SIGMAS * sigma))
    times, fwhm = np.exp(log_fwhm - mean), np.exp(log_fwhm)
    text = f"the peaks are {times:.2f} times as wide (FWHM {fwhm:.3g} eV)"
    return beyond / _WIDTH_UNIT, text * bool(beyond)


def _of_dose(log_dose):
    beyond = _beyond(log_dose, _DOSE_ALLOWED)
    return beyond / _DOSE_UNIT, f"the dose is {np.exp(log_dose):.3g} times as high" * bool(beyond)


def _of_beam(seen):
    if seen.has_vacuum or seen.end >= _LOSSES_END:
        return 0.0, ""
    return 1.0, (
        f"no vacuum is in view and the axis ends at {seen.end:.3g} eV, before the losses do, so that "
        "neither dose nor thickness is known"
    )


def _of_shape(off, seen):
    if np.isnan(off):
        return 0.0, "the flanks are too faint for a look at their shape"
    beyond = max(off - _SHAPE_ALLOWED - _SHAPE_SIGMAS * seen, 0.0)
    text = f"the flanks differ by a factor of {np.exp(off):.2f} (rms)"
    return beyond / _SHAPE_UNIT, text * bool(beyond)


def _of_setting(name, here, there):
    off = np.log(here / there) if min(here, there) > 0 else float(here != there)
    beyond = _beyond(off, _SETTING_ALLOWED)
    text = f"{name.replace('_', ' ')} is {here:g} and was {there:g}"
    return beyond / _SETTING_UNIT, text * bool(beyond)


def _of_conditions(ensemble):
    if not ensemble.setting or not ensemble.conditions.outside(ensemble.setting):
        return 0.0, ""
    values = zip(ensemble.conditions.names, ensemble.setting, strict=True)
    told = ", ".join(f"{name} {value:.4g}" for name, value in values).replace("_", " ")
    # The replicas are spread for it already.
    return 0.0, f"the setting ({told}) lies outside those trained at"


def _of_range(side, here, there):
    # Beyond what was trained on the table itself opens.
    if here <= _RANGE_ALLOWED * there:
        return 0.0, ""
    return 0.0, f"{side} the peak the axis reaches {here:.3g} FWHM, trained to {there:.3g}"


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
    off, seen : float
        As :func:`difference_of_shape`.

    Raises
    ------
    OtherZeroLossPeakError
    """
    width = np.median(peaks.matched.fwhm) / np.exp(log_fwhm)
    if not 1 / _SAME_WIDTH < width < _SAME_WIDTH:
        raise OtherZeroLossPeakError(
            f"the zero-loss peaks are {width:.3g} times as wide as those the ensemble was trained "
            f"on, expected at most a factor of {_SAME_WIDTH:g}: this is another instrument or "
            "setting, or a wrong energy scale. Train on this image."
        )
    off, seen = difference_of_shape(peaks)
    allowed = _SAME_SHAPE + min(_SAME_SIGMAS * seen, _SEEN_AT_MOST)
    # A width that is nearly too far off leaves less room for the shape.
    allowed *= np.sqrt(1 - (np.log(width) / np.log(_SAME_WIDTH)) ** 2)
    if off > allowed:
        raise OtherZeroLossPeakError(
            f"the zero-loss peaks are of another shape than those the ensemble was trained on: "
            f"their flanks differ by a factor of {np.exp(off):.2f} (rms), expected at most "
            f"{np.exp(allowed):.2f} for peaks {width:.2f} times as wide. Train on this image."
        )
    return off, seen


def difference_of_shape(peaks):
    """Rms difference of ln(flank) to the reference beyond its noise, and the spread seen of it.

    NaN where no flank stands out of the noise.
    """
    thinnest = peaks.label == peaks.label.min()
    low, high = _FLANKS_OF_VACUUM if peaks.label.min() == VACUUM else _FLANKS
    u = peaks.u[thinnest].mean(0)
    complete = peaks.spectra.complete[thinnest].all(0)
    flank = complete & (np.abs(u) > _FLANK_FROM) & (u > low) & (u < high)
    ratio, variance, _ = peaks.ratios()
    weight = 1 / variance[thinnest]
    mean = ((weight * ratio[thinnest]).sum(0) / weight.sum(0))[flank]
    error = weight.sum(0)[flank] ** -0.5
    seen = peaks.reference_error(u[flank])
    # By what is expected and not by what was found, or fluctuations would choose themselves.
    known = error < _TELLS
    if not known.any():
        return np.nan, np.nan
    # Each flank counts alike, however many groups of channels it has: channels lie denser inside.
    spacing = np.gradient(np.arcsinh(2 * u))[flank][known]
    off = np.log(np.maximum(mean, _LEAST_RATIO))[known] ** 2 - error[known] ** 2
    off = np.sqrt(max((spacing * off).sum() / spacing.sum(), 0.0))
    return float(off), float(np.sqrt((spacing * seen[known] ** 2).sum() / spacing.sum()))
