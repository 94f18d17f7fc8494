# SPDX-License-Identifier: GPL-3.0-or-later
"""The signal type ``EELS_ZLPML`` and the result of a removal."""

from hyperspy_zlpml.signals.eels_zlp import EELSZLPSpectrum, LazyEELSZLPSpectrum
from hyperspy_zlpml.signals.result import ZLPRemoval
from hyperspy_zlpml.signals.settings import train_zlp_ml

__all__ = ["EELSZLPSpectrum", "LazyEELSZLPSpectrum", "ZLPRemoval", "train_zlp_ml"]
