# SPDX-License-Identifier: GPL-3.0-or-later
"""What was done travels with the results: ``metadata.ZLP_ML`` of every spectrum."""

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import QUICK, REUSE, SPECTRA

from hyperspy_zlpml import __version__

#: Bytes that a node may take: it is copied with every slice of a signal.
LARGEST_NODE = 4096


def node_of(signal):
    """The node as a plain dictionary."""
    assert signal.metadata.has_item("ZLP_ML"), signal
    return signal.metadata.ZLP_ML.as_dictionary()


def assert_same_node(actual, expected, place=""):
    assert set(actual) == set(expected), place
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_same_node(actual[name], value, f"{place}.{name}")
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(np.asarray(actual[name]), value, f"{place}.{name}")
        else:
            assert actual[name] == value, f"{place}.{name}"


def entries(node):
    """All values below a node."""
    for value in node.values():
        if isinstance(value, dict):
            yield from entries(value)
        else:
            yield value


# --- what it tells --------------------------------------------------------------------------------


def test_every_spectrum_tells_the_same(small_removal):
    expected = node_of(small_removal.subtracted)
    for name in SPECTRA:
        assert_same_node(node_of(getattr(small_removal, name)), expected)


def test_what_was_done_is_told(small_removal):
    node, report = node_of(small_removal.zlp), small_removal.report
    assert node["version"] == __version__
    assert node["ensemble"]["sha256"] == small_removal.ensemble.fingerprint
    assert node["ensemble"]["n_replicas"] == small_removal.ensemble.n_replicas
    assert node["ensemble"]["title"] == "WS2-like flake"
    assert node["arguments"]["random_state"] == QUICK["random_state"]
    assert node["arguments"]["cluster_by"] == "zlp"
    assert node["confidence"] == 0.68
    for name, of_report in (
        ("E_I_eV", "E_I"),
        ("E_II_eV", "E_II"),
        ("gain_limit_eV", "gain_limit"),
    ):
        expected = [getattr(row, of_report) for row in report.clusters]
        np.testing.assert_array_equal(node[name], expected)
    noise = small_removal.ensemble.seen.noise
    assert (node["noise_gain"], node["noise_readout"]) == (noise.gain, noise.readout)
    assert node["pedestal"] == report.pedestal
    assert node["distance"] == 0.0
    assert node["messages"] == "\n".join(report.messages)


def test_a_given_ensemble_is_told_of_as_given(small, small_removal, small_reused):
    """Regions and noise are those of the image, the sum is that of the ensemble."""
    node = node_of(small_reused.lower)
    assert node["ensemble"]["sha256"] == small_removal.ensemble.fingerprint
    expected = [row.E_I for row in small_reused.report.clusters]
    np.testing.assert_array_equal(node["E_I_eV"], expected)
    small.data /= 100
    with pytest.warns(UserWarning, match="trained on other data"):
        far = small.remove_zlp_ml(ensemble=small_removal.ensemble, confidence=0.9, **REUSE)
    node = node_of(far.zlp)
    assert node["distance"] > 0.5
    assert node["confidence"] == 0.9
    assert node["noise_gain"] == far._application.subtraction.noise.gain
    assert "trained on other data" in node["messages"]
    assert node["ensemble"]["sha256"] == small_removal.ensemble.fingerprint


def test_equal_calls_are_told_of_equally(small, small_removal):
    again = small.remove_zlp_ml(n_clusters=2, **QUICK)
    assert_same_node(node_of(again.zlp), node_of(small_removal.zlp))


@pytest.mark.parametrize("state", [None, np.random.default_rng(1)])
def test_a_number_is_told_that_repeats_what_was_drawn(small, state):
    options = {"n_clusters": 2, "n_replicas": 4}
    result = small.remove_zlp_ml(random_state=state, **options)
    told = node_of(result.zlp)["arguments"]["random_state"]
    again = small.remove_zlp_ml(random_state=told, **options)
    np.testing.assert_array_equal(again.zlp.data, result.zlp.data)


def test_a_map_to_cluster_by_is_named_and_not_copied(small):
    thickness = np.arange(12.0).reshape(3, 4)
    result = small.remove_zlp_ml(n_clusters=2, cluster_by=thickness, **QUICK)
    assert node_of(result.zlp)["arguments"]["cluster_by"] == "ndarray"


def test_nothing_bulky_is_kept(removal):
    node = node_of(removal.subtracted)
    n_clusters = len(removal.report.clusters)
    size = 0
    for value in entries(node):
        assert isinstance(value, (str, int, float, np.ndarray, type(None))), type(value)
        if isinstance(value, np.ndarray):
            assert value.size <= n_clusters
            size += value.nbytes
        else:
            size += len(str(value))
    assert size < LARGEST_NODE


