# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of spectra for fits: energies from each spectrum's own peak, bins, whitened errors.

The covariance of a window is ``diag(noise) + sum_i d_i d_i^T``, with the directions ``d_i`` in which
the zero-loss peak may be off. Whitened once, all that follows is ordinary least squares.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial.chebyshev import chebvander

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.physics.losses import runs_of

#: Bins in the width of the narrowest peak, as it is blurred.
_BINS_PER_WIDTH = 15
#: FWHM that the axis of the response reaches to.
_RESPONSE_REACH = 8.0
#: Orders above that of a background by which it may depart from it, in fractions of its level: any
#: background in the first two, ...
_DOUBTS = (0.05, 0.05)
#: ... and one that bends as at an onset in those after them.
_ONSET_DOUBTS = (0.025, 0.02)
#: Smallest exponent of an onset: a slope is then that of the nearest one.
_SHARPEST_ONSET = 0.5


@dataclass(frozen=True)
class Window(PerSpectrum):
    """Piece of every spectrum that is fitted, in bins.

    Attributes
    ----------
    step : float
        Of the bins, eV.
    energy : ndarray of shape (n, n_bins)
        From the zero-loss peak, eV.
    values : ndarray of shape (n, n_bins)
        Counts per channel, free of the zero-loss peak.
    weight : ndarray of shape (n, n_bins)
        Inverse standard deviation of the noise; 0 for bins that are not used.
    directions : ndarray of shape (n, n_directions, n_bins)
        Deviations of the zero-loss peak, times the weight.
    mixing : ndarray of shape (n, n_directions, n_directions)
        Made of the directions, see :meth:`whiten`.
    response : ndarray of shape (n, n_response)
        Zero-loss peak of each spectrum in bins, odd, centred, of sum 1.
    free : ndarray of shape (n, n_free, n_bins)
        Whitened shapes that may be there to any amount, orthonormal; see :meth:`beside`.
    """

    step: float
    energy: np.ndarray
    values: np.ndarray
    weight: np.ndarray
    directions: np.ndarray
    mixing: np.ndarray
    response: np.ndarray
    free: np.ndarray

    shared = ("step",)

    @property
    def n_used(self):
        """Bins that are used, of each spectrum."""
        return (self.weight > 0).sum(-1)

    def whiten(self, rows):
        """Multiply by the inverse square root of the covariance, and leave out what free shapes explain.

        With ``W`` the directions over the standard deviation of the noise, the whitened covariance is
        ``1 + W W^T``; its inverse root is ``1 - W M W^T``, where ``M`` is of the size of the number
        of directions.

        Parameters
        ----------
        rows : ndarray of shape (n, n_rows, n_bins)

        Returns
        -------
        ndarray of shape (n, n_rows, n_bins)
        """
        rows = rows * self.weight[:, None]
        rows = rows - (rows @ self.directions.swapaxes(-1, -2) @ self.mixing) @ self.directions
        return rows - (rows @ self.free.swapaxes(-1, -2)) @ self.free

    def beside(self, shapes):
        """Let shapes be there to any amount: a linear fit of them goes into all that is whitened.

        Parameters
        ----------
        shapes : ndarray of shape (n, n_free, n_bins)

        Returns
        -------
        Window
        """
        free, _ = np.linalg.qr(self.whiten(shapes).swapaxes(-1, -2))
        return replace(self, free=free.swapaxes(-1, -2))

    def along(self):
        """Place of every bin among those that are used, from -1 to 1; 0 for others."""
        used = self.weight > 0
        low = np.where(used, self.energy, np.inf).min(-1, keepdims=True)
        high = np.where(used, self.energy, -np.inf).max(-1, keepdims=True)
        return np.where(used, (2 * self.energy - low - high) / (high - low + self.step), 0.0)

    @property
    def nearness(self):
        """Factor from order to order by which the bend of an onset falls off, 1 where it is in the window.

        The Chebyshev coefficients of ``(1 + r x)^b`` for ``x`` from -1 to 1 fall off as the powers
        of ``(1 - sqrt(1 - r^2)) / r``; the slope, ``b r`` of the level, tells ``r``.
        """
        along, used = self.along(), self.weight > 0
        low, high = (
            np.where(part, self.values, 0.0).sum(-1) / np.maximum(part.sum(-1), 1)
            for part in (used & (along < -1 / 3), used & (along > 1 / 3))
        )
        slope = np.abs(high - low) / (4 / 3) / np.maximum(np.abs(high + low) / 2, 1e-300)
        ratio = np.clip(slope / _SHARPEST_ONSET, 1e-6, 1.0)
        return (1 - np.sqrt(1 - ratio**2)) / ratio

    def doubting(self, order):
        """Allow for a background that is no polynomial of some order.

        Adds what it may depart by to the directions: 5 % of the level of the window in each of the next
        two orders, and up to 2.5 and 2 % in those after them, as the bend at an onset has them: less the
        further below the window its slope says that an onset lies. Faint peaks are then told from the
        bend of the background, and errors hold it.

        Parameters
        ----------
        order : int
            Of the polynomial; -1 for none, which is not doubted.

        Returns
        -------
        Window
        """
        if order < 0:
            return self
        level = np.abs((self.values * (self.weight > 0)).sum(-1)) / np.maximum(self.n_used, 1)
        sizes = np.array(_DOUBTS + _ONSET_DOUBTS)
        orders = np.arange(order + 1, order + 1 + sizes.size)
        sizes = sizes * np.where(
            orders > order + len(_DOUBTS), self.nearness[:, None] ** orders, 1.0
        )
        higher = chebvander(self.along(), orders[-1])[..., orders] * sizes[:, None]
        doubts = np.moveaxis(higher, -1, 1) * (level[:, None] * self.weight)[:, None]
        directions = np.concatenate([self.directions, doubts], 1)
        return replace(self, directions=directions, mixing=mixing_of(directions))

    def within(self, low, high):
        """Use only bins between two energies.

        Parameters
        ----------
        low, high : float or ndarray of shape (n,)
            eV from the zero-loss peak.

        Returns
        -------
        Window
        """
        low, high = np.broadcast_arrays(low, high, np.empty(len(self.energy)))[:2]
        inside = (self.energy >= low[:, None]) & (self.energy <= high[:, None])
        directions = self.directions * inside[:, None]
        return replace(
            self,
            weight=self.weight * inside,
            directions=directions,
            mixing=mixing_of(directions),
            free=self.free[:, :0],
        )


