# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps of plasmons and excitons, the method that makes them, and their way into models of HyperSpy."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from hyperspy.signals import BaseSignal

from hyperspy_zlpml import arguments
from hyperspy_zlpml.compute.user_warnings import warn_user
from hyperspy_zlpml.physics.peak_shapes import Exciton, Plasmon
from hyperspy_zlpml.physics.peaks import (
    QUANTITIES,
    WIDTH,
    fit_group,
    fit_peaks,
    groups_of,
    piece_of,
    prepared,
)
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.removal.pooling import losses_at
from hyperspy_zlpml.signals.maps.components import Surroundings, component_of, peaks_of, store
from hyperspy_zlpml.signals.maps.given import pool_of
from hyperspy_zlpml.signals.maps.native import Measured, plain_map, reason_map
from hyperspy_zlpml.signals.maps.plans import Part, Plan, pooled
from hyperspy_zlpml.signals.maps.results import MapGroup, MapResult
from hyperspy_zlpml.signals.microscope import beam_of

#: Sides of the zero-loss peak.
_SIDES = ("loss", "gain")
#: Largest number of standard deviations that is asked of a peak.
_MOST_CERTAIN = 1e3
#: What reasons mean for a peak.
_TEXTS = {
    Reason.AT_LOWER_END: "the position lies farther below the energy asked for than is tried",
    Reason.AT_UPPER_END: "the position lies farther above the energy asked for than is tried",
    Reason.OTHER_WIDTH: "the width is more than 2.5 times smaller or larger than the one asked for",
}


class PeakMethods:
    """Fits of peaks to the result of a removal."""

    @arguments.named
    def fit_peaks(  # noqa: PLR0913
        self,
        peaks=None,
        *,
        pool=None,
        threshold=3.0,
        single_scattering=True,
        side="loss",
        show_progressbar=None,
    ):
        r"""Fit plasmons and excitons to what is left of every spectrum.

        Plasmons are the loss function of free electrons [1]_

        .. math:: \mathrm{Im}\frac{-1}{\varepsilon} =
            \frac{E\,\Gamma E_p^2}{(E^2 - E_p^2)^2 + (E\,\Gamma)^2}

        times the logarithm :math:`\ln(1 + \beta^2/\theta_E^2)` by which the aperture takes losses,
        in single scattering; excitons are Gaussians or Lorentzians over a polynomial, in what is
        measured. Both are convolved with the pixel's own zero-loss peak. Peaks whose windows overlap
        are fitted together: name the neighbours of a faint peak, too. Least squares (Levenberg and
        Marquardt, analytic derivatives) by the logarithms of area, energy and width, which stay
        positive; the directions in which the zero-loss peak may be wrong are part of the covariance.
        Fits start where the peaks are clearest, neighbours together.

        Parameters
        ----------
        peaks : Plasmon, Exciton, Component or Model1D, or a sequence of these
            What to look for, at energies from the zero-loss peak in the units of the axis. Components
            of HyperSpy, or a model of them, give start values: ``VolumePlasmonDrude``, ``Gaussian``,
            ``GaussianHF`` and ``Lorentzian``.
        pool : int or "clusters", optional
            Pixels on a side of the square about each whose mean is fitted, along every navigation
            axis (of an even number those at the rim count by half), or the clusters of the removal,
            vacuum apart. Errors of the zero-loss peak that the pixels share do not average out.
        threshold : float
            Standard deviations by which something must be there to be fitted.
        single_scattering : bool
            Whether plasmons are fitted to single scattering; else to what is measured, where the
            second plasmon pulls.
        side : {"loss", "gain"}
            With "gain" energies are those that electrons gained.
        show_progressbar : bool, optional
            Default from HyperSpy's preferences.

        Returns
        -------
        PeakFit or PeakFits
            One for one peak, else a sequence in the order of ``peaks``.

        Raises
        ------
        ValueError
            If an argument is wrong, an energy lies off the axis, or the metadata lack beam energy or
            angles that a plasmon needs.

        Notes
        -----
        ``std`` holds counting noise, the error of the zero-loss peak with the choice of ``E_I``, other
        places that are about as likely, and for excitons that the background is a polynomial to 5 %
        only. ``systematic`` holds half of
        the spread over windows of 0.8, 1 and 1.25 times the size, of energies 0.2 % of the FWHM of the
        zero-loss peak for their zero, and what the misfit of the model adds, ``std`` times
        :math:`\sqrt{\chi^2 - 1}`: the sum of squares of both is at least the usual
        variance times reduced :math:`\chi^2`. The width of an exciton is taken to be known to 30 %
        beforehand.

        ``significance`` has the square by which a fit with the peak is better than the best one with
        its neighbour alone, for the clearer of the two at least that by which it is better than none;
        corrected for the choice among places [2]_: noise alone is above 2 in 2.3 % and above 3 in
        0.13 % of spectra. A background that bends like a peak adds to that.

        References
        ----------
        .. [1] R. F. Egerton, *Electron Energy-Loss Spectroscopy in the Electron Microscope*, 3rd ed.
           (Springer, 2011), eq. 3.43.
        .. [2] R. B. Davies, Biometrika 74, 33 (1987).

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.data import ws2_like
        >>> from hyperspy_zlpml.physics import Plasmon
        >>> s = ws2_like((4, 4), n_channels=512, scale=0.1, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> fit = r.fit_peaks(Plasmon(energy=22.0, width=6.0), show_progressbar=False)
        >>> int(np.isfinite(fit.position.value.data).sum())
        12
        >>> bool(abs(np.nanmedian(fit.position.value.data) - 22.5) < 0.2)
        True
        """
        peaks, is_one = peaks_of(peaks, self)
        settings, beam = _checked(
            self, peaks, threshold=threshold, single_scattering=single_scattering, side=side
        )
        pool = pool_of(self, pool)
        plan = Plan(
            function=partial(fit_peaks, **settings),
            width=len(peaks) * WIDTH,
            finish=partial(
                _finished, peaks=peaks, is_one=is_one, beam=beam, settings=settings, pool=pool
            ),
            title="Fitting peaks",
        )
        if pool is not None:
            groups = groups_of(settings["peaks"])
            order = np.argsort(np.concatenate(groups))
            plan = replace(plan, finish=partial(plan.finish, order=order))
            plan = pooled(plan, pool, *(_part_of(group, **settings) for group in groups))
        return self._carry_out(plan, show_progressbar)


