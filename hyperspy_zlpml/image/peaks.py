# SPDX-License-Identifier: GPL-3.0-or-later
"""Centre, width and intensity of the zero-loss peak of every spectrum.

Each spectrum is treated alone, so the answer does not depend on how an image is chunked.
"""

from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np

from hyperspy_zlpml.compute import compute, map_spectra, take_spectra
from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.image.find_peaks import find_peaks
from hyperspy_zlpml.image.kernels import (
    Refined,
    Rough,
    find_crossings,
    refine_peaks,
    sum_peaks,
)

#: ``PeakParameters.status`` of a usable peak.
OK = 0
#: ``PeakParameters.status`` of a spectrum with counts that are NaN or infinite.
NOT_FINITE = 1
#: ``PeakParameters.status`` of a spectrum without a peak that stands out of the noise.
NO_PEAK = 2
#: ``PeakParameters.status`` of a spectrum with a peak that the edge of the axis cuts.
AT_EDGE = 3
#: ``PeakParameters.status`` of a spectrum whose peak is not of the shape that others have.
MISSHAPEN = 4
#: ``PeakParameters.status`` of a spectrum whose integers overflowed.
OVERFLOWED = 5
#: ``PeakParameters.status`` of a spectrum that saturated the detector where others do not.
SATURATED = 6
#: ``PeakParameters.status`` of a spectrum whose matched peak is not where its counts are.
UNMATCHED = 7
#: ``PeakParameters.status`` of a spectrum that the user left out.
EXCLUDED = -1
#: Numbers of ``PeakParameters`` that are NaN where a peak is not usable.
_NUMBERS = ("centre", "fwhm", "intensity", "total", "scattered")
#: Words for a status that is a complaint.
STATUS_TEXT = {
    NOT_FINITE: "with NaN or infinite counts",
    NO_PEAK: "without a zero-loss peak",
    AT_EDGE: "with the peak cut by the edge of the axis",
    OVERFLOWED: "with a peak that overflowed the integers it was stored in",
    UNMATCHED: "with a matched peak far above their counts, or of unknown height",
    SATURATED: "with a peak that is cut off flat, where the detector was saturated",
    MISSHAPEN: "with a peak unlike those of other spectra in width, shape or height (a jump, a ray?)",
}

#: Losses beyond this many FWHM count as scattered: the ZLP has nearly died out there.
SCATTERED_FROM = 8.0
#: Where the axis ends early they count beyond this fraction of the way from the peak to its end.
_OUTER_PART = 2 / 3
#: Peaks narrower than this many channels have no flanks to interpolate.
_COARSE = 4.5
#: Peaks of fewer channels (FWHM) have no width.
_NARROWEST_FWHM = 0.0
#: Peaks of a larger part of the axis (FWHM) leave nothing beside them.
_WIDEST_FWHM = 1 / 3
#: Their width, channels, as far as it tells which channels are looked at.
_COARSE_WIDTH = 3.0
#: Spectra worked on at once.
_SPECTRA_AT_ONCE = 512
#: Decimals of a channel to which positions are given.
_DECIMALS = 8
#: Significant digits of sums, but the first.
_DIGITS = 11


