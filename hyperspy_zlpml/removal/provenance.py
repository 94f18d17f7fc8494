# SPDX-License-Identifier: GPL-3.0-or-later
"""Record of what was done, with what: it travels in the metadata of results and in files.

Only text, numbers and short arrays, of kinds that ``.hspy`` and ``.zspy`` give back; bulk arrays
would be copied with every slice of a signal.
"""

from importlib.metadata import version

import numpy as np

from hyperspy_zlpml._version import __version__
from hyperspy_zlpml.ensemble.parts import checksum
from hyperspy_zlpml.training.settings import TrainingSettings

#: Packages whose versions are written down.
_PACKAGES = ("hyperspy", "exspy", "numpy", "torch")


def describe_origin(title, n_spectra, arguments):
    """Describe where an ensemble comes from: versions, data, arguments.

    Parameters
    ----------
    title : str
        What the data are called.
    n_spectra : int
    arguments : dict
        Of :func:`describe_arguments`.

    Returns
    -------
    dict
        Of what JSON can hold.

    Examples
    --------
    >>> from hyperspy_zlpml.removal.provenance import describe_origin
    >>> origin = describe_origin("flake", 64, {"n_clusters": 3})
    >>> sorted(origin["packages"])
    ['exspy', 'hyperspy', 'numpy', 'torch']
    """
    return {
        "hyperspy_zlpml": __version__,
        "packages": {name: version(name) for name in _PACKAGES},
        "title": title,
        "n_spectra": int(n_spectra),
        "arguments": arguments,
    }


def describe_arguments(arguments):
    """Describe the arguments of a call as far as text and numbers tell; of others the kind.

    Parameters
    ----------
    arguments : dict of str to anything

    Returns
    -------
    dict
        Of what JSON can hold.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.provenance import describe_arguments
    >>> describe_arguments({"n_clusters": 3, "vacuum": np.ones(4, bool), "regions": {"E_I": 1.2}})
    {'n_clusters': 3, 'vacuum': 'ndarray', 'regions': {'E_I': 1.2}}
    """
    return {name: _described(value) for name, value in arguments.items()}


def _described(value):
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, TrainingSettings):
        return repr(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, dict):
        return {name: np.asarray(limit, float).tolist() for name, limit in value.items()}
    return type(value).__name__


def describe_removal(fitted, subtraction, report, *, arguments, confidence):
    """Describe a removal for the node ``metadata.ZLP_ML`` of its results.

    Parameters
    ----------
    fitted : Fitted
    subtraction : Subtraction
    report : Report
    arguments : dict
        Of :func:`describe_arguments`.
    confidence : float
        Probability inside the band.

    Returns
    -------
    dict
        Of text, numbers and short arrays.
    """
    regions = fitted.adapted.regions
    return {
        "version": __version__,
        "action": "zero-loss peak removed",
        "arguments": arguments,
        "confidence": float(confidence),
        "ensemble": _describe_ensemble(fitted),
        "noise_gain": float(subtraction.noise.gain),
        "noise_readout": float(subtraction.noise.readout),
        "pedestal": float(subtraction.dark_level.mean()),
        "E_I_eV": np.array(regions.E_I, float),
        "E_II_eV": np.array(regions.E_II, float),
        "gain_limit_eV": np.array(regions.gain_limit, float),
        "dose_over_that_of_ensemble": float(np.exp(fitted.adapted.log_dose)),
        "distance": float(fitted.distance),
        "checks": report.said_of_checks,
        "messages": "\n".join(report.messages),
    }


def fingerprint_of(removed):
    """Compute the SHA-256 of what tells one removal from another: its peaks, limits and ensemble.

    Parameters
    ----------
    removed : RemovedZLP

    Returns
    -------
    str
        Hexadecimal digits. Peaks count in single precision: what differs by rounding is the same.
    """
    names = ("centre", "fwhm", "intensity")
    peaks = {name: np.asarray(getattr(removed, name), np.float32) for name in names}
    limits = np.asarray(removed.application.regions.E_I, np.float32)
    return checksum(peaks | {"E_I": limits}, {"ensemble": removed.ensemble.fingerprint})


def _describe_ensemble(fitted):
    """Describe which ensemble was applied."""
    ensemble = fitted.ensemble
    names = ensemble.conditions.names if ensemble.setting else ()
    return {
        "sha256": ensemble.fingerprint,
        "title": ensemble.origin.provenance.get("title", ""),
        "n_replicas": int(ensemble.n_replicas),
        "trained_before": fitted.training is None,
        "setting": dict(zip(names, ensemble.setting, strict=True)),
    }