def test_the_ensemble_says_where_it_comes_from(small, small_removal):
    told = small_removal.ensemble.origin.provenance
    assert told["hyperspy_zlpml"] == __version__
    assert told["title"] == small.metadata.General.title
    assert told["n_spectra"] == 12
    assert told["packages"]["numpy"] == np.__version__
    arguments = told["arguments"]
    assert (arguments["n_clusters"], arguments["n_replicas"]) == (2, QUICK["n_replicas"])
    assert arguments["random_state"] == QUICK["random_state"]
    settings = small.metadata.Acquisition_instrument.TEM
    assert small_removal.ensemble.origin.microscope["beam_energy"] == settings.beam_energy


# --- where it is kept -----------------------------------------------------------------------------


def test_the_input_is_left_as_it_was(small, small_removal):
    before = small.metadata.as_dictionary()
    small.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    small.remove_zlp_ml(n_clusters=2, **QUICK)
    assert not small.metadata.has_item("ZLP_ML")
    assert str(small.metadata.as_dictionary()) == str(before)


def test_the_spectra_do_not_share_one_node(small, small_removal):
    result = small.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    result.zlp.metadata.ZLP_ML.confidence = 0.5
    result.zlp.metadata.ZLP_ML.E_I_eV[0] = 7.0
    node = node_of(result.subtracted)
    assert node["confidence"] == 0.68
    assert node["E_I_eV"][0] != 7.0


@pytest.mark.parametrize("how", [
    lambda s: s.isig[100:200], lambda s: s.inav[1, 2], lambda s: s.inav[1:, :2].isig[1.0:3.0],
    lambda s: s.deepcopy(), lambda s: s.copy(), lambda s: s + 1.0, lambda s: s * 2,
    lambda s: -s, lambda s: s - s, lambda s: s.sum(axis=0), lambda s: s.mean(axis=(0, 1)),
    lambda s: s.as_lazy(), lambda s: s.rebin(scale=(1, 1, 2)), lambda s: s.T.T,
], ids=["isig", "inav", "both", "deepcopy", "copy", "add", "scale", "negate", "difference", "sum",
        "mean", "as_lazy", "rebin", "transposed"])  # fmt: skip
def test_what_is_made_of_a_result_keeps_it(small_removal, how):
    for name in ("subtracted", "zlp"):
        signal = getattr(small_removal, name)
        assert_same_node(node_of(how(signal)), node_of(signal))


@pytest.mark.parametrize("extension", ["hspy", "zspy"])
@pytest.mark.parametrize("lazy", [False, True])
def test_files_keep_it(small_removal, tmp_path, extension, lazy):
    """The infinities of clusters without losses included."""
    expected = node_of(small_removal.subtracted)
    assert np.isinf(expected["gain_limit_eV"]).any()
    file = tmp_path / f"one.{extension}"
    small_removal.subtracted.save(file)
    loaded = hs.load(file, lazy=lazy)
    assert loaded._lazy is lazy
    assert_same_node(node_of(loaded), expected)
    loaded.save(tmp_path / f"two.{extension}")
    assert_same_node(node_of(hs.load(tmp_path / f"two.{extension}")), expected)


@pytest.mark.parametrize("extension", ["hspy", "zspy"])
def test_lazy_results_have_it_before_and_after_computing(small, small_reused, tmp_path, extension):
    result = small.as_lazy(chunks=(2, 2, 512)).remove_zlp_ml(
        ensemble=small_reused.ensemble, **REUSE
    )
    expected = node_of(small_reused.zlp)
    assert result.zlp._lazy
    assert_same_node(node_of(result.zlp), expected)
    result.upper.save(tmp_path / f"upper.{extension}")
    assert_same_node(node_of(hs.load(tmp_path / f"upper.{extension}", lazy=True)), expected)
    result.compute()
    assert not result.zlp._lazy
    assert_same_node(node_of(result.zlp), expected)


@pytest.mark.parametrize("lazy", [False, True])
def test_saved_results_have_it(small, small_reused, tmp_path, lazy):
    result = small_reused
    if lazy:
        result = small.as_lazy(chunks=(1, 4, 512)).remove_zlp_ml(
            ensemble=small_reused.ensemble, **REUSE
        )
    result.save(tmp_path, signals=SPECTRA)
    for name in SPECTRA:
        saved = hs.load(tmp_path / f"{name}.zspy", lazy=True)
        assert_same_node(node_of(saved), node_of(small_reused.zlp))


def test_a_result_that_is_worked_on_again_tells_of_the_last_time(small, small_removal):
    """A removal from what another one left is a removal of its own."""
    first = small.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    signal = first.zlp.deepcopy()
    signal.data = small.data.astype(np.float32)
    again = signal.remove_zlp_ml(n_clusters=1, n_replicas=4, random_state=3)
    node = node_of(again.zlp)
    assert node["arguments"]["random_state"] == 3
    assert len(node["E_I_eV"]) == 1
    assert node["ensemble"]["sha256"] == again.ensemble.fingerprint
    assert node_of(signal)["arguments"]["random_state"] == 0
