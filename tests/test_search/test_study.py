# SPDX-License-Identifier: GPL-3.0-or-later
"""Generations of settings, on a landscape that is known: nothing is trained here."""

import itertools
import os
import signal as signals
import threading
import time
from dataclasses import replace

import dask
import numpy as np
import pytest

from hyperspy_zlpml import TrainingSettings
from hyperspy_zlpml.compute import n_threads
from hyperspy_zlpml.search import search as searches
from hyperspy_zlpml.search import study as studies
from hyperspy_zlpml.search.evaluation import Evaluation
from hyperspy_zlpml.search.parallel import side_by_side
from hyperspy_zlpml.search.scores import Scores
from hyperspy_zlpml.search.search import SearchPlan, evolve

pytest.importorskip("optuna")

BAD = TrainingSettings(hidden_layers=(3,), n_clusters=1)


class EndOfProcessError(Exception):
    """The process ends here."""


def landscape(settings):
    """A score with one best place, which depends on every setting."""
    off = (settings.n_clusters - 7) ** 2 / 20 + np.log(settings.prior / 3) ** 2 / 10
    off += (settings.limit_spread - 0.2) ** 2 + (settings.n_modes - 5) ** 2 / 20
    off += (settings.replica_kind == "spectra") + 0.3 * (settings.activation != "tanh")
    return -off - abs(sum(settings.hidden_layers) - 25) / 20


def pretended(shared, settings, seed, judged=False):
    """An evaluation without a training; the seed adds a little."""
    if settings.hidden_layers[0] == 2:
        return Evaluation(None, np.nan, 0.1, "fewer than half could be trained")
    time.sleep(shared * (seed % 5))
    noise = 1e-3 * np.random.default_rng(seed).standard_normal()
    pull = np.ones((2, 4))
    log_score = np.full(2, landscape(settings) + noise)
    scores = Scores(log_score, pull, pull, np.zeros(2, bool))
    return Evaluation(scores, 1e9 * sum(settings.hidden_layers), 0.1)


def evolved(storage=None, n_evaluations=25, n_workers=1, seed=3, pause=0.0, **more):
    """History of a search."""
    study = studies.open_study(storage)
    plan = SearchPlan(n_evaluations=n_evaluations, **more)
    with side_by_side(pretended, pause, n_workers) as calls:
        evolve(study, plan, calls, seed)
    return studies.history_of(study)


def same(one, other):
    """Records as text: NaN is NaN."""
    return repr(one) == repr(other)


@pytest.fixture(scope="module")
def whole():
    return evolved()


def generation_of(trial):
    """Number of the generation that Optuna counts a trial to; the word has changed."""
    (number,) = (value for name, value in trial.system_attrs.items() if "generation" in name)
    return number


def test_the_defaults_are_bred_from_and_a_generation_counts_them():
    study = studies.open_study(None)
    with side_by_side(pretended, 0.0, 1) as calls:
        evolve(study, SearchPlan(n_evaluations=11), calls, 3)
    of_first, *others, of_last = study.get_trials()
    assert [generation_of(one) for one in (of_first, *others, of_last)] == 10 * [0] + [1]
    children = evolved(n_evaluations=20)[10:]
    parents = {repr(one.settings.prior) for one in evolved(n_evaluations=10)}
    assert sum(repr(one.settings.prior) in parents for one in children) >= 5


def test_it_begins_with_the_defaults_and_gives_the_same_again(whole):
    assert whole[0].settings == TrainingSettings()
    assert [one.number for one in whole] == list(range(25))
    assert same(evolved(), whole)
    assert not same(evolved(seed=4), whole)
    assert evolved(n_evaluations=1, start=BAD)[0].settings == BAD


def test_workers_that_end_out_of_order_give_the_same(whole):
    assert same(evolved(n_workers=4, pause=0.002), whole)


@pytest.mark.parametrize("after", [1, 7, 10, 14])
def test_interrupted_and_gone_on_is_uninterrupted(whole, tmp_path, monkeypatch, after):
    told = studies.tell

    def tell(study, number, found):
        if number == after:
            raise EndOfProcessError
        told(study, number, found)

    file = tmp_path / "search.log"
    monkeypatch.setattr(studies, "tell", tell)
    with pytest.raises(EndOfProcessError):
        evolved(file)
    monkeypatch.undo()
    assert len(studies.history_of(studies.open_study(file))) == after
    assert same(evolved(file), whole)


