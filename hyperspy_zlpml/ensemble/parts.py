# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of an ensemble: arrays, and facts that JSON can write.

They go into files of their own (:mod:`hyperspy_zlpml.ensemble.file`) and into HyperSpy's; the way
back is in :mod:`hyperspy_zlpml.ensemble.reading`.
"""

import hashlib
import json
from dataclasses import asdict

import numpy as np

#: Number of the file format; it is raised when older files could not be read any more.
FORMAT_VERSION = 2
#: First letters of the names that arrays of conditions have in a file.
CONDITIONS_PREFIX = "conditions_"
#: First letters of the names that arrays of the coherent residual have in a file.
RESIDUAL_PREFIX = "residual_"
#: Names of the arrays of :class:`~hyperspy_zlpml.zlp.residual.CoherentResidual`.
RESIDUAL_ARRAYS = ("curve", "pattern", "pattern_error")
#: First letters of the names that arrays of what spectra show beside have in a file.
BESIDE_PREFIX = "beside_"
#: Names of the arrays of :class:`~hyperspy_zlpml.ensemble.records.Beside`.
BESIDE_ARRAYS = ("widening", "group_error", "channel_error", "rest_share", "mode_scale")
#: Names of the arrays of :class:`~hyperspy_zlpml.ensemble.conditions.Conditions`.
CONDITIONS_ARRAYS = ("settings", "values", "errors", "spread", "scores")


class EnsembleFileError(ValueError):
    """Error of a file that is no ensemble that can be read; the message says why."""


def to_parts(ensemble):
    """Take an ensemble apart into arrays and a dictionary that JSON can write.

    The names are those of the file format, whatever the records of an ensemble are called.

    Parameters
    ----------
    ensemble : Ensemble

    Returns
    -------
    arrays : dict of str to ndarray
    facts : dict of str to JSON
        Everything else.
    """
    arrays, facts = _arrays_of(ensemble), _facts_of(ensemble)
    conditions = ensemble.conditions
    reference = ensemble.reference
    if reference.n_errors is not None:
        # Files of before variations were among the modes hold none of this: all are errors.
        facts["n_errors"] = reference.n_errors
    if reference.beside is not None:
        # Files of format 1 hold none of this: the fingerprints of their models stay what they were.
        arrays |= _named(RESIDUAL_PREFIX, reference.residual, RESIDUAL_ARRAYS)
        arrays |= _named(BESIDE_PREFIX, reference.beside, BESIDE_ARRAYS)
        facts["residual"] = {
            "start": reference.residual.start,
            "step": reference.residual.step,
            "n": reference.residual.curve.size,
            "n_modes": reference.beside.mode_scale.size,
        }
    if conditions is not None:
        arrays |= _named(CONDITIONS_PREFIX, conditions, CONDITIONS_ARRAYS)
        facts["conditions"] = {
            "names": list(conditions.names),
            "logarithmic": list(conditions.logarithmic),
        }
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, facts


def _named(prefix, record, names):
    """Collect arrays of a record under the names that they have in a file."""
    return {prefix + name: getattr(record, name) for name in names}


def _arrays_of(ensemble):
    """Collect the arrays of an ensemble, without those of its conditions."""
    networks, reference, seen = ensemble.networks, ensemble.reference, ensemble.seen
    return {
        "weights": networks.weights,
        "log_reference": reference.log_shape,
        "scatter": reference.scatter,
        "reference_modes": reference.modes,
        "reference_scores": reference.scores,
        "spill_log_intensity": reference.spill.log_intensity,
        "spill": reference.spill.relative,
        "cluster_centres": seen.cluster_centres,
        "gain_limit": seen.regions.gain_limit,
        "E_I": seen.regions.E_I,
        "E_II": seen.regions.E_II,
    }


def _facts_of(ensemble):
    """Collect everything else of an ensemble, without its conditions."""
    networks, reference, seen = ensemble.networks, ensemble.reference, ensemble.seen
    return {
        "layers": networks.layers,
        **_activation_facts(networks.activation),
        "scaling": asdict(networks.scaling),
        "grid": asdict(reference.grid),
        "log_intensity_range": seen.log_intensity_range,
        "log_fwhm": seen.log_fwhm,
        "log_beam": seen.log_beam,
        "u_range": seen.u_range,
        "cluster_by": seen.cluster_by,
        "noise": _noise_facts(seen.noise),
        "tail": seen.tail,
        "microscope": ensemble.origin.microscope,
        "provenance": ensemble.origin.provenance,
        "origin": ensemble.origin.fingerprint,
        "setting": ensemble.setting,
        "conditions": None,
    }


def _activation_facts(name):
    """Name the function of hidden units; without that of all networks before there were others."""
    return {} if name == "tanh" else {"activation": name}


def _noise_facts(noise):
    """Describe the noise, without what is nothing."""
    facts = asdict(noise)
    if len(noise.correlation) == 1:
        del facts["correlation"]
    if not noise.gain_error:
        del facts["gain_error"]
    if not any(noise.dark):
        del facts["dark"]
    return facts


def fingerprint(ensemble):
    """Compute the SHA-256 of all that the predictions of an ensemble depend on.

    Parameters
    ----------
    ensemble : Ensemble

    Returns
    -------
    str
        Hexadecimal digits.
    """
    arrays, facts = to_parts(ensemble)
    facts.pop("provenance")
    return checksum(arrays, facts)


def checksum(arrays, facts):
    """Compute the SHA-256 of arrays and of facts that JSON can write.

    Parameters
    ----------
    arrays : dict of str to ndarray
    facts : dict of str to JSON

    Returns
    -------
    str
        Hexadecimal digits.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.ensemble.parts import checksum
    >>> one = checksum({"weights": np.zeros(3)}, {"layers": [2, 1]})
    >>> one == checksum({"weights": np.zeros(3)}, {"layers": [3, 1]})
    False
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
