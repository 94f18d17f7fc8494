# SPDX-License-Identifier: GPL-3.0-or-later
"""Removal from signals of any type, for those who have not set that of this package."""

import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_zlpml

QUICK = {"n_clusters": 2, "random_state": 0, "show_progressbar": False}


@pytest.fixture
def plain(small):
    signal = small.deepcopy()
    signal.set_signal_type("EELS")
    return signal


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("kind", ["EELS", "", "EELS_ZLPML"])
def test_the_numbers_are_those_of_the_method(small, small_reused, kind, lazy):
    signal = small.deepcopy()
    signal.set_signal_type(kind)
    signal = signal.as_lazy() if lazy else signal
    found = hyperspy_zlpml.remove_zlp_ml(signal, ensemble=small_reused.ensemble, **QUICK)
    np.testing.assert_allclose(np.asarray(found.zlp.data), small_reused.zlp.data, rtol=1e-6)
    assert found.zlp._lazy == lazy
    assert signal.metadata.Signal.signal_type == kind
    assert hasattr(found.subtracted, "remove_zlp_ml")


def test_the_signal_of_the_user_is_the_source(plain, small_removal):
    r = hyperspy_zlpml.remove_zlp_ml(plain, ensemble=small_removal.ensemble, **QUICK)
    assert np.shares_memory(r.removed.spectra.counts, plain.data)
    before = r.thickness(density=3.0, show_progressbar=False).by_density.value.data
    plain.set_microscope_parameters(beam_energy=80.0)
    assert not np.allclose(
        before, r.thickness(density=3.0, show_progressbar=False).by_density.value.data
    )
    axes = r.plot()
    plain.axes_manager.indices = (1, 2)
    assert axes[0].get_title().startswith("(1, 2)")


@pytest.mark.parametrize(
    "wrong", [np.ones((3, 300)), None, hs.signals.Signal2D(np.ones((300, 300)))]
)
def test_what_holds_no_spectra_is_refused(wrong):
    with pytest.raises(
        ValueError, match="signal: expected a Signal1D of EELS spectra; as_signal1D"
    ):
        hyperspy_zlpml.remove_zlp_ml(wrong)


def test_unknown_options_are_refused(plain):
    with pytest.raises(TypeError, match="n_cluster"):
        hyperspy_zlpml.remove_zlp_ml(plain, n_cluster=3)
