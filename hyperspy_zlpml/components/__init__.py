# SPDX-License-Identifier: GPL-3.0-or-later
"""Components for HyperSpy's models."""

from hyperspy_zlpml.components.zlp_net import ZLPNet

__all__ = ["ZLPNet"]
