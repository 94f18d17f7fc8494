# SPDX-License-Identifier: GPL-3.0-or-later
"""Ready-made sample images: their parameters, maps, and the wrapping into signals."""

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from hyperspy.signals import BaseSignal, Signal1D
from scipy.integrate import trapezoid
from scipy.ndimage import gaussian_filter

from hyperspy_zlpml import arguments
from hyperspy_zlpml.data.dielectric import DielectricMaterial
from hyperspy_zlpml.data.forward import (
    Camera,
    Material,
    Response,
    TrueSpectra,
    add_noise,
    zlp_and_inelastic,
)

#: Spectra simulated at once: bounds the memory of the Fourier transforms.
_BLOCK = 256
#: Standard deviation of the band gap over pixels, eV.
_GAP_VARIATION = 0.05
#: Relative standard deviation of the beam over pixels.
_BEAM_DRIFT = 0.01
#: Longest energy axis, most channels of all spectra, steps of an axis (eV).
_MOST_CHANNELS = 2**16
_MOST_NUMBERS = 2**31
_SCALES = (1e-6, 1e3)
#: Largest t/lambda: what is left of the peak behind it is nothing.
_THICKEST = 30.0
#: Largest standard deviations over the pixels; wider ones would make widths negative.
_MOST_DRIFT = {
    "centre_drift": 100.0,
    "width_drift": 0.2,
    "tail_drift": 1.0,
    "specimen_broadening": 10.0,
}
#: Counts in the highest channel that 32 bits hold with all that fluctuates.
_MOST_INTEGER_COUNTS = 5e8


@dataclass(frozen=True, repr=False)
class SampleImage:
    """Simulated measurement with its truth.

    Attributes
    ----------
    signal : EELSZLPSpectrum
        What the camera recorded, noise included.
    zlp, inelastic : EELSZLPSpectrum
        Expected counts of the ZLP and of the losses, free of noise, same axes.
    band_gap, thickness : BaseSignal
        Navigation maps: onset of the losses in eV, and t/lambda (0 in vacuum).
    centre, fwhm : BaseSignal
        Navigation maps of the peak's true position and width in eV.
    gain, readout : float
        Of the camera: the variance of a channel is ``gain * expected + readout**2``.
    truth : TrueSpectra
        The true numbers as arrays of shape (n_spectra,).
    """

    signal: Signal1D
    zlp: Signal1D
    inelastic: Signal1D
    band_gap: BaseSignal
    thickness: BaseSignal
    centre: BaseSignal
    fwhm: BaseSignal
    gain: float
    readout: float
    truth: TrueSpectra

    def __repr__(self):
        title, shape = self.signal.metadata.General.title, self.signal.axes_manager
        return f"<{type(self).__name__}, title: {title}, dimensions: {shape._get_dimension_str()}>"


@dataclass(frozen=True)
class _Peak:
    """Zero-loss peak in vacuum, and its fluctuations; see :func:`make_sample`."""

    fwhm: float
    beam: float
    centre_drift: float
    width_drift: float
    tail_drift: float
    specimen_broadening: float

    def __post_init__(self):
        for name, most in _MOST_DRIFT.items():
            arguments.within(getattr(self, name), name, 0, most)


