# SPDX-License-Identifier: GPL-3.0-or-later
"""Read results of methods that make maps."""

from pathlib import Path

import numpy as np

from hyperspy_zlpml import arguments
from hyperspy_zlpml.physics.band_gap import GapSettings
from hyperspy_zlpml.physics.kinematics import Beam
from hyperspy_zlpml.physics.peak_shapes import Exciton, Plasmon
from hyperspy_zlpml.removal.codec import RemovalFileError
from hyperspy_zlpml.removal.provenance import fingerprint_of
from hyperspy_zlpml.signals.folders import REMOVAL, kind_of
from hyperspy_zlpml.signals.maps import files
from hyperspy_zlpml.signals.maps.band_gap import BandGap
from hyperspy_zlpml.signals.maps.components import Surroundings
from hyperspy_zlpml.signals.maps.dielectric import Crossings, Dielectric, Zero
from hyperspy_zlpml.signals.maps.native import Measured
from hyperspy_zlpml.signals.maps.peaks import PeakFit, PeakFits, Together
from hyperspy_zlpml.signals.maps.retardation import Retardation
from hyperspy_zlpml.signals.maps.several import Maps
from hyperspy_zlpml.signals.maps.temperature import Temperature
from hyperspy_zlpml.signals.maps.thickness import Thickness
from hyperspy_zlpml.signals.result import ZLPRemoval

#: Records that a result may be, or hold.
_KNOWN = (
    BandGap,
    Beam,
    Crossings,
    Dielectric,
    Exciton,
    GapSettings,
    Maps,
    Measured,
    PeakFit,
    PeakFits,
    Plasmon,
    Retardation,
    Surroundings,
    Temperature,
    Thickness,
    Together,
    Zero,
)
#: Numbers of the record of a removal that are others for other data, limits or settings.
_TOLD_BY = ("E_I_eV", "E_II_eV", "gain_limit_eV", "noise_gain", "pedestal", "distance")


def load_maps(directory, removal=None, lazy=False):
    """Read a result that ``save`` of a method that makes maps wrote.

    It is what was saved, with its methods: to print, to plot, to cut, and to give to other methods with
    its errors. Numbers are checked against the checksums that were written with them, except of spectra that were lazy
    when they were saved, or are left in their files.

    Parameters
    ----------
    directory : str or Path
    removal : ZLPRemoval, optional
        The one that the maps are of: what is drawn anew from spectra needs it, ``curve`` and
        ``plot_line`` of band gaps, ``plot_fit`` of these and of peaks. Its ensemble, limits and noise are compared, and of
        these results its peaks, too, unless they were saved without it.
    lazy : bool
        Whether spectra, as dielectric functions, are left in their files until they are needed; maps are read.

    Returns
    -------
    BandGap, Crossings, Dielectric, Maps, PeakFit, PeakFits, Retardation, Temperature, Thickness or Zero

    Raises
    ------
    RemovalFileError
        If the folder holds no such result, or its files were altered or do not belong together.
    ValueError
        If the removal is another than that of the maps.
    OSError
        If a file cannot be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import hyperspy_zlpml
    >>> from hyperspy_zlpml.data import ws2_like
    >>> s = ws2_like((4, 4), n_channels=512, scale=0.1, random_state=0).signal
    >>> r = s.remove_zlp_ml(
    ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
    ... )
    >>> found = r.thickness(density=7.5, show_progressbar=False)
    >>> with TemporaryDirectory() as folder:
    ...     found.save(f"{folder}/thickness")
    ...     again = hyperspy_zlpml.load_maps(f"{folder}/thickness")
    >>> again.summary == found.summary
    True
    """
    directory = Path(arguments.path(directory, "directory"))
    arguments.flag(lazy, "lazy")
    if removal is not None:
        arguments.instance(removal, "removal", ZLPRemoval)
    if directory.is_file():
        raise RemovalFileError(
            f"{directory}: expected the folder that found.save wrote, got a file; single maps are read by "
            "hyperspy.api.load."
        )
    if kind_of(directory) == REMOVAL:
        raise RemovalFileError(
            f"{directory}: expected maps, got a removal; read it by hyperspy_zlpml.load_removal."
        )
    found, of = files.read(directory, _KNOWN, lazy)
    if removal is None:
        return found
    _check_removal(removal.removed, found._map(), of)
    return found._of(removal)


def _is_alike(metadata, record):
    """Tell whether a map has the record of a removal, as far as numbers tell removals apart."""
    pairs = [(metadata.get_item(f"ZLP_ML.{name}", np.nan), record[name]) for name in _TOLD_BY]
    sha256 = metadata.get_item("ZLP_ML.ensemble.sha256")
    return sha256 == record["ensemble"]["sha256"] and all(_is_close(*pair) for pair in pairs)


def _is_close(one, other):
    one, other = np.asarray(one, float), np.asarray(other, float)
    return one.shape == other.shape and np.allclose(one, other, equal_nan=True)


def _check_removal(removed, first, of):
    """Raise ValueError unless a map is of a removal, as far as its shape, record and fingerprint tell."""
    shape = first.data.shape
    if shape != (removed.shape[:-1] or (1,)):
        raise ValueError(
            f"removal: expected the one that the maps are of, {shape}, got one of {removed.shape[:-1]}."
        )
    if not _is_alike(first.metadata, removed.record) or of not in (None, fingerprint_of(removed)):
        raise ValueError(
            "removal: expected the one that the maps are of, got another of the same shape: of other data, "
            "limits or ensemble."
        )
