# SPDX-License-Identifier: GPL-3.0-or-later
"""Application of an ensemble to an image, kept for integrals and scans afterwards."""

from dataclasses import dataclass, fields, replace
from functools import partial
from typing import NamedTuple

import dask.array as da
import numpy as np

from hyperspy_zlpml import arguments
from hyperspy_zlpml.compute import as_blocks, map_spectra
from hyperspy_zlpml.image.channels import Channels
from hyperspy_zlpml.removal.checks import ScannedSpectra, scan_regions
from hyperspy_zlpml.removal.evaluation import OF_MODEL
from hyperspy_zlpml.removal.integrals import Integrals
from hyperspy_zlpml.removal.losses import SPECTRA_AT_ONCE, common_directions, map_block
from hyperspy_zlpml.removal.pedestal_error import PedestalError
from hyperspy_zlpml.removal.posterior import Posterior
from hyperspy_zlpml.removal.subtract import Subtraction, results_type
from hyperspy_zlpml.statistics import Range
from hyperspy_zlpml.zlp.matching import KnownPeaks
from hyperspy_zlpml.zlp.regions import NO_LIMIT, Regions

#: Spectra of a lazy image that are matched at once to look at them before it is computed.
_LOOKED_AT = 512
#: A window of one channel is this fraction less than one by rounding at most.
_ROUNDING = 1e-6


class Units(NamedTuple):
    """Units of energies as errors name them.

    Attributes
    ----------
    name : str
    ev : float
        eV in one.
    """

    name: str
    ev: float


#: Units of all energies within the method.
EV = Units("eV", 1.0)


