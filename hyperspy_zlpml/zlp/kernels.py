# SPDX-License-Identifier: GPL-3.0-or-later
"""Match and evaluation of spectra, compiled: one after the other, in double precision.

What is worked on has groups of channels side by side, so that sums over groups fill the vector
registers. :mod:`hyperspy_zlpml.zlp.matching` says what is fitted and why.
"""

import math
from typing import NamedTuple

import numpy as np

from hyperspy_zlpml.compute.compiled import compiled, in_place, part
from hyperspy_zlpml.zlp.grid import FALLS_FROM, GRID_STEP, WIDTH_STEP

#: Amplitude, shift and width come before the coefficients of the ensemble's modes.
N_PEAK = 3
#: Their places: ln(height), shift in units of the FWHM, ln(FWHM).
HEIGHT = 0
SHIFT = 1
WIDTH = 2
#: Rows of the table before the modes: logarithm, slope, scatter, widening.
N_SHAPE = 4
#: Their places.
LOG_SHAPE = 0
SLOPE = 1
SCATTER = 2
WIDENING = 3
#: Largest correction of centre (in FWHM) and of ln(FWHM) in one step.
_LARGEST_STEP = 0.2
#: Furthest that ln(height) goes from what the counts of the core say.
_LARGEST_CHANGE = 1.5
#: Furthest that ln(FWHM) goes from where it starts.
_LARGEST_WIDENING = 0.5
#: Half-height widths agree with fitted ones to this fraction ...
_WIDTH_SIGMA = 0.005
#: ... plus this over the channels per FWHM ...
_WIDTH_SIGMA_COARSE = 0.2
#: ... plus this over the square root of the electrons in the peak.
_WIDTH_SIGMA_COUNTING = 5.0
#: No group of channels is believed to be better known than this, relatively.
_FLOOR = 1e-3
#: Counts, in electrons, that are none.
_NOTHING = 1e-6
#: Groups that are off by this many standard deviations, and by as many times what their neighbours
#: are off, hold a spike.
_SPIKE = 6.0
#: Steps of a match, by number, up to which spikes are looked for: weights that change for ever would
#: keep it from converging.
_WEIGHED_UP_TO = 3
#: Neighbouring groups that are looked at, to either side.
_NEIGHBOURS = 4
#: A spectrum is matched when a step is shorter than this, in standard deviations squared.
_CONVERGED = 1e-2
#: Step of a match, by number, in which the modes are looked up once more after the first: they are
#: smooth, and afterwards the peak moves too little.
_MODES_LOOKED_UP = 2
#: ln(counts) of a group is kept within plus and minus this, ...
_LARGEST_LOG = 80.0
#: ... its standard deviation below this.
_LARGEST_SIGMA = 5.0
#: No ZLP is claimed to be known better than this, relatively.
MODEL_FLOOR = 1e-4
#: Bits of the square root of a half.
_HALF_ROOT = 0x3FE6A09E667F3BCD
#: ln 2, and in two parts of which products with small integers are exact.
_LN2 = 0.6931471805599453
_LN2_HIGH = 0.6931471803691238
_LN2_LOW = 1.9082149292705877e-10
#: Plus a whole number n it holds the integer 1023 + n in its lowest bits.
_AS_INTEGER = 1.5 * 2.0**52 + 1023.0


class Groups(NamedTuple):
    """Counts in groups of channels.

    Attributes
    ----------
    sums, energy : ndarray of float of shape (n_spectra, n_groups)
        Counts; energies of the middles, eV.
    complete : ndarray of bool of shape (n_spectra, n_groups)
        Groups that lie on the axis.
    n_channels, seen : ndarray of float of shape (n_groups,)
        Channels; fraction of the electrons' variance that the sum shows.
    curvature : ndarray of shape (n_widths, n_groups)
        Mean of the peak over its value in the middle.
    log_fwhm : float
        ln FWHM of the first width, eV.
    """

    sums: np.ndarray
    energy: np.ndarray
    complete: np.ndarray
    n_channels: np.ndarray
    seen: np.ndarray
    curvature: np.ndarray
    log_fwhm: float


class Starts(NamedTuple):
    """Starts of matches; arrays of float of shape (n_spectra,), ``node`` of int.

    Attributes
    ----------
    centre, fwhm : ndarray
        eV.
    node, fraction : ndarray
        Of ln N0 in the table.
    low, high : ndarray
        Windows in reduced energy.
    log_fwhm, precision : ndarray
        Prior of ln(FWHM) over the image, and one over its variance; 0 where there is none.
    """

    centre: np.ndarray
    fwhm: np.ndarray
    node: np.ndarray
    fraction: np.ndarray
    low: np.ndarray
    high: np.ndarray
    log_fwhm: np.ndarray
    precision: np.ndarray


class Rows(NamedTuple):
    """Tables side by side, by nodes of ln N0 and of the grid.

    Attributes
    ----------
    values : ndarray of float of shape (n_nodes, n_grid, n_tables)
    start : float
        x of the first node of the grid.
    log_fwhm : float
        From which the widening counts.
    """

    values: np.ndarray
    start: float
    log_fwhm: float


class Noise(NamedTuple):
    """Numbers of a noise model."""

    gain: float
    readout: float
    unit: float


class Fit(NamedTuple):
    """Spectra and what is fitted to them, in at most ``n_steps`` steps."""

    groups: Groups
    starts: Starts
    rows: Rows
    noise: Noise
    n_steps: int


class Found(NamedTuple):
    """Fields of :class:`~hyperspy_zlpml.zlp.matching.Match`, written to."""

    log_height: np.ndarray
    centre: np.ndarray
    fwhm: np.ndarray
    coefficients: np.ndarray
    covariance: np.ndarray
    chi2: np.ndarray
    n_points: np.ndarray


