# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps of where electrons were faster than light in the specimen, and the method that makes them."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from hyperspy.signals import BaseSignal

from hyperspy_zlpml import arguments
from hyperspy_zlpml.compute.mapping import map_spectra
from hyperspy_zlpml.physics.cherenkov import (
    CONFIDENCE,
    Excess,
    excess_of_epsilon,
    excess_of_index,
    with_index,
)
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.physics.retardation import cherenkov_threshold
from hyperspy_zlpml.physics.thickness import shows_nothing
from hyperspy_zlpml.signals.maps.given import check_unused, index_of, numbers_of_pixels, parts_of
from hyperspy_zlpml.signals.maps.native import Measured, plain_map, reason_map
from hyperspy_zlpml.signals.maps.plans import warn_of_failed_checks
from hyperspy_zlpml.signals.maps.results import MapResult
from hyperspy_zlpml.signals.microscope import beam_of
from hyperspy_zlpml.signals.preferences import wants_progressbar

#: Part of a channel by which an energy may differ from itself after it was brought to other units.
_ROUNDING = 1e-3
#: What is taken of a dielectric function.
_NEEDED = ("epsilon", "eps1", "trusted_from", "reason", "n")


@dataclass(frozen=True, repr=False, eq=False)
class Retardation(MapResult):
    """Retardation, from :meth:`~hyperspy_zlpml.ZLPRemoval.retardation`.

    Attributes
    ----------
    threshold : float
        ``(c/v)^2``, above which eps1 makes Cherenkov losses.
    probability : BaseSignal
        Probability that eps1 exceeds the threshold; 0 of a metal by its index alone.
    excess : Measured
        Largest eps1 less the threshold, negative where eps1 is below it everywhere, with the errors
        of eps1, both parts of them; NaN where only n is known and it is that of a metal. Errors are NaN
        where n has none that is known.
    energy : BaseSignal
        Energy at which eps1 is largest, in the units of the axis; NaN where only n is known.
    ratio : BaseSignal
        Losses of the volume, with retardation over without, between the energies that count: by how
        much they are more than ``Im[-1/eps]`` says. NaN where only n is known.
    reason : BaseSignal
        RETARDED where the probability is above ``confidence``; why pixels have no answer:
        :class:`~hyperspy_zlpml.physics.reasons.Reason`, legend in the metadata.
    """

    _first = "excess"
    _plotted = ("excess",)

    threshold: float
    probability: BaseSignal
    excess: Measured
    energy: BaseSignal
    ratio: BaseSignal
    reason: BaseSignal


