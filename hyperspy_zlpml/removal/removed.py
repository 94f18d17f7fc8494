# SPDX-License-Identifier: GPL-3.0-or-later
"""Result of a removal as arrays, which are made when they are asked for."""

from dataclasses import dataclass, field, replace
from typing import Any

import dask.array as da
import numpy as np

from hyperspy_zlpml import arguments
from hyperspy_zlpml.compute import compute, take_spectra
from hyperspy_zlpml.compute.user_warnings import counted
from hyperspy_zlpml.ensemble.ensemble import Ensemble
from hyperspy_zlpml.image.spectra import Spectra
from hyperspy_zlpml.physics.losses import Losses
from hyperspy_zlpml.removal.application import EV
from hyperspy_zlpml.removal.evaluation import OF_MODEL, RESULTS
from hyperspy_zlpml.removal.posterior import Posterior
from hyperspy_zlpml.removal.report import Report
from hyperspy_zlpml.removal.typical import TypicalPeak
from hyperspy_zlpml.statistics import Range

#: Part of the spectra that the peak may miss before it is doubted in all, and how many at least.
_MISSED, _MISSED_AT_LEAST = 0.1, 1
#: Draws that are made at most at once.
_MOST_DRAWS = 10_000
#: Most numbers that a function of losses returns for a spectrum.
_MOST_NUMBERS = 2**16
#: Maps of a removal.
_MAPS = ("clusters", "vacuum", "centre", "fwhm", "intensity")


