# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a training reach the training, are recorded, and do not contradict arguments."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hyperspy_zlpml import EELSZLPSpectrum, TrainingSettings
from hyperspy_zlpml.registration.variation import ClusterSpectra, shape_modes
from hyperspy_zlpml.signals.code import removal_code
from hyperspy_zlpml.signals.tools import ZLPRemovalTool
from hyperspy_zlpml.training.replicas import draw_limits
from hyperspy_zlpml.training.train import TrainingOptions, work_of
from hyperspy_zlpml.workflow import Options, train_zlp

OTHER = TrainingSettings(
    hidden_layers=(5, 4), activation="softsign", prior=0.1, n_clusters=2, replica_kind="spectra"
)


def test_the_defaults_are_what_trainings_have_without_settings():
    assert Options().training == TrainingSettings() == TrainingOptions().settings
    assert Options(n_clusters=3, replica_kind="spectra").training == TrainingSettings(
        n_clusters=3, replica_kind="spectra"
    )
    assert Options(settings=OTHER).training is OTHER
    assert TrainingOptions(n_inputs=3).layers == (3, 10, 15, 5, 1)


def test_settings_are_plain_numbers_that_code_is_written_with():
    given = {
        "hidden_layers": np.array([4, 3]), "prior": np.float64(2.0), "n_modes": np.int64(3),
        "limit_spread": np.float32(0.25), "n_clusters": np.int16(2),
    }  # fmt: skip
    settings = TrainingSettings(**given)
    assert eval(repr(settings), {"TrainingSettings": TrainingSettings}) == settings
    code = removal_code(EELSZLPSpectrum.remove_zlp_ml, {"settings": settings})
    assert "prior=2.0, n_modes=3, limit_spread=0.25, n_clusters=2" in code
    assert "np." not in code
    assert repr(TrainingSettings(prior=1)) == repr(TrainingSettings())


def test_the_record_says_what_takes_effect():
    recorded = Options(settings=OTHER).checked().arguments
    assert (recorded["n_clusters"], recorded["replica_kind"]) == (2, "spectra")
    assert Options(n_clusters=3).checked().arguments["n_clusters"] == 3


@pytest.mark.parametrize("name, value", [("n_clusters", 3), ("replica_kind", "spectra")])
def test_an_argument_that_contradicts_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name}: expected none beside settings, .* leave it"):
        Options(settings=TrainingSettings(), **{name: value}).checked()
    Options(settings=TrainingSettings(**{name: value}), **{name: value}).checked()
    with pytest.raises(ValueError, match=r"a TrainingSettings \(found.settings .*, got dict"):
        Options(settings={name: value}).checked()


def test_the_most_modes_are_kept_to():
    rng, u = np.random.default_rng(0), np.linspace(-5, 10, 40)
    shapes = 0.1 * np.stack([np.tanh(u / 2) ** 2, np.sin(u / 2), np.cos(u)])
    ratio = 1 + rng.standard_normal((300, 3)) @ shapes + 0.02 * rng.standard_normal((300, 40))
    variance = np.full(ratio.shape, 0.02**2)
    cluster = ClusterSpectra(ratio, variance, variance > 0, u, 15.0)
    assert [len(shape_modes([cluster], most)) for most in (1, 2, 3)] == [1, 2, 3]
    assert len(shape_modes([cluster], 8)) >= 3


def test_limits_of_no_spread_are_those_found():
    limits = np.array([1.2, 2.0])
    drawn = draw_limits(
        limits, 5, np.random.default_rng(0), TrainingSettings(limit_spread=0).limit_spread
    )
    np.testing.assert_array_equal(drawn, np.tile(limits, (5, 1)))


def test_work_grows_with_steps_points_and_weights():
    def work(steps=10, n_weights=50, n_points=100):
        trained = SimpleNamespace(steps=np.full(4, steps), weights=np.zeros((4, n_weights)))
        return work_of(trained, n_points)

    assert work(steps=20) == 2 * work()
    assert work(n_points=200) < 2 * work()
    assert work(n_weights=100) > 4 * work()


@pytest.fixture(scope="module")
def trained(sample):
    energy = sample.signal.axes_manager.signal_axes[0].axis
    return train_zlp(sample.signal.data, energy, settings=OTHER, n_replicas=4, random_state=0)


def test_settings_reach_the_networks_and_the_record(trained):
    networks = trained.networks
    assert (networks.layers, networks.activation) == ((2, 5, 4, 1), "softsign")
    assert trained.seen.cluster_centres.size == 2
    recorded = trained.origin.provenance["arguments"]["settings"]
    assert eval(recorded, {"TrainingSettings": TrainingSettings}) == OTHER


def test_the_ensemble_is_kept_with_its_activation(trained, tmp_path):
    from hyperspy_zlpml import load

    trained.save(tmp_path / "one.zlp")
    back = load(tmp_path / "one.zlp")
    energy = np.linspace(-1, 5, 50)
    np.testing.assert_array_equal(back.predict(energy), trained.predict(energy))
    other = replace(trained, networks=replace(trained.networks, activation="tanh"))
    assert not np.array_equal(other.predict(energy), trained.predict(energy))


def test_the_tool_shows_their_clusters_and_writes_them(small):
    tool = ZLPRemovalTool(small, settings=OTHER, n_replicas=4, random_state=0)
    assert tool.n_clusters == 2
    tool.n_clusters = 3
    assert tool.arguments["settings"] == replace(OTHER, n_clusters=3)
    assert "n_clusters" not in tool.arguments
