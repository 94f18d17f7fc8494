# SPDX-License-Identifier: GPL-3.0-or-later
"""Three sets of spectra of which none is in two."""

import numpy as np
import pytest

from hyperspy_zlpml import NoZeroLossPeakError
from hyperspy_zlpml.search.parts import share_out


@pytest.mark.parametrize("n, n_vacuum", [(24, 0), (25, 25), (100, 7), (4000, 900), (3000, 40)])
def test_sets_have_nothing_in_common(n, n_vacuum):
    rng = np.random.default_rng(n)
    rows = rng.permutation(2 * n)[:n]
    vacuum = np.arange(n) < n_vacuum
    parts = share_out(rows, vacuum, np.random.default_rng(0))
    sets = [parts.training, parts.selection, parts.judgement]
    together = np.concatenate(sets)
    assert np.unique(together).size == together.size
    assert np.isin(together, rows).all()
    assert min(one.size for one in sets) >= 5
    if n <= 100:
        assert together.size == n  # none is left out of a small image


def test_both_kinds_are_in_every_set_as_often_as_they_can_be():
    rows, vacuum = np.arange(4000), np.arange(4000) < 900
    parts = share_out(rows, vacuum, np.random.default_rng(0))
    for one, most in ((parts.training, 512), (parts.selection, 192), (parts.judgement, 192)):
        assert one.size == most
        assert (one < 900).sum() == most // 2
    few = share_out(rows, np.arange(4000) < 40, np.random.default_rng(0))
    assert (few.judgement < 40).sum() == 10
    assert few.judgement.size == 192


def test_other_seeds_share_out_otherwise():
    a, b, c = (share_out(np.arange(60), np.zeros(60, bool), np.random.default_rng(s))
               for s in (1, 1, 2))  # fmt: skip
    np.testing.assert_array_equal(a.training, b.training)
    assert not np.array_equal(a.training, c.training)


def test_too_few_spectra_are_refused():
    with pytest.raises(NoZeroLossPeakError, match="at least 24 spectra.*here are 23"):
        share_out(np.arange(23), np.zeros(23, bool), np.random.default_rng(0))
