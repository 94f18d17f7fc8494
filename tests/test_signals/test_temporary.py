# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays that are computed once and kept in files, as long as somebody reads them."""

import gc
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
