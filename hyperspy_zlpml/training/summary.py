# SPDX-License-Identifier: GPL-3.0-or-later
"""Summary of how well the networks of an ensemble were trained."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TrainingSummary:
    """Summary of how well the networks of an ensemble were trained, for the report.

    Attributes
    ----------
    n_replicas, n_kept : int
        Replicas drawn, and those of them that the ensemble consists of.
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

        Examples
        --------
        Replicas that were dropped do not count:

        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> from hyperspy_zlpml.network.selection import Selection
        >>> from hyperspy_zlpml.training.summary import TrainingSummary
        >>> chi2 = np.array([1.0, 1.2, 50.0])
        >>> trained = SimpleNamespace(chi2=chi2, chi2_validation=1.1 * chi2)
        >>> selection = Selection(kept=chi2 < 10, dropped={"training chi2 is an outlier": 1})
        >>> summary = TrainingSummary.of(trained, selection)
        >>> summary.n_kept, summary.chi2
        (2, 1.1)
        """
        kept = selection.kept
        return cls(
            n_replicas=kept.size,
            n_kept=int(kept.sum()),
            dropped=selection.dropped,
            chi2=float(np.median(trained.chi2[kept])),
            chi2_validation=float(np.median(trained.chi2_validation[kept])),
        )
