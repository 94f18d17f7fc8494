# SPDX-License-Identifier: GPL-3.0-or-later
"""Scores of a trained ensemble on spectra that were held out: the predictive log score of tails.

Vacuum is subtracted as if it were specimen: matched below ``E_I`` only, its tail is predicted.
Pixels of the specimen are matched below a part of ``E_I``, and predicted up to it. The score of a
window is the logarithm of the density that the model, with its error bar, gave to the counts: errors
and error bars that are too small or too large all lower it (Gneiting and Raftery, J. Am. Stat.
Assoc. 102, 359, 2007).
"""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.image.peaks import PeakParameters
from hyperspy_zlpml.removal.integrals import integrate
from hyperspy_zlpml.statistics import Range
from hyperspy_zlpml.zlp.matching import KnownPeaks

#: Vacuum is predicted from ``E_I`` up to this many FWHM ...
_VACUUM_UP_TO = 8.0
#: ... or this many times ``E_I``.
_VACUUM_AT_LEAST_TO = 1.5
#: Pixels of the specimen are matched below this part of ``E_I``.
_MATCHED_PART = 0.6
#: Where nothing has an ``E_I``, vacuum is matched below this many FWHM.
_MATCHED_WITHOUT = 2.5
#: Windows that a tail is cut into, each a constant factor wider than the one before.
_N_WINDOWS = 4
#: Fewest spectra of vacuum, and of specimen, in a set where each has a weight of its own.
FEWEST_OF_A_KIND = 6
#: Deviations beyond so many error bars count as this: one spike does not rule a score.
_LARGEST_PULL = 10.0
#: Score of a spectrum that could not be matched: as far off, and ten times too wide.
LOST = -0.5 * _LARGEST_PULL**2 - 0.5 * np.log(2 * np.pi) - np.log(10.0)


@dataclass(frozen=True)
class HeldOut(PerSpectrum):
    """Spectra that an ensemble is scored on.

    Attributes
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        As measured.
    parameters : PeakParameters
        All usable.
    is_vacuum : ndarray of bool of shape (n_spectra,)
    kind : ndarray of int of shape (n_spectra,)
        Spectra of each kind count alike, however many there are of each; see :func:`kinds_of`.
    gain_limit, loss_limit : ndarray of shape (n_spectra,)
        Energies from the peak between which spectra are matched, eV: the same for all settings.
    end : ndarray of shape (n_spectra,)
        Energy from the peak up to which they are predicted, eV.
    """

    counts: np.ndarray
    parameters: PeakParameters
    is_vacuum: np.ndarray
    kind: np.ndarray
    gain_limit: np.ndarray
    loss_limit: np.ndarray
    end: np.ndarray

    @property
    def edges(self):
        """Edges of the windows, eV from the peak, shape (n_spectra, 5)."""
        power = np.linspace(0, 1, _N_WINDOWS + 1)
        return self.loss_limit[:, None] * (self.end / self.loss_limit)[:, None] ** power


def hold_out(counts, parameters, is_vacuum, *, kind, energy, regions):
    """Say between which energies held-out spectra are matched, and up to where predicted.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    parameters : PeakParameters
    is_vacuum : ndarray of bool of shape (n_spectra,)
    kind : ndarray of int of shape (n_spectra,)
        As :func:`kinds_of` says.
    energy : ndarray of shape (n_energy,)
        eV.
    regions : Regions
        Found with the default settings, for all settings to be asked the same.

    Returns
    -------
    HeldOut
    """
    n, fwhm = len(counts), np.median(parameters.fwhm)
    on_axis = energy[-2] - parameters.centre.max()
    finite = regions.E_I[np.isfinite(regions.E_I)]
    limit = min(finite.min(initial=np.inf), on_axis / _VACUUM_AT_LEAST_TO)
    limit = limit if finite.size else min(_MATCHED_WITHOUT * fwhm, limit)
    tail = min(max(_VACUUM_UP_TO * fwhm, _VACUUM_AT_LEAST_TO * limit), on_axis)
    return HeldOut(
        counts=counts,
        parameters=parameters,
        is_vacuum=is_vacuum,
        kind=kind,
        gain_limit=np.full(n, np.max(regions.gain_limit)),
        loss_limit=np.where(is_vacuum, limit, _MATCHED_PART * limit),
        end=np.where(is_vacuum, tail, limit),
    )


