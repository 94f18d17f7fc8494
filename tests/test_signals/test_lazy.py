# SPDX-License-Identifier: GPL-3.0-or-later
"""Lazy signals: the same numbers, one pass to look and one to subtract, nothing but arrays sent."""

import contextlib
import os
import signal as signals
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import dask
import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest
from conftest import MAPS, QUICK, REUSE, SPECTRA, assert_same_results

from hyperspy_zlpml import LazyEELSZLPSpectrum
from hyperspy_zlpml.compute import as_blocks, blocks, n_threads, threads
from hyperspy_zlpml.compute import lazy as blocks_of_dask
from hyperspy_zlpml.network import training
from hyperspy_zlpml.signals.wrapping import blank_like

CHUNKINGS = {
    "one chunk": (3, 4, 512),
    "pixels": (1, 1, 512),
    "rows": (1, 4, 512),
    "uneven": ((2, 1), (3, 1), (512,)),
    "energy": (3, 4, 100),
    "all": (2, 3, 77),
}


class Reads:
    """Counts how often each block of an array is read; only arrays leave it."""

    def __init__(self):
        self.count = {}
        self._lock = threading.Lock()

    def __call__(self, name, block):
        with self._lock:
            self.count[name] = self.count.get(name, 0) + 1
        return block

    @property
    def most(self):
        return max(self.count.values(), default=0)

    @property
    def total(self):
        return sum(self.count.values())


def delayed_blocks(data, rows, reads):
    """Dask array whose blocks of rows are made one by one by delayed calls that are counted."""
    blocks = []
    for start in range(0, len(data), rows):
        part = data[start : start + rows]
        block = dask.delayed(reads, pure=False)(start, part)
        blocks.append(da.from_delayed(block, part.shape, part.dtype))
    return da.concatenate(blocks)


class CountedArray:
    """What a file looks like to dask: sliced on demand, every slice counted."""

    def __init__(self, data, reads):
        self._data, self._reads = data, reads
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim

    def __getitem__(self, index):
        return self._reads(str(index), self._data[index])


def lazy_signal(signal, array):
    new = signal._deepcopy_with_new_data(array)
    new._lazy = True
    new._assign_subclass()
    assert type(new) is LazyEELSZLPSpectrum
    return new


def graph_of(*signals):
    """All tasks behind some signals, optimised as they would be on their way to a worker."""
    arrays = dask.optimize(*(signal.data for signal in signals))
    graph = {}
    for array in arrays:
        graph.update(dict(array.__dask_graph__()))
    return graph


# --- lazy equals eager ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pixels", "uneven", "all"])
def test_lazy_equals_eager(small, small_removal, name):
    """From the first look at the peaks to the subtraction, training included."""
    lazy = small.as_lazy(chunks=CHUNKINGS[name])
    result = lazy.remove_zlp_ml(n_clusters=2, **QUICK)
    np.testing.assert_array_equal(
        result.ensemble.networks.weights, small_removal.ensemble.networks.weights
    )
    for spectra in SPECTRA:
        assert type(getattr(result, spectra)) is LazyEELSZLPSpectrum
        assert isinstance(getattr(result, spectra).data, da.Array)
    result.compute()
    assert_same_results(result, small_removal, rtol=1e-6)
    for kind in MAPS:
        np.testing.assert_allclose(
            getattr(result, kind).data, getattr(small_removal, kind).data, rtol=1e-12, atol=1e-12
        )
    np.testing.assert_allclose(
        result.subtracted.get_noise_variance().data,
        small_removal.subtracted.get_noise_variance().data,
        rtol=1e-6,
    )


@pytest.mark.parametrize("name", CHUNKINGS)
def test_lazy_application_equals_eager(small, small_reused, name):
    """The same ensemble, however the data are cut."""
    lazy = small.as_lazy(chunks=CHUNKINGS[name])
    result = lazy.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE)
    result.compute()
    assert_same_results(result, small_reused, rtol=1e-6)
    np.testing.assert_array_equal(result.clusters.data, small_reused.clusters.data)
    np.testing.assert_array_equal(result.vacuum.data, small_reused.vacuum.data)