class RetardationMethods:
    """Whether electrons were faster than light, from the result of a removal."""

    @arguments.named
    def retardation(
        self,
        *,
        dielectric=None,
        n=None,
        n_error=0.0,
        right=None,
        confidence=CONFIDENCE,
        show_progressbar=None,
    ):
        r"""Tell where electrons were faster than light in the specimen, and what that does.

        Where :math:`\epsilon_1(E) > (c/v)^2` an electron loses energy to Cherenkov radiation and to
        light that the specimen guides [1]_. These losses lie about and below the band gap, are none of
        :math:`\mathrm{Im}[-1/\epsilon]`, and look like a smaller gap and a larger refractive index. A
        band gap of a pixel that is RETARDED here is a lower limit, not a gap [2]_.

        Parameters
        ----------
        dielectric : Dielectric, optional
            Of :meth:`~hyperspy_zlpml.ZLPRemoval.dielectric_function`, best with ``relativistic=True``: eps1 is looked at from
            ``trusted_from`` on.
        n : float, map or Measured, optional
            Refractive index far below the losses, instead; infinite for a metal, which guides no
            light. One of the two is needed. It is enough to warn, since eps1 exceeds n\ :sup:`2`
            below the first loss. Vacuum has none, nor have pixels without losses that stand out.
        n_error : float or map
            One standard deviation of n.
        right : float, map or Measured, optional
            Highest energy at which eps1 counts, from the peak, in the units of the axis: for band
            gaps their onset and 2 eV. By default, and where it is NaN, the end of the axis.
        confidence : float
            Probability above which a pixel is said to be RETARDED. Of pixels that are not, no more
            than ``1 - confidence`` are said to be, as far as the errors of eps1 are what they say.
        show_progressbar : bool, optional
            Default from HyperSpy's preferences.

        Returns
        -------
        Retardation
            Maps in memory.

        Raises
        ------
        ValueError
            If none or both of dielectric and n are given, n is below 1, ``right`` does not leave any
            energy, a map is of another shape, or the beam energy or an angle is missing.

        Notes
        -----
        The probability is the largest, over energies, that eps1 exceeds the threshold there by its
        errors, ``std`` and ``systematic`` together. Energies below ``trusted_from`` are looked at by
        the refractive index of the dielectric function.

        ``ratio`` compares :math:`\mathrm{Im}[-(1/\epsilon - \beta^2) \ln((\theta_c^2 + \theta_E^2 m) /
        (\theta_E^2 m))]`, :math:`m = 1 - \epsilon\beta^2`, :math:`\beta = v/c` (what Egerton,
        chapter 3, gives at one angle, integrated to the collection angle :math:`\theta_c`), with
        :math:`\mathrm{Im}[-1/\epsilon] \ln(1 + (\theta_c/\theta_E)^2)`. Films guide light, too, and
        lose at their faces: :func:`hyperspy_zlpml.physics.retardation.film_loss`.

        References
        ----------
        .. [1] R. F. Egerton, *Electron Energy-Loss Spectroscopy in the Electron Microscope*, 3rd ed.
               (Springer, 2011), chapter 3; E. Kroeger, Z. Phys. 216, 115 (1968).
        .. [2] M. Stoeger-Pollach and P. Schattschneider, Ultramicroscopy 107, 1178 (2007).

        Examples
        --------
        Electrons of 200 kV are faster than light in most semiconductors:

        >>> import numpy as np
        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> found = r.retardation(n=3.4, n_error=0.1, show_progressbar=False)
        >>> round(found.threshold, 2), float(np.nanmin(found.probability.data))
        (2.07, 1.0)
        """
        beam = beam_of(self, "retardation")
        arguments.probability(confidence, "confidence")
        show_progressbar = wants_progressbar(show_progressbar)
        _check_one_given(dielectric, n, n_error)
        warn_of_failed_checks(self)
        if dielectric is None:
            check_unused(right, "right", "dielectric", default=None)
            found, unknown = _by_index_alone(
                self, n, n_error, beam=beam, show_progressbar=show_progressbar
            )
        else:
            found = _excess_of(
                self,
                dielectric=_checked_dielectric(dielectric, self.removed.shape[:-1]),
                right=right,
                beam=beam,
                show_progressbar=show_progressbar,
            )
            found = with_index(found, _excess_by_index(dielectric, beam, found.excess.shape))
            unknown = np.reshape(dielectric.reason.data, found.probability.shape)
        reasons = _reasons(self, found, unknown, confidence)
        return _wrapped(self, found, reasons, cherenkov_threshold(beam))


def _by_index_alone(removal, n, n_error, beam, show_progressbar):
    """Compute the excess that follows from a refractive index, and why pixels have none.

    Vacuum has no index, nor is anything known of what shows no losses.
    """
    index, error = index_of(removal, n, n_error, above=0.0)
    removed = removal.removed
    options = {"lazy": False, "show_progressbar": show_progressbar, "title": "Looking for losses"}
    is_empty = (removed.map_losses(shows_nothing, 1, **options)[..., 0] > 0) | removed.vacuum
    unknown = np.where(np.isnan(index), Reason.NOT_GIVEN, Reason.NOT_SIGNIFICANT)
    index = np.where(np.isnan(removed.fwhm) | is_empty, np.nan, index)
    found = excess_of_index(index, parts_of(n, error), beam)
    if not error.any():  # none was given: it is not known, not none
        nothing = np.full_like(index, np.nan)
        found = found._replace(std=nothing, systematic=nothing)
    return found, unknown