@dataclass(frozen=True)
class Application:
    """Ensemble as it is applied to the spectra of an image.

    Attributes
    ----------
    subtraction : Subtraction
        What is applied to every spectrum.
    peaks : KnownPeaks
        Of all spectra, in flattened navigation order.
    regions : Regions
        Limits of the clusters.
    scanned : ScannedSpectra
        Spectra to try other limits on.
    channels : Channels, optional
        Which of the channels as measured it is applied to; default all.
    """

    subtraction: Subtraction
    peaks: KnownPeaks
    regions: Regions
    scanned: ScannedSpectra
    channels: Channels | None = None

    # Of an image, of its ensemble, and what is known of both.
    @classmethod
    def prepare(  # noqa: PLR0913
        cls, image, labels, adapted, *, distance=0.0, given_limits=(), channels=None
    ):
        """Prepare what the spectra of an image need.

        Parameters
        ----------
        image : Image
        labels : ndarray of int of shape (n_spectra,)
            Cluster of each spectrum.
        adapted : Adapted
            Ensemble as the image sees it.
        distance : float
            How far the image lies outside what the ensemble has seen.
        given_limits : collection of str
            Names of the limits that the user gave, see :func:`known_peaks`.
        channels : Channels, optional
            Which of the channels as measured the image is made of; default all.

        Returns
        -------
        Application
        """
        peaks = known_peaks(
            image, labels, adapted.regions, log_dose=adapted.log_dose, given_limits=given_limits
        )
        subtraction = Subtraction.prepare(
            adapted.table,
            adapted.log_fwhm,
            image.energy,
            image.detector,
            channels=channel_range(image),
            distance=distance,
            pedestal_error=PedestalError(image.detector.pedestal_error, adapted.log_beam),
        )
        index = image.sample_index
        scanned = ScannedSpectra.choose(
            counts=image.sample_counts,
            peaks=peaks.select(index),
            labels=labels[index],
            use=peaks.usable[index] & ~image.vacuum[index],
        )
        scanned = replace(scanned, counts=scanned.counts + subtraction.dark_level)
        return cls(subtraction, peaks, regions=adapted.regions, scanned=scanned, channels=channels)

    @property
    def n_modes(self):
        """Modes of the ensemble."""
        return self.subtraction.table.n_modes

    def select(self, index):
        """Take the application to some spectra; limits and scans stay those of the image.

        Parameters
        ----------
        index : ndarray of int
            Spectra in flattened navigation order.

        Returns
        -------
        Application
        """
        return replace(self, peaks=self.peaks.select(index))

    def posterior(self, data, lazy=False, show_progressbar=False):
        """Match the ensemble to all spectra of an image.

        Parameters
        ----------
        data : ndarray or dask array of shape (..., n_energy)
            Recorded channels.
        lazy : bool
            Whether to return a dask array that is not computed yet.
        show_progressbar : bool

        Returns
        -------
        ndarray or dask array of shape (..., n_numbers)
            See :meth:`.Posterior.pack`.
        """
        shape = data.shape[:-1]
        peaks = self.peaks.stack().reshape(shape + (-1,))
        function, others = self.subtraction.match_packed, [peaks]
        if lazy:
            # Who computes it is told of what nobody has seen before.
            function = partial(self.subtraction.match_unread_packed, shape=shape)
            others.append(np.arange(len(self.peaks.channel)).reshape(shape + (1,)))
        found = map_spectra(
            function,
            data,
            *others,
            names=["posterior"],
            width=Posterior.n_numbers(self.n_modes),
            dtype=float,
            lazy=lazy,
            show_progressbar=show_progressbar,
            title="Matching the ZLP",
        )
        return found["posterior"]

    def match_some(self, counts, index):
        """Match the ensemble to some spectra.

        Parameters
        ----------
        counts : ndarray of shape (n, n_energy)
            Recorded channels.
        index : ndarray of int of shape (n,)
            Spectra in flattened navigation order.

        Returns
        -------
        ndarray of shape (n, n_numbers)
            See :meth:`.Posterior.pack`.
        """
        return self.subtraction.posterior(counts, self.peaks.select(index)).pack()

    def match_between(self, limits, counts, index):
        """Match the ensemble to some spectra between other limits.

        Parameters
        ----------
        limits : Range
            Energies from the peak, eV.
        counts : ndarray of shape (n, n_energy)
            Recorded channels.
        index : ndarray of int of shape (n,)
            Spectra in flattened navigation order.

        Returns
        -------
        ndarray of shape (n, n_numbers)
            See :meth:`.Posterior.pack`.
        """
        peaks = replace(
            self.peaks.select(index),
            gain_limit=np.full(len(index), float(limits.low)),
            loss_limit=np.full(len(index), float(limits.high)),
        )
        return self.subtraction.posterior(counts, peaks).pack()

    def evaluate(self, names, data, posterior, variance=None, **options):
        """Evaluate results of all spectra of an image.

        Parameters
        ----------
        names : sequence of str
            Of ``RESULTS`` of :mod:`hyperspy_zlpml.removal.evaluation`.
        data : ndarray or dask array of shape (..., n_energy)
            Recorded channels.
        posterior : ndarray or dask array of shape (..., n_numbers)
        variance : array that broadcasts with ``data``, or float, optional
            Variance of the counts where it is known.
        **options
            ``lazy`` and ``show_progressbar`` of :func:`.map_spectra`.

        Returns
        -------
        dict of str to ndarray or dask array of shape (..., n_energy)
            In channels that were not recorded they are those of the nearest one that was.
        """
        subtraction = self.subtraction
        options |= {
            "names": names,
            "width": data.shape[-1],
            "dtype": results_type(data.dtype),
            "title": "Subtracting the ZLP",
        }
        if set(names) <= set(OF_MODEL):
            function = partial(subtraction.model_packed, names=names)
            results = map_spectra(function, posterior, **options)
        else:
            function = partial(subtraction.evaluate_packed, names=names)
            results = map_spectra(function, data, posterior, variance, **options)
        return {name: self.on_all_channels(values) for name, values in results.items()}

    def draw(self, n_draws, data, posterior, seed, **options):
        """Draw zero-loss peaks of all spectra of an image.

        Parameters
        ----------
        n_draws : int
        data : ndarray or dask array of shape (..., n_energy)
            Only its shape and type count.
        posterior : ndarray or dask array of shape (..., n_numbers)
        seed : int
        **options
            ``lazy`` and ``show_progressbar`` of :func:`.map_spectra`.

        Returns
        -------
        list of ndarray or dask array of shape (..., n_energy)
        """
        shape = posterior.shape[:-1]
        draws = map_spectra(
            partial(self.subtraction.draw_packed, seed=seed),
            posterior,
            np.arange(np.prod(shape, dtype=int)).reshape(shape + (1,)),
            names=[str(number) for number in range(n_draws)],
            width=data.shape[-1],
            dtype=results_type(data.dtype),
            title="Drawing ZLPs",
            **options,
        )
        return [self.on_all_channels(values) for values in draws.values()]

    def integrate(self, data, posterior, window, units=EV):
        """Integrate the subtracted signal of all spectra between two energies.

        Parameters
        ----------
        data : ndarray or dask array of shape (..., n_energy)
            Recorded channels.
        posterior : ndarray or dask array of shape (..., n_numbers)
        window : Range
            Energies from the peak of each spectrum, eV.
        units : Units
            Those that errors name.

        Returns
        -------
        Integrals
            Of the navigation shape; NaN where a spectrum is not used, or its axis does not hold the
            window.

        Raises
        ------
        ValueError
            If no axis holds the window, it is narrower than a channel, or its ends are not in order.
        """
        check_window(window.low, window.high)
        check_width(window, self.subtraction.energy, units)
        found = map_spectra(
            partial(self.subtraction.integrate_packed, window=window),
            data,
            posterior,
            names=["integrals"],
            width=len(fields(Integrals)),
            dtype=float,
            lazy=False,
            show_progressbar=False,
            title="Integrating",
        )["integrals"]
        if np.isnan(found).all():
            raise ValueError(
                "left, right: expected energies on the axis, "
                f"got {window.low / units.ev:g} to {window.high / units.ev:g} {units.name} from the peak."
            )
        return Integrals.unstack(found)

    def map_losses(self, function, width, data, posterior, *others, variance=None, **options):
        """Apply a function of physics to all spectra of an image.

        Parameters
        ----------
        function : callable
            Called as ``function(losses, *others)`` with the :class:`.Losses` of some spectra; returns
            an array of shape (n_spectra, width).
        width : int
        data : ndarray or dask array of shape (..., n_energy)
            Recorded channels.
        posterior : ndarray or dask array of shape (..., n_numbers)
        *others : array of shape (..., 1)
            Numbers of each spectrum that the function takes.
        variance : array that broadcasts with ``data``, or float, optional
            Variance of the counts where it is known.
        **options
            ``lazy``, ``show_progressbar`` and ``title`` of :func:`.map_spectra`.

        Returns
        -------
        ndarray or dask array of shape (..., width)
            NaN where a spectrum has no ZLP.
        """
        mapped = partial(
            map_block,
            model=self.subtraction,
            function=function,
            limits=self._limits_of_vacuum(),
        )
        found = map_spectra(
            mapped,
            data,
            posterior,
            variance,
            *others,
            names=["found"],
            width=width,
            dtype=float,
            **options,
        )
        return found["found"]

    def common_directions(self, counts, packed):
        """Find the directions in which the ZLPs of all spectra may be wrong alike.

        Parameters
        ----------
        counts : ndarray of shape (n_spectra, n_energy)
            Recorded channels.
        packed : ndarray of shape (n_spectra, n_numbers)
            Of :meth:`.Posterior.pack`, all usable.

        Returns
        -------
        ndarray of shape (n_spectra, n_common, n_energy)
            See :func:`.losses.common_directions`.
        """
        limits, found = self._limits_of_vacuum(), []
        for first in range(0, len(counts), SPECTRA_AT_ONCE):
            rows = slice(first, first + SPECTRA_AT_ONCE)
            posterior = Posterior.unpack(packed[rows], self.n_modes)
            own = counts[rows].astype(float)
            found.append(common_directions(self.subtraction, posterior, own, limits))
        return np.concatenate(found)

    def _limits_of_vacuum(self):
        """Take the limits of the thinnest cluster that has some, for spectra without."""
        regions = self.regions
        has = np.flatnonzero(np.isfinite(regions.E_I))
        if not has.size:
            return Range(-NO_LIMIT, NO_LIMIT)
        return Range(float(regions.gain_limit[has[0]]), float(regions.E_I[has[0]]))

    def lost(self, posterior, image):
        """Find the spectra that should have a ZLP and have none.

        Parameters
        ----------
        posterior : ndarray or dask array of shape (..., n_numbers)
            Where it is lazy only the spectra that were read are looked at.
        image : Image

        Returns
        -------
        ndarray of bool of shape (n_spectra,)
        """
        if isinstance(posterior, da.Array):
            return self._lost_of_sample(image)
        return Posterior.lost(posterior.reshape(-1, posterior.shape[-1]))

    def _lost_of_sample(self, image):
        """Find the spectra without a ZLP among those that were read, (n_spectra,)."""
        lost = np.zeros(self.peaks.usable.size, bool)
        # Those with spikes last: the sample may hold them too, bridged.
        for index, counts in (
            (image.sample_index, image.sample_counts),
            (image.spiked, image.spiked_counts),
        ):
            read = np.flatnonzero(self.peaks.usable[index])
            for first in range(0, read.size, _LOOKED_AT):
                some = read[first : first + _LOOKED_AT]
                peaks = self.peaks.select(index[some])
                as_measured = counts[some] + self.subtraction.dark_level
                lost[index[some]] = ~self.subtraction.posterior(as_measured, peaks).usable
        return lost

    def on_all_channels(self, values):
        """Continue a result to the channels that were not recorded.

        Parameters
        ----------
        values : ndarray or dask array of shape (..., n_recorded)

        Returns
        -------
        ndarray or dask array of shape (..., n_energy)
        """
        if self.channels is None or self.channels.all_recorded:
            return values
        width = [(0, 0)] * (values.ndim - 1) + [self.channels.not_recorded]
        library = da if isinstance(values, da.Array) else np
        padded = library.pad(values, width, mode="edge")
        return as_blocks(padded) if library is da else padded

    def scan(self, window):
        """Integrate the subtracted signal over a window against ``E_I``.

        Parameters
        ----------
        window : Range
            Energies from the peak, eV.

        Returns
        -------
        RegionScan or None
            None where the axis does not hold the window.
        """
        return scan_regions(self.subtraction, self.scanned, self.regions, window)


