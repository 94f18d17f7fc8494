# SPDX-License-Identifier: GPL-3.0-or-later
"""Thickness of training spectra without vacuum, and what they hold of plural scattering.

Electrons that were scattered once are in proportion to thickness, all of them together are not: the
losses over the zero-loss peak are ``exp((t/l) S) - 1`` with ``S`` the distribution of one loss, powers
being convolutions (Egerton, *EELS in the Electron Microscope*, 3rd ed., chapter 4). The logarithm
of that series gives ``(t/l) S``. At an energy it needs no losses beyond that energy, so that it does
not matter where the axis ends.
"""

from dataclasses import dataclass

import numpy as np
from scipy.integrate import trapezoid

from hyperspy_zlpml.image.falling import sums_never_rise

#: Fewer spectra show nothing.
_FEWEST = 12
#: Far losses are measured in at least this many groups.
_FEWEST_GROUPS = 5
#: A group is measured where it is complete in this fraction of the spectra.
_MOST_COMPLETE = 0.5
#: Far losses of thick pixels (95th percentile) over those of thin ones (5th), at least.
_LEAST_RANGE = 1.3
#: Far losses begin at this many times the limit of the pure peak.
_FAR = 3.1
#: Far losses hold at least this many times the counts of the peak's own tail.
_LEAST_FAR_LOSSES = 3.0
#: Largest error of the logarithm of the tail under them.
_LARGEST_TAIL_ERROR = 0.5
#: Steps between the peak and the end of the axis in which losses are convolved.
_N_STEPS = 256
#: Losses have fallen off where, in the last such part of the axis, they are below ...
_END_OF_AXIS = 1 / 16
#: ... this fraction of the most that any such part holds.
_FALLEN_OFF = 0.5
#: Mean free paths seen that tell thickness even where the axis ends before losses fall off.
_LEAST_SEEN = 0.2
#: Said of fewer spectra than show anything.
_TOO_FEW = (
    f"there are too few spectra (at least {_FEWEST} pixels of several thicknesses would tell it)"
)
#: Said of an axis that ends before the far losses do.
_AXIS_ENDS = "the axis ends before the losses have fallen off (one up to the plasmon would tell it)"
#: Said of far losses that the tail of the peak hides.
_TOO_WEAK = "far losses are too weak to tell thickness (pixels that scatter more would tell it)"
#: Said of pixels of which none shows losses by itself.
_ONLY_FALL = (
    "behind the peak all spectra only fall, as those of vacuum do whose tails differ (losses that rise, as to a plasmon, "
    "would tell it)"
)
#: Said of pixels some of which scatter nothing.
_SOME_HOLD_NONE = (
    "some spectra hold no far losses beyond noise (vacuum, marked in vacuum=, would show the tail)"
)
#: Said of pixels that scatter alike.
_TOO_EQUAL = "the spectra are of one thickness (pixels of other thicknesses would tell it)"


@dataclass(frozen=True)
class RelativeThickness:
    """Relative thickness of spectra, and how their losses follow from it; groups on the last axis.

    Attributes
    ----------
    relative : ndarray of shape (n_spectra,)
        Of mean 1.
    over_zlp : ndarray of shape (n_spectra, n_groups) or (n_spectra, 1)
        Zero-loss electrons over the peak's height at the energies of the groups, which differs
        between peaks of other widths and places; of geometric mean 1 over the spectra.
    broadening : ndarray of shape (n_spectra,)
        ln FWHM, from its mean.
    plural : ndarray of the shape of ``over_zlp``
        Counts of electrons that were scattered more than once, over the matched reference.
    """

    relative: np.ndarray
    over_zlp: np.ndarray
    broadening: np.ndarray
    plural: np.ndarray

    @classmethod
    def of_equal_peaks(cls, relative):
        """Make the thickness of peaks that are all of one width, where electrons scatter once.

        Parameters
        ----------
        relative : ndarray of shape (n_spectra,)

        Returns
        -------
        RelativeThickness
        """
        none = np.zeros((len(relative), 1))
        return cls(relative, none + 1, none[:, 0], none)


