# SPDX-License-Identifier: GPL-3.0-or-later
"""A search on small images: what it sees, what it gives, what it says."""

import csv
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import hyperspy_zlpml
from hyperspy_zlpml import TrainingSettings
from hyperspy_zlpml.data import ws2_like
from hyperspy_zlpml.search.evaluation import evaluate, prepare
from hyperspy_zlpml.search.scores import LOST, score
from hyperspy_zlpml.workflow import Options, Spectra

pytest.importorskip("optuna")

QUICK = {"n_evaluations": 2, "n_trainings": 2, "n_replicas": 4, "random_state": 0}
SMALL = TrainingSettings(hidden_layers=(6, 5), n_clusters=2)


@pytest.fixture(scope="module")
def flake():
    return ws2_like((8, 8), n_channels=512, random_state=7001).signal


@pytest.fixture(scope="module")
def spectra(flake):
    return Spectra(flake.data, flake.axes_manager.signal_axes[0].axis)


@pytest.fixture(scope="module")
def prepared(spectra):
    return prepare(spectra, Options(n_replicas=4, random_state=0).checked())


@pytest.fixture(scope="module")
def found(flake):
    return flake.search_zlp_ml(**QUICK)


def facts_of(found):
    """All that two runs have in common."""
    history = [replace(one, seconds=0.0) for one in found.history]
    return repr((history, found.best, found.comparison, found.importance))


# --- what it sees ---------------------------------------------------------------------------------


def test_three_sets_of_spectra_are_those_of_the_image(prepared, spectra):
    rows = spectra.counts.reshape(-1, spectra.energy.size)
    parts = prepared.parts
    for counts, index in (
        (prepared.first.spectra.counts, parts.training),
        (prepared.selection.counts, parts.selection),
        (prepared.judgement.counts, parts.judgement),
    ):
        np.testing.assert_array_equal(counts, rows[index])
    together = np.concatenate([parts.training, parts.selection, parts.judgement])
    assert np.unique(together).size == together.size == 64
    assert 0 < prepared.selection.is_vacuum.sum() < prepared.selection.is_vacuum.size


def test_spectra_held_out_do_not_change_the_training(spectra, prepared):
    """Whatever stands in them, the same networks come out; what is scored is another matter."""
    rows = spectra.counts.reshape(-1, spectra.energy.size).copy()
    held_out = np.concatenate([prepared.parts.selection, prepared.parts.judgement])
    # As much as the peaks, so that they are still peaks.
    rows[held_out] *= 1 + 0.3 * (spectra.energy > 2)
    other = prepare(Spectra(rows, spectra.energy), Options(n_replicas=4, random_state=0).checked())
    same = np.isin(prepared.parts.training, other.parts.training).all()
    assert same, "the sets depend on which spectra are usable and vacuum alone"
    a, b = (evaluate(one, SMALL, 1) for one in (prepared, other))
    assert a.work == b.work
    assert a.score != b.score


def test_the_search_does_not_look_at_the_spectra_of_judgement(prepared):
    spoilt = replace(prepared, judgement=replace(prepared.judgement, counts=None))
    assert evaluate(spoilt, SMALL, 1).score == evaluate(prepared, SMALL, 1).score


