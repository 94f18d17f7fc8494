# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters of equal thickness: order, sizes, and the edges of what can be clustered."""

from types import SimpleNamespace

import numpy as np
import pytest

from hyperspy_zlpml.image.clusters import (
    MIN_SIZE,
    PROXIES,
    check_clustering,
    cluster_by_thickness,
)


def groups(centres=(0.0, 1.0, 2.0, 3.0), n=30, width=0.05, seed=0):
    """Well separated groups of values in random order, and the group of each."""
    rng = np.random.default_rng(seed)
    member = rng.permutation(np.repeat(np.arange(len(centres)), n))
    return np.array(centres)[member] + rng.uniform(-width, width, member.size), member


@pytest.mark.parametrize("sign", [1, -1])
def test_separated_groups_are_found_thinnest_first(sign):
    values, member = groups()
    found = cluster_by_thickness(sign * values, 4, sign, random_state=0)
    np.testing.assert_array_equal(found.labels, member)
    np.testing.assert_allclose(sign * found.centres, [0, 1, 2, 3], atol=0.05)
    np.testing.assert_array_equal(found.sizes, [30, 30, 30, 30])
    assert found.messages == ()


@pytest.mark.parametrize("n_clusters", [1, 2, 5, 9])
def test_labels_are_intervals_of_the_proxy(n_clusters):
    # K-means on a line: clusters do not overlap, and centres are the means of their members.
    proxy = np.random.default_rng(1).gamma(2.0, size=300)
    found = cluster_by_thickness(proxy, n_clusters, 1, min_size=1, random_state=0)
    assert found.centres.size == n_clusters
    for name in range(n_clusters):
        inside = found.labels == name
        assert found.centres[name] == pytest.approx(proxy[inside].mean())
        if name:
            assert proxy[inside].min() > proxy[found.labels == name - 1].max()
    middles = 0.5 * (found.centres[1:] + found.centres[:-1])
    np.testing.assert_array_equal(found.labels, np.searchsorted(middles, proxy))


def test_reversing_the_proxy_and_its_sign_changes_nothing():
    proxy = np.random.default_rng(2).normal(size=200)
    one, other = (
        cluster_by_thickness(proxy, 5, 1, random_state=3),
        cluster_by_thickness(-proxy, 5, -1, random_state=3),
    )
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_allclose(one.centres, -other.centres)


def test_the_same_state_gives_the_same_clusters():
    proxy = np.random.default_rng(4).normal(size=100)
    one, other = (cluster_by_thickness(proxy, 6, random_state=7) for _ in range(2))
    np.testing.assert_array_equal(one.labels, other.labels)


def test_small_clusters_join_their_nearest_neighbour():
    values, member = groups((0.0, 1.0, 3.0), n=20)
    proxy = np.append(values, [1.6])  # alone, and nearer to 1 than to 3
    found = cluster_by_thickness(proxy, 4, random_state=0)
    np.testing.assert_array_equal(found.labels, np.append(member, 1))
    np.testing.assert_array_equal(found.sizes, [20, 21, 20])
    (message,) = found.messages
    assert "1 cluster(s) of fewer than 2 spectra merged" in message


@pytest.mark.parametrize("min_size", [5, 40, 500])
def test_no_cluster_is_smaller_than_asked_unless_all_are_one(min_size):
    proxy = np.random.default_rng(5).exponential(size=200)
    found = cluster_by_thickness(proxy, 9, min_size=min_size, random_state=0)
    assert found.sizes.min() >= min(min_size, 200)
    assert found.sizes.sum() == 200


def test_more_clusters_than_spectra():
    found = cluster_by_thickness(np.array([3.0, 1.0, 2.0]), 10, random_state=0)
    assert found.sizes.sum() == 3
    assert found.sizes.min() >= MIN_SIZE
    assert any("reduced from 10 to 3" in message for message in found.messages)


@pytest.mark.parametrize("n", [1, 2, 50])
def test_equal_values_are_one_cluster(n):
    found = cluster_by_thickness(np.full(n, 4.2), 5, random_state=0)
    np.testing.assert_array_equal(found.labels, np.zeros(n))
    np.testing.assert_allclose(found.centres, [4.2])