class Room(NamedTuple):
    """Room for what one spectrum needs: of each group in its window, then of each fitted number."""

    sums: np.ndarray
    energy: np.ndarray
    n_channels: np.ndarray
    scale: np.ndarray
    seen: np.ndarray
    ones: np.ndarray
    u: np.ndarray
    x: np.ndarray
    bits: np.ndarray
    exponent: np.ndarray
    below: np.ndarray
    fraction: np.ndarray
    tables: np.ndarray
    expected: np.ndarray
    inverse: np.ndarray
    believed: np.ndarray
    residual: np.ndarray
    jacobian: np.ndarray
    normal: np.ndarray
    gradient: np.ndarray
    step: np.ndarray
    peak: np.ndarray
    first: np.ndarray
    priors: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, n_groups, n_tables, n_modes):
        """Make room.

        Parameters
        ----------
        n_groups, n_tables, n_modes : int

        Returns
        -------
        Room
        """
        n = N_PEAK + n_modes
        x = np.ones(n_groups)
        shapes = {
            "tables": (n_tables, n_groups),
            "jacobian": (n, n_groups),
            "normal": (n, n),
            "priors": 2,
            "sizes": 2 * _NEIGHBOURS + 1,
            **dict.fromkeys(("gradient", "step", "peak", "first"), n),
        }
        made = {name: np.ones(shapes.get(name, n_groups)) for name in cls._fields}
        below = np.zeros(n_groups, np.int64)
        return cls(**{**made, "x": x, "bits": x.view(np.int64), "below": below})


@part
def _take_logarithm(values, bits, exponent, n):
    """Replace ``n`` positive numbers by their logarithms; ``bits`` are theirs, seen as integers.

    Loops without a call fill the vector registers. Good to 1e-14 or better.
    """
    for k in range(n):
        power = (bits[k] - _HALF_ROOT) >> 52
        bits[k] -= power << 52
        exponent[k] = power
    for k in range(n):
        s = (values[k] - 1.0) / (values[k] + 1.0)
        s2 = s * s
        series = 1 / 15 + s2 * (1 / 17)
        series = 1 / 11 + s2 * (1 / 13 + s2 * series)
        series = 1 / 7 + s2 * (1 / 9 + s2 * series)
        series = 1.0 + s2 * (1 / 3 + s2 * (1 / 5 + s2 * series))
        values[k] = exponent[k] * _LN2 + 2.0 * s * series


@part
def _take_exponential(values, scale, bits, n):
    """Replace ``n`` numbers within plus and minus 700 by their exponentials, in the same way.

    ``scale`` and ``bits`` are the same room, seen as numbers and as integers.
    """
    for k in range(n):
        # Not that of math: it gives integers, one number after the other.
        power = np.floor(values[k] * (1 / _LN2) + 0.5)
        values[k] = (values[k] - power * _LN2_HIGH) - power * _LN2_LOW
        scale[k] = power + _AS_INTEGER
    for k in range(n):
        bits[k] <<= 52
    for k in range(n):
        r = values[k]
        series = 1 / 39916800 + r * (1 / 479001600)
        series = 1 / 362880 + r * (1 / 3628800 + r * series)
        series = 1 / 5040 + r * (1 / 40320 + r * series)
        series = 1 / 120 + r * (1 / 720 + r * series)
        series = 0.5 + r * (1 / 6 + r * (1 / 24 + r * series))
        values[k] = (1.0 + r * (1.0 + r * series)) * scale[k]


@part
def _locate(centre, fwhm, rows, room, n):
    """Find reduced energies of groups, the nodes of the grid below them, and fractions of a step."""
    u, x = room.u, room.x
    for k in range(n):
        u[k] = (room.energy[k] - centre) / fwhm
        x[k] = abs(2.0 * u[k]) + math.sqrt(4.0 * u[k] * u[k] + 1.0)
    _take_logarithm(x, room.bits, room.exponent, n)
    last = rows.values.shape[1] - 1.000001
    for k in range(n):
        position = (math.copysign(x[k], u[k]) - rows.start) / GRID_STEP
        # In this order what is no number comes to lie on the first node.
        position = min(position, last) if position > 0.0 else 0.0
        room.below[k] = int(position)
        room.fraction[k] = position - math.floor(position)


@part
def _corners(values, node):
    """Take the tables at two nodes of ln N0 between which a spectrum lies."""
    return values[node], values[min(node + 1, values.shape[0] - 1)]


@part
def _look_up(corners, beyond, room, n, n_tables):
    """Interpolate the first tables between the nodes of the grid and two of ln N0."""
    below, tables = room.below, room.tables
    here, there = corners
    for k in range(n):
        both = beyond * room.fraction[k]
        w11, w10, w01 = both, beyond - both, room.fraction[k] - both
        w00 = 1.0 - beyond - w01
        low, high = here[below[k]], here[below[k] + 1]
        low_there, high_there = there[below[k]], there[below[k] + 1]
        for t in range(n_tables):
            value = w00 * low[t] + w01 * high[t] + w10 * low_there[t] + w11 * high_there[t]
            tables[t, k] = value


@in_place
def _window(i, groups, starts):
    """Find the groups in the window of a spectrum: the first, and one past the last."""
    first, last = 0, 0
    for g in range(groups.n_channels.size):
        u = (groups.energy[i, g] - starts.centre[i]) / starts.fwhm[i]
        if groups.complete[i, g] and u >= starts.low[i] and u <= starts.high[i]:
            first = g if last == 0 else first
            last = g + 1
    return first, last


@in_place
def _cut(i, groups, first, room, n):
    """Copy what belongs to the groups in the window."""
    for k in range(n):
        g = first + k
        room.sums[k] = groups.sums[i, g]
        room.energy[k] = groups.energy[i, g]
        room.n_channels[k] = groups.n_channels[g]
        room.seen[k] = groups.seen[g]


@in_place
def _bend(groups, first, room, n):
    """Scale the shape as a peak of the present width is bent within its groups.

    :meth:`.Curvature.at` looks up the same, of many peaks outside a match.
    """
    last = groups.curvature.shape[0] - 1
    place = min(max((room.peak[WIDTH] - groups.log_fwhm) / WIDTH_STEP, 0.0), float(last))
    below = int(place)
    fraction = place - below
    narrower, wider = groups.curvature[below], groups.curvature[min(below + 1, last)]
    for k in range(n):
        g = first + k
        curvature = (1.0 - fraction) * narrower[g] + fraction * wider[g]
        room.scale[k] = groups.n_channels[g] * curvature


@in_place
def _set_priors(i, fit, priors):
    """Collect the priors of ln(FWHM), by the peak itself and by the image, as precision and mean."""
    groups, starts = fit.groups, fit.starts
    energy, fwhm = groups.energy[i], starts.fwhm[i]
    electrons = 0.0
    for g in range(energy.size):
        electrons += groups.sums[i, g] if abs(energy[g] - starts.centre[i]) < fwhm else 0.0
    electrons = max(electrons / fit.noise.unit, 1.0)
    step = abs(energy[1] - energy[0]) / (0.5 * (groups.n_channels[0] + groups.n_channels[1]))
    coarse = _WIDTH_SIGMA_COARSE * step / fwhm
    precision = 1.0 / (_WIDTH_SIGMA**2 + coarse**2 + _WIDTH_SIGMA_COUNTING**2 / electrons)
    priors[0] = precision + starts.precision[i]
    priors[1] = precision * math.log(fwhm) + starts.precision[i] * starts.log_fwhm[i]


