# SPDX-License-Identifier: GPL-3.0-or-later
"""A pass over an image against a plain loop over its spectra, in memory and lazy."""

import dask
import dask.array as da
import numpy as np
import pytest
from threadpoolctl import threadpool_info

from hyperspy_zlpml.compute import blocks, map_spectra, one_blas_thread, take_spectra

N_ENERGY = 24
NAVIGATIONS = [(), (7,), (3, 4), (2, 3, 4)]
RESULTS = {"names": ["moments", "ends"], "width": 2, "dtype": float}


@pytest.fixture(autouse=True)
def several_slices(monkeypatch):
    """Small images make several slices, too."""
    monkeypatch.setattr(blocks, "_SPECTRA_AT_ONCE", 3)


def image_of(navigation):
    """Whole numbers, of which sums are exact in any order."""
    rng = np.random.default_rng(len(navigation))
    return rng.integers(0, 1000, (*navigation, N_ENERGY)).astype(float)


def in_chunks(counts, n_energy=N_ENERGY):
    """The image as a dask array, of chunks of two spectra along every axis."""
    return da.from_array(counts, chunks=(2,) * (counts.ndim - 1) + (n_energy,))


def moments(counts, factor, shift, out):
    """Zeroth and first moment, times two factors; first and last channel, shifted."""
    shift = 0.0 if shift is None else shift
    channel = np.arange(counts.shape[1])
    out[0][:, 0] = counts.sum(1) * factor[:, 0]
    out[0][:, 1] = (counts * channel).sum(1) * factor[:, 1]
    out[1][:] = counts[:, [0, -1]] + shift


def by_loop(counts, factor, shift):
    """Results of one spectrum after the other."""
    factor = np.broadcast_to(factor, counts.shape[:-1] + (2,))
    results = [np.empty(counts.shape[:-1] + (2,)) for _ in range(2)]
    for place in np.ndindex(counts.shape[:-1]):
        one = [np.empty((1, 2)) for _ in results]
        moments(counts[place][None], factor[place][None], shift, one)
        for result, values in zip(results, one, strict=True):
            result[place] = values[0]
    return dict(zip(RESULTS["names"], results, strict=True))


def assert_equal_results(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].shape == values.shape
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(np.asarray(found[name]), values, err_msg=name)


# --- eager, lazy and a loop -----------------------------------------------------------------------


@pytest.mark.parametrize("shift", [None, 2.5, np.float32(4)])
@pytest.mark.parametrize("navigation", NAVIGATIONS)
def test_eager_lazy_and_a_loop_agree(navigation, shift):
    counts = image_of(navigation)
    factor = np.random.default_rng(9).integers(1, 9, (*navigation, 2)).astype(float)
    expected = by_loop(counts, factor, shift)
    eager = map_spectra(moments, counts, factor, shift, **RESULTS)
    lazy = map_spectra(moments, in_chunks(counts), factor, shift, **RESULTS)
    assert all(isinstance(values, np.ndarray) for values in eager.values())
    assert all(isinstance(values, da.Array) for values in lazy.values())
    assert_equal_results(eager, expected)
    assert_equal_results(lazy, expected)


@pytest.mark.parametrize("shape", [(2,), (1, 2), (4, 2), (3, 1, 2), (1, 1, 2), (3, 4, 2)])
@pytest.mark.parametrize("kind", [np.asarray, da.asarray])
def test_numbers_of_each_spectrum_broadcast(shape, kind):
    counts = image_of((3, 4))
    factor = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    expected = by_loop(counts, factor, None)
    for data in (counts, in_chunks(counts)):
        assert_equal_results(map_spectra(moments, data, kind(factor), None, **RESULTS), expected)


@pytest.mark.parametrize("n_energy", [1, 7, N_ENERGY])
@pytest.mark.parametrize("navigation", NAVIGATIONS)
def test_chunks_along_the_energy_are_joined(navigation, n_energy):
    counts = image_of(navigation)
    factor = np.ones(2)
    found = map_spectra(moments, in_chunks(counts, n_energy), factor, None, **RESULTS)
    assert_equal_results(found, by_loop(counts, factor, None))
    assert found["ends"].chunks[:-1] == in_chunks(counts).chunks[:-1]


def test_slices_of_an_image_cover_every_spectrum_once(monkeypatch):
    visits = np.zeros(10, int)

    def visit(rows):
        visits[rows] += 1

    for at_once in (1, 3, 10, 99):
        monkeypatch.setattr(blocks, "_SPECTRA_AT_ONCE", at_once)
        visits[:] = 0
        blocks.run_in_threads(visit, len(visits), show_progressbar=False, title="")
        np.testing.assert_array_equal(visits, 1)


def blas_threads():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


@pytest.mark.parametrize("kind", ["memory", "threads", "synchronous"])
def test_blas_has_one_thread_wherever_spectra_are_worked_on(kind):
    seen = []

    def look(counts, out):
        seen.append(blas_threads())
        out[0][:] = 0

    before = blas_threads()
    given = image_of((6, 2)) if kind == "memory" else in_chunks(image_of((6, 2)))
    found = map_spectra(look, given, names=["a"], width=1, dtype=int)["a"]
    if kind != "memory":
        with one_blas_thread:  # as the call that came before
            pass
        dask.compute(found, scheduler=kind)
    assert blas_threads() == before
    assert seen
    assert all(threads <= {1} for threads in seen)


