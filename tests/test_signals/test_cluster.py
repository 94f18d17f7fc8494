# SPDX-License-Identifier: GPL-3.0-or-later
"""A dask cluster: same numbers as threads, only arrays travel, workers may die."""

import contextlib
import os
import signal as signals
import subprocess
import sys
import threading
import time
import warnings

import dask
import dask.array as da
import numpy as np
import pytest
from conftest import QUICK, REUSE, ROOT, SPECTRA, assert_same_results

from hyperspy_zlpml.compute import workers
from hyperspy_zlpml.network import training

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
psutil = pytest.importorskip("psutil", reason="comes with dask.distributed")


@pytest.fixture(scope="module")
def client():
    """Two workers, processes of their own, of one thread each: both take seconds to start."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as workers,
        distributed.Client(workers) as client,
    ):
        yield client


# --- who works -----------------------------------------------------------------------------------


def test_the_client_that_dask_would_use_is_found(client):
    assert workers.active_client() is client
    with dask.config.set(scheduler="threads"):
        assert workers.active_client() is None


def test_no_client_no_cluster():
    with dask.config.set(scheduler="threads"):
        assert workers.active_client() is None


def test_results_come_in_the_order_of_the_values(client):
    assert list(workers.map_on(client)(_later, [3, 1, 2])) == [9, 1, 4]


def _later(value):
    time.sleep(0.05 * value)
    return value**2


def test_errors_of_the_workers_reach_the_user(client):
    with pytest.raises(ZeroDivisionError):
        list(workers.map_on(client)(_divide, [1, 0, 2]))


def _divide(value):
    return 1 / value


# --- the same numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_lazy", [False, True])
def test_training_on_the_workers_gives_the_same_networks(
    small, small_removal, client, monkeypatch, is_lazy
):
    def here(*args):
        raise AssertionError("a block was trained in this process")

    monkeypatch.setattr(training, "_in_threads", here)
    signal = small.as_lazy(chunks=(2, 4, 512)) if is_lazy else small
    ensemble = signal.train_zlp_ml(n_clusters=2, **QUICK)
    np.testing.assert_allclose(
        ensemble.networks.weights, small_removal.ensemble.networks.weights, rtol=1e-6
    )


def test_replicas_start_from_founders_on_the_workers_too(small, client, monkeypatch):
    monkeypatch.setattr(training, "_FOUNDERS", 2)
    options = {**QUICK, "n_replicas": 6, "n_clusters": 2}
    ensemble = small.train_zlp_ml(**options)
    with dask.config.set(scheduler="threads"):
        expected = small.train_zlp_ml(**options)
    np.testing.assert_allclose(ensemble.networks.weights, expected.networks.weights, rtol=1e-6)


def test_lazy_data_are_worked_on_by_the_workers(small, small_reused, client):
    seen = small.as_lazy(chunks=(1, 2, 512))
    seen.data = seen.data.map_blocks(_not_here, os.getpid(), dtype=seen.data.dtype)
    result = seen.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE)
    result.compute()
    assert_same_results(result, small_reused, rtol=1e-6)
    assert isinstance(result.zlp.data, np.ndarray)


def _not_here(block, pid):
    if block.size and os.getpid() == pid:
        raise AssertionError("a block was worked on in this process")
    return block


def test_data_in_memory_stay_here(small, small_reused, client, monkeypatch):
    def persist(*args, **kwargs):
        raise AssertionError("data in memory were sent to the workers")

    monkeypatch.setattr(distributed.Client, "persist", persist)
    result = small.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE)
    assert_same_results(result, small_reused, rtol=1e-6)


def test_results_are_saved_by_the_workers(small, small_reused, client, tmp_path):
    import hyperspy.api as hs

    lazy = small.as_lazy(chunks=(1, 2, 512))
    lazy.save(tmp_path / "image.zspy", show_progressbar=False)
    lazy = hs.load(tmp_path / "image.zspy", lazy=True)
    result = lazy.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE)
    result.save(tmp_path / "out", signals=SPECTRA)
    for name in ("subtracted", "zlp", "upper"):
        saved = hs.load(tmp_path / "out" / f"{name}.zspy")
        expected = getattr(small_reused, name).data
        np.testing.assert_allclose(saved.data, expected, rtol=1e-5, atol=2)


def test_gathered_arrays_are_those_that_dask_computes(client):
    whole = da.arange(60, chunks=7).reshape(5, 12)
    arrays = [whole + 1, (whole * 2.5).rechunk((2, 5))]
    for show in (False, True):
        got = workers.gather(client, arrays, show, "test")
        for array, expected in zip(got, arrays, strict=True):
            assert isinstance(array, np.ndarray)
            np.testing.assert_array_equal(array, expected.compute())


def test_the_bar_shows_all_blocks(client, capsys):
    workers.gather(client, [da.zeros((4, 4), chunks=2)], True, "Counting")
    told = capsys.readouterr().err
    assert "Counting" in told
    assert "4/4" in told


def test_what_a_worker_warns_of_reaches_the_user(client):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.submit(workers.warn_wherever, "data[3] is NaN").result()
        ends = time.monotonic() + 10
        while not caught and time.monotonic() < ends:
            time.sleep(0.05)
    assert [str(one.message) for one in caught] == ["data[3] is NaN"]


# --- what goes wrong -----------------------------------------------------------------------------


def _fail_late(block, pid):
    if block.size and os.getpid() != pid:
        time.sleep(0.3)
        raise OSError("disk full")
    return block


def test_a_save_that_fails_leaves_the_workers_and_no_files(small, small_removal, client, tmp_path):
    result = small.as_lazy(chunks=(1, 2, 512)).remove_zlp_ml(
        ensemble=small_removal.ensemble, **REUSE
    )
    good = result.zlp.data
    result.zlp.data = good.map_blocks(_fail_late, os.getpid(), dtype=good.dtype)
    pids = client.run(os.getpid)
    with pytest.raises(OSError, match="disk full"):
        result.save(tmp_path, signals=SPECTRA)
    time.sleep(1)
    assert not list(tmp_path.iterdir())
    assert client.run(os.getpid) == pids, "no worker died of it"
    result.zlp.data = good
    result.save(tmp_path, signals=SPECTRA)
    assert (tmp_path / "zlp.zspy").is_dir()


def _remove_in_a_task(seed):
    import hyperspy_zlpml.data

    signal = hyperspy_zlpml.data.ws2_like((4, 3), n_channels=512, offset=-2.0, random_state=2)
    lazy = signal.signal.as_lazy(chunks=(2, 2, 512))
    result = lazy.remove_zlp_ml(n_clusters=2, n_replicas=4, random_state=seed)
    result.compute()
    return float(result.zlp.data.sum())


def test_a_task_may_remove_zlps_itself(client):
    """Two at once on two workers of one thread: neither waits for the other."""
    futures = client.map(_remove_in_a_task, [0, 0], pure=False)
    first, second = client.gather(futures)
    assert first == second


def test_a_device_that_no_worker_has_is_refused_at_once(small, client):
    with pytest.raises(ValueError, match="device: expected a device of torch"):
        small.train_zlp_ml(device="nonsense", **QUICK)


# --- workers that die ----------------------------------------------------------------------------


@pytest.fixture
def mortal(client):
    """Two workers of which one may be killed: its nanny starts another."""
    client.wait_for_workers(2, timeout=60)
    return client


def kill_one_when(client, started):
    """Kill a worker once a file says that it works; the thread that waits for it."""
    victim = next(iter(client.run(os.getpid).values()))

    def wait():
        for _ in range(1200):
            if started.exists():
                os.kill(victim, signals.SIGKILL)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def _slowly(block, started):
    if block.size:
        started.touch()
        time.sleep(0.2)
    return block


def test_a_worker_that_dies_during_the_application(small, small_reused, mortal, tmp_path):
    lazy = small.as_lazy(chunks=(1, 1, 512))
    result = lazy.remove_zlp_ml(ensemble=small_reused.ensemble, **REUSE)
    started = tmp_path / "started"
    for spectra in (result.subtracted, result.zlp):
        spectra.data = spectra.data.map_blocks(_slowly, started, dtype=spectra.data.dtype)
    killer = kill_one_when(mortal, started)
    result.compute()
    killer.join(5)
    assert started.exists()
    assert not killer.is_alive()
    assert_same_results(result, small_reused, rtol=1e-6)


def _train_slowly(block, started):
    started.touch()
    time.sleep(0.5)
    return training.train_block(block)


def test_a_worker_that_dies_during_the_training(
    small, small_removal, mortal, tmp_path, monkeypatch
):
    started = tmp_path / "started"
    spread = workers.map_on

    def slow_map(client):
        def mapped(function, blocks):
            assert function is training.train_block
            slow = _Slow(started)
            return spread(client)(slow, blocks)

        return mapped

    monkeypatch.setattr("hyperspy_zlpml.training.train.map_on", slow_map)
    # Blocks of two replicas, so that both workers have several.
    monkeypatch.setattr(training, "_MOST_AT_ONCE", 2)
    killer = kill_one_when(mortal, started)
    ensemble = small.train_zlp_ml(n_clusters=2, **QUICK)
    killer.join(5)
    assert started.exists()
    assert not killer.is_alive()
    # Blocks of another size round otherwise: the networks are the same but for that.
    with dask.config.set(scheduler="threads"):
        expected = small.train_zlp_ml(n_clusters=2, **QUICK)
    np.testing.assert_allclose(ensemble.networks.weights, expected.networks.weights, rtol=1e-6)


class _Slow:
    """``train_block``, that tells when it starts and takes its time."""

    def __init__(self, started):
        self.started = started

    def __call__(self, block):
        return _train_slowly(block, self.started)


# --- workers that cannot work --------------------------------------------------------------------

#: A Python that finds this in a folder of its path runs it at its start.
HIDING = """
import sys


