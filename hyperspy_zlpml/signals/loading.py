# SPDX-License-Identifier: GPL-3.0-or-later
"""Read results that were saved, without training."""

from dataclasses import replace
from pathlib import Path

import dask.array as da
import hyperspy.api as hs
import numpy as np
from hyperspy.signals import Signal1D

from hyperspy_zlpml import arguments
from hyperspy_zlpml.compute import compute
from hyperspy_zlpml.ensemble import load
from hyperspy_zlpml.image.spectra import Spectra
from hyperspy_zlpml.removal.application import Application
from hyperspy_zlpml.removal.checks import ScannedSpectra
from hyperspy_zlpml.removal.codec import RemovalFileError
from hyperspy_zlpml.removal.evaluation import OF_MODEL, RESULTS
from hyperspy_zlpml.removal.posterior import Posterior, weighted_sums
from hyperspy_zlpml.removal.removed import RemovedZLP
from hyperspy_zlpml.removal.stored import from_file
from hyperspy_zlpml.removal.subtract import describe_lost
from hyperspy_zlpml.signals.arrays import one_at_a_signal, spectra_of
from hyperspy_zlpml.signals.folders import REMOVAL, kind_of
from hyperspy_zlpml.signals.result import ZLPRemoval
from hyperspy_zlpml.signals.wrapping import blank_array
from hyperspy_zlpml.zlp.matching import KnownPeaks

#: Spectra that a lazy signal is known by: the others are looked at when they are worked on.
_LOOKED_AT = 64
#: Spectra that are looked at at once.
_AT_ONCE = 4096
#: Part of its sum by which a spectrum may differ from itself.
_ROUNDING = 1e-4
#: Part of a channel by which axes may differ.
_SAME_AXIS = 1e-3


def load_removal(directory, signal=None):
    """Read a result that ``r.save(directory)`` wrote, without training anything.

    The ZLP, its standard deviation and draws are made from the posterior alone. What needs counts,
    ``subtracted``, its band and integrals, needs the signal that the ZLP was removed from; spectra
    that were written are read without it.

    Parameters
    ----------
    directory : str or Path
    signal : EELSZLPSpectrum, optional
        The signal that the ZLP was removed from, as it was. It is known by its axes and by a sum of each of
        its spectra. Of a lazy one 64 spectra are looked at now, the others when something is computed
        from them, which is refused then.

    Returns
    -------
    ZLPRemoval
        Lazy where the signal is; without one, where the result was.

    Raises
    ------
    RemovalFileError
        If the folder holds no result, or its files were altered or do not belong together.
    ValueError
        If the signal is another.
    OSError
        If a file cannot be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> import hyperspy_zlpml
    >>> from hyperspy_zlpml.data import ws2_like
    >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
    >>> r = s.remove_zlp_ml(
    ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
    ... )
    >>> with TemporaryDirectory() as folder:
    ...     r.save(folder, signals=[])
    ...     again = hyperspy_zlpml.load_removal(folder, signal=s)
    >>> bool(np.allclose(again.zlp.data, r.zlp.data, rtol=1e-5))
    True
    >>> again.subtracted
    <EELSZLPSpectrum, title: WS2-like flake ZLP removed, dimensions: (4, 4|512)>
    """
    directory = Path(arguments.path(directory, "directory"))
    if signal is not None:
        arguments.instance(signal, "signal", Signal1D)
    _check_directory(directory)
    kept = from_file(directory / "model.safetensors")
    ensemble = load(directory / "ensemble.zlp")
    with one_at_a_signal:
        maps = {name: _read(directory, name) for name in _MAPS}
        posterior = _read(directory, "posterior", lazy=True)
    navigation = [axis for axis in posterior.axes_manager._axes if axis.navigate]
    shape = posterior.data.shape[:-1]
    _check_together(directory, kept, maps, posterior.data)
    is_lazy = kept.is_lazy if signal is None else bool(getattr(signal, "_lazy", False))
    numbers = posterior.data.astype(float)
    if not is_lazy:
        (numbers,) = compute(numbers, show_progressbar=False, title="")
    if signal is None:
        axes = [axis.get_axis_dictionary() for axis in navigation] + [_axis_of(kept)]
        signal, spectra = _stand_in(kept, shape, axes), None
    else:
        spectra = _spectra_like(signal, kept, shape, numbers)
    arrays = {name: one.data.reshape(shape) for name, one in maps.items()}
    arrays["vacuum"] = arrays["vacuum"] > 0
    known = _known_before_modes(numbers)
    arrays["clusters"], report = _with_lost(arrays["clusters"], kept.report, known)
    factors = {"centre": kept.factor, "fwhm": kept.factor}
    removed = RemovedZLP(
        spectra=_no_counts(kept, shape) if spectra is None else spectra,
        posterior=numbers,
        **{
            name: values * factors[name] if name in factors else values
            for name, values in arrays.items()
        },
        ensemble=ensemble,
        report=report,
        application=_application_of(kept, known),
        record=kept.record,
        is_lazy=is_lazy,
        has_counts=spectra is not None,
        of_image=kept.typical,
    )
    # Without the counts, results that were written are read.
    files = {} if removed.has_counts else _files_of(directory)
    with one_at_a_signal:
        return ZLPRemoval.wrap(signal, removed, kept.factor, files)


#: Maps of a result.
_MAPS = ("clusters", "vacuum", "centre", "fwhm", "intensity")


def _files_of(directory):
    """Find the results that need counts and were written."""
    files = {name: directory / f"{name}.zspy" for name in RESULTS if name not in OF_MODEL}
    return {name: file for name, file in files.items() if file.is_dir()}


