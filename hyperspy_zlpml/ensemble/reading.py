# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading of ensembles from files and from their parts, which may come from anywhere."""

import json
import stat
from pathlib import Path

from hyperspy_zlpml import arguments
from hyperspy_zlpml.ensemble.ensemble import Ensemble
from hyperspy_zlpml.ensemble.file import HEADER_KEY, LARGEST_FILE, LONGEST_HEADER
from hyperspy_zlpml.ensemble.inputs import InputScaling
from hyperspy_zlpml.ensemble.parts import (
    BESIDE_ARRAYS,
    BESIDE_PREFIX,
    FORMAT_VERSION,
    RESIDUAL_ARRAYS,
    RESIDUAL_PREFIX,
    EnsembleFileError,
    checksum,
)
from hyperspy_zlpml.ensemble.records import Beside, Networks, Origin, Reference, SeenSpectra
from hyperspy_zlpml.ensemble.validation import checked_parts, is_integer
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.zlp.grid import Grid
from hyperspy_zlpml.zlp.regions import Regions
from hyperspy_zlpml.zlp.residual import CoherentResidual
from hyperspy_zlpml.zlp.tables import SpillTables


def load(path):
    """Read an ensemble that :meth:`Ensemble.save` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Ensemble
        Predicts, bit for bit, what the saved one does.

    Raises
    ------
    EnsembleFileError
        If the file is of another kind, cut short, altered, or from a newer version of this
        package.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> import hyperspy_zlpml
    >>> from hyperspy_zlpml.data import ws2_like
    >>> s = ws2_like((6, 6), random_state=0).signal
    >>> ensemble = s.train_zlp_ml(n_replicas=4, random_state=0, show_progressbar=False)
    >>> energy = np.linspace(-1, 5, 100)
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "afternoon.zlp"
    ...     ensemble.save(path)
    ...     loaded = hyperspy_zlpml.load(path)
    >>> bool((loaded.predict(energy) == ensemble.predict(energy)).all())
    True
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    path = Path(arguments.path(path, "path"))
    if (path / "ensemble.zlp").is_file():
        raise EnsembleFileError(
            f"{path}: expected the file of an ensemble, got the folder of a result; read that by "
            f"hyperspy_zlpml.load_removal, its ensemble alone from {str(path / 'ensemble.zlp')!r}."
        )
    header = _header_of(path)
    if not is_integer(header.get("format_version")) or header["format_version"] < 1:
        raise EnsembleFileError(f"{path}: altered: its header holds no format version.")
    if header["format_version"] > FORMAT_VERSION:
        raise EnsembleFileError(
            f"{path}: written by a newer version of hyperspy_zlpml (format "
            f"{header['format_version']}, this one reads up to {FORMAT_VERSION}): update it."
        )
    try:
        arrays = from_bytes(path.read_bytes())
        intact = checksum(arrays, header["ensemble"]) == header["sha256"]
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise EnsembleFileError(f"{path}: altered: {error}.") from error
    if not intact:
        raise EnsembleFileError(
            f"{path}: altered or damaged: its checksum is not that of what it holds. "
            "Copy it again, or train again."
        )
    try:
        return from_parts(arrays, header["ensemble"])
    except EnsembleFileError as error:
        raise EnsembleFileError(f"{path}: {error}") from error


def _header_of(path):
    """Read our entry in the header of a file, and check what needs no more than the header."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise EnsembleFileError(f"{path}: expected a file, got a pipe, a socket or a device.")
    size, text = status.st_size, _header_text(path)
    try:
        header = json.loads(text)
        entries = [entry for name, entry in header.items() if name != "__metadata__"]
        end = 8 + len(text) + max((entry["data_offsets"][1] for entry in entries), default=0)
        metadata = header["__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise EnsembleFileError(
            f"{path}: not an ensemble of hyperspy_zlpml, or its header was altered."
        ) from error
    if not isinstance(metadata, dict) or HEADER_KEY not in metadata:
        raise _foreign(path)
    if not is_integer(end) or size < end:
        raise EnsembleFileError(f"{path}: cut short: {size} bytes of {end}.")
    if size > min(end, LARGEST_FILE):
        raise EnsembleFileError(f"{path}: altered: {size} bytes where {end} are expected.")
    try:
        ours = json.loads(metadata[HEADER_KEY])
    except (ValueError, TypeError, RecursionError) as error:
        raise EnsembleFileError(f"{path}: altered: its header is no JSON.") from error
    if not isinstance(ours, dict):
        raise EnsembleFileError(f"{path}: altered: its header is no dictionary.")
    return ours


