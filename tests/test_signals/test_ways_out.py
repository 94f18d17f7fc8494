# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors name a way out: what they say is typed, and works."""

import re

import numpy as np
import pytest
from conftest import QUICK

import hyperspy_zlpml
from hyperspy_zlpml import EELSZLPSpectrum, NoZeroLossPeakError


def typed(pattern, error):
    """The code in the text of an error."""
    return re.search(pattern, str(error.value)).group()


def box_shaped(fwhm, exponent, height, n, seed):
    """Spectra whose peaks are flat at the top, with losses from 3 eV."""
    rng, energy = np.random.default_rng(seed), -4 + 0.02 * np.arange(700)
    dose = height * rng.uniform(0.5, 1, (n, 1))
    away = energy - rng.uniform(-0.01, 0.01, (n, 1))
    peak = np.exp(-np.log(2) * np.abs(2 * away / fwhm) ** exponent) + 1e-3 / (
        1 + (away / fwhm) ** 2
    )
    losses = 0.01 * (height - dose) * np.sqrt(np.clip(away - 3, 0, None))
    signal = EELSZLPSpectrum(rng.poisson(dose * peak + losses))
    axis = signal.axes_manager.signal_axes[0]
    axis.units, axis.scale, axis.offset = "eV", 0.02, -4
    return signal


@pytest.mark.parametrize(
    "n, height, seed, units",
    [(1, 1e7, 2, "eV"), (9, 1e6, 1, "eV"), (9, 1e6, 1, "meV"), (9, 1e6, 3, "keV")],
)
@pytest.mark.filterwarnings("ignore")
def test_flanks_that_are_too_steep_are_blurred(n, height, seed, units):
    s = box_shaped(fwhm=1.0 if n == 1 else 0.5, exponent=16, height=height, n=n, seed=seed)
    s.axes_manager.signal_axes[0].convert_to_units(units)
    with pytest.raises(NoZeroLossPeakError, match="flat at the top.* blur the spectra") as error:
        s.remove_zlp_ml(n_clusters=1, **QUICK)
    exec(typed(r"s\.gaussian_filter\(.*scale\)", error), {"s": s})
    removed = s.remove_zlp_ml(n_clusters=1, **QUICK)
    assert np.isfinite(removed.subtracted.data).all()


@pytest.mark.filterwarnings("ignore")
def test_a_specimen_given_as_vacuum_is_left_out():
    s = hyperspy_zlpml.data.ws2_like((8, 8), random_state=0).signal
    with pytest.raises(NoZeroLossPeakError, match="vacuum that was given .* leave it out"):
        s.remove_zlp_ml(n_clusters=2, vacuum=True, **QUICK)
    assert s.remove_zlp_ml(n_clusters=2, **QUICK).report.n_vacuum > 0


def test_conditions_come_from_a_training_with_them(small, small_removal):
    with pytest.raises(ValueError, match="Train with hyperspy_zlpml.train_zlp_ml") as error:
        small_removal.ensemble.at(beam_energy=80)
    code = typed(r"hyperspy_zlpml\.train_zlp_ml\(.*\)", error)[:-1] + ", **QUICK)"
    names = {"hyperspy_zlpml": hyperspy_zlpml, "signals": [small, small], "QUICK": QUICK}
    assert "at beam_energy 80" in repr(eval(code, names).at(beam_energy=80))
