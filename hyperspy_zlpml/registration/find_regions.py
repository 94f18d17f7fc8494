# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions of registered clusters, where they are zero-loss peak, and losses spilled into them.

The regions of a cluster follow from its mean ratio to the reference. The response that broadens
the ZLP also carries some of the losses below their onset; these are estimated and taken off.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from hyperspy_zlpml.image.samples import FEW_SPECTRA, VACUUM
from hyperspy_zlpml.registration.foot import Foot
from hyperspy_zlpml.registration.registered_peaks import RegisteredPeaks, mean_ratio
from hyperspy_zlpml.registration.spill import spilled_losses
from hyperspy_zlpml.registration.thickness import why_no_thickness
from hyperspy_zlpml.registration.variation import MOST_MODES, cluster_spectra, shape_modes
from hyperspy_zlpml.registration.zero_thickness import PURE_FRACTION, at_zero_thickness, tail_from
from hyperspy_zlpml.statistics import Range
from hyperspy_zlpml.zlp.regions import NO_LIMIT, Regions, below_noise, first_rise, onset
from hyperspy_zlpml.zlp.residual import CoherentResidual

#: Up to this many FWHM the loss side, too, is taken to tell variations of the peak.
_PURE_FOR_CERTAIN = 1.5

#: Regions and the losses spilled into them depend on each other.
_REGION_ROUNDS = 2

#: Gains that are seen from some energy on begin before it, at this fraction.
_LINES_BEGIN = 0.8
#: Relative rise of the gain side that is taken for gains where no vacuum is known.
_LEAST_LINE = 0.05

#: Losses of clusters of differing thickness are compared from so many times ``E_I`` on, ...
_FAR_BEHIND = 2.0
#: ... where they are at least this fraction of the peak.
_CLEAR = 0.1
#: Region I holds no more losses than this fraction of the peak.
_LEAST_LOSSES = 0.02
#: Losses are certain that exceed so many standard errors.
_CERTAIN = 4.0

#: E_I that the user gives is too late where it lies behind that found by this factor: it may lie on
#: the foot of the losses, which is seen before they hurt.
_LATE = 1.4

#: Word in the report for a tail that nothing measured shows.
GUESS = "a guess"


def find_regions(peaks, n_clusters, limits, modes=None, gain_limit=None):
    """Find the regions of every cluster from the data, where the user gives none.

    Parameters
    ----------
    peaks : RegisteredPeaks
    n_clusters : int
    limits : dict of str to float or ndarray of shape (n_clusters,)
        ``E_I``, ``E_II``, ``gain_limit`` in eV, where the user gives them.
    modes : ndarray of shape (n_modes, n_groups), optional
        Variations of the shape, which are no onset.
    gain_limit : ndarray of shape (n_clusters,), optional
        Gain-side limits known so far, eV: the gain side above them shows the modes.

    Returns
    -------
    Regions
    """
    before = np.full(n_clusters, -NO_LIMIT) if gain_limit is None else gain_limit
    gain_side = np.full(n_clusters, np.nan)
    first = np.full(n_clusters, np.nan)
    second = np.full(n_clusters, np.nan)
    for name in peaks.labels[peaks.labels != VACUUM]:
        chosen = peaks.label == name
        fwhm = np.median(peaks.matched.fwhm[chosen])
        pure = Range(before[name] / fwhm, _PURE_FOR_CERTAIN)
        if peaks.tail_is_known:
            found = onset(*mean_ratio(peaks, chosen, modes=modes, pure=pure))
            # A tail read off under losses does not prove that there are none.
            first[name] = min(found, peaks.extrapolated_from) * fwhm
        else:
            first[name] = peaks.extrapolated_from * fwhm
        gain_side[name] = -_gains_of(peaks, chosen) * fwhm
        second[name] = _below_noise_of(peaks, chosen) * fwhm
    if peaks.has_vacuum and len(peaks.labels) > 2:
        first = _no_later_than_thicker_show(peaks, first)
    # A cluster too thin or too small to show its losses, or gains, has them nevertheless.
    first = np.where(np.isinf(first), np.nan, first)
    if not peaks.has_vacuum:
        gain_side = np.where(np.isinf(gain_side), np.nan, gain_side)
    regions = Regions(
        gain_limit=_filled(gain_side, -NO_LIMIT),
        E_I=_filled(first, NO_LIMIT),
        E_II=_filled(second, NO_LIMIT),
    )
    return regions.overridden(limits, n_clusters)


