# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts on an energy axis: what is refused, what is made of maps and of given variances."""

import dask.array as da
import numpy as np
import pytest

from hyperspy_zlpml.image.spectra import FEWEST_CHANNELS, Spectra, known_noise

N_ENERGY = 128
ENERGY = -2 + 0.05 * np.arange(N_ENERGY)


def spectra(*navigation_shape, **more):
    return Spectra(np.ones((*navigation_shape, N_ENERGY)), ENERGY, **more)


# --- the axis -------------------------------------------------------------------------------------


def test_axis_of_the_fewest_channels_is_taken():
    energy = ENERGY[:FEWEST_CHANNELS]
    one = Spectra(np.zeros(energy.size), list(energy))
    np.testing.assert_array_equal(one.energy, energy)
    assert one.step == energy[1] - energy[0]


@pytest.mark.parametrize(
    "energy",
    [ENERGY[: FEWEST_CHANNELS - 1], ENERGY.reshape(2, -1), 1.0],
    ids=["short", "two dimensions", "a number"],
)
def test_axis_of_too_few_channels_or_another_dimension(energy):
    with pytest.raises(ValueError, match="energy: expected at least 64 channels of energy in one"):
        Spectra(np.zeros(N_ENERGY), energy)


@pytest.mark.parametrize(
    "energy",
    [ENERGY[::-1], np.zeros(N_ENERGY), np.where(np.arange(N_ENERGY) == 7, np.nan, ENERGY)],
    ids=["falling", "constant", "nan"],
)
def test_axis_that_does_not_increase(energy):
    with pytest.raises(ValueError, match="energy: expected increasing energies"):
        Spectra(np.zeros(N_ENERGY), energy)


def test_axis_that_is_not_uniform():
    with pytest.raises(ValueError, match="energy: expected a uniform axis, got steps from 0.05 to"):
        Spectra(np.zeros(N_ENERGY), np.append(ENERGY[:-1], ENERGY[-1] + 0.01))


def test_rounded_axis_is_uniform_enough():
    Spectra(np.zeros(N_ENERGY), ENERGY + 1e-6 * (np.arange(N_ENERGY) % 2))
    Spectra(np.zeros(N_ENERGY), ENERGY.astype(np.float32))


@pytest.mark.parametrize("shape", [(), (N_ENERGY - 1,), (N_ENERGY, 3)])
def test_counts_on_another_axis(shape):
    with pytest.raises(ValueError, match="counts: expected 128 channels on the last axis"):
        Spectra(np.zeros(shape), ENERGY)


# --- navigation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape, number", [((), 1), ((5,), 5), ((4, 3), 12), ((2, 3, 4), 24)])
def test_number_of_spectra(shape, number):
    one = spectra(*shape)
    assert one.n_spectra == number
    assert one.navigation_shape == shape
    assert not one.is_lazy


def test_lists_of_counts_become_arrays():
    one = Spectra([[1.0] * N_ENERGY] * 2, ENERGY)
    assert one.counts.shape == (2, N_ENERGY)


@pytest.mark.parametrize("chunks", [(2, 3, 50), (4, 6, N_ENERGY), (1, 1, 7)])
def test_lazy_counts_are_cut_into_whole_spectra(chunks):
    counts = np.random.default_rng(0).poisson(9.0, (4, 6, N_ENERGY))
    one = Spectra(da.from_array(counts, chunks=chunks), ENERGY)
    assert one.is_lazy
    assert one.counts.numblocks[-1] == 1
    assert one.counts.chunksize[:-1] == chunks[:-1], "chunks over navigation are kept"
    np.testing.assert_array_equal(one.counts.compute(), counts)


# --- maps -----------------------------------------------------------------------------------------


def test_maps_are_flattened_in_navigation_order():
    values = np.arange(6).reshape(2, 3)
    found = spectra(2, 3).flat_map(values, "thickness", float)
    np.testing.assert_array_equal(found, np.arange(6.0))
    assert found.dtype == float
    assert spectra(2, 3).flat_map(values > 2, "vacuum", bool).sum() == 3


@pytest.mark.parametrize("value", [True, [True], [[True]]])
def test_map_of_a_single_spectrum(value):
    np.testing.assert_array_equal(spectra().flat_map(value, "vacuum", bool), [True])


@pytest.mark.parametrize("shape", [(3, 2), (6,), (), (2, 3, 1)])
def test_map_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"vacuum: expected a map of shape \(2, 3\)"):
        spectra(2, 3).flat_map(np.ones(shape, bool), "vacuum", bool)


@pytest.mark.parametrize("dtype", [int, float, object])
def test_map_that_must_be_boolean(dtype):
    with pytest.raises(ValueError, match="vacuum: expected a boolean map, got dtype"):
        spectra(2, 3).flat_map(np.ones((2, 3), dtype), "vacuum", bool)


# --- variance -------------------------------------------------------------------------------------

INDEX = np.array([1, 4, 5])
COUNTS = np.random.default_rng(1).uniform(0, 1e4, (2, 3, N_ENERGY))


def noise_of(variance):
    one = Spectra(COUNTS, ENERGY, variance=variance)
    return known_noise(one, INDEX, COUNTS.reshape(-1, N_ENERGY)[INDEX])


def test_no_variance_is_no_noise_model():
    assert noise_of(None) is None


def test_constant_variance_is_readout_noise():
    noise = noise_of(49.0)
    assert (noise.gain, noise.readout) == (0.0, 7.0)


@pytest.mark.parametrize("as_given", [np.asarray, da.from_array], ids=["array", "lazy"])
def test_variance_of_every_channel_gives_gain_and_readout(as_given):
    noise = noise_of(as_given(2.5 * COUNTS + 16.0))
    assert noise.gain == pytest.approx(2.5, rel=1e-6)
    assert noise.readout == pytest.approx(4.0, rel=1e-4)


def test_variance_that_broadcasts():
    whole = np.broadcast_to(np.linspace(1, 90, N_ENERGY), COUNTS.shape)
    assert noise_of(whole[0, 0]) == noise_of(whole)


def test_only_the_spectra_looked_at_matter():
    variance = 2.5 * COUNTS + 16.0
    spoiled = variance.copy().reshape(-1, N_ENERGY)
    spoiled[[0, 2, 3]] = 1e12
    assert noise_of(spoiled.reshape(variance.shape)) == noise_of(variance)


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("shape", [None, (), (200,), (1, 200), (3, 1), (4, 3, 200), (4, 1, 1)])
@pytest.mark.parametrize("region", [(slice(1, 3), 0), (2, 1), (slice(None), slice(0, 2)), (3,)])
def test_some_spectra_keep_their_variance(region, shape, is_lazy):
    rng = np.random.default_rng(7001)
    counts = rng.poisson(100.0, (4, 3, 200)).astype(float)
    variance = None if shape is None else rng.uniform(1, 2, shape)
    lazy = da.asarray if is_lazy else np.asarray
    given = float(variance) if shape == () else variance
    given = lazy(given) if shape else given
    part = Spectra(lazy(counts), -2 + 0.05 * np.arange(200), given).within(region)
    np.testing.assert_array_equal(np.asarray(part.counts), counts[region])
    assert part.is_lazy == is_lazy
    if shape is None:
        assert part.variance is None
        return
    found = np.broadcast_to(np.asarray(part.variance), part.counts.shape)
    np.testing.assert_array_equal(found, np.broadcast_to(variance, counts.shape)[region])