@dataclass(frozen=True)
class PeakParameters(PerSpectrum):
    """Peak parameters of a set of spectra; every array has their navigation shape.

    Attributes
    ----------
    centre : ndarray
        Position ``E0`` of the maximum, eV, between the channels.
    fwhm : ndarray
        Full width at half maximum, eV.
    intensity : ndarray
        ``N0``: counts within one FWHM on both sides of the centre.
    total : ndarray
        Counts of the whole spectrum.
    scattered : ndarray
        Counts beyond :meth:`scattered_from`: 8 FWHM, or less where the axis ends early.
    channel : ndarray of int
        Highest channel.
    status : ndarray of int
        0 where the peak is usable, else one of the codes of this module.
    """

    centre: np.ndarray
    fwhm: np.ndarray
    intensity: np.ndarray
    total: np.ndarray
    scattered: np.ndarray
    channel: np.ndarray
    status: np.ndarray

    @property
    def usable(self):
        """Spectra with a usable peak, as a boolean array."""
        return self.status == OK

    @classmethod
    def unstack(cls, stacked):
        """Read all parameters from what :meth:`.PerSpectrum.stack` wrote.

        Parameters
        ----------
        stacked : ndarray of shape (..., 7)

        Returns
        -------
        PeakParameters
        """
        read = super().unstack(stacked)
        return replace(read, channel=read.channel.astype(int), status=read.status.astype(int))

    def without_pedestal(self, pedestal, energy):
        """Take a constant pedestal off the sums.

        Parameters
        ----------
        pedestal : float
            Counts per channel.
        energy : ndarray of shape (n_energy,)
            Axis of the spectra, eV.

        Returns
        -------
        PeakParameters

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.image.peaks import peak_parameters
        >>> energy = 0.05 * np.arange(-100, 200)
        >>> peak = 1e5 * np.exp(-4 * np.log(2) * (energy[None] / 0.5) ** 2)
        >>> raised = peak_parameters(peak + 50.0, energy)
        >>> clean = raised.without_pedestal(50.0, energy)
        >>> bool(np.allclose(clean.total, peak.sum())), raised.total - clean.total
        (True, array([15000.]))
        """
        step = energy[1] - energy[0]
        return replace(
            self,
            intensity=self.intensity - pedestal * 2 * self.fwhm / step,
            total=self.total - pedestal * energy.size,
            scattered=self.scattered - pedestal * self.n_scattered(energy),
        )

    def scattered_from(self, energy):
        """Tell the distance from the peak beyond which ``scattered`` was summed.

        Parameters
        ----------
        energy : ndarray of shape (n_energy,)
            Axis of the spectra, eV.

        Returns
        -------
        ndarray of the navigation shape
            FWHM, 8 or two thirds of the way to the end of the axis.

        Examples
        --------
        An axis that ends 4.5 FWHM behind the peak, and one that ends far from it:

        >>> import numpy as np
        >>> from hyperspy_zlpml.image.peaks import peak_parameters
        >>> energy = 0.05 * np.arange(-100, 200)
        >>> counts = 1e5 * np.exp(-4 * np.log(2) * (energy[None] / 0.5) ** 2)
        >>> parameters = peak_parameters(counts, energy)
        >>> parameters.scattered_from(energy[energy < 2.3]).round(1)
        array([3.])
        >>> parameters.scattered_from(energy)
        array([8.])
        """
        return scattered_from(self.centre, self.fwhm, energy)

    def n_scattered(self, energy):
        """Count the channels in which ``scattered`` was summed.

        Parameters
        ----------
        energy : ndarray of shape (n_energy,)
            Axis of the spectra, eV.

        Returns
        -------
        ndarray of shape (n_spectra,)
            Fractions of channels count.
        """
        step = energy[1] - energy[0]
        beyond = (energy[-1] - self.centre - self.scattered_from(energy) * self.fwhm) / step
        return np.clip(beyond, 0, None)

    def excluding(self, excluded):
        """Mark spectra as left out by the user, with NaN for their numbers.

        Parameters
        ----------
        excluded : ndarray of bool of the navigation shape

        Returns
        -------
        PeakParameters
        """
        return self.marked(excluded, EXCLUDED)

    def with_rows(self, rows, others):
        """Replace the parameters of some spectra.

        Parameters
        ----------
        rows : ndarray of int of shape (n,)
        others : PeakParameters
            n of them.

        Returns
        -------
        PeakParameters
        """
        stacked = self.stack()
        stacked[rows] = others.stack()
        return PeakParameters.unstack(stacked)

    def marked(self, chosen, status):
        """Mark spectra as not usable, with NaN for their numbers.

        Parameters
        ----------
        chosen : ndarray of bool of the navigation shape, or of int
        status : int
            One of the codes of this module.

        Returns
        -------
        PeakParameters
        """
        values = {name: getattr(self, name).copy() for name in (*_NUMBERS, "status")}
        for name in _NUMBERS:
            values[name][chosen] = np.nan
        values["status"][chosen] = status
        return replace(self, **values)


