# SPDX-License-Identifier: GPL-3.0-or-later
"""Single spectra whose tail nothing shows: no cliff, and no error of nothing."""

import numpy as np
import pytest

from hyperspy_zlpml.workflow import remove_zlp

ENERGY = -4 + 0.05 * np.arange(800)
#: Power of the tail over two.
EXPONENT = 1.3


def zlp(height, fwhm=1.0):
    return height * (1 + 4 * (ENERGY / fwhm) ** 2 * (2 ** (1 / EXPONENT) - 1)) ** -EXPONENT


def removed(height, filled, onset, seed=0):
    """One spectrum of losses from an onset on, whose first channels hold nothing."""
    beyond = np.clip(ENERGY - onset, 0, None)
    losses = 3e-4 * height * beyond * np.exp(-beyond / 15)
    counts = np.random.default_rng(seed).poisson(zlp(height) + losses).astype(float)
    counts[:filled] = 0
    with pytest.warns(
        UserWarning,
        match="a guess, for there are too few spectra.*It can be wrong by a factor of two",
    ):
        return remove_zlp(counts[None], ENERGY, n_clusters=1, n_replicas=30, random_state=0)


@pytest.mark.parametrize(
    "height, filled, onset", [(1e5, 12, 9.0), (1e4, 12, 9.0), (1e5, 0, 4.0), (1e5, 30, 6.0)]
)
def test_tails_go_on_and_say_how_well_they_are_known(height, filled, onset):
    found = removed(height, filled, onset)
    u = np.array([6.0, 10.0, 20.0, 30.0])
    ratio, error = (
        np.interp(u, ENERGY, values[0] / zlp(height)) for values in (found.zlp, found.std)
    )
    # One tail of a steady power: the gain side, or the flank itself, tells it to some ten per cent.
    assert (np.abs(np.log(ratio))[:2] < 0.5).all()
    # Farther out tails are taken to flatten, as measured ones do: this one stays within the errors.
    assert (ratio > 0.6).all()
    assert (np.abs(ratio - 1) < 2.5 * error + 0.05).all()
    assert (np.diff(error / ratio) > 0).all()
    # Beyond what is seen on either side: a factor of 1.3 at least.
    assert error[-1] / ratio[-1] > 0.3
    assert (found.std[0] > 1e-3 * found.zlp[0]).all()


def test_channels_that_fill_up_the_axis_change_nothing_else():
    whole, filled = (removed(1e5, n, 9.0) for n in (0, 12))
    shown = (ENERGY > -3) & (ENERGY < 7)
    error = np.hypot(whole.std[0], filled.std[0])[shown]
    pull = (whole.zlp[0] - filled.zlp[0])[shown] / error
    assert np.sqrt(np.mean(pull**2)) < 1.5
    assert (filled.std[0] / whole.std[0])[shown].max() < 3