def _no_later_than_thicker_show(peaks, limits):
    """Lower limits, eV, to where the losses of the thickest cluster tell that there are some.

    A few thin spectra whose tails differ do not show their losses; many do. They hold those of the
    thickest cluster in proportion, which is seen far behind the peak.
    """
    limits = limits.copy()
    *thinner, thickest = [int(name) for name in peaks.labels if name != VACUUM]
    if not np.isfinite(limits[thickest]):
        return limits
    few = [name for name in thinner if (peaks.label == name).sum() < FEW_SPECTRA]
    for name in few:
        fwhm = np.median(peaks.matched.fwhm[peaks.label == name])
        u, ratio, _ = mean_ratio(peaks, peaks.label == name)
        losses, error = _losses_at(peaks, thickest, u)
        far = (u * fwhm > _FAR_BEHIND * limits[thickest]) & (losses > _CLEAR)
        if not far.any():
            continue
        share = np.clip(np.median((ratio - 1)[far] / losses[far]), 0, 1)
        seen = (u * fwhm > limits[thickest]) & (share * (losses - _CERTAIN * error) > _LEAST_LOSSES)
        if seen.any():
            limits[name] = min(limits[name], u[seen][0] * fwhm)
    return limits


def _losses_at(peaks, name, u):
    """Look up the losses of a cluster over its peak at reduced energies, and their error."""
    found, ratio, error = mean_ratio(peaks, peaks.label == name)
    return np.interp(u, found, ratio) - 1, np.interp(u, found, error)


def _gains_of(peaks, chosen):
    """Find the distance from the peak, FWHM, from which the gain side of some peaks holds gains."""
    ratios = mean_ratio(peaks, chosen, side=-1)
    if peaks.has_vacuum:
        return onset(*ratios)
    # A line that is gained ends again, and no vacuum shows that it is none of the tail's.
    line = _LINES_BEGIN * first_rise(*ratios, _LEAST_LINE)
    return min(onset(*ratios), line, peaks.gain_extrapolated_from)


def _filled(values, default):
    """Give clusters without spectra of their own the value of the next thicker one."""
    known = np.flatnonzero(~np.isnan(values))
    if not known.size:
        return np.full(values.shape, default)
    after = np.minimum(np.searchsorted(known, np.arange(values.size)), known.size - 1)
    return values[known[after]]


def _below_noise_of(peaks, chosen):
    """Find the reduced energy from which some peaks lie below the noise of one spectrum."""
    u = np.linspace(1, peaks.grid.u[-1], 4000)
    height = np.median(np.exp(peaks.matched.log_height[chosen]))
    expected = height * np.exp(peaks.grid.interpolate(peaks.log_reference, u))
    return below_noise(u, expected, np.sqrt(peaks.noise.of_sum(expected)))


@dataclass(frozen=True)
class RegisteredImage:
    """Registered spectra of one image, or of one setting of the microscope, and their regions.

    Attributes
    ----------
    peaks : RegisteredPeaks
        Matched within the regions, with their spill tables.
    regions : Regions
        Limits of each cluster, eV.
    n_modes : int
        Most variations of the shape that are kept.
    setting : tuple of float
        Scaled conditions; empty where all data were taken at one setting.
    residual : CoherentResidual
        What the spectra share beyond a smooth shape; ``peaks`` are free of it.
    foot : Foot or None
        Losses that go on below ``E_I``, part of the spill tables.
    """

    peaks: RegisteredPeaks
    regions: Regions
    n_modes: int = MOST_MODES
    setting: tuple[float, ...] = ()
    residual: CoherentResidual = field(default_factory=CoherentResidual.none)
    foot: Foot | None = None

    @cached_property
    def modes(self):
        """Variations of the shape from spectrum to spectrum, shape (n_modes, n_groups).

        They are found when they are asked for: who adapts an ensemble needs the regions alone. See
        :func:`~hyperspy_zlpml.registration.variation.shape_modes`.
        """
        return shape_modes(cluster_spectra(self.peaks), self.n_modes)


def separate(peaks, n_clusters, limits, latest=None, n_modes=MOST_MODES):
    """Find regions, the losses spilled into them and the variations of the shape together.

    They depend on each other: variations are no onset, and spilled losses are no zero-loss peak.

    Parameters
    ----------
    peaks : RegisteredPeaks
    n_clusters : int
    limits : dict of str to float or ndarray of shape (n_clusters,)
        Limits given by the user, eV.
    latest : callable, optional
        Called with ``E_I`` of the clusters as found, eV; its answer replaces them.
    n_modes : int
        Most variations of the shape that are kept.

    Returns
    -------
    RegisteredImage
    """
    image = None
    for _ in range(_REGION_ROUNDS):
        known = (
            {} if image is None else dict(modes=image.modes, gain_limit=image.regions.gain_limit)
        )
        regions = find_regions(peaks, n_clusters, limits, **known)
        if latest is not None and "E_I" not in limits:
            regions = replace(regions, E_I=latest(regions.E_I))
        peaks = replace(peaks, spill_tables=spilled_losses(peaks, regions)).within(regions)
        image = RegisteredImage(peaks, regions, n_modes)
    return image


