# SPDX-License-Identifier: GPL-3.0-or-later
"""Applying an ensemble to an image: match, subtract, check, report.

- ``adapt``: a given ensemble for another image
- ``applicability``: how far an image lies outside what an ensemble has seen
- ``subtract``: what runs on every block of spectra
- ``checks``: held-out vacuum, region I, stability against ``E_I``
- ``report``: what was done and how well
- ``provenance``: what was done, for metadata and files
- ``application``: the ensemble as it is applied to all spectra, for subtraction, integrals and scans
- ``removed``: the result as arrays
"""