@dataclass(frozen=True, repr=False, eq=False)
class RemovedZLP:
    """Result of :func:`hyperspy_zlpml.workflow.remove_zlp`: arrays, in memory or of dask.

    The results on the axes of the data are made at first access and kept: ``subtracted``, ``zlp``,
    ``std``, ``lower``, ``upper`` and ``variance``. :meth:`compute` makes several in one pass.

    Attributes
    ----------
    spectra : Spectra
        What the ZLP was removed from, recorded channels; not copied.
    posterior : array of shape (..., n_numbers)
        What is known of the ZLP of every spectrum, see :meth:`.Posterior.pack`.
    clusters : ndarray of int of the navigation shape
        Cluster of each spectrum, 0 is the thinnest; -1 where it was left out.
    vacuum : ndarray of bool of the navigation shape
        Spectra taken for vacuum.
    centre, fwhm, intensity : ndarray of the navigation shape
        Peak parameters, eV and counts; NaN where a spectrum has no usable peak.
    ensemble : Ensemble
        The trained model.
    report : Report
        What was done and how well; print it.
    application : Application
        How the ensemble was applied.
    record : dict of str to anything
        What was done, as text, numbers and short arrays.
    is_lazy : bool
        Whether results are dask arrays.
    has_counts : bool
        Whether ``spectra`` hold the counts; without, as after loading, there are the ZLP, its standard
        deviation and draws.
    of_image : TypicalPeak, optional
        Peaks of the image that this is a part of; default those of ``centre`` and ``fwhm``.

    Notes
    -----
    Counts that were changed in place since are told from those that were matched by a sum of every
    spectrum: results that need them are then refused.
    """

    spectra: Spectra
    posterior: np.ndarray | da.Array
    clusters: np.ndarray
    vacuum: np.ndarray
    centre: np.ndarray
    fwhm: np.ndarray
    intensity: np.ndarray
    ensemble: Ensemble
    report: Report
    application: Any
    record: dict[str, Any]
    is_lazy: bool = False
    has_counts: bool = True
    of_image: TypicalPeak | None = None
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def dark_level(self):
        """Counts of every channel that no electron reaches, shape (n_energy,)."""
        subtraction = self.application.subtraction
        level = np.broadcast_to(subtraction.dark_level, subtraction.energy.shape)
        return self.application.on_all_channels(level.copy())

    @property
    def subtracted(self):
        """Counts minus pedestal and ZLP, with sign; array of shape (..., n_energy)."""
        return self._result("subtracted")

    @property
    def zlp(self):
        """Zero-loss peak: median over the replicas, matched to each spectrum."""
        return self._result("zlp")

    @property
    def std(self):
        """Standard deviation of the ZLP model."""
        return self._result("std")

    @property
    def lower(self):
        """Lower end of the band of ``subtracted`` that follows from the ZLP model."""
        return self._result("lower")

    @property
    def upper(self):
        """Upper end of the band of ``subtracted`` that follows from the ZLP model."""
        return self._result("upper")

    @property
    def variance(self):
        """Total variance of ``subtracted``: counting noise and ZLP model."""
        return self._result("variance")

    @property
    def shape(self):
        """Shape of the results on the axes of the data."""
        channels = self.application.channels
        n_energy = self.spectra.energy.size if channels is None else channels.bad.size
        return self.spectra.navigation_shape + (n_energy,)

    @property
    def typical(self):
        """Zero-loss peaks of the image, of the whole one where this is a part of it (TypicalPeak)."""
        return self.of_image or TypicalPeak.of(self.centre, self.fwhm)

    def within(self, region):
        """Take the result of some spectra; nothing is copied or computed.

        Ensemble, limits, clusters and report stay those of the whole image, and so do the results:
        those of a part are those of the whole there. Draws are others.

        Parameters
        ----------
        region : tuple of int or slice
            One for each navigation axis; a number takes the axis away.

        Returns
        -------
        RemovedZLP

        Raises
        ------
        IndexError
            If there are no such spectra.
        ValueError
            If there are none.

        Examples
        --------
        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> r.removed.within((slice(0, 2), 3))
        <RemovedZLP, shape (2, 512), 4 replicas, 2 clusters>
        """
        shape = self.spectra.navigation_shape
        index = np.arange(self.spectra.n_spectra).reshape(shape)[region]
        if not np.size(index):
            raise ValueError(f"region: expected at least one spectrum, got none of {shape}.")
        return replace(
            self,
            spectra=self.spectra.within(region),
            posterior=self.posterior[region],
            **{name: np.asarray(getattr(self, name)[region]) for name in _MAPS},
            application=self.application.select(np.ravel(index)),
            of_image=self.typical,
            made={name: values[region] for name, values in self.made.items()},
        )

    def _result(self, name):
        if name not in self.made:
            self.make([name])
        return self.made[name]

    def make(self, names, show_progressbar=False):
        """Make those of some results that were not made yet, in one pass; lazy where results are.

        Parameters
        ----------
        names : sequence of str
        show_progressbar : bool
        """
        missing = [name for name in names if name not in self.made]
        if not missing:
            return
        self._check_counts(missing)
        spectra = self.spectra
        results = self.application.evaluate(
            missing,
            spectra.counts,
            self.posterior,
            spectra.variance,
            lazy=self.is_lazy,
            show_progressbar=show_progressbar,
        )
        self.made.update(results)

    def _check_counts(self, names):
        """Raise ValueError where results need counts that are not there."""
        if not (self.has_counts or set(names) <= set(OF_MODEL)):
            raise ValueError(
                f"{', '.join(names)}: expected the spectra that the ZLP was removed from, got none; "
                "give them: load_removal(directory, signal=s)."
            )

    def compute(self, *names, show_progressbar=False):
        """Make several results in one pass over the data, in memory.

        Parameters
        ----------
        *names : str
            Among ``subtracted``, ``zlp``, ``std``, ``lower``, ``upper`` and ``variance``; default all.
        show_progressbar : bool

        Raises
        ------
        ValueError
            If a name is none of these.
        """
        names = checked_names(names or RESULTS, RESULTS)
        arguments.flag(show_progressbar, "show_progressbar")
        self.make(names, show_progressbar)
        waiting = [name for name in names if isinstance(self.made[name], da.Array)]
        if waiting:
            arrays = compute(
                *(self.made[name] for name in waiting),
                show_progressbar=show_progressbar,
                title="Subtracting the ZLP",
            )
            self.made.update(zip(waiting, arrays, strict=True))

    def draw(self, n_draws, random_state=None):
        """Draw zero-loss peaks as they may be, given the counts of their spectra.

        Parameters
        ----------
        n_draws : int
        random_state : int, optional

        Returns
        -------
        array of shape (n_draws, ..., n_energy)
            Channels of a draw are correlated as the errors of the ZLP are; spectra are independent of
            each other but for the sensitivity of the channels. Of dask where results are.

        Raises
        ------
        ValueError
            If ``n_draws`` is no positive number.
        """
        arguments.count(n_draws, "n_draws", most=_MOST_DRAWS)
        seed = arguments.settle_random_state(random_state)
        draws = self.application.draw(
            n_draws, self.spectra.counts, self.posterior, seed, lazy=self.is_lazy
        )
        return (da if self.is_lazy else np).stack(draws)

    def integrate(self, left, right):
        """Integrate the subtracted signal of every spectrum between two energies above its peak.

        Parameters
        ----------
        left, right : float
            From the peak of each spectrum (not from the zero of the axis), in eV.

        Returns
        -------
        Integrals
            Maps of the navigation shape. The error of the ZLP model is correlated between channels
            as it is, which a sum of ``variance`` is not.

        Raises
        ------
        ValueError
            If ``left`` is not below ``right``, they are closer than one channel, or the axis holds
            them for no spectrum; spectra whose axis does not hold them are NaN.

        Notes
        -----
        Reads whole spectra, block by block, in a pass of its own.
        """
        return self._integrals(Range(left, right))

    def _integrals(self, window, units=EV):
        """Integrate between two energies in eV, which errors name in other units."""
        self._check_counts(["integrals"])
        return self.application.integrate(self.spectra.counts, self.posterior, window, units)

    def map_losses(self, function, width, *others, **options):
        """Apply a function of what is left of spectra, and of the errors of their ZLPs, to all.

        Parameters
        ----------
        function : callable
            Called as ``function(losses, *others)`` with the :class:`~hyperspy_zlpml.physics.losses.Losses` of
            some spectra, all with a ZLP; returns an array of shape (n_spectra, width). Its numbers
            must not depend on which spectra come together.
        width : int
            Numbers that it returns for each spectrum.
        *others : array of the navigation shape
            Numbers of each spectrum, handed on to the function as (n_spectra,).
        **options
            ``lazy`` (by default as the results are), ``show_progressbar``, and ``title`` of the bar.

        Returns
        -------
        array of shape (..., width)
            NaN where a spectrum has no ZLP.

        Raises
        ------
        ValueError
            If an argument is not what it must be, or the function returns something else.

        Examples
        --------
        Largest losses of each spectrum, and their noise:

        >>> import numpy as np
        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> def largest(losses):
        ...     top = losses.subtracted.argmax(-1)[:, None]
        ...     taken = [losses.subtracted, np.sqrt(losses.variance)]
        ...     return np.hstack([np.take_along_axis(one, top, -1) for one in taken])
        >>> r.removed.map_losses(largest, 2).shape
        (4, 4, 2)
        """
        if not callable(function):
            arguments.refuse(function, "function", "a function of losses")
        arguments.count(width, "width", most=_MOST_NUMBERS)
        self._check_counts(["physics"])
        options = self._checked_options(options)
        spectra = self.spectra
        return self.application.map_losses(
            function,
            width,
            spectra.counts,
            self.posterior,
            *(_as_array(other)[..., None] for other in others),
            variance=spectra.variance,
            **options,
        )

    def _checked_options(self, options):
        """Complete the options of what is mapped; ValueError for those that cannot be."""
        options = {"lazy": None, "title": "Working on losses", **options}
        lazy = arguments.optional_flag(options["lazy"], "lazy")
        arguments.flag(options.get("show_progressbar", False), "show_progressbar")
        arguments.text(options["title"], "title")
        return {**options, "lazy": self.is_lazy if lazy is None else lazy}

    def of_spectra(self, index, names=RESULTS, limits=None):
        """Evaluate results of a few spectra alone.

        Parameters
        ----------
        index : sequence of int
            Spectra in flattened navigation order.
        names : sequence of str
        limits : Range, optional
            Energies from the peak, eV, between which the spectra are matched anew for this; default
            is how they were matched.

        Returns
        -------
        dict of str to ndarray of shape (n, n_energy)
        """
        self._check_counts(names)
        counts, posterior, variance = self._taken(index)
        if limits is not None:
            posterior = self.application.match_between(limits, counts, index)
        return self.application.evaluate(names, counts, posterior, variance)

    def losses_of(self, index):
        """Collect the losses of a few spectra, as functions of physics take them.

        Parameters
        ----------
        index : sequence of int
            Spectra in flattened navigation order, all with a ZLP.

        Returns
        -------
        Losses
        """
        self._check_counts(["losses_of"])
        index, found = np.asarray(index, int), []
        counts, posterior, variance = self._taken(index)

        def collect(losses, place):
            found.append((losses, place.astype(int)))
            return place[:, None]

        places = np.arange(index.size, dtype=float)[:, None]
        self.application.map_losses(
            collect, 1, counts, posterior, places, variance=variance, title=""
        )
        order = np.argsort(np.concatenate([place for _, place in found]))
        return Losses.join([losses for losses, _ in found]).select(order)

    def common_directions_of(self, index):
        """Find the directions in which the ZLPs of a few spectra, and all others, may be wrong alike.

        Parameters
        ----------
        index : sequence of int
            Spectra in flattened navigation order, all with a ZLP.

        Returns
        -------
        ndarray of shape (n, n_common, n_energy)
            Counts, by one standard deviation; each direction means the same in all spectra.
        """
        self._check_counts(["common_directions_of"])
        return self.application.common_directions(*self._taken(index)[:2])

    def _taken(self, index):
        """Read counts, posterior and variance of some spectra; where these are lazy, no others are matched."""
        spectra = self.spectra
        wanted = {"counts": spectra.counts}
        if not isinstance(self.posterior, da.Array):
            wanted["posterior"] = self.posterior
        if np.ndim(spectra.variance):
            library = da if isinstance(spectra.variance, da.Array) else np
            wanted["variance"] = library.broadcast_to(spectra.variance, spectra.counts.shape)
        index = np.asarray(index, int)
        some = (take_spectra(one, index) for one in wanted.values())
        taken = dict(zip(wanted, compute(*some, show_progressbar=False, title=""), strict=True))
        counts, posterior = taken["counts"], taken.get("posterior")
        if posterior is None:
            posterior = self.application.match_some(counts, index)
        return counts, posterior, taken.get("variance", spectra.variance)

    @property
    def missed(self):
        """Spectra that the ZLP misses where they should be nothing else.

        It was trained on peaks of another shape, as a vacuum of another time may have them. Noise makes
        less than one in 100 000 of them.

        Returns
        -------
        array of bool of the navigation shape
            Of dask where the posterior is.
        """
        return Posterior.misses(self.posterior)

    def in_doubt(self, missed):
        """Tell of which spectra the ZLP is in doubt: where many are missed, the others are no better.

        Parameters
        ----------
        missed : ndarray of bool of the navigation shape
            Values of :attr:`missed`.

        Returns
        -------
        ndarray of bool of the navigation shape
            All where more than one, and more than a tenth, are missed.
        """
        usable = np.isfinite(self.centre)
        many = max(_MISSED * usable.sum(), _MISSED_AT_LEAST)
        return missed | (usable & (missed.sum() > many))

    def posterior_of(self, index):
        """Take what is known of the ZLP of some spectra.

        Parameters
        ----------
        index : sequence of int
            Spectra in flattened navigation order.

        Returns
        -------
        Posterior
        """
        rows = take_spectra(self.posterior, np.asarray(index, int))
        (rows,) = compute(rows, show_progressbar=False, title="")
        return Posterior.unpack(rows, self.application.n_modes)

    def __repr__(self):
        lazy = "lazy, " if self.is_lazy else ""
        return (
            f"<RemovedZLP, {lazy}shape {self.shape}, {counted(self.report.n_kept, 'replica', 'replicas')}, "
            f"{counted(len(self.report.clusters), 'cluster', 'clusters')}>"
        )


