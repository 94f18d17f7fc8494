# SPDX-License-Identifier: GPL-3.0-or-later
"""Ready-made sample images: settings, maps, and the wrapping into signals."""

from dataclasses import dataclass, replace
from itertools import product

import hyperspy.api as hs
import numpy as np
from scipy.integrate import trapezoid
from scipy.ndimage import gaussian_filter

from hyperspy_zlpml.data.forward import Material, Response, add_noise, zlp_and_inelastic

_BLOCK = 256  # spectra simulated at once: bounds the memory of the Fourier transforms


@dataclass(frozen=True)
class SampleImage:
    """A simulated measurement with its truth.

    Attributes
    ----------
    signal : EELSZLPSpectrum
        What the camera recorded, noise included.
    zlp, inelastic : EELSZLPSpectrum
        Expected counts of the two parts, free of noise, same axes.
    band_gap, thickness : BaseSignal
        Navigation maps: onset of the losses in eV, and t/lambda (0 in vacuum).
    centre, fwhm : BaseSignal
        Navigation maps of the peak's true position and width in eV.
    gain, readout : float
        Of the camera: the variance of a channel is ``gain * expected + readout**2``.
    """

    signal: object
    zlp: object
    inelastic: object
    band_gap: object
    thickness: object
    centre: object
    fwhm: object
    gain: float
    readout: float


