# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses of electrons that are not slow beside the light in the specimen.

Where the real part of the dielectric function exceeds ``(c/v)^2`` the electron emits Cherenkov
radiation, and a film guides light; both add losses below and about the band gap that are none of
the loss function ``Im[-1/eps]``.

The film: Maxwell's equations at normal incidence, solved for the fields of the electron in the
film, the waves that its two faces reflect and refract, and the work these do on the electron on its
whole way, as E. Kroeger did (Z. Phys. 216, 115 (1968)). Written in units of ``v/omega``: ``x`` is the
scattering angle over ``theta_E``. All fields are analytic functions of ``u = x^2``, and so is their
integral: the poles of guided waves lie above the real axis, and the path of integration goes below
it, through smooth functions only. Where the real part of epsilon is between -1 and 0 some waves run
backwards, with poles below the axis: the path then stays on it.
"""

from functools import lru_cache

import numpy as np
from scipy.special import roots_legendre

from hyperspy_zlpml.compute.compiled import compiled, laid_out
from hyperspy_zlpml.physics.loss_probability import (
    distance_per_radian,
    volume_factor,
    volume_loss,
)

#: Imaginary part of epsilon where nothing is absorbed.
_LEAST_ABSORPTION = 1e-9
#: Real part of epsilon below which no wave of the film runs backwards, as some do up to 0.
_LAST_FORWARD = -1.0
#: Angle by which the path of integration leaves the real axis, rad.
_TILT = 0.8
#: Points on the ray at that angle up to ``u`` of _MIDDLE and beyond, on the arc back to the axis.
_RAY_POINTS = (48, 20)
_ARC_POINTS = 10
_MIDDLE = 30.0
#: Points on the real axis inside and outside the light line.
_AXIS_POINTS = (24, 160)
#: Where the path begins: ``u`` on the ray, and distance from the light line, over that line's.
_SMALLEST = 1e-6
#: Complex numbers in one array of a chunk.
_CHUNK = 2**17


def cherenkov_threshold(beam):
    """Compute ``(c/v)^2``, above which the real part of epsilon makes Cherenkov losses.

    Parameters
    ----------
    beam : Beam

    Returns
    -------
    float

    Examples
    --------
    >>> from hyperspy_zlpml.physics import Beam
    >>> from hyperspy_zlpml.physics.retardation import cherenkov_threshold
    >>> [round(cherenkov_threshold(Beam(energy, 15.0)), 2) for energy in (60.0, 80.0, 200.0, 300.0)]
    [5.02, 3.96, 2.07, 1.66]
    """
    return 1 / beam.speed_squared


def retarded_volume_loss(energy, epsilon, beam):
    """Compute the losses in the volume, Cherenkov's among them.

    ``Im[-(1/eps - b2) ln((beta^2 + theta_E^2 m) / (theta_E^2 m))] / (2 pi a0 T)`` with
    ``b2 = (v/c)^2``, ``m = 1 - eps b2``: the angular distribution ``Im[-(1/eps - b2) / (theta^2 +
    theta_E^2 m)]`` (Egerton, chapter 3) integrated to the collection angle.

    Parameters
    ----------
    energy : ndarray of shape (n_energy,)
        eV; positive.
    epsilon : ndarray of complex of shape (..., n_energy)
        Dielectric function, positive imaginary part.
    beam : Beam

    Returns
    -------
    ndarray of shape (..., n_energy)
        Probability per eV and nm of thickness.
    """
    speed2 = beam.speed_squared
    epsilon = _passive(epsilon)
    retardation = 1 - epsilon * speed2
    ratio2 = (1e-3 * beam.collection_angle / beam.characteristic_angle(energy)) ** 2
    logarithm = np.log(ratio2 + retardation) - np.log(retardation)
    with np.errstate(invalid="ignore"):  # NaN where nothing is known
        return volume_factor(beam) * (-(1 / epsilon - speed2) * logarithm).imag


def _passive(epsilon):
    """Take a dielectric function as one that absorbs, little where noise made it amplify."""
    epsilon = np.asarray(epsilon, complex)
    return epsilon.real + 1j * np.maximum(epsilon.imag, _LEAST_ABSORPTION)


def retarded_excess(energy, epsilon, beam):
    """Compute what retardation adds to the losses in the volume.

    Parameters
    ----------
    energy : ndarray of shape (n_energy,)
        eV; positive.
    epsilon : ndarray of complex of shape (..., n_energy)
        Dielectric function, positive imaginary part.
    beam : Beam

    Returns
    -------
    ndarray of shape (..., n_energy)
        Probability per eV and nm of thickness: :func:`retarded_volume_loss` minus
        :func:`.volume_loss`.
    """
    return retarded_volume_loss(energy, epsilon, beam) - volume_loss(energy, epsilon, beam)


def film_loss(energy, epsilon, thickness, beam):
    """Compute all losses of an electron that crosses a film in vacuum: volume, faces, guided light.

    Parameters
    ----------
    energy : ndarray of shape (n_energy,)
        eV; positive.
    epsilon : ndarray of complex of shape (..., n_energy)
        Dielectric function, positive imaginary part.
    thickness : float or ndarray of shape (...)
        nm.
    beam : Beam

    Returns
    -------
    ndarray of shape (..., n_energy)
        Probability per eV of the whole film; positive for every passive medium.

    Examples
    --------
    Light that a film guides is lost in a film that absorbs nothing, too, but less of it than in the
    volume: thin films have no room for it.

    >>> import numpy as np
    >>> from hyperspy_zlpml.physics import Beam
    >>> from hyperspy_zlpml.physics.retardation import film_loss, retarded_volume_loss
    >>> energy, clear, beam = np.array([3.0]), np.array([6.0 + 0j]), Beam(200.0, 15.0)
    >>> film = film_loss(energy, clear, np.array([20.0, 200.0, 2000.0]), beam)[:, 0]
    >>> volume = retarded_volume_loss(energy, clear, beam) * np.array([20.0, 200.0, 2000.0])
    >>> (film / volume).round(2)
    array([0.33, 0.9 , 1.  ])
    """
    volume = retarded_volume_loss(energy, epsilon, beam)
    faces = face_loss(energy, epsilon, thickness, beam)
    return np.asarray(thickness, float)[..., None] * volume + faces


def face_loss(energy, epsilon, thickness, beam):
    """Compute what the two faces of a film in vacuum change in the losses of its volume.

    Parameters
    ----------
    energy : ndarray of shape (n_energy,)
        eV; positive.
    epsilon : ndarray of complex of shape (..., n_energy)
        Dielectric function, positive imaginary part.
    thickness : float or ndarray of shape (...)
        nm.
    beam : Beam

    Returns
    -------
    ndarray of shape (..., n_energy)
        Probability per eV, with sign: :func:`film_loss` less ``thickness`` times
        :func:`retarded_volume_loss`.
    """
    thickness = np.asarray(thickness, float)[..., None]
    several = np.broadcast_arrays(energy, _passive(epsilon), thickness)
    energy, epsilon, thickness = (one.reshape(-1, 1) for one in several)
    loss = np.full(energy.size, np.nan)
    is_known = np.isfinite(epsilon) & np.isfinite(thickness) & np.isfinite(energy)
    is_forward = (epsilon.real > 0) | (epsilon.real < _LAST_FORWARD)
    for chosen, path in ((is_forward, _below_poles), (~is_forward, _on_axis)):
        rows = np.flatnonzero(chosen & is_known)
        for chunk in np.array_split(rows, 1 + rows.size * sum(_AXIS_POINTS) // _CHUNK):
            loss[chunk] = _loss_at_faces(
                energy[chunk], epsilon[chunk], thickness[chunk], beam=beam, path=path
            )
    return loss.reshape(several[0].shape)


def film_excess(energy, epsilon, thickness, beam):
    """Compute what retardation and the faces of a film add to the losses of the volume.

    Parameters
    ----------
    energy : ndarray of shape (n_energy,)
        eV; positive.
    epsilon : ndarray of complex of shape (..., n_energy)
        Dielectric function, positive imaginary part.
    thickness : float or ndarray of shape (...)
        nm; positive.
    beam : Beam

    Returns
    -------
    ndarray of shape (..., n_energy)
        Probability per eV and nm of thickness: :func:`film_loss` over ``thickness``, minus
        :func:`.volume_loss`.
    """
    faces = face_loss(energy, epsilon, thickness, beam) / np.asarray(thickness, float)[..., None]
    return faces + retarded_excess(energy, epsilon, beam)


def _loss_at_faces(energy, epsilon, thickness, beam, path):
    """Integrate what the faces of a film change over the angle, 1 / eV, (n,) for columns (n, 1)."""
    largest = (1e-3 * beam.collection_angle / beam.characteristic_angle(energy)) ** 2
    length = distance_per_radian(energy, beam)
    u, weight = (laid_out(one, complex) for one in path(largest, beam.speed_squared))
    columns = laid_out(epsilon[:, 0], complex), laid_out((thickness / length)[:, 0])
    work = np.empty(len(u))
    _work_of_faces(u, weight, *columns, beam.speed_squared, work)
    return volume_factor(beam) * length[:, 0] * work


# Points, film and beam, and the room for what is found: nothing is allocated in compiled functions.
@compiled
def _work_of_faces(u, weight, epsilon, thickness, speed2, loss):  # noqa: PLR0913
    """Integrate the work of the waves that start from the faces; the loss is its imaginary part.

    Lengths in ``v/omega``, origin in the middle of the film. ``E_z`` is ``symmetric cosh(k z) +
    antisymmetric sinh(k z)`` in the film (times ``cosh(k a)`` here) and falls as ``exp(-k0 |z|)``
    outside; ``E_x`` and ``eps E_z`` are continuous at ``z = +-a``. Work is ``-i int E_z exp(-i z) dz``.

    Parameters
    ----------
    u, weight : ndarray of complex of shape (n, n_points)
        Squares of the angle, over that of theta_E, and their weights.
    epsilon : ndarray of complex of shape (n,)
    thickness : ndarray of shape (n,)
    speed2 : float
    loss : ndarray of shape (n,)
        Written to.
    """
    for number in range(len(epsilon)):
        eps, a = epsilon[number], thickness[number] / 2
        cos, sin = np.cos(a), np.sin(a)
        phase, back = complex(cos, sin), complex(cos, -sin)
        total = 0j
        for point in range(u.shape[1]):
            square = u[number, point]
            # The sheet on which waves leave the film is that below the real axis.
            k, k0 = np.sqrt(square - eps * speed2), np.sqrt(square - complex(speed2, 1e-18))
            fading = np.exp(-2 * a * k)
            even, odd = 1 + fading, 1 - fading
            # Fields of the electron itself, and the steps that its E_z and E_x make at the faces.
            inside, outside = 1 / (k**2 + 1), 1 / (k0**2 + 1)
            step_z = 1j * (inside * (1 - eps * speed2) - outside * (1 - speed2))
            step_x = square * (inside / eps - outside)
            symmetric = (1j * sin * step_x + cos * k0 * step_z) / (k * odd + k0 * eps * even)
            antisymmetric = (cos * step_x + 1j * sin * k0 * step_z) / (k * even + k0 * eps * odd)
            in_film = symmetric * (k * odd * cos + even * sin)
            in_film -= 1j * antisymmetric * (k * even * sin - odd * cos)
            behind = eps * (symmetric * even + antisymmetric * odd) - step_z * phase
            before = eps * (symmetric * even - antisymmetric * odd) - step_z * back
            in_vacuum = behind * back * (k0 - 1j) + before * phase * (k0 + 1j)
            work = 2 * in_film * inside + in_vacuum * outside
            total += work * weight[number, point]
        loss[number] = -total.real


def _below_poles(largest, speed2):
    """Place points from zero to real ``u`` (n, 1) on a ray below the real axis and an arc."""
    middle = np.minimum(_MIDDLE, largest)
    near, near_weight = _between(np.log(_SMALLEST * speed2), np.log(middle), _RAY_POINTS[0])
    far, far_weight = _between(np.log(middle), np.log(largest), _RAY_POINTS[1])
    ray = np.exp(np.hstack([near, far])) * np.exp(-1j * _TILT)
    angle, arc_weight = _between(-_TILT, 0.0, _ARC_POINTS)
    arc = largest * np.exp(1j * angle)
    weight = np.hstack([ray * np.hstack([near_weight, far_weight]), 1j * arc * arc_weight])
    return np.hstack([ray, arc]), weight


def _on_axis(largest, speed2):
    """Place points from zero to ``u`` (n, 1) on the real axis, closer near the light line."""
    last = np.arcsin(np.sqrt(np.minimum(largest / speed2, 1)))
    angle, angle_weight = _between(0.0, last, _AXIS_POINTS[0])
    beyond = np.maximum(largest / speed2 - 1, _SMALLEST) / _SMALLEST
    logarithm, log_weight = _between(0.0, np.log(beyond) / 2, _AXIS_POINTS[1])
    squared = _SMALLEST * np.exp(2 * logarithm)
    u = np.hstack([np.sin(angle) ** 2, 1 + squared])
    weight = np.hstack([np.sin(2 * angle) * angle_weight, 2 * squared * log_weight])
    return speed2 * u, speed2 * weight


def _between(left, right, n_points):
    """Place Gauss-Legendre points between numbers that broadcast, (n_points,) on the last axis."""
    nodes, weights = _gauss_legendre(n_points)
    half = (right - left) / 2
    return left + half * (nodes + 1), half * weights


@lru_cache
def _gauss_legendre(n_points):
    """Keep the points and weights of an order, which take a while to compute."""
    return roots_legendre(n_points)
