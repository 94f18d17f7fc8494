# SPDX-License-Identifier: GPL-3.0-or-later
"""What a zero-loss peak is: functions of arrays, energy axis last, any leading axes.

===============================  ===================================================
:mod:`~hyperspy_zlpml.zlp.peaks`      centre, width and intensity of every spectrum's peak
:mod:`~hyperspy_zlpml.zlp.noise`      gain, read-out noise and pedestal of the detector
:mod:`~hyperspy_zlpml.zlp.vacuum`     which pixels see no specimen
:mod:`~hyperspy_zlpml.zlp.clustering` clusters of equal thickness
:mod:`~hyperspy_zlpml.zlp.binning`    channels grouped around the peak
:mod:`~hyperspy_zlpml.zlp.reference`  the mean shape that the networks correct
:mod:`~hyperspy_zlpml.zlp.regions`    where a spectrum is pure zero-loss peak
:mod:`~hyperspy_zlpml.zlp.replicas`   Monte Carlo pseudo-measurements
:mod:`~hyperspy_zlpml.zlp.matching`   joining the ensemble to one spectrum
===============================  ===================================================
"""