# Every keyword is a property of the measurement that may be chosen.
def make_sample(  # noqa: PLR0913
    navigation_shape=(48, 48),
    n_channels=2048,
    offset=-4.0,
    scale=0.025,
    fwhm=0.45,
    peak_counts=3e6,
    thickness_range=(0.0, 1.0),
    vacuum_fraction=0.25,
    centre_drift=0.04,
    width_drift=0.03,
    tail_drift=0.03,
    specimen_broadening=0.0,
    gain=1.0,
    readout=30.0,
    integer=False,
    response=None,
    material=None,
    random_state=None,
    title="Simulated low-loss spectrum image",
):
    """Simulate a low-loss measurement with known zero-loss peak.

    Parameters
    ----------
    navigation_shape : tuple of int
        HyperSpy order (x, y, ...), of zero to three dimensions.
    n_channels : int
        Length of the energy axis.
    offset, scale : float
        Its first energy and its step, eV.
    fwhm : float
        Full width of the zero-loss peak at half maximum, eV.
    peak_counts : float
        Counts in the highest channel of a vacuum spectrum.
    thickness_range : tuple of float
        Smallest and largest t/lambda of the specimen.
    vacuum_fraction : float
        Fraction of the pixels that see no specimen.
    centre_drift, width_drift : float
        Standard deviation over pixels of the peak's position, in units of the FWHM, and of the
        relative width.
    tail_drift : float
        Standard deviation over pixels of the relative height of the peak's tails.
    specimen_broadening : float
        Relative width that a thickness of one mean free path adds.
    gain, readout : float
        Counts per electron, and read-out noise in counts.
    integer : bool
        Round the counts (the signal is then of an integer type).
    response : Response or callable, optional
        Shape of the peak, as a function of the reduced energy and of what its tail differs by.
    material : Material or DielectricMaterial, optional
        Shape of the losses.
    random_state : int or numpy.random.Generator, optional
        Same state, same image.
    title : str

    Returns
    -------
    SampleImage

    Examples
    --------
    The truth is known: without read-out noise and at a gain of 1, counts fluctuate about it as
    electrons do.

    >>> from hyperspy_zlpml.data import make_sample
    >>> sample = make_sample((4, 3), n_channels=512, readout=0.0, random_state=0)
    >>> sample.signal
    <EELSZLPSpectrum, title: Simulated low-loss spectrum image, dimensions: (4, 3|512)>
    >>> expected = sample.zlp.data + sample.inelastic.data
    >>> chi2 = ((sample.signal.data - expected) ** 2 / expected).mean()
    >>> round(float(chi2), 1)
    1.0
    """
    rng = arguments.generator(random_state)
    response, material = _checked_response(response), _checked_material(material)
    navigation_shape = _checked_shape(navigation_shape, n_channels)
    _check_axis(n_channels, offset, scale, fwhm)
    camera = _checked_camera(peak_counts, gain, readout, integer)
    arguments.text(title, "title")
    energy = offset + scale * np.arange(n_channels)
    peak = _Peak(
        fwhm=fwhm,
        beam=peak_counts * _area_over_height(response) * fwhm / scale,
        centre_drift=centre_drift,
        width_drift=width_drift,
        tail_drift=tail_drift,
        specimen_broadening=specimen_broadening,
    )
    shape = navigation_shape[::-1]
    thickness = thickness_map(shape, thickness_range, vacuum_fraction, rng)
    truth = _draw_truth(shape, thickness, material.band_gap, peak=peak, rng=rng)
    if isinstance(material, DielectricMaterial):
        truth = material.true_spectra(truth, shape)
    spectra = _simulate(energy, truth, response, material, camera=camera, rng=rng)
    axes = _axes(navigation_shape, n_channels, offset, scale)
    return _as_image(spectra, truth, axes=axes, camera=camera, title=title)


def _as_image(spectra, truth, axes, camera, title):
    """Make signals of simulated counts, of what was expected of them, and of the true numbers."""
    counts, zlp, inelastic = spectra
    return SampleImage(
        signal=_spectrum(counts, axes, title),
        zlp=_spectrum(zlp, axes, "True ZLP"),
        inelastic=_spectrum(inelastic, axes, "True inelastic"),
        band_gap=_map(truth.band_gap, axes[:-1], "Band gap (eV)"),
        thickness=_map(truth.thickness, axes[:-1], "Thickness (t/lambda)"),
        centre=_map(truth.centre, axes[:-1], "Centre of the ZLP (eV)"),
        fwhm=_map(truth.fwhm, axes[:-1], "FWHM of the ZLP (eV)"),
        gain=camera.gain,
        readout=camera.readout,
        truth=truth,
    )