def scattered_from(centre, fwhm, energy):
    """Tell from which distance on the losses of spectra count as scattered.

    Each spectrum is asked alone, so that the answer does not depend on others of an image.

    Parameters
    ----------
    centre, fwhm : ndarray
        Position and width of the peaks, eV.
    energy : ndarray of shape (n_energy,)
        Axis of the spectra, eV.

    Returns
    -------
    ndarray of the shape of ``centre``
        FWHM.
    """
    return np.minimum(SCATTERED_FROM, _OUTER_PART * (energy[-1] - centre) / fwhm)


def measure_peaks(data, energy, index=(), show_progressbar=False):
    """Measure the peaks of all spectra of an image, and read the counts of some, in one pass.

    Parameters
    ----------
    data : ndarray or dask array of shape (..., n_energy)
    energy : ndarray of shape (n_energy,)
        Uniform increasing axis in eV.
    index : sequence of int
        Spectra whose counts are wanted, in flattened navigation order.
    show_progressbar : bool

    Returns
    -------
    parameters : PeakParameters
        Of all spectra, shape (n_spectra,).
    counts : ndarray of shape (len(index), n_energy)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.peaks import NO_PEAK, OK, measure_peaks
    >>> energy = 0.05 * np.arange(-100, 200)
    >>> image = np.zeros((2, 3, 300))
    >>> image[0] = 1e5 * np.exp(-4 * np.log(2) * (energy / 0.5) ** 2)
    >>> parameters, counts = measure_peaks(image, energy, index=[0, 4])
    >>> parameters.status.tolist() == [OK] * 3 + [NO_PEAK] * 3
    True
    >>> counts.max(-1)
    array([100000.,      0.])
    """
    title = "Measuring peaks"
    measured = map_spectra(
        partial(_write_parameters, energy=energy),
        data,
        names=["parameters"],
        width=len(fields(PeakParameters)),
        dtype=float,
        show_progressbar=show_progressbar,
        title=title,
    )
    stacked, counts = compute(
        measured["parameters"],
        take_spectra(data, np.asarray(index, int)),
        show_progressbar=show_progressbar,
        title=title,
    )
    stacked = stacked.reshape(-1, stacked.shape[-1])
    return PeakParameters.unstack(stacked), np.ascontiguousarray(counts)


def _write_parameters(counts, energy, out):
    out[0][:] = peak_parameters(counts, energy).stack()


def peak_parameters(counts, energy):
    """Find the zero-loss peak of every spectrum.

    The centre is the vertex of a parabola through the logarithm of the channels around the
    maximum, the width the distance of the two half-height crossings, each interpolated by a
    line through the logarithm of the channels about it.

    Parameters
    ----------
    counts : ndarray of shape (..., n_energy)
    energy : ndarray of shape (n_energy,)
        Uniform increasing axis in eV.

    Returns
    -------
    PeakParameters
        NaN, with a status, where a spectrum has no usable peak.

    Examples
    --------
    A Gaussian between two channels: its logarithm is the parabola that is fitted.

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> energy = 0.05 * np.arange(-100, 200)
    >>> counts = 1e5 * np.exp(-4 * np.log(2) * ((energy - 0.02) / 0.5) ** 2)
    >>> found = peak_parameters(counts[None], energy)
    >>> found.centre.round(6), found.fwhm.round(2)
    (array([0.02]), array([0.5]))

    A peak that the axis cuts has no width.

    >>> peak_parameters(counts[None, 100:], energy[100:]).usable
    array([False])
    """
    leading, n_energy = counts.shape[:-1], counts.shape[-1]
    spectra = np.asarray(counts).reshape(-1, n_energy)
    starts = range(0, max(len(spectra), 1), _SPECTRA_AT_ONCE)
    blocks = [_of_block(spectra[start : start + _SPECTRA_AT_ONCE], energy) for start in starts]
    stacked = np.concatenate([block.stack() for block in blocks])
    return PeakParameters.unstack(stacked.reshape(leading + stacked.shape[-1:]))


