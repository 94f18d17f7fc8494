# SPDX-License-Identifier: GPL-3.0-or-later
"""What was done, with what: a few lines that travel in the metadata of results and in files.

Only text, numbers and short arrays, of kinds that ``.hspy`` and ``.zspy`` give back; bulk arrays
would be copied with every slice of a signal.
"""

import importlib.metadata

import numpy as np

from hyperspy_zlpml._version import __version__

_PACKAGES = ("hyperspy", "exspy", "numpy", "torch")


def provenance_of(prepared, options):
    """Where an ensemble comes from: versions, data, arguments.

    Parameters
    ----------
    prepared : Prepared
    options : Options

    Returns
    -------
    dict
        Of what JSON can hold.
    """
    return {
        "hyperspy_zlpml": __version__,
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "title": prepared.title,
        "n_spectra": int(prepared.image.usable.size),
        "arguments": _arguments(options),
    }


def _arguments(options):
    """The arguments of a call that text and numbers can tell."""
    names = ("n_clusters", "cluster_by", "n_replicas", "regions", "vacuum", "replica_kind",
             "random_state")  # fmt: skip
    return {name: _told(getattr(options, name)) for name in names}


def _told(value):
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, dict):
        return {name: np.asarray(limit, float).tolist() for name, limit in value.items()}
    return type(value).__name__


def removal_node(report, regions, ensemble, options, removal):
    """The node ``metadata.ZLP_ML`` of the results of a removal.

    Parameters
    ----------
    report : Report
    regions : Regions
    ensemble : Ensemble
    options : Options
    removal : Removal

    Returns
    -------
    dict
    """
    return {
        "version": __version__,
        "action": "zero-loss peak removed",
        "ensemble": {
            "sha256": ensemble.fingerprint,
            "title": ensemble.provenance.get("title", ""),
            "n_replicas": int(ensemble.n_replicas),
        },
        "confidence": float(options.confidence),
        "cluster_by": _told(options.cluster_by),
        "random_state": _told(options.random_state),
        "noise_gain": float(removal.noise.gain),
        "noise_readout": float(removal.noise.readout),
        "pedestal": float(removal.pedestal),
        "E_I_eV": np.array(regions.E_I, float),
        "E_II_eV": np.array(regions.E_II, float),
        "gain_limit_eV": np.array(regions.gain, float),
        "distance": float(removal.distance),
        "messages": "\n".join(report.messages),
    }