def _checked_material(material):
    """Take a material, or the usual one."""
    if isinstance(material, DielectricMaterial):
        return material
    return Material() if material is None else arguments.instance(material, "material", Material)


def _checked_shape(shape, n_channels):
    """Take a navigation shape as integers; raise ValueError unless it is one of a size in reach."""
    arguments.count(n_channels, "n_channels", 2, _MOST_CHANNELS)
    sizes = arguments.integers(shape, "navigation_shape")
    is_shape = arguments.is_sequence(shape) and len(sizes) <= 3 and all(n >= 1 for n in sizes)
    if not is_shape or math.prod(sizes) * n_channels > _MOST_NUMBERS:
        arguments.refuse(
            shape,
            "navigation_shape",
            f"up to three sizes of at least 1 that make at most {_MOST_NUMBERS:.0e} channels in all",
        )
    return sizes


def _check_axis(n_channels, offset, scale, fwhm):
    """Raise ValueError unless the axis holds the peak."""
    arguments.within(scale, "scale", *_SCALES)
    arguments.number(offset, "offset")
    length = scale * (n_channels - 1)
    if not -length < offset < length:
        raise ValueError(
            f"offset: expected an energy axis that holds the peak at 0 or comes close, got one from "
            f"{offset:g} to {offset + length:g} eV."
        )
    arguments.within(fwhm, "fwhm", 0.25 * scale, max(length, scale))


def _checked_response(response):
    """Take a response, or any other function of reduced energy and tail, as measured peaks are."""
    if response is None:
        return Response()
    if not callable(response) or isinstance(response, type):
        arguments.refuse(response, "response", "a Response or another function of (u, tail)")
    return response


def _checked_camera(peak_counts, gain, readout, integer):
    """Make a camera; raise ValueError unless it can record so many counts."""
    arguments.flag(integer, "integer")
    most = _MOST_INTEGER_COUNTS if integer else arguments.LARGEST
    arguments.within(peak_counts, "peak_counts", 1e-6, most)
    arguments.within(gain, "gain", 1e-6, 1e6)
    arguments.within(readout, "readout", 0, most)
    return Camera(gain, readout, integer)


def _area_over_height(response):
    """Compute the area of a response of unit height, in FWHM."""
    grid = np.linspace(-300, 300, 60001)
    return trapezoid(response(grid), grid) / response(0.0)


def _draw_truth(shape, thickness, band_gap, peak, rng):
    """Draw the true numbers of every spectrum; images depend on the order of the draws."""
    gap_of_each = band_gap + _GAP_VARIATION * _smooth_noise(shape, rng)
    centre = peak.fwhm * peak.centre_drift * _drift(shape, rng)
    width_factor = 1 + peak.width_drift * _drift(shape, rng) + peak.specimen_broadening * thickness
    tail = peak.tail_drift * _drift(shape, rng)
    electrons = peak.beam * (1 + _BEAM_DRIFT * _drift(shape, rng))
    return TrueSpectra(
        centre=centre,
        fwhm=peak.fwhm * width_factor,
        tail=tail,
        electrons=electrons,
        thickness=thickness,
        band_gap=gap_of_each,
    )


def _simulate(energy, truth, response, material, camera, rng):
    """Simulate counts, and the expected counts of ZLP and losses, block by block."""
    shape = (truth.centre.size, energy.size)
    counts = np.empty(shape)
    zlp = np.empty(shape, np.float32)
    inelastic = np.empty(shape, np.float32)
    for start in range(0, shape[0], _BLOCK):
        block = slice(start, start + _BLOCK)
        expected = zlp_and_inelastic(energy, truth.select(block), response, material)
        zlp[block], inelastic[block] = expected
        counts[block] = add_noise(expected[0] + expected[1], camera, rng)
    return counts.astype(np.int32 if camera.integer else np.float32), zlp, inelastic


