# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays that are computed once and kept in files, as long as somebody reads them."""

import gc
import os
import pickle
import subprocess
import sys
from collections import namedtuple

import dask
import dask.array as da
import numpy as np
import pytest

from hyperspy_zlpml.signals.maps import temporary
from hyperspy_zlpml.signals.maps.temporary import kept

QUIET = {"show_progressbar": False, "title": "Keeping"}


def test_arrays_are_computed_once_and_gone_when_nobody_reads_them(tmp_path):
    calls = []

    def counted(block):
        calls.append(block.shape)
        return 2.0 * block

    numbers = np.arange(42.0).reshape(7, 6)
    lazy = da.from_array(numbers, chunks=(3, 6)).map_blocks(counted, meta=np.empty((0, 0)))
    with dask.config.set(temporary_directory=str(tmp_path)):
        left, right = kept([lazy[:, :4], lazy[:, 4:]], **QUIET)
    n_calls = len(calls)
    assert n_calls == 3
    for _ in range(2):
        assert np.array_equal(np.hstack([left.compute(), right.compute()]), 2 * numbers)
    assert len(calls) == n_calls
    derived = right + 1
    del left, right
    gc.collect()
    assert np.array_equal(derived.compute(), 2 * numbers[:, 4:] + 1)
    del derived
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_uneven_chunks_do_not_overwrite_each_other(tmp_path):
    numbers = np.arange(90.0).reshape(9, 10)
    lazy = da.from_array(numbers, chunks=((2, 4, 3), (10,)))
    with dask.config.set(temporary_directory=str(tmp_path)):
        (found,) = kept([lazy], **QUIET)
    assert np.array_equal(found.compute(), numbers)


def test_no_room_is_told_before_any_work(tmp_path, monkeypatch):
    def fails(block):
        raise AssertionError("nothing is to be computed")

    usage = namedtuple("usage", "free")
    monkeypatch.setattr(temporary.shutil, "disk_usage", lambda folder: usage(free=8))
    lazy = da.zeros((4, 4), chunks=2).map_blocks(fails, meta=np.empty((0, 0)))
    with dask.config.set(temporary_directory=str(tmp_path)):
        with pytest.raises(
            OSError, match=r"expected room for .* GB of spectra.*temporary_directory"
        ):
            kept([lazy], **QUIET)
        gc.collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_remove_them_at_its_end(tmp_path):
    script = """
import os, sys
import dask, dask.array as da
from hyperspy_zlpml.signals.maps.temporary import kept
with dask.config.set(temporary_directory=sys.argv[1]):
    (found,) = kept([da.full((4, 3), 7.0, chunks=2)], show_progressbar=False, title="Keeping")
child = os.fork()
if child == 0:
    sys.exit(0)
os.waitpid(child, 0)
assert found.sum().compute(scheduler="sync") == 84
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(tmp_path)], check=True)
    assert not list(tmp_path.iterdir())


def test_a_copy_whose_files_are_gone_does_not_read_as_zero(tmp_path):
    with dask.config.set(temporary_directory=str(tmp_path)):
        (found,) = kept([da.full((4, 3), 7.0, chunks=2)], **QUIET)
    copy = pickle.loads(pickle.dumps(found))
    assert copy.sum().compute() == 84
    del found
    gc.collect()
    with pytest.raises(FileNotFoundError, match=r"files of spectra, got none.*temporary_directory"):
        copy.sum().compute()


def test_blocks_that_workers_wrote_elsewhere_are_missed(tmp_path, monkeypatch):
    def store_in_part(sources, targets, show_progressbar, title):
        targets[0][:2] = 7.0

    monkeypatch.setattr(temporary, "store", store_in_part)
    with dask.config.set(temporary_directory=str(tmp_path)):
        with pytest.raises(OSError, match=r"all blocks of the spectra, got none of 2.*temporary_d"):
            kept([da.full((4, 3), 7.0, chunks=2)], **QUIET)
