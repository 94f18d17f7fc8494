# SPDX-License-Identifier: GPL-3.0-or-later
"""Shape of a zero-loss peak: functions of arrays, energy axis last.

Each uses only those before it:

- ``grid``: grid of reduced energies on which shapes live
- ``groups``: channels grouped around the peak
- ``tails``: tails that fall outward, and go on where nobody measured them
- ``reference``: mean shape that the networks correct
- ``regions``: where a ratio to the reference starts to rise, and limits that a user gives
- ``expansion``: values of groups expanded to channels
- ``residual``: what all spectra share beyond smooth shapes
- ``tables``: shape, band and modes of an ensemble, looked up for many spectra
- ``kernels``: match and evaluation of one spectrum after the other, compiled
- ``matching``: joining the ensemble to every spectrum
"""
