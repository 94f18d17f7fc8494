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
        "arguments": _arguments(prepared, options),
    }


def _arguments(prepared, options):
    """The arguments of a call as far as text and numbers tell; of others the kind.

    Where no random state was given, the one that was drawn: it gives the same numbers again.
    """
    names = ("n_clusters", "cluster_by", "n_replicas", "regions", "vacuum", "navigation_mask",
             "replica_kind")  # fmt: skip
    told = {name: _told(getattr(options, name)) for name in names}
    return {**told, "random_state": prepared.random_state}


def _told(value):
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, dict):
        return {name: np.asarray(limit, float).tolist() for name, limit in value.items()}
    return type(value).__name__


def removal_node(prepared, options, ensemble, is_given, adapted, removal, report):
    """The node ``metadata.ZLP_ML`` of the results of a removal.

    Parameters
    ----------
    prepared : Prepared
    options : Options
    ensemble : Ensemble
    is_given : bool
        Whether the ensemble was trained before.
    adapted : Adapted
    removal : Removal
    report : Report

    Returns
    -------
    dict
    """
    names = ensemble.conditions.names if ensemble.setting else ()
    regions = adapted.regions
    return {
        "version": __version__,
        "action": "zero-loss peak removed",
        "arguments": _arguments(prepared, options),
        "confidence": float(options.confidence),
        "ensemble": {
            "sha256": ensemble.fingerprint,
            "title": ensemble.origin.provenance.get("title", ""),
            "n_replicas": int(ensemble.n_replicas),
            "trained_before": bool(is_given),
            "setting": dict(zip(names, ensemble.setting, strict=True)),
        },
        "noise_gain": float(removal.noise.gain),
        "noise_readout": float(removal.noise.readout),
        "pedestal": float(removal.pedestal),
        "E_I_eV": np.array(regions.E_I, float),
        "E_II_eV": np.array(regions.E_II, float),
        "gain_limit_eV": np.array(regions.gain_limit, float),
        "dose_over_that_of_ensemble": float(np.exp(adapted.log_dose)),
        "distance": float(removal.distance),
        "messages": "\n".join(report.messages),
    }
