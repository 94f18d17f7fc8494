# SPDX-License-Identifier: GPL-3.0-or-later
"""What users do wrong, so that error bars cannot hold: does the report's check tell them?

Each function takes a scene of ``benchmarks/accuracy.py`` and returns arguments of ``remove_zlp_ml``
that do not fit it. ``benchmarks/accuracy.py --parts check`` counts the warnings.
"""

import numpy as np

from hyperspy_zlpml import data
from hyperspy_zlpml.data import Response

#: Kinds that are made of the usual response, so that another one does not fit.
KINDS = ("ws2_like", "thick_small_gap", "low_dose")
#: Tails that fall more slowly than those of the usual response: half as high again at 5 FWHM.
OTHER_RESPONSE = Response(exponent_loss=1.9)
#: E_I is set so many FWHM behind the onset of the losses.
TOO_LATE = 1.5
#: Part of the specimen pixels, the thinnest, that are taken for vacuum.
FILM = 0.3


def late_limit(scene):
    """Take losses for zero-loss peak: ``E_I`` lies behind their onset."""
    onset = float(np.median(scene.gap) + TOO_LATE * np.median(scene.fwhm))
    return {"regions": {"E_I": onset}}


def film_as_vacuum(scene):
    """Mark the thinnest specimen as vacuum, beside the true vacuum."""
    specimen = scene.thickness[~scene.is_vacuum]
    marked = scene.thickness <= np.quantile(specimen, FILM)
    return {"vacuum": marked.reshape(scene.sample.thickness.data.shape)}


def other_vacuum(scene):
    """Give vacuum that was measured with other tails."""
    sample = data.SAMPLE_KINDS[scene.kind](
        (8, 8), scene.seed + 500, vacuum_fraction=1.0, response=OTHER_RESPONSE
    )
    return {"vacuum": sample.signal}


def other_ensemble(scene):
    """Apply an ensemble that was trained on peaks with other tails."""
    shape = scene.sample.thickness.axes_manager.navigation_shape or (16, 16)
    sample = data.SAMPLE_KINDS[scene.kind](shape, scene.seed + 500, response=OTHER_RESPONSE)
    ensemble = sample.signal.train_zlp_ml(random_state=scene.seed)
    return {"ensemble": ensemble}


#: Misuses by name.
MISUSES = {
    function.__name__: function
    for function in (late_limit, film_as_vacuum, other_vacuum, other_ensemble)
}
