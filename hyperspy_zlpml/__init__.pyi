# SPDX-License-Identifier: GPL-3.0-or-later
from . import data, network, physics, signals, statistics, zlp

__all__ = ["data", "signals"]