@in_place
def _first_height(room, unit, n):
    """Find the ln(height) at which the counts of the core are those of the shape."""
    counts, expected = 0.0, 0.0
    for k in range(n):
        if abs(room.u[k]) < 1.0:
            counts += room.sums[k]
            expected += math.exp(room.tables[LOG_SHAPE, k]) * room.scale[k]
    return math.log(max(counts, _NOTHING * unit) / max(expected, _NOTHING))


@part
def _add_up(room, wider, n):
    """Write the logarithm of the peak in the middle of every group."""
    peak, tables, values = room.peak, room.tables, room.expected
    for k in range(n):
        values[k] = peak[HEIGHT] + tables[LOG_SHAPE, k] + wider * tables[WIDENING, k]
    for a in range(N_PEAK, peak.size):
        coefficient, row = peak[a], N_SHAPE + a - N_PEAK
        for k in range(n):
            values[k] += coefficient * tables[row, k]


@part
def _clip(values, n):
    for k in range(n):
        values[k] = _kept(values[k], 0.0, _LARGEST_LOG)


@in_place
def _expect(room, wider, n):
    """Write the counts expected in every group."""
    _add_up(room, wider, n)
    _clip(room.expected, n)
    _take_exponential(room.expected, room.x, room.bits, n)
    for k in range(n):
        room.expected[k] *= room.scale[k]


@part
def _weigh(room, noise, seen, n):
    """Write one over the standard deviations of groups."""
    nothing, readout = (_NOTHING * noise.unit) ** 2, noise.readout**2
    for k in range(n):
        expected = room.expected[k]
        variance = noise.gain * expected * seen[k] + room.n_channels[k] * readout
        variance += (room.tables[SCATTER, k] * expected) ** 2
        variance = max(variance, _FLOOR**2 * expected**2 + nothing)
        room.inverse[k] = 1.0 / math.sqrt(variance)


@part
def _deviate(room, n):
    """Write deviations in standard deviations; the largest of them."""
    largest = 0.0
    for k in range(n):
        room.residual[k] = (room.sums[k] - room.expected[k]) * room.inverse[k]
    for k in range(n):
        largest = max(largest, abs(room.residual[k]))
    return largest


@in_place
def _typical(residual, group, sizes, n):
    """Find the median size of neighbouring deviations; zero beyond the groups that are looked at."""
    for k in range(sizes.size):
        g = group + k - _NEIGHBOURS
        size = abs(residual[g]) if 0 <= g < n else 0.0
        place = k
        while place > 0 and sizes[place - 1] > size:
            sizes[place] = sizes[place - 1]
            place -= 1
        sizes[place] = size
    return sizes[_NEIGHBOURS]


@in_place
def _believe(residual, believed, sizes, n):
    """Weigh groups less that stand out of their neighbours, as spikes do.

    Spectra that are subtracted alone have no others to be compared with, and are not looked through
    for spikes unless they fit poorly. Where the shape is not that of the peak, neighbours are off
    together: nothing stands out.
    """
    for k in range(n):
        believed[k] = 1.0
        size = abs(residual[k])
        if size > _SPIKE:
            limit = _SPIKE * max(_typical(residual, k, sizes, n), 1.0)
            believed[k] = min(limit / size, 1.0) ** 2


@in_place
def _weigh_residuals(room, noise, number, n):
    """Write weighted residuals, and the weights with which groups are believed."""
    _weigh(room, noise, room.ones, n)
    largest = _deviate(room, n)
    if number <= _WEIGHED_UP_TO:
        if largest > _SPIKE:
            _believe(room.residual, room.believed, room.sizes, n)
        else:
            room.believed[:n] = 1.0
    for k in range(n):
        room.inverse[k] *= room.believed[k]
        room.residual[k] *= room.believed[k]


@in_place
def _differentiate(room, n):
    """Write derivatives of the weighted residuals by the numbers that are fitted."""
    jacobian, tables = room.jacobian, room.tables
    for k in range(n):
        jacobian[HEIGHT, k] = room.expected[k] * room.inverse[k]
    for k in range(n):
        jacobian[SHIFT, k] = -tables[SLOPE, k] * jacobian[HEIGHT, k]
    for k in range(n):
        jacobian[WIDTH, k] = tables[WIDENING, k] * jacobian[HEIGHT, k]
        jacobian[WIDTH, k] += jacobian[SHIFT, k] * room.u[k]
    for mode in range(tables.shape[0] - N_SHAPE):
        for k in range(n):
            jacobian[N_PEAK + mode, k] = tables[N_SHAPE + mode, k] * jacobian[HEIGHT, k]


@part
def _dot(first, second, n):
    total = 0.0
    for k in range(n):
        total += first[k] * second[k]
    return total


@in_place
def _sum_up(room, n):
    """Write sums over groups: the normal matrix (lower triangle) and the gradient."""
    jacobian, residual = room.jacobian, room.residual
    normal, gradient = room.normal, room.gradient
    for a in range(gradient.size):
        gradient[a] = _dot(jacobian[a], residual, n)
        for b in range(a + 1):
            normal[a, b] = _dot(jacobian[a], jacobian[b], n)


@in_place
def _add_priors(normal, gradient, peak, priors):
    """Add what is known beforehand to a linearised fit."""
    for a in range(N_PEAK, gradient.size):
        gradient[a] -= peak[a]
        normal[a, a] += 1.0
    gradient[WIDTH] += priors[1] - peak[WIDTH] * priors[0]
    normal[WIDTH, WIDTH] += priors[0]
    trace = 0.0
    for a in range(gradient.size):
        trace += normal[a, a]
    for a in range(gradient.size):
        normal[a, a] += 1e-9 * trace + 1e-12


@in_place
def _settle_broken(normal, gradient):
    """Let a fit that has run away end where it is; tell whether it has."""
    sound = True
    for a in range(gradient.size):
        sound &= math.isfinite(gradient[a])
        for b in range(a + 1):
            sound &= math.isfinite(normal[a, b])
    if not sound:
        for a in range(gradient.size):
            gradient[a] = 0.0
            for b in range(a + 1):
                normal[a, b] = 1.0 if a == b else 0.0
    return not sound


