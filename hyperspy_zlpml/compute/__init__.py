# SPDX-License-Identifier: GPL-3.0-or-later
"""Sharing out of work on many spectra: threads, dask blocks, workers of dask.

- ``mapping``: :func:`~hyperspy_zlpml.compute.mapping.map_spectra`, a function of spectra over an image in memory or lazy
- ``blocks``: blocks of spectra in memory, side by side in threads
- ``lazy``: dask blocks of whole spectra, computed or stored with a progress bar
- ``compiled``: functions that are compiled when they are first called
- ``threads``: how many cores work, and one BLAS thread for each
- ``workers``: the workers of a ``dask.distributed.Client``
- ``records``: what is known of every spectrum, as arrays
- ``user_warnings``, ``progress``: messages and progress bars on the way

Predicting with an ensemble needs the records alone: dask is loaded when it is asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "lazy": ["as_blocks", "compute", "store"],
        "mapping": ["map_spectra", "take_spectra"],
        "threads": ["n_threads", "one_blas_thread"],
    },
)
