# SPDX-License-Identifier: GPL-3.0-or-later
"""Selection after the fits: replicas to keep, and why the others are dropped.

Robust against many bad fits at once: limits come from the median and the median absolute
deviation, which half of the replicas would have to fail to move.
"""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.statistics import MAD_TO_SIGMA

#: A replica is an outlier this many robust standard deviations above the median of ln(chi2).
_OUTLIER = 4.0
#: Least robust standard deviation of ln(chi2): fits that are alike are no outliers.
_LEAST_SPREAD = 0.1
#: Rise of ln(ZLP) between two points of a tail that is more than a ripple; ripples are levelled
#: when the ensemble is tabulated.
_LARGEST_RISE = 2.0
#: Fraction of the replicas that must be left.
_LEAST_KEPT = 0.5


class TooFewReplicasError(RuntimeError):
    """Fewer than half of the replicas gave a usable network."""


@dataclass(frozen=True)
class Selection:
    """Kept replicas and the reasons for dropping the others.

    Attributes
    ----------
    kept : ndarray of bool of shape (n_replicas,)
    dropped : dict of str to int
        Number of replicas dropped for each reason; a replica counts once.
    """

    kept: np.ndarray
    dropped: dict[str, int]


def select(chi2, chi2_validation, rise):
    """Select the replicas to keep, as Roest 2021 (section 3.4) but with robust limits.

    Parameters
    ----------
    chi2, chi2_validation : ndarray of shape (n_replicas,)
        Mean squared residual on training and validation points.
    rise : ndarray of shape (n_replicas,)
        Largest rise of ln(ZLP) outward along the tails.

    Returns
    -------
    Selection

    Raises
    ------
    TooFewReplicasError
        If fewer than half of the replicas are left.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.network.selection import select
    >>> chi2 = np.array([1.1, 0.9, 1.0, np.nan, 1e4, 1.2])
    >>> selection = select(chi2, chi2_validation=np.ones(6), rise=np.zeros(6))
    >>> selection.kept
    array([ True,  True,  True, False, False,  True])
    >>> selection.dropped
    {'fit failed': 1, 'training chi2 is an outlier': 1}
    """
    kept, dropped = sort_out(chi2, chi2_validation, rise)
    if kept.sum() < max(_LEAST_KEPT * len(chi2), 1):
        counted = ", ".join(f"{count}: {reason}" for reason, count in dropped.items())
        raise TooFewReplicasError(
            f"only {kept.sum()} of {len(chi2)} replicas gave a usable network ({counted}). "
            "The regions probably hold more than the zero-loss peak: look at the data, and set "
            "regions=dict(E_I=...) below the first loss, or n_clusters smaller."
        )
    return Selection(kept, dropped)


def sort_out(chi2, chi2_validation, rise):
    """Find the replicas that are usable, and count the others by reason.

    Parameters
    ----------
    chi2, chi2_validation : ndarray of shape (n_replicas,)
        Mean squared residual on training and validation points.
    rise : ndarray of shape (n_replicas,)
        Largest rise of ln(ZLP) outward along the tails.

    Returns
    -------
    usable : ndarray of bool of shape (n_replicas,)
    dropped : dict of str to int

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.network.selection import sort_out
    >>> usable, dropped = sort_out(np.array([1.1, np.nan]), np.ones(2), np.zeros(2))
    >>> usable, dropped
    (array([ True, False]), {'fit failed': 1})
    """
    reasons = {
        "fit failed": ~(np.isfinite(chi2) & np.isfinite(chi2_validation) & np.isfinite(rise)),
        "training chi2 is an outlier": _outlying(chi2),
        "validation chi2 is an outlier": _outlying(chi2_validation),
        "tail rises": rise > _LARGEST_RISE,
    }
    kept = np.ones(len(chi2), bool)
    dropped = {}
    for reason, bad in reasons.items():
        new = bad & kept
        if new.any():
            dropped[reason] = int(new.sum())
        kept &= ~bad
    return kept, dropped


def _outlying(values):
    """Find values far above the median, on a logarithmic scale."""
    finite = np.isfinite(values) & (values > 0)
    if finite.sum() < 4:
        return np.zeros(len(values), bool)
    logarithm = np.log(np.where(finite, values, 1.0))
    middle = np.median(logarithm[finite])
    spread = MAD_TO_SIGMA * np.median(np.abs(logarithm[finite] - middle))
    return finite & (logarithm > middle + _OUTLIER * max(spread, _LEAST_SPREAD))
