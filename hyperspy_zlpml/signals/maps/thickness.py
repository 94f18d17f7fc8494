# SPDX-License-Identifier: GPL-3.0-or-later
"""Single scattering and maps of thickness, and the methods that make them."""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import numpy as np
from hyperspy.signals import BaseSignal

from hyperspy_zlpml import arguments
from hyperspy_zlpml.physics.cherenkov import with_retardation
from hyperspy_zlpml.physics.collection import as_parallel
from hyperspy_zlpml.physics.deconvolution import channels_to_sum, with_variance
from hyperspy_zlpml.physics.film_shares import film_shares
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.physics.surface import Excess
from hyperspy_zlpml.physics.thickness import (
    COLUMNS,
    LAST_ENERGY,
    MEAN_FREE_PATH_ERROR,
    TAIL_ERROR,
    Estimate,
    index_factor,
    mean_free_path,
    measure_thickness,
)
from hyperspy_zlpml.signals.maps.given import check_unused, index_of, with_error
from hyperspy_zlpml.signals.maps.native import Measured, plain_map, reason_map
from hyperspy_zlpml.signals.maps.plans import Plan
from hyperspy_zlpml.signals.maps.quantities import error_of
from hyperspy_zlpml.signals.maps.results import MapResult
from hyperspy_zlpml.signals.microscope import beam_of
from hyperspy_zlpml.signals.preferences import wants_progressbar

#: What reasons mean for a thickness.
_TEXTS = {
    Reason.AXIS_TOO_SHORT: "the energy axis ends too early: below one and a half times the energy of the highest "
    "losses, or before losses fall; lower_limit counts those on the axis"
}
#: The same where the axis goes on.
_CUT_SHORT = (
    "right = {right:g} {units} from the peak ends too early: below one and a half times the energy of the highest "
    "losses, or before losses fall; give a higher one, or none"
)
#: Densities of solids, g/cm3: kg/m3 are a thousand times larger.
_DENSITIES = (0.05, 25.0)
#: Mean free paths, nm.
_MEAN_FREE_PATHS = (0.1, 1e5)
#: Exponents of the losses beyond the axis, and their errors.
_TAIL_EXPONENTS = (2.0, 10.0)
_TAIL_ERRORS = (0.0, 0.9)


@dataclass(frozen=True, repr=False, eq=False)
class Thickness(MapResult):
    """Thickness of a specimen, from :meth:`~hyperspy_zlpml.ZLPRemoval.thickness`.

    Attributes
    ----------
    t_over_lambda : Measured
        In inelastic mean free paths, all losses counted. NaN where these cannot be known.
    lower_limit : Measured
        ln(It/I0) of the counts on the axis: losses beyond the axis are not in it.
    by_density, by_index, by_mean_free_path : Measured or None
        In nm, by the methods that were asked for.
    tail_exponent : BaseSignal
        Exponent r of the losses beyond the axis, E^-r.
    reason : BaseSignal
        Why pixels have no thickness, and, where n is given, which have losses by retardation that make
        it too thick: :class:`~hyperspy_zlpml.physics.reasons.Reason`, legend in the
        metadata. Where losses are not significant there is a number, which does not differ from 0.
    """

    _first = "t_over_lambda"
    _plotted = ("t_over_lambda", "by_density", "by_index", "by_mean_free_path")
    _limits = ("lower_limit",)

    t_over_lambda: Measured
    lower_limit: Measured
    by_density: Measured | None
    by_index: Measured | None
    by_mean_free_path: Measured | None
    tail_exponent: BaseSignal
    reason: BaseSignal

    @property
    def ratio(self):
        """Thickness by the index of refraction over that by a mean free path (Measured or None).

        A check of one method by the other. Part of their noise is the same; it is counted as if it were not.
        """
        other = self.by_mean_free_path or self.by_density
        if self.by_index is None or other is None:
            return None
        ratio = self.by_index.value / other.value
        ratio.metadata.Signal.quantity = "Ratio"
        std, systematic = (
            _in_quadrature(
                getattr(self.by_index, name) / self.by_index.value,
                getattr(other, name) / other.value,
            )
            for name in ("std", "systematic")
        )
        errors = (one * abs(ratio) for one in (std, systematic))
        return Measured.with_errors(ratio, *errors)._with_reason(self.reason)


def _in_quadrature(one, other):
    """Add errors, maps."""
    return (one**2 + other**2) ** 0.5


