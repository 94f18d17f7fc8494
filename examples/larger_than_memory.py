# SPDX-License-Identifier: GPL-3.0-or-later
"""
An image larger than memory
===========================

Lazy data are read block by block, results are written block by block, and made again from little.
"""

import tempfile
from pathlib import Path

import hyperspy.api as hs

import hyperspy_zlpml
import hyperspy_zlpml.data

hs.preferences.General.show_progressbar = False
folder = Path(tempfile.mkdtemp())

# %%
# A file stands for one that is larger than memory.
hyperspy_zlpml.data.ws2_like((32, 32), random_state=0).signal.save(folder / "image.zspy")
s = hs.load(folder / "image.zspy", lazy=True)
print(s)

# %%
# The data are read once, to look at the peaks and for a sample of the spectra. Results are lazy.
r = s.remove_zlp_ml(n_replicas=50, random_state=0)
print(r)

# %%
# Maps and integrals are computed in one pass, whatever the size of the image.
integral, error = r.integrate(1.8, 3.0)
print(integral, error)

# %%
# What is written is what cannot be made again: some numbers for each pixel, maps, and the ensemble.
r.save(folder / "result", signals=())
for file in sorted((folder / "result").iterdir()):
    print(file.name)

# %%
# Another session goes on from there, without training.
again = hyperspy_zlpml.load_removal(folder / "result", signal=s)
print(again.subtracted)
again.plot((20, 16))
