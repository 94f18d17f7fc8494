# SPDX-License-Identifier: GPL-3.0-or-later
"""Residuals of spectra, channel by channel."""

from types import SimpleNamespace

import numpy as np

from hyperspy_zlpml.registration.points import _channels_within
from hyperspy_zlpml.statistics import Range

ENERGY = np.arange(-10.0, 30.0)
WINDOW = Range(-2.0, 3.0)


def channels(*centres):
    matched = SimpleNamespace(centre=np.array(centres), fwhm=np.ones(len(centres)))
    return _channels_within(ENERGY, matched, WINDOW)


def test_a_spectrum_without_a_peak_leaves_the_others_their_channels():
    assert channels(0.5, np.nan, 4.5) == channels(0.5, 4.5)
    seen = ENERGY[channels(0.5, 4.5)]
    assert seen[0] <= -1.5
    assert seen[-1] >= 7.5


def test_spectra_of_which_none_has_a_peak_are_no_error():
    assert ENERGY[channels(np.nan, np.nan)].size <= 2
