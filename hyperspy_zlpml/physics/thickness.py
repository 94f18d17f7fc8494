# SPDX-License-Identifier: GPL-3.0-or-later
"""Thickness: in mean free paths from the losses, in nm by a mean free path or by the sum rule.

The axis ends before the losses do. What is beyond is added from the single scattering, whose end is
not spoilt by plural scattering, and how it goes on is a systematic error.
"""

from dataclasses import dataclass, replace

import numpy as np

from hyperspy_zlpml.physics.deconvolution import (
    rebinned,
    single_scattering,
    summed_channels,
    up_to,
)
from hyperspy_zlpml.physics.extrapolation import fit_tail
from hyperspy_zlpml.physics.hidden_losses import hidden_losses
from hyperspy_zlpml.physics.kinematics import BOHR_RADIUS
from hyperspy_zlpml.physics.reasons import Reason

#: What :func:`measure_thickness` returns for each spectrum.
COLUMNS = (
    "on_axis",
    "on_axis_std",
    "t_over_lambda",
    "std",
    "systematic",
    "sum_rule",
    "sum_rule_std",
    "sum_rule_systematic",
    "tail_exponent",
    "main_losses",
    "reason",
)
#: By how much the exponent of the losses beyond the axis may be wrong.
TAIL_ERROR = 0.5
#: Relative error of the law of Iakoubovskii et al.
MEAN_FREE_PATH_ERROR = 0.2
#: Energy from the peak up to which losses are summed, eV: of all solids most are below, and beyond, an
#: error of the baseline counts more.
LAST_ENERGY = 100.0
#: The axis must reach this many times the energy of the highest losses.
_PLASMONS_ON_AXIS = 1.5
#: Bins in which the highest losses are looked for, eV; standard deviations that they need.
_BIN = 1.0
_HIGHEST = 5.0
#: Losses of few solids are highest below this energy, eV: an axis must hold it, whatever is seen.
_LOWEST_PLASMON = 10.0
#: Losses just above ``E_I`` are those below this many times it.
_NEAR_LIMIT = 2.0
#: Standard deviations from which losses are there.
_SIGNIFICANT = 3.0
#: Standard deviations from which a negative sum of losses is no chance.
_IMPOSSIBLE = 5.0
#: All losses together are no less than those on the axis: where t/lambda is below this part of their
#: logarithm, by more than an error of the baseline, what the spectrum holds is not scattering alone.
_PART = 0.75
_MISSING = 0.05
#: Angle at which inelastic scattering ends in the law of Iakoubovskii et al., mrad.
_CUT_OFF_ANGLE = 20.0


@dataclass(frozen=True)
class Estimate:
    """Numbers with their errors, each an array of shape (n,).

    Attributes
    ----------
    value : ndarray
    std : ndarray
        Of noise and of the ZLP.
    systematic : ndarray
        Of what was assumed.
    """

    value: np.ndarray
    std: np.ndarray
    systematic: np.ndarray

    def scaled(self, factor, relative_error=0.0):
        """Multiply by a factor that has a systematic error.

        Parameters
        ----------
        factor, relative_error : float or ndarray

        Returns
        -------
        Estimate

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.physics.thickness import Estimate
        >>> nm = Estimate(np.array([0.5]), np.array([0.01]), np.array([0.03])).scaled(100.0, 0.08)
        >>> nm.value, nm.std, nm.systematic
        (array([50.]), array([1.]), array([5.]))
        """
        value = self.value * factor
        systematic = np.hypot(self.systematic * factor, value * relative_error)
        return Estimate(value, self.std * factor, systematic)


