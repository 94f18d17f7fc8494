# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether gaps are direct or indirect, by the onsets of many spectra together.

One spectrum seldom knows the exponent of its onset; many do, if what is wrong in all of them alike is not
taken for independent. Spectra share the shape of their onset, but each has a gap of its own, drawn from
a normal distribution whose middle and width the spectra tell. Each has the noise of its counts and the error of its
own ZLP. In common they have the departures of the onset from any shape, which are the specimen's, and what is
wrong with every ZLP, as far as an ensemble may be wrong in all spectra. These common numbers are few, enter
linearly, and are fitted once to all spectra, within their errors.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from hyperspy_zlpml.physics.bins import binned
from hyperspy_zlpml.physics.onset import GROWTHS, Shapes, onset_grid, templates
from hyperspy_zlpml.physics.onset_fit import bumps, relevant
from hyperspy_zlpml.physics.scattered_down import scattered_down

#: Exponents of direct and of indirect transitions, and one between that is neither.
DIRECT, BETWEEN, INDIRECT = 0.5, 1.0, 1.5
#: Shapes that are held against each other.
SHAPES = Shapes((DIRECT, BETWEEN, INDIRECT), growths=GROWTHS[:2])
#: Distance of onsets, FWHM.
_FINENESS = 0.125
#: Most onsets of one spectrum, about.
_MOST_ONSETS = 24
#: Departures from a shape in the length of the shortest window, and in all.
_PER_SHORTEST, _MOST_DEPARTURES = 3.0, 8
#: Relative sizes of departures of which one is that of the specimen.
_SIZES = (0.1, 0.2, 0.4, 0.8)
#: Logarithm of the weight of each size over that of the next.
_RELUCTANCE = 1.0
#: Size of one departure that may be there besides, at one place.
_SINGLE_SIZE = 1.0
#: Ways in which the ZLPs of all spectra may be wrong that are fitted, the clearest of many.
_MOST_COMMON = 4
#: Steps in which what is common and the distribution of gaps are fitted, and the gain of the last.
_MOST_STEPS, _SETTLED = 20, 0.05
#: Largest part of what is known of a number that is lost with the gaps, in a step.
_MOST_LOST = 0.95
#: Chi2 of an onset that is not tried.
_NEVER = 1e30


class Kind(NamedTuple):
    """What spectra say of the kind of their gap.

    Attributes
    ----------
    ln_indirect : float
        Logarithm of the evidence for b = 1.5 over that for b = 0.5.
    ln_between : float
        Logarithm of the evidence for b = 1 over that for the better of both: an onset that has neither
        exponent is nearer to one of them, and ``ln_indirect`` prefers it as clearly as if it were true.
    """

    ln_indirect: float = np.nan
    ln_between: float = np.nan


def kind_of(log_evidence, shapes=SHAPES):
    """Sum the evidence of shapes up by their exponents.

    Parameters
    ----------
    log_evidence : ndarray of shape (n_shapes,)
        Logarithm of the evidence of each.
    shapes : Shapes
        Of exponents 0.5, 1 and 1.5.

    Returns
    -------
    Kind

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.gap_kind import SHAPES, kind_of
    >>> evidence = np.where(SHAPES.table[:, 1] == 1.5, 3.0, 0.0)
    >>> kind = kind_of(evidence)
    >>> round(float(kind.ln_indirect), 6), round(float(kind.ln_between), 6)
    (3.0, -3.0)
    """
    exponent = shapes.table[:, 1]
    direct, between, indirect = (
        np.logaddexp.reduce(log_evidence[exponent == one]) for one in (DIRECT, BETWEEN, INDIRECT)
    )
    return Kind(indirect - direct, between - max(direct, indirect))


class Places(NamedTuple):
    """Where the onset of a spectrum is looked for, each of shape (n_spectra,), eV from the peak.

    Attributes
    ----------
    first, last : ndarray
        Energies between which it is fitted.
    low, high : ndarray
        Lowest and highest onset.
    """

    first: np.ndarray
    last: np.ndarray
    low: np.ndarray
    high: np.ndarray


#: Fields of products whose first axis runs over shapes.
_OF_SHAPES = ("chi2", "gradient", "curvature")


