# SPDX-License-Identifier: GPL-3.0-or-later
"""First pass over an image: its peaks, counts of a sample, and which channels can be trusted."""

from dataclasses import dataclass, replace

import numpy as np

from hyperspy_zlpml.compute import compute, take_spectra
from hyperspy_zlpml.compute.blocks import join_blocks
from hyperspy_zlpml.image.channels import (
    SPECTRA_LOOKED_AT,
    Channels,
    find_spikes,
    inspect_channels,
    never_finite,
    without_spikes,
)
from hyperspy_zlpml.image.noise import NoiseModel, looked_at, rough_noise
from hyperspy_zlpml.image.odd_peaks import FEWEST_SPECTRA, far_away, of_other_width
from hyperspy_zlpml.image.peaks import (
    MISSHAPEN,
    OVERFLOWED,
    UNMATCHED,
    PeakParameters,
    measure_peaks,
    peak_parameters,
)
from hyperspy_zlpml.image.quality import NoZeroLossPeakError, check_scale, overflowed
from hyperspy_zlpml.image.spectra import Spectra

#: More spectra of other widths than this are not read once more.
_MOST_READ_AGAIN = 4096
#: A peak where others have theirs is looked for among energies so many FWHM to either side.
_ABOUT = 4.0
#: Where fewer of the spectra looked at than this fraction are free of spikes, channels are inspected by all of them.
_FEWEST_CLEAN = 0.5
#: So many times as many spectra are looked through for spikes as channels are inspected by.
_WITH_RAYS = 2


@dataclass(frozen=True)
class MeasuredPeaks:
    """Peaks of an image as they were measured.

    Attributes
    ----------
    given : Spectra
        All channels, as they were given.
    spectra : Spectra
        Recorded channels, bad ones bridged.
    channels : Channels
        Of the spectra as they were given.
    parameters : PeakParameters
        Of all spectra, shape (n_spectra,).
    index : ndarray of int of shape (n_sample,)
    counts : ndarray of shape (n_sample, n_energy)
        Of the spectra of the sample.
    """

    given: Spectra
    spectra: Spectra
    channels: Channels
    parameters: PeakParameters
    index: np.ndarray
    counts: np.ndarray

    def channels_without(self, odd):
        """Inspect the channels once more, without spectra that turned out to be odd.

        Parameters
        ----------
        odd : ndarray of bool of shape (n_spectra,)

        Returns
        -------
        Channels
        """
        counts = self.counts
        if not self.channels.all_good:
            counts = take_spectra(self.given.counts, self.index)
            (counts,) = compute(counts, show_progressbar=False, title="")
        missing = never_finite(counts)
        counts = Channels(missing, 0, missing.size).repair(counts)
        sampled = self.parameters.marked(odd, MISSHAPEN).select(self.index)
        sampled = replace(sampled, channel=sampled.channel + self.channels.first)
        channels = _channels_of(counts, sampled, self.given)
        return replace(channels, bad=channels.bad | missing)

    def without(self, lost):
        """Leave out spectra whose peak could not be matched.

        Parameters
        ----------
        lost : ndarray of bool of shape (n_spectra,)

        Returns
        -------
        MeasuredPeaks
        """
        return replace(self, parameters=self.parameters.marked(lost, UNMATCHED))


def measure(spectra, index, excluded=None, show_progressbar=False, channels=None):
    """Measure the peaks of all spectra, and read a sample of them.

    Where channels of the detector are dead, hot or were not recorded, peaks are measured once more
    without them. Peaks that are not as wide as those of other spectra as bright are measured once
    more without what may be a spike in them, and left out if that does not help.

    Parameters
    ----------
    spectra : Spectra
    index : ndarray of int of shape (n_sample,)
        Spectra of the sample, in flattened navigation order.
    excluded : ndarray of bool of shape (n_spectra,), optional
        Spectra that the user left out.
    show_progressbar : bool
    channels : Channels, optional
        Which can be trusted, where that is known; otherwise they are inspected.

    Returns
    -------
    MeasuredPeaks

    Raises
    ------
    NoZeroLossPeakError
        If nothing but bad channels looked like a peak.
    ValueError
        If too few channels were recorded.
    """
    given, index = spectra, np.asarray(index, int)
    measured = None
    if channels is None:
        measured, channels = _inspected(given, index, show_progressbar)
    if not channels.all_good:
        spectra, measured = given.repaired(channels), None
    if measured is None:
        measured = measure_peaks(spectra.counts, spectra.energy, index, show_progressbar)
    parameters, counts = measured
    if not channels.all_good:
        _check_that_peaks_are_left(parameters, channels, given.energy)
    wrong = overflowed(counts, parameters.channel[index])
    parameters = parameters.marked(index[wrong], OVERFLOWED)
    if excluded is not None:
        parameters = parameters.excluding(excluded)
    return MeasuredPeaks(
        given=given,
        spectra=spectra,
        channels=channels,
        parameters=_without_odd(_without_later(parameters, spectra), spectra),
        index=index,
        counts=counts,
    )


