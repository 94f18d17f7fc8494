# SPDX-License-Identifier: GPL-3.0-or-later
"""Pooling of spectra: means of neighbours, or of clusters, with the errors that they share.

Counting noise averages out in a mean; the error of the zero-loss peak does not, as far as neighbours
share it: the model of all of them comes from the same ensemble. Spectra are aligned on their peaks by
whole channels, which leaves the noise of the channels independent. Their directions are turned so
that they agree as well as they can, mode by mode, and are averaged with their signs: an error of the
ZLP that all spectra have in common keeps its size.
"""

from dataclasses import dataclass, replace

import numpy as np

from hyperspy_zlpml.physics.losses import Losses, runs_of

#: Fields of Losses with one number for each channel.
_SPECTRA = ("counts", "zlp", "variance", "spilled", "directions")
#: Pooled spectra that a function is given at once.
_AT_ONCE = 64


def cropped(losses, low, high):
    """Take a part of spectra, aligned on their peaks by whole channels.

    Parameters
    ----------
    losses : Losses
    low, high : float
        Energies from the peak, eV.

    Returns
    -------
    Losses
        On one axis of energies from the peak, of which ``centre`` is the rest of less than half a
        channel; NaN where an axis does not reach.

    Examples
    --------
    >>> import numpy as np
    >>> from dataclasses import replace
    >>> from hyperspy_zlpml.physics.losses import Losses
    >>> from hyperspy_zlpml.physics.pooling import cropped
    >>> one = np.arange(10.0)[None]
    >>> zero = np.zeros(1)
    >>> losses = Losses(
    ...     energy=np.arange(10.0), distance=zero, counts=one, zlp=one, variance=one, spilled=one,
    ...     directions=one[None], centre=zero + 2.25, fwhm=zero, gain_limit=zero, loss_limit=zero,
    ...     is_vacuum=zero > 0, response=one,
    ... )
    >>> found = cropped(losses, 1.0, 4.0)
    >>> found.energy, found.counts, found.centre
    (array([1., 2., 3., 4.]), array([[3., 4., 5., 6.]]), array([0.25]))
    """
    step = losses.step
    first, last = round(low / step), round(high / step)
    channels = np.arange(first, last + 1)
    peak = (losses.centre - losses.energy[0]) / step
    nearest = np.round(peak)
    begin = nearest.astype(int) + first
    places = begin[:, None] + np.arange(channels.size)
    inside = (places >= 0) & (places < losses.energy.size)

    def taken(values):
        found = runs_of(values, begin, channels.size)
        return np.where(inside if values.ndim == 2 else inside[:, None], found, np.nan)

    spectra = {name: taken(getattr(losses, name)) for name in _SPECTRA}
    return replace(losses, energy=step * channels, centre=step * (peak - nearest), **spectra)


@dataclass(frozen=True)
class Packing:
    """Layout of losses as rows of numbers, to be carried over an image.

    Attributes
    ----------
    energy, distance : ndarray
        Axes, see :class:`.Losses`.
    n_directions : int

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.pooling import Packing
    >>> Packing(energy=np.arange(100.0), distance=np.arange(21.0), n_directions=3).width
    726
    """

    energy: np.ndarray
    distance: np.ndarray
    n_directions: int

    @classmethod
    def of(cls, losses):
        """Lay out rows for losses like these.

        Parameters
        ----------
        losses : Losses

        Returns
        -------
        Packing
        """
        return cls(losses.energy, losses.distance, losses.n_directions)

    @property
    def _shapes(self):
        """Shape of every field of one spectrum."""
        n_energy = self.energy.size
        shapes = dict.fromkeys(Losses._of_spectra(), ())
        shapes |= dict.fromkeys(_SPECTRA, (n_energy,))
        return shapes | {
            "directions": (self.n_directions, n_energy),
            "response": (self.distance.size,),
        }

    @property
    def width(self):
        """Numbers of one spectrum."""
        return sum(int(np.prod(shape)) for shape in self._shapes.values())

    def pack(self, losses):
        """Write losses into rows.

        Parameters
        ----------
        losses : Losses

        Returns
        -------
        ndarray of float of shape (n_spectra, width)
        """
        n = len(losses.centre)
        columns = [getattr(losses, name).reshape(n, -1) for name in self._shapes]
        return np.concatenate(columns, axis=1).astype(float)

    def unpack(self, rows):
        """Read losses from rows.

        Parameters
        ----------
        rows : ndarray of shape (n_spectra, width)

        Returns
        -------
        Losses
        """
        shapes = self._shapes
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
        parts = np.split(rows, ends[:-1], axis=1)
        found = {
            name: part.reshape((len(rows),) + shape)
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }
        found["is_vacuum"] = found["is_vacuum"] > 0
        return Losses(energy=self.energy, distance=self.distance, **found)


