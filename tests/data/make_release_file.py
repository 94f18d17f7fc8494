# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the files that every later version must read, and what they predict.

``python tests/data/make_release_file.py``, once for every format.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from hyperspy_zlpml import data, load, train_zlp_ml
from hyperspy_zlpml.ensemble.parts import FORMAT_VERSION

HERE = Path(__file__).parent
#: The leading directions of the reference's error are enough here, and keep the file small.
N_MODES = 4


OPTIONS = {"n_replicas": 5, "random_state": 0, "show_progressbar": False}


def main():
    """Train small ensembles, save them, and write down some of their predictions."""
    signal = data.ws2_like((6, 6), n_channels=512, random_state=0).signal
    write(signal.train_zlp_ml(**OPTIONS), f"ensemble_format_{FORMAT_VERSION}")
    images = data.vacuum_at_settings((60, 200), (0.1, 0.4), (4, 4), n_channels=256, random_state=0)
    signals = [image.signal for image in images]
    conditioned = train_zlp_ml(signals, ["beam_energy", "exposure"], **OPTIONS)
    chosen = conditioned.at(beam_energy=120, exposure=0.2)
    write(chosen, f"ensemble_with_conditions_format_{FORMAT_VERSION}")


def write(ensemble, name):
    """Save an ensemble, and what it predicts after it was loaded."""
    reference = replace(
        ensemble.reference,
        modes=ensemble.reference.modes[:N_MODES],
        scores=ensemble.reference.scores[:, :N_MODES],
        n_errors=min(ensemble.reference.n_errors, N_MODES),
    )
    ensemble = replace(ensemble, reference=reference)
    path = HERE / f"{name}.zlp"
    ensemble.save(path)
    ensemble = load(path)
    energy = np.linspace(-3, 10, 53)
    thicknesses = [float(f"{value:.3f}") for value in ensemble.seen.log_intensity_range]
    zlp = [ensemble.predict(energy, log_intensity=value) for value in thicknesses]
    told = {
        "fingerprint": ensemble.fingerprint,
        "n_replicas": ensemble.n_replicas,
        "energy": energy.tolist(),
        "log_intensity": thicknesses,
        "zlp": [[[f"{value:.7g}" for value in row] for row in rows] for rows in zlp],
    }
    text = json.dumps(told, indent=None, separators=(", ", ": "))
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    print(f"{path.name}: {path.stat().st_size} bytes, {path.with_suffix('.json').stat().st_size}")


if __name__ == "__main__":
    main()
