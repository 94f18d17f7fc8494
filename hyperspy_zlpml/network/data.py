# SPDX-License-Identifier: GPL-3.0-or-later
"""Records that go into a training and come out of it: arrays that travel to any worker."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class TrainingData:
    """Data that the replicas are trained on; replica axis first.

    Attributes
    ----------
    inputs : ndarray of shape (n_points, n_in)
        Scaled inputs, the same for all replicas.
    ratios : ndarray of shape (n_replicas, n_points)
        Pseudo-data: counts over reference.
    sigma : ndarray of shape (n_replicas, n_points)
        Standard deviation of the ratios.
    used : ndarray of bool of shape (n_replicas, n_points)
        Points in the replica's region I.
    tail_inputs : ndarray of shape (n_lines, n_steps, n_in)
        Lines along the energy on which the peak must fall outward.
    tail_reference : ndarray of shape (n_replicas, n_lines, n_steps)
        Logarithm of each replica's reference there.
    far_inputs : ndarray of shape (n_far, n_in)
        Points at which the log-ratio is drawn to zero.
    """

    inputs: np.ndarray
    ratios: np.ndarray
    sigma: np.ndarray
    used: np.ndarray
    tail_inputs: np.ndarray
    tail_reference: np.ndarray
    far_inputs: np.ndarray

    def block(self, replicas):
        """Take the data of some replicas.

        Parameters
        ----------
        replicas : slice

        Returns
        -------
        TrainingData
        """
        return replace(
            self,
            ratios=self.ratios[replicas],
            sigma=self.sigma[replicas],
            used=self.used[replicas],
            tail_reference=self.tail_reference[replicas],
        )


@dataclass(frozen=True)
class Trained:
    """Weights kept by look-back stopping, and how well they fit.

    Attributes
    ----------
    weights : ndarray of shape (n_replicas, n_weights)
    chi2, chi2_validation : ndarray of shape (n_replicas,)
        Mean squared residual on training and validation points.
    rise : ndarray of shape (n_replicas,)
        Largest rise of ln(ZLP) outward along the tails.
    steps : ndarray of int of shape (n_replicas,)
        Step at which the kept weights were reached.
    """

    weights: np.ndarray
    chi2: np.ndarray
    chi2_validation: np.ndarray
    rise: np.ndarray
    steps: np.ndarray


@dataclass(frozen=True)
class Block:
    """Training of some replicas, whole in itself: it may be sent anywhere.

    Attributes
    ----------
    data : TrainingData
        Data of these replicas.
    weights : ndarray of shape (n_replicas, n_weights)
        Weights to start from.
    held_out : ndarray of bool of shape (n_replicas, n_points)
        Points for validation.
    layers : tuple of int
        Layer sizes, from input to output.
    activation : str
        Name of the function of the hidden units.
    prior : float
        Inverse variance of the weights about zero.
    n_steps : int
        Most Levenberg-Marquardt steps.
    patience : int
        Steps without a better validation cost after which a replica stops.
    device : str
        Device of torch, or "auto".
    from_founder : bool
        Whether the weights are those of networks trained on other replicas.
    """

    data: TrainingData
    weights: np.ndarray
    held_out: np.ndarray
    layers: tuple[int, ...]
    activation: str
    prior: float
    n_steps: int
    patience: int
    device: str
    from_founder: bool

    def of(self, replicas):
        """Take some of the replicas.

        Parameters
        ----------
        replicas : slice

        Returns
        -------
        Block
        """
        return replace(
            self,
            data=self.data.block(replicas),
            weights=self.weights[replicas],
            held_out=self.held_out[replicas],
        )