def test_values_that_are_not_finite_belong_to_none():
    values, member = groups((0.0, 2.0))
    values[[3, 10]] = np.nan, np.inf
    found = cluster_by_thickness(values, 2, random_state=0)
    np.testing.assert_array_equal(found.labels[[3, 10]], [-1, -1])
    keep = np.isfinite(values)
    np.testing.assert_array_equal(found.labels[keep], member[keep])
    assert found.sizes.sum() == keep.sum()


def test_shape_of_the_proxy_is_kept():
    values, member = groups(n=25)
    found = cluster_by_thickness(values.reshape(10, 10), 4, random_state=0)
    np.testing.assert_array_equal(found.labels, member.reshape(10, 10))
    np.testing.assert_array_equal(found.sizes, np.full(4, 25))


def test_whole_numbers_can_be_clustered():
    found = cluster_by_thickness(np.array([1, 1, 5, 5, 9, 9]), 3, random_state=0)
    np.testing.assert_array_equal(found.labels, [0, 0, 1, 1, 2, 2])


def test_nothing_to_cluster():
    found = cluster_by_thickness(np.full(4, np.nan), 3, random_state=0)
    np.testing.assert_array_equal(found.labels, np.full(4, -1))


@pytest.mark.parametrize("span, number", [(0.0, 1), (0.2, 1), (0.9, 4), (1.4, 6), (30.0, 8)])
def test_automatic_number_is_a_quarter_of_a_mean_free_path_wide(span, number):
    # The 1st to 99th percentile of uniform values spans 0.98 of them.
    proxy = np.linspace(0, span, 1000)
    assert cluster_by_thickness(proxy, "auto", random_state=0).centres.size == number


def test_automatic_number_ignores_a_few_outliers():
    proxy = np.append(np.linspace(0, 0.4, 1000), [50.0, 50.1])
    assert cluster_by_thickness(proxy, "auto", random_state=0).centres.size == 2


# --- proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PROXIES))
def test_proxies_grow_with_thickness_times_their_sign(name):
    # Beer-Lambert: the unscattered part falls by exp(-t/lambda); the aperture stops some more.
    thickness = np.linspace(0, 2, 9)
    intensity = 1e6 * np.exp(-thickness)
    total = 1.1e6 * np.exp(-0.2 * thickness)
    function, sign = PROXIES[name]
    proxy = sign * function(SimpleNamespace(intensity=intensity, total=total))
    assert (np.diff(proxy) > 0).all()
    slope = {"zlp": 1.0, "total": 0.2, "log_ratio": 0.8}[name]
    np.testing.assert_allclose(np.diff(proxy), slope * np.diff(thickness))


@pytest.mark.parametrize("name", sorted(PROXIES))
def test_proxies_of_empty_spectra_are_nan(name):
    function, _ = PROXIES[name]
    values = np.array([0.0, -5.0, np.nan, 100.0])
    proxy = function(SimpleNamespace(intensity=values, total=values))
    np.testing.assert_array_equal(np.isnan(proxy), [True, True, True, False])


# --- checks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_clusters", [1, 5, np.int64(3), "auto"])
@pytest.mark.parametrize("cluster_by", [*sorted(PROXIES), np.zeros(3), [1.0, 2.0]])
def test_what_can_be_clustered(n_clusters, cluster_by):
    check_clustering(n_clusters, cluster_by)


@pytest.mark.parametrize("n_clusters", [0, -1, 51, 2.0, True, None, "five", [3]])
def test_numbers_of_clusters_that_are_refused(n_clusters):
    with pytest.raises(ValueError, match="n_clusters: expected an integer from 1 to 50 or 'auto'"):
        check_clustering(n_clusters, "zlp")


def test_proxy_that_does_not_exist():
    with pytest.raises(ValueError, match=r"cluster_by: expected one of .*'zlp'.* got 'dose'"):
        check_clustering("auto", "dose")