def known_peaks(image, labels, regions, *, log_dose=0.0, given_limits=()):
    """Collect what is known of the peak of every spectrum before it is matched.

    Parameters
    ----------
    image : Image
    labels : ndarray of int of shape (n_spectra,)
        Cluster of each spectrum.
    regions : Regions
        Limits of the clusters; vacuum has none but those that the user gave.
    log_dose : float
        Logarithm of the dose over that of the ensemble, to which ln N0 is brought.
    given_limits : collection of str
        Names of the limits that the user gave: who says where the pure peak ends means every
        pixel, whatever it is taken for.

    Returns
    -------
    KnownPeaks
        NaN where a spectrum is not used.
    """
    parameters = image.parameters
    cluster = np.clip(labels, 0, None)

    def limit(name, none):
        free = image.vacuum & (name not in given_limits)
        return np.where(free, none, getattr(regions, name)[cluster])

    unused = ~image.usable | (labels < 0)
    columns = {
        "channel": parameters.channel,
        "centre": parameters.centre,
        "fwhm": parameters.fwhm,
        "log_intensity": image.log_intensity - log_dose,
        "gain_limit": limit("gain_limit", -NO_LIMIT),
        "loss_limit": limit("E_I", NO_LIMIT),
    }
    return KnownPeaks(**{name: np.where(unused, np.nan, value) for name, value in columns.items()})


