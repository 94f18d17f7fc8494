# SPDX-License-Identifier: GPL-3.0-or-later
"""Result of a removal: native signals, maps, ensemble and report."""

from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property

import dask.array as da
import numpy as np
from exspy.signals import EELSSpectrum
from hyperspy.io import load
from hyperspy.signals import Signal1D

from hyperspy_zlpml.arguments import flag, optional_flag, path
from hyperspy_zlpml.compute import compute
from hyperspy_zlpml.compute.user_warnings import counted
from hyperspy_zlpml.ensemble import html
from hyperspy_zlpml.ensemble.file import to_content
from hyperspy_zlpml.removal import stored
from hyperspy_zlpml.removal.application import Units, check_window
from hyperspy_zlpml.removal.removed import RemovedZLP, checked_names
from hyperspy_zlpml.signals.arguments import wants_progressbar
from hyperspy_zlpml.signals.following import Follower
from hyperspy_zlpml.signals.maps.band_gap import BandGapMethods
from hyperspy_zlpml.signals.maps.dielectric import DielectricMethods
from hyperspy_zlpml.signals.maps.peaks import PeakMethods
from hyperspy_zlpml.signals.maps.retardation import RetardationMethods
from hyperspy_zlpml.signals.maps.several import MapMethods
from hyperspy_zlpml.signals.maps.temperature import TemperatureMethods
from hyperspy_zlpml.signals.maps.thickness import ThicknessMethods
from hyperspy_zlpml.signals.saving import save_together
from hyperspy_zlpml.signals.tools import ToolMethods
from hyperspy_zlpml.signals.wrapping import (
    Slicer,
    blank_like,
    check_pixels,
    map_like,
    numbers_like,
    peak_maps_like,
    set_lazy,
    spectra_like,
)
from hyperspy_zlpml.statistics import Range

#: Results on the axes of the data, and what is appended to the title of the data.
_SPECTRA = {
    "subtracted": "ZLP removed",
    "zlp": "ZLP",
    "std": "standard deviation of the ZLP",
    "lower": "lower bound",
    "upper": "upper bound",
}
#: Results over the navigation space.
_MAPS = ("clusters", "vacuum", "centre", "fwhm", "intensity")


