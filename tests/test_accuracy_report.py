# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the benchmark of accuracy are joined, each once."""

import sys

import pytest


@pytest.fixture
def report(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "benchmarks")
    import accuracy_report

    yield accuracy_report
    sys.modules.pop("accuracy_report")


def test_joined_results_are_not_joined_again(report, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "tables", lambda results: [])
    monkeypatch.setattr(report, "draw", lambda results, directory: [])
    for seed in (1, 2):
        found = report.Results(gaps={"film": [(0.0, float(seed))]})
        report.keep(found, tmp_path / str(seed))
    joined = report.join(tmp_path, ["film"])
    report.write(joined, tmp_path / "joined")
    assert report.join(tmp_path, ["film"]).gaps == joined.gaps == {"film": [(0.0, 1.0), (0.0, 2.0)]}
