# SPDX-License-Identifier: GPL-3.0-or-later
"""The signal type ``EELS_ZLPML`` and the result of a removal."""

from hyperspy_zlpml.signals.eels_zlp import EELSZLPSpectrum, LazyEELSZLPSpectrum
from hyperspy_zlpml.signals.result import ZLPRemoval

__all__ = ["EELSZLPSpectrum", "LazyEELSZLPSpectrum", "ZLPRemoval"]
