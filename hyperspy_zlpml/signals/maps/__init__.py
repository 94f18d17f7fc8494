# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps of physical quantities from the result of a removal: one module for each quantity.

Each holds what its method of :class:`.ZLPRemoval` returns, and that method; the numbers come from
:mod:`hyperspy_zlpml.physics`. ``native`` makes signals of them.
"""