def test_an_evaluation_is_a_function_of_settings_and_seed(prepared):
    one, again, other = (evaluate(prepared, SMALL, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.scores.log_score, again.scores.log_score)
    assert one.work == again.work
    assert one.score != other.score


def test_error_bars_that_are_wrong_score_lower(prepared):
    """The same prediction with a tenth, and with thirty times, its error.

    Bars too wide cost little: within them the match to each spectrum still finds the peak.
    """
    from hyperspy_zlpml.removal.application import Application
    from hyperspy_zlpml.workflow import choose, train_on

    first = prepared.first
    choice = choose(first, prepared.options)
    fitted = train_on(first, choice, prepared.options)
    adapted = fitted.adapted

    def scored(factor):
        table = adapted.table
        scaled = replace(
            table, scatter=table.scatter * factor, rest=table.rest * factor,
            modes=table.modes * factor,
        )  # fmt: skip
        application = Application.prepare(
            first.image, choice.labels, replace(adapted, table=scaled), channels=first.channels
        )
        return score(application.subtraction, prepared.judgement).mean

    honest = scored(1.0)
    assert honest > scored(30.0)
    assert honest > scored(0.1) + 1
    # That of perfect knowledge: -1/2 - ln(2 pi)/2.
    assert -1.42 - 0.5 < honest < -1.42 + 0.2


def test_a_channel_at_the_edge_of_a_window_is_no_spectrum_lost(prepared):
    """It lies in the window by where the peak was measured, and not always by where it is matched."""
    held, energy = prepared.selection, prepared.first.image.energy
    distance = energy - held.parameters.centre[:, None]
    behind = np.where(distance > held.loss_limit[:, None], distance, np.inf).min(-1)
    changed = replace(held, loss_limit=behind - 1e-9, end=1.0001 * behind)
    scored = evaluate(replace(prepared, selection=changed), SMALL, 1).scores
    assert np.isnan(scored.pull).all(-1).any()  # some lie outside
    assert (scored.log_score > LOST).all()


def test_spectra_that_are_lost_and_windows_between_channels_have_a_score(prepared):
    """Spectra matched in no channel at all, and windows narrower than a channel."""
    nowhere = np.full_like(prepared.selection.end, 1e-3)
    held = prepared.selection
    for changed in (replace(held, loss_limit=nowhere, gain_limit=-nowhere),
                    replace(held, end=1.001 * held.loss_limit)):  # fmt: skip
        scored = evaluate(replace(prepared, selection=changed), SMALL, 1)
        assert np.isfinite(scored.score)
        assert 0 <= scored.scores.coverage <= 1


def test_limits_too_far_out_are_warned_of_once(spectra, recwarn):
    """Beyond the losses of this image, which begin at 1.8 eV: said by the preparation alone."""
    late = Options(n_replicas=4, random_state=0, regions={"E_I": 2.6}).checked()
    evaluate(prepare(spectra, late), SMALL, 1)
    said = [str(one.message) for one in recwarn if "E_I" in str(one.message)]
    assert len(said) == len(set(said)) == 1
    assert "2.6" in said[0]


def test_bad_settings_score_lower(prepared):
    bad = TrainingSettings(hidden_layers=(2,), n_clusters=1, prior=100.0, replica_kind="spectra")
    good, poor = (
        np.mean([evaluate(prepared, one, seed).score for seed in range(3)])
        for one in (TrainingSettings(), bad)
    )
    assert good > poor


# --- what it gives --------------------------------------------------------------------------------


def test_a_search_gives_settings_to_remove_with(flake, found):
    assert [one.number for one in found.history] == [0, 1]
    assert found.history[0].settings == TrainingSettings()
    removal = flake.remove_zlp_ml(settings=found.settings, n_replicas=4, random_state=0)
    plain = flake.remove_zlp_ml(n_replicas=4, random_state=0)
    assert not found.comparison.is_gain  # of two settings and two trainings
    np.testing.assert_array_equal(removal.subtracted.data, plain.subtracted.data)


def test_lazy_data_and_two_workers_give_the_same(flake, found):
    lazy = flake.as_lazy()
    lazy.rechunk(nav_chunks=(3, 8))
    assert facts_of(lazy.search_zlp_ml(**QUICK, n_workers=2)) == facts_of(found)


def test_units_do_not_matter(flake, found):
    other = flake.deepcopy()
    other.axes_manager.signal_axes[0].convert_to_units("meV")
    (one,) = other.search_zlp_ml(**{**QUICK, "n_evaluations": 1}).history
    assert one.score == pytest.approx(found.history[0].score, abs=1e-6)


def test_it_is_stopped_and_gone_on_with(flake, found, tmp_path):
    told = []

    def stop(title, done, total):
        told.append((title, done))
        if (title, done) == ("Searching settings", 1):
            raise hyperspy_zlpml.Cancelled

    file = tmp_path / "search.log"
    with pytest.raises(hyperspy_zlpml.Cancelled), hyperspy_zlpml.report_progress(stop):
        flake.search_zlp_ml(**QUICK, storage=file)
    assert ("Searching settings", 1) in told
    # The random state is that of the file.
    again = {**QUICK, "random_state": None}
    assert facts_of(flake.search_zlp_ml(**again, storage=file)) == facts_of(found)
    with pytest.raises(ValueError, match="storage: .*another n_replicas"):
        flake.search_zlp_ml(**{**QUICK, "n_replicas": 5}, storage=file)
    with pytest.raises(ValueError, match="storage: .*another spectra"):
        flake.inav[:6].search_zlp_ml(**QUICK, storage=file)


def test_a_row_without_vacuum_and_a_mask(spectra):
    from hyperspy_zlpml.search.search import search_zlp_settings

    rows = spectra.counts.reshape(-1, spectra.energy.size)[16:]
    left_out = np.arange(48) < 10
    found = search_zlp_settings(
        rows,
        spectra.energy,
        vacuum=False,
        navigation_mask=left_out,
        **{**QUICK, "n_evaluations": 1},
    )
    assert found.comparison.n_spectra == 10
    assert found.best == found.settings == TrainingSettings()
    assert (found.comparison.gain, found.importance) == (0.0, {})
    assert found.verdict == "the defaults are the best found"
    assert found.summary.endswith("The defaults are the best found, and stay.")
    assert "+0.000" not in found.summary + repr(found) + found._repr_html_()


# --- what it says ---------------------------------------------------------------------------------


def test_the_history_is_a_table(found, tmp_path):
    found.to_csv(tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["number"]) for row in rows] == [0, 1]
    assert rows[0]["hidden_layers"] == "10-15-5"
    assert [float(row["score"]) for row in rows] == [one["score"] for one in found.table()]
    with pytest.raises(ValueError, match="path: expected the path of a file"):
        found.to_csv(3)


