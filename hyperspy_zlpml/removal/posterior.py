# SPDX-License-Identifier: GPL-3.0-or-later
"""Posterior of the zero-loss peak of every spectrum: a Gaussian in about a dozen numbers.

Everything that is said of the ZLP of a spectrum, its counts, their error, the band and integrals, is a
function of these numbers, and of the counts of the spectrum where something is subtracted from them.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import chdtri

from hyperspy_zlpml.compute.compiled import laid_out
from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.zlp import kernels
from hyperspy_zlpml.zlp.kernels import N_PEAK
from hyperspy_zlpml.zlp.matching import KnownPeaks, Match

#: Counts are summed with weights between these, so that channels that change places show.
_WEIGHTS = (0.5, 1.5)
#: Seed of those weights: they are the same for ever, for results are kept in files.
_SEED = 20220510
#: Fraction of the sum of its channels by which a spectrum may differ from itself: rounding.
_ROUNDING = 1e-5
#: A peak misses its spectrum where chi2 per degree of freedom is larger than 1 by more than this part,
#: and than noise makes it with this probability.
_EXCESS, _RARE = 0.5, 1e-5
#: Numbers of each spectrum beside its peak, the match and its covariance.
_FLAGS = ("highest", "is_credible", "weighted_sum")
#: Numbers of a match beside its coefficients and their covariance: height, position, width and chi2.
_N_SINGLE = 5


@dataclass(frozen=True)
class Posterior(PerSpectrum):
    """Knowledge of the zero-loss peak of every spectrum, after it was matched.

    Attributes
    ----------
    peaks : KnownPeaks
        What was known before the match; NaN where a spectrum is not used.
    matched : Match
        Height, position, width and shape as fitted, and their covariance.
    highest : ndarray of shape (n_spectra,)
        Highest counts per channel: a ZLP is no higher.
    is_credible : ndarray of bool of shape (n_spectra,)
        Whether the matched peak is where the counts are.
    weighted_sum : ndarray of shape (n_spectra,)
        Sum of the counts with fixed weights, by which a spectrum is known again.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.posterior import Posterior
    >>> empty = Posterior.empty(3, n_modes=2)
    >>> empty.usable, empty.pack().shape, Posterior.n_numbers(2)
    (array([False, False, False]), (3, 31), 31)
    """

    peaks: KnownPeaks
    matched: Match
    highest: np.ndarray
    is_credible: np.ndarray
    weighted_sum: np.ndarray

    @classmethod
    def empty(cls, n_spectra, n_modes):
        """Make the posterior of spectra that are not used.

        Parameters
        ----------
        n_spectra, n_modes : int

        Returns
        -------
        Posterior
            NaN throughout.
        """
        return cls.unpack(np.full((n_spectra, cls.n_numbers(n_modes)), np.nan), n_modes)

    @property
    def usable(self):
        """Spectra that have a zero-loss peak, as a boolean array."""
        return self.peaks.usable & (self.is_credible > 0)

    @staticmethod
    def n_numbers(n_modes):
        """Count the numbers that are kept of a spectrum.

        Parameters
        ----------
        n_modes : int

        Returns
        -------
        int
        """
        n = N_PEAK + n_modes
        n_peaks = len(KnownPeaks._of_spectra())
        return n_peaks + _N_SINGLE + len(_FLAGS) + n_modes + n * (n + 1) // 2

    def pack(self):
        """Write all numbers into one array; of the covariance one half.

        Returns
        -------
        ndarray of float of shape (n_spectra, n_numbers)
        """
        matched = self.matched
        half = np.tril_indices(matched.covariance.shape[-1])
        single = (matched.log_height, matched.centre, matched.fwhm, matched.chi2, matched.n_points)
        flags = [np.asarray(getattr(self, name), float) for name in _FLAGS]
        columns = np.stack([*single, *flags], -1)
        covariance = matched.covariance[:, half[0], half[1]]
        return np.concatenate(
            [self.peaks.stack(), columns, matched.coefficients, covariance], axis=-1
        )

    @staticmethod
    def lost(packed):
        """Tell which spectra should have a zero-loss peak and have none: it could not be matched.

        Parameters
        ----------
        packed : ndarray of shape (..., n_numbers)

        Returns
        -------
        ndarray of bool of shape (...)

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.removal.posterior import Posterior
        >>> packed = np.ones((3, Posterior.n_numbers(n_modes=0)))
        >>> packed[1] = np.nan  # left out before
        >>> packed[2, 12] = 0.0  # no credible peak
        >>> Posterior.lost(packed)
        array([False, False,  True])
        """
        n_known = len(KnownPeaks._of_spectra())
        is_credible = packed[..., n_known + _N_SINGLE + _FLAGS.index("is_credible")]
        return KnownPeaks.unstack(packed[..., :n_known]).usable & ~(is_credible > 0)

    @staticmethod
    def misses(packed):
        """Tell where the peak misses the spectrum within its own limits: it was that of another microscope.

        Parameters
        ----------
        packed : array of shape (..., n_numbers)

        Returns
        -------
        array of bool of shape (...)
            Where chi2 is more than half above the degrees of freedom, and than noise makes it once in
            100 000 spectra.
        """
        first = len(KnownPeaks._of_spectra()) + 3
        chi2, n_points = packed[..., first], packed[..., first + 1]
        freedom = (n_points - N_PEAK).clip(1)
        return chi2 > np.maximum((1 + _EXCESS) * freedom, chdtri(freedom, _RARE))

    @classmethod
    def unpack(cls, packed, n_modes):
        """Read what :meth:`pack` wrote.

        Parameters
        ----------
        packed : ndarray of shape (n_spectra, n_numbers)
        n_modes : int

        Returns
        -------
        Posterior
        """
        n_peaks, n = len(KnownPeaks._of_spectra()), N_PEAK + n_modes
        ends = np.cumsum([n_peaks, _N_SINGLE + len(_FLAGS), n_modes])
        peaks, columns, coefficients, half = np.split(packed, ends, axis=-1)
        log_height, centre, fwhm, chi2, n_points, *flags = np.moveaxis(columns, -1, 0)
        covariance = np.empty((len(packed), n, n))
        rows, others = np.tril_indices(n)
        covariance[:, rows, others] = covariance[:, others, rows] = half
        matched = Match(
            log_height=log_height,
            centre=centre,
            fwhm=fwhm,
            coefficients=coefficients,
            covariance=covariance,
            chi2=chi2,
            n_points=n_points,
        )
        return cls(KnownPeaks.unstack(peaks), matched, *flags)


def weighted_sums(counts):
    """Sum the counts of spectra with fixed weights, by which they are known again.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)

    Returns
    -------
    ndarray of shape (n_spectra,)

    Examples
    --------
    Two channels that change places make another sum:

    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.posterior import weighted_sums
    >>> one, other = weighted_sums(np.array([[1.0, 5.0, 2.0], [5.0, 1.0, 2.0]]))
    >>> bool(one == other)
    False
    """
    return _sums_and_sizes(counts, np.arange(len(counts)))[0]


def _sums_and_sizes(counts, rows):
    """Sum the counts of some spectra with fixed weights, and their absolute values without."""
    dtype = counts.dtype if counts.dtype == np.float32 else float
    sums, sizes = np.empty((2, len(rows)))
    kernels.weighted_sums(
        laid_out(counts, dtype),
        rows=laid_out(rows, np.int64),
        weights=_weights(counts.shape[-1]),
        sums=sums,
        sizes=sizes,
    )
    return sums, sizes


@lru_cache(maxsize=4)
def _weights(n_energy):
    """Draw the weights of channels."""
    return np.random.default_rng(_SEED).uniform(*_WEIGHTS, n_energy)


def check_unchanged(counts, posterior, rows=None):
    """Raise ValueError unless spectra are those that were matched.

    Parameters
    ----------
    counts : ndarray of shape (n_all, n_energy)
    posterior : Posterior
        Of n_spectra, all usable.
    rows : ndarray of int of shape (n_spectra,), optional
        Places of these spectra in the counts; default all.

    Raises
    ------
    ValueError
        If counts were changed, by more than rounding, since the peak was matched to them.
    """
    sums, sizes = _sums_and_sizes(counts, np.arange(len(counts)) if rows is None else rows)
    changed = ~(np.abs(sums - posterior.weighted_sum) <= _ROUNDING * sizes)
    if changed.any():
        raise ValueError(
            f"counts: expected the spectra that the ZLP was matched to, got {changed.sum()} of "
            f"{changed.size} looked at that are others: were they changed in place since? Results "
            "are made when they are asked for: ask before, or remove the ZLP from a copy."
        )