@pytest.fixture
def interruptible():
    """Ctrl-C interrupts, which it does not where tests were started in the background."""
    before = signals.signal(signals.SIGINT, signals.default_int_handler)
    yield
    signals.signal(signals.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_key_interrupts_it_at_once_and_it_goes_on(whole, tmp_path):
    """Ctrl-C while evaluations run: those that wait are not begun, and nothing is lost."""
    file, begun, plan = tmp_path / "search.log", [], SearchPlan(n_evaluations=25)
    numbers = itertools.count(1)

    def slow(shared, settings, seed):
        begun.append(seed)
        if next(numbers) == 13:
            signals.raise_signal(signals.SIGINT)
        time.sleep(0.02)
        return pretended(0.0, settings, seed)

    with pytest.raises(KeyboardInterrupt), side_by_side(slow, None, 2) as calls:
        evolve(studies.open_study(file), plan, calls, 3)
    assert len(begun) < 17, "two that ran, and two that were about to"
    kept = studies.history_of(studies.open_study(file))
    assert same(kept, whole[: len(kept)])
    assert same(evolved(file), whole)


@pytest.mark.parametrize("first", [4, 10, 13])
def test_a_search_that_is_extended_is_one_that_was_as_long(whole, tmp_path, first):
    file = str(tmp_path / "search.log")
    assert len(evolved(file, n_evaluations=first)) == first
    assert same(evolved(file), whole)


def test_time_ends_it_and_what_is_left_is_gone_on_with(whole, tmp_path):
    file = tmp_path / "search.log"
    few = evolved(file, pause=0.05, timeout=0.3)
    assert 1 <= len(few) < 25
    assert same(few, whole[: len(few)])
    assert same(evolved(file), whole)


def test_a_search_has_at_least_one_evaluation():
    assert len(evolved(timeout=1e-9)) >= 1


def test_settings_that_cannot_be_trained_do_not_end_the_search():
    failed, *others = evolved(n_evaluations=12, start=TrainingSettings(hidden_layers=(2,)))
    assert "could be trained" in failed.note
    assert np.isnan(failed.work)
    assert failed.score < min(one.score for one in others if not one.note)


def test_settings_that_cannot_be_trained_have_no_importance():
    """The score depends on the prior alone, and what cannot be trained on the number of modes."""

    def scored(shared, settings, seed, judged=False):
        if settings.n_modes > 5:
            return Evaluation(None, np.nan, 0.1, "fewer than half could be trained")
        pull = np.ones((2, 4))
        log_score = np.full(2, -abs(np.log(settings.prior / 30)))
        return Evaluation(Scores(log_score, pull, pull, np.zeros(2, int)), 1e9, 0.1)

    study = studies.open_study(None)
    with side_by_side(scored, None, 1) as calls:
        evolve(study, SearchPlan(n_evaluations=30), calls, 3)
    history = studies.history_of(study)
    assert any(one.note for one in history)
    importance = studies.importances(study, 0)
    assert importance["prior"] > 0.5
    assert importance["n_modes"] < 0.2


def test_evolution_finds_more_than_as_many_random_settings():
    """Mean over some seeds of the best of 60: beyond what the first generations, random, would find."""
    bred, drawn = [], []
    for seed in range(4):
        history = evolved(n_evaluations=60, seed=seed, start=BAD)
        bred.append(max(one.score for one in history))
        chosen = [evolved(n_evaluations=10, seed=1000 * seed + k, start=BAD) for k in range(6)]
        drawn.append(max(one.score for part in chosen for one in part))
    assert np.mean(bred) > np.mean(drawn) + 0.05


# --- files ----------------------------------------------------------------------------------------


def test_a_file_of_another_search_is_refused(tmp_path):
    file = tmp_path / "search.log"
    facts = {"random_state": 3, "spectra": "a", "n_replicas": 10}
    studies.keep_facts(studies.open_study(file), facts)
    studies.keep_facts(studies.open_study(file), facts)
    for changed, words in (({"spectra": "b"}, "another spectra"),
                           ({"n_replicas": 4, "random_state": 1}, "random_state and n_replicas")):  # fmt: skip
        with pytest.raises(ValueError, match=f"storage: expected a search of the same.*{words}"):
            studies.keep_facts(studies.open_study(file), {**facts, **changed})


def test_the_random_state_of_a_file_is_gone_on_with(tmp_path):
    file = tmp_path / "search.log"
    studies.keep_facts(studies.open_study(file), {"random_state": 7})
    study = studies.open_study(file)
    assert studies.random_state_of(study, None) == 7
    assert studies.random_state_of(study, 5) == 5
    assert isinstance(studies.random_state_of(studies.open_study(None), None), int)


@pytest.mark.parametrize("content", ["no JSON\n", "[1, 2]\n", "{}\n", '{"op_code": 99}\n'])
def test_a_file_that_holds_no_search_is_refused(tmp_path, content):
    file = tmp_path / "other.txt"
    file.write_text(content)
    with pytest.raises(ValueError, match="storage: expected a file of a search"):
        studies.open_study(file)
    assert file.read_text() == content


@pytest.mark.parametrize("storage", [3, "", "no/such/folder/search.log"])
def test_what_is_no_file_is_refused(storage):
    with pytest.raises(ValueError, match="storage: expected"):
        studies.open_study(storage)


def test_a_lock_is_no_link_and_one_left_behind_by_a_killed_process_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studies, "_OLD_LOCK", 3)
    (tmp_path / "below").mkdir()
    studies.open_study("below/search.log")

    def no_links(*_, **__):
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", no_links)
    (tmp_path / "below" / "search.log.lock").touch()
    begun = time.monotonic()
    study = studies.open_study("below/search.log")
    monkeypatch.chdir("/")
    studies.keep_facts(study, {"random_state": 3})
    assert 3 <= time.monotonic() - begun < 60
    kept = studies.open_study(tmp_path / "below" / "search.log")
    assert studies.random_state_of(kept, None) == 3


