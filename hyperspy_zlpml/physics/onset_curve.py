# SPDX-License-Identifier: GPL-3.0-or-later
"""Best onset of a spectrum, channel by channel, with all that is fitted along with it."""

from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.physics.bins import channels_of
from hyperspy_zlpml.physics.onset import Shapes, onset_grid, templates
from hyperspy_zlpml.physics.onset_fit import fit
from hyperspy_zlpml.physics.scattered_down import scattered_down

#: Distance of the onsets that a curve may have, channels.
_OF_CURVE = 0.125


class Onset(NamedTuple):
    """Best onset of one spectrum and what is fitted along, counts in each channel.

    Attributes
    ----------
    rise : ndarray of shape (n_energy,)
        Onset by itself, blurred, as it would go on above the window.
    tail : ndarray of shape (n_energy,)
        What the tail of the peak brings down from above the window beyond that.
    zlp : ndarray of shape (n_energy,)
        By how much the ZLP is taken to be higher than it was matched, within its errors.
    """

    rise: np.ndarray
    tail: np.ndarray
    zlp: np.ndarray

    @property
    def total(self):
        """Sum of all of these, (n_energy,)."""
        return self.rise + self.tail + self.zlp


def onset_curve(losses, gap):
    """Compute the best onset of one spectrum, channel by channel.

    Parameters
    ----------
    losses : Losses
        Of one spectrum.
    gap : Gap
        What was found in it, or in it and its neighbours: the height is fitted anew.

    Returns
    -------
    Onset
        NaN outside of the window.
    """
    curves = Onset(*np.full((3, losses.energy.size), np.nan))
    if not np.isfinite(gap.best):
        return curves
    parts = np.searchsorted(losses.from_peak[0], [gap.first, gap.last])
    inside, above = np.arange(*parts), np.arange(parts[1], losses.energy.size)
    bins, response = channels_of(losses, 0, inside), losses.response[0]
    grid = onset_grid(bins, gap.best, gap.best, _OF_CURVE * losses.step)
    nearest = [int(np.abs(grid.energy - gap.best).argmin())]
    grid = grid._replace(energy=grid.energy[nearest], before=grid.before[nearest])
    shapes = Shapes((gap.best_exponent,), (gap.width,), (gap.growth,))
    ends = (bins.energy[-1] + 0.5 * bins.step, np.inf)
    found, going_on = (templates(bins, grid, shapes, response, end=end) for end in ends)
    brought, _ = scattered_down(bins, channels_of(losses, 0, above), response)
    bins = bins._replace(signal=bins.signal - brought)
    height = fit(bins, found, [inside.size]).height.item()
    rise, model = (height * one.of(0, 0) for one in (going_on, found))
    parts = Onset(rise, brought - (rise - model), _fitted_along(bins, model))
    for curve, part in zip(curves, parts, strict=True):
        curve[inside] = part
    return curves


def _fitted_along(bins, model):
    """Find by how much the ZLP is wrong if a model is right: directions within their errors."""
    of_noise = bins.directions / bins.variance
    normal = np.eye(len(of_noise)) + of_noise @ bins.directions.T
    return np.linalg.solve(normal, of_noise @ (bins.signal - model)) @ bins.directions
