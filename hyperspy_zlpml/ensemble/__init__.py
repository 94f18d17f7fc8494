# SPDX-License-Identifier: GPL-3.0-or-later
"""The trained model: predicts with NumPy alone, and is kept in files that cannot run anything.

- ``ensemble``: :class:`Ensemble`, which predicts, stands at a setting, is saved
- ``records``: what an ensemble holds, in four records
- ``inputs``: what the networks are given
- ``conditions``, ``laws``: settings of the microscope as inputs, and what follows them
- ``tabulation``: median, band and modes of the replicas on a grid
- ``parts``, ``validation``: an ensemble as arrays and JSON, and whether it can be one
- ``file``, ``reading``: ensembles as files, and back
- ``figure``: what follows from each condition
"""

from hyperspy_zlpml.ensemble.ensemble import Ensemble
from hyperspy_zlpml.ensemble.parts import EnsembleFileError
from hyperspy_zlpml.ensemble.reading import load

__all__ = ["Ensemble", "EnsembleFileError", "load"]
