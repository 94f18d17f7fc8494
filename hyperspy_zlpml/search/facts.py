# SPDX-License-Identifier: GPL-3.0-or-later
"""What a search depends on, for a file to be gone on with by the same search alone."""

import hashlib
import json
from dataclasses import asdict

import numpy as np

from hyperspy_zlpml._version import __version__


def facts_of(prepared, plan):
    """Collect what a search depends on, as numbers and text.

    Everything is taken as the search uses it: limits in eV, numbers as floats, arrays by their values
    at the spectra that are used. How it was written makes no difference.

    Parameters
    ----------
    prepared : Prepared
    plan : SearchPlan

    Returns
    -------
    dict of str to int or str
    """
    first, options = prepared.first, prepared.options
    held = (prepared.selection, prepared.judgement)
    reference, maps = first.reference, first.cluster_by
    seen = () if reference is None else (reference.energy, reference.sample_counts)
    limits = {
        name: np.ravel(values).astype(float).tolist() for name, values in first.limits.items()
    }
    return {
        "random_state": options.random_state,
        "spectra": fingerprint(first.spectra.counts, *(one.counts for one in held)),
        "energy": fingerprint(first.spectra.energy),
        "variance": fingerprint(first.spectra.variance),
        "vacuum": fingerprint(first.image.vacuum, *(one.is_vacuum for one in held), *seen),
        "cluster_by": maps if isinstance(maps, str) else fingerprint(maps),
        "regions": json.dumps(limits, sort_keys=True),
        "n_replicas": options.n_replicas,
        "start": json.dumps(asdict(plan.start), sort_keys=True),
        "version": __version__,
    }


def fingerprint(*arrays):
    """Compute a fingerprint of arrays: of their kinds, shapes and values.

    Parameters
    ----------
    *arrays : ndarray, number or None

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.search.facts import fingerprint
    >>> fingerprint(np.zeros((2, 3))) == fingerprint(np.zeros((3, 2)))
    False
    """
    digest = hashlib.sha256()
    for one in arrays:
        if one is None:
            digest.update(b"none")
            continue
        array = np.ascontiguousarray(one)
        digest.update(f"{array.dtype.str} {np.shape(one)}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
