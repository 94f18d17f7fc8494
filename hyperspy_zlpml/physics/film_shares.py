# SPDX-License-Identifier: GPL-3.0-or-later
"""By what part the losses of a film exceed those that its thickness makes in the volume.

Retardation and faces add losses that a thickness counts as if the volume made them, but for what is taken off.
How many is estimated from as little as is known where no dielectric function is: the refractive index, the
energy of the main losses, and the thickness itself.
"""

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from hyperspy_zlpml.physics.dielectric_models import OscillatorModel
from hyperspy_zlpml.physics.loss_probability import volume_factor, volume_loss
from hyperspy_zlpml.physics.retardation import film_loss

#: Width of the oscillator over the energy of the main losses.
_WIDTH = 0.25
#: By how much more the excess may be than that of the model; where some is taken off, for the rest is a difference.
_MARGIN = 1.25
_MARGIN_OF_REST = 1.5
#: Energies at which losses are computed, up to this many times that of the main losses.
_N_ENERGIES = 40
_LAST = 8.0
#: Thicknesses at which they are computed, nm.
_THICKNESSES = np.geomspace(5.0, 1000.0, 10)
#: Indices at which they are computed, and by how much their inverse reaches beyond those given.
_N_INDICES = 4
_BEYOND = 1e-3
#: Inverse of the smallest index of which they are computed: at 1 the oscillator has no strength.
_LARGEST_INVERSE = 0.9995


def film_shares(index, thickness, *, main, lowest, excess):
    """Estimate what films lose beside the losses of their volume without retardation, and what is taken off.

    A material of one oscillator stands for any: its index is that given, ``n^2 - 1`` the strength at zero
    energy, and its losses are largest where those measured are.

    Parameters
    ----------
    index, thickness : ndarray of shape (...)
        Refractive index, infinite for a metal; nm.
    main : float
        Energy of the main losses, eV.
    lowest : float
        Energy from which losses are counted, eV.
    excess : Excess
        What is taken off, and the beam.

    Returns
    -------
    of_all, of_sum_rule : ndarray of shape (...)
        Excess over the losses of the volume that may be, relative to these: of all losses as they are; of
        losses over ``E ln(1 + (beta/theta_E)^2)``. A quarter more than the model has, half more where
        something is taken off. NaN where index or
        thickness is.

    Examples
    --------
    A film of a semiconductor, and one of a material in which light is faster than the electrons:

    >>> import numpy as np
    >>> from hyperspy_zlpml.physics import Beam
    >>> from hyperspy_zlpml.physics.film_shares import film_shares
    >>> from hyperspy_zlpml.physics.surface import Excess
    >>> nothing = Excess(Beam(200.0, 15.0), surface=False, relativistic=False)
    >>> index, ends = np.array([2.6, 1.2]), {"main": 22.0, "lowest": 1.0}
    >>> of_all, of_sum_rule = film_shares(index, np.full(2, 60.0), **ends, excess=nothing)
    >>> of_all.round(2), of_sum_rule.round(2)
    (array([0.08, 0.03]), array([0.2 , 0.05]))
    """
    inverse = 1 / np.asarray(index, float)
    if np.isnan(inverse).all():
        return (np.full(np.broadcast(inverse, thickness).shape, np.nan),) * 2
    ends = np.nanmin(inverse) - _BEYOND, np.nanmax(inverse) + _BEYOND
    nodes = np.linspace(*ends, _N_INDICES if np.ptp(ends) > 2.1 * _BEYOND else 2)
    energy = np.geomspace(lowest, _LAST * main, _N_ENERGIES)
    table = np.array(
        [_shares(np.clip(one, 0.0, _LARGEST_INVERSE), energy, main, excess) for one in nodes]
    )
    clipped = np.clip(thickness, _THICKNESSES[0], _THICKNESSES[-1])
    where = np.stack(np.broadcast_arrays(inverse, np.log(clipped)), axis=-1)
    found = RegularGridInterpolator((nodes, np.log(_THICKNESSES)), table, bounds_error=False)(where)
    return found[..., 0], found[..., 1]


def _shares(inverse, energy, main, excess):
    """Compute both parts for all thicknesses of one index, (n_thicknesses, 2)."""
    resonance = main * inverse
    model = OscillatorModel(((main**2 - resonance**2, resonance, _WIDTH * main),))
    epsilon, beam = model.epsilon(energy), excess.beam
    volume = volume_loss(energy, epsilon, beam)
    films = epsilon + 0 * _THICKNESSES[:, None]
    beside = film_loss(energy, films, _THICKNESSES, beam) / _THICKNESSES[:, None] - volume
    logarithm = beam.angular_logarithm(energy)
    taken_off = excess.per_thickness(energy, films, _THICKNESSES)
    beside -= volume_factor(beam) * logarithm * taken_off
    weights = np.stack([energy, 1 / logarithm])  # uniform in ln E
    margin = _MARGIN_OF_REST if excess else _MARGIN
    return margin * (beside @ weights.T) / (weights @ volume)