def _excess_by_index(dielectric, beam, shape):
    """Compute the excess that follows from the refractive index of a dielectric function."""
    n = dielectric.n
    index, *errors = (np.reshape(one.data, shape) for one in (n.value, n.std, n.systematic))
    return excess_of_index(index, errors, beam)


def _check_one_given(dielectric, n, n_error):
    """Raise ValueError unless a dielectric function or an index is given."""
    if (dielectric is None) == (n is None):
        got = "none" if n is None else "both"
        raise ValueError(
            f"dielectric, n: expected either the result of dielectric_function or a refractive "
            f"index, got {got}."
        )
    if n is None:
        check_unused(n_error, "n_error", "n")


def _checked_dielectric(dielectric, shape):
    """Take the result of dielectric_function; raise ValueError unless it is of such an image."""
    if not all(hasattr(dielectric, name) for name in _NEEDED):
        arguments.refuse(dielectric, "dielectric", "the result of r.dielectric_function")
    found = dielectric.epsilon.data.shape[:-1]
    if found != shape:
        raise ValueError(
            f"dielectric: expected that of an image of shape {shape}, got one of {found}."
        )
    return dielectric


def _excess_of(removal, dielectric, right, beam, show_progressbar):
    """Compute the excess of the dielectric function of every pixel."""
    shape, epsilon = removal.removed.shape[:-1], dielectric.epsilon
    energy = epsilon.axes_manager.signal_axes[0].axis * removal._factor
    left = np.reshape(dielectric.trusted_from.data, shape) * removal._factor
    left -= _ROUNDING * (energy[1] - energy[0])
    errors = dielectric.eps1.std.data, dielectric.eps1.systematic.data
    columns = map_spectra(
        partial(_columns, energy=energy, beam=beam),
        epsilon.data,
        *errors,
        np.stack([left, _checked_right(removal, right, left)], -1),
        names=["columns"],
        width=len(Excess._fields),
        dtype=float,
        lazy=False,
        show_progressbar=show_progressbar,
        title="Looking for retardation",
    )["columns"]
    return Excess(*np.moveaxis(columns, -1, 0))


def _checked_right(removal, right, left):
    """Take the highest energy that counts, eV, as an array of the navigation shape."""
    if right is None:
        return np.full(left.shape, np.inf)
    values = numbers_of_pixels(removal, right, "right") * removal._factor
    values = np.where(np.isnan(values), np.inf, values)
    if not (values > left).any():
        arguments.refuse(right, "right", "an energy above those from which losses are known")
    return values


def _columns(epsilon, std, systematic, window, out, energy, beam):
    """Write the excess of some spectra side by side."""
    found = excess_of_epsilon(energy, epsilon, errors=(std, systematic), beam=beam, window=window.T)
    out[0][:] = np.stack(found, -1)


def _reasons(removal, found, unknown, confidence):
    """Tell which pixels are retarded, and why others have no answer."""
    left_out = np.isnan(removal.removed.fwhm)
    unknown = np.where(left_out, np.nan, unknown)
    reason = np.where(np.isfinite(found.probability) & ~left_out, Reason.NONE, unknown)
    return np.where(found.probability > confidence, Reason.RETARDED, reason)


def _wrapped(removal, found, reasons, threshold):
    """Make maps."""
    energy = f"Energy ({removal._units})"
    return Retardation(
        threshold=threshold,
        probability=plain_map(
            removal, found.probability, "probability of Cherenkov losses", "Probability"
        ),
        excess=Measured.of(
            removal,
            (found.excess, found.std, found.systematic),
            title="excess of eps1 over (c/v)^2",
            quantity="Dielectric function",
        ),
        energy=plain_map(
            removal, found.energy / removal._factor, "energy of the largest eps1", energy
        ),
        ratio=plain_map(removal, found.ratio, "losses with retardation over without", "Ratio"),
        reason=reason_map(removal, reasons, "retardation"),
    )
