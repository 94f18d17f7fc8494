# SPDX-License-Identifier: GPL-3.0-or-later
from . import data, signals

__all__ = ["data", "signals"]
