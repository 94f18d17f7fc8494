# SPDX-License-Identifier: GPL-3.0-or-later
"""A file is gone on with by the same search alone, however that is written."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hyperspy_zlpml import TrainingSettings
from hyperspy_zlpml.data import ws2_like
from hyperspy_zlpml.search import study as studies
from hyperspy_zlpml.search.evaluation import prepare
from hyperspy_zlpml.search.facts import facts_of
from hyperspy_zlpml.search.search import SearchPlan
from hyperspy_zlpml.workflow import Options, Spectra

#: A map of the thickness, and where vacuum might be.
MAP = np.arange(64.0).reshape(8, 8)


@pytest.fixture(scope="module")
def flake():
    signal = ws2_like((8, 8), n_channels=512, random_state=7001).signal
    return Spectra(signal.data, signal.axes_manager.signal_axes[0].axis)


def facts(spectra, plan=None, **options):
    asked = Options(n_replicas=4, random_state=0, **options).checked()
    return facts_of(prepare(spectra, asked), plan or SearchPlan())


def different(one, other):
    """Names of the facts that are not the same."""
    return {name for name in one if one[name] != other[name]}


@pytest.fixture(scope="module")
def plain(flake):
    return facts(flake)


def test_facts_can_be_kept_in_a_file(plain):
    assert json.loads(json.dumps(plain)) == plain
    assert plain["version"]


def test_what_is_the_same_search_is_taken(flake, plain):
    assert facts(flake, regions={}) == plain
    assert facts(flake, navigation_mask=np.zeros((8, 8), bool)) == plain
    assert facts(flake, SearchPlan(start=TrainingSettings(prior=1))) == plain
    late, again = (facts(flake, regions={"E_I": value}) for value in (1, np.float32(1.0)))
    assert late == again


def test_another_energy_axis_is_noticed(flake, plain):
    assert "energy" in different(plain, facts(replace(flake, energy=1.1 * flake.energy)))


def test_another_variance_is_noticed(flake, plain):
    known = facts(replace(flake, variance=np.maximum(flake.counts, 1.0)))
    assert different(plain, known) >= {"variance"}
    other = facts(replace(flake, variance=1.1 * np.maximum(flake.counts, 1.0)))
    assert different(known, other) == {"variance"}


def test_another_vacuum_is_noticed(flake, plain):
    def reference(some):
        return Spectra(flake.counts[some], flake.energy)

    one = facts(flake, vacuum=reference(np.s_[:3, :2]))
    assert "vacuum" in different(plain, one)
    other = facts(flake, vacuum=reference(np.s_[:3, 2:4]))
    assert different(one, other) == {"vacuum"}
    assert "vacuum" in different(plain, facts(flake, vacuum=False))


def test_another_map_is_noticed(flake, plain):
    one, other = (facts(flake, cluster_by=given) for given in (MAP, MAP.T % 3))
    assert different(plain, one) == different(one, other) == {"cluster_by"}


def test_other_limits_and_settings_are_noticed(flake, plain):
    assert different(plain, facts(flake, regions={"E_I": 1.2})) == {"regions"}
    begun = facts(flake, SearchPlan(start=TrainingSettings(n_clusters=3)))
    assert different(plain, begun) == {"start"}


def test_a_search_of_another_version_is_refused(plain, tmp_path):
    file = tmp_path / "search.log"
    studies.keep_facts(studies.open_study(file), plain)
    studies.keep_facts(studies.open_study(file), plain)
    with pytest.raises(ValueError, match="storage: .*another version"):
        studies.keep_facts(studies.open_study(file), {**plain, "version": "0.0"})