def _of_block(spectra, energy):
    """Find the zero-loss peaks of some spectra, shape (n_spectra, n_energy)."""
    n_energy = spectra.shape[-1]
    finite = np.isfinite(spectra).all(-1)
    # Laid out as compiled functions know it: others would be compiled once more.
    spectra = spectra.astype(float, order="C")
    spectra[~finite] = 0.0

    peaks = find_peaks(spectra)
    channel, level = peaks.channel, peaks.level
    half = level + peaks.height / 2
    left, right = _first_crossings(spectra, np.arange(len(spectra)), channel, half)
    inside = (left >= 0) & (right < n_energy)
    status = np.where(
        ~finite, NOT_FINITE, np.where(~peaks.stands_out, NO_PEAK, np.where(~inside, AT_EDGE, OK))
    )

    usable = status == OK
    rough = np.where(usable, right - left, 4.0)
    coarse = _is_coarse(spectra, channel, half, rough)
    rough = np.where(coarse, _COARSE_WIDTH, rough)
    refined = Refined(*np.empty((3, len(spectra))))
    middle = (left + right) / 2 - channel
    guess = Rough(channel, level, width=rough, middle=middle, usable=usable, coarse=coarse)
    refine_peaks(spectra, guess, refined)
    # Rounding hides the last bits, which depend on how many spectra are worked on at once: what
    # is trained on these numbers must not depend on the chunks of a lazy image.
    vertex, *crossings = (np.round(value, _DECIMALS) for value in refined)
    step = energy[1] - energy[0]
    width = crossings[1] - crossings[0]
    shapeless = usable & ~((width > _NARROWEST_FWHM) & (width < _WIDEST_FWHM * n_energy))
    status[shapeless] = NO_PEAK
    usable &= ~shapeless
    blank = np.where(usable, 1.0, np.nan)
    centre = (energy[0] + step * (channel + vertex)) * blank
    fwhm = step * width * blank

    first = energy[0] - step / 2
    beyond = scattered_from(centre, fwhm, energy)
    limits = np.stack([(centre + far * fwhm - first) / step for far in (-1, 1, beyond)])
    sums = np.empty(limits.shape)
    sum_peaks(spectra, limits, sums)
    intensity, total, scattered = _rounded(sums * blank)
    values = (centre, fwhm, intensity, total, scattered, channel, status)
    return PeakParameters(*values)


def _first_crossings(spectra, rows, channel, half, smoothed=True):
    """Find the channels where some spectra first fall below a level on both sides of the peak.

    -1 and n_energy stand for a crossing that is not on the axis.
    """
    left, right = np.empty((2, rows.size), int)
    reach = 1 if smoothed else 0
    find_crossings(spectra, rows, channel, half=half, reach=reach, left=left, right=right)
    return left, right


def _is_coarse(spectra, channel, half, rough):
    """Find peaks with too few channels for crossings: smoothing makes them seem wider."""
    coarse = rough < _COARSE + 3
    rows = np.flatnonzero(coarse)
    if rows.size:
        left, right = _first_crossings(spectra, rows, channel, half, smoothed=False)
        coarse[rows] = right - left < _COARSE
    return coarse


def _rounded(values):
    """Round to twelve significant digits."""
    size = np.abs(values)
    known = np.isfinite(size) & (size > 0)
    unit = 10.0 ** (np.floor(np.log10(np.where(known, size, 1.0))) - _DIGITS)
    return np.where(known, np.round(values / unit) * unit, values)