class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {name!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)


sys.meta_path.insert(0, Hidden())
"""


@contextlib.contextmanager
def cluster_of(folder, hidden):
    """Use a scheduler and a worker of which the latter finds no package of a name; all processes."""
    (folder / "sitecustomize.py").write_text(HIDING.format(name=hidden))
    places = [os.fspath(folder), os.fspath(ROOT)]
    hiding = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    file = os.fspath(folder / "scheduler.json")
    calls = [["scheduler", "--port", "0", "--host", "127.0.0.1", "--no-show", "--no-dashboard"]]
    calls += [["worker", "--no-nanny", "--nthreads", "1", "--no-dashboard"]]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options,
             "--scheduler-file", file],
            env=hiding if kind == "worker" else {**os.environ, "PYTHONPATH": os.fspath(ROOT)},
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for kind, *options in calls
    ]  # fmt: skip
    try:
        with distributed.Client(scheduler_file=file, timeout=60) as client:
            client.wait_for_workers(1)
            yield [psutil.Process(), *(psutil.Process(one.pid) for one in started)]
    finally:
        for process in started:
            process.kill()
            process.wait()


def cpu_seconds(processes):
    """Seconds of work of some processes."""
    return sum(sum(one.cpu_times()[:2]) for one in processes)


@pytest.mark.parametrize("hidden", ["torch", "hyperspy_zlpml"])
def test_workers_that_lack_a_package_are_told_of_at_once(small, tmp_path, hidden):
    lazy = small.as_lazy(chunks=(2, 2, 512))
    with cluster_of(tmp_path, hidden=hidden) as processes:
        before = cpu_seconds(processes)
        with pytest.raises(
            workers.WorkersError,
            match=rf"tcp://.*: ModuleNotFoundError: No module named '{hidden}' \(1 of its 2 proc",
        ):
            (lazy if hidden == "hyperspy_zlpml" else small).remove_zlp_ml(n_clusters=2, **QUICK)
        assert cpu_seconds(processes) - before < 10, "by the clock too, where nobody else works"
        with dask.config.set(scheduler="threads"):
            assert small.train_zlp_ml(n_clusters=2, **QUICK).n_replicas


def test_a_cluster_without_workers_is_told_of_and_waited_for(monkeypatch):
    monkeypatch.setattr(workers, "_PATIENCE", 0.2)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        later = threading.Timer(1.0, cluster.scale, [1])
        later.start()
        with pytest.warns(UserWarning, match="has no workers: waiting for the first. Start one"):
            assert workers.ready_client() is client
        later.join()
