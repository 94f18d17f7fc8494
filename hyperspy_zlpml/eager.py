# SPDX-License-Identifier: GPL-3.0-or-later
"""The two passes over data in memory: the same calls as :mod:`hyperspy_zlpml.lazy`, in threads.

Every thread writes its spectra straight into the results: nothing is joined or copied after. Data
in memory are never sent to the workers of a cluster, which would take longer than the work.
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hyperspy_zlpml.removal import RESULTS, results_type
from hyperspy_zlpml.threads import n_threads
from hyperspy_zlpml.zlp.peaks import PeakParameters, peak_parameters

_SPECTRA_AT_ONCE = 512


def look_at_peaks(data, energy, index, show_progressbar):
    """First pass: peak parameters of all spectra, counts of some.

    Parameters
    ----------
    data : ndarray of shape (..., n_energy)
    energy : ndarray of shape (n_energy,)
        eV.
    index : ndarray of int
        Spectra wanted, in flattened navigation order.
    show_progressbar : bool

    Returns
    -------
    parameters : PeakParameters
        Of shape (n_spectra,).
    counts : ndarray of shape (index.size, n_energy)
    """
    spectra = data.reshape(-1, data.shape[-1])
    stacked = np.empty((len(spectra), len(PeakParameters.__dataclass_fields__)))

    def look(rows):
        stacked[rows] = peak_parameters(spectra[rows], energy).stack()

    _side_by_side(look, len(spectra), show_progressbar, "Looking at peaks")
    return PeakParameters.unstack(stacked), spectra[index]


def subtract(data, peaks, removal, variance=None, show_progressbar=False):
    """Second pass: all results of the subtraction.

    Parameters
    ----------
    data : ndarray of shape (..., n_energy)
    peaks : ndarray of shape (n_spectra, 6)
    removal : Removal
    variance : array that broadcasts with ``data``, optional
        Variance of the counts.
    show_progressbar : bool

    Returns
    -------
    dict of str to ndarray of shape (..., n_energy)
    """
    results = {name: np.empty(data.shape, results_type(data.dtype)) for name in RESULTS}
    flat = [result.reshape(-1, data.shape[-1]) for result in results.values()]
    spectra = data.reshape(-1, data.shape[-1])
    if variance is not None:
        variance = np.broadcast_to(variance, data.shape).reshape(-1, data.shape[-1])

    def work(rows):
        given = None if variance is None else variance[rows]
        removal.apply(spectra[rows], peaks[rows], given, [result[rows] for result in flat])

    _side_by_side(work, len(spectra), show_progressbar, "Subtracting the ZLP")
    return results


def _side_by_side(work, n_spectra, show_progressbar, what):
    """Call ``work`` with blocks of spectra, in threads."""
    blocks = [
        slice(start, min(start + _SPECTRA_AT_ONCE, n_spectra))
        for start in range(0, n_spectra, _SPECTRA_AT_ONCE)
    ]
    with contextlib.ExitStack() as stack:
        done = stack.enter_context(ThreadPoolExecutor(n_threads())).map(work, blocks)
        if show_progressbar:
            from tqdm.auto import tqdm

            done = tqdm(done, desc=what, total=len(blocks))
        for _ in done:
            pass
