# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings against the defaults, on spectra that neither was selected by.

Two trainings with the same settings differ too, and all spectra share what they differ by. Both are
therefore trained several times, with the same seeds, and the standard error of the difference counts
how it varies from training to training and from spectrum to spectrum.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from hyperspy_zlpml.search.scores import kind_weights

#: A gain that is none is called one this rarely; so is a loss.
FALSE_ALARMS = 0.025


@dataclass(frozen=True)
class Comparison:
    """Comparison of settings with the defaults, paired by spectrum and by seed.

    Attributes
    ----------
    gain : float
        Mean difference of the log scores, nats per window: positive where the settings are better
        than the defaults.
    error : float
        Its standard error.
    n_trainings, n_spectra : int
        Trainings of each, and spectra that the search has not seen.
    n_free : int
        Degrees of freedom of the error.
    score : float
        Mean log score of the settings.
    default_score : float
        Mean log score of the defaults.

    Examples
    --------
    >>> from hyperspy_zlpml.search.comparison import Comparison
    >>> print(
    ...     Comparison(
    ...         0.03, 0.02, n_trainings=5, n_spectra=64, n_free=4, score=-1.5, default_score=-1.53
    ...     )
    ... )
    no gain over the defaults: +0.030 +- 0.020 nats per window
    """

    gain: float
    error: float
    n_trainings: int
    n_spectra: int
    n_free: int
    score: float
    default_score: float

    @property
    def least(self):
        """Least gain that is significant: one that is none exceeds it once in forty searches."""
        return float(stats.t.ppf(1 - FALSE_ALARMS, self.n_free)) * self.error

    @property
    def is_gain(self):
        """Whether the settings are significantly better than the defaults."""
        return bool(self.gain > self.least)

    @property
    def is_loss(self):
        """Whether they are significantly worse."""
        return bool(self.gain < -self.least)

    def __str__(self):
        verdict = "no gain over the defaults"
        if self.is_gain or self.is_loss:
            verdict = f"significant {'gain' if self.is_gain else 'loss'} against the defaults"
        return f"{verdict}: {self.gain:+.3f} +- {self.error:.3f} nats per window"


def compare(scores, default_scores, kind):
    """Compare log scores with those of the defaults.

    Parameters
    ----------
    scores, default_scores : ndarray of shape (n_trainings, n_spectra)
        Each row of both is of one seed.
    kind : ndarray of int of shape (n_spectra,)
        Each counts alike, and holds two spectra at least.

    Returns
    -------
    Comparison

    Examples
    --------
    What all spectra share in a training does not average out over the spectra:

    >>> import numpy as np
    >>> from hyperspy_zlpml.search.comparison import compare
    >>> shared = np.array([0.1, -0.1, 0.1, -0.1])[:, None]
    >>> scores = np.zeros((4, 1000)) + shared
    >>> round(compare(scores, np.zeros((4, 1000)), np.zeros(1000, int)).error, 4)
    0.0577
    """
    difference, weights = scores - default_scores, kind_weights(kind)
    gain = float(difference.mean(0) @ weights)
    n_trainings, n_spectra = difference.shape
    of_training = (difference @ weights).var(ddof=1) / n_trainings
    of_spectra, n_free = _variance_over_spectra(difference.mean(0), kind)
    return Comparison(
        gain=gain,
        error=float(np.sqrt(of_training + of_spectra)),
        n_trainings=n_trainings,
        n_spectra=n_spectra,
        # Those of the less certain part: an error that few tell is not known better than this.
        n_free=min(n_trainings - 1, n_free),
        score=float(scores.mean(0) @ weights),
        default_score=float(default_scores.mean(0) @ weights),
    )


def _variance_over_spectra(difference, kind):
    """Estimate the variance of a mean of kinds, spectra of each about their own mean.

    Returns the fewest degrees of freedom of a kind, too.
    """
    kinds = [difference[kind == one] for one in np.unique(kind)]
    total = sum(one.var(ddof=1) / one.size for one in kinds) / len(kinds) ** 2
    return total, min(one.size for one in kinds) - 1