class Together(NamedTuple):
    """Peaks that were fitted together, and to what: by these the fit of a pixel is drawn.

    Attributes
    ----------
    peaks : list of Plasmon or Exciton
        Energies in eV.
    number : int
        Which of them is meant.
    is_single, is_gain : bool
        Whether plasmons are fitted to single scattering; whether energies are those gained.
    pool : int, str or None
    """

    peaks: list
    number: int
    is_single: bool
    is_gain: bool
    pool: int | str | None

    def losses_at(self, place, removed):
        """Collect the losses of a pixel as they were fitted; None where it has no zero-loss peak.

        Parameters
        ----------
        place : tuple of int
            In arrays of the navigation shape.
        removed : RemovedZLP

        Returns
        -------
        Losses or None
        """
        if not np.isfinite(np.asarray(removed.centre).reshape(removed.shape[:-1])[place]):
            return None
        options = {"is_single": self.is_single, "is_gain": self.is_gain}
        prepare = partial(piece_of if self.pool else prepared, peaks=self.peaks, **options)
        return losses_at(removed, place, pool=self.pool, prepare=prepare)


@dataclass(frozen=True, repr=False, eq=False)
class PeakFit(MapResult):
    """Peak in every spectrum, from :meth:`~hyperspy_zlpml.ZLPRemoval.fit_peaks`.

    Energies are from each pixel's own zero-loss peak, in the units of the axis. NaN where ``reason``
    says why.

    Attributes
    ----------
    peak : Plasmon or Exciton
        What was looked for.
    position : Measured
        ``Ep`` of a plasmon; centre of an exciton.
    maximum : Measured
        Energy at which the fitted peak is highest: below ``Ep`` for a plasmon.
    width : Measured
        ``G`` of a plasmon; FWHM of an exciton by itself, without the response of the instrument.
    area : Measured
        Counts in the peak over all energies.
    top : Measured
        Energy at which single scattering is highest, without a model; NaN for excitons.
    reduced_chi2 : BaseSignal
        Of the fit.
    significance : BaseSignal
        Standard deviations by which something is there.
    reason : BaseSignal
        Why there is no number, legend in the metadata.
    """

    _first = "position"
    _plotted = ("position", "width", "area")

    peak: Plasmon | Exciton
    position: Measured
    maximum: Measured
    width: Measured
    area: Measured
    top: Measured
    reduced_chi2: BaseSignal
    significance: BaseSignal
    reason: BaseSignal
    _around: Surroundings = field(repr=False)
    _together: Together = field(repr=False)
    _removal: PeakMethods | None = field(repr=False)

    @property
    def _units(self):
        """Units of the energies."""
        return self._removal._units

    def plot_fit(self, indices=None):
        """Plot what is left of a pixel with the peak and all that is fitted to it, and what it misses.

        The position is drawn with both its errors. Where nothing was found the best attempt is drawn,
        and the title says why it does not count.

        Parameters
        ----------
        indices : tuple of int, optional
            Navigation indices (x, y, ...) of the pixel; by default the one shown by the navigator of
            ``position``, or one with an answer where that has none.

        Returns
        -------
        list of matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If there is no such pixel, or these are saved maps without their removal.
        """
        from hyperspy_zlpml.signals.maps.peak_figures import plot_fit

        place = self._place_of(indices)
        losses = self._together.losses_at(place, self._removal.removed)
        return plot_fit(self, losses, place[::-1])

    def to_component(self):
        """Make the component of HyperSpy that comes closest, with the medians over the image.

        Returns
        -------
        Component
            ``VolumePlasmonDrude``, ``GaussianHF`` or ``Lorentzian``, blurred by the resolution, at
            energies of the axis of the data.
        """
        return component_of(self)

    def append_to(self, model):
        """Append the component that comes closest to a model, with the values of every pixel.

        Parameters
        ----------
        model : Model1D
            Of a signal with the navigation shape of the maps, such as ``r.subtracted``.

        Returns
        -------
        Component
            Appended; where the peak was not found it has the medians over the image.
        """
        return store(self, model)