@in_place
def _factorise(matrix):
    """Replace the lower triangle by that of the Cholesky factor, with ones over its diagonal."""
    for a in range(matrix.shape[0]):
        for b in range(a):
            total = matrix[a, b]
            for k in range(b):
                total -= matrix[a, k] * matrix[b, k]
            matrix[a, b] = total * matrix[b, b]
        total = matrix[a, a]
        for k in range(a):
            total -= matrix[a, k] * matrix[a, k]
        matrix[a, a] = 1.0 / math.sqrt(total)


@in_place
def _solve(factor, values, result):
    """Solve a linear system, given the Cholesky factor of its matrix."""
    n = values.size
    for a in range(n):
        total = values[a]
        for k in range(a):
            total -= factor[a, k] * result[k]
        result[a] = total * factor[a, a]
    for a in range(n - 1, -1, -1):
        result[a] *= factor[a, a]
        for k in range(a):
            result[k] -= factor[a, k] * result[a]


@in_place
def _invert(factor, result):
    """Write the inverse of a matrix, given its Cholesky factor, which is inverted in place."""
    n = factor.shape[0]
    for b in range(n):
        for a in range(b + 1, n):
            total = factor[a, b] * factor[b, b]
            for k in range(b + 1, a):
                total += factor[a, k] * factor[k, b]
            factor[a, b] = -total * factor[a, a]
    for a in range(n):
        for b in range(a + 1):
            total = 0.0
            for k in range(a, n):
                total += factor[k, a] * factor[k, b]
            result[a, b] = result[b, a] = total


@part
def _kept(value, first, largest):
    """Keep a number near the first one."""
    return first + min(max(value - first, -largest), largest)


@in_place
def _move(peak, step, first):
    """Take a step, which is kept from being too long; the shift of the centre in FWHM."""
    for a in range(N_PEAK, peak.size):
        peak[a] += step[a]
    # The sum of the core tells the height: further away a fit has run off.
    peak[HEIGHT] = _kept(peak[HEIGHT] + step[HEIGHT], first[HEIGHT], _LARGEST_CHANGE)
    wider = peak[WIDTH] + _kept(step[WIDTH], 0.0, _LARGEST_STEP)
    peak[WIDTH] = _kept(wider, first[WIDTH], _LARGEST_WIDENING)
    return _kept(step[SHIFT], 0.0, _LARGEST_STEP)


@in_place
def _misfit(room, noise, n):
    """Sum squared deviations: single groups deviate by the noise of their few channels."""
    _weigh(room, noise, room.seen, n)
    _deviate(room, n)
    total = 0.0
    for k in range(n):
        total += (room.residual[k] * room.believed[k]) ** 2
    return total


@in_place
def _write(i, found, room, centre, broken):
    """Write what was found of a spectrum where it belongs."""
    found.log_height[i] = math.nan if broken else room.peak[HEIGHT]
    found.centre[i] = centre
    found.fwhm[i] = math.exp(room.peak[WIDTH])
    for a in range(N_PEAK, room.peak.size):
        found.coefficients[i, a - N_PEAK] = room.peak[a]
    _invert(room.normal, found.covariance[i])


@in_place
def _begin(i, fit, room):
    """Put a spectrum where its match starts; the first of the groups that it is matched in, and their number."""
    for a in range(room.peak.size):
        room.peak[a] = 0.0
    room.peak[WIDTH] = room.first[WIDTH] = math.log(fit.starts.fwhm[i])
    _set_priors(i, fit, room.priors)
    first, last = _window(i, fit.groups, fit.starts)
    _cut(i, fit.groups, first, room=room, n=last - first)
    return first, last - first


@in_place
def _find_step(room, n):
    """Find the next step of a match; tell whether it has run away."""
    _differentiate(room, n)
    _sum_up(room, n)
    _add_priors(room.normal, room.gradient, room.peak, room.priors)
    broken = _settle_broken(room.normal, room.gradient)
    _factorise(room.normal)
    _solve(room.normal, room.gradient, room.step)
    return broken


@compiled
def match_spectra(fit, room, found):
    """Match spectra, see :func:`hyperspy_zlpml.zlp.matching.match`.

    Parameters
    ----------
    fit : Fit
    room : Room
        Written to.
    found : Found
        Written to.
    """
    rows, noise = fit.rows, fit.noise
    for i in range(fit.starts.centre.size):
        first, n = _begin(i, fit, room)
        found.n_points[i] = n
        centre = fit.starts.centre[i]
        corners = _corners(rows.values, fit.starts.node[i])
        for number in range(fit.n_steps):
            fwhm = math.exp(room.peak[WIDTH])
            _bend(fit.groups, first, room=room, n=n)
            _locate(centre, fwhm, rows=rows, room=room, n=n)
            n_tables = rows.values.shape[2] if number in (0, _MODES_LOOKED_UP) else N_SHAPE
            _look_up(corners, fit.starts.fraction[i], room=room, n=n, n_tables=n_tables)
            if number == 0:
                room.peak[HEIGHT] = room.first[HEIGHT] = _first_height(room, noise.unit, n)
            _expect(room, room.peak[WIDTH] - rows.log_fwhm, n)
            _weigh_residuals(room, noise, number, n)
            broken = _find_step(room, n)
            centre += _move(room.peak, room.step, room.first) * fwhm
            length = _dot(room.gradient, room.step, room.step.size)
            if length < _CONVERGED or number == fit.n_steps - 1:
                found.chi2[i] = _misfit(room, noise, n)
                _write(i, found, room, centre=centre, broken=broken)
                break


# --- the peak in the middle of every group --------------------------------------------------------


class Matched(NamedTuple):
    """Spectra that were matched; arrays of float with one row for each, ``node`` of int.

    Attributes
    ----------
    channel : ndarray of shape (n_spectra,)
        Highest channel.
    log_height, centre, fwhm : ndarray of shape (n_spectra,)
        As fitted.
    coefficients, covariance : ndarray of shape (n_spectra, n), and (n_spectra, 3 + n, 3 + n)
        Of the modes, and of all that was fitted.
    inflation : ndarray of shape (n_spectra,)
        Factor on the covariance.
    node, fraction : ndarray of shape (n_spectra,)
        Of ln N0 in the table.
    wider, opening : ndarray of shape (n_spectra,)
        Factor on the standard deviation; power of the energy by which it opens beyond the window.
    first, last : ndarray of shape (n_spectra,)
        Window in reduced energy.
    """

    channel: np.ndarray
    log_height: np.ndarray
    centre: np.ndarray
    fwhm: np.ndarray
    coefficients: np.ndarray
    covariance: np.ndarray
    inflation: np.ndarray
    node: np.ndarray
    fraction: np.ndarray
    wider: np.ndarray
    opening: np.ndarray
    first: np.ndarray
    last: np.ndarray


