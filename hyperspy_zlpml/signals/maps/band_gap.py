# SPDX-License-Identifier: GPL-3.0-or-later
"""Method of the result of a removal that maps the band gap, and what it returns."""

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from hyperspy.signals import BaseSignal, Signal1D

from hyperspy_zlpml import arguments
from hyperspy_zlpml.compute.lazy import compute
from hyperspy_zlpml.physics.band_gap import (
    EXPONENTS,
    N_NUMBERS,
    Gap,
    GapSettings,
    band_gaps,
)
from hyperspy_zlpml.physics.cherenkov import index_of_light, with_retardation
from hyperspy_zlpml.physics.gap_kind import Kind
from hyperspy_zlpml.physics.onset_curve import onset_curve
from hyperspy_zlpml.physics.reasons import Reason, most_serious
from hyperspy_zlpml.physics.scattered_down import piece_of
from hyperspy_zlpml.registration.find_regions import GUESS
from hyperspy_zlpml.removal.pooling import losses_at
from hyperspy_zlpml.signals.maps.gap_kinds import kinds_of_gaps
from hyperspy_zlpml.signals.maps.given import (
    check_unused,
    index_of,
    pool_of,
    window_of,
)
from hyperspy_zlpml.signals.maps.native import Measured, plain_map, reason_map
from hyperspy_zlpml.signals.maps.plans import Part, Plan, pooled
from hyperspy_zlpml.signals.maps.results import MapResult
from hyperspy_zlpml.signals.microscope import beam_of, microscope_settings, removed_from
from hyperspy_zlpml.signals.wrapping import numbers_like, set_lazy
from hyperspy_zlpml.statistics import Range

#: Exponents that an onset may have.
_EXPONENTS = (0.1, 5.0)
#: Spectra that are looked at to find where gaps are.
_LOOKED_AT = 32
#: Length of the windows that pooled spectra are cut to, above the gaps, FWHM and eV.
_ABOVE = (6.0, 1.5)
#: Attributes of a result that are columns, what titles call them, and their quantities.
_PLAIN = {
    "ln_indirect": ("evidence for an indirect gap", "ln K"),
    "ln_between": ("evidence for neither kind", "ln K"),
    "improvement": ("improvement by an onset", "chi2"),
    "reduced_chi2": ("misfit of the onset", "Reduced chi2"),
}
#: What reasons mean for a gap.
_TEXTS = {
    Reason.BELOW_RESOLUTION: "the 68 % interval reaches below 2 FWHM from the peak, where losses are not told from it",
    Reason.AT_LOWER_END: "the gap lies at the lowest onset that was tried, or its interval reaches below left",
    Reason.AT_UPPER_END: "the gap lies at the highest onset that was tried: give right, or a higher one",
    Reason.MISFIT: "no shape of an onset fits, losses stand out or may hide below it, or the interval is longer than the "
    "shortest window of the fit",
    Reason.RETARDED: "Cherenkov losses fill the gap, which lies higher: measure at a voltage whose electrons are slower "
    "than light in the specimen",
    Reason.TAIL_GUESSED: "nothing shows the tail of the zero-loss peak beyond E_I, and it may hide losses as well: the gap may be none, "
    "as of a metal. Vacuum, or pixels of differing thickness, would tell",
    Reason.OTHER_PEAK: "the zero-loss peak misses the spectrum below E_I: it is not that of the vacuum, or losses, of "
    "Cherenkov light or others, begin below E_I",
}
#: Where the metadata of the reasons keep what is not known of retardation.
_UNKNOWN = "ZLP_ML.retardation"
#: ln of the odds from which the kind of a gap is told: 150 to one.
_CLEAR = 5.0