def channel_range(image):
    """Find the first and the last channel that holds a peak.

    Parameters
    ----------
    image : Image
        With at least one usable spectrum.

    Returns
    -------
    Range of int

    Examples
    --------
    Spectra that are not used do not count:

    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> from hyperspy_zlpml.removal.application import channel_range
    >>> image = SimpleNamespace(
    ...     parameters=SimpleNamespace(channel=np.array([160, 163, 900])),
    ...     usable=np.array([True, True, False]),
    ... )
    >>> channel_range(image)
    Range(low=160, high=163)
    """
    channels = image.parameters.channel[image.usable]
    return Range(int(channels.min()), int(channels.max()))


def check_width(window, energy, units=EV):
    """Raise ValueError where a window is narrower than a channel: it may hold none.

    Parameters
    ----------
    window : Range
        eV.
    energy : ndarray of shape (n_energy,)
        Of the channels, eV.
    units : Units
        Those that the error names.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.application import check_width
    >>> from hyperspy_zlpml.statistics import Range
    >>> check_width(Range(2.5, 2.6), np.array([0.0, 0.1, 0.2]))
    >>> check_width(Range(2.5, 2.5001), np.array([0.0, 0.1, 0.2]))
    Traceback (most recent call last):
    ValueError: left, right: expected at least a channel (0.1 eV) apart, got 0.0001 eV.
    """
    step = (energy[-1] - energy[0]) / (energy.size - 1)
    width = window.high - window.low
    if width < step * (1 - _ROUNDING):
        raise ValueError(
            f"left, right: expected at least a channel ({step / units.ev:.4g} {units.name}) apart, "
            f"got {width / units.ev:.4g} {units.name}."
        )


def check_window(left, right):
    """Raise ValueError unless energies to integrate between are in order.

    Parameters
    ----------
    left, right : float

    Raises
    ------
    ValueError
        If one is no finite number, or ``left`` is not below ``right``.

    Examples
    --------
    >>> from hyperspy_zlpml.removal.application import check_window
    >>> check_window(2.0, 3.0)
    >>> check_window(3.0, 2.0)
    Traceback (most recent call last):
    ValueError: left: expected less than right = 2.0, got 3.0.
    """
    arguments.number(left, "left")
    arguments.number(right, "right")
    if not left < right:
        raise ValueError(f"left: expected less than right = {right!r}, got {left!r}.")
