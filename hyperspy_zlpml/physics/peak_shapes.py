# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes of peaks of losses, with their derivatives by the logarithms of position and width.

Positions and widths are positive, and stay so in fits by their logarithms: the Drude form is even
in its energy, and a fit of the energy itself finds the negative one as often.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from hyperspy_zlpml import arguments

#: FWHM of a Gaussian over its standard deviation.
FWHM_OVER_SIGMA = 2 * np.sqrt(2 * np.log(2))
#: Nodes of the integral over a Drude peak, and the largest energy in units of Ep + width.
_NODES, _REACH = 400, 60.0
#: Highest order of a background: more of them follow any peak.
_HIGHEST_ORDER = 4
#: Widths of peaks in units of their energy: wider ones are half as high where nothing is lost.
_WIDEST = 2.0


def gaussian(energy, position, width):
    """Compute a Gaussian of unit area, and its derivatives by ln position and ln width.

    Parameters
    ----------
    energy : ndarray
    position, width : ndarray that broadcasts with ``energy``
        Width is the full width at half maximum.

    Returns
    -------
    value, by_position, by_width : ndarray

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.peak_shapes import gaussian
    >>> value, _, _ = gaussian(np.array([1.5, 2.0, 2.5]), position=2.0, width=1.0)
    >>> (value / value[1]).round(6)
    array([0.5, 1. , 0.5])
    """
    sigma = width / FWHM_OVER_SIGMA
    u = (energy - position) / sigma
    value = np.exp(-0.5 * u**2) / (sigma * np.sqrt(2 * np.pi))
    return value, value * u * position / sigma, value * (u**2 - 1)


def lorentzian(energy, position, width):
    """Compute a Lorentzian of unit area, and its derivatives by ln position and ln width.

    Parameters
    ----------
    energy : ndarray
    position, width : ndarray that broadcasts with ``energy``
        Width is the full width at half maximum.

    Returns
    -------
    value, by_position, by_width : ndarray
    """
    distance, half = energy - position, 0.5 * width
    total = distance**2 + half**2
    value = half / (np.pi * total)
    return value, value * 2 * distance * position / total, value * (1 - 2 * half**2 / total)


def drude(energy, position, width):
    """Compute the loss function of free electrons, and its derivatives by ln Ep and ln width.

    ``E G Ep**2 / ((E**2 - Ep**2)**2 + (E G)**2)``, the imaginary part of -1/eps of a Drude metal
    (Egerton, *Electron Energy-Loss Spectroscopy in the Electron Microscope*, 3rd ed., eq. 3.43).

    Parameters
    ----------
    energy : ndarray
        Zero below 0.
    position, width : ndarray that broadcasts with ``energy``
        ``Ep`` and ``G``.

    Returns
    -------
    value, by_position, by_width : ndarray

    Examples
    --------
    At the plasmon energy it is Ep / G:

    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.peak_shapes import drude
    >>> value, _, _ = drude(np.array([15.0]), position=15.0, width=0.5)
    >>> float(value[0])
    30.0
    """
    energy = np.maximum(energy, 0.0)
    squared, damped = energy**2 - position**2, (energy * width) ** 2
    total = squared**2 + damped
    value = energy * width * position**2 / total
    by_position = value * (2 + 4 * position**2 * squared / total)
    return value, by_position, value * (1 - 2 * damped / total)


def drude_maximum(position, width):
    """Compute the energy at which :func:`drude` is largest, and its derivatives.

    Exact, where ``sqrt(Ep**2 - G**2 / 4)`` holds for small ``G``.

    Parameters
    ----------
    position, width : ndarray
        ``Ep`` and ``G``.

    Returns
    -------
    maximum, by_position, by_width : ndarray
        Derivatives by ln Ep and ln G.

    Examples
    --------
    Silicon: the maximum lies 0.2 eV below the plasmon energy.

    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.peak_shapes import drude_maximum
    >>> maximum, _, _ = drude_maximum(np.array([16.87]), np.array([5.4]))
    >>> maximum.round(2)
    array([16.65])
    """
    p, g = position**2, width**2
    root = np.sqrt(16 * p**2 - 4 * p * g + g**2)
    maximum = np.sqrt((2 * p - g + root) / 6)
    by_p = (2 + (16 * p - 2 * g) / root) / (12 * maximum)
    by_g = (-1 + (g - 2 * p) / root) / (12 * maximum)
    return maximum, 2 * p * by_p, 2 * g * by_g