# Of the measurement, and of how it is evaluated.
def measure_thickness(  # noqa: PLR0913
    losses, beam=None, *, last=np.inf, tail_exponent=None, tail_error=TAIL_ERROR, rebin=1
):
    """Measure the thickness of every spectrum, in mean free paths and by the sum rule.

    Parameters
    ----------
    losses : Losses
        Of n spectra.
    beam : Beam, optional
        Without it there is no sum rule, and losses beyond the axis are not corrected for the aperture.
    last : float
        Energy on the axis, eV, at which it is taken to end.
    tail_exponent : float, optional
        Of the power law of the losses beyond the axis; default that of the spectrum where it shows.
    tail_error : float
        By how much it may be wrong.
    rebin : int
        Channels that are summed first, for speed.

    Returns
    -------
    ndarray of shape (n, len(COLUMNS))
        In the order of ``COLUMNS``: logarithmic ratio of the counts on the axis, a lower limit; t/lambda
        with its errors; thickness by the sum rule of a metal with its errors, nm; exponent of the
        losses beyond the axis; energy of the highest losses, eV; a :class:`.Reason`.
    """
    losses = up_to(losses, last)
    ratio, ratio_std = log_ratio(losses)
    losses = rebinned(losses, rebin)
    single = single_scattering(losses)
    collected = _collected(single, beam)
    tail = fit_tail(
        single.counts / collected, single.variance / collected**2, single.distance, tail_exponent
    )
    total = total_scattering(single, collected, tail, tail_error)
    nm = total.scaled(np.nan)
    if beam:
        # As for the dielectric function: it rests upon the same losses below E_I.
        full = single.given_back(hidden_losses(losses, beam))
        nm = sum_rule(full, collected, tail, tail_error).scaled(4 * BOHR_RADIUS * beam.kinetic)
    missing = _PART * ratio - total.value > np.maximum(_IMPOSSIBLE * total.std, _MISSING)
    with np.errstate(divide="ignore", invalid="ignore"):
        significance = ratio / ratio_std
    main = _main_losses(single)
    ends_early = single.distance[:, -1] < _PLASMONS_ON_AXIS * np.fmax(main, _LOWEST_PLASMON)
    reason = _reasons(
        losses,
        single,
        ends_early=ends_early | ~tail.falls,
        significance=significance,
        missing=missing,
    )
    lacks = ~np.isin(reason, (Reason.NONE, Reason.NOT_SIGNIFICANT))
    numbers = [total.value, total.std, total.systematic, nm.value, nm.std, nm.systematic]
    numbers = [np.where(lacks, np.nan, one) for one in (*numbers, tail.exponent)]
    return np.stack([ratio, ratio_std, *numbers, main, reason], axis=-1)