@dataclass(frozen=True)
class OnsetProducts:
    """What every spectrum says of every shape and onset, whatever is wrong in all of them alike.

    chi2 is ``chi2 - 2 gradient . x + x . curvature . x`` where the common numbers are x: relative departures from
    the shape, then errors of the ZLP in standard deviations.

    Attributes
    ----------
    energy : ndarray of shape (n_spectra, n_onsets)
        Onsets, eV from the peak.
    chi2 : ndarray of shape (n_shapes, n_spectra, n_onsets)
        Where nothing is wrong in common; height and own error of the ZLP as fits best.
    gradient : ndarray of shape (n_shapes, n_spectra, n_onsets, n_common)
    curvature : ndarray of shape (n_shapes, n_spectra, n_onsets, n_common, n_common)
    freedom : ndarray of shape (n_spectra,)
        Degrees of freedom: bins without height and onset.
    n_departures : int
        Common numbers that are departures.
    """

    energy: np.ndarray
    chi2: np.ndarray
    gradient: np.ndarray
    curvature: np.ndarray
    freedom: np.ndarray
    n_departures: int

    @property
    def least(self):
        """Least width of the distribution of gaps: the distance of onsets, eV."""
        return np.median(self.energy[:, 1] - self.energy[:, 0])

    def select(self, index):
        """Take some spectra.

        Parameters
        ----------
        index : any index of NumPy

        Returns
        -------
        OnsetProducts
        """
        of_shapes = {name: getattr(self, name)[:, index] for name in _OF_SHAPES}
        return replace(self, energy=self.energy[index], freedom=self.freedom[index], **of_shapes)

    def over(self, factor):
        """Divide all chi2 by a factor.

        Parameters
        ----------
        factor : float

        Returns
        -------
        OnsetProducts
        """
        return replace(self, **{name: getattr(self, name) / factor for name in _OF_SHAPES})


def onset_products(losses, common, places, shortest):
    """Collect what spectra say of the shapes of their onsets.

    Parameters
    ----------
    losses : Losses
    common : ndarray of shape (n_spectra, n_common, n_energy)
        Ways in which the ZLPs of all spectra may be wrong alike, each of the same meaning in all of them, counts.
    places : Places
    shortest : float
        Length of the shortest window above an onset, eV: departures of a third of it are told apart.

    Returns
    -------
    OnsetProducts
    """
    spectra = [_spectrum_of(losses, row, common[row], places) for row in range(len(common))]
    clearest = _clearest([one.common for one in spectra])
    above = max(float((places.last - places.low).max()), shortest)
    distance = max(shortest / _PER_SHORTEST, above / (_MOST_DEPARTURES - 1))
    found = [_products_of(one, clearest, distance, above) for one in spectra]
    n_onsets = max(len(one.energy) for one in found)
    energy, *of_shapes = zip(*(_padded(one, n_onsets) for one in found), strict=True)
    chi2, gradient, curvature = (np.ascontiguousarray(np.moveaxis(one, 2, 0)) for one in of_shapes)
    return OnsetProducts(
        energy=np.array(energy),
        chi2=chi2,
        gradient=gradient,
        curvature=curvature,
        freedom=np.array([max(one.data.size - 2, 1) for one in spectra]),
        n_departures=gradient.shape[-1] - len(clearest) - 1,
    )


class _Spectrum(NamedTuple):
    """One spectrum in units of its noise: data, own and common errors, templates, onsets."""

    data: np.ndarray
    own: np.ndarray
    common: np.ndarray
    tail: np.ndarray
    model: np.ndarray
    energy: np.ndarray
    onset: np.ndarray


def _spectrum_of(losses, row, common, places):
    """Put a spectrum into bins, and compute its templates."""
    first, last, low, high = (float(one[row]) for one in places)
    every = binned(losses, row, first)
    with_common = replace(losses.select([row]), directions=common[None])
    bins = every.between(-np.inf, last)
    end = bins.energy[-1] + 0.5 * bins.step * bins.n_channels
    response = losses.response[row]
    brought, tail = scattered_down(bins, every.between(end, np.inf), response)
    fineness = max(_FINENESS * losses.fwhm[row], (high - low) / _MOST_ONSETS)
    if fineness > bins.step:
        fineness = bins.step * np.ceil(fineness / bins.step)
    grid = onset_grid(bins, low, high, fineness)
    found = templates(bins, grid, SHAPES, response, end=end)
    model = found.level + found.growth[:, None, :, None] * found.rising
    noise = np.sqrt(bins.variance)
    return _Spectrum(
        data=(bins.signal - brought) / noise,
        own=relevant(bins.directions / noise),
        common=binned(with_common, 0, first).between(-np.inf, last).directions / noise,
        tail=tail / noise,
        model=np.moveaxis(model.reshape(SHAPES.size, -1, noise.size), 1, 0) / noise,
        energy=bins.energy,
        onset=grid.energy,
    )


