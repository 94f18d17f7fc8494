# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress reaches who listens, from every pass; what he raises ends the work at once, and harms nothing."""

import threading
import time

import dask.array as da
import numpy as np
import pytest

from hyperspy_zlpml import Cancelled, report_progress
from hyperspy_zlpml.compute import compute, map_spectra
from hyperspy_zlpml.compute.progress import steps
from hyperspy_zlpml.data import ws2_like

FEW = {"n_clusters": 2, "n_replicas": 40, "random_state": 0, "show_progressbar": False}


@pytest.fixture(scope="module")
def signal():
    return ws2_like((4, 3), n_channels=512, random_state=0).signal


@pytest.fixture(scope="module")
def expected(signal):
    return signal.remove_zlp_ml(**FEW).zlp.data


class Listener:
    """Keeps what it is told; stops the work at a title."""

    def __init__(self, stop_at=None):
        self.told = []
        self._stop_at = stop_at

    def __call__(self, title, done, total):
        self.told.append((title, done, total))
        if title == self._stop_at:
            raise Cancelled


def slow_total(counts, out):
    time.sleep(0.05)
    out[0][:, 0] = counts.sum(-1)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_pass_tells_of_all_its_steps(lazy):
    data = np.ones((3000, 10))
    data = da.from_array(data, chunks=(500, 10)) if lazy else data
    listener = Listener()
    with report_progress(listener):
        map_spectra(
            slow_total, data, names=["total"], width=1, dtype=float, lazy=False, title="Summing"
        )
    done, totals = zip(*[(done, total) for _, done, total in listener.told], strict=True)
    assert {title for title, *_ in listener.told} == {"Summing"}
    assert list(done) == sorted(done)
    assert done[-1] == totals[-1]


@pytest.mark.parametrize("lazy", [False, True])
def test_a_cancelled_pass_begins_no_more_blocks(lazy):
    begun = []

    def count(counts, out):
        begun.append(len(counts))
        slow_total(counts, out)

    data = np.ones((40_000, 2))
    data = da.from_array(data, chunks=(500, 2)) if lazy else data
    with pytest.raises(Cancelled), report_progress(Listener("Summing")):
        map_spectra(count, data, names=["t"], width=1, dtype=float, lazy=False, title="Summing")
    assert len(begun) < 20


def test_a_listener_that_refused_goes_on_refusing():
    refusals = []

    def once(*_):
        if not refusals:
            refusals.append(1)
            raise Cancelled

    with report_progress(once), steps("Working", 5, show=False) as advance:
        for _ in range(2):
            with pytest.raises(Cancelled):
                advance(1)


def test_only_work_within_is_reported():
    listener = Listener()
    with report_progress(listener):
        pass
    compute(da.ones(4, chunks=2), show_progressbar=False, title="Later")
    assert not listener.told


def test_threads_listen_for_themselves():
    listener, other = Listener(), Listener()

    def work(heard):
        with report_progress(heard):
            compute(da.ones(4, chunks=2), show_progressbar=False, title="Here")

    thread = threading.Thread(target=work, args=(other,))
    with report_progress(listener):
        thread.start()
        thread.join()
    assert other.told
    assert not listener.told


def test_a_bar_is_shown_and_told_beside(capsys):
    listener = Listener()
    with report_progress(listener), steps("Working", 2, show=True) as advance:
        advance(1)
        advance(2, note="chi2=1")
    shown = capsys.readouterr().err
    assert "Working" in shown
    assert "chi2=1" in shown
    assert listener.told == [("Working", 1, 2), ("Working", 2, 2)]


def test_no_function_is_refused():
    with pytest.raises(ValueError, match="function: expected a function of"), report_progress(3):
        pass


@pytest.mark.parametrize("title", ["Measuring peaks", "Training networks", "Matching the ZLP"])
def test_a_removal_can_be_cancelled_and_done_again(signal, expected, title):
    before = threading.active_count()
    with pytest.raises(Cancelled), report_progress(Listener(title)):
        signal.remove_zlp_ml(**FEW)
    assert threading.active_count() <= before
    np.testing.assert_array_equal(signal.remove_zlp_ml(**FEW).zlp.data, expected)


def test_a_cancelled_save_leaves_nothing(signal, tmp_path):
    result = signal.as_lazy().remove_zlp_ml(**FEW)
    with pytest.raises(Cancelled), report_progress(Listener("Saving")):
        result.save(tmp_path / "result")
    assert not list(tmp_path.iterdir())
