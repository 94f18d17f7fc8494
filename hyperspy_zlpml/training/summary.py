# SPDX-License-Identifier: GPL-3.0-or-later
"""How well the networks of an ensemble were trained."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TrainingSummary:
    """How well the networks of an ensemble were trained, for the report.

    Attributes
    ----------
    n_replicas, n_kept : int
    dropped : dict of str to int
        Replicas dropped, by reason.
    chi2, chi2_validation : float
        Medians over the replicas kept.
    """

    n_replicas: int
    n_kept: int
    dropped: dict[str, int]
    chi2: float
    chi2_validation: float

    @classmethod
    def of(cls, trained, selection):
        """Summarise a training.

        Parameters
        ----------
        trained : Trained
        selection : Selection

        Returns
        -------
        TrainingSummary
        """
        kept = selection.kept
        return cls(
            n_replicas=kept.size,
            n_kept=int(kept.sum()),
            dropped=selection.dropped,
            chi2=float(np.median(trained.chi2[kept])),
            chi2_validation=float(np.median(trained.chi2_validation[kept])),
        )
