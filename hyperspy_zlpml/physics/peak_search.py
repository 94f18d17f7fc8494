# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for peaks: where those of one window are clearest together, and how clearly each is there.

Peaks of the expected width are tried at many places, those of two neighbours together: a faint peak
beside a strong one, each a little off where it is expected, would else be looked for in the flank of
the other. Amplitudes are linear fits, so that all places cost one matrix of inner products.
"""

from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import log_ndtr, ndtri_exp

#: Places where a peak is looked for.
_N_PLACES = 17
#: How far from where it is expected a peak is looked for, in widths.
FARTHEST = {"drude": 0.5, "gaussian": 1.0, "lorentzian": 1.0}
#: Lowest place, in units of the expected energy.
_LOWEST = 0.1
#: Places between two of them at which probabilities are summed.
_FINER = 8
#: Probability within one standard deviation.
_INSIDE = 0.683
#: Cosine above which the shapes of two peaks are one.
_ALIKE = 0.9
#: Standard deviations by which a second peak must make the fit better.
_SECOND = 2.0
#: Part of the improvement by the clearest peak at which another explains the same.
_NEARLY = 0.9
#: Rounds of the search for more than two peaks.
_ROUNDS = 2
#: Smallest part of a shape that is left beside others.
_LEAST_LEFT = 1e-12
#: Powers of the energy by which a tail without a peak may fall.
_FALLS = (0.0, 8.0)
#: Lowest energy of a tail, in units of that of the peak.
_LEAST_OF_TAIL = 0.1


class Search(NamedTuple):
    """Clearest places of peaks; all of shape (n, n_peaks).

    Attributes
    ----------
    position : ndarray
        eV; where it is expected for a peak that adds nothing.
    amplitude, sigma : ndarray
        Of the peak beside the others, and its standard deviation.
    significance : ndarray
        Standard deviations by which something is there, with the choice among all places allowed for.
    widening : ndarray
        Factor by which other places that are about as likely widen the error of the position.
    """

    position: np.ndarray
    amplitude: np.ndarray
    sigma: np.ndarray
    significance: np.ndarray
    widening: np.ndarray


def places_of(peak):
    """List the energies at which a peak is looked for.

    Parameters
    ----------
    peak : Plasmon or Exciton
        Energies in eV.

    Returns
    -------
    ndarray of shape (n_places,)

    Examples
    --------
    >>> from hyperspy_zlpml.physics.peak_search import places_of
    >>> from hyperspy_zlpml.physics.peak_shapes import Exciton
    >>> places_of(Exciton(energy=2.0, width=0.2))[[0, 8, 16]]
    array([1.8, 2. , 2.2])
    """
    reach = FARTHEST[peak.shape] * peak.width
    low = max(peak.energy - reach, _LOWEST * peak.energy)
    return np.linspace(low, peak.energy + reach, _N_PLACES)


def search(model, window, places=None):
    """Look for the peaks of a window at several places, neighbours together.

    The amplitude at each place is a linear fit beside the background; plasmons, which have no
    background, beside a smooth tail that falls as a power law. Peaks keep their order, and a second
    one is there only if it makes the fit better by more than 2 standard deviations: one feature that
    either might be is the one that is expected nearer. The significance of the clearer one is that of
    its amplitude, ``z``; that of the other has ``z^2`` by which the fit of both is better than that of
    the best one. Both are held against what noise makes somewhere in the range,
    ``P = Phi(-z) + N exp(-z^2 / 2)``, with ``2 pi N`` the length of the path that the normalised shape
    describes (Davies, Biometrika 74, 33 (1987)).

    Parameters
    ----------
    model : Model
    window : Window
    places : sequence of ndarray of shape (n_places,), optional
        eV from the zero-loss peak, of each peak; default :func:`places_of`.

    Returns
    -------
    Search
    """
    places = [places_of(peak) for peak in model.peaks] if places is None else places
    numbers = sorted(range(len(places)), key=lambda k: model.peaks[k].energy)
    pairs = list(zip(numbers, numbers[1:], strict=False)) or [(0,)]
    position = np.tile([peak.energy for peak in model.peaks], (len(window.energy), 1)).astype(float)
    found = [None] * len(places)
    for pair in pairs * (_ROUNDS if len(pairs) > 1 else 1):
        for k, one in zip(
            pair, _search(model, window, pair, places=places, position=position), strict=True
        ):
            found[k], position[:, k] = one, one.position
    return Search(*(np.stack(one, -1) for one in zip(*found, strict=True)))


def _search(model, window, some, places, position):
    """Look for one peak, or two, with the others where they are held; a Search of each."""
    held = [
        model.peak(k, window, position[:, k], np.full(len(position), peak.width))[:, 0]
        for k, peak in enumerate(model.peaks)
        if k not in some
    ]
    free = np.concatenate([_beneath(model, window), *(one[:, None] for one in held)], 1)
    products = _Products.of(model, window.beside(free), some, places)
    chosen = _choose(products, n_free=window.n_used - free.shape[1] - len(some))
    return [_told(products, chosen, k) for k in range(len(some))]


class _Chosen(NamedTuple):
    """Places of one peak or two.

    Attributes
    ----------
    place : ndarray of int of shape (n, n_some)
    is_there : ndarray of bool of shape (n, n_some)
        False for a peak that adds nothing.
    z : ndarray of shape (n, n_some)
        Standard deviations, without the choice among places.
    both : ndarray of shape (n, n_places, n_places) or None
        Improvement of chi2 by two.
    chi2 : ndarray of shape (n,)
        Reduced, no less than 1, by which errors and improvements are scaled.
    """

    place: np.ndarray
    is_there: np.ndarray
    z: np.ndarray
    both: np.ndarray | None
    chi2: np.ndarray


def _choose(products, n_free):
    """Choose the places of one peak or two."""
    alone = products.alone
    row, n_places = np.arange(len(alone)), alone.shape[-1]
    stronger = _nearer(products)
    each = alone.max(-1)
    most, both, gain = each.max(-1), None, np.zeros(len(alone))
    places = np.full(each.shape, n_places // 2)
    places[row, stronger] = alone[row, stronger].argmax(-1)
    if len(products.places) == 2:
        both = products.both
        gain = np.maximum(both.max((1, 2)) - most, 0.0)
    chi2 = np.maximum((products.square - most - gain) / np.maximum(n_free, 1), 1.0)
    is_two = gain > _SECOND**2 * chi2
    if is_two.any():
        pairs = np.stack(np.divmod(both.reshape(len(alone), -1).argmax(-1), n_places), -1)
        places = np.where(is_two[:, None], pairs, places)
        scores = np.take_along_axis(products.score, places[..., None], -1)[..., 0]
        stronger = np.where(is_two, scores.argmax(-1), stronger)
    is_stronger = np.arange(len(products.places)) == stronger[:, None]
    beside = np.where(is_two[:, None], (most + gain)[:, None] - each[:, ::-1], gain[:, None])
    own = np.where(is_stronger, alone[row, stronger, places[row, stronger]][:, None], 0.0)
    z = np.sqrt(np.maximum(beside, own) / chi2[:, None])
    is_there = (is_stronger | is_two[:, None]) & (z > 0)
    return _Chosen(places, is_there, z=z, both=both, chi2=chi2)


def _nearer(products):
    """Choose the peak that is clearest alone; of those nearly as clear the one expected nearest."""
    alone = products.alone
    each, best = alone.max(-1), alone.argmax(-1)
    places, expected = np.array(products.places), np.array(products.expected)
    off = np.abs(places - expected[:, None])
    off = np.take_along_axis(off / off.max(-1, keepdims=True), best.T, -1).T
    return np.where(each >= _NEARLY * each.max(-1, keepdims=True), off, np.inf).argmin(-1)


def _told(products, chosen, k):
    """Tell place, amplitude, significance and doubt of one of the peaks."""
    row, at, is_there = np.arange(len(chosen.z)), chosen.place[:, k], chosen.is_there[:, k]
    profile = products.alone[:, k]
    score = products.score[row, k, at]
    if chosen.both is not None:
        is_two = chosen.is_there.all(-1)
        profile = np.where(is_two[:, None], chosen.both.max(2 - k), profile)
        cosine = products.gram[row, k, at, 1 - k, chosen.place[:, 1 - k]]
        other = products.score[row, 1 - k, chosen.place[:, 1 - k]]
        beside = (score - cosine * other) / np.maximum(1 - cosine**2, _LEAST_LEFT)
        score = np.where(is_two, beside, score)
    next_to = np.einsum("nii->ni", products.gram[:, k, 1:, k, :-1])
    path = np.sqrt(np.maximum(2 - 2 * next_to, 0.0)).sum(-1)
    norm = products.norm[row, k, at]
    return Search(
        position=np.where(is_there, products.places[k][at], products.expected[k]),
        amplitude=np.where(is_there, score / norm, 0.0),
        sigma=np.sqrt(chosen.chi2) / norm,
        significance=_of_best(chosen.z[:, k], path / (2 * np.pi)),
        widening=_widening(products.places[k], profile / chosen.chi2[:, None]),
    )


class _Products(NamedTuple):
    """Normalised shapes of one peak or two at all places, with each other and with the data.

    Attributes
    ----------
    places : list of ndarray of shape (n_places,)
    expected : list of float
    gram : ndarray of shape (n, n_some, n_places, n_some, n_places)
    score, norm : ndarray of shape (n, n_some, n_places)
        Best amplitude in units of its error, and the inverse of this.
    square : ndarray of shape (n,)
        Of the whitened data.
    """

    places: list
    expected: list
    gram: np.ndarray
    score: np.ndarray
    norm: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, model, window, some, places):
        """Compute them for all spectra of a window."""
        shapes = np.concatenate([_shapes(model, k, window, places[k]) for k in some], 1)
        rows = window.whiten(np.concatenate([window.values[:, None], shapes], 1))
        data, shapes = rows[:, 0], rows[:, 1:]
        norm = np.sqrt((shapes**2).sum(-1))
        with np.errstate(divide="ignore", invalid="ignore"):
            unit = np.nan_to_num(shapes / norm[..., None])
        shape = len(some), places[0].size
        return cls(
            places=[places[k] for k in some],
            expected=[model.peaks[k].energy for k in some],
            gram=(unit @ unit.swapaxes(-1, -2)).reshape((-1, *shape, *shape)),
            score=(unit @ data[..., None]).reshape(-1, *shape),
            norm=norm.reshape(-1, *shape),
            square=(data**2).sum(-1),
        )

    @property
    def alone(self):
        """chi2 by which one peak at all places is better than none, (n, n_some, n_places)."""
        return np.maximum(self.score, 0.0) ** 2

    @property
    def both(self):
        """chi2 by which two peaks at all places are better than none, (n, n_places, n_places)."""
        first, second = self.score[:, 0, :, None], self.score[:, 1, None, :]
        cosine = self.gram[:, 0, :, 1]
        is_two = (self.places[0][:, None] < self.places[1]) & (cosine < _ALIKE)
        rest = np.where(is_two, 1 - cosine**2, 1.0)
        both = (first**2 + second**2 - 2 * cosine * first * second) / rest
        is_two = is_two & (first > cosine * second) & (second > cosine * first)
        alone = self.alone
        return np.where(is_two, both, np.maximum(alone[:, 0, :, None], alone[:, 1, None, :]))


def _widening(places, improvement):
    """Compute by what factor other places that are about as likely widen the error of the best one."""
    fine = np.linspace(places[0], places[-1], (places.size - 1) * _FINER + 1)
    curve = CubicSpline(places, improvement, axis=-1)(fine)
    best = curve.argmax(-1)[:, None]
    weight = np.exp(0.5 * (curve - curve.max(-1, keepdims=True)))
    return _half_width(weight, best) / _half_width(weight * _is_around(curve, best), best)


def _is_around(curve, best):
    """Tell where a curve only falls from its maximum."""
    index = np.arange(curve.shape[-1])
    after = np.minimum.accumulate(np.where(index >= best, curve, np.inf), -1)
    before = np.minimum.accumulate(np.where(index <= best, curve, np.inf)[:, ::-1], -1)[:, ::-1]
    return curve <= np.where(index >= best, after, before)


def _half_width(weight, best):
    """Find how far from the best place 68 % of the probability lie, in places."""
    size = weight.shape[-1]
    total = np.concatenate([np.zeros((len(weight), 1)), weight.cumsum(-1)], -1)
    reach = np.arange(size)
    ends = np.minimum(best + reach + 1, size), np.maximum(best - reach, 0)
    high, low = (np.take_along_axis(total, end, -1) for end in ends)
    inside = (high - low) / total[:, -1:]
    last = np.argmax(inside >= _INSIDE, -1)[:, None]
    there = np.take_along_axis(inside, last, -1)
    before = np.where(last > 0, np.take_along_axis(inside, np.maximum(last - 1, 0), -1), 0.0)
    return (last + (_INSIDE - before) / (there - before))[:, 0]


def _shapes(model, k, window, places):
    """Shapes of a peak of the expected width at several places, (n, n_places, n_bins)."""
    position = np.tile(places, (len(window.energy), 1))
    width = np.full(position.shape, model.peaks[k].width)
    return model.peak(k, window, position, width)[:, :, 0]


def _beneath(model, window):
    """Shapes of what lies below peaks: the background, or a tail that falls where there is none."""
    if model.order >= 0:
        return model.background(window)
    energy = np.maximum(window.energy / model.peaks[0].energy, _LEAST_OF_TAIL)
    tail = energy ** -_fall(window, energy)[:, None]
    # The power is known about: what another one makes of the tail is the second shape.
    return np.stack([tail, tail * np.log(energy)], 1)


def _fall(window, energy):
    """Power by which losses fall over the window, from its outer thirds."""
    along, used = window.along(), window.weight > 0
    thirds = [used & (along < -1 / 3), used & (along > 1 / 3)]
    (e_low, low), (e_high, high) = (
        [np.where(part, one, 0.0).sum(-1) / np.maximum(part.sum(-1), 1) for one in both]
        for part, both in ((part, (energy, window.values)) for part in thirds)
    )
    known = (low > 0) & (high > 0) & (e_high > e_low)
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = np.log(low / high) / np.log(e_high / e_low)
    return np.clip(np.where(known, fall, 0.0), *_FALLS)


def _of_best(z, n_crossings):
    """Significance of the largest of scores along a path, in standard deviations of one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_many = np.log(n_crossings) - 0.5 * np.maximum(z, 0) ** 2
        log_p = np.logaddexp(log_ndtr(-z), log_many)
        return -ndtri_exp(np.minimum(log_p, -1e-3))
