# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether gaps are direct or indirect, by the onsets of many spectra together.

One spectrum seldom knows the exponent of its onset; many do, if what is wrong in all of them alike is not
taken for independent. Spectra share the shape of their onset, but each has a gap of its own, drawn from
a normal distribution whose middle and width the spectra tell. Each has the noise of its counts and the error of
its own ZLP. In common they have the departures of the onset from any shape, which are the specimen's, and what is
wrong with every ZLP, as far as an ensemble may be wrong in all spectra. These common numbers are few, enter
linearly, and are fitted once to all spectra, within their errors.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.physics.onset_fit import DEPARTURE_SIZES, RELUCTANCE
from hyperspy_zlpml.physics.onset_products import (
    BETWEEN,
    DIRECT,
    INDIRECT,
    NEVER,
    SHAPES,
    OnsetProducts,
)

#: Size of one departure that may be there besides, at one place.
_SINGLE_SIZE = 1.0
#: Steps in which what is common and the distribution of gaps are fitted, and the gain of the last.
_MOST_STEPS, _SETTLED = 20, 0.2
#: ln of a likelihood over the best below which a shape adds nothing, and need not settle.
_HOPELESS = 15.0
#: Quantiles of the onsets that are tried at which the fit begins, and steps after which the best is taken.
_STARTS, _FIRST_STEPS = (0.1, 0.5, 0.9), 4
#: Largest part of what is known of a number that is lost with the gaps, in a step.
_MOST_LOST = 0.95


class Kind(NamedTuple):
    """Evidence of spectra for the kind of their gap.

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


def kind_of(log_evidence):
    """Sum the evidence of shapes up by their exponents.

    Parameters
    ----------
    log_evidence : ndarray of shape (n_shapes,)
        Logarithm of the evidence of each of :data:`~hyperspy_zlpml.physics.onset_products.SHAPES`.

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
    exponent = SHAPES.table[:, 1]
    direct, between, indirect = (
        np.logaddexp.reduce(log_evidence[exponent == one]) for one in (DIRECT, BETWEEN, INDIRECT)
    )
    return Kind(indirect - direct, between - max(direct, indirect))


def log_evidence(products, near=()):
    """Compute the logarithm of the evidence of every shape, of spectra that share it.

    Parameters
    ----------
    products : OnsetProducts
    near : sequence of ndarray of shape (n_shapes, n_common + 2)
        Numbers that fit other spectra of the same image, one for each size of departures, to begin with.

    Returns
    -------
    log_evidence : ndarray of shape (n_shapes,)
        The mean over sizes of departures, and over one departure or none besides that is as large as the
        losses. Where no shape fits, errors are larger by the square root of the reduced chi2.
    numbers : list of ndarray of shape (n_shapes, n_common + 2)
        That fit best for each size: what is common, mean and logarithm of the width of the gaps.
    """
    best = _best_of_sizes(products, near)
    temper = min(one.chi2.min() for one in best) / products.freedom.sum()
    if temper > 1:
        milder = products.over(temper)
        near = [_Likelihood.of(milder, one.precision, one.numbers) for one in best]
        best = [_settled(one, _FIRST_STEPS) for one in near]
    weights = -RELUCTANCE * np.arange(len(DEPARTURE_SIZES))
    evidence = np.array([_log_evidence(one) for one in best]) + weights[:, None]
    return np.logaddexp.reduce(evidence, axis=0), [one.numbers for one in best]


def _best_of_sizes(products, near):
    """Fit what is common and the distribution of gaps together, with departures of all sizes.

    There may be several best fits: from the smallest size upwards, from the largest downwards, and from where the best
    shape ended.
    """
    is_departure = np.arange(products.gradient.shape[-1]) < products.n_departures
    precisions = [np.where(is_departure, size**-2.0, 1.0) for size in DEPARTURE_SIZES]
    if near:
        starts = zip(precisions, near, strict=True)
        return [_settled(_Likelihood.of(products, *start)) for start in starts]
    upwards, downwards = (_chain(products, order) for order in (precisions, precisions[::-1]))
    both = zip(upwards, downwards[::-1], strict=True)
    return [_from_best_shape(_best(two)) for two in both]


def _chain(products, precisions):
    """Fit departures of one size after another: the first from several starts, others from where that before ended."""
    tried = [_Likelihood.of(products, precisions[0], numbers) for numbers in _starts(products)]
    found = [_settled(_best([_settled(one, _FIRST_STEPS) for one in tried]))]
    for precision in precisions[1:]:
        found.append(_settled(_Likelihood.of(products, precision, found[-1].numbers)))
    return found


