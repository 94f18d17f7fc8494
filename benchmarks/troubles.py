# SPDX-License-Identifier: GPL-3.0-or-later
"""Images with the troubles of real microscopes, whose truth is known.

Responses with fine structure, taken from measured peaks where those are at hand; wings that do not
scale with the core; detectors with a fixed pattern, with a point spread, with spikes or a pedestal;
axes that are short or padded; films without vacuum. ``benchmarks/accuracy.py`` scores them beside
the sample images of ``hyperspy_zlpml.data``.
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import hyperspy.api as hs
import numpy as np
from scipy.ndimage import convolve1d, gaussian_filter1d

from hyperspy_zlpml import data
from hyperspy_zlpml.data import Material, Response
from hyperspy_zlpml.image.peaks import peak_parameters

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
#: Measured peaks are smoothed over this fraction of the distance from the peak: what is left of
#: their fine structure is that of the microscope, not of counting.
SMOOTHED = 0.03
#: Beyond this many FWHM measured peaks go on as a power law.
MEASURED_TO = {-1: 8.0, 1: 40.0}


# --- responses -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeasuredResponse:
    """Shape of a measured peak in reduced energy, with its fine structure.

    Attributes
    ----------
    u, log_shape : ndarray of shape (n,)
        Reduced energies, FWHM, and the logarithm of the height over the maximum.
    """

    u: np.ndarray
    log_shape: np.ndarray

    def __call__(self, u, tail=0.0):
        """Compute the height relative to the maximum; see ``hyperspy_zlpml.data.Response``."""
        log_shape = np.interp(u, self.u, self.log_shape)
        for end in (0, -1):
            beyond = np.maximum(u / self.u[end], 1.0)
            log_shape = log_shape - 2.0 * np.log(beyond)
        return np.exp(log_shape + tail * u**2 / (u**2 + 2.0**2))


@cache
def measured_response(name, position=0):
    """Take the response from a vacuum spectrum of the measured data.

    Parameters
    ----------
    name : str
        File of the measured data.
    position : int
        Of the spectrum in a line scan.

    Returns
    -------
    MeasuredResponse
    """
    signal = hs.load(DATA / name, signal_type="EELS_ZLPML")
    counts = np.asarray(signal.data, float).reshape(-1, signal.data.shape[-1])[position]
    energy = signal.axes_manager.signal_axes[0].axis
    peak = peak_parameters(counts[None], energy)
    u = (energy - peak.centre[0]) / peak.fwhm[0]
    width = SMOOTHED * np.abs(np.arange(u.size) - peak.channel[0]) + 0.3
    smooth = counts.copy()
    for sigma in (0.3, 0.6, 1.2, 2.4, 4.8, 9.6, 19.2, 38.4):
        smooth = np.where(width >= sigma, gaussian_filter1d(counts, sigma), smooth)
    last = np.interp(MEASURED_TO[1], u, np.arange(u.size))
    first = np.interp(-MEASURED_TO[-1], u, np.arange(u.size))
    kept = slice(int(np.ceil(first)), int(last) + 1)
    log_shape = np.log(np.maximum(smooth[kept], 1e-9 * smooth.max()))
    return MeasuredResponse(u[kept], log_shape - np.interp(0.0, u[kept], log_shape))


@dataclass(frozen=True)
class RippledResponse:
    """Analytic response times a ripple.

    Attributes
    ----------
    smooth : Response
    height : float
        Relative amplitude.
    period : float
        FWHM.
    """

    smooth: Response = Response()
    height: float = 0.004
    period: float = 0.21

    def __call__(self, u, tail=0.0):
        """Compute the height relative to the maximum."""
        ripple = 1 + self.height * np.sin(2 * np.pi * u / self.period + 0.5)
        return self.smooth(u, tail) * ripple


@dataclass(frozen=True)
class FixedWings:
    """Core that widens under wings that are fixed in energy.

    Attributes
    ----------
    step, fwhm : float
        Dispersion and typical width, eV.
    height, width : float
        Of the wings, relative to the peak and in units of the typical FWHM.
    """

    step: float
    fwhm: float
    height: float = 0.02
    width: float = 1.5

    def __call__(self, u, tail=0.0):
        """Compute the height relative to the maximum."""
        core = Response(exponent_gain=4.0, exponent_loss=3.0, halo=0.0)(u, tail)
        if np.size(u) < 2:
            scale = 1.0
        else:
            scale = self.step / (np.diff(u[..., :2], axis=-1) * self.fwhm)
            scale = scale if u.ndim > 1 else 1.0
        wings = (1 + (u * scale / self.width) ** 2) ** -1.25
        return (1 - self.height) * core + self.height * wings


# --- detectors -------------------------------------------------------------------------------------


def recorded(
    sample,
    seed,
    *,
    pattern=0.0,
    dark=0.0,
    spread=(),
    pedestal=0.0,
    spikes=0.0,
    padded=0,
    first=None,
    last=None,
):
    """Record an image anew with another detector.

    Parameters
    ----------
    sample : SampleImage
    seed : int
    pattern : float
        Relative standard deviation of the sensitivity of the channels.
    dark : float
        Standard deviation of what is added to all channels alike in all spectra, over the read-out noise.
    spread : sequence of float
        Point spread over neighbouring channels, of unit sum.
    pedestal : float
        Counts per channel.
    spikes : float
        Fraction of the channels of all spectra that are hit; heights are exponential, of mean 3000.
    padded : int
        Channels at both ends that hold zeros.
    first, last : int, optional
        Channels to keep.

    Returns
    -------
    SampleImage
        With its truth as recorded: the pattern is part of it, and the pedestal of what lies under
        the losses, its ``zlp``.
    """
    rng = np.random.default_rng([seed, 77])
    zlp, inelastic = (getattr(sample, name).data.astype(float) for name in ("zlp", "inelastic"))
    sensitivity = 1 + pattern * rng.standard_normal(zlp.shape[-1])
    zlp, inelastic = zlp * sensitivity, inelastic * sensitivity
    electrons = rng.poisson((zlp + inelastic) / sample.gain).astype(float)
    if len(spread):
        electrons, zlp, inelastic = (
            convolve1d(values, spread, mode="nearest") for values in (electrons, zlp, inelastic)
        )
    counts = sample.gain * electrons + pedestal + rng.normal(0, sample.readout, zlp.shape)
    if dark:
        counts += dark * sample.readout * rng.standard_normal(zlp.shape[-1])
    counts += (rng.random(zlp.shape) < spikes) * rng.exponential(3000, zlp.shape)
    if padded:
        counts[..., :padded] = 0
        counts[..., -padded:] = 0
    values = {"signal": counts.astype(np.float32), "zlp": zlp + pedestal, "inelastic": inelastic}
    signals = {}
    for name, value in values.items():
        signal = getattr(sample, name).deepcopy()
        signal.data = value
        signals[name] = signal.isig[first:last]
    return replace(sample, **signals)


# --- images ----------------------------------------------------------------------------------------


def measured_peak(shape, seed, **parameters):
    """Simulate the flake with the response of a measured peak."""
    response = measured_response("ws2_specimen4.hspy")
    return data.ws2_like(shape, seed, response=response, **parameters)


def measured_monochromated(shape, seed, **parameters):
    """Simulate the monochromated flake with the response of a measured peak."""
    response = measured_response("ws2_specimen3_mono.hspy")
    return data.monochromated(shape, seed, response=response, **parameters)


def measured_reference(shape, seed, **parameters):
    """Simulate the flake with the response of a measured gallium nitride reference."""
    response = measured_response("gan_zlp_reference.dm3")
    return data.ws2_like(
        shape, seed, response=response, fwhm=0.8, scale=0.05, offset=-6.0, **parameters
    )


def rippled(shape, seed, **parameters):
    """Simulate the flake with a response of fine structure."""
    return data.ws2_like(shape, seed, response=RippledResponse(), **parameters)


def fixed_wings(shape, seed, **parameters):
    """Simulate the flake with wings that stay where they are while the core widens."""
    response = FixedWings(step=0.025, fwhm=0.45)
    return data.ws2_like(shape, seed, response=response, width_drift=0.06, **parameters)


def fixed_pattern(shape, seed):
    """Simulate the flake on a detector whose channels differ by 0.5 %."""
    return recorded(data.ws2_like(shape, seed), seed, pattern=0.005)


def dark_pattern(shape, seed):
    """Simulate the flake behind a camera whose dark levels differ by half of its read-out noise."""
    return recorded(data.ws2_like(shape, seed), seed, dark=0.5)


def point_spread(shape, seed):
    """Simulate the flake on a detector of 3.5 counts per electron that blurs them."""
    sample = data.ws2_like(shape, seed, gain=3.5)
    return recorded(sample, seed, spread=(0.2, 0.6, 0.2))


def spiky(shape, seed):
    """Simulate the flake with spikes in a thousandth of the channels."""
    return recorded(data.ws2_like(shape, seed), seed, spikes=1e-3)


def near_pedestal(shape, seed):
    """Simulate low dose on a pedestal, on an axis that starts 3 FWHM before the peak."""
    sample = data.low_dose(shape, seed, peak_counts=2e4)
    return recorded(sample, seed, pedestal=30.0, first=106)


def short_axis(shape, seed):
    """Simulate the flake on an axis that ends six FWHM behind the peak."""
    return data.ws2_like(shape, seed, n_channels=268)


def padded_axis(shape, seed):
    """Simulate the flake on an axis whose ends hold zeros."""
    return recorded(data.ws2_like(shape, seed), seed, padded=40)


def drifting_rows(shape, seed):
    """Simulate the flake with tails that differ by a tenth, and a peak that drifts."""
    return data.ws2_like(shape, seed, tail_drift=0.1, centre_drift=0.5, width_drift=0.05)


def two_materials(shape, seed):
    """Simulate a flake whose halves are of different gaps."""
    one = data.ws2_like(shape, seed)
    other = data.ws2_like(
        shape,
        seed,
        material=Material(band_gap=2.4, onset_exponent=0.5, plasmon_energy=16.7, excitons=()),
    )
    rows = np.arange(shape[1]) % 2 == 0
    signals = {}
    for name in ("signal", "zlp", "inelastic", "band_gap"):
        signal = getattr(one, name).deepcopy()
        signal.data[rows] = getattr(other, name).data[rows]
        signals[name] = signal
    return replace(one, **signals)


def thick(shape, seed):
    """Simulate a specimen of up to two and a half mean free paths."""
    return data.ws2_like(shape, seed, thickness_range=(0.3, 2.5))


def vibrational(shape, seed, vacuum_fraction=0.0, thickness_range=(0.3, 0.6)):
    """Simulate a film with a phonon seven FWHM behind the peak."""
    return data.monochromated(
        shape,
        seed,
        fwhm=0.013,
        scale=0.001,
        offset=-0.1,
        n_channels=1000,
        peak_counts=2e5,
        readout=10.0,
        vacuum_fraction=vacuum_fraction,
        thickness_range=thickness_range,
        material=Material(band_gap=0.05, onset_exponent=1.0, excitons=((0.04, 0.02, 0.003),)),
    )


#: A film that fills the view.
NO_VACUUM = {"thickness_range": (0.2, 1.0), "vacuum_fraction": 0.0}

#: Kinds of trouble by name.
TROUBLES = {
    function.__name__: function
    for function in (
        measured_peak,
        measured_monochromated,
        measured_reference,
        rippled,
        fixed_wings,
        fixed_pattern,
        dark_pattern,
        point_spread,
        spiky,
        near_pedestal,
        short_axis,
        padded_axis,
        drifting_rows,
        two_materials,
        thick,
    )
}
TROUBLES["vibrational"] = vibrational
TROUBLES["vibrational_with_vacuum"] = partial(vibrational, vacuum_fraction=0.25)
#: Kinds where a film fills the view.
WITHOUT_VACUUM = {
    f"{name}_no_vacuum": partial(function, **NO_VACUUM)
    for name, function in {
        "monochromated": data.monochromated,
        "energy_gain": data.energy_gain,
        "thick_small_gap": data.thick_small_gap,
        "measured_peak": measured_peak,
        "measured_monochromated": measured_monochromated,
    }.items()
}
TROUBLES |= WITHOUT_VACUUM
