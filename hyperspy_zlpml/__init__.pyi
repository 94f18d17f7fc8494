# SPDX-License-Identifier: GPL-3.0-or-later
from . import components, data, signals, workflow
from .compute.progress import Cancelled, report_progress
from .ensemble import Ensemble, EnsembleFileError, load
from .image.quality import NoZeroLossPeakError
from .network.selection import TooFewReplicasError
from .removal.applicability import OtherZeroLossPeakError
from .removal.codec import RemovalFileError
from .removal.report import Report
from .search.result import SettingsSearch
from .signals import (
    EELSZLPSpectrum,
    LazyEELSZLPSpectrum,
    ZLPRemoval,
    load_maps,
    load_removal,
    remove_zlp_ml,
    train_zlp_ml,
)
from .training.settings import TrainingSettings

__all__ = [
    "Cancelled",
    "EELSZLPSpectrum",
    "Ensemble",
    "EnsembleFileError",
    "LazyEELSZLPSpectrum",
    "NoZeroLossPeakError",
    "OtherZeroLossPeakError",
    "RemovalFileError",
    "Report",
    "SettingsSearch",
    "TooFewReplicasError",
    "TrainingSettings",
    "ZLPRemoval",
    "components",
    "data",
    "load",
    "load_maps",
    "load_removal",
    "remove_zlp_ml",
    "report_progress",
    "signals",
    "train_zlp_ml",
    "workflow",
]