def test_peak_parameters_do_not_depend_on_the_blocks(small):
    expected = small.estimate_zlp_parameters()
    for chunks in CHUNKINGS.values():
        for a, b in zip(
            small.as_lazy(chunks=chunks).estimate_zlp_parameters(), expected, strict=True
        ):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-10, atol=1e-12)


def test_peak_parameters_are_the_same_to_the_last_bit(small):
    """All that training sees of the first pass; anything else would not be reproducible."""
    expected = small.estimate_zlp_parameters()
    lazy = small.as_lazy(chunks=(1, 1, 512)).estimate_zlp_parameters()
    for a, b in zip(lazy, expected, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("shape", [(), (6,), (2, 2, 3)])
def test_lazy_equals_eager_in_other_dimensions(shape):
    import hyperspy_zlpml.data

    signal = hyperspy_zlpml.data.ws2_like(shape, n_channels=512, offset=-2.0, random_state=0).signal
    ensemble = signal.train_zlp_ml(n_clusters=2, **QUICK)
    eager = signal.remove_zlp_ml(ensemble=ensemble, **REUSE)
    lazy = signal.as_lazy(chunks=(1,) * len(shape) + (200,))
    result = lazy.remove_zlp_ml(ensemble=ensemble, **REUSE)
    assert result.subtracted._lazy
    result.compute()
    assert_same_results(result, eager, rtol=1e-6)


@pytest.mark.parametrize("extension", ["hspy", "zspy"])
def test_lazy_from_a_file(small, small_reused, tmp_path, extension):
    file = tmp_path / f"image.{extension}"
    small.save(file, chunks=(2, 2, 100))
    signal = hs.load(file, lazy=True)
    result = signal.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE)
    result.compute()
    assert_same_results(result, small_reused, rtol=1e-6)


def test_lazy_with_a_noise_variance(small, small_removal):
    """Whether the variance is lazy, chunked otherwise, or not lazy at all."""
    small.set_noise_variance(small._deepcopy_with_new_data(np.clip(small.data, 1, None) + 900.0))
    eager = small.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    for variance_is_lazy in (False, True):
        lazy = small.as_lazy(chunks=(2, 3, 77))
        if variance_is_lazy:
            variance = small.get_noise_variance().as_lazy(chunks=(3, 1, 512))
            lazy.set_noise_variance(variance)
        result = lazy.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
        result.compute()
        assert_same_results(result, eager, rtol=1e-6)
        np.testing.assert_allclose(
            result.subtracted.get_noise_variance().data,
            eager.subtracted.get_noise_variance().data,
            rtol=1e-6,
        )


def test_lazy_train(small, small_removal):
    ensemble = small.as_lazy(chunks=(2, 2, 100)).train_zlp_ml(n_clusters=2, **QUICK)
    np.testing.assert_array_equal(
        ensemble.networks.weights, small_removal.ensemble.networks.weights
    )


def test_computing_in_parts_equals_the_whole(small, small_reused):
    lazy = small.as_lazy(chunks=(1, 2, 512))
    result = lazy.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE)
    part = result.zlp.inav[1:3, 2].isig[100:200]
    part.compute()
    np.testing.assert_allclose(part.data, small_reused.zlp.data[2, 1:3, 100:200], rtol=1e-6)


# --- lazy_output ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("wanted", [None, False, True])
def test_lazy_output(small, small_reused, lazy, wanted):
    signal = small.as_lazy(chunks=(2, 2, 512)) if lazy else small
    result = signal.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE, lazy_output=wanted)
    expected = lazy if wanted is None else wanted
    for name in SPECTRA:
        got = getattr(result, name)
        assert got._lazy is expected, name
        assert isinstance(got, LazyEELSZLPSpectrum) is expected
        assert isinstance(got.data, da.Array) is expected
        assert got.metadata.General.title == getattr(small_reused, name).metadata.General.title
    assert result.subtracted.get_noise_variance()._lazy is expected
    assert signal._lazy is lazy
    assert ("lazy" in repr(result)) is expected
    result.compute()
    assert_same_results(result, small_reused, rtol=1e-6)