def aligned(losses, reference):
    """Turn the directions of spectra so that they agree with those of another as well as they can.

    Directions D of one spectrum stand for the covariance ``D^T D``, which no rotation R of them
    changes; of all rotations that one is taken that maximises the sum of ``(R D) . D_reference``, in
    units of the noise (P. H. Schoenemann, Psychometrika 31, 1 (1966)).

    Parameters
    ----------
    losses : Losses
        Aligned, of :func:`cropped`.
    reference : Losses
        Of one spectrum.

    Returns
    -------
    ndarray of shape (n_spectra, n_directions, n_energy)
        Directions with the same covariances.
    """
    directions = losses.directions
    variance = reference.variance[0]
    is_known = np.isfinite(variance) & (variance > 0)
    weights = np.where(is_known, 1 / np.where(is_known, variance, 1.0), 0.0)
    overlap = np.nan_to_num(directions) @ (np.nan_to_num(reference.directions[0]) * weights).T
    left, _, right = np.linalg.svd(overlap)
    return np.swapaxes(left @ right, 1, 2) @ directions


def summed(losses, reference, weights=1.0):
    """Sum spectra, their directions mode by mode.

    Parameters
    ----------
    losses : Losses
        Aligned, of :func:`cropped`.
    reference : Losses
        Of one spectrum, to whose directions the others are turned.
    weights : float or ndarray of shape (n_spectra,)

    Returns
    -------
    Losses
        Of one spectrum: the sums of all numbers, those of peaks too.
    """
    weights = np.broadcast_to(weights, losses.centre.shape)
    losses = replace(losses, directions=aligned(losses, reference))
    powers = dict.fromkeys(set(Losses._of_spectra()) - {"is_vacuum"}, weights)
    powers["variance"] = weights**2
    sums = {
        name: np.tensordot(weight, getattr(losses, name), 1)[None]
        for name, weight in powers.items()
    }
    return replace(reference, **sums)


def means_of(sums, total, reference):
    """Make one spectrum of what many sum up to.

    Parameters
    ----------
    sums : Losses
        Of :func:`summed`.
    total : float
        Sum of the weights: the number of spectra where each counts once.
    reference : Losses
        Of one spectrum, whose limits hold for all.

    Returns
    -------
    Losses
        Of one spectrum: means, and the errors of these.
    """
    powers = dict.fromkeys(
        ("counts", "zlp", "spilled", "directions", "centre", "fwhm", "response"), 1
    )
    powers["variance"] = 2
    means = {name: getattr(sums, name) / total**power for name, power in powers.items()}
    kept = {name: getattr(reference, name) for name in ("gain_limit", "loss_limit")}
    return replace(sums, **means, **kept)


def pooled(losses, reference, weights=1.0):
    """Average spectra, with the errors of their ZLPs as they share them.

    Parameters
    ----------
    losses : Losses
        Aligned, of :func:`cropped`.
    reference : Losses
        One of them, whose limits hold for all.
    weights : float or ndarray of shape (n_spectra,)

    Returns
    -------
    Losses
        Of one spectrum.
    """
    weights = np.broadcast_to(weights, losses.centre.shape)
    return means_of(summed(losses, reference, weights), weights.sum(), reference)