class BandGapMethods:
    """Methods of the result of a removal that map the band gap."""

    # Every keyword is a choice that may be made.
    @arguments.named
    def band_gap(  # noqa: PLR0913
        self,
        *,
        exponent=None,
        left=None,
        right=None,
        pool=None,
        own_response=True,
        n=None,
        n_error=0.0,
        show_progressbar=None,
    ):
        """Map the band gap of the specimen, with errors and with the pixels that do not tell.

        In every pixel onsets ``A (x / (1 + x / w))^b (1 + g x / Eg)`` with ``x = E - Eg`` are
        convolved with the pixel's own zero-loss peak and fitted to what is left above ``E_I``, by
        generalised least squares in which the zero-loss peak is as uncertain as it is. The gap is the
        median of what all shapes say in three windows above the onset.

        Parameters
        ----------
        exponent : float, optional
            ``b``: 0.5 for a direct gap, 1.5 for an indirect one (Rafferty and Brown, 1998). By
            default it is not known: exponents from 0.3 to 2.5 are tried, and the error of the gap
            holds that.
        left, right : float, optional
            Energies from the peak between which it is fitted, in the units of the axis. By default
            from ``E_I`` of each pixel to 1, 1.5 and 2 times the longer of 2 FWHM and 0.5 eV above the
            onset; one may be given without the other.
        pool : int or "clusters", optional
            Pixels on a side of the square about each whose spectra are summed, along every navigation
            axis (of an even number those at the rim count by half), or the clusters of the removal,
            vacuum apart. The error of the zero-loss peak that the pixels share is kept.
        own_response : bool
            Whether onsets are blurred by the peak of the pixel; without, gaps are too low.
        n : float, map or Measured, optional
            Refractive index of the specimen: where electrons are faster than light in it, losses below the gap are
            Cherenkov light, and the gap is marked.
        n_error : float or map
            One standard deviation of n. A gap is marked where its electrons are faster with 95 %
            probability.
        show_progressbar : bool, optional

        Returns
        -------
        BandGap

        Raises
        ------
        ValueError
            If an argument is not what it must be, before any work is done.

        Notes
        -----
        ``std`` holds the counting noise, the error of the zero-loss peak with the choice of ``E_I``,
        the shape of the onset with departures from any, as large as the spectrum says, and the exponent
        where it is not given; ``systematic`` is by how much the windows disagree. ``lower`` and
        ``upper`` hold both. Where no shape fits, errors are larger by the square root of the reduced
        chi2.

        Less than 1 % of spectra without losses are taken for some with a gap.

        References
        ----------
        B. Rafferty and L. M. Brown, Phys. Rev. B 58, 10326 (1998).

        Examples
        --------
        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> found = r.band_gap(exponent=1.0, show_progressbar=False)
        >>> found.gap.value
        <BaseSignal, title: WS2-like flake band gap, dimensions: (4, 4|)>
        >>> bool(np.nanmedian(abs(found.gap.value.data - 1.6)) < 0.2)
        True
        """
        settings = self._gap_settings(exponent, left, right, own_response)
        pool = pool_of(self, pool)
        settings = replace(
            settings, pooled=pool is not None, tail_is_guessed=GUESS in self.ensemble.seen.tail
        )
        retarded = self._retardation_of(n, n_error)
        unknown = _unknown_retardation(self) if n is None else ""
        window = None if pool is None else self._pooled_window(settings)
        plan = Plan(
            function=partial(_with_missed, settings=settings),
            width=N_NUMBERS + 1,
            finish=partial(
                _finished, retarded=retarded, unknown=unknown, settings=settings, pool=pool
            ),
            title="Fitting onsets",
            others=(self.removed.missed,),
        )
        if window is not None:
            part = Part(partial(band_gaps, settings=settings), N_NUMBERS, _within(window))
            plan = pooled(plan, pool, part)
        return self._carry_out(plan, show_progressbar)

    def _gap_settings(self, exponent, left, right, own_response):
        """Check how gaps are searched for; energies in eV."""
        if exponent is not None:
            low, high = _EXPONENTS
            expected = f"a number from {low:g} to {high:g}, as 0.5 (direct gap) or 1.5 (indirect)"
            exponent = arguments.number(
                exponent, "exponent", expected, lambda one: low <= one <= high
            )
        arguments.flag(own_response, "own_response")
        given = zip(("left", "right"), window_of(self, left, right), strict=True)
        self._check_above_limits(right)
        return GapSettings(
            exponents=EXPONENTS if exponent is None else (exponent,),
            own_response=own_response,
            **{name: end for name, end in given if end is not None},
        )

    def _check_above_limits(self, right):
        """Raise ValueError for an end below which no losses are known of any spectrum."""
        lowest = np.nanmin(self.removed.application.regions.E_I, initial=np.inf) / self._factor
        if right is not None and np.isfinite(lowest) and right <= lowest:
            units = self._units
            arguments.refuse(
                right, "right", f"an energy above the lowest E_I, {lowest:.4g} {units}"
            )

    def _retardation_of(self, n, n_error):
        """Make the function of reasons that marks pixels by their refractive index, if it is given."""
        if n is None:
            check_unused(n_error, "n_error", "n")
            return np.asarray
        index, error = index_of(self, n, n_error, above=0.0)
        return partial(with_retardation, index=index, error=error, beam=beam_of(self, "n"))

    def _pooled_window(self, settings):
        """Choose the energies that pooled spectra are cut to, eV, by the gaps of some of them.

        None where no energy is known above which losses are told from the ZLP.
        """
        losses = self.removed.losses_of(_some_spectra(self.removed))
        losses = losses.select(np.isfinite(losses.loss_limit))
        if not losses.centre.size:
            return None
        fwhm = np.median(losses.fwhm)
        low = max(losses.loss_limit.min() - fwhm, 0.0)
        end = (losses.energy[-1] - losses.centre).min() - fwhm
        if settings.ends:
            return Range(low, min(settings.right + fwhm, end))
        gaps = band_gaps(losses, replace(settings, pooled=False))[:, _column("upper")]
        highest = np.nanmax(gaps) if np.isfinite(gaps).any() else losses.loss_limit.max()
        return Range(low, min(highest + max(_ABOVE[0] * fwhm, _ABOVE[1]), end))


