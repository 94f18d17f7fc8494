# SPDX-License-Identifier: GPL-3.0-or-later
"""Physics of what is left when the zero-loss peak is removed: functions of arrays and numbers.

Every function takes a block of spectra, their ZLPs and the directions in which these may be wrong
(:class:`.Losses`), and treats every spectrum alone, so that the same function serves images in
memory, lazy ones and tests. Energies are in eV, angles in mrad, lengths in nm, the beam energy in
keV.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "kinematics": ["Beam"],
        "losses": ["Losses"],
        "peak_shapes": ["Exciton", "Plasmon"],
        "reasons": ["Reason"],
    },
)
