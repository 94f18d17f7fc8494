# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra whose peak is not of the shape that the others have: the beam jumped while they were taken.

What a peak looks like in the others is known very well. A spectrum that differs from those of like
brightness by many times the scatter of all, and by several per cent, says nothing of the rest and is
left out.
"""

from functools import partial

import numpy as np

from hyperspy_zlpml.compute.blocks import join_blocks
from hyperspy_zlpml.image.kernels import running_median
from hyperspy_zlpml.image.second_peaks import are_two
from hyperspy_zlpml.statistics import MAD_TO_SIGMA

#: Spectra of like brightness that one is compared with.
_COMPARED_WITH = 31
#: Fewer spectra have no common shape.
FEWEST_SPECTRA = 4
#: Among fewer spectra only those are told that differ beyond doubt.
_FEWEST_TO_COMPARE = 12
#: An odd one differs by this many standard deviations, ...
_SIGNIFICANT = 12.0
#: ... its width by this fraction, ...
_OTHER_WIDTH = 0.06
#: Widths of few electrons scatter by more than this, and not normally.
_WELL_MEASURED = 0.02
#: Logarithm of a ratio of widths that no noise makes.
FAR_WIDTH = np.log(2.5)
#: Peaks further from the others than this many FWHM, and narrower by this logarithm, are rays.
_FAR_AWAY = 5.0
_NARROWER = 0.25
#: Peaks brighter than others by this factor are of another dose.
_BRIGHTER = 300.0
#: ... where no more than this fraction of spectra, or one, are.
_FEW_BRIGHT = 0.02
#: ... or its counts between two energies by this fraction of the peak's.
_OTHER_SHARE = 0.01
#: Edges of those energies, in FWHM: the core, and where losses begin.
_EDGES = np.arange(-1.5, 4.01, 0.25)
_CORE = 1.5
#: Losses differ from spectrum to spectrum: by no more than this fraction so near to the peak.
_OTHER_LOSSES = 0.01
#: The level before the peak differs by this fraction of its counts, in a FWHM ...
_OTHER_LEVEL = 2e-4
#: ... from twice this many FWHM before it on.
_BEFORE = 2.0
#: Where more than this fraction of spectra differ, and more than one, there is no common shape.
_MOST_ODD = 0.2
#: The same where each has two peaks.
_MOST_TWO = 0.5


def of_other_width(centre, fwhm, intensity):
    """Find peaks whose width is not that of others as bright, or that are brighter by far.

    Parameters
    ----------
    centre, fwhm : ndarray of shape (n_spectra,)
        Position and width of the peaks, eV.
    intensity : ndarray of shape (n_spectra,)
        Their counts.

    Returns
    -------
    ndarray of bool of shape (n_spectra,)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.odd_peaks import of_other_width
    >>> widths = np.random.default_rng(0).normal(1.0, 0.01, 50)
    >>> widths[7] = 1.5
    >>> np.flatnonzero(of_other_width(np.zeros(50), widths, np.linspace(1, 2, 50)))
    array([7])
    """
    log_fwhm = np.log(fwhm)
    typical = np.median(log_fwhm)
    far = np.abs(log_fwhm - typical) > FAR_WIDTH
    # A ray in a dark spectrum is narrow, and anywhere.
    far |= far_away(centre, fwhm) & (log_fwhm < typical - _NARROWER)
    bright = intensity > _BRIGHTER * np.median(intensity)
    far |= bright & (bright.sum() <= max(1, _FEW_BRIGHT * bright.size))
    far &= far.mean() < 0.5
    deviation = _from_neighbours(log_fwhm[:, None], intensity)
    scatter = MAD_TO_SIGMA * np.median(np.abs(deviation))
    if len(fwhm) < _FEWEST_TO_COMPARE or scatter > _WELL_MEASURED:
        return far
    return far | _few(_stand_out(deviation, least=_OTHER_WIDTH).any(-1))


def far_away(centre, fwhm):
    """Find peaks that are far from the place of most others, beyond what places scatter by.

    Parameters
    ----------
    centre, fwhm : ndarray of shape (n_spectra,)
        Position and width of the peaks, eV.

    Returns
    -------
    ndarray of bool of shape (n_spectra,)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.odd_peaks import far_away
    >>> far_away(np.array([0.0, 0.1, 9.0, 0.0]), np.ones(4))
    array([False, False,  True, False])
    """
    away = np.abs(centre - np.median(centre))
    scatter = MAD_TO_SIGMA * np.median(away)
    return away > max(_FAR_AWAY * np.median(fwhm), _SIGNIFICANT * scatter)


def of_other_shape(counts, energy, parameters, noise):
    """Find peaks whose core is not of the shape that others as bright have, or that are two.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Free of pedestal and spikes.
    energy : ndarray of shape (n_energy,)
        eV.
    parameters : PeakParameters
        All usable.
    noise : NoiseModel

    Returns
    -------
    ndarray of bool of shape (n_spectra,)
    """
    if len(counts) < FEWEST_SPECTRA:
        return np.zeros(len(counts), bool)
    sums = join_blocks(
        lambda counts, centre, fwhm: _core_sums(counts, energy, centre, fwhm),
        counts,
        parameters.centre,
        parameters.fwhm,
    )
    core = np.abs(_EDGES[1:] + _EDGES[:-1]) / 2 < _CORE
    total = np.maximum(sums[:, core].sum(-1, keepdims=True), noise.unit)
    deviation = _from_neighbours(sums / total, parameters.intensity)
    step = energy[1] - energy[0]
    n_channels = (_EDGES[1] - _EDGES[0]) * parameters.fwhm[:, None] / step
    counting = np.sqrt(noise.variance(np.maximum(sums, noise.gain), n_channels)) / total
    least = np.where(_EDGES[1:] > _CORE, _OTHER_LOSSES, _OTHER_SHARE)
    odd = _stand_out(deviation, least=least, sigma=counting).any(-1)
    scale = parameters.fwhm[:, None] / step / total
    of_spectra = {"energy": energy, "parameters": parameters, "noise": noise}
    level_before = partial(_level_before, counts, **of_spectra)
    near, error = level_before(between=(2 * _BEFORE, _BEFORE))
    far, error_far = level_before(between=(np.inf, 2 * _BEFORE))
    # Only the end of the axis, rolled to its beginning, is higher there than nearer to the peak.
    levels = np.stack([near, np.maximum(far - near, 0)], -1) * scale
    errors = np.stack([error, np.hypot(error, error_far)], -1) * scale
    deviation = _from_neighbours(levels, parameters.intensity)
    odd |= _stand_out(deviation, least=_OTHER_LEVEL, sigma=errors).any(-1)
    odd &= len(counts) >= _FEWEST_TO_COMPARE
    # Each of them is one for itself: no other has that peak.
    two = are_two(counts, energy, parameters, noise)
    return _few(odd) | (two & (two.mean() < _MOST_TWO))


def _few(odd):
    """Keep what was found, one at least, unless it is so many that there is no common shape."""
    return odd if odd.sum() <= max(1, _MOST_ODD * odd.size) else np.zeros_like(odd)


def _from_neighbours(values, intensity):
    """Subtract from numbers of spectra their median over spectra of like brightness."""
    order = np.argsort(intensity, kind="stable")
    if len(values) < 2 * _COMPARED_WITH:
        return values - np.median(values, axis=0)
    typical = running_median(values[order].T, _COMPARED_WITH, mode="edge").T
    deviation = np.empty_like(values)
    deviation[order] = values[order] - typical
    return deviation


def _stand_out(deviation, least, sigma=0.0):
    """Tell which deviations are neither the scatter of all nor noise nor small."""
    spread = MAD_TO_SIGMA * np.median(np.abs(deviation), axis=0)
    scale = np.maximum(spread, sigma)
    return np.abs(deviation) > np.maximum(_SIGNIFICANT * scale, least)


def _level_before(counts, energy, parameters, noise, between):
    """Average the counts between two distances before the peak, FWHM, 0 where there are none; their noise."""
    start, stop = (parameters.centre - distance * parameters.fwhm for distance in between)
    anywhere = (energy > start.min()) & (energy < stop.max())
    energy, counts = energy[anywhere], counts[:, anywhere]
    before = (energy > start[:, None]) & (energy < stop[:, None])
    n_channels = np.maximum(before.sum(-1), 1)
    total = np.where(before, counts, 0.0).sum(-1)
    error = np.sqrt(noise.variance(np.maximum(total, noise.gain), n_channels))
    return total / n_channels, error / n_channels


def _core_sums(counts, energy, centre, fwhm):
    """Sum the counts between energies about the peaks, fractions of channels included."""
    step = energy[1] - energy[0]
    edges = centre[:, None] + _EDGES * fwhm[:, None]
    edge = np.clip((edges - energy[0]) / step + 0.5, 0, energy.size)
    first = max(int(edge.min()), 0)
    stop = min(int(np.ceil(edge.max())) + 1, energy.size)
    zero = np.zeros((len(counts), 1))
    cumulative = np.concatenate([zero, np.cumsum(counts[:, first:stop], -1)], -1)
    place = np.minimum((edge - first).astype(int), cumulative.shape[1] - 2)
    share = edge - first - place
    low = np.take_along_axis(cumulative, place, -1)
    high = np.take_along_axis(cumulative, place + 1, -1)
    return np.diff(low + share * (high - low), axis=-1)
