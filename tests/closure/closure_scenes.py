# SPDX-License-Identifier: GPL-3.0-or-later
"""Sample images with the zero-loss peak removed, and errors against what truly was there.

Errors of the ZLP are mostly common to neighbouring channels, and in part to all pixels of an
image. An image is therefore one trial, or a few, whatever the number of its channels and pixels:
tests pool images of different states, and their bounds count images.
"""

import functools
from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml import data
from hyperspy_zlpml.image.dark_pattern import DarkPattern
from hyperspy_zlpml.image.detector import Detector
from hyperspy_zlpml.removal.subtract import Subtraction
from hyperspy_zlpml.statistics import Range

#: Windows in FWHM from the peak.
NEAR = (1.5, 4.0)
MIDDLE = (2.0, 8.0)
FAR = (4.0, 12.0)
SINGLE = ("single_spectrum",)
#: Half widths of normal bands.
SIGMAS = {0.68: 0.9945, 0.95: 1.9600}


@dataclass(frozen=True, eq=False)
class Scene:
    """One image and its removal as arrays, spectra on the first axis."""

    result: object
    peaks: np.ndarray
    energy: np.ndarray
    counts: np.ndarray
    truth: np.ndarray
    inelastic: np.ndarray
    sigma: np.ndarray
    centre: np.ndarray
    fwhm: np.ndarray
    gap: np.ndarray
    is_vacuum: np.ndarray
    found: np.ndarray
    std: np.ndarray
    bands: dict

    @property
    def u(self):
        """Reduced energies, of the true centres and widths."""
        return (self.energy - self.centre[:, None]) / self.fwhm[:, None]

    @property
    def error(self):
        """ZLP found minus true, counts."""
        return self.found - self.truth

    def rows(self, pixels):
        """Spectra of ``"vacuum"`` or ``"specimen"``."""
        return self.is_vacuum if pixels == "vacuum" else ~self.is_vacuum

    def within(self, window, pixels="specimen"):
        """Channels of a window (FWHM) in the spectra of some pixels."""
        u = self.u
        low, high = window
        return (u > low) & (u < high) & self.rows(pixels)[:, None]

    def rms(self, window, pixels="specimen"):
        """Error of the ZLP in standard deviations of the noise of one channel."""
        return float(np.sqrt(np.mean((self.error / self.sigma)[self.within(window, pixels)] ** 2)))

    def coverage(self, window, confidence, pixels="specimen"):
        """Fraction of the channels whose band holds the true ZLP."""
        low, high = self.bands[confidence]
        return float(
            np.mean(((low <= self.truth) & (self.truth <= high))[self.within(window, pixels)])
        )

    def pull(self, window, pixels="specimen"):
        """Mean error of the channels in units of the error claimed."""
        return float(np.mean((self.error / self.std)[self.within(window, pixels)]))

    def integral_pulls(self, window, pixels="specimen"):
        """Error of the integral over a window, in units of the error claimed, of every spectrum."""
        return _integral_pulls(self, window, pixels)

    def integral_coverage(self, window, confidence, pixels="specimen"):
        """Fraction of the spectra whose integral is within its claimed error."""
        pulls = self.integral_pulls(window, pixels)
        return float(np.mean(np.abs(pulls) < SIGMAS[confidence]))

    def width(self, window, pixels="specimen"):
        """Claimed error in standard deviations of the noise of one channel."""
        return float(np.mean((self.std / self.sigma)[self.within(window, pixels)]))

    def rms_of(self, zlp, window, pixels="specimen"):
        """Error of any other ZLP, counts, where it is known; as :meth:`rms`."""
        inside = self.within(window, pixels) & np.isfinite(zlp)
        return float(np.sqrt(np.mean(((zlp - self.truth) / self.sigma)[inside] ** 2)))

    def relative_width(self, window, pixels="specimen"):
        """Claimed error as a fraction of the ZLP."""
        return float(np.mean((self.std / self.truth)[self.within(window, pixels)]))

    def in_gap(self):
        """Signal between core and onset that truly is not there: of the ZLP, and in its errors.

        The mean over the specimen. Its error holds the counting noise of all pixels and the
        model's, which is taken as common to them.
        """
        rows = np.flatnonzero(~self.is_vacuum)
        left = 1.5 * self.fwhm[rows]
        right = np.maximum(self.gap[rows], left + 0.5 * self.fwhm[rows])
        found = self.result._application.subtraction.integrate(
            self.counts[rows], self.peaks.select(rows), Range(left, right)
        )
        distance = self.energy - self.centre[rows][:, None]
        inside = (distance >= left[:, None]) & (distance < right[:, None])
        excess = found.integral - (self.inelastic[rows] * inside).sum(-1)
        counting = np.sqrt((found.counting_std**2).sum()) / rows.size
        error = np.hypot(found.model_std.mean(), counting)
        return excess.mean() / found.zlp.mean(), excess.mean() / error

    def reflected(self, joined=None):
        """The gain side of every spectrum laid on its loss side, counts; NaN where it ends.

        Means over five channels, as one would do by hand. Raised to join the loss side within a
        fifth of ``joined`` FWHM where that is given.
        """
        smooth = np.apply_along_axis(np.convolve, -1, self.counts, np.ones(5) / 5, "same")
        mirrored = 2 * self.centre[:, None] - self.energy
        laid = np.array(
            [
                np.interp(at, self.energy, row, left=np.nan, right=np.nan)
                for at, row in zip(mirrored, smooth, strict=True)
            ]
        )
        if joined is None:
            return laid
        near = np.abs(self.u / joined - 1) < 0.2
        return laid * ((smooth * near).sum(-1) / np.where(near, laid, 0).sum(-1))[:, None]


