# SPDX-License-Identifier: GPL-3.0-or-later
"""Results that are made when they are asked for: one pass, one result, the same numbers."""

import copy
import pickle

import dask.array as da
import numpy as np
import pytest

from hyperspy_zlpml.data import ws2_like
from hyperspy_zlpml.removal.evaluation import RESULTS

FEW = {"n_clusters": 2, "n_replicas": 4, "random_state": 0, "show_progressbar": False}
REUSE = {"random_state": 0, "show_progressbar": False}
NAMES = ("subtracted", "zlp", "std", "lower", "upper")


@pytest.fixture(scope="module")
def signal():
    return ws2_like((4, 3), n_channels=512, random_state=0).signal


@pytest.fixture(scope="module")
def ensemble(signal):
    return signal.remove_zlp_ml(**FEW).ensemble


@pytest.fixture
def result(signal, ensemble):
    return signal.remove_zlp_ml(ensemble=ensemble, **REUSE)


@pytest.fixture
def lazy(signal, ensemble):
    return signal.as_lazy().remove_zlp_ml(ensemble=ensemble, **REUSE)


def test_nothing_is_made_before_it_is_asked_for(result):
    assert not result.removed.made
    repr(result)
    print_of_report = str(result.report)
    result.integrate(2.0, 3.0)
    result.plot((1, 1))
    assert print_of_report
    assert not result.removed.made


@pytest.mark.parametrize("name", NAMES)
def test_one_result_costs_one(result, name):
    signal = getattr(result, name)
    assert getattr(result, name) is signal
    expected = {"subtracted", "variance"} if name == "subtracted" else {name}
    assert set(result.removed.made) == expected


def test_results_made_alone_and_together_are_equal(signal, ensemble, result):
    together = signal.remove_zlp_ml(ensemble=ensemble, **REUSE)
    together.compute(*NAMES, show_progressbar=False)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(result, name).data, getattr(together, name).data)
        # Signals as the user's own: axes, metadata, what was done.
        one, other = getattr(result, name).metadata, getattr(together, name).metadata
        assert str(one.as_dictionary()) == str(other.as_dictionary())
    np.testing.assert_array_equal(
        result.subtracted.get_noise_variance().data, together.subtracted.get_noise_variance().data
    )


def test_lazy_results_stay_lazy_until_computed(result, lazy):
    assert all(getattr(lazy, name)._lazy for name in NAMES)
    kept = lazy.subtracted
    lazy.compute("subtracted", "zlp", show_progressbar=False)
    assert kept is lazy.subtracted
    assert not kept._lazy
    assert not kept.get_noise_variance()._lazy
    assert not lazy.zlp._lazy
    assert lazy.std._lazy
    np.testing.assert_allclose(kept.data, result.subtracted.data, rtol=1e-6, atol=1e-3)


def test_lazy_results_share_one_match(lazy):
    graph = da.stack([getattr(lazy, name).data for name in NAMES]).__dask_graph__()
    matches = [key for key in graph if "apply_to_block" in str(key)]
    layers = {str(key[0] if isinstance(key, tuple) else key) for key in matches}
    # One layer of the match, and one for each result.
    assert len(layers) <= 1 + len(NAMES)


@pytest.mark.parametrize("names", [["zlps"], ["variance"], [3]])
def test_unknown_results_are_refused(result, names):
    with pytest.raises(ValueError, match=r"names: expected some of \['subtracted', 'zlp'"):
        result.compute(*names)


def test_a_signal_that_was_changed_in_place_is_told(signal, ensemble):
    mine = signal.deepcopy()
    result = mine.remove_zlp_ml(ensemble=ensemble, **REUSE)
    zlp = result.zlp.data.copy()
    mine.data *= 2
    with pytest.raises(
        ValueError, match="counts: expected the spectra that the ZLP was matched to"
    ):
        result.subtracted  # noqa: B018
    np.testing.assert_array_equal(result.zlp.data, zlp)


def test_a_signal_that_was_cropped_since_does_not_matter(signal, ensemble, result):
    mine = signal.deepcopy()
    late = mine.remove_zlp_ml(ensemble=ensemble, **REUSE)
    mine.crop_signal(0.0, 3.0)
    mine.metadata.General.title = "another"
    np.testing.assert_array_equal(late.subtracted.data, result.subtracted.data)
    assert late.subtracted.metadata.General.title == result.subtracted.metadata.General.title


def test_results_can_be_copied_and_their_arrays_sent(result):
    for other in (copy.deepcopy(result).removed, pickle.loads(pickle.dumps(result.removed))):
        np.testing.assert_array_equal(other.std, result.std.data)
        np.testing.assert_array_equal(other.subtracted, result.subtracted.data)


# --- draws -----------------------------------------------------------------------------------------


def test_draws_are_a_signal_with_one_more_axis(result, signal):
    draws = result.draw(5, random_state=1)
    assert draws.axes_manager.navigation_shape == signal.axes_manager.navigation_shape + (5,)
    assert draws.metadata.Signal.signal_type == signal.metadata.Signal.signal_type
    np.testing.assert_allclose(
        draws.axes_manager.signal_axes[0].axis, signal.axes_manager.signal_axes[0].axis
    )
    np.testing.assert_array_equal(draws.data, result.draw(5, random_state=1).data)
    assert not np.array_equal(draws.data, result.draw(5, random_state=2).data)


def test_lazy_draws_are_those_of_eager_results(result, lazy):
    draws = lazy.draw(3, random_state=1)
    assert draws._lazy
    np.testing.assert_allclose(draws.data.compute(), result.draw(3, random_state=1).data, rtol=1e-5)


def test_draws_have_the_mean_and_the_error_of_the_results(result):
    draws = result.draw(200, random_state=0).data
    ratio = np.log(draws / result.zlp.data).std(0) / (result.std.data / result.zlp.data)
    assert abs(np.median(ratio) - 1) < 0.05


@pytest.mark.parametrize("n_draws", [0, -1, 1.5, True, None, 10**9])
def test_numbers_of_draws_are_checked(result, n_draws):
    with pytest.raises(ValueError, match="n_draws: expected an integer from 1 to 10000"):
        result.draw(n_draws)


# --- a few spectra -----------------------------------------------------------------------------------


def test_a_few_spectra_alone_are_those_of_all(result, lazy):
    for one in (result, lazy):
        found = one.removed.of_spectra([7, 2])
        assert set(found) == set(RESULTS)
        for name in NAMES:
            whole = np.asarray(getattr(one, name).data).reshape(12, -1)
            np.testing.assert_allclose(found[name], whole[[7, 2]], rtol=1e-6)


def test_posteriors_of_a_few_spectra_tell_their_peaks(result, lazy):
    for one in (result, lazy):
        posterior = one.removed.posterior_of([5, 0])
        np.testing.assert_allclose(
            posterior.matched.centre, one.centre.data.ravel()[[5, 0]], atol=0.02
        )
        assert posterior.usable.all()