class ThicknessMethods:
    """Single scattering and thickness from the result of a removal."""

    @arguments.named
    def single_scattering(self, *, normalised=False, counting_noise=True, show_progressbar=None):
        r"""Compute the single-scattering distribution of each pixel by Fourier-log deconvolution.

        .. math:: J_1 = F^{-1}\left[z \ln\frac{j}{z}\right]

        with the transforms :math:`j` of the counts and :math:`z` of the zero-loss peak [1]_: what the
        spectrum would be if every electron were scattered once at most, as broad as measured. It is computed as
        the subtracted signal minus a smooth correction for plural scattering, so that noise stays in
        its channel; nothing is tapered, and nothing needs to be known beyond the axis.

        Parameters
        ----------
        normalised : bool
            Whether to divide by the counts :math:`I_0` of the zero-loss peak; the sum over all energies
            then is :math:`t/\lambda`, otherwise :math:`I_0 t/\lambda`.
        counting_noise : bool
            Whether the variance holds the counting noise, besides the error of the ZLP.
        show_progressbar : bool, optional
            Default from HyperSpy's preferences.

        Returns
        -------
        EELSZLPSpectrum
            On the axis of the data, lazy where results are; its noise variance is that of counting and
            the ZLP. NaN where t/lambda is above 4.

        Notes
        -----
        Errors of neighbouring channels are correlated where the ZLP makes them; for the errors of what is
        computed from all channels see :meth:`thickness`. Below ``E_I`` losses cannot be told from
        the ZLP: what lies there is residual, not scattering.

        References
        ----------
        .. [1] D. W. Johnson and J. C. H. Spence, J. Phys. D: Appl. Phys. 7, 771 (1974).

        Examples
        --------
        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((4, 4), n_channels=512, scale=0.1, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> r.single_scattering()
        <EELSZLPSpectrum, title: WS2-like flake single scattering, dimensions: (4, 4|512)>
        """
        arguments.flag(normalised, "normalised")
        arguments.flag(counting_noise, "counting_noise")
        n_energy = self.removed.spectra.energy.size
        found = self.removed.map_losses(
            partial(with_variance, normalised=normalised, counting_noise=counting_noise),
            2 * n_energy,
            show_progressbar=wants_progressbar(show_progressbar),
            title="Deconvolving",
        )
        values, variance = (
            self._wrapped(self.removed.application.on_all_channels(part), "single scattering")
            for part in (found[..., :n_energy], found[..., n_energy:])
        )
        values.set_noise_variance(variance)
        values.metadata.add_dictionary({"ZLP_ML": deepcopy(self.removed.record)})
        values.metadata.set_item(
            "Signal.quantity", "Probability" if normalised else "Intensity (Counts)"
        )
        return values

    @arguments.named
    def thickness(  # noqa: PLR0913
        self,
        *,
        density=None,
        n=None,
        n_error=0.0,
        mean_free_path=None,
        mean_free_path_error=0.0,
        right=None,
        tail_exponent=None,
        tail_exponent_error=TAIL_ERROR,
        show_progressbar=None,
    ):
        r"""Measure the thickness of each pixel, in mean free paths and, where asked for, in nm.

        .. math:: \frac{t}{\lambda} = \frac{1}{I_0} \sum_{E > E_I} J_1(E) + \text{losses beyond the axis}

        with the single scattering :math:`J_1` and the counts :math:`I_0` of the ZLP [1]_. In nm it is
        :math:`t/\lambda` times a mean free path, that given or that of [2]_, or the Kramers-Kronig sum rule [1]_

        .. math:: t = \frac{4 a_0 T}{I_0 (1 - n^{-2})} \sum \frac{J_1(E)}{E \ln(1 + \beta^2/\theta_E^2)}.

        Parameters
        ----------
        density : float, optional
            g/cm3, for the mean free path of Iakoubovskii et al., which is right to some 20 %.
        n : float, map or Measured, optional
            For the sum rule, above 1; infinite for a metal.
        n_error : float or map
            Its standard deviation, common to all pixels.
        mean_free_path : float, map or Measured, optional
            nm, for the beam energy and angles of the measurement: used as it is.
        mean_free_path_error : float or map
            Its standard deviation, nm.
        right : float, optional
            Energy from the peak up to which losses are summed, in the units of the axis; those beyond
            are continued. Default the end of the axis, but at most 100 eV: far beyond the plasmons an
            error of the baseline counts more than losses do.
        tail_exponent : float, optional
            Exponent r of the losses beyond the axis, :math:`E^{-r}`. By default that of the spectrum
            as far as it shows, else 3 (of free electrons, without the aperture).
        tail_exponent_error : float
            By how much it may be wrong.
        show_progressbar : bool, optional
            Default from HyperSpy's preferences.

        Returns
        -------
        Thickness
            Maps with their errors, and reasons.

        Raises
        ------
        ValueError
            If a number is not possible or a map has another shape; if the metadata have no beam energy
            or angles and these are needed; if there is an index of refraction of 1 or below.

        Notes
        -----
        ``std`` holds counting noise and the errors of the ZLP, that of the choice of ``E_I`` among them, as
        they are correlated between :math:`I_0` and the losses. ``systematic`` holds the losses beyond the
        axis, for the sum rule those below ``E_I`` and what they did to the ZLP, and the errors of what was given. Where the axis
        ends below some 1.5 plasmon energies, or losses do not fall off at its end, there is no
        :math:`t/\lambda` but ``lower_limit``, nor where what is measured is no scattering: single
        scattering then holds less than the losses do. For a convergent beam :math:`\beta` is the aperture
        that collects as much of a parallel one.

        Retardation and faces add losses, most at low energies, which count most in the sum rule. Where n is
        given ``systematic`` of t/lambda and of ``by_index`` holds what a film of that index and thickness
        adds, estimated for a material of one oscillator; mean free paths are those of specimens that have
        such losses. ``by_index`` is the thickness of :meth:`~hyperspy_zlpml.ZLPRemoval.dielectric_function`
        of the same n, but for the losses beyond the axis.

        References
        ----------
        .. [1] R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed.
           (Springer, 2011), section 5.1.
        .. [2] K. Iakoubovskii et al., Microsc. Res. Tech. 71, 626 (2008).

        Examples
        --------
        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((4, 4), n_channels=512, scale=0.1, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> found = r.thickness(density=7.5, show_progressbar=False)
        >>> found.t_over_lambda.value
        <BaseSignal, title: WS2-like flake t/lambda, dimensions: (4, 4|)>
        >>> bool(found.by_density.systematic.data.max() > found.by_density.std.data.max())
        True
        """
        scales = _checked_scales(
            self,
            density=density,
            index=_checked_index(self, n, n_error),
            path=_checked_path(self, mean_free_path, mean_free_path_error),
        )
        _check_tail(tail_exponent, tail_exponent_error)
        removed = self.removed
        energy, peak = removed.spectra.energy, removed.typical
        last = peak.centre + _last_energy(self, right)
        is_cut = right is not None and last < energy[-1]
        index = None if n is None else index_of(self, n, n_error)
        plan = Plan(
            function=partial(
                measure_thickness,
                beam=_beam_if_known(self),
                last=last,
                tail_exponent=tail_exponent,
                tail_error=tail_exponent_error,
                rebin=channels_to_sum(peak.fwhm, energy[1] - energy[0]),
            ),
            width=len(COLUMNS),
            finish=partial(
                _as_maps,
                scales=scales,
                index=index,
                texts=_texts(self, right) if is_cut else _TEXTS,
            ),
            title="Measuring thickness",
        )
        return self._carry_out(plan, show_progressbar)


