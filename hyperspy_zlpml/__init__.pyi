# SPDX-License-Identifier: GPL-3.0-or-later
from . import data, signals
from .ensemble import Ensemble
from .image import NoZeroLossPeakError
from .network.selection import TooFewReplicasError
from .report import Report
from .signals import EELSZLPSpectrum, LazyEELSZLPSpectrum, ZLPRemoval

__all__ = [
    "EELSZLPSpectrum",
    "Ensemble",
    "LazyEELSZLPSpectrum",
    "NoZeroLossPeakError",
    "Report",
    "TooFewReplicasError",
    "ZLPRemoval",
    "data",
    "signals",
]