def mixing_of(directions):
    """Compute the matrix by which directions enter the inverse root of a covariance.

    Parameters
    ----------
    directions : ndarray of shape (n, n_directions, n_bins)
        ``W^T``, in units of the noise.

    Returns
    -------
    ndarray of shape (n, n_directions, n_directions)
        ``M`` such that ``(1 - W M W^T)^2 = (1 + W W^T)^-1``.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.peak_windows import mixing_of
    >>> w = np.array([[[1.0, 2.0, 2.0]]])
    >>> root = np.eye(3) - w[0].T @ mixing_of(w)[0] @ w[0]
    >>> np.allclose(root @ root, np.linalg.inv(np.eye(3) + w[0].T @ w[0]))
    True
    """
    squared, vectors = np.linalg.eigh(directions @ directions.swapaxes(-1, -2))
    squared = np.maximum(squared, 0)
    # (1 - 1/sqrt(1 + s)) / s without the cancellation at small s.
    root = np.sqrt(1 + squared)
    return (vectors / (root * (1 + root))[:, None]) @ vectors.swapaxes(-1, -2)


def take_window(losses, low, high, width):
    """Take the piece of every spectrum between two energies from its peak, in bins.

    Parameters
    ----------
    losses : Losses
    low, high : float
        eV from the zero-loss peak.
    width : float
        Of the narrowest feature, eV: there are 15 bins in it, as blurred by the response.

    Returns
    -------
    Window
        Bins off the axis, and those below the limit of losses, have no weight.
    """
    values = losses.subtracted
    n_together = channels_together(losses, width)
    n_bins = max(int((high - low) / (losses.step * n_together)), 1)
    first = np.ceil((low + losses.centre - losses.energy[0]) / losses.step - 1e-6).astype(int)
    n_channels = n_bins * n_together
    channel = first[:, None] + np.arange(n_channels)
    on_axis = (channel >= 0) & (channel < losses.energy.size)
    energy = losses.energy[np.clip(channel, 0, losses.energy.size - 1)] - losses.centre[:, None]
    usable = on_axis & (energy >= losses.loss_limit[:, None])

    def binned(rows):
        rows = rows.reshape(rows.shape[:-1] + (n_bins, n_together))
        # As a product it takes a tenth of what a mean over an axis that short does.
        return rows @ np.full(n_together, 1 / n_together)

    values, variance = (runs_of(one, first, n_channels) for one in (values, losses.variance))
    usable &= np.isfinite(values) & np.isfinite(variance)
    values, variance = (np.where(usable, one, 0.0) for one in (values, variance))
    variance = binned(variance) / n_together
    used = usable.reshape(len(first), n_bins, n_together).all(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(used & (variance > 0), 1 / np.sqrt(variance), 0.0)
    directions = runs_of(losses.directions, first, n_channels)
    directions = binned(np.where(usable[:, None], directions, 0.0)) * weight[:, None]
    bins = losses.step * n_together
    start = losses.energy[0] + losses.step * (first + 0.5 * (n_together - 1)) - losses.centre
    return Window(
        step=bins,
        energy=start[:, None] + bins * np.arange(n_bins),
        values=binned(values),
        weight=weight,
        directions=directions,
        mixing=mixing_of(directions),
        response=losses.response @ _hats(losses.distance, bins),
        free=np.empty((len(weight), 0, n_bins)),
    )


def channels_together(losses, width):
    """Count the channels that make one bin for a feature of some width.

    Parameters
    ----------
    losses : Losses
    width : float
        eV, without the blur of the response.

    Returns
    -------
    int
    """
    blurred = np.hypot(width, losses.distance[-1] / _RESPONSE_REACH)
    return max(int(blurred / (_BINS_PER_WIDTH * losses.step)), 1)


def _hats(distance, step):
    """Weights that share channels among the two nearest bins, so that the mean stays."""
    n_half = int(np.ceil(distance[-1] / step))
    nodes = step * np.arange(-n_half, n_half + 1)
    return np.maximum(1 - np.abs(distance[:, None] - nodes) / step, 0)


def mirrored(losses):
    """Turn energies round, so that gains stand where losses stood.

    Parameters
    ----------
    losses : Losses

    Returns
    -------
    Losses
    """
    spectra = ("counts", "zlp", "variance", "directions", "response")
    turned = {name: getattr(losses, name)[..., ::-1] for name in spectra}
    return replace(
        losses,
        energy=-losses.energy[::-1],
        centre=-losses.centre,
        gain_limit=-losses.loss_limit,
        loss_limit=-losses.gain_limit,
        **turned,
    )
