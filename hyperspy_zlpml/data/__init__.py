# SPDX-License-Identifier: GPL-3.0-or-later
"""Sample spectrum images whose truth is known; nothing is downloaded.

==========================  ============================================================
:func:`ws2_like`            non-monochromated flake with vacuum around it, 1.6 eV gap
:func:`monochromated`       that material at 80 meV resolution
:func:`thick_small_gap`     thick wedge whose small gap lies inside the flank
:func:`low_dose`            ten thousand counts at the peak, read-out noise
:func:`very_low_dose`       a thousand electrons at the peak, counted one by one
:func:`strong_drift`        the peak wanders by half its width
:func:`energy_gain`         a peak on the gain side, 80 meV resolution
:func:`phonons`             a phonon lost and gained at a temperature, 12 meV resolution
:func:`no_vacuum`           a field of view that the specimen fills
:func:`line_scan`           40 spectra from vacuum into the specimen
:func:`single_spectrum`     one spectrum, no navigation dimension
:func:`vacuum_reference`    vacuum taken at another time, 5 % narrower
:func:`vacuum_at_settings`  vacuum at a grid of beam energies and exposures
:func:`dielectric_phantom`  losses of a dielectric function in closed form, retarded or not
:func:`make_sample`         any of these with parameters of your own
==========================  ============================================================
"""

from hyperspy_zlpml.data.dielectric import ALUMINIUM, GLASS, SEMICONDUCTOR, DielectricMaterial
from hyperspy_zlpml.data.forward import Material, Response
from hyperspy_zlpml.data.phantoms import DielectricImage, dielectric_phantom
from hyperspy_zlpml.data.samples import (
    SAMPLE_KINDS,
    SampleImage,
    energy_gain,
    line_scan,
    low_dose,
    make_sample,
    monochromated,
    no_vacuum,
    phonons,
    setting_laws,
    single_spectrum,
    strong_drift,
    thick_small_gap,
    vacuum_at_settings,
    vacuum_reference,
    very_low_dose,
    ws2_like,
)

__all__ = [
    "ALUMINIUM",
    "DielectricImage",
    "DielectricMaterial",
    "GLASS",
    "Material",
    "Response",
    "SAMPLE_KINDS",
    "SEMICONDUCTOR",
    "SampleImage",
    "dielectric_phantom",
    "energy_gain",
    "line_scan",
    "low_dose",
    "make_sample",
    "monochromated",
    "no_vacuum",
    "phonons",
    "setting_laws",
    "single_spectrum",
    "strong_drift",
    "thick_small_gap",
    "vacuum_at_settings",
    "vacuum_reference",
    "very_low_dose",
    "ws2_like",
]
