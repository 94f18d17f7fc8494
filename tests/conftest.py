# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by all tests: quiet HyperSpy, small sample images, one removal, the measured spectra."""

import os

# Several test processes on few cores: threads of BLAS and torch would wait for each other.
# Set before either is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

from pathlib import Path

import dask
import hyperspy.api as hs
import matplotlib.pyplot
import numpy as np
import pytest

import hyperspy_zlpml.data

matplotlib.use("agg")

ROOT = Path(__file__).resolve().parents[1]
#: Measured spectra are not part of the project: they lie beside it, where they are at all.
MEASURED = ROOT.parent / "shared" / "data"

#: All a test of the interface needs of a training; the same state gives the same numbers.
QUICK = {"n_replicas": 8, "random_state": 0}
#: The same for an ensemble that is given: the clusters are those of the image all the same.
REUSE = {"n_clusters": 2, "random_state": 0}
SPECTRA = ("subtracted", "zlp", "std", "lower", "upper")
MAPS = ("clusters", "vacuum", "centre", "fwhm", "intensity")


@pytest.fixture(scope="session", autouse=True)
def quiet_hyperspy():
    """No progress bars; the user's preferences are put back."""
    general = hs.preferences.General
    before = general.show_progressbar
    general.show_progressbar = False
    yield
    general.show_progressbar = before


@pytest.fixture(autouse=True)
def closed_figures():
    """No figure outlives its test."""
    yield
    matplotlib.pyplot.close("all")


@pytest.fixture(scope="session")
def root():
    """The top of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir():
    """Folder of the measured spectra."""
    if not MEASURED.is_dir():
        pytest.skip("the measured spectra (../shared/data beside the repository) are not there")
    return MEASURED


@pytest.fixture(scope="session")
def sample():
    """Sample image of 8 x 8 spectra, a quarter of them vacuum. Not to be modified."""
    return hyperspy_zlpml.data.ws2_like((8, 8), n_channels=1024, random_state=0)


@pytest.fixture(scope="session")
def removal(sample):
    """A removal on a copy of ``sample``, shared by many tests. Not to be modified."""
    with dask.config.set(scheduler="threads"):  # whatever client a test may have started
        return sample.signal.deepcopy().remove_zlp_ml(**QUICK)


@pytest.fixture
def image(sample):
    """A copy of the sample image that a test may modify."""
    return sample.signal.deepcopy()


@pytest.fixture(scope="session")
def _small():
    return hyperspy_zlpml.data.ws2_like((4, 3), n_channels=512, offset=-2.0, random_state=2).signal


@pytest.fixture
def small(_small):
    """A copy of an image of 4 x 3 spectra (x, y) of 512 channels that a test may modify."""
    return _small.deepcopy()


@pytest.fixture(scope="session")
def _small_removal(_small):
    with dask.config.set(scheduler="threads"):
        return _small.deepcopy().remove_zlp_ml(n_clusters=2, **QUICK)


@pytest.fixture
def small_removal(_small_removal):
    """The removal on ``small`` with two clusters. Not to be modified."""
    return _small_removal


@pytest.fixture(scope="session")
def _small_reused(_small, _small_removal):
    with dask.config.set(scheduler="threads"):
        return _small.deepcopy().remove_zlp_ml(ensemble=_small_removal.ensemble, **REUSE)


@pytest.fixture
def small_reused(_small_reused):
    """The ensemble of ``small_removal`` given for ``small``, in memory. Not to be modified."""
    return _small_reused


def assert_same_results(actual, expected, rtol=0.0, names=SPECTRA):
    """All spectra of two removals are equal, to ``rtol`` of the larger of data and result."""
    for name in names:
        a, b = (np.asarray(getattr(r, name).data, float) for r in (actual, expected))
        assert a.shape == b.shape, name
        scale = np.abs(b) + np.abs(np.asarray(expected.zlp.data, float))
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=name)
        known = ~np.isnan(b)
        worst = np.max(np.abs(a - b)[known] - rtol * scale[known], initial=0.0)
        assert worst <= 0, f"{name} differs by {worst:g} more than a relative {rtol:g}"