@dataclass(frozen=True)
class Scores(PerSpectrum):
    """Scores of an ensemble on held-out spectra.

    Attributes
    ----------
    log_score : ndarray of shape (n_spectra,)
        Mean log score of the windows of each spectrum, nats, of densities over counts in units of
        their counting noise.
    pull : ndarray of shape (n_spectra, n_windows)
        What is left over its error bar; NaN where a spectrum could not be matched, or a window
        holds no channel.
    error : ndarray of shape (n_spectra, n_windows)
        What is left over the counting noise alone.
    kind : ndarray of int of shape (n_spectra,)
        Each counts alike.

    Examples
    --------
    Both kinds count alike, however many spectra there are of each:

    >>> import numpy as np
    >>> from hyperspy_zlpml.search.scores import Scores
    >>> pull = np.array([[0.5], [2.0], [0.1]])
    >>> scores = Scores(np.array([-1.0, -3.0, -1.0]), pull, pull, np.array([1, 1, 0]))
    >>> scores.mean, scores.coverage
    (-1.5, 0.75)
    """

    log_score: np.ndarray
    pull: np.ndarray
    error: np.ndarray
    kind: np.ndarray

    @property
    def weights(self):
        """Weight of each spectrum in all means; they add up to one."""
        return kind_weights(self.kind)

    @property
    def mean(self):
        """Mean log score, nats per window."""
        return float(self.weights @ self.log_score)

    @property
    def coverage(self):
        """Share of the windows within one error bar: 0.68 if all is right."""
        n_windows = np.maximum(np.isfinite(self.pull).sum(-1), 1)
        return float(self.weights @ ((np.abs(self.pull) < 1).sum(-1) / n_windows))

    @property
    def rms_error(self):
        """Root mean square of what is left, in units of the counting noise."""
        seen = np.isfinite(self.error)
        square = np.where(seen, self.error, 0.0) ** 2
        square, known = square.sum(-1) / np.maximum(seen.sum(-1), 1), seen.any(-1)
        weights = self.weights[known]
        return float(np.sqrt(weights @ square[known] / weights.sum())) if known.any() else np.nan


def kinds_of(*sets):
    """Say which held-out spectra count together: vacuum apart from specimen, or all as one kind.

    How much a mean of a few spectra varies cannot be told from them. Vacuum has a weight of its own
    where every set holds enough spectra of both; elsewhere it counts as the others do.

    Parameters
    ----------
    *sets : ndarray of bool of shape (n_spectra,)
        Which spectra of each set see vacuum.

    Returns
    -------
    list of ndarray of int of shape (n_spectra,)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.search.scores import kinds_of
    >>> kinds_of(np.arange(20) < 8, np.arange(20) < 2)[0].any()
    np.False_
    >>> kinds_of(np.arange(20) < 8, np.arange(20) < 6)[0].sum()
    np.int64(8)
    """
    fewest = min(min(one.sum(), (~one).sum()) for one in sets)
    return [one.astype(int) * int(fewest >= FEWEST_OF_A_KIND) for one in sets]


def kind_weights(kind):
    """Weigh spectra so that every kind that is there counts alike.

    Parameters
    ----------
    kind : ndarray of int of shape (n_spectra,)

    Returns
    -------
    ndarray of shape (n_spectra,)
        They add up to one.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.search.scores import kind_weights
    >>> kind_weights(np.array([1, 0, 0]))
    array([0.5 , 0.25, 0.25])
    """
    _, number, sizes = np.unique(kind, return_inverse=True, return_counts=True)
    return 1 / (sizes[number] * sizes.size)


