# SPDX-License-Identifier: GPL-3.0-or-later
"""Registration: training spectra brought to one reduced axis, and the zero-loss peak in them.

In the order in which :func:`hyperspy_zlpml.training.train.register_image` uses them:

- ``register``: peaks and reference that improve each other in a few rounds
- ``registered_peaks``: the outcome, spectra as ratios to the reference
- ``thickness``: how thick spectra are where no pixel is vacuum, and their plural scattering
- ``zero_thickness``: the tail there
- ``positive_ratio``: how it is weighed against the gain side
- ``find_regions``: where a cluster is pure zero-loss peak
- ``spill``: losses that the response carries into region I
- ``foot``, ``find_foot``: losses below ``E_I`` that are too few to be noticed
- ``doubtful_vacuum``: what shows that spectra taken for vacuum are none
- ``variation``: modes by which shapes differ from spectrum to spectrum
- ``coherent``: what all spectra share beyond smooth shapes, learnt and taken off
- ``points``: residuals of all spectra, channel by channel
- ``cells``: cells of the reduced energy that they are sorted into
- ``levels``: the curve that they share, from coarse cells to fine ones
- ``pattern``: sensitivity of the channels of a detector
- ``scatter``: what single spectra differ by beside
"""