def _inspected(spectra, index, show_progressbar):
    """Measure peaks in all channels, and find those that can be trusted.

    Returns
    -------
    measured : tuple of PeakParameters and ndarray
        Peaks of all spectra and counts of the sample.
    channels : Channels
    """
    measured = measure_peaks(spectra.counts, spectra.energy, index, show_progressbar)
    missing = never_finite(measured[1])
    if missing.any():
        spectra = spectra.repaired(Channels(missing, 0, missing.size))
        measured = measure_peaks(spectra.counts, spectra.energy, index, show_progressbar)
    parameters, counts = measured
    check_scale(counts)
    channels = _channels_of(counts, parameters.select(index), spectra)
    return measured, replace(channels, bad=channels.bad | missing)


def _check_that_peaks_are_left(parameters, channels, energy):
    """Raise NoZeroLossPeakError where all peaks were bad channels."""
    if not parameters.usable.any():
        told = " ".join(channels.describe(energy))
        raise NoZeroLossPeakError(f"no zero-loss peak found beside channels that are wrong: {told}")


def _channels_of(counts, sampled, spectra):
    """Find the channels that can be trusted by the usable spectra of a sample."""
    usable = sampled.usable
    # Where integers overflowed counts jump from channel to channel, at the same place in alike spectra.
    whole_peak = usable & ~overflowed(counts, sampled.channel)
    usable = whole_peak if whole_peak.any() else usable
    if not usable.any():
        return Channels(np.zeros(spectra.energy.size, bool), 0, spectra.energy.size)
    width = np.median(sampled.fwhm[usable]) / spectra.step
    seen = np.flatnonzero(usable)
    # Some of these may hold rays, and more are not looked at.
    n_seen = min(seen.size, _WITH_RAYS * SPECTRA_LOOKED_AT)
    seen = seen[np.linspace(0, seen.size - 1, n_seen).astype(int)]
    rows = seen[_without_rays(counts if seen.size == len(counts) else counts[seen], width)]
    whole = rows.size == len(counts)
    return inspect_channels(counts if whole else counts[rows], sampled.channel[rows], width)


def _without_rays(counts, width):
    """Choose the spectra without spikes, which tell nothing of the channels of a detector; else all."""
    some = np.asarray(counts[looked_at(len(counts))], float)
    noise = rough_noise(some, NoiseModel(gain=max(counts.max(), 1.0), readout=0.0))
    clean = join_blocks(
        lambda some: ~find_spikes(np.asarray(some, float), width, noise).any(-1), counts
    )
    return clean if clean.mean() >= _FEWEST_CLEAN else np.ones_like(clean)


def _without_odd(parameters, spectra):
    """Measure peaks of other widths once more, and mark those that stay so."""
    usable = np.flatnonzero(parameters.usable & (parameters.intensity > 0))
    if usable.size < FEWEST_SPECTRA:
        return parameters
    rows = usable[_odd_among(parameters, usable)]
    if not rows.size:
        return parameters
    rows = rows[:_MOST_READ_AGAIN]
    others = np.setdiff1d(usable, rows)
    typical = parameters.select(others)
    (counts,) = compute(take_spectra(spectra.counts, rows), show_progressbar=False, title="")
    counts = np.asarray(counts, float)
    spikes = find_spikes(
        counts,
        width=np.median(typical.fwhm) / spectra.step,
        noise=NoiseModel(gain=0.0, readout=0.0),
    )
    again = peak_parameters(without_spikes(counts, spikes), spectra.energy)
    measured = parameters.with_rows(rows, again)
    still = _odd_among(measured, usable)
    return measured.marked(usable[still], MISSHAPEN)


def _without_later(parameters, spectra):
    """Mark spectra whose peak is far from where others have it, and that have a lower one there: it is a loss."""
    usable = np.flatnonzero(parameters.usable & (parameters.intensity > 0))
    if usable.size < FEWEST_SPECTRA:
        return parameters
    some = parameters.select(usable)
    rows = usable[far_away(some.centre, some.fwhm)][:_MOST_READ_AGAIN]
    if not rows.size:
        return parameters
    centre, fwhm = np.median(some.centre), np.median(some.fwhm)
    there = np.abs(spectra.energy - centre) < _ABOUT * fwhm
    (counts,) = compute(take_spectra(spectra.counts, rows), show_progressbar=False, title="")
    first = peak_parameters(np.asarray(counts, float)[:, there], spectra.energy[there])
    is_loss = first.usable & (np.abs(first.centre - centre) < fwhm)
    return parameters.marked(rows[is_loss], MISSHAPEN)


def _odd_among(parameters, rows):
    """Tell which of some spectra have a peak of another width."""
    some = parameters.select(rows)
    usable = some.usable & (some.intensity > 0)
    odd = np.zeros(len(rows), bool)
    odd[usable] = of_other_width(some.centre[usable], some.fwhm[usable], some.intensity[usable])
    return odd
