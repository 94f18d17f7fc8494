# SPDX-License-Identifier: GPL-3.0-or-later
"""What a zero-loss peak is: functions of arrays, energy axis last, any leading axes.

In the order in which :mod:`hyperspy_zlpml.image.describe` and :mod:`hyperspy_zlpml.workflow` use them:

- ``peaks``: centre, width and intensity of every spectrum's peak
- ``noise``: gain, read-out noise and pedestal of the detector
- ``vacuum``: which pixels see no specimen
- ``clustering``: clusters of equal thickness
- ``binning``: channels grouped around the peak
- ``reference``: the mean shape that the networks correct
- ``registration``: training spectra brought to one reduced axis
- ``regions``: where a ratio to the reference starts to rise
- ``separation``: regions of every cluster, and losses spilled into them
- ``replicas``: Monte Carlo pseudo-measurements
- ``matching``: joining the ensemble to one spectrum
"""