@dataclass(frozen=True, repr=False, eq=False)
class PeakFits(MapGroup, Sequence):
    """Several peaks in every spectrum, from :meth:`~hyperspy_zlpml.ZLPRemoval.fit_peaks`: a sequence.

    Attributes
    ----------
    fits : tuple of PeakFit
        In the order in which they were asked for.
    """

    fits: tuple[PeakFit, ...]

    def __getitem__(self, number):
        return self.fits[number]

    def __len__(self):
        return len(self.fits)


def _finished(  # noqa: PLR0913
    removal, found, *, peaks, is_one, beam, settings, pool, order=slice(None)
):
    """Make maps of the numbers of all peaks, which come in another order where they are pooled."""
    found = found.reshape(found.shape[:-1] + (len(peaks), WIDTH))[..., order, :]
    axis = removal._like.axes_manager.signal_axes[0]
    around = Surroundings(
        centre=removal.centre,
        fwhm=removal.fwhm,
        unit=1.0 if axis.is_binned else axis.scale,
        factor=removal._factor,
        beam=beam,
    )
    together = {
        k: Together(
            [settings["peaks"][j] for j in group],
            number=number,
            is_single=settings["is_single"],
            is_gain=settings["is_gain"],
            pool=pool,
        )
        for group in groups_of(settings["peaks"])
        for number, k in enumerate(group)
    }
    fits = tuple(
        _as_fit(removal, peak, found[..., k, :], _around=around, _together=together[k])
        for k, peak in enumerate(peaks)
    )
    return fits[0] if is_one else PeakFits(fits)


