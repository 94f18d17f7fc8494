# SPDX-License-Identifier: GPL-3.0-or-later
from . import components, data, signals, workflow
from .ensemble import Ensemble, EnsembleFileError, load
from .image.quality import NoZeroLossPeakError
from .network.selection import TooFewReplicasError
from .removal.applicability import OtherZeroLossPeakError
from .removal.report import Report
from .signals import EELSZLPSpectrum, LazyEELSZLPSpectrum, ZLPRemoval, train_zlp_ml

__all__ = [
    "EELSZLPSpectrum",
    "Ensemble",
    "EnsembleFileError",
    "LazyEELSZLPSpectrum",
    "NoZeroLossPeakError",
    "OtherZeroLossPeakError",
    "Report",
    "TooFewReplicasError",
    "ZLPRemoval",
    "components",
    "data",
    "load",
    "signals",
    "train_zlp_ml",
    "workflow",
]
