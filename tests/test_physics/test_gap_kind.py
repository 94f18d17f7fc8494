# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of gaps by many spectra: a plain reference, and what is wrong in all spectra alike."""

from dataclasses import replace

import numpy as np
import pytest
from onset_spectra import axis, blurred, make_losses, onset

from hyperspy_zlpml.physics.gap_kind import kind_of, log_evidence
from hyperspy_zlpml.physics.onset_products import SHAPES, Places, onset_products

GAP = 3.0
#: Length of the shortest window, eV.
SHORTEST = 0.6


def spectra(exponent, n=24, noise=10.0, **errors):
    """Losses with an onset that levels off far above it, and errors of the ZLP."""
    expected = blurred(axis(), onset(GAP, exponent, width=3.0), 0.05)
    return make_losses(expected, noise=noise, n=n, **errors)


def products_of(losses, common=None, shortest=SHORTEST):
    n = len(losses.centre)
    common = np.zeros((n, 1, losses.energy.size)) if common is None else common
    ends = (np.full(n, end) for end in (2.0, 4.2, 2.4, 3.6))
    return onset_products(losses, common, Places(*ends), shortest)


def kind(losses, **options):
    return kind_of(log_evidence(products_of(losses, **options))[0])


@pytest.mark.parametrize("exponent, sign", [(0.5, -1), (1.5, 1)])
def test_many_spectra_tell_direct_from_indirect(exponent, sign):
    assert sign * kind(spectra(exponent)).ln_indirect > 2


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_an_exponent_is_not_excluded_where_it_is_true(exponent):
    evidence, _ = log_evidence(products_of(spectra(exponent)))
    of = {b: np.logaddexp.reduce(evidence[SHAPES.table[:, 1] == b]) for b in SHAPES.exponents}
    assert of[exponent] > max(of.values()) - 2.5


def test_products_are_those_of_a_plain_fit():
    """chi2 for some common numbers is that of the data from which these are taken."""
    losses = spectra(1.0, n=1, zlp_error=2.0)
    tail = 50.0 * np.exp(-losses.energy / 3) * (losses.energy < 4.0)
    products = products_of(losses, common=tail[None, None])
    shape, place, number = 4, products.energy.shape[1] // 2, products.n_departures + 1
    linear = products.gradient[shape, 0, place, number]
    square = products.curvature[shape, 0, place, number, number]
    for x in (-0.7, 2.0):
        # The sign of a direction means nothing.
        expected = [
            products_of(replace(losses, counts=losses.counts - sign * x * tail)).chi2[
                shape, 0, place
            ]
            for sign in (1, -1)
        ]
        found = products.chi2[shape, 0, place] - 2 * x * linear + x**2 * square
        assert np.abs(np.array(expected) / found - 1).min() < 1e-4


def test_spectra_stand_alone_until_they_are_asked_together():
    losses = spectra(0.5, n=6, zlp_error=1.0)
    together, alone = products_of(losses), products_of(losses.select([4]))
    n = alone.energy.shape[1]
    np.testing.assert_allclose(together.chi2[:, 4, :n], alone.chi2[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(together.select([4]).chi2[:, 0], together.chi2[:, 4])


def test_what_is_wrong_in_all_spectra_is_counted_once():
    """Without noise to speak of, more spectra know no more of an onset that departs from all shapes."""
    few, many = (abs(kind(spectra(1.5, n=n, noise=2.0)).ln_indirect) for n in (4, 32))
    own = abs(sum(kind(spectra(1.5, n=1, noise=2.0, seed=k)).ln_indirect for k in range(32)))
    assert many < 0.7 * own
    assert many > 0.5 * few


def test_departures_are_as_large_as_the_spectra_say():
    """An onset that departs from all shapes in every spectrum tells its kind less well than one that does not."""
    exact = spectra(0.5)
    hump = 0.4 * np.exp(-0.5 * ((exact.energy - 3.4) / 0.1) ** 2)
    losses = replace(exact, counts=exact.counts + hump * (exact.counts - exact.zlp))
    found = [log_evidence(products_of(one))[0] for one in (exact, losses)]
    assert kind_of(found[0]).ln_indirect < kind_of(found[1]).ln_indirect - 1
    assert kind_of(found[1]).ln_between > -5


def test_an_error_that_is_claimed_in_common_makes_evidence_smaller():
    losses = spectra(0.5)
    rising = 200.0 * np.clip(losses.energy - 2.5, 0, None) ** 0.7
    common = np.tile(rising, (len(losses.centre), 1, 1))
    assert abs(kind(losses, common=common).ln_indirect) < abs(kind(losses).ln_indirect)


def test_gaps_of_their_own_do_not_blur_the_onset():
    """Spectra whose gaps differ by far more than the response is wide in all."""
    energy, rng = axis(), np.random.default_rng(0)
    gaps = GAP + 0.15 * rng.standard_normal(24)
    one_by_one = [
        make_losses(blurred(energy, onset(gap, 0.5), 0.05), noise=10.0, seed=k)
        for k, gap in enumerate(gaps)
    ]
    products = products_of(type(one_by_one[0]).join(one_by_one))
    evidence, numbers = log_evidence(products)
    assert kind_of(evidence).ln_indirect < -3
    best = numbers[0][evidence.argmax()]
    assert best[-2] == pytest.approx(gaps.mean(), abs=0.1)
    assert np.exp(best[-1]) == pytest.approx(gaps.std(), rel=0.4)


def test_fits_that_begin_near_end_where_those_from_afar_do():
    products = products_of(spectra(0.5, n=8))
    afar, numbers = log_evidence(products)
    near, _ = log_evidence(products, numbers)
    np.testing.assert_allclose(kind_of(near), kind_of(afar), atol=0.5)