def _clearest(common):
    """Find the combinations of common errors that change spectra most, (n_kept, n_common)."""
    total = sum(one @ one.T for one in common)
    values, vectors = np.linalg.eigh(total)
    return vectors[:, values > 0].T[::-1][:_MOST_COMMON]


class _Products(NamedTuple):
    """What one spectrum says, onsets first; see :class:`OnsetProducts`."""

    energy: np.ndarray
    chi2: np.ndarray
    gradient: np.ndarray
    curvature: np.ndarray


def _products_of(spectrum, clearest, distance, above):
    """Compute products of one spectrum with the inverse of its own covariance."""
    data, model = spectrum.data, spectrum.model
    root = np.linalg.cholesky(np.eye(len(spectrum.own)) + spectrum.own @ spectrum.own.T)
    own = solve_triangular(root, spectrum.own, lower=True)
    weighted = data - (own @ data) @ own
    along = model @ own.T
    size = (model**2).sum(-1) - (along**2).sum(-1)
    overlap = model @ weighted
    height = np.clip(overlap, 0, None) / np.maximum(size, np.finfo(float).tiny)
    common = np.concatenate([spectrum.tail[None], clearest @ spectrum.common])
    errors = _Errors(own, common, _bumps(spectrum, distance, above))
    gradient, curvature, on_model = errors.products(model, height, weighted)
    # The height of the onset is as it fits best.
    on_model = on_model * (height > 0)[..., None]
    relative = on_model / np.maximum(size, np.finfo(float).tiny)[..., None]
    gradient = gradient - relative * overlap[..., None]
    curvature = curvature - relative[..., None] * on_model[..., None, :]
    chi2 = data @ weighted - height * overlap
    return _Products(spectrum.onset, chi2, gradient, curvature)


def _bumps(spectrum, distance, above):
    """Compute departures from a shape, relative to it, (n_onsets, n_departures, n_bins)."""
    places = distance * np.arange(int(np.ceil(above / distance)) + 1)
    off = spectrum.energy - spectrum.onset[:, None, None] - places[:, None]
    return bumps(off, distance)


class _Errors(NamedTuple):
    """Own errors (factorised), common ones, and departures of a spectrum, in units of its noise."""

    own: np.ndarray
    common: np.ndarray
    bumps: np.ndarray

    def products(self, model, height, weighted):
        """Compute products of departures and common errors with data, each other and the model."""
        scaled = height[..., None] * model
        own_bumps = self._times(self.own)
        beside = _dots(scaled, own_bumps)  # (o, h, k, q)
        weighted_common = self.common - (self.common @ self.own.T) @ self.own
        with_bumps = _dots(scaled**2, self._times_bumps()) - beside @ np.swapaxes(beside, -1, -2)
        with_common = _dots(scaled, self._times(weighted_common))
        on_common = np.broadcast_to(
            self.common @ weighted_common.T, height.shape + 2 * (len(self.common),)
        )
        upper = np.concatenate([with_bumps, with_common], axis=-1)
        lower = np.concatenate([np.swapaxes(with_common, -1, -2), on_common], axis=-1)
        bumps_model = _dots(scaled * model, self.bumps[:, :, None])[..., 0]
        bumps_model -= (beside @ (model @ self.own.T)[..., None])[..., 0]
        bumps_data = _dots(scaled, self._times(weighted[None]))[..., 0]
        common_data = np.broadcast_to(self.common @ weighted, height.shape + (len(self.common),))
        return (
            np.concatenate([bumps_data, common_data], axis=-1),
            np.concatenate([upper, lower], axis=-2),
            np.concatenate([bumps_model, model @ weighted_common.T], axis=-1),
        )

    def _times(self, rows):
        """Multiply departures by rows, (n_onsets, n_departures, n_rows, n_bins)."""
        return self.bumps[:, :, None] * rows

    def _times_bumps(self):
        return self.bumps[:, :, None] * self.bumps[:, None]


def _dots(values, others):
    """Sum products over bins, (n_onsets, n_shapes, ...)."""
    flat = others.reshape(len(others), -1, others.shape[-1])
    found = values @ np.swapaxes(flat, 1, 2)
    return found.reshape(found.shape[:2] + others.shape[1:-1])