def _check_tail(exponent, error):
    """Raise ValueError unless losses beyond the axis have a finite sum."""
    if exponent is not None:
        arguments.within(exponent, "tail_exponent", *_TAIL_EXPONENTS)
    arguments.within(error, "tail_exponent_error", *_TAIL_ERRORS)


def _last_energy(removal, right):
    """Take the energy up to which losses are summed in eV; raise ValueError for what is not possible."""
    if right is None:
        return LAST_ENERGY
    units = removal._units
    return arguments.positive(right, "right", units) * removal._factor


def _texts(removal, right):
    """Say what reasons mean where the axis goes on behind the energy up to which losses are summed."""
    units = removal._units
    return {Reason.AXIS_TOO_SHORT: _CUT_SHORT.format(right=right, units=units)}


def _beam_if_known(removal):
    """Read the beam, as a parallel one, unless the metadata do not hold it."""
    try:
        return as_parallel(beam_of(removal, "thickness"))
    except ValueError:
        return None


def _checked_scales(removal, *, density, index, path):
    """Take what makes nm of the measured numbers; raise ValueError for what is not possible.

    Returns
    -------
    dict of str to (factor, relative error)
        By the attributes of :class:`Thickness`.
    """
    scales = {}
    if density is not None:
        arguments.within(density, "density", *_DENSITIES)
        beam = beam_of(removal, "density")
        scales["by_density"] = mean_free_path(density, beam), MEAN_FREE_PATH_ERROR
    if index is not None:
        scales["by_index"] = index_factor(*index)
    if path is not None:
        scales["by_mean_free_path"] = path[0], path[1] / path[0]
    return scales