def thickness_map(shape, thickness_range, vacuum_fraction, rng):
    """Draw t/lambda of a flake whose edge runs through the view.

    Parameters
    ----------
    shape : tuple of int
        Navigation shape in the order of arrays.
    thickness_range : tuple of float
        Smallest and largest t/lambda of the specimen.
    vacuum_fraction : float
        Fraction of the pixels that see no specimen.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n_spectra,)
        Flattened; 0 in vacuum.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.data.samples import thickness_map
    >>> thickness = thickness_map((10, 10), (0.5, 2.0), 0.3, np.random.default_rng(0))
    >>> int((thickness == 0).sum()), bool(thickness.max() <= 2.0)
    (30, True)
    """
    low, high = arguments.pair(thickness_range, "thickness_range", 0, _THICKEST)
    arguments.within(vacuum_fraction, "vacuum_fraction", 0, 1)
    n_spectra = int(np.prod(shape, dtype=int))
    if n_spectra == 1:
        return np.array([high])
    position = np.indices(shape).reshape(len(shape), -1).sum(0).astype(float)
    position = position + 0.1 * position.max() * _smooth_noise(shape, rng)
    rank = position.argsort(kind="stable").argsort(kind="stable") / (n_spectra - 1)
    inside = np.clip((rank - vacuum_fraction) / max(1 - vacuum_fraction, 1 / n_spectra), 0, 1)
    relief = 0.75 * inside**0.5 + 0.25 * inside * (0.5 + 0.5 * np.sin(9 * inside))
    return np.where(
        (rank < vacuum_fraction) | (vacuum_fraction >= 1), 0.0, low + (high - low) * relief
    )


def _smooth_noise(shape, rng):
    """Draw a smooth random field of unit variance, flattened."""
    white = rng.standard_normal(shape)
    field = gaussian_filter(white, sigma=[max(n / 8, 1) for n in shape]) if shape else white * 0
    return (field / (field.std() or 1.0)).ravel()


def _drift(shape, rng):
    """Draw a drift of unit variance: slow over the scan, and as much from pixel to pixel."""
    jitter = rng.standard_normal(int(np.prod(shape, dtype=int)))
    return np.sqrt(0.5) * (_smooth_noise(shape, rng) + jitter)


def _axes(navigation_shape, n_channels, offset, scale):
    names = ("x", "y", "z")
    navigation = [
        {"name": names[i], "size": n, "scale": 1.0, "units": "nm", "navigate": True}
        for i, n in enumerate(navigation_shape)
    ][::-1]
    energy = {"name": "Energy loss", "size": n_channels, "offset": offset, "scale": scale}
    return navigation + [{**energy, "units": "eV", "navigate": False}]


def _spectrum(values, axes, title):
    signal = Signal1D(_shaped(values, axes), axes=axes)
    signal.set_signal_type("EELS_ZLPML")
    signal.metadata.General.title = title
    signal.set_microscope_parameters(
        beam_energy=200.0, convergence_angle=10.0, collection_angle=15.0
    )
    signal.metadata.set_item("Acquisition_instrument.TEM.Detector.EELS.exposure", 0.1)
    return signal


def _map(values, axes, title):
    if axes:
        signal = BaseSignal(_shaped(values, axes), axes=axes)
    else:
        signal = BaseSignal(values).T
    signal.metadata.General.title = title
    return signal


def _shaped(values, axes):
    return values.reshape([axis["size"] for axis in axes])


def ws2_like(navigation_shape=(48, 48), random_state=None, **parameters):
    """Simulate a flake with vacuum around it at 0.45 eV resolution; gap 1.6 eV.

    See :func:`make_sample` for the parameters and what is returned.

    Examples
    --------
    A quarter of the view is vacuum:

    >>> from hyperspy_zlpml.data import ws2_like
    >>> sample = ws2_like((8, 8), random_state=0, n_channels=256)
    >>> float((sample.thickness.data == 0).mean())
    0.25
    """
    defaults = {"title": "WS2-like flake", "specimen_broadening": 0.05}
    return make_sample(navigation_shape, random_state=random_state, **{**defaults, **parameters})