def scattered_once(losses):
    """Compute single scattering from all losses: the logarithm of a series of convolutions.

    Parameters
    ----------
    losses : ndarray of shape (n_spectra, n)
        Losses of 1, 2, ... n steps of energy, as a fraction of the electrons without loss.

    Returns
    -------
    ndarray of shape (n_spectra, n)
        Mean numbers of each loss of one electron.

    Examples
    --------
    Losses of one step that happen 0.6 times to an electron, by Poisson's law twice to 0.18 times as
    many as those to which none happens:

    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.thickness import scattered_once
    >>> scattered_once(np.array([[0.6, 0.18, 0.036]])).round(12) + 0.0
    array([[0.6, 0. , 0. ]])
    """
    # Of 1 + J = exp(s): J' = s' (1 + J), coefficient by coefficient.
    steps = np.arange(1, losses.shape[1] + 1)
    slope = steps * losses
    for n in range(1, losses.shape[1]):
        slope[:, n] -= np.einsum("pm,pm->p", slope[:, :n], losses[:, n - 1 :: -1])
    return slope / steps


def tells_thickness(once):
    """Say whether single scattering up to the end of an axis is most of all there is.

    Parameters
    ----------
    once : ndarray of shape (n,)
        Mean numbers of the far losses of one electron, in equal steps up to the end of the axis.

    Returns
    -------
    bool
        Whether they have fallen to half of their maximum there, or are a fifth of a mean free path.

    Examples
    --------
    Losses that still rise where the axis ends, of a hundredth of a mean free path, and a plasmon:

    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.thickness import tells_thickness
    >>> energy = np.linspace(2, 10, 64)
    >>> tells_thickness(0.01 * energy / energy.sum())
    False
    >>> tells_thickness(0.01 / (1 + (energy - 6) ** 2))
    True
    """
    n_parts = min(round(1 / _END_OF_AXIS), once.size)
    parts = np.array([part.mean() for part in np.array_split(once, n_parts)])
    return bool(parts[-1] < _FALLEN_OFF * parts.max() or once.sum() > _LEAST_SEEN)


def relative_thickness(peaks, tail_errors=0.0):
    """Measure the thickness by the single scattering far beyond the peak, free of its own tail.

    Parameters
    ----------
    peaks : RegisteredPeaks
    tail_errors : float
        Standard errors by which the tail is taken to be higher.

    Returns
    -------
    RelativeThickness or None
        None where the losses are too few or too equal to measure thickness, or most of them lie
        beyond the axis.
    """
    found = _thickness_or_why(peaks, tail_errors)
    return None if isinstance(found, str) else found


def why_no_thickness(peaks):
    """Say why spectra do not tell their thickness, and which would.

    Parameters
    ----------
    peaks : RegisteredPeaks

    Returns
    -------
    str
        Empty where they do.
    """
    found = _thickness_or_why(peaks, 0.0)
    return found if isinstance(found, str) else ""


def _thickness_or_why(peaks, tail_errors):
    """Measure the thickness, or say why it cannot be measured."""
    u = peaks.u.mean(0)
    complete = peaks.spectra.complete
    seen = (u > peaks.extrapolated_from) & (complete.mean(0) > _MOST_COMPLETE)
    far = seen & (u > _FAR * peaks.extrapolated_from)
    if len(peaks.label) < _FEWEST:
        return _TOO_FEW
    if far.sum() < _FEWEST_GROUPS:
        return _AXIS_ENDS
    shape = np.exp(peaks.grid.interpolate(peaks.log_reference, peaks.u))
    error = np.minimum(peaks.reference_error(u), _LARGEST_TAIL_ERROR)
    n_channels = peaks.spectra.n_channels
    counts = peaks.spectra.sums / np.exp(peaks.matched.log_height)[:, None] / n_channels
    losses = _completed(u, counts - shape * np.exp(tail_errors * error), complete, seen)
    tail = (n_channels * shape.mean(0) * np.exp(tail_errors * error))[far].sum()
    if np.median((losses * n_channels)[:, far].sum(-1)) < _LEAST_FAR_LOSSES * tail:
        return _TOO_WEAK
    # In units of the electrons without loss, per FWHM of the mean peak: energies are the same in all.
    width = peaks.matched.fwhm / peaks.matched.fwhm.mean()
    area = trapezoid(np.exp(peaks.log_reference), peaks.grid.u) * width[:, None]
    edges = np.linspace(0, u[seen].max(), _N_STEPS + 1)
    all_losses = _between(edges, u, losses / area)
    once = scattered_once(all_losses)
    once_far = once[:, edges[1:] > _FAR * peaks.extrapolated_from]
    if not tells_thickness(once_far.mean(0)):
        return _AXIS_ENDS
    thickness = once_far.sum(-1)
    share = share_beyond_noise(u[far], losses[:, far])
    thickness = thickness.mean() + share * (thickness - thickness.mean())
    untold = _untold_by(thickness) or (_ONLY_FALL if _only_fall(peaks) else "")
    if untold:
        return untold
    over_zlp = width[:, None] / shape
    plural = _density_at(u, edges, all_losses - once) * area / shape
    return RelativeThickness(
        relative=thickness / thickness.mean(),
        over_zlp=over_zlp / np.exp(np.log(over_zlp).mean(0)),
        broadening=np.log(width) - np.log(width).mean(),
        plural=plural,
    )