def log_ratio(losses):
    """Compute t/lambda as ln(It/I0) from the counts on the axis.

    Parameters
    ----------
    losses : Losses
        Of n spectra.

    Returns
    -------
    value, std : ndarray of shape (n,)
        Losses beyond the axis are not in it: it is a lower limit. NaN where there is no limit above
        which losses are told from the ZLP.

    Notes
    -----
    f = ln(1 + Iin/I0), where Iin are the losses above ``E_I`` (Egerton, section 5.1). An error of the ZLP
    changes both: df = (dIin - Iin/I0 dI0) / It.
    """
    above = losses.from_peak > losses.loss_limit[:, None]
    peak = losses.intensity
    lost = (losses.subtracted * above).sum(-1)
    sums = losses.directions @ np.stack([above, np.ones_like(above)], axis=-1).astype(float)
    of_lost, of_peak = -sums[..., 0], sums[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(np.isfinite(losses.loss_limit), peak + lost, np.nan)
        change = (of_lost - of_peak * (lost / peak)[:, None]) / total[:, None]
        noise = (losses.variance * above).sum(-1) / total**2
        return np.log(total / peak), np.sqrt((change**2).sum(-1) + noise)


def shows_nothing(losses):
    """Tell where losses are known, but do not stand out of noise and the error of the ZLP.

    Parameters
    ----------
    losses : Losses
        Of n spectra.

    Returns
    -------
    ndarray of float of shape (n, 1)
        1 there, 0 where losses stand out or no limit is known above which they are told from the ZLP.
    """
    value, std = log_ratio(losses)
    return (value <= _SIGNIFICANT * std).astype(float)[:, None]


def _collected(single, beam):
    """Compute the part of the losses that the aperture lets through, in arbitrary units."""
    energy = np.maximum(single.distance, single.step)
    return beam.angular_logarithm(energy) if beam else np.ones_like(energy)


def total_scattering(single, collected, tail, tail_error=TAIL_ERROR):
    """Compute t/lambda as the sum of single scattering over the peak, on the axis and beyond.

    Parameters
    ----------
    single : SingleScattering
        Of n spectra.
    collected : ndarray of shape (n, n_energy)
        What the aperture lets through, in any units.
    tail : Tail
        Of single scattering over ``collected``.
    tail_error : float
        By how much its exponent may be wrong.

    Returns
    -------
    Estimate
    """
    above = (single.distance > single.loss_limit[:, None]).astype(float)
    ends = np.log(collected[:, -2:]), np.log(np.maximum(single.distance[:, -2:], single.step))
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.diff(ends[0])[:, 0] / np.diff(ends[1])[:, 0]
    last = collected[:, -1:] / collected
    return _with_tail(single, above, tail, tail_error, last=last, power=power)


def sum_rule(single, collected, tail, tail_error=TAIL_ERROR):
    """Compute the Kramers-Kronig sum rule for the thickness.

    t = 4 a0 T / (I0 (1 - 1/n^2)) sum of J1 / (E ln(1 + (beta/theta_E)^2)) (Egerton, section 5.1). What is just above
    ``E_I`` is taken to go on below in proportion to E, as losses without a gap do; half of this is a systematic
    error, and so is that of what was given back to single scattering, both at once. Energies are those of the losses, without the delay of the response.

    Parameters
    ----------
    single : SingleScattering
        Of n spectra.
    collected : ndarray of shape (n, n_energy)
        The logarithm.
    tail : Tail
        Of single scattering over it.
    tail_error : float
        By how much its exponent may be wrong.

    Returns
    -------
    Estimate
        The sum over I0, 1/eV.
    """
    energy = np.maximum(single.distance - single.delay[:, None], single.step)
    above = single.distance > single.loss_limit[:, None]
    on_axis = above / (energy * collected)
    below = on_axis * _share_below(single, above)
    last = 1 / (collected * energy[:, -1:])
    weights = on_axis + below
    found = _with_tail(single, weights, tail, tail_error, last=last, power=-1.0)
    of_below = np.abs((below * single.counts).sum(-1)) / (2 * single.intensity)
    shift = (weights * single.counts_shift).sum(-1) - found.value * single.intensity_shift
    of_given_back = np.abs(shift / single.intensity)
    # Either is larger where losses are no straight line: they are no chances of each other.
    of_line = of_below + of_given_back
    return replace(found, systematic=np.hypot(found.systematic, of_line))


def _share_below(single, above):
    """Weights of channels just above ``E_I``: the number that lies below, over their own."""
    limit = np.where(np.isfinite(single.loss_limit), single.loss_limit, 0.0)[:, None]
    near = above & (single.distance < _NEAR_LIMIT * limit)
    return near * limit / (single.step * np.maximum(near.sum(-1, keepdims=True), 1))


def _with_tail(single, weights, tail, tail_error, *, last, power):
    """Sum single scattering over the peak, with weights on the axis and what is beyond it.

    ``last`` makes what the tail was fitted to, times the weight at the end of the axis; the weights go
    on with a power of the energy. A negative sum beyond the axis is wrong as a whole: the baseline is.
    """

    def part(change):
        return tail.summed(last * single.counts, power, change) / single.intensity

    value, std = _relative_sum(single, weights + last * tail.beyond(power))
    of_noise = (part(-tail.std) - part(tail.std)) / 2
    slow, known, fast = (tail.sum_beyond(power, error) for error in (-tail_error, 0, tail_error))
    beyond = part(0.0)
    systematic = np.abs(beyond) * np.where(beyond < 0, 1.0, (slow - fast) / (2 * known))
    return Estimate(value, np.hypot(std, of_noise), systematic)


def _relative_sum(single, weights):
    """Sum single scattering with weights, over the intensity of the peak; with its error."""
    peak = single.intensity
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (weights * single.counts).sum(-1) / peak
        change, noise = single.changes_and_noise_of(weights)
        change = (change - value[:, None] * single.intensity_directions) / peak[:, None]
        return value, np.sqrt((change**2).sum(-1) + noise / peak**2)


def _reasons(losses, single, *, ends_early, significance, missing):
    """Tell why there is no thickness; where there is one, whether it differs from none."""
    conditions = {
        Reason.NO_LIMIT: ~np.isfinite(losses.loss_limit),
        Reason.NO_PEAK: ~(losses.intensity > 0),
        Reason.TOO_THICK: np.isnan(single.counts[:, 0]),
        Reason.AXIS_TOO_SHORT: ends_early,
        Reason.MISFIT: ~(significance > -_IMPOSSIBLE) | missing,
        Reason.NOT_SIGNIFICANT: ~(significance > _SIGNIFICANT),
    }
    return np.select(list(conditions.values()), list(conditions), Reason.NONE).astype(float)


def _main_losses(single):
    """Find the energy of the highest losses of each spectrum; NaN where none are seen."""
    n_channels = int(np.clip(round(_BIN / single.step), 1, single.energy.size))
    losses, noise, distance = (
        summed_channels(one, n_channels)
        for one in (single.counts, single.variance, single.distance)
    )
    distance = distance / n_channels
    losses = np.where(distance > single.loss_limit[:, None], losses, -np.inf)
    top = losses.argmax(-1)[:, None]
    highest, noise, at = (
        np.take_along_axis(one, top, -1)[:, 0] for one in (losses, noise, distance)
    )
    of_zlp = single.changes_of(_channels_of(top, n_channels, single.energy.size))
    return np.where(highest > _HIGHEST * np.sqrt(noise + (of_zlp**2).sum(-1)), at, np.nan)


def _channels_of(bins, n_channels, n_energy):
    """Mark the channels that were summed to one bin of each spectrum, (n, n_energy)."""
    number = (np.arange(n_energy) - n_energy % n_channels) // n_channels
    return (number == bins).astype(float)


def index_factor(refractive_index, error=0.0):
    """Compute what the sum rule for a metal is multiplied by for another material, 1 / (1 - 1/n^2).

    Parameters
    ----------
    refractive_index, error : float or ndarray
        n, infinite for a metal, and its error.

    Returns
    -------
    factor, relative_error : float or ndarray

    Examples
    --------
    >>> from hyperspy_zlpml.physics.thickness import index_factor
    >>> factor, error = index_factor(2.0, 0.3)
    >>> round(float(factor), 3), round(float(error), 3)
    (1.333, 0.1)
    """
    inverse = 1 / np.asarray(refractive_index, float) ** 2
    factor = 1 / (1 - inverse)
    return factor, 2 * np.asarray(error) * inverse / np.asarray(refractive_index) * factor


def mean_free_path(density, beam):
    """Compute the inelastic mean free path by the law of Iakoubovskii et al.

    Parameters
    ----------
    density : float
        g/cm3.
    beam : Beam

    Returns
    -------
    float
        nm; right to some 20 % for most materials.

    Notes
    -----
    K. Iakoubovskii, K. Mitsuishi, Y. Nakayama and K. Furuya, Microsc. Res. Tech. 71 (2008) 626.

    Examples
    --------
    Silicon at 200 kV:

    >>> from hyperspy_zlpml.physics.kinematics import Beam
    >>> from hyperspy_zlpml.physics.thickness import mean_free_path
    >>> round(mean_free_path(2.33, Beam(energy=200.0, collection_angle=100.0)))
    149
    """
    kinetic = 1e-3 * beam.kinetic
    lost = (5.5 * density**0.3 / kinetic) ** 2
    cut_off = _CUT_OFF_ANGLE**2
    squares = beam.convergence_angle**2, beam.collection_angle**2
    angles = sum(squares) + abs(squares[0] - squares[1])
    ratio = (angles + 2 * lost) / (angles + 2 * cut_off) * cut_off / lost
    return float(200 * kinetic / (11 * density**0.3 * np.log(ratio)))