def monochromated(navigation_shape=(48, 48), random_state=None, **parameters):
    """Simulate the flake of :func:`ws2_like` at 80 meV resolution and 5 meV per channel.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {
        "title": "Monochromated flake",
        "offset": -1.0,
        "scale": 0.005,
        "fwhm": 0.08,
        "peak_counts": 8e6,
        "readout": 100.0,
        "specimen_broadening": 0.05,
        "response": Response(
            exponent_gain=1.8,
            exponent_loss=1.7,
            halo=1e-4,
            halo_width=15.0,
        ),
    }
    return make_sample(navigation_shape, random_state=random_state, **{**defaults, **parameters})


def thick_small_gap(navigation_shape=(48, 48), random_state=None, **parameters):
    """Simulate a thick wedge with a gap of 0.7 eV, little more than twice the FWHM of 0.3 eV.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {
        "title": "Thick wedge with a small gap",
        "offset": -3.0,
        "scale": 0.02,
        "fwhm": 0.3,
        "peak_counts": 1e6,
        "thickness_range": (0.5, 2.0),
        "material": Material(
            band_gap=0.7,
            onset_exponent=0.5,
            plasmon_energy=16.7,
            plasmon_width=4.0,
            interband=0.15,
            excitons=(),
        ),
    }
    return make_sample(navigation_shape, random_state=random_state, **{**defaults, **parameters})


def low_dose(navigation_shape=(48, 48), random_state=None, **parameters):
    """Simulate ten thousand counts in the highest channel, FWHM 0.9 eV, gain 2.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {
        "title": "Low dose",
        "offset": -8.0,
        "scale": 0.05,
        "fwhm": 0.9,
        "peak_counts": 1e4,
        "gain": 2.0,
        "readout": 5.0,
        "material": Material(
            band_gap=3.4,
            onset_exponent=0.5,
            plasmon_energy=19.5,
            plasmon_width=5.0,
            interband=0.15,
            excitons=(),
        ),
    }
    return make_sample(navigation_shape, random_state=random_state, **{**defaults, **parameters})


def very_low_dose(navigation_shape=(48, 48), random_state=None, **parameters):
    """Simulate a thousand electrons in the highest channel, counted without read-out noise.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {
        "title": "Very low dose, electron counting",
        "peak_counts": 1e3,
        "gain": 1.0,
        "readout": 0.0,
        "integer": True,
    }
    return low_dose(navigation_shape, random_state, **{**defaults, **parameters})


def strong_drift(navigation_shape=(48, 48), random_state=None, **parameters):
    """Simulate the flake under a peak that wanders by half its FWHM, its width by a tenth.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {"title": "Strong drift", "centre_drift": 0.5, "width_drift": 0.1}
    return ws2_like(navigation_shape, random_state, **{**defaults, **parameters})


def energy_gain(navigation_shape=(48, 48), random_state=None, **parameters):
    """Simulate :func:`monochromated` with a phonon-like peak of energy gain at -0.4 eV.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {
        "title": "Energy-gain peaks",
        "material": replace(Material(), gains=((0.4, 0.05, 3e-4),)),
    }
    return monochromated(navigation_shape, random_state, **{**defaults, **parameters})


