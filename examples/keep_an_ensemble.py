# SPDX-License-Identifier: GPL-3.0-or-later
"""
Keep an ensemble
================

Train once, keep the ensemble in a file, load it in another session.
"""

import tempfile
from pathlib import Path

import hyperspy.api as hs
import numpy as np

import hyperspy_zlpml
import hyperspy_zlpml.data

hs.preferences.General.show_progressbar = False
folder = Path(tempfile.mkdtemp())
s = hyperspy_zlpml.data.ws2_like((16, 16), random_state=0).signal

# Train and keep.
r = s.remove_zlp_ml(n_replicas=30, random_state=0)
r.ensemble.save(folder / "ws2.zlp")

# Load.
ensemble = hyperspy_zlpml.load(folder / "ws2.zlp")
print(ensemble)
print(
    "trained on",
    ensemble.origin.provenance["title"],
    "with",
    ensemble.origin.provenance["arguments"],
)

# The same numbers, to the last bit.
energy = np.linspace(-2, 10, 500)
print("equal:", np.array_equal(ensemble.predict(energy), r.ensemble.predict(energy)))

# What was done is in the metadata of every result, and in files of it.
r.subtracted.save(folder / "subtracted.hspy")
loaded = hs.load(folder / "subtracted.hspy")
print(loaded.metadata.ZLP_ML)
print("of this ensemble:", loaded.metadata.ZLP_ML.ensemble.sha256 == ensemble.fingerprint)