def make_sample(
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
        Length of the energy axis, which starts at ``offset`` with step ``scale`` (eV).
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
    response, material : Response, Material, optional
        Shapes of the peak and of the losses.
    random_state : int or numpy.random.Generator, optional
        Same state, same image.
    title : str

    Returns
    -------
    SampleImage
    """
    rng = np.random.default_rng(random_state)
    response, material = response or Response(), material or Material()
    shape = tuple(navigation_shape)[::-1]
    n_spectra = int(np.prod(shape, dtype=int))
    energy = offset + scale * np.arange(n_channels)

    thickness = thickness_map(shape, thickness_range, vacuum_fraction, rng)
    band_gap = np.full(n_spectra, material.band_gap) + 0.05 * _smooth_noise(shape, rng)
    centre = fwhm * centre_drift * _drift(shape, rng)
    width = fwhm * (1 + width_drift * _drift(shape, rng) + specimen_broadening * thickness)
    tail = tail_drift * _drift(shape, rng)
    # The height of the response per unit area fixes the electrons that give `peak_counts`.
    grid = np.linspace(-300, 300, 60001)
    area_over_height = trapezoid(response(grid), grid) / response(0.0)
    beam = peak_counts * area_over_height * fwhm / scale
    electrons = beam * (1 + 0.01 * _drift(shape, rng))

    zlp, inelastic = (np.empty((n_spectra, n_channels), np.float32) for _ in range(2))
    counts = np.empty((n_spectra, n_channels))
    for start in range(0, n_spectra, _BLOCK):
        block = slice(start, start + _BLOCK)
        parts = zlp_and_inelastic(
            energy, centre[block], width[block], electrons[block],
            thickness[block], band_gap[block], response, material, tail[block],
        )  # fmt: skip
        zlp[block], inelastic[block] = parts
        counts[block] = add_noise(parts[0] + parts[1], gain, readout, integer, rng)

    counts = counts.astype(np.int32 if integer else np.float32)
    axes = _axes(navigation_shape, energy.size, offset, scale)
    spectra = [
        _spectrum(values.reshape(shape + (n_channels,)), axes, name)
        for values, name in ((counts, title), (zlp, "True ZLP"), (inelastic, "True inelastic"))
    ]
    maps = [
        _map(values.reshape(shape), axes[:-1], name)
        for values, name in (
            (band_gap, "Band gap (eV)"),
            (thickness, "Thickness (t/lambda)"),
            (centre, "Centre of the ZLP (eV)"),
            (width, "FWHM of the ZLP (eV)"),
        )
    ]
    return SampleImage(*spectra, *maps, gain, readout)


def thickness_map(shape, thickness_range, vacuum_fraction, rng):
    """t/lambda of a flake whose edge runs through the view, flattened to (n_spectra,)."""
    low, high = thickness_range
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
    """Smooth random field of unit variance, flattened."""
    white = rng.standard_normal(shape)
    field = gaussian_filter(white, sigma=[max(n / 8, 1) for n in shape]) if shape else white * 0
    return (field / (field.std() or 1.0)).ravel()


def _drift(shape, rng):
    """Drift of unit variance: slow over the scan, and as much from pixel to pixel."""
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


def _spectrum(data, axes, title):
    signal = hs.signals.Signal1D(data, axes=axes)
    signal.set_signal_type("EELS_ZLPML")
    signal.metadata.General.title = title
    signal.set_microscope_parameters(
        beam_energy=200.0, convergence_angle=10.0, collection_angle=15.0
    )
    signal.metadata.set_item("Acquisition_instrument.TEM.Detector.EELS.exposure", 0.1)
    return signal


def _map(data, axes, title):
    if axes:
        signal = hs.signals.BaseSignal(data, axes=axes)
    else:
        signal = hs.signals.BaseSignal(np.atleast_1d(data)).T
    signal.metadata.General.title = title
    return signal


def ws2_like(navigation_shape=(48, 48), random_state=None, **settings):
    """Flake with vacuum around it at 0.45 eV resolution; gap 1.6 eV.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {"title": "WS2-like flake", "specimen_broadening": 0.05}
    return make_sample(navigation_shape, random_state=random_state, **{**defaults, **settings})


def monochromated(navigation_shape=(48, 48), random_state=None, **settings):
    """The same material at 80 meV resolution and 5 meV per channel.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {
        "title": "Monochromated flake", "offset": -1.0, "scale": 0.005, "fwhm": 0.08,
        "peak_counts": 8e6, "readout": 100.0, "specimen_broadening": 0.05,
        "response": Response(1.8, 1.7, 1e-4, 15.0),
    }  # fmt: skip
    return make_sample(navigation_shape, random_state=random_state, **{**defaults, **settings})


def thick_small_gap(navigation_shape=(48, 48), random_state=None, **settings):
    """Thick wedge with a gap of 0.7 eV, little more than twice the FWHM of 0.3 eV.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {
        "title": "Thick wedge with a small gap", "offset": -3.0, "scale": 0.02, "fwhm": 0.3,
        "peak_counts": 1e6, "thickness_range": (0.5, 2.0),
        "material": Material(0.7, 0.5, 16.7, 4.0, 0.15, ()),
    }  # fmt: skip
    return make_sample(navigation_shape, random_state=random_state, **{**defaults, **settings})


def low_dose(navigation_shape=(48, 48), random_state=None, **settings):
    """Ten thousand counts in the highest channel, FWHM 0.9 eV, gain 2.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {
        "title": "Low dose", "offset": -8.0, "scale": 0.05, "fwhm": 0.9, "peak_counts": 1e4,
        "gain": 2.0, "readout": 5.0, "material": Material(3.4, 0.5, 19.5, 5.0, 0.15, ()),
    }  # fmt: skip
    return make_sample(navigation_shape, random_state=random_state, **{**defaults, **settings})


def very_low_dose(navigation_shape=(48, 48), random_state=None, **settings):
    """A thousand electrons in the highest channel, counted one by one: no read-out noise.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {
        "title": "Very low dose, electron counting", "peak_counts": 1e3, "gain": 1.0,
        "readout": 0.0, "integer": True,
    }  # fmt: skip
    return low_dose(navigation_shape, random_state, **{**defaults, **settings})


def strong_drift(navigation_shape=(48, 48), random_state=None, **settings):
    """Like :func:`ws2_like`; the peak wanders by half its FWHM, its width by a tenth.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {"title": "Strong drift", "centre_drift": 0.5, "width_drift": 0.1}
    return ws2_like(navigation_shape, random_state, **{**defaults, **settings})


def energy_gain(navigation_shape=(48, 48), random_state=None, **settings):
    """Like :func:`monochromated`, with a phonon-like peak of energy gain at -0.4 eV.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {
        "title": "Energy-gain peaks",
        "material": replace(Material(), gains=((0.4, 0.05, 3e-4),)),
    }
    return monochromated(navigation_shape, random_state, **{**defaults, **settings})


def no_vacuum(navigation_shape=(48, 48), random_state=None, **settings):
    """Like :func:`ws2_like`, but the specimen fills the view (t/lambda 0.2 to 1).

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {"title": "No vacuum in view", "thickness_range": (0.2, 1.0), "vacuum_fraction": 0.0}
    return ws2_like(navigation_shape, random_state, **{**defaults, **settings})


def line_scan(navigation_shape=(40,), random_state=None, **settings):
    """40 spectra across the edge of the flake of :func:`ws2_like`.

    See :func:`make_sample` for the parameters and what is returned.
    """
    return ws2_like(navigation_shape, random_state, **{"title": "Line scan", **settings})


def single_spectrum(navigation_shape=(), random_state=None, **settings):
    """One spectrum of a specimen of half a mean free path, no navigation dimension.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {"title": "Single spectrum", "thickness_range": (0.5, 0.5)}
    return ws2_like(navigation_shape, random_state, **{**defaults, **settings})


def vacuum_reference(navigation_shape=(), random_state=None, **settings):
    """Vacuum taken at another time for :func:`single_spectrum`: its peak is 5 % narrower.

    See :func:`make_sample` for the parameters and what is returned.
    """
    defaults = {
        "title": "Vacuum reference", "vacuum_fraction": 1.0, "thickness_range": (0.0, 0.0),
        "fwhm": 0.45 / 1.05, "centre_drift": 0.5,
    }  # fmt: skip
    return ws2_like(navigation_shape, random_state, **{**defaults, **settings})


def setting_laws(beam_energy, exposure):
    """What the simulated microscope of :func:`vacuum_at_settings` does at a setting.

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
    """
    relative = beam_energy / 100
    fwhm = np.hypot(0.3, 0.02 * beam_energy**0.5) * (exposure / 0.1) ** 0.02
    response = Response(2.5, 2.0 * relative**0.08, 5e-4 * relative**-0.5)
    return fwhm, 2e7 * relative**0.6 * exposure, response


def vacuum_at_settings(
    beam_energies=(60.0, 80.0, 120.0, 200.0),
    exposures=(0.05, 0.1, 0.2, 0.4),
    navigation_shape=(6, 6),
    reproducibility=0.01,
    random_state=None,
    **settings,
):
    """Vacuum at a grid of beam energies and exposures, whose peaks follow :func:`setting_laws`.

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
    **settings
        Of :func:`make_sample`.

    Returns
    -------
    list of SampleImage
        Beam energy by beam energy; their metadata hold the settings.
    """
    rng = np.random.default_rng(random_state)
    images = []
    for beam_energy, exposure in product(beam_energies, exposures):
        fwhm, peak_counts, response = setting_laws(beam_energy, exposure)
        off = reproducibility * rng.standard_normal(3) * (1.0, 0.5, 0.2)
        response = replace(
            response, exponent_gain=response.exponent_gain * np.exp(off[2]),
            exponent_loss=response.exponent_loss * np.exp(off[2]),
        )  # fmt: skip
        defaults = {
            "title": f"Vacuum at {beam_energy:g} keV, {exposure:g} s", "n_channels": 1024,
            "thickness_range": (0.0, 0.0), "vacuum_fraction": 1.0, "offset": -3.0,
            "width_drift": 0.01, "tail_drift": 0.02,
        }  # fmt: skip
        image = make_sample(
            navigation_shape, fwhm=fwhm * np.exp(off[1]), peak_counts=peak_counts * np.exp(off[0]),
            response=response, random_state=rng, **{**defaults, **settings},
        )  # fmt: skip
        for signal in (image.signal, image.zlp, image.inelastic):
            signal.set_microscope_parameters(beam_energy=beam_energy)
            signal.metadata.set_item("Acquisition_instrument.TEM.Detector.EELS.exposure", exposure)
        images.append(image)
    return images


SAMPLE_KINDS = {
    function.__name__: function
    for function in (
        ws2_like, monochromated, thick_small_gap, low_dose, very_low_dose, no_vacuum,
        strong_drift, energy_gain, line_scan, single_spectrum,
    )
}  # fmt: skip
