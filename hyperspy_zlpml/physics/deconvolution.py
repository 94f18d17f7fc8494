# SPDX-License-Identifier: GPL-3.0-or-later
"""Single scattering by Fourier-log deconvolution, with errors.

The deconvolution is written as the subtracted signal minus a smooth correction for plural scattering.
Noise then stays in the channel that it was recorded in, and errors follow analytically.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from hyperspy_zlpml.physics.hidden_losses import RELATIVE_ERROR

#: Largest t/lambda that is deconvolved: of thicker specimens too little of the peak is left.
THICKEST = 4.0
#: What is left at the end of the padded axis of the weight that keeps losses from coming round.
_WEIGHT_LEFT = 1e-5
#: Length of the padded axis, in that of the axis.
_PADDING = 2
#: Frequencies are corrected as far as the peak stands this many times above noise, ...
_ABOVE_NOISE = 3.0
#: ... and to the full where it stands much more than this many times above it: an edge would ring.
_CLEARLY_ABOVE = 10.0
#: Spectra of which deviations are transformed at once: these stay in the cache.
_TRANSFORMED_AT_ONCE = 4
#: Channels to a FWHM of the peak: finer ones hold nothing more.
_CHANNELS_PER_FWHM = 4


@dataclass(frozen=True)
class SingleScattering:
    """Single-scattering distributions of a block of spectra, with their errors.

    Energies stay on the axis of the counts: the peak of spectrum i is at ``centre[i]``. Spectra that
    are too thick, or have no peak, are NaN.

    Attributes
    ----------
    energy : ndarray of shape (n_energy,)
        Axis, eV.
    counts : ndarray of shape (n, n_energy)
        Single scattering J1, counts per channel: its sum is I0 t/lambda.
    variance : ndarray of shape (n, n_energy)
        Of the counting noise. Channels are not quite independent: for sums see
        :meth:`changes_and_noise_of`.
    of_zlp : ndarray of shape (n, n_directions, n_energy)
        Independent deviations of the ZLP by one standard deviation, counts.
    intensity : ndarray of shape (n,)
        Counts of the zero-loss peak, I0.
    counts_shift : ndarray of shape (n, n_energy)
    intensity_shift : ndarray of shape (n,)
        What the assumption may do by which losses were given back, to both at once; 0 where none were.
    centre, fwhm, loss_limit : ndarray of shape (n,)
        Of the losses, eV.
    delay : ndarray of shape (n,)
        Mean of the response, eV from the peak: by so much losses are seen at higher energies.
    recorded : ndarray of shape (n, n_energy)
        Variance of the recorded counts.
    transfer : ndarray of complex of shape (n, n_frequencies)
        What becomes of the counts' noise, on the weighted axis.
    zlp_transfer : ndarray of complex of shape (n, n_frequencies)
        What becomes of deviations of the ZLP.
    mixing : ndarray of shape (n, n_mixed, n_directions), optional
        Combinations of the deviations of the ZLP that are independent; default themselves.
    level : ndarray of shape (n, n_energy), optional
        Deviation of the recorded counts that goes with the last of these; default none. The two are one.
    """

    energy: np.ndarray
    counts: np.ndarray
    variance: np.ndarray
    of_zlp: np.ndarray
    intensity: np.ndarray
    counts_shift: np.ndarray
    intensity_shift: np.ndarray
    centre: np.ndarray
    fwhm: np.ndarray
    loss_limit: np.ndarray
    delay: np.ndarray
    recorded: np.ndarray
    transfer: np.ndarray
    zlp_transfer: np.ndarray
    mixing: np.ndarray | None = None
    level: np.ndarray | None = None

    @property
    def step(self):
        """Width of a channel, eV."""
        return self.energy[1] - self.energy[0]

    @property
    def directions(self):
        """Deviations that those of the ZLP make, made anew, (n, n_mixed, n_energy).

        For sums see :meth:`changes_of`, which needs none of them.
        """
        return self._mixed(self._made_by(self.of_zlp))

    @property
    def of_level(self):
        """Deviation that the noise makes which goes with the last of the directions, (n, n_energy)."""
        if self.level is None:
            return np.zeros_like(self.counts)
        axis = _WeightedAxis(self.energy.size)
        return axis.back(self.transfer * axis.forward(self.level))

    @property
    def intensity_directions(self):
        """Deviations of the counts of the zero-loss peak, array of shape (n, n_mixed)."""
        return self._mixed((self.of_zlp @ np.ones(self.energy.size))[..., None])[..., 0]

    @property
    def zlp_variance(self):
        """Variance that the errors of the ZLP make, array of shape (n, n_energy)."""
        directions = self.directions
        return np.einsum("nqe,nqe->ne", directions, directions)

    @property
    def distance(self):
        """Energy of every channel from the peak of its spectrum, array of shape (n, n_energy)."""
        return self.energy - self.centre[:, None]

    def given_back(self, hidden):
        """Give back losses that were taken for zero-loss peak, to first order.

        Parameters
        ----------
        hidden : GivenBack

        Returns
        -------
        SingleScattering
        """
        taken = -(hidden.taken[:, None] @ self.of_zlp)[:, 0]
        of_taken, peak_taken = self._made_by(taken[:, None])[:, 0], taken.sum(-1)
        return replace(
            self,
            counts=self.counts + of_taken,
            mixing=hidden.mixing,
            level=hidden.level,
            intensity=self.intensity + peak_taken,
            counts_shift=RELATIVE_ERROR * of_taken,
            intensity_shift=RELATIVE_ERROR * peak_taken,
        )

    def changes_and_noise_of(self, weights):
        """Compute the errors of weighted sums over the channels: those of the ZLP, and of counting.

        Parameters
        ----------
        weights : ndarray of shape (n, n_energy)

        Returns
        -------
        changes : ndarray of shape (n, n_mixed)
            Deviations that those of the ZLP make; the last, of losses given back, with the noise that makes it.
        noise : ndarray of shape (n,)
            Variance of the rest.

        Notes
        -----
        Weights go back through the transforms once, instead of every deviation forth.
        """
        of_zlp, of_counts = self._gathered(weights, self.zlp_transfer, self.transfer)
        noise = np.einsum("ne,ne,ne->n", of_counts, of_counts, self.recorded)
        changes = self._mixed(self.of_zlp @ of_zlp[..., None])[..., 0]
        if self.level is not None:
            # A part of the noise is in the last deviation, too, and is counted there.
            of_level = np.einsum("ne,ne->n", of_counts, self.level)
            changes[:, -1] += of_level
            noise -= of_level**2
        return changes, noise

    def changes_of(self, weights):
        """Compute the deviations that those of the ZLP make in weighted sums over the channels.

        Parameters
        ----------
        weights : ndarray of shape (n, n_energy)

        Returns
        -------
        ndarray of shape (n, n_mixed)
        """
        (gathered,) = self._gathered(weights, self.zlp_transfer)
        return self._mixed(self.of_zlp @ gathered[..., None])[..., 0]

    def _mixed(self, deviations):
        """Combine what the deviations of the ZLP make, (n, n_mixed, ...)."""
        return deviations if self.mixing is None else self.mixing @ deviations

    def _made_by(self, changes):
        """Compute what changes of the ZLP make, (n, n_changes, n_energy)."""
        axis, made = _WeightedAxis(self.energy.size), np.empty_like(changes)
        for first in range(0, len(changes), _TRANSFORMED_AT_ONCE):
            some = slice(first, first + _TRANSFORMED_AT_ONCE)
            made[some] = axis.back(self.zlp_transfer[some, None] * axis.forward(changes[some]))
        return made

    def _gathered(self, weights, *transfers):
        """Bring weights from after filters to before them, each (n, n_energy)."""
        axis = _WeightedAxis(self.energy.size)
        spread = rfft(weights / axis.weight, axis.n_padded, axis=-1)
        return [
            irfft(spread * one.conj(), axis.n_padded, axis=-1)[..., : axis.n_energy] * axis.weight
            for one in transfers
        ]


@dataclass(frozen=True)
class _WeightedAxis:
    """Axis on which spectra are multiplied by a falling exponential and padded with zeros.

    Weighted spectra convolve as spectra do, (f w) * (g w) = (f * g) w; what is carried beyond the end
    comes round with next to no weight.
    """

    n_energy: int

    @property
    def n_padded(self):
        """Channels with those of zeros."""
        return next_fast_len(_PADDING * self.n_energy, real=True)

    @property
    def weight(self):
        """Weight of every channel, (n_energy,)."""
        return self._weight_of(np.arange(self.n_energy))

    def _weight_of(self, channels):
        return _WEIGHT_LEFT ** (channels / self.n_padded)

    def forward(self, spectra):
        """Transform spectra to frequencies, (..., n_energy) to (..., n_frequencies)."""
        return rfft(spectra * self.weight, self.n_padded, axis=-1)

    def back(self, transformed):
        """Transform frequencies to spectra, (..., n_frequencies) to (..., n_energy)."""
        return irfft(transformed, self.n_padded, axis=-1)[..., : self.n_energy] / self.weight

    def variance_after(self, transfer, variance):
        """Compute the variance that independent channels have after a filter, (n, n_energy)."""
        n, n_padded = self.n_energy, self.n_padded
        lags = np.arange(n_padded)
        lags[n_padded - n + 1 :] -= n_padded  # what comes to lower energies
        kernel = (irfft(transfer, n_padded, axis=-1) / self._weight_of(lags)) ** 2
        kernel[..., n : n_padded - n + 1] = 0.0
        spread = rfft(kernel, axis=-1) * rfft(variance, n_padded, axis=-1)
        return irfft(spread, n_padded, axis=-1)[..., :n].clip(min=0.0)


def single_scattering(losses):
    """Compute the single-scattering distribution of every spectrum by Fourier-log deconvolution.

    With transforms j of the counts and z of the zero-loss peak, of spectra weighted by a falling
    exponential, J1 = (J - Z) - F^-1[band (j - z - z ln(j/z))]: the signal minus its plural scattering.
    The band holds the frequencies at which the peak stands above noise. Without it this is
    z ln(j/z) (Johnson and Spence, J. Phys. D 7 (1974) 771) with the measured peak for reconvolution. Nothing
    is tapered or extrapolated: what lies beyond the axis has no part in J1 below its end. Gains of energy
    are treated as losses are.

    Parameters
    ----------
    losses : Losses
        Of n spectra.

    Returns
    -------
    SingleScattering

    Notes
    -----
    Errors are exact to first order. With l = ln(j/z), an error dJ of the counts makes
    F^-1[(1 - band (1 - e^-l)) dj], an error dZ of the peak F^-1[(band l - 1) dz].
    """
    axis = _WeightedAxis(losses.energy.size)
    signal, peak = axis.forward(losses.subtracted), axis.forward(losses.zlp)
    noise = np.sqrt((losses.variance * axis.weight**2).sum(-1, keepdims=True))
    band = _band(np.abs(peak) / noise)
    log, inverse = _logarithm(signal, peak, band > 0)
    plural = axis.back(band * (signal - peak * log))
    transfer = 1 - band * (1 - inverse)
    found = SingleScattering(
        energy=losses.energy,
        counts=losses.subtracted - plural,
        variance=axis.variance_after(transfer, losses.variance),
        of_zlp=losses.directions,
        intensity=losses.intensity,
        counts_shift=np.zeros_like(losses.counts),
        intensity_shift=np.zeros_like(losses.intensity),
        centre=losses.centre,
        fwhm=losses.fwhm,
        loss_limit=losses.loss_limit,
        delay=losses.response @ losses.distance,
        recorded=losses.variance,
        transfer=transfer,
        zlp_transfer=band * log - 1,
    )
    return _without(found, _is_too_thick(losses, found))


def with_variance(losses, normalised=False, counting_noise=True):
    """Compute single-scattering distributions on the axis of the counts, and their variance.

    Parameters
    ----------
    losses : Losses
        Of n spectra.
    normalised : bool
        Whether to divide by the counts of the zero-loss peak, whose error is then in the variance.
    counting_noise : bool
        Whether it is in the variance; the errors of the ZLP are.

    Returns
    -------
    ndarray of shape (n, 2 n_energy)
        Distributions, then variances.
    """
    found = single_scattering(losses)
    noise = found.variance if counting_noise else np.zeros_like(found.variance)
    if not normalised:
        return np.hstack([found.counts, found.zlp_variance + noise])
    peak = found.intensity[:, None]
    values = found.counts / peak
    common = found.intensity_directions[:, :, None] * values[:, None]
    change = (found.directions - common) / peak[:, None]
    return np.hstack([values, np.einsum("nqe,nqe->ne", change, change) + noise / peak**2])


class FromPeak(NamedTuple):
    """Single-scattering distributions on one axis of energies from the peak, multiples of the step.

    Attributes
    ----------
    energy : ndarray of shape (size,)
        eV from the peaks.
    counts, variance, counts_shift, of_level : ndarray of shape (n, size)
    directions : ndarray of shape (n, n_directions, size)
        As those of :class:`SingleScattering`.
    """

    energy: np.ndarray
    counts: np.ndarray
    variance: np.ndarray
    directions: np.ndarray
    counts_shift: np.ndarray
    of_level: np.ndarray


def from_peak(found, first=None, size=None):
    """Bring single-scattering distributions to one axis of energies from the peak.

    Spectra are moved by whole channels and by the phase of their transforms, which leaves noise as it is.
    Deviations are smooth, and interpolated.

    Parameters
    ----------
    found : SingleScattering
    first, size : int, optional
        First energy, in steps, and number of energies; by default those of the axis of the counts.

    Returns
    -------
    FromPeak
        NaN beyond the recorded energies.
    """
    step, n = found.step, found.energy.size
    first = int(np.round(found.energy[0] / step)) if first is None else first
    size = n if size is None else size
    places = (first * step + found.centre - found.energy[0]) / step
    whole = np.round(places).astype(int)
    channels = whole[:, None] + np.arange(size)
    recorded = (channels >= 0) & (channels < n)
    channels = channels.clip(0, n - 1)

    def moved(spectra):
        return np.where(recorded, np.take_along_axis(spectra, channels, axis=-1), np.nan)

    part = places - whole
    smooth = np.stack([found.counts_shift, found.of_level], 1)
    smooth = _interpolated(np.concatenate([found.directions, smooth], 1), places, size)
    return FromPeak(
        energy=step * (first + np.arange(size)),
        counts=moved(_moved_within(found.counts, part)),
        variance=moved(found.variance),
        directions=smooth[:, :-2],
        counts_shift=smooth[:, -2],
        of_level=smooth[:, -1],
    )


def _moved_within(spectra, part):
    """Take spectra at places that lie a part of a channel higher, by phases.

    They are mirrored at their ends, so that there is no step between these.
    """
    n_energy = spectra.shape[-1]
    mirrored = np.concatenate([spectra, spectra[..., ::-1]], axis=-1)
    turns = np.fft.rfftfreq(2 * n_energy) * part.reshape((-1,) + (1,) * (spectra.ndim - 1))
    moved = irfft(rfft(mirrored, axis=-1) * np.exp(2j * np.pi * turns), 2 * n_energy, axis=-1)
    return moved[..., :n_energy]


def _interpolated(values, places, size):
    """Interpolate smooth values by cubics through four channels.

    Parameters
    ----------
    values : ndarray of shape (n, n_values, n_energy)
    places : ndarray of shape (n,)
        First channel that is asked for, of each spectrum.
    size : int
        Channels.

    Returns
    -------
    ndarray of shape (n, n_values, size)
        NaN beyond the channels.
    """
    first = np.round(places).astype(int)
    part = places - first
    weights = np.stack(
        [
            -part * (part - 1) * (part - 2) / 6,
            (part + 1) * (part - 1) * (part - 2) / 2,
            -(part + 1) * part * (part - 2) / 2,
            (part + 1) * part * (part - 1) / 6,
        ],
        axis=-1,
    )
    # The ends stand for what is beside them; beyond that there is nothing.
    n_before = max(-first.min(), 0) + 1
    n_behind = max(first.max() + size + 3 - values.shape[-1], 2)
    padded = np.full((*values.shape[:-1], n_before + values.shape[-1] + n_behind), np.nan)
    stop = n_before + values.shape[-1]
    padded[..., n_before:stop] = values
    padded[..., n_before - 1] = values[..., 0]
    padded[..., stop : stop + 2] = values[..., -1:]
    out = np.empty((*values.shape[:-1], size))
    for row, start in enumerate(first + n_before - 1):
        parts = (padded[row, :, start + k : start + k + size] for k in range(weights.shape[1]))
        out[row] = sum(w * one for w, one in zip(weights[row], parts, strict=True))
    return out


def _is_too_thick(losses, found):
    """Tell in which spectra there is too little of the peak, by either measure of t/lambda."""
    peak = losses.intensity
    is_thin = losses.counts.sum(-1) < peak * np.exp(THICKEST)
    return ~(is_thin & (found.counts.sum(-1) < peak * THICKEST))


def _band(ratio):
    """Compute how much of each frequency is corrected, from the peak over noise: a smooth band."""
    inside = np.logical_and.accumulate(ratio > _ABOVE_NOISE, axis=-1)
    with np.errstate(divide="ignore"):
        return inside / (1 + (_CLEARLY_ABOVE / ratio) ** 4)


def _logarithm(signal, peak, band):
    """Compute ln(j/z) in the band, continuous from frequency zero, and 0 outside; and z/j, 1 outside."""
    log, inverse = np.zeros_like(peak), np.ones_like(peak)
    # Beyond the band of all spectra there is nothing to do.
    inside = slice(int(band.any(0).sum()))
    band, ratio = band[:, inside], np.ones_like(peak[:, inside])
    np.divide(signal[:, inside], peak[:, inside], out=ratio, where=band)
    ratio[band] += 1.0
    ratio[ratio == 0] = 1.0
    log.real[:, inside] = np.log(np.abs(ratio))
    log.imag[:, inside] = np.unwrap(np.angle(ratio), axis=-1) * band
    inverse[:, inside] = 1 / ratio
    return log, inverse


def _without(found, excluded):
    """Set spectra to NaN."""
    if not excluded.any():
        return found
    columns = ("counts", "variance", "zlp_transfer")
    kept = {name: getattr(found, name).copy() for name in columns}
    for values in kept.values():
        values[excluded] = np.nan
    return replace(found, **kept)


def rebinned(losses, factor):
    """Sum neighbouring channels.

    Parameters
    ----------
    losses : Losses
    factor : int
        Channels to a new one. Those that are left over are dropped at the start of the axis.

    Returns
    -------
    Losses
    """
    if factor == 1:
        return losses
    step = losses.step * factor
    summed = {
        name: summed_channels(getattr(losses, name), factor)
        for name in ("counts", "zlp", "variance", "spilled", "directions")
    }
    # A response narrower than a new channel has one on either side all the same.
    n_half = max(int(losses.distance[-1] / step), 1)
    distance = step * np.arange(-n_half, n_half + 1)
    return replace(
        losses,
        energy=summed_channels(losses.energy, factor) / factor,
        distance=distance,
        response=_response_at(losses, distance),
        **summed,
    )


def _response_at(losses, distance):
    """Sum a response into channels around other distances."""
    ends = np.concatenate([distance - 0.5 * (distance[1] - distance[0]), [np.inf]])
    edges = losses.distance + 0.5 * losses.step
    area = np.cumsum(losses.response, axis=-1)
    below = np.stack([np.interp(ends, edges, one, left=0.0, right=one[-1]) for one in area])
    response = np.diff(below, axis=-1)
    return response / response.sum(-1, keepdims=True)


def up_to(losses, last):
    """Leave out energies beyond one: what is below does not depend on them.

    Parameters
    ----------
    losses : Losses
    last : float
        On the axis, eV.

    Returns
    -------
    Losses
    """
    stop = int(np.searchsorted(losses.energy, last, side="right"))
    if stop == losses.energy.size:
        return losses
    names = ("counts", "zlp", "variance", "spilled", "directions")
    kept = {name: getattr(losses, name)[..., :stop] for name in names}
    return replace(losses, energy=losses.energy[:stop], **kept)


def summed_channels(values, factor):
    """Sum neighbouring channels, those on the last axis of an array.

    Parameters
    ----------
    values : ndarray of shape (..., n_energy)
    factor : int
        Channels to a new one. Those that are left over are dropped at the start of the axis.

    Returns
    -------
    ndarray of shape (..., n_energy // factor)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.deconvolution import summed_channels
    >>> summed_channels(np.arange(7.0), 3)
    array([ 6., 15.])
    """
    n_kept = values.shape[-1] // factor
    kept = values[..., values.shape[-1] - n_kept * factor :]
    ones = np.ones(factor, np.result_type(values.dtype, np.float32))
    # As a product it takes a tenth of what a sum over an axis that short does.
    return (kept.reshape(-1, factor) @ ones).reshape(*values.shape[:-1], n_kept)


def channels_to_sum(fwhm, step):
    """Choose how many channels to sum: four new ones to the FWHM of the peak hold all there is.

    Parameters
    ----------
    fwhm, step : float
        Of the peak, and of a channel, eV.

    Returns
    -------
    int

    Examples
    --------
    >>> from hyperspy_zlpml.physics.deconvolution import channels_to_sum
    >>> channels_to_sum(0.45, 0.025), channels_to_sum(0.08, 0.03)
    (4, 1)
    """
    return max(1, int(fwhm / _CHANNELS_PER_FWHM / step))