def phonons(
    navigation_shape=(24, 24),
    temperature=300.0,
    strength=0.02,
    random_state=None,
    **parameters,
):
    """Simulate a film with a phonon at 0.1 eV that is lost and gained, at 12 meV resolution.

    Gains are to losses as the temperature has it, see :meth:`.Material.phonon_scattering`.

    Parameters
    ----------
    navigation_shape : tuple of int
        HyperSpy order (x, y, ...), of zero to three dimensions.
    temperature : float
        Of the specimen, K.
    strength : float
        Fraction of the electrons that lost nothing else that lose the phonon, at zero temperature
        and a thickness of one mean free path.
    random_state : int or numpy.random.Generator, optional
        Same state, same image.
    **parameters
        Of :func:`make_sample`.

    Returns
    -------
    SampleImage

    Examples
    --------
    >>> from hyperspy_zlpml.data import phonons
    >>> phonons((4, 4), temperature=600.0, random_state=0).signal
    <EELSZLPSpectrum, title: Phonons at 600 K, dimensions: (4, 4|1201)>
    """
    arguments.within(strength, "strength", 0, 1)
    arguments.number(temperature, "temperature")
    defaults = {
        "title": f"Phonons at {temperature:g} K",
        "n_channels": 1201,
        "offset": -0.3,
        "scale": 0.0005,
        "fwhm": 0.012,
        "peak_counts": 2e6,
        "thickness_range": (0.2, 1.0),
        "response": Response(
            exponent_gain=1.8,
            exponent_loss=1.7,
            halo=1e-4,
            halo_width=15.0,
        ),
        "material": Material(phonons=((0.1, 0.006, strength),), temperature=temperature),
    }
    return make_sample(navigation_shape, random_state=random_state, **{**defaults, **parameters})


def no_vacuum(navigation_shape=(48, 48), random_state=None, **parameters):
    """Simulate the flake where it fills the view (t/lambda 0.2 to 1).

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {"title": "No vacuum in view", "thickness_range": (0.2, 1.0), "vacuum_fraction": 0.0}
    return ws2_like(navigation_shape, random_state, **{**defaults, **parameters})


def line_scan(navigation_shape=(40,), random_state=None, **parameters):
    """Simulate 40 spectra across the edge of the flake of :func:`ws2_like`.

    See :func:`make_sample` for the parameters and what is returned.
    """
    return ws2_like(navigation_shape, random_state, **{"title": "Line scan", **parameters})


def single_spectrum(navigation_shape=(), random_state=None, **parameters):
    """Simulate one spectrum of a specimen of half a mean free path, no navigation dimension.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {"title": "Single spectrum", "thickness_range": (0.5, 0.5)}
    return ws2_like(navigation_shape, random_state, **{**defaults, **parameters})