def members_of(losses, row, near):
    """Choose the spectra that are pooled about one: of the same kind, and told from the ZLP where it is.

    Parameters
    ----------
    losses : Losses
    row : int
        Spectrum that others are added to.
    near : ndarray of int
        Spectra that may be; those without a ZLP are NaN.

    Returns
    -------
    ndarray of int
        Those of them, and itself, whose ZLP was matched below no higher limit, and that are vacuum
        as it is or are not.
    """
    limit = losses.loss_limit[row]
    fit = (losses.loss_limit[near] <= limit) & (losses.is_vacuum[near] == losses.is_vacuum[row])
    return np.union1d(near[fit], [row])


def pool_neighbours(packing, rows, function, width, *, size, inner=None):
    """Apply a function to every spectrum of an image pooled with its neighbours.

    Parameters
    ----------
    packing : Packing
    rows : ndarray of shape (..., packing.width)
        Packed spectra of an image; NaN where one has no ZLP.
    function : callable
        Of the Losses of some pooled spectra; returns an array of shape (n, width).
    width : int
    size : int
        Spectra on a side of the neighbourhood, in every direction of the image; of an even number
        those at the rim count by half, so that it has its spectrum in the middle.
    inner : tuple of slice, optional
        Part of the image that it is applied to, beside which neighbours lie; default all.

    Returns
    -------
    ndarray of shape (..., width)
        Of the inner part; NaN where a spectrum has no ZLP.
    """
    shape = rows.shape[:-1]
    losses = packing.unpack(rows.reshape(-1, rows.shape[-1]))
    numbers = np.arange(len(losses.centre)).reshape(shape)
    wanted = numbers if inner is None else numbers[inner]
    found = np.full((wanted.size, width), np.nan)
    usable = np.flatnonzero(np.isfinite(losses.centre[wanted.ravel()]))
    for first in range(0, usable.size, _AT_ONCE):
        some = usable[first : first + _AT_ONCE]
        pools = [_with_neighbours(losses, row, numbers, size) for row in wanted.ravel()[some]]
        found[some] = function(Losses.join(pools))
    return found.reshape(wanted.shape + (width,))


def _with_neighbours(losses, row, numbers, size):
    """Pool one spectrum of an image with its neighbours, those at the rim of an even size by half."""
    place, reach = np.unravel_index(row, numbers.shape), size // 2
    box = tuple(slice(max(i - reach, 0), i + reach + 1) for i in place)
    members = members_of(losses, row, numbers[box].ravel())
    offsets = np.stack(np.unravel_index(members, numbers.shape), -1) - place
    at_rim = (np.abs(offsets) == reach) & (size % 2 == 0)
    weights = np.where(at_rim, 0.5, 1.0).prod(-1)
    return pooled(losses.select(members), losses.select([row]), weights)


def pool_groups(packing, rows, labels, references):
    """Sum the spectra of every group.

    Parameters
    ----------
    packing : Packing
    rows : ndarray of shape (..., width)
        Packed spectra; NaN where one has no ZLP.
    labels : ndarray of int of shape (...)
        Group of each spectrum; -1 where it belongs to none.
    references : ndarray of shape (n_groups, width)
        Packed spectra to whose directions those of the groups are turned.

    Returns
    -------
    ndarray of shape (n_groups, width + 1)
        Packed sums, and how many were summed; sums of several parts of an image may be added.
    """
    rows = rows.reshape(-1, rows.shape[-1])
    losses, references = packing.unpack(rows), packing.unpack(references)
    labels = np.where(np.isfinite(losses.centre), labels.ravel(), -1)
    found = np.zeros((len(references.centre), rows.shape[-1] + 1))
    for group, row in enumerate(found):
        members = np.flatnonzero(labels == group)
        sums = summed(losses.select(members), references.select([group]))
        row[:-1], row[-1] = packing.pack(sums)[0], members.size
    return found


def pooled_groups(packing, sums, references):
    """Make one spectrum of every group of what :func:`pool_groups` summed.

    Parameters
    ----------
    packing : Packing
    sums : ndarray of shape (n_groups, width + 1)
    references : ndarray of shape (n_groups, width)

    Returns
    -------
    Losses
        Of n_groups spectra.
    """
    count = np.maximum(sums[:, -1], 1)
    totals, references = packing.unpack(sums[:, :-1]), packing.unpack(references)
    groups = [
        means_of(totals.select([group]), count[group], references.select([group]))
        for group in range(len(count))
    ]
    return Losses.join(groups)