def _untold_by(thickness):
    """Say why thicknesses are too few, or too equal, to be extrapolated from; empty where they are not."""
    low, high = np.percentile(thickness, [5, 95])
    if not low > 0:
        return _SOME_HOLD_NONE
    return "" if low * _LEAST_RANGE < high else _TOO_EQUAL


def _only_fall(peaks):
    """Tell whether the mean of no cluster rises, or has a hump, behind the peak: none shows that it holds losses."""
    spectra, u = peaks.spectra, peaks.u.mean(0)
    known = spectra.complete.any(1)
    for name in np.unique(peaks.label[known]):
        rows = known & (peaks.label == name)
        on_axis = spectra.complete[rows].all(0)
        sums, n_channels = spectra.sums[rows][:, on_axis], spectra.n_channels[on_axis]
        if not sums_never_rise(sums, n_channels, u[on_axis], peaks.noise):
            return False
    return True


def share_beyond_noise(u, losses):
    """Tell which part of the variance of far losses is thickness, and not noise.

    A line in a thickness that noise scatters is too flat by this part, and meets zero too high; in thicknesses that are
    drawn to their mean by it, it is the line that it ought to be (regression calibration; Carroll et al., *Measurement
    Error in Nonlinear Models*, 2nd ed., chapter 4).

    Parameters
    ----------
    u : ndarray of shape (n_groups,)
        Reduced energies, rising.
    losses : ndarray of shape (n_spectra, n_groups)
        Of independent noise, about proportional to thickness.

    Returns
    -------
    float
        From 0 to 1. Odd and even groups hold the same losses: what they differ by is noise.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.registration.thickness import share_beyond_noise
    >>> u, thickness = np.linspace(5, 10, 200), np.linspace(0.5, 1.5, 400)[:, None]
    >>> noise = np.random.default_rng(0).standard_normal((400, 200))
    >>> share_beyond_noise(u, thickness + 0.0 * noise), share_beyond_noise(u, 1 + noise) < 0.2
    (1.0, True)
    """
    odd, even = (trapezoid(losses[:, k::2], u[k::2], axis=-1) for k in (0, 1))
    total = 0.5 * (odd + even)
    # They lie at slightly different energies: in proportion to thickness they differ by more than noise.
    proportional = np.stack([np.ones_like(total), total], axis=-1)
    fitted, *_ = np.linalg.lstsq(proportional, odd - even, rcond=None)
    noise = ((odd - even - proportional @ fitted) ** 2).sum() / (4 * max(total.size - 2, 1))
    return float(np.clip(1 - noise / max(total.var(), np.finfo(float).tiny), 0.0, 1.0))


def _completed(u, losses, complete, seen):
    """Bridge groups that are incomplete in single spectra; 0 where none is seen."""
    filled = np.zeros_like(losses)
    for row, values, known in zip(filled, losses, complete & seen, strict=True):
        if known.any():
            row[seen] = np.interp(u[seen], u[known], values[known])
    return filled


def _between(edges, u, density):
    """Integrate densities, known at reduced energies, between neighbouring edges."""
    step = np.diff(u)
    total = np.cumsum(0.5 * (density[:, 1:] + density[:, :-1]) * step, axis=-1)
    total = np.pad(total, ((0, 0), (1, 0)))
    return np.diff(np.stack([np.interp(edges, u, row) for row in total]))


def _density_at(u, edges, amounts):
    """Look up the density of amounts between edges at reduced energies."""
    middle = 0.5 * (edges[1:] + edges[:-1])
    density = amounts / np.diff(edges)
    return np.stack([np.interp(u, middle, row, left=0.0) for row in density])