def _part_of(group, *, peaks, is_single, is_gain, **settings):
    """Plan the fit of the peaks of one window to the means of pooled spectra."""
    some = [peaks[k] for k in group]
    return Part(
        function=partial(_fit_flat, peaks=some, **settings),
        width=len(some) * WIDTH,
        prepare=partial(piece_of, peaks=some, is_single=is_single, is_gain=is_gain),
    )


def _fit_flat(losses, **settings):
    """Fit peaks of one window; (n_spectra, n_peaks * WIDTH)."""
    return fit_group(losses, **settings).reshape(len(losses.centre), -1)


def _checked(removal, peaks, threshold, single_scattering, side):
    """Check arguments; settings of the fit in eV, and the beam where there is a plasmon."""
    arguments.within(threshold, "threshold", 0, _MOST_CERTAIN)
    arguments.flag(single_scattering, "single_scattering")
    arguments.choice(side, "side", _SIDES)
    has_plasmon = any(isinstance(peak, Plasmon) for peak in peaks)
    if has_plasmon and side == "gain":
        raise ValueError(
            "peaks: expected no Plasmon on the gain side, for its shape is that of losses; "
            "give an Exciton."
        )
    _check_apart(peaks)
    scaled = [peak.scaled(removal._factor) for peak in peaks]
    _check_axis(removal, scaled, side)
    beam = beam_of(removal, "fit_peaks: plasmons") if has_plasmon else None
    settings = {
        "peaks": scaled,
        "threshold": threshold,
        "weight": beam.angular_logarithm if beam else None,
        "is_single": single_scattering,
        "is_gain": side == "gain",
    }
    return settings, beam


def _check_apart(peaks):
    """Raise ValueError for two peaks at one energy: neighbours are told apart by their order."""
    energies = sorted(peak.energy for peak in peaks)
    same = [low for low, high in pairwise(energies) if low == high]
    if same:
        raise ValueError(
            f"peaks: expected every peak at an energy of its own, got two at {same[0]:.4g}; "
            "give one of them, or both where they are expected."
        )


def _check_axis(removal, peaks, side):
    """Raise ValueError unless the axis holds the peaks in some spectrum."""
    energy, peak = removal.removed.spectra.energy, removal.removed.typical
    farthest = energy[-1] - peak.first if side == "loss" else peak.last - energy[0]
    off = [peak.energy for peak in peaks if peak.energy > farthest]
    units, factor = removal._units, removal._factor
    if off:
        raise ValueError(
            f"peaks: expected energies on the axis, up to {farthest / factor:.4g} {units} from the "
            f"zero-loss peak, got {off[0] / factor:.4g}."
        )
    lowest = np.fmin.reduce(removal._application.peaks.loss_limit)
    below = [peak.energy for peak in peaks if peak.energy < lowest]
    if side == "loss" and below and np.isfinite(lowest):
        warn_user(
            f"peaks: {below[0] / factor:.4g} {units} lies below the E_I of every pixel, the lowest of which is "
            f"{lowest / factor:.4g}: no such peak can be told from the zero-loss peak. Energies are in the "
            "units of the axis."
        )


def _name(peak):
    return f"{type(peak).__name__.lower()} {peak.energy:g}"


def _as_fit(removal, peak, columns, **private):
    """Wrap numbers of all pixels as maps."""
    maps = {}
    for k, name in enumerate(QUANTITIES):
        is_area = name == "area"
        quantity = "Intensity (Counts)" if is_area else f"Energy ({removal._units})"
        numbers = np.moveaxis(columns[..., 3 * k : 3 * k + 3], -1, 0) / (
            1.0 if is_area else removal._factor
        )
        maps[name] = Measured.of(removal, numbers, title=f"{_name(peak)} {name}", quantity=quantity)
    chi2, significance, reason = np.moveaxis(columns[..., -3:], -1, 0)
    return PeakFit(
        peak=peak,
        **maps,
        reduced_chi2=plain_map(removal, chi2, f"misfit of {_name(peak)}", "Reduced chi2"),
        significance=plain_map(
            removal, significance, f"{_name(peak)} significance", "Standard deviations"
        ),
        reason=reason_map(removal, reason, _name(peak), _TEXTS),
        **private,
        _removal=removal,
    )
