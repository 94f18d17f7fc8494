# SPDX-License-Identifier: GPL-3.0-or-later
"""Batched ensembles of small networks: the only package that imports torch.

- ``data``: arrays that go into a training and come out of it (NumPy)
- ``weights``: layout of the weights, prediction (NumPy)
- ``mlp``: all networks in one tensor
- ``levenberg_marquardt``: steps of many fits at once
- ``fit``: residuals, derivatives and costs of a block of replicas
- ``training``: look-back stopping, blocks of replicas, progress
- ``selection``: which fits to keep (NumPy)
"""
