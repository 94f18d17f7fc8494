# SPDX-License-Identifier: GPL-3.0-or-later
"""The report tells what was done: every spectrum is counted, every number is that of the result."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.removal.report import _describe_noise
from hyperspy_zlpml.removal.shared_errors import SharedErrors
from hyperspy_zlpml.workflow import remove_zlp


@pytest.fixture(scope="module")
def wedge():
    """Counts and energies of forty spectra of growing thickness, the last of them dark."""
    energy = -2 + 0.025 * np.arange(512)
    peak = np.exp(-4 * np.log(2) * (energy / 0.4) ** 2) + 0.01 / (1 + (energy / 0.3) ** 2)
    thickness = np.linspace(0, 0.5, 40)[:, None]
    losses = 0.02 * thickness * np.clip(energy - 1.8, 0, None) ** 0.5
    counts = np.random.default_rng(0).poisson(1e6 * (np.exp(-thickness) * peak + losses))
    counts[-1] = 0
    return counts.astype(float), energy


@pytest.fixture(scope="module")
def removed(wedge):
    regions = {"E_I": [1.2, 1.3, 1.4], "gain_limit": -1.5}
    with pytest.warns(UserWarning, match="1 of 40 spectra"):
        return remove_zlp(*wedge, n_clusters=3, n_replicas=6, regions=regions, random_state=0)


def test_every_spectrum_is_counted_once(removed):
    report = removed.report
    sizes = [row.size for row in report.clusters]
    np.testing.assert_array_equal(sizes, [(removed.clusters == n).sum() for n in range(3)])
    assert report.n_unusable == (removed.clusters == -1).sum() == 1
    assert sum(sizes) + report.n_unusable == 40


def test_replicas_are_those_of_the_ensemble(removed):
    report = removed.report
    assert report.n_replicas == 6
    assert report.n_kept == removed.ensemble.n_replicas == 6 - sum(report.dropped.values())
    assert f"replicas    {report.n_kept} of 6 kept" in str(report)


def test_limits_that_were_given_are_in_the_rows(removed):
    rows = removed.report.clusters
    assert [row.E_I for row in rows] == [1.2, 1.3, 1.4]
    assert [row.gain_limit for row in rows] == [-1.5, -1.5, -1.5]
    assert all(f"{row.E_I:.3g}" in str(removed.report) for row in rows)


@pytest.mark.parametrize(
    "cluster_by, name",
    [("zlp", "ln(I0)"), ("total", "ln(It)"), ("log_ratio", "ln(It/I0)"), (None, "map")],
)
def test_the_column_is_named_after_what_spectra_are_clustered_by(wedge, removed, cluster_by, name):
    counts, energy = wedge
    by = np.arange(40.0) if cluster_by is None else cluster_by
    with pytest.warns(UserWarning, match="1 of 40 spectra"):
        found = remove_zlp(
            counts, energy, n_clusters=3, cluster_by=by, ensemble=removed.ensemble, random_state=0
        )
    header = next(line for line in str(found.report).splitlines() if "gain limit" in line)
    assert header.split("spectra")[1].split("gain limit")[0].strip() == name
    expected = {"ln(I0)": np.log(found.intensity), "ln(It)": np.log(counts.sum(-1))}
    if name in expected:
        for row in found.report.clusters:
            mean = np.nanmean(expected[name][found.clusters == int(row.name)])
            assert row.centre == pytest.approx(mean, abs=0.05)


def test_what_was_left_out_is_said(removed):
    assert "left out    1 spectrum, NaN in every result" in str(removed.report)


def test_correlated_noise_is_put_into_words():
    white = NoiseModel(3.5, 5.0, "estimated")
    assert _describe_noise(white) == "gain 3.5, read-out 5 counts (estimated)"
    spread = NoiseModel(3.5, 5.0, "estimated", (0.44, 0.238, 0.04, 0.002))
    said = "; each channel keeps 0.44 of its noise, those beside have 0.24, 0.04 of it"
    assert _describe_noise(spread) == _describe_noise(white) + said


@pytest.mark.parametrize(
    "residual, said",
    [(None, "check not made: no spectra"), (1e-4, "check passed: "), (0.04, "check FAILED: ")],
)
def test_region_one_has_a_line_whatever_its_check_found(removed, residual, said):
    pure = SharedErrors.none()
    if residual:
        ones = np.ones(8)
        pure = SharedErrors(np.arange(8.0), residual * ones, 1e-3 * ones, 0.01 * ones, ones)
    report = replace(removed.report, pure=pure)
    assert f"  region I    {said}" in str(report)
    assert "region I" in report._repr_html_()
    assert ("check on region I" in report.verdicts) == (residual is not None)


def test_maps_are_told_of_levels_that_differ(wedge, removed):
    counts, energy = wedge
    rng = np.random.default_rng(0)
    levels = rng.normal(2e3, 300.0, (40, 1)) + rng.normal(0, 5.0, (40, 320 + energy.size))
    longer = np.concatenate([-2 - 0.025 * np.arange(1, 321)[::-1], energy])
    padded = np.concatenate([np.zeros((40, 320)), counts], axis=-1)
    with pytest.warns(UserWarning, match="level before the peak differs"):
        found = remove_zlp(padded + levels, longer, n_clusters=2, n_replicas=4, random_state=0)
    said = found.report.said_of_checks
    assert "; not in the error bars: counts: the level before the peak differs" in said
    assert found.record["checks"] == said
    assert "not in the error bars" not in removed.report.said_of_checks
