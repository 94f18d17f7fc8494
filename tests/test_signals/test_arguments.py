# SPDX-License-Identifier: GPL-3.0-or-later
"""Every argument of every public function is right, or refused by name before any work is done.

A short part of ``benchmarks/fuzz_arguments.py``, from the same table, and what is wrong with signals.
"""

import inspect
import sys
import warnings

import hyperspy.api as hs
import numpy as np
import pytest
from argument_table import KINDS, Scene, arguments_of, calls, cases, outcome_of, values
from conftest import QUICK, ROOT

import hyperspy_zlpml
from hyperspy_zlpml import NoZeroLossPeakError, load
from hyperspy_zlpml.ensemble.validation import MOST_REPLICAS
from hyperspy_zlpml.removal.removed import RemovedZLP
from hyperspy_zlpml.signals.maps.band_gap import BandGap
from hyperspy_zlpml.signals.maps.dielectric import Dielectric
from hyperspy_zlpml.signals.maps.peaks import PeakFit
from hyperspy_zlpml.signals.maps.retardation import Retardation
from hyperspy_zlpml.signals.maps.temperature import Temperature
from hyperspy_zlpml.signals.maps.thickness import Thickness
from hyperspy_zlpml.signals.result import ZLPRemoval

sys.path.insert(0, str(ROOT / "benchmarks"))
from fuzz_files import random_ensemble  # noqa: E402

#: Values of each argument that are tried here; the benchmark tries all.
N_WRONG = 7
#: Words of an error that may not be: a value was taken, or somebody else complained.
WRONG = ("from inside", "silent and wrong", "hang")


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """All public functions, with the kind of every argument."""
    return cases(Scene.make(tmp_path_factory.mktemp("scene")))


@pytest.fixture(scope="module")
def some_calls(every):
    """Wrong values of every argument, and right ones where a call takes no time."""
    rng = np.random.default_rng(0)
    by_argument = {}
    for called, argument, name, value in calls(every, rng):
        is_right = KINDS[called.kinds[argument]](value)
        if not is_right or not called.is_slow:
            place = by_argument.setdefault((called.name, argument), [])
            place.append((called, argument, name, value))
    return [
        tried[number]
        for tried in by_argument.values()
        for number in rng.permutation(len(tried))[:N_WRONG]
    ]


def test_arguments_are_right_or_refused_by_name(some_calls):
    assert len(some_calls) > 1500
    found = [(*outcome_of(called, argument, value), called.name, argument, name)
             for called, argument, name, value in some_calls]  # fmt: skip
    assert not [one for one in found if one[0] in WRONG]
    assert {outcome for outcome, *_ in found} == {"clear", "accepted"}


def test_the_table_holds_every_argument(every):
    tried, known = {}, {}
    for called in every:
        place = getattr(called.function, "__qualname__", called.name)
        tried.setdefault(place, set()).update(called.kinds)
        known[place] = arguments_of(called.function)
    # Copies of the flags of HyperSpy's own functions, and what is the model's.
    assert not {
        place: known[place] - tried[place] for place in known if known[place] - tried[place]
    }


def test_the_table_holds_every_public_function(every):
    names = {called.name.split(".")[-1] for called in every}
    public = {
        *hyperspy_zlpml.workflow.__all__, *hyperspy_zlpml.data.__all__, "load", "train_zlp_ml",
    }  # fmt: skip
    records = {"FirstLook", "Choice", "Options", "SampleImage", "DielectricImage", "SAMPLE_KINDS"}
    records |= {"SEMICONDUCTOR", "GLASS", "ALUMINIUM"}
    assert not public - records - names


