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
    work : float
        Multiply-adds of all steps up to the weights that were kept, about: what the training costs,
        whatever the machine is busy with.
    """

    n_replicas: int
    n_kept: int
    dropped: dict[str, int]
    chi2: float
    chi2_validation: float
    work: float = 0.0

    @classmethod
    def of(cls, trained, selection, n_points):
        """Summarise a training.

        Parameters
        ----------
        trained : Trained
        selection : Selection
        n_points : float
            Points that a replica is trained on, on average.

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
        >>> trained = SimpleNamespace(
        ...     chi2=chi2,
        ...     chi2_validation=1.1 * chi2,
        ...     steps=np.array([20, 10, 30]),
        ...     weights=np.zeros((3, 30)),
        ... )
        >>> selection = Selection(kept=chi2 < 10, dropped={"training chi2 is an outlier": 1})
        >>> summary = TrainingSummary.of(trained, selection, n_points=200)
        >>> summary.n_kept, summary.chi2, summary.work
        (2, 1.1, 11340000.0)
        """
        kept, n_weights = selection.kept, trained.weights.shape[1]
        # Normal equations, and their solution.
        of_step = n_points * n_weights**2 + n_weights**3 / 3
        return cls(
            n_replicas=kept.size,
            n_kept=int(kept.sum()),
            dropped=selection.dropped,
            chi2=float(np.median(trained.chi2[kept])),
            chi2_validation=float(np.median(trained.chi2_validation[kept])),
            work=float(trained.steps.sum() * of_step),
        )