class Axis(NamedTuple):
    """Energies of channels, and the middles of groups in channels from the peak."""

    start: float
    step: float
    middle: np.ndarray


class Peaks(NamedTuple):
    """Peaks in the middle of every group; arrays of shape (n_spectra, n_groups), written to.

    Attributes
    ----------
    log_zlp, sigma : ndarray
        ln(counts per channel), and its standard deviation.
    below, above : ndarray
        From it down and up to the ends of the band.
    """

    log_zlp: np.ndarray
    sigma: np.ndarray
    below: np.ndarray
    above: np.ndarray


@in_place
def _level(values, u, n):
    """Level tails that rise outward, see :func:`hyperspy_zlpml.zlp.tails.level_ripples`."""
    lowest = np.inf
    for k in range(n):
        if u[k] > FALLS_FROM:
            lowest = min(lowest, values[k])
            values[k] = lowest
    lowest = np.inf
    for k in range(n - 1, -1, -1):
        if u[k] < -FALLS_FROM:
            lowest = min(lowest, values[k])
            values[k] = lowest


@in_place
def _differentiate_logarithm(room, n):
    """Write derivatives of the logarithm of the peak by the numbers that were fitted."""
    jacobian, tables = room.jacobian, room.tables
    for k in range(n):
        jacobian[HEIGHT, k] = 1.0
        jacobian[SHIFT, k] = -tables[SLOPE, k]
    for k in range(n):
        jacobian[WIDTH, k] = tables[WIDENING, k] - room.u[k] * tables[SLOPE, k]
    for a in range(N_PEAK, jacobian.shape[0]):
        for k in range(n):
            jacobian[a, k] = tables[N_SHAPE + a - N_PEAK, k]


@in_place
def _spread(covariance, room, n):
    """Write the variance of the logarithm of the peak that the match leaves."""
    jacobian, moved, variance = room.jacobian, room.residual, room.inverse
    for k in range(n):
        variance[k] = 0.0
    for a in range(jacobian.shape[0]):
        for k in range(n):
            moved[k] = covariance[a, a] * jacobian[a, k]
        for b in range(a):
            for k in range(n):
                moved[k] += 2.0 * covariance[a, b] * jacobian[b, k]
        for k in range(n):
            variance[k] += moved[k] * jacobian[a, k]


@in_place
def _opened(u, opening, first, last):
    """Compute the error of the power of the tail beyond the window."""
    return opening * math.log(max(u / last, u / first, 1.0))


@in_place
def _write_errors(i, matched, room, peaks, n):
    """Write the standard deviation and the band of the logarithm of the peak."""
    tables, wider, opening = room.tables, matched.wider[i], matched.opening[i]
    own = tables.shape[0] - 1
    for k in range(n):
        variance = max(room.inverse[k] * matched.inflation[i], 0.0) + MODEL_FLOOR**2
        variance += tables[SCATTER, k] ** 2 + tables[own, k] ** 2
        room.inverse[k] = variance * wider**2
    for k in range(n):
        if opening > 0.0:
            opened = _opened(room.u[k], opening, matched.first[i], matched.last[i])
            room.inverse[k] += opened**2
        peaks.sigma[i, k] = _kept(math.sqrt(room.inverse[k]), 0.0, _LARGEST_SIGMA)
        peaks.below[i, k] = peaks.sigma[i, k] * tables[own - 2, k]
        peaks.above[i, k] = peaks.sigma[i, k] * tables[own - 1, k]


@in_place
def _put_peak(i, matched, axis, room):
    """Put a matched spectrum where it is evaluated."""
    for k in range(axis.middle.size):
        room.energy[k] = axis.start + axis.step * (matched.channel[i] + axis.middle[k])
    room.peak[HEIGHT] = matched.log_height[i]
    for a in range(N_PEAK, room.peak.size):
        room.peak[a] = matched.coefficients[i, a - N_PEAK]


@compiled
def evaluate_groups(matched, axis, rows, room, peaks):
    """Evaluate peaks in the middle of every group.

    Parameters
    ----------
    matched : Matched
    axis : Axis
    rows : Rows
        Logarithm, slope, shared error and widening of the shape, the modes, then the ends of the
        band in standard deviations and the error of single channels.
    room : Room
        Written to.
    peaks : Peaks
        Written to; without room for errors they are left out.
    """
    n, n_tables = axis.middle.size, rows.values.shape[2]
    for i in range(matched.centre.size):
        _put_peak(i, matched, axis, room)
        _locate(matched.centre[i], matched.fwhm[i], rows=rows, room=room, n=n)
        corners = _corners(rows.values, matched.node[i])
        _look_up(corners, matched.fraction[i], room=room, n=n, n_tables=n_tables)
        _add_up(room, math.log(matched.fwhm[i]) - rows.log_fwhm, n)
        _level(room.expected, room.u, n)
        _clip(room.expected, n)
        for k in range(n):
            peaks.log_zlp[i, k] = room.expected[k]
        if not peaks.sigma.size:
            continue
        _differentiate_logarithm(room, n)
        _spread(matched.covariance[i], room, n)
        _write_errors(i, matched, room, peaks=peaks, n=n)


class Doubt(NamedTuple):
    """Limits up to which peaks may be off the counts of their groups without a closer look.

    Attributes
    ----------
    visible, highest : float
        Parts of the highest counts per channel: what shows at all; what no peak exceeds by so many times.
    unknown : float
        Standard deviation of the logarithm of the highest group of a peak that is not known; other
        groups above it are compared with the highest counts.
    first, last : int
        Groups of the core: the first, and one past the last.
    middle : int
        Group of the peak.
    """

    visible: float
    highest: float
    unknown: float
    first: int
    last: int
    middle: int


