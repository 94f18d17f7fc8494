# SPDX-License-Identifier: GPL-3.0-or-later
"""Films that fill the view: what they lose is not taken for zero-loss peak in silence."""

import numpy as np
import pytest

from hyperspy_zlpml.workflow import Spectra, remove_zlp

ENERGY = -0.1 + 0.002 * np.arange(300)
#: A peak of 13 meV, and phonons on its tail: weaker than the tail itself.
PEAK = 2e4 * (1 + 4 * (ENERGY / 0.013) ** 2 * (2 ** (1 / 1.3) - 1)) ** -1.3
PHONONS = 15 * np.exp(-(((ENERGY - 0.09) / 0.02) ** 2))
THERE = np.abs(ENERGY - 0.09) < 0.05
SHAPE = (16, 16)
REGIONS = {"E_I": 0.03, "gain_limit": -0.03}


def film():
    return np.random.default_rng(0).poisson(np.tile(PEAK + PHONONS, (*SHAPE, 1))).astype(float)


def vacuum(n):
    return np.random.default_rng(1).poisson(np.tile(PEAK, (n, 1))).astype(float)


def removed(counts, n_replicas=20, **options):
    return remove_zlp(counts, ENERGY, n_replicas=n_replicas, random_state=0, **options)


def left(result):
    """Fraction of the phonons that is left, mean over the image."""
    return result.subtracted.mean((0, 1))[THERE].sum() / PHONONS[THERE].sum()


# Of the phonons of eight films 0.8 to 1.2 are left: an error of 1 % of the peak's tail is 11 % of them.
@pytest.mark.parametrize(
    "options",
    [{}, {"vacuum": False}, {"vacuum": np.zeros(SHAPE, bool)}, {"regions": REGIONS}],
    ids=["by default", "False", "empty map", "regions"],
)
def test_phonons_of_a_film_are_left(options):
    with pytest.warns(UserWarning, match="no vacuum is known.*vacuum=.*regions=dict"):
        result = removed(film(), **options)
    assert not result.vacuum.any()
    assert 0.8 < left(result) < 1.2


def test_vacuum_spectra_end_the_search_in_the_image():
    result = removed(film(), vacuum=Spectra(vacuum(64), ENERGY))
    assert not result.vacuum.any()
    assert 0.9 < left(result) < 1.1


def test_a_film_that_is_called_vacuum_is_told_of():
    with pytest.warns(UserWarning, match="vacuum: the 256 pixels given rise.*or have a hump"):
        result = removed(film(), n_replicas=4, vacuum=True)
    assert result.vacuum.all()


def test_an_inverted_map_is_told_of(recwarn):
    specimen = np.random.default_rng(2).poisson(PEAK + 20 * PHONONS, (20, ENERGY.size))
    counts = np.concatenate([vacuum(20), specimen])
    is_vacuum = np.arange(40) < 20
    removed(counts, n_replicas=4, vacuum=is_vacuum)
    assert not any("inverted" in str(warning.message) for warning in recwarn)
    removed(counts, n_replicas=4, vacuum=~is_vacuum)
    assert any("Is the map inverted?" in str(warning.message) for warning in recwarn)


def test_nobody_tells_whether_pixels_that_are_alike_are_vacuum():
    counts = vacuum(100)
    with pytest.warns(UserWarning, match="100 pixels could be vacuum or a thin film.*vacuum=True"):
        result = removed(counts)
    assert not result.vacuum.any()
    assert "could be vacuum" in str(result.report)
    # Nothing stands out: all of it is peak all the same.
    tail = (ENERGY > 0.03) & (ENERGY < 0.1)
    assert abs(result.zlp[:, tail].mean() / PEAK[tail].mean() - 1) < 0.03
    assert removed(counts, n_replicas=4, vacuum=True).vacuum.all()


#: The same with room before the peak, and phonons that are gained too, as at 600 K.
WIDE = -0.25 + 0.001 * np.arange(500)
WIDE_PEAK = 2e5 * (1 + 4 * (WIDE / 0.013) ** 2 * (2 ** (1 / 1.3) - 1)) ** -1.3
GAINED, LOST = (np.exp(-(((WIDE - at) / 0.015) ** 2)) for at in (-0.09, 0.09))


@pytest.mark.parametrize(
    "height, options",
    [(300.0, {}), (3000.0, {}), (3000.0, {"vacuum": False, "regions": REGIONS})],
    ids=["weak", "strong", "strong, regions"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gains_of_a_film_are_left(height, options):
    signal = height * (0.18 * GAINED + LOST)
    counts = np.random.default_rng(3).poisson(np.tile(WIDE_PEAK + signal, (10, 10, 1)))
    result = remove_zlp(counts.astype(float), WIDE, n_replicas=20, random_state=0, **options)
    for side in (-1, 1):
        there = np.abs(side * WIDE - 0.09) < 0.04
        found = np.nanmean(result.subtracted, (0, 1))[there].sum() / signal[there].sum()
        error = np.nanmean(result.std, (0, 1))[there].sum() / signal[there].sum()
        assert abs(found - 1) < max(0.15, 2 * error)
    limits = result.report.clusters
    assert all(-0.09 < one.gain_limit for one in limits)


def test_who_gives_a_limit_is_not_asked_again(recwarn):
    removed(vacuum(100), n_replicas=4, regions={"E_I": 0.05})
    assert not any("could be vacuum" in str(warning.message) for warning in recwarn)