def vacuum_reference(navigation_shape=(), random_state=None, **parameters):
    """Simulate vacuum taken at another time for :func:`single_spectrum`: 5 % narrower.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {
        "title": "Vacuum reference",
        "vacuum_fraction": 1.0,
        "thickness_range": (0.0, 0.0),
        "fwhm": 0.45 / 1.05,
        "centre_drift": 0.5,
    }
    return ws2_like(navigation_shape, random_state, **{**defaults, **parameters})


def setting_laws(beam_energy, exposure):
    """Compute the peak that the microscope of :func:`vacuum_at_settings` makes at a setting.

    Parameters
    ----------
    beam_energy : float
        keV.
    exposure : float
        s.

    Returns
    -------
    fwhm : float
        ``sqrt(0.3**2 + (0.02 * sqrt(beam_energy))**2) * (exposure / 0.1)**0.02`` eV: the source,
        the spectrometer, and what drifts during the exposure.
    peak_counts : float
        In the highest channel: ``2e7 * (beam_energy / 100)**0.6 * exposure``, in proportion to the
        time.
    response : Response
        Its loss-side exponent is ``2 * (beam_energy / 100)**0.08``, its halo
        ``5e-4 * (beam_energy / 100)**-0.5``: fast electrons are scattered less.

    Examples
    --------
    Twice the time gives twice the counts, in a peak that drift makes a little wider:

    >>> from hyperspy_zlpml.data import setting_laws
    >>> (short_fwhm, short, _), (long_fwhm, long, _) = (setting_laws(80.0, t) for t in (0.1, 0.2))
    >>> float(long / short), round(float(long_fwhm / short_fwhm), 3)
    (2.0, 1.014)
    """
    arguments.setting(beam_energy, "beam_energy")
    arguments.setting(exposure, "exposure")
    relative = beam_energy / 100
    fwhm = np.hypot(0.3, 0.02 * beam_energy**0.5) * (exposure / 0.1) ** 0.02
    peak_counts = 2e7 * relative**0.6 * exposure
    response = Response(
        exponent_gain=2.5,
        exponent_loss=2.0 * relative**0.08,
        halo=5e-4 * relative**-0.5,
    )
    return fwhm, peak_counts, response


def vacuum_at_settings(
    beam_energies=(60.0, 80.0, 120.0, 200.0),
    exposures=(0.05, 0.1, 0.2, 0.4),
    navigation_shape=(6, 6),
    reproducibility=0.01,
    random_state=None,
    **parameters,
):
    """Simulate vacuum at a grid of beam energies and exposures.

    The peaks follow :func:`setting_laws`.

    Parameters
    ----------
    beam_energies : sequence of float
        keV.
    exposures : sequence of float
        s.
    navigation_shape : tuple of int
        Of each image.
    reproducibility : float
        Relative standard deviation by which the brightness of one acquisition misses its law; the
        FWHM misses it by half of this, the exponents of the flanks by a fifth.
    random_state : int or numpy.random.Generator, optional
        Same state, same images.
    **parameters
        Of :func:`make_sample`.

    Returns
    -------
    list of SampleImage
        Beam energy by beam energy; their metadata hold the settings.
    """
    rng = arguments.generator(random_state)
    arguments.within(reproducibility, "reproducibility", 0, 1)
    beam_energies = _settings(beam_energies, "beam_energies", "beam_energy")
    exposures = _settings(exposures, "exposures", "exposure")
    defaults = {
        "n_channels": 1024,
        "thickness_range": (0.0, 0.0),
        "vacuum_fraction": 1.0,
        "offset": -3.0,
        "width_drift": 0.01,
        "tail_drift": 0.02,
        "navigation_shape": navigation_shape,
    }
    return [
        _vacuum_at(
            beam_energy,
            exposure,
            off=reproducibility * rng.standard_normal(3) * (1.0, 0.5, 0.2),
            rng=rng,
            parameters={**defaults, **parameters},
        )
        for beam_energy, exposure in product(beam_energies, exposures)
    ]


def _settings(values, name, kind):
    """Take settings of a microscope as numbers; raise ValueError unless there are some."""
    numbers = arguments.finite_array(values, name)
    low, high = arguments.SETTINGS[kind]
    if numbers.ndim != 1 or not numbers.size or not ((low <= numbers) & (numbers <= high)).all():
        arguments.refuse(values, name, f"numbers from {low:g} to {high:g}")
    return numbers.tolist()


def _vacuum_at(beam_energy, exposure, off, rng, parameters):
    """Simulate vacuum at one setting, off its laws by numbers in ln (counts, FWHM, exponents)."""
    fwhm, peak_counts, response = setting_laws(beam_energy, exposure)
    response = replace(
        response,
        exponent_gain=response.exponent_gain * np.exp(off[2]),
        exponent_loss=response.exponent_loss * np.exp(off[2]),
    )
    image = make_sample(
        fwhm=fwhm * np.exp(off[1]),
        peak_counts=peak_counts * np.exp(off[0]),
        response=response,
        random_state=rng,
        **{"title": f"Vacuum at {beam_energy:g} keV, {exposure:g} s", **parameters},
    )
    for signal in (image.signal, image.zlp, image.inelastic):
        signal.set_microscope_parameters(beam_energy=beam_energy)
        signal.metadata.set_item("Acquisition_instrument.TEM.Detector.EELS.exposure", exposure)
    return image


#: Sample images by name, but those of vacuum alone.
SAMPLE_KINDS = {
    function.__name__: function
    for function in (
        ws2_like,
        monochromated,
        thick_small_gap,
        low_dose,
        very_low_dose,
        no_vacuum,
        strong_drift,
        energy_gain,
        line_scan,
        single_spectrum,
    )
}
