# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra side by side in channels from their peaks."""

import numpy as np


def windows(spectra, start, n):
    """View all runs of ``n`` channels of spectra, and find which begin at ``start``.

    Indexing it cuts runs that begin elsewhere in every spectrum in one call: a loop over spectra
    takes twice as long, and keeps other threads from their work.

    Parameters
    ----------
    spectra : ndarray of shape (n_spectra, n_channels)
    start : ndarray of int of shape (n_spectra,)
    n : int

    Returns
    -------
    windows : ndarray of shape (n_spectra * n_channels - n + 1, n)
        A view that can be written to.
    offsets : ndarray of int of shape (n_spectra,)
    """
    n_spectra, n_channels = spectra.shape
    flat = spectra.reshape(-1)
    views = np.lib.stride_tricks.sliding_window_view(flat, n, writeable=True)
    return views, np.arange(n_spectra) * n_channels + start


def align(counts, start, n_channels, dtype):
    """Write spectra side by side in channels from their peaks, zero where the axis has none.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    start : ndarray of int of shape (n_spectra,)
        Where the first channel of each comes to lie.
    n_channels : int
        Length of what is made.
    dtype : dtype

    Returns
    -------
    ndarray of shape (n_spectra, n_channels)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.geometry import align, cut
    >>> counts = np.array([[0.0, 9.0, 1.0], [9.0, 1.0, 0.0]])
    >>> aligned = align(counts, start=np.array([0, 1]), n_channels=5, dtype=float)
    >>> aligned
    array([[0., 9., 1., 0., 0.],
           [0., 9., 1., 0., 0.]])
    >>> cut(aligned, start=np.array([0, 1]), n=3)
    array([[0., 9., 1.],
           [9., 1., 0.]])
    """
    n_energy = counts.shape[-1]
    aligned = np.empty((len(start), n_channels), dtype)
    aligned[:, : start.max(initial=0)] = 0
    aligned[:, start.min(initial=n_channels) + n_energy :] = 0
    views, offsets = windows(aligned, start, n_energy)
    views[offsets] = counts
    return aligned


def cut(spectra, start, n):
    """Cut ``n`` channels, which begin at ``start``, from every spectrum.

    Parameters
    ----------
    spectra : ndarray of shape (n_spectra, n_channels)
    start : ndarray of int of shape (n_spectra,)
    n : int

    Returns
    -------
    ndarray of shape (n_spectra, n)
    """
    views, offsets = windows(spectra, start, n)
    return views[offsets]