def made(found, **changes):
    """The result with a comparison that was changed."""
    return replace(found, comparison=replace(found.comparison, **changes), best=SMALL)


def test_settings_are_the_best_where_they_are_a_gain_and_else_the_defaults(found):
    gain, none = made(found, gain=0.5, error=0.01), made(found, gain=0.01, error=0.01)
    assert (gain.settings, none.settings) == (SMALL, TrainingSettings())
    assert "significant gain" in gain.summary
    assert "The defaults stay" in none.summary
    assert "no gain" in repr(none)
    assert "hidden_layers 6-5" in gain._repr_html_()


def test_the_front_is_beaten_by_none(found):
    rng = np.random.default_rng(0)
    history = tuple(
        replace(found.history[0], number=n, score=rng.normal(), work=rng.lognormal(), note="")
        for n in range(50)
    )
    front = replace(found, history=history).front
    for one in history:
        beaten = any(f.score >= one.score and f.work <= one.work for f in front)
        assert beaten
    for one in front:
        assert not any(o.score > one.score and o.work < one.work for o in history)


def test_a_figure_of_few_and_of_many(found):
    few = found.plot()
    assert "too few evaluations" in few.axes[1].texts[0].get_text()
    assert not few.axes[1].axison
    few.canvas.draw()
    shown = [one.get_window_extent() for one in few.axes[0].get_xticklabels(which="both")]
    shown = sorted((box.x0, box.x1) for box in shown if box.width)
    assert all(left[1] < right[0] for left, right in pairwise(shown))
    many = replace(found, importance={"prior": 0.7, "units_1": 0.3}).plot()
    assert [one.get_text() for one in many.axes[1].get_yticklabels()] == ["units_1", "prior"]
    labels = [one.get_text() for one in many.axes[0].get_legend().get_texts()]
    assert {"front", "defaults"} <= set(labels)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("changes, message", [
    ({"n_evaluations": 0}, "n_evaluations: expected an integer from 1"),
    ({"n_trainings": 1}, "n_trainings: expected an integer from 2"),
    ({"start": {"prior": 1}}, r"start: expected a TrainingSettings \(found.settings .* got dict"),
    ({"start": TrainingSettings(n_clusters="auto")}, "start: expected n_clusters from 1 to 10"),
    ({"timeout": 0}, "timeout: expected a positive number"),
    ({"n_workers": 1.5}, "n_workers: expected an integer"),
    ({"n_replicas": 1}, "n_replicas: expected an integer"),
    ({"storage": 3}, "storage: expected the path"),
    ({"regions": {"E_I": [1.2, 1.4]}}, "regions: expected one E_I for all clusters"),
    ({"random_state": "0"}, "random_state: expected an int"),
])  # fmt: skip
def test_arguments_that_cannot_be_are_refused(flake, changes, message):
    with pytest.raises(ValueError, match=message):
        flake.search_zlp_ml(**{**QUICK, **changes})


def test_too_few_spectra_are_refused(flake):
    with pytest.raises(hyperspy_zlpml.NoZeroLossPeakError, match="at least 24 spectra"):
        flake.inav[:4, :4].search_zlp_ml(**QUICK)


def test_without_optuna_it_says_what_to_install(flake, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pip install 'hyperspy_zlpml\[search\]'"):
        flake.search_zlp_ml(**QUICK)