# --- what is selected -----------------------------------------------------------------------------


def calls_of(function):
    """Calls one after the other."""
    return lambda arguments, goes_on: [function(*one) for one in arguments]


def test_luck_is_not_selected(whole):
    """The best score by luck is not there again when the best are trained with other seeds."""
    lucky = replace(whole[1], score=99.0)
    honest = [replace(one, score=landscape(one.settings)) for one in whole[2:]]

    def again(settings, seed):
        return pretended(0.0, settings, seed)

    best = searches.select((lucky, *honest), calls_of(again), seed=0)
    ranked = sorted((one for one in honest if not one.note), key=lambda one: -one.score)
    assert landscape(best) >= landscape(ranked[0].settings) - 0.01
    assert best != lucky.settings


def test_the_defaults_are_selected_where_others_were_lucky(whole):
    """All settings are alike but for luck: whatever scored best, the defaults are no worse."""
    lucky = [replace(one, score=float(n)) for n, one in enumerate(whole)]

    def alike(settings, seed):
        return pretended(0.0, TrainingSettings(), 0)

    assert searches.select(lucky, calls_of(alike), seed=0) == TrainingSettings()


def test_nothing_trained_leaves_the_defaults():
    failed = [replace(one, note="none") for one in evolved(n_evaluations=2)]
    assert searches.select(failed, calls_of(None), seed=0) == TrainingSettings()


def cores_of_a_call(barrier):
    """Threads that a call shares its work out to, while as many others are made."""
    barrier.wait(timeout=60)
    return n_threads()


def test_calls_side_by_side_take_a_core_each_and_all_there_are():
    with dask.config.set(num_workers=3):
        with side_by_side(cores_of_a_call, threading.Barrier(3), None) as calls:
            assert list(calls(6 * [()], lambda: True)) == 6 * [1]
        assert n_threads() == 3


def test_workers_of_dask_give_the_same(whole):
    distributed = pytest.importorskip("distributed")
    with distributed.Client(n_workers=1, threads_per_worker=2, processes=False,
                            dashboard_address=None):  # fmt: skip
        assert same(evolved(n_workers=None), whole)