def late_limits(peaks, n_clusters, limits):
    """Say where ``E_I`` that the user gives lies behind the losses that are seen.

    The spectra are looked at as if it had not been given.

    Parameters
    ----------
    peaks : RegisteredPeaks
    n_clusters : int
    limits : dict of str to float or ndarray of shape (n_clusters,)
        Limits given by the user, eV.

    Returns
    -------
    str
        Empty where it does not, or where nothing shows where losses begin.
    """
    if "E_I" not in limits or not peaks.tail_is_known:
        return ""
    others = {name: value for name, value in limits.items() if name != "E_I"}
    seen = separate(peaks, n_clusters, others).regions.E_I
    given = np.broadcast_to(limits["E_I"], seen.shape)
    return describe_late_limits(given, seen)


def describe_late_limits(given, seen):
    """Say which limits lie clearly behind those that were found.

    Parameters
    ----------
    given, seen : ndarray of shape (n_clusters,)
        ``E_I``, eV.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.find_regions import describe_late_limits
    >>> describe_late_limits(given=np.array([2.2, 1.3]), seen=np.array([1.2, 1.2]))[:64]
    'E_I of cluster(s) 0: given up to 2.2 eV, but losses are seen fro'
    >>> describe_late_limits(given=np.array([1.3, 1.3]), seen=np.array([1.2, np.inf]))
    ''
    """
    late = given > _LATE * seen
    if not late.any():
        return ""
    names = ", ".join(str(name) for name in np.flatnonzero(late))
    return (
        f"E_I of cluster(s) {names}: given up to {given[late].max():.3g} eV, but losses are seen from "
        f"{seen[late].min():.3g} eV on. Up to E_I they are taken for zero-loss peak, and the error bars "
        "may not hold: lower E_I in regions, or leave it out."
    )


def with_known_tail(peaks, n_clusters, limits, n_modes=MOST_MODES):
    """Give peaks without vacuum a reference whose tail is that of zero thickness.

    Parameters
    ----------
    peaks : RegisteredPeaks
        Their reference goes on like the gain side.
    n_clusters : int
    limits : dict of str to float or ndarray of shape (n_clusters,)
        Limits given by the user, eV.
    n_modes : int
        Most variations of the shape that are kept.

    Returns
    -------
    RegisteredPeaks
        As they were where the pixels do not show it (one thickness, few spectra, no far losses).
    """
    regions = find_regions(peaks, n_clusters, limits)
    pure = peaks.within(replace(regions, E_I=PURE_FRACTION * regions.E_I))
    found = at_zero_thickness(pure, shape_modes(cluster_spectra(pure), n_modes))
    if found is None:
        return peaks
    tail = tail_from(pure, found)
    known = replace(
        pure,
        log_reference=tail.log_reference,
        reference_modes=tail.modes,
        tail_structure=tail.structure,
        tail_roughness=tail.roughness,
        tail_is_known=True,
    )
    return known.within(regions)


def describe_tail_of(peaks):
    """Say how the tail of the reference was found.

    Parameters
    ----------
    peaks : RegisteredPeaks

    Returns
    -------
    str
        Empty where vacuum shows it, or nothing is extrapolated.
    """
    if peaks.has_vacuum or not np.isfinite(peaks.extrapolated_from):
        return ""
    limit = peaks.extrapolated_from * np.exp(peaks.log_fwhm.mean)
    if peaks.tail_is_known:
        return describe_tail(PURE_FRACTION * limit, len(peaks.label))
    pure = replace(peaks, extrapolated_from=PURE_FRACTION * peaks.extrapolated_from)
    return describe_tail(limit, None, why_no_thickness(pure))


def describe_tail(limit, n_spectra, why=""):
    """Say how the tail of the ZLP was found without vacuum.

    Parameters
    ----------
    limit : float
        Energy from the peak, eV, beyond which no spectrum shows it by itself.
    n_spectra : int or None
        Spectra extrapolated to zero thickness; None where they do not show it.
    why : str
        Why they do not.

    Returns
    -------
    str

    Examples
    --------
    >>> from hyperspy_zlpml.registration.find_regions import describe_tail
    >>> describe_tail(1.184, n_spectra=100)
    'beyond 1.18 eV extrapolated to zero thickness from 100 spectra'
    >>> describe_tail(1.973, n_spectra=None)
    'beyond 1.97 eV the gain side, raised to join the loss side: a guess'
    >>> describe_tail(1.973, None, "there is one spectrum")[-34:]
    'a guess, for there is one spectrum'
    """
    if n_spectra is None:
        cause = f", for {why}" if why else ""
        return f"beyond {limit:.3g} eV the gain side, raised to join the loss side: {GUESS}{cause}"
    return f"beyond {limit:.3g} eV extrapolated to zero thickness from {n_spectra} spectra"
