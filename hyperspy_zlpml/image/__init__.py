# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements on an image before any model: functions of arrays, energy axis last.

In the order in which :mod:`hyperspy_zlpml.workflow` uses them:

- ``spectra``: counts on an energy axis, as they are given
- ``peaks``: centre, width and intensity of every spectrum's peak
- ``channels``, ``padding``: channels that are wrong in all spectra, those never recorded
- ``samples``: spectra to read, to train on, and to check the result on
- ``describe``: usable spectra, detector and vacuum of an image
- ``dark_pattern``: levels of channels that no electron reaches, the same in all spectra
- ``detector``: noise and dark level of an image
- ``noise``: noise of channels and of their sums
- ``pedestal``: level of a channel that no electron reaches
- ``sums``: scatter of sums of channels, from which the noise is estimated
- ``vacuum``: pixels that see no specimen
- ``quality``: messages on peaks that cannot be trusted as they were measured
- ``clusters``: clusters of equal thickness
"""