def score(subtraction, held, log_dose=0.0):
    """Score an ensemble on spectra that were held out.

    Parameters
    ----------
    subtraction : Subtraction
        The ensemble as it is applied.
    held : HeldOut
    log_dose : float
        Logarithm of the dose over that of the ensemble.

    Returns
    -------
    Scores
    """
    counts = held.counts.astype(float)
    posterior = subtraction.posterior(counts, _peaks_of(held, log_dose))
    known = np.flatnonzero(posterior.usable)
    shape = (len(counts), _N_WINDOWS)
    log_score, pull, error = np.full(shape, LOST), np.full(shape, np.nan), np.full(shape, np.nan)
    if not known.size:
        return Scores(log_score.mean(-1), pull, error, held.kind)
    matched, some, edges = posterior.select(known), counts[known], held.edges[known]
    for number in range(_N_WINDOWS):
        window = Range(edges[:, number], edges[:, number + 1])
        noise = _noise_in(some, held.select(known), window, subtraction)
        found = integrate(subtraction, matched, some, window)
        sigma = np.hypot(found.model_std, found.counting_std)
        # A channel may lie in a window by where the peak was measured, and not by where it is matched.
        noise = np.where(sigma == 0, np.nan, noise)
        with np.errstate(invalid="ignore", divide="ignore"):  # windows without channels
            deviation, width = found.integral / sigma, sigma / noise
        pull[known, number] = np.where(np.isnan(noise), np.nan, deviation)
        error[known, number] = found.integral / noise
        density = log_density(deviation, width)
        log_score[known, number] = np.where(np.isnan(noise), np.nan, density)
    return Scores(_mean_of_windows(log_score), pull, error, held.kind)


def _mean_of_windows(values):
    """Average over the windows that hold channels; spectra without any tell nothing."""
    seen = np.isfinite(values)
    total = np.where(seen, values, 0.0).sum(-1)
    return np.where(seen.any(-1), total / np.maximum(seen.sum(-1), 1), 0.0)


def log_density(pull, width):
    """Compute the logarithm of a normal density, for deviations that are no spikes.

    Parameters
    ----------
    pull : ndarray
        Deviations over the standard deviation.
    width : ndarray
        Standard deviation, in the unit that the density is over.

    Returns
    -------
    ndarray
        :data:`LOST` where there is no number, and at least that.

    Examples
    --------
    An error bar that is what it should be scores best:

    >>> import numpy as np
    >>> from hyperspy_zlpml.search.scores import log_density
    >>> error, width = 2.0, np.array([1.0, 2.0, 4.0])
    >>> log_density(error / width, width).round(2)
    array([-2.92, -2.11, -2.43])
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        bounded = np.clip(pull, -_LARGEST_PULL, _LARGEST_PULL)
        density = -0.5 * bounded**2 - np.log(width) - 0.5 * np.log(2 * np.pi)
    return np.maximum(np.where(np.isfinite(density), density, LOST), LOST)


def _peaks_of(held, log_dose):
    """Collect what is known of the peaks before they are matched."""
    parameters = held.parameters
    return KnownPeaks(
        channel=parameters.channel.astype(float),
        centre=parameters.centre,
        fwhm=parameters.fwhm,
        log_intensity=np.log(parameters.intensity) - log_dose,
        gain_limit=held.gain_limit,
        loss_limit=held.loss_limit,
    )


def _noise_in(counts, held, window, subtraction):
    """Estimate the counting noise in a window from the counts: the same for all settings.

    NaN where a window lies between two channels.
    """
    distance = subtraction.energy - held.parameters.centre[:, None]
    inside = (distance >= window.low[:, None]) & (distance < window.high[:, None])
    n_channels = np.maximum(inside.sum(-1, keepdims=True), 1)
    variance = subtraction.noise.of_measured(counts - subtraction.dark_level, n_channels)
    return np.sqrt(np.where(inside.any(-1), (variance * inside).sum(-1), np.nan))