def _within(window):
    """Make the function that cuts the energies of a window out of losses."""
    return partial(piece_of, low=window.low, high=window.high)


def _with_missed(losses, missed, settings):
    """Find band gaps; beside them, whether the peaks miss the spectra."""
    return np.hstack([band_gaps(losses, settings), missed[:, None]])


def _unknown_retardation(removal):
    """Say that retardation is not known without a refractive index, and which index makes it."""
    beam_energy = microscope_settings(removed_from(removal)).get("beam_energy")
    if beam_energy is None:
        return "not looked at without n="
    index = index_of_light(beam_energy)
    return (
        f"not looked at without n=: at {beam_energy:g} kV Cherenkov losses fill the gap of what has n > {index:.2f}, "
        "and it is too low"
    )


def _finished(removal, numbers, retarded, unknown, settings, pool):
    """Mark pixels that are retarded or have the peak of another vacuum, and make maps."""
    removed, column = removal.removed, _column("reason")
    if numbers.shape[-1] > N_NUMBERS:
        numbers, missed = numbers[..., :N_NUMBERS], numbers[..., N_NUMBERS] == 1
    else:  # Of spectra together; whether the peak misses one is its own.
        (missed,) = compute(removed.missed, show_progressbar=False, title="")
    is_other = np.where(removed.in_doubt(np.asarray(missed)), Reason.OTHER_PEAK, Reason.NONE)
    numbers[..., column] = retarded(most_serious(numbers[..., column], is_other))
    found = BandGap.wrap(removal, numbers, settings, pool)
    if unknown:
        found.reason.metadata.set_item(_UNKNOWN, unknown)
    return found


def _column(name):
    return Gap._fields.index(name)


def _some_spectra(removed):
    """Choose some spectra of the specimen, or of vacuum where there is nothing else."""
    usable = np.isfinite(removed.centre).ravel()
    specimen = usable & ~removed.vacuum.ravel()
    index = np.flatnonzero(specimen if specimen.any() else usable)
    return index[np.unique(np.linspace(0, index.size - 1, _LOOKED_AT).astype(int))]