@pytest.mark.parametrize(
    "kind",
    [ZLPRemoval, RemovedZLP, BandGap, Dielectric, PeakFit, Temperature, Thickness, Retardation],
)
def test_the_table_holds_every_method_of_results(every, kind):
    names = {called.name.split(".")[-1].split()[0] for called in every}
    methods = {
        name
        for name in dir(kind)
        if not name.startswith("_") and inspect.isfunction(getattr(kind, name))
        and len(inspect.signature(getattr(kind, name)).parameters) > 1
    }  # fmt: skip
    # Within the package alone, what they are given was checked before; and HyperSpy's own.
    assert not methods - names - {
        "make", "of_spectra", "losses_of", "common_directions_of", "posterior_of", "gui", "in_doubt", "within",
    }  # fmt: skip


@pytest.mark.parametrize(
    "argument, right, wrong",
    [
        ("a flag", "True", "no"),
        ("a seed", "whole", "True"),
        ("clusters", "whole", "float of a whole"),
        ("a path", "text", "null character"),
        ("a positive number", "positive", "number as text"),
    ],
)
def test_the_table_knows_right_from_wrong(argument, right, wrong):
    """The table itself: a kind that takes all or nothing would hide every fault."""
    given = values(np.random.default_rng(0))
    assert KINDS[argument](given[right])
    assert not KINDS[argument](given[wrong])


# --- signals --------------------------------------------------------------------------------------


def energy(signal):
    return signal.axes_manager.signal_axes[0]


@pytest.fixture(params=["remove", "vacuum", "peaks"])
def use(request, small):
    """Each use of a signal, by the name that errors use for it."""
    good = small.deepcopy()
    uses = {
        "remove": lambda s: s.remove_zlp_ml(**QUICK),
        "vacuum": lambda s: good.train_zlp_ml(vacuum=s, **QUICK),
        "peaks": lambda s: s.estimate_zlp_parameters(),
    }
    name = "vacuum" if request.param == "vacuum" else "signal"
    return name, uses[request.param]


@pytest.mark.parametrize("field", ["scale", "offset"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_axis_that_is_not_finite(small, use, field, value):
    name, function = use
    setattr(energy(small), field, value)
    with pytest.raises(ValueError, match=f"{name}: expected an energy axis of finite offset"):
        function(small)


@pytest.mark.parametrize("scale", [0.0, 1e-300])
def test_axis_without_steps(small, use, scale):
    name, function = use
    energy(small).scale = scale
    with pytest.raises(ValueError, match=f"{name}: expected.*positive scale.*set s.axes_manager"):
        function(small)


@pytest.mark.parametrize(
    "units", ["0 eV", "eV**9**9**9", "1e-3 eV", "eV/0", "-eV", "eV*eV", "kilo", "x" * 5000]
)
def test_units_that_are_no_name_of_a_unit(small, use, units):
    """A power of powers would never be worked out."""
    name, function = use
    energy(small).units = units
    with pytest.raises(
        ValueError, match=f"{name}: the energy axis is in .*expected eV, meV or keV"
    ):
        function(small)


@pytest.mark.parametrize("units", [" eV ", "electron_volt"])
def test_other_names_of_ev(small, units):
    energy(small).units = units
    small.estimate_zlp_parameters()


@pytest.mark.parametrize("dtype", [object, complex, str, "M8[s]"])
def test_data_that_are_no_real_numbers(small, use, dtype):
    name, function = use
    small.data = small.data.astype(int).astype(dtype)
    with pytest.raises(ValueError, match=f"{name}: expected real numbers as data, got dtype"):
        function(small)


def test_axes_that_are_not_those_of_the_data(small, use):
    name, function = use
    small.data = small.data[..., :100]
    with pytest.raises(
        ValueError, match=rf"{name}: expected axes as long as the data.*\(3, 4, 100\)"
    ):
        function(small)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, 0, "x", True, [1.0]])
def test_noise_variance_that_is_none(small, use, value):
    _, function = use
    small.metadata.set_item("Signal.Noise_properties.variance", value)
    with pytest.raises(
        ValueError, match="metadata.Signal.Noise_properties.variance: expected a pos"
    ):
        function(small)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_noise_variance_of_channels_that_is_none(small, use, value):
    _, function = use
    variance = np.full(small.data.shape, 9.0)
    variance[1, 2, 3] = value
    small.set_noise_variance(hs.signals.Signal1D(variance))
    with pytest.raises(ValueError, match="variance: expected"):
        function(small)