def _from_best_shape(likelihood):
    """Begin the fits of all shapes anew where that of the best ended; the better is kept."""
    numbers = likelihood.numbers
    of_best = np.broadcast_to(numbers[likelihood.value.argmax()], numbers.shape)
    return _best([likelihood, _settled(likelihood.at(of_best))])


def _best(several):
    """Take every shape from where its likelihood is largest."""
    best, *others = several
    for one in others:
        best = one.where(one.value > best.value, best)
    return best


def _settled(likelihood, n_steps=None):
    """Climb to a largest likelihood, or for some steps."""
    for _ in range(n_steps or _MOST_STEPS):
        before, likelihood = likelihood.value, likelihood.better()
        counts = likelihood.value > likelihood.value.max() - _HOPELESS
        if (likelihood.value - before < _SETTLED)[counts].all():
            break
    return likelihood


def _log_evidence(best):
    """Integrate over what is common, about where it fits best, (n_shapes,)."""
    n_common = best.precision.size
    curvature = best.information[:, :n_common, :n_common] - np.diag(best.precision)
    gradient = _weighted_sum(best.weights, best.products.gradient)
    singles = _of_singles(gradient, curvature, best.precision, best.products.n_departures)
    return best.value - 0.5 * _log_volume(curvature, best.precision) + singles


def _times(values, numbers):
    """Multiply the last axis of every shape by its numbers, in the precision of the values."""
    flat = values.reshape(len(values), -1, values.shape[-1])
    return (flat @ numbers[..., None].astype(values.dtype)).reshape(values.shape[:-1])


def _weighted_sum(weights, values):
    """Sum over spectra and onsets, (n_shapes, ...)."""
    flat = values.reshape(len(values), weights[0].size, -1)
    found = weights.reshape(len(weights), 1, -1).astype(values.dtype) @ flat
    return found.reshape(values.shape[:1] + values.shape[3:])


def _starts(products):
    """Begin with nothing wrong in common, and gaps low, high, or anywhere; each (n_shapes, n_common + 2)."""
    n_shapes, n_common = len(products.gradient), products.gradient.shape[-1]
    tried = products.energy[products.chi2[0] < NEVER]
    width = np.log(np.clip(tried.std(), *products.widths))
    return [
        np.tile(np.concatenate([np.zeros(n_common), [mean, width]]), (n_shapes, 1))
        for mean in np.quantile(tried, _STARTS)
    ]


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
        numbers[:, -1] = np.clip(numbers[:, -1], *np.log(products.widths))
        common, width = numbers[:, :-2], np.exp(numbers[:, -1, None, None])
        slope = products.gradient - _times(products.curvature, common)
        chi2 = products.chi2 - _times(products.gradient + slope, common)
        off = (products.energy - numbers[:, -2, None, None]) / width
        log_weights = -0.5 * (chi2 + off**2) - np.log(width)
        total = np.logaddexp.reduce(log_weights, axis=-1)
        weights = np.exp(log_weights - total[..., None])
        penalty = (precision * common**2).sum(-1)
        of_gaps = np.stack([off / width, off**2 - 1], axis=-1).astype(slope.dtype)
        score = np.concatenate([slope, of_gaps], axis=-1)
        roots = np.sqrt(weights)[..., None].astype(slope.dtype)
        score *= roots
        of_spectra = (np.swapaxes(roots, 2, 3) @ score)[:, :, 0].astype(float)
        gradient = of_spectra.sum(1)
        gradient[:, :-2] -= precision * common
        flat = score.reshape(len(score), -1, score.shape[-1])
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
        new = self.at(self.numbers + fast)
        is_better = new.value >= self.value
        if is_better.all():
            return new
        other = self.at(self.numbers + safe)
        return new.where(is_better, other.where(other.value >= self.value, self))

    def at(self, numbers):
        """Compute it for other numbers."""
        return _Likelihood.of(self.products, self.precision, numbers)

    def where(self, is_mine, other):
        """Take shapes from this or from another."""
        names = ("numbers", "value", "chi2", "weights", "gradient", "information", "missing")

        def chosen(mine, others):
            """Take one's own numbers where they are better."""
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
        """Compute the log evidence for a precision of the prior."""
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