# --- passes over the data ------------------------------------------------------------------------


def test_two_passes_in_all(small):
    """One to look at the peaks and read the sample, one to subtract: never a third."""
    reads = Reads()
    lazy = lazy_signal(small, delayed_blocks(small.data, 1, reads))
    result = lazy.remove_zlp_ml(n_clusters=2, **QUICK)
    assert len(reads.count) == 3
    assert reads.most == 1, "looking at the peaks reads every block once"
    result.compute()
    assert reads.most == 2, "all results come from one more pass"
    assert reads.total == 6


def test_two_passes_over_a_file(small):
    """The same where blocks are slices of a file, which dask may fuse into what uses them."""
    reads = Reads()
    array = da.from_array(CountedArray(small.data, reads), chunks=(1, 4, 512), meta=small.data[:0])
    n_blocks = 3
    reads.count.clear()
    result = lazy_signal(small, array).remove_zlp_ml(n_clusters=2, **QUICK)
    assert reads.total <= n_blocks, reads.count
    reads.count.clear()
    result.compute()
    assert reads.total <= n_blocks, reads.count


def test_two_passes_with_a_chunked_energy_axis(small):
    reads = Reads()
    array = da.from_array(CountedArray(small.data, reads), chunks=(1, 4, 128), meta=small.data[:0])
    n_blocks = 3 * 4
    reads.count.clear()
    result = lazy_signal(small, array).remove_zlp_ml(n_clusters=2, **QUICK)
    assert reads.total <= n_blocks, reads.count
    reads.count.clear()
    result.compute()
    assert reads.total <= n_blocks, reads.count


def test_given_ensemble_takes_two_passes(small, small_removal):
    reads = Reads()
    lazy = lazy_signal(small, delayed_blocks(small.data, 1, reads))
    lazy.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE).compute()
    assert reads.most == 2


def test_lazy_output_false_takes_two_passes(small, small_removal):
    reads = Reads()
    lazy = lazy_signal(small, delayed_blocks(small.data, 1, reads))
    lazy.remove_zlp_ml(lazy_output=False, ensemble=small_removal.ensemble, **REUSE)
    assert reads.most == 2


def test_one_result_alone_takes_one_pass(small, small_removal):
    """Its variance included."""
    reads = Reads()
    lazy = lazy_signal(small, delayed_blocks(small.data, 1, reads))
    result = lazy.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    reads.count.clear()
    result.zlp.compute()
    assert reads.most == 1


def test_peak_parameters_take_one_pass(small):
    reads = Reads()
    lazy_signal(small, delayed_blocks(small.data, 1, reads)).estimate_zlp_parameters()
    assert reads.most == 1
    assert reads.total == 3


def test_compute_twice_reads_nothing_more(small, small_removal):
    reads = Reads()
    lazy = lazy_signal(small, delayed_blocks(small.data, 1, reads))
    result = lazy.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    result.compute()
    reads.count.clear()
    result.compute()
    assert reads.total == 0


def test_chunks_that_are_not_small_are_kept(small, small_removal):
    """No block holds more than one of theirs."""
    lazy = small.as_lazy(chunks=(1, 2, 512))
    result = lazy.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    for name in SPECTRA:
        assert getattr(result, name).data.chunks == lazy.data.chunks, name


@pytest.mark.parametrize(
    "shape, threads, joined",
    [((64, 64), 2, (16, 16)), ((64, 64), 16, (8, 8)), ((8, 8), 2, (8, 8)), ((512, 8), 2, (64, 8))],
)
def test_small_chunks_are_joined_where_every_thread_has_several(shape, threads, joined):
    chunks = da.zeros((*shape, 2048), chunks=(8, 8, 2048), dtype=np.float32)
    with dask.config.set(num_workers=threads):
        blocks_now = as_blocks(chunks)
    assert blocks_now.chunksize[:-1] == joined
    assert np.prod(blocks_now.chunksize) * 4 <= 2**22


