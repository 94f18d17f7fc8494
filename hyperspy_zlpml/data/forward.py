# SPDX-License-Identifier: GPL-3.0-or-later
"""Forward model behind the sample images, on arrays alone.

A spectrum is the instrument's response convolved with the plural-scattering series of the
specimen's single-scattering distribution (Egerton, *EELS in the Electron Microscope*, 3rd ed.,
sections 4.1 and 4.2): with ``Z`` the response of unit area and ``S`` the distribution of unit
area, ``I = N exp(-t/l) [Z + Z * (exp((t/l) S) - delta)]`` where ``*`` is a convolution.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import fftconvolve

from hyperspy_zlpml import arguments
from hyperspy_zlpml.compute.records import PerSpectrum

#: Fraction that is left of losses that wrap around.
_WRAPPED = 1e-7
#: Energies over which single scattering has unit area, eV.
_ALL_LOSSES = np.arange(0.0, 500.0, 0.1)
#: FWHM of a Gaussian over its standard deviation.
_FWHM_OVER_SIGMA = 2.3548
#: Pearson VII exponents: below the first a flank has no area, the last is as good as a Gaussian.
_EXPONENTS = (0.51, 1e4)
#: Largest exponent of an onset.
_STEEPEST_ONSET = 10.0
#: Narrowest peak of losses, eV.
_NARROWEST = 1e-4
#: Boltzmann's constant, eV/K.
_BOLTZMANN = 8.617333262e-5
#: Temperatures of a specimen, K.
_TEMPERATURES = (1.0, 1e5)


@dataclass(frozen=True)
class Response:
    """Shape of the zero-loss peak in the reduced energy ``u = (E - E0) / FWHM``.

    Two halves of Pearson VII profiles with a common maximum, over a weak Lorentzian for the
    electrons that the spectrometer and the camera scatter far.

    Parameters
    ----------
    exponent_gain, exponent_loss : float
        Pearson VII exponents; 1 is a Lorentzian, infinity a Gaussian.
    halo : float
        Height of the far-scattered Lorentzian relative to the peak.
    halo_width : float
        Its half width at half maximum in units of the FWHM.

    Examples
    --------
    Half of the maximum is reached half a FWHM from the centre, whatever the exponents:

    >>> import numpy as np
    >>> from hyperspy_zlpml.data import Response
    >>> peak = Response(exponent_gain=3.0, exponent_loss=1.5, halo=0.0)
    >>> peak(np.array([-0.5, 0.0, 0.5])).round(6)
    array([0.5, 1. , 0.5])
    """

    exponent_gain: float = 2.5
    exponent_loss: float = 2.0
    halo: float = 5e-4
    halo_width: float = 6.0

    def __post_init__(self):
        for name in ("exponent_gain", "exponent_loss"):
            arguments.within(getattr(self, name), name, *_EXPONENTS)
        arguments.within(self.halo, "halo", 0, 1)
        arguments.positive(self.halo_width, "halo_width", "FWHM")

    def __call__(self, u, tail=0.0):
        """Compute the height relative to the maximum.

        Parameters
        ----------
        u : ndarray
            Reduced energy.
        tail : float or ndarray that broadcasts with ``u``
            The flanks are multiplied by ``exp(tail * g(u))``, where ``g`` vanishes in the core and
            tends to 1 beyond some FWHM: the slow variation from one acquisition to the next that
            measured vacuum peaks show.

        Returns
        -------
        ndarray of the shape of ``u``
        """
        u = arguments.finite_array(u, "u")
        tail = arguments.finite_array(tail, "tail")
        u, tail = arguments.broadcast({"u": u, "tail": tail})
        exponent = np.where(u < 0, self.exponent_gain, self.exponent_loss)
        width = 4 * (2 ** (1 / exponent) - 1)
        peak = (1 + width * u**2) ** -exponent
        shape = peak + self.halo / (1 + (u / self.halo_width) ** 2)
        return shape * np.exp(tail * u**2 / (u**2 + 2.0**2))


@dataclass(frozen=True)
class Material:
    """Losses and gains of energy in a specimen; energies in eV.

    Parameters
    ----------
    band_gap : float
        Onset of the inelastic signal.
    onset_exponent : float
        ``b`` in ``(E - band_gap)**b`` just above the onset (0.5 direct, 1.5 indirect).
    plasmon_energy, plasmon_width : float
        Drude plasmon.
    interband : float
        Fraction of the single scattering in a broad band of interband transitions.
    excitons : tuple of (energy, fwhm, fraction)
        Gaussian peaks, energies relative to ``band_gap``.
    gains : tuple of (energy, fwhm, fraction)
        Gaussian peaks of electrons that gained ``energy``; ``fraction`` is of the electrons
        that lost nothing, per unit of t/lambda.
    phonons : tuple of (energy, fwhm, fraction)
        Gaussian peaks that are lost and gained as the temperature has it, see
        :meth:`phonon_scattering`; ``fraction`` as of ``gains``, at zero temperature.
    temperature : float
        Of the phonons, K.

    Examples
    --------
    Nothing is lost below the band gap:

    >>> import numpy as np
    >>> from hyperspy_zlpml.data import Material
    >>> energy = np.array([1.0, 2.9, 3.1, 20.0])
    >>> Material(band_gap=3.0).single_scattering(energy, np.array([[3.0]])) > 0
    array([[False, False,  True,  True]])
    """

    band_gap: float = 1.6
    onset_exponent: float = 1.0
    plasmon_energy: float = 22.5
    plasmon_width: float = 6.0
    interband: float = 0.15
    excitons: tuple[tuple[float, float, float], ...] = ((0.4, 0.25, 0.004), (0.8, 0.35, 0.006))
    gains: tuple[tuple[float, float, float], ...] = ()
    phonons: tuple[tuple[float, float, float], ...] = ()
    temperature: float = 300.0

    def __post_init__(self):
        arguments.within(self.band_gap, "band_gap", 0, _ALL_LOSSES[-1])
        arguments.within(self.onset_exponent, "onset_exponent", 0, _STEEPEST_ONSET)
        for name in ("plasmon_energy", "plasmon_width"):
            arguments.within(getattr(self, name), name, 1e-3, _ALL_LOSSES[-1])
        arguments.within(self.interband, "interband", 0, 1)
        arguments.within(self.temperature, "temperature", *_TEMPERATURES)
        for name in ("excitons", "gains", "phonons"):
            _check_peaks(getattr(self, name), name)

    def single_scattering(self, energy, band_gap):
        """Compute the probability per eV of one loss.

        Of unit area up to 500 eV, wherever ``energy`` ends: t/lambda counts all losses.

        Parameters
        ----------
        energy : ndarray of shape (n_energy,)
            Energies lost, eV.
        band_gap : ndarray of shape (..., 1)
            Onset of each spectrum, eV.

        Returns
        -------
        ndarray of shape (..., n_energy)
        """
        energy = arguments.finite_array(energy, "energy")
        band_gap = arguments.finite_array(band_gap, "band_gap")
        if band_gap.ndim and band_gap.shape[-1] != 1:
            arguments.refuse(band_gap, "band_gap", "an array whose last axis is of length 1")
        area = self._losses(_ALL_LOSSES, band_gap).sum(-1, keepdims=True)
        return self._losses(energy, band_gap) / (area * (_ALL_LOSSES[1] - _ALL_LOSSES[0]))

    def distribution(self, energy, truth):
        """Compute the probability per eV of one loss in every spectrum.

        Parameters
        ----------
        energy : ndarray of shape (n_energy,)
            Energies lost, eV.
        truth : TrueSpectra

        Returns
        -------
        ndarray of shape (n_spectra, n_energy)
            Of unit area up to 500 eV.
        """
        return self.single_scattering(energy, truth.band_gap[:, None])

    def energy_gain(self, energy):
        """Compute the probability per eV of an energy gain at a thickness of one mean free path.

        Parameters
        ----------
        energy : ndarray of shape (n_energy,)
            Energies lost, eV: those gained are negative.

        Returns
        -------
        ndarray of shape (n_energy,)
        """
        energy = arguments.finite_array(energy, "energy")
        density = np.zeros(energy.shape)
        for position, fwhm, fraction in self.gains:
            density += _gaussian(energy + position, fwhm, fraction)
        return density

    def phonon_scattering(self, energy):
        """Compute the probability per eV to lose, or gain, energy by one phonon.

        Losses are ``n + 1`` times the peaks and gains ``n`` times, with the Bose-Einstein occupation
        ``n(E) = 1 / (exp(E / kT) - 1)``: so gains are ``exp(-E / kT)`` of losses at every energy
        (detailed balance).

        Parameters
        ----------
        energy : ndarray of shape (n_energy,)
            Energies lost, eV: those gained are negative.

        Returns
        -------
        ndarray of shape (n_energy,)
            At a thickness of one mean free path.

        Examples
        --------
        At 1160.5 K kT is 0.1 eV:

        >>> import numpy as np
        >>> from hyperspy_zlpml.data import Material
        >>> material = Material(phonons=((0.1, 0.01, 0.02),), temperature=1160.45)
        >>> gain, loss = material.phonon_scattering(np.array([-0.1, 0.1]))
        >>> round(float(np.log(loss / gain)), 4)
        1.0
        """
        energy = arguments.finite_array(energy, "energy")
        odd = np.zeros(energy.shape)
        for position, fwhm, fraction in self.phonons:
            odd += _gaussian(energy - position, fwhm, fraction)
            odd -= _gaussian(energy + position, fwhm, fraction)
        least = np.finfo(float).tiny
        with np.errstate(over="ignore"):
            occupied = -np.expm1(-energy / (_BOLTZMANN * self.temperature))
        return odd / np.where(occupied == 0, least, occupied) * (occupied != 0)

    def _losses(self, energy, band_gap):
        squared = energy**2 - self.plasmon_energy**2
        width = energy * self.plasmon_width
        # Areas over all positive energies: pi / (2 Ep^2) of the Drude term (Egerton, eq. 3.43).
        drude = width / (squared**2 + width**2 + 1e-12) * 2 * self.plasmon_energy**2 / np.pi
        band = energy / (energy + 3.0) * np.exp(-energy / 12.0) / 9.0
        losses = (1 - self.interband) * drude + self.interband * band
        above = np.clip(energy - band_gap, 0, None)
        for position, fwhm, fraction in self.excitons:
            losses = losses + _gaussian(energy - band_gap - position, fwhm, fraction)
        onset = (above / (above + 0.5)) ** self.onset_exponent
        return losses * onset


def _check_peaks(peaks, name):
    """Raise ValueError unless peaks are triples of energy, positive width and fraction."""
    if not arguments.is_sequence(peaks):
        arguments.refuse(peaks, name, "a sequence of (energy, fwhm, fraction)")
    for peak in peaks:
        energy, fwhm, fraction = arguments.finite_array(peak, name, (3,))
        if energy < 0 or fwhm < _NARROWEST or not 0 <= fraction <= 1:
            arguments.refuse(peak, name, "energies and widths that are positive, fractions below 1")


@dataclass(frozen=True)
class TrueSpectra(PerSpectrum):
    """True numbers of every spectrum, each an array of shape (n_spectra,).

    Attributes
    ----------
    centre, fwhm : ndarray
        Position and width of the zero-loss peak, eV.
    tail : ndarray
        Relative height of its flanks, see :class:`Response`.
    electrons : ndarray
        Counts that the whole beam before the specimen gives.
    thickness : ndarray
        t/lambda.
    band_gap : ndarray
        Onset of the losses, eV.
    """

    centre: np.ndarray
    fwhm: np.ndarray
    tail: np.ndarray
    electrons: np.ndarray
    thickness: np.ndarray
    band_gap: np.ndarray


class Camera(NamedTuple):
    """Camera of the spectrometer.

    Attributes
    ----------
    gain : float
        Counts per electron.
    readout : float
        Standard deviation of the read-out noise, counts.
    integer : bool
        Whether counts are rounded.
    """

    gain: float
    readout: float
    integer: bool = False


def _gaussian(distance, fwhm, area):
    sigma = fwhm / _FWHM_OVER_SIGMA
    height = np.exp(-0.5 * (distance / sigma) ** 2)
    return area * height / (sigma * np.sqrt(2 * np.pi))


def _unit_area(density, energy):
    return density / (density.sum(-1, keepdims=True) * (energy[1] - energy[0]))


def zlp_and_inelastic(energy, truth, response, material):
    """Compute the expected counts of the zero-loss peak and of the inelastic part.

    Parameters
    ----------
    energy : ndarray of shape (n_energy,)
        Uniform axis in eV.
    truth : TrueSpectra
        Of n_spectra spectra.
    response : Response
    material : Material or DielectricMaterial

    Returns
    -------
    zlp, inelastic : ndarray of shape (n_spectra, n_energy)
    """
    step = energy[1] - energy[0]
    thickness = truth.thickness
    n_energy = energy.size
    # Room on both sides of the view, and a damping that is undone afterwards: what plural
    # scattering carries beyond the end would otherwise come back on the other side.
    n_pad = next_fast_len(3 * n_energy, real=True)
    damping = _WRAPPED ** (np.arange(n_pad) / n_pad)
    wide = energy[0] + step * (np.arange(n_pad) - n_energy)
    u = (wide - truth.centre[:, None]) / truth.fwhm[:, None]
    peak = _unit_area(response(u, truth.tail[:, None]), wide)
    loss = step * np.arange(n_pad)
    single = material.distribution(loss, truth)
    probability = thickness[:, None] * rfft(single * step * damping, axis=-1)
    spread = rfft(peak * damping, axis=-1)
    plural = irfft(spread * np.expm1(probability), n=n_pad, axis=-1) / damping
    if material.gains or material.phonons:
        lost = step * np.arange(-n_energy, n_energy)
        once = thickness[:, None] * (material.energy_gain(lost) + material.phonon_scattering(lost))
        plural = plural + fftconvolve(peak, once * step, axes=-1)[:, n_energy : n_energy + n_pad]
    unscattered = (truth.electrons * np.exp(-thickness) * step)[:, None]
    view = slice(n_energy, 2 * n_energy)
    return unscattered * peak[:, view], unscattered * np.clip(plural[:, view], 0, None)


def add_noise(expected, camera, rng):
    """Draw the counts that a camera records.

    ``gain * Poisson(expected / gain) + readout * normal``.

    Parameters
    ----------
    expected : ndarray
        Expected counts.
    camera : Camera
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float of the shape of ``expected``

    Examples
    --------
    Every electron leaves ``gain`` counts where nothing is read out:

    >>> import numpy as np
    >>> from hyperspy_zlpml.data.forward import Camera, add_noise
    >>> counts = add_noise(np.full(1000, 40.0), Camera(gain=4.0, readout=0.0), np.random.default_rng(0))
    >>> bool((counts % 4 == 0).all())
    True
    """
    counts = camera.gain * rng.poisson(expected / camera.gain).astype(float)
    if camera.readout:
        counts += rng.normal(0.0, camera.readout, expected.shape)
    return np.round(counts) if camera.integer else counts
