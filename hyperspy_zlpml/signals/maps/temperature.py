# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps of temperature from energies lost and gained, and the method that makes them."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from hyperspy.signals import BaseSignal

from hyperspy_zlpml.arguments import named
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.physics.thermometry import COLUMNS, TAIL_ERROR, piece_of, temperatures
from hyperspy_zlpml.signals.maps.given import pool_of, window_of
from hyperspy_zlpml.signals.maps.native import Measured, plain_map, reason_map
from hyperspy_zlpml.signals.maps.plans import Part, Plan, pooled
from hyperspy_zlpml.signals.maps.results import MapResult

#: What reasons mean for a temperature.
_TEXTS = {
    Reason.NO_LIMIT: "one side shows no end of the pure zero-loss peak, beyond which losses or gains are told "
    "from it: give regions=dict(E_I=..., gain_limit=...) to the removal",
    Reason.AT_LOWER_END: "the temperature lies below 20 K",
    Reason.AT_UPPER_END: "the temperature lies above 5000 K, where nothing is solid: no gains of heat",
}


@dataclass(frozen=True, repr=False, eq=False)
class Temperature(MapResult):
    """Temperature of a specimen, from :meth:`~hyperspy_zlpml.ZLPRemoval.temperature`.

    Attributes
    ----------
    temperature : Measured
        K, with the error from counting noise and the ZLP, which both sides share; ``systematic`` is 0
        where the ensemble was trained with vacuum. NaN where gains do not stand out.
    highest : BaseSignal
        Temperature below which the specimen is with 95 % probability, K, all errors included; where
        no gains are seen, too, if losses are and the tail is no guess in coarse channels.
    loss, gain : Measured
        Counts lost and gained between the energies that are compared.
    energy : BaseSignal
        Energy at which gains tell the temperature, in the units of the axis.
    reduced_chi2 : BaseSignal
        That of detailed balance over the energies compared: about 1 where it holds.
    reason : BaseSignal
        Why pixels have no temperature: :class:`~hyperspy_zlpml.physics.reasons.Reason`, legend in the
        metadata.
    """

    _first = "temperature"
    _plotted = ("temperature",)
    _limits = ("highest",)

    temperature: Measured
    highest: BaseSignal
    loss: Measured
    gain: Measured
    energy: BaseSignal
    reduced_chi2: BaseSignal
    reason: BaseSignal