def _read(directory, name, lazy=False):
    """Read a signal of a result."""
    file = directory / f"{name}.zspy"
    if not file.is_dir():
        raise FileNotFoundError(f"{file}: expected a file of a result, got none.")
    try:
        return hs.load(str(file), lazy=lazy)
    except Exception as error:  # whatever a damaged file makes of its reader
        raise RemovalFileError(f"{file}: cannot be read: {str(error)[:200]}.") from error


def _check_directory(directory):
    """Raise an error where there is nothing, or something else than a removal."""
    if not directory.exists():
        raise FileNotFoundError(
            f"{directory}: expected the folder that r.save wrote, got none of this name."
        )
    if directory.is_file():
        raise RemovalFileError(
            f"{directory}: expected the folder that r.save wrote, got a file; ensembles are read by "
            "hyperspy_zlpml.load, spectra and maps by hyperspy.api.load."
        )
    if kind_of(directory) not in ("", REMOVAL):
        raise RemovalFileError(
            f"{directory}: expected a removal, got maps; read them by hyperspy_zlpml.load_maps."
        )


def _check_together(directory, kept, maps, posterior):
    """Raise RemovalFileError unless the files of a folder belong together."""
    n_numbers = Posterior.n_numbers(kept.table.n_modes)
    n_spectra = int(np.prod(posterior.shape[:-1], dtype=int))
    fits = posterior.ndim > 0 and posterior.shape[-1] == n_numbers
    fits = fits and posterior.dtype == np.float32
    fits = fits and all(one.data.size == n_spectra for one in maps.values())
    if not fits:
        raise RemovalFileError(
            f"{directory}: its files do not belong together: expected {n_numbers} numbers of each "
            f"spectrum and maps of {n_spectra}, got {posterior.shape} {posterior.dtype} and maps of "
            f"{[one.data.size for one in maps.values()]}."
        )


def _axis_of(kept):
    """Describe the signal axis as HyperSpy wants it."""
    axis = {name: value for name, value in kept.axis.items() if value is not None}
    return {**axis, "navigate": False}


def _stand_in(kept, shape, axes):
    """Make a signal that lends axes and metadata where none was given; its data are zeros."""
    blank = blank_array((*shape, kept.axis["size"]), np.float32, is_lazy=False)
    signal = hs.signals.Signal1D(blank, axes=axes)
    signal.metadata.General.title = kept.title
    signal.set_signal_type(kept.signal_type)
    return signal


def _no_counts(kept, shape):
    """Describe spectra whose counts are not there."""
    return Spectra(blank_array((*shape, kept.energy.size), kept.dtype, kept.is_lazy), kept.energy)


def _spectra_like(signal, kept, shape, posterior):
    """Take the spectra of a signal, after a look whether they are those of the result."""
    with one_at_a_signal:
        spectra, _ = spectra_of(signal)
    if kept.channels is not None:
        if spectra.energy.size != kept.channels.bad.size:
            raise _other_signal(f"{spectra.energy.size} channels")
        spectra = spectra.repaired(kept.channels) if not kept.channels.all_good else spectra
    same_shape = spectra.counts.shape == (*shape, kept.energy.size)
    if not same_shape:
        raise _other_signal(f"shape {spectra.counts.shape}")
    if np.abs(spectra.energy - kept.energy).max() > _SAME_AXIS * spectra.step:
        raise _other_signal("another energy axis")
    flat = posterior.reshape(-1, posterior.shape[-1])
    others = _count_others(spectra.counts.reshape(-1, kept.energy.size), flat, kept.table.n_modes)
    if others:
        raise _other_signal(f"other counts in {others} of {len(flat)} spectra, at the least")
    return spectra


def _count_others(counts, posterior, n_modes):
    """Count the spectra that are not those that were matched: among all, or some where they are lazy."""
    n = min(len(counts), _LOOKED_AT) if isinstance(counts, da.Array) else len(counts)
    rows, found = np.linspace(0, len(counts) - 1, n).astype(int), 0
    for first in range(0, n, _AT_ONCE):
        index = rows[first : first + _AT_ONCE]
        some, numbers = compute(counts[index], posterior[index], show_progressbar=False, title="")
        known = Posterior.unpack(numbers, n_modes)
        size = _ROUNDING * np.abs(some.astype(float)).sum(-1)
        same = np.abs(weighted_sums(some) - known.weighted_sum) <= size
        found += int((~same & known.peaks.usable).sum())
    return found


def _other_signal(what):
    return ValueError(
        f"signal: expected the one that the ZLP was removed from, as it was, got {what}."
    )


def _known_before_modes(posterior):
    """Read the numbers of every spectrum that come before those of its modes, (n_spectra, n_numbers)."""
    flat = posterior.reshape(-1, posterior.shape[-1])[:, : Posterior.n_numbers(n_modes=0)]
    (known,) = compute(flat, show_progressbar=False, title="")
    return known


def _with_lost(clusters, report, known):
    """Take spectra out of their clusters that became NaN while a lazy result was computed, and count them."""
    lost = Posterior.lost(known).reshape(clusters.shape) & (clusters >= 0)
    if not lost.any():
        return clusters, report
    told = describe_lost(np.flatnonzero(lost), lost.shape)
    n_unusable = report.n_unusable + int(lost.sum())
    report = replace(report, n_unusable=n_unusable, messages=(*report.messages, told))
    return np.where(lost, -1, clusters), report


def _application_of(kept, known):
    """Apply the ensemble again, as it was."""
    peaks = KnownPeaks.unstack(known[:, : len(KnownPeaks._of_spectra())])
    nothing = ScannedSpectra(
        counts=np.zeros((0, kept.energy.size)),
        peaks=peaks.select(slice(0)),
        labels=np.zeros(0, int),
    )
    return Application(
        kept.subtraction, peaks, regions=kept.regions, scanned=nothing, channels=kept.channels
    )