@dataclass(frozen=True, repr=False, eq=False)
class ZLPRemoval(
    ThicknessMethods,
    DielectricMethods,
    RetardationMethods,
    BandGapMethods,
    PeakMethods,
    TemperatureMethods,
    MapMethods,
    ToolMethods,
):
    """Result of :meth:`EELSZLPSpectrum.remove_zlp_ml`.

    Signals on the axes of the data are made at first access and kept: ``subtracted``, ``zlp``,
    ``std``, ``lower`` and ``upper``. Who asks for one pays for one; :meth:`compute` makes several in
    one pass over the data. They need the signal that the ZLP was removed from, which is not copied:
    where it was changed in place since, results that need its counts are refused.

    Attributes
    ----------
    removed : RemovedZLP
        The same as arrays in eV, without HyperSpy.
    """

    removed: RemovedZLP
    _like: EELSSpectrum = field(repr=False)
    _factor: float = field(repr=False)
    _signals: dict = field(repr=False, default_factory=dict)
    _files: dict = field(repr=False, default_factory=dict)
    _cuts: tuple = field(repr=False, default=())
    _follower: Follower = field(repr=False, default_factory=Follower)
    _source: EELSSpectrum | None = field(repr=False, default=None)
    _warned: list = field(repr=False, default_factory=list)

    @classmethod
    def wrap(cls, signal, removed, factor, files=None):
        """Wrap the arrays of a removal as signals like that which was removed from.

        Parameters
        ----------
        signal : EELSZLPSpectrum
        removed : RemovedZLP
        factor : float
            eV per unit of the energy axis.
        files : dict of str to Path, optional
            Results that are read from files instead of being made.

        Returns
        -------
        ZLPRemoval
        """
        # Axes and metadata as they are now, whatever becomes of the signal.
        like = blank_like(signal, removed.is_lazy)
        if "ZLP_ML" in like.metadata:  # of what was removed before, of any kind
            del like.metadata.ZLP_ML
        result = cls(
            removed=removed,
            _like=like,
            _factor=factor,
            _files=files or {},
            _source=signal if removed.has_counts else None,
        )
        result._follower.watch(signal.axes_manager)
        return result

    @property
    def subtracted(self):
        """Signal minus pedestal and ZLP, with sign (EELSZLPSpectrum).

        Its noise variance is the total one: counting noise of the measured channel plus variance of
        the ZLP model.
        """
        return self._signal("subtracted")

    @property
    def zlp(self):
        """Zero-loss peak: median over the replicas, matched to each spectrum (EELSZLPSpectrum)."""
        return self._signal("zlp")

    @property
    def std(self):
        """Standard deviation of the ZLP model (EELSZLPSpectrum)."""
        return self._signal("std")

    @property
    def lower(self):
        """Lower end of the band of ``subtracted`` from the ZLP model, 68 % by default."""
        return self._signal("lower")

    @property
    def upper(self):
        """Upper end of the band of ``subtracted`` from the ZLP model, 68 % by default."""
        return self._signal("upper")

    @cached_property
    def clusters(self):
        """Cluster of each pixel, 0 is the thinnest; -1 where a spectrum was left out (BaseSignal)."""
        return map_like(self._like, self.removed.clusters, "clusters", "Cluster")

    @cached_property
    def vacuum(self):
        """Pixels taken for vacuum (BaseSignal)."""
        return map_like(self._like, self.removed.vacuum, "vacuum", "Vacuum")

    @cached_property
    def _peak_maps(self):
        return peak_maps_like(self._like, self.removed, self._factor)

    @property
    def centre(self):
        """Energy of the peak of each pixel, in the units of the axis (BaseSignal)."""
        return self._peak_maps["centre"]

    @property
    def fwhm(self):
        """FWHM of the peak of each pixel, in the units of the axis (BaseSignal)."""
        return self._peak_maps["fwhm"]

    @property
    def intensity(self):
        """Counts of the peak of each pixel (BaseSignal)."""
        return self._peak_maps["intensity"]

    @property
    def ensemble(self):
        """Trained model (Ensemble)."""
        return self.removed.ensemble

    @property
    def report(self):
        """Report of what was done and how well; print it (Report)."""
        return self.removed.report

    @property
    def dark_level(self):
        """Counts of every channel that no electron reaches: the data are ``subtracted``, ``zlp`` and this (Signal1D).

        The :term:`pedestal`, and where spectra show it the :term:`dark pattern`. It is the same in all spectra.
        """
        axis = self._like.axes_manager.signal_axes[0].get_axis_dictionary()
        level = Signal1D(self.removed.dark_level, axes=[{**axis, "navigate": False}])
        level.metadata.General.title = "Dark level"
        return level

    @property
    def _application(self):
        return self.removed.application

    @property
    def inav(self):
        """Pixels or regions of the result, ``r.inav[10:20, 5]``, as HyperSpy slices signals.

        It is a :class:`ZLPRemoval` again, with all its methods, and copies nothing. What it says of a pixel
        is what the whole says: clusters, limits, ensemble and report are those of the whole image, and
        nothing is matched anew. What is told from many pixels together is told from those that are left:
        ``pool=``, the mean spectra of clusters from which ``dielectric_function`` computes films
        (``film="clusters"``; by ``"pixels"`` a pixel is by itself), and what a film adds to
        the systematic error of ``thickness(n=...)``. Draws are others.

        Examples
        --------
        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> r.inav[1:3, 0]
        <ZLPRemoval, dimensions: (2|512), 4 replicas, 2 clusters>
        >>> bool((r.inav[1:3, 0].zlp.data == r.zlp.inav[1:3, 0].data).all())
        True
        """
        return Slicer(self._within)

    @property
    def isig(self):
        """Energies of a result are not cut, but those of its signals, ``r.subtracted.isig[1.0:5.0]``.

        Raises
        ------
        AttributeError
            Always, which says so.
        """
        raise AttributeError(
            "isig: a result is made of whole spectra; cut one of its signals, r.subtracted.isig[1.0:5.0], "
            "or the data before, s.isig[...].remove_zlp_ml(). Pixels are r.inav[...]."
        )

    def _within(self, slices):
        """Take the result of some pixels; settings are read from the same signal as before."""
        check_pixels(self._like, slices)
        like = self._like.inav[slices]
        removed = self.removed.within(self._like._get_array_slices(slices, True)[:-1])
        part = replace(
            self.wrap(like, removed, self._factor, self._files),
            _source=self._source,
            _cuts=(*self._cuts, slices),
            _warned=self._warned,
        )
        for name, signal in self._signals.items():
            part._keep(name, signal.inav[slices])
        return part

    def _keep(self, name, signal):
        """Keep a signal that was made, and let its navigator move the figure."""
        self._signals[name] = signal
        self._follower.watch(signal.axes_manager)

    def _signal(self, name):
        """Wrap a result, once it was asked for."""
        if name not in self._signals:
            self._make([name])
        return self._signals[name]

    def _make(self, names, show_progressbar=False):
        """Make signals of results that have none yet."""
        missing = [name for name in names if name not in self._signals]
        for name in [name for name in missing if name in self._files]:
            missing.remove(name)
            self._keep(name, self._read(self._files[name]))
        arrays = [*missing, "variance"] if "subtracted" in missing else missing
        self.removed.make(arrays, show_progressbar)
        for name in missing:
            spectrum = self._wrapped(getattr(self.removed, name), _SPECTRA[name])
            if name == "subtracted":
                spectrum.set_noise_variance(self._wrapped(self.removed.variance, "variance"))
            spectrum.metadata.add_dictionary({"ZLP_ML": deepcopy(self.removed.record)})
            self._keep(name, spectrum)

    def _read(self, file):
        """Read a result of the whole image from its file, and take the pixels that this is of."""
        is_lazy = self.removed.is_lazy
        signal = load(str(file), lazy=is_lazy or bool(self._cuts))
        for slices in self._cuts:
            signal = signal.inav[slices]
        if signal._lazy and not is_lazy:
            signal.compute(show_progressbar=False)
        return signal

    def _wrapped(self, array, title):
        """Wrap an array as a signal as lazy as it is."""
        spectrum = spectra_like(self._like, array, title)
        set_lazy(spectrum, isinstance(array, da.Array))
        return spectrum

    def __repr__(self):
        shape = self._like.axes_manager._get_dimension_str()
        state = "lazy, " if self.removed.is_lazy else ""
        return (
            f"<ZLPRemoval, {state}dimensions: {shape}, {counted(self.report.n_kept, 'replica', 'replicas')}, "
            f"{counted(len(self.report.clusters), 'cluster', 'clusters')}>"
        )

    def _repr_html_(self):
        """Write what there is, and the report, as HTML."""
        made = ", ".join(name for name in _SPECTRA if name in self._signals) or "none yet"
        rows = {
            "dimensions": self._like.axes_manager._get_dimension_str(),
            "results": f"{', '.join(_SPECTRA)}{', lazy' if self.removed.is_lazy else ''}",
            "made": made,
            "maps": ", ".join(_MAPS),
        }
        title = self._like.metadata.get_item("General.title", "")
        said = [(name, html.text(value)) for name, value in rows.items()]
        return html.table(said, f"ZLPRemoval {title}".strip()) + self.report._repr_html_()

    def compute(self, *names, show_progressbar=None):
        """Make several results in one pass over the data, in memory.

        Parameters
        ----------
        *names : str
            Among ``subtracted``, ``zlp``, ``std``, ``lower`` and ``upper``; default all.
        show_progressbar : bool, optional

        Raises
        ------
        ValueError
            If a name is none of these.

        Examples
        --------
        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal.as_lazy()
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> r.compute("subtracted", "zlp", show_progressbar=False)
        >>> r.subtracted._lazy, r.std._lazy
        (False, True)
        """
        names = checked_names(names or list(_SPECTRA), list(_SPECTRA))
        show_progressbar = wants_progressbar(show_progressbar)
        self._make(names, show_progressbar)
        signals = [self._signals[name] for name in names]
        if "subtracted" in names:
            signals.append(self.subtracted.get_noise_variance())
        waiting = [signal for signal in signals if signal._lazy]
        arrays = compute(
            *(signal.data for signal in waiting),
            show_progressbar=show_progressbar,
            title="Subtracting the ZLP",
        )
        for signal, array in zip(waiting, arrays, strict=True):
            signal.data = array
            set_lazy(signal, False)

    def draw(self, n_draws, random_state=None):
        """Draw zero-loss peaks as they may be, given the counts of their pixels.

        All channels of a draw belong together: what is computed from many draws has the scatter that
        the error of the ZLP makes in it.

        Parameters
        ----------
        n_draws : int
        random_state : int, optional

        Returns
        -------
        EELSZLPSpectrum
            ZLPs, with the draws on the last navigation axis. Lazy where results are.

        Raises
        ------
        ValueError
            If ``n_draws`` is no positive number.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> draws = r.draw(50, random_state=0)
        >>> draws
        <EELSZLPSpectrum, title: WS2-like flake ZLP draws, dimensions: (4, 4, 50|512)>
        >>> bool(np.median(draws.data.std(0) / r.std.data) < 1.2)
        True
        """
        data = self.removed.draw(n_draws, random_state)
        axes = [axis.get_axis_dictionary() for axis in self._like.axes_manager._axes]
        drawn = {"name": "Draw", "size": n_draws, "navigate": True}
        draws = type(self._like)(
            data, axes=[drawn, *axes], metadata=self._like.metadata.as_dictionary()
        )
        set_lazy(draws, isinstance(data, da.Array))
        draws.metadata.set_item("General.title", self._like.metadata.General.title)
        draws.metadata.General.title = f"{draws.metadata.General.title} ZLP draws".strip()
        return draws

    def integrate(self, left, right, counting_noise=True):
        """Integrate the subtracted signal between two energies above each pixel's own peak.

        Parameters
        ----------
        left, right : float
            From the peak of each pixel (not from the zero of the axis), in the units of the axis.
        counting_noise : bool
            Whether ``std`` holds the counting noise too.

        Returns
        -------
        integral, std : BaseSignal
            Maps in counts. ``std`` holds the ZLP model's error, correlated between channels as it
            is, which the sum of the variances of the channels does not.

        Raises
        ------
        ValueError
            If ``left`` is not below ``right``, they are closer than one channel, or the axis holds
            them in no pixel; pixels whose axis does not hold them are NaN.

        Notes
        -----
        Reads whole spectra, block by block, in a pass of its own.

        Examples
        --------
        Errors are smaller without the counting noise, which the sum of many pixels averages out:

        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> integral, std = r.integrate(2.0, 3.0)
        >>> _, of_model = r.integrate(2.0, 3.0, counting_noise=False)
        >>> integral
        <BaseSignal, title: WS2-like flake ZLP removed integral 2 to 3, dimensions: (4, 4|)>
        >>> bool((of_model.data < std.data).all())
        True
        """
        flag(counting_noise, "counting_noise")
        found = self._integrals(left, right)
        std = np.hypot(found.model_std, found.counting_std) if counting_noise else found.model_std
        title = f"integral {left:g} to {right:g}"
        quantity, of = "Intensity (Counts)", _SPECTRA["subtracted"]
        return (
            map_like(self._like, found.integral, f"{of} {title}", quantity),
            map_like(self._like, std, f"{of} error of {title}", quantity),
        )

    @property
    def _units(self):
        """Units of the energy axis."""
        return self._like.axes_manager.signal_axes[0].units

    def _integrals(self, left, right):
        check_window(left, right)
        window = Range(left * self._factor, right * self._factor)
        units = Units(self._units, self._factor)
        return self.removed._integrals(window, units)

    def save(self, directory, signals=("subtracted",), overwrite=None, show_progressbar=None):
        """Write the result into a folder of its own, to be read by :func:`hyperspy_zlpml.load_removal`.

        The folder holds what cannot be made again: posterior, maps, ensemble, model and report; and
        the spectra that are asked for, as ``.zspy``. Lazy results are computed and written in one pass
        over the data, block by block, in memory that does not depend on the size of the image. All
        files are made aside, in a folder beside, and take their place together: an interrupted save
        leaves those that were there before.

        Parameters
        ----------
        directory : str or Path
            Made if it does not exist. One that exists must be empty or hold an earlier result and
            nothing else.
        signals : sequence of str
            Spectra to write, among ``subtracted``, ``zlp``, ``std``, ``lower`` and ``upper``; each is
            as large as the data.
        overwrite : bool, optional
            Whether to replace an earlier result; by default it is asked.
        show_progressbar : bool

        Raises
        ------
        FileExistsError
            If the folder holds anything but a result.
        ValueError
            If these lazy results are read from it, it is the working directory, or its name ends like
            that of a file (``.hspy``).
        OSError
            If it cannot be written.
        """
        optional_flag(overwrite, "overwrite")
        show_progressbar = wants_progressbar(show_progressbar)
        directory = path(directory, "directory")
        names = checked_names(signals, list(_SPECTRA), "signals")
        self._make(names)
        written = {name: getattr(self, name) for name in (*names, *_MAPS)}
        written["posterior"] = self._posterior_signal()
        files = {
            "report.txt": f"{self.report}\n".encode(),
            "ensemble.zlp": to_content(self.ensemble, "ensemble.zlp"),
            "model.safetensors": stored.to_content(self._stored()),
        }
        save_together(
            written, files, directory, overwrite=overwrite, show_progressbar=show_progressbar
        )

    def _stored(self):
        """Collect what a folder keeps beside maps, posterior and ensemble."""
        axis = self._like.axes_manager.signal_axes[0]
        kept = ("scale", "offset", "units", "name", "size")
        return stored.StoredRemoval.of(
            self.removed,
            axis={name: _plain(getattr(axis, name)) for name in kept},
            factor=float(self._factor),
            title=self._like.metadata.get_item("General.title", ""),
            signal_type=self._like.metadata.get_item("Signal.signal_type", ""),
        )

    def _posterior_signal(self):
        """Wrap the posterior as a signal, in single precision."""
        array = self.removed.posterior.astype(np.float32)
        return numbers_like(self._like, array, "posterior of the zero-loss peak")

    def plot(self, indices=None):
        """Plot data, ZLP with its band, and what is left, at one pixel.

        Parameters
        ----------
        indices : tuple of int, optional
            Navigation indices. By default the figure follows: the navigator of the signal that the
            ZLP was removed from, those of ``subtracted``, ``zlp`` and the others, and clicks on the
            map. It begins where one of these was moved to, or at a pixel of middling thickness.

        Returns
        -------
        list of matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If the result was loaded without the signal that the ZLP was removed from.
        """
        from hyperspy_zlpml.signals.figures import plot_removal

        if not self.removed.has_counts:
            raise ValueError(
                "plot: expected the spectra that the ZLP was removed from, which it draws, got none; load the "
                "result with them, load_removal(directory, signal=s), or plot what was saved, r.subtracted.plot()."
            )
        return plot_removal(self, indices)

    def plot_regions(self, left=None, right=None):
        """Plot the signal above ``E_I`` against the limit below which spectra are matched.

        Where the curve is level, the choice of ``E_I`` does not matter; where it falls, losses
        were taken for zero-loss peak. At most 24 spectra of each cluster are matched anew, below
        limits from 0.6 to 1.5 times their ``E_I``; the band is the error of the ZLP model.

        Parameters
        ----------
        left, right : float, optional
            Energies integrated over, from the peak, in the units of the axis; default from
            ``E_I`` of each cluster over two FWHM.

        Returns
        -------
        list of matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If only one of ``left`` and ``right`` is given, ``left`` is not below ``right``, the
            axis does not hold them, or no cluster has a finite ``E_I``.
        """
        from hyperspy_zlpml.signals.check_figures import plot_regions

        if (left is None) != (right is None):
            raise ValueError(f"left, right: expected both or neither, got {left!r}, {right!r}.")
        if left is not None:
            check_window(left, right)
        if self.report.scan is None:
            raise ValueError(
                "plot_regions: expected a cluster with a finite E_I, got none: no losses were found."
            )
        if left is None:
            return plot_regions(self.report.scan, self._factor, self._units)
        scan = self._scan(left, right)
        return plot_regions(scan, self._factor, self._units, Range(left, right))

    def plot_checks(self):
        """Plot the errors of the ZLP that pure spectra show against those that are claimed.

        One column shows vacuum that was kept from training and subtracted as if it were specimen,
        another spectra of the specimen in region I; a check that was not made has none. Above, what
        is left of the ZLP in the mean of the spectra, channel by channel, over the error that is
        claimed for one of them; below, the fraction of spectra that one standard deviation holds.

        Returns
        -------
        list of matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If neither check was made.

        Examples
        --------
        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((6, 6), n_channels=512, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> axes = r.plot_checks()
        >>> axes[0].get_title()[:8]
        'region I'
        """
        from hyperspy_zlpml.signals.check_figures import plot_checks

        checks = self.report.shared_errors
        if not checks:
            raise ValueError(
                "plot_checks: expected spectra that are pure ZLP somewhere, got none: "
                f"{self.report.check_note or 'no check was made'}."
            )
        return plot_checks(checks, self._factor, self._units)

    def _scan(self, left, right):
        if not self._application.scanned.labels.size:
            raise ValueError(
                "left, right: expected none, for a result that was loaded keeps the scan of its report "
                f"and no spectra to try limits on, got {left:g} and {right:g}."
            )
        scan = self._application.scan(Range(left * self._factor, right * self._factor))
        if scan is None:
            raise ValueError(
                "left, right: expected energies on the axis, got "
                f"{left:g} to {right:g} {self._units} from the peak."
            )
        return scan

    def _limits(self, position):
        """Take the limits of one spectrum, in the units of the axis from its peak."""
        peaks = self._application.peaks
        regions = self._application.regions
        label = int(np.asarray(self.clusters.data).ravel()[position])
        limits = {
            "gain limit": peaks.gain_limit[position],
            "E_I": peaks.loss_limit[position],
            "E_II": regions.E_II[max(label, 0)],
        }
        return {name: value / self._factor for name, value in limits.items()}


def _plain(value):
    """Take a value of an axis as what JSON can hold; what is not defined is None."""
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value) if isinstance(value, str) else int(value)
    return float(value) if isinstance(value, (float, np.number)) else None
