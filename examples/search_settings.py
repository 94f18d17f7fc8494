# SPDX-License-Identifier: GPL-3.0-or-later
"""
Search for settings
===================

Ask which architecture, clusters and priors suit your data, and whether the defaults are good enough.
"""

import tempfile
from pathlib import Path

import hyperspy.api as hs

import hyperspy_zlpml
import hyperspy_zlpml.data

hs.preferences.General.show_progressbar = False
folder = Path(tempfile.mkdtemp())
s = hyperspy_zlpml.data.ws2_like((10, 10), n_channels=1024, random_state=0).signal

# Search.
found = s.search_zlp_ml(
    n_evaluations=20,
    n_replicas=6,
    storage=folder / "search.log",
    random_state=0,
)
print(found.summary)

# Look at it.
found.plot()
for one in found.front:
    print(f"score {one.score:.3f}, work {one.work:.2g}: {one.settings}")
found.to_csv(folder / "search.csv")

# Remove with what was found: the defaults, unless something is significantly better.
r = s.remove_zlp_ml(settings=found.settings, n_replicas=20, random_state=0)
print(r)

# Settings of your own.
settings = hyperspy_zlpml.TrainingSettings(hidden_layers=(8, 8), prior=0.3, n_clusters=3)
r = s.remove_zlp_ml(settings=settings, n_replicas=20, random_state=0)
print(r.ensemble)
