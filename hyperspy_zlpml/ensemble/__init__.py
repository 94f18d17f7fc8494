# SPDX-License-Identifier: GPL-3.0-or-later
"""Ensemble: the trained model, which predicts with NumPy alone; its files cannot run anything.

- ``ensemble``: :class:`~hyperspy_zlpml.Ensemble`, which predicts, stands at a setting, is saved
- ``records``: the four records that an ensemble consists of
- ``inputs``: scaling to the inputs of the networks
- ``conditions``, ``laws``: settings of the microscope as inputs, and laws that follow them
- ``tabulation``: median, band and modes of the replicas on a grid
- ``parts``, ``validation``: an ensemble as arrays and JSON, and whether it can be one
- ``file``, ``reading``: ensembles as files, and back
- ``figure``: brightness, width and flank against each condition
"""

from hyperspy_zlpml.ensemble.ensemble import Ensemble
from hyperspy_zlpml.ensemble.parts import EnsembleFileError
from hyperspy_zlpml.ensemble.reading import load

__all__ = ["Ensemble", "EnsembleFileError", "load"]