@functools.cache
def _integral_pulls(one, window, pixels):
    rows = np.flatnonzero(one.rows(pixels))
    limits = Range(*(edge * one.fwhm[rows] for edge in window))
    subtraction = one.result._application.subtraction
    found = subtraction.integrate(one.counts[rows], one.peaks.select(rows), limits)
    return (one.error * one.within(window, pixels))[rows].sum(-1) / found.model_std


def band(result, confidence, counts, rows):
    """Lower and upper ZLP of the same removal at another confidence.

    A call with ``ensemble=result.ensemble`` would find regions and scatter of its own.
    """
    one, peaks = result._application.subtraction, result._application.peaks
    channels = Range(int(np.nanmin(peaks.channel)), int(np.nanmax(peaks.channel)))
    other = Subtraction.prepare(
        result.ensemble.tabulate(confidence),
        one.log_fwhm,
        one.energy,
        Detector(0.0, "", one.noise, DarkPattern(one.dark_level)),
        channels=channels,
        distance=one.distance,
    )
    *_, lower, upper, _ = other.apply(counts, peaks.select(rows))
    return counts - upper, counts - lower


@functools.cache
def scene(kind, seed, shape, n_replicas=40, n_clusters=5, n_scored=None, **settings):
    """Simulate an image of a kind and remove its ZLP.

    Of vacuum and specimen at most ``n_scored`` spectra each are kept, drawn at random.
    """
    sample = data.SAMPLE_KINDS[kind](shape, random_state=seed, **settings)
    n = sample.signal.data.shape[-1]
    # Nothing in an image of vacuum alone tells that it is: the user does.
    vacuum = True if settings.get("vacuum_fraction") == 1 else None
    if kind in SINGLE:
        vacuum = data.vacuum_reference(random_state=seed + 1000, n_channels=n).signal
    result = sample.signal.remove_zlp_ml(
        vacuum=vacuum, n_replicas=n_replicas, n_clusters=n_clusters, random_state=seed
    )
    thickness = np.ravel(sample.thickness.data)
    shuffled = np.random.default_rng(seed).permutation(thickness.size)
    rows = np.sort(
        np.concatenate(
            [shuffled[(thickness[shuffled] == 0) == empty][:n_scored] for empty in (0, 1)]
        )
    )

    def flat(signal):
        return signal.data.reshape(-1, n)[rows].astype(float)

    def column(signal):
        return np.ravel(signal.data)[rows].astype(float)

    counts, truth, inelastic = map(flat, (sample.signal, sample.zlp, sample.inelastic))
    return Scene(
        result=result,
        peaks=result._application.peaks.select(rows),
        energy=sample.signal.axes_manager.signal_axes[0].axis,
        counts=counts,
        truth=truth,
        inelastic=inelastic,
        sigma=np.sqrt(sample.gain * (truth + inelastic) + sample.readout**2),
        centre=column(sample.centre),
        fwhm=column(sample.fwhm),
        gap=column(sample.band_gap),
        is_vacuum=thickness[rows] == 0,
        found=flat(result.zlp),
        std=flat(result.std),
        bands={
            0.68: (counts - flat(result.upper), counts - flat(result.lower)),
            0.95: band(result, 0.95, counts, rows),
        },
    )
