# SPDX-License-Identifier: GPL-3.0-or-later
"""Registration: every training spectrum brought to one reduced energy axis.

The mean shape of the vacuum (or of the brightest cluster) and the peak parameters of the spectra
improve each other in a few rounds; after that a spectrum is its ratio to the reference.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.integrate import trapezoid

from hyperspy_zlpml.image.quality import NoZeroLossPeakError
from hyperspy_zlpml.image.samples import VACUUM, log_intensities
from hyperspy_zlpml.image.saturation import steep_flanks_message
from hyperspy_zlpml.registration.registered_peaks import RegisteredPeaks, mean_ratio
from hyperspy_zlpml.statistics import MAD_TO_SIGMA, Range
from hyperspy_zlpml.zlp.grid import Grid
from hyperspy_zlpml.zlp.groups import (
    ChannelGroups,
    Curvature,
    group_curvature,
    group_samples,
    make_groups,
)
from hyperspy_zlpml.zlp.matching import Match, MatchStart, match
from hyperspy_zlpml.zlp.reference import fit_reference
from hyperspy_zlpml.zlp.regions import (
    EXTRAPOLATED_RISE,
    NO_LIMIT,
    SMALLEST_RISE_WITHOUT_VACUUM,
    Hump,
    bulge,
    flattening,
    hump,
    onset,
    window_mean,
)
from hyperspy_zlpml.zlp.tables import ShapeTable
from hyperspy_zlpml.zlp.tails import (
    extrapolate_by_gain_side,
    like_gain_side,
    tail_modes,
    unseen_modes,
)

#: Half width of the core, in FWHM, in which a peak is registered before its regions are known.
_REGISTERED_WITHIN = 1.0
#: Rounds in which reference and peaks improve each other.
_REFERENCE_ROUNDS = 3
#: Part of the height of the highest peak that any has.
_LEAST_HEIGHT = 1e-6
#: A match whose logarithm of the height differs by this from that measured has run away.
_RUN_AWAY = 1.0
#: Counts that differ from those of the cluster by this many standard deviations are spikes.
_SPIKE = 8.0
#: Fewer spectra of a cluster do not tell a spike.
_FEWEST_TO_COMPARE = 12
#: More than this fraction of the spectra are not wrong where they differ from the others.
_MANY = 0.2
#: Spectra of a cluster that are compared.
_SPECTRA_COMPARED = 128
#: End of the flank, in FWHM, that shows how the tail would go on without inelastic signal.
_FLANK = 1.8
#: Losses that are seen from some energy on begin before it: tails are joined at this fraction.
JOINED_BEFORE = 0.8


#: Spectra whose ln N0 differ by less do not tell what grows with thickness.
_THICKER = 0.1
#: Losses that only the shape of a tail tells are held against what is there this factor before.
_BEFORE = 1.5
#: What stands on a tail is averaged from its top over this factor of the energy to both sides ...
_AT_TOP = 1.1
#: ... and is certain by so many standard errors.
_CERTAIN = 4.0


class _Pure(NamedTuple):
    """Reduced energies at which spectra are pure zero-loss peak: below losses, and beside gains."""

    losses_from: float = NO_LIMIT
    gains: Range = Range(NO_LIMIT, NO_LIMIT)

    def holds(self, u):
        """Tell which reduced energies are pure."""
        return (u < self.losses_from) & ~((-u > self.gains.low) & (-u < self.gains.high))


#: Spectra that are pure throughout.
_EVERYWHERE = _Pure()


def register_peaks(samples, noise, given_limit=None):
    """Register the training spectra to the mean shape of the vacuum, or the brightest cluster.

    The reference and the peak parameters improve each other in a few rounds.

    Parameters
    ----------
    samples : sequence of Sample
        Of n_spectra spectra together.
    noise : NoiseModel
    given_limit : float, optional
        ``E_I`` of the thinnest spectra, eV, where the user gives it; used without vacuum.

    Returns
    -------
    RegisteredPeaks

    Examples
    --------
    Three equal peaks of vacuum; the second has drifted by 30 meV:

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.noise import NoiseModel
    >>> from hyperspy_zlpml.image.peaks import peak_parameters
    >>> from hyperspy_zlpml.image.samples import VACUUM, Sample
    >>> from hyperspy_zlpml.registration.register import register_peaks
    >>> energy, drift = 0.05 * np.arange(-60, 200), np.array([0.0, 0.03, 0.0])
    >>> counts = 1e6 * (1 + 8 * (energy - drift[:, None]) ** 2) ** -2.0
    >>> label = np.full(3, VACUUM)
    >>> vacuum = Sample(counts, energy, peak_parameters(counts, energy), label)
    >>> peaks = register_peaks([vacuum], NoiseModel(gain=1.0, readout=0.0))
    >>> (peaks.matched.centre - peaks.matched.centre[0]).round(3) + 0.0
    array([0.  , 0.03, 0.  ])
    """
    joined = _join(samples)
    label, centre, fwhm, groups = joined.label, joined.centre, joined.fwhm, joined.groups
    n_energy = max(sample.energy.size for sample in samples)
    spectra = group_samples(samples, groups, Curvature.none(groups.size))
    reach = n_energy / joined.channels_per_fwhm * 1.1
    grid = Grid.covering(-reach, reach)
    first = label == label.min()

    core = _core(len(label))
    height = np.concatenate([_heights(sample) for sample in samples])
    for _ in range(_REFERENCE_ROUNDS):
        u = (spectra.energy - centre[:, None]) / fwhm[:, None]
        scale = height[:, None] * spectra.scale(fwhm)
        # Here the spectra are known, and tell why.
        _check_common_shape(spectra.complete[first], samples)
        reference = _fit_reference_to(spectra, u, scale, grid=grid, noise=noise, chosen=first)
        log_reference = reference.log_shape
        curvature = joined.curvature(grid, log_reference)
        spectra = replace(spectra, curvature=curvature)
        table = ShapeTable.of_reference(grid, log_reference)
        start = MatchStart(centre, fwhm, log_intensity=np.zeros(len(label)), window=core)
        matched = match(spectra, start, table, noise, width_prior=None)
        spectra, matched = _without_run_away(spectra, matched, start, height)
        centre, fwhm, height = matched.centre, matched.fwhm, np.exp(matched.log_height)
        spectra = _without_spikes(spectra, matched, samples, noise)
    _check_common_shape(spectra.complete[first], samples)
    unseen = unseen_modes(log_reference, grid, reference.seen, reference.slope_errors)
    peaks = RegisteredPeaks(
        spectra=spectra,
        label=label,
        log_intensity=log_intensities(samples),
        matched=matched,
        grid=grid,
        log_reference=log_reference,
        noise=noise,
        window=core,
        reference_modes=np.concatenate([reference.modes, unseen]),
    )
    if peaks.has_vacuum:
        # All of it shows the reference, and what this misses: a coherent residual may follow.
        return replace(peaks, noise_share=reference.noise_share)
    return _limited_reference(peaks, first, given_limit)


def register_to_shape(table, samples, noise, log_intensity):
    """Register spectra to a shape that is known already.

    Parameters
    ----------
    table : ShapeTable
        Table of an ensemble; its shape of the thinnest spectra is the reference.
    samples : sequence of Sample
    noise : NoiseModel
    log_intensity : ndarray of shape (n_spectra,)
        ln N0 as the ensemble counts it.

    Returns
    -------
    RegisteredPeaks

    Raises
    ------
    NoZeroLossPeakError
        If none of the spectra can be matched to the shape.
    """
    joined = _join(samples)
    n_spectra = len(joined.label)
    log_reference = table.log_shape[-1]
    spectra = group_samples(samples, joined.groups, joined.curvature(table.grid, log_reference))
    reference = ShapeTable.of_reference(table.grid, log_reference)
    start = MatchStart(
        joined.centre, joined.fwhm, log_intensity=np.zeros(n_spectra), window=_core(n_spectra)
    )
    matched = match(spectra, start, reference, noise, width_prior=None)
    height = np.concatenate([_heights(sample) for sample in samples])
    spectra, matched = _without_run_away(spectra, matched, start, height)
    if not spectra.complete.any():
        raise NoZeroLossPeakError(
            f"none of {n_spectra} spectra can be matched to the shape that the ensemble has learnt: "
            "look at ensemble.plot(), and train on the image itself."
        )
    spectra = _without_spikes(spectra, matched, samples, noise)
    return RegisteredPeaks(
        spectra=spectra,
        label=joined.label,
        log_intensity=log_intensity,
        matched=matched,
        grid=table.grid,
        log_reference=log_reference,
        noise=noise,
        window=start.window,
        reference_modes=table.modes[:, -1],
    )


def _core(n_spectra):
    """Make the windows in which peaks are registered before their regions are known."""
    return Range(np.full(n_spectra, -_REGISTERED_WITHIN), np.full(n_spectra, _REGISTERED_WITHIN))


class _Joined(NamedTuple):
    """Labels and peak parameters of several samples together, and their groups of channels."""

    label: np.ndarray
    centre: np.ndarray
    fwhm: np.ndarray
    channels_per_fwhm: float
    step: float
    groups: ChannelGroups

    def curvature(self, grid, log_shape):
        """Compute the curvature of a shape within the groups."""
        return group_curvature(
            grid=grid,
            log_shape=log_shape,
            groups=self.groups,
            channels_per_fwhm=self.channels_per_fwhm,
            step=self.step,
        )


def _join(samples):
    """Join samples, and make groups of channels that hold all of their spectra."""
    label = np.concatenate([sample.label for sample in samples])
    centre = np.concatenate([sample.parameters.centre for sample in samples])
    fwhm = np.concatenate([sample.parameters.fwhm for sample in samples])
    step = samples[0].energy[1] - samples[0].energy[0]
    per_fwhm = np.median(fwhm) / step
    n_before = max(int(sample.parameters.channel.max()) for sample in samples)
    n_after = max(sample.energy.size - int(sample.parameters.channel.min()) for sample in samples)
    return _Joined(
        label=label,
        centre=centre,
        fwhm=fwhm,
        channels_per_fwhm=per_fwhm,
        step=step,
        groups=make_groups(per_fwhm, n_before, n_after),
    )


def _without_run_away(spectra, matched, start, height):
    """Take nothing of spectra whose match is not the peak that was measured.

    Returns
    -------
    spectra : GroupedSpectra
        No group of such spectra is complete.
    matched : Match
        They are as they were measured.
    """
    log_height = np.log(height)
    with np.errstate(invalid="ignore"):
        lost = ~(np.abs(matched.log_height - log_height) < _RUN_AWAY)
        lost |= ~(np.abs(matched.centre - start.centre) < start.fwhm)
    if not lost.any():
        return spectra, matched
    rows = np.flatnonzero(lost)
    as_measured = Match.empty(rows.size, matched.coefficients.shape[1])
    as_measured.log_height[:] = log_height[rows]
    as_measured.centre[:] = start.centre[rows]
    as_measured.fwhm[:] = start.fwhm[rows]
    for values in (as_measured.coefficients, as_measured.covariance, as_measured.chi2):
        values[:] = 0.0
    as_measured.n_points[:] = 0.0
    complete = spectra.complete & ~lost[:, None]
    return replace(spectra, complete=complete), matched.with_rows(rows, as_measured)


def _without_spikes(spectra, matched, samples, noise):
    """Take groups that differ from those of other spectra for incomplete: spikes, holes, a jump.

    What is as wide as a loss or a peak is no spike to its neighbours, only to other spectra: they are
    compared with those of their cluster, or with all of their sample where those are few.
    """
    complete, first = spectra.complete.copy(), 0
    for sample in samples:
        rows = np.arange(first, first + len(sample.label))
        first += rows.size
        names, n_spectra = np.unique(sample.label, return_counts=True)
        large = names[n_spectra >= _FEWEST_TO_COMPARE]
        few = rows[~np.isin(sample.label, large)]
        compared = [(rows[sample.label == name],) * 2 for name in large]
        compared += [(few, rows)] if few.size and rows.size >= _FEWEST_TO_COMPARE else []
        for some, others in compared:
            like = _like_others(spectra.select(others), matched.select(others), noise)
            complete[some] &= like[np.isin(others, some)]
    return replace(spectra, complete=complete)


def _like_others(spectra, matched, noise):
    """Tell which groups of spectra hold what they hold in the others, (n_spectra, n_groups)."""
    height = np.exp(matched.log_height)[:, None]
    some = slice(None, None, max(len(height) // _SPECTRA_COMPARED, 1))
    relative = spectra.sums[some] / height[some]
    middle = np.median(relative, axis=0)
    spread = MAD_TO_SIGMA * np.median(np.abs(relative - middle), axis=0)
    expected = height * middle
    counting = np.sqrt(noise.variance(expected, spectra.n_channels) + noise.gain**2)
    sigma = np.hypot(height * spread, counting)
    like = np.abs(spectra.sums - expected) < _SPIKE * sigma
    # Where many differ the spectra have no common shape, and none is wrong.
    return like | ((~like).mean(0) > _MANY)


def groups_of(samples):
    """Make the groups of channels in which samples are registered.

    Parameters
    ----------
    samples : sequence of Sample

    Returns
    -------
    ChannelGroups
    """
    return _join(samples).groups


def _heights(sample):
    """Look up the counts of the highest channel of every spectrum."""
    highest = np.take_along_axis(sample.counts, sample.parameters.channel[:, None], -1)[:, 0]
    return np.maximum(highest, _LEAST_HEIGHT * highest.max())


def log_beam(samples, grid, log_reference):
    """Find ln N0 of the beam that no specimen has weakened.

    It is that of the vacuum in view; without, it follows from the total counts, which a specimen
    hardly changes.

    Parameters
    ----------
    samples : sequence of Sample
        The image's first.
    grid : Grid
    log_reference : ndarray of shape (grid.n,)
        Logarithm of the shape of the peak.

    Returns
    -------
    float

    Examples
    --------
    Without vacuum N0 is the share of the total counts that lies within one FWHM of the peak:

    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.samples import Sample
    >>> from hyperspy_zlpml.registration.register import log_beam
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> grid = Grid.covering(-10, 10)
    >>> log_shape = -4 * np.log(2) * grid.u**2
    >>> parameters = SimpleNamespace(total=np.full(3, 1e6))
    >>> sample = Sample(counts=None, energy=None, parameters=parameters, label=np.zeros(3, int))
    >>> round(float(np.exp(log_beam([sample], grid, log_shape))) / 1e6, 2)
    0.98
    """
    image = samples[0]
    vacuum = image.label == VACUUM
    if vacuum.any():
        return float(np.median(np.log(image.parameters.intensity[vacuum])))
    total = np.median(np.log(np.maximum(image.parameters.total, 1e-300)))
    shape = np.exp(log_reference)
    within = np.abs(grid.u) < 1
    share = trapezoid(shape[within], grid.u[within]) / trapezoid(shape, grid.u)
    return float(total + np.log(share))


def _check_common_shape(use, samples):
    """Raise NoZeroLossPeakError where no group of channels of any of the brightest spectra is used."""
    if use.any():
        return
    steep = [
        (np.median(sample.parameters.fwhm), message)
        for sample in samples
        if (message := steep_flanks_message(sample.counts, sample.parameters, sample.energy))
    ]
    if steep:
        peaks = "peak is" if len(use) == 1 else "peaks are"
        # Of several samples the widest peaks are to be blurred by most.
        raise NoZeroLossPeakError(f"the {peaks} {max(steep)[1]}.")
    if len(use) == 1:
        raise NoZeroLossPeakError(
            "the peak of the brightest spectrum is not like a smooth curve; look at the data."
        )
    raise NoZeroLossPeakError(
        f"the {len(use)} brightest spectra have peaks of no common shape: none can be matched "
        "to the others; look at the data, and at the maps of s.estimate_zlp_parameters()."
    )


def _fit_reference_to(spectra, u, scale, *, grid, noise, chosen, pure=_EVERYWHERE):
    """Fit the mean shape of the chosen spectra where they are pure."""
    # A spike in a dark spectrum may be a peak of no height.
    use = spectra.complete & chosen[:, None] & pure.holds(u) & (scale > 0)
    _check_common_shape(use[chosen], ())
    # An empty group has the variance of a single electron.
    variance = noise.variance(np.maximum(spectra.sums, noise.gain), spectra.n_channels)
    return fit_reference(
        u=u[chosen],
        counts=spectra.sums[chosen],
        expected_scale=np.where(use, scale, 0.0)[chosen],
        variance=variance[chosen],
        grid=grid,
    )


def _limited_reference(peaks, first, given):
    """Fit the reference to the brightest cluster alone, where it is pure, without vacuum.

    Pure is what lies below the energies where thicker clusters leave the brightest one, where
    the brightest leaves the power law on which its flank ends, where it has flattened, and where
    a hump begins. From before the least of them the reference follows the gain side. Clusters that
    never leave the brightest one are of its thickness, and fitted with it. Where the gain side
    bulges, energy is gained: nothing is learnt from there, and the reference bridges it.
    """
    onsets = [
        onset(*mean_ratio(peaks, peaks.label == name), SMALLEST_RISE_WITHOUT_VACUUM)
        for name in peaks.labels[1:]
    ]
    alike = first | np.isin(peaks.label, peaks.labels[1:][np.isinf(onsets)])
    gains = _gains(peaks)
    if alike.sum() > first.sum() or np.isfinite(gains.low):
        refit, first = _refit(peaks, alike, _Pure(gains=gains)), alike
        peaks = replace(peaks, log_reference=refit.log_shape, reference_modes=refit.modes)
        peaks = replace(peaks, gain_extrapolated_from=gains.low)
    if given is None:
        limit = JOINED_BEFORE * _first_losses(peaks, first, onsets, gains)
    else:
        limit = given / np.median(peaks.matched.fwhm)
    if not np.isfinite(limit):
        return peaks
    pure, modes, seen, *_ = _refit(peaks, first, _Pure(limit, gains))
    continued = extrapolate_by_gain_side(pure, peaks.grid, limit, -seen.low)
    modes = np.concatenate(
        [
            like_gain_side(modes, peaks.grid, limit, -seen.low),
            tail_modes(pure, peaks.grid, limit, -seen.low),
        ]
    )
    return replace(
        peaks,
        log_reference=continued,
        reference_modes=modes,
        extrapolated_from=limit,
        tail_is_known=False,
    )


def _first_losses(peaks, first, onsets, gains):
    """Find the reduced energy from which the brightest spectra are seen to hold losses.

    What only their shape tells, and thicker spectra do not hold more of, is the peak's own.
    """
    flank = replace(peaks, log_reference=_refit(peaks, first, _Pure(_FLANK, gains)).log_shape)
    u = peaks.grid.u[peaks.grid.u > 0]
    smooth = peaks.grid.interpolate(peaks.log_reference, u)
    line = hump(u, smooth, peaks.reference_error(u))
    bent = onset(*mean_ratio(flank, first), EXTRAPOLATED_RISE)
    flat = flattening(u, smooth)
    seen = [(at, Hump(at / _BEFORE, at, at, EXTRAPOLATED_RISE)) for at in (bent, flat)]
    seen.append((line.low, line))
    losses = [limit for limit, one in seen if _may_grow_with_thickness(peaks, one)]
    return min([*onsets, *losses], default=NO_LIMIT)


def _gains(peaks):
    """Find the distances from the peak, FWHM, between which the gain side of the reference bulges."""
    u = -peaks.grid.u[peaks.grid.u < 0][::-1]
    smooth = peaks.grid.interpolate(peaks.log_reference, -u)
    found = bulge(u, smooth, peaks.reference_error(-u))
    if not _may_grow_with_thickness(peaks, found, side=-1):
        return Range(NO_LIMIT, NO_LIMIT)
    return Range(JOINED_BEFORE * found.low, found.high / JOINED_BEFORE)


def _may_grow_with_thickness(peaks, found, side=1):
    """Tell whether thick spectra may hold more of a hump than thin ones, as of all that is scattered.

    Where they do not, it is the peak's own: measured peaks have such humps. Of two clusters whose
    ln N0 tell that they differ in thickness by ``d`` mean free paths, the thicker one holds ``d / t``
    times more of a hump, ``t`` being the thickness of the thinner one, which is below one. Ratios are
    those to a reference that holds the hump itself.
    """
    if not np.isfinite(found.low):
        return True
    rise, variance, thickness = 0.0, 0.0, 0.0
    for name, sign in ((peaks.labels[-1], 1), (peaks.labels[0], -1)):
        chosen = peaks.label == name
        mean = window_mean(*mean_ratio(peaks, chosen, side))
        at_top, error_at_top = mean(found.top / _AT_TOP, found.top * _AT_TOP)
        before, error_before = mean(found.low / _AT_TOP**2, found.low)
        rise += sign * (at_top - before)
        variance += error_at_top**2 + error_before**2
        thickness -= sign * np.median(peaks.log_intensity[chosen])
    if not thickness > _THICKER:
        return True
    expected = thickness * found.height / (1 + found.height)
    return not rise + _CERTAIN * np.sqrt(variance) < expected


def _refit(peaks, first, pure):
    """Fit the reference to the first spectra where they are pure."""
    return _fit_reference_to(
        peaks.spectra,
        peaks.u,
        peaks.scale,
        grid=peaks.grid,
        noise=peaks.noise,
        chosen=first,
        pure=pure,
    )