def _padded(products, n_onsets):
    """Complete one spectrum to a number of onsets by some that are never chosen."""
    missing = n_onsets - len(products.energy)
    fill = _Products(products.energy[-1], _NEVER, 0.0, 0.0)

    def complete(values, fill):
        width = [(0, missing)] + [(0, 0)] * (values.ndim - 1)
        return np.pad(values, width, constant_values=fill)

    return _Products(*(complete(*one) for one in zip(products, fill, strict=True)))


def log_evidence(products):
    """Compute the logarithm of the evidence of every shape, of spectra that share it.

    Parameters
    ----------
    products : OnsetProducts

    Returns
    -------
    ndarray of shape (n_shapes,)
        The mean over sizes of departures, and over one departure or none besides that is as large as the
        losses. Where no shape fits, errors are larger by the square root of the reduced chi2.
    """
    found, numbers = _of_sizes(products, _start(products))
    temper = min(one.chi2.min() for one in found) / products.freedom.sum()
    if temper > 1:
        found, _ = _of_sizes(products.over(temper), numbers)
    weights = -_RELUCTANCE * np.arange(len(_SIZES))
    evidence = np.array([one.log_evidence for one in found]) + weights[:, None]
    return np.logaddexp.reduce(evidence, axis=0)


def _of_sizes(products, numbers):
    """Fit with departures of all sizes, the largest first: where much is allowed there is one best fit."""
    found = []
    for size in reversed(_SIZES):
        numbers, one = _of_size(products, size, numbers)
        found.insert(0, one)
    return found, numbers


class _OfSize(NamedTuple):
    """Logarithm of the evidence, and the least chi2, of every shape with departures of one size."""

    log_evidence: np.ndarray
    chi2: np.ndarray


def _of_size(products, size, numbers):
    """Fit what is common and the distribution of the gaps together, departures being of one size."""
    n_common = products.gradient.shape[-1]
    is_departure = np.arange(n_common) < products.n_departures
    precision = np.where(is_departure, size**-2.0, 1.0)
    best = _Likelihood.of(products, precision, numbers)
    for _ in range(_MOST_STEPS):
        before, best = best, best.better()
        if (best.value - before.value < _SETTLED).all():
            break
    curvature = best.information[:, :n_common, :n_common] - np.diag(precision)
    gradient = _weighted_sum(best.weights, products.gradient)
    evidence = best.value - 0.5 * _log_volume(curvature, precision)
    evidence = evidence + _of_singles(gradient, curvature, precision, products.n_departures)
    return best.numbers, _OfSize(evidence, best.chi2)


def _weighted_sum(weights, values):
    """Sum over spectra and onsets, (n_shapes, ...)."""
    flat = values.reshape(len(values), weights[0].size, -1)
    found = weights.reshape(len(weights), 1, -1) @ flat
    return found.reshape(values.shape[:1] + values.shape[3:])


def _start(products):
    """Begin with nothing wrong in common, and gaps anywhere, (n_shapes, n_common + 2)."""
    n_shapes, n_common = len(products.gradient), products.gradient.shape[-1]
    tried = products.energy[products.chi2[0] < _NEVER]
    gaps = [tried.mean(), np.log(max(tried.std(), products.least))]
    return np.tile(np.concatenate([np.zeros(n_common), gaps]), (n_shapes, 1))


