# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses beyond the end of the axis, from how single scattering falls off before it.

Well above all resonances single scattering falls off as E^-3 (but for the aperture), on the way there
as E / (E^2 - E0^2)^2, like the flank of a plasmon (Egerton, section 3.3.1). The area beyond the end of the
axis is that of a power law with an exponent r between that of the slope at the end, 2 r - 3, and 3.
"""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.compute.records import PerSpectrum

#: Exponent of the area as it usually is, and its standard deviation.
USUAL_EXPONENT = (3.0, 0.5)
#: Smallest exponent: the slope of the losses is E^-1.5 there. What falls more slowly does not fall off.
SMALLEST_EXPONENT = 2.25
#: The last part of the axis, in which the fall is looked at.
_PART = 1 / 3
#: The part of the axis in which the height at the end is looked at.
_END = 1 / 8
#: Bins of the last part, and by how many standard deviations each must stand out.
_N_BINS = 12
_SEEN = 5.0
#: Noise that losses have at least, as a fraction of them.
_ROUNDING = 1e-9
#: Standard deviations by which an exponent is below the smallest.
_CLEARLY = 2.0


@dataclass(frozen=True)
class Tail(PerSpectrum):
    """Fall of single scattering at the end of the axis, and beyond.

    Attributes
    ----------
    exponent : ndarray of shape (n,)
        Of the power law that has the same area beyond the axis.
    std : ndarray of shape (n,)
        Of the exponent, from noise; not of what is taken to be usual.
    falls : ndarray of bool of shape (n,)
        Whether the losses fall off, as far as can be told.
    place : ndarray of shape (n, n_energy)
        Energies over that at which the axis ends.
    n_channels : ndarray of shape (n,)
        Channels from the peak to the end of the axis.

    Examples
    --------
    A plasmon at 20 eV on an axis to 60 eV; the sum up to 6000 eV is right to a part in a hundred:

    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.extrapolation import fit_tail
    >>> energy = 0.1 * np.arange(1, 60000)[None]
    >>> losses = 1e7 * energy / ((energy**2 - 400) ** 2 + (4 * energy) ** 2)
    >>> seen, noise = losses[:, :600], np.full((1, 600), 1e-6)
    >>> beyond = (fit_tail(seen, noise, energy[:, :600]).beyond() * seen).sum(-1)
    >>> (beyond / losses[:, 600:].sum(-1)).round(2)
    array([1.])
    """

    exponent: np.ndarray
    std: np.ndarray
    falls: np.ndarray
    place: np.ndarray
    n_channels: np.ndarray

    def beyond(self, power=0.0, change=0.0):
        """Compute the weights with which the spectrum sums to the losses beyond the axis.

        Parameters
        ----------
        power : float or ndarray of shape (n,)
            Of (E / end of the axis), by which losses beyond the axis are multiplied.
        change : float or ndarray of shape (n,)
            Added to the exponent.

        Returns
        -------
        ndarray of shape (n, n_energy)
        """
        end, at_end = self._at_end(power, change)
        weights = np.zeros_like(self.place)
        weights[:, end] = at_end
        return weights

    def summed(self, spectra, power=0.0, change=0.0):
        """Sum spectra to the losses beyond the axis, with the weights of :meth:`beyond`.

        Parameters
        ----------
        spectra : ndarray of shape (n, n_energy)
        power, change : float or ndarray of shape (n,)
            As above.

        Returns
        -------
        ndarray of shape (n,)
        """
        end, at_end = self._at_end(power, change)
        return np.einsum("ne,ne->n", at_end, spectra[:, end])

    def _at_end(self, power, change):
        """Find the channels that have weights, a slice, and these."""
        exponent = self.exponent + change
        at_end = self.place > 1 - _END
        end = slice(int(at_end.any(0).argmax()), None)
        form = np.where(at_end[:, end], _fall(self.place[:, end], exponent[:, None]), 0.0)
        last = form / np.maximum((form**2).sum(-1, keepdims=True), np.finfo(float).tiny)
        return end, last * self.sum_beyond(power, change)[:, None]

    def sum_beyond(self, power=0.0, change=0.0):
        """Sum over the channels beyond the axis, in units of the last on it.

        Parameters
        ----------
        power, change : float or ndarray of shape (n,)
            As above.

        Returns
        -------
        ndarray of shape (n,)
        """
        return self.n_channels / (self.exponent + change - 1 - power)


def fit_tail(spectra, variance, distance, exponent=None):
    """Find how losses go on beyond the axis.

    Parameters
    ----------
    spectra, variance : ndarray of shape (n, n_energy)
        Single scattering, and its noise.
    distance : ndarray of shape (n, n_energy)
        Energies from the peak of each spectrum, eV.
    exponent : float, optional
        Of the power law; default that of the spectrum as far as it shows, else ``USUAL_EXPONENT``.

    Returns
    -------
    Tail
    """
    step = distance[:, 1:2] - distance[:, :1]
    end = distance[:, -1:] + step / 2
    u = distance / end
    if exponent is None:
        exponents, std, falls = _fitted_exponents(spectra, variance, end / step)
    else:
        exponents, std = np.full(len(spectra), float(exponent)), np.zeros(len(spectra))
        falls = np.ones(len(spectra), bool)
    return Tail(exponents, std, falls, place=u, n_channels=(end / step)[:, 0])


def _fall(u, exponent):
    """Flank of a plasmon that has the area of a power law beyond u = 1, where it is 1."""
    squared = (exponent - 3) / (exponent - 1)  # energy of the plasmon
    above = np.maximum(u**2 - squared, 1e-6)
    return np.maximum(u, 0.0) * ((1 - squared) / above) ** 2


def _fitted_exponents(spectra, variance, n_channels):
    """Fit (spectrum / u)^(-1/2), which is a straight line over u^2, to bins before the end, u = 1.

    Returns
    -------
    exponent, std : ndarray of shape (n,)
        Together with what is usual.
    falls : ndarray of bool of shape (n,)
    """
    edges = np.linspace(1 - _PART, 1, _N_BINS + 1)
    place = (edges[1:] + edges[:-1]) / 2
    # Of the axis, that of a spectrum ends n_channels after its peak.
    channels = np.maximum(spectra.shape[-1] + n_channels * (edges - 1), 0.0)
    width = np.diff(channels)
    height = _sums_between(spectra, channels) / width
    noise = np.sqrt(_sums_between(variance, channels)) / width
    is_seen = (height > _SEEN * noise).all(-1)
    height = np.where(is_seen[:, None], height, 1.0)
    line = np.sqrt(place / height)
    noise = np.maximum(noise, _ROUNDING * height)
    slope, of_slope = _relative_slope(place**2 - 1, line, line * noise / (2 * height))
    # At the end the line is 1 - E0^2 = 2 / (r - 1) slopes high.
    fitted, std = 1 + 2 * slope, 2 * of_slope
    usual, of_usual = USUAL_EXPONENT
    share = np.where(is_seen, of_usual**2 / (of_usual**2 + std**2), 0.0)
    falls = ~(is_seen & (fitted + _CLEARLY * std < SMALLEST_EXPONENT))
    exponent = np.maximum(usual + share * (fitted - usual), SMALLEST_EXPONENT)
    return exponent, share * std, falls


def _sums_between(values, edges):
    """Sum channels between neighbouring edges, which may lie within channels."""
    total = np.pad(np.cumsum(values, axis=-1), ((0, 0), (1, 0)))
    whole = np.minimum(edges.astype(int), values.shape[-1] - 1)
    below, above = (np.take_along_axis(total, whole + one, -1) for one in (0, 1))
    return np.diff(below + (above - below) * (edges - whole))


def _relative_slope(x, y, std):
    """Fit a straight line; returns its slope over its height at x = 0, and the error of this."""
    weight = std**-2.0
    total = weight.sum(-1)
    mean_x, mean_y = ((weight * one).sum(-1) / total for one in (x, y))
    apart = x - mean_x[:, None]
    spread = (weight * apart**2).sum(-1)
    slope = (weight * apart * y).sum(-1) / spread
    height = mean_y - slope * mean_x
    ratio = slope / height
    of_slope = (1 + ratio * mean_x) / np.sqrt(spread)
    return ratio, np.hypot(of_slope, ratio / np.sqrt(total)) / np.abs(height)