@dataclass(frozen=True)
class _Peak:
    """Description of a peak: energies from the zero-loss peak, in the units of the axis."""

    energy: float
    width: float
    left: float | None = None
    right: float | None = None

    def __post_init__(self):
        arguments.positive(self.energy, "energy")
        arguments.positive(self.width, "width")
        if self.width >= _WIDEST * self.energy:
            allowed = f"less than {_WIDEST:g} times the energy, {_WIDEST * self.energy:g}"
            arguments.refuse(
                self.width, "width", f"{allowed}: a wider peak reaches to the zero loss"
            )
        for name, side in (("left", -1), ("right", 1)):
            end = getattr(self, name)
            if end is not None and not side * (arguments.number(end, name) - self.energy) > 0:
                where = "below" if side < 0 else "above"
                arguments.refuse(end, name, f"an energy {where} that of the peak, {self.energy:g}")

    def window(self, least=0.0):
        """Find the energies between which the peak is fitted.

        Parameters
        ----------
        least : float
            Distance of an end that was not given, at least.

        Returns
        -------
        left, right : float
        """
        reach = max(self.reach * self.width, least)
        left = self.energy - reach if self.left is None else self.left
        return max(left, 0.0), self.energy + reach if self.right is None else self.right

    def scaled(self, factor):
        """Take the same peak in other units.

        Parameters
        ----------
        factor : float
            Of the new units in an old one.

        Returns
        -------
        the same kind of peak
        """
        energies = ("energy", "width", "left", "right")
        known = {name: getattr(self, name) for name in energies}
        scaled = {name: one * factor for name, one in known.items() if one is not None}
        return replace(self, **scaled)


@dataclass(frozen=True)
class Plasmon(_Peak):
    """Volume plasmon that is looked for: Drude loss function of the single losses.

    Parameters
    ----------
    energy : float
        About where it is, from the zero-loss peak, in the units of the axis.
    width : float
        About how wide it is (``G`` of :func:`.drude`).
    left, right : float, optional
        Energies between which it is fitted; default one width from it.

    Examples
    --------
    >>> from hyperspy_zlpml.physics.peak_shapes import Plasmon
    >>> silicon = Plasmon(energy=16.7, width=4.0)
    >>> silicon.window()
    (12.7, 20.7)
    """

    #: Half of the window that is fitted, in widths.
    reach = 1.0
    #: Order of the polynomial below: nothing lies below.
    background = None
    #: Name of the function of the shape.
    shape = "drude"


@dataclass(frozen=True)
class Exciton(_Peak):
    """Narrow peak that is looked for on a smooth background: an exciton, an interband peak.

    Parameters
    ----------
    energy : float
        About where it is, from the zero-loss peak, in the units of the axis.
    width : float
        About how wide it is by itself, FWHM without the resolution of the instrument.
    left, right : float, optional
        Energies between which it is fitted; default two widths from it, and no less than one
        FWHM of the zero-loss peak. They should not hold the onset of losses: that looks like a peak.
    shape : {"gaussian", "lorentzian"}
    background : int
        Order of the polynomial below the peak.

    Examples
    --------
    >>> from hyperspy_zlpml.physics.peak_shapes import Exciton
    >>> Exciton(energy=2.0, width=0.2).background
    2
    >>> Exciton(energy=2.0, width=0.2, shape="square")
    Traceback (most recent call last):
    ValueError: shape: expected one of ['gaussian', 'lorentzian'], got 'square'.
    """

    shape: str = "gaussian"
    background: int = 2

    #: Half of the window that is fitted, in widths.
    reach = 2.0

    def __post_init__(self):
        super().__post_init__()
        arguments.choice(self.shape, "shape", {"gaussian", "lorentzian"})
        arguments.count(self.background, "background", least=0, most=_HIGHEST_ORDER)


#: Functions of the shapes by their names.
SHAPES = {"gaussian": gaussian, "lorentzian": lorentzian, "drude": drude}


def drude_area(position, width, weight=None):
    """Integrate the loss function of free electrons over all energies.

    Parameters
    ----------
    position, width : ndarray of shape (n,)
        ``Ep`` and ``G``.
    weight : callable, optional
        Of the energy, by which the loss function is multiplied: the angular logarithm.

    Returns
    -------
    area, by_position, by_width : ndarray of shape (n,)
        Derivatives by ln Ep and ln G.

    Examples
    --------
    A narrow plasmon has the area pi Ep / 2:

    >>> import numpy as np
    >>> from hyperspy_zlpml.physics.peak_shapes import drude_area
    >>> area, _, _ = drude_area(np.array([15.0]), np.array([0.01]))
    >>> (area / 15.0 * 2 / np.pi).round(2)
    array([1.])
    """
    # Nodes dense about the peak: E = Ep + G sinh(x) / 2, from 0 to far above.
    ends = np.arcsinh(np.stack([-position, _REACH * (position + width)]) * 2 / width)
    nodes, weights = _nodes()
    half = 0.5 * (ends[1] - ends[0])[:, None]
    x = ends[0][:, None] + half * (nodes + 1)
    energy = position[:, None] + 0.5 * width[:, None] * np.sinh(x)
    measure = half * weights * 0.5 * width[:, None] * np.cosh(x)
    if weight is not None:
        measure = measure * weight(energy)
    parts = drude(energy, position[:, None], width[:, None])
    return tuple((part * measure).sum(-1) for part in parts)


@lru_cache(maxsize=1)
def _nodes():
    """Nodes and weights of Gauss and Legendre from -1 to 1."""
    return np.polynomial.legendre.leggauss(_NODES)
