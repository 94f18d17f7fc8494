# SPDX-License-Identifier: GPL-3.0-or-later
"""What is searched: settings as parameters and back, and settings of a training themselves."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_zlpml import TrainingSettings
from hyperspy_zlpml.search.space import distributions, parameters_of, settings_of

optuna = pytest.importorskip("optuna")


def drawn(seed):
    """Settings that Optuna draws at random."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return settings_of(study.ask(distributions()).params)


def test_the_defaults_are_within_what_is_searched():
    assert settings_of(parameters_of(TrainingSettings())) == TrainingSettings()
    space = distributions()
    inside = {n: space[n]._contains(space[n].to_internal_repr(v)) for n, v in
              parameters_of(TrainingSettings()).items()}  # fmt: skip
    assert set(inside) == set(space)
    assert all(inside.values())


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_drawn_are_settings_that_come_back(seed):
    settings = drawn(seed)
    assert settings_of(parameters_of(settings)) == settings
    assert 1 <= len(settings.hidden_layers) <= 3


@pytest.mark.parametrize("changes, message", [
    ({"hidden_layers": (3, 3, 3, 3)}, "start: expected at most 3 hidden layers, got 4"),
    ({"hidden_layers": (30,)}, "start: expected units_1 from 2 to 16, got 30"),
    ({"n_clusters": "auto"}, "start: expected n_clusters from 1 to 10, got 'auto'"),
    ({"prior": 1e3}, "start: expected prior from 0.01 to 100"),
])  # fmt: skip
def test_settings_outside_of_what_is_searched_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        parameters_of(TrainingSettings(**changes))


@pytest.mark.parametrize("changes, message", [
    ({"hidden_layers": ()}, r"hidden_layers: expected units of 1 to 5 hidden layers.*got \(\)"),
    ({"hidden_layers": (0, 3)}, "hidden_layers: expected units"),
    ({"hidden_layers": "10"}, "hidden_layers: expected integers, got '10'"),
    ({"activation": "relu"}, "activation: expected one of .*got 'relu'"),
    ({"prior": 0}, "prior: expected a number from 1e-06"),
    ({"n_modes": 1.5}, "n_modes: expected an integer from 0 to 12, got 1.5"),
    ({"limit_spread": 1.0}, "limit_spread: expected a number from 0 to 0.9, got 1.0"),
    ({"n_clusters": 0}, "n_clusters: expected an integer from 1 to 50"),
    ({"replica_kind": "other"}, "replica_kind: expected one of"),
])  # fmt: skip
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**changes)


def test_settings_say_what_is_not_the_default():
    settings = TrainingSettings(hidden_layers=[6, 6], prior=0.12345)
    assert str(settings) == "hidden_layers 6-6, prior 0.123"
    assert str(TrainingSettings()) == "defaults"
    assert replace(settings, prior=1.0).differences == {"hidden_layers": (6, 6)}
    assert eval(repr(settings), {"TrainingSettings": TrainingSettings}) == settings
    assert np.isclose(settings.prior, 0.12345)