class TemperatureMethods:
    """Temperature from the result of a removal."""

    @named
    def temperature(self, *, left=None, right=None, pool=None, show_progressbar=None):
        r"""Measure the temperature of each pixel from the energies that electrons lost and gained.

        A specimen at temperature :math:`T` gives energy :math:`E` less often than it takes it, by
        :math:`e^{-E/kT}` (principle of detailed balance [1]_ [2]_): nothing else of the specimen
        counts, nor does the sensitivity of the detector. Both sides are compared at the same
        distances from the pixel's own peak, beyond the limits of pure zero-loss peak on both sides.
        Before, the spectrum is filtered by the pixel's own response :math:`R`,
        :math:`N(E) = \int R(x) e^{-x/kT} M(E + x) dx`, after which
        :math:`N(-E) = e^{-E/kT} N(E)` holds exactly for what is measured.

        Parameters
        ----------
        left, right : float, optional
            Energies from the peak between which losses and gains are compared, in the units of the
            axis; best around the phonons that are seen. By default all that both sides show beyond
            the limits of pure ZLP, up to some twenty FWHM from the peak. Within the limits nothing
            is used, whatever ``left`` is.
        pool : int or "clusters", optional
            Measure means: of a square of so many pixels about each, or of each cluster, vacuum apart.
            Errors of the zero-loss peak that the pixels share do not average out.
        show_progressbar : bool, optional
            Default from HyperSpy's preferences.

        Returns
        -------
        Temperature
            Maps of temperature (K), its highest value, losses, gains, and reasons.

        Raises
        ------
        ValueError
            If ``left`` and ``right`` are not positive and in order, or the energy axis has no gain
            side where they lie.

        Notes
        -----
        The error holds counting noise of both sides, the directions in which the ZLP of both sides
        may be wrong together (the choice of ``E_I`` among them), and is widened where detailed
        balance misses the data. Where no vacuum is known, the tail beneath the gains is a guess that
        the gains themselves pull at: ``systematic`` is what an error of 2 % of it makes of the
        temperature. Below five channels per FWHM the tail may follow the gains: the error is 20 %, and the
        reason ``TAIL_GUESSED``, its numbers to be read with care. The temperature is that of what scatters: electrons of a plasmon, or
        carriers that are excited, need not have that of the lattice. NaN, with a reason, where
        gains, or 1/kT itself, are below three standard errors (``highest`` then is all there is), or
        heat would be above 5000 K, where nothing is solid.
        A gain that is not thermal (photons, a plasmon that was pumped) shows in ``reduced_chi2`` or as a
        temperature beyond belief.

        References
        ----------
        .. [1] J. C. Idrobo et al., Phys. Rev. Lett. 120, 095901 (2018).
        .. [2] M. J. Lagos and P. E. Batson, Nano Lett. 18, 4556 (2018).

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.data import phonons
        >>> s = phonons((4, 4), temperature=600.0, n_channels=601, scale=1e-3, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> found = r.temperature(left=0.07, right=0.13, show_progressbar=False)
        >>> found.temperature.value
        <BaseSignal, title: Phonons at 600 K temperature, dimensions: (4, 4|)>
        >>> bool(abs(np.nanmedian(found.temperature.value.data) - 600) < 30)
        True
        """
        left, right = window_of(self, left, right)
        _check_axis(self, left)
        pool = pool_of(self, pool)
        window = {"left": left, "right": right}
        plan = Plan(
            function=partial(temperatures, **window, tail_error=_tail_error(self)),
            width=len(COLUMNS),
            finish=_as_maps,
            title="Measuring temperatures",
        )
        if pool is not None:
            part = Part(plan.function, plan.width, partial(piece_of, **window))
            plan = pooled(plan, pool, part)
        return self._carry_out(plan, show_progressbar)


def _check_axis(removal, left):
    """Raise ValueError unless the axis reaches the energies to compare, from left (eV), on both sides."""
    energy, factor = removal.removed.spectra.energy, removal._factor
    peak = removal.removed.typical
    least = 2 * peak.fwhm if left is None else left
    for side, reach in (("below", peak.centre - energy[0]), ("above", energy[-1] - peak.centre)):
        if reach < least:
            raise ValueError(
                f"left: expected an energy axis that reaches {least / factor:.4g} {side} the peak, for "
                f"losses are compared with gains, got {max(reach, 0) / factor:.4g}."
            )


def _tail_error(removal):
    """Take the relative error of the tail beneath the gains, beyond that of the ensemble.

    0 where vacuum showed it to the ensemble, whether in this image or in another.
    """
    report = removal.removed.report
    is_trained_here = np.isfinite(report.chi2)
    sees_none = is_trained_here and not (report.n_vacuum or report.n_reference)
    return TAIL_ERROR if sees_none or removal.ensemble.seen.tail else 0.0


def _as_maps(removal, numbers):
    """Wrap numbers of all pixels as maps."""
    found = dict(zip(COLUMNS, np.moveaxis(numbers, -1, 0), strict=True))
    units = removal._units
    plain, counts = partial(plain_map, removal), "Intensity (Counts)"

    def measured(name, *errors, title, quantity):
        numbers = [found[one] for one in (name, *errors)]
        return Measured.of(removal, numbers, title=title, quantity=quantity)

    return Temperature(
        temperature=measured(
            "temperature", "std", "systematic", title="temperature", quantity="Temperature (K)"
        ),
        highest=plain(found["highest"], "highest temperature", "Temperature (K)"),
        loss=measured("loss", "loss_std", title="losses", quantity=counts),
        gain=measured("gain", "gain_std", title="gains", quantity=counts),
        energy=plain(
            found["energy"] / removal._factor,
            "energy that tells the temperature",
            f"Energy ({units})",
        ),
        reduced_chi2=plain(found["chi2"], "misfit of detailed balance", "Reduced chi2"),
        reason=reason_map(removal, found["reason"], "temperature", _TEXTS),
    )