@in_place
def _rises_above(i, groups, zlp, visible):
    """Tell whether three neighbouring groups of a peak lie clearly above their counts."""
    together, most = 0, 0
    for g in range(zlp.size):
        least = max(2.0 * groups.sums[i, g], visible * groups.n_channels[g])
        together = together + 1 if groups.complete[i, g] and zlp[g] > least else 0
        most = max(most, together)
    return most >= 3


@in_place
def _highest_of(i, groups):
    """Find the highest counts per channel of groups on the axis; those beyond it count as none."""
    highest = -math.inf
    for g in range(groups.n_channels.size):
        counts = groups.sums[i, g] if groups.complete[i, g] else 0.0
        highest = max(highest, counts / groups.n_channels[g])
    return highest


@in_place
def _is_higher(groups, zlp, most):
    """Tell whether some group of a peak holds more counts per channel than it may."""
    highest = -math.inf
    for g in range(zlp.size):
        highest = max(highest, zlp[g] / groups.n_channels[g])
    return highest > most


@in_place
def _is_unknown(groups, zlp, sigma, doubt, most):
    """Tell whether some group of a peak is uncertain by more counts per channel than there may be."""
    highest = -math.inf
    for g in range(zlp.size):
        if sigma[g] > doubt.unknown:
            highest = max(highest, math.sinh(sigma[g]) * zlp[g] / groups.n_channels[g])
    return highest > most


@in_place
def _is_below(i, groups, zlp, doubt):
    """Tell whether the core of a peak is clearly lower than its counts."""
    counts, expected = 0.0, 0.0
    for g in range(doubt.first, doubt.last):
        if groups.complete[i, g]:
            counts += groups.sums[i, g]
            expected += zlp[g]
    return doubt.highest * expected < counts


@compiled
def doubt_peaks(groups, fwhm, peaks, doubt, room, doubted):
    """Tell which peaks must be looked at closely, for they may not be where their counts are.

    Parameters
    ----------
    groups : Groups
    fwhm : ndarray of float of shape (n_spectra,)
    peaks : Peaks
    doubt : Doubt
    room : Room
        Written to.
    doubted : ndarray of bool of shape (n_spectra,)
        Written to.
    """
    n, zlp = groups.n_channels.size, room.expected
    for i in range(fwhm.size):
        known = 0.0
        for g in range(n):
            known += peaks.log_zlp[i, g] + peaks.sigma[i, g]
            zlp[g] = peaks.log_zlp[i, g]
        doubted[i] = not math.isfinite(known)
        if doubted[i]:
            continue
        room.peak[WIDTH] = math.log(fwhm[i])
        _bend(groups, 0, room=room, n=n)
        _take_exponential(zlp, room.x, room.bits, n)
        for g in range(n):
            zlp[g] *= room.scale[g]
        highest = _highest_of(i, groups)
        doubted[i] = (
            peaks.sigma[i, doubt.middle] > doubt.unknown
            or _rises_above(i, groups, zlp, max(doubt.visible * highest, 0.0))
            or _is_higher(groups, zlp, doubt.highest * highest)
            or _is_unknown(groups, zlp, peaks.sigma[i], doubt=doubt, most=doubt.highest * highest)
            or _is_below(i, groups, zlp, doubt)
        )


# --- the peak in every channel --------------------------------------------------------------------


class Spline(NamedTuple):
    """Cubic spline through the middles of groups, with the factors of the system for its slopes.

    Attributes
    ----------
    middle : ndarray of float of shape (n_groups,)
        In channels from the peak.
    begin : ndarray of int of shape (n_groups,)
        First channel at or beyond each middle.
    lower, upper, diagonal : ndarray of float of shape (n_groups,)
        Factors: below the diagonal, above it, and one over it.
    fraction : ndarray of float of shape (n_between,)
        Of the way between the middles beside them at which channels lie, from the first of ``begin`` on.
    """

    middle: np.ndarray
    begin: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    diagonal: np.ndarray
    fraction: np.ndarray

    @classmethod
    def through(cls, middle):
        """Factorise the system of a spline whose third derivative is continuous next to its ends.

        Parameters
        ----------
        middle : ndarray of shape (n_groups,)
            At least four.

        Returns
        -------
        Spline
        """
        middle = np.asarray(middle, float)
        width = np.diff(middle)
        below = np.concatenate([[0.0], width[1:], [middle[-1] - middle[-3]]])
        above = np.concatenate([[middle[2] - middle[0]], width[:-1], [0.0]])
        diagonal = np.concatenate([width[1:2], 2 * (width[1:] + width[:-1]), width[-2:-1]])
        for g in range(1, middle.size):
            below[g] /= diagonal[g - 1]
            diagonal[g] -= below[g] * above[g - 1]
        begin = np.ceil(middle).astype(np.int64)
        channel = np.arange(begin[0], begin[-1])
        group = np.searchsorted(begin, channel, side="right") - 1
        return cls(
            middle=middle,
            begin=begin,
            lower=below,
            upper=above,
            diagonal=1 / diagonal,
            fraction=(channel - middle[group]) / width[group],
        )


class Shared(NamedTuple):
    """Numbers that all spectra share.

    Attributes
    ----------
    axis : Axis
    spline : Spline
    curve : ndarray of float of shape (n_nodes,)
        Coherent residual; empty where there is none.
    curve_start, curve_step : float
        First node and distance of the nodes, FWHM.
    pattern, pattern_error : ndarray of float of shape (n_energy,)
        Deviations of the sensitivities of channels and their errors; empty where there are none.
    dark_level : ndarray of float of shape (n_energy,)
        Counts taken off.
    gain, least, readout, unit : float
        Variance for each count of single channels; counts that an empty
        channel is taken to hold; read-out noise; counts of an electron.
    """

    axis: Axis
    spline: Spline
    curve: np.ndarray
    curve_start: float
    curve_step: float
    pattern: np.ndarray
    pattern_error: np.ndarray
    dark_level: np.ndarray
    gain: float
    least: float
    readout: float
    unit: float


class Spectra(NamedTuple):
    """Spectra that results are evaluated of.

    Attributes
    ----------
    counts : ndarray of shape (n_all, n_energy)
        As measured; empty where they are not needed.
    variance : ndarray of float of shape (n_all, n_energy)
        Of the counts; empty where the noise model tells it.
    rows : ndarray of int of shape (n_spectra,)
        Places of the spectra in all of these and in the results.
    channel, centre, fwhm, highest : ndarray of float of shape (n_spectra,)
    """

    counts: np.ndarray
    variance: np.ndarray
    rows: np.ndarray
    channel: np.ndarray
    centre: np.ndarray
    fwhm: np.ndarray
    highest: np.ndarray