def test_unknown_variance_of_unknown_counts(small):
    """What was left out of a result before is NaN in both."""
    small.data[1, 2] = np.nan
    variance = np.where(np.isnan(small.data), np.nan, 900.0)
    small.set_noise_variance(hs.signals.Signal1D(variance))
    centre, _, _ = small.estimate_zlp_parameters()
    assert np.isnan(centre.data).sum() == 1


@pytest.mark.parametrize("key", ["General", "Signal"])
def test_metadata_without_what_results_need(small, key):
    delattr(small.metadata, key)
    with pytest.raises(ValueError, match=f"signal: expected metadata with the node {key}"):
        small.remove_zlp_ml(**QUICK)


@pytest.mark.parametrize("old", ["x", 3, [1], None, {"of": {"before": 3}}])
def test_record_of_before_is_replaced(small, small_removal, old):
    if isinstance(old, dict):
        small.metadata.add_dictionary({"ZLP_ML": old})
    else:
        small.metadata.ZLP_ML = old
    result = small.remove_zlp_ml(n_clusters=2, ensemble=small_removal.ensemble, random_state=0)
    expected = set(small_removal.zlp.metadata.ZLP_ML.as_dictionary())
    assert set(result.zlp.metadata.ZLP_ML.as_dictionary()) == expected


def test_options_of_a_training_are_named_where_nothing_is_trained(small, small_removal):
    ensemble = small_removal.ensemble
    with pytest.warns(
        UserWarning, match="^n_replicas, device: without effect beside ensemble"
    ) as said:
        small.remove_zlp_ml(n_clusters=2, ensemble=ensemble, n_replicas=10, device="cpu")
    assert sum("without effect" in str(one.message) for one in said) == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*without effect")
        small.remove_zlp_ml(n_clusters=2, ensemble=ensemble)


@pytest.mark.parametrize("name", ["remove_zlp_ml", "train_zlp_ml"])
def test_way_out_of_nan_edges(small, name):
    """Counts that a shift left without a value; what the error advises works."""
    small.data[0, :, :9] = small.data[1:, :, 508:] = np.nan
    message = r"NaN at the edges of the axis in 12 of 12 .*channels 9 to 507 with s\.isig\[9:508\]"
    with pytest.raises(NoZeroLossPeakError, match=message):
        getattr(small, name)(**QUICK)
    assert getattr(small.isig[9:508], name)(n_clusters=1, **QUICK) is not None


def test_nan_edges_of_vacuum(small):
    vacuum = small.deepcopy()
    vacuum.data[..., :9] = np.nan
    with pytest.raises(NoZeroLossPeakError, match=r"vacuum: .*keep channels 9 to 511"):
        small.train_zlp_ml(vacuum=vacuum, **QUICK)


def test_some_nan_edges_are_told(small):
    small.data[0, :, :9] = np.nan
    with pytest.warns(UserWarning, match=r"4 of 12 spectra looked at.*s\.isig\[9:512\]"):
        small.train_zlp_ml(n_clusters=1, **QUICK)


def test_way_out_of_a_non_uniform_axis_of_an_image(small, use):
    _, function = use
    energy(small).convert_to_non_uniform_axis()
    with pytest.raises(ValueError, match=r"interpolate_on_axis\('uniform', axis=-1\)"):
        function(small)
    assert energy(small.interpolate_on_axis("uniform", axis=-1)).is_uniform


def test_a_file_holds_as_many_replicas_as_may_be_asked_for(tmp_path):
    random_ensemble(MOST_REPLICAS).save(tmp_path / "most.zlp")
    assert load(tmp_path / "most.zlp").n_replicas == MOST_REPLICAS
