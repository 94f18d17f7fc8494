# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra of a cluster made by hand: ratios to the reference with known noise and modes."""

import numpy as np

from hyperspy_zlpml.registration.variation import ClusterSpectra

N_GROUPS = 40
U = np.linspace(-5, 10, N_GROUPS)
#: The variation that is assumed where none can be seen: nothing in the core, all of both tails.
TAILS = np.tanh(U / 2) ** 2


def cluster(n=50, sigma=0.05, mode=None, n_used=N_GROUPS, mean=1.0, seed=0, fitted=None):
    """Ratios to the reference: noise of known size plus, if given, one mode of shape.

    Of what is ``fitted`` nothing is left, as after registration.
    """
    rng = np.random.default_rng(seed)
    sigma = sigma * np.linspace(1, 2, N_GROUPS) * rng.uniform(0.8, 1.25, (n, 1))
    ratio = mean + sigma * rng.standard_normal((n, N_GROUPS))
    if mode is not None:
        ratio += rng.standard_normal((n, 1)) * mode
    if fitted is not None:
        for row, weight in zip(ratio, sigma**-2, strict=True):
            normal = (fitted * weight) @ fitted.T
            row -= np.linalg.solve(normal, (fitted * weight) @ (row - mean)) @ fitted
    used = np.broadcast_to(np.arange(N_GROUPS) < n_used, ratio.shape)
    return ClusterSpectra(ratio, sigma**2, used, U, 14.0, fitted=fitted)
