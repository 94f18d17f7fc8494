# SPDX-License-Identifier: GPL-3.0-or-later
"""Selection: outliers go, for a reason that is counted, and too few survivors are an error."""

import numpy as np
import pytest

from hyperspy_zlpml.network.selection import TooFewReplicasError, select


def good(n=100, seed=0):
    """chi2 with the scatter of 150 degrees of freedom; flat tails."""
    rng = np.random.default_rng(seed)
    return rng.chisquare(150, n) / 150, rng.chisquare(40, n) / 40, np.zeros(n)


@pytest.mark.parametrize("n", [1, 3, 8, 100, 1000])
def test_good_replicas_are_kept(n):
    # Four robust standard deviations of ln(chi2): one in a thousand of good fits at most.
    selection = select(*good(n))
    assert (~selection.kept).sum() <= max(0.005 * n, 0)
    assert sum(selection.dropped.values()) == (~selection.kept).sum()


def test_reasons_are_counted_once_each():
    chi2, validation, rise = good()
    chi2[0], validation[1], rise[2] = np.nan, np.inf, np.nan
    chi2[[3, 4]] = 50.0
    validation[[4, 5]] = 50.0
    rise[[5, 6, 7]] = 3.0
    selection = select(chi2, validation, rise)
    np.testing.assert_array_equal(np.flatnonzero(~selection.kept), np.arange(8))
    assert selection.dropped == {
        "fit failed": 3,
        "training chi2 is an outlier": 2,
        "validation chi2 is an outlier": 1,
        "tail rises": 2,
    }


def test_good_chi2_is_no_outlier_however_small():
    chi2, validation, rise = good()
    chi2[:5] = 1e-3
    assert select(chi2, validation, rise).kept[:5].all()


def test_the_level_of_chi2_does_not_matter():
    chi2, validation, rise = good()
    chi2[:4] *= 30
    one, other = select(chi2, validation, rise), select(1e3 * chi2, 1e-3 * validation, rise)
    np.testing.assert_array_equal(one.kept, other.kept)
    assert one.dropped == {"training chi2 is an outlier": 4}


def test_many_outliers_do_not_hide_each_other():
    # The published rule (mean plus five percentile ranges) rejects nothing from a third on.
    chi2, validation, rise = good()
    chi2[:45] = 1e4
    selection = select(chi2, validation, rise)
    np.testing.assert_array_equal(selection.kept, np.arange(100) >= 45)


def test_identical_fits_are_no_outliers_of_each_other():
    chi2 = np.full(20, 0.9)
    chi2[3] = 0.9001
    assert select(chi2, chi2, np.zeros(20)).kept.all()


def test_ripples_are_no_rise():
    chi2, validation, rise = good(4)
    rise[:] = [0.0, -0.5, 1e-3, 3.0]
    np.testing.assert_array_equal(select(chi2, validation, rise).kept, [True, True, True, False])


@pytest.mark.parametrize("n_failed", [51, 99, 100])
def test_too_few_replicas_are_an_error_that_tells_why(n_failed):
    chi2, validation, rise = good()
    rise[:n_failed] = 3.0
    with pytest.raises(
        TooFewReplicasError, match=rf"only {100 - n_failed} of 100 .*{n_failed}: tail"
    ):
        select(chi2, validation, rise)


def test_half_of_the_replicas_are_enough():
    chi2, validation, rise = good()
    rise[:50] = 3.0
    assert select(chi2, validation, rise).kept.sum() == 50


@pytest.mark.parametrize("n", [1, 3])
def test_failure_of_all_of_few_replicas(n):
    with pytest.raises(TooFewReplicasError, match="fit failed"):
        select(np.full(n, np.nan), np.ones(n), np.zeros(n))
