# SPDX-License-Identifier: GPL-3.0-or-later
"""Batched ensembles of small networks: the only package that imports torch.

======================================================  ==================================
:mod:`~hyperspy_zlpml.network.mlp`                      all networks in one tensor
:mod:`~hyperspy_zlpml.network.levenberg_marquardt`      one step of all fits at once
:mod:`~hyperspy_zlpml.network.training`                 look-back stopping, blocks, progress
:mod:`~hyperspy_zlpml.network.selection`                which fits to keep (NumPy)
======================================================  ==================================
"""
