# SPDX-License-Identifier: GPL-3.0-or-later
"""Warnings point at the line that called the package, however deep within they are raised."""

import linecache
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import QUICK, REUSE

import hyperspy_zlpml
from hyperspy_zlpml.compute.user_warnings import warn_user
from hyperspy_zlpml.workflow import remove_zlp, train_zlp

PACKAGE = Path(hyperspy_zlpml.__file__).parent
#: Options of a call with ``small`` that trains.
OPTIONS = {"n_clusters": 2, **QUICK}


def within_the_package(source):
    """Functions as a file of the package would define them."""
    names = {"warn_user": warn_user, "__name__": "hyperspy_zlpml.image.no_such_module"}
    exec(compile(source, str(PACKAGE / "image" / "no_such_file.py"), "exec"), names)
    return names


DEEP = within_the_package(
    """
def warn(depth):
    return warn(depth - 1) if depth else warn_user("deep")

def call(function):
    return function()
"""
)


@pytest.fixture
def caught():
    """All warnings, however often they are raised."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found


def assert_points_at(caught, line, message):
    """There are warnings of ours with this text; all point at a line of this file."""
    own = [one for one in caught if one.category is UserWarning]
    assert [one for one in own if message in str(one.message)], [str(one.message) for one in own]
    for one in own:
        assert one.filename == __file__
        assert line in linecache.getline(one.filename, one.lineno)


# --- frames of our own ----------------------------------------------------------------------------


def test_direct_call(caught):
    warn_user("narrow peaks")
    assert_points_at(caught, 'warn_user("narrow peaks")', "narrow peaks")
    assert len(caught) == 1


@pytest.mark.parametrize("depth", [0, 1, 7])
def test_from_deep_within_the_package(caught, depth):
    DEEP["warn"](depth)
    assert_points_at(caught, 'DEEP["warn"](depth)', "deep")


def test_the_nearest_caller_is_meant(caught):
    def of_the_user():
        DEEP["warn"](2)

    of_the_user()
    assert_points_at(caught, "    DEEP", "deep")


def test_a_function_of_the_user_that_the_package_calls(caught):
    def of_the_user():
        DEEP["warn"](1)

    DEEP["call"](of_the_user)
    assert_points_at(caught, '        DEEP["warn"](1)', "deep")


def test_without_any_caller_outside(caught):
    """Not even then an error."""
    source = "warn_user('alone')"
    exec(compile(source, str(PACKAGE / "__main__.py"), "exec"), {"warn_user": warn_user})
    assert [str(one.message) for one in caught] == ["alone"]


def test_a_filter_for_the_module_of_the_user_applies():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", module=r".*hyperspy_zlpml")
        DEEP["warn"](3)
        warnings.filterwarnings("ignore", module=__name__)
        DEEP["warn"](3)
    assert len(found) == 1


# --- public calls ---------------------------------------------------------------------------------


def saturated(signal):
    signal.data = np.minimum(signal.data, 0.6 * signal.data.max(-1, keepdims=True))
    return "saturated"


def partly_nan(signal):
    signal.data[1, 2, 40] = np.nan
    return "1 of 12 spectra are left out"


@pytest.fixture(params=[saturated, partly_nan])
def spoiled(request, small):
    """A small image with something wrong in it, and part of the warning for that."""
    return small, request.param(small)


def test_removal_of_a_signal(caught, spoiled):
    signal, message = spoiled
    signal.remove_zlp_ml(**OPTIONS)
    assert_points_at(caught, "signal.remove_zlp_ml(**OPTIONS)", message)


def test_removal_of_a_lazy_signal(caught, spoiled):
    signal, message = spoiled
    lazy = signal.as_lazy(chunks=(2, 2, 100))
    lazy.remove_zlp_ml(**OPTIONS)
    assert_points_at(caught, "lazy.remove_zlp_ml(**OPTIONS)", message)


def test_removal_within_a_function_of_the_user(caught, spoiled):
    signal, message = spoiled

    def pipeline(one):
        return one.remove_zlp_ml(**OPTIONS).subtracted

    pipeline(signal)
    assert_points_at(caught, "return one.remove_zlp_ml(**OPTIONS).subtracted", message)


def test_removal_with_an_ensemble(caught, small, small_removal):
    message = partly_nan(small)
    small.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    assert_points_at(caught, "small.remove_zlp_ml(ensemble=", message)


def test_training_of_a_signal(caught, spoiled):
    signal, message = spoiled
    signal.train_zlp_ml(**OPTIONS)
    assert_points_at(caught, "signal.train_zlp_ml(**OPTIONS)", message)


def test_training_of_several_signals(caught, small):
    other = small.deepcopy()
    message = partly_nan(other)
    beam = {"beam_energy": [60, 80]}
    hyperspy_zlpml.train_zlp_ml([small, other], conditions=beam, **OPTIONS)
    assert_points_at(caught, "hyperspy_zlpml.train_zlp_ml(", message)


@pytest.mark.parametrize("function", [remove_zlp, train_zlp])
def test_functions_of_arrays(caught, spoiled, function):
    signal, message = spoiled
    function(signal.data, signal.axes_manager.signal_axes[0].axis, **OPTIONS)
    assert_points_at(caught, "function(signal.data, ", message)


def test_vacuum_that_holds_a_specimen(caught, small, image):
    specimen = image.inav[4:, 4:]
    small.train_zlp_ml(vacuum=specimen, **OPTIONS)
    assert_points_at(caught, "small.train_zlp_ml(vacuum=", "vacuum: the spectra given rise again")
