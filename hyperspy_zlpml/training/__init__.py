# SPDX-License-Identifier: GPL-3.0-or-later
"""Training: from registered spectra to an ensemble.

- ``replicas``: Monte Carlo pseudo-measurements
- ``pseudo_data``: replicas and constraints as the arrays that networks are trained on
- ``settings``: architecture of the networks, and the constants that matter most
- ``train``: an ensemble from the spectra of one image
- ``at_settings``: an ensemble from spectra taken at several settings of the microscope
- ``summary``: how many networks were kept, and how well they fit
"""
