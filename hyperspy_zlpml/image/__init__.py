# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image says of itself before any model: functions of arrays, energy axis last.

In the order in which :mod:`hyperspy_zlpml.workflow` uses them:

- ``peaks``: centre, width and intensity of every spectrum's peak
- ``describe``: usable spectra, detector and vacuum of an image
- ``detector``: noise and pedestal
- ``vacuum``: which pixels see no specimen
- ``quality``: what is wrong with the peaks as they were measured
- ``clusters``: clusters of equal thickness
- ``samples``: spectra to train on, and to check the result on
"""