class Results(NamedTuple):
    """Results, of shape (n_all, n_energy), written to; those of no size are not wanted."""

    subtracted: np.ndarray
    zlp: np.ndarray
    std: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    variance: np.ndarray


class Line(NamedTuple):
    """Room for what one spectrum needs: of every channel, then of every group."""

    zlp: np.ndarray
    std: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    scale: np.ndarray
    bits: np.ndarray
    slope: np.ndarray
    share: np.ndarray
    at_std: np.ndarray
    at_lower: np.ndarray

    @classmethod
    def of(cls, n_energy, n_groups):
        """Make room.

        Parameters
        ----------
        n_energy, n_groups : int

        Returns
        -------
        Line
        """
        scale = np.ones(max(n_energy, n_groups))
        made = {name: np.zeros(n_energy) for name in cls._fields[:4]}
        made |= {name: np.zeros(n_groups) for name in cls._fields[6:]}
        return cls(scale=scale, bits=scale.view(np.int64), **made)


@part
def _find_slopes(values, spline, slope):
    """Write the slopes of the spline at the middles of the groups."""
    x, n = spline.middle, values.size
    first, second = x[1] - x[0], x[2] - x[1]
    both = first + second
    right = (first + 2.0 * both) * second * (values[1] - values[0]) / first
    slope[0] = (right + first**2 * (values[2] - values[1]) / second) / both
    for g in range(1, n - 1):
        before, after = x[g] - x[g - 1], x[g + 1] - x[g]
        right = after / before * (values[g] - values[g - 1])
        right += before / after * (values[g + 1] - values[g])
        slope[g] = 3.0 * right - spline.lower[g] * slope[g - 1]
    first, second = x[n - 1] - x[n - 2], x[n - 2] - x[n - 3]
    both = first + second
    right = (2.0 * both + first) * second * (values[n - 1] - values[n - 2]) / first
    right = (right + first**2 * (values[n - 2] - values[n - 3]) / second) / both
    slope[n - 1] = (right - spline.lower[n - 1] * slope[n - 2]) * spline.diagonal[n - 1]
    for g in range(n - 2, -1, -1):
        slope[g] = (slope[g] - spline.upper[g] * slope[g + 1]) * spline.diagonal[g]


@part
def _interval(g, begin, channel, n_energy):
    """Find the channels of the axis between two middles: the first, and one past the last."""
    low = min(max(begin[g] + channel, 0), n_energy)
    return low, min(max(begin[g + 1] + channel, low), n_energy)


@part
def _draw_ends(values, begin, channel, line):
    """Continue a line beyond the outermost middles, where it is constant."""
    low, high = begin[0] + channel, begin[-1] + channel
    line[: min(max(low, 0), line.size)] = values[0]
    line[min(max(high, 0), line.size) :] = values[-1]


@part
def _draw_spline(values, slope, spline, channel, line):
    """Write a cubic spline on the channels of the axis, constant beyond the outermost middles."""
    x, begin = spline.middle, spline.begin
    _draw_ends(values, begin, channel, line)
    for g in range(values.size - 1):
        low, high = _interval(g, begin, channel, line.size)
        part, fraction = line[low:high], spline.fraction[low - channel - begin[0] :]
        width, rise = x[g + 1] - x[g], values[g + 1] - values[g]
        a, b = width * slope[g], width * slope[g + 1]
        for k in range(part.size):
            s = fraction[k]
            part[k] = values[g] + s * (
                a + s * (3.0 * rise - 2.0 * a - b + s * (a + b - 2.0 * rise))
            )


@part
def _draw_lines(values, spline, channel, line):
    """Write straight lines between the middles of groups, constant beyond the outermost."""
    begin = spline.begin
    _draw_ends(values, begin, channel, line)
    for g in range(values.size - 1):
        low, high = _interval(g, begin, channel, line.size)
        part, fraction = line[low:high], spline.fraction[low - channel - begin[0] :]
        here, rise = values[g], values[g + 1] - values[g]
        for k in range(part.size):
            part[k] = here + fraction[k] * rise


@in_place
def _add_residual(i, spectra, shared, zlp):
    """Multiply a peak by the coherent residual."""
    curve, last = shared.curve, shared.curve.size - 1
    per_channel = shared.axis.step / spectra.fwhm[i] / shared.curve_step
    u = (shared.axis.start - spectra.centre[i]) / spectra.fwhm[i]
    first = (u - shared.curve_start) / shared.curve_step
    low = min(max(math.ceil(-first / per_channel), 0.0), zlp.size + 0.0)
    high = min(max(math.floor((last - first) / per_channel) + 1.0, low), zlp.size + 0.0)
    part = zlp[int(low) : int(high)]
    first += per_channel * low
    for k in range(part.size):
        place = first + per_channel * k
        node = min(max(int(place), 0), last - 1)
        part[k] *= 1.0 + curve[node] + (place - node) * (curve[node + 1] - curve[node])


@in_place
def _draw_peak(i, spectra, log_zlp, shared, line):
    """Write the counts of a peak in every channel."""
    spline, zlp = shared.spline, line.zlp
    _find_slopes(log_zlp, spline, line.slope)
    _draw_spline(log_zlp, line.slope, spline=spline, channel=int(spectra.channel[i]), line=zlp)
    _take_exponential(zlp, line.scale, line.bits, zlp.size)
    if shared.curve.size:
        _add_residual(i, spectra, shared, zlp)
    for k in range(shared.pattern.size):
        zlp[k] *= 1.0 + shared.pattern[k]


@part
def _limit(log_zlp, sigma, highest, line):
    """Write relative errors at groups, no larger than those of a peak as high as the highest counts.

    ``at_std`` is left with the standard deviation of the ZLP over the ZLP, ``share`` with the part that
    is left of that of its logarithm.
    """
    n = sigma.size
    for g in range(n):
        line.at_lower[g] = -log_zlp[g]
        line.at_std[g] = sigma[g]
        line.share[g] = 1.0
    _take_exponential(line.at_lower, line.scale, line.bits, n)
    _take_exponential(line.at_std, line.scale, line.bits, n)
    for g in range(n):
        most = highest * line.at_lower[g]
        line.at_std[g] = 0.5 * (line.at_std[g] - 1.0 / line.at_std[g])
        if line.at_std[g] > most:
            line.at_std[g] = most
            line.share[g] = math.asinh(most) / sigma[g]