def _checked_index(removal, n, error):
    """Take a refractive index and its error as maps; raise ValueError for what is not possible."""
    if n is None:
        check_unused(error, "n_error", "n")
        return None
    beam_of(removal, "n")
    return index_of(removal, n, error)


def _checked_path(removal, path, error):
    """Take a mean free path and its error as maps, nm; raise ValueError for what is not possible."""
    if path is None:
        check_unused(error, "mean_free_path_error", "mean_free_path")
        return None
    values, errors = with_error(removal, path, error, "mean_free_path")
    low, high = _MEAN_FREE_PATHS
    known = ~np.isnan(values)
    if not known.any() or not ((values >= low) & (values <= high))[known].all():
        arguments.refuse(path, "mean_free_path", f"numbers from {low:g} to {high:g} (nm)")
    if error_of(path) is None and (errors > values)[known].any():
        arguments.refuse(error, "mean_free_path_error", "no more than the mean free path")
    return values, errors


def _as_maps(removal, numbers, scales, index, texts):
    """Wrap the numbers of all pixels as maps."""
    found = dict(zip(COLUMNS, np.moveaxis(numbers, -1, 0), strict=True))
    relative = Estimate(found["t_over_lambda"], found["std"], found["systematic"])
    of_sum_rule = Estimate(found["sum_rule"], found["sum_rule_std"], found["sum_rule_systematic"])
    estimates = {
        name: (of_sum_rule if name == "by_index" else relative).scaled(*scale)
        for name, scale in scales.items()
    }
    reason = found["reason"]
    if index is not None:
        reason = with_retardation(reason, *index, beam_of(removal, "n"))
        shares = shares_of_films(
            removal, found["main_losses"], index[0], estimates["by_index"].value
        )
        # A mean free path is that of films, with all that they lose.
        # Where no index is known, nothing is known of the films, and t/lambda keeps the error that it had.
        relative = relative.scaled(1.0, np.nan_to_num(shares[0]))
        estimates["by_index"] = estimates["by_index"].scaled(1.0, shares[1])
    absolute = dict.fromkeys(("by_density", "by_index", "by_mean_free_path"))
    for name, estimate in estimates.items():
        title = f"thickness {name.replace('_', ' ')}"
        absolute[name] = _maps_of(removal, estimate, title, "Thickness (nm)")
    return Thickness(
        t_over_lambda=_maps_of(removal, relative, "t/lambda", "Thickness (t/lambda)"),
        lower_limit=Measured.of(
            removal,
            (found["on_axis"], found["on_axis_std"]),
            title="lower limit of t/lambda",
            quantity="Thickness (t/lambda)",
        ),
        tail_exponent=plain_map(
            removal, found["tail_exponent"], "exponent beyond the axis", "Exponent"
        ),
        reason=reason_map(removal, reason, "thickness", texts),
        **absolute,
    )


def shares_of_films(removal, main, index, thickness, taken_off=None):
    """Estimate by what part films lose more than their volume makes without retardation.

    Parameters
    ----------
    removal : ZLPRemoval
    main, index, thickness : ndarray of the navigation shape
        Energy of the main losses, eV; refractive index; nm.
    taken_off : Excess, optional
        Of these losses; default nothing.

    Returns
    -------
    of_all, of_sum_rule : ndarray of the navigation shape, or 0.0
        See :func:`.film_shares`; 0 where nothing has a thickness.
    """
    limits, main = (
        one[np.isfinite(one)] for one in (removal.removed.application.regions.E_I, main)
    )
    if not (limits.size and main.size):
        return 0.0, 0.0  # where there is no thickness either
    if taken_off is None:
        beam = as_parallel(beam_of(removal, "n"))
        taken_off = Excess(beam, surface=False, relativistic=False)
    ends = {"main": np.median(main), "lowest": np.median(limits)}
    return film_shares(index, thickness, **ends, excess=taken_off)


def _maps_of(removal, estimate, title, quantity):
    """Wrap numbers and their errors as maps."""
    numbers = (estimate.value, estimate.std, estimate.systematic)
    return Measured.of(removal, numbers, title=title, quantity=quantity)