@dataclass(frozen=True, repr=False, eq=False)
class BandGap(MapResult):
    """Result of :meth:`~hyperspy_zlpml.ZLPRemoval.band_gap`: maps over the navigation space.

    Energies are in the units of the axis, from the peak of each pixel. Numbers with a reason that is
    not 0 are to be read with care; those of pixels that do not tell are NaN.

    Attributes
    ----------
    gap : Measured
        Median of the posterior; ``systematic`` is by how much the windows disagree.
    lower, upper : BaseSignal
        Ends of the central 68 % of the posterior, all errors together: it may be lopsided.
    exponent : Measured
        ``b``; what was given where it was.
    ln_indirect : BaseSignal
        Logarithm of the evidence for an indirect gap (b = 1.5) over that for a direct one (0.5). One
        pixel seldom decides: within 2.5 of 0 it says next to nothing, and its sign may be another than that of its
        cluster or of the image, which are not sums over pixels.
    ln_indirect_clusters : BaseSignal
        That of pixels of a cluster together whose gap holds, each with a gap of its own, what is wrong in
        all of them alike fitted once: departures from any shape, and errors of the ensemble. NaN where less than a
        third of those of the specimen hold. They are asked one by one in pooled maps, too: a pool tells which
        gaps hold and where their windows are, no more.
    ln_indirect_image : float
        That of pixels of all clusters together, likewise.
    ln_between, ln_between_clusters : BaseSignal
        Logarithm of the evidence for an exponent of 1 over that for the better of both, likewise: an
        onset that has neither exponent is nearer to one of them. ``ln_indirect`` tells the kind of a gap
        only where this is well below 0.
    ln_between_image : float
        That of pixels of all clusters together.
    improvement : BaseSignal
        chi2 by which an onset is better than none.
    reduced_chi2 : BaseSignal
        Of the best fit.
    reason : BaseSignal
        Why there is no number, or one to be read with care: ``metadata.ZLP_ML.legend``.
    """

    _first = "gap"
    _plotted = ("gap",)

    gap: Measured
    lower: BaseSignal
    upper: BaseSignal
    exponent: Measured
    ln_indirect: BaseSignal
    ln_indirect_clusters: BaseSignal
    ln_indirect_image: float
    ln_between: BaseSignal
    ln_between_clusters: BaseSignal
    ln_between_image: float
    improvement: BaseSignal
    reduced_chi2: BaseSignal
    reason: BaseSignal
    _removal: BandGapMethods | None = field(repr=False)
    _numbers: Signal1D = field(repr=False)
    _settings: GapSettings = field(repr=False)
    _pool: int | str | None = field(repr=False)

    @classmethod
    def wrap(cls, removal, numbers, settings, pool):
        """Make maps of what was found.

        Parameters
        ----------
        removal : ZLPRemoval
        numbers : ndarray of shape (..., N_NUMBERS)
            Of :func:`~hyperspy_zlpml.physics.band_gap.band_gaps`.
        settings : GapSettings
        pool : int, str or None

        Returns
        -------
        BandGap
        """
        found, plain = Gap(*np.moveaxis(numbers, -1, 0)), partial(plain_map, removal)
        kinds = kinds_of_gaps(removal.removed, numbers, settings)

        return cls(
            **_energies(removal, found),
            exponent=Measured.of(
                removal,
                (found.exponent, found.exponent_std),
                title="exponent of the onset",
                quantity="Exponent",
            ),
            **{name: plain(getattr(found, name), *words) for name, words in _PLAIN.items()},
            **{
                f"{name}_clusters": plain(
                    kinds.map_of(name), f"{_PLAIN[name][0]} of clusters", "ln K"
                )
                for name in Kind._fields
            },
            **{f"{name}_image": float(getattr(kinds.image, name)) for name in Kind._fields},
            reason=reason_map(removal, found.reason, "band gap", _TEXTS),
            _removal=removal,
            _numbers=numbers_like(removal._like, numbers, "numbers of band gaps"),
            _settings=settings,
            _pool=pool,
        )

    def _shape(self):
        """Take the navigation shape; ValueError where the removal is not at hand."""
        return self._of_removal().removed.shape[:-1]

    def _rows(self):
        """Say what each part holds, the kind of the gap, and whether retardation was looked at; (name, words)."""
        rows = super()._rows()
        place = [name for name, _ in rows].index("reason")
        unknown = self.reason.metadata.get_item(_UNKNOWN, "")
        rows[place:place] = [("kind", self._kind_in_words())]
        rows[place + 2 : place + 2] = [("retardation", unknown)] if unknown else []
        return rows

    def _kind_in_words(self):
        """Say the kind, and why it cannot be told."""
        if self.kind != "cannot tell":
            return self.kind
        if not np.isfinite(self.ln_between_image):
            return f"{self.kind}: too few gaps hold"
        return (
            f"{self.kind}: for that ln_between_image must be below -{_CLEAR:g}, ln_indirect_image beyond {_CLEAR:g} on either "
            "side; single pixels and clusters, of either sign, do not decide"
        )

    @property
    def kind(self):
        """Kind of the gap by all pixels: "direct", "indirect", or "cannot tell" (str).

        It is told where ``ln_between_image`` is below -5 and ``ln_indirect_image`` beyond 5 on either side: the better of
        both exponents is 150 times as likely as an exponent of 1, and as the other. Many images whose gap is direct or
        indirect are not told, for an exponent of 1 imitates them.
        """
        if not (self.ln_between_image < -_CLEAR and abs(self.ln_indirect_image) > _CLEAR):
            return "cannot tell"
        return "indirect" if self.ln_indirect_image > 0 else "direct"

    def curve(self, indices=None):
        """Compute the onset that fits a pixel best, with what higher losses bring down to it.

        Parameters
        ----------
        indices : tuple of int, optional
            Navigation indices (x, y, ...) of the pixel; by default the one shown by the navigator of
            ``gap``, or one with an answer where that has none.

        Returns
        -------
        EELSZLPSpectrum
            Of that pixel; NaN outside of the window of most weight.

        Raises
        ------
        ValueError
            If there is no such pixel.
        """
        indices, place = self._pixel(indices)
        removal = self._removal
        losses, onset = self._fit_of(place)
        if losses is None:
            curve = np.full(removal.removed.spectra.energy.size, np.nan)
        else:
            curve = onset.rise + onset.tail
        signal = removal._like.inav[indices] if indices else removal._like.deepcopy()
        set_lazy(signal, False)
        signal.data = removal.removed.application.on_all_channels(curve)
        signal.metadata.General.title = "onset of the losses"
        return signal

    def _fit_of(self, place):
        """Evaluate a spectrum and its best onset; None for one that has no ZLP.

        Returns
        -------
        losses : Losses or None
        onset : Onset or None
        """
        removed = self._removal.removed
        if not np.isfinite(np.ravel(removed.centre)[place]):
            return None, None
        losses = removed.losses_of([place])
        return losses, onset_curve(losses, self._gap_of(place))

    def _pooled_fit_of(self, place):
        """Evaluate the pool of a spectrum and its best onset, or itself where nothing was pooled; None likewise."""
        removal = self._removal
        window = None if self._pool is None else removal._pooled_window(self._settings)
        losses, onset = self._fit_of(place)
        if losses is None or window is None:
            return losses, onset
        at = np.unravel_index(place, self._shape())
        losses = losses_at(removal.removed, at, pool=self._pool, prepare=_within(window))
        return losses, onset_curve(losses, self._gap_of(place))

    def _gap_of(self, place):
        """Take the numbers of one pixel, energies in eV."""
        return Gap(*self._numbers.data.reshape(-1, N_NUMBERS)[place].tolist())

    def _pixel(self, indices):
        """Take navigation indices, those that are shown by default, and the number of the spectrum."""
        shape, place = self._shape(), self._place_of(indices)
        return place[::-1], int(np.ravel_multi_index(place, shape)) if shape else 0

    def plot_fit(self, indices=None):
        """Plot what is left of a pixel with its noise and all that is fitted to it, and the gap with its 68 % interval.

        The onset that is drawn is the best single shape; the gap is the median of what all shapes say, and lies elsewhere
        within its error.
        Beside the onset there are what the tail of the peak brings down from higher losses, and by how
        much the zero-loss peak is taken to be wrong, within its errors. Of pooled gaps the mean of the pool is
        drawn, which was fitted; of a part of an image that was pooled, of what is left of it.

        Parameters
        ----------
        indices : tuple of int, optional
            Navigation indices (x, y, ...) of the pixel; by default the one shown by the navigator of
            ``gap``, or one with an answer where that has none.

        Returns
        -------
        list of matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If there is no such pixel.
        """
        from hyperspy_zlpml.signals.maps.gap_figures import plot_fit

        indices, place = self._pixel(indices)
        return plot_fit(self, place, indices)

    def plot_line(self, row=None, column=None):
        """Plot the losses along a line one above the other, each with its gap.

        Parameters
        ----------
        row : int, optional
            Row (y) of an image; by default its first, or its column where it has no other.
        column : int, optional
            Column (x) of an image instead.

        Returns
        -------
        list of matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If the data are neither an image nor a line scan, have no such row or column, or both are given.
        """
        from hyperspy_zlpml.signals.maps.gap_figures import plot_line

        shape = self._shape()
        if len(shape) not in (1, 2):
            raise ValueError(
                f"plot_line: expected an image or a line scan, got {len(shape)} navigation axes."
            )
        if column is not None and (row is not None or len(shape) == 1):
            arguments.refuse(column, "column", "none for a line scan, or beside a row")
        rows = np.arange(np.prod(shape, dtype=int)).reshape(-1, shape[-1])
        if column is None and row is None and rows.shape[1] == 1 < len(rows):
            column = 0
        if column is not None:
            column = arguments.count(column, "column", 0, shape[-1] - 1)
            return plot_line(self, rows[:, column], axis=1, name=f"column {column}")
        row = 0 if row is None else arguments.count(row, "row", 0, len(rows) - 1)
        return plot_line(self, rows[row], axis=0, name=f"row {row}" if len(shape) == 2 else "")


def _energies(removal, found):
    """Make the maps of the gap and its interval, in the units of the axis."""
    quantity = f"Energy ({removal._units})"
    gap = tuple(one / removal._factor for one in (found.gap, found.std, found.systematic))
    ends = {
        name: plain_map(
            removal, getattr(found, name) / removal._factor, f"{name} end of band gap", quantity
        )
        for name in ("lower", "upper")
    }
    return {"gap": Measured.of(removal, gap, title="band gap", quantity=quantity), **ends}
