# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the file that every later version must read, and what it predicts.

``python tests/data/make_release_file.py``, once for every format.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from hyperspy_zlpml import data, load
from hyperspy_zlpml.ensemble_parts import FORMAT_VERSION

HERE = Path(__file__).parent
#: The leading directions of the reference's error are enough here, and keep the file small.
N_MODES = 4


def main():
    """Train a small ensemble, save it, and write down some of its predictions."""
    signal = data.ws2_like((6, 6), n_channels=512, random_state=0).signal
    ensemble = signal.train_zlp_ml(n_replicas=5, random_state=0, show_progressbar=False)
    ensemble = replace(
        ensemble,
        reference_modes=ensemble.reference_modes[:N_MODES],
        reference_scores=ensemble.reference_scores[:, :N_MODES],
    )
    path = HERE / f"ensemble_format_{FORMAT_VERSION}.zlp"
    ensemble.save(path)
    ensemble = load(path)
    energy = np.linspace(-3, 10, 53)
    thicknesses = [float(f"{value:.3f}") for value in ensemble.log_intensity_range]
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