def test_joined_chunks_give_the_same(small, small_reused, monkeypatch):
    monkeypatch.setattr(blocks_of_dask, "_BLOCKS_OF_THREAD", 0.5)
    lazy = small.as_lazy(chunks=(1, 1, 512))
    result = lazy.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE)
    assert result.zlp.data.npartitions < lazy.data.npartitions
    result.compute()
    assert_same_results(result, small_reused, rtol=1e-6)


def test_input_stays_lazy(small, small_removal):
    lazy = small.as_lazy(chunks=(2, 2, 100))
    before, chunks = lazy.data, lazy.data.chunks
    result = lazy.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    result.compute()
    assert lazy._lazy
    assert lazy.data is before
    assert lazy.data.chunks == chunks


# --- what is sent to workers ---------------------------------------------------------------------


def test_graph_can_be_pickled(small, small_removal):
    """No signal, axis or model in any task: none of them could be pickled."""
    with pytest.raises((TypeError, KeyError)):
        cloudpickle.dumps(small)
    lazy = small.as_lazy(chunks=(2, 2, 100))
    result = lazy.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    signals = [getattr(result, name) for name in SPECTRA]
    graph = graph_of(*signals, result.subtracted.get_noise_variance())
    assert len(graph) > 4
    assert len(cloudpickle.dumps(graph)) > 0


def test_graph_can_be_pickled_with_a_variance(small, small_removal):
    small.set_noise_variance(small._deepcopy_with_new_data(np.clip(small.data, 1, None)))
    result = small.as_lazy(chunks=(2, 2, 100)).remove_zlp_ml(
        ensemble=small_removal.ensemble, **REUSE
    )
    assert cloudpickle.dumps(graph_of(result.subtracted, result.subtracted.get_noise_variance()))


def test_model_is_sent_once_not_with_every_block(small, small_reused):
    """The tables of the ensemble are one task of the graph, however many blocks there are."""
    applied, sizes = small_reused._application, []
    for chunks in ((3, 4, 512), (1, 1, 512)):
        lazy = lazy_signal(small, da.zeros_like(small.data, chunks=chunks) + 0)
        matched = applied.posterior(lazy.data, lazy=True)
        arrays = applied.evaluate(["zlp", "lower"], lazy.data, matched)
        sizes.append(len(cloudpickle.dumps(dict(arrays["zlp"].__dask_graph__()))))
    model = len(cloudpickle.dumps(applied.subtraction))
    assert sizes[1] - sizes[0] < model


def test_other_processes_compute_the_same(small, small_reused):
    lazy = small.as_lazy(chunks=(2, 4, 512))
    result = lazy.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE)
    with dask.config.set(scheduler="processes", num_workers=2):
        result.compute()
    assert_same_results(result, small_reused, rtol=1e-6)


# --- after computing -----------------------------------------------------------------------------


def line_fit(signal):
    model = signal.isig[7.0:9.0].create_model(auto_background=False, auto_add_edges=False)
    model.append(hs.model.components1D.Polynomial(order=2))
    model.multifit(show_progressbar=False)
    return model.red_chisq.data


@pytest.mark.parametrize("how", ["result", "signal"])
def test_noise_variance_can_be_fitted_with(small, small_removal, how):
    """HyperSpy's fits cannot use a lazy variance."""
    result = small.as_lazy(chunks=(2, 2, 512)).remove_zlp_ml(
        ensemble=small_removal.ensemble, **REUSE
    )
    if how == "result":
        result.compute()
    else:
        result.subtracted.compute()
    variance = result.subtracted.get_noise_variance()
    assert not variance._lazy
    assert isinstance(variance.data, np.ndarray)
    chi2 = line_fit(result.subtracted)
    assert np.isfinite(chi2).all()
    assert 0.3 < np.median(chi2) < 3