# --- what a function is given, and what comes back ------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, in_chunks])
def test_what_has_no_axes_is_handed_on_as_it_is(kind):
    seen = []

    def look(counts, nothing, number, rows, out):
        seen.append((nothing, number, rows.shape == (len(counts), 5)))
        out[0][:] = 0

    data, rows = kind(image_of((3, 4))), np.zeros((3, 4, 5))
    with dask.config.set(scheduler="synchronous"):
        map_spectra(look, data, None, 7.5, rows, names=["a"], width=1, dtype=int, lazy=False)
    assert len(seen) > 1
    assert set(seen) == {(None, 7.5, True)}


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", bool])
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("names", [["a"], ["c", "a", "b"]])
def test_names_width_and_type_of_the_results(names, width, dtype):
    def number(counts, out):
        for value, array in enumerate(out):
            array[:] = counts[:, :1] * 0 + value

    counts = image_of((3, 4))
    expected = {name: np.full((3, 4, width), value, dtype) for value, name in enumerate(names)}
    for data in (counts, in_chunks(counts)):
        found = map_spectra(number, data, names=names, width=width, dtype=dtype)
        assert_equal_results(found, expected)


def test_the_image_itself_is_not_changed():
    counts = image_of((3, 4))
    before = counts.copy()
    map_spectra(moments, counts, np.ones(2), 3.0, **RESULTS)
    np.testing.assert_array_equal(counts, before)


def test_a_view_that_is_not_contiguous():
    counts = image_of((4, 3))
    turned = np.moveaxis(np.asfortranarray(counts), 0, 1)
    found = map_spectra(moments, turned, np.ones(2), None, **RESULTS)
    assert_equal_results(found, by_loop(turned, np.ones(2), None))


# --- lazy or not ----------------------------------------------------------------------------------


def never(block):
    raise AssertionError("the data were read")


def test_lazy_data_are_not_read_before_they_are_asked_for():
    data = da.map_blocks(never, in_chunks(image_of((3, 4))), meta=np.empty((0, 0, 0)))
    found = map_spectra(moments, data, np.ones(2), None, **RESULTS)
    with pytest.raises(AssertionError, match="were read"):
        found["ends"].compute()


@pytest.mark.parametrize("navigation", NAVIGATIONS)
def test_data_in_memory_give_dask_arrays_on_demand(navigation):
    counts = image_of(navigation)
    found = map_spectra(moments, counts, np.ones(2), None, lazy=True, **RESULTS)
    assert all(isinstance(values, da.Array) for values in found.values())
    assert_equal_results(found, by_loop(counts, np.ones(2), None))


@pytest.mark.parametrize("navigation", NAVIGATIONS)
def test_lazy_data_are_computed_on_demand(navigation):
    counts = image_of(navigation)
    found = map_spectra(moments, in_chunks(counts), np.ones(2), None, lazy=False, **RESULTS)
    assert all(isinstance(values, np.ndarray) for values in found.values())
    assert_equal_results(found, by_loop(counts, np.ones(2), None))


def test_all_results_of_lazy_data_take_one_pass():
    reads = []

    def read(block):
        reads.append(block.shape)
        return block

    lazy = da.map_blocks(read, in_chunks(image_of((4, 4))), meta=np.empty((0, 0, 0)))
    map_spectra(moments, lazy, np.ones(2), None, lazy=False, **RESULTS)
    assert len(reads) == lazy.npartitions


@pytest.mark.parametrize("kind", [np.asarray, in_chunks])
def test_errors_of_the_function_reach_the_caller(kind):
    def fails(counts, out):
        raise ZeroDivisionError("no spectrum")

    with pytest.raises(ZeroDivisionError, match="no spectrum"):
        map_spectra(fails, kind(image_of((3, 4))), names=["a"], width=1, dtype=float, lazy=False)


@pytest.mark.parametrize("show", [True, False])
@pytest.mark.parametrize("kind", [np.asarray, in_chunks])
def test_the_progress_bar_has_a_title_or_is_not_there(kind, show, capfd):
    bar = {"show_progressbar": show, "title": "Counting sheep"}
    map_spectra(moments, kind(image_of((3, 4))), np.ones(2), None, lazy=False, **bar, **RESULTS)
    assert ("Counting sheep" in capfd.readouterr().err) == show


# --- some of the spectra --------------------------------------------------------------------------


@pytest.mark.parametrize("n_energy", [5, N_ENERGY])
@pytest.mark.parametrize("navigation", NAVIGATIONS)
def test_some_spectra_are_those_of_the_flat_image(navigation, n_energy):
    counts = image_of(navigation)
    n_spectra = int(np.prod(navigation, dtype=int))
    flat = counts.reshape(n_spectra, N_ENERGY)
    for index in (np.arange(n_spectra), np.array([n_spectra - 1, 0, 0]), np.zeros(0, int)):
        eager = take_spectra(counts, index)
        lazy = take_spectra(in_chunks(counts, n_energy), index)
        assert isinstance(lazy, da.Array)
        assert lazy.shape == eager.shape == (len(index), N_ENERGY)
        np.testing.assert_array_equal(eager, flat[index])
        np.testing.assert_array_equal(lazy.compute(), flat[index])