def _as_array(numbers):
    """Take numbers as an array, lazy ones as they are."""
    return numbers if isinstance(numbers, da.Array) else np.asarray(numbers)


def checked_names(names, known, argument="names"):
    """Take names of results; raise ValueError unless all are known.

    Parameters
    ----------
    names : sequence of str
    known : sequence of str
    argument : str
        What they are called in errors.

    Returns
    -------
    list of str
        Each once.

    Examples
    --------
    >>> from hyperspy_zlpml.removal.removed import checked_names
    >>> checked_names(["zlp", "zlp"], ["zlp", "std"])
    ['zlp']
    >>> checked_names(["ZLP"], ["zlp", "std"])
    Traceback (most recent call last):
    ValueError: names: expected some of ['zlp', 'std'], got ['ZLP']. Did you mean 'zlp'?
    """
    given = list(names) if arguments.is_sequence(names) else [names]
    others = [name for name in given if not isinstance(name, str) or name not in known]
    if others or not arguments.is_sequence(names):
        asked = arguments.meant(others[0], known) if others else ""
        raise ValueError(
            f"{argument}: expected some of {list(known)}, got {arguments.got(names)}.{asked}"
        )
    return list(dict.fromkeys(names))


def maps_of(image, application, labels, shape):
    """Collect the maps of a removal.

    Parameters
    ----------
    image : Image
    application : Application
    labels : ndarray of int of shape (n_spectra,)
        Cluster of each spectrum.
    shape : tuple of int
        Navigation shape.

    Returns
    -------
    dict of str to ndarray of the navigation shape
        Clusters, vacuum, centre, FWHM and intensity.
    """
    parameters = image.parameters
    maps = {
        "clusters": np.where(application.peaks.usable, labels, -1),
        "vacuum": image.vacuum,
        "centre": parameters.centre,
        "fwhm": parameters.fwhm,
        "intensity": parameters.intensity,
    }
    return {name: values.reshape(shape) for name, values in maps.items()}
