# SPDX-License-Identifier: GPL-3.0-or-later
"""Model of a removal as a file: all that results are made of but posterior, counts and ensemble.

A file is one of safetensors, as those of ensembles are: arrays as they are, and in its header, as JSON,
everything else. Nothing is pickled. A checksum shows damage.
"""

import json
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from hyperspy_zlpml.ensemble.parts import EnsembleFileError, checksum
from hyperspy_zlpml.image.channels import Channels
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.removal.checks import RegionScan, VacuumCheck
from hyperspy_zlpml.removal.codec import RemovalFileError, decode, encode
from hyperspy_zlpml.removal.pedestal_error import PedestalError
from hyperspy_zlpml.removal.report import ClusterReport, Report
from hyperspy_zlpml.removal.shared_errors import SharedErrors
from hyperspy_zlpml.removal.subtract import Subtraction
from hyperspy_zlpml.removal.typical import TypicalPeak
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.zlp.grid import Grid
from hyperspy_zlpml.zlp.groups import ChannelGroups
from hyperspy_zlpml.zlp.regions import Regions
from hyperspy_zlpml.zlp.residual import CoherentResidual
from hyperspy_zlpml.zlp.tables import ShapeTable

#: Version of the format that is written.
_FORMAT = 4
#: Key of the only entry in the metadata of the header.
_KEY = "hyperspy_zlpml_removal"
#: Largest file that is read, bytes.
_LARGEST = 2**28
#: Splines go through the middles of this many groups.
_FEWEST_GROUPS = 4
#: Longest header that is looked at, bytes.
_LONGEST_HEADER = 2**24


@dataclass(frozen=True)
class StoredRemoval:
    """Removal as a folder keeps it beside maps, posterior and ensemble.

    Attributes
    ----------
    energy : ndarray of shape (n_energy,)
        Recorded channels, eV.
    table : ShapeTable
        In groups of channels.
    groups : ChannelGroups
    noise : NoiseModel
    dark_level : ndarray of shape (n_energy,) or (1,)
    log_fwhm : Normal
    distance : float
    pedestal_error : PedestalError
    regions : Regions
    channels : Channels or None
    report : Report
    record : dict
        Of ``metadata.ZLP_ML``.
    dtype : str
        Of the counts.
    is_lazy : bool
    axis : dict of str to anything
        Signal axis: name, units, scale, offset and size.
    factor : float
        eV per unit of the axis.
    title : str
    signal_type : str
    typical : TypicalPeak
        Of the image, of the whole one where a part was kept.
    """

    energy: np.ndarray
    table: ShapeTable
    groups: ChannelGroups
    noise: NoiseModel
    dark_level: np.ndarray
    log_fwhm: Normal
    distance: float
    pedestal_error: PedestalError
    regions: Regions
    channels: Channels | None
    report: Report
    record: dict[str, Any]
    dtype: str
    is_lazy: bool
    axis: dict[str, Any]
    factor: float
    title: str
    signal_type: str
    typical: TypicalPeak

    @classmethod
    def of(cls, removed, **described):
        """Collect what is kept of a removal.

        Parameters
        ----------
        removed : RemovedZLP
        **described
            Axis, factor, title and type of the signal.

        Returns
        -------
        StoredRemoval
        """
        application = removed.application
        model = application.subtraction
        return cls(
            energy=model.energy,
            table=model.table,
            groups=model.groups,
            noise=model.noise,
            dark_level=model.dark_level,
            log_fwhm=Normal(*(float(one) for one in model.log_fwhm)),
            distance=float(model.distance),
            pedestal_error=PedestalError(*(float(one) for one in astuple(model.pedestal_error))),
            regions=application.regions,
            channels=application.channels,
            report=removed.report,
            record=removed.record,
            dtype=np.dtype(removed.spectra.counts.dtype).str,
            is_lazy=removed.is_lazy,
            typical=removed.typical,
            **described,
        )

    @property
    def subtraction(self):
        """Model that evaluates results (Subtraction)."""
        return Subtraction.of_groups(
            energy=self.energy,
            table=self.table,
            groups=self.groups,
            noise=self.noise,
            dark_level=self.dark_level,
            log_fwhm=self.log_fwhm,
            distance=self.distance,
            pedestal_error=self.pedestal_error,
        )


#: Records that a file holds.
_RECORDS = (
    StoredRemoval,
    ShapeTable,
    Grid,
    CoherentResidual,
    ChannelGroups,
    NoiseModel,
    Normal,
    Range,
    Regions,
    Channels,
    Report,
    ClusterReport,
    VacuumCheck,
    RegionScan,
    SharedErrors,
    TypicalPeak,
    PedestalError,
)


def to_content(stored):
    """Write the model of a removal as the bytes of a file.

    Parameters
    ----------
    stored : StoredRemoval

    Returns
    -------
    bytes
    """
    from safetensors.numpy import save

    arrays = {}
    facts = encode(stored, arrays)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    header = {"format_version": _FORMAT, "sha256": checksum(arrays, facts), "removal": facts}
    return save(arrays, {_KEY: json.dumps(header)})


def from_file(path):
    """Read the model of a removal from a file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    StoredRemoval

    Raises
    ------
    RemovalFileError
        If the file is of another kind, altered or cut short, or from a newer version of this package.
    OSError
        If it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the model of a removal, got no file.")
    if not 8 < path.stat().st_size <= _LARGEST:
        raise RemovalFileError(f"{path}: {path.stat().st_size} bytes are no model of a removal.")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    try:
        if length > _LONGEST_HEADER:
            raise ValueError("its header is too long")
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_KEY])
        version = header["format_version"]
        arrays = load(content)
        intact = checksum(arrays, header["removal"]) == header["sha256"]
        stored = (
            decode(header["removal"], arrays, _RECORDS) if intact and version == _FORMAT else None
        )
        return _checked(stored, version, intact)
    except RemovalFileError as error:
        raise RemovalFileError(f"{path}: {error}") from error
    except (
        SafetensorError,
        EnsembleFileError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        RecursionError,
        MemoryError,
    ) as error:
        raise RemovalFileError(
            f"{path}: not the model of a removal, or altered: {str(error)[:200]}."
        ) from error


def _checked(stored, version, intact):
    """Raise RemovalFileError unless a file is whole, of this version, and holds a model that works."""
    if version != _FORMAT:
        raise RemovalFileError(
            f"written by another version of hyperspy_zlpml (format {version}, this one reads {_FORMAT}). "
            "Remove the zero-loss peak again; with the ensemble beside it nothing is trained: "
            "ensemble=hyperspy_zlpml.load('.../ensemble.zlp')."
        )
    if not intact:
        raise RemovalFileError("altered or damaged: its checksum is not that of what it holds.")
    if not isinstance(stored, StoredRemoval):
        raise RemovalFileError("altered: it holds no removal.")
    if not _is_consistent(stored):
        raise RemovalFileError("altered: its arrays do not belong together.")
    _ = stored.subtraction
    return stored


def _is_consistent(stored):
    """Tell whether the arrays of a removal belong together."""
    energy, edges = stored.energy, stored.groups.edges
    return (
        energy.ndim == edges.ndim == 1
        and energy.size > 1
        and np.isfinite(energy).all()
        and edges.dtype.kind == "i"
        and edges.size > _FEWEST_GROUPS
        and (np.diff(edges) > 0).all()
        and stored.dark_level.shape in ((1,), energy.shape)
        and stored.table.is_consistent
    )