@dataclass(frozen=True)
class _Likelihood:
    """Likelihood of all spectra, gaps summed over, and its derivatives; the first axis runs over shapes.

    ``numbers`` are those that are common, and mean and logarithm of the width of the distribution of gaps.
    ``information`` is the curvature if every gap were known as it is weighed, ``missing`` what of it is lost
    because it is not.
    """

    products: OnsetProducts
    precision: np.ndarray
    numbers: np.ndarray
    value: np.ndarray
    chi2: np.ndarray
    weights: np.ndarray
    gradient: np.ndarray
    information: np.ndarray
    missing: np.ndarray

    @classmethod
    def of(cls, products, precision, numbers):
        """Compute it for some numbers."""
        numbers = numbers.copy()
        numbers[:, -1] = np.maximum(numbers[:, -1], np.log(products.least))
        common, width = numbers[:, None, None, :-2], np.exp(numbers[:, -1, None, None])
        slope = products.gradient - (products.curvature @ common[..., None])[..., 0]
        chi2 = products.chi2 - ((products.gradient + slope) * common).sum(-1)
        off = (products.energy - numbers[:, -2, None, None]) / width
        log_weights = -0.5 * (chi2 + off**2) - np.log(width)
        total = np.logaddexp.reduce(log_weights, axis=-1)
        weights = np.exp(log_weights - total[..., None])
        penalty = (precision * numbers[:, :-2] ** 2).sum(-1)
        of_gaps = np.stack([off / width, off**2 - 1], axis=-1)
        score = np.concatenate([slope, of_gaps], axis=-1)
        of_spectra = (weights[..., None] * score).sum(2)
        gradient = of_spectra.sum(1)
        gradient[:, :-2] -= precision * numbers[:, :-2]
        flat = (np.sqrt(weights)[..., None] * score).reshape(len(score), -1, score.shape[-1])
        return cls(
            products=products,
            precision=precision,
            numbers=numbers,
            value=total.sum(-1) - 0.5 * penalty,
            chi2=(weights * np.where(weights > 0, chi2, 0.0)).sum((1, 2)) + penalty,
            weights=weights,
            gradient=gradient,
            information=_information(products, precision, weights, width[:, 0, 0]),
            missing=_squared(flat) - _squared(of_spectra),
        )

    def steps(self):
        """Propose numbers: by the curvature as it is, within bounds; and as if gaps were known, which never fails."""
        root = np.linalg.cholesky(self.information)
        inverse = np.linalg.inv(root)
        lost, turns = np.linalg.eigh(inverse @ self.missing @ np.swapaxes(inverse, 1, 2))
        along = (np.swapaxes(turns, 1, 2) @ inverse @ self.gradient[..., None])[..., 0]
        found = []
        for most in (_MOST_LOST, 0.0):
            step = along / (1 - np.clip(lost, 0, most))
            found.append((np.swapaxes(inverse, 1, 2) @ turns @ step[..., None])[..., 0])
        return found

    def better(self):
        """Take the first step that is one uphill, for every shape."""
        fast, safe = self.steps()
        new = self._at(self.numbers + fast)
        is_better = new.value >= self.value
        if is_better.all():
            return new
        other = self._at(self.numbers + safe)
        return new.where(is_better, other.where(other.value >= self.value, self))

    def _at(self, numbers):
        return _Likelihood.of(self.products, self.precision, numbers)

    def where(self, is_mine, other):
        """Take shapes from this or from another."""
        names = ("numbers", "value", "chi2", "weights", "gradient", "information", "missing")

        def chosen(mine, others):
            return np.where(is_mine.reshape((-1,) + (1,) * (mine.ndim - 1)), mine, others)

        return replace(
            self, **{name: chosen(getattr(self, name), getattr(other, name)) for name in names}
        )


def _squared(rows):
    """Sum the products of rows with themselves, (n_shapes, n, n)."""
    return np.swapaxes(rows, 1, 2) @ rows


def _information(products, precision, weights, width):
    """Compute the curvature if every gap were known as it is weighed."""
    n_common = precision.size
    found = np.zeros((width.size,) + 2 * (n_common + 2,))
    found[:, :n_common, :n_common] = _weighted_sum(weights, products.curvature)
    found[:, :n_common, :n_common] += np.diag(precision)
    n_spectra = weights.shape[1]
    found[:, -2, -2], found[:, -1, -1] = n_spectra / width**2, 2 * n_spectra
    return found


def _log_volume(curvature, precision):
    """Compute the logarithm of how much more is known of common numbers than before, squared."""
    root = 1 / np.sqrt(precision)
    return np.linalg.slogdet(np.eye(root.size) + root[:, None] * curvature * root)[1]


def _of_singles(gradient, curvature, precision, n_departures):
    """Compute what is gained where one departure may be large, as likely as none."""

    def evidence(precision):
        best = np.linalg.solve(curvature + np.diag(precision), gradient[..., None])[..., 0]
        return 0.5 * (gradient * best).sum(-1) - 0.5 * _log_volume(curvature, precision)

    gains = []
    for place in range(1, n_departures):
        larger = precision.copy()
        larger[place] = 1 / (1 / precision[place] + _SINGLE_SIZE**2)
        gains.append(evidence(larger) - evidence(precision))
    if not gains:
        return 0.0
    return np.logaddexp(0.0, np.logaddexp.reduce(gains, axis=0) - np.log(len(gains))) - np.log(2)
