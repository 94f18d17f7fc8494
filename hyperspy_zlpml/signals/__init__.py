# SPDX-License-Identifier: GPL-3.0-or-later
"""Signal type ``EELS_ZLPML``, the work of its methods, and the result of a removal.

- ``eels_zlp``: the signal and its lazy twin
- ``plain``: removal from any signal of spectra
- ``remove``, ``train``, ``search``: take arrays from signals, call the method, wrap the results
- ``arrays``, ``microscope``, ``arguments``: from signals to arrays and numbers
- ``wrapping``: and back
- ``result``, ``figures``, ``saving``: what is returned, drawn and written
- ``tools``, ``tool_figure``, ``background``, ``code``, ``toolkits``: removal in a window
- ``loading``, ``maps.loading``: results that were written, read again
- ``folders``: folders that are replaced as a whole
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "eels_zlp": ["EELSZLPSpectrum", "LazyEELSZLPSpectrum"],
        "loading": ["load_removal"],
        "maps.loading": ["load_maps"],
        "result": ["ZLPRemoval"],
        "plain": ["remove_zlp_ml"],
        "train": ["train_zlp_ml"],
    },
)