def test_integrate_of_a_lazy_result(small, small_reused):
    lazy = small.as_lazy(chunks=(2, 2, 512))
    result = lazy.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE)
    for actual, expected in zip(
        result.integrate(2.5, 4.0), small_reused.integrate(2.5, 4.0), strict=True
    ):
        np.testing.assert_allclose(actual.data, expected.data, rtol=1e-4, atol=1)
    assert result.subtracted._lazy, "an integral does not load the results"


def test_save_of_a_lazy_result(small, small_reused, tmp_path):
    lazy = small.as_lazy(chunks=(2, 2, 512))
    result = lazy.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE)
    result.save(tmp_path, signals=SPECTRA)
    for name in SPECTRA:
        np.testing.assert_allclose(
            hs.load(tmp_path / f"{name}.zspy").data, getattr(small_reused, name).data,
            rtol=1e-5, atol=2,
        )  # fmt: skip
    variance = hs.load(tmp_path / "subtracted.zspy").get_noise_variance()
    np.testing.assert_allclose(
        np.asarray(variance.data), small_reused.subtracted.get_noise_variance().data, rtol=1e-5
    )


def test_save_of_a_lazy_result_takes_one_pass(small, small_removal, tmp_path):
    reads = Reads()
    lazy = lazy_signal(small, delayed_blocks(small.data, 1, reads))
    result = lazy.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    reads.count.clear()
    result.save(tmp_path, signals=SPECTRA)
    assert reads.most == 1


def test_plot_of_a_lazy_result(small, small_removal):
    result = small.as_lazy(chunks=(2, 2, 512)).remove_zlp_ml(
        ensemble=small_removal.ensemble, **REUSE
    )
    result.plot()[0].figure.canvas.draw()
    assert not result.removed.made
    assert result.subtracted._lazy


def test_nan_pixels_lazily(small, small_removal):
    small.data[1, 2, 40] = np.nan
    with pytest.warns(UserWarning, match="1 of 12 spectra are left out"):
        eager = small.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    with pytest.warns(UserWarning, match="1 of 12 spectra are left out"):
        result = small.as_lazy(chunks=(2, 2, 100)).remove_zlp_ml(
            ensemble=small_removal.ensemble, **REUSE
        )
    result.compute()
    assert_same_results(result, eager, rtol=1e-6)


# --- files ---------------------------------------------------------------------------------------


