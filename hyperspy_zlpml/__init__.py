# SPDX-License-Identifier: GPL-3.0-or-later
"""Zero-loss peak removal with uncertainties for HyperSpy; see ``__init__.pyi`` for what there is."""

import lazy_loader

from hyperspy_zlpml._version import __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