def _header_text(path):
    """Read the JSON that a file begins with, whose length stands before it in eight bytes."""
    with path.open("rb") as file:
        start = file.read(9)
        length = int.from_bytes(start[:8], "little")
        if len(start) < 9 or start[8:] != b"{" or length > LONGEST_HEADER:
            raise _foreign(path)
        text = start[8:] + file.read(length - 1)
    if len(text) < length:
        raise EnsembleFileError(f"{path}: cut short: the file ends within its header.")
    return text


def _foreign(path):
    return EnsembleFileError(
        f"{path}: not an ensemble of hyperspy_zlpml. Ensembles are written by ensemble.save()."
    )


def from_parts(arrays, facts):
    """Build an ensemble from what :func:`~hyperspy_zlpml.ensemble.parts.to_parts` gave.

    Parameters
    ----------
    arrays : dict of str to ndarray
    facts : dict of str to JSON

    Returns
    -------
    Ensemble

    Raises
    ------
    EnsembleFileError
        If something is missing, of a wrong kind or shape, or no number to predict with.
    """
    arrays, conditions = checked_parts(arrays, facts)
    networks = Networks(
        weights=arrays["weights"],
        layers=tuple(facts["layers"]),
        scaling=InputScaling(**facts["scaling"]),
        activation=facts.get("activation", "tanh"),
    )
    return Ensemble(
        networks=networks,
        reference=_reference_of(arrays, facts),
        seen=_seen_of(arrays, facts),
        origin=Origin(facts["microscope"], facts["provenance"], facts["origin"]),
        conditions=conditions,
        setting=tuple(facts["setting"]),
    )


def _reference_of(arrays, facts):
    return Reference(
        grid=Grid(**facts["grid"]),
        log_shape=arrays["log_reference"],
        modes=arrays["reference_modes"],
        scores=arrays["reference_scores"],
        scatter=arrays["scatter"],
        spill=SpillTables(arrays["spill_log_intensity"], arrays["spill"]),
        n_errors=facts.get("n_errors"),
        **_residual_of(arrays, facts),
    )


def _residual_of(arrays, facts):
    """Read the coherent residual and what spectra show beside; files of format 1 hold none."""
    if "residual" not in facts:
        return {}
    start, step = facts["residual"]["start"], facts["residual"]["step"]
    curve = {name: arrays[RESIDUAL_PREFIX + name] for name in RESIDUAL_ARRAYS}
    beside = {name: arrays[BESIDE_PREFIX + name] for name in BESIDE_ARRAYS}
    return {
        "residual": CoherentResidual(start, step, **curve),
        "beside": Beside(**beside),
    }


def _noise_of(facts):
    # Files of before correlations were known have none.
    lists = {name: tuple(facts[name]) for name in ("correlation", "dark") if name in facts}
    return NoiseModel(**{**facts, **lists})


def _seen_of(arrays, facts):
    return SeenSpectra(
        log_intensity_range=Range(*facts["log_intensity_range"]),
        log_fwhm=Normal(*facts["log_fwhm"]),
        log_beam=facts["log_beam"],
        u_range=Range(*facts["u_range"]),
        regions=Regions(arrays["gain_limit"], arrays["E_I"], arrays["E_II"]),
        cluster_centres=arrays["cluster_centres"],
        cluster_by=facts["cluster_by"],
        noise=_noise_of(facts["noise"]),
        tail=facts["tail"],
    )