@part
def _draw_bound(ends, bound, shared, channel, line):
    """Write how far an end of the band lies above the peak, relatively; ``ends`` are of its logarithm."""
    values = line.at_lower
    for g in range(values.size):
        values[g] = ends[g] * line.share[g]
    _take_exponential(values, line.scale, line.bits, values.size)
    for g in range(values.size):
        values[g] -= 1.0
    _draw_lines(values, shared.spline, channel, bound)


@in_place
def _draw_errors(i, spectra, peaks, shared, line, results):
    """Write errors in every channel, as fractions of the peak."""
    channel = int(spectra.channel[i])
    _limit(peaks.log_zlp[i], peaks.sigma[i], max(spectra.highest[i], shared.unit), line)
    _draw_lines(line.at_std, shared.spline, channel, line.std)
    if results.lower.size:
        _draw_bound(peaks.above[i], line.lower, shared=shared, channel=channel, line=line)
    if results.upper.size:
        _draw_bound(peaks.below[i], line.upper, shared=shared, channel=channel, line=line)
    for k in range(shared.pattern_error.size):
        wider = math.sqrt(line.std[k] ** 2 + shared.pattern_error[k] ** 2)
        line.lower[k] *= wider / line.std[k]
        line.upper[k] *= wider / line.std[k]
        line.std[k] = wider


@in_place
def _subtract(row, spectra, shared, line, results):
    """Write what is made of the counts of a spectrum."""
    counts, dark_level, zlp = spectra.counts[row], shared.dark_level, line.zlp
    for k in range(results.subtracted.shape[1]):
        results.subtracted[row, k] = counts[k] - dark_level[k] - zlp[k]
    for k in range(results.lower.shape[1]):
        results.lower[row, k] = counts[k] - dark_level[k] - (1.0 + line.lower[k]) * zlp[k]
    for k in range(results.upper.shape[1]):
        results.upper[row, k] = counts[k] - dark_level[k] - (1.0 + line.upper[k]) * zlp[k]


@in_place
def _write_variance(row, spectra, shared, line, variance):
    """Write the variance of what is left of a spectrum."""
    white = shared.readout**2
    if spectra.variance.size:
        for k in range(variance.size):
            variance[k] = (line.std[k] * line.zlp[k]) ** 2 + spectra.variance[row, k]
        return
    for k in range(variance.size):
        counts = max(spectra.counts[row, k] - shared.dark_level[k], shared.least)
        variance[k] = (line.std[k] * line.zlp[k]) ** 2 + shared.gain * counts + white


@compiled
def evaluate_channels(spectra, peaks, shared, line, results):
    """Evaluate results in every channel.

    Parameters
    ----------
    spectra : Spectra
    peaks : Peaks
    shared : Shared
    line : Line
        Written to.
    results : Results
        Written to.
    """
    needs_errors = results.std.size + results.lower.size + results.upper.size
    needs_errors += results.variance.size
    for i in range(spectra.rows.size):
        row = spectra.rows[i]
        _draw_peak(i, spectra, peaks.log_zlp[i], shared=shared, line=line)
        if needs_errors:
            _draw_errors(i, spectra, peaks, shared=shared, line=line, results=results)
        for k in range(results.zlp.shape[1]):
            results.zlp[row, k] = line.zlp[k]
        for k in range(results.std.shape[1]):
            results.std[row, k] = line.std[k] * line.zlp[k]
        if spectra.counts.size:
            _subtract(row, spectra, shared=shared, line=line, results=results)
        if results.variance.size:
            _write_variance(row, spectra, shared=shared, line=line, variance=results.variance[row])


@compiled
def draw_directions(directions, channel, spline, zlp, out):
    """Expand deviations of ln(ZLP) in the middle of groups to counts of channels.

    Parameters
    ----------
    directions : ndarray of float of shape (n_spectra, n_directions, n_groups)
    channel : ndarray of int of shape (n_spectra,)
        Of the peaks.
    spline : Spline
    zlp : ndarray of float of shape (n_spectra, n_energy)
        Counts.
    out : ndarray of float of shape (n_spectra, n_directions, n_energy)
        Written to.
    """
    for i in range(channel.size):
        for number in range(directions.shape[1]):
            line = out[i, number]
            _draw_lines(directions[i, number], spline, channel=channel[i], line=line)
            for k in range(line.size):
                line[k] *= zlp[i, k]


# --- counts ---------------------------------------------------------------------------------------


@compiled
def collect_groups(counts, channel, dark_level, pattern, edges, sums):
    """Sum the channels of each group of spectra; zero for groups that reach beyond the axis.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        As measured.
    channel : ndarray of int of shape (n_spectra,)
        Highest channel of each spectrum.
    dark_level : ndarray of float of shape (n_energy,)
        Counts taken off.
    pattern : ndarray of float of shape (n_energy,)
        Deviations of the sensitivities of channels; empty where there are none.
    edges : ndarray of int of shape (n_groups + 1,)
        In channels from the peak.
    sums : ndarray of float of shape (n_spectra, n_groups)
        Written to.
    """
    for i in range(channel.size):
        for g in range(edges.size - 1):
            low, high = edges[g] + channel[i], edges[g + 1] + channel[i]
            sums[i, g] = 0.0
            if low >= 0 and high <= counts.shape[1]:
                sums[i, g] = _total(counts[i], low, high, dark_level=dark_level, pattern=pattern)


@part
def _total(counts, low, high, dark_level, pattern):
    """Sum neighbouring channels, free of dark level and pattern."""
    total = 0.0
    if pattern.size:
        for k in range(low, high):
            total += (counts[k] - dark_level[k]) / (1.0 + pattern[k])
        return total
    for k in range(low, high):
        total += counts[k] - dark_level[k]
    return total


@compiled
def weighted_sums(counts, rows, weights, sums, sizes):
    """Sum the counts of spectra with weights, and their absolute values without.

    Parameters
    ----------
    counts : ndarray of shape (n_all, n_energy)
    rows : ndarray of int of shape (n_spectra,)
        Places of the spectra.
    weights : ndarray of float of shape (n_energy,)
    sums, sizes : ndarray of float of shape (n_spectra,)
        Written to.
    """
    for i in range(rows.size):
        row, total, size = counts[rows[i]], 0.0, 0.0
        for k in range(row.size):
            value = float(row[k])
            total += value * weights[k]
            size += abs(value)
        sums[i], sizes[i] = total, size
