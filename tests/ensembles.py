# SPDX-License-Identifier: GPL-3.0-or-later
"""Ensembles made by hand, from the flat names of their parts."""

from dataclasses import replace

import numpy as np

from hyperspy_zlpml.ensemble import Ensemble
from hyperspy_zlpml.ensemble.inputs import InputScaling
from hyperspy_zlpml.ensemble.records import Networks, Origin, Reference, SeenSpectra
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.network import mlp
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.zlp.grid import Grid, to_grid
from hyperspy_zlpml.zlp.regions import Regions
from hyperspy_zlpml.zlp.tables import SpillTables

LAYERS = (2, 6, 5, 1)
GRID = Grid.covering(-8, 20)
LOG_REFERENCE = -2.0 * np.log1p(1.66 * GRID.u**2)
#: Record, and its class, that holds each part.
RECORDS = {"networks": Networks, "reference": Reference, "seen": SeenSpectra, "origin": Origin}
#: Parts that have another name within their record.
NAMES = {
    "log_reference": ("reference", "log_shape"),
    "reference_modes": ("reference", "modes"),
    "reference_scores": ("reference", "scores"),
}


def place_of(part):
    """Name of the record that holds a part, and its name there; None for the ensemble itself."""
    if part in NAMES:
        return NAMES[part]
    for record, kind in RECORDS.items():
        if part in kind.__dataclass_fields__:
            return record, part
    return None, part


def make_ensemble(**parts):
    """An ensemble of these parts."""
    records, own = {name: {} for name in RECORDS}, {}
    for part, value in parts.items():
        record, name = place_of(part)
        (own if record is None else records[record])[name] = value
    records = {name: kind(**records[name]) for name, kind in RECORDS.items()}
    return Ensemble(**records, **own)


def with_parts(ensemble, **parts):
    """The same ensemble with other parts."""
    for part, value in parts.items():
        record, name = place_of(part)
        if record is None:
            ensemble = replace(ensemble, **{name: value})
        else:
            changed = replace(getattr(ensemble, record), **{name: value})
            ensemble = replace(ensemble, **{record: changed})
    return ensemble


def random_ensemble(n_replicas=12, n_modes=2, seed=0, dtype=np.float32, **changes):
    """An ensemble of random weights, with any of its parts replaced."""
    rng = np.random.default_rng(seed)
    weights = mlp.initial_weights(LAYERS, n_replicas, rng).astype(dtype)
    modes = np.stack([0.05 * np.tanh(GRID.u), 0.1 * np.tanh(GRID.u / 5) ** 2])[:n_modes]
    values = {
        "weights": weights,
        "layers": LAYERS,
        "scaling": InputScaling(15.0, 0.5, to_grid(20.0) / 2),
        "grid": GRID,
        "log_reference": LOG_REFERENCE,
        "scatter": np.zeros(GRID.n),
        "spill": SpillTables(
            np.array([14.5, 15.5]), np.stack([0.2 * (GRID.u > 1), np.zeros(GRID.n)])
        ),
        "reference_modes": modes,
        "reference_scores": rng.standard_normal((n_replicas, n_modes)),
        "log_intensity_range": Range(14.5, 15.5),
        "log_fwhm": Normal(np.log(0.45), 0.02),
        "log_beam": 15.5,
        "u_range": Range(-7.5, 19.0),
        "regions": Regions(np.array([-1.0]), np.array([1.5]), np.array([9.0])),
        "cluster_centres": np.array([15.0]),
        "cluster_by": "zlp",
        "noise": NoiseModel(1.0, 30.0),
    }
    return make_ensemble(**{**values, **changes})
