# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of all spectra: cut, joined and written into one array, and what they were again."""

from dataclasses import dataclass

import numpy as np
import pytest

from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.statistics import Range


@dataclass(frozen=True)
class Peaks(PerSpectrum):
    """One number for each spectrum in every field."""

    centre: np.ndarray
    channel: np.ndarray
    usable: np.ndarray


@dataclass(frozen=True)
class Rows(PerSpectrum):
    """A number and a row for each spectrum."""

    weight: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Nested(PerSpectrum):
    """A record, a named tuple of arrays, and what is common to all spectra."""

    shared = ("energy",)

    peaks: Peaks
    window: Range
    energy: np.ndarray


def nested(n=6):
    return Nested(peaks(n), Range(np.arange(n), 2.0 * np.arange(n)), np.arange(3))


def peaks(n=6):
    rng = np.random.default_rng(0)
    return Peaks(rng.normal(size=n), rng.integers(0, 99, n), rng.random(n) < 0.5)


def rows(n=6):
    rng = np.random.default_rng(1)
    return Rows(rng.random(n), rng.normal(size=(n, 4)))


def assert_same(found, expected, same_type=True):
    assert type(found) is type(expected)
    for name, values in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), values, err_msg=name)
        assert getattr(found, name).dtype == values.dtype or not same_type, name


INDICES = {
    "list": [4, 0, 0],
    "slice": slice(1, None, 2),
    "mask": np.array([True, False, True, True, False, False]),
    "none": np.zeros(0, int),
    "one": 3,
}


@pytest.mark.parametrize("make", [peaks, rows])
@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_select_cuts_every_field(make, index):
    record = make()
    found = record.select(index)
    for name, values in vars(record).items():
        np.testing.assert_array_equal(getattr(found, name), values[index])


@pytest.mark.parametrize("make", [peaks, rows])
@pytest.mark.parametrize("cuts", [[], [2], [0, 2, 2, 6]])
def test_what_is_cut_and_joined_is_what_it_was(make, cuts):
    record = make()
    pieces = [record.select(index) for index in np.split(np.arange(6), cuts)]
    assert_same(type(record).join(pieces), record)


def test_join_keeps_the_order_of_the_records():
    record = peaks()
    joined = Peaks.join([record.select([5]), record.select([1, 2])])
    assert_same(joined, record.select([5, 1, 2]))


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_records_in_records_are_cut_too_and_what_is_common_is_not(index):
    record = nested()
    found = record.select(index)
    assert_same(found.peaks, record.peaks.select(index))
    assert type(found.window) is Range
    np.testing.assert_array_equal(found.window.high, record.window.high[index])
    assert found.energy is record.energy


def test_records_in_records_are_joined_too():
    record = nested()
    joined = Nested.join([record.select([5]), record.select([1, 2])])
    expected = record.select([5, 1, 2])
    assert_same(joined.peaks, expected.peaks)
    np.testing.assert_array_equal(joined.window.low, expected.window.low)
    assert joined.energy is record.energy


@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (1, 2, 3)])
def test_what_is_stacked_and_unstacked_is_what_it_was(shape):
    flat = peaks()
    record = flat.select(2) if shape == () else flat.select(np.arange(6).reshape(shape))
    stacked = record.stack()
    assert stacked.shape == (*shape, 3)
    assert stacked.dtype == float
    assert_same(Peaks.unstack(stacked), record, same_type=False)


def test_stack_has_the_fields_in_their_order():
    record = peaks()
    for number, values in enumerate(vars(record).values()):
        np.testing.assert_array_equal(record.stack()[:, number], values)


def test_the_record_itself_is_not_changed():
    record = peaks()
    before = record.centre.copy()
    record.select([0]).centre[:] = 99.0  # an index of a list copies
    Peaks.unstack(record.stack()).centre[:] = 99.0
    np.testing.assert_array_equal(record.centre, before)
