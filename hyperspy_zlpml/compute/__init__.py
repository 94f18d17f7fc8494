# SPDX-License-Identifier: GPL-3.0-or-later
"""How work on many spectra is shared out: threads, dask blocks, the workers of a cluster.

- ``mapping``: :func:`map_spectra`, a function of spectra over an image in memory or lazy
- ``lazy``: dask blocks of whole spectra, computed or stored with a progress bar
- ``threads``: how many cores work, and one BLAS thread for each
- ``workers``: the workers of a ``dask.distributed.Client``
"""

from hyperspy_zlpml.compute.lazy import as_blocks, compute, store
from hyperspy_zlpml.compute.mapping import map_spectra, take_spectra
from hyperspy_zlpml.compute.threads import n_threads, one_blas_thread

__all__ = [
    "as_blocks",
    "compute",
    "map_spectra",
    "n_threads",
    "one_blas_thread",
    "store",
    "take_spectra",
]