def contents(directory):
    """Names and bytes of all files below a directory."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_an_interrupted_save_leaves_what_was_there(small, small_removal, tmp_path):
    small_removal.save(tmp_path, signals=["zlp"])
    before = contents(tmp_path)
    result = small.as_lazy(chunks=(1, 4, 512)).remove_zlp_ml(
        ensemble=small_removal.ensemble, **REUSE
    )

    def fails(block):
        raise OSError("disk full")

    result.zlp.data = da.map_blocks(fails, result.zlp.data, meta=result.zlp.data._meta)
    with pytest.raises(OSError, match="disk full"):
        result.save(tmp_path, signals=["zlp"], overwrite=True)
    assert contents(tmp_path) == before


def test_saving_is_silent_without_a_bar(small, small_removal, tmp_path, capfd):
    result = small.as_lazy(chunks=(1, 4, 512)).remove_zlp_ml(
        ensemble=small_removal.ensemble, **REUSE
    )
    capfd.readouterr()
    result.save(tmp_path, signals=["zlp"], show_progressbar=False)
    told = capfd.readouterr()
    assert "Completed" not in told.out
    assert "%" not in told.err
    result.save(tmp_path, signals=["zlp"], overwrite=True, show_progressbar=True)
    assert "Saving" in capfd.readouterr().err


def test_files_that_exist_are_kept_or_replaced_as_asked(small, small_removal, tmp_path):
    small_removal.save(tmp_path, signals=["zlp"])
    (tmp_path / "report.txt").write_text("mine")
    before = contents(tmp_path)
    result = small.as_lazy(chunks=(1, 4, 512)).remove_zlp_ml(
        ensemble=small_removal.ensemble, **REUSE
    )
    result.save(tmp_path, signals=["zlp"], overwrite=False)
    assert contents(tmp_path) == before
    result.save(tmp_path, signals=["zlp"], overwrite=True)
    after = contents(tmp_path)
    assert after["report.txt"] != b"mine"
    assert hs.load(tmp_path / "zlp.zspy", lazy=True).data.chunks == result.zlp.data.chunks


def test_saved_files_hold_all_metadata(small, small_removal, tmp_path):
    small.metadata.General.title = "one / two"
    small.metadata.set_item("Sample.description", "MoS2")
    result = small.as_lazy(chunks=(2, 3, 512)).remove_zlp_ml(
        ensemble=small_removal.ensemble, **REUSE
    )
    result.save(tmp_path, signals=SPECTRA)
    loaded = hs.load(tmp_path / "upper.zspy")
    assert loaded.metadata.General.title == result.upper.metadata.General.title
    assert loaded.metadata.Sample.description == "MoS2"
    assert loaded.axes_manager.signal_axes[0].scale == small.axes_manager.signal_axes[0].scale
    assert result.upper._lazy, "saving does not load the results"


def test_uneven_chunks_are_saved_whole(small, small_reused, tmp_path):
    """The chunks of a file are all of one size: blocks must not share one."""
    result = small.as_lazy(chunks=((2, 1), (1, 3), (512,))).remove_zlp_ml(
        ensemble=small_reused.ensemble, **REUSE
    )
    result.save(tmp_path, signals=SPECTRA)
    for name in SPECTRA:
        saved = hs.load(tmp_path / f"{name}.zspy").data
        np.testing.assert_allclose(saved, getattr(small_reused, name).data, rtol=1e-5, atol=2)


def test_chunks_that_are_too_large_are_split(small, small_reused, monkeypatch):
    monkeypatch.setattr(blocks_of_dask, "_MOST_CHANNELS", small.data.size // 2)
    monkeypatch.setattr(blocks_of_dask, "_SPLIT_CHANNELS", small.data.size // 4)
    lazy = small.as_lazy(chunks=small.data.shape)
    result = lazy.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE)
    assert result.zlp.data.npartitions >= 4
    assert len(result.zlp.data.chunks[-1]) == 1
    result.compute()
    assert_same_results(result, small_reused, rtol=1e-6)


def test_threads_are_those_that_dask_is_told_to_use():
    with dask.config.set(num_workers=3):
        assert n_threads() == 3
    with dask.config.set(scheduler="synchronous"):
        assert n_threads() == 1
    assert n_threads() >= 1


@pytest.mark.parametrize("limit", [{"num_workers": 1}, {"scheduler": "synchronous"}])
def test_training_and_application_keep_to_the_threads_of_dask(small, limit, monkeypatch):
    """Both passes and the training ask for a pool of as many threads as dask is told to use."""
    sizes = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, size):
            sizes.append(size)
            super().__init__(size)

    monkeypatch.setattr(blocks, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(training, "ThreadPoolExecutor", Pool)
    with dask.config.set(**limit):
        small.remove_zlp_ml(n_clusters=2, **QUICK)
    assert len(sizes) >= 3
    assert set(sizes) == {1}


@pytest.mark.parametrize("n_threads", [1, 3])
def test_threads_do_not_change_the_numbers(small, small_reused, n_threads, monkeypatch):
    monkeypatch.setattr(blocks, "_SPECTRA_AT_ONCE", 5)
    with dask.config.set(num_workers=n_threads):
        result = small.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE)
    assert_same_results(result, small_reused, rtol=1e-6)


def test_a_save_that_fails_leaves_nothing_behind(small, small_removal, tmp_path):
    """Not even what other threads were about to write when one failed."""
    import time

    result = small.as_lazy(chunks=(1, 1, 512)).remove_zlp_ml(
        ensemble=small_removal.ensemble, **REUSE
    )

    def slow(block, block_info=None):
        if block_info and block_info[0]["chunk-location"] == (0, 0, 0):
            raise OSError("disk full")
        time.sleep(0.3)
        return block

    data = result.zlp.data
    result.zlp.data = data.map_blocks(slow, dtype=data.dtype, meta=data._meta)
    with dask.config.set(num_workers=4), pytest.raises(OSError, match="disk full"):
        result.save(tmp_path, signals=SPECTRA)
    time.sleep(0.6)
    assert not list(tmp_path.iterdir())


def test_saving_changes_no_signal_but_for_its_place(small, small_removal, tmp_path):
    small_removal.save(tmp_path / "a", signals=["zlp"])
    parameters = small_removal.zlp.tmp_parameters
    assert (parameters.folder, parameters.filename) == (tmp_path / "a", "zlp")


def test_a_refused_overwrite_keeps_the_report_too(small_removal, tmp_path, monkeypatch):
    from hyperspy_zlpml.signals import saving

    small_removal.save(tmp_path, signals=["zlp"])
    (tmp_path / "report.txt").write_text("mine")
    monkeypatch.setattr(saving, "ask_to_overwrite", lambda file: False)
    small_removal.save(tmp_path, signals=["zlp"])
    assert (tmp_path / "report.txt").read_text() == "mine"


@pytest.mark.parametrize("dtype, expected", [(">f8", "f8"), (">f4", "f4"), (">i2", "f4")])
def test_byte_order_does_not_matter(small, small_removal, dtype, expected):
    small.data = (small.data / 100).astype(dtype)
    for signal in (small, small.as_lazy(chunks=(2, 2, 512))):
        result = signal.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
        result.compute()
        assert result.zlp.data.dtype == np.dtype(expected)
        assert result.zlp.data.dtype.isnative


def test_threads_of_blas_are_put_back_after_calls_that_overlap(small, small_reused):
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_info

    def n_threads():
        return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]

    before = n_threads()
    with ThreadPoolExecutor(3) as pool:
        calls = [
            pool.submit(small.deepcopy().remove_zlp_ml, ensemble=small_reused.ensemble, **REUSE)
            for _ in range(4)
        ]
        results = [call.result() for call in calls]
    assert n_threads() == before
    for result in results:
        assert_same_results(result, small_reused, rtol=1e-6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
@pytest.mark.parametrize("forks_inside", [False, True])
def test_a_process_forked_during_a_call_limits_blas_no_longer_than_its_own(
    forks_inside, monkeypatch
):
    n_threads = [4]

    class Limits:
        def __init__(self, limits, user_api):
            n_threads[0] = limits

        def restore_original_limits(self):
            n_threads[0] = 4

    monkeypatch.setattr(threads, "threadpool_limits", Limits)
    limit = threads._OneBlasThread()
    entered, leave = threading.Event(), threading.Event()

    def call():
        with limit:
            entered.set()
            leave.wait()

    def in_child():
        found = [n_threads[0]]
        if forks_inside:
            limit.__exit__()
        found.append(n_threads[0])
        with limit:
            found.append(n_threads[0])
        return [*found, n_threads[0]] == [1 if forks_inside else 4, 4, 1, 4]

    other = threading.Thread(target=call)
    other.start()
    entered.wait()
    with limit if forks_inside else contextlib.nullcontext():
        pid = os.fork()
        if not pid:
            signals.alarm(20)
            os._exit(0 if in_child() else 1)
        _, status = os.waitpid(pid, 0)
    assert n_threads == [1], "the other thread is within its call still"
    leave.set()
    other.join()
    assert n_threads == [4]
    assert status == 0


@pytest.mark.parametrize("is_lazy", [False, True])
def test_what_lends_axes_and_metadata_takes_no_memory(is_lazy):
    """Hashing an array of zeros to name it takes as much memory as the image that it stands for."""
    counts = da.zeros((256, 256, 2048), dtype=np.float32)
    signal = hs.signals.Signal1D(counts).as_lazy()
    blank_like(signal, is_lazy)  # what is imported first is no part of it
    tracemalloc.start()
    try:
        blank = blank_like(signal, is_lazy)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert blank.data.shape == counts.shape
    assert peak < 0.02 * counts.nbytes
